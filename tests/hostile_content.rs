//! S9: what hostile CBOR costs. Refused in under a millisecond, and memory bounded by the input.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use mimi_gateway::content::{MAX_RECEIVED_LEN, MimiContent};

const TIME: Duration = Duration::from_millis(1);
/// Bytes that decoding may take beside its input, all in all.
const ROOM: usize = 64 << 10;

/// A message up to its extensions, and what follows them.
fn with(extensions: &[u8]) -> Vec<u8> {
    let head = hex::decode(format!("8750{}f640f6f6", "07".repeat(16))).unwrap();
    [&head, extensions, &[0x85, 1, 0x60, 1, 0x60, 0x40]].concat()
}

fn hex(text: &str) -> Vec<u8> {
    hex::decode(text.replace(' ', "")).unwrap()
}

/// Decodes: whether it could, the best time of some tries, and the bytes that were allocated.
fn cost(bytes: &[u8]) -> (bool, Duration, u64) {
    let mut decoded = false;
    let taken = allocation_counter::measure(|| decoded = MimiContent::decode(bytes).is_ok());
    let best = (0..20).map(|_| {
        let begun = Instant::now();
        let _ = MimiContent::decode(bytes);
        begun.elapsed()
    });
    (decoded, best.min().unwrap(), taken.bytes_total)
}

#[test]
fn s9_hostile_cbor_is_refused_in_a_millisecond_and_little_memory() {
    let full = MAX_RECEIVED_LEN;
    let hostile: Vec<(&str, Vec<u8>)> = vec![
        ("arrays, 10,000 deep", vec![0x81; 10_000]),
        ("arrays in arrays, all of it", vec![0x81; full]),
        ("maps, 10,000 deep", [0xa1, 0x00].repeat(10_000)),
        ("tag chain", vec![0xc1; 10_000]),
        ("tag chain in an extension", with(&[&[0xa1, 5][..], &[0xd8, 0x20].repeat(10_000), &[0]].concat())),
        ("parts, 10,000 deep", [with(&[0xa0])[..23].to_vec(), hex("85016003 02 82").repeat(9_000)].concat()),
        ("array of 2^63", hex("9b8000000000000000")),
        ("array of 2^64 - 1", hex("9bffffffffffffffff")),
        ("map of 2^63", hex("bb8000000000000000")),
        ("bytes of 2^63", hex("875b8000000000000000")),
        ("text of 2^63", with(&hex("a1057b8000000000000000"))),
        ("indefinite arrays", vec![0x9f; full]),
        ("indefinite map", with(&hex("bfff"))),
        ("indefinite bytes", with(&hex("a1055f4100ff"))),
        ("indefinite text", with(&hex("a1057f6100ff"))),
        ("the same key twice", with(&hex("a2 05f5 05f5"))),
        ("the same key in two encodings", with(&hex("a2 05f5 1805f5"))),
        ("a float as a key", with(&hex("a1 f97e00 f5"))),
        ("NaN as a key", with(&hex("a1 fb7ff8000000000001 f5"))),
        ("NaN as a salt", hex("87fb7ff8000000000000f640f6f6a0850160016040")),
        ("NaN as an expiration", hex(&format!("8750{}f640 fa7fc00000 f6a0850160016040", "07".repeat(16)))),
        ("a simple value in two bytes", with(&hex("a105f814"))),
        ("65,520 empty arrays", [hex("9a0000fff0"), vec![0x80; 0xfff0]].concat()),
        ("a break", vec![0xff]),
        ("reserved lengths", vec![0x9c; 100]),
        ("nothing", vec![]),
        ("too long", vec![0; full + 1]),
    ];
    for (what, bytes) in hostile {
        let (decoded, time, allocated) = cost(&bytes);
        assert!(!decoded, "{what} is read");
        assert!(time < TIME, "{what}: {time:?}");
        assert!(allocated <= (4 * bytes.len() + ROOM) as u64, "{what}: {allocated} bytes for {}", bytes.len());
    }
}

/// Small things, as many as a message can hold: whether they are allowed or not, what they take is bounded by their bytes.
#[test]
fn s9_many_small_things_take_memory_by_their_bytes() {
    let many: Vec<u8> = (0..1000_u16).flat_map(|n| [&[0x19][..], &(n + 256).to_be_bytes(), &[0xf5]].concat()).collect();
    let nulls = vec![0xf6; 20_000];
    for (what, bytes) in [
        ("a thousand keys", with(&[hex("b903e8"), many].concat())),
        ("an array of nulls", with(&[hex("a1 05 99 4e20"), nulls].concat())),
        ("NaN in a value", with(&hex("a105f97e00"))),
    ] {
        let (_, time, allocated) = cost(&bytes);
        // In an unoptimised build.
        assert!(time < 100 * TIME, "{what}: {time:?}");
        assert!(allocated <= (128 * bytes.len() + ROOM) as u64, "{what}: {allocated} bytes for {}", bytes.len());
    }
}
