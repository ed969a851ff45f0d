//! `[rooms]`: how bridged rooms behave.

use std::time::Duration;

use serde::Deserialize;

use super::error::ConfigError;

/// How bridged rooms behave.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RoomsConfig {
    /// Up to this many Matrix members, all are listed as MIMI participants; above it only those who act.
    pub list_all_members_up_to: u32,
    /// How often an active room is compared with the homeserver's timeline.
    pub gap_check_interval_seconds: u64,
    /// How long the MLS leaf of a local user is valid; it is refreshed before half of that.
    pub leaf_lifetime_seconds: u64,
    /// How long an unused `KeyPackage` is kept.
    pub key_package_lifetime_seconds: u64,
}

impl Default for RoomsConfig {
    fn default() -> Self {
        Self {
            list_all_members_up_to: 500,
            gap_check_interval_seconds: 300,
            leaf_lifetime_seconds: 90 * 86_400,
            key_package_lifetime_seconds: 28 * 86_400,
        }
    }
}

impl RoomsConfig {
    /// How often an active room is compared with the homeserver's timeline.
    #[must_use]
    pub fn gap_check_interval(&self) -> Duration {
        Duration::from_secs(self.gap_check_interval_seconds)
    }

    /// How long the MLS leaf of a local user is valid.
    #[must_use]
    pub fn leaf_lifetime(&self) -> Duration {
        Duration::from_secs(self.leaf_lifetime_seconds)
    }

    /// How long an unused `KeyPackage` is kept.
    #[must_use]
    pub fn key_package_lifetime(&self) -> Duration {
        Duration::from_secs(self.key_package_lifetime_seconds)
    }

    pub(super) fn validate(&self, faults: &mut Vec<ConfigError>) {
        if !(1..=300).contains(&self.gap_check_interval_seconds) {
            faults.push(ConfigError::invalid(
                "rooms.gap_check_interval_seconds",
                "must be from 1 to 300: homeservers lose events towards appservices, and nobody else looks for them",
            ));
        }
        for (key, value) in [
            ("rooms.leaf_lifetime_seconds", self.leaf_lifetime_seconds),
            ("rooms.key_package_lifetime_seconds", self.key_package_lifetime_seconds),
        ] {
            if !(86_400..=365 * 86_400).contains(&value) {
                faults.push(ConfigError::invalid(key, "must be from 86400 (a day) to 31536000 (a year)"));
            }
        }
    }
}
