//! What decoding allocates, all in all: at most four times its input and 64 KiB, whatever the input says of itself. And what a file
//! takes on its way through the gateway, however large it is.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

mod fanout_bytes;

use std::{fs, path::Path};

use mimi_gateway::wire::{
    ConsentEntry, FanoutMessage, GroupInfoRequest, GroupInfoResponse, HandshakeBundle, KeyMaterialRequest,
    KeyMaterialResponse, MlsMessage, SubmitMessageRequest, SubmitMessageResponse, UpdateRoomResponse, Wire, limits,
};
use mimi_gateway::{
    content::ExternalPart,
    media::{CHUNK, FileKey, FromMatrix, SealKey, ToMatrix, ToMimi},
    spool::{Spool, SpoolLimits},
};

/// Decodes, and answers whether it could; panics if that took too much.
fn decode(what: &str, input: &[u8], decode: impl Fn(&[u8]) -> bool) -> bool {
    let mut decoded = false;
    let taken = allocation_counter::measure(|| decoded = decode(input));
    let most = 4 * input.len() + (64 << 10);
    assert!(
        taken.bytes_total <= most as u64,
        "{what}: {} bytes for {} ({most} at most)",
        taken.bytes_total,
        input.len()
    );
    decoded
}

type Decoder = fn(&[u8]) -> bool;

fn whole<T: Wire>(input: &[u8]) -> bool {
    T::decode(input).is_ok()
}

/// By the folder of its samples.
const DECODERS: [(&str, Decoder); 11] = [
    ("notify", |input| FanoutMessage::decode_all(input).is_ok()),
    ("update-request", whole::<HandshakeBundle>),
    ("update-response", whole::<UpdateRoomResponse>),
    ("submit-request", whole::<SubmitMessageRequest>),
    ("submit-response", whole::<SubmitMessageResponse>),
    ("group-info-request", whole::<GroupInfoRequest>),
    ("group-info-response", whole::<GroupInfoResponse>),
    ("key-material-request", whole::<KeyMaterialRequest>),
    ("key-material-response", whole::<KeyMaterialResponse>),
    ("consent", whole::<ConsentEntry>),
    ("mls-message", whole::<MlsMessage>),
];

#[test]
fn a_notify_body_allocates_at_most_four_times_its_size() {
    for (size, count) in [(16 << 10, 1), (16 << 10, 100), (300, 1), (300, 1000), (300, 4096)] {
        let body = fanout_bytes::application(size, size == 300).repeat(count);
        assert!(decode("notify", &body, DECODERS[0].1), "{count} of {size} bytes decode");
    }
}

#[test]
fn no_sample_allocates_more_whatever_lengths_it_claims() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    for (folder, decoder) in DECODERS {
        let mut samples = 0;
        for entry in fs::read_dir(seeds.join(folder)).unwrap() {
            let sample = fs::read(entry.unwrap().path()).unwrap();
            samples += usize::from(decode(folder, &sample, decoder));
            // Each byte in turn as the beginning of a length of almost a gibibyte.
            for place in 0..sample.len() {
                let mut claims = sample.clone();
                for (claim, byte) in claims[place..].iter_mut().zip([0xbf, 0xff, 0xff, 0xff]) {
                    *claim = byte;
                }
                decode(folder, &claims, decoder);
            }
        }
        assert!(samples > 0, "{folder}: nothing that decodes");
    }
}

/// Of things that are far smaller than real ones the types are larger than their bytes: their number is bounded instead, so that
/// no body takes more than the largest body may have.
#[test]
fn as_many_of_the_smallest_things_as_may_be_take_no_more_than_the_largest_body() {
    // A PublicMessage and a PrivateMessage with all that is in them empty.
    let proposal = [&[0, 1, 0, 1, 0][..], &[0; 8], &[1, 0, 0, 0, 0, 0, 2, 0, 0x0a, 0, 0]].concat();
    let one = HandshakeBundle::decode(&[&proposal[..], &[0]].concat()).unwrap();
    let message = one.first().expect("a proposal").clone();
    let bundle = HandshakeBundle::Proposals(vec![message; limits::PROPOSALS]).encode();
    let fanout = [&[0; 8][..], &[0, 1, 0, 2, 0], &[0; 8], &[1, 0, 0, 0, 0]].concat();
    let fanouts = fanout.repeat(limits::FANOUT_MESSAGES);
    for (what, input, decoder) in [("proposals", bundle, DECODERS[1].1), ("messages", fanouts, DECODERS[0].1)] {
        let mut decoded = false;
        let taken = allocation_counter::measure(|| decoded = decoder(&input));
        assert!(decoded, "{what}");
        assert!(taken.bytes_max <= limits::BODY as u64, "{what}: {} bytes at a time", taken.bytes_max);
    }
}

/// From one homeserver to an asset, and from there to the other homeserver: 64 MiB, and never more than some chunks of it in memory.
#[test]
fn a_large_file_crosses_in_the_memory_of_some_chunks() {
    const CHUNKS: usize = (64 << 20) / CHUNK;
    let dir = tempfile::tempdir().unwrap();
    let limits = SpoolLimits { file: 1 << 30, total: 1 << 30 };
    let spool = Spool::open(dir.path(), limits).unwrap().0;
    let chunk = vec![0x5a; CHUNK];
    let seal = || SealKey::from_random([1; 16], [2; 12]);
    let mut back = 0;
    let taken = allocation_counter::measure(|| {
        let mut filling = spool.begin(ToMimi::new(FromMatrix::Plain, seal()).unwrap()).unwrap();
        (0..CHUNKS).for_each(|_| filling.write(&chunk).unwrap());
        let (asset, sealed) = filling.finish().unwrap();
        let mut part = ExternalPart { url: "https://a.example/x".into(), ..ExternalPart::default() };
        sealed.describe(&mut part);
        let key = FileKey::from_random([3; 32], [4; 8]);
        let mut filling = spool.begin(ToMatrix::new(&part, 0, Some(key)).unwrap()).unwrap();
        let mut reader = asset.reader();
        while let Some(chunk) = reader.next_chunk().unwrap() {
            filling.write(&chunk).unwrap();
        }
        let (uploaded, opened) = filling.finish().unwrap();
        back = opened.bytes();
        assert_eq!(uploaded.bytes(), back);
        assert!(opened.encrypted_file("mxc://b.example/x".into()).is_some());
    });
    assert_eq!(back, (CHUNKS * CHUNK) as u64);
    assert!(taken.bytes_max <= 16 * CHUNK as u64, "{} bytes at a time", taken.bytes_max);
    assert_eq!(spool.bytes(), 0);
}
