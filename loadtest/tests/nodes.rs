//! Nodes on the real kernel, with whichever version of control groups it has. They need root; without it they show that
//! the error says so.

#![expect(clippy::unwrap_used, reason = "a test may say briefly what must hold")]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use countersign_loadtest::clock::Stopwatch;
use countersign_loadtest::nodes::{Network, Node, NodeError, Nodes, Sampler};

/// How long a condition may take that should come true soon, on a machine that has much else to do.
const SOON: Duration = Duration::from_mins(2);
const LOOK: Duration = Duration::from_millis(50);

/// A program that does nothing, for ever, as fast as it can.
const BUSY: &str = "while :; do :; done";

/// Waits until something is so.
fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let watch = Stopwatch::start();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(watch.elapsed() < SOON, "{what}: not within {SOON:?}");
        thread::sleep(LOOK);
    }
}

/// One test at a time: each opens nodes, which removes what seems left behind, and one leaves something behind.
static ALONE: Mutex<()> = Mutex::new(());

/// Returns nodes; none where this process is not root, after it saw that this is said.
fn nodes() -> Option<(Nodes, MutexGuard<'static, ()>)> {
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    match Nodes::open() {
        Ok(nodes) => Some((nodes, alone)),
        Err(error @ NodeError::NotAllowed { .. }) if !rustix::process::geteuid().is_root() => {
            assert!(error.to_string().contains("run this as root"), "{error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn shell(node: &Node, script: &str) -> Child {
    node.command("sh").args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap()
}

fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    line.trim().to_owned()
}

#[test]
fn quotas_hold_back_what_wants_more() {
    let Some((mut nodes, _alone)) = nodes() else { return };
    // So little that a machine that has much else to do gives them more than they may use.
    let mut small = nodes.create("small", 0.05, Network::Shared).unwrap();
    let mut large = nodes.create("large", 0.1, Network::Shared).unwrap();
    assert_eq!(small.cores().unwrap(), Some(0.05));
    assert_eq!(large.cores().unwrap(), Some(0.1));

    let mut busy = [shell(&small, BUSY), shell(&large, BUSY)];

    let enough = Duration::from_millis(500);
    let (small_used, large_used) = eventually("both were held back", || {
        let (small, large) = (small.usage().unwrap(), large.usage().unwrap());
        (small.throttling.throttled > 10 && large.throttling.throttled > 10 && large.cpu > enough)
            .then_some((small, large))
    });
    // Twice as much is due. Other work on the machine takes from the larger one first.
    let proportion = large_used.cpu.as_secs_f64() / small_used.cpu.as_secs_f64();
    assert!((1.1..4.0).contains(&proportion), "{small_used:?} {large_used:?}");
    assert!(small_used.waited > Duration::ZERO, "whoever is held back waits: {small_used:?}");
    for node in [small, large] {
        node.stop().unwrap();
    }
    for child in &mut busy {
        assert!(!child.wait().unwrap().success());
    }
}

#[test]
fn the_load_of_a_node_is_how_many_want_to_run() {
    let Some((mut nodes, _alone)) = nodes() else { return };
    let node = nodes.create("wanted", 0.1, Network::Shared).unwrap();
    let watch = Stopwatch::start();
    let mut sampler = Sampler::new(&node, watch.elapsed()).unwrap();

    // Three loops, in one process and its children, want to run all the time and may run a tenth of it.
    let mut busy = shell(&node, &format!("({BUSY}) & ({BUSY}) & {BUSY}"));

    let load = eventually("a load of three", || {
        thread::sleep(Duration::from_millis(500));
        let load = sampler.sample(watch.elapsed()).unwrap();
        (2.0..4.5).contains(&load.load).then_some(load)
    });
    assert!(load.cores < load.load && load.throttled > 0.0 && load.load1 > 0.0, "{load:?}");
    assert_eq!(node.processes().unwrap().len(), 3);
    drop(node);
    assert!(!busy.wait().unwrap().success());
}

#[test]
fn a_program_is_in_its_node_with_its_children_and_ends_with_it() {
    let Some((mut nodes, _alone)) = nodes() else { return };
    let node = nodes.create("family", 0.5, Network::Shared).unwrap();

    let mut child = shell(&node, "sleep 1000 & echo $!; wait");
    let grandchild: u32 = first_line(&mut child).parse().unwrap();

    let processes = node.processes().unwrap();
    assert!(processes.contains(&child.id()) && processes.contains(&grandchild), "{processes:?}");
    node.stop().unwrap();
    assert!(!child.wait().unwrap().success());
    let is_gone =
        || std::fs::read_to_string(format!("/proc/{grandchild}/cmdline")).map_or(true, |line| line.is_empty());
    eventually("the grandchild ended", || is_gone().then_some(()));
    // The name is free again.
    nodes.create("family", 0.5, Network::Shared).unwrap();
}

#[test]
fn what_a_killed_run_left_behind_is_removed() {
    let Some((mut nodes, _alone)) = nodes() else { return };
    let node = nodes.create("left-behind", 0.5, Network::Shared).unwrap();
    let mut child = shell(&node, "grep countersign-node /proc/self/cgroup; exec sleep 1000");
    let line = first_line(&mut child);
    let (_, name) = line.rsplit_once('/').unwrap();
    // As it would be called, had another process made it that is no more: larger than the kernel's largest id.
    let mut parts: Vec<&str> = name.split('.').collect();
    parts[1] = "4194305";
    let orphan = parts.join(".");
    let folders: Vec<std::path::PathBuf> = ["cpu", "cpuacct", "cpu,cpuacct", ""]
        .iter()
        .map(|hierarchy| std::path::Path::new("/sys/fs/cgroup").join(hierarchy))
        .filter(|folder| folder.join(name).is_dir())
        .collect();
    assert!(!folders.is_empty());
    for folder in &folders {
        std::fs::create_dir(folder.join(&orphan)).unwrap();
        std::fs::write(folder.join(&orphan).join("cgroup.procs"), child.id().to_string()).unwrap();
    }

    Nodes::open().unwrap();

    assert!(!child.wait().unwrap().success());
    assert!(folders.iter().all(|folder| !folder.join(&orphan).exists()));
    // What a living process has is left alone.
    assert!(folders.iter().all(|folder| folder.join(name).exists()));
}

#[test]
fn nodes_with_networks_reach_each_other_and_the_machine() {
    let Some((mut nodes, _alone)) = nodes() else { return };
    let one = nodes.create("one", 0.5, Network::Own).unwrap();
    let other = nodes.create("other", 0.5, Network::Own).unwrap();
    assert_ne!(one.address(), other.address());
    let address = |node: &Node| {
        let output =
            node.command("ip").args(["-oneline", "-4", "address", "show", "scope", "global"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(address(&one).contains(&one.address().to_string()));
    assert!(!address(&one).contains(&other.address().to_string()));

    // Each reaches what listens on the machine. The kernel answers for the other one's address with a refusal, which
    // only comes from where there is somebody.
    let listener = std::net::TcpListener::bind((nodes.outside().unwrap(), 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let reach = |to: std::net::IpAddr, port: u16| {
        one.command("bash").args(["-c", &format!("exec 3<>/dev/tcp/{to}/{port}")]).output().unwrap()
    };
    assert!(reach(nodes.outside().unwrap(), port).status.success());
    listener.accept().unwrap();
    let refused = String::from_utf8(reach(other.address(), 9).stderr).unwrap();
    assert!(refused.contains("refused"), "{refused}");

    let namespaces = || {
        let names = std::fs::read_dir("/run/netns").unwrap().flatten();
        let ours = format!("countersign-node.{}.", std::process::id());
        names.filter(|name| name.file_name().to_string_lossy().starts_with(&ours)).count()
    };
    assert_eq!(namespaces(), 2);
    drop((one, other));
    assert_eq!(namespaces(), 0);
    let bridge = format!("/sys/class/net/csn{}b", std::process::id());
    assert!(std::path::Path::new(&bridge).exists());
    drop(nodes);
    assert!(!std::path::Path::new(&bridge).exists());
}

#[test]
fn names_and_quotas_that_cannot_be_are_refused() {
    let Some((mut nodes, _alone)) = nodes() else { return };

    for name in ["", "Has Space", "../..", "a.b", &"a".repeat(33)] {
        assert!(matches!(nodes.create(name, 0.5, Network::Shared), Err(NodeError::Name(_))), "{name}");
    }
    assert!(matches!(nodes.create("none", 0.0, Network::Shared), Err(NodeError::Quota(_))));
    // The refused one left nothing behind.
    nodes.create("none", 0.5, Network::Shared).unwrap();
}
