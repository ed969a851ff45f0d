//! OpenMLS behind our own types: one stored member state a room (RFC 9420, draft-ietf-mls-extensions).

mod commit;
mod components;
mod error;
mod frame;
mod identity;
mod join;
mod key_package;
pub mod labels;
mod member;
mod overlay;
mod public;
mod secrets;
mod view;

pub use commit::{Announced, AppDataChange, Applied, Change, StagedCommit};
pub use error::MlsError;
pub use frame::{
    Frame, FrameSender, HandshakeKind, application_aad, commit_references, handshake_kind, is_self_remove, welcome_refs,
};
pub use identity::{
    CIPHER_SUITE, DEVICE, LIFETIME_SECONDS, PAST_EPOCHS, meets, our_capabilities, required_capabilities, user_of,
};
pub use join::{ExternalJoin, NewGroup, components_outside, epoch_outside, users_outside};
pub use key_package::{KeyPackageView, MadeKeyPackage, check_key_package, make_key_package};
pub use member::{GroupInfoParts, Member, Opened, RowChanges, Rows};
pub use public::{Ours, PublicView};
pub use view::{
    AddView, AppDataOp, AppDataView, CommitSender, CommitView, Judge, Leaf, NewComponents, ProposalSender,
    ProposalView, Proposed, RemoveView,
};

#[cfg(test)]
mod tests;
