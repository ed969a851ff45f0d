//! `mimi-gateway version`: what this binary is and speaks.

use std::fmt::Write as _;

use crate::config::StoreEngine;

/// The drafts that this version implements, with the revision.
pub const DRAFTS: [(&str, &str); 7] = [
    ("draft-ietf-mimi-protocol-06", "providers' protocol"),
    ("draft-ietf-mimi-room-policy-03", "participants, roles, capabilities"),
    ("draft-ietf-mimi-content-08", "message format"),
    ("draft-ietf-mls-extensions-10", "AppDataUpdate, SelfRemove, app_data_dictionary"),
    ("draft-ietf-mls-ratchet-tree-options-00", "ratchet trees beside GroupInfo and Welcome"),
    ("draft-mahy-mimi-identity-05", "forms of mimi: URIs"),
    ("RFC 9420", "Messaging Layer Security, through OpenMLS 0.9.2"),
];

/// The text of the command.
pub(super) fn text() -> String {
    let mut out = format!("mimi-gateway {}\n\nImplements:\n", env!("CARGO_PKG_VERSION"));
    for (draft, what) in DRAFTS {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "  {draft:<40} {what}");
    }
    out.push_str("\nStore engines:\n");
    for engine in StoreEngine::ALL {
        let note = match engine {
            StoreEngine::Sqlite => "the default; loses nothing that it acknowledged",
            StoreEngine::Sled => "can lose acknowledged writes in a power cut; see docs/admin.md",
        };
        let _ = writeln!(out, "  {:<40} {note}", engine.as_str());
    }
    out
}
