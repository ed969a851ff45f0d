//! What became of a job's rooms: a table with what is to be known beneath it, or JSON lines.

use std::{collections::BTreeMap, fmt::Write as _};

use crate::{
    admin::{FindingRow, JobRow, MirrorRow},
    cli::table,
};

fn json_lines<T: serde::Serialize>(rows: &[T]) -> String {
    rows.iter().map(|row| serde_json::json!(row).to_string() + "\n").collect()
}

fn rooms_in_words(count: u64) -> String {
    if count == 1 { "1 room".to_owned() } else { format!("{count} rooms") }
}

/// The jobs.
pub(super) fn jobs(jobs: &[JobRow], json: bool) -> String {
    if json {
        return json_lines(jobs);
    }
    if jobs.is_empty() {
        return "There are no jobs. `mimi-gateway mirror --all` looks what can be mirrored.\n".to_owned();
    }
    let cells: Vec<Vec<String>> = jobs
        .iter()
        .map(|job| {
            let kind = if job.dry_run { "dry run" } else { "mirror" };
            let numbers = [
                job.counts.rooms,
                job.counts.seen,
                job.counts.fit + job.counts.mirrored,
                job.counts.before,
                job.counts.left_out,
                job.counts.failed,
                job.counts.undone,
            ];
            let texts = [job.job.to_string(), kind.to_owned(), job.what.clone(), job.stage.clone()];
            texts.into_iter().chain(numbers.iter().map(ToString::to_string)).collect()
        })
        .collect();
    table::render(
        &["JOB", "KIND", "WHAT", "STAGE", "ROOMS", "SEEN", "MIRRORED", "BEFORE", "LEFT OUT", "FAILED", "UNDONE"],
        &cells,
    )
}

fn outcome(row: &MirrorRow) -> &str {
    match row.outcome.as_str() {
        "fit" => "can be mirrored",
        "left_out" => "left out",
        "before" => "mirrored before",
        "making" => "being mirrored",
        "undone" => "let go",
        "kept" => "still mirrored",
        other => other,
    }
}

/// What is to be told of a room. One that can never be mirrored needs nothing first.
fn told(row: &MirrorRow) -> impl Iterator<Item = &FindingRow> {
    let never = row.findings.iter().any(|finding| finding.weight == "forbids");
    row.findings.iter().filter(move |finding| !(never && finding.weight == "needs"))
}

/// The rooms, and beneath them what the names of the notes mean, once for all rooms of which it is true.
pub(super) fn rooms(rows: &[MirrorRow], json: bool) -> String {
    if json {
        return json_lines(rows);
    }
    if rows.is_empty() {
        return String::new();
    }
    let dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let notes: Vec<&str> = told(row).map(|finding| finding.code.as_str()).collect();
            vec![
                row.room.clone(),
                dash(&row.name),
                row.members.to_string(),
                dash(&row.version),
                outcome(row).to_owned(),
                dash(row.mimi_room.as_deref().unwrap_or_default()),
                dash(&notes.join(" ")),
            ]
        })
        .collect();
    let mut text = table::render(&["ROOM", "NAME", "MEMBERS", "VERSION", "OUTCOME", "MIMI ROOM", "NOTES"], &cells);
    let mut meant: BTreeMap<(&str, &str, &str), u64> = BTreeMap::new();
    for finding in rows.iter().flat_map(told) {
        *meant.entry((&finding.weight, &finding.code, &finding.text)).or_default() += 1;
    }
    for (heading, weight) in [
        ("Cannot be mirrored", "forbids"),
        ("Needs something first", "needs"),
        ("Is done first", "does"),
        ("Will be other or less there", "loses"),
    ] {
        let of_it: Vec<_> = meant.iter().filter(|((of, ..), _)| *of == weight).collect();
        if !of_it.is_empty() {
            let _ = writeln!(text, "\n{heading}:");
        }
        for ((_, code, words), count) in of_it {
            let _ = writeln!(text, "  {code} ({}): {}", rooms_in_words(*count), table::clean(words));
        }
    }
    let trouble: Vec<&MirrorRow> = rows.iter().filter(|row| row.why.is_some()).collect();
    if !trouble.is_empty() {
        text.push_str("\nDid not go as wanted:\n");
    }
    for row in trouble {
        let why = table::clean(row.why.as_deref().unwrap_or_default());
        let _ = writeln!(text, "  {}: {why}", table::clean(&row.room));
    }
    text
}

/// What became of it in all.
pub(super) fn summary(job: &JobRow) -> String {
    let id = job.job;
    if let Some(why) = &job.why {
        return format!("\nJob {id}: its rooms cannot be found: {}.\n", table::clean(why).trim_end_matches('.'));
    }
    if job.counts.rooms == 0 && job.stage == "stopped" {
        return format!("\nJob {id} was stopped while its rooms were being found; nothing was changed.\n");
    }
    if job.counts.rooms == 0 {
        return "There are no such rooms. Is the bot in any?\n".to_owned();
    }
    let mut told = vec![match job.stage.as_str() {
        "undone" => format!("{} let go", rooms_in_words(job.counts.undone)),
        _ if job.dry_run => format!("{} can be mirrored", rooms_in_words(job.counts.fit)),
        _ => format!("{} mirrored", rooms_in_words(job.counts.mirrored)),
    }];
    for (count, what) in [
        (job.counts.before, "mirrored before"),
        (job.counts.left_out, "left out"),
        (job.counts.failed, "failed"),
        (job.counts.kept, "still mirrored"),
    ] {
        if count > 0 {
            told.push(format!("{count} {what}"));
        }
    }
    let told = told.join(", ");
    let next = match job.stage.as_str() {
        "stopped" => {
            format!("The job was stopped: {} of {} had their turn.", job.counts.seen, rooms_in_words(job.counts.rooms))
        }
        "undone" if job.counts.kept > 0 => "Rooms that MIMI users are in are let go with --used.".to_owned(),
        "undone" => String::new(),
        _ if job.dry_run => {
            "Nothing was changed. What was said before is never carried: MIMI users read what is said while they are in. The same \
             with --yes mirrors them."
                .to_owned()
        }
        _ => format!("`mimi-gateway mirror --undo {id}` shows what would take that back."),
    };
    format!("\nJob {id}: {told}. {next}").trim_end().to_owned() + "\n"
}

/// What `--undo` would do.
pub(super) fn would_undo(job: &JobRow, count: usize) -> String {
    let id = job.job;
    let rooms = rooms_in_words(count as u64);
    format!("\nJob {id}: {rooms} would be mirrored no longer. Nothing was changed; --undo {id} --yes does it.\n")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{admin::FindingRow, engine::Counts};

    pub(in crate::cli::mirror) fn counted(stage: &str, counts: Counts) -> JobRow {
        JobRow {
            job: 3,
            begun: 0,
            what: "all".to_owned(),
            dry_run: false,
            stage: stage.to_owned(),
            open: !matches!(stage, "finished" | "stopped" | "failed" | "undone"),
            why: None,
            counts,
        }
    }

    fn row(room: &str, outcome: &str, findings: &[(&str, &str, &str)]) -> MirrorRow {
        let finding = |(weight, code, text): &(&str, &str, &str)| FindingRow {
            code: (*code).to_owned(),
            weight: (*weight).to_owned(),
            text: (*text).to_owned(),
        };
        MirrorRow {
            room: room.to_owned(),
            name: "Tea\u{1b}[1m".to_owned(),
            members: 4,
            version: "11".to_owned(),
            outcome: outcome.to_owned(),
            mimi_room: None,
            matrix_room: None,
            why: None,
            findings: findings.iter().map(finding).collect(),
        }
    }

    #[test]
    fn what_a_note_means_is_said_once() {
        let encrypted = ("forbids", "encrypted", "it is encrypted");
        let rows = [
            row("!a", "left_out", &[encrypted, ("loses", "public", "all may come")]),
            row("!b", "left_out", &[encrypted]),
            MirrorRow { why: Some("no".to_owned()), ..row("!c", "failed", &[]) },
        ];
        let text = rooms(&rows, false);
        assert_eq!(text.matches("it is encrypted").count(), 1, "{text}");
        for part in [
            "Cannot be mirrored:\n  encrypted (2 rooms): it is encrypted\n",
            "there:\n  public (1 room): all may come\n",
            "wanted:\n  !c: no\n",
            "Tea\\u{1b}[1m",
            "encrypted public\n",
        ] {
            assert!(text.contains(part), "{part:?} in {text}");
        }
        let first: serde_json::Value = serde_json::from_str(rooms(&rows, true).lines().next().unwrap()).unwrap();
        assert_eq!((&first["room"], &first["findings"][0]["code"]), (&"!a".into(), &"encrypted".into()));
    }

    #[test]
    fn what_is_never_mirrored_needs_nothing() {
        let outside = ("needs", "bot_outside", "the bot is not in it");
        let rows = [
            row("!a", "left_out", &[("forbids", "space", "it is a space"), outside]),
            row("!b", "left_out", &[outside]),
            row("!c", "fit", &[("does", "brings_bot", "the homeserver invites the bot")]),
        ];
        let text = rooms(&rows, false);
        assert!(text.contains("Needs something first:\n  bot_outside (1 room)"), "{text}");
        assert!(text.contains("Is done first:\n  brings_bot (1 room): the homeserver"), "{text}");
        assert!(!text.contains("space bot_outside"), "{text}");
        assert!(rooms(&rows, true).lines().next().unwrap().contains("bot_outside"), "programs see all of it");
    }

    #[test]
    fn the_summary_says_what_to_do_next() {
        let dry = Counts { rooms: 3, fit: 2, left_out: 1, ..Counts::default() };
        let dry = JobRow { dry_run: true, ..counted("finished", dry) };
        assert_eq!(
            summary(&dry),
            "\nJob 3: 2 rooms can be mirrored, 1 left out. Nothing was changed. What was said before is never carried: MIMI users \
             read what is said while they are in. The same with --yes mirrors them.\n"
        );
        let done = counted("finished", Counts { rooms: 2, mirrored: 1, failed: 1, ..Counts::default() });
        assert!(
            summary(&done).contains("1 room mirrored, 1 failed. `mimi-gateway mirror --undo 3`"),
            "{}",
            summary(&done)
        );
        let early = counted("stopped", Counts::default());
        assert!(summary(&early).contains("Job 3 was stopped while its rooms were being found"), "{}", summary(&early));
        let nowhere = JobRow { why: Some("there is no space #a:b".to_owned()), ..counted("failed", Counts::default()) };
        assert_eq!(summary(&nowhere), "\nJob 3: its rooms cannot be found: there is no space #a:b.\n");
        let undone = counted("undone", Counts { rooms: 2, undone: 1, kept: 1, ..Counts::default() });
        assert!(summary(&undone).contains("1 room let go, 1 still mirrored. Rooms that MIMI users are in"));
    }
}
