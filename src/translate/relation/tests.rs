//! What people see of answers, edits, reactions, threads and deletions, from either side.

use ruma::{OwnedEventId, event_id};
use serde_json::{Value, json};

use super::*;
use crate::{
    content::{TEXT_MARKDOWN, TEXT_PLAIN},
    ident::RoomUri,
    translate::{CONTENT_KEY, MatrixMessage, Nobody, ToMatrix, to_matrix, to_mimi},
};

fn alice() -> UserUri {
    UserUri::parse("mimi://a.example/u/alice").unwrap()
}
fn bob() -> UserUri {
    UserUri::parse("mimi://b.example/u/bob").unwrap()
}
fn room() -> RoomUri {
    RoomUri::parse("mimi://a.example/r/club").unwrap()
}
fn id(byte: u8) -> MessageId {
    let mut id = [byte; 32];
    id[0] = 1; // SHA-256
    MessageId(id)
}
fn said(byte: u8, sender: UserUri) -> Earlier {
    Earlier { id: id(byte), first: id(byte), sender, reply: None, reaction: false, topic: Vec::new(), kind: None }
}
/// The event `$1` is Alice's first message, `$2` Bob's.
fn past() -> Vec<(OwnedEventId, Earlier)> {
    vec![(event_id!("$1").to_owned(), said(1, alice())), (event_id!("$2").to_owned(), said(2, bob()))]
}
fn send_with(event_type: &str, content: &Value, past: &Vec<(OwnedEventId, Earlier)>) -> Result<Translated, NotCarried> {
    let (sender, room) = (&alice(), &room());
    to_mimi(
        event_type,
        content,
        &ToMimi { sender, room, salt: [9; 16], sent_ts: 5, past, mentions: &Nobody, room_link: None },
    )
}
fn say(relation: &Value, more: &[(&str, Value)]) -> Translated {
    let mut content = json!({"msgtype": "m.text", "body": "words", "m.relates_to": relation});
    for (key, value) in more {
        content[key] = value.clone();
    }
    send_with("m.room.message", &content, &past()).unwrap()
}
/// What the other side shows of Bob's message, after it went through its bytes.
fn seen(message: &MimiContent) -> MatrixMessage {
    let message = MimiContent::decode(&message.encode().unwrap()).unwrap();
    let (sender, room) = (&bob(), &room());
    to_matrix(&message, &ToMatrix { message_id: id(8), sender, room, from_gateway: false, mentions: &Nobody })
}
fn message(text: &str) -> MimiContent {
    MimiContent::new([9; 16], &bob(), &room(), NestedPart::text(TEXT_PLAIN, text))
}
fn found(event: &EventId, earlier: Earlier) -> Found {
    Found { event: event.to_owned(), earlier: Some(earlier) }
}
/// What is sent for Bob's message.
fn acts(message: &MimiContent, resolved: &Resolved, moderates: bool) -> Vec<Act> {
    let shown = seen(message);
    relate(&shown.event_type, shown.content, &shown.refers, resolved, &bob(), moderates)
}
fn one(mut acts: Vec<Act>) -> Act {
    assert_eq!(acts.len(), 1, "{acts:?}");
    acts.remove(0)
}

// ---------------------------------------------------------------------------------------------------- from Matrix

#[test]
fn an_answer_names_the_message_and_loses_its_quotation() {
    let quoted = json!("> <@bob:b> what Bob said\n\nwords");
    let answer = say(&json!({"m.in_reply_to": {"event_id": "$2"}}), &[("body", quoted)]);
    assert_eq!((answer.content.in_reply_to, answer.losses), (Some(id(2)), vec![]));
    assert_eq!(answer.content.body, NestedPart::text(TEXT_PLAIN, "words"));
    // What it answers is no message of the MIMI room.
    let lost = say(&json!({"m.in_reply_to": {"event_id": "$unknown"}}), &[]);
    assert_eq!((lost.content.in_reply_to, lost.losses), (None, vec![Loss::Reply]));
}

#[test]
fn what_is_answered_and_not_there_is_quoted_as_its_sender_did() {
    let elsewhere = json!({"m.in_reply_to": {"event_id": "$unknown"}});
    let body = json!("> <@bob:b> what *Bob* said\n> <and> more\n\nwords");
    let plain = say(&elsewhere, &[("body", body.clone())]);
    assert_eq!(plain.content.body, NestedPart::text(TEXT_PLAIN, body.as_str().unwrap()));
    assert_eq!(plain.losses, [Loss::Reply]);
    // All forms say the same, so that nobody takes them for different messages.
    let html = "<mx-reply><blockquote><a href=\"https://matrix.to/#/!r:a/$unknown\">In reply to</a> other words</blockquote>\
                </mx-reply><b>words</b>";
    let more = [("body", body.clone()), ("format", json!("org.matrix.custom.html")), ("formatted_body", json!(html))];
    let formatted = say(&elsewhere, &more);
    let shown = seen(&formatted.content);
    assert_eq!((&shown.content["body"], shown.losses), (&body, vec![]));
    assert_eq!(
        shown.content["formatted_body"],
        "<blockquote>&lt;@bob:b&gt; what *Bob* said<br>&lt;and&gt; more</blockquote><b>words</b>"
    );
    // What is there is not quoted.
    let there = seen(&say(&json!({"m.in_reply_to": {"event_id": "$2"}}), &more).content);
    assert_eq!((&there.content["body"], &there.content["formatted_body"]), (&json!("words"), &json!("<b>words</b>")));
}

/// Bob, under his ghost's id.
struct BobsGhost;
impl crate::translate::Mentions for BobsGhost {
    fn uri(&self, user: &UserId) -> Option<UserUri> {
        (user == "@ghost:a").then(bob)
    }
    fn matrix_id(&self, _: &UserUri) -> Option<OwnedUserId> {
        None
    }
    fn is_here(&self, _: &UserUri) -> bool {
        true
    }
}

#[test]
fn an_answer_rings_whom_it_answers_and_nobody_else_unheard() {
    let (sender, room, past) = (&alice(), &room(), past());
    let losses = |event_type: &str, mut content: Value, users: &[&str], answers: &str| {
        content["m.mentions"] = json!({"user_ids": users});
        content["m.relates_to"] = json!({"m.in_reply_to": {"event_id": answers}});
        let ctx =
            ToMimi { sender, room, salt: [9; 16], sent_ts: 5, past: &past, mentions: &BobsGhost, room_link: None };
        to_mimi(event_type, &content, &ctx).unwrap().losses
    };
    let text = json!({"msgtype": "m.text", "body": "yes"});
    let place = json!({"msgtype": "m.location", "body": "here", "geo_uri": "geo:1,2"});
    for content in [text, place] {
        assert_eq!(losses("m.room.message", content.clone(), &["@ghost:a"], "$2"), []);
        assert_eq!(losses("m.room.message", content.clone(), &["@ghost:a", "@other:a"], "$2"), [Loss::Mention]);
        assert_eq!(losses("m.room.message", content, &["@ghost:a"], "$1"), [Loss::Mention], "somebody else's message");
    }
}

#[test]
fn an_edit_replaces_the_first_version_of_ones_own_message() {
    let new = [("body", json!("* better")), ("m.new_content", json!({"msgtype": "m.text", "body": "better"}))];
    let edit = say(&json!({"rel_type": "m.replace", "event_id": "$1"}), &new);
    assert_eq!((edit.content.replaces, edit.losses), (Some(id(1)), vec![]));
    assert_eq!(edit.content.body, NestedPart::text(TEXT_PLAIN, "better"));
    // An edit keeps what its message answers, and its thread.
    let mut past = past();
    (past[0].1.reply, past[0].1.topic) = (Some(id(2)), b"topic".to_vec());
    let content = json!({"msgtype": "m.text", "body": "* better", "m.new_content": {"msgtype": "m.text", "body": "better"},
        "m.relates_to": {"rel_type": "m.replace", "event_id": "$1"}});
    let edit = send_with("m.room.message", &content, &past).unwrap().content;
    assert_eq!((edit.replaces, edit.in_reply_to, edit.topic_id), (Some(id(1)), Some(id(2)), b"topic".to_vec()));
    // Nobody changes what others said: it crosses as a message of its own.
    let foreign = say(&json!({"rel_type": "m.replace", "event_id": "$2"}), &new);
    assert_eq!((foreign.content.replaces, foreign.losses), (None, vec![Loss::Edit]));
}

#[test]
fn a_reaction_names_its_message_and_has_a_key() {
    let reaction = |relation: Value| send_with("m.reaction", &json!({"m.relates_to": relation}), &past());
    let good = reaction(json!({"rel_type": "m.annotation", "event_id": "$2", "key": "👍"})).unwrap().content;
    assert_eq!((good.in_reply_to, good.body.disposition), (Some(id(2)), Disposition::Reaction));
    assert_eq!(good.body.body, NestedPart::text(TEXT_PLAIN, "👍").body);
    let nowhere = reaction(json!({"rel_type": "m.annotation", "event_id": "$unknown", "key": "👍"}));
    assert_eq!(nowhere.unwrap_err(), NotCarried::NoTarget);
    let empty = reaction(json!({"rel_type": "m.annotation", "event_id": "$2", "key": " "}));
    assert_eq!(empty.unwrap_err(), NotCarried::Empty);
    for bad in [
        json!({"rel_type": "m.annotation", "event_id": "$2", "key": "x".repeat(257)}),
        json!({"rel_type": "m.replace", "event_id": "$2", "key": "x"}),
        json!({"rel_type": "m.annotation", "event_id": "$2"}),
    ] {
        assert!(matches!(reaction(bad.clone()), Err(NotCarried::Malformed(_))), "{bad}");
    }
}

#[test]
fn a_reaction_with_a_picture_is_told_by_its_name() {
    let reaction = |more: Value| {
        let mut content =
            json!({"m.relates_to": {"rel_type": "m.annotation", "event_id": "$2", "key": "mxc://a.example/cat"}});
        content.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        send_with("m.reaction", &content, &past()).unwrap()
    };
    for (more, key) in [
        (json!({"shortcode": "cat"}), ":cat:"),
        (json!({"com.beeper.reaction.shortcode": ":cat:"}), ":cat:"),
        (json!({"shortcode": " ::"}), ":custom emoji:"),
        (json!({}), ":custom emoji:"),
    ] {
        let translated = reaction(more);
        assert_eq!(translated.losses, [Loss::InlineImage], "its picture does not cross, and the sender hears of it");
        assert_eq!(seen(&translated.content).refers.form, Form::Reaction(key.into()));
    }
    let long = reaction(json!({"shortcode": "🐌".repeat(300)})).content;
    assert!(matches!(seen(&long).refers.form, Form::Reaction(_)), "it is none that is too long for the others");
}

#[test]
fn a_reaction_is_one_however_the_type_of_its_text_is_written() {
    let single = |content_type: &str| NestedPart::text(content_type, "👍");
    let several = |types: &[&str]| {
        let parts = types.iter().map(|content_type| single(content_type)).collect();
        NestedPart::render(Body::Multi { semantics: crate::content::PartSemantics::ChooseOne, parts })
    };
    for body in [
        single("text/plain"),
        single("text/plain; charset=utf-8"),
        single("Text/Plain;Charset=UTF-8"),
        single("text/markdown;variant=GFM-MIMI"),
        single("TEXT/MARKDOWN"),
        several(&["text/html", "text/plain"]),
        several(&["text/html", "text/markdown"]),
    ] {
        let mut reaction = MimiContent::new([9; 16], &bob(), &room(), body);
        reaction.in_reply_to = Some(id(1));
        reaction.body.disposition = Disposition::Reaction;
        let shown = seen(&reaction);
        assert_eq!((&shown.refers.form, shown.losses), (&Form::Reaction("👍".into()), vec![]), "{:?}", reaction.body);
    }
    for (content_type, text) in [(TEXT_MARKDOWN, "\\:)"), ("text/html", "&#58;)"), ("text/html", "<p>:)</p>")] {
        let mut reaction = MimiContent::new([9; 16], &bob(), &room(), NestedPart::text(content_type, text));
        (reaction.in_reply_to, reaction.body.disposition) = (Some(id(1)), Disposition::Reaction);
        assert_eq!(seen(&reaction).refers.form, Form::Reaction(":)".into()), "{text}");
    }
    // What is no text is told.
    let mut other = MimiContent::new([9; 16], &bob(), &room(), single("application/x"));
    (other.in_reply_to, other.body.disposition) = (Some(id(1)), Disposition::Reaction);
    assert_eq!(seen(&other).refers.form, Form::Message);
}

#[test]
fn a_thread_is_the_topic_of_its_first_message() {
    let thread =
        json!({"rel_type": "m.thread", "event_id": "$2", "is_falling_back": true, "m.in_reply_to": {"event_id": "$1"}});
    let first = say(&thread, &[]);
    assert_eq!((first.content.topic_id, first.content.in_reply_to, first.losses), (id(2).0.to_vec(), None, vec![]));
    let mut known = past();
    known[1].1.topic = b"theirs".to_vec();
    let content = json!({"msgtype": "m.text", "body": "words", "m.relates_to": thread});
    assert_eq!(send_with("m.room.message", &content, &known).unwrap().content.topic_id, b"theirs");
    // An answer within the thread.
    let inner = json!({"rel_type": "m.thread", "event_id": "$2", "m.in_reply_to": {"event_id": "$1"}});
    let inner = say(&inner, &[]).content;
    assert_eq!((inner.topic_id, inner.in_reply_to), (id(2).0.to_vec(), Some(id(1))));
    assert_eq!(say(&json!({"rel_type": "m.thread", "event_id": "$unknown"}), &[]).losses, [Loss::Thread]);
}

#[test]
fn a_redaction_is_an_empty_new_version() {
    let (sender, room, past) = (&alice(), &room(), past());
    let ctx = ToMimi { sender, room, salt: [9; 16], sent_ts: 5, past: &past, mentions: &Nobody, room_link: None };
    let gone = deletion(&said(1, alice()), Some("typo"), &ctx).unwrap().content;
    assert_eq!((gone.replaces, gone.in_reply_to, &gone.body.body), (Some(id(1)), None, &Body::Null));
    assert_eq!(seen(&gone).refers.form, Form::Deletion(Some("typo".into())));
    // Of a reaction that is taken back the message reacted to is named, too.
    let reaction = Earlier { reply: Some(id(2)), reaction: true, ..said(3, alice()) };
    let gone = deletion(&reaction, None, &ctx).unwrap().content;
    assert_eq!((gone.replaces, gone.in_reply_to), (Some(id(3)), Some(id(2))));
    let long = deletion(&said(1, alice()), Some(&"x".repeat(10_000)), &ctx).unwrap().content;
    assert!(long.encode().unwrap().len() < 1000);
}

#[test]
fn everything_that_an_event_names_is_looked_up() {
    let event = |content: Value, redacts: Option<&str>| {
        let kind = if redacts.is_some() { "m.room.redaction" } else { "m.room.message" };
        let mut raw = json!({"type": kind, "event_id": "$9", "room_id": "!r:a", "sender": "@alice:a",
            "origin_server_ts": 1, "content": content});
        if let Some(redacts) = redacts {
            raw["redacts"] = redacts.into();
        }
        let raw = serde_json::value::RawValue::from_string(raw.to_string()).unwrap();
        named(&RoomEvent::parse(&raw).unwrap())
    };
    let thread =
        json!({"m.relates_to": {"rel_type": "m.thread", "event_id": "$1", "m.in_reply_to": {"event_id": "$2"}}});
    assert_eq!(event(thread, None), ["$1", "$2"]);
    assert_eq!(event(json!({}), Some("$3")), ["$3"]);
    assert_eq!(event(json!({"m.relates_to": {"event_id": 7, "m.in_reply_to": "x"}}), None), [] as [&str; 0]);
}

// ------------------------------------------------------------------------------------------------------ to Matrix

#[test]
fn an_answer_points_at_its_event_or_says_that_it_is_not_here() {
    let mut answer = message("yes");
    answer.in_reply_to = Some(id(1));
    let resolved = Resolved { reply: Some(found(event_id!("$1"), said(1, alice()))), ..Resolved::default() };
    let act = one(acts(&answer, &resolved, false));
    assert_eq!((act.event_type.as_str(), &act.content["body"]), ("m.room.message", &json!("yes")));
    assert_eq!(act.content["m.relates_to"], json!({"m.in_reply_to": {"event_id": "$1"}}));
    assert_eq!(act.content["m.mentions"], json!({}));
    // One of ours is told, as by an answer of Matrix.
    let resolved = Resolved { rings: Some(ruma::user_id!("@alice:a").to_owned()), ..resolved };
    let act = one(acts(&answer, &resolved, false));
    assert_eq!(act.content["m.mentions"], json!({"user_ids": ["@alice:a"]}));
    let act = one(acts(&answer, &Resolved::default(), false));
    assert_eq!(act.content["body"], "> [in reply to a message that is not here]\n\nyes");
    assert!(act.content.get("m.relates_to").is_none());
}

#[test]
fn an_edit_changes_the_event_of_its_sender_and_of_nobody_else() {
    let mut edit = MimiContent::new([9; 16], &bob(), &room(), NestedPart::text(TEXT_MARKDOWN, "**new**"));
    edit.replaces = Some(id(2));
    let own = Resolved { replaced: Some(found(event_id!("$2"), said(2, bob()))), ..Resolved::default() };
    let act = one(acts(&edit, &own, false));
    assert_eq!(act.content["m.relates_to"], json!({"rel_type": "m.replace", "event_id": "$2"}));
    assert_eq!((&act.content["body"], &act.content["m.new_content"]["body"]), (&json!("* **new**"), &json!("**new**")));
    assert_eq!(act.content["m.new_content"]["formatted_body"], "<strong>new</strong>");
    assert!(act.content["m.new_content"].get(CONTENT_KEY).is_none() && act.content.get(CONTENT_KEY).is_some());
    // The newest version of an answer mentions whom it answers, and the edit rings nobody anew.
    let (reply, rings) = (own.replaced.clone(), Some(ruma::user_id!("@alice:a").to_owned()));
    let act = one(acts(&edit, &Resolved { reply, rings, ..own.clone() }, false));
    assert_eq!(act.content["m.new_content"]["m.mentions"], json!({"user_ids": ["@alice:a"]}));
    assert_eq!(act.content["m.mentions"], json!({}));
    // An edit of somebody else's message, or of one that is not known, is a message of its own, and looks like an edit.
    let foreign = Resolved { replaced: Some(found(event_id!("$1"), said(1, alice()))), ..Resolved::default() };
    for (resolved, moderates) in [(foreign, true), (Resolved::default(), false)] {
        let act = one(acts(&edit, &resolved, moderates));
        assert!(act.content.get("m.relates_to").is_none() && act.content.get("m.new_content").is_none());
        assert_eq!(act.content["body"], "* **new**");
    }
}

#[test]
fn a_reaction_is_one_where_its_message_is_here_and_a_note_elsewhere() {
    let mut reaction = message("👍");
    reaction.in_reply_to = Some(id(1));
    reaction.body.disposition = Disposition::Reaction;
    let mut resolved = Resolved { reply: Some(found(event_id!("$1"), said(1, alice()))), ..Resolved::default() };
    let act = one(acts(&reaction, &resolved, false));
    assert_eq!(act.event_type, "m.reaction");
    assert_eq!(act.content["m.relates_to"], json!({"rel_type": "m.annotation", "event_id": "$1", "key": "👍"}));
    assert!(act.content.get("body").is_none() && act.content.get(CONTENT_KEY).is_some());
    let note = one(acts(&reaction, &Resolved::default(), false));
    assert_eq!((note.event_type.as_str(), &note.content["body"]), ("m.room.message", &json!("[reacted with 👍]")));
    // Another reaction in place of the first one: Matrix has no edits of reactions.
    reaction.replaces = Some(id(3));
    resolved.replaced = Some(found(event_id!("$3"), Earlier { reaction: true, ..said(3, bob()) }));
    let both = acts(&reaction, &resolved, false);
    assert_eq!(both.iter().map(|act| act.event_type.as_str()).collect::<Vec<_>>(), ["m.room.redaction", "m.reaction"]);
    assert_eq!(both[0].content["redacts"], "$3");
    // Somebody else's reaction stays.
    resolved.replaced = Some(found(event_id!("$3"), said(3, alice())));
    assert_eq!(one(acts(&reaction, &resolved, true)).event_type, "m.reaction");
}

#[test]
fn a_deletion_is_done_by_who_may() {
    let mut gone = message("");
    (gone.replaces, gone.body) = (Some(id(2)), NestedPart::render(Body::Null));
    let own = Resolved { replaced: Some(found(event_id!("$2"), said(2, bob()))), ..Resolved::default() };
    let act = one(acts(&gone, &own, false));
    assert_eq!(
        (act.event_type.as_str(), &act.content["redacts"], act.by_keeper),
        ("m.room.redaction", &json!("$2"), false)
    );
    let foreign = Resolved { replaced: Some(found(event_id!("$1"), said(1, alice()))), ..Resolved::default() };
    let act = one(acts(&gone, &foreign, true));
    assert_eq!((act.event_type.as_str(), act.by_keeper), ("m.room.redaction", true), "a moderator's");
    for resolved in [foreign, Resolved::default()] {
        let act = one(acts(&gone, &resolved, false));
        assert_eq!(
            act.content["body"], "[deleted or took back an earlier message]",
            "people are told, and nothing goes"
        );
    }
    // The sender is not known: nobody's.
    let unknown = Some(Found { event: event_id!("$2").to_owned(), earlier: None });
    let act = one(acts(&gone, &Resolved { replaced: unknown, ..Resolved::default() }, false));
    assert_eq!(act.event_type, "m.room.message");
}

#[test]
fn a_topic_is_a_thread_under_its_first_message() {
    let mut inner = message("in the thread");
    inner.topic_id = id(1).0.to_vec();
    let root = Some(event_id!("$1").to_owned());
    let act = one(acts(&inner, &Resolved { root: root.clone(), ..Resolved::default() }, false));
    let fallback =
        json!({"rel_type": "m.thread", "event_id": "$1", "is_falling_back": true, "m.in_reply_to": {"event_id": "$1"}});
    assert_eq!(act.content["m.relates_to"], fallback);
    inner.in_reply_to = Some(id(2));
    let resolved = Resolved { root, reply: Some(found(event_id!("$2"), said(2, bob()))), ..Resolved::default() };
    let relation = one(acts(&inner, &resolved, false)).content["m.relates_to"].clone();
    assert_eq!(relation, json!({"rel_type": "m.thread", "event_id": "$1", "m.in_reply_to": {"event_id": "$2"}}));
    // The first message of a topic is a message.
    let mut first = message("a new topic");
    first.topic_id = b"theirs".to_vec();
    assert!(one(acts(&first, &Resolved::default(), false)).content.get("m.relates_to").is_none());
}

#[test]
fn what_one_gateway_says_the_next_one_shows_the_same() {
    let cases = [
        json!({"m.in_reply_to": {"event_id": "$2"}}),
        json!({"rel_type": "m.thread", "event_id": "$2", "m.in_reply_to": {"event_id": "$1"}}),
        json!({"rel_type": "m.thread", "event_id": "$2", "is_falling_back": true, "m.in_reply_to": {"event_id": "$2"}}),
    ];
    for relation in cases {
        let message = say(&relation, &[]).content;
        let shown = seen(&message);
        let of = |id: Option<MessageId>| past().into_iter().find(|(_, earlier)| Some(earlier.id) == id);
        let reply = of(shown.refers.reply).map(|(event, earlier)| Found { event, earlier: Some(earlier) });
        let root = past()
            .into_iter()
            .find(|(_, earlier)| earlier.id.0.as_slice() == shown.refers.topic)
            .map(|(event, _)| event);
        let resolved = Resolved { reply, root, ..Resolved::default() };
        let act = one(relate(&shown.event_type, shown.content, &shown.refers, &resolved, &bob(), false));
        assert_eq!(act.content["m.relates_to"], relation);
    }
}

#[test]
fn what_claims_to_be_a_version_of_anothers_message_is_deleted_alone() {
    let mut claim = message("not yours");
    claim.replaces = Some(id(1));
    let target = |first: Option<&Earlier>| Earlier::of(&claim, id(8), &bob()).behind(first);
    let gone = |target: &Earlier| {
        let (sender, room, past) = (&alice(), &room(), &past());
        let ctx = ToMimi { sender, room, salt: [9; 16], sent_ts: 5, past, mentions: &Nobody, room_link: None };
        deletion(target, None, &ctx).unwrap().content.replaces
    };
    assert_eq!(gone(&target(Some(&said(1, alice())))), Some(id(8)), "Alice's stays");
    assert_eq!(gone(&target(None)), Some(id(8)), "and so does one that is not known here");
    assert_eq!(gone(&target(Some(&said(1, bob())))), Some(id(1)), "of Bob's own the first version goes");
}
