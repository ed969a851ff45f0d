//! Every kind of part, every behaviour field and every extension, byte by byte.

use super::*;

/// A body as hex with what its bytes mean, and what it is.
fn annotated(lines: &[&str], body: &NestedPart) {
    let bytes = assemble("a0", &lines.concat());
    let read = MimiContent::decode(&bytes).unwrap_or_else(|fault| panic!("{fault}"));
    assert_eq!(&read.body, body);
    assert_eq!(hex::encode(read.encode().unwrap()), hex::encode(bytes));
}

#[test]
fn annotated_null_part() {
    let lines = [
        "83",      // array of 3
        "01",      //   disposition: render
        "62 656e", //   language: "en"
        "00",      //   cardinality: null
    ];
    annotated(&lines, &NestedPart { language: "en".into(), ..NestedPart::render(Body::Null) });
}

#[test]
fn annotated_single_part_with_an_unknown_disposition() {
    let lines = [
        "85",            // array of 5
        "18 c8",         //   disposition: 200
        "65 64652c6672", //   language: "de,fr"
        "01",            //   cardinality: single
        "63 782f79",     //   contentType: "x/y"
        "43 00ff80",     //   content: three bytes that are no text
    ];
    let body = Body::Single { content_type: "x/y".into(), content: vec![0, 0xff, 0x80] };
    annotated(&lines, &NestedPart { disposition: Disposition::Unknown(200), language: "de,fr".into(), body });
}

#[test]
fn annotated_external_part() {
    let lines = [
        "8f",                                  // array of 15
        "06",                                  //   disposition: attachment
        "60",                                  //   language: ""
        "02",                                  //   cardinality: external
        "69 696d6167652f706e67",               //   contentType: "image/png"
        "6e 68747470733a2f2f612e65782f78",     //   url: "https://a.ex/x"
        "1a 6553f100",                         //   expires: 1700000000
        "1b 0000000100000000",                 //   size: 4 GiB
        "01",                                  //   encAlg: AES-128-GCM
        "50 000102030405060708090a0b0c0d0e0f", //   key
        "4c 101112131415161718191a1b",         //   nonce
        "41 07",                               //   aad
        "01",                                  //   hashAlg: SHA-256
        "42 abcd",                             //   contentHash (too short to be one: see `ExternalPart::hash`)
        "65 6120636174",                       //   description: "a cat"
        "67 6361742e706e67",                   //   filename: "cat.png"
    ];
    let part = ExternalPart {
        content_type: "image/png".into(),
        url: "https://a.ex/x".into(),
        expires: 1_700_000_000,
        size: 1 << 32,
        enc_alg: 1,
        key: (0..16).collect(),
        nonce: (16..28).collect(),
        aad: vec![7],
        hash_alg: 1,
        content_hash: vec![0xab, 0xcd],
        description: "a cat".into(),
        filename: "cat.png".into(),
    };
    assert_eq!(part.sealing(), Ok(Some(Aead::Aes128Gcm)));
    assert_eq!(part.hash(), Err(ExternalFault::Length("contentHash")));
    let body = Body::External(Box::new(part));
    annotated(&lines, &NestedPart { disposition: Disposition::Attachment, language: String::new(), body });
}

#[test]
fn annotated_multi_part_of_each_semantics() {
    for (code, semantics) in
        [("00", PartSemantics::ChooseOne), ("01", PartSemantics::SingleUnit), ("02", PartSemantics::ProcessAll)]
    {
        let lines = [
            "85",          // array of 5
            "08",          //   disposition: preview
            "60",          //   language: ""
            "03",          //   cardinality: multi
            code,          //   partSemantics
            "82",          //   parts: array of 2
            "83 01 60 00", //     a null part
            "83 02 60 00", //     another, a reaction
        ];
        let null = |disposition| NestedPart { disposition, language: String::new(), body: Body::Null };
        let parts = vec![null(Disposition::Render), null(Disposition::Reaction)];
        let body = Body::Multi { semantics, parts };
        annotated(&lines, &NestedPart { disposition: Disposition::Preview, language: String::new(), body });
    }
}

/// The fields before the body, each with a value.
#[test]
fn annotated_behaviour_fields() {
    for (expires, expected) in [
        ("82 f5 18 3c", Expiration::AfterReading(60)),        // relative, a minute
        ("82 f4 1a 6553f100", Expiration::At(1_700_000_000)), // absolute
        ("82 f4 1a ffffffff", Expiration::At(u32::MAX)),      // the year 2106
    ] {
        let id = format!("5820 01{}", "aa".repeat(31));
        let lines = [
            "87",                                  // array of 7
            "50 07070707070707070707070707070707", // salt
            &id,                                   // replaces
            "43 616263",                           // topicId: "abc"
            expires,                               // expires
            &id,                                   // inReplyTo
            "a0",                                  // extensions: none
            "83 01 60 00",                         // body: a null part
        ];
        let bytes = hex_bytes(&lines.concat());
        let read = MimiContent::decode(&bytes).unwrap();
        let id = MessageId(std::array::from_fn(|at| if at == 0 { 1 } else { 0xaa }));
        assert_eq!((read.replaces, read.in_reply_to, read.expires), (Some(id), Some(id), Some(expected)));
        assert_eq!(read.topic_id, b"abc");
        assert_eq!(read.encode().unwrap(), bytes);
    }
}

// ------------------------------------------------------------------------------------------------------------ extensions

/// The extensions of other drafts, as their drafts show them.
#[test]
fn annotated_extensions_of_other_drafts() {
    let mut content = sample(NestedPart::render(Body::Null));
    content.extensions.clear();
    content.set_sender_timestamp(1_762_760_377_462);
    let id = hex_bytes("08bbeeb8175c4a64a8926a5a23bb2811");
    content.set_external_message_id(&ExternalMessageId { id, scope: IdScope::Enterprise(311) });
    content.set_subject("Hi");
    content.set_last_seen(&LastSeen::Messages(vec![MessageId([1; 32])]));
    content.set_av_metadata(&[AvMetadata {
        width: Some(1920),
        height: Some(1080),
        duration: Some(37_000),
        preview_index: Some(4),
        accessibility_text: Some("puppies".into()),
        rotation: Some(270),
        ..AvMetadata::new(2, AvType::Video)
    }]);
    let lines = [
        "a5",                                        // map of 5
        "03 a2 01 1a 691196b9 22 19 01ce",           //   senderTimestamp: {1: 1762760377, -3: 462}
        "04 82 50 08bbeeb8175c4a64a8926a5a23bb2811", //  externalMessageId: [bytes,
        "19 0137",                                   //     Private Enterprise Number 311]
        "05 62 4869",                                //   subject: "Hi"
        "19 0100 81 5820",                           //   256, lastSeen: one message id
        &"01".repeat(32),
        "6b 61765f6d65746164617461", //   "av_metadata"
        "81 a8",                     //     array of one map of 8
        "01 02",                     //       part_index: 2
        "02 03",                     //       type: video
        "03 19 0780",                //       width: 1920
        "04 19 0438",                //       height: 1080
        "05 19 9088",                //       duration: 37000 ms
        "06 04",                     //       preview_index: 4
        "07 67 70757070696573",      //       accessibility_text: "puppies"
        "08 19 010e",                //       rotation: 270
    ];
    let expected = assemble(&lines.concat(), "83016000");
    assert_eq!(hex::encode(content.encode().unwrap()), hex::encode(&expected));
    let read = MimiContent::decode(&expected).unwrap();
    assert_eq!(read, content);
    assert_eq!(read.sender_timestamp(), Some(SenderTimestamp { millis: 1_762_760_377_462 }));
    assert_eq!(read.external_message_id().unwrap().scope, IdScope::Enterprise(311));
    assert_eq!(read.subject(), Some("Hi"));
    assert_eq!(read.last_seen(), Some(LastSeen::Messages(vec![MessageId([1; 32])])));
    let [video] = read.av_metadata().try_into().unwrap();
    assert_eq!((video.media, video.width, video.rotation), (AvType::Video, Some(1920), Some(270)));
    content.set_subject("");
    content.set_av_metadata(&[]);
    assert_eq!((content.subject(), content.av_metadata(), content.extensions.len()), (None, vec![], 3));
}

#[test]
fn extensions_of_other_forms_are_understood_or_left_alone() {
    let with = |extension: &str| MimiContent::decode(&assemble(&format!("a1 {extension}"), "83016000")).unwrap();
    let millis = |value: &str| with(&format!("03 {value}")).sender_timestamp().map(|at| at.millis);
    assert_eq!(millis("a1 01 05"), Some(5000));
    assert_eq!(millis("a2 01 1a 691196b9 25 1a 00071045"), Some(1_762_760_377_462)); // the draft's microseconds
    assert_eq!(millis("a2 01 05 28 1a 1dcd6500"), Some(5500)); // nanoseconds
    for odd in ["05", "a0", "a1 01 20", "a1 01 60", "a1 20 05", "a1 01 1bffffffffffffffff"] {
        assert_eq!(millis(odd), None, "{odd}");
    }
    let scope = |value: &str| with(&format!("04 82 41aa {value}")).external_message_id().map(|id| id.scope);
    assert_eq!(scope("64 612e6578"), Some(IdScope::Domain("a.ex".into())));
    assert_eq!(scope("d820 64 783a2f2f"), Some(IdScope::Uri("x://".into())));
    for odd in ["00", "20", "f6", "d821 60"] {
        assert_eq!(scope(odd), None, "{odd}");
    }
    assert_eq!(with("05 60").subject(), None);
    assert_eq!(with("05 41aa").subject(), None);
    let seen = |value: &str| with(&format!("19 0100 {value}")).last_seen();
    assert_eq!(seen("80"), Some(LastSeen::Messages(vec![])));
    let external = ExternalMessageId { id: vec![0xaa], scope: IdScope::Uri("x://".into()) };
    assert_eq!(seen("81 82 41aa d820 64 783a2f2f"), Some(LastSeen::External(vec![external.clone()])));
    let id = format!("5820{}", "01".repeat(32));
    assert_eq!(seen(&format!("82 {id} 82 41aa 01")), None, "a mix of both");
    assert_eq!(seen("81 41aa"), None);
    let mut content = with("05 60");
    content.set_last_seen(&LastSeen::External(vec![external.clone()]));
    content.set_external_message_id(&external);
    let read = MimiContent::decode(&content.encode().unwrap()).unwrap();
    assert_eq!(
        (read.last_seen(), read.external_message_id()),
        (Some(LastSeen::External(vec![external.clone()])), Some(external))
    );
    let av = |value: &str| with(&format!("6b 61765f6d65746164617461 {value}")).av_metadata().len();
    assert_eq!(av("83 a2 01 00 02 01 a2 01 00 02 04 a2 01 1a00010000 02 01"), 1, "no such type, no such index");
    assert_eq!(av("82 a3 01 00 02 02 08 05 a3 01 00 02 02 09 f6"), 1, "no such rotation; what is not known is no harm");
    assert_eq!(av("a0"), 0);
}
