//! The real service and the lying server, as processes that end with the test.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::person::BINARY;
use super::{Key, keys};

/// Returns a program that was built beside the command.
fn built(name: &str) -> PathBuf {
    let path = PathBuf::from(BINARY).parent().unwrap().join(name);
    assert!(path.is_file(), "{} is missing: cargo build -p countersign-service", path.display());
    path
}

/// A process that is killed when the test is done with it.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A running service with the embedded store.
pub(crate) struct Service {
    _process: Process,
    _folder: TempDir,
    pub(crate) url: String,
    admin: String,
}

impl Service {
    /// Starts it with further settings: the names of their variables without `COUNTERSIGN_`, and their values.
    pub(crate) fn start(supers: &str, settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("super-administrators.asc");
        std::fs::write(&file, supers).unwrap();
        let binary = std::env::var_os("COUNTERSIGND").map_or_else(|| built("countersignd"), PathBuf::from);
        let mut child = Command::new(binary)
            .arg("serve")
            .env_clear()
            .env("COUNTERSIGN_LISTEN", "127.0.0.1:0")
            .env("COUNTERSIGN_ADMIN_LISTEN", "127.0.0.1:0")
            .env("COUNTERSIGN_STORE", format!("embedded:{}", folder.path().join("store").display()))
            .env("COUNTERSIGN_LOG_FORMAT", "json")
            .env("COUNTERSIGN_DRAIN_DELAY", "0s")
            .env("COUNTERSIGN_SUPER_ADMINISTRATORS", &file)
            .envs(settings.iter().map(|(name, value)| (format!("COUNTERSIGN_{name}"), value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut before = Vec::new();
        let addresses = log.by_ref().map_while(Result::ok).find_map(|line| {
            let value: Value = serde_json::from_str(&line).unwrap_or_default();
            before.push(line);
            (value["message"] == "listening")
                .then(|| ["public", "admin"].map(|name| value[name].as_str().unwrap().to_owned()))
        });
        let [public, admin] = addresses.unwrap_or_else(|| panic!("the service did not start: {before:?}"));
        // The pipe must not fill.
        std::thread::spawn(move || log.map_while(Result::ok).for_each(drop));
        let scheme = if settings.iter().any(|(name, _)| *name == "TLS_CERTIFICATE") { "https" } else { "http" };
        Self { _process: Process(child), _folder: folder, url: format!("{scheme}://{public}"), admin }
    }

    /// Returns the value of a metric's series; 0 if there is none.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let mut socket = TcpStream::connect(&self.admin).unwrap();
        socket.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        let value = answer.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().unwrap())
    }
}

/// A running lying server, honest until it is told otherwise.
pub(crate) struct LyingServer {
    _process: Process,
    output: std::sync::Mutex<std::io::Lines<BufReader<ChildStdout>>>,
    folder: TempDir,
    pub(crate) url: String,
}

impl LyingServer {
    pub(crate) fn start(real: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let Key { home, .. } = &keys().mallory;
        std::os::unix::fs::symlink(home, folder.path().join("mallory")).unwrap();
        let mut child = Command::new(built("examples/lying_server"))
            .arg(real)
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = output.next().unwrap().unwrap();
        let url = format!("http://{}", line.strip_prefix("listening ").unwrap());
        Self { _process: Process(child), output: std::sync::Mutex::new(output), folder, url }
    }

    /// Tells it how to lie from now on.
    pub(crate) fn lie(&self, lie: &str) {
        // As a whole: it may be reading.
        let unfinished = self.folder.path().join("lie.new");
        std::fs::write(&unfinished, lie).unwrap();
        std::fs::rename(unfinished, self.folder.path().join("lie")).unwrap();
    }

    pub(crate) fn be_honest(&self) {
        self.lie("");
    }

    /// Waits until it holds a request.
    pub(crate) fn wait_until_holding(&self) {
        let line = self.output.lock().unwrap().next().unwrap().unwrap();
        assert_eq!(line, "holding");
    }
}
