//! Media as Matrix says it: events to [`Media`] and back.

use ruma::OwnedMxcUri;
use serde_json::{Map, Value, json};

use super::{
    super::{
        CONTENT_KEY, Loss, MatrixMessage, NotCarried, Refers, ToMatrix, ToMimi, events, language, previews, relation,
        tidy,
        to_mimi::{self, rings_others},
    },
    FileSource, MAX_FILES, MAX_WAVEFORM, Media, MediaFile, MediaInfo, MediaKind, UNKNOWN_TYPE, caption, clean_blurhash,
    clean_name, cover, emoticon,
};
use crate::{
    content::{MimiContent, NestedPart, TEXT_PLAIN},
    media::EncryptedFile,
};

const GALLERIES: [&str; 2] = ["m.gallery", "dm.filament.gallery"];
const BLURHASHES: [&str; 2] = ["xyz.amorgan.blurhash", "blurhash"];
const VOICE: [&str; 2] = ["org.matrix.msc3245.voice", "org.matrix.msc3245.voice.v2"];
const AUDIO: &str = "org.matrix.msc1767.audio";
/// A file shows it itself (MSC4230).
const ANIMATED: [&str; 2] = ["org.matrix.msc4230.is_animated", "is_animated"];

/// Whether an event is one of files: `content` is that of its edit, if it is one.
#[must_use]
pub fn is_media(event_type: &str, content: &Value) -> bool {
    let msgtype = content.get("msgtype").and_then(Value::as_str).unwrap_or_default();
    match event_type {
        "m.sticker" => true,
        "m.room.message" => MediaKind::from_msgtype(msgtype).is_some() || GALLERIES.contains(&msgtype),
        _ => false,
    }
}

/// Reads an event of files; see [`is_media`].
pub fn from_event(event_type: &str, content: &Value, ctx: &ToMimi<'_>) -> Result<Media<FileSource>, NotCarried> {
    let outer = content.as_object().ok_or(NotCarried::Malformed("content"))?;
    if outer.contains_key(CONTENT_KEY) {
        return Err(NotCarried::Mirror);
    }
    if let Some(files) = emoticon::from_event(event_type, outer) {
        return Ok(Media { files, caption: None, rest: Vec::new(), losses: Vec::new() });
    }
    let mut losses = Vec::new();
    let msgtype = text(outer, "msgtype").unwrap_or_default();
    let (files, said) = if event_type == "m.sticker" {
        // What a sticker shows, its body says.
        (vec![file(MediaKind::Sticker, outer, &mut losses)?], text(outer, "body"))
    } else if GALLERIES.contains(&msgtype) {
        let items = outer.get("itemtypes").and_then(Value::as_array).ok_or(NotCarried::Malformed("itemtypes"))?;
        if items.is_empty() || items.len() > MAX_FILES {
            return Err(NotCarried::Malformed("itemtypes"));
        }
        let item = |item: &Value| -> Result<_, NotCarried> {
            let item = item.as_object().ok_or(NotCarried::Malformed("itemtypes"))?;
            let kind =
                text(item, "itemtype").and_then(MediaKind::from_msgtype).ok_or(NotCarried::Malformed("itemtype"))?;
            let mut file = file(kind, item, &mut losses)?;
            // Each has a caption of its own, as if it were sent alone. The description of a file is plain text.
            if let Some(said) = own_caption(item) {
                losses.extend(item.contains_key("formatted_body").then_some(Loss::Formatting));
                said.clone_into(&mut file.description);
            }
            losses.extend(rings_others(item.get("m.mentions"), None, ctx).then_some(Loss::Mention));
            Ok(file)
        };
        (items.iter().map(item).collect::<Result<_, _>>()?, text(outer, "body"))
    } else {
        let kind = MediaKind::from_msgtype(msgtype).ok_or_else(|| NotCarried::MsgType(msgtype.to_owned()))?;
        (vec![file(kind, outer, &mut losses)?], own_caption(outer))
    };
    losses.extend(events::brings_profile(outer).then_some(Loss::Profile));
    losses.extend(events::has_fields(outer).then_some(Loss::Fields));
    losses.extend(previews::has_some(outer).then_some(Loss::Preview));
    let caption = said.filter(|said| !said.trim().is_empty()).map(|said| {
        let mut message = Map::from_iter([("msgtype".to_owned(), json!("m.text")), ("body".to_owned(), json!(said))]);
        for key in ["format", "formatted_body", "m.mentions"] {
            message.extend(outer.get(key).map(|value| (key.to_owned(), value.clone())));
        }
        // Whom an answer rings, and what it quotes.
        message.extend(answer_of(outer).map(|relation| ("m.relates_to".to_owned(), relation)));
        to_mimi::to_mimi("m.room.message", &Value::Object(message), ctx)
    });
    let caption = match caption.transpose()? {
        None => {
            let answered = relation::answered(outer, ctx);
            losses.extend(rings_others(outer.get("m.mentions"), answered.as_ref(), ctx).then_some(Loss::Mention));
            None
        }
        Some(translated) => {
            losses.extend(translated.losses);
            Some(translated.content.body)
        }
    };
    Ok(Media { files, caption, rest: Vec::new(), losses: tidy(losses) })
}

/// What is said with a file: without `filename`, `body` is the name; with it, and another text, the caption.
fn own_caption(map: &Map<String, Value>) -> Option<&str> {
    let body = text(map, "body").filter(|body| !body.trim().is_empty());
    body.filter(|body| text(map, "filename").is_some_and(|name| name != *body))
}

/// The relation of an event as far as its text has to do with it.
fn answer_of(outer: &Map<String, Value>) -> Option<Value> {
    let mut relation = outer.get("m.relates_to")?.as_object()?.clone();
    relation.retain(|key, _| matches!(key.as_str(), "m.in_reply_to" | "is_falling_back"));
    (!relation.is_empty()).then_some(Value::Object(relation))
}

fn text<'a>(map: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    map.get(key).and_then(Value::as_str)
}

/// A number that is not negative; clients write durations with fractions.
fn number(map: &Map<String, Value>, key: &str) -> Option<u64> {
    let value = map.get(key)?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was looked at")]
    let whole = |float: f64| (0.0..9e15).contains(&float).then_some(float as u64);
    value.as_u64().or_else(|| value.as_f64().and_then(whole))
}

fn file(
    kind: MediaKind,
    map: &Map<String, Value>,
    losses: &mut Vec<Loss>,
) -> Result<MediaFile<FileSource>, NotCarried> {
    let source = source(map, "url", "file")?.ok_or(NotCarried::Malformed("url"))?;
    let empty = Map::new();
    let about = map.get("info").and_then(Value::as_object).unwrap_or(&empty);
    let audio = map.get(AUDIO).and_then(Value::as_object);
    let mut info = info(about, losses);
    info.duration = info.duration.or_else(|| audio.and_then(|audio| number(audio, "duration")));
    let cover = cover::of_event(map).or_else(|| cover::of_event(about));
    // A thumbnail that cannot be read is no reason to withhold the file. Of what is covered there is none: not everybody covers it.
    let thumbnail = source_or_loss(about, losses).filter(|_| cover.is_none()).map(|source| {
        let about = about.get("thumbnail_info").and_then(Value::as_object).unwrap_or(&empty);
        (source, self::info(about, losses))
    });
    let voice = (kind == MediaKind::Audio && VOICE.iter().any(|key| map.contains_key(*key))).then(|| {
        let points = audio.and_then(|audio| audio.get("waveform")).and_then(Value::as_array);
        let point = |value: &Value| value.as_u64().map(|point| u16::try_from(point.min(1024)).unwrap_or(1024));
        points.into_iter().flatten().take(MAX_WAVEFORM).filter_map(point).collect()
    });
    let name = text(map, "filename").or_else(|| text(map, "body").filter(|_| kind != MediaKind::Sticker));
    let filename = clean_name(name.unwrap_or_default());
    if cover.is_some() {
        losses.push(Loss::Cover);
    }
    if voice.is_some() {
        losses.push(Loss::Voice);
    }
    if kind == MediaKind::Sticker {
        losses.push(Loss::Sticker);
    }
    Ok(MediaFile { kind, source, filename, description: String::new(), info, thumbnail, voice, cover })
}

fn source(map: &Map<String, Value>, url: &str, file: &'static str) -> Result<Option<FileSource>, NotCarried> {
    if let Some(file) = map.get(file).filter(|value| !value.is_null()) {
        let file = EncryptedFile::parse(file).map_err(|_| NotCarried::Malformed("file"))?;
        return Ok(Some(FileSource::Encrypted(Box::new(file))));
    }
    let Some(url) = text(map, url) else { return Ok(None) };
    let url = OwnedMxcUri::from(url);
    if url.is_valid() { Ok(Some(FileSource::Plain(url))) } else { Err(NotCarried::Malformed("url")) }
}

fn source_or_loss(about: &Map<String, Value>, losses: &mut Vec<Loss>) -> Option<FileSource> {
    source(about, "thumbnail_url", "thumbnail_file").unwrap_or_else(|_| {
        losses.push(Loss::Thumbnail);
        None
    })
}

fn info(map: &Map<String, Value>, losses: &mut Vec<Loss>) -> MediaInfo {
    let known = |key: &str| {
        let plain = ["mimetype", "size", "w", "h", "duration", "thumbnail_url", "thumbnail_file", "thumbnail_info"];
        plain.contains(&key) || BLURHASHES.contains(&key) || ANIMATED.contains(&key) || cover::is_key(key)
    };
    if map.keys().any(|key| !known(key)) {
        losses.push(Loss::FileDetails);
    }
    let blurhash = BLURHASHES.iter().find_map(|key| text(map, key)).and_then(clean_blurhash);
    MediaInfo {
        size: number(map, "size"),
        width: number(map, "w"),
        height: number(map, "h"),
        duration: number(map, "duration"),
        blurhash,
        ..MediaInfo::of_type(text(map, "mimetype").unwrap_or(UNKNOWN_TYPE))
    }
}

// ---------------------------------------------------------------------------------------------------------- to Matrix

/// The events of a message with files, one for each file; its caption goes with the first. `message` is what it came in.
#[must_use]
pub fn to_events(media: &Media<FileSource>, message: &MimiContent, ctx: &ToMatrix<'_>) -> Vec<MatrixMessage> {
    let mut losses = media.losses.clone();
    if media.files.len() > 1 {
        losses.push(Loss::Together);
    }
    let mut all = Vec::with_capacity(media.files.len());
    for file in &media.files {
        let caption = media.caption.as_ref().filter(|_| all.is_empty());
        let mut said = caption::with(caption, &file.description);
        // The file that it was to stand above may not have made it.
        if let (None, true, Some(subject)) = (&said, all.is_empty(), message.subject()) {
            said = Some(NestedPart::text(TEXT_PLAIN, subject));
        }
        let mut language = file.info.language.clone();
        let said =
            said.map(|said| caption_of(caption::show(message, said, all.is_empty(), ctx), &mut language, &mut losses));
        let mut content = Map::new();
        let mut event_type = "m.room.message";
        let name = if file.filename.is_empty() { default_name(file) } else { file.filename.clone() };
        let mut said = said.unwrap_or_default();
        content.insert("body".to_owned(), json!(name));
        content.insert("m.mentions".to_owned(), json!({}));
        if file.kind == MediaKind::Sticker && media.files.len() == 1 {
            event_type = "m.sticker";
            said.retain(|key, _| key == "body");
        } else {
            let kind = if file.kind == MediaKind::Sticker { MediaKind::Image } else { file.kind };
            content.insert("msgtype".to_owned(), json!(kind.msgtype()));
            content.insert("filename".to_owned(), json!(name));
        }
        content.extend(said);
        write_source(&file.source, "url", "file", &mut content);
        let mut info = write_info(&file.info);
        if let Some((source, about)) = &file.thumbnail {
            write_source(source, "thumbnail_url", "thumbnail_file", &mut info);
            info.insert("thumbnail_info".to_owned(), Value::Object(write_info(about)));
        }
        content.insert("info".to_owned(), Value::Object(info));
        if let Some(reason) = &file.cover {
            cover::write(reason, &mut content);
        }
        if let Some(waveform) = &file.voice {
            content.insert(VOICE[0].to_owned(), json!({}));
            let mut audio = json!({ "waveform": waveform });
            // Zero would be shown as its length.
            if let (Some(duration), Some(audio)) = (file.info.duration, audio.as_object_mut()) {
                audio.insert("duration".to_owned(), json!(duration));
            }
            content.insert(AUDIO.to_owned(), audio);
        }
        let origin =
            json!({ "id": ctx.message_id.to_string(), "room": ctx.room.as_str(), "sender": ctx.sender.as_str() });
        content.insert(CONTENT_KEY.to_owned(), origin);
        language::mark(&mut content, &language);
        let mut content = Value::Object(content);
        events::mark(&mut content, message);
        // What was lost was lost once.
        let losses = tidy(std::mem::take(&mut losses));
        // The first one answers or replaces; all are in the thread.
        let mut refers = Refers { topic: message.topic_id.clone(), ..Refers::default() };
        if all.is_empty() {
            (refers.reply, refers.replaces) = (message.in_reply_to, message.replaces);
        }
        all.push(MatrixMessage { event_type: event_type.to_owned(), content, refers, losses });
    }
    all
}

/// The fields of an event that hold a text; its language, unless that of the file is known.
fn caption_of(shown: MatrixMessage, language: &mut String, losses: &mut Vec<Loss>) -> Map<String, Value> {
    losses.extend(shown.losses);
    if language.is_empty() {
        language::marked(&shown.content).clone_into(language);
    }
    let Value::Object(mut shown) = shown.content else { return Map::new() };
    shown.retain(|key, _| ["body", "format", "formatted_body", "m.mentions", previews::KEY].contains(&key.as_str()));
    shown
}

/// A name for a file without one: clients show nothing else of it.
fn default_name(file: &MediaFile<FileSource>) -> String {
    let name = match file.kind {
        MediaKind::Image | MediaKind::Emoticon => "image",
        MediaKind::Video => "video",
        MediaKind::Audio if file.voice.is_some() => "voice message",
        MediaKind::Audio => "audio",
        MediaKind::File => "file",
        MediaKind::Sticker => "sticker",
    };
    name.to_owned()
}

fn write_source(source: &FileSource, url: &str, file: &str, map: &mut Map<String, Value>) {
    match source {
        FileSource::Plain(mxc) => map.insert(url.to_owned(), json!(mxc.as_str())),
        FileSource::Encrypted(encrypted) => map.insert(file.to_owned(), encrypted.to_json()),
    };
}

fn write_info(info: &MediaInfo) -> Map<String, Value> {
    let numbers = [("size", info.size), ("w", info.width), ("h", info.height), ("duration", info.duration)];
    let mut map: Map<String, Value> =
        numbers.into_iter().filter_map(|(key, value)| Some((key.to_owned(), json!(value?)))).collect();
    map.insert("mimetype".to_owned(), json!(info.media_type));
    if let Some(blurhash) = &info.blurhash {
        map.insert(BLURHASHES[0].to_owned(), json!(blurhash));
    }
    map
}
