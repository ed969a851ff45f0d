//! What `inspect` can decode: every MIMI body, and the structures inside of them.

use std::{collections::BTreeMap, fmt};

use serde::{
    Serialize,
    de::{DeserializeOwned, IgnoredAny},
};

use super::InspectError;
use crate::{
    content::{ContentFault, DerivedValues, MessageStatusReport, MimiContent},
    policy::{
        AssetPolicy, BaseRoomPolicy, BotPolicy, CodecError, HistoryPolicy, JoinLinkPolicy, JoinLinks, JoinLinksUpdate,
        LinkPreviewPolicy, LoggingPolicy, MessageExpiration, OperationalParameters, ParticipantList,
        ParticipantListUpdate, PreauthList, RoleList, RoomMetadata, StatusNotificationPolicy,
    },
    wire::{
        AbuseReport, AppDataDictionary, ApplicationFraming, ConsentEntry, DecodeError, Directory, FanoutMessage,
        FrankingAgent, GroupInfoOption, GroupInfoRatchetTree, GroupInfoRequest, GroupInfoResponse, IdentifierRequest,
        IdentifierResponse, IdentityLink, KeyMaterialRequest, KeyMaterialResponse, MediaTypeList, MlsMessage,
        PartialGroupInfo, ProblemDocument, PseudonymousCredential, RatchetTreeOption, RawGroupInfo, RawKeyPackage,
        RawRatchetTree, RawWelcome, SafeAad, SubmitMessageRequest, SubmitMessageResponse, UpdateRequest,
        UpdateRoomResponse, Wire,
    },
};

/// A structure with bytes and a JSON form that are inverse to each other.
pub(super) trait Body: Sized + Serialize + DeserializeOwned {
    fn from_bytes(bytes: &[u8]) -> Result<Self, Fault>;
    fn to_bytes(&self) -> Result<Vec<u8>, String>;
}

/// What is wrong with bytes: where, and what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// In bytes from the start.
    pub offset: usize,
    /// Field and reason.
    pub text: String,
}

impl From<DecodeError> for Fault {
    fn from(error: DecodeError) -> Self {
        Self { offset: error.offset, text: error.to_string() }
    }
}

impl From<CodecError> for Fault {
    fn from(error: CodecError) -> Self {
        match error {
            CodecError::Decode(error) => error.into(),
            CodecError::Encode(_) => Self { offset: 0, text: error.to_string() },
        }
    }
}

/// Implements [`Body`] for structures of `wire`.
macro_rules! wire_bodies {
    ($($body:ty),+ $(,)?) => {
        $(impl Body for $body {
            fn from_bytes(bytes: &[u8]) -> Result<Self, Fault> {
                Ok(<$body as Wire>::decode(bytes)?)
            }
            fn to_bytes(&self) -> Result<Vec<u8>, String> {
                Ok(Wire::encode(self))
            }
        })+
    };
}

wire_bodies!(
    KeyMaterialRequest,
    KeyMaterialResponse,
    UpdateRequest,
    UpdateRoomResponse,
    SubmitMessageRequest,
    SubmitMessageResponse,
    GroupInfoRequest,
    GroupInfoResponse,
    GroupInfoRatchetTree,
    ConsentEntry,
    IdentifierRequest,
    IdentifierResponse,
    AbuseReport,
    FrankingAgent,
    SafeAad,
    AppDataDictionary,
    MediaTypeList,
    ApplicationFraming,
    MlsMessage,
    RawKeyPackage,
    RawWelcome,
    RawGroupInfo,
    RawRatchetTree,
    RatchetTreeOption,
    GroupInfoOption,
    PartialGroupInfo,
    PseudonymousCredential,
    IdentityLink,
);

/// Implements [`Body`] for components of `policy` and structures of `content`.
macro_rules! coded_bodies {
    ($($body:ty),+ $(,)?) => {
        $(impl Body for $body {
            fn from_bytes(bytes: &[u8]) -> Result<Self, Fault> {
                Ok(<$body>::decode(bytes)?)
            }
            fn to_bytes(&self) -> Result<Vec<u8>, String> {
                self.encode().map_err(|e| e.to_string())
            }
        })+
    };
}

coded_bodies!(ParticipantList, ParticipantListUpdate, RoomMetadata, OperationalParameters, RoleList, BaseRoomPolicy);
coded_bodies!(
    PreauthList,
    StatusNotificationPolicy,
    JoinLinkPolicy,
    JoinLinks,
    JoinLinksUpdate,
    LinkPreviewPolicy,
    AssetPolicy,
    LoggingPolicy,
    HistoryPolicy,
    BotPolicy,
    MessageExpiration
);

impl Body for Vec<FanoutMessage> {
    fn from_bytes(bytes: &[u8]) -> Result<Self, Fault> {
        Ok(FanoutMessage::decode_all(bytes)?)
    }
    fn to_bytes(&self) -> Result<Vec<u8>, String> {
        Ok(FanoutMessage::encode_all(self))
    }
}

impl From<ContentFault> for Fault {
    fn from(fault: ContentFault) -> Self {
        Self { offset: fault.offset, text: fault.to_string() }
    }
}

coded_bodies!(MimiContent, MessageStatusReport, DerivedValues);

/// A JSON document's fault; `serde_json` tells line and column.
fn json_fault(bytes: &[u8], error: &serde_json::Error) -> Fault {
    let before = bytes.split_inclusive(|b| *b == b'\n').take(error.line().saturating_sub(1)).map(<[u8]>::len);
    Fault { offset: before.sum::<usize>() + error.column().saturating_sub(1), text: error.to_string() }
}

impl Body for Directory {
    fn from_bytes(bytes: &[u8]) -> Result<Self, Fault> {
        // The same JSON fault, but with its place.
        serde_json::from_slice::<serde::de::IgnoredAny>(bytes).map_err(|e| json_fault(bytes, &e))?;
        Self::from_json(bytes).map_err(|e| Fault { offset: 0, text: e.to_string() })
    }
    fn to_bytes(&self) -> Result<Vec<u8>, String> {
        Ok(self.to_json().into_bytes())
    }
}

impl Body for ProblemDocument {
    fn from_bytes(bytes: &[u8]) -> Result<Self, Fault> {
        serde_json::from_slice(bytes).map_err(|e| json_fault(bytes, &e))
    }
    fn to_bytes(&self) -> Result<Vec<u8>, String> {
        serde_json::to_vec(self).map_err(|e| e.to_string())
    }
}

/// Something that calls itself with a kind's type.
pub(super) trait Visit {
    type Out;
    fn visit<B: Body + super::notes::Notes>(self, kind: Kind) -> Self::Out;
}

/// Makes the enum of kinds, their names and descriptions, and the way to their types.
macro_rules! kinds {
    ($($kind:ident, $body:ty, $name:literal, $about:literal;)+) => {
        /// What bytes are.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind { $(#[doc = concat!("`", $name, "`")] $kind),+ }

        impl Kind {
            /// All kinds.
            pub const ALL: &'static [Self] = &[$(Self::$kind),+];

            /// How it is called on the command line and in the JSON.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$kind => $name),+ }
            }

            /// What it is.
            #[must_use]
            pub fn about(self) -> &'static str {
                match self { $(Self::$kind => $about),+ }
            }

            pub(super) fn accept<V: Visit>(self, visitor: V) -> V::Out {
                match self { $(Self::$kind => visitor.visit::<$body>(self)),+ }
            }
        }
    };
}

kinds! {
    Directory, Directory, "directory", "the directory document (JSON)";
    KeyMaterialRequest, KeyMaterialRequest, "key-material-request", "POST keyMaterial: KeyMaterialRequest";
    KeyMaterialResponse, KeyMaterialResponse, "key-material-response", "its answer: KeyMaterialResponse";
    UpdateRequest, UpdateRequest, "update-request", "POST update: HandshakeBundle, commit or proposals";
    UpdateResponse, UpdateRoomResponse, "update-response", "its answer: UpdateRoomResponse";
    Notify, Vec<FanoutMessage>, "notify", "POST notify: FanoutMessages, one after the other";
    SubmitRequest, SubmitMessageRequest, "submit-request", "POST submitMessage: SubmitMessageRequest";
    SubmitResponse, SubmitMessageResponse, "submit-response", "its answer: SubmitMessageResponse";
    GroupInfoRequest, GroupInfoRequest, "group-info-request", "POST groupInfo: GroupInfoRequest";
    GroupInfoResponse, GroupInfoResponse, "group-info-response", "its answer: GroupInfoResponse";
    GroupInfoTree, GroupInfoRatchetTree, "group-info-tree", "what is encrypted in it: GroupInfoRatchetTreeTBE";
    Consent, ConsentEntry, "consent", "POST requestConsent and updateConsent: ConsentEntry";
    IdentifierRequest, IdentifierRequest, "identifier-request", "POST identifierQuery: IdentifierRequest";
    IdentifierResponse, IdentifierResponse, "identifier-response", "its answer: IdentifierResponse";
    AbuseReport, AbuseReport, "abuse-report", "POST reportAbuse: AbuseReport";
    Problem, ProblemDocument, "problem", "a refusal by HTTP status: problem document (JSON)";
    Content, MimiContent, "content", "a message, decrypted: MIMI content (CBOR)";
    MessageStatus, MessageStatusReport, "message-status", "a status report, decrypted: MIMI message status (CBOR)";
    DerivedValues, DerivedValues, "derived-values", "what a receiver knows of a message: MessageDerivedValues (CBOR)";
    ParticipantList, ParticipantList, "participant-list", "component 0x0022: ParticipantListData";
    ParticipantListUpdate, ParticipantListUpdate, "participant-list-update", "its update: ParticipantListUpdate";
    RoomMetadata, RoomMetadata, "room-metadata", "component 0x0023: RoomMetaData, also its update";
    OperationalPolicy, OperationalParameters, "operational-policy", "component 0x0024: OperationalParameters, also its update";
    RolesList, RoleList, "roles-list", "component 0x0025: RoleData, also its update";
    BasePolicy, BaseRoomPolicy, "base-policy", "component 0x0027: BaseRoomPolicy, also its update";
    PreauthList, PreauthList, "preauth-list", "component 0x0026: PreAuthData, also its update";
    StatusNotificationPolicy, StatusNotificationPolicy, "status-notification-policy", "component 0x0028: StatusNotificationPolicy, also its update";
    JoinLinkPolicy, JoinLinkPolicy, "join-link-policy", "component 0x0029: JoinLinkPolicy, also its update";
    JoinLinks, JoinLinks, "join-links", "component 0x002a: JoinLinksData";
    JoinLinksUpdate, JoinLinksUpdate, "join-links-update", "its update: JoinLinksUpdate";
    LinkPreviewPolicy, LinkPreviewPolicy, "link-preview-policy", "component 0x002b: LinkPreviewPolicy, also its update";
    AssetPolicy, AssetPolicy, "asset-policy", "component 0x002c: AssetPolicy, also its update";
    LoggingPolicy, LoggingPolicy, "logging-policy", "component 0x002d: LoggingPolicy, also its update";
    HistoryPolicy, HistoryPolicy, "chat-history-policy", "component 0x002e: HistoryPolicy, also its update";
    BotPolicy, BotPolicy, "bot-policy", "component 0x002f: BotPolicy, also its update";
    MessageExpiration, MessageExpiration, "message-expiration", "component 0x0030: MessageExpiration, also its update";
    FrankingAgent, FrankingAgent, "franking-agent", "component 0x0021: FrankingAgentData, also its update";
    Dictionary, AppDataDictionary, "dictionary", "AppDataDictionary: all components of a group";
    MlsMessage, MlsMessage, "mls-message", "an MLSMessage with its header";
    KeyPackage, RawKeyPackage, "key-package", "a KeyPackage without header";
    Welcome, RawWelcome, "welcome", "a Welcome without header";
    GroupInfo, RawGroupInfo, "group-info", "a GroupInfo without header";
    RatchetTree, RawRatchetTree, "ratchet-tree", "a ratchet tree, as in the extension";
    RatchetTreeOption, RatchetTreeOption, "ratchet-tree-option", "RatchetTreeOption";
    GroupInfoOption, GroupInfoOption, "group-info-option", "GroupInfoOption";
    PartialGroupInfo, PartialGroupInfo, "partial-group-info", "PartialGroupInfo";
    SafeAad, SafeAad, "safe-aad", "SafeAAD: authenticated data of a message";
    ApplicationFraming, ApplicationFraming, "application-framing", "ApplicationFraming: content with its media type";
    MediaTypes, MediaTypeList, "media-types", "component 0x0003: MediaTypeList";
    PseudonymousCredential, PseudonymousCredential, "pseudonymous-credential", "PseudonymousCredential";
    IdentityLink, IdentityLink, "identity-link", "IdentityLinkTBE";
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Kind {
    /// The kind of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|kind| kind.name() == name).copied()
    }

    /// The one kind that `bytes` can be. Several, or none, are an error that says which ones, or how far they fit.
    pub fn guess(bytes: &[u8]) -> Result<Self, InspectError> {
        struct Try<'a>(&'a [u8]);
        impl Visit for Try<'_> {
            type Out = Result<(), Fault>;
            fn visit<B: Body + super::notes::Notes>(self, _: Kind) -> Self::Out {
                B::from_bytes(self.0).map(drop)
            }
        }
        let (mut fitting, mut faults) = (Vec::new(), Vec::new());
        for kind in Self::ALL.iter().copied() {
            match kind.accept(Try(bytes)) {
                Ok(()) => fitting.push(kind),
                Err(fault) => faults.push((kind, fault)),
            }
        }
        match fitting.as_slice() {
            [kind] => Ok(*kind),
            [Self::Directory, Self::Problem] => Ok(if is_problem(bytes) { Self::Problem } else { Self::Directory }),
            [] => {
                faults.sort_by_key(|(_, fault)| std::cmp::Reverse(fault.offset));
                faults.truncate(3);
                Err(InspectError::NoKind(faults))
            }
            _ => Err(InspectError::Ambiguous(fitting)),
        }
    }
}

/// Which of two JSON objects that may both have any members it is: whether one of them is a problem document's (RFC 9457).
fn is_problem(json: &[u8]) -> bool {
    let members: BTreeMap<String, IgnoredAny> = serde_json::from_slice(json).unwrap_or_default();
    ["type", "title", "status", "detail", "instance"].iter().any(|member| members.contains_key(*member))
}
