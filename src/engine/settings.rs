//! How the engine is set.

use std::{sync::Arc, time::Duration};

use super::{rights::Rights, trim::Keep};
use crate::policy::Envelope;

/// How the engine is set.
#[derive(Clone)]
pub struct EngineSettings {
    /// How long a room has to be quiet before its timeline is compared with what came (DESIGN 8).
    pub quiet: Duration,
    /// How often an active room is compared at the latest.
    pub gap_check: Duration,
    /// How long after a sign that the homeserver loses events timelines are compared before a transaction is taken in.
    pub suspicion: Duration,
    /// How often rooms are looked through for leaves to refresh.
    pub tick: Duration,
    /// The first wait after a call or a commit that failed; it doubles up to fifty times that.
    pub retry: Duration,
    /// Unanswered invitations that one peer may have here.
    pub open_invitations: usize,
    /// How long commits that a hub speaks of may take to come, before the room is joined again.
    pub catch_up: Duration,
    /// While transactions come thick and fast, each is answered so much later: the homeserver puts what happens meanwhile into
    /// one, which costs both sides less. Its events are worked on at once all the same. Zero: never.
    pub gather: Duration,
    /// How long a room may take to begin with what came, before that goes into its inbox. Zero: always the inbox.
    pub patience: Duration,
    /// How long an answer of a hub to a message waits for others, so that they share a batch. Zero: never.
    pub settle: Duration,
    /// How long is kept what recognises repeats.
    pub keep: Keep,
    /// Searches that one peer may make within an hour. Zero: none at all.
    pub searches_per_hour: u32,
    /// Look-ups by handle that the homeserver's clients may make within a minute, all together. Zero: none at all.
    pub lookups_per_minute: u32,
    /// How often the homeserver's list of reports is looked at, if it can be.
    pub report_poll: Duration,
    /// The Matrix room in which reports of abuse appear; the bot has to be in it.
    pub admin_room: Option<ruma::OwnedRoomId>,
    /// Of the ghosts that come into large rooms bit by bit, so many come a minute, in all rooms together.
    pub ghosts_per_minute: u32,
    /// So many messages of a room wait for being read, before they disappear, at most.
    pub most_unread: usize,
    /// Who may do what.
    pub rights: Arc<Rights>,
    /// Rooms that we follow or are asked into, of one provider.
    pub rooms_per_peer: usize,
    /// What rooms may be, whatever their own policy.
    pub envelope: Arc<Envelope>,
}

impl std::fmt::Debug for EngineSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EngineSettings")
            .field("quiet", &self.quiet)
            .field("gap_check", &self.gap_check)
            .finish_non_exhaustive()
    }
}
