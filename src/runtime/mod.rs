//! Wiring and shutdown: the store, the engine and the two edges, from the settings.

mod assets;
mod error;
mod heartbeat;
mod listing;
mod watch;

use std::{sync::Arc, time::Duration};

use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

pub use error::{RuntimeError, listen_advice, registration_advice, store_advice};
pub use listing::{list_fingerprints, list_rooms, list_set_aside};
pub(crate) use watch::unix_seconds;
pub use watch::validity_advice;

use crate::{
    admin::{self, ControlSocket, provision},
    config::{Config, StoreEngine},
    engine::{Engine, EngineSettings, GatewayNames, Keep},
    ident::IdentityMap,
    matrix::{self, HomeserverClient, Registration},
    mimi::{self, SetupError},
    store::{self, EngineChoice, Look, MasterKey, OpenOptions, Opened, StoreError},
};

/// In a burst the homeserver gathers events for so long. Nobody sees it: they wait less than they would in a queue.
const GATHER: Duration = Duration::from_millis(100);
/// How long a room may be busy before what comes for it goes by way of its inbox.
const PATIENCE: Duration = Duration::from_millis(25);
/// How long a hub's "accepted" waits for others before it is stored.
const SETTLE: Duration = Duration::from_millis(30);
/// How long a room has to be quiet before its timeline is compared with what came.
const QUIET: Duration = Duration::from_secs(3);
/// How long a homeserver that came back, or has just lost something, is not trusted to deliver everything.
const SUSPICION: Duration = Duration::from_secs(15);
/// How often rooms are looked through for leaves to refresh.
const TICK: Duration = Duration::from_hours(1);
/// How long commits that a hub speaks of may take to come: longer than we wait between two tries ourselves.
const CATCH_UP: Duration = Duration::from_secs(30);
/// So many messages of a room wait for being read at most: a receipt looks at all of them.
const MOST_UNREAD: usize = 1000;
/// The first wait after a call or a commit that failed.
const RETRY: Duration = Duration::from_millis(200);
/// A day, as rows count it.
const DAY: Duration = Duration::from_hours(24);
/// How long another command may have the store at a start.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);
const LOCK_PAUSE: Duration = Duration::from_millis(100);
/// How long an end that cannot be in good order may take, step by step.
const LAST_WAIT: Duration = Duration::from_secs(5);

fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> RuntimeError {
    let what = what.into();
    move |source| RuntimeError::Io { what, source }
}

fn store_options(config: &Config, restored: bool) -> Result<OpenOptions, RuntimeError> {
    let engine = match config.store.engine {
        StoreEngine::Sqlite => EngineChoice::Sqlite,
        StoreEngine::Sled => EngineChoice::Sled,
    };
    let key = MasterKey::from_bytes(*config.store.master_key()?);
    Ok(OpenOptions { restored, ..OpenOptions::new(engine, &config.store.path, key) })
}

fn open_store(config: &Config, restored: bool) -> Result<Opened, RuntimeError> {
    Ok(store::open(&store_options(config, restored)?)?)
}

/// Opens the store. Another command may have it for a moment.
async fn open_store_soon(config: &Config, restored: bool) -> Result<Opened, RuntimeError> {
    let since = std::time::Instant::now();
    loop {
        match open_store(config, restored) {
            Err(RuntimeError::Store(StoreError::Locked(_))) if since.elapsed() < LOCK_PATIENCE => {
                tokio::time::sleep(LOCK_PAUSE).await;
            }
            opened => return opened,
        }
    }
}

/// Says what the next start would find in the store, without changing anything.
pub fn look_at_store(config: &Config) -> Result<Look, RuntimeError> {
    Ok(store::look(&store_options(config, false)?)?)
}

fn tokio_runtime() -> Result<tokio::runtime::Runtime, RuntimeError> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(io("starting threads"))
}

/// Runs the gateway until it is told to stop (SIGINT or SIGTERM). `restored`: the operator says that the store comes from
/// a backup, so all MLS state counts as old (DESIGN 9).
pub fn run(config: Config, restored: bool) -> Result<(), RuntimeError> {
    let runtime = tokio_runtime()?;
    let result = runtime.block_on(serve(config, restored));
    runtime.shutdown_timeout(LAST_WAIT);
    result
}

struct Parts {
    credentials: matrix::Credentials,
    map: Arc<IdentityMap>,
    names: GatewayNames,
}

fn parts(config: &Config) -> Result<Parts, RuntimeError> {
    let settings = config.to_matrix_settings();
    let registration = match Registration::load(&settings.registration) {
        Ok(registration) => Some(registration),
        // Tokens may come from the configuration, where the homeserver's copy cannot be read here.
        Err(_) if settings.as_token.is_some() && !settings.registration.exists() => None,
        Err(error) => return Err(error.into()),
    };
    let credentials = settings.credentials(registration.as_ref())?;
    let map = IdentityMap::new(config.provider_domain()?, settings.server_name.clone());
    let bot = ruma::UserId::parse(format!("@{}:{}", credentials.sender_localpart, settings.server_name))?;
    let list = usize::try_from(config.rooms.list_all_members_up_to).unwrap_or(usize::MAX);
    let mut names = GatewayNames::new(map.clone(), bot, list);
    names.telling = config.rooms.telling();
    names.ghosts_at_once = usize::try_from(config.rooms.ghosts_at_once).unwrap_or(usize::MAX);
    Ok(Parts { credentials, map: Arc::new(map), names })
}

/// Everything that a start needs besides the store: what fails here leaves no trace.
struct Ground {
    names: GatewayNames,
    matrix_names: matrix::Names,
    hs_token: secrecy::SecretString,
    homeserver: Arc<HomeserverClient>,
    peers: Arc<mimi::MimiPeers>,
    provider: mimi::Listening,
    appservice: TcpListener,
    provisioning: Option<(TcpListener, provision::Settings)>,
    signals: Signals,
}

async fn prepare(config: &Config) -> Result<Ground, RuntimeError> {
    let Parts { credentials, map, names } = parts(config)?;
    let matrix_settings = config.to_matrix_settings();
    let mimi_settings = config.to_mimi_settings()?;
    let matrix_names = matrix::Names::new(map, &credentials.sender_localpart, &matrix_settings.bot_display_name)?;
    let homeserver = Arc::new(HomeserverClient::new(&matrix_settings, &credentials, matrix_names.clone())?);
    let peers = Arc::new(mimi::MimiPeers::new(&mimi_settings)?);
    let in_use = |source, setting, address| {
        // Two gateways on one store are told as that: it is why the address is in use.
        match look_at_store(config) {
            Ok(Look::InUse) => RuntimeError::Store(StoreError::Locked(config.store.path.clone())),
            _ => RuntimeError::Listen { setting, address, source },
        }
    };
    let provider = mimi::Listening::bind(&mimi_settings).await.map_err(|error| match error {
        SetupError::Listen { addr, source } => in_use(source, "provider.listen", addr),
        other => other.into(),
    })?;
    let listen = matrix_settings.listen;
    let appservice = TcpListener::bind(listen).await.map_err(|source| in_use(source, "appservice.listen", listen))?;
    let provisioning = match config.provisioning.settings() {
        None => None,
        Some(settings) => {
            let listen = config.provisioning.listen;
            let bound = TcpListener::bind(listen).await;
            Some((bound.map_err(|source| in_use(source, "provisioning.listen", listen))?, settings))
        }
    };
    let signals = Signals::new()?;
    Ok(Ground {
        provisioning,
        names,
        matrix_names,
        hs_token: credentials.hs_token,
        homeserver,
        peers,
        provider,
        appservice,
        signals,
    })
}

fn engine_settings(config: &Config) -> EngineSettings {
    EngineSettings {
        quiet: QUIET,
        gap_check: config.rooms.gap_check_interval(),
        suspicion: SUSPICION,
        gather: GATHER,
        patience: PATIENCE,
        settle: SETTLE,
        tick: TICK,
        retry: RETRY,
        keep: Keep { days: config.store.keep_days, day: DAY },
        open_invitations: config.limits.max_open_invitations_per_peer,
        catch_up: CATCH_UP,
        searches_per_hour: config.limits.max_searches_per_peer_per_hour,
        lookups_per_minute: config.permissions.max_lookups_per_minute,
        report_poll: config.homeserver.report_poll(),
        admin_room: config.permissions.admin_room.clone(),
        rights: Arc::new(config.permissions.rights(&config.homeserver.server_name)),
        rooms_per_peer: config.limits.max_rooms_per_peer,
        envelope: Arc::new(config.envelope.clone()),
        ghosts_per_minute: config.rooms.ghosts_per_minute,
        most_unread: MOST_UNREAD,
    }
}

/// Starts the engine on an open store. If that fails, nothing of it runs on.
async fn start_engine(
    config: &Config,
    opened: &Opened,
    ground: &Ground,
    assets: &Arc<mimi::Assets>,
) -> Result<Engine, RuntimeError> {
    let Opened { database, report } = opened;
    let (homeserver, peers) = (Arc::clone(&ground.homeserver) as _, Arc::clone(&ground.peers) as _);
    let mut engine =
        Engine::load(database.clone(), homeserver, peers, ground.names.clone(), engine_settings(config)).await?;
    ground.peers.ask_first(engine.gate());
    if let Some(files) = assets::files(config, Arc::clone(&ground.homeserver), Arc::clone(assets))? {
        engine = engine.carrying(files);
    }
    if engine.must_distrust(report.stale_before).await? {
        tracing::warn!(
            "the store comes from a backup, or its engine may have lost what it acknowledged: all MLS state counts as old"
        );
        engine.distrust_state().await?;
    }
    if let Err(error) = engine.start().await {
        engine.stop().await;
        return Err(error.into());
    }
    Ok(engine)
}

async fn serve(config: Config, restored: bool) -> Result<(), RuntimeError> {
    let ground = prepare(&config).await?;
    let certificates = config.to_mimi_settings()?.periods()?;
    let opened = open_store_soon(&config, restored).await?;
    let report = opened.report;
    tracing::info!(generation = report.generation, unclean_stop = report.unclean_stop, "the store is open");
    let started = async {
        let assets = assets::open(&config, &opened.database, Arc::clone(&ground.peers)).await?;
        let engine = start_engine(&config, &opened, &ground, &assets).await?;
        Ok((assets, engine))
    };
    let (assets, engine) = match started.await {
        Ok(started) => started,
        Err(error) => {
            // Nothing was served: the next start has nothing to repair.
            if let Err(error) = opened.database.store().close().await {
                tracing::warn!(%error, "the store was not closed in good order");
            }
            return Err(error);
        }
    };
    let database = opened.database;
    let Ground { matrix_names, hs_token, homeserver, provider, appservice, provisioning, mut signals, .. } = ground;
    let stop = CancellationToken::new();
    let control = tokio::spawn(control(&config.store.path, engine.clone(), stop.clone()));
    let matrix_settings = config.to_matrix_settings();
    let limits = matrix_settings.server_limits();
    let app = matrix::router(Arc::new(engine.clone()), matrix_names, &hs_token, limits.clone());
    let appservice_address = matrix_settings.listen;
    let appservice = tokio::spawn(matrix::serve(appservice, app, limits, stop.clone()));
    let sweep = tokio::spawn(assets::sweep(Arc::clone(&assets), stop.clone()));
    let provider = provider.serve_with_assets(Arc::new(engine.clone()), Some(assets));
    let provider_address = provider.local_addr().map_or_else(|error| error.to_string(), |address| address.to_string());
    let provider = tokio::spawn(provider.run(stop.clone()));
    let provisioning = tokio::spawn(provision(provisioning, engine.clone(), stop.clone()));
    let registration = matrix_settings.registration.clone();
    let heartbeat = tokio::spawn(heartbeat::run(homeserver, engine.clone(), registration, stop.clone()));
    let watch = tokio::spawn(watch::run(certificates, stop.clone()));
    let domain = config.provider_domain()?;
    tracing::info!(appservice = %appservice_address, provider = provider_address, %domain, "mimi-gateway is up");

    let failed = tokio::select! {
        () = signals.told() => {
            tracing::info!("stopping");
            None
        }
        why = database.store().failed() => {
            tracing::error!(
                why,
                "the store failed, so the gateway ends itself; nothing that it acknowledged is lost. Look at the disk (space, file \
                 size limits, the kernel's log), then start it again: a service manager that restarts it does so by itself"
            );
            Some(why)
        }
    };
    stop.cancel();
    let ending = async {
        for task in [
            appservice_done(appservice).await,
            provider.await.map_err(|e| e.to_string()),
            heartbeat.await.map_err(|e| e.to_string()),
            watch.await.map_err(|e| e.to_string()),
            sweep.await.map_err(|e| e.to_string()),
            control.await.map_err(|e| e.to_string()),
            provisioning.await.map_err(|e| e.to_string()),
        ] {
            if let Err(error) = task {
                tracing::warn!(error, "a task ended badly");
            }
        }
        engine.stop().await;
    };
    if let Some(why) = failed {
        // Whatever hangs on the store goes with the process.
        let _ = tokio::time::timeout(LAST_WAIT, ending).await;
        return Err(RuntimeError::StoreFailed(why));
    }
    ending.await;
    drop(engine);
    let stats = database.store().stats();
    for (name, done) in &stats.transactions {
        tracing::debug!(name, committed = done.committed, bytes = done.bytes, longest = ?done.longest, "batches since the start");
    }
    tracing::debug!(syncs = stats.groups, largest = stats.largest_group, "syncs since the start");
    database.store().close().await.map_err(|error| RuntimeError::StoreFailed(error.to_string()))?;
    tracing::info!("stopped");
    Ok(())
}

/// Makes the control socket, to be served then. The gateway does its work without one, too.
fn control(data: &std::path::Path, engine: Engine, stop: CancellationToken) -> impl Future<Output = ()> + use<> {
    let socket = ControlSocket::bind(data)
        .inspect_err(|error| {
            tracing::warn!(%error, "no control socket: commands such as `rooms` work only while the gateway is stopped");
        })
        .ok();
    async move {
        if let Some(socket) = socket {
            admin::serve(socket, admin::router(engine), stop).await;
        }
    }
}

/// Serves the provisioning API, if there is one.
async fn provision(api: Option<(TcpListener, provision::Settings)>, engine: Engine, stop: CancellationToken) {
    let Some((listener, settings)) = api else { return };
    let address = listener.local_addr().map_or_else(|error| error.to_string(), |address| address.to_string());
    tracing::info!(address, "the provisioning API is up; whoever has its secret acts for every user");
    provision::serve(listener, provision::router(engine, &settings), stop).await;
}

async fn appservice_done(task: tokio::task::JoinHandle<std::io::Result<()>>) -> Result<(), String> {
    task.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

/// SIGTERM and SIGINT, heard from when this is made.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, RuntimeError> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(io("listening for SIGTERM"))?,
            interrupt: signal(SignalKind::interrupt()).map_err(io("listening for SIGINT"))?,
        })
    }

    /// Waits for one of them.
    async fn told(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
