//! What peers ask: keyMaterial, consent, groupInfo, and the way of notify, submit and update to the room
//! (draft-ietf-mimi-protocol-06 sections 5.2 to 5.7).

use sha2::{Digest, Sha256};
use tokio::sync::oneshot;

use super::{
    asking::Ended,
    core::{Engine, lock, now},
    group::RoomGroup,
    mail::{Answer, Mail, Request},
    offer::{Arrival, Arrivals},
    ports::{Endpoint, PathTarget, Problem, ProviderInbound, VerifiedPeer},
    tables::{ANSWERS, CONSENT, Consent, InboxItem, KEY_PACKAGES, KeyPackageRow, NOTIFIED, ROOMS},
};
use crate::{
    ident::{ProviderDomain, RoomUri, UserUri},
    mls::{self, CIPHER_SUITE, DEVICE, MlsError, labels},
    policy::Capability,
    room::{
        GroupInfoAnswer, Names, Phase, Room,
        group::{Comeback, Group, GroupInfo},
    },
    store::{Batch, BoxFuture, StoreError},
    wire::{
        ClientKeyMaterial, ConsentAction, ConsentEntry, Credential, ExternalSender, GroupInfoRatchetTree,
        GroupInfoRequest, GroupInfoResponse, GroupInfoResponseTbs, HpkeCiphertext, KeyMaterialRequest,
        KeyMaterialRequestTbs, KeyMaterialResponse, KeyMaterialUserCode, MlsMessage, PendingProposal,
        RatchetTreeOption, RawGroupInfo, RawKeyPackage, RawRatchetTree, RequiredCapabilities, Wire,
        key_material::ClientMaterial,
    },
};

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "a peer's request was not stored");
        Self::Unavailable(1)
    }
}

/// KeyPackages of one user for one requester and room that may wait to be used.
const UNUSED: usize = 10;

fn malformed(error: impl std::fmt::Display) -> Problem {
    Problem::Malformed(error.to_string())
}

fn not_made(error: impl std::fmt::Display) -> Problem {
    tracing::error!(%error, "an answer could not be made");
    Problem::Unavailable(5)
}

/// The user that a basic credential names.
fn credential_user(credential: &Credential) -> Result<UserUri, String> {
    match credential {
        Credential::Basic { identity } => mls::user_of(identity).map(|(_, user)| user).map_err(|e| e.to_string()),
        Credential::X509 { .. } => Err("only basic credentials are taken".to_owned()),
    }
}

fn client_credential(user: &UserUri) -> Result<Credential, MlsError> {
    Ok(Credential::Basic { identity: user.client(DEVICE)?.as_str().as_bytes().to_vec() })
}

/// A signed keyMaterial request of one of our users.
pub(super) fn key_material_request(requester: &UserUri, target: &UserUri, room: &RoomUri) -> Result<Vec<u8>, MlsError> {
    let key = labels::SigningKey::generate()?;
    let tbs = KeyMaterialRequestTbs {
        requesting_user: requester.clone(),
        target_user: target.clone(),
        room: Some(room.clone()),
        acceptable_ciphersuites: vec![CIPHER_SUITE],
        required_capabilities: RequiredCapabilities::default(),
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

/// The answer to groupInfo (section 5.6): for participants' clients, and where anybody may join.
pub(super) fn group_info(
    engine: &Engine,
    peer: &ProviderDomain,
    room: &Room,
    group: &RoomGroup,
    body: &[u8],
    admit: impl FnOnce(&UserUri, &[u8]) -> bool,
) -> Answer {
    let request = GroupInfoRequest::decode(body).map_err(malformed)?;
    let tbs = request.tbs();
    let refused = |why: &str| {
        tracing::info!(%peer, room = %room.uri, why, "groupInfo is not given");
        Ok(GroupInfoResponse::NotAuthorized(room.uri.clone()).encode())
    };
    if tbs.cipher_suite != CIPHER_SUITE {
        return refused("another cipher suite");
    }
    let verified = labels::verify_with_label(
        &[tbs.cipher_suite],
        &tbs.requesting_signature_key,
        tbs_label(),
        request.tbs_bytes(),
        request.signature(),
    );
    if verified.is_err() {
        return refused("the signature does not verify");
    }
    let user = match credential_user(&tbs.requesting_credential) {
        Ok(user) if user.provider() == *peer => user,
        Ok(_) | Err(_) => return refused("the credential is none of the peer's"),
    };
    let Some(state) = group.state().ok().filter(|_| room.phase == Phase::Active) else {
        return refused("the room is not active");
    };
    // A code is looked at only where it counts for something.
    let by_code = |code: &Vec<u8>| state.role_of(&user).is_none() && state.takes_codes() && admit(&user, code);
    if !state.takes_part(&user)
        && !state.can(&user, Capability::OpenJoin)
        && !tbs.joining_code.as_ref().is_some_and(by_code)
    {
        return refused("no participant, and no joining code that counts");
    }
    let parts = group.group_info().map_err(not_made)?;
    let hub = engine.0.names.domain();
    let plain = GroupInfoRatchetTree {
        group_info: RawGroupInfo::from_bytes(parts.group_info).map_err(not_made)?,
        ratchet_tree: RatchetTreeOption::Full(RawRatchetTree::from_bytes(parts.ratchet_tree).map_err(not_made)?),
        pending_proposals: pending(room, group),
    };
    let sealed = labels::hpke_seal_with_label(
        CIPHER_SUITE,
        &tbs.group_info_public_key,
        GroupInfoRatchetTree::LABEL,
        room.uri.as_str().as_bytes(),
        &plain.encode(),
    )
    .map_err(malformed)?;
    let answer = GroupInfoResponseTbs {
        room: room.uri.clone(),
        cipher_suite: CIPHER_SUITE,
        hub_sender: ExternalSender {
            signature_key: engine.0.hub_key.public().to_vec(),
            credential: Credential::Basic { identity: format!("mimi://{hub}").into_bytes() },
        },
        encrypted: HpkeCiphertext { kem_output: sealed.kem_output, ciphertext: sealed.ciphertext },
    };
    let signature =
        labels::sign_with_label(&engine.0.hub_key, GroupInfoResponseTbs::LABEL, &answer.encode()).map_err(not_made)?;
    Ok(GroupInfoResponse::success(answer, signature).encode())
}

/// What members have proposed in this epoch and nobody has committed yet.
fn pending(room: &Room, group: &RoomGroup) -> Vec<PendingProposal> {
    let proposals = group.pending_proposals().into_iter();
    let parsed = proposals.filter_map(|bytes| {
        let hub_accepted_time = room.proposed.get(&<[u8; 32]>::from(Sha256::digest(&bytes))).copied()?;
        Some(PendingProposal { proposal: MlsMessage::decode(&bytes).ok()?, hub_accepted_time })
    });
    parsed.collect()
}

fn tbs_label() -> &'static str {
    crate::wire::GroupInfoRequestTbs::LABEL
}

impl Engine {
    pub(super) fn knows_room(&self, room: &RoomUri) -> bool {
        lock(&self.0.rooms).contains(room.as_str())
    }

    async fn ask_room(&self, peer: VerifiedPeer, room: RoomUri, kind: Request, body: Vec<u8>) -> Answer {
        if !self.knows_room(&room) {
            return Err(Problem::NotFound);
        }
        let (reply, answer) = oneshot::channel();
        self.mail(room.as_str(), Mail::Request { peer: peer.domain().clone(), kind, body, reply });
        answer.await.unwrap_or(Err(Problem::Unavailable(1)))
    }

    async fn to_room(&self, room: &str, item: InboxItem, writes: Batch) -> Result<(), StoreError> {
        let (engine, room) = (self.clone(), room.to_owned());
        let arrivals = Arrivals { items: vec![Arrival { item, event: None }], writes };
        self.unbroken(async move { engine.deliver(&room, arrivals).await }).await
    }

    /// A remote user asks one of ours into a room, if its provider has not asked too many who did not answer yet.
    async fn ask(
        &self,
        peer: &ProviderDomain,
        requester: UserUri,
        target: UserUri,
        room: &RoomUri,
        about: std::collections::BTreeMap<u16, Vec<u8>>,
    ) -> Result<(), Problem> {
        let invitation = (target.to_string(), requester.to_string(), room.to_string());
        let new = self.0.asking.take(peer, &invitation, now()).inspect_err(|_| {
            tracing::warn!(%peer, "too many invitations of this peer are unanswered; it is told to ask again later");
        })?;
        let item = InboxItem::Asked { peer: peer.clone(), requester, target, about };
        let stored = self.to_room(room.as_str(), item, Batch::new("consent asked")).await;
        if stored.is_err() && new {
            self.0.asking.end(&invitation, Ended::Here, now());
        }
        Ok(stored?)
    }

    /// KeyPackages of one of our users, if it consented; else it is asked, and the requester hears no more than that.
    async fn own_key_material(
        &self,
        peer: &ProviderDomain,
        request: &KeyMaterialRequest,
    ) -> Result<KeyMaterialResponse, Problem> {
        let tbs = request.tbs();
        let target = tbs.target_user.clone();
        let refused = |status| Ok(KeyMaterialResponse::refused(status, target.clone()));
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
            Ok(user) if user == tbs.requesting_user => {}
            Ok(user) => return Err(Problem::Forbidden(format!("the credential is {user}'s"))),
            Err(error) => return Err(Problem::Forbidden(error)),
        }
        let Some(room) = &tbs.room else { return refused(KeyMaterialUserCode::NoConsent) };
        let key = (target.to_string(), tbs.requesting_user.to_string(), room.to_string());
        if CONSENT.get(&self.0.db, &key).await? != Some(Consent::Granted) {
            self.ask(peer, tbs.requesting_user.clone(), target.clone(), room, std::collections::BTreeMap::new())
                .await?;
            return refused(KeyMaterialUserCode::NoConsent);
        }
        let unused = KEY_PACKAGES.scan_all(&self.0.db, &room.to_string()).await?;
        if unused.iter().filter(|(_, row)| row.user == target && row.requester == tbs.requesting_user).count() >= UNUSED
        {
            tracing::warn!(%target, requester = %tbs.requesting_user, %room, "KeyPackages are asked for and not used; no more are given");
            return refused(KeyMaterialUserCode::NoCompatibleMaterial);
        }
        if !tbs.acceptable_ciphersuites.contains(&CIPHER_SUITE) {
            return refused(KeyMaterialUserCode::NoCompatibleMaterial);
        }
        let made = mls::make_key_package(&target, now()).map_err(not_made)?;
        let row = KeyPackageRow {
            user: target.clone(),
            requester: tbs.requesting_user.clone(),
            private: made.private,
            not_after: made.not_after,
        };
        let mut batch = Batch::new("KeyPackage given out");
        KEY_PACKAGES.put(&self.0.db, &mut batch, &(room.to_string(), made.reference), &row)?;
        self.0.db.commit(batch).await?;
        let client = target.client(DEVICE).map_err(not_made)?;
        Ok(KeyMaterialResponse {
            status: KeyMaterialUserCode::Success,
            user: target,
            clients: vec![ClientKeyMaterial {
                client: client.as_uri().clone(),
                material: ClientMaterial::Success(RawKeyPackage::from_bytes(made.bytes).map_err(not_made)?),
            }],
        })
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
}

fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

impl ProviderInbound for Engine {
    fn key_material(&self, peer: VerifiedPeer, target: UserUri, body: Vec<u8>) -> BoxFuture<'_, Answer> {
        Box::pin(async move {
            let key = (peer.domain().to_string(), digest(&[b"keyMaterial", target.as_str().as_bytes(), &body]));
            if let Some(answer) = ANSWERS.get(&self.0.db, &key).await? {
                return Ok(answer.value);
            }
            let request = KeyMaterialRequest::decode(&body).map_err(malformed)?;
            let room = request.tbs().room.clone();
            let hosted = room.as_ref().filter(|room| room.hub() == *self.0.names.domain());
            if hosted.is_some_and(|room| !self.knows_room(room)) {
                return Err(Problem::NotFound);
            }
            if hosted.is_none() && room.as_ref().is_some_and(|room| room.hub() != *peer.domain()) {
                return Err(Problem::Forbidden("keyMaterial comes by way of the room's hub".to_owned()));
            }
            if let Some(room) = hosted
                && let Some(record) = ROOMS.get(&self.0.db, &room.to_string()).await?
                && record.banned.contains(&target)
            {
                tracing::info!(peer = %peer.domain(), %target, %room, "no KeyPackages are passed on: banned from the room");
                return Ok(KeyMaterialResponse::refused(KeyMaterialUserCode::NoConsentForThisRoom, target).encode());
            }
            let answer = if target.provider() == *self.0.names.domain() {
                let response = self.own_key_material(peer.domain(), &request).await?;
                if let Some(room) = hosted {
                    self.note_passed(room, &response, target.provider()).await?;
                }
                if response.status != KeyMaterialUserCode::Success {
                    // Not kept: the same question may get another answer once the user said yes.
                    tracing::info!(peer = %peer.domain(), %target, status = ?response.status, "no KeyPackages are given");
                    return Ok(response.encode());
                }
                response.encode()
            } else {
                let Some(room) = hosted.filter(|room| self.knows_room(room)) else { return Err(Problem::NotFound) };
                let answer = self.forward_key_material(room, &target, &body).await?;
                if KeyMaterialResponse::decode(&answer).is_ok_and(|response| materials(&response).is_empty()) {
                    return Ok(answer);
                }
                answer
            };
            let mut batch = Batch::new("keyMaterial answered");
            ANSWERS.put(&self.0.db, &mut batch, &key, &self.0.today.dated(answer.clone()))?;
            self.0.db.commit(batch).await.map_err(Problem::from)?;
            Ok(answer)
        })
    }

    fn update(&self, peer: VerifiedPeer, room: RoomUri, body: Vec<u8>) -> BoxFuture<'_, Answer> {
        Box::pin(self.ask_room(peer, room, Request::Update, body))
    }

    fn notify(&self, peer: VerifiedPeer, room: RoomUri, body: Vec<u8>) -> BoxFuture<'_, Result<(), Problem>> {
        Box::pin(async move {
            if room.hub() != *peer.domain() {
                return Err(Problem::Forbidden("only a room's hub notifies".to_owned()));
            }
            if !self.knows_room(&room) {
                return Err(Problem::NotFound);
            }
            let key = (peer.domain().to_string(), room.to_string(), digest(&[&body]));
            if NOTIFIED.get(&self.0.db, &key).await?.is_some() {
                return Ok(());
            }
            let mut batch = Batch::new("notify");
            batch.require(NOTIFIED.absent(&key));
            NOTIFIED.put(&self.0.db, &mut batch, &key, &self.0.today.dated(()))?;
            match self.to_room(room.as_str(), InboxItem::Notify(body), batch).await {
                Err(error) if error.is_conflict() => Ok(()),
                result => Ok(result?),
            }
        })
    }

    fn submit_message(&self, peer: VerifiedPeer, room: RoomUri, body: Vec<u8>) -> BoxFuture<'_, Answer> {
        Box::pin(self.ask_room(peer, room, Request::Submit, body))
    }

    fn group_info(&self, peer: VerifiedPeer, room: RoomUri, body: Vec<u8>) -> BoxFuture<'_, Answer> {
        Box::pin(async move {
            let asking = peer.domain().clone();
            match self.ask_room(peer, room.clone(), Request::GroupInfo, body).await {
                // The same as for a room that the requester may not see.
                Err(Problem::NotFound) => {
                    tracing::info!(peer = %asking, %room, "groupInfo is not given: no such room here");
                    Ok(GroupInfoResponse::NotAuthorized(room).encode())
                }
                answer => answer,
            }
        })
    }

    fn identifier_query(&self, peer: VerifiedPeer, body: Vec<u8>) -> BoxFuture<'_, Answer> {
        Box::pin(async move { self.identify(peer.domain(), &body).await })
    }

    fn report_abuse(&self, peer: VerifiedPeer, room: RoomUri, body: Vec<u8>) -> BoxFuture<'_, Result<(), Problem>> {
        Box::pin(async move { self.take_report(peer.domain(), &room, &body).await })
    }

    fn request_consent(&self, peer: VerifiedPeer, body: Vec<u8>) -> BoxFuture<'_, Result<(), Problem>> {
        Box::pin(async move {
            let ConsentEntry { action, requester, target, room, extensions } =
                ConsentEntry::decode(&body).map_err(malformed)?;
            if requester.provider() != *peer.domain() || target.provider() != *self.0.names.domain() {
                return Err(Problem::Forbidden(
                    "the requester is none of yours, or the target none of ours".to_owned(),
                ));
            }
            if room.as_ref().is_some_and(|room| {
                let hub = room.hub();
                if hub == *self.0.names.domain() { !self.knows_room(room) } else { !self.0.peers.knows(&hub) }
            }) {
                tracing::info!(%requester, %target, "consent is asked for a room that cannot be; nobody is told");
                return Ok(());
            }
            let Some(room) = room else {
                tracing::info!(%requester, %target, "consent for every room is not asked of people yet; nobody is told");
                return Ok(());
            };
            match action {
                ConsentAction::Request => self.ask(peer.domain(), requester, target, &room, extensions.0).await,
                // Nothing that could be taken back.
                ConsentAction::Cancel if !self.knows_room(&room) => Ok(()),
                ConsentAction::Cancel => {
                    let item = InboxItem::AskCancelled { requester, target };
                    Ok(self.to_room(room.as_str(), item, Batch::new("consent asked")).await?)
                }
                ConsentAction::Grant { .. } | ConsentAction::Revoke => {
                    Err(Problem::Malformed("not an operation of requestConsent".to_owned()))
                }
            }
        })
    }

    fn update_consent(&self, peer: VerifiedPeer, body: Vec<u8>) -> BoxFuture<'_, Result<(), Problem>> {
        Box::pin(async move {
            let ConsentEntry { action, requester, target, room, .. } =
                ConsentEntry::decode(&body).map_err(malformed)?;
            if target.provider() != *peer.domain() || requester.provider() != *self.0.names.domain() {
                return Err(Problem::Forbidden(
                    "the target is none of yours, or the requester none of ours".to_owned(),
                ));
            }
            let (ConsentAction::Grant { key_packages }, Some(room)) = (action, room) else {
                tracing::info!(%requester, %target, "a revocation, or a grant for every room: nothing waits for it");
                return Ok(());
            };
            if !self.knows_room(&room) {
                tracing::info!(%requester, %target, %room, "a grant for a room that is not here");
                return Ok(());
            }
            let mut good = Vec::new();
            for package in key_packages {
                match mls::check_key_package(package.as_bytes(), now()) {
                    Ok(view) if view.user == target => good.push(package.into_bytes()),
                    Ok(view) => tracing::warn!(%target, found = %view.user, "a grant with another user's KeyPackage"),
                    Err(error) => tracing::warn!(%target, %error, "a grant with a KeyPackage that cannot be used"),
                }
            }
            let item = InboxItem::Granted { requester, target, key_packages: good };
            Ok(self.to_room(room.as_str(), item, Batch::new("consent given")).await?)
        })
    }
}

impl Engine {
    /// Follows a room that is hosted elsewhere, by an external commit of one of our users.
    pub(super) async fn join(
        &self,
        sender: &ruma::UserId,
        room: &RoomUri,
        code: Option<String>,
    ) -> Result<String, String> {
        let Some(user) = self.0.names.uri(sender) else { return Err("You cannot join MIMI rooms.".to_owned()) };
        if room.hub() == *self.0.names.domain() {
            return Err("That room is hosted here: join it the Matrix way.".to_owned());
        }
        if !self.0.peers.knows(&room.hub()) {
            return Err(format!("{} is no peer of this gateway; its operator can add it.", room.hub()));
        }
        let (reply, done) = oneshot::channel();
        self.mail(room.as_str(), Mail::Join { user, code, reply });
        done.await.unwrap_or_else(|_| Err("The gateway is stopping; try again in a moment.".to_owned()))
    }
}

/// A signed groupInfo request of one of our users, and the key that opens the answer.
pub(super) fn group_info_request(user: &UserUri, code: Option<&str>) -> Result<(Vec<u8>, Vec<u8>), MlsError> {
    let key = labels::SigningKey::generate()?;
    let hpke = labels::generate_hpke()?;
    let tbs = crate::wire::GroupInfoRequestTbs {
        cipher_suite: CIPHER_SUITE,
        requesting_signature_key: key.public().to_vec(),
        requesting_credential: client_credential(user)?,
        group_info_public_key: hpke.public.clone(),
        joining_code: code.map(|code| code.as_bytes().to_vec()),
    };
    let signature = labels::sign_with_label(&key, tbs_label(), &tbs.encode())?;
    Ok((GroupInfoRequest::new(tbs, signature).encode(), hpke.private))
}

/// The hub's answer to it: opened, and verified as the hub's.
pub(super) fn open_group_info(room: &RoomUri, private: &[u8], answer: &[u8]) -> GroupInfoAnswer {
    let signed = match GroupInfoResponse::decode(answer) {
        Ok(GroupInfoResponse::Success(signed)) => signed,
        Ok(GroupInfoResponse::NotAuthorized(_)) => {
            return GroupInfoAnswer::Refused("the host does not let you in".to_owned());
        }
        Ok(GroupInfoResponse::NoSuchRoom(_)) => {
            return GroupInfoAnswer::Refused("the host knows no such room".to_owned());
        }
        Err(error) => return GroupInfoAnswer::Failed(error.to_string()),
    };
    let opened = (|| {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let answer = signed.tbs();
        if answer.room != *room {
            return Err("the answer is about another room".to_owned());
        }
        let Credential::Basic { identity } = &answer.hub_sender.credential else {
            return Err("the host's credential is not basic".to_owned());
        };
        let named = crate::ident::MimiUri::from_bytes(identity).map_err(|e| text(&e))?;
        if named.provider() != room.hub() {
            return Err("the answer is signed for another provider".to_owned());
        }
        labels::verify_with_label(
            &[answer.cipher_suite],
            &answer.hub_sender.signature_key,
            GroupInfoResponseTbs::LABEL,
            signed.tbs_bytes(),
            signed.signature(),
        )
        .map_err(|e| text(&e))?;
        let sealed = labels::Sealed {
            kem_output: answer.encrypted.kem_output.clone(),
            ciphertext: answer.encrypted.ciphertext.clone(),
        };
        let context = room.as_str().as_bytes();
        let label = GroupInfoRatchetTree::LABEL;
        let plain = labels::hpke_open_with_label(answer.cipher_suite, private, label, context, &sealed);
        let info = GroupInfoRatchetTree::decode(&plain.map_err(|e| text(&e))?).map_err(|e| text(&e))?;
        let RatchetTreeOption::Full(tree) = &info.ratchet_tree else {
            return Err("the host sends no ratchet tree".to_owned());
        };
        Ok(GroupInfo {
            group_info: info.group_info.as_bytes().to_vec(),
            ratchet_tree: tree.as_bytes().to_vec(),
            pending_proposals: info.pending_proposals.iter().map(|p| p.proposal.as_bytes().to_vec()).collect(),
        })
    })();
    opened.map_or_else(GroupInfoAnswer::Failed, GroupInfoAnswer::Given)
}

/// Asks the hub for the GroupInfo and makes the external commit of `user`: the group after it is not ours before the hub
/// takes it.
pub(super) async fn external_join(
    engine: &Engine,
    user: &UserUri,
    room: &RoomUri,
    code: Option<&str>,
) -> Result<(RoomGroup, crate::room::group::Staged), String> {
    let (body, private) = group_info_request(user, code).map_err(|error| error.to_string())?;
    let path = PathTarget::Uri(room.as_uri().clone());
    let answer = engine.0.peers.call(&room.hub(), Endpoint::GroupInfo, &path, &body).await;
    let info = match open_group_info(room, &private, &answer.map_err(|error| error.to_string())?) {
        GroupInfoAnswer::Given(info) => info,
        GroupInfoAnswer::Refused(why) | GroupInfoAnswer::Failed(why) => return Err(why),
    };
    let mut group = RoomGroup::default();
    let comeback = Comeback { user, room, epoch: 0, forgiving: false, keep_reading: false };
    let staged = tokio::task::block_in_place(|| group.rejoin(&comeback, &info, now()));
    Ok((group, staged.map_err(|error| error.to_string())?))
}
