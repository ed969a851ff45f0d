//! Media as MIMI says it: [`Media`] to content.

use super::{
    super::{NotCarried, ToMimi, Translated, essence, tidy},
    MEDIA_EXTENSION, Media, MediaFile, MediaInfo, MediaKind, cover,
};
use crate::content::{
    AvMetadata, AvType, Body, CborValue, Disposition, ExtensionKey, ExternalPart, MimiContent, NestedPart,
    PartSemantics,
};

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
