//! Reading a request's headers, query and body, strictly.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Uri};
use http_body::Body as _;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use super::RequestBody;
use super::error::ApiError;

/// Bytes of a refused body that are read and dropped at least: whoever sends a file that is too large shall learn so.
const DISCARDED_BYTES: usize = 16 * 1024 * 1024;

/// Returns a header that may stand once.
///
/// # Errors
/// [`ApiError::Malformed`] if it stands more than once or is not ASCII.
pub fn single_header<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, ApiError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(ApiError::Malformed(format!("The header {name} stands more than once.")));
    }
    value.to_str().map(Some).map_err(|_| ApiError::Malformed(format!("The header {name} is not ASCII.")))
}

/// Tells whether a request has a body of at least one byte, or may have.
#[must_use]
pub fn has_body(body: &RequestBody) -> bool {
    !body.is_end_stream() && body.size_hint().upper() != Some(0)
}

/// Reads a whole body.
///
/// # Errors
/// [`ApiError::ContentTooLarge`] beyond `limit` bytes: at once where `Content-Length` tells, else when they arrive.
/// [`ApiError::BodyTimeout`] if it takes longer than `time` from first to last byte, however steadily it trickles.
pub async fn whole_body(mut body: RequestBody, limit: usize, time: Duration) -> Result<Bytes, ApiError> {
    if body.size_hint().lower() > limit as u64 {
        discard(body, limit, time).await;
        return Err(ApiError::ContentTooLarge { limit });
    }
    match tokio::time::timeout(time, Limited::new(&mut body, limit).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) => match error.downcast::<hyper::Error>() {
            Ok(broken) => Err(ApiError::BodyBroken(*broken)),
            Err(other) if other.is::<LengthLimitError>() => {
                discard(body, limit, time).await;
                Err(ApiError::ContentTooLarge { limit })
            }
            Err(_) => Err(ApiError::Malformed("The body cannot be read.".to_owned())),
        },
        Err(_) => Err(ApiError::BodyTimeout),
    }
}

/// Reads the rest of a refused request's body and drops it, for at most `time` and up to `limit` bytes, or some MiB if
/// that is more: then its connection can carry the next request, and a client that keeps connections for later ones does
/// not find them closed. What is larger is left unread, and `http/linger.rs` sees to it that the answer arrives.
pub async fn discard(body: RequestBody, limit: usize, time: Duration) {
    let limit = limit.max(DISCARDED_BYTES);
    if has_body(&body) && body.size_hint().lower() <= limit as u64 {
        let mut rest = Limited::new(body, limit);
        let _ = tokio::time::timeout(time, async { while let Some(Ok(_)) = rest.frame().await {} }).await;
    }
}

/// A parsed query, of which only known parameters are accepted: what is signed must also be understood.
#[derive(Clone, Debug, Default)]
pub struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'q> Query<'q> {
    /// Parses the query of a target, which may have the parameters `known`.
    ///
    /// # Errors
    /// [`ApiError::Malformed`] names a parameter that is not known.
    pub fn parse(uri: &'q Uri, known: &[&str]) -> Result<Self, ApiError> {
        let pairs: Vec<_> = form_urlencoded::parse(uri.query().unwrap_or("").as_bytes()).collect();
        match pairs.iter().find(|(name, _)| !known.contains(&&**name)) {
            Some((name, _)) => Err(ApiError::Malformed(format!("The query has no parameter {name:?} here."))),
            None => Ok(Self(pairs)),
        }
    }

    /// Parses a parameter that may stand once.
    ///
    /// # Errors
    /// [`ApiError::Malformed`] if it stands more than once or cannot be parsed.
    pub fn optional<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, ApiError>
    where
        T::Err: std::fmt::Display,
    {
        let mut values = self.all(name);
        let value = values.next().transpose()?;
        if values.next().is_some() {
            return Err(ApiError::Malformed(format!("The query's {name} stands more than once.")));
        }
        Ok(value)
    }

    /// Parses a parameter that must stand once.
    ///
    /// # Errors
    /// [`ApiError::Malformed`].
    pub fn required<T: std::str::FromStr>(&self, name: &str) -> Result<T, ApiError>
    where
        T::Err: std::fmt::Display,
    {
        self.optional(name)?.ok_or_else(|| ApiError::Malformed(format!("The query needs {name}=….")))
    }

    /// Parses a parameter that may stand any number of times.
    pub fn all<'a, T: std::str::FromStr>(&'a self, name: &'a str) -> impl Iterator<Item = Result<T, ApiError>> + 'a
    where
        T::Err: std::fmt::Display,
    {
        self.0.iter().filter(move |(key, _)| key == name).map(move |(_, value)| {
            value.parse().map_err(|error| ApiError::Malformed(format!("The query's {name} is {error}.")))
        })
    }

    /// Parses `limit`, from 1 to `max`.
    ///
    /// # Errors
    /// [`ApiError::Malformed`].
    pub fn limit(&self, default: usize, max: usize) -> Result<usize, ApiError> {
        let limit = self.optional::<usize>("limit").map_err(|_| limit_error(max))?.unwrap_or(default);
        if limit == 0 || limit > max { Err(limit_error(max)) } else { Ok(limit) }
    }
}

fn limit_error(max: usize) -> ApiError {
    ApiError::Malformed(format!("The query's limit is one number from 1 to {max}."))
}
