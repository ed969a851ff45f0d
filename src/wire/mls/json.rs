//! MLS objects as JSON: their bytes as hex, and what can be read from them without keys. Only `hex` counts when bytes are
//! made again; if another field was changed, that is an error, not a silent loss.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::SerializeMap as _};
use serde_json::{Map, Value, json};

use super::{
    message::{
        GroupInfoFields, KeyPackageFields, MlsMessageFields, MlsStruct, PrivateFields, PublicFields, RatchetTreeFields,
        Raw, Sender, WelcomeFields,
    },
    proposals, refs,
};
use crate::wire::{SafeAad, Wire as _};

/// What can be told of a structure; `bytes` is all of it.
pub trait MlsView {
    /// The fields to show beside the bytes, in order.
    fn view(&self, bytes: &[u8]) -> Vec<(&'static str, Value)>;
}

/// Text if that is what the bytes are, else hex: for showing only.
pub(super) fn readable(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic()) => json!(text),
        _ => json!({"hex": hex::encode(bytes)}),
    }
}

fn authenticated(data: &[u8]) -> Value {
    match SafeAad::decode(data) {
        Ok(items) if !data.is_empty() => json!({"hex": hex::encode(data), "asSafeAad": items}),
        _ => json!({"hex": hex::encode(data)}),
    }
}

impl MlsView for KeyPackageFields {
    fn view(&self, bytes: &[u8]) -> Vec<(&'static str, Value)> {
        vec![
            ("keyPackageRef", json!(refs::key_package(self.cipher_suite, bytes).map(hex::encode))),
            ("cipherSuite", json!(self.cipher_suite)),
            ("signatureKey", json!(hex::encode(&self.signature_key))),
            ("credential", json!(self.credential)),
            ("notBefore", json!(self.not_before)),
            ("notAfter", json!(self.not_after)),
        ]
    }
}

impl MlsView for GroupInfoFields {
    fn view(&self, _: &[u8]) -> Vec<(&'static str, Value)> {
        vec![
            ("cipherSuite", json!(self.cipher_suite)),
            ("groupId", readable(&self.group_id)),
            ("epoch", json!(self.epoch)),
            ("signer", json!(self.signer)),
        ]
    }
}

impl MlsView for WelcomeFields {
    fn view(&self, _: &[u8]) -> Vec<(&'static str, Value)> {
        let references: Vec<String> = self.new_members.iter().map(hex::encode).collect();
        vec![("cipherSuite", json!(self.cipher_suite)), ("newMembers", json!(references))]
    }
}

impl MlsView for RatchetTreeFields {
    fn view(&self, _: &[u8]) -> Vec<(&'static str, Value)> {
        vec![("nodes", json!(self.nodes))]
    }
}

impl MlsView for PublicFields {
    fn view(&self, bytes: &[u8]) -> Vec<(&'static str, Value)> {
        let sender = match self.sender {
            Sender::Member(leaf) => json!({"member": leaf}),
            Sender::External(index) => json!({"external": index}),
            Sender::NewMemberProposal => json!("newMemberProposal"),
            Sender::NewMemberCommit => json!("newMemberCommit"),
        };
        let mut fields = vec![
            ("groupId", readable(&self.group_id)),
            ("epoch", json!(self.epoch)),
            ("sender", sender),
            ("contentType", json!(self.content_type)),
        ];
        fields.extend(proposals::view(self.content_type, bytes));
        fields.push(("authenticatedData", authenticated(&self.authenticated_data)));
        fields
    }
}

impl MlsView for PrivateFields {
    fn view(&self, _: &[u8]) -> Vec<(&'static str, Value)> {
        vec![
            ("groupId", readable(&self.group_id)),
            ("epoch", json!(self.epoch)),
            ("contentType", json!(self.content_type)),
            ("authenticatedData", authenticated(&self.authenticated_data)),
        ]
    }
}

impl MlsView for MlsMessageFields {
    fn view(&self, bytes: &[u8]) -> Vec<(&'static str, Value)> {
        let inner = bytes.get(super::message::HEADER_LEN..).unwrap_or_default();
        let (kind, mut fields) = match self {
            Self::Public(fields) => ("PublicMessage", fields.view(inner)),
            Self::Private(fields) => ("PrivateMessage", fields.view(inner)),
            Self::Welcome(fields) => ("Welcome", fields.view(inner)),
            Self::GroupInfo(fields) => ("GroupInfo", fields.view(inner)),
            Self::KeyPackage(fields) => ("KeyPackage", fields.view(inner)),
        };
        if let Some(reference) = refs::proposal(self, bytes) {
            fields.push(("proposalRefSha256", json!(hex::encode(reference))));
        }
        fields.insert(0, ("kind", json!(kind)));
        fields
    }
}

impl<T: MlsStruct + MlsView> Serialize for Raw<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.fields().view(self.as_bytes()) {
            map.serialize_entry(name, &value)?;
        }
        map.serialize_entry("hex", &hex::encode(self.as_bytes()))?;
        map.end()
    }
}

#[derive(Deserialize)]
struct Form {
    hex: String,
    #[serde(flatten)]
    told: Map<String, Value>,
}

impl<'de, T: MlsStruct + MlsView + fmt::Debug> Deserialize<'de> for Raw<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let form = Form::deserialize(deserializer)?;
        let bytes = hex::decode(&form.hex).map_err(|e| D::Error::custom(format_args!("not hex: {e}")))?;
        let raw = Self::from_bytes(bytes).map_err(|e| D::Error::custom(format_args!("{}: {e}", T::NAME)))?;
        let found: Map<String, Value> =
            raw.fields().view(raw.as_bytes()).into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        for (name, told) in &form.told {
            if found.get(name) != Some(told) {
                return Err(D::Error::custom(format_args!(
                    "{}: `{name}` is not what the bytes in `hex` say; an MLS object is made from its `hex` alone",
                    T::NAME
                )));
            }
        }
        Ok(raw)
    }
}
