//! What people of the chat do beside the usual: lift and make bans, begin chats of two, come into open rooms.

use ruma::{OwnedRoomId, RoomId};
use serde_json::json;

use super::chat::{Change, Chat, Refused};

impl Chat {
    /// Bans somebody, or lifts their ban; whose level says so may.
    pub(crate) fn ban(&self, room: &RoomId, by: &str, who: &str, banned: bool) -> Result<(), Refused> {
        let (by, user) = (self.id(by), self.named(who)?);
        self.change(|change| {
            change.must_be_in(room.as_str(), &by)?;
            change.must_be_above(room.as_str(), &by, &user, "ban")?;
            match (change.state.member(room.as_str(), &user) == "ban", banned) {
                (false, true) => change.member(room.as_str(), &by, &user, "ban"),
                (true, false) => change.member(room.as_str(), &by, &user, "leave"),
                (true, true) => return Err(format!("{who} is banned from {room} already")),
                (false, false) => return Err(format!("{who} is not banned from {room}")),
            }
            Ok(())
        })
    }

    /// Gives somebody a level, who may come later; nobody gives more than their own, or takes from their like.
    pub(crate) fn empower(&self, room: &RoomId, by: &str, who: &str, level: i64) -> Result<(), Refused> {
        let (by, user) = (self.id(by), self.named(who)?);
        self.change(|change| {
            change.must_be_in(room.as_str(), &by)?;
            let own = change.level(room.as_str(), &by);
            let mut levels = change.state.content(room.as_str(), "m.room.power_levels").cloned().unwrap_or_default();
            let needed = levels["events"]["m.room.power_levels"].as_i64().unwrap_or(50);
            if own < needed || level > own || by != user && change.level(room.as_str(), &user) >= own {
                return Err(format!("{by} may not give {who} level {level} in {room}"));
            }
            levels["users"][&user] = json!(level);
            change.set(room.as_str(), &by, "m.room.power_levels", "", levels);
            Ok(())
        })
    }

    /// Lets anybody come into a room, or asked people only; who made it may.
    pub(crate) fn open_to_all(&self, room: &RoomId, by: &str, open: bool) -> Result<(), Refused> {
        let by = self.id(by);
        self.change(|change| {
            change.must_be_in(room.as_str(), &by)?;
            if change.level(room.as_str(), &by) < 100 {
                return Err(format!("{by} may not open {room}"));
            }
            let rule = if open { "public" } else { "invite" };
            change.set(room.as_str(), &by, "m.room.join_rules", "", json!({ "join_rule": rule }));
            Ok(())
        })
    }

    /// Begins a chat of two with another provider's user.
    pub(crate) fn direct(&self, by: &str, who: &str) -> Result<OwnedRoomId, Refused> {
        let (by, user) = (self.id(by), self.named(who)?);
        self.change(|change| Ok(chat_of_two(change, &by, &user)))
    }

    /// Asks the gateway to let one into an open room, or with a code into another one: what follows is an invitation.
    pub(crate) fn join(&self, by: &str, room: &str) -> Result<OwnedRoomId, Refused> {
        let by = self.id(by);
        self.change(|change| {
            let desk = chat_of_two(change, &by, self.bot.as_str());
            let ask = json!({ "msgtype": "m.text", "body": format!("join {room}") });
            change.post(desk.as_str(), &by, "m.room.message", ask);
            Ok(desk)
        })
    }
}

/// A new room of somebody and another one, who is asked in.
fn chat_of_two(change: &mut Change<'_>, by: &str, other: &str) -> OwnedRoomId {
    let room = change.room(by);
    change.set(&room, by, "m.room.power_levels", "", json!({ "users": { by: 100, other: 100 } }));
    change.invite(&room, by, other, true);
    OwnedRoomId::try_from(room).expect("a room id")
}
