//! `GET /<organization>/<user>/message?limit=<n>`: what is new for the client, perhaps after waiting for it.

use std::time::Duration;

use countersign_protocol::body::Listing;
use countersign_protocol::limits::Limits;
use countersign_protocol::time::UnixMicros;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::authenticate::{SessionOf, refused};
use super::{Answer, ApiParts, Incoming, json};
use crate::delivery::{DeliveryError, ListingRequest};
use crate::http::error::ApiError;
use crate::http::incoming::Query;
use crate::session::{Needs, SessionError};

impl ApiParts {
    pub(super) async fn list_messages(&self, request: Incoming) -> Result<Answer, ApiError> {
        let mut request = self.authenticate_with(request, SessionOf::ThePath, 0, Needs::ListingState).await?;
        let query = Query::parse(&request.parts.uri, &["limit"])?;
        let limit = query.limit(self.limits.list_page, Limits::LIST_PAGE_MAX)?;
        let wait = preferred_wait(&request.parts.headers)?.map(|wait| wait.min(self.limits.long_poll));

        let state = request.caller.take_listing_state();
        let (client, session) = (*request.caller.client(), request.caller.session());
        let listing = ListingRequest { client, session, state, limit, wait };
        let listed = self.delivery.list(listing, self.draining.cancelled()).await;
        let new = listed.map_err(|error| match error {
            DeliveryError::SessionEnded => refused(SessionError::SessionUnknown),
            error => ApiError::Delivery(error),
        })?;
        if wait.is_some() {
            // It may have waited longer than a revocation may take.
            self.sessions.still_in_force(&request.caller).await.map_err(refused)?;
        }

        let gap = new.gap.map(|gap| UnixMicros::from(gap).to_string());
        let mut response = json(StatusCode::OK, &Listing { messages: new.items, more: new.more, gap });
        if let Some(wait) = wait
            && let Ok(applied) = HeaderValue::from_str(&format!("wait={}", wait.as_secs()))
        {
            response.headers_mut().insert("preference-applied", applied);
        }
        Ok(response)
    }
}

/// Reads `wait=<seconds>` of the `Prefer` headers (RFC 7240). Other preferences are ignored, as that RFC says.
fn preferred_wait(headers: &HeaderMap) -> Result<Option<Duration>, ApiError> {
    for value in headers.get_all("prefer") {
        for preference in value.to_str().unwrap_or("").split(',') {
            let Some((name, value)) = preference.split_once('=') else { continue };
            if name.trim().eq_ignore_ascii_case("wait") {
                let seconds = value.split(';').next().unwrap_or("").trim().trim_matches('"');
                return match seconds.parse::<u32>() {
                    Ok(seconds) => Ok(Some(Duration::from_secs(seconds.into()))),
                    Err(_) => Err(ApiError::Malformed("The header Prefer is wait=<seconds>.".to_owned())),
                };
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(values: &[&str]) -> Result<Option<u64>, ()> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("prefer", value.parse().unwrap());
        }
        preferred_wait(&headers).map(|wait| wait.map(|wait| wait.as_secs())).map_err(drop)
    }

    #[test]
    fn the_wait_preference_is_found_among_others() {
        assert_eq!(wait(&[]), Ok(None));
        assert_eq!(wait(&["wait=10"]), Ok(Some(10)));
        assert_eq!(wait(&["respond-async, Wait = \"7\"; x=y"]), Ok(Some(7)));
        assert_eq!(wait(&["respond-async", "wait=0"]), Ok(Some(0)));
        assert_eq!(wait(&["waiting=3"]), Ok(None));
        assert_eq!(wait(&["wait=soon"]), Err(()));
        assert_eq!(wait(&["wait=-1"]), Err(()));
    }
}
