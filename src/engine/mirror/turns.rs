//! Each room of a job has its turn: to be mirrored, or to be let go. One whose turn fails for its own sake is tried again after
//! the others; when the homeserver answers nobody, the job waits.

use std::time::Duration;

use ruma::OwnedRoomId;
use tokio::time::Instant;

use super::{
    super::{
        core::{Engine, lock},
        lobby::LobbyError,
        ports::{CallError, Retry},
        presence::To,
        tables::MIRROR_ROWS,
    },
    BUNCH, Counts, MOST_TRIES, MirrorJob, MirrorRow, Outcome, Stage,
    run::{LONGEST_WAIT, WHO},
};
use crate::{room::Names as _, store::StoreError};

/// A dry run only reads: it may go so many times as fast.
const READING: u32 = 10;
/// Of the reason why a turn failed so many characters are kept.
const TROUBLE: usize = 300;

/// What became of a turn.
enum Turn {
    /// It is over; false: the job was stopped.
    Over(bool),
    /// It failed, and comes again, after this many before.
    Again(u32),
}

/// What became of one turn of each room.
enum Round {
    /// The job was stopped.
    Stopped,
    /// All are over.
    Done,
    /// Some come again; the one that was tried least was so many times.
    Again(u32),
}

/// Whether a room's turn is still to come.
pub(super) fn is_due(job: &MirrorJob, row: &MirrorRow) -> bool {
    if matches!(job.stage, Stage::Undoing { .. }) {
        let mirrored = matches!(row.outcome, Outcome::Mirrored(_) | Outcome::Kept(..) | Outcome::Making(_));
        return row.undo < job.undos && (mirrored || row.entered || row.raised.is_some());
    }
    matches!(row.outcome, Outcome::Waiting | Outcome::Making(_))
}

impl Engine {
    /// Each room that is due has its turn, until none is.
    pub(super) async fn turns(&self, job: MirrorJob) -> Result<(), LobbyError> {
        loop {
            let tries = match self.round(&job).await? {
                Round::Stopped => return Ok(()),
                Round::Done => break,
                Round::Again(tries) => tries,
            };
            let wait = self.0.settings.retry * 2_u32.saturating_pow(tries).min(LONGEST_WAIT);
            if !self.rest(&job, Instant::now() + wait).await? {
                return Ok(());
            }
        }
        let undone = matches!(job.stage, Stage::Undoing { .. });
        if self.next_stage(&job, if undone { Stage::Undone } else { Stage::Finished }).await? {
            tracing::info!(job = job.id, undone, "a mirror job is finished");
        }
        Ok(())
    }

    /// Waits until this job is stopped.
    pub(super) async fn until_stopped(&self, job: &MirrorJob) -> Result<(), StoreError> {
        loop {
            let stopped = self.0.mirroring.stopped.notified();
            if self.mirror_job(job.id).await?.is_none_or(|stored| stored.stage != job.stage) {
                return Ok(());
            }
            stopped.await;
        }
    }

    /// Each room that is due has one turn. Spaces are mirrored before their rooms, which depend on them then, and let go after them.
    async fn round(&self, job: &MirrorJob) -> Result<Round, LobbyError> {
        if !job.request.with_space {
            return self.pass(job, false).await;
        }
        let spaces_first = !matches!(job.stage, Stage::Undoing { .. });
        match self.pass(job, spaces_first).await? {
            Round::Done => self.pass(job, !spaces_first).await,
            open => Ok(open),
        }
    }

    /// Each room that is due, or each space, has one turn.
    async fn pass(&self, job: &MirrorJob, spaces: bool) -> Result<Round, LobbyError> {
        let per_minute = job.request.per_minute.max(1) * if job.request.dry_run { READING } else { 1 };
        let pause = Duration::from_mins(1) / per_minute;
        let (mut round, mut after) = (Round::Done, None);
        loop {
            let page = MIRROR_ROWS.scan(&self.0.db, &job.id, after, BUNCH).await?;
            for (_, row) in page.rows.into_iter().filter(|(_, row)| row.space == spaces && is_due(job, row)) {
                let began = Instant::now();
                match self.turn(job, row).await? {
                    Turn::Over(false) => return Ok(Round::Stopped),
                    Turn::Over(true) => {}
                    Turn::Again(tries) => {
                        let least = if let Round::Again(least) = round { least.min(tries) } else { tries };
                        round = Round::Again(least);
                    }
                }
                if !self.rest(job, began + pause).await? {
                    return Ok(Round::Stopped);
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(round);
            }
        }
    }

    /// Waits for the next room's turn. False: the job was stopped.
    pub(super) async fn rest(&self, job: &MirrorJob, until: Instant) -> Result<bool, StoreError> {
        loop {
            let stopped = self.0.mirroring.stopped.notified();
            let goes_on = self.mirror_job(job.id).await?.is_some_and(|stored| stored.stage == job.stage);
            if !goes_on || Instant::now() >= until {
                return Ok(goes_on);
            }
            tokio::select! {
                () = stopped => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }

    async fn turn(&self, job: &MirrorJob, mut row: MirrorRow) -> Result<Turn, LobbyError> {
        let before = row.outcome.clone();
        let turn = match job.stage {
            Stage::Undoing { used } => self.let_go(job, &mut row, used).await,
            _ => self.try_room(job, &mut row).await,
        };
        row.trouble.clear();
        if let Err(error) = turn {
            let for_good = is_for_good(&error);
            let why = self.not_everybodys(error).await?;
            row.tries += 1;
            if !for_good && row.tries < MOST_TRIES {
                if row.tries == 1 {
                    tracing::warn!(
                        job = job.id,
                        room = row.room,
                        why,
                        "a room's turn failed; it comes again after the others"
                    );
                }
                row.trouble = format!("tried {} times, and is tried again: {why}", row.tries);
                self.note_row(job, &row).await?;
                return Ok(Turn::Again(row.tries));
            }
            let why = if for_good { why } else { format!("tried {} times: {why}", row.tries) };
            tracing::warn!(job = job.id, room = row.room, why, "a room's turn failed for good");
            self.gives_up(job, &mut row, why);
        }
        self.call_answered(To::Homeserver, WHO);
        row.tries = 0;
        if matches!(job.stage, Stage::Undoing { .. }) {
            row.undo = job.undos;
            tracing::info!(job = job.id, room = row.room, outcome = ?row.outcome, "a room had its turn to be let go");
        }
        let outcome = row.outcome.clone();
        let count = move |counts: &mut Counts| count(counts, &before, &outcome);
        Ok(Turn::Over(self.settle_row(job, &row, count).await?))
    }

    /// A turn failed, and comes no more.
    fn gives_up(&self, job: &MirrorJob, row: &mut MirrorRow, why: String) {
        if !matches!(job.stage, Stage::Undoing { .. }) {
            if !self.was_made(row) {
                row.outcome = Outcome::Failed(why);
            }
            return;
        }
        if let Outcome::Mirrored(uri) | Outcome::Kept(uri, _) | Outcome::Making(uri) = row.outcome.clone() {
            if self.place_of(&uri).is_some() {
                row.outcome = Outcome::Kept(uri, why);
                return;
            }
            row.outcome = Outcome::Undone(uri);
        }
        row.trouble = format!("the bot is still in it: {why}");
    }

    /// Why a turn failed, if it did for its room's sake. If the homeserver answers nobody, or the store does not, that is the
    /// error.
    pub(super) async fn not_everybodys(&self, error: LobbyError) -> Result<String, LobbyError> {
        if let LobbyError::Call(call) = &error
            && call.retry != Retry::Permanent
        {
            let wants_time = matches!(call.retry, Retry::Retriable(Some(_)));
            let bot = self.0.names.bot();
            match self.0.homeserver.profile(&bot).await {
                Err(answer) if answer.retry != Retry::Permanent => return Err(error),
                _ if wants_time => return Err(error),
                _ => {}
            }
        }
        if matches!(&error, LobbyError::Store(StoreError::Busy(_) | StoreError::Closed(_))) {
            return Err(error);
        }
        Ok(error.to_string().chars().take(TROUBLE).collect())
    }

    /// Whether a room that was to be mirrored is, in whichever Matrix room by now: it is the job's to undo.
    pub(super) fn was_made(&self, row: &mut MirrorRow) -> bool {
        let Outcome::Making(uri) = &row.outcome else { return false };
        let Some(place) = self.place_of(uri) else { return false };
        row.matrix = Some(place);
        row.outcome = Outcome::Mirrored(uri.clone());
        true
    }

    /// The Matrix room in which a MIMI room is.
    pub(super) fn place_of(&self, uri: &str) -> Option<OwnedRoomId> {
        let links = lock(&self.0.links);
        let found = links.iter().find(|(_, linked)| *linked == uri);
        found.and_then(|(room, _)| OwnedRoomId::try_from(room.as_str()).ok())
    }

    /// The Matrix room of a row; an alias is looked up once.
    pub(super) async fn place_of_row(&self, row: &MirrorRow) -> Result<Option<OwnedRoomId>, CallError> {
        match &row.matrix {
            Some(room) => Ok(Some(room.clone())),
            None => self.room_id(&row.room).await,
        }
    }
}

/// Whether it fails the same way each time.
fn is_for_good(error: &LobbyError) -> bool {
    match error {
        LobbyError::Call(call) => call.retry == Retry::Permanent,
        LobbyError::Store(error) => matches!(error, StoreError::Invalid(_)),
    }
}

/// A room that was this is that now.
fn count(counts: &mut Counts, before: &Outcome, outcome: &Outcome) {
    let was_mirrored = matches!(before, Outcome::Mirrored(_) | Outcome::Kept(..));
    match outcome {
        Outcome::Undone(_) if !matches!(before, Outcome::Undone(_)) => {
            counts.undone += 1;
            counts.mirrored = counts.mirrored.saturating_sub(u64::from(was_mirrored));
        }
        Outcome::Kept(..) => counts.kept += 1,
        now if !matches!(before, Outcome::Waiting | Outcome::Making(_)) || *now == Outcome::Waiting => {}
        now => {
            counts.seen += 1;
            match now {
                Outcome::Fit => counts.fit += 1,
                Outcome::LeftOut => counts.left_out += 1,
                Outcome::Before(_) => counts.before += 1,
                Outcome::Mirrored(_) => counts.mirrored += 1,
                _ => counts.failed += 1,
            }
        }
    }
}
