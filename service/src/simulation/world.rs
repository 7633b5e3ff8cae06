//! A world in which a history happens: its pods, clients and stores, and what is looked at after each operation.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use countersign_protocol::id::ClientAddress;
use countersign_protocol::limits::Limits;
use countersign_protocol::log::LogEntry;
use countersign_protocol::message_id::MessageId;
use countersign_protocol::organization::Organization;
use countersign_protocol::statement::{Change, Statement};
use futures_util::FutureExt as _;
use tokio::runtime::Runtime;

use super::device::{Client, Network};
use super::environment::{BEGINNING, Environment};
use super::history::{Act, History, Op, Setting};
use super::ledger::{Invariant, Ledger, Violation};
use super::people::{ORGANIZATION, PEOPLE, USERS, user};
use super::pod::{Backstage, CLIENTS_PER_USER, MERGE_INTERVAL, Pod, RECONCILE_INTERVAL, found};
use super::registry::SimulatedRegistry;
use super::replicas::Replicas;
use super::steps::{Owner, Tasks};
use super::valkey::SimulatedValkey;
use crate::store::Registry as _;

/// How long a request may take: the service ends it then.
const REQUEST_MAX: Duration = Duration::from_secs(30);
/// How long an acknowledged row may be under way, where the inconsistent window is meant to cover it.
const PROPAGATION_MAX: Duration = Duration::from_secs(120);
/// The same where it does not, and only reconciliation helps.
const SLOW_PROPAGATION_MAX: Duration = Duration::from_secs(3 * 3_600);
/// Steps that a task is let go on at once, at most.
const RUN: usize = 200;
/// Steps that what a pod does in the background is let go on at once.
const BACKGROUND_STEPS: usize = 3;
/// Rounds in which a client gets everything in the end.
const ROUNDS: usize = 300;

/// A world.
pub(crate) struct World {
    setting: Setting,
    backstage: Arc<Backstage>,
    network: Arc<Network>,
    clients: Vec<Client>,
    tasks: Tasks,
    /// Each pod's own, so that what it does in the background dies with it.
    runtimes: Vec<Runtime>,
    incarnations: u64,
    /// The most clients that each user was ever allowed.
    allowed: [u32; USERS],
}

/// Makes a history happen. Returns what did not hold, if anything.
pub(crate) fn happens(history: &History) -> Option<Violation> {
    let mut world = World::new(history.setting);
    for (choice, op) in &history.ops {
        world.backstage.environment.reseed(u64::from(*choice));
        world.apply(*op);
        world.look();
        if let Some(violation) = world.violation() {
            return Some(violation);
        }
    }
    world.end_well();
    world.violation()
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

impl World {
    fn new(setting: Setting) -> Self {
        let environment = Environment::new();
        let propagation_max = if setting.slow { SLOW_PROPAGATION_MAX } else { PROPAGATION_MAX };
        let backstage = Arc::new(Backstage {
            registry: SimulatedRegistry::new(&environment),
            mailbox: Replicas::new(&environment, setting.consistency, propagation_max),
            valkey: SimulatedValkey::new(&environment),
            ledger: Mutex::new(Ledger::new(setting.consistency)),
            environment,
        });
        found(&backstage).now_or_never().expect("the memory store does not wait");
        let places = usize::from(setting.pods);
        let tasks = Tasks::default();
        let network = Arc::new(Network {
            pods: Mutex::new((0..places).map(|place| Pod::start(&backstage, place, 0)).collect()),
            backstage: Arc::clone(&backstage),
            spawner: tasks.spawner.clone(),
            recorded: Mutex::default(),
        });
        let clients = (0..USERS * usize::from(setting.devices))
            .map(|number| Client::new(number, &network, usize::from(setting.page)))
            .collect();
        let runtimes = (0..places).map(|_| runtime()).collect();
        Self {
            setting,
            backstage,
            network,
            clients,
            tasks,
            runtimes,
            incarnations: 0,
            allowed: [CLIENTS_PER_USER; USERS],
        }
    }

    fn violation(&self) -> Option<Violation> {
        self.backstage.ledger().violation()
    }

    fn apply(&mut self, op: Op) {
        let clients = self.clients.len();
        let client = |number: u8| usize::from(number) % clients;
        let mailbox = Arc::clone(&self.backstage.mailbox);
        match op {
            Op::Act(number, act) => self.begin(client(number), act),
            Op::Step(pick) => drop(self.step(usize::from(pick))),
            Op::Run(pick) => {
                for _ in 0..RUN {
                    if !self.step(usize::from(pick)) {
                        break;
                    }
                }
                // What an answer leaves to do is most often done soon.
                if pick % 4 != 0 {
                    self.background(usize::from(pick / 4));
                }
            }
            Op::Background(pod) => self.background(usize::from(pod)),
            Op::Deliver(pick) => {
                mailbox.deliver(usize::from(pick));
                if pick % 4 == 0 {
                    self.backstage.registry.do_late_work(usize::from(pick));
                }
            }
            Op::DeliverAll => mailbox.deliver_all(false),
            Op::Lose(pick) => mailbox.lose(usize::from(pick)),
            Op::Wait(millis) => self.wait(Duration::from_millis(u64::from(millis))),
            Op::Fail(part, fate) => self.backstage.environment.fail(part, fate),
            Op::Stop(replica) => mailbox.stop(replica),
            Op::Start(replica) => mailbox.start(replica),
            Op::Cut(pick) => self.tasks.cut(usize::from(pick)),
            Op::KillPod(place) => self.kill_pod(usize::from(place)),
            Op::KillClient(number) => {
                self.tasks.drop_of(Owner::Client(client(number)));
                self.clients[client(number)].die();
            }
            Op::GiveUp(number) => self.tasks.drop_of(Owner::Client(client(number))),
            Op::Skew(place, seconds) => {
                let pods = self.network.pods.lock().unwrap();
                pods[usize::from(place) % pods.len()].clock.skew(i64::from(seconds));
            }
            Op::Flush => {
                self.backstage.valkey.flush();
                self.backstage.ledger().memory_lost();
            }
            Op::Replicate => self.backstage.valkey.replicate(),
            Op::FailOver => {
                self.backstage.valkey.fail_over();
                self.backstage.ledger().memory_lost();
            }
            Op::Replay(pick) => {
                let recorded = self.network.recorded.lock().unwrap();
                if !recorded.is_empty() {
                    let request = recorded[usize::from(pick) % recorded.len()].clone();
                    drop(recorded);
                    self.on_a_pod(|pod| async move { drop(pod.serve(request).await) });
                }
            }
            Op::Forge(number) => {
                let request = self.clients[client(number)].forged();
                self.on_a_pod(|pod| async move { drop(pod.serve(request).await) });
            }
            Op::Change(of, limit) => self.change(usize::from(of) % USERS, u32::from(limit)),
        }
    }

    fn on_a_pod<F: Future<Output = ()> + Send + 'static>(&self, work: impl FnOnce(Arc<Pod>) -> F) {
        let pods = self.network.pods.lock().unwrap();
        let place = self.backstage.environment.below(pods.len());
        let now = self.backstage.environment.now();
        self.network.spawner.spawn(Owner::Pod(place), now, work(Arc::clone(&pods[place])));
    }

    fn begin(&mut self, number: usize, act: Act) {
        if self.tasks.is_busy(Owner::Client(number)) {
            return;
        }
        let (client, others) = (self.clients[number].clone(), self.clients.clone());
        let act = if client.has_session() || matches!(act, Act::Send(_)) { act } else { Act::Password };
        let now = self.backstage.environment.now();
        self.network.spawner.spawn(Owner::Client(number), now, async move { drop(client.act(act, &others).await) });
    }

    /// Lets a task go on to its next await. Tells whether it is not done.
    fn step(&mut self, pick: usize) -> bool {
        let place = match self.tasks.owner(pick) {
            Some(Owner::Pod(place)) => place,
            // Clients need none.
            _ => 0,
        };
        let _in_runtime = self.runtimes[place].enter();
        self.tasks.step(pick)
    }

    /// Lets what a pod does in the background go on.
    fn background(&self, place: usize) {
        let place = place % self.runtimes.len();
        for _ in 0..BACKGROUND_STEPS {
            let busy = self.network.pods.lock().unwrap()[place].is_busy_in_background();
            if !busy {
                return;
            }
            self.runtimes[place].block_on(tokio::task::yield_now());
        }
    }

    fn is_idle(&mut self) -> bool {
        self.tasks.len() == 0 && !self.network.pods.lock().unwrap().iter().any(|pod| pod.is_busy_in_background())
    }

    fn kill_pod(&mut self, place: usize) {
        let place = place % self.runtimes.len();
        self.tasks.drop_of(Owner::Pod(place));
        self.runtimes[place] = runtime();
        self.incarnations += 1;
        self.network.pods.lock().unwrap()[place] = Pod::start(&self.backstage, place, self.incarnations);
    }

    fn wait(&mut self, time: Duration) {
        self.backstage.environment.wait(time);
        let now = self.backstage.environment.now();
        self.tasks.drop_older_than(now.minus(REQUEST_MAX));
        self.backstage.mailbox.keep_bound();
        let expired = now.to_millis().minus(Limits::default().retention);
        if expired > BEGINNING.to_millis().minus(Duration::from_secs(3_600)) {
            self.backstage.mailbox.expire(expired);
        }
    }

    /// Both administrators sign a change after the log as it stands, and submit it.
    fn change(&mut self, of: usize, limit: u32) {
        let log = self.entries();
        let previous = Statement::parse(&log.last().unwrap().1.statement).unwrap();
        let change = Change::UpdateUser {
            user: user(of),
            certificate: None,
            administrator: None,
            active: None,
            client_limit: Some(limit),
        };
        let entry = PEOPLE.change(&previous, self.backstage.environment.now(), change);
        self.allowed[of] = self.allowed[of].max(limit);
        self.on_a_pod(|pod| async move { pod.submit(entry).await });
    }

    fn entries(&self) -> Vec<(u64, LogEntry)> {
        let log = self.backstage.registry.memory.log(ORGANIZATION, 0, usize::MAX).now_or_never();
        log.expect("the memory store does not wait").unwrap()
    }

    /// Messages that a client must get, or have got.
    fn owed(&self, client: &ClientAddress) -> Vec<MessageId> {
        let ledger = self.backstage.ledger();
        // What is about to expire is owed to nobody.
        let oldest = self.backstage.environment.now().to_millis().minus(Limits::default().retention);
        let oldest = oldest.plus(Duration::from_secs(3_600));
        let to_client = |id: &&MessageId| ledger.composed[id].recipients.contains(&client.user) && id.time() > oldest;
        ledger.accepted.iter().filter(to_client).copied().collect()
    }

    /// What must hold after every operation.
    fn look(&self) {
        for (number, allowed) in self.allowed.iter().enumerate() {
            let places = self.backstage.registry.memory.clients(ORGANIZATION, user(number)).now_or_never();
            let places = places.expect("the memory store does not wait").unwrap();
            if places.len() > usize::try_from(*allowed).unwrap() {
                let what = format!("user {number} has {} clients and was allowed {allowed}", places.len());
                self.backstage.ledger().violated(Invariant::ClientLimit, what);
            }
        }
        // Where rows may take longer than the window, last known good may pass one. Reconciliation is for that.
        if self.setting.slow {
            return;
        }
        for client in &self.clients {
            let address = client.address();
            let Some(good) = self.backstage.valkey.hints(&address).last_known_good else { continue };
            for id in self.owed(&address) {
                if id.time() <= good && !self.backstage.ledger().has_asked_to_confirm(&address, &id) {
                    let what = format!("{id} is not confirmed by {address} and last known good is {}", good.0);
                    self.backstage.ledger().violated(Invariant::KnownGood, what);
                    return;
                }
            }
        }
    }

    /// Everything becomes well again; then every client gets what it is owed.
    fn end_well(&mut self) {
        self.backstage.environment.reseed(0);
        self.backstage.environment.forget_fates();
        self.backstage.mailbox.start_all();
        for pod in self.network.pods.lock().unwrap().iter() {
            pod.clock.skew(0);
        }
        self.finish_all();
        self.backstage.mailbox.deliver_all(true);
        // Longer than a full merge may be put off, and than any clock was wrong.
        self.wait(MERGE_INTERVAL + Duration::from_secs(60));
        if self.setting.slow {
            self.wait(RECONCILE_INTERVAL.mul_f64(1.25));
        }
        // Until nothing moves any more, since receipts are messages too.
        let mut before = None;
        while before != Some(self.progress_of_all()) {
            before = Some(self.progress_of_all());
            for number in 0..self.clients.len() {
                self.settle(number);
            }
            self.wait(MERGE_INTERVAL + Duration::from_secs(1));
            if self.setting.slow {
                self.wait(RECONCILE_INTERVAL.mul_f64(1.25));
            }
        }
        self.nothing_is_lost();
        self.there_is_one_log();
    }

    fn run_until_idle(&mut self) {
        for _ in 0..RUN {
            if self.is_idle() {
                break;
            }
            for pick in 0..self.tasks.len() {
                self.step(pick);
            }
            for place in 0..self.runtimes.len() {
                self.background(place);
            }
        }
    }

    fn finish_all(&mut self) {
        self.run_until_idle();
        for number in 0..self.clients.len() {
            self.tasks.drop_of(Owner::Client(number));
        }
        for place in 0..self.runtimes.len() {
            self.tasks.drop_of(Owner::Pod(place));
        }
    }

    /// Lets a client do something to its end, with nothing going wrong.
    fn does(&mut self, number: usize, act: Act) {
        self.begin(number, act);
        self.run_until_idle();
        self.backstage.mailbox.deliver_all(true);
    }

    fn settle(&mut self, number: usize) {
        for round in 0..ROUNDS {
            // Its user has as many clients as allowed.
            if round > 1 && !self.clients[number].device().registered {
                return;
            }
            let before = self.progress(number);
            self.does(number, Act::Flush);
            self.does(number, Act::Sync);
            self.wait(Duration::from_secs(1));
            let client = &self.clients[number];
            if client.has_session() && !client.has_written() && self.progress(number) == before {
                return;
            }
        }
    }

    fn progress(&self, number: usize) -> (usize, usize) {
        let client = &self.clients[number];
        let confirmed = self.backstage.ledger().asked_to_confirm(&client.address()).len();
        (client.device().held.len(), confirmed)
    }

    fn progress_of_all(&self) -> (usize, Vec<(usize, usize)>) {
        let accepted = self.backstage.ledger().accepted.len();
        (accepted, (0..self.clients.len()).map(|number| self.progress(number)).collect())
    }

    fn nothing_is_lost(&self) {
        for client in &self.clients {
            let (address, registered, removed) = {
                let device = client.device();
                (device.address, device.registered, device.removed)
            };
            if !registered || removed {
                continue;
            }
            for id in self.owed(&address) {
                if !client.device().held.contains_key(&id) {
                    let seen = self.backstage.mailbox.any_has_item(address.user, id);
                    let what =
                        format!("{id} was answered as stored; {address} does not get it (a row of it: {seen})");
                    self.backstage.ledger().violated(Invariant::NothingLost, what);
                }
            }
            if client.has_written() && client.has_session() {
                let what = format!("{address} cannot send what it has written");
                self.backstage.ledger().violated(Invariant::Recovery, what);
            }
        }
    }

    fn there_is_one_log(&self) {
        let entries = self.entries();
        let mut verifier = Organization::new(ORGANIZATION, PEOPLE.super_administrators.clone());
        let mut heads = Vec::new();
        let now = self.backstage.environment.now();
        for (sequence, entry) in &entries {
            match verifier.extend(entry, now) {
                Ok(verdict) => heads.push(verdict.head),
                Err(error) => {
                    let what = format!("another verifier refuses entry {sequence}: {error}");
                    self.backstage.ledger().violated(Invariant::OneLog, what);
                }
            }
        }
        let standing = self.backstage.ledger().standing.clone();
        for head in standing {
            if !heads.contains(&head) {
                let what =
                    format!("a statement was answered as entry {}, and another one stands there", head.sequence);
                self.backstage.ledger().violated(Invariant::OneLog, what);
            }
        }
    }
}
