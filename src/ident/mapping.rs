//! The injective mapping between Matrix identifiers and MIMI URIs.
//!
//! | Matrix | MIMI |
//! |---|---|
//! | `@alice:own` | `mimi://PROVIDER/u/alice` |
//! | `@carol:other.org` | `mimi://PROVIDER/u/carol%3Aother.org` |
//! | ghost `@_mimi_b.example=2fbob:own` | `mimi://b.example/u/bob` |
//! | portal `#_mimi_b.example=2fr=2fclub:own` | `mimi://b.example/r/club` |
//!
//! Only one spelling of each identifier maps back: a URI that differs from what we would write names nobody here, so
//! two spellings can never be one person.

use std::fmt::Write as _;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use ruma::{OwnedRoomAliasId, OwnedServerName, OwnedUserId, RoomAliasId, ServerName, UserId};
use sha2::{Digest, Sha256};

use super::{GroupUri, IdentError, MimiUri, ProviderDomain, RoomUri, UriKind, UserUri};

/// How the localparts of ghosts and portal aliases begin, in every gateway of this kind.
pub const GHOST_PREFIX: &str = "_mimi_";

const HASH_MARK: &str = "h=";
/// Matrix allows 255 bytes for a whole identifier, sigil and server name included.
const MATRIX_ID_MAX: usize = 255;
/// Longest display name that we make, in characters.
const NAME_MAX: usize = 200;

/// Kept in a user URI's last segment: RFC 3986's unreserved characters, and `=` and `+`, which Matrix localparts use.
const SEGMENT: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'=').remove(b'+');

/// Why an identifier has no counterpart. Permanent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MappingError {
    /// A ghost of this or another gateway stands for a MIMI user and is no Matrix user of its own.
    #[error("a gateway's ghost is not a user of its own")]
    Ghost,
    /// One of our own provider's users needs no ghost.
    #[error("the user is one of our own")]
    Own,
    /// The Matrix id cannot be part of a URI.
    #[error("the Matrix id cannot be expressed as a URI: {0}")]
    NotExpressible(#[from] IdentError),
    /// The homeserver's name leaves no room even for the short form.
    #[error("the server name is too long")]
    ServerName,
}

/// A localpart made from a URI.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Localpart {
    /// The localpart, with [`GHOST_PREFIX`], without sigil and server.
    pub text: String,
    /// Whether the URI can be read back from it. If not, the URI must be stored beside it.
    pub reversible: bool,
}

/// What a Matrix user id says about the MIMI user behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GhostOf {
    /// This one.
    User(UserUri),
    /// One whose URI was too long for the localpart: look the id up in the store.
    Stored,
}

/// The mapping of one gateway: its provider domain and its homeserver's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityMap {
    provider: ProviderDomain,
    server: OwnedServerName,
}

impl IdentityMap {
    /// The mapping between the provider `provider` and the homeserver `server`.
    #[must_use]
    pub fn new(provider: ProviderDomain, server: OwnedServerName) -> Self {
        Self { provider, server }
    }

    /// Our provider domain.
    #[must_use]
    pub fn provider(&self) -> &ProviderDomain {
        &self.provider
    }

    /// Our homeserver's name.
    #[must_use]
    pub fn server_name(&self) -> &ServerName {
        &self.server
    }

    /// The MIMI user that a Matrix user is: of our own server, or a federated one.
    pub fn user_uri(&self, user: &UserId) -> Result<UserUri, MappingError> {
        if is_ghost_pattern(user) {
            return Err(MappingError::Ghost);
        }
        let name = if user.server_name() == self.server {
            user.localpart().to_owned()
        } else {
            format!("{}:{}", user.localpart(), user.server_name())
        };
        Ok(UserUri::new(&self.provider, &utf8_percent_encode(&name, SEGMENT).to_string())?)
    }

    /// The Matrix user that a URI of our own provider names; `None` for other providers' users, and for a spelling
    /// that [`IdentityMap::user_uri`] would not write.
    #[must_use]
    pub fn matrix_user(&self, uri: &UserUri) -> Option<OwnedUserId> {
        if uri.provider() != self.provider {
            return None;
        }
        let name = percent_decode_str(uri.tail()).decode_utf8().ok()?;
        let text = if name.contains(':') { format!("@{name}") } else { format!("@{name}:{}", self.server) };
        let user = UserId::parse(text).ok()?;
        (self.user_uri(&user).as_ref() == Ok(uri)).then_some(user)
    }

    /// The localpart of the ghost of another provider's user.
    pub fn ghost_localpart(&self, uri: &UserUri) -> Result<Localpart, MappingError> {
        if uri.provider() == self.provider {
            return Err(MappingError::Own);
        }
        self.localpart(uri.as_uri())
    }

    /// The Matrix user id of the ghost of another provider's user.
    pub fn ghost(&self, uri: &UserUri) -> Result<OwnedUserId, MappingError> {
        let localpart = self.ghost_localpart(uri)?.text;
        UserId::parse(format!("@{localpart}:{}", self.server)).map_err(|_| MappingError::ServerName)
    }

    /// The MIMI user behind a ghost of this gateway; `None` if the id is not one that [`IdentityMap::ghost`] makes.
    #[must_use]
    pub fn ghost_of(&self, user: &UserId) -> Option<GhostOf> {
        if user.server_name() != self.server {
            return None;
        }
        match self.unescape(user.localpart())? {
            None => Some(GhostOf::Stored),
            Some(uri) => {
                let uri = UserUri::try_from(uri).ok()?;
                (uri.provider() != self.provider).then_some(GhostOf::User(uri))
            }
        }
    }

    /// The localpart of the alias of a room that is hosted elsewhere. The same room always gets the same.
    pub fn portal_localpart(&self, room: &RoomUri) -> Result<Localpart, MappingError> {
        self.localpart(room.as_uri())
    }

    /// The alias of a room that is hosted elsewhere.
    pub fn portal_alias(&self, room: &RoomUri) -> Result<OwnedRoomAliasId, MappingError> {
        let localpart = self.portal_localpart(room)?.text;
        RoomAliasId::parse(format!("#{localpart}:{}", self.server)).map_err(|_| MappingError::ServerName)
    }

    /// The room that a portal alias of ours names; `None` if it is no such alias, or its URI is only in the store.
    #[must_use]
    pub fn portal_room(&self, alias: &RoomAliasId) -> Option<RoomUri> {
        if alias.server_name() != self.server {
            return None;
        }
        RoomUri::try_from(self.unescape(alias.alias())??).ok()
    }

    fn fits(&self, localpart: &str) -> bool {
        // The sigil and the colon are two more.
        localpart.len() + self.server.as_str().len() + 2 <= MATRIX_ID_MAX
    }

    fn localpart(&self, uri: &MimiUri) -> Result<Localpart, MappingError> {
        let text = format!("{GHOST_PREFIX}{}", escape(uri));
        // A provider called `h` would look like the mark of the short form.
        if !text.starts_with(&format!("{GHOST_PREFIX}{HASH_MARK}")) && self.fits(&text) {
            return Ok(Localpart { text, reversible: true });
        }
        let hash = base32(&Sha256::digest(uri.as_str().as_bytes()));
        let text = format!("{GHOST_PREFIX}{HASH_MARK}{hash}");
        if self.fits(&text) { Ok(Localpart { text, reversible: false }) } else { Err(MappingError::ServerName) }
    }

    /// `None`: not ours. `Some(None)`: the short form. `Some(Some(_))`: the URI.
    #[expect(clippy::option_option, reason = "three answers of a private helper, named above")]
    fn unescape(&self, localpart: &str) -> Option<Option<MimiUri>> {
        let escaped = localpart.strip_prefix(GHOST_PREFIX)?;
        if let Some(hash) = escaped.strip_prefix(HASH_MARK) {
            return is_hash(hash).then_some(None);
        }
        let uri = unescape(escaped)?;
        (self.localpart(&uri).ok()?.text == localpart).then_some(Some(uri))
    }
}

/// Whether a Matrix user id is shaped like the ghost of any such gateway, on any server. Its events are never bridged.
#[must_use]
pub fn is_ghost_pattern(user: &UserId) -> bool {
    user.localpart().starts_with(GHOST_PREFIX)
}

/// The part of the URI that the localpart carries: authority and path, `/u/` left out if one segment follows it.
fn escape(uri: &MimiUri) -> String {
    let tail = uri.tail();
    let path =
        if uri.kind() == UriKind::User && !tail.contains('/') { format!("/{tail}") } else { uri.path().to_owned() };
    let mut out = String::new();
    for byte in uri.provider().as_str().bytes().chain(path.bytes()) {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-' => out.push(char::from(byte)),
            _ => {
                // Writing to a String cannot fail.
                let _ = write!(out, "={byte:02x}");
            }
        }
    }
    out
}

/// The URI that [`escape`] was given, if it was. The caller compares by escaping again.
fn unescape(escaped: &str) -> Option<MimiUri> {
    let mut pieces = escaped.split('=');
    let mut text = pieces.next()?.to_owned();
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2)?;
        let byte = u8::from_str_radix(digits, 16).ok().filter(u8::is_ascii)?;
        text.push(char::from(byte));
        text.push_str(rest);
    }
    let (authority, path) = text.split_once('/')?;
    let kind = if path.contains('/') { "" } else { "u/" };
    MimiUri::parse(&format!("mimi://{authority}/{kind}{path}")).ok()
}

/// A display name for a MIMI user: its decoded name and its provider, `bob (b.example)`. Characters that could deceive
/// (controls, NUL, direction marks, invisible ones) stay percent-encoded.
#[must_use]
pub fn display_name(user: &UserUri) -> String {
    let decoded = percent_decode_str(user.tail()).decode_utf8();
    let name = decoded.as_deref().unwrap_or_else(|_| user.tail());
    format!("{} ({})", shown(name, NAME_MAX), user.provider())
}

/// A foreign text for people, cut after `most` characters: what could deceive (controls, NUL, direction marks, invisible
/// characters) is percent-encoded.
#[must_use]
pub fn shown(text: &str, most: usize) -> String {
    let mut out = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == most {
            out.push('…');
            break;
        }
        if deceives(c) {
            out.extend(utf8_percent_encode(c.encode_utf8(&mut [0; 4]), NON_ALPHANUMERIC));
        } else {
            out.push(c);
        }
    }
    out
}

pub(super) fn deceives(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180e}'
            | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

impl RoomUri {
    /// A new room of ours, named by random bytes.
    pub fn from_random(provider: &ProviderDomain, random: &[u8; 16]) -> Result<Self, IdentError> {
        Self::new(provider, &base32(random))
    }

    /// The room's `n`-th MLS group: `mimi://PROVIDER/g/<room>/<n>`.
    pub fn group(&self, n: u32) -> Result<GroupUri, IdentError> {
        GroupUri::parse(&format!("mimi://{}/g/{}/{n}", self.provider(), self.tail()))
    }
}

const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// RFC 4648 base32 in lower case, without padding.
fn base32(bytes: &[u8]) -> String {
    let mut out = String::new();
    let (mut buffer, mut bits) = (0_u32, 0_u32);
    for byte in bytes {
        buffer = buffer << 8 | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            push_digit(&mut out, buffer >> bits);
            buffer &= (1 << bits) - 1;
        }
    }
    if bits > 0 {
        push_digit(&mut out, buffer << (5 - bits));
    }
    out
}

fn push_digit(out: &mut String, value: u32) {
    let digit = BASE32.get((value & 31) as usize).copied().unwrap_or_default();
    out.push(char::from(digit));
}

/// Whether this is the base32 form of 32 bytes.
fn is_hash(text: &str) -> bool {
    text.len() == 52 && text.bytes().all(|b| BASE32.contains(&b))
}

#[cfg(test)]
mod tests;
