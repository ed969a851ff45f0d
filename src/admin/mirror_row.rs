//! Jobs that mirror many rooms, and their rooms, as an operator sees them; and what the operator asks for.

use serde::{Deserialize, Serialize};

use super::Listing;
use crate::{
    engine::{Counts, Engine, Finding, MirrorJob, MirrorRequest, MirrorRow as Row, Outcome, Selection, Stage, Weight},
    room::counted,
    store::StoreError,
};

/// Rows of one page: each has up to a kilobyte.
const PAGE: usize = 500;

/// What `mimi-gateway mirror` asks for. One of `all`, `space` and `rooms`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "switches of a command line")]
pub struct MirrorAsk {
    /// All rooms that the bot is in; with an administrator's token all of the homeserver.
    #[serde(default)]
    pub all: bool,
    /// Those of this space.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub space: Option<String>,
    /// These.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rooms: Vec<String>,
    /// Only look.
    pub dry_run: bool,
    /// Have the homeserver make the bot an administrator of rooms.
    #[serde(default)]
    pub make_admin: bool,
    /// With the rooms of a space also the space, and the spaces in it.
    #[serde(default)]
    pub with_space: bool,
    /// Rooms a minute.
    pub per_minute: u32,
}

impl MirrorAsk {
    /// As the engine has it; `None` if it is not one selection.
    #[must_use]
    pub fn into_request(self) -> Option<MirrorRequest> {
        let selection = match (self.all, self.space, self.rooms.is_empty()) {
            (true, None, true) => Selection::All,
            (false, Some(space), true) => Selection::Space(space),
            (false, None, false) => Selection::Rooms(self.rooms),
            _ => return None,
        };
        let Self { dry_run, make_admin, with_space, per_minute, .. } = self;
        Some(MirrorRequest { selection, dry_run, make_admin, with_space, per_minute })
    }
}

/// What is asked of a job that is undone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UndoAsk {
    /// Also rooms that MIMI users are in.
    pub used: bool,
}

/// A job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRow {
    /// Its number.
    pub job: u64,
    /// When it began, in milliseconds since the UNIX epoch.
    pub begun: u64,
    /// What for: `all`, `space ID`, or `N rooms`.
    pub what: String,
    /// Whether it only looks.
    pub dry_run: bool,
    /// `listing`, `working`, `finished`, `stopped`, `failed`, `undoing` or `undone`.
    pub stage: String,
    /// Whether there is something to do.
    pub open: bool,
    /// Why its rooms cannot be found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// How many rooms are how far.
    #[serde(flatten)]
    pub counts: Counts,
}

impl From<MirrorJob> for JobRow {
    fn from(job: MirrorJob) -> Self {
        let stage = match &job.stage {
            Stage::Listing => "listing",
            Stage::Working => "working",
            Stage::Finished => "finished",
            Stage::Stopped => "stopped",
            Stage::Failed(_) => "failed",
            Stage::Undoing { .. } => "undoing",
            Stage::Undone => "undone",
        };
        Self {
            job: job.id,
            begun: job.begun,
            what: match &job.request.selection {
                Selection::All => "all".to_owned(),
                Selection::Space(space) if job.request.with_space => format!("space {space}, with itself"),
                Selection::Space(space) => format!("space {space}"),
                Selection::Rooms(rooms) => counted(rooms.len() as u64, "room", "rooms"),
            },
            dry_run: job.request.dry_run,
            stage: stage.to_owned(),
            open: job.stage.is_open(),
            why: if let Stage::Failed(why) = job.stage { Some(why) } else { None },
            counts: job.counts,
        }
    }
}

/// One thing that whoever mirrors a room should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingRow {
    /// Its name for programs.
    pub code: String,
    /// `forbids`, `needs` or `loses`.
    pub weight: String,
    /// For people.
    pub text: String,
}

impl From<&Finding> for FindingRow {
    fn from(finding: &Finding) -> Self {
        let weight = match finding.weight() {
            Weight::Forbids => "forbids",
            Weight::Needs => "needs",
            Weight::Does => "does",
            Weight::Loses => "loses",
        };
        Self { code: finding.code().to_owned(), weight: weight.to_owned(), text: finding.to_string() }
    }
}

/// A room of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MirrorRow {
    /// Its id, or the alias as it was given.
    pub room: String,
    /// How it is called.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Who is in it, without bots and ghosts.
    pub members: u64,
    /// The room's version, if it could be seen.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// `waiting`, `fit`, `left_out`, `before`, `making`, `mirrored`, `failed`, `undone` or `kept`.
    pub outcome: String,
    /// The MIMI room, if it has or had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mimi_room: Option<String>,
    /// The Matrix room, if it was named by an alias, or was upgraded since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matrix_room: Option<String>,
    /// Why it failed, was kept, or is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What is to be known.
    pub findings: Vec<FindingRow>,
}

impl From<Row> for MirrorRow {
    fn from(row: Row) -> Self {
        let (outcome, mimi_room, why) = match row.outcome {
            Outcome::Waiting => ("waiting", None, None),
            Outcome::Fit => ("fit", None, None),
            Outcome::LeftOut => ("left_out", None, None),
            Outcome::Before(uri) => ("before", Some(uri), None),
            Outcome::Making(uri) => ("making", Some(uri), None),
            Outcome::Mirrored(uri) => ("mirrored", Some(uri), None),
            Outcome::Failed(why) => ("failed", None, Some(why)),
            Outcome::Undone(uri) => ("undone", Some(uri), None),
            Outcome::Kept(uri, why) => ("kept", Some(uri), Some(why)),
        };
        let matrix_room = row.matrix.map(String::from).filter(|room| *room != row.room);
        Self {
            matrix_room,
            room: row.room,
            name: row.name,
            members: row.members,
            version: row.version,
            outcome: outcome.to_owned(),
            mimi_room,
            why: why.or(Some(row.trouble).filter(|trouble| !trouble.is_empty())),
            findings: row.findings.iter().map(FindingRow::from).collect(),
        }
    }
}

/// All jobs, oldest first. Fails as the store does.
pub async fn mirror_jobs(engine: &Engine) -> Result<Listing<JobRow>, StoreError> {
    Ok(Listing::new(engine.mirror_jobs().await?.into_iter().map(JobRow::from).collect(), None))
}

/// One job, or nothing.
pub async fn mirror_job(engine: &Engine, id: u64) -> Result<Listing<JobRow>, StoreError> {
    Ok(Listing::new(engine.mirror_job(id).await?.into_iter().map(JobRow::from).collect(), None))
}

/// The rooms of a job behind this place.
pub async fn mirror_rooms(engine: &Engine, id: u64, after: Option<Vec<u8>>) -> Result<Listing<MirrorRow>, StoreError> {
    let (rows, next) = engine.mirror_rows_after(id, after, PAGE).await?;
    Ok(Listing::new(rows.into_iter().map(MirrorRow::from).collect(), next))
}
