//! Finding people (draft-ietf-mimi-protocol-06 section 5.8): by peers, who learn nothing of those who do not want to be
//! found, and by our own users, who begin direct chats.

use std::{sync::atomic::Ordering, time::Instant};

use mimi_gateway::{
    engine::ports::{Endpoint, MatrixInbound as _, PathTarget, Problem},
    ident::ProviderDomain,
    wire::{
        AppDataDictionary, FieldSource, IdentifierQueryCode, IdentifierRequest, IdentifierResponse, QueryElement,
        SearchField, Wire as _,
    },
};
use ruma::OwnedRoomId;

use crate::{
    homeserver::{Fault, no_faults},
    silo::{PATIENCE, Silo, Two, until, until_bodies, until_true},
};

/// A chat of somebody with the bot alone.
pub(crate) async fn alone(silo: &Silo, name: &str) -> OwnedRoomId {
    let room = silo.homeserver.create_room(name, "");
    silo.homeserver.invite(&room, name, silo.homeserver.bot.as_str(), true);
    until_true("help", || !silo.homeserver.notices(&room).is_empty()).await;
    room
}

/// Says something to the bot, and returns its answer.
pub(crate) async fn ask(silo: &Silo, room: &OwnedRoomId, name: &str, text: &str) -> String {
    let before = silo.homeserver.notices(room).len();
    silo.homeserver.say(room, name, text);
    until(&format!("an answer to {text}"), || silo.homeserver.notices(room).get(before).cloned()).await
}

/// Somebody says by what they are found.
pub(crate) async fn discoverable(silo: &Silo, name: &str, ways: &str) -> String {
    let room = alone(silo, name).await;
    ask(silo, &room, name, &format!("discoverable {ways}")).await
}

fn query(elements: &[(SearchField, &str)]) -> Vec<u8> {
    let elements =
        elements.iter().map(|(field, value)| QueryElement { field: field.clone(), value: (*value).to_owned() });
    IdentifierRequest { elements: elements.collect(), extensions: AppDataDictionary::default() }.encode()
}

async fn search(silo: &Silo, body: &[u8]) -> Result<Vec<u8>, Problem> {
    let target = PathTarget::Domain(silo.domain.clone());
    silo.receive("m", Endpoint::IdentifierQuery, &target, body).await
}

/// The code, and who is found.
async fn found(silo: &Silo, elements: &[(SearchField, &str)]) -> (IdentifierQueryCode, Vec<String>) {
    let answer = IdentifierResponse::decode(&search(silo, &query(elements)).await.unwrap()).unwrap();
    let uris: Vec<String> = answer.uris.iter().map(ToString::to_string).collect();
    let profiles: Vec<String> = answer.profiles.iter().map(|profile| profile.stable_uri.to_string()).collect();
    assert_eq!(uris, profiles);
    (answer.code, uris)
}

const NOBODY: (IdentifierQueryCode, Vec<String>) = (IdentifierQueryCode::NotFound, Vec::new());

fn a1() -> (IdentifierQueryCode, Vec<String>) {
    (IdentifierQueryCode::Success, vec!["mimi://a.example/u/a1".to_owned()])
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_found_by_what_they_chose_and_by_nothing_before() {
    let two = Two::new().await;
    let a = &two.a;
    a.homeserver.rename("a1", "Alice Ärmel");
    let handle = [(SearchField::Handle, "im:a1@a.example")];
    let name = [(SearchField::PartialName, "ärm")];
    assert_eq!(found(a, &handle).await, NOBODY);
    let room = alone(a, "a1").await;
    assert!(ask(a, &room, "a1", "discoverable").await.contains("do not find you"));
    let told = ask(a, &room, "a1", "discoverable handle").await;
    assert!(told.contains("find you by your whole handle") && !told.contains("Alice"), "{told}");
    assert_eq!(found(a, &handle).await, a1());
    assert_eq!(found(a, &name).await, NOBODY);
    let told = ask(a, &room, "a1", "discoverable on").await;
    assert!(told.contains("“Alice Ärmel” or a part of it"), "{told}");
    assert_eq!(found(a, &name).await, a1());
    // All elements have to match the same user.
    discoverable(a, "a2", "handle").await;
    assert_eq!(found(a, &[name[0].clone(), handle[0].clone()]).await, a1());
    assert_eq!(found(a, &[name[0].clone(), (SearchField::Handle, "im:a2@a.example")]).await, NOBODY);
    assert_eq!(found(a, &[name[0].clone(), (SearchField::Nick, "a2")]).await, NOBODY);
    // What others see is what the profile says now.
    a.homeserver.rename("a1", "Alice Ärmel-Smith");
    let answer = IdentifierResponse::decode(&search(a, &query(&name)).await.unwrap()).unwrap();
    let fields: Vec<_> =
        answer.profiles[0].fields.iter().map(|f| (f.source, f.name.as_str(), f.value.clone())).collect();
    let claim = |name, value: &str| (FieldSource::OidcStdClaim, name, value.as_bytes().to_vec());
    assert_eq!(fields, [claim("name", "Alice Ärmel-Smith"), claim("preferred_username", "a1")]);
    assert_eq!(found(a, &[(SearchField::PartialName, "smith")]).await, a1(), "the new name is known from then on");
    a.homeserver.rename("a1", "Alice");
    assert_eq!(found(a, &name).await, NOBODY, "who is called otherwise now does not match");
    // It stays so over a restart, and ends when the user says so, or is gone.
    a.stop().await;
    a.start().await;
    assert_eq!(found(a, &handle).await, a1());
    ask(a, &room, "a1", "discoverable off").await;
    assert_eq!(found(a, &handle).await, NOBODY);
    a.homeserver.unregister("a2");
    assert_eq!(found(a, &[(SearchField::Nick, "a2")]).await, NOBODY);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_codes_are_those_of_the_draft() {
    let two = Two::new().await;
    let a = &two.a;
    let code = async |elements: &[(SearchField, &str)]| found(a, elements).await.0;
    for field in [SearchField::Email, SearchField::Phone, SearchField::VcardField("ORG".to_owned())] {
        assert_eq!(code(&[(field, "x")]).await, IdentifierQueryCode::UnsupportedField);
    }
    assert_eq!(code(&[(SearchField::PartialName, "a")]).await, IdentifierQueryCode::Ambiguous);
    // More than a few: whoever asks has to know whom they mean.
    for number in 0..11 {
        let name = format!("x{number}");
        a.homeserver.register(&name);
        a.homeserver.rename(&name, "Kim Smith");
        discoverable(a, &name, "name").await;
        let expected = if number < 10 { IdentifierQueryCode::Success } else { IdentifierQueryCode::Ambiguous };
        let (code, users) = found(a, &[(SearchField::PartialName, "smith")]).await;
        assert_eq!((code, users.len()), (expected, if number < 10 { number + 1 } else { 0 }));
    }
    assert!(matches!(search(a, b"x").await, Err(Problem::Malformed(_))));
    assert!(matches!(search(a, &query(&[])).await, Err(Problem::Malformed(_))), "it would match everybody");
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_and_numbers_are_searched_where_there_is_an_administrators_token() {
    let two = Two::new().await;
    let a = &two.a;
    let told = discoverable(a, "a1", "handle email").await;
    assert!(told.contains("does not know e-mail addresses") && told.contains("Nothing is changed"), "{told}");
    assert_eq!(found(a, &[(SearchField::Handle, "im:a1@a.example")]).await, NOBODY);
    a.homeserver.admin.store(true, Ordering::SeqCst);
    a.homeserver.reachable("a1", "alice@mail.example", "+12125551212");
    a.homeserver.reachable("a2", "bea@mail.example", "+12125551213");
    let told = discoverable(a, "a1", "email").await;
    assert!(told.contains("alice@mail.example") && !told.contains("5551212"), "{told}");
    let email = |address: &'static str| [(SearchField::Email, address)];
    assert_eq!(found(a, &email("alice@mail.example")).await, a1());
    assert_eq!(found(a, &email("bea@mail.example")).await, NOBODY);
    assert_eq!(found(a, &[(SearchField::Phone, "+12125551212")]).await, NOBODY, "not chosen");
    assert_eq!(found(a, &[(SearchField::Handle, "im:a1@a.example")]).await, NOBODY, "not chosen");
    discoverable(a, "a1", "phone").await;
    assert_eq!(found(a, &[(SearchField::Phone, "+12125551212")]).await, a1());
    assert_eq!(found(a, &email("alice@mail.example")).await, NOBODY);
    // The number is somebody else's now.
    a.homeserver.reachable("a1", "alice@mail.example", "+1999");
    assert_eq!(found(a, &[(SearchField::Phone, "+12125551212")]).await, NOBODY);
}

/// What a peer, or whoever watches the homeserver and the disk, can tell apart of a search: the answer, the calls of the
/// homeserver, what is read and written of the store.
type Seen = (Vec<u8>, u64, (u64, u64));

/// What the gateway does beside a search is counted with it, so it counts once it is the same five times in a row.
async fn observed(a: &Silo, elements: &[(SearchField, &str)]) -> Seen {
    let since = Instant::now();
    let (mut last, mut same) = (observed_once(a, elements).await, 1);
    while same < 5 {
        assert!(since.elapsed() < PATIENCE, "what a search costs does not hold still: {last:?}");
        let seen = observed_once(a, elements).await;
        same = if seen == last { same + 1 } else { 1 };
        last = seen;
    }
    last
}

async fn observed_once(a: &Silo, elements: &[(SearchField, &str)]) -> Seen {
    let (calls, (reads, writes)) = (a.homeserver.calls(), a.memory().operations());
    let body = search(a, &query(elements)).await.unwrap();
    let now = a.memory().operations();
    (body, a.homeserver.calls() - calls, (now.0 - reads, now.1 - writes))
}

#[tokio::test(flavor = "multi_thread")]
async fn who_hides_and_who_does_not_exist_cannot_be_told_apart() {
    let two = Two::new().await;
    let a = &two.a;
    a.homeserver.admin.store(true, Ordering::SeqCst);
    a.homeserver.rename("a1", "Alice Smith");
    a.homeserver.reachable("a1", "alice@mail.example", "+12125551212");
    a.homeserver.rename("a2", "Bea Jones");
    discoverable(a, "a2", "on").await;
    // A3 was there once, and hid again.
    a.homeserver.rename("a3", "Cleo Doe");
    a.homeserver.reachable("a3", "cleo@mail.example", "+12125551213");
    discoverable(a, "a3", "handle name email phone").await;
    discoverable(a, "a3", "off").await;
    // With the polls for reports the counts would not hold still, nor with what is sent again because it is not known to be sent.
    a.until_all_sent().await;
    a.stop().await;
    a.homeserver.admin.store(false, Ordering::SeqCst);
    a.searches.store(1_000_000, Ordering::Relaxed);
    a.start().await;
    a.homeserver.admin.store(true, Ordering::SeqCst);
    let oidc = |claim: &str| SearchField::OidcStdClaim(claim.to_owned());
    let cases: Vec<(SearchField, [&str; 3])> = vec![
        (SearchField::Handle, ["im:a1@a.example", "im:a3@a.example", "im:zz@a.example"]),
        (SearchField::Handle, ["mimi://a.example/u/a1", "mimi://a.example/u/a3", "mimi://a.example/u/zz"]),
        (SearchField::Nick, ["a1", "a3", "zz"]),
        (SearchField::Nick, ["Alice Smith", "Cleo Doe", "Zoe Nemo"]),
        (SearchField::Email, ["alice@mail.example", "cleo@mail.example", "zoe@mail.example"]),
        (SearchField::Phone, ["+12125551212", "+12125551213", "+12125559999"]),
        (SearchField::PartialName, ["alice", "cleo", "zoe"]),
        (SearchField::WholeProfile, ["smith", "cleo", "nemo"]),
        (oidc("preferred_username"), ["a1", "a3", "zz"]),
        (SearchField::VcardField("FN".to_owned()), ["Alice Smith", "Cleo Doe", "Zoe Nemo"]),
    ];
    let quiet = || until_true("quiet", || a.homeserver.is_quiet());
    for (field, [hidden, hid, unknown]) in cases {
        quiet().await;
        a.until_all_sent().await;
        let seen = observed(a, &[(field.clone(), unknown)]).await;
        assert_eq!(seen.0, IdentifierResponse::empty(IdentifierQueryCode::NotFound).encode());
        assert_eq!(seen.1, 0, "the homeserver is not asked");
        for value in [hidden, hid] {
            assert_eq!(observed(a, &[(field.clone(), value)]).await, seen, "{field:?} {value}");
            let with_another = [(field.clone(), value), (SearchField::PartialName, "bea")];
            let unknown = [(field.clone(), unknown), (SearchField::PartialName, "bea")];
            assert_eq!(observed(a, &with_another).await, observed(a, &unknown).await, "{field:?} {value}");
        }
    }
    // The measure does tell: who is found costs a look at the homeserver.
    let (_, calls, _) = observed(a, &[(SearchField::Handle, "im:a2@a.example")]).await;
    assert!(calls > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_has_so_many_searches_an_hour() {
    let two = Two::new().await;
    let a = &two.a;
    a.searches.store(3, Ordering::Relaxed);
    a.stop().await;
    a.start().await;
    let body = query(&[(SearchField::Nick, "a1")]);
    for _ in 0..3 {
        search(a, &body).await.unwrap();
    }
    assert!(matches!(search(a, &body).await, Err(Problem::TooMany(1..=3601))));
    // Another peer has its own.
    let target = PathTarget::Domain(a.domain.clone());
    a.receive("b", Endpoint::IdentifierQuery, &target, &body).await.unwrap();
    // None at all: that is a code.
    a.searches.store(0, Ordering::Relaxed);
    a.stop().await;
    a.start().await;
    assert_eq!(found(a, &[(SearchField::Nick, "a1")]).await.0, IdentifierQueryCode::Forbidden);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_homeserver_that_is_away_hides_nobody_who_is_found() {
    let faults = no_faults();
    let two = Two::with(faults.clone()).await;
    two.a.homeserver.rename("a1", "Alice");
    discoverable(&two.a, "a1", "on").await;
    *faults.lock().unwrap() = Box::new(|call| if call.starts_with("profile") { Fault::Before } else { Fault::None });
    assert_eq!(found(&two.a, &[(SearchField::PartialName, "alice")]).await, a1());
}

/// Accepts the chat that the bot made, and says something in it; the other side accepts.
async fn talk(two: &Two) {
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    let at_a = until("the room", || a.invitations("a1").first().cloned()).await;
    let direct =
        |event: &serde_json::Value| event["content"]["is_direct"] == true && event["state_key"] == a.user("a1");
    assert!(a.events(&at_a).iter().any(direct), "it is shown as a direct chat");
    a.join(&at_a, "a1");
    let at_b = until("an invitation", || b.invitations("b1").first().cloned()).await;
    b.join(&at_b, "b1");
    let ghost = two.a.ghost(&two.b.uri("b1"));
    until_true("the ghost", || a.member(&at_a, &ghost).as_deref() == Some("join")).await;
    a.say(&at_a, "a1", "hello");
    until_bodies(&two.b, &at_b, &["hello"]).await;
    b.say(&at_b, "b1", "hi");
    until_bodies(&two.a, &at_a, &["hello", "hi"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_is_started_by_handle() {
    let two = Two::new().await;
    let a = &two.a;
    let room = alone(a, "a1").await;
    assert!(ask(a, &room, "a1", "start-chat handle:b1@b.example").await.contains("Nobody at b.example matches"));
    two.b.homeserver.rename("b1", "Bob \u{202e}Smith");
    discoverable(&two.b, "b1", "on").await;
    let told = ask(a, &room, "a1", "start-chat handle:b1@b.example").await;
    assert!(told.starts_with("Bob %E2%80%AESmith, mimi://b.example/u/b1, is asked."), "{told}");
    talk(&two).await;
    // Once more: there is one.
    let told = ask(a, &room, "a1", "start-chat name:smith@b.example").await;
    assert!(told.contains("already: https://matrix.to/#/!"), "{told}");
    assert!(a.homeserver.invitations("a1").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn several_are_listed_and_refusals_are_told() {
    let two = Two::new().await;
    let a = &two.a;
    let room = alone(a, "a1").await;
    for name in ["b1", "b2"] {
        two.b.homeserver.rename(name, &format!("Kim {name}"));
        discoverable(&two.b, name, "name").await;
    }
    let told = ask(a, &room, "a1", "start-chat name:kim@b.example").await;
    assert!(told.contains("Several at b.example match"), "{told}");
    assert!(told.contains("• Kim b1: start-chat mimi://b.example/u/b1"), "{told}");
    assert!(told.contains("• Kim b2: start-chat mimi://b.example/u/b2"), "{told}");
    for (said, text) in [
        ("start-chat email:bob@b.example", "does not search by that"),
        ("start-chat name:k@b.example", "more exactly"),
        ("start-chat bob@nowhere.example", "nowhere.example is no peer of this gateway"),
        ("start-chat a2@a.example", "the Matrix way"),
        ("start-chat mimi://a.example/u/a2", "the Matrix way"),
        ("start-chat", "Say start-chat handle:NAME@PROVIDER"),
    ] {
        let told = ask(a, &room, "a1", said).await;
        assert!(told.contains(text), "{said}: {told}");
    }
    two.b.searches.store(0, Ordering::Relaxed);
    two.b.stop().await;
    assert!(ask(a, &room, "a1", "start-chat b1@b.example").await.contains("does not answer; try again later"));
    two.b.start().await;
    assert!(ask(a, &room, "a1", "start-chat b1@b.example").await.contains("does not let us search"));
    assert!(a.homeserver.invitations("a1").is_empty());
    // Where others would read the answer nothing is said of it.
    let open = a.homeserver.create_room("a1", "");
    a.homeserver.invite(&open, "a1", a.homeserver.bot.as_str(), false);
    until_true("the bot", || !a.homeserver.notices(&open).is_empty()).await;
    for said in ["!mimi start-chat b1@b.example", "!mimi discoverable on"] {
        assert_eq!(ask(a, &open, "a1", said).await, "Say this in a chat with me alone.");
    }
    assert_eq!(found(a, &[(SearchField::Nick, "a1")]).await, NOBODY);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_started_over_crashes_is_one_chat() {
    let faults = no_faults();
    let two = Two::with(faults.clone()).await;
    discoverable(&two.b, "b1", "handle").await;
    let room = alone(&two.a, "a1").await;
    // The room is made, and the answer is lost, several times.
    let mut left = 4;
    *faults.lock().unwrap() = Box::new(move |call| {
        let lost = call.starts_with("CreateRoom") && call.contains("_mimi_chat_") && left > 0;
        left -= i32::from(lost);
        if lost { Fault::After } else { Fault::None }
    });
    two.a.homeserver.say(&room, "a1", "start-chat handle:b1@b.example");
    until("the room", || two.a.homeserver.invitations("a1").first().cloned()).await;
    two.a.crash().await;
    two.a.memory().refuse_commits(None);
    two.a.start().await;
    talk(&two).await;
    assert_eq!(two.a.engine().working_rooms(), 1);
    two.a.only_room().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_look_up_by_handle() {
    let two = Two::new().await;
    let look = async |handle: &str| two.a.engine().find_by_handle(handle).await;
    assert_eq!(look("b1@b.example").await.unwrap(), []);
    discoverable(&two.b, "b1", "handle").await;
    assert_eq!(look("b1@b.example").await.unwrap(), [two.b.uri("b1")]);
    for handle in ["b1", "b1@nowhere.example", "a1@a.example", "@b.example", ""] {
        assert_eq!(look(handle).await.unwrap(), [], "{handle}");
    }
    let mut refused = 0;
    for _ in 0..70 {
        refused += i32::from(look("b1@b.example").await.is_err());
    }
    assert!(refused > 0, "somebody's client cannot use up what we may ask of a peer");
    let asked = two.b.net.calls(&ProviderDomain::parse("b.example").unwrap(), Endpoint::IdentifierQuery);
    assert!(asked.len() < 70, "{}", asked.len());
}
