//! The draft's example rooms and the auditorium: who may do what in them.

use super::*;

/// A room with these people, all with one client if their role may have any.
fn room(preset: Preset, people: &[(&str, u32)]) -> RoomState {
    initial(room_uri(), "Club", "", people.iter().map(|(name, role)| (user(name), *role)).collect(), preset)
}

#[expect(clippy::needless_pass_by_value, reason = "calls are shorter")]
fn verdict(state: &RoomState, by: &str, commit: ChangeSet) -> Result<RoomState, Refusal> {
    judge(state, &user(by), &commit).map(|new| state.with(&new).unwrap())
}

fn adds(state: &RoomState, by: &str, who: &str, role: u32) -> bool {
    let commit = changes(state).list(update_add(state, &[(user(who), role)]), &user(by)).add(&user(who), &user(by));
    verdict(state, by, commit).is_ok()
}

fn removes(state: &RoomState, by: &str, who: &str) -> bool {
    let commit = changes(state).list(update_remove(state, &[user(who)]), &user(by)).remove(&user(who), &user(by));
    verdict(state, by, commit).is_ok()
}

fn gives(state: &RoomState, by: &str, who: &str, role: u32) -> bool {
    let commit = changes(state).list(update_roles(state, &[(user(who), role)]), &user(by));
    verdict(state, by, commit).is_ok()
}

fn bans(state: &RoomState, by: &str, who: &str) -> bool {
    let commit = changes(state).list(update_roles(state, &[(user(who), 1)]), &user(by)).remove(&user(who), &user(by));
    verdict(state, by, commit).is_ok()
}

fn leaves(state: &RoomState, who: &str, committer: &str) -> bool {
    let commit = changes(state).list(update_remove(state, &[user(who)]), &user(who)).remove(&user(who), &user(who));
    verdict(state, committer, commit).is_ok()
}

fn joins(state: &RoomState, who: &str, role: u32, code: Code) -> bool {
    let mut commit =
        changes(state).list(update_add(state, &[(user(who), role)]), &user(who)).add(&user(who), &user(who)).external();
    commit.code = code;
    verdict(state, who, commit).is_ok()
}

fn names(state: &RoomState, by: &str) -> bool {
    let update = update_metadata(state, Some("New"), None).unwrap();
    verdict(state, by, changes(state).update(component::ROOM_METADATA, update, &user(by))).is_ok()
}

#[test]
fn example_roles_survive_their_encoding_and_have_the_indices_of_the_draft() {
    for (preset, last) in [
        (Preset::Cooperative, 5),
        (Preset::Strict, 5),
        (Preset::Moderated, 7),
        (Preset::MultiOrganization, 9),
        (Preset::Auditorium, 5),
    ] {
        let state = room(preset, &[("alice", 3)]);
        assert_eq!(RoomState::from_components(&state.to_components().unwrap()), Ok(state.clone()));
        let indices: Vec<u32> = state.roles.0.iter().map(|role| role.index).collect();
        assert_eq!(indices, (0..=last).collect::<Vec<_>>(), "{preset:?}");
        assert!(state.is_banned_role(1));
    }
}

/// Each role's capabilities in appendix A, as its names stand in section 10.2; included ones counted in.
const COOPERATIVE: [&str; 6] = [
    "",
    "",
    "0 1 2 3 6 100 101 102 103 104 105 107 109 10a 10c 10d 10e 200 201 202 203 204 205 206 207 208 209 20a 20b \
     300 302 303 304 380 381 382 383",
    "0 1 2 3 6 a b c f 100 101 102 103 104 105 107 109 10a 10b 10c 10d 10e 10f 200 201 202 203 204 205 206 207 \
     208 209 20a 20b 300 301 302 303 304 380 381 382 383",
    "0 1 2 3 6 a b c f 100 101 102 103 104 105 107 109 10a 10b 10c 10d 10e 10f 200 201 202 203 204 205 206 207 \
     208 209 20a 20b 300 301 302 303 304 380 381 382 383 501 502 504",
    "1 a b f 501 503 504 600 601",
];
const STRICT: [&str; 6] = [
    "9",
    "",
    "2 3 5 6 10 100 101 102 103 105 107 109 10a 10c 10d 200 201 202 203 204 205 206 207 208 209 20a 20b 380 381 \
     382 383",
    "0 1 2 3 5 6 7 8 a b c f 10 100 101 102 103 105 107 108 109 10a 10b 10c 10d 10e 10f 200 201 202 203 204 205 \
     206 207 208 209 20a 20b 300 301 302 303 304 380 381 382 383",
    "0 1 2 3 5 6 7 8 a b c f 10 100 101 102 103 105 107 108 109 10a 10b 10c 10d 10e 10f 200 201 202 203 204 205 \
     206 207 208 209 20a 20b 300 301 302 303 304 380 381 382 383 501 502 503 504 601",
    "1 a b f 501 503 504 600 601",
];
const MODERATED: [&str; 8] = [
    "9",
    "",
    "6 101 102 105 107 204 205 206 20a 20b",
    "2 3 5 6 10 101 102 103 105 107 10d 204 205 206 207 20a 20b 380 381 383",
    "2 3 5 6 10 100 101 102 103 105 107 109 10a 10c 10d 200 201 202 203 204 205 206 207 208 209 20a 20b 380 381 \
     383",
    "0 1 2 3 5 6 7 8 a b c f 10 100 101 102 103 105 107 108 109 10a 10b 10c 10d 10e 10f 200 201 202 203 204 205 \
     206 207 208 209 20a 20b 300 302 303 304 380 381 383",
    "0 1 2 3 5 6 7 8 a b c f 10 100 101 102 103 105 107 108 109 10a 10b 10c 10d 10e 10f 200 201 202 203 204 205 \
     206 207 208 209 20a 20b 300 301 302 303 304 380 381 383 501 502 503 504 601",
    "1 a b f 501 503 504 600 601",
];
const MULTI_ORGANIZATION: [&str; 10] = [
    "",
    "",
    "2 3 5 6 10 100 101 102 103 105 107 109 10d 204 205 206 207 208 209 20a 20b 380 381 383",
    "2 3 6 100 101 102 103 105 107 109 10d 204 205 206 207 208 209 20a 20b 380 381 383",
    "2 3 6 100 101 102 103 105 107 109 10d 204 205 206 207 208 209 20a 20b 380 381 383",
    "0 1 2 3 5 6 a c f 10 100 101 102 103 105 107 109 10a 10c 10d 200 201 202 203 204 205 206 207 208 209 20a 20b \
     380 381 383",
    "0 1 2 3 6 a c f 100 101 102 103 105 107 109 10a 10c 10d 200 201 202 203 204 205 206 207 208 209 20a 20b 380 \
     381 383",
    "0 1 2 3 6 a c f 100 101 102 103 105 107 109 10a 10c 10d 200 201 202 203 204 205 206 207 208 209 20a 20b 380 \
     381 383",
    "0 1 2 3 5 6 a b c f 10 100 101 102 103 105 107 108 109 10a 10b 10c 10d 10e 10f 200 201 202 203 204 205 206 \
     207 208 209 20a 20b 300 301 302 303 304 380 381 383 501 502 503 504 601",
    "1 a b f 501 503 504 600 601",
];

#[test]
fn example_roles_have_the_capabilities_of_the_draft() {
    for (preset, expected) in [
        (Preset::Cooperative, &COOPERATIVE[..]),
        (Preset::Strict, &STRICT[..]),
        (Preset::Moderated, &MODERATED[..]),
        (Preset::MultiOrganization, &MULTI_ORGANIZATION[..]),
    ] {
        for (role, expected) in room(preset, &[]).roles.0.iter().zip(expected) {
            let found: Vec<String> = role.capabilities.iter().map(|code| format!("{code:x}")).collect();
            assert_eq!(found.join(" "), *expected, "{preset:?}, {}", role.name);
        }
    }
}

#[test]
fn a_cooperative_room() {
    let people = [("alice", 4), ("mo", 3), ("bob", 2), ("carol", 2)];
    let state = room(Preset::Cooperative, &people);
    assert!(adds(&state, "bob", "dave", 2) && !adds(&state, "bob", "dave", 3) && adds(&state, "mo", "dave", 3));
    assert!(removes(&state, "bob", "carol") && !removes(&state, "bob", "mo"));
    assert!(names(&state, "bob") && bans(&state, "mo", "bob") && !bans(&state, "bob", "carol"));
    assert!(gives(&state, "mo", "bob", 3) && !gives(&state, "mo", "bob", 4) && gives(&state, "alice", "bob", 4));
    // The last group admin stays one.
    assert!(!removes(&state, "alice", "mo") && !gives(&state, "alice", "mo", 2));
    assert!(!joins(&state, "dave", 2, Code::Shown(2)), "there are no codes here");
}

#[test]
fn a_policy_enforcer_cleans_up_and_has_no_client() {
    let state = room(Preset::Cooperative, &[("alice", 4), ("mo", 3), ("guard", 5), ("bob", 2), ("evil", 1)]);
    let guard = user("guard");
    let mut before = changes(&state);
    before.leaves_before.remove(&guard);
    // It has no client: its proposals come from outside, and somebody commits them.
    let by_guard = |update| verdict(&state, "bob", before.clone().list(update, &guard));
    assert!(by_guard(update_remove(&state, &[user("evil")])).is_ok());
    assert!(by_guard(update_roles(&state, &[(user("evil"), 2)])).is_err(), "it restores nobody");
    assert!(by_guard(update_add(&state, &[(user("dave"), 2)])).is_err());
    let ban = before.clone().list(update_roles(&state, &[(user("bob"), 1)]), &guard).remove(&user("bob"), &guard);
    assert!(!verdict(&state, "mo", ban).unwrap().takes_part(&user("bob")));
    let client = before.add(&guard, &guard).external();
    assert!(matches!(verdict(&state, "guard", client), Err(Refusal::Leaf { .. })));
}

#[test]
fn a_strict_room() {
    let state = room(Preset::Strict, &[("alice", 4), ("mo", 3), ("bob", 2)]);
    assert!(!adds(&state, "bob", "dave", 2) && adds(&state, "mo", "dave", 2) && !names(&state, "bob"));
    assert!(leaves(&state, "bob", "mo") && !removes(&state, "bob", "mo"));
    assert!(joins(&state, "dave", 2, Code::Shown(2)) && joins(&state, "dave", 2, Code::HubKnows));
    assert!(!joins(&state, "dave", 2, Code::NotShown) && !joins(&state, "dave", 2, Code::Shown(3)));
    assert!(!joins(&state, "dave", 3, Code::Shown(3)), "no code makes an admin");
}

#[test]
fn a_moderated_room() {
    let state = room(Preset::Moderated, &[("alice", 6), ("mo", 5), ("bob", 2), ("carol", 4)]);
    let may = |name: &str, capability| state.can(&user(name), capability);
    assert!(may("bob", Capability::ReceiveMessage) && !may("bob", Capability::SendMessage));
    assert!(may("carol", Capability::SendMessage) && may("mo", Capability::SendMessage));
    assert!(joins(&state, "dave", 3, Code::Shown(3)) && !joins(&state, "dave", 4, Code::Shown(4)));
    assert!(gives(&state, "mo", "bob", 4) && gives(&state, "mo", "carol", 2) && !gives(&state, "carol", "bob", 4));
    assert!(names(&state, "mo") && !names(&state, "carol"));
    // A guest has the clients that it came with.
    assert!(verdict(&state, "bob", changes(&state).add(&user("bob"), &user("bob")).external()).is_err());
}

#[test]
fn a_room_of_several_organisations() {
    let people = [("alice", 8), ("bea", 6), ("bob", 3), ("cem", 7), ("carol", 4), ("adam", 5), ("anna", 2)];
    let state = room(Preset::MultiOrganization, &people);
    assert!(adds(&state, "bea", "dave", 3) && !adds(&state, "bea", "dave", 4) && !adds(&state, "bea", "dave", 2));
    assert!(removes(&state, "bea", "bob") && !removes(&state, "bea", "carol") && removes(&state, "cem", "carol"));
    assert!(gives(&state, "bea", "bob", 6) && !gives(&state, "bea", "carol", 6));
    assert!(bans(&state, "bea", "bob") && !bans(&state, "bea", "anna") && bans(&state, "adam", "anna"));
    // An organisation has three admins at most, and one that is present at least.
    let full = room(Preset::MultiOrganization, &[&people[..], &[("bert", 6), ("ben", 6)]].concat());
    assert!(!gives(&full, "bea", "bob", 6) && adds(&full, "bea", "dave", 3));
    assert!(!removes(&state, "alice", "bea") && removes(&full, "alice", "bea"));
    assert!(verdict(&state, "alice", changes(&state).remove(&user("bea"), &user("bea"))).is_err());
}

#[test]
fn an_auditorium() {
    let state = room(Preset::Auditorium, &[("alice", role::ADMIN), ("mo", role::MODERATOR), ("bob", role::MEMBER)]);
    let dave = user("dave");
    assert!(joins(&state, "dave", role::MEMBER, Code::NotShown) && !joins(&state, "dave", SPEAKER, Code::NotShown));
    let list = changes(&state).list(update_add(&state, &[(dave.clone(), role::MEMBER)]), &dave).add(&dave, &dave);
    let state = verdict(&state, "dave", list.external()).unwrap();
    assert!(!state.can(&dave, Capability::SendMessage) && state.can(&dave, Capability::ReactToMessage));
    assert!(gives(&state, "mo", "dave", SPEAKER) && !gives(&state, "bob", "dave", SPEAKER));
    let chosen = changes(&state).list(update_roles(&state, &[(dave.clone(), SPEAKER)]), &user("mo"));
    let state = verdict(&state, "mo", chosen).unwrap();
    assert!(state.can(&dave, Capability::SendMessage) && leaves(&state, "dave", "mo"));
    assert!(gives(&state, "mo", "dave", role::MEMBER) && !removes(&state, "mo", "alice"));
}
