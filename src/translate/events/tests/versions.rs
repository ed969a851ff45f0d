//! New versions of polls and custom events, what votes say, and the HTML of polls.

use super::*;

fn vote_for(answers: &Value) -> Value {
    json!({RESPONSE: {"answers": answers}, "m.relates_to": {"rel_type": "m.reference", "event_id": "$here:a.example"}})
}

#[test]
fn a_vote_says_what_it_is_for() {
    let id = Some(MessageId([1; 32]));
    for (answers, text) in [
        (json!(["b2", "a1", "b2"]), "[voted in a poll: Soup, Pizza and salad]"),
        (json!(["b2", "else\nwhere"]), "[voted in a poll: Soup, else where]"),
        (json!([]), "[took back the vote in a poll]"),
    ] {
        let translated = send(RESPONSE, &vote_for(&answers), id).unwrap();
        assert_eq!(private::plain_text(&translated.content), Some(text));
        let back = seen(&translated.content, true, Some(event_id!("$poll")));
        assert_eq!((back.event_type.as_str(), &back.content[RESPONSE]["answers"]), (RESPONSE, &answers));
    }
    let unknown = mimi(RESPONSE, &vote_for(&json!(["a1"])));
    assert_eq!(private::plain_text(&unknown.content), Some("[voted in a poll: a1]"));
    let stable = json!({"m.selections": ["a1"], "m.relates_to": vote_for(&json!([]))["m.relates_to"]});
    let stable = send("m.poll.response", &stable, id).unwrap();
    assert_eq!(private::plain_text(&stable.content), Some("[voted in a poll: Pizza and salad]"));
}

/// ATTACKS S21: gateways count the vote that everybody else reads, or none.
#[test]
fn a_vote_whose_text_says_something_else_is_its_text() {
    let part = |content: Value| json!({"type": RESPONSE, "content": content});
    let soup = || json!({RESPONSE: {"answers": ["b2"]}});
    let both = json!({RESPONSE: {"answers": ["b2"]}, "m.selections": ["a1"]});
    for (json, text) in [
        (part(soup()), "[voted in a poll: Pizza and salad]"),
        (part(soup()), "[voted in a poll: b2]"),
        (part(soup()), "[voted in a poll]"),
        (part(both), "[voted in a poll: Pizza and salad]"),
    ] {
        let mut message = forged(&json, text);
        message.in_reply_to = Some(MessageId([1; 32]));
        let shown = seen(&message, true, Some(event_id!("$poll")));
        assert_eq!((shown.event_type.as_str(), &shown.content["body"]), ("m.room.message", &json!(text)));
        assert_eq!(shown.content["m.relates_to"], json!({"m.in_reply_to": {"event_id": "$poll"}}));
    }
    // Nor is it a vote about what is no poll here.
    let mut message = forged(&part(soup()), "[voted in a poll: Soup]");
    message.in_reply_to = Some(MessageId([1; 32]));
    assert_eq!(seen(&message, true, Some(event_id!("$poll"))).event_type, RESPONSE);
    for kind in [None, Kind::of("org.example.dice", &json!({})), Kind::of(RESPONSE, &soup())] {
        let no_poll = the_poll(MessageId([1; 32])).with_kind(kind);
        assert_eq!(about(seen(&message, true, None), event_id!("$x"), &no_poll).event_type, "m.room.message");
    }
}

// ------------------------------------------------------------------------------------------------------ new versions

fn version_of(new: &Value) -> Value {
    json!({"m.new_content": new, "m.relates_to": {"rel_type": "m.replace", "event_id": "$here:a.example"}})
}

#[test]
fn a_new_version_of_a_poll_is_one_on_the_other_side() {
    let id = MessageId([1; 32]);
    let mut new = element_poll();
    new[START]["question"]["org.matrix.msc1767.text"] = json!("Dinner?");
    new[START]["answers"] = json!([{"id": "c3", "org.matrix.msc1767.text": "Rice"}]);
    let translated = send(START, &version_of(&new), Some(id)).unwrap();
    assert_eq!((translated.content.replaces, &translated.losses), (Some(id), &vec![private(START)]));
    // Other providers read it as the new version of a text.
    assert_eq!(private::plain_text(&translated.content), Some("[poll] Dinner?\n1. Rice"));
    let back = seen(&translated.content, true, Some(event_id!("$there:b.example")));
    assert_eq!((back.event_type.as_str(), &back.losses), (START, &vec![]));
    let relation = json!({"rel_type": "m.replace", "event_id": "$there:b.example"});
    assert_eq!(bare(&back), json!({"m.new_content": new, "m.relates_to": relation}));
    // Where the poll is a text, the new one is, too: the sender's provider was not believed then, or is not now.
    let as_text = the_poll(id).with_kind(None);
    for believed in [true, false] {
        let shown = about(seen(&translated.content, believed, None), event_id!("$text"), &as_text);
        assert_eq!(
            (shown.event_type.as_str(), &shown.content["m.relates_to"]["event_id"]),
            ("m.room.message", &json!("$text"))
        );
        assert_eq!(shown.content["m.new_content"]["body"], "[poll] Dinner?\n1. Rice");
    }
    // Without the poll it stands for itself.
    let alone = seen(&translated.content, true, None);
    assert_eq!(alone.content["body"], "[poll] Dinner?\n1. Rice");
    let kind = alone.kind().unwrap();
    assert_eq!((kind.event_type.as_str(), kind.answers), (START, vec![("c3".to_owned(), "Rice".to_owned())]));
}

#[test]
fn a_new_version_of_a_custom_event_keeps_every_byte() {
    let new =
        json!({"body": "rolled a 1", "org.example.dice": {"seen": [1, -2, null], "formatted_body": "<b onclick=x>1"}});
    let dice = |id| Earlier { kind: Kind::of("org.example.dice", &json!({})), ..the_poll(id) };
    let id = MessageId([1; 32]);
    let (sender, room) = (&alice(), &room());
    let past = vec![(event_id!("$here:a.example").to_owned(), dice(id))];
    let ctx = ToMimi { sender, room, salt: [1; 16], sent_ts: SENT, past: &past, mentions: &Nobody, room_link: None };
    let translated = crate::translate::to_mimi("org.example.dice", &version_of(&new), &ctx).unwrap();
    let back = about(seen(&translated.content, true, None), event_id!("$there"), &dice(id));
    assert_eq!((back.event_type.as_str(), &back.content["m.new_content"]), ("org.example.dice", &new));
    // By others than who said it, and of what is another type, it is a message of its own, in sight.
    let others = Earlier { sender: UserUri::parse("mimi://b.example/u/bob").unwrap(), ..dice(id) };
    for first in [others, the_poll(id)] {
        let shown = about(seen(&translated.content, true, None), event_id!("$there"), &first);
        assert_eq!((shown.event_type.as_str(), &shown.content["body"]), ("m.room.message", &json!("* rolled a 1")));
        assert!(shown.content.get("m.relates_to").is_none());
    }
}

#[test]
fn a_new_version_of_another_type_is_refused() {
    let id = Some(MessageId([1; 32]));
    for (event_type, new) in [
        ("m.room.message", json!({"msgtype": "m.text", "body": "hi"})),
        ("m.room.message", json!({"msgtype": "m.location", "body": "here", "geo_uri": "geo:1,2"})),
        ("m.message", json!({"m.text": [{"body": "hi"}]})),
        ("org.example.dice", json!({"body": "hi"})),
        ("m.poll.start", element_poll()),
    ] {
        let edit = json!({
            "msgtype": "m.text", "body": "* hi", "m.text": [{"body": "* hi"}], "m.new_content": new,
            "m.relates_to": {"rel_type": "m.replace", "event_id": "$here:a.example"},
        });
        assert_eq!(send(event_type, &edit, id), Err(NotCarried::OtherType), "{event_type}");
    }
    // From elsewhere it is in sight, as a message of its own.
    let mut message = MimiContent::new([1; 16], &alice(), &room(), single(TEXT_PLAIN, "hi"));
    message.replaces = id;
    let shown = seen(&message, true, Some(event_id!("$poll")));
    assert_eq!((shown.event_type.as_str(), &shown.content["body"]), ("m.room.message", &json!("* hi")));
    assert!(shown.content.get("m.relates_to").is_none());
}

#[test]
fn a_vote_is_not_edited_but_said() {
    let mut vote = version_of(&json!({RESPONSE: {"answers": ["b2"]}}));
    vote["m.relates_to"]["event_id"] = json!("$vote");
    let first = Earlier { kind: Kind::of(RESPONSE, &json!({})), ..the_poll(MessageId([1; 32])) };
    let (sender, room) = (&alice(), &room());
    let past = vec![(event_id!("$vote").to_owned(), first)];
    let ctx = ToMimi { sender, room, salt: [1; 16], sent_ts: SENT, past: &past, mentions: &Nobody, room_link: None };
    let translated = crate::translate::to_mimi(RESPONSE, &vote, &ctx).unwrap();
    assert_eq!(translated.content.body, single(TEXT_PLAIN, "[voted in a poll: b2]"));
    assert_eq!(translated.losses, [Loss::Unsupported(RESPONSE.into())]);
}

#[test]
fn votes_know_the_answers_of_all_versions() {
    let poll =
        |id: &str, text: &str| json!({START: {"question": {"body": "?"}, "answers": [{"id": id, "body": text}]}});
    let said = |byte: u8, content: &Value| Earlier {
        first: MessageId([1; 32]),
        kind: Kind::of(START, content),
        ..the_poll(MessageId([byte; 32]))
    };
    let first = said(1, &poll("a", "Pizza"));
    let kind = Kind::with_version(&first, &said(2, &version_of(&poll("b", "Soup")))).unwrap();
    let known = |id: &str, text: &str| (id.to_owned(), text.to_owned());
    assert_eq!(kind.answers, [known("b", "Soup"), known("a", "Pizza")]);
    let again = Kind::with_version(&first.clone().with_kind(Some(kind)), &said(3, &poll("a", "Rice"))).unwrap();
    assert_eq!(again.answers, [known("a", "Rice"), known("b", "Soup")]);
    let other = Earlier { sender: UserUri::parse("mimi://b.example/u/bob").unwrap(), ..said(4, &poll("b", "Lies")) };
    assert_eq!(Kind::with_version(&first, &other), None);
    assert_eq!(Kind::with_version(&first, &said(5, &poll("a", "Pizza"))), None);
}

// ------------------------------------------------------------------------------------------------------------- HTML

/// ATTACKS S21: HTML of a poll is cleaned wherever a client may look for it; a custom type is its clients' own affair.
#[test]
fn html_of_polls_is_cleaned() {
    let bad = "<b>When?</b><script>x</script><img src=\"https://evil.example/pixel\"><a href=\"javascript:x\">go</a>";
    let rich = |plain: &str| {
        json!({"m.text": [{"body": bad, "mimetype": "text/html"}, {"body": plain}], "org.matrix.msc1767.html": bad,
        "format": "org.matrix.custom.html", "formatted_body": bad, "m.html": bad})
    };
    let mut poll = rich("When?");
    poll["m.poll"] = json!({"question": rich("When?"), "answers": [{"m.id": "x", "m.text": rich("Now")["m.text"]},
        {"m.id": "y", "m.text": [{"body": bad, "mimetype": " Text/HTML "}, {"body": "Later", "mimetype": "text/plain"}]}]});
    let text = "[poll] When?\n1. Now\n2. Later";
    let shown = seen(&forged(&json!({"type": "m.poll.start", "content": poll.clone()}), text), true, None);
    assert_eq!(shown.event_type, "m.poll.start");
    let said = shown.content.to_string();
    for word in ["script", "<img", "src", "javascript"] {
        assert!(!said.contains(word), "{word} in {said}");
    }
    assert_eq!(said.matches("<b>When?</b>").count(), 10, "{said}");
    assert!(said.contains("Later"));
    // In a new version as well.
    let mut message = forged(&json!({"type": "m.poll.start", "content": poll.clone()}), text);
    message.replaces = Some(MessageId([1; 32]));
    let first = the_poll(MessageId([1; 32])).with_kind(Kind::of("m.poll.start", &json!({})));
    let shown = about(seen(&message, true, None), event_id!("$poll"), &first);
    assert_eq!(shown.event_type, "m.poll.start");
    assert!(!shown.content.to_string().contains("script"));
    let mut custom = poll;
    custom.as_object_mut().unwrap().remove("m.poll");
    let shown = seen(&forged(&json!({"type": "org.example.rich", "content": custom.clone()}), "When?"), true, None);
    assert_eq!((shown.event_type.as_str(), bare(&shown)), ("org.example.rich", custom));
}

/// What steers terminals is replaced, what turns writing around ends where its text ends; what votes name stays.
#[test]
fn polls_are_shown_as_messages_are() {
    let hostile = "\u{202e}When?\u{1b}[31m";
    let text = json!([{"body": hostile}]);
    let poll = json!({
        "m.poll": {"question": {"m.text": text, "body": hostile}, "answers": [{"m.id": "x\u{202e}", "m.text": text}]},
        "m.text": text, "m.html": hostile,
    });
    let shown = seen(&send("m.poll.start", &poll, None).unwrap().content, true, None);
    assert_eq!(shown.event_type, "m.poll.start");
    let clean = json!("\u{202e}When?\u{fffd}[31m\u{202c}");
    let (question, answer) = (&shown.content["m.poll"]["question"], &shown.content["m.poll"]["answers"][0]);
    for said in
        [&question["body"], &question["m.text"][0]["body"], &answer["m.text"][0]["body"], &shown.content["m.html"]]
    {
        assert_eq!(*said, clean);
    }
    assert_eq!(shown.content["m.text"][0]["body"], clean);
    assert_eq!(answer["m.id"], "x\u{202e}");
}

proptest! {
    /// Whatever a gateway says of a poll, no HTML of it is shown that was not cleaned: ammonia agrees.
    #[test]
    fn any_poll_is_clean(
        html in "[<>/\"'=&; a-z`*_#!\\[\\]-]{0,60}", tag in prop::sample::select(vec!["<script>", "<img data-mx-emoticon src=mxc://a/b onerror=x>",
        "<a href=javascript:x>", "<svg onload=x>", "<b>", "<table><td>", "</p>"]), at in 0..3_usize,
    ) {
        let html = format!("{tag}{html}");
        let block = json!([{"body": html, "mimetype": "text/html"}, {"body": "Q"}]);
        let mut poll = json!({"m.poll": {"question": {"m.text": block}, "answers": [{"m.id": "1", "m.text": block}]}, "m.text": block});
        match at {
            0 => poll["formatted_body"] = json!(html),
            1 => poll["m.poll"]["question"]["m.html"] = json!(html),
            _ => poll["m.poll"]["deep"] = json!([[{"org.matrix.msc1767.html": html}]]),
        }
        let shown = seen(&forged(&json!({"type": "m.poll.start", "content": poll}), "[poll] Q\n1. Q"), true, None);
        prop_assert_eq!(shown.event_type.as_str(), "m.poll.start");
        let clean = crate::translate::html::tests::safe(&html);
        prop_assert_eq!(&shown.content["m.text"][0]["body"], &json!(clean));
        let text = shown.content.to_string();
        prop_assert_eq!(text.matches(&json!(clean).to_string()).count(), 4, "{} in {}", clean, text);
    }
}

#[test]
fn of_a_poll_that_is_secret_until_its_end_no_vote_says_what_it_is_for() {
    for kind in [Some("org.matrix.msc3381.poll.undisclosed"), Some("m.undisclosed"), None] {
        let mut secret = element_poll();
        match kind {
            Some(kind) => secret["org.matrix.msc3381.poll.start"]["kind"] = json!(kind),
            None => drop(secret["org.matrix.msc3381.poll.start"].as_object_mut().unwrap().remove("kind")),
        }
        let of_poll = Kind::of("org.matrix.msc3381.poll.start", &secret).unwrap();
        let voted = |vote: &Value| poll::vote(vote.as_object().unwrap(), Some(&of_poll));
        assert_eq!(voted(&vote_for(&json!(["a1"]))), "[voted in a poll]");
        let none = json!({"org.matrix.msc3381.poll.response": {"answers": []}});
        assert_eq!(voted(&none), "[took back the vote in a poll]");
        // It counts where the poll is known, as the votes of others do.
        assert!(poll::belongs(
            "org.matrix.msc3381.poll.response",
            &vote_for(&json!(["a1"])),
            Some(&of_poll),
            "[voted in a poll]"
        ));
    }
}
