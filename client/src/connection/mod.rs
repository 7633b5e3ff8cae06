//! What goes over the wire: signed requests, session keys, retries, the clock's correction.
//!
//! Owns: how a request gets its answer. Refuses to know: what an answer means, and whether to believe it; that is for
//! the log, the inbox and the outbox.
//!
//! Invariant: every request may be sent again. Reading changes nothing, statements and messages are the same when they
//! are repeated, and a confirmation says what is true anyway.

mod http_client;
mod retry;
mod server;
mod signing;

pub use http_client::{Answer, HttpClient, ServerUrl, TransportError, Trust};
pub use retry::{RetryBudget, RetryPolicy};
pub(crate) use server::{Parts as ServerParts, submit};
pub use server::{Server, ServerError};
pub use signing::{Call, RequestSigner, SignedHeaders};
