//! As hub: what was accepted counts from then on, whether it is committed yet or not (draft-ietf-mimi-protocol-06 section 7.1).
//!
//! Proposals that only a member can commit wait for one: who leaves by them, is removed from the list or banned says nothing
//! more meanwhile, commits nothing, and proposes nothing but to leave (section 5.3).

use std::collections::BTreeSet;

use super::step::Step;
use crate::{
    ident::{ProviderDomain, UserUri},
    policy::{Capability, Pending, Role, RoomState, component, role},
    wire::{MlsMessage, MlsMessageFields, Proposal, ProposalOrRef, PublicFields, Sender, Wire},
};

/// Who is on their way out: by a leave of their own, or by a change of the participant list.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    leaving: BTreeSet<UserUri>,
    list: Pending,
}

impl Overlay {
    /// Whether nothing more is taken from this user.
    pub(super) fn is_going(&self, state: &RoomState, user: &UserUri) -> bool {
        self.leaving.contains(user) || self.list.is_going(state, user)
    }

    /// Whether messages go to this user's clients.
    fn may_receive(&self, state: &RoomState, user: &UserUri) -> bool {
        !self.leaving.contains(user) && self.list.may_receive(state, user)
    }
}

/// The changes of the participant list that a message proposes.
fn list_updates(message: &MlsMessage) -> Vec<Vec<u8>> {
    let update = |proposed| match proposed {
        ProposalOrRef::Proposal(Proposal::AppDataUpdate {
            component: component::PARTICIPANT_LIST,
            update: Some(update),
        }) => Some(update),
        _ => None,
    };
    message.proposals().into_iter().filter_map(update).collect()
}

impl Step<'_> {
    /// What waits for a commit; empty nearly always.
    pub(super) fn overlay(&self) -> Overlay {
        if !self.group.has_pending() {
            return Overlay::default();
        }
        let mut overlay = Overlay { leaving: self.group.leaving().into_values().collect(), ..Overlay::default() };
        let Some(state) = self.state() else { return overlay };
        let messages = self.group.pending_proposals();
        for update in messages.iter().filter_map(|bytes| MlsMessage::decode(bytes).ok()).flat_map(|m| list_updates(&m))
        {
            // What the policy accepted can be read.
            let _ = overlay.list.take(&state, &update);
        }
        overlay
    }

    /// Whether the user leaves, or is removed or banned, by what was accepted and waits for a commit.
    pub(super) fn is_on_the_way_out(&self, user: &UserUri) -> bool {
        self.group.has_pending() && self.state().is_some_and(|state| self.overlay().is_going(&state, user))
    }

    /// The user whose leaf sent this handshake message.
    fn sent_by(&self, message: &MlsMessage) -> Option<UserUri> {
        let MlsMessageFields::Public(PublicFields { sender: Sender::Member(leaf), .. }) = message.fields() else {
            return None;
        };
        self.group.user_of(*leaf)
    }

    /// Who makes this commit although they are on their way out.
    pub(super) fn commits_in_going(&self, commit: &MlsMessage) -> Option<UserUri> {
        if !self.group.has_pending() {
            return None;
        }
        self.sent_by(commit).filter(|user| self.is_on_the_way_out(user))
    }

    /// Who of those who are on their way out proposes something else than to leave.
    pub(super) fn proposes_in_going(&self, proposals: &[MlsMessage]) -> Option<UserUri> {
        let state = self.group.has_pending().then(|| self.state()).flatten()?;
        let overlay = self.overlay();
        let goes = |proposed: &ProposalOrRef| {
            matches!(proposed, ProposalOrRef::Proposal(Proposal::Remove(_) | Proposal::SelfRemove))
        };
        let more = proposals.iter().filter(|message| !message.proposals().iter().all(goes));
        more.filter_map(|message| self.sent_by(message)).find(|user| overlay.is_going(&state, user))
    }

    /// The other providers to whom messages go: those that the Matrix room does not keep out, with somebody who may receive them,
    /// and is not on their way out.
    pub(super) fn readers(&self) -> BTreeSet<ProviderDomain> {
        let mut peers = self.peers();
        // Somebody of theirs may be in the group that nobody can take out.
        peers.retain(|peer| !self.room.bars(peer));
        let Some(state) = self.state() else { return peers };
        let hears = |role: &Role| role.index <= role::BANNED || role.can(Capability::ReceiveMessage);
        if !self.group.has_pending() && state.roles.0.iter().all(hears) {
            return peers;
        }
        let overlay = self.overlay();
        peers.retain(|peer| {
            let mut theirs = state.participants.iter().map(|(user, _)| user).filter(|user| user.provider() == *peer);
            theirs.any(|user| overlay.may_receive(&state, user))
        });
        peers
    }
}
