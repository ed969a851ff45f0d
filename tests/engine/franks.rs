//! Franking (draft-ietf-mimi-protocol-06 section 5.4.1): what a hub stamps, what it refuses, which stamps a follower keeps.
//! Tags and signed bytes are made by hand here.

use std::collections::BTreeMap;

use hmac::{Hmac, Mac as _};
use mimi_gateway::{
    content::{MimiContent, message_id},
    engine::ports::Endpoint,
    ident::{RoomUri, UserUri},
    mls::{CIPHER_SUITE, labels},
    wire::{
        FRANK_AAD, FanoutContent, FanoutMessage, Frank, MESSAGE_ID, MlsMessage, SafeAad, SubmitMessageRequest,
        SubmitMessageResponse, Wire as _,
    },
};
use ruma::RoomId;
use sha2::Sha256;

use crate::{
    attacks::{Rogue, hosted_by_with, now, path},
    silo::{PATIENCE, Silo, Two, until, until_bodies, until_true},
};

/// `HMAC_SHA256(salt, application_data)`; the salt is the first thing in MIMI content: array of 7, 16 bytes.
pub(crate) fn tag(content: &[u8]) -> Vec<u8> {
    assert_eq!(content[..2], [0x87, 0x50]);
    let mut mac = Hmac::<Sha256>::new_from_slice(&content[2..18]).unwrap();
    mac.update(content);
    mac.finalize().into_bytes().to_vec()
}

/// `FrankingIntegrityTBS`, written from the draft.
fn signed(server_frank: &[u8; 32], sender: &UserUri, room: &RoomUri, accepted: u64) -> Vec<u8> {
    let mut bytes = server_frank.to_vec();
    bytes.extend_from_slice(&[0, 1]);
    for uri in [sender.as_str(), room.as_str()] {
        assert!(uri.len() < 64);
        bytes.push(u8::try_from(uri.len()).unwrap());
        bytes.extend_from_slice(uri.as_bytes());
    }
    bytes.extend_from_slice(&accepted.to_be_bytes());
    bytes
}

/// The key in the room's `franking_agent`: `SignaturePublicKey<V>`, then a basic credential that names the hub.
pub(crate) fn agent_key(rogue: &Rogue, hub: &str) -> Vec<u8> {
    let agent = rogue.member().component(0x0021).expect("the room has a franking agent");
    assert_eq!(agent[0], 32);
    assert_eq!(agent[33..35], [0, 1], "basic");
    assert_eq!(agent[36..], *hub.as_bytes());
    agent[1..33].to_vec()
}

pub(crate) fn verifies(key: &[u8], frank: &Frank, sender: &UserUri, room: &RoomUri, accepted: u64) -> bool {
    assert_eq!(frank.signature_ciphersuite, 1);
    let tbs = signed(&frank.server_frank, sender, room, accepted);
    labels::verify_with_label(&[CIPHER_SUITE], key, "FrankingIntegrityTBS", &tbs, &frank.integrity_signature).is_ok()
}

/// Application messages that the hub sent, with what they say.
fn messages(rogue: &mut Rogue) -> Vec<(u64, String, Frank, SafeAad)> {
    let fanned_out = rogue.fanned_out();
    let member = rogue.member.as_mut().unwrap();
    let mut out = Vec::new();
    for fanout in fanned_out {
        if let FanoutContent::Application { message, frank } = fanout.content
            && let Ok(opened) = member.open(message.as_bytes())
        {
            assert_eq!(opened.aad.0[&0x20], tag(&opened.plaintext), "the sender's own tag");
            let said = opened.user.to_string();
            out.push((fanout.timestamp, said, frank.expect("a frank"), opened.aad));
        }
    }
    out
}

/// A row of the log is longer than this with the hub's stamp, and shorter without.
const WITHOUT_STAMP: usize = 250;

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_stamps_what_is_said() {
    let two = Two::new().await;
    let (at_a, at_b, uri) = two.room().await;
    let mut rogue = Rogue::new("m", &two.a.net);
    rogue.enter(&two.a, &at_a, &uri, "m1").await;
    two.a.homeserver.say(&at_a, "a1", "by the hub's own user");
    two.b.homeserver.say(&at_b, "b1", "by a follower's");
    let hears = |silo: &Silo, room: &RoomId, text: &str| silo.homeserver.bodies(room).contains(&text.to_owned());
    until_true("A hears B", || hears(&two.a, &at_a, "by a follower's")).await;
    until_true("B hears A", || hears(&two.b, &at_b, "by the hub's own user")).await;
    until_true("both notifies", || {
        let fanned_out = rogue.fanned_out();
        fanned_out.iter().filter(|fanout| matches!(fanout.content, FanoutContent::Application { .. })).count() >= 2
    })
    .await;
    let key = agent_key(&rogue, "mimi://a.example");
    rogue.catch_up();
    let seen = messages(&mut rogue);
    for who in [two.a.uri("a1"), two.b.uri("b1")] {
        let (at, _, frank, _) = seen.iter().find(|(_, by, ..)| *by == who.to_string()).unwrap();
        assert!(verifies(&key, frank, &who, &uri, *at));
        assert!(!verifies(&key, frank, &who, &uri, *at + 1), "the time is part of it");
        assert!(!verifies(&key, frank, &rogue.uri("m1"), &uri, *at), "the sender is part of it");
    }
    assert_ne!(seen[0].2.server_frank, seen[1].2.server_frank);
    // Hub and follower keep them, for a report.
    for silo in [&two.a, &two.b] {
        // The line is written beside what is shown, and not before it.
        let since = std::time::Instant::now();
        while silo.bytes().await["log"] <= 2 * WITHOUT_STAMP {
            assert!(since.elapsed() < PATIENCE, "no stamp is kept");
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_refuses_what_is_not_true_of_a_message() {
    let two = Two::new().await;
    let (at_a, at_b, uri) = two.room().await;
    let mut rogue = Rogue::new("m", &two.a.net);
    rogue.enter(&two.a, &at_a, &uri, "m1").await;
    let m1 = rogue.uri("m1");
    let said = |text: &str, salt: u8| {
        let mut content = MimiContent::decode(&Rogue::words(&m1, &uri, text)).unwrap();
        content.salt = [salt; 16];
        content.encode_with_id(&m1, &uri).unwrap().0
    };
    let id = |words: &[u8], salt: u8| message_id(&m1, &uri, words, &[salt; 16]).0.to_vec();
    let wrong = said("another message", 1);
    let words = said("hello", 2);
    let cases = [
        ("a tag of another message", SafeAad(BTreeMap::from([(FRANK_AAD, tag(&wrong))])), false),
        ("an id of another message", SafeAad(BTreeMap::from([(MESSAGE_ID, id(&wrong, 1))])), false),
        ("both are right", SafeAad(BTreeMap::from([(FRANK_AAD, tag(&words)), (MESSAGE_ID, id(&words, 2))])), true),
    ];
    for (what, aad, good) in cases {
        let sealed = rogue.member.as_mut().unwrap().seal(&m1, &words, &aad).unwrap();
        let body = SubmitMessageRequest { app_message: MlsMessage::decode(&sealed).unwrap(), sending_user: m1.clone() };
        let answer = rogue.send(&two.a, Endpoint::SubmitMessage, &path(&uri), &body.encode()).await.unwrap();
        match SubmitMessageResponse::decode(&answer).unwrap() {
            SubmitMessageResponse::Accepted { accepted_timestamp, frank } => {
                assert!(good, "{what}");
                let key = agent_key(&rogue, "mimi://a.example");
                assert!(verifies(&key, &frank.unwrap(), &m1, &uri, accepted_timestamp));
            }
            SubmitMessageResponse::NotAllowed => assert!(!good, "{what}"),
            SubmitMessageResponse::EpochTooOld { .. } => panic!("{what}"),
        }
    }
    // Without a tag there is nothing to stamp.
    let words = said("unfranked", 3);
    let answer = rogue.submit(&two.a, &uri, "m1", &m1, &words).await;
    assert!(matches!(answer, SubmitMessageResponse::Accepted { frank: None, .. }), "{answer:?}");
    until_bodies(&two.b, &at_b, &["hello", "unfranked"]).await;
    until_bodies(&two.a, &at_a, &["hello", "unfranked"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_keeps_only_stamps_of_its_hub() {
    let two = Two::new().await;
    let mut rogue = Rogue::new("m", &two.a.net);
    let stamp = labels::SigningKey::generate().unwrap();
    let mut agent = vec![32];
    agent.extend_from_slice(stamp.public());
    agent.extend_from_slice(&[0, 1, 16]);
    agent.extend_from_slice(b"mimi://m.example");
    let (uri, portal) = hosted_by_with(&mut rogue, &two.b, BTreeMap::from([(0x0021, agent)])).await;
    let m1 = rogue.uri("m1");
    let mut logged = two.b.bytes().await.get("log").copied().unwrap_or_default();
    let mut shown = Vec::new();
    for (number, case) in ["forged", "another time", "good"].into_iter().enumerate() {
        let mut content = MimiContent::decode(&Rogue::words(&m1, &uri, case)).unwrap();
        content.salt = [u8::try_from(number).unwrap(); 16];
        let words = content.encode_with_id(&m1, &uri).unwrap().0;
        let aad = SafeAad(BTreeMap::from([(FRANK_AAD, tag(&words))]));
        let sealed = rogue.member.as_mut().unwrap().seal(&m1, &words, &aad).unwrap();
        let accepted = now();
        let stated = if case == "another time" { accepted - 1000 } else { accepted };
        let tbs = signed(&[7; 32], &m1, &uri, stated);
        let mut integrity_signature = labels::sign_with_label(&stamp, "FrankingIntegrityTBS", &tbs).unwrap();
        if case == "forged" {
            integrity_signature[3] ^= 1;
        }
        let frank = Frank { server_frank: [7; 32], signature_ciphersuite: 1, integrity_signature };
        let content = FanoutContent::Application { message: MlsMessage::decode(&sealed).unwrap(), frank: Some(frank) };
        let body = FanoutMessage { timestamp: accepted, content }.encode();
        rogue.send(&two.b, Endpoint::Notify, &path(&uri), &body).await.unwrap();
        // Whatever its stamp is worth: people see it.
        shown.push(case);
        until_bodies(&two.b, &portal, &shown).await;
        let now_logged = two.b.bytes().await.get("log").copied().unwrap_or_default();
        assert_eq!(now_logged - logged > WITHOUT_STAMP, case == "good", "{case}");
        logged = now_logged;
    }
    until("quiet", || two.b.homeserver.is_quiet().then_some(())).await;
}
