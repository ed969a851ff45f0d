//! The appservice's registration file: made with random tokens, read, and compared with what the gateway runs with
//! (Matrix application service API, section Registration; MSC3202, MSC4190).

use std::{
    fmt,
    fs::OpenOptions,
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use ruma::{
    ServerName, UserId,
    api::appservice::{Namespace, Namespaces, RegistrationInit},
};
use serde::{Deserialize, Serialize};

use crate::ident::GHOST_PREFIX;

/// The third-party protocol that the registration and the look-up endpoints name.
pub const PROTOCOL: &str = "mimi";
/// Largest registration file read, in bytes.
const FILE_MAX: u64 = 1024 * 1024;

/// Why a registration could not be made, written or read.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// There is a file already. Permanent: its tokens are in use, so it is never overwritten.
    #[error("{0} exists already; it is never overwritten, because the homeserver may be using its tokens")]
    Exists(String),
    /// The file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The file is no registration. Permanent.
    #[error("{path} is not a registration file: {why}")]
    Malformed {
        /// The file.
        path: String,
        /// What the parser said, without the file's content.
        why: String,
    },
    /// The bot's localpart would make it a ghost, or is no localpart. Permanent.
    #[error(
        "sender_localpart {0:?} is not usable: it must be a Matrix localpart that does not begin with {GHOST_PREFIX}"
    )]
    Sender(String),
    /// The system gave no random bytes. Retriable.
    #[error("no random bytes: {0}")]
    Random(String),
}

/// A registration file. Its tokens are left out of `Debug`.
#[derive(Clone, Serialize, Deserialize)]
pub struct Registration {
    /// What the Matrix specification defines.
    #[serde(flatten)]
    pub base: ruma::api::appservice::Registration,
    /// Device lists and key counts in transactions (MSC3202).
    #[serde(rename = "org.matrix.msc3202", default)]
    pub msc3202: bool,
    /// Devices without login (MSC4190).
    #[serde(rename = "io.element.msc4190", default)]
    pub msc4190: bool,
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration")
            .field("id", &self.base.id)
            .field("url", &self.base.url)
            .field("sender_localpart", &self.base.sender_localpart)
            .field("namespaces", &self.base.namespaces)
            .finish_non_exhaustive()
    }
}

/// What the gateway runs with, to be compared with a registration file. `None` is not compared.
#[derive(Clone, Copy)]
pub struct Expected<'a> {
    /// The homeserver's name.
    pub server_name: &'a ServerName,
    /// The bot's localpart.
    pub sender_localpart: Option<&'a str>,
    /// The configured `as_token`.
    pub as_token: Option<&'a str>,
    /// The configured `hs_token`.
    pub hs_token: Option<&'a str>,
    /// The URL under which the homeserver reaches the gateway.
    pub url: Option<&'a str>,
}

impl Registration {
    /// The id used unless another is wanted.
    pub const DEFAULT_ID: &str = "mimi-gateway";

    /// A new registration with random tokens. Without `sender_localpart` the bot is `mimi_` and eight random letters.
    pub fn generate(
        server_name: &ServerName,
        url: &str,
        id: &str,
        sender_localpart: Option<&str>,
    ) -> Result<Self, RegistrationError> {
        let sender = match sender_localpart {
            Some(localpart) => localpart.to_owned(),
            None => format!("mimi_{}", random_letters()?),
        };
        if sender.starts_with(GHOST_PREFIX) || !is_strict_user_id(&sender, server_name) {
            return Err(RegistrationError::Sender(sender));
        }
        let mut base: ruma::api::appservice::Registration = RegistrationInit {
            id: id.to_owned(),
            url: Some(url.trim_end_matches('/').to_owned()),
            as_token: random_token()?,
            hs_token: random_token()?,
            namespaces: wanted_namespaces(server_name, &sender),
            sender_localpart: sender,
            rate_limited: Some(false),
            protocols: Some(vec![PROTOCOL.to_owned()]),
        }
        .into();
        base.receive_ephemeral = true;
        Ok(Self { base, msc3202: true, msc4190: true })
    }

    /// The file's text.
    pub fn to_yaml(&self) -> Result<String, RegistrationError> {
        let yaml = serde_yaml_ng::to_string(self)
            .map_err(|error| RegistrationError::Malformed { path: "registration".into(), why: error.to_string() })?;
        Ok(format!(
            "# Registration of mimi-gateway. Name this file in the homeserver's app_service_config_files and restart it.\n\
             # It holds secrets: keep it readable by the homeserver and the gateway only.\n{yaml}"
        ))
    }

    /// Writes a new file with mode 0600; an existing one is left alone.
    pub fn write_new(&self, path: &Path) -> Result<(), RegistrationError> {
        let yaml = self.to_yaml()?;
        let io = |source| RegistrationError::Io { path: path.display().to_string(), source };
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|error| {
            if error.kind() == io::ErrorKind::AlreadyExists {
                RegistrationError::Exists(path.display().to_string())
            } else {
                io(error)
            }
        })?;
        file.set_permissions(std::fs::Permissions::from_mode(0o600)).map_err(io)?;
        file.write_all(yaml.as_bytes()).map_err(io)?;
        file.sync_all().map_err(io)
    }

    /// Reads a file.
    pub fn load(path: &Path) -> Result<Self, RegistrationError> {
        let name = || path.display().to_string();
        let mut text = String::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(FILE_MAX).read_to_string(&mut text))
            .map_err(|source| RegistrationError::Io { path: name(), source })?;
        serde_yaml_ng::from_str(&text)
            .map_err(|error| RegistrationError::Malformed { path: name(), why: error.to_string() })
    }

    /// Every difference between the file and what the gateway runs with, each as a sentence that says what to do.
    /// Empty if they agree. Tokens are compared, never shown.
    #[must_use]
    pub fn check_against(&self, expected: &Expected<'_>) -> Vec<String> {
        let mut found = Vec::new();
        if let Some(sender) = expected.sender_localpart
            && sender != self.base.sender_localpart
        {
            found.push(format!(
                "sender_localpart is {:?} in the registration and {sender:?} in the configuration: make them the same",
                self.base.sender_localpart
            ));
        }
        if self.base.sender_localpart.starts_with(GHOST_PREFIX) {
            found.push(format!(
                "sender_localpart begins with {GHOST_PREFIX}, so that the bot looks like a ghost: choose another"
            ));
        }
        for (name, own, file) in
            [("as_token", expected.as_token, &self.base.as_token), ("hs_token", expected.hs_token, &self.base.hs_token)]
        {
            if file.is_empty() {
                found.push(format!("{name} in the registration is empty: make a new registration"));
            }
            if own.is_some_and(|own| own != file) {
                found.push(format!(
                    "{name} in the configuration is not the one in the registration: remove it from the configuration"
                ));
            }
        }
        if self.base.as_token == self.base.hs_token {
            found.push("as_token and hs_token are the same: make a new registration".to_owned());
        }
        match (&self.base.url, expected.url) {
            (None, _) => found.push("url in the registration is empty: the homeserver will send us nothing".to_owned()),
            (Some(file), Some(own)) if file.trim_end_matches('/') != own.trim_end_matches('/') => found.push(format!(
                "url is {file:?} in the registration and {own:?} in the configuration: make them the same"
            )),
            _ => {}
        }
        let wanted = wanted_namespaces(expected.server_name, &self.base.sender_localpart);
        for (kind, wanted, have) in [
            ("users", &wanted.users, &self.base.namespaces.users),
            ("aliases", &wanted.aliases, &self.base.namespaces.aliases),
        ] {
            for namespace in wanted {
                if !have.iter().any(|other| other.exclusive && same_regex(&other.regex, &namespace.regex)) {
                    found.push(format!(
                        "namespaces.{kind} lacks the exclusive regex {:?}: add it (is server_name right?)",
                        namespace.regex
                    ));
                }
            }
        }
        for (wrong, what) in [
            (self.base.rate_limited != Some(false), "rate_limited must be false, or bursts will be slow"),
            (!self.base.receive_ephemeral, "receive_ephemeral must be true"),
            (!self.msc3202, "org.matrix.msc3202 must be true"),
            (!self.msc4190, "io.element.msc4190 must be true: without devices, sends can appear twice after a restart"),
            (
                !self.base.protocols.iter().flatten().any(|name| name == PROTOCOL),
                "protocols must list mimi, or third-party look-up will not work",
            ),
        ] {
            if wrong {
                found.push(format!("{what}: change the registration and restart the homeserver"));
            }
        }
        found
    }
}

/// Anchored or not, the expression means the same to us.
fn same_regex(a: &str, b: &str) -> bool {
    let bare = |text: &str| text.trim_start_matches('^').trim_end_matches('$').to_owned();
    bare(a) == bare(b)
}

fn is_strict_user_id(localpart: &str, server_name: &ServerName) -> bool {
    UserId::parse(format!("@{localpart}:{server_name}")).is_ok_and(|id| id.validate_strict().is_ok())
}

fn wanted_namespaces(server_name: &ServerName, sender: &str) -> Namespaces {
    let server = escape(server_name.as_str());
    let mut namespaces = Namespaces::new();
    namespaces.users = vec![
        Namespace::new(true, format!("^@{GHOST_PREFIX}.*:{server}$")),
        Namespace::new(true, format!("^@{}:{server}$", escape(sender))),
    ];
    namespaces.aliases = vec![Namespace::new(true, format!("^#{GHOST_PREFIX}.*:{server}$"))];
    namespaces
}

/// Escapes what means something in a regular expression.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if matches!(c, '.' | '[' | ']' | '(' | ')' | '{' | '}' | '*' | '+' | '?' | '|' | '^' | '$' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn random_bytes<const N: usize>() -> Result<[u8; N], RegistrationError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| RegistrationError::Random(error.to_string()))?;
    Ok(bytes)
}

fn random_token() -> Result<String, RegistrationError> {
    Ok(hex::encode(random_bytes::<32>()?))
}

/// Eight lower-case letters. The bias of `% 26` does not matter: the name is not secret, only hard to meet by chance.
fn random_letters() -> Result<String, RegistrationError> {
    Ok(random_bytes::<8>()?.iter().map(|byte| char::from(b'a' + byte % 26)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> ruma::OwnedServerName {
        ServerName::parse("matrix.a.example:8448").unwrap()
    }

    fn expected(server_name: &ServerName) -> Expected<'_> {
        Expected { server_name, sender_localpart: None, as_token: None, hs_token: None, url: None }
    }

    #[test]
    fn a_generated_registration_has_what_a_homeserver_needs() {
        let registration = Registration::generate(&server(), "http://127.0.0.1:9009/", "mimi", None).unwrap();
        let yaml: serde_yaml_ng::Value = serde_yaml_ng::from_str(&registration.to_yaml().unwrap()).unwrap();
        assert_eq!(yaml["id"], "mimi");
        assert_eq!(yaml["url"], "http://127.0.0.1:9009");
        assert_eq!(yaml["rate_limited"], false);
        assert_eq!(yaml["receive_ephemeral"], true);
        assert_eq!(yaml["org.matrix.msc3202"], true);
        assert_eq!(yaml["io.element.msc4190"], true);
        assert_eq!(yaml["protocols"][0], "mimi");
        assert_eq!(yaml["namespaces"]["users"][0]["regex"], r"^@_mimi_.*:matrix\.a\.example:8448$");
        assert_eq!(yaml["namespaces"]["users"][0]["exclusive"], true);
        assert_eq!(yaml["namespaces"]["aliases"][0]["regex"], r"^#_mimi_.*:matrix\.a\.example:8448$");
        let sender = yaml["sender_localpart"].as_str().unwrap();
        assert!(sender.starts_with("mimi_") && sender.len() == 13, "{sender}");
        assert_eq!(yaml["namespaces"]["users"][1]["regex"], format!(r"^@{sender}:matrix\.a\.example:8448$"));
        assert_eq!(yaml["as_token"].as_str().unwrap().len(), 64);
        assert!(registration.check_against(&expected(&server())).is_empty());
    }

    #[test]
    fn tokens_are_random_and_never_printed() {
        let one = Registration::generate(&server(), "http://x", "mimi", None).unwrap();
        let two = Registration::generate(&server(), "http://x", "mimi", None).unwrap();
        assert_ne!(one.base.as_token, two.base.as_token);
        assert_ne!(one.base.as_token, one.base.hs_token);
        assert!(!format!("{one:?}").contains(&one.base.as_token));
    }

    #[test]
    fn the_bot_never_looks_like_a_ghost() {
        for bad in ["_mimi_bot", "Bot", "a:b", ""] {
            assert!(matches!(
                Registration::generate(&server(), "http://x", "mimi", Some(bad)),
                Err(RegistrationError::Sender(_))
            ));
        }
    }

    #[test]
    fn the_file_is_private_and_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("registration.yaml");
        let one = Registration::generate(&server(), "http://x", "mimi", None).unwrap();
        one.write_new(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let two = Registration::generate(&server(), "http://x", "mimi", None).unwrap();
        assert!(matches!(two.write_new(&path), Err(RegistrationError::Exists(_))));
        assert_eq!(Registration::load(&path).unwrap().base.as_token, one.base.as_token);
    }

    #[test]
    fn a_file_that_is_none_is_refused_without_showing_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("registration.yaml");
        std::fs::write(&path, "id: x\nas_token: top-secret\n").unwrap();
        let error = Registration::load(&path).unwrap_err();
        assert!(matches!(error, RegistrationError::Malformed { .. }));
        assert!(!error.to_string().contains("top-secret"));
        assert!(matches!(Registration::load(&dir.path().join("absent")), Err(RegistrationError::Io { .. })));
    }

    #[test]
    fn each_difference_is_named() {
        let mut file = Registration::generate(&server(), "http://x", "mimi", Some("mimi_bot")).unwrap();
        let other = ServerName::parse("other.example").unwrap();
        let said = file.check_against(&Expected {
            server_name: &other,
            sender_localpart: Some("bridge"),
            as_token: Some("secret-one"),
            hs_token: Some(&file.base.hs_token),
            url: Some("http://y"),
        });
        let all = said.join("\n");
        for word in ["sender_localpart", "as_token", "url is", "namespaces.users", "namespaces.aliases"] {
            assert!(all.contains(word), "{word} not in {all}");
        }
        assert!(!all.contains("hs_token"));
        assert!(!all.contains("secret-one") && !all.contains(&file.base.as_token));
        file.msc4190 = false;
        file.base.rate_limited = None;
        let all = file.check_against(&expected(&server())).join("\n");
        assert!(all.contains("msc4190") && all.contains("rate_limited"));
    }
}
