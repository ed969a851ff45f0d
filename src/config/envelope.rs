//! `[envelope]`: what rooms may be, whatever their own policy says ([`Envelope`]).

use super::error::ConfigError;
use crate::{ident::Pattern, policy::Envelope};

/// What makes no sense in it.
pub(super) fn validate(envelope: &Envelope, faults: &mut Vec<ConfigError>) {
    if envelope.max_participants.is_some_and(|most| most < 2) {
        faults.push(ConfigError::invalid("envelope.max_participants", "must be at least 2, or no room could be"));
    }
    if envelope.providers.as_ref().is_some_and(Vec::is_empty) {
        faults.push(ConfigError::invalid(
            "envelope.providers",
            "is empty, so that nobody could be talked to; name providers or remove the key",
        ));
    }
    if envelope.max_asset_bytes == Some(0) {
        let why = "must be at least 1; `media.carry = false` carries no files at all";
        faults.push(ConfigError::invalid("envelope.max_asset_bytes", why));
    }
    let is_no_domain = |pattern: &Pattern| {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"*.-".contains(&byte);
        pattern.as_str().is_empty() || !pattern.as_str().bytes().all(plain)
    };
    for pattern in envelope.asset_hosts.iter().flatten().filter(|pattern| is_no_domain(pattern)) {
        let why = format!("has hosts in lower case, in which * stands for any text, not {pattern:?}");
        faults.push(ConfigError::invalid("envelope.asset_hosts", why));
    }
    for pattern in envelope.providers.iter().flatten().chain(&envelope.deny_providers) {
        if is_no_domain(pattern) {
            faults.push(ConfigError::invalid(
                "envelope.providers",
                format!("and `envelope.deny_providers` have domains in lower case, in which * stands for any text, not {pattern:?}"),
            ));
        }
    }
    for pattern in &envelope.deny_media_types {
        let text = pattern.as_str();
        if !text.contains('/') || text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            let why = format!("has types in lower case such as \"video/*\" or \"application/zip\", not {pattern:?}");
            faults.push(ConfigError::invalid("envelope.deny_media_types", why));
        }
    }
}
