//! `countersign-dashboards`: writes what is generated, or checks it against a real Prometheus.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};
use countersign_dashboards::check::{Check, Window};
use countersign_dashboards::contract::{Exported, Source};
use countersign_dashboards::prometheus::Prometheus;
use countersign_dashboards::{boards, generated, rules};

/// Dashboards of Countersign.
#[derive(Parser)]
struct Arguments {
    /// The root of the repository
    #[arg(long, global = true, default_value = ".")]
    root: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write grafana/dashboards and docs/metrics.md
    Write,
    /// Ask a Prometheus every query of every panel, variable and rule
    Check {
        #[arg(help = "Where it is, such as http://127.0.0.1:9090")]
        prometheus: String,
        /// Over how many last seconds to ask
        #[arg(long, default_value_t = 60)]
        seconds: u32,
        #[arg(long, default_value_t = 10, help = "What stands for $__rate_interval, in seconds")]
        rate: u32,
        /// Programs that are not there
        #[arg(long, value_delimiter = ',')]
        without: Vec<Program>,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Program {
    LoadTester,
    NodeExporter,
    KubeStateMetrics,
}

fn main() -> Result<ExitCode> {
    let Arguments { root, command } = Arguments::parse();
    match command {
        Command::Write => {
            generated::write(&root)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Check { prometheus, seconds, rate, without } => {
            let without: BTreeSet<Source> = without
                .into_iter()
                .map(|program| match program {
                    Program::LoadTester => Source::LoadTester,
                    Program::NodeExporter => Source::NodeExporter,
                    Program::KubeStateMetrics => Source::KubeStateMetrics,
                })
                .collect();
            let groups = rules::read(&root.join(generated::RULES))?;
            let recorded = groups.iter().flat_map(|group| &group.rules).filter_map(|rule| rule.record.as_deref());
            let exported = Exported::with_recorded(recorded);
            let check = Check {
                prometheus: &Prometheus::at(&prometheus),
                exported: &exported,
                without: &without,
                window: Window { seconds: seconds.into(), rate },
            };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let report = runtime.block_on(check.run(&boards::all(), &groups))?;
            say(&report.text());
            Ok(if report.failures.is_empty() && report.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

#[expect(clippy::print_stdout, reason = "what a command is for")]
fn say(text: &str) {
    print!("{text}");
}
