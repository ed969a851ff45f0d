//! Extension fields: their keys (draft-ietf-mimi-content-08 section 4.3), and those that other drafts define: sender time
//! stamp, external message id, subject and last seen (draft-mimi-content-more-extensions-00), sizes and durations of media
//! (draft-mahy-mimi-av-metadata-01).
//!
//! Every extension stays in the message as it came. A method here answers `None` for one that is absent or not as its draft
//! says, and its setter writes the draft's form.

use std::{cmp::Ordering, fmt};

use super::{
    cbor::CborError,
    id::MessageId,
    types::MimiContent,
    value::{CborValue, MAX_KEY_INT},
};

/// The key of an extension field: an integer other than 0, or a text string of 1 to 255 bytes. Ordered as encoded (RFC 8949
/// 4.2.1): positive integers, then negative ones by magnitude, then text, shorter first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExtensionKey {
    /// Registered if positive, private if negative. At most 53 bits (section 5.2).
    Int(i64),
    /// Private.
    Text(String),
}

impl ExtensionKey {
    /// `senderUri`: the sender's user URI.
    pub const SENDER_URI: Self = Self::Int(1);
    /// `roomUri`.
    pub const ROOM_URI: Self = Self::Int(2);
    /// `senderTimestamp` (draft-mimi-content-more-extensions-00).
    pub const SENDER_TIMESTAMP: Self = Self::Int(3);
    /// `externalMessageId` (the same draft).
    pub const EXTERNAL_MESSAGE_ID: Self = Self::Int(4);
    /// `subject` (the same draft).
    pub const SUBJECT: Self = Self::Int(5);
    /// `lastSeen` (the same draft).
    pub const LAST_SEEN: Self = Self::Int(256);

    /// A private text key.
    #[must_use]
    pub fn text(name: &str) -> Self {
        Self::Text(name.to_owned())
    }

    /// `av_metadata` (draft-mahy-mimi-av-metadata-01).
    #[must_use]
    pub fn av_metadata() -> Self {
        Self::text("av_metadata")
    }

    /// Refuses what is no key of an extension.
    pub(super) fn check(&self) -> Result<(), CborError> {
        let allowed = match self {
            Self::Int(int) => *int != 0 && (-MAX_KEY_INT..=MAX_KEY_INT).contains(&i128::from(*int)),
            Self::Text(name) => (1..=255).contains(&name.len()),
        };
        if allowed { Ok(()) } else { Err(CborError::Key) }
    }
}

impl fmt::Display for ExtensionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(1) => f.write_str("senderUri"),
            Self::Int(2) => f.write_str("roomUri"),
            Self::Int(int) => write!(f, "{int}"),
            Self::Text(name) => write!(f, "{name:?}"),
        }
    }
}

impl Ord for ExtensionKey {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => (*a < 0, a.unsigned_abs()).cmp(&(*b < 0, b.unsigned_abs())),
            (Self::Text(a), Self::Text(b)) => (a.len(), a).cmp(&(b.len(), b)),
            (Self::Int(_), Self::Text(_)) => Ordering::Less,
            (Self::Text(_), Self::Int(_)) => Ordering::Greater,
        }
    }
}

impl PartialOrd for ExtensionKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// When the sender says it sent the message (extension 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderTimestamp {
    /// Milliseconds since the UNIX epoch.
    pub millis: u64,
}

/// The id that a message has in another system (extension 4).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExternalMessageId {
    /// As that system writes it.
    pub id: Vec<u8>,
    /// Within which it is unique.
    pub scope: IdScope,
}

/// Where an external message id is unique.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IdScope {
    /// An organisation, by its IANA Private Enterprise Number; not 0.
    Enterprise(u64),
    /// A domain.
    Domain(String),
    /// A URI.
    Uri(String),
}

/// The last messages that the sender had seen (extension 256).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LastSeen {
    /// By their MIMI ids. Empty for who has just come in.
    Messages(Vec<MessageId>),
    /// By their ids in another system; at least one.
    External(Vec<ExternalMessageId>),
}

/// The most messages that a list of those last seen may name (draft-mimi-content-more-extensions-00, section 6).
pub const MAX_LAST_SEEN: usize = 65_535;
/// The longest subject, in bytes.
pub const MAX_SUBJECT_LEN: usize = 4096;

/// Whether a part is heard or seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AvType {
    /// 1
    Audio,
    /// 2
    Image,
    /// 3
    Video,
}

/// What is known of a part with sound or pictures (extension `av_metadata`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AvMetadata {
    /// Which part; see [`NestedPart::at_index`](super::NestedPart::at_index).
    pub part_index: u16,
    /// What it is.
    pub media: AvType,
    /// Pixels.
    pub width: Option<u64>,
    /// Pixels.
    pub height: Option<u64>,
    /// Milliseconds.
    pub duration: Option<u64>,
    /// The part that holds its preview.
    pub preview_index: Option<u16>,
    /// What is said instead of showing it.
    pub accessibility_text: Option<String>,
    /// Degrees clockwise to turn it by: 0, 90, 180 or 270.
    pub rotation: Option<u16>,
}

impl AvMetadata {
    /// Of a part of which nothing is known but what it is.
    #[must_use]
    pub fn new(part_index: u16, media: AvType) -> Self {
        Self {
            part_index,
            media,
            width: None,
            height: None,
            duration: None,
            preview_index: None,
            accessibility_text: None,
            rotation: None,
        }
    }

    fn from_cbor(entry: &CborValue) -> Option<Self> {
        let uint = |key| match entry.get(key) {
            None => Some(None),
            Some(value) => u64::try_from(value.as_integer()?).ok().map(Some),
        };
        let short = |key| match uint(key)? {
            None => Some(None),
            Some(value) => u16::try_from(value).ok().map(Some),
        };
        Some(Self {
            part_index: short(1)??,
            media: match uint(2)?? {
                1 => AvType::Audio,
                2 => AvType::Image,
                3 => AvType::Video,
                _ => return None,
            },
            width: uint(3)?,
            height: uint(4)?,
            duration: uint(5)?,
            preview_index: short(6)?,
            accessibility_text: match entry.get(7) {
                None => None,
                Some(text) => Some(text.as_text()?.to_owned()),
            },
            rotation: match short(8)? {
                rotation @ (None | Some(0 | 90 | 180 | 270)) => rotation,
                _ => return None,
            },
        })
    }

    fn to_cbor(&self) -> CborValue {
        let media: u64 = match self.media {
            AvType::Audio => 1,
            AvType::Image => 2,
            AvType::Video => 3,
        };
        let numbers = [
            (1, Some(u64::from(self.part_index))),
            (2, Some(media)),
            (3, self.width),
            (4, self.height),
            (5, self.duration),
            (6, self.preview_index.map(u64::from)),
            (8, self.rotation.map(u64::from)),
        ];
        let numbers = numbers.into_iter().filter_map(|(key, value)| Some((CborValue::Integer(key), value?.into())));
        let text = self.accessibility_text.as_deref().map(|text| (CborValue::Integer(7), text.into()));
        let mut entries: Vec<(CborValue, CborValue)> = numbers.chain(text).collect();
        entries.sort_by_key(|(key, _)| key.as_integer());
        CborValue::Map(entries)
    }
}

impl ExternalMessageId {
    fn from_cbor(value: &CborValue) -> Option<Self> {
        let [id, scope] = value.as_array()? else { return None };
        let scope = match scope {
            CborValue::Integer(number @ 1..) => IdScope::Enterprise(u64::try_from(*number).ok()?),
            CborValue::Text(domain) => IdScope::Domain(domain.clone()),
            CborValue::Tag(32, uri) => IdScope::Uri(uri.as_text()?.to_owned()),
            _ => return None,
        };
        Some(Self { id: id.as_bytes()?.to_vec(), scope })
    }

    fn to_cbor(&self) -> CborValue {
        let scope = match &self.scope {
            IdScope::Enterprise(number) => (*number).into(),
            IdScope::Domain(domain) => CborValue::Text(domain.clone()),
            IdScope::Uri(uri) => CborValue::Tag(32, Box::new(CborValue::Text(uri.clone()))),
        };
        CborValue::Array(vec![CborValue::Bytes(self.id.clone()), scope])
    }
}

impl MimiContent {
    /// Sets when the sender sent it, milliseconds since the UNIX epoch (extension 3, `{1: seconds, -3: milliseconds}`).
    pub fn set_sender_timestamp(&mut self, millis: u64) {
        let map =
            vec![(CborValue::Integer(1), (millis / 1000).into()), (CborValue::Integer(-3), (millis % 1000).into())];
        self.extensions.insert(ExtensionKey::SENDER_TIMESTAMP, CborValue::Map(map));
    }

    /// When the sender says it sent it; `None` if absent or not understood.
    #[must_use]
    pub fn sender_timestamp(&self) -> Option<SenderTimestamp> {
        let map = self.extensions.get(&ExtensionKey::SENDER_TIMESTAMP)?;
        let field = |key| map.get(key).and_then(|value| u64::try_from(value.as_integer()?).ok());
        let fraction = field(-3).or(field(-6).map(|us| us / 1000)).or(field(-9).map(|ns| ns / 1_000_000)).unwrap_or(0);
        Some(SenderTimestamp { millis: field(1)?.checked_mul(1000)?.checked_add(fraction.min(999))? })
    }

    /// The id that the message has in another system.
    #[must_use]
    pub fn external_message_id(&self) -> Option<ExternalMessageId> {
        ExternalMessageId::from_cbor(self.extensions.get(&ExtensionKey::EXTERNAL_MESSAGE_ID)?)
    }

    /// Sets the id that the message has in another system.
    pub fn set_external_message_id(&mut self, id: &ExternalMessageId) {
        self.extensions.insert(ExtensionKey::EXTERNAL_MESSAGE_ID, id.to_cbor());
    }

    /// What the message is about, as a mail has it; 1 to [`MAX_SUBJECT_LEN`] bytes.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        let subject = self.extensions.get(&ExtensionKey::SUBJECT)?.as_text()?;
        (1..=MAX_SUBJECT_LEN).contains(&subject.len()).then_some(subject)
    }

    /// Sets the subject, or takes it away if it is empty; one that is too long is cut.
    pub fn set_subject(&mut self, subject: &str) {
        let subject = subject.get(..subject.floor_char_boundary(MAX_SUBJECT_LEN)).unwrap_or_default();
        if subject.is_empty() {
            self.extensions.remove(&ExtensionKey::SUBJECT);
        } else {
            self.extensions.insert(ExtensionKey::SUBJECT, subject.into());
        }
    }

    /// The last messages that the sender had seen.
    #[must_use]
    pub fn last_seen(&self) -> Option<LastSeen> {
        let items = self.extensions.get(&ExtensionKey::LAST_SEEN)?.as_array()?;
        if items.len() > MAX_LAST_SEEN {
            return None;
        }
        // A mix of both is refused.
        if items.iter().all(|item| item.as_bytes().is_some()) {
            let id = |item: &CborValue| item.as_bytes()?.try_into().ok().map(MessageId);
            return items.iter().map(id).collect::<Option<_>>().map(LastSeen::Messages);
        }
        items.iter().map(ExternalMessageId::from_cbor).collect::<Option<_>>().map(LastSeen::External)
    }

    /// Sets the last messages that the sender had seen.
    pub fn set_last_seen(&mut self, seen: &LastSeen) {
        let items = match seen {
            LastSeen::Messages(ids) => ids.iter().map(|id| CborValue::Bytes(id.0.to_vec())).collect(),
            LastSeen::External(ids) => ids.iter().map(ExternalMessageId::to_cbor).collect(),
        };
        self.extensions.insert(ExtensionKey::LAST_SEEN, CborValue::Array(items));
    }

    /// What is known of parts with sound and pictures. Entries that are not as the draft says are left out, and properties
    /// that it does not know.
    #[must_use]
    pub fn av_metadata(&self) -> Vec<AvMetadata> {
        let entries = self.extensions.get(&ExtensionKey::av_metadata()).and_then(CborValue::as_array);
        entries.unwrap_or_default().iter().filter_map(AvMetadata::from_cbor).collect()
    }

    /// Sets what is known of parts with sound and pictures; nothing known takes the extension away.
    pub fn set_av_metadata(&mut self, entries: &[AvMetadata]) {
        if entries.is_empty() {
            self.extensions.remove(&ExtensionKey::av_metadata());
        } else {
            let entries = entries.iter().map(AvMetadata::to_cbor).collect();
            self.extensions.insert(ExtensionKey::av_metadata(), CborValue::Array(entries));
        }
    }
}
