//! The stage: pods, store and Valkey as real processes, and how each fault is done to them and undone.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use countersign_client::clock::Clock;
use countersign_client::connection::{ServerUrl, Trust};
use rustix::process::Signal;
use tokio::sync::Mutex;

use super::cql::Nodes;
use super::plan::{Fault, Place, Shape, Step};
use super::pod::{Launch, PATIENCE, Pod, find_faketime};
use super::proxy::Weather;
use super::timeline::Timeline;
use super::valkey::{Mode, Valkey};
use crate::keys::SuperAdministrators;
use crate::wire::Targets;

/// How long it is tried whether a clock can be shifted.
const CLOCK_TRY: Duration = Duration::from_secs(15);

/// What the pods keep their messages in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Store {
    /// One pod with the embedded store, and nothing else.
    Embedded,
    /// Pods over a CQL server that is there, in this folder of `scripts/cql.sh`, and one Valkey.
    SharedCql(PathBuf),
    /// Pods over so many CQL nodes of their own, and six servers of Valkey.
    OwnCql(usize),
}

/// What the stage is made of.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The service's program.
    pub binary: PathBuf,
    /// The project's folder `scripts`.
    pub scripts: PathBuf,
    /// The store.
    pub store: Store,
    /// Pods. The embedded store has one.
    pub pods: usize,
    /// The name of a keyspace that nobody else has.
    pub keyspace: String,
}

/// The stage. Everything on it ends when it is dropped.
#[derive(Debug)]
pub(super) struct Stage {
    pods: Vec<Mutex<Pod>>,
    nodes: Option<Nodes>,
    node_turns: Vec<Mutex<()>>,
    valkey: Option<Valkey>,
    valkey_turns: Vec<Mutex<()>>,
    clocks: bool,
    clock: Arc<dyn Clock>,
}

impl Stage {
    /// Sets everything up in a folder.
    ///
    /// # Errors
    /// If something does not start.
    pub(super) async fn set(
        settings: &Settings,
        supers: &SuperAdministrators,
        folder: &Path,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let supers_file = folder.join("super-administrators.asc");
        std::fs::write(&supers_file, supers.certificates()).context("cannot write the super-administrators")?;
        let set = |name: &str, value: String| (name.to_owned(), value);
        let mut service = vec![
            set("LISTEN", "127.0.0.1:0".to_owned()),
            set("ADMIN_LISTEN", "127.0.0.1:0".to_owned()),
            set("LOG_FORMAT", "json".to_owned()),
            set("LOG", "info,countersign::request=warn".to_owned()),
            set("DRAIN_DELAY", "500ms".to_owned()),
            set("SUPER_ADMINISTRATORS", supers_file.display().to_string()),
        ];
        let (nodes, valkey) = match &settings.store {
            Store::Embedded => {
                service.push(set("STORE", format!("embedded:{}", folder.join("store").display())));
                (None, None)
            }
            Store::SharedCql(server) => (
                Some(Nodes::shared(&settings.scripts, server).await?),
                Some(Valkey::start(&settings.scripts, Mode::Single).await?),
            ),
            Store::OwnCql(number) => (
                Some(Nodes::start(&settings.scripts, &folder.join("cql"), *number).await?),
                Some(Valkey::start(&settings.scripts, Mode::Cluster).await?),
            ),
        };
        if let Some(nodes) = &nodes {
            service.extend(nodes.settings(&settings.keyspace, folder)?);
        }
        if let Some(valkey) = &valkey {
            service.extend(valkey.settings());
        }
        let faketime = find_faketime();
        let library = faketime.is_some();
        let launch =
            Launch { binary: settings.binary.clone(), settings: service, folder: folder.to_owned(), faketime };
        if nodes.is_some() {
            launch.run(&["schema"]).await?;
        }
        let mut pods = Vec::new();
        for number in 0..settings.pods {
            pods.push(Mutex::new(Pod::start(number, launch.clone()).await?));
        }
        let clocks = library && clocks_can_be_shifted(&pods, &*clock).await?;
        let turns = |number: usize| (0..number).map(|_| Mutex::new(())).collect::<Vec<_>>();
        Ok(Self {
            pods,
            node_turns: turns(nodes.as_ref().map_or(0, |nodes| nodes.proxies().len())),
            valkey_turns: turns(valkey.as_ref().map_or(0, |valkey| valkey.proxies().len())),
            nodes,
            valkey,
            clocks,
            clock,
        })
    }

    /// Returns what there is to be broken.
    #[must_use]
    pub(super) fn shape(&self) -> Shape {
        Shape {
            pods: self.pods.len(),
            nodes: self.node_turns.len(),
            own_nodes: self.nodes.as_ref().is_some_and(Nodes::own),
            valkeys: self.valkey_turns.len(),
            clocks: self.clocks,
        }
    }

    /// Returns where clients find the pods.
    ///
    /// # Errors
    /// Never: the addresses are of this machine.
    pub(super) async fn targets(&self) -> Result<Targets> {
        let mut urls: Vec<ServerUrl> = Vec::new();
        for pod in &self.pods {
            urls.push(format!("http://{}", pod.lock().await.address()).parse()?);
        }
        Targets::new(&urls, &Trust::System)
    }

    /// Does a step, waits, and undoes it. Whatever it is done to is left alone by others meanwhile.
    ///
    /// # Errors
    /// If it cannot be done or undone, which is the run's own fault and not the service's.
    pub(super) async fn perform(&self, step: &Step, timeline: &Timeline) -> Result<()> {
        let done = match step.place {
            Place::Pod(pod) => self.harm_pod(pod, step, timeline).await,
            Place::Node(node) => self.harm_node(node, step, timeline).await,
            Place::Valkey(server) => self.harm_valkey(server, step, timeline).await,
            Place::AllPods => self.roll(step, timeline).await,
            Place::AllValkey => {
                timeline.note(step.to_string());
                if let Some(valkey) = &self.valkey {
                    valkey.flush().await;
                }
                Ok(())
            }
        };
        done.with_context(|| step.to_string())
    }

    async fn harm_pod(&self, pod: usize, step: &Step, timeline: &Timeline) -> Result<()> {
        let mut pod = self.pods.get(pod).context("there is no such pod")?.lock().await;
        timeline.note(step.to_string());
        match step.fault {
            Fault::Kill => pod.kill().await?,
            Fault::Stop => pod.signal(Signal::STOP)?,
            Fault::ShiftClock { seconds } => pod.shift_clock(seconds, &*self.clock, PATIENCE).await?,
            fault => pod.set(weather(fault)),
        }
        tokio::time::sleep(Duration::from_millis(step.lasts)).await;
        match step.fault {
            Fault::Kill => pod.restart().await?,
            Fault::Stop => pod.signal(Signal::CONT)?,
            Fault::ShiftClock { .. } => pod.shift_clock(0, &*self.clock, PATIENCE).await?,
            _ => pod.set(Weather::Clear),
        }
        timeline.note(format!("{}: well again", step.place));
        Ok(())
    }

    async fn harm_node(&self, node: usize, step: &Step, timeline: &Timeline) -> Result<()> {
        let nodes = self.nodes.as_ref().context("there is no store to be harmed")?;
        let _turn = self.node_turns.get(node).context("there is no such node")?.lock().await;
        let proxy = nodes.proxies().get(node).context("there is no such node")?;
        timeline.note(step.to_string());
        match step.fault {
            Fault::Kill => nodes.signal(node, "KILL").await?,
            Fault::Stop => nodes.signal(node, "STOP").await?,
            fault => proxy.set(weather(fault)),
        }
        tokio::time::sleep(Duration::from_millis(step.lasts)).await;
        match step.fault {
            Fault::Kill => nodes.restart(node).await?,
            Fault::Stop => nodes.signal(node, "CONT").await?,
            _ => proxy.set(Weather::Clear),
        }
        timeline.note(format!("{}: well again", step.place));
        Ok(())
    }

    async fn harm_valkey(&self, server: usize, step: &Step, timeline: &Timeline) -> Result<()> {
        let valkey = self.valkey.as_ref().context("there is no Valkey to be harmed")?;
        let _turn = self.valkey_turns.get(server).context("there is no such server")?.lock().await;
        let proxy = valkey.proxies().nth(server).context("there is no such server")?;
        timeline.note(step.to_string());
        match step.fault {
            Fault::Kill => valkey.signal(server, Signal::KILL)?,
            Fault::Stop => valkey.signal(server, Signal::STOP)?,
            fault => proxy.set(weather(fault)),
        }
        tokio::time::sleep(Duration::from_millis(step.lasts)).await;
        match step.fault {
            Fault::Kill => valkey.restart(server).await?,
            Fault::Stop => valkey.signal(server, Signal::CONT)?,
            _ => proxy.set(Weather::Clear),
        }
        timeline.note(format!("{}: well again", step.place));
        Ok(())
    }

    async fn roll(&self, step: &Step, timeline: &Timeline) -> Result<()> {
        timeline.note(step.to_string());
        for (number, pod) in self.pods.iter().enumerate() {
            // The embedded store has room for one process.
            pod.lock().await.replace(self.nodes.is_none()).await?;
            timeline.note(format!("pod {} is another process now", number + 1));
        }
        Ok(())
    }

    /// Tells how many connections to the store went through its proxies: none would mean that they stand beside the way.
    #[must_use]
    pub(super) fn store_connections(&self) -> u64 {
        self.nodes.as_ref().map_or(0, |nodes| nodes.proxies().iter().map(super::Proxy::connections).sum())
    }

    /// Likewise for Valkey.
    #[must_use]
    pub(super) fn valkey_connections(&self) -> u64 {
        self.valkey.as_ref().map_or(0, |valkey| valkey.proxies().map(super::Proxy::connections).sum())
    }

    /// Ends everything in order.
    ///
    /// # Errors
    /// If a pod does not end well.
    pub(super) async fn clear(self) -> Result<()> {
        for pod in &self.pods {
            pod.lock().await.terminate().await?;
        }
        match self.nodes {
            Some(nodes) => nodes.stop().await,
            None => Ok(()),
        }
    }
}

/// Tries whether the library has an effect: on a program that is linked statically it has none.
async fn clocks_can_be_shifted(pods: &[Mutex<Pod>], clock: &dyn Clock) -> Result<bool> {
    let mut pod = pods.first().context("there is no pod")?.lock().await;
    if let Err(error) = pod.shift_clock(5, clock, CLOCK_TRY).await {
        tracing::warn!(error = format!("{error:#}"), "clocks are left alone");
        return Ok(false);
    }
    pod.shift_clock(0, clock, PATIENCE).await?;
    Ok(true)
}

/// What a fault of connections does to them.
const fn weather(fault: Fault) -> Weather {
    match fault {
        Fault::Cut => Weather::Cut,
        Fault::HoldUp => Weather::Still,
        Fault::Slow { millis } => Weather::Slow(Duration::from_millis(millis)),
        Fault::Mute => Weather::Mute,
        Fault::Kill | Fault::Stop | Fault::ShiftClock { .. } | Fault::Roll | Fault::Flush => Weather::Clear,
    }
}
