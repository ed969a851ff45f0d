//! What the room's policy says of messages binds our users, wherever the room is hosted; what others say stays as it is.

use serde_json::{Value, json};

use super::{
    fake_group::{plaintext, sealed_by},
    fakes::room_uri,
    named::{a1, b1, waiting, work_off},
    world::World,
};
use crate::{
    content::{Body, Disposition, Expiration, MimiContent, NestedPart, PartSemantics},
    ident::UserUri,
    policy::{Capability, LinkPreviewPolicy, MessageExpiration, Optionality, RoleList, component},
    room::{Input, Names as _, effect::Endpoint, group::Group as _},
    translate::Loss,
    wire::{FanoutContent, FanoutMessage, MlsMessage, SubmitMessageRequest, SubmitMessageResponse, Wire as _},
};

const A: usize = 0;
const B: usize = 1;

/// A room that A hosts and B follows, with this component.
fn two_with(id: u16, bytes: Vec<u8>) -> World {
    let mut world = World::new(41, &["a", "b"], &["u0@a"]);
    world.providers[A].group.shared.as_mut().unwrap().components.insert(id, bytes);
    world.bring_remote(&a1(), &b1());
    world
}

/// Somebody sends an event: what crosses of it, if anything does, and what its sender is told.
fn sent(world: &mut World, by: &UserUri, kind: &str, content: Value) -> (Option<MimiContent>, Vec<Loss>) {
    let at = world.at(&by.provider());
    let sender = world.providers[at].names.matrix_id(by).unwrap();
    world.providers[at].lost.clear();
    world.providers[at].expiring.clear();
    world.event(at, &sender, kind, None, content);
    work_off(world, at);
    let endpoint = if at == A { Endpoint::Notify } else { Endpoint::SubmitMessage };
    let sealed = waiting(world, at, 1 - at, endpoint).pop().map(|body| {
        if at == B {
            return SubmitMessageRequest::decode(&body).unwrap().app_message;
        }
        match FanoutMessage::decode_all(&body).unwrap().pop().unwrap().content {
            FanoutContent::Application { message, .. } => message,
            other => panic!("{other:?}"),
        }
    });
    let content = sealed.map(|sealed| MimiContent::decode(&plaintext(sealed.as_bytes())).unwrap());
    let lost = world.providers[at].lost.clone();
    world.settle();
    (content, lost)
}

// ----------------------------------------------------------------------------------------------------- link previews

fn previews(sending: Optionality) -> Vec<u8> {
    let policy = LinkPreviewPolicy {
        autodetect_hyperlinks_in_text: Optionality::Optional,
        send_link_previews: sending,
        automatic_link_previews: Optionality::Optional,
        link_preview_proxy_use: Optionality::Forbidden,
        link_preview_proxy: Vec::new(),
    };
    policy.encode().unwrap()
}

fn with_preview() -> Value {
    let url = "https://a.example/";
    json!({
        "msgtype": "m.text", "body": format!("see {url}"),
        "com.beeper.linkpreviews": [{ "matched_url": url, "og:url": url, "og:title": "A page" }],
    })
}

fn has_preview(content: &MimiContent) -> bool {
    content.body.walk().any(|part| part.disposition == Disposition::Preview)
}

#[test]
fn where_the_policy_has_no_link_previews_only_the_text_crosses_and_its_sender_is_told() {
    for by in [a1(), b1()] {
        for (policy, allowed) in [
            (previews(Optionality::Forbidden), false),
            // What cannot be read may forbid them.
            (b"?".to_vec(), false),
            (previews(Optionality::Optional), true),
        ] {
            let mut world = two_with(component::LINK_PREVIEW_POLICY, policy);
            let (content, lost) = sent(&mut world, &by, "m.room.message", with_preview());
            let content = content.unwrap();
            assert_eq!((has_preview(&content), lost.is_empty()), (allowed, allowed), "{by}");
            if !allowed {
                assert_eq!(lost, [Loss::Preview]);
                assert_eq!(content.body, NestedPart::text("text/plain;charset=utf-8", "see https://a.example/"));
            }
        }
    }
}

#[test]
fn whose_role_has_no_link_previews_says_the_rest() {
    let mut world = World::new(41, &["a", "b"], &["u0@a"]);
    let components = &mut world.providers[A].group.shared.as_mut().unwrap().components;
    let mut roles = RoleList::decode(&components[&component::ROLES_LIST]).unwrap();
    for role in &mut roles.0 {
        role.capabilities.retain(|code| *code != Capability::SendLinkPreview.code());
    }
    components.insert(component::ROLES_LIST, roles.encode().unwrap());
    world.providers[A].room.as_mut().unwrap().keeps_roles = true;
    world.bring_remote(&a1(), &b1());
    let (content, lost) = sent(&mut world, &b1(), "m.room.message", with_preview());
    assert_eq!((content.map(|content| has_preview(&content)), lost), (Some(false), vec![Loss::Preview]));
}

#[test]
fn a_preview_of_others_is_shown_whatever_the_policy_says() {
    let mut world = two_with(component::LINK_PREVIEW_POLICY, previews(Optionality::Forbidden));
    let text = NestedPart::text("text/plain;charset=utf-8", "see https://b.example/");
    let preview = NestedPart::text("text/markdown", "**[A page](<https://b.example/>)**");
    let parts = vec![text, NestedPart { disposition: Disposition::Preview, ..preview }];
    let body = NestedPart::render(Body::Multi { semantics: PartSemantics::ProcessAll, parts });
    let content = MimiContent::new([5; 16], &b1(), &room_uri(), body);
    let epoch = world.providers[A].group.epoch();
    let app_message = MlsMessage::decode(&sealed_by(&b1(), epoch, 800, &content.encode().unwrap())).unwrap();
    let request = SubmitMessageRequest { app_message, sending_user: b1() };
    let submit = || Input::Submit { peer: b1().provider(), request: request.clone() };
    let answer = SubmitMessageResponse::decode(&world.step(A, submit).unwrap()).unwrap();
    assert!(matches!(answer, SubmitMessageResponse::Accepted { .. }), "the draft has hubs judge nothing by it");
    world.settle();
    assert_eq!(world.providers[A].bodies(), ["see https://b.example/"]);
}

// ------------------------------------------------------------------------------------------------- message expiration

const DAY: u32 = 86_400;

fn expiring(expiring_messages: Optionality, default_expiration_duration: Option<u32>) -> World {
    let (min_expiration_duration, max_expiration_duration) =
        if expiring_messages == Optionality::Forbidden { (0, 0) } else { (60, DAY) };
    let policy = MessageExpiration {
        expiring_messages,
        min_expiration_duration,
        max_expiration_duration,
        default_expiration_duration,
    };
    two_with(component::MESSAGE_EXPIRATION_POLICY, policy.encode().unwrap())
}

fn hello() -> Value {
    json!({ "msgtype": "m.text", "body": "hello" })
}

fn after_reading(seconds: u64) -> Value {
    let timer = json!({ "type": "after_read", "timer": seconds * 1000 });
    json!({ "msgtype": "m.text", "body": "hello", "com.beeper.disappearing_timer": timer })
}

/// Seconds after it was said.
fn after(content: &MimiContent, seconds: u32) -> Expiration {
    let said = content.sender_timestamp().unwrap().millis.div_ceil(1000);
    Expiration::At(u32::try_from(said).unwrap() + seconds)
}

#[test]
fn where_messages_expire_those_without_a_time_get_one_and_go_here_too() {
    for by in [a1(), b1()] {
        for (wanted, usual, seconds) in [
            (Optionality::Required, None, Some(DAY)),
            (Optionality::Required, Some(600), Some(600)),
            (Optionality::Optional, Some(600), Some(600)),
            (Optionality::Optional, None, None),
            (Optionality::Forbidden, None, None),
        ] {
            let mut world = expiring(wanted, usual);
            let (content, lost) = sent(&mut world, &by, "m.room.message", hello());
            let content = content.unwrap();
            let expected = seconds.map(|seconds| after(&content, seconds));
            assert_eq!(content.expires, expected, "{wanted:?} {usual:?}");
            assert_eq!(lost, Vec::from_iter(seconds.map(|_| Loss::Staying)));
            let at = world.at(&by.provider());
            let going: Vec<_> = world.providers[at].expiring.iter().map(|(expires, _)| *expires).collect();
            // In a Matrix room of the host's own that is for the room and its homeserver.
            let goes = if by == a1() { None } else { expected };
            assert_eq!(going, Vec::from_iter(goes), "its event here goes then");
        }
    }
}

#[test]
fn a_time_outside_of_the_policys_bounds_is_brought_into_them_and_its_sender_is_told() {
    let mut world = expiring(Optionality::Optional, None);
    for (wanted, is) in [(5, 60), (3600, 3600), (7 * 86_400, DAY)] {
        let (content, lost) = sent(&mut world, &b1(), "m.room.message", after_reading(wanted));
        assert_eq!(content.unwrap().expires, Some(Expiration::AfterReading(is)));
        assert_eq!(lost.is_empty(), wanted == u64::from(is), "{lost:?}");
    }
    let at = world.now + 3 * 86_400_000;
    let timed = json!({ "msgtype": "m.text", "body": "hello", "org.matrix.self_destruct_after": at });
    let content = sent(&mut world, &b1(), "m.room.message", timed).0.unwrap();
    assert_eq!(content.expires, Some(after(&content, DAY)));
    // Exactly as long as is allowed, counted from within a second.
    world.now += 1000 - world.now % 1000 + 500;
    let timed = json!({ "type": "after_send", "timer": 86_400_000 });
    let timed = json!({ "msgtype": "m.text", "body": "hello", "com.beeper.disappearing_timer": timed });
    let (content, lost) = sent(&mut world, &b1(), "m.room.message", timed);
    let content = content.unwrap();
    assert_eq!((content.expires, lost), (Some(after(&content, DAY)), vec![]));
}

#[test]
fn where_messages_may_not_expire_they_stay_and_their_sender_is_told() {
    let mut world = expiring(Optionality::Forbidden, None);
    let (content, lost) = sent(&mut world, &b1(), "m.room.message", after_reading(3600));
    assert_eq!((content.unwrap().expires, lost), (None, vec![Loss::Expiration]));
    assert!(world.providers[B].expiring.is_empty());
}

#[test]
fn what_others_say_without_a_time_stays() {
    let mut world = expiring(Optionality::Required, Some(600));
    let content = MimiContent::new([5; 16], &b1(), &room_uri(), NestedPart::text("text/plain", "for good"));
    let epoch = world.providers[A].group.epoch();
    let app_message = MlsMessage::decode(&sealed_by(&b1(), epoch, 800, &content.encode().unwrap())).unwrap();
    let request = SubmitMessageRequest { app_message, sending_user: b1() };
    let submit = || Input::Submit { peer: b1().provider(), request: request.clone() };
    let answer = SubmitMessageResponse::decode(&world.step(A, submit).unwrap()).unwrap();
    assert!(matches!(answer, SubmitMessageResponse::Accepted { .. }));
    world.settle();
    assert_eq!(world.providers[A].bodies(), ["for good"]);
    assert!(world.providers[A].expiring.is_empty());
}
