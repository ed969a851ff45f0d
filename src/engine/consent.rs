//! Consent (draft-ietf-mimi-protocol-06 sections 5.7 and 8): what peers ask and say, and what our users say about it.
//!
//! ```text
//!  requestConsent, one room ----> INBOX of the room --> invitation; joining it is the answer
//!  requestConsent, every room --> OUTBOX m:desk:PEER --> the bot asks; "accept", "decline" or "block" is the answer
//!  updateConsent ---------------> INBOX of the rooms that wait for it; who asked for every room is told by the bot
//! ```
//!
//! Nothing that a peer can see depends on whether our user exists, answered, declined or blocks the requester: all that is
//! looked up after the answer is given.

use super::{
    core::{Engine, lock, now},
    desk::{Rows, again, hex_of},
    ports::{CallError, Problem, VerifiedPeer},
    provider::malformed,
    tables::{BLOCKED, CONSENT, Consent, InboxItem, KEY_PACKAGES, OutRow, QUESTIONS, REQUESTED, Requested},
};
use crate::{
    ident::{ProviderDomain, RoomUri, UserUri},
    mls,
    room::Names as _,
    store::{Batch, Database, StoreError},
    wire::{AppDataDictionary, ConsentAction, ConsentEntry, RawKeyPackage, Wire as _},
};

/// Where KeyPackages stand that serve in every room of a provider.
pub(super) fn every_room_of(provider: &ProviderDomain) -> String {
    format!("mimi://{provider}")
}

/// Notes what one of our users asks of a remote one, or does not ask any more.
pub(super) fn note_requested(db: &Database, batch: &mut Batch, body: &[u8]) -> Result<(), StoreError> {
    let Ok(entry) = ConsentEntry::decode(body) else { return Ok(()) };
    let room = entry.room.map(|room| room.to_string()).unwrap_or_default();
    let key = (entry.requester.to_string(), entry.target.to_string(), room);
    match entry.action {
        ConsentAction::Request => REQUESTED.put(db, batch, &key, &Requested::Waiting),
        ConsentAction::Cancel => {
            REQUESTED.delete(batch, &key);
            Ok(())
        }
        ConsentAction::Grant { .. } | ConsentAction::Revoke => Ok(()),
    }
}

pub(super) fn entry(action: ConsentAction, requester: &UserUri, target: &UserUri) -> ConsentEntry {
    let (requester, target) = (requester.clone(), target.clone());
    ConsentEntry { action, requester, target, room: None, extensions: AppDataDictionary::default() }
}

// ------------------------------------------------------------------------------------------------ what peers ask and say

impl Engine {
    /// `POST /requestConsent/{targetDomain}`.
    pub(super) async fn consent_requested(&self, peer: VerifiedPeer, body: Vec<u8>) -> Result<(), Problem> {
        let ConsentEntry { action, requester, target, room, extensions } =
            ConsentEntry::decode(&body).map_err(malformed)?;
        let own = self.0.names.domain();
        if requester.provider() != *peer.domain() || target.provider() != *own {
            return Err(Problem::Forbidden("the requester is none of yours, or the target none of ours".to_owned()));
        }
        if room.as_ref().is_some_and(|room| {
            let hub = room.hub();
            if hub == *own { !self.knows_room(room) } else { !self.0.peers.knows(&hub) }
        }) {
            tracing::info!(%requester, %target, "consent is asked for a room that cannot be; nobody is told");
            return Ok(());
        }
        match (action, room) {
            (ConsentAction::Request, Some(room)) => {
                self.ask(peer.domain(), requester, target, &room, extensions.0).await
            }
            (ConsentAction::Request, None) => self.ask_for_all(peer.domain(), requester, target).await,
            // Nothing that could be taken back.
            (ConsentAction::Cancel, Some(room)) if !self.knows_room(&room) => Ok(()),
            (ConsentAction::Cancel, Some(room)) => {
                let item = InboxItem::AskCancelled { requester, target };
                Ok(self.to_room(room.as_str(), item, Batch::new("consent not asked any more")).await?)
            }
            (ConsentAction::Cancel, None) => {
                let (mut batch, mut rows) = (Batch::new("consent not asked any more"), Rows::new());
                let lane = desk_lane(peer.domain());
                self.row(&lane, OutRow::Unask { requester, target }, &mut batch, &mut rows)?;
                Ok(self.commit_rows(batch, rows).await?)
            }
            (ConsentAction::Grant { .. } | ConsentAction::Revoke, _) => {
                Err(Problem::Malformed("not an operation of requestConsent".to_owned()))
            }
        }
    }

    /// A remote user asks one of ours for consent for every room.
    pub(super) async fn ask_for_all(
        &self,
        peer: &ProviderDomain,
        requester: UserUri,
        target: UserUri,
    ) -> Result<(), Problem> {
        let invitation = (target.to_string(), requester.to_string(), String::new());
        let (new, mut batch) = self.take_place(peer, &invitation)?;
        let mut rows = Rows::new();
        let row = OutRow::Ask { requester, target, at: now() };
        let stored = match self.row(&desk_lane(peer), row, &mut batch, &mut rows) {
            Ok(()) => self.commit_rows(batch, rows).await,
            Err(error) => Err(error),
        };
        if stored.is_err() && new {
            self.0.asking.end(&invitation);
        }
        Ok(stored?)
    }

    /// `POST /updateConsent/{requesterDomain}`. What nobody waits for is taken, and has no effect.
    pub(super) async fn consent_updated(&self, peer: VerifiedPeer, body: Vec<u8>) -> Result<(), Problem> {
        let ConsentEntry { action, requester, target, room, .. } = ConsentEntry::decode(&body).map_err(malformed)?;
        if target.provider() != *peer.domain() || requester.provider() != *self.0.names.domain() {
            return Err(Problem::Forbidden("the target is none of yours, or the requester none of ours".to_owned()));
        }
        match (action, room) {
            (ConsentAction::Grant { key_packages }, room) => {
                let packages = key_packages.into_iter().map(RawKeyPackage::into_bytes).collect();
                let good = usable(&target, packages);
                match room {
                    Some(room) => self.granted_for(&room, requester, target, good).await,
                    None => self.granted_for_all(requester, target, good).await,
                }
            }
            (ConsentAction::Revoke, room) => self.revoked(&requester, &target, room.as_ref()).await,
            (ConsentAction::Request | ConsentAction::Cancel, _) => {
                Err(Problem::Malformed("not an operation of updateConsent".to_owned()))
            }
        }
    }

    async fn granted_for(
        &self,
        room: &RoomUri,
        requester: UserUri,
        target: UserUri,
        key_packages: Vec<Vec<u8>>,
    ) -> Result<(), Problem> {
        if !self.knows_room(room) {
            tracing::info!(%requester, %target, %room, "a grant for a room that is not here");
            return Ok(());
        }
        let item = InboxItem::Granted { requester, target, key_packages };
        Ok(self.to_room(room.as_str(), item, Batch::new("consent given")).await?)
    }

    /// Whoever asked for every room is told; rooms into which the user was asked, too, need no further answer.
    async fn granted_for_all(
        &self,
        requester: UserUri,
        target: UserUri,
        mut key_packages: Vec<Vec<u8>>,
    ) -> Result<(), Problem> {
        let pair = (requester.to_string(), target.to_string());
        let waiting = REQUESTED.scan_all(&self.0.db, &pair).await?;
        if waiting.is_empty() {
            tracing::info!(%requester, %target, "a grant for every room that nobody asked for");
        }
        for ((_, _, room), state) in waiting {
            if !room.is_empty() {
                let (requester, target) = (requester.clone(), target.clone());
                // Each KeyPackage is for one room; the others are asked for anew.
                let item = InboxItem::Granted { requester, target, key_packages: std::mem::take(&mut key_packages) };
                self.to_room(&room, item, Batch::new("consent given")).await?;
            } else if state == Requested::Waiting {
                let (mut batch, mut rows) = (Batch::new("consent given"), Rows::new());
                REQUESTED.put(&self.0.db, &mut batch, &(pair.0.clone(), pair.1.clone(), room), &Requested::Granted)?;
                let text = format!("{} agreed that you add them to rooms.", self.described(&target));
                self.tell(&requester, &text, &mut batch, &mut rows)?;
                self.commit_rows(batch, rows).await?;
            }
        }
        Ok(())
    }

    async fn revoked(&self, requester: &UserUri, target: &UserUri, room: Option<&RoomUri>) -> Result<(), Problem> {
        let pair = (requester.to_string(), target.to_string());
        let waiting = REQUESTED.scan_all(&self.0.db, &pair).await?;
        let meant = |place: &String| room.is_none_or(|room| room.as_str() == place);
        let waiting: Vec<_> = waiting.into_iter().filter(|((_, _, place), _)| meant(place)).collect();
        if waiting.is_empty() {
            tracing::info!(%requester, %target, "a revocation of what nobody asked for");
        }
        for (key, _) in waiting {
            if !key.2.is_empty() {
                let item = InboxItem::Revoked { requester: requester.clone(), target: target.clone() };
                self.to_room(&key.2, item, Batch::new("consent revoked")).await?;
                continue;
            }
            let (mut batch, mut rows) = (Batch::new("consent revoked"), Rows::new());
            REQUESTED.delete(&mut batch, &key);
            let text =
                format!("{} does not agree, or not any more, that you add them to rooms.", self.described(target));
            self.tell(requester, &text, &mut batch, &mut rows)?;
            self.commit_rows(batch, rows).await?;
        }
        Ok(())
    }

    /// Whether a notify of a room that is not here welcomes one of our users with a KeyPackage of a grant for every room.
    /// Who: the requester whom it was granted, and our user.
    pub(super) async fn welcomed(
        &self,
        hub: &ProviderDomain,
        body: &[u8],
    ) -> Result<Option<(UserUri, UserUri)>, StoreError> {
        use crate::wire::{FanoutContent, FanoutMessage};
        let messages = FanoutMessage::decode_all(body).unwrap_or_default();
        for message in messages {
            let FanoutContent::Welcome { message, .. } = message.content else { continue };
            for reference in mls::welcome_refs(message.as_bytes()).unwrap_or_default() {
                let Some(row) = KEY_PACKAGES.get(&self.0.db, &(every_room_of(hub), reference)).await? else { continue };
                let key = (row.user.to_string(), row.requester.to_string(), String::new());
                // After a revocation nobody comes in that way.
                if CONSENT.get(&self.0.db, &key).await? == Some(Consent::Granted) {
                    return Ok(Some((row.requester, row.user)));
                }
            }
        }
        Ok(None)
    }
}

fn desk_lane(peer: &ProviderDomain) -> String {
    format!("m:desk:{peer}")
}

/// The KeyPackages of a grant that can be used.
fn usable(target: &UserUri, key_packages: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut good = Vec::new();
    for package in key_packages {
        match mls::check_key_package(&package, now()) {
            Ok(view) if view.user == *target => good.push(package),
            Ok(view) => tracing::warn!(%target, found = %view.user, "a grant with another user's KeyPackage"),
            Err(error) => tracing::warn!(%target, %error, "a grant with a KeyPackage that cannot be used"),
        }
    }
    good
}

// ----------------------------------------------------------------------------------------------- asking our users, by lane

impl Engine {
    /// Asks one of our users whether a remote user may add them to every room; once, and only who is to hear of it.
    pub(super) async fn put_question(&self, requester: &UserUri, target: &UserUri, at: u64) -> Result<(), CallError> {
        let db = &self.0.db;
        let key = (target.to_string(), requester.to_string(), String::new());
        let blocked = BLOCKED.get(db, &(key.0.clone(), key.1.clone())).await.map_err(again)?.is_some();
        let said = CONSENT.get(db, &key).await.map_err(again)?;
        let txn_id = format!("q{}", hex_of(&[target.as_str(), requester.as_str(), &at.to_string()]));
        // There since just before it was said: a crash came between.
        let half_done = QUESTIONS.get(db, &txn_id).await.map_err(again)?.is_some();
        match said {
            _ if blocked => {
                tracing::info!(%target, "somebody asks for a user who blocks them; nobody is told");
                return Ok(());
            }
            Some(Consent::Granted) => return self.grant_again(requester, target).await,
            // Who was asked is not asked once more, whatever they said.
            Some(Consent::Pending(_) | Consent::Declined) if !half_done => return Ok(()),
            Some(Consent::Pending(_) | Consent::Declined) | None => {}
        }
        let Some(id) = self.0.names.matrix_id(target) else { return Ok(()) };
        if !self.0.settings.rights.may_meet(&id, &requester.provider()) {
            tracing::info!(%target, "somebody asks for a user whom the settings keep from that provider; nobody is told");
            return Ok(());
        }
        if !self.0.homeserver.user_exists(&id).await? {
            tracing::info!(%target, "somebody asks for a user that is not here; nobody is told");
            return Ok(());
        }
        let text = format!(
            "{} asks you to agree that they add you to rooms. Reply “yes” or “no” to this message, or say\n\
             • accept {requester}\n• decline {requester} — they are not told\n• block {requester} — and never hear of them again",
            self.described(requester)
        );
        let pair = (target.clone(), requester.clone());
        if !half_done {
            // First, so that an answer finds it.
            let mut batch = Batch::new("consent asked");
            batch.require(CONSENT.absent(&key));
            CONSENT.put(db, &mut batch, &key, &Consent::Pending(requester.provider())).map_err(again)?;
            QUESTIONS.put(db, &mut batch, &txn_id, &pair).map_err(again)?;
            db.commit(batch).await.map_err(again)?;
        }
        let asked = self.say_to(target, &text, &txn_id).await?;
        let mut batch = Batch::new("consent was asked");
        QUESTIONS.delete(&mut batch, &txn_id);
        if let Some(event) = asked {
            QUESTIONS.put(db, &mut batch, &event.to_string(), &pair).map_err(again)?;
        }
        db.commit(batch).await.map(drop).map_err(again)
    }

    /// The remote user asks no more: an answer would go nowhere.
    pub(super) async fn drop_question(&self, requester: &UserUri, target: &UserUri) -> Result<(), CallError> {
        let db = &self.0.db;
        let key = (target.to_string(), requester.to_string(), String::new());
        if !matches!(CONSENT.get(db, &key).await.map_err(again)?, Some(Consent::Pending(_))) {
            return Ok(());
        }
        let (mut batch, mut rows) = (Batch::new("consent not asked any more"), Rows::new());
        CONSENT.delete(&mut batch, &key);
        let text = format!("{} took the question back whether they may add you to rooms.", self.described(requester));
        self.tell(target, &text, &mut batch, &mut rows).map_err(again)?;
        self.commit_rows(batch, rows).await.map_err(again)
    }

    /// The requester did not hear that it was granted, or wants to hear it again.
    async fn grant_again(&self, requester: &UserUri, target: &UserUri) -> Result<(), CallError> {
        let (mut batch, mut rows) = (Batch::new("consent given again"), Rows::new());
        self.send_grant(target, requester, &mut batch, &mut rows).await.map_err(again)?;
        self.commit_rows(batch, rows).await.map_err(again)
    }

    /// Forgets places that are over, and KeyPackages for every room that expired.
    pub(super) async fn forget_old_consent(&self) {
        let forget = async {
            self.forget_places().await?;
            let mut batch = Batch::new("expired KeyPackages");
            let seconds = now() / 1000;
            let rooms = lock(&self.0.rooms).clone();
            for (key, row) in KEY_PACKAGES.scan_all(&self.0.db, &()).await? {
                if row.not_after <= seconds && !rooms.contains(&key.0) {
                    KEY_PACKAGES.delete(&mut batch, &key);
                }
            }
            if batch.is_empty() { Ok(()) } else { self.0.db.commit(batch).await.map(drop) }
        };
        let done: Result<(), StoreError> = forget.await;
        if let Err(error) = done {
            tracing::warn!(%error, "what is over of consent is not forgotten yet");
        }
    }

    /// A remote user, by name and address.
    pub(super) fn described(&self, user: &UserUri) -> String {
        let (name, provider) = (self.0.names.display(user), format!(" ({})", user.provider()));
        // The address says the provider.
        format!("{} ({user})", name.strip_suffix(&provider).unwrap_or(&name))
    }
}
