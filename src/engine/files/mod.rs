//! Files of messages on their way: from the homeserver into our asset store before a message can be said, and from others'
//! asset stores to the homeserver before it can be shown.
//!
//! ```text
//!  event with files --> HELD (and what its sender says next) --outward: download, seal, asset--> the room says it
//!  message with files --> its room's lane --inward: asset, check, spool, upload--> the ghost's events
//!                             `--10 s--> a note in its place, LATE --> the events, when they come
//! ```
//!
//! Whatever waits is a row; what runs is begun anew after a crash, under the names and keys that were drawn once.

mod avatar;
mod edits;
mod held;
mod inward;
mod jobs;
mod late;
mod outward;
mod portraits;
mod rules;
mod turns;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};

use super::{
    caught::caught,
    core::lock,
    ports::{Assets, CallError, MatrixFiles, Retry},
};
use crate::{
    assets::AssetError,
    ident::ProviderDomain,
    media::MediaError,
    policy::Envelope,
    spool::{Spool, SpoolError},
    translate::media::{MediaInfo, bytes},
};

pub(super) use held::HeldEvent;
pub(super) use inward::Came;
use jobs::Jobs;

/// Files of each other provider that are fetched at a time.
const TURNS_OF_EACH: usize = 4;
/// How long a file waits for its turn before that counts as a try.
const TURN: Duration = Duration::from_mins(1);
/// The longest wait between two tries, as a multiple of the first.
const LONGEST_WAIT: u32 = 150;
/// After so long a file that cannot be had counts as lost.
const GIVE_UP: Duration = Duration::from_hours(24);
/// For the pictures in a text nobody waits longer: then their names stand there.
const EMOTICONS: Duration = Duration::from_secs(5);
/// With so many messages of one provider waiting for their files, none of it is waited for longer than [`TURN`]: somebody there
/// sends what never comes.
const CROWD: usize = 1000;

/// What the engine carries files with, and how large they may be.
#[derive(Clone)]
pub struct Files {
    /// The homeserver's files.
    pub matrix: Arc<dyn MatrixFiles>,
    /// Our assets, and others'.
    pub assets: Arc<dyn Assets>,
    /// Where files wait that come from others.
    pub spool: Spool,
    /// The largest file, in bytes; the homeserver's limit counts as well.
    pub max_bytes: u64,
    /// How long a sender's next messages wait behind a file at most: a large one comes from the homeserver within a minute, and
    /// whoever writes on is not kept from being heard by one that does not.
    pub hold: Duration,
    /// How long a room waits for a file of others at most, from the moment at which it is known: most are there by then, and a
    /// conversation does not stand still for longer.
    pub wait: Duration,
    /// How long the files of a message stay that went some time after it was read here: others may read it later, and fetch them
    /// then.
    pub linger: Duration,
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Files({} bytes at most)", self.max_bytes)
    }
}

/// [`Files`] at work.
pub(super) struct Carrier {
    files: Files,
    /// Events whose files are being fetched: room, number.
    fetching: Mutex<BTreeSet<(String, u64)>>,
    jobs: Mutex<Jobs>,
    out: turns::Turns,
    /// By provider of who sends them: one whose servers are slow keeps nobody else waiting.
    back: Mutex<BTreeMap<ProviderDomain, Arc<Semaphore>>>,
    largest_upload: OnceCell<Option<u64>>,
    /// What rooms may be, and which files they may have.
    envelope: Arc<Envelope>,
    own: ProviderDomain,
}

impl Carrier {
    pub(super) fn new(mut files: Files, envelope: Arc<Envelope>, own: ProviderDomain) -> Self {
        files.max_bytes = files.max_bytes.min(envelope.max_asset_bytes.unwrap_or(u64::MAX));
        Self {
            envelope,
            own,
            files,
            fetching: Mutex::default(),
            jobs: Mutex::default(),
            out: turns::Turns::new(),
            back: Mutex::default(),
            largest_upload: OnceCell::new(),
        }
    }

    /// Waits for a turn to fetch a file of somebody of this provider.
    async fn turn_of(&self, provider: &ProviderDomain) -> Result<OwnedSemaphorePermit, Trouble> {
        let turns = {
            let mut back = lock(&self.back);
            Arc::clone(back.entry(provider.clone()).or_insert_with(|| Arc::new(Semaphore::new(TURNS_OF_EACH))))
        };
        let turn = tokio::time::timeout(TURN, turns.acquire_owned()).await;
        turn.ok().and_then(Result::ok).ok_or_else(|| Trouble::Later("too many at a time".to_owned(), None))
    }

    /// Whether files of this kind are carried at all.
    fn lets_through(&self, info: &MediaInfo) -> Result<(), Trouble> {
        if self.envelope.takes(&info.media_type) {
            return Ok(());
        }
        Err(Trouble::Never(format!("the operator of this server lets no files of type {} through", info.media_type)))
    }

    /// Whether files that lie on this host are fetched at all.
    fn may_lie(&self, host: &ProviderDomain) -> Result<(), Trouble> {
        if self.envelope.takes_from(host, &self.own) {
            return Ok(());
        }
        Err(Trouble::Never(format!("the operator of this server lets no files through that lie at {host}")))
    }

    /// How long a file of somebody of this provider is waited for.
    fn patience(&self, provider: &ProviderDomain) -> Duration {
        if lock(&self.jobs).of(provider) > CROWD { TURN } else { GIVE_UP }
    }

    /// The largest file that the homeserver takes from us, in bytes.
    async fn upload_limit(&self) -> Result<u64, CallError> {
        let limit = self.largest_upload.get_or_try_init(|| self.files.matrix.largest_upload()).await?;
        // What has no room on its way is refused before it is begun; what goes out needs none.
        Ok(limit.unwrap_or(u64::MAX).min(self.files.max_bytes).min(self.files.spool.largest()))
    }
}

/// What is said of a picture in a text that takes too long.
fn late() -> String {
    "it did not come in time".to_owned()
}

/// Why a file is not there.
#[derive(Debug)]
enum Trouble {
    /// It never will be; why, for people.
    Never(String),
    /// Another try may help; what happened, for operators.
    Later(String, Option<Duration>),
}

impl Trouble {
    fn too_large(limit: u64) -> Self {
        Self::Never(format!("it is larger than {}", bytes(limit)))
    }
}

impl From<CallError> for Trouble {
    fn from(error: CallError) -> Self {
        match error.retry {
            Retry::Permanent if error.status == Some(404) => Self::Never("the homeserver does not have it".to_owned()),
            Retry::Permanent if error.status == Some(413) => {
                Self::Never("it is larger than the homeserver takes".to_owned())
            }
            Retry::Permanent => Self::Never(error.what),
            Retry::Retriable(after) => Self::Later(error.what, after),
            Retry::Uncertain => Self::Later(error.what, None),
        }
    }
}

impl From<AssetError> for Trouble {
    fn from(error: AssetError) -> Self {
        match error {
            AssetError::TooLarge(limit) => Self::too_large(limit),
            AssetError::Quota(quota) => Self::Never(format!("there is no space left: over the quota of {quota}")),
            AssetError::Expired => Self::Never(error.to_string()),
            AssetError::Io(_) | AssetError::Store(_) | AssetError::Random(_) => Self::Later(error.to_string(), None),
        }
    }
}

impl From<MediaError> for Trouble {
    fn from(error: MediaError) -> Self {
        Self::Never(error.to_string())
    }
}

impl From<SpoolError> for Trouble {
    fn from(error: SpoolError) -> Self {
        match error {
            SpoolError::TooLarge(limit) => Self::too_large(limit),
            SpoolError::Media(error) => error.into(),
            SpoolError::OverQuota(_)
            | SpoolError::Broken
            | SpoolError::Damaged
            | SpoolError::Io(_)
            | SpoolError::Random(_) => Self::Later(error.to_string(), None),
        }
    }
}

impl super::Engine {
    /// From now on files are carried. To be said before the start; without it people are told that they are not.
    #[must_use]
    pub fn carrying(self, files: Files) -> Self {
        // A second time changes nothing.
        let _ = self.0.files.set(Carrier::new(files, Arc::clone(&self.0.settings.envelope), self.bounds().own));
        self
    }

    /// Tries until it is there, or never will be: then why. `None`: the engine stops.
    async fn persist<T, F>(
        &self,
        what: &str,
        patience: impl Fn() -> Duration,
        attempt: impl Fn() -> F,
    ) -> Option<Result<T, String>>
    where
        F: Future<Output = Result<T, Trouble>>,
    {
        let since = tokio::time::Instant::now();
        let mut wait = self.0.settings.retry;
        let longest = wait * LONGEST_WAIT;
        loop {
            let result = tokio::select! {
                () = self.0.stop.cancelled() => return None,
                result = caught(attempt()) => result,
            };
            let result = result.unwrap_or_else(|_| {
                tracing::error!(what, "carrying a file panicked");
                Err(Trouble::Never("the gateway could not handle it".to_owned()))
            });
            let (why, after) = match result {
                Ok(there) => return Some(Ok(there)),
                Err(Trouble::Never(why)) => {
                    tracing::info!(what, why, "a file does not cross");
                    return Some(Err(why));
                }
                Err(Trouble::Later(why, after)) => (why, after),
            };
            if since.elapsed() >= patience() {
                tracing::warn!(what, why, "a file is given up");
                return Some(Err("it could not be had for a long time".to_owned()));
            }
            tracing::debug!(what, why, "a file does not come yet");
            tokio::select! {
                () = self.0.stop.cancelled() => return None,
                () = tokio::time::sleep(after.unwrap_or(wait).max(wait)) => {}
            }
            wait = (wait * 2).min(longest);
        }
    }
}
