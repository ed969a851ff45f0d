//! The follower's part: what the hub distributes, and what it answers (draft-ietf-mimi-protocol-06 sections 5.3 to 5.5).

use super::{
    effect::{Effect, Endpoint, Millis, Tag},
    group::{GroupError, Origin, PENDING, Staged},
    state::{Held, InFlight, Intent, Lost, Phase, Submitted},
    step::{Step, hash},
};
use crate::{
    ident::UserUri,
    wire::{
        CommitBundle, FanoutContent, FanoutMessage, Frank, GroupInfoOption, HandshakeBundle, MlsMessage,
        RatchetTreeOption, RawGroupInfo, RawRatchetTree, RawWelcome, SubmitMessageRequest, SubmitMessageResponse,
        UpdateOutcome, UpdateRoomResponse, Wire,
    },
};

/// Messages of epochs that have not come yet: more than these mean that something was lost.
pub(super) const MAX_HELD: usize = 1000;
/// Hashes of own messages that are remembered until they come back.
const MAX_OWN: usize = 1024;
/// How long proposals that the hub knows of may take to come before a commit is tried again, in milliseconds.
const UNKNOWN_PROPOSALS: Millis = 1_000;
/// How often that is waited for.
const MAX_UNKNOWN: u32 = 5;
/// Refusals for the epoch after which an intent is given up.
const MAX_ATTEMPTS: u32 = 50;

impl Step<'_> {
    /// One message of the hub.
    pub(super) fn on_fanout(&mut self, fanout: FanoutMessage) {
        let welcome = matches!(fanout.content, FanoutContent::Welcome { .. });
        if matches!(self.room.phase, Phase::Broken(_)) && (!welcome || self.group.is_member()) {
            return self.report("a message came for a broken room; it is not shown");
        }
        if self.room.phase == Phase::Left && !welcome {
            // A Welcome counts: somebody is in with a KeyPackage of ours, and has to leave again if they are gone.
            return;
        }
        let at = fanout.timestamp;
        self.room.last_accepted = self.room.last_accepted.max(at);
        // The hub's way to us works: what is missing may come behind this.
        self.room.behind_since = self.now;
        if self.room.rejoin.is_some() {
            return self.on_fanout_on_the_way(fanout);
        }
        self.on_content(fanout.content, at);
    }

    pub(super) fn on_content(&mut self, content: FanoutContent, at: Millis) {
        match content {
            FanoutContent::Application { message, frank } => {
                self.on_application(message.as_bytes(), at, frank.as_ref());
            }
            FanoutContent::Proposal { message, more } => {
                for proposal in std::iter::once(message).chain(more) {
                    // Also our own, which is pending already unless it was taken back meanwhile.
                    let own = self.forget_own(proposal.as_bytes());
                    if self.passed_over(proposal.epoch()) {
                        continue;
                    }
                    match self.group.store_proposal(proposal.as_bytes(), Origin::Hub, self.now) {
                        Err(GroupError::Epoch { message, current }) if message > current => self.fall_behind(message),
                        Err(error) if !own => self.group_failed("a proposal of the hub", &error),
                        // There is something new to commit.
                        Ok(()) => {
                            self.room.settle = self.room.settle.filter(|settle| !settle.tried);
                            self.room.pause = 0;
                        }
                        Err(_) => {}
                    }
                }
            }
            FanoutContent::Commit { message, external_proposals } => {
                self.on_commit(message.as_bytes(), at);
                for proposal in external_proposals {
                    if let Err(error) = self.group.store_proposal(proposal.as_bytes(), Origin::Hub, self.now) {
                        self.group_failed("a replacement proposal of the hub", &error);
                    }
                }
            }
            FanoutContent::Welcome { message, ratchet_tree } => self.on_welcome(message.as_bytes(), &ratchet_tree),
        }
    }

    fn on_application(&mut self, message: &[u8], at: Millis, frank: Option<&Frank>) {
        let digest = hash(message);
        if self.room.submitted.iter().any(|waiting| waiting.hash == digest) {
            // It overtook the hub's answer.
            return self.submit_accepted(digest, at, frank);
        }
        if self.forget_own(message) {
            return;
        }
        if !self.group.is_member() && self.room.gap.1 == u64::MAX {
            // On its way before we were out for good.
            self.room.unreadable += 1;
            return self.report("a message came that nobody here can read any more");
        }
        if !self.group.is_member() || self.room.matrix.is_none() {
            return self.hold(message, at, frank);
        }
        match self.group.open(message) {
            Ok(opened) => self.show(&opened, at, frank),
            Err(GroupError::Epoch { message: epoch, current }) if epoch > current => {
                self.hold(message, at, frank);
                self.fall_behind(epoch);
            }
            Err(GroupError::Epoch { message: epoch, .. }) if self.passed_over(Some(epoch)) => {
                self.room.unreadable += 1;
                self.report(format!("a message of epoch {epoch} cannot be read: the room was not in it"));
            }
            Err(error) => self.group_failed("a message of the hub", &error),
        }
    }

    fn hold(&mut self, message: &[u8], accepted: Millis, frank: Option<&Frank>) {
        if self.room.held.len() >= MAX_HELD {
            self.lost(Lost::Way, "too many messages wait for an epoch that never comes");
            self.room.unreadable += 1;
            return self.report("a message had to be let go: too many wait");
        }
        self.room.held.push(Held { accepted, message: message.to_vec(), frank: frank.map(Wire::encode) });
    }

    pub(super) fn open_held(&mut self) {
        for held in std::mem::take(&mut self.room.held) {
            let frank = held.frank.and_then(|bytes| Frank::decode(&bytes).ok());
            self.on_application(&held.message, held.accepted, frank.as_ref());
        }
    }

    fn on_commit(&mut self, commit: &[u8], at: Millis) {
        if !self.group.is_member() {
            // Before our Welcome: not for us.
            return;
        }
        if let Some(InFlight::Commit { staged, merged }) = self.room.in_flight.clone()
            && staged.commit == commit
        {
            if !merged {
                self.merge(&staged);
                self.room.in_flight = Some(InFlight::Commit { staged, merged: true });
            }
            return;
        }
        if self.forget_own(commit) {
            return;
        }
        let listed = self.listed();
        match self.group.apply(commit, Origin::Hub, self.now) {
            Ok(applied) => {
                self.after_commit(&applied, &listed);
                self.open_held();
            }
            Err(GroupError::Epoch { message, current }) if message < current => {}
            Err(GroupError::Epoch { message, current }) => {
                let why = format!("changes are missing: its host is in epoch {message}, this server is in {current}");
                self.lost_at_commit(&why, commit, at);
            }
            Err(GroupError::Forged(user)) => self.group_failed("a commit", &GroupError::Forged(user)),
            // What the room's own rules forbid is not made good by joining behind it.
            Err(GroupError::Refused(why)) => {
                self.mark_broken(&format!("its host took a change that the room's rules forbid: {why}"));
            }
            Err(error) => self.lost_at_commit(&format!("a change cannot be followed: {error}"), commit, at),
        }
    }

    fn merge(&mut self, staged: &Staged) {
        let listed = self.listed();
        match self.group.accept(staged, self.now) {
            Ok(applied) => {
                if self.room.stale {
                    self.room.fresh.insert(staged.user.clone());
                }
                self.done_describing();
                self.done_appointing();
                self.after_commit(&applied, &listed);
                self.open_held();
            }
            Err(error) => self.lost(Lost::Way, &format!("a change of its own cannot be followed: {error}")),
        }
    }

    pub(super) fn remember_own(&mut self, digest: [u8; 32]) {
        self.room.own.push_back(digest);
        while self.room.own.len() > MAX_OWN {
            self.room.own.pop_front();
        }
    }

    /// Whether this is a message of our own that came back; it is forgotten then.
    fn forget_own(&mut self, message: &[u8]) -> bool {
        let digest = hash(message);
        let before = self.room.own.len();
        self.room.own.retain(|known| *known != digest);
        self.room.own.len() != before
    }

    // ------------------------------------------------------------------------------------------- towards the hub

    /// Sends a sealed message to the hub.
    pub(super) fn submit(&mut self, user: &UserUri, sealed: &[u8], intent: Intent) {
        let message = match MlsMessage::decode(sealed) {
            Ok(message) => message,
            Err(error) => return self.report(format!("a sealed message does not parse: {error}")),
        };
        let digest = hash(sealed);
        let epoch = self.group.epoch();
        let body = SubmitMessageRequest { app_message: message, sending_user: user.clone() }.encode();
        self.room.submitted.push_back(Submitted { hash: digest, epoch, intent });
        self.call_room(self.room.uri.hub(), Endpoint::SubmitMessage, body, Tag::Submit(digest));
    }

    /// Sends a commit to the hub; it is merged when the hub accepts it.
    pub(super) fn send_commit(&mut self, staged: Staged) {
        let bundle = (|| {
            Some(HandshakeBundle::Commit(Box::new(CommitBundle {
                commit: MlsMessage::decode(&staged.commit).ok()?,
                welcome: match &staged.welcome {
                    Some(raw) => Some(RawWelcome::from_bytes(raw.clone()).ok()?),
                    None => None,
                },
                group_info: GroupInfoOption::Full(RawGroupInfo::from_bytes(staged.group_info.clone()).ok()?),
                ratchet_tree: RatchetTreeOption::Full(RawRatchetTree::from_bytes(staged.ratchet_tree.clone()).ok()?),
            })))
        })();
        let Some(bundle) = bundle else { return self.report("a staged commit does not parse") };
        self.room.in_flight = Some(InFlight::Commit { staged: Box::new(staged), merged: false });
        self.send_update(bundle.encode());
    }

    /// Sends the external commit by which we come into the room.
    pub fn send_join(&mut self, user: &UserUri, staged: Staged) {
        self.room.invited_by.insert(user.clone(), user.clone());
        self.send_commit(staged);
        if let Some(InFlight::Commit { merged, .. }) = &mut self.room.in_flight {
            *merged = true;
        }
    }

    /// The hub let us in: a portal for those who joined.
    fn joined(&mut self) {
        self.room.phase = Phase::Active;
        self.room.direct = self.is_fixed();
        for user in self.group.local_users() {
            self.invite_back(&user);
        }
        self.dress_portal();
        self.sync_members();
        self.keep_leaves_fresh();
        self.open_held();
    }

    /// Sends the proposals by which a user leaves.
    pub(super) fn send_leave(&mut self, user: &UserUri, proposals: Vec<Vec<u8>>) {
        let mut messages = Vec::new();
        for proposal in &proposals {
            match MlsMessage::decode(proposal) {
                Ok(message) => messages.push(message),
                Err(error) => return self.report(format!("a proposal of our own does not parse: {error}")),
            }
            self.remember_own(hash(proposal));
        }
        self.room.in_flight = Some(InFlight::Leave { user: user.clone(), proposals });
        self.send_update(HandshakeBundle::Proposals(messages).encode());
    }

    fn send_update(&mut self, body: Vec<u8>) {
        let digest = hash(&body);
        self.room.awaiting = Some(digest);
        self.call_room(self.room.uri.hub(), Endpoint::Update, body, Tag::Update(digest));
    }

    // ------------------------------------------------------------------------------------------- the hub's answers

    /// An answer of the hub, or the certainty that there will be none.
    pub(super) fn on_answered(&mut self, tag: Tag, result: Result<Vec<u8>, String>) {
        match tag {
            Tag::None => {}
            Tag::Submit(digest) => {
                let answer = result.and_then(|body| {
                    SubmitMessageResponse::decode(&body).map_err(|e| format!("unreadable answer: {e}"))
                });
                self.on_submit_answer(digest, answer);
            }
            Tag::Update(digest) => {
                if self.room.awaiting != Some(digest) {
                    return;
                }
                self.room.awaiting = None;
                let answer = result
                    .and_then(|body| UpdateRoomResponse::decode(&body).map_err(|e| format!("unreadable answer: {e}")));
                self.on_update_answer(answer);
            }
        }
    }

    fn submit_accepted(&mut self, digest: [u8; 32], at: Millis, frank: Option<&Frank>) {
        let Some(place) = self.room.submitted.iter().position(|waiting| waiting.hash == digest) else { return };
        if let Some(Submitted { intent, .. }) = self.room.submitted.remove(place)
            && let Intent::Say { user, event, content, message_id } = intent
        {
            let franked = self.franked(&user, &content, at, frank);
            self.log_own(at, message_id, event, franked);
            self.drop_files_with(&content);
        }
    }

    fn on_submit_answer(&mut self, digest: [u8; 32], answer: Result<SubmitMessageResponse, String>) {
        if !self.room.submitted.iter().any(|waiting| waiting.hash == digest) {
            // It came back by fan-out before, which said all.
            return;
        }
        match answer {
            Ok(SubmitMessageResponse::Accepted { accepted_timestamp, frank }) => {
                self.remember_own(digest);
                self.submit_accepted(digest, accepted_timestamp, frank.as_ref());
            }
            Ok(SubmitMessageResponse::EpochTooOld { .. }) if self.room.phase != Phase::Active => {
                self.submit_failed(digest, "nobody here is in the MIMI room any more");
            }
            Ok(SubmitMessageResponse::EpochTooOld { current_epoch }) => {
                self.fall_behind(current_epoch);
                if let Some(waiting) = self.take_submitted(digest) {
                    self.room.again.push_back(waiting.intent);
                }
            }
            Ok(SubmitMessageResponse::NotAllowed) => self.submit_failed(digest, "the hub does not allow it"),
            Err(why) => self.submit_failed(digest, &why),
        }
    }

    fn take_submitted(&mut self, digest: [u8; 32]) -> Option<Submitted> {
        let place = self.room.submitted.iter().position(|waiting| waiting.hash == digest)?;
        self.room.submitted.remove(place)
    }

    fn submit_failed(&mut self, digest: [u8; 32], why: &str) {
        if let Some(waiting) = self.take_submitted(digest) {
            self.give_up(&waiting.intent, why);
        }
    }

    fn on_update_answer(&mut self, answer: Result<UpdateRoomResponse, String>) {
        let Some(in_flight) = self.room.in_flight.take() else { return };
        if self.rejoin_is_sent() {
            return self.on_rejoin_answer(answer, &in_flight);
        }
        match (answer, in_flight) {
            (Ok(UpdateRoomResponse { outcome: UpdateOutcome::Success { accepted_timestamp }, .. }), sent) => {
                self.room.last_accepted = self.room.last_accepted.max(accepted_timestamp);
                if self.room.phase == Phase::Joining {
                    return self.joined();
                }
                match sent {
                    InFlight::Commit { staged, merged: false } => {
                        self.remember_own(hash(&staged.commit));
                        self.merge(&staged);
                    }
                    // The commit may have come before this answer.
                    InFlight::Leave { user, proposals } if self.group.in_group(&user) => {
                        let made = proposals.first().and_then(|first| MlsMessage::decode(first).ok()?.epoch());
                        if made == Some(self.group.epoch()) {
                            self.room.leaving.insert(user);
                        } else {
                            // It came, and had not taken them in.
                            self.want_first(Intent::Leave { user });
                        }
                    }
                    InFlight::Commit { .. } | InFlight::Leave { .. } => {}
                }
            }
            (Ok(UpdateRoomResponse { outcome: UpdateOutcome::WrongEpoch { current_epoch }, .. }), sent) => {
                if self.room.phase == Phase::Joining {
                    return self.update_failed(sent, "the room changed meanwhile; try again");
                }
                if let InFlight::Commit { merged: true, .. } = sent {
                    return;
                }
                self.fall_behind(current_epoch);
                self.room.attempts += 1;
                self.unsend(sent);
            }
            (Ok(answer), sent @ InFlight::Commit { merged: false, .. }) if self.comes_too_early(&answer, &sent) => {
                self.room.attempts += 1;
                self.unsend(sent);
                if self.room.pause > self.now && self.room.attempts > MAX_UNKNOWN {
                    self.room.pause = 0;
                    self.lost(Lost::Way, "its host speaks of proposals that never came");
                }
            }
            (Ok(answer), sent) => {
                let why = if answer.description.is_empty() {
                    "the hub does not allow it".to_owned()
                } else {
                    format!("the hub does not allow it: {}", answer.description)
                };
                self.update_failed(sent, &why);
            }
            (Err(why), sent) => self.update_failed(sent, &why),
        }
    }

    /// The update did not happen: what it was for waits for another try.
    /// Whether our commit was refused because it leaves out what is proposed: made anew it takes that in. If we do not know
    /// of it yet, it is on its way to us.
    fn comes_too_early(&mut self, answer: &UpdateRoomResponse, sent: &InFlight) -> bool {
        let InFlight::Commit { staged, .. } = sent else { return false };
        if answer.outcome != UpdateOutcome::NotAllowed || self.room.phase == Phase::Joining {
            return false;
        }
        if matches!(self.group.is_complete(&staged.commit), Err(GroupError::Incomplete(_))) {
            return true;
        }
        if staged.epoch != self.group.epoch() || !answer.description.contains(PENDING) {
            return false;
        }
        self.room.pause = self.now.saturating_add(UNKNOWN_PROPOSALS);
        self.out.push(Effect::Wake(self.room.pause));
        true
    }

    fn unsend(&mut self, sent: InFlight) {
        if let InFlight::Leave { user, proposals } = sent {
            self.take_back(&proposals);
            self.room.queue.push_front(Intent::Leave { user });
        }
        if self.room.attempts > MAX_ATTEMPTS {
            self.room.attempts = 0;
            if let Some(intent) = self.room.queue.pop_front() {
                self.give_up(&intent, "the room changes faster than this change can be made");
            }
        }
    }

    fn take_back(&mut self, proposals: &[Vec<u8>]) {
        if let Err(error) = self.group.forget(proposals) {
            self.group_failed("proposals of our own that are taken back", &error);
        }
    }

    fn update_failed(&mut self, sent: InFlight, why: &str) {
        if self.room.phase == Phase::Joining {
            // The state is one of an epoch that never was; another try begins with another group number.
            self.group.discard();
            self.room.group += 1;
            self.room.phase = Phase::Left;
            self.room.live.clear();
            return self.report(format!("the room cannot be joined: {why}"));
        }
        match sent {
            InFlight::Commit { merged: true, .. } => {}
            InFlight::Leave { user, proposals } => {
                self.take_back(&proposals);
                self.give_up(&Intent::Leave { user }, why);
            }
            InFlight::Commit { .. } => {
                if let Some(intent) = self.room.queue.pop_front() {
                    self.give_up(&intent, why);
                }
            }
        }
    }

    /// The answer to a request for KeyPackages.
    pub(super) fn on_key_material(&mut self, target: &UserUri, key_packages: Result<Vec<Vec<u8>>, String>) {
        let Some(requester) = self.room.claiming.remove(target) else { return };
        if self.room.phase != Phase::Active {
            return self.report(format!("KeyPackages of {target} came, but the room is not connected any more"));
        }
        match key_packages {
            Ok(key_packages) if !key_packages.is_empty() => {
                self.want_in(Intent::Add { by: requester, user: target.clone(), key_packages });
            }
            Ok(_) => self.cannot_be_added(target, "no key material"),
            Err(why) => self.cannot_be_added(target, &why),
        }
    }

    /// They came because they were asked, and would read on at their provider.
    fn cannot_be_added(&mut self, target: &UserUri, why: &str) {
        self.notice(&format!("{} cannot be added: {why}.", self.names.display(target)));
        if !self.room.direct {
            self.stop_asking(target);
        }
    }
}
