//! The engine: what all its tasks share, and how they are started, found and stopped.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    actor,
    asking::Asking,
    denial::Doors,
    franking::Franking,
    lane, lobby,
    mail::Mail,
    meter::{self, Meter},
    names::GatewayNames,
    ports::{Homeserver, MatrixAction, Millis, Peers},
    presence::Presence,
    records,
    settings::EngineSettings,
    tables::{INBOX, KEY_PACKAGES, LINKS, LOBBY, OUTBOX, OutRow},
    trim::Today,
    window::{self, LaneEnd},
};
use crate::{
    ident::{ProviderDomain, RoomUri},
    mls::labels::SigningKey,
    room::{Moves, Names, Phase},
    store::{Database, StoreError},
};

pub(super) struct Inner {
    pub(super) db: Database,
    pub(super) homeserver: Arc<dyn Homeserver>,
    pub(super) peers: Arc<dyn Peers>,
    pub(super) names: GatewayNames,
    pub(super) settings: EngineSettings,
    pub(super) hub_key: SigningKey,
    /// Reports of abuse of each peer.
    pub(super) reports: Mutex<Meter<ProviderDomain>>,
    /// Searches of each peer.
    pub(super) searches: Mutex<Meter<ProviderDomain>>,
    /// Searches of our users by way of the homeserver.
    pub(super) lookups: Mutex<Meter<()>>,
    /// What we stamp messages with.
    pub(super) franking: Arc<Franking>,
    /// Matrix room id to room URI.
    pub(super) links: Mutex<BTreeMap<String, String>>,
    /// Known rooms.
    pub(super) rooms: Mutex<BTreeSet<String>>,
    actors: Mutex<BTreeMap<String, mpsc::UnboundedSender<Mail>>>,
    lobbies: Mutex<BTreeMap<String, mpsc::UnboundedSender<(u64, String)>>>,
    pub(super) lanes: Mutex<BTreeMap<String, LaneEnd>>,
    /// One at a time takes Matrix events in, so that looking for a known event and storing it are one.
    pub(super) ingest: tokio::sync::Mutex<()>,
    /// Portals being made: their Matrix rooms are not linked yet.
    /// By outbox row, and who is invited into them.
    pub(super) portals: Mutex<BTreeMap<u64, Vec<ruma::OwnedUserId>>>,
    /// Invitations that were not accepted, by peer.
    pub(super) asking: Asking,
    /// Rooms elsewhere that somebody of ours is asked into, and nobody came: their hub is not to see that we know them.
    pub(super) unanswered: Mutex<BTreeSet<String>>,
    /// One at a time gives KeyPackages out.
    pub(super) giving: tokio::sync::Mutex<()>,
    pub(super) today: Today,
    pub(super) quarantined: AtomicU64,
    pub(super) presence: Presence,
    /// Whom we have nothing to do with.
    pub(super) doors: Arc<Doors>,
    /// The homeserver refused our token.
    pub(super) doubted: AtomicBool,
    /// Until then the homeserver is likely to lose events towards us: it, or we, just came back. Milliseconds.
    pub(super) suspect_until: AtomicU64,
    /// When this process was last seen running, in milliseconds: a gap means that it was stopped meanwhile.
    pub(super) pulse: AtomicU64,
    /// Which event stands for which message, until it is stored.
    pub(super) lately: Mutex<super::relations::Lately>,
    /// Messages by the ids that older peers give them.
    pub(super) aliases: Mutex<super::aliases::Aliases>,
    /// What our users read lately.
    pub(super) reads: Mutex<super::receipts::Reads>,
    /// Who has read up to what, of which it is not known yet which message that is.
    pub(super) unplaced: Mutex<super::receipts::Unplaced>,
    /// What the homeserver took lately, by room.
    pub(super) taken: Mutex<super::reached::Taken>,
    /// Messages that others wait for: room, message id.
    pub(super) awaited: Mutex<BTreeSet<(String, [u8; 32])>>,
    /// Who waits, and what was waited for in vain.
    pub(super) patience: Mutex<super::patience::Patience>,
    /// Rooms with messages whose time came before they were shown.
    pub(super) overdue: Mutex<BTreeSet<String>>,
    /// Something may be due earlier than was thought.
    pub(super) due: tokio::sync::Notify,
    /// What is due and on its way to its room.
    pub(super) dues: Mutex<super::clock::Dues>,
    /// What mirrors many rooms at once.
    pub(super) mirroring: super::mirror::Mirroring,
    /// Rooms whose ghosts come bit by bit.
    pub(super) trickle: super::trickle::Trickle,
    /// Who takes part in rooms on which others depend.
    pub(super) rosters: super::kin::Rosters,
    /// Which room belongs to which.
    pub(super) lineage: Arc<super::lineage::Lineage>,
    /// What the transactions tell of the homeserver.
    pub(super) signs: super::signs::Signs,
    /// When the last transaction was answered, and how many came in quick succession by then.
    pub(super) answered: Mutex<(Option<tokio::time::Instant>, u32)>,
    /// Outbox rows that are done and not taken off yet.
    pub(super) done: Mutex<lane::Done>,
    /// What carries files, if anything does.
    pub(super) files: std::sync::OnceLock<super::files::Carrier>,
    /// Matrix rooms that are on their way to others.
    pub(super) moves: Mutex<Moves>,
    /// Set off once everything that was stored is handed to its task: what the tasks add goes behind it.
    pub(super) go: CancellationToken,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
}

/// The engine. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Engine(pub(super) Arc<Inner>);

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Engine")
    }
}

/// A gap in the pulse that counts as having been stopped, in milliseconds.
const STOPPED: Millis = 5_000;

/// The mark with the last generation at whose start all state was taken for old.
const DISTRUSTED: &str = "distrusted";

/// A lock that a panic cannot poison: what it guards is replaced whole.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The one place where the engine reads the clock.
pub(super) fn now() -> Millis {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Random bytes; without them nothing of this can work.
pub(super) fn random() -> Result<[u8; 16], StoreError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| StoreError::Invalid(format!("no random bytes: {error}")))?;
    Ok(bytes)
}

impl Engine {
    /// Loads what is stored. Nothing runs before [`Engine::start`].
    pub async fn load(
        db: Database,
        homeserver: Arc<dyn Homeserver>,
        peers: Arc<dyn Peers>,
        names: GatewayNames,
        settings: EngineSettings,
    ) -> Result<Self, StoreError> {
        let (mut names, searches, lookups) = (names, settings.searches_per_hour, settings.lookups_per_minute);
        let doors = Doors::load(&db, peers, Arc::clone(&settings.envelope)).await?;
        let peers: Arc<dyn Peers> = Arc::clone(&doors) as _;
        names.peers = Some(Arc::clone(&peers));
        names.rights = Some(Arc::clone(&settings.rights));
        names.envelope = Arc::clone(&settings.envelope);
        let links = LINKS.scan_all(&db, &()).await?.into_iter().collect();
        let lineage = super::lineage::Lineage::load(&db).await?;
        let mut rooms = BTreeSet::new();
        let mut unanswered = BTreeSet::new();
        let mut moves = Moves::default();
        let mut after = None;
        loop {
            let page = records::page(&db, after, 100).await?;
            for (uri, room) in page.rooms {
                let nobody_came = room.phase == Phase::Invited && room.present.is_empty();
                if nobody_came && KEY_PACKAGES.scan(&db, &uri, None, 1).await?.rows.is_empty() {
                    unanswered.insert(uri.clone());
                }
                moves.load(&room);
                rooms.insert(uri);
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let asking = Asking::load(&db, settings.open_invitations).await?;
        let today = Today::load(&db, settings.keep).await?;
        let hub_key = super::keys::hub_key(&db).await?;
        let franking = Arc::new(Franking::load(&db, names.domain()).await?);
        Ok(Self(Arc::new(Inner {
            db,
            homeserver,
            peers,
            names,
            settings,
            hub_key,
            franking,
            reports: Mutex::new(Meter::new(super::report::PER_HOUR, meter::HOUR)),
            searches: Mutex::new(Meter::new(searches, meter::HOUR)),
            lookups: Mutex::new(Meter::new(lookups, meter::MINUTE)),
            links: Mutex::new(links),
            rooms: Mutex::new(rooms),
            actors: Mutex::default(),
            lobbies: Mutex::default(),
            lanes: Mutex::default(),
            ingest: tokio::sync::Mutex::default(),
            portals: Mutex::default(),
            asking,
            unanswered: Mutex::new(unanswered),
            giving: tokio::sync::Mutex::default(),
            today,
            quarantined: AtomicU64::new(0),
            presence: Presence::default(),
            doors,
            doubted: AtomicBool::new(false),
            suspect_until: AtomicU64::new(0),
            pulse: AtomicU64::new(now()),
            lately: Mutex::default(),
            aliases: Mutex::default(),
            reads: Mutex::default(),
            unplaced: Mutex::default(),
            taken: Mutex::default(),
            awaited: Mutex::default(),
            patience: Mutex::default(),
            overdue: Mutex::default(),
            due: tokio::sync::Notify::new(),
            dues: Mutex::default(),
            mirroring: super::mirror::Mirroring::default(),
            trickle: super::trickle::Trickle::default(),
            rosters: super::kin::Rosters::default(),
            lineage: Arc::new(lineage),
            signs: super::signs::Signs::default(),
            answered: Mutex::default(),
            done: Mutex::default(),
            files: std::sync::OnceLock::new(),
            moves: Mutex::new(moves),
            go: CancellationToken::new(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        })))
    }

    /// Goes on with everything that was not finished, and starts the timers.
    pub async fn start(&self) -> Result<(), StoreError> {
        self.suspect();
        self.load_awaited().await?;
        // Everything is read and handed on before anything runs: what runs adds rows of its own, which go behind these.
        let (mut items, mut events) = (Vec::new(), Vec::new());
        let outbox = OUTBOX.lanes(&self.0.db).await?;
        for lane in outbox.iter().filter(|lane| lane.starts_with("m:")) {
            self.find_waiting(lane).await?;
        }
        for uri in INBOX.lanes(&self.0.db).await? {
            let queued = self.queued(&INBOX, &uri).await?;
            items.push((uri, queued));
        }
        for room in LOBBY.lanes(&self.0.db).await? {
            let queued = self.queued(&LOBBY, &room).await?;
            events.push((room, queued));
        }
        for lane in &outbox {
            lock(&self.0.lanes).insert(lane.clone(), self.new_lane(lane, true));
        }
        for (uri, queued) in items {
            for (number, item) in queued {
                self.mail(&uri, Mail::Item { number, item });
            }
        }
        for (room, queued) in events {
            for (number, raw) in queued {
                self.to_lobby(&room, number, raw);
            }
        }
        self.load_files().await?;
        self.load_trickle().await?;
        self.0.go.cancel();
        let known: Vec<String> = lock(&self.0.rooms).iter().cloned().collect();
        for uri in known {
            self.mail(&uri, Mail::Tick);
            self.mail(&uri, Mail::CompareNow);
        }
        let engine = self.clone();
        self.0.tasks.spawn(async move { engine.timers().await });
        self.0.tasks.spawn(self.clone().keep_trimmed());
        self.0.tasks.spawn(self.clone().keep_time());
        self.0.tasks.spawn(self.clone().keep_polling());
        self.0.tasks.spawn(self.clone().keep_mirroring());
        self.0.tasks.spawn(self.clone().keep_trickling());
        Ok(())
    }

    /// All entries of one lane of a queue.
    async fn queued<V>(
        &self,
        queue: &crate::store::Queue<String, V>,
        lane: &String,
    ) -> Result<Vec<(u64, V)>, StoreError>
    where
        V: serde::Serialize + serde::de::DeserializeOwned,
    {
        let (entries, damaged) = queue.all(&self.0.db, lane).await?;
        self.damaged(queue, lane, &damaged).await?;
        Ok(entries)
    }

    /// Sets rows aside that do not read back.
    pub(super) async fn damaged<V>(
        &self,
        queue: &crate::store::Queue<String, V>,
        lane: &String,
        numbers: &[u64],
    ) -> Result<(), StoreError>
    where
        V: serde::Serialize + serde::de::DeserializeOwned,
    {
        if numbers.is_empty() {
            return Ok(());
        }
        let mut batch = crate::store::Batch::new("damaged rows set aside");
        for number in numbers {
            self.put_aside(&mut batch, lane, None, "a stored row that does not read back", None)?;
            queue.remove(&mut batch, lane, *number);
        }
        self.0.db.commit(batch).await.map(drop)
    }

    /// Notes the portals that a lane of the outbox is going to make.
    async fn find_waiting(&self, lane: &str) -> Result<(), StoreError> {
        let mut last = 0;
        loop {
            let (rows, more) = self.rows_after(lane, last).await?;
            for (number, row) in &rows {
                self.note_portal(*number, row);
                if let Some(room) = lane.strip_prefix("m:") {
                    self.waited_before(room, row);
                }
                last = *number;
            }
            if !more {
                return Ok(());
            }
        }
    }

    fn note_portal(&self, number: u64, row: &OutRow) {
        if let OutRow::Portal(MatrixAction::CreateRoom { invite, .. }) = row {
            lock(&self.0.portals).insert(number, invite.clone());
        }
    }

    async fn timers(&self) {
        let mut tick = tokio::time::interval(self.0.settings.tick);
        let mut pulse = tokio::time::interval(Duration::from_secs(1));
        tick.tick().await;
        loop {
            tokio::select! {
                () = self.0.stop.cancelled() => return,
                _ = pulse.tick() => self.feel_pulse(),
                _ = tick.tick() => {
                    let running: Vec<String> = lock(&self.0.rooms).iter().cloned().collect();
                    for uri in running {
                        self.mail(&uri, Mail::Tick);
                    }
                    self.forget_old_consent().await;
                    self.0.tasks.spawn(self.clone().renew_all());
                }
            }
        }
    }

    /// Whether the state is older than this generation of the store, and was not dealt with yet: the first open after the stop
    /// may have been another command's, or a start that was cut short.
    pub async fn must_distrust(&self, stale_before: u64) -> Result<bool, StoreError> {
        let done = super::tables::MARKS.get(&self.0.db, &DISTRUSTED.to_owned()).await?;
        Ok(stale_before > done.unwrap_or(0))
    }

    /// After a stop that may have lost what was acknowledged (DESIGN 9): KeyPackages that were given out are dropped, and
    /// every local leaf is made fresh by a commit before its room sends again.
    pub async fn distrust_state(&self) -> Result<(), StoreError> {
        let db = &self.0.db;
        let mut batch = crate::store::Batch::new("state is old");
        super::tables::MARKS.put(db, &mut batch, &DISTRUSTED.to_owned(), &db.generation())?;
        for (key, _) in super::tables::KEY_PACKAGES.scan_all(db, &()).await? {
            super::tables::KEY_PACKAGES.delete(&mut batch, &key);
        }
        self.distrust_rooms(&mut batch).await?;
        db.commit(batch).await.map(drop)
    }

    /// Notes that this process runs. If it did not for a while, the homeserver gave up on it meanwhile.
    pub(super) fn feel_pulse(&self) {
        let now = now();
        if now.saturating_sub(self.0.pulse.swap(now, Ordering::Relaxed)) > STOPPED {
            tracing::warn!("this process was stopped for a while; every room is compared with the homeserver");
            self.compare_all();
        }
    }

    /// For a while every transaction's rooms are compared with their timelines before its events are taken in.
    pub(super) fn suspect(&self) {
        let span = u64::try_from(self.0.settings.suspicion.as_millis()).unwrap_or(u64::MAX);
        self.0.suspect_until.store(now().saturating_add(span), Ordering::Relaxed);
    }

    /// Compares every room with the homeserver's timeline: after the homeserver was away.
    pub fn compare_all(&self) {
        self.suspect();
        let known: Vec<String> = lock(&self.0.rooms).iter().cloned().collect();
        for uri in known {
            self.mail(&uri, Mail::CompareNow);
        }
    }

    /// Ends all tasks; what is not finished goes on at the next start.
    pub async fn stop(&self) {
        self.0.stop.cancel();
        lock(&self.0.actors).clear();
        lock(&self.0.lanes).clear();
        lock(&self.0.lobbies).clear();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    /// Events and rows that were set aside since the start.
    #[must_use]
    pub fn quarantined(&self) -> u64 {
        self.0.quarantined.load(Ordering::Relaxed)
    }

    /// Rooms that have a task now.
    #[must_use]
    pub fn working_rooms(&self) -> usize {
        lock(&self.0.actors).len()
    }

    /// Runs a task once the engine is started.
    fn run_task(&self, task: impl Future<Output = ()> + Send + 'static) {
        let (go, stop) = (self.0.go.clone(), self.0.stop.clone());
        self.0.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = go.cancelled() => task.await,
            }
        });
    }

    /// Carries something out even if whoever waits for it goes away: a request's future is dropped when its connection
    /// closes, and what is durable by then has to reach its room.
    pub(super) async fn unbroken<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let done = self.0.tasks.spawn(work).await;
        done.unwrap_or_else(|error| Err(StoreError::Closed(format!("the task ended: {error}"))))
    }

    /// Whether the room's actor runs.
    pub(super) fn has_actor(&self, uri: &str) -> bool {
        lock(&self.0.actors).contains_key(uri)
    }

    /// Sends mail to a room's actor, which is started if need be.
    pub(super) fn mail(&self, uri: &str, mail: Mail) {
        let mut actors = lock(&self.0.actors);
        let mail = match actors.get(uri) {
            Some(actor) => match actor.send(mail) {
                Ok(()) => return,
                Err(returned) => returned.0,
            },
            None => mail,
        };
        if self.0.stop.is_cancelled() {
            return;
        }
        let (sender, receiver) = mpsc::unbounded_channel();
        let _ = sender.send(mail);
        actors.insert(uri.to_owned(), sender);
        if !lock(&self.0.rooms).contains(uri) {
            // Nobody agreed to come into a room that is only asked about, perhaps for somebody who is not here.
            if RoomUri::parse(uri).is_ok_and(|room| room.hub() != *self.0.names.domain()) {
                lock(&self.0.unanswered).insert(uri.to_owned());
            }
            lock(&self.0.rooms).insert(uri.to_owned());
        }
        drop(actors);
        let (engine, uri) = (self.clone(), uri.to_owned());
        self.run_task(async move { actor::run(engine, uri, receiver).await });
    }

    /// Forgets an actor that has nothing to keep in mind. Its next mail starts another.
    pub(super) fn close_actor(&self, uri: &str, known: bool, mails: &mpsc::UnboundedReceiver<Mail>) -> bool {
        let mut actors = lock(&self.0.actors);
        if !mails.is_empty() {
            return false;
        }
        actors.remove(uri);
        if !known {
            lock(&self.0.rooms).remove(uri);
            lock(&self.0.unanswered).remove(uri);
        }
        true
    }

    /// Hands a stored row to its lane's task.
    pub(super) fn hand_to_lane(&self, lane: &str, number: u64, row: OutRow) {
        self.note_portal(number, &row);
        if self.0.stop.is_cancelled() {
            return;
        }
        let mut lanes = lock(&self.0.lanes);
        if let Some(end) = lanes.get(lane) {
            if !end.hand(number, row) {
                lanes.insert(lane.to_owned(), self.new_lane(lane, true));
            }
            return;
        }
        let end = self.new_lane(lane, false);
        end.hand(number, row);
        lanes.insert(lane.to_owned(), end);
    }

    /// Starts a lane's task. `behind`: it finds rows in the store.
    fn new_lane(&self, lane: &str, behind: bool) -> LaneEnd {
        let (end, rows) = window::lane(behind);
        let (engine, lane) = (self.clone(), lane.to_owned());
        self.run_task(async move { lane::run(engine, lane, rows).await });
        end
    }

    /// Hands a stored event of an unmirrored room to that room's task.
    pub(super) fn to_lobby(&self, room: &str, number: u64, raw: String) {
        let mut lobbies = lock(&self.0.lobbies);
        let raw = match lobbies.get(room) {
            Some(sender) => match sender.send((number, raw)) {
                Ok(()) => return,
                Err(returned) => returned.0.1,
            },
            None => raw,
        };
        if self.0.stop.is_cancelled() {
            return;
        }
        let (sender, receiver) = mpsc::unbounded_channel();
        let _ = sender.send((number, raw));
        lobbies.insert(room.to_owned(), sender);
        drop(lobbies);
        let (engine, room) = (self.clone(), room.to_owned());
        self.run_task(async move { lobby::run(engine, room, receiver).await });
    }

    /// Whether somebody waits in the lobby of this Matrix room.
    pub(super) fn in_lobby(&self, room: &str) -> bool {
        lock(&self.0.lobbies).contains_key(room)
    }

    /// Forgets an idle lobby.
    pub(super) fn close_lobby(&self, room: &str, receiver: &mut mpsc::UnboundedReceiver<(u64, String)>) -> bool {
        let mut lobbies = lock(&self.0.lobbies);
        if !receiver.is_empty() {
            return false;
        }
        lobbies.remove(room);
        true
    }

    /// The room URI that a Matrix room is linked to.
    pub(super) fn linked(&self, matrix_room: &str) -> Option<String> {
        lock(&self.0.links).get(matrix_room).cloned()
    }

    /// The store that it works on.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.0.db
    }

    /// The names that it goes by.
    #[must_use]
    pub fn names(&self) -> &GatewayNames {
        &self.0.names
    }
}
