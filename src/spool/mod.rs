//! Files on their way from one side to the other: encrypted on disk, within a quota, and readable once it is certain that they are
//! what was sent.
//!
//! ```text
//!  download --write--> Filling: pipe --Unverified--> sealed segments, in a file without a name
//!                         | finish: hashes and tags agree
//!                         v
//!                      Spooled --reader--> upload, as often as it takes
//! ```
//!
//! The key of each file is in memory only, and its name is gone as soon as it is open: what a killed process leaves is space that the
//! system takes back. All calls block on the disk and on the processor: they belong where one may block.

#[cfg(test)]
mod tests;

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use zeroize::Zeroizing;

use crate::media::{CHUNK, GcmOpener, GcmSealer, MediaError, NONCE_LEN, Pipe, TAG_LEN, Unverified};

/// Bytes of a file that are sealed together.
const SEGMENT: usize = CHUNK;
/// What files are called for the moment in which they have a name.
const PREFIX: &str = "spool-";

/// Why a file cannot be spooled, or read.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// Longer than one file may be, in bytes, or than all of them together. Permanent.
    #[error("larger than {0} bytes")]
    TooLarge(u64),
    /// All files together would take more than this many bytes. Retriable when others are done.
    #[error("over the quota of {0} bytes for files on their way")]
    OverQuota(u64),
    /// It is not what was sent, or cannot be sealed. Permanent.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// The file was given up after an error. Permanent.
    #[error("the file was given up")]
    Broken,
    /// What is on the disk is not what was written. Retriable from the beginning.
    #[error("the spooled file was damaged")]
    Damaged,
    /// The file system. Retriable once there is space, or whatever it says.
    #[error("spool: {0}")]
    Io(#[from] io::Error),
    /// No random bytes.
    #[error("no randomness: {0}")]
    Random(getrandom::Error),
}

/// What files on their way may take, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpoolLimits {
    /// One file, as it comes out of its pipe.
    pub file: u64,
    /// All files of the process, on disk.
    pub total: u64,
}

impl SpoolLimits {
    /// The largest file that there is room for, if it is alone.
    #[must_use]
    pub fn largest(self) -> u64 {
        let on_disk = (SEGMENT + TAG_LEN) as u64;
        let (whole, rest) = (self.total / on_disk, self.total % on_disk);
        self.file.min(whole * SEGMENT as u64 + rest.saturating_sub(TAG_LEN as u64))
    }
}

#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    limits: SpoolLimits,
    used: AtomicU64,
}

/// The place of files on their way. Cheap to clone; all clones share one quota.
#[derive(Debug, Clone)]
pub struct Spool(Arc<Shared>);

impl Spool {
    /// Opens a folder of this process alone, made if absent; also answers how many files of a killed process it removed.
    pub fn open(dir: &Path, limits: SpoolLimits) -> Result<(Self, usize), SpoolError> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let mut removed = 0;
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
            if ours && entry.file_type()?.is_file() {
                fs::remove_file(entry.path())?;
                removed += 1;
            }
        }
        let shared = Shared { dir: dir.to_owned(), limits, used: AtomicU64::new(0) };
        Ok((Self(Arc::new(shared)), removed))
    }

    /// Begins a file that comes through a pipe.
    pub fn begin<P: Pipe>(&self, pipe: P) -> Result<Filling<P>, SpoolError> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(key.as_mut_slice()).map_err(SpoolError::Random)?;
        let (path, file) = create(&self.0.dir)?;
        fs::remove_file(path)?;
        let sealed = SealedFile { file, key, share: Share { shared: Arc::clone(&self.0), bytes: 0 }, len: 0 };
        Ok(Filling { pipe, sealed, out: Unverified::new(), broken: false })
    }

    /// The largest file that there is room for, in bytes.
    #[must_use]
    pub fn largest(&self) -> u64 {
        self.0.limits.largest()
    }

    /// Bytes on disk of all files on their way.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.used.load(Ordering::Relaxed)
    }
}

/// A new file that only we can read, under a name that nobody guesses.
fn create(dir: &Path) -> Result<(PathBuf, File), SpoolError> {
    let mut name = [0; 16];
    getrandom::fill(&mut name).map_err(SpoolError::Random)?;
    let path = dir.join(format!("{PREFIX}{}", hex::encode(name)));
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    Ok((path, file))
}

/// A file's share of the quota; given back when dropped.
#[derive(Debug)]
struct Share {
    shared: Arc<Shared>,
    bytes: u64,
}

impl Share {
    fn grow(&mut self, more: u64) -> Result<(), SpoolError> {
        let total = self.shared.limits.total;
        // Nobody else's end makes room for it.
        if self.bytes.checked_add(more).is_none_or(|own| own > total) {
            return Err(SpoolError::TooLarge(self.shared.limits.largest()));
        }
        let within = |used: u64| used.checked_add(more).filter(|sum| *sum <= total);
        self.shared
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, within)
            .map_err(|_| SpoolError::OverQuota(total))?;
        self.bytes += more;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shared.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Segments of AES-256-GCM, one behind the other; the nonce is the number of the segment, and the key seals this file only.
struct SealedFile {
    file: File,
    key: Zeroizing<[u8; 32]>,
    share: Share,
    /// Bytes of what was sealed.
    len: u64,
}

impl SealedFile {
    fn nonce(segment: u64) -> [u8; NONCE_LEN] {
        let mut nonce = [0; NONCE_LEN];
        for (to, from) in nonce.iter_mut().zip(segment.to_be_bytes()) {
            *to = from;
        }
        nonce
    }

    fn offset(segment: u64) -> u64 {
        segment * (SEGMENT + TAG_LEN) as u64
    }

    /// Seals the next segment; all but the last are [`SEGMENT`] bytes.
    fn append(&mut self, text: &mut [u8]) -> Result<(), SpoolError> {
        let (bytes, limit) = (text.len() as u64, self.share.shared.limits.file);
        if self.len.saturating_add(bytes) > limit {
            return Err(SpoolError::TooLarge(limit));
        }
        self.share.grow(bytes + TAG_LEN as u64)?;
        let segment = self.len / SEGMENT as u64;
        let mut sealer = GcmSealer::new(self.key.as_slice(), Self::nonce(segment), &[])?;
        sealer.seal(text)?;
        self.file.write_all_at(text, Self::offset(segment))?;
        self.file.write_all_at(&sealer.finish(), Self::offset(segment) + bytes)?;
        self.len += bytes;
        Ok(())
    }

    /// Reads a segment; empty behind the end.
    fn segment(&self, segment: u64) -> Result<Vec<u8>, SpoolError> {
        let left = self.len.saturating_sub(segment.saturating_mul(SEGMENT as u64));
        let bytes = usize::try_from(left).unwrap_or(SEGMENT).min(SEGMENT);
        if bytes == 0 {
            return Ok(Vec::new());
        }
        let mut sealed = vec![0; bytes + TAG_LEN];
        self.file.read_exact_at(&mut sealed, Self::offset(segment)).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => SpoolError::Damaged,
            _ => SpoolError::Io(error),
        })?;
        let mut opener = GcmOpener::new(self.key.as_slice(), Self::nonce(segment), &[])?;
        let mut out = Unverified::default();
        opener.open(&sealed, &mut out)?;
        opener.finish().map_err(|_| SpoolError::Damaged)?;
        Ok(std::mem::take(out.spool()))
    }
}

/// A file that is coming. Dropped, it leaves nothing and gives its share of the quota back. Nobody can read of it.
pub struct Filling<P> {
    pipe: P,
    sealed: SealedFile,
    /// What came out of the pipe and does not fill a segment.
    out: Unverified,
    broken: bool,
}

impl<P: Pipe> Filling<P> {
    /// Takes the next bytes of the file. After an error the file is given up.
    pub fn write(&mut self, input: &[u8]) -> Result<(), SpoolError> {
        if self.broken {
            return Err(SpoolError::Broken);
        }
        // Whatever leaves here early leaves it broken.
        self.broken = true;
        for chunk in input.chunks(CHUNK) {
            self.pipe.feed(chunk, &mut self.out)?;
            flush(&mut self.sealed, &mut self.out, SEGMENT)?;
        }
        self.broken = false;
        Ok(())
    }

    /// The file is complete. If it is what was sent, it can be read from now on.
    pub fn finish(self) -> Result<(Spooled, P::Done), SpoolError> {
        let Self { pipe, mut sealed, mut out, broken } = self;
        if broken {
            return Err(SpoolError::Broken);
        }
        let done = pipe.finish(&mut out)?;
        flush(&mut sealed, &mut out, 1)?;
        Ok((Spooled(Arc::new(sealed)), done))
    }
}

/// Seals what is there, in segments, as long as there are `least` bytes.
fn flush(sealed: &mut SealedFile, out: &mut Unverified, least: usize) -> Result<(), SpoolError> {
    let bytes = out.spool();
    while bytes.len() >= least {
        let next = bytes.len().min(SEGMENT);
        sealed.append(bytes.get_mut(..next).unwrap_or_default())?;
        bytes.drain(..next);
    }
    Ok(())
}

impl<P> fmt::Debug for Filling<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Filling({} bytes)", self.sealed.len)
    }
}

/// A file that is what was sent. Gone, with its share of the quota, when all clones and readers are dropped.
#[derive(Clone)]
pub struct Spooled(Arc<SealedFile>);

impl Spooled {
    /// How long it is, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.len
    }

    /// Reads it from its beginning.
    #[must_use]
    pub fn reader(&self) -> SpoolReader {
        SpoolReader { sealed: Arc::clone(&self.0), next: 0, segment: Zeroizing::default(), read: 0 }
    }
}

impl fmt::Debug for Spooled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Spooled({} bytes)", self.0.len)
    }
}

/// A spooled file from its beginning to its end.
pub struct SpoolReader {
    sealed: Arc<SealedFile>,
    /// The segment to read next.
    next: u64,
    segment: Zeroizing<Vec<u8>>,
    /// How much of the segment was given.
    read: usize,
}

impl SpoolReader {
    /// The next bytes, at most 64 KiB; `None` at the end.
    pub fn next_chunk(&mut self) -> Result<Option<Vec<u8>>, SpoolError> {
        let left = self.segment.get(self.read..).unwrap_or_default().to_vec();
        self.read = self.segment.len();
        if !left.is_empty() {
            return Ok(Some(left));
        }
        let segment = self.sealed.segment(self.next)?;
        self.next += 1;
        Ok((!segment.is_empty()).then_some(segment))
    }
}

impl Read for SpoolReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read == self.segment.len() {
            self.segment = Zeroizing::new(self.sealed.segment(self.next).map_err(|error| match error {
                SpoolError::Io(error) => error,
                other => io::Error::new(io::ErrorKind::InvalidData, other),
            })?);
            self.next += 1;
            self.read = 0;
        }
        let mut left = self.segment.get(self.read..).unwrap_or_default();
        let given = left.read(buffer)?;
        self.read += given;
        Ok(given)
    }
}

impl fmt::Debug for SpoolReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpoolReader(segment {} of {} bytes)", self.next, self.sealed.len)
    }
}
