//! The driver's session: how it connects, at which consistency each kind of statement runs, how long it may take, and
//! what its errors mean.
//!
//! Owns: profiles, TLS, log-in, deadlines, the classes of errors. Refuses to know: what the rows mean.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use scylla::client::execution_profile::{ExecutionProfile, ExecutionProfileHandle};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::deserialize::row::DeserializeRow;
use scylla::errors::{DbError, ExecutionError, NewSessionError, PrepareError, RequestAttemptError};
use scylla::policies::load_balancing::DefaultPolicy;
use scylla::policies::retry::{DefaultRetryPolicy, RequestInfo, RetryDecision, RetryPolicy, RetrySession};
use scylla::policies::speculative_execution::SimpleSpeculativeExecutionPolicy;
use scylla::response::PagingState;
use scylla::response::query_result::QueryResult;
use scylla::serialize::row::SerializeRow;
use scylla::statement::batch::{Batch, BatchStatement, BatchType};
use scylla::statement::prepared::PreparedStatement;
use scylla::statement::unprepared::Statement;
use scylla::statement::{Consistency, SerialConsistency};
use scylla::value::{CqlValue, Row};
use zeroize::Zeroizing;

use super::settings::{ConsistencyLevel, ScyllaSettings, SerialLevel};
use super::statements::{Kind, StatementName};
use crate::deadline::Deadline;
use crate::store::StoreError;
use crate::store::settings::TlsClientFiles;

/// How often a connection is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(2);
/// How long it has to say so. A node that hangs instead of failing is given up after both; the driver's own half minutes
/// would hold up every request until then. Longer than a node collects garbage or is overloaded: what breaks then takes
/// everything with it that is under way.
const KEEPALIVE_PATIENCE: Duration = Duration::from_secs(5);
/// How long connecting to a node may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a node may take to tell what the cluster looks like.
const METADATA_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the driver waits for it: longer, so that a node that is late can say so itself.
const METADATA_PATIENCE: Duration = Duration::from_secs(11);
/// How long all nodes may take to agree on a changed schema.
const AGREEMENT_TIMEOUT: Duration = Duration::from_secs(60);
/// How many nodes a serial read is tried on.
const SERIAL_READ_TARGETS: usize = 3;

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScyllaSettingsError {
    /// The password's file cannot be read.
    #[error("cannot read the password from {path}")]
    Password {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file cannot be read as PEM.
    #[error("cannot read PEM from {path}")]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// A CA file has no certificate, or one that cannot be used.
    #[error("{0} holds no certificate that can be trusted")]
    Ca(PathBuf),
    /// The own certificate cannot be used.
    #[error("the TLS certificate and key for the store cannot be used")]
    Tls(#[source] rustls::Error),
}

/// Told of each statement that is sent. One page of a read counts as one.
pub trait StatementObserver: Send + Sync {
    /// A statement is about to be sent.
    fn executing(&self, statement: StatementName);
}

/// All that is needed to connect, read from files once.
pub(super) struct Connecting {
    builder: SessionBuilder,
}

impl Connecting {
    /// Reads the files that the settings name.
    pub(super) fn prepare(settings: &ScyllaSettings) -> Result<Self, ScyllaSettingsError> {
        let mut builder = SessionBuilder::new()
            .known_nodes(&settings.address.nodes)
            .keyspaces_to_fetch([settings.address.keyspace.as_str()])
            .connection_timeout(CONNECT_TIMEOUT)
            .keepalive_interval(KEEPALIVE)
            .keepalive_timeout(KEEPALIVE_PATIENCE)
            .metadata_request_serverside_timeout(METADATA_TIMEOUT)
            .metadata_request_clientside_timeout(METADATA_PATIENCE)
            .schema_agreement_timeout(AGREEMENT_TIMEOUT)
            .tls_context(settings.tls.as_ref().map(tls).transpose()?)
            .default_execution_profile_handle(profile(settings, Kind::Write));
        if let Some((user, path)) = &settings.login {
            let password = std::fs::read_to_string(path)
                .map_err(|source| ScyllaSettingsError::Password { path: path.clone(), source })?;
            let password = Zeroizing::new(password);
            builder = builder.user(user, password.trim_end_matches(['\n', '\r']));
        }
        Ok(Self { builder })
    }

    /// Connects.
    pub(super) async fn connect(&self) -> Result<Session, NewSessionError> {
        self.builder.build().await
    }
}

fn tls(files: &TlsClientFiles) -> Result<Arc<ClientConfig>, ScyllaSettingsError> {
    let pem = |path: &Path, source| ScyllaSettingsError::Pem { path: path.to_owned(), source };
    let certificates = |path: &Path| -> Result<Vec<CertificateDer<'static>>, ScyllaSettingsError> {
        let read = CertificateDer::pem_file_iter(path).map_err(|error| pem(path, error))?;
        read.collect::<Result<_, _>>().map_err(|error| pem(path, error))
    };
    let mut roots = RootCertStore::empty();
    let (added, ignored) = roots.add_parsable_certificates(certificates(&files.ca)?);
    if added == 0 || ignored > 0 {
        return Err(ScyllaSettingsError::Ca(files.ca.clone()));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(ScyllaSettingsError::Tls)?
        .with_root_certificates(roots);
    let config = match &files.own {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => {
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| pem(key, error))?;
            config.with_client_auth_cert(certificates(certificate)?, key).map_err(ScyllaSettingsError::Tls)?
        }
    };
    Ok(Arc::new(config))
}

fn profile(settings: &ScyllaSettings, kind: Kind) -> ExecutionProfileHandle {
    let serial = match settings.serial_consistency {
        SerialLevel::Serial => SerialConsistency::Serial,
        SerialLevel::LocalSerial => SerialConsistency::LocalSerial,
    };
    // What the serial consistency spans, so that records follow the log wherever the log is linearizable.
    let quorum = match settings.serial_consistency {
        SerialLevel::Serial => Consistency::Quorum,
        SerialLevel::LocalSerial => Consistency::LocalQuorum,
    };
    let consistency = match kind {
        Kind::Read => level(settings.read_consistency),
        Kind::Write => level(settings.write_consistency),
        Kind::QuorumRead | Kind::QuorumWrite | Kind::Conditional => quorum,
        Kind::SerialRead => match settings.serial_consistency {
            SerialLevel::Serial => Consistency::Serial,
            SerialLevel::LocalSerial => Consistency::LocalSerial,
        },
    };
    let mut nodes = DefaultPolicy::builder().token_aware(true);
    nodes = match (&settings.datacenter, &settings.rack) {
        (None, _) => nodes,
        (Some(datacenter), None) => nodes.prefer_datacenter(datacenter.clone()),
        (Some(datacenter), Some(rack)) => nodes.prefer_datacenter_and_rack(datacenter.clone(), rack.clone()),
    };
    let retries: Arc<dyn RetryPolicy> = match kind {
        Kind::SerialRead => Arc::new(SerialReadRetries),
        _ => Arc::new(DefaultRetryPolicy::new()),
    };
    let mut profile = ExecutionProfile::builder()
        .consistency(consistency)
        .serial_consistency(Some(serial))
        .load_balancing_policy(nodes.build())
        .retry_policy(retries)
        // Each call has the time that its request has left: `Live::within`.
        .request_timeout(None);
    if matches!(kind, Kind::Read | Kind::QuorumRead) && !settings.speculation_delay.is_zero() {
        profile = profile.speculative_execution_policy(Some(Arc::new(SimpleSpeculativeExecutionPolicy {
            max_retry_count: 1,
            retry_interval: settings.speculation_delay,
        })));
    }
    profile.build().into_handle_with_label(format!("{kind:?}"))
}

const fn level(level: ConsistencyLevel) -> Consistency {
    match level {
        ConsistencyLevel::One => Consistency::One,
        ConsistencyLevel::LocalOne => Consistency::LocalOne,
        ConsistencyLevel::Quorum => Consistency::Quorum,
        ConsistencyLevel::LocalQuorum => Consistency::LocalQuorum,
        ConsistencyLevel::EachQuorum => Consistency::EachQuorum,
        ConsistencyLevel::All => Consistency::All,
    }
}

/// The driver's own policy never repeats what is serial, since it cannot tell reads from writes. Reads can be repeated.
#[derive(Debug)]
struct SerialReadRetries;

impl RetryPolicy for SerialReadRetries {
    fn new_session(&self) -> Box<dyn RetrySession> {
        Box::new(SerialReadRetrySession { left: SERIAL_READ_TARGETS - 1 })
    }
}

struct SerialReadRetrySession {
    left: usize,
}

impl RetrySession for SerialReadRetrySession {
    fn decide_should_retry(&mut self, request: RequestInfo<'_>) -> RetryDecision {
        let elsewhere = matches!(
            request.error,
            RequestAttemptError::BrokenConnectionError(_)
                | RequestAttemptError::DbError(
                    DbError::Unavailable { .. }
                        | DbError::Overloaded
                        | DbError::ServerError
                        | DbError::IsBootstrapping
                        | DbError::ReadTimeout { .. }
                        | DbError::ReadFailure { .. },
                    _
                )
        );
        if !elsewhere || self.left == 0 {
            return RetryDecision::DontRetry;
        }
        self.left -= 1;
        RetryDecision::RetryNextTarget(None)
    }

    fn reset(&mut self) {
        self.left = SERIAL_READ_TARGETS - 1;
    }
}

/// A session with all statements prepared.
pub(super) struct Live {
    session: Session,
    statements: Vec<PreparedStatement>,
    observer: Arc<dyn StatementObserver>,
    statement_timeout: Duration,
}

/// What became of a conditional write.
#[derive(Debug)]
pub(super) enum Conditional {
    /// It was applied.
    Applied,
    /// The condition did not hold.
    NotApplied,
    /// It may or may not have been applied, and may yet be.
    Unknown(StoreError),
}

impl Live {
    /// Prepares every statement.
    pub(super) async fn prepare(
        session: Session,
        settings: &ScyllaSettings,
        observer: Arc<dyn StatementObserver>,
    ) -> Result<Self, PrepareError> {
        let mut statements = Vec::with_capacity(StatementName::ALL.len());
        for name in StatementName::ALL {
            let text = Statement::new(name.text(&settings.address.keyspace)).with_page_size(name.page_size());
            let mut statement = session.prepare(text).await?;
            statement.set_is_idempotent(name.kind() != Kind::Conditional);
            statement.set_execution_profile_handle(Some(profile(settings, name.kind())));
            statements.push(statement);
        }
        Ok(Self { session, statements, observer, statement_timeout: settings.statement_timeout })
    }

    fn statement(&self, name: StatementName) -> &PreparedStatement {
        self.statements.get(name as usize).expect("every statement was prepared, in the order of the enum")
    }

    /// Returns how long a call may take, within its request's time.
    pub(super) const fn statement_timeout(&self) -> Duration {
        self.statement_timeout
    }

    /// Executes a write that can be repeated.
    pub(super) async fn write(&self, name: StatementName, values: impl SerializeRow) -> Result<(), StoreError> {
        self.observer.executing(name);
        // Boxed here and below: the driver's futures are large, and a store's call is made of several.
        self.within(Box::pin(self.session.execute_unpaged(self.statement(name), values))).await?;
        Ok(())
    }

    /// Executes a statement once for each of several rows of **one** partition, as one mutation.
    pub(super) async fn write_rows<V: SerializeRow>(
        &self,
        name: StatementName,
        rows: Vec<V>,
    ) -> Result<(), StoreError> {
        let statement = self.statement(name);
        let mut batch = Batch::new_with_statements(
            BatchType::Unlogged,
            vec![BatchStatement::PreparedStatement(statement.clone()); rows.len()],
        );
        batch.set_is_idempotent(statement.get_is_idempotent());
        batch.set_execution_profile_handle(statement.get_execution_profile_handle().cloned());
        self.observer.executing(name);
        self.within(Box::pin(self.session.batch(&batch, rows))).await?;
        Ok(())
    }

    /// Reads rows, a page at a time. The statement's own limit bounds how many they are.
    pub(super) async fn rows<R, T>(
        &self,
        name: StatementName,
        values: impl SerializeRow,
        make: impl Fn(R) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError>
    where
        R: for<'frame> DeserializeRow<'frame, 'frame>,
    {
        let mut made = Vec::new();
        let mut page = PagingState::start();
        loop {
            self.observer.executing(name);
            let read = self.session.execute_single_page(self.statement(name), &values, page);
            let (result, next) = self.within(Box::pin(read)).await?;
            let rows = result.into_rows_result().map_err(|error| unreadable(name, &error))?;
            made.reserve(rows.rows_num());
            for row in rows.rows::<R>().map_err(|error| unreadable(name, &error))? {
                made.push(make(row.map_err(|error| unreadable(name, &error))?)?);
            }
            match next.into_paging_control_flow() {
                std::ops::ControlFlow::Break(()) => return Ok(made),
                std::ops::ControlFlow::Continue(state) => page = state,
            }
        }
    }

    /// Executes a conditional write. It is given a part of the time only, so that there is some left to find out what
    /// became of it.
    pub(super) async fn conditional(&self, name: StatementName, values: impl SerializeRow) -> Conditional {
        self.observer.executing(name);
        let executed = Box::pin(self.session.execute_unpaged(self.statement(name), values));
        match self.bounded(self.statement_timeout / 3, executed).await.and_then(|result| applied(name, result)) {
            Ok(true) => Conditional::Applied,
            Ok(false) => Conditional::NotApplied,
            Err(error) => Conditional::Unknown(error),
        }
    }

    async fn within<T>(&self, work: impl Future<Output = Result<T, ExecutionError>>) -> Result<T, StoreError> {
        self.bounded(self.statement_timeout, work).await
    }

    async fn bounded<T>(
        &self,
        time: Duration,
        work: impl Future<Output = Result<T, ExecutionError>>,
    ) -> Result<T, StoreError> {
        match Deadline::current().bound(time, work).await {
            Ok(outcome) => outcome.map_err(failed),
            Err(_) => Err(StoreError::Timeout),
        }
    }
}

/// Reads what a conditional write answers. Only the first column counts: whether the others are there differs between
/// servers.
fn applied(name: StatementName, result: QueryResult) -> Result<bool, StoreError> {
    let rows = result.into_rows_result().map_err(|error| unreadable(name, &error))?;
    let row = rows.first_row::<Row>().map_err(|error| unreadable(name, &error))?;
    match row.columns.first() {
        Some(Some(CqlValue::Boolean(applied))) => Ok(*applied),
        _ => Err(StoreError::Corrupt(format!("{} does not say whether it was applied", name.label()))),
    }
}

fn unreadable(name: StatementName, error: &dyn std::error::Error) -> StoreError {
    StoreError::Corrupt(format!("what {} reads cannot be understood: {error}", name.label()))
}

/// Sorts the driver's errors into the store's classes.
fn failed(error: ExecutionError) -> StoreError {
    let timed_out = matches!(
        &error,
        ExecutionError::RequestTimeout(_)
            | ExecutionError::LastAttemptError(RequestAttemptError::DbError(
                DbError::ReadTimeout { .. } | DbError::WriteTimeout { .. },
                _
            ))
    );
    if timed_out { StoreError::Timeout } else { StoreError::Unavailable(Box::new(error)) }
}
