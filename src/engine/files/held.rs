//! Events of a room that wait: for their files, or behind what their sender said before (DESIGN 7), or for the message that
//! they refer to. Each is a row until the room works on it. Nobody waits behind a file for ever.

use ruma::OwnedEventId;
use serde_json::value::RawValue;

use super::{outward::Outward, rules};
use crate::{
    content::ExternalPart,
    engine::{
        Engine,
        actor::{Actor, After},
        core::{lock, now, random},
        mail::Mail,
        ports::Millis,
        tables::{DROPPED, HELD, Held, OWN_FILES, OutRow, Parcel},
    },
    policy::component,
    room::{Input, Names as _, Phase, Showing},
    store::{Batch, StoreError},
    translate::{
        self, CONTENT_KEY, Earlier, NoPast, Nobody, RoomEvent,
        media::{FileSource, Media, Moved, from_event, with_files},
    },
    wire::path::DownloadUrl,
};

/// With so many waiting, texts do not wait any more.
const MAX_HELD: usize = 512;

/// A row of [`HELD`], read.
#[derive(Debug, Clone)]
pub(in crate::engine) struct HeldEvent {
    number: u64,
    row: Held,
    event: RoomEvent,
}

impl HeldEvent {
    /// Whether its files are still to come.
    fn waits(&self) -> bool {
        self.row.seed.is_some() && self.row.brought.is_none()
    }

    /// Whether `later` comes behind it. What waits since before `since` holds nobody up any more.
    fn blocks(&self, later: &RoomEvent, since: Millis) -> bool {
        let holds = self.row.since > since;
        let same = self.event.sender == later.sender;
        // Who leaves has said it before.
        let counts = later.state_key.as_deref().is_none_or(|key| key == later.sender.as_str());
        holds && (same && counts || translate::named(later).contains(&self.event.event_id))
    }
}

fn read(number: u64, row: Held) -> Option<HeldEvent> {
    let raw = RawValue::from_string(row.raw.clone()).ok()?;
    let event = RoomEvent::parse(&raw).ok()?;
    Some(HeldEvent { number, row, event })
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
        let rows = HELD.scan_all(&self.engine.0.db, &self.uri).await?;
        self.held.extend(rows.into_iter().filter_map(|((_, number), row)| read(number, row)));
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
        if self.engine.0.files.get().is_some() {
            if event.event_type == "m.room.redaction"
                && let Some(target) = &event.redacts
                && let Some(place) = self.held.iter().position(|held| held.event.event_id == *target)
            {
                // Nobody has seen it yet.
                if let Some(held) = self.held.remove(place) {
                    HELD.delete(batch, &(self.uri.clone(), held.number));
                    self.drop_files(urls(held.row.brought.as_deref().unwrap_or_default()), batch, after)?;
                }
                return self.release(batch, after).await;
            }
            let files = self.files_of(&event, salt).is_some();
            let (now, since) = (now(), self.held_since());
            let behind = self.held.len() < MAX_HELD && self.held.iter().any(|held| held.blocks(&event, since));
            if files || behind && self.is_carried(&event) {
                let mut seed = None;
                if files {
                    let mut bytes = [0; 32];
                    getrandom::fill(&mut bytes)
                        .map_err(|error| StoreError::Invalid(format!("no random bytes: {error}")))?;
                    seed = Some(bytes);
                }
                let row = Held { raw: raw.to_owned(), salt, since: now, seed, brought: None };
                let number = self.engine.0.db.next_number();
                HELD.put(&self.engine.0.db, batch, &(self.uri.clone(), number), &row)?;
                if files {
                    after.fetch.push(number);
                }
                self.held.push_back(HeldEvent { number, row, event });
                self.wake_for_held(after);
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
        let past = self.engine.past(&event).await?;
        self.run(Input::Event { event, salt, past }, batch, after).await.map(drop)
    }

    /// Whether the room carries what this event says, as far as one can see from outside.
    fn is_carried(&self, event: &RoomEvent) -> bool {
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
        let ctx = translate::ToMimi { sender, room, salt, sent_ts, past: &NoPast, mentions: &Nobody };
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
        let media = self.files_of(&held.event, held.row.salt);
        let owner = self.engine.0.names.uri(&held.event.sender);
        let (Some(media), Some(owner)) = (media, owner) else {
            // It is not carried any more: the room says why, if it does.
            return self.engine.mail(&uri, Mail::Files { number, brought: Vec::new() });
        };
        let policy = self.group_state().and_then(|state| rules::of(&state));
        let seed = held.row.seed.unwrap_or_default();
        let work = Outward { room: held.event.room_id.clone(), owner, media, seed, policy };
        self.engine.0.tasks.spawn(async move {
            if let Some(brought) = engine.send_files(&work).await {
                engine.mail(&uri, Mail::Files { number, brought });
            }
        });
    }

    /// The files of a held event are there, or never will be.
    pub(in crate::engine) async fn brought(
        &mut self,
        number: u64,
        brought: &[Moved<ExternalPart>],
        batch: &mut Batch,
        after: &mut After,
    ) -> Result<(), StoreError> {
        after.brought.push(number);
        match self.held.iter_mut().find(|held| held.number == number) {
            Some(held) => held.row.brought = Some(brought.to_vec()),
            None => self.drop_files(urls(brought), batch, after)?,
        }
        self.release(batch, after).await?;
        if let Some(held) = self.held.iter().find(|held| held.number == number) {
            HELD.put(&self.engine.0.db, batch, &(self.uri.clone(), number), &held.row)?;
        }
        Ok(())
    }

    /// Works on what does not wait any more, in order.
    pub(in crate::engine) async fn release(&mut self, batch: &mut Batch, after: &mut After) -> Result<(), StoreError> {
        let (mut place, since) = (0, self.held_since());
        while let Some(held) = self.held.get(place) {
            let behind = self.held.iter().take(place).any(|earlier| earlier.blocks(&held.event, since));
            if held.waits() || behind {
                place += 1;
                continue;
            }
            let Some(held) = self.held.remove(place) else { break };
            HELD.delete(batch, &(self.uri.clone(), held.number));
            self.work_on(held, batch, after).await?;
        }
        self.wake_for_held(after);
        Ok(())
    }

    async fn work_on(&mut self, held: HeldEvent, batch: &mut Batch, after: &mut After) -> Result<(), StoreError> {
        let HeldEvent { row, event, .. } = held;
        let Some(files) = row.brought else { return self.look_at(event, row.salt, batch, after).await };
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

    /// Sets aside what can never be worked on.
    pub(in crate::engine) fn forget_held(&mut self, number: u64, batch: &mut Batch) -> Option<String> {
        HELD.delete(batch, &(self.uri.clone(), number));
        let place = self.held.iter().position(|held| held.number == number)?;
        self.held.remove(place).map(|held| held.row.raw)
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
        let (db, key) = (&self.engine.0.db, (self.uri.clone(), earlier.first.0));
        let mut all = OWN_FILES.get(db, &key).await?.map(|row| row.value).unwrap_or_default();
        all.extend(urls);
        OWN_FILES.put(db, batch, &key, &self.engine.0.today.dated(all))
    }

    /// A message is gone for everybody: so are its assets.
    pub(in crate::engine) async fn files_gone(
        &mut self,
        message: [u8; 32],
        batch: &mut Batch,
        after: &mut After,
    ) -> Result<(), StoreError> {
        let key = (self.uri.clone(), message);
        let Some(row) = OWN_FILES.get(&self.engine.0.db, &key).await? else { return Ok(()) };
        OWN_FILES.delete(batch, &key);
        self.drop_files(row.value, batch, after)
    }

    /// The row that shows a message with files.
    pub(in crate::engine) fn to_show(&self, showing: Box<Showing>, content: Vec<u8>) -> OutRow {
        if self.engine.0.files.get().is_none() {
            return OutRow::Show(showing);
        }
        let policy = self.group_state().and_then(|state| state.other.get(&component::ASSET_POLICY).cloned());
        OutRow::Parcel(Box::new(Parcel { room: self.uri.clone(), showing: *showing, content, policy }))
    }

    fn drop_files(&self, urls: Vec<String>, batch: &mut Batch, after: &mut After) -> Result<(), StoreError> {
        for url in urls {
            DROPPED.put(&self.engine.0.db, batch, &url, &())?;
            after.dropped.push(url);
        }
        Ok(())
    }

    /// What is done about files once a step is stored.
    pub(in crate::engine) fn files_after(&self, after: &After) {
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
