//! `PUT /<organization>/<user>/message/<message>?receipt=<message>`: acknowledges its reception to the sender.

use super::authenticate::SessionOf;
use super::{Answer, ApiParts, Incoming, no_content};
use crate::http::error::ApiError;
use crate::http::incoming::Query;

impl ApiParts {
    pub(super) async fn acknowledge_message(&self, request: Incoming) -> Result<Answer, ApiError> {
        let request = self.authenticate(request, SessionOf::ThePath, self.limits.content_bytes).await?;
        let receipt = Query::parse(&request.parts.uri, &["receipt"])?.required("receipt")?;
        let message = request.message()?;
        if request.body.is_empty() {
            return Err(ApiError::Malformed("A receipt's body is the detached OpenPGP signature.".to_owned()));
        }

        let acknowledged = self.delivery.acknowledge(request.caller.client(), message, receipt, request.body).await;

        acknowledged.map(|()| no_content()).map_err(ApiError::Delivery)
    }
}
