//! What other implementations send, nested as the draft allows: MIMI, Matrix, and MIMI again.
//!
//! What "the same meaning" is of a message of MIMI:
//!
//! | Part | What readers in Matrix have |
//! |---|---|
//! | text, Markdown, HTML | its text |
//! | external, at a web address; of another type | the file, with its name and its description |
//! | preview | the file's preview; what is one too many, or of nothing, is a note or a loss |
//! | external elsewhere | a note with its name |
//! | `chooseOne` | what the best of the alternatives says that can be shown, and nothing of the others, but for a text beside a file |
//! | `singleUnit` | all of it, or of its texts nothing and a note |
//! | `processAll` | each of its parts |
//! | `inReplyTo`, `replaces`, `topicId` | the event answered or replaced, the thread; an answer to nothing that is here says so |
//! | reaction | the event, and the key |
//! | disposition, language | nothing but this: previews and attachments are what they are, and reactions and calls are told. What is about the sender is not looked at here |
//!
//! And each event, said in Matrix, is a message whose event says the same again, and whose plain text, for those who read
//! nothing else, has every word.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::Value;

use super::{super::markdown::tests::meaning::assert_same, *};
use crate::content::{Body, Disposition, ExternalPart, PartSemantics};

/// A part of which each word is one of its own, to be filled in: `%` is a number.
fn leaf() -> BoxedStrategy<NestedPart> {
    let words = "[ -$&-~äß🐌]{0,9}";
    let plain = words.prop_map(|words| NestedPart::text(TEXT_PLAIN, &format!("tok%x {words}")));
    let html = (0..100_000_u64).prop_map(|seed| {
        NestedPart::text(
            "text/html;charset=utf-8",
            &format!("<p>tok%x <em>it</em></p>{}", like_element(seed).replace('%', "")),
        )
    });
    let markdown = (0..100_000_u64).prop_map(|seed| {
        let (markdown, _) = to_markdown(&like_element(seed).replace('%', ""));
        NestedPart::text(TEXT_MARKDOWN, &format!("tok%x **it**\n\n{markdown}"))
    });
    let other = prop::sample::select(vec!["application/x-tok%x", "image/tok%x", "TEXT/tok%x;a=b"]);
    let other = other.prop_map(|content_type| {
        NestedPart::render(Body::Single { content_type: content_type.to_owned(), content: b"tok%x".to_vec() })
    });
    let types = prop::sample::select(vec!["image/png", "video/mp4", "audio/ogg", "application/pdf", ""]);
    let scheme = prop::sample::select(vec!["https", "https", "HTTP", "ftp", "mimi"]);
    let external = (types, scheme, any::<bool>()).prop_map(|(content_type, scheme, described)| {
        NestedPart::render(Body::External(Box::new(ExternalPart {
            content_type: content_type.to_owned(),
            url: format!("{scheme}://assets.a.example/tok%x"),
            filename: "tok%x.bin".to_owned(),
            description: if described { "desc%x of it".to_owned() } else { String::new() },
            ..ExternalPart::default()
        })))
    });
    // The same in three forms.
    let alike = words.prop_map(|words| {
        let html = format!("<p>tok%x <strong>{}</strong></p>", html::escape(words.trim()));
        let (markdown, _) = to_markdown(&html);
        let parts = [(TEXT_PLAIN, format!("tok%x {}", words.trim())), (TEXT_MARKDOWN, markdown), (TEXT_HTML, html)];
        let parts = parts.iter().map(|(content_type, text)| NestedPart::text(content_type, text)).collect();
        NestedPart::render(Body::Multi { semantics: PartSemantics::ChooseOne, parts })
    });
    let part = prop_oneof![
        3 => plain, 2 => html, 2 => markdown, 1 => other, 4 => external, 1 => Just(NestedPart::render(Body::Null)), 1 => alike
    ];
    let disposition = prop_oneof![
        6 => Just(Disposition::Render),
        1 => prop::sample::select(vec![0, 2, 3, 4, 5, 6, 6, 7, 8, 8, 9, 200]).prop_map(Disposition::from),
    ];
    let language = prop_oneof![3 => Just(""), 1 => prop::sample::select(vec!["en", "fr,de-AT", "x--y"])];
    let with = |(part, disposition, language): (NestedPart, _, &str)| NestedPart {
        disposition,
        language: language.to_owned(),
        ..part
    };
    (part, disposition, language).prop_map(with).boxed()
}

/// Parts, at most four levels of them.
fn body() -> BoxedStrategy<NestedPart> {
    let nested = leaf().prop_recursive(3, 12, 4, |inner| {
        let semantics = [PartSemantics::ChooseOne, PartSemantics::SingleUnit, PartSemantics::ProcessAll];
        (prop::sample::select(semantics.to_vec()), prop::collection::vec(inner, 2..5))
            .prop_map(|(semantics, parts)| NestedPart::render(Body::Multi { semantics, parts }))
    });
    nested
        .prop_map(|mut body| {
            flatten(&mut body, 1);
            number(&mut body, &mut 0, None);
            body
        })
        .boxed()
}

/// The draft's limit: alternatives of one text count as a level, too.
fn flatten(part: &mut NestedPart, level: usize) {
    if let Body::Multi { parts, .. } = &mut part.body {
        for part in parts.iter_mut() {
            flatten(part, level + 1);
        }
        if level == 4 {
            *part = parts.swap_remove(0);
        }
    }
}

/// Gives each part its number; alternatives of one text have one.
fn number(part: &mut NestedPart, next: &mut usize, given: Option<usize>) {
    let alike = |parts: &[NestedPart]| {
        parts.iter().all(|part| matches!(&part.body, Body::Single { content, .. } if content.starts_with(b"tok%") || content.starts_with(b"<p>tok%x <strong>")))
    };
    let own = given.unwrap_or(*next);
    let fill = |text: &str| text.replace('%', &own.to_string());
    let is_attached = part.disposition == Disposition::Attachment;
    match &mut part.body {
        Body::Null => {}
        Body::Single { content_type, content } => {
            *content_type = fill(content_type);
            if !content_type.starts_with("text/") || is_attached {
                *content = files::bytes_of(&format!("tok{own}x"));
            } else if let Ok(text) = std::str::from_utf8(content) {
                *content = fill(text).into_bytes();
            }
        }
        Body::External(external) => {
            for field in [&mut external.url, &mut external.filename, &mut external.description] {
                *field = fill(field);
            }
            external.size = files::bytes_of(&format!("tok{own}x")).len() as u64;
        }
        Body::Multi { semantics: PartSemantics::ChooseOne, parts }
            if parts.len() == 3 && alike(parts) && is_one_text(parts) =>
        {
            for part in parts.iter_mut() {
                number(part, next, Some(own));
            }
        }
        Body::Multi { parts, .. } => {
            for part in parts.iter_mut() {
                number(part, next, None);
            }
            return;
        }
    }
    *next = (*next).max(own + 1);
}

fn is_one_text(parts: &[NestedPart]) -> bool {
    let types = parts
        .iter()
        .map(|part| if let Body::Single { content_type, .. } = &part.body { content_type.as_str() } else { "" });
    types.eq([TEXT_PLAIN, TEXT_MARKDOWN, TEXT_HTML])
}

/// The words that stand for parts in a text.
fn words(text: &str, kind: &str) -> BTreeSet<usize> {
    let numbers = text.split(kind).skip(1).filter_map(|rest| rest.split_once('x')?.0.parse().ok());
    numbers.collect()
}

/// Whether something of a part can be shown, so that it is chosen, or makes its unit whole.
fn can_be_shown(part: &NestedPart) -> bool {
    match &part.body {
        Body::Null => false,
        Body::Single { .. } | Body::External(_) => true,
        Body::Multi { semantics: PartSemantics::SingleUnit, parts } => {
            let mut filled = parts.iter().filter(|part| part.body != Body::Null).peekable();
            filled.peek().is_some() && filled.all(can_be_shown)
        }
        Body::Multi { parts, .. } => parts.iter().any(can_be_shown),
    }
}

/// Whether it has something within the message that is neither said nor a file by itself.
fn has_aside(part: &NestedPart) -> bool {
    let aside = |part: &NestedPart| match (&part.body, part.disposition) {
        (
            Body::Single { content_type, .. },
            Disposition::Preview
            | Disposition::Session
            | Disposition::Reaction
            | Disposition::Profile
            | Disposition::Icon,
        ) => !content_type.starts_with("text/"),
        _ => false,
    };
    part.walk().any(aside)
}

/// The numbers of parts, and which of them are of texts.
fn numbers(part: &NestedPart, texts_only: bool) -> BTreeSet<usize> {
    let of = |part: &NestedPart| match &part.body {
        Body::Single { content_type, content } if content_type.starts_with("text/") => {
            words(&String::from_utf8_lossy(content), "tok")
        }
        Body::Single { content, .. } if !texts_only => words(&String::from_utf8_lossy(content), "tok"),
        Body::External(external) if !texts_only => words(&external.filename, "tok"),
        _ => BTreeSet::new(),
    };
    part.walk().flat_map(of).collect()
}

fn may_be_file(part: &NestedPart) -> bool {
    match &part.body {
        Body::External(_) => true,
        Body::Single { content_type, .. } => {
            !content_type.starts_with("text/") || part.disposition == Disposition::Attachment
        }
        Body::Null | Body::Multi { .. } => false,
    }
}

/// The files that are said with a part: they have to be there, and not only be told of. Of a unit that is not whole nothing is.
fn files_of(part: &NestedPart) -> BTreeSet<usize> {
    match &part.body {
        Body::Multi { semantics: PartSemantics::SingleUnit, .. } if !can_be_shown(part) => BTreeSet::new(),
        Body::Multi { parts, .. } => parts.iter().flat_map(files_of).collect(),
        Body::External(external) if !external.url.to_ascii_lowercase().starts_with("http") => BTreeSet::new(),
        _ if !may_be_file(part) || matches!(part.disposition.code(), 2 | 3 | 5 | 7 | 8) => BTreeSet::new(),
        _ => numbers(part, false),
    }
}

/// Why what is shown is not what the part says; `seen` are the numbers in it, `told` those of which it is said that they are lost.
fn wrong(part: &NestedPart, seen: &BTreeSet<usize>, told: &BTreeSet<usize>) -> Option<String> {
    match &part.body {
        Body::Null => None,
        Body::Single { .. } | Body::External(_) => {
            let lacks = numbers(part, false).iter().any(|n| !seen.contains(n) && !told.contains(n));
            lacks.then(|| format!("{part:?} is not shown"))
        }
        Body::Multi { semantics: PartSemantics::ChooseOne, parts } => {
            let best = parts.iter().any(can_be_shown);
            let chosen = |part: &&NestedPart| {
                let own = numbers(part, false);
                let has_file = part.walk().any(may_be_file);
                let is_bare = |part: &NestedPart| !part.walk().any(may_be_file);
                let beside = parts.iter().filter(|part| has_file && is_bare(part)).map(|part| numbers(part, false));
                let beside = beside.into_iter().find(|text| !text.is_disjoint(seen));
                let said = |n: &usize| own.contains(n) || beside.as_ref().is_some_and(|text| text.contains(n));
                let hidden = parts.iter().flat_map(|part| numbers(part, false)).all(|n| said(&n) || !seen.contains(&n));
                hidden && can_be_shown(part) == best && wrong(part, seen, told).is_none()
            };
            let found = parts.iter().any(|part| chosen(&part));
            (!found).then(|| format!("not one of {parts:?}"))
        }
        // It goes along where there is a file: then all is shown, else nothing.
        Body::Multi { semantics: PartSemantics::SingleUnit, parts } if parts.iter().any(has_aside) => {
            let shown = !numbers(part, true).is_disjoint(seen);
            if shown { parts.iter().find_map(|part| wrong(part, seen, told)) } else { None }
        }
        Body::Multi { semantics: PartSemantics::SingleUnit, .. } if !can_be_shown(part) => {
            let shown: BTreeSet<usize> = numbers(part, true).intersection(seen).copied().collect();
            (!shown.is_empty()).then(|| format!("{shown:?} of a unit"))
        }
        Body::Multi { parts, .. } => parts.iter().find_map(|part| wrong(part, seen, told)),
    }
}

/// The same event, whatever message it is of. Text that has markup may be written in another way.
fn same_event(one: &MatrixMessage, other: &MatrixMessage) -> Result<(), TestCaseError> {
    prop_assert_eq!(&one.event_type, &other.event_type);
    let bare = |content: &Value| {
        let content = whole(content);
        content.into_iter().filter(|(key, _)| key != "formatted_body" && key != "body").collect::<BTreeMap<_, _>>()
    };
    prop_assert_eq!(bare(&one.content), bare(&other.content));
    match (one.content["formatted_body"].as_str(), other.content["formatted_body"].as_str()) {
        (Some(one), Some(other)) => assert_same(other, one, one),
        (left, right) => {
            prop_assert_eq!(left, right);
            // Blanks around a caption say nothing.
            let body = |event: &MatrixMessage| event.content["body"].as_str().map(|body| body.trim().to_owned());
            prop_assert_eq!(body(one), body(other));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn nested_parts_say_what_they_say(body in body(), encrypt in any::<bool>(), expires in prop::option::of(1..100_000_u32)) {
        let (sender, room) = (user(true), room());
        let mut message = MimiContent::new([7; 16], &sender, &room, body);
        message.expires = expires.map(Expiration::AfterReading);
        let show = |message: &MimiContent| {
            let (bytes, id) = message.encode_with_id(&sender, &room).unwrap();
            let ctx = ToMatrix { message_id: id, sender: &sender, room: &room, from_gateway: false, mentions: &People };
            files::to_events(&MimiContent::decode(&bytes).unwrap(), encrypt, &ctx)
        };
        let shown = show(&message);
        let losses: Vec<&Loss> = shown.iter().flat_map(|event| &event.losses).collect();
        let said: String = shown.iter().map(|event| whole_text(&event.content)).collect::<Vec<_>>().join("\n");
        let seen = words(&said, "tok");
        let mut told = BTreeSet::new();
        if losses.contains(&&Loss::Thumbnail) {
            // The second preview of one file.
            told.extend(message.body.walk().filter(|part| part.disposition == Disposition::Preview).flat_map(|part| numbers(part, false)));
        }
        prop_assert_eq!(wrong(&message.body, &seen, &told), None, "{}", said);
        let place = |event: &MatrixMessage| {
            let encrypted = || event.content.get("file")?.get("url");
            event.content.get("url").or_else(encrypted).map(Value::to_string)
        };
        let carried: BTreeSet<usize> = shown.iter().filter_map(place).flat_map(|url| words(&url, "tok")).collect();
        prop_assert!(files_of(&message.body).intersection(&seen).all(|file| carried.contains(file)), "{}", said);
        let files: Vec<&NestedPart> = message.body.walk().filter(|part| matches!(&part.body, Body::External(_))).collect();
        let described = words(&said, "desc");
        for part in files {
            let Body::External(external) = &part.body else { panic!() };
            let wanted = words(&external.description, "desc");
            let hidden = !numbers(part, false).is_subset(&words(&said, "tok")) || part.disposition == Disposition::Preview;
            prop_assert!(hidden || wanted.is_subset(&described), "{:?} in {}", external, said);
        }

        for (at, event) in shown.iter().enumerate() {
            prop_assert!(!event.content["body"].as_str().unwrap().trim().is_empty());
            let mut content = event.content.clone();
            content.as_object_mut().unwrap().remove(CONTENT_KEY);
            let ctx = ToMimi { sender: &sender, room: &room, salt: [8; 16], sent_ts: BEGIN, past: &NoPast, mentions: &People, room_link: None };
            let again = translate(&event.event_type, &content, &ctx).unwrap();
            prop_assert_eq!(again.content.expires, message.expires);
            let twice = show(&again.content);
            prop_assert_eq!(twice.len(), 1);
            same_event(&twice[0], event)?;
            // Those who read nothing else have every word.
            if let Some(plain) = plain_of(&again.content.body) {
                prop_assert_eq!(words(&plain, "tok"), words(content["body"].as_str().unwrap(), "tok"), "{} of {}", at, said);
            }
            if let Some(html) = content["formatted_body"].as_str() {
                prop_assert_eq!(words(content["body"].as_str().unwrap(), "tok"), words(html, "tok"), "{} of {}", at, said);
            }
        }
    }

    /// Of alternatives of which one is a file everybody has the file, and beside it what the others say; and so has who gets
    /// the event back as a message.
    #[test]
    fn a_file_among_alternatives_crosses_with_their_text(
        said in "[a-z]{1,9}( [a-z]{1,9}){0,3}", forms in prop::sample::subsequence(vec![TEXT_PLAIN, TEXT_MARKDOWN, TEXT_HTML], 0..4),
        at in 0..4_usize, content_type in prop::sample::select(vec!["image/png", "video/mp4", "audio/ogg", "application/pdf"]),
        nested in any::<bool>(), encrypt in any::<bool>(),
    ) {
        let (sender, room) = (user(true), room());
        let mut parts: Vec<NestedPart> = forms.iter().map(|form| NestedPart::text(form, &said)).collect();
        let mut file = NestedPart::render(Body::External(Box::new(ExternalPart {
            content_type: content_type.to_owned(),
            url: "https://assets.a.example/tok0x".to_owned(),
            filename: "tok0x.bin".to_owned(),
            size: files::bytes_of("tok0x").len() as u64,
            ..ExternalPart::default()
        })));
        // A file of its own, or a message with a preview.
        if nested {
            let preview = NestedPart { disposition: Disposition::Preview, ..file.clone() };
            file = NestedPart::render(Body::Multi { semantics: PartSemantics::ProcessAll, parts: vec![file, preview] });
        }
        parts.insert(at.min(parts.len()), file);
        if parts.len() == 1 {
            parts.push(NestedPart::render(Body::Single { content_type: "application/x".to_owned(), content: vec![0] }));
        }
        let body = NestedPart::render(Body::Multi { semantics: PartSemantics::ChooseOne, parts });
        let message = MimiContent::new([7; 16], &sender, &room, body);
        let show = |message: &MimiContent| {
            let (bytes, id) = message.encode_with_id(&sender, &room).unwrap();
            let ctx = ToMatrix { message_id: id, sender: &sender, room: &room, from_gateway: false, mentions: &People };
            files::to_events(&MimiContent::decode(&bytes).unwrap(), encrypt, &ctx)
        };
        let shown = show(&message);
        prop_assert_eq!(shown.len(), 1);
        let event = &shown[0];
        prop_assert_eq!(&event.losses, &[]);
        prop_assert!(event.content.get("url").or(event.content.get("file")).is_some(), "{}", event.content);
        prop_assert_eq!(event.content["info"]["mimetype"].as_str(), Some(content_type));
        prop_assert_eq!(event.content["filename"].as_str(), Some("tok0x.bin"));
        let beside = if forms.is_empty() { "tok0x.bin" } else { said.as_str() };
        prop_assert_eq!(event.content["body"].as_str(), Some(beside));
        let mut content = event.content.clone();
        content.as_object_mut().unwrap().remove(CONTENT_KEY);
        let ctx = ToMimi { sender: &sender, room: &room, salt: [8; 16], sent_ts: BEGIN, past: &NoPast, mentions: &People, room_link: None };
        let again = translate(&event.event_type, &content, &ctx).unwrap();
        let twice = show(&again.content);
        prop_assert_eq!(twice.len(), 1);
        same_event(&twice[0], event)?;
    }

    /// What a message is to others is what its event is, and what the event's message is.
    #[test]
    fn what_it_refers_to_stays(
        reply in any::<bool>(), edit in any::<bool>(), topic in 0..3_usize, reaction in any::<bool>(), here in any::<bool>(),
        written in prop::sample::select(vec![TEXT_PLAIN, "text/plain", "Text/Plain; charset=UTF-8", TEXT_MARKDOWN, "text/markdown"]),
    ) {
        let (sender, room) = (user(true), room());
        let first = |byte: u8, topic: &[u8]| {
            let id = MessageId(std::array::from_fn(|at| if at == 0 { 1 } else { byte }));
            let message = MimiContent::new([7; 16], &sender, &room, NestedPart::text(TEXT_PLAIN, "x"));
            Earlier { topic: topic.to_vec(), ..Earlier::of(&message, id, &sender) }
        };
        let (answered, mut replaced) = (first(1, b""), first(2, b""));
        let root = match topic { 1 => first(3, b""), _ => first(4, b"lunch") };
        let topic_id = match topic { 0 => Vec::new(), 1 => root.first.0.to_vec(), _ => b"lunch".to_vec() };
        replaced.topic.clone_from(&topic_id);
        // Other implementations write the type of a text in their own ways.
        let body = NestedPart {
            disposition: if reaction && reply { Disposition::Reaction } else { Disposition::Render },
            ..NestedPart::text(written, "👍")
        };
        let mut message = MimiContent::new([7; 16], &sender, &room, body);
        let edit = edit && !(reaction && reply);
        // A new version answers what the first one answered.
        replaced.reply = reply.then_some(answered.first);
        message.in_reply_to = reply.then_some(answered.first);
        message.replaces = edit.then_some(replaced.first);
        message.topic_id = topic_id;
        let (bytes, id) = message.encode_with_id(&sender, &room).unwrap();
        let message = MimiContent::decode(&bytes).unwrap();
        let ctx = ToMatrix { message_id: id, sender: &sender, room: &room, from_gateway: false, mentions: &People };
        let shown = to_matrix(&message, &ctx);
        let event = |id: &str| OwnedEventId::try_from(id).unwrap();
        let found = |earlier: &Earlier, id: &str| Some(Found { event: event(id), earlier: Some(earlier.clone()) });
        let resolved = Resolved {
            reply: found(&answered, "$answered").filter(|_| reply && here),
            replaced: found(&replaced, "$replaced").filter(|_| edit),
            root: (topic > 0).then(|| event("$root")),
            rings: None,
        };
        let acts = relate(&shown.event_type, shown.content, &shown.refers, &resolved, &sender, false);
        prop_assert_eq!(acts.len(), 1);
        let (event_type, content) = unmarked(&acts[0]);
        let past = vec![(event("$answered"), answered), (event("$replaced"), replaced), (event("$root"), root)];
        let ctx = ToMimi { sender: &sender, room: &room, salt: [7; 16], sent_ts: 0, past: &past, mentions: &People, room_link: None };
        if reply && !here && !edit {
            let told = if reaction { "reacted with 👍" } else { "in reply to a message that is not here" };
            prop_assert!(content.to_string().contains(told));
            return Ok(());
        }
        let again = translate(&event_type, &content, &ctx).unwrap().content;
        prop_assert_eq!(again.in_reply_to, message.in_reply_to);
        prop_assert_eq!(again.replaces, message.replaces);
        // A reaction is where its message is.
        if event_type != "m.reaction" {
            prop_assert_eq!(&again.topic_id, &message.topic_id);
        }
        prop_assert_eq!(again.body, NestedPart { disposition: message.body.disposition, ..NestedPart::text(TEXT_PLAIN, "👍") });
        prop_assert_eq!(event_type == "m.reaction", reaction && reply);
    }
}

/// All that people read of an event, and where its files are.
fn whole_text(content: &Value) -> String {
    let mut content = content.clone();
    content.as_object_mut().unwrap().remove(CONTENT_KEY);
    content.to_string()
}

/// The text for those who show nothing else.
fn plain_of(body: &NestedPart) -> Option<String> {
    let plain = body
        .walk()
        .find(|part| matches!(&part.body, Body::Single { content_type, .. } if content_type == TEXT_PLAIN))?;
    let Body::Single { content, .. } = &plain.body else { return None };
    String::from_utf8(content.clone()).ok()
}
