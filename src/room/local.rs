//! The Matrix side of a room: its events, its portal, and consent.

use super::{
    about::About,
    effect::{Actor, Endpoint, MatrixAction, PathTarget},
    live::Turn,
    orders::{Cause, Refusal},
    people::People,
    reasons::Deed,
    settings::Setting,
    state::{Intent, Phase},
    step::{Effect, Files, Step, Tag},
    telling::{Fate, Why},
    upgrade::TOMBSTONE,
};
use crate::{
    content::MessageId,
    ident::UserUri,
    policy::{self, Capability, component},
    translate::{self, CONTENT_KEY, Earlier, Kind, NotCarried, Past as _, RoomEvent, Translated},
    wire::{ConsentAction, ConsentEntry, Wire},
};
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, UserId};

/// What an id among those of our ghosts says that stands for nobody.
pub const NOBODY: &str = "This address stands for no user of another provider that I could read from it. In a room that I mirror, say \
                          “!mimi invite mimi://provider/u/name”; users of this server are invited by their own Matrix id.";

impl Step<'_> {
    /// An event of the Matrix room.
    pub(super) fn on_event(&mut self, event: &RoomEvent, salt: [u8; 16], past: &Vec<(OwnedEventId, Earlier)>) {
        if event.event_type == "m.room.member" {
            return self.on_member(event, salt);
        }
        if self.names.is_bridged(&event.sender) {
            return;
        }
        if event.content.get(CONTENT_KEY).is_some() {
            return self.forwarded(event);
        }
        if let Some(key) = &event.state_key {
            if translate::is_live_info(&event.event_type) && key.starts_with(event.sender.as_str()) {
                return self.say(event, salt, past, None);
            }
            if key.is_empty() && event.event_type == TOMBSTONE {
                return self.on_tombstone(event);
            }
            if let Some(setting) = Setting::of(&event.event_type).filter(|_| key.is_empty()) {
                if setting == Setting::Joins && !super::open::is_public(&event.content) {
                    self.is_not_public();
                }
                self.on_setting(setting);
            }
            return;
        }
        if event.event_type == "m.room.message"
            && let Some(command) = super::command::in_room(super::command::spoken(&event.content))
        {
            return self.on_command(event, &command, salt);
        }
        self.say(event, salt, past, None);
    }

    /// `files`: what became of those that the event has.
    pub(super) fn say(
        &mut self,
        event: &RoomEvent,
        salt: [u8; 16],
        past: &Vec<(OwnedEventId, Earlier)>,
        files: Option<Files>,
    ) {
        let Some(user) = self.names.uri(&event.sender) else { return };
        if self.room.direct && (self.room.unbridging || self.room.phase == Phase::Left) {
            return self.undelivered(event);
        }
        if self.room.unbridging {
            let words = "The room is being disconnected from MIMI.".to_owned();
            return self.tell_status(&event.event_id, &Fate::Failed(Why::NotConnected, words));
        }
        match &self.room.phase {
            Phase::Active | Phase::Invited | Phase::Joining => {}
            Phase::Left => {
                let text = format!("{} of {user} is not carried: the room is not connected any more", event.event_id);
                return self.out.push(Effect::Note(text));
            }
            Phase::Broken(why) => {
                let why = why.clone();
                // People were told when it broke.
                let words = format!("The room is not connected to MIMI: {why}.");
                self.tell_status(&event.event_id, &Fate::Failed(Why::NotConnected, words));
                return self.report(format!("{} is not carried, the room is broken: {why}", event.event_id));
            }
        }
        if event.event_type == "m.room.encrypted" {
            self.report(format!("{} is encrypted and cannot be carried", event.event_id));
            let words = format!(
                "A message of {} was not sent to the MIMI users: it is encrypted, and the gateway cannot read encrypted Matrix \
                 rooms yet.",
                event.sender
            );
            return self.tell_failure(&event.event_id, Why::Encrypted, &words);
        }
        match self.live_turn(event, &user, past) {
            Ok(Turn::Quiet) => return,
            Ok(Turn::Other) => {}
            Ok(Turn::Say(words)) => return self.say_live(event, &user, salt, words),
            Err(reason) => return self.unsaid(event, &user, &reason),
        }
        let (mut target, mut again) = (None, None);
        let deletes = self.state().is_some_and(|state| state.can(&user, Capability::DeleteOtherMessage));
        if let Some(redacted) = event.redacts.as_ref().filter(|_| event.event_type == "m.room.redaction") {
            let known = past.of(redacted);
            let live = self.live_taken_back(redacted, known.as_ref(), &user, deletes);
            (target, again) = (live.target.or(known), live.again);
        }
        let mentions = &People { names: self.names, state: self.state(), room: &*self.room };
        let sent_ts = event.origin_server_ts;
        let context = translate::ToMimi { sender: &user, room: &self.room.uri, salt, sent_ts, past, mentions };
        let translated = if event.event_type == "m.room.redaction" {
            let Some(target) = target else {
                return self.unsaid(event, &user, &NotCarried::NoTarget);
            };
            if target.sender != user && !deletes {
                let words = format!(
                    "{} removed a message of {} here. Others in the MIMI room keep it: deleting what others said is not \
                     allowed to them there.",
                    event.sender,
                    self.names.display(&target.sender)
                );
                return self.tell_failure(&event.event_id, Why::NotAllowed, &words);
            }
            let reason = event.content.get("reason").and_then(serde_json::Value::as_str);
            translate::deletion(&target, reason, &context)
        } else if let Some(files) = files {
            match translate::media::files_to_mimi(&event.event_type, &event.content, files, &context) {
                Ok((translated, missing)) => {
                    self.tell_missing(event, &missing);
                    let Some(translated) = translated else { return };
                    Ok(translated)
                }
                Err(reason) => Err(reason),
            }
        } else {
            translate::to_mimi(&event.event_type, &event.content, &context)
        };
        let translated = match translated {
            Ok(translated) => translated,
            Err(reason) => return self.unsaid(event, &user, &reason),
        };
        self.put_into_words(event, &user, translated, std::slice::from_ref(&event.event_id));
        if let Some(owner) = again
            && let Some(word) = self.live_again(&owner, &event.event_id)
        {
            self.say_live(event, &owner, super::live::further_salt(salt, 1), vec![word]);
        }
    }

    /// What an event became is to be said. `events`: those that stand for it.
    pub(super) fn put_into_words(
        &mut self,
        event: &RoomEvent,
        user: &UserUri,
        mut translated: Translated,
        events: &[OwnedEventId],
    ) -> Option<MessageId> {
        match self.with_sight(user, &event.event_id, &mut translated.content) {
            Ok((content, id)) => {
                let kind = Kind::of(&event.event_type, &event.content);
                self.tell_losses(user, translated.losses);
                let (message_id, earlier) = (id.0, Earlier::of(&translated.content, id, user).with_kind(kind));
                for event in events {
                    self.out.push(Effect::Noted { event: event.clone(), message_id, earlier: earlier.clone() });
                }
                if let Some(expires) = translated.content.expires {
                    let (sender, actor) = (user.clone(), self.room.speaker.clone());
                    self.out.push(Effect::Expires { message_id, sender, expires, actor });
                }
                let (user, event) = (user.clone(), event.event_id.clone());
                self.room.queue.push_back(Intent::Say { user, event, content, message_id });
                Some(id)
            }
            Err(error) => {
                self.unsaid(event, user, &error.into());
                None
            }
        }
    }

    /// Files of a message that others will not get: its sender is told.
    fn tell_missing(&mut self, event: &RoomEvent, missing: &[translate::media::Missing]) {
        for translate::media::Missing { file, why } in missing {
            self.report(format!("a file of {} does not cross: {why}", event.event_id));
            self.notice(&format!("A file of {} was not sent to the MIMI users, {file}: {why}.", event.sender));
        }
    }

    fn on_member(&mut self, event: &RoomEvent, salt: [u8; 16]) {
        let Some(target) = event.state_key.as_deref().and_then(|key| UserId::parse(key).ok()) else { return };
        let membership = event.content.get("membership").and_then(serde_json::Value::as_str).unwrap_or_default();
        if let Some(remote) = self.names.ghost_uri(&target) {
            if !self.names.is_bridged(&event.sender) {
                self.on_ghost_member(event, salt, remote, membership);
            }
            return;
        }
        if self.names.is_stray(&target) {
            if membership == "invite" && !self.names.is_bridged(&event.sender) {
                self.decline_stray(target);
            }
            return;
        }
        if self.names.is_bot(&target) {
            if matches!(membership, "leave" | "ban") && !self.names.is_bridged(&event.sender) {
                self.on_bot_removed(event.sender.as_str());
            }
            if membership == "invite" && !self.names.is_bridged(&event.sender) {
                self.on_bot_invited();
            }
            return;
        }
        let Some(user) = self.names.uri(&target) else { return };
        match membership {
            "invite" => {
                if let Some(by) = self.names.uri(&event.sender) {
                    self.room.invited_by.insert(user, by);
                }
            }
            "join" => {
                // They are in by somebody's will since.
                self.room.undone.remove(&user);
                self.on_joined(user);
            }
            // We put them out. If they are not here as far as we know, that is what was wanted; and who was asked in anew
            // since then stays asked.
            "leave" | "ban" if self.names.is_bridged(&event.sender) && !self.room.present.contains(&user) => {}
            // A kick in place of the ban that the bot could not make is no end of that ban, nor is a leave.
            "leave"
                if event.sender != target
                    && self.room.undone.get(&user) != Some(&super::undone::Undone::Ban)
                    && self.names.uri(&event.sender).is_some_and(|by| self.on_unshut(&by, &user)) => {}
            "leave" if event.sender == target && self.moves_along(&user) => {}
            "leave" | "ban" => {
                self.say_why_left(event, salt, &user, membership);
                let by = self.names.uri(&event.sender).filter(|_| membership == "ban" && event.sender != target);
                self.live_left(event, salt, &user);
                // Before all else: who is to be banned is not removed first.
                if let Some(by) = by {
                    self.on_own_banned(by, user.clone());
                }
                self.on_left(user, &event.sender, &target);
            }
            _ => {}
        }
    }

    /// Why one of ours left, or was put out by another.
    fn say_why_left(&mut self, event: &RoomEvent, salt: [u8; 16], user: &UserUri, membership: &str) {
        if self.room.phase != Phase::Active || !self.will_be_participant(user) {
            return;
        }
        let itself = event.state_key.as_deref() == Some(event.sender.as_str());
        let deed = match membership {
            _ if itself => Deed::Leaves,
            "ban" => Deed::Bans,
            _ => Deed::Removes,
        };
        // Nobody gets a client to say goodbye.
        if !itself || self.group.has_leaf(user) {
            self.say_why(event, salt, deed, user);
        }
    }

    pub(super) fn on_joined(&mut self, user: UserUri) {
        if !self.room.present.insert(user.clone()) {
            return;
        }
        self.put_out_strangers();
        if !self.room.present.contains(&user) {
            return;
        }
        if self.is_added_unasked(&user) {
            self.room.invited_by.remove(&user);
        }
        self.put_out_banned();
        if !self.room.present.contains(&user) {
            return;
        }
        self.greet_portal();
        if let Some(requester) = self.room.asked.get(&user).cloned() {
            // Joining the Matrix room is the consent.
            self.out.push(Effect::Grant { requester, target: user.clone() });
            // The one who asked adds them; in a room of our own, if anybody of ours is in it, they need nobody for that.
            if !self.is_hub() || !self.group.is_member() {
                return;
            }
        }
        if self.room.phase == Phase::Active {
            self.list(user);
            self.relieve_keeper();
        }
    }

    /// Those who are in the Matrix room are participants, too.
    pub(super) fn list_present(&mut self) {
        for user in self.room.present.clone() {
            if !self.room.asked.contains_key(&user) {
                self.list(user);
            }
        }
    }

    fn list(&mut self, user: UserUri) {
        if self.will_be_participant(&user) {
            return;
        }
        if self.is_outside(&user) {
            // Perhaps the other room has not heard yet that they came in there: it tells how it is.
            return self.find_parent();
        }
        if self.room.present.len() > self.names.list_all_up_to() {
            // A large room lists only those who act.
            return;
        }
        // Into a room that we host people come by Matrix' own rules; elsewhere somebody has to have asked them in.
        let hosted = if self.is_hub() { self.group.local_users().first().cloned() } else { None };
        let by = self.room.invited_by.get(&user).filter(|by| self.is_ours(by)).cloned().or(hosted);
        let by = by.or_else(|| self.comes_in_by_itself(&user).then(|| user.clone()));
        if let Some(by) = by {
            self.want(Intent::Add { by, user, key_packages: Vec::new() });
        } else if !self.is_hub() || self.group.is_public() {
            // The room shows what is said: nobody reads who is not listed.
            self.put_out(&user, "somebody in the room has to invite you");
        }
    }

    fn on_left(&mut self, user: UserUri, sender: &UserId, target: &UserId) {
        self.room.faces.forget(&user);
        self.room.portraits.forget(&user);
        self.room.invited_by.remove(&user);
        let asked = self.room.asked.remove(&user).filter(|_| !self.is_participant(&user));
        if let Some(requester) = asked {
            // Nobody is told.
            self.out.push(Effect::Declined { requester, target: user.clone() });
        }
        self.room.present.remove(&user);
        if self.room.direct && self.room.phase == Phase::Active && self.room.present.is_empty() {
            return self.part();
        }
        // Whom we removed ourselves is off the list already, unless they came back before our removal was done.
        if self.room.phase != Phase::Active || !self.will_be_participant(&user) {
            return;
        }
        // What they said before they left is still sent; what they wanted to do is not.
        match self.names.uri(sender) {
            Some(by) if sender != target => self.want(Intent::Remove { by, user }),
            _ => self.want(Intent::Leave { user }),
        }
    }

    fn on_ghost_member(&mut self, event: &RoomEvent, salt: [u8; 16], remote: UserUri, membership: &str) {
        let Some(by) = self.names.uri(&event.sender) else { return };
        let is_in = self.room.phase == Phase::Active && self.will_be_participant(&remote);
        match membership {
            "invite" => {
                // Nobody can be invited whom the Matrix room bans.
                if self.room.banned.contains(&remote) {
                    self.on_ghost_unbanned(&by, &remote);
                }
                if let Err(refusal) = self.ask_in(&by, &remote) {
                    self.decline(remote, refusal.text);
                }
            }
            "leave" | "ban" if self.is_only_other(&remote) => {
                self.room.ghosts.remove(&remote);
                self.part();
            }
            "ban" => {
                if is_in {
                    self.say_why(event, salt, Deed::Bans, &remote);
                }
                self.on_ghost_banned(by, remote);
            }
            "leave" if self.on_ghost_unbanned(&by, &remote) => self.say_why(event, salt, Deed::Unbans, &remote),
            "leave" => {
                self.stop_asking(&remote);
                if is_in && !self.is_fixed() {
                    self.say_why(event, salt, Deed::Removes, &remote);
                }
                // Who was asked into a direct chat stays on its list, and can be asked again.
                if !self.is_fixed() && self.will_be_participant(&remote) {
                    self.want(Intent::Remove { by, user: remote.clone() });
                }
                // Until that is done its ghost counts as here: what was wanted before may bring it in once more.
                if !self.is_going(&remote) {
                    self.room.ghosts.remove(&remote);
                }
            }
            _ => {}
        }
    }

    /// Nobody wants this remote user in any more.
    pub(super) fn stop_asking(&mut self, remote: &UserUri) {
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

    /// A ghost does not take an invitation, and says why.
    fn decline(&mut self, remote: UserUri, why: String) {
        self.notice(&why);
        // One that was in comes in again when we do.
        self.room.ghosts.remove(&remote);
        if let Some(room) = self.room.matrix.clone() {
            let actor = Actor::Ghost(remote);
            self.out.push(Effect::Matrix(MatrixAction::Leave { room, actor, reason: Some(why) }));
        }
    }

    /// Somebody brings the bot (back) into a mirrored room.
    fn on_bot_invited(&mut self) {
        let Some(room) = self.room.matrix.clone() else { return };
        if self.room.speaker == Actor::Bot {
            self.out.push(Effect::Matrix(MatrixAction::Join { room, actor: Actor::Bot }));
            // An invitation from before the room was mirrored may be told late: then it was never away.
            if self.room.levels.bot_is_back() {
                let missing = self.lacks().join(", ");
                self.notice(&if missing.is_empty() {
                    "I am back.".to_owned()
                } else {
                    format!(
                        "I am back. Without the power to {missing} I cannot do in this room what MIMI promises: give me power \
                         level 100."
                    )
                });
            }
            self.room.levels.try_again();
            self.catch_up();
            // What changed while it was away.
            return super::settings::Setting::ALL.into_iter().for_each(|setting| self.on_setting(setting));
        }
        let reason = "In a direct chat the ghost speaks for the gateway: say !mimi help, without the bot.".to_owned();
        self.out.push(Effect::Matrix(MatrixAction::Leave { room, actor: Actor::Bot, reason: Some(reason) }));
    }

    fn decline_stray(&mut self, target: OwnedUserId) {
        self.notice(&format!("{target}: {NOBODY}"));
        if let Some(room) = self.room.matrix.clone() {
            self.out.push(Effect::Matrix(MatrixAction::Decline { room, target, reason: NOBODY.to_owned() }));
        }
    }

    /// One of our users wants a remote user in: consent comes first.
    pub(super) fn ask_in(&mut self, by: &UserUri, remote: &UserUri) -> Result<(), Refusal> {
        if let Some(why) = self.not_to_be_invited(by, remote) {
            return Err(Refusal::new(Cause::Conflict, why));
        }
        if self.group.in_group(remote) {
            self.sync_members();
            return Ok(());
        }
        if let Some(refusal) = self.may_not_bring(by, Some(&remote.provider())) {
            return Err(refusal);
        }
        if let Some(refusal) = self.is_full().filter(|_| !self.is_participant(remote)) {
            return Err(refusal);
        }
        self.count_invitation(by)?;
        self.room.asking.insert(remote.clone(), by.clone());
        self.ask(ConsentAction::Request, by.clone(), remote.clone());
        Ok(())
    }

    /// The components of the room that a consent request carries.
    fn about(&self) -> std::collections::BTreeMap<u16, Vec<u8>> {
        let Some(state) = self.state() else { return std::collections::BTreeMap::new() };
        let mut components = state.to_components().unwrap_or_default();
        components.retain(|id, _| matches!(*id, component::ROOM_METADATA | component::BASE_ROOM_POLICY));
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

    // ------------------------------------------------------------------------------------------------- the portal

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

    /// A remote user asks one of ours in.
    pub(super) fn on_asked(&mut self, requester: UserUri, target: UserUri, about: &About, standing: bool) {
        if self.is_participant(&target) && self.group.in_group(&target) {
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
        self.lift_shut(&target);
        let again = self.room.asked.insert(target.clone(), requester.clone()).is_some();
        if standing && !self.room.present.contains(&target) {
            self.room.invited_by.insert(target.clone(), requester.clone());
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
    fn inviter(&self, requester: &UserUri) -> Actor {
        let is_here = self.room.ghosts.contains(requester) && !self.is_going(requester);
        if is_here { Actor::Ghost(requester.clone()) } else { self.room.speaker.clone() }
    }

    fn make_portal(&mut self, requester: &UserUri, invite: OwnedUserId, about: &About) {
        let name = match about.name.as_str() {
            // Clients name a direct chat after the other user.
            "" if about.direct => None,
            "" => Some(format!("Invitation from {}", self.names.display(requester))),
            name => Some(name.to_owned()),
        };
        self.room.direct = about.direct;
        self.room.is_called(name.as_deref().unwrap_or_default(), "");
        // Creators stand above all levels: in a room of many, no ghost does. The invitation is the ghost's own all the same.
        let (creator, invite) = if about.direct {
            self.room.ghosts.insert(requester.clone());
            (Actor::Ghost(requester.clone()), vec![invite])
        } else {
            (Actor::Bot, Vec::new())
        };
        let above = if about.direct { self.names.matrix_id(requester) } else { Some(self.names.bot()) };
        self.room.has_levels(None, above.map(String::from).into_iter().collect());
        let display = if about.direct { self.names.display(requester) } else { String::new() };
        self.out.push(Effect::MakePortal(MatrixAction::CreateRoom {
            creator,
            alias_localpart: self.names.portal_alias(&self.room.uri),
            name,
            topic: None,
            is_direct: about.direct,
            members: vec![self.room.speaker.clone()],
            invite,
            initial_state: vec![
                super::roles::portal_levels(about.direct),
                self.bridge_state(if about.name.is_empty() { &display } else { &about.name }),
                self.features_state(),
            ],
        }));
    }

    /// Whether a remote user may add this one of ours without asking: they are in the group before they come into the Matrix
    /// room, and stay until they decline its invitation.
    fn is_added_unasked(&self, user: &UserUri) -> bool {
        self.room.invited_by.get(user).is_some_and(|by| !self.is_ours(by))
    }

    /// A user of ours was added, but left again before they were let in.
    pub(super) fn leave_absent(&mut self, user: &UserUri) {
        if self.is_ours(user) && !self.room.present.contains(user) && !self.is_added_unasked(user) {
            self.want(Intent::Leave { user: user.clone() });
        }
    }

    /// Invites a participant of ours into the portal, which is made if need be.
    pub fn invite_back(&mut self, user: &UserUri) {
        let Some(target) = self.names.matrix_id(user) else { return };
        let actor = self.room.speaker.clone();
        if let Some(room) = self.room.matrix.clone() {
            let is_direct = self.room.direct;
            self.out.push(Effect::Matrix(MatrixAction::Invite { room, actor, target, is_direct }));
            return;
        }
        self.room.is_called("", "");
        self.room.has_levels(None, [self.names.bot().to_string()].into());
        self.out.push(Effect::MakePortal(MatrixAction::CreateRoom {
            creator: actor,
            alias_localpart: self.names.portal_alias(&self.room.uri),
            name: None,
            topic: None,
            is_direct: self.room.direct,
            members: Vec::new(),
            invite: vec![target],
            initial_state: vec![
                super::roles::portal_levels(self.room.direct),
                self.bridge_state(&self.channel_name()),
                self.features_state(),
            ],
        }));
    }

    pub(super) fn on_portal_ready(&mut self, room: &OwnedRoomId) {
        if self.room.matrix.as_ref() == Some(room) {
            return;
        }
        self.room.matrix = Some(room.clone());
        self.out.push(Effect::Link(room.clone()));
        // Whoever was asked while the room was being made.
        let mut asked = self.room.asked.clone();
        if !self.room.direct {
            // Who agreed before may have been added meanwhile.
            let added = self
                .room
                .invited_by
                .iter()
                .filter(|(target, by)| !self.room.present.contains(*target) && !self.is_ours(by));
            asked.extend(added.map(|(target, by)| (target.clone(), by.clone())).collect::<Vec<_>>());
        }
        for (target, requester) in asked {
            if let Some(target) = self.names.matrix_id(&target) {
                if !self.room.direct && self.room.ghosts.insert(requester.clone()) {
                    let actor = Actor::Ghost(requester.clone());
                    self.out.push(Effect::Matrix(MatrixAction::Join { room: room.clone(), actor }));
                }
                let actor = self.inviter(&requester);
                let (room, is_direct) = (room.clone(), self.room.direct);
                self.out.push(Effect::Matrix(MatrixAction::Invite { room, actor, target, is_direct }));
            }
        }
        for target in std::mem::take(&mut self.room.taken_back) {
            if !self.room.asked.contains_key(&target) {
                self.withdraw(&target);
            }
        }
        if self.room.phase == Phase::Active {
            self.dress_portal();
            self.sync_members();
            self.open_held();
        }
    }

    /// Gives the portal the room's name and topic.
    pub(super) fn dress_portal(&mut self) {
        if self.room.matrix.is_some() && self.state().is_some() {
            self.show_settings();
            self.set_bridge_state();
        }
    }

    pub(super) fn on_ask_cancelled(&mut self, requester: &UserUri, target: &UserUri) {
        if self.room.asked.get(target) != Some(requester) {
            return;
        }
        self.room.asked.remove(target);
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
    fn withdraw(&mut self, target: &UserUri) {
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

impl Step<'_> {
    /// First words in a room that was just mirrored; in a direct chat the other user is asked.
    pub fn welcome_room(&mut self, direct_with: Option<&UserUri>, creator: &UserUri) {
        if self.room.speaker == Actor::Bot {
            self.set_bridge_state();
        }
        if let Some(remote) = direct_with {
            if let Err(refusal) = self.ask_in(creator, remote) {
                self.notice(&refusal.text);
            }
        } else {
            let uri = self.room.uri.clone();
            self.room.greeted = true;
            // It may have changed since the room was looked at.
            self.look(Setting::Name);
            self.look(Setting::Topic);
            self.look(Setting::Access);
            self.look(Setting::Avatar);
            self.look(Setting::Joins);
            self.find_parent();
            let open = self.says_open();
            self.notice(&format!(
                "This room is mirrored as {uri}. Ask MIMI users in with “!mimi invite mimi://provider/u/name”.{open} \
                 Encryption towards MIMI ends at this gateway: its operator could read what is said here."
            ));
        }
    }
}
