//! Settings: one TOML file by section, overlaid with `MIMI_GATEWAY_<SECTION>__<KEY>` environment variables.
//!
//! `config/mimi-gateway.example.toml` is the documentation of the keys. Units stand in the names (`_seconds`, `_bytes`).
//! Relative paths are relative to the directory of the configuration file. A setting that reads a secret exists twice:
//! `key` and `key_file`, so that secrets can be mounted.

mod appservice;
mod envelope;
mod error;
mod homeserver;
mod log;
mod media;
mod permissions;
mod provider;
mod provisioning;
mod rooms;
mod secret;
mod source;
mod store;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::Deserialize;

pub use appservice::AppserviceConfig;
pub use error::{ConfigError, Origin};
pub use homeserver::HomeserverConfig;
pub use log::{LogConfig, LogFormat};
pub use media::MediaConfig;
pub use permissions::{PermissionsConfig, RuleConfig, RuleTable, UserPattern};
pub use provider::ProviderConfig;
pub use provisioning::ProvisioningConfig;
pub use rooms::RoomsConfig;
pub use secret::Secret;
pub use source::fields_of;
pub use store::{StoreConfig, StoreEngine};

use crate::{
    ident::ProviderDomain,
    matrix::MatrixSettings,
    mimi::{AssetSettings, Limits, PeerSettings, Settings as MimiSettings},
    policy::Envelope,
};
use source::Node;

/// All settings, checked by [`Config::validate`] and with the secrets' files read.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The Matrix homeserver that this gateway serves.
    pub homeserver: HomeserverConfig,
    /// Where the homeserver reaches us.
    #[serde(default)]
    pub appservice: AppserviceConfig,
    /// Who we are among MIMI providers, and where they reach us.
    pub provider: ProviderConfig,
    /// The providers that we talk to, by domain.
    #[serde(default)]
    pub peers: BTreeMap<ProviderDomain, PeerSettings>,
    /// What is kept, and where.
    pub store: StoreConfig,
    /// How bridged rooms behave.
    #[serde(default)]
    pub rooms: RoomsConfig,
    /// Who may give the bot orders.
    #[serde(default)]
    pub permissions: PermissionsConfig,
    /// What rooms may be.
    #[serde(default)]
    pub envelope: Envelope,
    /// For programs that act for users.
    #[serde(default)]
    pub provisioning: ProvisioningConfig,
    /// Sizes, times and counts that bound what others can make us do.
    #[serde(default)]
    pub limits: Limits,
    /// What assets may take.
    #[serde(default)]
    pub assets: AssetSettings,
    /// Files between Matrix and MIMI.
    #[serde(default)]
    pub media: MediaConfig,
    /// What is logged, and how.
    #[serde(default)]
    pub log: LogConfig,
}

impl Config {
    /// Reads the file, lays the process environment over it, reads secrets from their files and checks everything.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        // Values that are not UTF-8 cannot be settings of ours.
        let environment = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        Self::from_text(path, &text, environment)
    }

    /// As [`Config::load`], with the text and environment given.
    pub fn from_text(
        path: &Path,
        text: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let tree = tree(path, text, environment)?;
        let mut config: Self = tree.clone().read()?;
        config.resolve_paths(path.parent().unwrap_or(Path::new("")));
        config.read_secret_files()?;
        config.validate().map_err(|fault| fault.located(&|key| tree.origin_of(key)))?;
        Ok(config)
    }

    /// Reads without touching any file and without checks across keys: for tests and tools.
    pub fn parse(
        path: &Path,
        text: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        tree(path, text, environment)?.read()
    }

    /// Checks each section and what they say together; all faults are told at once.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut faults = Vec::new();
        self.homeserver.validate(&mut faults);
        self.appservice.validate(&mut faults);
        self.provider.validate(&self.homeserver, &mut faults);
        if self.provider.domain(&self.homeserver).is_ok_and(|own| self.peers.contains_key(&own)) {
            faults.push(ConfigError::invalid(
                "peers",
                "names this gateway's own provider domain; a peer is another provider",
            ));
        }
        if self.provider.listen == self.appservice.listen {
            faults.push(ConfigError::invalid(
                "provider.listen",
                "is the address of `appservice.listen`; the homeserver and the peers need a port each",
            ));
        }
        self.store.validate(&mut faults);
        self.rooms.validate(&mut faults);
        self.permissions.validate(&mut faults);
        envelope::validate(&self.envelope, &mut faults);
        let listeners = [("appservice.listen", self.appservice.listen), ("provider.listen", self.provider.listen)];
        self.provisioning.validate(listeners, &mut faults);
        if self.assets.keep_days > 3650 {
            faults.push(ConfigError::invalid("assets.keep_days", "must be from 0 to 3650"));
        }
        if self.assets.max_asset_bytes == 0 {
            faults.push(ConfigError::invalid("assets.max_asset_bytes", "must not be 0"));
        }
        self.media.validate(&mut faults);
        self.log.validate(&mut faults);
        if faults.len() > 1 {
            return Err(ConfigError::Several(faults));
        }
        faults.pop().map_or(Ok(()), Err)
    }

    /// This gateway's domain among MIMI providers: `provider.domain`, or else the homeserver's name.
    pub fn provider_domain(&self) -> Result<ProviderDomain, ConfigError> {
        self.provider.domain(&self.homeserver)
    }

    /// The settings of the MIMI edge.
    pub fn to_mimi_settings(&self) -> Result<MimiSettings, ConfigError> {
        Ok(MimiSettings {
            own_domain: self.provider_domain()?,
            listen: self.provider.listen,
            public_url: self.provider.public_url.clone(),
            certificate: self.provider.certificate.clone(),
            private_key: self.provider.private_key.clone(),
            limits: self.limits.clone(),
            assets: self.assets.clone(),
            peers: self.peers.clone(),
        })
    }

    /// The settings of the Matrix edge.
    #[must_use]
    pub fn to_matrix_settings(&self) -> MatrixSettings {
        let secret = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.expose().into());
        MatrixSettings {
            homeserver_url: self.homeserver.url.clone(),
            server_name: self.homeserver.server_name.clone(),
            listen: self.appservice.listen,
            registration: self.appservice.registration.clone(),
            as_token: secret(&self.appservice.as_token),
            hs_token: secret(&self.appservice.hs_token),
            admin_token: secret(&self.homeserver.admin_token),
            sender_localpart: self.appservice.sender_localpart.clone(),
            bot_display_name: self.appservice.bot_display_name.clone(),
            request_timeout_seconds: self.homeserver.request_timeout_seconds,
            connect_timeout_seconds: self.homeserver.connect_timeout_seconds,
            header_timeout_seconds: self.appservice.header_timeout_seconds,
            body_timeout_seconds: self.appservice.body_timeout_seconds,
        }
    }

    /// Makes relative paths relative to `base`.
    fn resolve_paths(&mut self, base: &Path) {
        let optional = [
            &mut self.homeserver.admin_token_file,
            &mut self.appservice.as_token_file,
            &mut self.appservice.hs_token_file,
            &mut self.store.master_key_file,
            &mut self.provisioning.shared_secret_file,
            &mut self.media.spool_path,
        ];
        let always = [&mut self.appservice.registration, &mut self.store.path];
        for path in optional.into_iter().filter_map(Option::as_mut).chain(always) {
            // An absolute path replaces the base.
            *path = base.join(&*path);
        }
        let pems = [&mut self.provider.certificate, &mut self.provider.private_key];
        for pem in pems.into_iter().chain(self.peers.values_mut().map(|peer| &mut peer.ca)) {
            pem.rebase(base);
        }
    }

    fn read_secret_files(&mut self) -> Result<(), ConfigError> {
        for (key, secret, file) in [
            ("homeserver.admin_token", &mut self.homeserver.admin_token, &self.homeserver.admin_token_file),
            ("appservice.as_token", &mut self.appservice.as_token, &self.appservice.as_token_file),
            ("appservice.hs_token", &mut self.appservice.hs_token, &self.appservice.hs_token_file),
            ("store.master_key", &mut self.store.master_key, &self.store.master_key_file),
            ("provisioning.shared_secret", &mut self.provisioning.shared_secret, &self.provisioning.shared_secret_file),
        ] {
            secret::read_file(key, secret, file.as_deref())?;
        }
        Ok(())
    }
}

/// The file's values with the environment's laid over them.
fn tree(path: &Path, text: &str, environment: impl IntoIterator<Item = (String, String)>) -> Result<Node, ConfigError> {
    let mut tree = Node::parse(path, text)?;
    tree.overlay_environment(environment);
    tree.prefer_environment(secret::PAIRS);
    Ok(tree)
}

/// Names of the sections and, for each, of its keys, as the code reads them. A key of [`PeerSettings`] stands once for all
/// peers.
#[must_use]
pub fn schema() -> BTreeMap<&'static str, &'static [&'static str]> {
    BTreeMap::from([
        ("homeserver", fields_of::<HomeserverConfig>()),
        ("appservice", fields_of::<AppserviceConfig>()),
        ("provider", fields_of::<ProviderConfig>()),
        ("peers", fields_of::<PeerSettings>()),
        ("store", fields_of::<StoreConfig>()),
        ("rooms", fields_of::<RoomsConfig>()),
        ("permissions", fields_of::<PermissionsConfig>()),
        ("envelope", fields_of::<Envelope>()),
        ("provisioning", fields_of::<ProvisioningConfig>()),
        ("limits", fields_of::<Limits>()),
        ("assets", fields_of::<AssetSettings>()),
        ("media", fields_of::<MediaConfig>()),
        ("log", fields_of::<LogConfig>()),
    ])
}

/// The file that is read when none is named.
#[must_use]
pub fn default_path() -> PathBuf {
    PathBuf::from("mimi-gateway.toml")
}

#[cfg(test)]
mod tests;
