//! Events of a room that wait: for their files, or behind what their sender said before (DESIGN 7), or for the message that
//! they refer to. Each is a row until the room works on it. Nobody waits behind a file for ever.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ruma::OwnedEventId;
use serde_json::value::RawValue;

use super::{outward::Outward, rules};
use crate::{
    content::{ExternalPart, MessageId},
    engine::{
        Engine,
        actor::{Actor, After},
        caught::caught,
        core::{lock, now, random},
        mail::Mail,
        ports::Millis,
        tables::{DROPPED, HELD, Held, OWN_FILES, OutRow, Parcel},
    },
    policy::component,
    room::{Input, Names as _, Phase, Showing},
    store::{Batch, StoreError},
    translate::{
        self, CONTENT_KEY, Earlier, Loss, NoPast, Nobody, RoomEvent,
        media::{FileSource, Media, Moved, from_event, with_files},
    },
    wire::path::DownloadUrl,
};

/// With so many waiting, texts do not wait any more.
const MAX_HELD: usize = 512;
/// So many events with files of one user wait in a room; the files of more are not taken, and the sender is told.
const MAX_HELD_OF_EACH: usize = 128;
/// Why.
const TOO_MANY: &str = "too many of their files wait here already";

/// A row of [`HELD`], read.
#[derive(Debug, Clone)]
pub(in crate::engine) struct HeldEvent {
    number: u64,
    row: Held,
    event: RoomEvent,
    /// It waits no more: its turn is on the way ([`Mail::Release`]).
    ready: bool,
}

impl HeldEvent {
    /// Whether its files are still to come.
    fn waits(&self) -> bool {
        self.row.seed.is_some() && self.row.brought.is_none()
    }

    /// Whether `later` comes behind it: what its sender said after it, until it waits since before `since`; and what refers to
    /// it, however long that takes, as it would point at nothing.
    fn blocks(&self, later: &RoomEvent, since: Millis) -> bool {
        let holds = self.ready || self.row.since > since;
        let same = self.event.sender == later.sender;
        // Who leaves has said it before.
        let counts = later.state_key.as_deref().is_none_or(|key| key == later.sender.as_str());
        holds && same && counts || translate::named(later).contains(&self.event.event_id)
    }
}

fn read(number: u64, row: Held) -> Option<HeldEvent> {
    let raw = RawValue::from_string(row.raw.clone()).ok()?;
    let event = RoomEvent::parse(&raw).ok()?;
    Some(HeldEvent { number, row, event, ready: false })
}

/// The assets of what was brought.
fn urls(files: &[Moved<ExternalPart>]) -> Vec<String> {
    files.iter().flatten().map(|part| part.url.clone()).collect()
}

impl Actor {
    /// What waits, after a start or a step that was not stored; and its files are fetched.
    pub(in crate::engine) async fn load_held(&mut self) -> Result<(), StoreError> {
        self.held.clear();
        self.filed = None;
        let engine = self.engine.clone();
        let mut batch = Batch::new("a held event that does not read");
        for ((_, number), row) in engine.all_readable(&HELD, &self.uri).await? {
            let raw = row.raw.clone();
            if let Some(held) = read(number, row) {
                self.held.push_back(held);
            } else {
                HELD.delete(&mut batch, &(self.uri.clone(), number));
                self.set_aside("a stored event that does not read", Some(&raw), &mut batch)?;
            }
        }
        if !batch.is_empty() {
            engine.0.db.commit(batch).await?;
        }
        if self.engine.0.files.get().is_none() {
            // Files are not carried any more: such an event is one like others, whose sender is told, and nobody waits for it.
            for held in &mut self.held {
                held.row.seed = None;
            }
        }
        let wanted: Vec<u64> = self.held.iter().filter(|held| held.waits()).map(|held| held.number).collect();
        for number in wanted {
            self.fetch_held(number);
        }
        Ok(())
    }

    /// An event of the room: worked on now, or later.
    pub(in crate::engine) async fn arrive(
        &mut self,
        raw: &str,
        event: RoomEvent,
        batch: &mut Batch,
        after: &mut After,
    ) -> Result<(), StoreError> {
        let salt = random()?;
        self.note_member(&event, batch)?;
        if self.engine.0.files.get().is_some() {
            if event.event_type == "m.room.redaction"
                && let Some(target) = &event.redacts
                && let Some(place) = self.held.iter().position(|held| held.event.event_id == *target)
            {
                // Nobody has seen it yet.
                if let Some(held) = self.held.remove(place) {
                    HELD.delete(batch, &(self.uri.clone(), held.number));
                    self.drop_held(&held, batch, after)?;
                    self.guarded(|step| step.live_never_said(&held.event), batch, after).await?;
                }
                self.release(after);
                return Ok(());
            }
            let files = self.files_of(&event, salt).map(|media| media.sources().count());
            let (now, since) = (now(), self.held_since());
            let behind = self.held.len() < MAX_HELD && self.held.iter().any(|held| held.blocks(&event, since));
            if files.is_some() || behind && self.is_carried(&event) {
                let (mut seed, mut brought) = (None, None);
                if let Some(count) = files {
                    let mut bytes = [0; 32];
                    getrandom::fill(&mut bytes)
                        .map_err(|error| StoreError::Invalid(format!("no random bytes: {error}")))?;
                    seed = Some(bytes);
                    let waiting = |held: &&HeldEvent| held.row.seed.is_some() && held.event.sender == event.sender;
                    if self.held.iter().filter(waiting).count() >= MAX_HELD_OF_EACH {
                        brought = Some(vec![Err(TOO_MANY.to_owned()); count]);
                    }
                }
                let fetch = files.is_some() && brought.is_none();
                let row = Held { raw: raw.to_owned(), salt, since: now, seed, brought };
                let number = self.engine.0.db.next_number();
                HELD.put(&self.engine.0.db, batch, &(self.uri.clone(), number), &row)?;
                if fetch {
                    after.fetch.push(number);
                }
                self.held.push_back(HeldEvent { number, row, event, ready: false });
                self.release(after);
                return Ok(());
            }
        }
        self.look_at(event, salt, batch, after).await
    }

    async fn look_at(
        &mut self,
        event: RoomEvent,
        salt: [u8; 16],
        batch: &mut Batch,
        after: &mut After,
    ) -> Result<(), StoreError> {
        self.name_speaker(&event).await?;
        let past = self.engine.past(&event).await?;
        let forgotten = self.forgotten(&event, &past).await?;
        self.run(Input::Event { event, salt, past }, batch, after).await?;
        match forgotten {
            Some(user) => self.tell_losses(&user, &[Loss::Deletion], batch, after).await,
            None => Ok(()),
        }
    }

    /// Whether the room carries what this event says, as far as one can see from outside.
    pub(in crate::engine) fn is_carried(&self, event: &RoomEvent) -> bool {
        let Some(room) = &self.room else { return false };
        let carries = matches!(room.phase, Phase::Active | Phase::Invited | Phase::Joining) && !room.unbridging;
        let own = event.content.get(CONTENT_KEY).is_some() || self.engine.0.names.uri(&event.sender).is_none();
        carries && !own
    }

    /// The files of an event, if the room carries it.
    fn files_of(&self, event: &RoomEvent, salt: [u8; 16]) -> Option<Media<FileSource>> {
        if event.state_key.is_some() || !self.is_carried(event) {
            return None;
        }
        let content = with_files(&event.event_type, &event.content)?;
        let (sender, room) = (&self.engine.0.names.uri(&event.sender)?, &self.room.as_ref()?.uri);
        let sent_ts = event.origin_server_ts;
        let ctx = translate::ToMimi { sender, room, salt, sent_ts, past: &NoPast, mentions: &Nobody, room_link: None };
        // What does not read goes to the room at once, which says so.
        from_event(&event.event_type, content, &ctx).ok()
    }

    /// Fetches the files of a stored event, if nobody does.
    pub(in crate::engine) fn fetch_held(&self, number: u64) {
        let Some(carrier) = self.engine.0.files.get() else { return };
        let Some(held) = self.held.iter().find(|held| held.number == number) else { return };
        let key = (self.uri.clone(), number);
        if !held.waits() || !lock(&carrier.fetching).insert(key) {
            return;
        }
        let (engine, uri) = (self.engine.clone(), self.uri.clone());
        // What panics here does it again when its turn comes, and is set aside then.
        let media = catch_unwind(AssertUnwindSafe(|| self.files_of(&held.event, held.row.salt))).unwrap_or_default();
        let owner = self.engine.0.names.uri(&held.event.sender);
        let (Some(media), Some(owner)) = (media, owner) else {
            // It is not carried any more: the room says why, if it does.
            return self.engine.mail(&uri, Mail::Files { number, brought: Vec::new() });
        };
        let policy = self.group_state().and_then(|state| rules::of(&state));
        let seed = held.row.seed.unwrap_or_default();
        let home = self.engine.0.names.map.server_name().to_owned();
        let work = Outward { room: held.event.room_id.clone(), owner, home, media, seed, policy };
        self.engine.0.tasks.spawn(async move {
            let sent = caught(engine.send_files(&work)).await;
            let brought = sent.unwrap_or_else(|_| {
                tracing::error!(room = %uri, "sending files panicked; their message is sent without them");
                Some(Vec::new())
            });
            if let Some(brought) = brought {
                engine.mail(&uri, Mail::Files { number, brought });
            }
        });
    }

    /// The files of a held event are there, or never will be.
    pub(in crate::engine) fn brought(
        &mut self,
        number: u64,
        brought: &[Moved<ExternalPart>],
        batch: &mut Batch,
        after: &mut After,
    ) -> Result<(), StoreError> {
        after.brought.push(number);
        match self.held.iter_mut().find(|held| held.number == number) {
            Some(held) => {
                held.row.brought = Some(brought.to_vec());
                HELD.put(&self.engine.0.db, batch, &(self.uri.clone(), number), &held.row)?;
            }
            None => self.drop_files(urls(brought), batch, after)?,
        }
        self.release(after);
        Ok(())
    }

    /// Has those worked on that do not wait any more, in order, each in its turn.
    pub(in crate::engine) fn release(&mut self, after: &mut After) {
        let since = self.held_since();
        for place in 0..self.held.len() {
            let mut before = self.held.iter().take(place).filter(|earlier| !earlier.ready);
            let ready = self.held.get(place).is_some_and(|held| {
                !held.ready && !held.waits() && !before.any(|earlier| earlier.blocks(&held.event, since))
            });
            if let Some(held) = self.held.get_mut(place).filter(|_| ready) {
                held.ready = true;
                after.release.push(held.number);
            }
        }
        self.wake_for_held(after);
    }

    /// The turn of a held event.
    pub(in crate::engine) async fn released(
        &mut self,
        number: u64,
        batch: &mut Batch,
        after: &mut After,
    ) -> Result<(), StoreError> {
        // It may have been deleted since.
        if let Some(place) = self.held.iter().position(|held| held.number == number)
            && let Some(held) = self.held.remove(place)
        {
            HELD.delete(batch, &(self.uri.clone(), number));
            self.work_on(held, batch, after).await?;
        }
        self.release(after);
        Ok(())
    }

    async fn work_on(&mut self, held: HeldEvent, batch: &mut Batch, after: &mut After) -> Result<(), StoreError> {
        let HeldEvent { row, event, .. } = held;
        let Some(files) = row.brought else { return self.look_at(event, row.salt, batch, after).await };
        self.name_speaker(&event).await?;
        let past = self.engine.past(&event).await?;
        self.filed = Some((event.event_id.clone(), urls(&files)));
        self.run(Input::Filed { event, salt: row.salt, past, files }, batch, after).await?;
        // Not said after all.
        if let Some((_, urls)) = self.filed.take() {
            self.drop_files(urls, batch, after)?;
        }
        Ok(())
    }

    /// What waits since then, or longer, holds nobody up.
    fn held_since(&self) -> Millis {
        let hold = self.engine.0.files.get().map_or(0, |carrier| carrier.files.hold.as_millis());
        now().saturating_sub(u64::try_from(hold).unwrap_or(u64::MAX))
    }

    /// Those behind a file do not wait for ever.
    fn wake_for_held(&self, after: &mut After) {
        let since = self.held_since();
        let first = self.held.iter().map(|held| held.row.since).filter(|held| *held > since).min();
        if let Some(next) = first.map(|first| now() + (first - since)) {
            after.wake = Some(after.wake.map_or(next, |other| other.min(next)));
        }
    }

    /// An event can never be worked on: it does not wait any more, and its files are gone. What it was.
    pub(in crate::engine) fn forget_held(
        &mut self,
        number: u64,
        brought: &[Moved<ExternalPart>],
        batch: &mut Batch,
        after: &mut After,
    ) -> Result<Option<String>, StoreError> {
        HELD.delete(batch, &(self.uri.clone(), number));
        after.brought.push(number);
        self.drop_files(urls(brought), batch, after)?;
        let place = self.held.iter().position(|held| held.number == number);
        let Some(held) = place.and_then(|place| self.held.remove(place)) else { return Ok(None) };
        self.drop_files(urls(held.row.brought.as_deref().unwrap_or_default()), batch, after)?;
        Ok(Some(held.row.raw))
    }

    /// Notes which assets a message has.
    pub(in crate::engine) async fn note_files(
        &mut self,
        event: &OwnedEventId,
        earlier: &Earlier,
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        let Some((_, urls)) = self.filed.take_if(|(filed, _)| filed == event) else { return Ok(()) };
        if urls.is_empty() {
            return Ok(());
        }
        let key = (self.uri.clone(), earlier.first.0);
        let mut all = self.own_files(&key).await?;
        all.extend(urls);
        OWN_FILES.put(&self.engine.0.db, batch, &key, &self.engine.0.today.dated(all.clone()))?;
        self.own_files.insert(key.1, all);
        Ok(())
    }

    /// The assets of a message, as this step knows them.
    async fn own_files(&mut self, key: &(String, [u8; 32])) -> Result<Vec<String>, StoreError> {
        match self.own_files.get(&key.1) {
            Some(urls) => Ok(urls.clone()),
            None => Ok(OWN_FILES.get(&self.engine.0.db, key).await?.map(|row| row.value).unwrap_or_default()),
        }
    }

    /// How long the assets of a message stay that is gone here, and that others may read later; `None` if it has none.
    pub(in crate::engine) async fn files_linger(&mut self, message: [u8; 32]) -> Result<Option<Millis>, StoreError> {
        let key = (self.uri.clone(), message);
        let has_some = !self.own_files(&key).await?.is_empty();
        let linger = self.engine.0.files.get().map_or(0, |carrier| carrier.files.linger.as_millis());
        Ok(has_some.then(|| u64::try_from(linger).unwrap_or(Millis::MAX)))
    }

    /// Somebody who may do that deleted a message, whichever version of it they name, and by whichever id: its assets are gone.
    pub(in crate::engine) async fn files_deleted(
        &mut self,
        named: [u8; 32],
        batch: &mut Batch,
        after: &mut After,
    ) -> Result<(), StoreError> {
        let engine = self.engine.clone();
        let Some(matrix) = self.room.as_ref().and_then(|room| room.matrix.clone()) else { return Ok(()) };
        let named = engine.own_id(&self.uri, MessageId(named)).await?;
        let event = engine.event_of(&self.uri, named).await?;
        let earlier = match event {
            Some(event) => engine.message_of(&matrix, &event).await?,
            None => None,
        };
        self.files_gone(earlier.map_or(named, |earlier| earlier.first).0, batch, after).await
    }

    /// A message is gone for everybody: so are its assets.
    pub(in crate::engine) async fn files_gone(
        &mut self,
        message: [u8; 32],
        batch: &mut Batch,
        after: &mut After,
    ) -> Result<(), StoreError> {
        let key = (self.uri.clone(), message);
        let urls = self.own_files(&key).await?;
        if urls.is_empty() {
            return Ok(());
        }
        OWN_FILES.delete(batch, &key);
        self.own_files.insert(message, Vec::new());
        self.drop_files(urls, batch, after)
    }

    /// The row that shows a message with files.
    pub(in crate::engine) fn to_show(&self, showing: Box<Showing>, content: Vec<u8>) -> OutRow {
        if self.engine.0.files.get().is_none() {
            return OutRow::Show(showing);
        }
        let policy = self.group_state().and_then(|state| state.other.get(&component::ASSET_POLICY).cloned());
        let room = self.uri.clone();
        OutRow::Parcel(Box::new(Parcel { room, showing: *showing, content, policy, now: false }))
    }

    /// A held event was deleted: so is what is there of its files, and what is still to come.
    fn drop_held(&self, held: &HeldEvent, batch: &mut Batch, after: &mut After) -> Result<(), StoreError> {
        let (Some(carrier), Some(seed)) = (self.engine.0.files.get(), held.row.seed) else { return Ok(()) };
        let sources = self.files_of(&held.event, held.row.salt).map_or(0, |media| media.sources().count());
        let drawn: Vec<String> = (0..sources).map(|index| carrier.url(&seed, index)).collect();
        if !lock(&carrier.fetching).contains(&(self.uri.clone(), held.number)) {
            return self.drop_files(drawn, batch, after);
        }
        // Those on the way are deleted when they are there; should the process end before that, at the next start.
        for url in drawn {
            DROPPED.put(&self.engine.0.db, batch, &url, &())?;
        }
        Ok(())
    }

    pub(super) fn drop_files(&self, urls: Vec<String>, batch: &mut Batch, after: &mut After) -> Result<(), StoreError> {
        for url in urls {
            DROPPED.put(&self.engine.0.db, batch, &url, &())?;
            after.dropped.push(url);
        }
        Ok(())
    }

    /// What is done about files once a step is stored.
    pub(in crate::engine) fn files_after(&self, after: &After) {
        for number in &after.release {
            self.engine.mail(&self.uri, Mail::Release { number: *number });
        }
        let Some(carrier) = self.engine.0.files.get() else { return };
        for number in &after.brought {
            lock(&carrier.fetching).remove(&(self.uri.clone(), *number));
        }
        for number in &after.fetch {
            self.fetch_held(*number);
        }
        if !after.dropped.is_empty() {
            let (engine, urls) = (self.engine.clone(), after.dropped.clone());
            self.engine.0.tasks.spawn(async move { engine.delete_assets(urls).await });
        }
    }
}

impl Engine {
    /// Deletes assets that nobody shall get any more. What fails is done at the next start.
    pub(in crate::engine) async fn delete_assets(&self, urls: Vec<String>) {
        let Some(carrier) = self.0.files.get() else { return };
        for url in urls {
            let done = match DownloadUrl::parse(&url) {
                Ok(parsed) => carrier.files.assets.delete(&parsed).await.map(drop),
                Err(_) => Ok(()),
            };
            if let Err(error) = done {
                tracing::warn!(%error, "an asset is not deleted yet");
                continue;
            }
            let mut batch = Batch::new("an asset is gone");
            DROPPED.delete(&mut batch, &url);
            if let Err(error) = self.0.db.commit(batch).await {
                tracing::debug!(%error, "that an asset is gone is not noted yet");
            }
        }
    }
}
