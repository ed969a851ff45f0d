//! What can be computed from a body beside its fields: ids, hashes, and components that are carried as bytes.

use serde_json::{Map, Value, json};

use super::{
    Context,
    kind::{Body, Kind, Visit},
};
use crate::{
    content::{DerivedValues, MessageStatusReport, MimiContent, message_id, message_id_v07},
    ident::{RoomUri, UserUri},
    policy::{BaseRoomPolicy, ParticipantList, ParticipantListUpdate, RoleList, RoomMetadata, component},
    wire::{
        AbuseReport, AppDataDictionary, ApplicationFraming, ConsentEntry, Directory, FanoutMessage, FrankingAgent,
        FrankingTag, GroupInfoOption, GroupInfoRatchetTree, GroupInfoRequest, GroupInfoResponse, IdentifierRequest,
        IdentifierResponse, IdentityLink, KeyMaterialRequest, KeyMaterialResponse, MediaTypeList, MlsMessage,
        PartialGroupInfo, ProblemDocument, PseudonymousCredential, RatchetTreeOption, RawGroupInfo, RawKeyPackage,
        RawRatchetTree, RawWelcome, SafeAad, SubmitMessageRequest, SubmitMessageResponse, UpdateRequest,
        UpdateRoomResponse, Wire as _, franking::FRANKING_AGENT,
    },
};

/// What is told of a body beside its fields; not needed to encode it.
pub(super) trait Notes {
    fn notes(&self, _bytes: &[u8], _from: &Context) -> Map<String, Value> {
        Map::new()
    }
}

/// Bodies of which nothing more can be told: MLS objects show their references themselves.
macro_rules! without_notes {
    ($($body:ty),+ $(,)?) => { $(impl Notes for $body {})+ };
}

without_notes!(
    Directory,
    KeyMaterialRequest,
    KeyMaterialResponse,
    UpdateRequest,
    UpdateRoomResponse,
    Vec<FanoutMessage>,
    SubmitMessageRequest,
    SubmitMessageResponse,
    GroupInfoRequest,
    GroupInfoResponse,
    GroupInfoRatchetTree,
    IdentifierRequest,
    IdentifierResponse,
    ProblemDocument,
    ParticipantList,
    ParticipantListUpdate,
    RoomMetadata,
    RoleList,
    BaseRoomPolicy,
    FrankingAgent,
    MlsMessage,
    RawKeyPackage,
    RawWelcome,
    RawGroupInfo,
    RawRatchetTree,
    RatchetTreeOption,
    GroupInfoOption,
    PartialGroupInfo,
    SafeAad,
    MediaTypeList,
    PseudonymousCredential,
    IdentityLink,
    MessageStatusReport,
    DerivedValues,
);

/// Ids of a message; `application_data` is what was encrypted, framing included.
fn of_content(content: &MimiContent, bytes: &[u8], application_data: &[u8], from: &Context) -> Map<String, Value> {
    let sender = from.sender.clone().or_else(|| UserUri::parse(content.sender_uri()?).ok());
    let room = from.room.clone().or_else(|| RoomUri::parse(content.room_uri()?).ok());
    let mut notes = Map::new();
    if let (Some(sender), Some(room)) = (&sender, &room) {
        notes.insert("messageId".to_owned(), json!(message_id(sender, room, bytes, &content.salt).to_string()));
        let alias = message_id_v07(sender, room, bytes, &content.salt).to_string();
        notes.insert("messageIdOfDraft07".to_owned(), json!(alias));
        if let Err(error) = content.check_origin(sender, room) {
            notes.insert("origin".to_owned(), json!(error.to_string()));
        }
    }
    notes.insert("sender".to_owned(), json!(sender));
    notes.insert("room".to_owned(), json!(room));
    notes.insert("frankingTag".to_owned(), json!(FrankingTag::of(&content.salt, application_data)));
    notes
}

/// Ids of application data, with or without framing.
fn of_application_data(data: &[u8], from: &Context) -> Option<Map<String, Value>> {
    if let Ok(content) = MimiContent::decode(data) {
        return Some(of_content(&content, data, data, from));
    }
    let framing = ApplicationFraming::decode(data).ok()?;
    let content = MimiContent::decode(&framing.content).ok()?;
    Some(of_content(&content, &framing.content, data, from))
}

impl Notes for MimiContent {
    fn notes(&self, bytes: &[u8], from: &Context) -> Map<String, Value> {
        of_content(self, bytes, bytes, from)
    }
}

impl Notes for ApplicationFraming {
    fn notes(&self, bytes: &[u8], from: &Context) -> Map<String, Value> {
        let mut notes = of_application_data(bytes, from).unwrap_or_default();
        if let Ok(content) = MimiContent::decode(&self.content) {
            notes.insert("content".to_owned(), json!(content));
        }
        notes
    }
}

impl Notes for AbuseReport {
    fn notes(&self, _: &[u8], from: &Context) -> Map<String, Value> {
        let from = Context { sender: Some(self.alleged_abuser.clone()), room: from.room.clone() };
        let messages = self.messages.iter().map(|m| of_application_data(&m.message_content, &from));
        [("messages".to_owned(), json!(messages.collect::<Vec<_>>()))].into_iter().collect()
    }
}

/// The components that have a kind, decoded; of one that cannot be, why.
fn of_components(dictionary: &AppDataDictionary) -> Map<String, Value> {
    struct Decode<'a>(&'a [u8]);
    impl Visit for Decode<'_> {
        type Out = Value;
        fn visit<B: Body + Notes>(self, kind: Kind) -> Value {
            match B::from_bytes(self.0) {
                Ok(body) => json!({"kind": kind.name(), "body": body}),
                Err(fault) => json!({"kind": kind.name(), "error": fault.text}),
            }
        }
    }
    let mut components = Map::new();
    for (id, data) in &dictionary.0 {
        let kind = match *id {
            FRANKING_AGENT => Kind::FrankingAgent,
            component::CONTENT_MEDIA_TYPES => Kind::MediaTypes,
            component::PARTICIPANT_LIST => Kind::ParticipantList,
            component::ROOM_METADATA => Kind::RoomMetadata,
            component::ROLES_LIST => Kind::RolesList,
            component::BASE_ROOM_POLICY => Kind::BasePolicy,
            _ => continue,
        };
        components.insert(format!("{id:#06x}"), kind.accept(Decode(data)));
    }
    if components.is_empty() {
        components
    } else {
        [("components".to_owned(), json!(components))].into_iter().collect()
    }
}

impl Notes for AppDataDictionary {
    fn notes(&self, _: &[u8], _: &Context) -> Map<String, Value> {
        of_components(self)
    }
}

impl Notes for ConsentEntry {
    fn notes(&self, _: &[u8], _: &Context) -> Map<String, Value> {
        of_components(&self.extensions)
    }
}
