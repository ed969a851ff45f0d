//! What is said with files, as text: of all of them, and of one alone.

use std::{borrow::Cow, collections::BTreeMap};

use super::{
    super::{MatrixMessage, ToMatrix, charset, to_matrix},
    read,
};
use crate::content::{Body, ExtensionKey, MimiContent, NestedPart, PartSemantics, TEXT_PLAIN, content_id};

/// The texts of a part.
pub(super) fn texts(part: &NestedPart) -> impl Iterator<Item = String> {
    part.walk().filter_map(|part| match &part.body {
        Body::Single { content_type, content } => charset::text(content_type, content).map(Cow::into_owned),
        _ => None,
    })
}

/// Parts one after the other; `None` if there are none.
pub(super) fn all(mut parts: Vec<NestedPart>) -> Option<NestedPart> {
    if parts.len() > 1 {
        return Some(NestedPart::render(Body::Multi { semantics: PartSemantics::ProcessAll, parts }));
    }
    parts.pop()
}

/// A caption and, unless it says so itself, what is said of one file.
pub(super) fn with(caption: Option<&NestedPart>, description: &str) -> Option<NestedPart> {
    let description = description.trim();
    let known = || caption.is_some_and(|caption| texts(caption).any(|text| text.trim() == description));
    if description.is_empty() || known() {
        return caption.cloned();
    }
    let mut parts = match caption {
        Some(NestedPart { body: Body::Multi { semantics: PartSemantics::ProcessAll, parts }, .. }) => parts.clone(),
        other => other.cloned().into_iter().collect(),
    };
    parts.push(NestedPart::text(TEXT_PLAIN, description));
    all(parts)
}

/// How a message looks that says this alone, under its subject unless that is said elsewhere.
pub(super) fn show(message: &MimiContent, said: NestedPart, with_subject: bool, ctx: &ToMatrix<'_>) -> MatrixMessage {
    // A picture that the text names is shown beside it, or a note says why not.
    let pictures = message.body.walk().zip(0..).filter(|(part, _)| read::is_file(part));
    let pictures: BTreeMap<_, _> = pictures.map(|(_, index)| (content_id(index), String::new())).collect();
    let mut message = MimiContent { body: said, ..message.clone() };
    let repeats = message.subject().is_some_and(|subject| texts(&message.body).any(|text| text == subject));
    if repeats || !with_subject {
        message.extensions.remove(&ExtensionKey::SUBJECT);
    }
    to_matrix::with_pictures(&message, ctx, pictures)
}
