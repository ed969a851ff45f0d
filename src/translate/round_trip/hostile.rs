//! What strangers write into every field of a message, or of an event: nothing panics, what is shown is clean by a second opinion,
//! within the size of an event, and mentions nobody but those whom it links to. (HTML within events of custom types is for their
//! own clients, and comes only from gateways that the settings name.)

use proptest::prelude::*;
use serde_json::Value;

use super::{super::html::tests as html_tests, *};
use crate::{
    content::{Body, CborValue, Disposition, ExtensionKey, ExternalPart, PartSemantics},
    ident::UserUri,
};

/// Pieces beside those of HTML.
const PIECES: &[&str] = &[
    "\" onload=\"alert(1)",
    "'><svg onload=alert(1)>",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<a href=\"javascript:alert(1)\">x</a>",
    "<a href=\"mimi://b.example/u/a\"><b>\"x\"</b></a>",
    "<a href=\"mimi://a.example/r/club\">@room</a>",
    "<a href=\"mimi://b.example/u/%22%3E%3Cscript%3E\">y</a>",
    "<a href=\"https://matrix.to/#/@a:b.example%22onclick=x\">z</a>",
    "<img data-mx-emoticon src=\"cid:3@local.invalid\" alt='\"><script>' title=\"<b>\" onerror=x>",
    "<img data-mx-emoticon src=\"mxc://a.example/x\">",
    "[x](javascript:alert(1))",
    "[x](<https://x.example/\"onclick=\"y>)",
    "[@a](mimi://b.example/u/a)",
    "![x](https://x.example/y.png)",
    "||<b>||",
    "$`<b>`$",
    "```<b>\n",
    "&lt;script&gt;",
    "@room",
    "\0",
    "\u{202e}",
    "\u{1b}[31m",
    "\n\n",
    "../../etc/passwd",
    "geo:1,2",
    "x",
];

fn text() -> BoxedStrategy<String> {
    let piece = prop_oneof![prop::sample::select(PIECES), prop::sample::select(html_tests::PIECES)];
    prop_oneof![4 => prop::collection::vec(piece, 0..9).prop_map(|pieces| pieces.concat()), 1 => ".{0,30}"].boxed()
}

/// A message with these texts: one more way to say them for each number.
fn message(kind: usize, t: &[String; 3], by: &UserUri, past: &dyn Past) -> Option<MimiContent> {
    let room = room();
    let all = |semantics, parts| NestedPart::render(Body::Multi { semantics, parts });
    let external = |content_type: &str, disposition| NestedPart {
        disposition,
        language: t[2].clone(),
        body: Body::External(Box::new(ExternalPart {
            content_type: content_type.to_owned(),
            url: "https://assets.a.example/abc".to_owned(),
            filename: t[0].clone(),
            description: t[1].clone(),
            ..ExternalPart::default()
        })),
    };
    let said = |event_type: &str, content: &Value| {
        let ctx =
            ToMimi { sender: by, room: &room, salt: [7; 16], sent_ts: BEGIN, past, mentions: &People, room_link: None };
        to_mimi(event_type, content, &ctx).ok().map(|translated| translated.content)
    };
    let single = |content_type: &str, text: &str| NestedPart::text(content_type, text);
    let [a, b, c] = [t[0].as_str(), t[1].as_str(), t[2].as_str()];
    let body = match kind {
        0 => single(TEXT_HTML, a),
        1 => single(TEXT_MARKDOWN, a),
        2 => all(PartSemantics::ChooseOne, vec![single(TEXT_MARKDOWN, a), single(TEXT_HTML, b), single(TEXT_PLAIN, c)]),
        3 => {
            all(PartSemantics::ProcessAll, vec![single(TEXT_MARKDOWN, a), single(TEXT_HTML, b), single(TEXT_PLAIN, c)])
        }
        4 => {
            let picture = format!("<img data-mx-emoticon src=\"cid:2@local.invalid\" alt=\"{b}\" title=\"{c}\">{a}");
            all(
                PartSemantics::SingleUnit,
                vec![single(TEXT_HTML, &picture), external("image/png", Disposition::Inline)],
            )
        }
        5 => external("image/png", Disposition::Render),
        6 => external(c, Disposition::from(u8::try_from(a.len() % 10).unwrap())),
        7 => all(PartSemantics::ProcessAll, vec![single(TEXT_HTML, c), external("video/mp4", Disposition::Attachment)]),
        8 => all(PartSemantics::SingleUnit, vec![external("audio/ogg", Disposition::Render), single(TEXT_MARKDOWN, c)]),
        9 => NestedPart { disposition: Disposition::Reaction, ..single(TEXT_PLAIN, a) },
        10 => NestedPart { disposition: Disposition::Session, ..external("", Disposition::Session) },
        11 => single(a, b),
        12 => single(TEXT_PLAIN, &format!("{a}\ngeo:1,2")),
        13 => NestedPart::render(Body::Null),
        14 => return said("org.example.any", &json!({"body": a, "m.text": [{"body": b}], "x": c})),
        15 => {
            let answer = json!({"id": c, "org.matrix.msc1767.text": b});
            let poll =
                json!({"question": {"org.matrix.msc1767.text": a}, "answers": [answer, answer], "max_selections": 1});
            return said("org.matrix.msc3381.poll.start", &json!({"org.matrix.msc3381.poll.start": poll}));
        }
        _ => single(TEXT_PLAIN, a),
    };
    let mut message = MimiContent::new([7; 16], by, &room, body);
    let mark = if kind == 12 { "m.location" } else { b };
    let mut extend = |key: &str, value: CborValue| message.extensions.insert(ExtensionKey::text(key), value);
    extend(MSGTYPE_EXTENSION, mark.into());
    extend("im.matrix.reason", c.into());
    if a.len().is_multiple_of(3) && !b.is_empty() {
        message.set_subject(b);
    }
    Some(message)
}

/// Everything in an event that clients take for HTML is clean.
fn look(event_type: &str, content: &Value, by: &UserUri) -> Result<(), TestCaseError> {
    let owns = matches!(event_type, "m.room.message" | "m.sticker" | "m.reaction" | "m.room.redaction");
    prop_assert!(owns || event_type == "org.example.any" || event_type.starts_with(POLL), "{}", event_type);
    prop_assert!(content.to_string().len() <= MAX_EVENT_CONTENT + 512);
    for content in [Some(content), content.get("m.new_content")].into_iter().flatten() {
        if let Some(shown) = content.get("formatted_body") {
            prop_assert_eq!(&content["format"], "org.matrix.custom.html");
            html_tests::agreed(shown.as_str().unwrap());
        }
        if let Some(origin) = content.get(CONTENT_KEY) {
            prop_assert_eq!(&origin["sender"], by.as_str());
        }
        let users = content["m.mentions"]["user_ids"].as_array().cloned().unwrap_or_default();
        prop_assert!(users.iter().all(|user| user == "@a:b.example"), "{:?}", users);
        if event_type != "m.room.message" {
            continue;
        }
        for field in ["body", "filename"] {
            let text = content.get(field).map_or("", |text| text.as_str().unwrap());
            let steers = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
            prop_assert!(!text.chars().any(steers), "{} {:?}", field, text);
            prop_assert!(field == "body" || !text.contains(['/', '\\', '\u{202e}']), "{:?}", text);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn what_strangers_write_is_shown_clean(
        kind in 0..17_usize, t in prop::array::uniform3(text()), from_gateway in any::<bool>(), related in 0..4_usize,
    ) {
        let (sender, room) = (user(true), room());
        let Some(mut message) = message(kind, &t, &sender, &NoPast) else { return Ok(()) };
        let id = MessageId(std::array::from_fn(|at| u8::from(at == 0)));
        message.in_reply_to = (related % 2 == 1).then_some(id);
        message.replaces = (related > 1).then_some(id);
        let Ok((bytes, own)) = message.encode_with_id(&sender, &room) else { return Ok(()) };
        let message = MimiContent::decode(&bytes).unwrap();
        let ctx = ToMatrix { message_id: own, sender: &sender, room: &room, from_gateway, mentions: &People };
        let earlier = Earlier::of(&message, id, &sender);
        let found = Some(Found { event: "$x".try_into().unwrap(), earlier: Some(earlier) });
        for shown in files::to_events(&message, false, &ctx) {
            look(&shown.event_type, &shown.content, &sender)?;
            for resolved in [Resolved::default(), Resolved { reply: found.clone(), replaced: found.clone(), ..Resolved::default() }] {
                for act in relate(&shown.event_type, shown.content.clone(), &shown.refers, &resolved, &sender, false) {
                    look(&act.event_type, &act.content, &sender)?;
                }
            }
        }
    }

    /// What goes out is clean as well: other implementations may believe us.
    #[test]
    fn what_our_users_write_goes_out_clean(kind in 0..5_usize, t in prop::array::uniform3(text())) {
        let (sender, room) = (user(false), room());
        let [a, b, c] = &t;
        let html = |mut content: Value| {
            content["format"] = "org.matrix.custom.html".into();
            content["formatted_body"] = json!(b);
            content
        };
        let (event_type, content) = match kind {
            0 => ("m.room.message", html(json!({"msgtype": "m.text", "body": a}))),
            1 => ("m.room.message", html(json!({"msgtype": "m.image", "body": a, "filename": c, "url": "mxc://a.example/abc",
                "info": {"mimetype": a}}))),
            2 => ("m.sticker", json!({"body": a, "url": "mxc://a.example/abc", "info": {"mimetype": c}})),
            3 => ("m.room.message", json!({"msgtype": "m.location", "body": a, "geo_uri": "geo:1,2"})),
            _ => ("m.room.message", html(json!({"msgtype": c, "body": a}))),
        };
        let ctx = ToMimi { sender: &sender, room: &room, salt: [7; 16], sent_ts: BEGIN, past: &NoPast, mentions: &People, room_link: None };
        let Ok(translated) = translate(event_type, &content, &ctx) else { return Ok(()) };
        let bytes = translated.content.encode().unwrap();
        prop_assert_eq!(&MimiContent::decode(&bytes).unwrap(), &translated.content);
        for part in translated.content.body.walk() {
            match &part.body {
                Body::Single { content_type, content } if content_type == TEXT_HTML => {
                    let html = String::from_utf8(content.clone()).unwrap();
                    html_tests::agreed_outside(html.strip_prefix("/me ").unwrap_or(&html));
                }
                Body::External(external) => {
                    let bad = |c: char| c.is_control() || matches!(c, '/' | '\\' | '\u{202e}');
                    prop_assert!(!external.filename.contains(bad), "{:?}", external.filename);
                    prop_assert!(external.content_type.is_ascii() && !external.content_type.contains(['<', '"', ' ']));
                }
                _ => {}
            }
        }
    }
}
