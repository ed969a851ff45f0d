//! What can be computed from a body beside its fields: ids, hashes, and components that are carried as bytes.

use serde_json::{Map, Value, json};

use super::{
    Context,
    kind::{Body, Kind, Visit},
};
use crate::{
    content::{DerivedValues, MessageStatusReport, MimiContent, message_id, message_id_v07},
    ident::{RoomUri, UserUri},
    policy::{
        AssetPolicy, BaseRoomPolicy, BotPolicy, HistoryPolicy, JoinLinkPolicy, JoinLinks, JoinLinksUpdate,
        LinkPreviewPolicy, LoggingPolicy, MessageExpiration, OperationalParameters, ParticipantList,
        ParticipantListUpdate, PreauthList, RoleList, RoomMetadata, StatusNotificationPolicy, component,
    },
    wire::{
        AbuseReport, AppDataDictionary, ApplicationFraming, ConsentEntry, Directory, FanoutContent, FanoutMessage,
        FrankingAgent, FrankingTag, GroupInfoOption, GroupInfoRatchetTree, GroupInfoRequest, GroupInfoResponse,
        IdentifierRequest, IdentifierResponse, IdentityLink, KeyMaterialRequest, KeyMaterialResponse, MediaTypeList,
        MlsMessage, PartialGroupInfo, ProblemDocument, Proposal, ProposalOrRef, PseudonymousCredential,
        RatchetTreeOption, RawGroupInfo, RawKeyPackage, RawRatchetTree, RawWelcome, SafeAad, SubmitMessageRequest,
        SubmitMessageResponse, UpdateRequest, UpdateRoomResponse, Wire as _, franking::FRANKING_AGENT,
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
    UpdateRoomResponse,
    SubmitMessageRequest,
    SubmitMessageResponse,
    GroupInfoRequest,
    GroupInfoResponse,
    IdentifierRequest,
    IdentifierResponse,
    ProblemDocument,
    ParticipantList,
    ParticipantListUpdate,
    RoomMetadata,
    OperationalParameters,
    RoleList,
    BaseRoomPolicy,
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
    MessageExpiration,
    FrankingAgent,
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

/// The kind of a component's data.
fn kind_of(component: u16) -> Option<Kind> {
    Some(match component {
        FRANKING_AGENT => Kind::FrankingAgent,
        component::CONTENT_MEDIA_TYPES => Kind::MediaTypes,
        component::PARTICIPANT_LIST => Kind::ParticipantList,
        component::ROOM_METADATA => Kind::RoomMetadata,
        component::OPERATIONAL_POLICY => Kind::OperationalPolicy,
        component::ROLES_LIST => Kind::RolesList,
        component::BASE_ROOM_POLICY => Kind::BasePolicy,
        component::PREAUTH_LIST => Kind::PreauthList,
        component::STATUS_NOTIFICATION_POLICY => Kind::StatusNotificationPolicy,
        component::JOIN_LINK_POLICY => Kind::JoinLinkPolicy,
        component::JOIN_LINKS => Kind::JoinLinks,
        component::LINK_PREVIEW_POLICY => Kind::LinkPreviewPolicy,
        component::ASSET_POLICY => Kind::AssetPolicy,
        component::LOGGING_POLICY => Kind::LoggingPolicy,
        component::CHAT_HISTORY_POLICY => Kind::HistoryPolicy,
        component::BOT_POLICY => Kind::BotPolicy,
        component::MESSAGE_EXPIRATION_POLICY => Kind::MessageExpiration,
        _ => return None,
    })
}

/// Bytes of this kind, decoded; or why that is not possible.
fn decoded(kind: Kind, bytes: &[u8]) -> Value {
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
    kind.accept(Decode(bytes))
}

/// The components that have a kind, decoded.
fn of_components(dictionary: &AppDataDictionary) -> Map<String, Value> {
    let mut components = Map::new();
    for (id, data) in &dictionary.0 {
        if let Some(kind) = kind_of(*id) {
            components.insert(format!("{id:#06x}"), decoded(kind, data));
        }
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

/// What the AppDataUpdate proposals of handshakes say, in their order, decoded where the component has a kind.
fn of_handshakes<'a>(messages: impl IntoIterator<Item = &'a MlsMessage>) -> Map<String, Value> {
    let mut updates = Vec::new();
    for proposal in messages.into_iter().flat_map(MlsMessage::proposals) {
        let ProposalOrRef::Proposal(Proposal::AppDataUpdate { component, update: Some(update) }) = proposal else {
            continue;
        };
        // All others are updated by their whole new data.
        let kind = match component {
            component::PARTICIPANT_LIST => Some(Kind::ParticipantListUpdate),
            component::JOIN_LINKS => Some(Kind::JoinLinksUpdate),
            _ => kind_of(component),
        };
        if let Some(kind) = kind {
            updates.push(json!({"componentId": format!("{component:#06x}"), "update": decoded(kind, &update)}));
        }
    }
    if updates.is_empty() { Map::new() } else { [("appDataUpdates".to_owned(), json!(updates))].into_iter().collect() }
}

impl Notes for MlsMessage {
    fn notes(&self, _: &[u8], _: &Context) -> Map<String, Value> {
        of_handshakes([self])
    }
}

impl Notes for UpdateRequest {
    fn notes(&self, _: &[u8], _: &Context) -> Map<String, Value> {
        match self {
            Self::Commit(bundle) => of_handshakes([&bundle.commit]),
            Self::Proposals(proposals) => of_handshakes(proposals),
        }
    }
}

impl Notes for Vec<FanoutMessage> {
    fn notes(&self, _: &[u8], _: &Context) -> Map<String, Value> {
        of_handshakes(self.iter().flat_map(|fanout| match &fanout.content {
            FanoutContent::Commit { message, external_proposals: more } | FanoutContent::Proposal { message, more } => {
                [message].into_iter().chain(more).collect::<Vec<_>>()
            }
            FanoutContent::Application { .. } | FanoutContent::Welcome { .. } => Vec::new(),
        }))
    }
}

impl Notes for GroupInfoRatchetTree {
    fn notes(&self, _: &[u8], _: &Context) -> Map<String, Value> {
        of_handshakes(self.pending_proposals.iter().map(|pending| &pending.proposal))
    }
}
