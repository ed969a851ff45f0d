//! The binary, with a store full of real rooms: what its commands say while it runs and while it does not.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    flow::until_room,
    homeserver::no_faults,
    silo::{Disk, Net, PATIENCE, Silo, bridge, bring},
};

/// A gateway's directory: settings, certificate, registration, and a store in `data`.
pub(crate) struct Place {
    dir: tempfile::TempDir,
    engine: &'static str,
    appservice: u16,
}

/// A gateway that runs; killed at the end.
pub(crate) struct Running {
    pub(crate) child: Child,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// Asks it to end, as systemd does, and waits until it did.
    fn terminate(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        assert!(self.child.wait().unwrap().success());
    }
}

/// Waits until something is so, without a runtime.
pub(crate) fn wait_until(what: &str, mut look: impl FnMut() -> bool) {
    let since = Instant::now();
    while !look() {
        assert!(since.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Place {
    pub(crate) fn new(engine: &'static str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.extended_key_usages =
            vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth, rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        fs::write(dir.path().join("c.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(dir.path().join("k.pem"), key.serialize_pem()).unwrap();
        fs::write(dir.path().join("master.key"), "07".repeat(32)).unwrap();
        let appservice = free_port();
        fs::write(
            dir.path().join("mimi-gateway.toml"),
            format!(
                "[homeserver]\nurl = 'http://127.0.0.1:1'\nserver_name = 'a.test'\n\
                 [appservice]\nlisten = '127.0.0.1:{appservice}'\nas_token = 'as'\nhs_token = 'hs'\nsender_localpart = 'mimibot'\n\
                 [provider]\ndomain = 'a.example'\nlisten = '127.0.0.1:{}'\ncertificate = 'c.pem'\nprivate_key = 'k.pem'\n\
                 [store]\nengine = '{engine}'\nmaster_key_file = 'master.key'\n",
                free_port()
            ),
        )
        .unwrap();
        let place = Self { dir, engine, appservice };
        let made = place.command(&["registration"]);
        assert!(made.status.success(), "{}", text(&made.stderr));
        place
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    fn socket(&self) -> PathBuf {
        self.data().join("control.sock")
    }

    /// The binary in this place, without settings of the test's environment.
    pub(crate) fn program(&self, wrapper: &[&str]) -> Command {
        let binary = env!("CARGO_BIN_EXE_mimi-gateway");
        let mut words = wrapper.iter().copied().chain([binary]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words).current_dir(self.path());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("MIMI_GATEWAY_")) {
            command.env_remove(name);
        }
        command
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Output {
        self.program(&[]).args(arguments).output().unwrap()
    }

    /// Starts the gateway and waits until it is up. Its log goes to `gateway.log`.
    pub(crate) fn run(&self, wrapper: &[&str]) -> Running {
        let log = fs::File::create(self.path().join("gateway.log")).unwrap();
        let child = self.program(wrapper).arg("run").stderr(log).stdin(Stdio::null()).spawn().unwrap();
        let mut running = Running { child };
        wait_until("the gateway is up", || {
            assert!(running.child.try_wait().unwrap().is_none(), "it ended: {}", self.log());
            self.log().contains("mimi-gateway is up")
        });
        running
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path().join("gateway.log")).unwrap_or_default()
    }

    /// What `rooms` says, as a table and as JSON.
    fn rooms(&self) -> (String, String) {
        self.list("rooms")
    }

    fn list(&self, command: &str) -> (String, String) {
        let said = [vec![command], vec![command, "--json"]].map(|arguments| {
            let output = self.command(&arguments);
            assert!(output.status.success(), "{}: {}", self.engine, text(&output.stderr));
            text(&output.stdout)
        });
        said.into()
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Two rooms of ours, one with a guest, and one that B hosts.
async fn fill(disk: Disk) {
    let net = Arc::new(Net::default());
    let a = Silo::start_on("a", &["a1"], &net, disk, no_faults()).await;
    let b = Silo::new("b", &["b1"], &net).await;
    let (here, _) = bridge(&a, "a1").await;
    bring(&a, &here, "a1", &b, "b1").await;
    bridge(&a, "a1").await;
    let (there, uri) = bridge(&b, "b1").await;
    bring(&b, &there, "b1", &a, "a1").await;
    until_room(&a, &uri, "active").await;
    a.stop().await;
    b.stop().await;
}

async fn rooms_are_the_same_both_ways(engine: &'static str) {
    let place = Place::new(engine);
    assert!(place.rooms().0.starts_with("No rooms are bridged yet."));
    assert!(!place.data().exists(), "a command makes no store");
    fill(if engine == "sled" { Disk::Sled(place.data()) } else { Disk::Sqlite(place.data()) }).await;
    let stopped = place.rooms();
    let rows: Vec<serde_json::Value> = stopped.1.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut roles: Vec<_> =
        rows.iter().map(|row| (row["role"].as_str().unwrap(), row["state"].as_str().unwrap())).collect();
    roles.sort_unstable();
    assert_eq!(roles, [("follower", "active"), ("hub", "active"), ("hub", "active")]);
    assert!(rows.iter().all(|row| row["epoch"].is_u64()), "{rows:?}");

    let fingerprints = || {
        let output = place.command(&["rooms", "--fingerprints"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let rows = text(&output.stdout);
        let rows: Vec<serde_json::Value> = rows.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let hashed = |row: &serde_json::Value| {
            let length = |field: &str| row[field].as_str().map(str::len);
            ["epoch_authenticator", "participants_sha256", "log_sha256"].map(length) == [Some(64); 3]
        };
        assert!(rows.len() == 3 && rows.iter().all(hashed), "{rows:?}");
        rows
    };
    let compared = fingerprints();

    let running = place.run(&[]);
    assert_eq!(fingerprints(), compared, "{engine}");
    let socket = fs::symlink_metadata(place.socket()).unwrap();
    assert!(socket.file_type().is_socket());
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
    assert_eq!(place.rooms(), stopped, "{engine}");
    running.terminate();
    assert!(!place.socket().exists());
    assert_eq!(place.rooms(), stopped, "{engine}");

    // One that is killed leaves its socket, and the next one takes its place.
    drop(place.run(&[]));
    assert!(place.socket().exists());
    assert_eq!(place.rooms(), stopped, "{engine}");
    let running = place.run(&[]);
    // The command in between opened and closed the store in good order; that hides nothing (DESIGN 9).
    assert_eq!(place.log().contains("all MLS state counts as old"), engine == "sled", "{}", place.log());
    wait_until("an answer", || place.command(&["rooms"]).status.success());
    assert_eq!(place.rooms(), stopped, "{engine}");

    // A gateway that has the store and does not answer is told of, not waited for.
    fs::remove_file(place.socket()).unwrap();
    let silent = place.command(&["rooms"]);
    assert_eq!(silent.status.code(), Some(9));
    let told = text(&silent.stderr);
    assert!(told.contains("another process has the store") && told.contains("control socket"), "{told}");
    assert_eq!(told.lines().count(), 1);
    drop(running);
}

#[tokio::test(flavor = "multi_thread")]
async fn rooms_are_the_same_from_a_gateway_that_runs() {
    rooms_are_the_same_both_ways("sqlite").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rooms_are_the_same_from_a_gateway_that_runs_on_sled() {
    rooms_are_the_same_both_ways("sled").await;
}

/// A transaction with one large event, as the homeserver sends it; the status of the answer, if one comes.
fn transaction(place: &Place, number: u32) -> Option<u16> {
    let event = serde_json::json!({
        "type": "m.room.message", "event_id": format!("$e{number}"), "room_id": "!nowhere:a.test",
        "sender": "@a1:a.test", "origin_server_ts": 1, "content": {"msgtype": "m.text", "body": "x".repeat(60_000)},
    });
    put(place, number, &serde_json::json!({ "events": [event] }))
}

fn put(place: &Place, number: u32, body: &serde_json::Value) -> Option<u16> {
    let body = body.to_string();
    let mut stream = TcpStream::connect(("127.0.0.1", place.appservice)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "PUT /_matrix/app/v1/transactions/{number} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer hs\r\n\
         Content-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).ok()?;
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer.split(' ').nth(1)?.parse().ok()
}

/// What the homeserver sends and nobody can read is there to be looked at, with the gateway and without.
#[test]
fn what_was_set_aside_is_listed() {
    let place = Place::new("sqlite");
    let running = place.run(&[]);
    assert_eq!(place.list("quarantine"), ("Nothing was set aside.\n".to_owned(), String::new()));
    let events = serde_json::json!([
        {"type": "m.room.message", "event_id": "$odd", "room_id": "!r:a.test", "sender": "nobody", "content": {"body": "secret"}},
        {"type": 7},
    ]);
    assert_eq!(put(&place, 1, &serde_json::json!({ "events": events })), Some(200));
    // A repeat is the same event; what has no id cannot be known again.
    assert_eq!(put(&place, 2, &serde_json::json!({ "events": [events[0]] })), Some(200));
    let listed = place.list("quarantine");
    assert!(!listed.0.contains("secret") && !listed.1.contains("secret"), "{listed:?}");
    let rows: Vec<serde_json::Value> = listed.1.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 2, "{listed:?}");
    let odd = rows.iter().find(|row| row["event"] == "$odd").unwrap();
    assert_eq!(odd["place"], "!r:a.test");
    assert!(odd["why"].as_str().unwrap().starts_with("unreadable: "), "{odd}");
    running.terminate();
    assert_eq!(place.list("quarantine"), listed);
}

/// The disk refuses to write on: the process ends with a code of its own, and its next start has everything.
fn a_store_that_fails_ends_the_process(engine: &'static str) {
    let place = Place::new(engine);
    // Files of at most 2 MiB, in units of 512 bytes; without the signal, writing fails as on a broken disk.
    let limited = ["sh", "-c", "trap '' XFSZ; ulimit -f 4096; exec \"$0\" \"$@\""];
    let mut running = place.run(&limited);
    let mut number = 0;
    let mut acknowledged = 0;
    wait_until("the process ends", || {
        number += 1;
        acknowledged += u32::from(transaction(&place, number) == Some(200));
        running.child.try_wait().unwrap().is_some()
    });
    assert_eq!(running.child.wait().unwrap().code(), Some(10), "{}", place.log());
    assert!(acknowledged > 3, "{acknowledged}");
    let log = place.log();
    assert!(log.contains("the gateway ends itself") && log.contains("start it again"), "{log}");
    assert!(log.lines().last().unwrap().starts_with("error: the gateway stopped: "), "{log}");
    assert!(!place.socket().exists());

    let running = place.run(&[]);
    assert_eq!(transaction(&place, number + 1), Some(200), "{}", place.log());
    running.terminate();
}

#[test]
fn a_store_that_fails_ends_the_process_on_sqlite() {
    a_store_that_fails_ends_the_process("sqlite");
}

#[test]
fn a_store_that_fails_ends_the_process_on_sled() {
    a_store_that_fails_ends_the_process("sled");
}
