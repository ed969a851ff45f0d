//! One thing that was set aside, as an operator sees it.

use serde::{Deserialize, Serialize};

use super::Listing;
use crate::{
    engine::{Engine, SetAside},
    store::{Database, StoreError},
};

/// Rows of one page: each has up to a few kilobytes.
const PAGE: usize = 200;

/// One thing that could not be worked on or delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AsideRow {
    /// When it was set aside, in milliseconds since the UNIX epoch.
    pub when: u64,
    /// The room's MIMI or Matrix address, or a lane of the outbox.
    pub place: String,
    /// The Matrix event, where it was one and its id can be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// Why.
    pub why: String,
}

impl From<SetAside> for AsideRow {
    fn from(SetAside { place, when, event, why }: SetAside) -> Self {
        Self { when, place, event, why }
    }
}

/// What was set aside, behind this place. Fails as the store does.
pub async fn set_aside(db: &Database, after: Option<Vec<u8>>) -> Result<Listing<AsideRow>, StoreError> {
    let (rows, next) = Engine::set_aside_after(db, after, PAGE).await?;
    Ok(Listing::new(rows.into_iter().map(AsideRow::from).collect(), next))
}
