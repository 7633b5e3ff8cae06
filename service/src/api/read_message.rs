//! `GET /<organization>/<user>/message/<message>`: the content. Reading it changes nothing.

use super::authenticate::SessionOf;
use super::{Answer, ApiParts, Incoming, octets};
use crate::http::error::ApiError;
use crate::http::incoming::Query;

impl ApiParts {
    pub(super) async fn read_message(&self, request: Incoming) -> Result<Answer, ApiError> {
        let request = self.authenticate(request, SessionOf::ThePath, 0).await?;
        Query::parse(&request.parts.uri, &[])?;
        let client = request.caller.client();

        let content = self.delivery.read(client.organization, client.user, request.message()?).await;

        content.map(octets).map_err(ApiError::Delivery)
    }
}
