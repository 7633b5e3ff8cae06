//! `countersignd`: parse, build, serve, exit code.
//!
//! Exit codes: 0 done; 1 failed; 64 wrong usage or configuration, before any port was bound.

use std::process::ExitCode;

use clap::Parser as _;
use countersign_service::app::{App, read_super_administrators, schema};
use countersign_service::cli::{Arguments, Command, Configured, SchemaArguments};
use countersign_service::config::Settings;
use countersign_service::doctor::examine;
use countersign_service::healthcheck::healthcheck;
use countersign_service::lifecycle::Signals;
use countersign_service::telemetry::logs;
use countersign_service::telemetry::traces::Traces;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `EX_USAGE` of sysexits.h.
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no errors.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let (Command::Serve(configured)
    | Command::CheckConfig(configured)
    | Command::Doctor(configured)
    | Command::Schema(SchemaArguments { configured, .. })
    | Command::Healthcheck(configured)) = &arguments.command;
    let Configured { config, settings } = configured;
    let settings = match Settings::load(settings.clone(), config.as_deref()) {
        Ok(settings) => settings,
        Err(error) => return fail(&error.into(), USAGE),
    };
    let traces = match arguments.command {
        Command::Serve(_) => Traces::from_environment(|name| std::env::var(name).ok()),
        _ => Ok(None),
    };
    let traces = match traces {
        Ok(traces) => traces,
        Err(error) => return fail(&error.into(), USAGE),
    };
    // Held to the end, so that the last lines are written.
    let _logs = match logs::start(&settings.log, settings.log_format, traces.as_ref()) {
        Ok(logs) => logs,
        Err(error) => return fail(&error.into(), USAGE),
    };
    match arguments.command {
        Command::Serve(_) => {
            let served = run(serve(settings));
            if let Some(traces) = traces {
                traces.end();
            }
            match served {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    // To the log, which the operator reads, and not beside it.
                    tracing::error!(error = format!("{error:#}"), "ended with an error");
                    ExitCode::FAILURE
                }
            }
        }
        Command::CheckConfig(_) => check_config(&settings),
        Command::Doctor(_) => match run(doctor(settings)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error, 1),
        },
        Command::Schema(_) if !settings.store.has_schema() => {
            let error = anyhow::anyhow!(
                "only a scylla://, a mariadb://, a valkey:// or a dynamodb:// store has a schema, and the store is {}",
                settings.store
            );
            fail(&error, USAGE)
        }
        Command::Schema(SchemaArguments { dry_run, .. }) => match run(schema(&settings, dry_run)) {
            Ok(text) => say(&text),
            Err(error) => fail(&error, 1),
        },
        Command::Healthcheck(_) => match run(healthcheck(settings.admin_listen)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error, 1),
        },
    }
}

fn run<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(work);
    // A request that could not be drained must not keep the process from ending.
    runtime.shutdown_background();
    outcome
}

async fn serve(settings: Settings) -> anyhow::Result<()> {
    // Listened to from the start, so that a signal during start-up is not lost.
    let signals = Signals::listen()?;
    let app = App::build(settings).await?;
    let (public, admin) = app.addresses()?;
    tracing::info!(%public, %admin, version = env!("CARGO_PKG_VERSION"), "listening");
    app.serve(signals).await
}

#[expect(clippy::print_stdout, reason = "what this command is for")]
async fn doctor(settings: Settings) -> anyhow::Result<()> {
    let findings = examine(&settings).await;
    for finding in &findings {
        println!("{} {}", if finding.passed { "ok    " } else { "FAILED" }, finding.text);
    }
    match findings.iter().filter(|finding| !finding.passed).count() {
        0 => Ok(()),
        failed => anyhow::bail!("{failed} of {} checks failed", findings.len()),
    }
}

#[expect(clippy::print_stdout, reason = "what this command is for")]
fn check_config(settings: &Settings) -> ExitCode {
    for (name, value) in settings.list() {
        println!("{name} = {value:?}");
    }
    if let Some(path) = &settings.super_administrators
        && let Err(error) = read_super_administrators(path)
    {
        return fail(&error.into(), USAGE);
    }
    if let Some(files) = settings.tls()
        && let Err(error) = countersign_service::http::tls::ReloadingCertificate::load(files)
    {
        return fail(&error.into(), USAGE);
    }
    ExitCode::SUCCESS
}

#[expect(clippy::print_stdout, reason = "what a command is for")]
fn say(text: &str) -> ExitCode {
    print!("{text}");
    ExitCode::SUCCESS
}

#[expect(clippy::print_stderr, reason = "for a person, who may not have set up logs yet")]
fn fail(error: &anyhow::Error, code: u8) -> ExitCode {
    eprintln!("countersignd: {error:#}");
    ExitCode::from(code)
}
