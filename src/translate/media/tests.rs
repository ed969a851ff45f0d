//! What users see of files after a message crossed, both ways.

use serde_json::{Value, json};

use super::*;
use crate::{
    content::{
        AvMetadata, Body, CborValue, Disposition, ExtensionKey, ExternalPart, MessageId, MimiContent, PartSemantics,
        TEXT_MARKDOWN, TEXT_PLAIN,
    },
    ident::{RoomUri, UserUri},
    media::{FileKey, Pipe, SealKey, ToMimi as Seal, Unverified},
    translate::{CONTENT_KEY, Loss, MatrixMessage, NoPast, Nobody, NotCarried, ToMatrix, ToMimi, Translated},
};

mod inside;

fn alice() -> UserUri {
    UserUri::parse("mimi://a.example/u/alice").unwrap()
}
fn room() -> RoomUri {
    RoomUri::parse("mimi://a.example/r/club").unwrap()
}
/// Does something as if Alice said it in the club.
fn said<T>(act: impl FnOnce(&ToMimi<'_>) -> T) -> T {
    let (sender, room) = (&alice(), &room());
    act(&ToMimi {
        sender,
        room,
        salt: [1; 16],
        sent_ts: 1_700_000_000_123,
        past: &NoPast,
        mentions: &Nobody,
        room_link: None,
    })
}
fn read(event_type: &str, content: &Value) -> Result<Media<FileSource>, NotCarried> {
    said(|ctx| from_event(event_type, content, ctx))
}
fn write(media: &Media<ExternalPart>) -> Translated {
    said(|ctx| to_message(media, ctx).unwrap())
}
fn show(media: &Media<FileSource>, message: &MimiContent) -> Vec<MatrixMessage> {
    let (sender, room) = (&alice(), &room());
    let ctx = ToMatrix { message_id: MessageId([2; 32]), sender, room, from_gateway: false, mentions: &Nobody };
    to_events(media, message, &ctx)
}

/// Takes the files over as the engine will: sealed, and at a URL of the asset server.
fn sealed(media: Media<FileSource>) -> Media<ExternalPart> {
    let places = media.sources().map(|source| {
        let id = source.url().media_id().unwrap();
        let key = SealKey::from_random([7; 16], [8; 12]);
        let (mut pipe, mut out) = (Seal::new(crate::media::FromMatrix::Plain, key).unwrap(), Unverified::new());
        pipe.feed(id.as_bytes(), &mut out).unwrap();
        let mut part = ExternalPart { url: format!("https://assets.a.example/{id}"), ..ExternalPart::default() };
        pipe.finish(&mut out).unwrap().describe(&mut part);
        Some(part)
    });
    let places = places.collect();
    media.moved(places).unwrap()
}

/// And to the other homeserver.
fn uploaded(media: Media<PartSource>, encrypted: bool) -> Media<FileSource> {
    let places = media.sources().map(|part| {
        let url: OwnedMxcUri = format!("mxc://b.example/{}", part.place().rsplit('/').next().unwrap()).into();
        let key = FileKey::from_random([1; 32], [2; 8]);
        Some(if encrypted {
            FileSource::Encrypted(Box::new(EncryptedFile { url, key, sha256: [3; 32] }))
        } else {
            FileSource::Plain(url)
        })
    });
    let places = places.collect();
    media.moved(places).unwrap()
}

/// From Matrix to MIMI's bytes and from these to Matrix: the message, and the events without our own mark.
fn across(event_type: &str, content: &Value, encrypted: bool) -> (Translated, Vec<MatrixMessage>) {
    assert!(is_media(event_type, content));
    let sent = write(&sealed(read(event_type, content).unwrap()));
    let received = MimiContent::decode(&sent.content.encode().unwrap()).unwrap();
    assert_eq!(received, sent.content);
    let media = from_message(&received).expect("files");
    let mut events = show(&uploaded(media, encrypted), &received);
    for event in &mut events {
        assert_eq!(event.content.as_object_mut().unwrap().remove(CONTENT_KEY).unwrap()["room"], room().as_str());
    }
    (sent, events)
}

fn external(part: &NestedPart) -> &ExternalPart {
    let Body::External(external) = &part.body else { panic!("{part:?}") };
    external
}

fn image() -> Value {
    json!({
        "msgtype": "m.image",
        "body": "Look!",
        "filename": "cat.png",
        "m.mentions": {},
        "url": "mxc://a.example/cat",
        "info": {
            "mimetype": "image/png", "size": 3, "w": 640, "h": 480, "xyz.amorgan.blurhash": "LEHV6nWB2yk8pyo0adR*.7kCMdnj",
            "thumbnail_url": "mxc://a.example/thumb",
            "thumbnail_info": {"mimetype": "image/jpeg", "size": 5, "w": 64, "h": 48},
        },
    })
}

#[test]
fn a_picture_arrives_with_size_caption_thumbnail_and_blur() {
    let (sent, events) = across("m.room.message", &image(), false);
    assert_eq!(sent.losses, []);
    let Body::Multi { semantics: PartSemantics::ProcessAll, parts } = &sent.content.body.body else { panic!() };
    let told: Vec<_> = parts.iter().map(|part| (part.disposition, external(part).content_type.as_str())).collect();
    assert_eq!(told, [(Disposition::Render, "image/png"), (Disposition::Preview, "image/jpeg")]);
    let picture = external(&parts[0]);
    assert_eq!((picture.description.as_str(), picture.filename.as_str()), ("Look!", "cat.png"));
    assert_eq!((picture.enc_alg, picture.key.len(), picture.hash_alg, picture.size), (1, 16, 1, 3));
    let metadata =
        AvMetadata { width: Some(640), height: Some(480), preview_index: Some(2), ..AvMetadata::new(1, AvType::Image) };
    let of_thumb = AvMetadata { width: Some(64), height: Some(48), ..AvMetadata::new(2, AvType::Image) };
    assert_eq!(sent.content.av_metadata(), [metadata, of_thumb]);

    assert_eq!(events.len(), 1);
    let text = image().to_string().replace("mxc://a.example", "mxc://b.example");
    assert_eq!(events[0].content, serde_json::from_str::<Value>(&text).unwrap());
    assert_eq!((events[0].event_type.as_str(), &events[0].losses[..]), ("m.room.message", &[][..]));
}

#[test]
fn every_kind_comes_back_as_it_was() {
    for (kind, mimetype, disposition) in [
        ("m.image", "image/gif", Disposition::Render),
        ("m.video", "video/mp4", Disposition::Render),
        ("m.audio", "audio/ogg", Disposition::Render),
        ("m.file", "application/pdf", Disposition::Attachment),
        // A picture that is to be downloaded.
        ("m.file", "image/png", Disposition::Attachment),
        // Kinds without a type that says so.
        ("m.video", "application/octet-stream", Disposition::Render),
        ("m.file", "application/octet-stream", Disposition::Attachment),
    ] {
        let mut content = json!({
            "msgtype": kind, "body": "a", "filename": "a", "url": "mxc://a.example/a", "m.mentions": {},
            "info": {"mimetype": mimetype, "size": 1},
        });
        let (sent, events) = across("m.room.message", &content, false);
        // Nothing beside it: the part stands alone.
        assert_eq!((sent.content.body.disposition, external(&sent.content.body).filename.as_str()), (disposition, "a"));
        content["url"] = json!("mxc://b.example/a");
        assert_eq!(events[0].content, content, "{kind} {mimetype}");
        assert_eq!(sent.losses, []);
    }
}

#[test]
fn encrypted_files_are_read_and_written() {
    let key = FileKey::from_random([9; 32], [9; 8]);
    let file = EncryptedFile { url: "mxc://a.example/secret".into(), key: key.clone(), sha256: [4; 32] };
    let content = json!({
        "msgtype": "m.file", "body": "a.txt", "file": file.to_json(), "info": {"thumbnail_file": file.to_json()},
    });
    let media = read("m.room.message", &content).unwrap();
    assert_eq!(media.files[0].source, FileSource::Encrypted(Box::new(file.clone())));
    assert_eq!(media.sources().count(), 2);
    assert_eq!(media.files[0].source.url().as_str(), "mxc://a.example/secret");
    let (sent, events) = across("m.room.message", &content, true);
    // The key of the homeserver's copy stays here.
    let bytes = sent.content.encode().unwrap();
    assert!(!bytes.windows(8).any(|window| window == [9; 8]), "a key of Matrix crossed");
    let there = EncryptedFile::parse(&events[0].content["file"]).unwrap();
    assert_eq!(there.url.as_str(), "mxc://b.example/secret");
    assert!(events[0].content.get("url").is_none());
    assert!(EncryptedFile::parse(&events[0].content["info"]["thumbnail_file"]).is_ok());
}

#[test]
fn a_voice_message_is_one_behind_a_gateway_and_a_sound_elsewhere() {
    let content = json!({
        "msgtype": "m.audio", "body": "Voice message.ogg", "filename": "Voice message.ogg", "url": "mxc://a.example/v", "m.mentions": {},
        "info": {"mimetype": "audio/ogg", "size": 1, "duration": 7300},
        "org.matrix.msc3245.voice": {},
        "org.matrix.msc1767.audio": {"duration": 7300, "waveform": [0, 512, 1024, 4000]},
    });
    let (sent, events) = across("m.room.message", &content, false);
    assert_eq!(sent.losses, [Loss::Voice]);
    assert_eq!(sent.content.av_metadata()[0].duration, Some(7300));
    assert_eq!(events[0].content["org.matrix.msc3245.voice"], json!({}));
    assert_eq!(
        events[0].content["org.matrix.msc1767.audio"],
        json!({"duration": 7300, "waveform": [0, 512, 1024, 1024]})
    );
}

#[test]
fn a_sticker_is_one_behind_a_gateway_and_a_picture_elsewhere() {
    let content =
        json!({"body": "waves", "url": "mxc://a.example/s", "info": {"mimetype": "image/png", "w": 256, "h": 256}});
    let (sent, events) = across("m.sticker", &content, false);
    assert_eq!((sent.losses.as_slice(), sent.content.body.disposition), (&[Loss::Sticker][..], Disposition::Inline));
    assert_eq!(events[0].event_type, "m.sticker");
    assert_eq!(
        (&events[0].content["url"], &events[0].content["info"]["w"]),
        (&json!("mxc://b.example/s"), &json!(256))
    );
    // What a sticker shows, its body says.
    assert_eq!(events[0].content["body"], "waves");
    assert!(events[0].content.get("msgtype").is_none());
    // Without our mark it is a picture.
    let mut unmarked = sent.content.clone();
    unmarked.extensions.remove(&ExtensionKey::text(MEDIA_EXTENSION));
    let events = show(&uploaded(from_message(&unmarked).unwrap(), false), &unmarked);
    assert_eq!(events[0].content["msgtype"], "m.image");
}

#[test]
fn a_caption_with_markup_is_a_text_of_its_own() {
    let mut content = image();
    content["format"] = json!("org.matrix.custom.html");
    content["formatted_body"] = json!("<strong>Look!</strong>");
    let (sent, events) = across("m.room.message", &content, false);
    let Body::Multi { parts, .. } = &sent.content.body.body else { panic!() };
    assert!(matches!(parts[0].body, Body::Multi { semantics: PartSemantics::ChooseOne, .. }));
    assert_eq!(external(&parts[1]).description, "");
    // The indices are those of the draft: the picture is found by them.
    let about = sent.content.av_metadata();
    assert_eq!(external(sent.content.body.at_index(about[0].part_index).unwrap()).filename, "cat.png");
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].content["formatted_body"], "<strong>Look!</strong>");
    assert_eq!((&events[0].content["body"], &events[0].content["filename"]), (&json!("Look!"), &json!("cat.png")));
    assert_eq!(events[0].content["info"]["w"], 640);
}

#[test]
fn a_name_is_no_caption() {
    let content = json!({"msgtype": "m.file", "body": "a.txt", "url": "mxc://a.example/a"});
    let media = read("m.room.message", &content).unwrap();
    assert_eq!((media.files[0].filename.as_str(), &media.caption), ("a.txt", &None));
    assert_eq!(media.files[0].info.media_type, "application/octet-stream");
    let same = json!({"msgtype": "m.file", "body": "a.txt", "filename": "a.txt", "url": "mxc://a.example/a"});
    assert_eq!(read("m.room.message", &same).unwrap().caption, None);
}

#[test]
fn each_file_of_a_gallery_has_its_own_caption() {
    let item = |name: &str, body: &str| json!({"itemtype": "m.image", "body": body, "filename": name, "url": format!("mxc://a.example/{}", &name[..1])});
    let bodies = |events: &[MatrixMessage]| -> Vec<String> {
        events.iter().map(|event| event.content["body"].as_str().unwrap().to_owned()).collect()
    };
    let items = json!([item("a.png", "the first"), item("b.png", "b.png"), item("c.png", "the last")]);
    let mut gallery = json!({"msgtype": "m.gallery", "body": "", "itemtypes": items});
    let (sent, events) = across("m.room.message", &gallery, false);
    assert_eq!(sent.losses, []);
    let parts: Vec<_> = sent.content.body.walk().skip(1).map(|part| external(part).description.as_str()).collect();
    assert_eq!(parts, ["the first", "", "the last"]);
    assert_eq!(bodies(&events), ["the first", "b.png", "the last"]);
    assert_eq!(events[2].content["filename"], "c.png");
    // Beside one for all of them.
    gallery["body"] = json!("our cats");
    let (_, events) = across("m.room.message", &gallery, false);
    assert_eq!(bodies(&events), ["our cats\n\nthe first", "b.png", "the last"]);
    // A description has no formatting.
    gallery["itemtypes"][2]["formatted_body"] = json!("the <b>last</b>");
    let (sent, events) = across("m.room.message", &gallery, false);
    assert_eq!((sent.losses, &bodies(&events)[2]), (vec![Loss::Formatting], &"the last".to_owned()));
}

#[test]
fn what_a_file_says_beside_its_caption_is_carried_or_told() {
    let lossy = [
        ("m.mentions", json!({"user_ids": ["@bob:a.example"]}), Loss::Mention),
        ("com.beeper.per_message_profile", json!({"displayname": "Captain"}), Loss::Profile),
        ("com.beeper.linkpreviews", json!([{"matched_url": "https://a.example"}]), Loss::Preview),
    ];
    for body in ["Look!", "cat.png"] {
        for (key, value, loss) in &lossy {
            let mut content = image();
            (content["body"], content[key]) = (json!(body), value.clone());
            assert_eq!(read("m.room.message", &content).unwrap().losses, std::slice::from_ref(loss), "{body} {key}");
        }
        let mut content = image();
        (content["body"], content["com.beeper.linkpreviews"]) = (json!(body), json!([]));
        assert_eq!(read("m.room.message", &content).unwrap().losses, []);
    }
}

#[test]
fn a_gallery_crosses_as_one_message_and_is_shown_file_by_file() {
    for msgtype in ["m.gallery", "dm.filament.gallery"] {
        let content = json!({
            "msgtype": msgtype,
            "body": "Holidays",
            "itemtypes": [
                {"itemtype": "m.image", "body": "sea.jpg", "url": "mxc://a.example/1", "info": {"mimetype": "image/jpeg", "w": 10, "h": 20,
                    "thumbnail_url": "mxc://a.example/2"}},
                {"itemtype": "m.video", "body": "waves.mp4", "url": "mxc://a.example/3", "info": {"mimetype": "video/mp4", "duration": 5000.7}},
                {"itemtype": "m.file", "body": "map.pdf", "url": "mxc://a.example/4", "info": {"mimetype": "application/pdf"}},
            ],
        });
        let (sent, events) = across("m.room.message", &content, false);
        let Body::Multi { parts, .. } = &sent.content.body.body else { panic!() };
        assert_eq!(parts.len(), 5, "caption, picture, its preview, video, file");
        let told: Vec<_> =
            events.iter().map(|e| (e.content["msgtype"].as_str(), e.content["filename"].as_str())).collect();
        let expected = [("m.image", "sea.jpg"), ("m.video", "waves.mp4"), ("m.file", "map.pdf")]
            .map(|(kind, name)| (Some(kind), Some(name)));
        assert_eq!(told, expected);
        assert_eq!(events[0].content["body"], "Holidays");
        assert_eq!(events[1].content["body"], "waves.mp4");
        assert_eq!(events[0].content["info"]["thumbnail_url"], "mxc://b.example/2");
        assert_eq!(events[1].content["info"]["duration"], 5000);
        assert_eq!((&events[0].losses[..], &events[1].losses[..]), (&[Loss::Together][..], &[][..]));
    }
    let many = vec![json!({"itemtype": "m.file", "url": "mxc://a.example/1"}); MAX_FILES + 1];
    for items in [
        json!([]),
        json!("x"),
        json!([{"itemtype": "m.text", "body": "x"}]),
        json!([{"itemtype": "m.image"}]),
        json!(many),
    ] {
        let content = json!({"msgtype": "m.gallery", "body": "x", "itemtypes": items});
        assert!(matches!(read("m.room.message", &content), Err(NotCarried::Malformed(_))));
    }
}

#[test]
fn what_matrix_says_and_nobody_else_understands_is_a_loss() {
    let mut content = image();
    content["page.codeberg.everypizza.msc4193.spoiler"] = json!(true);
    content["info"]["org.example.exif"] = json!("f/8");
    content["info"]["thumbnail_url"] = json!("https://elsewhere.example/x");
    let media = read("m.room.message", &content).unwrap();
    assert_eq!(media.losses, [Loss::Thumbnail, Loss::Cover, Loss::FileDetails]);
    assert_eq!(media.files[0].thumbnail, None);
}

#[test]
fn a_covered_picture_stays_covered_and_is_shown_by_nobody_else_by_itself() {
    let key = |name: &str| format!("page.codeberg.everypizza.msc4193.spoiler{name}");
    let html = json!({"format": "org.matrix.custom.html", "formatted_body": "<b>Look!</b>"});
    for (reason, mark) in [(None, "[spoiler]"), (Some(" the\nend "), "[spoiler: the end]")] {
        for kind in ["m.image", "m.video", "m.file"] {
            for (formatted, described) in [(false, format!("{mark} Look!")), (true, mark.to_owned())] {
                let mut content = image();
                content["msgtype"] = json!(kind);
                content["info"]["mimetype"] = json!(if kind == "m.video" { "video/mp4" } else { "image/png" });
                content[key("")] = json!(true);
                if let Some(reason) = reason {
                    content[key(".reason")] = json!(reason);
                }
                if formatted {
                    content.as_object_mut().unwrap().extend(html.as_object().unwrap().clone());
                }
                let (sent, events) = across("m.room.message", &content, true);
                assert_eq!(sent.losses, [Loss::Cover]);
                let files: Vec<_> =
                    sent.content.body.walk().filter(|part| matches!(part.body, Body::External(_))).collect();
                assert_eq!(files.len(), 1, "no preview shows what is covered");
                assert_eq!(
                    (files[0].disposition, &external(files[0]).description),
                    (Disposition::Attachment, &described)
                );
                let shown = &events[0].content;
                assert_eq!((&shown["msgtype"], &shown["body"]), (&json!(kind), &json!("Look!")));
                assert_eq!(
                    (&shown[key("")], shown[key(".reason")].as_str()),
                    (&json!(true), reason.map(|_| "the end"))
                );
                assert_eq!(shown["info"].get("thumbnail_url"), None);
                assert_eq!(shown["info"]["xyz.amorgan.blurhash"], image()["info"]["xyz.amorgan.blurhash"]);
            }
        }
    }
    // Some write it with the size; and a reason alone covers nothing.
    let mut content = image();
    content["info"]["m.spoiler"] = json!(true);
    assert_eq!(read("m.room.message", &content).unwrap().losses, [Loss::Cover]);
    let mut content = image();
    content[key(".reason")] = json!("x");
    assert_eq!(read("m.room.message", &content).unwrap().files[0].cover, None);
    // Clients say of every picture whether it moves, which it shows itself.
    let mut content = image();
    content["info"]["org.matrix.msc4230.is_animated"] = json!(false);
    assert_eq!(read("m.room.message", &content).unwrap().losses, []);
    // Others' descriptions stay as they are.
    let message = message(file_part(Disposition::Render, "image/png", "https://a.example/x"));
    assert_eq!(from_message(&message).unwrap().files[0].cover, None);
}

#[test]
fn what_is_no_file_of_matrix_is_not_carried() {
    for (content, told) in [
        (json!({"msgtype": "m.image", "body": "x"}), NotCarried::Malformed("url")),
        (json!({"msgtype": "m.image", "body": "x", "url": "https://a.example/x"}), NotCarried::Malformed("url")),
        (json!({"msgtype": "m.image", "body": "x", "url": "mxc://a.example/../x"}), NotCarried::Malformed("url")),
        (
            json!({"msgtype": "m.image", "body": "x", "url": "mxc://a.example/x", "file": {"v": "v1"}}),
            NotCarried::Malformed("file"),
        ),
        (json!({"msgtype": "m.image", "body": "x", "url": "mxc://a.example/x", CONTENT_KEY: {}}), NotCarried::Mirror),
    ] {
        assert_eq!(read("m.room.message", &content), Err(told), "{content}");
    }
    assert!(!is_media("m.room.message", &json!({"msgtype": "m.text"})));
    assert!(!is_media("m.reaction", &json!({"msgtype": "m.image"})));
}

#[test]
fn a_thumbnail_that_did_not_make_it_is_left_out() {
    let media = read("m.room.message", &image()).unwrap();
    let part = ExternalPart { url: "https://a.example/x".into(), ..ExternalPart::default() };
    let moved = media.clone().moved(vec![Some(part.clone()), None]).unwrap();
    assert_eq!(moved.files[0].thumbnail, None);
    for wrong in [vec![], vec![Some(part.clone())], vec![None, Some(part.clone())], vec![Some(part.clone()); 3]] {
        assert_eq!(media.clone().moved(wrong), None);
    }
}

// ------------------------------------------------------------------------------------------------- what others send

fn message(body: NestedPart) -> MimiContent {
    MimiContent::new([1; 16], &alice(), &room(), body)
}
fn file_part(disposition: Disposition, content_type: &str, url: &str) -> NestedPart {
    let external = ExternalPart { content_type: content_type.into(), url: url.into(), ..ExternalPart::default() };
    NestedPart { disposition, language: String::new(), body: Body::External(Box::new(external)) }
}
fn all(parts: Vec<NestedPart>) -> NestedPart {
    NestedPart::render(Body::Multi { semantics: PartSemantics::ProcessAll, parts })
}

#[test]
fn the_attachment_of_the_draft_is_a_file_with_a_caption() {
    let bytes = include_bytes!("../../../tests/vectors/mimi-content/attachment.cbor");
    let message = MimiContent::decode(bytes).unwrap();
    let events = show(&uploaded(from_message(&message).unwrap(), true), &message);
    let content = &events[0].content;
    assert_eq!((&content["msgtype"], &content["filename"]), (&json!("m.file"), &json!("bigfile.mp4")));
    assert_eq!(content["body"], "2 hours of key signing video");
    assert_eq!((&content["info"]["mimetype"], &content["info"]["size"]), (&json!("video/mp4"), &json!(708_234_961)));
}

#[test]
fn messages_of_others_are_files_by_their_types() {
    let url = "https://a.example/x";
    let kind = |disposition, content_type| {
        from_message(&message(file_part(disposition, content_type, url))).map(|media| media.files[0].kind)
    };
    for (disposition, content_type, expected) in [
        (Disposition::Render, "IMAGE/PNG; q=1", Some(MediaKind::Image)),
        (Disposition::Unspecified, "video/webm", Some(MediaKind::Video)),
        (Disposition::Unknown(77), "audio/mpeg", Some(MediaKind::Audio)),
        (Disposition::Inline, "image/png", Some(MediaKind::Image)),
        (Disposition::Render, "image/svg+xml", Some(MediaKind::File)),
        (Disposition::Render, "text/html", Some(MediaKind::File)),
        (Disposition::Render, "", Some(MediaKind::File)),
        (Disposition::Attachment, "image/png", Some(MediaKind::File)),
        (Disposition::Session, "", None),
        (Disposition::Reaction, "image/gif", None),
        (Disposition::Icon, "image/gif", None),
        // A preview of nothing.
        (Disposition::Preview, "image/png", None),
    ] {
        assert_eq!(kind(disposition, content_type), expected, "{disposition:?} {content_type}");
    }
    for url in ["geo:1,2", "javascript:alert(1)", "mxc://a.example/x", ""] {
        assert_eq!(from_message(&message(file_part(Disposition::Render, "image/png", url))), None, "{url}");
    }
    assert_eq!(from_message(&message(NestedPart::text(TEXT_PLAIN, "x"))), None);
}

#[test]
fn of_alternatives_the_first_with_a_file_is_shown_and_the_text_with_it() {
    let url = "https://a.example/x";
    let named = |disposition, content_type: &str, name: &str, url: &str| {
        let mut part = file_part(disposition, content_type, url);
        if let Body::External(external) = &mut part.body {
            external.filename = name.to_owned();
        }
        part
    };
    let picture = |name: &str| named(Disposition::Render, "image/png", name, url);
    let multi = |semantics, parts| NestedPart::render(Body::Multi { semantics, parts });
    let choose = |parts| multi(PartSemantics::ChooseOne, parts);
    let all = |parts| multi(PartSemantics::ProcessAll, parts);
    let unit = |parts| multi(PartSemantics::SingleUnit, parts);
    let text = |text: &str| NestedPart::text(TEXT_PLAIN, text);
    let other = NestedPart::render(Body::Single { content_type: "application/x".to_owned(), content: vec![1] });
    let seen = |body: NestedPart| {
        let message = MimiContent::new([1; 16], &alice(), &room(), body);
        let media = from_message(&message)?;
        assert_eq!(media.losses, []);
        let events = show(&uploaded(media, false), &message);
        let shown = |event: &MatrixMessage| format!("{}: {}", event.content["filename"], event.content["body"]);
        Some(events.iter().map(shown).collect::<Vec<_>>().join(", ").replace('"', ""))
    };
    // As many as there may be are shown; instead of one more, its text is.
    let full = vec![picture("1"); MAX_FILES];
    let more = seen(all([full, vec![choose(vec![picture("2"), text("a cat")])]].concat())).unwrap();
    assert!(more.starts_with("1: a cat, 1: 1, ") && more.matches("1: ").count() == MAX_FILES && !more.contains("2:"));
    for (body, wanted) in [
        (choose(vec![text("a cat"), picture("1")]), Some("1: a cat")),
        (choose(vec![picture("1"), picture("2"), text("a cat")]), Some("1: a cat")),
        (choose(vec![picture("1"), other.clone()]), Some("1: 1")),
        // Several texts are alternatives of one.
        (choose(vec![text("a cat"), NestedPart::text(TEXT_MARKDOWN, "a cat"), picture("1")]), Some("1: a cat")),
        // What is said with the file is said already.
        (choose(vec![all(vec![text("look"), picture("1")]), text("a cat")]), Some("1: look")),
        (choose(vec![all(vec![picture("1"), picture("2")]), text("two cats")]), Some("1: two cats, 2: 2")),
        (all(vec![text("look"), choose(vec![picture("1"), text("a cat")])]), Some("1: look")),
        (all(vec![picture("1"), choose(vec![text("a cat"), picture("2")])]), Some("1: a cat, 2: 2")),
        (
            choose(vec![all(vec![picture("0"), other.clone()]), picture("1"), text("a cat")]),
            Some("0: a cat, file: file"),
        ),
        // What cannot be shown is passed over.
        (choose(vec![named(Disposition::Render, "image/png", "0", "ftp://x"), picture("1")]), Some("1: 1")),
        (choose(vec![unit(vec![picture("0"), NestedPart::text("text/x", "")]), text("a cat")]), None),
        (choose(vec![picture("1"), NestedPart::text("text/x", "?")]), Some("1: 1")),
        (choose(vec![named(Disposition::Session, "", "0", url), text("a call")]), None),
        (choose(vec![named(Disposition::Preview, "image/png", "0", url), text("a cat")]), None),
        (choose(vec![text("a cat"), other]), None),
    ] {
        let message = format!("{body:?}");
        assert_eq!(seen(body).as_deref(), wanted, "{message}");
    }
}

#[test]
fn the_numbers_of_parts_count_within_alternatives() {
    let choice =
        vec![NestedPart::text(TEXT_PLAIN, "a cat"), file_part(Disposition::Render, "image/png", "https://a.example/x")];
    let choice = NestedPart::render(Body::Multi { semantics: PartSemantics::ChooseOne, parts: choice });
    let parts = vec![NestedPart::text(TEXT_PLAIN, "look"), choice];
    let body = NestedPart::render(Body::Multi { semantics: PartSemantics::ProcessAll, parts });
    let mut message = MimiContent::new([1; 16], &alice(), &room(), body);
    let about = |part, width| AvMetadata { width: Some(width), ..AvMetadata::new(part, AvType::Image) };
    message.set_av_metadata(&[about(3, 3), about(4, 4), about(2, 2)]);
    assert_eq!(from_message(&message).unwrap().files[0].info.width, Some(4));
}

#[test]
fn a_voice_message_of_unknown_length_has_none() {
    let content = |info: Value, audio: Value| {
        json!({
            "msgtype": "m.audio", "body": "voice.ogg", "url": "mxc://a.example/1", "info": info,
            "org.matrix.msc3245.voice": {}, "org.matrix.msc1767.audio": audio,
        })
    };
    let bare = json!({"mimetype": "audio/ogg"});
    for (info, audio, wanted) in [
        (bare.clone(), json!({"waveform": [1, 2]}), json!({"waveform": [1, 2]})),
        (bare.clone(), json!({}), json!({"waveform": []})),
        (bare, json!({"waveform": [1], "duration": 7}), json!({"waveform": [1], "duration": 7})),
    ] {
        let (_, events) = across("m.room.message", &content(info, audio), false);
        let event = &events[0];
        assert_eq!(event.content["org.matrix.msc1767.audio"], wanted);
        assert_eq!(event.content["info"].get("duration"), wanted.get("duration"));
    }
}

#[test]
fn names_and_hints_of_strangers_are_cleaned() {
    let part = |filename: &str| {
        let mut part = file_part(Disposition::Attachment, "a/b/c\r\nX: y", "https://a.example/x");
        if let Body::External(external) = &mut part.body {
            external.filename = filename.to_owned();
        }
        message(part)
    };
    let shown = |filename: &str| {
        let message = part(filename);
        let content = show(&uploaded(from_message(&message).unwrap(), false), &message).remove(0).content;
        assert_eq!(content["info"]["mimetype"], "application/octet-stream");
        content["filename"].as_str().unwrap().to_owned()
    };
    for (name, expected) in [
        ("../../etc/passwd", "passwd"),
        ("C:\\temp\\a.exe", "a.exe"),
        ("a\u{202e}gpj.exe", "agpj.exe"),
        ("a\0\nb", "ab"),
        ("..", "file"),
        ("dir/", "file"),
        ("", "file"),
    ] {
        assert_eq!(shown(name), expected, "{name:?}");
    }
    assert_eq!(shown(&"ä".repeat(400)).len(), 254);

    let mut message = message(file_part(Disposition::Render, "audio/ogg", "https://a.example/x"));
    let hint = |entries: Vec<(i128, CborValue)>| {
        CborValue::Map(entries.into_iter().map(|(key, value)| (CborValue::Integer(key), value)).collect())
    };
    let long = CborValue::Array(vec![CborValue::Integer(-5); 10_000]);
    let hints =
        vec![hint(vec![(1, CborValue::Integer(0)), (2, CborValue::Bool(true)), (3, "<script>".into()), (4, long)])];
    message.extensions.insert(ExtensionKey::text(MEDIA_EXTENSION), CborValue::Array(hints));
    let file = from_message(&message).unwrap().files.remove(0);
    assert_eq!((file.kind, file.info.blurhash, file.voice), (MediaKind::Audio, None, Some(vec![0; MAX_WAVEFORM])));
}

// ---------------------------------------------------------------------------------------------------------- custom emoji

fn emoji(html: &str) -> Value {
    json!({"msgtype": "m.text", "body": "x", "format": "org.matrix.custom.html", "formatted_body": html})
}

fn cat(number: usize) -> String {
    format!("<img data-mx-emoticon src=\"mxc://a.example/{number}\" alt=\":cat{number}:\">")
}

/// A text with the pictures that were carried, as bytes say it.
fn emoji_across(content: &Value, carried: &[Moved<ExternalPart>]) -> (Translated, MatrixMessage) {
    let (sender, room) = (&alice(), &room());
    let ctx = ToMimi {
        sender,
        room,
        salt: [1; 16],
        sent_ts: 1_700_000_000_123,
        past: &NoPast,
        mentions: &Nobody,
        room_link: None,
    };
    let (sent, missing) = files_to_mimi("m.room.message", content, carried.to_vec(), &ctx).unwrap();
    assert_eq!(missing, []);
    let sent = sent.unwrap();
    let message = MimiContent::decode(&sent.content.encode().unwrap()).unwrap();
    let ctx = ToMatrix { message_id: MessageId([2; 32]), sender, room, from_gateway: false, mentions: &Nobody };
    let count = from_message(&message).map_or(0, |media| media.files.len());
    let there = |number: usize| Ok(FileSource::Plain(format!("mxc://b.example/{number}").into()));
    let event = if count == 0 {
        crate::translate::to_matrix(&message, &ctx)
    } else {
        files_to_matrix(&message, (0..count).map(there).collect(), &ctx).remove(0)
    };
    (sent, event)
}

fn there(media_type: &str) -> ExternalPart {
    let url = "https://assets.a.example/1".to_owned();
    ExternalPart { url, content_type: media_type.to_owned(), ..ExternalPart::default() }
}

#[test]
fn custom_emoji_keep_their_pictures_and_others_have_their_names() {
    let html = format!("<p>hi {} {} {}</p>", cat(0), cat(1), cat(0));
    let content = emoji(&html);
    assert_eq!(with_files("m.room.message", &content), Some(&content));
    let media = read("m.room.message", &content).unwrap();
    assert_eq!(media.sources().count(), 2, "each once");
    let (sent, event) = emoji_across(&content, &[Ok(there("image/png")), Ok(there("image/webp"))]);
    assert_eq!(sent.losses, []);
    let shown = event.content["formatted_body"].as_str().unwrap();
    let picture = |at: usize, name: usize| {
        format!(
            "<img data-mx-emoticon=\"\" src=\"mxc://b.example/{at}\" alt=\":cat{name}:\" title=\":cat{name}:\" height=\"32\">"
        )
    };
    assert_eq!(shown, format!("<p>hi {} {} {}</p>", picture(0, 0), picture(1, 1), picture(0, 0)));
    assert_eq!(event.losses, [Loss::Alternatives], "“x” is not what a client writes beside it");
    // Who does not look into the unit reads Markdown or text.
    let Body::Multi { semantics: PartSemantics::ChooseOne, parts } = &sent.content.body.body else { panic!() };
    let Body::Single { content: markdown, .. } = &parts[1].body else { panic!() };
    assert_eq!(String::from_utf8_lossy(markdown), "hi :cat0: :cat1: :cat0:");
    // One that could not be had is its name.
    let (sent, event) = emoji_across(&content, &[Err("gone".to_owned()), Ok(there("image/png"))]);
    assert_eq!(sent.losses, [Loss::InlineImage]);
    assert_eq!(event.content["formatted_body"], format!("<p>hi :cat0: {} :cat0:</p>", picture(0, 1)));
    let (sent, event) = emoji_across(&content, &[Err("gone".to_owned()), Err("gone".to_owned())]);
    assert_eq!(sent.losses, [Loss::InlineImage]);
    assert_eq!(event.content["formatted_body"], "<p>hi :cat0: :cat1: :cat0:</p>");
}

#[test]
fn only_so_many_pictures_and_only_those_of_homeservers_are_carried() {
    let many: String = (0..30).map(cat).collect();
    assert_eq!(read("m.room.message", &emoji(&many)).unwrap().sources().count(), 20);
    let carried: Vec<_> = (0..20).map(|_| Ok(there("image/gif"))).collect();
    let (sent, event) = emoji_across(&emoji(&many), &carried);
    assert_eq!(sent.losses, [Loss::InlineImage]);
    let shown = event.content["formatted_body"].as_str().unwrap();
    assert_eq!(shown.matches("<img").count(), 20);
    assert!(shown.contains(":cat20:") && shown.contains(":cat29:"));
    for html in [
        "<img src=\"mxc://a.example/1\" alt=\"x\">",
        "<img data-mx-emoticon src=\"https://a.example/1\" alt=\"x\">",
        "<img data-mx-emoticon alt=\"x\">",
        "<code>&lt;img data-mx-emoticon src=mxc://a/b></code>",
    ] {
        assert_eq!(with_files("m.room.message", &emoji(html)), None, "{html}");
    }
    let mut plain = emoji(&cat(1));
    plain.as_object_mut().unwrap().remove("format");
    assert_eq!(with_files("m.room.message", &plain), None);
}

#[test]
fn what_strangers_call_a_custom_emoji_is_one_or_stays_what_it_is() {
    let picture = |media_type: &str| {
        part_of(
            Disposition::Inline,
            ExternalPart { url: "https://a/1".into(), content_type: media_type.into(), ..ExternalPart::default() },
        )
    };
    let unit = |html: &str, pictures: Vec<NestedPart>| {
        let parts = std::iter::once(NestedPart::text("text/html", html)).chain(pictures).collect();
        NestedPart::render(Body::Multi { semantics: PartSemantics::SingleUnit, parts })
    };
    let kinds = |body: NestedPart| -> Vec<MediaKind> {
        let message = MimiContent::new([1; 16], &alice(), &room(), body);
        from_message(&message).map_or(vec![], |media| media.files.iter().map(|file| file.kind).collect())
    };
    let wave = "<img data-mx-emoticon src=\"cid:2@local.invalid\" alt=\"a\">";
    assert_eq!(kinds(unit(wave, vec![picture("image/png")])), [MediaKind::Emoticon]);
    // Behind another alternative, with the numbers of that place.
    let other = NestedPart::text(TEXT_PLAIN, "a");
    let choose = |parts| NestedPart::render(Body::Multi { semantics: PartSemantics::ChooseOne, parts });
    let later = wave.replace("cid:2", "cid:4");
    assert_eq!(kinds(choose(vec![other.clone(), unit(&later, vec![picture("image/png")])])), [MediaKind::Emoticon]);
    assert_eq!(kinds(choose(vec![other, unit(wave, vec![picture("image/png")])])), []);
    // A drawing, a picture that the text does not have, a picture that is none of the kind: files, as always.
    assert_eq!(kinds(unit(wave, vec![picture("image/svg+xml")])), [MediaKind::File]);
    assert_eq!(kinds(unit(wave, vec![picture("image/png"), picture("image/png")])), [MediaKind::Image; 2]);
    let photo = "<img src=\"cid:2@local.invalid\" alt=\"a\">";
    assert_eq!(kinds(unit(photo, vec![picture("image/png")])), [MediaKind::Image]);
    assert_eq!(picture_type(b"\x89PNG\r\n\x1a\nxyz"), Some("image/png"));
    assert_eq!((picture_type(b"<svg>"), picture_type(b"")), (None, None));
}

fn part_of(disposition: Disposition, external: ExternalPart) -> NestedPart {
    NestedPart { disposition, language: String::new(), body: Body::External(Box::new(external)) }
}
