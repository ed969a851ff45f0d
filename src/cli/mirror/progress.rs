//! How far a job is, on standard error: a bar on a terminal, else a line now and then.

use std::{
    fmt::Write as _,
    io::{IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

use crate::admin::JobRow;

/// Characters of the bar.
const WIDTH: u64 = 24;
/// Without a terminal so much time is between two lines.
const SELDOM: Duration = Duration::from_secs(10);

pub(super) struct Progress {
    terminal: bool,
    began: Instant,
    /// How many had had their turn when it was first looked at.
    first: Option<u64>,
    said: Option<(Instant, String)>,
}

/// A time for people.
fn about(seconds: u64) -> String {
    match seconds {
        0..=99 => format!("{seconds} s"),
        100..=5999 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}

/// Done, and of how many.
fn turns(job: &JobRow) -> (u64, u64) {
    match job.stage.as_str() {
        "undoing" | "undone" => (job.counts.undone + job.counts.kept, job.counts.undone + job.counts.mirrored),
        _ => (job.counts.seen, job.counts.rooms),
    }
}

fn words(job: &JobRow) -> String {
    let counts = [
        (job.counts.fit, "can be mirrored"),
        (job.counts.mirrored, "mirrored"),
        (job.counts.before, "were before"),
        (job.counts.left_out, "left out"),
        (job.counts.failed, "failed"),
        (job.counts.undone, "let go"),
        (job.counts.kept, "kept"),
    ];
    let told: Vec<String> =
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    told.join(", ")
}

/// One line. `seconds`: how long it will take.
fn line(job: &JobRow, away: bool, seconds: Option<u64>, bar: bool) -> String {
    if job.stage == "listing" {
        return format!("job {}: finding the rooms", job.job);
    }
    let (done, all) = turns(job);
    let mut text = String::new();
    if bar && all > 0 {
        let full = (WIDTH * done.min(all)).checked_div(all).unwrap_or(0);
        text.extend((0..WIDTH).map(|place| if place < full { '#' } else { '.' }));
        text.push_str("  ");
    }
    let _ = write!(text, "{done} of {all} rooms");
    let counts = words(job);
    if !counts.is_empty() {
        let _ = write!(text, ": {counts}");
    }
    match seconds.filter(|_| job.open) {
        _ if away => text.push_str("; the gateway is away, waiting for it"),
        Some(seconds) => _ = write!(text, "; about {} left", about(seconds)),
        None => {}
    }
    text
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), began: Instant::now(), first: None, said: None }
    }

    /// How long the rest takes if it goes on like this.
    fn left(&mut self, job: &JobRow) -> Option<u64> {
        let (done, all) = turns(job);
        let first = *self.first.get_or_insert(done);
        let since = done.checked_sub(first).filter(|since| *since > 0)?;
        (self.began.elapsed().as_secs() * all.saturating_sub(done)).checked_div(since)
    }

    pub(super) fn show(&mut self, job: &JobRow, away: bool) {
        let seconds = self.left(job);
        let text = line(job, away, seconds, self.terminal);
        let mut out = std::io::stderr().lock();
        // Nobody has to see it.
        let _ = if self.terminal {
            write!(out, "\r\u{1b}[2K{text}").and_then(|()| out.flush())
        } else {
            let recent =
                self.said.as_ref().is_some_and(|(at, said)| *said == text || at.elapsed() < SELDOM && job.open);
            if recent {
                return;
            }
            writeln!(out, "{text}")
        };
        self.said = Some((Instant::now(), text));
    }

    pub(super) fn end(&mut self) {
        if self.terminal && self.said.is_some() {
            eprintln!();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cli::mirror::report::tests::counted, engine::Counts};

    #[test]
    fn a_line_says_how_far_it_is() {
        let counts = Counts { rooms: 100, seen: 25, mirrored: 20, left_out: 5, ..Counts::default() };
        let job = counted("working", counts);
        assert_eq!(
            line(&job, false, Some(90), true),
            "######..................  25 of 100 rooms: 20 mirrored, 5 left out; about 90 s left"
        );
        assert_eq!(
            line(&job, true, Some(90), false),
            "25 of 100 rooms: 20 mirrored, 5 left out; the gateway is away, waiting for it"
        );
        assert_eq!(line(&JobRow { stage: "listing".into(), ..job }, false, None, true), "job 3: finding the rooms");
        assert_eq!((about(99), about(120), about(7300)), ("99 s".into(), "2 min".into(), "2 h".into()));
    }
}
