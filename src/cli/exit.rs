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
    /// `inspect`: the input is not what it should be.
    Input = 13,
}

/// What `--help` shows beneath the commands.
pub(super) fn long_help() -> String {
    format!("{FIRST_STEPS}\n\n{HELP}")
}

const FIRST_STEPS: &str = "\
First steps:
  cp config/mimi-gateway.example.toml mimi-gateway.toml   then fill in names and certificates
  openssl rand -hex 32 > master.key                       encrypts keys at rest
  mimi-gateway registration                               writes registration.yaml; tell the homeserver of it
  mimi-gateway check                                      says what is still wrong, and what to do
  mimi-gateway run

Any setting can come from the environment as MIMI_GATEWAY_<SECTION>__<KEY>, for example
MIMI_GATEWAY_STORE__MASTER_KEY_FILE=/run/secrets/master_key.";

/// The table of exit codes that `-h` and `--help` show.
pub(super) const HELP: &str = "\
Exit codes:
  0  all went well
  1  the gateway failed while it ran, or another fault
  2  the command line cannot be understood
  3  configuration file, environment variable, or a file that holds a secret
  4  registration file: missing, unreadable, in the way, or not fitting the configuration
  5  own certificate or key, or a peer's CA
  6  the clock is wrong
  7  the homeserver does not answer as one
  8  the homeserver does not know this gateway, or does not reach it
  9  the store cannot be opened or read
  10 the store failed while the gateway ran (I/O error): look at the disk, start it again
  13 `inspect`: the input is not what it should be
`check` runs on after a failure where it can, and ends with the lowest code that applies.";

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
        for code in 0..=Exit::StoreFailed as u8 {
            assert!(HELP.lines().any(|line| line.starts_with(&format!("  {code:<3}"))), "{code}");
        }
    }
}
