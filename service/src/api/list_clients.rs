//! `GET /<organization>/<user>/client`: the user's registered clients.

use countersign_protocol::body::{ClientList, RegisteredClient};
use http::StatusCode;

use super::authenticate::{SessionOf, refused};
use super::{Answer, ApiParts, Incoming, json};
use crate::http::error::ApiError;
use crate::http::incoming::Query;

impl ApiParts {
    pub(super) async fn list_clients(&self, request: Incoming) -> Result<Answer, ApiError> {
        let request = self.authenticate(request, SessionOf::ThePath, 0).await?;
        Query::parse(&request.parts.uri, &[])?;

        let places = self.sessions.clients(&request.caller).await.map_err(refused)?;

        let registered =
            places.into_iter().map(|place| RegisteredClient { client: place.client, since: place.since.to_string() });
        Ok(json(StatusCode::OK, &ClientList { clients: registered.collect() }))
    }
}
