//! The composition root: the only place that names concrete stores and puts the layers together.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use arc_swap::ArcSwap;
use countersign_protocol::openpgp::{Certificate, CertificateFault, parse_certificates};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::{Api, ApiParts};
use crate::authority::{Authority, AuthoritySettings, SuperAdministrators};
use crate::clock::{Clock, SystemClock};
use crate::config::{EphemeralUrl, Settings, StoreUrl};
use crate::delivery::{Delivery, DeliverySettings};
use crate::entropy::{Entropy, SystemEntropy};
use crate::ephemeral::local::LocalEphemeral;
use crate::ephemeral::valkey::{ValkeyEphemeral, ValkeySettings};
use crate::ephemeral::{Ephemeral, Memory};
use crate::http::address::TrustedProxies;
use crate::http::admin;
use crate::http::admission::{AdmissionLayer, AdmissionLimits};
use crate::http::listener::{ConnectionLimits, Listener};
use crate::http::stack::{StackParts, build};
use crate::http::tls::ReloadingCertificate;
use crate::lifecycle::{Readiness, Signals, Stop};
use crate::openpgp::PublicKeyPool;
use crate::rate_limit::RateLimit;
use crate::reload;
use crate::session::{SessionSettings, Sessions};
#[cfg(feature = "store-dynamodb")]
use crate::store::dynamodb;
use crate::store::mariadb::schema::script;
use crate::store::scylla::schema::Parameters;
use crate::store::scylla::{create_schema as create_schema_in_cql, open as open_in_cql};
use crate::store::{Opening, Store, embedded, mariadb, memory};
use crate::telemetry::measured_ephemeral::measured_ephemeral;
use crate::telemetry::measured_store::measured;
use crate::telemetry::metrics::Metrics;
use crate::valkey::{Access, ValkeyUrl};

/// Connections of the administrative listener: Prometheus, probes, and a person.
const ADMIN_CONNECTIONS: usize = 64;
/// How often what has ended is forgotten.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);

/// A service that is bound and ready to run.
pub struct App {
    settings: Settings,
    public: Listener,
    admin: Listener,
    stack: crate::http::stack::Stack,
    opening: watch::Receiver<Opening>,
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
    pool: PublicKeyPool,
    admission: AdmissionLayer,
    background: TaskTracker,
    writes: TaskTracker,
    draining: CancellationToken,
    stopping: CancellationToken,
}

impl App {
    /// Builds everything and binds both listeners.
    ///
    /// # Errors
    /// With the reason, for the operator.
    pub async fn build(settings: Settings) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        let metrics = Arc::new(Metrics::new());
        let (background, writes) = (TaskTracker::new(), TaskTracker::new());
        let (draining, stopping) = (CancellationToken::new(), CancellationToken::new());
        let limits = settings.limits();

        let super_administrators = super_administrators(&settings, &background, &stopping)?;
        let (store, opening) = open_store(&settings, &clock, &entropy, &metrics, &background, &stopping)?;
        let ephemeral = open_ephemeral(&settings, &entropy, &metrics, &background, &stopping).await?;
        let ephemeral = measured_ephemeral(ephemeral, &metrics);
        let (threads, queue) = (settings.public_key_threads, settings.public_key_queue);
        let pool = PublicKeyPool::start_observed(threads, queue, Arc::clone(&metrics) as _)
            .context("cannot start the threads for public-key work")?;

        let authority = Authority::new(
            Arc::clone(&store.registry),
            Arc::clone(&ephemeral),
            pool.clone(),
            Arc::clone(&clock),
            super_administrators,
            AuthoritySettings {
                freshness: settings.freshness.0,
                cached_users: settings.cached_users,
                clients_per_user: settings.clients_per_user,
            },
        );
        let sessions = Sessions::new(
            authority.clone(),
            Arc::clone(&store.registry),
            Arc::clone(&ephemeral),
            pool.clone(),
            Arc::clone(&clock),
            Arc::clone(&entropy),
            SessionSettings { nonce_window: limits.nonce_window, lifetime: limits.session_lifetime },
        )
        .observed_by(Arc::clone(&metrics) as _);
        let delivery = Delivery::new(
            Arc::clone(&store.mailbox),
            Arc::clone(&store.registry),
            Arc::clone(&ephemeral),
            Arc::clone(&clock),
            Arc::clone(&metrics) as _,
            writes.clone(),
            DeliverySettings {
                limits: limits.clone(),
                reconcile_interval: settings.reconcile_interval.0,
                merge_interval: settings.merge_interval.0,
                poll_interval: settings.poll_interval.0,
            },
        );
        let rate_per_client = RateLimit::per_second(settings.rate_per_client);
        let rate_per_address = RateLimit::per_second(settings.rate_per_address);
        let api = Api::new(ApiParts {
            authority,
            sessions,
            delivery,
            body_timeout: settings.body_timeout.0,
            rate_per_client: rate_per_client.clone(),
            draining: draining.clone(),
            tasks: writes.clone(),
            runtime: tokio::runtime::Handle::current(),
            limits,
        });
        let admission = admission(&settings, rate_per_address.clone());
        let stack = build(StackParts {
            api,
            metrics: Arc::clone(&metrics),
            clock: Arc::clone(&clock),
            entropy,
            admission: admission.clone(),
            request_timeout: settings.request_timeout.0,
            long_poll: settings.long_poll.0,
        });

        let (public, admin) = bind(&settings, &background, &stopping).await?;
        let remembered = Arc::clone(&metrics);
        let sweep = async move || {
            remembered.ephemeral_clients(ephemeral.sweep(clock.now()).await);
            rate_per_client.sweep();
            rate_per_address.sweep();
        };
        background.spawn(now_and_then(sweep, stopping.clone()));
        let readiness = Arc::new(Readiness::default());
        Ok(Self {
            settings,
            public,
            admin,
            stack,
            opening,
            metrics,
            readiness,
            pool,
            admission,
            background,
            writes,
            draining,
            stopping,
        })
    }

    /// Returns the addresses of the public and the administrative listener.
    ///
    /// # Errors
    /// The system's.
    pub fn addresses(&self) -> std::io::Result<(SocketAddr, SocketAddr)> {
        Ok((self.public.address()?, self.admin.address()?))
    }

    /// Serves until a signal, then drains.
    ///
    /// # Errors
    /// If draining took longer than allowed or was cut short: what was answered is durable all the same.
    pub async fn serve(self, mut signals: Signals) -> anyhow::Result<()> {
        let Self {
            settings,
            public,
            admin,
            stack,
            opening,
            metrics,
            readiness,
            pool,
            admission,
            background,
            writes,
            draining,
            stopping,
        } = self;
        let (runtime, state) = (tokio::runtime::Handle::current().metrics(), Arc::clone(&readiness));
        let refresh = move |metrics: &Metrics| {
            metrics.ready(state.check().is_ok());
            metrics.runtime(&runtime);
            metrics.cpu();
            metrics.public_key_pool(pool.waiting(), pool.threads());
            for (class, in_work, limit) in admission.in_work() {
                metrics.admitted(class, in_work, limit);
            }
        };
        let admin_service = admin::service(metrics, Arc::clone(&readiness), refresh);
        background.spawn(admin.serve(admin_service, stopping.clone()));
        let serving = tokio::spawn(public.serve(stack, draining.clone()));
        background.spawn(become_ready(Arc::clone(&readiness), opening, stopping.clone()));

        let stop = signals.stop().await;
        readiness.drain();
        let drained = async {
            if stop == Stop::Supervisor {
                tracing::info!(delay = %settings.drain_delay, "not ready any more; serving until load balancers know");
                tokio::time::sleep(settings.drain_delay.0).await;
            }
            tracing::info!("draining");
            draining.cancel();
            let finish = async {
                let _ = serving.await;
                writes.close();
                writes.wait().await;
            };
            tokio::time::timeout(settings.drain_timeout.0, finish).await.is_ok()
        };
        let drained = tokio::select! {
            drained = drained => drained,
            _ = signals.stop() => false,
        };
        stopping.cancel();
        if !drained {
            bail!("requests were still in work at the end");
        }
        background.close();
        // Flushes the store's last group and closes the administrative connections.
        if tokio::time::timeout(settings.drain_timeout.0, background.wait()).await.is_err() {
            bail!("background work did not end in time");
        }
        tracing::info!("ended");
        Ok(())
    }
}

fn admission(settings: &Settings, rate_per_address: RateLimit<IpAddr>) -> AdmissionLayer {
    let limits = AdmissionLimits {
        reads: settings.concurrent_reads,
        writes: settings.concurrent_writes,
        waits: settings.concurrent_waits,
        public_key: settings.concurrent_public_key,
    };
    AdmissionLayer::new(limits, rate_per_address, TrustedProxies::new(settings.trusted_proxies.0.clone()))
}

/// Does something at each interval, until `stop`.
async fn now_and_then(work: impl AsyncFn() + Send, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(SWEEP_INTERVAL) => {}
            () = stop.cancelled() => return,
        }
        work().await;
    }
}

/// Says that the process is ready when the store is open, and until then what it waits for.
async fn become_ready(readiness: Arc<Readiness>, mut opening: watch::Receiver<Opening>, stopping: CancellationToken) {
    loop {
        match opening.borrow_and_update().clone() {
            Opening::Open => break,
            Opening::Waiting(what) => readiness.waits_for(what),
        }
        tokio::select! {
            changed = opening.changed() => if changed.is_err() { return },
            () = stopping.cancelled() => return,
        }
    }
    readiness.ready();
    tracing::info!("ready");
}

/// Creates or migrates the schema of a store that has one, and tells what was done; or only writes its statements.
///
/// # Errors
/// With the reason, for the operator.
pub async fn schema(settings: &Settings, dry_run: bool) -> anyhow::Result<String> {
    let done = if let Some(cql) = settings.scylla() {
        if dry_run {
            return Ok(Parameters::of(&cql).script());
        }
        let created = create_schema_in_cql(&cql, &SystemClock).await;
        created.with_context(|| format!("cannot create the schema in keyspace {}", cql.address.keyspace))?
    } else if let Some(sql) = settings.mariadb() {
        if dry_run {
            return Ok(script(&sql.address.database, sql.address.indices));
        }
        let created = mariadb::create_schema(&sql, &SystemClock).await;
        created.with_context(|| format!("cannot create the schema in database {}", sql.address.database))?
    } else if let StoreUrl::Valkey(url) = &settings.store {
        return schema_in_valkey(settings, url, dry_run).await;
    } else if let Some(done) = schema_in_dynamodb(settings, dry_run).await? {
        done
    } else {
        bail!("the store {} has no schema", settings.store);
    };
    Ok(done.join("\n") + "\n")
}

#[cfg(feature = "store-valkey")]
async fn schema_in_valkey(settings: &Settings, url: &ValkeyUrl, dry_run: bool) -> anyhow::Result<String> {
    if dry_run {
        return Ok(crate::store::valkey::schema::script());
    }
    let settings = settings.valkey_store().context("the settings of the store are missing")?;
    let created = crate::store::valkey::create_schema(&settings, Arc::new(SystemEntropy)).await;
    Ok(created.with_context(|| format!("cannot create the schema in {url}"))?.join("\n") + "\n")
}

#[cfg(not(feature = "store-valkey"))]
fn schema_in_valkey(_: &Settings, url: &ValkeyUrl, _: bool) -> impl Future<Output = anyhow::Result<String>> {
    let text = format!("this program was built without the feature store-valkey, which {url} needs");
    std::future::ready(Err(anyhow::Error::msg(text)))
}

/// Does the same of a store in DynamoDB; nothing where it is another one.
#[cfg(feature = "store-dynamodb")]
async fn schema_in_dynamodb(settings: &Settings, dry_run: bool) -> anyhow::Result<Option<Vec<String>>> {
    let Some(settings) = settings.dynamodb() else { return Ok(None) };
    if dry_run {
        return Ok(Some(dynamodb::schema::script(&settings.address).lines().map(str::to_owned).collect()));
    }
    let created = dynamodb::create_schema(&settings, &SystemClock).await;
    Ok(Some(created.with_context(|| format!("cannot create the tables of dynamodb://{}", settings.address))?))
}

/// Such a store cannot be named.
#[cfg(not(feature = "store-dynamodb"))]
#[expect(clippy::unused_async, reason = "as with the feature")]
async fn schema_in_dynamodb(_settings: &Settings, _dry_run: bool) -> anyhow::Result<Option<Vec<String>>> {
    Ok(None)
}

/// Opens the store that the settings name, as far as that can be done at once; the receiver tells when it takes calls. What it does
/// beside that is done in `background`, until `stopping`.
///
/// # Errors
/// With the reason, for the operator: a file cannot be read, or the embedded store cannot be opened.
pub fn open_store(
    settings: &Settings,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
    metrics: &Arc<Metrics>,
    background: &TaskTracker,
    stopping: &CancellationToken,
) -> anyhow::Result<(Store, watch::Receiver<Opening>)> {
    let (store, opening) = match &settings.store {
        StoreUrl::Memory => {
            tracing::warn!("the store is in memory: everything is gone when this process ends");
            (memory::open(), watch::channel(Opening::Open).1)
        }
        StoreUrl::Scylla(address) => {
            let settings = settings.scylla().context("the settings of the store are missing")?;
            let (clock, entropy) = (Arc::clone(clock), Arc::clone(entropy));
            let (store, opener, opening) = open_in_cql(settings, clock, entropy, Arc::clone(metrics) as _)
                .with_context(|| format!("cannot use the store scylla://{address}"))?;
            background.spawn(opener.run(stopping.clone()));
            (store, opening)
        }
        StoreUrl::Mariadb(address) => {
            let settings = settings.mariadb().context("the settings of the store are missing")?;
            let (store, opener, opening) = mariadb::open(settings, Arc::clone(clock), Arc::clone(entropy))
                .with_context(|| format!("cannot use the store mariadb://{address}"))?;
            background.spawn(opener.run(stopping.clone()));
            (store, opening)
        }
        #[cfg(feature = "store-valkey")]
        StoreUrl::Valkey(url) => {
            let settings = settings.valkey_store().context("the settings of the store are missing")?;
            let (store, opener, opening) =
                crate::store::valkey::open(settings, Arc::clone(clock), Arc::clone(entropy))
                    .with_context(|| format!("cannot use the store {url}"))?;
            background.spawn(opener.run(stopping.clone()));
            (store, opening)
        }
        #[cfg(not(feature = "store-valkey"))]
        StoreUrl::Valkey(url) => {
            bail!("this program was built without the feature store-valkey, which {url} needs")
        }
        #[cfg(feature = "store-dynamodb")]
        StoreUrl::Dynamodb(_) => {
            let settings = settings.dynamodb().context("the settings of the store are missing")?;
            let (store, opener, opening) = dynamodb::open(settings, Arc::clone(clock), Arc::clone(entropy));
            background.spawn(opener.run(stopping.clone()));
            (store, opening)
        }
        #[cfg(not(feature = "store-dynamodb"))]
        StoreUrl::Dynamodb(address) => bail!("this program was built without the store dynamodb://{address}"),
        StoreUrl::Embedded(directory) => {
            let settings = embedded::EmbeddedSettings { retention: settings.retention.0 };
            let (store, sweeper) = embedded::open(directory, settings, Arc::clone(clock))
                .with_context(|| format!("cannot open the embedded store in {}", directory.display()))?;
            background.spawn(sweeper.run(stopping.clone()));
            (store, watch::channel(Opening::Open).1)
        }
    };
    Ok((measured(store, metrics), opening))
}

async fn open_ephemeral(
    settings: &Settings,
    entropy: &Arc<dyn Entropy>,
    metrics: &Arc<Metrics>,
    background: &TaskTracker,
    stopping: &CancellationToken,
) -> anyhow::Result<Arc<dyn Ephemeral>> {
    let memory = Memory::with_limits(&settings.limits());
    match &settings.ephemeral {
        EphemeralUrl::Local => Ok(Arc::new(LocalEphemeral::new(memory))),
        EphemeralUrl::Valkey(url) => {
            let valkey = valkey_settings(settings, url)?;
            let (entropy, observer) = (Arc::clone(entropy), Arc::clone(metrics) as _);
            Ok(Arc::new(ValkeyEphemeral::open(valkey, entropy, observer, background, stopping).await))
        }
    }
}

/// Reads the files that the settings of Valkey name.
///
/// # Errors
/// If one cannot be read.
pub fn valkey_settings(settings: &Settings, url: &ValkeyUrl) -> anyhow::Result<ValkeySettings> {
    let (password, authority) = (settings.valkey_password_file.as_deref(), settings.valkey_authority.as_deref());
    Ok(ValkeySettings {
        access: Access::read(url.clone(), password, authority, settings.valkey_connect_timeout.0)?,
        response_timeout: settings.valkey_timeout.0,
        memory: Memory::with_limits(&settings.limits()),
        cached_sessions: settings.cached_sessions,
    })
}

async fn bind(
    settings: &Settings,
    background: &TaskTracker,
    stopping: &CancellationToken,
) -> anyhow::Result<(Listener, Listener)> {
    let (header_timeout, idle_timeout) = (settings.header_timeout.0, settings.idle_timeout.0);
    let tls = match settings.tls() {
        None => None,
        Some(files) => {
            let certificate = ReloadingCertificate::load(files).context("cannot use the TLS certificate")?;
            let config = certificate.server_config().context("cannot set up TLS")?;
            let files = vec![certificate.files().certificate.clone(), certificate.files().key.clone()];
            let reload = move || certificate.reload();
            background.spawn(reload::on_change(files, "the TLS certificate", reload, stopping.clone()));
            Some(config)
        }
    };
    let limits = ConnectionLimits { connections: settings.connections, header_timeout, idle_timeout };
    let public = Listener::bind(settings.listen, tls, limits)
        .await
        .with_context(|| format!("cannot listen on {}", settings.listen))?;
    let limits = ConnectionLimits { connections: ADMIN_CONNECTIONS, header_timeout, idle_timeout };
    let admin = Listener::bind(settings.admin_listen, None, limits)
        .await
        .with_context(|| format!("cannot listen on {}", settings.admin_listen))?;
    Ok((public, admin))
}

/// Why the super-administrators' file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SuperAdministratorsError {
    /// It cannot be read.
    #[error("cannot read {path}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It holds what it should not.
    #[error("{path} is not a file of armored certificates")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: CertificateFault,
    },
    /// There are too few.
    #[error("{0} has fewer than two different certificates, and the two-man rule needs two")]
    TooFew(PathBuf),
}

/// Reads the super-administrators' certificates.
///
/// # Errors
/// [`SuperAdministratorsError`].
pub fn read_super_administrators(path: &Path) -> Result<Vec<Arc<Certificate>>, SuperAdministratorsError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| SuperAdministratorsError::Unreadable { path: path.to_owned(), source })?;
    let mut certificates = parse_certificates(&text)
        .map_err(|source| SuperAdministratorsError::Invalid { path: path.to_owned(), source })?;
    certificates.sort_by(|one, other| one.fingerprint().cmp(other.fingerprint()));
    certificates.dedup_by(|one, other| one.fingerprint() == other.fingerprint());
    if certificates.len() < 2 {
        return Err(SuperAdministratorsError::TooFew(path.to_owned()));
    }
    Ok(certificates.into_iter().map(Arc::new).collect())
}

fn super_administrators(
    settings: &Settings,
    background: &TaskTracker,
    stopping: &CancellationToken,
) -> anyhow::Result<SuperAdministrators> {
    let Some(path) = settings.super_administrators.clone() else {
        tracing::warn!("no super-administrators are configured: nobody can create an organization");
        return Ok(Arc::new(ArcSwap::from_pointee(Vec::new())));
    };
    let certificates = read_super_administrators(&path).context("cannot use the super-administrators")?;
    let current = Arc::new(ArcSwap::from_pointee(certificates));
    let reloaded = Arc::clone(&current);
    let file = path.clone();
    let reload = move || {
        reloaded.store(Arc::new(read_super_administrators(&file)?));
        Ok::<(), SuperAdministratorsError>(())
    };
    background.spawn(reload::on_change(vec![path], "the super-administrators", reload, stopping.clone()));
    Ok(current)
}
