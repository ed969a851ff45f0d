//! Files that are covered until somebody wants to see them (MSC4193, spoilers on media). MIMI has no such thing: others get an
//! attachment, which nobody shows by itself, without a preview, and whose description says what it is.

use serde_json::{Map, Value, json};

use super::super::display;

const SPOILER: [&str; 2] = ["page.codeberg.everypizza.msc4193.spoiler", "m.spoiler"];
const REASON: [&str; 2] = ["page.codeberg.everypizza.msc4193.spoiler.reason", "m.spoiler.reason"];
/// Longest reason, in characters.
const MAX_REASON: usize = 200;

/// Why a file is covered; empty if nobody says why, `None` if it is not.
pub(super) fn of_event(content: &Map<String, Value>) -> Option<String> {
    let covered = SPOILER.iter().any(|key| content.get(*key).and_then(Value::as_bool) == Some(true));
    let reason = || REASON.iter().find_map(|key| content.get(*key)?.as_str()).unwrap_or_default();
    covered.then(|| clean(reason()))
}

/// Covers the file of an event.
pub(super) fn write(reason: &str, content: &mut Map<String, Value>) {
    content.insert(SPOILER[0].to_owned(), json!(true));
    if !reason.is_empty() {
        content.insert(REASON[0].to_owned(), json!(reason));
    }
}

/// Whether a key of `info` is one of these: some clients write them there.
pub(super) fn is_key(key: &str) -> bool {
    SPOILER.contains(&key) || REASON.contains(&key)
}

/// A reason on one line and of bounded length; cleaned again it is the same.
pub(super) fn clean(reason: &str) -> String {
    // What reverses the direction of writing would go on behind it.
    let printable = |c: char| if c.is_control() || display::turns(c) { ' ' } else { c };
    let reason: String = reason.chars().map(printable).collect();
    let reason: String = reason.trim().chars().take(MAX_REASON).collect();
    reason.trim().to_owned()
}

/// The description for who cannot cover a file.
pub(super) fn description(reason: &str, said: &str) -> String {
    let said = if said.is_empty() { String::new() } else { format!(" {said}") };
    format!("{}{said}", mark(reason))
}

/// What was said with a file, from such a description.
pub(super) fn said<'a>(reason: &str, description: &'a str) -> &'a str {
    description.strip_prefix(&mark(reason)).map_or(description, |rest| rest.strip_prefix(' ').unwrap_or(rest))
}

fn mark(reason: &str) -> String {
    if reason.is_empty() { "[spoiler]".to_owned() } else { format!("[spoiler: {reason}]") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_line_that_turns_nothing_around() {
        for (reason, wanted) in [
            (" the end ", "the end"),
            ("\u{202e}\u{0} the\nend\u{1b}[31m\u{2066}\u{9b}", "the end [31m"),
            ("\u{5e1}\u{5d5}\u{5e3}", "\u{5e1}\u{5d5}\u{5e3}"),
            ("\u{202e}\u{7}", ""),
        ] {
            assert_eq!(clean(reason), wanted, "{reason:?}");
            let content = Map::from_iter([(SPOILER[0].to_owned(), json!(true)), (REASON[0].to_owned(), json!(reason))]);
            assert_eq!(of_event(&content).as_deref(), Some(wanted));
        }
        let long = clean(&format!("{}\u{202e}{}", " ".repeat(300), "x".repeat(300)));
        assert_eq!((long.len(), clean(&long)), (MAX_REASON, long));
    }
}
