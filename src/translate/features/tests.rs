//! Each row of the table against what the code does with an example of it.

use ruma::{OwnedEventId, event_id};
use serde_json::{Value, json};

use super::{super::*, *};
use crate::content::{Expiration, ExternalPart, MessageId, NestedPart, TEXT_MARKDOWN, TEXT_PLAIN};

fn alice() -> UserUri {
    UserUri::parse("mimi://a.example/u/alice").unwrap()
}
/// Where the Matrix room is found.
const ROOM: &str = "https://matrix.to/#/!r:a";

fn room() -> RoomUri {
    RoomUri::parse("mimi://a.example/r/club").unwrap()
}
struct Bob;
impl Mentions for Bob {
    fn may_ring_all(&self, _: &UserUri) -> bool {
        true
    }
    fn uri(&self, user: &ruma::UserId) -> Option<UserUri> {
        (user == "@bob:b").then(|| UserUri::parse("mimi://b.example/u/bob").unwrap())
    }
    fn matrix_id(&self, user: &UserUri) -> Option<ruma::OwnedUserId> {
        (user.as_str() == "mimi://b.example/u/bob").then(|| "@bob:b".try_into().unwrap())
    }
    fn is_here(&self, _: &UserUri) -> bool {
        true
    }
}
fn out(event_type: &str, content: &Value) -> Result<Translated, NotCarried> {
    let (sender, room) = (&alice(), &room());
    let id = MessageId([1; 32]);
    let first = Earlier { id, first: id, sender: alice(), reply: None, reaction: false, topic: Vec::new(), kind: None };
    let past: Vec<(OwnedEventId, Earlier)> = vec![(event_id!("$1").to_owned(), first.clone())];
    let ctx = ToMimi {
        sender,
        room,
        salt: [9; 16],
        sent_ts: 1_700_000_000_000,
        past: &past,
        mentions: &Bob,
        room_link: Some(ROOM),
    };
    match event_type {
        "m.room.redaction" => deletion(&first, None, &ctx),
        _ if media::with_files(event_type, content).is_some() => {
            let external = || ExternalPart { url: "https://a.example/1".into(), ..ExternalPart::default() };
            let (translated, missing) =
                media::files_to_mimi(event_type, content, (0..9).map(|_| Ok(external())).collect(), &ctx)?;
            assert_eq!(missing, []);
            Ok(translated.unwrap())
        }
        _ => to_mimi(event_type, content, &ctx),
    }
}
/// As the other side's gateway shows it, whose settings call ours a gateway.
fn back(message: &MimiContent) -> MatrixMessage {
    let message = MimiContent::decode(&message.encode().unwrap()).unwrap();
    let ctx = ToMatrix {
        message_id: MessageId([1; 32]),
        sender: &alice(),
        room: &room(),
        from_gateway: true,
        mentions: &Bob,
    };
    if media::from_message(&message).is_some() {
        let place = || media::FileSource::Plain("mxc://b/1".into());
        return media::files_to_matrix(&message, (0..9).map(|_| Ok(place())).collect(), &ctx).remove(0);
    }
    to_matrix(&message, &ctx)
}
fn text(html: &str) -> Value {
    json!({"msgtype": "m.text", "body": "x", "format": "org.matrix.custom.html", "formatted_body": html})
}
fn related(relation: &Value) -> Value {
    json!({"msgtype": "m.text", "body": "x", "m.relates_to": relation})
}
fn message(body: NestedPart) -> MimiContent {
    MimiContent::new([9; 16], &alice(), &room(), body)
}

/// Reports are no messages, and are translated where rooms are (`room::reading`).
const REPORTS: &str = "read receipts";
/// Profiles go before what is said (`room::faces`).
const NAMES: &str = "names and pictures of people";

/// What does not cross, and nobody is told of by the table: they are no messages, or told by the room itself.
const QUIET: [&str; 5] = [
    "subjects",
    "signals of calls, key verification",
    "pinned messages, other widgets, other state",
    "typing, presence",
    "encrypted messages",
];

/// What of an example does not come back, where the table says that nothing of its kind does.
const NOT_BACK: [(&str, &str); 3] = [
    ("other events of Matrix", "m.file"),
    ("what apps note of files", "org.example.exif"),
    ("names that messages bring along", "displayname"),
];

/// What readers see of an example that is shown as text.
const WORDS: [(&str, &str); 7] = [
    ("other events of Matrix", "a cat"),
    ("polls, votes, ends of polls", "[poll] Tea?\n1. Yes\n2. No"),
    ("custom events", "rolled a 6"),
    ("calls", ROOM),
    ("conferences", "https://meet.example/Tea"),
    ("live locations", "] Walk"),
    ("subjects", "Minutes\n\nx"),
];

/// As a gateway shows it that does not believe ours to be one, and as any other implementation reads it.
fn to_strangers(message: &MimiContent) -> MatrixMessage {
    let (sender, room, message_id) = (&alice(), &room(), MessageId([1; 32]));
    to_matrix(message, &ToMatrix { message_id, sender, room, from_gateway: false, mentions: &Bob })
}

/// Whether a shown event has the words of a row's example.
fn says(content: &Value, name: &str) -> bool {
    let (_, words) = WORDS.iter().find(|(row, _)| *row == name).unwrap_or_else(|| panic!("{name}"));
    content["body"].as_str().is_some_and(|body| body.contains(words))
}

/// Row, type and content of events of its kind.
#[expect(clippy::too_many_lines, reason = "a table")]
fn events() -> Vec<(&'static str, &'static str, Value)> {
    let words = |content: Value| ("m.room.message", content);
    let list = "<h2>To do</h2><ul><li>one<ul><li>two</li></ul></li></ul><ol start=\"3\"><li>c</li></ol><blockquote><p>said</p></blockquote>\
        <table><thead><tr><th>a</th></tr></thead><tbody><tr><td>b</td></tr></tbody></table><hr>";
    let poll = json!({"org.matrix.msc3381.poll.start": {"kind": "org.matrix.msc3381.poll.disclosed", "max_selections": 1,
        "question": {"org.matrix.msc1767.text": "Tea?"},
        "answers": [{"id": "1", "org.matrix.msc1767.text": "Yes"}, {"id": "2", "org.matrix.msc1767.text": "No"}]},
        "org.matrix.msc1767.text": "Tea?"});
    let place = json!({"msgtype": "m.location", "body": "The club", "geo_uri": "geo:51.5,-0.1",
        "org.matrix.msc3488.asset": {"type": "m.self"}});
    let mut events = vec![
        ("text", words(json!({"msgtype": "m.text", "body": "hello"}))),
        (
            "long text",
            words(json!({"msgtype": "m.text", "body": "word ".repeat(6000), "format": "org.matrix.custom.html",
            "formatted_body": format!("<b>{}</b>", "word ".repeat(7000))})),
        ),
        (
            "messages in several languages",
            ("m.message", json!({"m.text": [{"body": "hello", "lang": "en"}, {"body": "hallo", "lang": "de"}]})),
        ),
        ("bold, italics, struck text, code", words(text("<strong>a</strong> <em>b</em> <del>c</del> <code>d</code>"))),
        ("headings, lists, quotes, tables, task lists, lines", words(text(list))),
        ("code blocks with their language", words(text("<pre><code class=\"language-rust\">fn a() {}\n</code></pre>"))),
        ("links", words(text("<a href=\"https://matrix.org/\">Matrix</a>"))),
        ("spoilers", words(text("<span data-mx-spoiler>dead</span>"))),
        ("mathematics", words(text("<span data-mx-maths=\"x^2\">x²</span>"))),
        ("underlining, colours, raised and lowered text", words(text("<u>a</u>"))),
        ("folded parts", words(text("<details><summary>s</summary>t</details>"))),
        ("custom emoji in texts", words(text("<img data-mx-emoticon src=\"mxc://a/b\" alt=\":cat:\">"))),
        ("mentions of people", words(text("<a href=\"https://matrix.to/#/@bob:b\">Bob</a>"))),
        ("mentions of everybody", words(json!({"msgtype": "m.text", "body": "@room", "m.mentions": {"room": true}}))),
        ("emotes", words(json!({"msgtype": "m.emote", "body": "waves"}))),
        ("notices", words(json!({"msgtype": "m.notice", "body": "beep"}))),
        ("messages in extensible form", ("m.message", json!({"org.matrix.msc1767.text": [{"body": "hello"}]}))),
        ("replies", words(related(&json!({"m.in_reply_to": {"event_id": "$1"}})))),
        ("threads", words(related(&json!({"rel_type": "m.thread", "event_id": "$1"})))),
        ("edits", words(related(&json!({"rel_type": "m.replace", "event_id": "$1"})))),
        ("deletions", ("m.room.redaction", json!({}))),
        ("places", words(place)),
        ("polls, votes, ends of polls", ("org.matrix.msc3381.poll.start", poll)),
        ("custom events", ("org.example.dice", json!({"body": "rolled a 6", "sides": 6}))),
        ("custom events", words(json!({"msgtype": "org.example.dice", "body": "rolled a 6"}))),
        ("calls", ("m.call.invite", json!({"call_id": "1", "version": "1", "lifetime": 1, "offer": {}}))),
        (
            "conferences",
            (
                "im.vector.modular.widgets",
                json!({"type": "jitsi", "name": "Jitsi", "data": {"domain": "meet.example", "conferenceId": "Tea"}}),
            ),
        ),
        (
            "disappearing messages",
            words(json!({"msgtype": "m.text", "body": "x",
            "com.beeper.disappearing_timer": {"type": "after_read", "timer": 60000}})),
        ),
        ("encrypted messages", ("m.room.encrypted", json!({"algorithm": "m.megolm.v1.aes-sha2"}))),
        (
            "live locations",
            ("org.matrix.msc3672.beacon_info", json!({"description": "Walk", "live": true, "timeout": 60_000})),
        ),
        (
            "live locations",
            (
                "org.matrix.msc3672.beacon",
                json!({"m.relates_to": {"rel_type": "m.reference", "event_id": "$1"},
                "org.matrix.msc3488.location": {"uri": "geo:51.5,-0.1;u=30"}}),
            ),
        ),
        (
            "link previews",
            words(json!({"msgtype": "m.text", "body": "see https://a.example/1", "com.beeper.linkpreviews": [
                {"matched_url": "https://a.example/1", "og:title": "One", "og:description": "A *page*", "og:image": "mxc://a/b"}]})),
        ),
        ("typing, presence", ("m.typing", json!({}))),
        ("signals of calls, key verification", ("m.call.reject", json!({"call_id": "1"}))),
        ("signals of calls, key verification", ("org.matrix.msc4310.rtc.decline", json!({"m.relates_to": {}}))),
        ("signals of calls, key verification", ("m.key.verification.mac", json!({"mac": {}}))),
        ("other events of Matrix", ("m.image", json!({"m.text": [{"body": "a cat"}], "m.file": {"url": "mxc://a/b"}}))),
        ("pinned messages, other widgets, other state", ("m.room.pinned_events", json!({"pinned": ["$1"]}))),
        (
            "forwarded messages of MIMI users",
            words(json!({"msgtype": "m.text", "body": "hello", CONTENT_KEY: {"id": "x"}})),
        ),
    ];
    let reaction = json!({"m.relates_to": {"rel_type": "m.annotation", "event_id": "$1", "key": "👍"}});
    events.push(("reactions", ("m.reaction", reaction)));
    for kind in ["m.image", "m.video", "m.audio", "m.file"] {
        let file = json!({"msgtype": kind, "body": "x", "url": "mxc://a/b", "info": {"w": 1, "h": 1, "size": 1}});
        events.push(("pictures, videos, sounds, files", words(file)));
    }
    let voice = json!({"msgtype": "m.audio", "body": "x", "url": "mxc://a/b", "org.matrix.msc3245.voice": {}});
    events.push(("voice messages, stickers", words(voice)));
    let covered = json!({"msgtype": "m.image", "body": "x", "url": "mxc://a/b", "page.codeberg.everypizza.msc4193.spoiler": true});
    events.push(("spoilers on pictures", words(covered)));
    let noted = json!({"msgtype": "m.image", "body": "x", "url": "mxc://a/b", "info": {"org.example.exif": 1}});
    events.push(("what apps note of files", words(noted)));
    let added = json!({"msgtype": "m.text", "body": "x", "org.example.data": {"a": 1}});
    events.push(("what apps add to messages", words(added)));
    let named =
        json!({"msgtype": "m.text", "body": "x", "com.beeper.per_message_profile": {"id": "x", "displayname": "X"}});
    events.push(("names that messages bring along", words(named)));
    events.push(("voice messages, stickers", ("m.sticker", json!({"body": "x", "url": "mxc://a/b"}))));
    let item = json!({"itemtype": "m.image", "body": "x", "url": "mxc://a/b"});
    events.push(("galleries", words(json!({"msgtype": "m.gallery", "body": "", "itemtypes": [item, item]}))));
    events.into_iter().map(|(name, (event_type, content))| (name, event_type, content)).collect()
}

#[test]
fn from_matrix_the_table_says_what_happens() {
    let events = events();
    for feature in FEATURES.iter().filter(|feature| feature.out == Level::No) {
        let (told, quiet) = (TOLD.iter().any(|(name, _)| *name == feature.name), QUIET.contains(&feature.name));
        assert!(told != quiet, "{}: its senders are told, or it is listed as nobody's loss", feature.name);
    }
    for feature in FEATURES.iter().filter(|feature| !matches!(feature.name, "subjects" | REPORTS | NAMES)) {
        assert!(events.iter().any(|(name, ..)| *name == feature.name), "{} has no example", feature.name);
    }
    for (name, event_type, content) in events {
        let level = feature(name).unwrap().out;
        match out(event_type, &content) {
            Ok(translated) if level == Level::Full => assert_eq!(translated.losses, [], "{name}"),
            Ok(translated) => {
                assert_ne!(level, Level::No, "{name} crosses");
                assert_ne!(translated.losses, [], "{name} loses nothing");
                if level == Level::Text {
                    let shown = to_strangers(&translated.content);
                    let said = says(&shown.content, name);
                    assert!(said && shown.event_type == "m.room.message", "{name} is not shown as text: {shown:?}");
                }
            }
            Err(reason) => assert_eq!(level, Level::No, "{name}: {reason}"),
        }
    }
}

#[test]
fn to_matrix_the_table_says_what_happens() {
    // What a gateway sends comes back; the rest is what other implementations send.
    let mut messages: Vec<(&str, MimiContent)> = events()
        .into_iter()
        .filter(|(name, ..)| {
            !matches!(feature(name).unwrap().back, Level::No)
                && !matches!(*name, "disappearing messages" | "messages in several languages")
        })
        .filter_map(|(name, event_type, content)| Some((name, out(event_type, &content).ok()?.content)))
        .filter(|(name, _)| *name != "long text" && !name.starts_with("underlining"))
        .collect();
    let mut both = ["en", "de"].map(|_| NestedPart::text(TEXT_PLAIN, "taxi"));
    for (part, language) in both.iter_mut().zip(["en", "de"]) {
        part.language = language.to_owned();
    }
    let both =
        crate::content::Body::Multi { semantics: crate::content::PartSemantics::ChooseOne, parts: both.to_vec() };
    messages.push(("messages in several languages", message(NestedPart::render(both))));
    messages.push(("long text", message(NestedPart::text(TEXT_PLAIN, &"x".repeat(60_000)))));
    messages
        .push(("underlining, colours, raised and lowered text", message(NestedPart::text(TEXT_MARKDOWN, "<u>a</u>"))));
    let mut gone = message(NestedPart::text(TEXT_PLAIN, "x"));
    gone.expires = Some(Expiration::AfterReading(60));
    messages.push(("disappearing messages", gone));
    let mut about = message(NestedPart::text(TEXT_PLAIN, "x"));
    about.set_subject("Minutes");
    messages.push(("subjects", about));
    for (name, event_type, content) in events() {
        let Ok(translated) = out(event_type, &content) else { continue };
        if feature(name).unwrap().back == Level::No {
            let shown = back(&translated.content).content.to_string();
            let (_, lost) = NOT_BACK.iter().find(|(row, _)| *row == name).unwrap_or_else(|| panic!("{name}"));
            assert!(content.to_string().contains(lost) && !shown.contains(lost), "{name} comes back: {shown}");
        }
    }
    for feature in
        FEATURES.iter().filter(|feature| feature.back != Level::No && !matches!(feature.name, REPORTS | NAMES))
    {
        let (_, message) =
            messages.iter().find(|(name, _)| *name == feature.name).unwrap_or_else(|| panic!("{}", feature.name));
        let mut shown = back(message);
        // The plain texts of the examples are not what a client would write beside their formatted ones.
        shown.losses.retain(|loss| *loss != Loss::Alternatives);
        let lossless = shown.losses.is_empty();
        match feature.back {
            Level::Full => assert_eq!(shown.losses, [], "{}", feature.name),
            // A line above the text, a note, or the text that stands beside: losses of form, which `losses` need not list.
            Level::Text => {
                let shown = to_strangers(message);
                let said = says(&shown.content, feature.name);
                assert!(
                    said && shown.event_type == "m.room.message",
                    "{} is not shown as text: {shown:?}",
                    feature.name
                );
            }
            _ => assert!(!lossless || feature.name.starts_with("underlining"), "{} loses nothing", feature.name),
        }
    }
}

#[test]
fn every_loss_has_its_row() {
    let private = || "org.example.x".to_owned();
    for loss in [
        Loss::Reply,
        Loss::Edit,
        Loss::Deletion,
        Loss::Reaction,
        Loss::Thread,
        Loss::Mention,
        Loss::Emote,
        Loss::Spoiler,
        Loss::Expiration,
        Loss::Staying,
        Loss::InlineImage,
        Loss::Reference,
        Loss::Call,
        Loss::Details,
        Loss::Private(private()),
        Loss::Link,
        Loss::Style,
        Loss::Layout,
        Loss::Unsupported(private()),
        Loss::Formatting,
        Loss::Cut,
        Loss::Alternatives,
        Loss::Languages,
        Loss::Voice,
        Loss::Sticker,
        Loss::Together,
        Loss::Thumbnail,
        Loss::Event(private()),
        Loss::Forwarded,
        Loss::Cover,
        Loss::Live,
        Loss::Preview,
        Loss::FileDetails,
        Loss::Profile,
        Loss::Fields,
        Loss::Added,
    ] {
        assert!(feature(loss.feature()).is_some(), "{loss:?}: {}", loss.feature());
    }
    for (name, _) in TOLD {
        assert!(feature(name).is_some(), "{name}");
    }
    // Who sees it in another form has lost nothing.
    assert_eq!((Loss::Style.told(), Loss::Emote.told(), Loss::Voice.told()), (None, None, None));
    assert!(Loss::Spoiler.told().is_some_and(|words| words.contains("spoiler")));
    assert_ne!(Loss::Cut.told(), None);
}

#[test]
fn the_page_and_the_state_event_are_the_table() {
    let page = include_str!("../../../docs/features.md");
    assert!(page.contains(&table()), "docs/features.md has another table than this:\n{}", table());
    let state = room_features();
    for (key, level) in
        [("reply", 2), ("edit", 2), ("reaction", 2), ("delete", 2), ("thread", 2), ("poll", 1), ("read_receipts", 2)]
    {
        assert_eq!(state[key], level, "{key}");
    }
    assert_eq!(
        (&state["file"]["m.image"]["mime_types"]["*/*"], &state["file"]["m.sticker"]["caption"]),
        (&json!(2), &json!(1))
    );
    assert_eq!((&state["formatting"]["bold"], &state["formatting"]["details"]), (&json!(2), &json!(1)));
    assert_eq!(state["formatting"].as_object().unwrap().len(), FORMATTING.len(), "each kind of formatting has its row");
}
