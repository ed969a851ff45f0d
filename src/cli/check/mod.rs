//! `mimi-gateway check`: is everything in place, and if not, what to do.
//!
//! ```text
//! configuration -> registration -> store -> certificates -> ports -> peers -> clock + homeserver -> token -> ping
//! ```
//! A check whose ground is missing is skipped and says so; all others go on, so that one run shows all there is to do.

mod certificates;
mod homeserver;
mod report;
mod responder;
#[cfg(test)]
mod tests;

use std::{io::Write as _, os::unix::fs::PermissionsExt as _, path::Path};

use tokio::net::TcpListener;

use super::{exit::Exit, sentence};
use crate::{
    config::{Config, ConfigError, Secret, StoreEngine},
    ident::ProviderDomain,
    matrix::{
        Credentials,
        registration::{Expected, Registration},
    },
    mimi::{MimiPeers, Settings},
    runtime::{RuntimeError, listen_advice, look_at_store, registration_advice, store_advice, unix_seconds},
    store::Look,
};
use report::Report;

/// Runs all checks, prints a line for each as it ends, and answers the exit code.
pub(super) fn run(path: &Path, offline: bool, strict: bool) -> Exit {
    let mut tell = |line: &report::Line| {
        // A closed pipe does not change the exit code.
        let _ = writeln!(std::io::stdout(), "{line}");
    };
    let mut report = Report::new(&mut tell);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            report.fail(Exit::Failure, "start", e.to_string(), "Check this process's limits");
            return report.exit(strict);
        }
    };
    runtime.block_on(all(path, offline, &mut report));
    report.exit(strict)
}

async fn all(path: &Path, offline: bool, report: &mut Report<'_>) {
    let Some(config) = configuration(path, report) else { return };
    let credentials = registration(&config, report);
    let in_use = store(&config, report);
    match config.provider_domain() {
        Ok(domain) => certificates::check(&config, &domain, unix_seconds(), report),
        Err(e) => report.fail(Exit::Config, "configuration", e.to_string(), ""),
    }
    let ready = mimi_edge(&config, report);
    listening(&config, in_use, report).await;
    if offline {
        for (class, name) in [
            (Exit::Certificate, "peer"),
            (Exit::Clock, "clock"),
            (Exit::Homeserver, "homeserver"),
            (Exit::Appservice, "token"),
            (Exit::Appservice, "ping"),
        ] {
            report.skip(class, name, "not asked for (--offline)");
        }
        return;
    }
    if let Some(settings) = ready {
        peers(&settings, report).await;
    }
    homeserver::check(&config, credentials.as_ref(), report).await;
}

/// Whether any user of the machine may read this file. `false` if that cannot be told.
fn others_can_read(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|data| data.permissions().mode() & 0o004 != 0)
}

fn configuration(path: &Path, report: &mut Report<'_>) -> Option<Config> {
    match Config::load(path) {
        Ok(config) => {
            report.ok(Exit::Config, "configuration", format!("{} reads well", path.display()));
            denied_peers(&config, report);
            Some(config)
        }
        Err(ConfigError::Several(faults)) => {
            for fault in faults {
                report.fail(Exit::Config, "configuration", sentence("", &fault), "");
            }
            None
        }
        Err(fault) => {
            report.fail(Exit::Config, "configuration", sentence("", &fault), "");
            None
        }
    }
}

/// Peers with whom `[envelope]` lets nobody talk: one of the two is a mistake.
fn denied_peers(config: &Config, report: &mut Report<'_>) {
    let denied = |domain: &&ProviderDomain| !config.envelope.admits(domain);
    for domain in config.peers.iter().filter(|(_, peer)| peer.allowed).map(|(domain, _)| domain).filter(denied) {
        let advice = "Remove the peer, or let `envelope.providers` and `envelope.deny_providers` admit it";
        let why =
            format!("{domain} is a peer, and [envelope] denies it: nothing goes there, and nothing comes from there");
        report.warn(Exit::Config, "envelope", why, advice);
    }
}

/// Checks the registration against the configuration; answers the credentials that the gateway would use.
fn registration(config: &Config, report: &mut Report<'_>) -> Option<Credentials> {
    let (class, name) = (Exit::Registration, "registration");
    let path = &config.appservice.registration;
    let settings = config.to_matrix_settings();
    let file = match Registration::load(path) {
        Ok(file) => Some(file),
        // Tokens may come from elsewhere, where the homeserver's copy cannot be read here.
        Err(_) if !path.exists() && settings.as_token.is_some() => {
            report.skip(class, name, format!("{} is not here; tokens come from the configuration", path.display()));
            None
        }
        Err(e) => {
            report.fail(class, name, sentence("", &e), capital(&registration_advice(&e)));
            return None;
        }
    };
    if let Some(file) = &file {
        let url = config.appservice.public_url();
        let faults = file.check_against(&Expected {
            server_name: &config.homeserver.server_name,
            sender_localpart: config.appservice.sender_localpart.as_deref(),
            as_token: config.appservice.as_token.as_ref().map(Secret::expose),
            hs_token: config.appservice.hs_token.as_ref().map(Secret::expose),
            url: Some(&url),
        });
        if faults.is_empty() {
            report.ok(class, name, format!("{} fits the configuration", path.display()));
        }
        for fault in faults {
            report.fail(class, name, fault, "");
        }
        if others_can_read(path) {
            let advice = format!("It holds tokens: run `chmod o-rwx {}`", path.display());
            report.warn(class, name, format!("{} can be read by every user", path.display()), advice);
        }
    }
    match settings.credentials(file.as_ref()) {
        Ok(credentials) => Some(credentials),
        Err(e) => {
            report.fail(class, name, e.to_string(), "");
            None
        }
    }
}

/// Looks into the store without changing anything. Answers whether a process has it.
fn store(config: &Config, report: &mut Report<'_>) -> bool {
    let (class, name) = (Exit::Store, "store");
    let here = format!("{} in {}", config.store.engine.as_str(), config.store.path.display());
    let looked = look_at_store(config);
    match &looked {
        Ok(Look::New) => report.ok(class, name, format!("{here} will be created at the first start")),
        Ok(Look::InUse) => report.ok(class, name, format!("{here} is in use by a running gateway; not looked into")),
        Ok(Look::Ready { unclean_stop: false }) => report.ok(class, name, format!("{here} opens with this master key")),
        Ok(Look::Ready { unclean_stop: true }) => report.ok(
            class,
            name,
            format!("{here} opens with this master key; the last stop was a crash or a kill, which the next start deals with"),
        ),
        Ok(Look::TooLarge) => {
            report.skip(class, name, format!("{here} is too large to be looked into without opening it; the start does"));
        }
        Err(RuntimeError::Store(e)) => {
            let advice = store_advice(e).map(capital).unwrap_or_default();
            report.fail(class, name, format!("{here}: {e}"), advice);
        }
        Err(e) => report.fail(class, name, e.to_string(), ""),
    }
    if config.store.engine == StoreEngine::Sled {
        let advice = "Use sqlite unless you have a reason; after an unclean stop rooms are re-keyed before they send";
        report.warn(class, name, "sled 0.34 can lose acknowledged writes in a power cut", advice);
    }
    for (name, file) in [
        ("master key", &config.store.master_key_file),
        ("admin token", &config.homeserver.admin_token_file),
        ("provisioning secret", &config.provisioning.shared_secret_file),
    ] {
        if let Some(file) = file.as_deref().filter(|file| others_can_read(file)) {
            let advice = format!("Run `chmod o-rwx {}`", file.display());
            report.warn(Exit::Config, name, format!("{} can be read by every user", file.display()), advice);
        }
    }
    matches!(looked, Ok(Look::InUse))
}

/// Whether the gateway can listen where it shall. A gateway that runs has these ports rightly.
async fn listening(config: &Config, in_use: bool, report: &mut Report<'_>) {
    let provisioning = config.provisioning.settings().map(|_| ("provisioning.listen", config.provisioning.listen));
    for (setting, address) in
        [("appservice.listen", config.appservice.listen), ("provider.listen", config.provider.listen)]
            .into_iter()
            .chain(provisioning)
    {
        let (class, name) = (Exit::Listen, "port");
        match TcpListener::bind(address).await {
            Ok(_) => report.ok(class, name, format!("{address} is free (`{setting}`)")),
            Err(e) if in_use && e.kind() == std::io::ErrorKind::AddrInUse => {
                report.ok(class, name, format!("{address} is in use by the running gateway (`{setting}`)"));
            }
            Err(e) => {
                let advice = capital(&listen_advice(setting, &e));
                report.fail(class, name, format!("cannot listen on {address} (`{setting}`): {e}"), advice);
            }
        }
    }
}

/// With a capital at its beginning, as a sentence of its own.
fn capital(advice: &str) -> String {
    let mut letters = advice.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// What the MIMI edge itself says of its settings, once the files behind them are known to be readable.
fn mimi_edge(config: &Config, report: &mut Report<'_>) -> Option<Settings> {
    let (class, name) = (Exit::Certificate, "mutual TLS");
    if report.failed(class) {
        report.skip(class, name, "see the certificates above");
        return None;
    }
    let settings = config.to_mimi_settings().map_err(|e| e.to_string());
    match settings.and_then(|s| s.validate().map(|()| s).map_err(|e| sentence("", &e))) {
        Ok(settings) => {
            let count = settings.peers.values().filter(|peer| peer.allowed).count();
            let peers = if count == 1 { "1 peer".to_owned() } else { format!("{count} peers") };
            report.ok(class, name, format!("ready for {peers}"));
            Some(settings)
        }
        Err(why) => {
            report.fail(class, name, why, "");
            None
        }
    }
}

/// Whether each peer is there and believes our certificate. A warning at most: what goes to a peer that is away waits.
async fn peers(settings: &Settings, report: &mut Report<'_>) {
    let (class, name) = (Exit::Certificate, "peer");
    let Ok(clients) = MimiPeers::new(settings) else { return };
    for (domain, peer) in &settings.peers {
        if !peer.allowed {
            report.skip(class, name, format!("{domain} is cut off (allowed = false)"));
            continue;
        }
        match clients.probe(domain).await {
            Ok(()) => report.ok(class, name, format!("{domain} is there and believes our certificate")),
            Err(why) => {
                let advice = "Is it running, does `address` lead to it, is `ca` its authority, and does it have our domain and our authority among its peers?";
                report.warn(class, name, format!("{domain}: {why}"), advice);
            }
        }
    }
}
