//! c.example: a provider with one user and one MLS client, mls-rs. Endpoints by hand (draft-ietf-mimi-protocol-06).

use std::time::Duration;

use hmac::{Hmac, Mac as _};
use hyper::Method;
use mls_rs::{
    CipherSuite, CipherSuiteProvider as _, Client, CryptoProvider as _, Extension, ExtensionList, Group, MlsMessage,
    client_builder::MlsConfig,
    crypto::{HpkeCiphertext, SignaturePublicKey, SignatureSecretKey},
    group::{ExportedTree, ReceivedMessage, proposal::CustomProposal},
    identity::{
        SigningIdentity,
        basic::{BasicCredential, BasicIdentityProvider},
    },
};
use sha2::Sha256;
use tokio::{net::TcpListener, sync::mpsc};

use crate::{
    bytes::{In, numbered, of_numbered, vector},
    content,
    handshake::{self, Spelling},
    net::{Caller, Post, serve},
    pki::{Ca, Cert},
    suite::{Crypto, DICTIONARY, PARTICIPANTS, Rules, components, participants},
};

pub(crate) const USER: &str = "mimi://c.example/u/c1";
pub(crate) const CLIENT: &str = "mimi://c.example/d/c1/phone";
const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const SUITE: CipherSuite = CipherSuite::CURVE25519_AES128;

/// An empty SafeAAD.
pub(crate) const NO_AAD: &[u8] = &[0];

pub(crate) fn client(
    crypto: Crypto,
    secret: &SignatureSecretKey,
    public: &SignaturePublicKey,
) -> Client<impl MlsConfig + use<>> {
    let identity = SigningIdentity::new(BasicCredential::new(CLIENT.into()).into_credential(), public.clone());
    Client::builder()
        .identity_provider(BasicIdentityProvider::new())
        .crypto_provider(crypto)
        .mls_rules(Rules)
        .extension_type(DICTIONARY.into())
        .custom_proposal_types([handshake::APP_DATA_UPDATE.into(), handshake::SELF_REMOVE.into()])
        .signing_identity(identity, secret.clone(), SUITE)
        .build()
}

/// What a leaf says of itself: which components it knows, and which it takes as Safe AAD.
pub(crate) fn leaf_extensions() -> ExtensionList {
    let ids = |ids: &[u16]| vector(&ids.iter().flat_map(|id| id.to_be_bytes()).collect::<Vec<_>>());
    let known = [1, 2, 0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x27, 0x40];
    let dictionary = [(1, ids(&known)), (2, ids(&[0x20, 0x40]))];
    let mut extensions = ExtensionList::new();
    extensions.set(Extension::new(DICTIONARY.into(), vector(&of_numbered(&dictionary))));
    extensions
}

/// What the peer was told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Said {
        sender: String,
        text: String,
    },
    Commit {
        epoch: u64,
    },
    Removed,
    Proposal,
    /// As hub: an update for an epoch that is over, which was refused.
    WrongEpoch,
}

pub(crate) struct Peer<C: MlsConfig> {
    pub(crate) crypto: Crypto,
    pub(crate) spelling: Spelling,
    pub(crate) secret: SignatureSecretKey,
    pub(crate) public: SignaturePublicKey,
    pub(crate) client: Client<C>,
    pub(crate) group: Option<Group<C>>,
    pub(crate) room: String,
    posts: mpsc::UnboundedReceiver<Post>,
    caller: Caller,
    /// What we sent that the hub may send us again.
    pub(crate) own: Vec<Vec<u8>>,
    notified: std::collections::BTreeSet<Vec<u8>>,
    /// `FanoutMessages` that were not read yet.
    waiting: Vec<u8>,
    /// As hub: the last accepted timestamp.
    pub(crate) accepted: u64,
}

pub(crate) fn keys(crypto: &Crypto) -> (SignatureSecretKey, SignaturePublicKey) {
    crypto.cipher_suite_provider(SUITE).unwrap().signature_key_generate().unwrap()
}

pub(crate) fn now() -> u64 {
    u64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

impl<C: MlsConfig> Peer<C> {
    pub(crate) fn new(
        client: Client<C>,
        crypto: Crypto,
        (secret, public): (SignatureSecretKey, SignaturePublicKey),
        listener: TcpListener,
        cert: &Cert,
        ca_a: &Ca,
        a: std::net::SocketAddr,
    ) -> Self {
        let posts = serve(listener, cert, &ca_a.pem);
        let caller = Caller::new(cert, &ca_a.pem, a);
        let spelling = crypto.0.clone();
        Self {
            crypto,
            spelling,
            secret,
            public,
            client,
            group: None,
            room: String::new(),
            posts,
            caller,
            own: Vec::new(),
            notified: std::collections::BTreeSet::new(),
            waiting: Vec::new(),
            accepted: 0,
        }
    }

    /// The next request; its path has to begin like this.
    pub(crate) async fn request(&mut self, prefix: &str) -> Post {
        let post = tokio::time::timeout(PATIENCE, self.posts.recv()).await.expect("a request").unwrap();
        assert!(post.path.starts_with(prefix), "{} instead of {prefix}", post.path);
        post
    }

    pub(crate) async fn post(&mut self, prefix: &str) -> Vec<u8> {
        self.request(prefix).await.body
    }

    /// Expands a template of a.example's directory.
    pub(crate) async fn call(&self, endpoint: &str, variable: &str, value: &str, body: Vec<u8>) -> (u16, Vec<u8>) {
        let (status, directory) = self.caller.call(Method::GET, "/.well-known/mimi-protocol-directory", vec![]).await;
        assert_eq!(status, 200);
        let directory: serde_json::Value = serde_json::from_slice(&directory).unwrap();
        let value = percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC).to_string();
        let url = directory[endpoint].as_str().unwrap().replace(&format!("{{{variable}}}"), &value);
        let path = url.strip_prefix("https://a.example").expect("a URL of a.example").to_owned();
        assert!(!path.contains('{'), "{path}");
        self.caller.call(Method::POST, &path, body).await
    }

    pub(crate) async fn call_room(&self, endpoint: &str, body: Vec<u8>) -> Vec<u8> {
        let (status, answer) = self.call(endpoint, "roomId", &self.room, body).await;
        assert_eq!(status, 200, "{endpoint}: {}", String::from_utf8_lossy(&answer));
        answer
    }

    pub(crate) fn group(&mut self) -> &mut Group<C> {
        self.group.as_mut().unwrap()
    }

    pub(crate) fn epoch(&self) -> (u64, String) {
        let group = self.group.as_ref().unwrap();
        (group.current_epoch(), hex::encode(group.epoch_authenticator().unwrap().as_bytes()))
    }

    /// The participants of the room, and the clients in the group.
    pub(crate) fn everybody(&self) -> (Vec<String>, Vec<String>) {
        let group = self.group.as_ref().unwrap();
        let list = components(group.context().extensions()).into_iter().find(|(id, _)| *id == PARTICIPANTS).unwrap().1;
        let listed = participants(&list).into_iter().map(|(user, _)| user).collect();
        let identity = |member: mls_rs::group::Member| {
            let basic = member.signing_identity.credential.as_basic().unwrap().clone();
            String::from_utf8(basic.identifier).unwrap()
        };
        (listed, group.roster().members().into_iter().map(identity).collect())
    }

    // --------------------------------------------------------------------------------------------- coming in

    /// Is asked, consents with a KeyPackage, and joins by the Welcome.
    pub(crate) async fn join_by_welcome(&mut self) {
        let requester = self.asked().await;
        let key_package = self.key_package();
        self.grant(&requester, &key_package).await;
        self.welcomed().await;
    }

    /// Is asked into a room; answers by whom.
    pub(crate) async fn asked(&mut self) -> Vec<u8> {
        let body = self.post("/ask/c.example").await;
        let mut reader = In(&body);
        assert_eq!(reader.u8(), 1, "a request");
        let (requester, target) = (reader.vector().to_vec(), reader.vector().to_vec());
        assert_eq!(target, USER.as_bytes());
        assert_eq!(reader.u8(), 1, "for a room");
        self.room = String::from_utf8(reader.vector().to_vec()).unwrap();
        let extensions = numbered(reader.vector());
        assert!(extensions.iter().any(|(id, _)| *id == 0x0023), "it shows what room it is");
        assert!(reader.0.is_empty());
        requester
    }

    /// A KeyPackage, without `MLSMessage` header.
    pub(crate) fn key_package(&self) -> Vec<u8> {
        let key_package =
            self.client.generate_key_package_message(ExtensionList::new(), leaf_extensions(), None).unwrap();
        let message = key_package.to_bytes().unwrap();
        assert_eq!(message[..4], [0, 1, 0, 5]);
        message[4..].to_vec()
    }

    /// Consents, with KeyPackages or none.
    pub(crate) async fn grant(&self, requester: &[u8], key_packages: &[u8]) {
        let (user, room) = (vector(USER.as_bytes()), vector(self.room.as_bytes()));
        let grant = [vec![2], vector(requester), user, vec![1], room, vector(key_packages), vector(&[])].concat();
        let (status, _) = self.call("updateConsent", "requesterDomain", "a.example", grant).await;
        assert_eq!(status, 201);
    }

    /// Joins by the Welcome that comes.
    pub(crate) async fn welcomed(&mut self) {
        let body = self.post("/rooms/").await;
        let mut reader = In(&body);
        assert!(reader.number(8).abs_diff(now()) < 60_000, "an accepted timestamp");
        let welcome = reader.taken(|reader| {
            assert_eq!(reader.take(4), [0, 1, 0, 3], "a Welcome");
            assert_eq!(reader.u16(), 1, "the cipher suite");
            reader.vector();
            reader.vector();
        });
        assert_eq!(reader.u8(), 1, "a full tree");
        let tree = reader.taken(|reader| _ = reader.vector());
        let tree = ExportedTree::from_bytes(tree).unwrap();
        let (group, _) = self.client.join_group(Some(tree), &MlsMessage::from_bytes(welcome).unwrap(), None).unwrap();
        self.group = Some(group);
        self.waiting = reader.0.to_vec();
    }

    /// Forgets the group, asks for its GroupInfo, and joins by an external commit that takes the old leaf away.
    pub(crate) async fn join_by_external_commit(&mut self) {
        let old = self.group.take().unwrap().current_member_index();
        let suite = self.crypto.cipher_suite_provider(SUITE).unwrap();
        let (hpke_secret, hpke_public) = suite.kem_generate().unwrap();
        let tbs = [
            vec![1],
            vec![0, 1],
            vector(&self.public),
            vec![0, 1],
            vector(CLIENT.as_bytes()),
            vector(&hpke_public),
            vec![0],
        ]
        .concat();
        let signed = [vector(b"MLS 1.0 GroupInfoRequestTBS"), vector(&tbs)].concat();
        let signature = suite.sign(&self.secret, &signed).unwrap();
        let answer = self.call_room("groupInfo", [tbs, vector(&signature)].concat()).await;

        let mut reader = In(&answer);
        let mut hub_key = Vec::new();
        let mut sealed = (Vec::new(), Vec::new());
        let tbs = reader.taken(|reader| {
            assert_eq!(reader.u8(), 1);
            assert_eq!(reader.vector(), self.room.as_bytes());
            assert_eq!((reader.u8(), reader.u16()), (1, 1), "success, cipher suite 1");
            hub_key = reader.vector().to_vec();
            assert_eq!((reader.u16(), reader.vector()), (1, &b"mimi://a.example"[..]), "the hub's credential");
            sealed = (reader.vector().to_vec(), reader.vector().to_vec());
        });
        let signed = [vector(b"MLS 1.0 GroupInfoResponseTBS"), vector(tbs)].concat();
        suite.verify(&hub_key.into(), reader.vector(), &signed).expect("the hub's signature");
        assert!(reader.0.is_empty());
        let info = [vector(b"MLS 1.0 GroupInfo and ratchet_tree encryption"), vector(self.room.as_bytes())].concat();
        let sealed = HpkeCiphertext { kem_output: sealed.0, ciphertext: sealed.1 };
        let plain = suite.hpke_open(&sealed, &hpke_secret, &hpke_public, &info, None).unwrap();

        let mut reader = In(&plain);
        let group_info = reader.taken(|reader| {
            // GroupContext: version, suite, group id, epoch, tree hash, transcript hash, extensions.
            reader.take(4);
            reader.vector();
            reader.take(8);
            for _ in 0..3 {
                reader.vector();
            }
            // Extensions, confirmation tag, signer, signature.
            reader.vector();
            reader.vector();
            reader.take(4);
            reader.vector();
        });
        let group_info = MlsMessage::from_bytes(&[&[0, 1, 0, 4][..], group_info].concat()).unwrap();
        assert_eq!(reader.u8(), 1, "a full tree");
        let tree = ExportedTree::from_bytes(reader.taken(|reader| _ = reader.vector())).unwrap();
        assert_eq!(reader.vector(), [0; 0], "no pending proposals");
        assert!(reader.0.is_empty());
        let builder = self.client.external_commit_builder().unwrap();
        let (group, commit) = builder
            .with_tree_data(tree)
            .with_removal(old)
            .with_leaf_node_extensions(leaf_extensions())
            .with_authenticated_data(NO_AAD.to_vec())
            .build(group_info)
            .unwrap();
        self.group = Some(group);
        self.update(&commit.to_bytes().unwrap()).await;
    }

    /// Sends a commit with its bundle; the hub has to take it.
    pub(crate) async fn update(&mut self, commit: &[u8]) {
        self.update_with(commit, &[0]).await;
    }

    /// The same with a Welcome, or none.
    pub(crate) async fn update_with(&mut self, commit: &[u8], welcome: &[u8]) {
        let group = self.group.as_mut().unwrap();
        // The hub has a leaf and makes its own, so it may be of the epoch before.
        let group_info = group.group_info_message_allowing_ext_commit(false).unwrap();
        let tree = group.export_tree().to_bytes().unwrap();
        let bundle =
            [commit.to_vec(), welcome.to_vec(), vec![1], group_info.to_bytes().unwrap()[4..].to_vec(), vec![1], tree]
                .concat();
        self.own.push(commit.to_vec());
        self.send_update(bundle).await;
    }

    async fn send_update(&self, bundle: Vec<u8>) {
        let answer = self.call_room("update", bundle).await;
        let mut reader = In(&answer);
        let (code, words) = (reader.u8(), String::from_utf8_lossy(reader.vector()).into_owned());
        assert_eq!(code, 0, "{words}");
        assert!(reader.number(8).abs_diff(now()) < 60_000);
    }

    // --------------------------------------------------------------------------------------------- being there

    /// Refreshes the own leaf.
    pub(crate) async fn commit_path(&mut self) {
        let commit = self.group().commit_builder().authenticated_data(NO_AAD.to_vec()).build().unwrap();
        self.update(&commit.commit_message().to_bytes().unwrap()).await;
        self.group().apply_pending_commit().unwrap();
    }

    /// A proposal that mls-rs does not know, as it is on the wire.
    pub(crate) fn propose(&mut self, kind: u16, data: Vec<u8>) -> Vec<u8> {
        let spelling = self.spelling.clone();
        let group = self.group();
        let head = [
            vector(group.group_id()),
            group.current_epoch().to_be_bytes().to_vec(),
            vec![1],
            group.current_member_index().to_be_bytes().to_vec(),
            vector(NO_AAD),
            vec![2],
            kind.to_be_bytes().to_vec(),
        ]
        .concat();
        spelling.add([&head[..], &vector(&data)].concat(), [&head[..], &data].concat());
        let proposal = group.propose_custom(CustomProposal::new(kind.into(), data), NO_AAD.to_vec()).unwrap();
        let wire = spelling.of(&proposal.to_bytes().unwrap());
        // What DESIGN and docs/conformance.md say of mls-rs. If it reads them one day, none of this is needed any more.
        assert!(MlsMessage::from_bytes(&wire).is_err(), "mls-rs reads proposal {kind:#06x} by itself");
        wire
    }

    /// Leaves the room: SelfRemove, and the entry in the list.
    pub(crate) async fn leave(&mut self) {
        let place = self.everybody().0.iter().position(|user| user == USER).unwrap();
        let update = [vector(&[]), vector(&u32::try_from(place).unwrap().to_be_bytes()), vector(&[])].concat();
        let change = [&PARTICIPANTS.to_be_bytes()[..], &[1], &vector(&update)].concat();
        let proposals =
            [self.propose(handshake::SELF_REMOVE, Vec::new()), self.propose(handshake::APP_DATA_UPDATE, change)];
        self.own.extend(proposals.clone());
        self.send_update([&proposals[0][..], &vector(&proposals[1])].concat()).await;
    }

    /// A sealed message, and its franking tag.
    pub(crate) fn seal(&mut self, words: &str) -> (Vec<u8>, Vec<u8>) {
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).unwrap();
        let plain = content::write(&salt, USER, &self.room, words);
        let mut mac = Hmac::<Sha256>::new_from_slice(&salt).unwrap();
        mac.update(&plain);
        let tag = mac.finalize().into_bytes().to_vec();
        let aad = vector(&of_numbered(&[(0x0020, tag.clone())]));
        (self.group().encrypt_application_message(&plain, aad).unwrap().to_bytes().unwrap(), tag)
    }

    /// Says something, franked.
    pub(crate) async fn say(&mut self, words: &str) {
        let (message, _) = self.seal(words);
        self.own.push(message.clone());
        let request = [vec![1], message, vector(USER.as_bytes())].concat();
        let answer = self.call_room("submitMessage", request).await;
        let mut reader = In(&answer);
        assert_eq!((reader.u8(), reader.u8()), (1, 0), "accepted");
        reader.number(8);
        assert_eq!(reader.u8(), 1, "with the hub's frank");
        Self::frank(&mut reader);
        assert!(reader.0.is_empty());
    }

    fn frank(reader: &mut In<'_>) -> (Vec<u8>, Vec<u8>) {
        let server_frank = reader.take(32).to_vec();
        assert_eq!(reader.u16(), 1);
        (server_frank, reader.vector().to_vec())
    }

    /// Checks the hub's signature by the key that the group names (section 5.4.1).
    fn check_frank(&self, (server_frank, signature): (Vec<u8>, Vec<u8>), sender: &str, accepted: u64) {
        let all = components(self.group.as_ref().unwrap().context().extensions());
        let agent = &all.iter().find(|(id, _)| *id == 0x0021).expect("a franking agent").1;
        let key = In(agent).vector().to_vec();
        let tbs = [
            server_frank,
            vec![0, 1],
            vector(sender.as_bytes()),
            vector(self.room.as_bytes()),
            accepted.to_be_bytes().to_vec(),
        ]
        .concat();
        let signed = [vector(b"MLS 1.0 FrankingIntegrityTBS"), vector(&tbs)].concat();
        let suite = self.crypto.cipher_suite_provider(SUITE).unwrap();
        suite.verify(&key.into(), &signature, &signed).expect("the frank's signature");
    }

    /// The next thing that the hub tells, besides what was ours.
    pub(crate) async fn next(&mut self) -> Heard {
        loop {
            if self.waiting.is_empty() {
                self.waiting = self.post("/rooms/").await;
                // What was notified before, byte for byte, is a repeat (section 5.5): after a restart, say.
                if !self.notified.insert(self.waiting.clone()) {
                    self.waiting.clear();
                    continue;
                }
            }
            let body = std::mem::take(&mut self.waiting);
            let mut reader = In(&body);
            let heard = self.take(&mut reader);
            self.waiting = reader.0.to_vec();
            if let Some(heard) = heard {
                return heard;
            }
        }
    }

    /// Opens an application message: who says it, what, and the franking tag beside it.
    pub(crate) fn open(&mut self, message: &[u8]) -> (String, String, Vec<u8>) {
        let group = self.group.as_mut().unwrap();
        let message = MlsMessage::from_bytes(message).unwrap();
        let ReceivedMessage::ApplicationMessage(opened) = group.process_incoming_message(message).unwrap() else {
            panic!("no application message");
        };
        let member = group.member_at_index(opened.sender_index).unwrap();
        let leaf = String::from_utf8(member.signing_identity.credential.as_basic().unwrap().identifier.clone());
        let (salt, sender, mut texts) = content::read(opened.data());
        assert_eq!(leaf.unwrap().replace("/d/", "/u/"), format!("{sender}/gateway"), "who says to have sent it");
        let mut mac = Hmac::<Sha256>::new_from_slice(&salt).unwrap();
        mac.update(opened.data());
        let tag = mac.finalize().into_bytes().to_vec();
        assert_eq!(numbered(In(&opened.authenticated_data).vector())[0], (0x0020, tag.clone()), "the sender's tag");
        (sender, texts.pop().unwrap(), tag)
    }

    fn take(&mut self, reader: &mut In<'_>) -> Option<Heard> {
        let accepted = reader.number(8);
        let start = reader.clone();
        if start.0[3] == 2 {
            let message = reader.taken(|reader| {
                reader.take(4);
                reader.vector();
                reader.take(9);
                for _ in 0..3 {
                    reader.vector();
                }
            });
            let frank = (reader.u8() == 1).then(|| Self::frank(reader));
            if self.own.iter().any(|own| own == message) {
                return None;
            }
            let (sender, text, _) = self.open(message);
            self.check_frank(frank.expect("a frank"), &sender, accepted);
            return Some(Heard::Said { sender, text });
        }
        let (mut ours, mut is_proposal) = (false, false);
        let mut messages = Vec::new();
        let spelling = self.spelling.clone();
        let wire = reader.taken(|reader| messages.push(handshake::for_mls_rs(reader, &spelling)));
        ours |= self.own.iter().any(|own| own == wire);
        In::each(reader.vector(), |more| messages.push(handshake::for_mls_rs(more, &spelling)));
        if ours {
            return None;
        }
        let group = self.group.as_mut().unwrap();
        for message in messages {
            let message = MlsMessage::from_bytes(&message).expect("mls-rs reads it");
            match group.process_incoming_message(message).expect("mls-rs applies it") {
                ReceivedMessage::Commit(commit) => {
                    if matches!(commit.effect, mls_rs::group::CommitEffect::Removed { .. }) {
                        return Some(Heard::Removed);
                    }
                }
                ReceivedMessage::Proposal(_) => is_proposal = true,
                other => panic!("{other:?}"),
            }
        }
        Some(if is_proposal { Heard::Proposal } else { Heard::Commit { epoch: group.current_epoch() } })
    }
}
