//! Generated events with files, and what becomes of the files on their way: they really are sealed, opened and encrypted anew, so
//! that one that came to the wrong place, or with another's key, is seen.

use proptest::prelude::*;
use ruma::OwnedMxcUri;
use serde_json::{Map, Value, json};

use super::super::{
    markdown::tests::{generated::like_element, meaning::assert_same, to_plain},
    media::{self, FileSource, Media, MediaKind, PartSource},
    *,
};
use crate::{
    content::{ExternalPart, HashAlgorithm},
    media::{
        CtrStream, EncryptedFile, FileKey, FromMatrix, Hasher, Pipe, SealKey, ToMatrix as Open, ToMimi as Seal,
        Unverified,
    },
};

/// What a file holds: nobody but its id says so.
pub(super) fn bytes_of(id: &str) -> Vec<u8> {
    format!("what is in {id}").repeat(1 + id.len() % 4).into_bytes()
}

/// Bytes that depend on the id alone.
fn key_of<const N: usize>(id: &str) -> [u8; N] {
    let mut hasher = Hasher::new(HashAlgorithm::Sha256);
    hasher.update(id.as_bytes());
    hasher.finish()[..N].try_into().unwrap()
}

/// What an address ends in.
fn id_of(url: &str) -> &str {
    url.rsplit('/').next().unwrap()
}

/// A file as it is at a homeserver: where, and the bytes that are there.
fn at_homeserver(server: &str, id: &str, encrypted: bool) -> (FileSource, Vec<u8>) {
    let (url, mut bytes) = (OwnedMxcUri::from(format!("mxc://{server}/{id}")), bytes_of(id));
    if !encrypted {
        return (FileSource::Plain(url), bytes);
    }
    let key = FileKey::from_random(key_of(&format!("{server} {id}")), key_of(id));
    CtrStream::new(&key).apply(&mut bytes).unwrap();
    let mut hasher = Hasher::new(HashAlgorithm::Sha256);
    hasher.update(&bytes);
    let sha256 = hasher.finish().try_into().unwrap();
    (FileSource::Encrypted(Box::new(EncryptedFile { url, key, sha256 })), bytes)
}

/// The asset of a file: its part, and the bytes that are at its address.
fn asset(source: FromMatrix<'_>, id: &str, stored: &[u8]) -> (ExternalPart, Vec<u8>) {
    let mut pipe = Seal::new(source, SealKey::from_random(key_of(id), key_of(id))).unwrap();
    let mut out = Unverified::new();
    pipe.feed(stored, &mut out).unwrap();
    let mut part = ExternalPart { url: format!("https://assets.a.example/{id}"), ..ExternalPart::default() };
    pipe.finish(&mut out).unwrap().describe(&mut part);
    (part, out.spool().clone())
}

/// Takes the files of an event to the asset server.
fn sealed(media: &Media<FileSource>) -> Vec<media::Moved<ExternalPart>> {
    let emoticons = media.files.iter().any(|file| file.kind == MediaKind::Emoticon);
    let seal = |source: &FileSource| {
        let (url, encrypted) = (source.url().as_str(), matches!(source, FileSource::Encrypted(_)));
        let server = url.strip_prefix("mxc://").unwrap().split('/').next().unwrap();
        let (_, stored) = at_homeserver(server, id_of(url), encrypted);
        let (part, _) = asset(source.for_pipe(), id_of(url), &stored);
        let content_type = if emoticons { "image/png".to_owned() } else { String::new() };
        Ok(ExternalPart { content_type, ..part })
    };
    media.sources().map(seal).collect()
}

/// And from there to the other homeserver.
fn opened(media: &Media<PartSource>, encrypt: bool) -> Vec<media::Moved<FileSource>> {
    let emoticons = media.files.iter().any(|file| file.kind == MediaKind::Emoticon);
    let open = |part: &PartSource| {
        let part = match part {
            PartSource::External(part) => part,
            // What is within the message says itself what it is.
            PartSource::Here(bytes) => {
                let text = std::str::from_utf8(bytes).ok();
                let id = text.and_then(|text| text.split("what is in ").nth(1)).unwrap_or("within");
                assert!(id == "within" || *bytes == bytes_of(id));
                return Ok(at_homeserver("b.example", id, encrypt && !emoticons).0);
            }
        };
        let id = id_of(&part.url);
        let sealed = || asset(FromMatrix::Plain, id, &bytes_of(id)).1;
        let bytes = if part.enc_alg == 0 { bytes_of(id) } else { sealed() };
        let (there, stored) = at_homeserver("b.example", id, encrypt && !emoticons);
        let key = match &there {
            FileSource::Encrypted(file) => Some(file.key.clone()),
            FileSource::Plain(_) => None,
        };
        let (mut pipe, mut out) = (Open::new(part, 0, key).unwrap(), Unverified::new());
        pipe.feed(&bytes, &mut out).unwrap();
        let done = pipe.finish(&mut out).unwrap();
        assert_eq!(*out.spool(), stored, "the bytes of {id}");
        let written = done.encrypted_file(there.url().clone()).map(|file| FileSource::Encrypted(Box::new(file)));
        assert!(written.is_none_or(|written| written == there));
        Ok(there)
    };
    media.sources().map(open).collect()
}

/// The message of an event that has files, and whose files all went over.
pub(super) fn to_message(event_type: &str, content: &Value, ctx: &ToMimi<'_>) -> Result<Translated, NotCarried> {
    let counts = media::with_files(event_type, content).unwrap();
    let parts = sealed(&media::from_event(event_type, counts, ctx)?);
    let (translated, missing) = media::files_to_mimi(event_type, content, parts, ctx)?;
    assert_eq!(missing, []);
    Ok(translated.unwrap())
}

/// The events of a message, whose files all went over.
pub(super) fn to_events(message: &MimiContent, encrypt: bool, ctx: &ToMatrix<'_>) -> Vec<MatrixMessage> {
    match media::from_message(message) {
        None => vec![to_matrix(message, ctx)],
        Some(media) => media::files_to_matrix(message, opened(&media, encrypt), ctx),
    }
}

// ---------------------------------------------------------------------------------------------------------- generated

/// A picture or sound, as its name and what is said of it: nothing, or anything that clients say.
fn info(types: &'static [&'static str]) -> BoxedStrategy<Map<String, Value>> {
    let number = || prop::option::of(prop_oneof![0..4000_u64, 0..(1_u64 << 53)]);
    let duration = prop::option::of(prop_oneof![
        (0..10_000_000_u64).prop_map(Value::from),
        (0..1000_u32).prop_map(|n| json!(f64::from(n) + 0.75)),
    ]);
    let blurhash = prop::option::of(("[-A-Za-z0-9#$%*+,.:;=?@^_{|}~]{6,28}", any::<bool>()));
    (prop::option::of(prop::sample::select(types)), number(), number(), duration, blurhash, any::<bool>())
        .prop_map(|(mimetype, w, h, duration, blurhash, sized)| {
            let mut map = Map::new();
            let mut put = |key: &str, value: Option<Value>| map.extend(value.map(|value| (key.to_owned(), value)));
            put("mimetype", mimetype.map(Value::from));
            put("w", w.map(Value::from));
            put("h", h.map(Value::from));
            put("duration", duration);
            put("size", sized.then_some(Value::Null));
            let (hash, long) = blurhash.unzip();
            put(if long == Some(true) { "xyz.amorgan.blurhash" } else { "blurhash" }, hash.map(Value::from));
            map
        })
        .boxed()
}

/// The fields of a file: where it is, what is said of it, its preview, its name (as `body`, unless there is a caption).
fn file(kind: &'static str, types: &'static [&'static str]) -> BoxedStrategy<Map<String, Value>> {
    let place = || ("[a-zA-Z0-9_-]{6,12}", any::<bool>());
    let thumbnail = prop::option::of((place(), prop::option::of(info(&["image/jpeg", "image/PNG"]))));
    let name = ("(|\\.\\./|C:\\\\|a b/)[a-zäß🐌0-9][ a-z0-9äß.()'&<_-]{0,20}[a-z0-9]", any::<bool>());
    (place(), prop::option::of(info(types)), thumbnail, name)
        .prop_map(move |((id, encrypted), about, thumbnail, (name, named))| {
            let mut map = Map::new();
            let put =
                |map: &mut Map<String, Value>, plain: &str, sealed: &str, id: &str, encrypted| match at_homeserver(
                    "a.example",
                    id,
                    encrypted,
                )
                .0
                {
                    FileSource::Plain(url) => map.insert(plain.to_owned(), json!(url)),
                    FileSource::Encrypted(file) => map.insert(sealed.to_owned(), file.to_json()),
                };
            let sized = |mut info: Map<String, Value>, id: &str| {
                info.entry("size").and_modify(|size| *size = json!(bytes_of(id).len()));
                info
            };
            put(&mut map, "url", "file", &id, encrypted);
            let mut info = about.map(|about| sized(about, &id));
            if let Some(((id, encrypted), about)) = thumbnail {
                // Two files have two addresses.
                let id = format!("{id}-preview");
                let info = info.get_or_insert_default();
                put(info, "thumbnail_url", "thumbnail_file", &id, encrypted);
                info.extend(about.map(|about| ("thumbnail_info".to_owned(), Value::Object(sized(about, &id)))));
            }
            map.extend(info.map(|info| ("info".to_owned(), Value::Object(info))));
            map.insert("msgtype".to_owned(), json!(kind));
            map.insert("body".to_owned(), json!(name));
            map.extend(named.then(|| ("filename".to_owned(), json!(name))));
            map
        })
        .boxed()
}

const PICTURES: &[&str] = &["image/png", "image/jpeg", "IMAGE/GIF", "image/webp; q=1", "image/heic"];
const VIDEOS: &[&str] = &["video/mp4", "video/webm", "video/quicktime"];
const SOUNDS: &[&str] = &["audio/ogg", "audio/mpeg", "audio/ogg; codecs=opus", "Audio/WAV"];
const FILES: &[&str] = &["application/pdf", "text/html", "image/svg+xml", "image/png", "audio/ogg", "no type", "a/b"];

const SPOILER: [&str; 2] = ["page.codeberg.everypizza.msc4193.spoiler", "m.spoiler"];

/// Any file; some are covered, as clients say it beside the file or with its size.
fn any_file() -> BoxedStrategy<Map<String, Value>> {
    let kinds =
        prop_oneof![file("m.image", PICTURES), file("m.video", VIDEOS), file("m.audio", SOUNDS), file("m.file", FILES)];
    let reason = prop::option::of("[!-~äß🐌][ -~äß🐌]{0,30}[a-z0-9]");
    let cover = prop::option::weighted(0.25, (reason, 0..2_usize, any::<bool>()));
    (kinds, cover)
        .prop_map(|(mut file, cover)| {
            if let Some((reason, name, within)) = cover {
                let about = if within { file.get_mut("info").and_then(Value::as_object_mut) } else { None };
                let mut fields = vec![(SPOILER[name].to_owned(), json!(true))];
                fields.extend(reason.map(|reason| (format!("{}.reason", SPOILER[name]), json!(reason))));
                match about {
                    Some(about) => about.extend(fields),
                    None => file.extend(fields),
                }
            }
            file
        })
        .boxed()
}

/// Whether a file is covered, and why.
fn cover_of(event: &Value) -> Option<String> {
    let places = || [event, &event["info"]].into_iter().flat_map(|place| SPOILER.map(|key| (place, key)));
    let covered = places().any(|(place, key)| place[key] == true);
    let reason = || places().find_map(|(place, key)| place[format!("{key}.reason")].as_str().map(str::to_owned));
    covered.then(|| reason().unwrap_or_default())
}

/// A caption: as text, or formatted as well.
fn caption() -> BoxedStrategy<Option<Map<String, Value>>> {
    let said = ("[!-~äß🐌][ -~äß🐌]{0,30}[a-z0-9]", prop::option::of(0..100_000_u64)).prop_map(|(plain, seed)| {
        let html = seed.map(like_element).map(|html| (to_plain(&html), html));
        let html = html.filter(|(plain, _)| !plain.trim().is_empty());
        let (body, html) = html.map_or((plain, None), |(plain, html)| {
            (plain.replace(" (https://matrix.to/#/@a:b.example)", ""), Some(html))
        });
        let format = html.as_ref().map(|_| "org.matrix.custom.html");
        let fields = [("body", Some(body)), ("format", format.map(str::to_owned)), ("formatted_body", html)];
        fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), json!(value?)))).collect()
    });
    prop::option::of(said).boxed()
}

fn captioned() -> BoxedStrategy<Map<String, Value>> {
    (any_file(), caption())
        .prop_map(|(mut file, caption)| {
            if let Some(caption) = caption {
                let name = file["body"].clone();
                file.insert("filename".to_owned(), name);
                file.extend(caption);
            }
            file
        })
        .boxed()
}

fn voice() -> BoxedStrategy<Map<String, Value>> {
    let wave = prop::collection::vec(0..=1024_u16, 0..120);
    (file("m.audio", SOUNDS), wave, 0..10_000_000_u64, any::<bool>())
        .prop_map(|(mut file, waveform, duration, newer)| {
            let mark = if newer { "org.matrix.msc3245.voice.v2" } else { "org.matrix.msc3245.voice" };
            file.insert(mark.to_owned(), json!({}));
            file.insert("org.matrix.msc1767.audio".to_owned(), json!({"duration": duration, "waveform": waveform}));
            let info = file.entry("info").or_insert_with(|| json!({}));
            info.as_object_mut().unwrap().insert("duration".to_owned(), json!(duration));
            file
        })
        .boxed()
}

fn sticker() -> BoxedStrategy<(String, Map<String, Value>)> {
    (file("m.image", PICTURES), "[!-~äß🐌]{1,9}")
        .prop_map(|(mut file, body)| {
            file.remove("msgtype");
            file.remove("filename");
            file.insert("body".to_owned(), json!(body));
            ("m.sticker".to_owned(), file)
        })
        .boxed()
}

fn gallery() -> BoxedStrategy<Map<String, Value>> {
    let own = prop::option::of("[!-~äß🐌][ -~äß🐌]{0,30}[a-z0-9]");
    (prop::collection::vec((any_file(), own), 1..5), caption(), any::<bool>())
        .prop_map(|(files, caption, stable)| {
            let item = |(number, (mut file, own)): (usize, (Map<String, Value>, Option<String>))| {
                // What is said of it alone.
                if let Some(own) = own {
                    let name = file.insert("body".to_owned(), json!(own)).unwrap();
                    file.insert("filename".to_owned(), name);
                }
                let kind = file.remove("msgtype").unwrap();
                file.insert("itemtype".to_owned(), kind);
                // Two files have two addresses.
                let text =
                    Value::Object(file).to_string().replace("mxc://a.example/", &format!("mxc://a.example/{number}"));
                resealed(serde_json::from_str(&text).unwrap())
            };
            let items: Vec<Value> = files.into_iter().enumerate().map(item).collect();
            let msgtype = if stable { "m.gallery" } else { "dm.filament.gallery" };
            let mut gallery = Map::from_iter([("itemtypes".to_owned(), json!(items)), ("body".to_owned(), json!(""))]);
            gallery.extend(caption.into_iter().flatten());
            gallery.insert("msgtype".to_owned(), json!(msgtype));
            gallery
        })
        .boxed()
}

/// The same fields after the addresses changed: how long a file is and how it opens depends on its address.
fn resealed(mut fields: Map<String, Value>) -> Value {
    let of = |map: &mut Map<String, Value>, plain: &str, sealed: &str| {
        let url = map.get(plain).or_else(|| map.get(sealed)?.get("url")).and_then(Value::as_str).map(str::to_owned)?;
        if let FileSource::Encrypted(file) = at_homeserver("a.example", id_of(&url), map.contains_key(sealed)).0 {
            map.insert(sealed.to_owned(), file.to_json());
        }
        Some(bytes_of(id_of(&url)).len())
    };
    let long = of(&mut fields, "url", "file").unwrap();
    if let Some(info) = fields.get_mut("info").and_then(Value::as_object_mut) {
        info.entry("size").and_modify(|size| *size = json!(long));
        if let Some(long) = of(info, "thumbnail_url", "thumbnail_file")
            && let Some(info) = info.get_mut("thumbnail_info").and_then(Value::as_object_mut)
        {
            info.entry("size").and_modify(|size| *size = json!(long));
        }
    }
    Value::Object(fields)
}

/// A text with custom emoji.
fn emoji() -> BoxedStrategy<Map<String, Value>> {
    let piece = prop_oneof![
        "[ a-z0-9äß🐌]{0,9}[a-z]".prop_map(|word| (word, None)),
        ("[a-z0-9_]{1,9}", "[a-zA-Z0-9]{6,9}").prop_map(|(name, id)| (format!(":{name}:"), Some(id))),
    ];
    let some = ("[a-z0-9_]{1,9}", "[a-zA-Z0-9]{6,9}").prop_map(|(name, id)| (format!(":{name}:"), Some(id)));
    (prop::collection::vec((piece, any::<bool>()), 0..7), some).prop_map(|(mut pieces, last)| {
        pieces.push((last, false));
        let (mut plain, mut html) = (String::new(), String::new());
        for ((text, picture), bold) in pieces {
            let picture = picture.map(|id| {
                format!("<img data-mx-emoticon=\"\" src=\"mxc://a.example/{id}\" alt=\"{text}\" title=\"{text}\" height=\"32\">")
            });
            let shown = picture.unwrap_or_else(|| text.trim().to_owned());
            plain.extend([" ", text.trim()]);
            let marks = if bold { ["<strong>", "</strong>"] } else { ["", ""] };
            html.extend([" ", marks[0], &shown, marks[1]]);
        }
        let fields = [
            ("msgtype", "m.text"),
            ("body", plain.trim()),
            ("format", "org.matrix.custom.html"),
            ("formatted_body", html.trim()),
        ];
        fields.into_iter().map(|(key, value)| (key.to_owned(), json!(value))).collect()
    })
    .boxed()
}

/// Type and content of any event with files.
pub(super) fn with_files() -> BoxedStrategy<(String, Map<String, Value>)> {
    let message = prop_oneof![3 => captioned(), 1 => voice(), 1 => gallery(), 1 => emoji()];
    prop_oneof![5 => message.prop_map(|content| ("m.room.message".to_owned(), content)), 1 => sticker()].boxed()
}

// ---------------------------------------------------------------------------------------------------------- the same

/// Whether these events say what this one said.
pub(super) fn same(from: &Value, to: &[(&str, &Value)]) -> Result<(), TestCaseError> {
    if from["formatted_body"].as_str().is_some_and(|html| html.contains("data-mx-emoticon")) {
        let [(kind, to)] = to else { panic!("{to:?}") };
        let there = |html: &Value| html.as_str().unwrap().replace("mxc://a.example/", "mxc://b.example/");
        prop_assert_eq!(*kind, "m.room.message");
        prop_assert_eq!(&to["formatted_body"], &there(&from["formatted_body"]));
        prop_assert_eq!((&to["body"], &to["msgtype"]), (&from["body"], &from["msgtype"]));
        return Ok(());
    }
    if let Some(items) = from["itemtypes"].as_array() {
        prop_assert_eq!(items.len(), to.len());
        for (at, (item, (kind, to))) in items.iter().zip(to).enumerate() {
            let mut item = item.clone();
            item["msgtype"] = item["itemtype"].take();
            item["filename"] = item.get("filename").unwrap_or(&item["body"]).clone();
            let own = item["body"].as_str().filter(|own| item["filename"] != *own).map(str::to_owned);
            if at == 0 && !from["body"].as_str().unwrap().trim().is_empty() {
                for key in ["body", "formatted_body"] {
                    item[key] = from[key].clone();
                }
                // Its own stands below that of all.
                let said = from["body"].as_str().unwrap();
                let own = own.filter(|own| own != said.trim());
                if let Some(own) = own {
                    item["body"] = json!(format!("{}\n\n{own}", said.trim_end()));
                    if let Some(html) = from["formatted_body"].as_str() {
                        item["formatted_body"] = json!(format!("{html}<p>{}</p>", html::escape(&own)));
                    }
                }
            }
            same_file(&item, kind, to)?;
        }
        return Ok(());
    }
    let [(kind, to)] = to else { panic!("{to:?}") };
    same_file(from, kind, to)
}

fn same_file(from: &Value, kind: &str, to: &Value) -> Result<(), TestCaseError> {
    let sticker = from["msgtype"].is_null();
    prop_assert_eq!(kind, if sticker { "m.sticker" } else { "m.room.message" });
    prop_assert_eq!(&to["msgtype"], &from["msgtype"]);
    same_source(&from["url"], &from["file"], &to["url"], &to["file"])?;
    same_info(&from["info"], &to["info"], &from["url"], &from["file"])?;
    let cover = cover_of(from);
    prop_assert_eq!(cover_of(to), cover.clone());
    let (had, has) = (&from["info"], &to["info"]);
    if cover.is_some() {
        prop_assert_eq!(
            (has.get("thumbnail_url"), has.get("thumbnail_file"), has.get("thumbnail_info")),
            (None, None, None)
        );
    } else {
        same_thumbnail(had, has)?;
    }
    let voice = |content: &Value| {
        ["org.matrix.msc3245.voice", "org.matrix.msc3245.voice.v2"].iter().any(|key| content.get(key).is_some())
    };
    prop_assert_eq!(voice(to), voice(from));
    prop_assert_eq!(&to["org.matrix.msc1767.audio"], &from["org.matrix.msc1767.audio"]);
    if sticker {
        prop_assert_eq!(&to["body"], &from["body"]);
        return Ok(());
    }
    // A name has no folders.
    let name = from["filename"].as_str().or(from["body"].as_str()).unwrap();
    prop_assert_eq!(to["filename"].as_str(), name.rsplit(['/', '\\']).next());
    if from.get("filename").is_none() || from["filename"] == from["body"] {
        prop_assert_eq!((&to["body"], to.get("formatted_body")), (&to["filename"], None));
        return Ok(());
    }
    match (from["formatted_body"].as_str(), to["formatted_body"].as_str()) {
        (Some(from), Some(to)) => assert_same(to, from, &format!("{from}\n-----\n{to}")),
        (Some(from), None) => assert_same(to["body"].as_str().unwrap(), from, from),
        (None, shown) => {
            prop_assert_eq!(shown, None);
            prop_assert_eq!(&to["body"], &from["body"]);
        }
    }
    Ok(())
}

fn same_thumbnail(had: &Value, has: &Value) -> Result<(), TestCaseError> {
    same_source(&had["thumbnail_url"], &had["thumbnail_file"], &has["thumbnail_url"], &has["thumbnail_file"])?;
    if has.get("thumbnail_info").is_some() {
        same_info(&had["thumbnail_info"], &has["thumbnail_info"], &had["thumbnail_url"], &had["thumbnail_file"])?;
    }
    Ok(())
}

/// The same file: that its bytes are the same was looked at on the way.
fn same_source(url: &Value, file: &Value, to_url: &Value, to_file: &Value) -> Result<(), TestCaseError> {
    let address = |url: &Value, file: &Value| url.as_str().or(file["url"].as_str()).map(str::to_owned);
    let (had, has) = (address(url, file), address(to_url, to_file));
    prop_assert_eq!(has.as_deref().map(id_of), had.as_deref().map(id_of));
    let Some(has) = has else { return Ok(()) };
    let (there, _) = at_homeserver("b.example", id_of(&has), !to_file.is_null());
    prop_assert_eq!(has.as_str(), there.url().as_str());
    if let FileSource::Encrypted(there) = there {
        prop_assert_eq!(to_file, &there.to_json());
    }
    Ok(())
}

/// The same size in bytes and pixels, duration, blur and type; what clients write in more ways than one is written in one.
fn same_info(from: &Value, to: &Value, url: &Value, file: &Value) -> Result<(), TestCaseError> {
    for key in ["w", "h"] {
        prop_assert_eq!(&to[key], &from[key], "{}", key);
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "durations are short")]
    let duration = from["duration"].as_u64().or(from["duration"].as_f64().map(|float| float as u64));
    prop_assert_eq!(to["duration"].as_u64(), duration);
    let id = id_of(url.as_str().or(file["url"].as_str()).unwrap());
    prop_assert_eq!(&to["size"], &json!(bytes_of(id).len()));
    let blur = ["xyz.amorgan.blurhash", "blurhash"].iter().find_map(|key| from[*key].as_str());
    prop_assert_eq!(to["xyz.amorgan.blurhash"].as_str(), blur);
    let media_type = from["mimetype"].as_str().unwrap_or_default().split(';').next().unwrap().to_ascii_lowercase();
    let media_type = if media_type.contains('/') { media_type } else { "application/octet-stream".to_owned() };
    prop_assert_eq!(to["mimetype"].as_str(), Some(media_type.as_str()));
    Ok(())
}
