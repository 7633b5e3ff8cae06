//! `run`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use countersign_client::entropy::{Entropy, SystemEntropy, random_id};
use countersign_loadtest::conversation::Reader;
use countersign_loadtest::experiments::due;
use countersign_loadtest::ledger::{Exit, Keeping, Options};
use countersign_loadtest::listener::Listener;
use countersign_loadtest::load::{self, LoadOptions, Replay, Shape};
use countersign_loadtest::measure::{Exporter, Summary, Threshold};
use countersign_loadtest::pages;
use countersign_loadtest::people::SetUp;
use countersign_loadtest::random::Random;
use countersign_loadtest::traffic::{Arrivals, Population, Rate, Schedule, drawn};
use countersign_loadtest::wire::{Operation, Targets};
use countersign_loadtest::workers::{Collector, Reporter, Worker};

use super::view::Shown;
use super::{clock, say};
use crate::cli;

/// How long workers wait for each other before they begin, and how much longer than its own run one waits for the others'.
const FOR_OTHERS: Duration = Duration::from_mins(10);

impl cli::Load {
    /// Returns what clients do.
    fn clients(&self, audit: bool) -> Options {
        let of = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        Options {
            readers: of(self.clients),
            writers: of(self.writers),
            bytes: self.bytes.clone(),
            receipts_one_in: self.receipts_one_in,
            patience: self.patience.0,
            long_polling: self.long_polling,
            pause: self.poll.0,
            audit,
            keeping: Keeping::Buffered,
            seed: self.seed,
            ..Options::default()
        }
    }

    /// Returns one worker's part of the load.
    fn shape(&self, worker: Worker) -> Result<Shape> {
        ensure!((0.0..=1.0).contains(&self.long_polling), "--long-polling is a share, from 0 to 1");
        ensure!(self.speed > 0.0 && self.speed.is_finite(), "--speed is a factor above 0");
        ensure!((0.0..=5.0).contains(&self.skew), "--skew is an exponent from 0 to 5");
        let (all, each) = (usize::try_from(self.users)?, usize::try_from(self.organization_users)?);
        if let Some(programs) = self.closed {
            let programs = worker.share_of(usize::try_from(programs)?);
            ensure!(programs > 0, "there are fewer programs than workers");
            if !self.replay.is_empty() {
                let logs = self.replay.iter().cycle().take(programs).enumerate();
                return Ok(Shape::Closed(
                    logs.map(|(number, file)| conversation(file, number)).collect::<Result<_>>()?,
                ));
            }
            let users = (all / programs).clamp(1, each);
            let program = |number: usize| {
                let mut random = Random::new(self.seed.wrapping_add(u64::try_from(number).unwrap_or(0)));
                let population = Population::new(1, users, self.skew, self.bytes.clone(), random.split());
                let schedule = Schedule::new(&Rate::constant(1.0), Duration::MAX, Arrivals::Even, random);
                Replay { name: format!("program {number}"), users, messages: drawn(schedule, population) }
            };
            return Ok(Shape::Closed((0..programs).map(program).collect()));
        }
        if !self.replay.is_empty() {
            // Each worker replays some of them.
            let (of, number) = (usize::try_from(worker.of)?, usize::try_from(worker.number)?);
            let logs: Vec<Replay> = self
                .replay
                .iter()
                .enumerate()
                .skip(number)
                .step_by(of)
                .map(|(number, file)| conversation(file, number))
                .collect::<Result<_>>()?;
            ensure!(!logs.is_empty(), "there are fewer conversations than workers");
            return Ok(Shape::Replayed { conversations: logs, speed: self.speed });
        }
        let organizations = worker.share_of(all.div_ceil(each));
        ensure!(
            organizations > 0,
            "there are fewer organizations than workers: more --users, or fewer --organization-users"
        );
        Ok(Shape::Drawn {
            rate: self.rate.times(1.0 / f64::from(worker.of)),
            arrivals: if self.poisson { Arrivals::Poisson } else { Arrivals::Even },
            skew: self.skew,
            organizations,
            users: each.min(all),
        })
    }
}

/// Reads a conversation that is to be replayed. All of it is read before anything begins, so that a mistake in it is found
/// then.
fn conversation(file: &Path, number: usize) -> Result<Replay> {
    let opened = std::fs::File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    let of = || format!("{} is no conversation log", file.display());
    let reader = Reader::open(std::io::BufReader::new(opened)).with_context(of)?;
    let users = usize::try_from(reader.head().users)?;
    let messages = reader.map(|entry| entry.map(due)).collect::<Result<Vec<_>, _>>().with_context(of)?;
    let name = file.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(Replay { name: format!("{name} {}", number + 1), users, messages: Box::new(messages.into_iter()) })
}

/// How a worker finds the others.
enum Others {
    Alone,
    Collects(Arc<Collector>),
    Reports(Box<Reporter>),
}

impl Others {
    async fn find(options: &cli::Run, worker: Worker) -> Result<Self> {
        ensure!(worker.number < worker.of, "--worker counts from 0 and stays below --workers");
        match (worker.of, worker.number, &options.collector) {
            (1, ..) => Ok(Self::Alone),
            (_, 0, _) => {
                let (collector, address) = Collector::listen(options.collect_listen, worker.of).await?;
                tracing::info!(%address, workers = worker.of, "the other workers are awaited");
                Ok(Self::Collects(collector))
            }
            (.., Some(collector)) => Ok(Self::Reports(Box::new(Reporter::new(collector.clone(), worker)?))),
            _ => bail!("a worker other than the first needs to find it: --collector http://…:9190"),
        }
    }

    async fn ready(&self) -> Result<()> {
        match self {
            Self::Alone => Ok(()),
            Self::Collects(collector) => collector.all_ready(FOR_OTHERS).await,
            Self::Reports(reporter) => reporter.all_ready(FOR_OTHERS).await,
        }
    }

    /// Returns the sum of all summaries at the first worker, and nothing at the others.
    async fn sum(&self, own: Summary) -> Result<Option<Summary>> {
        match self {
            Self::Alone => Ok(Some(own)),
            Self::Collects(collector) => collector.sum(own, FOR_OTHERS).await.map(Some),
            Self::Reports(reporter) => reporter.report(&own, FOR_OTHERS).await.map(|()| None),
        }
    }
}

/// Runs a load test against a service.
pub(crate) async fn run(options: cli::Run) -> Result<Exit> {
    let worker = Worker { number: options.worker, of: options.workers };
    let others = Others::find(&options, worker).await?;
    let shape = options.load.shape(worker)?;
    let duration =
        if options.load.closed.is_some() { options.duration.0 } else { options.load.rate.lasts(options.duration.0) };
    let targets = Targets::new(&options.service.urls, &options.service.trust())?;
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    let exporter = export(&options).await?;
    let keys = options.keys.folder()?;
    let clients = options.load.clients(options.audit);
    let set_up = SetUp {
        targets: &targets,
        super_administrators: &options.keys.super_administrators(&keys)?,
        client_limit: clients.clients_of_each(),
        clock: &*clock(),
        entropy: &*entropy,
    };
    let default = || PathBuf::from(format!("data/load/{}", random_id(&*entropy)));
    let load = LoadOptions {
        name: options.name.clone(),
        duration,
        warm_up: options.warm_up.0,
        drain: options.drain.0,
        late: options.late.0,
        clients,
        threads: usize::try_from(options.threads)?,
        folder: options.folder.clone().unwrap_or_else(default),
    };
    let shown = Shown::new(duration);
    let interrupted = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let outcome = load::run(
        &load,
        shape,
        (&set_up, &keys),
        (clock(), Arc::clone(&entropy)),
        (exporter, &shown),
        others.ready(),
        interrupted,
    )
    .await;
    shown.end();
    let Some(summary) = others.sum(outcome?.summary).await? else { return Ok(Exit::Kept) };
    write(&load.folder, &summary)?;
    pages::run(&summary, &[], &options.thresholds).write(&load.folder, "report")?;
    say(&in_words(&summary));
    let exit = judge(&summary, &options.thresholds);
    say(&format!("Report: {}", load.folder.join("report.html").display()));
    Ok(exit)
}

/// Serves metrics, if they are asked for.
async fn export(options: &cli::Run) -> Result<Option<Arc<Exporter>>> {
    let Some(address) = options.admin_listen else { return Ok(None) };
    let exporter = Arc::new(Exporter::new()?);
    let listener = Listener::bind(address).await?;
    tracing::info!(admin = %listener.address()?, "metrics are exported");
    let exported = Arc::clone(&exporter);
    tokio::spawn(listener.serve(Arc::new(move || exported.encode())));
    Ok(Some(exporter))
}

fn write(folder: &Path, summary: &Summary) -> Result<()> {
    let file = folder.join("summary.json");
    std::fs::write(&file, serde_json::to_vec(summary)?).with_context(|| format!("cannot write {}", file.display()))
}

/// Says what was found, and returns the exit: the worst of the ledger's, the generator's and the thresholds'.
fn judge(summary: &Summary, thresholds: &[Threshold]) -> Exit {
    let kept = summary.ledger.exit();
    let missed: Vec<String> = thresholds.iter().filter_map(|threshold| threshold.missed_by(summary)).collect();
    for missed in &missed {
        say(&format!("Missed: {missed}"));
    }
    let invalid = summary.invalid();
    if let Some(why) = &invalid {
        say(&format!("No verdict on the service's speed: {why}."));
    }
    match (kept, invalid, missed.is_empty()) {
        (Exit::Kept, Some(_), _) => Exit::GeneratorLagged,
        (Exit::Kept, None, false) => Exit::BelowThreshold,
        (kept, ..) => kept,
    }
}

fn in_words(summary: &Summary) -> String {
    use std::fmt::Write as _;
    let mut text = format!("{}: {}\n", summary.name, summary.load);
    let millis = |time: Duration| format!("{:.2}", time.as_secs_f64() * 1e3);
    let _ = writeln!(
        text,
        "{:<22} {:>10} {:>8} {:>9} {:>9} {:>9} {:>9}  ms",
        "", "/s", "failed", "p50", "p90", "p99", "max"
    );
    for operation in Operation::ALL {
        let of = summary.operation(operation);
        let service = &of.service;
        let _ = writeln!(
            text,
            "{:<22} {:>10.1} {:>8} {:>9} {:>9} {:>9} {:>9}",
            operation.name(),
            summary.rate(operation),
            of.not_done(),
            millis(service.at(0.5)),
            millis(service.at(0.9)),
            millis(service.at(0.99)),
            millis(service.max()),
        );
    }
    for (name, times) in [
        ("send, from when due", &summary.send),
        ("delivery, from 201", &summary.delivery),
        ("generator's own lag", &summary.lag),
    ] {
        let of = |share| millis(times.at(share));
        let _ = writeln!(text, "{name:<41} {:>9} {:>9} {:>9} {:>9}", of(0.5), of(0.9), of(0.99), millis(times.max()));
    }
    for program in &summary.programs {
        let _ = writeln!(text, "{} took {:.1} s", program.name, program.seconds);
    }
    let ledger = &summary.ledger;
    let _ = writeln!(
        text,
        "{:.1} requests/s; {} messages due, {} dropped, {} checks left out; the generator used {:.2} of {} cores",
        summary.total_rate(),
        summary.offered,
        summary.dropped,
        summary.skipped_checks,
        summary.generator.used,
        summary.generator.allowed,
    );
    let _ = write!(
        text,
        "ledger: {} promised, {} of {} deliveries, lost {}, corrupted {}, duplicated {}, late {}, refused {}",
        ledger.promised,
        ledger.delivered,
        ledger.due,
        ledger.lost,
        ledger.corrupted,
        ledger.duplicated,
        ledger.late,
        ledger.refused,
    );
    text
}
