//! The binary from outside: exit codes, where text goes, what registration writes.
#![expect(clippy::unwrap_used, reason = "a test: a panic is a failure with a place")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, ChildStderr, Command, Output, Stdio},
    sync::mpsc,
    time::Duration,
};

/// How long a line of the log may take.
const PATIENCE: Duration = Duration::from_secs(20);

fn gateway(dir: &Path, arguments: &[&str]) -> Output {
    command(dir).args(arguments).output().unwrap()
}

fn command(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mimi-gateway"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("MIMI_GATEWAY_")) {
        command.env_remove(name);
    }
    command.current_dir(dir);
    command
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn place() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let text = "[homeserver]\nurl = 'http://127.0.0.1:1'\nserver_name = 'a.example'\n\
                [provider]\ncertificate = 'c.pem'\nprivate_key = 'k.pem'\n[store]\nmaster_key_file = 'master.key'\n";
    fs::write(dir.path().join("mimi-gateway.toml"), text).unwrap();
    fs::write(dir.path().join("master.key"), "ab".repeat(32)).unwrap();
    dir
}

#[test]
fn help_and_version_go_to_standard_output() {
    let dir = place();
    let help = gateway(dir.path(), &["--help"]);
    assert!(help.status.success());
    for part in ["registration", "check", "rooms", "quarantine", "Exit codes:", "First steps:", "MIMI_GATEWAY_"] {
        assert!(out(&help).contains(part), "{part}");
    }
    let version = gateway(dir.path(), &["version"]);
    assert!(version.status.success());
    for part in [env!("CARGO_PKG_VERSION"), "draft-ietf-mimi-protocol-06", "sqlite", "sled"] {
        assert!(out(&version).contains(part), "{part}");
    }
}

#[test]
fn a_wrong_command_line_is_2_and_a_wrong_configuration_3() {
    let dir = place();
    assert_eq!(gateway(dir.path(), &["rum"]).status.code(), Some(2));
    assert_eq!(gateway(dir.path(), &[]).status.code(), Some(2));
    let missing = gateway(dir.path(), &["--config", "nowhere.toml", "run"]);
    assert_eq!(missing.status.code(), Some(3));
    assert!(err(&missing).starts_with("error: cannot read the configuration file nowhere.toml"), "{}", err(&missing));
    assert_eq!(err(&missing).lines().count(), 1);
    let file = dir.path().join("mimi-gateway.toml");
    let text = fs::read_to_string(&file).unwrap().replace("url", "urll");
    fs::write(&file, text).unwrap();
    let wrong = gateway(dir.path(), &["rooms"]);
    assert_eq!(wrong.status.code(), Some(3));
    assert!(
        err(&wrong).contains("mimi-gateway.toml:2: unknown key `homeserver.urll`; did you mean `homeserver.url`?"),
        "{}",
        err(&wrong)
    );
}

#[test]
fn mirroring_needs_the_gateway_and_says_so() {
    let dir = place();
    let absent = gateway(dir.path(), &["mirror", "--jobs"]);
    assert_eq!(absent.status.code(), Some(14), "{}", err(&absent));
    assert!(err(&absent).contains("start it with `mimi-gateway run`"), "{}", err(&absent));
    fs::write(dir.path().join("list"), "Kitchen\n").unwrap();
    let wrong = gateway(dir.path(), &["mirror", "--file", "list"]);
    assert_eq!(wrong.status.code(), Some(13));
    assert!(err(&wrong).contains("line 1"), "{}", err(&wrong));
    for arguments in [&["mirror"] as &[&str], &["mirror", "--all", "--jobs"], &["mirror", "--all", "--rate", "0"]] {
        assert_eq!(gateway(dir.path(), arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn mirroring_refuses_options_that_do_not_go_together() {
    let dir = place();
    for (arguments, told) in [
        (&["--all", "--used"] as &[&str], "'--used' cannot be used with '--all'"),
        (&["--all", "--with-space"], "'--with-space' cannot be used with '--all'"),
        (&["--jobs", "--yes"], "'--jobs' cannot be used with '--yes'"),
        (&["--stop", "3", "--yes"], "'--stop <JOB>' cannot be used with '--yes'"),
        (&["--undo", "3", "--rate", "5"], "'--undo <JOB>' cannot be used with '--rate <N>'"),
        (&["--jobs", "--detach"], "'--jobs' cannot be used with '--detach'"),
    ] {
        let arguments: Vec<&str> = ["mirror"].iter().chain(arguments).copied().collect();
        let refused = gateway(dir.path(), &arguments);
        let text = err(&refused);
        // Which of the two is named first is not ours to say.
        let (one, other) = told.split_once(" cannot be used with ").unwrap();
        let both = [told.to_owned(), format!("{other} cannot be used with {one}")];
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}: {text}");
        assert!(both.iter().any(|told| text.contains(told)), "{arguments:?}: {text}");
    }
    // These do, and get as far as the gateway that is not there.
    for arguments in
        [&["mirror", "--undo", "3", "--used", "--yes"] as &[&str], &["mirror", "--all", "--yes", "--detach"]]
    {
        assert_eq!(gateway(dir.path(), arguments).status.code(), Some(14), "{arguments:?}");
    }
}

#[test]
fn registration_is_private_and_never_overwritten() {
    let dir = place();
    let first = gateway(dir.path(), &["registration", "--url", "http://gateway:9009"]);
    assert!(first.status.success(), "{}", err(&first));
    assert!(out(&first).contains("app_service_config_files"));
    let path = dir.path().join("registration.yaml");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("url: http://gateway:9009") && text.contains(r"a\.example"), "{text}");
    let second = gateway(dir.path(), &["registration"]);
    assert_eq!(second.status.code(), Some(4));
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    // Tokens go to the file alone.
    let token = text.lines().find_map(|line| line.strip_prefix("as_token: ")).unwrap();
    assert!(!out(&first).contains(token) && !err(&second).contains(token));
    let shown = gateway(dir.path(), &["registration", "--out", "-"]);
    assert!(shown.status.success() && out(&shown).contains("as_token: ") && !out(&shown).contains(token));
}

#[test]
fn check_ends_with_the_lowest_code_and_tells_all() {
    let dir = place();
    let output = gateway(dir.path(), &["check", "--offline"]);
    // Neither registration (4) nor certificate (5) is there.
    assert_eq!(output.status.code(), Some(4), "{}", out(&output));
    for part in ["ok    configuration", "FAIL  registration", "FAIL  certificate", "skip  ping"] {
        assert!(out(&output).contains(part), "{part} in {}", out(&output));
    }
}

/// A place where `run` starts: registration, certificate until this year, and ports of its own.
fn running_place(until: i32) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let port = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text = format!(
        "[homeserver]\nurl = 'http://127.0.0.1:1'\nserver_name = 'a.example'\n[appservice]\nlisten = '127.0.0.1:{}'\n\
         [provider]\nlisten = '127.0.0.1:{}'\ncertificate = 'c.pem'\nprivate_key = 'k.pem'\n\
         [store]\nmaster_key_file = 'master.key'\n",
        port(),
        port()
    );
    fs::write(dir.path().join("mimi-gateway.toml"), text).unwrap();
    fs::write(dir.path().join("master.key"), "ab".repeat(32)).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut certificate = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
    certificate.not_after = rcgen::date_time_ymd(until, 2, 3);
    fs::write(dir.path().join("c.pem"), certificate.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(dir.path().join("k.pem"), key.serialize_pem()).unwrap();
    assert!(gateway(dir.path(), &["registration"]).status.success());
    dir
}

/// A gateway that was started; killed at the end.
struct Running {
    child: Child,
    /// Its log, read so far. Nothing is written to a closed one.
    log: BufReader<ChildStderr>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// Starts it and reads its log up to the line that says this. It is ended if that line does not come.
    fn start(dir: &Path, until: &str) -> (Self, String) {
        let mut child = command(dir).arg("run").stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut running = Self { child, log };
        let (found, waiting) = mpsc::channel::<()>();
        let pid = running.child.id().to_string();
        std::thread::spawn(move || {
            if waiting.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
                let _ = Command::new("kill").arg(pid).status();
            }
        });
        let (mut seen, mut last) = (String::new(), 0);
        while running.log.read_line(&mut seen).unwrap() > 0 {
            if seen[last..].contains(until) {
                drop(found);
                return (running, seen);
            }
            last = seen.len();
        }
        panic!("it ended without {until:?}: {seen}");
    }

    fn terminate(mut self) {
        assert!(Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap().success());
        assert!(self.child.wait().unwrap().success());
    }
}

fn store_line(dir: &Path) -> String {
    let output = gateway(dir, &["check", "--offline"]);
    out(&output).lines().find(|line| line.contains(" store ")).unwrap().to_owned()
}

#[test]
fn a_start_that_fails_has_its_code_and_leaves_the_store_alone() {
    let dir = running_place(4000);
    let fails = |code: i32, why: &str, advice: &str| {
        let output = gateway(dir.path(), &["run"]);
        let text = err(&output);
        assert_eq!(output.status.code(), Some(code), "{text}");
        let last = text.lines().last().unwrap();
        assert!(last.starts_with("error: the gateway did not start: "), "{text}");
        assert!(last.contains(why) && last.contains(advice), "{why}, {advice} in {last}");
    };
    let everything_that_fails = |dir: &Path| {
        for (file, code, why, advice) in [
            ("registration.yaml", 4, "registration.yaml: No such file", "add its path to `app_service_config_files`"),
            ("c.pem", 5, "provider.certificate: cannot read", "name a PEM file that is there"),
            ("k.pem", 5, "provider.private_key: cannot read", "name a PEM file that is there"),
        ] {
            fs::rename(dir.join(file), dir.join("away")).unwrap();
            fails(code, why, advice);
            fs::rename(dir.join("away"), dir.join(file)).unwrap();
        }
        let config = fs::read_to_string(dir.join("mimi-gateway.toml")).unwrap();
        for (setting, section) in [("appservice.listen", "[appservice]"), ("provider.listen", "[provider]")] {
            let (_, rest) = config.split_once(section).unwrap();
            let address = rest.split('\'').nth(1).unwrap();
            let _other = TcpListener::bind(address).unwrap();
            fails(11, &format!("cannot listen on {address} (`{setting}`)"), "another program has this port");
        }
    };
    everything_that_fails(dir.path());
    assert!(!dir.path().join("data").exists(), "no store is made by a start that fails");

    let (running, log) = Running::start(dir.path(), "mimi-gateway is up");
    assert!(log.contains("generation=1"), "{log}");
    assert!(store_line(dir.path()).contains("in use by a running gateway"));
    // A second one on the same store is told as that, not as a port in use.
    fails(9, "in use by another process", "stop it first");
    running.terminate();
    assert!(store_line(dir.path()).ends_with("opens with this master key"));
    everything_that_fails(dir.path());
    assert!(store_line(dir.path()).ends_with("opens with this master key"), "{}", store_line(dir.path()));
    let (_running, log) = Running::start(dir.path(), "mimi-gateway is up");
    assert!(log.contains("generation=2") && log.contains("unclean_stop=false"), "{log}");
}

#[test]
fn a_certificate_that_expired_is_an_error_in_the_log() {
    let dir = running_place(2010);
    let (_running, log) = Running::start(dir.path(), "expired on");
    let line = log.lines().last().unwrap();
    assert!(line.contains("ERROR") && line.contains("the certificate expired on Feb  3 00:00:00 2010"), "{line}");
    assert!(line.contains("renew it and restart the gateway"), "{line}");
}

/// Synapse refuses every question that comes with a token, others only the ping.
#[test]
fn a_homeserver_that_does_not_know_our_token_is_told_once_with_what_to_do() {
    told_once_with_what_to_do(3, 0);
    told_once_with_what_to_do(0, 3);
}

/// The homeserver refuses so many questions and pings.
fn told_once_with_what_to_do(refused_questions: u32, refused_pings: u32) {
    let dir = running_place(4000);
    let homeserver = TcpListener::bind("127.0.0.1:0").unwrap();
    let file = dir.path().join("mimi-gateway.toml");
    let text = fs::read_to_string(&file).unwrap();
    let url = format!("http://{}", homeserver.local_addr().unwrap());
    fs::write(&file, text.replace("http://127.0.0.1:1", &url)).unwrap();
    // It is there, and has not read the registration. Then it has.
    std::thread::spawn(move || {
        let (mut questions, mut asked) = (0, 0);
        for stream in homeserver.incoming() {
            let mut stream = stream.unwrap();
            let mut head = String::new();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            while reader.read_line(&mut head).unwrap_or(0) > 2 {}
            let ping = head.starts_with("POST");
            questions += u32::from(!ping);
            asked += u32::from(ping);
            let (status, body) = match ping {
                false if questions <= refused_questions => {
                    ("401 Unauthorized", r#"{"errcode": "M_UNKNOWN_TOKEN", "error": "?"}"#)
                }
                false => ("200 OK", r#"{"versions": ["v1.11"]}"#),
                true if asked <= refused_pings => {
                    ("401 Unauthorized", r#"{"errcode": "M_UNKNOWN_TOKEN", "error": "?"}"#)
                }
                true => ("200 OK", r#"{"duration_ms": 3}"#),
            };
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
            );
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    let (_running, log) = Running::start(dir.path(), "the homeserver is there and reaches us");
    let told: Vec<_> = log.lines().filter(|line| line.contains("does not know our token")).collect();
    let [told] = told.as_slice() else { panic!("told {} times: {log}", told.len()) };
    let registration = dir.path().join("registration.yaml");
    let advice = format!("add {} to `app_service_config_files`", registration.display());
    assert!(told.contains("ERROR") && told.contains(&advice) && told.contains("restart Synapse"), "{told}");
    assert!(log.lines().last().unwrap().contains("away_for"), "{log}");
    assert!(!log.contains(" WARN "), "{log}");
}

#[test]
fn every_command_says_its_exit_codes() {
    let dir = place();
    for (command, parts) in [
        ("run", ["Exit codes:", " 11 ", "--restored"]),
        ("check", ["Exit codes:", " 12 ", "--strict"]),
        ("registration", ["Exit codes:", "--out", "--url"]),
        ("rooms", ["Exit codes:", "--json", "left out"]),
        ("quarantine", ["Exit codes:", "--json", "left out"]),
        ("version", ["Exit codes:", "0", "changes nothing"]),
    ] {
        for flag in ["-h", "--help"] {
            let text = out(&gateway(dir.path(), &[command, flag]));
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(parts.iter().all(|part| text.contains(part)), "{command} {flag}: {text}");
            assert!(text.contains("--config"), "{text}");
        }
    }
}

#[test]
fn inspect_shows_a_body_and_makes_it_again() {
    let dir = tempfile::tempdir().unwrap();
    let body = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/mimi-content/original.cbor")).unwrap();
    fs::write(dir.path().join("message"), &body).unwrap();
    // Without any configuration, and guessed.
    let shown = gateway(dir.path(), &["inspect", "message"]);
    assert!(shown.status.success(), "{}", err(&shown));
    for part in ["\"kind\": \"content\"", "\"sha256\": \"", "\"messageId\": \"017ce548"] {
        assert!(out(&shown).contains(part), "{part} in {}", out(&shown));
    }
    fs::write(dir.path().join("json"), &shown.stdout).unwrap();
    let again = gateway(dir.path(), &["inspect", "--encode", "json"]);
    assert_eq!((again.status.code(), &again.stdout), (Some(0), &body));
    let to_file = gateway(dir.path(), &["inspect", "json", "--encode", "--out", "bytes"]);
    assert!(to_file.status.success() && to_file.stdout.is_empty());
    assert_eq!(fs::read(dir.path().join("bytes")).unwrap(), body);
    let sender = ["inspect", "message", "--as", "content", "--sender", "mimi://b.example/u/bob"];
    assert!(out(&gateway(dir.path(), &sender)).contains("names another sender"));
    let list = gateway(dir.path(), &["inspect", "--list"]);
    assert!(out(&list).lines().any(|line| line.starts_with("key-material-request ")));
}

#[test]
fn inspect_says_where_a_body_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("bad"), [1, 9]).unwrap();
    let bad = gateway(dir.path(), &["inspect", "--as", "submit-response", "bad"]);
    assert_eq!(bad.status.code(), Some(13));
    assert_eq!(err(&bad), "error: bad: not submit-response: statusCode, byte 1: unknown value 9\n");
    assert!(bad.stdout.is_empty());
    // No kind fits: the nearest are told.
    let unknown = gateway(dir.path(), &["inspect", "bad"]);
    assert_eq!(unknown.status.code(), Some(13));
    assert!(err(&unknown).contains("byte "), "{}", err(&unknown));
    fs::write(dir.path().join("empty-list"), [0]).unwrap();
    let several = gateway(dir.path(), &["inspect", "empty-list"]);
    assert_eq!(several.status.code(), Some(2));
    assert!(err(&several).contains("participant-list, roles-list"), "{}", err(&several));
    let json = gateway(dir.path(), &["inspect", "--encode", "bad"]);
    assert_eq!(json.status.code(), Some(13));
    assert_eq!(gateway(dir.path(), &["inspect", "nowhere"]).status.code(), Some(1));
    assert_eq!(gateway(dir.path(), &["inspect"]).status.code(), Some(2));
    assert_eq!(gateway(dir.path(), &["inspect", "--as", "notifi", "bad"]).status.code(), Some(2));
}
