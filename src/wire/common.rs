//! Pieces that several messages share: protocol, URIs, code point lists (draft-ietf-mimi-protocol-06 section 5,
//! RFC 9420 section 7.2), and the `AppDataDictionary` of draft-ietf-mls-extensions section 4.5.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    codec::{DecodeError, DecodeErrorKind, Reader, Wire, Writer, octet_enum},
    limits,
};
use crate::ident::{IdentError, MimiUri, RoomUri};

octet_enum!(
    /// The end-to-end protocol. Structures that carry it are decoded only when it is MLS 1.0, so their types have no
    /// field for it; another value is an error at the field `protocol`.
    Protocol, "protocol", {
        /// MLS 1.0 (RFC 9420).
        Mls10 = 1,
    }
);

/// Reads an `IdentifierUri` of the kind that `parse` accepts.
pub(super) fn read_uri<T>(
    reader: &mut Reader<'_>,
    field: &'static str,
    parse: impl FnOnce(&[u8]) -> Result<T, IdentError>,
) -> Result<T, DecodeError> {
    let at = reader.clone();
    parse(reader.opaque(field, MimiUri::MAX_LEN)?).map_err(|e| at.error(field, e.into()))
}

/// Reads an `IdentifierUri` that is empty where there is none.
pub(super) fn read_uri_or_empty<T>(
    reader: &mut Reader<'_>,
    field: &'static str,
    parse: impl FnOnce(&[u8]) -> Result<T, IdentError>,
) -> Result<Option<T>, DecodeError> {
    read_uri(reader, field, |bytes| if bytes.is_empty() { Ok(None) } else { parse(bytes).map(Some) })
}

/// Reads an `optional<RoomId>`.
pub(super) fn read_optional_room(reader: &mut Reader<'_>) -> Result<Option<RoomUri>, DecodeError> {
    reader.optional("roomId", |r| read_uri(r, "roomId", RoomUri::from_bytes))
}

/// Reads a vector of two-octet code points.
pub(super) fn read_code_points(reader: &mut Reader<'_>, field: &'static str) -> Result<Vec<u16>, DecodeError> {
    reader.list(field, limits::CODE_POINTS * 2, limits::CODE_POINTS, |r| r.u16(field))
}

/// Writes a vector of two-octet code points.
pub(super) fn write_code_points(writer: &mut Writer, codes: &[u16]) {
    writer.vector(|w| codes.iter().for_each(|code| w.u16(*code)));
}

/// Reads a vector of component ids with data: sorted, each id once.
pub(super) fn read_components(
    reader: &mut Reader<'_>,
    field: &'static str,
    data: &'static str,
    items: usize,
) -> Result<BTreeMap<u16, Vec<u8>>, DecodeError> {
    let mut out = BTreeMap::new();
    let mut last = None;
    reader.each(field, limits::MLS_OBJECT, items, |r| {
        let at = r.clone();
        let id = r.u16("component_id")?;
        if last.is_some_and(|last| id <= last) {
            let why = DecodeErrorKind::NotAllowed("components must be sorted and unique");
            return Err(at.error("component_id", why));
        }
        last = Some(id);
        out.insert(id, r.opaque(data, limits::MLS_OBJECT)?.to_vec());
        Ok(())
    })?;
    Ok(out)
}

/// Writes a vector of component ids with data.
pub(super) fn write_components(writer: &mut Writer, components: &BTreeMap<u16, Vec<u8>>) {
    writer.each(components, |w, (id, data)| {
        w.u16(*id);
        w.opaque(data);
    });
}

/// Data of application components by component id: sorted, each id once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppDataDictionary(#[serde(with = "super::json::components")] pub BTreeMap<u16, Vec<u8>>);

impl Wire for AppDataDictionary {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        read_components(reader, "component_data", "data", limits::COMPONENTS).map(Self)
    }

    fn write(&self, writer: &mut Writer) {
        write_components(writer, &self.0);
    }
}
