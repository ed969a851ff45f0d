//! A followed room that lost its way comes back by itself: the hub's groupInfo, then an external commit of one of our
//! users (draft-ietf-mimi-protocol-06 section 5.6, RFC 9420 section 12.4.3.2; DESIGN 8).
//!
//! ```text
//!  a commit is missing, cannot be applied, or removes the leaves whose keys we keep
//!     |
//!     '-> Asking --groupInfo--> Sent --update taken, or its echo--> back, in a new epoch
//!           ^  ^                  |
//!           |  '---- the next ----+ refused    nobody left: broken, or waiting to be added
//!           '------ Waiting <-----' wrongEpoch, or nothing that can be used
//! ```
//!
//! What the hub distributes meanwhile waits in order, and so does what our users say. One try is under way at a time, and
//! each is stored before anything is sent: the same bytes go out again after a crash.

use std::collections::BTreeSet;

use super::{
    effect::{Effect, Millis},
    follower::MAX_HELD,
    group::{Applied, Comeback, GroupError},
    input::GroupInfoAnswer,
    state::{InFlight, Intent, Lost, Phase, Rejoin, RejoinStage},
    step::{Step, hash},
};
use crate::{
    ident::UserUri,
    policy::Capability,
    wire::{FanoutContent, FanoutMessage, MlsMessage, UpdateOutcome, UpdateRoomResponse, Wire},
};

/// Tries that follow each other at once: others commit, and one of us wins.
const AT_ONCE: u32 = 4;
/// The first wait after that, in milliseconds; it doubles.
const FIRST_WAIT: Millis = 500;
/// The longest wait.
const LONGEST_WAIT: Millis = 10 * 60_000;

impl Step<'_> {
    /// The hub says that it is in this epoch. If the commits up to it do not come, they are lost.
    pub(super) fn fall_behind(&mut self, epoch: u64) {
        if epoch <= self.group.epoch() || self.room.rejoin.is_some() {
            return;
        }
        self.room.behind = self.room.behind.max(epoch);
        self.room.behind_since = self.now;
        self.out.push(Effect::Wake(self.now + self.catch_up));
    }

    /// Time passed: is something overdue?
    pub(super) fn look_for_the_way(&mut self) {
        if let Some(rejoin) = &self.room.rejoin {
            match rejoin.stage {
                RejoinStage::Waiting(at) if self.now >= at => self.ask_for_the_way(),
                RejoinStage::Waiting(at) => self.out.push(Effect::Wake(at)),
                RejoinStage::Asking | RejoinStage::Sent => {}
            }
            return;
        }
        let (epoch, behind) = (self.group.epoch(), self.room.behind);
        if self.is_hub() || self.room.phase != Phase::Active || !self.group.is_member() || epoch >= behind {
            return;
        }
        let due = self.room.behind_since + self.catch_up;
        if self.now < due {
            self.out.push(Effect::Wake(due));
        } else {
            self.lost(Lost::Way, &format!("its host is in epoch {behind}, this server is in {epoch}"));
        }
    }

    /// A commit that we cannot follow.
    pub(super) fn lost_at_commit(&mut self, why: &str, commit: &[u8], at: Millis) {
        self.lost(Lost::Way, why);
        if self.room.rejoin.is_some()
            && let Ok(message) = MlsMessage::decode(commit)
        {
            let content = FanoutContent::Commit { message, external_proposals: Vec::new() };
            self.put_by(&FanoutMessage { timestamp: at, content });
        }
    }

    /// The state that we hold leads nowhere: one of our users joins again.
    pub(super) fn lost(&mut self, lost: Lost, why: &str) {
        if self.room.rejoin.is_some() {
            return;
        }
        if self.is_hub() || self.room.phase != Phase::Active {
            return self.mark_broken(why);
        }
        let Some(by) = self.who_joins(lost, &BTreeSet::new()) else {
            self.room.gap = (self.group.epoch() + u64::from(self.group.is_member()), u64::MAX);
            return self.stays_lost(lost, why, "nobody of this server can join it again");
        };
        self.report(format!("the room lost its way: {why}; {by} joins it again"));
        let leaves = self.group.local_users().into_iter().collect();
        self.room.rejoin = Some(Rejoin {
            lost,
            why: why.to_owned(),
            by,
            refused: BTreeSet::new(),
            attempts: 0,
            stage: RejoinStage::Asking,
            replaced: false,
            listed: self.listed(),
            leaves,
            epoch: self.group.epoch(),
            from: self.group.epoch() + u64::from(self.group.is_member()),
            overflown: false,
        });
        self.ask_for_the_way();
    }

    /// Our last leaf was removed; whoever is still listed and here comes back, or waits to be added. False: nobody is.
    pub(super) fn comes_back(&mut self, before: &BTreeSet<UserUri>) -> bool {
        let stays = |user: &UserUri| self.room.present.contains(user) && !self.is_going(user);
        if self.room.phase != Phase::Active || self.room.unbridging || !self.listed().iter().any(stays) {
            return false;
        }
        self.put_out_unlisted(before);
        self.lost(Lost::Leaves, "somebody removed those who spoke from this server");
        true
    }

    /// Who was listed and is not any more leaves the Matrix room.
    pub(super) fn put_out_unlisted(&mut self, before: &BTreeSet<UserUri>) {
        let after = self.listed();
        let gone: BTreeSet<UserUri> = before.difference(&after).cloned().collect();
        for user in &gone {
            self.out.push(Effect::ForgetConsent { user: user.clone() });
        }
        let gone = gone.into_iter().filter(|user| !self.is_going(user)).collect();
        self.remove_from_matrix(&gone);
        self.asked_before_they_went(&gone);
        self.sync_members();
    }

    /// Who of ours joins next: those who are here first, and of them those with a leaf.
    fn who_joins(&self, lost: Lost, refused: &BTreeSet<UserUri>) -> Option<UserUri> {
        let (locals, state) = (self.group.local_users(), self.state());
        let here = |user: &UserUri| self.room.present.contains(user) && !self.is_going(user);
        let may = |user: &UserUri| {
            let can =
                lost == Lost::Way || state.as_ref().is_some_and(|state| state.can(user, Capability::AddOwnClient));
            can && !refused.contains(user)
        };
        let listed = self.listed();
        let first = locals.iter().filter(|user| here(user));
        let second = listed.iter().filter(|user| here(user));
        // The list that we hold is old where we lost the way: who is here may be on it by now.
        let rest = if lost == Lost::Way { self.room.present.iter().collect() } else { Vec::new() };
        first.chain(second).chain(&locals).chain(rest).find(|user| may(user)).cloned()
    }

    fn ask_for_the_way(&mut self) {
        let Some(rejoin) = &mut self.room.rejoin else { return };
        rejoin.stage = RejoinStage::Asking;
        rejoin.attempts = rejoin.attempts.saturating_add(1);
        let user = rejoin.by.clone();
        self.out.push(Effect::AskGroupInfo { user });
    }

    /// Another try: at once at first, then with growing waits.
    fn try_again(&mut self, why: &str) {
        let now = self.now;
        let Some(rejoin) = &mut self.room.rejoin else { return };
        let text = format!("joining the room again did not work at the {}. try: {why}", rejoin.attempts);
        if rejoin.attempts < AT_ONCE {
            self.out.push(Effect::Note(text));
            return self.ask_for_the_way();
        }
        let doubled = FIRST_WAIT.saturating_mul(1 << (rejoin.attempts - AT_ONCE).min(20));
        let at = now + doubled.min(LONGEST_WAIT);
        rejoin.stage = RejoinStage::Waiting(at);
        let (first, reason) = (rejoin.attempts == AT_ONCE, rejoin.why.clone());
        self.report(text);
        if first {
            self.notice(&format!(
                "This room lost its connection to MIMI ({reason}) and keeps trying to come back. What you write waits until then."
            ));
        }
        self.out.push(Effect::Wake(at));
    }

    /// The hub's answer to groupInfo. It comes behind the answers to all that was sent before.
    pub(super) fn on_group_info(&mut self, user: &UserUri, answer: GroupInfoAnswer) {
        if self.on_tree(user, &answer) {
            return;
        }
        let asking = |rejoin: &&Rejoin| rejoin.stage == RejoinStage::Asking && rejoin.by == *user;
        let Some(rejoin) = self.room.rejoin.as_ref().filter(asking) else { return };
        let (epoch, keep_reading) = (rejoin.epoch, !rejoin.replaced);
        if self.room.in_flight.is_some() {
            return self.try_again("something else is under way");
        }
        let info = match answer {
            GroupInfoAnswer::Given(info) => info,
            GroupInfoAnswer::Refused(why) => return self.refused_again(&why),
            GroupInfoAnswer::Failed(why) => return self.try_again(&why),
        };
        let comeback = Comeback { user, room: &self.room.uri, epoch, forgiving: self.room.stale, keep_reading };
        match self.group.rejoin(&comeback, &info, self.now) {
            Ok(staged) => {
                self.send_commit(staged);
                let sent = matches!(self.room.in_flight, Some(InFlight::Commit { .. }));
                if let Some(InFlight::Commit { merged, .. }) = &mut self.room.in_flight {
                    *merged = true;
                }
                if let Some(rejoin) = &mut self.room.rejoin {
                    rejoin.replaced = true;
                    rejoin.stage = RejoinStage::Sent;
                }
                if !sent {
                    self.try_again("the commit does not parse");
                }
            }
            Err(GroupError::Refused(why)) => self.refused_again(&why),
            Err(error @ GroupError::Forged(_)) => {
                self.room.rejoin = None;
                self.group_failed("joining again", &error);
            }
            Err(error @ GroupError::Epoch { .. }) => {
                // To follow it back would undo what everybody saw, removals for example.
                self.room.rejoin = None;
                self.mark_broken(&format!("its host went back in time ({error})"));
            }
            Err(error) => self.try_again(&error.to_string()),
        }
    }

    /// Whether what is at the hub is the external commit by which we come back.
    pub(super) fn rejoin_is_sent(&self) -> bool {
        self.room.rejoin.as_ref().is_some_and(|rejoin| rejoin.stage == RejoinStage::Sent)
    }

    /// The hub's answer to that.
    pub(super) fn on_rejoin_answer(&mut self, answer: Result<UpdateRoomResponse, String>, sent: &InFlight) {
        match answer {
            Ok(UpdateRoomResponse { outcome: UpdateOutcome::Success { accepted_timestamp }, .. }) => {
                self.room.last_accepted = self.room.last_accepted.max(accepted_timestamp);
                if let InFlight::Commit { staged, .. } = sent {
                    self.remember_own(hash(&staged.commit));
                }
                self.found_the_way();
            }
            Ok(UpdateRoomResponse { outcome: UpdateOutcome::WrongEpoch { current_epoch }, .. }) => {
                self.try_again(&format!("the room went on to epoch {current_epoch}"));
                self.take_welcome();
            }
            Ok(answer) => {
                let why = if answer.description.is_empty() { "not allowed" } else { &answer.description };
                self.refused_again(why);
            }
            Err(why) => {
                self.try_again(&why);
                self.take_welcome();
            }
        }
    }

    /// The hub does not take this user back: the next one tries.
    fn refused_again(&mut self, why: &str) {
        self.take_welcome();
        let Some(mut rejoin) = self.room.rejoin.take() else { return };
        self.report(format!("{} cannot join the room again: {why}", rejoin.by));
        rejoin.refused.insert(rejoin.by.clone());
        if let Some(by) = self.who_joins(rejoin.lost, &rejoin.refused) {
            self.room.rejoin = Some(Rejoin { by, attempts: 0, ..rejoin });
            return self.ask_for_the_way();
        }
        self.room.gap = (rejoin.from, u64::MAX);
        self.stays_lost(rejoin.lost, &rejoin.why, why);
    }

    /// There is no way back that we could go ourselves.
    fn stays_lost(&mut self, lost: Lost, why: &str, refusal: &str) {
        let missed = std::mem::take(&mut self.room.late).len() + std::mem::take(&mut self.room.held).len();
        self.room.unreadable += u64::try_from(missed).unwrap_or(u64::MAX);
        (self.room.in_flight, self.room.awaiting, self.room.behind) = (None, None, 0);
        self.room.claiming.clear();
        let hub = self.room.uri.hub();
        if lost == Lost::Leaves && !self.room.unbridging {
            let (state, gone) = (self.listed(), self.room.present.clone());
            self.remove_from_matrix(&gone.difference(&state).cloned().collect());
            self.drop_state();
            let stay: Vec<Intent> = self.room.again.drain(..).chain(self.room.queue.drain(..)).collect();
            self.room.queue = stay.into_iter().filter(|intent| matches!(intent, Intent::Say { .. })).collect();
            self.room.phase = Phase::Invited;
            self.room.waiting = true;
            self.report(format!("the room waits to be added to: {why}; {refusal}"));
            return self.notice(&format!(
                "The MIMI users removed this server's part in the room ({why}), and the room's rules do not let anybody here back in \
                 by themselves ({refusal}). You wait as listed participants: somebody elsewhere in the room can add you again. \
                 What you write here waits until then."
            ));
        }
        let unsaid: Vec<Intent> = self.room.again.drain(..).chain(self.room.queue.drain(..)).collect();
        for intent in unsaid.into_iter().filter(|intent| matches!(intent, Intent::Say { .. })) {
            self.give_up(&intent, "the room lost its connection");
        }
        self.drop_state();
        self.room.phase = Phase::Broken(format!("{why}; {refusal}"));
        self.report(format!("the room is broken: {why}; {refusal}"));
        self.notice(&format!(
            "This room lost its connection to MIMI ({why}), and its host {hub} does not let anybody here back in ({refusal}). \
             Ask somebody who is in the room elsewhere to invite you again; until then nothing is carried."
        ));
    }

    /// The state is no membership any more.
    fn drop_state(&mut self) {
        self.group.discard();
        // What is stored under this number would be loaded again.
        self.room.group += 1;
    }

    /// We are in again.
    pub(super) fn found_the_way(&mut self) {
        let Some(rejoin) = self.room.rejoin.take() else { return };
        (self.room.in_flight, self.room.awaiting) = (None, None);
        (self.room.behind, self.room.attempts) = (0, 0);
        // All ratchets of a new epoch are new.
        self.room.stale = false;
        self.room.fresh.clear();
        self.room.gap = (rejoin.from, self.group.epoch());
        let group = &*self.group;
        let local_removed = rejoin.leaves.iter().filter(|user| !group.has_leaf(user)).cloned().collect();
        self.after_commit(&Applied { local_removed, ..Applied::default() }, &rejoin.listed);
        for user in self.listed().difference(&rejoin.listed) {
            self.leave_absent(user);
        }
        self.dress_portal();
        let before = self.room.unreadable;
        for body in std::mem::take(&mut self.room.late) {
            if let Ok(message) = FanoutMessage::decode(&body) {
                self.on_fanout(message);
            }
        }
        self.open_held();
        let unread = self.room.unreadable - before;
        let missed = match unread {
            0 => "What others wrote in between may be missing here".to_owned(),
            n => format!("{n} messages that others wrote in between cannot be read and are missing here"),
        };
        let by = self.names.matrix_id(&rejoin.by).map_or_else(|| rejoin.by.to_string(), |id| id.to_string());
        self.report(format!(
            "{} joined the room again after {} tries; epochs {} to {} were passed over, {unread} messages of them came",
            rejoin.by, rejoin.attempts, rejoin.from, self.room.gap.1
        ));
        self.notice(&format!(
            "This room had lost its connection to MIMI ({}) and is connected again, by {by}. {missed}; what you wrote is \
             delivered.",
            rejoin.why
        ));
    }

    /// A Welcome led on from a state that was behind without our knowing.
    pub(super) fn led_on(&mut self, epoch: u64, listed: &BTreeSet<UserUri>) {
        self.room.gap = (epoch + 1, self.group.epoch());
        self.room.stale = false;
        self.room.fresh.clear();
        self.after_commit(&Applied::default(), listed);
        self.report(format!("changes were missing from epoch {} on; somebody added one of ours again", epoch + 1));
        self.notice("Changes of this room were missed; it is connected again. What others wrote in between may be missing here.");
    }

    /// Whether an epoch is one that we passed over: what belongs to it concerns us no more.
    pub(super) fn passed_over(&self, epoch: Option<u64>) -> bool {
        epoch.is_some_and(|epoch| (self.room.gap.0..self.room.gap.1).contains(&epoch))
    }

    // --------------------------------------------------------------------------------- what comes meanwhile

    /// What the hub distributes while we are on our way back.
    pub(super) fn on_fanout_on_the_way(&mut self, fanout: FanoutMessage) {
        let Some(rejoin) = self.room.rejoin.clone() else { return };
        match &fanout.content {
            FanoutContent::Commit { message, .. } if rejoin.stage == RejoinStage::Sent => {
                if let Some(InFlight::Commit { staged, .. }) = &self.room.in_flight
                    && staged.commit == message.as_bytes()
                {
                    // Proposals that came with it are for the epoch that it begins.
                    let FanoutContent::Commit { external_proposals, .. } = fanout.content else { return };
                    for message in external_proposals {
                        let content = FanoutContent::Proposal { message, more: Vec::new() };
                        self.put_by(&FanoutMessage { timestamp: fanout.timestamp, content });
                    }
                    return self.found_the_way();
                }
                self.put_by(&fanout);
            }
            FanoutContent::Welcome { .. } if rejoin.stage != RejoinStage::Sent => {
                self.on_content(fanout.content, fanout.timestamp);
            }
            // What was said before we lost the way can be read.
            FanoutContent::Application { message, .. }
                if !rejoin.replaced && message.epoch().is_some_and(|epoch| epoch < rejoin.from) =>
            {
                if self.group.is_member() {
                    self.on_content(fanout.content, fanout.timestamp);
                } else {
                    self.put_by(&fanout);
                }
            }
            _ => self.put_by(&fanout),
        }
    }

    /// Keeps what came until we are back.
    fn put_by(&mut self, fanout: &FanoutMessage) {
        self.room.late.push_back(fanout.encode());
        if self.room.late.len() <= MAX_HELD {
            return;
        }
        let oldest = self.room.late.pop_front().and_then(|body| FanoutMessage::decode(&body).ok());
        let is_message = oldest.is_some_and(|old| matches!(old.content, FanoutContent::Application { .. }));
        self.room.unreadable += u64::from(is_message);
        if let Some(rejoin) = &mut self.room.rejoin
            && !std::mem::replace(&mut rejoin.overflown, true)
        {
            self.report("more comes than can wait while the room is joined again; the oldest of it is let go");
        }
    }

    /// Somebody added us while our own commit was under way, which failed: their Welcome is the way back.
    fn take_welcome(&mut self) {
        let late: Vec<FanoutMessage> =
            self.room.late.iter().filter_map(|body| FanoutMessage::decode(body).ok()).collect();
        let place = late.iter().rposition(|message| matches!(message.content, FanoutContent::Welcome { .. }));
        let Some((place, welcome)) = place.and_then(|place| Some((place, late.get(place)?.clone()))) else { return };
        self.room.late.remove(place);
        self.on_content(welcome.content, welcome.timestamp);
    }
}
