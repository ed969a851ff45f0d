//! What a step wants done becomes rows of its batch: outbox, maps, consent, KeyPackages.

use super::{
    actor::{Actor, After},
    ports::{Endpoint, PathTarget},
    relations::Place,
    tables::{CONSENT, Consent, ENDED, LOG, OUTBOX, OutRow, PLACES, SHOWN, Secret, Shown, Wants},
};
use crate::{
    ident::{ProviderDomain, UserUri},
    room::{Effect, Names as _, Tag},
    store::{Batch, StoreError},
    wire::{AppDataDictionary, ConsentAction, ConsentEntry, FanoutContent, FanoutMessage, Wire},
};

/// A notify with several messages is no longer than this.
const NOTIFY_BYTES: usize = 1 << 20;

impl Actor {
    pub(super) async fn effects(
        &mut self,
        effects: Vec<Effect>,
        batch: &mut Batch,
        after: &mut After,
    ) -> Result<(), StoreError> {
        let mut known = Vec::new();
        for effect in effects {
            self.effect(effect, &mut known, batch, after).await?;
        }
        Ok(())
    }

    async fn effect(
        &mut self,
        effect: Effect,
        known: &mut Vec<[u8; 32]>,
        batch: &mut Batch,
        after: &mut After,
    ) -> Result<(), StoreError> {
        let engine = self.engine.clone();
        let db = &engine.0.db;
        let matrix_lane = format!("m:{}", self.uri);
        match effect {
            Effect::Matrix(action) => self.send(matrix_lane, OutRow::Matrix(action), batch, after),
            Effect::MakePortal(action) => self.send(matrix_lane, OutRow::Portal(action), batch, after),
            Effect::Show(showing) => {
                if known.contains(&showing.message_id) {
                    return Ok(());
                }
                self.send(matrix_lane, OutRow::Show(showing), batch, after)
            }
            Effect::ShowFiles { showing, content } => {
                if known.contains(&showing.message_id) {
                    return Ok(());
                }
                let row = self.to_show(showing, content);
                self.send(matrix_lane, row, batch, after)
            }
            Effect::FilesGone { message_id } => self.files_gone(message_id, batch, after).await,
            Effect::FilesDeleted { message_id } => self.files_deleted(message_id, batch, after).await,
            Effect::ForgetConsent { user } => self.forget_consent(&user, batch).await,
            Effect::Log { accepted, message_id, event, franked } => {
                let key = (self.uri.clone(), message_id);
                // What one of our users says gets its id here, and is said once.
                let before = if event.is_none() { SHOWN.get(db, &key).await?.map(|row| row.value) } else { None };
                if before.as_ref().is_some_and(|shown| shown.accepted.is_some()) {
                    // A second copy, under another ciphertext perhaps: not shown again.
                    known.push(message_id);
                    return Ok(());
                }
                let event = event.map(String::from).or(before.map(|shown| shown.event)).unwrap_or_default();
                let today = &engine.0.today;
                SHOWN.put(db, batch, &key, &today.dated(Shown { event, accepted: Some(accepted) }))?;
                LOG.put(db, batch, &(self.uri.clone(), accepted, message_id), &today.dated(franked))
            }
            Effect::Noted { event, message_id, earlier } => self.noted(&event, message_id, &earlier, batch).await,
            Effect::ReportAbuse { by, openly, event, note } => {
                let complaint = super::report::Complaint { by, openly, event: event.to_string(), note };
                let matrix = self.room.as_ref().and_then(|room| room.matrix.clone());
                let matrix = matrix.map(String::from).unwrap_or_default();
                let (told, row) = engine.complain(&self.uri, &matrix, complaint, batch).await?;
                after.rows.extend(row);
                self.say(|step| step.notice(&told), batch, after)
            }
            // It was a peer when it was asked.
            Effect::Call { peer, endpoint: Endpoint::RequestConsent, .. } if !engine.0.peers.knows(&peer) => {
                tracing::warn!(room = %self.uri, %peer, "a consent request is not sent: no peer any more");
                Ok(())
            }
            Effect::Call { peer, endpoint: Endpoint::Notify, target, body, .. } => {
                self.notify(peer, target, &body, batch, after)
            }
            Effect::Call { peer, endpoint, target, body, tag } => {
                if endpoint == Endpoint::RequestConsent {
                    super::consent::note_requested(db, batch, &body)?;
                }
                let row = OutRow::Call { peer: peer.clone(), endpoint, target, body, wants: Wants::Room(tag) };
                // A lane of its own: a peer that takes no more invitations for a while gets the room's messages all the same.
                let lane = if endpoint == Endpoint::RequestConsent { "c" } else { "p" };
                self.send(format!("{lane}:{peer}:{}", self.uri), row, batch, after)
            }
            Effect::ClaimKeyMaterial { requester, target } => self.claim(&requester, &target, batch, after),
            Effect::AskGroupInfo { user } => self.ask_group_info(user, batch, after),
            Effect::Grant { requester, target } => self.grant(&requester, &target, batch, after),
            Effect::Declined { requester, target } => {
                let key = (target.to_string(), requester.to_string(), self.uri.clone());
                CONSENT.put(db, batch, &key, &Consent::Declined)
            }
            // A second copy begins nothing anew.
            Effect::Expires { message_id, .. } if known.contains(&message_id) => Ok(()),
            told @ (Effect::Expires { .. }
            | Effect::Reported { .. }
            | Effect::Lost { .. }
            | Effect::Report(_)
            | Effect::Note(_)
            | Effect::Detail(_)) => self.told(told, batch, after).await,
            Effect::Consent { by, words } => {
                let told = self.engine.consent_word(&by, &words, None, batch, &mut after.rows).await?;
                self.engine.tell(&by, &told, batch, &mut after.rows)
            }
            Effect::Look { room, reader, setting, written } => {
                self.send(matrix_lane, OutRow::Look { room, reader, setting, written }, batch, after)
            }
            home @ (Effect::LookForHome { .. } | Effect::Move(_) | Effect::Link(_) | Effect::Unlink(_)) => {
                self.home(home, batch, after)
            }
            picture @ (Effect::Publish { .. } | Effect::Unpublish(_) | Effect::Wear { .. }) => {
                self.picture(picture, batch, after)
            }
            portrait @ (Effect::Fetch { .. } | Effect::Portray { .. }) => self.portrait(portrait, batch, after),
            kin @ Effect::FindParent { .. } => self.find_parent(kin, batch, after),
            Effect::Ended(room) => ENDED.put(db, batch, &room.to_string(), &self.uri),
            Effect::Trickling(waits) => self.trickling(waits, batch, after),
            Effect::Wake(at) => {
                after.wake = Some(after.wake.map_or(at, |other| other.min(at)));
                Ok(())
            }
        }
    }

    /// An event of one of our users is this message.
    async fn noted(
        &mut self,
        event: &ruma::OwnedEventId,
        message_id: [u8; 32],
        earlier: &crate::translate::Earlier,
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        let Some(matrix) = self.room.as_ref().and_then(|room| room.matrix.clone()) else { return Ok(()) };
        self.note_files(event, earlier, batch).await?;
        let place = Place { room: &self.uri, matrix: &matrix };
        self.engine.note_event(place, event, message_id, earlier, None, batch)?;
        self.engine.note_version(place, earlier, batch).await
    }

    /// This user may be added to the room no more. KeyPackages that were given out stay until they expire: an Add with one may
    /// be on its way, and a leaf of ours without its key would count as forged.
    async fn forget_consent(&mut self, user: &UserUri, batch: &mut Batch) -> Result<(), StoreError> {
        for (key, _) in CONSENT.scan_all(&self.engine.0.db, &user.to_string()).await? {
            if key.2 == self.uri {
                CONSENT.delete(batch, &key);
            }
        }
        Ok(())
    }

    /// Puts what the room says to its people into its lane.
    pub(super) fn say(
        &mut self,
        words: impl FnOnce(&mut crate::room::Step<'_>),
        batch: &mut Batch,
        after: &mut After,
    ) -> Result<(), StoreError> {
        let lane = format!("m:{}", self.uri);
        for effect in self.in_step(words) {
            if let Effect::Matrix(action) = effect {
                self.send(lane.clone(), OutRow::Matrix(action), batch, after)?;
            }
        }
        Ok(())
    }

    /// Messages that a step tells a peer of this room go out as one notify: its body is any number of `FanoutMessage`s
    /// (draft-ietf-mimi-protocol-06 section 5.5). Handshakes go alone: a peer refuses a body as a whole.
    fn notify(
        &self,
        peer: ProviderDomain,
        target: PathTarget,
        body: &[u8],
        batch: &mut Batch,
        after: &mut After,
    ) -> Result<(), StoreError> {
        let lane = format!("p:{peer}:{}", self.uri);
        if !matches!(FanoutMessage::decode(body), Ok(FanoutMessage { content: FanoutContent::Application { .. }, .. }))
        {
            let row = OutRow::Call {
                peer,
                endpoint: Endpoint::Notify,
                target,
                body: body.to_vec(),
                wants: Wants::Room(Tag::None),
            };
            return self.send(lane, row, batch, after);
        }
        if after.notifies.get(&lane).is_some_and(|(_, _, so_far)| so_far.len() + body.len() > NOTIFY_BYTES) {
            self.post_notifies(Some(&lane), batch, after)?;
        }
        after.notifies.entry(lane).or_insert_with(|| (peer, target, Vec::new())).2.extend_from_slice(body);
        Ok(())
    }

    /// Puts gathered notifies of this lane, or of all, into the outbox.
    pub(super) fn post_notifies(
        &self,
        lane: Option<&str>,
        batch: &mut Batch,
        after: &mut After,
    ) -> Result<(), StoreError> {
        let gathered = match lane {
            Some(lane) => after.notifies.remove_entry(lane).into_iter().collect(),
            None => std::mem::take(&mut after.notifies),
        };
        for (lane, (peer, target, body)) in gathered {
            let row = OutRow::Call { peer, endpoint: Endpoint::Notify, target, body, wants: Wants::Room(Tag::None) };
            self.post(lane, row, batch, after)?;
        }
        Ok(())
    }

    /// Behind everything that the lane has.
    pub(super) fn send(
        &self,
        lane: String,
        row: OutRow,
        batch: &mut Batch,
        after: &mut After,
    ) -> Result<(), StoreError> {
        self.post_notifies(Some(&lane), batch, after)?;
        self.post(lane, row, batch, after)
    }

    fn post(&self, lane: String, row: OutRow, batch: &mut Batch, after: &mut After) -> Result<(), StoreError> {
        let number = OUTBOX.append(&self.engine.0.db, batch, &lane, &row)?;
        after.rows.push((lane, number, row));
        Ok(())
    }

    /// Asks the hub for KeyPackages, signed as the requester.
    fn claim(
        &self,
        requester: &UserUri,
        target: &UserUri,
        batch: &mut Batch,
        after: &mut After,
    ) -> Result<(), StoreError> {
        let Some(room) = &self.room else { return Ok(()) };
        let body = super::key_material::key_material_request(requester, target, &room.uri)
            .map_err(|error| StoreError::Invalid(format!("a keyMaterial request: {error}")))?;
        let hub = room.uri.hub();
        let peer = if hub == *self.engine.0.names.domain() { target.provider() } else { hub };
        let row = OutRow::Call {
            peer: peer.clone(),
            endpoint: Endpoint::KeyMaterial,
            target: PathTarget::Uri(target.as_uri().clone()),
            body,
            wants: Wants::KeyPackages(target.clone()),
        };
        // A lane of its own: a third provider that is away must not hold up what the room says.
        self.send(format!("k:{peer}:{}", self.uri), row, batch, after)
    }

    /// Asks the hub for a GroupInfo, in the lane of what goes to it: the answers to all before it come first. The key that
    /// opens the answer is stored with the request.
    fn ask_group_info(&self, user: UserUri, batch: &mut Batch, after: &mut After) -> Result<(), StoreError> {
        let Some(room) = &self.room else { return Ok(()) };
        let (body, key) = super::provider::group_info_request(&user, None)
            .map_err(|error| StoreError::Invalid(format!("a groupInfo request: {error}")))?;
        let peer = room.uri.hub();
        let row = OutRow::Call {
            peer: peer.clone(),
            endpoint: Endpoint::GroupInfo,
            target: PathTarget::Uri(room.uri.as_uri().clone()),
            body,
            wants: Wants::GroupInfo { user, key: Secret(key) },
        };
        self.send(format!("p:{peer}:{}", self.uri), row, batch, after)
    }

    /// Sends a grant with fresh KeyPackages; their private parts are in the same batch.
    fn grant(
        &self,
        requester: &UserUri,
        target: &UserUri,
        batch: &mut Batch,
        after: &mut After,
    ) -> Result<(), StoreError> {
        let db = &self.engine.0.db;
        let Some(room) = &self.room else { return Ok(()) };
        let key_package = super::key_material::give(db, batch, &self.uri, requester, target)?;
        let invitation = (target.to_string(), requester.to_string(), self.uri.clone());
        CONSENT.put(db, batch, &invitation, &Consent::Granted)?;
        PLACES.delete(batch, &invitation);
        after.accepted.push(invitation);
        let entry = ConsentEntry {
            action: ConsentAction::Grant { key_packages: vec![key_package] },
            requester: requester.clone(),
            target: target.clone(),
            room: Some(room.uri.clone()),
            extensions: AppDataDictionary::default(),
        };
        let peer = requester.provider();
        let row = OutRow::Call {
            peer: peer.clone(),
            endpoint: Endpoint::UpdateConsent,
            target: PathTarget::Domain(peer.clone()),
            body: entry.encode(),
            wants: Wants::Room(Tag::None),
        };
        self.send(format!("p:{peer}:{}", self.uri), row, batch, after)
    }
}
