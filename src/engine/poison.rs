//! What can never be worked on: its step panics, or cannot be stored. It is taken off, noted for the operator, and whoever said
//! it is told; everything behind it goes on (DESIGN 10).

use serde_json::value::RawValue;

use super::{
    actor::{Actor, After},
    mail::Mail,
    tables::{INBOX, InboxItem, OUTBOX},
};
use crate::{
    store::{Batch, StoreError},
    translate::RoomEvent,
};

impl Actor {
    /// Sets a mail aside. That is a step of its own.
    pub(super) async fn put_mail_aside(
        &mut self,
        mail: &Mail,
        why: &str,
        batch: &mut Batch,
        after: &mut After,
    ) -> Result<(), StoreError> {
        let (mut mail, mut again) = (mail, false);
        // Telling of it failed as well: then it is set aside without.
        while let Mail::SetAside { mail: inner, .. } = mail {
            (mail, again) = (inner, true);
        }
        let mut raw = None;
        match mail {
            Mail::Item { number, item } => {
                INBOX.remove(batch, &self.uri, *number);
                if let InboxItem::Event(event) = item {
                    raw = Some(event.clone());
                }
            }
            Mail::Outcome { lane, number, .. } => OUTBOX.remove(batch, lane, *number),
            Mail::Files { number, brought } => raw = self.forget_held(*number, brought, batch, after)?,
            Mail::Release { number } => raw = self.forget_held(*number, &[], batch, after)?,
            Mail::Due { at, id, due } => self.forget_due(*at, *id, *due, batch).await?,
            _ => {}
        }
        self.set_aside(why, raw.as_deref(), batch)?;
        if let (Some(raw), false) = (raw, again) {
            self.tell_set_aside(raw, batch, after)?;
        }
        self.release(after);
        Ok(())
    }

    /// Tells the sender of an event that others do not get it.
    pub(super) fn tell_set_aside(
        &mut self,
        raw: String,
        batch: &mut Batch,
        after: &mut After,
    ) -> Result<(), StoreError> {
        let event = RawValue::from_string(raw).ok().and_then(|raw| RoomEvent::parse(&raw).ok());
        let Some(event) = event.filter(|event| event.state_key.is_none() && self.is_carried(event)) else {
            return Ok(());
        };
        self.say(|step| step.tell_set_aside(&event), batch, after)
    }
}
