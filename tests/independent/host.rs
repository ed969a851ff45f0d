//! c.example as a hub: a room of its own, in which a.example's gateway is a follower (draft-ietf-mimi-protocol-06 sections 5.3
//! to 5.5 from the other side). It answers what it gets, and distributes it.

use hmac::{Hmac, Mac as _};
use mls_rs::{
    CipherSuiteProvider as _, CryptoProvider as _, Extension, ExtensionList, MlsMessage,
    client_builder::MlsConfig,
    extension::built_in::RequiredCapabilitiesExt,
    group::{ReceivedMessage, proposal::ProposalType},
};
use sha2::Sha256;

use crate::{
    bytes::{In, of_numbered, vector},
    handshake::{self, APP_DATA_UPDATE, SELF_REMOVE},
    net::Post,
    peer::{Heard, NO_AAD, Peer, SUITE, USER, leaf_extensions, now},
    suite::{DICTIONARY, PARTICIPANTS},
};

/// The room that it hosts.
pub(crate) const ROOM: &str = "mimi://c.example/r/allotments";
/// What it stamps messages with.
const FRANKING_KEY: [u8; 32] = [11; 32];
const MEMBER: u32 = 2;
const ADMIN: u32 = 4;

fn number(value: u32) -> Vec<u8> {
    value.to_be_bytes().to_vec()
}

fn ids(ids: &[u16]) -> Vec<u8> {
    vector(&ids.iter().flat_map(|id| id.to_be_bytes()).collect::<Vec<_>>())
}

/// A role (draft-ietf-mimi-room-policy-03 section 3) without bounds; `most` active participants, if that is bounded.
fn role(index: u32, name: &str, capabilities: &[u16], most: Option<u32>, changes: &[(u32, &[u32])]) -> Vec<u8> {
    let changes = changes.iter().flat_map(|(from, to)| {
        let to: Vec<u8> = to.iter().flat_map(|to| to.to_be_bytes()).collect();
        [number(*from), vector(&to)].concat()
    });
    [
        number(index),
        vector(name.as_bytes()),
        vector(&[]),
        ids(capabilities),
        number(0),
        vec![0],
        number(0),
        most.map_or(vec![0], |most| [vec![1], number(most)].concat()),
        vector(&changes.collect::<Vec<_>>()),
    ]
    .concat()
}

fn participant(user: &str, role: u32) -> Vec<u8> {
    [vector(user.as_bytes()), number(role)].concat()
}

impl<C: MlsConfig> Peer<C> {
    /// Makes the room, with these of a.example on its list.
    pub(crate) fn host(&mut self, guests: &[&str]) {
        ROOM.clone_into(&mut self.room);
        let mut list = participant(USER, ADMIN);
        for guest in guests {
            list.extend(participant(guest, MEMBER));
        }
        let talk = [0x0000, 0x0002, 0x0003, 0x0006, 0x0100, 0x0101];
        let all = [&talk[..], &[0x0001, 0x000a, 0x000b, 0x000c, 0x000f]].concat();
        let roles = [
            role(0, "no_role", &[], Some(0), &[]),
            role(1, "banned", &[], Some(0), &[]),
            role(MEMBER, "member", &talk, None, &[(0, &[2]), (2, &[0])]),
            role(ADMIN, "admin", &all, None, &[(0, &[1, 2, 4]), (1, &[0, 2]), (2, &[0, 1, 4]), (4, &[0, 2])]),
        ];
        let components = [
            (0x0001, ids(&[0x22, 0x23, 0x25, 0x27])),
            (0x0002, ids(&[0x20])),
            (0x0021, [vector(&self.public), vec![0, 1], vector(b"mimi://c.example")].concat()),
            (PARTICIPANTS, vector(&list)),
            (0x0023, [vector(ROOM.as_bytes()), vector(b"Allotments"), vec![0; 4]].concat()),
            (0x0025, vector(&roles.concat())),
            // Not fixed, no parent, several devices, no bounds, no pseudonyms, persistent, not to be found; roles.
            (0x0027, [&[0, 0, 0, 1, 0, 0, 0, 1, 0][..], &ids(&[0x0025])].concat()),
        ];
        let mut extensions = ExtensionList::new();
        let kinds: Vec<ProposalType> = vec![APP_DATA_UPDATE.into(), SELF_REMOVE.into()];
        extensions.set_from(RequiredCapabilitiesExt::new(vec![DICTIONARY.into()], kinds, vec![])).unwrap();
        // It has to be the last: OpenMLS 0.9.2 puts it there when it changes, mls-rs leaves it where it is.
        extensions.set(Extension::new(DICTIONARY.into(), vector(&of_numbered(&components))));
        let id = b"mimi://c.example/g/allotments".to_vec();
        let group = self.client.create_group_with_id(id, extensions, leaf_extensions(), None).unwrap();
        self.group = Some(group);
    }

    /// Asks one of a.example's users for consent.
    pub(crate) async fn ask(&self, target: &str) {
        let body = [
            vec![1],
            vector(USER.as_bytes()),
            vector(target.as_bytes()),
            vec![1],
            vector(ROOM.as_bytes()),
            vector(&[]),
        ];
        let (status, _) = self.call("requestConsent", "targetDomain", "a.example", body.concat()).await;
        assert_eq!(status, 201);
    }

    /// The user's answer: a KeyPackage.
    pub(crate) async fn granted(&mut self, target: &str) -> Vec<u8> {
        let body = self.post("/answer/c.example").await;
        let mut reader = In(&body);
        assert_eq!(reader.u8(), 2, "a grant");
        assert_eq!((reader.vector(), reader.vector()), (USER.as_bytes(), target.as_bytes()));
        assert_eq!((reader.u8(), reader.vector()), (1, ROOM.as_bytes()));
        let key_package = reader.vector().to_vec();
        reader.vector();
        assert!(reader.0.is_empty());
        key_package
    }

    /// Adds a.example's first client; it is told by a Welcome.
    pub(crate) async fn welcome(&mut self, key_package: &[u8]) {
        let key_package = MlsMessage::from_bytes(&[&[0, 1, 0, 5][..], key_package].concat()).unwrap();
        let builder = self.group().commit_builder().add_member(key_package).unwrap();
        let commit = builder.authenticated_data(NO_AAD.to_vec()).build().unwrap();
        self.group().apply_pending_commit().unwrap();
        let tree = self.group().export_tree().to_bytes().unwrap();
        let welcome = commit.welcome_messages()[0].to_bytes().unwrap();
        let at = self.accept();
        self.fan_out(at, &[&welcome[..], &[1], &tree].concat()).await;
    }

    /// Takes a user into the list and its client into the group. mls-rs has no AppDataUpdate, so the list changes by a proposal that
    /// is distributed before and that the commit refers to.
    pub(crate) async fn list_and_add(&mut self, user: &str, key_package: &[u8]) {
        let update = [vector(&[]), vector(&[]), vector(&participant(user, MEMBER))].concat();
        let change = [&PARTICIPANTS.to_be_bytes()[..], &[1], &vector(&update)].concat();
        let proposal = self.propose(APP_DATA_UPDATE, change);
        let at = self.accept();
        self.fan_out(at, &[&proposal[..], &[0]].concat()).await;
        let key_package = MlsMessage::from_bytes(&[&[0, 1, 0, 5][..], key_package].concat()).unwrap();
        let builder = self.group().commit_builder().add_member(key_package).unwrap();
        let commit = builder.authenticated_data(NO_AAD.to_vec()).build().unwrap();
        self.group().apply_pending_commit().unwrap();
        let tree = self.group().export_tree().to_bytes().unwrap();
        let welcome = commit.welcome_messages()[0].to_bytes().unwrap();
        self.host_tells(&commit.commit_message().to_bytes().unwrap()).await;
        let at = self.accept();
        self.fan_out(at, &[&welcome[..], &[1], &tree].concat()).await;
    }

    /// When something is accepted: later than all before.
    fn accept(&mut self) -> u64 {
        self.accepted = now().max(self.accepted + 1);
        self.accepted
    }

    async fn fan_out(&self, at: u64, content: &[u8]) {
        let body = [&at.to_be_bytes()[..], content].concat();
        let (status, _) = self.call("notify", "roomId", ROOM, body).await;
        assert_eq!(status, 201);
    }

    /// The stamp on a message (section 5.4.1): it says nothing of what is in it.
    fn stamp(&self, tag: &[u8], sender: &str, at: u64) -> Vec<u8> {
        let context = [vector(sender.as_bytes()), vector(ROOM.as_bytes()), at.to_be_bytes().to_vec()].concat();
        let mut mac = Hmac::<Sha256>::new_from_slice(&FRANKING_KEY).unwrap();
        mac.update(tag);
        mac.update(&context);
        let server_frank = mac.finalize().into_bytes().to_vec();
        let tbs = [server_frank.clone(), vec![0, 1], context].concat();
        let signed = [vector(b"MLS 1.0 FrankingIntegrityTBS"), vector(&tbs)].concat();
        let suite = self.crypto.cipher_suite_provider(SUITE).unwrap();
        let signature = suite.sign(&self.secret, &signed).unwrap();
        [server_frank, vec![0, 1], vector(&signature)].concat()
    }

    /// Says something in the own room.
    pub(crate) async fn host_says(&mut self, words: &str) {
        let (message, tag) = self.seal(words);
        let at = self.accept();
        let frank = self.stamp(&tag, USER, at);
        self.fan_out(at, &[&message[..], &[1], &frank].concat()).await;
    }

    /// Commits what is pending, or a new path.
    pub(crate) async fn host_commits(&mut self) {
        let commit = self.host_commits_unheard();
        self.host_tells(&commit).await;
    }

    /// The same, and does not distribute it yet.
    pub(crate) fn host_commits_unheard(&mut self) -> Vec<u8> {
        let commit = self.group().commit_builder().authenticated_data(NO_AAD.to_vec()).build().unwrap();
        self.group().apply_pending_commit().unwrap();
        commit.commit_message().to_bytes().unwrap()
    }

    /// Distributes a commit.
    pub(crate) async fn host_tells(&mut self, commit: &[u8]) {
        let at = self.accept();
        self.fan_out(at, &[commit, &[0]].concat()).await;
    }

    /// Answers the next groupInfo request (section 5.6), which one of a.example's clients has to have signed.
    pub(crate) async fn give_group_info(&mut self, user: &str) {
        let post = self.request("/rooms/").await;
        assert_eq!(post.path, format!("/rooms/{ROOM}/info"));
        let (mut reader, mut key, mut hpke) = (In(&post.body), Vec::new(), Vec::new());
        let tbs = reader.taken(|reader| {
            assert_eq!((reader.u8(), reader.u16()), (1, 1), "MLS 1.0, cipher suite 1");
            key = reader.vector().to_vec();
            assert_eq!(reader.u16(), 1, "a basic credential");
            assert_eq!(reader.vector(), format!("{}/gateway", user.replace("/u/", "/d/")).as_bytes());
            hpke = reader.vector().to_vec();
            assert_eq!(reader.vector(), [0; 0], "no joining code");
        });
        let suite = self.crypto.cipher_suite_provider(SUITE).unwrap();
        let signed = [vector(b"MLS 1.0 GroupInfoRequestTBS"), vector(tbs)].concat();
        suite.verify(&key.into(), reader.vector(), &signed).expect("the request's signature");

        let group_info = self.group().group_info_message_allowing_ext_commit(false).unwrap().to_bytes().unwrap();
        let tree = self.group().export_tree().to_bytes().unwrap();
        let plain = [&group_info[4..], &[1], &tree, &vector(&[])].concat();
        let info = [vector(b"MLS 1.0 GroupInfo and ratchet_tree encryption"), vector(ROOM.as_bytes())].concat();
        let sealed = suite.hpke_seal(&hpke.into(), &info, None, &plain).unwrap();
        let tbs = [
            vec![1],
            vector(ROOM.as_bytes()),
            vec![1, 0, 1],
            vector(&self.public),
            vec![0, 1],
            vector(b"mimi://c.example"),
            vector(&sealed.kem_output),
            vector(&sealed.ciphertext),
        ]
        .concat();
        let signed = [vector(b"MLS 1.0 GroupInfoResponseTBS"), vector(&tbs)].concat();
        let signature = suite.sign(&self.secret, &signed).unwrap();
        post.answer.send([tbs, vector(&signature)].concat()).unwrap();
    }

    /// The next submission or update: taken, answered and distributed.
    pub(crate) async fn serve(&mut self) -> Heard {
        let post = self.request("/rooms/").await;
        if post.path == format!("/rooms/{ROOM}/say") { self.submitted(post).await } else { self.updated(post).await }
    }

    async fn submitted(&mut self, post: Post) -> Heard {
        let mut reader = In(&post.body);
        assert_eq!(reader.u8(), 1, "MLS 1.0");
        let message = reader.taken(|reader| {
            assert_eq!(reader.take(4), [0, 1, 0, 2], "a PrivateMessage");
            reader.vector();
            reader.take(9);
            for _ in 0..3 {
                reader.vector();
            }
        });
        let (sender, text, tag) = self.open(message);
        assert_eq!(reader.vector(), sender.as_bytes(), "the sender");
        assert!(reader.0.is_empty());
        let at = self.accept();
        let frank = self.stamp(&tag, &sender, at);
        let answer = [&[1, 0][..], &at.to_be_bytes(), &[1], &frank].concat();
        post.answer.send(answer).unwrap();
        self.fan_out(at, &[message, &[1], &frank].concat()).await;
        Heard::Said { sender, text }
    }

    async fn updated(&mut self, post: Post) -> Heard {
        assert_eq!(post.path, format!("/rooms/{ROOM}"));
        let mut reader = In(&post.body);
        let spelling = self.spelling.clone();
        let mut messages = Vec::new();
        let first = reader.taken(|reader| messages.push(handshake::for_mls_rs(reader, &spelling)));
        let (epoch, is_commit) = handshake::epoch_and_kind(first);
        let current = self.epoch().0;
        if epoch != current {
            post.answer.send([&[1, 0][..], &current.to_be_bytes()].concat()).unwrap();
            return Heard::WrongEpoch;
        }
        let rest = reader.0.to_vec();
        if !is_commit {
            In::each(In(&rest).vector(), |more| messages.push(handshake::for_mls_rs(more, &spelling)));
        }
        let group = self.group();
        for message in messages {
            let message = MlsMessage::from_bytes(&message).expect("mls-rs reads it");
            let received = group.process_incoming_message(message).expect("mls-rs applies it");
            assert!(matches!(received, ReceivedMessage::Commit(_) | ReceivedMessage::Proposal(_)));
        }
        let at = self.accept();
        post.answer.send([&[0, 0][..], &at.to_be_bytes()].concat()).unwrap();
        if is_commit {
            self.fan_out(at, &[first, &[0]].concat()).await;
            return Heard::Commit { epoch: self.epoch().0 };
        }
        self.fan_out(at, &[first, &rest].concat()).await;
        Heard::Proposal
    }
}
