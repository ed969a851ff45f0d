//! Rooms whose hub has no leaf in the group: its users left, others talk on.

use super::{
    named::{a1, a2, b1, b2, c1, deliver, work_off},
    world::World,
};
use crate::{
    ident::UserUri,
    policy::{self, ParticipantListUpdate, component, role},
    room::{
        Input, Phase,
        effect::Endpoint,
        group::{Group, GroupChange},
    },
    wire::{
        FanoutContent, FanoutMessage, HandshakeBundle, MlsMessage, SubmitMessageRequest, SubmitMessageResponse,
        UpdateOutcome, UpdateRoomResponse, Wire as _,
    },
};

const A: usize = 0;
const B: usize = 1;

/// A hosts, B and C follow, and A's last user left.
fn without_host() -> World {
    let mut world = World::new(11, &["a", "b", "c"], &["u0@a"]);
    world.bring_remote(&a1(), &b1());
    world.bring_remote(&a1(), &c1());
    world.leave(&a1());
    world.settle();
    assert!(world.providers[A].group.is_public());
    assert_eq!(world.participants(A), [b1(), c1()].into());
    world
}

#[test]
fn the_others_talk_on_and_the_hub_reads_nothing() {
    let mut world = without_host();
    world.say(&b1());
    world.say(&c1());
    world.settle();
    assert_eq!(world.providers[B].bodies(), ["u0 says 1!"]);
    assert_eq!(world.providers[2].bodies(), ["u0 says 0!"]);
    assert!(world.providers[A].timeline.is_empty() && world.providers[A].log.is_empty());
    assert_eq!(world.providers[A].phase(), Some(&Phase::Active));
    super::model::check(&world, false);
}

#[test]
fn what_is_proposed_is_committed_once_and_messages_wait_for_it() {
    let mut world = World::new(12, &["a", "b", "c"], &["u0@a"]);
    world.bring_remote(&a1(), &b1());
    world.bring_remote(&a1(), &c1());
    let epoch = world.providers[A].group.epoch();
    world.leave(&a1());
    work_off(&mut world, A);
    let mut delays = Vec::new();
    for at in [B, 2] {
        deliver(&mut world, A, at);
        work_off(&mut world, at);
        assert!(world.providers[at].group.has_pending());
        delays.push(world.providers[at].room().settle.unwrap().at - world.now);
    }
    assert!(delays.iter().all(|delay| (2_000..=6_000).contains(delay)));
    assert_ne!(delays[0], delays[1], "both would commit at once");
    let settle = |world: &World, at: usize| world.providers[at].room().settle.unwrap();
    // What is said waits.
    let first = world.say(&b1());
    work_off(&mut world, B);
    assert!(world.providers[B].room().submitted.is_empty());
    world.settle();
    assert_eq!(world.providers[2].bodies(), ["u0 says 0!"]);
    assert!(world.providers[B].log.iter().any(|(_, _, event)| event.as_ref() == Some(&first)));
    assert_eq!(world.providers[A].group.epoch(), epoch + 1);
    let tried = [B, 2].into_iter().filter(|at| settle(&world, *at).tried).count();
    assert_eq!(tried, 1, "the second one need not try");
    super::model::check(&world, false);
}

#[test]
fn timers_are_set_again_after_a_start() {
    let mut world = World::new(13, &["a", "b"], &["u0@a"]);
    world.bring_remote(&a1(), &b1());
    world.leave(&a1());
    work_off(&mut world, A);
    deliver(&mut world, A, B);
    work_off(&mut world, B);
    world.forget_wakes();
    world.settle();
    assert!(!world.providers[A].group.is_public());
    world.step(B, || Input::Tick);
    world.settle();
    assert!(world.providers[A].group.is_public());
    super::model::check(&world, false);
}

#[test]
fn who_is_asked_back_by_somebody_elsewhere_comes_in() {
    let mut world = without_host();
    world.bring_remote(&b1(), &a1());
    assert!(world.providers[A].group.is_member());
    world.say(&a1());
    world.say(&b1());
    world.settle();
    assert_eq!(world.providers[A].bodies(), ["u0 says 1!"]);
    // And another one.
    world.leave(&a1());
    world.settle();
    assert!(world.providers[A].group.is_public());
    world.bring_remote(&c1(), &a2());
    world.say(&a2());
    world.settle();
    assert_eq!(world.participants(B), [a2(), b1(), c1()].into());
    assert_eq!(world.providers[B].bodies(), ["u0 says 0!", "u1 says 2!"]);
    super::model::check(&world, false);
}

#[test]
fn who_is_not_asked_is_put_out() {
    let mut world = without_host();
    world.join(&a2());
    world.say(&a2());
    world.settle();
    assert!(world.providers[A].joined.is_empty());
    assert_eq!(world.participants(A), [b1(), c1()].into());
    assert!(world.providers[B].timeline.is_empty());
    super::model::check(&world, false);
}

#[test]
fn a_listener_of_the_host_takes_over() {
    let mut world = World::new(14, &["a", "b"], &["u0@a", "u1@a"]);
    world.bring_remote(&a1(), &b1());
    // A2 never said anything.
    world.leave(&a1());
    world.settle();
    assert!(world.providers[A].group.is_member());
    world.say(&b1());
    world.settle();
    assert_eq!(world.providers[A].bodies(), ["u0 says 0!"]);
    assert_eq!(world.participants(B), [a2(), b1()].into());
    super::model::check(&world, false);
}

#[test]
fn a_listener_comes_in_when_the_only_leaf_of_the_host_is_removed() {
    let mut world = World::new(17, &["a", "b"], &["u0@a", "u1@a"]);
    world.bring_remote(&a1(), &b1());
    // B1 becomes an administrator, and removes A1, whose leaf is the only one at A.
    let place = world.providers[A].group.state().unwrap().participants.iter().position(|(user, _)| *user == b1());
    let update = ParticipantListUpdate {
        changed: vec![(u32::try_from(place.unwrap()).unwrap(), role::ADMIN)],
        ..ParticipantListUpdate::default()
    };
    let change = GroupChange {
        app_data: vec![(component::PARTICIPANT_LIST, update.encode().unwrap())],
        ..GroupChange::default()
    };
    let staged = world.providers[A].group.stage(&a1(), &change, 0).unwrap();
    world.as_hub(|step| step.hub_accept_own_commit(&staged).unwrap());
    world.settle();
    world.kick(&b1(), &a1());
    world.settle();
    assert!(world.providers[A].group.is_member() && world.providers[A].group.has_leaf(&a2()));
    assert_eq!(world.providers[A].joined, [a2()].into());
    world.say(&b1());
    world.say(&a2());
    world.settle();
    assert_eq!(world.providers[A].bodies(), ["u0 says 0!"]);
    assert_eq!(world.providers[B].bodies(), ["u1 says 1!"]);
    super::model::check(&world, true);
}

#[test]
fn guests_bring_friends_leave_and_the_last_one_ends_the_room() {
    let mut world = without_host();
    world.bring(&b1(), &b2());
    world.say(&b2());
    world.settle();
    world.leave(&b1());
    world.settle();
    assert_eq!(world.participants(A), [b2(), c1()].into());
    world.leave(&c1());
    world.settle();
    assert_eq!(world.providers[2].phase(), Some(&Phase::Left));
    assert_eq!(world.participants(A), [b2()].into());
    world.leave(&b2());
    world.settle();
    assert_eq!(world.providers[A].phase(), Some(&Phase::Left));
    assert_eq!(world.providers[B].phase(), Some(&Phase::Left));
    assert!(!world.providers[B].group.is_member() && !world.providers[A].group.is_public());
    super::model::check(&world, false);
}

#[test]
fn all_leave_at_once() {
    let mut world = World::new(15, &["a", "b"], &["u0@a"]);
    world.bring_remote(&a1(), &b1());
    world.leave(&a1());
    work_off(&mut world, A);
    world.leave(&b1());
    world.settle();
    assert_eq!(world.providers[A].phase(), Some(&Phase::Left));
    assert_eq!(world.providers[B].phase(), Some(&Phase::Left));
    super::model::check(&world, false);
}

#[test]
fn a_commit_that_does_not_take_the_leave_in_does_not_stop_it() {
    let mut world = World::new(16, &["a", "b"], &["u0@a"]);
    world.bring_remote(&a1(), &b1());
    // B1's commit is on its way while A1 leaves.
    world.bring(&b1(), &b2());
    work_off(&mut world, B);
    world.leave(&a1());
    work_off(&mut world, A);
    deliver(&mut world, B, A);
    work_off(&mut world, A);
    assert!(world.providers[A].group.is_member());
    world.settle();
    assert!(world.providers[A].group.is_public());
    assert_eq!(world.participants(A), [b1(), b2()].into());
    super::model::check(&world, false);
}

#[test]
fn the_hub_still_judges() {
    let mut world = without_host();
    // A participant without a client.
    world.bring(&b1(), &b2());
    world.settle();
    let refusal = |world: &mut World, bundle: &HandshakeBundle| {
        let peer = b1().provider();
        let answer = world.step(A, || Input::Update { peer: peer.clone(), bundle: bundle.clone() }).unwrap();
        UpdateRoomResponse::decode(&answer).unwrap()
    };
    // A GroupInfo of another epoch.
    let staged = world.providers[B].group.stage_now(&b1());
    let bundle = |group_info: Vec<u8>| world_bundle(&staged.commit, group_info, &staged.ratchet_tree);
    let wrong = bundle(super::fake_group::group_info(staged.epoch + 7));
    let answer = refusal(&mut world, &wrong);
    assert!(matches!(answer.outcome, UpdateOutcome::NotAllowed) && answer.description.contains("GroupInfo"));
    // Somebody else's member.
    let carols = world.providers[2].group.stage_now(&c1());
    let foreign = world_bundle(&carols.commit, carols.group_info.clone(), &carols.ratchet_tree);
    assert!(matches!(refusal(&mut world, &foreign).outcome, UpdateOutcome::NotAllowed));
    // A message whose sender has no client, of another epoch, and a second time.
    let submit = |world: &mut World, who: &UserUri, epoch: u64, number: u64| {
        let sealed = super::fake_group::sealed_by(&b1(), epoch, number, b"x");
        let request = crate::wire::SubmitMessageRequest {
            app_message: crate::wire::MlsMessage::decode(&sealed).unwrap(),
            sending_user: who.clone(),
        };
        let peer = who.provider();
        let input = || Input::Submit { peer: peer.clone(), request: request.clone() };
        let answer = world.step(A, input).unwrap();
        matches!(
            crate::wire::SubmitMessageResponse::decode(&answer).unwrap(),
            crate::wire::SubmitMessageResponse::Accepted { .. }
        )
    };
    let epoch = world.providers[A].group.epoch();
    assert!(!submit(&mut world, &b2(), epoch, 1));
    assert!(!submit(&mut world, &b1(), epoch + 1, 2));
    assert!(!submit(&mut world, &b1(), epoch - 2, 3));
    assert!(submit(&mut world, &b1(), epoch, 4));
    assert!(!submit(&mut world, &b1(), epoch, 4));
    assert!(
        world.lanes[&(A, 2)]
            .rows
            .iter()
            .any(|row| matches!(row, super::provider::Row::Call { endpoint: Endpoint::Notify, .. }))
    );
}

/// Draft-ietf-mimi-protocol-06 section 7.1: what was accepted counts, though nobody has committed it yet.
#[test]
fn who_is_banned_says_nothing_from_then_on_although_the_commit_is_still_to_come() {
    let mut world = World::new(21, &["a", "b", "c"], &["u0@a"]);
    world.bring_remote(&a1(), &b1());
    world.bring_remote(&a1(), &c1());
    super::bans::give(&mut world, &c1(), role::MODERATOR);
    world.leave(&a1());
    world.settle();
    let hub = &world.providers[A].group;
    assert!(hub.is_public());
    let (epoch, state) = (hub.epoch(), hub.state().unwrap());
    let ban = policy::update_roles(&state, &[(b1(), role::BANNED)]).unwrap();
    let made = super::fake_group::proposes_ban(&c1(), &b1(), epoch, ban);
    let bundle = HandshakeBundle::Proposals(made.iter().map(|bytes| MlsMessage::decode(bytes).unwrap()).collect());
    let submit = |world: &mut World, who: &UserUri, number: u64| {
        let app_message = MlsMessage::decode(&super::fake_group::sealed_by(who, epoch, number, b"x")).unwrap();
        let request = SubmitMessageRequest { app_message, sending_user: who.clone() };
        let peer = who.provider();
        let answer = world.step(A, || Input::Submit { peer: peer.clone(), request: request.clone() }).unwrap();
        matches!(SubmitMessageResponse::decode(&answer).unwrap(), SubmitMessageResponse::Accepted { .. })
    };
    let words_for = |world: &World, to: usize| {
        let bodies = super::named::waiting(world, A, to, Endpoint::Notify);
        let fanned_out = bodies.iter().map(|body| FanoutMessage::decode(body).unwrap());
        fanned_out.filter(|fanout| matches!(fanout.content, FanoutContent::Application { .. })).count()
    };
    assert!(submit(&mut world, &b1(), 1));
    let peer = c1().provider();
    let answer = world.step(A, || Input::Update { peer: peer.clone(), bundle: bundle.clone() }).unwrap();
    let answer = UpdateRoomResponse::decode(&answer).unwrap();
    assert!(matches!(answer.outcome, UpdateOutcome::Success { .. }), "{answer:?}");
    // Nobody committed it: B1 is in the group and on the list, and neither heard nor told anything more.
    assert_eq!(world.providers[A].group.epoch(), epoch);
    assert!(!submit(&mut world, &b1(), 2));
    assert_eq!((words_for(&world, B), words_for(&world, 2)), (1, 1));
    assert!(submit(&mut world, &c1(), 3));
    assert_eq!((words_for(&world, B), words_for(&world, 2)), (1, 2));
}

fn world_bundle(commit: &[u8], group_info: Vec<u8>, tree: &[u8]) -> HandshakeBundle {
    use crate::wire::{CommitBundle, GroupInfoOption, MlsMessage, RatchetTreeOption, RawGroupInfo, RawRatchetTree};
    HandshakeBundle::Commit(Box::new(CommitBundle {
        commit: MlsMessage::decode(commit).unwrap(),
        welcome: None,
        group_info: GroupInfoOption::Full(RawGroupInfo::from_bytes(group_info).unwrap()),
        ratchet_tree: RatchetTreeOption::Full(RawRatchetTree::from_bytes(tree.to_vec()).unwrap()),
    }))
}
