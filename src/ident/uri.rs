//! `mimi:` URIs by kind (draft-ietf-mimi-protocol-06 section 3, draft-mahy-mimi-identity-05).

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a string is not the identifier it should be. Permanent: the same bytes never become valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentError {
    /// Not `mimi://`, or without the parts that the kind needs.
    #[error("not a MIMI URI of the wanted kind: {0}")]
    Malformed(&'static str),
    /// The authority is no lower-case DNS name.
    #[error("the provider is not a lower-case DNS name")]
    Authority,
    /// Longer than [`MimiUri::MAX_LEN`] bytes.
    #[error("longer than {} bytes", MimiUri::MAX_LEN)]
    TooLong,
}

/// A provider's DNS name in lower-case A-label form: `b.example`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProviderDomain(String);

impl ProviderDomain {
    /// Checks and wraps a DNS name.
    pub fn parse(text: &str) -> Result<Self, IdentError> {
        let label_ok = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        let numeric_tail = text.rsplit('.').next().is_some_and(|l| l.bytes().all(|b| b.is_ascii_digit()));
        if text.len() > 253 || numeric_tail || !text.split('.').all(label_ok) {
            return Err(IdentError::Authority);
        }
        Ok(Self(text.to_owned()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What the first path segment of a MIMI URI says it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UriKind {
    /// No path: the provider itself.
    Provider,
    /// `/u/`: a user.
    User,
    /// `/d/`: a client (device).
    Client,
    /// `/r/`: a room.
    Room,
    /// `/g/`: an MLS group.
    Group,
    /// Any other first segment, kept as received.
    Other,
}

/// Any valid `mimi:` URI, byte for byte as received.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MimiUri {
    text: String,
    authority_end: usize,
}

const SCHEME: &str = "mimi://";

impl MimiUri {
    /// Longest URI accepted, in bytes.
    pub const MAX_LEN: usize = 2048;

    /// Checks and wraps a URI.
    pub fn parse(text: &str) -> Result<Self, IdentError> {
        if text.len() > Self::MAX_LEN {
            return Err(IdentError::TooLong);
        }
        let rest = text.strip_prefix(SCHEME).ok_or(IdentError::Malformed("scheme is not mimi://"))?;
        if !rest.bytes().all(|b| {
            b.is_ascii_graphic() && !matches!(b, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}')
        }) {
            return Err(IdentError::Malformed("a byte that no URI may hold"));
        }
        if rest.contains(['?', '#']) {
            return Err(IdentError::Malformed("query or fragment"));
        }
        let authority = rest.split('/').next().unwrap_or_default();
        ProviderDomain::parse(authority)?;
        Ok(Self { text: text.to_owned(), authority_end: SCHEME.len() + authority.len() })
    }

    /// Reads a URI from received bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, IdentError> {
        Self::parse(std::str::from_utf8(bytes).map_err(|_| IdentError::Malformed("not UTF-8"))?)
    }

    /// The whole URI.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The provider that the URI belongs to.
    #[must_use]
    pub fn provider(&self) -> ProviderDomain {
        ProviderDomain(self.text.get(SCHEME.len()..self.authority_end).unwrap_or_default().to_owned())
    }

    /// What follows the authority, with its leading slash; empty for a provider.
    #[must_use]
    pub fn path(&self) -> &str {
        self.text.get(self.authority_end..).unwrap_or_default()
    }

    /// What the URI names.
    #[must_use]
    pub fn kind(&self) -> UriKind {
        let path = self.path();
        if path.is_empty() || path == "/" {
            return UriKind::Provider;
        }
        let mut parts = path.splitn(3, '/').skip(1);
        match (parts.next(), parts.next()) {
            (Some("u"), Some(tail)) if !tail.is_empty() => UriKind::User,
            (Some("d"), Some(tail)) if !tail.is_empty() => UriKind::Client,
            (Some("r"), Some(tail)) if !tail.is_empty() => UriKind::Room,
            (Some("g"), Some(tail)) if !tail.is_empty() => UriKind::Group,
            _ => UriKind::Other,
        }
    }

    /// What follows `/<kind>/`, as received (still percent-encoded).
    #[must_use]
    pub fn tail(&self) -> &str {
        self.path().splitn(3, '/').nth(2).unwrap_or_default()
    }
}

macro_rules! kinded_uri {
    ($(#[$doc:meta])* $name:ident, $kind:path, $why:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(MimiUri);

        impl $name {
            /// Checks that the URI is of this kind.
            pub fn parse(text: &str) -> Result<Self, IdentError> {
                Self::try_from(MimiUri::parse(text)?)
            }
            /// Reads a URI of this kind from received bytes.
            pub fn from_bytes(bytes: &[u8]) -> Result<Self, IdentError> {
                Self::try_from(MimiUri::from_bytes(bytes)?)
            }
            /// The whole URI.
            #[must_use]
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }
            /// The provider that it belongs to.
            #[must_use]
            pub fn provider(&self) -> ProviderDomain {
                self.0.provider()
            }
            /// What follows `/<kind>/`, as received (still percent-encoded).
            #[must_use]
            pub fn tail(&self) -> &str {
                self.0.tail()
            }
            /// The URI without its kind.
            #[must_use]
            pub fn as_uri(&self) -> &MimiUri {
                &self.0
            }
        }
        impl TryFrom<MimiUri> for $name {
            type Error = IdentError;
            fn try_from(uri: MimiUri) -> Result<Self, IdentError> {
                if uri.kind() == $kind { Ok(Self(uri)) } else { Err(IdentError::Malformed($why)) }
            }
        }
        impl TryFrom<String> for $name {
            type Error = IdentError;
            fn try_from(text: String) -> Result<Self, IdentError> {
                Self::parse(&text)
            }
        }
        impl From<$name> for String {
            fn from(uri: $name) -> Self {
                uri.0.text
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.as_str())
            }
        }
    };
}

kinded_uri!(
    /// A user: `mimi://b.example/u/bob`.
    UserUri, UriKind::User, "not a user URI (mimi://provider/u/name)"
);
kinded_uri!(
    /// A client: `mimi://b.example/d/bob/gateway`.
    ClientUri, UriKind::Client, "not a client URI (mimi://provider/d/user/device)"
);
kinded_uri!(
    /// A room: `mimi://a.example/r/clubhouse`. Its provider is the room's hub.
    RoomUri, UriKind::Room, "not a room URI (mimi://provider/r/name)"
);
kinded_uri!(
    /// An MLS group: `mimi://a.example/g/clubhouse/1`.
    GroupUri, UriKind::Group, "not a group URI (mimi://provider/g/name)"
);

impl UserUri {
    /// The user `tail` (already percent-encoded) of `provider`.
    pub fn new(provider: &ProviderDomain, tail: &str) -> Result<Self, IdentError> {
        Self::parse(&format!("{SCHEME}{provider}/u/{tail}"))
    }
    /// This user's client named `device`: `mimi://provider/d/<user>/<device>`.
    pub fn client(&self, device: &str) -> Result<ClientUri, IdentError> {
        ClientUri::parse(&format!("{SCHEME}{}/d/{}/{device}", self.provider(), self.tail()))
    }
}

impl ClientUri {
    /// The user that the client belongs to, if the URI says so (`d/<user>/<device>`; a bare `d/<device>` does not).
    pub fn user(&self) -> Result<UserUri, IdentError> {
        let (user, device) = self.tail().rsplit_once('/').ok_or(IdentError::Malformed("client URI without user"))?;
        if user.is_empty() || device.is_empty() {
            return Err(IdentError::Malformed("client URI without user or device"));
        }
        UserUri::new(&self.provider(), user)
    }
}

impl RoomUri {
    /// The room `tail` of `provider`.
    pub fn new(provider: &ProviderDomain, tail: &str) -> Result<Self, IdentError> {
        Self::parse(&format!("{SCHEME}{provider}/r/{tail}"))
    }
    /// The provider whose hub runs the room.
    #[must_use]
    pub fn hub(&self) -> ProviderDomain {
        self.provider()
    }
}

impl TryFrom<String> for ProviderDomain {
    type Error = IdentError;
    fn try_from(text: String) -> Result<Self, IdentError> {
        Self::parse(&text)
    }
}
impl From<ProviderDomain> for String {
    fn from(domain: ProviderDomain) -> Self {
        domain.0
    }
}
impl TryFrom<String> for MimiUri {
    type Error = IdentError;
    fn try_from(text: String) -> Result<Self, IdentError> {
        Self::parse(&text)
    }
}
impl From<MimiUri> for String {
    fn from(uri: MimiUri) -> Self {
        uri.text
    }
}
impl fmt::Display for ProviderDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Debug for ProviderDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}
impl fmt::Display for MimiUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
impl fmt::Debug for MimiUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}
