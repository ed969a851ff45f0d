//! Looks after the homeserver: is it there, does it know our token, does it reach us.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use crate::{
    engine::{Engine, duration, is_unknown_token, ports::CallError},
    matrix::HomeserverClient,
};

/// How often the homeserver is asked whether it is there.
const EVERY: Duration = Duration::from_secs(5);
/// How often while it is not.
const WHILE_AWAY: Duration = Duration::from_secs(1);
/// How often somebody is reminded that it does not reach us.
const REMIND: Duration = Duration::from_hours(1);
/// How long it may not reach us before that is told: it may be starting.
const CERTAIN: Duration = Duration::from_secs(3);

/// Asks the homeserver now and then whether it is there. When it comes (back), it is pinged, which makes it send what it
/// kept, and every room is compared with its timeline, because a homeserver that stopped has lost events (DESIGN 8).
pub(super) async fn run(
    homeserver: Arc<HomeserverClient>,
    engine: Engine,
    registration: PathBuf,
    stop: CancellationToken,
) {
    let mut away = true;
    let mut unreached = Unreached::default();
    let mut beat: u64 = 0;
    let mut last = Instant::now();
    loop {
        // A process that was stopped meanwhile has been given up by the homeserver, whose next try may be minutes away.
        away |= last.elapsed() > 3 * EVERY;
        let doubted = engine.homeserver_doubted() && !away;
        away |= doubted;
        last = Instant::now();
        match homeserver.versions().await {
            Ok(_) => {
                engine.homeserver_answers();
                if away {
                    beat += 1;
                    match homeserver.ping(&format!("ping{beat}")).await {
                        Ok(took) => {
                            if !doubted {
                                unreached.over(took);
                            }
                            away = false;
                            engine.compare_all();
                        }
                        Err(error) => unreached.tell(&error, &registration, Instant::now()),
                    }
                }
            }
            Err(error) => {
                tracing::debug!(%error, "the homeserver does not answer");
                if is_unknown_token(&error) {
                    // It is there, and answers every question with that.
                    unreached.tell(&error, &registration, Instant::now());
                }
                engine.homeserver_fails(&error).await;
                away = true;
            }
        }
        let wait = if away { WHILE_AWAY } else { EVERY };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// That the homeserver is there and does not reach us, as the log knows it.
#[derive(Default)]
struct Unreached {
    since: Option<Instant>,
    /// When it was told, and whether it was the token.
    told: Option<(Instant, bool)>,
}

impl Unreached {
    fn tell(&mut self, error: &CallError, registration: &Path, now: Instant) {
        tracing::debug!(%error, "the homeserver does not reach us");
        let since = *self.since.get_or_insert(now);
        let token = is_unknown_token(error);
        let due = match self.told {
            Some((told, what)) if what == token => now.duration_since(told) >= REMIND,
            // That it does not know us is certain at once.
            _ => token || now.duration_since(since) >= CERTAIN,
        };
        if !due {
            return;
        }
        self.told = Some((now, token));
        if token {
            let path = std::path::absolute(registration).unwrap_or_else(|_| registration.to_owned());
            tracing::error!(
                why = %error,
                "the homeserver does not know our token, so nothing is bridged: add {} to `app_service_config_files` in Synapse's \
                 homeserver.yaml and restart Synapse (if it stands there already, restart it: it has read another version of the \
                 file). This gateway goes on by itself then",
                path.display()
            );
        } else {
            tracing::warn!(why = %error, "the homeserver is there, but does not reach us; `mimi-gateway check` says what to do");
        }
    }

    fn over(&mut self, took: Duration) {
        let away_for = self.since.take().filter(|_| self.told.take().is_some()).map(|since| duration(since.elapsed()));
        let took_ms = took.as_millis();
        tracing::info!(took_ms, away_for, "the homeserver is there and reaches us");
    }
}
