//! Wiring and shutdown: the store, the engine and the two edges, from the settings.

mod listing;

use std::{sync::Arc, time::Duration};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use listing::{list_rooms, list_set_aside};

use crate::{
    admin::{self, ControlSocket},
    assets::{AssetError, AssetStore},
    config::{Config, ConfigError, StoreEngine},
    engine::{
        Engine, EngineSettings, GatewayNames, Keep, MayCommand,
        ports::{CallError, Millis},
    },
    ident::IdentityMap,
    matrix::{
        self, ClientError, HomeserverClient, Registration, registration::RegistrationError, settings::SettingsError,
    },
    mimi::{self, Assets, SetupError},
    store::{self, EngineChoice, MasterKey, OpenOptions, Opened, StoreError},
};

/// In a burst the homeserver gathers events for so long. Nobody sees it: they wait less than they would in a queue.
const GATHER: Duration = Duration::from_millis(100);
/// How long a room may be busy before what comes for it goes by way of its inbox.
const PATIENCE: Duration = Duration::from_millis(25);
/// How long a hub's "accepted" waits for others before it is stored.
const SETTLE: Duration = Duration::from_millis(30);
/// How long a room has to be quiet before its timeline is compared with what came.
const QUIET: Duration = Duration::from_secs(3);
/// How often rooms are looked through for leaves to refresh.
const TICK: Duration = Duration::from_hours(1);
/// How long commits that a hub speaks of may take to come: longer than we wait between two tries ourselves.
const CATCH_UP: Duration = Duration::from_secs(30);
/// The first wait after a call or a commit that failed.
const RETRY: Duration = Duration::from_millis(200);
/// A day, as rows count it.
const DAY: Duration = Duration::from_hours(24);
/// How often assets are looked through for those whose time is over.
const SWEEP: Duration = Duration::from_mins(10);
/// How often the homeserver is asked whether it is there.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// How long an end that cannot be in good order may take, step by step.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// Why the gateway could not run. Permanent unless the variant says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The registration file.
    #[error("the registration: {0}")]
    Registration(#[from] RegistrationError),
    /// Tokens are missing or in conflict.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The store.
    #[error("the store: {0}")]
    Store(#[from] StoreError),
    /// The provider side: certificates, peers, listening.
    #[error("the provider side: {0}")]
    Provider(#[from] SetupError),
    /// The assets.
    #[error(transparent)]
    Assets(#[from] AssetError),
    /// The homeserver client.
    #[error("the homeserver client: {0}")]
    Client(#[from] ClientError),
    /// The bot's name is no Matrix id.
    #[error("the bot's user id: {0}")]
    Bot(#[from] ruma::IdParseError),
    /// The store failed while the gateway ran. What it acknowledged is on disk; the next start goes on from there.
    #[error("{0}")]
    StoreFailed(String),
    /// Another process has the store, and did not tell what it holds.
    #[error("another process has the store in {}, and {error}", .data.display())]
    Asking {
        /// The data directory.
        data: std::path::PathBuf,
        /// Why not.
        error: admin::AskError,
    },
    /// Listening, or starting threads.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why not.
        source: std::io::Error,
    },
}

fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> RuntimeError {
    let what = what.into();
    move |source| RuntimeError::Io { what, source }
}

fn open_store(config: &Config, restored: bool) -> Result<Opened, RuntimeError> {
    let engine = match config.store.engine {
        StoreEngine::Sqlite => EngineChoice::Sqlite,
        StoreEngine::Sled => EngineChoice::Sled,
    };
    let key = MasterKey::from_bytes(*config.store.master_key()?);
    let options = OpenOptions { restored, ..OpenOptions::new(engine, &config.store.path, key) };
    Ok(store::open(&options)?)
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
    let registration = Registration::load(&settings.registration)?;
    let credentials = settings.credentials(Some(&registration))?;
    let map = IdentityMap::new(config.provider_domain()?, settings.server_name.clone());
    let bot = ruma::UserId::parse(format!("@{}:{}", credentials.sender_localpart, settings.server_name))?;
    let list = usize::try_from(config.rooms.list_all_members_up_to).unwrap_or(usize::MAX);
    let names = GatewayNames::new(map.clone(), bot, list);
    Ok(Parts { credentials, map: Arc::new(map), names })
}

async fn serve(config: Config, restored: bool) -> Result<(), RuntimeError> {
    let Parts { credentials, map, names } = parts(&config)?;
    let matrix_settings = config.to_matrix_settings();
    let mimi_settings = config.to_mimi_settings()?;
    let Opened { database, report } = open_store(&config, restored)?;
    tracing::info!(generation = report.generation, unclean_stop = report.unclean_stop, "the store is open");
    let matrix_names = matrix::Names::new(map, &credentials.sender_localpart, &matrix_settings.bot_display_name)?;
    let homeserver = Arc::new(HomeserverClient::new(&matrix_settings, &credentials, matrix_names.clone())?);
    let peers = Arc::new(mimi::MimiPeers::new(&mimi_settings)?);
    let permissions = config.permissions.clone();
    let server = matrix_settings.server_name.clone();
    let may_command: MayCommand = Arc::new(move |user| permissions.may_use_bot(user, &server));
    let assets = Arc::new(assets(&config, &mimi_settings, &database, Arc::clone(&peers)).await?);
    let settings = EngineSettings {
        quiet: QUIET,
        gap_check: config.rooms.gap_check_interval(),
        gather: GATHER,
        patience: PATIENCE,
        settle: SETTLE,
        tick: TICK,
        retry: RETRY,
        keep: Keep { days: config.store.keep_days, day: DAY },
        open_invitations: config.limits.max_open_invitations_per_peer,
        catch_up: CATCH_UP,
        admin_room: config.permissions.admin_room.clone(),
        may_command,
    };
    let engine = Engine::load(database.clone(), Arc::clone(&homeserver) as _, peers, names, settings).await?;
    if engine.must_distrust(report.stale_before).await? {
        tracing::warn!(
            "the store comes from a backup, or its engine may have lost what it acknowledged: all MLS state counts as old"
        );
        engine.distrust_state().await?;
    }
    let stop = CancellationToken::new();
    let control = tokio::spawn(control(&config.store.path, engine.clone(), stop.clone()));
    engine.start().await?;

    let provider =
        mimi::Server::bind_with_assets(&mimi_settings, Arc::new(engine.clone()), Some(Arc::clone(&assets))).await?;
    let listen = matrix_settings.listen;
    let listener = TcpListener::bind(listen).await.map_err(io(format!("listening on {listen}")))?;
    let limits = matrix_settings.server_limits();
    let app = matrix::router(Arc::new(engine.clone()), matrix_names, &credentials.hs_token, limits.clone());
    let appservice = tokio::spawn(matrix::serve(listener, app, limits, stop.clone()));
    let provider_address = provider.local_addr().map_err(io("the provider's address"))?;
    let provider = tokio::spawn(provider.run(stop.clone()));
    let sweep = tokio::spawn(sweep(assets, stop.clone()));
    let heartbeat = tokio::spawn(heartbeat(homeserver, engine.clone(), stop.clone()));
    tracing::info!(appservice = %listen, provider = %provider_address, domain = %mimi_settings.own_domain, "mimi-gateway is up");

    let failed = tokio::select! {
        told = stopped() => {
            told?;
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
            control.await.map_err(|e| e.to_string()),
            sweep.await.map_err(|e| e.to_string()),
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
    database.store().close().await?;
    tracing::info!("stopped");
    Ok(())
}

/// Opens our users' assets, and what brings others'.
async fn assets(
    config: &Config,
    settings: &mimi::Settings,
    database: &store::Database,
    peers: Arc<mimi::MimiPeers>,
) -> Result<Assets, RuntimeError> {
    let dir = &config.store.path;
    let quotas = settings.assets.quotas();
    let (store, swept) = AssetStore::open(database.clone(), settings.own_domain.clone(), dir, quotas, now()).await?;
    let (expired, lost, orphans) = (swept.expired, swept.lost, swept.orphans);
    tracing::info!(bytes = store.bytes(), expired, lost, orphans, "the assets are open");
    Ok(Assets::open(settings, peers, store, dir)?)
}

/// Removes assets whose time is over.
async fn sweep(assets: Arc<Assets>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SWEEP) => {}
        }
        match assets.store().sweep(now()).await {
            Ok(swept) => tracing::debug!(expired = swept.expired, "swept the assets"),
            Err(error) => tracing::warn!(%error, "the assets cannot be swept"),
        }
    }
}

fn now() -> Millis {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
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

async fn appservice_done(task: tokio::task::JoinHandle<std::io::Result<()>>) -> Result<(), String> {
    task.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

async fn stopped() -> Result<(), RuntimeError> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).map_err(io("listening for SIGTERM"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(io("listening for SIGINT"))?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Asks the homeserver now and then whether it is there. When it comes (back), it is pinged, which makes it send what it
/// kept, and every room is compared with its timeline, because a homeserver that stopped has lost events (DESIGN 8).
async fn heartbeat(homeserver: Arc<HomeserverClient>, engine: Engine, stop: CancellationToken) {
    let mut away = true;
    let mut told = false;
    let mut beat: u64 = 0;
    let mut last = std::time::Instant::now();
    loop {
        // A process that was stopped meanwhile has been given up by the homeserver, whose next try may be minutes away.
        away |= last.elapsed() > 3 * HEARTBEAT;
        last = std::time::Instant::now();
        let result: Result<(), CallError> = homeserver.versions().await.map(drop);
        match result {
            Ok(()) if away => {
                beat += 1;
                match homeserver.ping(&format!("ping{beat}")).await {
                    Ok(took) => {
                        tracing::info!(took_ms = took.as_millis(), "the homeserver is there and reaches us");
                        away = false;
                        told = false;
                        engine.compare_all();
                    }
                    Err(error) => tracing::warn!(%error, "the homeserver does not reach us; run `mimi-gateway check`"),
                }
            }
            Ok(()) => {}
            Err(error) => {
                if !told {
                    tracing::warn!(%error, "the homeserver does not answer");
                    told = true;
                }
                away = true;
            }
        }
        let wait = if away { Duration::from_secs(1) } else { HEARTBEAT };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}
