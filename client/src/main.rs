//! The command `countersign`: a thin door to the library. Parses, runs, and turns the end into an exit code.

mod chat;
mod cli;
mod command;
mod exit;
mod output;
mod progress;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let arguments = match cli::Cli::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no mistakes.
            let code = if error.use_stderr() { exit::USAGE } else { exit::DONE };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let output = output::Output::new(arguments.json);
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output.error(&format!("cannot start: {error}"), exit::FAILED);
            return ExitCode::from(exit::FAILED);
        }
    };
    match runtime.block_on(command::run(arguments, output)) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            failure.show(output);
            ExitCode::from(failure.code)
        }
    }
}
