//! Connections to the server: how they are made, how long calls may take, what is repeated, what errors mean.
//!
//! A statement is a transaction of its own, so one that the server refused has done nothing: after a deadlock it is
//! repeated. One whose connection broke may have been done; it is repeated too, since all can be, but for conditional
//! ones, whose callers look at what is there.
//!
//! The driver gives a connection back to its pool only where the answer was read to its end: one that a deadline cut
//! short is closed, and no later call can get its answer.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use mysql_async::{
    ClientIdentity, Conn, DriverError, Error, Opts, OptsBuilder, Pool, PoolConstraints, PoolOpts, SslOpts, Value,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::rows::Columns;
use super::settings::MariadbSettings;
use super::statements::StatementName;
use crate::deadline::Deadline;
use crate::entropy::{Entropy, fraction};
use crate::store::StoreError;
use crate::store::settings::TlsClientFiles;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a connection without traffic is probed: a server that is gone without a word is noticed.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// How often a statement is sent at most, for one call.
const ATTEMPTS: u32 = 6;
/// The longest pause before the second attempt; it doubles with each.
const PAUSE: Duration = Duration::from_millis(4);

/// `ER_DUP_ENTRY`: a unique key refused a row.
const DUPLICATE: u16 = 1062;
/// `ER_KEY_DOES_NOT_EXITS`: a statement names an index that is not there.
const NO_SUCH_INDEX: u16 = 1176;
/// `ER_LOCK_WAIT_TIMEOUT`.
const LOCK_WAIT: u16 = 1205;
/// `ER_LOCK_DEADLOCK`: this statement was chosen to give way.
const DEADLOCK: u16 = 1213;
/// `ER_CHECKREAD`: the row was changed since it was read.
const CHANGED_SINCE_READ: u16 = 1020;
/// `ER_SERVER_SHUTDOWN` and `ER_CONNECTION_KILLED`: as good as a broken connection.
const GOING_AWAY: [u16; 2] = [1053, 1927];
/// `ER_STATEMENT_TIMEOUT`, by `max_statement_time`.
const STATEMENT_TIMEOUT: u16 = 1969;

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MariadbSettingsError {
    /// A file cannot be read.
    #[error("cannot read {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file is not the PEM that it should be.
    #[error("cannot read PEM from {path}")]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// A CA file has no certificate.
    #[error("{0} holds no certificate that can be trusted")]
    Ca(PathBuf),
}

/// All that is needed to connect, read from files once.
#[derive(Clone)]
pub(super) struct Connecting {
    opts: Opts,
}

impl Connecting {
    /// Reads the files that the settings name.
    pub(super) fn prepare(settings: &MariadbSettings) -> Result<Self, MariadbSettingsError> {
        let address = &settings.address;
        let password = match &settings.password {
            None => None,
            Some(path) => {
                let text = Zeroizing::new(String::from_utf8_lossy(&Zeroizing::new(read(path)?)).into_owned());
                Some(text.trim_end_matches(['\n', '\r']).to_owned())
            }
        };
        // At least a second: zero would be no limit.
        let seconds = settings.statement_timeout.as_secs().max(1);
        let session = format!(
            "SET NAMES binary, SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', \
             SESSION innodb_lock_wait_timeout = {seconds}, SESSION max_statement_time = {seconds}, \
             SESSION autocommit = 1"
        );
        let pool = PoolConstraints::new(settings.connections, settings.connections);
        let pool = PoolOpts::new()
            .with_constraints(pool.expect("as many as there can be are not more than there can be"))
            // Nothing is left behind on a connection, so nothing has to be reset; it would drop the prepared statements.
            .with_reset_connection(false);
        let opts = OptsBuilder::default()
            .ip_or_hostname(&address.host)
            .tcp_port(address.port)
            .user(Some(&address.user))
            .pass(password)
            .ssl_opts(settings.tls.as_ref().map(tls).transpose()?)
            .prefer_socket(false)
            .tcp_nodelay(true)
            .tcp_keepalive(Some(KEEPALIVE))
            .stmt_cache_size(64)
            .pool_opts(pool)
            .init(vec![session, "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED".to_owned()]);
        Ok(Self { opts: opts.into() })
    }

    /// Connects, in no database.
    pub(super) async fn connect(&self) -> Result<Conn, StoreError> {
        connect(self.opts.clone()).await
    }

    /// Connects, in a database.
    pub(super) async fn connect_to(&self, database: &str) -> Result<Conn, StoreError> {
        connect(OptsBuilder::from_opts(self.opts.clone()).db_name(Some(database)).into()).await
    }

    /// Makes a pool of connections in a database; none is made yet.
    pub(super) fn pool(&self, database: &str) -> Pool {
        Pool::new(OptsBuilder::from_opts(self.opts.clone()).db_name(Some(database)))
    }
}

async fn connect(opts: Opts) -> Result<Conn, StoreError> {
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, Conn::new(opts)).await;
    connected.map_err(|_| StoreError::Timeout)?.map_err(failed)
}

fn read(path: &Path) -> Result<Vec<u8>, MariadbSettingsError> {
    std::fs::read(path).map_err(|source| MariadbSettingsError::File { path: path.to_owned(), source })
}

/// Reads the files once, and looks at them: the driver would do so at each connection only.
fn tls(files: &TlsClientFiles) -> Result<SslOpts, MariadbSettingsError> {
    let certificates = |path: &Path| {
        let bytes = read(path)?;
        let all = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
        let all = all.map_err(|source| MariadbSettingsError::Pem { path: path.to_owned(), source })?;
        if all.is_empty() { Err(MariadbSettingsError::Ca(path.to_owned())) } else { Ok(bytes) }
    };
    let identity = match &files.own {
        None => None,
        Some((certificate, path)) => {
            let key = read(path)?;
            PrivateKeyDer::from_pem_slice(&key)
                .map_err(|source| MariadbSettingsError::Pem { path: path.clone(), source })?;
            Some(ClientIdentity::new(certificates(certificate)?.into(), key.into()))
        }
    };
    let trusted = vec![certificates(&files.ca)?.into()];
    Ok(SslOpts::default().with_disable_built_in_roots(true).with_root_certs(trusted).with_client_identity(identity))
}

/// What became of a conditional write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conditional {
    /// It was applied.
    Applied,
    /// A unique key refused it, at the first attempt: what is there is another call's.
    Refused,
    /// A unique key refused it after an attempt whose outcome is unknown: what is there may be this call's.
    RefusedLater,
}

/// A pool of connections to a database with the tables.
pub(super) struct Live {
    pool: Pool,
    statement_timeout: Duration,
    entropy: Arc<dyn Entropy>,
    /// Whether the indices were there when it was last seen.
    indexed: AtomicBool,
    #[cfg(test)]
    pub(super) sent: std::sync::Mutex<Vec<StatementName>>,
}

impl Live {
    pub(super) fn new(pool: Pool, settings: &MariadbSettings, entropy: Arc<dyn Entropy>) -> Self {
        Self {
            pool,
            statement_timeout: settings.statement_timeout,
            entropy,
            indexed: AtomicBool::new(true),
            #[cfg(test)]
            sent: std::sync::Mutex::default(),
        }
    }

    /// Takes note of whether the tables have all their indices.
    pub(super) fn see_indices(&self, there: bool) {
        self.indexed.store(there, Ordering::Relaxed);
    }

    /// Closes the connections that nobody uses.
    pub(super) async fn close(&self) {
        // Those in use are closed when they come back. Nobody is told of what fails: it is the end anyway.
        let _ = tokio::time::timeout(CONNECT_TIMEOUT, self.pool.clone().disconnect()).await;
    }

    /// Executes a write that can be repeated, and returns how many rows it changed.
    pub(super) async fn write(
        &self,
        name: StatementName,
        values: impl Fn() -> Vec<Value> + Send + Sync,
    ) -> Result<u64, StoreError> {
        self.within(async {
            let mut attempts = 1;
            loop {
                match self.write_once(name, values()).await {
                    Ok(changed) => return Ok(changed),
                    Err(error) => self.pause_or_give_up(error, &mut attempts).await?,
                }
            }
        })
        .await
    }

    /// Deletes rows that were there a moment ago, and tells whether it did. Where an attempt's outcome is unknown and a later
    /// one finds none, the first is taken to have done it.
    pub(super) async fn remove(
        &self,
        name: StatementName,
        values: impl Fn() -> Vec<Value> + Send + Sync,
    ) -> Result<bool, StoreError> {
        self.within(async {
            let (mut attempts, mut doubtful) = (1, false);
            loop {
                match self.write_once(name, values()).await {
                    Ok(removed) => return Ok(removed > 0 || doubtful),
                    Err(error) => {
                        doubtful |= is_broken(&error);
                        self.pause_or_give_up(error, &mut attempts).await?;
                    }
                }
            }
        })
        .await
    }

    /// Executes a statement once for each of several rows: one trip, whatever their number. It can be repeated.
    pub(super) async fn write_rows(
        &self,
        name: StatementName,
        rows: impl Fn() -> Vec<Vec<Value>> + Send + Sync,
    ) -> Result<(), StoreError> {
        self.within(async {
            let mut attempts = 1;
            loop {
                match self.write_rows_once(name, rows()).await {
                    Ok(()) => return Ok(()),
                    Err(error) => self.pause_or_give_up(error, &mut attempts).await?,
                }
            }
        })
        .await
    }

    /// Executes a write that a unique key may refuse.
    pub(super) async fn conditional(
        &self,
        name: StatementName,
        values: impl Fn() -> Vec<Value> + Send + Sync,
    ) -> Result<Conditional, StoreError> {
        self.within(async {
            let (mut attempts, mut certain) = (1, true);
            loop {
                match self.write_once(name, values()).await {
                    Ok(_) => return Ok(Conditional::Applied),
                    Err(error) if code(&error) == Some(DUPLICATE) => {
                        return Ok(if certain { Conditional::Refused } else { Conditional::RefusedLater });
                    }
                    Err(error) => {
                        certain &= !is_broken(&error);
                        self.pause_or_give_up(error, &mut attempts).await?;
                    }
                }
            }
        })
        .await
    }

    /// Reads rows. The statement's own limit bounds how many they are.
    pub(super) async fn rows<T: Send>(
        &self,
        name: StatementName,
        values: impl Fn() -> Vec<Value> + Send + Sync,
        make: impl Fn(&mut Columns) -> Result<T, StoreError> + Send + Sync,
    ) -> Result<Vec<T>, StoreError> {
        self.within(async {
            let mut attempts = 1;
            loop {
                match self.read_once(name, values()).await {
                    Ok(rows) => return rows.into_iter().map(|row| make(&mut Columns::from(row))).collect(),
                    Err(error) => self.pause_or_give_up(error, &mut attempts).await?,
                }
            }
        })
        .await
    }

    async fn write_once(&self, name: StatementName, values: Vec<Value>) -> Result<u64, Error> {
        #[cfg(test)]
        self.count(name);
        let mut connection = self.pool.get_conn().await?;
        connection.exec_drop(name.text(), values).await?;
        Ok(connection.affected_rows())
    }

    async fn write_rows_once(&self, name: StatementName, rows: Vec<Vec<Value>>) -> Result<(), Error> {
        #[cfg(test)]
        self.count(name);
        let mut connection = self.pool.get_conn().await?;
        connection.exec_batch(name.text(), rows).await
    }

    async fn read_once(&self, name: StatementName, values: Vec<Value>) -> Result<Vec<mysql_async::Row>, Error> {
        #[cfg(test)]
        self.count(name);
        let mut connection = self.pool.get_conn().await?;
        let indexed = self.indexed.load(Ordering::Relaxed);
        let text = if indexed { name.text() } else { name.text_without_indices() };
        let read = connection.exec(text, values).await;
        if let Err(error) = &read
            && code(error) == Some(NO_SUCH_INDEX)
        {
            // Somebody has just dropped it; the next attempt does without.
            self.see_indices(false);
        }
        read
    }

    #[cfg(test)]
    fn count(&self, name: StatementName) {
        self.sent.lock().expect("no test fails while it counts").push(name);
    }

    /// Pauses after a failure that another attempt may be spared of.
    async fn pause_or_give_up(&self, error: Error, attempts: &mut u32) -> Result<(), StoreError> {
        let refused = [DEADLOCK, LOCK_WAIT, CHANGED_SINCE_READ, NO_SUCH_INDEX];
        let gave_way = code(&error).is_some_and(|code| refused.contains(&code));
        // Of a server that was restarted, every connection of the pool is broken, and new ones are not.
        if !(gave_way || is_broken(&error)) || *attempts >= ATTEMPTS {
            return Err(failed(error));
        }
        // Of a random length, so that those who were in each other's way are so no more.
        let longest = PAUSE * 2_u32.pow(*attempts - 1);
        tokio::time::sleep(longest.mul_f64(fraction(&*self.entropy))).await;
        *attempts += 1;
        Ok(())
    }

    async fn within<T>(&self, work: impl Future<Output = Result<T, StoreError>> + Send) -> Result<T, StoreError> {
        // Boxed: the driver's futures are large, and a store's call is made of several.
        let bounded = Deadline::current().bound(self.statement_timeout, Box::pin(work)).await;
        bounded.unwrap_or(Err(StoreError::Timeout))
    }
}

/// The number of a server's error; none where the driver failed.
fn code(error: &Error) -> Option<u16> {
    match error {
        Error::Server(error) => Some(error.code),
        _ => None,
    }
}

/// Tells whether the connection is gone, and so nobody knows what became of the statement. After any other error of the
/// server's it has not been done.
fn is_broken(error: &Error) -> bool {
    match error {
        Error::Io(_) | Error::Driver(DriverError::ConnectionClosed) => true,
        _ => code(error).is_some_and(|code| GOING_AWAY.contains(&code)),
    }
}

/// Sorts the driver's errors into the store's classes.
pub(super) fn failed(error: Error) -> StoreError {
    match code(&error) {
        Some(LOCK_WAIT | STATEMENT_TIMEOUT) => StoreError::Timeout,
        _ => StoreError::Unavailable(Box::new(error)),
    }
}
