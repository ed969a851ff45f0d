//! A silo: a homeserver, an engine on a store that outlives it, and the way to the other silos.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use mimi_gateway::{
    engine::{
        Engine, EngineSettings, GatewayNames, Keep,
        ports::{
            CallError, Endpoint, Homeserver, PathTarget, Peers, Problem, ProviderInbound as _, Retry, VerifiedPeer,
        },
        rights::Rights,
    },
    ident::{IdentityMap, ProviderDomain, RoomUri, UserUri},
    policy::Envelope,
    room::Telling,
    store::{
        BoxFuture, Database, EngineChoice, MasterKey, MemoryDisk, OpenOptions, ScanRange, StoreError, Table, open,
        open_memory,
    },
};
use ruma::{OwnedRoomId, RoomId};
use sha2::Digest as _;

use crate::{
    files::Carry,
    homeserver::{FakeHomeserver, Fault, Faults, Slot, lost, no_faults},
};

#[path = "gate.rs"]
mod gate;

use gate::Gate;

/// A call between providers, as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) from: ProviderDomain,
    pub(crate) to: ProviderDomain,
    pub(crate) endpoint: Endpoint,
    pub(crate) target: PathTarget,
    pub(crate) body: Vec<u8>,
    pub(crate) answer: Result<Vec<u8>, Problem>,
}

/// Another body in the place of this one, if any.
pub(crate) type Rewrite = fn(Endpoint, &[u8]) -> Option<Vec<u8>>;

/// What a provider that a test plays answers, if not nothing.
pub(crate) type Answers = Box<dyn FnMut(Endpoint, &[u8]) -> Option<Vec<u8>> + Send>;

/// What connects the silos.
#[derive(Default)]
pub(crate) struct Net {
    silos: Mutex<BTreeMap<ProviderDomain, Slot>>,
    /// Providers that a test plays by hand: they take everything, and answer nothing, or what `answers` says.
    played: Mutex<BTreeSet<ProviderDomain>>,
    pub(crate) answers: Mutex<Option<Answers>>,
    calls: Mutex<Vec<Call>>,
    /// What holds calls back.
    pub(crate) gate: Gate,
    /// What changes bodies on their way.
    pub(crate) rewrite: Mutex<Option<Rewrite>>,
    /// Whether all take each other for gateways to Matrix.
    pub(crate) gateways: std::sync::atomic::AtomicBool,
    /// How long all wait for commits that are missing, from their next start on, if not as long as usual.
    pub(crate) catch_up: Mutex<Option<Duration>>,
}

impl Net {
    /// From now on this provider is there, and a test speaks for it.
    pub(crate) fn play(&self, domain: &ProviderDomain) {
        self.played.lock().unwrap().insert(domain.clone());
    }

    fn note(
        &self,
        from: &ProviderDomain,
        to: &ProviderDomain,
        endpoint: Endpoint,
        target: &PathTarget,
        body: &[u8],
        answer: Result<Vec<u8>, Problem>,
    ) {
        self.calls.lock().unwrap().push(Call {
            from: from.clone(),
            to: to.clone(),
            endpoint,
            target: target.clone(),
            body: body.to_vec(),
            answer,
        });
    }

    /// The calls to an endpoint of a silo that were answered so far.
    pub(crate) fn calls(&self, to: &ProviderDomain, endpoint: Endpoint) -> Vec<Call> {
        let calls = self.calls.lock().unwrap();
        calls.iter().filter(|call| call.to == *to && call.endpoint == endpoint).cloned().collect()
    }

    /// All calls that were answered since this was asked last.
    pub(crate) fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }

    /// Hands a call to the engine of `to`, as its HTTP server would once it knows that `from` calls.
    pub(crate) async fn deliver(
        &self,
        from: &ProviderDomain,
        to: &ProviderDomain,
        endpoint: Endpoint,
        target: &PathTarget,
        body: &[u8],
    ) -> Option<Result<Vec<u8>, Problem>> {
        if self.played.lock().unwrap().contains(to) {
            let answer = self.answers.lock().unwrap().as_mut().and_then(|answers| answers(endpoint, body));
            let answer = Ok(answer.unwrap_or_default());
            self.note(from, to, endpoint, target, body, answer.clone());
            return Some(answer);
        }
        let engine = self.silos.lock().unwrap().get(to).and_then(|slot| slot.lock().unwrap().clone())?;
        let peer = VerifiedPeer::assert_verified(from.clone());
        let room = || match target {
            PathTarget::Uri(uri) => RoomUri::parse(uri.as_str()).unwrap(),
            PathTarget::Domain(domain) => panic!("{domain} is no room"),
        };
        let rewrite = *self.rewrite.lock().unwrap();
        let bytes = rewrite.and_then(|rewrite| rewrite(endpoint, body)).unwrap_or_else(|| body.to_vec());
        let answer = match endpoint {
            Endpoint::KeyMaterial => {
                let PathTarget::Uri(uri) = target else { panic!("no user in the path") };
                engine.key_material(peer, UserUri::parse(uri.as_str()).unwrap(), bytes).await
            }
            Endpoint::Update => engine.update(peer, room(), bytes).await,
            Endpoint::SubmitMessage => engine.submit_message(peer, room(), bytes).await,
            Endpoint::Notify => engine.notify(peer, room(), bytes).await.map(|()| Vec::new()),
            Endpoint::GroupInfo => engine.group_info(peer, room(), bytes).await,
            Endpoint::RequestConsent => engine.request_consent(peer, bytes).await.map(|()| Vec::new()),
            Endpoint::UpdateConsent => engine.update_consent(peer, bytes).await.map(|()| Vec::new()),
            Endpoint::IdentifierQuery => engine.identifier_query(peer, bytes).await,
            Endpoint::ReportAbuse => engine.report_abuse(peer, room(), bytes).await.map(|()| Vec::new()),
        };
        self.note(from, to, endpoint, target, body, answer.clone());
        Some(answer)
    }
}

struct FakePeers {
    own: ProviderDomain,
    net: Arc<Net>,
    faults: Faults,
}

impl Peers for FakePeers {
    fn call<'a>(
        &'a self,
        peer: &'a ProviderDomain,
        endpoint: Endpoint,
        target: &'a PathTarget,
        body: &'a [u8],
    ) -> BoxFuture<'a, Result<Vec<u8>, CallError>> {
        Box::pin(async move {
            let digest = hex::encode(sha2::Sha256::digest(body));
            let fault = (self.faults.lock().unwrap())(&format!("{endpoint} {} to {peer} {digest}", self.own));
            if fault == Fault::Before {
                return Err(lost("connection refused", Retry::Retriable(None)));
            }
            if fault == Fault::Refused {
                return Err(lost("no", Retry::Permanent));
            }
            if let Fault::Later(after) = fault {
                return Err(lost("busy", Retry::Retriable(Some(after))));
            }
            self.net.gate.pass(&self.own, endpoint, body).await;
            let answer = match self.net.deliver(&self.own, peer, endpoint, target, body).await {
                None => Err(lost("nobody listens", Retry::Retriable(None))),
                Some(Ok(answer)) => Ok(answer),
                Some(Err(problem @ (Problem::Unavailable(_) | Problem::TooMany(_)))) => {
                    Err(lost(&problem.to_string(), Retry::Retriable(None)))
                }
                Some(Err(problem)) => Err(lost(&problem.to_string(), Retry::Permanent)),
            };
            if fault == Fault::After {
                return Err(lost("the answer was lost", Retry::Uncertain));
            }
            answer
        })
    }

    fn knows(&self, peer: &ProviderDomain) -> bool {
        let played = self.net.played.lock().unwrap().contains(peer);
        *peer != self.own && (played || self.net.silos.lock().unwrap().contains_key(peer))
    }

    fn is_gateway(&self, _peer: &ProviderDomain) -> bool {
        self.net.gateways.load(std::sync::atomic::Ordering::Relaxed)
    }
}

/// Where a silo keeps its data.
pub(crate) enum Disk {
    Memory(MemoryDisk),
    Sqlite(PathBuf),
    Sled(PathBuf),
}

pub(crate) struct Silo {
    pub(crate) domain: ProviderDomain,
    pub(crate) homeserver: Arc<FakeHomeserver>,
    pub(crate) net: Arc<Net>,
    pub(crate) disk: Disk,
    pub(crate) faults: Faults,
    /// How long repeats are known, from the next start on.
    pub(crate) keep: Mutex<Keep>,
    /// How many unanswered invitations a peer may have, from the next start on.
    pub(crate) open_invitations: AtomicUsize,
    /// Searches that a peer may make within an hour, from the next start on.
    pub(crate) searches: AtomicU32,
    /// How long its engine lets the homeserver gather events, from the next start on.
    pub(crate) gather: Mutex<Duration>,
    /// What people are told, from the next start on.
    pub(crate) telling: Mutex<Telling>,
    /// How long the homeserver is not trusted after a sign that it loses events, from the next start on.
    pub(crate) suspicion: Mutex<Duration>,
    /// Where reports of abuse appear, from the next start on.
    pub(crate) admin_room: Mutex<Option<OwnedRoomId>>,
    /// Ghosts that come into large rooms a minute, from the next start on.
    pub(crate) ghosts_per_minute: AtomicU32,
    /// Messages of a room that wait for being read, at most, from the next start on.
    pub(crate) most_unread: AtomicUsize,
    /// Up to how many members all are listed, from the next start on.
    pub(crate) list_all: AtomicUsize,
    /// Who may do what, from the next start on.
    pub(crate) rights: Mutex<Arc<Rights>>,
    /// What rooms may be, from the next start on.
    pub(crate) envelope: Mutex<Envelope>,
    /// Rooms of one peer, from the next start on.
    pub(crate) rooms_per_peer: AtomicUsize,
    /// What carries files, from the next start on.
    pub(crate) carry: Mutex<Option<Arc<Carry>>>,
    slot: Slot,
    database: Mutex<Option<Database>>,
}

fn master_key() -> MasterKey {
    MasterKey::from_bytes([7; 32])
}

/// Settings with which nobody has to wait for long.
pub(crate) fn quick_settings() -> EngineSettings {
    EngineSettings {
        gather: Duration::ZERO,
        patience: Duration::from_millis(5),
        settle: Duration::from_millis(1),
        quiet: Duration::from_millis(150),
        gap_check: Duration::from_millis(500),
        suspicion: Duration::from_secs(15),
        tick: Duration::from_hours(1),
        retry: Duration::from_millis(5),
        keep: Keep { days: 90, day: Duration::from_hours(24) },
        open_invitations: 1000,
        catch_up: Duration::from_millis(400),
        searches_per_hour: 1000,
        report_poll: Duration::from_millis(20),
        admin_room: None,
        ghosts_per_minute: 6_000,
        most_unread: 1000,
        rights: Arc::new(Rights::anything()),
        lookups_per_minute: 60,
        rooms_per_peer: 10_000,
        envelope: Arc::default(),
    }
}

/// An engine on the net, not started yet.
pub(crate) async fn load(
    database: Database,
    homeserver: Arc<dyn Homeserver>,
    net: &Arc<Net>,
    faults: Faults,
    names: GatewayNames,
    settings: EngineSettings,
) -> Engine {
    let catch_up = net.catch_up.lock().unwrap().unwrap_or(settings.catch_up);
    let settings = EngineSettings { catch_up, ..settings };
    let peers = Arc::new(FakePeers { own: names.map.provider().clone(), net: Arc::clone(net), faults });
    Engine::load(database, homeserver, peers, names, settings).await.unwrap()
}

impl Net {
    /// Takes a provider in that is no [`Silo`].
    pub(crate) fn enter(&self, domain: &ProviderDomain, engine: Engine) {
        self.silos.lock().unwrap().insert(domain.clone(), Arc::new(Mutex::new(Some(engine))));
    }
}

impl Silo {
    /// A silo on a disk, running, with people.
    pub(crate) async fn start_on(name: &str, people: &[&str], net: &Arc<Net>, disk: Disk, faults: Faults) -> Self {
        if let Ok(filter) = tracing_subscriber::EnvFilter::try_from_default_env() {
            let _ = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_test_writer().try_init();
        }
        let domain = ProviderDomain::parse(&format!("{name}.example")).unwrap();
        let map = IdentityMap::new(domain.clone(), ruma::OwnedServerName::try_from(format!("{name}.test")).unwrap());
        let homeserver = FakeHomeserver::new(map, faults.clone());
        for person in people {
            homeserver.register(person);
        }
        let slot = Slot::default();
        net.silos.lock().unwrap().insert(domain.clone(), slot.clone());
        homeserver.start(slot.clone());
        let (open_invitations, searches) = (AtomicUsize::new(1000), AtomicU32::new(600));
        let (net, gather, admin_room, database) =
            (Arc::clone(net), Mutex::default(), Mutex::default(), Mutex::default());
        let keep = Mutex::new(Keep { days: 90, day: Duration::from_hours(24) });
        let silo = Self {
            domain,
            homeserver,
            net,
            disk,
            faults,
            keep,
            open_invitations,
            searches,
            gather,
            suspicion: Mutex::new(Duration::from_secs(15)),
            admin_room,
            ghosts_per_minute: AtomicU32::new(6_000),
            most_unread: AtomicUsize::new(1000),
            list_all: AtomicUsize::new(500),
            carry: Mutex::default(),
            rights: Mutex::new(Arc::new(Rights::anything())),
            envelope: Mutex::default(),
            rooms_per_peer: AtomicUsize::new(10_000),
            telling: Mutex::default(),
            slot,
            database,
        };
        silo.start().await;
        silo
    }

    /// A silo in memory whose calls all work.
    pub(crate) async fn new(name: &str, people: &[&str], net: &Arc<Net>) -> Self {
        Self::start_on(name, people, net, Disk::Memory(MemoryDisk::new()), no_faults()).await
    }

    /// Starts the engine on what the disk holds.
    pub(crate) async fn start(&self) {
        self.start_on_disk(false).await;
    }

    /// The same after a stop that may have lost what was acknowledged.
    pub(crate) async fn start_distrusting(&self) {
        self.start_on_disk(true).await;
    }

    async fn start_on_disk(&self, stale: bool) {
        let since = Instant::now();
        let opened = loop {
            let result = match &self.disk {
                Disk::Memory(disk) => open_memory(disk, &master_key()),
                Disk::Sqlite(path) => open(&OpenOptions::new(EngineChoice::Sqlite, path, master_key())),
                Disk::Sled(path) => open(&OpenOptions::new(EngineChoice::Sled, path, master_key())),
            };
            match result {
                Ok(opened) => break opened,
                // A call that was under way when the engine stopped still holds the store.
                Err(StoreError::Locked(_)) if since.elapsed() < PATIENCE => {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                Err(error) => {
                    // The crash ends when nothing of the old process is left.
                    let Disk::Memory(disk) = &self.disk else { panic!("{error}") };
                    assert!(disk.refuses(), "{error}");
                    disk.refuse_commits(None);
                }
            }
        };
        let settings = EngineSettings {
            gather: *self.gather.lock().unwrap(),
            // Every other life of a silo takes everything by way of its inboxes.
            patience: Duration::from_millis(if opened.report.generation.is_multiple_of(2) { 0 } else { 5 }),
            keep: *self.keep.lock().unwrap(),
            open_invitations: self.open_invitations.load(Ordering::Relaxed),
            suspicion: *self.suspicion.lock().unwrap(),
            searches_per_hour: self.searches.load(Ordering::Relaxed),
            admin_room: self.admin_room.lock().unwrap().clone(),
            ghosts_per_minute: self.ghosts_per_minute.load(Ordering::Relaxed),
            most_unread: self.most_unread.load(Ordering::Relaxed),
            rights: Arc::clone(&self.rights.lock().unwrap()),
            envelope: Arc::new(self.envelope.lock().unwrap().clone()),
            rooms_per_peer: self.rooms_per_peer.load(Ordering::Relaxed),
            ..quick_settings()
        };
        let list = self.list_all.load(Ordering::Relaxed);
        let mut names = GatewayNames::new(self.homeserver.map.clone(), self.homeserver.bot.clone(), list);
        names.telling = *self.telling.lock().unwrap();
        let homeserver = Arc::clone(&self.homeserver);
        let engine = load(opened.database.clone(), homeserver, &self.net, self.faults.clone(), names, settings).await;
        let carry = self.carry.lock().unwrap().clone();
        let engine = match carry {
            Some(carry) => engine.carrying(carry.start(&self.domain, opened.database.clone()).await),
            None => engine,
        };
        if stale {
            engine.distrust_state().await.unwrap();
        }
        engine.start().await.unwrap();
        *self.database.lock().unwrap() = Some(opened.database);
        *self.slot.lock().unwrap() = Some(engine);
    }

    /// Stops the engine; true if one ran.
    async fn end(&self) -> Option<Database> {
        let engine = self.slot.lock().unwrap().take();
        if let Some(engine) = engine {
            engine.stop().await;
        }
        if let Some(carry) = self.carry.lock().unwrap().as_ref() {
            carry.end(&self.domain);
        }
        self.database.lock().unwrap().take()
    }

    /// Stops in good order.
    pub(crate) async fn stop(&self) {
        if let Some(database) = self.end().await {
            database.store().close().await.unwrap();
        }
    }

    /// From this moment nothing is stored: what the process does until it is gone is lost with it.
    pub(crate) async fn crash(&self) {
        let Disk::Memory(disk) = &self.disk else { panic!("only memory crashes here") };
        if !disk.refuses() {
            disk.refuse_commits(Some(StoreError::Busy("the process is gone".to_owned())));
        }
        drop(self.end().await);
    }

    pub(crate) fn engine(&self) -> Engine {
        self.slot.lock().unwrap().clone().expect("the engine runs")
    }

    pub(crate) fn files(&self) -> Arc<Carry> {
        self.carry.lock().unwrap().clone().expect("it carries files")
    }

    pub(crate) fn memory(&self) -> &MemoryDisk {
        let Disk::Memory(disk) = &self.disk else { panic!("not in memory") };
        disk
    }

    /// One of our people as MIMI user.
    pub(crate) fn uri(&self, name: &str) -> UserUri {
        UserUri::new(&self.domain, name).unwrap()
    }

    /// The ghost of another silo's user here.
    pub(crate) fn ghost(&self, user: &UserUri) -> String {
        self.homeserver.ghost(user)
    }

    /// What `Engine::rooms` says about a room: state, epoch, participants.
    pub(crate) async fn room(&self, uri: &RoomUri) -> Option<(String, Option<u64>, usize)> {
        let database = self.database.lock().unwrap().clone()?;
        let names = GatewayNames::new(self.homeserver.map.clone(), self.homeserver.bot.clone(), 500);
        let rooms = Engine::rooms(&database, &names).await.unwrap();
        let room = rooms.into_iter().find(|room| room.uri == uri.as_str())?;
        Some((room.state, room.epoch, room.participants))
    }

    /// Whether what people do in a Matrix room is carried by now.
    pub(crate) async fn is_active(&self, matrix: &RoomId) -> bool {
        // It may be between two lives.
        let Some(database) = self.database.lock().unwrap().clone() else { return false };
        let names = GatewayNames::new(self.homeserver.map.clone(), self.homeserver.bot.clone(), 500);
        let rooms = Engine::rooms(&database, &names).await.unwrap_or_default();
        rooms.iter().any(|room| room.matrix == matrix.as_str() && room.state == "active")
    }

    /// Bytes of keys and values on disk, by table.
    pub(crate) async fn bytes(&self) -> BTreeMap<String, usize> {
        let database = self.database.lock().unwrap().clone().unwrap();
        let (mut bytes, mut after) = (BTreeMap::new(), None);
        loop {
            let range = ScanRange { prefix: Vec::new(), after: after.clone(), limit: 1000 };
            let page = database.store().scan(range).await.unwrap();
            for entry in &page.entries {
                let table = entry.key.iter().skip_while(|byte| !byte.is_ascii_alphanumeric());
                let table = table.take_while(|byte| byte.is_ascii_alphanumeric());
                let table: String = table.map(|byte| char::from(*byte)).collect();
                *bytes.entry(table).or_insert(0) += entry.key.len() + entry.value.len();
            }
            if !page.more {
                return bytes;
            }
            after = page.last_key().map(<[u8]>::to_vec);
        }
    }

    /// Waits until all that the gateway had for its homeserver and for peers is sent, and known to be.
    pub(crate) async fn until_all_sent(&self) {
        self.until_empty("outbox").await;
    }

    /// Waits until nothing waits for a room.
    pub(crate) async fn until_all_heard(&self) {
        self.until_empty("inbox").await;
    }

    async fn until_empty(&self, table: &str) {
        let since = Instant::now();
        while let Some(bytes) = self.bytes().await.get(table) {
            assert!(since.elapsed() < PATIENCE, "{}: {bytes} bytes stay in {table} for {PATIENCE:?}", self.domain);
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }

    /// The newest event of a Matrix room when it was last compared.
    pub(crate) async fn watermark(&self, room: &RoomId) -> Option<String> {
        let database = self.database.lock().unwrap().clone().unwrap();
        let table: Table<String, String> = Table::new("watermark");
        table.get(&database, &room.to_string()).await.unwrap()
    }

    /// Waits until it is stored which event shows a message.
    pub(crate) async fn until_noted(&self, room: &RoomUri, id: [u8; 32]) {
        type Row = (u32, (String, Option<u64>));
        let table: Table<(String, [u8; 32]), Row> = Table::new("shown");
        let database = self.database.lock().unwrap().clone().unwrap();
        let since = Instant::now();
        loop {
            let row = table.get(&database, &(room.to_string(), id)).await.unwrap();
            if row.is_some_and(|(_, (event, _))| !event.is_empty()) {
                return;
            }
            assert!(since.elapsed() < PATIENCE, "{}: no event shows it", self.domain);
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }

    /// The URI of the one room that is here.
    pub(crate) async fn only_room(&self) -> RoomUri {
        let database = self.database.lock().unwrap().clone().unwrap();
        let names = GatewayNames::new(self.homeserver.map.clone(), self.homeserver.bot.clone(), 500);
        let rooms = Engine::rooms(&database, &names).await.unwrap();
        assert_eq!(rooms.len(), 1, "{rooms:?}");
        RoomUri::parse(&rooms[0].uri).unwrap()
    }

    /// Sends as a peer to this silo.
    pub(crate) async fn receive(
        &self,
        from: &str,
        endpoint: Endpoint,
        target: &PathTarget,
        body: &[u8],
    ) -> Result<Vec<u8>, Problem> {
        let from = ProviderDomain::parse(&format!("{from}.example")).unwrap();
        self.net.deliver(&from, &self.domain, endpoint, target, body).await.expect("the engine runs")
    }
}

/// How long a condition may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// Waits until something is there.
pub(crate) async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(since.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

/// Waits until something is so.
pub(crate) async fn until_true(what: &str, mut look: impl FnMut() -> bool) {
    until(what, || look().then_some(())).await;
}

/// Waits until somebody's membership is so.
pub(crate) async fn until_member(silo: &Silo, room: &RoomId, user: &str, how: &str) {
    until_true(&format!("{user}: {how}"), || silo.homeserver.member(room, user).as_deref() == Some(how)).await;
}

/// Somebody asks the bot into a room, in which nobody gave notice yet: waits until it is there, and has said what it does.
pub(crate) async fn ask_bot_in(homeserver: &FakeHomeserver, room: &RoomId, by: &str) {
    homeserver.invite(room, by, homeserver.bot.as_str(), false);
    until_true("the bot comes", || homeserver.member(room, homeserver.bot.as_str()).as_deref() == Some("join")).await;
    until_true("the bot says what it does", || !homeserver.notices(room).is_empty()).await;
}

/// Waits until a room holds exactly these texts, in any order; then looks once more after everything came to rest.
pub(crate) async fn until_bodies(silo: &Silo, room: &RoomId, expected: &[&str]) {
    let mut expected: Vec<String> = expected.iter().map(|body| (*body).to_owned()).collect();
    expected.sort();
    let since = Instant::now();
    loop {
        let mut bodies = silo.homeserver.bodies(room);
        bodies.sort();
        if bodies == expected {
            return;
        }
        assert!(
            since.elapsed() < PATIENCE && bodies.len() <= expected.len(),
            "{}: expected {expected:?}, there is {bodies:?}; notices {:?}",
            silo.domain,
            silo.homeserver.notices(room)
        );
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

/// Two silos, A the hub.
pub(crate) struct Two {
    pub(crate) a: Silo,
    pub(crate) b: Silo,
}

impl Two {
    pub(crate) async fn new() -> Self {
        Self::with(no_faults()).await
    }

    pub(crate) async fn with(faults: Faults) -> Self {
        let net = Arc::new(Net::default());
        let memory = || Disk::Memory(MemoryDisk::new());
        let a = Silo::start_on("a", &["a1", "a2", "a3"], &net, memory(), faults.clone()).await;
        let b = Silo::start_on("b", &["b1", "b2", "b3"], &net, memory(), faults).await;
        Self { a, b }
    }

    /// Calls between providers since this was asked last.
    pub(crate) fn net_calls(&self) -> usize {
        self.a.net.take_calls().len()
    }

    /// The same, with files.
    pub(crate) async fn with_files(faults: Faults) -> Self {
        let two = Self::with(faults.clone()).await;
        let net = Arc::default();
        for silo in [&two.a, &two.b] {
            silo.stop().await;
            let server = silo.homeserver.map.server_name().to_string();
            *silo.carry.lock().unwrap() = Some(Arc::new(Carry::new(&server, &net, faults.clone())));
            silo.start().await;
        }
        two
    }

    /// A1 mirrors a room.
    pub(crate) async fn bridge(&self) -> (OwnedRoomId, RoomUri) {
        bridge(&self.a, "a1").await
    }

    /// A1 mirrors a room and B1 comes in: the room at A, the portal at B, the MIMI room.
    pub(crate) async fn room(&self) -> (OwnedRoomId, OwnedRoomId, RoomUri) {
        let (at_a, uri) = self.bridge().await;
        let at_b = bring(&self.a, &at_a, "a1", &self.b, "b1").await;
        (at_a, at_b, uri)
    }
}

/// Somebody makes a room, asks the bot in and mirrors it.
pub(crate) async fn bridge(silo: &Silo, by: &str) -> (OwnedRoomId, RoomUri) {
    let homeserver = &silo.homeserver;
    let room = homeserver.create_room(by, "Tea");
    ask_bot_in(homeserver, &room, by).await;
    homeserver.say(&room, by, "!mimi bridge");
    let uri = until("the room is mirrored", || {
        let notices = homeserver.notices(&room);
        let text = notices.iter().find(|text| text.starts_with("This room is mirrored as "))?.clone();
        let uri = text.trim_start_matches("This room is mirrored as ").split(". ").next().unwrap().to_owned();
        Some(RoomUri::parse(&uri).unwrap())
    })
    .await;
    (room, uri)
}

/// Somebody asks another silo's user in, who accepts: the room over there.
pub(crate) async fn bring(from: &Silo, room: &RoomId, by: &str, to: &Silo, name: &str) -> OwnedRoomId {
    from.homeserver.say(room, by, &format!("!mimi invite {}", to.uri(name)));
    let portal = until("an invitation", || to.homeserver.invitations(name).first().cloned()).await;
    to.homeserver.join(&portal, name);
    let (inviter, guest) = (from.uri(by), to.uri(name));
    until_true("the inviter's ghost", || to.homeserver.member(&portal, &to.ghost(&inviter)).as_deref() == Some("join"))
        .await;
    until_true("the guest's ghost", || from.homeserver.member(room, &from.ghost(&guest)).as_deref() == Some("join"))
        .await;
    let since = Instant::now();
    while !to.is_active(&portal).await {
        assert!(since.elapsed() < PATIENCE, "{} is not in the room within {PATIENCE:?}", to.domain);
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    portal
}
