//! Content as JSON (`mimi-gateway inspect`), nothing lost: bytes as hex or text, extension values as [`to_json`] has them.

use std::collections::BTreeMap;

use ciborium::Value;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::{Map, Value as Json, json};

use super::types::ExtensionKey;
pub(super) use crate::ident::json::{hex_array as salt, hex_bytes, text_or_hex};

/// A message id or none, as hex or null.
pub(super) mod reference {
    use super::*;
    use crate::{content::MessageId, ident::json::hex_array};

    #[derive(Serialize, Deserialize)]
    struct Id(#[serde(with = "hex_array")] [u8; 32]);

    #[expect(clippy::ref_option, reason = "serde calls it so")]
    pub(in crate::content) fn serialize<S: Serializer>(
        id: &Option<MessageId>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        id.as_ref().map(|id| Id(id.0)).serialize(serializer)
    }

    pub(in crate::content) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<MessageId>, D::Error> {
        Ok(Option::<Id>::deserialize(deserializer)?.map(|id| MessageId(id.0)))
    }
}

/// A CBOR value as JSON. What JSON has is itself; byte strings are `{"bytes": hex}`, maps `{"map": [[key, value], …]}`, tags
/// `{"tag": [number, value]}`, floats `{"float": "1.5"}`, integers beyond 64 bits `{"int": "-18446744073709551616"}`.
fn to_json(value: &Value) -> Option<Json> {
    Some(match value {
        Value::Null => Json::Null,
        Value::Bool(value) => json!(value),
        Value::Text(text) => json!(text),
        Value::Bytes(bytes) => json!({"bytes": hex::encode(bytes)}),
        Value::Float(float) => json!({"float": format!("{float:?}")}),
        Value::Integer(int) => match (u64::try_from(*int), i64::try_from(*int)) {
            (Ok(int), _) => json!(int),
            (_, Ok(int)) => json!(int),
            _ => json!({"int": i128::from(*int).to_string()}),
        },
        Value::Array(items) => Json::Array(items.iter().map(to_json).collect::<Option<_>>()?),
        Value::Map(entries) => {
            let pairs = entries.iter().map(|(key, value)| Some(json!([to_json(key)?, to_json(value)?])));
            json!({"map": pairs.collect::<Option<Vec<_>>>()?})
        }
        Value::Tag(tag, inner) => json!({"tag": [tag, to_json(inner)?]}),
        // ciborium may learn new kinds.
        _ => return None,
    })
}

/// The CBOR value of what [`to_json`] made; `None` for other JSON.
fn from_json(json: Json) -> Option<Value> {
    Some(match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(value),
        Json::String(text) => Value::Text(text),
        Json::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(int), _) => Value::Integer(int.into()),
            (_, Some(int)) => Value::Integer(int.into()),
            _ => return None,
        },
        Json::Array(items) => Value::Array(items.into_iter().map(from_json).collect::<Option<_>>()?),
        Json::Object(object) => special(object)?,
    })
}

fn special(object: Map<String, Json>) -> Option<Value> {
    let mut entries = object.into_iter();
    let (Some((kind, value)), None) = (entries.next(), entries.next()) else { return None };
    Some(match (kind.as_str(), value) {
        ("bytes", Json::String(text)) => Value::Bytes(hex::decode(text).ok()?),
        ("float", Json::String(text)) => Value::Float(text.parse().ok()?),
        ("int", Json::String(text)) => Value::Integer(text.parse::<i128>().ok()?.try_into().ok()?),
        ("map", Json::Array(pairs)) => {
            let pair = |pair| match pair {
                Json::Array(pair) => match <[Json; 2]>::try_from(pair) {
                    Ok([key, value]) => Some((from_json(key)?, from_json(value)?)),
                    Err(_) => None,
                },
                _ => None,
            };
            Value::Map(pairs.into_iter().map(pair).collect::<Option<_>>()?)
        }
        ("tag", Json::Array(pair)) => {
            let [tag, inner] = <[Json; 2]>::try_from(pair).ok()?;
            Value::Tag(tag.as_u64()?, Box::new(from_json(inner)?))
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
        extensions: &BTreeMap<ExtensionKey, Value>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let entry = |(key, value): (&ExtensionKey, &Value)| {
            let key = match key {
                ExtensionKey::Int(int) => json!(int),
                ExtensionKey::Text(text) => json!(text),
            };
            Some(Entry { key, value: to_json(value)? })
        };
        let entries: Option<Vec<Entry>> = extensions.iter().map(entry).collect();
        entries.ok_or_else(|| serde::ser::Error::custom("a CBOR value that has no JSON form"))?.serialize(serializer)
    }

    pub(in crate::content) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<ExtensionKey, Value>, D::Error> {
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
