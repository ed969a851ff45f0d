//! What the room's policy says of messages binds our users, wherever the room is hosted; what others say stays as it is.

use serde_json::{Value, json};

use super::{
    fake_group::{plaintext, sealed_by},
    fakes::room_uri,
    named::{a1, b1, waiting, work_off},
    world::World,
};
use crate::{
    content::{Body, Disposition, MimiContent, NestedPart, PartSemantics},
    ident::UserUri,
    policy::{Capability, LinkPreviewPolicy, Optionality, RoleList, component},
    room::{Input, Names as _, effect::Endpoint, group::Group as _},
    translate::Loss,
    wire::{
        FanoutContent, FanoutMessage, MlsMessage, SubmitMessageRequest, SubmitMessageResponse, Wire as _,
    },
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
