//! inbox -> room actor -> outbox: batching, retries, timers, quarantine; and the ports that the edges implement.
//!
//! ```text
//!  transaction --> ingest --> INBOX --+                    +--> OUTBOX lane (room)       --> homeserver
//!                        \--> LOBBY   +--> room actor: one +--> OUTBOX lane (peer, room) --> peer
//!  notify, consent ---------> INBOX --+    step, one batch |
//!  submit, update --(waits for the answer)-->              +--> answer, stored with the request's hash
//! ```

mod actor;
mod aliases;
mod aside;
mod asking;
mod caught;
mod chats;
mod clock;
mod consent;
mod consent_words;
mod core;
mod damage;
mod denial;
mod desk;
mod discovery;
mod door;
mod effects;
mod ended;
mod faces;
mod facts;
mod files;
mod finding;
mod fingerprint;
mod franking;
mod group;
mod ingest;
mod items;
mod key_material;
mod keys;
mod kin;
mod lane;
mod later;
mod lineage;
mod links;
mod lobby;
mod losses;
mod mail;
mod meter;
mod mirror;
mod names;
mod noise;
mod offer;
mod opening;
mod orders;
mod overview;
mod patience;
mod permits;
mod poison;
mod polling;
pub mod ports;
mod presence;
mod provider;
mod reached;
mod receipts;
mod records;
mod relations;
mod report;
mod requests;
pub mod rights;
mod rows;
mod settings;
mod signs;
mod starting;
mod tables;
mod trickle;
mod trim;
mod upgrade;
mod window;

pub use aside::SetAside;
pub use core::Engine;
pub use denial::{Denial, ProviderSummary};
pub use files::Files;
pub use fingerprint::Fingerprint;
pub use mirror::{
    Counts, FASTEST, Finding, MOST_ROOMS, MirrorError, MirrorJob, MirrorRequest, MirrorRow, Outcome, Raised, Selection,
    Stage, Weight,
};
pub use names::GatewayNames;
pub use noise::{Line, Noise};
pub use orders::{Asker, OrderError, Ordered, Told};
pub use overview::RoomSummary;
pub use presence::{duration, is_unknown_token};
pub use settings::EngineSettings;
pub use trim::Keep;
