//! Published vectors, the one-shot forms as second opinion, and what happens to files that were changed on their way.

use aes_gcm::{
    Aes128Gcm, Aes256Gcm, KeyInit,
    aead::{Aead as _, Payload},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::*;
use crate::content::ExternalPart;

const NONCE: [u8; NONCE_LEN] = [5; NONCE_LEN];

/// Bytes that do not repeat within a block.
fn text(len: usize) -> Vec<u8> {
    (0..len).map(|i| u8::try_from((i * 31 + i / 251) % 256).unwrap()).collect()
}

fn seal(key: &[u8], nonce: [u8; NONCE_LEN], aad: &[u8], text: &[u8], chunk: usize) -> Vec<u8> {
    let mut sealer = GcmSealer::new(key, nonce, aad).unwrap();
    let mut out = text.to_vec();
    out.chunks_mut(chunk).for_each(|chunk| sealer.seal(chunk).unwrap());
    out.extend(sealer.finish());
    out
}

fn open(key: &[u8], nonce: [u8; NONCE_LEN], aad: &[u8], sealed: &[u8], chunk: usize) -> Result<Vec<u8>, MediaError> {
    let mut opener = GcmOpener::new(key, nonce, aad).unwrap();
    let mut out = Unverified::new();
    let mut given = 0;
    for chunk in sealed.chunks(chunk) {
        opener.open(chunk, &mut out).unwrap();
        given += chunk.len();
        assert_eq!(out.len(), given.saturating_sub(TAG_LEN));
    }
    opener.finish()?;
    Ok(std::mem::take(out.spool()))
}

fn run<P: Pipe>(mut pipe: P, input: &[u8], chunk: usize) -> Result<(P::Done, Vec<u8>), MediaError> {
    let mut out = Unverified::new();
    for chunk in input.chunks(chunk) {
        pipe.feed(chunk, &mut out)?;
    }
    let done = pipe.finish(&mut out)?;
    Ok((done, std::mem::take(out.spool())))
}

// ------------------------------------------------------------------------------------------------------------- GCM

/// Test cases 1 to 4 and 16 of "The Galois/Counter Mode of Operation", the paper to which SP 800-38D refers.
#[test]
fn the_published_vectors_of_gcm() {
    let key = "feffe9928665731c6d6a8f9467308308";
    let long = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525\
                b16aedf5aa0de657ba637b391aafd255";
    let short = &long[..120];
    let aad = "feedfacedeadbeeffeedfacedeadbeefabaddad2";
    let sealed = "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa05\
                  1ba30b396a0aac973d58e091473f5985";
    let sealed_256 = "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b10568288\
                      38c5f61e6393ba7a0abcc9f662";
    let zero = "00000000000000000000000000000000";
    for (key, nonce, text, aad, sealed, tag) in [
        (zero, &zero[..24], "", "", "", "58e2fccefa7e3061367f1d57a4e7455a"),
        (zero, &zero[..24], zero, "", "0388dace60b6a392f328c2b971b2fe78", "ab6e47d42cec13bdf53a67b21257bddf"),
        (key, "cafebabefacedbaddecaf888", long, "", sealed, "4d5c2af327cd64a62cf35abd2ba6fab4"),
        (key, "cafebabefacedbaddecaf888", short, aad, &sealed[..120], "5bc94fbc3221a5db94fae95ae7121a47"),
        (&key.repeat(2), "cafebabefacedbaddecaf888", short, aad, sealed_256, "76fc6ece0f4e1768cddf8853bb2d551b"),
    ] {
        let bytes = |hex: &str| hex::decode(hex).unwrap();
        let (key, text, aad) = (bytes(key), bytes(text), bytes(aad));
        let nonce = bytes(nonce).try_into().unwrap();
        let whole = bytes(&format!("{sealed}{tag}"));
        for chunk in 1..=65 {
            assert_eq!(hex::encode(seal(&key, nonce, &aad, &text, chunk)), hex::encode(&whole), "chunks of {chunk}");
            assert_eq!(open(&key, nonce, &aad, &whole, chunk).unwrap(), text, "chunks of {chunk}");
        }
    }
}

#[test]
fn a_stream_is_sealed_as_in_one_piece_whatever_its_length_and_chunks() {
    let around = |at: usize| [at - 17, at - 16, at - 1, at, at + 1, at + 15];
    let lengths = (0..=80).chain(around(8 * 1024)).chain(around(CHUNK));
    for len in lengths {
        let text = text(len);
        for aad_len in if len <= 80 { vec![0, 1, 16, 20] } else { vec![3] } {
            let aad = &text[..aad_len.min(len)];
            for key in [vec![7; 16], vec![8; 32]] {
                let payload = Payload { msg: &text, aad };
                let whole = if key.len() == 16 {
                    Aes128Gcm::new_from_slice(&key).unwrap().encrypt(&NONCE.into(), payload).unwrap()
                } else {
                    Aes256Gcm::new_from_slice(&key).unwrap().encrypt(&NONCE.into(), payload).unwrap()
                };
                let chunks = if len > 80 { [4095, 8 * 1024, CHUNK - 1, CHUNK, CHUNK + 1] } else { [1, 15, 16, 17, 33] };
                for chunk in chunks {
                    assert!(seal(&key, NONCE, aad, &text, chunk) == whole, "{len} bytes in chunks of {chunk}");
                    assert!(open(&key, NONCE, aad, &whole, chunk).unwrap() == text, "{len} bytes in chunks of {chunk}");
                }
            }
        }
    }
}

#[test]
fn what_was_changed_does_not_open() {
    let (key, aad) = ([7; 16], b"said with it");
    let sealed = seal(&key, NONCE, aad, &text(100), 100);
    assert!(open(&key, NONCE, aad, &sealed, 33).is_ok());
    for byte in 0..sealed.len() {
        for bit in [0x01, 0x80] {
            let mut changed = sealed.clone();
            changed[byte] ^= bit;
            assert_eq!(open(&key, NONCE, aad, &changed, 33), Err(MediaError::Tag), "byte {byte}");
        }
    }
    for len in 0..sealed.len() {
        assert_eq!(open(&key, NONCE, aad, &sealed[..len], 33), Err(MediaError::Tag), "cut to {len}");
    }
    let longer = [&sealed[..], &[0]].concat();
    assert_eq!(open(&key, NONCE, aad, &longer, 33), Err(MediaError::Tag));
    assert_eq!(open(&key, [6; NONCE_LEN], aad, &sealed, 33), Err(MediaError::Tag));
    assert_eq!(open(&[8; 16], NONCE, aad, &sealed, 33), Err(MediaError::Tag));
    assert_eq!(open(&key, NONCE, b"", &sealed, 33), Err(MediaError::Tag));
}

#[test]
fn a_key_has_the_length_of_its_algorithm() {
    for len in (0..64).filter(|len| ![16, 32].contains(len)) {
        assert_eq!(GcmSealer::new(&vec![0; len], NONCE, b"").err(), Some(MediaError::Key(len)));
    }
}

// --------------------------------------------------------------------------------------------- encrypted attachments

fn encrypted_file(k: &str, iv: &str, sha256: &str) -> Value {
    json!({
        "v": "v2",
        "url": "mxc://matrix.example/abc",
        "key": {"alg": "A256CTR", "ext": true, "k": k, "key_ops": ["encrypt", "decrypt"], "kty": "oct"},
        "iv": iv,
        "hashes": {"sha256": sha256},
    })
}

/// Ciphertexts that Matrix clients test each other with (matrix-encrypt-attachment and the SDKs that took them over).
#[test]
fn attachments_of_other_clients_open() {
    use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
    let ones = "__________________________________________8";
    for (sealed, k, iv, sha256, text) in [
        (
            "",
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "AAAAAAAAAAAAAAAAAAAAAA",
            "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU",
            "",
        ),
        (
            "5xJZTt5cQicm+9f4",
            ones,
            "//////////8AAAAAAAAAAA",
            "YzF08lARDdOCzJpzuSwsjTNlQc4pHxpdHcXiD/wpK6k",
            "Hello, World",
        ),
        (
            "zhtFStAeFx0s+9L/sSQO+WQMtldqYEHqTxMduJrCIpnkyer09kxJJuA4K+adQE4w+7jZe/vR9kIcqj9rOhDR8Q",
            ones,
            "//////////8AAAAAAAAAAA",
            "IOq7/dHHB+mfHfxlRY5XMeCWEwTPmlf4cJcgrkf6fVU",
            "alphanumericallyalphanumericallyalphanumericallyalphanumerically",
        ),
    ] {
        let file = EncryptedFile::parse(&encrypted_file(k, iv, sha256)).unwrap();
        let sealed = STANDARD_NO_PAD.decode(sealed).unwrap();
        assert_eq!(Sha256::digest(&sealed)[..], file.sha256);
        for chunk in [1, 5, 16, 100] {
            let mut stream = CtrStream::new(&file.key);
            let mut out = sealed.clone();
            out.chunks_mut(chunk).for_each(|chunk| stream.apply(chunk).unwrap());
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }
}

#[test]
fn an_encrypted_file_reads_as_it_was_written() {
    // The shape of the specification's example.
    let k = "aWF6-32KGYaC3A_FEUCk1Bt0JA37zP0wrStgmdCaW-0";
    let example = encrypted_file(k, "w+sE15fzSc0AAAAAAAAAAA", "fdSLu/YkRx3Wyh3KQabP3rd6+SFiKg5lsJZQHtkSAYA");
    let file = EncryptedFile::parse(&example).unwrap();
    assert_eq!(file.to_json(), example);
    assert_eq!(EncryptedFile::parse(&file.to_json()), Ok(file.clone()));
    assert!(!format!("{file:?}").contains(k), "a key was printed");
    // Padding, and fields that nobody needs, are let pass.
    let padded =
        encrypted_file(&format!("{k}="), "w+sE15fzSc0AAAAAAAAAAA==", "fdSLu/YkRx3Wyh3KQabP3rd6+SFiKg5lsJZQHtkSAYA=");
    assert_eq!(EncryptedFile::parse(&padded), Ok(file));
}

#[test]
fn an_encrypted_file_that_cannot_be_checked_or_opened_is_refused() {
    let good = || encrypted_file(&"A".repeat(43), &"A".repeat(22), &"A".repeat(43));
    assert!(EncryptedFile::parse(&good()).is_ok());
    for (change, told) in [
        ((|f| f["v"] = json!("v1")) as fn(&mut Value), FileFault::Version),
        (|f| f["v"] = json!(null), FileFault::Version),
        (|f| f["url"] = json!("https://matrix.example/abc"), FileFault::Field("url")),
        (|f| f["url"] = json!(7), FileFault::Field("url")),
        (|f| f["key"] = json!("AAAA"), FileFault::Field("key")),
        (|f| f["key"]["alg"] = json!("A128CTR"), FileFault::Algorithm),
        (|f| f["key"]["kty"] = json!("RSA"), FileFault::Algorithm),
        (|f| f["key"]["k"] = json!("A".repeat(42)), FileFault::Field("k")),
        (|f| f["key"]["k"] = json!("A".repeat(1 << 20)), FileFault::Field("k")),
        (|f| f["key"]["k"] = json!("+".repeat(43)), FileFault::Field("k")),
        (|f| f["iv"] = json!("A".repeat(21)), FileFault::Field("iv")),
        (|f| f["hashes"] = json!({}), FileFault::Field("hashes")),
        (|f| f["hashes"]["sha256"] = json!(""), FileFault::Field("hashes")),
        (|f| *f = json!("mxc://matrix.example/abc"), FileFault::Field("file")),
    ] {
        let mut file = good();
        change(&mut file);
        assert_eq!(EncryptedFile::parse(&file), Err(told), "{file}");
    }
}

// ----------------------------------------------------------------------------------------------------------- pipes

fn seal_key() -> SealKey {
    SealKey::from_random([3; 16], [4; NONCE_LEN])
}

/// What a Matrix client uploads, and what it says of it.
fn upload(text: &[u8]) -> (EncryptedFile, Vec<u8>) {
    let key = FileKey::from_random([1; 32], [2; 8]);
    let mut sealed = text.to_vec();
    CtrStream::new(&key).apply(&mut sealed).unwrap();
    let sha256 = Sha256::digest(&sealed).into();
    (EncryptedFile { url: "mxc://matrix.example/abc".into(), key, sha256 }, sealed)
}

fn part(sealed: &Sealed) -> ExternalPart {
    let mut part = ExternalPart { url: "https://a.example/x".into(), ..ExternalPart::default() };
    sealed.describe(&mut part);
    part
}

#[test]
fn an_attachment_goes_to_mimi_and_back() {
    for len in [0, 1, 15, 16, 17, 8191, 8192, 8193, CHUNK, 3 * CHUNK + 5] {
        let text = text(len);
        let (file, uploaded) = upload(&text);
        for chunk in [1000, CHUNK, 1 << 20] {
            let (sealed, asset) =
                run(ToMimi::new(FromMatrix::Encrypted(&file), seal_key()).unwrap(), &uploaded, chunk).unwrap();
            let (plain, from_plain) = run(ToMimi::new(FromMatrix::Plain, seal_key()).unwrap(), &text, chunk).unwrap();
            assert!((&plain, &from_plain) == (&sealed, &asset), "{len}: plaintext and ciphertext come to the same");
            assert_eq!((sealed.bytes(), sealed.asset_bytes()), (len as u64, asset.len() as u64));
            // Anybody with a one-shot AES-128-GCM reads it.
            let part = part(&sealed);
            assert_eq!((part.enc_alg, part.hash_alg, part.size), (1, 1, len as u64));
            assert_eq!(part.content_hash, Sha256::digest(&asset)[..]);
            let gcm = Aes128Gcm::new_from_slice(&part.key).unwrap();
            assert!(gcm.decrypt(part.nonce.as_slice().try_into().unwrap(), asset.as_slice()).unwrap() == text);

            let (opened, out) = run(ToMatrix::new(&part, 0, None).unwrap(), &asset, chunk).unwrap();
            assert!(
                out == text
                    && opened.bytes() == len as u64
                    && opened.encrypted_file("mxc://b.example/y".into()).is_none()
            );

            let key = FileKey::from_random([9; 32], [8; 8]);
            let (opened, mut out) = run(ToMatrix::new(&part, 0, Some(key)).unwrap(), &asset, chunk).unwrap();
            assert!(len == 0 || out != text, "nothing is readable on the homeserver");
            let file = opened.encrypted_file("mxc://b.example/y".into()).unwrap();
            assert_eq!(Sha256::digest(&out)[..], file.sha256);
            let file = EncryptedFile::parse(&file.to_json()).unwrap();
            CtrStream::new(&file.key).apply(&mut out).unwrap();
            assert!(out == text, "{len} bytes in chunks of {chunk}");
        }
    }
}

#[test]
fn a_file_that_is_not_the_one_that_was_sent_does_not_come_through() {
    let (file, mut uploaded) = upload(&text(20_000));
    let to_mimi = |uploaded: &[u8]| run(ToMimi::new(FromMatrix::Encrypted(&file), seal_key()).unwrap(), uploaded, 3000);
    let (sealed, mut asset) = to_mimi(&uploaded).unwrap();
    let good = part(&sealed);
    let to_matrix =
        |part: &ExternalPart, asset: &[u8]| run(ToMatrix::new(part, 0, None).unwrap(), asset, 3000).map(|_| ());

    assert_eq!(to_mimi(&uploaded[1..]), Err(MediaError::Hash));
    uploaded[12_345] ^= 1;
    assert_eq!(to_mimi(&uploaded), Err(MediaError::Hash));

    assert_eq!(to_matrix(&good, &asset), Ok(()));
    assert_eq!(to_matrix(&good, &asset[..19_999]), Err(MediaError::Hash));
    asset[12_345] ^= 1;
    assert_eq!(to_matrix(&good, &asset), Err(MediaError::Hash));
    // A hash that fits what was changed does not help: the tag tells.
    let fitting = ExternalPart { content_hash: Sha256::digest(&asset).to_vec(), ..good };
    assert_eq!(to_matrix(&fitting, &asset), Err(MediaError::Tag));
}

#[test]
fn what_cannot_be_opened_is_told_before_anything_is_fetched() {
    let sealed = run(ToMimi::new(FromMatrix::Plain, seal_key()).unwrap(), b"text", 10).unwrap().0;
    let told = |change: fn(&mut ExternalPart)| {
        let mut part = part(&sealed);
        change(&mut part);
        ToMatrix::new(&part, 5_000, None).err()
    };
    assert_eq!(told(|_| {}), None);
    assert_eq!(told(|p| p.expires = 5), Some(MediaError::External(ExternalFault::Expired)));
    assert_eq!(told(|p| p.content_hash.clear()), Some(MediaError::External(ExternalFault::Length("contentHash"))));
    assert_eq!(told(|p| p.enc_alg = 7), Some(MediaError::External(ExternalFault::Encryption(7))));
    assert_eq!(told(|p| p.enc_alg = 29), Some(MediaError::External(ExternalFault::Length("key"))));
}

/// A part that says how an asset opens, as other providers write it.
fn sealed_by_others(enc_alg: u16, key: &[u8], size: u64, asset: &[u8]) -> ExternalPart {
    ExternalPart {
        url: "https://a.example/x".into(),
        size,
        enc_alg,
        key: key.to_vec(),
        nonce: NONCE.to_vec(),
        aad: b"aad".to_vec(),
        hash_alg: 1,
        content_hash: Sha256::digest(asset).to_vec(),
        ..ExternalPart::default()
    }
}

#[test]
fn files_with_short_tags_and_of_chacha_open_and_changed_ones_do_not() {
    use chacha20poly1305::{ChaCha20Poly1305, aead::Aead as _};
    let key = [7; 32];
    for len in (0..=40).chain([8191, 8192, 8193, 8205, CHUNK + 3]) {
        let text = text(len);
        let whole = seal(&key, NONCE, b"aad", &text, 100);
        let short = whole[..whole.len() - 4].to_vec();
        let one_shot = <ChaCha20Poly1305 as chacha20poly1305::KeyInit>::new_from_slice(&key).unwrap();
        let payload = chacha20poly1305::aead::Payload { msg: &text, aad: b"aad" };
        let chacha = one_shot.encrypt(&NONCE.into(), payload).unwrap();
        let size = len as u64;
        // AEAD 8 has a tag of 12 bytes; Air writes it with 16, and says how long the file is.
        for (code, size, asset) in
            [(8, 0, &short), (8, size, &short), (8, size, &whole), (29, 0, &chacha), (29, size, &chacha)]
        {
            if (code, size, len) == (8, 0, 0) && asset.len() == whole.len() {
                continue;
            }
            let part = sealed_by_others(code, &key, size, asset);
            for chunk in [1, 7, 16, 4096] {
                let (opened, out) = run(ToMatrix::new(&part, 0, None).unwrap(), asset, chunk).unwrap();
                assert!(out == text && opened.bytes() == len as u64, "AEAD {code}, {len} bytes in chunks of {chunk}");
            }
            let key = FileKey::from_random([9; 32], [8; 8]);
            let (opened, mut out) = run(ToMatrix::new(&part, 0, Some(key)).unwrap(), asset, 4096).unwrap();
            let file = opened.encrypted_file("mxc://b.example/y".into()).unwrap();
            assert_eq!(Sha256::digest(&out)[..], file.sha256);
            CtrStream::new(&file.key).apply(&mut out).unwrap();
            assert!(out == text, "AEAD {code}, {len} bytes, encrypted for the room");
            if len > 40 {
                continue;
            }
            for byte in 0..asset.len() {
                let mut changed = asset.clone();
                changed[byte] ^= 0x40;
                let part = sealed_by_others(code, &[7; 32], size, &changed);
                let result = run(ToMatrix::new(&part, 0, None).unwrap(), &changed, 4096);
                assert_eq!(result.err(), Some(MediaError::Tag), "AEAD {code}, {len} bytes, byte {byte}");
            }
        }
        let wrong = ExternalPart { aad: Vec::new(), ..sealed_by_others(29, &key, size, &chacha) };
        assert_eq!(run(ToMatrix::new(&wrong, 0, None).unwrap(), &chacha, 64).err(), Some(MediaError::Tag));
        let cut = sealed_by_others(8, &key, 0, &short[..11]);
        assert_eq!(run(ToMatrix::new(&cut, 0, None).unwrap(), &short[..11], 64).err(), Some(MediaError::Tag));
    }
}

#[test]
fn other_algorithms_of_other_providers_open() {
    use sha2::{Sha384, Sha512};
    let text = text(1000);
    let asset = seal(&[7; 32], NONCE, b"aad", &text, 100);
    for (hash_alg, content_hash) in [
        (1, Sha256::digest(&asset).to_vec()),
        (7, Sha384::digest(&asset).to_vec()),
        (8, Sha512::digest(&asset).to_vec()),
    ] {
        let part = ExternalPart {
            url: "https://a.example/x".into(),
            enc_alg: 2,
            key: vec![7; 32],
            nonce: NONCE.to_vec(),
            aad: b"aad".to_vec(),
            hash_alg,
            content_hash,
            ..ExternalPart::default()
        };
        assert!(run(ToMatrix::new(&part, 0, None).unwrap(), &asset, 64).unwrap().1 == text);
    }
    // Public content is as it is, with or without a hash.
    let public = ExternalPart { url: "https://a.example/x".into(), ..ExternalPart::default() };
    assert!(run(ToMatrix::new(&public, 0, None).unwrap(), &text, 64).unwrap().1 == text);
    let hashed = ExternalPart { hash_alg: 1, content_hash: vec![0; 32], ..public };
    assert_eq!(run(ToMatrix::new(&hashed, 0, None).unwrap(), &text, 64).err(), Some(MediaError::Hash));
}

#[test]
fn nothing_secret_is_printed() {
    let sealed = run(ToMimi::new(FromMatrix::Plain, seal_key()).unwrap(), b"text", 10).unwrap().0;
    let mut out = Unverified::new();
    let mut pipe = ToMimi::new(FromMatrix::Plain, seal_key()).unwrap();
    pipe.feed(b"text", &mut out).unwrap();
    let printed = format!("{sealed:?} {pipe:?} {out:?}");
    assert!(!printed.contains("3, 3") && printed.contains("Unverified(4 bytes)"), "{printed}");
}
