//! S13: what a hub tries with those who follow its room. A follower refuses it or sees that something is wrong, says so to
//! people, and gives nothing away meanwhile.

use std::{collections::BTreeMap, sync::Arc};

use mimi_gateway::{
    engine::ports::{Endpoint, PathTarget, Problem},
    ident::{RoomUri, UserUri},
    mls::{self, CIPHER_SUITE, GroupInfoParts, Member, NewGroup, labels},
    policy::{self, role},
    wire::{
        ConsentAction, ConsentEntry, Credential, ExternalSender, FanoutContent, GroupInfoRatchetTree, GroupInfoRequest,
        GroupInfoResponse, GroupInfoResponseTbs, HandshakeBundle, HpkeCiphertext, MlsMessage, RatchetTreeOption,
        RawGroupInfo, RawRatchetTree, SafeAad, SubmitMessageRequest, UpdateOutcome, UpdateRoomResponse, Wire as _,
    },
};
use ruma::OwnedRoomId;

use crate::{
    attacks::{Rogue, commit_of, consent, hosted_by, notify, now, welcomed, yes},
    silo::{Net, Silo, until, until_bodies, until_true},
};

/// B, and a rogue whose room it follows.
async fn followed() -> (Silo, Rogue, RoomUri, OwnedRoomId) {
    let net = Arc::new(Net::default());
    let b = Silo::new("b", &["b1", "b2"], &net).await;
    let mut rogue = Rogue::new("m", &net);
    let (uri, portal) = hosted_by(&mut rogue, &b).await;
    (b, rogue, uri, portal)
}

impl Rogue {
    /// The next epoch, by a commit that nobody was told of yet.
    fn advance(&mut self) -> mls::StagedCommit {
        let staged = self.refresh("m1");
        self.member.as_mut().unwrap().accept_staged(&staged, &mut yes(BTreeMap::new()), now()).unwrap();
        staged
    }

    /// Words of M1, sealed; each salt makes another message of them.
    fn sealed(&mut self, room: &RoomUri, text: &str, salt: u8) -> FanoutContent {
        let m1 = self.uri("m1");
        let mut content = mimi_gateway::content::MimiContent::decode(&Self::words(&m1, room, text)).unwrap();
        content.salt = [salt; 16];
        let (words, _) = content.encode_with_id(&m1, room).unwrap();
        let sealed = self.member.as_mut().unwrap().seal(&m1, &words, &SafeAad::default()).unwrap();
        FanoutContent::Application { message: MlsMessage::decode(&sealed).unwrap(), frank: None }
    }
}

/// An answer to groupInfo: about this room, signed as this provider, with what `parts` say.
fn answer(request: &[u8], room: &RoomUri, about: &RoomUri, provider: &str, parts: &GroupInfoParts) -> Vec<u8> {
    let request = GroupInfoRequest::decode(request).unwrap();
    let info = GroupInfoRatchetTree {
        group_info: RawGroupInfo::from_bytes(parts.group_info.clone()).unwrap(),
        ratchet_tree: RatchetTreeOption::Full(RawRatchetTree::from_bytes(parts.ratchet_tree.clone()).unwrap()),
        pending_proposals: vec![],
    };
    let key = labels::SigningKey::generate().unwrap();
    let sealed = labels::hpke_seal_with_label(
        CIPHER_SUITE,
        &request.tbs().group_info_public_key,
        GroupInfoRatchetTree::LABEL,
        room.as_str().as_bytes(),
        &info.encode(),
    )
    .unwrap();
    let tbs = GroupInfoResponseTbs {
        room: about.clone(),
        cipher_suite: CIPHER_SUITE,
        hub_sender: ExternalSender {
            signature_key: key.public().to_vec(),
            credential: Credential::Basic { identity: format!("mimi://{provider}").into_bytes() },
        },
        encrypted: HpkeCiphertext { kem_output: sealed.kem_output, ciphertext: sealed.ciphertext },
    };
    let signature = labels::sign_with_label(&key, GroupInfoResponseTbs::LABEL, &tbs.encode()).unwrap();
    GroupInfoResponse::success(tbs, signature).encode()
}

#[tokio::test(flavor = "multi_thread")]
async fn s13_a_stale_or_forged_group_info_is_not_followed() {
    let (b, mut rogue, uri, portal) = followed().await;
    let stale = rogue.member().group_info(None).unwrap();
    let known = rogue.advance();
    notify(&rogue, &b, &uri, commit_of(&known)).await.unwrap();
    let content = rogue.sealed(&uri, "before", 1);
    notify(&rogue, &b, &uri, content).await.unwrap();
    until_bodies(&b, &portal, &["before"]).await;
    rogue.advance();
    let good = rogue.member().group_info(None).unwrap();
    let last = rogue.advance();
    let elsewhere = RoomUri::new(&rogue.domain, "elsewhere").unwrap();
    let (room, mut count) = (uri.clone(), 0);
    *rogue.net.answers.lock().unwrap() = Some(Box::new(move |endpoint, body| {
        if endpoint != Endpoint::GroupInfo {
            return None;
        }
        count += 1;
        Some(match count {
            // About another room; as another provider; with another signature; of an epoch that everybody has left.
            1 => answer(body, &room, &elsewhere, "m.example", &good),
            2 => answer(body, &room, &room, "a.example", &good),
            3 => {
                let mut broken = answer(body, &room, &room, "m.example", &good);
                *broken.last_mut().unwrap() ^= 1;
                broken
            }
            _ => answer(body, &room, &room, "m.example", &stale),
        })
    }));
    notify(&rogue, &b, &uri, commit_of(&last)).await.unwrap();
    let told = |text: &String| text.contains("went back in time");
    until_true("B1 is told", || b.homeserver.notices(&portal).iter().any(told)).await;
    assert_eq!(rogue.net.calls(&rogue.domain, Endpoint::GroupInfo).len(), 4);
    assert!(b.room(&uri).await.unwrap().0.starts_with("broken"));
    // Nothing was built on any of them, and nothing is said into the room.
    b.homeserver.say(&portal, "b1", "anybody here?");
    until_true("B1's words are in", || b.homeserver.is_quiet()).await;
    let content = rogue.sealed(&uri, "after", 2);
    notify(&rogue, &b, &uri, content).await.unwrap();
    b.stop().await;
    for endpoint in [Endpoint::Update, Endpoint::SubmitMessage] {
        assert!(rogue.net.calls(&rogue.domain, endpoint).is_empty(), "{endpoint}");
    }
    assert_eq!(b.homeserver.bodies(&portal), ["before", "anybody here?"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn s13_commits_in_the_wrong_order_are_noticed_and_made_good() {
    let (b, mut rogue, uri, portal) = followed().await;
    let (first, second) = (rogue.advance(), rogue.advance());
    let parts = rogue.member().group_info(None).unwrap();
    let room = uri.clone();
    *rogue.net.answers.lock().unwrap() = Some(Box::new(move |endpoint, body| match endpoint {
        Endpoint::GroupInfo => Some(answer(body, &room, &room, "m.example", &parts)),
        Endpoint::Update => {
            Some(UpdateRoomResponse::from(UpdateOutcome::Success { accepted_timestamp: now() }).encode())
        }
        _ => None,
    }));
    notify(&rogue, &b, &uri, commit_of(&second)).await.unwrap();
    notify(&rogue, &b, &uri, commit_of(&first)).await.unwrap();
    // B asks what the room's state is, and comes back by an external commit of B1.
    let update = until("the way back", || rogue.net.calls(&rogue.domain, Endpoint::Update).pop()).await;
    let HandshakeBundle::Commit(bundle) = HandshakeBundle::decode(&update.body).unwrap() else { panic!("no commit") };
    let commit = bundle.commit.as_bytes();
    rogue.member.as_mut().unwrap().apply_commit(commit, &mut yes(BTreeMap::new()), now()).unwrap();
    let content = rogue.sealed(&uri, "in order again", 1);
    notify(&rogue, &b, &uri, content).await.unwrap();
    until_bodies(&b, &portal, &["in order again"]).await;
    b.homeserver.say(&portal, "b1", "so it is");
    let submitted = until("B1's words", || rogue.net.calls(&rogue.domain, Endpoint::SubmitMessage).pop()).await;
    let request = SubmitMessageRequest::decode(&submitted.body).unwrap();
    let opened = rogue.member.as_mut().unwrap().open(request.app_message.as_bytes()).unwrap();
    assert_eq!((opened.user, request.sending_user), (b.uri("b1"), b.uri("b1")));
}

/// A proposal of the hub to remove a leaf, signed by nobody who could.
fn forged_removal(group: &[u8], epoch: u64, leaf: u32) -> MlsMessage {
    let length = u16::try_from(group.len()).unwrap();
    let group_length =
        if length < 64 { vec![u8::try_from(length).unwrap()] } else { (0x4000 | length).to_be_bytes().to_vec() };
    let bytes = [
        &[0, 1, 0, 1][..],
        &group_length,
        group,
        &epoch.to_be_bytes(),
        // External sender 0, no authenticated data, proposal, remove.
        &[2, 0, 0, 0, 0, 0, 2, 0, 3],
        &leaf.to_be_bytes(),
        &[0x40, 64],
        &[7; 64],
    ];
    MlsMessage::decode(&bytes.concat()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn s13_a_forged_external_proposal_is_not_committed() {
    let (b, mut rogue, uri, portal) = followed().await;
    let leaf = rogue.member().leaves().iter().find(|leaf| leaf.user == b.uri("b1")).unwrap().index;
    let (group, epoch) = (rogue.member().group_id().to_vec(), rogue.member().epoch());
    let forged = || forged_removal(&group, epoch, leaf);
    notify(&rogue, &b, &uri, FanoutContent::Proposal { message: forged(), more: vec![forged()] }).await.unwrap();
    // Beside a commit that is right: the commit counts, what is stapled to it does not.
    let staged = rogue.advance();
    let stapled = forged_removal(&group, epoch + 1, leaf);
    let FanoutContent::Commit { message, .. } = commit_of(&staged) else { panic!("no commit") };
    notify(&rogue, &b, &uri, FanoutContent::Commit { message, external_proposals: vec![stapled] }).await.unwrap();
    let content = rogue.sealed(&uri, "still there?", 1);
    notify(&rogue, &b, &uri, content).await.unwrap();
    until_bodies(&b, &portal, &["still there?"]).await;
    // B1 answers at once, which it would not with proposals pending, and commits nothing.
    b.homeserver.say(&portal, "b1", "yes");
    let submitted = until("the answer", || rogue.net.calls(&rogue.domain, Endpoint::SubmitMessage).pop()).await;
    let request = SubmitMessageRequest::decode(&submitted.body).unwrap();
    assert!(rogue.member.as_mut().unwrap().open(request.app_message.as_bytes()).is_ok());
    assert!(rogue.net.calls(&rogue.domain, Endpoint::Update).is_empty());
    assert_eq!(b.room(&uri).await.unwrap(), ("active".to_owned(), Some(epoch + 1), 2));
}

/// A room of the rogue's in which nobody else is: the state that says which room it is, and the group.
fn another_group(rogue: &Rogue, named: &RoomUri) -> Member {
    let m1 = rogue.uri("m1");
    let state = policy::initial(named.clone(), "Trap", "", vec![(m1.clone(), role::ADMIN)], policy::Preset::default());
    Member::create(NewGroup {
        group_id: b"mimi://m.example/g/another/0".to_vec(),
        creator: m1,
        components: state.to_components().unwrap(),
        external_senders: vec![],
        now: now(),
    })
    .unwrap()
}

/// B1 is asked into a room of the rogue's, and grants it a KeyPackage: that, and the portal.
async fn granted(rogue: &Rogue, b: &Silo, room: &RoomUri) -> (Vec<u8>, OwnedRoomId) {
    let before = rogue.fanned_to(Endpoint::UpdateConsent).len();
    let body = consent(ConsentAction::Request, &rogue.uri("m1"), &b.uri("b1"), room);
    rogue.send(b, Endpoint::RequestConsent, &PathTarget::Domain(b.domain.clone()), &body).await.unwrap();
    let portal = until("an invitation", || {
        let portal = b.homeserver.portal(room)?;
        b.homeserver.invitations("b1").contains(&portal).then_some(portal)
    })
    .await;
    b.homeserver.join(&portal, "b1");
    let grant = until("the grant", || rogue.fanned_to(Endpoint::UpdateConsent).get(before).cloned()).await;
    let ConsentAction::Grant { key_packages } = ConsentEntry::decode(&grant).unwrap().action else {
        panic!("no grant")
    };
    (key_packages[0].as_bytes().to_vec(), portal)
}

#[tokio::test(flavor = "multi_thread")]
async fn s13_a_wrong_welcome_leads_nowhere() {
    let (b, mut rogue, uri, portal) = followed().await;
    let (b1, b2) = (b.uri("b1"), b.uri("b2"));
    let of_room = rogue.member.take();
    // Somebody who agreed to nothing, with a KeyPackage that B did not make: into a room that B does not know, and into
    // one that it follows.
    let unknown = RoomUri::new(&rogue.domain, "unknown").unwrap();
    rogue.member = Some(another_group(&rogue, &unknown));
    let made = mls::make_key_package(&b2, now()).unwrap();
    assert_eq!(welcomed(&mut rogue, &b, &unknown, &b2, &made.bytes).await, Err(Problem::NotFound));
    rogue.member = Some(another_group(&rogue, &uri));
    assert!(welcomed(&mut rogue, &b, &uri, &b2, &made.bytes).await.is_ok());
    // A KeyPackage that was granted for one room, used in a group that says to be another one.
    let second = RoomUri::new(&rogue.domain, "second").unwrap();
    let (package, second_portal) = granted(&rogue, &b, &second).await;
    rogue.member = Some(another_group(&rogue, &uri));
    assert!(welcomed(&mut rogue, &b, &second, &b1, &package).await.is_ok());
    let told = |text: &String| text.contains("not connected any more");
    until_true("B1 is told", || b.homeserver.notices(&second_portal).iter().any(told)).await;
    assert!(b.room(&second).await.unwrap().0.starts_with("broken"));
    b.homeserver.say(&second_portal, "b1", "where am I?");
    // The room that it had is as it was.
    rogue.member = of_room;
    let content = rogue.sealed(&uri, "all as before", 1);
    notify(&rogue, &b, &uri, content).await.unwrap();
    until_bodies(&b, &portal, &["all as before"]).await;
    b.stop().await;
    assert!(b.homeserver.invitations("b2").is_empty());
    assert!(b.homeserver.portal(&unknown).is_none());
    assert!(rogue.net.calls(&rogue.domain, Endpoint::SubmitMessage).is_empty());
    assert_eq!(b.homeserver.bodies(&second_portal), ["where am I?"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn s13_a_change_that_the_room_forbids_ends_it() {
    let (b, mut rogue, uri, portal) = followed().await;
    // The admin of its own room takes B1's name off the list and leaves the client in: no member follows that.
    let mut state = rogue.state();
    let update = policy::update_remove(&state, &[b.uri("b1")]).unwrap();
    state.participants.retain(|(user, _)| *user != b.uri("b1"));
    let list = state.to_components().unwrap()[&policy::component::PARTICIPANT_LIST].clone();
    let change = mls::Change {
        app_data: vec![mls::AppDataChange { component: policy::component::PARTICIPANT_LIST, update }],
        ..mls::Change::default()
    };
    let values = BTreeMap::from([(policy::component::PARTICIPANT_LIST, list)]);
    let m1: UserUri = rogue.uri("m1");
    let staged = rogue.member().stage_commit(&m1, &change, &mut yes(values.clone()), now()).unwrap();
    notify(&rogue, &b, &uri, commit_of(&staged)).await.unwrap();
    let told = |text: &String| text.contains("not connected any more") && text.contains("rules forbid");
    until_true("B1 is told", || b.homeserver.notices(&portal).iter().any(told)).await;
    rogue.member.as_mut().unwrap().accept_staged(&staged, &mut yes(values), now()).unwrap();
    let content = rogue.sealed(&uri, "listen!", 1);
    notify(&rogue, &b, &uri, content).await.unwrap();
    b.homeserver.say(&portal, "b1", "no");
    until_true("B1's words are in", || b.homeserver.is_quiet()).await;
    b.stop().await;
    assert_eq!(b.homeserver.bodies(&portal), ["no"]);
    assert!(rogue.net.calls(&rogue.domain, Endpoint::SubmitMessage).is_empty());
}
