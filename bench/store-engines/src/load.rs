//! The workload: its population, the group-commit writer, and each measured stage.
//! A stage runs in a process of its own and prints `name=value` lines.

use crate::engine::*;
use crate::engines;
use crate::measure::*;
use anyhow::{Context, Result, ensure};
use rand::{Rng, RngCore, SeedableRng, rngs::SmallRng};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

const USERS: usize = 10_000;
const ORGANIZATIONS: usize = 100;
/// The logical start of time, in ms; rounds of a stage follow each other without gaps.
const EPOCH: u64 = 1_790_000_000_000;
/// How far back a check looks.
const LOOK_BACK: u64 = 30_000;
const BATCH_LIMIT: usize = 4096;

/// The n-th of some kind of identifier.
fn name(kind: u64, n: usize) -> Id {
    let mut id = [0; 16];
    SmallRng::seed_from_u64(kind << 32 | n as u64).fill_bytes(&mut id);
    id
}

#[derive(Clone, Copy)]
struct User {
    organization: Id,
    id: Id,
    clients: [Id; 2],
}

impl User {
    fn nth(n: usize) -> Self {
        Self {
            organization: name(1, n % ORGANIZATIONS),
            id: name(2, n),
            clients: [name(3, 2 * n), name(3, 2 * n + 1)],
        }
    }

    fn all() -> Arc<[User]> {
        (0..USERS).map(Self::nth).collect()
    }

    fn send(&self, rng: &mut SmallRng, id: Id) -> Op {
        let mut content_key = [0; CONTENT_KEY];
        content_key[..16].copy_from_slice(&self.organization);
        content_key[16..].copy_from_slice(&id);
        let mut mailbox_key = [0; MAILBOX_KEY];
        mailbox_key[..16].copy_from_slice(&self.organization);
        mailbox_key[16..32].copy_from_slice(&self.id);
        mailbox_key[32..].copy_from_slice(&id);
        let mut content = vec![0; CONTENT_VALUE].into_boxed_slice();
        rng.fill_bytes(&mut content);
        content[..CONTENT_KEY].copy_from_slice(&content_key); // lets a verifier recognise it
        Op::Send { content_key, content, mailbox_key, mailbox: [7; MAILBOX_VALUE] }
    }

    fn fetched(&self, client: usize, id: Id) -> [u8; FETCHED_KEY] {
        let mut key = [0; FETCHED_KEY];
        for (part, bytes) in
            key.chunks_exact_mut(16).zip([self.organization, self.id, self.clients[client], id])
        {
            part.copy_from_slice(&bytes);
        }
        key
    }

    fn check(&self, client: usize, after: u64) -> Check {
        Check { organization: self.organization, user: self.id, client: self.clients[client], after }
    }
}

/// A fresh message id of a time.
fn message_id(rng: &mut SmallRng, ms: u64) -> Id {
    let mut id = [0; 16];
    rng.fill_bytes(&mut id);
    id[..6].copy_from_slice(&ms.to_be_bytes()[2..]);
    id
}

/// Called with each batch once it is durable, before its senders hear of it.
type OnDurable = Box<dyn FnMut(&[Op]) + Send>;

/// Group commit: one thread takes all that is queued, commits it at once and answers everyone.
#[derive(Clone)]
struct Writer(mpsc::Sender<(Op, oneshot::Sender<()>)>);

impl Writer {
    fn start(engine: Arc<dyn Engine>, day: Day, mut on_durable: OnDurable) -> Self {
        let (sender, mut receiver) = mpsc::channel::<(Op, oneshot::Sender<()>)>(BATCH_LIMIT);
        let work = move || {
            let mut queued = Vec::with_capacity(BATCH_LIMIT);
            while receiver.blocking_recv_many(&mut queued, BATCH_LIMIT) > 0 {
                let (ops, answers): (Vec<_>, Vec<_>) = queued.drain(..).unzip();
                engine.commit(day, &ops).expect("commit");
                on_durable(&ops);
                for answer in answers {
                    let _ = answer.send(());
                }
            }
        };
        std::thread::Builder::new().name("writer".into()).spawn(work).expect("a thread");
        Self(sender)
    }

    async fn commit(&self, op: Op) {
        let (answer, answered) = oneshot::channel();
        self.0.send((op, answer)).await.expect("the writer runs");
        answered.await.expect("the writer answers");
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().expect("tokio")
}

fn print(name: &str, value: f64) {
    println!("{name}={value}");
}

/// CPU and device writes since the start of a stage.
struct Spent {
    cpu: Duration,
    written: u64,
}

impl Spent {
    fn start() -> Self {
        Self { cpu: cpu(), written: write_bytes() }
    }

    fn cpu_us(&self) -> f64 {
        (cpu() - self.cpu).as_secs_f64() * 1e6
    }

    fn bytes(&self) -> f64 {
        (write_bytes() - self.written) as f64
    }
}

/// 1. As many sends as the engine takes from `senders` waiting senders.
pub fn saturate(engine: &str, dir: &Path, seconds: f64, senders: usize, round: u64) -> Result<()> {
    let store = engines::open(engine, dir)?;
    let spent = Spent::start();
    let sent = run_senders(store.clone(), seconds, senders, round, Box::new(|_| {}));
    let (cpu_in_load, elapsed) = (spent.cpu_us(), seconds);
    settle(Duration::from_secs(20));
    drop(store);
    settle(Duration::from_secs(5));
    print("sends", sent as f64);
    print("per_second", sent as f64 / elapsed);
    print("cpu_us", spent.cpu_us() / sent as f64);
    print("cpu_us_in_load", cpu_in_load / sent as f64);
    print("bytes", spent.bytes() / sent as f64);
    print("disk_mib", disk(dir));
    Ok(())
}

fn run_senders(
    store: Arc<dyn Engine>,
    seconds: f64,
    senders: usize,
    round: u64,
    on_durable: OnDurable,
) -> u64 {
    let users = User::all();
    let writer = Writer::start(store, 0, on_durable);
    let sent = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let first_ms = EPOCH + (round as f64 * seconds * 1000.0) as u64;
    runtime().block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..senders {
            let (users, writer, sent) = (users.clone(), writer.clone(), sent.clone());
            let mut rng = SmallRng::seed_from_u64(round << 32 | n as u64);
            tasks.spawn(async move {
                while start.elapsed().as_secs_f64() < seconds {
                    let id = message_id(&mut rng, first_ms + start.elapsed().as_millis() as u64);
                    let op = users[rng.random_range(0..USERS)].send(&mut rng, id);
                    writer.commit(op).await;
                    sent.fetch_add(1, Relaxed);
                }
            });
        }
        tasks.join_all().await;
    });
    sent.load(Relaxed)
}

/// Offered load of stage 2, per second.
pub struct Rates {
    pub sends: f64,
    pub checks: f64,
    pub confirms: f64,
}

#[derive(Default)]
struct Samples {
    sends: Mutex<Vec<f64>>,
    confirms: Mutex<Vec<f64>>,
    /// Latency from the due time, and time inside the engine.
    checks: Mutex<Vec<(f64, f64)>>,
    rows: AtomicU64,
    in_flight: AtomicUsize,
}

/// 2. An open loop at fixed rates: operations start when they are due, however late others are.
pub fn offered(engine: &str, dir: &Path, seconds: f64, rates: &Rates, round: u64) -> Result<()> {
    let store = engines::open(engine, dir)?;
    let users = User::all();
    if round == 0 {
        preload(&*store, &users)?;
    }
    settle(Duration::from_secs(20));
    let samples = Arc::new(Samples::default());
    let stop = Arc::new(AtomicBool::new(false));
    let sampler = {
        let stop = stop.clone();
        std::thread::spawn(move || {
            let (mut own, mut mapped) = (0f64, 0f64);
            while !stop.load(Relaxed) {
                let (a, b) = resident();
                (own, mapped) = (own.max(a), mapped.max(b));
                std::thread::sleep(Duration::from_millis(250));
            }
            (own, mapped)
        })
    };
    let writer = Writer::start(store.clone(), 0, Box::new(|_| {}));
    let runtime = runtime();
    let spent = Spent::start();
    let start = Instant::now();
    let first_ms = EPOCH + LOOK_BACK + (round as f64 * seconds * 1000.0) as u64;
    let mut rng = SmallRng::seed_from_u64(77 + round);
    let mut issued = [0u64; 3];
    let mut shed = 0u64;
    // The pacer: this thread wakes every half millisecond and starts what is due.
    while start.elapsed().as_secs_f64() < seconds {
        let now = start.elapsed();
        let due = Instant::now();
        let ms = first_ms + now.as_millis() as u64;
        for (kind, rate) in [rates.sends, rates.checks, rates.confirms].into_iter().enumerate() {
            while (issued[kind] as f64) < now.as_secs_f64() * rate {
                issued[kind] += 1;
                if samples.in_flight.load(Relaxed) > 20_000 {
                    shed += 1;
                    continue;
                }
                samples.in_flight.fetch_add(1, Relaxed);
                let user = users[rng.random_range(0..USERS)];
                let client = rng.random_range(0..2);
                let mut rng = SmallRng::seed_from_u64(rng.next_u64());
                let samples = samples.clone();
                if kind == 1 {
                    let store = store.clone();
                    runtime.spawn(async move {
                        let begun = Instant::now();
                        let mut rows = Rows::default();
                        store.check(0, &user.check(client, ms - LOOK_BACK), &mut rows).expect("check");
                        std::hint::black_box(rows.unfetched());
                        let taken = (due.elapsed().as_secs_f64(), begun.elapsed().as_secs_f64());
                        samples.rows.fetch_add((rows.mailbox.len() + rows.fetched.len()) as u64, Relaxed);
                        samples.checks.lock().expect("samples").push(taken);
                        samples.in_flight.fetch_sub(1, Relaxed);
                    });
                    continue;
                }
                let writer = writer.clone();
                runtime.spawn(async move {
                    let op = if kind == 0 {
                        let id = message_id(&mut rng, ms);
                        user.send(&mut rng, id)
                    } else {
                        let ids = (0..10).map(|_| message_id(&mut rng, ms));
                        Op::Confirm { fetched: ids.map(|id| user.fetched(client, id)).collect() }
                    };
                    writer.commit(op).await;
                    let list = if kind == 0 { &samples.sends } else { &samples.confirms };
                    list.lock().expect("samples").push(due.elapsed().as_secs_f64());
                    samples.in_flight.fetch_sub(1, Relaxed);
                });
            }
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    let done_in_time = samples.sends.lock().expect("samples").len()
        + samples.checks.lock().expect("samples").len()
        + samples.confirms.lock().expect("samples").len();
    while samples.in_flight.load(Relaxed) > 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    stop.store(true, Relaxed);
    let (own, mapped) = sampler.join().expect("sampler");
    settle(Duration::from_secs(20));
    let mut sends = std::mem::take(&mut *samples.sends.lock().expect("samples"));
    let checks = std::mem::take(&mut *samples.checks.lock().expect("samples"));
    let operations = sends.len() + checks.len() + samples.confirms.lock().expect("samples").len();
    let (mut waits, mut runs): (Vec<_>, Vec<_>) = checks.into_iter().unzip();
    print("achieved", done_in_time as f64 / issued.iter().sum::<u64>() as f64 * 100.0);
    print("shed", shed as f64);
    print("cpu_us", spent.cpu_us() / operations as f64);
    print("bytes_per_send", spent.bytes() / sends.len() as f64);
    print("rows", samples.rows.load(Relaxed) as f64 / waits.len() as f64);
    for (share, name) in [(0.5, "p50"), (0.99, "p99"), (0.999, "p999")] {
        print(&format!("send_{name}_ms"), percentile(&mut sends, share) * 1e3);
        print(&format!("check_{name}_ms"), percentile(&mut waits, share) * 1e3);
        print(&format!("check_run_{name}_us"), percentile(&mut runs, share) * 1e6);
    }
    print("send_max_ms", percentile(&mut sends, 1.0) * 1e3);
    print("check_max_ms", percentile(&mut runs, 1.0) * 1e3);
    print("rss_own_mib", own);
    print("rss_mapped_mib", mapped);
    Ok(())
}

/// 30 mailbox rows (with contents) a user and 30 fetched rows a client, over the last 30 s.
fn preload(store: &dyn Engine, users: &[User]) -> Result<()> {
    let mut rng = SmallRng::seed_from_u64(5);
    for second in 0..LOOK_BACK / 1000 {
        for some in users.chunks(500) {
            let mut ops = Vec::new();
            for user in some {
                let mut id = || {
                    let ms = EPOCH + second * 1000 + rng.random_range(0..1000);
                    message_id(&mut rng, ms)
                };
                let (own, first, other) = (id(), id(), id());
                ops.push(user.send(&mut rng, own));
                ops.push(Op::Confirm { fetched: vec![user.fetched(0, first), user.fetched(1, other)] });
            }
            store.commit(0, &ops)?;
        }
    }
    Ok(())
}

/// The small and the large mailbox of stage 3: users 1 and 2 of the population.
const SMALL: (usize, u64) = (1, 1_000);

/// Fills a store for the stages `cost` and `crash`: a user with few rows, one with
/// `large` rows, and as many contents of others that the whole is `sends` sends.
pub fn fill(engine: &str, dir: &Path, sends: u64, large: u64) -> Result<()> {
    let store = engines::open(engine, dir)?;
    let users = User::all();
    let mut rng = SmallRng::seed_from_u64(9);
    let start = Instant::now();
    let mut n = 0;
    while n < sends {
        let mut ops = Vec::new();
        for _ in 0..3000.min(sends - n) {
            // One row a millisecond; the two users' rows are spread over the whole time.
            let ms = EPOCH + n;
            let due = |rows: u64| (n + 1) * rows / sends > n * rows / sends;
            for (user, rows) in [SMALL, (2, large)] {
                if due(rows) {
                    let id = message_id(&mut rng, ms);
                    ops.push(users[user].send(&mut rng, id));
                    ops.push(Op::Confirm { fetched: vec![users[user].fetched(0, id)] });
                }
            }
            if !due(large) {
                let id = message_id(&mut rng, ms);
                ops.push(users[rng.random_range(3..USERS)].send(&mut rng, id));
            }
            n += 1;
        }
        store.commit(0, &ops)?;
    }
    print("fill_s", start.elapsed().as_secs_f64());
    settle(Duration::from_secs(30));
    drop(store);
    print("fill_disk_mib", disk(dir));
    Ok(())
}

/// 3. What the last ten rows of a small and of a large mailbox cost; and a content.
pub fn cost(engine: &str, dir: &Path, sends: u64, large: u64) -> Result<()> {
    forget_cached(dir);
    let start = Instant::now();
    let store = engines::open(engine, dir)?;
    let mut rows = Rows::default();
    store.check(0, &User::nth(5).check(0, EPOCH), &mut rows)?;
    print("open_clean_ms", start.elapsed().as_secs_f64() * 1e3);
    let tries = 2000;
    for (label, (user, count)) in [("small", SMALL), ("large", (2, large))] {
        let check = User::nth(user).check(0, EPOCH + sends - sends / count * 10);
        let mut walls = Vec::new();
        let mut used = Duration::ZERO;
        for attempt in 0..tries + 100 {
            let mut rows = Rows::default();
            let (start, before) = (Instant::now(), thread_cpu());
            store.check(0, &check, &mut rows)?;
            std::hint::black_box(rows.unfetched());
            if attempt >= 100 {
                used += thread_cpu() - before;
                walls.push(start.elapsed().as_secs_f64() * 1e6);
            }
            ensure!((8..=12).contains(&rows.mailbox.len()), "{} rows", rows.mailbox.len());
            ensure!((8..=12).contains(&rows.fetched.len()), "{} fetched", rows.fetched.len());
        }
        print(&format!("{label}_wall_us"), percentile(&mut walls, 0.5));
        print(&format!("{label}_cpu_us"), used.as_secs_f64() * 1e6 / tries as f64);
    }
    let mut keys = Vec::new();
    let mut rng = SmallRng::seed_from_u64(3);
    store.scan(0, &mut |key, _| {
        if rng.random_range(0..sends) < 20_000 {
            keys.push(<[u8; CONTENT_KEY]>::try_from(key).expect("a content key"));
        }
    })?;
    for n in (1..keys.len()).rev() {
        keys.swap(n, rng.random_range(0..=n));
    }
    let before = thread_cpu();
    let mut walls = Vec::new();
    for key in &keys {
        let start = Instant::now();
        store.content(0, key)?.context("a content is missing")?;
        walls.push(start.elapsed().as_secs_f64() * 1e6);
    }
    print("read_cpu_us", (thread_cpu() - before).as_secs_f64() * 1e6 / keys.len() as f64);
    print("read_wall_us", percentile(&mut walls, 0.5));
    Ok(())
}

/// 4. Drops the oldest of three days while a writer works on the newest, first without
/// readers, then with one open on the day.
pub fn retention(engine: &str, dir: &Path, sends_a_day: u64) -> Result<()> {
    let store = engines::open(engine, dir)?;
    let users = User::all();
    let mut rng = SmallRng::seed_from_u64(11);
    for day in 0..3 {
        for n in 0..sends_a_day / 500 {
            let ops: Vec<_> = (0..500)
                .map(|_| {
                    let id = message_id(&mut rng, EPOCH + u64::from(day) * 86_400_000 + n);
                    users[rng.random_range(0..USERS)].send(&mut rng, id)
                })
                .collect();
            store.commit(day, &ops)?;
        }
    }
    settle(Duration::from_secs(20));
    let size = disk(dir) / 3.0;
    print("day_mib", size);
    for (label, day, held) in [("free", 0, false), ("held", 1, true)] {
        let mut reader = held.then(|| store.hold_reader(day)).transpose()?;
        if let Some(reader) = &mut reader {
            ensure!(reader()? == 100, "the reader reads");
        }
        let stop = Arc::new(AtomicBool::new(false));
        let longest = Arc::new(AtomicU64::new(0));
        let writing = {
            let (store, stop, longest, users) = (store.clone(), stop.clone(), longest.clone(), users.clone());
            std::thread::spawn(move || -> Result<()> {
                let mut rng = SmallRng::seed_from_u64(13 + u64::from(day));
                while !stop.load(Relaxed) {
                    let id = message_id(&mut rng, EPOCH + 200_000_000);
                    let ops = [users[3].send(&mut rng, id)];
                    let start = Instant::now();
                    store.commit(2, &ops)?;
                    longest.fetch_max(start.elapsed().as_micros() as u64, Relaxed);
                    std::thread::sleep(Duration::from_millis(1));
                }
                Ok(())
            })
        };
        std::thread::sleep(Duration::from_millis(1000));
        print(&format!("{label}_write_before_ms"), longest.swap(0, Relaxed) as f64 / 1e3);
        let before = disk(dir);
        let start = Instant::now();
        store.drop_day(day)?;
        print(&format!("{label}_drop_ms"), start.elapsed().as_secs_f64() * 1e3);
        std::thread::sleep(Duration::from_millis(50));
        print(&format!("{label}_freed_at_once"), (before - disk(dir)) / size * 100.0);
        std::thread::sleep(Duration::from_millis(500));
        print(&format!("{label}_write_during_ms"), longest.swap(0, Relaxed) as f64 / 1e3);
        stop.store(true, Relaxed);
        writing.join().expect("writer")?;
        std::thread::sleep(Duration::from_millis(1500));
        print(&format!("{label}_freed_2s"), (before - disk(dir)) / size * 100.0);
        if let Some(mut reader) = reader {
            print("held_reader_reads", reader().map_or(-1.0, |rows| rows as f64));
            drop(reader);
            std::thread::sleep(Duration::from_millis(500));
            print("held_freed_released", (before - disk(dir)) / size * 100.0);
        }
    }
    // Engines that free space in the background get four more days of writes to do so.
    for n in 0..sends_a_day * 4 / 500 {
        let ops: Vec<_> = (0..500)
            .map(|_| {
                let id = message_id(&mut rng, EPOCH + 300_000_000 + n);
                users[rng.random_range(0..USERS)].send(&mut rng, id)
            })
            .collect();
        store.commit(3, &ops)?;
    }
    settle(Duration::from_secs(20));
    print("days_left", disk(dir) / size); // ideally 5
    drop(store);
    let store = engines::open(engine, dir)?;
    drop(store);
    print("days_left_reopened", disk(dir) / size);
    Ok(())
}

/// 5a. The process that is killed: writes the mailbox key of every durable send to standard output.
pub fn crash_run(engine: &str, dir: &Path, round: u64) -> Result<()> {
    let store = engines::open(engine, dir)?;
    let log: OnDurable = Box::new(|ops| {
        let mut keys = Vec::with_capacity(ops.len() * MAILBOX_KEY);
        for op in ops {
            if let Op::Send { mailbox_key, .. } = op {
                keys.extend_from_slice(mailbox_key);
            }
        }
        std::io::stdout().write_all(&keys).expect("standard output");
        std::io::stdout().flush().expect("standard output");
    });
    run_senders(store, 60.0, 256, 1000 + round, log);
    Ok(())
}

/// 5b. Opens what the killed process left and looks for every acknowledged send.
pub fn crash_verify(engine: &str, dir: &Path, acknowledged: &Path, last: bool) -> Result<()> {
    forget_cached(dir);
    let start = Instant::now();
    let store = engines::open(engine, dir)?;
    let mut rows = Rows::default();
    store.check(0, &User::nth(5).check(0, EPOCH), &mut rows)?;
    print("open_crashed_ms", start.elapsed().as_secs_f64() * 1e3);
    let acknowledged = std::fs::read(acknowledged)?;
    let mut lost = 0;
    for key in acknowledged.chunks_exact(MAILBOX_KEY) {
        let part = |n: usize| -> Id { key[n..n + 16].try_into().expect("16 bytes") };
        let mut content_key = [0; CONTENT_KEY];
        content_key[..16].copy_from_slice(&part(0));
        content_key[16..].copy_from_slice(&part(32));
        let intact = store
            .content(0, &content_key)?
            .is_some_and(|v| v.len() == CONTENT_VALUE && v.starts_with(&content_key));
        let mut time = [0; 8];
        time[2..].copy_from_slice(&key[32..38]);
        let check = Check {
            organization: part(0),
            user: part(16),
            client: [0; 16],
            after: u64::from_be_bytes(time),
        };
        rows.mailbox.clear();
        store.check(0, &check, &mut rows)?;
        let listed = rows.mailbox.iter().any(|(id, _)| *id == part(32));
        lost += u64::from(!intact || !listed);
    }
    print("acknowledged", (acknowledged.len() / MAILBOX_KEY) as f64);
    print("lost", lost as f64);
    if last {
        let (mut seen, mut damaged) = (0u64, 0u64);
        store.scan(0, &mut |key, value| {
            seen += 1;
            damaged += u64::from(value.len() != CONTENT_VALUE || !value.starts_with(key));
        })?;
        print("scanned", seen as f64);
        print("damaged", damaged as f64);
        drop(store);
        print("disk_mib", disk(dir));
    }
    Ok(())
}
