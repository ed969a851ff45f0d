//! What a message says of those before it: `lastSeen`, `externalMessageId` (draft-mimi-content-more-extensions-00).

use std::{collections::BTreeMap, sync::atomic::Ordering};

use mimi_gateway::{
    content::{
        Body, ContentError, Disposition, ExternalMessageId, IdScope, LastSeen, MAX_CONTENT_LEN, MessageId, MimiContent,
        NestedPart, TEXT_PLAIN, message_id,
    },
    engine::ports::Endpoint,
    ident::{RoomUri, UserUri},
    room::{EventIds, Telling},
    wire::{FRANK_AAD, FanoutContent, MlsMessage, SafeAad, SubmitMessageRequest, SubmitMessageResponse, Wire as _},
};
use ruma::{OwnedRoomId, RoomId};
use serde_json::Value;
use sha2::Digest as _;

use crate::{
    attacks::{Rogue, path, yes},
    franks::tag,
    homeserver::Fault,
    media,
    rejoin::Switch,
    silo::{Silo, Two, until_true},
};

/// A message as a third provider reads it.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub(crate) id: MessageId,
    bytes: Vec<u8>,
    pub(crate) content: MimiContent,
}

impl Said {
    /// The messages that it names.
    fn seen(&self) -> Option<Vec<MessageId>> {
        self.content.last_seen().map(|seen| match seen {
            LastSeen::Messages(ids) => ids,
            LastSeen::External(ids) => panic!("{ids:?}"),
        })
    }
}

/// Somebody at a third provider who reads all that is said in a room of A's.
pub(crate) struct Listener {
    pub(crate) rogue: Rogue,
    room: RoomUri,
    read: usize,
    heard: BTreeMap<String, Said>,
}

impl Listener {
    pub(crate) async fn new(two: &Two, at_a: &OwnedRoomId, room: &RoomUri) -> Self {
        let mut rogue = Rogue::new("m", &two.a.net);
        rogue.enter(&two.a, at_a, room, "m1").await;
        // The Welcome, and what came before it.
        let read = rogue.fanned_out().len();
        Self { rogue, room: room.clone(), read, heard: BTreeMap::new() }
    }

    fn listen(&mut self) {
        for fanout in self.rogue.fanned_out().into_iter().skip(self.read) {
            self.read += 1;
            let member = self.rogue.member.as_mut().unwrap();
            match fanout.content {
                FanoutContent::Commit { message, .. } if message.epoch() == Some(member.epoch()) => {
                    let now = crate::attacks::now();
                    member.apply_commit(message.as_bytes(), &mut yes(BTreeMap::new()), now).unwrap();
                }
                FanoutContent::Application { message, .. } => {
                    // Its own come back, too.
                    let Ok(opened) = member.open(message.as_bytes()) else { continue };
                    let content = MimiContent::decode(&opened.plaintext).unwrap();
                    let id = message_id(&opened.user, &self.room, &opened.plaintext, &content.salt);
                    let text = text(&content.body);
                    if let Some(text) = text.filter(|_| content.body.disposition != Disposition::Profile) {
                        assert!(self.heard.insert(text, Said { id, bytes: opened.plaintext, content }).is_none());
                    }
                }
                _ => {}
            }
        }
    }

    /// What was said with this text.
    pub(crate) async fn hear(&mut self, text: &str) -> Said {
        until_true(text, || {
            self.listen();
            self.heard.contains_key(text)
        })
        .await;
        self.heard[text].clone()
    }

    /// Says something itself.
    pub(crate) async fn say(&mut self, at: &Silo, text: &str, change: impl FnOnce(&mut MimiContent)) -> MessageId {
        let by = self.rogue.uri("m1");
        let (bytes, id) = words(&by, &self.room, text, change);
        let aad = SafeAad(BTreeMap::from([(FRANK_AAD, tag(&bytes))]));
        let sealed = self.rogue.member.as_mut().unwrap().seal(&by, &bytes, &aad).unwrap();
        let body = SubmitMessageRequest { app_message: MlsMessage::decode(&sealed).unwrap(), sending_user: by };
        let answer = self.rogue.send(at, Endpoint::SubmitMessage, &path(&self.room), &body.encode()).await.unwrap();
        let answer = SubmitMessageResponse::decode(&answer).unwrap();
        assert!(matches!(answer, SubmitMessageResponse::Accepted { .. }), "{answer:?}");
        id
    }
}

fn words(by: &UserUri, room: &RoomUri, text: &str, change: impl FnOnce(&mut MimiContent)) -> (Vec<u8>, MessageId) {
    let mut salt = [0; 16];
    for (to, from) in salt.iter_mut().zip(text.bytes()) {
        *to = from;
    }
    let mut content = MimiContent::new(salt, by, room, NestedPart::text(TEXT_PLAIN, text));
    change(&mut content);
    content.encode_with_id(by, room).unwrap()
}

fn text(part: &NestedPart) -> Option<String> {
    match &part.body {
        Body::Single { content, .. } => Some(String::from_utf8(content.clone()).unwrap()),
        Body::Multi { parts, .. } => parts.last().and_then(text),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_say_names_what_they_had_seen() {
    let two = Two::new().await;
    let (at_a, at_b, uri) = two.room().await;
    let mut listener = Listener::new(&two, &at_a, &uri).await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    a.say(&at_a, "a1", "one");
    a.say(&at_a, "a1", "two");
    let (one, two_) = (listener.hear("one").await, listener.hear("two").await);
    assert_eq!((one.seen(), two_.seen()), (None, Some(vec![one.id])));
    // Across the hub, and back.
    two.b.until_noted(&uri, two_.id.0).await;
    b.say(&at_b, "b1", "three");
    let three = listener.hear("three").await;
    assert_eq!(three.seen(), Some(vec![two_.id]));
    two.a.until_noted(&uri, three.id.0).await;
    two.a.stop().await;
    two.a.start().await;
    a.say(&at_a, "a1", "four");
    let four = listener.hear("four").await;
    assert_eq!(four.seen(), Some(vec![three.id]), "a restart forgets nothing");
    two.a.stop().await;
    two.a.start().await;
    // Changes of messages count, too.
    let edit = serde_json::json!({
        "msgtype": "m.text", "body": "* five",
        "m.new_content": { "msgtype": "m.text", "body": "five" },
        "m.relates_to": { "rel_type": "m.replace", "event_id": a.event(&at_a, "four") },
    });
    a.send(&at_a, "a1", "m.room.message", edit);
    let five = listener.hear("five").await;
    assert_eq!((five.seen(), five.content.replaces), (Some(vec![four.id]), Some(four.id)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_said_at_the_same_time_is_named_together() {
    let two = Two::new().await;
    let (at_a, _, uri) = two.room().await;
    let mut listener = Listener::new(&two, &at_a, &uri).await;
    let a = &two.a.homeserver;
    a.say(&at_a, "a1", "free pizza");
    let pizza = listener.hear("free pizza").await.id;
    let seen = move |content: &mut MimiContent| content.set_last_seen(&LastSeen::Messages(vec![pizza]));
    let first = listener.say(&two.a, "with pineapple?", seen).await;
    let second = listener.say(&two.a, "thanks", seen).await;
    for id in [first, second] {
        two.a.until_noted(&uri, id.0).await;
    }
    a.say(&at_a, "a1", "come");
    assert_eq!(listener.hear("come").await.seen(), Some(vec![first, second]));
    // Who does not say what they had seen had seen all.
    listener.say(&two.a, "plain", |_| {}).await;
    let plainer = listener.say(&two.a, "plainer", |_| {}).await;
    two.a.until_noted(&uri, plainer.0).await;
    a.say(&at_a, "a1", "welcome");
    assert_eq!(listener.hear("welcome").await.seen(), Some(vec![plainer]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_did_not_reach_the_matrix_room_was_not_seen() {
    let two = Two::new().await;
    let (at_a, _, uri) = two.room().await;
    let mut listener = Listener::new(&two, &at_a, &uri).await;
    two.a.homeserver.say(&at_a, "a1", "here");
    let here = listener.hear("here").await.id;
    *two.a.faults.lock().unwrap() = Box::new(|call| if call.contains("held up") { Fault::Before } else { Fault::None });
    let seen = move |content: &mut MimiContent| content.set_last_seen(&LastSeen::Messages(vec![here]));
    let late = listener.say(&two.a, "held up", seen).await;
    two.a.homeserver.say(&at_a, "a1", "anybody?");
    let anybody = listener.hear("anybody?").await;
    assert_eq!(anybody.seen(), Some(vec![here]));
    *two.a.faults.lock().unwrap() = Box::new(|_| Fault::None);
    two.a.until_noted(&uri, late.0).await;
    two.a.homeserver.say(&at_a, "a1", "ah");
    assert_eq!(listener.hear("ah").await.seen(), Some(vec![anybody.id, late]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_again_is_the_same() {
    let two = Two::new().await;
    let (at_a, at_b, uri) = two.room().await;
    let mut listener = Listener::new(&two, &at_a, &uri).await;
    two.b.homeserver.say(&at_b, "b1", "before");
    let before = listener.hear("before").await;
    let lost = std::sync::atomic::AtomicBool::new(false);
    *two.b.faults.lock().unwrap() = Box::new(move |call| {
        let submits = call.starts_with("submitMessage");
        if submits && !lost.swap(true, Ordering::Relaxed) { Fault::After } else { Fault::None }
    });
    let submitted = || two.a.net.calls(&two.a.domain, Endpoint::SubmitMessage);
    let first = submitted().len();
    two.b.homeserver.say(&at_b, "b1", "once");
    let once = listener.hear("once").await;
    until_true("it is sent again", || submitted().len() == first + 2).await;
    assert_eq!(submitted()[first].body, submitted()[first + 1].body);
    assert_eq!(once.seen(), Some(vec![before.id]));
    // What comes after an answer that was lost names the message all the same; what was heard twice would fail above.
    two.b.homeserver.say(&at_b, "b1", "after");
    assert_eq!(listener.hear("after").await.seen(), Some(vec![once.id]));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_message_is_too_long_because_of_it() {
    let two = Two::new().await;
    *two.a.telling.lock().unwrap() = Telling { event_ids: EventIds::All, ..Telling::default() };
    two.a.stop().await;
    two.a.start().await;
    let (at_a, _, uri) = two.room().await;
    let mut listener = Listener::new(&two, &at_a, &uri).await;
    two.a.homeserver.say(&at_a, "a1", "x");
    let short = listener.hear("x").await;
    let mut bare = short.content.clone();
    bare.extensions.retain(|key, _| *key != mimi_gateway::content::ExtensionKey::EXTERNAL_MESSAGE_ID);
    // Room for some bytes, and not for another id.
    let frame = bare.encode().unwrap().len() + 1;
    let long = "y".repeat(MAX_CONTENT_LEN - frame - 10);
    two.a.homeserver.say(&at_a, "a1", &long);
    let said = listener.hear(&long).await;
    assert_eq!((said.seen(), said.content.external_message_id()), (None, None));
    assert!(said.bytes.len() + 34 > MAX_CONTENT_LEN, "{}", said.bytes.len());
    let mut longer = said.content.clone();
    longer.set_last_seen(&LastSeen::Messages(vec![short.id]));
    assert_eq!(longer.encode(), Err(ContentError::TooLong));
    // It was seen, and is named by the next one.
    two.a.homeserver.say(&at_a, "a1", "z");
    assert_eq!(listener.hear("z").await.seen(), Some(vec![said.id]));
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_events_are_told_to_gateways_alone() {
    let two = Two::new().await;
    let (at_a, _, uri) = two.room().await;
    let mut listener = Listener::new(&two, &at_a, &uri).await;
    let cases = [
        (EventIds::Gateways, false, false),
        (EventIds::Gateways, true, true),
        (EventIds::All, false, true),
        (EventIds::Off, true, false),
    ];
    for (number, (event_ids, gateways, told)) in cases.into_iter().enumerate() {
        *two.a.telling.lock().unwrap() = Telling { event_ids, ..Telling::default() };
        two.a.net.gateways.store(gateways, Ordering::Relaxed);
        two.a.stop().await;
        two.a.start().await;
        let body = format!("case {number}");
        let event = two.a.homeserver.say(&at_a, "a1", &body);
        let expected =
            ExternalMessageId { id: event.as_bytes().to_vec(), scope: IdScope::Domain(two.a.domain.to_string()) };
        let said = listener.hear(&body).await;
        assert_eq!(said.content.external_message_id(), told.then_some(expected), "{event_ids:?} {gateways}");
    }
}

/// Its id as draft 07 has it: no lengths.
fn old_id(by: &UserUri, room: &RoomUri, bytes: &[u8]) -> MessageId {
    let mut id = [1; 32];
    let hash = sha2::Sha256::digest([by.as_str().as_bytes(), room.as_str().as_bytes(), bytes, &bytes[2..18]].concat());
    id[1..].copy_from_slice(&hash[..31]);
    MessageId(id)
}

fn shown(silo: &Silo, room: &RoomId, body: &str) -> Option<Value> {
    silo.homeserver.events(room).into_iter().find(|event| event["content"]["body"] == body)
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_of_draft_07_refer_to_messages_by_the_ids_that_it_gave_them() {
    let two = Two::new().await;
    let (at_a, at_b, uri) = two.room().await;
    let mut listener = Listener::new(&two, &at_a, &uri).await;
    two.a.homeserver.say(&at_a, "a1", "tea?");
    let tea = listener.hear("tea?").await;
    let tea_is = old_id(&two.a.uri("a1"), &uri, &tea.bytes);
    assert_ne!(tea_is, tea.id);
    let m1 = listener.rogue.uri("m1");
    let (own, _) = words(&m1, &uri, "with mlik", |_| {});
    listener.say(&two.a, "with mlik", |_| {}).await;
    let own_is = old_id(&m1, &uri, &own);
    listener.say(&two.a, "yes", |content| content.in_reply_to = Some(tea_is)).await;
    listener
        .say(&two.a, "+1", |content| {
            content.in_reply_to = Some(tea_is);
            content.body.disposition = Disposition::Reaction;
        })
        .await;
    listener.say(&two.a, "with milk", |content| content.replaces = Some(own_is)).await;
    listener.say(&two.a, "in a thread", |content| content.topic_id = tea_is.0.to_vec()).await;
    // Somebody else's message is not theirs to change, by whatever name.
    listener.say(&two.a, "no tea", |content| content.replaces = Some(tea_is)).await;
    // An id of the draft's form that no message has.
    let nothing = old_id(&m1, &uri, &tea.bytes);
    listener.say(&two.a, "what?", |content| content.in_reply_to = Some(nothing)).await;
    for (silo, room) in [(&two.a, &at_a), (&two.b, &at_b)] {
        let quoted = "[in reply to a message that is not here]";
        let lost = |event: &Value| event["content"]["body"].as_str().is_some_and(|body| body.contains(quoted));
        until_true("all is shown", || silo.homeserver.events(room).iter().any(lost)).await;
        let events = silo.homeserver.events(room);
        let tea = shown(silo, room, "tea?").unwrap()["event_id"].clone();
        let relates = |body: &str| shown(silo, room, body).unwrap()["content"]["m.relates_to"].clone();
        assert_eq!(relates("yes")["m.in_reply_to"]["event_id"], tea);
        assert_eq!(relates("in a thread")["event_id"], tea);
        let reaction = events.iter().find(|event| event["type"] == "m.reaction").unwrap();
        assert_eq!(reaction["content"]["m.relates_to"]["event_id"], tea);
        let edits: Vec<&Value> =
            events.iter().filter(|event| event["content"]["m.relates_to"]["rel_type"] == "m.replace").collect();
        assert_eq!(edits.len(), 1, "{edits:?}");
        assert_eq!(edits[0]["content"]["m.new_content"]["body"], "with milk");
        assert_eq!(
            edits[0]["content"]["m.relates_to"]["event_id"],
            shown(silo, room, "with mlik").unwrap()["event_id"]
        );
        assert_eq!(events.iter().filter(|event| lost(event)).count(), 1);
    }
    // After a start the log is read anew; who answers names the message by its own id.
    for silo in [&two.a, &two.b] {
        silo.stop().await;
        silo.start().await;
    }
    let later = listener.say(&two.a, "still", |content| content.in_reply_to = Some(tea_is)).await;
    two.a.until_noted(&uri, later.0).await;
    let still = shown(&two.a, &at_a, "still").unwrap();
    assert_eq!(
        still["content"]["m.relates_to"]["m.in_reply_to"]["event_id"],
        shown(&two.a, &at_a, "tea?").unwrap()["event_id"]
    );
    let edit = shown(&two.a, &at_a, "in a thread").unwrap();
    let answer = serde_json::json!({
        "msgtype": "m.text", "body": "good",
        "m.relates_to": { "rel_type": "m.thread", "event_id": edit["content"]["m.relates_to"]["event_id"] },
    });
    two.a.homeserver.send(&at_a, "a1", "m.room.message", answer);
    assert_eq!(listener.hear("good").await.content.topic_id, tea.id.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_of_draft_07_refer_with_files_too() {
    let two = Two::with_files(Switch::default().faults()).await;
    let (at_a, _, uri) = two.room().await;
    let mut listener = Listener::new(&two, &at_a, &uri).await;
    two.a.homeserver.say(&at_a, "a1", "tea?");
    let tea = listener.hear("tea?").await;
    let tea_is = old_id(&two.a.uri("a1"), &uri, &tea.bytes);
    let m1 = listener.rogue.uri("m1");
    let (own, _) = words(&m1, &uri, "a cup", |_| {});
    listener.say(&two.a, "a cup", |_| {}).await;
    let own_is = old_id(&m1, &uri, &own);
    let cup = two.a.files().offer(&two.a.domain, &m1, b"a cup").await;
    let pot = two.a.files().offer(&two.a.domain, &m1, b"a pot").await;
    let picture = |part| NestedPart::render(Body::External(Box::new(part)));
    listener
        .say(&two.a, "answers", |content| {
            content.in_reply_to = Some(tea_is);
            content.topic_id = tea_is.0.to_vec();
            content.body = picture(pot);
        })
        .await;
    listener
        .say(&two.a, "edits", |content| {
            content.replaces = Some(own_is);
            content.body = picture(cup);
        })
        .await;
    let events = || two.a.homeserver.events(&at_a);
    let edit = || events().into_iter().find(|event| event["content"]["m.relates_to"]["rel_type"] == "m.replace");
    until_true("the edit is there", || edit().is_some()).await;
    let edit = edit().unwrap();
    assert_eq!(edit["content"]["m.new_content"]["msgtype"], "m.image");
    assert_eq!(edit["content"]["m.relates_to"]["event_id"], shown(&two.a, &at_a, "a cup").unwrap()["event_id"]);
    let answer = media::shown(&two.a, &at_a).into_iter().find(|event| event["event_id"] != edit["event_id"]).unwrap();
    assert_eq!(media::bytes_of(&two.a, &answer), b"a pot");
    let tea = shown(&two.a, &at_a, "tea?").unwrap()["event_id"].clone();
    assert_eq!(answer["content"]["m.relates_to"]["m.in_reply_to"]["event_id"], tea);
    assert_eq!(answer["content"]["m.relates_to"]["event_id"], tea);
}
