//! Bytes per second on one core of a file that is sealed anew, against the same four passes one after the other.
//!
//! `cargo bench --bench media`. The rival has the whole file in memory and runs, over all of it: SHA-256 of what came, AES-256-CTR,
//! AES-128-GCM in one piece, SHA-256 of the result, by the same primitives. Ours gets chunks of 64 KiB and needs no more memory
//! for a larger file. The last rows add the spool: what a transfer costs with an encrypted file on disk between both sides.

#![expect(clippy::expect_used, reason = "a bench fails by panicking")]

use std::{hint::black_box, time::Instant};

use aes::{
    Aes256,
    cipher::{KeyIvInit, StreamCipher},
};
use aes_gcm::{Aes128Gcm, KeyInit, aead::AeadInOut};
use ctr::Ctr64BE;
use mimi_gateway::{
    content::ExternalPart,
    media::{CHUNK, EncryptedFile, FileKey, FromMatrix, Pipe, SealKey, ToMatrix, ToMimi, Unverified},
    spool::{Spool, SpoolLimits},
};
use sha2::{Digest, Sha256};

/// Larger than the processor's caches, as files are.
const BYTES: usize = 64 << 20;
/// Of how many runs the best counts, after one to warm up.
const RUNS: usize = 5;
/// What is to be reached, as a part of the rival's rate.
const GOAL: f64 = 0.8;

/// Seconds of the best of all runs; what `ready` makes is not counted.
fn best<S>(mut ready: impl FnMut() -> S, mut work: impl FnMut(&mut S)) -> f64 {
    let mut time = || {
        let mut state = ready();
        let start = Instant::now();
        work(&mut state);
        start.elapsed().as_secs_f64()
    };
    time();
    (0..RUNS).map(|_| time()).fold(f64::INFINITY, f64::min)
}

/// A whole file through a pipe, which is used up.
fn pass<P: Pipe>(pipe: &mut Option<P>, input: &[u8], out: &mut Unverified) -> P::Done {
    let mut pipe = pipe.take().expect("once");
    for chunk in input.chunks(CHUNK) {
        out.clear();
        pipe.feed(chunk, out).expect("fed");
        black_box(out.len());
    }
    pipe.finish(out).expect("finished")
}

fn row(what: &str, seconds: f64, rival: f64, goal: Option<f64>) {
    let rate = |seconds: f64| f64::from(u32::try_from(BYTES >> 20).expect("small")) / seconds;
    let verdict = goal.map_or("", |goal| if rival / seconds >= goal { "  reached" } else { "  MISSED" });
    println!(
        "{what:<28} {:>7.0} MiB/s   four passes {:>7.0} MiB/s   {:>4.0} %{verdict}",
        rate(seconds),
        rate(rival),
        100.0 * rival / seconds
    );
}

fn main() {
    let (file_key, seal_key) = ([1; 32], [3; 16]);
    let key = FileKey::from_random(file_key, [2; 8]);
    let mut iv = [0; 16];
    iv[..8].fill(2);
    let mut uploaded = vec![0x5a; BYTES];
    let counter = || Ctr64BE::<Aes256>::new(&file_key.into(), &iv.into());
    counter().apply_keystream(&mut uploaded);
    let sha256 = Sha256::digest(&uploaded).into();
    let file = EncryptedFile { url: "mxc://a.example/x".into(), key: key.clone(), sha256 };
    let to_mimi = || ToMimi::new(FromMatrix::Encrypted(&file), SealKey::from_random(seal_key, [4; 12])).ok();
    let mut out = Unverified::new();
    let gcm = Aes128Gcm::new(&seal_key.into());

    // What the rival makes is what the pipe says.
    let mut asset = uploaded.clone();
    let four = |buffer: &mut Vec<u8>| {
        black_box(Sha256::digest(&*buffer));
        counter().apply_keystream(buffer);
        let tag = gcm.encrypt_inout_detached(&[4; 12].into(), b"", buffer.as_mut_slice().into()).expect("sealed");
        let mut hash = Sha256::new();
        hash.update(&*buffer);
        hash.update(tag);
        (tag, hash.finalize())
    };
    let (tag, hash) = four(&mut asset);
    asset.extend(tag);
    let mut part = ExternalPart { url: "https://a.example/x".into(), ..ExternalPart::default() };
    pass(&mut to_mimi(), &uploaded, &mut out).describe(&mut part);
    assert_eq!(part.content_hash, hash.to_vec());
    let to_matrix = || ToMatrix::new(&part, 0, Some(key.clone())).ok();
    pass(&mut to_matrix(), &asset, &mut out);

    println!("a file of {} MiB, one core", BYTES >> 20);
    let rival = best(
        || uploaded.clone(),
        |buffer| {
            black_box(four(buffer));
        },
    );
    let ours = best(to_mimi, |pipe| drop(black_box(pass(pipe, &uploaded, &mut out))));
    row("Matrix to MIMI", ours, rival, Some(GOAL));
    let mut back = |buffer: &mut Vec<u8>| {
        black_box(Sha256::digest(&*buffer));
        let (text, tag) = buffer.split_at_mut(BYTES);
        let tag = (&*tag).try_into().expect("a tag");
        gcm.decrypt_inout_detached(&[4; 12].into(), b"", text.into(), tag).expect("opened");
        counter().apply_keystream(text);
        black_box(Sha256::digest(&*text));
    };
    let rival = best(|| asset.clone(), &mut back);
    let ours = best(to_matrix, |pipe| drop(black_box(pass(pipe, &asset, &mut out))));
    row("MIMI to Matrix", ours, rival, Some(GOAL));

    let dir = tempfile::tempdir().expect("a folder");
    let limits = SpoolLimits { file: 1 << 30, total: 1 << 30 };
    let (spool, _) = Spool::open(dir.path(), limits).expect("a spool");
    let spooled = best(
        || Some(spool.begin(to_mimi().expect("a pipe")).expect("begun")),
        |filling| {
            let mut filling = filling.take().expect("once");
            uploaded.chunks(CHUNK).for_each(|chunk| filling.write(chunk).expect("written"));
            let mut reader = filling.finish().expect("finished").0.reader();
            while reader.next_chunk().expect("read").is_some() {}
        },
    );
    row("Matrix to MIMI, spooled", spooled, rival, None);
}
