//! KeyPackages of our users, and those that pass us as a hub (draft-ietf-mimi-protocol-06 section 5.2).
//!
//! They are made when they are asked for and are stored before they leave, together with the answer that holds them: no two
//! answers have the same one, whoever asks at once, whatever crashes. The same request again gets the same answer, until a
//! KeyPackage in it expires.

use std::collections::BTreeMap;

use super::{
    asking::Invitation,
    consent::every_room_of,
    core::{Engine, lock, now},
    mail::Answer,
    ports::{Endpoint, PathTarget, Problem, VerifiedPeer},
    provider::{client_credential, credential_user, digest, malformed, not_made},
    tables::{ANSWERS, CONSENT, Consent, InboxItem, KEY_PACKAGES, KeyPackageRow, PLACES},
};
use crate::{
    ident::{ProviderDomain, RoomUri, UserUri},
    mls::{self, CIPHER_SUITE, DEVICE, MlsError, labels},
    room::Names as _,
    store::{Batch, Database, StoreError},
    wire::{
        ClientKeyMaterial, KeyMaterialRequest, KeyMaterialRequestTbs, KeyMaterialResponse, KeyMaterialUserCode,
        RawKeyPackage, Wire, key_material::ClientMaterial,
    },
};

/// KeyPackages of one user for one requester and room that may wait to be used.
const UNUSED: usize = 10;

/// A signed keyMaterial request of one of our users.
pub(super) fn key_material_request(requester: &UserUri, target: &UserUri, room: &RoomUri) -> Result<Vec<u8>, MlsError> {
    let key = labels::SigningKey::generate()?;
    let tbs = KeyMaterialRequestTbs {
        requesting_user: requester.clone(),
        target_user: target.clone(),
        room: Some(room.clone()),
        acceptable_ciphersuites: vec![CIPHER_SUITE],
        required_capabilities: mls::required_capabilities(),
        requester_signature_key: key.public().to_vec(),
        requester_credential: client_credential(requester)?,
    };
    let signature = labels::sign_with_label(&key, KeyMaterialRequestTbs::LABEL, &tbs.encode())?;
    Ok(KeyMaterialRequest::new(tbs, signature).encode())
}

/// The KeyPackages of an answer.
pub(super) fn materials(response: &KeyMaterialResponse) -> Vec<Vec<u8>> {
    let packages = response.clients.iter().filter_map(|client| match &client.material {
        ClientMaterial::Success(package) => Some(package.as_bytes().to_vec()),
        ClientMaterial::Exhausted | ClientMaterial::NothingCompatible(_) => None,
    });
    packages.collect()
}

/// Whether an answer may be given once more: its KeyPackages can still be used. One without any is not kept anyway.
fn may_be_repeated(answer: &[u8], now: u64) -> bool {
    let Ok(response) = KeyMaterialResponse::decode(answer) else { return false };
    materials(&response).iter().all(|package| mls::check_key_package(package, now).is_ok())
}

/// A fresh KeyPackage of one of our users for this requester; its private part is in the batch. `place` is the room, or stands
/// for every room of the requester's provider.
pub(super) fn give(
    db: &Database,
    batch: &mut Batch,
    place: &str,
    requester: &UserUri,
    target: &UserUri,
) -> Result<RawKeyPackage, StoreError> {
    let failed = |error: &dyn std::fmt::Display| StoreError::Invalid(format!("a KeyPackage: {error}"));
    let made = mls::make_key_package(target, now()).map_err(|error| failed(&error))?;
    let key_package = RawKeyPackage::from_bytes(made.bytes).map_err(|error| failed(&error))?;
    let row = KeyPackageRow {
        user: target.clone(),
        requester: requester.clone(),
        private: made.private,
        not_after: made.not_after,
    };
    KEY_PACKAGES.put(db, batch, &(place.to_owned(), made.reference), &row)?;
    Ok(key_package)
}

/// Whether one of our users lets a requester have KeyPackages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Consents {
    /// For this room.
    ToRoom,
    /// For every room.
    ToAll,
    /// No, or not yet.
    No(KeyMaterialUserCode),
}

/// Judges what a user ever said to a requester: `(room, answer)`, an empty room standing for every room.
///
/// What was said about the room counts before what was said about every room. Who has some consent of the user hears
/// that it is not for this room; everybody else gets the same answer, declined, blocked, unanswered and unknown alike.
fn judge(said: &[(String, Consent)], room: Option<&RoomUri>) -> Consents {
    let of = |room: &str| said.iter().find(|(other, _)| other == room).map(|(_, consent)| consent);
    let granted = |consent: Option<&Consent>| consent == Some(&Consent::Granted);
    let about_room = room.and_then(|room| of(room.as_str()));
    if granted(about_room) {
        return Consents::ToRoom;
    }
    if granted(of("")) && about_room != Some(&Consent::Declined) {
        return Consents::ToAll;
    }
    let some = said.iter().any(|(_, consent)| *consent == Consent::Granted);
    Consents::No(if some { KeyMaterialUserCode::NoConsentForThisRoom } else { KeyMaterialUserCode::NoConsent })
}

impl Engine {
    /// A remote user asks one of ours into a room, if its provider has not asked too many who did not accept yet.
    pub(super) async fn ask(
        &self,
        peer: &ProviderDomain,
        requester: UserUri,
        target: UserUri,
        room: &RoomUri,
        about: BTreeMap<u16, Vec<u8>>,
    ) -> Result<(), Problem> {
        let invitation = (target.to_string(), requester.to_string(), room.to_string());
        let (new, batch) = self.take_place(peer, &invitation)?;
        let item = InboxItem::Asked { peer: peer.clone(), requester, target, about };
        let stored = self.to_room(room.as_str(), item, batch).await;
        if stored.is_err() && new {
            self.0.asking.end(&invitation);
        }
        Ok(stored?)
    }

    /// Gives an invitation its place; the batch stores it.
    pub(super) fn take_place(&self, peer: &ProviderDomain, invitation: &Invitation) -> Result<(bool, Batch), Problem> {
        let new = self.0.asking.take(peer, invitation, now()).inspect_err(|_| {
            tracing::warn!(%peer, "too many invitations of this peer are not accepted; it is told to ask again later");
        })?;
        let mut batch = Batch::new("consent asked");
        if new {
            PLACES.put(&self.0.db, &mut batch, invitation, &(peer.clone(), now()))?;
        }
        Ok((new, batch))
    }

    /// Whether one of our users lets the requester have KeyPackages. If not, it is asked, and the requester hears no more than
    /// that.
    async fn may_have(&self, peer: &ProviderDomain, tbs: &KeyMaterialRequestTbs) -> Result<Consents, Problem> {
        let (requester, target, room) = (&tbs.requesting_user, &tbs.target_user, tbs.room.as_ref());
        let said = CONSENT.scan_all(&self.0.db, &(target.to_string(), requester.to_string())).await?;
        let said: Vec<_> = said.into_iter().map(|((_, _, room), consent)| (room, consent)).collect();
        let consents = judge(&said, room);
        match (room, consents) {
            (_, Consents::ToRoom) | (None, Consents::ToAll) => {}
            // The user sees the invitation: it is the question, or, if that is answered, the room to join on Matrix.
            (Some(room), _) => self.ask(peer, requester.clone(), target.clone(), room, BTreeMap::new()).await?,
            (None, Consents::No(_)) => self.ask_for_all(peer, requester.clone(), target.clone()).await?,
        }
        Ok(consents)
    }

    /// What one of our users' clients give. It is in the batch; nobody else may give anything until that is stored.
    async fn own_key_material(
        &self,
        tbs: &KeyMaterialRequestTbs,
        batch: &mut Batch,
    ) -> Result<KeyMaterialResponse, Problem> {
        let db = &self.0.db;
        let (requester, target) = (&tbs.requesting_user, &tbs.target_user);
        let place = tbs.room.as_ref().map_or_else(|| every_room_of(&requester.provider()), ToString::to_string);
        let unused = KEY_PACKAGES.scan_all(db, &place).await?;
        let waiting = unused.iter().filter(|(_, row)| row.user == *target && row.requester == *requester).count();
        let compatible = tbs.acceptable_ciphersuites.contains(&CIPHER_SUITE) && mls::meets(&tbs.required_capabilities);
        let material = if !compatible {
            tracing::info!(%target, %requester, "KeyPackages are asked for that have to do more than ours can");
            ClientMaterial::NothingCompatible(Some(mls::our_capabilities()))
        } else if waiting >= UNUSED {
            tracing::warn!(%target, %requester, %place, "KeyPackages are asked for and not used; no more are given");
            ClientMaterial::Exhausted
        } else {
            ClientMaterial::Success(give(db, batch, &place, requester, target)?)
        };
        let status = match material {
            ClientMaterial::Success(_) => KeyMaterialUserCode::Success,
            ClientMaterial::Exhausted | ClientMaterial::NothingCompatible(_) => {
                KeyMaterialUserCode::NoCompatibleMaterial
            }
        };
        let client = target.client(DEVICE).map_err(not_made)?.as_uri().clone();
        Ok(KeyMaterialResponse { status, user: target.clone(), clients: vec![ClientKeyMaterial { client, material }] })
    }

    /// As hub: the request goes on byte for byte, because it is signed, and the references in the answer are noted.
    async fn forward_key_material(&self, room: &RoomUri, target: &UserUri, body: &[u8]) -> Answer {
        let provider = target.provider();
        if !self.0.peers.knows(&provider) {
            return Ok(KeyMaterialResponse::refused(KeyMaterialUserCode::UserUnknown, target.clone()).encode());
        }
        let path = PathTarget::Uri(target.as_uri().clone());
        let answer = match self.0.peers.call(&provider, Endpoint::KeyMaterial, &path, body).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::warn!(%provider, %error, "keyMaterial could not be forwarded");
                return Err(Problem::Unavailable(5));
            }
        };
        let response = KeyMaterialResponse::decode(&answer).map_err(|error| {
            tracing::warn!(%provider, %error, "the answer to a forwarded keyMaterial is unreadable");
            Problem::Unavailable(30)
        })?;
        self.note_passed(room, &response, provider).await?;
        Ok(answer)
    }

    /// As hub: Welcomes with these KeyPackages go to this provider, and Adds with them are taken.
    async fn note_passed(
        &self,
        room: &RoomUri,
        response: &KeyMaterialResponse,
        provider: ProviderDomain,
    ) -> Result<(), Problem> {
        let references: Vec<Vec<u8>> = materials(response)
            .iter()
            .filter_map(|package| mls::check_key_package(package, now()).ok())
            .filter(|view| view.user.provider() == provider)
            .map(|view| view.reference)
            .collect();
        if references.is_empty() {
            return Ok(());
        }
        let item = InboxItem::Passed { references, provider };
        Ok(self.to_room(room.as_str(), item, Batch::new("KeyPackages passed")).await?)
    }

    /// The answer that was given to the same request before.
    async fn given_before(&self, key: &(String, [u8; 32])) -> Result<Option<Vec<u8>>, StoreError> {
        let answer = ANSWERS.get(&self.0.db, key).await?.map(|answer| answer.value);
        Ok(answer.filter(|answer| may_be_repeated(answer, now())))
    }

    /// `POST /keyMaterial/{targetUser}`.
    pub(super) async fn key_material_for(&self, peer: VerifiedPeer, target: UserUri, body: Vec<u8>) -> Answer {
        let (db, own, peer) = (&self.0.db, self.0.names.domain(), peer.domain());
        let key = (peer.to_string(), digest(&[b"keyMaterial", target.as_str().as_bytes(), &body]));
        if let Some(answer) = self.given_before(&key).await? {
            return Ok(answer);
        }
        let request = KeyMaterialRequest::decode(&body).map_err(malformed)?;
        let room = request.tbs().room.as_ref();
        let hosted = room.filter(|room| room.hub() == *own);
        if hosted.is_some_and(|room| !self.knows_room(room)) {
            return Err(Problem::NotFound);
        }
        if hosted.is_none() && room.is_some_and(|room| room.hub() != *peer) {
            return Err(Problem::Forbidden("keyMaterial comes by way of the room's hub".to_owned()));
        }
        if let Some(room) = hosted
            && let Some(record) = super::records::load(db, &room.to_string()).await?
            && (record.banned.contains(&target) || record.bars(&target.provider()) || record.bars(peer))
        {
            tracing::info!(%peer, %target, %room, "no KeyPackages are passed on: banned from the room");
            return Ok(KeyMaterialResponse::refused(KeyMaterialUserCode::NoConsentForThisRoom, target).encode());
        }
        let mut batch = Batch::new("keyMaterial answered");
        let (answer, _giving) = if target.provider() == *own {
            verify_requester(&request)?;
            if let Consents::No(code) = self.may_have(peer, request.tbs()).await? {
                tracing::info!(%peer, %target, status = ?code, "no KeyPackages are given");
                return Ok(KeyMaterialResponse::refused(code, target).encode());
            }
            // One at a time: the same request twice at once gets one answer, and nobody more than may wait.
            let giving = self.0.giving.lock().await;
            if let Some(answer) = self.given_before(&key).await? {
                return Ok(answer);
            }
            let response = self.own_key_material(request.tbs(), &mut batch).await?;
            if response.status != KeyMaterialUserCode::Success {
                // Not kept: the same question may get another answer later.
                return Ok(response.encode());
            }
            if let Some(room) = hosted {
                self.note_passed(room, &response, target.provider()).await?;
            }
            (response.encode(), Some(giving))
        } else {
            let Some(room) = hosted else { return Err(Problem::NotFound) };
            let answer = self.forward_key_material(room, &target, &body).await?;
            if KeyMaterialResponse::decode(&answer).is_ok_and(|response| materials(&response).is_empty()) {
                return Ok(answer);
            }
            (answer, None)
        };
        ANSWERS.put(db, &mut batch, &key, &self.0.today.dated(answer.clone()))?;
        db.commit(batch).await.map_err(Problem::from)?;
        if let Some(room) = room {
            // The Welcome may come.
            lock(&self.0.unanswered).remove(room.as_str());
        }
        Ok(answer)
    }
}

/// Checks who asks. The error is for the peer.
fn verify_requester(request: &KeyMaterialRequest) -> Result<(), Problem> {
    let tbs = request.tbs();
    let verified = labels::verify_with_label(
        &tbs.acceptable_ciphersuites,
        &tbs.requester_signature_key,
        KeyMaterialRequestTbs::LABEL,
        request.tbs_bytes(),
        request.signature(),
    );
    if let Err(error) = verified {
        return Err(Problem::Forbidden(format!("the request's signature: {error}")));
    }
    match credential_user(&tbs.requester_credential) {
        Ok(user) if user == tbs.requesting_user => Ok(()),
        Ok(user) => Err(Problem::Forbidden(format!("the credential is {user}'s"))),
        Err(error) => Err(Problem::Forbidden(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 60 * 60 * 1000;

    fn room(name: &str) -> RoomUri {
        RoomUri::parse(&format!("mimi://b.example/r/{name}")).unwrap()
    }

    #[test]
    fn what_was_said_about_the_room_counts_first() {
        let pending = || Consent::Pending(ProviderDomain::parse("b.example").unwrap());
        let said = |rows: &[(&str, Consent)], asked: Option<&str>| {
            let rows: Vec<_> = rows
                .iter()
                .map(|(name, consent)| {
                    (if name.is_empty() { String::new() } else { room(name).to_string() }, consent.clone())
                })
                .collect();
            judge(&rows, asked.map(room).as_ref())
        };
        let (yes, no) = (|| Consent::Granted, || Consent::Declined);
        let refused = Consents::No(KeyMaterialUserCode::NoConsent);
        let not_here = Consents::No(KeyMaterialUserCode::NoConsentForThisRoom);
        assert_eq!(said(&[("tea", yes())], Some("tea")), Consents::ToRoom);
        assert_eq!(said(&[("", no()), ("tea", yes())], Some("tea")), Consents::ToRoom);
        assert_eq!(said(&[("", yes())], Some("tea")), Consents::ToAll);
        assert_eq!(said(&[("", yes()), ("tea", pending())], Some("tea")), Consents::ToAll);
        assert_eq!(said(&[("", yes())], None), Consents::ToAll);
        // Declined for this room only, or granted for another one only.
        assert_eq!(said(&[("", yes()), ("tea", no())], Some("tea")), not_here);
        assert_eq!(said(&[("pub", yes())], Some("tea")), not_here);
        assert_eq!(said(&[("pub", yes())], None), not_here);
        // Nobody sees which of these it was.
        for rows in [vec![], vec![("tea", pending())], vec![("tea", no())], vec![("", no())], vec![("", pending())]] {
            assert_eq!(said(&rows, Some("tea")), refused, "{rows:?}");
        }
    }

    #[test]
    fn answers_with_expired_key_packages_are_not_repeated() {
        let user = UserUri::parse("mimi://a.example/u/alice").unwrap();
        let made = mls::make_key_package(&user, now()).unwrap();
        let answer = KeyMaterialResponse {
            status: KeyMaterialUserCode::Success,
            user: user.clone(),
            clients: vec![ClientKeyMaterial {
                client: user.client(DEVICE).unwrap().as_uri().clone(),
                material: ClientMaterial::Success(RawKeyPackage::from_bytes(made.bytes).unwrap()),
            }],
        }
        .encode();
        assert!(may_be_repeated(&answer, now() + 83 * DAY));
        assert!(!may_be_repeated(&answer, now() + 85 * DAY));
        assert!(!may_be_repeated(b"damaged", now()));
    }
}
