//! Holds the documents against what they speak of.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, fs, path::Path};

use mimi_gateway::{
    cli::DRAFTS,
    config::{Config, schema},
    matrix::registration::{Expected, Registration},
};
use serde_yaml_ng::Value;

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

#[test]
fn every_direct_dependency_says_what_for_and_why() {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let text = read("docs/dependencies.md");
    let (in_binary, in_tests) = text.split_once("## In tests only").unwrap();
    for (section, part) in [("dependencies", in_binary), ("dev-dependencies", in_tests)] {
        let used: BTreeSet<&str> = manifest[section].as_table().unwrap().keys().map(String::as_str).collect();
        let mut told = BTreeSet::new();
        for line in part.lines().filter(|line| line.starts_with("| `")) {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            assert!(cells.len() == 3 && cells.iter().all(|cell| !cell.is_empty()), "{line}");
            assert!(told.insert(cells[0].trim_matches('`')), "twice: {line}");
        }
        assert_eq!(told, used, "docs/dependencies.md against [{section}] of Cargo.toml");
    }
}

#[test]
fn compose_names_settings_that_exist() {
    let compose: Value = serde_yaml_ng::from_str(&read("docker/compose.yaml")).unwrap();
    let services = compose["services"].as_mapping().unwrap();
    assert_eq!(services.len(), 2);
    assert!(compose["services"]["synapse"]["image"].as_str().unwrap().contains("matrixdotorg/synapse:"));
    let gateway = &compose["services"]["mimi-gateway"];
    assert_eq!(gateway["build"]["dockerfile"], "docker/Dockerfile");
    let schema = schema();
    for name in gateway["environment"].as_mapping().unwrap().keys() {
        let name = name.as_str().unwrap();
        let (section, key) = name.strip_prefix("MIMI_GATEWAY_").unwrap().split_once("__").unwrap();
        let (section, key) = (section.to_lowercase(), key.to_lowercase());
        assert!(schema[section.as_str()].contains(&key.as_str()), "{name}");
    }
    // Every secret that a service uses is declared.
    for secret in gateway["secrets"].as_sequence().unwrap() {
        assert!(compose["secrets"].get(secret).is_some(), "{secret:?}");
    }
}

#[test]
fn the_compose_settings_go_over_the_example() {
    let compose: Value = serde_yaml_ng::from_str(&read("docker/compose.yaml")).unwrap();
    let environment = compose["services"]["mimi-gateway"]["environment"].as_mapping().unwrap();
    let environment = environment.iter().map(|(k, v)| (k.as_str().unwrap().to_owned(), v.as_str().unwrap().to_owned()));
    let config = Config::parse(Path::new("x"), &read("config/mimi-gateway.example.toml"), environment).unwrap();
    assert_eq!(config.homeserver.url.as_str(), "http://synapse:8008/");
    assert_eq!(config.appservice.public_url(), "http://mimi-gateway:9009");
}

#[test]
fn the_dockerfile_drops_root_and_builds_what_the_crate_is() {
    let text = read("docker/Dockerfile");
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let rust = manifest["package"]["rust-version"].as_str().unwrap();
    assert!(text.contains(&format!("FROM rust:{rust}-")), "the image has the crate's Rust");
    let last_stage = text.rsplit("\nFROM ").next().unwrap();
    assert!(last_stage.contains("\nUSER gateway\n") && last_stage.contains("HEALTHCHECK"));
    assert!(read("docker/README.md").contains("were not run"));
}

#[test]
fn the_example_registration_is_one_that_check_accepts() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("registration.yaml");
    let registration = Registration::load(&path).unwrap();
    let faults = registration.check_against(&Expected {
        server_name: "matrix.example".try_into().unwrap(),
        sender_localpart: None,
        as_token: None,
        hs_token: None,
        url: Some("http://127.0.0.1:9009"),
    });
    assert_eq!(faults, Vec::<String>::new());
    // Nobody shall use the example's tokens.
    for token in [&registration.base.as_token, &registration.base.hs_token] {
        assert!(token.contains("example"), "the example's tokens say that they are examples");
    }
}

#[test]
fn the_licence_is_the_one_of_the_manifest() {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    assert_eq!(manifest["package"]["license"].as_str(), Some("Apache-2.0"));
    let text = read("LICENSE");
    assert!(text.contains("Apache License") && text.contains("END OF TERMS AND CONDITIONS"));
}

#[test]
fn the_changelog_knows_this_version_or_is_unreleased() {
    let text = read("CHANGELOG.md");
    assert!(text.contains("## [Unreleased]") || text.contains(&format!("## [{}]", env!("CARGO_PKG_VERSION"))));
}

const PAGES: [&str; 14] = [
    "README.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "docker/README.md",
    "docs/admin.md",
    "docs/architecture.md",
    "docs/attacks.md",
    "docs/configuration.md",
    "docs/conformance.md",
    "docs/dependencies.md",
    "docs/membership.md",
    "docs/rules.md",
    "docs/status.md",
    "docs/testing.md",
];

#[test]
fn links_between_the_documents_lead_somewhere() {
    for page in PAGES {
        let text = read(page);
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap();
            if target.contains("://") || file.is_empty() {
                continue;
            }
            assert!(dir.parent().unwrap().join(file).exists(), "{page}: {target}");
        }
    }
}

#[test]
fn conformance_lists_what_levels_say_and_roles_cannot() {
    let text = read("docs/conformance.md");
    let (_, list) = text.split_once("Known losses:\n\n").unwrap();
    let (list, _) = list.split_once("\n\n").unwrap();
    let told = list.lines().filter(|line| line.starts_with("- ")).count();
    assert_eq!(told, mimi_gateway::policy::KNOWN_LOSSES.len());
}

#[test]
fn readme_and_conformance_name_the_drafts_that_version_shows() {
    let (readme, conformance) = (read("README.md"), read("docs/conformance.md"));
    for (draft, _) in DRAFTS {
        assert!(conformance.contains(draft), "docs/conformance.md: {draft}");
        let row = match draft.rsplit_once('-') {
            Some((name, revision)) => format!("| {name} | {revision} |"),
            None => format!("| {draft} "),
        };
        assert!(readme.contains(&row), "README.md: {row}");
    }
}

#[test]
fn readme_lists_the_commands_of_the_bot() {
    let readme = read("README.md");
    for line in mimi_gateway::room::command::HELP.lines().filter_map(|line| line.strip_prefix("• ")) {
        let verb = line.split_whitespace().next().unwrap().trim_end_matches(',');
        assert!(readme.contains(&format!("| `{verb}")), "{verb}");
    }
}

#[test]
fn the_settings_of_the_admin_guide_are_settings() {
    let text = read("docs/admin.md");
    let blocks: Vec<&str> = text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let config: toml::Table = blocks.concat().parse().unwrap();
    assert_eq!(blocks.len(), 2);
    let schema = schema();
    for (section, keys) in config.iter().filter(|(section, _)| section.as_str() != "peers") {
        for key in keys.as_table().unwrap().keys() {
            assert!(schema[section.as_str()].contains(&key.as_str()), "{section}.{key}");
        }
    }
    let with_key = [("MIMI_GATEWAY_STORE__MASTER_KEY".to_owned(), "ab".repeat(32))];
    let text = blocks.concat().replace("master_key_file = \"master.key\"", "");
    Config::parse(Path::new("x"), &text, with_key).unwrap();
}

/// A row of a table, as its cells; `None` for what is none, or its head.
fn cells(line: &str) -> Option<Vec<&str>> {
    let cells: Vec<&str> = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").map(str::trim).collect();
    (!matches!(cells[0], "Rule" | "#")).then_some(cells)
}

/// The sources of Python in which the end-to-end tests have their names.
fn python() -> String {
    let dirs =
        ["tests/e2e", "tests/silos"].map(|dir| fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(dir)).unwrap());
    let files = dirs.into_iter().flatten().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "py"));
    files.map(|path| fs::read_to_string(path).unwrap()).collect()
}

/// Whether a file has a test of this name: a function right behind a test attribute.
fn has_test(file: &Path, name: &str) -> bool {
    let Ok(source) = fs::read_to_string(file) else { return false };
    source.split("#[test]").chain(source.split("#[tokio::test")).skip(1).any(|rest| {
        let mut lines = rest.lines().skip(1).map(str::trim_start).skip_while(|line| line.starts_with("#["));
        let line = lines.next().unwrap_or_default();
        line.trim_start_matches("async ").starts_with(&format!("fn {name}("))
    })
}

/// Every test that a cell names exists; answers how many there are.
fn check_tests(cell: &str, python: &str) -> usize {
    let names: Vec<&str> = cell.split('`').skip(1).step_by(2).collect();
    for name in &names {
        if let Some(part) = name.strip_prefix("e2e: ") {
            let (group, last) = part.rsplit_once(": ").unwrap_or(("", part));
            let written = python.contains(&format!("\"{last}\"")) || python.contains(&format!("{group}: {last}\""));
            assert!(written, "no such part of the end-to-end tests: {name}");
            continue;
        }
        let (file, test) = name.split_once("::").unwrap_or_else(|| panic!("no test: {name}"));
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let forms = [format!("{file}.rs"), format!("{file}/mod.rs")];
        let in_dir = |dir: &str| forms.iter().any(|form| has_test(&root.join(dir).join(form), test));
        let there = ["tests", "src"].into_iter().any(in_dir);
        assert!(there, "no such test: {name}");
    }
    names.len()
}

const WORDS: [&str; 7] = ["MUST", "MUST NOT", "REQUIRED", "SHOULD", "RECOMMENDED", "NOT RECOMMENDED", "plain"];

/// No rule gets lost, and each has a test or says why it needs none.
#[test]
fn every_rule_of_the_draft_names_its_tests() {
    let (text, python) = (read("docs/rules.md"), python());
    let (mut capitals, mut plain) = (0, 0);
    for section in text.split("\n### ").skip(1) {
        let (head, rows) = section.split_once('\n').unwrap();
        let mut counts = (0, 0);
        for row in rows.lines().filter_map(cells) {
            let [rule, word, state, tests] = row[..] else { panic!("{row:?}") };
            assert!(WORDS.contains(&word) && !rule.is_empty(), "{row:?}");
            let kept = state.starts_with("kept");
            let why = ["not kept: ", "does not apply: "].iter().any(|start| state.starts_with(start));
            assert!(kept || why, "{row:?}");
            assert!(check_tests(tests, &python) > 0, "{row:?}");
            *if word == "plain" { &mut counts.1 } else { &mut counts.0 } += 1;
        }
        assert!(head.ends_with(&format!(": capitals {}, plain {}", counts.0, counts.1)), "{head}: {counts:?}");
        capitals += counts.0;
        plain += counts.1;
    }
    assert!(text.contains(&format!("\n{capitals} rules in capitals, {plain} plain.\n")), "{capitals}, {plain}");
    // What draft-ietf-mimi-protocol-06 has.
    assert_eq!(capitals, 37);
}

const ATTACKS: [&str; 22] = [
    "S1", "S2", "S3", "S3a", "S4", "S5", "S6", "S7", "S8", "S9", "S10", "S11", "S12", "S13", "S14", "S15", "S16",
    "S17", "S18", "S19", "S20", "S21",
];
/// Those that have to be shown, and not in part.
const SHOWN: [&str; 14] = ["S1", "S2", "S3", "S3a", "S5", "S7", "S8", "S9", "S10", "S13", "S14", "S15", "S18", "S20"];

#[test]
fn every_attack_names_its_tests() {
    let (text, python) = (read("docs/attacks.md"), python());
    let rows: Vec<Vec<&str>> = text.lines().filter_map(cells).collect();
    let names: Vec<&str> = rows.iter().map(|row| row[0]).collect();
    assert_eq!(names, ATTACKS);
    for row in &rows {
        let [name, attempt, outcome, state, tests] = row[..] else { panic!("{row:?}") };
        assert!(!attempt.is_empty() && !outcome.is_empty(), "{name}");
        assert!(["shown", "not yet"].contains(&state) || state.starts_with("in part: "), "{name}: {state}");
        assert!(state == "shown" || !SHOWN.contains(&name), "{name} is {state}");
        assert!(check_tests(tests, &python) > 0, "{name}");
    }
}

/// The names that follow one of these in a file.
fn names_after(text: &str, before: &[&str]) -> BTreeSet<String> {
    let named = |rest: &str| {
        let name = rest.trim_start().strip_prefix('"')?.split('"').next()?;
        let capital = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        (name.len() > 4 && name.chars().all(capital)).then(|| name.to_owned())
    };
    before.iter().flat_map(|before| text.split(before).skip(1).filter_map(named).collect::<Vec<_>>()).collect()
}

#[test]
fn every_setting_of_the_tests_is_told() {
    let mut read_ones = BTreeSet::from(["PROPTEST_CASES".to_owned()]);
    let mut folders =
        ["src", "tests", "benches", "fuzz/src"].map(|name| Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).to_vec();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let before: &[&str] = match path.extension().and_then(|extension| extension.to_str()) {
                Some("rs") => &["env::var(", "env::var_os(", "number(", "setting("],
                Some("py") => &["environ.get(", "environ[", "number("],
                _ => continue,
            };
            read_ones.extend(names_after(&fs::read_to_string(&path).unwrap(), before));
        }
    }
    let text = read("docs/testing.md");
    let (_, section) = text.split_once("\n## Settings\n").unwrap();
    let rows = section.split("\n## ").next().unwrap().lines().filter(|line| line.starts_with("| `"));
    let told: BTreeSet<String> =
        rows.flat_map(|row| row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2)).map(str::to_owned).collect();
    assert_eq!(told, read_ones, "docs/testing.md against what tests and benches read");
}
