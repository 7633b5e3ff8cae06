//! Pods over CQL and a Valkey cluster: what one of them and three of them do, and what a request costs the pods alone.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hdrhistogram::Histogram;
use tempfile::TempDir;

use crate::client::Client;
use crate::clock::{float, nanos};
use crate::load::{Measured, Plan};
use crate::options::{Options, Stores};
use crate::process::{Server, unlimited};
use crate::random::Random;
use crate::report::{Table, micros_each, percentiles, print, progress};
use crate::shard::{Kind, LATENCY_MAX, Pace, Work, phase};
use crate::world::{Size, World, set_up};
use crate::{CONTENT, SHORT_WINDOW, flush, held, people, window};

/// Pods, where it is not one.
const PODS: usize = 3;
/// How often one pod and three pods take turns; the first turn warms up.
const TURNS: usize = 4;
/// Most that a request may cost three pods, beside what it costs one.
const COST_MAX: f64 = 1.05;

/// Pods over one keyspace, with users that have sessions.
struct Cluster {
    pods: Vec<Server>,
    world: World,
    clients: Vec<Client>,
    settings: Vec<(&'static str, String)>,
    folder: TempDir,
}

/// Measures what was chosen, and prints it.
pub(crate) fn run(options: Options, stores: Stores) -> Result<()> {
    let cores = std::thread::available_parallelism()?;
    print(&format!(
        "# Benchmark of pods\n\n{cores} cores, shared by pods, generator, one CQL server and six Valkey servers. Contents of \
         {CONTENT} bytes, one recipient each; {} connections, spread over the pods.\n",
        options.connections
    ))?;
    let bench = Bench { options, stores };
    let mut random = Random::new(nanos());
    for (part, heading, run) in [
        ("pods", "One pod and three", Bench::pods as fn(&Bench, &mut Random) -> Result<String>),
        ("held", "Many held messages", Bench::held),
        ("window", "Many fetched messages within the inconsistent window", Bench::window),
        ("flush", "All of Valkey flushed", Bench::flush),
    ] {
        if bench.options.runs(part) {
            print(&format!("\n## {heading}\n\n{}", run(&bench, &mut random)?))?;
        }
    }
    Ok(())
}

struct Bench {
    options: Options,
    stores: Stores,
}

impl Bench {
    fn start(
        &self,
        pods: usize,
        size: Size,
        settings: &[(&'static str, String)],
        random: &mut Random,
    ) -> Result<Cluster> {
        let folder = tempfile::Builder::new().prefix("countersign-bench-").tempdir_in(&self.options.folder)?;
        let (people, supers) = people(size.users)?;
        let file = folder.path().join("super-administrators.asc");
        supers.write(&file)?;
        let address = std::fs::read_to_string(self.stores.cql.join("address")).context("there is no CQL server")?;
        let password = folder.path().join("password");
        std::fs::write(&password, "cassandra\n")?;
        let keyspace = format!("bench_{}", random.uuid().simple());
        let mut all = unlimited();
        all.extend([
            ("SUPER_ADMINISTRATORS", file.display().to_string()),
            ("STORE", format!("scylla://{}/{keyspace}", address.trim())),
            ("EPHEMERAL", self.stores.valkey.clone()),
            ("SCYLLA_REPLICATION", "1".to_owned()),
            ("SCYLLA_USER", "cassandra".to_owned()),
            ("SCYLLA_PASSWORD_FILE", password.display().to_string()),
            ("SCYLLA_CA", self.stores.cql.join("tls/ca.pem").display().to_string()),
            ("SCYLLA_DATACENTER", "datacenter1".to_owned()),
        ]);
        all.extend(settings.iter().cloned());
        Server::schema(&all)?;
        let start = |number: usize| Server::service(&folder.path().join(format!("pod-{number}")), &all);
        let pods = (0..pods).map(start).collect::<Result<Vec<_>>>()?;
        let first = pods.first().context("there is at least one pod")?;
        progress(&format!("setting up {} users", size.organizations * size.users));
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let began = nanos();
        let (world, clients) = runtime.block_on(set_up(first.address, &supers, &people, size, random))?;
        progress(&format!("set up in {:.1} s", Duration::from_nanos(nanos() - began).as_secs_f64()));
        Ok(Cluster { pods, world, clients, settings: all, folder })
    }

    fn plan(&self, pods: &[Server], world: &World, work: Work, random: &mut Random) -> Plan {
        Plan {
            content: random.bytes::<CONTENT>().to_vec(),
            world: Some(world.clone()),
            ..Plan::new(&self.options, pods, work)
        }
    }

    fn pods(&self, random: &mut Random) -> Result<String> {
        let size = if self.options.quick {
            Size { organizations: 2, users: 20 }
        } else {
            Size { organizations: 10, users: 50 }
        };
        let Cluster { pods, world, mut clients, .. } = self.start(PODS, size, &[], random)?;
        let rate = self.options.pod_rate;
        let all = float(u64::try_from(PODS)?);
        // The same load for each pod, as when pods are added for more load; and the same load for all together.
        let mut sides = [
            Side::new("one pod", 1, rate)?,
            Side::new("three pods, each with that load", PODS, rate * all)?,
            Side::new("three pods, together with that load", PODS, rate)?,
        ];
        for turn in 0..=TURNS {
            for side in &mut sides {
                let of_side = pods.get(..side.pods).context("there are as many pods")?;
                let plan = Plan { pace: Pace::Offered(side.rate), ..self.plan(of_side, &world, Work::Mix, random) };
                let measured = plan.run(&mut clients)?;
                if turn > 0 {
                    side.add(&measured)?;
                }
                progress(&format!("turn {turn}, {}: {:.1} µs a request", side.name, side.cost()));
            }
        }
        let mut table = Table::new();
        for (name, pods) in [("one pod", pods.get(..1)), ("three pods", pods.get(..PODS))] {
            let pods = pods.context("there are as many pods")?;
            let plan = Plan { measured: self.options.measured, ..self.plan(pods, &world, Work::Mix, random) };
            table.add(&format!("{name}, as much as it takes"), &plan.run(&mut clients)?)?;
        }
        Ok(format!("{}\n{}", text(&sides)?, table.text()))
    }

    fn held(&self, random: &mut Random) -> Result<String> {
        let size = Size { organizations: 1, users: 50 };
        let mut cluster = self.start(1, size, &held::settings(SHORT_WINDOW), random)?;
        let plan = Plan {
            content: random.bytes::<64>().to_vec(),
            connections: self.options.connections.min(size.users),
            warm_up: Duration::ZERO,
            ..self.plan(&cluster.pods, &cluster.world, Work::Sends, random)
        };
        let held = if self.options.quick { [1_000, 10_000] } else { [1_000, 300_000] };
        held::run(&plan, &mut cluster.clients, held, SHORT_WINDOW)
    }

    fn window(&self, random: &mut Random) -> Result<String> {
        let size = Size { organizations: 1, users: 50 };
        let Cluster { mut pods, world, mut clients, mut settings, folder } = self.start(1, size, &[], random)?;
        // A listing that never relies on arrivals.
        settings.push(("MERGE_INTERVAL", "1ms".to_owned()));
        pods.push(Server::service(&folder.path().join("merging"), &settings)?);
        let plan = Plan {
            content: random.bytes::<64>().to_vec(),
            connections: self.options.connections.min(size.users),
            warm_up: Duration::ZERO,
            ..self.plan(pods.get(..1).unwrap_or_default(), &world, Work::Sends, random)
        };
        let fetched = if self.options.quick { 2_000 } else { 15_000 };
        window::run(&plan, &mut clients, [10, fetched], &pods)
    }

    fn flush(&self, random: &mut Random) -> Result<String> {
        let size = if self.options.quick {
            Size { organizations: 4, users: 50 }
        } else {
            Size { organizations: 50, users: 100 }
        };
        let Cluster { pods, world, clients, .. } = self.start(PODS, size, &[], random)?;
        flush::run(&self.stores.valkey, &pods, &world, clients, self.options.connections)
    }
}

/// One way of spreading load, over all of its turns.
struct Side {
    name: &'static str,
    pods: usize,
    /// Messages, and as many checks, a second.
    rate: f64,
    cpu: Duration,
    requests: u64,
    errors: u64,
    time: Duration,
    latency: [Histogram<u64>; 2],
    /// What a request cost in each turn, in microseconds.
    costs: Vec<f64>,
}

impl Side {
    fn new(name: &'static str, pods: usize, rate: f64) -> Result<Self> {
        let histogram = Histogram::new_with_max(LATENCY_MAX, 3)?;
        let latency = [histogram.clone(), histogram];
        let (cpu, time) = (Duration::ZERO, Duration::ZERO);
        Ok(Self { name, pods, rate, cpu, requests: 0, errors: 0, time, latency, costs: Vec::new() })
    }

    fn add(&mut self, measured: &Measured) -> Result<()> {
        let all = measured.outcome.tally(phase::FIRST, &[Kind::Send, Kind::Check, Kind::Confirm])?;
        for (latency, kind) in self.latency.iter_mut().zip([Kind::Send, Kind::Check]) {
            latency.add(&measured.outcome.tally(phase::FIRST, &[kind])?.latency)?;
        }
        self.costs.push(micros_each(measured.service.total, all.latency.len()));
        self.cpu += measured.service.total;
        self.time += measured.time;
        self.requests += all.latency.len();
        self.errors += all.errors;
        Ok(())
    }

    /// What a request costs the pods, in microseconds.
    fn cost(&self) -> f64 {
        micros_each(self.cpu, self.requests)
    }
}

fn text(sides: &[Side; 3]) -> Result<String> {
    use std::fmt::Write as _;
    let mut text =
        "| | messages and checks offered, /s | requests/s | pods' CPU, µs a request | in the turns | messages p50, \
                    ms | p99, ms | p99.9, ms | checks p50, ms | p99, ms | p99.9, ms | errors |\n\
                    |---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n"
            .to_owned();
    for side in sides {
        let costs: Vec<String> = side.costs.iter().map(|cost| format!("{cost:.1}")).collect();
        let [sends, checks] = &side.latency;
        writeln!(
            text,
            "| {} | {:.0} + {:.0} | {:.0} | {:.1} | {} | {} | {} | {} |",
            side.name,
            side.rate,
            side.rate,
            float(side.requests) / side.time.as_secs_f64(),
            side.cost(),
            costs.join(" "),
            percentiles(sends),
            percentiles(checks),
            side.errors,
        )?;
    }
    let [one, each, together] = sides;
    ensure!(one.requests > 0, "nothing was served");
    let judged = |ratio: f64| if ratio <= COST_MAX { "met" } else { "missed" };
    let (each, together) = (each.cost() / one.cost(), together.cost() / one.cost());
    write!(
        text,
        "\nA request costs three pods {each:.2} times what it costs one pod where each has the same load ({}), and \
         {together:.2} times where all of them share that load ({}); the goal is at most {COST_MAX}.\n",
        judged(each),
        judged(together)
    )?;
    Ok(text)
}
