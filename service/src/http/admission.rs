//! Which requests are let in: a bound on those in work, by class, and a rate for each address.
//!
//! Both refuse at once and queue nothing: an answer "come back soon" now is worth more than one after the client's
//! patience is over. The classes have bounds of their own, so that waiting listings cannot starve senders.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Request;
use pin_project_lite::pin_project;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::{Layer, Service};

use super::address::{TrustedProxies, rate_key};
use super::error::ApiError;
use super::route::{Matched, Operation};
use crate::rate_limit::RateLimit;

/// The address that a connection came from; the listener puts it into each of its requests.
#[derive(Clone, Copy, Debug)]
pub struct PeerAddress(pub SocketAddr);

/// How many requests of each class may be in work at once.
#[derive(Clone, Copy, Debug)]
pub struct AdmissionLimits {
    /// Requests that only read.
    pub reads: usize,
    /// Requests that change something.
    pub writes: usize,
    /// Listings that wait for something new.
    pub waits: usize,
    /// Requests that need public-key work.
    pub public_key: usize,
}

/// Lets requests in, or not.
#[derive(Clone, Debug)]
pub struct AdmissionLayer(Arc<Doors>);

#[derive(Debug)]
struct Doors {
    reads: Arc<Semaphore>,
    writes: Arc<Semaphore>,
    waits: Arc<Semaphore>,
    public_key: Arc<Semaphore>,
    limits: AdmissionLimits,
    rate: RateLimit<IpAddr>,
    proxies: TrustedProxies,
}

impl AdmissionLayer {
    /// Makes the layer.
    #[must_use]
    pub fn new(limits: AdmissionLimits, rate: RateLimit<IpAddr>, proxies: TrustedProxies) -> Self {
        let door = |permits: usize| Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
        Self(Arc::new(Doors {
            reads: door(limits.reads),
            writes: door(limits.writes),
            waits: door(limits.waits),
            public_key: door(limits.public_key),
            limits,
            rate,
            proxies,
        }))
    }
}

impl AdmissionLayer {
    /// Returns, for each class by its name, how many requests are in work and how many may be.
    #[must_use]
    pub fn in_work(&self) -> [(&'static str, usize, usize); 4] {
        let Doors { reads, writes, waits, public_key, limits, .. } = &*self.0;
        let state =
            |class, door: &Semaphore, limit: usize| (class, limit.saturating_sub(door.available_permits()), limit);
        [
            state("reads", reads, limits.reads),
            state("writes", writes, limits.writes),
            state("waits", waits, limits.waits),
            state("public-key", public_key, limits.public_key),
        ]
    }
}

impl Doors {
    fn admit<B>(&self, request: &Request<B>) -> Result<OwnedSemaphorePermit, ApiError> {
        if let Some(PeerAddress(peer)) = request.extensions().get() {
            let address = rate_key(self.proxies.client_address(*peer, request.headers()));
            self.rate.check(&address).map_err(|retry_after| ApiError::RateLimited { retry_after })?;
        }
        let door = self.door(request);
        Arc::clone(door).try_acquire_owned().map_err(|_| ApiError::Overloaded)
    }

    fn door<B>(&self, request: &Request<B>) -> &Arc<Semaphore> {
        let operation = request.extensions().get::<Matched>().map_or(Operation::UnknownPath, |at| at.operation);
        match operation {
            Operation::ListMessages if request.headers().contains_key("prefer") => &self.waits,
            Operation::RequestSessionKey
            | Operation::CreateOrganization
            | Operation::AddUser
            | Operation::UpdateUser => &self.public_key,
            _ if operation.writes() => &self.writes,
            _ => &self.reads,
        }
    }
}

impl<S> Layer<S> for AdmissionLayer {
    type Service = Admission<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Admission { inner, doors: Arc::clone(&self.0) }
    }
}

/// The service that [`AdmissionLayer`] makes.
#[derive(Clone, Debug)]
pub struct Admission<S> {
    inner: S,
    doors: Arc<Doors>,
}

impl<S, B> Service<Request<B>> for Admission<S>
where
    S: Service<Request<B>, Error = ApiError>,
{
    type Response = S::Response;
    type Error = ApiError;
    type Future = AdmissionFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ApiError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match self.doors.admit(&request) {
            Ok(permit) => {
                let inner = Some(self.inner.call(request));
                AdmissionFuture { inner, refusal: None, permit: Some(permit) }
            }
            Err(refusal) => AdmissionFuture { inner: None, refusal: Some(refusal), permit: None },
        }
    }
}

pin_project! {
    /// The inner future with its permit, or the refusal. The permit goes back when the response is there: bodies are
    /// whole, so nothing of a request is left to do then but to write it out.
    pub struct AdmissionFuture<F> {
        #[pin]
        inner: Option<F>,
        refusal: Option<ApiError>,
        permit: Option<OwnedSemaphorePermit>,
    }
}

impl<F, T> Future for AdmissionFuture<F>
where
    F: Future<Output = Result<T, ApiError>>,
{
    type Output = Result<T, ApiError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.inner.as_pin_mut() {
            Some(inner) => inner.poll(context),
            None => Poll::Ready(Err(this.refusal.take().unwrap_or(ApiError::Broken))),
        }
    }
}
