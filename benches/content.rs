//! Messages per second through `content` on one core, against `ciborium` reading the same bytes into generic values in the
//! same run. Ours checks every rule of the draft on the way.
//!
//! `cargo bench --bench content`

use std::{hint::black_box, time::Instant};

use mimi_gateway::{
    content::{MimiContent, NestedPart, TEXT_PLAIN, message_id},
    ident::{ProviderDomain, RoomUri, UserUri},
};

const ROUNDS: u32 = 100_000;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn rate(mut step: impl FnMut()) -> f64 {
    // The best of five: others use the machine, too.
    let best = (0..5).map(|_| {
        let start = Instant::now();
        (0..ROUNDS / 5).for_each(|_| step());
        start.elapsed()
    });
    f64::from(ROUNDS / 5) / best.min().unwrap_or_default().as_secs_f64()
}

fn main() -> Outcome<()> {
    let alice = UserUri::new(&ProviderDomain::parse("a.example")?, "alice")?;
    let room = RoomUri::parse("mimi://a.example/r/4Jzq0ZkY2n8")?;
    let text = "Hello! A sentence of the usual length, as people write them all day.";
    let mut plain = MimiContent::new([7; 16], &alice, &room, NestedPart::text(TEXT_PLAIN, text));
    plain.set_sender_timestamp(1_700_000_000_123);
    let nested = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/mimi-content/multipart-3.cbor"))?;
    println!("one core, messages per second, content / ciborium's generic values");
    for (name, bytes) in [("plain text", plain.encode()?), ("the draft's nested example", nested)] {
        let content = MimiContent::decode(&bytes)?;
        let decode = rate(|| drop(black_box(MimiContent::decode(black_box(&bytes)))));
        let generic =
            rate(|| drop(black_box(ciborium::from_reader::<ciborium::Value, _>(black_box(bytes.as_slice())))));
        let encode = rate(|| drop(black_box(black_box(&content).encode())));
        let id = rate(|| _ = black_box(message_id(&alice, &room, black_box(&bytes), &content.salt)));
        println!(
            "{name} ({} bytes): decode {decode:>9.0} / {generic:>9.0} = {:.1}   encode {encode:>9.0}   id {id:>9.0}",
            bytes.len(),
            decode / generic,
        );
    }
    Ok(())
}
