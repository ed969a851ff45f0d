//! Names of people, and when ghosts get them.

use super::{
    named::{a1, b1},
    world::World,
};
use crate::ident::UserUri;

const A: usize = 0;
const B: usize = 1;

fn two() -> World {
    let mut world = World::new(7, &["a", "b"], &["u0@a", "u1@a"]);
    world.bring_remote(&a1(), &b1());
    world
}

/// Somebody is called something, and speaks.
fn speak(world: &mut World, user: &UserUri, name: &str) {
    let at = world.at(&user.provider());
    world.providers[at].room.as_mut().unwrap().is_named(user, Some(name));
    world.say(user);
}

fn names(world: &World, at: usize) -> Vec<&str> {
    world.providers[at].called.iter().map(|(_, name)| name.as_str()).collect()
}

#[test]
fn names_follow_both_ways_and_are_written_when_they_change() {
    let mut world = two();
    for _ in 0..3 {
        speak(&mut world, &b1(), "Bob");
        speak(&mut world, &a1(), "Alice");
        world.settle();
    }
    assert_eq!((names(&world, A), names(&world, B)), (vec!["Bob (b.test)"], vec!["Alice (a.test)"]));
    // The name of the address is no news of who told none.
    let mut world = two();
    speak(&mut world, &b1(), "u0");
    world.settle();
    assert_eq!(names(&world, A), Vec::<&str>::new());
    super::model::check(&world, false);
}

#[test]
fn who_changes_all_the_time_is_named_seldom_and_at_last_as_they_want() {
    let mut world = two();
    for number in 0..30 {
        speak(&mut world, &b1(), &format!("Bob {number}"));
        for _ in 0..8 {
            world.tick();
        }
    }
    world.settle();
    let called = &world.providers[A].called;
    assert_eq!(called.last().unwrap().1, "Bob 29 (b.test)");
    assert!(called.len() <= 8, "thirty changes: {called:?}");
    assert!(called.windows(2).all(|two| two[1].0 - two[0].0 >= 10_000), "{called:?}");
    // Also over a restart, which forgets when to look.
    speak(&mut world, &b1(), "One");
    world.settle();
    speak(&mut world, &b1(), "Two");
    while world.providers[A].bodies().len() < 32 {
        world.tick();
    }
    world.forget_wakes();
    world.providers[A].inbox.push_back(super::provider::Mail::Input(crate::room::Input::Tick));
    world.settle();
    assert_eq!(names(&world, A).last(), Some(&"Two (b.test)"));
}

#[test]
fn two_of_one_provider_with_one_name_are_told_apart() {
    let mut world = two();
    world.bring_remote(&a1(), &super::named::b2());
    for (user, name) in [(b1(), "Bob"), (super::named::b2(), "bob"), (a1(), "Bob")] {
        speak(&mut world, &user, name);
        world.settle();
    }
    // Whoever had it first, too, once they may be named again.
    assert_eq!(names(&world, A), ["Bob (b.test)", "bob (u1, b.test)", "Bob (u0, b.test)"]);
    assert_eq!(names(&world, B), ["Bob (a.test)"]);
    // So is who takes the name that is in another's address.
    speak(&mut world, &b1(), "U1");
    world.settle();
    assert_eq!(names(&world, A).last(), Some(&"U1 (u0, b.test)"));
    // And names that look like others'.
    for name in ["Carol", "C\u{430}r\u{200d}ol"] {
        let user = if name == "Carol" { b1() } else { super::named::b2() };
        speak(&mut world, &user, name);
        world.settle();
    }
    let named = names(&world, A);
    let last = ["Carol (b.test)", "C\u{430}r\u{200d}ol (u1, b.test)", "Carol (u0, b.test)"];
    assert_eq!(named.get(named.len() - 3..), Some(last.as_slice()));
}

#[test]
fn who_is_called_like_somebody_that_comes_in_later_is_told_apart() {
    let mut world = two();
    speak(&mut world, &b1(), "u1");
    world.settle();
    assert_eq!(names(&world, A), ["u1 (b.test)"]);
    world.bring_remote(&a1(), &super::named::b2());
    world.settle();
    assert_eq!(names(&world, A), ["u1 (b.test)", "u1 (u0, b.test)"]);
    // Nobody makes others change their names again and again.
    for name in ["Bob", "u1", "Bob", "u1"] {
        speak(&mut world, &super::named::b2(), name);
        world.settle();
    }
    let of_first = names(&world, A).into_iter().filter(|name| name.contains("u0")).count();
    assert_eq!(of_first, 1, "{:?}", world.providers[A].called);
}
