//! The provisioning API: what it does is what the bot does, for the same people and in the same words; and its document says what
//! it does.

use std::collections::BTreeSet;

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode, header::RETRY_AFTER},
};
use http_body_util::BodyExt as _;
use mimi_gateway::{
    admin::provision::{self, OPENAPI, PREFIX, Settings},
    engine::{
        ports::Endpoint,
        rights::{Act, Limits},
    },
    ident::UserUri,
};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::{
    permitted::{alone, ask, come, ruled},
    schema,
    silo::{Silo, Two, ask_bot_in, until, until_bodies, until_true},
};

const SECRET: &str = "a secret of some length";

fn document() -> Value {
    serde_json::from_str(OPENAPI).unwrap()
}

/// A program that acts for a user.
struct Program {
    router: Router,
    document: Value,
    user: String,
}

struct Answer {
    status: StatusCode,
    body: Value,
    replayed: bool,
    retry_after: Option<String>,
}

impl Answer {
    fn text(&self, key: &str) -> String {
        self.body[key].as_str().unwrap_or_else(|| panic!("no {key} in {}", self.body)).to_owned()
    }

    fn refused(&self, status: u16, errcode: &str) -> String {
        assert_eq!((self.status.as_u16(), self.text("errcode").as_str()), (status, errcode), "{}", self.body);
        self.text("error")
    }
}

impl Program {
    fn new(silo: &Silo, name: &str) -> Self {
        Self::at_most(silo, name, 1000)
    }

    fn at_most(silo: &Silo, name: &str, requests_per_minute: u32) -> Self {
        let settings = Settings { secret: SECRET.into(), requests_per_minute };
        let user = silo.homeserver.user(name);
        Self { router: provision::router(silo.engine(), &settings), document: document(), user }
    }

    /// The same for somebody else.
    fn of(&self, user: &str) -> Self {
        Self { router: self.router.clone(), document: self.document.clone(), user: user.to_owned() }
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let status = answer.status();
        let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let (replayed, retry_after) = (header("idempotency-replayed").is_some(), header(RETRY_AFTER.as_str()));
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        Answer { status, body: serde_json::from_slice(&body).unwrap(), replayed, retry_after }
    }

    /// Asks by a path of the document; both question and answer are held against it.
    async fn ask_with(
        &self,
        key: Option<&str>,
        method: &str,
        template: &str,
        names: &[&str],
        body: Option<Value>,
    ) -> Answer {
        let operation = &self.document["paths"][template][method];
        assert!(operation.is_object(), "{method} {template} is not in the document");
        let mut path = template.to_owned();
        for name in names {
            let (from, to) = (path.find('{').unwrap(), path.find('}').unwrap());
            let encoded: String = url::form_urlencoded::byte_serialize(name.as_bytes()).collect();
            path.replace_range(from..=to, &encoded);
        }
        let user: String = url::form_urlencoded::byte_serialize(self.user.as_bytes()).collect();
        let asks = if path.contains('?') { '&' } else { '?' };
        let mut request = Request::builder()
            .method(method.to_uppercase().as_str())
            .uri(format!("{PREFIX}{path}{asks}user_id={user}"))
            .header("authorization", format!("Bearer {SECRET}"));
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let answer = self
            .send(request.body(body.as_ref().map_or_else(Body::empty, |body| Body::from(body.to_string()))).unwrap())
            .await;
        if answer.status.is_success()
            && let Some(body) = &body
        {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            assert_eq!(
                schema::faults(&self.document, schema, body),
                Vec::<String>::new(),
                "{method} {template}: {body}"
            );
        }
        let responses = &operation["responses"];
        let refusal = self.document.pointer("/components/responses/Error").unwrap();
        let response = responses.get(answer.status.as_str()).unwrap_or(refusal);
        assert!(
            response != refusal || !answer.status.is_success(),
            "{method} {template}: {} is not in it",
            answer.status
        );
        let schema = &response["content"]["application/json"]["schema"];
        assert_eq!(schema::faults(&self.document, schema, &answer.body), Vec::<String>::new(), "{method} {template}");
        answer
    }

    async fn ask(&self, method: &str, template: &str, names: &[&str], body: Option<Value>) -> Answer {
        self.ask_with(None, method, template, names, body).await
    }
}

/// A room of A1's with the bot in it.
async fn with_bot(silo: &Silo) -> String {
    let room = silo.homeserver.create_room("a1", "Tea");
    ask_bot_in(&silo.homeserver, &room, "a1").await;
    room.to_string()
}

#[test]
fn every_route_is_in_the_document_and_the_other_way_round() {
    let document = document();
    let mut told = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            told.insert((method.clone(), path.clone()));
            // What stands in braces is a parameter of the path, and the other way round.
            let wanted: BTreeSet<&str> = path.split('{').skip(1).filter_map(|rest| rest.split('}').next()).collect();
            let named = operation["parameters"].as_array().unwrap().iter().map(|parameter| {
                let path = parameter["$ref"].as_str().unwrap();
                document.pointer(path.trim_start_matches('#')).unwrap_or_else(|| panic!("{path}"))
            });
            let named: BTreeSet<&str> = named
                .filter(|parameter| parameter["in"] == "path")
                .map(|parameter| parameter["name"].as_str().unwrap())
                .collect();
            assert_eq!(named, wanted, "{method} {path}");
        }
    }
    let served: BTreeSet<_> =
        provision::paths().into_iter().map(|(method, path)| (method.to_owned(), path.to_owned())).collect();
    assert_eq!(told, served);
    assert_eq!(served.len(), provision::paths().len(), "none twice");
    assert_eq!(document["servers"][0]["url"], PREFIX);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_is_mirrored_and_people_are_asked_in() {
    let two = Two::new().await;
    let (a, b) = (&two.a, &two.b);
    let program = Program::new(a, "a1");
    let room = with_bot(a).await;
    let mirrored = program.ask("post", "/rooms", &[], Some(json!({ "room": room }))).await;
    assert_eq!(mirrored.status, StatusCode::CREATED, "{}", mirrored.body);
    let uri = mirrored.text("mimi_room");
    assert_eq!(mirrored.text("message"), format!("Mirrored as {uri}."));
    program.ask("post", "/rooms", &[], Some(json!({ "room": room }))).await.refused(409, "MIMI_CONFLICT");

    // By either address of the room.
    let asked = program.ask("post", "/rooms/{room}/invitations", &[&uri], Some(json!({ "user": b.uri("b1") }))).await;
    assert_eq!((asked.status.as_u16(), asked.text("message")), (202, "b1 (b.example) is asked to join.".to_owned()));
    let portal = until("an invitation", || b.homeserver.invitations("b1").first().cloned()).await;
    b.homeserver.join(&portal, "b1");
    let at_a = ruma::OwnedRoomId::try_from(room.as_str()).unwrap();
    let ghost = a.ghost(&b.uri("b1"));
    until_true("B1 is in", || a.homeserver.member(&at_a, &ghost).as_deref() == Some("join")).await;
    a.homeserver.say(&at_a, "a1", "tea?");
    until_bodies(b, &portal, &["tea?"]).await;
    let again = program.ask("post", "/rooms/{room}/invitations", &[&room], Some(json!({ "user": b.uri("b1") }))).await;
    assert!(again.refused(409, "MIMI_CONFLICT").contains("is in here already"));

    let rooms = program.ask("get", "/rooms", &[], None).await;
    assert_eq!(rooms.body["rooms"][0]["mimi_room"], uri.as_str());
    assert_eq!(rooms.body["rooms"][0]["state"], "active");
    let one = program.ask("get", "/rooms/{room}", &[&room], None).await;
    assert!(one.text("message").contains("1 participant here, 1 elsewhere"), "{}", one.body);
    // Who is not in it does not hear of it.
    let other = program.of(&a.homeserver.user("a2"));
    assert_eq!(other.ask("get", "/rooms", &[], None).await.body["rooms"], json!([]));

    let code = program.ask("post", "/rooms/{room}/codes", &[&room], Some(json!({ "hours": 2 }))).await;
    assert_eq!((code.status.as_u16(), code.text("code").len()), (201, 26));
    assert!(code.body["code_expires_ts"].as_u64().unwrap() > 1_700_000_000_000);
    assert_eq!(program.ask("delete", "/rooms/{room}/codes", &[&room], None).await.status, StatusCode::OK);

    let gone = program.ask("delete", "/rooms/{room}", &[&room], None).await;
    assert_eq!(gone.status, StatusCode::ACCEPTED, "{}", gone.body);
    until_true("the ghost leaves", || a.homeserver.member(&at_a, &ghost).as_deref() == Some("leave")).await;
    let told = a.homeserver.notices(&at_a);
    assert!(told.iter().any(|text| text.contains("@a1:a.test ended the connection to MIMI")), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn permissions_are_those_of_the_bot_in_its_words() {
    let two = Two::new().await;
    let (a, b) = (&two.a, &two.b);
    let room = with_bot(a).await;
    let (at_a, _) = two.bridge().await;
    come(a, &at_a, "a2");
    let rules: &[(&str, &[Act])] =
        &[("@a1:a.test", &[Act::Chat]), ("@a2:a.test", &[Act::Invite]), ("@a3:a.test", &[Act::Admin])];
    ruled(a, rules, Limits { rooms: 9, invitations: 9 }).await;
    let program = Program::new(a, "a1");
    let desk = alone(a, "a1").await;
    let user = json!({ "user": b.uri("b1") });
    let far = json!({ "room": "mimi://b.example/r/far" });
    for (method, path, names, body, words) in [
        ("post", "/rooms", vec![], Some(json!({ "room": room })), format!("bridge {room}")),
        ("post", "/joins", vec![], Some(far), "join mimi://b.example/r/far".to_owned()),
        (
            "post",
            "/consent",
            vec![],
            Some(json!({ "word": "ask", "user": b.uri("b1") })),
            format!("ask {}", b.uri("b1")),
        ),
        ("get", "/providers", vec![], None, "providers".to_owned()),
        ("put", "/providers/{provider}/denial", vec!["b.example"], None, "deny b.example".to_owned()),
        ("delete", "/providers/{provider}/denial", vec!["b.example"], None, "allow b.example".to_owned()),
        ("get", "/quarantine", vec![], None, "providers".to_owned()),
        ("get", "/rooms?all=true", vec![], None, "providers".to_owned()),
    ] {
        let said = ask(a, &desk, "a1", &words).await;
        assert!(said.starts_with("You are not permitted"), "{words}: {said}");
        if path.contains('?') {
            let request = Request::get(format!("{PREFIX}{path}&user_id={}", program.user));
            let answer = program
                .send(request.header("authorization", format!("Bearer {SECRET}")).body(Body::empty()).unwrap())
                .await;
            assert_eq!(answer.refused(403, "M_FORBIDDEN"), said);
            continue;
        }
        let answer = program.ask(method, path, &names, body).await;
        assert_eq!(answer.refused(403, "M_FORBIDDEN"), said, "{words}");
    }
    let said = ask(a, &at_a, "a1", &format!("!mimi invite {}", b.uri("b1"))).await;
    let answer = program.ask("post", "/rooms/{room}/invitations", &[at_a.as_str()], Some(user.clone())).await;
    assert_eq!(answer.refused(403, "M_FORBIDDEN"), said);
    let status = program.ask("get", "/status", &[], None).await;
    assert_eq!(status.body["may"], json!(["chat"]));
    // What only the rules of the room decide.
    assert_eq!(program.ask("get", "/rooms/{room}", &[at_a.as_str()], None).await.status, StatusCode::OK);

    // Who is not in the room: neither hears of it nor does anything there, unless they administrate.
    let other = program.of(&a.homeserver.user("a2"));
    a.homeserver.leave(&at_a, "a2");
    until_true("A2 is out", || a.homeserver.is_quiet()).await;
    other
        .ask("post", "/rooms/{room}/invitations", &[at_a.as_str()], Some(user.clone()))
        .await
        .refused(404, "M_NOT_FOUND");
    other.ask("delete", "/rooms/{room}", &[at_a.as_str()], None).await.refused(404, "M_NOT_FOUND");
    let admin = program.of(&a.homeserver.user("a3"));
    assert_eq!(admin.ask("get", "/providers", &[], None).await.status, StatusCode::OK);
    assert_eq!(admin.ask("put", "/providers/{provider}/denial", &["b.example"], None).await.status, StatusCode::OK);
    let providers = admin.ask("get", "/providers", &[], None).await;
    assert_eq!(providers.body["providers"][0]["denied_by"], "@a3:a.test");
    assert_eq!(admin.ask("delete", "/providers/{provider}/denial", &["b.example"], None).await.status, StatusCode::OK);
    assert_eq!(admin.ask("get", "/quarantine", &[], None).await.body["items"], json!([]));
    assert_eq!(admin.ask("get", "/rooms/{room}", &[at_a.as_str()], None).await.status, StatusCode::OK);
    assert_eq!(admin.ask("delete", "/rooms/{room}", &[at_a.as_str()], None).await.status, StatusCode::ACCEPTED);
}

/// Method, path, what it names, the body, and what one says in its place: to the bot alone, or in the room.
type Route = (&'static str, &'static str, Vec<String>, Option<Value>, String);

/// Each route.
fn routes(room: &str, other: &str, user: &UserUri) -> Vec<Route> {
    let about = json!({ "user": user });
    let far = "mimi://b.example/r/far";
    let in_room = || vec![room.to_owned()];
    vec![
        ("get", "/status", vec![], None, "status".to_owned()),
        ("get", "/rooms", vec![], None, "rooms".to_owned()),
        ("post", "/rooms", vec![], Some(json!({ "room": other })), format!("bridge {other}")),
        ("post", "/joins", vec![], Some(json!({ "room": far })), format!("join {far}")),
        ("post", "/chats", vec![], Some(json!({ "whom": user })), format!("start-chat {user}")),
        ("get", "/discoverable", vec![], None, "discoverable".to_owned()),
        ("put", "/discoverable", vec![], Some(json!({ "ways": ["handle"] })), "discoverable handle".to_owned()),
        ("post", "/consent", vec![], Some(json!({ "word": "ask", "user": user })), format!("ask {user}")),
        ("get", "/providers", vec![], None, "providers".to_owned()),
        ("put", "/providers/{provider}/denial", vec!["b.example".to_owned()], None, "deny b.example".to_owned()),
        ("delete", "/providers/{provider}/denial", vec!["b.example".to_owned()], None, "allow b.example".to_owned()),
        ("get", "/quarantine", vec![], None, "providers".to_owned()),
        ("get", "/rooms/{room}", in_room(), None, "!mimi status".to_owned()),
        ("post", "/rooms/{room}/invitations", in_room(), Some(about), format!("!mimi invite {user}")),
        ("post", "/rooms/{room}/codes", in_room(), Some(json!({})), "!mimi code".to_owned()),
        ("delete", "/rooms/{room}/codes", in_room(), None, "!mimi code off".to_owned()),
        ("delete", "/rooms/{room}", in_room(), None, "!mimi unbridge".to_owned()),
    ]
}

/// What is everybody's own affair: whom one lets ask, whom one blocks, not to be found, and to report abuse.
const FREE: [(&str, &str); 5] = [
    ("get", "/openapi.json"),
    ("get", "/blocked"),
    ("put", "/blocked/{user}"),
    ("delete", "/blocked/{user}"),
    ("post", "/rooms/{room}/reports"),
];

#[tokio::test(flavor = "multi_thread")]
async fn who_may_nothing_gets_nothing_by_any_door() {
    let two = Two::new().await;
    let (a, b) = (&two.a, &two.b);
    let other = with_bot(a).await;
    let (at_a, at_b, _) = two.room().await;
    let desk = alone(a, "a1").await;
    ruled(a, &[("*", &[])], Limits { rooms: 9, invitations: 9 }).await;
    let program = Program::new(a, "a1");
    let b1 = b.uri("b1");
    let routes = routes(at_a.as_str(), &other, &b1);
    let checked = routes.iter().map(|(method, path, ..)| (*method, *path));
    let all: BTreeSet<_> = checked.chain(FREE).collect();
    assert_eq!(all, provision::paths().into_iter().collect(), "each route is looked at");
    for (method, path, names, body, words) in routes {
        let at = if words.starts_with("!mimi") { &at_a } else { &desk };
        let said = ask(a, at, "a1", &words).await;
        assert_eq!(said, "You are not permitted to use this gateway.", "{words}");
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let answer = program.ask(method, path, &names, body).await;
        assert_eq!(answer.refused(403, "M_FORBIDDEN"), said, "{method} {path}");
    }
    for words in ["!mimi", "!mimi dance", "!mimi rooms"] {
        assert_eq!(ask(a, &at_a, "a1", words).await, "You are not permitted to use this gateway.", "{words}");
    }

    let b1 = b1.to_string();
    assert_eq!(program.ask("put", "/blocked/{user}", &[&b1], None).await.status, StatusCode::OK);
    assert_eq!(program.ask("get", "/blocked", &[], None).await.body["users"], json!([b1]));
    assert_eq!(program.ask("delete", "/blocked/{user}", &[&b1], None).await.status, StatusCode::OK);
    assert_eq!(program.ask("put", "/discoverable", &[], Some(json!({ "ways": [] }))).await.body["ways"], json!([]));
    for word in ["accept", "decline", "revoke"] {
        let answer = program.ask("post", "/consent", &[], Some(json!({ "word": word, "user": b1 }))).await;
        assert_eq!(answer.status, StatusCode::OK, "{word}: {}", answer.body);
    }

    // Nothing came of it, and the room goes on; there their power counts.
    a.homeserver.say(&at_a, "a1", "still here");
    until_bodies(b, &at_b, &["still here"]).await;
    let ghost = a.ghost(&b.uri("b1"));
    a.homeserver.kick(&at_a, "a1", &ghost);
    until_true("B1 is out", || b.homeserver.member(&at_b, "@b1:b.test").as_deref() == Some("leave")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_only_invite_uses_the_rooms_by_either_door() {
    let two = Two::new().await;
    let a = &two.a;
    let (at_a, _) = two.bridge().await;
    ruled(a, &[("*", &[Act::Invite])], Limits { rooms: 9, invitations: 9 }).await;
    let program = Program::new(a, "a1");
    program.ask("get", "/rooms", &[], None).await.refused(403, "M_FORBIDDEN");
    let said = ask(a, &at_a, "a1", "!mimi status").await;
    let answer = program.ask("get", "/rooms/{room}", &[at_a.as_str()], None).await;
    assert_eq!(answer.text("message"), said);
    let answer = program.ask("delete", "/rooms/{room}", &[at_a.as_str()], None).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn chats_consent_and_being_found() {
    let two = Two::new().await;
    let (a, b) = (&two.a, &two.b);
    let (program, other) = (Program::new(a, "a1"), Program::new(b, "b1"));
    let b1 = b.uri("b1").to_string();
    let found = other.ask("put", "/discoverable", &[], Some(json!({ "ways": ["handle"] }))).await;
    assert_eq!(found.body["ways"], json!(["handle"]));
    assert_eq!(other.ask("get", "/discoverable", &[], None).await.body["ways"], json!(["handle"]));
    other.ask("put", "/discoverable", &[], Some(json!({ "ways": ["smell"] }))).await.refused(400, "M_INVALID_PARAM");

    let chat = program.ask("post", "/chats", &[], Some(json!({ "whom": "handle:b1@b.example" }))).await;
    assert_eq!(chat.status, StatusCode::CREATED, "{}", chat.body);
    let room = chat.text("matrix_room");
    until_true("B1 is asked", || !b.homeserver.invitations("b1").is_empty()).await;
    let again = program.ask("post", "/chats", &[], Some(json!({ "whom": b1 }))).await;
    assert_eq!((again.text("matrix_room"), again.text("mimi_room")), (room, chat.text("mimi_room")));
    program
        .ask("post", "/chats", &[], Some(json!({ "whom": "handle:b2@b.example" })))
        .await
        .refused(404, "M_NOT_FOUND");
    program.ask("post", "/chats", &[], Some(json!({ "whom": "nonsense" }))).await.refused(400, "M_INVALID_PARAM");

    for (word, says) in [
        ("ask", "is asked to agree"),
        ("withdraw", "is not asked any more"),
        ("accept", "may add you"),
        ("revoke", "may not add you"),
        ("decline", "may not add you"),
    ] {
        let told =
            program.ask("post", "/consent", &[], Some(json!({ "word": word, "user": b1 }))).await.text("message");
        assert!(told.contains(says), "{word}: {told}");
    }
    assert!(program.ask("put", "/blocked/{user}", &[&b1], None).await.text("message").contains("is blocked"));
    assert_eq!(program.ask("get", "/blocked", &[], None).await.body["users"], json!([b1]));
    assert!(program.ask("delete", "/blocked/{user}", &[&b1], None).await.text("message").contains("may ask you again"));
    assert_eq!(program.ask("get", "/blocked", &[], None).await.body["users"], json!([]));

    // Rooms elsewhere.
    let (at_b, uri) = crate::silo::bridge(b, "b1").await;
    let join = |body| program.ask("post", "/joins", &[], Some(body));
    assert!(join(json!({ "room": uri })).await.refused(409, "MIMI_CONFLICT").contains("does not let you in"));
    let code = other.ask("post", "/rooms/{room}/codes", &[at_b.as_str()], None).await.text("code");
    assert_eq!(join(json!({ "room": uri, "code": code })).await.status, StatusCode::ACCEPTED);
    until_true("A1 is invited into the portal", || a.homeserver.invitations("a1").len() == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_reported() {
    let two = Two::new().await;
    let (a, b) = (&two.a, &two.b);
    let (at_a, at_b, _) = two.room().await;
    a.homeserver.say(&at_a, "a1", "rude");
    until_bodies(b, &at_b, &["rude"]).await;
    let event = b.homeserver.event(&at_b, "rude");
    let program = Program::new(b, "b1");
    let body = json!({ "event_id": event, "note": "look at that", "openly": true });
    let told = until_told(&program, at_b.as_str(), &body).await;
    assert!(told.contains("is reported to a.example") && told.ends_with("with your name."), "{told}");
    let report = until("the report", || two.a.net.calls(&a.domain, Endpoint::ReportAbuse).pop()).await;
    assert!(report.answer.is_ok());
    program.ask("post", "/rooms/{room}/reports", &["!none:b.test"], Some(body)).await.refused(404, "M_NOT_FOUND");
}

/// A message is known a moment after it is shown.
async fn until_told(program: &Program, room: &str, body: &Value) -> String {
    for _ in 0..200 {
        let told = program.ask("post", "/rooms/{room}/reports", &[room], Some(body.clone())).await.text("message");
        if !told.contains("I do not know that message") {
            return told;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("it is never known");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_makes_an_order_happen_once_also_over_a_restart() {
    let two = Two::new().await;
    let (a, b) = (&two.a, &two.b);
    let program = Program::new(a, "a1");
    let (at_a, _) = two.bridge().await;
    let body = json!({ "user": b.uri("b1") });
    let invite = "/rooms/{room}/invitations";
    let first = program.ask_with(Some("k1"), "post", invite, &[at_a.as_str()], Some(body.clone())).await;
    assert!(!first.replayed && first.status == StatusCode::ACCEPTED, "{}", first.body);
    until_true("B1 is asked", || b.homeserver.invitations("b1").len() == 1).await;
    let second = program.ask_with(Some("k1"), "post", invite, &[at_a.as_str()], Some(body.clone())).await;
    assert!(second.replayed && second.status == first.status && second.body == first.body, "{}", second.body);
    drop(program);
    a.stop().await;
    a.start().await;
    let program = Program::new(a, "a1");
    let third = program.ask_with(Some("k1"), "post", invite, &[at_a.as_str()], Some(body.clone())).await;
    assert!(third.replayed && third.body == first.body, "{}", third.body);
    assert_eq!(two.a.net.calls(&b.domain, Endpoint::RequestConsent).len(), 1);
    // Refusals are kept, too; another order needs another key; other users have keys of their own.
    let wrong = json!({ "user": "mimi://a.example/u/a2" });
    let said = program.ask_with(Some("k2"), "post", invite, &[at_a.as_str()], Some(wrong.clone())).await;
    assert!(said.refused(409, "MIMI_CONFLICT").contains("here on this server"));
    assert!(program.ask_with(Some("k2"), "post", invite, &[at_a.as_str()], Some(wrong)).await.replayed);
    program
        .ask_with(Some("k1"), "post", invite, &[at_a.as_str()], Some(json!({ "user": b.uri("b2") })))
        .await
        .refused(422, "MIMI_KEY_REUSED");
    let other = program.of(&a.homeserver.user("a2"));
    let answer = other.ask_with(Some("k1"), "post", invite, &[at_a.as_str()], Some(body)).await;
    assert!(!answer.replayed, "{}", answer.body);
    program
        .ask_with(Some(""), "delete", "/rooms/{room}/codes", &[at_a.as_str()], None)
        .await
        .refused(400, "M_INVALID_PARAM");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_no_secret_gets_nothing_and_nobody_gets_too_much() {
    let two = Two::new().await;
    let program = Program::at_most(&two.a, "a1", 3);
    let get = |path: &str, secret: Option<&str>| {
        let request = Request::get(format!("{PREFIX}{path}"));
        let request = match secret {
            Some(secret) => request.header("authorization", secret),
            None => request,
        };
        request.body(Body::empty()).unwrap()
    };
    let right = format!("Bearer {SECRET}");
    let status = "/status?user_id=@a1:a.test";
    program.send(get(status, None)).await.refused(401, "M_MISSING_TOKEN");
    for wrong in ["Bearer wrong", "Bearer ", &format!("Bearer {SECRET}x"), &format!("Bearer {}", &SECRET[1..])] {
        program.send(get(status, Some(wrong))).await.refused(401, "M_UNKNOWN_TOKEN");
    }
    program.send(get(status, Some(&format!("Basic {SECRET}")))).await.refused(401, "M_MISSING_TOKEN");
    for path in ["/status", "/status?user_id=alice", "/status?user_id=@a1:a.test&user_id=@a2:a.test"] {
        program.send(get(path, Some(&right))).await.refused(400, "M_MISSING_PARAM");
    }
    // Nobody acts for the bot or a ghost.
    for id in [two.a.homeserver.bot.to_string(), two.a.ghost(&two.b.uri("b1"))] {
        let id: String = url::form_urlencoded::byte_serialize(id.as_bytes()).collect();
        program.send(get(&format!("/status?user_id={id}"), Some(&right))).await.refused(403, "M_FORBIDDEN");
    }
    program.send(get("/nothing", Some(&right))).await.refused(404, "M_UNRECOGNIZED");
    let document = program.send(get("/openapi.json", None)).await;
    assert_eq!(document.body["openapi"], "3.1.0");

    let post = |body: String| {
        Request::post(format!("{PREFIX}/rooms?user_id=@a2:a.test"))
            .header("authorization", &right)
            .body(Body::from(body))
            .unwrap()
    };
    program.send(post("{".to_owned())).await.refused(400, "M_NOT_JSON");
    program.send(post(r#"{"room":"!r:a.test","more":1}"#.to_owned())).await.refused(400, "M_BAD_JSON");
    program.send(post("x".repeat(70_000))).await.refused(413, "M_TOO_LARGE");
    // That were three for A2; A1 has its own.
    let answer = program.send(post(r#"{"room":"!r:a.test"}"#.to_owned())).await;
    answer.refused(429, "M_LIMIT_EXCEEDED");
    assert!(answer.retry_after.unwrap().parse::<u32>().unwrap() <= 61);
    assert_eq!(program.send(get(status, Some(&right))).await.status, StatusCode::OK);
    let put = Request::put(format!("{PREFIX}/rooms?user_id=@a1:a.test")).header("authorization", &right);
    program.send(put.body(Body::empty()).unwrap()).await.refused(405, "M_UNRECOGNIZED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_beyond_the_invitations_of_an_hour_is_not_made() {
    let two = Two::new().await;
    ruled(&two.a, &[("a.test", &[Act::Chat])], Limits { rooms: 9, invitations: 0 }).await;
    let program = Program::new(&two.a, "a1");
    let answer = program.ask("post", "/chats", &[], Some(json!({ "whom": two.b.uri("b1") }))).await;
    assert!(answer.refused(429, "M_LIMIT_EXCEEDED").contains("within an hour"), "{}", answer.body);
    assert!(answer.retry_after.unwrap().parse::<u32>().unwrap() <= 3601);
    assert_eq!(program.ask("get", "/rooms", &[], None).await.body["rooms"], json!([]));
    assert!(two.a.homeserver.invitations("a1").is_empty());
}
