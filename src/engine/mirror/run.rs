//! Working on a job: its rooms are found, then each has its turn.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ruma::{OwnedRoomAliasId, OwnedRoomId};
use serde_json::Value;
use tokio::time::Instant;

use super::{
    super::{
        core::Engine,
        ingest::event_id,
        lobby::{LobbyError, create_as, new_uri},
        mail::NewRoom,
        ports::{Actor, CallError, MatrixAction, Retry, Survey},
        presence::To,
        tables::{ENDED, MANAGEMENT, MIRROR_JOBS, MIRROR_ROWS},
    },
    BUNCH, Counts, Finding, MOST_ROOMS, MOST_TRIES, MirrorJob, MirrorRequest, MirrorRow, Outcome, Raised, Selection,
    Stage,
    look::{Look, Named, look},
};
use crate::{
    room::Names as _,
    store::{Batch, StoreError},
};

/// Who asks the homeserver, as the log knows it.
pub(super) const WHO: &str = "mirror jobs";
/// The longest wait between tries, as a multiple of the first.
pub(super) const LONGEST_WAIT: u32 = 50;

/// Rooms of a job, and whether each is a space that is mirrored with its rooms.
type Found = BTreeMap<String, bool>;

impl Engine {
    /// Works on jobs until the engine stops.
    pub(in super::super) async fn keep_mirroring(self) {
        let mut wait = self.0.settings.retry;
        loop {
            let worked = tokio::select! {
                () = self.0.stop.cancelled() => return,
                worked = self.work_on_jobs() => worked,
            };
            if let Err(error) = worked {
                tracing::debug!(%error, "a mirror job does not go on yet");
                if let LobbyError::Call(call) = &error {
                    self.call_failed(To::Homeserver, WHO, call).await;
                } else {
                    tracing::warn!(%error, "a mirror job waits");
                }
                tokio::select! {
                    () = self.0.stop.cancelled() => return,
                    () = tokio::time::sleep(wait) => {}
                    () = self.0.mirroring.wake.notified() => {}
                }
                wait = (wait * 2).min(self.0.settings.retry * LONGEST_WAIT);
                continue;
            }
            self.call_answered(To::Homeserver, WHO);
            wait = self.0.settings.retry;
            tokio::select! {
                () = self.0.stop.cancelled() => return,
                () = self.0.mirroring.wake.notified() => {}
            }
        }
    }

    /// Works until there is nothing to do. An error is one that may be gone later.
    async fn work_on_jobs(&self) -> Result<(), LobbyError> {
        while let Some(job) = self.mirror_jobs().await?.into_iter().find(|job| job.stage.is_open()) {
            match job.stage {
                Stage::Listing => self.list(job).await?,
                Stage::Working | Stage::Undoing { .. } => self.turns(job).await?,
                Stage::Finished | Stage::Stopped | Stage::Failed(_) | Stage::Undone => {}
            }
        }
        Ok(())
    }

    /// Counts, and goes on with the next stage if there is one and nobody stopped the job. False: somebody did.
    async fn change(
        &self,
        job: &MirrorJob,
        row: Option<&MirrorRow>,
        next: Option<Stage>,
        count: impl FnOnce(&mut Counts),
    ) -> Result<bool, StoreError> {
        let _one = self.0.mirroring.jobs.lock().await;
        let Some(mut stored) = self.mirror_job(job.id).await? else { return Ok(false) };
        let goes_on = stored.stage == job.stage;
        // What was done is noted all the same.
        count(&mut stored.counts);
        stored.stage = next.filter(|_| goes_on).unwrap_or(stored.stage);
        let mut batch = Batch::new("a mirror job's turn");
        if let Some(row) = row {
            MIRROR_ROWS.put(&self.0.db, &mut batch, &(job.id, row.room.clone()), row)?;
        }
        MIRROR_JOBS.put(&self.0.db, &mut batch, &job.id, &stored)?;
        self.0.db.commit(batch).await?;
        Ok(goes_on)
    }

    /// One row of a job has its outcome. False: the job was stopped.
    pub(super) async fn settle_row(
        &self,
        job: &MirrorJob,
        row: &MirrorRow,
        count: impl FnOnce(&mut Counts),
    ) -> Result<bool, StoreError> {
        self.change(job, Some(row), None, count).await
    }

    /// The job goes on with this. False: it was stopped.
    pub(super) async fn next_stage(&self, job: &MirrorJob, stage: Stage) -> Result<bool, StoreError> {
        self.change(job, None, Some(stage), |_| {}).await
    }

    /// Stores a row before something is done whose outcome a kill could hide.
    pub(super) async fn note_row(&self, job: &MirrorJob, row: &MirrorRow) -> Result<(), StoreError> {
        let mut batch = Batch::new("a mirror job's intent");
        MIRROR_ROWS.put(&self.0.db, &mut batch, &(job.id, row.room.clone()), row)?;
        self.0.db.commit(batch).await.map(drop)
    }

    /// Counts that its rooms could not be found.
    async fn note_tries(&self, job: &MirrorJob) -> Result<(), StoreError> {
        let _one = self.0.mirroring.jobs.lock().await;
        let Some(stored) = self.mirror_job(job.id).await? else { return Ok(()) };
        self.put_job(&MirrorJob { tries: job.tries, ..stored }).await
    }

    async fn list(&self, mut job: MirrorJob) -> Result<(), LobbyError> {
        let looking = async {
            match self.find_rooms(&job.request).await {
                Err(error) => self.not_everybodys(error).await.map(Err),
                Ok(found) => Ok(Ok(found)),
            }
        };
        // Looking up an alias of a homeserver that does not answer takes long.
        let found = tokio::select! {
            stopped = self.until_stopped(&job) => return Ok(stopped?),
            found = looking => found?,
        };
        let found = match found {
            Err(why) if matches!(job.request.selection, Selection::Space(_)) => Err(why),
            Err(why) => {
                job.tries += 1;
                if job.tries < MOST_TRIES {
                    self.note_tries(&job).await?;
                    let wait = self.0.settings.retry * 2_u32.saturating_pow(job.tries).min(LONGEST_WAIT);
                    self.rest(&job, Instant::now() + wait).await?;
                    return Ok(());
                }
                Err(format!("tried {} times: {why}", job.tries))
            }
            Ok(found) => found,
        };
        let rooms = match found {
            Ok(rooms) => rooms,
            Err(why) => {
                tracing::warn!(job = job.id, why, "the rooms of a mirror job cannot be found");
                self.next_stage(&job, Stage::Failed(why)).await?;
                return Ok(());
            }
        };
        let found: Vec<(&String, &bool)> = rooms.iter().collect();
        for bunch in found.chunks(BUNCH) {
            let mut batch = Batch::new("rooms of a mirror job");
            for (room, space) in bunch {
                MIRROR_ROWS.put(&self.0.db, &mut batch, &(job.id, (*room).clone()), &MirrorRow::new(room, **space))?;
            }
            self.0.db.commit(batch).await?;
        }
        let total = rooms.len() as u64;
        self.change(&job, None, Some(Stage::Working), |counts| counts.rooms = total).await?;
        Ok(())
    }

    /// The inner error is for people.
    async fn find_rooms(&self, request: &MirrorRequest) -> Result<Result<Found, String>, LobbyError> {
        match self.search(request).await {
            Err(LobbyError::Call(error)) if error.retry == Retry::Permanent => Ok(Err(error.to_string())),
            found => found,
        }
    }

    async fn search(&self, request: &MirrorRequest) -> Result<Result<Found, String>, LobbyError> {
        let Some(survey) = self.0.homeserver.survey() else { return Ok(Ok(Found::new())) };
        let room = |room: String| (room, false);
        match &request.selection {
            Selection::Rooms(rooms) => Ok(Ok(rooms.iter().cloned().map(room).collect())),
            Selection::All => {
                let mut found: Found = survey.joined_rooms().await?.into_iter().map(String::from).map(room).collect();
                let mut skip = self.0.homeserver.has_admin().then_some(0);
                while let Some(place) = skip {
                    let page = survey.known_rooms(place).await?;
                    let ours = page.rooms.into_iter().filter(|room| room.local_members > 0);
                    found.extend(ours.map(|known| room(known.room.to_string())));
                    skip = page.next.filter(|next| *next > place && found.len() < MOST_ROOMS);
                }
                Ok(Ok(found))
            }
            Selection::Space(space) => match self.room_id(space).await? {
                Some(space) => self.rooms_of_space(survey, space, request.with_space).await,
                None => Ok(Err(format!("there is no space {space}, or it cannot be seen from here"))),
            },
        }
    }

    /// The rooms of a space, and of the spaces in it as far as they can be read.
    async fn rooms_of_space(
        &self,
        survey: &dyn Survey,
        top: OwnedRoomId,
        with_space: bool,
    ) -> Result<Result<Found, String>, LobbyError> {
        let (mut found, mut spaces) = (Found::new(), BTreeSet::from([top.to_string()]));
        let mut waiting = VecDeque::from([top.clone()]);
        while let Some(space) = waiting.pop_front() {
            let state = match self.state_in_view(survey, &space).await {
                Ok(state) => state,
                Err(error) if error.retry != Retry::Permanent => return Err(error.into()),
                Err(error) if space == top => {
                    let bot = self.0.names.bot();
                    return Ok(Err(format!("{space} cannot be read ({error}): invite the bot {bot} into it")));
                }
                // As a room it is told why.
                Err(_) => continue,
            };
            let events: Vec<Value> = state.iter().filter_map(|raw| serde_json::from_str(raw.get()).ok()).collect();
            let kind = |event: &Value| event.get("type").and_then(Value::as_str).map(str::to_owned);
            let is_space = |event: &Value| {
                kind(event).as_deref() == Some("m.room.create")
                    && event.pointer("/content/type").and_then(Value::as_str) == Some("m.space")
            };
            if !events.iter().any(is_space) {
                if space == top {
                    return Ok(Err(format!("{space} is no space")));
                }
                continue;
            }
            if with_space {
                found.insert(space.to_string(), true);
            } else {
                found.remove(space.as_str());
            }
            for event in events.iter().filter(|event| kind(event).as_deref() == Some("m.space.child")) {
                let via = event.pointer("/content/via").and_then(Value::as_array).is_some_and(|via| !via.is_empty());
                let child =
                    event.get("state_key").and_then(Value::as_str).and_then(|key| OwnedRoomId::try_from(key).ok());
                let Some(child) = child.filter(|_| via) else { continue };
                if found.len() + spaces.len() < MOST_ROOMS && spaces.insert(child.to_string()) {
                    found.insert(child.to_string(), false);
                    waiting.push_back(child);
                }
            }
        }
        Ok(Ok(found))
    }

    pub(super) async fn room_id(&self, name: &str) -> Result<Option<OwnedRoomId>, CallError> {
        if name.starts_with('#') {
            return match OwnedRoomAliasId::try_from(name) {
                Ok(alias) => self.0.homeserver.resolve_alias(&alias).await,
                Err(_) => Ok(None),
            };
        }
        Ok(OwnedRoomId::try_from(name).ok())
    }

    /// A room's state as the bot sees it, or else an administrator.
    async fn state_in_view(
        &self,
        survey: &dyn Survey,
        room: &OwnedRoomId,
    ) -> Result<Vec<Box<serde_json::value::RawValue>>, CallError> {
        match self.0.homeserver.room_state(room).await {
            Err(error) if error.retry == Retry::Permanent && self.0.homeserver.has_admin() => {
                survey.state_of(room).await
            }
            state => state,
        }
    }

    pub(super) async fn try_room(&self, job: &MirrorJob, row: &mut MirrorRow) -> Result<(), LobbyError> {
        if self.was_made(row) {
            return Ok(());
        }
        let Some(room) = self.place_of_row(row).await? else {
            row.findings = vec![Finding::NoSuchRoom];
            row.outcome = Outcome::LeftOut;
            return Ok(());
        };
        row.matrix = Some(room.clone());
        let Some(claim) = self.0.mirroring.claim(room.as_str()) else {
            // Somebody says `bridge` in it this very moment: it is looked at again.
            let what = format!("{room} is just being mirrored");
            return Err(CallError { what, retry: Retry::Retriable(None), status: None, errcode: None }.into());
        };
        if let Some(uri) = self.linked(room.as_str()) {
            row.outcome = Outcome::Before(uri);
            return Ok(());
        }
        // A space is named, or stands in one that is.
        let named = if row.space {
            Named::AsSpace
        } else if job.by_id {
            Named::ById
        } else {
            Named::Not
        };
        let (mut seen, mut since) = self.look_at(&room, named).await?;
        if !job.request.dry_run && !seen.is_fit() && seen.is_possible() && job.request.make_admin {
            if seen.findings.contains(&Finding::BotOutside) {
                row.entered = true;
            }
            let before = Raised { from: seen.level_of(&self.0.names.bot()) };
            row.raised.get_or_insert(before);
            self.note_row(job, row).await?;
            claim.brings_bot();
            self.bring_in(&room).await?;
            (seen, since) = self.look_at(&room, named).await?;
        }
        if job.request.make_admin {
            seen.gives_power(job.request.dry_run);
        }
        row.name.clone_from(&seen.name);
        row.version.clone_from(&seen.version);
        row.members = seen.members;
        row.findings.clone_from(&seen.findings);
        if !seen.is_fit() {
            if row.entered || row.raised.is_some() {
                // First: a row that is left out has no other turn.
                self.withdraw(&room, row).await?;
                (row.entered, row.raised) = (false, None);
            }
            row.outcome = Outcome::LeftOut;
            return Ok(());
        }
        if job.request.dry_run {
            row.outcome = Outcome::Fit;
            return Ok(());
        }
        let Some(creator) = seen.creator.as_ref().and_then(|user| self.0.names.uri(user)) else {
            row.outcome = Outcome::LeftOut;
            return Ok(());
        };
        let uri = match &row.outcome {
            Outcome::Making(uri) => uri.clone(),
            _ => new_uri(self)?,
        };
        row.outcome = Outcome::Making(uri.clone());
        self.note_row(job, row).await?;
        // Whoever has most power there did not ask for it.
        let new = NewRoom { counts: false, ..seen.facts.into_room(room.clone(), creator, seen.present, since) };
        create_as(self, uri.clone(), new).await?;
        tracing::info!(job = job.id, %room, uri, "mirrored");
        row.outcome = Outcome::Mirrored(uri);
        Ok(())
    }

    /// What there is to know of a room, and its newest event before that.
    async fn look_at(&self, room: &OwnedRoomId, named: Named) -> Result<(Look, Option<String>), LobbyError> {
        let Some(survey) = self.0.homeserver.survey() else { return Ok((Look::unseen(Finding::NoSuchRoom), None)) };
        if self.0.settings.admin_room.as_ref() == Some(room) {
            return Ok((Look::unseen(Finding::AdminRoom), None));
        }
        let (db, name) = (&self.0.db, room.to_string());
        if MANAGEMENT.get(db, &name).await?.is_some() || ENDED.get(db, &name).await?.is_some() {
            return Ok((Look::unseen(Finding::BotsOwn), None));
        }
        // In this order: what happens in between comes again, and changes nothing.
        let newest = match self.0.homeserver.timeline(room, &Actor::Bot, None, 1).await {
            Ok(page) => page.events.last().and_then(|raw| event_id(raw)),
            Err(error) if error.retry == Retry::Permanent => None,
            Err(error) => return Err(error.into()),
        };
        match self.state_in_view(survey, room).await {
            Ok(state) if state.is_empty() => Ok((Look::unseen(Finding::NoSuchRoom), None)),
            Ok(state) => Ok((look(self, &state, named), newest)),
            Err(error) if error.retry == Retry::Permanent => {
                let has_admin = self.0.homeserver.has_admin();
                let finding = if has_admin { Finding::NoSuchRoom } else { Finding::BotOutside };
                Ok((Look::unseen(finding), None))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The homeserver makes the bot an administrator of a room, and the bot comes in.
    async fn bring_in(&self, room: &OwnedRoomId) -> Result<(), CallError> {
        let Some(survey) = self.0.homeserver.survey() else { return Ok(()) };
        match survey.make_admin(room).await {
            Ok(()) => {}
            // Nobody of this homeserver could: the findings say what is missing.
            Err(error) if error.retry == Retry::Permanent => {
                tracing::info!(%room, %error, "the bot was not made an administrator");
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        let join = MatrixAction::Join { room: room.clone(), actor: Actor::Bot };
        self.0.homeserver.perform(&join).await.map(drop)
    }
}
