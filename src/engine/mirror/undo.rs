//! Letting go what a job mirrored.

use std::{collections::BTreeSet, time::Duration};

use ruma::OwnedRoomId;
use serde_json::{Map, Value};
use tokio::{sync::mpsc, time::Instant};

use super::{
    super::{
        core::Engine,
        lobby::LobbyError,
        mail::Mail,
        ports::{Actor, MatrixAction, Retry},
        tables::{MIRROR_ROWS, OUTBOX},
    },
    BUNCH, MirrorJob, MirrorRow, Outcome,
    turns::is_due,
};
use crate::{room::Names as _, store::StoreError};

/// How long a room may take to be let go, until the next one has its turn.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between two looks whether it is.
const PAUSE: Duration = Duration::from_millis(20);
/// So many rooms are named that keep a space.
const NAMED: usize = 5;
/// The state event with the power levels.
const LEVELS: &str = "m.room.power_levels";

impl Engine {
    /// A room that the job mirrored is let go, wherever it went since. `used`: also if MIMI users are in it.
    pub(super) async fn let_go(&self, job: &MirrorJob, row: &mut MirrorRow, used: bool) -> Result<(), LobbyError> {
        let uri = match &row.outcome {
            Outcome::Mirrored(uri) | Outcome::Kept(uri, _) | Outcome::Making(uri) => Some(uri.clone()),
            _ => None,
        };
        let Some(uri) = uri else { return self.withdraw_from(row).await };
        if let Some(room) = self.place_of(&uri) {
            if row.matrix.as_ref() != Some(&room) {
                // It was upgraded.
                row.matrix = Some(room);
                self.note_row(job, row).await?;
            }
            let left = if used { BTreeSet::new() } else { self.left_behind(job, &uri).await? };
            if !left.is_empty() {
                let named: Vec<&str> = left.iter().take(NAMED).map(String::as_str).collect();
                let more =
                    if left.len() > NAMED { format!(", and {} more", left.len() - NAMED) } else { String::new() };
                row.outcome = Outcome::Kept(uri, format!("rooms belong to it: {}{more}", named.join(", ")));
                return Ok(());
            }
            let (reply, mut answer) = mpsc::unbounded_channel();
            self.mail(&uri, Mail::LetGo { used, reply });
            if let Some(Err(why)) = answer.recv().await {
                row.outcome = Outcome::Kept(uri, why);
                return Ok(());
            }
            let since = Instant::now();
            while self.place_of(&uri).is_some() {
                if since.elapsed() > PATIENCE {
                    row.outcome = Outcome::Kept(uri, "it is being let go, and not done yet".to_owned());
                    return Ok(());
                }
                tokio::time::sleep(PAUSE).await;
            }
        } else if matches!(row.outcome, Outcome::Making(_)) {
            // It never was.
            row.outcome = Outcome::Waiting;
            return self.withdraw_from(row).await;
        }
        // What it still has to say there comes first.
        let (lane, since) = (format!("m:{uri}"), Instant::now());
        while (row.entered || row.raised.is_some())
            && OUTBOX.count(&self.0.db, &lane, 1).await? > 0
            && since.elapsed() < PATIENCE
        {
            tokio::time::sleep(PAUSE).await;
        }
        self.withdraw_from(row).await?;
        row.outcome = Outcome::Undone(uri);
        Ok(())
    }

    /// Rooms that belong to this one and are not to be let go, too: who is removed here would stay there.
    async fn left_behind(&self, job: &MirrorJob, uri: &str) -> Result<BTreeSet<String>, StoreError> {
        let (mut left, mut after) = (self.0.lineage.children(uri), None);
        while !left.is_empty() {
            let page = MIRROR_ROWS.scan(&self.0.db, &job.id, after, BUNCH).await?;
            for (_, row) in page.rows.iter().filter(|(_, row)| is_due(job, row)) {
                if let Outcome::Mirrored(other) | Outcome::Kept(other, _) | Outcome::Making(other) = &row.outcome {
                    left.remove(other);
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        Ok(left)
    }

    /// The bot leaves a room into which the job brought it, and gives back the power that the job gave it.
    async fn withdraw_from(&self, row: &mut MirrorRow) -> Result<(), LobbyError> {
        if !row.entered && row.raised.is_none() {
            return Ok(());
        }
        if let Some(room) = self.place_of_row(row).await?
            && self.linked(room.as_str()).is_none()
        {
            self.withdraw(&room, row).await?;
        }
        (row.entered, row.raised) = (false, None);
        Ok(())
    }

    /// The bot gives the power back that it was given in a room, and leaves if it was brought in.
    pub(super) async fn withdraw(&self, room: &OwnedRoomId, row: &MirrorRow) -> Result<(), LobbyError> {
        self.give_back(room, row.raised.and_then(|raised| raised.from)).await?;
        if row.entered {
            let leave = MatrixAction::Leave { room: room.clone(), actor: Actor::Bot, reason: None };
            self.0.homeserver.perform(&leave).await?;
        }
        Ok(())
    }

    /// The bot has no more power in a room than this by its name. If somebody took more from it meanwhile, that stays.
    async fn give_back(&self, room: &OwnedRoomId, before: Option<i64>) -> Result<(), LobbyError> {
        let (homeserver, bot) = (&self.0.homeserver, self.0.names.bot());
        let levels = match homeserver.state(room, &Actor::Bot, LEVELS).await {
            Ok(levels) => levels,
            Err(error) if error.retry == Retry::Permanent => None,
            Err(error) => return Err(error.into()),
        };
        if let Some(mut levels) = levels.map(|levels| levels.content) {
            let users = levels.get_mut("users").and_then(Value::as_object_mut);
            if users.is_some_and(|users| lowered(users, bot.as_str(), before)) {
                let action = MatrixAction::SetState {
                    room: room.clone(),
                    actor: Actor::Bot,
                    event_type: LEVELS.to_owned(),
                    state_key: String::new(),
                    content: levels.to_string(),
                    optional: true,
                };
                match homeserver.perform(&action).await {
                    Ok(_) => {}
                    Err(error) if error.retry == Retry::Permanent => {
                        tracing::info!(%room, %error, "the bot keeps the power that it was given: it may not give it back");
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }
}

/// Takes a level back to what it was. False: it is no higher.
fn lowered(users: &mut Map<String, Value>, user: &str, before: Option<i64>) -> bool {
    let now = users.get(user).and_then(Value::as_i64);
    match before {
        None => users.remove(user).is_some(),
        Some(before) if now.is_some_and(|now| now > before) => {
            users.insert(user.to_owned(), before.into());
            true
        }
        Some(_) => false,
    }
}
