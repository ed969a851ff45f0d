//! Assets: ours, proxyDownload between three providers, and attack S8 with asset servers that misbehave.

use std::{sync::Arc, time::Duration};

use mimi_gateway::{
    engine::ports::{self, Assets as _, Retry},
    mimi::{Assets, Lookup, Way},
    policy::{DownloadPrivacy, DownloadPrivacyType},
    wire::path::encode_segment,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::{
    asset_world::{
        DAY, FakeDns, Provider, Scripted, answer, ciphertext, follower_c, hub_of, now, settings_of_b, url, user,
    },
    harness::{Gateway, PATIENCE, domain, settings_of_a, world},
};

#[tokio::test]
async fn a_peer_that_knows_the_url_gets_our_asset() {
    let a = Provider::start(&settings_of_a()).await;
    let bytes = ciphertext(300_000);
    let at = a.assets.put(&user("a.example/u/alice"), &bytes, now() + DAY).await.unwrap();
    assert!(at.starts_with("https://a.example/assets/"), "{at}");
    let path = at.strip_prefix("https://a.example").unwrap();
    for from in ["b.example", "c.example"] {
        let response = a.gateway.get(from, path).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/octet-stream");
        assert_eq!(response.headers()["content-length"], "300000");
        assert!(response.headers()["cache-control"].to_str().unwrap().contains("immutable"));
        assert_eq!(response.bytes().await.unwrap(), bytes);
    }
    let http = a.gateway.http(&world().cert_b, http::Version::HTTP_11);
    let head = http.head(&at).header("from", "mimi@b.example").send().await.unwrap();
    assert_eq!((head.status().as_u16(), head.headers()["content-length"].to_str().unwrap()), (200, "300000"));
    let tag = head.headers()["etag"].clone();
    let again = http.get(&at).header("from", "mimi@b.example").header("if-none-match", tag).send().await.unwrap();
    assert_eq!(again.status(), 304);
    for (path, status) in
        [("/assets/", 404), ("/assets/..%2f..%2fstore", 404), (&format!("/assets/{}", "0".repeat(40)), 404)]
    {
        assert_eq!(a.gateway.get("b.example", path).await.status(), status, "{path}");
    }
    // Nobody without a peer's certificate.
    let request = format!("GET {path} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n");
    assert!(a.gateway.raw(None, request.as_bytes()).await.is_err());
    // Its time is over.
    a.assets.store().sweep(now() + 2 * DAY).await.unwrap();
    assert_eq!(a.gateway.get("b.example", path).await.status(), 404);
}

#[tokio::test]
async fn a_server_without_assets_has_no_such_endpoints() {
    let a = Gateway::a().await;
    let directory = a.get("b.example", "/.well-known/mimi-protocol-directory").await.text().await.unwrap();
    assert!(!directory.contains("proxyDownload") && !directory.contains("ohttp"), "{directory}");
    for path in ["/v1/proxyDownload/https%3A%2F%2Fb.example%2F1", "/v1/ohttpKeys", "/.well-known/ohttp-gateway"] {
        assert_eq!(a.get("b.example", path).await.status(), 404, "{path}");
    }
}

#[tokio::test]
async fn three_providers_one_stores_one_proxies_one_downloads() {
    let b = Provider::start(&settings_of_b()).await;
    let a = Provider::start(&hub_of(b.gateway.addr)).await;
    let (c, _dir) = follower_c(a.gateway.addr).await;
    let bytes = ciphertext(3_000_000);
    let at = url(&b.assets.put(&user("b.example/u/bob"), &bytes, now() + DAY).await.unwrap());
    // c.example cannot reach b.example: all comes by way of a.example.
    for way in [Way::Proxy, Way::Oblivious] {
        let (c, _dir) = follower_c(a.gateway.addr).await;
        let file = Assets::get(&c, &domain("a.example"), &at, way).await.unwrap();
        assert_eq!(file.read().await.unwrap(), bytes, "{way:?}");
    }
    // The hub's own users get it as well, and b.example's, who have it at home.
    for (assets, hub) in [(&a.assets, "a.example"), (&b.assets, "a.example")] {
        let file = Assets::get(assets, &domain(hub), &at, Way::Proxy).await.unwrap();
        assert_eq!(file.read().await.unwrap(), bytes);
    }
    assert_eq!(c.relay(&domain("a.example"), b"no request").await.unwrap_err().status, Some(400));
    // The hub keeps what it fetched; what it never had it does not have now.
    let never = url(&b.assets.put(&user("b.example/u/bob"), b"other", now() + DAY).await.unwrap());
    for at in [&at, &never] {
        assert!(b.assets.delete(at).await.unwrap());
    }
    assert_eq!(Assets::get(&c, &domain("a.example"), &at, Way::Proxy).await.unwrap().bytes(), 3_000_000);
    let error = Assets::get(&c, &domain("a.example"), &never, Way::Proxy).await.unwrap_err();
    assert_eq!(error.retry, Retry::Permanent, "{error}");
}

#[tokio::test]
async fn a_denied_provider_gets_no_assets_and_none_are_fetched_from_it() {
    let b = Scripted::answering(answer("200 OK", "", b"sealed")).await;
    let mut settings = hub_of(b.addr);
    settings.peers.get_mut(&domain("b.example")).unwrap().asset_domains = Some(vec![domain("b.example")]);
    let a = Provider::start(&settings).await;
    let own = a.assets.put(&user("a.example/u/alice"), b"ours", now() + DAY).await.unwrap();
    let path = own.strip_prefix("https://a.example").unwrap().to_owned();
    let theirs = |name: &str| url(&format!("https://b.example/assets/{name}"));
    let denied = Arc::new(std::sync::Mutex::new(Vec::<&str>::new()));
    let asked = Arc::clone(&denied);
    a.peers.ask_first(Arc::new(move |peer| !asked.lock().unwrap().contains(&peer.as_str())));

    let fetch = async |name: &str| Assets::get(&a.assets, &domain("a.example"), &theirs(name), Way::Proxy).await;
    assert_eq!(a.gateway.get("c.example", &path).await.status(), 200);
    assert_eq!(a.proxy(theirs("one").as_str()).await.status(), 200);
    assert_eq!(fetch("one").await.unwrap().bytes(), 6);
    let before = b.count();

    // Who is denied gets nothing, whatever it is and wherever it lies.
    denied.lock().unwrap().push("c.example");
    assert_eq!(a.gateway.get("c.example", &path).await.status(), 403);
    assert_eq!(a.proxy(&own).await.status(), 403);
    assert_eq!(a.proxy(theirs("one").as_str()).await.status(), 403);
    assert_eq!(a.gateway.get("b.example", &path).await.status(), 200, "others do");

    // What lies there is not fetched, nor taken from what was, neither for others nor for our own; nor by way of it as a hub.
    *denied.lock().unwrap() = vec!["b.example"];
    for name in ["one", "two"] {
        assert_eq!(a.proxy(theirs(name).as_str()).await.status(), 403);
        let error = fetch(name).await.unwrap_err();
        assert_eq!(error.retry, Retry::Permanent, "{error}");
        assert!(error.what.contains("b.example, where it lies, is denied"), "{error}");
    }
    let by_way = Assets::get(&a.assets, &domain("b.example"), &url("https://c.example/assets/x"), Way::Proxy).await;
    assert!(by_way.unwrap_err().what.contains("b.example, which hosts the room, is denied"));
    assert_eq!(b.count(), before, "nothing was asked of it");
    denied.lock().unwrap().clear();
    assert_eq!(fetch("two").await.unwrap().bytes(), 6);
}

/// `asset_policy` of a room: which ways are open.
#[tokio::test]
async fn an_asset_goes_the_ways_that_its_room_allows() {
    use DownloadPrivacyType::{Direct, HubProxy, Ohttp};
    let b = Provider::start(&settings_of_b()).await;
    let a = Provider::start(&hub_of(b.gateway.addr)).await;
    let at = url(&b.assets.put(&user("b.example/u/bob"), b"sealed", now() + DAY).await.unwrap());
    // c.example knows the hub alone; a.example knows b.example, and nobody is where it believes the hub to be.
    for (follower, allowed, forbidden, comes) in [
        (true, vec![], vec![], true),
        (true, vec![], vec![HubProxy], true),
        (true, vec![], vec![Ohttp], true),
        (true, vec![], vec![HubProxy, Ohttp], false),
        (true, vec![], vec![HubProxy, Ohttp, Direct], false),
        (false, vec![], vec![HubProxy, Ohttp], true),
        (false, vec![], vec![HubProxy, Ohttp, Direct], false),
        (false, vec![], vec![], false),
        // What is not among what is allowed is as what is forbidden.
        (true, vec![Ohttp], vec![], true),
        (true, vec![HubProxy], vec![], true),
        (true, vec![Direct], vec![], false),
        (false, vec![Direct], vec![], true),
        (false, vec![HubProxy, Ohttp], vec![], false),
    ] {
        let is_open =
            |way: &DownloadPrivacyType| !forbidden.contains(way) && (allowed.is_empty() || allowed.contains(way));
        let ways = DownloadPrivacy {
            allowed_download_types: allowed.clone(),
            forbidden_download_types: forbidden.clone(),
            default_download_type: [HubProxy, Ohttp, Direct].into_iter().find(is_open).unwrap_or(Direct),
        };
        let (c, _dir) = follower_c(a.gateway.addr).await;
        let got = if follower {
            ports::Assets::get(&*c, &domain("a.example"), &at, Some(&ways)).await
        } else {
            ports::Assets::get(&*a.assets, &domain("c.example"), &at, Some(&ways)).await
        };
        assert_eq!(got.map(|file| file.bytes()).ok(), comes.then_some(6), "{follower} {allowed:?} {forbidden:?}");
    }
}

/// Oblivious HTTP does not do for a file: in a room that allows nothing else it stays away, rather than come by proxyDownload.
#[tokio::test]
async fn where_oblivious_http_alone_is_allowed_nothing_goes_another_way() {
    use DownloadPrivacyType::{HubProxy, Ohttp};
    let b = Provider::start(&settings_of_b()).await;
    let mut settings = hub_of(b.gateway.addr);
    // The file is larger than comes by Oblivious HTTP.
    settings.assets.max_oblivious_bytes = 1;
    let a = Provider::start(&settings).await;
    let at = url(&b.assets.put(&user("b.example/u/bob"), b"sealed", now() + DAY).await.unwrap());
    for (allowed, comes) in [(vec![Ohttp], false), (vec![Ohttp, HubProxy], true)] {
        let (c, _dir) = follower_c(a.gateway.addr).await;
        let ways = DownloadPrivacy {
            allowed_download_types: allowed.clone(),
            forbidden_download_types: vec![],
            default_download_type: Ohttp,
        };
        let got = ports::Assets::get(&*c, &domain("a.example"), &at, Some(&ways)).await;
        assert_eq!(got.map(|file| file.bytes()).ok(), comes.then_some(6), "{allowed:?}");
    }
}

#[tokio::test]
async fn a_hub_proxies_to_its_own_assets_too() {
    let a = Provider::start(&settings_of_a()).await;
    let at = a.assets.put(&user("a.example/u/alice"), b"sealed", now() + DAY).await.unwrap();
    assert_eq!(a.proxy(&at).await.bytes().await.unwrap(), "sealed");
    assert_eq!(a.proxy("https://a.example/v1/ohttpKeys").await.status(), 404);
    assert_eq!(a.proxy("https://a.example/assets/../v1").await.status(), 400);
}

#[tokio::test]
async fn s8_only_asset_domains_of_peers_by_https_and_nothing_is_asked_of_others() {
    let dns = FakeDns::new(&[]);
    let b = Scripted::answering(answer("200 OK", "", b"sealed")).await;
    let mut settings = hub_of(b.addr);
    settings.peers.get_mut(&domain("c.example")).unwrap().asset_domains = Some(vec![domain("cdn.c-files.example")]);
    let a = Provider::start_with(&settings, Arc::clone(&dns) as Arc<dyn Lookup>).await;
    for (target, status) in [
        ("https://evil.example/1", 403),
        ("https://b.example.evil.example/1", 403),
        ("https://evilb.example/1", 403),
        // Another host of a peer that says which are its assets'.
        ("https://c.example/1", 403),
        ("https://x.cdn.c-files.example/1", 403),
        ("https://localhost/1", 403),
        ("https://metadata.google.internal/1", 403),
        ("https://169.254.169.254/latest/meta-data", 400),
        ("https://127.0.0.1/1", 400),
        ("https://2130706433/1", 400),
        ("https://0x7f000001/1", 400),
        ("https://0177.0.0.1/1", 400),
        ("https://127.1/1", 400),
        ("https://[::1]/1", 400),
        ("https://[::ffff:127.0.0.1]/1", 400),
        ("https://[fd00:ec2::254]/1", 400),
        ("http://b.example/1", 400),
        ("ftp://b.example/1", 400),
        ("file:///etc/passwd", 400),
        ("https://b.example:8443/1", 400),
        ("https://b.example:443/1", 400),
        ("https://user@b.example/1", 400),
        ("https://user:secret@b.example/1", 400),
        ("https://evil.example@b.example/1", 400),
        ("https://b.example\\@evil.example/1", 400),
        ("https://b.example./1", 400),
        ("https://B.example/1", 400),
        ("https://b.example/1#x", 400),
        ("https://b.example/../1", 400),
        ("https://b.example/1\r\nHost: evil.example", 400),
        (" https://b.example/1", 400),
        ("", 404),
    ] {
        assert_eq!(a.proxy(target).await.status(), status, "{target}");
    }
    let long = format!("https://b.example/{}", "a".repeat(10_000));
    assert_eq!(a.proxy(&long).await.status(), 400);
    // Encoded once too little, or twice.
    for path in
        ["/v1/proxyDownload/https%3A%2F%2Fb.example%2F1?x=1", "/v1/proxyDownload/https%253A%252F%252Fb.example%252F1"]
    {
        assert_eq!(a.gateway.get("c.example", path).await.status(), 400, "{path}");
    }
    assert_eq!((b.count(), dns.asked()), (0, vec![]));
    assert_eq!(a.proxy("https://b.example/1").await.bytes().await.unwrap(), "sealed");
    assert_eq!(
        a.gateway.post("c.example", "/v1/proxyDownload/https%3A%2F%2Fb.example%2F2", vec![]).await.status(),
        405
    );
    assert_eq!((b.count(), dns.asked()), (1, vec![]));
}

#[tokio::test]
async fn s8_an_address_that_is_not_public_is_not_connected_to() {
    let b = Scripted::answering(answer("200 OK", "", b"sealed")).await;
    let here = b.addr.to_string();
    let answers: [&[&str]; 6] = [
        &[&here],
        &["169.254.169.254:0"],
        &["10.0.0.1:0"],
        &["[::ffff:127.0.0.1]:0"],
        &["[fd00:ec2::254]:0"],
        &["1.1.1.1:0", &here],
    ];
    let dns = FakeDns::new(&answers);
    let mut settings = settings_of_a();
    settings.peers.get_mut(&domain("b.example")).unwrap().asset_domains = Some(vec![domain("cdn.b-files.example")]);
    let a = Provider::start_with(&settings, Arc::clone(&dns) as Arc<dyn Lookup>).await;
    for (i, answer) in answers.iter().enumerate() {
        let response = a.proxy(&format!("https://cdn.b-files.example/{i}")).await;
        assert_eq!(response.status(), 403, "{answer:?}");
    }
    assert_eq!(dns.asked().len(), answers.len());
    // A name that does not resolve.
    assert_eq!(a.proxy("https://cdn.b-files.example/x").await.status(), 502);
    assert_eq!(b.count(), 0);
}

/// The name is looked up once for a connection, and the connection goes to what was judged: a second answer has no use.
#[tokio::test]
async fn s8_a_name_that_is_rebound_leads_nowhere_else() {
    let b = Scripted::answering(answer("200 OK", "", b"sealed")).await;
    let here = b.addr.to_string();
    let dns = FakeDns::new(&[&[&here], &["127.0.0.1:1"]]);
    let mut settings = settings_of_a();
    let peer = settings.peers.get_mut(&domain("b.example")).unwrap();
    peer.asset_domains = Some(vec![domain("b.example"), domain("cdn.b-files.example")]);
    settings.assets.allow_private_addresses = true;
    let a = Provider::start_with(&settings, Arc::clone(&dns) as Arc<dyn Lookup>).await;
    assert_eq!(a.proxy("https://b.example/1").await.bytes().await.unwrap(), "sealed");
    assert_eq!(dns.asked(), ["b.example"]);
    // A server that has another name in its certificate is nobody's.
    let dns = FakeDns::new(&[&[&here]]);
    let a = Provider::start_with(&settings, Arc::clone(&dns) as Arc<dyn Lookup>).await;
    assert_eq!(a.proxy("https://cdn.b-files.example/1").await.status(), 502);
    assert_eq!(b.count(), 1);
}

#[tokio::test]
async fn s8_what_an_asset_server_may_not_answer() {
    for (reply, status) in [
        (answer("302 Found", "Location: https://b.example/2\r\n", b""), 502),
        (answer("307 Temporary Redirect", "Location: https://127.0.0.1/\r\n", b""), 502),
        (answer("200 OK", "Content-Encoding: gzip\r\n", b"x"), 502),
        (answer("206 Partial Content", "", b"x"), 502),
        (answer("401 Unauthorized", "WWW-Authenticate: Basic\r\n", b""), 502),
        (answer("500 Internal Server Error", "", b"trace"), 502),
        (answer("404 Not Found", "", b"<html>"), 404),
        (answer("410 Gone", "", b""), 404),
        (answer("200 OK", "", &[0; 2000]), 502),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\n".to_vec(), 502),
        (b"SSH-2.0-OpenSSH\r\n".to_vec(), 502),
        (Vec::new(), 502),
    ] {
        let b = Scripted::answering(reply.clone()).await;
        let mut settings = hub_of(b.addr);
        settings.assets.max_asset_bytes = 1000;
        let a = Provider::start(&settings).await;
        let response = a.proxy("https://b.example/1").await;
        assert_eq!(response.status(), status, "{}", String::from_utf8_lossy(&reply));
        assert!(!response.headers().contains_key("location"));
        assert_eq!(b.count(), 1);
    }
}

#[tokio::test]
async fn s8_an_asset_that_ends_early_or_never_is_an_error_for_the_reader() {
    let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart".to_vec();
    let endless = [b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec(), vec![0; 100_000]].concat();
    for reply in [cut, endless] {
        let b = Scripted::answering(reply).await;
        let mut settings = hub_of(b.addr);
        settings.assets.max_asset_bytes = 50_000;
        let a = Provider::start(&settings).await;
        let response = a.proxy("https://b.example/1").await;
        // It had begun when that showed, or not yet.
        assert!(response.status() == 502 || response.bytes().await.is_err());
        let (c, _dir) = follower_c(a.gateway.addr).await;
        assert!(Assets::get(&c, &domain("a.example"), &url("https://b.example/1"), Way::Proxy).await.is_err());
    }
}

#[tokio::test]
async fn s8_nothing_of_the_asker_goes_to_the_asset_server_and_back() {
    let b =
        Scripted::answering(answer("200 OK", "Set-Cookie: id=1\r\nServer: B\r\nContent-Type: text/html\r\n", b"<p>"))
            .await;
    let a = Provider::start(&hub_of(b.addr)).await;
    let http = a.gateway.http(&world().cert_c, http::Version::HTTP_11);
    let request =
        http.get(format!("https://a.example/v1/proxyDownload/{}", encode_segment("https://b.example/1?token=x")));
    let request =
        request.header("from", "mimi@c.example").header("cookie", "id=2").header("authorization", "Bearer secret");
    let response =
        request.header("referer", "https://c.example/room").header("x-forwarded-for", "10.0.0.1").send().await.unwrap();
    for name in ["set-cookie", "server"] {
        assert!(!response.headers().contains_key(name), "{name}");
    }
    assert_eq!(response.headers()["content-type"], "application/octet-stream");
    assert_eq!(response.bytes().await.unwrap(), "<p>");
    let sent = b.requests.lock().unwrap()[0].to_ascii_lowercase();
    assert!(sent.starts_with("get /1?token=x http/1.1\r\n"), "{sent}");
    assert!(sent.contains("from: mimi@a.example"), "{sent}");
    for trace in ["cookie", "authorization", "secret", "referer", "c.example", "forwarded", "10.0.0.1"] {
        assert!(!sent.contains(trace), "{trace}: {sent}");
    }
}

#[tokio::test]
async fn who_asks_at_the_same_time_shares_one_fetch_and_who_comes_later_the_cache() {
    let (go, wait) = tokio::sync::watch::channel(false);
    let b = Scripted::run(move |mut stream| {
        let mut wait = wait.clone();
        Box::pin(async move {
            let reply = answer("200 OK", "", &ciphertext(500_000));
            stream.write_all(&reply[..200_000]).await.unwrap();
            stream.flush().await.unwrap();
            wait.wait_for(|go| *go).await.unwrap();
            stream.write_all(&reply[200_000..]).await.unwrap();
            let _ = stream.shutdown().await;
        })
    })
    .await;
    let a = Arc::new(Provider::start(&hub_of(b.addr)).await);
    let mut readers = JoinSet::new();
    for _ in 0..10 {
        let mut response = a.proxy("https://b.example/1").await;
        // It is handed on while it comes.
        assert!(!response.chunk().await.unwrap().unwrap().is_empty());
        readers.spawn(async move {
            let mut len = 0;
            while let Some(chunk) = response.chunk().await.unwrap() {
                len += chunk.len();
            }
            len
        });
    }
    go.send(true).unwrap();
    assert_eq!(readers.join_all().await.len(), 10);
    assert_eq!(a.proxy("https://b.example/1").await.bytes().await.unwrap(), ciphertext(500_000));
    assert_eq!(b.count(), 1);
    // Another asset is another fetch.
    assert_eq!(a.proxy("https://b.example/1?2").await.bytes().await.unwrap().len(), 500_000);
    assert_eq!(b.count(), 2);
}

#[tokio::test]
async fn the_cache_drops_what_was_unused_longest() {
    let b = Scripted::answering(answer("200 OK", "", &ciphertext(10_000))).await;
    let mut settings = hub_of(b.addr);
    settings.assets.cache_bytes = 32_000;
    let a = Provider::start(&settings).await;
    let asked = async |name: &str| {
        let before = b.count();
        let response = a.proxy(&format!("https://b.example/{name}")).await;
        assert_eq!(response.bytes().await.unwrap().len(), 10_000);
        b.count() > before
    };
    assert!(asked("1").await);
    assert!(asked("2").await);
    assert!(!asked("1").await);
    assert!(asked("3").await);
    assert!(!asked("1").await);
    assert!(asked("2").await);
    assert!(asked("3").await);
    settings.assets.cache_bytes = 0;
    let a = Provider::start(&settings).await;
    for _ in 0..2 {
        let before = b.count();
        assert_eq!(a.proxy("https://b.example/1").await.bytes().await.unwrap().len(), 10_000);
        assert_eq!(b.count(), before + 1);
    }
}

/// b.example's asset server takes connections and says nothing: c.example, which waits for it, gets 504, and others get theirs at once.
#[tokio::test]
async fn a_slow_asset_server_costs_others_nothing() {
    let b = Scripted::run(|stream| {
        Box::pin(async move {
            let _stream = stream;
            std::future::pending::<()>().await;
        })
    })
    .await;
    let mut settings = hub_of(b.addr);
    settings.assets.transfer_timeout = Duration::from_secs(3);
    settings.assets.max_fetches_per_peer = 4;
    let a = Arc::new(Provider::start(&settings).await);
    let at = a.assets.put(&user("a.example/u/alice"), b"sealed", now() + DAY).await.unwrap();
    let mut waiting = JoinSet::new();
    for i in 0..8 {
        let a = Arc::clone(&a);
        waiting.spawn(async move { a.proxy(&format!("https://b.example/{i}")).await.status().as_u16() });
    }
    timeout(PATIENCE, async {
        while b.count() < 4 {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    let start = Instant::now();
    for from in ["b.example", "c.example"] {
        let path = format!("/v1/proxyDownload/{}", encode_segment(&at));
        assert_eq!(a.gateway.get(from, &path).await.bytes().await.unwrap(), "sealed");
    }
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    let mut statuses = waiting.join_all().await;
    statuses.sort_unstable();
    // Four at a time are fetched from one peer; the others are told to come again.
    assert_eq!(statuses, [503, 503, 503, 503, 504, 504, 504, 504]);
    assert_eq!(b.count(), 4);
}

/// A peer that asks and does not read holds so many of its own downloads, for so long.
#[tokio::test]
async fn a_peer_that_does_not_read_uses_up_only_its_own() {
    let mut settings = settings_of_a();
    settings.assets.max_downloads_per_peer = 2;
    settings.assets.transfer_timeout = Duration::from_secs(2);
    let a = Provider::start(&settings).await;
    let at = a.assets.put(&user("a.example/u/alice"), &ciphertext(30_000_000), now() + DAY).await.unwrap();
    let path = at.strip_prefix("https://a.example").unwrap();
    let mut stalled = Vec::new();
    for _ in 0..2 {
        let mut stream = a.gateway.connect(Some(&world().cert_b), b"http/1.1").await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: a.example\r\nFrom: mimi@b.example\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
        stalled.push(stream);
    }
    let third = a.gateway.get("b.example", path).await;
    assert_eq!((third.status().as_u16(), third.headers()["retry-after"].to_str().unwrap()), (429, "2"));
    assert_eq!(a.gateway.get("c.example", path).await.bytes().await.unwrap().len(), 30_000_000);
    // Its time over, its places are free again although its connections stand.
    timeout(PATIENCE, async {
        while a.gateway.get("b.example", path).await.status() != 200 {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .unwrap();
    // What comes on such a connection is no whole asset.
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, stalled[0].read_to_end(&mut rest)).await.unwrap();
    assert!(rest.len() < 30_000_000);
}

/// A connection with a body on its way is not idle, however slowly it is read.
#[tokio::test]
async fn a_slow_download_is_not_cut_off_as_idle() {
    let mut settings = settings_of_a();
    settings.limits.idle_timeout = Duration::from_millis(100);
    settings.limits.header_timeout = Duration::from_millis(100);
    let a = Provider::start(&settings).await;
    let at = a.assets.put(&user("a.example/u/alice"), &ciphertext(30_000_000), now() + DAY).await.unwrap();
    let mut response = a.gateway.get("b.example", at.strip_prefix("https://a.example").unwrap()).await;
    let mut len = 0;
    for _ in 0..10 {
        len += response.chunk().await.unwrap().unwrap().len();
        sleep(Duration::from_millis(100)).await;
    }
    while let Some(chunk) = response.chunk().await.unwrap() {
        len += chunk.len();
    }
    assert_eq!(len, 30_000_000);
}

#[tokio::test]
async fn the_hosts_of_a_peers_directory_are_its_asset_domains_by_default() {
    let document = br#"{"update":"https://files.b.example/v1/update/{roomId}"}"#;
    let b = Scripted::answering(answer("200 OK", "", document)).await;
    let a = Provider::start(&hub_of(b.addr)).await;
    // Below the peer's domain, but not in its directory.
    assert_eq!(a.proxy("https://www.b.example/1").await.status(), 403);
    // In its directory; this server has no certificate for that name.
    assert_eq!(a.proxy("https://files.b.example/1").await.status(), 502);
    let asked: Vec<_> =
        b.requests.lock().unwrap().iter().map(|sent| sent.split(' ').nth(1).unwrap().to_owned()).collect();
    assert_eq!(asked, ["/.well-known/mimi-protocol-directory"]);
}
