//! Pictures of people, and when ghosts get them.

use super::{
    named::{a1, b1},
    provider::Mail,
    world::World,
};
use crate::{ident::UserUri, room::Input};

const A: usize = 0;
const B: usize = 1;

fn two() -> World {
    let mut world = World::new(7, &["a", "b"], &["u0@a", "u1@a"]);
    world.bring_remote(&a1(), &b1());
    world
}

/// In this world a picture is the place where it lies: a GIF, as its first bytes say.
fn gif(name: &str) -> String {
    format!("GIF89a {name}")
}

/// Somebody looks like something, and speaks.
fn speak(world: &mut World, user: &UserUri, place: Option<&str>) {
    let at = world.at(&user.provider());
    world.providers[at].room.as_mut().unwrap().looks(user, place);
    world.say(user);
}

fn looks(world: &World, at: usize) -> Vec<Option<&str>> {
    world.providers[at].looked.iter().map(|(_, place)| place.as_deref()).collect()
}

#[test]
fn pictures_follow_both_ways_and_are_told_when_they_change() {
    let mut world = two();
    let (alice, bob) = (gif("alice"), gif("bob"));
    for _ in 0..3 {
        speak(&mut world, &b1(), Some(&bob));
        speak(&mut world, &a1(), Some(&alice));
        world.settle();
    }
    assert_eq!((looks(&world, A), looks(&world, B)), (vec![Some(bob.as_str())], vec![Some(alice.as_str())]));
    // Who takes another one that cannot cross has none there.
    speak(&mut world, &a1(), Some("no picture"));
    world.settle();
    assert_eq!(looks(&world, B), [Some(alice.as_str()), None]);
}

#[test]
fn who_changes_all_the_time_is_shown_seldom_and_at_last_as_they_want() {
    let mut world = two();
    for number in 0..30 {
        speak(&mut world, &b1(), Some(&gif(&number.to_string())));
        for _ in 0..8 {
            world.tick();
        }
    }
    world.settle();
    let seen = &world.providers[A].looked;
    assert_eq!(seen.last().unwrap().1.as_deref(), Some(gif("29").as_str()));
    assert!(seen.len() <= 4, "thirty changes: {seen:?}");
    assert!(seen.windows(2).all(|two| two[1].0 - two[0].0 >= 30_000), "{seen:?}");
    // Taken back, also over a restart, which forgets when to look.
    speak(&mut world, &b1(), None);
    while world.providers[A].bodies().len() < 31 {
        world.tick();
    }
    world.forget_wakes();
    world.providers[A].inbox.push_back(Mail::Input(Input::Tick));
    world.settle();
    assert_eq!(looks(&world, A).last(), Some(&None));
}
