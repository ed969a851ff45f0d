//! Power levels of the Matrix rooms and roles of the MIMI room.

use serde_json::json;

use super::{
    fakes::user,
    named::{a1, a2, b1},
    world::World,
};
use crate::{
    ident::UserUri,
    policy::{Capability, role},
    room::{Names, group::Group},
};

const A: usize = 0;
const B: usize = 1;

fn b2() -> UserUri {
    user("u1@b")
}

/// a1 is admin; a2, b1 and b2 are members.
fn four() -> World {
    let mut world = World::new(41, &["a", "b"], &["u0@a", "u1@a"]);
    world.bring_remote(&a1(), &b1());
    world.bring(&b1(), &b2());
    world.settle();
    world
}

fn role_of(world: &World, who: &UserUri) -> u32 {
    let [a, b] = [A, B].map(|at| world.providers[at].group.state().unwrap().role_of(who));
    assert_eq!(a, b, "both know the same of {who}");
    a.unwrap()
}

fn told(world: &World, at: usize, words: &str) -> usize {
    world.providers[at].notices.iter().filter(|text| text.contains(words)).count()
}

#[test]
fn a_promotion_in_the_hosts_matrix_room_is_one_in_the_guests() {
    let mut world = four();
    assert_eq!([a1(), a2(), b1()].map(|who| role_of(&world, &who)), [role::ADMIN, role::MEMBER, role::MEMBER]);
    for (level, is, there) in [(50, role::MODERATOR, 50), (0, role::MEMBER, 0), (100, role::ADMIN, 95)] {
        world.empower(&a1(), &b1(), level);
        world.settle();
        assert_eq!((role_of(&world, &b1()), world.level(B, &b1()), world.level(A, &b1())), (is, there, level));
    }
    assert_eq!(told(&world, A, "put back"), 0);
    // Admins are equals.
    world.empower(&a1(), &b1(), 0);
    world.settle();
    assert_eq!((role_of(&world, &b1()), world.level(A, &b1()), told(&world, A, "put back")), (role::ADMIN, 100, 1));
    assert_eq!(world.level(B, &b2()), 0);
    assert_eq!(told(&world, B, "put back"), 0);
    let epoch = world.providers[A].group.epoch();
    world.settle();
    assert_eq!(world.providers[A].group.epoch(), epoch, "said once");
}

#[test]
fn a_level_without_a_role_has_one_once_somebody_may_define_it() {
    let mut world = four();
    world.empower(&a1(), &a2(), 50);
    world.settle();
    world.empower(&a2(), &b1(), 25);
    world.settle();
    assert_eq!((role_of(&world, &b1()), world.level(A, &b1())), (role::MEMBER, 25), "a moderator defines no roles");
    world.empower(&a1(), &b2(), 50);
    world.settle();
    assert_eq!(role_of(&world, &b2()), role::MODERATOR);
    let state = world.providers[A].group.state().unwrap();
    assert_eq!(state.roles.get(role_of(&world, &b1())).unwrap().name, "level 25");
    assert_eq!([A, B].map(|at| world.level(at, &b1())), [25; 2]);
}

#[test]
fn an_admin_among_the_guests_promotes_and_demotes() {
    let mut world = four();
    world.empower(&a1(), &b1(), 100);
    world.settle();
    for (who, level) in [(b2(), 50), (a2(), 50), (a2(), 0)] {
        world.empower(&b1(), &who, level);
        world.settle();
        assert_eq!([A, B].map(|at| world.level(at, &who)), [level; 2], "{who}");
        assert_eq!(role_of(&world, &who), if level == 50 { role::MODERATOR } else { role::MEMBER });
    }
    // A moderator names the room.
    world.rename(&b2(), "By a moderator");
    world.settle();
    assert_eq!((world.called(A).as_str(), world.called(B).as_str()), ("By a moderator", "By a moderator"));
}

#[test]
fn a_level_that_the_role_does_not_allow_to_give_is_put_back_and_explained() {
    let mut world = four();
    world.empower(&b1(), &b2(), 50);
    world.settle();
    assert_eq!((role_of(&world, &b2()), world.level(B, &b2()), told(&world, B, "put back")), (role::MEMBER, 0, 1));
    for _ in 0..5 {
        world.empower(&b1(), &b2(), 50);
        world.settle();
    }
    assert_eq!((told(&world, B, "put back here"), told(&world, B, "again and again")), (3, 1));
    assert_eq!(world.level(B, &b2()), 50, "let be");
    assert_eq!(role_of(&world, &b2()), role::MEMBER);
}

#[test]
fn levels_of_the_hosts_room_are_the_rules_of_the_mimi_room() {
    let mut world = four();
    let mut content = world.providers[A].set["m.room.power_levels"].content.clone();
    content["invite"] = json!(50);
    content["events"] = json!({ "m.room.name": 0, "org.example.custom": 70 });
    content["users"][world.providers[A].names.matrix_id(&a2()).unwrap().as_str()] = json!(25);
    world.set_levels(&a1(), content.clone());
    world.settle();
    let state = world.providers[B].group.state().unwrap();
    assert!(!state.can(&b1(), Capability::AddParticipant) && state.can(&b1(), Capability::ChangeRoomName));
    assert_eq!(state.roles.get(role_of(&world, &a2())).unwrap().name, "level 25");
    assert_eq!((world.level(A, &a2()), world.level(B, &a2())), (25, 25));
    assert_eq!(world.providers[A].set["m.room.power_levels"].content, content, "what MIMI cannot say stays");
    world.rename(&b1(), "Anybody's");
    world.settle();
    assert_eq!(world.called(A), "Anybody's");
}

#[test]
fn a_small_admin_changes_no_rules() {
    let mut world = four();
    let mut content = world.providers[A].set["m.room.power_levels"].content.clone();
    content["events"] = json!({ "m.room.power_levels": 50 });
    world.set_levels(&a1(), content.clone());
    world.empower(&a1(), &a2(), 50);
    world.settle();
    let agreed = world.providers[A].set["m.room.power_levels"].content.clone();
    let mut bold = agreed.clone();
    bold["ban"] = json!(0);
    world.set_levels(&a2(), bold);
    world.settle();
    assert_eq!((&world.providers[A].set["m.room.power_levels"].content, told(&world, A, "put back")), (&agreed, 1));
    // A level that has no role of its own counts as the next lower one.
    world.empower(&a2(), &b1(), 30);
    world.settle();
    assert_eq!((role_of(&world, &b1()), world.level(A, &b1())), (role::MEMBER, 30));
    assert_eq!(told(&world, A, "put back"), 1);
}

#[test]
fn both_sides_at_once_end_with_the_hubs_roles() {
    for seed in 0..40 {
        let mut world = four();
        world.rng.0 = seed;
        world.empower(&a1(), &b1(), 100);
        world.settle();
        world.empower(&b1(), &b2(), 50);
        for _ in 0..seed % 9 {
            world.tick();
        }
        world.empower(&a1(), &b2(), if seed % 2 == 0 { 100 } else { 0 });
        world.empower(&a1(), &a2(), 50);
        world.settle();
        let roles = world.providers[A].group.state().unwrap().roles.clone();
        for who in [a2(), b1(), b2()] {
            let is = role_of(&world, &who);
            for at in [A, B] {
                let level = world.level(at, &who);
                let expected = match (roles.get(is).unwrap().index, at) {
                    (role::MEMBER, _) => 0,
                    (role::MODERATOR, _) => 50,
                    (_, A) => 100,
                    _ => 95,
                };
                assert_eq!(level, expected, "seed {seed}: {who} at {at}");
            }
        }
    }
}

#[test]
fn the_bot_says_once_that_it_lacks_power() {
    let mut world = four();
    let bot = world.providers[A].names.bot();
    let all = world.providers[A].set["m.room.power_levels"].content.clone();
    let mut less = all.clone();
    less["users"][bot.as_str()] = json!(0);
    for _ in 0..2 {
        world.set_levels(&a1(), less.clone());
        world.settle();
    }
    assert_eq!(told(&world, A, "I lack the power to"), 1, "{:?}", world.providers[A].notices);
    world.set_levels(&a1(), all);
    world.settle();
    assert_eq!(told(&world, A, "I have the power again"), 1);
}

#[test]
fn a_ghost_says_that_the_bot_was_removed() {
    let mut world = four();
    let bot = world.providers[A].names.bot();
    world.remove_bot(&a1());
    world.settle();
    let words = format!("removed the bot {bot}");
    assert_eq!((told(&world, A, &words), told(&world, A, "Invite the bot again")), (1, 1));
}

#[test]
fn who_comes_back_to_the_hosts_room_keeps_their_level_and_gets_the_role_again_if_somebody_can_give_it() {
    for alone in [true, false] {
        let mut world = four();
        world.empower(&a1(), &a2(), 50);
        if !alone {
            world.bring(&a1(), &user("u2@a"));
            world.settle();
            world.empower(&a1(), &user("u2@a"), 100);
        }
        world.settle();
        world.leave(&a1());
        world.settle();
        world.bring(&a2(), &a1());
        world.settle();
        world.empower(&user(if alone { "u1@a" } else { "u2@a" }), &b2(), 25);
        world.settle();
        assert_eq!((world.level(A, &a1()), world.level(A, &a2())), (100, 50));
        assert_eq!(world.level(B, &a1()), if role_of(&world, &a1()) == role::ADMIN { 95 } else { 0 });
        assert_eq!(role_of(&world, &a1()) == role::ADMIN, !alone);
    }
}

#[test]
fn who_stands_in_for_the_last_moderator_gets_no_power_in_the_matrix_room() {
    let mut world = four();
    world.leave(&a1());
    world.settle();
    world.rename(&a2(), "Any change");
    world.settle();
    assert_eq!((role_of(&world, &a2()), world.level(A, &a2())), (role::MODERATOR, 0));
}

#[test]
fn levels_that_somebody_set_and_left_are_put_back_for_who_comes_next() {
    for steps in 0..12 {
        let mut world = World::new(41, &["a", "b"], &["u0@a", "u1@a"]);
        world.bring_remote(&a2(), &b1());
        world.settle();
        assert_eq!(world.level(B, &a1()), 95);
        world.empower(&b1(), &a1(), 0);
        for _ in 0..steps {
            world.tick();
        }
        world.leave(&b1());
        world.settle();
        world.bring_remote(&a2(), &b2());
        world.settle();
        assert_eq!((role_of(&world, &a1()), world.level(B, &a1())), (role::ADMIN, 95), "after {steps} steps");
    }
}

#[test]
fn a_demotion_that_the_bot_could_not_write_is_written_once_it_can_be() {
    let mut world = four();
    world.empower(&a1(), &b1(), 100);
    world.empower(&a1(), &a2(), 50);
    world.settle();
    let bot = world.providers[A].names.bot();
    let give_bot = |world: &mut World, level: i64| {
        let mut content = world.providers[A].set["m.room.power_levels"].content.clone();
        content["users"][bot.as_str()] = json!(level);
        world.set_levels(&a1(), content);
        world.settle();
    };
    give_bot(&mut world, 0);
    world.empower(&b1(), &a2(), 0);
    world.settle();
    assert_eq!((role_of(&world, &a2()), world.level(A, &a2()), world.level(B, &a2())), (role::MEMBER, 50, 0));
    assert_eq!(told(&world, A, "could not change the power levels"), 1, "it is not tried again and again");
    // What else changes meanwhile does not bring the old level back.
    world.empower(&a1(), &b2(), 50);
    world.settle();
    assert_eq!((role_of(&world, &a2()), role_of(&world, &b2())), (role::MEMBER, role::MODERATOR));
    give_bot(&mut world, 100);
    assert_eq!((role_of(&world, &a2()), world.level(A, &a2()), world.level(B, &a2())), (role::MEMBER, 0, 0));
    assert_eq!((role_of(&world, &b2()), world.level(A, &b2())), (role::MODERATOR, 50));
}

#[test]
fn who_lowers_themselves_lends_nobody_the_power_of_others() {
    let mut world = four();
    world.empower(&a1(), &a2(), 50);
    world.settle();
    let mut content = world.providers[A].set["m.room.power_levels"].content.clone();
    for (who, level) in [(a2(), 0), (b1(), 100)] {
        content["users"][world.providers[A].names.matrix_id(&who).unwrap().as_str()] = json!(level);
    }
    world.set_levels(&a2(), content);
    world.settle();
    assert_eq!((role_of(&world, &b1()), world.level(A, &b1())), (role::MEMBER, 0), "A1 did not promote B1");
    assert_eq!(told(&world, A, "put back"), 1);
    // Alone it is theirs to do.
    world.empower(&a2(), &a2(), 0);
    world.settle();
    assert_eq!((role_of(&world, &a2()), world.level(A, &a2())), (role::MEMBER, 0));
}
