//! What is wrong with a configuration, in sentences that say where and what to do.

use std::{fmt, path::PathBuf};

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The configuration file, with the line (from 1).
    File {
        /// The file as named on the command line.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// An environment variable.
    Environment(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => write!(f, "environment variable {name}"),
        }
    }
}

/// Why a configuration cannot be used. All are permanent: somebody has to edit something.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there or may not be read.
    #[error("cannot read the configuration file {}; name it with --config or MIMI_GATEWAY_CONFIG, or start from config/mimi-gateway.example.toml", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not TOML.
    #[error("{}{}: not valid TOML: {message}", .path.display(), .line.map(|l| format!(":{l}")).unwrap_or_default())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: Option<usize>,
        /// What the parser said.
        message: String,
    },
    /// A key or an environment variable that does not exist.
    #[error("{origin}: unknown key `{key}`{}", hint(.nearest.as_deref()))]
    UnknownKey {
        /// Where it stands.
        origin: Origin,
        /// Dotted path of the key.
        key: String,
        /// The existing key that looks most like it.
        nearest: Option<String>,
    },
    /// A key without which nothing works is absent.
    #[error("`{key}` is missing: {why}")]
    Missing {
        /// Dotted path of the key.
        key: String,
        /// What it is needed for.
        why: String,
    },
    /// A value has the wrong type or form.
    #[error("{origin}: `{key}`: {message}")]
    Value {
        /// Where it stands.
        origin: Origin,
        /// Dotted path of the key.
        key: String,
        /// What is wrong.
        message: String,
    },
    /// A value that reads well cannot work, alone or together with others.
    #[error("{}`{key}`: {message}", .origin.as_ref().map(|o| format!("{o}: ")).unwrap_or_default())]
    Invalid {
        /// Where it stands; `None` for a default.
        origin: Option<Origin>,
        /// Dotted path of the key.
        key: String,
        /// What is wrong and what to do.
        message: String,
    },
    /// A file named by the configuration cannot be read.
    #[error("`{key}`: cannot read {}{}", .path.display(), how_to_make(.key))]
    File {
        /// Dotted path of the key that names the file.
        key: String,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// More than one thing is wrong; one line each.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Several(Vec<ConfigError>),
}

impl ConfigError {
    /// A value that cannot work.
    pub(crate) fn invalid(key: &str, message: impl Into<String>) -> Self {
        Self::Invalid { origin: None, key: key.to_owned(), message: message.into() }
    }
    /// With the place where the key stands, as far as it stands somewhere.
    pub(crate) fn located(self, origin_of: &impl Fn(&str) -> Option<Origin>) -> Self {
        match self {
            Self::Invalid { origin: None, key, message } => Self::Invalid { origin: origin_of(&key), key, message },
            Self::Several(faults) => Self::Several(faults.into_iter().map(|fault| fault.located(origin_of)).collect()),
            other => other,
        }
    }
    /// A key that has to be there.
    pub(crate) fn missing(key: &str, why: &str) -> Self {
        Self::Missing { key: key.to_owned(), why: why.to_owned() }
    }
}

/// How to come by a file that is not there, where that is in one's own hands.
fn how_to_make(key: &str) -> &'static str {
    if key == "store.master_key_file" { " (make it once with `openssl rand -hex 32`, mode 0600)" } else { "" }
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map(|n| format!("; did you mean `{n}`?")).unwrap_or_default()
}

/// The candidate that is most like `word`, if any is near enough to be a slip.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (likeness(word, candidate), candidate))
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .filter(|(likeness, _)| *likeness > 0.5)
        .map(|(_, candidate)| candidate)
}

/// From 0 (nothing in common) to 1 (the same). Letters left out, added, changed or swapped make it less.
fn likeness(word: &str, candidate: &str) -> f64 {
    // A key that only lacks its unit or its prefix is near, however long that is.
    let contained = word.len() >= 3 && (candidate.contains(word) || word.contains(candidate));
    let edited = strsim::normalized_damerau_levenshtein(word, candidate);
    if contained { edited.max(0.9) } else { edited }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_finds_slips_and_not_strangers() {
        let keys = ["url", "server_name", "request_timeout_seconds"];
        assert_eq!(nearest("urll", keys), Some("url"));
        assert_eq!(nearest("servername", keys), Some("server_name"));
        assert_eq!(nearest("request_timeout", keys), Some("request_timeout_seconds"));
        assert_eq!(nearest("ulr", keys), Some("url"), "two letters swapped");
        assert_eq!(nearest("lvl", ["format", "level"]), Some("level"), "a short one");
        assert_eq!(nearest("colour", keys), None);
    }
}
