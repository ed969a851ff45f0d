//! Files in memory: what a homeserver keeps, and the way to other silos' assets, which lie in real asset stores.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use mimi_gateway::{
    assets::{AssetError, AssetFile, AssetName, AssetStore, Quotas, Upload},
    content::ExternalPart,
    engine::{
        Files,
        ports::{Actor, Assets, CallError, Download, MatrixFiles, Pieces, Retry},
    },
    ident::{ProviderDomain, UserUri},
    policy::DownloadPrivacy,
    spool::{Spool, SpoolLimits, Spooled},
    store::{BoxFuture, Database},
    wire::path::DownloadUrl,
};
use ruma::{MxcUri, OwnedMxcUri};
use tempfile::TempDir;

use crate::homeserver::{Fault, Faults, lost};

/// The largest file.
pub(crate) const LARGEST: u64 = 1_000_000;

fn judge(faults: &Faults, call: &str) -> Result<(), CallError> {
    let fault = (faults.lock().unwrap())(call);
    match fault {
        Fault::None => Ok(()),
        Fault::Refused => Err(CallError { status: Some(404), ..lost("not there", Retry::Permanent) }),
        Fault::Panics => panic!("on purpose"),
        Fault::Before | Fault::After | Fault::Stuck | Fault::Later(_) => Err(lost("busy", Retry::Retriable(None))),
    }
}

fn now() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// The files of a homeserver.
pub(crate) struct FakeFiles {
    server: String,
    faults: Faults,
    files: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl FakeFiles {
    /// Somebody uploads a file.
    pub(crate) fn keep(&self, bytes: &[u8]) -> String {
        let mut files = self.files.lock().unwrap();
        let uri = format!("mxc://{}/file{}", self.server, files.len());
        files.insert(uri.clone(), bytes.to_vec());
        uri
    }

    /// Somebody downloads one.
    pub(crate) fn of(&self, uri: &str) -> Vec<u8> {
        self.files.lock().unwrap()[uri].clone()
    }
}

struct Bytes(std::vec::IntoIter<Vec<u8>>);

impl Pieces for Bytes {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Vec<u8>>, CallError>> {
        let next = self.0.next();
        Box::pin(async move { Ok(next) })
    }
}

impl MatrixFiles for FakeFiles {
    fn download<'a>(&'a self, file: &'a MxcUri) -> BoxFuture<'a, Result<Download, CallError>> {
        Box::pin(async move {
            judge(&self.faults, &format!("download {file}"))?;
            let bytes = self.files.lock().unwrap().get(file.as_str()).cloned();
            let bytes = bytes.ok_or(CallError { status: Some(404), ..lost("not there", Retry::Permanent) })?;
            let pieces: Vec<Vec<u8>> = bytes.chunks(1000).map(<[u8]>::to_vec).collect();
            Ok(Download { bytes: Some(bytes.len() as u64), pieces: Box::new(Bytes(pieces.into_iter())) })
        })
    }

    fn thumbnail<'a>(&'a self, file: &'a MxcUri) -> BoxFuture<'a, Result<Download, CallError>> {
        self.download(file)
    }

    fn upload<'a>(
        &'a self,
        actor: &'a Actor,
        name: &'a str,
        _media_type: &'a str,
        file: &'a Spooled,
    ) -> BoxFuture<'a, Result<OwnedMxcUri, CallError>> {
        Box::pin(async move {
            assert!(*actor != Actor::Bot || name == "avatar", "who says it uploads it");
            judge(&self.faults, &format!("upload {name}"))?;
            let (mut reader, mut bytes) = (file.reader(), Vec::new());
            while let Some(piece) = reader.next_chunk().unwrap() {
                bytes.extend(piece);
            }
            assert_eq!(bytes.len() as u64, file.bytes());
            Ok(self.keep(&bytes).into())
        })
    }

    fn largest_upload(&self) -> BoxFuture<'_, Result<Option<u64>, CallError>> {
        Box::pin(async { Ok(Some(LARGEST)) })
    }
}

/// The asset stores of all silos, by host.
#[derive(Default)]
pub(crate) struct AssetNet(Mutex<BTreeMap<String, AssetStore>>);

struct FakeAssets {
    own: ProviderDomain,
    store: AssetStore,
    net: Arc<AssetNet>,
    faults: Faults,
}

impl FakeAssets {
    fn name(url: &DownloadUrl) -> AssetName {
        url.as_str().rsplit('/').next().unwrap().parse().unwrap()
    }
}

impl Assets for FakeAssets {
    fn begin<'a>(&'a self, owner: &'a UserUri, name: AssetName) -> BoxFuture<'a, Result<Upload, AssetError>> {
        Box::pin(self.store.begin_as(name, owner.clone(), u64::MAX, now()))
    }

    fn url(&self, name: &AssetName) -> String {
        format!("https://{}/assets/{}", self.own, name.as_str())
    }

    fn get<'a>(
        &'a self,
        _hub: &'a ProviderDomain,
        url: &'a DownloadUrl,
        _ways: Option<&'a DownloadPrivacy>,
    ) -> BoxFuture<'a, Result<AssetFile, CallError>> {
        Box::pin(async move {
            judge(&self.faults, &format!("get {}", self.own))?;
            let store = self.net.0.lock().unwrap().get(url.host().as_str()).cloned();
            let store = store.ok_or_else(|| lost("nobody listens", Retry::Retriable(None)))?;
            let file = store.get(&Self::name(url), now()).await;
            let file = file.map_err(|error| lost(&error.to_string(), Retry::Retriable(None)))?;
            file.ok_or_else(|| lost("asset: not there", Retry::Permanent))
        })
    }

    fn delete<'a>(&'a self, url: &'a DownloadUrl) -> BoxFuture<'a, Result<bool, AssetError>> {
        Box::pin(async move { self.store.delete(&Self::name(url)).await })
    }
}

/// What a silo carries files with, over all its lives.
pub(crate) struct Carry {
    pub(crate) files: Arc<FakeFiles>,
    net: Arc<AssetNet>,
    faults: Faults,
    dir: TempDir,
    /// How long a sender's messages, and a room, wait for a file.
    pub(crate) hold: Mutex<Duration>,
    pub(crate) wait: Mutex<Duration>,
    /// How long the files of a message stay that was read and is gone.
    pub(crate) linger: Mutex<Duration>,
}

impl Carry {
    pub(crate) fn new(server: &str, net: &Arc<AssetNet>, faults: Faults) -> Self {
        let files = FakeFiles { server: server.to_owned(), faults: faults.clone(), files: Mutex::default() };
        Self {
            files: Arc::new(files),
            net: Arc::clone(net),
            faults,
            dir: tempfile::tempdir().unwrap(),
            hold: Mutex::new(Duration::from_mins(1)),
            wait: Mutex::new(Duration::from_secs(10)),
            linger: Mutex::new(Duration::from_hours(1)),
        }
    }

    /// For one life.
    pub(crate) async fn start(&self, own: &ProviderDomain, db: Database) -> Files {
        let quotas = Quotas { asset: LARGEST * 2, user: u64::MAX, peer: u64::MAX, total: u64::MAX, keep: u64::MAX };
        let opened = AssetStore::open(db, own.clone(), self.dir.path(), quotas, now()).await;
        let (store, _) = opened.unwrap();
        self.net.0.lock().unwrap().insert(own.to_string(), store.clone());
        let limits = SpoolLimits { file: LARGEST, total: 10 * LARGEST };
        let (spool, _) = Spool::open(&self.dir.path().join("spool"), limits).unwrap();
        let assets = FakeAssets { own: own.clone(), store, net: Arc::clone(&self.net), faults: self.faults.clone() };
        Files {
            matrix: Arc::clone(&self.files) as _,
            assets: Arc::new(assets),
            spool,
            max_bytes: LARGEST,
            hold: *self.hold.lock().unwrap(),
            wait: *self.wait.lock().unwrap(),
            linger: *self.linger.lock().unwrap(),
        }
    }

    /// Keeps a file as an asset of that silo, for somebody of any provider; what a message says of it.
    pub(crate) async fn offer(&self, at: &ProviderDomain, owner: &UserUri, bytes: &[u8]) -> ExternalPart {
        let store = self.net.0.lock().unwrap()[at.as_str()].clone();
        let mut upload = store.begin(owner.clone(), u64::MAX, now()).await.unwrap();
        upload.write(bytes).await.unwrap();
        let name = upload.finish().await.unwrap();
        ExternalPart {
            content_type: "image/png".to_owned(),
            url: format!("https://{at}/assets/{}", name.as_str()),
            size: bytes.len() as u64,
            ..ExternalPart::default()
        }
    }

    /// Nobody serves this silo's assets any more.
    pub(crate) fn end(&self, own: &ProviderDomain) {
        self.net.0.lock().unwrap().remove(own.as_str());
    }

    /// The files of assets that are there.
    pub(crate) fn assets(&self) -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(self.dir.path().join("assets")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }
}
