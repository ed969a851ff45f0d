//! How the structures look as JSON (`mimi-gateway inspect`): bytes as hex, and nothing lost, so that the same bytes can be
//! made again. Fields are called as in the drafts.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

pub(crate) use crate::ident::json::{from_hex, hex_array, hex_bytes, hex_option, text_or_hex};

/// A list of byte strings as hex strings.
pub(crate) mod hex_list {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(list: &[Vec<u8>], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(list.iter().map(hex::encode))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Vec<u8>>, D::Error> {
        Vec::<String>::deserialize(deserializer)?.iter().map(|text| from_hex(text)).collect()
    }
}

/// Component data as an object: ids like `0x0023`, data as hex.
pub(crate) mod components {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(map: &BTreeMap<u16, Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(map.iter().map(|(id, data)| (format!("{id:#06x}"), hex::encode(data))))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<u16, Vec<u8>>, D::Error> {
        let map = BTreeMap::<String, String>::deserialize(deserializer)?;
        map.iter()
            .map(|(id, data)| {
                let id = id.strip_prefix("0x").and_then(|digits| u16::from_str_radix(digits, 16).ok());
                Ok((id.ok_or_else(|| D::Error::custom("a component id is written like 0x0023"))?, from_hex(data)?))
            })
            .collect()
    }
}

/// A signed structure: what is signed, and the signature. Its bytes are made of the fields.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Signed<T> {
    pub(crate) tbs: T,
    #[serde(with = "hex_bytes")]
    pub(crate) signature: Vec<u8>,
}
