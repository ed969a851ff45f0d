//! Name and topic of the Matrix room and of the MIMI room.

use super::{
    fakes::user,
    named::{a1, a2, b1},
    world::World,
};
use crate::room::group::Group;

const A: usize = 0;
const B: usize = 1;

fn two() -> World {
    let mut world = World::new(31, &["a", "b"], &["u0@a", "u1@a"]);
    world.bring_remote(&a1(), &b1());
    world
}

fn mimi(world: &World, at: usize) -> String {
    world.providers[at].group.state().unwrap().metadata.name.clone()
}

fn is_called(world: &World, name: &str) {
    for at in [A, B] {
        assert_eq!((world.called(at).as_str(), mimi(world, at).as_str()), (name, name), "provider {at}");
    }
}

#[test]
fn a_rename_of_the_admin_reaches_the_other_side() {
    let mut world = two();
    is_called(&world, "Club");
    world.rename(&a1(), "Chess club");
    world.settle();
    is_called(&world, "Chess club");
    let epoch = world.providers[A].group.epoch();
    world.settle();
    assert_eq!(world.providers[A].group.epoch(), epoch, "said once");
}

#[test]
fn a_rename_that_mimi_does_not_allow_is_undone_and_explained_once() {
    let mut world = two();
    for (at, who) in [(A, a2()), (B, b1())] {
        world.rename(&who, "Mine");
        world.settle();
        is_called(&world, "Club");
        let told: Vec<_> = world.providers[at].notices.iter().filter(|text| text.contains("put back here")).collect();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("role"), "{told:?}");
    }
}

#[test]
fn whoever_insists_is_let_be_until_something_changes() {
    let mut world = two();
    for number in 0..6 {
        world.rename(&b1(), &format!("Insisting {number}"));
        world.settle();
    }
    assert_eq!(world.called(B), "Insisting 5", "let be");
    assert_eq!(mimi(&world, B), "Club");
    let notices = &world.providers[B].notices;
    assert_eq!(notices.iter().filter(|text| text.contains("put back here")).count(), 3, "{notices:?}");
    assert_eq!(notices.iter().filter(|text| text.contains("again and again")).count(), 1, "{notices:?}");
    assert_eq!(world.providers[B].room().differs_in(), ["name"]);
    // What MIMI says next is written.
    world.rename(&a1(), "Chess club");
    world.settle();
    is_called(&world, "Chess club");
    assert!(world.providers[B].room().differs_in().is_empty());
}

#[test]
fn that_levels_differ_is_known_as_long_as_it_lasts() {
    let mut world = two();
    let agreed = world.providers[B].set["m.room.power_levels"].content.clone();
    for number in 0..5 {
        let mut bent = agreed.clone();
        bent["ban"] = serde_json::json!(number);
        world.set_levels(&b1(), bent);
        world.settle();
        let differs = world.providers[B].room().differs_in();
        assert_eq!(differs.is_empty(), number < 3, "{number}: {differs:?}");
    }
    assert_eq!(world.providers[B].room().differs_in(), ["power levels"]);
    world.set_levels(&b1(), agreed);
    world.settle();
    assert!(world.providers[B].room().differs_in().is_empty());
}

#[test]
fn both_sides_at_once_end_with_the_hubs_word() {
    for seed in 0..40 {
        let mut world = two();
        world.rng.0 = seed;
        super::bans::give(&mut world, &b1(), crate::policy::role::MODERATOR);
        world.rename(&b1(), "From B");
        for _ in 0..seed % 8 {
            world.tick();
        }
        world.rename(&a1(), "From A");
        world.settle();
        let name = mimi(&world, A);
        assert!(name == "From A" || name == "From B");
        is_called(&world, &name);
        assert!(world.providers.iter().all(|p| !p.notices.iter().any(|text| text.contains("put back"))));
    }
}

#[test]
fn who_renames_and_leaves_has_renamed() {
    let mut world = two();
    world.bring(&a1(), &user("u2@a"));
    super::bans::give(&mut world, &a2(), crate::policy::role::ADMIN);
    world.rename(&a2(), "A legacy");
    world.leave(&a2());
    world.settle();
    is_called(&world, "A legacy");
}

#[test]
fn a_name_given_before_we_are_in_does_not_count() {
    let mut world = World::new(32, &["a", "b"], &["u0@a"]);
    world.invite(&a1(), &b1());
    world.settle();
    world.join(&b1());
    world.work(B);
    world.rename(&b1(), "Early");
    world.settle();
    is_called(&world, "Club");
}

#[test]
fn a_name_given_while_we_are_out_does_not_count_either() {
    let mut world = two();
    let b2 = user("u1@b");
    world.bring(&b1(), &b2);
    world.settle();
    for who in [&b1(), &b2] {
        world.kick(&a1(), who);
        world.settle();
    }
    assert_eq!(world.providers[B].phase(), Some(&crate::room::Phase::Left));
    world.rename(&b2, "Ours alone");
    world.settle();
    world.bring_remote(&a1(), &b1());
    world.settle();
    is_called(&world, "Club");
}
