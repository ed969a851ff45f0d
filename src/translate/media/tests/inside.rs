//! Files within messages, beside texts, and what is said of each.

use super::*;

fn single(disposition: Disposition, content_type: &str, content: &[u8]) -> NestedPart {
    let body = Body::Single { content_type: content_type.to_owned(), content: content.to_vec() };
    NestedPart { disposition, ..NestedPart::render(body) }
}

fn described(name: &str, description: &str) -> NestedPart {
    part_of(
        Disposition::Render,
        ExternalPart {
            content_type: "image/png".to_owned(),
            url: format!("https://a.example/{name}"),
            filename: name.to_owned(),
            description: description.to_owned(),
            ..ExternalPart::default()
        },
    )
}

fn preview(name: &str) -> NestedPart {
    NestedPart { disposition: Disposition::Preview, ..described(name, "") }
}

fn text(text: &str) -> NestedPart {
    NestedPart::text(TEXT_PLAIN, text)
}

fn ctx_of<T>(with: impl FnOnce(&ToMatrix<'_>) -> T) -> T {
    let (sender, room) = (&alice(), &room());
    with(&ToMatrix { message_id: MessageId([2; 32]), sender, room, from_gateway: false, mentions: &Nobody })
}

/// The events of a message whose files all went over: those elsewhere by their name, those within by what they hold.
fn events(message: &MimiContent) -> Vec<MatrixMessage> {
    let place = |source: &PartSource| {
        let id = match source {
            PartSource::External(external) => external.url.rsplit('/').next().unwrap().to_owned(),
            PartSource::Here(bytes) => String::from_utf8(bytes.clone()).unwrap(),
        };
        Ok(FileSource::Plain(format!("mxc://b.example/{id}").into()))
    };
    let files = from_message(message).expect("files").sources().map(place).collect();
    ctx_of(|ctx| files_to_matrix(message, files, ctx))
}

/// Where the file of each event is, or what kind of message it is, and what it says.
fn told(events: &[MatrixMessage]) -> Vec<(String, String)> {
    let place = |event: &MatrixMessage| event.content.get("url").unwrap_or(&event.content["msgtype"]).clone();
    let string = |value: &Value| value.as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    events.iter().map(|event| (string(&place(event)), event.content["body"].as_str().unwrap().to_owned())).collect()
}

fn shown(body: NestedPart) -> Vec<(String, String)> {
    told(&events(&message(body)))
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(place, said)| ((*place).to_owned(), (*said).to_owned())).collect()
}

#[test]
fn a_file_within_a_message_is_a_file() {
    for (disposition, content_type, msgtype) in [
        (Disposition::Render, "image/gif", "m.image"),
        (Disposition::Inline, "Audio/OGG; codecs=opus", "m.audio"),
        (Disposition::Attachment, "image/gif", "m.file"),
        (Disposition::Render, "application/pdf", "m.file"),
        // Nobody shows these as text.
        (Disposition::Render, "text/csv", "m.file"),
        (Disposition::Render, "text/plain;charset=utf-16", "m.file"),
    ] {
        let all = events(&message(single(disposition, content_type, b"12345")));
        assert_eq!((all.len(), &all[0].losses[..]), (1, &[][..]));
        let content = &all[0].content;
        assert_eq!(
            (content["msgtype"].as_str(), content["url"].as_str()),
            (Some(msgtype), Some("mxc://b.example/12345"))
        );
        assert_eq!(content["info"]["size"], 5);
    }
    for none in [
        single(Disposition::Render, "image/gif", b""),
        single(Disposition::Reaction, "image/gif", b"x"),
        single(Disposition::Profile, "text/vcard", b"x"),
        single(Disposition::Render, crate::translate::PRIVATE_EVENT, b"{}"),
        // Who sends an own type beside a text means the text for everybody else.
        unit(PartSemantics::ChooseOne, vec![single(Disposition::Render, "application/x", b"x"), text("words")]),
    ] {
        assert_eq!(from_message(&message(none.clone())), None, "{none:?}");
    }
}

fn unit(semantics: PartSemantics, parts: Vec<NestedPart>) -> NestedPart {
    NestedPart::render(Body::Multi { semantics, parts })
}

#[test]
fn the_drafts_picture_within_html_is_shown_with_its_text() {
    let bytes = include_bytes!("../../../../tests/vectors/mimi-content/multipart-3.cbor");
    let message = MimiContent::decode(bytes).unwrap();
    let media = from_message(&message).unwrap();
    let Some(NestedPart { body: Body::Single { content, .. }, .. }) = message.body.at_index(5) else { panic!() };
    assert_eq!(media.sources().collect::<Vec<_>>(), [&PartSource::Here(content.clone())]);
    let events =
        ctx_of(|ctx| files_to_matrix(&message, vec![Ok(FileSource::Plain("mxc://b.example/gif".into()))], ctx));
    // It says the same in French.
    assert_eq!((events.len(), &events[0].losses[..]), (1, &[Loss::Languages][..]));
    let content = &events[0].content;
    assert_eq!(content[CONTENT_KEY]["language"], "en");
    assert_eq!((&content["msgtype"], &content["info"]["mimetype"]), (&json!("m.image"), &json!("image/gif")));
    assert_eq!(content["url"], "mxc://b.example/gif");
    let html = content["formatted_body"].as_str().unwrap();
    assert!(html.contains("<h1>Welcome!</h1>") && html.contains("Welcome image"), "{html}");
}

#[test]
fn a_custom_emoji_may_be_within_its_message() {
    let html = "a <img data-mx-emoticon src=\"cid:2@local.invalid\" alt=\":cat:\">";
    let parts = vec![NestedPart::text("text/html", html), single(Disposition::Inline, "image/png", b"cat")];
    let all = events(&message(unit(PartSemantics::SingleUnit, parts)));
    assert_eq!(all.len(), 1);
    assert!(all[0].content["formatted_body"].as_str().unwrap().contains("src=\"mxc://b.example/cat\""));
}

#[test]
fn whatever_stands_beside_a_file_is_said() {
    let gif = || single(Disposition::Render, "image/gif", b"gif");
    let odd = part_of(
        Disposition::Render,
        ExternalPart { url: "ftp://x".into(), filename: "odd".into(), ..ExternalPart::default() },
    );
    for (parts, expected) in [
        (vec![text("one"), described("a", ""), text("two")], &[("a", "one\n\ntwo")][..]),
        (
            vec![all(vec![text("one"), described("a", "")]), all(vec![gif(), text("two")])],
            &[("a", "one\n\ntwo"), ("gif", "image")],
        ),
        (vec![text("one"), gif(), NestedPart::render(Body::Null)], &[("gif", "one")]),
        (vec![single(Disposition::Profile, "text/vcard", b"Bob"), gif()], &[("gif", "image")]),
        (
            vec![gif(), odd, text("one")],
            &[("gif", "one"), ("m.notice", "[not carried by this bridge: an attachment, odd, ftp://x]")],
        ),
    ] {
        let message = format!("{parts:?}");
        assert_eq!(shown(all(parts)), pairs(expected), "{message}");
    }
    // A text may lead to what is shown beside it.
    let see = |part: u16| {
        let text = NestedPart::text("text/html", &format!("see <a href=\"cid:{part}@local.invalid\">the file</a>"));
        events(&message(all(vec![text, described("a", "")]))).remove(0)
    };
    assert_eq!((told(&[see(2)]), see(2).losses), (pairs(&[("a", "see the file")]), vec![]));
    assert_eq!(see(9).losses, [Loss::Link], "there is no such part");
    // Of a unit all is shown, or nothing.
    let whole = vec![NestedPart::text("text/html", "<b>one</b>"), gif()];
    assert_eq!(shown(unit(PartSemantics::SingleUnit, whole.clone())), pairs(&[("gif", "**one**")]));
    let with_nothing = [whole.clone(), vec![NestedPart::render(Body::Null)]].concat();
    assert_eq!(shown(unit(PartSemantics::SingleUnit, with_nothing)), pairs(&[("gif", "**one**")]));
    let broken = [whole, vec![single(Disposition::Render, "image/gif", b"")]].concat();
    assert_eq!(from_message(&message(unit(PartSemantics::SingleUnit, broken))), None);
}

#[test]
fn each_file_says_what_is_said_of_it() {
    let two = || vec![described("a", "the first"), described("b", "the second")];
    assert_eq!(shown(all(two())), pairs(&[("a", "the first"), ("b", "the second")]));
    let captioned = all([vec![text("look")], two()].concat());
    assert_eq!(shown(captioned), pairs(&[("a", "look\n\nthe first"), ("b", "the second")]));
    assert_eq!(shown(all(vec![text("the first"), described("a", " the first ")])), pairs(&[("a", "the first")]));
    // It is not lost with its file.
    let (body, there) = (all(two()), || Ok(FileSource::Plain("mxc://b.example/a".into())));
    let fetched = |files| ctx_of(|ctx| told(&files_to_matrix(&message(body.clone()), files, ctx)));
    let missing = "[b (picture) could not be fetched: gone]";
    let note = format!("{missing}\n\nthe second");
    assert_eq!(fetched(vec![there(), Err("gone".into())]), pairs(&[("a", "the first"), ("m.notice", &note)]));
    let nowhere = fetched(vec![Err("gone".into()), Err("gone".into())]);
    let told = ["the first\n\nthe second", "[a (picture) could not be fetched: gone]", missing];
    assert_eq!(nowhere.iter().map(|(_, said)| said.as_str()).collect::<Vec<_>>(), told);
}

#[test]
fn a_subject_is_said_once() {
    let with = |body| {
        let mut message = message(body);
        message.set_subject("Minutes");
        told(&events(&message))
    };
    assert_eq!(with(described("a", "")), pairs(&[("a", "Minutes")]));
    assert_eq!(with(described("a", "page")), pairs(&[("a", "Minutes\n\npage")]));
    assert_eq!(
        with(all(vec![described("a", ""), described("b", "two"), text("both")])),
        pairs(&[("a", "Minutes\n\nboth"), ("b", "two")])
    );
    // The file above which it stands is not there: it stands above the next one.
    let mut first_is_gone = message(all(vec![described("a", "one"), described("b", "")]));
    first_is_gone.set_subject("Minutes");
    let files = vec![Err("gone".into()), Ok(FileSource::Plain("mxc://b.example/b".into()))];
    let note = "[a (picture) could not be fetched: gone]\n\none";
    let shown = ctx_of(|ctx| told(&files_to_matrix(&first_is_gone, files, ctx)));
    assert_eq!(shown, pairs(&[("b", "Minutes"), ("m.notice", note)]));
}

#[test]
fn which_language_a_file_is_in_is_kept_and_that_there_is_another_is_told() {
    let within = |part: NestedPart, language: &str| NestedPart { language: language.to_owned(), ..part };
    let said = |body| {
        let event = events(&message(body)).remove(0);
        (event.content[CONTENT_KEY]["language"].as_str().map(str::to_owned), event.losses)
    };
    let two = [("a", "de"), ("b", "fr")].map(|(name, language)| within(described(name, ""), language));
    let alone = |language: &str| (Some(language.to_owned()), vec![]);
    assert_eq!(said(described("a", "")), (None, vec![]));
    assert_eq!(said(within(described("a", ""), "de, not a tag")), alone("de"));
    assert_eq!(said(all(vec![within(text("seht"), "de"), described("a", "")])), alone("de"));
    assert_eq!(said(unit(PartSemantics::ChooseOne, two.to_vec())), (Some("de".to_owned()), vec![Loss::Languages]));
    let same = vec![within(described("a", ""), "de"), within(text("Bild"), "de")];
    assert_eq!(said(unit(PartSemantics::ChooseOne, same)), alone("de"));
}

#[test]
fn a_file_beside_emoji_that_is_passed_over_is_told() {
    let emoji = NestedPart::text("text/html", "<img data-mx-emoticon src=\"cid:4@local.invalid\">");
    let rich = all(vec![emoji, single(Disposition::Inline, "image/png", b"cat"), described("photo", "")]);
    let either = message(unit(PartSemantics::ChooseOne, vec![rich, text("a cat, and a photo")]));
    let mut losses = ctx_of(|ctx| crate::translate::media::foresee(&either, ctx)).unwrap_or_default().losses;
    losses.extend(ctx_of(|ctx| crate::translate::to_matrix(&either, ctx)).losses);
    assert!(losses.contains(&Loss::Unsupported("image/png".to_owned())), "{losses:?}");
}

#[test]
fn a_preview_is_that_of_the_file_that_names_it() {
    let thumbnails = |parts: Vec<NestedPart>, named: &[(u16, u16)]| {
        let mut message = message(all(parts));
        let about = named.iter().map(|(file, preview)| AvMetadata {
            preview_index: Some(*preview),
            ..AvMetadata::new(*file, AvType::Image)
        });
        message.set_av_metadata(&about.collect::<Vec<_>>());
        let all = events(&message);
        let of = |event: &MatrixMessage| {
            let url = |value: &Value| value.as_str().map_or("-", |url| url.rsplit('/').next().unwrap()).to_owned();
            format!("{} {}", url(&event.content["url"]), url(&event.content["info"]["thumbnail_url"]))
        };
        (all.iter().map(of).collect::<Vec<_>>().join(", "), all[0].losses.contains(&Loss::Thumbnail))
    };
    let (a, b) = (|| described("a", ""), || described("b", ""));
    let (x, y) = (|| preview("x"), || preview("y"));
    for (parts, named, expected, lost) in [
        (vec![a(), x(), b(), y()], &[][..], "a x, b y", false),
        (vec![a(), b(), x(), y()], &[(1, 3), (2, 4)], "a x, b y", false),
        (vec![x(), y(), a(), b()], &[(3, 2), (4, 1)], "a y, b x", false),
        (vec![a(), b(), x()], &[(1, 3)], "a x, b -", false),
        (vec![x(), a()], &[], "a -", true),
        (vec![a(), x(), y()], &[], "a x", true),
        (vec![a(), x()], &[(1, 9)], "a x", false),
    ] {
        let message = format!("{parts:?} {named:?}");
        assert_eq!(thumbnails(parts, named), (expected.to_owned(), lost), "{message}");
    }
}

#[test]
fn what_others_say_of_a_picture_is_told_or_its_loss() {
    let with = |description: &str, change: fn(&mut AvMetadata)| {
        let mut message = message(described("a", description));
        let mut about =
            AvMetadata { width: Some(3), height: Some(4), duration: Some(5), ..AvMetadata::new(0, AvType::Image) };
        change(&mut about);
        message.set_av_metadata(&[about]);
        let event = events(&message).remove(0);
        let info = &event.content["info"];
        let numbers = ["w", "h", "duration"].map(|key| info.get(key).and_then(Value::as_u64));
        (event.content["body"].as_str().unwrap().to_owned(), numbers, event.losses)
    };
    let alt: fn(&mut AvMetadata) = |about| about.accessibility_text = Some("a cat on a mat".to_owned());
    assert_eq!(with("", alt).0, "a cat on a mat");
    assert_eq!(with("look", alt), ("look\n\na cat on a mat".to_owned(), [Some(3), Some(4), Some(5)], vec![]));
    assert_eq!(with("a cat on a mat", alt).0, "a cat on a mat");
    let turned = with("", |about| about.rotation = Some(270));
    assert_eq!((turned.1, turned.2), ([Some(4), Some(3), Some(5)], vec![Loss::FileDetails]));
    // A homeserver takes no larger numbers.
    let most = (1 << 53) - 1;
    let large = with("", |about| {
        (about.width, about.height, about.duration) = (Some(1 << 53), Some((1 << 53) - 1), Some(u64::MAX));
    });
    assert_eq!((large.1, large.2), ([None, Some(most), None], vec![Loss::FileDetails]));
}
