//! Commands of the binary: `run`, `registration`, `check`, `rooms`, `quarantine`, `version`.

mod check;
mod exit;
mod log;
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
    #[command(after_help = "Example:\n  mimi-gateway --config /etc/mimi-gateway/mimi-gateway.toml run")]
    Run {
        /// The store was restored from a backup: give this once, at the first start after it. All MLS state counts as old, so
        /// every user's leaf is made fresh before it sends again, and KeyPackages that were given out are dropped.
        #[arg(long)]
        restored: bool,
    },
    /// Make the registration file that the homeserver and the gateway share.
    ///
    /// Tokens are random, the file can be read by its owner only, and an existing file is never overwritten. Name the
    /// file in the homeserver's configuration (Synapse: `app_service_config_files`) and restart the homeserver.
    #[command(
        after_help = "Examples:\n  mimi-gateway registration\n  mimi-gateway registration --out /etc/synapse/mimi.yaml --url http://gateway:29319\n\nExit codes: 3 configuration, 4 the file exists or cannot be written."
    )]
    Registration {
        /// Where to write it. Default: `appservice.registration` of the configuration. `-` is standard output.
        #[arg(long, short, value_name = "FILE")]
        out: Option<PathBuf>,
        /// The URL under which the homeserver reaches the gateway. Default: `appservice.url` of the configuration.
        #[arg(long, value_name = "URL")]
        url: Option<Url>,
    },
    /// Check settings, registration, certificates, clock and the way to the homeserver and back.
    ///
    /// Prints one line for each check: ok, warn or FAIL, and what to do about it. While it runs it answers the
    /// homeserver's ping in the gateway's place, unless the gateway itself is running.
    #[command(after_help = exit::HELP)]
    Check {
        /// Only what can be told without the network: no clock, homeserver or ping.
        #[arg(long)]
        offline: bool,
    },
    /// List the bridged rooms.
    #[command(after_help = "Examples:\n  mimi-gateway rooms\n  mimi-gateway rooms --json | jq -r .mimi_room")]
    Rooms {
        /// One JSON object a line instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// List what could not be worked on or delivered and was set aside.
    #[command(after_help = "Examples:\n  mimi-gateway quarantine\n  mimi-gateway quarantine --json | jq -r .why")]
    Quarantine {
        /// One JSON object a line instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Show the version, the drafts it implements and the store engines it has.
    Version,
}

/// A command that failed: its class, what was tried, and why.
#[derive(Debug)]
struct CliError {
    exit: Exit,
    what: String,
    source: Box<dyn Error + Send + Sync>,
}

impl CliError {
    fn new(exit: Exit, what: impl Into<String>, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { exit, what: what.into(), source: source.into() }
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
            eprintln!("error: {}", sentence(&e.what, e.source.as_ref()));
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
            runtime::run(config, *restored).map_err(|e| CliError::new(exit_of(&e), "the gateway stopped", e))?;
        }
        Command::Registration { out, url } => registration::run(&load()?, out.as_deref(), url.as_ref())?,
        Command::Check { offline } => return Ok(check::run(&cli.config, *offline)),
        Command::Rooms { json } => rooms::run(&load()?, *json)?,
        Command::Quarantine { json } => quarantine::run(&load()?, *json)?,
        Command::Version => print!("{}", version::text()),
    }
    Ok(Exit::Success)
}

/// The class of what ended the gateway.
fn exit_of(error: &RuntimeError) -> Exit {
    match error {
        RuntimeError::Config(_) => Exit::Config,
        RuntimeError::Registration(_) | RuntimeError::Settings(_) => Exit::Registration,
        RuntimeError::Store(_) | RuntimeError::Assets(_) | RuntimeError::Asking { .. } => Exit::Store,
        RuntimeError::StoreFailed(_) => Exit::StoreFailed,
        RuntimeError::Provider(_) | RuntimeError::Client(_) | RuntimeError::Bot(_) | RuntimeError::Io { .. } => {
            Exit::Failure
        }
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
