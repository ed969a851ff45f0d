//! Messages per second through `mls` against raw OpenMLS (with its own memory storage) in the same run.
//!
//! `cargo bench --bench mls`; ours stores once per burst of 32 messages, as a room actor does.

use std::{collections::BTreeMap, hint::black_box, time::Instant};

use mimi_gateway::{
    ident::{ProviderDomain, UserUri},
    mls::{Change, CommitView, Member, NewComponents, NewGroup, Rows, make_key_package},
};
use openmls::prelude::{
    BasicCredential, Ciphersuite, CredentialWithKey, GroupId, KeyPackage, MlsGroup, MlsGroupJoinConfig,
    MlsMessageBodyOut, MlsMessageIn, OpenMlsProvider as _, PURE_PLAINTEXT_WIRE_FORMAT_POLICY, ProcessedMessageContent,
    StagedWelcome, tls_codec::Deserialize as _,
};
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::OpenMlsRustCrypto;

const MESSAGES: usize = 2_000;
const BURST: usize = 32;
const BODY: [u8; 200] = [0x42; 200];
const SUITE: Ciphersuite = Ciphersuite::MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

struct Rates {
    send: f64,
    receive: f64,
}

fn main() -> Outcome<()> {
    println!("200-byte messages, one core, mls / raw OpenMLS");
    for members in [2, 20, 100] {
        let raw = raw(members)?;
        let ours = ours(members, 1)?;
        println!(
            "{members:>4} members: send {:>6.0} / {:>6.0} = {:.2}   receive {:>6.0} / {:>6.0} = {:.2}",
            ours.send,
            raw.send,
            ours.send / raw.send,
            ours.receive,
            raw.receive,
            ours.receive / raw.receive,
        );
    }
    let many = ours(100, 8)?;
    println!(" 100 members, eight local users in turn: send {:>6.0}   receive {:>6.0}", many.send, many.receive);
    Ok(())
}

fn rate(start: Instant) -> f64 {
    f64::from(u32::try_from(MESSAGES).unwrap_or(u32::MAX)) / start.elapsed().as_secs_f64()
}

fn user(name: &str, domain: &str) -> Outcome<UserUri> {
    Ok(UserUri::new(&ProviderDomain::parse(domain)?, name)?)
}

fn ours(members: usize, speakers: usize) -> Outcome<Rates> {
    let now = u64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis())?;
    let mut judge = |_: &CommitView| Ok(NewComponents::new());
    let alice = user("alice", "a.example")?;
    let mut sender = Member::create(NewGroup {
        group_id: b"mimi://a.example/g/room/1".to_vec(),
        creator: alice.clone(),
        components: BTreeMap::new(),
        external_senders: Vec::new(),
        now,
    })?;
    let mut names = vec![alice.clone()];
    let mut adds = Vec::new();
    for n in 1..speakers {
        names.push(user(&format!("local{n}"), "a.example")?);
        let made = make_key_package(names.last().ok_or("no name")?, now)?;
        sender.adopt(&made.private)?;
        adds.push(made.bytes);
    }
    let mut keys = Vec::new();
    for n in speakers..members {
        let made = make_key_package(&user(&format!("bob{n}"), "b.example")?, now)?;
        adds.push(made.bytes);
        keys.push(made.private);
    }
    let staged = sender.stage_commit(&alice, &Change { adds, ..Change::default() }, &mut judge, now)?;
    sender.accept_staged(&staged, &mut judge, now)?;
    let welcome = staged.welcome.clone().ok_or("no Welcome")?;
    let mut receiver = Member::join(&welcome, &staged.ratchet_tree, &keys, now)?;
    let mut rows = Rows::new();

    let start = Instant::now();
    let mut messages = Vec::with_capacity(MESSAGES);
    for n in 0..MESSAGES {
        let name = names.get(n % names.len()).ok_or("no name")?;
        messages.push(sender.seal(name, &BODY, &mimi_gateway::wire::SafeAad::default())?);
        if n % BURST == BURST - 1 {
            sender.take_changes()?.apply(&mut rows);
        }
    }
    let send = rate(start);
    let start = Instant::now();
    for (n, message) in messages.iter().enumerate() {
        black_box(receiver.open(message)?);
        if n % BURST == BURST - 1 {
            receiver.take_changes()?.apply(&mut rows);
        }
    }
    Ok(Rates { send, receive: rate(start) })
}

fn raw(members: usize) -> Outcome<Rates> {
    let config = MlsGroupJoinConfig::builder()
        .wire_format_policy(PURE_PLAINTEXT_WIRE_FORMAT_POLICY)
        .max_past_epochs(5)
        .padding_size(32)
        .build();
    let credential = |name: &str| -> Outcome<(SignatureKeyPair, CredentialWithKey)> {
        let pair = SignatureKeyPair::new(SUITE.signature_algorithm())?;
        let credential = BasicCredential::new(name.as_bytes().to_vec()).into();
        let key = CredentialWithKey { credential, signature_key: pair.public().into() };
        Ok((pair, key))
    };
    let (here, there) = (OpenMlsRustCrypto::default(), OpenMlsRustCrypto::default());
    let (alice, key) = credential("alice")?;
    let mut sender = MlsGroup::builder()
        .with_group_id(GroupId::from_slice(b"raw"))
        .ciphersuite(SUITE)
        .with_wire_format_policy(PURE_PLAINTEXT_WIRE_FORMAT_POLICY)
        .max_past_epochs(5)
        .padding_size(32)
        .build(&here, &alice, key)?;
    let mut key_packages = Vec::new();
    for n in 1..members {
        let (pair, key) = credential(&format!("bob{n}"))?;
        key_packages.push(KeyPackage::builder().build(SUITE, &there, &pair, key)?.key_package().clone());
    }
    let (_, welcome, _) = sender.add_members(&here, &alice, &key_packages)?;
    sender.merge_pending_commit(&here)?;
    let MlsMessageBodyOut::Welcome(welcome) = welcome.body() else { return Err("no Welcome".into()) };
    let tree = sender.export_ratchet_tree().into();
    let mut receiver =
        StagedWelcome::new_from_welcome(&there, &config, welcome.clone(), Some(tree))?.into_group(&there)?;

    let start = Instant::now();
    let mut messages = Vec::with_capacity(MESSAGES);
    for _ in 0..MESSAGES {
        messages.push(sender.create_message(&here, &alice, &BODY)?.to_bytes()?);
    }
    let send = rate(start);
    let start = Instant::now();
    for message in &messages {
        let message = MlsMessageIn::tls_deserialize_exact(message)?.try_into_protocol_message()?;
        let content = receiver.process_message(&there, message)?.into_content();
        let ProcessedMessageContent::ApplicationMessage(message) = content else { return Err("no message".into()) };
        black_box(message.into_bytes());
    }
    black_box(here.crypto());
    Ok(Rates { send, receive: rate(start) })
}
