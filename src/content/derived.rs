//! Values that a receiver derives for a message (`MessageDerivedValues`, draft-ietf-mimi-content-08 section 4.6), as CBOR:
//! for archives and tools; nothing sends them.

use serde::{Deserialize, Serialize};

use super::{
    cbor::{self, CborError, Head, Reader},
    codec::MAX_CONTENT_LEN,
    fault::{self, ContentError, ContentFault, Fields, Read, Wrong},
    id::MessageId,
    value::{self, CborValue},
};

/// The tag of an extended time (RFC 9581).
const EXTENDED_TIME: u64 = 1001;
/// Most levels within an extended time.
const MAX_TIME_DEPTH: usize = 4;

/// What a receiver knows of a message beside its content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DerivedValues {
    /// The message's id.
    #[serde(with = "super::json::id")]
    pub message_id: MessageId,
    /// When the hub accepted it.
    #[serde(with = "super::json::timestamp")]
    pub hub_accepted_timestamp: Timestamp,
    /// The MLS group.
    #[serde(with = "super::json::hex_bytes")]
    pub mls_group_id: Vec<u8>,
    /// The sender's leaf.
    pub sender_leaf_index: u32,
    /// The sender's client, as a URI.
    pub sender_client_url: String,
    /// The sender, as a URI.
    pub sender_user_url: String,
    /// The room, as a URI.
    pub room_url: String,
}

/// When a hub accepted a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Timestamp {
    /// Milliseconds since the UNIX epoch.
    Millis(u64),
    /// An extended time: the map that tag 1001 has.
    Extended(CborValue),
}

impl DerivedValues {
    /// Reads them.
    pub fn decode(bytes: &[u8]) -> Result<Self, ContentFault> {
        if bytes.len() > MAX_CONTENT_LEN {
            return Err(ContentFault::at("values", 0, ContentError::TooLong));
        }
        let mut reader = Reader::new(bytes);
        let mut fields = Fields::open(&mut reader, "values")?;
        let reader = &mut reader;
        let values = Self {
            message_id: MessageId(fields.next(reader, "messageId", fault::array)?),
            hub_accepted_timestamp: fields.next(reader, "hubAcceptedTimestamp", timestamp)?,
            mls_group_id: fields.next(reader, "mlsGroupId", fault::bytes)?.to_vec(),
            sender_leaf_index: fields.next(reader, "senderLeafIndex", fault::uint)?,
            sender_client_url: fields.next(reader, "senderClientUrl", fault::text)?,
            sender_user_url: fields.next(reader, "senderUserUrl", fault::text)?,
            room_url: fields.next(reader, "roomUrl", fault::text)?,
        };
        fields.close(reader, "values").map_err(|fault| fault.within("values"))?;
        if reader.is_at_end() {
            Ok(values)
        } else {
            Err(ContentFault::at("end of values", reader.position(), CborError::Trailing))
        }
    }

    /// Writes them in the deterministic form.
    pub fn encode(&self) -> Result<Vec<u8>, ContentError> {
        let mut out = Vec::with_capacity(256);
        cbor::write_head(&mut out, cbor::ARRAY, 7);
        cbor::write_bytes(&mut out, &self.message_id.0);
        match &self.hub_accepted_timestamp {
            Timestamp::Millis(millis) => cbor::write_head(&mut out, cbor::UNSIGNED, *millis),
            Timestamp::Extended(map @ CborValue::Map(_)) => {
                cbor::write_head(&mut out, cbor::TAG, EXTENDED_TIME);
                value::write(&mut out, map, MAX_TIME_DEPTH)?;
            }
            Timestamp::Extended(_) => return Err(ContentError::Field("hubAcceptedTimestamp")),
        }
        cbor::write_bytes(&mut out, &self.mls_group_id);
        cbor::write_head(&mut out, cbor::UNSIGNED, self.sender_leaf_index.into());
        for text in [&self.sender_client_url, &self.sender_user_url, &self.room_url] {
            cbor::write_text(&mut out, text);
        }
        if out.len() > MAX_CONTENT_LEN { Err(ContentError::TooLong) } else { Ok(out) }
    }
}

fn timestamp(reader: &mut Reader<'_>) -> Read<Timestamp> {
    match reader.head()? {
        Head { major: cbor::UNSIGNED, argument, .. } => Ok(Timestamp::Millis(argument)),
        Head { major: cbor::TAG, argument: EXTENDED_TIME, .. } => match value::read(reader, MAX_TIME_DEPTH)? {
            map @ CborValue::Map(_) => Ok(Timestamp::Extended(map)),
            _ => Err(Wrong::Value),
        },
        _ => Err(Wrong::Value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VECTOR: &[u8] = include_bytes!("../../tests/vectors/mimi-content/implied-original.cbor");

    #[test]
    fn the_published_example_is_read_and_written_to_the_same_bytes() {
        let values = DerivedValues::decode(VECTOR).unwrap();
        assert_eq!(values.hub_accepted_timestamp, Timestamp::Millis(1_644_387_225_019));
        assert_eq!(values.sender_leaf_index, 4);
        assert_eq!(values.sender_client_url, "mimi://example.com/d/3b52249d-68f9-45ce-8bf5-c799f3cad7ec/0003");
        assert_eq!(values.sender_user_url, "mimi://example.com/u/alice-smith");
        assert_eq!(values.room_url, "mimi://example.com/r/engineering_team");
        assert_eq!(values.encode().unwrap(), VECTOR);
        let json = serde_json::to_value(&values).unwrap();
        assert_eq!(json["hubAcceptedTimestamp"], 1_644_387_225_019_u64);
        assert_eq!(serde_json::from_value::<DerivedValues>(json).unwrap(), values);
    }

    #[test]
    fn an_extended_time_is_kept() {
        let mut values = DerivedValues::decode(VECTOR).unwrap();
        let map = CborValue::Map(vec![
            (CborValue::Integer(1), CborValue::Integer(1_644_387_225)),
            (CborValue::Integer(-3), CborValue::Integer(19)),
        ]);
        values.hub_accepted_timestamp = Timestamp::Extended(map);
        let bytes = values.encode().unwrap();
        assert!(hex::encode(&bytes).contains("d903e9a2011a62035b992213"));
        assert_eq!(DerivedValues::decode(&bytes).unwrap(), values);
        let json = serde_json::to_value(&values).unwrap();
        assert_eq!(serde_json::from_value::<DerivedValues>(json).unwrap(), values);
    }

    #[test]
    fn faults_name_the_field() {
        let told = |bytes: &[u8]| DerivedValues::decode(bytes).unwrap_err().path;
        assert_eq!(told(&[0x86]), "values");
        assert_eq!(told(&[VECTOR, &[0]].concat()), "end of values");
        assert_eq!(told(&[&[0x88], &VECTOR[1..], &[0]].concat()), "values");
        let mut bytes = VECTOR.to_vec();
        bytes[35] = 0x3b; // a negative time
        assert_eq!(told(&bytes), "hubAcceptedTimestamp");
        assert_eq!(told(&VECTOR[..60]), "mlsGroupId");
    }
}
