//! A room's actor: takes what came for the room, in order, and makes one durable batch of each step.
//!
//! Several inputs that wait at once share a batch. If the batch is not stored, what is in memory is thrown away, loaded
//! again, and the same inputs are worked on once more (DESIGN 2).

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use tokio::{sync::mpsc, time::Instant};

use super::{
    asking::Invitation,
    caught::caught,
    consent::every_room_of,
    core::{Engine, lock, now, random},
    files::HeldEvent,
    group::RoomGroup,
    ingest::CompareError,
    mail::{Answer, Mail, Outcome},
    ports::{Actor as MatrixActor, PathTarget, Problem, Retry},
    presence::To,
    tables::{INBOX, InboxItem, KEY_PACKAGES, OUTBOX, OutRow, UNREAD},
};
use crate::{
    ident::{ProviderDomain, RoomUri, UserUri},
    policy::RoomState,
    room::{Effect, Input, Move, Phase, Recent, Refusal, Room, Said, Step, group::Group as _},
    store::{Batch, StoreError},
};

/// Up to so many leaves a group is small.
const SMALL: usize = 32;
/// Who asks for timelines, as the log knows it.
const TIMELINES: &str = "timelines";
/// Inputs that share a batch at most.
const BATCH: usize = 64;

pub(super) struct Actor {
    pub(super) engine: Engine,
    pub(super) uri: String,
    pub(super) room: Option<Room>,
    pub(super) group: RoomGroup,
    recent: Recent,
    /// What of their messages others do not get: whose, and what; those who were told lately.
    pub(super) told_losses: BTreeSet<(UserUri, &'static str)>,
    /// What speakers are called, as they were looked up lately.
    pub(super) known_faces: super::faces::Known,
    /// Clients were told what crosses, as this version has it.
    pub(super) told_features: bool,
    /// Who has messages of our users, as they said lately.
    pub(super) delivered: BTreeMap<[u8; 32], Vec<UserUri>>,
    /// Who could not read a message, as this step knows it ([`UNREADABLE`](super::tables::UNREADABLE)).
    pub(super) unreadable: BTreeMap<[u8; 32], super::tables::Unreadable>,
    /// How often it was told that somebody could not read a message, or can by now.
    pub(super) told_unreadable: super::meter::Meter<(UserUri, bool)>,
    /// Another Matrix event waits in the same batch.
    pub(super) more: bool,
    /// Events that wait.
    pub(super) held: VecDeque<HeldEvent>,
    /// The event that the room is about to say, and its assets, until they are noted.
    pub(super) filed: Option<(ruma::OwnedEventId, Vec<String>)>,
    /// The epoch of which other rooms know who takes part here.
    pub(super) published: Option<u64>,
    /// Assets of messages, as this step changed them.
    pub(super) own_files: BTreeMap<[u8; 32], Vec<String>>,
    /// So many messages wait for being read since it was looked at how many do.
    pub(super) unread: usize,
}

/// What is done once the batch is durable.
#[derive(Default)]
pub(super) struct After {
    pub(super) answers: Vec<(usize, Answer)>,
    /// The answers that this batch stores, by peer and hash of the request.
    pub(super) given: std::collections::BTreeMap<(String, [u8; 32]), Vec<u8>>,
    pub(super) rows: Vec<(String, u64, OutRow)>,
    /// What peers are notified of, by lane: one row for all of it.
    pub(super) notifies: std::collections::BTreeMap<String, (ProviderDomain, PathTarget, Vec<u8>)>,
    /// Matrix rooms that are the room's from now on, or are not any more, in this order.
    pub(super) links: Vec<(String, bool)>,
    /// When the room wants to hear that time passed. Not stored: at a start every room hears it.
    pub(super) wake: Option<u64>,
    pub(super) portals: Vec<u64>,
    pub(super) created: Vec<usize>,
    pub(super) joined: Vec<(usize, Result<String, String>)>,
    pub(super) ordered: Vec<(usize, Result<Said, Refusal>)>,
    /// Invitations that were accepted.
    pub(super) accepted: Vec<Invitation>,
    /// Held events whose files are to be fetched, those whose files came, and those that wait no more.
    pub(super) fetch: Vec<u64>,
    pub(super) brought: Vec<u64>,
    pub(super) release: Vec<u64>,
    /// Assets to delete.
    pub(super) dropped: Vec<String>,
    /// Ghosts wait to come in bit by bit, or none do any more.
    pub(super) trickling: Option<bool>,
    /// There is something new that becomes due.
    pub(super) due: bool,
    /// The successor of the Matrix room is to be looked at.
    pub(super) home: Option<(ruma::OwnedRoomId, MatrixActor)>,
    /// On the way to it.
    pub(super) moves: Vec<Move>,
    /// What waits to be read by somebody may wait for nobody any more.
    pub(super) readers: bool,
    /// What goes to other rooms.
    pub(super) related: super::kin::Related,
    /// So many messages more wait for being read.
    pub(super) unread: usize,
    /// Messages that waited and go on: the store has them as waiting until the step is over.
    pub(super) released: BTreeSet<[u8; 32]>,
    /// Messages that wait longer, and until when.
    pub(super) put_off: BTreeMap<[u8; 32], u64>,
}

/// Runs until the mailbox closes.
pub(super) async fn run(engine: Engine, uri: String, mut mails: mpsc::UnboundedReceiver<Mail>) {
    let mut actor = Actor {
        engine,
        uri,
        room: None,
        group: RoomGroup::default(),
        recent: Recent::default(),
        told_losses: BTreeSet::new(),
        known_faces: BTreeMap::new(),
        told_features: false,
        delivered: BTreeMap::new(),
        unreadable: BTreeMap::new(),
        told_unreadable: super::meter::Meter::new(super::receipts::MAX_UNREADABLE, super::meter::HOUR),
        more: false,
        held: VecDeque::new(),
        filed: None,
        own_files: BTreeMap::new(),
        published: None,
        // Those from before the start were not looked at.
        unread: usize::MAX / 2,
    };
    if !actor.load_until_done().await {
        return;
    }
    let settings = actor.engine.0.settings.clone();
    let mut compared = Instant::now();
    let mut active_since: Option<Instant> = None;
    loop {
        let quiet_at = active_since.map(|_| Instant::now() + settings.quiet);
        let first = tokio::select! {
            () = actor.engine.0.stop.cancelled() => return,
            mail = mails.recv() => mail,
            () = async { tokio::time::sleep_until(quiet_at.unwrap_or_else(Instant::now)).await }, if quiet_at.is_some() => {
                active_since = None;
                compared = Instant::now();
                actor.compare();
                continue;
            }
        };
        let Some(first) = first else { return };
        let Some(first) = actor.take_offer(first) else { continue };
        let mut batch = vec![first];
        let until = Instant::now() + settings.settle;
        while batch.len() < BATCH {
            match mails.try_recv() {
                Ok(mail) => batch.extend(actor.take_offer(mail)),
                Err(_) if batch.iter().all(Mail::can_wait) && Instant::now() < until => {
                    // An answer that changes nothing for anybody waits a little for others.
                    match tokio::time::timeout_at(until, mails.recv()).await {
                        Ok(Some(mail)) => batch.extend(actor.take_offer(mail)),
                        Ok(None) | Err(_) => break,
                    }
                }
                Err(_) => break,
            }
        }
        if batch.iter().any(|mail| matches!(mail, Mail::Item { .. } | Mail::Taken { .. })) {
            active_since = Some(Instant::now());
        }
        if batch.iter().any(|mail| matches!(mail, Mail::CompareNow))
            || (active_since.is_some() && compared.elapsed() >= settings.gap_check)
        {
            compared = Instant::now();
            actor.compare();
        }
        if !actor.work(batch).await {
            return;
        }
        // Peers may ask about any room: what came to nothing leaves no task.
        if actor.is_idle() && actor.engine.close_actor(&actor.uri, actor.room.is_some(), &mails) {
            return;
        }
    }
}

impl Actor {
    /// Takes an offer that will not take long. `None`: it was withdrawn, or is declined.
    fn take_offer(&self, mail: Mail) -> Option<Mail> {
        let Mail::Offer(offer) = mail else { return Some(mail) };
        let active = self.room.as_ref().is_some_and(|room| room.phase == Phase::Active);
        if !active || self.group.members() > SMALL {
            offer.decline();
            return None;
        }
        offer.take().map(|(arrivals, verdict)| Mail::Taken { arrivals, verdict })
    }

    /// Starts a comparison with the homeserver's timeline beside this task.
    fn compare(&self) {
        let Some(room) = &self.room else { return };
        if !matches!(room.phase, Phase::Active | Phase::Invited) {
            return;
        }
        let Some(matrix) = room.matrix.clone() else { return };
        let (engine, uri, reader) = (self.engine.clone(), self.uri.clone(), room.speaker.clone());
        self.engine.0.tasks.spawn(async move {
            match engine.reconcile(&matrix, &reader).await {
                Ok(()) => engine.call_answered(To::Homeserver, TIMELINES),
                Err(CompareError::Call(error)) if error.retry != Retry::Permanent => {
                    tracing::debug!(room = %uri, %error, "the timeline is not compared now");
                    engine.call_failed(To::Homeserver, TIMELINES, &error).await;
                }
                Err(error) => {
                    tracing::warn!(room = %uri, %error, "the timeline could not be compared with what came");
                }
            }
        });
    }

    /// Sends the room a tick at this time.
    fn wake_at(&self, at: u64) {
        let (engine, uri) = (self.engine.clone(), self.uri.clone());
        self.engine.0.tasks.spawn(async move {
            tokio::select! {
                () = engine.0.stop.cancelled() => {}
                () = tokio::time::sleep(std::time::Duration::from_millis(at.saturating_sub(now()))) => {
                    engine.mail(&uri, Mail::Tick);
                }
            }
        });
    }

    async fn load_until_done(&mut self) -> bool {
        loop {
            match self.load().await {
                Ok(()) => return true,
                Err(error) => tracing::error!(room = %self.uri, %error, "the room cannot be loaded"),
            }
            tokio::select! {
                () = self.engine.0.stop.cancelled() => return false,
                () = tokio::time::sleep(self.engine.0.settings.retry * 10) => {}
            }
        }
    }

    async fn load(&mut self) -> Result<(), StoreError> {
        let db = &self.engine.0.db;
        self.room = super::records::load(db, &self.uri).await?;
        if let Some(room) = &mut self.room {
            self.engine.sees_stored(&self.uri, &mut room.sight).await?;
        }
        let number = self.room.as_ref().map_or(0, |room| room.group);
        self.group = super::rows::load_group(db, &self.uri, number).await?;
        self.group.franking = Some(std::sync::Arc::clone(&self.engine.0.franking));
        self.group.bounds = Some(self.engine.bounds());
        self.recent = Recent::default();
        self.told_losses.clear();
        self.known_faces.clear();
        self.told_features = false;
        self.delivered.clear();
        self.unreadable.clear();
        self.load_kin().await?;
        self.load_held().await
    }

    /// Works on these mails until they are durable. False: the engine stops.
    async fn work(&mut self, mails: Vec<Mail>) -> bool {
        let mut parts = in_parts(mails);
        while let Some(mut mails) = parts.pop_front() {
            // What is in memory may be half done: it is thrown away, and the input set aside.
            let stepped = caught(Box::pin(self.step(&mails))).await;
            let error = match stepped.unwrap_or_else(|_| Err(StoreError::Invalid("a step panicked".to_owned()))) {
                Ok(after) => {
                    self.finish(&mut mails, after);
                    continue;
                }
                Err(error) => error,
            };
            tracing::error!(room = %self.uri, %error, "a step was not stored; it is done again");
            // Peers ask again by themselves, with the same bytes; everything else stays.
            let mut kept = Vec::with_capacity(mails.len());
            for mail in mails {
                match mail {
                    Mail::Request { reply, .. } => drop(reply.send(Err(Problem::Unavailable(1)))),
                    // By way of the inbox each item is tried by itself.
                    Mail::Taken { arrivals, verdict } => drop(verdict.send(Err(arrivals))),
                    other => kept.push(other),
                }
            }
            if matches!(error, StoreError::Invalid(_)) {
                // One of them can never be stored: each by itself, and that one is set aside.
                if kept.len() > 1 {
                    for mail in kept.into_iter().rev() {
                        parts.push_front(vec![mail]);
                    }
                } else if let Some(mail) = kept.pop() {
                    parts.push_front(vec![Mail::SetAside { mail: Box::new(mail), why: error.to_string() }]);
                }
            } else {
                parts.push_front(kept);
                tokio::select! {
                    () = self.engine.0.stop.cancelled() => return false,
                    () = tokio::time::sleep(self.engine.0.settings.retry) => {}
                }
            }
            if !self.load_until_done().await {
                return false;
            }
        }
        true
    }

    async fn step(&mut self, mails: &[Mail]) -> Result<After, StoreError> {
        let mut batch = Batch::new("room step");
        let mut after = After::default();
        let before = self.room.clone();
        self.delivered.clear();
        self.unreadable.clear();
        self.own_files.clear();
        self.know_parents(None).await?;
        let event = |mail: &Mail| matches!(mail, Mail::Item { item: InboxItem::Event(_), .. });
        for (index, mail) in mails.iter().enumerate() {
            self.more = event(mail) && mails.get(index + 1).is_some_and(event);
            let result = self.one(index, mail, &mut batch, &mut after).await;
            self.more = false;
            result?;
        }
        if mails.len() > 1 && mails.last().is_some_and(event) {
            // The last of a burst may have been none that the room looks at.
            self.guarded(|step: &mut Step<'_>| step.pump(), &mut batch, &mut after).await?;
        }
        self.post_notifies(None, &mut batch, &mut after)?;
        self.publish(before.as_ref(), &mut batch, &mut after).await?;
        self.put_group(&mut batch).await?;
        let db = &self.engine.0.db;
        let every_room = RoomUri::parse(&self.uri).map(|room| every_room_of(&room.hub())).unwrap_or_default();
        for reference in std::mem::take(&mut self.group.used) {
            KEY_PACKAGES.delete(&mut batch, &(every_room.clone(), reference.clone()));
            KEY_PACKAGES.delete(&mut batch, &(self.uri.clone(), reference));
        }
        self.group.key_packages.clear();
        if self.room != before
            && let Some(room) = &self.room
        {
            super::records::put(db, &mut batch, &self.uri, before.as_ref(), room)?;
            after.readers |= before.is_some_and(|before| !before.present.is_subset(&room.present));
        }
        if !batch.is_empty() {
            let done = lock(&self.engine.0.done).batch.take();
            if let Some(done) = &done {
                batch.append(done.clone());
            }
            let committed = self.engine.0.db.commit(batch).await;
            if let (Err(_), Some(done)) = (&committed, done) {
                self.engine.put_back(done);
            }
            committed?;
        }
        self.forget_names();
        Ok(after)
    }

    fn finish(&mut self, mails: &mut [Mail], after: After) {
        self.files_after(&after);
        let looks_at_readers = self.more_unread(after.unread) || after.readers;
        let inner = &self.engine.0;
        for (matrix, linked) in after.links {
            let mut links = lock(&inner.links);
            if linked {
                links.insert(matrix, self.uri.clone());
            } else {
                links.remove(&matrix);
            }
        }
        self.related(after.related);
        for change in &after.moves {
            self.engine.note_move(&self.uri, change);
            if matches!(change, Move::Moved(..)) {
                // What was said there before we came.
                self.engine.mail(&self.uri, Mail::CompareNow);
            }
        }
        if let Some((to, reader)) = after.home {
            self.engine.look_for_home(&self.uri, to, reader);
        }
        if let Some(at) = after.wake {
            self.wake_at(at);
        }
        for number in after.portals {
            lock(&inner.portals).remove(&number);
        }
        if let Some(waits) = after.trickling {
            inner.trickle.set(&self.uri, waits);
        }
        if after.due {
            inner.due.notify_one();
        }
        if looks_at_readers {
            self.engine.mail(&self.uri, Mail::Readers);
        }
        for invitation in &after.accepted {
            inner.asking.end(invitation);
        }
        if self.room.as_ref().is_some_and(|room| room.phase != Phase::Invited || !room.present.is_empty()) {
            lock(&inner.unanswered).remove(&self.uri);
        }
        for (lane, number, row) in after.rows {
            if let OutRow::Parcel(parcel) = &row {
                // Beside the lane, so that it is there when its turn comes.
                let _ = self.engine.job(&self.uri, parcel);
            }
            self.engine.hand_to_lane(&lane, number, row);
        }
        for (index, answer) in after.answers {
            if let Some(slot) = mails.get_mut(index)
                && let Mail::Request { reply, .. } = std::mem::replace(slot, Mail::Tick)
            {
                let _ = reply.send(answer);
            }
        }
        for slot in mails.iter_mut().filter(|mail| matches!(mail, Mail::Taken { .. })) {
            if let Mail::Taken { verdict, .. } = std::mem::replace(slot, Mail::Tick) {
                let _ = verdict.send(Ok(()));
            }
        }
        for (index, answer) in after.joined {
            if let Some(slot) = mails.get_mut(index)
                && let Mail::Join { reply, .. } = std::mem::replace(slot, Mail::Tick)
            {
                let _ = reply.send(answer);
            }
        }
        for (index, answer) in after.ordered {
            if let Some(slot) = mails.get_mut(index)
                && let Mail::Order { reply, .. } = std::mem::replace(slot, Mail::Tick)
            {
                let _ = reply.send(answer);
            }
        }
        for index in after.created {
            if let Some(slot) = mails.get_mut(index)
                && let Mail::Create { reply, .. } = std::mem::replace(slot, Mail::Tick)
            {
                let _ = reply.send(Ok(()));
            }
        }
    }

    async fn one(&mut self, index: usize, mail: &Mail, batch: &mut Batch, after: &mut After) -> Result<(), StoreError> {
        match mail {
            Mail::Item { number, item } => {
                INBOX.remove(batch, &self.uri, *number);
                self.item(item, batch, after).await
            }
            Mail::Request { peer, kind, body, .. } => {
                let answer = self.request(peer, *kind, body, batch, after).await?;
                after.answers.push((index, answer));
                Ok(())
            }
            Mail::Outcome { lane, number, outcome } => {
                OUTBOX.remove(batch, lane, *number);
                if let Outcome::NotRemoved(why) = outcome {
                    return self.not_removed(why, batch, after).await;
                }
                if let Outcome::NotShown { user, why } = outcome {
                    let why = format!("showing a message of {user}: {why}");
                    self.engine.put_aside(batch, &self.uri, None, &why, None)?;
                }
                let input = self.outcome(*number, outcome, after).await?;
                self.run(input, batch, after).await.map(drop)
            }
            Mail::Create { new, .. } => {
                self.create(new, batch, after).await?;
                after.created.push(index);
                Ok(())
            }
            Mail::Join { user, code, .. } => {
                let answer = self.follow(user, code.as_deref(), batch, after).await?;
                after.joined.push((index, answer));
                Ok(())
            }
            Mail::LetGo { used, reply } => {
                let (mut answer, used) = (Ok(()), *used);
                self.guarded(|step| answer = step.release(used), batch, after).await?;
                // Whoever asked may be gone.
                let _ = reply.send(answer);
                Ok(())
            }
            Mail::Trickle { most } => self.guarded(|step| step.trickle(*most), batch, after).await,
            Mail::Order { by, admin, command, .. } => {
                let answer = self.order(by, *admin, command, batch, after).await?;
                after.ordered.push((index, answer));
                Ok(())
            }
            Mail::Due { at, id, due } => self.due(*at, *id, *due, batch, after).await,
            Mail::Arrived { target } => self.arrived(*target, batch, after).await,
            Mail::Read { user, read } => self.read(user, read, batch, after).await,
            Mail::Reached { messages } => {
                let (messages, salt) = (messages.clone(), random()?);
                self.run(Input::Taken { messages, salt }, batch, after).await.map(drop)
            }
            Mail::Readers => self.look_at_readers(batch, after).await,
            Mail::Tick => {
                let seconds = now() / 1000;
                for (key, row) in KEY_PACKAGES.scan_all(&self.engine.0.db, &self.uri).await? {
                    if row.not_after <= seconds {
                        KEY_PACKAGES.delete(batch, &key);
                    }
                }
                self.run(Input::Tick, batch, after).await?;
                self.renew_features(batch, after).await?;
                after.readers |= !UNREAD.scan(&self.engine.0.db, &self.uri, None, 1).await?.rows.is_empty();
                self.release(after);
                Ok(())
            }
            Mail::Files { number, brought } => self.brought(*number, brought, batch, after),
            Mail::Release { number } => self.released(*number, batch, after).await,
            Mail::Taken { arrivals, .. } => {
                batch.append(arrivals.writes.clone());
                self.arrivals(&arrivals.items, batch, after).await
            }
            Mail::LookForHome => self.guarded(|step: &mut Step<'_>| step.look_for_home(), batch, after).await,
            Mail::NewHome { to, found } => {
                let input = Input::NewHome { to: to.clone(), found: found.as_ref().clone() };
                self.run(input, batch, after).await.map(drop)
            }
            Mail::CompareNow | Mail::Offer(_) => Ok(()),
            Mail::SetAside { mail, why } => self.put_mail_aside(mail, why, batch, after).await,
        }
    }

    /// The room's state, if there is a group.
    pub(super) fn group_state(&self) -> Option<Arc<RoomState>> {
        self.group.state().ok()
    }

    /// Runs something within a step and returns its effects.
    pub(super) fn in_step(&mut self, what: impl FnOnce(&mut Step<'_>)) -> Vec<Effect> {
        let Some(room) = &mut self.room else { return Vec::new() };
        self.engine.sees(&self.uri, &mut room.sight);
        let mut step = Step {
            room,
            group: &mut self.group,
            names: &self.engine.0.names,
            recent: &mut self.recent,
            now: now(),
            catch_up: u64::try_from(self.engine.0.settings.catch_up.as_millis()).unwrap_or(u64::MAX / 2),
            more: self.more,
            out: Vec::new(),
        };
        what(&mut step);
        step.out
    }

    pub(super) async fn run(
        &mut self,
        input: Input,
        batch: &mut Batch,
        after: &mut After,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let mut answer = None;
        self.guarded(|step| answer = step.run(input), batch, after).await?;
        Ok(answer)
    }

    pub(super) async fn guarded(
        &mut self,
        what: impl FnOnce(&mut Step<'_>),
        batch: &mut Batch,
        after: &mut After,
    ) -> Result<(), StoreError> {
        let heavy = self.group.members() > SMALL;
        let step = || std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.in_step(what)));
        // MLS work takes a tenth of a millisecond in a small group and tens of milliseconds in a large one: the latter goes
        // off the reactor.
        let stepped = if heavy { tokio::task::block_in_place(step) } else { step() };
        // What is in memory may be half done: the caller throws it away, and sets the input aside.
        let effects = stepped.map_err(|_| StoreError::Invalid("a step panicked".to_owned()))?;
        self.effects(effects, batch, after).await
    }
}

/// What people have read is noted from what is stored: one after the other, each in a batch of its own.
fn in_parts(mails: Vec<Mail>) -> VecDeque<Vec<Mail>> {
    let mut parts: VecDeque<Vec<Mail>> = VecDeque::from([Vec::new()]);
    let mut reads = false;
    for mail in mails {
        let is_read = matches!(mail, Mail::Read { .. } | Mail::Readers);
        if is_read && reads {
            parts.push_back(Vec::new());
        }
        reads |= is_read;
        if let Some(part) = parts.back_mut() {
            part.push(mail);
        }
    }
    parts
}
