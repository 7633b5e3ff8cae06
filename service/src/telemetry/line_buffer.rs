//! Gathers log lines in memory, and has one thread write them, many at a time.
//!
//! A line costs whoever logs it a copy under a lock that is held for no longer. The thread writes some moments after the
//! first line came, so that a system call carries hundreds of lines. A reader of the log that has stopped reading does
//! not stop the service: lines beyond a bound are dropped and counted, and the log says how many.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// How long lines gather before they are written.
const GATHERING: Duration = Duration::from_millis(20);
/// Bytes of lines that may wait to be written.
const WAITING_BYTES: usize = 32 * 1024 * 1024;
/// Bytes of a buffer that is kept for later lines.
const KEPT_BYTES: usize = 1024 * 1024;

/// Where lines are put. Clones share one buffer.
#[derive(Clone, Debug)]
pub struct LineBuffer(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    gathered: Mutex<Gathered>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Gathered {
    lines: Vec<u8>,
    dropped: u64,
    closed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the writing thread when it is dropped, after it has written what was put before.
#[must_use = "what waits to be written is lost when this is dropped too early"]
#[derive(Debug)]
pub struct LineWriter {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl LineBuffer {
    /// Starts a thread that writes to `out`.
    ///
    /// # Errors
    /// The system's, if there can be no thread.
    pub fn start(out: impl Write + Send + 'static) -> io::Result<(Self, LineWriter)> {
        let shared = Arc::new(Shared::default());
        let written = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("log".to_owned()).spawn(move || write_lines(&written, out))?;
        Ok((Self(Arc::clone(&shared)), LineWriter { shared, thread: Some(thread) }))
    }

    fn put(&self, line: &[u8]) {
        let first = {
            let mut gathered = self.0.lock();
            if gathered.lines.len() + line.len() > WAITING_BYTES {
                gathered.dropped += 1;
                return;
            }
            let first = gathered.lines.is_empty();
            gathered.lines.extend_from_slice(line);
            first
        };
        if first {
            self.0.changed.notify_one();
        }
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn write_lines(shared: &Shared, mut out: impl Write) {
    let mut lines = Vec::new();
    loop {
        let (closed, dropped) = {
            let wait = |gathered| {
                shared.changed.wait_while(gathered, |held: &mut Gathered| held.lines.is_empty() && !held.closed)
            };
            let gathered = wait(shared.lock()).unwrap_or_else(PoisonError::into_inner);
            let gathering = shared.changed.wait_timeout_while(gathered, GATHERING, |held| !held.closed);
            let mut gathered = gathering.unwrap_or_else(PoisonError::into_inner).0;
            std::mem::swap(&mut lines, &mut gathered.lines);
            (gathered.closed, std::mem::take(&mut gathered.dropped))
        };
        // Whoever reads the log may have gone; there is nobody left to tell.
        let _ = out.write_all(&lines);
        if dropped > 0 {
            let _ = writeln!(out, r#"{{"level":"WARN","message":"log lines were dropped","lines":{dropped}}}"#);
        }
        let _ = out.flush();
        lines.clear();
        lines.shrink_to(KEPT_BYTES);
        if closed {
            return;
        }
    }
}

/// Writes one line at each call, as the formatter of lines does.
impl Write for &LineBuffer {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.put(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LineBuffer {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> &'a Self {
        self
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Hands over what is written, each time when it is asked to.
    struct Pages(mpsc::SyncSender<Vec<u8>>);

    impl Write for Pages {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_are_written_in_order_and_the_last_ones_before_the_end() {
        let (sender, pages) = mpsc::sync_channel(1_000);
        let (lines, writer) = LineBuffer::start(Pages(sender)).unwrap();

        for number in 0..1_000 {
            writeln!(&lines, "{number}").unwrap();
        }
        drop(writer);

        let written: Vec<u8> = pages.iter().flatten().collect();
        let written = String::from_utf8(written).unwrap();
        let numbers: Vec<u32> = written.lines().map(|line| line.parse().unwrap()).collect();
        assert_eq!(numbers, (0..1_000).collect::<Vec<u32>>());
    }

    #[test]
    fn a_reader_who_stops_reading_costs_lines_and_nothing_else() {
        let (sender, pages) = mpsc::sync_channel(0);
        let (lines, writer) = LineBuffer::start(Pages(sender)).unwrap();
        let line = vec![b'x'; 1024 * 1024];

        for _ in 0..100 {
            lines.put(&line);
        }
        let written = std::thread::spawn(move || pages.iter().flatten().collect::<Vec<u8>>());
        drop(writer);

        let written = written.join().unwrap();
        assert!(written.len() < 70 * line.len());
        assert!(String::from_utf8_lossy(&written).contains("log lines were dropped"));
    }
}
