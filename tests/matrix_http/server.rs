//! The appservice server.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{body::Body, http::Request};
use mimi_gateway::{
    engine::ports::{InboundError, MatrixInbound, Transaction},
    ident::UserUri,
    matrix::{ServerLimits, router, serve},
    store::BoxFuture,
};
use ruma::{RoomAliasId, UserId};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::{http, names};

const TOKEN: &str = "hs-token-of-the-test";

/// An engine that counts, and waits where told.
struct Inbound {
    calls: AtomicUsize,
    entered: Semaphore,
    gate: Semaphore,
    running: Mutex<BTreeMap<String, usize>>,
    most_at_once: AtomicUsize,
    seen: Mutex<Vec<Transaction>>,
    fail: AtomicUsize,
    panic: AtomicUsize,
}

impl Inbound {
    /// Stores at once.
    fn open() -> Arc<Self> {
        Self::with_permits(Semaphore::MAX_PERMITS)
    }
    /// Waits for `gate`.
    fn gated() -> Arc<Self> {
        Self::with_permits(0)
    }
    fn with_permits(permits: usize) -> Arc<Self> {
        Arc::new(Self {
            calls: AtomicUsize::new(0),
            entered: Semaphore::new(0),
            gate: Semaphore::new(permits),
            running: Mutex::default(),
            most_at_once: AtomicUsize::new(0),
            seen: Mutex::default(),
            fail: AtomicUsize::new(0),
            panic: AtomicUsize::new(0),
        })
    }
    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
    fn stored(&self) -> Vec<(String, Vec<String>)> {
        let seen = self.seen.lock().unwrap();
        seen.iter().map(|t| (t.txn_id.clone(), t.events.iter().map(|e| e.get().to_owned()).collect())).collect()
    }
}

fn take_one(counter: &AtomicUsize) -> bool {
    counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok()
}

impl MatrixInbound for Inbound {
    fn transaction(&self, txn: Transaction) -> BoxFuture<'_, Result<(), InboundError>> {
        Box::pin(async move {
            self.calls.fetch_add(1, Ordering::SeqCst);
            {
                let mut running = self.running.lock().unwrap();
                let count = running.entry(txn.txn_id.clone()).or_default();
                *count += 1;
                self.most_at_once.fetch_max(*count, Ordering::SeqCst);
            }
            self.entered.add_permits(1);
            self.gate.acquire().await.unwrap().forget();
            *self.running.lock().unwrap().get_mut(&txn.txn_id).unwrap() -= 1;
            assert!(!take_one(&self.panic), "the test wants a panic here");
            if take_one(&self.fail) {
                return Err(InboundError::NotStored("disk full".into()));
            }
            self.seen.lock().unwrap().push(txn);
            Ok(())
        })
    }
    fn query_user<'a>(&'a self, user: &'a UserId) -> BoxFuture<'a, Result<bool, InboundError>> {
        Box::pin(async move {
            if take_one(&self.fail) {
                return Err(InboundError::ShuttingDown);
            }
            Ok(user.localpart().starts_with("_mimi_"))
        })
    }
    fn find_by_handle<'a>(&'a self, handle: &'a str) -> BoxFuture<'a, Result<Vec<UserUri>, InboundError>> {
        Box::pin(async move {
            if take_one(&self.fail) {
                return Err(InboundError::TooMany(60));
            }
            Ok(if handle == "bob@b.example" {
                vec![UserUri::parse("mimi://b.example/u/bob").unwrap()]
            } else {
                Vec::new()
            })
        })
    }
    fn query_alias<'a>(&'a self, alias: &'a RoomAliasId) -> BoxFuture<'a, Result<bool, InboundError>> {
        Box::pin(async move { Ok(alias.alias() == "_mimi_known") })
    }
}

struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<std::io::Result<()>>,
}

impl Server {
    async fn start(inbound: Arc<Inbound>, limits: ServerLimits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let app = router(inbound, names(), &TOKEN.into(), limits.clone());
        let task = tokio::spawn(serve(listener, app, limits, stop.clone()));
        Self { address, stop, task }
    }
    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
    async fn put(&self, txn: &str, body: impl Into<reqwest::Body>) -> (u16, Value) {
        let url = self.url(&format!("/_matrix/app/v1/transactions/{txn}"));
        answer(http().put(url).bearer_auth(TOKEN).body(body)).await
    }
    async fn get(&self, path: &str) -> (u16, Value) {
        answer(http().get(self.url(path)).bearer_auth(TOKEN)).await
    }
}

async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/json");
    (answer.status().as_u16(), answer.json().await.unwrap())
}

fn one_event() -> String {
    json!({"events": [{"type": "m.room.message"}]}).to_string()
}

#[tokio::test]
async fn the_token_is_wanted_in_one_form_and_both_must_agree() {
    let inbound = Inbound::open();
    let server = Server::start(Arc::clone(&inbound), ServerLimits::default()).await;
    let right = format!("Bearer {TOKEN}");
    let cases: [(&[&str], &str, u16); 13] = [
        (&[], "", 401),
        (&[&right], "", 200),
        (&[&format!("bearer {TOKEN}")], "", 200),
        (&[], &format!("?access_token={TOKEN}"), 200),
        (&[&right], &format!("?access_token={TOKEN}"), 200),
        (&["Bearer wrong"], "", 403),
        (&["Bearer "], "", 401),
        (&[], "?access_token=wrong", 403),
        (&[], "?access_token=", 403),
        (&[&right], "?access_token=wrong", 403),
        (&["Bearer wrong"], &format!("?access_token={TOKEN}"), 403),
        (&[&right, "Bearer wrong"], "", 403),
        (&["Basic dTpw"], "", 401),
    ];
    for (number, (headers, query, expected)) in cases.into_iter().enumerate() {
        let url = server.url(&format!("/_matrix/app/v1/transactions/{number}{query}"));
        let mut request = http().put(url).body(one_event());
        for header in headers {
            request = request.header("authorization", *header);
        }
        let (status, body) = answer(request).await;
        assert_eq!(status, expected, "{headers:?} {query}");
        if expected != 200 {
            assert_eq!(body["errcode"], "M_FORBIDDEN");
            assert!(!body.to_string().contains(TOKEN));
        }
    }
    assert_eq!(inbound.calls(), 4, "nothing refused came through");
}

#[tokio::test]
async fn every_endpoint_wants_the_token() {
    let server = Server::start(Inbound::open(), ServerLimits::default()).await;
    for (method, path) in [
        ("PUT", "/transactions/1"),
        ("GET", "/users/@_mimi_x:a.example"),
        ("GET", "/_matrix/app/v1/users/@_mimi_x:a.example"),
        ("GET", "/_matrix/app/v1/rooms/%23_mimi_known:a.example"),
        ("POST", "/_matrix/app/v1/ping"),
        ("GET", "/_matrix/app/v1/thirdparty/protocol/mimi"),
        ("GET", "/_matrix/app/v1/thirdparty/user/mimi?uri=mimi://b.example/u/bob"),
        ("GET", "/_matrix/app/v1/thirdparty/location/mimi"),
    ] {
        let (status, _) = answer(http().request(method.parse().unwrap(), server.url(path))).await;
        assert_eq!(status, 401, "{method} {path}");
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_unrecognized() {
    let server = Server::start(Inbound::open(), ServerLimits::default()).await;
    for path in ["/", "/_matrix/app/v1/nothing", "/_matrix/app/v1/transactions", "/_matrix/client/v3/sync"] {
        let (status, body) = server.get(path).await;
        assert_eq!((status, body["errcode"].as_str()), (404, Some("M_UNRECOGNIZED")), "{path}");
    }
    for path in ["/_matrix/app/v1/transactions/1", "/transactions/1", "/_matrix/app/v1/ping"] {
        let (status, body) = server.get(path).await;
        assert_eq!((status, body["errcode"].as_str()), (405, Some("M_UNRECOGNIZED")), "{path}");
    }
}

#[tokio::test]
async fn events_come_through_in_order_byte_by_byte_and_the_rest_is_accepted() {
    let inbound = Inbound::open();
    let server = Server::start(Arc::clone(&inbound), ServerLimits::default()).await;
    let body = r#"{"ephemeral":[{"type":"m.typing"}],"de.sorunome.msc2409.ephemeral":[],"de.sorunome.msc2409.to_device":[1],
        "events": [{"b" : 1.50e3,  "a":"\ud800"}, "not an object", {"type":"x"}],"to_device":[],"device_lists":{},
        "org.matrix.msc3202.device_lists":{"changed":[],"left":[]},"org.matrix.msc3202.device_one_time_keys_count":{},
        "org.matrix.msc3202.device_unused_fallback_key_types":{},"future":null}"#;
    assert_eq!(server.put("t%2F1", body).await, (200, json!({})));
    assert_eq!(
        inbound.stored(),
        [(
            "t/1".to_owned(),
            vec![
                r#"{"b" : 1.50e3,  "a":"\ud800"}"#.to_owned(),
                r#""not an object""#.to_owned(),
                r#"{"type":"x"}"#.to_owned()
            ]
        )]
    );
    let (status, _) = answer(http().put(server.url("/transactions/2")).bearer_auth(TOKEN).body(one_event())).await;
    assert_eq!(status, 200, "the path without prefix");
    assert_eq!(server.put("3", r#"{"events":[]}"#).await.0, 200);
    assert_eq!(inbound.calls(), 3);
}

#[tokio::test]
async fn bodies_that_are_no_transaction_are_refused_and_not_stored() {
    let inbound = Inbound::open();
    let server = Server::start(Arc::clone(&inbound), ServerLimits::default()).await;
    for (body, errcode) in [
        ("", "M_NOT_JSON"),
        ("{", "M_NOT_JSON"),
        ("{\"events\":[}", "M_NOT_JSON"),
        ("{\"events\":[]} trailing", "M_NOT_JSON"),
        ("{}", "M_BAD_JSON"),
        ("[]", "M_BAD_JSON"),
        ("null", "M_BAD_JSON"),
        ("{\"events\":{}}", "M_BAD_JSON"),
        ("{\"events\":[],\"events\":[]}", "M_BAD_JSON"),
    ] {
        let (status, answer) = server.put("1", body).await;
        assert_eq!((status, answer["errcode"].as_str()), (400, Some(errcode)), "{body}");
    }
    assert_eq!(server.put("1", b"{\"events\":[\"\xff\"]}".to_vec()).await.0, 400);
    assert_eq!(server.put(&"x".repeat(300), one_event()).await.0, 400);
    assert_eq!(inbound.calls(), 0);
}

#[tokio::test]
async fn a_deeply_nested_event_is_no_danger() {
    let inbound = Inbound::open();
    let server = Server::start(Arc::clone(&inbound), ServerLimits::default()).await;
    let body = format!("{{\"events\":[{}1{}]}}", "[".repeat(200_000), "]".repeat(200_000));
    assert_eq!(server.put("1", body).await.0, 200);
    assert_eq!(inbound.calls(), 1);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let inbound = Inbound::open();
    let limits = ServerLimits { body_bytes: 1000, ..ServerLimits::default() };
    let server = Server::start(Arc::clone(&inbound), limits).await;
    let (status, answer) = server.put("1", format!("{{\"events\":[\"{}\"]}}", "x".repeat(2000))).await;
    assert_eq!((status, answer["errcode"].as_str()), (413, Some("M_TOO_LARGE")));
    assert_eq!(server.put("1", one_event()).await.0, 200);
    assert_eq!(inbound.calls(), 1);
}

#[tokio::test]
async fn a_body_that_stops_and_headers_that_never_end_are_given_up() {
    let limits = ServerLimits {
        header_timeout: Duration::from_millis(200),
        body_timeout: Duration::from_millis(50),
        ..ServerLimits::default()
    };
    let inbound = Inbound::open();
    let server = Server::start(Arc::clone(&inbound), limits).await;
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    let head = format!(
        "PUT /_matrix/app/v1/transactions/1 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: 50\r\n\r\n{{"
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    let mut said = Vec::new();
    slow.read_to_end(&mut said).await.unwrap();
    assert!(said.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&said));

    let mut slower = TcpStream::connect(server.address).await.unwrap();
    slower.write_all(b"PUT /_matrix/app/v1/transactions/1 HTTP/1.1\r\nhost:").await.unwrap();
    let mut said = Vec::new();
    slower.read_to_end(&mut said).await.unwrap();
    assert!(!said.starts_with(b"HTTP/1.1 200"));
    assert_eq!(inbound.calls(), 0);
}

#[tokio::test]
async fn success_is_answered_only_after_the_store_has_it() {
    let inbound = Inbound::gated();
    let server = Server::start(Arc::clone(&inbound), ServerLimits::default()).await;
    let mut put = Box::pin(server.put("1", one_event()));
    tokio::select! {
        early = &mut put => panic!("answered before it was stored: {early:?}"),
        entered = inbound.entered.acquire() => entered.unwrap().forget(),
    }
    // Inside the store, which has not finished: still no answer.
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut put).await.is_err());
    inbound.gate.add_permits(1);
    assert_eq!(put.await, (200, json!({})));
    assert_eq!(inbound.stored().len(), 1);
}

#[tokio::test]
async fn what_the_store_refuses_is_asked_for_again() {
    let inbound = Inbound::open();
    let server = Server::start(Arc::clone(&inbound), ServerLimits::default()).await;
    inbound.fail.store(1, Ordering::SeqCst);
    let (status, body) = server.put("1", one_event()).await;
    assert_eq!((status, body["errcode"].as_str()), (503, Some("M_UNKNOWN")));
    assert!(!body.to_string().contains("disk full"), "inner words stay inside");
    assert_eq!(server.put("1", one_event()).await.0, 200);
    assert_eq!(inbound.stored().len(), 1);
}

#[tokio::test]
async fn a_panic_in_the_store_is_a_refusal_and_leaves_nothing_stuck() {
    let inbound = Inbound::open();
    let server = Server::start(Arc::clone(&inbound), ServerLimits::default()).await;
    inbound.panic.store(1, Ordering::SeqCst);
    assert_eq!(server.put("1", one_event()).await.0, 503);
    assert_eq!(server.put("1", one_event()).await.0, 200);
}

/// On one thread and without sockets: after enough turns, each of the fifty waits, so the count is exact.
#[tokio::test]
async fn receipts_come_under_both_names_and_what_is_no_list_spoils_nothing() {
    let inbound = Inbound::open();
    let server = Server::start(Arc::clone(&inbound), ServerLimits::default()).await;
    let old = "de.sorunome.msc2409.ephemeral";
    for (number, (body, expected)) in [
        (json!({"events": [], "ephemeral": [1, {"type": "m.receipt"}]}), vec!["1", r#"{"type":"m.receipt"}"#]),
        (json!({"events": [], old: [2]}), vec!["2"]),
        (json!({"events": [], "ephemeral": [3], old: [3]}), vec!["3"]),
        (json!({"events": [4], "ephemeral": {"no": "list"}}), vec![]),
        (json!({"events": [5], "ephemeral": null}), vec![]),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(server.put(&number.to_string(), body.to_string()).await.0, 200, "{body}");
        let seen = inbound.seen.lock().unwrap();
        let ephemeral: Vec<&str> = seen.last().unwrap().ephemeral.iter().map(|raw| raw.get()).collect();
        assert_eq!(ephemeral, expected, "{body}");
    }
}

#[tokio::test]
async fn fifty_copies_of_a_running_transaction_make_one_call() {
    let inbound = Inbound::gated();
    let app = router(Arc::clone(&inbound) as Arc<dyn MatrixInbound>, names(), &TOKEN.into(), ServerLimits::default());
    let mut copies = JoinSet::new();
    for _ in 0..50 {
        let request = Request::put("/_matrix/app/v1/transactions/7")
            .header("authorization", format!("Bearer {TOKEN}"))
            .body(Body::from(one_event()))
            .unwrap();
        copies.spawn(app.clone().oneshot(request));
    }
    inbound.entered.acquire().await.unwrap().forget();
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert!(copies.try_join_next().is_none(), "nobody is answered before it is stored");
    inbound.gate.add_permits(50);
    let mut answered = 0;
    while let Some(answer) = copies.join_next().await {
        assert_eq!(answer.unwrap().unwrap().status(), 200);
        answered += 1;
    }
    assert_eq!((answered, inbound.calls()), (50, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_copies_over_sockets_all_succeed_one_at_a_time() {
    let inbound = Inbound::open();
    let server = Arc::new(Server::start(Arc::clone(&inbound), ServerLimits::default()).await);
    let mut copies = JoinSet::new();
    for _ in 0..50 {
        let server = Arc::clone(&server);
        copies.spawn(async move { server.put("7", one_event()).await });
    }
    while let Some(answer) = copies.join_next().await {
        assert_eq!(answer.unwrap(), (200, json!({})));
    }
    assert_eq!(inbound.most_at_once.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn the_same_id_with_another_body_is_another_transaction() {
    let inbound = Inbound::gated();
    let server = Arc::new(Server::start(Arc::clone(&inbound), ServerLimits::default()).await);
    let first = tokio::spawn({
        let server = Arc::clone(&server);
        async move { server.put("1", r#"{"events":["first"]}"#).await }
    });
    inbound.entered.acquire().await.unwrap().forget();
    let second = tokio::spawn({
        let server = Arc::clone(&server);
        async move { server.put("1", r#"{"events":["second"]}"#).await }
    });
    inbound.gate.add_permits(2);
    assert_eq!(first.await.unwrap().0, 200);
    assert_eq!(second.await.unwrap().0, 200);
    let stored: Vec<_> = inbound.stored().into_iter().flat_map(|(_, events)| events).collect();
    assert_eq!(stored, [r#""first""#, r#""second""#], "both, in the order of arrival");
}

#[tokio::test]
async fn a_homeserver_that_hangs_up_finds_its_transaction_stored() {
    let inbound = Inbound::gated();
    let server = Server::start(Arc::clone(&inbound), ServerLimits::default()).await;
    let mut hasty = Box::pin(server.put("1", one_event()));
    tokio::select! {
        early = &mut hasty => panic!("answered too early: {early:?}"),
        entered = inbound.entered.acquire() => entered.unwrap().forget(),
    }
    drop(hasty);
    inbound.gate.add_permits(2);
    assert_eq!(server.put("1", one_event()).await.0, 200);
    assert_eq!(inbound.stored().len(), inbound.calls(), "the abandoned call has run to its end");
}

#[tokio::test]
async fn users_rooms_and_ping() {
    let inbound = Inbound::open();
    let server = Server::start(Arc::clone(&inbound), ServerLimits::default()).await;
    for (path, expected) in [
        ("/_matrix/app/v1/users/@_mimi_b.example=2fbob:a.example", 200),
        ("/_matrix/app/v1/users/%40_mimi_b.example%3D2fbob%3Aa.example", 200),
        ("/users/@_mimi_b.example=2fbob:a.example", 200),
        ("/_matrix/app/v1/users/@alice:a.example", 404),
        ("/_matrix/app/v1/users/@_mimi_bob:other.example", 404),
        ("/_matrix/app/v1/users/bob", 404),
        ("/_matrix/app/v1/users/%FF", 404),
        ("/_matrix/app/v1/rooms/%23_mimi_known:a.example", 200),
        ("/rooms/%23_mimi_known:a.example", 200),
        ("/_matrix/app/v1/rooms/%23_mimi_other:a.example", 404),
        ("/_matrix/app/v1/rooms/%23_mimi_known:other.example", 404),
        ("/_matrix/app/v1/rooms/nonsense", 404),
    ] {
        let (status, body) = server.get(path).await;
        assert_eq!(status, expected, "{path}");
        assert_eq!(
            body,
            if status == 200 { json!({}) } else { json!({"errcode": "M_NOT_FOUND", "error": "not found"}) }
        );
    }
    inbound.fail.store(1, Ordering::SeqCst);
    assert_eq!(server.get("/_matrix/app/v1/users/@_mimi_x:a.example").await.0, 503);
    let ping = http().post(server.url("/_matrix/app/v1/ping")).bearer_auth(TOKEN).body(r#"{"transaction_id":"x"}"#);
    assert_eq!(answer(ping).await, (200, json!({})));
}

#[tokio::test]
async fn third_party_look_up_finds_ghosts_and_their_users() {
    let inbound = Inbound::open();
    let server = Server::start(Arc::clone(&inbound), ServerLimits::default()).await;
    let bob = json!([{
        "userid": "@_mimi_b.example=2fbob:a.example",
        "protocol": "mimi",
        "fields": {"uri": "mimi://b.example/u/bob"},
    }]);
    let base = "/_matrix/app/v1/thirdparty";
    let (status, protocol) = server.get(&format!("{base}/protocol/mimi")).await;
    assert_eq!(status, 200);
    assert_eq!(protocol["user_fields"], json!(["handle", "uri"]));
    for field in ["location_fields", "icon", "field_types", "instances"] {
        assert!(!protocol[field].is_null(), "{field} is required");
    }
    assert_eq!(server.get(&format!("{base}/user/mimi?uri=mimi%3A%2F%2Fb.example%2Fu%2Fbob")).await, (200, bob.clone()));
    assert_eq!(
        server.get(&format!("{base}/user?userid=%40_mimi_b.example%3D2fbob%3Aa.example")).await,
        (200, bob.clone())
    );
    assert_eq!(server.get(&format!("{base}/location/mimi?uri=x")).await, (200, json!([])));
    assert_eq!(server.get(&format!("{base}/user/mimi?handle=bob%40b.example")).await, (200, bob.clone()));
    assert_eq!(server.get(&format!("{base}/user/mimi?handle=alice%40b.example")).await.0, 404);
    inbound.fail.store(1, Ordering::SeqCst);
    let (status, refusal) = server.get(&format!("{base}/user/mimi?handle=bob%40b.example")).await;
    assert_eq!((status, refusal["errcode"].as_str()), (429, Some("M_LIMIT_EXCEEDED")));
    let alice = server.get(&format!("{base}/user/mimi?uri=mimi://a.example/u/alice")).await.1;
    assert_eq!(alice[0]["userid"], "@alice:a.example", "a user of our own is no ghost");
    for path in [
        "/protocol/irc",
        "/user/irc?uri=mimi://b.example/u/bob",
        "/user/mimi",
        "/user/mimi?uri=mimi://b.example/r/room",
        "/user/mimi?uri=nonsense",
        "/user?userid=@alice:a.example",
        "/user?userid=nonsense",
        "/user",
        "/location/irc",
    ] {
        assert_eq!(server.get(&format!("{base}{path}")).await.0, 404, "{path}");
    }
}

#[tokio::test]
async fn shutdown_lets_a_running_transaction_end() {
    let inbound = Inbound::gated();
    let server = Server::start(Arc::clone(&inbound), ServerLimits::default()).await;
    let mut put = Box::pin(server.put("1", one_event()));
    tokio::select! {
        early = &mut put => panic!("answered too early: {early:?}"),
        entered = inbound.entered.acquire() => entered.unwrap().forget(),
    }
    server.stop.cancel();
    inbound.gate.add_permits(1);
    assert_eq!(put.await.0, 200);
    server.task.await.unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err(), "nobody listens any more");
}
