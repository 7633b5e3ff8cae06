//! `GET /<organization>/log?after=<sequence>`: log entries after a sequence, oldest first.

use countersign_protocol::body::{AnsweredEntry, LogPage};
use http::StatusCode;

use super::authenticate::SessionOf;
use super::{Answer, ApiParts, Incoming, PAGE, PAGE_MAX, json};
use crate::http::error::ApiError;
use crate::http::incoming::Query;

/// Bytes of entries that one answer holds, unless a single one is larger.
const PAGE_BYTES: usize = 4 * 1024 * 1024;

impl ApiParts {
    pub(super) async fn read_log(&self, request: Incoming) -> Result<Answer, ApiError> {
        let request = self.authenticate(request, SessionOf::ThePath, 0).await?;
        let query = Query::parse(&request.parts.uri, &["after", "limit"])?;
        let after: i64 = query.optional("after")?.unwrap_or(-1);
        let first = u64::try_from(after.saturating_add(1))
            .map_err(|_| ApiError::Malformed("The query's after is a sequence, or -1 for the start.".to_owned()))?;
        let limit = query.limit(PAGE, PAGE_MAX)?;

        let log = self.authority.log(request.caller.client().organization, first, limit).await;

        let (head, entries) = log.map_err(ApiError::Store)?.ok_or(ApiError::NotFound)?;
        let mut bytes = 0;
        let fitting = entries.into_iter().enumerate().take_while(|(index, entry)| {
            bytes += entry.statement.len() + entry.signatures.iter().map(String::len).sum::<usize>();
            *index == 0 || bytes <= PAGE_BYTES
        });
        let entries = fitting.map(|(_, entry)| AnsweredEntry::from(entry)).collect();
        Ok(json(StatusCode::OK, &LogPage { entries, head }))
    }
}
