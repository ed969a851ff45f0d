//! Rooms that depend on a parent.

use std::{collections::BTreeSet, sync::Arc};

use super::*;

const PARENT: &str = "mimi://a.example/r/house";

fn parent() -> RoomUri {
    RoomUri::parse(PARENT).unwrap()
}

/// The group as a room of the house.
fn dependent() -> RoomState {
    let mut state = group();
    (state.base_policy.parent_dependent, state.base_policy.parent_room) = (true, vec![PARENT.to_owned()]);
    state
}

fn with_parent(commit: ChangeSet, members: &[&str]) -> ChangeSet {
    let members: BTreeSet<UserUri> = members.iter().map(|name| user(name)).collect();
    ChangeSet { parents: Parents::Hosted([(PARENT.to_owned(), Arc::new(members))].into()), ..commit }
}

#[test]
fn who_is_not_in_the_parent_does_not_come_in() {
    let (state, alice, dave) = (dependent(), user("alice"), user("dave"));
    let add = || changes(&state).list(update_add(&state, &[(dave.clone(), role::MEMBER)]), &alice).add(&dave, &alice);
    assert!(judge(&state, &alice, &with_parent(add(), &["alice", "dave"])).is_ok());
    assert_eq!(judge(&state, &alice, &with_parent(add(), &["alice"])), Err(Refusal::NotInParent(dave.clone())));
    // A follower does not know who is in the parent; a hub that does not has no such room.
    assert!(judge(&state, &alice, &add()).is_ok());
    let unknown = ChangeSet { parents: Parents::Hosted(BTreeMap::new()), ..add() };
    assert!(matches!(judge(&state, &alice, &unknown), Err(Refusal::Parent(_))));
    // In a room of its own nobody asks.
    let own = group();
    assert!(judge(&own, &alice, &with_parent(add(), &[])).is_ok());
}

#[test]
fn who_left_the_parent_can_still_leave_and_be_removed_but_gets_no_client() {
    let (state, alice, bob) = (dependent(), user("alice"), user("bob"));
    let list = || update_remove(&state, std::slice::from_ref(&bob));
    let removed = changes(&state).list(list(), &alice).remove(&bob, &alice);
    assert!(judge(&state, &alice, &with_parent(removed, &["alice"])).is_ok());
    let leaves = changes(&state).list(list(), &bob).remove(&bob, &bob);
    assert!(judge(&state, &alice, &with_parent(leaves, &["alice"])).is_ok());
    let mut another = changes(&state).add(&bob, &bob).external();
    another.leaves_before.remove(&bob);
    assert!(judge(&state, &bob, &with_parent(another.clone(), &["bob"])).is_ok());
    assert_eq!(judge(&state, &bob, &with_parent(another, &["alice"])), Err(Refusal::NotInParent(bob)));
}

#[test]
fn a_ban_is_lifted_into_the_room_only_for_who_is_in_the_parent() {
    let (mut state, alice, bob) = (dependent(), user("alice"), user("bob"));
    for entry in state.participants.iter_mut().filter(|entry| entry.0 == bob) {
        entry.1 = role::BANNED;
    }
    let unban = || changes(&state).list(update_roles(&state, &[(bob.clone(), role::MEMBER)]), &alice);
    assert!(judge(&state, &alice, &with_parent(unban(), &["bob"])).is_ok());
    assert_eq!(judge(&state, &alice, &with_parent(unban(), &["alice"])), Err(Refusal::NotInParent(bob.clone())));
}

#[test]
fn a_room_becomes_dependent_with_everybody_in_the_parent_and_on_the_same_hub() {
    let (state, alice) = (group(), user("alice"));
    let to = |parent: &RoomUri, members: &[&str]| {
        let update = update_parent(&state, Some(parent)).unwrap();
        let commit = changes(&state).update(component::BASE_ROOM_POLICY, update, &alice);
        judge(&state, &alice, &with_parent(commit, members)).map(|new| state.with(&new).unwrap())
    };
    let all = ["alice", "mo", "bob", "carol"];
    assert_eq!(to(&parent(), &all), Ok(dependent()), "the same people in both is no contradiction");
    assert_eq!(to(&parent(), &["alice", "mo", "bob"]), Err(Refusal::NotInParent(user("carol"))));
    for wrong in ["mimi://b.example/r/house", "mimi://a.example/r/club"] {
        assert!(matches!(to(&RoomUri::parse(wrong).unwrap(), &all), Err(Refusal::Parent(_))), "{wrong}");
    }
    // A follower, too, sees that such a parent cannot be.
    let update = update_parent(&state, Some(&RoomUri::parse("mimi://b.example/r/house").unwrap())).unwrap();
    let commit = changes(&state).update(component::BASE_ROOM_POLICY, update, &alice);
    assert_eq!(judge(&state, &alice, &commit), Err(Refusal::Parent("it is on another hub")));
    // Back to a room of its own: nobody is asked.
    let dependent = dependent();
    let update = update_parent(&dependent, None).unwrap();
    let commit = changes(&dependent).update(component::BASE_ROOM_POLICY, update, &alice);
    let new = judge(&dependent, &alice, &with_parent(commit, &[])).unwrap();
    assert_eq!(dependent.with(&new).unwrap(), state);
}

#[test]
fn a_parent_without_dependence_and_dependence_without_parent_do_not_read() {
    for (depends, rooms) in [(true, vec![]), (false, vec![PARENT.to_owned()])] {
        let mut policy = group().base_policy;
        (policy.parent_dependent, policy.parent_room) = (depends, rooms);
        assert!(BaseRoomPolicy::decode(&policy.encode().unwrap()).is_err());
    }
}
