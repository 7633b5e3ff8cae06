//! `GET /<organization>?after=<user>&limit=<n>`: its users, a page at a time, and the head of its log.

use countersign_protocol::body::UserPage;
use http::StatusCode;

use super::authenticate::SessionOf;
use super::{Answer, ApiParts, Incoming, PAGE, PAGE_MAX, json};
use crate::http::error::ApiError;
use crate::http::incoming::Query;

impl ApiParts {
    pub(super) async fn list_users(&self, request: Incoming) -> Result<Answer, ApiError> {
        let request = self.authenticate(request, SessionOf::ThePath, 0).await?;
        let query = Query::parse(&request.parts.uri, &["after", "limit"])?;
        let (after, limit) = (query.optional("after")?, query.limit(PAGE, PAGE_MAX)?);
        let organization = request.caller.client().organization;

        let page = self.authority.users(organization, after, limit).await.map_err(ApiError::Store)?;

        let (head, records) = page.ok_or(ApiError::NotFound)?;
        let next = if records.len() < limit { None } else { records.last().map(|record| record.user) };
        let users = records.into_iter().map(|record| self.user(record)).collect();
        Ok(json(StatusCode::OK, &UserPage { organization, head, users, next }))
    }
}
