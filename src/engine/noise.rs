//! Keeps the refusals of one source from filling the log: so many lines a window are written, the rest is counted.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Sources that are told apart; further ones share one window.
const MAX_SOURCES: usize = 1024;

/// A line that may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// Lines of this source that were left out since its last one; for the line itself.
    pub left_out: Option<u64>,
    /// The last one of this window: what else comes in it is only counted. For the line itself.
    pub last: Option<bool>,
}

/// Decides line by line.
#[derive(Debug)]
pub struct Noise {
    lines: u32,
    window: Duration,
    sources: Mutex<BTreeMap<String, Window>>,
}

#[derive(Debug)]
struct Window {
    since: Instant,
    lines: u32,
    left_out: u64,
}

impl Noise {
    /// At most `lines` of one source in each `window`.
    #[must_use]
    pub fn new(lines: u32, window: Duration) -> Self {
        Self { lines: lines.max(1), window, sources: Mutex::default() }
    }

    /// Whether `source` may write a line at `now`.
    pub fn hear(&self, source: &str, now: Instant) -> Option<Line> {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let source =
            if sources.contains_key(source) { source } else { Self::place(&mut sources, source, now, self.window) };
        let fresh = || Window { since: now, lines: 0, left_out: 0 };
        let state = sources.entry(source.to_owned()).or_insert_with(fresh);
        let mut left_out = 0;
        if now.duration_since(state.since) >= self.window {
            left_out = state.left_out;
            *state = fresh();
        }
        if state.lines >= self.lines {
            state.left_out += 1;
            return None;
        }
        state.lines += 1;
        Some(Line { left_out: (left_out > 0).then_some(left_out), last: (state.lines == self.lines).then_some(true) })
    }

    /// The name under which a new source is kept.
    fn place<'a>(sources: &mut BTreeMap<String, Window>, source: &'a str, now: Instant, window: Duration) -> &'a str {
        if sources.len() >= MAX_SOURCES {
            sources.retain(|_, state| now.duration_since(state.since) < window);
        }
        if sources.len() >= MAX_SOURCES { "" } else { source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    #[test]
    fn a_flood_is_counted_and_others_are_heard() {
        let (noise, start) = (Noise::new(2, MINUTE), Instant::now());
        assert_eq!(noise.hear("a", start), Some(Line { left_out: None, last: None }));
        assert_eq!(noise.hear("a", start), Some(Line { left_out: None, last: Some(true) }));
        for _ in 0..5 {
            assert_eq!(noise.hear("a", start + MINUTE / 2), None);
        }
        assert_eq!(noise.hear("b", start), Some(Line { left_out: None, last: None }));
        assert_eq!(noise.hear("a", start + MINUTE), Some(Line { left_out: Some(5), last: None }));
        assert_eq!(noise.hear("a", start + MINUTE), Some(Line { left_out: None, last: Some(true) }));
    }

    #[test]
    fn many_sources_take_bounded_memory() {
        let (noise, start) = (Noise::new(1, MINUTE), Instant::now());
        for number in 0..3 * MAX_SOURCES {
            noise.hear(&number.to_string(), start);
        }
        assert!(noise.sources.lock().unwrap().len() <= MAX_SOURCES + 1);
        // Once the windows are over there is place again.
        assert!(noise.hear("late", start + MINUTE).is_some());
        assert_eq!(noise.sources.lock().unwrap().len(), 1);
    }
}
