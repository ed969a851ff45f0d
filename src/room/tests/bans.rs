//! Bans: what a hub refuses, what a follower may, and what becomes of a ban that cannot be.

use super::{
    fakes::user,
    named::{a1, a2, b1},
    world::World,
};
use crate::{
    policy::{self, ParticipantList, component, role},
    room::{
        Input,
        group::{Group, GroupChange},
    },
    wire::{
        CommitBundle, GroupInfoOption, HandshakeBundle, MlsMessage, RatchetTreeOption, RawGroupInfo, RawRatchetTree,
        UpdateOutcome, UpdateRoomResponse, Wire as _,
    },
};

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;

/// A hosts with two users, B and C follow.
fn three() -> World {
    let mut world = World::new(21, &["a", "b", "c"], &["u0@a", "u1@a"]);
    world.bring_remote(&a1(), &b1());
    world.bring_remote(&a1(), &user("u0@c"));
    world
}

/// The hub gives somebody this role, and all hear of it.
pub(super) fn give(world: &mut World, who: &crate::ident::UserUri, role: u32) {
    give_now(world, who, role);
    world.settle();
}

/// The hub gives somebody this role.
pub(super) fn give_now(world: &mut World, who: &crate::ident::UserUri, role: u32) {
    let who = who.clone();
    world.as_hub(|step| {
        let state = step.group.state().unwrap();
        let app_data = vec![(component::PARTICIPANT_LIST, policy::update_roles(&state, &[(who, role)]).unwrap())];
        let staged = step.group.stage(&a1(), &GroupChange { app_data, ..GroupChange::default() }, step.now).unwrap();
        step.hub_accept_own_commit(&staged).unwrap();
    });
}

#[test]
fn the_hub_refuses_a_followers_commit_that_lists_a_banned_user() {
    let (mut world, c1) = (three(), user("u0@c"));
    world.ban(&a1(), &b1());
    world.settle();
    assert_eq!(world.participants(A), [a1(), a2(), c1.clone()].into());
    assert!(!world.of(&b1()).joined.contains(&b1()));
    // A follower that forgets the ban.
    let mut forgetful = world.providers[C].group.clone();
    let components = &mut forgetful.shared.as_mut().unwrap().components;
    let mut list = ParticipantList::decode(&components[&component::PARTICIPANT_LIST]).unwrap();
    list.0.retain(|(listed, _)| *listed != b1());
    components.insert(component::PARTICIPANT_LIST, list.encode().unwrap());
    let state = forgetful.state().unwrap();
    let app_data = vec![(component::PARTICIPANT_LIST, policy::update_add(&state, &[(b1(), role::MEMBER)]).unwrap())];
    let staged = forgetful.stage(&c1, &GroupChange { app_data, ..GroupChange::default() }, world.now).unwrap();
    let bundle = HandshakeBundle::Commit(Box::new(CommitBundle {
        commit: MlsMessage::decode(&staged.commit).unwrap(),
        welcome: None,
        group_info: GroupInfoOption::Full(RawGroupInfo::from_bytes(staged.group_info).unwrap()),
        ratchet_tree: RatchetTreeOption::Full(RawRatchetTree::from_bytes(staged.ratchet_tree).unwrap()),
    }));
    let answer = world.step(A, || Input::Update { peer: c1.provider(), bundle: bundle.clone() }).unwrap();
    let answer = UpdateRoomResponse::decode(&answer).unwrap();
    assert_eq!(answer.outcome, UpdateOutcome::NotAllowed);
    assert_eq!(answer.description, format!("{} is banned from this room", b1()));
    assert!(!world.participants(A).contains(&b1()));
}

#[test]
fn a_moderator_at_a_follower_bans_and_lifts_the_ban() {
    let mut world = three();
    give(&mut world, &b1(), role::MODERATOR);
    world.ban(&b1(), &a2());
    world.settle();
    assert!(!world.participants(A).contains(&a2()) && !world.providers[A].joined.contains(&a2()));
    assert!(world.providers[B].banned.contains(&a2()), "the ban stands");
    // Back in the Matrix room is not back in the MIMI room.
    world.join(&a2());
    world.settle();
    assert!(!world.providers[A].joined.contains(&a2()));
    world.unban(&b1(), &a2());
    world.settle();
    world.join(&a2());
    world.say(&a2());
    world.settle();
    assert_eq!(world.providers[B].bodies(), ["u1 says 0!"]);
    super::model::check(&world, true);
}

#[test]
fn a_ban_that_both_sides_lift_puts_nobody_out() {
    let mut world = three();
    give(&mut world, &b1(), role::MODERATOR);
    world.ban(&b1(), &a2());
    world.settle();
    assert!(!world.participants(A).contains(&a2()));
    // B1 lifts it in the same moment in which the host does; the homeserver tells of it when they are in again.
    assert!(world.providers[A].shut.remove(&a2()));
    world.late_unban(A, &a1(), &a2());
    world.join(&a2());
    world.settle();
    assert!(world.providers[B].ghosts.contains(&a2()));
    world.late_unban(B, &b1(), &a2());
    world.settle();
    assert!(world.participants(A).contains(&a2()) && world.providers[A].joined.contains(&a2()));
    // And so it is at the homeserver of whose they are.
    world.late_unban(A, &a1(), &a2());
    world.settle();
    assert!(world.participants(A).contains(&a2()) && world.providers[A].joined.contains(&a2()));
    super::model::check(&world, true);
}

#[test]
fn who_is_banned_and_leaves_stays_banned() {
    let mut world = three();
    give(&mut world, &b1(), role::MODERATOR);
    world.ban(&b1(), &a2());
    world.settle();
    let role = |world: &World| world.providers[A].group.state().unwrap().role_of(&a2());
    assert_eq!(role(&world), Some(role::BANNED));
    // The homeserver tells of a leave that was there before the ban.
    world.leave(&a2());
    world.settle();
    assert_eq!(role(&world), Some(role::BANNED));
}

#[test]
fn a_ban_that_a_follower_may_not_make_is_undone_and_told() {
    let mut world = three();
    world.ban(&b1(), &a2());
    world.settle();
    assert!(world.participants(A).contains(&a2()));
    let b = &world.providers[B];
    assert!(b.banned.is_empty() && b.ghosts.contains(&a2()), "the ghost is seen again");
    assert!(b.notices.iter().any(|text| text.contains("u1 could not be banned")), "{:?}", b.notices);
    super::model::check(&world, false);
}

fn told(world: &World, words: &str) -> usize {
    world.providers[B].notices.iter().filter(|text| text.contains(words)).count()
}

#[test]
fn whoever_insists_on_removing_somebody_is_let_be_until_they_act_or_are_asked_in() {
    let mut world = three();
    for round in 1..=8 {
        world.kick(&b1(), &a2());
        world.settle();
        assert_eq!(world.providers[B].ghosts.contains(&a2()), round <= 3, "{round}");
        // Of others, too, it is known.
        let differs = world.providers[B].room().differs_in();
        assert_eq!(differs, if round <= 3 { vec![] } else { vec!["members"] }, "{round}");
        if round > 3 {
            // A commit does not bring the ghost back.
            give(&mut world, &user("u0@c"), if round % 2 == 0 { role::MODERATOR } else { role::MEMBER });
            assert!(!world.providers[B].ghosts.contains(&a2()), "{round}");
            world.invite(&b1(), &a2());
            world.settle();
            assert!(world.providers[B].ghosts.contains(&a2()), "asked in");
            assert!(world.providers[B].room().differs_in().is_empty());
        }
    }
    assert!(world.participants(A).contains(&a2()));
    assert_eq!((told(&world, "could not be removed"), told(&world, "again and again")), (4, 1));
    // Who says something is seen.
    world.kick(&b1(), &a2());
    world.settle();
    assert_eq!(world.providers[B].room().differs_in(), ["members"]);
    world.say(&a2());
    world.settle();
    assert!(world.providers[B].ghosts.contains(&a2()) && world.providers[B].room().differs_in().is_empty());
    assert_eq!(world.providers[B].bodies().len(), 1);
    // Others are another matter, and so is another hour.
    world.kick(&b1(), &user("u0@c"));
    world.settle();
    assert!(world.providers[B].ghosts.contains(&user("u0@c")));
    world.now += 61 * 60 * 1000;
    world.kick(&b1(), &a2());
    world.settle();
    assert!(world.providers[B].ghosts.contains(&a2()), "undone again");
}

#[test]
fn whoever_insists_on_banning_somebody_is_let_be() {
    let mut world = three();
    for round in 1..=3 {
        world.ban(&b1(), &a2());
        world.settle();
        assert!(world.providers[B].ghosts.contains(&a2()), "{round}");
    }
    world.ban(&b1(), &a2());
    world.settle();
    let commits = world.providers[A].group.epoch();
    give(&mut world, &user("u0@c"), role::MODERATOR);
    let b = &world.providers[B];
    assert!(b.banned.contains(&a2()) && !b.ghosts.contains(&a2()), "the ban stays");
    assert_eq!(world.providers[A].group.epoch(), commits + 1, "and is not wanted again with every commit");
    assert_eq!(b.room().differs_in(), ["members"]);
    assert_eq!((told(&world, "could not be banned"), told(&world, "again and again")), (4, 1));
    // Whoever lifts it here has them back, as they are in the MIMI room.
    world.unban(&b1(), &a2());
    world.settle();
    assert!(world.providers[B].ghosts.contains(&a2()));
    assert!(world.providers[B].room().differs_in().is_empty());
    // A moderator's ban counts, however often it was tried before.
    give(&mut world, &b1(), role::MODERATOR);
    world.ban(&b1(), &a2());
    world.settle();
    assert!(!world.participants(A).contains(&a2()));
    assert!(world.providers[B].room().differs_in().is_empty());
    // Nor may everybody lift it.
    give(&mut world, &b1(), role::MEMBER);
    for round in 1..=5 {
        world.unban(&b1(), &a2());
        world.settle();
        let b = &world.providers[B];
        assert_eq!((b.shut.contains(&a2()), b.room().differs_in().is_empty()), (round <= 3, round <= 3), "{round}");
        world.providers[B].shut.remove(&a2());
        world.ban(&b1(), &a2());
        world.settle();
        assert!(world.providers[B].room().differs_in().is_empty(), "they agree again");
    }
    assert_eq!((told(&world, "could not be lifted"), told(&world, "again and again")), (4, 2));
}

#[test]
fn banned_while_being_added_is_not_in() {
    let mut world = World::new(22, &["a", "b"], &["u0@a"]);
    world.invite(&a1(), &b1());
    world.settle();
    world.ban(&a1(), &b1());
    world.join(&b1());
    world.settle();
    assert_eq!(world.participants(A), [a1()].into());
    assert!(world.providers[B].joined.is_empty(), "in a portal of nothing");
    world.unban(&a1(), &b1());
    world.settle();
    world.bring_remote(&a1(), &b1());
    assert_eq!(world.participants(A), [a1(), b1()].into());
}

#[test]
fn who_came_when_asked_and_is_banned_before_they_are_added_reads_no_longer() {
    let (mut world, c2) = (three(), user("u1@c"));
    // Asked by somebody who never adds them.
    let about = crate::room::about::About::default();
    world.step(C, || Input::Asked { requester: b1(), target: c2.clone(), about: about.clone(), standing: false });
    world.settle();
    world.join(&c2);
    world.settle();
    assert!(world.providers[C].joined.contains(&c2));
    world.ban(&a1(), &c2);
    world.settle();
    assert!(!world.providers[C].joined.contains(&c2), "they read on");
    // Asked once more, they hear of it when the host lifts the ban, and not before.
    world.step(C, || Input::Asked { requester: b1(), target: c2.clone(), about: about.clone(), standing: false });
    world.settle();
    assert!(!world.providers[C].invited.contains(&c2));
    world.unban(&a1(), &c2);
    world.settle();
    assert!(world.providers[C].invited.contains(&c2));
}

#[test]
fn whoever_cannot_be_added_is_asked_no_longer() {
    let (mut world, c2) = (three(), user("u1@c"));
    world.invite(&b1(), &c2);
    world.settle();
    // The room is full before they agree.
    world.as_hub(|step| {
        let mut policy = step.group.state().unwrap().base_policy.clone();
        policy.max_users = Some(4);
        let app_data = vec![(component::BASE_ROOM_POLICY, policy.encode().unwrap())];
        let staged = step.group.stage(&a1(), &GroupChange { app_data, ..GroupChange::default() }, step.now).unwrap();
        step.hub_accept_own_commit(&staged).unwrap();
    });
    world.settle();
    world.join(&c2);
    world.settle();
    assert!(!world.participants(A).contains(&c2));
    let notices = &world.providers[B].notices;
    assert!(notices.iter().any(|text| text.contains("u1") && text.contains("could not be added")), "{notices:?}");
    assert!(!world.providers[C].joined.contains(&c2), "they read on");
}

#[test]
fn who_has_no_key_material_is_asked_no_longer() {
    let (mut world, c2) = (three(), user("u1@c"));
    world.invite(&b1(), &c2);
    world.settle();
    world.providers[B].room.as_mut().unwrap().claiming.insert(c2.clone(), b1());
    let none = || Input::KeyMaterial { target: c2.clone(), key_packages: Err("there is none".to_owned()) };
    world.step(B, none);
    world.settle();
    let (b, c) = (&world.providers[B], &world.providers[C]);
    assert!(b.notices.iter().any(|text| text.contains("cannot be added: there is none")), "{:?}", b.notices);
    assert!(!c.invited.contains(&c2), "the invitation stays open");
}

/// The room is not connected yet when one of ours invites the ghost that made it.
#[test]
fn a_ghost_that_is_sent_out_before_we_are_in_comes_back_with_us() {
    let mut world = World::new(55, &["a", "b"], &["u0@a"]);
    world.invite(&a1(), &b1());
    world.settle();
    world.join(&b1());
    world.work(B);
    assert_eq!(world.providers[B].phase(), Some(&crate::room::Phase::Invited));
    world.invite(&b1(), &a1());
    world.work(B);
    world.settle();
    assert_eq!(world.providers[B].phase(), Some(&crate::room::Phase::Active));
    assert!(world.providers[B].ghosts.contains(&a1()), "{:?}", world.providers[B].ghosts);
}
