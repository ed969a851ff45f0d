//! How fast notify bodies are decoded, against the parser of OpenMLS and against copying, on the same bytes in the same run.
//!
//! `cargo bench --bench wire`, on one core; `WIRE_BENCH_MILLIS` sets the time of each measurement (400 ms). Goals: 200 MB/s for
//! application messages of 16 KiB, 300,000 `FanoutMessages` of 300 bytes a second. What decoding allocates is
//! `tests/wire_memory.rs`'s business.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a bench fails by panicking")]

#[path = "../tests/fanout_bytes/mod.rs"]
mod fanout_bytes;

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use mimi_gateway::wire::FanoutMessage;
use openmls::prelude::{MlsMessageIn, tls_codec::Deserialize as _};

/// Rounds of which the median counts, with everything in turn.
const ROUNDS: usize = 5;

fn time() -> Duration {
    let millis = std::env::var("WIRE_BENCH_MILLIS").map_or(400, |text| text.parse().unwrap());
    Duration::from_millis(millis)
}

/// How often a second it can be done.
fn rate(mut act: impl FnMut()) -> f64 {
    let (start, mut count) = (Instant::now(), 0_u32);
    while start.elapsed() < time() {
        for _ in 0..16 {
            act();
        }
        count += 16;
    }
    f64::from(count) / start.elapsed().as_secs_f64()
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or_default()
}

/// What came of one body: how often a second it is decoded by us, its messages by OpenMLS, and copied.
fn measure(messages: &[Vec<u8>]) -> (f64, f64, f64) {
    let body = messages.concat();
    let (mut ours, mut openmls, mut copy) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(rate(|| {
            let decoded = FanoutMessage::decode_all(black_box(&body)).unwrap();
            assert_eq!(black_box(decoded).len(), messages.len());
        }));
        // OpenMLS knows the MLS message only: not the timestamp before it, nor the frank behind it.
        openmls.push(rate(|| {
            let read = |message: &Vec<u8>| {
                let mut rest = message.get(8..).unwrap_or_default();
                MlsMessageIn::tls_deserialize(&mut rest).unwrap()
            };
            black_box(messages.iter().map(read).collect::<Vec<_>>());
        }));
        copy.push(rate(|| drop(black_box(black_box(&body).clone()))));
    }
    (median(ours), median(openmls), median(copy))
}

fn main() {
    let large = fanout_bytes::application(16 << 10, false);
    let bytes = f64::from(u32::try_from(large.len()).unwrap());
    let (ours, openmls, copy) = measure(&[large]);
    let megabytes = |rate: f64| rate * bytes / 1e6;
    println!(
        "application messages of 16 KiB: {:.0} MB/s (goal: 200); ours / OpenMLS's parser {:.1}, ours / copying {:.2}",
        megabytes(ours),
        ours / openmls,
        ours / copy,
    );
    let small = fanout_bytes::application(300, true);
    assert_eq!(small.len(), 300);
    let many = vec![small; 1000];
    let (ours, openmls, copy) = measure(&many);
    println!(
        "FanoutMessages of 300 bytes, 1,000 a body: {:.0} a second (goal: 300,000); ours / OpenMLS's parser {:.1}, ours / copying {:.2}",
        ours * 1e3,
        ours / openmls,
        ours / copy,
    );
}
