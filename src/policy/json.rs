//! The participant list's pairs as JSON objects with the draft's names (`mimi-gateway inspect`).

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ident::UserUri;

/// (user, role) as an object with the draft's names.
pub(super) mod pairs {
    use super::*;

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Pair {
        user: UserUri,
        role_index: u32,
    }

    pub(in crate::policy) fn serialize<S: Serializer>(
        pairs: &[(UserUri, u32)],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(pairs.iter().map(|(user, role)| Pair { user: user.clone(), role_index: *role }))
    }

    pub(in crate::policy) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<(UserUri, u32)>, D::Error> {
        let pairs = Vec::<Pair>::deserialize(deserializer)?;
        Ok(pairs.into_iter().map(|pair| (pair.user, pair.role_index)).collect())
    }
}

/// (index, role) as an object with the draft's names.
pub(super) mod index_pairs {
    use super::*;

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Pair {
        user_index: u32,
        role_index: u32,
    }

    pub(in crate::policy) fn serialize<S: Serializer>(pairs: &[(u32, u32)], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(pairs.iter().map(|(index, role)| Pair { user_index: *index, role_index: *role }))
    }

    pub(in crate::policy) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<(u32, u32)>, D::Error> {
        let pairs = Vec::<Pair>::deserialize(deserializer)?;
        Ok(pairs.into_iter().map(|pair| (pair.user_index, pair.role_index)).collect())
    }
}
