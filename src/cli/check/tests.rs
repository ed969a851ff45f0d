//! What `check` says of good and bad set-ups, with real certificates and a homeserver that is a small server.

use std::{fs, net::SocketAddr, path::PathBuf, time::SystemTime};

use axum::{
    Json, Router,
    http::{HeaderMap, HeaderName, StatusCode, header},
    routing::{get, post},
};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, date_time_ymd};
use serde_json::json;

use super::*;
use crate::store::{EngineChoice, OpenOptions};

/// A directory with everything in place; each test spoils something.
struct Place {
    dir: tempfile::TempDir,
    listen: SocketAddr,
    provider: SocketAddr,
}

struct Certificate {
    names: Vec<String>,
    years: (i32, i32),
    usages: Vec<ExtendedKeyUsagePurpose>,
}

impl Default for Certificate {
    fn default() -> Self {
        Self { names: vec!["a.example".into()], years: (2000, 4000), usages: Vec::new() }
    }
}

/// PEMs of a CA, and of a certificate and key that it issued.
fn issue(wanted: Certificate) -> (String, String, String) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::new(wanted.names).unwrap();
    (leaf.not_before, leaf.not_after) = (date_time_ymd(wanted.years.0, 1, 1), date_time_ymd(wanted.years.1, 1, 1));
    leaf.extended_key_usages = wanted.usages;
    let leaf = leaf.signed_by(&key, &Issuer::from_params(&ca, &ca_key)).unwrap();
    (ca_pem, leaf.pem(), key.serialize_pem())
}

impl Place {
    async fn new(homeserver: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Ports that were free a moment ago.
        let free = async || tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let (listen, provider) = (free().await, free().await);
        let place = Self { dir, listen, provider };
        place.certificates(Certificate::default());
        place.private("master.key", &"ab".repeat(32));
        place.write(
            "c.toml",
            &format!(
                "[homeserver]\nurl = '{homeserver}'\nserver_name = 'a.example'\n[appservice]\nlisten = '{listen}'\n\
                 [provider]\nlisten = '{provider}'\ncertificate = 'cert.pem'\nprivate_key = 'key.pem'\n[store]\nmaster_key_file = 'master.key'\n\
                 [peers.'b.example']\nca = 'ca.pem'\n"
            ),
        );
        Registration::generate("a.example".try_into().unwrap(), &format!("http://{listen}"), "mimi", Some("mimi_bot"))
            .unwrap()
            .write_new(&place.path("registration.yaml"))
            .unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }
    fn private(&self, name: &str, text: &str) {
        self.write(name, text);
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    fn certificates(&self, wanted: Certificate) {
        let (ca, cert, key) = issue(wanted);
        self.write("ca.pem", &ca);
        self.write("cert.pem", &cert);
        self.private("key.pem", &key);
    }
    fn registration(&self) -> Registration {
        Registration::load(&self.path("registration.yaml")).unwrap()
    }
    async fn check(&self, offline: bool) -> (Exit, String) {
        let mut tell = |_: &report::Line| {};
        let mut report = Report::new(&mut tell);
        all(&self.path("c.toml"), offline, &mut report).await;
        (report.exit(false), report.text())
    }
}

/// How the stand-in for a homeserver behaves.
#[derive(Clone, Default)]
struct Behaviour {
    date: Option<String>,
    knows: Option<Registration>,
}

/// Starts a homeserver that pings back; answers its URL.
async fn homeserver(behaviour: Behaviour) -> (String, tokio::sync::watch::Sender<Behaviour>) {
    let (change, current) = tokio::sync::watch::channel(behaviour);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let knows = |behaviour: &Behaviour, headers: &HeaderMap| {
        let shown = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        behaviour.knows.clone().filter(|registration| shown == format!("Bearer {}", registration.base.as_token))
    };
    let (for_versions, for_whoami, for_ping) = (current.clone(), current.clone(), current);
    let router = Router::new()
        .route(
            "/_matrix/client/versions",
            get(move || async move {
                let date =
                    for_versions.borrow().date.clone().unwrap_or_else(|| httpdate::fmt_http_date(SystemTime::now()));
                ([(HeaderName::from_static("date"), date)], Json(json!({"versions": ["v1.1", "v1.11"]})))
            }),
        )
        .route(
            "/_matrix/client/v3/account/whoami",
            get(move |headers: HeaderMap| async move {
                match knows(&for_whoami.borrow(), &headers) {
                    Some(r) => {
                        (StatusCode::OK, Json(json!({"user_id": format!("@{}:a.example", r.base.sender_localpart)})))
                    }
                    None => (StatusCode::UNAUTHORIZED, Json(json!({"errcode": "M_UNKNOWN_TOKEN"}))),
                }
            }),
        )
        .route(
            "/_synapse/admin/v1/event_reports",
            get(|headers: HeaderMap| async move {
                match headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()) {
                    Some("Bearer admin-token") => (StatusCode::OK, Json(json!({"event_reports": [], "total": 0}))),
                    _ => (StatusCode::FORBIDDEN, Json(json!({"errcode": "M_FORBIDDEN"}))),
                }
            }),
        )
        .route(
            "/_matrix/client/v1/appservice/mimi/ping",
            post(move |headers: HeaderMap| async move {
                let registration = knows(&for_ping.borrow(), &headers).unwrap();
                let url = format!("{}/_matrix/app/v1/ping", registration.base.url.unwrap());
                let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
                match client.post(url).bearer_auth(registration.base.hs_token).send().await {
                    Ok(answer) if answer.status().is_success() => (StatusCode::OK, Json(json!({"duration_ms": 3}))),
                    Ok(_) => (StatusCode::BAD_GATEWAY, Json(json!({"errcode": "M_BAD_STATUS"}))),
                    Err(_) => (StatusCode::BAD_GATEWAY, Json(json!({"errcode": "M_CONNECTION_FAILED"}))),
                }
            }),
        );
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, change)
}

#[tokio::test]
async fn all_is_well() {
    let (url, behaviour) = homeserver(Behaviour::default()).await;
    let place = Place::new(&url).await;
    behaviour.send_modify(|b| b.knows = Some(place.registration()));
    let (exit, text) = place.check(false).await;
    assert_eq!(exit, Exit::Success, "{text}");
    // No peer runs here: that is worth a warning, not a failure.
    assert!(text.lines().all(|line| line.starts_with("ok ") || line.starts_with("warn  peer ")), "{text}");
    for part in [
        "is for a.example",
        "belongs to the certificate",
        "up to v1.11",
        "@mimi_bot:a.example",
        "reaches this check in 3 ms",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[tokio::test]
async fn the_administrators_token_is_tried() {
    let (url, behaviour) = homeserver(Behaviour::default()).await;
    for (token, wanted) in [
        ("admin-token", "ok    admin token    the homeserver lets us see what users report"),
        ("secret-of-another", "warn  admin token    the homeserver refuses `homeserver.admin_token` (403 Forbidden)"),
    ] {
        let place = Place::new(&url).await;
        behaviour.send_modify(|b| b.knows = Some(place.registration()));
        let config = fs::read_to_string(place.path("c.toml")).unwrap();
        place.private("token", token);
        place.write("c.toml", &config.replace("[appservice]", "admin_token_file = 'token'\n[appservice]"));
        let (exit, text) = place.check(false).await;
        assert!(exit == Exit::Success && text.contains(wanted), "{text}");
        assert!(!text.contains("chmod") && !text.contains("secret-of-another"), "{text}");
        fs::set_permissions(place.path("token"), fs::Permissions::from_mode(0o644)).unwrap();
        let (_, text) = place.check(true).await;
        assert!(text.contains("warn  admin token") && text.contains("token can be read by every user"), "{text}");
    }
}

#[tokio::test]
async fn a_homeserver_that_does_not_know_us_says_what_to_do() {
    let (url, _behaviour) = homeserver(Behaviour::default()).await;
    let (exit, text) = Place::new(&url).await.check(false).await;
    assert_eq!(exit, Exit::Appservice, "{text}");
    assert!(text.contains("M_UNKNOWN_TOKEN") && text.contains("app_service_config_files"), "{text}");
    assert!(text.contains("skip  ping"), "{text}");
}

#[tokio::test]
async fn a_homeserver_with_another_hs_token_does_not_reach_us() {
    let (url, behaviour) = homeserver(Behaviour::default()).await;
    let place = Place::new(&url).await;
    let mut known = place.registration();
    known.base.hs_token = "another".into();
    behaviour.send_modify(|b| b.knows = Some(known));
    let (exit, text) = place.check(false).await;
    assert_eq!(exit, Exit::Appservice, "{text}");
    assert!(text.contains("M_BAD_STATUS") && text.contains("hs_token"), "{text}");
}

#[tokio::test]
async fn a_homeserver_that_calls_elsewhere_does_not_reach_us() {
    let (url, behaviour) = homeserver(Behaviour::default()).await;
    let place = Place::new(&url).await;
    let mut known = place.registration();
    known.base.url = Some("http://127.0.0.1:1".into());
    behaviour.send_modify(|b| b.knows = Some(known));
    let (exit, text) = place.check(false).await;
    assert_eq!(exit, Exit::Appservice, "{text}");
    assert!(text.contains(&format!("must reach {}", place.listen)), "{text}");
}

#[tokio::test]
async fn a_clock_that_is_off_is_seen() {
    let (url, behaviour) = homeserver(Behaviour::default()).await;
    let place = Place::new(&url).await;
    behaviour.send_modify(|b| {
        b.knows = Some(place.registration());
        b.date = Some("Thu, 01 Jan 2015 00:00:00 GMT".into());
    });
    let (exit, text) = place.check(false).await;
    assert_eq!(exit, Exit::Clock, "{text}");
    assert!(text.contains("s ahead of the homeserver"), "{text}");
}

#[tokio::test]
async fn an_absent_homeserver_is_a_failure_of_its_own() {
    let (exit, text) = Place::new("http://127.0.0.1:1").await.check(false).await;
    assert_eq!(exit, Exit::Homeserver, "{text}");
    assert!(text.contains("`homeserver.url`"), "{text}");
}

#[tokio::test]
async fn something_that_is_no_homeserver_is_told_apart() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new()).await });
    let (exit, text) = Place::new(&url).await.check(false).await;
    assert_eq!(exit, Exit::Homeserver, "{text}");
    assert!(text.contains("not as a Matrix homeserver"), "{text}");
}

#[tokio::test]
async fn certificates_that_no_peer_would_believe() {
    let place = Place::new("http://127.0.0.1:1").await;
    let server = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let both = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    for (wanted, fails) in [
        (
            Certificate { names: vec!["b.example".into()], ..Certificate::default() },
            Some("has b.example as subject alternative name, not a.example"),
        ),
        (Certificate { names: Vec::new(), ..Certificate::default() }, Some("no DNS name")),
        (Certificate { years: (2000, 2010), ..Certificate::default() }, Some("expired on Jan  1 00:00:00 2010")),
        (Certificate { years: (3000, 3010), ..Certificate::default() }, Some("not valid before")),
        (Certificate { usages: server, ..Certificate::default() }, Some("lacks client authentication")),
        (Certificate { usages: both, ..Certificate::default() }, None),
    ] {
        place.certificates(wanted);
        let (exit, text) = place.check(true).await;
        match fails {
            Some(why) => assert!(exit == Exit::Certificate && text.contains(why), "{why} in {text}"),
            None => assert_eq!(exit, Exit::Success, "{text}"),
        }
    }
}

#[tokio::test]
async fn a_certificate_near_its_end_is_a_warning_only() {
    let place = Place::new("http://127.0.0.1:1").await;
    let config = Config::load(&place.path("c.toml")).unwrap();
    let domain = config.provider_domain().unwrap();
    // The certificate ends with the year 3999.
    let end = date_time_ymd(4000, 1, 1).unix_timestamp();
    let mut tell = |_: &report::Line| {};
    let mut report = Report::new(&mut tell);
    certificates::check(&config, &domain, end - 3 * 86_400, &mut report);
    assert!(report.text().contains("warn  certificate") && report.text().contains("in 3 days"), "{}", report.text());
    assert_eq!(report.exit(false), Exit::Success, "{}", report.text());
}

#[tokio::test]
async fn a_key_of_another_certificate_and_a_ca_that_is_none() {
    let place = Place::new("http://127.0.0.1:1").await;
    let (_, _, other_key) = issue(Certificate::default());
    place.private("key.pem", &other_key);
    let (exit, text) = place.check(true).await;
    assert!(exit == Exit::Certificate && text.contains("FAIL  private key"), "{text}");

    place.certificates(Certificate::default());
    fs::copy(place.path("cert.pem"), place.path("ca.pem")).unwrap();
    let (exit, text) = place.check(true).await;
    assert!(exit == Exit::Certificate && text.contains("is no CA certificate"), "{text}");

    fs::remove_file(place.path("ca.pem")).unwrap();
    let (exit, text) = place.check(true).await;
    assert!(exit == Exit::Certificate && text.contains("peers.\"b.example\".ca"), "{text}");
}

#[tokio::test]
async fn a_registration_that_is_missing_or_does_not_fit() {
    let place = Place::new("http://127.0.0.1:1").await;
    let config = fs::read_to_string(place.path("c.toml")).unwrap();
    place.write("c.toml", &config.replace("[provider]", "url = 'http://elsewhere:1'\n[provider]"));
    let (exit, text) = place.check(true).await;
    assert!(exit == Exit::Registration && text.contains("make them the same"), "{text}");
    fs::remove_file(place.path("registration.yaml")).unwrap();
    let (exit, text) = place.check(true).await;
    assert!(exit == Exit::Registration && text.contains("mimi-gateway registration"), "{text}");
}

#[tokio::test]
async fn readable_secrets_and_sled_get_a_warning() {
    let place = Place::new("http://127.0.0.1:1").await;
    let config = fs::read_to_string(place.path("c.toml")).unwrap();
    place.write("c.toml", &config.replace("[store]", "[store]\nengine = 'sled'"));
    for name in ["registration.yaml", "key.pem", "master.key"] {
        fs::set_permissions(place.path(name), fs::Permissions::from_mode(0o644)).unwrap();
    }
    let (exit, text) = place.check(true).await;
    assert_eq!(exit, Exit::Success, "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("warn") && line.contains("chmod")).count(), 3, "{text}");
    assert!(text.contains("sled 0.34 can lose"), "{text}");
    let tokens = place.registration();
    assert!(!text.contains(&tokens.base.as_token) && !text.contains(&tokens.base.hs_token));
}

#[tokio::test]
async fn a_peer_that_the_envelope_denies_gets_a_warning() {
    let place = Place::new("http://127.0.0.1:1").await;
    let config = fs::read_to_string(place.path("c.toml")).unwrap();
    for (envelope, peer, warnings) in [
        ("deny_providers = ['*.example']", "", 1),
        ("providers = ['c.example']", "", 1),
        ("providers = ['b.*']", "", 0),
        // Cut off in both ways, by whoever meant it.
        ("deny_providers = ['b.example']", "allowed = false\n", 0),
    ] {
        place.write("c.toml", &format!("{config}{peer}[envelope]\n{envelope}\n"));
        let (exit, text) = place.check(true).await;
        let told = text.lines().filter(|line| line.starts_with("warn") && line.contains("b.example is a peer"));
        assert_eq!((exit, told.count()), (Exit::Success, warnings), "{envelope}: {text}");
    }
}

#[tokio::test]
async fn every_fault_of_the_configuration_gets_a_line() {
    let place = Place::new("ftp://x").await;
    let config = fs::read_to_string(place.path("c.toml")).unwrap();
    place.write("c.toml", &format!("{config}[rooms]\ngap_check_interval_seconds = 0\n"));
    let (exit, text) = place.check(false).await;
    assert_eq!(exit, Exit::Config);
    assert_eq!(text.lines().filter(|line| line.starts_with("FAIL")).count(), 2, "{text}");
}

/// A store of the place's settings, with this master key.
fn store_of(place: &Place, engine: EngineChoice, key: &str) -> crate::store::Opened {
    let key = crate::store::MasterKey::from_bytes(hex::decode(key.repeat(32)).unwrap().try_into().unwrap());
    crate::store::open(&OpenOptions::new(engine, place.path("data"), key)).unwrap()
}

#[tokio::test]
async fn the_store_is_looked_into_and_stays_as_it_is() {
    let place = Place::new("http://127.0.0.1:1").await;
    let (exit, text) = place.check(true).await;
    assert!(exit == Exit::Success && text.contains("will be created at the first start"), "{text}");
    assert!(!place.path("data").exists());

    let store = store_of(&place, EngineChoice::Sqlite, "ab");
    let (exit, text) = place.check(true).await;
    assert!(exit == Exit::Success && text.contains("is in use by a running gateway"), "{text}");
    store.database.store().close().await.unwrap();
    drop(store);
    let (exit, text) = place.check(true).await;
    assert!(exit == Exit::Success && text.contains("opens with this master key\n"), "{text}");

    drop(store_of(&place, EngineChoice::Sqlite, "ab"));
    for _ in 0..2 {
        let (exit, text) = place.check(true).await;
        assert!(exit == Exit::Success && text.contains("the last stop was a crash"), "{text}");
    }
    let report = store_of(&place, EngineChoice::Sqlite, "ab").report;
    assert_eq!((report.generation, report.unclean_stop), (3, true));
}

#[tokio::test]
async fn a_store_that_a_start_would_refuse_says_what_to_do() {
    let place = Place::new("http://127.0.0.1:1").await;
    let config = fs::read_to_string(place.path("c.toml")).unwrap();
    store_of(&place, EngineChoice::Sqlite, "ab").database.store().close().await.unwrap();
    let fails = async |why: &str, advice: &str| {
        let (exit, text) = place.check(true).await;
        assert_eq!(exit, Exit::Store, "{text}");
        let line = text.lines().find(|line| line.starts_with("FAIL  store")).unwrap();
        assert!(line.contains(why) && line.contains(advice), "{why}, {advice} in {line}");
    };
    place.private("master.key", &"cd".repeat(32));
    fails("not the one that this data directory was made with", "`store.master_key_file` has to name the key").await;
    place.private("master.key", &"ab".repeat(32));

    place.write("c.toml", &config.replace("[store]", "[store]\nengine = 'sled'"));
    fails("holds a sqlite store, the settings choose sled", "change the setting or the directory").await;
    place.write("c.toml", &config);

    let file = place.path("data/store.sqlite");
    let good = fs::read(&file).unwrap();
    fs::write(&file, &good[..good.len() / 2]).unwrap();
    fails("is damaged", "restore a backup").await;
    fs::remove_file(&file).unwrap();
    fails("store.sqlite is missing", "restore a backup").await;

    place.write("c.toml", &config.replace("[store]", "[store]\npath = 'master.key/data'"));
    fails("Not a directory", "Let the gateway's user read and write there").await;
}

#[tokio::test]
async fn a_port_of_another_program_is_a_failure_of_its_own() {
    let place = Place::new("http://127.0.0.1:1").await;
    let other = tokio::net::TcpListener::bind(place.provider).await.unwrap();
    let (exit, text) = place.check(true).await;
    assert_eq!(exit, Exit::Listen, "{text}");
    let said = format!("FAIL  port           cannot listen on {} (`provider.listen`)", place.provider);
    assert!(text.contains(&said) && text.contains("Another program has this port"), "{text}");
    // A gateway that runs has its own ports.
    let _store = store_of(&place, EngineChoice::Sqlite, "ab");
    let (exit, text) = place.check(true).await;
    assert!(exit == Exit::Success && text.contains("in use by the running gateway"), "{text}");
    drop(other);
}

#[tokio::test]
async fn strict_makes_warnings_count() {
    let place = Place::new("http://127.0.0.1:1").await;
    let exits = async || {
        let mut tell = |_: &report::Line| {};
        let mut report = Report::new(&mut tell);
        all(&place.path("c.toml"), true, &mut report).await;
        (report.exit(false), report.exit(true))
    };
    assert_eq!(exits().await, (Exit::Success, Exit::Success));
    fs::set_permissions(place.path("key.pem"), fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(exits().await, (Exit::Success, Exit::Warnings));
    fs::remove_file(place.path("cert.pem")).unwrap();
    assert_eq!(exits().await, (Exit::Certificate, Exit::Certificate));
}
