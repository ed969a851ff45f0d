//! `mimi-gateway registration`: makes the file that tells the homeserver of this application service.

use std::{io::Write as _, path::Path};

use url::Url;

use super::{CliError, exit::Exit};
use crate::{
    config::Config,
    matrix::registration::{Registration, RegistrationError},
};

/// Writes a new registration to `out`, or to where the configuration says. Never overwrites.
pub(super) fn run(config: &Config, out: Option<&Path>, url: Option<&Url>) -> Result<(), CliError> {
    let failed = |e: RegistrationError| CliError::new(Exit::Registration, "no registration was made", e);
    let url = url.map_or_else(|| config.appservice.public_url(), |url| url.as_str().trim_end_matches('/').to_owned());
    let localpart = config.appservice.sender_localpart.as_deref();
    let mut registration =
        Registration::generate(&config.homeserver.server_name, &url, Registration::DEFAULT_ID, localpart)
            .map_err(failed)?;
    // Tokens that the configuration names are the ones that the gateway will use.
    for (token, configured) in [
        (&mut registration.base.as_token, &config.appservice.as_token),
        (&mut registration.base.hs_token, &config.appservice.hs_token),
    ] {
        if let Some(configured) = configured {
            configured.expose().clone_into(token);
        }
    }
    let out = out.unwrap_or(&config.appservice.registration);
    if out == Path::new("-") {
        let yaml = registration.to_yaml().map_err(failed)?;
        let written = std::io::stdout().write_all(yaml.as_bytes());
        return written.map_err(|e| CliError::new(Exit::Registration, "cannot write the registration", e));
    }
    registration.write_new(out).map_err(failed)?;
    println!(
        "Wrote {} (bot @{}:{}).",
        out.display(),
        registration.base.sender_localpart,
        config.homeserver.server_name
    );
    println!(
        "Next: name it in the homeserver's configuration and restart the homeserver. For Synapse, in homeserver.yaml:"
    );
    println!(
        "  app_service_config_files:\n    - {}",
        std::path::absolute(out).unwrap_or_else(|_| out.to_owned()).display()
    );
    if out != config.appservice.registration {
        println!("The gateway itself reads {} (appservice.registration).", config.appservice.registration.display());
    }
    println!("Then: mimi-gateway check");
    Ok(())
}
