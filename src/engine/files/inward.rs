//! Files of others' messages on their way in: from their asset stores, checked, by way of the spool to the homeserver, and then
//! the events that show them, at the message's place in the room or, if they take long, later.

use std::{collections::BTreeSet, os::unix::fs::FileExt as _, sync::Arc};

use ruma::OwnedEventId;
use tokio::{sync::watch, time::Instant};

use super::{Carrier, EMOTICONS, Trouble, jobs::Job, late, rules};
use crate::{
    content::{MessageId, MimiContent},
    engine::{
        Engine,
        caught::caught,
        core::{lock, now},
        names::GatewayNames,
        ports::{Actor, CallError, MatrixAction, MatrixDone, Retry},
        relations::{Place, lookup_failed},
        tables::{LATE, MORE, OUTBOX, OutRow, Parcel},
    },
    ident::{RoomUri, UserUri},
    media::{CHUNK, TAG_LEN, ToMatrix},
    policy::AssetPolicy,
    room::{Names, Showing},
    store::{Batch, StoreError},
    translate::{
        self, MatrixMessage, Mentions,
        media::{
            FileSource, MediaInfo, MediaKind, Moved, PartSource, accepted, files_to_matrix, from_message, on_their_way,
        },
    },
    wire::path::DownloadUrl,
};

/// What became of a message with files when its turn came.
#[derive(Debug)]
pub(in crate::engine) enum Came {
    /// It is shown: its events, the one that stands for it first.
    Shown(Vec<OwnedEventId>),
    /// A note stands in its place.
    Late(OwnedEventId),
}

/// Whom captions mention: those whom the message mentioned in the room when it came, and nobody else.
struct Mentioned<'a> {
    names: &'a GatewayNames,
    users: Vec<String>,
    everybody: bool,
}

impl<'a> Mentioned<'a> {
    /// By the message as it would be shown without its files.
    fn of(showing: &Showing, names: &'a GatewayNames) -> Self {
        let content = match &showing.action {
            MatrixAction::Send { content, .. } => {
                serde_json::from_str::<serde_json::Value>(content).unwrap_or_default()
            }
            _ => serde_json::Value::Null,
        };
        let mentions = content.get("m.mentions");
        let users = mentions.and_then(|mentions| mentions.get("user_ids")?.as_array()).into_iter().flatten();
        Self {
            names,
            users: users.filter_map(|user| user.as_str().map(str::to_owned)).collect(),
            everybody: mentions.and_then(|mentions| mentions.get("room")?.as_bool()).unwrap_or(false),
        }
    }
}

impl Mentions for Mentioned<'_> {
    fn uri(&self, user: &ruma::UserId) -> Option<UserUri> {
        self.names.uri(user).or_else(|| self.names.ghost_uri(user))
    }
    fn matrix_id(&self, user: &UserUri) -> Option<ruma::OwnedUserId> {
        self.names.matrix_id(user)
    }
    fn is_here(&self, user: &UserUri) -> bool {
        self.names.matrix_id(user).is_some_and(|id| self.users.iter().any(|known| known == id.as_str()))
    }
    fn may_ring_all(&self, _: &UserUri) -> bool {
        self.everybody
    }
}

pub(super) fn unreadable(what: &dyn std::fmt::Display) -> CallError {
    CallError { what: format!("a message with files: {what}"), retry: Retry::Permanent, status: None, errcode: None }
}

pub(super) fn stored(error: impl std::fmt::Display) -> CallError {
    CallError {
        what: format!("a message with files: {error}"),
        retry: Retry::Retriable(None),
        status: None,
        errcode: None,
    }
}

/// What is to be brought: which part, as what.
struct Wanted {
    part: PartSource,
    kind: MediaKind,
    info: MediaInfo,
    name: String,
}

impl Carrier {
    async fn fetch(
        &self,
        room: &RoomUri,
        actor: &Actor,
        policy: Option<&AssetPolicy>,
        wanted: &Wanted,
    ) -> Result<FileSource, Trouble> {
        let Wanted { part, kind, info, name } = wanted;
        let part = match part {
            PartSource::External(part) => part,
            PartSource::Here(bytes) => return self.keep(actor, policy, bytes, wanted).await,
        };
        part.check_fetchable(now()).map_err(|fault| Trouble::Never(fault.to_string()))?;
        let url = DownloadUrl::parse(&part.url)
            .map_err(|error| Trouble::Never(format!("it is where nothing is fetched from: {error}")))?;
        let Actor::Ghost(sender) = actor else { return Err(Trouble::Never("nobody sent it".to_owned())) };
        self.lets_through(info)?;
        self.may_lie(url.host())?;
        rules::place(policy, sender, url.host()).map_err(Trouble::Never)?;
        let limit = rules::limit(policy, *kind, info, self.upload_limit().await?).map_err(Trouble::Never)?;
        let _turn = self.turn_of(&sender.provider()).await?;
        let ways = policy.map(|policy| &policy.download_privacy);
        let asset = self.files.assets.get(&room.hub(), &url, ways).await.map_err(|error| match error.retry {
            Retry::Permanent => Trouble::Never(error.what),
            Retry::Retriable(after) => Trouble::Later(error.what, after),
            Retry::Uncertain => Trouble::Later(error.what, None),
        })?;
        if asset.bytes() > limit.saturating_add(TAG_LEN as u64) {
            return Err(Trouble::too_large(limit));
        }
        let pipe = ToMatrix::new(part, now(), None)?;
        let mut filling = self.files.spool.begin(pipe)?;
        let checked = tokio::task::spawn_blocking(move || {
            let (file, mut at, mut piece) = (asset.file(), 0, vec![0; CHUNK]);
            while at < asset.bytes() {
                let length = usize::try_from(asset.bytes() - at).unwrap_or(CHUNK).min(CHUNK);
                let piece = piece.get_mut(..length).unwrap_or_default();
                file.read_exact_at(piece, at).map_err(|error| Trouble::Later(error.to_string(), None))?;
                filling.write(piece)?;
                at += piece.len() as u64;
            }
            Ok::<_, Trouble>(filling.finish()?)
        });
        let (spooled, _) = checked.await.map_err(|error| {
            if error.is_panic() {
                tracing::error!(%room, "checking a file panicked");
                return Trouble::Never("the gateway could not handle it".to_owned());
            }
            Trouble::Later(error.to_string(), None)
        })??;
        let url = self.files.matrix.upload(actor, name, &info.media_type, &spooled).await?;
        Ok(FileSource::Plain(url))
    }

    /// Brings a file that came within its message: where it lies and how it is fetched is no question then.
    async fn keep(
        &self,
        actor: &Actor,
        policy: Option<&AssetPolicy>,
        bytes: &[u8],
        Wanted { kind, info, name, .. }: &Wanted,
    ) -> Result<FileSource, Trouble> {
        self.lets_through(info)?;
        rules::limit(policy, *kind, info, self.upload_limit().await?).map_err(Trouble::Never)?;
        let Actor::Ghost(sender) = actor else { return Err(Trouble::Never("nobody sent it".to_owned())) };
        let _turn = self.turn_of(&sender.provider()).await?;
        let mut filling = self.files.spool.begin(ToMatrix::in_message())?;
        let bytes = bytes.to_vec();
        let kept = tokio::task::spawn_blocking(move || {
            filling.write(&bytes)?;
            filling.finish()
        });
        let (spooled, _) = kept.await.map_err(|error| Trouble::Never(error.to_string()))??;
        let url = self.files.matrix.upload(actor, name, &info.media_type, &spooled).await?;
        Ok(FileSource::Plain(url))
    }
}

impl Engine {
    /// The job that fetches the files of this message; begins it if it does not run.
    pub(in crate::engine) fn job(&self, room: &str, parcel: &Parcel) -> Option<Job> {
        self.job_of(room, parcel, false)
    }

    /// Begins to fetch the files of messages that were read from the outbox of a room, so that they are waited for together.
    pub(in crate::engine) fn begin_jobs(&self, lane: &str, rows: &[(u64, OutRow)]) {
        let Some(room) = lane.strip_prefix("m:") else { return };
        for (number, row) in rows {
            if let OutRow::Parcel(parcel) = row {
                let _ = self.job_of(room, parcel, self.0.db.is_older(*number));
            }
        }
    }

    fn job_of(&self, room: &str, parcel: &Parcel, is_old: bool) -> Option<Job> {
        let carrier = self.0.files.get()?;
        let key = (room.to_owned(), parcel.showing.message_id);
        let mut jobs = lock(&carrier.jobs);
        if let Some(job) = jobs.get(&key) {
            return Some(job.clone());
        }
        let (done, watched) = watch::channel(None);
        let provider = parcel.showing.earlier.sender.provider();
        let job = Job { since: Instant::now(), provider, is_old, done: watched };
        jobs.begin(key, job.clone());
        drop(jobs);
        let (engine, room, parcel) = (self.clone(), room.to_owned(), parcel.clone());
        self.0.tasks.spawn(async move {
            let fetched = caught(engine.fetch_files(&room, &parcel)).await;
            let moved = fetched.unwrap_or_else(|_| {
                tracing::error!(room, "fetching the files of a message panicked; it is shown without them");
                Some(Vec::new())
            });
            if let Some(moved) = moved {
                done.send_replace(Some(Arc::new(moved)));
            }
        });
        Some(job)
    }

    pub(super) fn end_job(&self, room: &str, message: [u8; 32]) {
        if let Some(carrier) = self.0.files.get() {
            lock(&carrier.jobs).end(&(room.to_owned(), message));
        }
    }

    async fn fetch_files(&self, room: &str, parcel: &Parcel) -> Option<Vec<Moved<FileSource>>> {
        let carrier = self.0.files.get()?;
        let message = MimiContent::decode(&parcel.content).ok();
        let (Some(media), Ok(room), MatrixAction::Send { actor, .. }) =
            (message.as_ref().and_then(from_message), RoomUri::parse(room), &parcel.showing.action)
        else {
            return Some(Vec::new());
        };
        let policy = parcel.policy.as_deref().and_then(rules::read);
        let provider = parcel.showing.earlier.sender.provider();
        let mut moved = Vec::new();
        let in_time = Instant::now() + EMOTICONS;
        for file in media.files {
            let wanted = Wanted { part: file.source, kind: file.kind, info: file.info, name: file.filename };
            let one = async |wanted: &Wanted| {
                let (place, patience) = (wanted.part.place(), || carrier.patience(&provider));
                self.persist(place, patience, || carrier.fetch(&room, actor, policy.as_ref(), wanted)).await
            };
            let came = if wanted.kind == MediaKind::Emoticon {
                tokio::time::timeout_at(in_time, one(&wanted)).await.unwrap_or_else(|_| Some(Err(late())))?
            } else {
                one(&wanted).await?
            };
            let is_there = came.is_ok();
            moved.push(came);
            if let Some((part, info)) = file.thumbnail {
                let thumbnail = Wanted { part, kind: MediaKind::Image, info, name: String::new() };
                moved.push(if is_there { one(&thumbnail).await? } else { Err("its file is not there".to_owned()) });
            }
        }
        Some(moved)
    }

    /// Shows a message with files, or a note in its place if they do not come soon.
    pub(in crate::engine) async fn show_parcel(&self, room: &str, parcel: &Parcel) -> Result<Came, CallError> {
        let job = self.job(room, parcel).ok_or_else(|| unreadable(&"nothing carries files any more"))?;
        let mut done = job.done.clone();
        let carrier = self.0.files.get().ok_or_else(|| unreadable(&"nothing carries files any more"))?;
        // What was to be shown before the start was waited for in another life: the room waits once more for each provider, and
        // not for each of its messages.
        let in_vain = job.is_old && lock(&carrier.jobs).was_late(room, &job.provider);
        let until = if in_vain { job.since } else { job.since + carrier.files.wait };
        let there = tokio::time::timeout_at(until, done.wait_for(Option::is_some));
        let there = there.await.map(|files| files.map(|files| files.clone()));
        let files = match there {
            Ok(Ok(files)) => files,
            Ok(Err(_)) => {
                return Err(CallError { retry: Retry::Retriable(None), ..unreadable(&"its files were let go") });
            }
            Err(_) => None,
        };
        if let Some(files) = files {
            let events = self.show_files(room, parcel, &files, None).await?;
            self.replace_rest(room, &parcel.showing, events.get(1..).unwrap_or_default()).await?;
            return Ok(Came::Shown(events));
        }
        if job.is_old {
            lock(&carrier.jobs).note_late(room, &job.provider);
        }
        let note = self.worded(parcel, |message, ctx| vec![on_their_way(message, ctx)])?;
        let events = self.send_all(room, parcel, note, ".late", None).await?;
        events.into_iter().next().map(Came::Late).ok_or_else(|| unreadable(&"nothing to show"))
    }

    pub(super) async fn show_files(
        &self,
        room: &str,
        parcel: &Parcel,
        files: &[Moved<FileSource>],
        note: Option<&OwnedEventId>,
    ) -> Result<Vec<OwnedEventId>, CallError> {
        let events = self.worded(parcel, |message, ctx| files_to_matrix(message, files.to_vec(), ctx))?;
        self.send_all(room, parcel, events, "", note).await
    }

    /// The events of a message.
    fn worded(
        &self,
        parcel: &Parcel,
        words: impl FnOnce(&MimiContent, &translate::ToMatrix<'_>) -> Vec<MatrixMessage>,
    ) -> Result<Vec<MatrixMessage>, CallError> {
        let message = MimiContent::decode(&parcel.content).map_err(|error| unreadable(&error))?;
        let showing = &parcel.showing;
        let sender = &showing.earlier.sender;
        let room = RoomUri::parse(&parcel.room).map_err(|error| unreadable(&error))?;
        let ctx = translate::ToMatrix {
            message_id: MessageId(showing.message_id),
            sender,
            room: &room,
            from_gateway: self.0.names.is_gateway(&sender.provider()),
            mentions: &Mentioned::of(showing, &self.0.names),
        };
        let mut events = words(&message, &ctx);
        for event in &mut events {
            accepted(event, showing.accepted);
        }
        Ok(events)
    }

    /// Sends the events of a message, each once. `late`: in place of this note; each is noted at once then, and no more are
    /// sent once the message is deleted.
    async fn send_all(
        &self,
        room: &str,
        parcel: &Parcel,
        events: Vec<MatrixMessage>,
        mark: &str,
        late: Option<&OwnedEventId>,
    ) -> Result<Vec<OwnedEventId>, CallError> {
        let MatrixAction::Send { room: matrix, actor, ts, txn_id, .. } = &parcel.showing.action else {
            return Err(unreadable(&"it is none that is sent"));
        };
        let mut sent = Vec::new();
        for (index, event) in events.into_iter().enumerate() {
            // What a note says may come to be otherwise after a crash: then it is another event.
            let note = if event.content.get("msgtype").is_some_and(|kind| kind == "m.notice") { "n" } else { "" };
            let txn_id = if index == 0 && note.is_empty() {
                format!("{txn_id}{mark}")
            } else {
                format!("{txn_id}{mark}.{note}f{index}")
            };
            let action = MatrixAction::Send {
                room: matrix.clone(),
                actor: actor.clone(),
                event_type: event.event_type,
                content: event.content.to_string(),
                ts: *ts,
                txn_id,
            };
            let mut showing = Showing { action, refers: event.refers, ..parcel.showing.clone() };
            // What its events refer to is read from its bytes, and so by the ids that are in these.
            self.by_own_ids(room, &mut showing).await.map_err(|error| lookup_failed(&error))?;
            if let Ok(MatrixDone::Event(event)) = self.show(room, &showing, false).await? {
                sent.push(event);
            }
            if let Some(note) = late
                && !self.note_late(room, parcel, note, &sent).await?
            {
                break;
            }
        }
        Ok(sent)
    }

    /// The events that show a message beside the one that stands for it.
    pub(super) async fn more_of(&self, key: &(String, [u8; 32])) -> Result<BTreeSet<String>, StoreError> {
        Ok(MORE.get(&self.0.db, key).await?.map(|row| row.value.into_iter().collect()).unwrap_or_default())
    }

    /// Notes which events show a message; the first of them stands for it.
    pub(in crate::engine) async fn note_files(
        &self,
        room: &str,
        parcel: &Parcel,
        events: &[OwnedEventId],
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        let (showing, Some((first, more))) = (&parcel.showing, events.split_first()) else { return Ok(()) };
        if let MatrixAction::Send { room: matrix, .. } = &showing.action {
            let place = Place { room, matrix };
            let earlier = self.standing(place, &showing.earlier).await?;
            for event in more {
                self.note_event(place, event, showing.message_id, &earlier, Some(showing.accepted), batch)?;
            }
        }
        let key = (room.to_owned(), showing.message_id);
        let mut all = self.more_of(&key).await?;
        all.extend(more.iter().map(ToString::to_string));
        all.remove(first.as_str());
        if !all.is_empty() {
            MORE.put(&self.0.db, batch, &key, &self.0.today.dated(all.into_iter().collect()))?;
        }
        self.note_shown(room, showing, first, batch).await
    }

    /// The message's turn in its lane is over: it is shown, or goes on by itself. False: the engine stops.
    pub(in crate::engine) async fn parcel_done(
        &self,
        lane: &str,
        room: &str,
        number: u64,
        parcel: &Parcel,
        came: &Came,
    ) -> bool {
        let events = match came {
            Came::Shown(events) => events.clone(),
            Came::Late(note) => vec![note.clone()],
        };
        loop {
            let mut batch = Batch::new("a message with files");
            OUTBOX.remove(&mut batch, &lane.to_owned(), number);
            let noted = async {
                self.note_files(room, parcel, &events, &mut batch).await?;
                if matches!(came, Came::Late(_)) {
                    LATE.put(&self.0.db, &mut batch, &(room.to_owned(), parcel.showing.message_id), parcel)?;
                }
                self.0.db.commit(batch).await
            };
            let Err(error) = noted.await else { break };
            tracing::warn!(lane, %error, "a message with files is not noted yet");
            tokio::select! {
                () = self.0.stop.cancelled() => return false,
                () = tokio::time::sleep(self.0.settings.retry) => {}
            }
        }
        self.passed(room, &parcel.showing);
        match came {
            Came::Shown(_) => {
                self.is_taken(room, &parcel.showing);
                self.end_job(room, parcel.showing.message_id);
            }
            Came::Late(_) => self.go_on_late(room, parcel.clone()),
        }
        true
    }

    /// A message with files cannot be shown with them: it is shown without.
    pub(in crate::engine) async fn parcel_panicked(&self, room: &str, parcel: &Parcel) {
        self.end_job(room, parcel.showing.message_id);
        let why = format!("showing a message of {} with files: the gateway panicked", parcel.showing.earlier.sender);
        let mut batch = Batch::new("a message without its files");
        let aside = self.put_aside(&mut batch, room, None, &why, None);
        if let (Err(error), _) | (_, Err(error)) = (aside, self.0.db.commit(batch).await) {
            tracing::warn!(room, %error, "not noted for the operator");
        }
    }

    /// A message with files will never be shown.
    pub(in crate::engine) fn parcel_refused(&self, room: &str, parcel: &Parcel) {
        self.end_job(room, parcel.showing.message_id);
    }
}
