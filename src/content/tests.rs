//! The published examples, and hostile input.

use std::time::{Duration, Instant};

use ciborium::Value;
use proptest::prelude::*;

use super::*;
use crate::ident::{RoomUri, UserUri};

const ROOM: &str = "mimi://example.com/r/engineering_team";

macro_rules! vector {
    ($name:literal, $user:literal, $id:literal) => {
        (
            $name,
            concat!("mimi://example.com/u/", $user),
            $id,
            include_bytes!(concat!("../../tests/vectors/mimi-content/", $name, ".cbor")).as_slice(),
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
    }
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
    content.extensions.insert(ExtensionKey::text("zz"), Value::Bool(true));
    content.extensions.insert(ExtensionKey::text("b"), Value::Null);
    content.extensions.insert(ExtensionKey::Int(-1), Value::Integer(500.into()));
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
    let content = MimiContent::decode(&assemble("a2 6162 f6 05 f5", TEXT_BODY)).unwrap();
    assert_eq!(content.encode().unwrap(), assemble("a2 05 f5 6162 f6", TEXT_BODY));
}

#[test]
fn what_the_draft_forbids_is_refused() {
    let refused = |extensions: &str, body: &str| MimiContent::decode(&assemble(extensions, body)).unwrap_err();
    assert!(MimiContent::decode(&assemble("a0", TEXT_BODY)).is_ok());
    assert_eq!(refused("a2 05 f5 05 f5", TEXT_BODY), ContentError::Cbor(CborError::DuplicateKey));
    assert_eq!(refused("a2 05 f5 1805 f5", TEXT_BODY), ContentError::Cbor(CborError::DuplicateKey));
    assert_eq!(refused("a1 05 a2 6161 00 6161 01", TEXT_BODY), ContentError::Cbor(CborError::DuplicateKey));
    assert_eq!(refused("bf ff", TEXT_BODY), ContentError::Cbor(CborError::Indefinite));
    assert_eq!(refused("a1 05 5f4100ff", TEXT_BODY), ContentError::Cbor(CborError::Indefinite));
    assert_eq!(refused("a1 05 61ff", TEXT_BODY), ContentError::Cbor(CborError::Utf8));
    assert_eq!(refused("a1 60 f5", TEXT_BODY), ContentError::Cbor(CborError::Key));
    assert_eq!(refused("a1 4101 f5", TEXT_BODY), ContentError::Cbor(CborError::Key));
    assert_eq!(refused("a1 1b0020000000000000 f5", TEXT_BODY), ContentError::Cbor(CborError::Key));
    assert_eq!(refused("a1 05 81818180", TEXT_BODY), ContentError::Cbor(CborError::Depth));
    assert_eq!(refused("a1 01 07", TEXT_BODY), ContentError::Field("senderUri or roomUri"));
    assert_eq!(refused("a0", &format!("{TEXT_BODY} 00")), ContentError::Cbor(CborError::Trailing));
    assert_eq!(refused("a0", "86 01 60 01 60 40 40"), ContentError::Field("part"));
    assert_eq!(refused("a0", "84 01 60 01 60"), ContentError::Field("content"));
    assert_eq!(refused("a0", "83 01 60 04"), ContentError::Field("cardinality"));
    assert_eq!(refused("a0", "83 190100 60 00"), ContentError::Field("disposition"));
    assert_eq!(refused("a0", "85 01 60 03 03 82 83016000 83016000"), ContentError::Field("partSemantics"));
    assert_eq!(refused("a0", "85 01 60 03 00 81 83016000"), ContentError::Field("parts"));
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
    let error = MimiContent::decode(&assemble("a0", &deep)).unwrap_err();
    assert!(matches!(error, ContentError::Parts | ContentError::Cbor(CborError::Depth)), "{error}");
    let many = format!("85016003 02 99 0401 {}", leaf.repeat(1025));
    assert_eq!(MimiContent::decode(&assemble("a0", &many)), Err(ContentError::Parts));
}

#[test]
fn hostile_bytes_are_refused_fast() {
    let start = Instant::now();
    let attacks: Vec<Vec<u8>> = vec![
        vec![],
        vec![0x81; MAX_CONTENT_LEN],                // arrays in arrays
        vec![0xc1; MAX_CONTENT_LEN],                // tags in tags
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
    }
    assert_eq!(MimiContent::decode(&vec![0; MAX_CONTENT_LEN + 1]), Err(ContentError::TooLong));
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[test]
fn too_much_to_send_is_refused() {
    let content = sample(NestedPart::text(TEXT_PLAIN, &"x".repeat(MAX_CONTENT_LEN)));
    assert_eq!(content.encode(), Err(ContentError::TooLong));
}

fn any_part() -> impl Strategy<Value = NestedPart> {
    let body = prop_oneof![
        Just(Body::Null),
        (".{0,20}", prop::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(content_type, content)| Body::Single { content_type, content }),
        (".{0,9}", any::<u32>(), any::<u64>(), any::<u16>(), any::<u8>()).prop_map(
            |(url, expires, size, enc_alg, hash_alg)| {
                Body::External(Box::new(ExternalPart {
                    url,
                    expires,
                    size,
                    enc_alg,
                    hash_alg,
                    ..ExternalPart::default()
                }))
            }
        ),
    ];
    let leaf = (any::<u8>(), "[a-z]{0,3}", body).prop_map(|(code, language, body)| NestedPart {
        disposition: code.into(),
        language,
        body,
    });
    leaf.prop_recursive(3, 12, 3, |inner| {
        let semantics = prop_oneof![
            Just(PartSemantics::ChooseOne),
            Just(PartSemantics::SingleUnit),
            Just(PartSemantics::ProcessAll)
        ];
        (semantics, prop::collection::vec(inner, 2..4))
            .prop_map(|(semantics, parts)| NestedPart::render(Body::Multi { semantics, parts }))
    })
}

fn any_key() -> impl Strategy<Value = ExtensionKey> {
    let int = (-((1_i64 << 53) - 1)..(1 << 53)).prop_filter("a URI", |int| !matches!(int, 1 | 2));
    prop_oneof![
        int.prop_map(ExtensionKey::Int),
        (-40_i64..0).prop_map(ExtensionKey::Int),
        "[a-z]{1,9}".prop_map(ExtensionKey::Text)
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        salt in any::<[u8; 16]>(),
        replaces in any::<Option<[u8; 32]>>(),
        expires in any::<Option<(bool, u32)>>(),
        extensions in prop::collection::btree_map(any_key(), ".{0,10}".prop_map(Value::Text), 0..8),
        body in any_part(),
    ) {
        let content = MimiContent {
            salt,
            replaces: replaces.map(MessageId),
            topic_id: salt[..3].to_vec(),
            expires: expires.map(|(relative, time)| if relative { Expiration::AfterReading(time) } else { Expiration::At(time) }),
            in_reply_to: None,
            extensions,
            body,
        };
        let bytes = content.encode().unwrap();
        // Sorting inside the codec changes nothing: the map's own order is the encoded one.
        prop_assert_eq!(&MimiContent::decode(&bytes).unwrap(), &content);
        prop_assert_eq!(MimiContent::decode(&bytes).unwrap().encode().unwrap(), bytes);
    }

    #[test]
    fn any_bytes_are_read_or_refused_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = MimiContent::decode(&bytes);
    }

    #[test]
    fn a_flipped_byte_is_read_or_refused_without_panic(which in 0..VECTORS.len(), at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut bytes = VECTORS[which].3.to_vec();
        let at = at.index(bytes.len());
        bytes[at] = to;
        if let Ok(content) = MimiContent::decode(&bytes) {
            let again = content.encode().unwrap();
            prop_assert_eq!(MimiContent::decode(&again).unwrap().encode().unwrap(), again);
        }
    }
}
