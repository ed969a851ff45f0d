//! Power levels and roles: every decision of the levels is that of the judge, but for the known losses.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{changes, initial, judge, role, room_uri, user};
use crate::{
    ident::UserUri,
    policy::{
        ABOVE_ALL, Capability, KNOWN_LOSSES, Powers, Preset, RoomState, component, update_add, update_metadata,
        update_remove, update_roles,
    },
};

/// Who is in the room; the last one is not.
const PEOPLE: [&str; 4] = ["alice", "bob", "carol", "dave"];

/// What a Matrix room says: the content of its power levels, if it has that event, and who stands above all levels.
#[derive(Debug, Clone)]
struct Said {
    content: Option<Value>,
    creators: BTreeSet<String>,
}

impl Said {
    fn content(content: &Value) -> Self {
        Self { content: Some(content.clone()), creators: BTreeSet::new() }
    }
    fn powers(&self) -> Powers {
        Powers::read(self.content.as_ref(), self.creators.clone(), self.first())
    }
    /// Who made a room without levels, where nobody stands above them.
    fn first(&self) -> Option<&'static str> {
        self.creators.is_empty().then_some("alice")
    }
}

/// Matrix' rules, written once more and naively (authorization rules of room versions 11 and 12).
struct Matrix<'a>(&'a Said);

impl Matrix<'_> {
    fn level(&self, who: &str) -> i64 {
        if self.0.creators.contains(who) {
            return i64::MAX;
        }
        let Some(content) = &self.0.content else { return if self.0.first() == Some(who) { 100 } else { 0 } };
        let default = content["users_default"].as_i64().unwrap_or(0);
        content["users"][who].as_i64().unwrap_or(default)
    }
    fn needs(&self, key: &str, default: i64) -> i64 {
        self.0.content.as_ref().and_then(|content| content[key].as_i64()).unwrap_or(default)
    }
    fn event(&self, kind: &str) -> Option<i64> {
        self.0.content.as_ref()?["events"][kind].as_i64()
    }
    fn state(&self, kind: &str) -> i64 {
        let default = if self.0.content.is_some() { 50 } else { 0 };
        self.event(kind).unwrap_or_else(|| self.needs("state_default", default))
    }
    fn message(&self, kind: &str) -> i64 {
        self.event(kind).unwrap_or_else(|| self.needs("events_default", 0))
    }
    fn kicks(&self, by: &str, who: &str) -> bool {
        self.level(by) >= self.needs("kick", 50) && self.level(by) > self.level(who)
    }
    fn bans(&self, by: &str, who: &str) -> bool {
        self.level(by) >= self.needs("ban", 50) && self.level(by) > self.level(who)
    }
    /// Nobody is made a creator.
    fn appoints(&self, by: &str, who: &str, to: i64) -> bool {
        let own = self.level(by);
        own >= self.state("m.room.power_levels") && own > self.level(who) && own >= to && to != ABOVE_ALL
    }
}

fn levels() -> impl Strategy<Value = Value> {
    let level = || prop::sample::select(vec![-1_i64, 0, 10, 25, 50, 75, 94, 95, 100, 150]);
    let kinds = [
        "m.room.message",
        "m.reaction",
        "m.room.redaction",
        "m.room.name",
        "m.room.topic",
        "m.room.avatar",
        "m.room.power_levels",
        "m.room.tombstone",
        "m.room.join_rules",
    ];
    let some = |keys: &'static [&'static str]| {
        prop::collection::btree_map(prop::sample::select(keys.to_vec()), level(), 0..keys.len())
    };
    let keys = ["users_default", "events_default", "state_default", "ban", "kick", "redact", "invite"];
    let events = prop::collection::btree_map(prop::sample::select(kinds.to_vec()), level(), 0..kinds.len());
    (some(&PEOPLE), prop::collection::btree_map(prop::sample::select(keys.to_vec()), level(), 0..keys.len()), events)
        .prop_map(|(users, fields, events)| {
            let mut content = json!({ "users": users, "events": events });
            for (key, level) in fields {
                content[key] = json!(level);
            }
            content
        })
}

/// Rooms of all versions: in those of version 12 creators are not among the users, and a room may have no levels.
fn rooms() -> impl Strategy<Value = Said> {
    let creators = prop::collection::btree_set(prop::sample::select(vec!["alice", "bob"]), 0..3);
    (prop::option::weighted(0.9, levels()), prop::option::weighted(0.4, creators)).prop_map(
        |(mut content, creators)| {
            let creators: BTreeSet<String> = creators.unwrap_or_default().into_iter().map(str::to_owned).collect();
            if let Some(users) = content.as_mut().and_then(|content| content["users"].as_object_mut()) {
                users.retain(|user, _| !creators.contains(user));
            }
            Said { content, creators }
        },
    )
}

/// The room as it is mirrored: everybody but dave is in it.
fn mirrored(room: &Said) -> (Powers, RoomState) {
    let powers = room.powers();
    let mut state = initial(room_uri(), "Club", "", Vec::new(), Preset::default());
    state.roles = powers.roles(&state.roles, PEOPLE.map(|name| powers.level(name)));
    let there = PEOPLE.iter().take(3);
    state.participants = there.map(|name| (user(name), powers.role(&state.roles, powers.level(name)))).collect();
    (powers, state)
}

/// Whether the hub lets somebody remove, or ban, somebody else.
fn removes(state: &RoomState, by: &str, who: &str, ban: bool) -> bool {
    let (by, target) = (user(by), user(who));
    let update = if ban {
        update_roles(state, &[(target.clone(), role::BANNED)])
    } else {
        update_remove(state, std::slice::from_ref(&target))
    };
    let commit = changes(state).remove(&target, &by).update(component::PARTICIPANT_LIST, update.unwrap(), &by);
    judge(state, &by, &commit).is_ok()
}

/// The levels of a portal to that room.
fn portal(state: &RoomState) -> Value {
    let mut portal = json!({ "users": {} });
    let read = |content: &Value| Powers::read(Some(content), [].into(), None).at_most(95).among(&state.roles);
    let Value::Object(fields) = &mut portal else { unreachable!() };
    read(&json!({})).write_thresholds(&state.roles, 100, fields);
    let there = read(&portal);
    for name in PEOPLE.iter().take(3) {
        let role = state.roles.get(role_in(state, &user(name))).unwrap();
        portal["users"][name] = json!(there.level_of(role).unwrap());
    }
    portal
}

fn role_in(state: &RoomState, who: &UserUri) -> u32 {
    state.role_of(who).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_decision_of_the_levels_is_the_judges(room in rooms()) {
        let (powers, state) = mirrored(&room);
        let matrix = Matrix(&room);
        let dave = user("dave");
        for by in PEOPLE.iter().take(3) {
            let who_by = user(by);
            let own = matrix.level(by);
            let may = |capability| state.can(&who_by, capability);
            prop_assert_eq!(may(Capability::SendMessage), own >= matrix.message("m.room.message"));
            prop_assert_eq!(may(Capability::ReactToMessage), own >= matrix.message("m.reaction"));
            let takes_back = [Capability::DeleteOwnMessage, Capability::DeleteOwnReaction].map(may);
            prop_assert_eq!(takes_back, [own >= matrix.message("m.room.redaction"); 2]);
            prop_assert_eq!(may(Capability::ChangeRoomAvatar), own >= matrix.state("m.room.avatar"));
            prop_assert_eq!(may(Capability::ChangeRoomMembershipStyle), own >= matrix.state("m.room.join_rules"));
            prop_assert_eq!(may(Capability::DeleteOtherMessage), own >= matrix.needs("redact", 50));
            prop_assert_eq!(may(Capability::DestroyRoom), own >= matrix.state("m.room.tombstone"));
            let commit = |id, bytes| changes(&state).update(id, bytes, &who_by);
            let list = |bytes: Vec<u8>| judge(&state, &who_by, &commit(component::PARTICIPANT_LIST, bytes)).is_ok();
            let metadata =
                |bytes: Vec<u8>| judge(&state, &who_by, &commit(component::ROOM_METADATA, bytes)).is_ok();
            prop_assert_eq!(
                metadata(update_metadata(&state, Some("New"), None).unwrap()), own >= matrix.state("m.room.name"));
            prop_assert_eq!(
                metadata(update_metadata(&state, None, Some("New")).unwrap()), own >= matrix.state("m.room.topic"));
            prop_assert_eq!(
                list(update_add(&state, &[(dave.clone(), role::MEMBER)]).unwrap()), own >= matrix.needs("invite", 0));
            // Known loss: who comes back as creator is listed by another one.
            if let Some(creator) = state.roles.0.iter().find(|role| powers.level_of(role) == Some(ABOVE_ALL)) {
                let listed = list(update_add(&state, &[(dave.clone(), creator.index)]).unwrap());
                prop_assert_eq!(listed, room.creators.contains(*by), "{} lists a creator", by);
            }
            // Known losses: whoever is outside has no level, and a ban of theirs is an addition.
            let (bans, kicks, invites) =
                (own >= matrix.needs("ban", 50), own >= matrix.needs("kick", 50), own >= matrix.needs("invite", 0));
            prop_assert_eq!(list(update_add(&state, &[(dave.clone(), role::BANNED)]).unwrap()), bans && invites);
            let mut after = state.clone();
            after.participants.push((dave.clone(), role::BANNED));
            let unban = update_remove(&after, std::slice::from_ref(&dave)).unwrap();
            let unban = changes(&after).update(component::PARTICIPANT_LIST, unban, &who_by);
            prop_assert_eq!(judge(&after, &who_by, &unban).is_ok(), bans && kicks, "{} unbans", by);
            for who in PEOPLE.iter().take(3).filter(|who| *who != by) {
                let target = user(who);
                // Known loss: those of the same role.
                if role_in(&state, &target) != role_in(&state, &who_by) {
                    prop_assert_eq!(removes(&state, by, who, false), matrix.kicks(by, who), "{} removes {}", by, who);
                }
                prop_assert_eq!(removes(&state, by, who, true), matrix.bans(by, who), "{} bans {}", by, who);
                for to in state.roles.0.iter().filter(|role| role.index != role_in(&state, &target)) {
                    let Some(level) = powers.level_of(to) else { continue };
                    let given = list(update_roles(&state, &[(target.clone(), to.index)]).unwrap());
                    prop_assert_eq!(given, matrix.appoints(by, who, level), "{} makes {} {}", by, who, to.name);
                }
            }
        }
    }

    /// Levels to roles to levels: everybody has the level that they had.
    #[test]
    fn a_role_is_the_level_that_it_came_from(room in rooms(), again in rooms()) {
        let (powers, state) = mirrored(&room);
        for name in PEOPLE {
            let role = state.roles.get(powers.role(&state.roles, powers.level(name))).unwrap();
            prop_assert_eq!(powers.level_of(role), Some(powers.level(name)));
        }
        // Indices stay when the levels change.
        // Creators stay.
        let next = Said { creators: room.creators.clone(), ..again }.powers();
        let roles = next.roles(&state.roles, PEOPLE.map(|name| next.level(name)));
        for before in state.roles.0.iter().filter(|role| role.index != role::MEMBER) {
            prop_assert_eq!(&roles.get(before.index).unwrap().name, &before.name);
        }
        let bytes = roles.encode().unwrap();
        prop_assert_eq!(crate::policy::RoleList::decode(&bytes).unwrap(), roles);
    }
}

#[test]
fn creators_stand_above_all_and_nobody_touches_them() {
    let content = json!({ "users": { "bob": 100 } });
    let powers = Powers::read(Some(&content), ["alice".to_owned()].into(), None);
    let mut state = initial(room_uri(), "Club", "", Vec::new(), Preset::default());
    state.roles = powers.roles(&state.roles, PEOPLE.map(|name| powers.level(name)));
    state.participants =
        PEOPLE.iter().map(|name| (user(name), powers.role(&state.roles, powers.level(name)))).collect();
    let (alice, bob) = (user("alice"), user("bob"));
    assert_eq!((role_in(&state, &alice), role_in(&state, &bob), role_in(&state, &user("carol"))), (5, 4, 2));
    let change = |by: &UserUri, who: &UserUri, to| {
        let update = update_roles(&state, &[(who.clone(), to)]).unwrap();
        judge(&state, by, &changes(&state).update(component::PARTICIPANT_LIST, update, by)).is_ok()
    };
    assert!(change(&alice, &bob, role::MEMBER) && !change(&bob, &alice, role::MEMBER));
    assert!(state.can(&bob, Capability::ChangeRoleDefinitions));
}

#[test]
fn without_levels_the_creator_rules_and_everybody_may_set_state() {
    let powers = Powers::read(None, [].into(), Some("alice"));
    let roles = powers.roles(&crate::policy::RoleList::default(), [0, 100]);
    let role = |name: &str| roles.get(powers.role(&roles, powers.level(name))).unwrap();
    assert_eq!((role("alice").index, role("bob").index), (role::ADMIN, role::MEMBER));
    assert!(role("bob").can(Capability::ChangeRoomName) && !role("bob").can(Capability::Ban));
}

#[test]
fn odd_levels_are_read() {
    let content =
        json!({ "users": { "a": "50", "b": 1.5, "c": [], "d": -3 }, "kick": "x", "events": 7, "users_default": null });
    let powers = Powers::read(Some(&content), [].into(), None);
    assert_eq!(["a", "b", "c", "d"].map(|name| powers.level(name)), [50, 0, 0, -3]);
    let many = (0..1000).map(|level| level * 3);
    let roles = powers.roles(&crate::policy::RoleList::default(), many.clone());
    let again = powers.roles(&roles, many.map(|level| level + 1));
    assert_eq!((roles.0.len(), again.0.len()), (35, 35), "bounded");
    assert_eq!(KNOWN_LOSSES.len(), 14);
}

#[test]
fn roles_of_other_hubs_have_likely_levels() {
    let powers = Powers::read(Some(&json!({})), [].into(), None);
    for (preset, expected) in [
        (Preset::Cooperative, vec![(2, 0), (3, 50), (4, 100)]),
        (Preset::Moderated, vec![(3, -1), (4, 0), (5, 50), (6, 100)]),
    ] {
        let state = initial(room_uri(), "Club", "", Vec::new(), preset);
        for (index, level) in expected {
            let role = state.roles.get(index).unwrap();
            assert_eq!(powers.level_of(role), Some(level), "{preset:?} {index} {}", role.name);
        }
    }
}

#[test]
fn the_level_for_ringing_everybody_is_that_of_notifications() {
    let powers = |content: Value| Powers::read(Some(&content), [].into(), None);
    let users = json!({"alice": 50, "bob": 49});
    for (content, alice, bob) in [
        (json!({"users": users}), true, false),
        (json!({"users": users, "notifications": {"room": 49}}), true, true),
        (json!({"users": users, "notifications": {"room": "51"}}), false, false),
        (json!({"users": users, "notifications": 7}), true, false),
    ] {
        let powers = powers(content.clone());
        assert_eq!((powers.may_ring_all("alice"), powers.may_ring_all("bob")), (alice, bob), "{content}");
    }
    assert!(Powers::read(None, [].into(), Some("alice")).may_ring_all("alice"));
    assert!(!Powers::read(None, [].into(), Some("alice")).may_ring_all("bob"));
    assert!(Powers::read(Some(&json!({})), ["carol".to_owned()].into(), None).may_ring_all("carol"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Levels of the host, roles, levels of a portal: there, too, people may do what they may do here, and nothing else.
    #[test]
    fn a_portal_lets_people_do_what_the_host_lets_them(room in rooms()) {
        let (host, state) = mirrored(&room);
        let portal = portal(&state);
        let said = Said::content(&portal);
        let matrix = Matrix(&said);
        for name in PEOPLE.iter().take(3) {
            let role = state.roles.get(role_in(&state, &user(name))).unwrap();
            let own = matrix.level(name);
            let may = |capability| role.can(capability);
            let other = |index: u32| index == role::MEMBER || index > role::MEMBER && index != role.index;
            let reaches = |to| {
                state.roles.0.iter().any(|other_role| other(other_role.index) && role.may_change(other_role.index, to))
            };
            let pairs = [
                (may(Capability::SendMessage), matrix.message("m.room.message"), "speak"),
                (may(Capability::ReactToMessage), matrix.message("m.reaction"), "react"),
                (
                    may(Capability::DeleteOwnMessage)
                        || may(Capability::DeleteOwnReaction)
                        || may(Capability::SendMessage),
                    matrix.message("m.room.redaction"),
                    "take back",
                ),
                (may(Capability::AddParticipant), matrix.needs("invite", 0), "invite"),
                (may(Capability::RemoveParticipant) && reaches(role::NONE), matrix.needs("kick", 50), "kick"),
                (may(Capability::Ban) && reaches(role::BANNED), matrix.needs("ban", 50), "ban"),
                (may(Capability::DeleteOtherMessage), matrix.needs("redact", 50), "redact"),
                (may(Capability::ChangeRoomName), matrix.state("m.room.name"), "name"),
                (may(Capability::ChangeRoomSubject), matrix.state("m.room.topic"), "topic"),
                (may(Capability::ChangeRoomAvatar), matrix.state("m.room.avatar"), "avatar"),
                (may(Capability::ChangeUserRole), matrix.state("m.room.power_levels"), "levels"),
            ];
            for (allowed, needed, what) in pairs {
                prop_assert_eq!(own >= needed, allowed, "{} ({}, {}) {}: {}", name, own, &role.name, what, &portal);
            }
            for who in PEOPLE.iter().take(3).filter(|who| *who != name) {
                let pair = format!("{name} ({own}) and {who} ({}): {portal} of {room:?}", matrix.level(who));
                // Known loss: who stands higher at the host, where it is higher than here, and shares a level with them here.
                let pressed = host.level(name) > own && host.level(name) > host.level(who);
                if pressed && own == matrix.level(who) {
                    continue;
                }
                // Known loss: those of the same role.
                if role_in(&state, &user(who)) != role.index {
                    prop_assert_eq!(matrix.kicks(name, who), removes(&state, name, who, false), "kick, {}", pair);
                }
                prop_assert_eq!(matrix.bans(name, who), removes(&state, name, who, true), "ban, {}", pair);
            }
        }
    }
}

#[test]
fn who_is_muted_below_a_high_default_is_muted_in_a_portal() {
    let content = json!({ "users_default": 50, "events_default": 25, "users": { "alice": 100, "bob": 0 } });
    let (_, state) = mirrored(&Said::content(&content));
    let powers = Powers::read(Some(&json!({})), [].into(), None).at_most(95).among(&state.roles);
    let mut portal = serde_json::Map::new();
    powers.write_thresholds(&state.roles, 100, &mut portal);
    let level = |name: &str| powers.level_of(state.roles.get(role_in(&state, &user(name))).unwrap()).unwrap();
    let needed = portal.get("events_default").and_then(Value::as_i64).unwrap_or(0);
    assert!(level("bob") < needed && level("carol") >= needed && level("alice") == 95, "{portal:?}");
}

#[test]
fn what_has_no_level_of_its_own_has_that_of_all_messages() {
    let content = json!({ "events_default": 50, "events": { "m.room.message": 0, "m.poll.start": 75 } });
    let powers = Powers::read(Some(&content), [].into(), None);
    for (kind, least) in [("m.room.message", 0), ("m.sticker", 50), ("m.room.redaction", 50), ("m.poll.start", 75)] {
        assert_eq!([least - 1, least].map(|level| powers.may_send(level, kind)), [false, true], "{kind}");
    }
    assert!(Powers::read(None, [].into(), None).may_send(0, "m.sticker"));
}

#[test]
fn ordinary_participants_ban_in_a_portal_whom_they_may_ban_at_the_host() {
    for content in
        [json!({ "ban": -1, "users": { "alice": -1 } }), json!({ "users_default": 50, "users": { "alice": -1 } })]
    {
        let (_, state) = mirrored(&Said::content(&content));
        let said = Said::content(&portal(&state));
        let there = Matrix(&said);
        assert!(there.bans("bob", "alice") && !there.bans("alice", "bob") && !there.bans("bob", "carol"), "{said:?}");
    }
}

#[test]
fn who_shares_the_highest_level_of_a_portal_does_nothing_to_one_another_there() {
    let room = Said { content: Some(json!({ "users": { "bob": 100 } })), creators: ["alice".to_owned()].into() };
    let (_, state) = mirrored(&room);
    let said = Said::content(&portal(&state));
    let there = Matrix(&said);
    assert!(removes(&state, "alice", "bob", true) && !there.bans("alice", "bob"), "{said:?}");
    assert!(there.bans("alice", "carol") && there.bans("bob", "carol") && !there.bans("bob", "alice"));
}
