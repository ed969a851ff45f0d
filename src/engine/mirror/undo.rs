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
        tables::OUTBOX,
    },
    MirrorJob, MirrorRow, Outcome,
};
use crate::room::Names as _;

/// How long a room may take to be let go, until the next one has its turn.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between two looks whether it is.
const PAUSE: Duration = Duration::from_millis(20);
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
        while row.entered && OUTBOX.count(&self.0.db, &lane, 1).await? > 0 && since.elapsed() < PATIENCE {
            tokio::time::sleep(PAUSE).await;
        }
        self.withdraw_from(row).await?;
        row.outcome = Outcome::Undone(uri);
        Ok(())
    }

    /// The bot leaves a room into which the job brought it.
    async fn withdraw_from(&self, row: &mut MirrorRow) -> Result<(), LobbyError> {
        if !row.entered {
            return Ok(());
        }
        if let Some(room) = self.place_of_row(row).await?
            && self.linked(room.as_str()).is_none()
        {
            self.withdraw(&room).await?;
        }
        row.entered = false;
        Ok(())
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
