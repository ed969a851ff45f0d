//! What the engine does at the homeserver.

use super::{FakeHomeserver, State, forbidden};

use mimi_gateway::engine::ports::{Actor, CallError, MatrixAction, MatrixDone, Retry};
use ruma::{OwnedRoomId, OwnedUserId, RoomId};
use serde_json::{Value, json};

impl FakeHomeserver {
    pub(super) fn id(&self, actor: &Actor) -> OwnedUserId {
        match actor {
            Actor::Bot => self.bot.clone(),
            Actor::Ghost(uri) => self.map.ghost(uri).unwrap(),
        }
    }

    #[expect(clippy::too_many_lines, reason = "one arm an action")]
    pub(super) fn act(&self, action: &MatrixAction) -> Result<MatrixDone, CallError> {
        let mut state = self.lock();
        state.actions += 1;
        let state = &mut *state;
        match action {
            MatrixAction::Send { room, actor, event_type, content, ts, txn_id } => {
                let user = self.id(actor).to_string();
                let key = (room.to_string(), user.clone(), txn_id.clone());
                if let Some(event) = state.sent.get(&key) {
                    return Ok(MatrixDone::Event(event.clone()));
                }
                Self::must_be_in(state, room.as_str(), &user)?;
                let content: Value = serde_json::from_str(content).unwrap();
                Self::must_relate(state, room.as_str(), &content)?;
                let event = self.post(state, room.as_str(), &user, event_type, None, content, *ts);
                state.sent.insert(key, event.clone());
                Ok(MatrixDone::Event(event))
            }
            MatrixAction::SetState { room, actor, event_type, state_key, content, .. } => {
                let user = self.id(actor).to_string();
                Self::must_be_in(state, room.as_str(), &user)?;
                Self::must_have(state, room.as_str(), &user, event_type)?;
                let content: Value = serde_json::from_str(content).unwrap();
                let event = self.post(state, room.as_str(), &user, event_type, Some(state_key), content, None);
                Ok(MatrixDone::Event(event))
            }
            MatrixAction::Name { room, actor, name } => {
                self.show_face(state, room, actor, "displayname", Some(name));
                Ok(MatrixDone::Done)
            }
            MatrixAction::Portray { room, actor, place } => {
                self.show_face(state, room, actor, "avatar_url", place.as_deref());
                Ok(MatrixDone::Done)
            }
            MatrixAction::CreateRoom {
                creator,
                alias_localpart,
                name,
                topic,
                is_direct,
                space,
                members,
                invite,
                initial_state,
            } => {
                if let Some(room) = state.aliases.get(alias_localpart) {
                    return Ok(MatrixDone::Room(OwnedRoomId::try_from(room.as_str()).unwrap()));
                }
                let creator = self.id(creator).to_string();
                let room = self.new_room(state, &creator);
                state.aliases.insert(alias_localpart.clone(), room.clone());
                if *space {
                    let create = json!({ "room_version": "11", "type": "m.space" });
                    self.post(state, &room, &creator, "m.room.create", Some(""), create, None);
                }
                for (event_type, state_key, content) in initial_state {
                    let mut content: Value = serde_json::from_str(content).unwrap();
                    if event_type == "m.room.power_levels" {
                        for ours in [&creator]
                            .into_iter()
                            .chain(&members.iter().map(|one| self.id(one).to_string()).collect::<Vec<_>>())
                        {
                            content["users"][ours] = json!(100);
                        }
                    }
                    self.post(state, &room, &creator, event_type, Some(state_key), content, None);
                }
                if let Some(name) = name {
                    self.post(state, &room, &creator, "m.room.name", Some(""), json!({ "name": name }), None);
                }
                if let Some(topic) = topic {
                    self.post(state, &room, &creator, "m.room.topic", Some(""), json!({ "topic": topic }), None);
                }
                for member in members {
                    let member = self.id(member).to_string();
                    self.set_member(state, &room, &creator, &member, "invite", false);
                    self.set_member(state, &room, &member, &member, "join", false);
                }
                for target in invite {
                    self.set_member(state, &room, &creator, target.as_str(), "invite", *is_direct);
                }
                Ok(MatrixDone::Room(OwnedRoomId::try_from(room).unwrap()))
            }
            MatrixAction::Join { room, actor } => {
                let user = self.id(actor).to_string();
                match Self::membership(state, room.as_str(), &user).as_deref() {
                    Some("join") => {}
                    Some("invite") => self.set_member(state, room.as_str(), &user, &user, "join", false),
                    Some("ban") => return Err(forbidden(&format!("{user} is banned from {room}"))),
                    _ => {
                        let bot = self.bot.to_string();
                        Self::must_be_in(state, room.as_str(), &bot)?;
                        self.set_member(state, room.as_str(), &bot, &user, "invite", false);
                        self.set_member(state, room.as_str(), &user, &user, "join", false);
                    }
                }
                Ok(MatrixDone::Done)
            }
            MatrixAction::Leave { room, actor, reason } => {
                let user = self.id(actor).to_string();
                self.go(state, room, &user, reason.as_deref());
                Ok(MatrixDone::Done)
            }
            MatrixAction::Decline { room, target, reason } => {
                self.go(state, room, target.as_str(), Some(reason));
                Ok(MatrixDone::Done)
            }
            MatrixAction::Unban { room, actor, target } => {
                let user = self.id(actor).to_string();
                Self::must_be_in(state, room.as_str(), &user)?;
                Self::must_have(state, room.as_str(), &user, "ban")?;
                if Self::membership(state, room.as_str(), target.as_str()).as_deref() == Some("ban") {
                    self.set_member(state, room.as_str(), &user, target.as_str(), "leave", false);
                }
                Ok(MatrixDone::Done)
            }
            MatrixAction::RemoveAlias { alias_localpart } => {
                state.aliases.remove(alias_localpart);
                Ok(MatrixDone::Done)
            }
            MatrixAction::Receipt { room, actor, event } => {
                let user = self.id(actor).to_string();
                Self::must_be_in(state, room.as_str(), &user)?;
                state.receipts.insert((room.to_string(), user), event.to_string());
                Ok(MatrixDone::Done)
            }
            MatrixAction::Invite { room, actor, target, is_direct } => {
                let user = self.id(actor).to_string();
                Self::must_be_in(state, room.as_str(), &user)?;
                if Self::membership(state, room.as_str(), target.as_str()).as_deref() == Some("ban") {
                    return Err(forbidden(&format!("{target} is banned from {room}")));
                }
                if !matches!(
                    Self::membership(state, room.as_str(), target.as_str()).as_deref(),
                    Some("join" | "invite")
                ) {
                    self.set_member(state, room.as_str(), &user, target.as_str(), "invite", *is_direct);
                }
                Ok(MatrixDone::Done)
            }
            MatrixAction::Kick { room, actor, target, reason } => {
                let user = self.id(actor).to_string();
                Self::must_be_in(state, room.as_str(), &user)?;
                Self::must_have(state, room.as_str(), &user, "kick")?;
                if matches!(Self::membership(state, room.as_str(), target.as_str()).as_deref(), Some("join" | "invite"))
                {
                    let content = json!({ "membership": "leave", "reason": reason });
                    self.post(state, room.as_str(), &user, "m.room.member", Some(target.as_str()), content, None);
                }
                Ok(MatrixDone::Done)
            }
            MatrixAction::Ban { room, actor, target, reason } => {
                let user = self.id(actor).to_string();
                Self::must_be_in(state, room.as_str(), &user)?;
                Self::must_have(state, room.as_str(), &user, "ban")?;
                let content = json!({ "membership": "ban", "reason": reason });
                self.post(state, room.as_str(), &user, "m.room.member", Some(target.as_str()), content, None);
                Ok(MatrixDone::Done)
            }
        }
    }

    /// As Synapse does it: a thread begins at an event that relates to none.
    fn must_relate(state: &State, room: &str, content: &Value) -> Result<(), CallError> {
        let relation = &content["m.relates_to"];
        let mut timeline = state.rooms[room].timeline.iter();
        let begins =
            timeline.find(|event| relation["rel_type"] == "m.thread" && event["event_id"] == relation["event_id"]);
        if begins.is_some_and(|begins| begins["content"]["m.relates_to"]["rel_type"].is_string()) {
            return Err(CallError {
                what: "Cannot start threads from an event with a relation".to_owned(),
                retry: Retry::Permanent,
                status: Some(400),
                errcode: Some("M_UNKNOWN".to_owned()),
            });
        }
        Ok(())
    }

    /// Somebody of the gateway's goes out of a room, or declines.
    fn go(&self, state: &mut State, room: &RoomId, user: &str, reason: Option<&str>) {
        if matches!(Self::membership(state, room.as_str(), user).as_deref(), Some("join" | "invite")) {
            let content = json!({ "membership": "leave", "reason": reason });
            self.post(state, room.as_str(), user, "m.room.member", Some(user), content, None);
        }
    }
}
