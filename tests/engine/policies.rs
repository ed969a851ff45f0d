//! What a room's policy says of messages: our users keep to it in rooms that others host.

use mimi_gateway::{
    content::{Disposition, Expiration, MimiContent},
    engine::ports::Endpoint,
    policy::{LinkPreviewPolicy, MessageExpiration, Optionality, component},
    wire::{SubmitMessageRequest, Wire as _},
};
use serde_json::{Value, json};

use crate::{
    attacks::Rogue,
    said::hosted,
    silo::{Two, ask_bot_in, bring, until, until_bodies, until_true},
};

/// What the hub got of what people say, and how many messages of all that was.
#[derive(Default)]
struct Heard {
    said: Vec<MimiContent>,
    opened: usize,
}

impl Heard {
    /// The message of this number.
    async fn get(&mut self, rogue: &mut Rogue, number: usize) -> MimiContent {
        while self.said.len() < number {
            let calls = || rogue.net.calls(&rogue.domain, Endpoint::SubmitMessage);
            let call = until("a message", || calls().get(self.opened).cloned()).await;
            self.opened += 1;
            let request = SubmitMessageRequest::decode(&call.body).unwrap();
            let opened = rogue.member.as_mut().unwrap().open(request.app_message.as_bytes()).unwrap();
            // Reports and cards are nothing that is said.
            let content = MimiContent::decode(&opened.plaintext);
            self.said.extend(content.ok().filter(|content| content.body.disposition != Disposition::Profile));
        }
        self.said[number - 1].clone()
    }
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
    let mut heard = Heard::default();
    for number in 1..=2 {
        b.homeserver.send(&portal, "b1", "m.room.message", text(url, "com.beeper.linkpreviews", preview.clone()));
        let content = heard.get(&mut rogue, number).await;
        assert!(content.body.walk().all(|part| part.disposition != Disposition::Preview), "{:?}", content.body);
    }
    let told = || b.homeserver.notices(&portal).iter().filter(|text| text.contains("policy has none")).count();
    until_true("a notice", || told() > 0).await;
    until_true("quiet", || b.homeserver.is_quiet()).await;
    assert_eq!(told(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_messages_have_to_disappear_those_of_ours_do_on_both_sides() {
    let policy = MessageExpiration {
        expiring_messages: Optionality::Required,
        min_expiration_duration: 1,
        max_expiration_duration: 86_400,
        default_expiration_duration: Some(2),
    };
    let bytes = policy.encode().unwrap();
    let (mut rogue, b, _, portal) = hosted(vec![(component::MESSAGE_EXPIRATION_POLICY, bytes)]).await;
    let (b1, mut heard) = (&b.homeserver, Heard::default());
    let sent =
        |content: &MimiContent| u32::try_from(content.sender_timestamp().unwrap().millis.div_ceil(1000)).unwrap();
    let event = b1.say(&portal, "b1", "gone soon");
    let content = heard.get(&mut rogue, 1).await;
    assert_eq!(content.expires, Some(Expiration::At(sent(&content) + 2)));
    let removed = || {
        let is_it = |seen: &Value| seen["type"] == "m.room.redaction" && seen["content"]["redacts"] == event.as_str();
        b1.events(&portal).iter().any(is_it)
    };
    until_true("it is removed here", removed).await;
    // What has a time of its own stays as long as the room wants at most.
    let week = json!({ "type": "after_read", "timer": 7 * 86_400_000 });
    b1.send(&portal, "b1", "m.room.message", text("a week", "com.beeper.disappearing_timer", week));
    assert_eq!(heard.get(&mut rogue, 2).await.expires, Some(Expiration::AfterReading(86_400)));
    let hour = json!({ "type": "after_read", "timer": 3_600_000 });
    b1.send(&portal, "b1", "m.room.message", text("an hour", "com.beeper.disappearing_timer", hour));
    assert_eq!(heard.get(&mut rogue, 3).await.expires, Some(Expiration::AfterReading(3600)));
    let told = || b1.notices(&portal).iter().filter(|text| text.contains("they disappear then, here too")).count();
    until_true("a notice", || told() > 0).await;
    until_true("quiet", || b1.is_quiet()).await;
    assert_eq!(told(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn how_long_messages_stay_in_a_matrix_room_is_the_policy_of_its_mimi_room() {
    let two = Two::new().await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    let at_a = a.create_room("a1", "Tea");
    let retention = |millis: u64| a.set(&at_a, "a1", "m.room.retention", json!({ "max_lifetime": millis }));
    retention(86_400_000);
    ask_bot_in(a, &at_a, "a1").await;
    a.say(&at_a, "a1", "!mimi bridge");
    let told = |part: &str| a.notices(&at_a).iter().filter(|text| text.contains(part)).count();
    until_true("the greeting", || told("For MIMI users messages disappear 1 day after they were said") == 1).await;
    let at_b = bring(&two.a, &at_a, "a1", &two.b, "b1").await;
    let goes = |events: Vec<Value>, body: &str| {
        let event = events.into_iter().find(|event| event["content"]["body"] == body).unwrap();
        event["content"]["org.matrix.self_destruct_after"].as_u64().is_some()
    };
    a.say(&at_a, "a1", "hello");
    until_bodies(&two.b, &at_b, &["hello"]).await;
    assert!(goes(b.events(&at_b), "hello"));
    b.say(&at_b, "b1", "hi");
    until_bodies(&two.a, &at_a, &["hello", "hi"]).await;
    assert!(goes(a.events(&at_a), "hi"));
    // What the MIMI room says of it stays: the draft lets nobody change it.
    retention(86_400_000);
    retention(3_600_000);
    until_true("a notice", || told("changed how long messages stay") > 0).await;
    a.say(&at_a, "a1", "later");
    until_bodies(&two.b, &at_b, &["hello", "hi", "later"]).await;
    assert_eq!(told("changed how long messages stay"), 1);
}
