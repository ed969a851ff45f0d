//! `[rooms]`: how bridged rooms behave.

use std::time::Duration;

use serde::Deserialize;

use super::error::ConfigError;
use crate::room::{EventIds, Reports, SendStatus, Telling};

/// How bridged rooms behave.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RoomsConfig {
    /// Up to this many Matrix members, all are listed as MIMI participants; above it only those who act.
    pub list_all_members_up_to: u32,
    /// Up to this many ghosts come into a Matrix room at once; of more, those who act, and the others bit by bit.
    pub ghosts_at_once: u32,
    /// Ghosts that come bit by bit: so many a minute, in all rooms together.
    pub ghosts_per_minute: u32,
    /// How often an active room is compared with the homeserver's timeline.
    pub gap_check_interval_seconds: u64,
    /// Which statuses of messages their senders' clients get.
    pub send_status: SendStatus,
    /// Whether senders are told what of their messages others do not get.
    pub tell_losses: bool,
    /// Whether other providers hear what our users have read.
    pub read_receipts: Reports,
    /// Whether other providers hear that the homeserver took their users' messages for ours.
    pub delivery_reports: Reports,
    /// Whether other providers hear what users are called in a room.
    pub tell_profiles: bool,
    /// Whom the ids of Matrix events are told to.
    pub tell_event_ids: EventIds,
    /// Whether other providers hear where the Matrix room of a call is, if it is hosted here.
    pub call_links: bool,
}

impl Default for RoomsConfig {
    fn default() -> Self {
        Self {
            list_all_members_up_to: 500,
            ghosts_at_once: 50,
            ghosts_per_minute: 120,
            gap_check_interval_seconds: 300,
            send_status: SendStatus::default(),
            tell_losses: true,
            read_receipts: Reports::default(),
            delivery_reports: Reports::default(),
            tell_profiles: true,
            tell_event_ids: EventIds::default(),
            call_links: true,
        }
    }
}

impl RoomsConfig {
    /// How often an active room is compared with the homeserver's timeline.
    #[must_use]
    pub fn gap_check_interval(&self) -> Duration {
        Duration::from_secs(self.gap_check_interval_seconds)
    }

    /// What people are told of their messages.
    #[must_use]
    pub fn telling(&self) -> Telling {
        Telling {
            send_status: self.send_status,
            losses: self.tell_losses,
            read_receipts: self.read_receipts,
            delivery_reports: self.delivery_reports,
            profiles: self.tell_profiles,
            event_ids: self.tell_event_ids,
            call_links: self.call_links,
            ..Telling::default()
        }
    }

    pub(super) fn validate(&self, faults: &mut Vec<ConfigError>) {
        if !(1..=6_000).contains(&self.ghosts_per_minute) {
            faults.push(ConfigError::invalid(
                "rooms.ghosts_per_minute",
                "must be from 1 to 6000: each ghost costs the homeserver some six requests",
            ));
        }
        if !(1..=300).contains(&self.gap_check_interval_seconds) {
            faults.push(ConfigError::invalid(
                "rooms.gap_check_interval_seconds",
                "must be from 1 to 300: homeservers lose events towards appservices, and nobody else looks for them",
            ));
        }
    }
}
