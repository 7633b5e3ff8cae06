//! The command `countersign-loadtest`: a thin door to the library. Parses, runs, and turns the end into an exit code.

mod cli;
mod command;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser as _;
use countersign_loadtest::ledger::Exit;
use tracing_subscriber::EnvFilter;

/// `EX_USAGE` of sysexits.h.
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let arguments = match cli::Cli::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no mistakes.
            let code = if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
            let _ = error.print();
            return code;
        }
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // Only a second start in one process fails.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .try_init();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = arguments.command.threads() {
        builder.worker_threads(threads);
    }
    let ended = builder.enable_all().build().map_err(anyhow::Error::from).and_then(|runtime| {
        let ended = runtime.block_on(command::run(arguments.command));
        // What still waits for an answer must not keep the process from ending.
        runtime.shutdown_background();
        ended
    });
    ExitCode::from(ended.unwrap_or_else(|error| fail(&error)).code())
}

#[expect(clippy::print_stderr, reason = "for a person")]
fn fail(error: &anyhow::Error) -> Exit {
    eprintln!("countersign-loadtest: {error:#}");
    Exit::Failed
}
