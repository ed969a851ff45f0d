//! Making a room: private, invite-only, not federated, history for members only. With its alias a repeat finds the room
//! that an earlier try made, and finishes what that try may have left undone.

use std::collections::BTreeSet;

use reqwest::Method;
use ruma::{OwnedRoomId, OwnedUserId, RoomAliasId, RoomId, RoomVersionId, UserId};
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

use super::{HomeserverClient, errors};
use crate::engine::ports::{Actor, CallError, MatrixAction, Retry};

const POWER_LEVELS: &str = "m.room.power_levels";
const MEMBER: &str = "m.room.member";
const ALIAS: &str = "m.room.canonical_alias";

/// What the homeserver makes rooms of.
pub(super) struct RoomDefaults {
    version: String,
    /// Room version 12 and later: creators stand above all power levels and must not be listed among them.
    privileged_creators: bool,
}

#[derive(Deserialize)]
struct Capabilities {
    capabilities: CapabilityMap,
}

#[derive(Deserialize)]
struct CapabilityMap {
    #[serde(rename = "m.room_versions")]
    room_versions: Option<RoomVersions>,
}

#[derive(Deserialize)]
struct RoomVersions {
    default: String,
}

#[derive(Deserialize)]
struct Created {
    room_id: OwnedRoomId,
}

#[derive(Deserialize)]
struct StateEvent {
    #[serde(rename = "type")]
    event_type: String,
    state_key: String,
    content: Box<RawValue>,
}

#[derive(Deserialize)]
struct MemberContent {
    membership: String,
}

/// Everything that the finished room has.
struct Plan {
    creator: OwnedUserId,
    alias: ruma::OwnedRoomAliasId,
    is_direct: bool,
    space: bool,
    /// Ours, besides the creator.
    ours: Vec<OwnedUserId>,
    invite: Vec<OwnedUserId>,
    /// (type, state key, content), power levels first.
    state: Vec<(String, String, Value)>,
    version: String,
}

impl HomeserverClient {
    pub(super) async fn create_room(&self, action: &MatrixAction) -> Result<OwnedRoomId, CallError> {
        let plan = self.plan(action).await?;
        // Once more after a dead room was taken off the alias.
        for _ in 0..2 {
            match self.call::<Created>("create room", Method::POST, self.create_target(&plan), Some(plan.body())).await
            {
                Ok(created) => {
                    for user in &plan.ours {
                        self.join_as(&created.room_id, user).await?;
                    }
                    return Ok(created.room_id);
                }
                Err(error) if errors::is(&error, "M_ROOM_IN_USE") => {
                    if let Some(room) = self.adopt(&plan).await? {
                        return Ok(room);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Err(errors::unreadable("create room", "its alias is taken, but names no room of ours"))
    }

    fn create_target(&self, plan: &Plan) -> super::http::Target {
        self.v3().segment("createRoom").query("user_id", plan.creator.as_str())
    }

    async fn plan(&self, action: &MatrixAction) -> Result<Plan, CallError> {
        let MatrixAction::CreateRoom {
            creator,
            alias_localpart,
            name,
            topic,
            is_direct,
            space,
            members,
            invite,
            initial_state,
        } = action
        else {
            return Err(errors::unusable("create room", "another action"));
        };
        let alias = self
            .names
            .alias(alias_localpart)
            .ok_or_else(|| errors::unusable("create room", "the alias is not a Matrix alias"))?;
        let creator_id = self.ensure(creator).await?;
        let mut ours = Vec::new();
        for actor in members.iter().chain([&Actor::Bot]) {
            let user = self.ensure(actor).await?;
            if user != creator_id && !ours.contains(&user) {
                ours.push(user);
            }
        }
        let defaults = self.room_defaults.get_or_try_init(|| self.read_room_defaults()).await?;
        let mut state = vec![
            (POWER_LEVELS.to_owned(), String::new(), json!({})),
            ("m.room.join_rules".to_owned(), String::new(), json!({"join_rule": "invite"})),
            ("m.room.history_visibility".to_owned(), String::new(), json!({"history_visibility": "joined"})),
            ("m.room.guest_access".to_owned(), String::new(), json!({"guest_access": "forbidden"})),
            // Clients then do not count the bot when they name a room after its members.
            ("io.element.functional_members".to_owned(), String::new(), json!({"service_members": [self.names.bot()]})),
        ];
        for (event_type, state_key, content) in initial_state {
            let content: Value = serde_json::from_str(content)
                .map_err(|error| errors::unusable("create room", &format!("initial state {event_type}: {error}")))?;
            state.retain(|(other, key, _)| (other, key) != (event_type, state_key));
            let entry = (event_type.clone(), state_key.clone(), content);
            if event_type == POWER_LEVELS { state.insert(0, entry) } else { state.push(entry) }
        }
        if let Some((_, _, levels)) = state.first_mut() {
            complete_power_levels(levels, &creator_id, &ours, defaults.privileged_creators);
        }
        for (event_type, field, text) in [("m.room.name", "name", name), ("m.room.topic", "topic", topic)] {
            if let Some(text) = text {
                state.retain(|(other, key, _)| other != event_type || !key.is_empty());
                state.push((event_type.to_owned(), String::new(), json!({field: text})));
            }
        }
        let invite = invite.iter().filter(|user| **user != creator_id && !ours.contains(user)).cloned().collect();
        let version = defaults.version.clone();
        Ok(Plan { creator: creator_id, alias, is_direct: *is_direct, space: *space, ours, invite, state, version })
    }

    async fn read_room_defaults(&self) -> Result<RoomDefaults, CallError> {
        let target = self.v3().segment("capabilities").query("user_id", self.names.bot().as_str());
        let answer: Capabilities = self.call("capabilities", Method::GET, target, None).await?;
        // A homeserver that names no default has room version 1 (client-server API, m.room_versions).
        let version = answer.capabilities.room_versions.map_or_else(|| "1".to_owned(), |versions| versions.default);
        Ok(RoomDefaults { privileged_creators: has_privileged_creators(&version), version })
    }

    /// The room behind the alias, finished; `None` after the alias was taken off a room that cannot be used: one in
    /// which the creator is not (the homeserver died while making it, or an earlier life of the gateway left it).
    async fn adopt(&self, plan: &Plan) -> Result<Option<OwnedRoomId>, CallError> {
        let Some(room) = self.read_alias(&plan.alias).await? else { return Ok(None) };
        let state = match self.read_state(&room, &plan.creator).await {
            Ok(state) => parse_state(&state),
            Err(error) if error.retry == Retry::Permanent => Vec::new(),
            Err(error) => return Err(error),
        };
        if membership(&state, &plan.creator).as_deref() != Some("join") {
            tracing::warn!(%room, alias = %plan.alias, "the alias names a room that is not usable; it is made anew");
            self.delete_alias(&plan.alias).await?;
            return Ok(None);
        }
        self.finish(plan, &room, &state).await?;
        Ok(Some(room))
    }

    /// Adds what the room lacks; what is there already is left alone, people may have changed it.
    async fn finish(&self, plan: &Plan, room: &RoomId, state: &[StateEvent]) -> Result<(), CallError> {
        let present: BTreeSet<(&str, &str)> =
            state.iter().map(|event| (event.event_type.as_str(), event.state_key.as_str())).collect();
        let alias = (ALIAS.to_owned(), String::new(), json!({"alias": plan.alias}));
        for (event_type, state_key, content) in plan.state.iter().chain([&alias]) {
            if !present.contains(&(event_type.as_str(), state_key.as_str())) {
                self.set_state(room, &plan.creator, event_type, state_key, content.to_string()).await?;
            }
        }
        for user in &plan.ours {
            match membership(state, user).as_deref() {
                Some("join") => {}
                Some("invite") => self.join_as(room, user).await?,
                _ => {
                    self.invite(room, &plan.creator, user).await?;
                    self.join_as(room, user).await?;
                }
            }
        }
        for user in &plan.invite {
            // Someone who has declined or left is not asked again.
            if membership(state, user).is_none() {
                let content = if plan.is_direct {
                    json!({"membership": "invite", "is_direct": true})
                } else {
                    json!({"membership": "invite"})
                };
                self.set_state(room, &plan.creator, MEMBER, user.as_str(), content.to_string()).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn delete_alias(&self, alias: &RoomAliasId) -> Result<(), CallError> {
        let target = self.v3().segment("directory").segment("room").segment(alias.as_str());
        match self.call::<Value>("delete alias", Method::DELETE, target, None).await {
            Ok(_) => Ok(()),
            Err(error) if errors::is(&error, "M_NOT_FOUND") => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Plan {
    /// The body of `POST /createRoom`.
    fn body(&self) -> String {
        let mut levels = json!({});
        let mut initial_state = Vec::new();
        let mut name = None;
        let mut topic = None;
        for (event_type, state_key, content) in &self.state {
            match event_type.as_str() {
                POWER_LEVELS => levels = content.clone(),
                "m.room.name" => name = content.get("name"),
                "m.room.topic" => topic = content.get("topic"),
                _ => initial_state.push(json!({"type": event_type, "state_key": state_key, "content": content})),
            }
        }
        let mut creation = json!({"m.federate": false});
        if let Some(fields) = creation.as_object_mut().filter(|_| self.space) {
            fields.insert("type".to_owned(), json!("m.space"));
        }
        let mut body = json!({
            "preset": "private_chat",
            "visibility": "private",
            "room_version": self.version,
            "room_alias_name": self.alias.alias(),
            "creation_content": creation,
            "power_level_content_override": levels,
            "initial_state": initial_state,
            "invite": self.ours.iter().chain(&self.invite).collect::<Vec<_>>(),
            "is_direct": self.is_direct,
        });
        // Only where there is one: an empty text would become an event.
        if let Some(fields) = body.as_object_mut() {
            for (field, text) in [("name", name), ("topic", topic)] {
                if let Some(text) = text {
                    fields.insert(field.to_owned(), text.clone());
                }
            }
        }
        body.to_string()
    }
}

/// Whether rooms of this version put creators above the power levels (room version 12, MSC4289).
fn has_privileged_creators(version: &str) -> bool {
    RoomVersionId::try_from(version).ok().and_then(|id| id.rules()).map_or_else(
        || version.parse::<u32>().is_ok_and(|number| number >= 12),
        |rules| rules.authorization.explicitly_privilege_room_creators,
    )
}

/// 100 for the creator (where it has to be listed) and our other members. Anyone in the room may invite: a portal's
/// users bring others in through the hub, which decides.
fn complete_power_levels(levels: &mut Value, creator: &UserId, ours: &[OwnedUserId], privileged_creators: bool) {
    if !levels.is_object() {
        *levels = json!({});
    }
    let Some(levels) = levels.as_object_mut() else { return };
    levels.entry("invite").or_insert_with(|| json!(0));
    let users = levels.entry("users").or_insert_with(|| json!({}));
    if !users.is_object() {
        *users = Value::Object(Map::new());
    }
    let Some(users) = users.as_object_mut() else { return };
    for user in ours {
        users.insert(user.to_string(), json!(100));
    }
    if privileged_creators {
        users.remove(creator.as_str());
    } else {
        users.insert(creator.to_string(), json!(100));
    }
}

fn parse_state(state: &[Box<RawValue>]) -> Vec<StateEvent> {
    state.iter().filter_map(|event| serde_json::from_str(event.get()).ok()).collect()
}

fn membership(state: &[StateEvent], user: &UserId) -> Option<String> {
    let event = state.iter().find(|event| event.event_type == MEMBER && event.state_key == user.as_str())?;
    serde_json::from_str::<MemberContent>(event.content.get()).ok().map(|content| content.membership)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(localpart: &str) -> OwnedUserId {
        UserId::parse(format!("@{localpart}:a.example")).unwrap()
    }

    #[test]
    fn creators_are_listed_only_where_the_room_version_wants_it() {
        assert!(has_privileged_creators("12"));
        assert!(has_privileged_creators("13"));
        assert!(!has_privileged_creators("11"));
        assert!(!has_privileged_creators("org.example.custom"));
        let mut levels = json!({});
        complete_power_levels(&mut levels, &user("ghost"), &[user("bot")], true);
        assert_eq!(levels, json!({"invite": 0, "users": {"@bot:a.example": 100}}));
        let mut levels = json!({"invite": 50, "users": {"@eve:a.example": 25}});
        complete_power_levels(&mut levels, &user("ghost"), &[user("bot")], false);
        assert_eq!(
            levels,
            json!({"invite": 50, "users": {"@bot:a.example": 100, "@ghost:a.example": 100, "@eve:a.example": 25}})
        );
    }

    #[test]
    fn membership_is_read_from_state_and_odd_events_are_passed_over() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let state = parse_state(&[
            raw(r#"{"type":"m.room.member","state_key":"@u:a.example","content":{"membership":"invite"}}"#),
            raw(r#"{"type":7}"#),
            raw(r#"{"type":"m.room.member","state_key":"@v:a.example","content":{}}"#),
        ]);
        assert_eq!(membership(&state, &user("u")).as_deref(), Some("invite"));
        assert_eq!(membership(&state, &user("v")), None);
    }
}
