//! Direct chats: who leaves is gone on the other side, and no message is lost without a word.

use serde_json::json;

use super::{
    fake_group::FakeGroup,
    fakes::{room_uri, user},
    world::World,
};
use crate::{
    ident::UserUri,
    policy,
    room::{Input, Names as _, Phase, effect::Actor, group::Group},
};

const A: usize = 0;
const B: usize = 1;

fn a1() -> UserUri {
    user("u0@a")
}
fn b1() -> UserUri {
    user("v0@b")
}

/// A1 began a direct chat with B1, who has not answered. B1's ghost speaks for the gateway at A.
fn begun(seed: u64) -> World {
    let mut world = World::new(seed, &["a", "b"], &["u0@a"]);
    let people = vec![(a1(), policy::role::MEMBER), (b1(), policy::role::MEMBER)];
    let state = policy::initial(room_uri(), "", "", people, policy::Preset::Direct);
    world.providers[A].group = FakeGroup::create(&a1().provider(), &a1(), &state);
    let room = world.providers[A].room.as_mut().unwrap();
    room.direct = true;
    room.speaker = Actor::Ghost(b1());
    world.invite(&a1(), &b1());
    world
}

fn chat(seed: u64) -> World {
    let mut world = begun(seed);
    world.settle();
    world.join(&b1());
    world.settle();
    world
}

/// Every message was shown on the other side, or its sender's side has a word about it. If both left, nobody is there whom
/// what was on its way then could reach, nor who could be told.
fn nothing_is_lost(world: &World, seed: u64) {
    if world.providers.iter().all(|provider| provider.joined.is_empty()) {
        return;
    }
    for said in &world.said {
        let at = world.at(&said.by.provider());
        let shown = world.providers[1 - at].bodies().iter().filter(|body| **body == said.body).count();
        let answered = world.providers[at].reports.iter().any(|text| text.starts_with(said.event.as_str()));
        assert!(shown == 1 || shown == 0 && answered, "seed {seed}: {said:?}\n{}", world.trace.join("\n"));
    }
}

#[test]
fn whoever_leaves_is_gone_and_what_is_written_then_is_answered() {
    for (leaver, stays) in [(a1(), b1()), (b1(), a1())] {
        let mut world = chat(3);
        world.say(&a1());
        world.say(&b1());
        world.settle();
        world.leave(&leaver);
        world.settle();
        let there = world.of(&stays);
        assert!(there.ghosts.is_empty() && there.joined.contains(&stays));
        assert_eq!(there.phase(), Some(&Phase::Left));
        let left = there.notices.iter().filter(|text| text.contains("left this chat")).count();
        assert_eq!(left, 1, "{:?}", there.notices);
        world.say(&stays);
        world.say(&stays);
        world.settle();
        let there = world.of(&stays);
        let answers = there.notices.iter().filter(|text| text.starts_with("This was not delivered")).count();
        assert_eq!(answers, 2, "{:?}", there.notices);
        assert_eq!(world.of(&leaver).phase(), Some(&Phase::Left));
        assert!(world.of(&leaver).ghosts.is_empty());
        nothing_is_lost(&world, 3);
    }
}

#[test]
fn the_list_stays_as_it_was_and_the_clients_go() {
    let mut world = chat(4);
    world.leave(&b1());
    world.settle();
    assert_eq!(world.participants(A).len(), 2);
    assert!(!world.providers[A].group.in_group(&b1()) && world.providers[A].group.in_group(&a1()));
}

#[test]
fn before_its_ghost_came_the_gateway_keeps_its_words() {
    let mut world = begun(5);
    world.as_hub(|step| step.notice("later"));
    world.settle();
    assert!(world.providers[A].notices.is_empty());
    world.join(&b1());
    world.settle();
    let notices = &world.providers[A].notices;
    assert!(notices.iter().all(|text| text.starts_with("[MIMI gateway, not v0] ")), "{notices:?}");
    assert!(notices.iter().any(|text| text.ends_with("later")), "{notices:?}");
}

#[test]
fn an_invitation_that_is_taken_back_after_the_yes_is_no_chat() {
    let mut world = begun(6);
    world.settle();
    // B1 says yes and A1 takes it back at once.
    world.join(&b1());
    world.work(B);
    world.leave(&a1());
    world.settle();
    world.say(&b1());
    world.settle();
    assert_eq!(world.providers[A].phase(), Some(&Phase::Left));
    assert_eq!(world.providers[B].phase(), Some(&Phase::Left));
    let told = |text: &str| world.providers[B].notices.iter().filter(|notice| notice.contains(text)).count();
    assert_eq!(told("took the invitation back") + told("left this chat"), 1, "{:?}", world.providers[B].notices);
    nothing_is_lost(&world, 6);
}

#[test]
fn who_ends_it_before_they_are_in_it_leaves_when_they_are() {
    let mut world = begun(9);
    world.settle();
    world.join(&b1());
    world.work(B);
    world.say(&b1());
    let sender = world.providers[B].names.matrix_id(&b1()).unwrap();
    let said = json!({ "msgtype": "m.text", "body": "!mimi unbridge" });
    world.event(B, &sender, "m.room.message", None, said);
    world.work(B);
    world.work(B);
    assert_eq!(world.providers[B].phase(), Some(&Phase::Invited));
    world.settle();
    // What was said before came, and A1 is not left in a chat with nobody.
    assert_eq!(world.providers[A].bodies(), ["v0 says 0!"]);
    assert!(!world.providers[A].group.in_group(&b1()));
    assert_eq!(world.providers.iter().map(|p| p.phase()).collect::<Vec<_>>(), [Some(&Phase::Left); 2]);
    let told = world.providers[A].notices.iter().filter(|text| text.contains("left this chat")).count();
    assert_eq!(told, 1, "{:?}", world.providers[A].notices);
    world.say(&a1());
    world.settle();
    nothing_is_lost(&world, 9);
}

/// How many of A1's messages A1's side says were not delivered because the other one is not there.
fn refused(world: &World) -> usize {
    world.providers[A].reports.iter().filter(|text| text.ends_with("the other one is not in this chat")).count()
}

#[test]
fn what_is_written_to_one_who_said_no_is_not_taken_for_sent() {
    for speaker in [Actor::Bot, Actor::Ghost(b1())] {
        let mut world = begun(7);
        world.providers[A].room.as_mut().unwrap().speaker = speaker.clone();
        world.settle();
        world.say(&a1());
        world.settle();
        assert_eq!(refused(&world), 0, "it waits");
        world.step(A, || Input::Revoked { requester: a1(), target: b1() });
        assert_eq!(refused(&world), 1, "what waited");
        world.say(&a1());
        world.settle();
        assert_eq!(refused(&world), 2, "and what comes then");
        assert!(world.providers[A].log.is_empty(), "nothing counts as sent");
        if speaker == Actor::Bot {
            let told = |text: &&String| text.contains("could not be delivered");
            assert_eq!(world.providers[A].notices.iter().filter(told).count(), 2);
        }
        nothing_is_lost(&world, 7);
    }
}

#[test]
fn what_is_written_after_the_invitation_was_taken_back_is_not_taken_for_sent() {
    let mut world = begun(8);
    world.settle();
    world.say(&a1());
    world.settle();
    world.kick(&a1(), &b1());
    world.say(&a1());
    world.settle();
    assert_eq!((refused(&world), world.providers[A].log.len()), (2, 0));
    // Asked once more they come; A1 hears what they did not get, and what is said from then on arrives.
    world.invite(&a1(), &b1());
    let third = world.say(&a1());
    world.settle();
    assert_eq!(refused(&world), 2, "{third} waits");
    world.join(&b1());
    world.settle();
    assert_eq!(world.providers[B].bodies(), ["u0 says 2!"]);
    let told = |text: &&String| text.contains("could not be delivered");
    assert_eq!(world.providers[A].notices.iter().filter(told).count(), 2, "{:?}", world.providers[A].notices);
    nothing_is_lost(&world, 8);
}

/// Both write, one or both leave, at any moment, over lanes that lose: it is over for both, and nothing is lost silently.
#[test]
fn model_of_chats_that_end() {
    let runs = std::env::var("ROOM_MODEL_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(200);
    for seed in 0..runs {
        let mut world = chat(seed);
        world.tracing = std::env::var_os("ROOM_MODEL_TRACE").is_some();
        world.loss = 25;
        let mut here = vec![a1(), b1()];
        for _ in 0..world.rng.below(30) {
            for _ in 0..world.rng.below(6) {
                world.tick();
            }
            if let Some(who) = world.rng.pick(here.clone()) {
                if world.rng.percent(15) {
                    world.leave(&who);
                    here.retain(|other| *other != who);
                } else {
                    world.say(&who);
                }
            }
        }
        for who in here {
            if world.rng.percent(70) {
                world.leave(&who);
            }
        }
        let left = world.providers.iter().any(|provider| provider.joined.is_empty());
        world.settle();
        if left {
            for (at, provider) in world.providers.iter().enumerate() {
                let context = || format!("seed {seed}, {at}\n{}", world.trace.join("\n"));
                assert_eq!(provider.phase(), Some(&Phase::Left), "{}", context());
                assert!(provider.ghosts.is_empty(), "{}", context());
                let room = provider.room();
                assert!(
                    room.queue.is_empty() && room.in_flight.is_none() && room.submitted.is_empty(),
                    "{}",
                    context()
                );
            }
        }
        nothing_is_lost(&world, seed);
    }
}
