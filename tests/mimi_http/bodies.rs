//! Bodies that decode; their MLS parts are made up.

use mimi_gateway::{
    ident::{RoomUri, UserUri},
    wire::{
        AbuseReport, AbuseType, AppDataDictionary, ConsentAction, ConsentEntry, Credential, FanoutContent,
        FanoutMessage, GroupInfoRequest, GroupInfoRequestTbs, HandshakeBundle, IdentifierRequest, KeyMaterialRequest,
        KeyMaterialRequestTbs, MlsMessage, QueryElement, RequiredCapabilities, SearchField, SubmitMessageRequest, Wire,
        codec::Writer,
    },
};

pub(crate) fn user(text: &str) -> UserUri {
    let (name, provider) = text.split_once('@').unwrap();
    UserUri::parse(&format!("mimi://{provider}.example/u/{name}")).unwrap()
}

pub(crate) fn room(provider: &str) -> RoomUri {
    RoomUri::parse(&format!("mimi://{provider}.example/r/club")).unwrap()
}

/// `mimi://…` as one path segment.
pub(crate) fn segment(uri: &str) -> String {
    mimi_gateway::wire::path::encode_segment(uri)
}

fn credential(of: &UserUri) -> Credential {
    Credential::Basic { identity: of.client("gateway").unwrap().as_str().as_bytes().to_vec() }
}

fn private_message() -> MlsMessage {
    let mut w = Writer::new();
    w.u16(1); // mls10
    w.u16(2); // mls_private_message
    w.opaque(b"group");
    w.u64(7);
    w.u8(1); // application
    w.opaque(b"");
    w.opaque(b"sender data");
    w.opaque(b"ciphertext");
    MlsMessage::from_bytes(w.into_bytes()).unwrap()
}

fn remove_proposal() -> MlsMessage {
    let mut w = Writer::new();
    w.u16(1); // mls10
    w.u16(1); // mls_public_message
    w.opaque(b"group");
    w.u64(7);
    w.u8(1); // member
    w.u32(0);
    w.opaque(b"");
    w.u8(2); // proposal
    w.u16(3); // remove
    w.u32(1);
    w.opaque(b"signature");
    w.opaque(b"membership tag");
    MlsMessage::from_bytes(w.into_bytes()).unwrap()
}

pub(crate) fn report(by: Option<&str>) -> Vec<u8> {
    AbuseReport {
        reporting_user: by.map(user),
        alleged_abuser: user("alice@a"),
        reason: AbuseType::Reserved,
        note: "spam".to_owned(),
        messages: Vec::new(),
        extensions: AppDataDictionary::default(),
    }
    .encode()
}

pub(crate) fn query() -> Vec<u8> {
    let element = QueryElement { field: SearchField::Handle, value: "im:alice@a.example".to_owned() };
    IdentifierRequest { elements: vec![element], extensions: AppDataDictionary::default() }.encode()
}

pub(crate) fn submit(sender: &str) -> Vec<u8> {
    SubmitMessageRequest { app_message: private_message(), sending_user: user(sender) }.encode()
}

pub(crate) fn notify() -> Vec<u8> {
    let content = FanoutContent::Application { message: private_message(), frank: None };
    FanoutMessage::encode_all(&[FanoutMessage { timestamp: 1, content }])
}

pub(crate) fn update() -> Vec<u8> {
    HandshakeBundle::Proposals(vec![remove_proposal()]).encode()
}

pub(crate) fn group_info(requester: &str) -> Vec<u8> {
    let requester = user(requester);
    let tbs = GroupInfoRequestTbs {
        cipher_suite: 1,
        requesting_signature_key: vec![1; 32],
        requesting_credential: credential(&requester),
        group_info_public_key: vec![2; 32],
        joining_code: None,
    };
    GroupInfoRequest::new(tbs, vec![3; 64]).encode()
}

pub(crate) fn key_material(requester: &str, target: &str, room: Option<RoomUri>) -> Vec<u8> {
    let requesting_user = user(requester);
    let tbs = KeyMaterialRequestTbs {
        requester_credential: credential(&requesting_user),
        requesting_user,
        target_user: user(target),
        room,
        acceptable_ciphersuites: vec![1],
        required_capabilities: RequiredCapabilities::default(),
        requester_signature_key: vec![1; 32],
    };
    KeyMaterialRequest::new(tbs, vec![3; 64]).encode()
}

pub(crate) fn consent(action: ConsentAction, requester: &str, target: &str) -> Vec<u8> {
    let extensions = AppDataDictionary::default();
    ConsentEntry { action, requester: user(requester), target: user(target), room: None, extensions }.encode()
}
