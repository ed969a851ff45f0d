//! What peers ask: keyMaterial, consent, groupInfo, and the way of notify, submit and update to the room
//! (draft-ietf-mimi-protocol-06 sections 5.2 to 5.7).

use sha2::{Digest, Sha256};
use tokio::sync::oneshot;

use super::{
    core::{Engine, lock, now},
    group::RoomGroup,
    mail::{Answer, Mail, Request},
    offer::{Arrival, Arrivals},
    orders::{Told, refused},
    ports::{Endpoint, PathTarget, Problem, ProviderInbound, VerifiedPeer},
    tables::{InboxItem, NOTIFIED},
};
use crate::{
    ident::{ProviderDomain, RoomUri, UserUri},
    mls::{self, CIPHER_SUITE, DEVICE, MlsError, labels},
    policy::Capability,
    room::{
        Cause, GroupInfoAnswer, Names, Phase, Refusal, Room,
        group::{Comeback, Group, GroupInfo},
    },
    store::{Batch, BoxFuture, StoreError},
    wire::{
        Credential, ExternalSender, GroupInfoRatchetTree, GroupInfoRequest, GroupInfoResponse, GroupInfoResponseTbs,
        HpkeCiphertext, MlsMessage, PendingProposal, RatchetTreeOption, RawGroupInfo, RawRatchetTree, Wire,
    },
};

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "a peer's request was not stored");
        Self::Unavailable(1)
    }
}

pub(super) fn malformed(error: impl std::fmt::Display) -> Problem {
    Problem::Malformed(error.to_string())
}

pub(super) fn not_made(error: impl std::fmt::Display) -> Problem {
    tracing::error!(%error, "an answer could not be made");
    Problem::Unavailable(5)
}

/// The user that a basic credential names.
pub(super) fn credential_user(credential: &Credential) -> Result<UserUri, String> {
    match credential {
        Credential::Basic { identity } => mls::user_of(identity).map(|(_, user)| user).map_err(|e| e.to_string()),
        Credential::X509 { .. } => Err("only basic credentials are taken".to_owned()),
    }
}

pub(super) fn client_credential(user: &UserUri) -> Result<Credential, MlsError> {
    Ok(Credential::Basic { identity: user.client(DEVICE)?.as_str().as_bytes().to_vec() })
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
    if room.bars(peer) {
        return refused("the room's server access list keeps the provider out");
    }
    let Some(state) = group.state().ok().filter(|_| room.phase == Phase::Active) else {
        return refused("the room is not active");
    };
    // A code is looked at only where it counts for something.
    let envelope = &engine.0.settings.envelope;
    let takes_codes = envelope.joining_codes && state.takes_codes();
    let by_code = |code: &Vec<u8>| state.role_of(&user).is_none() && takes_codes && admit(&user, code);
    let comes_by_itself = room.is_for_all(envelope) && state.can(&user, Capability::OpenJoin);
    if room.banned.contains(&user) {
        return refused("banned from the Matrix room");
    }
    if !state.takes_part(&user) && !comes_by_itself && !tbs.joining_code.as_ref().is_some_and(by_code) {
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
    /// Whether the hub of the room may see that we know it: somebody of ours agreed to come in, once.
    pub(super) fn shows_room(&self, room: &RoomUri) -> bool {
        self.knows_room(room) && !lock(&self.0.unanswered).contains(room.as_str())
    }

    pub(super) fn knows_room(&self, room: &RoomUri) -> bool {
        lock(&self.0.rooms).contains(room.as_str())
    }

    async fn ask_room(&self, peer: VerifiedPeer, room: RoomUri, kind: Request, body: Vec<u8>) -> Answer {
        if !self.shows_room(&room) {
            return Err(Problem::NotFound);
        }
        let (reply, answer) = oneshot::channel();
        self.mail(room.as_str(), Mail::Request { peer: peer.domain().clone(), kind, body, reply });
        answer.await.unwrap_or(Err(Problem::Unavailable(1)))
    }

    pub(super) async fn to_room(&self, room: &str, item: InboxItem, writes: Batch) -> Result<(), StoreError> {
        self.all_to_room(room, vec![item], writes).await
    }

    async fn all_to_room(&self, room: &str, items: Vec<InboxItem>, writes: Batch) -> Result<(), StoreError> {
        let (engine, room) = (self.clone(), room.to_owned());
        let items = items.into_iter().map(|item| Arrival { item, event: None }).collect();
        let arrivals = Arrivals { items, writes };
        self.unbroken(async move { engine.deliver(&room, arrivals).await }).await
    }
}

pub(super) fn digest(parts: &[&[u8]]) -> [u8; 32] {
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
            self.admit(&peer)?;
            self.key_material_for(peer, target, body).await
        })
    }

    fn update(&self, peer: VerifiedPeer, room: RoomUri, body: Vec<u8>) -> BoxFuture<'_, Answer> {
        Box::pin(async move {
            self.admit(&peer)?;
            self.ask_room(peer, room, Request::Update, body).await
        })
    }

    fn notify(&self, peer: VerifiedPeer, room: RoomUri, body: Vec<u8>) -> BoxFuture<'_, Result<(), Problem>> {
        Box::pin(async move {
            self.admit(&peer)?;
            if room.hub() != *peer.domain() {
                return Err(Problem::Forbidden("only a room's hub notifies".to_owned()));
            }
            let (mut items, mut comes_in) = (Vec::new(), false);
            if !self.shows_room(&room) {
                // A grant for every room leads to rooms that we have not heard of.
                let welcomed = self.welcomed(peer.domain(), &body).await?;
                let Some((requester, target)) = welcomed else { return Err(Problem::NotFound) };
                let about = std::collections::BTreeMap::new();
                items.push(InboxItem::Asked { peer: peer.domain().clone(), requester, target, about });
                comes_in = true;
            }
            let key = (peer.domain().to_string(), room.to_string(), digest(&[&body]));
            if NOTIFIED.get(&self.0.db, &key).await?.is_some() {
                return Ok(());
            }
            let mut batch = Batch::new("notify");
            batch.require(NOTIFIED.absent(&key));
            NOTIFIED.put(&self.0.db, &mut batch, &key, &self.0.today.dated(()))?;
            items.push(InboxItem::Notify(body));
            match self.all_to_room(room.as_str(), items, batch).await {
                Err(error) if error.is_conflict() => {}
                result => result?,
            }
            if comes_in {
                // What follows the Welcome may come before it was worked on.
                lock(&self.0.unanswered).remove(room.as_str());
            }
            Ok(())
        })
    }

    fn submit_message(&self, peer: VerifiedPeer, room: RoomUri, body: Vec<u8>) -> BoxFuture<'_, Answer> {
        Box::pin(async move {
            self.admit(&peer)?;
            self.ask_room(peer, room, Request::Submit, body).await
        })
    }

    fn group_info(&self, peer: VerifiedPeer, room: RoomUri, body: Vec<u8>) -> BoxFuture<'_, Answer> {
        Box::pin(async move {
            self.admit(&peer)?;
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
        Box::pin(async move {
            self.admit(&peer)?;
            self.identify(peer.domain(), &body).await
        })
    }

    fn report_abuse(&self, peer: VerifiedPeer, room: RoomUri, body: Vec<u8>) -> BoxFuture<'_, Result<(), Problem>> {
        Box::pin(async move {
            self.admit(&peer)?;
            self.take_report(peer.domain(), &room, &body).await
        })
    }

    fn request_consent(&self, peer: VerifiedPeer, body: Vec<u8>) -> BoxFuture<'_, Result<(), Problem>> {
        Box::pin(async move {
            self.admit(&peer)?;
            self.consent_requested(peer, body).await
        })
    }

    fn update_consent(&self, peer: VerifiedPeer, body: Vec<u8>) -> BoxFuture<'_, Result<(), Problem>> {
        Box::pin(async move {
            self.admit(&peer)?;
            self.consent_updated(peer, body).await
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
    ) -> Result<Result<Told, Refusal>, StoreError> {
        let Some(user) = self.0.names.uri(sender) else {
            return Ok(refused(Cause::NotPermitted, "You cannot join MIMI rooms."));
        };
        if room.hub() == *self.0.names.domain() {
            return Ok(refused(Cause::Conflict, "That room is hosted here: join it the Matrix way."));
        }
        if let Some(text) = self.0.names.not_reached(&room.hub(), Some(&user)) {
            return Ok(refused(Cause::NotFound, text));
        }
        if !self.knows_room(room) {
            if let Some(refusal) = self.no_more_rooms_of(&room.hub(), room.as_str()) {
                return Ok(Err(refusal));
            }
            if let Some(refusal) = self.no_more_rooms(sender, &user).await? {
                return Ok(Err(refusal));
            }
        }
        let (reply, done) = oneshot::channel();
        self.mail(room.as_str(), Mail::Join { user, code, reply });
        Ok(match done.await {
            Ok(Ok(text)) => Ok(Told { room: Some(room.clone()), ..Told::from(text) }),
            Ok(Err(text)) => refused(Cause::Conflict, text),
            Err(_) => refused(Cause::Unreachable, "The gateway is stopping; try again in a moment."),
        })
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
    let staged = staged.map_err(|error| error.to_string())?;
    let state = group.state().map_err(|error| error.to_string())?;
    let super::group::Bounds { envelope, own, .. } = engine.bounds();
    match envelope.excesses(&state, &own).first() {
        Some(excess) => Err(format!("the operator of this server does not allow its users rooms like it ({excess})")),
        None => Ok((group, staged)),
    }
}
