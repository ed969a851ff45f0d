//! What users see after a message crossed.

mod own;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::content::{
    Body, CborValue, Disposition, Expiration, ExtensionKey, ExternalPart, MAX_CONTENT_LEN, MessageId, MimiContent,
    NestedPart, PartSemantics, TEXT_HTML, TEXT_MARKDOWN, TEXT_PLAIN,
};

fn alice() -> UserUri {
    UserUri::parse("mimi://a.example/u/alice").unwrap()
}
fn room() -> RoomUri {
    RoomUri::parse("mimi://a.example/r/club").unwrap()
}
fn mimi(content: &Value) -> Result<Translated, NotCarried> {
    to_mimi(
        "m.room.message",
        content,
        &ToMimi {
            sender: &alice(),
            room: &room(),
            salt: [1; 16],
            sent_ts: 1_700_000_000_123,
            past: &NoPast,
            mentions: &Nobody,
            room_link: None,
        },
    )
}
fn matrix(content: &MimiContent) -> MatrixMessage {
    let (sender, room) = (&alice(), &room());
    let ctx = ToMatrix { message_id: MessageId([2; 32]), sender, room, from_gateway: false, mentions: &Nobody };
    to_matrix(content, &ctx)
}
fn message(body: NestedPart) -> MimiContent {
    MimiContent::new([1; 16], &alice(), &room(), body)
}
fn text(content: &Value) -> String {
    content["body"].as_str().unwrap().to_owned()
}
fn formatted(html: &str) -> Value {
    json!({"msgtype": "m.text", "body": "x", "format": "org.matrix.custom.html", "formatted_body": html})
}
fn markdown_of(html: &str) -> String {
    let translated = mimi(&formatted(html)).unwrap();
    let Body::Multi { parts, .. } = translated.content.body.body else { panic!("one part") };
    let Body::Single { content_type, content } = parts[0].body.clone() else { panic!("no markdown") };
    assert_eq!(content_type, TEXT_MARKDOWN);
    String::from_utf8(content).unwrap()
}
fn choose(parts: Vec<NestedPart>) -> NestedPart {
    NestedPart::render(Body::Multi { semantics: PartSemantics::ChooseOne, parts })
}

// --------------------------------------------------------------------------------------------------------- to MIMI

#[test]
fn plain_text_becomes_one_part_with_sender_room_and_time() {
    let translated = mimi(&json!({"msgtype": "m.text", "body": "Hello, *world*"})).unwrap();
    assert_eq!(translated.losses, []);
    assert_eq!(translated.content.body, NestedPart::text(TEXT_PLAIN, "Hello, *world*"));
    assert_eq!(translated.content.sender_uri(), Some("mimi://a.example/u/alice"));
    assert_eq!(translated.content.room_uri(), Some("mimi://a.example/r/club"));
    assert_eq!(translated.content.sender_timestamp().unwrap().millis, 1_700_000_000_123);
    assert_eq!(translated.content.salt, [1; 16]);
}

#[test]
fn formatted_text_becomes_three_alternatives() {
    let event = json!({
        "msgtype": "m.text", "body": "Hello **world**", "format": "org.matrix.custom.html",
        "formatted_body": "Hello <strong onclick='x()'>world</strong><script>alert(1)</script>",
    });
    let translated = mimi(&event).unwrap();
    assert_eq!(translated.losses, []);
    assert_eq!(
        translated.content.body,
        choose(vec![
            NestedPart::text(TEXT_MARKDOWN, "Hello **world**"),
            NestedPart::text(TEXT_HTML, "Hello <strong>world</strong>"),
            NestedPart::text(TEXT_PLAIN, "Hello **world**"),
        ])
    );
}

#[test]
fn html_becomes_markdown() {
    for (html, markdown) in [
        ("<p>One</p><p>Two</p>", "One\n\nTwo"),
        ("a<br>b<br/>c", "a  \nb  \nc"),
        ("<b>bold</b> <i>it</i> <del>gone</del> <code>x*y</code>", "**bold** _it_ ~~gone~~ `x*y`"),
        ("<strong> spaced </strong>word", " **spaced** word".trim_start()),
        ("<strong></strong>empty", "empty"),
        ("<em><strong>both</strong></em>", "_**both**_"),
        ("<h1>Big</h1>text<h3>Small</h3>", "# Big\n\ntext\n\n### Small"),
        ("<blockquote><p>q1</p><p>q2</p></blockquote>after", "> q1\n>\n> q2\n\nafter"),
        ("<ul><li>a</li><li>b<ul><li>c</li></ul></li></ul>", "- a\n- b\n  - c"),
        ("<ol start=\"3\"><li>a</li><li><p>b</p><p>bb</p></li></ol>", "3. a\n\n4. b\n\n   bb"),
        (
            "<pre><code class=\"language-rust\">fn a() {\n    b&lt;c&gt;();\n}\n</code></pre>",
            "```rust\nfn a() {\n    b<c>();\n}\n```",
        ),
        ("<pre><code>```\n</code></pre>", "````\n```\n````"),
        ("<code>a`b</code>", "``a`b``"),
        ("<a href=\"https://x.example/a_(b)\">site</a>", "[site](https://x.example/a_(b))"),
        ("<a href=\"javascript:alert(1)\">site</a>", "site"),
        ("<hr>", "---"),
        (
            "<table><tr><th>A</th><th>B</th></tr><tr><td>1</td><td>2</td></tr></table>",
            "| A | B |\n| --- | --- |\n| 1 | 2 |",
        ),
        ("  much\n\n  white   space ", "much white space"),
    ] {
        assert_eq!(markdown_of(html), markdown, "{html}");
    }
}

#[test]
fn text_that_looks_like_markup_is_escaped() {
    for (html, markdown) in [
        ("2 * 3 * 4 and snake_case_name and _x_", "2 \\* 3 \\* 4 and snake_case_name and \\_x\\_"),
        ("&lt;b&gt; &amp;amp;", "&lt;b> &amp;amp;"),
        ("# no heading", "\\# no heading"),
        ("- no list", "\\- no list"),
        ("1. no list", "1\\. no list"),
        ("[no](link)", "\\[no\\](link)"),
        ("a<br>&gt; no quote", "a  \n\\> no quote"),
    ] {
        assert_eq!(markdown_of(html), markdown, "{html}");
    }
}

#[test]
fn a_reply_to_what_others_lack_keeps_its_fallback_and_the_loss_is_told() {
    let event = json!({
        "msgtype": "m.text", "body": "> <@bob:b.example> question\n> more\n\nanswer", "format": "org.matrix.custom.html",
        "formatted_body": "<mx-reply><blockquote>question</blockquote></mx-reply><b>answer</b>",
        "m.relates_to": {"m.in_reply_to": {"event_id": "$x"}},
    });
    let translated = mimi(&event).unwrap();
    assert_eq!(translated.losses, [Loss::Reply]);
    assert_eq!(
        translated.content.body,
        choose(vec![
            NestedPart::text(TEXT_MARKDOWN, "> <@bob:b.example> question  \n> more\n\n**answer**"),
            NestedPart::text(
                TEXT_HTML,
                "<blockquote>&lt;@bob:b.example&gt; question<br>more</blockquote><b>answer</b>"
            ),
            NestedPart::text(TEXT_PLAIN, "> <@bob:b.example> question\n> more\n\nanswer"),
        ])
    );
    // Without a quotation it says at least what it is. Quoted lines of one's own are none.
    let answer = json!({"msgtype": "m.text", "body": "yes", "format": "org.matrix.custom.html", "formatted_body": "<b>yes</b>",
        "m.relates_to": {"m.in_reply_to": {"event_id": "$x"}}});
    assert_eq!(
        mimi(&answer).unwrap().content.body,
        choose(vec![
            NestedPart::text(TEXT_MARKDOWN, "> \\[in reply to a message that is not here\\]\n\n**yes**"),
            NestedPart::text(TEXT_HTML, "<blockquote>[in reply to a message that is not here]</blockquote><b>yes</b>"),
            NestedPart::text(TEXT_PLAIN, "> [in reply to a message that is not here]\n\nyes"),
        ])
    );
    let own = json!({"msgtype": "m.text", "body": "> quote\n\nanswer", "m.relates_to": {"m.in_reply_to": {"event_id": "$x"}}});
    let blank = json!({"msgtype": "m.text", "body": " \n", "m.relates_to": {"m.in_reply_to": {"event_id": "$x"}}});
    assert_eq!(mimi(&blank), Err(NotCarried::Empty), "that it is an answer is nothing without one");
    let said = "> [in reply to a message that is not here]\n\n> quote\n\nanswer";
    assert_eq!(mimi(&own).unwrap().content.body, NestedPart::text(TEXT_PLAIN, said));
}

#[test]
fn an_edit_is_carried_as_its_new_text() {
    let event = json!({
        "msgtype": "m.text", "body": "* new", "m.new_content": {"msgtype": "m.text", "body": "new"},
        "m.relates_to": {"rel_type": "m.replace", "event_id": "$x"},
    });
    let translated = mimi(&event).unwrap();
    assert_eq!((translated.content.body, translated.losses), (NestedPart::text(TEXT_PLAIN, "new"), vec![Loss::Edit]));
}

#[test]
fn what_is_not_carried_says_why() {
    let ctx = ToMimi {
        sender: &alice(),
        room: &room(),
        salt: [1; 16],
        sent_ts: 0,
        past: &NoPast,
        mentions: &Nobody,
        room_link: None,
    };
    assert_eq!(to_mimi("m.reaction", &json!({}), &ctx), Err(NotCarried::Empty), "redacted");
    // Why a file cannot be read, not that it is none of the kinds that cross.
    let unread = |event: &Value| mimi(event).unwrap_err();
    assert_eq!(unread(&json!({"msgtype": "m.image", "body": "x.png"})), NotCarried::Malformed("url"));
    assert_eq!(unread(&json!({"msgtype": "m.gallery", "body": "x"})), NotCarried::Malformed("itemtypes"));
    let foreign = json!({"msgtype": "m.file", "body": "x", "file": {"v": "v1", "url": "mxc://a/b"}});
    assert_eq!(unread(&foreign), NotCarried::Malformed("file"));
    let body = mimi(&json!({"msgtype": "dm.filament.gallery", "body": "my cats"})).unwrap().content.body;
    assert_eq!(body, NestedPart::text(TEXT_PLAIN, "my cats"), "clients show an unknown kind by its body");
    let good = json!({"msgtype": "m.image", "body": "x.png", "url": "mxc://a/b"});
    assert_eq!(unread(&good), NotCarried::MsgType("m.image".into()), "where files are not carried");
    assert_eq!(mimi(&json!({})), Err(NotCarried::Empty), "redacted");
    assert_eq!(mimi(&json!({"msgtype": "m.text", "body": " \n"})), Err(NotCarried::Empty));
    assert_eq!(mimi(&json!({"msgtype": "m.text", "body": 7})), Err(NotCarried::Malformed("body")));
    assert_eq!(mimi(&json!([])), Err(NotCarried::Malformed("content")));
    assert_eq!(mimi(&json!({"msgtype": "m.text", "body": "x", CONTENT_KEY: {}})), Err(NotCarried::Mirror));
}

#[test]
fn long_messages_lose_their_formatting_and_not_their_text() {
    let body = "word ".repeat(5000);
    let event = json!({"msgtype": "m.text", "body": body, "format": "org.matrix.custom.html",
        "formatted_body": format!("<b>{}</b>", "word ".repeat(7000))});
    let translated = mimi(&event).unwrap();
    assert_eq!(translated.losses, [], "its Markdown crosses");
    assert!(translated.content.encode().unwrap().len() <= MAX_CONTENT_LEN);
    // Of two formatted alternatives one is enough, and nobody is called by a link that does not cross.
    let bold = |length: usize, link: &str| {
        let (body, words) = ("x".repeat(length), "x".repeat(length));
        let event = json!({"msgtype": "m.text", "body": body, "format": "org.matrix.custom.html",
            "formatted_body": format!("{link}<b>{words}</b>"), "m.mentions": {"user_ids": ["@_mimi_b.example=2fbob:hs.a.example"]}});
        mimi_known(&event)
    };
    let link = "<a href=\"https://matrix.to/#/@_mimi_b.example=2fbob:hs.a.example\">Bob</a>";
    assert_eq!(bold(20_000, link).losses, []);
    assert_eq!(bold(31_000, link).losses, [Loss::Mention, Loss::Formatting]);
    let huge = mimi(&json!({"msgtype": "m.text", "body": "x".repeat(MAX_CONTENT_LEN)}));
    assert!(matches!(huge, Err(NotCarried::Content(_))));
}

#[test]
fn images_and_mentions_in_text_leave_their_names() {
    let html = "<a href=\"https://matrix.to/#/@bob:b.example\">Bob</a> look <img src=\"mxc://a/b\" alt=\":cat:\"> <span data-mx-spoiler>dead</span>";
    assert_eq!(markdown_of(html), "[Bob](https://matrix.to/#/@bob:b.example) look :cat: ||dead||");
    assert_eq!(mimi(&formatted(html)).unwrap().losses, [Loss::Mention, Loss::Spoiler, Loss::InlineImage]);
}

// ------------------------------------------------------------------------------------------------------- to Matrix

#[test]
fn plain_text_crosses_as_it_is() {
    let shown = matrix(&message(NestedPart::text(TEXT_PLAIN, "a < b & *c*")));
    assert_eq!(shown.event_type, "m.room.message");
    assert_eq!(
        shown.content,
        json!({
            "msgtype": "m.text", "body": "a < b & *c*", "m.mentions": {},
            CONTENT_KEY: {"id": "02".repeat(32), "room": "mimi://a.example/r/club", "sender": "mimi://a.example/u/alice"},
        })
    );
    assert_eq!(shown.losses, []);
}

#[test]
fn a_mirrored_event_is_never_mirrored_again() {
    let shown = matrix(&message(NestedPart::text(TEXT_PLAIN, "x")));
    assert_eq!(mimi(&shown.content), Err(NotCarried::Mirror));
}

#[test]
fn markdown_becomes_html_without_html_of_its_own() {
    let shown =
        matrix(&message(NestedPart::text(TEXT_MARKDOWN, "Hi **all** <img src=x onerror=y> ~~no~~ [x](javascript:z)")));
    assert_eq!(text(&shown.content), "Hi **all** <img src=x onerror=y> ~~no~~ [x](javascript:z)");
    assert_eq!(shown.content["formatted_body"], "Hi <strong>all</strong> &lt;img src=x onerror=y&gt; <del>no</del> x");
    assert_eq!(shown.content["format"], "org.matrix.custom.html");
    let simple = matrix(&message(NestedPart::text(TEXT_MARKDOWN, "just text")));
    assert_eq!(simple.content.get("formatted_body"), None);
    let list = matrix(&message(NestedPart::text(TEXT_MARKDOWN, "- [x] done\n- [ ] open")));
    assert_eq!(list.content["formatted_body"], "<ul>\n<li>[x] done</li>\n<li>[ ] open</li>\n</ul>");
}

#[test]
fn html_is_cleaned_and_has_a_plain_body() {
    let html = "<p style='x'>Hi <b>all</b><iframe src='https://evil.example'></iframe></p><a href='mimi://a.example/u/bob'>@Bob</a><img src='https://track.example/x.png' alt='pic'>";
    let shown = matrix(&message(NestedPart::text(TEXT_HTML, html)));
    assert_eq!(
        shown.content["formatted_body"],
        "<p>Hi <b>all</b></p><span>@Bob</span> (mimi://a.example/u/bob)<a href=\"https://track.example/x.png\">pic</a>"
    );
    assert_eq!(text(&shown.content), "Hi **all**\n\n@Bob (mimi://a.example/u/bob)pic (https://track.example/x.png)");
    assert_eq!(shown.losses, [Loss::InlineImage, Loss::Link]);
}

#[test]
fn scripts_and_tricks_do_not_survive() {
    for html in [
        "<svg><style><img src=x onerror=alert(1)></style></svg>",
        "<math><mtext><table><mglyph><style><!--</style><img title=\"--&gt;&lt;img src=1 onerror=alert(1)&gt;\">",
        "<a href=\" javascript:alert(1)\">x</a><a href=\"data:text/html,x\">y</a>",
        "<img alt=\"<script>alert(1)</script>\" title='\"><script>'>",
        "<b title='><script>alert(1)</script>'>x</b>",
        "<noscript><p title=\"</noscript><img src=x onerror=alert(1)>\">",
        "<form><input name=x></form><object data=x></object><!-- <script> -->",
    ] {
        let shown = matrix(&message(NestedPart::text(TEXT_HTML, html)));
        let out = shown.content["formatted_body"].as_str().unwrap_or_default().to_lowercase();
        for bad in ["<script", "<img", "<svg", "<style", "javascript:", "data:", "<object", "<input", "<!--"] {
            assert!(!out.contains(bad), "{html} gave {out}");
        }
    }
}

#[test]
fn of_alternatives_the_best_is_shown_with_the_senders_own_plain_text() {
    let parts = vec![
        NestedPart::text(TEXT_PLAIN, "Hi *all*"),
        NestedPart::render(Body::Single { content_type: "application/x-own".into(), content: vec![1] }),
        NestedPart::text(TEXT_HTML, "Hi <b>all</b>"),
        NestedPart::text(TEXT_MARKDOWN, "Hi **all**"),
    ];
    let shown = matrix(&message(choose(parts)));
    assert_eq!(
        (text(&shown.content).as_str(), &shown.content["formatted_body"]),
        ("Hi *all*", &json!("Hi <b>all</b>"))
    );
    assert_eq!(shown.losses, []);
}

#[test]
fn alternatives_that_say_something_else_are_not_believed() {
    let parts = vec![NestedPart::text(TEXT_PLAIN, "I owe nothing"), NestedPart::text(TEXT_HTML, "I owe <b>100</b>")];
    let shown = matrix(&message(choose(parts)));
    assert_eq!(text(&shown.content), "I owe **100**");
    assert_eq!(shown.losses, [Loss::Alternatives]);
    // Tags that somebody typed say nothing else than what they make.
    for html in ["<u>under</u>", "<details><summary>S</summary>in</details>"] {
        let parts = vec![NestedPart::text(TEXT_PLAIN, html), NestedPart::text(TEXT_HTML, html)];
        assert_eq!(matrix(&message(choose(parts))).losses, [], "{html}");
    }
}

#[test]
fn the_language_of_what_is_shown_is_kept_and_others_are_told() {
    let part = |content_type, text, language: &str| NestedPart {
        language: language.to_owned(),
        ..NestedPart::text(content_type, text)
    };
    let seen = |body| {
        let shown = matrix(&message(body));
        (text(&shown.content), shown.content[CONTENT_KEY]["language"].as_str().map(str::to_owned), shown.losses)
    };
    let german = || part(TEXT_PLAIN, "Hallo", "de");
    assert_eq!(seen(german()), ("Hallo".to_owned(), Some("de".to_owned()), vec![]));
    assert_eq!(seen(part(TEXT_PLAIN, "Hallo", "")), ("Hallo".to_owned(), None, vec![]));
    let both = choose(vec![german(), part(TEXT_PLAIN, "Bonjour", "fr")]);
    assert_eq!(seen(both), ("Hallo".to_owned(), Some("de".to_owned()), vec![Loss::Languages]));
    let same = choose(vec![part(TEXT_HTML, "<b>Hallo</b>", "de"), german()]);
    assert_eq!(seen(same), ("Hallo".to_owned(), Some("de".to_owned()), vec![]));
    // What is nested is in the language of the whole, unless it says so itself.
    let whole = NestedPart { language: "de".to_owned(), ..choose(vec![part(TEXT_PLAIN, "Hallo", "")]) };
    assert_eq!(seen(whole).1.as_deref(), Some("de"));
    // From Matrix: what a client says of a text.
    let event = json!({"m.text": [{"body": "Hallo", "lang": "de"}]});
    let ctx = ToMimi {
        sender: &alice(),
        room: &room(),
        salt: [1; 16],
        sent_ts: 1,
        past: &NoPast,
        mentions: &Nobody,
        room_link: None,
    };
    let crossed = to_mimi("m.message", &event, &ctx).unwrap();
    assert_eq!((crossed.content.body.language.as_str(), crossed.losses), ("de", vec![]));
}

#[test]
fn a_matrix_message_comes_back_the_same() {
    for (body, html) in [
        ("Hello **world**", "Hello <strong>world</strong>"),
        ("a\n\n* b\n* c", "<p>a</p><ul><li>b</li><li>c</li></ul>"),
        ("code: `x`", "code: <code>x</code>"),
    ] {
        let event =
            json!({"msgtype": "m.text", "body": body, "format": "org.matrix.custom.html", "formatted_body": html});
        let bytes = mimi(&event).unwrap().content.encode().unwrap();
        let shown = matrix(&MimiContent::decode(&bytes).unwrap());
        assert_eq!((text(&shown.content).as_str(), &shown.content["formatted_body"]), (body, &json!(html)));
        assert_eq!(shown.losses, []);
    }
    for msgtype in ["m.notice", "m.emote"] {
        for html in [None, Some("<p>waves <em>hands</em></p>")] {
            let mut event = json!({"msgtype": msgtype, "body": "waves hands"});
            if let Some(html) = html {
                event["format"] = "org.matrix.custom.html".into();
                event["formatted_body"] = html.into();
            }
            let shown = matrix(&mimi(&event).unwrap().content);
            assert_eq!((&shown.content["msgtype"], text(&shown.content).as_str()), (&json!(msgtype), "waves hands"));
        }
    }
}

#[test]
fn an_emote_is_readable_for_others() {
    let translated = mimi(&json!({"msgtype": "m.emote", "body": "waves"})).unwrap();
    assert_eq!(translated.content.body, NestedPart::text(TEXT_PLAIN, "/me waves"));
    assert_eq!(translated.losses, [Loss::Emote]);
}

#[test]
fn a_foreign_msgtype_has_no_effect() {
    let mut content = message(NestedPart::text(TEXT_PLAIN, "x"));
    content.extensions.insert(ExtensionKey::text(MSGTYPE_EXTENSION), CborValue::Text("m.server_notice".into()));
    assert_eq!(matrix(&content).content["msgtype"], "m.text");
}

#[test]
fn what_cannot_be_shown_becomes_a_note() {
    let file = ExternalPart {
        content_type: "video/mp4".into(),
        url: "https://a.example/secret".into(),
        size: 708_234_961,
        enc_alg: 1,
        key: vec![9; 16],
        filename: "big\nfile.mp4".into(),
        ..ExternalPart::default()
    };
    let shown = matrix(&message(NestedPart::render(Body::External(Box::new(file)))));
    assert_eq!(
        text(&shown.content),
        "[not carried by this bridge: an attachment, big file.mp4, video/mp4, 708234961 bytes]"
    );
    assert_eq!(
        (shown.losses, &shown.content["msgtype"]),
        (vec![Loss::Unsupported("video/mp4".into())], &json!("m.notice"))
    );

    let call =
        ExternalPart { url: "https://a.example/join".into(), description: "Join us".into(), ..ExternalPart::default() };
    let call =
        NestedPart { disposition: Disposition::Session, language: String::new(), body: Body::External(Box::new(call)) };
    assert_eq!(text(&matrix(&message(call)).content), "Join us\nhttps://a.example/join");

    // A place is one wherever its address stands.
    let place = ExternalPart { url: "geo:1,2".into(), description: "Home".into(), ..ExternalPart::default() };
    let shown = matrix(&message(NestedPart::render(Body::External(Box::new(place)))));
    assert_eq!(
        (shown.losses, &shown.content["msgtype"], &shown.content["geo_uri"], text(&shown.content).as_str()),
        (vec![], &json!("m.location"), &json!("geo:1,2"), "Home")
    );

    let odd = Body::Single { content_type: "image/gif".into(), content: vec![0; 5] };
    assert_eq!(
        text(&matrix(&message(NestedPart::render(odd.clone()))).content),
        "[content that this bridge cannot show: image/gif, 5 bytes]"
    );

    let unit = |semantics| {
        NestedPart::render(Body::Multi {
            semantics,
            parts: vec![NestedPart::text(TEXT_PLAIN, "see"), NestedPart::render(odd.clone())],
        })
    };
    let single = matrix(&message(unit(PartSemantics::SingleUnit)));
    assert_eq!(text(&single.content), "[a message that this bridge cannot show: text/plain, image/gif]");
    let all = matrix(&message(unit(PartSemantics::ProcessAll)));
    assert_eq!(text(&all.content), "see\n\n[content that this bridge cannot show: image/gif, 5 bytes]");
    assert_eq!((&all.content["msgtype"], all.losses), (&json!("m.text"), vec![Loss::Unsupported("image/gif".into())]));
}

#[test]
fn what_a_message_refers_to_goes_along_and_each_can_stand_for_itself() {
    let one = Some(MessageId([1; 32]));
    let mut reply = message(NestedPart::text(TEXT_PLAIN, "yes"));
    (reply.in_reply_to, reply.topic_id) = (one, b"topic".to_vec());
    reply.expires = Some(Expiration::AfterReading(60));
    let shown = matrix(&reply);
    assert_eq!((text(&shown.content).as_str(), shown.losses), ("yes", vec![Loss::Expiration]));
    let refers = Refers { reply: one, topic: b"topic".to_vec(), ..Refers::default() };
    assert_eq!(shown.refers, refers);

    let mut reaction = message(NestedPart::text(TEXT_PLAIN, "\u{2665}"));
    reaction.in_reply_to = one;
    reaction.body.disposition = Disposition::Reaction;
    let shown = matrix(&reaction);
    assert_eq!((text(&shown.content).as_str(), shown.losses), ("[reacted with \u{2665}]", vec![]));
    assert_eq!(shown.refers.form, Form::Reaction("\u{2665}".into()));

    let mut edit = message(NestedPart::text(TEXT_MARKDOWN, "**new**"));
    edit.replaces = one;
    let shown = matrix(&edit);
    assert_eq!((text(&shown.content).as_str(), shown.losses), ("**new**", vec![]));
    assert_eq!(shown.refers, Refers { replaces: one, ..Refers::default() });

    edit.body.body = Body::Null;
    let shown = matrix(&edit);
    assert_eq!(text(&shown.content), "[deleted or took back an earlier message]");
    assert_eq!((shown.refers.form, shown.losses), (Form::Deletion(None), vec![]));
}

#[test]
fn every_published_example_is_shown_as_something() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/mimi-content");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "cbor") && !path.ends_with("implied-original.cbor") {
            let shown = matrix(&MimiContent::decode(&std::fs::read(&path).unwrap()).unwrap());
            assert!(!text(&shown.content).trim().is_empty(), "{path:?}");
            seen += 1;
        }
    }
    assert_eq!(seen, 14);
}

#[test]
fn the_event_is_never_too_long() {
    for filler in ["x", "\u{1}", "\"", "\u{1f600}", "\0"] {
        let long = filler.repeat(60_000 / filler.len());
        for content_type in [TEXT_PLAIN, TEXT_MARKDOWN, TEXT_HTML] {
            let shown = matrix(&message(NestedPart::text(content_type, &long)));
            assert!(shown.content.to_string().len() <= MAX_EVENT_CONTENT, "{content_type} {filler:?}");
            assert!(!text(&shown.content).contains('\0'));
        }
    }
    let shown = matrix(&message(NestedPart::text(TEXT_PLAIN, &"x".repeat(60_000))));
    assert_eq!(shown.losses, [Loss::Cut]);
    assert!(text(&shown.content).ends_with("[the message was too long and was cut here]"));
}

#[test]
fn html_that_nests_absurdly_loses_its_depth_and_not_its_text() {
    let html = format!("{}deep &lt;b&gt;{}", "<div>".repeat(300), "</div>".repeat(300));
    assert_eq!(
        matrix(&message(NestedPart::text(TEXT_HTML, &html))).content["formatted_body"],
        format!("{}deep &lt;b&gt;{}", "<div>".repeat(100), "</div>".repeat(100))
    );
    let usual = "<p>a</p><div>b<br>c</div>".repeat(300);
    assert!(
        matrix(&message(NestedPart::text(TEXT_HTML, &usual))).content["formatted_body"]
            .as_str()
            .unwrap()
            .contains("<p>")
    );
}

#[test]
fn what_comes_of_long_hostile_markdown_is_bounded() {
    let lines = format!("{}{}", "<blockquote>".repeat(2000), "a<br>".repeat(7000));
    assert!(mimi(&formatted(&lines)).unwrap().content.encode().unwrap().len() <= MAX_CONTENT_LEN);
    for unit in ["> ", "*a_", "[", "![", "`", "- ", "|a", "<b", "\\", "[a](", "~~", "**a "] {
        let shown = matrix(&message(NestedPart::text(TEXT_MARKDOWN, &unit.repeat(60_000 / unit.len()))));
        assert!(shown.content.to_string().len() <= MAX_EVENT_CONTENT, "{unit}");
    }
}

// -------------------------------------------------------------------------------------------------------- mentions

/// Everybody of `a.example` is on our homeserver `hs.a.example`; Bob of `b.example` is in the room, and has a ghost.
struct Known;

impl Mentions for Known {
    fn may_ring_all(&self, _: &UserUri) -> bool {
        true
    }
    fn uri(&self, user: &ruma::UserId) -> Option<UserUri> {
        match user.localpart().strip_prefix("_mimi_b.example=2f") {
            Some(name) => UserUri::parse(&format!("mimi://b.example/u/{name}")).ok(),
            None if user.server_name() == "hs.a.example" => {
                UserUri::parse(&format!("mimi://a.example/u/{}", user.localpart())).ok()
            }
            None => None,
        }
    }
    fn matrix_id(&self, user: &UserUri) -> Option<ruma::OwnedUserId> {
        let id = match user.provider().as_str() {
            "a.example" => format!("@{}:hs.a.example", user.tail()),
            "b.example" => format!("@_mimi_b.example=2f{}:hs.a.example", user.tail()),
            _ => return None,
        };
        ruma::UserId::parse(id).ok()
    }
    fn is_here(&self, user: &UserUri) -> bool {
        user.as_str() == "mimi://b.example/u/bob" || user.as_str() == "mimi://a.example/u/alice"
    }
}

fn mimi_known(content: &Value) -> Translated {
    let ctx = ToMimi {
        sender: &alice(),
        room: &room(),
        salt: [1; 16],
        sent_ts: 0,
        past: &NoPast,
        mentions: &Known,
        room_link: None,
    };
    to_mimi("m.room.message", content, &ctx).unwrap()
}

fn matrix_known(content: &MimiContent) -> MatrixMessage {
    let (sender, room) = (&alice(), &room());
    let message_id = MessageId([2; 32]);
    let ctx = ToMatrix { message_id, sender, room, from_gateway: false, mentions: &Known };
    to_matrix(content, &ctx)
}

#[test]
fn a_pill_becomes_a_mention_and_a_pill_again() {
    let pill = "Hi <a href=\"https://matrix.to/#/@_mimi_b.example=2fbob:hs.a.example\">Bob</a>!";
    let mut event = formatted(pill);
    event["body"] = "Hi Bob!".into();
    event["m.mentions"] = json!({"user_ids": ["@_mimi_b.example=2fbob:hs.a.example"]});
    let translated = mimi_known(&event);
    assert_eq!(translated.losses, []);
    assert_eq!(
        translated.content.body,
        choose(vec![
            NestedPart::text(TEXT_MARKDOWN, "Hi [Bob](mimi://b.example/u/bob)!"),
            NestedPart::text(TEXT_HTML, "Hi <a href=\"mimi://b.example/u/bob\">Bob</a>!"),
            NestedPart::text(TEXT_PLAIN, "Hi Bob!"),
        ])
    );
    let shown = matrix_known(&translated.content);
    assert_eq!((&shown.content["formatted_body"], text(&shown.content).as_str()), (&json!(pill), "Hi Bob!"));
    assert_eq!(shown.content["m.mentions"], json!({"user_ids": ["@_mimi_b.example=2fbob:hs.a.example"]}));
    assert_eq!(shown.losses, []);
    // As some clients write it.
    for link in [
        "https://matrix.to/#/%40alice%3Ahs.a.example",
        "https://matrix.to/#/@alice:hs.a.example?via=x",
        "matrix:u/alice:hs.a.example",
    ] {
        let translated = mimi_known(&formatted(&format!("<a href=\"{link}\">Al</a>")));
        assert_eq!(translated.losses, [], "{link}");
        assert_eq!(matrix_known(&translated.content).content["m.mentions"]["user_ids"], json!(["@alice:hs.a.example"]));
    }
}

#[test]
fn the_published_mention_rings_who_is_here() {
    let markdown = "Kudos to [@Bob](mimi://b.example/u/bob), [@Eve](mimi://b.example/u/eve), <mimi://b.example/u/bob> and [x](mimi://c.example/u/x)";
    let shown = matrix_known(&message(NestedPart::text(TEXT_MARKDOWN, markdown)));
    let bob = "https://matrix.to/#/@_mimi_b.example=2fbob:hs.a.example";
    assert_eq!(
        shown.content["formatted_body"],
        format!(
            "Kudos to <a href=\"{bob}\">@Bob</a>, <a href=\"https://matrix.to/#/@_mimi_b.example=2feve:hs.a.example\">@Eve</a>, \
             <a href=\"{bob}\">mimi://b.example/u/bob</a> and x (mimi://c.example/u/x)"
        )
    );
    assert_eq!(
        shown.content["m.mentions"],
        json!({"user_ids": ["@_mimi_b.example=2fbob:hs.a.example"]}),
        "Eve is not here"
    );
    assert_eq!(shown.losses, [Loss::Link]);
}

#[test]
fn nobody_is_mentioned_by_a_name_or_a_link_of_the_web() {
    for part in [
        NestedPart::text(TEXT_PLAIN, "@Bob mimi://b.example/u/bob @room"),
        NestedPart::text(TEXT_HTML, "<a href=\"https://matrix.to/#/@_mimi_b.example=2fbob:hs.a.example\">Bob</a>"),
        NestedPart::text(
            TEXT_MARKDOWN,
            "`[@Bob](mimi://b.example/u/bob)` [bob](mimi://b.example/u/bob/extra) [b](mimi://b.example/u/bob?x)",
        ),
    ] {
        assert_eq!(matrix_known(&message(part)).content["m.mentions"], json!({}));
    }
    let links = |n| format!("[x](mimi://b.example/u/b{n}) [b](mimi://b.example/u/bob) ");
    let many = (0..1000).map(links).collect::<Vec<_>>().concat();
    let shown = matrix_known(&message(NestedPart::text(TEXT_MARKDOWN, &many)));
    assert_eq!(shown.content["m.mentions"]["user_ids"].as_array().unwrap().len(), 1);
}

#[test]
fn everybody_is_mentioned_by_a_link_to_the_room() {
    let text = |part: &NestedPart| match &part.body {
        Body::Single { content, .. } => String::from_utf8(content.clone()).unwrap(),
        _ => panic!("{part:?}"),
    };
    // As clients say it, with and without m.mentions.
    for more in [json!({"m.mentions": {"room": true}}), json!({})] {
        let mut content = json!({"msgtype": "m.text", "body": "@room: 1 < 2\nnot bob@room"});
        content.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let sent = mimi_known(&content);
        let Body::Multi { parts, .. } = &sent.content.body.body else { panic!("no alternatives") };
        let room = room();
        assert_eq!(text(&parts[0]), format!("[@room]({room}): 1 < 2  \nnot bob@room"));
        assert_eq!(text(&parts[1]), format!("<a href=\"{room}\">@room</a>: 1 &lt; 2<br>not bob@room"));
        assert_eq!(text(&parts[2]), "@room: 1 < 2\nnot bob@room");
        let shown = matrix_known(&sent.content);
        assert_eq!(shown.content["m.mentions"], json!({"room": true}));
        assert_eq!((&shown.content["body"], shown.content.get("formatted_body")), (&content["body"], None));
    }
    // A link to the room by others, and to another room; who may not call everybody's attention.
    let link = |uri: &str| message(NestedPart::text(TEXT_MARKDOWN, &format!("[all of you]({uri}), look")));
    let shown = matrix_known(&link(room().as_str()));
    assert_eq!((&shown.content["m.mentions"], shown.losses), (&json!({"room": true}), vec![]));
    assert_eq!(shown.content["formatted_body"], "all of you, look");
    assert_eq!(matrix(&link(room().as_str())).content["m.mentions"], json!({}));
    assert_eq!(matrix_known(&link("mimi://a.example/r/other")).content["m.mentions"], json!({}));
    // The letters alone ring nobody.
    assert_eq!(matrix_known(&message(NestedPart::text(TEXT_PLAIN, "@room"))).content["m.mentions"], json!({}));
    let quiet = json!({"msgtype": "m.text", "body": "@room", "m.mentions": {}});
    assert!(matches!(mimi_known(&quiet).content.body.body, Body::Single { .. }));
}

#[test]
fn mentions_that_do_not_cross_are_told() {
    let plain = json!({"msgtype": "m.text", "body": "Bob", "m.mentions": {"user_ids": ["@_mimi_b.example=2fbob:hs.a.example"]}});
    assert_eq!(mimi_known(&plain).losses, [Loss::Mention]);
    let room = |body: &str| json!({"msgtype": "m.text", "body": body, "m.mentions": {"room": true}});
    assert_eq!(mimi_known(&room("everybody")).losses, [Loss::Mention], "there is nothing to make a link of");
    assert_eq!(mimi_known(&room("`@room`")).losses, []);
    // Who may not do it rings nobody in Matrix, too.
    assert_eq!(mimi(&room("@room")).unwrap().losses, []);
    let elsewhere = mimi_known(&formatted("<a href=\"https://matrix.to/#/@x:other.example\">x</a>"));
    assert_eq!(elsewhere.losses, [Loss::Mention]);
}

proptest! {
    #[test]
    fn any_html_crosses_without_panic_and_stays_clean(html in "[<>/\"'=&; a-z`*_#\\n-]{0,80}") {
        let _ = mimi(&formatted(&html));
        let shown = matrix(&message(NestedPart::text(TEXT_HTML, &html)));
        let clean = shown.content["formatted_body"].as_str().unwrap_or_default().to_owned();
        prop_assert_eq!(&super::html::tests::safe(&clean), &clean, "cleaning again changes nothing");
    }

    /// Escaping works: text through HTML, Markdown and HTML again is the same text.
    #[test]
    fn text_is_text_after_markdown(words in prop::collection::vec("[-a-zA-Z0-9*_#>+.()\\[\\]`~|!<&=:\\\\]{1,8}", 1..6)) {
        let line = words.join(" ");
        let markdown = markdown_of(&super::html::escape(&line));
        let html = super::markdown::to_html(&markdown, &mut super::links::Links::to_matrix(&Nobody));
        prop_assert_eq!(html, format!("<p>{}</p>", super::html::escape(&line)), "{}", markdown);
    }
}
