//! More of what hostile peers try, at a hub as its followers: S3, S3a, S9, S14 and S20.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use mimi_gateway::{
    content::{Expiration, MimiContent},
    engine::ports::{Endpoint, PathTarget, Problem},
    ident::{RoomUri, UserUri},
    mls::{self, AppDataChange, CIPHER_SUITE, Change, DEVICE, StagedCommit},
    policy::{ParticipantListUpdate, RoomMetadata, component, role},
    wire::{
        CommitBundle, ConsentAction, FRANKING_AGENT, GroupInfoOption, HandshakeBundle, KeyMaterialResponse,
        KeyMaterialUserCode, MlsMessage, RatchetTreeOption, SafeAad, SubmitMessageRequest, SubmitMessageResponse,
        UpdateOutcome, Wire as _,
    },
};
use openmls::{
    group::PURE_PLAINTEXT_WIRE_FORMAT_POLICY,
    prelude::{
        tls_codec::{Deserialize as _, DeserializeBytes as _, Serialize as _},
        *,
    },
    treesync::{LeafNodeParameters, RatchetTreeIn},
};
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::OpenMlsRustCrypto;
use ruma::OwnedRoomId;

use crate::{
    attacks::{Rogue, all_is_well, bundle, consent, now, path, refused, yes},
    consent::for_every_room,
    flow::key_request,
    silo::{Silo, Two, bridge, until_bodies, until_true},
};

/// A submission of `sealed` as the user `name`.
fn submission(rogue: &Rogue, name: &str, sealed: &[u8]) -> Vec<u8> {
    SubmitMessageRequest { app_message: MlsMessage::decode(sealed).unwrap(), sending_user: rogue.uri(name) }.encode()
}

async fn submit(rogue: &Rogue, to: &Silo, room: &RoomUri, body: &[u8]) -> SubmitMessageResponse {
    let target = path(room);
    let answer = rogue.send(to, Endpoint::SubmitMessage, &target, body).await.unwrap();
    SubmitMessageResponse::decode(&answer).unwrap()
}

/// A room of A's with B1 and M1 in it, and the rogue whose M1 is: the silos, the room at A and B, its URI, and the rogue.
async fn inside() -> (Two, OwnedRoomId, OwnedRoomId, RoomUri, Rogue) {
    let two = Two::new().await;
    let (at_a, at_b, uri) = two.room().await;
    let mut rogue = Rogue::new("m", &two.a.net);
    rogue.enter(&two.a, &at_a, &uri, "m1").await;
    (two, at_a, at_b, uri, rogue)
}

/// Bytes of what a hub stores of its rooms and of what peers did, by table; without what is noted late, and what goes again.
async fn stored(silo: &Silo) -> BTreeMap<String, usize> {
    let mut bytes = silo.bytes().await;
    bytes.retain(|table, _| !["watermark", "event", "outbox"].contains(&table.as_str()));
    bytes
}

/// The same once nothing changes any more.
async fn stored_at_rest(silo: &Silo) -> BTreeMap<String, usize> {
    let (mut before, since) = (stored(silo).await, Instant::now());
    loop {
        tokio::time::sleep(Duration::from_millis(120)).await;
        let now = stored(silo).await;
        if now == before || since.elapsed() > Duration::from_secs(10) {
            return now;
        }
        before = now;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s3a_consent_for_others() {
    let two = Two::new().await;
    let (at_a, at_b, uri) = two.room().await;
    let rogue = Rogue::new("m", &two.a.net);
    let before = two.a.room(&uri).await.unwrap();
    let to_a = PathTarget::Domain(two.a.domain.clone());
    let (a1, a2, b2, m1) = (two.a.uri("a1"), two.a.uri("a2"), two.b.uri("b2"), rogue.uri("m1"));
    let package = || mls::make_key_package(&m1, now()).unwrap().bytes;
    let forbidden = [
        // Grants of others' users, and of ours.
        (Endpoint::UpdateConsent, Rogue::grant(&a1, &b2, &uri, package())),
        (Endpoint::UpdateConsent, Rogue::grant(&a1, &a2, &uri, package())),
        (Endpoint::UpdateConsent, Rogue::grant(&b2, &m1, &uri, package())),
        // Questions in the name of others, and about others' users.
        (Endpoint::RequestConsent, consent(ConsentAction::Request, &b2, &a2, &uri)),
        (Endpoint::RequestConsent, consent(ConsentAction::Request, &a1, &a2, &uri)),
        (Endpoint::RequestConsent, consent(ConsentAction::Request, &m1, &b2, &uri)),
        (Endpoint::RequestConsent, consent(ConsentAction::Cancel, &b2, &a2, &uri)),
        // Denials in their names, and the same for every room.
        (Endpoint::UpdateConsent, consent(ConsentAction::Revoke, &a1, &b2, &uri)),
        (Endpoint::UpdateConsent, consent(ConsentAction::Revoke, &b2, &m1, &uri)),
        (Endpoint::UpdateConsent, for_every_room(ConsentAction::Grant { key_packages: vec![] }, &m1, &a2)),
        (Endpoint::UpdateConsent, for_every_room(ConsentAction::Revoke, &a1, &b2)),
        (Endpoint::RequestConsent, for_every_room(ConsentAction::Request, &b2, &a2)),
        (Endpoint::RequestConsent, for_every_room(ConsentAction::Cancel, &b2, &a2)),
    ];
    for (endpoint, body) in forbidden {
        let answer = rogue.send(&two.a, endpoint, &to_a, &body).await;
        assert!(matches!(answer, Err(Problem::Forbidden(_))), "{endpoint}: {answer:?}");
    }
    // A grant that nobody asked for, and one with another's KeyPackage: taken, and without effect.
    let unasked = Rogue::grant(&a1, &m1, &uri, package());
    let others = Rogue::grant(&a1, &m1, &uri, mls::make_key_package(&b2, now()).unwrap().bytes);
    let broken = Rogue::grant(&a1, &m1, &uri, {
        let mut bytes = package();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        bytes
    });
    for body in [unasked, others, broken] {
        rogue.send(&two.a, Endpoint::UpdateConsent, &to_a, &body).await.unwrap();
    }
    // A stranger asks one of ours into a room of ours: nobody is invited.
    let body = consent(ConsentAction::Request, &m1, &a2, &uri);
    rogue.send(&two.a, Endpoint::RequestConsent, &to_a, &body).await.unwrap();
    // And into a room of ours that is not there.
    let nowhere = RoomUri::new(&two.a.domain, "nowhere").unwrap();
    let body = consent(ConsentAction::Request, &m1, &a2, &nowhere);
    rogue.send(&two.a, Endpoint::RequestConsent, &to_a, &body).await.unwrap();
    all_is_well(&two, &at_a, &at_b, &uri, before).await;
    assert!(two.a.homeserver.invitations("a2").is_empty());
    assert_eq!(two.a.room(&nowhere).await, None);
    // None of it is consent: not for that room, and not for any of its own.
    let own = RoomUri::new(&rogue.domain, "own").unwrap();
    for (target, room) in [(&a1, &uri), (&a2, &uri), (&a1, &own), (&a2, &own)] {
        let path = PathTarget::Uri(target.as_uri().clone());
        let body = key_request(&m1, target, room);
        let answer = rogue.send(&two.a, Endpoint::KeyMaterial, &path, &body).await.unwrap();
        let answer = KeyMaterialResponse::decode(&answer).unwrap();
        assert_eq!(answer, KeyMaterialResponse::refused(KeyMaterialUserCode::NoConsent, target.clone()));
    }
    assert!(rogue.fanned_out().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_words_in_others_names() {
    let two = Two::new().await;
    let (at_a, at_b, uri) = two.room().await;
    let mut rogue = Rogue::new("m", &two.a.net);
    rogue.enter(&two.a, &at_a, &uri, "m1").await;
    let before = two.a.room(&uri).await.unwrap();
    let (m1, b1) = (rogue.uri("m1"), two.b.uri("b1"));
    // The request names another user than the leaf is.
    for named in [&b1, &rogue.uri("m2"), &two.a.uri("a1")] {
        let words = Rogue::words(named, &uri, "not mine");
        assert_eq!(rogue.submit(&two.a, &uri, "m1", named, &words).await, SubmitMessageResponse::NotAllowed);
    }
    // The content does: it is accepted, since a hub need not read it, but nobody is shown it.
    let words = Rogue::words(&b1, &uri, "in B1's name");
    rogue.submit(&two.a, &uri, "m1", &m1, &words).await;
    let elsewhere = RoomUri::new(&two.a.domain, "elsewhere").unwrap();
    let words = Rogue::words(&m1, &elsewhere, "for another room");
    rogue.submit(&two.a, &uri, "m1", &m1, &words).await;
    rogue.submit(&two.a, &uri, "m1", &m1, b"no CBOR at all").await;
    // The same message under another ciphertext is one message.
    let words = Rogue::words(&m1, &uri, "mine");
    for _ in 0..3 {
        let answer = rogue.submit(&two.a, &uri, "m1", &m1, &words).await;
        assert!(matches!(answer, SubmitMessageResponse::Accepted { .. }), "{answer:?}");
    }
    all_is_well(&two, &at_a, &at_b, &uri, before).await;
    let mut expected = ["mine", "still here", "me too"];
    expected.sort_unstable();
    until_bodies(&two.a, &at_a, &expected).await;
    until_bodies(&two.b, &at_b, &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_what_was_made_for_another_room_is_refused() {
    let two = Two::new().await;
    let (at_a, at_b, uri) = two.room().await;
    let (at_other, other) = bridge(&two.a, "a1").await;
    let mut rogue = Rogue::new("m", &two.a.net);
    rogue.enter(&two.a, &at_other, &other, "m1").await;
    let of_other = rogue.member.take();
    rogue.enter(&two.a, &at_a, &uri, "m1").await;
    let of_room = std::mem::replace(&mut rogue.member, of_other);
    // In the other room it is somebody, too, and everything that it sends there is right but for the room in the path.
    let m1 = rogue.uri("m1");
    let before = (two.a.room(&uri).await.unwrap(), two.a.room(&other).await.unwrap());
    let rows = stored_at_rest(&two.a).await;
    let answer = rogue.update(&two.a, &uri, &bundle(&rogue.refresh("m1"))).await;
    assert_eq!(answer.outcome, UpdateOutcome::NotAllowed);
    assert!(answer.description.contains("another group"), "{answer:?}");
    let leave = rogue.member.as_mut().unwrap().propose_leave(&m1, vec![]).unwrap();
    let proposals = leave.iter().map(|bytes| MlsMessage::decode(bytes).unwrap()).collect();
    let answer = rogue.update(&two.a, &uri, &HandshakeBundle::Proposals(proposals).encode()).await;
    assert_eq!(answer.outcome, UpdateOutcome::NotAllowed);
    for words in [Rogue::words(&m1, &uri, "elsewhere"), Rogue::words(&m1, &other, "elsewhere")] {
        let sealed = rogue.member.as_mut().unwrap().seal(&m1, &words, &SafeAad::default()).unwrap();
        let body = submission(&rogue, "m1", &sealed);
        assert_eq!(submit(&rogue, &two.a, &uri, &body).await, SubmitMessageResponse::NotAllowed);
    }
    assert_eq!(stored_at_rest(&two.a).await, rows);
    rogue.member = of_room;
    all_is_well(&two, &at_a, &at_b, &uri, before.0).await;
    assert_eq!(two.a.room(&other).await.unwrap(), before.1);
    assert!(two.a.homeserver.bodies(&at_other).is_empty());
}

/// S9 as content of messages: what the decoder refuses is `NotAllowed`, and costs the room nothing.
#[tokio::test(flavor = "multi_thread")]
async fn s9_hostile_content_is_refused_by_the_hub_that_reads_it() {
    let (two, at_a, at_b, uri, mut rogue) = inside().await;
    let before = two.a.room(&uri).await.unwrap();
    let m1 = rogue.uri("m1");
    let good = Rogue::words(&m1, &uri, "x");
    // The salt; after it what is replaced, the topic, when it expires, what it answers: extensions begin at 22.
    assert_eq!(good[..2], [0x87, 0x50]);
    let head = &good[..22];
    let with = |extensions: &[u8]| [head, extensions, &[0x85, 1, 0x60, 1, 0x60, 0x40]].concat();
    // Well-formed, and shown by nobody of ours: who says it hears that.
    let mut later = MimiContent::decode(&good).unwrap();
    later.expires = Some(Expiration::AfterReading(2 * 365 * 24 * 3600));
    let hostile: Vec<(&str, Vec<u8>)> = vec![
        ("arrays, 10,000 deep", vec![0x81; 10_000]),
        ("maps, 10,000 deep", [0xa1, 0x00].repeat(10_000)),
        ("a chain of tags", vec![0xc1; 10_000]),
        ("tags in an extension", with(&[&[0xa1, 5][..], &[0xc1; 5_000], &[0]].concat())),
        ("an array of 2^63", hex::decode("9b8000000000000000").unwrap()),
        ("a map of 2^63", with(&hex::decode("bb8000000000000000").unwrap())),
        ("bytes of 2^63", [&[0x87][..], &hex::decode("5b8000000000000000").unwrap()].concat()),
        ("text of 2^63", with(&hex::decode("a1057b8000000000000000").unwrap())),
        ("an indefinite array", vec![0x9f; 5_000]),
        ("an indefinite map", with(&[0xbf, 0xff])),
        ("indefinite bytes", with(&[0xa1, 5, 0x5f, 0x41, 0, 0xff])),
        ("the same key twice", with(&[0xa2, 5, 0xf5, 5, 0xf5])),
        ("the same key in two encodings", with(&[0xa2, 5, 0xf5, 0x18, 5, 0xf5])),
        ("a break alone", vec![0xff]),
        ("nothing", vec![]),
        ("cut off", good[..good.len() - 1].to_vec()),
        ("one byte more", [&good[..], &[0]].concat()),
        ("read for two years", later.encode().unwrap()),
    ];
    for (what, content) in hostile {
        let begun = Instant::now();
        let answer = rogue.submit(&two.a, &uri, "m1", &m1, &content).await;
        assert_eq!(answer, SubmitMessageResponse::NotAllowed, "{what}");
        // With sealing and opening in an unoptimised build.
        assert!(begun.elapsed() < Duration::from_secs(1), "{what}: {:?}", begun.elapsed());
    }
    all_is_well(&two, &at_a, &at_b, &uri, before).await;
    assert_eq!(two.a.homeserver.bodies(&at_a), ["still here", "me too"]);
}

/// A commit of M1 that changes these components, as OpenMLS lets anybody make it.
fn with_components(rogue: &Rogue, changes: &[(u16, Vec<u8>)], values: &[(u16, Vec<u8>)]) -> Option<StagedCommit> {
    let app_data =
        changes.iter().map(|(component, update)| AppDataChange { component: *component, update: update.clone() });
    let change = Change { app_data: app_data.collect(), ..Change::default() };
    let values: BTreeMap<u16, Vec<u8>> = values.iter().cloned().collect();
    rogue.member().stage_commit(&rogue.uri("m1"), &change, &mut yes(values), now()).ok()
}

const LIST: u16 = component::PARTICIPANT_LIST;

/// Values of components, or updates of them.
type Values = Vec<(u16, Vec<u8>)>;

/// The list of participants after an update of it.
fn list_after(rogue: &Rogue, change: impl FnOnce(&mut Vec<(UserUri, u32)>)) -> Vec<u8> {
    let mut state = rogue.state();
    change(&mut state.participants);
    state.to_components().unwrap()[&component::PARTICIPANT_LIST].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn s14_commits_that_are_signed_and_that_the_room_forbids() {
    let (two, at_a, at_b, uri, rogue) = inside().await;
    let before = two.a.room(&uri).await.unwrap();
    let (m1, b1) = (rogue.uri("m1"), two.b.uri("b1"));
    let state = rogue.state();
    let at = |user: &UserUri| {
        u32::try_from(state.participants.iter().position(|(other, _)| other == user).unwrap()).unwrap()
    };
    let update = |update: ParticipantListUpdate| update.encode().unwrap();
    let renamed = RoomMetadata { name: "Mine".to_owned(), ..state.metadata.clone() }.encode().unwrap();
    let moved = RoomMetadata { room_uri: RoomUri::new(&rogue.domain, "mine").unwrap(), ..state.metadata.clone() };
    let moved = moved.encode().unwrap();
    let roles = state.to_components().unwrap()[&component::ROLES_LIST].clone();
    let agent = rogue.member().component(FRANKING_AGENT).unwrap();
    let mut other_agent = agent.clone();
    other_agent[1] ^= 1;
    let promote = update(ParticipantListUpdate { changed: vec![(at(&m1), role::ADMIN)], ..Default::default() });
    let banned = update(ParticipantListUpdate { changed: vec![(at(&b1), role::BANNED)], ..Default::default() });
    let unlisted = update(ParticipantListUpdate { removed: vec![at(&b1)], ..Default::default() });
    let again = update(ParticipantListUpdate { added: vec![(b1.clone(), role::MEMBER)], ..Default::default() });
    let nobody = update(ParticipantListUpdate { removed: vec![99], ..Default::default() });
    let twice = update(ParticipantListUpdate {
        changed: vec![(at(&m1), role::MODERATOR)],
        removed: vec![at(&m1)],
        ..Default::default()
    });
    let list_with = |role: u32| {
        list_after(&rogue, |list| {
            for entry in list.iter_mut().filter(|entry| entry.0 == m1) {
                entry.1 = role;
            }
        })
    };
    let same = list_after(&rogue, |_| {});
    let tries: Vec<(&str, Values, Values)> = vec![
        ("another name", vec![(component::ROOM_METADATA, renamed.clone())], vec![(component::ROOM_METADATA, renamed)]),
        ("another room", vec![(component::ROOM_METADATA, moved.clone())], vec![(component::ROOM_METADATA, moved)]),
        ("the roles again", vec![(component::ROLES_LIST, roles.clone())], vec![(component::ROLES_LIST, roles)]),
        ("another franking agent", vec![(FRANKING_AGENT, other_agent.clone())], vec![(FRANKING_AGENT, other_agent)]),
        ("a component of its own", vec![(0x8001, vec![1])], vec![(0x8001, vec![1])]),
        ("itself as admin", vec![(LIST, promote)], vec![(LIST, list_with(role::ADMIN))]),
        ("B1 banned", vec![(LIST, banned)], vec![(LIST, same.clone())]),
        (
            "B1 off the list, with its client",
            vec![(LIST, unlisted)],
            vec![(LIST, list_after(&rogue, |list| list.retain(|(user, _)| *user != b1)))],
        ),
        ("B1 twice", vec![(LIST, again)], vec![(LIST, same.clone())]),
        ("nobody removed", vec![(LIST, nobody)], vec![(LIST, same.clone())]),
        ("itself twice", vec![(LIST, twice)], vec![(LIST, same.clone())]),
        ("an update that is none", vec![(LIST, vec![0xff])], vec![(LIST, same.clone())]),
    ];
    for (what, changes, values) in tries {
        let staged = with_components(&rogue, &changes, &values).unwrap_or_else(|| panic!("{what} cannot be made"));
        let answer = rogue.update(&two.a, &uri, &bundle(&staged)).await;
        assert_eq!(answer.outcome, UpdateOutcome::NotAllowed, "{what}: {answer:?}");
        assert!(!answer.description.is_empty(), "{what}");
    }
    // Another's client goes, and nobody has said so in the list.
    let leaf = rogue.member().leaves().iter().find(|leaf| leaf.user == b1).unwrap().index;
    let change = Change { removes: vec![leaf], ..Change::default() };
    let staged = rogue.member().stage_commit(&m1, &change, &mut yes(BTreeMap::new()), now()).unwrap();
    assert_eq!(rogue.update(&two.a, &uri, &bundle(&staged)).await.outcome, UpdateOutcome::NotAllowed);
    // Nothing verifies of which a byte was changed on the way.
    let good = rogue.refresh("m1");
    let whole = bundle(&good);
    let refused_bytes = [0.3, 0.6, 0.9].map(|part: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a place"
        )]
        let at = (good.commit.len() as f64 * part) as usize;
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    });
    for body in refused_bytes {
        if let Ok(damaged) = HandshakeBundle::decode(&body) {
            let answer = rogue.update(&two.a, &uri, &damaged.encode()).await;
            assert!(!matches!(answer.outcome, UpdateOutcome::Success { .. }), "{answer:?}");
        }
    }
    all_is_well(&two, &at_a, &at_b, &uri, before.clone()).await;
    assert_eq!(two.b.room(&uri).await.unwrap(), before);
    // And it was none of the rest: this one is taken.
    let answer = rogue.update(&two.a, &uri, &whole).await;
    assert!(matches!(answer.outcome, UpdateOutcome::Success { .. }), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn s14_a_flood_for_old_epochs_costs_an_answer_each() {
    let (two, at_a, at_b, uri, mut rogue) = inside().await;
    let m1 = rogue.uri("m1");
    // Sealed now; three epochs later they are too old.
    let old: Vec<Vec<u8>> = (0..100)
        .map(|n| {
            let words = Rogue::words(&m1, &uri, &format!("old {n}"));
            rogue.member.as_mut().unwrap().seal(&m1, &words, &SafeAad::default()).unwrap()
        })
        .collect();
    let old_commit = bundle(&rogue.refresh("m1"));
    for _ in 0..3 {
        let staged = rogue.refresh("m1");
        let answer = rogue.update(&two.a, &uri, &bundle(&staged)).await;
        assert!(matches!(answer.outcome, UpdateOutcome::Success { .. }), "{answer:?}");
        rogue.member.as_mut().unwrap().accept_staged(&staged, &mut yes(BTreeMap::new()), now()).unwrap();
    }
    let before = two.a.room(&uri).await.unwrap();
    let epoch = before.1.unwrap();
    let rows = stored_at_rest(&two.a).await;
    // Others talk meanwhile.
    two.b.homeserver.say(&at_b, "b1", "in between");
    for sealed in &old {
        let answer = submit(&rogue, &two.a, &uri, &submission(&rogue, "m1", sealed)).await;
        assert_eq!(answer, SubmitMessageResponse::EpochTooOld { current_epoch: epoch });
        let answer = rogue.update(&two.a, &uri, &old_commit).await;
        assert_eq!(answer.outcome, UpdateOutcome::WrongEpoch { current_epoch: epoch });
    }
    until_true("A hears B", || two.a.homeserver.bodies(&at_a) == ["in between"]).await;
    // What is stored grows by B1's message, and not with the flood.
    let after = stored_at_rest(&two.a).await;
    let grown: usize = after.values().sum::<usize>().saturating_sub(rows.values().sum());
    assert!(grown < 20_000, "{grown} bytes more: {rows:?} {after:?}");
    // From the future: never yet.
    let words = Rogue::words(&m1, &uri, "future");
    let mut sealed = rogue.member.as_mut().unwrap().seal(&m1, &words, &SafeAad::default()).unwrap();
    let group = rogue.member().group_id().len();
    // Version, wire format, length and group id; then the epoch.
    let at = 4 + if group < 64 { 1 } else { 2 } + group;
    assert_eq!(sealed[at..at + 8], epoch.to_be_bytes());
    sealed[at..at + 8].copy_from_slice(&(epoch + 7).to_be_bytes());
    let answer = submit(&rogue, &two.a, &uri, &submission(&rogue, "m1", &sealed)).await;
    assert_eq!(answer, SubmitMessageResponse::NotAllowed);
    all_is_well(&two, &at_a, &at_b, &uri, before).await;
}

/// A client of the rogue's that is made of OpenMLS alone, which asks nobody about identities.
struct Bare {
    provider: OpenMlsRustCrypto,
    signer: SignatureKeyPair,
}

const SUITE: Ciphersuite = Ciphersuite::MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519;

impl Bare {
    fn new() -> Self {
        assert_eq!(u16::from(SUITE), CIPHER_SUITE);
        let signer = SignatureKeyPair::new(SUITE.signature_algorithm()).unwrap();
        Self { provider: OpenMlsRustCrypto::default(), signer }
    }

    fn called(&self, user: &UserUri) -> CredentialWithKey {
        let identity = user.client(DEVICE).unwrap().as_str().as_bytes().to_vec();
        CredentialWithKey {
            credential: BasicCredential::new(identity).into(),
            signature_key: self.signer.public().into(),
        }
    }

    fn key_package(&self, user: &UserUri) -> Vec<u8> {
        // What rooms of the gateway require of a leaf: participant list, metadata, roles, base policy; frank_aad.
        let mut dictionary = AppDataDictionary::new();
        dictionary.insert(1, vec![8, 0, 0x22, 0, 0x23, 0, 0x25, 0, 0x27]);
        dictionary.insert(2, vec![2, 0, 0x20]);
        let listed = Extension::AppDataDictionary(AppDataDictionaryExtension::new(dictionary));
        let made = KeyPackage::builder()
            .leaf_node_capabilities(Capabilities::new(
                None,
                None,
                Some(&[ExtensionType::AppDataDictionary]),
                Some(&[ProposalType::AppDataUpdate, ProposalType::SelfRemove]),
                None,
            ))
            .leaf_node_extensions(Extensions::single(listed).unwrap())
            .build(SUITE, &self.provider, &self.signer, self.called(user))
            .unwrap();
        made.key_package().tls_serialize_detached().unwrap()
    }

    fn join(&self, welcome: &[u8], tree: &[u8]) -> MlsGroup {
        let config = MlsGroupJoinConfig::builder().wire_format_policy(PURE_PLAINTEXT_WIRE_FORMAT_POLICY).build();
        let message = MlsMessageIn::tls_deserialize_exact(welcome).unwrap();
        let MlsMessageBodyIn::Welcome(welcome) = message.extract() else { panic!("no Welcome") };
        let tree = RatchetTreeIn::tls_deserialize_exact_bytes(tree).unwrap();
        let staged = StagedWelcome::new_from_welcome(&self.provider, &config, welcome, Some(tree)).unwrap();
        staged.into_group(&self.provider).unwrap()
    }

    /// A commit with path by which its leaf is called `user`.
    fn path(&self, group: &mut MlsGroup, user: &UserUri) -> Vec<u8> {
        let leaf = LeafNodeParameters::builder().with_credential_with_key(self.called(user)).build();
        let made = group
            .commit_builder()
            .leaf_node_parameters(leaf)
            .load_psks(self.provider.storage())
            .unwrap()
            .build(self.provider.rand(), self.provider.crypto(), &self.signer, |_| true)
            .unwrap()
            .stage_commit(&self.provider)
            .unwrap();
        let commit = made.commit().tls_serialize_detached().unwrap();
        group.clear_pending_commit(self.provider.storage()).unwrap();
        commit
    }

    /// A proposal by which its leaf is called `user`.
    fn update(&self, group: &mut MlsGroup, user: &UserUri) -> Vec<u8> {
        let leaf = LeafNodeParameters::builder().with_credential_with_key(self.called(user)).build();
        let (made, _) = group.propose_self_update(&self.provider, &self.signer, leaf).unwrap();
        let proposal = made.tls_serialize_detached().unwrap();
        group.clear_pending_proposals(self.provider.storage()).unwrap();
        proposal
    }
}

/// S14 and S20: a leaf stays its user's, in Updates and in paths.
#[tokio::test(flavor = "multi_thread")]
async fn s20_a_leaf_does_not_change_its_identity() {
    let two = Two::new().await;
    let (at_a, at_b, uri) = two.room().await;
    let rogue = Rogue::new("m", &two.a.net);
    let (m1, m2) = (rogue.uri("m1"), rogue.uri("m2"));
    let bare = Bare::new();
    let (welcome, tree) = rogue.let_in(&two.a, &at_a, &uri, "m1", bare.key_package(&m1)).await;
    let mut group = bare.join(&welcome, &tree);
    let before = two.a.room(&uri).await.unwrap();
    let info = rogue.group_info(&two.a, &uri, &m1).await.unwrap();
    let with_path = |commit: &[u8]| {
        HandshakeBundle::Commit(Box::new(CommitBundle {
            commit: MlsMessage::decode(commit).unwrap(),
            welcome: None,
            group_info: GroupInfoOption::Full(info.group_info.clone()),
            ratchet_tree: RatchetTreeOption::Full(match &info.ratchet_tree {
                RatchetTreeOption::Full(tree) => tree.clone(),
                other => panic!("{other:?}"),
            }),
        }))
        .encode()
    };
    let proposed = |proposal: &[u8]| HandshakeBundle::Proposals(vec![MlsMessage::decode(proposal).unwrap()]).encode();
    for other in [m2, two.b.uri("b1"), two.a.uri("a1"), two.b.uri("b9")] {
        let commit = bare.path(&mut group, &other);
        let answer = rogue.update(&two.a, &uri, &with_path(&commit)).await;
        assert!(refused(&answer), "{other}, by a path: {answer:?}");
        let proposal = bare.update(&mut group, &other);
        let answer = rogue.update(&two.a, &uri, &proposed(&proposal)).await;
        let reference = MlsMessage::decode(&proposal).unwrap().proposal_reference().unwrap();
        assert_eq!(
            answer.outcome,
            UpdateOutcome::InvalidProposal { proposals: vec![reference] },
            "{other}: {answer:?}"
        );
    }
    all_is_well(&two, &at_a, &at_b, &uri, before).await;
    assert!(!two.b.room(&uri).await.unwrap().0.starts_with("broken"));
    // It was nothing else: under its own name it is taken.
    let commit = bare.path(&mut group, &m1);
    let answer = rogue.update(&two.a, &uri, &with_path(&commit)).await;
    assert!(matches!(answer.outcome, UpdateOutcome::Success { .. }), "{answer:?}");
}
