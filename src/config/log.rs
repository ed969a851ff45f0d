//! `[log]`: what is logged, and how.

use serde::Deserialize;
use tracing_subscriber::EnvFilter;

use super::error::ConfigError;

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged, and how. Lines go to the standard error stream.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// How a line looks.
    pub format: LogFormat,
    /// A `tracing` filter: a level, or `module=level` pairs separated by commas.
    pub filter: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::default(), filter: "info".to_owned() }
    }
}

impl LogConfig {
    pub(super) fn validate(&self, faults: &mut Vec<ConfigError>) {
        if let Err(e) = EnvFilter::try_new(&self.filter) {
            faults.push(ConfigError::invalid(
                "log.filter",
                format!("{e}; try \"info\" or \"info,mimi_gateway::mimi=debug\""),
            ));
        }
    }
}
