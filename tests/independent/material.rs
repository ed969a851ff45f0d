//! The peer's KeyPackages by way of keyMaterial, and those that it asks for (draft-ietf-mimi-protocol-06 section 5.2).

use mls_rs::{CipherSuiteProvider as _, CryptoProvider as _, MlsMessage, client_builder::MlsConfig};

use crate::{
    bytes::{In, vector},
    peer::{CLIENT, NO_AAD, Peer, SUITE, USER},
};

const LABEL: &[u8] = b"MLS 1.0 KeyMaterialRequestTBS";

impl<C: MlsConfig> Peer<C> {
    /// Answers the next keyMaterial request, which has to be signed by who asks, with a KeyPackage.
    pub(crate) async fn give_key_material(&mut self, requester: &str) {
        let post = self.request("/who/").await;
        assert_eq!(post.path, format!("/who/{USER}/keys"));
        let mut reader = In(&post.body);
        let mut key = Vec::new();
        let tbs = reader.taken(|reader| {
            assert_eq!(reader.u8(), 1, "MLS 1.0");
            assert_eq!((reader.vector(), reader.vector()), (requester.as_bytes(), USER.as_bytes()));
            assert_eq!(reader.vector(), self.room.as_bytes());
            assert_eq!(reader.vector(), [0, 1], "cipher suite 1 will do");
            for _ in 0..3 {
                reader.vector();
            }
            key = reader.vector().to_vec();
            assert_eq!(reader.u16(), 1, "a basic credential");
            let client = requester.replace("/u/", "/d/");
            assert_eq!(reader.vector(), format!("{client}/gateway").as_bytes());
        });
        let suite = self.crypto.cipher_suite_provider(SUITE).unwrap();
        let signed = [vector(LABEL), vector(tbs)].concat();
        suite.verify(&key.into(), reader.vector(), &signed).expect("the requester's signature");
        assert!(reader.0.is_empty());
        let client = [vec![0], vector(CLIENT.as_bytes()), self.key_package()].concat();
        let answer = [vec![1, 0], vector(USER.as_bytes()), vector(&client)].concat();
        post.answer.send(answer).unwrap();
    }

    /// Asks for a KeyPackage of one of a.example's users, for the room: the status, and the KeyPackage if there is one.
    pub(crate) async fn ask_key_material(&self, target: &str) -> (u8, Option<Vec<u8>>) {
        let tbs = [
            vec![1],
            vector(USER.as_bytes()),
            vector(target.as_bytes()),
            vector(self.room.as_bytes()),
            vector(&[0, 1]),
            [vector(&[]), vector(&[]), vector(&[])].concat(),
            vector(&self.public),
            vec![0, 1],
            vector(CLIENT.as_bytes()),
        ]
        .concat();
        let suite = self.crypto.cipher_suite_provider(SUITE).unwrap();
        let signature = suite.sign(&self.secret, &[vector(LABEL), vector(&tbs)].concat()).unwrap();
        let body = [tbs, vector(&signature)].concat();
        let (status, answer) = self.call("keyMaterial", "targetUser", target, body).await;
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
        let mut reader = In(&answer);
        assert_eq!(reader.u8(), 1);
        let status = reader.u8();
        assert_eq!(reader.vector(), target.as_bytes());
        let mut clients = In(reader.vector());
        assert!(reader.0.is_empty());
        if clients.0.is_empty() {
            return (status, None);
        }
        assert_eq!(clients.u8(), 0, "a KeyPackage");
        assert_eq!(clients.vector(), format!("{}/gateway", target.replace("/u/", "/d/")).as_bytes());
        (status, Some(clients.0.to_vec()))
    }

    /// Adds the client of a KeyPackage to the group; the hub has to take it. Its user is in the list already.
    pub(crate) async fn add(&mut self, key_package: &[u8]) {
        let key_package = MlsMessage::from_bytes(&[&[0, 1, 0, 5][..], key_package].concat()).unwrap();
        let builder = self.group().commit_builder().add_member(key_package).unwrap();
        let commit = builder.authenticated_data(NO_AAD.to_vec()).build().unwrap();
        let welcome = commit.welcome_messages()[0].to_bytes().unwrap();
        let bytes = commit.commit_message().to_bytes().unwrap();
        self.update_with(&bytes, &[&[1], &welcome[4..]].concat()).await;
        self.group().apply_pending_commit().unwrap();
    }
}
