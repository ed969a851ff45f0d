//! What people do in the world's Matrix rooms, and what they see there.

use ruma::{OwnedEventId, UserId};
use serde_json::json;

use super::{
    provider::Mail,
    world::{Said, World},
};
use crate::{
    ident::UserUri,
    policy,
    room::{Input, Names as _, effect::StateNow},
    translate::RoomEvent,
};

impl World {
    pub(super) fn event(
        &mut self,
        at: usize,
        sender: &UserId,
        kind: &str,
        state_key: Option<&UserId>,
        content: serde_json::Value,
    ) -> OwnedEventId {
        self.events += 1;
        let id = OwnedEventId::try_from(format!("$e{}", self.events)).unwrap();
        let event = RoomEvent {
            event_id: id.clone(),
            room_id: self.providers[at].matrix.clone().unwrap(),
            sender: sender.to_owned(),
            event_type: kind.to_owned(),
            state_key: state_key.map(ToString::to_string),
            content,
            origin_server_ts: self.now,
            transaction_id: None,
            redacts: None,
            was: None,
            redacted: false,
        };
        let mut salt = [0; 16];
        salt[..8].copy_from_slice(&self.events.to_be_bytes());
        self.providers[at].inbox.push_back(Mail::Input(Input::Event { event, salt, past: Vec::new() }));
        id
    }

    pub(super) fn member_event(&mut self, at: usize, sender: &UserUri, target: &UserUri, membership: &str) {
        let names = &self.providers[at].names;
        let (sender, target) = (names.matrix_id(sender).unwrap(), names.matrix_id(target).unwrap());
        self.event(at, &sender, "m.room.member", Some(&target), json!({ "membership": membership }));
    }

    pub(super) fn say(&mut self, by: &UserUri) -> OwnedEventId {
        let at = self.at(&by.provider());
        let body = format!("{} says {}!", by.tail(), self.said.len());
        let sender = self.providers[at].names.matrix_id(by).unwrap();
        let content = json!({ "msgtype": "m.text", "body": body });
        let event = self.event(at, &sender, "m.room.message", None, content);
        self.trace.push(format!("{by} says “{body}” ({event})"));
        self.said.push(Said { by: by.clone(), event: event.clone(), body });
        event
    }

    /// Sets state without key.
    pub(super) fn put(&mut self, at: usize, sender: &UserId, kind: &str, content: serde_json::Value) {
        self.events += 1;
        let id = OwnedEventId::try_from(format!("$e{}", self.events)).unwrap();
        let p = &mut self.providers[at];
        let now = StateNow { event: id.clone(), sender: sender.to_owned(), content: content.clone() };
        p.set.insert(kind.to_owned(), now);
        if p.names.is_bridged(sender) {
            return;
        }
        let event = RoomEvent {
            event_id: id,
            room_id: p.matrix.clone().unwrap(),
            sender: sender.to_owned(),
            event_type: kind.to_owned(),
            state_key: Some(String::new()),
            content,
            origin_server_ts: self.now,
            transaction_id: None,
            redacts: None,
            was: None,
            redacted: false,
        };
        p.inbox.push_back(Mail::Input(Input::Event { event, salt: [0; 16], past: Vec::new() }));
    }

    /// Calls the Matrix room something.
    pub(super) fn rename(&mut self, by: &UserUri, name: &str) {
        self.trace.push(format!("{by} calls it {name}"));
        let at = self.at(&by.provider());
        let sender = self.providers[at].names.matrix_id(by).unwrap();
        self.put(at, &sender, "m.room.name", json!({ "name": name }));
    }

    /// Gives somebody a power level in the Matrix room.
    pub(super) fn empower(&mut self, by: &UserUri, who: &UserUri, level: i64) {
        let at = self.at(&by.provider());
        let mut content = self.providers[at].set["m.room.power_levels"].content.clone();
        let id = self.providers[at].names.matrix_id(who).unwrap();
        content["users"][id.as_str()] = json!(level);
        self.set_levels(by, content);
    }

    /// Takes the bot out of the Matrix room.
    pub(super) fn remove_bot(&mut self, by: &UserUri) {
        let at = self.at(&by.provider());
        let names = &self.providers[at].names;
        let (sender, bot) = (names.matrix_id(by).unwrap(), names.bot());
        self.event(at, &sender, "m.room.member", Some(&bot), json!({ "membership": "leave" }));
    }

    /// Sets the power levels of the Matrix room.
    pub(super) fn set_levels(&mut self, by: &UserUri, content: serde_json::Value) {
        self.trace.push(format!("{by} sets the levels {content}"));
        let at = self.at(&by.provider());
        let sender = self.providers[at].names.matrix_id(by).unwrap();
        self.put(at, &sender, "m.room.power_levels", content);
    }

    /// Somebody's power level in the Matrix room.
    pub(super) fn level(&self, at: usize, who: &UserUri) -> i64 {
        let p = &self.providers[at];
        let content = p.set.get("m.room.power_levels").map(|now| &now.content);
        let id = p.names.matrix_id(who).unwrap();
        policy::Powers::read(content, [].into(), None).level(id.as_str())
    }

    /// What the Matrix room of a provider is called.
    pub(super) fn called(&self, at: usize) -> String {
        let name =
            self.providers[at].set.get("m.room.name").map(|now| now.content["name"].as_str().unwrap_or_default());
        name.unwrap_or_default().to_owned()
    }

    /// Joins the Matrix room: by an invite of a ghost or of somebody local.
    pub(super) fn join(&mut self, who: &UserUri) {
        self.trace.push(format!("{who} joins"));
        let at = self.at(&who.provider());
        let p = &mut self.providers[at];
        p.joined.insert(who.clone());
        p.invited.remove(who);
        self.member_event(at, who, who, "join");
    }

    /// Asked in by somebody on the same homeserver, and joins.
    pub(super) fn bring(&mut self, by: &UserUri, who: &UserUri) {
        let at = self.at(&who.provider());
        self.member_event(at, by, who, "invite");
        self.join(who);
    }

    pub(super) fn leave(&mut self, who: &UserUri) {
        self.trace.push(format!("{who} leaves"));
        let at = self.at(&who.provider());
        let p = &mut self.providers[at];
        p.joined.remove(who);
        p.invited.remove(who);
        self.member_event(at, who, who, "leave");
    }

    /// Removes somebody from `by`'s Matrix room: a local user or a ghost.
    pub(super) fn kick(&mut self, by: &UserUri, who: &UserUri) {
        self.trace.push(format!("{by} removes {who}"));
        let at = self.at(&by.provider());
        let p = &mut self.providers[at];
        p.joined.remove(who);
        p.invited.remove(who);
        p.ghosts.remove(who);
        p.awaited.remove(who);
        p.removed.insert(who.clone());
        p.away.insert(who.clone());
        self.member_event(at, by, who, "leave");
        if let Some(Mail::Input(Input::Event { event, .. })) = self.providers[at].inbox.back_mut() {
            event.was = Some("join".to_owned());
        }
    }

    /// Bans somebody from `by`'s Matrix room: a local user or a ghost.
    pub(super) fn ban(&mut self, by: &UserUri, who: &UserUri) {
        self.trace.push(format!("{by} bans {who}"));
        let at = self.at(&by.provider());
        let p = &mut self.providers[at];
        p.joined.remove(who);
        p.invited.remove(who);
        p.ghosts.remove(who);
        p.awaited.remove(who);
        p.removed.insert(who.clone());
        p.away.insert(who.clone());
        p.banned.insert(who.clone());
        self.member_event(at, by, who, "ban");
    }

    pub(super) fn unban(&mut self, by: &UserUri, who: &UserUri) {
        self.trace.push(format!("{by} lifts the ban of {who}"));
        let at = self.at(&by.provider());
        let p = &mut self.providers[at];
        assert!(p.banned.remove(who) | p.shut.remove(who));
        self.late_unban(at, by, who);
    }

    /// What the homeserver says of a ban that was lifted.
    pub(super) fn late_unban(&mut self, at: usize, by: &UserUri, who: &UserUri) {
        self.member_event(at, by, who, "leave");
        if let Some(Mail::Input(Input::Event { event, .. })) = self.providers[at].inbox.back_mut() {
            event.was = Some("ban".to_owned());
        }
    }

    /// Invites a remote user's ghost, or asks the bot to if it is banned.
    pub(super) fn invite(&mut self, by: &UserUri, who: &UserUri) {
        self.trace.push(format!("{by} invites {who}"));
        let at = self.at(&by.provider());
        if self.providers[at].banned.contains(who) {
            let sender = self.providers[at].names.matrix_id(by).unwrap();
            let content = json!({ "msgtype": "m.text", "body": format!("!mimi invite {who}") });
            self.event(at, &sender, "m.room.message", None, content);
            return;
        }
        let p = &mut self.providers[at];
        if !p.ghosts.contains(who) {
            p.awaited.insert(who.clone());
        }
        self.member_event(at, by, who, "invite");
    }

    /// `who` is asked in by `by` and comes.
    pub(super) fn bring_remote(&mut self, by: &UserUri, who: &UserUri) {
        self.invite(by, who);
        self.settle();
        assert!(self.of(who).invited.contains(who), "{who} has no invite");
        self.join(who);
        self.settle();
    }
}
