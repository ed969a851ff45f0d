//! `ApplicationFraming` and `MediaTypeList` (draft-ietf-mls-extensions section 6.2): how application data says what it is in a
//! group with the component `content_media_types` (0x0003).

use serde::{Deserialize, Serialize};

use super::{
    codec::{DecodeError, DecodeErrorKind, Reader, Wire, Writer},
    limits,
};

/// A parameter of a media type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MediaTypeParameter {
    /// Its name.
    pub name: String,
    /// Its value, without quotes.
    pub value: String,
}

/// A media type with its parameters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MediaType {
    /// `type/subtype`. Empty in a framing for the first type of the group's list.
    #[serde(rename = "type")]
    pub essence: String,
    /// Its parameters.
    pub parameters: Vec<MediaTypeParameter>,
}

impl Wire for MediaType {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            essence: reader.text("type", limits::MEDIA_TYPE)?,
            parameters: reader.list("parameters", limits::MLS_OBJECT, limits::MEDIA_TYPES, |r| {
                Ok(MediaTypeParameter {
                    name: r.text("parameter_name", limits::MEDIA_TYPE)?,
                    value: r.text("parameter_value", limits::MEDIA_TYPE)?,
                })
            })?,
        })
    }

    fn write(&self, writer: &mut Writer) {
        writer.opaque(self.essence.as_bytes());
        writer.each(&self.parameters, |w, parameter| {
            w.opaque(parameter.name.as_bytes());
            w.opaque(parameter.value.as_bytes());
        });
    }
}

/// The media types that a client takes, or that a group's members must take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MediaTypeList {
    /// The types; at least one.
    #[serde(rename = "media_type_list")]
    pub media_types: Vec<MediaType>,
}

impl Wire for MediaTypeList {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = reader.clone();
        let media_types = reader.list("media_type_list", limits::MLS_OBJECT, limits::MEDIA_TYPES, MediaType::read)?;
        if media_types.is_empty() {
            return Err(at.error("media_type_list", DecodeErrorKind::NotAllowed("at least one is wanted")));
        }
        Ok(Self { media_types })
    }

    fn write(&self, writer: &mut Writer) {
        writer.list(&self.media_types);
    }
}

/// Application data that says what it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplicationFraming {
    /// What the content is.
    pub media_type: MediaType,
    /// The content.
    #[serde(rename = "inner_application_content", with = "super::json::hex_bytes")]
    pub content: Vec<u8>,
}

impl Wire for ApplicationFraming {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            media_type: reader.inside("media_type", MediaType::read)?,
            content: reader.opaque("inner_application_content", limits::APPLICATION_DATA)?.to_vec(),
        })
    }

    fn write(&self, writer: &mut Writer) {
        self.media_type.write(writer);
        writer.opaque(&self.content);
    }
}
