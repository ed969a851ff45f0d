//! The published examples, and hostile input.

mod annotated;
mod properties;

use std::time::{Duration, Instant};

use super::*;
use crate::ident::{RoomUri, UserUri};

const ROOM: &str = "mimi://example.com/r/engineering_team";

macro_rules! vector {
    ($name:literal, $user:literal, $id:literal) => {
        (
            $name,
            concat!("mimi://example.com/u/", $user),
            $id,
            include_bytes!(concat!("../../../tests/vectors/mimi-content/", $name, ".cbor")).as_slice(),
        )
    };
}

/// Name, sender, published -08 message id, bytes.
const VECTORS: [(&str, &str, &str, &[u8]); 14] = [
    vector!("original", "alice-smith", "017ce54837404c3696e0c747b985cb172716d0ed0a3d249ca63ace7d82a096f4"),
    vector!("reply", "bob-jones", "015354973c2b65ca937bf1e035ae53a5ab80e947afa43d46920d4202e5cc0b27"),
    vector!("reaction", "cathy-washington", "0158c4288911e50a8f6be3f47746b6682f10fd91bc8c05557aa589a3157aff68"),
    vector!("mention", "cathy-washington", "018d825adf9f6be00dcafc5704c4102f5022e74219d0b603e4ba7622654042af"),
    vector!("mention-html", "cathy-washington", "01967ff8e9a66819738ad5cf26d2e0388a3b81d86b0f61d129c077d043ee2a4e"),
    vector!("edit", "bob-jones", "014028c0deddbdea56bec26172f6ede953d11024cb82b8192b5e2aea62d7fb47"),
    vector!("delete", "bob-jones", "011d9efc78d04d4dcf4d82b07d5199bbef37011c1f0c7e004b6111c6dda504b4"),
    vector!("unlike", "cathy-washington", "013aadbb8f313253c8930f4e93c6ca54b2ed06d258185bdcec3870534c8a4ec4"),
    vector!("expiring", "alice-smith", "01e59db8173939facc2c8a4a0f0ae8d0c7a11a81239626630c9464a8d6717a03"),
    vector!("attachment", "bob-jones", "0176180c7d19a925021fe446d241134d05c38e0d999cdc0f39c391d2377ed9d1"),
    vector!("conferencing", "alice-smith", "01496d15a8dba28d7397f9868b70768e4a67f765d5b5b1ae9e03848c5fdeb0ba"),
    vector!("multipart-1", "alice-smith", "01da5a515ec5db42cc4dcc19b90c3c31245d8a1cfcce11318f24eb11dce0990e"),
    vector!("multipart-2", "alice-smith", "01d65918c6c51c8e76546337276ae6f4bfd873d867d5cb57c76bcdca3d999dd7"),
    vector!("multipart-3", "alice-smith", "01cfebeadbdb83c1eefb6403ba4852daf8bbbf9cd53bf5035a74d5d741950c9f"),
];

fn user(text: &str) -> UserUri {
    UserUri::parse(text).unwrap()
}
fn room() -> RoomUri {
    RoomUri::parse(ROOM).unwrap()
}
fn sample(body: NestedPart) -> MimiContent {
    MimiContent::new([7; 16], &user("mimi://example.com/u/alice-smith"), &room(), body)
}

#[test]
fn published_examples_decode_and_encode_to_the_same_bytes_and_have_the_published_ids() {
    for (name, sender, id, bytes) in VECTORS {
        let content = MimiContent::decode(bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(content.encode().unwrap(), bytes, "{name}");
        assert_eq!(content.sender_uri(), Some(sender), "{name}");
        content.check_origin(&user(sender), &room()).unwrap();
        assert_eq!(message_id(&user(sender), &room(), bytes, &content.salt).to_string(), id, "{name}");
        assert!(is_deterministic(bytes), "{name}");
        assert!(heap(&content) <= 4 * bytes.len() + 1024, "{name}: {}", heap(&content));
    }
}

/// The alias of a message of a peer that is behind: as the draft's text still shows it in its Reply.
#[test]
fn ids_of_draft_07_are_known_as_aliases() {
    let (_, sender, _, bytes) = VECTORS[0];
    let salt = MimiContent::decode(bytes).unwrap().salt;
    assert_eq!(
        message_id_v07(&user(sender), &room(), bytes, &salt).to_string(),
        "01b0084467273cc43d6f0ebeac13eb84229c4fffe8f6c3594c905f47779e5a79"
    );
}

#[test]
fn published_examples_decode_to_what_the_draft_says() {
    let by_name = |name| MimiContent::decode(VECTORS.iter().find(|v| v.0 == name).unwrap().3).unwrap();
    let original = by_name("original");
    assert_eq!(
        original.body,
        NestedPart::text(TEXT_MARKDOWN, "Hi everyone, we just shipped release 2.0. __Good  work__!")
    );
    let original_id = VECTORS[0].2;
    assert_eq!(by_name("reply").in_reply_to.unwrap().to_string(), original_id);
    assert_eq!(by_name("reaction").body.disposition, Disposition::Reaction);
    let delete = by_name("delete");
    assert_eq!((delete.body.body, delete.replaces.unwrap().to_string()), (Body::Null, VECTORS[1].2.to_owned()));
    assert_eq!(by_name("expiring").expires, Some(Expiration::At(1_644_390_004)));
    assert_eq!(by_name("conferencing").topic_id, b"Foo 118");
    let Body::External(video) = by_name("attachment").body.body else { panic!("not external") };
    assert_eq!((video.size, video.enc_alg, video.filename.as_str()), (708_234_961, 1, "bigfile.mp4"));
    assert_eq!(video.nonce, hex::decode("c86cf2c33f21527d1dd76f5b").unwrap());
}

#[test]
fn shared_vectors_are_the_committed_ones() {
    let shared = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/vectors/mimi-content");
    for (name, _, _, bytes) in VECTORS {
        if let Ok(found) = std::fs::read(shared.join(format!("{name}.cbor"))) {
            assert_eq!(found, bytes, "{name}");
        }
    }
}

/// Every byte of a small message, with its meaning.
#[test]
fn annotated_bytes() {
    let mut content = sample(NestedPart::text(TEXT_PLAIN, "Hi"));
    content.extensions.clear();
    content.extensions.insert(ExtensionKey::text("zz"), CborValue::Bool(true));
    content.extensions.insert(ExtensionKey::text("b"), CborValue::Null);
    content.extensions.insert(ExtensionKey::Int(-1), CborValue::Integer(500));
    content.set_sender_timestamp(1_700_000_000_123);
    let expected = [
        "87",                                                    // array of 7
        "50 07070707070707070707070707070707",                   // salt, 16 bytes
        "f6",                                                    // replaces: null
        "40",                                                    // topicId: empty
        "f6",                                                    // expires: null
        "f6",                                                    // inReplyTo: null
        "a4",                                                    // extensions: map of 4, keys in encoded order
        "03 a2 01 1a6553f100 22 187b",                           //   3 senderTimestamp: {1: seconds, -3: 123 ms}
        "20 1901f4",                                             //   -1: 500
        "6162 f6",                                               //   "b": null (shorter text first)
        "627a7a f5",                                             //   "zz": true
        "85",                                                    // nested part: array of 5
        "01",                                                    //   disposition: render
        "60",                                                    //   language: ""
        "01",                                                    //   cardinality: single
        "7818 746578742f706c61696e3b636861727365743d7574662d38", // "text/plain;charset=utf-8"
        "42 4869",                                               //   content: "Hi"
    ];
    let expected = hex::decode(expected.concat().replace(' ', "")).unwrap();
    assert_eq!(hex::encode(content.encode().unwrap()), hex::encode(&expected));
    let read = MimiContent::decode(&expected).unwrap();
    assert_eq!(read, content);
    assert_eq!(read.sender_timestamp(), Some(SenderTimestamp { millis: 1_700_000_000_123 }));
}

#[test]
fn a_message_that_names_another_sender_or_room_is_refused() {
    let content = sample(NestedPart::text(TEXT_PLAIN, "Hi"));
    let alice = user("mimi://example.com/u/alice-smith");
    assert_eq!(content.check_origin(&alice, &room()), Ok(()));
    assert_eq!(content.check_origin(&user("mimi://example.com/u/bob"), &room()), Err(ContentError::Origin("sender")));
    let other = RoomUri::parse("mimi://example.com/r/other").unwrap();
    assert_eq!(content.check_origin(&alice, &other), Err(ContentError::Origin("room")));
}

/// A valid message as pieces: the head up to the extensions, the extensions, the body.
fn assemble(extensions: &str, body: &str) -> Vec<u8> {
    hex::decode(format!("8750{}f640f6f6{extensions}{body}", "07".repeat(16)).replace(' ', "")).unwrap()
}
const TEXT_BODY: &str = "85 01 60 01 60 40";

#[test]
fn unsorted_keys_are_read_and_written_sorted() {
    let unsorted = assemble("a2 6162 f6 05 a2 20 f5 00 f4", TEXT_BODY);
    let content = MimiContent::decode(&unsorted).unwrap();
    let sorted = assemble("a2 05 a2 00 f4 20 f5 6162 f6", TEXT_BODY);
    assert_eq!(content.encode().unwrap(), sorted);
    assert_eq!((is_deterministic(&unsorted), is_deterministic(&sorted)), (false, true));
    assert_eq!(MimiContent::decode(&sorted).unwrap(), content);
    // Length first, as RFC 7049 had it, is the order that must not be sent: -1 is shorter than 256, and comes after it.
    let content = MimiContent::decode(&assemble("a2 20 f6 190100 80", TEXT_BODY)).unwrap();
    assert_eq!(content.encode().unwrap(), assemble("a2 190100 80 20 f6", TEXT_BODY));
}

fn hex_bytes(text: &str) -> Vec<u8> {
    hex::decode(text.replace(' ', "")).unwrap()
}

/// Why a message is refused: the field, the byte, and what is wrong.
fn refused(bytes: &[u8]) -> (String, usize, ContentError) {
    let fault = MimiContent::decode(bytes).unwrap_err();
    (fault.path, fault.offset, fault.error)
}

#[test]
fn what_the_draft_forbids_is_refused_with_its_place() {
    use CborError::*;
    let field = ContentError::Field;
    let cbor = ContentError::Cbor;
    assert!(MimiContent::decode(&assemble("a0", TEXT_BODY)).is_ok());
    // The extensions begin at byte 22, their first key at 23.
    for (extensions, path, offset, error) in [
        ("a2 05 f5 05 f5", "extensions.5", 25, cbor(DuplicateKey)),
        ("a2 05 f5 1805 f5", "extensions", 25, cbor(NotShortest)),
        ("a1 05 a2 6161 00 6161 01", "extensions.5", 31, cbor(DuplicateKey)),
        ("bf ff", "extensions", 23, cbor(Indefinite)),
        ("a1 05 5f4100ff", "extensions.5", 25, cbor(Indefinite)),
        ("a1 05 61ff", "extensions.5", 25, cbor(Utf8)),
        ("a1 05 63eda080", "extensions.5", 25, cbor(Utf8)), // a lone surrogate
        ("a1 60 f5", "extensions", 23, cbor(Key)),
        ("a1 00 f5", "extensions", 23, cbor(Key)), // reserved
        ("a1 4101 f5", "extensions", 23, cbor(Key)),
        ("a1 f5 f5", "extensions", 23, cbor(Key)),
        ("a1 1b0020000000000000 f5", "extensions", 23, cbor(Key)), // 2^53
        ("a1 3b001fffffffffffff f5", "extensions", 23, cbor(Key)), // -2^53
        ("a1 05 a1 1b0020000000000000 f5", "extensions.5", 34, cbor(Key)),
        ("a1 05 a1 80 f5", "extensions.5", 26, cbor(Key)),
        ("a1 05 a1 f93c00 f5", "extensions.5", 28, cbor(Key)),
        ("a1 05 81818180", "extensions.5", 28, cbor(Depth)),
        ("a1 05 81 c1 a1 00 80", "extensions.5", 29, cbor(Depth)),
        ("a1 05 fb3ff8000000000000", "extensions.5", 33, cbor(NotShortest)),
        ("a1 05 f97e01", "extensions.5", 27, cbor(Nan)),
        ("a1 05 fb7ff8000000000000", "extensions.5", 33, cbor(Nan)),
        ("a1 05 c24101", "extensions.5", 27, cbor(NotShortest)), // a big integer that is small
        ("a1 05 c249000000000000000000", "extensions.5", 35, cbor(NotShortest)),
        ("a1 05 c200", "extensions.5", 26, cbor(Malformed)),
        ("a1 05 f818", "extensions.5", 26, cbor(Malformed)),
        ("a1 01 07", "extensions.senderUri", 24, field("senderUri")),
        ("a1 02 f6", "extensions.roomUri", 24, field("roomUri")),
        ("f6", "extensions", 22, field("extensions")),
    ] {
        assert_eq!(refused(&assemble(extensions, TEXT_BODY)), (path.to_owned(), offset, error), "{extensions}");
    }
    // The body begins at byte 23.
    let text_and_more = format!("{TEXT_BODY} 00");
    for (body, path, offset, error) in [
        (text_and_more.as_str(), "end of message", 29, cbor(Trailing)),
        ("86 01 60 01 60 40 40", "body", 29, field("part")),
        ("84 01 60 01 60", "body.content", 28, field("content")),
        ("85 01 60 01 07 40", "body.contentType", 27, field("contentType")),
        ("85 01 60 01 60 60", "body.content", 28, field("content")),
        ("85 01 07 01 60 40", "body.language", 25, field("language")),
        ("83 01 60 04", "body.cardinality", 26, field("cardinality")),
        ("83 190100 60 00", "body.disposition", 24, field("disposition")),
        ("83 20 60 00", "body.disposition", 24, field("disposition")),
        ("85 01 60 03 03 82 83016000 83016000", "body.partSemantics", 27, field("partSemantics")),
        ("85 01 60 03 00 81 83016000", "body.parts", 28, field("parts")),
        ("85 01 60 03 00 80", "body.parts", 28, field("parts")),
        ("85 01 60 03 02 82 83016000 85 01 60 01 60 07", "body.parts[1].content", 38, field("content")),
        ("85 01 60 03 02 82 83016000 00", "body.parts[1]", 33, field("part")),
        ("83 01 60 00 00", "end of message", 27, cbor(Trailing)),
        ("83 01 61", "body", 24, cbor(Truncated)),
        ("00", "body", 23, field("part")),
        // An external part: type, url, expires (32 bits), size, encAlg (16 bits), key, nonce, aad, hashAlg (8 bits), hash.
        ("8f 01 60 02 60 60 1b0000000100000000 00 00 40 40 40 00 40 60 60", "body.expires", 29, field("expires")),
        ("8f 01 60 02 60 60 00 20 00 40 40 40 00 40 60 60", "body.size", 30, field("size")),
        ("8f 01 60 02 60 60 00 00 1a00010000 40 40 40 00 40 60 60", "body.encAlg", 31, field("encAlg")),
        ("8f 01 60 02 60 60 00 00 00 60 40 40 00 40 60 60", "body.key", 32, field("key")),
        ("8f 01 60 02 60 60 00 00 00 40 f6 40 00 40 60 60", "body.nonce", 33, field("nonce")),
        ("8f 01 60 02 60 60 00 00 00 40 40 80 00 40 60 60", "body.aad", 34, field("aad")),
        ("8f 01 60 02 60 60 00 00 00 40 40 40 190100 40 60 60", "body.hashAlg", 35, field("hashAlg")),
        ("8f 01 60 02 60 60 00 00 00 40 40 40 00 60 60 60", "body.contentHash", 36, field("contentHash")),
        ("8f 01 60 02 60 60 00 00 00 40 40 40 00 40 40 60", "body.description", 37, field("description")),
        ("8f 01 60 02 60 60 00 00 00 40 40 40 00 40 60 00", "body.filename", 38, field("filename")),
        ("8f 01 60 02 60 40 00 00 00 40 40 40 00 40 60 60", "body.url", 28, field("url")),
        ("8e 01 60 02 60 60 00 00 00 40 40 40 00 40 60", "body.filename", 38, field("filename")),
    ] {
        assert_eq!(refused(&assemble("a0", body)), (path.to_owned(), offset, error), "{body}");
    }
    let salt = "50 07070707070707070707070707070707";
    let id = |first: &str| format!("5820 {first}{}", "07".repeat(31));
    for (message, path, offset, error) in [
        ("00".to_owned(), "message", 0, field("message")),
        (String::new(), "message", 0, cbor(Truncated)),
        ("87 41".to_owned(), "message", 1, cbor(Truncated)),
        ("87 41 07 f6 40 f6 f6 a0 83016000".to_owned(), "salt", 1, field("salt")),
        (format!("86 {salt} f6 40 f6 f6 a0"), "body", 23, field("body")),
        (format!("88 {salt} f6 40 f6 f6 a0 83016000 00"), "message", 27, field("message")),
        (format!("87 {salt} {} 40 f6 f6 a0 83016000", id("02")), "replaces", 18, field("replaces")),
        (format!("87 {salt} f6 40 f6 {} a0 83016000", id("07")), "inReplyTo", 21, field("inReplyTo")),
        (format!("87 {salt} 4101 40 f6 f6 a0 83016000"), "replaces", 18, field("replaces")),
        (format!("87 {salt} f6 60 f6 f6 a0 83016000"), "topicId", 19, field("topicId")),
        (format!("87 {salt} f6 591001 {} f6 f6 a0 83016000", "00".repeat(4097)), "topicId", 19, field("topicId")),
        (format!("87 {salt} f6 40 82f440 f6 a0 83016000"), "expires", 20, field("expires")),
        (format!("87 {salt} f6 40 820000 f6 a0 83016000"), "expires", 20, field("expires")),
        (format!("87 {salt} f6 40 81f4 f6 a0 83016000"), "expires", 20, field("expires")),
        (format!("87 {salt} f6 40 82f41b0000000100000000 f6 a0 83016000"), "expires", 20, field("expires")),
    ] {
        assert_eq!(refused(&hex_bytes(&message)), (path.to_owned(), offset, error), "{message}");
    }
    assert!(MimiContent::decode(&hex_bytes(&format!("87 {salt} {0} 40 f6 {0} a0 83016000", id("01")))).is_ok());
}

#[test]
fn what_would_be_refused_is_not_sent() {
    let told = |change: fn(&mut MimiContent)| {
        let mut content = sample(NestedPart::text(TEXT_PLAIN, "Hi"));
        change(&mut content);
        content.encode().map(|_| ())
    };
    let extension = |key: ExtensionKey, value: CborValue| {
        let mut content = sample(NestedPart::text(TEXT_PLAIN, "Hi"));
        content.extensions.insert(key, value);
        content.encode().map(|_| ()).unwrap_err()
    };
    let cbor = ContentError::Cbor;
    assert_eq!(told(|_| {}), Ok(()));
    assert_eq!(told(|c| c.replaces = Some(MessageId([2; 32]))), Err(ContentError::Field("replaces")));
    assert_eq!(told(|c| c.in_reply_to = Some(MessageId([0; 32]))), Err(ContentError::Field("inReplyTo")));
    assert_eq!(told(|c| c.topic_id = vec![0; MAX_TOPIC_LEN + 1]), Err(ContentError::Field("topicId")));
    let one = |parts| NestedPart::render(Body::Multi { semantics: PartSemantics::ChooseOne, parts });
    assert_eq!(sample(one(vec![])).encode(), Err(ContentError::Field("parts")));
    assert_eq!(extension(ExtensionKey::Int(0), CborValue::Null), cbor(CborError::Key));
    assert_eq!(extension(ExtensionKey::Int(1 << 53), CborValue::Null), cbor(CborError::Key));
    assert_eq!(extension(ExtensionKey::text(""), CborValue::Null), cbor(CborError::Key));
    assert_eq!(extension(ExtensionKey::text(&"x".repeat(256)), CborValue::Null), cbor(CborError::Key));
    assert_eq!(extension(ExtensionKey::ROOM_URI, CborValue::Null), ContentError::Field("roomUri"));
    let key = ExtensionKey::Int(9);
    let map = |keys: &[CborValue]| CborValue::Map(keys.iter().map(|key| (key.clone(), CborValue::Null)).collect());
    let twice = map(&[CborValue::Integer(1), CborValue::Integer(1)]);
    assert_eq!(extension(key.clone(), twice), cbor(CborError::DuplicateKey));
    assert_eq!(extension(key.clone(), map(&[CborValue::Bool(true)])), cbor(CborError::Key));
    assert_eq!(extension(key.clone(), map(&[CborValue::Integer(1 << 53)])), cbor(CborError::Key));
    assert_eq!(extension(key.clone(), CborValue::Integer(1 << 64)), cbor(CborError::Malformed));
    assert_eq!(extension(key.clone(), CborValue::Simple(21)), cbor(CborError::Malformed));
    let small = CborValue::Tag(2, Box::new(CborValue::Bytes(vec![1])));
    assert_eq!(extension(key.clone(), small), cbor(CborError::NotShortest));
    let deep = (0..4).fold(CborValue::Null, |inner, _| CborValue::Array(vec![inner]));
    assert_eq!(extension(key, deep), cbor(CborError::Depth));
}

#[test]
fn odd_values_of_extensions_are_kept_byte_for_byte() {
    for value in [
        "f7",                                // undefined
        "e0",                                // a simple value without a meaning
        "f8ff",                              // the last one
        "f97e00",                            // NaN
        "f98000",                            // -0.0
        "fa7f7fffff",                        // a single float
        "3bffffffffffffffff",                // -2^64
        "1bffffffffffffffff",                // 2^64 - 1
        "c249010000000000000000",            // 2^64
        "d82063612f62",                      // a URI
        "d84443000102",                      // an array of small numbers (RFC 8746)
        "a3 05 01 4101 02 6161 83 00 20 f4", // keys of three kinds
        "82 81 80 a0",
    ] {
        let bytes = assemble(&format!("a1 05 {value}"), TEXT_BODY);
        let content = MimiContent::decode(&bytes).unwrap_or_else(|fault| panic!("{value}: {fault}"));
        assert_eq!(hex::encode(content.encode().unwrap()), hex::encode(&bytes), "{value}");
        let json = serde_json::to_string(&content).unwrap();
        let again: MimiContent = serde_json::from_str(&json).unwrap();
        assert_eq!(hex::encode(again.encode().unwrap()), hex::encode(&bytes), "{value}: {json}");
    }
}

#[test]
fn parts_nest_four_levels_and_no_more() {
    let mut part = NestedPart::text(TEXT_PLAIN, "x");
    for level in 1..=4 {
        let encoded = sample(part.clone()).encode();
        assert_eq!(encoded.is_ok(), level <= MAX_PART_DEPTH, "{level}");
        if let Ok(bytes) = encoded {
            assert_eq!(MimiContent::decode(&bytes).unwrap().body, part);
        }
        part = NestedPart::render(Body::Multi {
            semantics: PartSemantics::ProcessAll,
            parts: vec![part, NestedPart::text(TEXT_PLAIN, "y")],
        });
    }
    assert_eq!(sample(part).encode(), Err(ContentError::Parts));
    let leaf = "83016000";
    let deep = (0..4).fold(leaf.to_owned(), |inner, _| format!("85016003 02 82 {inner} {leaf}"));
    let (path, _, error) = refused(&assemble("a0", &deep));
    assert_eq!((path.as_str(), error), ("body.parts[0].parts[0].parts[0].parts[0]", ContentError::Parts));
    // With the one around them, 1,023 parts are as many as there may be.
    let many = |count: u16| assemble("a0", &format!("85016003 02 99{count:04x} {}", leaf.repeat(count.into())));
    assert_eq!(MimiContent::decode(&many(1023)).unwrap().body.walk().count(), 1024);
    assert_eq!(refused(&many(1024)).2, ContentError::Parts);
    let within = format!("85016003 02 99 03fe {} 85016003 01 82 {leaf}{leaf}", leaf.repeat(0x3fd));
    assert_eq!(refused(&assemble("a0", &within)).2, ContentError::Parts);
}

/// How much memory a message takes beside its own size, in bytes.
fn heap(content: &MimiContent) -> usize {
    fn part_heap(part: &NestedPart) -> usize {
        part.language.capacity()
            + match &part.body {
                Body::Null => 0,
                Body::Single { content_type, content } => content_type.capacity() + content.capacity(),
                Body::External(e) => {
                    let texts = [&e.content_type, &e.url, &e.description, &e.filename].map(String::capacity);
                    let bytes = [&e.key, &e.nonce, &e.aad, &e.content_hash].map(Vec::capacity);
                    size_of::<ExternalPart>() + texts.iter().chain(&bytes).sum::<usize>()
                }
                Body::Multi { parts, .. } => {
                    parts.capacity() * size_of::<NestedPart>() + parts.iter().map(part_heap).sum::<usize>()
                }
            }
    }
    fn value(of: &CborValue) -> usize {
        match of {
            CborValue::Bytes(bytes) => bytes.capacity(),
            CborValue::Text(text) => text.capacity(),
            CborValue::Array(items) => {
                items.capacity() * size_of::<CborValue>() + items.iter().map(value).sum::<usize>()
            }
            CborValue::Map(entries) => {
                let each = entries.iter().map(|(key, item)| value(key) + value(item));
                entries.capacity() * 2 * size_of::<CborValue>() + each.sum::<usize>()
            }
            CborValue::Tag(_, inner) => size_of::<CborValue>() + value(inner),
            _ => 0,
        }
    }
    // A node of the map has room for eleven entries.
    let node = 11 * (size_of::<ExtensionKey>() + size_of::<CborValue>()) + 128;
    let extensions = content.extensions.iter().map(|(key, item)| match key {
        ExtensionKey::Int(_) => value(item),
        ExtensionKey::Text(name) => name.capacity() + value(item),
    });
    let nodes = content.extensions.len().div_ceil(5) * node;
    content.topic_id.capacity() + part_heap(&content.body) + nodes + extensions.sum::<usize>()
}

#[test]
fn hostile_bytes_are_refused_fast() {
    let start = Instant::now();
    let attacks: Vec<Vec<u8>> = vec![
        vec![],
        vec![0x81; MAX_RECEIVED_LEN],               // arrays in arrays
        vec![0xc1; MAX_RECEIVED_LEN],               // tags in tags
        hex::decode("9bffffffffffffffff").unwrap(), // an array of 2^64 - 1
        hex::decode("bbffffffffffffffff").unwrap(), // a map of 2^64 - 1
        hex::decode("5bffffffffffffffff").unwrap(), // bytes of 2^64 - 1
        hex::decode("5a7fffffff").unwrap(),
        [vec![0x9a, 0x00, 0x00, 0xff, 0xf0], vec![0x80; 0xfff0]].concat(), // 65,520 empty arrays
        vec![0x87],
        vec![0xff],
    ];
    for attack in attacks {
        assert!(MimiContent::decode(&attack).is_err(), "{:02x?}", &attack[..attack.len().min(8)]);
        // The same where a value may be anything.
        let head = hex_bytes(&format!("87 50{} f6 40 f6 f6 a1 05", "07".repeat(16)));
        let room = attack.len().min(MAX_RECEIVED_LEN - head.len());
        assert!(MimiContent::decode(&[head.as_slice(), &attack[..room]].concat()).is_err());
    }
    assert_eq!(refused(&vec![0; MAX_RECEIVED_LEN + 1]).2, ContentError::TooLong);
    assert!(start.elapsed() < Duration::from_secs(2));
}

/// What takes most memory for its length is an array of the smallest values, then a map of them.
#[test]
fn memory_is_bounded_by_the_input() {
    assert!(size_of::<CborValue>() <= 32);
    let many = 0xf000_usize;
    let array = [assemble("a1 05 99f000", ""), vec![0x80; many], hex_bytes(TEXT_BODY)].concat();
    let pairs: Vec<u8> =
        (0x100..0x4000_u16).flat_map(|key| [&[0x19], key.to_be_bytes().as_slice(), &[0x80]].concat()).collect();
    let map = [assemble("a1 05 b93f00", ""), pairs, hex_bytes(TEXT_BODY)].concat();
    for bytes in [array, map] {
        assert!(bytes.len() <= MAX_CONTENT_LEN);
        let content = MimiContent::decode(&bytes).unwrap();
        assert!(heap(&content) <= 64 * bytes.len() + 4096, "{} for {}", heap(&content), bytes.len());
    }
}

#[test]
fn too_much_to_send_is_refused() {
    let content = sample(NestedPart::text(TEXT_PLAIN, &"x".repeat(MAX_CONTENT_LEN)));
    assert_eq!(content.encode(), Err(ContentError::TooLong));
}
