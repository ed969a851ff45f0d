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
    // What no room takes, no message has room for, or no parser may read, is told.
    let deep = (0..70).fold(json!(1), |inner, _| json!([inner]));
    for data in [json!(1.5), json!("x".repeat(33 * 1024)), json!(u64::MAX), deep] {
        assert_eq!(losses(json!({"msgtype": "m.text", "body": "hi", "org.example.data": data})), [Loss::Fields]);
    }
    let long = json!({"msgtype": "m.text", "body": "x".repeat(40_000), "org.example.data": "y".repeat(24_000)});
    let translated = mimi(&long).unwrap();
    assert_eq!(translated.losses, [Loss::Fields]);
    assert_eq!(matrix(&translated.content).content["body"], long["body"]);
}

#[test]
fn previews_go_before_what_apps_add_and_both_come_back() {
    let previews = |named: &str| {
        json!([{"matched_url": "https://x.example/", "og:url": "https://x.example/", "og:title": "X"},
            {"matched_url": named, "og:url": named, "og:title": "Y"}])
    };
    // One that the text does not name is shown as text.
    for (named, both) in [("https://x.example/y", true), ("https://y.example/", false)] {
        let mut event = json!({"msgtype": "m.text", "body": "see https://x.example/y", "org.example.data": data()});
        event["com.beeper.linkpreviews"] = previews(named);
        event["m.text"] = json!([{"body": "see https://x.example/y", "lang": "en"}]);
        let translated = mimi(&event).unwrap();
        assert_eq!(translated.losses, [Loss::Added]);
        let shown = at(true, &translated.content);
        assert_eq!(shown.content["org.example.data"], event["org.example.data"]);
        assert_eq!(shown.content[CONTENT_KEY]["language"], "en");
        let crossed = &shown.content["com.beeper.linkpreviews"];
        assert_eq!(crossed, &if both { previews(named) } else { json!([previews(named)[0]]) });
    }
    let large = json!({"msgtype": "m.text", "body": "see https://x.example/y", "com.beeper.linkpreviews":
        previews("https://x.example/y"), "org.example.data": "x".repeat(32_000)});
    let shown = at(true, &mimi(&large).unwrap().content).content;
    assert_eq!(
        (&shown["org.example.data"], shown["com.beeper.linkpreviews"].as_array().unwrap().len()),
        (&large["org.example.data"], 2)
    );
}

#[test]
fn what_apps_add_leaves_room_for_pictures_and_readers_hear_of_what_has_none() {
    let picture = ExternalPart { filename: "x".repeat(255), url: "x".repeat(255), ..ExternalPart::default() };
    let pictures: Vec<_> = (0..20).map(|at| (format!("mxc://a.example/{at}"), picture.clone())).collect();
    let emoji = |src: &str| format!("<img data-mx-emoticon src=\"{src}\" alt=\":cat:\" title=\":cat:\" height=\"32\">");
    let html = pictures.iter().map(|(src, _)| emoji(src)).collect::<Vec<_>>().concat();
    let (sender, room, text) = (&alice(), &room(), "x".repeat(10_000));
    let ctx = ToMimi { sender, room, salt: [1; 16], sent_ts: 1, past: &NoPast, mentions: &Nobody, room_link: None };
    let mut lost = false;
    for length in (10_000..32_000).step_by(500) {
        let event = json!({"msgtype": "m.text", "body": text, "format": "org.matrix.custom.html",
            "formatted_body": format!("{text}{html}"), "org.example.data": "y".repeat(length)});
        let translated = super::super::to_mimi::with_pictures("m.room.message", &event, &ctx, &pictures).unwrap();
        lost |= translated.losses.contains(&Loss::Fields);
        assert!(translated.losses.contains(if lost { &Loss::Fields } else { &Loss::Added }), "{length}");
    }
    assert!(lost);
    // An edit has its text twice, and with it what stands beside.
    let edit = json!({"msgtype": "m.text", "body": "* new", "m.relates_to": {"rel_type": "m.replace", "event_id": "$x"},
        "m.new_content": {"msgtype": "m.text", "body": text, "org.example.data": "y".repeat(20_000)}});
    let mut message = mimi(&edit).unwrap().content;
    message.replaces = Some(MessageId([4; 32]));
    let shown = at(true, &message);
    assert_eq!((&shown.content["body"], shown.losses.as_slice()), (&json!(text), [Loss::Fields].as_slice()));
    assert!(Loss::Fields.told_to_readers().is_some());
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
