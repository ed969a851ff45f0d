//! Consent: one side asks for somebody of the other, who answers.

use super::{
    about::About,
    effect::{Actor, Effect, Endpoint, MatrixAction, PathTarget, Tag},
    orders::{Cause, Refusal},
    state::{Intent, Phase},
    step::Step,
};
use crate::{
    ident::UserUri,
    policy::{self, component},
    wire::{ConsentAction, ConsentEntry, Wire},
};

impl Step<'_> {
    /// Nobody wants this remote user in any more.
    pub(super) fn stop_asking(&mut self, remote: &UserUri) {
        self.room.queue.retain(|intent| !matches!(intent, Intent::Ask { user, .. } if user == remote));
        if let Some(requester) = self.room.asking.remove(remote) {
            self.ask(ConsentAction::Cancel, requester, remote.clone());
        }
        self.room.claiming.remove(remote);
    }

    /// Why a remote user cannot be asked in, for whoever wants it.
    pub(super) fn not_to_be_invited(&self, by: &UserUri, remote: &UserUri) -> Option<String> {
        match self.room.phase {
            Phase::Active => {}
            Phase::Invited | Phase::Joining => {
                return Some("This room is not connected to MIMI yet. Try again in a moment.".to_owned());
            }
            Phase::Left | Phase::Broken(_) => return Some("This room is not connected to MIMI.".to_owned()),
        }
        if self.is_banned(remote) {
            return Some(format!("{}.", self.says_banned(remote)));
        }
        if self.is_fixed() && !self.is_participant(remote) {
            return Some("This is a direct chat of two people: nobody can be added to it.".to_owned());
        }
        if self.is_outside(remote) {
            let parent =
                self.state().and_then(|state| state.base_policy.parent().map(str::to_owned)).unwrap_or_default();
            return Some(format!(
                "{} is not in {parent}, the space to which this room belongs: invite them there first.",
                self.names.display(remote)
            ));
        }
        self.names.not_reached(&remote.provider(), Some(by))
    }

    /// One of our users wants a remote user in: consent comes first.
    pub(super) fn ask_in(&mut self, by: &UserUri, remote: &UserUri) -> Result<(), Refusal> {
        self.ask_in_if(by, remote, Self::count_invitation)
    }

    /// The same for the other one of a direct chat: that invitation was counted before the room was made.
    pub(super) fn ask_other_in(&mut self, by: &UserUri, remote: &UserUri) -> Result<(), Refusal> {
        self.ask_in_if(by, remote, |_, _| Ok(()))
    }

    fn ask_in_if(
        &mut self,
        by: &UserUri,
        remote: &UserUri,
        counts: impl FnOnce(&Self, &UserUri) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        if let Some(why) = self.not_to_be_invited(by, remote) {
            return Err(Refusal::new(Cause::Conflict, why));
        }
        let is_out = self.room.banned.contains(remote) || !self.is_participant(remote);
        let stays = self.will_be_participant(remote);
        let is_let_be = !is_out && stays && self.room.contested.agrees(remote);
        if is_let_be || stays && self.group.in_group(remote) {
            self.sync_members();
            return Ok(());
        }
        if let Some(refusal) = self.may_not_bring(by, Some(&remote.provider())) {
            return Err(refusal);
        }
        if let Some(refusal) = self.is_full().filter(|_| !self.is_participant(remote)) {
            return Err(refusal);
        }
        counts(self, by)?;
        if self.is_participant(remote) && !stays || self.is_banned_now(remote) {
            // Their provider would not know what to make of it: they have to be out first, or free.
            if !self.is_to_be_asked(remote) {
                self.room.queue.push_back(Intent::Ask { by: by.clone(), user: remote.clone() });
            }
            return Ok(());
        }
        self.room.asking.insert(remote.clone(), by.clone());
        self.ask(ConsentAction::Request, by.clone(), remote.clone());
        Ok(())
    }

    /// Whether a remote user is asked in once they are out, or their ban is lifted.
    pub(super) fn is_to_be_asked(&self, remote: &UserUri) -> bool {
        self.room.queue.iter().any(|intent| matches!(intent, Intent::Ask { user, .. } if user == remote))
    }

    /// Somebody here removed a ghost and invited it anew before it left. Its leave ended that invitation, so it is made again.
    pub(super) fn invite_again(&mut self, remote: &UserUri) {
        if !self.is_to_be_asked(remote) || self.is_banned(remote) {
            return;
        }
        if let (Some(room), Some(target)) = (self.room.matrix.clone(), self.names.matrix_id(remote)) {
            let (actor, is_direct) = (self.room.speaker.clone(), false);
            self.out.push(Effect::Matrix(MatrixAction::Invite { room, actor, target, is_direct }));
        }
    }

    /// What had to go before has: who was invited meanwhile is asked.
    pub(super) fn ask_at_last(&mut self, by: &UserUri, remote: &UserUri) {
        if let Err(refusal) = self.ask_other_in(by, remote) {
            self.decline(remote.clone(), refusal.text);
        }
    }

    /// Whether one of ours is on the list with a client.
    pub(super) fn is_in(&self, user: &UserUri) -> bool {
        self.is_participant(user) && self.group.in_group(user)
    }

    /// The components of the room that a consent request carries.
    fn about(&self) -> std::collections::BTreeMap<u16, Vec<u8>> {
        let Some(state) = self.state() else { return std::collections::BTreeMap::new() };
        let mut components = state.to_components().unwrap_or_default();
        components.retain(|id, _| matches!(*id, component::ROOM_METADATA | component::BASE_ROOM_POLICY));
        if self.room.space {
            components.insert(component::SPACE, Vec::new());
        }
        components
    }

    pub(super) fn ask(&mut self, action: ConsentAction, requester: UserUri, target: UserUri) {
        let peer = target.provider();
        let entry = ConsentEntry {
            action,
            requester,
            target,
            room: Some(self.room.uri.clone()),
            extensions: crate::wire::AppDataDictionary(self.about()),
        };
        self.out.push(Effect::Call {
            peer: peer.clone(),
            endpoint: Endpoint::RequestConsent,
            target: PathTarget::Domain(peer),
            body: entry.encode(),
            tag: Tag::None,
        });
    }

    /// A remote user consents to be added.
    pub(super) fn on_granted(&mut self, requester: &UserUri, target: &UserUri, key_packages: Vec<Vec<u8>>) {
        let Some(by) = self.room.asking.get(target).cloned() else {
            return self.report(format!("{target} consents to something that nobody asks for"));
        };
        if by != *requester {
            return self.report(format!("{target} consents to {requester}, but {by} asked"));
        }
        if self.room.phase != Phase::Active {
            return self.report(format!("{target} consents, but the room is not connected any more"));
        }
        // As follower the KeyPackages have to come by way of the hub.
        let key_packages = if self.is_hub() { key_packages } else { Vec::new() };
        if self.is_hub() && key_packages.is_empty() {
            // A grant need not have any.
            return self.claim(requester, target);
        }
        self.want_in(Intent::Add { by, user: target.clone(), key_packages });
    }

    /// A remote user does not want to come, or not any more: whoever asked hears it.
    pub(super) fn on_revoked(&mut self, requester: &UserUri, target: &UserUri) {
        if self.room.asking.get(target) != Some(requester) || self.group.in_group(target) {
            return;
        }
        self.room.asking.remove(target);
        self.room.claiming.remove(target);
        self.decline(
            target.clone(),
            format!("{} does not agree to be added to this room.", self.names.display(target)),
        );
    }

    /// Why a remote user may not ask this user of ours in. Nothing is stored then, and nobody is told but the operator.
    pub(crate) fn refuses_asking(&self, requester: &UserUri, target: &UserUri) -> Option<String> {
        if self.room.phase == Phase::Active {
            // Elsewhere the host decides; here the end of the ban may not have come yet.
            if self.is_hub() && self.is_banned_now(target) {
                return Some(format!("{requester} asks {target} in, who is banned"));
            }
            // Only who may add is let to invite: our users must not find their way into a room by a stranger's word.
            let listed = self.is_participant(target) && self.is_participant(requester);
            let may_add = self.state().is_some_and(|state| state.can(requester, policy::Capability::AddParticipant));
            return (!listed && !may_add).then(|| format!("{requester} asks {target} in, but may add nobody"));
        }
        let asker = self.room.asked.get(target);
        // Who waits to be added again may be added by anybody who was in the room.
        let back = self.room.waiting && self.room.ghosts.contains(requester);
        let other = asker.is_none_or(|asker| asker.provider() != requester.provider());
        if self.room.present.contains(target) && other && !back {
            // Joining was the answer to somebody else's question: another provider cannot take it for its own.
            return Some(format!("{requester} asks {target} in, who consented to others"));
        }
        None
    }

    /// Those who went by this commit, and were asked in again before we heard of it.
    pub(super) fn asked_before_they_went(&mut self, gone: &std::collections::BTreeSet<UserUri>) {
        for user in gone {
            let Some(requester) = self.recent.asked_early(user, self.now) else { continue };
            let may_add = self.state().is_none_or(|state| state.can(&requester, policy::Capability::AddParticipant));
            if may_add && !self.is_banned_now(user) && !self.room.asked.contains_key(user) {
                self.room.asked.insert(user.clone(), requester);
                self.invite_asked(user);
            }
        }
    }

    /// A remote user asks one of ours in.
    pub(super) fn on_asked(&mut self, requester: UserUri, target: UserUri, about: &About, standing: bool) {
        // Perhaps somebody removed them, and asks anew before we hear of it.
        if self.is_in(&target) {
            // At the hub nobody hears of a removal before it does.
            let may_add = self.state().is_some_and(|state| state.can(&requester, policy::Capability::AddParticipant));
            if may_add && !self.is_hub() && !self.is_fixed() && self.room.phase == Phase::Active {
                self.recent.is_asked_early(target, requester, self.now);
            }
            return;
        }
        if let Some(why) = self.refuses_asking(&requester, &target) {
            return self.report(why);
        }
        if self.room.phase == Phase::Left || matches!(self.room.phase, Phase::Broken(_)) && !self.group.is_member() {
            self.room.phase = Phase::Invited;
        }
        let other = self.room.asked.get(&target).filter(|first| **first != requester);
        // Somebody else of the same provider, after whoever asked first went away: the target has agreed to come.
        let instead = |first: &UserUri| self.room.present.contains(&target) && first.provider() == requester.provider();
        if other.is_some_and(|first| !instead(first)) {
            // The invitation that is shown is another's: the answer to it must not go to this one.
            return self.report(format!("{requester} asks {target}, who is asked by another already"));
        }
        // While we hear the group, the end of a ban is the host's to say, and not that of whoever asks.
        let waits = self.room.phase == Phase::Active && self.sees_group() && self.is_banned_now(&target);
        if !waits {
            self.room.asked_in_vain.remove(&target);
            self.lift_shut(&target);
        }
        let again = self.room.asked.insert(target.clone(), requester.clone()).is_some();
        if standing && !self.room.present.contains(&target) {
            self.room.invited_by.insert(target.clone(), requester.clone());
        }
        if waits && self.room.matrix.is_some() {
            self.room.asked_in_vain.insert(target);
            return;
        }
        let Some(id) = self.names.matrix_id(&target) else { return };
        if self.room.present.contains(&target) {
            self.out.push(Effect::Grant { requester, target });
            return;
        }
        match self.room.matrix.clone() {
            None if again => {}
            None => self.make_portal(&requester, id, about),
            Some(room) => {
                let actor = self.inviter(&requester);
                let is_direct = self.room.direct;
                self.out.push(Effect::Matrix(MatrixAction::Invite { room, actor, target: id, is_direct }));
            }
        }
    }

    /// Who invites on behalf of a remote user: its ghost, if it is in the room.
    pub(super) fn inviter(&self, requester: &UserUri) -> Actor {
        let is_here = self.room.ghosts.contains(requester) && !self.is_going(requester);
        if is_here { Actor::Ghost(requester.clone()) } else { self.room.speaker.clone() }
    }

    pub(super) fn on_ask_cancelled(&mut self, requester: &UserUri, target: &UserUri) {
        self.recent.is_asked_no_more(target, requester);
        if self.room.asked.get(target) != Some(requester) {
            return;
        }
        self.room.asked.remove(target);
        if self.room.asked_in_vain.remove(target) {
            return;
        }
        if self.room.present.contains(target) {
            if self.room.direct {
                self.taken_back(requester);
            } else if !self.will_be_participant(target) && !self.group.in_group(target) {
                // They came too late, and nobody will add them.
                self.put_out(target, "the invitation was taken back");
            }
            return;
        }
        self.withdraw(target);
    }

    /// The Matrix invitation of one of our users ends; at once, or when the room in which it stands is made.
    pub(super) fn withdraw(&mut self, target: &UserUri) {
        let Some(room) = self.room.matrix.clone() else {
            self.room.taken_back.insert(target.clone());
            return;
        };
        if let Some(id) = self.names.matrix_id(target) {
            self.out.push(Effect::Matrix(MatrixAction::Kick {
                room,
                actor: self.room.speaker.clone(),
                target: id,
                reason: "the invitation was taken back".to_owned(),
            }));
        }
    }
}
