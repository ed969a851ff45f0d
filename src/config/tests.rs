//! What a configuration means, and what is said of a wrong one.

use std::io::Write as _;

use super::*;

const MINIMAL: &str = r#"
[homeserver]
url = "http://127.0.0.1:8008"
server_name = "a.example"

[provider]
certificate = "cert.pem"
private_key = "/keys/key.pem"

[store]
master_key = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
"#;

fn load(text: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    Config::from_text(Path::new("/etc/gw/c.toml"), text, environment)
}

fn fault(text: &str, environment: &[(&str, &str)]) -> String {
    load(text, environment).unwrap_err().to_string()
}

#[test]
fn a_minimal_file_is_enough() {
    let config = load(MINIMAL, &[]).unwrap();
    assert_eq!(config.provider_domain().unwrap().as_str(), "a.example");
    assert_eq!(config.to_mimi_settings().unwrap().base_url().unwrap(), "https://a.example");
    assert_eq!(config.appservice.public_url(), "http://127.0.0.1:9009");
    assert_eq!(config.store.engine, StoreEngine::Sqlite);
    assert_eq!(config.rooms.list_all_members_up_to, 500);
    assert_eq!(config.rooms.gap_check_interval_seconds, 300);
    assert_eq!(config.store.master_key().unwrap()[..3], [0, 1, 2]);
    // Synapse keeps connections for two minutes, and what closes one before looks like its restart.
    assert!(config.appservice.header_timeout_seconds > 120);
}

#[test]
fn relative_paths_are_relative_to_the_file() {
    let config = load(MINIMAL, &[]).unwrap();
    assert_eq!(config.provider.certificate.path(), Some(Path::new("/etc/gw/cert.pem")));
    assert_eq!(config.provider.private_key.path(), Some(Path::new("/keys/key.pem")));
    assert_eq!(config.store.path, Path::new("/etc/gw/data"));
}

#[test]
fn an_unknown_key_is_refused_with_file_line_and_the_nearest_one() {
    let said = fault(&MINIMAL.replace("url =", "urll ="), &[]);
    assert_eq!(said, "/etc/gw/c.toml:3: unknown key `homeserver.urll`; did you mean `homeserver.url`?");
    let said = fault(&format!("{MINIMAL}\n[limit]\nx = 1"), &[]);
    assert!(said.contains("unknown key `limit`; did you mean `limits`?"), "{said}");
    let said = fault(&format!("{MINIMAL}\n[peers.\"b.example\"]\nca = 'x'\nadress = 'x'"), &[]);
    assert!(
        said.contains("c.toml:15: unknown key `peers.b.example.adress`; did you mean `peers.b.example.address`?"),
        "{said}"
    );
    let said = fault(&format!("{MINIMAL}\ncolour = 1"), &[]);
    assert!(said.ends_with("unknown key `store.colour`"), "{said}");
}

#[test]
fn the_environment_overrides_the_file() {
    let config = load(
        MINIMAL,
        &[
            ("MIMI_GATEWAY_HOMESERVER__URL", "https://hs.a.example"),
            ("MIMI_GATEWAY_LIMITS__MAX_BODY_BYTES_PER_PEER", "100000"),
            ("MIMI_GATEWAY_PERMISSIONS__USERS", "@a:a.example, @b:a.example"),
            ("MIMI_GATEWAY_STORE__ENGINE", "sled"),
            ("MIMI_GATEWAY_PORT", "tcp://10.0.0.1:80"),
            ("UNRELATED__KEY", "x"),
        ],
    )
    .unwrap();
    assert_eq!(config.homeserver.url.as_str(), "https://hs.a.example/");
    assert_eq!(config.limits.max_body_bytes_per_peer, 100_000);
    assert_eq!(config.permissions.users.as_ref().unwrap().len(), 2);
    assert_eq!(config.store.engine, StoreEngine::Sled);
}

#[test]
fn a_wrong_variable_is_named() {
    let said = fault(MINIMAL, &[("MIMI_GATEWAY_HOMESERVER__URI", "x")]);
    assert_eq!(
        said,
        "environment variable MIMI_GATEWAY_HOMESERVER__URI: unknown key `homeserver.uri`; did you mean `homeserver.url`?"
    );
    let said = fault(MINIMAL, &[("MIMI_GATEWAY_LIMITS__MAX_BODY_BYTES_PER_PEER", "lots")]);
    assert!(
        said.starts_with(
            "environment variable MIMI_GATEWAY_LIMITS__MAX_BODY_BYTES_PER_PEER: `limits.max_body_bytes_per_peer`:"
        ),
        "{said}"
    );
}

#[test]
fn wrong_types_and_values_say_where_and_what() {
    let said = fault(&format!("{MINIMAL}\n[limits]\nheader_timeout_seconds = \"ten\""), &[]);
    assert!(said.starts_with("/etc/gw/c.toml:14: `limits.header_timeout_seconds`: invalid type"), "{said}");
    let said = fault(&MINIMAL.replace("http://127", "127"), &[]);
    assert_eq!(
        said,
        "/etc/gw/c.toml:3: `homeserver.url`: \"127.0.0.1:8008\" has no scheme: a URL begins with http:// or https://"
    );
    let said = fault(&MINIMAL.replace("http://127.0.0.1", "localhost"), &[]);
    assert!(
        said.starts_with("/etc/gw/c.toml:3: `homeserver.url`: must be a URL with a host that begins with"),
        "{said}"
    );
    let said = fault(&MINIMAL.replace("certificate =", "public_url = \"https://a.example/mimi\"\ncertificate ="), &[]);
    assert!(said.starts_with("/etc/gw/c.toml:7: `provider.public_url`: must not have a path"), "{said}");
    let said = fault(MINIMAL, &[("MIMI_GATEWAY_STORE__KEEP_DAYS", "29")]);
    assert!(said.starts_with("environment variable MIMI_GATEWAY_STORE__KEEP_DAYS: `store.keep_days`:"), "{said}");
    let said = fault(&format!("{MINIMAL}engine = \"redis\""), &[]);
    assert!(said.contains("unknown value \"redis\"; it is one of sqlite, sled"), "{said}");
    let said = fault("[homeserver]\nurl = ", &[]);
    assert!(said.starts_with("/etc/gw/c.toml:2: not valid TOML"), "{said}");
    let said = fault(&MINIMAL.replace("server_name", "#server_name"), &[]);
    assert!(said.starts_with("`homeserver.server_name` is missing"), "{said}");
}

#[test]
fn a_file_has_to_have_room_on_its_way() {
    let sized = |file: u64, spool: u64| format!("{MINIMAL}[media]\nmax_file_bytes = {file}\nspool_bytes = {spool}\n");
    assert_eq!(load(&sized(1000, 1000), &[]).unwrap().media.max_file_bytes, Some(1000));
    let said = fault(&sized(1001, 1000), &[]);
    assert!(said.contains("`media.max_file_bytes`") && said.contains("raise that one"), "{said}");
}

#[test]
fn all_faults_across_keys_are_told_at_once() {
    let text = MINIMAL.replace("a.example", "127.0.0.1:8448").replace("http:", "ftp:");
    let environment =
        [("MIMI_GATEWAY_ROOMS__GAP_CHECK_INTERVAL_SECONDS", "9000"), ("MIMI_GATEWAY_STORE__KEEP_DAYS", "29")];
    let said = fault(&text, &environment);
    for key in
        ["`homeserver.url`", "`provider.domain` is missing", "`rooms.gap_check_interval_seconds`", "`store.keep_days`"]
    {
        assert!(said.contains(key), "{key} in {said}");
    }
    assert_eq!(said.lines().count(), 4);
}

#[test]
fn the_own_domain_is_no_peer() {
    let said = fault(&format!("{MINIMAL}\n[peers.\"a.example\"]\nca = 'x'"), &[]);
    assert!(said.contains("own provider domain"), "{said}");
    let said = fault(&format!("{MINIMAL}\n[peers.\"B.example\"]"), &[]);
    assert!(said.contains("c.toml:13"), "{said}");
}

#[test]
fn the_master_key_is_needed_and_checked() {
    let without = MINIMAL.lines().filter(|l| !l.starts_with("master_key")).collect::<Vec<_>>().join("\n");
    let said = fault(&without, &[]);
    assert!(said.contains("openssl rand -hex 32"), "{said}");
    assert!(fault(&without, &[("MIMI_GATEWAY_STORE__MASTER_KEY", "abc")]).contains("64 hexadecimal digits"));
    assert!(fault(&without, &[("MIMI_GATEWAY_STORE__MASTER_KEY", &"0".repeat(64))]).contains("all zeros"));
}

#[test]
fn secrets_come_from_files_and_never_show() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "{}", "ab".repeat(32)).unwrap();
    let path = file.path().to_str().unwrap();
    // The environment's file replaces the key in the configuration file.
    let config = load(MINIMAL, &[("MIMI_GATEWAY_STORE__MASTER_KEY_FILE", path)]).unwrap();
    assert_eq!(config.store.master_key().unwrap()[0], 0xab);
    assert!(!format!("{config:?}").contains("abab"), "{config:?}");
    // Both in one place is a mistake.
    let said = fault(&format!("{MINIMAL}master_key_file = \"{path}\""), &[]);
    assert!(said.contains("both set"), "{said}");
    let said = fault(MINIMAL, &[("MIMI_GATEWAY_STORE__MASTER_KEY_FILE", "/nonexistent")]);
    assert!(said.contains("`store.master_key_file`: cannot read /nonexistent"), "{said}");
}

#[test]
fn one_token_without_the_other_is_refused() {
    let said = fault(MINIMAL, &[("MIMI_GATEWAY_APPSERVICE__AS_TOKEN", "123")]);
    assert!(said.contains("belong together"), "{said}");
    let both = [("MIMI_GATEWAY_APPSERVICE__AS_TOKEN", "123"), ("MIMI_GATEWAY_APPSERVICE__HS_TOKEN", "true")];
    let config = load(MINIMAL, &both).unwrap();
    assert_eq!(config.appservice.as_token.unwrap().expose(), "123");
    assert_eq!(config.appservice.hs_token.unwrap().expose(), "true");
}

#[test]
fn the_schema_names_the_fields() {
    let schema = schema();
    assert_eq!(schema["log"], ["format", "filter"]);
    assert!(schema["peers"].contains(&"address"));
    let root: Vec<_> = fields_of::<Config>().to_vec();
    assert!(root.iter().all(|section| schema.contains_key(section)) && root.len() == schema.len());
}

const EXAMPLE: &str = include_str!("../../config/mimi-gateway.example.toml");

/// The commented-out keys of the example: line number (from 0), section, key.
fn commented_keys() -> Vec<(usize, String, String)> {
    let mut section = String::new();
    let mut keys = Vec::new();
    for (number, line) in EXAMPLE.lines().enumerate() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.split([']', '.']).next().unwrap().to_owned();
        }
        let key = line.strip_prefix('#').and_then(|l| l.split_once(" = ")).map(|(key, _)| key);
        if let Some(key) = key.filter(|key| key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')) {
            keys.push((number, section.clone(), key.to_owned()));
        }
    }
    keys
}

fn parse_example(uncommented: &[usize]) -> Config {
    let lines = EXAMPLE.lines().enumerate();
    let text: Vec<_> =
        lines.map(|(n, line)| if uncommented.contains(&n) { line.trim_start_matches('#') } else { line }).collect();
    Config::parse(Path::new("example.toml"), &text.join("\n"), []).unwrap()
}

#[test]
fn the_example_parses_and_is_valid_once_its_files_are_there() {
    let mut config = parse_example(&[]);
    config.store.master_key = Some(Secret::new("ab".repeat(32)));
    config.validate().unwrap();
}

#[test]
fn the_example_names_every_key_of_the_schema_once() {
    let mut named: Vec<(String, String)> = commented_keys().into_iter().map(|(_, s, k)| (s, k)).collect();
    let mut section = String::new();
    for line in EXAMPLE.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.split([']', '.']).next().unwrap().to_owned();
        } else if let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
            named.push((section.clone(), key.to_owned()));
        }
    }
    named.sort();
    let mut wanted: Vec<(String, String)> = schema()
        .into_iter()
        .flat_map(|(section, keys)| keys.iter().map(move |key| (section.to_owned(), (*key).to_owned())))
        .collect();
    wanted.sort();
    assert_eq!(named, wanted);
}

#[test]
fn the_example_states_the_defaults_of_the_code() {
    let default = format!("{:?}", parse_example(&[]));
    for (number, section, key) in commented_keys() {
        // The comment block above the key says whether it has a default.
        let above: Vec<_> = EXAMPLE.lines().take(number).collect();
        let prose: Vec<_> = above
            .iter()
            .rev()
            .skip_while(|l| !l.starts_with("# "))
            .take_while(|l| l.starts_with("# "))
            .copied()
            .collect();
        let prose = prose.into_iter().rev().collect::<Vec<_>>().join(" ");
        let set = format!("{:?}", parse_example(&[number]));
        if prose.contains("No default") {
            assert_ne!(set, default, "{section}.{key} has no default, so the example changes something");
        } else {
            assert!(prose.contains("Default: "), "{section}.{key} states no default: {prose}");
            assert_eq!(set, default, "{section}.{key}");
        }
    }
}
