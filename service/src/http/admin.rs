//! The administrative listener. Never reachable through the ingress.
//!
//! - `GET /metrics`: Prometheus' text format.
//! - `GET /livez`: 200 while the event loop runs.
//! - `GET /readyz`: 200 between start and drain, else 503; the body says why.

use std::convert::Infallible;
use std::sync::Arc;

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use tower::service_fn;
use tower::util::BoxCloneSyncService;

use super::{RequestBody, ResponseBody};
use crate::lifecycle::Readiness;
use crate::telemetry::metrics::Metrics;

/// Makes the administrative service. `refresh` is called before metrics are read, for those that nobody else sets.
pub fn service(
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
    refresh: impl Fn(&Metrics) + Send + Sync + 'static,
) -> BoxCloneSyncService<Request<RequestBody>, Response<ResponseBody>, Infallible> {
    let refresh = Arc::new(refresh);
    BoxCloneSyncService::new(service_fn(move |request: Request<RequestBody>| {
        let (metrics, readiness, refresh) = (Arc::clone(&metrics), Arc::clone(&readiness), Arc::clone(&refresh));
        async move {
            let answer = match (request.method(), request.uri().path()) {
                (&Method::GET, "/metrics") => {
                    refresh(&metrics);
                    match metrics.encode() {
                        Ok(encoded) => text(StatusCode::OK, encoded, "text/plain; version=0.0.4; charset=utf-8"),
                        Err(error) => {
                            tracing::error!(%error, "metrics cannot be written");
                            plain(StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be written\n")
                        }
                    }
                }
                (&Method::GET, "/livez") => plain(StatusCode::OK, "alive\n"),
                (&Method::GET, "/readyz") => match readiness.check() {
                    Ok(_) => plain(StatusCode::OK, "ready\n"),
                    Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n").into(), PLAIN),
                },
                (_, "/metrics" | "/livez" | "/readyz") => plain(StatusCode::METHOD_NOT_ALLOWED, "GET only\n"),
                _ => plain(StatusCode::NOT_FOUND, "/metrics, /livez, /readyz\n"),
            };
            Ok(answer)
        }
    }))
}

const PLAIN: &str = "text/plain; charset=utf-8";

fn plain(status: StatusCode, body: &'static str) -> Response<ResponseBody> {
    text(status, body.into(), PLAIN)
}

fn text(status: StatusCode, body: Vec<u8>, media_type: &'static str) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}
