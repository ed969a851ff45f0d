//! Message status reports: delivered, read and the like (draft-mahy-mimi-message-status-01).
//!
//! The draft does not say whether a report is the application message itself or a part of one; both exist. [`Payload`] tells
//! them apart.

use serde::{Deserialize, Serialize};

use super::{
    STATUS_MEDIA_TYPE,
    cbor::{self, CborError, Head, Reader},
    codec::MAX_CONTENT_LEN,
    fault::{self, ContentError, ContentFault, Fields},
    id::MessageId,
    types::{Body, MimiContent},
};

/// What became of messages of one room, as its sender tells.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MessageStatusReport(pub Vec<PerMessageStatus>);

/// What became of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PerMessageStatus {
    /// Which message.
    #[serde(with = "super::json::id")]
    pub message_id: MessageId,
    /// What became of it.
    pub status: MessageStatus,
}

/// A status; a later one of the same sender takes the place of an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "u8", into = "u8")]
pub enum MessageStatus {
    /// 0: not read yet.
    Unread,
    /// 1: a client has it.
    Delivered,
    /// 2: read.
    Read,
    /// 3: it expired.
    Expired,
    /// 4: it was deleted.
    Deleted,
    /// 5: it was put out of sight.
    Hidden,
    /// 6: its reception failed.
    Error,
    /// 7 to 255.
    Unknown(u8),
}

impl From<MessageStatus> for u8 {
    fn from(status: MessageStatus) -> Self {
        match status {
            MessageStatus::Unread => 0,
            MessageStatus::Delivered => 1,
            MessageStatus::Read => 2,
            MessageStatus::Expired => 3,
            MessageStatus::Deleted => 4,
            MessageStatus::Hidden => 5,
            MessageStatus::Error => 6,
            MessageStatus::Unknown(code) => code,
        }
    }
}

impl From<u8> for MessageStatus {
    fn from(code: u8) -> Self {
        match code {
            0 => Self::Unread,
            1 => Self::Delivered,
            2 => Self::Read,
            3 => Self::Expired,
            4 => Self::Deleted,
            5 => Self::Hidden,
            6 => Self::Error,
            other => Self::Unknown(other),
        }
    }
}

impl MessageStatusReport {
    /// Reads a report.
    pub fn decode(bytes: &[u8]) -> Result<Self, ContentFault> {
        if bytes.len() > MAX_CONTENT_LEN {
            return Err(ContentFault::at("report", 0, ContentError::TooLong));
        }
        let mut reader = Reader::new(bytes);
        let start = reader.position();
        let count = match reader.head() {
            // An entry has 36 bytes at least: its own head, the id's head of two, the id, the status.
            Ok(Head { major: cbor::ARRAY, argument, .. }) => reader.count(argument, 36),
            Ok(_) => return Err(ContentFault::at("report", start, ContentError::Field("report"))),
            Err(error) => Err(error),
        };
        let count = count.map_err(|error| ContentFault::at("report", reader.position(), error))?;
        let mut statuses = Vec::with_capacity(count);
        for index in 0..count {
            let status = decode_status(&mut reader);
            statuses.push(status.map_err(|fault| fault.within(&format!("[{index}]")))?);
        }
        if reader.is_at_end() {
            Ok(Self(statuses))
        } else {
            Err(ContentFault::at("end of report", reader.position(), CborError::Trailing))
        }
    }

    /// Writes the report in the deterministic form.
    pub fn encode(&self) -> Result<Vec<u8>, ContentError> {
        let mut out = Vec::with_capacity(9 + 37 * self.0.len());
        cbor::write_head(&mut out, cbor::ARRAY, self.0.len() as u64);
        for PerMessageStatus { message_id, status } in &self.0 {
            cbor::write_head(&mut out, cbor::ARRAY, 2);
            cbor::write_bytes(&mut out, &message_id.0);
            cbor::write_head(&mut out, cbor::UNSIGNED, u8::from(*status).into());
        }
        if out.len() > MAX_CONTENT_LEN { Err(ContentError::TooLong) } else { Ok(out) }
    }

    /// The report that a message carries as its only part, as some clients send it; `None` if it is another message.
    #[must_use]
    pub fn within(content: &MimiContent) -> Option<Result<Self, ContentFault>> {
        let Body::Single { content_type, content } = &content.body.body else { return None };
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case(STATUS_MEDIA_TYPE).then(|| Self::decode(content))
    }
}

fn decode_status(reader: &mut Reader<'_>) -> Result<PerMessageStatus, ContentFault> {
    let start = reader.position();
    let mut fields = Fields::open(reader, "status").map_err(|fault| ContentFault { path: String::new(), ..fault })?;
    let message_id = MessageId(fields.next(reader, "messageId", fault::array)?);
    let status = fields.next(reader, "status", fault::uint::<u8>)?;
    fields.close(reader, "status").map_err(|fault| ContentFault { offset: start, ..fault })?;
    Ok(PerMessageStatus { message_id, status: status.into() })
}

/// What the application data of a message is, where no framing says it.
#[derive(Debug, Clone, PartialEq)]
pub enum Payload {
    /// A message.
    Message(Box<MimiContent>),
    /// A status report, bare or as the only part of a message.
    Status(MessageStatusReport),
}

impl Payload {
    /// Reads either. A message begins with its salt, a report with an array: no bytes can be both.
    pub fn decode(bytes: &[u8]) -> Result<Self, ContentFault> {
        let content = match MimiContent::decode(bytes) {
            Ok(content) => content,
            Err(fault) => return MessageStatusReport::decode(bytes).map(Self::Status).map_err(|_| fault),
        };
        match MessageStatusReport::within(&content) {
            Some(report) => report.map(Self::Status).map_err(|fault| fault.within("body.content")),
            None => Ok(Self::Message(Box::new(content))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::NestedPart;

    const VECTOR: &[u8] = include_bytes!("../../tests/vectors/mimi-message-status/status.cbor");

    fn report() -> MessageStatusReport {
        MessageStatusReport::decode(VECTOR).unwrap()
    }

    #[test]
    fn the_published_example_is_read_and_written_to_the_same_bytes() {
        let told: Vec<(String, MessageStatus)> =
            report().0.iter().map(|entry| (entry.message_id.to_string(), entry.status)).collect();
        let id = |text: &str| text.to_owned();
        assert_eq!(
            told,
            [
                (id("017ce54837404c3696e0c747b985cb172716d0ed0a3d249ca63ace7d82a096f4"), MessageStatus::Read),
                (id("015354973c2b65ca937bf1e035ae53a5ab80e947afa43d46920d4202e5cc0b27"), MessageStatus::Read),
                (id("018d825adf9f6be00dcafc5704c4102f5022e74219d0b603e4ba7622654042af"), MessageStatus::Unread),
                (id("01e59db8173939facc2c8a4a0f0ae8d0c7a11a81239626630c9464a8d6717a03"), MessageStatus::Expired),
            ]
        );
        assert_eq!(report().encode().unwrap(), VECTOR);
    }

    /// Every byte of a small report, with its meaning.
    #[test]
    fn annotated_bytes() {
        let id = "01".repeat(32);
        let expected = [
            "82",                 // array of 2
            "82",                 //   array of 2
            &format!("5820{id}"), //     messageId: 32 bytes
            "06",                 //     status: error
            "82",                 //   array of 2
            &format!("5820{id}"), //     messageId
            "1863",               //     status: 99, not known
        ];
        let bytes = hex::decode(expected.concat()).unwrap();
        let entry = |status| PerMessageStatus { message_id: MessageId([1; 32]), status };
        let report = MessageStatusReport(vec![entry(MessageStatus::Error), entry(MessageStatus::Unknown(99))]);
        assert_eq!(MessageStatusReport::decode(&bytes), Ok(report.clone()));
        assert_eq!(report.encode().unwrap(), bytes);
        assert_eq!(MessageStatusReport::decode(&[0x80]), Ok(MessageStatusReport::default()));
    }

    #[test]
    fn faults_name_the_entry_and_the_field() {
        let id = format!("5820{}", "01".repeat(32));
        let told = |text: &str| {
            let fault = MessageStatusReport::decode(&hex::decode(text.replace(' ', "")).unwrap()).unwrap_err();
            (fault.path, fault.offset)
        };
        let at = |path: &str, offset| (path.to_owned(), offset);
        assert_eq!(told(&format!("81 82 {id} 190100")), at("[0].status", 36));
        assert_eq!(told(&format!("82 82 {id} 00 82 {id} 20")), at("[1].status", 72));
        assert_eq!(told(&format!("81 82 581f{} 00 00", "01".repeat(31))), at("[0].messageId", 2));
        assert_eq!(told(&format!("81 81 {id} 00")), at("[0].status", 36));
        assert_eq!(told(&format!("81 83 {id} 00 00")), at("[0]", 1));
        assert_eq!(told(&format!("81 82 {id} 00 00")), at("end of report", 37));
        assert_eq!(told("9b00000000ffffffff"), at("report", 9));
        assert_eq!(told("9a7fffffff"), at("report", 5));
        assert_eq!(told("a0"), at("report", 0));
    }

    #[test]
    fn a_report_is_found_bare_and_within_a_message() {
        assert_eq!(Payload::decode(VECTOR), Ok(Payload::Status(report())));
        let mut content =
            MimiContent::decode(include_bytes!("../../tests/vectors/mimi-content/original.cbor")).unwrap();
        let bytes = content.encode().unwrap();
        assert_eq!(Payload::decode(&bytes), Ok(Payload::Message(Box::new(content.clone()))));
        let part = |content: &[u8]| {
            NestedPart::render(Body::Single {
                content_type: "Application/MIMI-message-status; x=1".into(),
                content: content.to_vec(),
            })
        };
        content.body = part(VECTOR);
        assert_eq!(Payload::decode(&content.encode().unwrap()), Ok(Payload::Status(report())));
        content.body = part(&VECTOR[..9]);
        assert!(Payload::decode(&content.encode().unwrap()).unwrap_err().path.starts_with("body.content."));
        assert_eq!(Payload::decode(&[0x87, 0x41, 7]).unwrap_err().path, "message");
    }
}
