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

/// A path is empty, `/`, or segments that are neither empty nor `.` or `..` (in any spelling), with valid escapes that
/// stand for no control characters.
fn check_path(path: &str) -> Result<(), IdentError> {
    if path.is_empty() || path == "/" {
        return Ok(());
    }
    for segment in path.split('/').skip(1) {
        if segment.is_empty() {
            return Err(IdentError::Malformed("empty path segment"));
        }
        let mut decoded = Vec::new();
        let mut rest = segment.bytes();
        while let Some(byte) = rest.next() {
            if byte != b'%' {
                decoded.push(byte);
                continue;
            }
            let mut digit = || rest.next().and_then(|d| char::from(d).to_digit(16)).and_then(|d| u8::try_from(d).ok());
            let (Some(high), Some(low)) = (digit(), digit()) else {
                return Err(IdentError::Malformed("percent sign without two hex digits"));
            };
            decoded.push(high << 4 | low);
        }
        if decoded == b"." || decoded == b".." {
            return Err(IdentError::Malformed("dot segment"));
        }
        if decoded.iter().any(u8::is_ascii_control) {
            return Err(IdentError::Malformed("encoded control character"));
        }
    }
    Ok(())
}

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
        check_path(rest.get(authority.len()..).unwrap_or_default())?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_told_apart_by_kind() {
        let table = [
            ("mimi://b.example", UriKind::Provider, ""),
            ("mimi://b.example/", UriKind::Provider, ""),
            ("mimi://b.example/u/bob", UriKind::User, "bob"),
            ("mimi://b.example/u/bob/x", UriKind::User, "bob/x"),
            ("mimi://b.example/d/bob/gateway", UriKind::Client, "bob/gateway"),
            ("mimi://b.example/r/club%20house", UriKind::Room, "club%20house"),
            ("mimi://b.example/g/club/1", UriKind::Group, "club/1"),
            ("mimi://b.example/u", UriKind::Other, ""),
            ("mimi://b.example/p/x", UriKind::Other, "x"),
            ("mimi://b.example/U/bob", UriKind::Other, "bob"),
        ];
        for (text, kind, tail) in table {
            let uri = MimiUri::parse(text).unwrap();
            assert_eq!((uri.kind(), uri.tail(), uri.as_str()), (kind, tail, text), "{text}");
            assert_eq!(uri.provider().as_str(), "b.example");
        }
    }

    #[test]
    fn what_is_no_uri_of_ours_is_refused() {
        let bad = |why| IdentError::Malformed(why);
        let escape = "percent sign without two hex digits";
        let table = [
            ("", bad("scheme is not mimi://")),
            ("MIMI://b.example/u/bob", bad("scheme is not mimi://")),
            ("https://b.example/u/bob", bad("scheme is not mimi://")),
            ("mimi://", IdentError::Authority),
            ("mimi:///u/bob", IdentError::Authority),
            ("mimi://B.example/u/bob", IdentError::Authority),
            ("mimi://b.example./u/bob", IdentError::Authority),
            ("mimi://b..example/u/bob", IdentError::Authority),
            ("mimi://-b.example/u/bob", IdentError::Authority),
            ("mimi://127.0.0.1/u/bob", IdentError::Authority),
            ("mimi://[::1]/u/bob", IdentError::Authority),
            ("mimi://b.example:443/u/bob", IdentError::Authority),
            ("mimi://a@b.example/u/bob", IdentError::Authority),
            ("mimi://b%2eexample/u/bob", IdentError::Authority),
            ("mimi://b.example/u/bob?x", bad("query or fragment")),
            ("mimi://b.example/u/bob#x", bad("query or fragment")),
            ("mimi://b.example/u/b ob", bad("a byte that no URI may hold")),
            ("mimi://b.example/u/b\u{f6}b", bad("a byte that no URI may hold")),
            ("mimi://b.example/u/b\0b", bad("a byte that no URI may hold")),
            ("mimi://b.example/u/bo%", bad(escape)),
            ("mimi://b.example/u/bo%4", bad(escape)),
            ("mimi://b.example/u/bo%4/4", bad(escape)),
            ("mimi://b.example/u/bo%4g", bad(escape)),
            ("mimi://b.example/u/bo%+4", bad(escape)),
            ("mimi://b.example/u/bob%00", bad("encoded control character")),
            ("mimi://b.example/u/bob%0a", bad("encoded control character")),
            ("mimi://b.example/u/", bad("empty path segment")),
            ("mimi://b.example/u//bob", bad("empty path segment")),
            ("mimi://b.example//u/bob", bad("empty path segment")),
            ("mimi://b.example/u/bob/", bad("empty path segment")),
            ("mimi://b.example/u/..", bad("dot segment")),
            ("mimi://b.example/u/../r/x", bad("dot segment")),
            ("mimi://b.example/./u/x", bad("dot segment")),
            ("mimi://b.example/u/%2e%2E", bad("dot segment")),
            ("mimi://b.example/u/.%2e", bad("dot segment")),
        ];
        for (text, error) in table {
            assert_eq!(MimiUri::parse(text), Err(error), "{text:?}");
        }
        let long = format!("mimi://b.example/u/{}", "x".repeat(MimiUri::MAX_LEN));
        assert_eq!(MimiUri::parse(&long), Err(IdentError::TooLong));
        assert!(MimiUri::from_bytes(b"mimi://b.example/u/\xff").is_err());
    }

    #[test]
    fn a_uri_of_another_kind_is_no_user() {
        assert!(UserUri::parse("mimi://b.example/r/bob").is_err());
        // A pseudonym (draft-ietf-mimi-protocol-06 section 6).
        assert!(UserUri::parse("mimi://b.example/p/1d2e").is_err());
        assert!(RoomUri::parse("mimi://b.example/u/bob").is_err());
        assert!(serde_json::from_str::<UserUri>(r#""mimi://b.example/u/../x""#).is_err());
    }

    #[test]
    fn a_client_names_its_user() {
        let user = UserUri::parse("mimi://b.example/u/bob").unwrap();
        let client = user.client("gateway").unwrap();
        assert_eq!(client.as_str(), "mimi://b.example/d/bob/gateway");
        assert_eq!(client.user().unwrap(), user);
        assert!(ClientUri::parse("mimi://b.example/d/ClientA1").unwrap().user().is_err());
    }
}
