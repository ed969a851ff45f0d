//! What a room's policy says of messages: our users keep to it in rooms that others host.

use mimi_gateway::{
    content::{Disposition, MimiContent},
    engine::ports::Endpoint,
    policy::{LinkPreviewPolicy, Optionality, component},
    wire::{SubmitMessageRequest, Wire as _},
};
use serde_json::{Value, json};

use crate::{
    attacks::Rogue,
    said::hosted,
    silo::{until, until_true},
};

/// What the hub got last, of so many messages.
async fn got(rogue: &mut Rogue, number: usize) -> MimiContent {
    let calls = || rogue.net.calls(&rogue.domain, Endpoint::SubmitMessage);
    let call = until("the message", || calls().get(number - 1).cloned()).await;
    let request = SubmitMessageRequest::decode(&call.body).unwrap();
    let opened = rogue.member.as_mut().unwrap().open(request.app_message.as_bytes()).unwrap();
    MimiContent::decode(&opened.plaintext).unwrap()
}

fn text(body: &str, key: &str, value: Value) -> Value {
    json!({ "msgtype": "m.text", "body": body, key: value })
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_room_has_no_link_previews_the_text_goes_without_and_its_sender_hears_once() {
    let policy = LinkPreviewPolicy {
        autodetect_hyperlinks_in_text: Optionality::Optional,
        send_link_previews: Optionality::Forbidden,
        automatic_link_previews: Optionality::Forbidden,
        link_preview_proxy_use: Optionality::Forbidden,
        link_preview_proxy: Vec::new(),
    };
    let (mut rogue, b, _, portal) = hosted(vec![(component::LINK_PREVIEW_POLICY, policy.encode().unwrap())]).await;
    let url = "https://b.example/";
    let preview = json!([{ "matched_url": url, "og:url": url, "og:title": "A page" }]);
    for number in 1..=2 {
        b.homeserver.send(&portal, "b1", "m.room.message", text(url, "com.beeper.linkpreviews", preview.clone()));
        let content = got(&mut rogue, number).await;
        assert!(content.body.walk().all(|part| part.disposition != Disposition::Preview), "{:?}", content.body);
    }
    let told = || b.homeserver.notices(&portal).iter().filter(|text| text.contains("policy has none")).count();
    until_true("a notice", || told() > 0).await;
    until_true("quiet", || b.homeserver.is_quiet()).await;
    assert_eq!(told(), 1);
}
