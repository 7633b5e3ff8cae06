//! One request and its answer, for the drivers that are no Countersign: over the same HTTP stack as its own.

use std::time::Duration;

use bytes::Bytes;
use countersign_client::connection::HttpClient;
use http::{Method, Request};
use http_body_util::Full;
use serde::de::DeserializeOwned;

use super::driver::Failure;

/// How long an answer may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// How much of a refusal is shown.
const TOLD: usize = 200;

/// A request: a path with its query, credentials for `Authorization`, and a body.
#[derive(Debug)]
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) target: &'a str,
    pub(super) authorization: Option<&'a str>,
    pub(super) content_type: &'static str,
    pub(super) body: Bytes,
}

impl<'a> Ask<'a> {
    /// Asks for JSON with JSON.
    pub(super) fn json(
        method: Method,
        target: &'a str,
        authorization: Option<&'a str>,
        body: &impl ToString,
    ) -> Self {
        Self { method, target, authorization, content_type: "application/json", body: body.to_string().into() }
    }

    /// Sends it and returns the body of the answer, which must be a success.
    pub(super) async fn send(self, http: &HttpClient) -> Result<Bytes, Failure> {
        let mut request = Request::builder().method(self.method).uri(format!("{}{}", http.server(), self.target));
        if let Some(authorization) = self.authorization {
            request = request.header("authorization", authorization);
        }
        if !self.body.is_empty() {
            request = request.header("content-type", self.content_type);
        }
        let request = request.body(Full::new(self.body)).map_err(|error| Failure::Unreadable(error.to_string()))?;
        let answer = http.send(request, PATIENCE).await?;
        if answer.status.is_success() {
            return Ok(answer.body);
        }
        let text = String::from_utf8_lossy(&answer.body).chars().take(TOLD).collect();
        Err(Failure::Refused { status: answer.status, text })
    }
}

/// Reads an answer.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| Failure::Unreadable(error.to_string()))
}
