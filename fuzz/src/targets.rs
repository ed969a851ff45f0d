// What every fuzz target does with its input. Used twice: by the cargo-fuzz targets in `fuzz/`, and by `tests/fuzz_replay.rs`,
// which plays every seed through it on a stable toolchain. A target fails by panicking.

use mimi_gateway::{
    cli::inspect::{self, Context, Kind},
    content::{MessageId, MimiContent, NestedPart, TEXT_HTML, TEXT_MARKDOWN},
    ident::{ClientUri, GroupUri, MAX_NAME, MimiUri, ProviderDomain, RoomUri, UserUri, plain_name},
    mimi::{host_is_ours, named_peer},
    translate::{NoPast, Nobody, NotCarried, ToMatrix, ToMimi, Translated, profile::Vcard, to_matrix, to_mimi},
    wire::{
        directory::{self, Directory, DirectoryEntry},
        path,
    },
};

type Target = fn(&[u8]);

/// Targets beside those of the kinds of `mimi-gateway inspect`.
const OTHERS: [(&str, Target); 10] = [
    ("any", any),
    ("directory-urls", directory_urls),
    ("event", event),
    ("headers", headers),
    ("html", html),
    ("markdown", markdown),
    ("message", message),
    ("paths", paths),
    ("uris", uris),
    ("vcard", vcard),
];

/// All targets: one for each kind, called like it, and the others.
pub fn names() -> Vec<&'static str> {
    Kind::ALL.iter().map(|kind| kind.name()).chain(OTHERS.iter().map(|(name, _)| *name)).collect()
}

/// Runs one target.
pub fn run(name: &str, data: &[u8]) {
    match Kind::named(name) {
        Some(kind) => round_trip(kind, data),
        None => OTHERS.iter().find(|(other, _)| *other == name).expect("a target of this name").1(data),
    }
}

/// Bytes that decode become JSON, and the JSON the same bytes.
fn round_trip(kind: Kind, data: &[u8]) {
    match inspect::decode(kind, data, &Context::default()) {
        Ok(json) => match inspect::encode(None, &json) {
            Ok(again) => assert!(again == data, "{kind}: other bytes came back\n{json}"),
            Err(error) => panic!("{kind}: {error}\n{json}"),
        },
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Whatever it is, it is recognised or refused.
fn any(data: &[u8]) {
    if let Ok(kind) = Kind::guess(data) {
        round_trip(kind, data);
    }
}

/// Targets in request paths: what is understood is understood alike when we send it.
fn paths(data: &[u8]) {
    let Ok(raw) = std::str::from_utf8(data) else { return };
    if let Ok(room) = path::room(raw) {
        assert_eq!(path::room(&path::encode_segment(room.as_str())), Ok(room));
    }
    if let Ok(user) = path::user(raw) {
        assert_eq!(path::user(&path::encode_segment(user.as_str())), Ok(user));
    }
    if let Ok(domain) = path::domain(raw) {
        assert_eq!(path::domain(domain.as_str()), Ok(domain));
    }
    if let Ok(url) = path::download(raw) {
        assert!(url.as_str().starts_with(&format!("https://{}/", url.host())), "{url:?}");
        assert_eq!(path::download(&path::encode_segment(url.as_str())), Ok(url));
    }
}

/// URIs are kept byte for byte, and belong to the provider that stands in them.
fn uris(data: &[u8]) {
    let Ok(uri) = MimiUri::from_bytes(data) else {
        assert!(UserUri::from_bytes(data).is_err() && RoomUri::from_bytes(data).is_err());
        return;
    };
    assert_eq!(uri.as_str().as_bytes(), data);
    assert_eq!(format!("mimi://{}{}", uri.provider(), uri.path()), uri.as_str());
    assert_eq!(ProviderDomain::parse(uri.provider().as_str()), Ok(uri.provider()));
    let kinds = [
        UserUri::from_bytes(data).is_ok(),
        ClientUri::from_bytes(data).is_ok(),
        RoomUri::from_bytes(data).is_ok(),
        GroupUri::from_bytes(data).is_ok(),
    ];
    assert!(kinds.iter().filter(|is| **is).count() <= 1);
    if let Ok(user) = ClientUri::from_bytes(data).and_then(|client| client.user()) {
        assert_eq!(user.provider(), uri.provider());
    }
}

/// A directory leads to https URLs on the hosts that its templates name, whatever is filled in.
fn directory_urls(data: &[u8]) {
    let Ok(document) = Directory::from_json(data) else { return };
    let room = MimiUri::parse("mimi://a.example/r/x%2F..%2F%40evil.example").expect("a URI");
    let domain = room.provider();
    let targets = [
        directory::Target::Uri(&room),
        directory::Target::Domain(&domain),
        directory::Target::Url("https://e.example/"),
        directory::Target::Nothing,
    ];
    for entry in DirectoryEntry::ALL {
        let Some(template) = document.template(entry) else { continue };
        let authority = |url: &str| url.split('/').nth(2).map(str::to_owned);
        for target in targets {
            if let Ok(url) = document.url(entry, target) {
                assert!(url.starts_with("https://") && url.is_ascii(), "{url}");
                assert_eq!(authority(&url), authority(template), "{url}");
            }
        }
    }
}

/// `From` names a proven peer in one spelling only; `Host` names us. Lines are values of `From`, the first is also `Host`.
fn headers(data: &[u8]) {
    let mut headers = http::HeaderMap::new();
    for value in data.split(|byte| *byte == b'\n').take(8) {
        if let Ok(value) = http::HeaderValue::from_bytes(value) {
            headers.append(http::header::FROM, value);
        }
    }
    let proven = ["b.example", "xn--bcher-kva.example"].map(|name| ProviderDomain::parse(name).expect("a name"));
    if let Some(peer) = named_peer(&headers, &proven) {
        assert!(proven.contains(&peer) && headers.len() == 1);
        assert_eq!(headers[http::header::FROM].as_bytes(), format!("mimi@{peer}").as_bytes());
    }
    let first = data.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if let Ok(authority) = std::str::from_utf8(first)
        && host_is_ours(authority, &["a.example", "mimi.a.example"])
    {
        let host = authority.split(':').next().unwrap_or_default();
        assert!(
            host.starts_with('[')
                || host.to_ascii_lowercase().ends_with("a.example")
                || host.parse::<std::net::Ipv4Addr>().is_ok()
        );
    }
}

/// What a part looks like in Matrix: its HTML, if it has any.
fn shown(content_type: &str, text: &str) -> Option<String> {
    let sender = UserUri::parse("mimi://b.example/u/bob").expect("a URI");
    let room = RoomUri::parse("mimi://b.example/r/club").expect("a URI");
    let content = MimiContent::new([0; 16], &sender, &room, NestedPart::text(content_type, text));
    let message_id = MessageId([0; 32]);
    let (sender, room) = (&sender, &room);
    let ctx = ToMatrix { message_id, sender, room, from_gateway: false, mentions: &Nobody };
    clean(&to_matrix(&content, &ctx).content)
}

/// An event as strangers get it shown: of a size that a homeserver takes, nothing in its texts steers a terminal, and only tags that
/// may be shown are in its HTML, which is the answer.
fn clean(event: &serde_json::Value) -> Option<String> {
    assert!(event.to_string().len() <= mimi_gateway::translate::MAX_EVENT_CONTENT);
    for field in ["body", "filename"] {
        let text = event.get(field).and_then(serde_json::Value::as_str).unwrap_or_default();
        let steers = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
        assert!(!text.contains(steers), "{field} {text:?}");
    }
    let html = event.get("formatted_body")?.as_str()?.to_owned();
    let mut names = html.split('<').skip(1).map(|tag| tag.trim_start_matches('/'));
    let allowed = |tag: &str| {
        let name = tag.split([' ', '>']).next().unwrap_or_default();
        ALLOWED.split(' ').any(|allowed| allowed == name)
    };
    assert!(names.all(allowed), "{html}");
    Some(html)
}

/// The tags that may be shown.
const ALLOWED: &str = "a b blockquote br caption code del details div em h1 h2 h3 h4 h5 h6 hr i li ol p pre s span strong sub \
                       summary sup table tbody td th thead tr u ul";

/// HTML of strangers is clean once it is cleaned, and crosses to MIMI.
fn html(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(clean) = shown(TEXT_HTML, text) {
        assert!(shown(TEXT_HTML, &clean).is_none_or(|again| again == clean), "{clean}");
    }
    let event = serde_json::json!({"msgtype": "m.text", "body": "x", "format": "org.matrix.custom.html", "formatted_body": text});
    let translated = as_mimi("m.room.message", &event).expect("it has a text");
    let bytes = translated.content.encode().expect("of a size that can be sent");
    assert_eq!(MimiContent::decode(&bytes).as_ref(), Ok(&translated.content));
}

/// What Alice's event is in the club.
fn as_mimi(event_type: &str, said: &serde_json::Value) -> Result<Translated, NotCarried> {
    let sender = UserUri::parse("mimi://a.example/u/alice").expect("a URI");
    let room = RoomUri::parse("mimi://a.example/r/club").expect("a URI");
    let context = ToMimi {
        sender: &sender,
        room: &room,
        salt: [0; 16],
        sent_ts: 0,
        past: &NoPast,
        mentions: &Nobody,
        room_link: None,
    };
    to_mimi(event_type, said, &context)
}

/// A whole event, `{"type": …, "content": …}`: what crosses is the same once it is encoded, and can be shown.
fn event(data: &[u8]) {
    let Ok(event) = serde_json::from_slice::<serde_json::Value>(data) else { return };
    let (Some(event_type), Some(said)) = (event.get("type").and_then(|kind| kind.as_str()), event.get("content"))
    else {
        return;
    };
    match as_mimi(event_type, said) {
        Ok(translated) => {
            if let Ok(bytes) = translated.content.encode() {
                assert_eq!(MimiContent::decode(&bytes).as_ref(), Ok(&translated.content));
                message(&bytes);
            }
        }
        Err(reason) => assert!(!reason.to_string().is_empty()),
    }
}

/// A whole message: whatever it is, it can be shown, and is clean if a stranger sent it.
fn message(data: &[u8]) {
    let Ok(content) = MimiContent::decode(data) else { return };
    let sender = UserUri::parse("mimi://a.example/u/alice").expect("a URI");
    let room = RoomUri::parse("mimi://a.example/r/club").expect("a URI");
    for from_gateway in [false, true] {
        let message_id = MessageId([0; 32]);
        let ctx = ToMatrix { message_id, sender: &sender, room: &room, from_gateway, mentions: &Nobody };
        let shown = to_matrix(&content, &ctx);
        // Clients that know a custom type clean it, as with any event.
        if !from_gateway || shown.event_type == "m.room.message" {
            clean(&shown.content);
        }
    }
}

/// Markdown of strangers becomes HTML that is clean as it is.
fn markdown(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(html) = shown(TEXT_MARKDOWN, text) {
        // Without anything to see it is no message.
        assert!(shown(TEXT_HTML, &html).is_none_or(|again| again == html.trim()), "{html}");
    }
}

/// A card of strangers is read or refused; what was read of it is the same when it is written and read again, and its name can be
/// shown.
fn vcard(data: &[u8]) {
    match Vcard::read(data) {
        Ok(card) => {
            if let Some(name) = card.name.as_deref().and_then(plain_name) {
                assert!(!name.is_empty() && name.chars().count() <= MAX_NAME + 1, "{name:?}");
                assert!(!name.contains(['(', ')']) && name.chars().all(|c| !c.is_control()), "{name:?}");
                let again = Vcard { name: Some(name), ..card };
                assert_eq!(Vcard::read(again.write().as_bytes()), Ok(again));
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
