//! Tasks that go on only when they are told to: the scheduler of a simulated world.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use countersign_protocol::time::UnixMicros;

/// Whose work a task is, and so with whom it dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Pod(usize),
    Client(usize),
}

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Task {
    owner: Owner,
    since: UnixMicros,
    work: Work,
}

/// New tasks, handed over from within others.
#[derive(Clone, Default)]
pub(crate) struct Spawner(Arc<Mutex<Vec<Task>>>);

impl Spawner {
    pub(crate) fn spawn(&self, owner: Owner, since: UnixMicros, work: impl Future<Output = ()> + Send + 'static) {
        self.0.lock().unwrap().push(Task { owner, since, work: Box::pin(work) });
    }
}

/// All tasks of a world.
#[derive(Default)]
pub(crate) struct Tasks {
    tasks: Vec<Task>,
    pub(crate) spawner: Spawner,
}

impl Tasks {
    /// Lets one task go on to its next await. Tells whether there was one, and it is not done.
    pub(crate) fn step(&mut self, pick: usize) -> bool {
        self.adopt();
        if self.tasks.is_empty() {
            return false;
        }
        let at = pick % self.tasks.len();
        let mut context = Context::from_waker(Waker::noop());
        if self.tasks[at].work.as_mut().poll(&mut context).is_ready() {
            drop(self.tasks.remove(at));
            return false;
        }
        true
    }

    /// Returns whose task a number picks.
    pub(crate) fn owner(&mut self, pick: usize) -> Option<Owner> {
        self.adopt();
        let len = self.tasks.len().max(1);
        self.tasks.get(pick % len).map(|task| task.owner)
    }

    /// Drops the task that a number picks, if it is a pod's.
    pub(crate) fn cut(&mut self, pick: usize) {
        self.adopt();
        if !self.tasks.is_empty() && matches!(self.tasks[pick % self.tasks.len()].owner, Owner::Pod(_)) {
            let at = pick % self.tasks.len();
            drop(self.tasks.remove(at));
        }
    }

    pub(crate) fn drop_of(&mut self, owner: Owner) {
        self.adopt();
        self.tasks.retain(|task| task.owner != owner);
    }

    /// Drops the pods' tasks that began before a moment.
    pub(crate) fn drop_older_than(&mut self, oldest: UnixMicros) {
        self.adopt();
        self.tasks.retain(|task| matches!(task.owner, Owner::Client(_)) || task.since >= oldest);
    }

    pub(crate) fn is_busy(&mut self, owner: Owner) -> bool {
        self.adopt();
        self.tasks.iter().any(|task| task.owner == owner)
    }

    pub(crate) fn len(&mut self) -> usize {
        self.adopt();
        self.tasks.len()
    }

    fn adopt(&mut self) {
        self.tasks.append(&mut self.spawner.0.lock().unwrap());
    }
}

/// An await at which anything may happen before the work goes on.
pub(crate) async fn pause() {
    let mut paused = false;
    poll_fn(|context| {
        if paused {
            return Poll::Ready(());
        }
        paused = true;
        // For tasks of a pod's own runtime, which is polled as a whole.
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
