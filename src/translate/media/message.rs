//! Media as MIMI says it: [`Media`] to content and back.

use super::{
    super::{Loss, NotCarried, ToMimi, Translated, essence, tidy},
    MAX_FILES, MAX_WAVEFORM, MEDIA_EXTENSION, Media, MediaFile, MediaInfo, MediaKind, UNKNOWN_TYPE, clean_blurhash,
    clean_name, cover, emoticon,
};
use crate::content::{
    AvMetadata, AvType, Body, CborValue, Disposition, ExtensionKey, ExternalPart, MimiContent, NestedPart,
    PartSemantics, TEXT_PLAIN,
};

/// What an external part has as its type if nobody knows: it may be anything.
fn is_unknown(media_type: &str) -> bool {
    media_type.is_empty() || media_type == UNKNOWN_TYPE
}

// ------------------------------------------------------------------------------------------------------------ to MIMI

/// The message with these files: their parts say already where they are and how they open.
///
/// One file alone is one external part. With a thumbnail, a caption with markup, or more files it is a `processAll`: the caption,
/// then each file and, right behind it, its preview.
pub fn to_message(media: &Media<ExternalPart>, ctx: &ToMimi<'_>) -> Result<Translated, NotCarried> {
    let mut caption = media.caption.clone();
    let alone = media.files.len() == 1;
    // What a file says of itself alone is not mixed with what is said with all of them.
    let free = alone && media.files.iter().all(|file| file.description.is_empty());
    let description = caption.take_if(|caption| free && plain(caption).is_some());
    let description = description.as_ref().and_then(plain).unwrap_or_default().to_owned();
    let mut parts: Vec<NestedPart> = caption.into_iter().collect();
    let several = !parts.is_empty() || media.sources().count() > 1;
    let mut index = parts.iter().map(|part| part.walk().count()).sum::<usize>() + usize::from(several);
    let (mut about, mut hints) = (Vec::new(), Vec::new());
    for file in &media.files {
        let number = u16::try_from(index).map_err(|_| NotCarried::Malformed("itemtypes"))?;
        let external = ExternalPart {
            content_type: file.info.media_type.clone(),
            description: {
                let said = if free { &description } else { &file.description };
                file.cover.as_ref().map_or_else(|| said.clone(), |reason| cover::description(reason, said))
            },
            filename: file.filename.clone(),
            ..file.source.clone()
        };
        let disposition = match file.kind {
            // What is covered shows itself to nobody who did not ask for it.
            _ if file.cover.is_some() => Disposition::Attachment,
            MediaKind::File => Disposition::Attachment,
            MediaKind::Sticker | MediaKind::Emoticon => Disposition::Inline,
            MediaKind::Image | MediaKind::Video | MediaKind::Audio => Disposition::Render,
        };
        parts.push(part(disposition, external));
        hints.extend(hint(number, &file.info, Some(file)));
        let mut metadata = metadata(number, file.kind.av_type(), &file.info);
        if let Some((source, info)) = &file.thumbnail {
            let external = ExternalPart { content_type: info.media_type.clone(), ..source.clone() };
            parts.push(part(Disposition::Preview, external));
            hints.extend(hint::<ExternalPart>(number + 1, info, None));
            if let Some(metadata) = &mut metadata {
                metadata.preview_index = Some(number + 1);
            }
            about.extend(metadata);
            about.extend(self::metadata(number + 1, Some(AvType::Image), info));
            index += 1;
        } else {
            about.extend(metadata);
        }
        index += 1;
    }
    let body = match parts.pop() {
        Some(only) if !several => only,
        last => {
            parts.extend(last);
            NestedPart::render(Body::Multi { semantics: PartSemantics::ProcessAll, parts })
        }
    };
    let mut content = MimiContent::new(ctx.salt, ctx.sender, ctx.room, body);
    content.set_sender_timestamp(ctx.sent_ts);
    content.set_av_metadata(&about);
    if !hints.is_empty() {
        content.extensions.insert(ExtensionKey::text(MEDIA_EXTENSION), CborValue::Array(hints));
    }
    content.encode()?;
    Ok(Translated { content, losses: tidy(media.losses.clone()) })
}

fn part(disposition: Disposition, external: ExternalPart) -> NestedPart {
    NestedPart { disposition, language: String::new(), body: Body::External(Box::new(external)) }
}

/// The text of a part without markup.
fn plain(part: &NestedPart) -> Option<&str> {
    match &part.body {
        Body::Single { content_type, content } if essence(content_type) == "text/plain" => {
            std::str::from_utf8(content).ok()
        }
        _ => None,
    }
}

/// What MIMI has fields for; nothing if there is nothing to say.
fn metadata(part_index: u16, kind: Option<AvType>, info: &MediaInfo) -> Option<AvMetadata> {
    let kind =
        kind.or((info.width.is_some() || info.height.is_some() || info.duration.is_some()).then_some(AvType::Video))?;
    Some(AvMetadata {
        width: info.width,
        height: info.height,
        duration: info.duration,
        ..AvMetadata::new(part_index, kind)
    })
}

/// What MIMI has no fields for: `{1: part, 2: sticker, 3: blurhash, 4: waveform, 5: why it is covered, 6: covered, to be downloaded}`.
fn hint<S>(part: u16, info: &MediaInfo, file: Option<&MediaFile<S>>) -> Option<CborValue> {
    let sticker = file.is_some_and(|file| file.kind == MediaKind::Sticker);
    let voice = file.and_then(|file| file.voice.as_deref());
    let cover = file.and_then(|file| file.cover.as_deref());
    let download = cover.is_some() && file.is_some_and(|file| file.kind == MediaKind::File);
    let mut entries = vec![(1, CborValue::from(u64::from(part)))];
    entries.extend(sticker.then_some((2, CborValue::Bool(true))));
    entries.extend(info.blurhash.as_deref().map(|hash| (3, CborValue::from(hash))));
    let points = |waveform: &[u16]| CborValue::Array(waveform.iter().map(|p| CborValue::from(u64::from(*p))).collect());
    entries.extend(voice.map(|waveform| (4, points(waveform))));
    entries.extend(cover.map(|reason| (5, CborValue::from(reason))));
    entries.extend(download.then_some((6, CborValue::Bool(true))));
    let map = |entries: Vec<(i128, CborValue)>| entries.into_iter().map(|(k, v)| (CborValue::Integer(k), v)).collect();
    (entries.len() > 1).then(|| CborValue::Map(map(entries)))
}

// ---------------------------------------------------------------------------------------------------------- from MIMI

/// The files of a message; `None` if it is something else, to be shown as text: no file in it, calls, profiles, reactions.
///
/// Of alternatives the first one with a file counts, as the richest that can be shown. Texts among them say the same to whoever
/// cannot show it: if nothing else is said with the file, that is said, so that its sender is not held to have meant the same.
#[must_use]
pub fn from_message(message: &MimiContent) -> Option<Media<ExternalPart>> {
    if let Some(emoticons) = emoticon::from_message(message) {
        return Some(emoticons);
    }
    let about = message.av_metadata();
    let mut found =
        Found { about: &about, hints: hints(message), media: Media { files: vec![], caption: None, losses: vec![] } };
    let mut index = 0;
    match &message.body.body {
        Body::Multi { semantics: PartSemantics::ProcessAll | PartSemantics::SingleUnit, parts } => {
            for part in parts {
                index += 1;
                found.take(u16::try_from(index).ok()?, part)?;
                index += part.walk().count() - 1;
            }
        }
        _ => found.take(0, &message.body)?,
    }
    let mut media = found.media;
    if media.files.is_empty() || media.files.len() > MAX_FILES {
        return None;
    }
    // With several files each has its own, and so has one beside a text that says something else.
    let described: Vec<&str> = media.files.iter().map(|file| file.description.as_str()).collect();
    let all = described.iter().filter(|said| !said.is_empty()).copied().collect::<Vec<_>>().join("\n");
    let known = media.caption.as_ref().is_some_and(|caption| texts(caption).any(|text| text.trim() == all));
    let becomes_caption = media.caption.is_none() && described.len() == 1 && !all.is_empty();
    if becomes_caption {
        media.caption = Some(NestedPart::text(TEXT_PLAIN, &all));
    }
    if known || becomes_caption {
        media.files.iter_mut().for_each(|file| file.description.clear());
    }
    media.losses = tidy(media.losses);
    Some(media)
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

/// Whether a part is something that is said.
fn is_shown(disposition: Disposition) -> bool {
    !matches!(disposition, Disposition::Reaction | Disposition::Profile | Disposition::Icon | Disposition::Session)
}

fn is_external(part: &NestedPart) -> bool {
    matches!(part.body, Body::External(_))
}

/// Whether it is one text, or alternatives of one.
fn is_text(part: &NestedPart) -> bool {
    part.walk().all(|part| match &part.body {
        Body::Single { content_type, .. } => essence(content_type).starts_with("text/"),
        Body::Multi { semantics, .. } => *semantics == PartSemantics::ChooseOne,
        Body::Null | Body::External(_) => false,
    })
}

/// Whether it is worth choosing: people see all of it.
fn can_be_shown(part: &NestedPart) -> bool {
    match &part.body {
        Body::Null => false,
        Body::External(_) => true,
        Body::Single { content_type, .. } => {
            matches!(essence(content_type).as_str(), "text/plain" | "text/markdown" | "text/html")
        }
        Body::Multi { semantics: PartSemantics::ChooseOne, parts } => parts.iter().any(can_be_shown),
        Body::Multi { parts, .. } => parts.iter().all(can_be_shown),
    }
}

/// Whether its files are custom emoji, which are nothing without their text.
fn has_emoji(part: &NestedPart) -> bool {
    texts(part).any(|text| text.contains("data-mx-emoticon"))
}

/// The texts of a part.
fn texts(part: &NestedPart) -> impl Iterator<Item = &str> {
    part.walk().filter_map(|part| match &part.body {
        Body::Single { content, .. } => std::str::from_utf8(content).ok(),
        _ => None,
    })
}

struct Found<'a> {
    about: &'a [AvMetadata],
    hints: Vec<(u16, Hint)>,
    media: Media<ExternalPart>,
}

impl Found<'_> {
    /// Takes a part in; `None` if a message with it is none of files.
    fn take(&mut self, index: u16, part: &NestedPart) -> Option<()> {
        match (&part.body, part.disposition) {
            (_, disposition) if !is_shown(disposition) => None,
            (Body::External(external), disposition) => {
                let scheme = external.url.split(':').next().unwrap_or_default();
                if !["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
                    return None;
                }
                if disposition == Disposition::Preview {
                    self.preview(index, external)
                } else {
                    self.file(index, disposition, external);
                    (self.media.files.len() <= MAX_FILES).then_some(())
                }
            }
            (Body::Multi { semantics: PartSemantics::ChooseOne, parts }, _) if part.walk().any(is_external) => {
                self.choose(index, parts)
            }
            // One text beside the files is theirs.
            (Body::Single { .. } | Body::Multi { semantics: PartSemantics::ChooseOne, .. }, _) => {
                let fits = self.media.caption.is_none() && is_text(part);
                fits.then(|| self.media.caption = Some(part.clone()))
            }
            (Body::Null | Body::Multi { .. }, _) => None,
        }
    }

    /// Takes the first alternative with a file that can be shown, and if nothing is said with it, their text.
    fn choose(&mut self, index: u16, parts: &[NestedPart]) -> Option<()> {
        let mut number = index.checked_add(1)?;
        for part in parts {
            if part.walk().any(is_external) && can_be_shown(part) && !has_emoji(part) {
                let before = self.media.clone();
                if self.alternative(number, part).is_some() && self.media.files.len() > before.files.len() {
                    self.say_once(parts);
                    return Some(());
                }
                if self.media.files.len() > MAX_FILES {
                    return None;
                }
                self.media = before;
            }
            number = number.checked_add(u16::try_from(part.walk().count()).ok()?)?;
        }
        None
    }

    fn alternative(&mut self, index: u16, part: &NestedPart) -> Option<()> {
        let (Body::Multi { semantics: PartSemantics::ProcessAll | PartSemantics::SingleUnit, parts }, true) =
            (&part.body, is_shown(part.disposition))
        else {
            return self.take(index, part);
        };
        let mut number = index;
        for part in parts {
            number = number.checked_add(1)?;
            self.take(number, part)?;
            number = number.checked_add(u16::try_from(part.walk().count() - 1).ok()?)?;
        }
        Some(())
    }

    /// The texts among alternatives, if there is no other caption.
    fn say_once(&mut self, parts: &[NestedPart]) {
        let mut texts: Vec<NestedPart> = parts
            .iter()
            .filter(|part| is_text(part) && can_be_shown(part) && is_shown(part.disposition))
            .cloned()
            .collect();
        if self.media.caption.is_some() || texts.is_empty() {
            return;
        }
        let only = if texts.len() == 1 { texts.pop() } else { None };
        let all = || NestedPart::render(Body::Multi { semantics: PartSemantics::ChooseOne, parts: texts });
        self.media.caption = Some(only.unwrap_or_else(all));
    }

    fn info(&self, index: u16, external: &ExternalPart) -> (MediaInfo, Hint) {
        let about = self.about.iter().find(|about| about.part_index == index);
        let hint = self.hints.iter().find(|(part, _)| *part == index).map(|(_, hint)| hint.clone()).unwrap_or_default();
        let info = MediaInfo {
            size: (external.size > 0).then_some(external.size),
            width: about.and_then(|about| about.width),
            height: about.and_then(|about| about.height),
            duration: about.and_then(|about| about.duration),
            blurhash: hint.blurhash.clone(),
            ..MediaInfo::of_type(&external.content_type)
        };
        (info, hint)
    }

    fn file(&mut self, index: u16, disposition: Disposition, external: &ExternalPart) {
        let (info, hint) = self.info(index, external);
        let about = self.about.iter().find(|about| about.part_index == index).map(|about| about.media);
        let kind = match info.media_type.split('/').next() {
            _ if disposition == Disposition::Attachment && (hint.cover.is_none() || hint.download) => MediaKind::File,
            // A drawing that may hold programs is for who wants to download it.
            _ if info.media_type == "image/svg+xml" => MediaKind::File,
            Some("image") if hint.sticker => MediaKind::Sticker,
            Some("image") => MediaKind::Image,
            Some("video") => MediaKind::Video,
            Some("audio") => MediaKind::Audio,
            _ if is_unknown(&info.media_type) => match about {
                Some(AvType::Image) if hint.sticker => MediaKind::Sticker,
                Some(AvType::Image) => MediaKind::Image,
                Some(AvType::Video) => MediaKind::Video,
                Some(AvType::Audio) => MediaKind::Audio,
                None => MediaKind::File,
            },
            _ => MediaKind::File,
        };
        let voice = hint.voice.filter(|_| kind == MediaKind::Audio);
        let filename = clean_name(&external.filename);
        let (mut source, cover) = (external.clone(), hint.cover);
        if let Some(reason) = &cover {
            cover::said(reason, &external.description).clone_into(&mut source.description);
        }
        let description = source.description.trim().to_owned();
        self.media.files.push(MediaFile { kind, source, filename, description, info, thumbnail: None, voice, cover });
    }

    /// A preview is that of the file before it. One without a file is none that could be shown.
    fn preview(&mut self, index: u16, external: &ExternalPart) -> Option<()> {
        let (info, _) = self.info(index, external);
        let file = self.media.files.last_mut()?;
        if file.thumbnail.is_some() {
            self.media.losses.push(Loss::Thumbnail);
        } else {
            file.thumbnail = Some((external.clone(), info));
        }
        Some(())
    }
}
