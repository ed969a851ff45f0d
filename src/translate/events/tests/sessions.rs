//! Calls and conferences, and sessions of others.

use super::*;
use crate::content::TEXT_HTML;

/// Translates an event of a room that others find there.
fn linked(event_type: &str, content: &Value, link: &str) -> Result<Translated, NotCarried> {
    let (sender, room) = (&alice(), &room());
    let ctx =
        ToMimi { sender, room, salt: [9; 16], sent_ts: 5, past: &NoPast, mentions: &Nobody, room_link: Some(link) };
    crate::translate::to_mimi(event_type, content, &ctx)
}

/// The two forms of an address to go to, as the draft's example of a conference has it, and in words.
fn assert_is_link(body: &NestedPart, url: &str, what: &str) {
    let Body::Multi { semantics: PartSemantics::ChooseOne, parts } = &body.body else { panic!("{body:?}") };
    let [session, words] = parts.as_slice() else { panic!("{body:?}") };
    assert_eq!([body, session, words].map(|part| part.disposition), [Disposition::Session; 3]);
    let external = ExternalPart { url: url.into(), description: what.into(), ..ExternalPart::default() };
    assert_eq!(session.body, Body::External(Box::new(external)));
    assert_eq!(words.body, single(TEXT_PLAIN, &format!("{what}\n{url}")).body);
}

#[test]
fn a_call_is_a_link_to_its_room_or_told() {
    let url = "https://matrix.to/#/!r:a.example?via=a.example";
    for event_type in [
        "m.call.invite",
        "m.call.notify",
        "org.matrix.msc4075.call.notify",
        "m.rtc.notification",
        "org.matrix.msc4075.rtc.notification",
    ] {
        let content = json!({"call_id": "c1", "m.mentions": {"room": true}, "m.relates_to": {"rel_type": "m.reference", "event_id": "$m"}});
        let translated = linked(event_type, &content, url).unwrap();
        assert_eq!(translated.losses, [Loss::Call]);
        assert_is_link(&translated.content.body, url, "A call in Matrix");
        let back = seen(&translated.content, false, None);
        assert_eq!(bare(&back), json!({"msgtype": "m.text", "body": format!("A call in Matrix\n{url}")}));
        assert_eq!(back.losses, []);

        // Where nobody outside finds the room it is told.
        let translated = mimi(event_type, &content);
        assert_eq!(translated.losses, [Loss::Call]);
        assert_eq!(translated.content.body.disposition, Disposition::Session);
        let back = seen(&translated.content, false, None);
        assert_eq!(back.content["body"], "[started a call, which can be joined in Matrix only]");
    }
    for other in ["m.call.candidates", "m.call.hangup", "m.call.answer"] {
        assert_eq!(linked(other, &json!({"call_id": "c"}), url), Err(NotCarried::EventType(other.into())));
    }
}

#[test]
fn a_conference_is_a_link_to_it() {
    let widget =
        |data: Value| json!({"type": "jitsi", "name": "Jitsi", "url": "https://app.example/jitsi.html", "data": data});
    let room =
        json!({"domain": "meet.example", "conferenceId": "JitsiTea", "roomName": "Tea\ntime", "isAudioOnly": false});
    let translated = mimi("im.vector.modular.widgets", &widget(room.clone()));
    assert_eq!(translated.losses, []);
    assert_is_link(&translated.content.body, "https://meet.example/JitsiTea", "Join the conference");
    assert_eq!(translated.content.subject(), Some("Tea time"));
    let back = seen(&translated.content, false, None);
    assert_eq!(back.content["body"], "Tea time\n\nJoin the conference\nhttps://meet.example/JitsiTea");
    assert!(is_conference("m.widget", &json!({"type": "m.jitsi", "data": room})));
    // Named as the widget is, and an address whatever the conference is called.
    let odd = mimi("m.widget", &widget(json!({"domain": "meet.example:8443", "conferenceId": "a b/../?x=\"<é>"})));
    assert_is_link(
        &odd.content.body,
        "https://meet.example:8443/a%20b%2F..%2F%3Fx%3D%22%3C%C3%A9%3E",
        "Join the conference",
    );
    assert_eq!(odd.content.subject(), Some("Jitsi"));
    // One that was ended, other widgets, and what leads nowhere.
    for content in [
        json!({}),
        json!({"type": "m.etherpad", "url": "https://pad.example", "data": {"domain": "a", "conferenceId": "b"}}),
        json!({"type": "jitsi"}),
        widget(json!({"domain": "meet.example"})),
        widget(json!({"conferenceId": "b", "domain": "meet.example/evil"})),
        widget(json!({"conferenceId": "b", "domain": "user@meet.example"})),
        widget(json!({"conferenceId": " ", "domain": "meet.example"})),
        widget(json!({"conferenceId": "b".repeat(256), "domain": "meet.example"})),
        widget(json!({"conferenceId": 1, "domain": "meet.example"})),
    ] {
        assert!(!is_conference("im.vector.modular.widgets", &content), "{content}");
    }
    assert!(!is_conference("org.example.widget", &widget(room)));
}

#[test]
fn a_session_is_a_link() {
    let session = |url: &str, description: &str, enc_alg| {
        let external =
            ExternalPart { url: url.into(), description: description.into(), enc_alg, ..ExternalPart::default() };
        let body = Body::External(Box::new(external));
        let part = NestedPart { disposition: Disposition::Session, language: String::new(), body };
        seen(&MimiContent::new([1; 16], &alice(), &room(), part), false, None)
    };
    // Of alternatives it says more than a text.
    let external = ExternalPart { url: "https://a.example/join".into(), ..ExternalPart::default() };
    let session_part =
        NestedPart { disposition: Disposition::Session, ..NestedPart::render(Body::External(Box::new(external))) };
    for parts in [
        vec![single(TEXT_PLAIN, "There is a call."), session_part.clone()],
        vec![session_part.clone(), single(TEXT_HTML, "There is a <b>call</b>.")],
    ] {
        let body = NestedPart::render(Body::Multi { semantics: PartSemantics::ChooseOne, parts });
        let shown = seen(&MimiContent::new([1; 16], &alice(), &room(), body), false, None);
        assert_eq!(shown.content["body"], "A call\nhttps://a.example/join");
    }
    let join = session("https://a.example/join/1", "Join\nus", 0);
    assert_eq!(
        (bare(&join), join.losses),
        (json!({"msgtype": "m.text", "body": "Join us\nhttps://a.example/join/1"}), vec![])
    );
    for url in
        ["https://a.example/join", "http://a.example/join", "tel:+123", "sip:conf@a.example", "mailto:a@a.example"]
    {
        assert_eq!(session(url, "", 0).content["body"], format!("A call\n{url}"));
    }
    for (url, enc_alg) in [
        ("javascript:alert(1)", 0),
        ("https://a.example/x y", 0),
        ("https://a.example/\u{202e}x", 0),
        ("https://a.example/x", 1),
    ] {
        let shown = session(url, "Join", enc_alg);
        assert_eq!(shown.content["msgtype"], "m.notice", "{url}");
        assert!(!shown.losses.is_empty());
    }
}
