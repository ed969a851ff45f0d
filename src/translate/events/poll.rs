//! Polls (MSC3381, with stable names and those that Element uses): what they say as text, whom a vote is for, and their HTML.

use std::{borrow::Cow, fmt::Write as _};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{extensible, line, private};
use crate::translate::{
    Earlier, display,
    html::Document,
    links::{Links, Mentions},
};

/// Most answers of a poll that are told; MSC3381 allows no more.
const MAX_ANSWERS: usize = 20;
/// Longest id of an answer that is remembered, in bytes. Element's have 16.
const MAX_ID: usize = 255;
/// So much of an answer is told of a vote, in characters.
const MAX_CHOICE: usize = 100;

/// A poll's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Poll {
    Start,
    Response,
    End,
}

/// Which event of a poll this type is.
pub(super) fn poll(event_type: &str) -> Option<Poll> {
    let kind = event_type.strip_prefix("m.poll.").or(event_type.strip_prefix("org.matrix.msc3381.poll."))?;
    Some(match kind {
        "start" => Poll::Start,
        "response" => Poll::Response,
        "end" => Poll::End,
        _ => return None,
    })
}

/// What an event is that crosses in a private part, as far as later ones need it: a new version has the same type, and votes
/// say what they are for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kind {
    /// Its type.
    pub event_type: String,
    /// Of a poll: the ids of its answers, and what they say, of all its versions.
    pub answers: Vec<(String, String)>,
    /// Of a poll: who votes for what is not to be seen before its end.
    pub undisclosed: bool,
}

impl Kind {
    /// The kind of an event; `None` if it crosses as something of MIMI's own.
    #[must_use]
    pub fn of(event_type: &str, content: &Value) -> Option<Self> {
        if !private::may_cross(event_type) {
            return None;
        }
        let outer = content.as_object();
        let new = outer.and_then(|outer| outer.get("m.new_content")?.as_object().filter(|_| super::is_edit(outer)));
        let (answers, undisclosed) = match (poll(event_type), new.or(outer)) {
            (Some(Poll::Start), Some(content)) => (answers(event_type, content), is_undisclosed(event_type, content)),
            _ => (Vec::new(), false),
        };
        Some(Self { event_type: event_type.to_owned(), answers, undisclosed })
    }

    /// Whether it is a vote, or the end of a poll.
    pub(in crate::translate) fn is_vote_or_end(&self) -> bool {
        matches!(poll(&self.event_type), Some(Poll::Response | Poll::End))
    }

    /// The poll with the answers of a new version: earlier ones stay known, since votes for them may be on their way. `None`:
    /// that one is no new version of it, or says nothing new.
    #[must_use]
    pub fn with_version(first: &Earlier, version: &Earlier) -> Option<Self> {
        let (kind, new) = (first.kind.as_ref()?, version.kind.as_ref()?);
        if new.answers.is_empty() || kind.event_type != new.event_type || first.sender != version.sender {
            return None;
        }
        let mut answers = new.answers.clone();
        let old = kind.answers.iter().filter(|(id, _)| new.answers.iter().all(|(other, _)| other != id));
        answers.extend(old.cloned());
        answers.truncate(5 * MAX_ANSWERS);
        // Whether votes are to be seen stays as it was: who votes may not have heard of the new version.
        let version = Self { answers, ..kind.clone() };
        (version != *kind).then_some(version)
    }
}

fn start<'a>(event_type: &str, content: &'a Map<String, Value>) -> Option<&'a Map<String, Value>> {
    let mut keys = ["m.poll", "m.poll.start", "org.matrix.msc3381.poll.start"];
    // What clients read who know this type.
    if event_type.starts_with("org.") {
        keys.reverse();
    }
    keys.iter().find_map(|key| content.get(*key)?.as_object())
}

/// Whether nobody is to see before the end who voted for what. MSC3381: so is every poll that does not say that it is disclosed.
fn is_undisclosed(event_type: &str, content: &Map<String, Value>) -> bool {
    let kind = start(event_type, content).and_then(|poll| poll.get("kind")?.as_str());
    !matches!(kind, Some("m.disclosed" | "org.matrix.msc3381.poll.disclosed" | "org.matrix.msc3381.disclosed"))
}

fn text_of(value: &Value, most: usize) -> Option<String> {
    Some(line(&extensible::text(value.as_object()?)?, most))
}

fn answers(event_type: &str, content: &Map<String, Value>) -> Vec<(String, String)> {
    let list = start(event_type, content).and_then(|poll| poll.get("answers")?.as_array());
    let answer = |answer: &Value| {
        let id = answer.get("id").or(answer.get("m.id"))?.as_str().filter(|id| id.len() <= MAX_ID)?;
        Some((id.to_owned(), text_of(answer, MAX_CHOICE)?))
    };
    list.into_iter().flatten().take(MAX_ANSWERS).filter_map(answer).collect()
}

/// Question and answers.
pub(super) fn question(event_type: &str, content: &Map<String, Value>) -> Option<String> {
    let poll = start(event_type, content)?;
    let mut out = format!("[poll] {}", text_of(poll.get("question")?, 500)?);
    for (index, answer) in poll.get("answers")?.as_array()?.iter().take(MAX_ANSWERS).enumerate() {
        let answer = text_of(answer, 500).unwrap_or_default();
        let _ = write!(out, "\n{}. {answer}", index + 1);
    }
    Some(out)
}

/// What a vote is for, unless its poll keeps that to itself. Of answers that the poll is not known to have it says the ids.
pub(super) fn vote(content: &Map<String, Value>, poll: Option<&Kind>) -> String {
    let lists = [
        content.get("m.selections"),
        content.get("m.poll.response").and_then(|vote| vote.get("answers")),
        content.get("org.matrix.msc3381.poll.response").and_then(|vote| vote.get("answers")),
    ];
    // Whichever of them a client reads, it is told.
    let mut chosen: Vec<&str> = Vec::new();
    for id in lists.into_iter().flatten().filter_map(Value::as_array).flatten().filter_map(Value::as_str) {
        if !chosen.contains(&id) && chosen.len() <= MAX_ANSWERS {
            chosen.push(id);
        }
    }
    if chosen.is_empty() {
        return "[took back the vote in a poll]".to_owned();
    }
    if poll.is_some_and(|poll| poll.undisclosed) {
        return "[voted in a poll]".to_owned();
    }
    let known = |id: &str| poll?.answers.iter().find(|(known, _)| known == id).map(|(_, text)| text.clone());
    let say = |id: &&str| known(id).filter(|text| !text.is_empty()).unwrap_or_else(|| line(id, MAX_CHOICE));
    format!("[voted in a poll: {}]", chosen.iter().map(say).collect::<Vec<_>>().join(", "))
}

/// Whether this event belongs to the poll of that kind, and says what its text says.
pub(in crate::translate) fn belongs(event_type: &str, content: &Value, poll_kind: Option<&Kind>, text: &str) -> bool {
    let is_poll = poll_kind.is_some_and(|kind| poll(&kind.event_type) == Some(Poll::Start));
    is_poll
        && match (poll(event_type), content.as_object()) {
            (Some(Poll::Response), Some(content)) => display::shown(&vote(content, poll_kind)) == text,
            // Its text was compared before.
            (Some(Poll::End), _) => true,
            _ => false,
        }
}

/// Cleans all that clients may show of a poll, as it is done with messages: its HTML, and characters that steer terminals or turn
/// the writing around.
pub(super) fn clean(content: &mut Map<String, Value>, mentions: &dyn Mentions) {
    for (key, value) in content {
        match (key.as_str(), &mut *value) {
            ("formatted_body" | "m.html" | "org.matrix.msc1767.html", Value::String(html)) => {
                cleaned(html, mentions);
                made_readable(html);
            }
            // By these a vote finds its answer; nobody shows them.
            ("id" | "m.id", Value::String(_)) => {}
            ("answers" | "m.selections", Value::Array(list)) if list.iter().all(Value::is_string) => {}
            (_, Value::String(text)) => made_readable(text),
            _ => clean_value(value, mentions),
        }
    }
}

fn clean_value(value: &mut Value, mentions: &dyn Mentions) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(|value| clean_value(value, mentions)),
        Value::String(text) => made_readable(text),
        Value::Object(object) => {
            let mimetype = object.get("mimetype").and_then(Value::as_str).unwrap_or("text/plain");
            // What says of itself that it is something else than text may be taken for HTML.
            if !mimetype.trim().eq_ignore_ascii_case("text/plain")
                && let Some(Value::String(html)) = object.get_mut("body")
            {
                cleaned(html, mentions);
            }
            clean(object, mentions);
        }
        _ => {}
    }
}

fn made_readable(text: &mut String) {
    if let Cow::Owned(shown) = display::shown(text) {
        *text = shown;
    }
}

fn cleaned(html: &mut String, mentions: &dyn Mentions) {
    let clean = Document::read(html, &mut Links::to_matrix(mentions)).to_html(html.len());
    *html = clean;
}
