//! Mirroring many rooms at once, for whoever runs the gateway: jobs that are on disk, so that a kill costs nothing.
//!
//! ```text
//!  control socket --begin--> JOB (listing) --rooms are found--> ROW for each room
//!                             |  one room at a time, at the job's rate
//!                             v
//!     look at its state --> left out, or fit --dry run--> that is all
//!                                          \--> address drawn, on disk --> mirrored under it
//!     undo: each that was mirrored and that no MIMI user is in is let go again
//! ```
//!
//! A room whose turn fails for a reason that may pass is tried again after the others, and fails after `MOST_TRIES` tries; if the
//! homeserver answers nobody, the job waits instead.
//!
//! A room is mirrored once however often its turn comes: its address is stored before it is made, and what is linked to
//! that address is done. One job is worked on at a time.

mod finding;
mod look;
mod run;
mod turns;
mod undo;

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ruma::{OwnedRoomAliasId, OwnedRoomId};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

pub use self::finding::{Finding, Weight};
use super::{
    core::{Engine, lock, now},
    ports::Millis,
    tables::{MIRROR_JOBS, MIRROR_ROWS},
};
use crate::{
    room::counted,
    store::{Batch, StoreError},
};

/// Rooms that one job may name.
pub const MOST_ROOMS: usize = 100_000;
/// Rooms a minute, at most.
pub const FASTEST: u32 = 6_000;
/// So often a room is tried whose turn fails while the homeserver answers.
pub(super) const MOST_TRIES: u32 = 20;
/// Finished dry runs that are kept.
const KEPT_DRY: usize = 5;
/// Between two looks whether a room is still being mirrored.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Rows that are removed in one batch.
const BUNCH: usize = 500;

/// Which rooms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Selection {
    /// All in which the bot is; with an administrator's token all of the homeserver.
    All,
    /// Those of a space, and of the spaces in it: its id or alias.
    Space(String),
    /// These: ids or aliases.
    Rooms(Vec<String>),
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MirrorRequest {
    /// Which rooms.
    pub selection: Selection,
    /// Only look.
    pub dry_run: bool,
    /// Where the bot is not in a room or lacks power, have the homeserver make it an administrator of the room.
    pub make_admin: bool,
    /// With the rooms of a space also the space, and the spaces in it.
    #[serde(default)]
    pub with_space: bool,
    /// Rooms a minute.
    pub per_minute: u32,
}

/// How far a job is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Its rooms are being found.
    Listing,
    /// Room by room.
    Working,
    /// All rooms had their turn.
    Finished,
    /// Somebody stopped it.
    Stopped,
    /// Its rooms cannot be found.
    Failed(String),
    /// What it mirrored is let go. `used`: also rooms that MIMI users are in.
    Undoing {
        /// Also those.
        used: bool,
    },
    /// That is done.
    Undone,
}

impl Stage {
    /// Whether there is something to do.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Listing | Self::Working | Self::Undoing { .. })
    }
}

/// How many rooms are how far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Rooms of the job.
    pub rooms: u64,
    /// Of them, those that had their turn.
    pub seen: u64,
    /// That could be mirrored (a dry run).
    pub fit: u64,
    /// That were.
    pub mirrored: u64,
    /// That were before.
    pub before: u64,
    /// That cannot be, or need something first.
    pub left_out: u64,
    /// That should have been, and something failed.
    pub failed: u64,
    /// That are not any more, since the job was undone.
    pub undone: u64,
    /// That are still, although it was.
    pub kept: u64,
}

/// A job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MirrorJob {
    /// Its number.
    pub id: u64,
    /// When it began.
    pub begun: Millis,
    /// What was asked for. The list of rooms is in the rows once they are there.
    pub request: MirrorRequest,
    /// Whether rooms were named by their ids.
    pub by_id: bool,
    /// How far it is.
    pub stage: Stage,
    /// How many rooms are how far.
    pub counts: Counts,
    /// How often its rooms could not be found for a reason that may pass.
    pub tries: u32,
    /// How often it was asked to be undone.
    pub undos: u32,
}

/// What became of a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Its turn comes.
    Waiting,
    /// It could be mirrored.
    Fit,
    /// It cannot be, or needs something first: its findings say what.
    LeftOut,
    /// It was mirrored before, under this address.
    Before(String),
    /// It is being mirrored under this address.
    Making(String),
    /// It is mirrored under this address.
    Mirrored(String),
    /// That failed.
    Failed(String),
    /// It was mirrored under this address, and is not any more.
    Undone(String),
    /// It was to be let go, and is still mirrored under this address: why.
    Kept(String, String),
}

/// A room of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MirrorRow {
    /// Its id, or the alias as it was given.
    pub room: String,
    /// How it is called.
    pub name: String,
    /// Who is in it, without bots and ghosts.
    pub members: u64,
    /// The room's version.
    pub version: String,
    /// What is to be known.
    pub findings: Vec<Finding>,
    /// What became of it.
    pub outcome: Outcome,
    /// The bot was brought in by the job.
    pub entered: bool,
    /// The Matrix room, once it was looked at: an alias may lead elsewhere later, and an upgraded room goes on in another.
    pub matrix: Option<OwnedRoomId>,
    /// How often its turn came to nothing for a reason that may pass.
    pub tries: u32,
    /// That reason, the last time; empty if there is none.
    pub trouble: String,
    /// It was found as a space whose rooms are mirrored with it.
    #[serde(default)]
    pub space: bool,
    /// In which undoing of the job it had its turn; 0 if in none.
    pub undo: u32,
    /// The bot was in it before, and was given power by the job.
    #[serde(default)]
    pub raised: Option<Raised>,
}

/// That the bot was given power in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Raised {
    /// The level that it had by its name before; `None`: that of everybody.
    pub from: Option<i64>,
}

impl MirrorRow {
    fn new(room: &str, space: bool) -> Self {
        Self {
            room: room.to_owned(),
            space,
            name: String::new(),
            members: 0,
            version: String::new(),
            findings: Vec::new(),
            outcome: Outcome::Waiting,
            entered: false,
            matrix: None,
            tries: 0,
            trouble: String::new(),
            undo: 0,
            raised: None,
        }
    }
}

/// Why nothing was begun. The text is for people.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// What is asked for cannot be; it says what to do. Permanent.
    #[error("{0}")]
    Declined(String),
    /// Retriable.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Whether this is a room's id or alias.
fn is_name(text: &str) -> bool {
    (text.starts_with('!') && OwnedRoomId::try_from(text).is_ok())
        || (text.starts_with('#') && OwnedRoomAliasId::try_from(text).is_ok())
}

fn declined<T>(why: impl Into<String>) -> Result<T, MirrorError> {
    Err(MirrorError::Declined(why.into()))
}

/// What the engine keeps of it in memory.
#[derive(Debug, Default)]
pub(super) struct Mirroring {
    /// Rooms that somebody is mirroring right now, and whether the bot is brought in for that.
    claimed: Mutex<BTreeMap<String, Arc<AtomicBool>>>,
    /// There is something to do.
    wake: Notify,
    /// A job was stopped.
    stopped: Notify,
    /// One at a time changes jobs.
    jobs: tokio::sync::Mutex<()>,
}

/// Nobody else mirrors this room meanwhile.
pub(super) struct Claim<'a> {
    of: &'a Mirroring,
    room: String,
    brings: Arc<AtomicBool>,
}

impl Claim<'_> {
    /// Invitations of the bot that come meanwhile are this one's.
    pub(super) fn brings_bot(&self) {
        self.brings.store(true, Ordering::SeqCst);
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        lock(&self.of.claimed).remove(&self.room);
    }
}

impl Mirroring {
    /// `None`: somebody else is at it.
    pub(super) fn claim(&self, room: &str) -> Option<Claim<'_>> {
        match lock(&self.claimed).entry(room.to_owned()) {
            Entry::Occupied(_) => None,
            Entry::Vacant(free) => {
                let brings = Arc::clone(free.insert(Arc::default()));
                Some(Claim { of: self, room: room.to_owned(), brings })
            }
        }
    }

    /// Whether somebody mirrors this room right now.
    pub(super) fn holds(&self, room: &str) -> bool {
        lock(&self.claimed).contains_key(room)
    }

    /// Waits until nobody mirrors this room. Whether whoever did had the bot invited.
    pub(super) async fn released(&self, room: &str) -> bool {
        let mut brought = false;
        loop {
            let claim = lock(&self.claimed).get(room).map(Arc::clone);
            let Some(brings) = claim else { return brought };
            tokio::time::sleep(LOOK_AGAIN).await;
            brought |= brings.load(Ordering::SeqCst);
        }
    }
}

impl Engine {
    /// Begins to mirror rooms, or to look whether they can be. The same again while that goes on is that job.
    pub async fn mirror(&self, request: MirrorRequest) -> Result<MirrorJob, MirrorError> {
        if !(1..=FASTEST).contains(&request.per_minute) {
            return declined(format!("The rate must be from 1 to {FASTEST} rooms a minute."));
        }
        if self.0.homeserver.survey().is_none() {
            return declined("Rooms cannot be listed here.");
        }
        if request.make_admin && !self.0.homeserver.has_admin() {
            return declined(
                "--make-admin needs an administrator's token: set homeserver.admin_token_file, and restart the gateway.",
            );
        }
        if let Selection::Rooms(rooms) = &request.selection
            && (rooms.is_empty() || rooms.len() > MOST_ROOMS)
        {
            return declined(format!(
                "The list has {}; it may have 1 to {MOST_ROOMS}.",
                counted(rooms.len() as u64, "room", "rooms")
            ));
        }
        if let Selection::Space(space) = &request.selection
            && !is_name(space)
        {
            return declined(format!("{space:?} is no room's id (!…) or alias (#…:…), so it is no space."));
        }
        if request.with_space && !matches!(request.selection, Selection::Space(_)) {
            return declined("--with-space goes with --space: it says which space.");
        }
        let _one = self.0.mirroring.jobs.lock().await;
        let jobs = self.mirror_jobs().await?;
        if let Some(open) = jobs.iter().find(|job| job.stage.is_open()) {
            if open.request == request {
                return Ok(open.clone());
            }
            return declined(format!(
                "Job {0} is under way. Watch it with `mimi-gateway mirror --job {0}`, or end it with `--stop {0}`.",
                open.id
            ));
        }
        let job = MirrorJob {
            id: jobs.iter().map(|job| job.id).max().unwrap_or(0) + 1,
            begun: now(),
            by_id: matches!(request.selection, Selection::Rooms(_)),
            request,
            stage: Stage::Listing,
            counts: Counts::default(),
            tries: 0,
            undos: 0,
        };
        self.forget_dry_runs(&jobs).await?;
        self.put_job(&job).await?;
        tracing::info!(job = job.id, dry_run = job.request.dry_run, "a mirror job begins");
        self.0.mirroring.wake.notify_one();
        Ok(job)
    }

    /// Ends a job where it stands; what was mirrored stays.
    pub async fn stop_mirroring(&self, id: u64) -> Result<MirrorJob, MirrorError> {
        let _one = self.0.mirroring.jobs.lock().await;
        let mut job = self.known_job(id).await?;
        if !job.stage.is_open() {
            return declined(format!("Job {id} is not under way."));
        }
        job.stage = Stage::Stopped;
        self.put_job(&job).await?;
        tracing::info!(job = id, "a mirror job was stopped");
        self.0.mirroring.stopped.notify_waiters();
        Ok(job)
    }

    /// Lets go what a job mirrored. `used`: also rooms that MIMI users are in.
    pub async fn undo_mirroring(&self, id: u64, used: bool) -> Result<MirrorJob, MirrorError> {
        let _one = self.0.mirroring.jobs.lock().await;
        let mut job = self.known_job(id).await?;
        if job.request.dry_run {
            return declined(format!("Job {id} was a dry run: there is nothing to undo."));
        }
        if matches!(job.stage, Stage::Undoing { .. }) {
            return Ok(job);
        }
        let jobs = self.mirror_jobs().await?;
        if let Some(open) = jobs.iter().find(|job| job.stage.is_open()) {
            return declined(format!(
                "Job {0} is under way; end it with `mimi-gateway mirror --stop {0}` first.",
                open.id
            ));
        }
        job.stage = Stage::Undoing { used };
        job.counts.kept = 0;
        job.undos += 1;
        self.put_job(&job).await?;
        tracing::info!(job = id, used, "a mirror job is undone");
        self.0.mirroring.wake.notify_one();
        Ok(job)
    }

    /// All jobs, oldest first.
    pub async fn mirror_jobs(&self) -> Result<Vec<MirrorJob>, StoreError> {
        Ok(MIRROR_JOBS.scan_all(&self.0.db, &()).await?.into_iter().map(|(_, job)| job).collect())
    }

    /// One job.
    pub async fn mirror_job(&self, id: u64) -> Result<Option<MirrorJob>, StoreError> {
        MIRROR_JOBS.get(&self.0.db, &id).await
    }

    /// Up to `limit` rooms of a job behind this place, and the place to go on at.
    pub async fn mirror_rows_after(
        &self,
        id: u64,
        after: Option<Vec<u8>>,
        limit: usize,
    ) -> Result<(Vec<MirrorRow>, Option<Vec<u8>>), StoreError> {
        let page = MIRROR_ROWS.scan(&self.0.db, &id, after, limit).await?;
        Ok((page.rows.into_iter().map(|(_, row)| row).collect(), page.next))
    }

    async fn known_job(&self, id: u64) -> Result<MirrorJob, MirrorError> {
        match self.mirror_job(id).await? {
            Some(job) => Ok(job),
            None => declined(format!("There is no job {id}; `mimi-gateway mirror --jobs` lists them.")),
        }
    }

    async fn put_job(&self, job: &MirrorJob) -> Result<(), StoreError> {
        let mut batch = Batch::new("a mirror job");
        MIRROR_JOBS.put(&self.0.db, &mut batch, &job.id, job)?;
        self.0.db.commit(batch).await.map(drop)
    }

    /// Old dry runs are of no use; what others mirrored may have to be undone one day.
    async fn forget_dry_runs(&self, jobs: &[MirrorJob]) -> Result<(), StoreError> {
        let dry: Vec<u64> = jobs.iter().filter(|job| job.request.dry_run).map(|job| job.id).collect();
        for id in dry.iter().rev().skip(KEPT_DRY - 1) {
            loop {
                let page = MIRROR_ROWS.scan(&self.0.db, id, None, BUNCH).await?;
                let mut batch = Batch::new("an old dry run");
                for (key, _) in &page.rows {
                    MIRROR_ROWS.delete(&mut batch, key);
                }
                let more = page.next.is_some() && !page.rows.is_empty();
                if !more {
                    MIRROR_JOBS.delete(&mut batch, id);
                }
                self.0.db.commit(batch).await?;
                if !more {
                    break;
                }
            }
        }
        Ok(())
    }
}
