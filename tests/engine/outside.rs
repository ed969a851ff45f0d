//! Rooms whose host's last user left: the hub sees the group from outside, the others talk on, and somebody of the host comes
//! back.

use std::{collections::BTreeMap, sync::Arc};

use mimi_gateway::{
    engine::ports::{Endpoint, PathTarget},
    ident::{RoomUri, UserUri},
    mls::{AppDataChange, CIPHER_SUITE, Change, DEVICE, labels, make_key_package},
    policy::{RoomMetadata, RoomState, component},
    wire::{
        ConsentAction, Credential, FanoutContent, HandshakeBundle, KeyMaterialRequest, KeyMaterialRequestTbs,
        KeyMaterialResponse, MlsMessage, RatchetTreeOption, RequiredCapabilities, SubmitMessageResponse, UpdateOutcome,
        Wire as _, key_material::ClientMaterial,
    },
};
use ruma::OwnedRoomId;

use crate::{
    attacks::{Rogue, bundle, consent, now, refused, yes},
    flow::until_room,
    silo::{Net, PATIENCE, Silo, Two, bridge, bring, until, until_bodies, until_true},
};

/// A hosts a room with B1 and C1, and A1, who made it, left: the room at A, B and C.
async fn without_host(two: &Two, c: &Silo) -> (OwnedRoomId, OwnedRoomId, OwnedRoomId, RoomUri) {
    let (at_a, at_b, uri) = two.room().await;
    let at_c = bring(&two.a, &at_a, "a1", c, "c1").await;
    two.a.homeserver.leave(&at_a, "a1");
    let ghost = c.ghost(&two.a.uri("a1"));
    until_true("A1's ghost goes at C", || c.homeserver.member(&at_c, &ghost).as_deref() == Some("leave")).await;
    until_participants(&two.a, &uri, 2).await;
    (at_a, at_b, at_c, uri)
}

async fn until_participants(silo: &Silo, uri: &RoomUri, wanted: usize) {
    let since = std::time::Instant::now();
    loop {
        let found = silo.room(uri).await.map(|room| room.2);
        if found == Some(wanted) {
            return;
        }
        assert!(since.elapsed() < PATIENCE, "{uri} at {} should have {wanted} participants: {found:?}", silo.domain);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_followers_talk_on_through_a_hub_without_users() {
    let two = Two::new().await;
    let c = Silo::new("c", &["c1"], &two.a.net).await;
    let (at_a, at_b, at_c, uri) = without_host(&two, &c).await;
    until_room(&two.a, &uri, "active").await;
    two.b.homeserver.say(&at_b, "b1", "one");
    until_bodies(&c, &at_c, &["one"]).await;
    c.homeserver.say(&at_c, "c1", "two");
    until_bodies(&two.b, &at_b, &["one", "two"]).await;
    // The hub's state is on disk; commits of a newcomer with and without Welcome go through it.
    two.a.stop().await;
    two.a.start().await;
    two.b.homeserver.invite(&at_b, "b1", &two.b.homeserver.user("b2"), false);
    two.b.homeserver.join(&at_b, "b2");
    two.b.homeserver.say(&at_b, "b2", "three");
    until_bodies(&c, &at_c, &["one", "two", "three"]).await;
    let d = Silo::new("d", &["d1"], &two.a.net).await;
    let at_d = bring(&c, &at_c, "c1", &d, "d1").await;
    d.homeserver.say(&at_d, "d1", "four");
    until_bodies(&two.b, &at_b, &["one", "two", "three", "four"]).await;
    let asked = two.a.net.calls(&d.domain, Endpoint::KeyMaterial);
    assert!(!asked.is_empty() && asked.iter().all(|call| call.from == two.a.domain));
    // One of them leaves; the rest commits that.
    c.homeserver.leave(&at_c, "c1");
    until_room(&c, &uri, "left").await;
    until_participants(&two.a, &uri, 3).await;
    d.homeserver.say(&at_d, "d1", "five");
    until_bodies(&two.b, &at_b, &["one", "two", "three", "four", "five"]).await;
    // A read nothing of all that.
    assert!(two.a.homeserver.bodies(&at_a).is_empty());
    assert!(two.a.homeserver.notices(&at_a).iter().all(|text| !text.contains("broken")));
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_of_the_host_is_asked_back() {
    let two = Two::new().await;
    let c = Silo::new("c", &["c1"], &two.a.net).await;
    let (at_a, at_b, at_c, uri) = without_host(&two, &c).await;
    two.b.homeserver.say(&at_b, "b1", "without you");
    until_bodies(&c, &at_c, &["without you"]).await;
    // Another one than who left.
    assert_eq!(bring(&two.b, &at_b, "b1", &two.a, "a2").await, at_a);
    two.a.homeserver.say(&at_a, "a2", "here I am");
    until_bodies(&c, &at_c, &["without you", "here I am"]).await;
    c.homeserver.say(&at_c, "c1", "welcome");
    until_bodies(&two.a, &at_a, &["here I am", "welcome"]).await;
    // With a member of its own in the room the hub is as before: A1 comes by Matrix' own rules.
    two.a.homeserver.invite(&at_a, "a2", &two.a.homeserver.user("a1"), false);
    two.a.homeserver.join(&at_a, "a1");
    two.a.homeserver.say(&at_a, "a1", "me too");
    until_bodies(&two.b, &at_b, &["without you", "here I am", "welcome", "me too"]).await;
    until_participants(&c, &uri, 4).await;
    // And they can leave again.
    for name in ["a1", "a2"] {
        two.a.homeserver.leave(&at_a, name);
    }
    until_participants(&two.a, &uri, 2).await;
    c.homeserver.say(&at_c, "c1", "gone again");
    until_bodies(&two.b, &at_b, &["without you", "here I am", "welcome", "me too", "gone again"]).await;
    assert_eq!(two.a.homeserver.bodies(&at_a).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_one_of_all_ends_the_room() {
    let two = Two::new().await;
    let (at_a, at_b, uri) = two.room().await;
    two.a.homeserver.leave(&at_a, "a1");
    until_participants(&two.a, &uri, 1).await;
    two.b.homeserver.leave(&at_b, "b1");
    until_room(&two.a, &uri, "left").await;
    until_room(&two.b, &uri, "left").await;
    for silo in [&two.a, &two.b] {
        silo.stop().await;
        silo.start().await;
        until_room(silo, &uri, "left").await;
        until_participants(silo, &uri, 0).await;
    }
}

/// KeyPackages of a user of A by way of its own hub, asked for as a rogue's user.
async fn ask_for_keys(rogue: &Rogue, a: &Silo, requester: &UserUri, target: &UserUri, room: &RoomUri) -> Vec<u8> {
    let key = labels::SigningKey::generate().unwrap();
    let identity = requester.client(DEVICE).unwrap().as_str().as_bytes().to_vec();
    let tbs = KeyMaterialRequestTbs {
        requesting_user: requester.clone(),
        target_user: target.clone(),
        room: Some(room.clone()),
        acceptable_ciphersuites: vec![CIPHER_SUITE],
        required_capabilities: RequiredCapabilities::default(),
        requester_signature_key: key.public().to_vec(),
        requester_credential: Credential::Basic { identity },
    };
    let signature = labels::sign_with_label(&key, KeyMaterialRequestTbs::LABEL, &tbs.encode()).unwrap();
    let body = KeyMaterialRequest::new(tbs, signature).encode();
    let answer = rogue.send(a, Endpoint::KeyMaterial, &PathTarget::Uri(target.as_uri().clone()), &body).await.unwrap();
    let answer = KeyMaterialResponse::decode(&answer).unwrap();
    let ClientMaterial::Success(package) = &answer.clients[0].material else { panic!("{answer:?}") };
    package.as_bytes().to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rogue_in_a_room_without_host() {
    let net = Arc::new(Net::default());
    let a = Silo::new("a", &["a1", "a2"], &net).await;
    let mut rogue = Rogue::new("r", &net);
    let (at_a, uri) = bridge(&a, "a1").await;
    rogue.enter(&a, &at_a, &uri, "r1").await;
    let r1 = rogue.uri("r1");
    a.homeserver.leave(&at_a, "a1");
    let proposals = until("the leave", || {
        rogue.fanned_out().into_iter().find_map(|fanout| match fanout.content {
            FanoutContent::Proposal { message, more } => Some([vec![message], more].concat()),
            _ => None,
        })
    })
    .await;
    // A commit that leaves out what is proposed is not taken (section 7.3).
    let early = rogue.refresh("r1");
    let answer = rogue.update(&a, &uri, &bundle(&early)).await;
    assert_eq!(answer.outcome, UpdateOutcome::NotAllowed);
    assert!(answer.description.contains("pending proposals") && answer.description.contains("2 are"), "{answer:?}");
    for proposal in &proposals {
        rogue.member.as_mut().unwrap().store_proposal(proposal.as_bytes(), now()).unwrap();
    }
    // Who comes in meanwhile is told of them.
    let info = rogue.group_info(&a, &uri, &r1).await.unwrap();
    assert_eq!(info.pending_proposals.iter().map(|p| p.proposal.clone()).collect::<Vec<_>>(), proposals);
    assert!(info.pending_proposals.iter().all(|p| p.hub_accepted_time > 0));

    // The commit that takes A's last leaf needs a GroupInfo of what it leads to.
    let mut state = rogue.state();
    state.participants.retain(|(user, _)| *user == r1);
    let list = state.to_components().unwrap()[&component::PARTICIPANT_LIST].clone();
    let values = BTreeMap::from([(component::PARTICIPANT_LIST, list)]);
    let commit =
        |rogue: &Rogue| rogue.member().stage_commit(&r1, &Change::default(), &mut yes(values.clone()), now()).unwrap();
    let (good, other) = (commit(&rogue), commit(&rogue));
    let present = rogue.member().group_info(None).unwrap().group_info;
    for group_info in [present, other.group_info.clone()] {
        let mut bad = good.clone();
        bad.group_info = group_info;
        let answer = rogue.update(&a, &uri, &bundle(&bad)).await;
        assert!(refused(&answer) && answer.description.contains("GroupInfo"), "{answer:?}");
    }
    assert_eq!(a.room(&uri).await.unwrap().2, 2);
    let answer = rogue.update(&a, &uri, &bundle(&good)).await;
    assert!(matches!(answer.outcome, UpdateOutcome::Success { .. }), "{answer:?}");
    rogue.member.as_mut().unwrap().accept_staged(&good, &mut yes(values.clone()), now()).unwrap();
    until_participants(&a, &uri, 1).await;
    let info = rogue.group_info(&a, &uri, &r1).await.unwrap();
    assert_eq!(info.group_info.as_bytes(), good.group_info);
    let RatchetTreeOption::Full(tree) = &info.ratchet_tree else { panic!("no tree") };
    assert_eq!(tree.as_bytes(), good.ratchet_tree);
    assert!(rogue.group_info(&a, &uri, &rogue.uri("r2")).await.is_none());

    // The policy is asked as ever: of commits, and of proposals that somebody else would have to commit.
    let metadata = vec![AppDataChange { component: component::ROOM_METADATA, update: policy_metadata(&state, "Mine") }];
    let change = Change { app_data: metadata.clone(), ..Change::default() };
    let values = BTreeMap::from([(component::ROOM_METADATA, metadata[0].update.clone())]);
    let staged = rogue.member().stage_commit(&r1, &change, &mut yes(values), now()).unwrap();
    let answer = rogue.update(&a, &uri, &bundle(&staged)).await;
    assert!(refused(&answer) && answer.description.contains("name"), "{answer:?}");
    let leave = rogue.member.as_mut().unwrap().propose_leave(&r1, metadata.clone()).unwrap();
    // What was never proposed to the hub is named to whoever commits it, and so is what does not verify.
    let reference = |bytes: &[u8]| MlsMessage::decode(bytes).unwrap().proposal_reference().unwrap();
    rogue.member.as_mut().unwrap().drop_proposal(&leave[1]).unwrap();
    let values = BTreeMap::from([(component::ROOM_METADATA, metadata[0].update.clone())]);
    let staged = rogue.member().stage_commit(&r1, &Change::default(), &mut yes(values), now()).unwrap();
    let answer = rogue.update(&a, &uri, &bundle(&staged)).await;
    assert_eq!(answer.outcome, UpdateOutcome::InvalidProposal { proposals: vec![reference(&leave[0])] });
    rogue.member.as_mut().unwrap().drop_proposal(&leave[0]).unwrap();
    let mut forged = leave[1].clone();
    // Before the membership tag, which nobody outside can check, stands the signature.
    let at = forged.len() - 40;
    forged[at] ^= 1;
    let body = HandshakeBundle::Proposals(vec![MlsMessage::decode(&forged).unwrap()]).encode();
    let answer = rogue.update(&a, &uri, &body).await;
    assert_eq!(answer.outcome, UpdateOutcome::InvalidProposal { proposals: vec![reference(&forged)] });
    let one = HandshakeBundle::Proposals(vec![MlsMessage::decode(&leave[0]).unwrap()]);
    let answer = rogue.update(&a, &uri, &one.encode()).await;
    assert!(refused(&answer) && answer.description.contains("name"), "{answer:?}");
    assert!(rogue.group_info(&a, &uri, &r1).await.unwrap().pending_proposals.is_empty());
    let forged = make_key_package(&a.uri("a2"), now()).unwrap();
    let answer = rogue.update(&a, &uri, &bundle(&rogue.add("r1", &a.uri("a2"), &forged.bytes, false))).await;
    assert!(refused(&answer), "{answer:?}");
    let words = Rogue::words(&r1, &uri, "as somebody else");
    let answer = rogue.submit(&a, &uri, "r1", &rogue.uri("r2"), &words).await;
    assert_eq!(answer, SubmitMessageResponse::NotAllowed);
    let answer = rogue.submit(&a, &uri, "r1", &r1, &words).await;
    assert!(matches!(answer, SubmitMessageResponse::Accepted { .. }));

    // A2 is asked in and agrees; a Welcome to somewhere else is none.
    let a2 = a.uri("a2");
    let asking = consent(ConsentAction::Request, &r1, &a2, &uri);
    rogue.send(&a, Endpoint::RequestConsent, &PathTarget::Domain(a.domain.clone()), &asking).await.unwrap();
    let invited = until("an invitation", || a.homeserver.invitations("a2").first().cloned()).await;
    assert_eq!(invited, at_a);
    a.homeserver.join(&at_a, "a2");
    until_true("the grant", || !net.calls(&rogue.domain, Endpoint::UpdateConsent).is_empty()).await;
    let package = ask_for_keys(&rogue, &a, &r1, &a2, &uri).await;
    let (good, other) = (rogue.add("r1", &a2, &package, false), rogue.add("r1", &a2, &package, true));
    let mut bad = good.clone();
    bad.welcome = other.welcome;
    let answer = rogue.update(&a, &uri, &bundle(&bad)).await;
    assert!(refused(&answer) && answer.description.contains("Welcome"), "{answer:?}");
    assert_eq!(a.room(&uri).await.unwrap().2, 1);
    let answer = rogue.update(&a, &uri, &bundle(&good)).await;
    assert!(matches!(answer.outcome, UpdateOutcome::Success { .. }), "{answer:?}");
    until_participants(&a, &uri, 2).await;
    // Nothing of this was shown, and nothing broke.
    assert!(a.homeserver.bodies(&at_a).is_empty());
    until_room(&a, &uri, "active").await;
}

/// The room's metadata with another name.
fn policy_metadata(state: &RoomState, name: &str) -> Vec<u8> {
    RoomMetadata { name: name.to_owned(), ..state.metadata.clone() }.encode().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_not_asked_is_put_out_and_told() {
    let two = Two::new().await;
    let (at_a, at_b, uri) = two.room().await;
    two.a.homeserver.leave(&at_a, "a1");
    until_participants(&two.a, &uri, 1).await;
    // Somebody of the server brings them in, as an administrator could.
    two.a.homeserver.invite(&at_a, two.a.homeserver.bot.localpart(), &two.a.homeserver.user("a2"), false);
    two.a.homeserver.join(&at_a, "a2");
    let a2 = two.a.homeserver.user("a2");
    until_true("A2 is put out", || two.a.homeserver.member(&at_a, &a2).as_deref() == Some("leave")).await;
    two.b.homeserver.say(&at_b, "b1", "to myself");
    until("B's message is accepted", || {
        (!two.a.net.calls(&two.a.domain, Endpoint::SubmitMessage).is_empty()).then_some(())
    })
    .await;
    assert!(two.a.homeserver.bodies(&at_a).is_empty());
}
