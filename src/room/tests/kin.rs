//! That a room belongs to another one is wished for, and decided when its turn comes.

use std::sync::Arc;

use ruma::OwnedRoomId;

use super::{
    fakes::{FakeNames, domain},
    named::{a1, a2},
    world::World,
};
use crate::{
    ident::RoomUri,
    policy::{self, BaseRoomPolicy, component},
    room::{Effect, Step, group::GroupChange},
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
        (step.room.kin.space, step.room.kin.set_by) = (Some(space.clone()), Some(a1()));
        step.room.behind = step.group.epoch() + 1;
        step.on_kin(&parent, &[space].into(), None, 0);
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
        step.on_kin(&parent, &[space.clone()].into(), None, 0);
        step.room.kin.space = Some(space.clone());
        step.on_kin(&parent, &[space.clone()].into(), None, 0);
        step.room.behind = 0;
        step.pump();
        // It lets go, asks, and comes back.
        assert!(said(step, "it does not belong to its space any more") && said(step, "FindParent"));
        step.on_kin(&parent, &[space].into(), None, 0);
        step.pump();
        assert!(step.group.state().unwrap().base_policy.parent().is_some());
    });
}

/// The same room, depending on the space.
fn belonging() -> World {
    let mut world = wishing();
    world.as_hub(|step| {
        step.room.behind = 0;
        step.pump();
        assert!(step.group.state().unwrap().base_policy.parent().is_some());
    });
    world
}

fn tell(step: &mut Step<'_>, awaited: Option<&OwnedRoomId>) {
    let (parent, space) = house();
    step.on_kin(&parent, &[space].into(), awaited, 0);
    step.pump();
}

fn belongs(step: &Step<'_>) -> bool {
    step.group.state().unwrap().base_policy.parent().is_some()
}

#[test]
fn a_rule_that_names_no_space_any_more_is_not_forgotten_while_nobody_may_let_the_room_go() {
    let mut world = belonging();
    world.as_hub(|step| {
        // Who may is on the way out.
        step.room.leaving.extend([a1(), a2()]);
        step.room.behind = step.group.epoch() + 1;
        step.on_joins(None, true);
        let (parent, space) = house();
        for _ in 0..2 {
            step.on_kin(&parent, &[space.clone()].into(), None, 0);
        }
        assert!(belongs(step) && step.room.kin.doubted);
        assert_eq!(
            step.out.iter().filter(|effect| format!("{effect:?}").contains("This room still belongs to")).count(),
            1
        );
        step.room.leaving.clear();
        step.room.behind = 0;
        tell(step, None);
        assert!(!belongs(step) && !step.room.kin.doubted && !step.room.kin.told);
    });
}

#[test]
fn a_room_comes_to_depend_on_another_only_in_the_name_of_who_set_its_rule() {
    let (parent, space) = house();
    let mut world = wishing();
    world.as_hub(|step| {
        // The rule is set anew, by one who is a member and no more.
        step.room.kin.set_by = Some(a2());
        step.room.behind = 0;
        step.pump();
        assert!(!belongs(step), "what was wished for holds no more");
        tell(step, None);
        tell(step, None);
        assert!(!belongs(step));
        let told = |effect: &&Effect| format!("{effect:?}").contains("set by somebody whose role does not allow that");
        assert_eq!(step.out.iter().filter(told).count(), 1);
        step.room.kin.set_by = Some(a1());
        tell(step, None);
        assert_eq!(step.group.state().unwrap().base_policy.parent(), Some(parent.as_str()));
        assert_eq!(step.room.kin.space.as_ref(), Some(&space));
    });
}

#[test]
fn while_the_space_is_upgraded_its_rooms_are_kept() {
    let new = OwnedRoomId::try_from("!new:a.test").unwrap();
    let mut world = belonging();
    world.as_hub(|step| {
        (step.room.kin.space, step.room.kin.doubted) = (Some(new.clone()), true);
        tell(step, Some(&new));
        assert!(belongs(step) && step.room.kin.doubted, "it may come about");
        tell(step, None);
        assert!(!belongs(step), "it did not");
        // That alone makes no room depend on it.
        tell(step, Some(&new));
        assert!(!belongs(step));
    });
    // A parent that does not know that it was asked is asked again, and one that is behind is not.
    let (parent, space) = house();
    let mut world = belonging();
    world.as_hub(|step| {
        step.room.kin.asked.insert(parent.clone(), 3);
        let asks = |step: &Step<'_>| step.out.iter().filter(|out| matches!(out, Effect::FindParent { .. })).count();
        let before = asks(step);
        step.on_kin(&parent, &[space.clone()].into(), None, 2);
        assert_eq!(asks(step), before);
        step.on_kin(&parent, &[space.clone()].into(), None, 0);
        assert_eq!(asks(step), before + 1);
    });
}

#[test]
fn a_parent_that_is_taken_away_again_and_again_is_left_away() {
    let mut world = belonging();
    world.as_hub(|step| {
        let mut came_back = 0;
        for _ in 0..6 {
            let base = step.group.state().unwrap().base_policy.clone();
            if base.parent().is_some() {
                let update = policy::update_parent(&step.group.state().unwrap(), None).unwrap();
                let app_data = vec![(component::BASE_ROOM_POLICY, update)];
                let change = GroupChange { app_data, ..GroupChange::default() };
                let staged = step.group.stage(&a1(), &change, step.now).unwrap();
                step.hub_accept_own_commit(&staged).unwrap();
            }
            tell(step, None);
            came_back += usize::from(belongs(step));
        }
        assert_eq!(came_back, 2);
        assert_eq!(step.out.iter().filter(|effect| format!("{effect:?}").contains("again and again")).count(), 1);
    });
}

#[test]
fn a_followed_room_stands_in_the_one_that_its_policy_names_and_in_no_other() {
    let (parent, space) = house();
    let other = RoomUri::parse("mimi://a.test/r/barn").unwrap();
    let shed = OwnedRoomId::try_from("!shed:b.test").unwrap();
    let writes = |step: &mut Step<'_>| {
        step.out.clear();
        step.show_links();
        let texts: Vec<String> = step.out.iter().map(|effect| format!("{effect:?}")).collect();
        texts.into_iter().filter(|text| text.contains("m.space.")).collect::<Vec<_>>()
    };
    let mut world = belonging();
    // Somebody else hosts it.
    let names = FakeNames(domain("b.test"));
    world.as_hub(|step| {
        let mut step = Step {
            names: &names,
            out: Vec::new(),
            room: &mut *step.room,
            group: &mut *step.group,
            recent: &mut *step.recent,
            ..*step
        };
        step.on_above(&other, Some(shed.clone()));
        assert_eq!(writes(&mut step), [""; 0], "it is not the parent");
        step.on_above(&parent, Some(space.clone()));
        let shown = writes(&mut step);
        assert_eq!(shown.len(), 1);
        assert!(
            shown[0].contains("m.space.parent") && shown[0].contains("!house:a.test") && shown[0].contains("canonical")
        );
        assert_eq!(writes(&mut step), [""; 0], "only what differs");
        // What an earlier one says late changes nothing.
        step.on_above(&other, None);
        assert_eq!(writes(&mut step), [""; 0]);
        step.on_below(&other, Some(shed.clone()));
        let shown = writes(&mut step);
        assert!(
            shown.len() == 1 && shown[0].contains("m.space.child") && shown[0].contains("!shed:b.test"),
            "{shown:?}"
        );
        // It is let go.
        step.room.unbridging = true;
        let gone = writes(&mut step);
        assert!(gone.len() == 2 && gone.iter().all(|text| text.contains("content: \"{}\"")), "{gone:?}");
        step.room.unbridging = false;
        assert_eq!(writes(&mut step).len(), 2);
    });
    // The host itself writes nothing.
    let mut world = belonging();
    world.as_hub(|step| {
        step.on_above(&parent, Some(space.clone()));
        step.on_below(&other, Some(shed.clone()));
        assert_eq!(writes(step), [""; 0]);
    });
}
