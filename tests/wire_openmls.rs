//! `wire` delimits what OpenMLS makes: every object is taken whole and byte for byte, and says the same as OpenMLS does.
//! Bytes of another maker than ourselves keep our reading of RFC 9420 honest.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use mimi_gateway::wire::{
    self, ContentType, Credential as WireCredential, FanoutContent, FanoutMessage, HandshakeBundle, MlsMessage,
    MlsMessageFields, RatchetTreeOption, RawGroupInfo, RawKeyPackage, RawRatchetTree, RawWelcome, Sender as WireSender,
    Wire,
};
use openmls::{
    component::ComponentData,
    group::PURE_PLAINTEXT_WIRE_FORMAT_POLICY,
    messages::{group_info::VerifiableGroupInfo, proposals::AppDataUpdateProposal},
    prelude::{
        tls_codec::{Deserialize as _, Serialize as _},
        *,
    },
    schedule::PreSharedKeyId,
    treesync::LeafNodeParameters,
};
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::OpenMlsRustCrypto;

const SUITE: Ciphersuite = Ciphersuite::MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519;

struct Client {
    provider: OpenMlsRustCrypto,
    signer: SignatureKeyPair,
    credential: CredentialWithKey,
    identity: String,
}

impl Client {
    fn new(name: &str) -> Self {
        let provider = OpenMlsRustCrypto::default();
        let signer = SignatureKeyPair::new(SUITE.signature_algorithm()).unwrap();
        signer.store(provider.storage()).unwrap();
        let identity = format!("mimi://a.example/d/{name}/gateway");
        let credential = CredentialWithKey {
            credential: BasicCredential::new(identity.clone().into_bytes()).into(),
            signature_key: signer.public().into(),
        };
        Self { provider, signer, credential, identity }
    }

    fn key_package(&self) -> KeyPackage {
        KeyPackage::builder()
            .leaf_node_capabilities(capabilities())
            .build(SUITE, &self.provider, &self.signer, self.credential.clone())
            .unwrap()
            .key_package()
            .clone()
    }
}

fn capabilities() -> Capabilities {
    Capabilities::new(
        None,
        None,
        Some(&[ExtensionType::AppDataDictionary]),
        Some(&[ProposalType::AppDataUpdate, ProposalType::SelfRemove]),
        None,
    )
}

fn required() -> Extensions<GroupContext> {
    Extensions::single(Extension::RequiredCapabilities(RequiredCapabilitiesExtension::new(
        &[ExtensionType::AppDataDictionary],
        &[ProposalType::AppDataUpdate, ProposalType::SelfRemove],
        &[],
    )))
    .unwrap()
}

/// Alice's group with `others` in it, and what made it.
fn group_with(alice: &Client, others: &[Client]) -> (MlsGroup, MlsMessageOut, MlsMessageOut) {
    let config = MlsGroupCreateConfig::builder()
        .ciphersuite(SUITE)
        .capabilities(capabilities())
        .wire_format_policy(PURE_PLAINTEXT_WIRE_FORMAT_POLICY)
        .with_group_context_extensions(required())
        .build();
    let id = GroupId::from_slice(b"mimi://a.example/g/club/1");
    let mut group =
        MlsGroup::new_with_group_id(&alice.provider, &alice.signer, &config, id, alice.credential.clone()).unwrap();
    let key_packages: Vec<KeyPackage> = others.iter().map(Client::key_package).collect();
    let (commit, welcome, _) = group.add_members(&alice.provider, &alice.signer, &key_packages).unwrap();
    group.merge_pending_commit(&alice.provider).unwrap();
    (group, commit, welcome)
}

fn join(client: &Client, group: &MlsGroup, welcome: MlsMessageOut) -> MlsGroup {
    let config = MlsGroupJoinConfig::builder().wire_format_policy(PURE_PLAINTEXT_WIRE_FORMAT_POLICY).build();
    let MlsMessageBodyIn::Welcome(welcome) = MlsMessageIn::from(welcome).extract() else { panic!("no Welcome") };
    StagedWelcome::new_from_welcome(&client.provider, &config, welcome, Some(group.export_ratchet_tree().into()))
        .unwrap()
        .into_group(&client.provider)
        .unwrap()
}

/// What OpenMLS wrote, as `wire` reads it: whole, and no shorter and no longer.
fn wire_message(message: &MlsMessageOut) -> MlsMessage {
    let bytes = message.tls_serialize_detached().unwrap();
    let read = MlsMessage::decode(&bytes).unwrap();
    assert_eq!(read.as_bytes(), bytes);
    for end in 0..bytes.len() {
        MlsMessage::decode(&bytes[..end]).unwrap_err();
    }
    MlsMessage::decode(&[&bytes[..], &[0]].concat()).unwrap_err();
    read
}

fn handshake(message: &MlsMessageOut, content: ContentType, sender: WireSender) -> MlsMessage {
    let read = wire_message(message);
    let MlsMessageFields::Public(fields) = read.fields() else { panic!("{read:?}") };
    assert_eq!((fields.content_type, fields.sender), (content, sender));
    assert_eq!(fields.group_id, b"mimi://a.example/g/club/1");
    read
}

#[test]
fn key_packages() {
    let alice = Client::new("alice");
    let key_package = alice.key_package();
    let bytes = key_package.tls_serialize_detached().unwrap();
    let raw = RawKeyPackage::decode(&bytes).unwrap();
    assert_eq!(raw.as_bytes(), bytes);
    let fields = raw.fields();
    assert_eq!(fields.credential, WireCredential::Basic { identity: alice.identity.clone().into_bytes() });
    assert_eq!(fields.signature_key, alice.signer.public());
    assert_eq!(fields.cipher_suite, 1);
    let lifetime = key_package.life_time();
    assert_eq!((fields.not_before, fields.not_after), (lifetime.not_before(), lifetime.not_after()));
    assert_eq!(wire_message(&MlsMessageOut::from(key_package)).into_key_package(), Some(raw));
}

#[test]
fn small_structures() {
    let alice = Client::new("alice");
    let credential = alice.credential.credential.tls_serialize_detached().unwrap();
    let read = WireCredential::decode(&credential).unwrap();
    assert_eq!(read, WireCredential::Basic { identity: alice.identity.clone().into_bytes() });
    let able = capabilities().tls_serialize_detached().unwrap();
    let read = wire::Capabilities::decode(&able).unwrap();
    assert!(read.extensions.contains(&6) && read.proposals.contains(&8) && read.proposals.contains(&10));
    assert_eq!(read.encode(), able);
    let sender = ExternalSender::new(alice.signer.public().into(), alice.credential.credential.clone());
    let sender = sender.tls_serialize_detached().unwrap();
    assert_eq!(wire::ExternalSender::decode(&sender).unwrap().encode(), sender);
    let needed =
        RequiredCapabilitiesExtension::new(&[ExtensionType::AppDataDictionary], &[ProposalType::SelfRemove], &[]);
    let needed = needed.tls_serialize_detached().unwrap();
    let read = wire::RequiredCapabilities::decode(&needed).unwrap();
    assert_eq!((read.extensions, read.proposals, read.credentials), (vec![6], vec![10], vec![]));
}

#[test]
fn a_group_of_many_from_welcome_to_message() {
    let alice = Client::new("alice");
    let others: Vec<Client> = (0..9).map(|n| Client::new(&format!("user{n}"))).collect();
    let (mut group, commit, welcome) = group_with(&alice, &others);

    let commit = handshake(&commit, ContentType::Commit, WireSender::Member(0));
    assert_eq!(commit.epoch(), Some(0));
    let raw_welcome = wire_message(&welcome).into_welcome().unwrap();
    assert_eq!(raw_welcome.fields().new_members.len(), others.len());
    assert_eq!(MlsMessage::from(raw_welcome.clone()).as_bytes(), welcome.tls_serialize_detached().unwrap());
    assert_eq!(RawWelcome::decode(raw_welcome.as_bytes()).unwrap(), raw_welcome);

    let group_info = group.export_group_info(alice.provider.crypto(), &alice.signer, false).unwrap();
    let raw_info = wire_message(&group_info).into_group_info().unwrap();
    assert_eq!((raw_info.fields().epoch, raw_info.fields().signer), (1, 0));
    assert_eq!(RawGroupInfo::decode(raw_info.as_bytes()).unwrap(), raw_info);
    VerifiableGroupInfo::tls_deserialize_exact(raw_info.as_bytes()).unwrap();
    wire_message(&group.export_group_info(alice.provider.crypto(), &alice.signer, true).unwrap());

    // A removal leaves a blank leaf, a path fills parents, a join leaves unmerged leaves: all kinds of nodes.
    let (removal, _, _) = group.remove_members(&alice.provider, &alice.signer, &[LeafNodeIndex::new(3)]).unwrap();
    handshake(&removal, ContentType::Commit, WireSender::Member(0));
    group.merge_pending_commit(&alice.provider).unwrap();
    let late = Client::new("late");
    let (add, ..) = group.add_members_without_update(&alice.provider, &alice.signer, &[late.key_package()]).unwrap();
    handshake(&add, ContentType::Commit, WireSender::Member(0));
    group.merge_pending_commit(&alice.provider).unwrap();
    let tree = group.export_ratchet_tree().tls_serialize_detached().unwrap();
    let raw_tree = RawRatchetTree::decode(&tree).unwrap();
    assert_eq!(raw_tree.as_bytes(), tree);
    assert_eq!(raw_tree.fields().nodes, 2 * 10 - 1);
    RatchetTreeIn::tls_deserialize_exact(raw_tree.as_bytes()).unwrap();

    let message = group.create_message(&alice.provider, &alice.signer, b"hello").unwrap();
    let message = wire_message(&message);
    assert!(message.is_application());
    assert_eq!((message.group_id(), message.epoch()), (Some(&b"mimi://a.example/g/club/1"[..]), Some(3)));

    // All of it through one notify body.
    let fanned_out = [
        FanoutContent::Commit { message: commit, external_proposals: vec![] },
        FanoutContent::Welcome { message: raw_welcome.into(), ratchet_tree: RatchetTreeOption::Full(raw_tree) },
        FanoutContent::Application { message, frank: None },
    ]
    .map(|content| FanoutMessage { timestamp: 1, content });
    assert_eq!(FanoutMessage::decode_all(&FanoutMessage::encode_all(&fanned_out)).unwrap(), fanned_out);
}

#[test]
fn proposals_by_reference() {
    let (alice, bob) = (Client::new("alice"), Client::new("bob"));
    let bobs = [bob];
    let (group, _, welcome) = group_with(&alice, &bobs);
    let [bob] = bobs;
    let mut bobs_group = join(&bob, &group, welcome);
    let new = |content: &MlsMessageOut| handshake(content, ContentType::Proposal, WireSender::Member(1));

    let carol = Client::new("carol");
    let add = bobs_group.propose_add_member(&bob.provider, &bob.signer, &carol.key_package()).unwrap().0;
    let remove = bobs_group.propose_remove_member(&bob.provider, &bob.signer, LeafNodeIndex::new(0)).unwrap().0;
    let update = bobs_group.propose_self_update(&bob.provider, &bob.signer, LeafNodeParameters::default()).unwrap().0;
    let extensions = bobs_group.propose_group_context_extensions(&bob.provider, required(), &bob.signer).unwrap().0;
    let app_data = bobs_group
        .propose_app_data_update(&bob.provider, &bob.signer, 0x0022, AppDataUpdateOperation::Update(b"x"[..].into()))
        .unwrap()
        .0;
    let forget = bobs_group
        .propose_app_data_update(&bob.provider, &bob.signer, 0x0023, AppDataUpdateOperation::Remove)
        .unwrap()
        .0;
    let psk = PreSharedKeyId::external(b"psk".to_vec(), vec![7; 32]);
    psk.store(&bob.provider, &[1; 32]).unwrap();
    let psk = bobs_group.propose_pre_shared_key(&bob.provider, &bob.signer, psk).unwrap().0;
    let self_remove = bobs_group.leave_group_via_self_remove(&bob.provider, &bob.signer).unwrap();

    let all = [add, remove, update, extensions, app_data, forget, psk, self_remove];
    let all: Vec<MlsMessage> = all.iter().map(new).collect();
    let bundle = HandshakeBundle::Proposals(all);
    assert_eq!(HandshakeBundle::decode(&bundle.encode()).unwrap(), bundle);
}

#[test]
fn a_commit_with_app_data_and_references() {
    let alice = Client::new("alice");
    let (mut group, ..) = group_with(&alice, &[Client::new("bob")]);
    group.propose_remove_member(&alice.provider, &alice.signer, LeafNodeIndex::new(1)).unwrap();
    let update = Proposal::AppDataUpdate(Box::new(AppDataUpdateProposal::update(0x0022, &b"list"[..])));
    let carol = Client::new("carol");
    let mut stage = group
        .commit_builder()
        .propose_adds([carol.key_package()])
        .add_proposals([update])
        .force_self_update(true)
        .load_psks(alice.provider.storage())
        .unwrap();
    let mut updater = stage.app_data_dictionary_updater();
    updater.set(ComponentData::from_parts(0x0022, b"list"[..].into()));
    stage.with_app_data_dictionary_updates(updater.changes());
    let bundle = stage
        .build(alice.provider.rand(), alice.provider.crypto(), &alice.signer, |_| true)
        .unwrap()
        .stage_commit(&alice.provider)
        .unwrap();
    let (commit, welcome, group_info) = bundle.into_contents();
    handshake(&commit, ContentType::Commit, WireSender::Member(0));
    RawWelcome::decode(&welcome.unwrap().tls_serialize_detached().unwrap()).unwrap();
    if let Some(info) = group_info {
        RawGroupInfo::decode(&info.tls_serialize_detached().unwrap()).unwrap();
    }
}

#[test]
fn an_external_commit() {
    let alice = Client::new("alice");
    let (group, ..) = group_with(&alice, &[Client::new("bob")]);
    let info = group.export_group_info(alice.provider.crypto(), &alice.signer, true).unwrap();
    let info = wire_message(&info).into_group_info().unwrap();
    let info = VerifiableGroupInfo::tls_deserialize_exact(info.as_bytes()).unwrap();
    let dave = Client::new("dave");
    let leaf = LeafNodeParameters::builder().with_capabilities(capabilities()).build();
    let (_, bundle) = MlsGroup::external_commit_builder()
        .with_config(MlsGroupJoinConfig::builder().wire_format_policy(PURE_PLAINTEXT_WIRE_FORMAT_POLICY).build())
        .build_group(&dave.provider, info, dave.credential.clone())
        .unwrap()
        .leaf_node_parameters(leaf)
        .load_psks(dave.provider.storage())
        .unwrap()
        .build(dave.provider.rand(), dave.provider.crypto(), &dave.signer, |_| true)
        .unwrap()
        .finalize(&dave.provider)
        .unwrap();
    let commit = bundle.into_commit();
    assert_eq!(handshake(&commit, ContentType::Commit, WireSender::NewMemberCommit).epoch(), Some(1));
}
