//! Random and damaged bytes: an error or a value, never a panic; and what decodes encodes back to the same bytes.

use proptest::{collection::vec, prelude::*};

use super::*;

fn same_again<T: Wire + Debug + PartialEq>(input: &[u8]) {
    if let Ok(value) = T::decode(input) {
        let encoded = value.encode();
        assert_eq!(T::decode(&encoded).as_ref(), Ok(&value));
        assert_eq!(encoded, input);
    }
}

fn every_decoder(input: &[u8]) {
    same_again::<KeyMaterialRequest>(input);
    same_again::<KeyMaterialResponse>(input);
    same_again::<UpdateRequest>(input);
    same_again::<UpdateRoomResponse>(input);
    same_again::<SubmitMessageRequest>(input);
    same_again::<SubmitMessageResponse>(input);
    same_again::<FanoutMessage>(input);
    same_again::<GroupInfoResponse>(input);
    same_again::<GroupInfoRatchetTree>(input);
    same_again::<ConsentEntry>(input);
    same_again::<AppDataDictionary>(input);
    same_again::<RatchetTreeOption>(input);
    same_again::<PartialGroupInfo>(input);
    same_again::<MlsMessage>(input);
    same_again::<RawRatchetTree>(input);
    same_again::<Credential>(input);
    same_again::<IdentifierRequest>(input);
    same_again::<IdentifierResponse>(input);
    same_again::<AbuseReport>(input);
    same_again::<SafeAad>(input);
    same_again::<FrankingAgent>(input);
    same_again::<FrankingIntegrityTbs>(input);
    same_again::<ApplicationFraming>(input);
    same_again::<MediaTypeList>(input);
    same_again::<PseudonymousCredential>(input);
    same_again::<IdentityLink>(input);
    // This one reads a second spelling.
    if let Ok(value) = GroupInfoRequest::decode(input) {
        assert_eq!(GroupInfoRequest::decode(&value.encode()), Ok(value));
    }
    if let Ok(messages) = FanoutMessage::decode_all(input) {
        assert_eq!(FanoutMessage::encode_all(&messages), input);
    }
}

#[test]
fn every_single_byte_changed() {
    for valid in endpoints::corpus() {
        for at in 0..valid.len() {
            for value in [0, 1, 0x3f, 0x40, 0x7f, 0x80, 0xbf, 0xc0, 0xff] {
                let mut damaged = valid.clone();
                damaged[at] = value;
                every_decoder(&damaged);
            }
        }
    }
}

#[test]
fn a_small_body_cannot_claim_much() {
    // A gigabyte is declared at every place where a vector may start.
    for valid in endpoints::corpus() {
        for at in 0..valid.len() {
            let claim = [&valid[..at], &[0xbf, 0xff, 0xff, 0xff], &valid[at..]].concat();
            every_decoder(&claim);
        }
    }
}

#[test]
fn too_many_items_are_refused() {
    let mut reader = Reader::new(&[]);
    assert!(reader.u8("x").is_err());
    let reference = [2, 1, 0xff];
    let many = reference.repeat(limits::PROPOSALS + 1);
    let head = pieces::public_head("03");
    let length = u32::try_from(many.len()).unwrap() | 0x8000_0000;
    let wire = [bytes(&head), length.to_be_bytes().to_vec(), many, vec![0, 0, 0, 0]].concat();
    assert_eq!(MlsMessage::decode(&wire).unwrap_err().kind, DecodeErrorKind::TooMany(limits::PROPOSALS));
}

proptest! {
    #[test]
    fn random_bytes(input in vec(any::<u8>(), 0..300)) {
        every_decoder(&input);
    }

    #[test]
    fn damaged_bodies(
        which in 0_usize..100,
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let corpus = endpoints::corpus();
        let mut body = corpus[which % corpus.len()].clone();
        for (at, value) in damage {
            let at = at.index(body.len());
            body[at] = value;
        }
        every_decoder(&body);
        body.truncate(cut.index(body.len()));
        every_decoder(&body);
    }

    #[test]
    fn dictionaries_come_back(map in prop::collection::btree_map(any::<u16>(), vec(any::<u8>(), 0..80), 0..20)) {
        let dictionary = AppDataDictionary(map);
        prop_assert_eq!(AppDataDictionary::decode(&dictionary.encode()), Ok(dictionary));
    }

    #[test]
    fn requests_come_back(
        suites in vec(any::<u16>(), 1..80),
        extensions in vec(any::<u16>(), 0..80),
        key in vec(any::<u8>(), 0..200),
        chain in vec(vec(any::<u8>(), 0..300), 0..16),
        signature in vec(any::<u8>(), 0..200),
        room in any::<bool>(),
    ) {
        let request = KeyMaterialRequest::new(
            KeyMaterialRequestTbs {
                requesting_user: pieces::alice(),
                target_user: pieces::bob(),
                room: room.then(pieces::club),
                acceptable_ciphersuites: suites,
                required_capabilities: RequiredCapabilities { extensions, ..RequiredCapabilities::default() },
                requester_signature_key: key,
                requester_credential: Credential::X509 { chain },
            },
            signature,
        );
        prop_assert_eq!(KeyMaterialRequest::decode(&request.encode()), Ok(request));
    }

    #[test]
    fn answers_come_back(
        description in "[ -~äß\n]{0,200}",
        references in vec(vec(any::<u8>(), 0..80), 0..20),
        timestamp in any::<u64>(),
        frank in any::<Option<([u8; 32], u16)>>(),
    ) {
        let response = UpdateRoomResponse { description, outcome: UpdateOutcome::InvalidProposal { proposals: references } };
        prop_assert_eq!(UpdateRoomResponse::decode(&response.encode()), Ok(response));
        let frank = frank.map(|(server_frank, signature_ciphersuite)| Frank {
            server_frank,
            signature_ciphersuite,
            integrity_signature: vec![1; 64],
        });
        let response = SubmitMessageResponse::Accepted { accepted_timestamp: timestamp, frank };
        prop_assert_eq!(SubmitMessageResponse::decode(&response.encode()), Ok(response));
    }
}
