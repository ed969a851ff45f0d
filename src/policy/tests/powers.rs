//! Power levels and roles: every decision of the levels is that of the judge, but for the known losses.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{changes, initial, judge, role, room_uri, user};
use crate::{
    ident::UserUri,
    policy::{
        Capability, KNOWN_LOSSES, Powers, Preset, RoomState, component, update_add, update_metadata, update_remove,
        update_roles,
    },
};

/// Who is in the room; the last one is not.
const PEOPLE: [&str; 4] = ["alice", "bob", "carol", "dave"];

/// Matrix' rules, written once more and naively (authorization rules of room version 11).
struct Matrix<'a>(&'a Value);

impl Matrix<'_> {
    fn level(&self, who: &str) -> i64 {
        let default = self.0["users_default"].as_i64().unwrap_or(0);
        self.0["users"][who].as_i64().unwrap_or(default)
    }
    fn needs(&self, key: &str, default: i64) -> i64 {
        self.0[key].as_i64().unwrap_or(default)
    }
    fn state(&self, kind: &str) -> i64 {
        self.0["events"][kind].as_i64().unwrap_or_else(|| self.needs("state_default", 50))
    }
    fn message(&self, kind: &str) -> i64 {
        self.0["events"][kind].as_i64().unwrap_or_else(|| self.needs("events_default", 0))
    }
    fn kicks(&self, by: &str, who: &str) -> bool {
        self.level(by) >= self.needs("kick", 50) && self.level(by) > self.level(who)
    }
    fn bans(&self, by: &str, who: &str) -> bool {
        self.level(by) >= self.needs("ban", 50) && self.level(by) > self.level(who)
    }
    fn appoints(&self, by: &str, who: &str, to: i64) -> bool {
        let own = self.level(by);
        own >= self.state("m.room.power_levels") && own > self.level(who) && own >= to
    }
}

fn levels() -> impl Strategy<Value = Value> {
    let level = || prop::sample::select(vec![-1_i64, 0, 10, 25, 50, 75, 100]);
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

/// The room as it is mirrored: everybody but dave is in it.
fn mirrored(content: &Value) -> (Powers, RoomState) {
    let powers = Powers::read(Some(content), [].into(), None);
    let mut state = initial(room_uri(), "Club", "", Vec::new(), Preset::default());
    state.roles = powers.roles(&state.roles, PEOPLE.map(|name| powers.level(name)));
    let there = PEOPLE.iter().take(3);
    state.participants = there.map(|name| (user(name), powers.role(&state.roles, powers.level(name)))).collect();
    (powers, state)
}

fn role_in(state: &RoomState, who: &UserUri) -> u32 {
    state.role_of(who).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_decision_of_the_levels_is_the_judges(content in levels()) {
        let (powers, state) = mirrored(&content);
        let matrix = Matrix(&content);
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
                let commit = changes(&state)
                    .remove(&target, &who_by)
                    .update(component::PARTICIPANT_LIST, update_remove(&state, std::slice::from_ref(&target)).unwrap(), &who_by);
                let removed = judge(&state, &who_by, &commit).is_ok();
                // Known loss 0: those of the same role.
                if role_in(&state, &target) != role_in(&state, &who_by) {
                    prop_assert_eq!(removed, matrix.kicks(by, who), "{} removes {}", by, who);
                }
                let banning = update_roles(&state, &[(target.clone(), role::BANNED)]).unwrap();
                let commit = changes(&state).remove(&target, &who_by)
                    .update(component::PARTICIPANT_LIST, banning, &who_by);
                prop_assert_eq!(judge(&state, &who_by, &commit).is_ok(), matrix.bans(by, who), "{} bans {}", by, who);
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
    fn a_role_is_the_level_that_it_came_from(content in levels(), again in levels()) {
        let (powers, state) = mirrored(&content);
        for name in PEOPLE {
            let role = state.roles.get(powers.role(&state.roles, powers.level(name))).unwrap();
            prop_assert_eq!(powers.level_of(role), Some(powers.level(name)));
        }
        // Indices stay when the levels change.
        let next = Powers::read(Some(&again), [].into(), None);
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
    assert_eq!(KNOWN_LOSSES.len(), 11);
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
    fn a_portal_lets_people_do_what_the_host_lets_them(content in levels()) {
        let (_, state) = mirrored(&content);
        let mut portal = json!({ "users": {} });
        let read = |content: &Value| Powers::read(Some(content), [].into(), None).at_most(95).among(&state.roles);
        let Value::Object(fields) = &mut portal else { unreachable!() };
        read(&json!({})).write_thresholds(&state.roles, 100, fields);
        let there = read(&portal);
        for name in PEOPLE.iter().take(3) {
            let role = state.roles.get(role_in(&state, &user(name))).unwrap();
            portal["users"][name] = json!(there.level_of(role).unwrap());
        }
        let matrix = Matrix(&portal);
        for name in PEOPLE.iter().take(3) {
            let role = state.roles.get(role_in(&state, &user(name))).unwrap();
            let own = matrix.level(name);
            let may = |capability| role.can(capability);
            let reaches = |to| role.may_change(role::MEMBER, to);
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
        }
    }
}

#[test]
fn who_is_muted_below_a_high_default_is_muted_in_a_portal() {
    let content = json!({ "users_default": 50, "events_default": 25, "users": { "alice": 100, "bob": 0 } });
    let (_, state) = mirrored(&content);
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
