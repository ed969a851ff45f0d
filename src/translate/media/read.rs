//! Media as MIMI says it: content to [`Media`].
//!
//! The parts are gone through in their order, whatever they are nested in. What is a file becomes one, what is text their caption;
//! what can only be told of is told after them.

use super::{
    super::{Loss, MAX_NUMBER, charset, essence, events::PRIVATE_EVENT, language, profile, tidy},
    MAX_FILES, MAX_WAVEFORM, MEDIA_EXTENSION, Media, MediaFile, MediaInfo, MediaKind, PartSource, UNKNOWN_TYPE,
    caption, clean_blurhash, clean_name, cover, emoticon,
};
use crate::content::{
    AvMetadata, AvType, Body, CborValue, Disposition, ExtensionKey, MimiContent, NestedPart, PartSemantics, TEXT_PLAIN,
};

/// The files of a message; `None` if it is something else, to be shown as text: no file in it, calls, profiles, reactions.
///
/// Of alternatives the first one with a file counts, as the richest that can be shown; one of a type that is neither seen nor heard
/// only with a text of its own, or if nothing else can be shown. Texts among them say the same to whoever cannot show it: if nothing else is said with the
/// file, that is said, so that its sender is not held to have meant the same.
#[must_use]
pub fn from_message(message: &MimiContent) -> Option<Media<PartSource>> {
    if let Some(emoticons) = emoticon::from_message(message) {
        return Some(emoticons);
    }
    if !is_shown(message.body.disposition) {
        return None;
    }
    let about = message.av_metadata();
    let mut found = Found { about: &about, hints: hints(message), ..Found::default() };
    match &message.body.body {
        Body::Multi { semantics: PartSemantics::ProcessAll, parts } => found.all(0, parts),
        Body::Multi { semantics: PartSemantics::SingleUnit, parts } if can_be_shown(&message.body) => {
            found.all(0, parts);
        }
        _ => found.take(0, &message.body),
    }
    found.finish(message.subject())
}

/// Where a part's file is, if it is one: what lies on the web, and what is in the message and no text that is shown.
fn source(part: &NestedPart) -> Option<PartSource> {
    match &part.body {
        Body::External(external) => is_file(part).then(|| PartSource::External(external.clone())),
        Body::Single { content, .. } => is_file(part).then(|| PartSource::Here(content.clone())),
        Body::Null | Body::Multi { .. } => None,
    }
}

/// Whether a part is a file: on the web, or in the message and no text that is shown (one that is attached is not).
pub(crate) fn is_file(part: &NestedPart) -> bool {
    match &part.body {
        Body::External(external) => {
            let scheme = external.url.split(':').next().unwrap_or_default();
            ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known))
        }
        Body::Single { content_type, content } => {
            let is_said = charset::is_text(content_type) && part.disposition != Disposition::Attachment;
            !content.is_empty() && !is_said && content_type != PRIVATE_EVENT
        }
        Body::Null | Body::Multi { .. } => false,
    }
}

fn has_file(part: &NestedPart) -> bool {
    part.walk().any(is_file)
}

/// Whether it has a file that is looked at or listened to, or lies where only a file does.
fn is_rich(part: &NestedPart) -> bool {
    part.walk().filter(|part| is_file(part)).any(|part| match &part.body {
        Body::Single { content_type, .. } => {
            let kind = content_type.split('/').next().unwrap_or_default().trim();
            ["image", "video", "audio"].iter().any(|known| kind.eq_ignore_ascii_case(known))
        }
        _ => true,
    })
}

/// Whether a part is something that is said.
fn is_shown(disposition: Disposition) -> bool {
    !matches!(disposition, Disposition::Reaction | Disposition::Profile | Disposition::Icon | Disposition::Session)
}

/// Whether people see something of it, and of a unit all.
fn can_be_shown(part: &NestedPart) -> bool {
    match &part.body {
        Body::Null => false,
        Body::External(_) => true,
        Body::Single { content_type, .. } => charset::is_text(content_type) || is_file(part),
        Body::Multi { semantics: PartSemantics::SingleUnit, parts } => {
            let mut parts = parts.iter().filter(|part| part.body != Body::Null).peekable();
            parts.peek().is_some() && parts.all(can_be_shown)
        }
        Body::Multi { parts, .. } => parts.iter().any(can_be_shown),
    }
}

fn has_text(part: &NestedPart) -> bool {
    caption::texts(part).next().is_some()
}

/// Whether its files are custom emoji, which are nothing without their text.
fn has_emoji(part: &NestedPart) -> bool {
    caption::texts(part).any(|text| text.contains("data-mx-emoticon"))
}

/// What is lost with a file that is not shown.
fn passed_over(part: &NestedPart) -> Loss {
    let content_type = match &part.body {
        Body::Single { content_type, .. } => essence(content_type),
        Body::External(external) => essence(&external.content_type),
        Body::Null | Body::Multi { .. } => String::new(),
    };
    if part.disposition == Disposition::Inline { Loss::InlineImage } else { Loss::Unsupported(content_type) }
}

#[derive(Default, Clone)]
struct Hint {
    sticker: bool,
    blurhash: Option<String>,
    voice: Option<Vec<u16>>,
    cover: Option<String>,
    download: bool,
}

fn hints(message: &MimiContent) -> Vec<(u16, Hint)> {
    let all = message.extensions.get(&ExtensionKey::text(MEDIA_EXTENSION)).and_then(CborValue::as_array);
    let read = |entry: &CborValue| {
        let part = u16::try_from(entry.get(1)?.as_integer()?).ok()?;
        let point = |value: &CborValue| u16::try_from(value.as_integer()?.clamp(0, 1024)).ok();
        let waveform = |points: &[CborValue]| points.iter().take(MAX_WAVEFORM).filter_map(point).collect();
        Some((
            part,
            Hint {
                sticker: entry.get(2) == Some(&CborValue::Bool(true)),
                blurhash: entry.get(3).and_then(CborValue::as_text).and_then(clean_blurhash),
                voice: entry.get(4).and_then(CborValue::as_array).map(waveform),
                cover: entry.get(5).and_then(CborValue::as_text).map(cover::clean),
                download: entry.get(6) == Some(&CborValue::Bool(true)),
            },
        ))
    };
    all.unwrap_or_default().iter().take(2 * MAX_FILES).filter_map(read).collect()
}

/// A small picture, and which part it is.
struct Preview {
    index: usize,
    /// How many files stand before it.
    before: usize,
    source: PartSource,
    info: MediaInfo,
}

/// What was found so far, each in its order.
#[derive(Default)]
struct Found<'a> {
    about: &'a [AvMetadata],
    hints: Vec<(u16, Hint)>,
    /// With the number of the part that is its preview.
    files: Vec<(MediaFile<PartSource>, Option<usize>)>,
    previews: Vec<Preview>,
    texts: Vec<NestedPart>,
    /// Texts in whose place there is a file.
    instead: Vec<NestedPart>,
    rest: Vec<NestedPart>,
    losses: Vec<Loss>,
}

impl Found<'_> {
    /// Takes in the parts of a part.
    fn all(&mut self, index: usize, parts: &[NestedPart]) {
        let mut number = index + 1;
        for part in parts {
            self.take(number, part);
            number += part.walk().count();
        }
    }

    fn take(&mut self, index: usize, part: &NestedPart) {
        match &part.body {
            // Nothing, and what somebody is called, is nothing that is said.
            Body::Null => {}
            Body::Single { content_type, .. }
                if part.disposition == Disposition::Profile && profile::is_vcard(content_type) => {}
            _ if !is_shown(part.disposition) => self.rest.push(part.clone()),
            Body::Multi { semantics: PartSemantics::ProcessAll, parts } => self.all(index, parts),
            Body::Multi { semantics: PartSemantics::SingleUnit, parts } if has_file(part) && can_be_shown(part) => {
                self.all(index, parts);
            }
            Body::Multi { semantics: PartSemantics::ChooseOne, parts } if has_file(part) => {
                self.choose(index, part, parts);
            }
            _ => match source(part) {
                Some(source) if part.disposition == Disposition::Preview => self.preview(index, part, source),
                Some(source) if self.files.len() < MAX_FILES => self.file(index, part, source),
                None if can_be_shown(part) && has_text(part) => self.texts.push(part.clone()),
                _ => self.rest.push(part.clone()),
            },
        }
    }

    /// Takes the first alternative with a file that can be shown, and keeps in mind what the texts say.
    fn choose(&mut self, index: usize, whole: &NestedPart, parts: &[NestedPart]) {
        let is_bare =
            |part: &NestedPart| part.walk().all(|part| !matches!(part.body, Body::External(_)) && !is_file(part));
        let is_text =
            |part: &&NestedPart| is_bare(part) && can_be_shown(part) && has_text(part) && is_shown(part.disposition);
        let texts: Vec<NestedPart> = parts.iter().filter(is_text).cloned().collect();
        let mut number = index + 1;
        for part in parts {
            let fits = has_file(part) && can_be_shown(part) && !has_emoji(part);
            if fits && (texts.is_empty() || is_rich(part) || has_text(part)) {
                let before = (self.files.len(), self.previews.len(), self.texts.len(), self.instead.len());
                let (rest, losses) = (self.rest.len(), self.losses.len());
                self.take(number, part);
                if self.files.len() > before.0 {
                    let shown = part.walk().flat_map(NestedPart::languages).collect::<Vec<_>>().join(",");
                    // Which of the texts is said with it is told there.
                    if language::has_others(&shown, parts.iter().filter(|part| has_file(part))) {
                        self.losses.push(Loss::Languages);
                    }
                    self.instead.extend(one_of(texts));
                    return;
                }
                self.files.truncate(before.0);
                self.previews.truncate(before.1);
                self.texts.truncate(before.2);
                self.instead.truncate(before.3);
                self.rest.truncate(rest);
                self.losses.truncate(losses);
            }
            number += part.walk().count();
        }
        match one_of(texts) {
            Some(text) => {
                // Beside emoji there may be files that the text says nothing of.
                let emoji = parts.iter().filter(|part| has_file(part) && has_emoji(part));
                self.losses.extend(emoji.flat_map(NestedPart::walk).filter(|part| is_file(part)).map(passed_over));
                self.texts.push(text);
            }
            None => self.rest.push(whole.clone()),
        }
    }

    fn about(&self, index: usize) -> Option<&AvMetadata> {
        self.about.iter().find(|about| usize::from(about.part_index) == index)
    }

    fn info(&mut self, index: usize, part: &NestedPart) -> (MediaInfo, Hint) {
        let (content_type, size) = match &part.body {
            Body::External(external) => (external.content_type.as_str(), (external.size > 0).then_some(external.size)),
            Body::Single { content_type, content } => (content_type.as_str(), u64::try_from(content.len()).ok()),
            Body::Null | Body::Multi { .. } => ("", None),
        };
        let about = self.about(index).cloned();
        let rotation = about.as_ref().and_then(|about| about.rotation).unwrap_or_default();
        let [mut width, mut height, duration] =
            about.map_or([None; 3], |about| [about.width, about.height, about.duration]);
        // Matrix has no word for how it is turned, only for how it looks then.
        if matches!(rotation, 90 | 270) {
            (width, height) = (height, width);
        }
        if rotation != 0 {
            self.losses.push(Loss::FileDetails);
        }
        let mut number = |number: Option<u64>| {
            let fits = number.filter(|number| *number <= MAX_NUMBER);
            self.losses.extend((fits != number).then_some(Loss::FileDetails));
            fits
        };
        let (size, width, height, duration) = (number(size), number(width), number(height), number(duration));
        let hint = self.hints.iter().find(|(part, _)| usize::from(*part) == index);
        let hint = hint.map(|(_, hint)| hint.clone()).unwrap_or_default();
        let blurhash = hint.blurhash.clone();
        (
            MediaInfo {
                size,
                width,
                height,
                duration,
                blurhash,
                language: language::of(part),
                ..MediaInfo::of_type(content_type)
            },
            hint,
        )
    }

    fn file(&mut self, index: usize, part: &NestedPart, source: PartSource) {
        let (info, hint) = self.info(index, part);
        let about = self.about(index);
        let kind = match info.media_type.split('/').next() {
            _ if part.disposition == Disposition::Attachment && (hint.cover.is_none() || hint.download) => {
                MediaKind::File
            }
            // A drawing that may hold programs is for who wants to download it.
            _ if info.media_type == "image/svg+xml" => MediaKind::File,
            Some("image") if hint.sticker => MediaKind::Sticker,
            Some("image") => MediaKind::Image,
            Some("video") => MediaKind::Video,
            Some("audio") => MediaKind::Audio,
            // What an external part has as its type if nobody knows: it may be anything.
            _ if info.media_type == UNKNOWN_TYPE => match about.map(|about| about.media) {
                Some(AvType::Image) if hint.sticker => MediaKind::Sticker,
                Some(AvType::Image) => MediaKind::Image,
                Some(AvType::Video) => MediaKind::Video,
                Some(AvType::Audio) => MediaKind::Audio,
                None => MediaKind::File,
            },
            _ => MediaKind::File,
        };
        let (name, description) = match &part.body {
            Body::External(external) => (external.filename.as_str(), external.description.as_str()),
            _ => ("", ""),
        };
        let said = hint.cover.as_deref().map_or(description, |reason| cover::said(reason, description)).trim();
        // What it shows is for those, too, who do not see it.
        let alt = about.and_then(|about| about.accessibility_text.as_deref()).unwrap_or_default().trim();
        let description = match (said, alt) {
            (said, "") => said.to_owned(),
            ("", alt) => alt.to_owned(),
            (said, alt) if said == alt => said.to_owned(),
            (said, alt) => format!("{said}\n\n{alt}"),
        };
        let preview = about.and_then(|about| about.preview_index).map(usize::from);
        let voice = hint.voice.filter(|_| kind == MediaKind::Audio);
        let (filename, cover) = (clean_name(name), hint.cover);
        let file = MediaFile { kind, source, filename, description, info, thumbnail: None, voice, cover };
        self.files.push((file, preview));
    }

    fn preview(&mut self, index: usize, part: &NestedPart, source: PartSource) {
        let (info, _) = self.info(index, part);
        if self.about(index).is_some_and(|about| about.accessibility_text.is_some()) {
            self.losses.push(Loss::FileDetails);
        }
        self.previews.push(Preview { index, before: self.files.len(), source, info });
    }

    /// Puts previews to their files: where they are named, else to the file before them.
    fn pair(&mut self) {
        let mut previews = std::mem::take(&mut self.previews);
        for (file, wanted) in &mut self.files {
            if let Some(at) = previews.iter().position(|preview| Some(preview.index) == *wanted) {
                let Preview { source, info, .. } = previews.remove(at);
                // Of what is covered there is none: not everybody covers it.
                match file.cover {
                    Some(_) => self.losses.push(Loss::Thumbnail),
                    None => file.thumbnail = Some((source, info)),
                }
            }
        }
        for Preview { before, source, info, .. } in previews {
            match before.checked_sub(1).and_then(|at| self.files.get_mut(at)) {
                Some((file, _)) if file.thumbnail.is_none() && file.cover.is_none() => {
                    file.thumbnail = Some((source, info));
                }
                _ => self.losses.push(Loss::Thumbnail),
            }
        }
    }

    fn finish(mut self, subject: Option<&str>) -> Option<Media<PartSource>> {
        if self.files.is_empty() {
            return None;
        }
        self.pair();
        let said = if self.texts.is_empty() { self.instead } else { self.texts };
        let describes = self.files.first().is_some_and(|(file, _)| !file.description.is_empty());
        let subject = subject.filter(|_| !describes).map(|subject| NestedPart::text(TEXT_PLAIN, subject));
        Some(Media {
            files: self.files.into_iter().map(|(file, _)| file).collect(),
            caption: caption::all(said).or(subject),
            rest: self.rest,
            losses: tidy(self.losses),
        })
    }
}

/// Texts that stand for one another.
fn one_of(mut texts: Vec<NestedPart>) -> Option<NestedPart> {
    if texts.len() > 1 {
        return Some(NestedPart::render(Body::Multi { semantics: PartSemantics::ChooseOne, parts: texts }));
    }
    texts.pop()
}
