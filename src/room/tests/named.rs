//! Cases by name.

use super::{
    fake_group::{FakeGroup, plaintext, sealed_by},
    fakes::{room_uri, user},
    provider::Row,
    world::World,
};
use crate::{
    ident::UserUri,
    policy,
    room::{Input, Phase, Tag, effect::Endpoint, group::Group, state::InFlight},
    wire::{
        CommitBundle, FanoutContent, FanoutMessage, GroupInfoOption, HandshakeBundle, MlsMessage, RatchetTreeOption,
        RawGroupInfo, RawRatchetTree, SubmitMessageRequest, SubmitMessageResponse, UpdateOutcome, UpdateRoomResponse,
        Wire,
    },
};

const A: usize = 0;
const B: usize = 1;

pub(super) fn a1() -> UserUri {
    user("u0@a")
}
pub(super) fn a2() -> UserUri {
    user("u1@a")
}
pub(super) fn b1() -> UserUri {
    user("u0@b")
}
pub(super) fn b2() -> UserUri {
    user("u1@b")
}
pub(super) fn c1() -> UserUri {
    user("u0@c")
}

/// A room of a1 and a2 at provider a, the hub, with b1 at provider b.
fn two() -> World {
    let mut world = World::new(1, &["a", "b"], &["u0@a", "u1@a"]);
    world.bring_remote(&a1(), &b1());
    assert_eq!(world.providers[B].phase(), Some(&Phase::Active));
    world
}

/// A hosts with two users, B and C follow.
pub(super) fn three() -> World {
    let mut world = World::new(31, &["a", "b", "c"], &["u0@a", "u1@a"]);
    world.bring_remote(&a1(), &b1());
    world.bring_remote(&a1(), &c1());
    world
}

pub(super) fn work_off(world: &mut World, at: usize) {
    while !world.providers[at].inbox.is_empty() {
        world.work(at);
    }
}

/// The bodies that wait for the other side, by endpoint.
pub(super) fn waiting(world: &World, from: usize, to: usize, wanted: Endpoint) -> Vec<Vec<u8>> {
    let rows = world.lanes.get(&(from, to)).into_iter().flat_map(|lane| &lane.rows);
    rows.filter_map(|row| match row {
        Row::Call { endpoint, body, .. } if *endpoint == wanted => Some(body.clone()),
        _ => None,
    })
    .collect()
}

fn submitted(body: &[u8]) -> MlsMessage {
    SubmitMessageRequest::decode(body).unwrap().app_message
}

/// Sends what waits in one lane, and has it worked on; nothing else moves.
pub(super) fn deliver(world: &mut World, from: usize, to: usize) {
    let lane = world.lanes.entry((from, to)).or_default();
    for _ in 0..lane.rows.len() {
        world.send(from, to);
        work_off(world, to);
    }
}

#[test]
fn everybody_reads_everybody_once() {
    let mut world = two();
    for who in [a1(), a2(), b1(), a1()] {
        world.say(&who);
        world.settle();
    }
    assert_eq!(world.providers[A].bodies(), ["u0 says 2!"]);
    assert_eq!(world.providers[B].bodies(), ["u0 says 0!", "u1 says 1!", "u0 says 3!"]);
    super::model::check(&world, false);
}

#[test]
fn an_invitation_that_is_taken_back_while_its_room_is_made_does_not_stay() {
    let mut world = World::new(1, &["a", "b"], &["u0@a", "u1@a"]);
    world.invite(&a1(), &b1());
    work_off(&mut world, A);
    world.send(A, B);
    work_off(&mut world, B);
    // B's homeserver has not made the room yet.
    world.kick(&a1(), &b1());
    work_off(&mut world, A);
    world.send(A, B);
    work_off(&mut world, B);
    assert!(world.providers[B].matrix.is_none());
    world.settle();
    assert!(world.providers[B].matrix.is_some(), "the room was asked for");
    assert!(!world.of(&b1()).invited.contains(&b1()), "the invitation is still open");
}

#[test]
fn a_commit_that_lost_the_race_is_made_anew() {
    let mut world = two();
    let before = world.providers[A].group.epoch();
    world.bring(&b1(), &b2());
    work_off(&mut world, B);
    let first = waiting(&world, B, A, Endpoint::Update);
    assert_eq!(first.len(), 1);
    // Meanwhile the hub commits itself.
    world.bring(&a1(), &user("u2@a"));
    work_off(&mut world, A);
    assert_eq!(world.providers[A].group.epoch(), before + 1);
    deliver(&mut world, B, A);
    work_off(&mut world, B);
    // It knows that it is behind, and makes nothing before it has caught up.
    assert_eq!(world.providers[B].room().behind, before + 1);
    assert!(waiting(&world, B, A, Endpoint::Update).is_empty());
    deliver(&mut world, A, B);
    let second = waiting(&world, B, A, Endpoint::Update);
    assert_eq!(second.len(), 1);
    assert_ne!(first, second);
    assert_eq!(HandshakeBundle::decode(&second[0]).unwrap().first().unwrap().epoch(), Some(before + 1));
    world.settle();
    assert!(world.participants(A).contains(&b2()));
    super::model::check(&world, false);
}

#[test]
fn of_two_followers_that_commit_at_once_one_wins_and_the_other_comes_after() {
    let mut world = World::new(4, &["a", "b", "c"], &["u0@a"]);
    world.bring_remote(&a1(), &b1());
    world.bring_remote(&a1(), &user("u0@c"));
    let before = world.providers[A].group.epoch();
    world.bring(&b1(), &b2());
    world.bring(&user("u0@c"), &user("u1@c"));
    work_off(&mut world, B);
    work_off(&mut world, 2);
    world.settle();
    assert_eq!(world.providers[A].group.epoch(), before + 2);
    assert!(world.participants(A).is_superset(&[b2(), user("u1@c")].into()));
    super::model::check(&world, false);
}

#[test]
fn a_message_for_an_epoch_too_old_is_sealed_again_with_its_content_and_id() {
    let mut world = two();
    world.say(&b1());
    work_off(&mut world, B);
    let first = waiting(&world, B, A, Endpoint::SubmitMessage).remove(0);
    // Two epochs on: more than the hub tolerates.
    world.bring(&a1(), &user("u2@a"));
    work_off(&mut world, A);
    world.leave(&user("u2@a"));
    work_off(&mut world, A);
    deliver(&mut world, B, A);
    work_off(&mut world, B);
    assert!(world.providers[A].timeline.is_empty() && world.providers[B].log.is_empty());
    assert_eq!(world.providers[B].room().again.len(), 1);
    deliver(&mut world, A, B);
    let second = waiting(&world, B, A, Endpoint::SubmitMessage).remove(0);
    assert!(submitted(&second).epoch() > submitted(&first).epoch());
    assert_eq!(plaintext(submitted(&first).as_bytes()), plaintext(submitted(&second).as_bytes()));
    world.settle();
    assert_eq!(world.providers[A].bodies(), ["u0 says 0!"]);
    assert_eq!(world.providers[A].timeline[0].id, world.providers[B].log[0].1);
    super::model::check(&world, false);
}

#[test]
fn what_is_said_after_a_message_that_may_be_too_old_waits_for_its_answer() {
    let mut world = two();
    world.say(&b1());
    work_off(&mut world, B);
    world.bring(&a1(), &user("u2@a"));
    world.leave(&user("u2@a"));
    work_off(&mut world, A);
    // The commits arrive before the hub's answer: the next message could be sealed in the new epoch.
    deliver(&mut world, A, B);
    world.say(&b1());
    work_off(&mut world, B);
    assert_eq!(waiting(&world, B, A, Endpoint::SubmitMessage).len(), 1);
    world.settle();
    assert_eq!(world.providers[A].bodies(), ["u0 says 0!", "u0 says 1!"]);
    super::model::check(&world, false);
}

#[test]
fn an_own_message_that_comes_back_before_the_answer_is_accepted_once() {
    let mut world = two();
    world.say(&b1());
    work_off(&mut world, B);
    world.send(B, A);
    // The hub's answer is held back by giving the hub's mail its turn only after the fan-out is out.
    world.loss = 100;
    work_off(&mut world, A);
    world.loss = 0;
    deliver(&mut world, A, B);
    assert_eq!(world.providers[B].log.len(), 1, "by fan-out");
    assert!(world.providers[B].room().submitted.is_empty());
    // The same bytes are sent again, and the stored answer comes.
    world.settle();
    assert_eq!(world.providers[B].log.len(), 1);
    assert_eq!(world.providers[A].bodies(), ["u0 says 0!"]);
    assert!(world.providers[B].timeline.is_empty());
    super::model::check(&world, false);
}

#[test]
fn a_message_under_another_ciphertext_is_shown_once() {
    let mut world = two();
    world.say(&b1());
    work_off(&mut world, B);
    let request = SubmitMessageRequest::decode(&waiting(&world, B, A, Endpoint::SubmitMessage)[0]).unwrap();
    let content = plaintext(request.app_message.as_bytes());
    world.settle();
    let epoch = world.providers[A].group.epoch();
    let copy = MlsMessage::decode(&sealed_by(&b1(), epoch, 7, &content)).unwrap();
    let peer = b1().provider();
    let answer = world.step(A, || Input::Submit {
        peer: peer.clone(),
        request: SubmitMessageRequest { app_message: copy.clone(), sending_user: b1() },
    });
    let answer = SubmitMessageResponse::decode(&answer.unwrap()).unwrap();
    assert!(matches!(answer, SubmitMessageResponse::Accepted { .. }));
    // Also after a restart, when only the store remembers.
    world.providers[A].recent = crate::room::Recent::default();
    let copy = MlsMessage::decode(&sealed_by(&b1(), epoch, 8, &content)).unwrap();
    world.step(A, || Input::Submit {
        peer: peer.clone(),
        request: SubmitMessageRequest { app_message: copy.clone(), sending_user: b1() },
    });
    world.settle();
    assert_eq!(world.providers[A].bodies(), ["u0 says 0!"]);
    assert_eq!(world.providers[A].log.len(), 1);
}

#[test]
fn a_removed_member_is_refused_and_told() {
    let mut world = two();
    world.kick(&a1(), &b1());
    work_off(&mut world, A);
    let event = world.say(&b1());
    world.settle();
    assert!(world.providers[A].bodies().is_empty());
    assert!(!world.participants(A).contains(&b1()));
    assert_eq!(world.providers[B].phase(), Some(&Phase::Left));
    assert!(!world.providers[B].joined.contains(&b1()), "out of the portal, too");
    assert!(world.providers[B].notices.iter().any(|text| text.contains("could not be delivered")));
    assert!(world.providers[B].reports.iter().any(|text| text.starts_with(&format!("{event} of"))));
    // And nobody of b's can go on as if nothing had been.
    let peer = b1().provider();
    let epoch = world.providers[A].group.epoch();
    for (by, as_user) in [(b1(), b1()), (a2(), a2()), (a2(), b1())] {
        let message = MlsMessage::decode(&sealed_by(&by, epoch, 9, b"x")).unwrap();
        let request = || Input::Submit {
            peer: peer.clone(),
            request: SubmitMessageRequest { app_message: message.clone(), sending_user: as_user.clone() },
        };
        let answer = world.step(A, request).unwrap();
        assert_eq!(SubmitMessageResponse::decode(&answer), Ok(SubmitMessageResponse::NotAllowed));
    }
}

#[test]
fn a_removed_user_who_goes_on_talking_is_not_added_again() {
    let mut world = two();
    world.bring(&b1(), &b2());
    world.settle();
    world.say(&b2());
    world.settle();
    world.kick(&a1(), &b2());
    world.say(&b2());
    work_off(&mut world, A);
    deliver(&mut world, A, B);
    // Said on Matrix before the removal arrived there, read after it.
    world.say(&b2());
    world.settle();
    assert!(!world.participants(A).contains(&b2()));
    assert_eq!(world.providers[A].bodies(), ["u1 says 0!"]);
    let refused = world.providers[B].notices.iter().filter(|text| text.contains("could not be delivered")).count();
    assert_eq!(refused, 2);
    super::model::check(&world, true);
}

#[test]
fn what_was_said_before_leaving_is_delivered() {
    let mut world = two();
    world.bring(&b1(), &b2());
    world.settle();
    for _ in 0..3 {
        world.say(&b1());
    }
    world.leave(&b1());
    work_off(&mut world, B);
    // The proposals wait until all three are answered.
    assert_eq!(waiting(&world, B, A, Endpoint::SubmitMessage).len(), 3);
    assert!(waiting(&world, B, A, Endpoint::Update).is_empty());
    world.settle();
    assert_eq!(world.providers[A].bodies(), ["u0 says 0!", "u0 says 1!", "u0 says 2!"]);
    assert!(!world.participants(A).contains(&b1()));
    super::model::check(&world, false);
}

#[test]
fn the_others_talk_on_when_the_anchor_leaves() {
    let mut world = two();
    world.bring(&b1(), &b2());
    world.settle();
    // b2 has never acted and has no leaf: it gets one before the last leaf goes.
    assert!(!world.providers[B].group.has_leaf(&b2()));
    world.leave(&b1());
    world.settle();
    assert_eq!(world.providers[B].phase(), Some(&Phase::Active));
    world.say(&b2());
    world.say(&a1());
    world.settle();
    assert_eq!(world.providers[A].bodies(), ["u1 says 0!"]);
    assert_eq!(world.providers[B].bodies(), ["u0 says 1!"]);
    super::model::check(&world, false);
}

#[test]
fn joining_leaving_and_joining_again_ends_inside() {
    let mut world = two();
    world.bring(&b1(), &b2());
    work_off(&mut world, B);
    world.leave(&b2());
    world.bring(&b1(), &b2());
    world.settle();
    assert!(world.participants(A).contains(&b2()));
    world.leave(&b2());
    world.bring(&b1(), &b2());
    world.leave(&b2());
    world.settle();
    assert!(!world.participants(A).contains(&b2()));
    super::model::check(&world, false);
}

#[test]
fn who_comes_back_while_their_leave_is_being_committed_stays_and_is_heard() {
    let mut world = two();
    world.bring(&b1(), &b2());
    world.say(&b2());
    world.settle();
    world.leave(&b2());
    work_off(&mut world, B);
    // The hub took the leave and said so; its commit is still on the way.
    deliver(&mut world, B, A);
    work_off(&mut world, B);
    assert_eq!(world.providers[B].room().leaving, [b2()].into());
    world.bring(&b1(), &b2());
    world.say(&b2());
    world.settle();
    assert!(world.participants(A).contains(&b2()));
    assert!(world.providers[B].joined.contains(&b2()), "the commit of their own leave does not put them out");
    assert_eq!(world.providers[A].bodies(), ["u1 says 0!", "u1 says 1!"]);
    super::model::check(&world, false);
}

#[test]
fn two_leaves_in_flight_do_not_break_the_room() {
    let mut world = two();
    for name in ["u1@b", "u2@b"] {
        world.bring(&b1(), &user(name));
        world.say(&user(name));
    }
    world.settle();
    world.leave(&b2());
    world.leave(&user("u2@b"));
    work_off(&mut world, B);
    // The hub takes the first leave; its answer arrives long before its fan-out.
    deliver(&mut world, B, A);
    work_off(&mut world, B);
    deliver(&mut world, B, A);
    work_off(&mut world, B);
    world.settle();
    assert_eq!(world.providers[B].phase(), Some(&Phase::Active));
    assert_eq!(world.participants(A), [a1(), a2(), b1()].into());
    super::model::check(&world, false);
}

#[test]
fn declining_tells_nobody() {
    let mut world = World::new(3, &["a", "b"], &["u0@a"]);
    world.invite(&a1(), &b1());
    world.settle();
    assert!(world.providers[B].invited.contains(&b1()));
    world.leave(&b1());
    work_off(&mut world, B);
    assert!(
        world.lanes.iter().all(|(lane, rows)| lane.0 != B || rows.rows.is_empty()),
        "something is sent to the asker"
    );
    world.settle();
    assert_eq!(world.participants(A), [a1()].into());
    assert!(world.providers[A].room().asking.contains_key(&b1()), "the asker still waits");
}

#[test]
fn who_agreed_and_left_before_being_let_in_is_out() {
    let mut world = two();
    world.invite(&a1(), &b2());
    world.settle();
    world.join(&b2());
    work_off(&mut world, B);
    world.leave(&b2());
    work_off(&mut world, B);
    world.settle();
    assert_eq!(world.participants(A), [a1(), a2(), b1()].into());
    super::model::check(&world, false);
}

#[test]
fn a_portal_is_for_those_who_were_asked_in() {
    let mut world = two();
    world.join(&b2());
    world.say(&b2());
    world.settle();
    assert!(!world.providers[B].joined.contains(&b2()) && !world.participants(A).contains(&b2()));
    assert!(world.providers[A].bodies().is_empty());
    super::model::check(&world, false);
}

#[test]
fn messages_wait_for_the_portal() {
    let mut world = two();
    let portal = world.providers[B].room.as_mut().unwrap().matrix.take().unwrap();
    world.say(&a1());
    world.say(&a2());
    world.settle();
    assert_eq!(world.providers[B].room().held.len(), 2);
    world.step(B, || Input::PortalReady(portal.clone()));
    world.settle();
    assert_eq!(world.providers[B].bodies(), ["u0 says 0!", "u1 says 1!"]);
}

#[test]
fn refused_changes_are_told_and_do_not_stop_the_queue() {
    let mut world = two();
    // b1 is an ordinary member: it may not remove a2, whose ghost comes back.
    world.kick(&b1(), &a2());
    world.say(&b1());
    world.settle();
    assert!(world.participants(A).contains(&a2()));
    assert!(world.providers[B].ghosts.contains(&a2()));
    assert!(
        world.providers[B].notices.iter().any(|text| text.contains("u1 could not be removed")),
        "{:?}",
        world.providers[B].notices
    );
    assert_eq!(world.providers[A].bodies(), ["u0 says 0!"]);
    // A user whom somebody here removed is out, whatever the roles say: by their own leave.
    world.bring(&b1(), &b2());
    world.settle();
    world.kick(&b1(), &b2());
    world.settle();
    assert_eq!(world.participants(A), [a1(), a2(), b1()].into());
    super::model::check(&world, true);
}

#[test]
fn an_update_that_the_hub_refuses_is_given_up_with_a_notice() {
    let mut world = two();
    world.bring(&b1(), &b2());
    work_off(&mut world, B);
    let Some(InFlight::Commit { .. }) = world.providers[B].room().in_flight else { panic!() };
    let tag = Tag::Update(world.providers[B].room().awaiting.unwrap());
    let refused =
        UpdateRoomResponse { description: "no more users".into(), outcome: UpdateOutcome::NotAllowed }.encode();
    // An answer to something else counts for nothing.
    world.step(B, || Input::Answered { tag: Tag::Update([0; 32]), result: Ok(refused.clone()) });
    assert!(world.providers[B].room().in_flight.is_some());
    world.step(B, || Input::Answered { tag, result: Ok(refused.clone()) });
    while !world.providers[B].lane.is_empty() {
        world.act(B);
    }
    let room = world.providers[B].room();
    assert!(room.in_flight.is_none() && room.queue.is_empty());
    assert!(
        world.providers[B]
            .notices
            .iter()
            .any(|text| text.contains("could not be added") && text.contains("no more users"))
    );
    assert!(!world.providers[B].joined.contains(&b2()), "who cannot be added is taken out of the portal");
}

#[test]
fn an_answer_that_will_never_come_is_told() {
    let mut world = two();
    world.say(&b1());
    work_off(&mut world, B);
    let digest = world.providers[B].room().submitted[0].hash;
    world.step(B, || Input::Answered { tag: Tag::Submit(digest), result: Err("refused for good".into()) });
    while !world.providers[B].lane.is_empty() {
        world.act(B);
    }
    assert!(world.providers[B].room().submitted.is_empty());
    assert!(
        world.providers[B]
            .notices
            .iter()
            .any(|text| text.contains("could not be delivered") && text.contains("for good"))
    );
}

#[test]
fn a_stale_room_says_nothing_before_the_leaf_is_fresh() {
    for who in [a1(), b1()] {
        let mut world = two();
        let at = world.at(&who.provider());
        world.providers[at].room.as_mut().unwrap().stale = true;
        let before = world.providers[A].group.epoch();
        world.say(&who);
        world.say(&who);
        world.settle();
        assert_eq!(world.providers[A].group.epoch(), before + 1, "one commit, then both messages");
        assert_eq!(world.accepted.len(), 2);
        super::model::check(&world, false);
    }
}

#[test]
fn a_leaf_of_ours_that_we_do_not_hold_breaks_the_room() {
    let mut world = two();
    // Somebody who holds the group's state joins as b2, a participant without leaf.
    world.bring(&b1(), &b2());
    world.settle();
    let mut rogue: FakeGroup = world.providers[A].group.clone();
    rogue.give_key_package(&b2());
    let staged = rogue.stage_join(&b2(), 0).unwrap();
    let commit = MlsMessage::decode(&staged.commit).unwrap();
    let timestamp = world.now;
    world.step(B, || {
        let content = FanoutContent::Commit { message: commit.clone(), external_proposals: Vec::new() };
        Input::Fanout(FanoutMessage { timestamp, content })
    });
    assert!(matches!(world.providers[B].phase(), Some(Phase::Broken(why)) if why.contains("b.test/u/u1")));
}

#[test]
fn the_hub_refuses_what_is_not_for_its_epoch_or_not_the_peers() {
    let mut world = two();
    let hub = world.providers[A].group.clone();
    let update = |group: &FakeGroup, by: &UserUri| {
        let staged = group.stage_now(by);
        HandshakeBundle::Commit(Box::new(CommitBundle {
            commit: MlsMessage::decode(&staged.commit).unwrap(),
            welcome: None,
            group_info: GroupInfoOption::Full(RawGroupInfo::from_bytes(staged.group_info).unwrap()),
            ratchet_tree: RatchetTreeOption::Full(RawRatchetTree::from_bytes(staged.ratchet_tree).unwrap()),
        }))
    };
    // As somebody else's user.
    let foreign = update(&hub, &a1());
    let peer = b1().provider();
    let answer = world.step(A, || Input::Update { peer: peer.clone(), bundle: foreign.clone() }).unwrap();
    assert_eq!(UpdateRoomResponse::decode(&answer).unwrap().outcome, UpdateOutcome::NotAllowed);
    // For an epoch that is over.
    let old = update(&world.providers[B].group, &b1());
    world.bring(&a1(), &user("u2@a"));
    work_off(&mut world, A);
    let current_epoch = world.providers[A].group.epoch();
    let answer = world.step(A, || Input::Update { peer: peer.clone(), bundle: old.clone() }).unwrap();
    assert_eq!(UpdateRoomResponse::decode(&answer).unwrap().outcome, UpdateOutcome::WrongEpoch { current_epoch });
    assert_eq!(world.providers[A].group.epoch(), current_epoch);
}

#[test]
fn transaction_ids_are_the_same_for_the_same_message() {
    // The same seed and the same people: every effect is the same (World::act checks what the id is made of).
    let run = || {
        let mut world = two();
        world.say(&b1());
        world.say(&a1());
        world.settle();
        (world.providers[A].timeline.clone(), world.providers[B].timeline.clone(), world.trace.clone())
    };
    assert_eq!(run(), run());
}

#[test]
fn accepted_timestamps_rise_even_if_the_clock_does_not() {
    let mut world = two();
    world.now += 10_000;
    world.say(&a1());
    world.settle();
    world.now -= 9_000;
    world.say(&a1());
    world.say(&b1());
    world.settle();
    let times: Vec<u64> = world.providers[A].log.iter().map(|(at, ..)| *at).collect();
    assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{times:?}");
}

#[test]
fn a_direct_chat_waits_for_the_other() {
    let mut world = World::new(5, &["a", "b"], &["u0@a"]);
    let people = vec![(a1(), policy::role::MEMBER), (b1(), policy::role::MEMBER)];
    let state = policy::initial(room_uri(), "", "", people, policy::Preset::Direct);
    world.providers[A].group = FakeGroup::create(&a1().provider(), &a1(), &state);
    world.providers[A].room.as_mut().unwrap().direct = true;
    world.invite(&a1(), &b1());
    world.say(&a1());
    world.settle();
    assert!(world.providers[A].log.is_empty() && !world.providers[A].ghosts.contains(&b1()));
    world.join(&b1());
    world.settle();
    world.say(&b1());
    world.settle();
    assert_eq!(world.providers[B].bodies(), ["u0 says 0!"]);
    assert_eq!(world.providers[A].bodies(), ["u0 says 1!"]);
    assert_eq!(world.providers[A].group.epoch(), world.providers[B].group.epoch());
}

#[test]
fn the_same_line_said_twice_in_one_moment_is_two_lines() {
    let mut world = World::new(29, &["a"], &["u0@a"]);
    world.settle();
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..2 {
        // Two steps that begin alike, in one millisecond.
        world.as_hub(|step| {
            step.notice("A message of @u0:a.test could not be delivered to the MIMI users: the chat is over.");
            let txn = step.out.iter().find_map(|effect| match effect {
                crate::room::Effect::Matrix(crate::room::effect::MatrixAction::Send { txn_id, .. }) => {
                    Some(txn_id.clone())
                }
                _ => None,
            });
            ids.insert(txn.unwrap());
        });
    }
    assert_eq!(ids.len(), 2, "the homeserver takes two of one id for one");
}
