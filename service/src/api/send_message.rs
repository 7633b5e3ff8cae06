//! `POST /<organization>/<user>/message?id=<message>&to=<user>[&to=…]`: sends.

use countersign_protocol::body::Sent;
use countersign_protocol::id::UserId;
use http::StatusCode;

use super::authenticate::SessionOf;
use super::{Answer, ApiParts, Incoming, json};
use crate::authority::Organization;
use crate::delivery::Outgoing;
use crate::http::error::ApiError;
use crate::http::incoming::Query;

/// Returns those who are not active users of the organization, as far as the pod knows.
fn unknown_among(recipients: &[UserId], organization: &Organization) -> Vec<UserId> {
    organization.look(|fold| {
        let active = |user: &UserId| fold.member(user).is_some_and(|member| member.active);
        recipients.iter().filter(|user| !active(user)).copied().collect()
    })
}

impl ApiParts {
    pub(super) async fn send_message(&self, request: Incoming) -> Result<Answer, ApiError> {
        let request = self.authenticate(request, SessionOf::ThePath, self.limits.content_bytes).await?;
        let query = Query::parse(&request.parts.uri, &["id", "to"])?;
        let id = query.required("id")?;
        let mut recipients = query.all("to").collect::<Result<Vec<UserId>, ApiError>>()?;
        recipients.sort_unstable();
        recipients.dedup();
        if recipients.is_empty() || recipients.len() > self.limits.recipients {
            return Err(ApiError::Malformed(format!("A message has 1 to {} recipients.", self.limits.recipients)));
        }
        if request.body.is_empty() {
            return Err(ApiError::Malformed("A message has at least one byte of content.".to_owned()));
        }
        let sender = request.caller.client();
        let (organization, user) = (sender.organization, sender.user);
        let view = request.caller.organization();
        let mut unknown = unknown_among(&recipients, view);
        if !unknown.is_empty() {
            self.authority.look_again(organization, view).await.map_err(ApiError::Store)?;
            unknown = unknown_among(&recipients, view);
        }
        if !unknown.is_empty() {
            return Err(ApiError::UnknownRecipients(unknown));
        }

        let outgoing = Outgoing { organization, sender: user, id, recipients, content: request.body };
        self.delivery.send(outgoing).await.map_err(ApiError::Delivery)?;

        Ok(json(StatusCode::CREATED, &Sent { id }))
    }
}
