//! Oblivious HTTP (RFC 9458, messages of RFC 9292) for assets: the gateway that we are as a hub, and our side towards another's.
//!
//! The gateway's keys live in memory, an hour as the newest and one more. All requests that came under a key are remembered as long
//! as the key, by hash: a request is worked on once.

use std::{
    collections::BTreeSet,
    io::{self, Cursor},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::body::Bytes;
use bhttp::{Message, Mode, StatusCode};
use http::header::{CONTENT_TYPE, HOST};
use ohttp::{
    ClientRequest, KeyConfig, SymmetricSuite,
    hpke::{Aead, Kdf, Kem},
};
use sha2::{Digest, Sha256};
use tokio::{sync::Semaphore, time::Instant};

use super::{AssetSettings, Assets, FetchError, Sink};
use crate::{
    ident::ProviderDomain,
    mimi::{MimiPeers, refusal::Refusal},
    wire::path::DownloadUrl,
};

/// How long a key is the newest; then it is taken for as long again.
pub(in crate::mimi) const KEY_LIFE: Duration = Duration::from_hours(1);
/// Requests under one key, after which there is a new one.
const MAX_REQUESTS: usize = 100_000;

/// The gateway.
pub(super) struct Gateway {
    keys: Mutex<Keys>,
    turns: Semaphore,
    max_bytes: u64,
}

struct Keys {
    newest: Key,
    before: Option<Key>,
}

struct Key {
    id: u8,
    server: Arc<ohttp::Server>,
    since: Instant,
    seen: BTreeSet<[u8; 32]>,
}

impl Key {
    fn new(id: u8, now: Instant) -> Result<Self, ohttp::Error> {
        let suites = [Aead::Aes128Gcm, Aead::ChaCha20Poly1305].map(|aead| SymmetricSuite::new(Kdf::HkdfSha256, aead));
        let config = KeyConfig::new(id, Kem::X25519Sha256, suites.to_vec())?;
        Ok(Self { id, server: Arc::new(ohttp::Server::new(config)?), since: now, seen: BTreeSet::new() })
    }
}

impl Keys {
    /// Puts a new key in place of an old or a much used one.
    fn turn(&mut self, now: Instant) {
        if self.before.as_ref().is_some_and(|key| key.since + 2 * KEY_LIFE <= now) {
            self.before = None;
        }
        if self.newest.since + KEY_LIFE > now && self.newest.seen.len() < MAX_REQUESTS {
            return;
        }
        match Key::new(self.newest.id.wrapping_add(1), now) {
            Ok(key) => {
                let before = std::mem::replace(&mut self.newest, key);
                self.before = (before.since + 2 * KEY_LIFE > now).then_some(before);
            }
            Err(error) => tracing::error!(%error, "no new key for Oblivious HTTP, the old one is used on"),
        }
    }

    fn find(&mut self, id: u8) -> Option<&mut Key> {
        [Some(&mut self.newest), self.before.as_mut()].into_iter().flatten().find(|key| key.id == id)
    }
}

impl Gateway {
    pub(super) fn new(settings: &AssetSettings) -> io::Result<Self> {
        let mut id = [0];
        getrandom::fill(&mut id).map_err(|error| io::Error::other(error.to_string()))?;
        let newest = Key::new(id[0], Instant::now()).map_err(io::Error::other)?;
        Ok(Self {
            keys: Mutex::new(Keys { newest, before: None }),
            turns: Semaphore::new(settings.max_oblivious_requests.min(Semaphore::MAX_PERMITS)),
            max_bytes: settings.max_oblivious_bytes,
        })
    }

    fn keys(&self, now: Instant) -> MutexGuard<'_, Keys> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.turn(now);
        keys
    }

    /// The newest key's configuration (`application/ohttp-keys`).
    fn configurations(&self, now: Instant) -> Result<Vec<u8>, ohttp::Error> {
        KeyConfig::encode_list(&[self.keys(now).newest.server.config()])
    }

    /// Opens a request that has not come before.
    fn open(&self, request: &[u8], now: Instant) -> Result<(Vec<u8>, ohttp::ServerResponse), Refusal> {
        let id = *request.first().ok_or(Refusal::ObliviousKey)?;
        let hash: [u8; 32] = Sha256::digest(request).into();
        let server = {
            let mut keys = self.keys(now);
            let key = keys.find(id).ok_or(Refusal::ObliviousKey)?;
            if key.seen.contains(&hash) {
                return Err(Refusal::Replay);
            }
            Arc::clone(&key.server)
        };
        let opened = server.decapsulate(request).map_err(|_| Refusal::ObliviousKey)?;
        // Once more, since the same may have come twice at a time. What does not open is not remembered.
        let mut keys = self.keys(now);
        let key = keys.find(id).ok_or(Refusal::ObliviousKey)?;
        if key.seen.insert(hash) { Ok(opened) } else { Err(Refusal::Replay) }
    }
}

impl Assets {
    /// The configurations of our gateway's keys.
    pub(in crate::mimi) fn oblivious_configurations(&self) -> Result<Vec<u8>, Refusal> {
        self.gateway.configurations(Instant::now()).map_err(|error| FetchError::Disk(error.to_string()).into())
    }

    /// Answers an encapsulated request. What it asks for in vain is said inside the encapsulated answer.
    pub(in crate::mimi) async fn oblivious(&self, request: &[u8]) -> Result<Vec<u8>, Refusal> {
        let _turn = self.gateway.turns.try_acquire().map_err(|_| FetchError::Busy)?;
        let (request, seal) = self.gateway.open(request, Instant::now())?;
        let (status, asset) = match self.asked(&request).await {
            Ok(asset) => (200, asset),
            Err(refusal) => {
                tracing::debug!(%refusal, "an encapsulated request is refused");
                (refusal.status().as_u16(), Vec::new())
            }
        };
        let sealed = tokio::task::spawn_blocking(move || {
            let mut answer = Message::response(StatusCode::try_from(status).map_err(|error| error.to_string())?);
            answer.put_header(CONTENT_TYPE.as_str(), "application/octet-stream");
            answer.write_content(asset);
            let mut bytes = Vec::new();
            answer.write_bhttp(Mode::KnownLength, &mut bytes).map_err(|error| error.to_string())?;
            seal.encapsulate(&bytes).map_err(|error| error.to_string())
        });
        let sealed = sealed.await.map_err(|error| error.to_string());
        Ok(sealed.and_then(|sealed| sealed).map_err(FetchError::Disk)?)
    }

    /// The asset that an opened request asks for.
    async fn asked(&self, request: &[u8]) -> Result<Vec<u8>, Refusal> {
        let url = target(request)?;
        let (source, total) = self.direct(&url).await?;
        let limit = self.gateway.max_bytes;
        if total.is_some_and(|total| total > limit) {
            return Err(FetchError::TooLarge(limit).into());
        }
        let file = source.finished().await?;
        if file.bytes() > limit {
            return Err(FetchError::TooLarge(limit).into());
        }
        Ok(file.read().await.map_err(|error| FetchError::Disk(error.to_string()))?)
    }
}

/// The URL of a binary HTTP request: a GET without content. Its other fields are not looked at, and go nowhere.
fn target(request: &[u8]) -> Result<DownloadUrl, Refusal> {
    const BAD: Refusal = Refusal::BadPath("not a binary HTTP request for an asset");
    let message = Message::read_bhttp(&mut Cursor::new(request)).map_err(|_| BAD)?;
    let control = message.control();
    if control.method() != Some(b"GET") {
        return Err(Refusal::WrongMethod);
    }
    if !message.content().is_empty() {
        return Err(BAD);
    }
    let text =
        |bytes: Option<&[u8]>| bytes.and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default().to_owned();
    let mut authority = text(control.authority());
    if authority.is_empty() {
        authority = text(message.header().get(HOST.as_str().as_bytes()));
    }
    let url = format!("{}://{authority}{}", text(control.scheme()), text(control.path()));
    DownloadUrl::parse(&url).map_err(|_| Refusal::BadPath("not the URL of an asset"))
}

/// Asks a hub's gateway for an asset.
pub(super) async fn fetch(
    peers: &MimiPeers,
    hub: &ProviderDomain,
    url: &DownloadUrl,
    limit: u64,
    sink: &Sink,
) -> Result<(), FetchError> {
    let bad = |what: &dyn std::fmt::Display| FetchError::Bad(format!("Oblivious HTTP: {what}"));
    let keys = peers.oblivious_keys(hub).await.map_err(|error| bad(&error))?;
    let path = url.as_str().strip_prefix("https://").and_then(|rest| rest.strip_prefix(url.host().as_str()));
    let ask = Message::request(
        b"GET".to_vec(),
        b"https".to_vec(),
        url.host().as_str().as_bytes().to_vec(),
        path.unwrap_or_default().as_bytes().to_vec(),
    );
    let mut request = Vec::new();
    ask.write_bhttp(Mode::KnownLength, &mut request).map_err(|error| bad(&error))?;
    let client = ClientRequest::from_encoded_config_list(&keys).map_err(|error| bad(&error))?;
    let (sealed, opener) = client.encapsulate(&request).map_err(|error| bad(&error))?;
    let answer = peers.relay(hub, &sealed, limit).await.map_err(|error| bad(&error))?;
    let answer = opener.decapsulate(&answer).map_err(|error| bad(&error))?;
    let answer = Message::read_bhttp(&mut Cursor::new(answer)).map_err(|error| bad(&error))?;
    match answer.control().status().map(StatusCode::code) {
        Some(200) => {}
        Some(404) => return Err(FetchError::NotFound),
        Some(403) => return Err(FetchError::Refused("by the hub".into())),
        status => return Err(bad(&format!("answered {}", status.unwrap_or_default()))),
    }
    let asset = Bytes::copy_from_slice(answer.content());
    sink.begin(Some(asset.len() as u64));
    sink.write(asset).await.map_err(|error| FetchError::Disk(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gateway() -> Gateway {
        Gateway::new(&AssetSettings::default()).unwrap()
    }

    fn request(keys: &[u8]) -> Vec<u8> {
        ClientRequest::from_encoded_config_list(keys).unwrap().encapsulate(b"x").unwrap().0
    }

    #[test]
    fn a_request_opens_once_and_only_under_its_key() {
        let (gateway, other, now) = (gateway(), gateway(), Instant::now());
        let sealed = request(&gateway.configurations(now).unwrap());
        assert_eq!(gateway.open(&sealed, now).unwrap().0, b"x");
        assert_eq!(gateway.open(&sealed, now).unwrap_err(), Refusal::Replay);
        assert_eq!(
            other.open(&request(&gateway.configurations(now).unwrap()), now).unwrap_err(),
            Refusal::ObliviousKey
        );
        let mut broken = request(&gateway.configurations(now).unwrap());
        *broken.last_mut().unwrap() ^= 1;
        assert_eq!(gateway.open(&broken, now).unwrap_err(), Refusal::ObliviousKey);
        assert_eq!(gateway.open(&[], now).unwrap_err(), Refusal::ObliviousKey);
        assert_eq!(gateway.open(&sealed[..7], now).unwrap_err(), Refusal::ObliviousKey);
    }

    #[test]
    fn a_key_is_taken_for_two_hours_and_remembers_as_long() {
        let (gateway, start) = (gateway(), Instant::now());
        let keys = gateway.configurations(start).unwrap();
        let (early, late) = (request(&keys), request(&keys));
        gateway.open(&early, start).unwrap();
        let later = start + KEY_LIFE + Duration::from_mins(30);
        assert_ne!(gateway.configurations(later).unwrap(), keys);
        assert_eq!(gateway.open(&early, later).unwrap_err(), Refusal::Replay);
        gateway.open(&late, later).unwrap();
        let end = start + 2 * KEY_LIFE;
        assert_eq!(gateway.open(&request(&keys), end).unwrap_err(), Refusal::ObliviousKey);
        assert_eq!(gateway.open(&early, end).unwrap_err(), Refusal::ObliviousKey);
    }

    #[test]
    fn only_a_get_of_an_asset_is_a_target() {
        let of = |method: &str, scheme: &str, authority: &str, path: &str, content: &[u8]| {
            let [method, scheme, authority, path] =
                [method, scheme, authority, path].map(|text| text.as_bytes().to_vec());
            let mut message = Message::request(method, scheme, authority, path);
            message.write_content(content);
            let mut bytes = Vec::new();
            message.write_bhttp(Mode::KnownLength, &mut bytes).unwrap();
            target(&bytes).map(|url| url.as_str().to_owned()).map_err(|refusal| refusal.status().as_u16())
        };
        assert_eq!(of("GET", "https", "b.example", "/assets/1?x", b"").unwrap(), "https://b.example/assets/1?x");
        assert_eq!(of("POST", "https", "b.example", "/assets/1", b""), Err(405));
        for (scheme, authority, path, content) in [
            ("http", "b.example", "/1", ""),
            ("https", "127.0.0.1", "/1", ""),
            ("https", "u@b.example", "/1", ""),
            ("https", "b.example:8443", "/1", ""),
            ("https", "", "/1", ""),
            ("https", "b.example", "1", ""),
            ("https", "b.example", "/../1", ""),
            ("https", "b.example", "/1", "content"),
        ] {
            assert_eq!(of("GET", scheme, authority, path, content.as_bytes()), Err(400), "{scheme} {authority} {path}");
        }
        assert_eq!(target(b"\xff\xff").unwrap_err().status(), 400);
    }
}
