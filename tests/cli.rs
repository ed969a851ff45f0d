//! The binary from outside: exit codes, where text goes, what registration writes.
#![expect(clippy::unwrap_used, reason = "a test: a panic is a failure with a place")]

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output},
};

fn gateway(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mimi-gateway"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("MIMI_GATEWAY_")) {
        command.env_remove(name);
    }
    command.args(arguments).current_dir(dir).output().unwrap()
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
