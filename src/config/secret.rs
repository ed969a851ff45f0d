//! Text that is never printed, and the files that hold it.

use std::{fmt, path::Path};

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};

use super::error::ConfigError;

/// Settings that may stand in a file of their own: section, key, key of the file.
pub(super) const PAIRS: &[(&str, &str, &str)] = &[
    ("homeserver", "admin_token", "admin_token_file"),
    ("appservice", "as_token", "as_token_file"),
    ("appservice", "hs_token", "hs_token_file"),
    ("store", "master_key", "master_key_file"),
    ("provisioning", "shared_secret", "shared_secret_file"),
];

/// A token or key in its textual form. `Debug` does not show it.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Wraps a secret.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(SecretString::from(text))
    }
    /// The text itself. Not for logs.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}
impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// Fills `secret` from `file`, if there is one. White space around it is not part of it.
pub(super) fn read_file(key: &str, secret: &mut Option<Secret>, file: Option<&Path>) -> Result<(), ConfigError> {
    let Some(path) = file else { return Ok(()) };
    if secret.is_some() {
        return Err(ConfigError::invalid(key, format!("and `{key}_file` are both set; keep one")));
    }
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::File {
        key: format!("{key}_file"),
        path: path.to_owned(),
        source,
    })?;
    let text = text.trim();
    if text.is_empty() {
        return Err(ConfigError::invalid(&format!("{key}_file"), format!("{} is empty", path.display())));
    }
    *secret = Some(Secret::new(text.to_owned()));
    Ok(())
}
