//! What apps and gateways say under names of their own: kinds of messages, and fields beside a text.

use super::*;

/// As a gateway that takes the sender's for one shows it, or one that does not.
fn at(from_gateway: bool, message: &MimiContent) -> MatrixMessage {
    let (sender, room, message_id) = (&alice(), &room(), MessageId([3; 32]));
    to_matrix(message, &ToMatrix { message_id, sender, room, from_gateway, mentions: &Nobody })
}

#[test]
fn a_message_of_a_kind_of_its_own_comes_back_as_that_between_gateways() {
    let event = json!({"msgtype": "nic.custom.confetti", "body": "yay"});
    let translated = mimi(&event).unwrap();
    assert_eq!(translated.losses, [Loss::Private("nic.custom.confetti".into())]);
    let shown = |message: &MimiContent, from_gateway: bool| at(from_gateway, message).content;
    let there = shown(&translated.content, true);
    assert_eq!((&there["msgtype"], &there["body"]), (&json!("nic.custom.confetti"), &json!("yay")));
    // Who is no gateway may not choose what clients do with a message; nor does a gateway choose a kind of Matrix.
    assert_eq!(shown(&translated.content, false)["msgtype"], "m.text");
    let long = format!("a.{}", "b".repeat(255));
    for kind in ["m.server_notice", "m.key.verification.request", "a b", "a\u{202e}b", "", &long] {
        let mut message = translated.content.clone();
        message.extensions.insert(ExtensionKey::text(MSGTYPE_EXTENSION), CborValue::Text(kind.into()));
        assert_eq!(shown(&message, true)["msgtype"], "m.text", "{kind}");
    }
}

fn data() -> Value {
    json!({"rolled": [6, -1, null, {"deep": [true, "ü\u{0}"]}], "": "x", "large": 9_007_199_254_740_991_u64})
}

#[test]
fn what_an_app_adds_to_a_message_comes_back_between_gateways_and_hints_do_not() {
    for (msgtype, html) in
        [("m.text", false), ("org.example.dice", false), ("org.example.dice", true), ("m.emote", true)]
    {
        let mut event =
            json!({"msgtype": msgtype, "body": "a 6", "org.example.dice": data(), "": 1, "io.element.hint": 1});
        if html {
            event["format"] = json!("org.matrix.custom.html");
            event["formatted_body"] = json!("a <strong>6</strong>");
        }
        let translated = mimi(&event).unwrap();
        assert!(translated.losses.contains(&Loss::Added) && !translated.losses.contains(&Loss::Fields));
        let shown = at(true, &translated.content);
        assert_eq!(shown.losses, []);
        for field in ["org.example.dice", "", "msgtype", "body", "formatted_body"] {
            assert_eq!(shown.content[field], event[field], "{field}");
        }
        assert_eq!(shown.content.get("io.element.hint"), None);
        // Everybody else has the text, and nothing is said of what they could not read anyway.
        let stranger = at(false, &translated.content);
        assert_eq!((&stranger.content["body"], stranger.losses.as_slice()), (&event["body"], [].as_slice()));
        assert_eq!(stranger.content.get("org.example.dice"), None);
    }
    let losses = |event: Value| mimi(&event).unwrap().losses;
    assert_eq!(losses(json!({"msgtype": "m.text", "body": "hi", "m.mentions": {}, "io.element.hint": 1})), []);
    let edit = json!({"msgtype": "m.text", "body": "* new", "m.relates_to": {"rel_type": "m.replace", "event_id": "$x"},
        "m.new_content": {"msgtype": "m.text", "body": "new", "org.example.data": 1}});
    assert!(losses(edit).contains(&Loss::Added));
    // What no room takes, or no message has room for, is told.
    for data in [json!(1.5), json!("x".repeat(33 * 1024)), json!(u64::MAX)] {
        assert_eq!(losses(json!({"msgtype": "m.text", "body": "hi", "org.example.data": data})), [Loss::Fields]);
    }
    let long = json!({"msgtype": "m.text", "body": "x".repeat(40_000), "org.example.data": "y".repeat(24_000)});
    let translated = mimi(&long).unwrap();
    assert_eq!(translated.losses, [Loss::Fields]);
    assert_eq!(matrix(&translated.content).content["body"], long["body"]);
}

/// ATTACKS S21: beside a text, too, a private part says nothing that has a meaning in Matrix.
#[test]
fn what_stands_beside_a_text_changes_nothing_of_the_message() {
    let honest = mimi(&json!({"msgtype": "m.text", "body": "hi", "org.example.data": 1})).unwrap().content;
    let forged = json!({
        "type": "m.room.message",
        "content": {
            "msgtype": "m.server_notice", "body": "bye", "formatted_body": "<b>bye</b>", "format": "org.matrix.custom.html",
            "m.relates_to": {"rel_type": "m.replace", "event_id": "$x"}, "m.new_content": {"body": "bye"},
            "m.mentions": {"room": true}, "url": "mxc://a.example/x", "file": {}, "info": {}, "geo_uri": "geo:1,2",
            CONTENT_KEY: {"sender": "mimi://b.example/u/bob"}, "im.mimi-gateway.x": 1,
            "com.beeper.per_message_profile": {"displayname": "Bob"}, "com.beeper.disappearing_timer": {"timer": 1},
            "org.matrix.msc1767.text": "bye", "xyz.amorgan.msc9999.x": 1, "org.example.other": 2,
        },
    });
    let with = |part: &Value| {
        let mut message = honest.clone();
        let Body::Multi { parts, .. } = &mut message.body.body else { panic!("{:?}", message.body) };
        let Body::Single { content, .. } = &mut parts[0].body else { panic!("{parts:?}") };
        *content = part.to_string().into_bytes();
        message
    };
    let mut expected = at(true, &honest).content;
    let fields = expected.as_object_mut().unwrap();
    fields.remove("org.example.data");
    fields.insert("org.example.other".to_owned(), json!(2));
    let shown = at(true, &with(&forged));
    assert_eq!(
        (shown.event_type.as_str(), &shown.content, shown.refers),
        ("m.room.message", &expected, at(true, &honest).refers)
    );
    fields_refused(&with(&json!({"type": "m.room.message", "content": {"org.example.x": 0.5}})));
    fields_refused(&with(
        &json!({"type": "m.room.message", "content": {"org.example.x": "x".repeat(31_000)}, "more": 1}),
    ));
}

fn fields_refused(message: &MimiContent) {
    let shown = at(true, message).content;
    assert_eq!((&shown["body"], shown.get("org.example.x")), (&json!("hi"), None));
}
