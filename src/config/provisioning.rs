//! `[provisioning]`: the provisioning API, for programs that act for users.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use serde::Deserialize;

use super::{error::ConfigError, secret::Secret};
use crate::admin::provision::Settings;

/// Shortest secret that is taken, in bytes.
const SHORTEST: usize = 16;

/// The provisioning API, for programs that act for users.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProvisioningConfig {
    /// What programs show: with it they act for every user. Without it there is no provisioning API.
    pub shared_secret: Option<Secret>,
    /// A file that holds `shared_secret`.
    pub shared_secret_file: Option<PathBuf>,
    /// Address and port on which it is served, over plain HTTP.
    pub listen: SocketAddr,
    /// Requests for one user within a minute.
    pub max_requests_per_user_per_minute: u32,
}

impl Default for ProvisioningConfig {
    fn default() -> Self {
        Self {
            shared_secret: None,
            shared_secret_file: None,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9010)),
            max_requests_per_user_per_minute: 60,
        }
    }
}

impl ProvisioningConfig {
    /// The settings of the API, if there is one.
    #[must_use]
    pub fn settings(&self) -> Option<Settings> {
        let secret = self.shared_secret.as_ref()?;
        let requests_per_minute = self.max_requests_per_user_per_minute;
        Some(Settings { secret: secret.expose().into(), requests_per_minute })
    }

    pub(super) fn validate(&self, others: [(&str, SocketAddr); 2], faults: &mut Vec<ConfigError>) {
        let Some(secret) = &self.shared_secret else { return };
        if secret.expose().len() < SHORTEST {
            faults.push(ConfigError::invalid(
                "provisioning.shared_secret",
                format!("has less than {SHORTEST} bytes; whoever guesses it acts for every user. Make one: openssl rand -hex 32"),
            ));
        }
        for (key, other) in others {
            if self.listen == other {
                faults.push(ConfigError::invalid(
                    "provisioning.listen",
                    format!("is the address of `{key}`; each needs a port of its own"),
                ));
            }
        }
        if self.max_requests_per_user_per_minute == 0 {
            faults.push(ConfigError::invalid("provisioning.max_requests_per_user_per_minute", "must not be 0"));
        }
    }
}
