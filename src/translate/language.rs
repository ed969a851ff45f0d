//! In which language a message is: MIMI's language tags (draft-ietf-mimi-content-08 section 4.4), `lang` of the representations
//! of a text in Matrix (MSC3554), and, as Matrix has no place for it in a message of its own, `language` in what marks a mirror.

use serde_json::{Map, Value};

use super::{CONTENT_KEY, Loss};
use crate::content::NestedPart;

/// What a representation of a text calls its language, stable name first.
const LANG: [&str; 2] = ["lang", "org.matrix.msc3554.lang"];
/// Where an event lists the representations of its text.
const TEXTS: [&str; 2] = ["m.text", "org.matrix.msc1767.text"];

/// What an event has room for of tags, in bytes; further ones are left out.
const MAX_TAGS: usize = 128;

/// The well-formed language tags of a part, separated by commas; empty if it has none.
pub(super) fn of(part: &NestedPart) -> String {
    let mut tags = String::new();
    for tag in part.languages() {
        if tags.len() + tag.len() >= MAX_TAGS {
            break;
        }
        if !tags.is_empty() {
            tags.push(',');
        }
        tags.push_str(tag);
    }
    tags
}

/// Whether one of the alternatives is in a language that the one shown is not in. Where that one does not say, it is taken for
/// one of them, and several for more than it can be in.
pub(super) fn has_others<'a>(shown: &str, alternatives: impl Iterator<Item = &'a NestedPart>) -> bool {
    let tags = alternatives.flat_map(NestedPart::walk).flat_map(NestedPart::languages).map(str::to_ascii_lowercase);
    let mut others: Vec<String> =
        tags.filter(|tag| !shown.split(',').any(|own| own.eq_ignore_ascii_case(tag))).collect();
    others.sort();
    others.dedup();
    others.len() > usize::from(shown.is_empty())
}

/// Says in the event of a message in which language it is.
pub(super) fn mark(content: &mut Map<String, Value>, language: &str) {
    if language.is_empty() {
        return;
    }
    if let Some(origin) = content.get_mut(CONTENT_KEY).and_then(Value::as_object_mut) {
        origin.insert("language".to_owned(), language.into());
    }
}

/// The language that an event says that it is in; may be empty.
pub(super) fn marked(content: &Value) -> &str {
    content.get(CONTENT_KEY).and_then(|origin| origin.get("language")?.as_str()).unwrap_or_default()
}

/// Says in a body in which language the event has its text; that it has it in others, too, is a loss.
pub(super) fn put(body: &mut NestedPart, message: &Map<String, Value>, losses: &mut Vec<Loss>) {
    let Some(texts) = TEXTS.iter().find_map(|key| message.get(*key)?.as_array()) else { return };
    let lang = |text: &Value| LANG.iter().find_map(|key| text.get(*key)?.as_str()).unwrap_or_default().to_owned();
    let said = message.get("body").and_then(Value::as_str);
    let shown = texts.iter().find(|text| text.get("body").and_then(Value::as_str) == said).map(lang);
    body.language = shown.unwrap_or_default();
    // What is no tag says nothing.
    body.language = of(body);
    if texts.iter().any(|text| !lang(text).eq_ignore_ascii_case(&body.language)) {
        losses.push(Loss::Languages);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::content::TEXT_PLAIN;

    #[test]
    fn the_language_of_the_text_that_crosses_is_said_and_others_are_a_loss() {
        let read = |message: Value| {
            let (mut body, mut losses) = (NestedPart::text(TEXT_PLAIN, "Hallo"), Vec::new());
            put(&mut body, message.as_object().unwrap(), &mut losses);
            (body.language, losses)
        };
        for (message, language, losses) in [
            (json!({"body": "Hallo"}), "", vec![]),
            (json!({"body": "Hallo", "m.text": [{"body": "Hallo", "lang": "de"}]}), "de", vec![]),
            (
                json!({"body": "Hallo", "m.text": [{"body": "Hi", "lang": "en"}, {"body": "Hallo", "lang": "de-AT"}]}),
                "de-AT",
                vec![Loss::Languages],
            ),
            (
                json!({"body": "Hallo", "org.matrix.msc1767.text": [{"body": "Hallo", "org.matrix.msc3554.lang": "de"},
                    {"body": "<b>Hallo</b>", "mimetype": "text/html", "org.matrix.msc3554.lang": "DE"}]}),
                "de",
                vec![],
            ),
            (json!({"body": "Hallo", "m.text": [{"body": "Hallo"}]}), "", vec![]),
            (json!({"body": "Hallo", "m.text": "Hallo"}), "", vec![]),
        ] {
            assert_eq!(read(message.clone()), (language.to_owned(), losses), "{message}");
        }
    }

    #[test]
    fn many_tags_are_not_all_kept() {
        let part = NestedPart { language: "de,".repeat(5_000), ..NestedPart::text(TEXT_PLAIN, "x") };
        assert!((100..=MAX_TAGS).contains(&of(&part).len()));
    }

    #[test]
    fn alternatives_in_another_language_are_others() {
        let part = |language: &str| NestedPart { language: language.to_owned(), ..NestedPart::text(TEXT_PLAIN, "x") };
        let others =
            |shown: &str, tags: &[&str]| has_others(shown, tags.iter().map(|tag| part(tag)).collect::<Vec<_>>().iter());
        assert!(others("de", &["de", "fr"]) && others("", &["de", "fr"]));
        assert!(!others("de,fr", &["FR", "", "de"]) && !others("", &["en", "EN"]));
    }
}
