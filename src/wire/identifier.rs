//! `POST /identifierQuery/{domain}` (draft-ietf-mimi-protocol-06 section 5.8).
//!
//! The elements of a query have AND semantics. A query without elements would match everybody, so it is refused.

use serde::{Deserialize, Serialize};

use super::{
    codec::{DecodeError, DecodeErrorKind, Reader, Wire, Writer, octet_enum},
    common::{AppDataDictionary, read_uri},
    limits,
};
use crate::ident::MimiUri;

octet_enum!(
    /// Discriminator of [`SearchField`].
    SearchIdentifierType, "searchType", {
        /// A whole handle.
        Handle = 1,
        /// A nickname or a handle's user part.
        Nick = 2,
        /// An address.
        Email = 3,
        /// A telephone number.
        Phone = 4,
        /// Part of a name.
        PartialName = 5,
        /// Part of anything.
        WholeProfile = 6,
        /// An `OpenID` Connect claim.
        OidcStdClaim = 7,
        /// A vCard property.
        VcardField = 8,
    }
);

/// What is searched.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SearchField {
    /// The whole handle URI, exactly: `im:alice.smith@a.example`.
    Handle,
    /// The nickname, or the user part of the handle, exactly: `alice.smith`.
    Nick,
    /// An RFC 5322 addr-spec, exactly.
    Email,
    /// A telephone number in international format, exactly: `+12125551212`.
    Phone,
    /// A substring, whatever its case, of any field that holds a name.
    PartialName,
    /// A substring of any searchable field.
    WholeProfile,
    /// This `UserInfo` standard claim (`OpenID` Connect Core section 5.1), exactly.
    OidcStdClaim(String),
    /// This registered vCard property, exactly.
    VcardField(String),
}

/// One condition of a query.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueryElement {
    /// What is searched.
    #[serde(rename = "searchType")]
    pub field: SearchField,
    /// What it must be, or contain.
    #[serde(rename = "searchValue")]
    pub value: String,
}

impl Wire for QueryElement {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let field = match SearchIdentifierType::read(reader)? {
            SearchIdentifierType::Handle => SearchField::Handle,
            SearchIdentifierType::Nick => SearchField::Nick,
            SearchIdentifierType::Email => SearchField::Email,
            SearchIdentifierType::Phone => SearchField::Phone,
            SearchIdentifierType::PartialName => SearchField::PartialName,
            SearchIdentifierType::WholeProfile => SearchField::WholeProfile,
            SearchIdentifierType::OidcStdClaim => {
                SearchField::OidcStdClaim(reader.text("claimName", limits::SEARCH_VALUE)?)
            }
            SearchIdentifierType::VcardField => {
                SearchField::VcardField(reader.text("propertyName", limits::SEARCH_VALUE)?)
            }
        };
        Ok(Self { field, value: reader.text("searchValue", limits::SEARCH_VALUE)? })
    }

    fn write(&self, writer: &mut Writer) {
        let (code, name) = match &self.field {
            SearchField::Handle => (SearchIdentifierType::Handle, None),
            SearchField::Nick => (SearchIdentifierType::Nick, None),
            SearchField::Email => (SearchIdentifierType::Email, None),
            SearchField::Phone => (SearchIdentifierType::Phone, None),
            SearchField::PartialName => (SearchIdentifierType::PartialName, None),
            SearchField::WholeProfile => (SearchIdentifierType::WholeProfile, None),
            SearchField::OidcStdClaim(name) => (SearchIdentifierType::OidcStdClaim, Some(name)),
            SearchField::VcardField(name) => (SearchIdentifierType::VcardField, Some(name)),
        };
        code.write(writer);
        if let Some(name) = name {
            writer.opaque(name.as_bytes());
        }
        writer.opaque(self.value.as_bytes());
    }
}

/// A search for users of one provider. It does not say who asks: that is the connection's peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentifierRequest {
    /// What all has to match; at least one.
    #[serde(rename = "query_elements")]
    pub elements: Vec<QueryElement>,
    /// Data of application components.
    #[serde(rename = "id_request_extensions")]
    pub extensions: AppDataDictionary,
}

impl Wire for IdentifierRequest {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = reader.clone();
        let elements = reader.list("query_elements", limits::MLS_OBJECT, limits::QUERY_ELEMENTS, QueryElement::read)?;
        if elements.is_empty() {
            return Err(at.error("query_elements", DecodeErrorKind::NotAllowed("a query without elements")));
        }
        Ok(Self { elements, extensions: reader.inside("id_request_extensions", AppDataDictionary::read)? })
    }

    fn write(&self, writer: &mut Writer) {
        writer.list(&self.elements);
        self.extensions.write(writer);
    }
}

octet_enum!(
    /// How a query went.
    IdentifierQueryCode, "responseCode", {
        /// At least one user matched.
        Success = 0,
        /// Nobody matched, or nobody who wants to be found.
        NotFound = 1,
        /// A field must match exactly for an answer.
        Ambiguous = 2,
        /// Not allowed to this peer, or not with these fields.
        Forbidden = 3,
        /// A field that this provider does not search.
        UnsupportedField = 4,
    }
);

octet_enum!(
    /// Whose names a profile field's name is from.
    FieldSource, "fieldSource", {
        /// `OpenID` Connect's `UserInfo` standard claims.
        OidcStdClaim = 7,
        /// The vCard properties.
        VcardField = 8,
    }
);

/// One field of a profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProfileField {
    /// Whose names `name` is from.
    #[serde(rename = "fieldSource")]
    pub source: FieldSource,
    /// Its name.
    #[serde(rename = "fieldName")]
    pub name: String,
    /// Its value: untrusted, and not always text.
    #[serde(rename = "fieldValue", with = "super::json::text_or_hex")]
    pub value: Vec<u8>,
}

impl Wire for ProfileField {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            source: FieldSource::read(reader)?,
            name: reader.text("fieldName", limits::SEARCH_VALUE)?,
            value: reader.opaque("fieldValue", limits::PROFILE_VALUE)?.to_vec(),
        })
    }

    fn write(&self, writer: &mut Writer) {
        self.source.write(writer);
        writer.opaque(self.name.as_bytes());
        writer.opaque(&self.value);
    }
}

/// A user who was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UserProfile {
    /// The user's address; not checked to be a user of the answering provider.
    pub stable_uri: MimiUri,
    /// What the user shows.
    pub fields: Vec<ProfileField>,
}

impl Wire for UserProfile {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            stable_uri: read_uri(reader, "stableUri", MimiUri::from_bytes)?,
            fields: reader.list("fields", limits::MLS_OBJECT, limits::PROFILE_FIELDS, ProfileField::read)?,
        })
    }

    fn write(&self, writer: &mut Writer) {
        writer.opaque(self.stable_uri.as_str().as_bytes());
        writer.list(&self.fields);
    }
}

/// The answer to a search. Unsigned: only as good as the connection that it came over.
///
/// A user who does not want to be found gets the same answer as one who does not exist:
/// [`IdentifierResponse::empty`] with `NotFound`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IdentifierResponse {
    /// How it went.
    #[serde(rename = "responseCode")]
    pub code: IdentifierQueryCode,
    /// Who was found. We write the `stableUri` of every profile; a peer may list users without profile.
    #[serde(rename = "uri")]
    pub uris: Vec<MimiUri>,
    /// What they show.
    #[serde(rename = "foundProfiles")]
    pub profiles: Vec<UserProfile>,
    /// Data of application components.
    #[serde(rename = "id_response_extensions")]
    pub extensions: AppDataDictionary,
}

impl IdentifierResponse {
    /// An answer without users.
    #[must_use]
    pub fn empty(code: IdentifierQueryCode) -> Self {
        Self { code, uris: Vec::new(), profiles: Vec::new(), extensions: AppDataDictionary::default() }
    }

    /// `success` with these users, or `notFound` if there are none.
    #[must_use]
    pub fn found(profiles: Vec<UserProfile>) -> Self {
        let code = if profiles.is_empty() { IdentifierQueryCode::NotFound } else { IdentifierQueryCode::Success };
        let uris = profiles.iter().map(|profile| profile.stable_uri.clone()).collect();
        Self { uris, profiles, ..Self::empty(code) }
    }
}

impl Wire for IdentifierResponse {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            code: IdentifierQueryCode::read(reader)?,
            uris: reader
                .list("uri", limits::MLS_OBJECT, limits::PROFILES, |r| read_uri(r, "uri", MimiUri::from_bytes))?,
            profiles: reader.list("foundProfiles", limits::MLS_OBJECT, limits::PROFILES, UserProfile::read)?,
            extensions: reader.inside("id_response_extensions", AppDataDictionary::read)?,
        })
    }

    fn write(&self, writer: &mut Writer) {
        self.code.write(writer);
        writer.each(&self.uris, |w, uri| w.opaque(uri.as_str().as_bytes()));
        writer.list(&self.profiles);
        self.extensions.write(writer);
    }
}
