//! `[provider]`: who this gateway is among MIMI providers, and where they reach it.

use std::net::{Ipv4Addr, SocketAddr};

use serde::Deserialize;
use url::Url;

use super::{
    error::ConfigError,
    homeserver::{HomeserverConfig, base_url, optional_url},
};
use crate::{ident::ProviderDomain, mimi::PemSource};

/// Who this gateway is among MIMI providers, and where they reach it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderConfig {
    /// The domain in our users' MIMI URIs. Default: the homeserver's name, if that is a DNS name without port.
    #[serde(default)]
    pub domain: Option<ProviderDomain>,
    /// Address and port on which other providers are accepted.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// The URL under which other providers reach that address; goes into the directory. Default: `https://` + domain.
    #[serde(default, deserialize_with = "optional_url")]
    pub public_url: Option<Url>,
    /// Our certificate chain (the path of a PEM file, or its text), leaf first. Its subject alternative names hold the domain.
    pub certificate: PemSource,
    /// The certificate's private key (the path of a PEM file, or its text).
    pub private_key: PemSource,
}

fn default_listen() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8449))
}

impl ProviderConfig {
    /// The configured domain, or the homeserver's name where that can be one.
    pub(super) fn domain(&self, homeserver: &HomeserverConfig) -> Result<ProviderDomain, ConfigError> {
        if let Some(domain) = &self.domain {
            return Ok(domain.clone());
        }
        ProviderDomain::parse(homeserver.server_name.as_str()).map_err(|_| {
            ConfigError::missing(
                "provider.domain",
                &format!("the homeserver's name ({}) has a port, upper case or an IP address, so it cannot be the provider's domain; choose a DNS name", homeserver.server_name),
            )
        })
    }

    pub(super) fn validate(&self, homeserver: &HomeserverConfig, faults: &mut Vec<ConfigError>) {
        faults.extend(self.domain(homeserver).err());
        if let Some(url) = &self.public_url {
            base_url("provider.public_url", url, &["https"], faults);
            if url.path() != "/" {
                faults.push(ConfigError::invalid(
                    "provider.public_url",
                    "must not have a path: the endpoints live under /v1/",
                ));
            }
        }
    }
}
