//! Measures embedded storage engines under the workload of a store-and-forward message service.
//!
//! ```text
//! cargo run --release -- [--seconds 60] [--rounds 3] [--quick] [--engines redb,lmdb]
//!                        [--stages saturate,saturate64,offered,cost,retention,crash]
//!                        [--send-rate 10000 --check-rate 10000 --confirm-rate 1000]
//!                        [--sends 800000] [--kills 10] [--dir FOLDER]
//! ```
//!
//! Every measurement runs in a process of its own. The rounds of stages 1 and 2 are interleaved,
//! so that a busy machine disturbs all engines alike; stages 3 to 5 take one engine after the
//! other. The medians of the rounds are printed as
//! Markdown tables, progress goes to standard error.

mod engine;
mod engines;
mod load;
mod measure;

use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

/// `--name value` pairs and flags.
struct Options(Vec<String>);

impl Options {
    fn text(&self, name: &str) -> Option<&str> {
        let at = self.0.iter().position(|a| a == name)?;
        self.0.get(at + 1).map(String::as_str)
    }

    fn number(&self, name: &str, default: f64) -> Result<f64> {
        self.text(name).map_or(Ok(default), |t| t.parse().with_context(|| name.to_owned()))
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|a| a == name)
    }
}

fn main() -> Result<()> {
    let options = Options(std::env::args().skip(1).collect());
    match options.text("--child") {
        Some(stage) => child(stage, &options),
        None => parent(&options),
    }
}

/// One stage of one engine, in this process.
fn child(stage: &str, options: &Options) -> Result<()> {
    let engine = options.text("--engine").context("--engine")?;
    let dir = PathBuf::from(options.text("--dir").context("--dir")?);
    let seconds = options.number("--seconds", 5.0)?;
    let round = options.number("--round", 0.0)? as u64;
    let sends = options.number("--sends", 0.0)? as u64;
    let large = options.number("--large", 0.0)? as u64;
    match stage {
        "saturate" => {
            let senders = options.number("--senders", 256.0)? as usize;
            load::saturate(engine, &dir, seconds, senders, round)
        }
        "offered" => {
            let rates = load::Rates {
                sends: options.number("--send-rate", 10_000.0)?,
                checks: options.number("--check-rate", 10_000.0)?,
                confirms: options.number("--confirm-rate", 1_000.0)?,
            };
            load::offered(engine, &dir, seconds, &rates, round)
        }
        "fill" => load::fill(engine, &dir, sends, large),
        "cost" => load::cost(engine, &dir, sends, large),
        "retention" => load::retention(engine, &dir, sends),
        "crash-run" => load::crash_run(engine, &dir, round),
        "crash-verify" => {
            let keys = PathBuf::from(options.text("--keys").context("--keys")?);
            load::crash_verify(engine, &dir, &keys, options.has("--last"))
        }
        _ => bail!("no stage {stage}"),
    }
}

/// All figures of an engine: the values of each round.
type Figures = BTreeMap<String, Vec<f64>>;

struct Bench {
    dir: PathBuf,
    figures: BTreeMap<&'static str, Figures>,
}

impl Bench {
    fn command(&self, stage: &str, engine: &str, store: &str, more: &[String]) -> Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--child", stage, "--engine", engine, "--dir"]);
        command.arg(self.dir.join(format!("{engine}-{store}"))).args(more);
        Ok(command)
    }

    /// Runs a stage and keeps its figures under `stage.name`.
    fn run(&mut self, stage: &str, engine: &'static str, store: &str, more: &[String]) -> Result<()> {
        self.run_as(stage, stage, engine, store, more)
    }

    fn run_as(
        &mut self,
        prefix: &str,
        stage: &str,
        engine: &'static str,
        store: &str,
        more: &[String],
    ) -> Result<()> {
        let output = self.command(stage, engine, store, more)?.stderr(Stdio::inherit()).output()?;
        if !output.status.success() {
            eprintln!("{stage} {engine}: FAILED ({})", output.status);
            self.note(engine, &format!("{prefix}.failed"), 1.0);
            return Ok(());
        }
        let text = String::from_utf8(output.stdout)?;
        eprintln!("{prefix} {engine}: {}", text.replace('\n', " "));
        for line in text.lines() {
            let (name, value) = line.split_once('=').context("name=value")?;
            self.note(engine, &format!("{prefix}.{name}"), value.parse()?);
        }
        Ok(())
    }

    fn note(&mut self, engine: &'static str, name: &str, value: f64) {
        self.figures.entry(engine).or_default().entry(name.into()).or_default().push(value);
    }

    fn remove(&self, engine: &str, store: &str) {
        let _ = std::fs::remove_dir_all(self.dir.join(format!("{engine}-{store}")));
    }

    /// Kills a loaded store `kills` times and verifies it each time.
    fn crash(&mut self, engine: &'static str, kills: u64) -> Result<()> {
        let keys = self.dir.join("acknowledged");
        for round in 0..kills {
            let mut child = self
                .command("crash-run", engine, "filled", &["--round".into(), round.to_string()])?
                .stdout(Stdio::piped())
                .spawn()?;
            let mut pipe = child.stdout.take().context("a pipe")?;
            let reading = std::thread::spawn(move || {
                let mut keys = Vec::new();
                pipe.read_to_end(&mut keys).map(|_| keys)
            });
            std::thread::sleep(Duration::from_millis(1000 + 137 * round));
            child.kill()?; // SIGKILL
            child.wait()?;
            std::fs::write(&keys, reading.join().expect("the reader")?)?;
            let mut more = vec!["--keys".into(), keys.display().to_string()];
            if round + 1 == kills {
                more.push("--last".into());
            }
            self.run_as("crash", "crash-verify", engine, "filled", &more)?;
        }
        Ok(())
    }

    fn median(&self, engine: &str, name: &str) -> f64 {
        let values = self.figures.get(engine).and_then(|f| f.get(name));
        let mut values = values.cloned().unwrap_or_default();
        let middle = values.len() / 2;
        values.sort_by(f64::total_cmp);
        values.get(middle).copied().unwrap_or(f64::NAN)
    }

    fn fold(&self, engine: &str, name: &str, fold: fn(f64, f64) -> f64) -> f64 {
        let values = self.figures.get(engine).and_then(|f| f.get(name));
        values.into_iter().flatten().copied().reduce(fold).unwrap_or(f64::NAN)
    }
}

fn parent(options: &Options) -> Result<()> {
    let quick = options.has("--quick");
    let seconds = options.number("--seconds", if quick { 6.0 } else { 60.0 })?;
    let rounds = options.number("--rounds", 3.0)?.max(1.0) as u64;
    let sends = options.number("--sends", if quick { 60_000.0 } else { 800_000.0 })? as u64;
    let large = sends * 3 / 8;
    let kills = options.number("--kills", if quick { 2.0 } else { 10.0 })? as u64;
    let wanted = options.text("--engines").map_or(engines::NAMES.join(","), str::to_owned);
    let names: Vec<_> = engines::NAMES
        .iter()
        .copied()
        .filter(|name| wanted.split(',').any(|w| w == *name))
        .collect();
    ensure!(!names.is_empty(), "no such engine");
    let stages = options.text("--stages").unwrap_or("saturate,offered,cost,retention,crash");
    let stage = |name: &str| stages.split(',').any(|s| s == name);
    let dir = options.text("--dir").map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = dir.join(format!("store-engines-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let mut bench = Bench { dir: dir.clone(), figures: BTreeMap::new() };

    for (name, senders) in [("saturate", 256), ("saturate64", 64)] {
        let seconds = if senders == 64 { seconds / 4.0 } else { seconds };
        for round in 0..if stage(name) { rounds } else { 0 } {
            for engine in &names {
                let more = pairs(&[
                    ("seconds", seconds / rounds as f64),
                    ("senders", senders as f64),
                    ("round", round as f64),
                ]);
                bench.run_as(name, "saturate", engine, name, &more)?;
                if round + 1 == rounds {
                    bench.remove(engine, name);
                }
            }
        }
    }
    for round in 0..if stage("offered") { rounds } else { 0 } {
        for engine in &names {
            let more = pairs(&[
                ("seconds", seconds / rounds as f64),
                ("round", round as f64),
                ("send-rate", options.number("--send-rate", 10_000.0)?),
                ("check-rate", options.number("--check-rate", 10_000.0)?),
                ("confirm-rate", options.number("--confirm-rate", 1_000.0)?),
            ]);
            bench.run("offered", engine, "offered", &more)?;
            if round + 1 == rounds {
                bench.remove(engine, "offered");
            }
        }
    }
    for engine in &names {
        if stage("cost") || stage("crash") {
            let more = pairs(&[("sends", sends as f64), ("large", large as f64)]);
            bench.run("fill", engine, "filled", &more)?;
            for _ in 0..if stage("cost") { rounds } else { 0 } {
                bench.run("cost", engine, "filled", &more)?;
            }
            if stage("crash") {
                bench.crash(engine, kills)?;
            }
            bench.remove(engine, "filled");
        }
        if stage("retention") {
            let more = pairs(&[("sends", sends as f64 / 8.0)]);
            bench.run("retention", engine, "retention", &more)?;
            bench.remove(engine, "retention");
        }
    }
    std::fs::remove_dir_all(&dir)?;
    print_tables(&bench, &names);
    Ok(())
}

fn pairs(values: &[(&str, f64)]) -> Vec<String> {
    values.iter().flat_map(|(name, value)| [format!("--{name}"), value.to_string()]).collect()
}

/// One table; a row for each figure, a column for each engine.
fn print_tables(bench: &Bench, names: &[&'static str]) {
    println!("| figure | {} |", names.join(" | "));
    println!("|---|{}", "--:|".repeat(names.len()));
    let row = |title: &str, figure: &dyn Fn(&str) -> f64, decimals: usize| {
        let cells: Vec<_> = names.iter().map(|name| figure(name)).collect();
        if cells.iter().all(|c| c.is_nan()) {
            return;
        }
        let cells: Vec<_> = cells
            .iter()
            .map(|c| if c.is_nan() { "–".into() } else { format!("{c:.decimals$}") })
            .collect();
        println!("| {title} | {} |", cells.join(" | "));
    };
    let median = |title: &str, name: &'static str, decimals| {
        row(title, &|engine: &str| bench.median(engine, name), decimals);
    };
    let longest = |title: &str, name: &'static str, decimals| {
        row(title, &|engine: &str| bench.fold(engine, name, f64::max), decimals);
    };
    let sum = |title: &str, name: &'static str| {
        row(title, &|engine: &str| bench.fold(engine, name, |a, b| a + b), 0);
    };
    median("1 sends/s, 256 senders", "saturate.per_second", 0);
    median("1 CPU µs a send", "saturate.cpu_us", 1);
    median("1 device bytes a send", "saturate.bytes", 0);
    row("1 disk bytes a send kept", &|e: &str| {
        bench.fold(e, "saturate.disk_mib", f64::max) * 1048576.0
            / bench.fold(e, "saturate.sends", |a, b| a + b)
    }, 0);
    median("1 sends/s, 64 senders", "saturate64.per_second", 0);
    median("1 CPU µs a send, 64 senders", "saturate64.cpu_us", 1);
    median("2 achieved in time, %", "offered.achieved", 1);
    sum("2 shed", "offered.shed");
    median("2 CPU µs an operation", "offered.cpu_us", 1);
    median("2 device bytes a send", "offered.bytes_per_send", 0);
    median("2 rows a check", "offered.rows", 0);
    median("2 send p50 ms", "offered.send_p50_ms", 2);
    median("2 send p99 ms", "offered.send_p99_ms", 2);
    median("2 send p99.9 ms", "offered.send_p999_ms", 2);
    longest("2 longest send ms", "offered.send_max_ms", 1);
    median("2 check p50 ms", "offered.check_p50_ms", 2);
    median("2 check p99 ms", "offered.check_p99_ms", 2);
    median("2 check p99.9 ms", "offered.check_p999_ms", 2);
    median("2 check inside the engine p50 µs", "offered.check_run_p50_us", 0);
    median("2 check inside the engine p99 µs", "offered.check_run_p99_us", 0);
    longest("2 longest check inside the engine ms", "offered.check_max_ms", 1);
    longest("6 memory of its own MiB", "offered.rss_own_mib", 0);
    longest("6 file pages mapped MiB", "offered.rss_mapped_mib", 0);
    median("3 check, small mailbox, CPU µs", "cost.small_cpu_us", 1);
    median("3 check, small mailbox, wall µs", "cost.small_wall_us", 1);
    median("3 check, large mailbox, CPU µs", "cost.large_cpu_us", 1);
    median("3 check, large mailbox, wall µs", "cost.large_wall_us", 1);
    median("3 content read, CPU µs", "cost.read_cpu_us", 1);
    median("3 content read, wall µs", "cost.read_wall_us", 1);
    median("6 cold open after a clean close ms", "cost.open_clean_ms", 1);
    median("4 a day MiB", "retention.day_mib", 0);
    median("4 drop a day ms", "retention.free_drop_ms", 1);
    median("4 freed after 50 ms, %", "retention.free_freed_at_once", 0);
    median("4 freed after 2 s, %", "retention.free_freed_2s", 0);
    median("4 longest commit before ms", "retention.free_write_before_ms", 1);
    median("4 longest commit during ms", "retention.free_write_during_ms", 1);
    median("4 reader open: drop ms", "retention.held_drop_ms", 1);
    median("4 reader open: longest commit ms", "retention.held_write_during_ms", 1);
    median("4 reader open: rows it still reads", "retention.held_reader_reads", 0);
    median("4 reader open: freed after 2 s, %", "retention.held_freed_2s", 0);
    median("4 reader gone: freed, %", "retention.held_freed_released", 0);
    median("4 days on disk when 5 are kept", "retention.days_left", 1);
    median("4 days on disk when 5 are kept, reopened", "retention.days_left_reopened", 1);
    median("5 disk before the kills MiB", "fill.fill_disk_mib", 0);
    sum("5 acknowledged before kills", "crash.acknowledged");
    sum("5 acknowledged and lost", "crash.lost");
    sum("5 damaged", "crash.damaged");
    sum("5 failed to reopen", "crash.failed");
    median("5 cold open after a kill ms", "crash.open_crashed_ms", 0);
    longest("5 longest such open ms", "crash.open_crashed_ms", 0);
}

