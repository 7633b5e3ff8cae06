//! The benchmark: what the service does in a second, what a request costs, and how long it takes.
//!
//! Starts the real `countersignd` as a process of its own, with its data in a temporary folder and durability on, sets
//! up organizations, users and sessions by real requests, and prints tables in Markdown. Progress goes to standard
//! error.
//!
//! | variable | default | meaning |
//! |---|---|---|
//! | `BENCH_SECONDS` | 20 | length of the main measurement; the others are shorter |
//! | `BENCH_QUICK` | | `1`: all of it in less than a minute, with few users; its figures mean little |
//! | `BENCH_RATE` | 10000 | messages, and as many checks, offered a second |
//! | `BENCH_CONNECTIONS` | 128 | connections, as from an ingress: each carries many clients' requests in turn |
//! | `BENCH_THREADS` | 1 | threads of the generator |
//! | `BENCH_LOG` | | `off`: the service writes no line for each request |
//! | `BENCH_PARTS` | all | some of `hello,checks,offered,mix,passwords,pipelined,sends,held` |
//! | `BENCH_CQL`, `BENCH_VALKEY` | | the folder of a CQL server of `scripts/cql.sh` and the URL of a Valkey cluster: pods over them are measured instead of one process; the parts are `pods,held,window,flush` |
//! | `BENCH_POD_RATE` | 150 | messages, and as many checks, offered to each pod a second |
//! | `BENCH_FOLDER` | the system's | where the temporary folders are made: on the disk that is to be measured |
//!
//! To see where the time goes, note the process id that is printed and, during one long part
//! (`BENCH_PARTS=mix BENCH_SECONDS=60`), run
//!
//! ```sh
//! perf record -F 499 --call-graph dwarf,16384 -p <pid> -- sleep 10 && perf report --no-children
//! ```

mod client;
mod clock;
mod cluster;
mod connection;
mod cpu;
mod flood;
mod flush;
mod held;
mod hello;
mod keys;
mod load;
mod options;
mod process;
mod random;
mod report;
mod shard;
mod window;
mod world;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::client::Client;
use crate::clock::{float, nanos};
use crate::keys::Person;
use crate::load::Plan;
use crate::options::Options;
use crate::process::Server;
use crate::random::Random;
use crate::report::{Table, print, progress};
use crate::shard::{Kind, Pace, Work, phase};
use crate::world::{Size, SuperAdministrators, World, set_up};

/// As in the service.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Bytes of a message's content.
const CONTENT: usize = 1024;
/// Requests on their way at once on a connection, where requests are pipelined.
const PIPELINED: usize = 8;
/// The inconsistent window where very many messages are held.
const SHORT_WINDOW: Duration = Duration::from_secs(5);

fn main() -> Result<()> {
    if std::env::args().any(|argument| argument == hello::ARGUMENT) {
        return hello::serve();
    }
    // Among all targets, `cargo test` would run it too.
    if !std::env::args().any(|argument| argument == "--bench") {
        return print("This is a benchmark: run it with `make bench` or `cargo bench -p countersign-service`.");
    }
    let options = Options::read()?;
    if let Some(stores) = options.stores.clone() {
        return cluster::run(options, stores);
    }
    let mut random = Random::new(1);
    let size =
        if options.quick { Size { organizations: 4, users: 50 } } else { Size { organizations: 50, users: 200 } };
    let (people, supers) = people(size.users)?;
    let bench = Bench { options, people, supers };

    print(&bench.introduction(size)?)?;
    let mut table = Table::new();
    if bench.options.runs("hello") {
        bench.hello(&mut table)?;
    }
    let mut texts = Vec::new();
    if ["checks", "offered", "passwords", "mix", "pipelined", "sends"].iter().any(|part| bench.options.runs(part)) {
        texts = bench.service(size, &mut table, &mut random)?;
    }
    print(&table.text())?;
    for text in texts {
        print(&text)?;
    }
    if bench.options.runs("held") {
        print(&format!("\n## Many held messages\n\n{}", bench.held(&mut random)?))?;
    }
    Ok(())
}

/// Makes people for the users of an organization, and both super-administrators.
fn people(users: usize) -> Result<(Vec<Arc<Person>>, SuperAdministrators)> {
    let mut people = keys::people(users + 2)?;
    let supers = people.split_off(users).try_into().ok().context("there are two super-administrators")?;
    Ok((people, SuperAdministrators(supers)))
}

struct Bench {
    options: Options,
    people: Vec<Arc<Person>>,
    supers: SuperAdministrators,
}

/// A service that is set up.
struct Ready {
    server: Server,
    world: World,
    clients: Vec<Client>,
    /// Removed when dropped.
    _folder: tempfile::TempDir,
}

impl Bench {
    fn introduction(&self, size: Size) -> Result<String> {
        let options = &self.options;
        let cores = std::thread::available_parallelism()?;
        Ok(format!(
            "# Benchmark\n\n{cores} cores, shared by the service and the generator. {} users, {} clients each, in {} \
             organizations. Contents of {CONTENT} bytes, one recipient each. {} connections of HTTP/1.1, kept alive, \
             each with one request at a time and many clients' requests in turn; {} thread(s) of the generator. A \
             client that is listed ten messages or more confirms them. Latencies at a fixed rate count from the \
             intended start. Log: {}. Other than by default: no rate limits, and a queue of 2048 for public-key work.\n",
            size.organizations * size.users,
            world::CLIENTS,
            size.organizations,
            options.connections,
            options.threads,
            if options.request_lines { "a line for each request, to a file" } else { "no lines for requests" },
        ))
    }

    /// A plan for the bare server, or for a service when it is given users.
    fn plan(&self, server: &Server, work: Work) -> Plan {
        Plan::new(&self.options, std::slice::from_ref(server), work)
    }

    fn hello(&self, table: &mut Table) -> Result<()> {
        let server = Server::hello()?;
        let plan = Plan { measured: self.options.measured / 4, ..self.plan(&server, Work::Hello) };
        table.add("bare hyper, \"hello\"", &plan.run(&mut Vec::new())?)?;
        let pipelined = Plan { depth: PIPELINED, ..plan };
        table.add(&format!("the same, {PIPELINED} pipelined"), &pipelined.run(&mut Vec::new())?)
    }

    /// Everything that is measured on one service with many users.
    fn service(&self, size: Size, table: &mut Table, random: &mut Random) -> Result<Vec<String>> {
        let mut ready = self.start(size, &[], random)?;
        let measured = self.workloads(&mut ready, table, random);
        measured.map_err(|error| error.context(ready.server.state()))
    }

    fn workloads(&self, ready: &mut Ready, table: &mut Table, random: &mut Random) -> Result<Vec<String>> {
        let options = &self.options;
        let Ready { server, world, clients, .. } = ready;
        let content = random.bytes::<CONTENT>().to_vec();
        let plan = |work| Plan { content: content.clone(), world: Some(world.clone()), ..self.plan(server, work) };
        let mut texts = Vec::new();
        // Messages and checks a second.
        let mut most = options.rate * 2.0;
        if options.runs("checks") {
            table.add("checks, nothing new", &plan(Work::Checks).run(clients)?)?;
        }
        if options.runs("offered") {
            let warm_up = options.measured / 2;
            let offered = Pace::Offered(options.rate);
            let plan = Plan { pace: offered, warm_up, measured: options.measured, ..plan(Work::Mix) };
            let measured = plan.run(clients)?;
            table.add(&format!("mix, {0:.0} + {0:.0} a second offered", options.rate), &measured)?;
            texts.push(report::verdict(&measured, options.rate)?);
        }
        if options.runs("mix") {
            let plan = Plan { measured: options.measured, ..plan(Work::Mix) };
            let measured = plan.run(clients)?;
            table.add("mix, as much as it takes", &measured)?;
            let operations = measured.outcome.tally(phase::FIRST, &[Kind::Send, Kind::Check])?;
            most = float(operations.latency.len()) / measured.time.as_secs_f64();
        }
        if options.runs("passwords") {
            // Half of what the service takes, so that what is seen is the password requests and no queue of messages.
            let rate = (options.rate / 2.0).min(most / 4.0).max(1.0);
            let count = if options.quick { 100 } else { 1_000 };
            let plan = Plan { pace: Pace::Offered(rate), ..plan(Work::Mix) };
            let flood = flood::run(&plan, clients, count, random)?;
            let heading =
                format!("\n## {count} password requests at once, beside {rate:.0} + {rate:.0} a second\n\n");
            texts.push(heading + &flood.text()?);
        }
        if options.runs("pipelined") {
            // Of each client one request at a time is on its way, so there are many more clients than that.
            let connections = options.connections.min(clients.len() / (4 * PIPELINED)).max(1);
            let plan = Plan { depth: PIPELINED, connections, ..plan(Work::Mix) };
            table.add(&format!("the same, {PIPELINED} pipelined"), &plan.run(clients)?)?;
        }
        if options.runs("sends") {
            table.add("messages, as many as it takes", &plan(Work::Sends).run(clients)?)?;
        }
        Ok(texts)
    }

    fn held(&self, random: &mut Random) -> Result<String> {
        let users = self.people.len().min(100);
        let mut ready = self.start(Size { organizations: 1, users }, &held::settings(SHORT_WINDOW), random)?;
        let connections = self.options.connections.min(users);
        let plan = Plan {
            content: random.bytes::<64>().to_vec(),
            connections,
            warm_up: Duration::ZERO,
            world: Some(ready.world.clone()),
            ..self.plan(&ready.server, Work::Sends)
        };
        let held = if self.options.quick { [1_000, 20_000] } else { [1_000, 300_000] };
        let text = held::run(&plan, &mut ready.clients, held, SHORT_WINDOW);
        let text = text.map_err(|error| error.context(ready.server.state()))?;
        Ok(format!(
            "Both clients of both users have fetched all but the last ten; `limit=100`; one request at a time. Other \
             than by default: an inconsistent window of {} s and message ids at most 2 s off.\n\n{text}",
            SHORT_WINDOW.as_secs()
        ))
    }

    fn start(&self, size: Size, settings: &[(&str, String)], random: &mut Random) -> Result<Ready> {
        let folder = tempfile::Builder::new().prefix("countersign-bench-").tempdir_in(&self.options.folder)?;
        let supers = folder.path().join("super-administrators.asc");
        self.supers.write(&supers)?;
        let mut all = vec![("SUPER_ADMINISTRATORS", supers.display().to_string())];
        all.extend(process::unlimited());
        if !self.options.request_lines {
            all.push(("LOG", "info,countersign::request=off".to_owned()));
        }
        all.extend(settings.iter().cloned());
        let server = Server::service(folder.path(), &all)?;

        let began = nanos();
        progress(&format!(
            "setting up {} users; the service is process {}",
            size.organizations * size.users,
            server.pid()
        ));
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let (world, mut clients) =
            runtime.block_on(set_up(server.address, &self.supers, &self.people, size, random))?;
        for client in clients.iter_mut().take(1) {
            client.check_signing()?;
        }
        progress(&format!("set up in {:.1} s", Duration::from_nanos(nanos() - began).as_secs_f64()));
        Ok(Ready { server, world, clients, _folder: folder })
    }
}
