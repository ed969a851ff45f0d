//! What users see of polls, locations, calls and the like after they crossed.

use proptest::prelude::*;
use ruma::{EventId, event_id};
use serde_json::{Value, json};

use super::{super::*, *};
use crate::{
    content::{
        Body, CborValue, Disposition, Expiration, ExtensionKey, ExternalPart, MessageId, PartSemantics, TEXT_MARKDOWN,
        TEXT_PLAIN,
    },
    ident::{RoomUri, UserUri},
};

mod sessions;
mod versions;

const SENT: u64 = 1_700_000_000_123;

fn alice() -> UserUri {
    UserUri::parse("mimi://a.example/u/alice").unwrap()
}
fn room() -> RoomUri {
    RoomUri::parse("mimi://a.example/r/club").unwrap()
}
fn send(event_type: &str, content: &Value, related: Option<MessageId>) -> Result<Translated, NotCarried> {
    let (sender, room) = (&alice(), &room());
    // Whatever event it names stands for that message.
    let named = |field: &str| content.get("m.relates_to")?.get(field)?.as_str().and_then(|id| id.try_into().ok());
    let past: Vec<_> = named("event_id").into_iter().zip(related.map(the_poll)).collect();
    crate::translate::to_mimi(
        event_type,
        content,
        &ToMimi { sender, room, salt: [1; 16], sent_ts: SENT, past: &past, mentions: &Nobody, room_link: None },
    )
}
/// The message that others refer to here.
fn the_poll(id: MessageId) -> Earlier {
    let kind = Kind::of(START, &element_poll());
    Earlier { id, first: id, sender: alice(), reply: None, reaction: false, topic: Vec::new(), kind }
}
fn mimi(event_type: &str, content: &Value) -> Translated {
    send(event_type, content, None).unwrap()
}
/// What is seen on the other side, after the message went through its bytes.
fn seen(message: &MimiContent, from_gateway: bool, related: Option<&EventId>) -> MatrixMessage {
    let message = MimiContent::decode(&message.encode().unwrap()).unwrap();
    let (sender, room) = (&alice(), &room());
    let ctx = ToMatrix { message_id: MessageId([2; 32]), sender, room, from_gateway, mentions: &Nobody };
    let shown = crate::translate::to_matrix(&message, &ctx);
    let Some(related) = related else { return shown };
    about(shown, related, &the_poll(MessageId([1; 32])))
}
/// What is seen of a message that refers to this one.
fn about(shown: MatrixMessage, event: &EventId, earlier: &Earlier) -> MatrixMessage {
    let found = |id: &Option<MessageId>| id.map(|_| Found { event: event.to_owned(), earlier: Some(earlier.clone()) });
    let (reply, replaced) = (found(&shown.refers.reply), found(&shown.refers.replaces));
    let resolved = Resolved { reply, replaced, ..Resolved::default() };
    let mut acts = relate(&shown.event_type, shown.content, &shown.refers, &resolved, &alice(), false);
    let Act { event_type, content, .. } = acts.pop().unwrap();
    MatrixMessage { event_type, content, refers: shown.refers, losses: shown.losses }
}
/// The content without what every mirrored event has, after a look at that.
fn bare(event: &MatrixMessage) -> Value {
    let mut content = event.content.clone();
    let object = content.as_object_mut().unwrap();
    assert_eq!(object.remove("m.mentions"), Some(json!({})));
    let origin = object.remove(CONTENT_KEY).unwrap();
    assert_eq!(origin["sender"], "mimi://a.example/u/alice");
    content
}
fn private(event_type: &str) -> Loss {
    Loss::Private(event_type.to_owned())
}
fn unsupported() -> Loss {
    Loss::Unsupported(PRIVATE_EVENT.to_owned())
}
fn single(content_type: &str, content: &str) -> NestedPart {
    NestedPart::text(content_type, content)
}
fn choose(parts: Vec<NestedPart>) -> NestedPart {
    NestedPart::render(Body::Multi { semantics: PartSemantics::ChooseOne, parts })
}

// ------------------------------------------------------------------------------------------------------------ polls

/// As Element sends it.
fn element_poll() -> Value {
    json!({
        "org.matrix.msc3381.poll.start": {
            "question": {"body": "Lunch?", "msgtype": "m.text", "org.matrix.msc1767.text": "Lunch?"},
            "kind": "org.matrix.msc3381.poll.disclosed",
            "max_selections": 1,
            "answers": [
                {"id": "a1", "org.matrix.msc1767.text": "Pizza\nand salad"},
                {"id": "b2", "org.matrix.msc1767.text": "Soup"},
            ],
        },
        "org.matrix.msc1767.text": "Lunch?\n1. Pizza\n2. Soup",
    })
}
const START: &str = "org.matrix.msc3381.poll.start";
const RESPONSE: &str = "org.matrix.msc3381.poll.response";
const END: &str = "org.matrix.msc3381.poll.end";

#[test]
fn a_poll_is_a_text_for_most_and_the_poll_for_gateways() {
    let translated = mimi(START, &element_poll());
    assert_eq!(translated.losses, [private(START)]);
    let Body::Multi { semantics: PartSemantics::ChooseOne, parts } = &translated.content.body.body else { panic!() };
    assert_eq!(parts[1], single(TEXT_PLAIN, "[poll] Lunch?\n1. Pizza and salad\n2. Soup"));
    let Body::Single { content_type, content } = &parts[0].body else { panic!() };
    assert_eq!(content_type, PRIVATE_EVENT);
    assert_eq!(serde_json::from_slice::<Value>(content).unwrap(), json!({"type": START, "content": element_poll()}));

    let poll = seen(&translated.content, true, None);
    assert_eq!((poll.event_type.as_str(), bare(&poll), &poll.losses), (START, element_poll(), &vec![]));
    // The same bytes from a peer that is no gateway are a text.
    let text = seen(&translated.content, false, None);
    assert_eq!(text.event_type, "m.room.message");
    assert_eq!(bare(&text), json!({"msgtype": "m.text", "body": "[poll] Lunch?\n1. Pizza and salad\n2. Soup"}));
    assert_eq!(text.losses, [unsupported()]);
}

#[test]
fn a_stable_poll_crosses_as_well() {
    let poll = json!({
        "m.poll": {
            "kind": "m.disclosed",
            "question": {"m.text": [{"body": "<b>When?</b>", "mimetype": "text/html"}, {"body": "When?"}]},
            "answers": [{"m.id": "x", "m.text": [{"body": "Now"}]}, {"m.id": "y"}],
        },
        "m.text": [{"body": "When? Now"}],
    });
    let translated = mimi("m.poll.start", &poll);
    assert_eq!(private::plain_text(&translated.content), Some("[poll] When?\n1. Now\n2. "));
    let back = seen(&translated.content, true, None);
    assert_eq!((back.event_type.as_str(), bare(&back)), ("m.poll.start", poll));
}

#[test]
fn votes_and_ends_belong_to_their_poll() {
    let id = MessageId([1; 32]);
    let target = event_id!("$there:b.example");
    let vote = |event: &str| {
        json!({
            RESPONSE: {"answers": ["a1"]},
            "m.relates_to": {"rel_type": "m.reference", "event_id": event},
        })
    };
    let end = |event: &str| {
        json!({
            END: {},
            "org.matrix.msc1767.text": "The poll has ended. Top answer: Soup",
            "m.relates_to": {"rel_type": "m.reference", "event_id": event},
        })
    };
    for (event_type, event, text) in [
        (RESPONSE, vote as fn(&str) -> Value, "[voted in a poll: Pizza and salad]"),
        (END, end, "The poll has ended. Top answer: Soup"),
    ] {
        let translated = send(event_type, &event("$here:a.example"), Some(id)).unwrap();
        assert_eq!((translated.content.in_reply_to, translated.losses), (Some(id), vec![private(event_type)]));
        // Our event id says nothing over there.
        assert!(!String::from_utf8_lossy(&translated.content.encode().unwrap()).contains("$here"));
        let back = seen(&translated.content, true, Some(target));
        assert_eq!((back.event_type.as_str(), bare(&back)), (event_type, event("$there:b.example")));
        assert_eq!(back.losses, []);
        // Where the poll is not known it is a text.
        let lost = seen(&translated.content, true, None);
        assert_eq!((lost.event_type.as_str(), lost.content["body"].as_str().unwrap()), ("m.room.message", text));
        let alone = mimi(event_type, &event("$here:a.example"));
        assert_eq!((alone.content.in_reply_to, alone.losses), (None, vec![Loss::Reference, private(event_type)]));
    }
}

// ------------------------------------------------------------------------------------------------------ custom events

#[test]
fn a_custom_event_comes_back_as_it_was() {
    let dice =
        json!({"body": "rolled a 6", "org.example.dice": {"sides": 6, "seen": [1, -2, null, true, "ü\u{0}"]}, "z": {}});
    let translated = mimi("org.example.dice", &dice);
    assert_eq!(translated.losses, [private("org.example.dice")]);
    let back = seen(&translated.content, true, None);
    assert_eq!((back.event_type.as_str(), bare(&back), back.losses), ("org.example.dice", dice, vec![]));
    assert_eq!(seen(&translated.content, false, None).content["body"], "rolled a 6");
    let silent = mimi("org.example.silent", &json!({"x": 1}));
    let text = "[something that only Matrix clients show: org.example.silent]";
    assert_eq!(private::plain_text(&silent.content), Some(text));
    let poke = mimi("xyz.poke", &json!({}));
    let back = seen(&poke.content, true, None);
    assert_eq!((back.event_type.as_str(), bare(&back), back.losses), ("xyz.poke", json!({}), vec![]));
    assert_eq!(send(START, &json!({}), None), Err(NotCarried::Empty), "a poll of which nothing is left");
    assert_eq!(send("org.example.dice", &json!({CONTENT_KEY: {}}), None), Err(NotCarried::Mirror));
}

#[test]
fn a_custom_event_is_to_another_what_it_was() {
    let (id, there) = (MessageId([1; 32]), event_id!("$there:b.example"));
    let note = |relation: &Value, event: &str| {
        let mut content = json!({"body": "hi", "n": 1, "m.relates_to": relation});
        content["m.relates_to"]["event_id"] = json!(event);
        content
    };
    for relation in [
        json!({"rel_type": "m.reference"}),
        json!({"rel_type": "org.example.rel"}),
        json!({"rel_type": "m.annotation", "key": "⭐"}),
    ] {
        let translated = send("org.example.note", &note(&relation, "$here:a.example"), Some(id)).unwrap();
        assert_eq!(
            (translated.content.in_reply_to, &translated.losses),
            (Some(id), &vec![private("org.example.note")])
        );
        // Our event id says nothing over there.
        assert!(!String::from_utf8_lossy(&translated.content.encode().unwrap()).contains("$here"));
        let back = seen(&translated.content, true, Some(there));
        let whole = ("org.example.note", note(&relation, there.as_str()), vec![]);
        assert_eq!((back.event_type.as_str(), bare(&back), back.losses), whole);
        // Others see an answer.
        let text = seen(&translated.content, false, Some(there));
        assert_eq!(text.content["m.relates_to"], json!({"m.in_reply_to": {"event_id": there}}));
        // Of what is not there it says nothing, and keeps what it holds.
        let alone = seen(&translated.content, true, None);
        assert_eq!(alone.refers.target(), Some(id), "it waits for it");
        let alone = relate(&alone.event_type, alone.content, &alone.refers, &Resolved::default(), &alice(), false);
        assert_eq!((&alone[0].content["body"], alone[0].content.get("m.relates_to")), (&json!("hi"), None));
    }
    let lost = mimi("org.example.note", &note(&json!({"rel_type": "org.example.rel"}), "$here:a.example"));
    assert_eq!((lost.content.in_reply_to, lost.losses), (None, vec![Loss::Reference, private("org.example.note")]));
    let more = json!({"rel_type": "org.example.rel", "org.example.more": 1});
    let lost = send("org.example.note", &note(&more, "$here:a.example"), Some(id)).unwrap().losses;
    assert_eq!(lost, [Loss::Reference, private("org.example.note")]);
    // A text has no such relation: it answers, and that is told.
    let text = json!({"msgtype": "m.text", "body": "hi",
        "m.relates_to": {"rel_type": "m.reference", "event_id": "$here:a.example"}});
    let text = send("m.room.message", &text, Some(id)).unwrap();
    assert_eq!((text.content.in_reply_to, text.losses), (Some(id), vec![Loss::Reference]));
}

/// ATTACKS S21: the kind of a relation comes from the part, and what it is to never.
#[test]
fn a_private_part_says_no_more_of_a_relation_than_its_kind() {
    let there = event_id!("$there:b.example");
    let about = |relation: &Value, reply: Option<MessageId>| {
        let part = json!({"type": "org.example.note", "content": {"body": "hi"}, "relation": relation});
        let mut message = forged(&part, "hi");
        message.in_reply_to = reply;
        seen(&message, true, Some(there))
    };
    let id = Some(MessageId([1; 32]));
    let good = about(&json!({"rel_type": "org.example.rel"}), id);
    assert_eq!(good.content["m.relates_to"], json!({"rel_type": "org.example.rel", "event_id": there}));
    for bad in ["m.replace", "m.thread", "io.element.thread", "", "a b", "a\nb", &"x".repeat(256)] {
        let shown = about(&json!({"rel_type": bad}), id);
        assert_eq!(shown.content["m.relates_to"], json!({"m.in_reply_to": {"event_id": there}}), "{bad}");
        assert_eq!(shown.losses, [Loss::Reference], "{bad}");
    }
    for key in ["x".repeat(257), "a\u{0}".to_owned()] {
        assert_eq!(about(&json!({"rel_type": "m.annotation", "key": key}), id).losses, [Loss::Reference]);
    }
    let alone = about(&json!({"rel_type": "org.example.rel"}), None);
    assert_eq!((alone.content.get("m.relates_to"), alone.losses), (None, vec![Loss::Reference]));
    let named = about(&json!({"rel_type": "org.example.rel", "event_id": "$victim"}), id);
    assert_eq!((named.event_type.as_str(), named.losses), ("m.room.message", vec![unsupported()]));
}

#[test]
fn what_an_event_may_not_say_of_itself_stays_behind() {
    let event = json!({
        "body": "hi",
        "m.relates_to": {"rel_type": "m.thread", "event_id": "$x", "m.in_reply_to": {"event_id": "$y"}},
        "m.mentions": {"room": true},
        "com.beeper.per_message_profile": {"displayname": "The boss"},
        "im.mimi-gateway.other": 1,
        "org.matrix.self_destruct_after": 1_700_000_060_000_u64,
    });
    let translated = mimi("org.example.dice", &event);
    let expected = [Loss::Reply, Loss::Thread, Loss::Mention, private("org.example.dice"), Loss::Profile];
    assert_eq!(translated.losses, expected);
    assert_eq!(translated.content.expires, Some(Expiration::At(1_700_000_060)));
    let back = seen(&translated.content, true, None);
    assert_eq!(bare(&back), json!({"body": "hi", "org.matrix.self_destruct_after": 1_700_000_060_000_u64}));
    assert_eq!(back.losses, []);
}

/// ATTACKS S21: a private part made by hand.
fn forged(json: &Value, text: &str) -> MimiContent {
    let body = choose(vec![single(PRIVATE_EVENT, &json.to_string()), single(TEXT_PLAIN, text)]);
    MimiContent::new([1; 16], &alice(), &room(), body)
}

#[test]
fn a_private_part_makes_no_event_with_a_meaning_of_its_own() {
    let content = json!({"body": "hi"});
    for event_type in [
        "m.room.message",
        "m.room.member",
        "m.room.power_levels",
        "m.room.redaction",
        "m.room.encrypted",
        "m.reaction",
        "m.sticker",
        "m.key.verification.request",
        "m.call.invite",
        "m.space.child",
        "m.poll.other",
        "org.matrix.msc1767.message",
        "io.element.call.encryption_keys",
        "im.mimi-gateway.message",
        "",
        "with space",
        "with\nline",
        &"x".repeat(256),
    ] {
        let shown = seen(&forged(&json!({"type": event_type, "content": content}), "hi"), true, None);
        assert_eq!(
            (shown.event_type.as_str(), &shown.losses),
            ("m.room.message", &vec![unsupported()]),
            "{event_type}"
        );
        assert_eq!(bare(&shown), json!({"msgtype": "m.text", "body": "hi"}), "{event_type}");
    }
    for json in [
        json!({"type": "org.example.dice"}),
        json!({"type": "org.example.dice", "content": "x"}),
        json!({"type": "org.example.dice", "content": {"body": "hi"}, "sender": "@boss:b.example"}),
        json!({"type": "org.example.dice", "content": {"body": "hi"}, "state_key": ""}),
        json!({"type": "org.example.dice", "content": {"body": "hi"}, "redacts": "$x"}),
        json!([]),
        json!({"type": "org.example.dice", "content": {"body": "hi", "more": "x".repeat(33_000)}}),
    ] {
        assert_eq!(seen(&forged(&json, "hi"), true, None).event_type, "m.room.message");
    }
    let deep = format!(
        r#"{{"type":"org.example.dice","content":{{"body":"hi","a":{}1{}}}}}"#,
        "[".repeat(5000),
        "]".repeat(5000)
    );
    let mut message = forged(&json!({}), "hi");
    message.body = choose(vec![single(PRIVATE_EVENT, &deep), single(TEXT_PLAIN, "hi")]);
    assert_eq!(seen(&message, true, None).event_type, "m.room.message");
}

#[test]
fn relations_mentions_and_senders_of_a_private_part_do_not_count() {
    let content = json!({
        "body": "hi",
        "m.relates_to": {"rel_type": "m.replace", "event_id": "$victim"},
        "m.new_content": {"body": "other"},
        "m.mentions": {"user_ids": ["@victim:b.example"], "room": true},
        "m.per_message_profile": {"displayname": "The boss"},
        CONTENT_KEY: {"sender": "mimi://a.example/u/boss"},
        "org.matrix.self_destruct_after": 1,
    });
    let shown = seen(&forged(&json!({"type": "org.example.dice", "content": content}), "hi"), true, None);
    assert_eq!((shown.event_type.as_str(), bare(&shown)), ("org.example.dice", json!({"body": "hi"})));
    let vote = json!({"type": RESPONSE, "content": {
        RESPONSE: {"answers": ["a1"]}, "m.relates_to": {"rel_type": "m.reference", "event_id": "$other-poll"},
    }});
    let mut message = forged(&vote, "[voted in a poll: Pizza and salad]");
    message.in_reply_to = Some(MessageId([1; 32]));
    let shown = seen(&message, true, Some(event_id!("$poll")));
    assert_eq!(shown.content["m.relates_to"], json!({"rel_type": "m.reference", "event_id": "$poll"}));
}

#[test]
fn where_part_and_text_differ_the_text_counts() {
    let json = json!({"type": "org.example.dice", "content": {"body": "I owe you 100"}});
    for text in ["I owe you nothing", "I owe you 100 ", "", "[something]"] {
        let shown = seen(&forged(&json, text), true, None);
        assert_eq!(shown.event_type, "m.room.message");
        assert!(shown.losses.contains(&Loss::Alternatives));
        assert!(!shown.content["body"].as_str().unwrap().contains("100") || text.contains("100"));
    }
    // Without a text there is nothing that others could see; alone, or not as a choice, it is no event either.
    let part = single(PRIVATE_EVENT, &json.to_string());
    let all = NestedPart::render(Body::Multi {
        semantics: PartSemantics::ProcessAll,
        parts: vec![part.clone(), single(TEXT_PLAIN, "I owe you 100")],
    });
    for body in [part.clone(), all, choose(vec![part.clone(), part])] {
        let message = MimiContent::new([1; 16], &alice(), &room(), body);
        assert_eq!(seen(&message, true, None).event_type, "m.room.message");
    }
    // Nor is a new version that says something else.
    let mut edit = forged(&json, "I owe you nothing");
    edit.replaces = Some(MessageId([1; 32]));
    let dice = the_poll(MessageId([1; 32])).with_kind(Kind::of("org.example.dice", &json!({})));
    assert_eq!(about(seen(&edit, true, None), event_id!("$x"), &dice).content["body"], "* I owe you nothing");
}

#[test]
fn what_is_too_long_for_a_private_part_is_a_text() {
    let translated = mimi("org.example.long", &json!({"body": "hi", "x": "y".repeat(33_000)}));
    assert_eq!(translated.content.body, single(TEXT_PLAIN, "hi"));
    assert_eq!(translated.losses, [Loss::Unsupported("org.example.long".into())]);
    // Text is bounded, and the same on both sides.
    let long = mimi("org.example.long", &json!({"body": "ü".repeat(8000)}));
    assert_eq!(seen(&long.content, true, None).event_type, "org.example.long");
    assert_eq!(private::plain_text(&long.content).unwrap().chars().count(), 4000);
}

#[test]
fn a_custom_kind_of_message_is_its_text() {
    let translated = mimi("m.room.message", &json!({"msgtype": "org.example.card", "body": "A card"}));
    assert_eq!(translated.content.body, single(TEXT_PLAIN, "A card"));
    assert_eq!(translated.losses, [private("org.example.card")]);
    let kind = translated.content.extensions.get(&ExtensionKey::text(MSGTYPE_EXTENSION));
    assert_eq!(kind, Some(&CborValue::from("org.example.card")), "for other gateways");
}

// --------------------------------------------------------------------------------------------------------- locations

/// As Element sends a pin.
fn element_place() -> Value {
    json!({
        "msgtype": "m.location",
        "body": "Location geo:51.5008,0.1247;u=35 at 2026-01-02T03:04:05.678Z",
        "geo_uri": "geo:51.5008,0.1247;u=35",
        "org.matrix.msc1767.text": "Location geo:51.5008,0.1247;u=35 at 2026-01-02T03:04:05.678Z",
        "org.matrix.msc3488.location": {"uri": "geo:51.5008,0.1247;u=35", "description": "[Big](Ben)"},
        "org.matrix.msc3488.asset": {"type": "m.self"},
        "org.matrix.msc3488.ts": 1_767_323_045_678_u64,
    })
}

#[test]
fn a_location_is_a_link_that_comes_back_as_a_location() {
    let translated =
        mimi("m.room.message", &json!({"msgtype": "m.location", "body": "[Big](Ben)", "geo_uri": "geo:51.5,-0.1"}));
    assert_eq!(translated.losses, []);
    assert_eq!(
        translated.content.body,
        choose(vec![
            single(TEXT_MARKDOWN, r"[\[Big\]\(Ben\)](geo:51.5,-0.1)"),
            single(TEXT_PLAIN, "[Big](Ben)\ngeo:51.5,-0.1"),
        ])
    );
    let back = seen(&translated.content, false, None);
    let expected = json!({
        "msgtype": "m.location",
        "body": "[Big](Ben)",
        "geo_uri": "geo:51.5,-0.1",
        "org.matrix.msc3488.location": {"uri": "geo:51.5,-0.1", "description": "[Big](Ben)"},
        "org.matrix.msc3488.asset": {"type": "m.pin"},
        "org.matrix.msc1767.text": "[Big](Ben)",
    });
    assert_eq!((back.event_type.as_str(), bare(&back), back.losses), ("m.room.message", expected.clone(), vec![]));
    // What came back is understood again, whole.
    let again = mimi("m.room.message", &expected);
    assert_eq!((again.content.body, again.losses), (translated.content.body, vec![]));

    let element = mimi("m.room.message", &element_place());
    assert_eq!(element.losses, [Loss::Details]);
    let back = seen(&element.content, false, None);
    assert_eq!(
        (&back.content["geo_uri"], &back.content["body"]),
        (&element_place()["geo_uri"], &element_place()["body"])
    );
    let nameless = mimi("m.room.message", &json!({"msgtype": "m.location", "geo_uri": "geo:1,2"}));
    assert_eq!(seen(&nameless.content, false, None).content["body"], "geo:1,2");
}

#[test]
fn a_location_that_is_none_is_no_location() {
    let bad = json!({"msgtype": "m.location", "body": "x", "geo_uri": "javascript:alert(1)"});
    assert_eq!(send("m.room.message", &bad, None), Err(NotCarried::Malformed("geo_uri")));
    let missing = json!({"msgtype": "m.location", "body": "x"});
    assert_eq!(send("m.room.message", &missing, None), Err(NotCarried::Malformed("geo_uri")));
    // Marked as one by somebody else, without a place at its end.
    for text in ["geo:91,0", "here\nhttps://a.example", "geo:1,2\nhere", "x"] {
        let mut message = MimiContent::new([1; 16], &alice(), &room(), single(TEXT_PLAIN, text));
        message.extensions.insert(ExtensionKey::text(MSGTYPE_EXTENSION), CborValue::from("m.location"));
        assert_eq!(seen(&message, false, None).content["msgtype"], "m.text", "{text}");
    }
    // Text that looks like one, and is not marked, stays text.
    let message = MimiContent::new([1; 16], &alice(), &room(), single(TEXT_PLAIN, "here\ngeo:1,2"));
    assert_eq!(bare(&seen(&message, false, None)), json!({"msgtype": "m.text", "body": "here\ngeo:1,2"}));
}

// -------------------------------------------------------------------------------------------------- extensible events

#[test]
fn extensible_messages_are_messages() {
    let html = json!([{"mimetype": "text/html", "body": "<b>Hi</b>"}, {"body": "Hi"}]);
    for (event_type, content, msgtype) in [
        ("m.message", json!({"m.text": html}), "m.text"),
        ("org.matrix.msc1767.notice", json!({"org.matrix.msc1767.message": html}), "m.notice"),
        ("m.emote", json!({"org.matrix.msc1767.text": "Hi", "org.matrix.msc1767.html": "<b>Hi</b>"}), "m.emote"),
        ("m.room.message", json!({"msgtype": "m.notice", "m.text": html}), "m.notice"),
        ("m.room.message", json!({"m.text": html}), "m.text"),
    ] {
        let older = json!({"msgtype": msgtype, "body": "Hi", "format": "org.matrix.custom.html", "formatted_body": "<b>Hi</b>"});
        assert_eq!(mimi(event_type, &content), mimi("m.room.message", &older), "{event_type}");
    }
    // Of what has HTML alone the plain text is made as people write.
    let alone = mimi("m.message", &json!({"m.text": [{"mimetype": "text/html", "body": "<b>Hi</b> &amp; bye"}]}));
    let older = json!({"msgtype": "m.text", "body": "**Hi** & bye", "format": "org.matrix.custom.html", "formatted_body": "<b>Hi</b> &amp; bye"});
    assert_eq!(alone, mimi("m.room.message", &older));
    let edit = json!({
        "m.text": [{"body": "* new"}], "m.new_content": {"m.text": [{"body": "new"}]},
        "m.relates_to": {"rel_type": "m.replace", "event_id": "$x"},
    });
    let edited = mimi("m.message", &edit);
    assert_eq!((edited.content.body, edited.losses), (single(TEXT_PLAIN, "new"), vec![Loss::Edit]));
    assert_eq!(send("m.message", &json!({}), None), Err(NotCarried::EventType("m.message".into())));
    assert_eq!(send("m.message", &json!({"m.text": [{"body": "x"}], CONTENT_KEY: {}}), None), Err(NotCarried::Mirror));
    // Where a body is, it counts.
    let both = json!({"msgtype": "m.text", "body": "body", "org.matrix.msc1767.text": "other"});
    assert_eq!(mimi("m.room.message", &both).content.body, single(TEXT_PLAIN, "body"));
}

#[test]
fn of_other_types_of_matrix_the_text_crosses() {
    for event_type in ["m.image", "m.file", "org.matrix.msc1767.video", "m.of.the.future"] {
        let content = json!({"m.text": [{"body": "a cat"}], "m.file": {"url": "mxc://a/b"}});
        let translated = mimi(event_type, &content);
        assert_eq!(translated.content.body, single(TEXT_PLAIN, "a cat"));
        assert_eq!(translated.losses, [Loss::Event(event_type.to_owned())]);
        let mirror = json!({"m.text": [{"body": "a cat"}], CONTENT_KEY: {}});
        assert_eq!(send(event_type, &mirror, None), Err(NotCarried::Mirror));
    }
    // What is for clients and servers, and what has no text.
    for (event_type, content) in [
        ("m.call.hangup", json!({"m.text": [{"body": "x"}]})),
        ("m.room.pinned_events", json!({"m.text": [{"body": "x"}]})),
        ("m.key.verification.mac", json!({"m.text": [{"body": "x"}]})),
        ("m.image", json!({"body": "x"})),
        ("m.image", json!({"m.text": [{"body": "  "}]})),
    ] {
        assert_eq!(send(event_type, &content, None), Err(NotCarried::EventType(event_type.to_owned())));
    }
}

// ------------------------------------------------------------------------------------------------ disappearing messages

#[test]
fn when_a_message_goes_crosses_both_ways() {
    let with = |key: &str, value: Value| mimi("m.room.message", &json!({"msgtype": "m.text", "body": "x", key: value}));
    let at = "org.matrix.self_destruct_after";
    let timer = "com.beeper.disappearing_timer";
    for (key, value, expires) in [
        (at, json!(1_700_000_060_000_u64), Expiration::At(1_700_000_060)),
        (at, json!(1_700_000_060_001_u64), Expiration::At(1_700_000_061)),
        (timer, json!({"type": "after_read", "timer": 60_000}), Expiration::AfterReading(60)),
        (timer, json!({"type": "after_send", "timer": 60_000}), Expiration::At(1_700_000_061)),
    ] {
        let translated = with(key, value);
        assert_eq!((translated.content.expires, translated.losses), (Some(expires), vec![]));
        let back = seen(&translated.content, false, None);
        let shared = matches!(expires, Expiration::AfterReading(_));
        let lost = if shared { vec![Loss::Expiration] } else { vec![] };
        assert_eq!(back.losses, lost, "an event goes for all at once");
        let again = mimi("m.room.message", &bare(&back));
        assert_eq!(again.content.expires, Some(expires));
    }
    for (key, value) in [
        (at, json!("soon")),
        (at, json!(-1)),
        (at, json!(1_800_000_000_000_u64)), // three years
        (at, json!(0)),
        (timer, json!({"type": "after_read", "timer": 0})),
        (timer, json!({"type": "after_read", "timer": 40_000_000_000_u64})),
        (timer, json!({"type": "other", "timer": 5})),
        (timer, json!(5)),
    ] {
        let translated = with(key, value.clone());
        assert_eq!((translated.content.expires, translated.losses), (None, vec![Loss::Expiration]), "{value}");
        assert_eq!(translated.content.check_plausible(SENT), Ok(()));
    }
}

#[test]
fn a_subject_stands_above_the_text() {
    let mut message = MimiContent::new([1; 16], &alice(), &room(), single(TEXT_PLAIN, "text"));
    message.set_subject("About <us>\nall");
    assert_eq!(bare(&seen(&message, false, None)), json!({"msgtype": "m.text", "body": "About <us> all\n\ntext"}));
    message.body = single(TEXT_MARKDOWN, "**text**");
    let shown = seen(&message, false, None);
    assert_eq!(shown.content["body"], "About <us> all\n\n**text**");
    let html = shown.content["formatted_body"].as_str().unwrap();
    assert!(html.starts_with("<p><strong>About &lt;us&gt; all</strong></p>"), "{html}");
    // Above a place, too; and an event without room for it is its text.
    let titled = |event_type, content: &Value| {
        let mut message = mimi(event_type, content).content;
        message.set_subject("Minutes");
        seen(&message, true, None).content
    };
    let place = titled("m.room.message", &json!({"msgtype": "m.location", "body": "Café", "geo_uri": "geo:51.5,-0.1"}));
    assert_eq!((&place["msgtype"], &place["body"]), (&json!("m.location"), &json!("Minutes\n\nCafé")));
    let dice = json!({"body": "rolled a 6"});
    let custom = titled("org.example.dice", &dice);
    assert!(custom["body"].as_str().unwrap().starts_with("Minutes\n\n"), "{custom}");
    // Nor does a new version of one take its place: it would lack the subject.
    let mut version = mimi("org.example.dice", &dice).content;
    version.replaces = Some(MessageId([1; 32]));
    assert!(matches!(seen(&version, true, None).refers.form, Form::Version(..)));
    version.set_subject("Minutes");
    assert_eq!(seen(&version, true, None).refers.form, Form::Message);
}

// ---------------------------------------------------------------------------------------------------------- any event

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        prop_oneof![any::<i64>().prop_map(Value::from), any::<f64>().prop_map(Value::from)],
        ".{0,20}".prop_map(Value::from),
        Just(json!("geo:1,2")),
        Just(json!("m.replace")),
        Just(json!("after_send")),
    ];
    let key = prop_oneof![
        ".{0,8}",
        prop::sample::select(vec![
            "body",
            "msgtype",
            "m.text",
            "m.poll",
            "question",
            "answers",
            "m.relates_to",
            "rel_type",
            "m.new_content",
            "geo_uri",
            "org.matrix.msc1767.text",
            "org.matrix.msc3381.poll.start",
            "com.beeper.disappearing_timer",
            "org.matrix.self_destruct_after",
            "timer",
            "type",
        ])
        .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(4, 24, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key.clone(), inner, 0..6).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

/// Whether it is canonical JSON, but for the order of its keys.
fn has_whole_numbers(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.as_i64().is_some_and(|number| number.unsigned_abs() < 1 << 53),
        Value::Array(list) => list.iter().all(has_whole_numbers),
        Value::Object(object) => object.values().all(has_whole_numbers),
        _ => true,
    }
}

/// Homeservers refuse such events in rooms since version 6.
#[test]
fn an_event_with_numbers_that_are_no_integers_is_its_text() {
    let content = |number: Value| json!({"body": "a die", "deep": [{"sides": number}]});
    for number in [json!(6), json!(-9_007_199_254_740_991_i64), json!(9_007_199_254_740_991_i64)] {
        let sent = send("org.example.dice", &content(number.clone()), None).unwrap();
        assert_eq!(sent.losses, [private("org.example.dice")]);
        let shown = seen(&sent.content, true, None);
        assert_eq!((shown.event_type.as_str(), bare(&shown)), ("org.example.dice", content(number)));
    }
    for number in [json!(0.5), json!(1e300), json!(6.0), json!(9_007_199_254_740_992_i64), json!(u64::MAX)] {
        let sent = send("org.example.dice", &content(number.clone()), None).unwrap();
        assert_eq!(sent.losses, [Loss::Unsupported("org.example.dice".to_owned())]);
        // From a gateway that does not look.
        let other = forged(&json!({"type": "org.example.dice", "content": content(number)}), "a die");
        let shown = seen(&other, true, None);
        assert_eq!(shown.losses, [Loss::Unsupported("org.example.dice".to_owned())]);
        for shown in [seen(&sent.content, true, None), shown] {
            assert_eq!((shown.event_type.as_str(), &shown.content["body"]), ("m.room.message", &json!("a die")));
        }
    }
}

proptest! {
    /// Same meaning: the event itself, but for what a receiver derives on its own (relations, mentions, expiry).
    #[test]
    fn any_custom_event_crosses_whole_or_says_why(content in any_json(), which in 0..6_usize) {
        let event_type = ["org.example.any", START, END, "m.room.message", "m.message", "m.call.invite"][which];
        let Ok(translated) = send(event_type, &content, Some(MessageId([1; 32]))) else { return Ok(()) };
        let there = event_id!("$there");
        let back = seen(&translated.content, true, Some(there));
        prop_assert!(back.content.to_string().len() <= MAX_EVENT_CONTENT);
        // A poll's end without its poll is a text.
        if which < 2 && translated.losses.contains(&private(event_type)) && !is_edit(content.as_object().unwrap()) {
            prop_assert_eq!(back.event_type.as_str(), event_type);
            let mut before = content.clone();
            let mut after = back.content.clone();
            for event in [&mut before, &mut after] {
                let ours = ["m.relates_to", "m.mentions", "m.new_content", "org.matrix.self_destruct_after", "com.beeper.disappearing_timer", CONTENT_KEY];
                event.as_object_mut().unwrap().retain(|key, _| !ours.contains(&key.as_str()));
            }
            if which == 1 {
                poll::clean(before.as_object_mut().unwrap(), &Nobody);
            }
            prop_assert_eq!(before, after);
        }
        if back.event_type != "m.room.message" {
            prop_assert!(has_whole_numbers(&back.content), "{}", back.content);
        }
        let text = seen(&translated.content, false, None);
        prop_assert_eq!(text.event_type, "m.room.message");
        prop_assert!(!text.content["body"].as_str().unwrap().trim().is_empty());
    }

    #[test]
    fn any_private_part_is_an_event_or_a_text(json in any_json(), text in ".{0,20}") {
        let shown = seen(&forged(&json, &text), true, None);
        prop_assert!(shown.event_type == "m.room.message" || private::may_cross(&shown.event_type));
        let event = json!({"type": "org.example.any", "content": json});
        let shown = seen(&forged(&event, &text), true, None);
        prop_assert_eq!(&shown.content["m.mentions"], &json!({}));
        prop_assert!(shown.content.get("m.relates_to").is_none());
    }
}
