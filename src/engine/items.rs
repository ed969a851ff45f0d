//! One thing that came for a room: what it is to the state machine.

use serde_json::value::RawValue;

use super::{
    actor::{Actor, After},
    consent::every_room_of,
    core::now,
    mail::Outcome,
    offer::Arrival,
    tables::{CONSENT, Consent, InboxItem, KEY_PACKAGES, REQUESTED, Wants},
};
use crate::{
    ident::RoomUri,
    room::{GroupInfoAnswer, Input, Room, Step},
    store::{Batch, StoreError},
    translate::RoomEvent,
    wire::{FanoutContent, FanoutMessage, KeyMaterialResponse, KeyMaterialUserCode, Wire},
};

impl Actor {
    /// What came without going through the inbox, in order.
    pub(super) async fn arrivals(
        &mut self,
        items: &[Arrival],
        batch: &mut Batch,
        after: &mut After,
    ) -> Result<(), StoreError> {
        for (index, arrival) in items.iter().enumerate() {
            let Some(event) = &arrival.event else {
                self.item(&arrival.item, batch, after).await?;
                continue;
            };
            self.more = items.get(index + 1).is_some_and(|next| next.event.is_some());
            let InboxItem::Event(raw) = &arrival.item else { continue };
            self.arrive(raw, event.clone(), batch, after).await?;
        }
        if items.len() > 1 {
            // The last of a burst may have been none that the room looks at.
            self.guarded(|step: &mut Step<'_>| step.pump(), batch, after).await?;
        }
        Ok(())
    }

    pub(super) async fn item(
        &mut self,
        item: &InboxItem,
        batch: &mut Batch,
        after: &mut After,
    ) -> Result<(), StoreError> {
        match item {
            InboxItem::Event(raw) => {
                let event = RawValue::from_string(raw.clone())
                    .map_err(|error| error.to_string())
                    .and_then(|raw| RoomEvent::parse(&raw).map_err(|error| error.to_string()));
                match event {
                    Ok(event) => self.arrive(raw, event, batch, after).await,
                    Err(error) => self.set_aside(&format!("event: {error}"), Some(raw), batch),
                }
            }
            InboxItem::Notify(body) => match FanoutMessage::decode_all(body) {
                Ok(messages) => {
                    for message in messages {
                        if matches!(message.content, FanoutContent::Welcome { .. } | FanoutContent::Commit { .. }) {
                            self.load_key_packages().await?;
                        }
                        self.run(Input::Fanout(message), batch, after).await?;
                    }
                    Ok(())
                }
                Err(error) => self.set_aside(&format!("notify: {error}"), None, batch),
            },
            InboxItem::Asked { peer, requester, target, about } => {
                let invitation = self.invitation(target, requester);
                let open = self.asked(requester, target, about, batch, after).await?;
                // Who said no has said it, until they come in: asking again does not undo it.
                if open && CONSENT.get(&self.engine.0.db, &invitation).await?.is_none() {
                    CONSENT.put(&self.engine.0.db, batch, &invitation, &Consent::Pending(peer.clone()))?;
                }
                Ok(())
            }
            InboxItem::AskCancelled { requester, target } => {
                let invitation = self.invitation(target, requester);
                CONSENT.delete(batch, &invitation);
                let input = Input::AskCancelled { requester: requester.clone(), target: target.clone() };
                self.run(input, batch, after).await.map(drop)
            }
            InboxItem::Granted { requester, target, key_packages } => {
                REQUESTED.delete(batch, &(requester.to_string(), target.to_string(), self.uri.clone()));
                let input = Input::Granted {
                    requester: requester.clone(),
                    target: target.clone(),
                    key_packages: key_packages.clone(),
                };
                self.run(input, batch, after).await.map(drop)
            }
            InboxItem::Revoked { requester, target } => {
                REQUESTED.delete(batch, &(requester.to_string(), target.to_string(), self.uri.clone()));
                let input = Input::Revoked { requester: requester.clone(), target: target.clone() };
                self.run(input, batch, after).await.map(drop)
            }
            InboxItem::Child { room, question } => {
                self.has_child(room, *question, after);
                Ok(())
            }
            InboxItem::NoChild { room, question } => {
                // Unless it has asked again since.
                let stays = |parent: &Room| parent.kin.children.get(room).is_some_and(|last| last > question);
                if let Some(parent) = self.room.as_mut().filter(|parent| !stays(parent)) {
                    parent.kin.children.remove(room);
                }
                Ok(())
            }
            InboxItem::Kin { parent, spaces, awaited, answers } => {
                if !self.looks_to(parent, spaces) {
                    return self.is_no_child(parent, batch, after);
                }
                self.know_parents(Some(parent)).await?;
                let (parent, spaces, awaited) = (parent.clone(), spaces.clone(), awaited.clone());
                let input = Input::Kin { parent, spaces, awaited, answers: *answers };
                self.run(input, batch, after).await.map(drop)
            }
            InboxItem::Above { room, matrix } => {
                let input = Input::Above { room: room.clone(), matrix: matrix.clone() };
                self.run(input, batch, after).await.map(drop)
            }
            InboxItem::Below { room } => self.below(room, batch, after).await,
            InboxItem::Passed { references, provider } => {
                let input = Input::KeyPackagesPassed { references: references.clone(), provider: provider.clone() };
                self.run(input, batch, after).await.map(drop)
            }
        }
    }

    pub(super) async fn load_key_packages(&mut self) -> Result<(), StoreError> {
        let db = &self.engine.0.db;
        let mut rows = KEY_PACKAGES.scan_all(db, &self.uri).await?;
        // Those of grants for every room serve in the rooms of the provider that got them.
        if let Ok(room) = RoomUri::parse(&self.uri) {
            rows.extend(KEY_PACKAGES.scan_all(db, &every_room_of(&room.hub())).await?);
        }
        let seconds = now() / 1000;
        self.group.key_packages = rows
            .into_iter()
            .filter(|(_, row)| row.not_after > seconds)
            .map(|((_, reference), row)| (reference, row.private))
            .collect();
        Ok(())
    }

    /// `raw`: the Matrix event, if it is one.
    pub(super) fn set_aside(&self, why: &str, raw: Option<&str>, batch: &mut Batch) -> Result<(), StoreError> {
        let raw = raw.and_then(|raw| RawValue::from_string(raw.to_owned()).ok());
        let event = raw.and_then(|raw| super::aside::named(&raw).0);
        self.engine.put_aside(batch, &self.uri, event, why, None)
    }

    /// How a call of the outbox ended, as the state machine hears it.
    pub(super) async fn outcome(
        &mut self,
        number: u64,
        outcome: &Outcome,
        after: &mut After,
    ) -> Result<Input, StoreError> {
        if matches!(outcome, Outcome::Answered { wants: Wants::GroupInfo { .. }, .. }) {
            self.load_key_packages().await?;
        }
        Ok(match outcome {
            Outcome::Portal(room) => {
                after.portals.push(number);
                Input::PortalReady(room.clone())
            }
            Outcome::PortalFailed(why) => {
                after.portals.push(number);
                Input::PortalFailed(why.clone())
            }
            Outcome::ShutOut { user, why } => Input::ShutOut { user: user.clone(), why: why.clone() },
            Outcome::Looked { setting, written, found } => {
                Input::Looked { setting: *setting, written: *written, found: found.clone() }
            }
            Outcome::NotDone { what, user, why } => {
                Input::NotDone { what: *what, user: user.clone(), why: why.clone() }
            }
            Outcome::Published { event, sender, url } => {
                Input::Published { event: event.clone(), sender: sender.clone(), url: url.clone() }
            }
            Outcome::Fetched { user, place, salt, picture } => {
                Input::Fetched { user: user.clone(), place: place.clone(), salt: *salt, picture: picture.clone() }
            }
            Outcome::Portrayed { user, picture, place } => {
                Input::Portrayed { user: user.clone(), picture: picture.clone(), place: place.clone() }
            }
            Outcome::NotSet { setting, why } => Input::NotSet { setting: *setting, why: why.clone() },
            Outcome::NotShown { user, why } => Input::NotShown { user: user.clone(), why: why.clone() },
            // Handled before: it says nothing to the state machine.
            Outcome::NotRemoved(_) => Input::Tick,
            Outcome::Answered { wants: Wants::Room(tag), result } => {
                Input::Answered { tag: *tag, result: result.clone() }
            }
            Outcome::Answered { wants: Wants::KeyPackages(target), result } => {
                let key_packages = result.clone().and_then(|body| key_packages_in(&body));
                Input::KeyMaterial { target: target.clone(), key_packages }
            }
            Outcome::Answered { wants: Wants::GroupInfo { user, key }, result } => {
                let answer = match (result, RoomUri::parse(&self.uri)) {
                    (Ok(body), Ok(room)) => super::provider::open_group_info(&room, &key.0, body),
                    (Err(why), _) => GroupInfoAnswer::Failed(why.clone()),
                    (Ok(_), Err(error)) => GroupInfoAnswer::Failed(error.to_string()),
                };
                Input::GroupInfo { user: user.clone(), answer }
            }
        })
    }
}

/// Why somebody cannot be added, for people.
fn no_key_material(status: KeyMaterialUserCode) -> &'static str {
    match status {
        KeyMaterialUserCode::NoConsent => "they have not agreed to it",
        KeyMaterialUserCode::NoConsentForThisRoom => "they have not agreed to it, or may not be in this room",
        KeyMaterialUserCode::UserUnknown | KeyMaterialUserCode::UserDeleted => "there is no such user",
        KeyMaterialUserCode::IncompatibleProtocol | KeyMaterialUserCode::NoCompatibleMaterial => {
            "their apps have nothing to offer that this gateway can use"
        }
        KeyMaterialUserCode::Success | KeyMaterialUserCode::PartialSuccess => "their apps have no key material now",
    }
}

/// The KeyPackages of an answer to keyMaterial.
fn key_packages_in(body: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let response = KeyMaterialResponse::decode(body).map_err(|error| format!("unreadable answer: {error}"))?;
    let packages = super::key_material::materials(&response);
    if packages.is_empty() {
        return Err(no_key_material(response.status).to_owned());
    }
    Ok(packages)
}
