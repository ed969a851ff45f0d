//! Plays every seed of `fuzz/seeds` through its fuzz target, and mutations of them: on a stable toolchain, as part of the tests.
//!
//! `FUZZ_SECONDS=600` mutates each target's seeds for that long instead of a fixed number of times; `FUZZ_ONLY=notify` takes
//! one target; `FUZZ_SEED=7` begins elsewhere. What made a target fail is kept in `fuzz/artifacts`.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test: a panic is a failure with a place"
)]

#[path = "../fuzz/src/targets.rs"]
#[expect(unreachable_pub, reason = "public in the crate of the fuzz targets")]
mod targets;

use std::{
    collections::BTreeSet,
    fs, panic,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Mutations of each target where no time is given.
const MUTATIONS: u32 = 3000;

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(here("fuzz/seeds").join(target)).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

#[test]
fn every_target_has_seeds_and_a_cargo_fuzz_file() {
    let names: BTreeSet<String> = targets::names().into_iter().map(str::to_owned).collect();
    let list = |directory: &str| -> BTreeSet<String> {
        fs::read_dir(here(directory))
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(list("fuzz/seeds"), names);
    assert_eq!(list("fuzz/fuzz_targets"), names);
    for name in &names {
        let text = fs::read_to_string(here("fuzz/fuzz_targets").join(format!("{name}.rs"))).unwrap();
        assert!(text.contains(&format!("run(\"{name}\", data)")), "{name}");
        assert!(!seeds(name).is_empty(), "{name}");
    }
}

#[test]
fn every_seed_passes_its_target() {
    for name in targets::names() {
        for seed in seeds(name) {
            targets::run(name, &seed);
        }
    }
}

/// A seed of a kind is of that kind, or it would test nothing but refusals.
#[test]
fn seeds_of_kinds_decode() {
    use mimi_gateway::cli::inspect::{Context, Kind, decode};
    for kind in Kind::ALL {
        for seed in seeds(kind.name()) {
            decode(*kind, &seed, &Context::default()).unwrap_or_else(|e| panic!("{kind}: {e}"));
        }
    }
}

/// A small generator of numbers (`SplitMix64`): the same seed, the same mutations.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap()
    }
}

/// Values at which decoders turn: lengths, enum values, CBOR heads, JSON and URI punctuation.
const TURNS: &[u8] = &[
    0x00, 0x01, 0x02, 0x03, 0x08, 0x17, 0x18, 0x1a, 0x1b, 0x1f, 0x20, 0x22, 0x25, 0x2e, 0x2f, 0x3a, 0x3f, 0x40, 0x41,
    0x5b, 0x5f, 0x7b, 0x7d, 0x7f, 0x80, 0x9b, 0x9f, 0xa1, 0xbf, 0xc0, 0xf4, 0xf6, 0xf9, 0xfb, 0xff,
];

/// One change of `data`; `other` is another seed of the target.
fn mutate(data: &mut Vec<u8>, other: &[u8], numbers: &mut Numbers) {
    let at = numbers.below(data.len());
    let value = if numbers.below(2) == 0 { TURNS[numbers.below(TURNS.len())] } else { numbers.next().to_le_bytes()[0] };
    match numbers.below(8) {
        0 | 1 if !data.is_empty() => data[at] = value,
        2 if !data.is_empty() => data[at] ^= 1 << numbers.below(8),
        3 => data.insert(at, value),
        4 if !data.is_empty() => drop(data.remove(at)),
        5 => data.truncate(at),
        6 => {
            let end = (at + 1 + numbers.below(16)).min(data.len());
            let piece: Vec<u8> = data[at.min(end)..end].to_vec();
            data.splice(at..at, piece);
        }
        _ => {
            let from = numbers.below(other.len());
            let to = (from + 1 + numbers.below(32)).min(other.len());
            data.splice(at..at, other[from.min(to)..to].iter().copied());
        }
    }
}

fn number(name: &str) -> Option<u64> {
    Some(std::env::var(name).ok()?.parse().expect("a number"))
}

#[test]
fn mutated_seeds_pass_their_targets() {
    let seconds = number("FUZZ_SECONDS");
    let only = std::env::var("FUZZ_ONLY").ok();
    let start = number("FUZZ_SEED").unwrap_or(1);
    for name in targets::names().into_iter().filter(|name| only.as_deref().is_none_or(|only| only == *name)) {
        let seeds = seeds(name);
        let mut numbers = Numbers(start);
        let began = Instant::now();
        let mut runs = 0_u32;
        while seconds.map_or(runs < MUTATIONS, |seconds| began.elapsed() < Duration::from_secs(seconds)) {
            let mut data = seeds[numbers.below(seeds.len())].clone();
            for _ in 0..=numbers.below(4) {
                let other = &seeds[numbers.below(seeds.len())];
                mutate(&mut data, other, &mut numbers);
            }
            if let Err(failure) = panic::catch_unwind(|| targets::run(name, &data)) {
                let kept = here("fuzz/artifacts").join(format!("{name}-{start}-{runs}"));
                fs::create_dir_all(here("fuzz/artifacts")).unwrap();
                fs::write(&kept, &data).unwrap();
                eprintln!("{name}: {}", kept.display());
                panic::resume_unwind(failure);
            }
            runs += 1;
        }
        if seconds.is_some() {
            eprintln!("{name}: {runs} inputs in {} s, nothing found", began.elapsed().as_secs());
        }
    }
}

/// Every byte of every seed, changed: refused, or the changed bytes come back.
#[test]
fn changed_bytes_come_back_or_are_refused() {
    for name in targets::names() {
        for seed in seeds(name) {
            for at in 0..seed.len() {
                for value in [0x00, 0x01, 0x3f, 0x40, 0x80, 0xff, seed[at] ^ 1, seed[at] ^ 0x20] {
                    let mut changed = seed.clone();
                    changed[at] = value;
                    targets::run(name, &changed);
                }
            }
        }
    }
}
