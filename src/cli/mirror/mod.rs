//! `mimi-gateway mirror`: many Matrix rooms at once. The gateway that runs does the work, as a job that survives it; the
//! command asks for the job over the control socket, watches it, and shows what became of each room.

mod progress;
mod report;

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde::{Serialize, de::DeserializeOwned};

use super::{CliError, Exit};
use crate::{
    admin::{self, AskError, JobRow, MirrorAsk, MirrorRow, UndoAsk},
    config::Config,
};
use progress::Progress;

/// How long a gateway that starts just now is waited for.
const FIRST: Duration = Duration::from_secs(3);
/// How long one that went away in the middle is.
const AWAY: Duration = Duration::from_mins(2);
/// Between two looks at a job.
const LOOK: Duration = Duration::from_millis(250);
/// The longest list of rooms that is read, in bytes.
const LIST_BYTES: u64 = 16 * 1024 * 1024;

/// What stands behind `mirror` on the command line.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("which").required(true).args(["all", "space", "file", "job", "jobs", "stop", "undo"])))]
#[expect(clippy::struct_excessive_bools, reason = "switches of a command line")]
pub(super) struct Arguments {
    /// All rooms that the bot is in; with `homeserver.admin_token` all rooms of the homeserver.
    #[arg(long)]
    all: bool,
    /// The rooms of a space, and of the spaces in it: its id or alias. The bot has to be in it, or `homeserver.admin_token` be set.
    #[arg(long, value_name = "ID")]
    space: Option<String>,
    /// The rooms in this file, one a line: an id or an alias; what follows a blank is ignored. `-` reads standard input.
    #[arg(long, value_name = "LIST")]
    file: Option<PathBuf>,
    /// Watch this job, and show what became of each of its rooms.
    #[arg(long, value_name = "JOB")]
    job: Option<u64>,
    /// List the jobs.
    #[arg(long)]
    jobs: bool,
    /// End this job where it stands; what it mirrored stays.
    #[arg(long, value_name = "JOB")]
    stop: Option<u64>,
    /// No longer mirror what this job mirrored (only shown without --yes). Rooms that MIMI users are in stay.
    #[arg(long, value_name = "JOB")]
    undo: Option<u64>,
    /// Do it. Without this it is only looked at, and nothing is changed.
    #[arg(long, conflicts_with_all = ["job", "jobs", "stop"])]
    yes: bool,
    /// With --space: also the space itself, and the spaces in it, before their rooms: rooms for a space's members belong to it for
    /// MIMI users, too, then.
    #[arg(long, requires = "space", conflicts_with_all = ["all", "file", "job", "jobs", "stop", "undo"])]
    with_space: bool,
    /// Where the bot is not in a room or lacks power: have the homeserver invite it and give it an administrator's power, in the
    /// name of somebody who has it (Synapse's admin API; needs `homeserver.admin_token`).
    #[arg(long, conflicts_with_all = ["job", "jobs", "stop", "undo"])]
    make_admin: bool,
    /// With --undo: also rooms that MIMI users are in; they are put out.
    #[arg(long, requires = "undo", conflicts_with_all = ["all", "space", "file", "job", "jobs", "stop"])]
    used: bool,
    /// Rooms a minute. A dry run, which only reads, goes ten times as fast.
    #[arg(long, value_name = "N", conflicts_with_all = ["job", "jobs", "stop", "undo"], default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=i64::from(crate::engine::FASTEST)))]
    rate: u32,
    /// One JSON object a line instead of a table.
    #[arg(long)]
    json: bool,
    /// Begin the job, and do not wait for it.
    #[arg(long, conflicts_with_all = ["jobs", "stop"])]
    detach: bool,
}

fn failed(what: &str, error: AskError) -> CliError {
    let exit = match &error {
        AskError::NotThere(_) | AskError::NoAnswer(_) => Exit::NotRunning,
        AskError::NotAllowed(_) => Exit::Store,
        AskError::Refused(_) | AskError::Declined(_) | AskError::OtherVersion => Exit::Failure,
    };
    let advice = (exit == Exit::NotRunning).then(|| {
        "the gateway itself mirrors rooms: start it with `mimi-gateway run`, then ask again; a job that was begun goes on by itself"
            .to_owned()
    });
    CliError { advice, ..CliError::new(exit, what, error) }
}

/// What the gateway has on a job is not told.
fn not_told(error: AskError) -> CliError {
    let was_asked = matches!(error, AskError::Declined(_) | AskError::Refused(_));
    failed(if was_asked { "it cannot be done" } else { "cannot ask the gateway" }, error)
}

/// A line of a list: what stands before the first blank, unless that is nothing or a remark.
fn rooms_of(text: &str) -> Result<Vec<String>, String> {
    let mut rooms = Vec::new();
    for (number, line) in text.lines().enumerate() {
        // An alias begins with the sign of a remark, and has no blank behind it.
        let Some(word) = line.split_whitespace().next().filter(|word| *word != "#") else { continue };
        if !(word.starts_with('!') || word.starts_with('#') && word.contains(':')) {
            return Err(format!("line {}: {word:?} is no room's id (!…) or alias (#…:…)", number + 1));
        }
        rooms.push(word.to_owned());
    }
    Ok(rooms)
}

fn read_list(file: &Path) -> Result<Vec<String>, CliError> {
    let wrong = |error: Box<dyn std::error::Error + Send + Sync>| {
        CliError::new(Exit::Input, format!("cannot read the list {}", file.display()), error)
    };
    let mut text = String::new();
    let read = if file.as_os_str() == "-" {
        std::io::stdin().lock().take(LIST_BYTES).read_to_string(&mut text)
    } else {
        fs::File::open(file).and_then(|opened| opened.take(LIST_BYTES).read_to_string(&mut text))
    };
    read.map_err(|error| wrong(error.into()))?;
    rooms_of(&text).map_err(|why| wrong(why.into()))
}

/// The gateway that runs.
struct Gateway<'a> {
    data: &'a Path,
    runtime: tokio::runtime::Runtime,
}

impl Gateway<'_> {
    /// Tries again for a while when nobody listens.
    fn patiently<T>(&self, mut asking: impl AsyncFnMut(&Path) -> Result<T, AskError>) -> Result<T, AskError> {
        let since = Instant::now();
        loop {
            match self.runtime.block_on(asking(self.data)) {
                Err(AskError::NotThere(_)) if since.elapsed() < FIRST => std::thread::sleep(LOOK),
                answer => return answer,
            }
        }
    }

    fn list<T: DeserializeOwned>(&self, name: &str) -> Result<Vec<T>, AskError> {
        self.patiently(async |data| admin::ask(data, name).await)
    }

    fn tell(&self, what: &str, asked: &impl Serialize) -> Result<JobRow, AskError> {
        let rows = self.patiently(async |data| admin::tell(data, what, asked).await)?;
        rows.into_iter().next().ok_or(AskError::OtherVersion)
    }

    fn job(&self, id: u64) -> Result<JobRow, AskError> {
        let job = self.list(&format!("/mirror/jobs/{id}"))?.into_iter().next();
        job.ok_or_else(|| AskError::Declined(format!("There is no job {id}; `mimi-gateway mirror --jobs` lists them.")))
    }

    fn rooms(&self, id: u64) -> Result<Vec<MirrorRow>, AskError> {
        self.list(&format!("/mirror/jobs/{id}/rooms"))
    }

    /// Shows how the job goes on until nothing is left to do. A gateway that goes away meanwhile is waited for.
    fn watch(&self, mut job: JobRow) -> Result<JobRow, AskError> {
        let mut progress = Progress::new();
        let mut away: Option<Instant> = None;
        while job.open {
            progress.show(&job, away.is_some());
            std::thread::sleep(LOOK);
            match self.runtime.block_on(admin::ask::<JobRow>(self.data, &format!("/mirror/jobs/{}", job.job))) {
                Ok(rows) => {
                    job = rows.into_iter().next().unwrap_or(job);
                    away = None;
                }
                Err(AskError::NotThere(_) | AskError::NoAnswer(_) | AskError::Refused(_))
                    if away.get_or_insert_with(Instant::now).elapsed() < AWAY => {}
                Err(error) => {
                    progress.end();
                    return Err(error);
                }
            }
        }
        progress.show(&job, false);
        progress.end();
        Ok(job)
    }
}

/// Does what the command line says.
pub(super) fn run(config: &Config, arguments: &Arguments) -> Result<Exit, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CliError::new(Exit::Failure, "cannot start", error))?;
    let gateway = Gateway { data: &config.store.path, runtime };
    if arguments.jobs {
        let jobs: Vec<JobRow> = gateway.list("/mirror/jobs").map_err(not_told)?;
        print!("{}", report::jobs(&jobs, arguments.json));
        return Ok(Exit::Success);
    }
    if let Some(id) = arguments.stop {
        let job = gateway
            .tell(&format!("/mirror/jobs/{id}/stop"), &())
            .map_err(|error| failed("cannot stop the job", error))?;
        print!("{}", report::jobs(&[job], arguments.json));
        return Ok(Exit::Success);
    }
    if let Some(id) = arguments.undo {
        return undo(&gateway, id, arguments);
    }
    let job = match arguments.job {
        Some(id) => gateway.job(id).map_err(not_told)?,
        None => begin(&gateway, arguments)?,
    };
    finish(&gateway, job, arguments)
}

fn begin(gateway: &Gateway<'_>, arguments: &Arguments) -> Result<JobRow, CliError> {
    let rooms = arguments.file.as_deref().map(read_list).transpose()?.unwrap_or_default();
    if arguments.file.is_some() && rooms.is_empty() {
        return Err(CliError::new(Exit::Input, "there is nothing to do", "the list names no room"));
    }
    let ask = MirrorAsk {
        all: arguments.all,
        space: arguments.space.clone(),
        rooms,
        dry_run: !arguments.yes,
        make_admin: arguments.make_admin,
        with_space: arguments.with_space,
        per_minute: arguments.rate,
    };
    gateway.tell("/mirror", &ask).map_err(|error| failed("nothing was begun", error))
}

fn undo(gateway: &Gateway<'_>, id: u64, arguments: &Arguments) -> Result<Exit, CliError> {
    if arguments.yes {
        let path = format!("/mirror/jobs/{id}/undo");
        let job = gateway.tell(&path, &UndoAsk { used: arguments.used });
        return finish(gateway, job.map_err(|error| failed("nothing is undone", error))?, arguments);
    }
    let job = gateway.job(id).map_err(not_told)?;
    let rooms = gateway.rooms(id).map_err(not_told)?;
    let rooms: Vec<MirrorRow> =
        rooms.into_iter().filter(|row| matches!(row.outcome.as_str(), "mirrored" | "kept" | "making")).collect();
    print!("{}", report::rooms(&rooms, arguments.json));
    if !arguments.json {
        print!("{}", report::would_undo(&job, rooms.len()));
    }
    Ok(Exit::Success)
}

/// Waits for a job, and shows what became of it.
fn finish(gateway: &Gateway<'_>, job: JobRow, arguments: &Arguments) -> Result<Exit, CliError> {
    let id = job.job;
    if arguments.detach {
        print!("{}", report::jobs(&[job], arguments.json));
        return Ok(Exit::Success);
    }
    let what = format!("job {id} was begun, and cannot be watched (`mimi-gateway mirror --job {id}` does that)");
    let job = gateway.watch(job).map_err(|error| failed(&what, error))?;
    let rooms = gateway.rooms(id).map_err(|error| failed(&what, error))?;
    print!("{}", report::rooms(&rooms, arguments.json));
    if !arguments.json {
        print!("{}", report::summary(&job));
    }
    if job.why.is_some() {
        return Ok(Exit::Failure);
    }
    if job.stage == "stopped" {
        return Ok(Exit::Incomplete);
    }
    let named = arguments.file.is_some() && job.counts.left_out > 0;
    let incomplete = job.counts.failed > 0 || job.counts.kept > 0 || named;
    Ok(if incomplete && !job.dry_run { Exit::Incomplete } else { Exit::Success })
}

#[cfg(test)]
mod tests {
    use super::rooms_of;

    #[test]
    fn a_list_has_ids_aliases_and_remarks() {
        let text = "# Our rooms\n!abc:a.example  Kitchen\n\n  #garden:a.example\n!v12id\n#\tmore\n";
        assert_eq!(rooms_of(text).unwrap(), ["!abc:a.example", "#garden:a.example", "!v12id"]);
        let wrong = rooms_of("!a\nKitchen\n").unwrap_err();
        assert!(wrong.starts_with("line 2: \"Kitchen\" is no room's id"), "{wrong}");
        assert!(rooms_of("#garden\n").is_err(), "an alias has a server");
    }
}
