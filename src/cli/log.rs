//! Starts logging as `[log]` says. Lines go to the standard error stream; standard output is for answers.

use std::io::IsTerminal as _;

use tracing_subscriber::{EnvFilter, fmt};

use crate::config::{LogConfig, LogFormat};

/// Starts logging for the process. A second call has no effect.
pub(super) fn start(config: &LogConfig) {
    // The filter was checked with the configuration.
    let filter = EnvFilter::try_new(&config.filter).unwrap_or_default();
    // Colours are for people: a log file or the journal gets none.
    let colours = std::io::stderr().is_terminal();
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    let started = match config.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    if started.is_err() {
        tracing::debug!("logging was already started");
    }
}
