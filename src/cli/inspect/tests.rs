//! What people see of a body, and what they can make of it again. That every seed of every kind comes back byte for byte is
//! in `tests/fuzz_replay.rs`.

use std::fs;

use serde_json::{Value, json};

use super::*;

fn none() -> Context {
    Context::default()
}

fn shown(kind: Kind, hex_text: &str) -> Value {
    let bytes = hex::decode(hex_text.replace(' ', "")).unwrap();
    let json = decode(kind, &bytes, &none()).unwrap();
    assert_eq!(encode(None, &json).unwrap(), bytes);
    serde_json::from_str(&json).unwrap()
}

const ALICE: &str = "18 6d696d693a2f2f612e6578616d706c652f752f616c696365";
const BOB: &str = "16 6d696d693a2f2f622e6578616d706c652f752f626f62";

#[test]
fn a_body_has_its_fields_and_its_hash() {
    let value = shown(Kind::Consent, &format!("03 {ALICE} {BOB} 00 00"));
    assert_eq!(
        value,
        json!({
            "kind": "consent",
            "bytes": 51,
            "sha256": hex::encode(Sha256::digest(hex::decode(format!("03{ALICE}{BOB}0000").replace(' ', "")).unwrap())),
            "body": {
                "consentOperation": "revoke",
                "requesterUri": "mimi://a.example/u/alice",
                "targetUri": "mimi://b.example/u/bob",
                "roomId": null,
                "consent_extensions": {},
            },
        })
    );
}

#[test]
fn mls_objects_tell_what_they_are() {
    // A hub's Remove, as MLSMessage.
    let value = shown(Kind::MlsMessage, "0001 0001 02 6769 0000000000000007 02 00000000 00 02 0003 00000005 02 5151");
    let body = &value["body"];
    assert_eq!(
        (&body["kind"], &body["epoch"], &body["sender"], &body["contentType"]),
        (&json!("PublicMessage"), &json!(7), &json!({"external": 0}), &json!("proposal"))
    );
    assert_eq!(body["groupId"], "gi");
    // RefHash("MLS 1.0 Proposal Reference", wire format and content), computed with Python's hashlib.
    assert_eq!(body["proposalRefSha256"], "9140b9222ee7f897b5f260dccc7684db99430a6f3612814118b9770a12061d2a");
    let package = "0001 0001 02 1111 02 e1e2 02 5152 0001 03 626f62 02 0001 02 0001 00 00 02 0001 01 0000000000000010 \
                   0000000000000020 00 01 51 00 02 5151";
    let body = &shown(Kind::KeyPackage, package)["body"];
    assert_eq!(body["keyPackageRef"], "b46b7789bcbb4d22d812ca8ea6b23efc216b8efd1cac82938d3aa5b5da033426");
    assert_eq!(
        (&body["notAfter"], &body["credential"]),
        (&json!(32), &json!({"basic": {"identity": {"text": "bob"}}}))
    );
}

#[test]
fn a_commit_lists_its_proposals_and_what_they_update() {
    // A commit: an AppDataUpdate of the participant list that adds Bob as member, and a proposal by reference; no path.
    let update = format!("00 00 1b {BOB} 00000002");
    let commit = format!(
        "0001 0001 02 6769 0000000000000007 01 00000002 00 03 28 01 0008 0022 01 1e {update} 02 01 ff 00 00 00 00"
    );
    let value = shown(Kind::MlsMessage, &commit);
    let listed = &value["body"]["proposals"];
    assert_eq!(listed[0]["appDataUpdate"]["componentId"], "0x0022");
    assert_eq!(listed[1], json!({"reference": "ff"}));
    let told = json!([{"componentId": "0x0022", "update": {"kind": "participant-list-update", "body": {
        "changedRoleParticipants": [],
        "removedIndices": [],
        "addedParticipants": [{"user": "mimi://b.example/u/bob", "role_index": 2}],
    }}}]);
    assert_eq!(value["notes"]["appDataUpdates"], told);
    // The same in a notify, and in an update with the least that goes with a commit.
    let notify = shown(Kind::Notify, &format!("0000000000000009 {commit} 00"));
    assert_eq!(notify["notes"]["appDataUpdates"], told);
    assert_eq!(notify["body"][0]["content"]["commit"]["message"]["proposals"], *listed);
    // An MLS object is its hex: a proposal that is edited beside it would be lost.
    let edited = value.to_string().replace("\"reference\":\"ff\"", "\"reference\":\"fe\"");
    assert!(encode(None, &edited).unwrap_err().to_string().contains("`proposals`"));
}

#[test]
fn the_operational_policy_of_a_dictionary_is_told() {
    let mut bytes = vec![0; 30];
    // No handshake formats, neither proposals nor commits from outside, random delay of 1 to 2 ms.
    bytes.extend([0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2]);
    bytes.extend([0; 24 + 7 + 24 + 24 + 4 + 24 + 4]);
    let length = bytes.len();
    let dictionary = format!("40{:02x} 0024 40{length:02x} {}", length + 4, hex::encode(&bytes));
    let told = &shown(Kind::Dictionary, &dictionary)["notes"]["components"]["0x0024"];
    assert_eq!(told["kind"], "operational-policy");
    assert_eq!(
        told["body"]["pending_proposal_policy"],
        json!({"random_delay": {"minimum_delay_ms": 1, "maximum_delay_ms": 2}})
    );
}

#[test]
fn policy_components_of_a_dictionary_are_told_by_the_drafts_names() {
    // 0x0028: delivery notifications are forbidden, read receipts required; 0x0030: messages expire within a minute to an hour.
    let value = shown(Kind::Dictionary, "16 0028 02 0201 0030 0e 01 0000003c 00000e10 01 00000258");
    let told = &value["notes"]["components"];
    assert_eq!(told["0x0028"]["body"], json!({"delivery_notifications": "forbidden", "read_receipts": "required"}));
    let expiration = &told["0x0030"];
    assert_eq!(expiration["kind"], "message-expiration");
    assert_eq!(
        (&expiration["body"]["min_expiration_duration"], &expiration["body"]["default_expiration_duration"]),
        (&json!(60), &json!(600))
    );
}

#[test]
fn what_a_policy_component_cannot_say_is_not_encoded() {
    let json = decode(Kind::MessageExpiration, &[2], &none()).unwrap();
    assert_eq!(encode(None, &json), Ok(vec![2]));
    let error = encode(None, &json.replace("\"min_expiration_duration\": 0", "\"min_expiration_duration\": 9"));
    assert!(matches!(error, Err(InspectError::Unencodable { kind: Kind::MessageExpiration, .. })), "{error:?}");
}

#[test]
fn a_message_has_its_id() {
    let bytes = include_bytes!("../../../tests/vectors/mimi-content/original.cbor");
    let value: Value = serde_json::from_str(&decode(Kind::Content, bytes, &none()).unwrap()).unwrap();
    let id = "017ce54837404c3696e0c747b985cb172716d0ed0a3d249ca63ace7d82a096f4";
    assert_eq!(value["notes"]["messageId"], id);
    assert_eq!(value["body"]["body"]["body"]["single"]["contentType"], "text/markdown;variant=GFM-MIMI");
    let elsewhere = Context { sender: Some(UserUri::parse("mimi://b.example/u/bob").unwrap()), room: None };
    let value: Value = serde_json::from_str(&decode(Kind::Content, bytes, &elsewhere).unwrap()).unwrap();
    assert_ne!(value["notes"]["messageId"], id);
    assert_eq!(value["notes"]["origin"], "the message names another sender than it came from");
}

#[test]
fn components_in_a_body_are_told() {
    let metadata = "17 6d696d693a2f2f612e6578616d706c652f722f636c7562 04 436c7562 00 00 00 00";
    let value = shown(Kind::Consent, &format!("01 {ALICE} {BOB} 00 24 0023 21 {metadata}"));
    let told = &value["notes"]["components"]["0x0023"];
    assert_eq!((&told["kind"], &told["body"]["room_name"]), (&json!("room-metadata"), &json!("Club")));
}

#[test]
fn edited_fields_are_encoded() {
    let json = decode(Kind::UpdateResponse, &[2, 2, b'n', b'o'], &none()).unwrap();
    assert_eq!(encode(None, &json.replace("\"no\"", "\"why\"")), Ok(vec![2, 3, b'w', b'h', b'y']));
    let epoch = json.replace("\"notAllowed\"", "{\"wrongEpoch\": {\"currentEpoch\": 8}}");
    assert_eq!(encode(None, &epoch), Ok(vec![1, 2, b'n', b'o', 0, 0, 0, 0, 0, 0, 0, 8]));
    // By hand, with nothing but what is needed.
    let by_hand = r#"{"body": {"errorDescription": "", "responseCode": "notAllowed"}}"#;
    assert_eq!(encode(Some(Kind::UpdateResponse), by_hand), Ok(vec![2, 0]));
}

#[test]
fn another_encoding_than_ours_comes_back_as_it_was() {
    // The draft's request, taken literally: no presence octet before the joining code.
    let literal = "01 0001 01 51 0001 03 626f62 01 e1 02 6a63 02 5151";
    let value = shown(Kind::GroupInfoRequest, literal);
    assert_eq!(value["received"], literal.replace(' ', ""));
    let edited = value.to_string().replace("6a63\"", "6a64\"");
    assert!(encode(None, &edited).unwrap_err().to_string().contains("`received`"));
    let mut anew = value.clone();
    anew.as_object_mut().unwrap().remove("received");
    assert_eq!(
        hex::encode(encode(None, &anew.to_string()).unwrap()),
        "01 0001 01 51 0001 03 626f62 01 e1 01 02 6a63 02 5151".replace(' ', "")
    );
    // Content with extensions out of order.
    let content = "87 5007070707070707070707070707070707 f6 40 f6 f6 a2 6161 f5 05 fb3ff199999999999a 83016000";
    assert!(shown(Kind::Content, content)["received"].is_string());
}

#[test]
fn json_that_no_bytes_can_say_is_refused() {
    let refused = |kind, body: &str| encode(Some(kind), &format!("{{\"body\": {body}}}")).unwrap_err().to_string();
    // A typing error is no new field, and is told with its place.
    let error = refused(Kind::UpdateResponse, "{\"errorDescription\": \"\",\n \"respnseCode\": \"notAllowed\"}");
    assert!(error.contains("`respnseCode`") && error.contains("line 2"), "{error}");
    let error = refused(Kind::UpdateResponse, "{\"errorDescription\": \"\\u0000\", \"responseCode\": \"notAllowed\"}");
    assert!(error.contains("errorDescription, byte 1"), "{error}");
    // A proposal where a commit has to be.
    let proposal = "000100010267690000000000000007020000000000020003000000050251 51".replace(' ', "");
    let bundle = format!("{{\"proposals\": [{{\"hex\": \"{proposal}\"}}]}}");
    assert!(encode(Some(Kind::UpdateRequest), &format!("{{\"body\": {bundle}}}")).is_ok());
    let fanout = format!(
        "[{{\"timestamp\": 1, \"content\": {{\"commit\": {{\"message\": {{\"hex\": \"{proposal}\"}}, \"externalProposals\": []}}}}}}]"
    );
    assert!(refused(Kind::Notify, &fanout).contains("something else"));
    // An MLS object is its hex: what is edited beside it would be lost.
    let edited = format!("{{\"proposals\": [{{\"hex\": \"{proposal}\", \"epoch\": 8}}]}}");
    assert!(refused(Kind::UpdateRequest, &edited).contains("`epoch`"));
    assert!(encode(None, "{\"body\": 1}").unwrap_err().to_string().contains("--as"));
    assert!(encode(None, "{\"kind\": \"x\", \"body\": 1}").unwrap_err().to_string().contains("--list"));
    assert!(encode(Some(Kind::Notify), "{\"kind\": \"consent\", \"body\": 1}").is_err());
    assert!(encode(Some(Kind::Notify), "[").is_err());
}

#[test]
fn faults_have_their_place() {
    let told = |kind, hex_text: &str| {
        decode(kind, &hex::decode(hex_text.replace(' ', "")).unwrap(), &none()).unwrap_err().to_string()
    };
    assert_eq!(told(Kind::Consent, "09"), "not consent: consentOperation, byte 0: unknown value 9");
    assert_eq!(
        told(Kind::Consent, &format!("02 {ALICE} {BOB} 00 05 0001 0001 00 00")),
        "not consent: clientKeyPackages[0].encryption_key, byte 56: input ends inside the field"
    );
    assert_eq!(
        told(Kind::ParticipantList, "19 18 6d696d693a2f2f612e6578616d706c652f752f616c696365"),
        "not participant-list: participants[0].role_index, byte 26: input ends inside the field"
    );
    let json = decode(Kind::Directory, b"{\n \"update\": x}", &none()).unwrap_err();
    let InspectError::Bytes { fault, .. } = json else { panic!("{json}") };
    assert_eq!(fault.offset, 13);
}

#[test]
fn kinds_are_guessed_when_only_one_fits() {
    let guess = |hex_text: &str| Kind::guess(&hex::decode(hex_text.replace(' ', "")).unwrap());
    assert_eq!(guess(&format!("03 {ALICE} {BOB} 00 00")), Ok(Kind::Consent));
    assert_eq!(Kind::guess(include_bytes!("../../../tests/vectors/mimi-content/original.cbor")), Ok(Kind::Content));
    let Err(InspectError::Ambiguous(kinds)) = guess("00") else { panic!() };
    assert!(kinds.contains(&Kind::ParticipantList) && kinds.contains(&Kind::SafeAad), "{kinds:?}");
    let Err(InspectError::NoKind(faults)) = guess(&format!("03 {ALICE} {BOB} 00 01")) else { panic!() };
    assert_eq!((faults[0].0, faults[0].1.offset), (Kind::Consent, 50));
}

/// Whatever decodes as a kind is guessed as that, or said to be one of several with it among them.
#[test]
fn every_kind_is_guessed() {
    let mut guessed = std::collections::BTreeSet::new();
    for dir in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds")).unwrap() {
        let dir = dir.unwrap();
        let Some(kind) = Kind::named(dir.file_name().to_str().unwrap()) else { continue };
        for file in fs::read_dir(dir.path()).unwrap() {
            let bytes = fs::read(file.unwrap().path()).unwrap();
            match (decode(kind, &bytes, &none()), Kind::guess(&bytes)) {
                (Err(_), _) => {}
                (Ok(_), Ok(found)) => {
                    assert_eq!(found, kind, "{}", hex::encode(&bytes));
                    guessed.insert(kind);
                }
                (Ok(_), Err(InspectError::Ambiguous(kinds))) => {
                    assert!(kinds.contains(&kind), "{kind} not in {kinds:?}");
                }
                (Ok(_), Err(other)) => panic!("{kind}: {other}"),
            }
        }
    }
    assert!(
        guessed.contains(&Kind::Directory) && guessed.contains(&Kind::Problem) && guessed.len() > 30,
        "{guessed:?}"
    );
}

#[test]
fn nothing_steers_the_terminal() {
    let name = "a\u{9b}31m\u{202e}\u{7f}b";
    let json = format!("{{\"body\": {{\"errorDescription\": {name:?}, \"responseCode\": \"notAllowed\"}}}}");
    assert!(encode(Some(Kind::UpdateResponse), &json).is_err(), "{json}");
    // A text that may hold them: a room's name.
    let mut bytes = hex::decode("176d696d693a2f2f612e6578616d706c652f722f636c7562").unwrap();
    bytes.push(u8::try_from(name.len()).unwrap());
    bytes.extend(name.as_bytes());
    bytes.extend([0; 4]);
    let json = decode(Kind::RoomMetadata, &bytes, &none()).unwrap();
    assert!(json.contains(r"a\u009b31m\u202e\u007fb") && !json.contains(|c| c != '\n' && table::steers(c)), "{json}");
    assert_eq!(encode(None, &json), Ok(bytes));
}

#[test]
fn the_list_names_every_kind_once() {
    let list = list();
    assert_eq!(list.lines().count(), Kind::ALL.len() + 1);
    for kind in Kind::ALL {
        assert_eq!(Kind::named(kind.name()), Some(*kind));
        assert!(list.lines().any(|line| line.split_whitespace().next() == Some(kind.name())), "{kind}");
    }
}
