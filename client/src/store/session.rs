//! The session key, the nonces, and how far this machine's clock is from the server's.
//!
//! Invariant: no two requests of a profile get one nonce, whichever process they are of.

use countersign_protocol::nonce::Nonce;
use countersign_protocol::session_key::SessionKey;
use countersign_protocol::time::UnixMicros;
use rusqlite::params;

use super::{Store, StoreError, micros, signed, unsigned};

/// A session that is stored.
#[derive(Clone, Debug)]
pub struct StoredSession {
    /// Its key.
    pub key: SessionKey,
    /// When it ends.
    pub expires: UnixMicros,
}

impl Store {
    /// Returns the session, if there is one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn session(&self) -> Result<Option<StoredSession>, StoreError> {
        let (key, expires): (Option<[u8; 32]>, i64) =
            self.connection()
                .query_row("SELECT key, expires FROM session", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(key.map(|key| StoredSession { key: SessionKey::from_bytes(key), expires: micros(expires) }))
    }

    /// Stores a new session.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set_session(&self, session: &StoredSession) -> Result<(), StoreError> {
        let values = params![session.key.expose(), signed(session.expires.0)];
        self.connection().execute("UPDATE session SET key = ?1, expires = ?2", values)?;
        Ok(())
    }

    /// Forgets a session that the server does not know, unless another process has put a new one in its place.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn forget_session(&self, key: &SessionKey) -> Result<(), StoreError> {
        self.connection().execute("UPDATE session SET key = NULL WHERE key = ?1", [key.expose()])?;
        Ok(())
    }

    /// Takes the nonce of the next request, and returns it with the server's time as this client reckons it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn take_nonce(&self, clock: UnixMicros) -> Result<(Nonce, UnixMicros), StoreError> {
        self.take("UPDATE session SET nonce = max(?1 + clock_offset, nonce + 1) RETURNING nonce, clock_offset", clock)
    }

    /// Takes the nonce of the next request for a session key, of which the server has a memory of its own.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn take_password_nonce(&self, clock: UnixMicros) -> Result<(Nonce, UnixMicros), StoreError> {
        let sql = "UPDATE session SET password_nonce = max(?1 + clock_offset, password_nonce + 1) \
                   RETURNING password_nonce, clock_offset";
        self.take(sql, clock)
    }

    fn take(&self, sql: &str, clock: UnixMicros) -> Result<(Nonce, UnixMicros), StoreError> {
        let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
        let (nonce, offset) = self.connection().query_row(sql, [signed(clock.0)], read)?;
        Ok((Nonce::at(micros(nonce)), corrected(clock, offset)))
    }

    /// Returns the server's time as this client reckons it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn server_time(&self, clock: UnixMicros) -> Result<UnixMicros, StoreError> {
        Ok(corrected(clock, self.clock_offset()?))
    }

    /// Returns what to add to this machine's clock to get the server's, in microseconds.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn clock_offset(&self) -> Result<i64, StoreError> {
        Ok(self.connection().query_row("SELECT clock_offset FROM session", [], |row| row.get(0))?)
    }

    /// Learns the server's time from its refusal of a nonce. The nonces that this client took by its wrong clock are
    /// forgotten: the server accepted none of them, and those from the future would bar those of the present.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set_server_time(&self, clock: UnixMicros, server: UnixMicros) -> Result<(), StoreError> {
        let offset = signed(server.0).saturating_sub(signed(clock.0));
        self.connection().execute("UPDATE session SET clock_offset = ?1, nonce = 0, password_nonce = 0", [offset])?;
        Ok(())
    }
}

fn corrected(clock: UnixMicros, offset: i64) -> UnixMicros {
    UnixMicros(unsigned(signed(clock.0).saturating_add(offset)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonces_increase_when_the_clock_does_not_move() {
        let store = Store::in_memory().unwrap();
        let now = UnixMicros(1_795_400_000_123_456);
        let taken: Vec<u64> = (0..3).map(|_| store.take_nonce(now).unwrap().0.time().0).collect();
        assert_eq!(taken, [now.0, now.0 + 1, now.0 + 2]);
        assert_eq!(store.take_password_nonce(now).unwrap().0.time(), now);
    }

    #[test]
    fn a_wrong_clock_is_corrected_in_both_directions() {
        let store = Store::in_memory().unwrap();
        let (clock, server) = (UnixMicros(1_795_400_000_000_000), UnixMicros(1_795_300_000_000_000));
        store.take_nonce(clock).unwrap();
        store.set_server_time(clock, server).unwrap();
        let (nonce, time) = store.take_nonce(UnixMicros(clock.0 + 5)).unwrap();
        assert_eq!((nonce.time().0, time.0), (server.0 + 5, server.0 + 5));
        store.set_server_time(server, clock).unwrap();
        assert_eq!(store.take_nonce(server).unwrap().1, clock);
    }

    #[test]
    fn only_the_session_that_failed_is_forgotten() {
        let store = Store::in_memory().unwrap();
        let (old, new) = (SessionKey::from_bytes([1; 32]), SessionKey::from_bytes([2; 32]));
        store.set_session(&StoredSession { key: new.clone(), expires: UnixMicros(5) }).unwrap();
        store.forget_session(&old).unwrap();
        assert_eq!(store.session().unwrap().unwrap().key, new);
        store.forget_session(&new).unwrap();
        assert!(store.session().unwrap().is_none());
    }
}
