//! Who has read what: a Matrix receipt becomes a message status report, and a report of a remote user a receipt of its ghost
//! (draft-mahy-mimi-message-status-01; who may, the room's status notifications policy, draft-ietf-mimi-room-policy-03
//! section 6.1).
//!
//! A report goes as the only part of a message, so that it has salt, stamp and id as any other. That somebody reads makes no
//! leaf, no commit and no notice: a report that cannot be sent is let go.

use serde::Deserialize;

use super::{
    pump::Turn,
    state::{Intent, Phase},
    step::{Effect, Step},
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

/// Whether others hear what our users have read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReadReceipts {
    /// Never.
    Off,
    /// Where the room's policy speaks of it and does not forbid it.
    #[default]
    Policy,
    /// Wherever the room's policy does not forbid it.
    On,
}

impl Step<'_> {
    /// Whether others are to hear what our users have read in this room.
    fn tells_reading(&self) -> bool {
        let Some(state) = self.state() else { return false };
        let policy = state.other.get(&component::STATUS_NOTIFICATION_POLICY);
        // What cannot be read may forbid it.
        let said = policy.map(|bytes| {
            StatusNotificationPolicy::decode(bytes).map_or(Optionality::Forbidden, |policy| policy.read_receipts)
        });
        let small = state.participants.len() <= SMALL_ROOM;
        match (self.names.telling().read_receipts, said) {
            (ReadReceipts::Off, _) | (_, Some(Optionality::Forbidden)) | (ReadReceipts::Policy, None) => false,
            (_, Some(Optionality::Required)) => true,
            (_, Some(Optionality::Optional)) | (ReadReceipts::On, None) => small,
        }
    }

    /// Whether a report of this user can be sent without anything that has to come before.
    fn reports_at_once(&self, user: &UserUri) -> bool {
        self.group.has_leaf(user)
            && !self.is_leaving(user)
            && (!self.room.stale || self.room.fresh.contains(user))
            && self.room.phase == Phase::Active
            && !self.room.unbridging
    }

    /// One of our users has read these messages.
    pub(super) fn on_read(&mut self, user: UserUri, messages: &[MessageId], salt: [u8; 16]) {
        if messages.is_empty() || self.peers().is_empty() || !self.reports_at_once(&user) || !self.tells_reading() {
            return;
        }
        let read = |message_id: &MessageId| PerMessageStatus { message_id: *message_id, status: MessageStatus::Read };
        let report = MessageStatusReport(messages.iter().map(read).collect());
        let made = report.encode().and_then(|report| {
            let part = Body::Single { content_type: STATUS_MEDIA_TYPE.to_owned(), content: report };
            let mut content = MimiContent::new(salt, &user, &self.room.uri, NestedPart::render(part));
            content.set_sender_timestamp(self.now);
            content.encode()
        });
        match made {
            Ok(content) => self.room.queue.push_back(Intent::Report { user, content }),
            Err(error) => self.report(format!("what {user} has read cannot be told: {error}")),
        }
    }

    /// Sends a report in its turn, or lets it go.
    pub(super) fn send_report(&mut self, user: &UserUri, content: &[u8], intent: &Intent) -> Turn {
        if !self.reports_at_once(user) {
            return Turn::Done;
        }
        if !self.is_hub() && !self.may_submit_now() {
            return Turn::Wait;
        }
        match self.group.seal(user, content, Self::tag_of(content)) {
            Ok(sealed) if self.is_hub() => drop(self.hub_accept_own_message(user, &sealed)),
            Ok(sealed) => self.submit(user, &sealed, intent.clone()),
            Err(error) => self.report(format!("what {user} has read is not told: {error}")),
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
