//! A file among alternatives: shown at its place, or a note until it comes.

use std::time::Duration;

use mimi_gateway::{
    content::{Body, Disposition, MimiContent, NestedPart, PartSemantics},
    ident::RoomUri,
    wire::{FanoutContent, MlsMessage, SafeAad, Wire as _},
};
use serde_json::Value;

use crate::{
    attacks::{Rogue, hosted_by, notify},
    homeserver::Fault,
    media::{GET, bytes_of, notice, shown, two},
    silo::{Silo, until, until_true},
};

/// A member of a provider that is no gateway says it.
async fn says(rogue: &mut Rogue, b: &Silo, uri: &RoomUri, salt: u8, part: NestedPart) {
    let m1 = rogue.uri("m1");
    let (words, _) = MimiContent::new([salt; 16], &m1, uri, part).encode_with_id(&m1, uri).unwrap();
    let sealed = rogue.member.as_mut().unwrap().seal(&m1, &words, &SafeAad::default()).unwrap();
    let content = FanoutContent::Application { message: MlsMessage::decode(&sealed).unwrap(), frank: None };
    notify(rogue, b, uri, content).await.unwrap();
}

/// A text, or this picture of the same.
async fn choice(rogue: &Rogue, b: &Silo, bytes: &[u8]) -> NestedPart {
    let external = b.files().offer(&b.domain, &rogue.uri("m1"), bytes).await;
    let body = Body::External(Box::new(external));
    let picture = NestedPart { disposition: Disposition::Render, language: String::new(), body };
    let parts = vec![NestedPart::text("text/plain", "a cat"), picture];
    NestedPart::render(Body::Multi { semantics: PartSemantics::ChooseOne, parts })
}

fn is_picture(event: &Value) -> bool {
    event["content"]["msgtype"] == "m.image" && event["content"]["body"] == "a cat"
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_choice_the_picture_is_shown_at_its_place() {
    let (two, _, _, _) = two().await;
    let mut rogue = Rogue::new("m", &two.a.net);
    let (uri, portal) = hosted_by(&mut rogue, &two.b).await;
    let part = choice(&rogue, &two.b, b"meow").await;
    says(&mut rogue, &two.b, &uri, 1, part).await;
    says(&mut rogue, &two.b, &uri, 2, NestedPart::text("text/plain", "and then")).await;
    let b = &two.b.homeserver;
    until_true("both", || b.bodies(&portal).len() == 2).await;
    assert_eq!(b.bodies(&portal), ["a cat", "and then"]);
    let event = shown(&two.b, &portal).remove(0);
    assert!(is_picture(&event), "{event}");
    assert_eq!(bytes_of(&two.b, &event), b"meow");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_within_a_message_is_shown_where_nothing_can_be_fetched() {
    let (two, switch, _, _) = two().await;
    let mut rogue = Rogue::new("m", &two.a.net);
    let (uri, portal) = hosted_by(&mut rogue, &two.b).await;
    switch.set(&[(GET, Fault::Refused)]);
    let gif = Body::Single { content_type: "image/gif".to_owned(), content: b"GIF89".to_vec() };
    let parts = vec![NestedPart::text("text/plain", "a cat"), NestedPart::render(gif)];
    let part = NestedPart::render(Body::Multi { semantics: PartSemantics::ProcessAll, parts });
    says(&mut rogue, &two.b, &uri, 1, part).await;
    let event = until("the picture", || shown(&two.b, &portal).pop()).await;
    assert!(is_picture(&event), "{event}");
    assert_eq!(bytes_of(&two.b, &event), b"GIF89");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_note_stands_in_the_place_of_a_choice_until_its_picture_comes_and_its_text_if_it_never_does() {
    let (two, switch, _, _) = two().await;
    *two.b.files().wait.lock().unwrap() = Duration::ZERO;
    two.b.stop().await;
    two.b.start().await;
    let mut rogue = Rogue::new("m", &two.a.net);
    let (uri, portal) = hosted_by(&mut rogue, &two.b).await;
    switch.set(&[(GET, Fault::Before)]);
    let part = choice(&rogue, &two.b, b"meow").await;
    says(&mut rogue, &two.b, &uri, 1, part).await;
    until_true("a note", || notice(&two.b, &portal, "still on the way")).await;
    switch.set(&[]);
    let event = until("the picture", || shown(&two.b, &portal).pop()).await;
    assert!(is_picture(&event), "{event}");
    // One that is gone for good.
    switch.set(&[(GET, Fault::Refused)]);
    let part = choice(&rogue, &two.b, b"purr").await;
    says(&mut rogue, &two.b, &uri, 2, part).await;
    until_true("a note", || notice(&two.b, &portal, "could not be fetched")).await;
    let texts = || two.b.homeserver.events(&portal).into_iter().filter(|event| event["content"]["msgtype"] == "m.text");
    until_true("its text", || texts().any(|event| event["content"]["body"] == "a cat")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caption_calls_whom_the_text_alone_would_call() {
    let (two, _, _, _) = two().await;
    let mut rogue = Rogue::new("m", &two.a.net);
    let (uri, portal) = hosted_by(&mut rogue, &two.b).await;
    let [b1, outsider] = ["b1", "b2"].map(|name| two.b.uri(name));
    let words = format!("[b1]({b1}), [somebody]({outsider}) and [@room]({uri})");
    let text = || NestedPart::text("text/markdown;variant=GFM-MIMI", &words);
    let external = two.b.files().offer(&two.b.domain, &rogue.uri("m1"), b"meow").await;
    let picture = NestedPart::render(Body::External(Box::new(external)));
    let both = NestedPart::render(Body::Multi { semantics: PartSemantics::ProcessAll, parts: vec![text(), picture] });
    says(&mut rogue, &two.b, &uri, 1, text()).await;
    says(&mut rogue, &two.b, &uri, 2, both).await;
    let event = until("the picture", || shown(&two.b, &portal).pop()).await;
    let b = &two.b.homeserver;
    let alone = b.events(&portal).into_iter().find(|event| event["content"]["msgtype"] == "m.text").unwrap();
    let called = &event["content"]["m.mentions"];
    assert_eq!((called, &called["user_ids"]), (&alone["content"]["m.mentions"], &serde_json::json!([b.user("b1")])));
}
