//! One line a check, and the exit code that follows.

use std::fmt;

use crate::cli::{exit::Exit, table::clean};

/// How one check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// As it should be.
    Ok,
    /// It works today; something should be done.
    Warn,
    /// It does not work.
    Fail,
    /// Could not be checked, because of an earlier failure or a flag.
    Skip,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
            Self::Skip => "skip",
        })
    }
}

/// One line of the report.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) verdict: Verdict,
    pub(super) class: Exit,
    pub(super) name: &'static str,
    /// What was seen.
    pub(super) seen: String,
    /// What to do about it; empty for `ok`.
    pub(super) advice: String,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<4}  {:<14} {}", self.verdict, self.name, clean(&self.seen))?;
        if !self.advice.is_empty() {
            write!(f, ". {}", clean(&self.advice))?;
        }
        Ok(())
    }
}

/// The lines so far; each is also handed to `tell` at once, since a check can take seconds.
pub(super) struct Report<'a> {
    lines: Vec<Line>,
    tell: &'a mut (dyn FnMut(&Line) + Send),
}

impl<'a> Report<'a> {
    pub(super) fn new(tell: &'a mut (dyn FnMut(&Line) + Send)) -> Self {
        Self { lines: Vec::new(), tell }
    }

    fn add(
        &mut self,
        verdict: Verdict,
        class: Exit,
        name: &'static str,
        seen: impl Into<String>,
        advice: impl Into<String>,
    ) {
        let line = Line { verdict, class, name, seen: seen.into(), advice: advice.into() };
        (self.tell)(&line);
        self.lines.push(line);
    }

    pub(super) fn ok(&mut self, class: Exit, name: &'static str, seen: impl Into<String>) {
        self.add(Verdict::Ok, class, name, seen, "");
    }

    pub(super) fn warn(&mut self, class: Exit, name: &'static str, seen: impl Into<String>, advice: impl Into<String>) {
        self.add(Verdict::Warn, class, name, seen, advice);
    }

    pub(super) fn fail(&mut self, class: Exit, name: &'static str, seen: impl Into<String>, advice: impl Into<String>) {
        self.add(Verdict::Fail, class, name, seen, advice);
    }

    pub(super) fn skip(&mut self, class: Exit, name: &'static str, why: impl Into<String>) {
        self.add(Verdict::Skip, class, name, why, "");
    }

    /// The lowest code among the failures. `strict`: warnings have a code, too.
    pub(super) fn exit(&self, strict: bool) -> Exit {
        let failures = self.lines.iter().filter(|line| line.verdict == Verdict::Fail).map(|line| line.class);
        let warned = strict && self.lines.iter().any(|line| line.verdict == Verdict::Warn);
        failures.min().unwrap_or(if warned { Exit::Warnings } else { Exit::Success })
    }

    /// Whether a check of this class has failed.
    pub(super) fn failed(&self, class: Exit) -> bool {
        self.lines.iter().any(|line| line.class == class && line.verdict == Verdict::Fail)
    }

    /// The lines as text.
    #[cfg(test)]
    pub(super) fn text(&self) -> String {
        self.lines.iter().flat_map(|line| [line.to_string(), "\n".to_owned()]).collect()
    }
}
