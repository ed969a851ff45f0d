//! Content as JSON (`mimi-gateway inspect`), nothing lost: bytes as hex or text, extension values as [`to_json`] has them.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::{Map, Value as Json, json};

use super::{extensions::ExtensionKey, value::CborValue};
pub(super) use crate::ident::json::{hex_array as salt, hex_bytes, text_or_hex};

/// A message id as hex.
pub(super) mod id {
    use super::*;
    use crate::{content::MessageId, ident::json::hex_array};

    pub(in crate::content) fn serialize<S: Serializer>(id: &MessageId, serializer: S) -> Result<S::Ok, S::Error> {
        hex_array::serialize(&id.0, serializer)
    }

    pub(in crate::content) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<MessageId, D::Error> {
        hex_array::deserialize(deserializer).map(MessageId)
    }
}

/// A message id or none, as hex or null.
pub(super) mod reference {
    use super::*;
    use crate::content::MessageId;

    #[derive(Serialize, Deserialize)]
    struct Id(#[serde(with = "super::id")] MessageId);

    #[expect(clippy::ref_option, reason = "serde calls it so")]
    pub(in crate::content) fn serialize<S: Serializer>(
        id: &Option<MessageId>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        id.map(Id).serialize(serializer)
    }

    pub(in crate::content) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<MessageId>, D::Error> {
        Ok(Option::<Id>::deserialize(deserializer)?.map(|id| id.0))
    }
}

/// Milliseconds as a number, an extended time as [`to_json`] has its map.
pub(super) mod timestamp {
    use super::*;
    use crate::content::Timestamp;

    pub(in crate::content) fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        match time {
            Timestamp::Millis(millis) => serializer.serialize_u64(*millis),
            Timestamp::Extended(map) => to_json(map).serialize(serializer),
        }
    }

    pub(in crate::content) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let json = Json::deserialize(deserializer)?;
        if let Some(millis) = json.as_u64() {
            return Ok(Timestamp::Millis(millis));
        }
        match from_json(json) {
            Some(map @ CborValue::Map(_)) => Ok(Timestamp::Extended(map)),
            _ => Err(D::Error::custom("neither milliseconds nor an extended time")),
        }
    }
}

/// A CBOR value as JSON. What JSON has is itself; byte strings are `{"bytes": hex}`, maps `{"map": [[key, value], …]}`, tags
/// `{"tag": [number, value]}`, floats `{"float": "1.5"}`, integers beyond 64 bits `{"int": "-18446744073709551616"}`, other
/// simple values `{"simple": 23}`.
fn to_json(value: &CborValue) -> Json {
    match value {
        CborValue::Null => Json::Null,
        CborValue::Bool(value) => json!(value),
        CborValue::Text(text) => json!(text),
        CborValue::Bytes(bytes) => json!({"bytes": hex::encode(bytes)}),
        CborValue::Float(float) => json!({"float": format!("{float:?}")}),
        CborValue::Simple(value) => json!({"simple": value}),
        CborValue::Integer(int) => match (u64::try_from(*int), i64::try_from(*int)) {
            (Ok(int), _) => json!(int),
            (_, Ok(int)) => json!(int),
            _ => json!({"int": int.to_string()}),
        },
        CborValue::Array(items) => Json::Array(items.iter().map(to_json).collect()),
        CborValue::Map(entries) => {
            let pairs: Vec<Json> = entries.iter().map(|(key, value)| json!([to_json(key), to_json(value)])).collect();
            json!({"map": pairs})
        }
        CborValue::Tag(tag, inner) => json!({"tag": [tag, to_json(inner)]}),
    }
}

/// The CBOR value of what [`to_json`] made; `None` for other JSON.
fn from_json(json: Json) -> Option<CborValue> {
    Some(match json {
        Json::Null => CborValue::Null,
        Json::Bool(value) => CborValue::Bool(value),
        Json::String(text) => CborValue::Text(text),
        Json::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(int), _) => CborValue::Integer(int.into()),
            (_, Some(int)) => CborValue::Integer(int.into()),
            _ => return None,
        },
        Json::Array(items) => CborValue::Array(items.into_iter().map(from_json).collect::<Option<_>>()?),
        Json::Object(object) => special(object)?,
    })
}

fn special(object: Map<String, Json>) -> Option<CborValue> {
    let mut entries = object.into_iter();
    let (Some((kind, value)), None) = (entries.next(), entries.next()) else { return None };
    Some(match (kind.as_str(), value) {
        ("bytes", Json::String(text)) => CborValue::Bytes(hex::decode(text).ok()?),
        ("float", Json::String(text)) => CborValue::Float(text.parse().ok()?),
        ("int", Json::String(text)) => CborValue::Integer(text.parse().ok()?),
        ("simple", Json::Number(number)) => CborValue::Simple(u8::try_from(number.as_u64()?).ok()?),
        ("map", Json::Array(pairs)) => {
            let pair = |pair| match pair {
                Json::Array(pair) => match <[Json; 2]>::try_from(pair) {
                    Ok([key, value]) => Some((from_json(key)?, from_json(value)?)),
                    Err(_) => None,
                },
                _ => None,
            };
            CborValue::Map(pairs.into_iter().map(pair).collect::<Option<_>>()?)
        }
        ("tag", Json::Array(pair)) => {
            let [tag, inner] = <[Json; 2]>::try_from(pair).ok()?;
            CborValue::Tag(tag.as_u64()?, Box::new(from_json(inner)?))
        }
        _ => return None,
    })
}

/// Extensions in the order of their keys: `[{"key": 1, "value": "mimi://…"}, …]`.
pub(super) mod extensions {
    use super::*;

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Entry {
        key: Json,
        value: Json,
    }

    pub(in crate::content) fn serialize<S: Serializer>(
        extensions: &BTreeMap<ExtensionKey, CborValue>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let entry = |(key, value): (&ExtensionKey, &CborValue)| {
            let key = match key {
                ExtensionKey::Int(int) => json!(int),
                ExtensionKey::Text(text) => json!(text),
            };
            Entry { key, value: to_json(value) }
        };
        serializer.collect_seq(extensions.iter().map(entry))
    }

    pub(in crate::content) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<ExtensionKey, CborValue>, D::Error> {
        let mut out = BTreeMap::new();
        for Entry { key, value } in Vec::<Entry>::deserialize(deserializer)? {
            let key = match (&key, key.as_i64()) {
                (Json::String(text), _) => ExtensionKey::Text(text.clone()),
                (_, Some(int)) => ExtensionKey::Int(int),
                _ => return Err(D::Error::custom("an extension's key is an integer or a text")),
            };
            let value = from_json(value).ok_or_else(|| D::Error::custom("not the JSON form of a CBOR value"))?;
            if out.insert(key, value).is_some() {
                return Err(D::Error::custom("the same extension twice"));
            }
        }
        Ok(out)
    }
}
