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
    #[error("`{key}`: {message}")]
    Invalid {
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
        Self::Invalid { key: key.to_owned(), message: message.into() }
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

/// The candidate with the smallest edit distance to `word`, if any is near enough to be a slip.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 2).clamp(1, 6);
    candidates
        .into_iter()
        .map(|candidate| {
            // A key that only lacks its unit or its prefix is near, however long that is.
            let contained = word.len() >= 3 && (candidate.contains(word) || word.contains(candidate));
            (if contained { 1 } else { distance(word, candidate) }, candidate)
        })
        .min_by_key(|(d, _)| *d)
        .filter(|(d, _)| *d <= limit)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut next = Vec::with_capacity(row.len());
        next.push(i + 1);
        for ((cb, pair), left) in b.iter().zip(row.windows(2)).zip(0..) {
            let (&[diagonal, above], Some(&left)) = (pair, next.get::<usize>(left)) else { continue };
            next.push((diagonal + usize::from(ca != *cb)).min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        for (a, b, d) in [("", "", 0), ("url", "urll", 1), ("", "abc", 3), ("kitten", "sitting", 3), ("abc", "abc", 0)]
        {
            assert_eq!(distance(a, b), d, "{a} {b}");
            assert_eq!(distance(b, a), d, "{b} {a}");
        }
    }

    #[test]
    fn nearest_finds_slips_and_not_strangers() {
        let keys = ["url", "server_name", "request_timeout_seconds"];
        assert_eq!(nearest("urll", keys), Some("url"));
        assert_eq!(nearest("servername", keys), Some("server_name"));
        assert_eq!(nearest("request_timeout", keys), Some("request_timeout_seconds"));
        assert_eq!(nearest("colour", keys), None);
    }
}
