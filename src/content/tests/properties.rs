//! What holds for any message and any bytes.

use proptest::prelude::*;

use super::*;

fn any_part() -> impl Strategy<Value = NestedPart> {
    let bytes = |most| prop::collection::vec(any::<u8>(), 0..most);
    let external = (
        ("\\PC{0,20}", ".{0,40}", any::<u32>(), any::<u64>(), any::<u16>()),
        (bytes(40), bytes(16), bytes(9), any::<u8>(), bytes(70)),
        (".{0,300}", "\\PC{0,30}"),
    );
    let body = prop_oneof![
        Just(Body::Null),
        (".{0,30}", bytes(300)).prop_map(|(content_type, content)| Body::Single { content_type, content }),
        external.prop_map(|(a, b, c)| {
            let ((content_type, url, expires, size, enc_alg), (key, nonce, aad, hash_alg, content_hash)) = (a, b);
            let (description, filename) = c;
            Body::External(Box::new(ExternalPart {
                content_type,
                url,
                expires,
                size,
                enc_alg,
                key,
                nonce,
                aad,
                hash_alg,
                content_hash,
                description,
                filename,
            }))
        }),
    ];
    let leaf = (any::<u8>(), "([a-z]{2}(,[a-z]{2})?)?|.{0,5}", body).prop_map(|(code, language, body)| NestedPart {
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
        (any::<u8>(), semantics, prop::collection::vec(inner, 2..4)).prop_map(|(code, semantics, parts)| NestedPart {
            disposition: code.into(),
            language: String::new(),
            body: Body::Multi { semantics, parts },
        })
    })
}

fn any_key() -> impl Strategy<Value = ExtensionKey> {
    let int = (-((1_i64 << 53) - 1)..(1 << 53)).prop_filter("URIs and 0", |int| !matches!(int, 0..=2));
    prop_oneof![
        int.prop_map(ExtensionKey::Int),
        (-40_i64..0).prop_map(ExtensionKey::Int),
        ".{1,20}".prop_map(ExtensionKey::Text)
    ]
}

fn any_value() -> impl Strategy<Value = CborValue> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(|int| CborValue::Integer(int.into())),
        any::<u64>().prop_map(|int| CborValue::Integer(-1 - i128::from(int))),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(CborValue::Bytes),
        ".{0,30}".prop_map(CborValue::Text),
        any::<bool>().prop_map(CborValue::Bool),
        Just(CborValue::Null),
        prop_oneof![0_u8..20, Just(23), 32_u8..=255].prop_map(CborValue::Simple),
        any::<f64>().prop_filter("equal to itself", |float| !float.is_nan()).prop_map(CborValue::Float),
        any::<f32>().prop_filter("equal to itself", |float| !float.is_nan()).prop_map(|f| CborValue::Float(f.into())),
    ];
    let key = prop_oneof![
        (-1000_i128..1000).prop_map(CborValue::Integer),
        ".{0,5}".prop_map(CborValue::Text),
        prop::collection::vec(any::<u8>(), 0..4).prop_map(CborValue::Bytes),
    ];
    leaf.prop_recursive(3, 16, 4, move |inner| {
        let entries = prop::collection::vec((key.clone(), inner.clone()), 0..4);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(CborValue::Array),
            (4_u64.., inner).prop_map(|(tag, inner)| CborValue::Tag(tag, Box::new(inner))),
            entries.prop_map(|mut entries| {
                let sort_key = |key: &CborValue| {
                    let mut bytes = Vec::new();
                    value::write(&mut bytes, key, 0).unwrap();
                    bytes
                };
                entries.sort_by_cached_key(|(key, _)| sort_key(key));
                entries.dedup_by_key(|(key, _)| sort_key(key));
                CborValue::Map(entries)
            }),
        ]
    })
}

/// The same value for `ciborium`, which did not write the code here.
fn foreign(value: &CborValue) -> Option<ciborium::Value> {
    use ciborium::Value as V;
    Some(match value {
        CborValue::Integer(int) => V::Integer((*int).try_into().unwrap()),
        CborValue::Bytes(bytes) => V::Bytes(bytes.clone()),
        CborValue::Text(text) => V::Text(text.clone()),
        CborValue::Array(items) => V::Array(items.iter().map(foreign).collect::<Option<_>>()?),
        CborValue::Map(entries) => {
            V::Map(entries.iter().map(|(k, v)| Some((foreign(k)?, foreign(v)?))).collect::<Option<_>>()?)
        }
        CborValue::Tag(tag, inner) => V::Tag(*tag, Box::new(foreign(inner)?)),
        CborValue::Bool(value) => V::Bool(*value),
        CborValue::Null => V::Null,
        CborValue::Float(float) => V::Float(*float),
        // ciborium has no other simple values.
        CborValue::Simple(_) => return None,
    })
}

fn any_content() -> impl Strategy<Value = MimiContent> {
    let id = any::<Option<[u8; 31]>>()
        .prop_map(|rest| rest.map(|rest| MessageId(std::array::from_fn(|at| if at == 0 { 1 } else { rest[at - 1] }))));
    let expires = any::<Option<(bool, u32)>>().prop_map(|expires| {
        expires.map(|(relative, time)| if relative { Expiration::AfterReading(time) } else { Expiration::At(time) })
    });
    let extensions = prop::collection::btree_map(any_key(), any_value(), 0..6);
    let topic = prop::collection::vec(any::<u8>(), 0..50);
    (any::<[u8; 16]>(), id.clone(), topic, expires, id, extensions, any_part()).prop_map(
        |(salt, replaces, topic_id, expires, in_reply_to, extensions, body)| MimiContent {
            salt,
            replaces,
            topic_id,
            expires,
            in_reply_to,
            extensions,
            body,
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(content in any_content()) {
        let bytes = content.encode().unwrap();
        let read = MimiContent::decode(&bytes).unwrap();
        prop_assert_eq!(&read, &content);
        prop_assert!(is_deterministic(&bytes));
        prop_assert!(heap(&read) <= 64 * bytes.len() + 4096);
        let json = serde_json::to_string(&content).unwrap();
        prop_assert_eq!(serde_json::from_str::<MimiContent>(&json).unwrap().encode().unwrap(), bytes);
    }

    /// ciborium reads what is written here as the same value, and writes the same bytes for it.
    #[test]
    fn another_library_agrees(value in any_value()) {
        let mut ours = Vec::new();
        value::write(&mut ours, &value, 8).unwrap();
        if let Some(foreign) = foreign(&value) {
            let mut theirs = Vec::new();
            ciborium::into_writer(&foreign, &mut theirs).unwrap();
            prop_assert_eq!(hex::encode(&ours), hex::encode(&theirs));
            let read: ciborium::Value = ciborium::from_reader(ours.as_slice()).unwrap();
            prop_assert_eq!(read, foreign);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = MimiContent::decode(&bytes);
        let _ = MessageStatusReport::decode(&bytes);
        let _ = DerivedValues::decode(&bytes);
        // As the value of an extension, where anything may stand.
        let mut within = hex_bytes(&format!("87 50{} f6 40 f6 f6 a1 05", "07".repeat(16)));
        within.extend(&bytes);
        within.extend(hex_bytes(TEXT_BODY));
        if let Ok(content) = MimiContent::decode(&within) {
            prop_assert!(MimiContent::decode(&content.encode().unwrap()).is_ok());
        }
    }

    #[test]
    fn a_flipped_byte_is_read_or_refused_without_panic(which in 0..VECTORS.len(), at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut bytes = VECTORS[which].3.to_vec();
        let at = at.index(bytes.len());
        bytes[at] = to;
        match MimiContent::decode(&bytes) {
            Ok(content) => {
                let again = content.encode().unwrap();
                prop_assert_eq!(MimiContent::decode(&again).unwrap().encode().unwrap(), again);
            }
            Err(fault) => prop_assert!(fault.offset <= bytes.len() && !fault.path.is_empty(), "{}", fault),
        }
    }
}
