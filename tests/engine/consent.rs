//! Consent for every room, what users say about it, whom they block, and that no answer tells a peer who declined.

use std::sync::Arc;

use mimi_gateway::{
    engine::ports::{Endpoint, PathTarget, Problem},
    ident::{RoomUri, UserUri},
    mls,
    wire::{
        AppDataDictionary, ConsentAction, ConsentEntry, FanoutMessage, KeyMaterialResponse, KeyMaterialUserCode,
        RawKeyPackage, Wire as _,
    },
};
use ruma::{OwnedRoomId, RoomId};

use crate::{
    attacks::{Rogue, consent, host, now, path, welcomed},
    flow::{key_request, until_room},
    homeserver::no_faults,
    silo::{Disk, Net, Silo, Two, bring, until, until_bodies, until_true},
};

pub(crate) fn for_every_room(action: ConsentAction, requester: &UserUri, target: &UserUri) -> Vec<u8> {
    let (requester, target) = (requester.clone(), target.clone());
    ConsentEntry { action, requester, target, room: None, extensions: AppDataDictionary::default() }.encode()
}

/// The one chat of somebody with the bot, once the bot said this there.
pub(crate) async fn told(silo: &Silo, name: &str, desk: &RoomId, part: &str) -> String {
    until(&format!("{name} is told {part:?}"), || {
        silo.homeserver.notices(desk).into_iter().rev().find(|text| text.contains(part))
    })
    .await
}

/// The bot's chat that somebody is asked into; they come.
async fn desk(silo: &Silo, name: &str) -> OwnedRoomId {
    let room = until("the bot's invitation", || silo.homeserver.invitations(name).first().cloned()).await;
    assert_eq!(silo.homeserver.member(&room, silo.homeserver.bot.as_str()).as_deref(), Some("join"));
    silo.homeserver.join(&room, name);
    room
}

/// Somebody writes to the bot, and is answered.
pub(crate) async fn says(silo: &Silo, name: &str, desk: &RoomId, what: &str, answer: &str) -> String {
    let before = silo.homeserver.notices(desk).len();
    silo.homeserver.say(desk, name, what);
    until(&format!("an answer to {what:?}"), || {
        silo.homeserver.notices(desk).into_iter().skip(before).find(|text| text.contains(answer))
    })
    .await
}

/// Somebody begins a chat with the bot.
pub(crate) async fn own_desk(silo: &Silo, name: &str) -> OwnedRoomId {
    let homeserver = &silo.homeserver;
    let room = homeserver.create_room(name, "");
    homeserver.invite(&room, name, homeserver.bot.as_str(), true);
    until_true("the bot's greeting", || !homeserver.notices(&room).is_empty()).await;
    room
}

struct Play {
    b: Silo,
    rogue: Rogue,
}

impl Play {
    async fn new() -> Self {
        let net = Arc::new(Net::default());
        let b = Silo::new("b", &["b1", "b2", "b3"], &net).await;
        Self { rogue: Rogue::new("m", &net), b }
    }

    fn m1(&self) -> UserUri {
        self.rogue.uri("m1")
    }

    async fn request(&self, action: ConsentAction, name: &str) {
        let body = for_every_room(action, &self.m1(), &self.b.uri(name));
        self.entry(Endpoint::RequestConsent, &body).await.unwrap();
    }

    async fn entry(&self, endpoint: Endpoint, body: &[u8]) -> Result<Vec<u8>, Problem> {
        self.rogue.send(&self.b, endpoint, &PathTarget::Domain(self.b.domain.clone()), body).await
    }

    /// The raw answer to a request for KeyPackages of somebody.
    async fn keys(&self, name: &str, room: &RoomUri) -> Vec<u8> {
        let target = self.b.uri(name);
        let path = PathTarget::Uri(target.as_uri().clone());
        self.rogue.send(&self.b, Endpoint::KeyMaterial, &path, &key_request(&self.m1(), &target, room)).await.unwrap()
    }

    async fn status(&self, name: &str, room: &RoomUri) -> KeyMaterialUserCode {
        KeyMaterialResponse::decode(&self.keys(name, room).await).unwrap().status
    }

    /// What B told the rogue's provider about consent.
    fn heard(&self) -> Vec<ConsentEntry> {
        let bodies = self.rogue.fanned_to(Endpoint::UpdateConsent);
        bodies.iter().map(|body| ConsentEntry::decode(body).unwrap()).collect()
    }

    /// The portal of a room that somebody is asked into.
    async fn invited(&self, name: &str, room: &RoomUri) -> OwnedRoomId {
        until("an invitation", || {
            let portal = self.b.homeserver.portal(room)?;
            self.b.homeserver.invitations(name).contains(&portal).then_some(portal)
        })
        .await
    }

    fn room(&self, name: &str) -> RoomUri {
        RoomUri::new(&self.rogue.domain, name).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_for_every_room_is_asked_answered_and_taken_back() {
    let mut play = Play::new().await;
    let (m1, b1) = (play.m1(), play.b.uri("b1"));
    play.request(ConsentAction::Request, "b1").await;
    let desk = desk(&play.b, "b1").await;
    let question = told(&play.b, "b1", &desk, "asks you to agree").await;
    assert!(question.contains(m1.as_str()) && question.contains("Reply “yes” or “no”"), "{question}");
    // Nobody asks twice, not even after a restart.
    play.b.stop().await;
    play.b.start().await;
    play.request(ConsentAction::Request, "b1").await;
    // Looked at after the answer, it would be answered once more.
    play.b.until_all_sent().await;
    assert_eq!(play.status("b1", &play.room("early")).await, KeyMaterialUserCode::NoConsent);
    assert!(play.heard().is_empty());
    let event = play.b.homeserver.event(&desk, &question);
    let before = play.b.homeserver.notices(&desk).len();
    play.b.homeserver.reply(&desk, "b1", &event, "Yes");
    told(&play.b, "b1", &desk, "may add you to rooms from now on").await;
    assert_eq!(play.b.homeserver.notices(&desk).len(), before + 1);
    until_true("the grant", || !play.heard().is_empty()).await;
    let grant = play.heard().remove(0);
    assert_eq!((&grant.requester, &grant.target, &grant.room), (&m1, &b1, &None));
    let ConsentAction::Grant { key_packages } = grant.action else { panic!("{:?}", grant.action) };
    assert_eq!(key_packages.len(), 1);

    // Its KeyPackage leads into a room that B never heard of. B1 sees an invitation, and is there when they come.
    let uri = host(&mut play.rogue, std::collections::BTreeMap::new());
    welcomed(&mut play.rogue, &play.b, &uri, &b1, key_packages[0].as_bytes()).await.unwrap();
    let portal = play.invited("b1", &uri).await;
    until_room(&play.b, &uri, "active").await;
    play.b.homeserver.join(&portal, "b1");
    play.b.homeserver.say(&portal, "b1", "here");
    until_true("B1's words", || !play.rogue.fanned_to(Endpoint::SubmitMessage).is_empty()).await;

    // For other rooms keyMaterial is answered without asking.
    assert_eq!(play.status("b1", &play.room("other")).await, KeyMaterialUserCode::Success);
    let other = play.invited("b1", &play.room("other")).await;
    // Declining one room is no more than that.
    play.b.homeserver.leave(&other, "b1");
    until_true("B has heard", || play.b.homeserver.is_quiet()).await;
    let declined = async || play.status("b1", &play.room("other")).await == KeyMaterialUserCode::NoConsentForThisRoom;
    until_async("declined", declined).await;
    assert_eq!(play.status("b1", &play.room("third")).await, KeyMaterialUserCode::Success);

    says(&play.b, "b1", &desk, &format!("revoke {m1}"), "may not add you to rooms any more; they are told").await;
    until_true("the revocation", || play.heard().len() == 2).await;
    let revocation = play.heard().remove(1);
    assert_eq!((revocation.action, revocation.room), (ConsentAction::Revoke, None));
    assert_eq!(play.status("b1", &play.room("fourth")).await, KeyMaterialUserCode::NoConsent);
}

async fn until_async(what: &str, mut look: impl AsyncFnMut() -> bool) {
    let since = std::time::Instant::now();
    while !look().await {
        assert!(since.elapsed() < crate::silo::PATIENCE, "{what}");
        tokio::time::sleep(std::time::Duration::from_millis(3)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_added_and_does_not_come_leaves_again() {
    let mut play = Play::new().await;
    let (m1, b1) = (play.m1(), play.b.uri("b1"));
    let desk = own_desk(&play.b, "b1").await;
    // Nobody asked: a grant all the same, in the chat that B1 began.
    says(&play.b, "b1", &desk, &format!("accept {m1}"), "may add you to rooms from now on").await;
    until_true("the grant", || !play.heard().is_empty()).await;
    let uri = host(&mut play.rogue, std::collections::BTreeMap::new());
    let response = KeyMaterialResponse::decode(&play.keys("b1", &uri).await).unwrap();
    let portal = play.invited("b1", &uri).await;
    let package = match &response.clients[0].material {
        mimi_gateway::wire::key_material::ClientMaterial::Success(package) => package.as_bytes().to_vec(),
        other => panic!("{other:?}"),
    };
    welcomed(&mut play.rogue, &play.b, &uri, &b1, &package).await.unwrap();
    until_room(&play.b, &uri, "active").await;
    assert!(play.rogue.fanned_to(Endpoint::Update).is_empty(), "they stay until they decline");
    play.b.homeserver.leave(&portal, "b1");
    until_true("they leave", || !play.rogue.fanned_to(Endpoint::Update).is_empty()).await;

    // After a revocation a KeyPackage of the grant leads nowhere.
    let ConsentAction::Grant { key_packages } = play.heard().remove(0).action else { panic!("no grant") };
    says(&play.b, "b1", &desk, &format!("!mimi revoke {m1}"), "may not add you").await;
    let mut late = Rogue::new("m", &play.b.net);
    late.member = None;
    let elsewhere = host(&mut late, std::collections::BTreeMap::new());
    assert_eq!(elsewhere, uri, "the same name; another room has to be unknown");
    let unknown = RoomUri::new(&late.domain, "unknown").unwrap();
    let staged = late.add("m1", &b1, key_packages[0].as_bytes(), false);
    let mut welcome = vec![0, 1, 0, 3];
    welcome.extend_from_slice(staged.welcome.as_ref().unwrap());
    let body = FanoutMessage {
        timestamp: now(),
        content: mimi_gateway::wire::FanoutContent::Welcome {
            message: mimi_gateway::wire::MlsMessage::decode(&welcome).unwrap(),
            ratchet_tree: mimi_gateway::wire::RatchetTreeOption::Full(
                mimi_gateway::wire::RawRatchetTree::from_bytes(staged.ratchet_tree.clone()).unwrap(),
            ),
        },
    }
    .encode();
    let answer = late.send(&play.b, Endpoint::Notify, &path(&unknown), &body).await;
    assert_eq!(answer, Err(Problem::NotFound));
}

/// What a peer can do to find out what became of its questions: all it gets are the same bytes.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_can_tell_who_declined_who_blocks_and_who_is_there() {
    let net = Arc::new(Net::default());
    let people = ["unanswered", "declined", "blocker"];
    let b = Silo::start_on("b", &people, &net, Disk::Memory(mimi_gateway::store::MemoryDisk::new()), no_faults()).await;
    let play = Play { rogue: Rogue::new("m", &net), b };
    let m1 = play.m1();
    let blocking = own_desk(&play.b, "blocker").await;
    says(&play.b, "blocker", &blocking, &format!("block {m1}"), "is blocked").await;
    assert_eq!(says(&play.b, "blocker", &blocking, "blocked", "You block").await, format!("You block\n• {m1}"));
    let everybody = ["unanswered", "declined", "blocker", "nobody"];
    for name in everybody {
        play.request(ConsentAction::Request, name).await;
        let body = consent(ConsentAction::Request, &m1, &play.b.uri(name), &play.room(name));
        play.entry(Endpoint::RequestConsent, &body).await.unwrap();
    }
    // Who declines declines both.
    for name in ["unanswered", "declined"] {
        until_true("the bot and the room", || play.b.homeserver.invitations(name).len() == 2).await;
    }
    let portal = play.b.homeserver.portal(&play.room("declined")).unwrap();
    play.b.homeserver.leave(&portal, "declined");
    let talk = desk(&play.b, "declined").await;
    told(&play.b, "declined", &talk, "asks you to agree").await;
    says(&play.b, "declined", &talk, "no", "They are not told.").await;
    play.b.stop().await;
    play.b.start().await;

    let same = |name: &str, bytes: Vec<u8>| {
        String::from_utf8_lossy(&bytes).replace(&format!("/u/{name}"), "/u/X").replace(&format!("/r/{name}"), "/r/X")
    };
    for name in everybody {
        let room = play.room(name);
        let answer = KeyMaterialResponse::decode(&play.keys(name, &room).await).unwrap();
        assert_eq!(answer, KeyMaterialResponse::refused(KeyMaterialUserCode::NoConsent, play.b.uri(name)));
        assert_eq!(
            same(name, answer.encode())[3..],
            same("unanswered", play.keys("unanswered", &play.room("unanswered")).await)[3..],
            "{name}: but for the length of the name"
        );
        // Its own room: whether B knows it says nothing.
        for endpoint in [Endpoint::Notify, Endpoint::Update, Endpoint::SubmitMessage] {
            let answer = play.rogue.send(&play.b, endpoint, &path(&room), b"x").await;
            assert_eq!(answer, Err(Problem::NotFound), "{name}: {endpoint}");
        }
        for action in [ConsentAction::Request, ConsentAction::Cancel, ConsentAction::Request] {
            play.request(action.clone(), name).await;
            let body = consent(action, &m1, &play.b.uri(name), &room);
            assert_eq!(play.entry(Endpoint::RequestConsent, &body).await, Ok(Vec::new()), "{name}");
        }
    }
    until_true("all is looked at", || play.b.homeserver.is_quiet()).await;
    assert!(play.heard().is_empty(), "{:?}", play.heard());
    // The blocker saw nothing of it, and does once they want to.
    assert!(play.b.homeserver.invitations("blocker").is_empty());
    assert_eq!(play.b.homeserver.notices(&blocking).len(), 3);
    says(&play.b, "blocker", &blocking, &format!("unblock {m1}"), "may ask you again").await;
    play.request(ConsentAction::Request, "blocker").await;
    told(&play.b, "blocker", &blocking, "asks you to agree").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_is_taken_back_needs_no_answer() {
    let play = Play::new().await;
    play.request(ConsentAction::Request, "b1").await;
    let talk = desk(&play.b, "b1").await;
    told(&play.b, "b1", &talk, "asks you to agree").await;
    play.request(ConsentAction::Cancel, "b1").await;
    told(&play.b, "b1", &talk, "took the question back").await;
    says(&play.b, "b1", &talk, "yes", "Nobody waits for an answer").await;
    assert!(play.heard().is_empty());
    // Two at once: an answer without an address is not guessed.
    let m2 = play.rogue.uri("m2");
    play.request(ConsentAction::Request, "b1").await;
    let body = for_every_room(ConsentAction::Request, &m2, &play.b.uri("b1"));
    play.entry(Endpoint::RequestConsent, &body).await.unwrap();
    told(&play.b, "b1", &talk, &format!("({m2}) asks you")).await;
    says(&play.b, "b1", &talk, "yes", "Several wait for an answer").await;
    says(&play.b, "b1", &talk, &format!("decline {m2}"), "They are not told").await;
    says(&play.b, "b1", &talk, "yes", "m1 (mimi://m.example/u/m1)").await;
    until_true("the grant", || !play.heard().is_empty()).await;
    assert_eq!(play.heard()[0].requester, play.m1());
}

/// Two gateways: one's user asks, the other's answers, and changes their mind.
#[tokio::test(flavor = "multi_thread")]
async fn our_users_ask_and_hear_the_answer() {
    let two = Two::new().await;
    let (a1, b1) = (two.a.uri("a1"), two.b.uri("b1"));
    let at_a = own_desk(&two.a, "a1").await;
    says(&two.a, "a1", &at_a, &format!("ask {b1}"), "is asked to agree").await;
    let at_b = desk(&two.b, "b1").await;
    told(&two.b, "b1", &at_b, "asks you to agree").await;
    says(&two.b, "b1", &at_b, "yes", "may add you").await;
    told(&two.a, "a1", &at_a, "agreed that you add them").await;
    // The room's invitation is no second question: joining it is all.
    let (room, _) = two.bridge().await;
    let portal = bring(&two.a, &room, "a1", &two.b, "b1").await;
    two.b.homeserver.say(&portal, "b1", "thanks");
    until_bodies(&two.a, &room, &["thanks"]).await;
    assert_eq!(two.b.homeserver.notices(&at_b).iter().filter(|text| text.contains("asks you")).count(), 1);
    // From within a room; the answer is for B1 alone.
    two.b.homeserver.say(&portal, "b1", &format!("!mimi block {a1}"));
    told(&two.b, "b1", &at_b, "is blocked").await;
    assert!(!two.b.homeserver.notices(&portal).iter().any(|text| text.contains("is blocked")));
    told(&two.a, "a1", &at_a, "does not agree, or not any more").await;
    two.a.homeserver.say(&room, "a1", "still here");
    until_bodies(&two.b, &portal, &["thanks", "still here"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_want_to_come_may_say_so() {
    let net = Arc::new(Net::default());
    let a = Silo::new("a", &["a1"], &net).await;
    let rogue = Rogue::new("m", &net);
    let (a1, m1, m2) = (a.uri("a1"), rogue.uri("m1"), rogue.uri("m2"));
    let to_a = PathTarget::Domain(a.domain.clone());
    let (room, uri) = crate::silo::bridge(&a, "a1").await;
    let asked = |user: &UserUri| {
        let bodies = rogue.fanned_to(Endpoint::RequestConsent);
        bodies.iter().any(|body| ConsentEntry::decode(body).unwrap().target == *user)
    };
    // Nobody asked yet: taken, and without effect.
    for body in [consent(ConsentAction::Revoke, &a1, &m1, &uri), for_every_room(ConsentAction::Revoke, &a1, &m1)] {
        assert_eq!(rogue.send(&a, Endpoint::UpdateConsent, &to_a, &body).await, Ok(Vec::new()));
    }
    for (user, body) in [
        (&m1, consent(ConsentAction::Revoke, &a1, &m1, &uri)),
        // For every room, to a question about one.
        (&m2, for_every_room(ConsentAction::Revoke, &a1, &m2)),
    ] {
        a.homeserver.invite(&room, "a1", &a.ghost(user), false);
        until_true("the request", || asked(user)).await;
        rogue.send(&a, Endpoint::UpdateConsent, &to_a, &body).await.unwrap();
        until_true("the ghost declines", || a.homeserver.member(&room, &a.ghost(user)).as_deref() == Some("leave"))
            .await;
        let name = user.as_str().rsplit('/').next().unwrap();
        assert_eq!(
            a.homeserver.reason(&room, &a.ghost(user)).unwrap(),
            format!("{name} (m.example) does not agree to be added to this room.")
        );
    }
    // What comes after that is too late.
    let package = || vec![RawKeyPackage::from_bytes(mls::make_key_package(&m1, now()).unwrap().bytes).unwrap()];
    let grant = for_every_room(ConsentAction::Grant { key_packages: package() }, &a1, &m1);
    rogue.send(&a, Endpoint::UpdateConsent, &to_a, &grant).await.unwrap();
    let before = a.room(&uri).await.unwrap();
    // Asked again, an answer for every room is one for this room, too.
    a.homeserver.say(&room, "a1", &format!("!mimi invite {m1}"));
    until_true("the request", || rogue.fanned_to(Endpoint::RequestConsent).len() == 3).await;
    assert_eq!(a.room(&uri).await.unwrap(), before, "the grant from before has no effect");
    let grant = for_every_room(ConsentAction::Grant { key_packages: package() }, &a1, &m1);
    rogue.send(&a, Endpoint::UpdateConsent, &to_a, &grant).await.unwrap();
    until("the Welcome", || rogue.welcomes().pop()).await;
    assert_eq!(a.room(&uri).await.unwrap().2, before.2 + 1);
}

/// A grant need not have KeyPackages: they are asked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_grant_without_key_packages_leads_to_key_material() {
    let net = Arc::new(Net::default());
    let a = Silo::new("a", &["a1"], &net).await;
    let rogue = Rogue::new("m", &net);
    let (a1, m1) = (a.uri("a1"), rogue.uri("m1"));
    let (room, uri) = crate::silo::bridge(&a, "a1").await;
    a.homeserver.say(&room, "a1", &format!("!mimi invite {m1}"));
    until_true("the request", || !rogue.fanned_to(Endpoint::RequestConsent).is_empty()).await;
    let grant = consent(ConsentAction::Grant { key_packages: Vec::new() }, &a1, &m1, &uri);
    rogue.send(&a, Endpoint::UpdateConsent, &PathTarget::Domain(a.domain.clone()), &grant).await.unwrap();
    let body = until("keyMaterial", || rogue.fanned_to(Endpoint::KeyMaterial).pop()).await;
    let asked = mimi_gateway::wire::KeyMaterialRequest::decode(&body).unwrap();
    assert_eq!((&asked.tbs().target_user, asked.tbs().room.as_ref()), (&m1, Some(&uri)));
}
