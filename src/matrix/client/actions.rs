//! The effects on the homeserver, one function a [`MatrixAction`], each harmless to repeat.

use reqwest::Method;
use ruma::{
    EventId, OwnedEventId, RoomId, UserId,
    api::client::membership::{ban_user, invite_user, join_room_by_id, kick_user, leave_room, unban_user},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{HomeserverClient, errors};
use crate::engine::ports::{Actor, CallError, MatrixAction, MatrixDone, Millis};

#[derive(Deserialize)]
struct Sent {
    event_id: OwnedEventId,
}

#[derive(Deserialize)]
struct Redaction {
    redacts: Option<OwnedEventId>,
    reason: Option<String>,
}

/// A message to send.
struct Message<'a> {
    room: &'a RoomId,
    event_type: &'a str,
    content: &'a str,
    ts: Option<Millis>,
    txn_id: &'a str,
}

impl HomeserverClient {
    pub(super) async fn perform_action(&self, action: &MatrixAction) -> Result<MatrixDone, CallError> {
        match action {
            MatrixAction::Send { room, actor, event_type, content, ts, txn_id } => {
                self.send(actor, &Message { room, event_type, content, ts: *ts, txn_id }).await.map(MatrixDone::Event)
            }
            MatrixAction::SetState { room, actor, event_type, state_key, content, optional: _ } => {
                let user = self.ensure(actor).await?;
                self.set_state(room, &user, event_type, state_key, content.clone()).await.map(MatrixDone::Event)
            }
            MatrixAction::CreateRoom { .. } => self.create_room(action).await.map(MatrixDone::Room),
            MatrixAction::Join { room, actor } => self.join(room, actor).await.map(|()| MatrixDone::Done),
            MatrixAction::Leave { room, actor, reason } => {
                self.leave(room, actor, reason.clone()).await.map(|()| MatrixDone::Done)
            }
            MatrixAction::Invite { room, actor, target, is_direct } => {
                let user = self.ensure(actor).await?;
                let invited = if *is_direct {
                    self.invite_directly(room, &user, target).await
                } else {
                    self.invite(room, &user, target).await
                };
                invited.map(|()| MatrixDone::Done)
            }
            MatrixAction::Kick { room, actor, target, reason } => {
                let user = self.ensure(actor).await?;
                self.kick(room, &user, target, reason).await.map(|()| MatrixDone::Done)
            }
            MatrixAction::Unban { room, actor, target } => {
                let user = self.ensure(actor).await?;
                self.unban(room, &user, target).await.map(|()| MatrixDone::Done)
            }
            MatrixAction::Ban { room, actor, target, reason } => {
                let user = self.ensure(actor).await?;
                self.ban(room, &user, target, reason).await.map(|()| MatrixDone::Done)
            }
            MatrixAction::Decline { room, target, reason } => {
                self.register(target).await?;
                self.leave_as(room, target, Some(reason.clone())).await.map(|()| MatrixDone::Done)
            }
            MatrixAction::RemoveAlias { alias_localpart } => {
                let alias = self.names.alias(alias_localpart);
                let alias = alias.ok_or_else(|| errors::unusable("delete alias", "it is not a Matrix alias"))?;
                self.delete_alias(&alias).await.map(|()| MatrixDone::Done)
            }
            MatrixAction::Name { room, actor, name } => {
                self.show_face(room, actor, "displayname", Some(name)).await.map(|()| MatrixDone::Done)
            }
            MatrixAction::Portray { room, actor, place } => {
                self.show_face(room, actor, "avatar_url", place.as_deref()).await.map(|()| MatrixDone::Done)
            }
            MatrixAction::Receipt { room, actor, event } => {
                self.receipt(room, actor, event).await.map(|()| MatrixDone::Done)
            }
        }
    }

    async fn send(&self, actor: &Actor, message: &Message<'_>) -> Result<OwnedEventId, CallError> {
        let user = self.ensure(actor).await?;
        match self.send_as(&user, message).await {
            Err(error) if self.no_longer_ready(&user, &error) => {
                self.ensure(actor).await?;
                self.send_as(&user, message).await
            }
            sent => sent,
        }
    }

    /// The hot path: one request, its body passed on as it is.
    async fn send_as(&self, user: &UserId, message: &Message<'_>) -> Result<OwnedEventId, CallError> {
        if message.event_type == "m.room.redaction" {
            return self.redact_as(user, message).await;
        }
        let mut target = self
            .v3()
            .segment("rooms")
            .segment(message.room.as_str())
            .segment("send")
            .segment(message.event_type)
            .segment(message.txn_id)
            .query("user_id", user.as_str());
        if let Some(device) = self.device() {
            target = target.query("device_id", device);
        }
        if let Some(ts) = message.ts {
            target = target.number("ts", ts);
        }
        Ok(self.call::<Sent>("send", Method::PUT, target, Some(message.content.to_owned())).await?.event_id)
    }

    /// Redactions have an endpoint of their own, which knows where each room version wants the target. It takes no time.
    async fn redact_as(&self, user: &UserId, message: &Message<'_>) -> Result<OwnedEventId, CallError> {
        let wanted: Redaction =
            serde_json::from_str(message.content).map_err(|error| errors::unusable("redact", &error.to_string()))?;
        let event = wanted.redacts.ok_or_else(|| errors::unusable("redact", "the content names no event"))?;
        let mut target = self
            .v3()
            .segment("rooms")
            .segment(message.room.as_str())
            .segment("redact")
            .segment(event.as_str())
            .segment(message.txn_id)
            .query("user_id", user.as_str());
        if let Some(device) = self.device() {
            target = target.query("device_id", device);
        }
        let body = wanted.reason.map_or_else(|| json!({}), |reason| json!({"reason": reason})).to_string();
        Ok(self.call::<Sent>("redact", Method::PUT, target, Some(body)).await?.event_id)
    }

    /// The homeserver keeps the newest of a user's receipts.
    async fn receipt(&self, room: &RoomId, actor: &Actor, event: &EventId) -> Result<(), CallError> {
        let user = self.ensure(actor).await?;
        let target = self.v3().segment("rooms").segment(room.as_str()).segment("receipt").segment("m.read");
        let target = target.segment(event.as_str()).query("user_id", user.as_str());
        self.call::<Value>("receipt", Method::POST, target, Some("{}".to_owned())).await.map(drop)
    }

    /// The homeserver keeps a state event that says the same already.
    pub(super) async fn set_state(
        &self,
        room: &RoomId,
        user: &UserId,
        event_type: &str,
        state_key: &str,
        content: String,
    ) -> Result<OwnedEventId, CallError> {
        let mut target = self.v3().segment("rooms").segment(room.as_str()).segment("state").segment(event_type);
        if !state_key.is_empty() {
            target = target.segment(state_key);
        }
        let target = target.query("user_id", user.as_str());
        Ok(self.call::<Sent>("state", Method::PUT, target, Some(content)).await?.event_id)
    }

    async fn join(&self, room: &RoomId, actor: &Actor) -> Result<(), CallError> {
        let user = self.ensure(actor).await?;
        match self.join_as(room, &user).await {
            Err(error) if errors::is(&error, "M_FORBIDDEN") && *actor != Actor::Bot => {
                let bot = self.ensure(&Actor::Bot).await?;
                self.invite(room, &bot, &user).await?;
                self.join_as(room, &user).await
            }
            joined => joined,
        }
    }

    pub(super) async fn join_as(&self, room: &RoomId, user: &UserId) -> Result<(), CallError> {
        let request = join_room_by_id::v3::Request::new(room.to_owned());
        self.typed("join", request, Some(user)).await.map(drop)
    }

    /// A ghost that was never registered is in no room, so it is not made for this.
    async fn leave(&self, room: &RoomId, actor: &Actor, reason: Option<String>) -> Result<(), CallError> {
        let user = self.actor_id(actor)?;
        self.leave_as(room, &user, reason).await
    }

    async fn leave_as(&self, room: &RoomId, user: &UserId, reason: Option<String>) -> Result<(), CallError> {
        let mut request = leave_room::v3::Request::new(room.to_owned());
        request.reason = reason;
        match self.typed("leave", request, Some(user)).await {
            Ok(_) => Ok(()),
            Err(error) if errors::is(&error, "M_NOT_FOUND") => Ok(()),
            Err(error) if errors::is(&error, "M_FORBIDDEN") => {
                // Refused: because it is not in the room, as far as we can see, or for another reason.
                match self.membership(room, user, self.names.bot()).await {
                    Ok(Some(membership)) if matches!(membership.as_str(), "join" | "invite" | "knock") => Err(error),
                    Err(other) if other.retry != crate::engine::ports::Retry::Permanent => Err(other),
                    _ => Ok(()),
                }
            }
            Err(error) => Err(error),
        }
    }

    pub(super) async fn invite(&self, room: &RoomId, user: &UserId, target: &UserId) -> Result<(), CallError> {
        let recipient =
            invite_user::v3::InvitationRecipient::UserId(invite_user::v3::InviteUserId::new(target.to_owned()));
        let request = invite_user::v3::Request::new(room.to_owned(), recipient);
        match self.typed("invite", request, Some(user)).await {
            Ok(_) => Ok(()),
            Err(error) if errors::is(&error, "M_FORBIDDEN") => match self.membership(room, target, user).await {
                Ok(Some(membership)) if matches!(membership.as_str(), "join" | "invite") => Ok(()),
                _ => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    /// Invites into a direct chat: only as state can the invitation say that it is one. Who is there or invited stays so.
    pub(super) async fn invite_directly(&self, room: &RoomId, user: &UserId, target: &UserId) -> Result<(), CallError> {
        let membership = self.membership(room, target, user).await?;
        if matches!(membership.as_deref(), Some("join" | "invite")) {
            return Ok(());
        }
        let content = json!({ "membership": "invite", "is_direct": true }).to_string();
        self.set_state(room, user, "m.room.member", target.as_str(), content).await.map(drop)
    }

    async fn kick(&self, room: &RoomId, user: &UserId, target: &UserId, reason: &str) -> Result<(), CallError> {
        let mut request = kick_user::v3::Request::new(room.to_owned(), target.to_owned());
        request.reason = (!reason.is_empty()).then(|| reason.to_owned());
        match self.typed("kick", request, Some(user)).await {
            Ok(_) => Ok(()),
            Err(error) if errors::is(&error, "M_FORBIDDEN") => match self.membership(room, target, user).await {
                Ok(membership) if !matches!(membership.as_deref(), Some("join" | "invite" | "knock")) => Ok(()),
                _ => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    async fn ban(&self, room: &RoomId, user: &UserId, target: &UserId, reason: &str) -> Result<(), CallError> {
        let mut request = ban_user::v3::Request::new(room.to_owned(), target.to_owned());
        request.reason = (!reason.is_empty()).then(|| reason.to_owned());
        self.typed("ban", request, Some(user)).await.map(drop)
    }

    async fn unban(&self, room: &RoomId, user: &UserId, target: &UserId) -> Result<(), CallError> {
        let request = unban_user::v3::Request::new(room.to_owned(), target.to_owned());
        match self.typed("unban", request, Some(user)).await {
            Ok(_) => Ok(()),
            // Refused: because it is not banned, or for another reason.
            Err(error) if matches!(error.status, Some(400 | 403)) => match self.membership(room, target, user).await {
                Ok(membership) if membership.as_deref() != Some("ban") => Ok(()),
                _ => Err(error),
            },
            Err(error) => Err(error),
        }
    }
}
