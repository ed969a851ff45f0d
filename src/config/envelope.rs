//! `[envelope]`: what rooms may be, whatever their own policy says.

use serde::Deserialize;

use super::error::ConfigError;
use crate::{ident::Pattern, policy::Envelope};

/// What rooms may be, whatever their own policy says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "bounds that do not depend on each other")]
pub struct EnvelopeConfig {
    /// Most participants of a room.
    pub max_participants: Option<u32>,
    /// Whether there may be rooms into which anybody can come.
    pub open_rooms: bool,
    /// Whether joining codes may let people in.
    pub joining_codes: bool,
    /// Whether newcomers may be given what was said before.
    pub history: bool,
    /// Whether what is said may be recorded by clients that are in a room for it.
    pub logging: bool,
    /// The providers whose users may be in rooms of ours, and in whose rooms we are. Default: all.
    pub providers: Option<Vec<Pattern>>,
    /// Providers of which that is not so, whatever else is said.
    pub deny_providers: Vec<Pattern>,
    /// Media types of files that are not carried.
    pub deny_media_types: Vec<Pattern>,
}

impl Default for EnvelopeConfig {
    fn default() -> Self {
        let Envelope {
            max_participants,
            open_rooms,
            joining_codes,
            history,
            logging,
            providers,
            deny_providers,
            deny_media_types,
        } = Envelope::default();
        Self {
            max_participants,
            open_rooms,
            joining_codes,
            history,
            logging,
            providers,
            deny_providers,
            deny_media_types,
        }
    }
}

impl EnvelopeConfig {
    /// What the gateway goes by.
    #[must_use]
    pub fn envelope(&self) -> Envelope {
        let Self {
            max_participants,
            open_rooms,
            joining_codes,
            history,
            logging,
            providers,
            deny_providers,
            deny_media_types,
        } = self.clone();
        let lower = |pattern: Pattern| Pattern::new(pattern.as_str().to_ascii_lowercase());
        let deny_media_types = deny_media_types.into_iter().map(lower).collect();
        Envelope {
            max_participants,
            open_rooms,
            joining_codes,
            history,
            logging,
            providers,
            deny_providers,
            deny_media_types,
        }
    }

    pub(super) fn validate(&self, faults: &mut Vec<ConfigError>) {
        if self.max_participants.is_some_and(|most| most < 2) {
            faults.push(ConfigError::invalid("envelope.max_participants", "must be at least 2, or no room could be"));
        }
        if self.providers.as_ref().is_some_and(Vec::is_empty) {
            faults.push(ConfigError::invalid(
                "envelope.providers",
                "is empty, so that nobody could be talked to; name providers or remove the key",
            ));
        }
        for pattern in self.providers.iter().flatten().chain(&self.deny_providers) {
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"*.-".contains(&byte);
            if pattern.as_str().is_empty() || !pattern.as_str().bytes().all(plain) {
                faults.push(ConfigError::invalid(
                    "envelope.providers",
                    format!("and `envelope.deny_providers` have domains in lower case, in which * stands for any text, not {pattern:?}"),
                ));
            }
        }
        for pattern in &self.deny_media_types {
            if !pattern.as_str().contains('/') {
                let why = format!("has types such as \"video/*\" or \"application/zip\", not {pattern:?}");
                faults.push(ConfigError::invalid("envelope.deny_media_types", why));
            }
        }
    }
}
