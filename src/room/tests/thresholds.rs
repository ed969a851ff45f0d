//! What people may do in a portal is what the host's roles allow.

use serde_json::json;

use super::{
    named::{a1, b1},
    world::World,
};
use crate::{policy::Powers, room::Names};

const A: usize = 0;
const B: usize = 1;

fn two() -> World {
    let mut world = World::new(43, &["a", "b"], &["u0@a"]);
    world.bring_remote(&a1(), &b1());
    world.settle();
    world
}

fn levels(world: &World, at: usize) -> Powers {
    Powers::read(Some(&world.providers[at].set["m.room.power_levels"].content), [].into(), None)
}

fn told(world: &World, words: &str) -> usize {
    world.providers[B].notices.iter().filter(|text| text.contains(words)).count()
}

#[test]
fn the_portal_has_the_thresholds_of_the_hosts_roles() {
    let mut world = two();
    let bot = world.providers[B].names.bot().to_string();
    let b1_there = world.providers[B].names.matrix_id(&b1()).unwrap().to_string();
    assert!(!levels(&world, B).may_set(&b1_there, "m.room.name"));
    // Everybody may name the room, and only moderators may write.
    let mut content = world.providers[A].set["m.room.power_levels"].content.clone();
    content["events"] = json!({ "m.room.name": 0 });
    content["events_default"] = json!(50);
    world.set_levels(&a1(), content);
    world.settle();
    let there = levels(&world, B);
    assert!(there.may_set(&b1_there, "m.room.name") && !there.may_set(&b1_there, "m.room.topic"));
    assert_eq!(world.providers[B].set["m.room.power_levels"].content["events_default"], 50);
    assert!(there.missing(&bot).is_empty());
    let before = world.providers[B].set["m.room.power_levels"].event.clone();
    world.settle();
    assert_eq!(world.providers[B].set["m.room.power_levels"].event, before, "written once");
}

#[test]
fn who_bends_the_rules_of_a_portal_hears_why_they_are_put_back() {
    let mut world = two();
    world.empower(&a1(), &b1(), 100);
    world.settle();
    let agreed = world.providers[B].set["m.room.power_levels"].content.clone();
    let mut bent = agreed.clone();
    bent["ban"] = json!(0);
    world.set_levels(&b1(), bent);
    world.settle();
    assert_eq!(world.providers[B].set["m.room.power_levels"].content, agreed);
    assert_eq!(told(&world, "the host of the room decides"), 1);
    // What MIMI has no rule for is the portal's own.
    let mut own = agreed.clone();
    own["events"]["org.example.custom"] = json!(70);
    world.set_levels(&b1(), own.clone());
    world.settle();
    assert_eq!(world.providers[B].set["m.room.power_levels"].content, own);
    assert_eq!(told(&world, "the host of the room decides"), 1);
}
