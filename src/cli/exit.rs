//! Exit codes: one for each class of failure, so that scripts need not read text.

use std::process::ExitCode;

/// How a command ended. The numbers are part of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Exit {
    /// All went well.
    Success = 0,
    /// The gateway ran and failed, or a command met a fault that has no class of its own.
    Failure = 1,
    /// The command line cannot be understood.
    Usage = 2,
    /// The configuration file, an environment variable or a file that holds a secret.
    Config = 3,
    /// The registration file is missing, unreadable, in the way, or does not fit the configuration.
    Registration = 4,
    /// Own certificate or key, or a peer's CA.
    Certificate = 5,
    /// The clock of this machine or of the homeserver's is wrong.
    Clock = 6,
    /// The homeserver does not answer as one.
    Homeserver = 7,
    /// The homeserver does not know this gateway as application service, or does not reach it.
    Appservice = 8,
    /// The store cannot be opened or read.
    Store = 9,
    /// The store failed while the gateway ran, for example by an I/O error: start it again.
    StoreFailed = 10,
    /// An address cannot be listened on: another program has the port, or it is not this machine's.
    Listen = 11,
    /// `check --strict`: nothing fails, and there are warnings.
    Warnings = 12,
    /// `inspect`, `mirror --file`: the input is not what it should be.
    Input = 13,
    /// `mirror`: the gateway does not run, or does not answer at its control socket.
    NotRunning = 14,
    /// `mirror`: not every room was mirrored, or let go.
    Incomplete = 15,
}

/// What `--help` shows beneath the commands.
pub(super) fn long_help() -> String {
    format!("{FIRST_STEPS}\n\n{HELP}")
}

const FIRST_STEPS: &str = "\
First steps:
  cp config/mimi-gateway.example.toml mimi-gateway.toml   then fill in names and certificates
  openssl rand -hex 32 > master.key                       encrypts keys at rest
  chmod 600 master.key                                    nobody else may read it
  mimi-gateway registration                               writes registration.yaml, for Synapse
  mimi-gateway check                                      says what is still wrong, and what to do
  mimi-gateway run

Any setting can come from the environment as MIMI_GATEWAY_<SECTION>__<KEY>, for example
MIMI_GATEWAY_STORE__MASTER_KEY_FILE=/run/secrets/master_key.";

/// The table of exit codes that `-h` and `--help` show.
pub(super) const HELP: &str = "\
Exit codes:
  0  all went well
  1  a fault without a code of its own
  2  the command line cannot be understood
  3  configuration file, environment variable, or a file that holds a secret
  4  registration file: missing, unreadable, in the way, or not fitting the configuration
  5  own certificate or key, or a peer's CA
  6  the clock is wrong
  7  the homeserver does not answer as one
  8  the homeserver does not know this gateway, or does not reach it
  9  the store cannot be opened or read: other master key or engine, damaged, not writable, in use
  10 the store failed while the gateway ran (I/O error): look at the disk, start it again
  11 an address cannot be listened on: the port is in use, or the address is not this machine's
  12 `check --strict`: nothing fails, but there are warnings
  13 `inspect`, `mirror --file`: the input is not what it should be
  14 `mirror`: the gateway does not run, or does not answer
  15 `mirror`: not every room was mirrored, or let go
Each command's --help says which of them it uses.";

/// Beneath the help of `run`.
pub(super) const RUN: &str = "\
Exit codes:
  0  it was told to stop, and did so in good order
  1  a fault without a code of its own
  3  configuration
  4  registration file
  5  own certificate or key, or a peer's CA, cannot be used (an expired one is logged as an error)
  9  the store cannot be opened
  10 the store failed while the gateway ran (I/O error): look at the disk, start it again
  11 a port is in use, or the address is not this machine's
`mimi-gateway check` says more about each but 10.

Example:
  mimi-gateway --config /etc/mimi-gateway/mimi-gateway.toml run";

/// Beneath the help of `check`.
pub(super) const CHECK: &str = "\
Exit codes: the lowest that applies.
  0  nothing fails
  3  configuration
  4  registration file
  5  own certificate or key, or a peer's CA
  6  the clock is wrong
  7  the homeserver does not answer as one
  8  the homeserver does not know this gateway, or does not reach it
  9  the store cannot be opened
  11 a port is in use by another program, or the address is not this machine's
  12 with --strict: nothing fails, but there are warnings

Examples:
  mimi-gateway check
  mimi-gateway check --offline --strict   before a restart, in a script";

/// Beneath the help of `registration`.
pub(super) const REGISTRATION: &str = "\
Exit codes: 0, 3 configuration, 4 the file exists or cannot be written.

Examples:
  mimi-gateway registration
  mimi-gateway registration --out /etc/synapse/mimi.yaml --url http://gateway:29319";

/// Beneath the help of `rooms`.
pub(super) const ROOMS: &str = "\
Exit codes: 0, 3 configuration, 4 registration file, 9 the store cannot be read.

Examples:
  mimi-gateway rooms
  mimi-gateway rooms --json | jq -r .mimi_room";

/// Beneath the help of `mirror`.
pub(super) const MIRROR: &str = "\
Exit codes:
  0  done, or only looked at
  1  it cannot be done: what is said tells why
  2  the command line cannot be understood
  3  configuration
  9  the control socket is another user's
  13 the list of rooms cannot be read
  14 the gateway does not run, or does not answer
  15 some rooms were not mirrored (failed, or named in --file and left out), or not let go, or the job was stopped

Examples:
  mimi-gateway mirror --all
  mimi-gateway mirror --space '#house:a.example' --with-space --make-admin --yes
  mimi-gateway mirror --file rooms.txt --yes --rate 20
  mimi-gateway mirror --all --json | jq -r 'select(.outcome == \"left_out\") | .room'
  mimi-gateway mirror --undo 3 --yes";

/// Beneath the help of `quarantine`.
pub(super) const QUARANTINE: &str = "\
Exit codes: 0, 3 configuration, 4 registration file, 9 the store cannot be read.

Examples:
  mimi-gateway quarantine
  mimi-gateway quarantine --json | jq -r .why";

/// Beneath the help of `version`.
pub(super) const VERSION: &str = "\
Exit codes: 0. Needs no configuration: --config changes nothing here.";

/// Beneath the help of `inspect`.
pub(super) const INSPECT: &str = "\
Exit codes:
  0  done
  1  the file cannot be read or written
  2  the command line cannot be understood, or the file can be several kinds
  13 the input is not what it should be: offset, field and reason are told

Examples:
  mimi-gateway inspect --list
  mimi-gateway inspect body.bin
  mimi-gateway inspect --as notify - <body.bin | jq '.body[].timestamp'
  mimi-gateway inspect --as content --sender mimi://b.example/u/bob --room mimi://a.example/r/club message.cbor
  mimi-gateway inspect body.bin --out body.json && mimi-gateway inspect --encode body.json --out again.bin";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_lists_every_code() {
        for code in 0..=Exit::Incomplete as u8 {
            assert!(HELP.lines().any(|line| line.starts_with(&format!("  {code:<3}"))), "{code}");
        }
    }
}
