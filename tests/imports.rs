//! Reads every `crate::` path in `src` against the layer table of `docs/architecture.md` (and of `src/lib.rs`).
//!
//! Imports point down only. Exceptions: `room` may use `policy` and `translate`; `mls` and `assets` may use `store`; the wiring on top
//! (`cli`, `runtime`, `config`) in that order. `matrix` and `mimi` never import each other. Layers 0 and 1 have no
//! tokio, no I/O, no clock, no randomness and no OpenMLS. No file has more than 1,000 lines.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test: a panic is a failure with a place")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Module, layer, and what it may use beside itself and all lower layers.
const TABLE: [(&str, u8, &[&str]); 18] = [
    ("ident", 0, &[]),
    ("wire", 0, &["ident"]),
    ("content", 0, &["ident"]),
    ("media", 0, &["content"]),
    ("policy", 1, &[]),
    ("translate", 1, &[]),
    ("room", 1, &["policy", "translate"]),
    ("store", 2, &[]),
    ("mls", 2, &["store"]),
    ("assets", 2, &["store"]),
    ("spool", 2, &[]),
    ("engine", 3, &[]),
    ("matrix", 4, &[]),
    ("mimi", 4, &[]),
    ("admin", 4, &[]),
    ("config", 5, &[]),
    ("runtime", 5, &["config"]),
    ("cli", 5, &["config", "runtime"]),
];

/// What layers 0 and 1 do not mention: paths, each with why.
const NOT_BELOW_LAYER_2: [(&str, &str); 18] = [
    ("tokio", "no runtime"),
    ("reqwest", "no I/O"),
    ("axum", "no I/O"),
    ("hyper", "no I/O"),
    ("rusqlite", "no I/O"),
    ("sled", "no I/O"),
    ("std::fs", "no I/O"),
    ("std::net", "no I/O"),
    ("std::io", "no I/O"),
    ("std::env", "no I/O"),
    ("std::process", "no I/O"),
    ("std::thread", "no runtime"),
    ("SystemTime", "time is a parameter"),
    ("Instant", "time is a parameter"),
    ("getrandom", "randomness is a parameter"),
    ("rand", "randomness is a parameter"),
    ("openmls", "OpenMLS stays behind mls"),
    ("openmls_traits", "OpenMLS stays behind mls"),
];

const MAX_LINES: usize = 1000;

fn source_files(dir: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            source_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// The text without comments, strings and character literals, so that only code is left. Newlines stay.
fn code_only(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let mut out = String::new();
    let mut i = 0;
    while i < chars.len() {
        let c = at(i);
        if c == '/' && at(i + 1) == '/' {
            while i < chars.len() && at(i) != '\n' {
                i += 1;
            }
        } else if c == '/' && at(i + 1) == '*' {
            let mut depth = 0;
            loop {
                if at(i) == '/' && at(i + 1) == '*' {
                    depth += 1;
                    i += 2;
                } else if at(i) == '*' && at(i + 1) == '/' {
                    depth -= 1;
                    i += 2;
                } else {
                    i += 1;
                }
                if depth == 0 || i >= chars.len() {
                    break;
                }
            }
        } else if c == 'r' && matches!(at(i + 1), '"' | '#') && !is_word(at(i.wrapping_sub(1))) && raw_start(&chars, i)
        {
            let hashes = chars[i + 1..].iter().take_while(|c| **c == '#').count();
            i += 2 + hashes;
            while i < chars.len() && !(at(i) == '"' && (1..=hashes).all(|n| at(i + n) == '#')) {
                i += 1;
            }
            i += 1 + hashes;
            out.push(' ');
        } else if c == '"' {
            i += 1;
            while i < chars.len() && at(i) != '"' {
                i += if at(i) == '\\' { 2 } else { 1 };
            }
            i += 1;
            out.push(' ');
        } else if c == '\'' && (at(i + 1) == '\\' || at(i + 2) == '\'') {
            i += if at(i + 1) == '\\' { 3 } else { 2 };
            while i < chars.len() && at(i) != '\'' {
                i += 1;
            }
            i += 1;
            out.push(' ');
        } else {
            out.push(c);
            i += 1;
        }
    }
    out
}

fn raw_start(chars: &[char], i: usize) -> bool {
    let hashes = chars[i + 1..].iter().take_while(|c| **c == '#').count();
    chars.get(i + 1 + hashes) == Some(&'"')
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Cuts `#[cfg(test)] mod name { … }` off: unit tests may use what their subject may not.
fn without_tests(code: &str) -> String {
    let mut out = code.to_owned();
    while let Some(start) = out.find("#[cfg(test)]") {
        let rest = &out[start..];
        let open = rest.find('{').unwrap_or(rest.len());
        let semicolon = rest.find(';').unwrap_or(rest.len());
        let end = if semicolon < open {
            semicolon + 1
        } else {
            let mut depth = 0_usize;
            rest.char_indices()
                .find_map(|(i, c)| {
                    match c {
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        _ => {}
                    }
                    (c == '}' && depth == 0).then_some(i + 1)
                })
                .unwrap_or(rest.len())
        };
        out.replace_range(start..start + end, "");
    }
    out
}

/// The first segments of all paths that start with `root::`, also inside `root::{a::b, c}`.
fn first_segments(code: &str, root: &str) -> BTreeSet<String> {
    let word = |text: &str| text.chars().take_while(|c| is_word(*c)).collect::<String>();
    let mut found = BTreeSet::new();
    let prefix = format!("{root}::");
    let mut rest = code;
    while let Some(start) = rest.find(&prefix) {
        let before = rest[..start].chars().next_back().unwrap_or(' ');
        rest = &rest[start + prefix.len()..];
        if is_word(before) || before == ':' {
            continue;
        }
        let Some(group) = rest.trim_start().strip_prefix('{') else {
            found.insert(word(rest.trim_start()));
            continue;
        };
        let (mut depth, mut item_starts) = (1_usize, true);
        for (i, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => item_starts = true,
                c if item_starts && is_word(c) => {
                    found.insert(word(&group[i..]));
                    item_starts = false;
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    found
}

/// Whether `code` names `path`: as whole words, also where a `use` group splits it (`std::{fs, io}`).
fn mentions(code: &str, path: &str) -> bool {
    if let Some((root, item)) = path.split_once("::") {
        return first_segments(code, root).contains(item);
    }
    // Types are named bare, also at the end of a path; crates start one.
    let is_type = path.starts_with(char::is_uppercase);
    let mut rest = code;
    while let Some(start) = rest.find(path) {
        let before = rest[..start].chars().next_back().unwrap_or(' ');
        rest = &rest[start + path.len()..];
        let whole = !is_word(before) && !rest.starts_with(is_word);
        if whole && (is_type || (before != ':' && rest.starts_with("::"))) {
            return true;
        }
    }
    false
}

/// What is wrong with a file of the module, by the table.
fn faults(module: &str, text: &str, is_test_file: bool) -> Vec<String> {
    let layers: BTreeMap<&str, (u8, &[&str])> = TABLE.iter().map(|(m, layer, may)| (*m, (*layer, *may))).collect();
    let mut faults = Vec::new();
    if text.lines().count() > MAX_LINES {
        faults.push(format!("has {} lines, more than {MAX_LINES}", text.lines().count()));
    }
    if is_test_file {
        return faults;
    }
    let code = without_tests(&code_only(text));
    let (layer, may) = layers[module];
    for used in first_segments(&code, "crate") {
        // Items at the root of the crate (macros) have no layer.
        let Some((used_layer, _)) = layers.get(used.as_str()) else { continue };
        if used != module && *used_layer >= layer && !may.contains(&used.as_str()) {
            faults.push(format!("`{module}` (layer {layer}) uses `{used}` (layer {used_layer})"));
        }
    }
    if layer <= 1 {
        for (path, why) in NOT_BELOW_LAYER_2 {
            if mentions(&code, path) {
                faults.push(format!("`{module}` (layer {layer}) mentions `{path}`: {why}"));
            }
        }
    }
    faults
}

#[test]
fn imports_point_down() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    source_files(&src, &mut files);
    assert!(files.len() > 15, "the sources were not found");
    let mut all = Vec::new();
    for path in files {
        let relative = path.strip_prefix(&src).unwrap().to_owned();
        let module = relative.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
        if matches!(module.as_str(), "lib" | "main") {
            continue;
        }
        assert!(TABLE.iter().any(|(m, ..)| *m == module), "module `{module}` stands in no layer: add it to the table");
        let in_tests = relative.iter().skip(1).any(|part| {
            let name = part.to_string_lossy();
            name == "tests" || name == "tests.rs" || name.ends_with("_tests.rs")
        });
        let text = fs::read_to_string(&path).unwrap();
        all.extend(
            faults(&module, &text, in_tests).into_iter().map(|fault| format!("src/{}: {fault}", relative.display())),
        );
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
}

#[test]
fn every_module_of_the_crate_has_a_layer() {
    let root = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let declared: BTreeSet<&str> =
        root.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    assert_eq!(declared, TABLE.iter().map(|(module, ..)| *module).collect());
}

#[test]
fn the_reader_sees_what_breaks_the_rule() {
    for (module, code, wrong) in [
        ("wire", "use crate::policy::X;", "`wire` (layer 0) uses `policy` (layer 1)"),
        ("wire", "use crate::{ident::A, store::{B, C}};", "`wire` (layer 0) uses `store` (layer 2)"),
        ("matrix", "fn f() { crate::mimi::Server::new() }", "`matrix` (layer 4) uses `mimi` (layer 4)"),
        (
            "mimi",
            "use crate::{\n    engine::ports,\n    matrix::Names,\n};",
            "`mimi` (layer 4) uses `matrix` (layer 4)",
        ),
        ("store", "use crate::mls::Group;", "`store` (layer 2) uses `mls` (layer 2)"),
        ("policy", "use crate::room::Room;", "`policy` (layer 1) uses `room` (layer 1)"),
        ("room", "use std::{collections::BTreeMap, fs};", "mentions `std::fs`"),
        ("room", "use std::time::{Duration, SystemTime};", "mentions `SystemTime`"),
        ("content", "let x = rand::random();", "mentions `rand`"),
        ("content", "use openmls::prelude::*;", "mentions `openmls`"),
        ("translate", "tokio::spawn(async {});", "mentions `tokio`"),
    ] {
        let found = faults(module, code, false);
        assert!(found.iter().any(|fault| fault.contains(wrong)), "{code}: {found:?}");
    }
    assert!(faults("wire", &"\n".repeat(MAX_LINES + 1), true)[0].contains("lines"));
}

#[test]
fn the_reader_lets_pass_what_keeps_the_rule() {
    for (module, code) in [
        ("room", "use crate::{policy::P, translate::T, ident::I, room::R};"),
        ("mls", "use crate::store::S;"),
        (
            "wire",
            "// crate::store::S\n/* crate::mls */ /// [`crate::engine`]\nlet s = \"crate::mimi::X\"; let r = r#\"tokio::x\"#; let q = '\"'; ",
        ),
        (
            "wire",
            "use super::limits; use crate::ident::A;\n#[cfg(test)]\nmod tests { use crate::store::S; fn f() { tokio::x() } }",
        ),
        ("content", "fn operand(brand: u8) { let rand = brand; grand::x(); }"),
        ("cli", "use crate::{config::Config, runtime};"),
    ] {
        assert_eq!(faults(module, code, false), Vec::<String>::new(), "{code}");
    }
}
