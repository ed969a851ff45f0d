//! Typed identifiers of the MIMI side, and the injective mapping between them and Matrix identifiers.
//!
//! URIs are stored and compared byte by byte as received (draft-ietf-mimi-protocol-06 has no canonical form); only the
//! authority is checked to be a lower-case DNS name without port or user info.

mod called;
pub(crate) mod json;
mod mapping;
mod pattern;
mod uri;

pub use called::{Look, MAX_NAME, address_name, called, plain_name};
pub use mapping::{GHOST_PREFIX, GhostOf, IdentityMap, Localpart, MappingError, display_name, is_ghost_pattern, shown};
pub use pattern::Pattern;
pub use uri::{ClientUri, GroupUri, IdentError, MimiUri, ProviderDomain, RoomUri, UriKind, UserUri};
