//! The outbox: one task a lane sends its rows in order, one after the other, until each has its answer.
//!
//! Every row may be sent again after a crash: actions towards the homeserver carry deterministic transaction ids, peers
//! recognise the same bytes (DESIGN 3 and 4).

use std::time::Duration;

use super::{
    caught::{Panicked, caught},
    core::{Engine, lock},
    files::Came,
    later,
    mail::{Mail, Outcome},
    ports::{Actor, CallError, Endpoint, MatrixAction, MatrixDone, Retry, StateNow},
    presence::To,
    relations::lookup_failed,
    tables::{Early, OUTBOX, OutRow},
    window::Rows,
};
use crate::{
    room::{Names as _, Setting, Showing, Undone},
    store::Batch,
    translate::profile::Picture,
};

/// The longest wait between tries, as a multiple of the first.
const LONGEST_WAIT: u32 = 50;
/// How long a row that is done waits for others to be taken off with it.
const TOGETHER: Duration = Duration::from_millis(200);

/// Sends a lane's rows until the lane is closed.
pub(super) async fn run(engine: Engine, lane: String, mut rows: Rows) {
    // `m:<room>`, `x:<room>` or `p:<peer>:<room>`; no peer has a colon.
    let room = match lane.split_once(':') {
        Some(("m" | "x", room)) => room.to_owned(),
        Some((_, rest)) => rest.split_once(':').map(|(_, room)| room.to_owned()).unwrap_or_default(),
        None => String::new(),
    };
    loop {
        let next = tokio::select! {
            () = engine.0.stop.cancelled() => return,
            row = rows.next(&engine, &lane) => row,
        };
        let Some((number, row)) = next else { return };
        if !send(&engine, &lane, &room, number, row).await {
            return;
        }
    }
}

/// Sends one row until it is answered for good. False: the engine stops.
async fn send(engine: &Engine, lane: &str, room: &str, number: u64, row: OutRow) -> bool {
    let mut row = match row {
        // Files are not carried any more, after a start with other settings: the message is shown without.
        OutRow::Parcel(parcel) if engine.0.files.get().is_none() => parcel.bare(),
        row => row,
    };
    let mut wait = engine.0.settings.retry;
    let longest = wait * LONGEST_WAIT;
    let mut unheard = 0;
    loop {
        let sent = caught(async {
            by_own_ids(engine, room, &mut row).await?;
            call(engine, room, &row).await
        });
        let result = tokio::select! {
            () = engine.0.stop.cancelled() => return false,
            result = sent => result,
        };
        let result = match (result, row) {
            (Err(Panicked), OutRow::Parcel(parcel)) => {
                engine.parcel_panicked(room, &parcel).await;
                row = parcel.bare();
                continue;
            }
            (result, other) => {
                row = other;
                result.unwrap_or_else(|_| Err(panicked()))
            }
        };
        // What a Matrix room refuses that was upgraded goes to the one after it.
        let refused_now = |error: &CallError| error.retry == Retry::Permanent;
        let result = match result {
            Err(error) if refused_now(&error) => match engine.moved_row(&row, &mut unheard).await {
                None => Err(error),
                Some(Ok(moved)) => {
                    row = moved;
                    continue;
                }
                Some(Err(later)) => Err(later),
            },
            result => result,
        };
        match result {
            Ok(answer) => {
                engine.call_answered(To::of(lane), lane);
                if let (OutRow::Parcel(parcel), Sent::Files(came)) = (&row, &answer) {
                    return engine.parcel_done(lane, room, number, parcel, came).await;
                }
                if repeats_show(&row) && !remove_now(engine, lane, number).await {
                    return false;
                }
                done(engine, lane, room, number, row, answer).await;
                return true;
            }
            Err(error) if error.retry == Retry::Permanent => {
                engine.call_answered(To::of(lane), lane);
                refused(engine, lane, room, number, row, &error);
                return true;
            }
            Err(error) => {
                let after = match error.retry {
                    Retry::Retriable(Some(after)) => after.max(wait),
                    Retry::Retriable(None) | Retry::Uncertain | Retry::Permanent => wait,
                };
                tracing::debug!(lane, %error, again_in_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX), "not sent yet");
                engine.call_failed(To::of(lane), lane, &error).await;
                tokio::select! {
                    () = engine.0.stop.cancelled() => return false,
                    () = tokio::time::sleep(after) => {}
                }
                wait = (wait * 2).min(longest);
            }
        }
    }
}

fn panicked() -> CallError {
    CallError { what: "the gateway panicked".to_owned(), retry: Retry::Permanent, status: None, errcode: None }
}

/// Whether sending it again later could undo what happened since: an invitation after the invited one left, say. Messages
/// are known by their transaction ids, notifies, submits and updates by their bytes.
fn repeats_show(row: &OutRow) -> bool {
    match row {
        OutRow::Matrix(MatrixAction::Send { .. } | MatrixAction::Receipt { .. })
        | OutRow::Show(_)
        | OutRow::Parcel(_)
        | OutRow::Portal(_)
        | OutRow::Look { .. }
        | OutRow::Tell { .. }
        | OutRow::Seen { .. }
        | OutRow::Expire { .. }
        | OutRow::ShowNow(_)
        | OutRow::Publish { .. }
        | OutRow::Fetch { .. }
        | OutRow::Portray { .. } => false,
        OutRow::Matrix(_) | OutRow::Ask { .. } | OutRow::Unask { .. } | OutRow::Wear { .. } => true,
        OutRow::Call { endpoint, .. } => matches!(endpoint, Endpoint::RequestConsent | Endpoint::UpdateConsent),
    }
}

/// Takes such a row off before anything else of its lane is sent. False: the engine stops.
async fn remove_now(engine: &Engine, lane: &str, number: u64) -> bool {
    loop {
        let mut batch = Batch::new("outbox row done");
        OUTBOX.remove(&mut batch, &lane.to_owned(), number);
        let Err(error) = engine.0.db.commit(batch).await else { return true };
        tracing::warn!(lane, %error, "a row that was sent is not taken off yet");
        tokio::select! {
            () = engine.0.stop.cancelled() => return false,
            () = tokio::time::sleep(engine.0.settings.retry) => {}
        }
    }
}

/// Outbox rows that are done and not taken off yet.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) batch: Option<Batch>,
    /// Whether a timer will commit it.
    timed: bool,
}

enum Sent {
    Matrix(MatrixDone),
    Peer(Vec<u8>),
    State(Option<StateNow>),
    Files(Came),
    /// The asset's URL.
    Published(String),
    /// What one of our users looks like.
    Fetched(Option<Picture>),
    /// Where a ghost's picture is.
    Portrayed(Picture, String),
    /// It was not sent: it waits for this message.
    Waits([u8; 32]),
}

/// What a message refers to is found by the messages' own ids.
async fn by_own_ids(engine: &Engine, room: &str, row: &mut OutRow) -> Result<(), CallError> {
    let showing = match row {
        OutRow::Show(showing) | OutRow::ShowNow(showing) => showing.as_mut(),
        OutRow::Parcel(parcel) => &mut parcel.showing,
        _ => return Ok(()),
    };
    engine.by_own_ids(room, showing).await.map_err(|error| lookup_failed(&error))
}

async fn call(engine: &Engine, room: &str, row: &OutRow) -> Result<Sent, CallError> {
    let inner = &engine.0;
    match row {
        OutRow::Matrix(action) | OutRow::Portal(action) => inner.homeserver.perform(action).await.map(Sent::Matrix),
        OutRow::Show(showing) | OutRow::ShowNow(showing) => {
            let shown = engine.show(room, showing, matches!(row, OutRow::Show(_))).await?;
            if shown.is_ok() {
                engine.replace_rest(room, showing, &[]).await?;
            }
            Ok(shown.map_or_else(|target| Sent::Waits(target.0), Sent::Matrix))
        }
        OutRow::Parcel(parcel) => {
            if !parcel.now
                && let Some(target) = engine.waits_for(room, &parcel.showing).await?
            {
                return Ok(Sent::Waits(target.0));
            }
            engine.show_parcel(room, parcel).await.map(Sent::Files)
        }
        OutRow::Expire { room, actor, event, message_id } => {
            inner.homeserver.perform(&later::removal(room, actor, event, message_id)).await.map(Sent::Matrix)
        }
        OutRow::Seen { room: matrix, user, messages } => {
            engine.show_read(room, matrix, user, messages).await.map(Sent::Matrix)
        }
        OutRow::Call { peer, endpoint, target, body, .. } => {
            inner.peers.call(peer, *endpoint, target, body).await.map(Sent::Peer)
        }
        OutRow::Look { room, reader, setting, .. } => {
            inner.homeserver.state(room, reader, setting.event_type()).await.map(Sent::State)
        }
        OutRow::Ask { requester, target, at } => {
            engine.put_question(requester, target, *at).await.map(|()| Sent::Matrix(MatrixDone::Done))
        }
        OutRow::Unask { requester, target } => {
            engine.drop_question(requester, target).await.map(|()| Sent::Matrix(MatrixDone::Done))
        }
        OutRow::Publish { room, event, owner, url, name, .. } => {
            engine.publish((room, event), owner, *name, url).await.map(Sent::Published)
        }
        OutRow::Fetch { room, user, place, .. } => engine.fetch_portrait(room, user, place).await.map(Sent::Fetched),
        OutRow::Portray { room, user, picture } => {
            engine.portray(room, user, picture).await.map(|(picture, place)| Sent::Portrayed(picture, place))
        }
        OutRow::Wear { uri, room, actor, url } => engine.wear(uri, room, actor, url).await.map(Sent::Matrix),
        OutRow::Tell { user, text, txn_id } => {
            engine.say_to(user, text, txn_id).await.map(|_| Sent::Matrix(MatrixDone::Done))
        }
    }
}

/// Takes a row off that may be sent again without harm at any later time: with the next step of a room, or together with
/// others soon.
fn remove_soon(engine: &Engine, lane: &str, number: u64, more: impl FnOnce(&mut Batch)) {
    let mut batch = Batch::new("outbox rows done");
    OUTBOX.remove(&mut batch, &lane.to_owned(), number);
    more(&mut batch);
    engine.put_back(batch);
}

impl Engine {
    /// Rows that are done wait for the next batch that takes them along; without one they get their own soon.
    pub(super) fn put_back(&self, batch: Batch) {
        let mut done = lock(&self.0.done);
        match &mut done.batch {
            Some(waiting) => drop(waiting.append(batch)),
            None => done.batch = Some(batch),
        }
        if std::mem::replace(&mut done.timed, true) {
            return;
        }
        drop(done);
        let engine = self.clone();
        self.0.tasks.spawn(async move {
            tokio::select! {
                () = engine.0.stop.cancelled() => {}
                () = tokio::time::sleep(TOGETHER) => {}
            }
            let batch = {
                let mut done = lock(&engine.0.done);
                done.timed = false;
                done.batch.take()
            };
            if let Some(batch) = batch {
                commit_done(&engine, batch).await;
            }
        });
    }
}

/// Takes a row off at once. The next row need not wait for it: sent again right after a crash it has no second effect.
fn remove(engine: &Engine, lane: &str, number: u64, more: impl FnOnce(&mut Batch)) {
    let mut batch = Batch::new("outbox row done");
    OUTBOX.remove(&mut batch, &lane.to_owned(), number);
    more(&mut batch);
    let inner = engine.clone();
    engine.0.tasks.spawn(async move { commit_done(&inner, batch).await });
}

async fn commit_done(engine: &Engine, batch: Batch) {
    if let Err(error) = engine.0.db.commit(batch).await {
        tracing::warn!(%error, "rows that were sent stay in the outbox; they are sent again at the next start");
    }
}

async fn done(engine: &Engine, lane: &str, room: &str, number: u64, row: OutRow, sent: Sent) {
    match (row, sent) {
        (OutRow::Portal(_), Sent::Matrix(MatrixDone::Room(id))) => {
            let outcome = Outcome::Portal(id);
            engine.mail(room, Mail::Outcome { lane: lane.to_owned(), number, outcome });
        }
        (OutRow::Look { setting, written, .. }, Sent::State(found)) => {
            let outcome = Outcome::Looked { setting, written, found: Ok(found) };
            engine.mail(room, Mail::Outcome { lane: lane.to_owned(), number, outcome });
        }
        (OutRow::Show(showing), Sent::Waits(target)) => {
            let early = Early { showing: *showing, target, carried: None };
            wait_for(engine, lane, room, number, &early).await;
        }
        (OutRow::Parcel(parcel), Sent::Waits(target)) => {
            let carried = Some(parcel.carried());
            let early = Early { showing: parcel.showing, target, carried };
            wait_for(engine, lane, room, number, &early).await;
        }
        (OutRow::Show(showing) | OutRow::ShowNow(showing), Sent::Matrix(MatrixDone::Event(event))) => {
            let mut noted = Batch::new("an event that shows a message");
            if let Err(error) = engine.note_shown(room, &showing, &event, &mut noted).await {
                tracing::warn!(lane, %error, "an event id is not kept");
            }
            engine.is_taken(room, &showing);
            engine.passed(room, &showing);
            remove_soon(engine, lane, number, |batch| {
                let _ = batch.append(noted);
            });
        }
        (OutRow::Show(showing) | OutRow::ShowNow(showing), _) => {
            engine.passed(room, &showing);
            remove(engine, lane, number, |_| {});
        }
        (OutRow::Publish { room, event, sender, .. }, Sent::Published(url)) => {
            let outcome = Outcome::Published { event, sender, url: Ok(url) };
            engine.mail(&room, Mail::Outcome { lane: lane.to_owned(), number, outcome });
        }
        (OutRow::Fetch { room, user, place, salt }, Sent::Fetched(picture)) => {
            let outcome = Outcome::Fetched { user, place, salt, picture: Ok(picture) };
            engine.mail(&room, Mail::Outcome { lane: lane.to_owned(), number, outcome });
        }
        (OutRow::Portray { room, user, .. }, Sent::Portrayed(picture, place)) => {
            let outcome = Outcome::Portrayed { user, picture, place: Ok(place) };
            engine.mail(&room, Mail::Outcome { lane: lane.to_owned(), number, outcome });
        }
        (OutRow::Call { wants, .. }, Sent::Peer(body)) if wants.answer() => {
            let outcome = Outcome::Answered { wants, result: Ok(body) };
            engine.mail(room, Mail::Outcome { lane: lane.to_owned(), number, outcome });
        }
        (row, _) if repeats_show(&row) => {}
        // The peer knows the same bytes again.
        (OutRow::Call { endpoint: Endpoint::Notify, .. }, _) => remove_soon(engine, lane, number, |_| {}),
        _ => remove(engine, lane, number, |_| {}),
    }
}

/// What refers to a message that is not there waits for it: that is on disk before anything else of its lane is sent.
async fn wait_for(engine: &Engine, lane: &str, room: &str, number: u64, early: &Early) {
    while let Err(error) = engine.put_off(room, lane, number, early).await {
        tracing::warn!(lane, %error, "a message that waits for another is not noted yet");
        tokio::select! {
            () = engine.0.stop.cancelled() => return,
            () = tokio::time::sleep(engine.0.settings.retry) => {}
        }
    }
}

/// It will never be taken: whoever waits is told, the operator too, and the lane goes on.
fn refused(engine: &Engine, lane: &str, room: &str, number: u64, row: OutRow, error: &CallError) {
    if let OutRow::Matrix(MatrixAction::SetState { optional: true, event_type, .. }) = &row {
        tracing::info!(lane, event_type, %error, "state that the room can do without was not set");
        return remove(engine, lane, number, |_| {});
    }
    if matches!(row, OutRow::Matrix(MatrixAction::Name { .. } | MatrixAction::Portray { .. })) {
        tracing::info!(lane, %error, "somebody is not shown as they call themselves, or look like");
        return remove(engine, lane, number, |_| {});
    }
    if matches!(row, OutRow::Seen { .. }) {
        tracing::info!(lane, %error, "a receipt was not set");
        return remove(engine, lane, number, |_| {});
    }
    if let OutRow::Fetch { room, user, place, salt } = row {
        tracing::info!(lane, %error, "the picture of one of our users cannot be read");
        let outcome = Outcome::Fetched { user, place, salt, picture: Err(error.what.clone()) };
        return engine.mail(&room, Mail::Outcome { lane: lane.to_owned(), number, outcome });
    }
    if let OutRow::Portray { room, user, picture } = row {
        tracing::info!(lane, %error, "the picture of somebody elsewhere is not shown");
        let Some(picture) = Picture::new(picture) else { return remove(engine, lane, number, |_| {}) };
        let outcome = Outcome::Portrayed { user, picture, place: Err(error.what.clone()) };
        return engine.mail(&room, Mail::Outcome { lane: lane.to_owned(), number, outcome });
    }
    tracing::warn!(lane, %error, "refused for good");
    match &row {
        OutRow::Parcel(parcel) => {
            engine.parcel_refused(room, parcel);
            engine.passed(room, &parcel.showing);
        }
        OutRow::Show(showing) | OutRow::ShowNow(showing) => engine.passed(room, showing),
        _ => {}
    }
    match row {
        OutRow::Call { wants, .. } if wants.answer() => {
            let outcome = Outcome::Answered { wants, result: Err(error.to_string()) };
            engine.mail(room, Mail::Outcome { lane: lane.to_owned(), number, outcome });
        }
        OutRow::Publish { room, event, sender, .. } => {
            let outcome = Outcome::Published { event, sender, url: Err(error.what.clone()) };
            engine.mail(&room, Mail::Outcome { lane: lane.to_owned(), number, outcome });
        }
        row => {
            let outcome = match &row {
                OutRow::Portal(_) => Some(Outcome::PortalFailed(error.to_string())),
                OutRow::Look { setting, written, .. } => {
                    let found = Err(error.to_string());
                    Some(Outcome::Looked { setting: *setting, written: *written, found })
                }
                OutRow::Matrix(MatrixAction::SetState { event_type, state_key, .. }) if state_key.is_empty() => {
                    Setting::of(event_type).map(|setting| Outcome::NotSet { setting, why: error.to_string() })
                }
                OutRow::Matrix(MatrixAction::Join { actor: Actor::Ghost(user), .. }) => {
                    Some(Outcome::ShutOut { user: user.clone(), why: error.to_string() })
                }
                OutRow::Matrix(action) => not_done(engine, action, error),
                OutRow::Wear { .. } => Some(Outcome::NotSet { setting: Setting::Avatar, why: error.what.clone() }),
                OutRow::Expire { .. } => Some(Outcome::NotRemoved(error.to_string())),
                OutRow::Show(showing) | OutRow::ShowNow(showing) => not_shown(showing, error),
                OutRow::Parcel(parcel) => not_shown(&parcel.showing, error),
                _ => None,
            };
            if let Some(outcome) = outcome {
                return engine.mail(room, Mail::Outcome { lane: lane.to_owned(), number, outcome });
            }
            let why = format!("{}: {error}", super::report::text_of(lane, &row).unwrap_or_else(|| describe(&row)));
            remove(engine, lane, number, |batch| {
                if let Err(error) = engine.put_aside(batch, room, None, &why, None) {
                    tracing::warn!(lane, %error, "not noted for the operator");
                }
            });
        }
    }
}

fn not_shown(showing: &Showing, error: &CallError) -> Option<Outcome> {
    let MatrixAction::Send { actor: Actor::Ghost(user), .. } = &showing.action else { return None };
    Some(Outcome::NotShown { user: user.clone(), why: error.to_string() })
}

/// The room tells people, and does it once it can.
fn not_done(engine: &Engine, action: &MatrixAction, error: &CallError) -> Option<Outcome> {
    let (what, target) = match action {
        MatrixAction::Invite { target, .. } => (Undone::Invite, target),
        MatrixAction::Kick { target, .. } => (Undone::Kick, target),
        MatrixAction::Ban { target, .. } => (Undone::Ban, target),
        MatrixAction::Unban { target, .. } => (Undone::Unban, target),
        _ => return None,
    };
    let user = engine.0.names.uri(target).or_else(|| engine.0.names.ghost_uri(target))?;
    Some(Outcome::NotDone { what, user, why: error.what.clone() })
}

fn describe(row: &OutRow) -> String {
    match row {
        OutRow::Show(_) | OutRow::Parcel(_) | OutRow::ShowNow(_) => "showing a message".to_owned(),
        OutRow::Expire { .. } => "removing a message whose time has come".to_owned(),
        OutRow::Portal(_) => "making a portal".to_owned(),
        OutRow::Look { setting, .. } => format!("reading {}", setting.event_type()),
        OutRow::Ask { .. } => "asking a user for consent".to_owned(),
        OutRow::Unask { .. } => "taking a question back".to_owned(),
        OutRow::Tell { .. } => "telling a user something".to_owned(),
        OutRow::Publish { .. } => "showing the picture of a room to others".to_owned(),
        OutRow::Wear { .. } => "setting the picture of a room".to_owned(),
        OutRow::Fetch { .. } => "reading the picture of a user".to_owned(),
        OutRow::Portray { .. } => "keeping the picture of a remote user".to_owned(),
        OutRow::Seen { .. } => "showing what somebody has read".to_owned(),
        OutRow::Call { peer, endpoint, .. } => format!("{endpoint} at {peer}"),
        OutRow::Matrix(action) => match action {
            MatrixAction::Send { .. } => "sending a message",
            MatrixAction::SetState { .. } => "setting state",
            MatrixAction::CreateRoom { .. } => "making a room",
            MatrixAction::Join { .. } => "joining",
            MatrixAction::Leave { .. } => "leaving",
            MatrixAction::Invite { .. } => "inviting",
            MatrixAction::Kick { .. } => "removing",
            MatrixAction::Unban { .. } => "lifting a ban",
            MatrixAction::Decline { .. } => "declining an invitation",
            MatrixAction::RemoveAlias { .. } => "removing an alias",
            MatrixAction::Receipt { .. } => "setting a receipt",
            MatrixAction::Ban { .. } => "banning",
            MatrixAction::Name { .. } => "naming somebody",
            MatrixAction::Portray { .. } => "giving somebody a picture",
        }
        .to_owned(),
    }
}
