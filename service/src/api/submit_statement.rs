//! `POST /<organization>`, `POST /<organization>/<user>` and `PUT /<organization>/<user>`: a statement under the
//! two-man rule. What authenticates it are the signatures in its body.

use countersign_protocol::log::LogEntry;
use countersign_protocol::statement::{Change, Statement};
use http::StatusCode;

use super::authenticate::{organization, user};
use super::{Answer, ApiParts, Incoming, json};
use crate::http::error::ApiError;
use crate::http::incoming::{Query, whole_body};
use crate::http::route::Operation;

impl ApiParts {
    pub(super) async fn submit_statement(&self, operation: Operation, request: Incoming) -> Result<Answer, ApiError> {
        let Incoming { ids, parts, body } = request;
        Query::parse(&parts.uri, &[])?;
        let body = whole_body(body, self.limits.statement_bytes, self.body_timeout).await?;
        let entry: LogEntry = serde_json::from_slice(&body).map_err(|error| {
            ApiError::Malformed(format!(
                "The body is not {{\"statement\": \"…\", \"signatures\": [\"…\"]}}: {error}."
            ))
        })?;
        let statement = Statement::parse(&entry.statement).map_err(ApiError::Statement)?;
        let fits = match &statement.change {
            Change::CreateOrganization { .. } => operation == Operation::CreateOrganization,
            Change::AddUser { user: added, .. } => operation == Operation::AddUser && *added == user(&ids)?,
            Change::UpdateUser { user: updated, .. } => operation == Operation::UpdateUser && *updated == user(&ids)?,
        };
        if !fits || statement.organization != organization(&ids)? {
            return Err(ApiError::Malformed(
                "The statement's kind, organization and user are not those of the method and path.".to_owned(),
            ));
        }

        let accepted = self.authority.submit(statement, entry).await.map_err(ApiError::Authority)?;

        let status = if operation == Operation::UpdateUser { StatusCode::OK } else { StatusCode::CREATED };
        Ok(json(status, &accepted.head))
    }
}
