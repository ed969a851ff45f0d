use super::*;
use crate::store::{MasterKey, MemoryDisk, open_memory};

const DAY: Millis = 24 * 60 * 60 * 1000;
const NOW: Millis = 1_700_000_000_000;

/// A disk and a folder that outlive the process that uses them.
struct World {
    disk: MemoryDisk,
    dir: tempfile::TempDir,
    quotas: Quotas,
}

impl World {
    fn new() -> Self {
        let quotas = Quotas { asset: 1000, user: 2000, peer: 2500, total: 6000, keep: 30 * DAY };
        Self { disk: MemoryDisk::new(), dir: tempfile::tempdir().unwrap(), quotas }
    }

    async fn open(&self, now: Millis) -> (AssetStore, Swept) {
        let database = open_memory(&self.disk, &MasterKey::from_bytes([7; 32])).unwrap().database;
        let own = ProviderDomain::parse("a.example").unwrap();
        AssetStore::open(database, own, self.dir.path(), self.quotas.clone(), now).await.unwrap()
    }

    /// What is in the folder.
    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path().join(FOLDER)).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(FOLDER).join(name)
    }
}

fn user(name: &str) -> UserUri {
    UserUri::parse(&format!("mimi://{name}")).unwrap()
}

async fn read(store: &AssetStore, name: &AssetName, now: Millis) -> Option<Vec<u8>> {
    match store.get(name, now).await.unwrap() {
        Some(file) => Some(file.read().await.unwrap()),
        None => None,
    }
}

#[tokio::test]
async fn an_asset_is_there_after_a_restart_and_only_we_can_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new();
    let (store, _) = world.open(NOW).await;
    let name = store.put(user("a.example/u/alice"), b"sealed", NOW + DAY, NOW).await.unwrap();
    let other = store.put(user("a.example/u/alice"), b"sealed", NOW + DAY, NOW).await.unwrap();
    assert_ne!(name, other);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&world.path(name.as_str())), 0o600);
    assert_eq!(mode(&world.dir.path().join(FOLDER)), 0o700);
    drop(store);
    let (store, swept) = world.open(NOW).await;
    assert_eq!(swept, Swept::default());
    assert_eq!(read(&store, &name, NOW).await.unwrap(), b"sealed");
    assert_eq!(store.bytes(), 12);
    assert!(store.delete(&name).await.unwrap());
    assert!(!store.delete(&name).await.unwrap());
    assert_eq!(read(&store, &name, NOW).await, None);
    assert_eq!(world.files(), [other.as_str()]);
}

#[tokio::test]
async fn an_expired_asset_is_not_given_and_then_not_kept() {
    let world = World::new();
    let (store, _) = world.open(NOW).await;
    let alice = user("a.example/u/alice");
    let short = store.put(alice.clone(), b"short", NOW + DAY, NOW).await.unwrap();
    let long = store.put(alice.clone(), b"long", NOW + 1000 * DAY, NOW).await.unwrap();
    assert!(matches!(store.put(alice, b"never", NOW, NOW).await, Err(AssetError::Expired)));
    assert!(read(&store, &short, NOW + DAY - 1).await.is_some());
    assert!(read(&store, &short, NOW + DAY).await.is_none());
    assert_eq!(store.sweep(NOW + DAY - 1).await.unwrap().expired, 0);
    assert_eq!(store.sweep(NOW + DAY).await.unwrap().expired, 1);
    assert_eq!(world.files(), [long.as_str()]);
    // However long its owner wants it.
    assert!(read(&store, &long, NOW + 30 * DAY - 1).await.is_some());
    assert!(read(&store, &long, NOW + 30 * DAY).await.is_none());
    drop(store);
    let (store, swept) = world.open(NOW + 30 * DAY).await;
    assert_eq!((swept.expired, store.bytes()), (1, 0));
    assert!(world.files().is_empty());
}

#[tokio::test]
async fn quotas_of_asset_user_peer_and_all() {
    let world = World::new();
    let (store, _) = world.open(NOW).await;
    let bytes = [0; 1000];
    let put = async |name: &str, bytes: &[u8]| store.put(user(name), bytes, NOW + DAY, NOW).await;
    assert!(matches!(put("a.example/u/alice", &[0; 1001]).await, Err(AssetError::TooLarge(1000))));
    let first = put("a.example/u/alice", &bytes).await.unwrap();
    put("a.example/u/alice", &bytes).await.unwrap();
    assert!(matches!(put("a.example/u/alice", b"x").await, Err(AssetError::Quota(Quota::User))));
    // The provider's own users share no quota but the whole.
    put("a.example/u/anna", &bytes).await.unwrap();
    put("b.example/u/bob", &bytes).await.unwrap();
    put("b.example/u/bea", &bytes).await.unwrap();
    assert!(matches!(put("b.example/u/ben", &bytes).await, Err(AssetError::Quota(Quota::Peer))));
    put("c.example/u/cid", &bytes).await.unwrap();
    assert!(matches!(put("c.example/u/cleo", b"x").await, Err(AssetError::Quota(Quota::Total))));
    // What was refused took nothing, and what goes makes room.
    assert_eq!((store.bytes(), world.files().len()), (6000, 6));
    store.delete(&first).await.unwrap();
    put("a.example/u/alice", &bytes).await.unwrap();
    drop(store);
    let (store, _) = world.open(NOW).await;
    assert_eq!(store.bytes(), 6000);
    assert!(matches!(
        store.put(user("a.example/u/alice"), b"x", NOW + DAY, NOW).await,
        Err(AssetError::Quota(Quota::User))
    ));
}

#[tokio::test]
async fn uploads_that_run_at_a_time_cannot_exceed_a_quota_together() {
    let world = World::new();
    let (store, _) = world.open(NOW).await;
    let alice = || user("a.example/u/alice");
    let mut first = store.begin(alice(), NOW + DAY, NOW).await.unwrap();
    let mut second = store.begin(alice(), NOW + DAY, NOW).await.unwrap();
    let mut third = store.begin(alice(), NOW + DAY, NOW).await.unwrap();
    first.write(&[1; 1000]).await.unwrap();
    second.write(&[2; 900]).await.unwrap();
    assert!(matches!(third.write(&[3; 200]).await, Err(AssetError::Quota(Quota::User))));
    drop(second);
    third.write(&[3; 200]).await.unwrap();
    assert_eq!(store.bytes(), 1200);
    assert!(world.files().iter().all(|name| name.split_once('.').is_some_and(|(_, end)| end == "part")));
    let name = third.finish().await.unwrap();
    drop(first);
    assert_eq!(world.files(), [name.as_str()]);
    assert_eq!((store.bytes(), read(&store, &name, NOW).await.unwrap()), (200, vec![3; 200]));
}

/// What a process that is killed leaves, at each point of an asset's life.
#[tokio::test]
async fn a_start_cleans_up_after_a_kill() {
    let world = World::new();
    let (store, _) = world.open(NOW).await;
    let put = async |bytes: &[u8]| store.put(user("a.example/u/alice"), bytes, NOW + DAY, NOW).await.unwrap();
    let whole = put(b"whole").await;
    let (lost, cut, deleted) = (put(b"lost").await, put(b"cut off").await, put(b"deleted").await);
    // While it was written; between the file and the row.
    std::fs::write(world.path(&format!("{}.part", "1".repeat(40))), b"half").unwrap();
    std::fs::write(world.path(&"0".repeat(40)), b"renamed").unwrap();
    // Between the row and the file of one that is deleted.
    let mut batch = Batch::new("test");
    ASSETS.delete(&mut batch, &deleted);
    store.0.db.commit(batch).await.unwrap();
    // What should not happen: the disk lost a file, or a part of one.
    std::fs::remove_file(world.path(lost.as_str())).unwrap();
    std::fs::write(world.path(cut.as_str()), b"cut").unwrap();
    assert_eq!(world.files().len(), 5);
    drop(store);

    let (store, swept) = world.open(NOW).await;
    assert_eq!((swept.expired, swept.lost), (0, 2));
    assert_eq!(world.files(), [whole.as_str()]);
    assert_eq!(store.bytes(), 5);
    assert_eq!(read(&store, &whole, NOW).await.unwrap(), b"whole");
    for gone in [&lost, &cut, &deleted] {
        assert_eq!(read(&store, gone, NOW).await, None);
    }
}

#[test]
fn a_name_is_a_plain_file_name() {
    assert!(AssetName::random().unwrap().as_str().parse::<AssetName>().is_ok());
    for bad in
        ["", "..", "../../../../../../../../../../../etc/passwd", &"A".repeat(40), &"0".repeat(39), &"/".repeat(40)]
    {
        assert!(bad.parse::<AssetName>().is_err(), "{bad}");
    }
}
