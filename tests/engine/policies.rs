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
    silo::{until, until_true},
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
    let sent = |content: &MimiContent| u32::try_from(content.sender_timestamp().unwrap().millis.div_ceil(1000)).unwrap();
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
