//! Messages with files once it is known what became of each file: some are where they should be, others will never be.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{
    super::{
        CONTENT_KEY, Loss, MatrixMessage, NotCarried, Refers, ToMatrix, ToMimi, Translated, display, events,
        relation::Relations, tidy,
    },
    FileSource, Media, MediaFile, MediaKind, caption, emoticon, from_event, from_message, is_media, to_events,
    to_message,
};
use crate::content::{ExternalPart, MimiContent};

/// What became of one file, or why it will never be there.
pub type Moved<T> = Result<T, String>;

/// A file that did not cross: what people know it by, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Its name, what it is, and how large.
    pub file: String,
    /// Why.
    pub why: String,
    /// What was said of it alone.
    pub said: String,
}

/// The content of an event that has files: the new one of an edit. `None`: it has none.
#[must_use]
pub fn with_files<'a>(event_type: &str, content: &'a Value) -> Option<&'a Value> {
    let relation = content.get("m.relates_to").and_then(|relation| relation.get("rel_type")).and_then(Value::as_str);
    let new = content.get("m.new_content").filter(|new| relation == Some("m.replace") && new.is_object());
    let counts = new.unwrap_or(content);
    let emoticons = || counts.as_object().is_some_and(|counts| emoticon::from_event(event_type, counts).is_some());
    (is_media(event_type, counts) || emoticons()).then_some(counts)
}

/// An event whose files went over, as a message. Files that did not make it are left out and named; `None` if nothing is left
/// to say.
pub fn files_to_mimi(
    event_type: &str,
    content: &Value,
    files: Vec<Moved<ExternalPart>>,
    ctx: &ToMimi<'_>,
) -> Result<(Option<Translated>, Vec<Missing>), NotCarried> {
    let outer = content.as_object().ok_or(NotCarried::Malformed("content"))?;
    let counts = with_files(event_type, content).ok_or_else(|| NotCarried::EventType(event_type.to_owned()))?;
    if let Some(emoticons) = counts.as_object().and_then(|counts| emoticon::from_event(event_type, counts)) {
        let translated = emoticon::to_message(event_type, content, &emoticons, files, ctx)?;
        return Ok((Some(translated), Vec::new()));
    }
    let mut losses = Vec::new();
    let relations = Relations::read(event_type, outer, ctx, &mut losses)?;
    let mut media = from_event(event_type, counts, ctx)?;
    let caption = media.caption.clone();
    media.losses.append(&mut losses);
    let (media, missing) = media.carried(files);
    let mut translated = if media.files.is_empty() {
        let Some(caption) = caption else { return Ok((None, missing)) };
        let mut content = MimiContent::new(ctx.salt, ctx.sender, ctx.room, caption);
        content.set_sender_timestamp(ctx.sent_ts);
        Translated { content, losses: tidy(media.losses) }
    } else {
        to_message(&media, ctx)?
    };
    translated.content.expires = events::expires(outer, ctx.sent_ts, &mut translated.losses);
    relations.put(&mut translated.content);
    translated.content.encode()?;
    Ok((Some(translated), missing))
}

/// A message whose files went over, as events: those that show the files, then a note
/// for each that did not make it, then what else is told.
#[must_use]
pub fn files_to_matrix(message: &MimiContent, files: Vec<Moved<FileSource>>, ctx: &ToMatrix<'_>) -> Vec<MatrixMessage> {
    let Some(media) = from_message(message) else { return Vec::new() };
    if let Some(event) = emoticon::to_event(message, &files, ctx) {
        return vec![event];
    }
    let (mut caption, rest) = (media.caption.clone(), caption::all(media.rest.clone()));
    let (media, missing) = media.carried(files);
    let mut all = to_events(&media, message, ctx);
    let nothing = all.is_empty();
    if nothing {
        for Missing { said, .. } in &missing {
            caption = caption::with(caption.as_ref(), said);
        }
        all.extend(caption.map(|caption| caption::show(message, caption, true, ctx)));
    }
    let beside = || Refers { topic: message.topic_id.clone(), ..Refers::default() };
    for Missing { file, why, said } in missing {
        let mut refers = beside();
        if all.is_empty() {
            (refers.reply, refers.replaces) = (message.in_reply_to, message.replaces);
        }
        let mut text = format!("[{file} could not be fetched: {why}]");
        if !nothing && !said.is_empty() {
            text.extend(["\n\n", &display::shown(&said)]);
        }
        all.push(note(&text, refers, ctx));
    }
    // What is no file is told after them.
    if let Some(rest) = rest {
        let alone = MimiContent { in_reply_to: None, replaces: None, ..message.clone() };
        all.push(MatrixMessage { refers: beside(), ..caption::show(&alone, rest, false, ctx) });
    }
    all
}

/// What comes of a message with files, if all of them do.
#[derive(Debug, Default)]
pub struct Foreseen {
    /// What does not cross.
    pub losses: Vec<Loss>,
    /// Whom it mentions, by their Matrix ids.
    pub users: BTreeSet<String>,
    /// It calls everybody's attention.
    pub everybody: bool,
}

/// Looks ahead at a message with files; `None` if it has none.
#[must_use]
pub fn foresee(message: &MimiContent, ctx: &ToMatrix<'_>) -> Option<Foreseen> {
    let media = from_message(message)?;
    let there = || Ok(FileSource::Plain(String::new().into()));
    let files = media.sources().map(|_| there()).collect();
    let mut found = Foreseen::default();
    for MatrixMessage { content, losses, .. } in files_to_matrix(message, files, ctx) {
        found.losses.extend(losses);
        let mentions = content.get("m.mentions");
        let users = mentions.and_then(|mentions| mentions.get("user_ids")?.as_array()).into_iter().flatten();
        found.users.extend(users.filter_map(|user| user.as_str().map(str::to_owned)));
        found.everybody |= mentions.and_then(|mentions| mentions.get("room")?.as_bool()).unwrap_or(false);
    }
    found.losses = tidy(found.losses);
    Some(found)
}

impl Foreseen {
    /// Says in the event that stands for the message without its files whom it mentions with them.
    pub fn mention(&self, content: &mut Value) {
        let Some(mentions) = content.get_mut("m.mentions").and_then(Value::as_object_mut) else { return };
        if !self.users.is_empty() {
            mentions.insert("user_ids".to_owned(), json!(self.users));
        }
        if self.everybody {
            mentions.insert("room".to_owned(), json!(true));
        }
    }
}

/// What stands in the place of files that take their time.
#[must_use]
pub fn on_their_way(message: &MimiContent, ctx: &ToMatrix<'_>) -> MatrixMessage {
    let named: Vec<String> = from_message(message).iter().flat_map(|media| &media.files).map(named).collect();
    let verb = if named.len() == 1 { "is" } else { "are" };
    let refers = Refers {
        topic: message.topic_id.clone(),
        reply: message.in_reply_to,
        replaces: message.replaces,
        ..Refers::default()
    };
    note(&format!("[{} {verb} still on the way]", named.join(", ")), refers, ctx)
}

fn note(text: &str, refers: Refers, ctx: &ToMatrix<'_>) -> MatrixMessage {
    let content = json!({
        "msgtype": "m.notice",
        "body": text,
        "m.mentions": {},
        CONTENT_KEY: { "id": ctx.message_id.to_string(), "room": ctx.room.as_str(), "sender": ctx.sender.as_str() },
    });
    MatrixMessage { event_type: "m.room.message".to_owned(), content, refers, losses: Vec::new() }
}

impl<S> Media<S> {
    /// The same with what became of its files, in the order of [`Media::sources`]: those that are there, and the others. Thumbnails
    /// that did not make it are left out.
    #[must_use]
    pub fn carried<T>(self, files: Vec<Moved<T>>) -> (Media<T>, Vec<Missing>) {
        let mut moved = files.into_iter();
        let nothing = || Err("nothing came of it".to_owned());
        let (mut kept, mut missing, mut losses) = (Vec::new(), Vec::new(), self.losses);
        for file in self.files {
            let named = named(&file);
            let MediaFile { kind, source: _, filename, description, info, thumbnail, voice, cover } = file;
            let source = moved.next().unwrap_or_else(nothing);
            let had = thumbnail.is_some();
            let thumbnail = thumbnail.and_then(|(_, info)| Some((moved.next()?.ok()?, info)));
            if had && thumbnail.is_none() {
                losses.push(Loss::Thumbnail);
            }
            match source {
                Ok(source) => {
                    kept.push(MediaFile { kind, source, filename, description, info, thumbnail, voice, cover });
                }
                Err(why) => missing.push(Missing { file: named, why, said: description }),
            }
        }
        (Media { files: kept, caption: self.caption, rest: self.rest, losses: tidy(losses) }, missing)
    }
}

/// What people know a file by: its name, what it is, and how large.
pub fn named<S>(file: &MediaFile<S>) -> String {
    let kind = match file.kind {
        MediaKind::Image => "picture",
        MediaKind::Video => "video",
        MediaKind::Audio if file.voice.is_some() => "voice message",
        MediaKind::Audio => "sound",
        MediaKind::File => "file",
        MediaKind::Sticker => "sticker",
        MediaKind::Emoticon => "custom emoji",
    };
    let about = file.info.size.map_or_else(|| kind.to_owned(), |size| format!("{kind}, {}", bytes(size)));
    if file.filename.is_empty() { about } else { format!("{} ({about})", file.filename) }
}

/// A size as people read it.
#[must_use]
pub fn bytes(size: u64) -> String {
    let (mut unit, mut scale) = ("bytes", 1);
    for (name, next) in [("kB", 1_000), ("MB", 1_000_000), ("GB", 1_000_000_000)] {
        if size >= next {
            (unit, scale) = (name, next);
        }
    }
    let (whole, tenth) = (size / scale, size % scale * 10 / scale);
    if scale > 1 && whole < 10 && tenth > 0 { format!("{whole}.{tenth} {unit}") } else { format!("{whole} {unit}") }
}

/// Marks the events of a message with when its hub accepted it.
pub fn accepted(event: &mut MatrixMessage, at: u64) {
    if let Some(origin) = event.content.get_mut(CONTENT_KEY).and_then(Value::as_object_mut) {
        origin.extend(Map::from_iter([("accepted".to_owned(), json!(at))]));
    }
}
