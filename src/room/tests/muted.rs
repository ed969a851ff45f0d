//! Who may not speak is not heard: by the hub that reads, by one that does not, by followers, and from here.

use serde_json::json;

use super::{
    fake_group::sealed_by,
    fakes::{room_uri, user},
    named::{a1, a2, b1, c1, three},
    world::World,
};
use crate::{
    content::{
        Body, CborValue, Disposition, ExtensionKey, ExternalPart, MessageId, MimiContent, NestedPart, PartSemantics,
    },
    ident::UserUri,
    policy::role,
    room::{Input, Names as _, Phase, group::Group},
    translate::media::MEDIA_EXTENSION,
    wire::{FanoutContent, FanoutMessage, MlsMessage, SubmitMessageRequest, SubmitMessageResponse, Wire as _},
};

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;

/// Text of somebody's, sealed without asking their gateway.
fn sealed(world: &World, by: &UserUri, number: u8, part: NestedPart, answers: bool) -> MlsMessage {
    let mut content = MimiContent::new([number; 16], by, &room_uri(), part);
    content.in_reply_to = answers.then_some(MessageId([1; 32]));
    let epoch = world.providers[A].group.epoch();
    MlsMessage::decode(&sealed_by(by, epoch, 700 + u64::from(number), &content.encode().unwrap())).unwrap()
}

fn text() -> NestedPart {
    NestedPart::text("text/plain;charset=utf-8", "unasked")
}

/// A deletion of one of their own messages.
fn deletion(world: &World, by: &UserUri, number: u8) -> MlsMessage {
    let mut content = MimiContent::new([number; 16], by, &room_uri(), NestedPart::render(Body::Null));
    content.replaces = Some(MessageId([1; 32]));
    let epoch = world.providers[A].group.epoch();
    MlsMessage::decode(&sealed_by(by, epoch, 700 + u64::from(number), &content.encode().unwrap())).unwrap()
}

/// A sticker of theirs.
fn sticker(world: &World, by: &UserUri, number: u8) -> MlsMessage {
    let place = ExternalPart { content_type: "image/png".into(), url: "https://c/1".into(), ..ExternalPart::default() };
    let mut content =
        MimiContent::new([number; 16], by, &room_uri(), NestedPart::render(Body::External(Box::new(place))));
    let hint =
        [(1, CborValue::from(0_u64)), (2, CborValue::Bool(true))].map(|(key, value)| (CborValue::Integer(key), value));
    let hints = CborValue::Array(vec![CborValue::Map(hint.to_vec())]);
    content.extensions.insert(ExtensionKey::text(MEDIA_EXTENSION), hints);
    let epoch = world.providers[A].group.epoch();
    MlsMessage::decode(&sealed_by(by, epoch, 700 + u64::from(number), &content.encode().unwrap())).unwrap()
}

/// Whether the hub takes it.
fn taken(world: &mut World, by: &UserUri, app_message: MlsMessage) -> bool {
    let request = SubmitMessageRequest { app_message, sending_user: by.clone() };
    let submit = || Input::Submit { peer: by.provider(), request: request.clone() };
    let answer = SubmitMessageResponse::decode(&world.step(A, submit).unwrap()).unwrap();
    matches!(answer, SubmitMessageResponse::Accepted { .. })
}

#[test]
fn a_hub_refuses_who_is_muted_and_takes_them_again_later() {
    let mut world = three();
    world.empower(&a1(), &c1(), -1);
    world.settle();
    let message = sealed(&world, &c1(), 1, text(), false);
    assert!(!taken(&mut world, &c1(), message));
    world.settle();
    assert!(world.providers[A].timeline.is_empty() && world.providers[B].timeline.is_empty());
    assert!(world.providers[A].reports.iter().any(|text| text.contains("does not let them write")));
    world.empower(&a1(), &c1(), 0);
    world.settle();
    let message = sealed(&world, &c1(), 2, text(), false);
    assert!(taken(&mut world, &c1(), message));
    world.settle();
    assert_eq!((world.providers[A].bodies(), world.providers[B].bodies()), (vec!["unasked"], vec!["unasked"]));
}

#[test]
fn listeners_react_where_that_has_a_level_of_its_own() {
    let mut world = three();
    let mut content = world.providers[A].set["m.room.power_levels"].content.clone();
    content["events_default"] = json!(50);
    content["events"] = json!({ "m.reaction": 0 });
    world.set_levels(&a1(), content);
    world.settle();
    let message = sealed(&world, &c1(), 1, text(), false);
    assert!(!taken(&mut world, &c1(), message));
    let reaction = NestedPart { disposition: Disposition::Reaction, ..text() };
    let message = sealed(&world, &c1(), 2, reaction, true);
    assert!(taken(&mut world, &c1(), message));
}

#[test]
fn what_has_a_level_of_its_own_in_the_matrix_room_is_refused_below_it() {
    let mut world = three();
    let mut content = world.providers[A].set["m.room.power_levels"].content.clone();
    content["events"] = json!({ "m.room.redaction": 50, "m.sticker": 50 });
    world.set_levels(&a1(), content);
    world.settle();
    let first = deletion(&world, &c1(), 1);
    assert!(!taken(&mut world, &c1(), first));
    assert!(world.providers[A].reports.iter().any(|text| text.contains("does not let them delete messages")));
    let sticker = sticker(&world, &c1(), 3);
    assert!(!taken(&mut world, &c1(), sticker));
    assert!(world.providers[A].reports.iter().any(|text| text.contains("too low for m.sticker")));
    super::bans::give(&mut world, &c1(), role::MODERATOR);
    let second = deletion(&world, &c1(), 2);
    assert!(taken(&mut world, &c1(), second));
}

#[test]
fn what_has_no_level_of_its_own_is_refused_below_that_of_the_room() {
    let mut world = three();
    let mut content = world.providers[A].set["m.room.power_levels"].content.clone();
    content["events_default"] = json!(50);
    content["events"] = json!({ "m.room.message": 0 });
    world.set_levels(&a1(), content);
    world.settle();
    let message = sealed(&world, &c1(), 1, text(), false);
    assert!(taken(&mut world, &c1(), message), "that is said by all");
    let small = sticker(&world, &c1(), 2);
    assert!(!taken(&mut world, &c1(), small), "the homeserver would not take it");
    world.settle();
    assert!(world.providers[A].reports.iter().any(|text| text.contains("too low for m.sticker")));
    let shown = [A, B].map(|provider| world.providers[provider].timeline.len());
    assert_eq!(shown, [1, 1], "nobody is shown what the room itself does not have");
    super::bans::give(&mut world, &c1(), role::MODERATOR);
    let small = sticker(&world, &c1(), 3);
    assert!(taken(&mut world, &c1(), small));
}

#[test]
fn a_follower_shows_nothing_of_who_is_muted_and_goes_on() {
    let mut world = three();
    world.empower(&a1(), &c1(), -1);
    world.settle();
    // Another hub than ours lets it pass.
    let message = sealed(&world, &c1(), 1, text(), false);
    let timestamp = world.providers[A].room().last_accepted + 1;
    let content = FanoutContent::Application { message, frank: None };
    world.step(B, || Input::Fanout(FanoutMessage { timestamp, content: content.clone() }));
    world.settle();
    let b = &world.providers[B];
    assert!(b.timeline.is_empty(), "{:?}", b.timeline);
    assert!(b.reports.iter().any(|text| text.contains("is not shown: their role")), "{:?}", b.reports);
    assert_eq!(b.phase(), Some(&Phase::Active));
    world.say(&a1());
    world.settle();
    assert_eq!(world.providers[B].bodies(), ["u0 says 0!"]);
}

#[test]
fn a_hub_that_does_not_read_refuses_who_may_say_nothing() {
    let mut world = three();
    world.empower(&a1(), &c1(), -1);
    world.settle();
    world.leave(&a2());
    world.leave(&a1());
    world.settle();
    assert!(world.providers[A].group.is_public());
    let message = sealed(&world, &c1(), 1, text(), false);
    assert!(!taken(&mut world, &c1(), message));
    let message = sealed(&world, &b1(), 2, text(), false);
    assert!(taken(&mut world, &b1(), message));
    world.settle();
    assert_eq!(world.providers[C].bodies(), ["unasked"]);
}

#[test]
fn whom_the_matrix_room_bans_is_silent_although_nobody_can_ban_them() {
    let mut world = three();
    let message = sealed(&world, &c1(), 1, text(), false);
    world.providers[A].room.as_mut().unwrap().banned.insert(c1());
    assert!(!taken(&mut world, &c1(), message.clone()));
    assert!(world.providers[A].reports.iter().any(|text| text.contains("the Matrix room keeps out")));
    world.providers[A].room.as_mut().unwrap().banned.clear();
    assert!(taken(&mut world, &c1(), message));
}

/// What the homeserver lets somebody say who got the level for it a moment ago is said, as nobody waits for roles.
#[test]
fn who_gets_a_voice_is_heard_at_once() {
    for at in [A, B] {
        let mut world = three();
        let (giver, speaker) = if at == A { (a1(), a2()) } else { (b1(), user("u1@b")) };
        if at == B {
            world.empower(&a1(), &b1(), 100);
            world.settle();
            world.bring(&b1(), &speaker);
            world.settle();
            world.say(&speaker);
        }
        world.empower(&giver, &speaker, -1);
        world.settle();
        world.empower(&giver, &speaker, 0);
        world.say(&speaker);
        world.settle();
        let body = format!("{} says {}!", speaker.tail(), world.said.len() - 1);
        assert!(world.providers[C].bodies().contains(&body.as_str()), "{:?}", world.providers[at].notices);
        super::model::check(&world, true);
    }
}

#[test]
fn one_of_ours_who_may_not_write_is_told() {
    let mut world = three();
    world.empower(&a1(), &a2(), -1);
    world.settle();
    // Their homeserver should not have let them.
    world.say(&a2());
    world.settle();
    assert!(world.providers[B].timeline.is_empty() && world.providers[C].timeline.is_empty());
    let notices = &world.providers[A].notices;
    assert!(notices.iter().any(|text| text.contains("does not let them write")), "{notices:?}");
}

#[test]
fn that_nothing_of_somebody_can_be_shown_is_said_once_until_it_changes() {
    let mut world = three();
    let told = |world: &World| {
        let notices = world.providers[A].notices.iter();
        notices.filter(|text| text.contains("could not be shown here")).count()
    };
    let refused = |world: &mut World| {
        world.step(A, || Input::NotShown { user: b1(), why: "M_FORBIDDEN".to_owned() });
        world.settle();
    };
    refused(&mut world);
    refused(&mut world);
    assert_eq!(told(&world), 1);
    let name = world.providers[A].names.bot().to_string();
    let mut content = world.providers[A].set["m.room.power_levels"].content.clone();
    content["users"][name] = json!(100);
    content["notifications"] = json!({ "room": 1 });
    world.set_levels(&a1(), content);
    world.settle();
    refused(&mut world);
    assert_eq!(told(&world), 2);
}

#[test]
fn what_is_said_beside_a_card_is_shown() {
    let mut world = three();
    let card = NestedPart::text("text/vcard", "BEGIN:VCARD\nVERSION:4.0\nFN:Carol\nEND:VCARD");
    let said = |number: u8, parts: Vec<NestedPart>, world: &World| {
        let body = Body::Multi { semantics: PartSemantics::ProcessAll, parts };
        let part = NestedPart { disposition: Disposition::Profile, ..NestedPart::render(body) };
        sealed(world, &c1(), number, part, false)
    };
    let both = said(1, vec![card.clone(), NestedPart::text("text/plain", "Call me Carol")], &world);
    assert!(taken(&mut world, &c1(), both));
    let alone = said(2, vec![card.clone(), card], &world);
    assert!(taken(&mut world, &c1(), alone));
    world.settle();
    assert_eq!(world.providers[A].bodies(), ["Call me Carol"]);
    assert_eq!(world.providers[A].called.last().map(|(_, name)| name.as_str()), Some("Carol (c.test)"));
}
