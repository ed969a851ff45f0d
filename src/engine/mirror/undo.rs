//! Letting go what a job mirrored.

use std::time::Duration;

use ruma::OwnedRoomId;
use serde_json::Value;
use tokio::{sync::mpsc, time::Instant};

use super::{
    super::{
        core::Engine,
        lobby::LobbyError,
        mail::Mail,
        ports::{Actor, MatrixAction, Retry},
        tables::{MIRROR_ROWS, OUTBOX},
    },
    BUNCH, Counts, MirrorJob, MirrorRow, Outcome, Stage,
};
use crate::room::Names as _;

/// How long a room may take to be let go, until the next one has its turn.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between two looks whether it is.
const PAUSE: Duration = Duration::from_millis(20);
/// The state event with the power levels.
const LEVELS: &str = "m.room.power_levels";

impl Engine {
    /// Each room that the job mirrored is let go. `used`: also those that MIMI users are in.
    pub(super) async fn let_go_all(&self, job: MirrorJob, used: bool) -> Result<(), LobbyError> {
        let pause = Duration::from_mins(1) / job.request.per_minute.max(1);
        let mut after = None;
        loop {
            let page = MIRROR_ROWS.scan(&self.0.db, &job.id, after, BUNCH).await?;
            for (_, mut row) in page.rows {
                let (Outcome::Mirrored(uri) | Outcome::Kept(uri, _)) = row.outcome.clone() else { continue };
                let began = Instant::now();
                row.outcome = match self.let_go(&row, &uri, used).await? {
                    Ok(()) => Outcome::Undone(uri),
                    Err(why) => Outcome::Kept(uri, why),
                };
                let undone = matches!(row.outcome, Outcome::Undone(_));
                let count = move |counts: &mut Counts| {
                    if undone {
                        counts.undone += 1;
                        counts.mirrored = counts.mirrored.saturating_sub(1);
                    } else {
                        counts.kept += 1;
                    }
                };
                let goes_on = self.settle_row(&job, &row, count).await?;
                tracing::info!(job = job.id, room = row.room, undone, "a mirrored room had its turn to be let go");
                if !goes_on || !self.rest(&job, began + pause).await? {
                    return Ok(());
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        self.next_stage(&job, Stage::Undone).await?;
        Ok(())
    }

    /// The inner error is for people.
    async fn let_go(&self, row: &MirrorRow, uri: &str, used: bool) -> Result<Result<(), String>, LobbyError> {
        let Some(room) = self.room_id(&row.room).await? else { return Ok(Err("its alias is gone".to_owned())) };
        if self.linked(room.as_str()).as_deref() == Some(uri) {
            let (reply, mut answer) = mpsc::unbounded_channel();
            self.mail(uri, Mail::LetGo { used, reply });
            if let Some(Err(why)) = answer.recv().await {
                return Ok(Err(why));
            }
            let since = Instant::now();
            while self.linked(room.as_str()).as_deref() == Some(uri) {
                if since.elapsed() > PATIENCE {
                    return Ok(Err("it is being let go, and not done yet".to_owned()));
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
        if row.entered && self.linked(room.as_str()).is_none() {
            // What it still has to say there comes first.
            let (lane, since) = (format!("m:{uri}"), Instant::now());
            while OUTBOX.count(&self.0.db, &lane, 1).await? > 0 && since.elapsed() < PATIENCE {
                tokio::time::sleep(PAUSE).await;
            }
            self.withdraw(&room).await?;
        }
        Ok(Ok(()))
    }

    /// The bot gives its power in a room back, and leaves.
    pub(super) async fn withdraw(&self, room: &OwnedRoomId) -> Result<(), LobbyError> {
        let (homeserver, bot) = (&self.0.homeserver, self.0.names.bot());
        let levels = match homeserver.state(room, &Actor::Bot, LEVELS).await {
            Ok(levels) => levels,
            Err(error) if error.retry == Retry::Permanent => None,
            Err(error) => return Err(error.into()),
        };
        if let Some(mut levels) = levels.map(|levels| levels.content) {
            let users = levels.get_mut("users").and_then(Value::as_object_mut);
            if users.is_some_and(|users| users.remove(bot.as_str()).is_some()) {
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
                        tracing::info!(%room, %error, "the bot leaves with the power that it was given");
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        let leave = MatrixAction::Leave { room: room.clone(), actor: Actor::Bot, reason: None };
        homeserver.perform(&leave).await?;
        Ok(())
    }
}
