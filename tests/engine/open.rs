//! Public Matrix rooms as open MIMI rooms (room-policy-03 section 3, `canOpenJoin`): who comes in without being asked, and who
//! does not.

use mimi_gateway::{
    ident::{RoomUri, UserUri},
    mls::{AppDataChange, AppDataOp, AppDataView, Change, CommitView, ExternalJoin, Member},
    policy::{self, ChangeSet, ComponentOp, ComponentUpdate, Envelope, RoomState, component, role},
    wire::{FanoutContent, GroupInfoRatchetTree, RatchetTreeOption, UpdateOutcome},
};
use ruma::{OwnedRoomId, RoomId};
use serde_json::json;

use crate::{
    attacks::{Rogue, bundle, now, refused, yes},
    homeserver::Fault,
    permitted::{alone, ask, come},
    rejoin::Switch,
    silo::{Silo, Two, ask_bot_in, bring, until, until_bodies, until_member, until_true},
};

fn told(silo: &Silo, room: &RoomId, text: &str) -> usize {
    silo.homeserver.notices(room).iter().filter(|notice| notice.contains(text)).count()
}

async fn until_told(silo: &Silo, room: &RoomId, text: &str, times: usize) {
    until_true(&format!("“{text}”"), || told(silo, room, text) == times).await;
}

fn rule(silo: &Silo, room: &RoomId, by: &str, rule: &str) {
    silo.homeserver.set(room, by, "m.room.join_rules", json!({ "join_rule": rule }));
}

/// A public room of A1's, in which nobody else is yet.
fn public(silo: &Silo) -> OwnedRoomId {
    let room = silo.homeserver.create_room("a1", "Market");
    rule(silo, &room, "a1", "public");
    room
}

/// A1 mirrors it.
async fn mirror(silo: &Silo, room: &RoomId) -> RoomUri {
    ask_bot_in(&silo.homeserver, room, "a1").await;
    silo.homeserver.say(room, "a1", "!mimi bridge");
    until("the room is mirrored", || {
        let notices = silo.homeserver.notices(room);
        let text = notices.iter().find_map(|text| text.strip_prefix("This room is mirrored as "))?.to_owned();
        Some(RoomUri::parse(text.split(". ").next()?).unwrap())
    })
    .await
}

/// Somebody comes in by the room's address: their room there.
pub(crate) async fn enter(silo: &Silo, name: &str, uri: &RoomUri) -> OwnedRoomId {
    let desk = alone(silo, name).await;
    let told = ask(silo, &desk, name, &format!("join {uri}")).await;
    assert!(told.contains("asked") || told.contains("invited"), "{told}");
    let portal = until("an invitation", || silo.homeserver.invitations(name).first().cloned()).await;
    silo.homeserver.join(&portal, name);
    portal
}

async fn is_refused(silo: &Silo, name: &str, uri: &RoomUri) {
    let desk = alone(silo, name).await;
    let told = ask(silo, &desk, name, &format!("join {uri}")).await;
    assert!(told.contains("does not let you in"), "{told}");
}

const OPEN: &str = "It is public: users of all providers";
const CLOSED: &str = "MIMI users have to be asked into this room again";

#[tokio::test(flavor = "multi_thread")]
async fn who_is_elsewhere_comes_into_a_public_room_by_themselves_and_talks() {
    let two = Two::new().await;
    let (a, b) = (&two.a, &two.b);
    let room = public(a);
    let uri = mirror(a, &room).await;
    assert_eq!(told(a, &room, OPEN), 1);
    let at_b = enter(b, "b1", &uri).await;
    until_member(a, &room, &a.ghost(&b.uri("b1")), "join").await;
    b.homeserver.say(&at_b, "b1", "what is for sale?");
    until_bodies(a, &room, &["what is for sale?"]).await;
    a.homeserver.say(&room, "a1", "tea");
    until_bodies(b, &at_b, &["what is for sale?", "tea"]).await;
    // The next one of theirs needs nobody, either.
    assert_eq!(enter(b, "b2", &uri).await, at_b);
    until_member(a, &room, &a.ghost(&b.uri("b2")), "join").await;
    b.homeserver.say(&at_b, "b2", "green?");
    until_bodies(a, &room, &["what is for sale?", "tea", "green?"]).await;
    assert_eq!(b.homeserver.member(&at_b, "@b2:b.test").as_deref(), Some("join"));
    // Who is put out can come again; who is banned cannot.
    a.homeserver.kick(&room, "a1", &a.ghost(&b.uri("b2")));
    until_member(b, &at_b, "@b2:b.test", "leave").await;
    assert_eq!(enter(b, "b2", &uri).await, at_b);
    until_member(a, &room, &a.ghost(&b.uri("b2")), "join").await;
    a.homeserver.ban(&room, "a1", &a.ghost(&b.uri("b2")));
    until_member(b, &at_b, "@b2:b.test", "ban").await;
    is_refused(b, "b2", &uri).await;
    assert_eq!((a.engine().quarantined(), b.engine().quarantined()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_is_not_public_lets_nobody_in_by_themselves() {
    let two = Two::new().await;
    for how in ["invite", "knock"] {
        let room = two.a.homeserver.create_room("a1", "Tea");
        rule(&two.a, &room, "a1", how);
        let uri = mirror(&two.a, &room).await;
        is_refused(&two.b, "b1", &uri).await;
        assert_eq!(told(&two.a, &room, OPEN), 0);
    }
}

/// What M1 needs for coming in by an external commit.
async fn info(m: &Rogue, a: &Silo, uri: &RoomUri, user: &UserUri) -> GroupInfoRatchetTree {
    m.group_info(a, uri, user).await.expect("the room is open")
}

/// The commit by which this user comes in with this role.
fn commit(user: &UserUri, to: u32, info: &GroupInfoRatchetTree) -> Vec<u8> {
    let RatchetTreeOption::Full(tree) = &info.ratchet_tree else { panic!("no tree") };
    let nothing = Change::default();
    let mut join = ExternalJoin {
        group_info: info.group_info.as_bytes(),
        ratchet_tree: tree.as_bytes(),
        pending_proposals: &[],
        user,
        change: &nothing,
        now: now(),
    };
    let components = mimi_gateway::mls::components_outside(&join).unwrap();
    let mut state = RoomState::from_components(&components).unwrap();
    let update = policy::update_add(&state, &[(user.clone(), to)]).unwrap();
    let app_data = vec![AppDataChange { component: component::PARTICIPANT_LIST, update }];
    let change = Change { app_data, ..Change::default() };
    join.change = &change;
    state.participants.retain(|(listed, _)| listed != user);
    state.participants.push((user.clone(), to));
    let list = state.to_components().unwrap()[&component::PARTICIPANT_LIST].clone();
    let values = std::collections::BTreeMap::from([(component::PARTICIPANT_LIST, list)]);
    bundle(&Member::join_external(&join, &mut yes(values)).unwrap().1)
}

#[tokio::test(flavor = "multi_thread")]
async fn bans_from_before_the_room_was_mirrored_hold_for_those_elsewhere_and_for_our_own() {
    let two = Two::new().await;
    let (a, b) = (&two.a, &two.b);
    let m = Rogue::new("m", &a.net);
    let room = public(a);
    let (b1, a2) = (a.ghost(&b.uri("b1")), "@a2:a.test");
    for user in [b1.as_str(), &a.ghost(&m.uri("m1")), a2, "@carol:other.test"] {
        a.homeserver.make(&room, "a1", user, "ban", "spam");
    }
    let uri = mirror(a, &room).await;
    is_refused(b, "b1", &uri).await;
    // Nor with a GroupInfo that was given to somebody else.
    assert!(m.group_info(a, &uri, &m.uri("m1")).await.is_none());
    let shown = info(&m, a, &uri, &m.uri("m2")).await;
    let before = a.room(&uri).await.unwrap();
    let reply = m.update(a, &uri, &commit(&m.uri("m1"), role::MEMBER, &shown)).await;
    assert!(refused(&reply) && reply.description.contains("banned"), "{reply:?}");
    // Who comes in comes as a member and as nothing more.
    for index in [role::ADMIN, role::MODERATOR, role::BANNED] {
        let reply = m.update(a, &uri, &commit(&m.uri("m2"), index, &shown)).await;
        assert!(refused(&reply), "{index}: {reply:?}");
    }
    assert_eq!(a.room(&uri).await.unwrap(), before);

    // Nobody elsewhere asks our own in.
    let at_b = enter(b, "b2", &uri).await;
    until_member(a, &room, &a.ghost(&b.uri("b2")), "join").await;
    b.homeserver.say(&at_b, "b2", &format!("!mimi invite {}", a.uri("a2")));
    until_told(b, &at_b, "a2 (a.example) is banned from this room.", 1).await;
    b.homeserver.say(&at_b, "b2", "!mimi invite mimi://a.example/u/carol%3Aother.test");
    until_true("Carol, too", || told(b, &at_b, "is banned from this room.") == 2).await;
    // With its end they can.
    a.homeserver.unban(&room, "a1", a2);
    a.homeserver.unban(&room, "a1", &b1);
    until_true("it is lifted", || a.homeserver.is_quiet()).await;
    a.homeserver.say(&room, "a1", "all free");
    until_bodies(b, &at_b, &["all free"]).await;
    assert_eq!(enter(b, "b1", &uri).await, at_b);
    until_member(a, &room, &b1, "join").await;
    come(a, &room, "a2");
    until_member(b, &at_b, &b.ghost(&a.uri("a2")), "join").await;
    assert_eq!(a.homeserver.member(&room, "@carol:other.test").as_deref(), Some("ban"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_join_rule_opens_and_closes_the_room_while_people_talk() {
    let two = Two::new().await;
    let (a, b) = (&two.a, &two.b);
    let room = a.homeserver.create_room("a1", "Market");
    let uri = mirror(a, &room).await;
    let at_b = bring(a, &room, "a1", b, "b1").await;
    let m = Rogue::new("m", &a.net);
    for times in 1..=2 {
        assert!(m.group_info(a, &uri, &m.uri("m1")).await.is_none());
        rule(a, &room, "a1", "public");
        until_told(a, &room, OPEN, times).await;
        info(&m, a, &uri, &m.uri("m1")).await;
        rule(a, &room, "a1", "invite");
        until_told(a, &room, CLOSED, times).await;
    }
    assert!(m.group_info(a, &uri, &m.uri("m1")).await.is_none());
    let desk = alone(b, "b2").await;
    let words = ask(b, &desk, "b2", &format!("join {uri}")).await;
    assert!(words.contains("somebody in the room has to invite you"), "{words}");
    // What a commit brings for an epoch in which it was open is too late; in the next one it is open again.
    rule(a, &room, "a1", "public");
    until_told(a, &room, OPEN, 3).await;
    let shown = info(&m, a, &uri, &m.uri("m1")).await;
    rule(a, &room, "a1", "knock");
    until_told(a, &room, CLOSED, 3).await;
    let reply = m.update(a, &uri, &commit(&m.uri("m1"), role::MEMBER, &shown)).await;
    assert!(matches!(reply.outcome, UpdateOutcome::WrongEpoch { .. }), "{reply:?}");
    rule(a, &room, "a1", "public");
    until_told(a, &room, OPEN, 4).await;
    let shown = info(&m, a, &uri, &m.uri("m1")).await;
    let reply = m.update(a, &uri, &commit(&m.uri("m1"), role::MEMBER, &shown)).await;
    assert!(matches!(reply.outcome, UpdateOutcome::Success { .. }), "{reply:?}");
    until_member(a, &room, &a.ghost(&m.uri("m1")), "join").await;
    until_member(b, &at_b, &b.ghost(&m.uri("m1")), "join").await;
    b.homeserver.say(&at_b, "b1", "welcome");
    until_bodies(a, &room, &["welcome"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_is_closed_at_once_also_where_its_rule_cannot_be_read() {
    let switch = Switch::default();
    let two = Two::with(switch.faults()).await;
    let (a, b) = (&two.a, &two.b);
    let room = public(a);
    let uri = mirror(a, &room).await;
    let rules = format!("state {room} m.room.join_rules");
    for fault in [Fault::Before, Fault::Refused] {
        switch.set(&[(rules.as_str(), fault)]);
        rule(a, &room, "a1", "invite");
        until_true("A takes it in", || a.homeserver.is_quiet()).await;
        is_refused(b, "b1", &uri).await;
        switch.set(&[]);
        rule(a, &room, "a1", "public");
        let desk = alone(b, "b2").await;
        while ask(b, &desk, "b2", &format!("join {uri}")).await.contains("does not let you in") {}
        let portal = until("an invitation", || b.homeserver.invitations("b2").first().cloned()).await;
        b.homeserver.join(&portal, "b2");
        until_member(a, &room, &a.ghost(&b.uri("b2")), "join").await;
        b.homeserver.leave(&portal, "b2");
        until_member(a, &room, &a.ghost(&b.uri("b2")), "leave").await;
    }
    enter(b, "b1", &uri).await;
    until_member(a, &room, &a.ghost(&b.uri("b1")), "join").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_say_what_roles_do_closes_a_room_and_does_not_open_it() {
    let two = Two::new().await;
    let (a, b) = (&two.a, &two.b);
    let room = public(a);
    come(a, &room, "a2");
    let mut levels = a.homeserver.states(&room, "m.room.power_levels").pop().unwrap();
    levels["users"]["@a2:a.test"] = json!(50);
    a.homeserver.set(&room, "a1", "m.room.power_levels", levels);
    let uri = mirror(a, &room).await;
    rule(a, &room, "a2", "invite");
    until_told(a, &room, CLOSED, 1).await;
    is_refused(b, "b1", &uri).await;
    rule(a, &room, "a2", "public");
    until_told(a, &room, "made this room public, and MIMI users still have to be asked in", 1).await;
    is_refused(b, "b1", &uri).await;
    rule(a, &room, "a1", "invite");
    rule(a, &room, "a1", "public");
    until_true("A1 opens it", || told(a, &room, OPEN) == 2).await;
    enter(b, "b1", &uri).await;
    until_member(a, &room, &a.ghost(&b.uri("b1")), "join").await;
}

/// From the next start on there may be open rooms, or not.
async fn allows(silo: &Silo, open_rooms: bool) {
    *silo.envelope.lock().unwrap() = Envelope { open_rooms, ..Envelope::default() };
    silo.stop().await;
    silo.start().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_operator_allows_no_open_rooms_there_are_none() {
    let two = Two::new().await;
    let (a, b) = (&two.a, &two.b);
    let open = public(a);
    let at_a = mirror(a, &open).await;
    allows(a, false).await;
    // One that was open is closed, another one does not become so.
    until_told(a, &open, CLOSED, 1).await;
    is_refused(b, "b1", &at_a).await;
    let room = a.homeserver.create_room("a1", "Tea");
    let uri = mirror(a, &room).await;
    rule(a, &room, "a1", "public");
    until_told(a, &room, "the operator of this server allows no rooms into which MIMI users can come", 1).await;
    is_refused(b, "b1", &uri).await;
    let third = public(a);
    let uri = mirror(a, &third).await;
    assert_eq!(told(a, &third, OPEN), 0);
    is_refused(b, "b1", &uri).await;
    // Nor do our users go into those of others.
    allows(a, true).await;
    rule(a, &open, "a1", "invite");
    rule(a, &open, "a1", "public");
    until_told(a, &open, OPEN, 2).await;
    allows(b, false).await;
    let desk = alone(b, "b1").await;
    let words = ask(b, &desk, "b1", &format!("join {at_a}")).await;
    assert!(words.contains("does not allow its users rooms like it (anybody may come in)"), "{words}");
}

/// What a commit that brings no clients changes.
pub(crate) fn judged(view: &CommitView) -> Result<std::collections::BTreeMap<u16, Vec<u8>>, String> {
    let (state, by) = (RoomState::from_components(&view.components).unwrap(), view.sender.user());
    let update = |change: &AppDataView| {
        let AppDataOp::Update(bytes) = &change.op else { panic!("a removal") };
        let (component, op) = (change.component, ComponentOp::Update(bytes.clone()));
        ComponentUpdate { component, op, proposer: by.clone() }
    };
    let changes = ChangeSet { updates: view.app_data.iter().map(update).collect(), ..ChangeSet::default() };
    policy::judge(&state, by, &changes).map_err(|refusal| refusal.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_elsewhere_does_not_open_a_room_that_is_not_public() {
    let two = Two::new().await;
    let a = &two.a;
    let mut m = Rogue::new("m", &a.net);
    let room = a.homeserver.create_room("a1", "Tea");
    let uri = mirror(a, &room).await;
    m.enter(a, &room, &uri, "m1").await;
    let m1 = m.uri("m1");
    until_member(a, &room, &a.ghost(&m1), "join").await;
    let mut levels = a.homeserver.states(&room, "m.room.power_levels").pop().unwrap();
    levels["users"][a.ghost(&m1)] = json!(100);
    a.homeserver.set(&room, "a1", "m.room.power_levels", levels);
    until_known(&mut m, "M1 is an admin", |state| state.role_of(&m1) == Some(role::ADMIN)).await;
    // Each time it is closed, until it has been often enough for an hour. Nobody comes in either way.
    for round in 1..=4 {
        let update = policy::update_open_join(&m.state(), role::MEMBER, true).unwrap();
        let app_data = vec![AppDataChange { component: component::ROLES_LIST, update: update.clone() }];
        let change = Change { app_data, path: true, ..Change::default() };
        let values = std::collections::BTreeMap::from([(component::ROLES_LIST, update)]);
        let staged = m.member().stage_commit(&m1, &change, &mut yes(values), now()).unwrap();
        let reply = m.update(a, &uri, &bundle(&staged)).await;
        assert!(matches!(reply.outcome, UpdateOutcome::Success { .. }), "{reply:?}");
        m.member.as_mut().unwrap().accept_staged(&staged, &mut judged, now()).unwrap();
        if round <= 3 {
            until_told(a, &room, CLOSED, round).await;
            until_known(&mut m, "it is closed", |state| !state.is_open()).await;
        }
        is_refused(&two.b, "b1", &uri).await;
    }
    assert_eq!(told(a, &room, CLOSED), 3);
}

/// M1 follows the commits of the room until it is so.
async fn until_known(m: &mut Rogue, what: &str, test: impl Fn(&RoomState) -> bool) {
    until_true(what, || {
        for fanout in m.fanned_out() {
            if let FanoutContent::Commit { message, .. } = fanout.content
                && message.epoch() == Some(m.member().epoch())
            {
                m.member.as_mut().unwrap().apply_commit(message.as_bytes(), &mut judged, now()).unwrap();
            }
        }
        test(&m.state())
    })
    .await;
}
