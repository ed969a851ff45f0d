//! The `mimi-gateway` binary: everything is in the library.

fn main() -> std::process::ExitCode {
    mimi_gateway::cli::main()
}
