//! Live locations, with a clock.

use serde_json::json;

use super::{fakes::user, world::World};
use crate::room::Names as _;

#[test]
fn a_live_location_is_edited_every_half_minute_at_most() {
    let mut world = World::new(1, &["a", "b"], &["u0@a", "u1@a"]);
    world.bring_remote(&user("u0@a"), &user("u0@b"));
    world.settle();
    let sender = world.providers[0].names.matrix_id(&user("u0@a")).unwrap();
    let info = json!({ "live": true, "timeout": 3_600_000 });
    let start = world.event(0, &sender, "m.beacon_info", Some(&sender), info);
    world.settle();
    let mut seen = Vec::new();
    for wait in [0, 0, 0, 31_000, 0, 31_000] {
        world.now += wait;
        let place = json!({
            "m.relates_to": { "rel_type": "m.reference", "event_id": start },
            "m.location": { "uri": format!("geo:1,{}", seen.len()) },
        });
        world.event(0, &sender, "m.beacon", None, place);
        world.settle();
        seen.push(world.providers[1].bodies().iter().filter(|body| body.contains("geo:")).count());
    }
    assert_eq!(seen, [1, 1, 1, 2, 2, 3], "{:?}", world.providers[1].bodies());
}

#[test]
fn who_leaves_or_is_put_out_shares_no_more_and_no_place_is_kept() {
    for by in ["u0@a", "u1@a"] {
        let mut world = World::new(1, &["a", "b"], &["u0@a", "u1@a"]);
        world.bring_remote(&user("u0@a"), &user("u0@b"));
        world.settle();
        let sharer = user("u1@a");
        let sender = world.providers[0].names.matrix_id(&sharer).unwrap();
        let info = json!({ "live": true, "timeout": 3_600_000 });
        let start = world.event(0, &sender, "m.beacon_info", Some(&sender), info);
        let place = json!({
            "m.relates_to": { "rel_type": "m.reference", "event_id": start },
            "m.location": { "uri": "geo:1,2" },
        });
        world.event(0, &sender, "m.beacon", None, place);
        world.settle();
        assert!(world.providers[0].room().live.contains_key(&sharer));
        world.member_event(0, &user(by), &sharer, "leave");
        world.settle();
        let bodies = world.providers[1].bodies();
        assert!(bodies.last().unwrap().contains("[live location, ended]"), "{bodies:?}");
        assert!(!world.providers[0].room().live.contains_key(&sharer));
        assert!(!world.participants(1).contains(&sharer));
    }
}
