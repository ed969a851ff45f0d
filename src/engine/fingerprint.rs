//! What must be the same at every provider of a room once it is at rest: for comparing silos with each other.

use sha2::{Digest as _, Sha256};

use super::{core::Engine, ports::Millis, records, rows::load_group, tables::LOG};
use crate::{
    room::group::Group as _,
    store::{Database, StoreError},
};

/// Rows of the log that are read at once.
const PAGE: usize = 500;

/// The state of a room in a few bytes, the same at everybody whose state it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    /// The room.
    pub room: String,
    /// The MLS epoch; none before there is a group.
    pub epoch: Option<u64>,
    /// The MLS epoch authenticator (RFC 9420 section 8.7), in hex; none without a leaf of ours.
    pub epoch_authenticator: Option<String>,
    /// SHA-256, in hex, over one line for each participant, in the list's order: URI, a space, the role's number.
    pub participants: Option<String>,
    /// Messages in the log.
    pub log_length: usize,
    /// SHA-256, in hex, over one line for each message in the hub's order: accepted timestamp, a space, the message id in hex.
    /// What was accepted before we came in, or is older than is kept, is not in it.
    pub log: String,
}

fn of_lines(lines: impl Iterator<Item = String>) -> String {
    let mut hash = Sha256::new();
    for line in lines {
        hash.update(line + "\n");
    }
    hex::encode(hash.finalize())
}

impl Engine {
    /// The fingerprints of up to `limit` rooms behind this place, in the order of their URIs, and the place to go on at. Each
    /// takes reading the room's whole log.
    pub async fn fingerprints_after(
        db: &Database,
        after: Option<Vec<u8>>,
        limit: usize,
    ) -> Result<(Vec<Fingerprint>, Option<Vec<u8>>), StoreError> {
        let page = records::page(db, after, limit).await?;
        let mut rows = Vec::new();
        for (uri, room) in page.rooms {
            let group = load_group(db, &uri, room.group).await.ok();
            let state = group.as_ref().and_then(|group| group.state().ok());
            let log = Self::hub_log(db, &uri).await?;
            rows.push(Fingerprint {
                epoch: group.as_ref().and_then(super::group::RoomGroup::known_epoch),
                epoch_authenticator: group.and_then(|group| group.epoch_authenticator()).map(hex::encode),
                participants: state
                    .map(|state| of_lines(state.participants.iter().map(|(user, role)| format!("{user} {role}")))),
                log_length: log.len(),
                log: of_lines(log.iter().map(|(accepted, id)| format!("{accepted} {}", hex::encode(id)))),
                room: uri,
            });
        }
        Ok((rows, page.next))
    }

    /// Accepted timestamps and message ids of a room's messages, in the hub's order.
    pub async fn hub_log(db: &Database, room: &str) -> Result<Vec<(Millis, [u8; 32])>, StoreError> {
        let (mut rows, mut after) = (Vec::new(), None);
        loop {
            let page = LOG.scan(db, &room.to_owned(), after, PAGE).await?;
            rows.extend(page.rows.into_iter().map(|((_, accepted, id), _)| (accepted, id)));
            after = page.next;
            if after.is_none() {
                return Ok(rows);
            }
        }
    }
}
