//! What hostile peers try: S13, S14 and S20, with a provider that holds real MLS state and keeps no rule.

use std::{collections::BTreeMap, sync::Arc};

use mimi_gateway::{
    content::{MimiContent, NestedPart},
    engine::ports::{Endpoint, PathTarget, Problem},
    ident::{ProviderDomain, RoomUri, UserUri},
    mls::{
        self, AppDataChange, CIPHER_SUITE, Change, CommitView, DEVICE, ExternalJoin, Member, NewComponents, NewGroup,
        StagedCommit, labels,
    },
    policy::{self, RoomState, component, role},
    wire::{
        AppDataDictionary, CommitBundle, ConsentAction, ConsentEntry, Credential, FanoutContent, FanoutMessage,
        GroupInfoOption, GroupInfoRatchetTree, GroupInfoRequest, GroupInfoRequestTbs, GroupInfoResponse,
        HandshakeBundle, MlsMessage, RatchetTreeOption, RawGroupInfo, RawKeyPackage, RawRatchetTree, RawWelcome,
        SafeAad, SubmitMessageRequest, SubmitMessageResponse, UpdateOutcome, UpdateRoomResponse, Wire as _,
    },
};
use ruma::OwnedRoomId;

use crate::{
    flow::until_room,
    silo::{Silo, Two, until, until_bodies, until_true},
};

pub(crate) fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

/// A provider that a test plays.
pub(crate) struct Rogue {
    pub(crate) domain: ProviderDomain,
    pub(crate) net: Arc<crate::silo::Net>,
    pub(crate) member: Option<Member>,
}

/// Everything is fine with it; components take the values that it is told.
pub(crate) fn yes(values: NewComponents) -> impl FnMut(&CommitView) -> Result<NewComponents, String> {
    move |_| Ok(values.clone())
}

impl Rogue {
    pub(crate) fn new(name: &str, net: &Arc<crate::silo::Net>) -> Self {
        let domain = ProviderDomain::parse(&format!("{name}.example")).unwrap();
        net.play(&domain);
        Self { domain, net: Arc::clone(net), member: None }
    }

    pub(crate) fn uri(&self, name: &str) -> UserUri {
        UserUri::new(&self.domain, name).unwrap()
    }

    pub(crate) fn member(&self) -> &Member {
        self.member.as_ref().unwrap()
    }

    pub(crate) async fn send(
        &self,
        to: &Silo,
        endpoint: Endpoint,
        target: &PathTarget,
        body: &[u8],
    ) -> Result<Vec<u8>, Problem> {
        self.net.deliver(&self.domain, &to.domain, endpoint, target, body).await.unwrap()
    }

    /// A grant of `target` for `requester`.
    pub(crate) fn grant(requester: &UserUri, target: &UserUri, room: &RoomUri, key_package: Vec<u8>) -> Vec<u8> {
        consent(
            ConsentAction::Grant { key_packages: vec![RawKeyPackage::from_bytes(key_package).unwrap()] },
            requester,
            target,
            room,
        )
    }

    /// Comes into a room of A in good order: asked by A1, consents, gets the Welcome.
    pub(crate) async fn enter(&mut self, a: &Silo, at_a: &OwnedRoomId, room: &RoomUri, name: &str) {
        let made = mls::make_key_package(&self.uri(name), now()).unwrap();
        let (message, tree) = self.let_in(a, at_a, room, name, made.bytes.clone()).await;
        self.member = Some(Member::join(&message, &tree, &[made.private], now()).unwrap());
    }

    /// The same with this KeyPackage, up to the Welcome and its tree.
    pub(crate) async fn let_in(
        &self,
        a: &Silo,
        at_a: &OwnedRoomId,
        room: &RoomUri,
        name: &str,
        key_package: Vec<u8>,
    ) -> (Vec<u8>, Vec<u8>) {
        let user = self.uri(name);
        let asked = || self.net.calls(&self.domain, Endpoint::RequestConsent).len();
        let before = (asked(), self.welcomes().len());
        a.homeserver.say(at_a, "a1", &format!("!mimi invite {user}"));
        until_true("the request", || asked() > before.0).await;
        let body = Self::grant(&a.uri("a1"), &user, room, key_package);
        let target = PathTarget::Domain(a.domain.clone());
        self.send(a, Endpoint::UpdateConsent, &target, &body).await.unwrap();
        until("the Welcome", || self.welcomes().get(before.1).cloned()).await
    }

    pub(crate) fn fanned_out(&self) -> Vec<FanoutMessage> {
        let calls = self.net.calls(&self.domain, Endpoint::Notify);
        calls.iter().flat_map(|call| FanoutMessage::decode_all(&call.body).unwrap()).collect()
    }

    /// Bodies that came to an endpoint of its.
    pub(crate) fn fanned_to(&self, endpoint: Endpoint) -> Vec<Vec<u8>> {
        self.net.calls(&self.domain, endpoint).into_iter().map(|call| call.body).collect()
    }

    /// The Welcomes that came, with their trees.
    pub(crate) fn welcomes(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let welcome = |fanout: FanoutMessage| match fanout.content {
            FanoutContent::Welcome { message, ratchet_tree: RatchetTreeOption::Full(tree) } => {
                Some((message.as_bytes().to_vec(), tree.as_bytes().to_vec()))
            }
            _ => None,
        };
        self.fanned_out().into_iter().filter_map(welcome).collect()
    }

    /// The commits that the hub sent are taken in.
    pub(crate) fn catch_up(&mut self) {
        let fanned_out = self.fanned_out();
        let member = self.member.as_mut().unwrap();
        for fanout in fanned_out {
            if let FanoutContent::Commit { message, .. } = fanout.content
                && message.epoch() == Some(member.epoch())
            {
                member.apply_commit(message.as_bytes(), &mut yes(BTreeMap::new()), now()).unwrap();
            }
        }
    }

    pub(crate) fn state(&self) -> RoomState {
        RoomState::from_components(&self.member().components()).unwrap()
    }

    /// A commit of one of ours that adds this client, listed as participant.
    pub(crate) fn add(&self, by: &str, user: &UserUri, key_package: &[u8], path: bool) -> StagedCommit {
        let mut state = self.state();
        let update = policy::update_add(&state, &[(user.clone(), role::MEMBER)]).unwrap();
        state.participants.push((user.clone(), role::MEMBER));
        let list = state.to_components().unwrap()[&component::PARTICIPANT_LIST].clone();
        let change = Change {
            adds: vec![key_package.to_vec()],
            app_data: vec![AppDataChange { component: component::PARTICIPANT_LIST, update }],
            path,
            ..Change::default()
        };
        let values = BTreeMap::from([(component::PARTICIPANT_LIST, list)]);
        self.member().stage_commit(&self.uri(by), &change, &mut yes(values), now()).unwrap()
    }

    pub(crate) fn refresh(&self, by: &str) -> StagedCommit {
        let change = Change { path: true, ..Change::default() };
        self.member().stage_commit(&self.uri(by), &change, &mut yes(BTreeMap::new()), now()).unwrap()
    }

    pub(crate) async fn update(&self, to: &Silo, room: &RoomUri, body: &[u8]) -> UpdateRoomResponse {
        let answer = self.send(to, Endpoint::Update, &path(room), body).await.unwrap();
        UpdateRoomResponse::decode(&answer).unwrap()
    }

    pub(crate) async fn submit(
        &mut self,
        to: &Silo,
        room: &RoomUri,
        as_leaf: &str,
        named: &UserUri,
        plaintext: &[u8],
    ) -> SubmitMessageResponse {
        let leaf = self.uri(as_leaf);
        let sealed = self.member.as_mut().unwrap().seal(&leaf, plaintext, &SafeAad::default()).unwrap();
        let body =
            SubmitMessageRequest { app_message: MlsMessage::decode(&sealed).unwrap(), sending_user: named.clone() };
        let answer = self.send(to, Endpoint::SubmitMessage, &path(room), &body.encode()).await.unwrap();
        SubmitMessageResponse::decode(&answer).unwrap()
    }

    /// Asks for the GroupInfo as `user`; `None` if it is not given.
    pub(crate) async fn group_info(&self, to: &Silo, room: &RoomUri, user: &UserUri) -> Option<GroupInfoRatchetTree> {
        let key = labels::SigningKey::generate().unwrap();
        let hpke = labels::generate_hpke().unwrap();
        let tbs = GroupInfoRequestTbs {
            cipher_suite: CIPHER_SUITE,
            requesting_signature_key: key.public().to_vec(),
            requesting_credential: Credential::Basic {
                identity: user.client(DEVICE).unwrap().as_str().as_bytes().to_vec(),
            },
            group_info_public_key: hpke.public.clone(),
            joining_code: None,
        };
        let signature = labels::sign_with_label(&key, GroupInfoRequestTbs::LABEL, &tbs.encode()).unwrap();
        let body = GroupInfoRequest::new(tbs, signature).encode();
        let answer = self.send(to, Endpoint::GroupInfo, &path(room), &body).await.unwrap();
        match GroupInfoResponse::decode(&answer).unwrap() {
            GroupInfoResponse::Success(signed) => {
                let answer = signed.tbs();
                let sealed = labels::Sealed {
                    kem_output: answer.encrypted.kem_output.clone(),
                    ciphertext: answer.encrypted.ciphertext.clone(),
                };
                let context = room.as_str().as_bytes();
                let label = GroupInfoRatchetTree::LABEL;
                let plain = labels::hpke_open_with_label(CIPHER_SUITE, &hpke.private, label, context, &sealed).unwrap();
                Some(GroupInfoRatchetTree::decode(&plain).unwrap())
            }
            GroupInfoResponse::NotAuthorized(named) => {
                assert_eq!(named, *room);
                None
            }
            GroupInfoResponse::NoSuchRoom(named) => panic!("{named} is told not to be"),
        }
    }

    /// What somebody says, by whoever's word.
    pub(crate) fn words(says: &UserUri, room: &RoomUri, text: &str) -> Vec<u8> {
        let part = NestedPart::text("text/plain;charset=utf-8", text);
        MimiContent::new([5; 16], says, room, part).encode_with_id(says, room).unwrap().0
    }
}

pub(crate) fn path(room: &RoomUri) -> PathTarget {
    PathTarget::Uri(room.as_uri().clone())
}

pub(crate) fn bundle(staged: &StagedCommit) -> Vec<u8> {
    HandshakeBundle::Commit(Box::new(CommitBundle {
        commit: MlsMessage::decode(&staged.commit).unwrap(),
        welcome: staged.welcome.clone().map(|raw| RawWelcome::from_bytes(raw).unwrap()),
        group_info: GroupInfoOption::Full(RawGroupInfo::from_bytes(staged.group_info.clone()).unwrap()),
        ratchet_tree: RatchetTreeOption::Full(RawRatchetTree::from_bytes(staged.ratchet_tree.clone()).unwrap()),
    }))
    .encode()
}

pub(crate) fn consent(action: ConsentAction, requester: &UserUri, target: &UserUri, room: &RoomUri) -> Vec<u8> {
    ConsentEntry {
        action,
        requester: requester.clone(),
        target: target.clone(),
        room: Some(room.clone()),
        extensions: AppDataDictionary::default(),
    }
    .encode()
}

pub(crate) fn refused(answer: &UpdateRoomResponse) -> bool {
    matches!(answer.outcome, UpdateOutcome::NotAllowed | UpdateOutcome::InvalidProposal { .. })
}

/// After an attack: the room is as it was, and people talk on.
pub(crate) async fn all_is_well(
    two: &Two,
    at_a: &OwnedRoomId,
    at_b: &OwnedRoomId,
    uri: &RoomUri,
    before: (String, Option<u64>, usize),
) {
    assert_eq!(two.a.room(uri).await.unwrap(), before);
    let said = two.a.homeserver.bodies(at_a).len();
    two.a.homeserver.say(at_a, "a1", "still here");
    two.b.homeserver.say(at_b, "b1", "me too");
    until_true("A hears B", || two.a.homeserver.bodies(at_a).len() >= said + 2).await;
    until_true("B hears A", || two.b.homeserver.bodies(at_b).contains(&"still here".to_owned())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s20_clients_that_did_not_come_through_the_hub() {
    let two = Two::new().await;
    let (at_a, at_b, uri) = two.room().await;
    let mut rogue = Rogue::new("m", &two.a.net);
    rogue.enter(&two.a, &at_a, &uri, "m1").await;
    let before = two.a.room(&uri).await.unwrap();
    for victim in [rogue.uri("m2"), two.b.uri("b2"), two.a.uri("a2"), two.a.uri("a1"), two.b.uri("b1")] {
        let made = mls::make_key_package(&victim, now()).unwrap();
        if victim == two.a.uri("a1") || victim == two.b.uri("b1") {
            // A second client of somebody who is in already: not listed anew.
            let change = Change { adds: vec![made.bytes.clone()], ..Change::default() };
            let staged = rogue.member().stage_commit(&rogue.uri("m1"), &change, &mut yes(BTreeMap::new()), now());
            if let Ok(staged) = staged {
                assert!(refused(&rogue.update(&two.a, &uri, &bundle(&staged)).await), "{victim}");
            }
            continue;
        }
        if victim == rogue.uri("m2") {
            rogue.member.as_mut().unwrap().adopt(&made.private).unwrap();
        }
        let staged = rogue.add("m1", &victim, &made.bytes, false);
        let answer = rogue.update(&two.a, &uri, &bundle(&staged)).await;
        let why = if victim == two.a.uri("a2") { "forged leaf" } else { "through this hub" };
        assert!(refused(&answer) && answer.description.contains(why), "{victim}: {answer:?}");
    }
    // Not by an external commit either: as somebody else's user, or as one who is not listed.
    let info = rogue.group_info(&two.a, &uri, &rogue.uri("m1")).await.unwrap();
    let RatchetTreeOption::Full(tree) = &info.ratchet_tree else { panic!("no tree") };
    for victim in [two.b.uri("b2"), two.b.uri("b1"), rogue.uri("m2"), rogue.uri("m1")] {
        let joined = Member::join_external(
            &ExternalJoin {
                group_info: info.group_info.as_bytes(),
                ratchet_tree: tree.as_bytes(),
                pending_proposals: &[],
                user: &victim,
                change: &Change::default(),
                now: now(),
            },
            &mut yes(BTreeMap::new()),
        );
        let Ok((_, staged)) = joined else { continue };
        if victim == rogue.uri("m1") {
            // A second client of its own user is its right (canAddOwnClient); not what is tried here.
            continue;
        }
        let answer = rogue.update(&two.a, &uri, &bundle(&staged)).await;
        assert!(refused(&answer), "{victim}: {answer:?}");
    }
    all_is_well(&two, &at_a, &at_b, &uri, before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_update_gets_the_same_answer() {
    let two = Two::new().await;
    let (at_a, at_b, uri) = two.room().await;
    let mut rogue = Rogue::new("m", &two.a.net);
    rogue.enter(&two.a, &at_a, &uri, "m1").await;
    let epoch = two.a.room(&uri).await.unwrap().1.unwrap();
    let body = bundle(&rogue.refresh("m1"));
    let target = path(&uri);
    // Many at once: all get the one answer that the first got.
    let sends = (0..20).map(|_| rogue.send(&two.a, Endpoint::Update, &target, &body));
    let mut answers = Vec::new();
    for send in sends {
        answers.push(send.await.unwrap());
    }
    let engine = two.a.engine();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (engine, peer, uri, body) = (engine.clone(), rogue.domain.clone(), uri.clone(), body.clone());
        tasks.spawn(async move {
            use mimi_gateway::engine::ports::{ProviderInbound as _, VerifiedPeer};
            engine.update(VerifiedPeer::assert_verified(peer), uri, body).await.unwrap()
        });
    }
    answers.extend(tasks.join_all().await);
    drop(engine);
    two.a.stop().await;
    two.a.start().await;
    answers.push(rogue.send(&two.a, Endpoint::Update, &target, &body).await.unwrap());
    let first = UpdateRoomResponse::decode(&answers[0]).unwrap();
    assert!(matches!(first.outcome, UpdateOutcome::Success { .. }), "{first:?}");
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    let now = two.a.room(&uri).await.unwrap();
    assert_eq!(now.1, Some(epoch + 1));
    all_is_well(&two, &at_a, &at_b, &uri, now).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s14_who_was_removed_is_refused() {
    let two = Two::new().await;
    let (at_a, at_b, uri) = two.room().await;
    let mut rogue = Rogue::new("m", &two.a.net);
    rogue.enter(&two.a, &at_a, &uri, "m1").await;
    assert!(rogue.group_info(&two.a, &uri, &rogue.uri("m1")).await.is_some());
    assert!(rogue.group_info(&two.a, &uri, &rogue.uri("m2")).await.is_none());
    assert!(rogue.group_info(&two.a, &uri, &two.b.uri("b1")).await.is_none());
    let ghost = two.a.ghost(&rogue.uri("m1"));
    until_true("the ghost is there", || two.a.homeserver.member(&at_a, &ghost).as_deref() == Some("join")).await;
    two.a.homeserver.kick(&at_a, "a1", &ghost);
    let gone = || {
        rogue.fanned_out().iter().any(|fanout| {
            matches!(&fanout.content, FanoutContent::Commit { message, .. } if message.epoch() == Some(rogue.member().epoch()))
        })
    };
    until_true("the commit that removes it", gone).await;
    let before = two.a.room(&uri).await.unwrap();
    let m1 = rogue.uri("m1");
    let words = Rogue::words(&m1, &uri, "from beyond");
    assert_eq!(rogue.submit(&two.a, &uri, "m1", &m1, &words).await, SubmitMessageResponse::NotAllowed);
    let answer = rogue.update(&two.a, &uri, &bundle(&rogue.refresh("m1"))).await;
    assert!(!matches!(answer.outcome, UpdateOutcome::Success { .. }), "{answer:?}");
    assert!(rogue.group_info(&two.a, &uri, &m1).await.is_none());
    // What a stranger hears of a room that is not there is the same.
    let nowhere = RoomUri::new(&two.a.domain, "nowhere").unwrap();
    assert!(rogue.group_info(&two.a, &nowhere, &m1).await.is_none());
    let heard = rogue.fanned_out().len();
    all_is_well(&two, &at_a, &at_b, &uri, before).await;
    assert_eq!(rogue.fanned_out().len(), heard);
}

/// A room that the rogue hosts, with B1 in it: its URI, and the portal at B.
pub(crate) async fn hosted_by(rogue: &mut Rogue, b: &Silo) -> (RoomUri, OwnedRoomId) {
    hosted_by_with(rogue, b, NewComponents::new()).await
}

/// The same with more components.
pub(crate) async fn hosted_by_with(rogue: &mut Rogue, b: &Silo, more: NewComponents) -> (RoomUri, OwnedRoomId) {
    Box::pin(hosted_as("trap", rogue, b, more)).await
}

/// The same, the room being called so.
pub(crate) async fn hosted_as(name: &str, rogue: &mut Rogue, b: &Silo, more: NewComponents) -> (RoomUri, OwnedRoomId) {
    let uri = host_as(name, rogue, more);
    let (m1, b1) = (rogue.uri("m1"), b.uri("b1"));
    let to_b = PathTarget::Domain(b.domain.clone());
    let body = consent(ConsentAction::Request, &m1, &b1, &uri);
    rogue.send(b, Endpoint::RequestConsent, &to_b, &body).await.unwrap();
    let portal = until("an invitation", || b.homeserver.invitations("b1").first().cloned()).await;
    b.homeserver.join(&portal, "b1");
    let grant = until("the grant", || rogue.net.calls(&rogue.domain, Endpoint::UpdateConsent).pop()).await;
    let ConsentAction::Grant { key_packages } = ConsentEntry::decode(&grant.body).unwrap().action else {
        panic!("no grant")
    };
    assert!(welcomed(rogue, b, &uri, &b1, key_packages[0].as_bytes()).await.is_ok());
    until_room(b, &uri, "active").await;
    (uri, portal)
}

/// A room that the rogue hosts, with nobody else in it.
pub(crate) fn host(rogue: &mut Rogue, more: NewComponents) -> RoomUri {
    host_as("trap", rogue, more)
}

fn host_as(name: &str, rogue: &mut Rogue, more: NewComponents) -> RoomUri {
    let uri = RoomUri::new(&rogue.domain, name).unwrap();
    let m1 = rogue.uri("m1");
    let state = policy::initial(uri.clone(), "Trap", "", vec![(m1.clone(), role::ADMIN)], policy::Preset::default());
    rogue.member = Some(
        Member::create(NewGroup {
            group_id: uri.group(0).unwrap().as_str().as_bytes().to_vec(),
            creator: m1.clone(),
            components: state.to_components().unwrap().into_iter().chain(more).collect(),
            external_senders: vec![],
            now: now(),
        })
        .unwrap(),
    );
    uri
}

/// The rogue adds somebody of B's and sends the Welcome.
pub(crate) async fn welcomed(
    rogue: &mut Rogue,
    b: &Silo,
    uri: &RoomUri,
    user: &UserUri,
    key_package: &[u8],
) -> Result<Vec<u8>, Problem> {
    let staged = rogue.add("m1", user, key_package, false);
    let list = listed(rogue, user);
    rogue.member.as_mut().unwrap().accept_staged(&staged, &mut yes(list), now()).unwrap();
    let mut welcome = vec![0, 1, 0, 3];
    welcome.extend_from_slice(staged.welcome.as_ref().unwrap());
    let content = FanoutContent::Welcome {
        message: MlsMessage::decode(&welcome).unwrap(),
        ratchet_tree: RatchetTreeOption::Full(RawRatchetTree::from_bytes(staged.ratchet_tree.clone()).unwrap()),
    };
    notify(rogue, b, uri, content).await
}

pub(crate) fn listed(rogue: &Rogue, user: &UserUri) -> NewComponents {
    let mut state = rogue.state();
    state.participants.push((user.clone(), role::MEMBER));
    let list = state.to_components().unwrap()[&component::PARTICIPANT_LIST].clone();
    BTreeMap::from([(component::PARTICIPANT_LIST, list)])
}

pub(crate) async fn notify(rogue: &Rogue, b: &Silo, uri: &RoomUri, content: FanoutContent) -> Result<Vec<u8>, Problem> {
    let body = FanoutMessage { timestamp: now(), content }.encode();
    rogue.send(b, Endpoint::Notify, &path(uri), &body).await
}

pub(crate) fn commit_of(staged: &StagedCommit) -> FanoutContent {
    FanoutContent::Commit { message: MlsMessage::decode(&staged.commit).unwrap(), external_proposals: vec![] }
}

#[tokio::test(flavor = "multi_thread")]
async fn s13_a_hub_adds_a_client_in_our_name() {
    let two = Two::new().await;
    let (at_a, at_b, other) = two.room().await;
    let mut rogue = Rogue::new("m", &two.a.net);
    let (uri, portal) = hosted_by(&mut rogue, &two.b).await;
    let victim = two.b.uri("b2");
    let made = mls::make_key_package(&victim, now()).unwrap();
    let staged = rogue.add("m1", &victim, &made.bytes, false);
    notify(&rogue, &two.b, &uri, commit_of(&staged)).await.unwrap();
    let broken = |text: &String| text.contains("not connected any more") && text.contains("b2");
    until_true("B1 is told", || two.b.homeserver.notices(&portal).iter().any(broken)).await;
    assert!(two.b.room(&uri).await.unwrap().0.starts_with("broken"));
    // Nothing of B1 goes there any more; other rooms live on.
    let told = rogue.net.calls(&rogue.domain, Endpoint::SubmitMessage).len();
    two.b.homeserver.say(&portal, "b1", "anybody here?");
    let before = two.a.room(&other).await.unwrap();
    all_is_well(&two, &at_a, &at_b, &other, before).await;
    two.b.stop().await;
    assert_eq!(rogue.net.calls(&rogue.domain, Endpoint::SubmitMessage).len(), told);
}

#[tokio::test(flavor = "multi_thread")]
async fn s13_a_hub_leaves_commits_out() {
    let two = Two::new().await;
    let mut rogue = Rogue::new("m", &two.a.net);
    let (uri, portal) = hosted_by(&mut rogue, &two.b).await;
    for skipped in [true, false] {
        let staged = rogue.refresh("m1");
        rogue.member.as_mut().unwrap().accept_staged(&staged, &mut yes(BTreeMap::new()), now()).unwrap();
        if !skipped {
            notify(&rogue, &two.b, &uri, commit_of(&staged)).await.unwrap();
        }
    }
    // B asks for the way back, gets nothing that it could use, and says so.
    let told = |text: &String| text.contains("keeps trying to come back");
    until_true("B1 is told", || two.b.homeserver.notices(&portal).iter().any(told)).await;
    assert!(!rogue.net.calls(&rogue.domain, Endpoint::GroupInfo).is_empty());
    assert_eq!(two.b.room(&uri).await.unwrap().0, "coming back");
    two.b.homeserver.say(&portal, "b1", "not yet");
    until_true("B1's words are in", || two.b.homeserver.is_quiet()).await;
    assert!(rogue.net.calls(&rogue.domain, Endpoint::SubmitMessage).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn s13_two_commits_for_one_epoch_and_old_ones_again() {
    let two = Two::new().await;
    let mut rogue = Rogue::new("m", &two.a.net);
    let (uri, portal) = hosted_by(&mut rogue, &two.b).await;
    let (first, second) = (rogue.refresh("m1"), rogue.refresh("m1"));
    notify(&rogue, &two.b, &uri, commit_of(&first)).await.unwrap();
    notify(&rogue, &two.b, &uri, commit_of(&second)).await.unwrap();
    // The same commit in another notify, which is not the same bytes.
    notify(&rogue, &two.b, &uri, commit_of(&first)).await.unwrap();
    rogue.member.as_mut().unwrap().accept_staged(&first, &mut yes(BTreeMap::new()), now()).unwrap();
    let m1 = rogue.uri("m1");
    let words = Rogue::words(&m1, &uri, "on the first one");
    let sealed = rogue.member.as_mut().unwrap().seal(&m1, &words, &SafeAad::default()).unwrap();
    let message = || FanoutContent::Application { message: MlsMessage::decode(&sealed).unwrap(), frank: None };
    notify(&rogue, &two.b, &uri, message()).await.unwrap();
    notify(&rogue, &two.b, &uri, message()).await.unwrap();
    until_bodies(&two.b, &portal, &["on the first one"]).await;
    // In B1's name, and for another room: not shown.
    for (says, room) in
        [(&two.b.uri("b1"), &uri), (&two.a.uri("a1"), &uri), (&m1, &RoomUri::new(&rogue.domain, "x").unwrap())]
    {
        let words = Rogue::words(says, room, "not so");
        let sealed = rogue.member.as_mut().unwrap().seal(&m1, &words, &SafeAad::default()).unwrap();
        let content = FanoutContent::Application { message: MlsMessage::decode(&sealed).unwrap(), frank: None };
        notify(&rogue, &two.b, &uri, content).await.unwrap();
    }
    let words = Rogue::words(&m1, &uri, "the end");
    let words = {
        let mut content = MimiContent::decode(&words).unwrap();
        content.salt = [6; 16];
        content.encode_with_id(&m1, &uri).unwrap().0
    };
    let sealed = rogue.member.as_mut().unwrap().seal(&m1, &words, &SafeAad::default()).unwrap();
    let content = FanoutContent::Application { message: MlsMessage::decode(&sealed).unwrap(), frank: None };
    notify(&rogue, &two.b, &uri, content).await.unwrap();
    until_bodies(&two.b, &portal, &["on the first one", "the end"]).await;
    // Only the room's hub speaks for it.
    let body = FanoutMessage { timestamp: now(), content: message() }.encode();
    let answer = two.b.receive("a", Endpoint::Notify, &path(&uri), &body).await;
    assert!(matches!(answer, Err(Problem::Forbidden(_))), "{answer:?}");
    let elsewhere = RoomUri::new(&rogue.domain, "elsewhere").unwrap();
    assert_eq!(rogue.send(&two.b, Endpoint::Notify, &path(&elsewhere), &body).await, Err(Problem::NotFound));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_of_the_hub_reaches_a_rogue_in_order() {
    let two = Two::new().await;
    let (at_a, at_b, uri) = two.room().await;
    let mut rogue = Rogue::new("m", &two.a.net);
    rogue.enter(&two.a, &at_a, &uri, "m1").await;
    // Its own valid commit is taken, the others see it, and it hears of theirs.
    let staged = rogue.refresh("m1");
    let answer = rogue.update(&two.a, &uri, &bundle(&staged)).await;
    assert!(matches!(answer.outcome, UpdateOutcome::Success { .. }), "{answer:?}");
    rogue.member.as_mut().unwrap().accept_staged(&staged, &mut yes(BTreeMap::new()), now()).unwrap();
    let m1 = rogue.uri("m1");
    let words = Rogue::words(&m1, &uri, "good evening");
    let answer = rogue.submit(&two.a, &uri, "m1", &m1, &words).await;
    assert!(matches!(answer, SubmitMessageResponse::Accepted { .. }), "{answer:?}");
    until_bodies(&two.b, &at_b, &["good evening"]).await;
    until_bodies(&two.a, &at_a, &["good evening"]).await;
    rogue.catch_up();
    let times: Vec<u64> = rogue.fanned_out().iter().map(|fanout| fanout.timestamp).collect();
    assert!(times.is_sorted(), "{times:?}");
}
