//! Why the gateway does not run, and what to do about it.

use std::{io, net::SocketAddr, path::PathBuf};

use crate::{
    admin::AskError,
    assets::AssetError,
    config::ConfigError,
    matrix::{ClientError, registration::RegistrationError, settings::SettingsError},
    mimi::SetupError,
    spool::SpoolError,
    store::StoreError,
};

/// Why the gateway could not run. Permanent unless the variant says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The registration file.
    #[error("the registration file: {0}")]
    Registration(#[from] RegistrationError),
    /// Tokens are missing or in conflict.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The store.
    #[error("the store: {0}")]
    Store(#[from] StoreError),
    /// The files of assets in the store's directory.
    #[error(transparent)]
    Assets(#[from] AssetError),
    /// The directory in which files wait (`media.spool_path`).
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The provider side: certificates, peers, listening.
    #[error("the provider side: {0}")]
    Provider(#[from] SetupError),
    /// The homeserver client.
    #[error("the homeserver client: {0}")]
    Client(#[from] ClientError),
    /// The bot's name is no Matrix id.
    #[error("the bot's user id: {0}")]
    Bot(#[from] ruma::IdParseError),
    /// The store failed while the gateway ran. What it acknowledged is on disk; the next start goes on from there.
    #[error("{0}")]
    StoreFailed(String),
    /// Another process has the store, and did not tell what it holds.
    #[error("another process has the store in {}, and {error}", .data.display())]
    Asking {
        /// The data directory.
        data: PathBuf,
        /// Why not.
        error: AskError,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {address} (`{setting}`): {source}")]
    Listen {
        /// The setting that names it.
        setting: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// Signals, or starting threads.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why not.
        source: io::Error,
    },
}

/// What to do about a registration file that is not there.
const REGISTER: &str = "make it with `mimi-gateway registration`, add its path to `app_service_config_files` in Synapse's \
    homeserver.yaml, and restart Synapse";

impl RuntimeError {
    /// What to do about it, where the error itself does not say so.
    #[must_use]
    pub fn advice(&self) -> Option<String> {
        match self {
            Self::Registration(error) => Some(registration_advice(error)),
            Self::Settings(SettingsError::Missing(_)) => {
                Some(format!("set it under `[appservice]`, or use a registration file: {REGISTER}"))
            }
            Self::Store(error) => store_advice(error).map(str::to_owned),
            Self::Provider(error) => provider_advice(error).map(str::to_owned),
            Self::Assets(_) => {
                Some("look at the disk, and let the gateway's user write in the store's directory".to_owned())
            }
            Self::Spool(_) => {
                Some("let the gateway's user write in `media.spool_path`, or else in the store's directory".to_owned())
            }
            Self::Listen { setting, source, .. } => Some(listen_advice(setting, source)),
            Self::Config(_)
            | Self::Settings(_)
            | Self::Client(_)
            | Self::Bot(_)
            | Self::StoreFailed(_)
            | Self::Asking { .. }
            | Self::Io { .. } => None,
        }
    }
}

/// What to do about a registration file that does not read.
#[must_use]
pub fn registration_advice(error: &RegistrationError) -> String {
    match error {
        RegistrationError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => REGISTER.to_owned(),
        RegistrationError::Io { .. } => "let the gateway's user read it".to_owned(),
        RegistrationError::Exists(_)
        | RegistrationError::Malformed { .. }
        | RegistrationError::Sender(_)
        | RegistrationError::Random(_) => {
            "restore it from the homeserver's copy; a new one would have new tokens, and the homeserver would have to read it"
                .to_owned()
        }
    }
}

/// What to do about a store that does not open.
#[must_use]
pub fn store_advice(error: &StoreError) -> Option<&'static str> {
    match error {
        StoreError::Corrupt(_) => {
            Some("look at the disk; restore a backup of the directory and start once with `run --restored`")
        }
        StoreError::Io(_) => Some("let the gateway's user read and write there, and look at the disk"),
        StoreError::WrongMasterKey => Some(
            "`store.master_key_file` has to name the key that was there at the first start; nothing can be read without it",
        ),
        StoreError::Busy(_) => Some("end the program that has the database open, or make room on the disk"),
        StoreError::ConditionFailed { .. }
        | StoreError::TooNew { .. }
        | StoreError::TooOld { .. }
        | StoreError::Locked(_)
        | StoreError::OtherEngine { .. }
        | StoreError::Invalid(_)
        | StoreError::Closed(_) => None,
    }
}

fn provider_advice(error: &SetupError) -> Option<&'static str> {
    match error {
        SetupError::Read { .. } | SetupError::Pem { .. } => Some(
            "name a PEM file that is there and that the gateway's user may read; `mimi-gateway check` looks at all of them",
        ),
        SetupError::Identity(_) => Some("name the certificate and the key that was made for it"),
        SetupError::WrongName(_) | SetupError::PublicUrl(_) | SetupError::Peer { .. } | SetupError::Listen { .. } => {
            None
        }
    }
}

/// What to do about an address that cannot be listened on.
#[must_use]
pub fn listen_advice(setting: &str, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("another program has this port (`ss -ltnp` shows which): end it, or change `{setting}`")
        }
        io::ErrorKind::AddrNotAvailable => {
            format!("name an address of this machine in `{setting}`, or 0.0.0.0 for all")
        }
        io::ErrorKind::PermissionDenied => format!("ports below 1024 need a privilege: choose another in `{setting}`"),
        _ => format!("change `{setting}`"),
    }
}
