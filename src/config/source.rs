//! A tree of values that know where they came from: the TOML file with its lines, overlaid with the environment.
//!
//! ```text
//! file --parse--> Node tree (line of each key) --overlay MIMI_GATEWAY_<SECTION>__<KEY>--> Node tree --serde--> Config
//! ```
//! Errors of serde are turned into [`ConfigError`]s that name file and line, or the environment variable.

use std::{collections::BTreeMap, path::Path};

use serde::{
    Deserialize,
    de::{
        DeserializeOwned, DeserializeSeed, Error as _, IntoDeserializer, MapAccess, SeqAccess, Visitor,
        value::StringDeserializer,
    },
    forward_to_deserialize_any,
};
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Origin, nearest};

/// What all overriding environment variables start with.
pub(crate) const ENV_PREFIX: &str = "MIMI_GATEWAY_";

/// A value with its origin.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    origin: Origin,
    value: Value,
}

#[derive(Debug, Clone)]
enum Value {
    Table(BTreeMap<String, Node>),
    Array(Vec<Node>),
    Text(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    /// Text from the environment: read as whatever type is wanted.
    Env(String),
}

impl Node {
    /// Reads a TOML document.
    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let line_of = |offset: usize| text.bytes().take(offset).filter(|b| *b == b'\n').count() + 1;
        let origin = |offset: usize| Origin::File { path: path.to_owned(), line: line_of(offset) };
        let table = DeTable::parse(text).map_err(|e| ConfigError::Syntax {
            path: path.to_owned(),
            line: e.span().map(|s| line_of(s.start)),
            message: e.message().to_owned(),
        })?;
        Ok(Self { origin: origin(0), value: Value::table(table.get_ref(), &origin) })
    }

    /// Puts `text` at `section.key`, over what the file says.
    fn overlay(&mut self, section: &str, key: &str, variable: &str, text: String) {
        let origin = Origin::Environment(variable.to_owned());
        let Value::Table(root) = &mut self.value else { return };
        let section = root
            .entry(section.to_owned())
            .or_insert_with(|| Self { origin: origin.clone(), value: Value::Table(BTreeMap::new()) });
        if let Value::Table(table) = &mut section.value {
            table.insert(key.to_owned(), Self { origin, value: Value::Env(text) });
        }
    }

    /// Lays `MIMI_GATEWAY_<SECTION>__<KEY>` variables over the file. Variables without the double underscore are not
    /// ours (orchestrators inject such names for a service of this name) and are left alone.
    pub(crate) fn overlay_environment(&mut self, environment: impl IntoIterator<Item = (String, String)>) {
        for (name, text) in environment {
            let Some((section, key)) = name.strip_prefix(ENV_PREFIX).and_then(|rest| rest.split_once("__")) else {
                continue;
            };
            let (section, key) = (section.to_lowercase(), key.to_lowercase());
            self.overlay(&section, &key, &name, text);
        }
    }

    /// Where one of two keys that exclude each other comes from the environment and the other from the file, drops the
    /// file's one: the environment overrides the file.
    pub(crate) fn prefer_environment(&mut self, pairs: &[(&str, &str, &str)]) {
        let Value::Table(root) = &mut self.value else { return };
        for (section, one, other) in pairs {
            let Some(Self { value: Value::Table(table), .. }) = root.get_mut(*section) else { continue };
            let from_environment =
                |key: &str| matches!(table.get(key), Some(Self { origin: Origin::Environment(_), .. }));
            match (from_environment(one), from_environment(other)) {
                (true, false) => table.remove(*other),
                (false, true) => table.remove(*one),
                _ => None,
            };
        }
    }

    /// Where the key with this dotted path stands, if it is there. Names of peers have dots themselves: the longest name that
    /// fits is taken.
    pub(crate) fn origin_of(&self, path: &str) -> Option<Origin> {
        let Value::Table(table) = &self.value else { return None };
        let (child, rest) = table
            .iter()
            .filter_map(|(key, child)| Some((key.len(), child, path.strip_prefix(key.as_str())?)))
            .filter(|(_, _, rest)| rest.is_empty() || rest.starts_with('.'))
            .max_by_key(|(length, ..)| *length)
            .map(|(_, child, rest)| (child, rest))?;
        match rest.strip_prefix('.') {
            Some(rest) => child.origin_of(rest),
            None => Some(child.origin.clone()),
        }
    }

    /// Takes the value apart into `T`.
    pub(crate) fn read<T: DeserializeOwned>(self) -> Result<T, ConfigError> {
        let root = self.origin.clone();
        T::deserialize(self).map_err(|e| e.into_config_error(root))
    }
}

impl Value {
    fn table(table: &DeTable<'_>, origin: &impl Fn(usize) -> Origin) -> Self {
        Self::Table(
            table
                .iter()
                .map(|(key, value)| {
                    let node =
                        Node { origin: origin(key.span().start), value: Self::from_toml(value.get_ref(), origin) };
                    (key.get_ref().to_string(), node)
                })
                .collect(),
        )
    }

    fn from_toml(value: &DeValue<'_>, origin: &impl Fn(usize) -> Origin) -> Self {
        match value {
            DeValue::String(text) => Self::Text(text.to_string()),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Self::Integer(number),
                Err(_) => Self::Text(number.to_string()),
            },
            DeValue::Float(number) => {
                number.as_str().parse().map_or_else(|_| Self::Text(number.to_string()), Self::Float)
            }
            DeValue::Boolean(yes) => Self::Bool(*yes),
            DeValue::Datetime(time) => Self::Text(time.to_string()),
            DeValue::Array(items) => Self::Array(
                items
                    .iter()
                    .map(|item| Node {
                        origin: origin(item.span().start),
                        value: Self::from_toml(item.get_ref(), origin),
                    })
                    .collect(),
            ),
            DeValue::Table(table) => Self::table(table, origin),
        }
    }
}

/// What serde said, with the path and origin collected on the way out.
#[derive(Debug)]
pub(crate) struct ReadError {
    kind: ReadErrorKind,
    path: Vec<String>,
    origin: Option<Origin>,
}

#[derive(Debug)]
enum ReadErrorKind {
    Unknown { key: String, nearest: Option<String> },
    Missing(&'static str),
    Other(String),
}

impl ReadError {
    fn new(kind: ReadErrorKind) -> Self {
        Self { kind, path: Vec::new(), origin: None }
    }

    /// Notes on the way out where it happened; the innermost origin stays.
    fn at(mut self, key: &str, origin: &Origin) -> Self {
        self.path.push(key.to_owned());
        self.origin.get_or_insert_with(|| origin.clone());
        self
    }

    fn into_config_error(self, root: Origin) -> ConfigError {
        let path: Vec<String> = self.path.into_iter().rev().collect();
        let within = |key: &str| path.iter().map(String::as_str).chain([key]).collect::<Vec<_>>().join(".");
        let origin = self.origin.unwrap_or(root);
        match self.kind {
            ReadErrorKind::Unknown { key, nearest } => {
                // serde names the field; the map access has already put the same name at the end of the path.
                let parents = path.len().saturating_sub(1);
                let parent = path.get(..parents).unwrap_or_default().join(".");
                let full = |key: &str| if parent.is_empty() { key.to_owned() } else { format!("{parent}.{key}") };
                ConfigError::UnknownKey { origin, key: full(&key), nearest: nearest.map(|n| full(&n)) }
            }
            ReadErrorKind::Missing(key) => ConfigError::missing(&within(key), "it has no default"),
            ReadErrorKind::Other(message) => ConfigError::Value { origin, key: path.join("."), message },
        }
    }
}

impl std::fmt::Display for ReadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.kind)
    }
}

impl std::error::Error for ReadError {}

impl serde::de::Error for ReadError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::new(ReadErrorKind::Other(message.to_string()))
    }
    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::new(ReadErrorKind::Unknown {
            key: field.to_owned(),
            nearest: nearest(field, expected.iter().copied()).map(str::to_owned),
        })
    }
    fn missing_field(field: &'static str) -> Self {
        Self::new(ReadErrorKind::Missing(field))
    }
    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(format!("unknown value \"{variant}\"; it is one of {}", expected.join(", ")))
    }
}

/// Reads environment text as a number.
fn number<T: std::str::FromStr>(text: &str) -> Result<T, ReadError> {
    text.trim().parse().map_err(|_| ReadError::custom(format!("\"{text}\" is no number that fits here")))
}

macro_rules! numbers {
    ($($method:ident $visit:ident $type:ty),*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
            match self.value {
                Value::Env(text) => visitor.$visit(number::<$type>(&text)?),
                _ => self.deserialize_any(visitor),
            }
        })*
    };
}

impl<'de> serde::Deserializer<'de> for Node {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.value {
            Value::Table(table) => visitor.visit_map(TableAccess { entries: table.into_iter(), value: None }),
            Value::Array(items) => visitor.visit_seq(ArrayAccess { items: items.into_iter(), index: 0 }),
            Value::Text(text) | Value::Env(text) => visitor.visit_string(text),
            Value::Integer(number) => visitor.visit_i64(number),
            Value::Float(number) => visitor.visit_f64(number),
            Value::Bool(yes) => visitor.visit_bool(yes),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_some(self)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.value {
            Value::Env(text) => match text.trim() {
                "true" | "1" | "yes" => visitor.visit_bool(true),
                "false" | "0" | "no" => visitor.visit_bool(false),
                other => Err(ReadError::custom(format!("\"{other}\" is neither true nor false"))),
            },
            _ => self.deserialize_any(visitor),
        }
    }

    numbers!(deserialize_u8 visit_u8 u8, deserialize_u16 visit_u16 u16, deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64, deserialize_i64 visit_i64 i64, deserialize_f64 visit_f64 f64);

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.value {
            // A list in the environment: items separated by commas.
            Value::Env(text) => {
                let origin = self.origin;
                let items = text
                    .split(',')
                    .map(str::trim)
                    .filter(|item| !item.is_empty())
                    .map(|item| Self { origin: origin.clone(), value: Value::Env(item.to_owned()) })
                    .collect::<Vec<_>>();
                visitor.visit_seq(ArrayAccess { items: items.into_iter(), index: 0 })
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match self.value {
            Value::Text(text) | Value::Env(text) => visitor.visit_enum(text.into_deserializer()),
            _ => Err(ReadError::custom("must be text")),
        }
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i128 u128 f32 char str string bytes byte_buf unit unit_struct tuple tuple_struct map struct
        identifier ignored_any
    }
}

struct TableAccess {
    entries: std::collections::btree_map::IntoIter<String, Node>,
    value: Option<(String, Node)>,
}

impl<'de> MapAccess<'de> for TableAccess {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ReadError> {
        let Some((key, node)) = self.entries.next() else { return Ok(None) };
        let name: StringDeserializer<ReadError> = key.clone().into_deserializer();
        let read = seed.deserialize(name).map_err(|e| e.at(&key, &node.origin))?;
        self.value = Some((key, node));
        Ok(Some(read))
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, ReadError> {
        let (key, node) = self.value.take().ok_or_else(|| ReadError::custom("value read before its key"))?;
        let origin = node.origin.clone();
        seed.deserialize(node).map_err(|e| e.at(&key, &origin))
    }
}

struct ArrayAccess {
    items: std::vec::IntoIter<Node>,
    index: usize,
}

impl<'de> SeqAccess<'de> for ArrayAccess {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ReadError> {
        let Some(node) = self.items.next() else { return Ok(None) };
        let (origin, index) = (node.origin.clone(), self.index);
        self.index += 1;
        seed.deserialize(node).map(Some).map_err(|e| e.at(&index.to_string(), &origin))
    }
}

/// The names of the fields that serde reads for `T`: the schema as the code has it.
#[must_use]
pub fn fields_of<T: for<'a> Deserialize<'a>>() -> &'static [&'static str] {
    struct Fields<'a>(&'a mut &'static [&'static str]);
    impl<'de> serde::Deserializer<'de> for Fields<'_> {
        type Error = ReadError;
        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, ReadError> {
            Err(ReadError::custom("no struct"))
        }
        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            _: V,
        ) -> Result<V::Value, ReadError> {
            *self.0 = fields;
            Err(ReadError::custom("fields noted"))
        }
        forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
            newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }
    let mut fields: &'static [&'static str] = &[];
    // Always an error: only the names are wanted.
    drop(T::deserialize(Fields(&mut fields)));
    fields
}
