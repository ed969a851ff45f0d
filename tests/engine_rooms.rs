//! The engine with real MLS and real stores between a homeserver and peers that live in this process: the flow that people
//! use, faults and crashes at any moment, and what hostile peers try.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]
#![allow(
    dead_code,
    clippy::similar_names,
    clippy::too_many_arguments,
    clippy::too_many_lines,
    clippy::needless_pass_by_value,
    reason = "stand-ins, shared by several tests; they read like the interfaces that they stand for"
)]

#[path = "../examples/silo/acts.rs"]
mod acts;
#[path = "engine/attacks.rs"]
mod attacks;
#[path = "engine/backlog.rs"]
mod backlog;
#[path = "../examples/silo/chat.rs"]
mod chat;
#[path = "engine/choices.rs"]
mod choices;
#[path = "../examples/silo/client.rs"]
mod client;
#[path = "engine/codes.rs"]
mod codes;
#[path = "engine/consent.rs"]
mod consent;
#[path = "engine/crashes.rs"]
mod crashes;
#[path = "engine/direct.rs"]
mod direct;
#[path = "engine/discovery.rs"]
mod discovery;
#[path = "engine/faces.rs"]
mod faces;
#[path = "engine/files.rs"]
mod files;
#[path = "engine/flow.rs"]
mod flow;
#[path = "engine/franks.rs"]
mod franks;
#[path = "engine/held.rs"]
mod held;
#[path = "engine/homeserver.rs"]
mod homeserver;
#[path = "engine/hostile.rs"]
mod hostile;
#[path = "engine/invites.rs"]
mod invites;
#[path = "engine/jobs.rs"]
mod jobs;
#[path = "engine/keys.rs"]
mod keys;
#[path = "engine/large.rs"]
mod large;
#[path = "engine/later.rs"]
mod later;
#[path = "engine/live.rs"]
mod live;
#[path = "engine/media.rs"]
mod media;
#[path = "engine/membership.rs"]
mod membership;
#[path = "engine/mirror.rs"]
mod mirror;
#[path = "engine/muted.rs"]
mod muted;
#[path = "engine/open.rs"]
mod open;
#[path = "engine/outside.rs"]
mod outside;
#[path = "engine/permitted.rs"]
mod permitted;
#[path = "engine/policies.rs"]
mod policies;
#[path = "engine/polling.rs"]
mod polling;
#[path = "../examples/silo/port.rs"]
mod port;
#[path = "engine/portraits.rs"]
mod portraits;
#[path = "engine/presence.rs"]
mod presence;
#[path = "engine/presets.rs"]
mod presets;
#[path = "engine/process.rs"]
mod process;
#[path = "engine/provision.rs"]
mod provision;
#[path = "engine/put_out.rs"]
mod put_out;
#[path = "engine/quiet.rs"]
mod quiet;
#[path = "engine/quota.rs"]
mod quota;
#[path = "engine/races.rs"]
mod races;
#[path = "engine/rejoin.rs"]
mod rejoin;
#[path = "engine/related.rs"]
mod related;
#[path = "engine/reliability.rs"]
mod reliability;
#[path = "engine/reports.rs"]
mod reports;
#[path = "engine/rogue_hub.rs"]
mod rogue_hub;
#[path = "engine/roles.rs"]
mod roles;
#[path = "engine/rules.rs"]
mod rules;
#[path = "engine/said.rs"]
mod said;
#[path = "engine/schema.rs"]
mod schema;
#[path = "engine/sessions.rs"]
mod sessions;
#[path = "engine/settings.rs"]
mod settings;
#[path = "engine/sight.rs"]
mod sight;
#[path = "engine/silo.rs"]
mod silo;
#[path = "engine/space_portals.rs"]
mod space_portals;
#[path = "engine/spaces.rs"]
mod spaces;
#[path = "engine/three.rs"]
mod three;
#[path = "engine/told.rs"]
mod told;
#[path = "engine/trim.rs"]
mod trim;
#[path = "engine/upgrades.rs"]
mod upgrades;
#[path = "engine/versions.rs"]
mod versions;
#[path = "engine/waiting.rs"]
mod waiting;
