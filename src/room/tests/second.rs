//! Who acts a second time before the first is done: bans and lifts it, removes and invites, without waiting for the hub.

use super::{
    bans::{give, give_now},
    fakes::user,
    model::check,
    named::{a1, a2, b1, b2, c1, three},
    provider::Mail,
    world::World,
};
use crate::{
    ident::UserUri,
    policy::role,
    room::{Intent, Phase, group::Group, state::InFlight},
};

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;

/// As below; nobody but the first of each said anything.
fn silent() -> World {
    let mut world = three();
    world.bring(&b1(), &b2());
    world.settle();
    give(&mut world, &b1(), role::MODERATOR);
    world
}

/// A hosts with two users; B and C follow, B with two users, of whom B1 is a moderator.
fn moderated() -> World {
    let mut world = silent();
    // So that they have clients.
    for who in [a2(), b2(), c1()] {
        world.say(&who);
        world.settle();
    }
    world
}

/// When the second act comes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum When {
    /// The commit of the first is on its way.
    InFlight,
    /// It waits for the answer to a message.
    Waiting,
    /// It is on its way, and the hub takes another one first.
    Overtaken,
    /// As that, and others hear of both before whoever acted does.
    Slow,
}

const ALWAYS: [When; 4] = [When::InFlight, When::Waiting, When::Overtaken, When::Slow];

/// B1 does two things, the second at this moment of the first; then all goes its way.
fn twice(world: &mut World, when: When, first: impl FnOnce(&mut World), second: impl FnOnce(&mut World)) {
    if when == When::Waiting {
        world.say(&b1());
        world.work(B);
        assert_eq!(world.providers[B].room().submitted.len(), 1, "a message waits for its answer");
    }
    if matches!(when, When::Overtaken | When::Slow) {
        world.rename(&a1(), "Another name");
        world.work(A);
    }
    first(world);
    while !world.providers[B].inbox.is_empty() {
        world.work(B);
    }
    let sent = matches!(world.providers[B].room().in_flight, Some(InFlight::Commit { .. }));
    assert_eq!(sent, when != When::Waiting, "{when:?}");
    second(world);
    while !world.providers[B].inbox.is_empty() {
        world.work(B);
    }
    world.settle();
}

fn role_of(world: &World, who: &UserUri) -> Option<u32> {
    world.providers[A].group.state().unwrap().role_of(who)
}

fn is_nowhere(world: &World, who: &UserUri) {
    assert_eq!(role_of(world, who), None);
    for p in &world.providers {
        assert!(!p.group.in_group(who), "{} reads on", p.names.0);
        assert!(!p.joined.contains(who) && !p.ghosts.contains(who), "{}", p.names.0);
        assert!(!p.shut.contains(who) && !p.banned.contains(who), "{}: banned after that was lifted", p.names.0);
        assert!(!p.room().banned.contains(who) && !p.room().shut.contains(who), "{}", p.names.0);
        assert!(!p.notices.iter().any(|text| text.contains("could not be")), "{:?}", p.notices);
    }
}

#[test]
fn who_of_ours_is_banned_and_freed_at_once_is_out_and_can_come_back() {
    for when in ALWAYS {
        let mut world = moderated();
        twice(&mut world, when, |w| w.ban(&b1(), &b2()), |w| w.unban(&b1(), &b2()));
        is_nowhere(&world, &b2());
        world.bring(&b1(), &b2());
        world.settle();
        assert_eq!(role_of(&world, &b2()), Some(role::MEMBER), "{when:?}");
        assert!(world.providers[A].ghosts.contains(&b2()));
        check(&world, true);
    }
}

#[test]
fn who_of_ours_comes_back_before_the_ban_is_done_stays() {
    for when in ALWAYS {
        let mut world = moderated();
        let second = |w: &mut World| {
            w.unban(&b1(), &b2());
            w.bring(&b1(), &b2());
        };
        twice(&mut world, when, |w| w.ban(&b1(), &b2()), second);
        assert!(world.providers[B].joined.contains(&b2()), "{when:?}: put out after all");
        assert_eq!(role_of(&world, &b2()), Some(role::MEMBER), "{when:?}");
        world.say(&b2());
        world.settle();
        assert!(world.providers[A].bodies().last().unwrap().starts_with("u1 says"));
        check(&world, true);
    }
}

#[test]
fn a_ghost_that_is_banned_and_freed_at_once_stands_for_nobody_who_reads() {
    for when in ALWAYS {
        for who in [a2(), c1()] {
            let mut world = moderated();
            twice(&mut world, when, |w| w.ban(&b1(), &who), |w| w.unban(&b1(), &who));
            if who == a2() {
                is_nowhere(&world, &who);
            } else {
                // Their provider has nobody in the room any more.
                assert_eq!(role_of(&world, &who), None);
                assert!(world.providers[..2].iter().all(|p| !p.group.in_group(&who) && !p.ghosts.contains(&who)));
                assert!(!world.providers[C].joined.contains(&who), "{when:?}");
            }
            world.bring_remote(&b1(), &who);
            assert_eq!(role_of(&world, &who), Some(role::MEMBER), "{when:?}");
            assert!(world.providers[B].ghosts.contains(&who));
            check(&world, true);
        }
    }
}

#[test]
fn a_ghost_that_is_freed_and_invited_at_once_is_asked() {
    for when in ALWAYS {
        for who in [a2(), c1()] {
            let mut world = moderated();
            let second = |w: &mut World| {
                w.unban(&b1(), &who);
                w.invite(&b1(), &who);
            };
            twice(&mut world, when, |w| w.ban(&b1(), &who), second);
            comes_back(&mut world, &who, when);
        }
    }
}

#[test]
fn a_ghost_that_is_removed_and_invited_at_once_is_asked() {
    for when in ALWAYS {
        for who in [a2(), c1()] {
            let mut world = moderated();
            twice(&mut world, when, |w| w.kick(&b1(), &who), |w| w.invite(&b1(), &who));
            comes_back(&mut world, &who, when);
        }
    }
}

#[test]
fn who_has_no_client_yet_is_asked_as_well() {
    for when in ALWAYS {
        for bans in [false, true] {
            let mut world = silent();
            assert!(!world.providers[A].group.in_group(&a2()));
            let first = |w: &mut World| if bans { w.ban(&b1(), &a2()) } else { w.kick(&b1(), &a2()) };
            let second = |w: &mut World| {
                if bans {
                    w.unban(&b1(), &a2());
                }
                w.invite(&b1(), &a2());
            };
            twice(&mut world, when, first, second);
            comes_back(&mut world, &a2(), when);
        }
    }
}

#[test]
fn who_is_banned_before_they_are_in_is_not_added_for_what_they_said() {
    let (mut world, b3) = (moderated(), user("u2@b"));
    world.say(&b1());
    world.work(B);
    world.bring(&b1(), &b3);
    world.say(&b3);
    world.kick(&b1(), &b3);
    while !world.providers[B].inbox.is_empty() {
        world.work(B);
    }
    assert!(world.providers[B].room().queue.iter().any(|intent| matches!(intent, Intent::Say { .. })), "it waits");
    world.ban(&b1(), &b3);
    world.settle();
    let b = &world.providers[B];
    assert_eq!(role_of(&world, &b3), Some(role::BANNED));
    let told: Vec<_> = b.notices.iter().filter(|text| text.contains("could not be")).collect();
    assert!(told.len() <= 2, "{} times", told.len());
    check(&world, true);
}

/// The invitation stands in both Matrix rooms, and is accepted.
fn comes_back(world: &mut World, who: &UserUri, when: When) {
    assert_eq!(role_of(world, who), None, "{when:?}: asked, and not in");
    assert!(world.providers[B].awaited.contains(who), "{when:?}: the ghost of {who} declined");
    assert!(world.of(who).invited.contains(who), "{when:?}: {who} was not asked");
    world.join(who);
    world.settle();
    assert_eq!(role_of(world, who), Some(role::MEMBER), "{when:?}");
    assert!(world.providers[B].ghosts.contains(who));
    check(world, true);
}

#[test]
fn who_is_removed_and_invited_here_and_banned_elsewhere_is_not_invited_again() {
    for who in [a2(), c1()] {
        let mut world = moderated();
        world.ban(&a1(), &who);
        world.work(A);
        world.kick(&b1(), &who);
        world.invite(&b1(), &who);
        world.settle();
        assert_eq!(role_of(&world, &who), Some(role::BANNED));
        let b = &world.providers[B];
        assert!(b.shut.contains(&who) && !b.awaited.contains(&who) && !b.ghosts.contains(&who), "{who}");
        check(&world, true);
    }
}

#[test]
fn who_is_removed_invited_and_removed_again_is_not_asked() {
    for when in ALWAYS {
        let mut world = moderated();
        let second = |w: &mut World| {
            w.invite(&b1(), &a2());
            w.kick(&b1(), &a2());
        };
        twice(&mut world, when, |w| w.kick(&b1(), &a2()), second);
        is_nowhere(&world, &a2());
        assert!(!world.providers[A].invited.contains(&a2()), "{when:?}");
        check(&world, true);
    }
}

#[test]
fn a_second_ban_counts_while_the_end_of_the_first_is_on_its_way() {
    for when in ALWAYS {
        for who in [a2(), b2()] {
            let mut world = moderated();
            world.ban(&b1(), &who);
            world.settle();
            twice(&mut world, when, |w| w.unban(&b1(), &who), |w| w.ban(&b1(), &who));
            assert_eq!(role_of(&world, &who), Some(role::BANNED), "{when:?} {who}");
            assert!(world.providers[B].banned.contains(&who), "{when:?} {who}: the ban is lifted here");
            check(&world, true);
        }
    }
}

#[test]
fn a_third_act_counts_too() {
    for when in ALWAYS {
        for who in [a2(), b2()] {
            let mut world = moderated();
            let second = |w: &mut World| {
                w.unban(&b1(), &who);
                w.ban(&b1(), &who);
            };
            twice(&mut world, when, |w| w.ban(&b1(), &who), second);
            assert_eq!(role_of(&world, &who), Some(role::BANNED), "{when:?} {who}");
            let p = &world.providers[B];
            assert!(p.banned.contains(&who) && !p.ghosts.contains(&who) && !p.joined.contains(&who), "{when:?} {who}");
            check(&world, true);
            world.unban(&b1(), &who);
            world.settle();
            is_nowhere(&world, &who);
        }
    }
}

#[test]
fn a_removal_that_the_hub_refuses_brings_back_whom_somebody_freed() {
    for invites in [false, true] {
        let mut world = moderated();
        world.ban(&b1(), &a2());
        world.work(B);
        assert!(world.providers[B].room().in_flight.is_some());
        // B1 is no moderator any more before the hub hears of it.
        give_now(&mut world, &b1(), role::MEMBER);
        world.unban(&b1(), &a2());
        world.work(B);
        if invites {
            world.invite(&b1(), &a2());
            world.work(B);
        }
        world.settle();
        assert_eq!(role_of(&world, &b1()), Some(role::MEMBER));
        assert!(world.participants(A).contains(&a2()) && world.providers[A].joined.contains(&a2()));
        let b = &world.providers[B];
        assert!(b.ghosts.contains(&a2()) && b.room().banned.is_empty(), "they read on unseen");
        let told: Vec<_> = b.notices.iter().filter(|text| text.contains("could not be")).collect();
        assert!(told.len() == 1 && told[0].starts_with("u1 could not be removed"), "{told:?}");
        check(&world, false);
    }
}

/// Everything that waits for the hub's room comes in one transaction: nothing is worked off before the last of it.
fn in_one(world: &mut World) {
    let mut inputs = Vec::new();
    while let Some(Mail::Input(input)) = world.providers[A].inbox.pop_front() {
        inputs.push(input);
    }
    let last = inputs.len() - 1;
    world.as_hub(|step| {
        for (at, input) in inputs.into_iter().enumerate() {
            step.more = at < last;
            step.run(input);
        }
    });
    assert!(!world.providers[A].room().queue.iter().any(|intent| intent.member().is_some()));
    world.settle();
}

#[test]
fn at_the_hub_two_acts_of_one_moment_are_no_other() {
    for who in [a2(), b2(), c1()] {
        let mut world = moderated();
        world.ban(&a1(), &who);
        world.unban(&a1(), &who);
        in_one(&mut world);
        assert_eq!(role_of(&world, &who), None, "{who}");
        assert!(!world.providers[A].group.in_group(&who) && !world.of(&who).joined.contains(&who), "{who} reads on");
        assert!(world.providers.iter().all(|p| p.shut.is_empty() && !p.ghosts.contains(&who)));
        check(&world, true);
        // Freed, and banned again.
        world.ban(&a1(), &who);
        world.settle();
        world.unban(&a1(), &who);
        world.ban(&a1(), &who);
        in_one(&mut world);
        assert_eq!(role_of(&world, &who), Some(role::BANNED), "{who}");
        assert!(world.providers[A].banned.contains(&who));
    }
    for who in [b2(), c1()] {
        let mut world = moderated();
        world.kick(&a1(), &who);
        world.invite(&a1(), &who);
        in_one(&mut world);
        assert!(world.providers[A].awaited.contains(&who) && world.of(&who).invited.contains(&who), "{who}");
        world.join(&who);
        world.settle();
        assert!(world.participants(A).contains(&who) && world.providers[A].ghosts.contains(&who));
        check(&world, true);
    }
}

#[test]
fn who_is_asked_before_their_provider_hears_that_they_were_removed_is_asked_then() {
    for last in [false, true] {
        let mut world = moderated();
        let c2 = user("u1@c");
        if !last {
            world.bring(&c1(), &c2);
            world.settle();
        }
        world.kick(&b1(), &c1());
        world.work(B);
        // The hub's word to C is slow.
        while world.participants(B).contains(&c1()) {
            if world.lanes.get(&(B, A)).is_some_and(|lane| !lane.waiting && !lane.rows.is_empty()) {
                world.send(B, A);
            }
            world.work(A);
            world.work(B);
        }
        world.invite(&b1(), &c1());
        world.work(B);
        world.send(B, C);
        world.work(C);
        assert!(world.participants(C).contains(&c1()), "C has heard of it already");
        world.settle();
        assert!(world.providers[C].invited.contains(&c1()), "{last}: not asked");
        world.join(&c1());
        world.settle();
        assert!(world.participants(A).contains(&c1()) && world.providers[B].ghosts.contains(&c1()));
        assert_eq!(world.providers[C].phase(), Some(&Phase::Active));
        check(&world, true);
    }
}

#[test]
fn who_is_asked_and_is_in_hears_of_it_only_if_the_question_stands() {
    let mut world = moderated();
    let asked = || crate::room::Input::Asked {
        requester: b1(),
        target: c1(),
        about: crate::room::About::default(),
        standing: false,
    };
    world.step(C, asked);
    world.step(C, || crate::room::Input::AskCancelled { requester: b1(), target: c1() });
    world.settle();
    assert!(world.providers[C].joined.contains(&c1()), "put out");
    world.kick(&a1(), &c1());
    world.settle();
    assert!(!world.providers[C].invited.contains(&c1()) && !world.providers[C].joined.contains(&c1()));
    assert!(!world.providers[A].room().queue.iter().any(|intent| matches!(intent, Intent::Ask { .. })));
}
