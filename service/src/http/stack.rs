//! The order of layers, outermost first, each with the reason why it stands there.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Request, Response, header};
use tower::ServiceBuilder;
use tower::util::{BoxCloneSyncService, MapRequestLayer, MapResponseLayer};

use super::admission::AdmissionLayer;
use super::catch_panic::CatchPanicLayer;
use super::deadline::DeadlineLayer;
use super::measure::MeasureLayer;
use super::respond::RespondLayer;
use super::route::Routes;
use super::{RequestBody, ResponseBody};
use crate::api::Api;
use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::telemetry::metrics::Metrics;

/// The whole stack: it answers every request with a response.
pub type Stack = BoxCloneSyncService<Request<RequestBody>, Response<ResponseBody>, Infallible>;

/// What the stack is made of.
pub struct StackParts {
    /// The handlers.
    pub api: Api,
    /// Where requests are counted.
    pub metrics: Arc<Metrics>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The source of randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Which requests are let in.
    pub admission: AdmissionLayer,
    /// How long a request may take that waits for nothing.
    pub request_timeout: Duration,
    /// How long a listing may wait.
    pub long_poll: Duration,
}

/// Builds the stack.
#[must_use]
pub fn build(parts: StackParts) -> Stack {
    let routes = Arc::new(Routes::default());
    let stack = ServiceBuilder::new()
        // First, and pure: gives everything below a bounded name for the request.
        .layer(MapRequestLayer::new(move |mut request: Request<RequestBody>| {
            let matched = routes.find(request.method(), request.uri().path());
            request.extensions_mut().insert(matched);
            request
        }))
        // Sees shed, refused, panicked and abandoned requests too, and gives the request its id.
        .layer(MeasureLayer::new(parts.metrics, &*parts.entropy))
        // On every response, errors included.
        .layer(MapResponseLayer::new(fixed_headers))
        // Outside of Respond, so that a panic there is caught too.
        .layer(CatchPanicLayer)
        // The seam: below, layers fail with typed errors; above, there are only responses.
        .layer(RespondLayer::new(parts.clock, parts.entropy))
        // Before a byte of the body is read. Refuses at once instead of queueing, by class, so that waiting listings
        // cannot starve senders; and by address.
        .layer(parts.admission)
        // Inside admission, since a refusal takes no time; outside of the handlers, so that no store holds one for ever.
        .layer(DeadlineLayer { request: parts.request_timeout, long_poll: parts.long_poll })
        // Body limit, authentication and the clients' rates need to know the operation: the handlers begin with them.
        .service(parts.api);
    BoxCloneSyncService::new(stack)
}

fn fixed_headers(mut response: Response<ResponseBody>) -> Response<ResponseBody> {
    let headers = response.headers_mut();
    // Nothing here is for a cache, nor for a browser to guess at.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
