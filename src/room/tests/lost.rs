//! Rooms that lost their way, and first speakers who share a commit.

use super::{fakes::user, provider::Row, world::World};
use crate::{
    ident::UserUri,
    room::{
        GroupInfoAnswer, Input, Phase, Tag,
        group::Group,
        state::{InFlight, RejoinStage},
    },
    wire::{FanoutContent, FanoutMessage, MlsMessage, UpdateOutcome, UpdateRoomResponse, Wire},
};

const A: usize = 0;
const B: usize = 1;

fn a1() -> UserUri {
    user("u0@a")
}
fn b1() -> UserUri {
    user("u0@b")
}

fn two() -> World {
    let mut world = World::new(1, &["a", "b"], &["u0@a", "u1@a"]);
    world.bring_remote(&a1(), &b1());
    world
}

fn work_off(world: &mut World, at: usize) {
    while !world.providers[at].inbox.is_empty() {
        world.work(at);
    }
}

/// The hub gives up on the next change, and B hears of the one after it.
fn lose(world: &mut World) {
    let hub = &mut world.providers[A].group;
    let first = hub.stage_now(&a1());
    hub.accept(&first, 0).unwrap();
    let second = MlsMessage::decode(&hub.stage_now(&a1()).commit).unwrap();
    let timestamp = world.now;
    world.step(B, || {
        let content = FanoutContent::Commit { message: second.clone(), external_proposals: Vec::new() };
        Input::Fanout(FanoutMessage { timestamp, content })
    });
}

fn asked(world: &World) -> usize {
    world
        .lanes
        .get(&(B, A))
        .map_or(0, |lane| lane.rows.iter().filter(|row| matches!(row, Row::GroupInfo { .. })).count())
}

fn given(world: &World) -> Input {
    Input::GroupInfo { user: b1(), answer: GroupInfoAnswer::Given(world.providers[A].group.group_info()) }
}

/// The hub's answer to the commit that B has sent.
fn answer(world: &mut World, outcome: UpdateOutcome) {
    let digest = world.providers[B].room().awaiting.unwrap();
    let body = UpdateRoomResponse::from(outcome).encode();
    world.step(B, || Input::Answered { tag: Tag::Update(digest), result: Ok(body.clone()) });
}

#[test]
fn a_room_that_missed_a_commit_comes_back_and_says_so_once() {
    let mut world = two();
    world.say(&b1());
    world.settle();
    lose(&mut world);
    world.say(&b1());
    work_off(&mut world, B);
    assert_eq!(world.providers[B].room().rejoin.as_ref().unwrap().stage, RejoinStage::Asking);
    assert_eq!((asked(&world), world.providers[B].room().queue.len()), (1, 1));
    world.settle();
    assert_eq!(world.providers[A].bodies(), ["u0 says 0!", "u0 says 1!"]);
    assert_eq!(world.providers[A].group.shared, world.providers[B].group.shared);
    let told = world.providers[B].notices.iter().filter(|text| text.contains("is connected again")).count();
    assert_eq!(told, 1);
    super::model::check(&world, false);
}

#[test]
fn tries_that_lose_the_race_come_at_growing_intervals_and_one_at_a_time() {
    let mut world = two();
    lose(&mut world);
    let mut waits = Vec::new();
    for _ in 0..9 {
        let epoch = world.providers[A].group.epoch();
        let answered = world.providers[A].group.group_info();
        world.step(B, || Input::GroupInfo { user: b1(), answer: GroupInfoAnswer::Given(answered.clone()) });
        // The same answer once more changes nothing: a commit is under way.
        let sent = world.providers[B].room().in_flight.clone();
        assert!(matches!(sent, Some(InFlight::Commit { merged: true, .. })));
        world.step(B, || given_again(&answered));
        assert_eq!(world.providers[B].room().in_flight, sent);
        answer(&mut world, UpdateOutcome::WrongEpoch { current_epoch: epoch + 1 });
        let hub = &mut world.providers[A].group;
        let next = hub.stage_now(&a1());
        hub.accept(&next, 0).unwrap();
        if let RejoinStage::Waiting(at) = world.providers[B].room().rejoin.as_ref().unwrap().stage {
            waits.push(at - world.now);
            let before = asked(&world);
            world.step(B, || Input::Tick);
            // A step takes up to a second: the first wait may be over by then.
            let due = usize::from(world.now >= at);
            assert_eq!(asked(&world), before + due, "it does not ask before its time");
            world.now = at;
            world.step(B, || Input::Tick);
            assert_eq!(asked(&world), before + 1);
        }
    }
    assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16000]);
    assert!(world.providers[B].notices.is_empty() || world.providers[B].notices.len() == 1);
    // The next one is taken.
    let answered = world.providers[A].group.group_info();
    world.step(B, || given_again(&answered));
    answer(&mut world, UpdateOutcome::Success { accepted_timestamp: 1 });
    assert_eq!(world.providers[B].room().rejoin, None);
    assert_eq!(world.providers[B].phase(), Some(&Phase::Active));
}

fn given_again(info: &crate::room::group::GroupInfo) -> Input {
    Input::GroupInfo { user: b1(), answer: GroupInfoAnswer::Given(info.clone()) }
}

#[test]
fn a_hub_that_refuses_for_good_ends_it_with_a_sentence() {
    let mut world = two();
    lose(&mut world);
    world.say(&b1());
    work_off(&mut world, B);
    let refused = || GroupInfoAnswer::Refused("no participant".to_owned());
    world.step(B, || Input::GroupInfo { user: b1(), answer: refused() });
    assert!(matches!(world.providers[B].phase(), Some(Phase::Broken(why)) if why.contains("no participant")));
    assert!(!world.providers[B].group.is_member());
    while !world.providers[B].lane.is_empty() {
        world.act(B);
    }
    let notices = &world.providers[B].notices;
    assert!(notices.iter().any(|text| text.contains("could not be delivered")), "{notices:?}");
    assert!(notices.iter().any(|text| text.contains("to invite you again")), "{notices:?}");
}

#[test]
fn a_hub_that_went_back_in_time_is_not_followed() {
    let mut world = two();
    let old = given(&world);
    let Input::GroupInfo { answer: GroupInfoAnswer::Given(old), .. } = old else { panic!() };
    world.bring(&a1(), &user("u2@a"));
    world.settle();
    lose(&mut world);
    world.step(B, || given_again(&old));
    assert!(matches!(world.providers[B].phase(), Some(Phase::Broken(why)) if why.contains("back in time")));
}
