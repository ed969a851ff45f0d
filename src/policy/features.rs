//! What a room allows its clients to do: status notifications (0x0028), link previews (0x002b), logging (0x002d), chat history
//! (0x002e), bots (0x002f), message expiration (0x0030); draft-ietf-mimi-room-policy-03 sections 6.1, 6.3 and 6.5 to 6.8.
//!
//! The draft's `case mandatory` is `required` of its `Optionality`. Fields that a structure does not have where something is
//! forbidden are empty here. Every update has the format of the data and replaces the whole.

use serde::{Deserialize, Serialize};

use super::{
    bytes::{Result, all, checked, list, optional_u32, refused, uri, written},
    role,
};
use crate::wire::{Wire as _, codec::octet_enum};

const MAX_NAME: usize = 4096;
const MAX_URIS: usize = 256;
const MAX_ROLES: usize = 256;
const MAX_BOTS: usize = 256;

octet_enum! {
    /// `Optionality`: what clients have to do, or must not.
    Optionality, "optionality", {
        /// As they like.
        Optional = 0,
        /// They have to.
        Required = 1,
        /// They must not.
        Forbidden = 2,
    }
}

// -------------------------------------------------------------------------------------------- status notifications

/// `StatusNotificationPolicy` (section 6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusNotificationPolicy {
    /// That a message was delivered.
    pub delivery_notifications: Optionality,
    /// That a message was read.
    pub read_receipts: Optionality,
}

impl StatusNotificationPolicy {
    /// Reads the component's data, or an update.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        all(bytes, |r| {
            Ok(Self {
                delivery_notifications: r.inside("delivery_notifications", Optionality::read)?,
                read_receipts: r.inside("read_receipts", Optionality::read)?,
            })
        })
    }

    /// Writes the component's data, or an update.
    pub fn encode(&self) -> Result<Vec<u8>> {
        written("status notifications", |w| {
            self.delivery_notifications.write(w);
            self.read_receipts.write(w);
        })
    }
}

// --------------------------------------------------------------------------------------------------- link previews

/// `LinkPreviewPolicy` (section 6.3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkPreviewPolicy {
    /// Composers find links in text; never required.
    pub autodetect_hyperlinks_in_text: Optionality,
    /// Senders make previews.
    pub send_link_previews: Optionality,
    /// Receivers make previews.
    pub automatic_link_previews: Optionality,
    /// Previews are made by way of a proxy.
    pub link_preview_proxy_use: Optionality,
    /// The proxies: at least one, and none where they are forbidden.
    pub link_preview_proxy: Vec<String>,
}

impl LinkPreviewPolicy {
    /// Reads the component's data, or an update.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        all(bytes, |r| {
            let at = r.clone();
            let autodetect_hyperlinks_in_text = r.inside("autodetect_hyperlinks_in_text", Optionality::read)?;
            if autodetect_hyperlinks_in_text == Optionality::Required {
                return refused(&at, "autodetect_hyperlinks_in_text", "never required");
            }
            let send_link_previews = r.inside("send_link_previews", Optionality::read)?;
            let automatic_link_previews = r.inside("automatic_link_previews", Optionality::read)?;
            let link_preview_proxy_use = r.inside("link_preview_proxy_use", Optionality::read)?;
            let mut link_preview_proxy = Vec::new();
            if link_preview_proxy_use != Optionality::Forbidden {
                let at = r.clone();
                link_preview_proxy = list(r, "link_preview_proxy", MAX_URIS, |r| uri(r, "link_preview_proxy", false))?;
                if link_preview_proxy.is_empty() {
                    return refused(&at, "link_preview_proxy", "a URI is wanted");
                }
            }
            Ok(Self {
                autodetect_hyperlinks_in_text,
                send_link_previews,
                automatic_link_previews,
                link_preview_proxy_use,
                link_preview_proxy,
            })
        })
    }

    /// Writes the component's data, or an update.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let bytes = written("link previews", |w| {
            self.autodetect_hyperlinks_in_text.write(w);
            self.send_link_previews.write(w);
            self.automatic_link_previews.write(w);
            self.link_preview_proxy_use.write(w);
            if self.link_preview_proxy_use != Optionality::Forbidden {
                w.each(&self.link_preview_proxy, |w, uri| w.opaque(uri.as_bytes()));
            }
        })?;
        checked("link previews", self, bytes, Self::decode)
    }
}

// --------------------------------------------------------------------------------------------------------- logging

/// `LoggingPolicy` (section 6.5). Optional with a client is active logging.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoggingPolicy {
    /// Whether messages are recorded.
    pub logging: Optionality,
    /// Who records them; at least one where it is required.
    pub logging_clients: Vec<String>,
    /// The provider's policy for programs, or empty.
    pub machine_readable_policy: String,
    /// The provider's policy for people, or empty.
    pub human_readable_policy: String,
}

impl LoggingPolicy {
    /// Reads the component's data, or an update.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        all(bytes, |r| {
            let logging = r.inside("logging", Optionality::read)?;
            let mut policy = Self {
                logging,
                logging_clients: Vec::new(),
                machine_readable_policy: String::new(),
                human_readable_policy: String::new(),
            };
            if logging == Optionality::Forbidden {
                return Ok(policy);
            }
            let at = r.clone();
            policy.logging_clients = list(r, "logging_clients", MAX_URIS, |r| uri(r, "logging_clients", false))?;
            if logging == Optionality::Required && policy.logging_clients.is_empty() {
                return refused(&at, "logging_clients", "required logging needs a client");
            }
            policy.machine_readable_policy = uri(r, "machine_readable_policy", true)?;
            policy.human_readable_policy = uri(r, "human_readable_policy", true)?;
            Ok(policy)
        })
    }

    /// Writes the component's data, or an update.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let bytes = written("logging", |w| {
            self.logging.write(w);
            if self.logging != Optionality::Forbidden {
                w.each(&self.logging_clients, |w, uri| w.opaque(uri.as_bytes()));
                w.opaque(self.machine_readable_policy.as_bytes());
                w.opaque(self.human_readable_policy.as_bytes());
            }
        })?;
        checked("logging", self, bytes, Self::decode)
    }

    /// Whether what is said in the room is recorded.
    #[must_use]
    pub fn is_active(&self) -> bool {
        !self.logging_clients.is_empty()
    }
}

// ---------------------------------------------------------------------------------------------------- chat history

/// `HistoryPolicy` (section 6.6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HistoryPolicy {
    /// Whether newcomers get what was said before.
    pub history_sharing: Optionality,
    /// Whose holders may give it to them; neither 0 nor the banned.
    pub roles_that_can_share: Vec<u32>,
    /// Without being asked.
    pub automatically_share: bool,
    /// How far back, in seconds.
    pub max_time_period: u32,
}

impl HistoryPolicy {
    /// Reads the component's data, or an update. Whether the roles may have clients the roles list knows.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        all(bytes, |r| {
            let history_sharing = r.inside("history_sharing", Optionality::read)?;
            if history_sharing == Optionality::Forbidden {
                let roles_that_can_share = Vec::new();
                return Ok(Self {
                    history_sharing,
                    roles_that_can_share,
                    automatically_share: false,
                    max_time_period: 0,
                });
            }
            let at = r.clone();
            let roles_that_can_share = list(r, "roles_that_can_share", MAX_ROLES, |r| r.u32("roles_that_can_share"))?;
            if roles_that_can_share.iter().any(|index| *index <= role::BANNED) {
                return refused(&at, "roles_that_can_share", "role 0 or 1");
            }
            Ok(Self {
                history_sharing,
                roles_that_can_share,
                automatically_share: r.bool("automatically_share")?,
                max_time_period: r.u32("max_time_period")?,
            })
        })
    }

    /// Writes the component's data, or an update.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let bytes = written("chat history", |w| {
            self.history_sharing.write(w);
            if self.history_sharing != Optionality::Forbidden {
                w.each(&self.roles_that_can_share, |w, index| w.u32(*index));
                w.bool(self.automatically_share);
                w.u32(self.max_time_period);
            }
        })?;
        checked("chat history", self, bytes, Self::decode)
    }
}

// ------------------------------------------------------------------------------------------------------------ bots

/// `Bot` (section 6.7).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bot {
    /// For humans.
    pub name: String,
    /// For humans.
    pub description: String,
    /// For humans, or empty.
    pub homepage: String,
    /// It is no participant: a participant's client shows it the room.
    pub local_client_bot: bool,
    /// Its role; 0 for none, as for every local one.
    pub bot_role_index: u32,
    /// It may write to single users.
    pub can_target_message_in_group: bool,
    /// It may tell each user something else.
    pub per_user_content: bool,
}

/// `BotPolicy` (section 6.7): the bots that may be there.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BotPolicy {
    /// The bots.
    pub allowed_bots: Vec<Bot>,
}

impl BotPolicy {
    /// Reads the component's data, or an update.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        all(bytes, |reader| {
            let allowed_bots = list(reader, "allowed_bots", MAX_BOTS, |r| {
                let name = r.utf8("name", MAX_NAME)?;
                let description = r.utf8("description", MAX_NAME)?;
                let homepage = uri(r, "homepage", true)?;
                let local_client_bot = r.bool("local_client_bot")?;
                let at = r.clone();
                let bot_role_index = r.u32("bot_role_index")?;
                if local_client_bot && bot_role_index != role::NONE {
                    return refused(&at, "bot_role_index", "a local bot has role 0");
                }
                Ok(Bot {
                    name,
                    description,
                    homepage,
                    local_client_bot,
                    bot_role_index,
                    can_target_message_in_group: r.bool("can_target_message_in_group")?,
                    per_user_content: r.bool("per_user_content")?,
                })
            })?;
            Ok(Self { allowed_bots })
        })
    }

    /// Writes the component's data, or an update.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let bytes = written("bots", |writer| {
            writer.each(&self.allowed_bots, |w, bot| {
                w.opaque(bot.name.as_bytes());
                w.opaque(bot.description.as_bytes());
                w.opaque(bot.homepage.as_bytes());
                w.bool(bot.local_client_bot);
                w.u32(bot.bot_role_index);
                w.bool(bot.can_target_message_in_group);
                w.bool(bot.per_user_content);
            });
        })?;
        checked("bots", self, bytes, Self::decode)
    }
}

// ---------------------------------------------------------------------------------------------- message expiration

/// `MessageExpiration` (section 6.8); times in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MessageExpiration {
    /// Whether messages expire.
    pub expiring_messages: Optionality,
    /// The shortest time.
    pub min_expiration_duration: u32,
    /// The longest time; not less than the shortest.
    pub max_expiration_duration: u32,
    /// The preferred time, between the two.
    pub default_expiration_duration: Option<u32>,
}

impl MessageExpiration {
    /// How many seconds a message stays for which these were wanted; `None`: it does not expire. A message without a time gets
    /// the preferred one, or the longest where it has to have one. A longest time of none at all is no policy.
    #[must_use]
    pub fn bounded(&self, wanted: Option<u32>) -> Option<u32> {
        let Self { expiring_messages, min_expiration_duration: min, max_expiration_duration: max, .. } = *self;
        let has_to = (expiring_messages == Optionality::Required).then_some(max);
        match expiring_messages {
            Optionality::Forbidden => None,
            Optionality::Required | Optionality::Optional if max == 0 => wanted,
            Optionality::Required | Optionality::Optional => {
                let seconds = wanted.or(self.default_expiration_duration).or(has_to)?;
                Some(seconds.min(max).max(min))
            }
        }
    }

    /// Reads the component's data, or an update.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        all(bytes, |r| {
            let mut expiration = Self {
                expiring_messages: r.inside("expiring_messages", Optionality::read)?,
                min_expiration_duration: 0,
                max_expiration_duration: 0,
                default_expiration_duration: None,
            };
            if expiration.expiring_messages == Optionality::Forbidden {
                return Ok(expiration);
            }
            expiration.min_expiration_duration = r.u32("min_expiration_duration")?;
            let at = r.clone();
            expiration.max_expiration_duration = r.u32("max_expiration_duration")?;
            let between = expiration.min_expiration_duration..=expiration.max_expiration_duration;
            if between.is_empty() {
                return refused(&at, "max_expiration_duration", "less than the minimum");
            }
            let at = r.clone();
            expiration.default_expiration_duration = optional_u32(r, "default_expiration_duration")?;
            if expiration.default_expiration_duration.is_some_and(|usual| !between.contains(&usual)) {
                return refused(&at, "default_expiration_duration", "not between minimum and maximum");
            }
            Ok(expiration)
        })
    }

    /// Writes the component's data, or an update.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let bytes = written("message expiration", |w| {
            self.expiring_messages.write(w);
            if self.expiring_messages != Optionality::Forbidden {
                w.u32(self.min_expiration_duration);
                w.u32(self.max_expiration_duration);
                w.optional(self.default_expiration_duration.as_ref(), |w, usual| w.u32(*usual));
            }
        })?;
        checked("message expiration", self, bytes, Self::decode)
    }
}
