//! Commands of the binary: `run`, `registration`, `check`, `rooms`, `mirror`, `quarantine`, `inspect`, `version`.

mod check;
mod exit;
pub mod inspect;
mod log;
mod mirror;
mod quarantine;
mod registration;
mod rooms;
mod table;
mod version;

use std::{error::Error, ffi::OsString, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use url::Url;

pub use exit::Exit;
pub use version::DRAFTS;

use crate::{
    config::Config,
    matrix::ClientError,
    mimi::SetupError,
    runtime::{self, RuntimeError},
};

/// What stands on the command line.
#[derive(Debug, Parser)]
#[command(
    name = "mimi-gateway",
    version,
    about = "A Matrix application service that mirrors Matrix rooms as IETF MIMI rooms, as hub or as follower.",
    after_help = exit::HELP,
    after_long_help = exit::long_help(),
    disable_help_subcommand = true,
    arg_required_else_help = true
)]
struct Cli {
    /// The configuration file.
    #[arg(
        long,
        short,
        global = true,
        value_name = "FILE",
        env = "MIMI_GATEWAY_CONFIG",
        default_value = "mimi-gateway.toml"
    )]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway until SIGINT or SIGTERM.
    ///
    /// The log goes to standard error. A start that fails changes nothing in the store, and ends with the code of what is
    /// wrong. Whether the homeserver and the peers are there does not matter: the gateway waits for them, and says so.
    #[command(after_help = exit::RUN, after_long_help = exit::RUN)]
    Run {
        /// The store was restored from a backup: give this once, at the first start after it.
        ///
        /// All MLS state counts as old then: every user's leaf is made fresh before it sends again, and KeyPackages that were
        /// given out are dropped.
        #[arg(long)]
        restored: bool,
    },
    /// Make the registration file that the homeserver and the gateway share.
    ///
    /// Tokens are random, the file can be read by its owner only, and an existing file is never overwritten. Name the
    /// file in the homeserver's configuration (Synapse: `app_service_config_files`) and restart the homeserver.
    #[command(after_help = exit::REGISTRATION, after_long_help = exit::REGISTRATION)]
    Registration {
        /// Where to write it, `-` for standard output [default: `appservice.registration` of the configuration].
        #[arg(long, short, value_name = "FILE")]
        out: Option<PathBuf>,
        /// The URL under which the homeserver reaches the gateway [default: `appservice.url` of the configuration].
        #[arg(long, value_name = "URL")]
        url: Option<Url>,
    },
    /// Check everything that `run` needs, and say what to do about what is wrong.
    ///
    /// Looks at settings, registration, store, certificates, ports, peers, clock, and the way to the homeserver and back; prints
    /// one line for each: ok, warn, FAIL, or skip where something else has to work first. Nothing is changed. While it
    /// runs it answers the homeserver's ping in the gateway's place, unless the gateway itself is running.
    #[command(after_help = exit::CHECK, after_long_help = exit::CHECK)]
    Check {
        /// Only what can be told without the network: no peers, clock, homeserver or ping.
        #[arg(long)]
        offline: bool,
        /// Warnings count as failures: for scripts.
        #[arg(long)]
        strict: bool,
    },
    /// List the bridged rooms.
    ///
    /// Asks the gateway if it runs, and reads the store otherwise. Run it as the gateway's user.
    #[command(after_help = exit::ROOMS, after_long_help = exit::ROOMS)]
    Rooms {
        /// One JSON object a line instead of a table. What a room does not have is left out.
        #[arg(long)]
        json: bool,
        /// What must be the same at every provider of a room that is at rest, as one JSON object a line: epoch, epoch
        /// authenticator, and hashes of the participant list and of the messages in the hub's order. Reads every message's row.
        #[arg(long)]
        fingerprints: bool,
    },
    /// Mirror many Matrix rooms at once: look first, then do it, watch it, take it back.
    ///
    /// Without --yes nothing is changed: each room is looked at, and what forbids mirroring it, what it needs first and what it
    /// will lose is shown. The gateway has to run: it does the work, as a job that goes on after a restart of the gateway and when
    /// this command ends. Run it as the gateway's user.
    #[command(after_help = exit::MIRROR, after_long_help = exit::MIRROR)]
    Mirror(mirror::Arguments),
    /// List what could not be worked on or delivered and was set aside.
    ///
    /// Asks the gateway if it runs, and reads the store otherwise. Run it as the gateway's user.
    #[command(after_help = exit::QUARANTINE, after_long_help = exit::QUARANTINE)]
    Quarantine {
        /// One JSON object a line instead of a table. What an entry does not have is left out.
        #[arg(long)]
        json: bool,
    },
    /// Show any MIMI body as JSON, and make the bytes of JSON again.
    ///
    /// Reads a request or response of any endpoint, a room's components, or a decrypted message. What the file holds is
    /// guessed if it can be only one thing; else the kinds that fit are told: say --as KIND. Needs no configuration, and checks no signature.
    #[command(after_help = exit::INSPECT)]
    Inspect(inspect::Arguments),
    /// Show the version, the drafts it implements and the store engines it has.
    #[command(after_help = exit::VERSION, after_long_help = exit::VERSION)]
    Version,
}

/// A command that failed: its class, what was tried, and why.
#[derive(Debug)]
struct CliError {
    exit: Exit,
    what: String,
    source: Box<dyn Error + Send + Sync>,
    advice: Option<String>,
}

impl CliError {
    fn new(exit: Exit, what: impl Into<String>, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { exit, what: what.into(), source: source.into(), advice: None }
    }

    /// With the code and the advice that belong to the error.
    fn of_runtime(what: &str, error: RuntimeError) -> Self {
        let (exit, advice) = (exit_of(&error), error.advice());
        Self { advice, ..Self::new(exit, what, error) }
    }
}

/// One sentence with its causes: `what: why: because`. A cause that its parent already tells is not told twice.
fn sentence(what: &str, error: &(dyn Error + 'static)) -> String {
    let mut text = if what.is_empty() { error.to_string() } else { format!("{what}: {error}") };
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

/// Parses the command line and runs the chosen command.
#[must_use]
pub fn main() -> ExitCode {
    run(std::env::args_os()).into()
}

/// As [`main`], with the arguments given (the first is the program's name).
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(e) => {
            // Help and version are "errors" that go to standard output. A closed pipe is nobody's fault.
            let _ = e.print();
            return if e.use_stderr() { Exit::Usage } else { Exit::Success };
        }
    };
    match dispatch(&cli) {
        Ok(exit) => exit,
        Err(e) => {
            let advice = e.advice.map(|advice| format!(". What to do: {advice}")).unwrap_or_default();
            eprintln!("error: {}{advice}", sentence(&e.what, e.source.as_ref()));
            e.exit
        }
    }
}

fn dispatch(cli: &Cli) -> Result<Exit, CliError> {
    let load = || Config::load(&cli.config).map_err(|e| CliError::new(Exit::Config, "", e));
    match &cli.command {
        Command::Run { restored } => {
            let config = load()?;
            log::start(&config.log);
            runtime::run(config, *restored).map_err(|e| {
                let stopped = matches!(e, RuntimeError::StoreFailed(_));
                CliError::of_runtime(if stopped { "the gateway stopped" } else { "the gateway did not start" }, e)
            })?;
        }
        Command::Registration { out, url } => registration::run(&load()?, out.as_deref(), url.as_ref())?,
        Command::Check { offline, strict } => return Ok(check::run(&cli.config, *offline, *strict)),
        Command::Rooms { fingerprints: true, .. } => rooms::fingerprints(&load()?)?,
        Command::Rooms { json, .. } => rooms::run(&load()?, *json)?,
        Command::Mirror(arguments) => return mirror::run(&load()?, arguments),
        Command::Quarantine { json } => quarantine::run(&load()?, *json)?,
        Command::Inspect(arguments) => inspect::run(arguments)?,
        Command::Version => print!("{}", version::text()),
    }
    Ok(Exit::Success)
}

/// The class of what ended the gateway, or a command.
fn exit_of(error: &RuntimeError) -> Exit {
    match error {
        RuntimeError::Config(_) | RuntimeError::Provider(SetupError::PublicUrl(_)) => Exit::Config,
        RuntimeError::Registration(_)
        | RuntimeError::Settings(_)
        | RuntimeError::Client(ClientError::Token)
        | RuntimeError::Bot(_) => Exit::Registration,
        RuntimeError::Provider(SetupError::Listen { .. }) | RuntimeError::Listen { .. } => Exit::Listen,
        RuntimeError::Provider(_) => Exit::Certificate,
        RuntimeError::Store(_) | RuntimeError::Assets(_) | RuntimeError::Spool(_) | RuntimeError::Asking { .. } => {
            Exit::Store
        }
        RuntimeError::StoreFailed(_) => Exit::StoreFailed,
        RuntimeError::Client(ClientError::Http(_)) | RuntimeError::Io { .. } => Exit::Failure,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn causes_are_told_once() {
        let inner = std::io::Error::other("disk full");
        let outer = crate::config::ConfigError::Unreadable { path: "x".into(), source: inner };
        let text = sentence("cannot start", &outer);
        assert!(text.starts_with("cannot start: cannot read the configuration file x"), "{text}");
        assert!(text.ends_with(": disk full"), "{text}");
    }
}
