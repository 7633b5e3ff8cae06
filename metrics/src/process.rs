//! The process: its build, whether it is ready, its runtime, and what it takes from the machine.

use crate::{Label, Metric, Values, counter, gauge};

/// The build.
pub const BUILD_INFO: Metric = gauge(
    "countersign_build_info",
    "always 1",
    &[
        Label { name: "version", values: Values::OnePerProcess("the version of countersignd") },
        Label {
            name: "revision",
            values: Values::OnePerProcess("COUNTERSIGN_REVISION of the build's environment, or unknown"),
        },
    ],
    "Always 1; what is running is in the labels.",
);

/// Whether it is ready.
pub const READY: Metric = gauge("countersign_ready", "1 or 0", &[], "1 while the process is ready for requests.");

/// Threads of the runtime.
pub const RUNTIME_WORKERS: Metric = gauge(
    "countersign_runtime_workers",
    "threads",
    &[],
    "Threads that run requests: as many as there are cores for the process.",
);

/// How busy they are.
pub const RUNTIME_BUSY: Metric = counter(
    "countersign_runtime_busy_seconds_total",
    "seconds",
    &[],
    "Time that the runtime's threads were busy; a thread that waits for a core counts as busy.",
);

/// Tasks.
pub const RUNTIME_TASKS: Metric =
    gauge("countersign_runtime_tasks", "tasks", &[], "Tasks of the runtime that have not ended.");

/// Tasks that wait for a thread.
pub const RUNTIME_QUEUE: Metric = gauge(
    "countersign_runtime_queue_depth",
    "tasks",
    &[],
    "Tasks in the runtime's shared queue that wait for a thread.",
);

/// CPU.
pub const PROCESS_CPU: Metric =
    counter("process_cpu_seconds_total", "seconds", &[], "CPU time that the process has taken, of the system too.");
/// Memory.
pub const PROCESS_RESIDENT: Metric =
    gauge("process_resident_memory_bytes", "bytes", &[], "Resident memory size in bytes.");
/// Address space.
pub const PROCESS_VIRTUAL: Metric =
    gauge("process_virtual_memory_bytes", "bytes", &[], "Virtual memory size in bytes.");
/// Open files and sockets.
pub const PROCESS_OPEN_FDS: Metric =
    gauge("process_open_fds", "descriptors", &[], "Number of open file descriptors.");
/// How many there may be.
pub const PROCESS_MAX_FDS: Metric =
    gauge("process_max_fds", "descriptors", &[], "Maximum number of open file descriptors.");
/// Threads.
pub const PROCESS_THREADS: Metric = gauge("process_threads", "threads", &[], "Number of OS threads in the process.");
/// When it started.
pub const PROCESS_START: Metric =
    gauge("process_start_time_seconds", "Unix time", &[], "Start time of the process since unix epoch in seconds.");
