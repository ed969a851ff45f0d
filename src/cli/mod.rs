//! Commands of the binary.

/// Parses the command line and runs the chosen command.
#[must_use]
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
