//! Who has and who has read what: a Matrix receipt becomes a message status report, and a report of a remote user a receipt of
//! its ghost (draft-mahy-mimi-message-status-01; who may, the room's status notifications policy, draft-ietf-mimi-room-policy-03
//! section 6.1). That our users have a message means that the homeserver took its event for the Matrix room that they are in:
//! more is not known, and less is not said.
//!
//! A report goes as the only part of a message, so that it has salt, stamp and id as any other. That somebody reads makes no
//! leaf, no commit and no notice: a report that cannot be sent is let go.

use serde::Deserialize;

use super::{
    effect::Effect,
    pump::Turn,
    state::{Intent, Phase},
    step::{Step, hash},
};
use crate::{
    content::{
        Body, MessageId, MessageStatus, MessageStatusReport, MimiContent, NestedPart, PerMessageStatus,
        STATUS_MEDIA_TYPE,
    },
    ident::UserUri,
    policy::{Optionality, StatusNotificationPolicy, component},
};

/// In larger rooms reports are sent only where the room requires them: each reader sends one to everybody.
const SMALL_ROOM: usize = 50;

/// With so many messages on their way to the host, no report of delivery joins them.
const BUSY: usize = 8;

/// Whether others hear what our users have, or have read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reports {
    /// Never.
    Off,
    /// Where the room's policy speaks of it and does not forbid it.
    #[default]
    Policy,
    /// Wherever the room's policy does not forbid it.
    On,
}

impl Step<'_> {
    /// Whether others are to hear of messages of this room that our users have this status for.
    fn tells_of(&self, status: MessageStatus) -> bool {
        let Some(state) = self.state() else { return false };
        let telling = self.names.telling();
        let read = status == MessageStatus::Read;
        let wanted = if read { telling.read_receipts } else { telling.delivery_reports };
        let policy = state.other.get(&component::STATUS_NOTIFICATION_POLICY);
        // What cannot be read may forbid it.
        let said = policy.map(|bytes| match StatusNotificationPolicy::decode(bytes) {
            Ok(policy) if read => policy.read_receipts,
            Ok(policy) => policy.delivery_notifications,
            Err(_) => Optionality::Forbidden,
        });
        let small = state.participants.len() <= SMALL_ROOM;
        match (wanted, said) {
            (Reports::Off, _) | (_, Some(Optionality::Forbidden)) | (Reports::Policy, None) => false,
            (_, Some(Optionality::Required)) => true,
            (_, Some(Optionality::Optional)) | (Reports::On, None) => small,
        }
    }

    /// Whether a report of this user can be sent without anything that has to come before.
    pub(super) fn reports_at_once(&self, user: &UserUri) -> bool {
        self.group.has_leaf(user)
            && !self.is_leaving(user)
            && (!self.room.stale || self.room.fresh.contains(user))
            && self.room.phase == Phase::Active
            && !self.room.unbridging
    }

    /// One of our users has read these messages.
    pub(super) fn on_read(&mut self, user: UserUri, messages: &[MessageId], salt: [u8; 16]) {
        if self.reports_at_once(&user) && self.tells_of(MessageStatus::Read) {
            self.report_status(user, messages, MessageStatus::Read, salt);
        }
    }

    /// The homeserver has these messages of remote users for those of ours who are in the Matrix room.
    pub(super) fn on_taken(&mut self, messages: &[MessageId], salt: [u8; 16]) {
        // It is told once and nobody waits for it: where reports wait already, or there is much to do, it stays untold.
        let waits = |intent: &Intent| matches!(intent, Intent::Report { .. });
        let busy = self.room.queue.iter().any(waits) || self.room.submitted.len() >= BUSY;
        if busy || !self.tells_of(MessageStatus::Delivered) {
            return;
        }
        let local = self.group.local_users().into_iter();
        let here = local.filter(|user| self.room.present.contains(user) && self.reports_at_once(user));
        let here: Vec<UserUri> = here.take(SMALL_ROOM).collect();
        for user in here {
            let salt = hash([salt.as_slice(), user.as_str().as_bytes()].concat().as_slice());
            let salt = salt.first_chunk().copied().unwrap_or_default();
            self.report_status(user, messages, MessageStatus::Delivered, salt);
        }
    }

    fn report_status(&mut self, user: UserUri, messages: &[MessageId], status: MessageStatus, salt: [u8; 16]) {
        if messages.is_empty() || self.peers().is_empty() {
            return;
        }
        let entry = |message_id: &MessageId| PerMessageStatus { message_id: *message_id, status };
        let report = MessageStatusReport(messages.iter().map(entry).collect());
        let made = report.encode().and_then(|report| {
            let part = Body::Single { content_type: STATUS_MEDIA_TYPE.to_owned(), content: report };
            let mut content = MimiContent::new(salt, &user, &self.room.uri, NestedPart::render(part));
            content.set_sender_timestamp(self.now);
            content.encode()
        });
        match made {
            Ok(content) => self.room.queue.push_back(Intent::Report { user, content }),
            Err(error) => self.report(format!("what {user} has cannot be told: {error}")),
        }
    }

    /// Sends a report in its turn, or lets it go.
    pub(super) fn send_report(&mut self, user: &UserUri, content: &[u8], intent: &Intent) -> Turn {
        if !self.reports_at_once(user) {
            self.not_told(user, content);
            return Turn::Done;
        }
        if !self.is_hub() && !self.may_submit_now() {
            return Turn::Wait;
        }
        match self.group.seal(user, content, Self::tag_of(content)) {
            Ok(sealed) if self.is_hub() => drop(self.hub_accept_own_message(user, &sealed)),
            Ok(sealed) => self.submit(user, &sealed, intent.clone()),
            Err(error) => {
                self.not_told(user, content);
                self.report(format!("what {user} has is not told: {error}"));
            }
        }
        Turn::Done
    }

    /// What a remote user says of messages.
    pub(super) fn on_report(&mut self, by: &UserUri, report: MessageStatusReport) {
        if self.is_ours(by) || report.0.is_empty() || self.room.matrix.is_none() {
            return;
        }
        self.out.push(Effect::Reported { by: by.clone(), report });
    }
}
