//! What is answered, and what is asked, as JSON.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::Refusal;
use crate::{
    admin::{AsideRow, RoomRow},
    engine::{ProviderSummary, Told, rights::Act},
};

/// What somebody hears who got what they wanted.
#[derive(Debug, Serialize)]
pub(super) struct Done {
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    mimi_room: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    matrix_room: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    /// Milliseconds since the UNIX epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    code_expires_ts: Option<u64>,
}

impl From<Told> for Done {
    fn from(Told { text, room, matrix, code }: Told) -> Self {
        let code_expires_ts = code.as_ref().map(|code| code.until);
        Self {
            message: text,
            mimi_room: room.map(|room| room.to_string()),
            matrix_room: matrix.map(String::from),
            code: code.map(|code| code.code),
            code_expires_ts,
        }
    }
}

/// Done, and with which status it is answered.
pub(super) struct DoneWith(pub(super) StatusCode, pub(super) Told);

impl IntoResponse for DoneWith {
    fn into_response(self) -> Response {
        (self.0, Json(Done::from(self.1))).into_response()
    }
}

/// How it stands for a user.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    pub(super) user_id: String,
    pub(super) may: Vec<Act>,
    pub(super) message: String,
}

/// Rooms.
#[derive(Debug, Serialize)]
pub(super) struct Rooms {
    pub(super) rooms: Vec<RoomRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<String>,
}

/// A room, and how it stands in words.
#[derive(Debug, Serialize)]
pub(super) struct Room {
    #[serde(flatten)]
    pub(super) room: RoomRow,
    pub(super) message: String,
}

/// By what somebody is found.
#[derive(Debug, Serialize)]
pub(super) struct Discoverable {
    pub(super) ways: Vec<&'static str>,
    pub(super) message: String,
}

/// Whom somebody blocks.
#[derive(Debug, Serialize)]
pub(super) struct Blocked {
    pub(super) users: Vec<String>,
}

/// A provider.
#[derive(Debug, Serialize)]
pub(super) struct Provider {
    domain: String,
    denied_by_settings: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    denied_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    denied_since_ts: Option<u64>,
}

impl From<ProviderSummary> for Provider {
    fn from(ProviderSummary { domain, outside, denial }: ProviderSummary) -> Self {
        Self {
            domain: domain.to_string(),
            denied_by_settings: outside,
            denied_since_ts: denial.as_ref().map(|denial| denial.since),
            denied_by: denial.map(|denial| denial.by),
        }
    }
}

/// Providers.
#[derive(Debug, Serialize)]
pub(super) struct Providers {
    pub(super) providers: Vec<Provider>,
}

/// What was set aside.
#[derive(Debug, Serialize)]
pub(super) struct Quarantine {
    pub(super) items: Vec<AsideRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<String>,
}

/// A Matrix room to mirror.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Bridge {
    pub(super) room: String,
}

/// A user of another provider.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Remote {
    pub(super) user: String,
}

/// For how long a joining code counts.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Hours {
    pub(super) hours: Option<u64>,
}

/// A message that is reported.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Report {
    pub(super) event_id: String,
    #[serde(default)]
    pub(super) note: String,
    #[serde(default)]
    pub(super) openly: bool,
}

/// A room that is hosted elsewhere.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Join {
    pub(super) room: String,
    #[serde(default)]
    pub(super) code: Option<String>,
}

/// Whom to begin a chat with.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Chat {
    pub(super) whom: String,
}

/// By what to be found.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ways {
    pub(super) ways: Vec<String>,
}

/// Something about consent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Consent {
    pub(super) word: Word,
    pub(super) user: String,
}

/// What is said about consent.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Word {
    Accept,
    Decline,
    Revoke,
    Ask,
    Withdraw,
}

/// Which page of a list.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Page {
    pub(super) after: Option<String>,
    #[serde(default)]
    pub(super) all: bool,
}

impl Page {
    pub(super) fn place(&self) -> Result<Option<Vec<u8>>, Refusal> {
        let place = self.after.as_ref().map(hex::decode).transpose();
        place.map_err(|_| Refusal::invalid("There is no such page: take `next` of the page before."))
    }
}

/// Reads a body. None at all is an empty object.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| Refusal::not_json(&error))
}
