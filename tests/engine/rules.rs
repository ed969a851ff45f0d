//! Rules of draft-ietf-mimi-protocol-06 that no other test has as its subject (docs/rules.md names a test for each).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use mimi_gateway::{
    engine::ports::{Endpoint, PathTarget, Problem},
    ident::{RoomUri, UserUri},
    mls::{AppDataChange, CIPHER_SUITE, Change, DEVICE, labels},
    policy::{self, component, role},
    wire::{
        ConsentAction, ConsentEntry, Credential, ExternalSender, FanoutContent, FanoutMessage, GroupInfoRequest,
        GroupInfoRequestTbs, GroupInfoResponse, HandshakeBundle, KeyMaterialRequest, KeyMaterialRequestTbs,
        KeyMaterialResponse, KeyMaterialUserCode, MlsMessage, RequiredCapabilities, SubmitMessageResponse,
        UpdateOutcome, Wire as _,
    },
};
use openmls::prelude::tls_codec::{DeserializeBytes as _, Serialize as _};

use crate::{
    attacks::{Rogue, bundle, now, path, refused, yes},
    consent::{own_desk, says},
    flow::until_room,
    franks::{agent_key, verifies},
    homeserver::Fault,
    silo::{Net, Silo, Two, bridge, bring, until, until_bodies, until_true},
};

/// The proposals by which a rogue's user leaves: what it says of the list, then the SelfRemove.
fn leave(rogue: &mut Rogue, name: &str) -> Vec<MlsMessage> {
    let user = rogue.uri(name);
    let update = policy::update_remove(&rogue.state(), std::slice::from_ref(&user)).unwrap();
    let change = AppDataChange { component: component::PARTICIPANT_LIST, update };
    let made = rogue.member.as_mut().unwrap().propose_leave(&user, vec![change]).unwrap();
    made.iter().map(|bytes| MlsMessage::decode(bytes).unwrap()).collect()
}

fn proposals(messages: &[MlsMessage]) -> Vec<u8> {
    HandshakeBundle::Proposals(messages.to_vec()).encode()
}

fn accepted(outcome: &UpdateOutcome) -> bool {
    matches!(outcome, UpdateOutcome::Success { .. })
}

/// What the hub sent to a provider, in order.
fn sent(net: &Net, to: &Silo) -> Vec<FanoutMessage> {
    let calls = net.calls(&to.domain, Endpoint::Notify);
    calls.iter().flat_map(|call| FanoutMessage::decode_all(&call.body).unwrap()).collect()
}

/// Section 5.5: `moreProposals` of the fan-out is that of the update, before the commit that takes the proposals in; whoever
/// is removed by it gets the commit, and nothing after it.
#[tokio::test(flavor = "multi_thread")]
async fn proposals_are_distributed_as_they_came_and_who_left_gets_the_commit() {
    let two = Two::new().await;
    let (at_a, at_b, uri) = two.room().await;
    let mut rogue = Rogue::new("m", &two.a.net);
    rogue.enter(&two.a, &at_a, &uri, "m1").await;
    let epoch = rogue.member().epoch();
    let made = leave(&mut rogue, "m1");
    assert_eq!(made.len(), 2);
    assert!(accepted(&rogue.update(&two.a, &uri, &proposals(&made)).await.outcome));
    let is_commit = |fanout: &FanoutMessage| matches!(&fanout.content, FanoutContent::Commit { message, .. } if message.epoch() == Some(epoch));
    until_true("B gets the commit", || sent(&two.a.net, &two.b).iter().any(is_commit)).await;
    let fanned_out = sent(&two.a.net, &two.b);
    let at = fanned_out
        .iter()
        .position(|fanout| {
            matches!(&fanout.content, FanoutContent::Proposal { message, more } if *message == made[0] && *more == made[1..])
        })
        .expect("the proposals, as they came");
    assert!(fanned_out[..at].iter().all(|fanout| !is_commit(fanout)) && is_commit(&fanned_out[at + 1]));
    // M1, who left, gets the commit as well.
    until_true("M gets the commit", || rogue.fanned_out().iter().any(is_commit)).await;
    let heard = rogue.fanned_out().len();
    two.a.homeserver.say(&at_a, "a1", "among ourselves");
    until_bodies(&two.b, &at_b, &["among ourselves"]).await;
    assert_eq!(rogue.fanned_out().len(), heard);
    assert!(is_commit(rogue.fanned_out().last().unwrap()));
}

/// Sections 5.3 and 7.1: who was removed, or whose leave was accepted, says nothing and changes nothing any more.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_leaving_says_and_proposes_nothing_more() {
    let net = Arc::new(Net::default());
    let a = Silo::new("a", &["a1"], &net).await;
    let (at_a, uri) = bridge(&a, "a1").await;
    let (mut leaver, mut other) = (Rogue::new("m", &net), Rogue::new("n", &net));
    leaver.enter(&a, &at_a, &uri, "m1").await;
    other.enter(&a, &at_a, &uri, "n1").await;
    leaver.catch_up_with(&[&other.uri("n1")]);
    // Nobody of the hub is left: proposals wait for somebody's commit.
    a.homeserver.leave(&at_a, "a1");
    let going = until("the leave of A1", || {
        other.fanned_out().into_iter().find_map(|fanout| match fanout.content {
            FanoutContent::Proposal { message, more } => Some([vec![message], more].concat()),
            _ => None,
        })
    })
    .await;
    let (n1, a1, m1) = (other.uri("n1"), a.uri("a1"), leaver.uri("m1"));
    let values = |rogue: &Rogue, gone: &[&UserUri]| {
        let mut state = rogue.state();
        state.participants.retain(|(user, _)| !gone.contains(&user));
        let list = state.to_components().unwrap()[&component::PARTICIPANT_LIST].clone();
        BTreeMap::from([(component::PARTICIPANT_LIST, list)])
    };
    for rogue in [&mut leaver, &mut other] {
        for proposal in &going {
            rogue.member.as_mut().unwrap().store_proposal(proposal.as_bytes(), now()).unwrap();
        }
    }
    let list = values(&other, &[&a1]);
    let staged = other.member().stage_commit(&n1, &Change::default(), &mut yes(list.clone()), now()).unwrap();
    assert!(accepted(&other.update(&a, &uri, &bundle(&staged)).await.outcome));
    other.member.as_mut().unwrap().accept_staged(&staged, &mut yes(list.clone()), now()).unwrap();
    leaver.member.as_mut().unwrap().apply_commit(&staged.commit, &mut yes(list), now()).unwrap();

    // M1 could say something, and add somebody to the list.
    let words = Rogue::words(&m1, &uri, "not yet");
    assert!(matches!(leaver.submit(&a, &uri, "m1", &m1, &words).await, SubmitMessageResponse::Accepted { .. }));
    let update = policy::update_add(&leaver.state(), &[(leaver.uri("m2"), role::MEMBER)]).unwrap();
    let change = AppDataChange { component: component::PARTICIPANT_LIST, update };
    // Two sets of proposals: by the one M1 leaves, of the other only what lists M2 is sent.
    let adding = leaver.member.as_mut().unwrap().propose_leave(&m1, vec![change]).unwrap();
    for proposal in &adding {
        leaver.member.as_mut().unwrap().drop_proposal(proposal).unwrap();
    }
    let adding = MlsMessage::decode(&adding[0]).unwrap();
    let made = leave(&mut leaver, "m1");
    assert!(accepted(&leaver.update(&a, &uri, &proposals(&made)).await.outcome));
    let answer = leaver.update(&a, &uri, &proposals(std::slice::from_ref(&adding))).await;
    assert!(refused(&answer) && answer.description.contains("is leaving"), "{answer:?}");
    let words = Rogue::words(&m1, &uri, "after all");
    assert_eq!(leaver.submit(&a, &uri, "m1", &m1, &words).await, SubmitMessageResponse::NotAllowed);
    // A commit that leaves its leave out is refused, whoever makes it.
    for rogue in [&leaver, &other] {
        let name = if rogue.domain == leaver.domain { "m1" } else { "n1" };
        if let Ok(staged) = rogue.member().stage_commit(
            &rogue.uri(name),
            &Change { path: true, ..Change::default() },
            &mut yes(BTreeMap::new()),
            now(),
        ) {
            assert!(refused(&rogue.update(&a, &uri, &bundle(&staged)).await));
        }
    }
    // N1 takes it in.
    for proposal in &made {
        other.member.as_mut().unwrap().store_proposal(proposal.as_bytes(), now()).unwrap();
    }
    let list = values(&other, &[&m1]);
    let staged = other.member().stage_commit(&n1, &Change::default(), &mut yes(list.clone()), now()).unwrap();
    assert!(accepted(&other.update(&a, &uri, &bundle(&staged)).await.outcome));
    // M1 is out: nothing that it sends counts, for the old epoch or for the new one.
    let epoch = staged.epoch + 1;
    assert_eq!(leaver.submit(&a, &uri, "m1", &m1, &words).await, SubmitMessageResponse::NotAllowed);
    let answer = leaver.update(&a, &uri, &proposals(std::slice::from_ref(&adding))).await;
    assert_eq!(answer.outcome, UpdateOutcome::WrongEpoch { current_epoch: epoch });
    let answer = leaver.update(&a, &uri, &proposals(&[at_epoch(&adding, epoch)])).await;
    assert!(refused(&answer), "{answer:?}");
    assert!(leaver.group_info(&a, &uri, &m1).await.is_none());
    until_room(&a, &uri, "active").await;
    assert_eq!(a.room(&uri).await.unwrap(), ("active".to_owned(), Some(epoch), 1));
}

/// The same handshake with another epoch written over its own.
fn at_epoch(message: &MlsMessage, epoch: u64) -> MlsMessage {
    let mut bytes = message.as_bytes().to_vec();
    let group = message.group_id().unwrap().len();
    let at = 4 + if group < 64 { 1 } else { 2 } + group;
    bytes[at..at + 8].copy_from_slice(&epoch.to_be_bytes());
    MlsMessage::decode(&bytes).unwrap()
}

impl Rogue {
    /// The commits that listed these users and added their clients are taken in.
    fn catch_up_with(&mut self, added: &[&UserUri]) {
        for fanout in self.fanned_out() {
            let FanoutContent::Commit { message, .. } = fanout.content else { continue };
            let member = self.member.as_mut().unwrap();
            if message.epoch() != Some(member.epoch()) {
                continue;
            }
            let mut state = policy::RoomState::from_components(&member.components()).unwrap();
            state.participants.extend(added.iter().map(|user| ((*user).clone(), role::MEMBER)));
            let list = state.to_components().unwrap()[&component::PARTICIPANT_LIST].clone();
            let values = BTreeMap::from([(component::PARTICIPANT_LIST, list)]);
            member.apply_commit(message.as_bytes(), &mut yes(values), now()).unwrap();
        }
    }
}

/// The users who may send proposals from outside, by their credentials.
async fn external_senders(rogue: &Rogue, a: &Silo, uri: &RoomUri) -> Vec<String> {
    let info = rogue.group_info(a, uri, &rogue.uri("m1")).await.unwrap();
    let read =
        openmls::messages::group_info::VerifiableGroupInfo::tls_deserialize_exact_bytes(info.group_info.as_bytes());
    let context = read.unwrap().group_context().clone();
    let senders = context.extensions().external_senders().expect("the extension").clone();
    let read = |sender: &openmls::extensions::ExternalSender| {
        let sender = ExternalSender::decode(&sender.tls_serialize_detached().unwrap()).unwrap();
        let Credential::Basic { identity } = sender.credential else { panic!("{sender:?}") };
        String::from_utf8(identity).unwrap()
    };
    senders.iter().map(read).collect()
}

/// Section 7.4: the hub, and nobody else, also when a follower's last participant left.
#[tokio::test(flavor = "multi_thread")]
async fn external_senders_are_the_hub_alone() {
    let two = Two::new().await;
    let (at_a, at_b, uri) = two.room().await;
    let mut rogue = Rogue::new("m", &two.a.net);
    rogue.enter(&two.a, &at_a, &uri, "m1").await;
    assert_eq!(external_senders(&rogue, &two.a, &uri).await, ["mimi://a.example"]);
    two.b.homeserver.leave(&at_b, "b1");
    let ghost = two.a.ghost(&two.b.uri("b1"));
    until_true("B1 is out", || two.a.homeserver.member(&at_a, &ghost).as_deref() == Some("leave")).await;
    assert_eq!(external_senders(&rogue, &two.a, &uri).await, ["mimi://a.example"]);
}

/// Section 5.2: KeyPackages for a room are asked for by way of its hub, with the room's name, by hub and follower alike.
#[tokio::test(flavor = "multi_thread")]
async fn key_material_is_asked_for_with_the_room_and_by_way_of_its_hub() {
    let two = Two::new().await;
    let c = Silo::new("c", &["c1", "c2"], &two.a.net).await;
    let (at_a, at_b, uri) = two.room().await;
    bring(&two.a, &at_a, "a1", &c, "c1").await;
    bring(&two.b, &at_b, "b1", &c, "c2").await;
    let read = |silo: &Silo| -> Vec<(String, KeyMaterialRequest)> {
        let calls = two.a.net.calls(&silo.domain, Endpoint::KeyMaterial);
        calls.iter().map(|call| (call.from.to_string(), KeyMaterialRequest::decode(&call.body).unwrap())).collect()
    };
    let asked = [read(&two.a), read(&two.b), read(&c)].concat();
    assert!(asked.iter().all(|(_, request)| request.tbs().room.as_ref() == Some(&uri)), "{asked:?}");
    let for_c2: Vec<&str> = asked
        .iter()
        .filter(|(_, request)| request.tbs().target_user == c.uri("c2"))
        .map(|(from, _)| from.as_str())
        .collect();
    assert_eq!(for_c2, ["b.example", "a.example"], "from B to the hub, and from the hub to C");
    // What a room of ours requires of a client stands in it: app_data_dictionary; AppDataUpdate, SelfRemove; basic.
    let required = RequiredCapabilities { extensions: vec![6], proposals: vec![8, 10], credentials: vec![1] };
    for (_, request) in asked {
        assert_eq!(request.tbs().acceptable_ciphersuites, [CIPHER_SUITE]);
        assert_eq!(request.tbs().required_capabilities, required);
    }
}

/// Section 5.4.1: one franking agent for good, so that nobody is unsure about its key; a restart is no reason for another.
#[tokio::test(flavor = "multi_thread")]
async fn the_franking_agent_stays_the_same() {
    let two = Two::new().await;
    let (at_a, _, uri) = two.room().await;
    let mut rogue = Rogue::new("m", &two.a.net);
    rogue.enter(&two.a, &at_a, &uri, "m1").await;
    let key = agent_key(&rogue, "mimi://a.example");
    two.a.stop().await;
    two.a.start().await;
    two.a.homeserver.say(&at_a, "a1", "after the restart");
    let a1 = two.a.uri("a1");
    until_true("a frank of that key", || {
        rogue.fanned_out().iter().any(|fanout| match &fanout.content {
            FanoutContent::Application { frank: Some(frank), .. } => verifies(&key, frank, &a1, &uri, fanout.timestamp),
            _ => false,
        })
    })
    .await;
}

/// Section 5.5: a notify that was not answered with 201 comes again, and not before the time that the peer named.
#[tokio::test(flavor = "multi_thread")]
async fn a_notify_comes_again_when_the_peer_said() {
    const WAIT: Duration = Duration::from_millis(600);
    let tries: Arc<Mutex<Vec<(String, Instant)>>> = Arc::default();
    let busy = Arc::new(Mutex::new(0_u32));
    let faults = {
        let (tries, busy) = (Arc::clone(&tries), Arc::clone(&busy));
        Box::new(move |call: &str| {
            if !call.starts_with("notify a.example to b.example") {
                return Fault::None;
            }
            let mut left = busy.lock().unwrap();
            if *left == 0 {
                return Fault::None;
            }
            *left -= 1;
            tries.lock().unwrap().push((call.to_owned(), Instant::now()));
            if *left == 0 { Fault::None } else { Fault::Later(WAIT) }
        })
    };
    let two = Two::with(Arc::new(Mutex::new(faults))).await;
    let (at_a, at_b, _) = two.room().await;
    *busy.lock().unwrap() = 3;
    two.a.homeserver.say(&at_a, "a1", "patience");
    until_bodies(&two.b, &at_b, &["patience"]).await;
    let tries = tries.lock().unwrap();
    assert_eq!(tries.len(), 3);
    assert!(tries.windows(2).all(|pair| pair[0].0 == pair[1].0), "the same bytes");
    assert!(tries.windows(2).all(|pair| pair[1].1 - pair[0].1 >= WAIT), "{tries:?}");
}

/// Sections 5.2 and 5.6: who asks for KeyPackages or a GroupInfo proves to hold the key, and names themselves.
#[tokio::test(flavor = "multi_thread")]
async fn requests_count_with_their_signature_and_their_own_name_only() {
    let two = Two::new().await;
    let (at_a, _, uri) = two.room().await;
    let mut rogue = Rogue::new("m", &two.a.net);
    rogue.enter(&two.a, &at_a, &uri, "m1").await;
    let (m1, m2, a2) = (rogue.uri("m1"), rogue.uri("m2"), two.a.uri("a2"));
    let key = labels::SigningKey::generate().unwrap();
    let identity = |user: &UserUri| user.client(DEVICE).unwrap().as_str().as_bytes().to_vec();
    let keys = |named: &UserUri, spoilt: bool| {
        let tbs = KeyMaterialRequestTbs {
            requesting_user: m1.clone(),
            target_user: a2.clone(),
            room: Some(uri.clone()),
            acceptable_ciphersuites: vec![CIPHER_SUITE],
            required_capabilities: RequiredCapabilities::default(),
            requester_signature_key: key.public().to_vec(),
            requester_credential: Credential::Basic { identity: identity(named) },
        };
        let mut signature = labels::sign_with_label(&key, KeyMaterialRequestTbs::LABEL, &tbs.encode()).unwrap();
        signature[5] ^= u8::from(spoilt);
        KeyMaterialRequest::new(tbs, signature).encode()
    };
    let target = PathTarget::Uri(a2.as_uri().clone());
    for body in [keys(&m1, true), keys(&m2, false), keys(&a2, false)] {
        let answer = rogue.send(&two.a, Endpoint::KeyMaterial, &target, &body).await;
        assert!(matches!(answer, Err(Problem::Forbidden(_))), "{answer:?}");
    }
    // In order, it is a question that A2 can answer.
    let answer = rogue.send(&two.a, Endpoint::KeyMaterial, &target, &keys(&m1, false)).await.unwrap();
    let answer = KeyMaterialResponse::decode(&answer).unwrap();
    assert_eq!((answer.status, answer.clients.len()), (KeyMaterialUserCode::NoConsent, 0));

    let info = |named: &UserUri, spoilt: bool| {
        let tbs = GroupInfoRequestTbs {
            cipher_suite: CIPHER_SUITE,
            requesting_signature_key: key.public().to_vec(),
            requesting_credential: Credential::Basic { identity: identity(named) },
            group_info_public_key: labels::generate_hpke().unwrap().public,
            joining_code: None,
        };
        let mut signature = labels::sign_with_label(&key, GroupInfoRequestTbs::LABEL, &tbs.encode()).unwrap();
        signature[5] ^= u8::from(spoilt);
        GroupInfoRequest::new(tbs, signature).encode()
    };
    // Without a signature, as somebody who is not there, and as somebody else's user.
    for (body, given) in [
        (info(&m1, true), false),
        (info(&m2, false), false),
        (info(&two.b.uri("b1"), false), false),
        (info(&m1, false), true),
    ] {
        let answer = rogue.send(&two.a, Endpoint::GroupInfo, &path(&uri), &body).await.unwrap();
        let answer = GroupInfoResponse::decode(&answer).unwrap();
        assert_eq!(matches!(answer, GroupInfoResponse::Success(_)), given, "{answer:?}");
        assert!(given || answer == GroupInfoResponse::NotAuthorized(uri.clone()));
    }
}

/// Section 5.7: a cancel has the scope of the request that it takes back.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_has_the_scope_of_its_request() {
    let net = Arc::new(Net::default());
    let a = Silo::new("a", &["a1"], &net).await;
    let rogue = Rogue::new("m", &net);
    let talk = own_desk(&a, "a1").await;
    let (m1, m2) = (rogue.uri("m1"), rogue.uri("m2"));
    for user in [&m1, &m2] {
        says(&a, "a1", &talk, &format!("ask {user}"), "is asked to agree").await;
    }
    says(&a, "a1", &talk, &format!("withdraw {m1}"), "is not asked any more").await;
    says(&a, "a1", &talk, &format!("withdraw {m1}"), "You had not asked").await;
    until_true("three entries", || rogue.fanned_to(Endpoint::RequestConsent).len() == 3).await;
    let sent = rogue.fanned_to(Endpoint::RequestConsent);
    let sent: Vec<ConsentEntry> = sent.iter().map(|body| ConsentEntry::decode(body).unwrap()).collect();
    let of = |action: &ConsentAction| sent.iter().filter(|entry| entry.action == *action).collect::<Vec<_>>();
    let [cancel] = of(&ConsentAction::Cancel)[..] else { panic!("{sent:?}") };
    let asked = of(&ConsentAction::Request);
    let asked = asked.iter().find(|entry| entry.target == m1).unwrap();
    assert_eq!((&cancel.requester, &cancel.target, &cancel.room), (&asked.requester, &asked.target, &asked.room));
    assert_eq!((&cancel.requester, &cancel.room), (&a.uri("a1"), &None));
}
