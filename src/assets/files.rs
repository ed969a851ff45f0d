//! The files below the assets' folder: private, synced before they count.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// What a file is called until all of it is there.
const PART: &str = "part";

/// Where an asset is written to.
pub(super) fn part(dir: &Path, name: &str) -> PathBuf {
    dir.join(name).with_extension(PART)
}

/// An open file and its length: a stored asset, or one that was fetched. Stays readable when the asset is deleted.
#[derive(Debug, Clone)]
pub struct AssetFile {
    file: Arc<File>,
    bytes: u64,
}

impl AssetFile {
    /// The first `bytes` bytes of a file.
    #[must_use]
    pub fn new(file: Arc<File>, bytes: u64) -> Self {
        Self { file, bytes }
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// How long it is, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Up to `most` bytes from `offset` on; none behind the end. A file that is shorter than it should be is an error.
    pub async fn read_at(&self, offset: u64, most: usize) -> io::Result<Vec<u8>> {
        let left = usize::try_from(self.bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut buffer = vec![0; left.min(most)];
        let file = Arc::clone(&self.file);
        blocking(move || file.read_exact_at(&mut buffer, offset).map(|()| buffer)).await
    }

    /// All of it, in memory.
    pub async fn read(&self) -> io::Result<Vec<u8>> {
        self.read_at(0, usize::MAX).await
    }
}

/// Runs what blocks on the disk where it may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// Makes a folder that only we can look into.
pub(super) async fn make_dir(dir: &Path) -> io::Result<()> {
    let dir = dir.to_owned();
    blocking(move || {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&dir)
    })
    .await
}

/// A new file that only we can read.
pub(super) async fn create(path: &Path) -> io::Result<tokio::fs::File> {
    let mut options = tokio::fs::OpenOptions::new();
    options.write(true).create_new(true);
    options.mode(0o600);
    options.open(path).await
}

/// Opens a file for reading.
pub(super) async fn open(path: &Path) -> io::Result<File> {
    let path = path.to_owned();
    blocking(move || File::open(path)).await
}

/// Gives a file its name, durably.
pub(super) async fn rename(from: &Path, to: &Path, dir: &Path) -> io::Result<()> {
    let (from, to, dir) = (from.to_owned(), to.to_owned(), dir.to_owned());
    blocking(move || {
        fs::rename(from, to)?;
        File::open(dir)?.sync_all()
    })
    .await
}

/// Removes a file. One that is not there is removed already.
pub(super) async fn remove(path: &Path) -> io::Result<()> {
    match tokio::fs::remove_file(path).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Names and lengths of all files in the folder.
pub(super) async fn list(dir: &Path) -> io::Result<BTreeMap<String, u64>> {
    let dir = dir.to_owned();
    blocking(move || {
        let mut all = BTreeMap::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let meta = entry.metadata()?;
            // Names that are not ours are not ours to remove.
            if let Ok(name) = entry.file_name().into_string()
                && meta.is_file()
            {
                all.insert(name, meta.len());
            }
        }
        Ok(all)
    })
    .await
}
