//! Generated events that are neither text nor file: conferences, texts with link previews or in several languages, live locations.

use proptest::prelude::*;
use ruma::EventId;
use serde_json::{Map, Value, json};

use super::{super::*, Said, Step};

pub(super) const WIDGET: &str = "im.vector.modular.widgets";
/// Codes of languages, as clients write them; the first says nothing.
const TAGS: [&str; 4] = ["", "en", "de-AT", "FR"];
const PREVIEWS: [&str; 2] = ["com.beeper.linkpreviews", "m.url_previews"];
const SECOND: u64 = 1000;

pub(super) fn conference(step: &Step) -> (String, Value) {
    let data = json!({"domain": "meet.example", "conferenceId": format!("{}{}", step.seed, step.words), "roomName": step.words});
    (WIDGET.to_owned(), json!({"type": "jitsi", "name": "Jitsi", "data": data}))
}

pub(super) fn same_conference(from: &Value, to: &Value) -> Result<(), TestCaseError> {
    let id = from["data"]["conferenceId"].as_str().unwrap();
    let body = to["body"].as_str().unwrap();
    let (name, address) = body.split_once("\n\nJoin the conference\nhttps://meet.example/").unwrap();
    prop_assert_eq!(name, from["data"]["roomName"].as_str().unwrap().trim());
    prop_assert_eq!(percent_encoding::percent_decode_str(address).decode_utf8().unwrap(), id.trim());
    Ok(())
}

// ---------------------------------------------------------------------------------------------------------- previews

/// A text that names links, and what their sender's client says of them.
pub(super) fn previews(step: &Step) -> Value {
    let url = |n: u64| format!("https://{n}.example/{}?a=(b)&c=[d]#{n}", step.seed % 7);
    let count = 1 + step.seed % 5;
    let about = |n: u64| {
        let title = format!("{}] {n} *{}", step.words.trim(), step.words.trim());
        let mut preview =
            Map::from_iter([("matched_url".to_owned(), json!(url(n))), ("og:url".to_owned(), json!(url(n)))]);
        // One of them at least.
        if !step.seed.is_multiple_of(3) {
            preview.insert("og:title".to_owned(), json!(title));
        }
        if step.seed % 3 != 1 {
            preview.insert("og:description".to_owned(), json!(format!("<{title}> \\ [x]")));
        }
        Value::Object(preview)
    };
    let links: Vec<String> = (0..count).map(url).collect();
    let given: Vec<Value> = (0..count).map(about).collect();
    let mut content = json!({"body": format!("{} {}", step.words, links.join(" "))});
    if step.seed.is_multiple_of(2) {
        let link = |url: &String| format!("<a href=\"{0}\">{0}</a>", html::escape(url));
        let marked = links.iter().map(link).collect::<Vec<_>>().join(" ");
        content["format"] = json!("org.matrix.custom.html");
        content["formatted_body"] = json!(format!("<b>{}</b> {marked}", html::escape(&step.words)));
    }
    content[PREVIEWS[usize::from(step.seed.is_multiple_of(11))]] = json!(given);
    content
}

pub(super) fn same_previews(from: &Value, to: &Value) -> Result<(), TestCaseError> {
    let of = |content: &Value| PREVIEWS.iter().find_map(|key| content.get(*key)).cloned();
    prop_assert_eq!(of(to), of(from));
    Ok(())
}

// ---------------------------------------------------------------------------------------------------------- languages

/// A text as one or more representations, each with its language or without, in the older or the newer form.
pub(super) fn languages(step: &Step) -> (String, Value) {
    let seed = usize::try_from(step.seed).unwrap();
    let (key, lang) =
        if seed % 2 == 0 { ("m.text", "lang") } else { ("org.matrix.msc1767.text", "org.matrix.msc3554.lang") };
    let text = |n: usize| {
        let mut text = json!({"body": if n == 0 { step.words.clone() } else { format!("{} {n}", step.words) }});
        let tag = TAGS[(seed >> n) % 4];
        if !tag.is_empty() {
            text[lang] = json!(tag);
        }
        text
    };
    let texts: Vec<Value> = (0..=seed % 3).map(text).collect();
    let message = json!({"msgtype": "m.text", "body": step.words, key: texts});
    if seed % 5 == 0 {
        return ("m.message".to_owned(), json!({"m.text": texts, key: texts}));
    }
    ("m.room.message".to_owned(), message)
}

/// The languages that an event names; the first is that of the text that is shown.
fn tags(content: &Value) -> Vec<String> {
    let texts = ["m.text", "org.matrix.msc1767.text"].iter().find_map(|key| content[*key].as_array());
    let tag = |text: &Value| {
        let tag = ["lang", "org.matrix.msc3554.lang"].iter().find_map(|key| text[*key].as_str());
        tag.unwrap_or_default().to_owned()
    };
    texts.into_iter().flatten().map(tag).collect()
}

pub(super) fn are_several(content: &Value) -> bool {
    let tags = tags(content);
    tags.iter().any(|tag| !tag.eq_ignore_ascii_case(&tags[0]))
}

pub(super) fn same_language(from: &Value, to: &Value) -> Result<(), TestCaseError> {
    let shown = tags(from).into_iter().next().unwrap_or_default();
    let marked = to.get(CONTENT_KEY).map(|mark| mark["language"].as_str().unwrap_or_default());
    if let Some(marked) = marked {
        prop_assert_eq!(marked, shown);
    }
    Ok(())
}

// ----------------------------------------------------------------------------------------------------- live locations

/// The state event that begins one; some go on without end.
pub(super) fn live_begins(step: &Step) -> (String, Value) {
    let mut content = json!({"live": true, "timeout": SECOND * (60 + step.seed * 3), "description": step.words});
    match step.seed % 4 {
        0 => content["m.ts"] = json!(super::BEGIN + SECOND * step.seed),
        1 => content["org.matrix.msc3488.ts"] = json!(super::BEGIN - SECOND * step.seed),
        2 => content["timeout"] = json!(u64::MAX),
        _ => {}
    }
    let stable = step.seed.is_multiple_of(2);
    (if stable { "m.beacon_info" } else { "org.matrix.msc3672.beacon_info" }.to_owned(), content)
}

/// A place of it, or its end.
pub(super) fn live_goes_on(begin: &EventId, step: &Step) -> (String, Value) {
    if step.seed.is_multiple_of(4) {
        return ("m.beacon_info".to_owned(), json!({"live": false, "description": step.words}));
    }
    let (kind, key) = if step.seed.is_multiple_of(2) {
        ("m.beacon", "m.location")
    } else {
        ("org.matrix.msc3672.beacon", "org.matrix.msc3488.location")
    };
    let relation = json!({"rel_type": "m.reference", "event_id": begin});
    let place = json!({"uri": format!("geo:{},-0.{};u={}", step.seed % 90, 1 + step.seed % 9, step.seed % 50)});
    (kind.to_owned(), json!({"m.relates_to": relation, key: place}))
}

/// What there is to say of a live location after an event of it, and which message says it already; `going`: what the event goes
/// on with, if it does not begin one.
pub(super) fn told_of(
    kind: &str,
    content: &Value,
    going: Option<&Said>,
    sent: u64,
) -> (Option<Live>, Option<MessageId>) {
    if !is_live_info(kind) && !is_live_place(kind) {
        return (None, None);
    }
    let read = Live::read(kind, content, sent).unwrap();
    if content["live"] == true {
        return (Some(read), None);
    }
    let going = going.unwrap();
    let known = going.live.clone().unwrap();
    let place = read.place.or(known.place);
    (Some(Live { over: read.over, place, ..known }), Some(going.earlier.id))
}

pub(super) fn says(live: &Live, content: &Value) -> Result<(), TestCaseError> {
    let body = content["body"].as_str().unwrap();
    let (state, rest) = body.split_once(']').unwrap();
    prop_assert_eq!(rest.lines().next().unwrap_or_default().trim(), live.about.trim());
    prop_assert_eq!(rest.split_once('\n').map(|(_, place)| place), live.place.as_deref());
    prop_assert_eq!(state.contains("ended"), live.over);
    let clock = live.until.filter(|_| !live.over).map(|until| {
        let day = std::time::Duration::from_millis(until).as_secs() % 86_400;
        format!("until {:02}:{:02} UTC", day / 3600, day % 3600 / 60)
    });
    prop_assert_eq!(state.split_once("until").map(|(_, clock)| format!("until{clock}")), clock);
    Ok(())
}
