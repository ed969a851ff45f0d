//! What users report to the homeserver with their client's own "report": of messages that went between Matrix and MIMI it
//! goes on to the room's hub, as `!mimi report` does (draft-ietf-mimi-protocol-06 section 5.9), without the user's name.
//!
//! Needs an administrator's token. The homeserver's numbers for reports are given again when the newest ones are removed,
//! and its list moves under the one who reads it: so a report is known by number and time, for as long as it can be among
//! the newest, and each page overlaps the one before.

use std::{collections::BTreeMap, time::Duration};

use super::{
    core::{Engine, now},
    ports::{CallError, Millis, UserReport},
    report::Complaint,
    tables::{EVENTS, MARKS, REPORTED},
};
use crate::{
    room::Names as _,
    store::{Batch, StoreError},
};

/// Reports a page.
const PAGE: u32 = 100;
/// So many of a page are in the next one again: some may be removed meanwhile.
const OVERLAP: u32 = 10;
/// Pages that are read at one time. What is further back was not looked at for very long, and is left out with a warning.
const PAGES: u32 = 50;
/// A report may appear so much later than others that came after it, in milliseconds.
const LATE: Millis = 10 * 60 * 1000;
/// So long a report of a message that is not known waits: the message's event may not have been answered yet. Milliseconds.
const UNKNOWN: Millis = 2 * 60 * 1000;
/// The mark with the time of the newest report that was seen.
const NEWEST: &str = "homeserver reports";
/// How often is reminded that the homeserver does not tell reports.
const REMIND: Duration = Duration::from_hours(1);

/// Why the list was not looked through.
#[derive(Debug, thiserror::Error)]
pub(super) enum PollError {
    /// Tried again with the next poll.
    #[error(transparent)]
    Call(#[from] CallError),
    /// Tried again with the next poll.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Engine {
    /// Looks at the list of reports now and then, until the engine stops.
    pub(super) async fn keep_polling(self) {
        if !self.0.homeserver.has_admin() {
            return;
        }
        let mut told: Option<tokio::time::Instant> = None;
        loop {
            let polled = tokio::select! {
                () = self.0.stop.cancelled() => return,
                polled = self.poll() => polled,
            };
            match polled {
                Ok(()) => {
                    if told.take().is_some() {
                        tracing::info!("the homeserver tells what users report again");
                    }
                }
                Err(error) if told.is_none_or(|told| told.elapsed() >= REMIND) => {
                    told = Some(tokio::time::Instant::now());
                    tracing::warn!(%error, "what users report to the homeserver is not seen; is homeserver.admin_token right?");
                }
                Err(error) => tracing::debug!(%error, "what users report to the homeserver is not seen"),
            }
            tokio::select! {
                () = self.0.stop.cancelled() => return,
                () = tokio::time::sleep(self.0.settings.report_poll) => {}
            }
        }
    }

    async fn poll(&self) -> Result<(), PollError> {
        let (db, mark) = (&self.0.db, NEWEST.to_owned());
        let known = MARKS.get(db, &mark).await?;
        let reports = self.newer(known).await?;
        let newest = reports.keys().last().map_or(0, |(received, _)| *received);
        // At the very first look the list may have years: it begins now.
        let since = known.unwrap_or(newest).saturating_sub(LATE);
        for (key, report) in reports.range((since, 0)..) {
            if REPORTED.get(db, key).await?.is_none() {
                self.take_user_report(*key, report).await?;
            }
        }
        if known.is_none_or(|known| newest > known) {
            let mut batch = Batch::new("reports looked at");
            MARKS.put(db, &mut batch, &mark, &newest)?;
            for (key, ()) in REPORTED.scan_all(db, &()).await? {
                if key.0 < newest.saturating_sub(2 * LATE) {
                    REPORTED.delete(&mut batch, &key);
                }
            }
            db.commit(batch).await?;
        }
        Ok(())
    }

    /// All reports that came since `known`, or a while before, by time and number; without it, the newest page.
    async fn newer(&self, known: Option<Millis>) -> Result<BTreeMap<(Millis, u64), UserReport>, CallError> {
        let mut reports = BTreeMap::new();
        for page in 0..PAGES {
            let skip = u64::from(page * (PAGE - OVERLAP));
            let list = self.0.homeserver.user_reports(skip, PAGE).await?;
            let at_end = list.len() < PAGE as usize;
            let oldest = list.iter().map(|report| report.received).min().unwrap_or(0);
            reports.extend(list.into_iter().map(|report| ((report.received, report.id), report)));
            if at_end || known.is_none_or(|known| oldest < known.saturating_sub(LATE)) {
                return Ok(reports);
            }
        }
        tracing::warn!("users reported more than can be read at once; the oldest of it is left out");
        Ok(reports)
    }

    /// One report, once: what it leads to is stored together with that it was seen.
    async fn take_user_report(&self, key: (Millis, u64), report: &UserReport) -> Result<(), StoreError> {
        let (db, mut row) = (&self.0.db, None);
        let mut batch = Batch::new("a report of the homeserver's list");
        batch.require(REPORTED.absent(&key));
        REPORTED.put(db, &mut batch, &key, &())?;
        if let (Some(uri), Some(by)) = (self.linked(&report.room), self.0.names.uri(&report.by)) {
            let event = report.event.clone();
            let known = EVENTS.get(db, &(report.room.clone(), event.clone())).await?.and_then(|row| row.value);
            if known.is_none() && report.received.saturating_add(UNKNOWN) > now() {
                return Ok(());
            }
            let note: String = report.reason.chars().take(NOTE).collect();
            let complaint = Complaint { by, openly: false, event, note };
            let (told, made) = self.complain(&uri, report.room.as_str(), complaint, &mut batch).await?;
            tracing::info!(room = uri, event = report.event, told, "a user reported a message to the homeserver");
            row = made;
        }
        match db.commit(batch).await {
            Err(error) if error.is_conflict() => return Ok(()),
            result => _ = result?,
        }
        if let Some((lane, number, row)) = row {
            self.hand_to_lane(&lane, number, row);
        }
        Ok(())
    }
}

/// Of the user's words so many characters go along.
const NOTE: usize = 1000;
