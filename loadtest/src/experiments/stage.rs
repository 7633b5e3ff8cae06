//! The processes of a point, each in its node.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use countersign_client::connection::{ServerUrl, Trust};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};

use super::point::{EVERY, Place};
use super::{Laboratory, Programs};
use crate::clock::Stopwatch;
use crate::nodes::{Network, Node, NodeLoad, Nodes, Sampler, sample_for_ever};
use crate::pages::NodeSeries;
use crate::readiness::until_ready;
use crate::wire::Targets;

/// How long a process may take until it is ready, on a small quota.
const PATIENCE: Duration = Duration::from_mins(5);
/// How often it is looked.
const LOOK: Duration = Duration::from_millis(100);

/// What messages are kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// `MariaDB`, as in the article.
    Mariadb {
        /// Whether its tables have indices, which the article varies.
        indices: bool,
    },
    /// A CQL server.
    Cql,
}

impl Backing {
    /// Returns what it is called in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mariadb { indices: true } => "MariaDB, indices",
            Self::Mariadb { indices: false } => "MariaDB, no indices",
            Self::Cql => "CQL",
        }
    }
}

/// How nodes are cut.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cut {
    /// Everything in one node of so many cores.
    One(f64),
    /// Storage in a node of its own, business logic in others.
    Split {
        /// Cores of the storage node.
        storage: f64,
        /// Cores of each node with business logic.
        business: f64,
    },
}

/// A process that ends when its standard input does, and the node's processes with it.
struct Held {
    child: Child,
    _input: ChildStdin,
}

impl Held {
    /// Starts a script in a node.
    fn start(
        node: &Node,
        script: &Path,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<(Self, Option<tokio::process::ChildStdout>)> {
        let mut command = Command::from(node.command(script));
        command.args(arguments).envs(variables.iter().copied()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot run {}", script.display()))?;
        let input = child.stdin.take().context("a script has an input")?;
        let output = child.stdout.take();
        Ok((Self { child, _input: input }, output))
    }
}

/// A store and Valkey, in a node.
pub(super) struct Storage {
    /// The service's settings, but for which database it is.
    settings: Vec<(String, String)>,
    backing: Backing,
    server: SocketAddr,
    _database: Held,
    _valkey: Held,
}

/// Everything of a point.
pub(super) struct Stage {
    programs: Programs,
    /// The storage, in the first node.
    storage: Storage,
    storage_node: Node,
    /// Nodes with business logic; none where all is in one.
    pods: Vec<(Option<Node>, Child)>,
    urls: Vec<ServerUrl>,
}

impl Storage {
    /// Starts a database and Valkey in a node, and waits until both answer.
    async fn start(programs: &Programs, node: &Node, backing: Backing, folder: &Path) -> Result<Self> {
        let script = |name: &str| programs.scripts.join(name);
        let text = folder.to_str().context("the folder's name is no text")?;
        let database = match backing {
            Backing::Mariadb { .. } => {
                Held::start(node, &script("mariadb.sh"), &["hold", text], &[("MARIADB_POOL", "256M")])?.0
            }
            Backing::Cql => {
                let variables = [("CQL_SYNC", "batch"), ("CQL_HEAP", "1G")];
                Held::start(node, &script("cql.sh"), &["hold", text, "1"], &variables)?.0
            }
        };
        let (valkey, output) = Held::start(node, &script("valkey.sh"), &["single"], &[])?;
        let mut lines = BufReader::new(output.context("a script has an output")?).lines();
        let mut port = None;
        while let Some(line) = lines.next_line().await? {
            if line == "ready" {
                break;
            }
            port = line.split(' ').next().and_then(|port| port.parse::<u16>().ok());
        }
        let port = port.context("scripts/valkey.sh did not start Valkey")?;
        let mut database = database;
        let watch = Stopwatch::start();
        while !folder.join("address").exists() {
            if let Some(status) = database.child.try_wait()? {
                bail!("the database did not start: its script ended with {status}");
            }
            ensure!(watch.elapsed() < PATIENCE, "the database did not start within {} s", PATIENCE.as_secs());
            tokio::time::sleep(LOOK).await;
        }
        let server = std::fs::read_to_string(folder.join("address"))?.trim().parse()?;
        let set = |name: &str, value: String| (name.to_owned(), value);
        let mut settings = vec![set("EPHEMERAL", format!("valkey://127.0.0.1:{port}"))];
        settings.extend(match backing {
            Backing::Mariadb { .. } => {
                vec![set("MARIADB_PASSWORD_FILE", folder.join("password").display().to_string())]
            }
            Backing::Cql => {
                let password = folder.join("client-password");
                std::fs::write(&password, "cassandra\n")?;
                vec![
                    set("SCYLLA_REPLICATION", "1".to_owned()),
                    set("SCYLLA_USER", "cassandra".to_owned()),
                    set("SCYLLA_PASSWORD_FILE", password.display().to_string()),
                    set("SCYLLA_DATACENTER", "datacenter1".to_owned()),
                ]
            }
        });
        Ok(Self { settings, backing, server, _database: database, _valkey: valkey })
    }

    /// Returns the service's settings for a database of a name.
    fn settings(&self, backing: Backing, database: &str) -> Vec<(String, String)> {
        let store = match backing {
            Backing::Mariadb { indices } => {
                format!("mariadb://countersign@{}/{database}?indices={indices}", self.server)
            }
            Backing::Cql => format!("scylla://{}/{database}", self.server),
        };
        let mut settings = vec![("STORE".to_owned(), store)];
        settings.extend(self.settings.iter().cloned());
        settings
    }
}

impl Stage {
    /// Starts storage.
    ///
    /// # Errors
    /// If it does not start.
    pub(super) async fn set(
        (laboratory, programs): (&Laboratory, &Programs),
        nodes: &mut Nodes,
        backing: Backing,
        cut: Cut,
        name: &str,
    ) -> Result<Self> {
        let (node, cores) = match cut {
            Cut::One(cores) => ("node", cores),
            Cut::Split { storage, .. } => ("storage", storage),
        };
        // While it starts it may take what it likes.
        let node = nodes.create(node, cores.max(1.5), Network::Shared)?;
        let folder = laboratory.work.join(name);
        std::fs::create_dir_all(&laboratory.work)?;
        let storage = Storage::start(programs, &node, backing, &folder).await?;
        node.set_cores(cores)?;
        let programs = programs.clone();
        Ok(Self { programs, storage, storage_node: node, pods: Vec::new(), urls: Vec::new() })
    }

    /// Starts so many pods over a new database, in place of those that are there. `backing` may differ from the storage's in
    /// whether it has indices.
    ///
    /// # Errors
    /// If one does not become ready.
    pub(super) async fn pods(
        &mut self,
        laboratory: &Laboratory,
        nodes: &mut Nodes,
        (backing, cut): (Backing, Cut),
        (number, database): (usize, &str),
    ) -> Result<()> {
        self.clear().await?;
        ensure!(
            matches!(backing, Backing::Cql) == matches!(self.storage.backing, Backing::Cql),
            "the storage is another"
        );
        let folder = laboratory.work.join(database);
        std::fs::create_dir_all(&folder)?;
        let supers = folder.join("super-administrators.asc");
        std::fs::write(&supers, laboratory.super_administrators.certificates())?;
        let mut settings = self.storage.settings(backing, database);
        let set = |name: &str, value: String| (name.to_owned(), value);
        settings.extend([
            set("LISTEN", "127.0.0.1:0".to_owned()),
            set("ADMIN_LISTEN", "127.0.0.1:0".to_owned()),
            set("LOG_FORMAT", "json".to_owned()),
            set("LOG", "info,countersign::request=warn".to_owned()),
            set("DRAIN_DELAY", "0s".to_owned()),
            set("SUPER_ADMINISTRATORS", supers.display().to_string()),
        ]);
        let schema = Command::new(&self.programs.service)
            .arg("schema")
            .env_clear()
            .envs(settings.iter().map(|(name, value)| (format!("COUNTERSIGN_{name}"), value)))
            .output()
            .await?;
        ensure!(schema.status.success(), "countersignd schema: {}", String::from_utf8_lossy(&schema.stderr));
        for pod in 0..number {
            let node = match cut {
                Cut::One(_) => None,
                // At its start it may take what it likes.
                Cut::Split { .. } => Some(nodes.create(&format!("business-{}", pod + 1), 1.0, Network::Shared)?),
            };
            let log = folder.join(format!("pod-{pod}.log"));
            let (child, url) =
                launch(&self.programs.service, node.as_ref().unwrap_or(&self.storage_node), &settings, &log).await?;
            if let (Some(node), Cut::Split { business, .. }) = (&node, cut) {
                node.set_cores(business)?;
            }
            self.pods.push((node, child));
            self.urls.push(url);
        }
        Ok(())
    }

    /// Returns all nodes, storage last, so that it is on top of a stack.
    fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.pods.iter().filter_map(|(node, _)| node.as_ref()).chain([&self.storage_node])
    }

    /// Ends all pods.
    async fn clear(&mut self) -> Result<()> {
        self.urls.clear();
        for (node, mut child) in self.pods.drain(..) {
            child.kill().await.context("cannot end a pod")?;
            if let Some(node) = node {
                node.stop()?;
            }
        }
        Ok(())
    }

    /// Ends everything.
    ///
    /// # Errors
    /// If a process does not end.
    pub(super) async fn end(mut self) -> Result<()> {
        self.clear().await?;
        let Self { storage, storage_node, .. } = self;
        let Storage { _database: mut database, _valkey: mut valkey, .. } = storage;
        storage_node.stop()?;
        database.child.wait().await?;
        valkey.child.wait().await?;
        Ok(())
    }
}

impl Place for Stage {
    fn targets(&self) -> Result<Targets> {
        Targets::new(&self.urls, &Trust::System)
    }

    fn nodes(&self) -> Result<Vec<NodeSeries>> {
        let bare = |node: &Node| {
            let cores = node.cores()?.unwrap_or(f64::INFINITY);
            Ok(NodeSeries { name: node.name().to_owned(), cores, samples: Vec::new() })
        };
        self.nodes().map(bare).collect()
    }

    async fn watch(&self, watch: Stopwatch, each: impl FnMut(&str, NodeLoad)) -> Result<()> {
        let begin = |node| Sampler::new(node, watch.elapsed());
        let mut samplers = self.nodes().map(begin).collect::<Result<Vec<_>, _>>()?;
        sample_for_ever(&mut samplers, EVERY, watch, each).await;
        Ok(())
    }
}

/// Starts a pod in a node, and waits until it is ready.
async fn launch(
    binary: &PathBuf,
    node: &Node,
    settings: &[(String, String)],
    log: &Path,
) -> Result<(Child, ServerUrl)> {
    let file = std::fs::File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let mut command = Command::from(node.command("setpriv"));
    command
        .args(["--pdeathsig", "KILL", "--"])
        .arg(binary)
        .arg("serve")
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .envs(settings.iter().map(|(name, value)| (format!("COUNTERSIGN_{name}"), value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(file)
        .kill_on_drop(true);
    let mut child = command.spawn().context("cannot start a pod")?;
    let public = until_ready(&mut child, log, PATIENCE).await.context("a pod did not start")?;
    Ok((child, format!("http://{public}").parse()?))
}
