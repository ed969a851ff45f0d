//! A small native MIMI provider: an instant-messaging service with users and rooms of its own, and no Matrix.
//!
//! It is the shortest way from a silo that exists to MIMI: this crate's engine does all of the protocol, as hub and as
//! follower; the silo implements one port, [`Homeserver`](mimi_gateway::engine::ports::Homeserver), over its own chat
//! (`silo/chat.rs`, `silo/port.rs`), and hands the engine what its users do.
//!
//! ```text
//! silo --env target/silos/env.json                   as the spare peer c.example of `make silos`
//! silo --domain c.example --listen 127.0.0.1:8450 --certificate c.pem --private-key c-key.pem \
//!      --peer a.example=127.0.0.1:8449=ca.pem --store c-data
//! ```
//! Commands on standard input, each answered by one JSON object on standard output; what happens comes as objects with `event`:
//! ```text
//! user NAME            be NAME from now on, who is registered if need be
//! room [preset=PRESET] TITLE   make a room and mirror it: this provider is its hub. PRESET says which roles it has, for good:
//!                      cooperative, strict, moderated, multi-organization (the examples of room-policy-03) or auditorium
//! invite WHO           ask somebody in: a name of ours, or mimi://provider/u/name
//! invitations          the rooms into which one is asked
//! accept [ROOM]        come in
//! in ROOM              what follows is about this room
//! say TEXT, leave, remove WHO, ban WHO, unban WHO, rename TITLE, title, members, log
//! level WHO NUMBER     what somebody may do; in a room with a preset, which role they have (docs/membership.md)
//! open, close          anybody may come in; only who is asked
//! join ROOM [CODE]     asks for a way into an open room, mimi://provider/r/id, or one for which one has a code
//! direct WHO           begins a chat of two
//! help                 the commands, and the presets
//! fingerprint          epoch authenticator, and hashes of list and log
//! ```
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "an example: what cannot be is a panic with a place")]

#[path = "silo/acts.rs"]
mod acts;
#[path = "silo/chat.rs"]
mod chat;
#[path = "silo/client.rs"]
mod client;
mod common;
#[path = "silo/port.rs"]
mod port;

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, Write as _},
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::Parser;
use mimi_gateway::{
    engine::{Engine, EngineSettings, GatewayNames, Keep, rights::Rights},
    ident::{IdentityMap, ProviderDomain},
    mimi::{AssetSettings, Limits, Listening, MimiPeers, PemSource, Settings},
    store::{self, EngineChoice, MasterKey, OpenOptions},
};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use chat::Chat;
use client::Client;
use common::Failure;

#[derive(Parser)]
#[command(about = "A small native MIMI provider")]
struct Arguments {
    /// Be the spare peer of this environment (`make silos`).
    #[arg(long, value_name = "ENV_JSON", conflicts_with_all = ["domain", "listen", "certificate", "private_key", "peers"])]
    env: Option<PathBuf>,
    /// The provider's domain.
    #[arg(long, required_unless_present = "env")]
    domain: Option<String>,
    /// Where peers find it.
    #[arg(long, required_unless_present = "env")]
    listen: Option<SocketAddr>,
    /// The certificate chain for the domain, for server and client use (PEM).
    #[arg(long, required_unless_present = "env")]
    certificate: Option<String>,
    /// Its key (PEM).
    #[arg(long, required_unless_present = "env")]
    private_key: Option<String>,
    /// A peer: DOMAIN=ADDRESS=CA, the latter a PEM file.
    #[arg(long = "peer", value_name = "DOMAIN=ADDRESS=CA")]
    peers: Vec<String>,
    /// Where everything is kept; beside `env.json` unless told.
    #[arg(long, required_unless_present = "env")]
    store: Option<PathBuf>,
}

/// Who we are, whom we know, and where we keep things.
fn settings(arguments: Arguments) -> Result<(Settings, PathBuf), Failure> {
    if let Some(env) = arguments.env {
        let text: Value = serde_json::from_slice(&fs::read(&env)?)?;
        let beside = || env.with_file_name("silo-c");
        return Ok((common::spare_peer(&text)?, arguments.store.unwrap_or_else(beside)));
    }
    let mut peers = BTreeMap::new();
    for peer in &arguments.peers {
        let mut parts = peer.splitn(3, '=');
        let (Some(domain), Some(address), Some(ca)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(format!("--peer {peer}: DOMAIN=ADDRESS=CA is wanted").into());
        };
        peers.insert(ProviderDomain::parse(domain)?, common::peer(ca, address.to_owned()));
    }
    let missing = "without --env, all of it is needed";
    let (domain, listen) = (arguments.domain.ok_or(missing)?, arguments.listen.ok_or(missing)?);
    let settings = Settings {
        public_url: Some(format!("https://{domain}:{}", listen.port()).parse()?),
        own_domain: ProviderDomain::parse(&domain)?,
        listen,
        certificate: PemSource::new(arguments.certificate.ok_or(missing)?),
        private_key: PemSource::new(arguments.private_key.ok_or(missing)?),
        limits: Limits::default(),
        assets: AssetSettings::default(),
        peers,
    };
    Ok((settings, arguments.store.ok_or(missing)?))
}

/// The key with which the store seals what is secret; made at the first start.
fn master_key(dir: &Path) -> Result<MasterKey, Failure> {
    let path = dir.join("master.key");
    if !path.exists() {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|error| error.to_string())?;
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(&key)?;
        file.sync_all()?;
    }
    let key = <[u8; 32]>::try_from(fs::read(&path)?).map_err(|_| "master.key does not have 32 bytes")?;
    Ok(MasterKey::from_bytes(key))
}

fn engine_settings() -> EngineSettings {
    EngineSettings {
        quiet: Duration::from_secs(3),
        gap_check: Duration::from_mins(5),
        suspicion: Duration::from_secs(15),
        tick: Duration::from_hours(1),
        retry: Duration::from_millis(200),
        open_invitations: 1_000,
        catch_up: Duration::from_secs(30),
        gather: Duration::ZERO,
        patience: Duration::from_millis(25),
        settle: Duration::from_millis(30),
        most_unread: 1000,
        keep: Keep { days: 90, day: Duration::from_hours(24) },
        searches_per_hour: 100,
        report_poll: Duration::from_mins(1),
        admin_room: None,
        ghosts_per_minute: 6_000,
        rights: Arc::new(Rights::anything()),
        lookups_per_minute: 60,
        rooms_per_peer: 10_000,
        envelope: Arc::default(),
    }
}

fn line(value: &Value) {
    println!("{value}");
}

async fn serve(settings: Settings, dir: PathBuf) -> Result<(), Failure> {
    fs::create_dir_all(&dir)?;
    let map = IdentityMap::new(settings.own_domain.clone(), settings.own_domain.as_str().try_into()?);
    let (clients, mut told) = mpsc::unbounded_channel();
    let chat = Arc::new(Chat::open(map.clone(), Some(&dir), clients)?);
    let opened = store::open(&OpenOptions::new(EngineChoice::Sqlite, dir.join("store"), master_key(&dir)?))?;
    let peers = Arc::new(MimiPeers::new(&settings)?);
    let provider = Listening::bind(&settings).await?;
    let names = GatewayNames::new(map, chat.bot.clone(), 500);
    let database = opened.database.clone();
    let homeserver = Arc::clone(&chat);
    let engine = Engine::load(database, homeserver, peers, names, engine_settings()).await?;
    if engine.must_distrust(opened.report.stale_before).await? {
        engine.distrust_state().await?;
    }
    engine.start().await?;

    let stop = CancellationToken::new();
    let provider = tokio::spawn(provider.serve(Arc::new(engine.clone())).run(stop.clone()));
    let (fed, feeder) = (Arc::clone(&chat), engine.clone());
    let feeding = tokio::spawn(async move { fed.feed(&feeder).await });
    let telling = tokio::spawn(async move {
        while let Some(told) = told.recv().await {
            line(&json!(told));
        }
    });
    line(&json!({ "ready": true }));
    let mut client = Client::new(chat, engine.clone());
    let (lines, mut commands) = mpsc::channel(1);
    std::thread::spawn(move || {
        for command in std::io::stdin().lock().lines().map_while(Result::ok) {
            if lines.blocking_send(command).is_err() {
                break;
            }
        }
    });
    while let Some(command) = commands.recv().await {
        if !command.trim().is_empty() {
            line(&client.obey(&command).await.unwrap_or_else(|error| json!({ "error": error })));
        }
    }
    stop.cancel();
    provider.await?;
    engine.stop().await;
    feeding.abort();
    telling.abort();
    opened.database.store().close().await?;
    Ok(())
}

fn main() -> Result<(), Failure> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let (settings, dir) = settings(Arguments::parse())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(serve(settings, dir))
}
