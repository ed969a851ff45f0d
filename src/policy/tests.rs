//! Bytes of the components, and what is allowed.

mod examples;
mod features;
mod joining;
mod kin;
mod naive;
mod powers;

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{
    ident::{RoomUri, UserUri},
    wire::DecodeErrorKind,
};

fn user(name: &str) -> UserUri {
    UserUri::parse(&format!("mimi://{name}.example/u/{name}")).unwrap()
}
fn room_uri() -> RoomUri {
    RoomUri::parse("mimi://a.example/r/club").unwrap()
}

/// alice admin, mo moderator, bob and carol members.
fn group() -> RoomState {
    let participants = vec![
        (user("alice"), role::ADMIN),
        (user("mo"), role::MODERATOR),
        (user("bob"), role::MEMBER),
        (user("carol"), role::MEMBER),
    ];
    initial(room_uri(), "Club", "All about clubs", participants, Preset::default())
}
fn direct() -> RoomState {
    initial(room_uri(), "", "", vec![(user("alice"), role::ADMIN), (user("bob"), role::MEMBER)], Preset::Direct)
}

/// A commit in which everybody has one leaf before.
fn changes(state: &RoomState) -> ChangeSet {
    let leaves_before =
        state.participants.iter().filter(|(_, r)| *r != role::BANNED).map(|(u, _)| (u.clone(), 1)).collect();
    ChangeSet { leaves_before, ..ChangeSet::default() }
}
impl ChangeSet {
    fn add(mut self, user: &UserUri, proposer: &UserUri) -> Self {
        self.adds.push(LeafAdd { user: user.clone(), proposer: proposer.clone() });
        self
    }
    fn remove(mut self, user: &UserUri, proposer: &UserUri) -> Self {
        self.removes.push(LeafRemove { user: user.clone(), proposer: proposer.clone(), self_remove: user == proposer });
        self
    }
    fn update(mut self, component: u16, bytes: Vec<u8>, proposer: &UserUri) -> Self {
        self.updates.push(ComponentUpdate { component, op: ComponentOp::Update(bytes), proposer: proposer.clone() });
        self
    }
    fn list(self, bytes: Result<Vec<u8>, CodecError>, proposer: &UserUri) -> Self {
        self.update(component::PARTICIPANT_LIST, bytes.unwrap(), proposer)
    }
    fn drop_component(mut self, component: u16, proposer: &UserUri) -> Self {
        self.updates.push(ComponentUpdate { component, op: ComponentOp::Remove, proposer: proposer.clone() });
        self
    }
    fn external(mut self) -> Self {
        self.external_commit = true;
        self
    }
}

fn after(state: &RoomState, actor: &UserUri, changes: &ChangeSet) -> RoomState {
    state.with(&judge(state, actor, changes).unwrap()).unwrap()
}

// ---------------------------------------------------------------------------------------------------------- bytes

#[test]
fn participant_list_bytes() {
    let list = ParticipantList(vec![(UserUri::parse("mimi://b.example/u/bob").unwrap(), 2)]);
    let expected = [
        "1b",                                           // participants: 27 bytes
        "16",                                           //   user: 22 bytes
        "6d696d693a2f2f622e6578616d706c652f752f626f62", //   mimi://b.example/u/bob
        "00000002",                                     //   role_index: 2
    ];
    assert_eq!(hex::encode(list.encode().unwrap()), expected.concat());
    assert_eq!(ParticipantList::decode(&hex::decode(expected.concat()).unwrap()), Ok(list));
}

#[test]
fn participant_list_update_bytes() {
    let update = ParticipantListUpdate {
        changed: vec![(3, 1)],
        removed: vec![0, 5],
        added: vec![(UserUri::parse("mimi://b.example/u/bob").unwrap(), 2)],
    };
    let expected = [
        "08 00000003 00000001", // changedRoleParticipants: index 3 to role 1
        "08 00000000 00000005", // removedIndices: 0 and 5
        "1b 16 6d696d693a2f2f622e6578616d706c652f752f626f62 00000002", // addedParticipants
    ];
    let bytes = hex::decode(expected.concat().replace(' ', "")).unwrap();
    assert_eq!(update.encode().unwrap(), bytes);
    assert_eq!(ParticipantListUpdate::decode(&bytes), Ok(update));
}

#[test]
fn room_metadata_bytes() {
    let metadata = RoomMetadata {
        room_uri: RoomUri::parse("mimi://a.example/r/x").unwrap(),
        name: "N".into(),
        descriptions: vec![RichDescription {
            media_type: String::new(),
            language: "en".into(),
            content: b"D".to_vec(),
        }],
        avatar: String::new(),
        subject: "S".into(),
        mood: String::new(),
    };
    let expected = [
        "14 6d696d693a2f2f612e6578616d706c652f722f78", // room_uri
        "01 4e",                                       // room_name "N"
        "06 00 02656e 0144",                           // room_descriptions: media_type "", language "en", content "D"
        "00",                                          // room_avatar
        "01 53",                                       // room_subject "S"
        "00",                                          // room_mood
    ];
    let bytes = hex::decode(expected.concat().replace(' ', "")).unwrap();
    assert_eq!(hex::encode(metadata.encode().unwrap()), hex::encode(&bytes));
    assert_eq!(RoomMetadata::decode(&bytes), Ok(metadata));
}

#[test]
fn roles_bytes() {
    let roles = RoleList(vec![Role {
        index: 2,
        name: "m".into(),
        description: String::new(),
        capabilities: vec![0x0000, 0x0100],
        min_participants: 1,
        max_participants: None,
        min_active: 0,
        max_active: Some(7),
        changes: vec![RoleChanges { from: 0, to: vec![2] }],
    }]);
    let expected = [
        "24",                      // roles: 36 bytes
        "00000002",                // role_index
        "01 6d",                   // role_name
        "00",                      // role_description
        "04 0000 0100",            // role_capabilities: canAddParticipant, canSendMessage
        "00000001",                // minimum_participants_constraint
        "00",                      // maximum_participants_constraint: absent
        "00000000",                // minimum_active_participants_constraint
        "01 00000007",             // maximum_active_participants_constraint: 7
        "09 00000000 04 00000002", // authorized_role_changes: from 0 to 2
    ];
    let bytes = hex::decode(expected.concat().replace(' ', "")).unwrap();
    assert_eq!(hex::encode(roles.encode().unwrap()), hex::encode(&bytes));
    assert_eq!(RoleList::decode(&bytes), Ok(roles));
}

#[test]
fn base_room_policy_bytes() {
    let expected = [
        "01",      // fixed_membership
        "00",      // parent_dependant
        "00",      // parent_room: none
        "01",      // multi_device
        "00",      // max_clients: absent
        "00",      // max_users: absent
        "00",      // pseudonyms_allowed
        "00",      // persistent_room
        "00",      // discoverable
        "02 0025", // policy_component_ids: roles_list
    ];
    let bytes = hex::decode(expected.concat().replace(' ', "")).unwrap();
    assert_eq!(hex::encode(direct().base_policy.encode().unwrap()), hex::encode(&bytes));
    assert_eq!(BaseRoomPolicy::decode(&bytes), Ok(direct().base_policy));
    assert_eq!(hex::encode(encode_component_ids(&[0x22, 0x25]).unwrap()), "0400220025");
}

#[test]
fn lengths_are_written_in_the_shortest_form_and_no_other_is_read() {
    let with_name = |name: String| {
        let mut metadata = group().metadata;
        metadata.name = name;
        metadata
    };
    for length in [0, 63, 64, 4096] {
        let metadata = with_name("x".repeat(length));
        assert_eq!(RoomMetadata::decode(&metadata.encode().unwrap()), Ok(metadata));
    }
    assert!(with_name("x".repeat(4097)).encode().is_err());
    assert!(with_name("a\0b".into()).encode().is_err());
    for (hex, error) in [
        ("4000", DecodeErrorKind::Length),             // 0 in two bytes
        ("80000000", DecodeErrorKind::Length),         // 0 in four bytes
        ("c000000000000000", DecodeErrorKind::Length), // the eight-byte form
        ("bfffffff", DecodeErrorKind::Truncated),
        ("0000", DecodeErrorKind::Trailing(1)),
        ("", DecodeErrorKind::Truncated),
    ] {
        let Err(CodecError::Decode(found)) = ParticipantList::decode(&hex::decode(hex).unwrap()) else {
            panic!("{hex}")
        };
        assert_eq!(found.kind, error, "{hex}");
    }
    let error = RoomMetadata::decode(&hex::decode("176d696d693a2f2f612e6578616d706c652f722f636c7562024100").unwrap());
    assert_eq!(error.unwrap_err().to_string(), "room_name, byte 24: not plain UTF-8 text");
}

#[test]
fn lists_that_say_something_twice_are_refused() {
    let twice = ParticipantList(vec![(user("bob"), 2), (user("bob"), 3)]).encode().unwrap();
    assert!(ParticipantList::decode(&twice).is_err());
    let nobody = ParticipantList(vec![(user("bob"), 0)]).encode().unwrap();
    assert!(ParticipantList::decode(&nobody).is_err());
    let mut roles = group().roles;
    roles.0[2].index = 3;
    assert!(RoleList::decode(&roles.encode().unwrap()).is_err());
    let mut roles = group().roles;
    roles.0[2].capabilities.push(Capability::OpenJoin.code());
    assert!(RoleList::decode(&roles.encode().unwrap()).is_err());
}

#[test]
fn a_list_over_the_bound_is_refused() {
    let many = (0..=MAX_PARTICIPANTS).map(|n| (UserUri::parse(&format!("mimi://b.example/u/{n}")).unwrap(), 2));
    assert!(ParticipantList(many.collect()).encode().is_err());
    let flood = ParticipantListUpdate { removed: vec![0; MAX_PARTICIPANTS + 1], ..Default::default() };
    assert!(ParticipantListUpdate::decode(&flood.encode().unwrap()).is_err());
}

#[test]
fn a_new_room_reads_back_from_its_components_and_keeps_others() {
    for mut state in [group(), direct()] {
        state.other.insert(component::FRANKING_AGENT, vec![1, 2, 3]);
        let components = state.to_components().unwrap();
        assert_eq!(components.keys().copied().collect::<Vec<_>>(), [0x21, 0x22, 0x23, 0x25, 0x27]);
        let read = RoomState::from_components(&components).unwrap();
        assert_eq!(read, state);
        assert_eq!(read.to_components().unwrap(), components);
    }
    let mut components = group().to_components().unwrap();
    components.remove(&component::ROLES_LIST);
    assert_eq!(RoomState::from_components(&components), Err(StateError::Missing(component::ROLES_LIST)));
    let mut state = group();
    state.participants[0].1 = 77;
    assert_eq!(RoomState::from_components(&state.to_components().unwrap()), Err(StateError::UndefinedRole(77)));
}

// --------------------------------------------------------------------------------------------------------- adding

#[test]
fn a_member_adds_somebody_with_a_client_in_one_commit() {
    let (state, bob, dave) = (group(), user("bob"), user("dave"));
    let commit = changes(&state).list(update_add(&state, &[(dave.clone(), role::MEMBER)]), &bob).add(&dave, &bob);
    let state = after(&state, &bob, &commit);
    assert_eq!(state.role_of(&dave), Some(role::MEMBER));
    assert_eq!(state.participants.last().unwrap().0, dave);
}

#[test]
fn a_member_cannot_add_somebody_with_more_rights() {
    let (state, bob, dave) = (group(), user("bob"), user("dave"));
    for index in [role::BANNED, role::MODERATOR, role::ADMIN] {
        let commit = changes(&state).list(update_add(&state, &[(dave.clone(), index)]), &bob);
        assert!(matches!(judge(&state, &bob, &commit), Err(Refusal::NotAuthorized { .. })), "{index}");
    }
    for index in [role::NONE, 9] {
        let commit = changes(&state).list(update_add(&state, &[(dave.clone(), index)]), &bob);
        assert_eq!(judge(&state, &bob, &commit), Err(Refusal::Role(index)));
    }
    let closed = initial(room_uri(), "", "", state.participants.clone(), Preset::Group { members_may_add: false });
    let commit = changes(&closed).list(update_add(&closed, &[(dave, role::MEMBER)]), &bob);
    assert!(matches!(judge(&closed, &bob, &commit), Err(Refusal::NotAuthorized { .. })));
}

#[test]
fn a_client_is_only_added_for_a_participant() {
    let (state, alice, dave) = (group(), user("alice"), user("dave"));
    let commit = changes(&state).add(&dave, &alice);
    assert!(matches!(judge(&state, &alice, &commit), Err(Refusal::Leaf { .. })));
}

#[test]
fn a_participant_may_be_added_first_and_get_its_client_later() {
    let (state, bob, dave) = (group(), user("bob"), user("dave"));
    let listed = after(&state, &bob, &changes(&state).list(update_add(&state, &[(dave.clone(), role::MEMBER)]), &bob));
    let mut commit = changes(&listed).add(&dave, &bob);
    assert!(matches!(judge(&listed, &bob, &commit), Err(Refusal::NotAuthorized { .. })), "dave has a client already");
    commit.leaves_before.remove(&dave);
    assert_eq!(judge(&listed, &bob, &commit), Ok(BTreeMap::new()));
}

#[test]
fn who_is_in_the_list_joins_by_itself_and_nobody_else() {
    let (state, carol, dave) = (group(), user("carol"), user("dave"));
    let mut commit = changes(&state).add(&carol, &carol).external();
    assert_eq!(judge(&state, &carol, &commit), Ok(BTreeMap::new()), "a second client");
    commit = commit.remove(&carol, &carol);
    commit.removes[0].self_remove = false;
    assert_eq!(judge(&state, &carol, &commit), Ok(BTreeMap::new()), "instead of the old client");
    let stranger = changes(&state).add(&dave, &dave).external();
    assert!(matches!(judge(&state, &dave, &stranger), Err(Refusal::Leaf { .. })));
    let listing = stranger.list(update_add(&state, &[(dave.clone(), role::MEMBER)]), &dave);
    assert!(matches!(judge(&state, &dave, &listing), Err(Refusal::NotAuthorized { .. })));
}

#[test]
fn an_open_room_lets_strangers_list_themselves_by_external_commit_only() {
    let (mut state, dave) = (group(), user("dave"));
    state.roles.0[0].capabilities.push(Capability::OpenJoin.code());
    state.roles.0[0].changes.push(RoleChanges { from: 0, to: vec![role::MEMBER] });
    let commit = changes(&state).list(update_add(&state, &[(dave.clone(), role::MEMBER)]), &dave).add(&dave, &dave);
    assert!(matches!(judge(&state, &dave, &commit), Err(Refusal::NotParticipant(_))));
    assert_eq!(after(&state, &dave, &commit.external()).role_of(&dave), Some(role::MEMBER));
    let admin =
        changes(&state).list(update_add(&state, &[(dave.clone(), role::ADMIN)]), &dave).add(&dave, &dave).external();
    assert!(matches!(judge(&state, &dave, &admin), Err(Refusal::NotAuthorized { .. })));
}

#[test]
fn an_external_commit_only_joins() {
    let (state, bob, carol) = (group(), user("bob"), user("carol"));
    let commit = changes(&state).add(&bob, &bob).external();
    assert!(matches!(judge(&state, &bob, &commit.clone().add(&carol, &bob)), Err(Refusal::External(_))));
    let kick = LeafRemove { user: carol.clone(), proposer: bob.clone(), self_remove: false };
    let mut kicking = commit.clone();
    kicking.removes.push(kick);
    assert!(matches!(judge(&state, &bob, &kicking), Err(Refusal::External(_))));
    let foreign = commit.list(update_remove(&state, &[carol]), &user("alice"));
    assert!(matches!(judge(&state, &bob, &foreign), Err(Refusal::External(_))));
}

// ------------------------------------------------------------------------------------------------------- removing

#[test]
fn a_participant_leaves_with_all_its_clients_or_not_at_all() {
    let (state, alice, bob) = (group(), user("alice"), user("bob"));
    let leaving = changes(&state).list(update_remove(&state, std::slice::from_ref(&bob)), &bob);
    assert!(matches!(judge(&state, &alice, &leaving), Err(Refusal::Leaf { .. })), "keeps its client");
    let leaving = leaving.remove(&bob, &bob);
    assert_eq!(after(&state, &alice, &leaving).role_of(&bob), None);
    let mut two = leaving.clone();
    two.leaves_before.insert(bob.clone(), 2);
    assert!(matches!(judge(&state, &alice, &two), Err(Refusal::Leaf { .. })), "keeps its second client");
    assert!(judge(&state, &alice, &two.remove(&bob, &bob)).is_ok());
}

#[test]
fn a_client_may_go_while_its_user_stays() {
    let (state, alice, bob) = (group(), user("alice"), user("bob"));
    assert_eq!(judge(&state, &alice, &changes(&state).remove(&bob, &bob)), Ok(BTreeMap::new()));
    let none = changes(&state).remove(&bob, &bob).remove(&bob, &bob);
    assert!(matches!(judge(&state, &alice, &none), Err(Refusal::Leaf { .. })), "it had one only");
}

#[test]
fn removing_others_goes_by_rank() {
    let state = group();
    let (alice, mo, bob, carol) = (user("alice"), user("mo"), user("bob"), user("carol"));
    let allowed = |actor: &UserUri, target: &UserUri| {
        let commit =
            changes(&state).list(update_remove(&state, std::slice::from_ref(target)), actor).remove(target, actor);
        judge(&state, actor, &commit).is_ok()
    };
    assert!(allowed(&mo, &bob) && allowed(&alice, &bob) && allowed(&alice, &mo));
    assert!(!allowed(&bob, &carol) && !allowed(&bob, &alice) && !allowed(&mo, &alice));
    // A client alone: only who may kick.
    let kick = |actor: &UserUri| judge(&state, actor, &changes(&state).remove(&carol, actor)).is_ok();
    assert!(kick(&mo) && kick(&alice) && !kick(&bob));
}

#[test]
fn banning_removes_the_clients_and_keeps_the_user_out() {
    let (state, mo, bob) = (group(), user("mo"), user("bob"));
    let ban = changes(&state).list(update_roles(&state, &[(bob.clone(), role::BANNED)]), &mo);
    assert!(matches!(judge(&state, &mo, &ban), Err(Refusal::Leaf { .. })), "keeps its client");
    let state = after(&state, &mo, &ban.remove(&bob, &mo));
    assert!(!state.takes_part(&bob));
    assert!(matches!(
        judge(&state, &bob, &changes(&state).add(&bob, &bob).external()),
        Err(Refusal::Banned(_) | Refusal::NotParticipant(_))
    ));
    assert!(matches!(judge(&state, &bob, &changes(&state)), Err(Refusal::NotParticipant(_))));
    // Nobody gets it in again: neither with a new entry of the list nor with a client for the one that is there.
    let alice = user("alice");
    let listing = changes(&state).list(update_add(&state, &[(bob.clone(), role::MEMBER)]), &alice).add(&bob, &alice);
    for again in [listing, changes(&state).add(&bob, &alice)] {
        let refusal = judge(&state, &alice, &again).unwrap_err();
        assert_eq!(refusal.to_string(), format!("{bob} is banned from this room"));
    }
    // Off the list is not banned any more.
    let lifted = after(&state, &mo, &changes(&state).list(update_remove(&state, std::slice::from_ref(&bob)), &mo));
    let again = changes(&lifted).list(update_add(&lifted, &[(bob.clone(), role::MEMBER)]), &alice).add(&bob, &alice);
    assert!(after(&lifted, &alice, &again).takes_part(&bob));
    let unban = changes(&state).list(update_roles(&state, &[(bob.clone(), role::MEMBER)]), &mo);
    assert!(after(&state, &mo, &unban).takes_part(&bob));
}

#[test]
fn nobody_changes_its_own_role_or_gives_more_than_it_may() {
    let (state, alice, mo, bob) = (group(), user("alice"), user("mo"), user("bob"));
    let allowed = |actor: &UserUri, target: &UserUri, index: u32| {
        let commit = changes(&state).list(update_roles(&state, &[(target.clone(), index)]), actor);
        judge(&state, actor, &commit).is_ok()
    };
    assert!(
        allowed(&alice, &bob, role::ADMIN) && allowed(&alice, &mo, role::MEMBER) && allowed(&mo, &bob, role::MODERATOR)
    );
    assert!(
        !allowed(&mo, &bob, role::ADMIN)
            && !allowed(&mo, &alice, role::MEMBER)
            && !allowed(&bob, &user("carol"), role::MODERATOR)
    );
    assert!(!allowed(&alice, &alice, role::MEMBER) && !allowed(&bob, &bob, role::ADMIN));
}

// -------------------------------------------------------------------------------------------------- update rules

#[test]
fn indices_count_in_the_list_before_the_commit() {
    let state = group();
    let (alice, bob, carol, dave) = (user("alice"), user("bob"), user("carol"), user("dave"));
    // Removing index 2 (bob) does not move carol from 3; the second update still says 3.
    let commit = changes(&state)
        .list(update_remove(&state, std::slice::from_ref(&bob)), &alice)
        .list(update_roles(&state, &[(carol.clone(), role::MODERATOR)]), &alice)
        .list(update_add(&state, &[(dave.clone(), role::MEMBER)]), &alice)
        .remove(&bob, &alice);
    let expected = vec![
        (alice.clone(), role::ADMIN),
        (user("mo"), role::MODERATOR),
        (carol, role::MODERATOR),
        (dave, role::MEMBER),
    ];
    assert_eq!(after(&state, &alice, &commit).participants, expected);
}

#[test]
fn the_same_user_twice_is_refused_across_lists_and_updates() {
    let (state, alice, bob, dave) = (group(), user("alice"), user("bob"), user("dave"));
    let remove = || update_remove(&state, std::slice::from_ref(&bob));
    let add = || update_add(&state, &[(dave.clone(), role::MEMBER)]);
    let change = || update_roles(&state, &[(bob.clone(), role::MODERATOR)]);
    for (first, second) in [(remove(), remove()), (remove(), change()), (change(), remove()), (add(), add())] {
        let commit = changes(&state).list(first, &alice).list(second, &alice).remove(&bob, &alice);
        assert!(matches!(judge(&state, &alice, &commit), Err(Refusal::TouchedTwice(_))));
    }
    let both = ParticipantListUpdate { changed: vec![(2, 3)], removed: vec![2], added: vec![] }.encode();
    assert!(matches!(judge(&state, &alice, &changes(&state).list(both, &alice)), Err(Refusal::TouchedTwice(_))));
    let again =
        ParticipantListUpdate { removed: vec![2], added: vec![(bob.clone(), 2)], ..Default::default() }.encode();
    assert!(matches!(judge(&state, &alice, &changes(&state).list(again, &alice)), Err(Refusal::TouchedTwice(_))));
    let present = changes(&state).list(update_add(&state, &[(bob.clone(), 2)]), &alice);
    assert!(matches!(judge(&state, &alice, &present), Err(Refusal::Update(..))));
    let past = ParticipantListUpdate { removed: vec![4], ..Default::default() }.encode();
    assert!(matches!(judge(&state, &alice, &changes(&state).list(past, &alice)), Err(Refusal::Update(..))));
}

#[test]
fn component_rules() {
    let (mut state, alice) = (group(), user("alice"));
    state.other.insert(component::FRANKING_AGENT, vec![1]);
    let judged = |commit: ChangeSet| judge(&state, &alice, &commit);
    let name = || update_metadata(&state, Some("New"), None).unwrap();
    let base = || changes(&state);
    for unknown in [component::FRANKING_AGENT, 0x0031, 0xffff] {
        assert_eq!(judged(base().update(unknown, vec![], &alice)), Err(Refusal::UnknownComponent(unknown)));
    }
    // Their capabilities are reserved: an admin cannot hold them.
    for reserved in [0x0024].into_iter().chain(0x0028..=0x0030) {
        assert_eq!(judged(base().update(reserved, vec![], &alice)), Err(Refusal::Unchangeable(reserved)));
    }
    let metadata = component::ROOM_METADATA;
    assert!(
        matches!(judged(base().drop_component(0x0030, &alice)), Err(Refusal::Update(0x0030, why)) if why.contains("not have"))
    );
    assert!(matches!(judged(base().drop_component(metadata, &alice)), Err(Refusal::Update(..))));
    let twice = base().drop_component(metadata, &alice).drop_component(metadata, &alice);
    assert!(matches!(judged(twice), Err(Refusal::Update(_, "removed twice"))));
    let both = base().update(metadata, name(), &alice).drop_component(metadata, &alice);
    assert!(matches!(judged(both), Err(Refusal::Update(_, "removed and updated"))));
    let two = base().update(metadata, name(), &alice).update(metadata, name(), &alice);
    assert!(matches!(judged(two), Err(Refusal::Update(..))));
    assert!(matches!(judged(base().update(metadata, vec![1], &alice)), Err(Refusal::Malformed(..))));
    assert!(judged(base().update(metadata, name(), &alice)).is_ok());
}

#[test]
fn metadata_is_changed_by_those_who_may_and_the_room_uri_by_nobody() {
    let (state, alice, bob) = (group(), user("alice"), user("bob"));
    let update = update_metadata(&state, Some("New name"), Some("New topic")).unwrap();
    let commit = |proposer: &UserUri| changes(&state).update(component::ROOM_METADATA, update.clone(), proposer);
    let new = after(&state, &alice, &commit(&alice));
    assert_eq!((new.metadata.name.as_str(), new.metadata.subject.as_str()), ("New name", "New topic"));
    assert!(matches!(judge(&state, &bob, &commit(&bob)), Err(Refusal::NotAuthorized { .. })));
    // A member may commit what the admin proposed, and not the other way round.
    assert!(judge(&state, &bob, &commit(&alice)).is_ok());
    assert!(judge(&state, &alice, &commit(&bob)).is_err());
    let mut moved = state.metadata.clone();
    moved.room_uri = RoomUri::parse("mimi://evil.example/r/club").unwrap();
    let commit = changes(&state).update(component::ROOM_METADATA, moved.encode().unwrap(), &alice);
    assert!(matches!(judge(&state, &alice, &commit), Err(Refusal::Update(..))));
}

#[test]
fn role_definitions_change_alone_and_by_admins() {
    let (state, alice, mo, dave) = (group(), user("alice"), user("mo"), user("dave"));
    let mut roles = state.roles.clone();
    roles.0[2].description = "ordinary".into();
    let commit = |by: &UserUri| changes(&state).update(component::ROLES_LIST, roles.encode().unwrap(), by);
    assert_eq!(after(&state, &alice, &commit(&alice)).roles, roles);
    assert!(matches!(judge(&state, &mo, &commit(&mo)), Err(Refusal::NotAuthorized { .. })));
    let with_list = commit(&alice).list(update_add(&state, &[(dave, role::MEMBER)]), &alice);
    assert!(matches!(judge(&state, &alice, &with_list), Err(Refusal::Update(..))));
    let fewer = RoleList(roles.0[..3].to_vec()).encode().unwrap();
    let commit = changes(&state).update(component::ROLES_LIST, fewer, &alice);
    assert!(matches!(judge(&state, &alice, &commit), Err(Refusal::Role(_))), "mo and alice would have no role");
}

#[test]
fn constraints_hold_after_the_whole_commit() {
    let (mut state, alice, bob, dave) = (group(), user("alice"), user("bob"), user("dave"));
    state.base_policy.max_users = Some(4);
    let add = changes(&state).list(update_add(&state, &[(dave.clone(), role::MEMBER)]), &alice);
    assert!(matches!(judge(&state, &alice, &add), Err(Refusal::Constraint(_))));
    let swap = add.list(update_remove(&state, std::slice::from_ref(&bob)), &alice).remove(&bob, &alice);
    assert!(judge(&state, &alice, &swap).is_ok());
    let mut state = group();
    state.roles.0[4].min_participants = 1;
    let leave =
        changes(&state).list(update_remove(&state, std::slice::from_ref(&alice)), &alice).remove(&alice, &alice);
    assert!(matches!(judge(&state, &bob, &leave), Err(Refusal::Constraint(_))), "the last admin");
    state.base_policy.multi_device = false;
    let second = changes(&state).add(&bob, &bob).external();
    assert!(matches!(judge(&state, &bob, &second), Err(Refusal::Constraint(_))));
}

#[test]
fn the_participants_of_a_direct_chat_never_change() {
    let (state, alice, bob, dave) = (direct(), user("alice"), user("bob"), user("dave"));
    let add = changes(&state).list(update_add(&state, &[(dave.clone(), role::MEMBER)]), &alice).add(&dave, &alice);
    assert_eq!(judge(&state, &alice, &add), Err(Refusal::FixedMembership));
    let leave = changes(&state).list(update_remove(&state, std::slice::from_ref(&bob)), &bob).remove(&bob, &bob);
    assert_eq!(judge(&state, &alice, &leave), Err(Refusal::FixedMembership));
    // Its client may go, come back by itself, and be added while it has none.
    let mut commit = changes(&state).remove(&bob, &bob);
    assert!(judge(&state, &alice, &commit).is_ok());
    commit = changes(&state).add(&bob, &alice);
    assert!(judge(&state, &alice, &commit).is_err());
    commit.leaves_before.remove(&bob);
    assert!(judge(&state, &alice, &commit).is_ok());
}

#[test]
fn who_is_not_a_participant_commits_nothing() {
    let state = group();
    assert_eq!(judge(&state, &user("eve"), &changes(&state)), Err(Refusal::NotParticipant(user("eve"))));
    assert_eq!(judge(&state, &user("bob"), &changes(&state)), Ok(BTreeMap::new()));
    let smuggled = changes(&state).list(update_add(&state, &[(user("eve"), role::MEMBER)]), &user("eve"));
    assert!(judge(&state, &user("alice"), &smuggled).is_err());
}

// ---------------------------------------------------------------------------------------------------------- model

const NAMES: [&str; 6] = ["alice", "mo", "bob", "carol", "dave", "eve"];

fn any_user() -> impl Strategy<Value = UserUri> {
    (0..NAMES.len()).prop_map(|n| user(NAMES[n]))
}

fn any_update() -> impl Strategy<Value = ParticipantListUpdate> {
    (
        prop::collection::vec((0_u32..5, 0_u32..6), 0..2),
        prop::collection::vec(0_u32..5, 0..2),
        prop::collection::vec((any_user(), 0_u32..6), 0..2),
    )
        .prop_map(|(changed, removed, added)| ParticipantListUpdate { changed, removed, added })
}

fn any_commit() -> impl Strategy<Value = (UserUri, ChangeSet)> {
    let adds = prop::collection::vec((any_user(), any_user()), 0..3);
    let removes = prop::collection::vec((any_user(), any_user()), 0..4);
    let updates = prop::collection::vec((any_update(), any_user()), 0..3);
    (any_user(), adds, removes, updates, any::<bool>()).prop_map(|(actor, adds, removes, updates, external)| {
        let mut commit = changes(&group());
        commit.external_commit = external;
        for (user, proposer) in adds {
            commit = commit.add(&user, &proposer);
        }
        for (user, proposer) in removes {
            commit = commit.remove(&user, &proposer);
        }
        for (update, proposer) in updates {
            commit = commit.list(update.encode(), &proposer);
        }
        (actor, commit)
    })
}

/// The naive reading of protocol-06 section 7.5: mark, then sweep, then append.
fn model(before: &[(UserUri, u32)], updates: &[ParticipantListUpdate]) -> Vec<(UserUri, u32)> {
    let mut slots: Vec<Option<(UserUri, u32)>> = before.iter().cloned().map(Some).collect();
    for update in updates {
        for (index, role) in &update.changed {
            slots[*index as usize].as_mut().unwrap().1 = *role;
        }
    }
    for update in updates {
        for index in &update.removed {
            slots[*index as usize] = None;
        }
    }
    let added = updates.iter().flat_map(|update| update.added.clone());
    slots.into_iter().flatten().chain(added).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]
    #[test]
    fn an_accepted_commit_agrees_with_the_model_and_leaves_clients_to_participants_only((actor, commit) in any_commit()) {
        let state = group();
        if let Ok(changed) = judge(&state, &actor, &commit) {
            let after = state.with(&changed).unwrap();
            let updates: Vec<_> = commit.updates.iter().map(|update| match &update.op {
                ComponentOp::Update(bytes) => ParticipantListUpdate::decode(bytes).unwrap(),
                ComponentOp::Remove => unreachable!(),
            }).collect();
            prop_assert_eq!(&after.participants, &model(&state.participants, &updates));
            let mut leaves = commit.leaves_before.clone();
            for add in &commit.adds { *leaves.entry(add.user.clone()).or_default() += 1; }
            for remove in &commit.removes { *leaves.get_mut(&remove.user).unwrap() -= 1; }
            for (user, count) in leaves {
                prop_assert!(count == 0 || after.takes_part(&user), "{} keeps a client", user);
            }
            // Nobody gets an admin's or moderator's role but from one.
            for (user, index) in &after.participants {
                if *index >= role::MODERATOR && state.role_of(user) != Some(*index) {
                    prop_assert!(commit.updates.iter().any(|u| state.role_of(&u.proposer) >= Some(role::MODERATOR)));
                }
            }
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused_and_what_is_read_is_written_back(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(value) = ParticipantListUpdate::decode(&bytes) { prop_assert_eq!(value.encode().unwrap(), bytes.clone()); }
        if let Ok(value) = ParticipantList::decode(&bytes) { prop_assert_eq!(value.encode().unwrap(), bytes.clone()); }
        if let Ok(value) = RoomMetadata::decode(&bytes) { prop_assert_eq!(value.encode().unwrap(), bytes.clone()); }
        if let Ok(value) = RoleList::decode(&bytes) { prop_assert_eq!(value.encode().unwrap(), bytes.clone()); }
        if let Ok(value) = BaseRoomPolicy::decode(&bytes) { prop_assert_eq!(value.encode().unwrap(), bytes); }
    }

    #[test]
    fn a_flipped_byte_of_a_component_is_no_panic(id in 0_usize..4, at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut components = group().to_components().unwrap();
        let key = *components.keys().nth(id).unwrap();
        let bytes = components.get_mut(&key).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = to;
        if let Ok(state) = RoomState::from_components(&components) {
            prop_assert_eq!(state.to_components().unwrap(), components);
        }
    }
}
