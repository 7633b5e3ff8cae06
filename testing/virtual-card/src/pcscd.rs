//! A pcscd with the virtual reader as its only configured one, on a socket of its own.
//!
//! Owns: the process, its folder, its sockets, and what it leaves in `/run/pcscd`. Refuses to know: GnuPG, and what
//! the card answers.
//!
//! pcscd takes its socket from a variable only as a client does; as a daemon it has one fixed path, or the socket
//! that systemd hands over. So it is handed over here as systemd would: as descriptor 3, with `LISTEN_FDS` and
//! `LISTEN_PID`.
//!
//! Invariants: the process does not outlive its [`VirtualCard`], nor this program however that ends; only its own
//! process is ever sent a signal; another pcscd keeps its socket and its file with its process id.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tempfile::TempDir;

use crate::card::OpenPgpCard;
use crate::error::Error;
use crate::slot::Slot;

/// The name of the reader, to which pcscd adds its two numbers.
pub(crate) const READER: &str = "Countersign virtual reader";

/// By this variable a client of pcscd, scdaemon among them, finds pcscd's socket.
const SOCKET_VARIABLE: &str = "PCSCLITE_CSOCK_NAME";

/// The driver, as the build script made it.
const DRIVER: &str = env!("COUNTERSIGN_READER");

/// Where pcscd writes its process id, whatever it is told.
const PID_FILE: &str = "/run/pcscd/pcscd.pid";

/// `setpriv` ends pcscd when the thread that started it ends, so that it never outlives a test that was killed.
const SCRIPT: &str = r#"exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec setpriv --pdeathsig TERM "$@""#;

/// pcscd waits a second before it ends. What takes much longer is stuck.
const PATIENCE: Duration = Duration::from_secs(10);

/// A card in a virtual reader, with a pcscd that serves it. All of it ends when this is dropped.
#[derive(Debug)]
pub struct VirtualCard {
    slot: Arc<Slot>,
    socket: PathBuf,
    reader: Reader,
}

impl VirtualCard {
    /// Starts pcscd and waits until it has found the card.
    ///
    /// # Errors
    /// Where pcscd is missing or does not come up; the error says what to do.
    pub fn start(card: OpenPgpCard) -> Result<Self, Error> {
        let pcscd = find_program("pcscd").ok_or(Error::Missing { program: "pcscd", package: "pcscd" })?;
        let setpriv = "setpriv";
        find_program(setpriv).ok_or(Error::Missing { program: setpriv, package: "util-linux" })?;

        let folder = private_folder("countersign-card.")?;
        let socket = folder.path().join("pcscd.comm");
        let clients = UnixListener::bind(&socket).map_err(Error::file(&socket))?;
        let device = folder.path().join("slot");
        let drivers = UnixListener::bind(&device).map_err(Error::file(&device))?;
        let configuration = folder.path().join("reader.conf");
        fs::write(&configuration, configuration_of(&device)).map_err(Error::file(&configuration))?;
        let log = folder.path().join("pcscd.log");
        let log_file = File::create(&log).map_err(Error::file(&log))?;

        let mut command = Command::new("sh");
        command
            .args(["-c", SCRIPT, "sh"])
            .arg(&pcscd)
            .args(["--foreground", "--info", "--config"])
            .arg(&configuration);
        if supports(&pcscd, "--disable-polkit") {
            command.arg("--disable-polkit");
        }
        command.stdin(Stdio::from(OwnedFd::from(clients)));
        command.stdout(log_file.try_clone().map_err(Error::file(&log))?).stderr(log_file);

        let slot = Arc::new(Slot::with(card));
        let reader = Reader::start(command, Arc::clone(&slot), drivers, folder)
            .map_err(|source| Error::Run { program: "pcscd", source })?;
        let card = Self { slot, socket, reader };
        if card.slot.wait_for_questions(1) {
            Ok(card)
        } else {
            let log = fs::read_to_string(log).unwrap_or_default();
            Err(Error::Reader { hint: hint_of(&log), log })
        }
    }

    /// The variable by which programs find this reader, and none other, with its value.
    #[must_use]
    pub fn environment(&self) -> (&'static str, &Path) {
        (SOCKET_VARIABLE, &self.socket)
    }

    /// The application identifier in hexadecimal digits, by which GnuPG names the card.
    #[must_use]
    pub fn application_identifier(&self) -> String {
        self.slot.ask(OpenPgpCard::application_identifier)
    }

    /// How many signatures the card has made with its present key, as the card itself counts.
    #[must_use]
    pub fn signatures(&self) -> u32 {
        self.slot.ask(OpenPgpCard::signatures)
    }

    /// How often the card has decrypted.
    #[must_use]
    pub fn decryptions(&self) -> u32 {
        self.slot.ask(OpenPgpCard::decryptions)
    }

    /// Pulls the card out of the reader, and returns when pcscd has noticed.
    ///
    /// # Panics
    /// Where pcscd is gone: a test that goes on would prove nothing.
    pub fn remove(&self) {
        assert!(self.slot.set_inserted(false), "pcscd did not notice that the card is gone:\n{}", self.log());
    }

    /// Puts the card back into the reader, and returns when pcscd has noticed.
    ///
    /// # Panics
    /// Where pcscd is gone: a test that goes on would prove nothing.
    pub fn insert(&self) {
        assert!(self.slot.set_inserted(true), "pcscd did not notice that the card is back:\n{}", self.log());
    }

    /// What pcscd has written so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.reader.folder.path().join("pcscd.log")).unwrap_or_default()
    }
}

/// Makes a folder that only this user may enter: whoever reaches the sockets in it can use the card. It is directly
/// under /tmp, since the path of a socket has at most 107 bytes.
pub(crate) fn private_folder(prefix: &str) -> Result<TempDir, Error> {
    tempfile::Builder::new()
        .prefix(prefix)
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir_in("/tmp")
        .map_err(Error::file("/tmp"))
}

fn configuration_of(device: &Path) -> String {
    format!("FRIENDLYNAME \"{READER}\"\nDEVICENAME {}\nLIBPATH {DRIVER}\nCHANNELID 0\n", device.display())
}

/// What may help, of what pcscd is known to fail with.
fn hint_of(log: &str) -> &'static str {
    if log.contains("cannot create /run/pcscd") { " (as root, type: mkdir /run/pcscd)" } else { "" }
}

fn supports(program: &Path, option: &str) -> bool {
    let help = Command::new(program).arg("--help").stdin(Stdio::null()).output();
    help.is_ok_and(|help| String::from_utf8_lossy(&help.stdout).contains(option))
}

/// Looks where commands are, and where those for administrators are, which are not everybody's to see.
fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/local/bin:/usr/bin:/bin"));
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// The two threads behind a card: one owns pcscd, the other answers its driver.
#[derive(Debug)]
struct Reader {
    process: Pid,
    ended: mpsc::Receiver<()>,
    threads: Vec<JoinHandle<()>>,
    device: PathBuf,
    earlier: Option<OtherPcscd>,
    folder: TempDir,
}

impl Reader {
    fn start(command: Command, slot: Arc<Slot>, drivers: UnixListener, folder: TempDir) -> io::Result<Self> {
        let earlier = OtherPcscd::find();
        if let Some(other) = &earlier {
            eprintln!(
                "pcscd of this machine runs as process {}; the virtual card uses one of its own.",
                other.process
            );
        }
        let (report, started) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        let waiting_slot = Arc::clone(&slot);
        // The thread that starts pcscd must live as long as pcscd does: see SCRIPT.
        let waiting = std::thread::Builder::new().name("pcscd".into()).spawn(move || {
            let mut command = command;
            let child = command.spawn();
            let _ = report.send(child.as_ref().map(Child::id).map_err(|error| io::Error::from(error.kind())));
            // The command has the sockets that pcscd has inherited.
            drop(command);
            if let Ok(mut child) = child {
                let _ = child.wait();
            }
            waiting_slot.close();
            let _ = end.send(());
        })?;
        let process = started.recv().map_err(io::Error::other)??;
        let process = i32::try_from(process).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
        let answering = std::thread::Builder::new().name("virtual card".into()).spawn(move || {
            if let Err(error) = slot.serve(&drivers) {
                eprintln!("the virtual reader's driver is gone: {error}");
            }
        })?;
        let device = folder.path().join("slot");
        Ok(Self { process, ended, threads: vec![waiting, answering], device, earlier, folder })
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if self.ended.try_recv().is_err() {
            let _ = rustix::process::kill_process(self.process, Signal::TERM);
            if self.ended.recv_timeout(PATIENCE).is_err() {
                let _ = rustix::process::kill_process(self.process, Signal::KILL);
            }
        }
        // The driver may never have connected; then the thread still waits for it.
        let _ = UnixStream::connect(&self.device);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        if let Some(other) = &self.earlier {
            other.restore();
        }
    }
}

/// A pcscd that ran before, of the system or of another test. The file with its process id is overwritten by ours,
/// and removed when ours ends.
#[derive(Debug)]
struct OtherPcscd {
    process: u32,
    file: String,
}

impl OtherPcscd {
    fn find() -> Option<Self> {
        let file = fs::read_to_string(PID_FILE).ok()?;
        let process = file.trim_end_matches(['\0', '\n']).parse().ok()?;
        let other = Self { process, file };
        other.runs().then_some(other)
    }

    fn runs(&self) -> bool {
        fs::read_link(format!("/proc/{}/exe", self.process))
            .is_ok_and(|program| program.file_name() == Some(OsStr::new("pcscd")))
    }

    fn restore(&self) {
        if self.runs() && !Path::new(PID_FILE).exists() {
            let _ = fs::write(PID_FILE, &self.file);
        }
    }
}
