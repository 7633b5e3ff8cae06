//! Coalescing of reads: who asks for what is just being read waits for that read, instead of making another.
//!
//! Owns: which reads are under way. Refuses to know: what is read. This is no cache: nothing is kept once a read has
//! ended, and whoever asks after that begins another one.
//!
//! A read that is joined began before its joiner asked, so it may miss what was written in between. Whoever cannot have
//! that looks at [`Joined`].

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, WeakShared};

/// What a read returned, and whether another caller had begun it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined<V> {
    /// This caller began it.
    Began(V),
    /// It was under way when this caller asked.
    Joined(V),
}

type Flight<V> = Shared<BoxFuture<'static, V>>;

/// Reads under way, by what is read. Its bound is that of the requests in work.
pub struct Flights<K, V: Clone>(Arc<Mutex<HashMap<K, WeakShared<BoxFuture<'static, V>>>>>);

impl<K, V: Clone> Clone for Flights<K, V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K, V: Clone> Default for Flights<K, V> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Eq + Hash + Copy + Send + 'static, V: Clone + Send + Sync + 'static> Flights<K, V> {
    /// Joins the read of `key` that is under way, or begins it. A caller that goes away leaves it to the others.
    pub async fn join<F>(&self, key: K, read: impl FnOnce() -> F) -> Joined<V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let (flight, began) = {
            let mut flights = self.flights();
            if let Some(flight) = flights.get(&key).and_then(WeakShared::upgrade) {
                (flight, false)
            } else {
                let flight: Flight<V> = self.land_after(key, read()).shared();
                flights.extend(flight.downgrade().map(|weak| (key, weak)));
                (flight, true)
            }
        };
        let value = flight.await;
        if began { Joined::Began(value) } else { Joined::Joined(value) }
    }

    /// A read that forgets itself at its end, whether it came to it or was given up by all.
    fn land_after<F>(&self, key: K, read: F) -> BoxFuture<'static, V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let landing = Landing { flights: self.clone(), key };
        async move {
            let _landing = landing;
            read.await
        }
        .boxed()
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<K, WeakShared<BoxFuture<'static, V>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets a read when it is dropped. It may forget a later read of the same: then that one is joined by nobody.
struct Landing<K: Eq + Hash, V: Clone> {
    flights: Flights<K, V>,
    key: K,
}

impl<K: Eq + Hash, V: Clone> Drop for Landing<K, V> {
    fn drop(&mut self) {
        self.flights.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;
    use futures_util::poll;
    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn who_asks_during_a_read_shares_it_and_who_asks_later_does_not() {
        let (flights, reads, go) = (Flights::default(), Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let read = || {
            let (reads, go) = (Arc::clone(&reads), Arc::clone(&go));
            async move {
                go.notified().await;
                reads.fetch_add(1, Ordering::SeqCst) + 1
            }
        };
        let mut first = Box::pin(flights.join(7, read));
        assert!(poll!(&mut first).is_pending());
        let mut others: Vec<_> = (0..10).map(|_| Box::pin(flights.join(7, read))).collect();
        for other in &mut others {
            assert!(poll!(other).is_pending());
        }
        let mut elsewhere = Box::pin(flights.join(8, read));
        assert!(poll!(&mut elsewhere).is_pending());

        go.notify_waiters();
        let shared = join_all(others).await;
        let began = first.await;
        elsewhere.await;
        let mut later = Box::pin(flights.join(7, read));
        assert!(poll!(&mut later).is_pending());
        go.notify_waiters();

        assert!(shared.iter().all(|joined| *joined == Joined::Joined(1)));
        assert_eq!(began, Joined::Began(1));
        assert_eq!(later.await, Joined::Began(3));
        assert!(flights.flights().is_empty());
    }

    #[tokio::test]
    async fn a_read_that_its_beginner_gave_up_goes_on_for_the_others() {
        let (flights, go) = (Flights::<u8, u8>::default(), Arc::new(Notify::new()));
        let read = || {
            let go = Arc::clone(&go);
            async move {
                go.notified().await;
                5
            }
        };
        let mut first = Box::pin(flights.join(1, read));
        assert!(poll!(&mut first).is_pending());
        let mut second = Box::pin(flights.join(1, read));
        assert!(poll!(&mut second).is_pending());

        drop(first);
        go.notify_waiters();

        assert_eq!(second.await, Joined::Joined(5));
        let given_up = Box::pin(flights.join(2, read));
        drop(given_up);
        let mut begun = Box::pin(flights.join(3, read));
        assert!(poll!(&mut begun).is_pending());
        drop(begun);
        assert!(flights.flights().is_empty());
    }
}
