//! The hub's part: accept, order, fan out (draft-ietf-mimi-protocol-06 sections 5.3 to 5.5).

use std::collections::{BTreeMap, BTreeSet};

use super::{
    effect::{Effect, Endpoint, Millis, Tag},
    frank::{Franked, check_beside},
    group::{Applied, Beside, GroupChange, GroupError, Opened, Origin, Staged},
    state::{Intent, Lost, Phase},
    step::Step,
    telling::Fate,
};
use crate::{
    content::{Body, MessageStatusReport, MimiContent},
    ident::{ProviderDomain, UserUri},
    wire::{
        FanoutContent, FanoutMessage, Frank, HandshakeBundle, MlsMessage, RatchetTreeOption, RawRatchetTree,
        RawWelcome, SubmitMessageRequest, SubmitMessageResponse, UpdateOutcome, UpdateRoomResponse, Wire,
    },
};

/// How many epochs behind the hub's a message may be (mimi-protocol leaves it open; room-policy's default).
const EPOCH_TOLERANCE: u64 = 1;
/// Why a message is refused that was made for another room.
const OTHER_GROUP: &str = "it belongs to another group";
/// Why nothing is taken from a provider.
const KEPT_OUT: &str = "the room's server access list keeps this provider out";

/// No deletion is longer, in bytes: a reason has 500 characters at most, and few messages were seen last.
const LONGEST_DELETION: usize = 8192;

/// A raw Welcome as `MLSMessage`: version mls10, wire format `mls_welcome`.
fn welcome_message(welcome: &RawWelcome) -> Option<MlsMessage> {
    let mut bytes = vec![0, 1, 0, 3];
    bytes.extend_from_slice(welcome.as_bytes());
    MlsMessage::decode(&bytes).ok()
}

/// Whether it is a status report that is no part of a message.
fn is_report(opened: &Opened) -> bool {
    opened.beside == Beside::default() && MessageStatusReport::decode(&opened.plaintext).is_ok()
}

/// Why an update is not taken.
struct Rejected {
    error: GroupError,
    /// The reference of the proposal that is to blame.
    proposal: Option<Vec<u8>>,
}

impl From<GroupError> for Rejected {
    fn from(error: GroupError) -> Self {
        Self { error, proposal: None }
    }
}

impl Step<'_> {
    /// The next accepted timestamp: strictly increasing.
    pub(super) fn accept_time(&mut self) -> Millis {
        let at = self.now.max(self.room.last_accepted.saturating_add(1));
        if at > self.now.saturating_add(60_000) {
            self.report("accepted timestamps run a minute ahead of the clock");
        }
        self.room.last_accepted = at;
        at
    }

    /// Distributes one accepted thing to these peers.
    fn fan_out(&mut self, peers: &BTreeSet<ProviderDomain>, timestamp: Millis, content: FanoutContent) {
        let body = FanoutMessage { timestamp, content }.encode();
        for peer in peers {
            self.call_room(peer.clone(), Endpoint::Notify, body.clone(), Tag::None);
        }
    }

    /// A message of one of our own users, sealed already: when it was accepted, and our stamp on it.
    pub(super) fn hub_accept_own_message(&mut self, user: &UserUri, sealed: &[u8]) -> Option<(Millis, Option<Frank>)> {
        let message = match MlsMessage::decode(sealed) {
            Ok(message) => message,
            Err(error) => {
                self.report(format!("a sealed message does not parse: {error}"));
                return None;
            }
        };
        let at = self.accept_time();
        let peers = self.readers();
        let frank = self.stamp(sealed, user, at);
        self.fan_out(&peers, at, FanoutContent::Application { message, frank: frank.clone() });
        Some((at, frank))
    }

    /// `POST /submitMessage/{roomId}`.
    pub(super) fn on_submit(&mut self, peer: &ProviderDomain, request: &SubmitMessageRequest) -> Vec<u8> {
        let refused = SubmitMessageResponse::NotAllowed.encode();
        if self.room.phase != Phase::Active || !self.sees_group() {
            self.report(format!("{peer} submits to a room that is not active"));
            return refused;
        }
        if self.room.direct && self.room.unbridging {
            // Better refused than accepted for nobody: its sender is told.
            self.out.push(Effect::Note(format!("{peer} submits to a direct chat that the other side left")));
            return refused;
        }
        if request.sending_user.provider() != *peer || !self.is_participant(&request.sending_user) {
            self.report(format!("{peer} submits as {}, who is no participant of its", request.sending_user));
            return refused;
        }
        if request.app_message.group_id() != Some(&self.group.group_id()) {
            self.report(format!("a message that {peer} submits as {} is refused: {OTHER_GROUP}", request.sending_user));
            return refused;
        }
        if self.is_kept_out(&request.sending_user) {
            // Whether the list says so yet or not, and whether anybody may make it say so.
            self.report(format!("{peer} submits as {}, whom the Matrix room keeps out", request.sending_user));
            return refused;
        }
        // What was accepted counts from then on, whether it is committed yet or not (section 7.1).
        if self.is_on_the_way_out(&request.sending_user) {
            self.report(format!("{peer} submits as {}, who is leaving or was put out", request.sending_user));
            return refused;
        }
        let current = self.group.epoch();
        let epoch = request.app_message.epoch().unwrap_or(u64::MAX);
        if epoch.saturating_add(EPOCH_TOLERANCE) < current {
            self.out.push(Effect::Note(format!("{peer} submits for epoch {epoch}, the room is in {current}")));
            return SubmitMessageResponse::EpochTooOld { current_epoch: current }.encode();
        }
        if self.group.is_public() {
            return self.pass_on(request).unwrap_or_else(|why| {
                self.report(format!("a message that {peer} submits as {} is refused: {why}", request.sending_user));
                refused
            });
        }
        let opened = match self.group.open(request.app_message.as_bytes()) {
            Ok(opened) => opened,
            Err(error @ GroupError::Epoch { .. }) if epoch < current => {
                self.report(format!("{peer} submits for an old epoch: {error}"));
                return SubmitMessageResponse::EpochTooOld { current_epoch: current }.encode();
            }
            Err(error) => {
                self.report(format!("a message that {peer} submits is refused: {error}"));
                return refused;
            }
        };
        if opened.sender != request.sending_user {
            self.report(format!("{peer} submits as {}, but the leaf is {}'s", request.sending_user, opened.sender));
            return refused;
        }
        if let Err(why) = self.check_content(&opened) {
            self.report(format!("a message that {peer} submits as {} is refused: {why}", opened.sender));
            return refused;
        }
        let at = self.accept_time();
        let peers = self.readers();
        let message = request.app_message.clone();
        let frank = self.stamp(message.as_bytes(), &opened.sender, at);
        self.fan_out(&peers, at, FanoutContent::Application { message, frank: frank.clone() });
        self.show(&opened, at, frank.as_ref());
        SubmitMessageResponse::Accepted { accepted_timestamp: at, frank }.encode()
    }

    /// A hub that can read a message takes only one whose sender and room are those that it names, that has beside it
    /// nothing that is not true of it, and that its sender may say.
    fn check_content(&self, opened: &Opened) -> Result<(), String> {
        let content = match MimiContent::decode(&opened.plaintext) {
            Ok(content) => content,
            // A status report by itself has no salt: nothing can be beside it.
            Err(_) if is_report(opened) => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        content.check_origin(&opened.sender, &self.room.uri).map_err(|error| error.to_string())?;
        // What nobody of ours would show is not taken, so that its sender hears of it.
        content.check_plausible(self.now).map_err(|why| why.to_string())?;
        let id = crate::content::message_id(&opened.sender, &self.room.uri, &opened.plaintext, &content.salt).0;
        check_beside(&opened.beside, &id, &content, &opened.plaintext)?;
        self.check_voice(opened, &content)
    }

    /// Distributes a message that we have no leaf to read with: what its frame says has to fit.
    fn pass_on(&mut self, request: &SubmitMessageRequest) -> Result<Vec<u8>, &'static str> {
        let message = request.app_message.clone();
        if message.epoch().is_none_or(|epoch| epoch > self.group.epoch()) {
            return Err("its epoch is yet to come");
        }
        if !self.group.in_group(&request.sending_user) {
            return Err("its sender has no client in the room");
        }
        if !self.has_voice(&request.sending_user) {
            return Err("the role of its sender lets them say nothing");
        }
        // A second copy could be read by nobody.
        if !self.recent.insert(super::step::hash(message.as_bytes())) {
            return Err("it was distributed before");
        }
        let at = self.accept_time();
        let peers = self.readers();
        let frank = self.stamp(message.as_bytes(), &request.sending_user, at);
        self.fan_out(&peers, at, FanoutContent::Application { message, frank: frank.clone() });
        Ok(SubmitMessageResponse::Accepted { accepted_timestamp: at, frank }.encode())
    }

    /// Whether we can judge what happens in the group: by a leaf of ours, or as hub from outside.
    pub(super) fn sees_group(&self) -> bool {
        self.group.is_member() || self.group.is_public()
    }

    /// `POST /update/{roomId}`.
    pub(super) fn on_update(&mut self, peer: &ProviderDomain, bundle: HandshakeBundle) -> Vec<u8> {
        let refused = |text: &str| {
            let description = text.to_owned();
            UpdateRoomResponse { description, outcome: UpdateOutcome::NotAllowed }.encode()
        };
        if self.room.phase != Phase::Active || !self.sees_group() {
            self.report(format!("an update of {peer} is refused: the room is not active"));
            return refused("the room is not active here");
        }
        if self.room.bars(peer) {
            self.out.push(Effect::Note(format!("an update of {peer} is refused: {KEPT_OUT}")));
            return refused(KEPT_OUT);
        }
        if bundle.first().and_then(MlsMessage::group_id) != Some(&self.group.group_id()) {
            self.report(format!("an update of {peer} is refused: {OTHER_GROUP}"));
            return refused(OTHER_GROUP);
        }
        let epoch = bundle.first().and_then(MlsMessage::epoch);
        let current_epoch = self.group.epoch();
        if epoch != Some(current_epoch) {
            self.out.push(Effect::Note(format!("an update of {peer} is for another epoch than {current_epoch}")));
            return UpdateRoomResponse::from(UpdateOutcome::WrongEpoch { current_epoch }).encode();
        }
        match self.update(peer, bundle) {
            Ok(accepted_timestamp) => UpdateRoomResponse::from(UpdateOutcome::Success { accepted_timestamp }).encode(),
            Err(Rejected { error, proposal }) => {
                // A forged leaf, too: what the hub refuses has not happened, so the room is as good as before.
                self.report(format!("an update of {peer} is refused: {error}"));
                let description = error.to_string();
                let invalid = match (error, proposal) {
                    (GroupError::UnknownProposals(references), _) => references,
                    (GroupError::Refused(_) | GroupError::Incomplete(_), _) | (_, None) => Vec::new(),
                    (_, Some(reference)) => vec![reference],
                };
                if invalid.is_empty() {
                    return refused(&description);
                }
                UpdateRoomResponse { description, outcome: UpdateOutcome::InvalidProposal { proposals: invalid } }
                    .encode()
            }
        }
    }

    fn update(&mut self, peer: &ProviderDomain, bundle: HandshakeBundle) -> Result<Millis, Rejected> {
        let known = self.room.key_packages.clone();
        match bundle {
            HandshakeBundle::Commit(bundle) => {
                let before = self.peers();
                let listed = self.listed();
                let origin = Origin::Follower(peer, &known, Some(&bundle));
                if let Some(user) = self.commits_in_going(&bundle.commit) {
                    return Err(GroupError::Refused(format!("{user} is leaving or was put out")).into());
                }
                self.group.is_complete(bundle.commit.as_bytes())?;
                let applied = self.group.apply(bundle.commit.as_bytes(), origin, self.now)?;
                let at = self.accept_time();
                let content = FanoutContent::Commit { message: bundle.commit, external_proposals: Vec::new() };
                self.fan_out(&before, at, content);
                if let Some(welcome) = bundle.welcome {
                    // Our own view of the tree, not the committer's word for it.
                    let tree = RawRatchetTree::from_bytes(self.group.ratchet_tree()?)
                        .map_err(|error| GroupError::Invalid(format!("the tree: {error}")))?;
                    self.route_welcome(at, &applied, &welcome, RatchetTreeOption::Full(tree), &known);
                }
                self.after_commit(&applied, &listed);
                Ok(at)
            }
            HandshakeBundle::Proposals(proposals) => {
                let origin = Origin::Follower(peer, &known, None);
                let raw: Vec<Vec<u8>> = proposals.iter().map(|proposal| proposal.as_bytes().to_vec()).collect();
                if let Some(user) = self.proposes_in_going(&proposals) {
                    let why = format!("{user} is leaving or was put out, and can propose no more than to leave");
                    return Err(GroupError::Refused(why).into());
                }
                for proposal in &proposals {
                    if let Err(error) = self.group.store_proposal(proposal.as_bytes(), origin, self.now) {
                        self.group.forget(&raw)?;
                        return Err(Rejected { error, proposal: proposal.proposal_reference() });
                    }
                }
                // The hub commits at once, if it has a leaf that stays; what its own policy refuses it does not keep.
                let by = self.group.local_users().into_iter().find(|user| !self.is_leaving(user));
                let staged = match by {
                    Some(by) => self.group.stage(&by, &GroupChange::default(), self.now).map(Some),
                    None => self.group.judge_pending(self.now).map(|()| None),
                };
                let staged = match staged {
                    Ok(staged) => staged,
                    Err(error) => {
                        self.group.forget(&raw)?;
                        return Err(error.into());
                    }
                };
                let at = self.fan_out_proposals(proposals);
                if let Some(staged) = staged {
                    self.hub_accept_own_commit(&staged)?;
                }
                Ok(at)
            }
        }
    }

    /// Distributes proposals that we accepted, and notes when.
    pub(super) fn fan_out_proposals(&mut self, proposals: Vec<MlsMessage>) -> Millis {
        let at = self.accept_time();
        let peers = self.peers();
        for proposal in &proposals {
            self.room.proposed.insert(super::step::hash(proposal.as_bytes()), at);
        }
        let mut proposals = proposals.into_iter();
        if let Some(message) = proposals.next() {
            self.fan_out(&peers, at, FanoutContent::Proposal { message, more: proposals.collect() });
        }
        at
    }

    /// A commit of one of our own users.
    pub(super) fn hub_accept_own_commit(&mut self, staged: &Staged) -> Result<(), GroupError> {
        let before = self.peers();
        let listed = self.listed();
        let message =
            MlsMessage::decode(&staged.commit).map_err(|error| GroupError::Invalid(format!("own commit: {error}")))?;
        let applied = self.group.accept(staged, self.now)?;
        if self.room.stale {
            self.room.fresh.insert(staged.user.clone());
        }
        let at = self.accept_time();
        self.fan_out(&before, at, FanoutContent::Commit { message, external_proposals: Vec::new() });
        if let Some(welcome) = &staged.welcome {
            let welcome = RawWelcome::from_bytes(welcome.clone())
                .map_err(|error| GroupError::Invalid(format!("own Welcome: {error}")))?;
            let tree = RawRatchetTree::from_bytes(staged.ratchet_tree.clone())
                .map_err(|error| GroupError::Invalid(format!("own tree: {error}")))?;
            self.route_welcome(at, &applied, &welcome, RatchetTreeOption::Full(tree), &BTreeMap::new());
        }
        self.after_commit(&applied, &listed);
        Ok(())
    }

    /// A Welcome goes to the providers of those whom it welcomes.
    fn route_welcome(
        &mut self,
        at: Millis,
        applied: &Applied,
        welcome: &RawWelcome,
        ratchet_tree: RatchetTreeOption,
        known: &BTreeMap<Vec<u8>, ProviderDomain>,
    ) {
        let mut to: BTreeSet<ProviderDomain> = applied.added.iter().map(UserUri::provider).collect();
        for reference in &welcome.fields().new_members {
            to.extend(known.get(reference).cloned());
            self.room.key_packages.remove(reference);
        }
        let Some(message) = welcome_message(welcome) else {
            return self.report("a Welcome does not parse");
        };
        if to.remove(self.names.domain())
            && let RatchetTreeOption::Full(tree) = &ratchet_tree
            && let Err(error) = self.group.join(message.as_bytes(), tree.as_bytes(), false, self.now)
        {
            self.group_failed("a Welcome for our own users", &error);
        }
        self.fan_out(&to, at, FanoutContent::Welcome { message, ratchet_tree });
    }

    /// Our users on the participant list.
    pub(super) fn listed(&self) -> BTreeSet<UserUri> {
        let state = self.state();
        state
            .into_iter()
            .flat_map(|state| {
                let listed = state.participants.iter().filter(|(_, role)| !state.is_banned_role(*role));
                listed.map(|(user, _)| user.clone()).collect::<Vec<_>>()
            })
            .filter(|user| self.is_ours(user))
            .collect()
    }

    /// What every commit leads to, in both roles. `before` are our users who were listed before it.
    pub(super) fn after_commit(&mut self, applied: &Applied, before: &BTreeSet<UserUri>) {
        self.room.attempts = 0;
        self.room.proposed.clear();
        let going: BTreeSet<UserUri> = before.iter().filter(|user| self.is_going(user)).cloned().collect();
        self.leave_anew();
        let group = &*self.group;
        self.room.unshown.retain(|user| group.in_group(user));
        // Who is asked anew while their leave is on its way stays asked.
        self.room.asked.retain(|user, _| !group.in_group(user) || going.contains(user));
        for user in &applied.local_removed {
            self.out.push(Effect::ForgetConsent { user: user.clone() });
        }
        if applied.over && !self.is_hub() {
            if !self.comes_back(before) {
                self.nobody_left(before, applied);
            }
            return;
        }
        if applied.over {
            self.out
                .push(Effect::Note("nobody of ours has a leaf any more: the group is seen from outside".to_owned()));
        }
        if applied.state_lost {
            self.put_out_unlisted(before);
            return self.lost(Lost::Leaves, "somebody removed those whose keys this server used");
        }
        let after = self.listed();
        let mut gone: BTreeSet<UserUri> = before.difference(&after).cloned().collect();
        for user in &gone {
            self.out.push(Effect::ForgetConsent { user: user.clone() });
        }
        // Who went by their own wish and is here again meanwhile stays in the Matrix room.
        gone.retain(|user| !going.contains(user));
        self.take_out_by(&gone, applied);
        self.let_in_again();
        self.asked_before_they_went(&gone);
        self.show_removed(applied);
        self.put_out_banned();
        self.relieve_keeper();
        for user in &applied.added {
            self.leave_absent(user);
        }
        self.agree_about_members();
        self.keep_bans();
        self.sync_members();
        self.keep_leaves_fresh();
        self.keep_within_bounds();
        self.closes_again();
        self.look_again_for_parent();
    }

    /// Leaves that a commit did not take in, or only in part, are proposed anew: proposals end with their epoch.
    fn leave_anew(&mut self) {
        for user in std::mem::take(&mut self.room.leaving) {
            if self.has_to_leave(&user) {
                self.want_first(Intent::Leave { user });
            }
        }
    }

    /// As follower: no leaf of ours is left. `before` are our users who were listed.
    pub(super) fn nobody_left(&mut self, before: &BTreeSet<UserUri>, applied: &Applied) {
        // Who let the room go has been told so.
        let unexpected = |user: &&UserUri| self.room.present.contains(*user) && !self.is_going(user);
        if !self.room.unbridging && before.iter().any(|user| unexpected(&user)) {
            self.notice(
                "The MIMI room was ended, or everybody of this server was removed from it: this room goes on nowhere.",
            );
        }
        if self.room.unbridging || self.room.direct {
            return self.end_and_begin();
        }
        self.take_out_by(before, applied);
        self.asked_before_they_went(before);
        // Who was asked and is not in yet can still come in.
        self.room.phase = if self.room.asked.is_empty() { Phase::Left } else { Phase::Invited };
        self.room.held.clear();
        self.room.leaving.clear();
        self.room.contested = super::contested::Contested::default();
        // Its answer concerns nobody any more.
        (self.room.in_flight, self.room.awaiting) = (None, None);
        for user in self.room.asking.keys().cloned().collect::<Vec<_>>() {
            self.stop_asking(&user);
        }
        self.room.claiming.clear();
        let unsaid: Vec<Intent> = self.room.again.drain(..).chain(self.room.queue.drain(..)).collect();
        for intent in unsaid.into_iter().filter(|intent| matches!(intent, Intent::Say { .. })) {
            if self.room.asked.contains_key(intent.actor()) {
                self.room.queue.push_back(intent);
            } else {
                self.give_up(&intent, "nobody here is in the MIMI room any more");
            }
        }
    }

    /// A message of ours was accepted: if it deletes another one, nobody needs the files of that any more.
    pub(super) fn drop_files_with(&mut self, content: &[u8]) {
        if content.len() > LONGEST_DELETION {
            return;
        }
        let deletion = MimiContent::decode(content).ok().filter(|content| content.body.body == Body::Null);
        if let Some(first) = deletion.and_then(|content| content.replaces) {
            self.out.push(Effect::FilesGone { message_id: first.0 });
        }
    }

    /// Notes a message of ours as accepted.
    pub(super) fn log_own(
        &mut self,
        accepted: Millis,
        message_id: [u8; 32],
        event: ruma::OwnedEventId,
        franked: Option<Franked>,
    ) {
        self.recent.insert(message_id);
        self.tell_status(&event, &Fate::Accepted);
        self.out.push(Effect::Log { accepted, message_id, event: Some(event), franked });
    }
}
