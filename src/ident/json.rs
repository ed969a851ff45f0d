//! How bytes look in JSON: hex, or text where they are text. Nothing is lost, so that the same bytes can be made again.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Reads hex, with an error that says so.
pub(crate) fn from_hex<E: serde::de::Error>(text: &str) -> Result<Vec<u8>, E> {
    hex::decode(text).map_err(|e| E::custom(format_args!("not hex: {e}")))
}

/// Bytes as a hex string.
pub(crate) mod hex_bytes {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        from_hex(&String::deserialize(deserializer)?)
    }
}

/// A fixed number of bytes as a hex string.
pub(crate) mod hex_array {
    use super::*;

    pub(crate) fn serialize<S: Serializer, const N: usize>(bytes: &[u8; N], serializer: S) -> Result<S::Ok, S::Error> {
        hex_bytes::serialize(bytes, serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(deserializer: D) -> Result<[u8; N], D::Error> {
        let bytes = hex_bytes::deserialize(deserializer)?;
        let found = bytes.len();
        bytes.try_into().map_err(|_| D::Error::custom(format_args!("{found} bytes, {N} are wanted")))
    }
}

/// Bytes or nothing, as a hex string or null.
pub(crate) mod hex_option {
    use super::*;

    #[expect(clippy::ref_option, reason = "serde calls it so")]
    pub(crate) fn serialize<S: Serializer>(bytes: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
        bytes.as_ref().map(hex::encode).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
        Option::<String>::deserialize(deserializer)?.map(|text| from_hex(&text)).transpose()
    }
}

/// Bytes that are mostly text: `{"text": "…"}` if they are UTF-8, else `{"hex": "…"}`.
pub(crate) mod text_or_hex {
    use super::*;

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    enum Form<'a> {
        Text(std::borrow::Cow<'a, str>),
        Hex(String),
    }

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Form::Text(text.into()),
            Err(_) => Form::Hex(hex::encode(bytes)),
        }
        .serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        match Form::deserialize(deserializer)? {
            Form::Text(text) => Ok(text.into_owned().into_bytes()),
            Form::Hex(text) => from_hex(&text),
        }
    }
}
