//! That a room belongs to another one is wished for, and decided when its turn comes.

use std::sync::Arc;

use ruma::OwnedRoomId;

use super::{
    named::{a1, a2},
    world::World,
};
use crate::{
    ident::RoomUri,
    policy::{BaseRoomPolicy, component},
    room::{Step, group::GroupChange},
};

fn house() -> (RoomUri, OwnedRoomId) {
    (RoomUri::parse("mimi://a.test/r/house").unwrap(), OwnedRoomId::try_from("!house:a.test").unwrap())
}

fn said(step: &Step<'_>, text: &str) -> bool {
    step.out.iter().any(|effect| format!("{effect:?}").contains(text))
}

/// A room whose join rule names a space in which its two users are, and which cannot commit for now: its wish waits.
fn wishing() -> World {
    let (parent, space) = house();
    let mut world = World::new(23, &["a"], &["u0@a", "u1@a"]);
    world.settle();
    world.providers[0].group.parents.insert(parent.to_string(), Arc::new([a1(), a2()].into()));
    world.as_hub(|step| {
        step.room.kin.space = Some(space.clone());
        step.room.behind = step.group.epoch() + 1;
        step.on_kin(&parent, &[space].into(), 0);
        step.pump();
        assert!(!step.room.queue.is_empty(), "it is wished for");
        assert_eq!(step.group.state().unwrap().base_policy.parent(), None);
        assert!(!said(step, "belongs to"), "it does not yet");
    });
    world
}

#[test]
fn what_else_changed_in_the_base_policy_meanwhile_is_kept() {
    let (parent, _) = house();
    wishing().as_hub(|step| {
        let base = step.group.state().unwrap().base_policy.clone();
        let update = BaseRoomPolicy { max_users: Some(17), ..base }.encode().unwrap();
        let app_data = vec![(component::BASE_ROOM_POLICY, update)];
        let staged = step.group.stage(&a1(), &GroupChange { app_data, ..GroupChange::default() }, step.now).unwrap();
        step.hub_accept_own_commit(&staged).unwrap();
        step.room.behind = 0;
        step.pump();
        let base = step.group.state().unwrap().base_policy.clone();
        assert_eq!((base.parent(), base.max_users), (Some(parent.as_str()), Some(17)));
        assert!(said(step, "This room belongs to mimi://a.test/r/house now"));
    });
}

#[test]
fn a_wish_that_does_not_hold_any_more_is_dropped() {
    let (parent, space) = house();
    // The join rule names nothing any more, or somebody came in who is not in the space.
    let mut world = wishing();
    world.as_hub(|step| step.room.kin.space = None);
    let mut crowded = wishing();
    crowded.providers[0].group.parents.insert(parent.to_string(), Arc::new([a1()].into()));
    for mut world in [world, crowded] {
        world.as_hub(|step| {
            step.room.behind = 0;
            step.pump();
            assert_eq!(step.group.state().unwrap().base_policy.parent(), None);
            assert!(!said(step, "belongs to"));
            assert!(step.room.queue.is_empty());
        });
    }
    // A rule that changes again before the room is let go.
    let mut world = wishing();
    world.as_hub(|step| {
        step.room.behind = 0;
        step.pump();
        assert!(step.group.state().unwrap().base_policy.parent().is_some());
        step.room.behind = step.group.epoch() + 1;
        (step.room.kin.space, step.room.kin.doubted) = (None, true);
        step.on_kin(&parent, &[space.clone()].into(), 0);
        step.room.kin.space = Some(space.clone());
        step.on_kin(&parent, &[space.clone()].into(), 0);
        step.room.behind = 0;
        step.pump();
        // It lets go, asks, and comes back.
        assert!(said(step, "it does not belong to its space any more") && said(step, "FindParent"));
        step.on_kin(&parent, &[space].into(), 0);
        step.pump();
        assert!(step.group.state().unwrap().base_policy.parent().is_some());
    });
}
