//! What a Countersign client and service must agree on, from `docs/protocol.md`.
//!
//! Owns: identifiers, times and nonces, message ids, statements and the log that they fold into, the two-man rule,
//! OpenPGP verification (the only home of sequoia), request signatures, receipts, JSON bodies, problems and limits.
//!
//! Refuses to know: sockets, files, threads, and what time it is. Every function is a pure function of its
//! arguments (encryption alone draws randomness, inside sequoia), so a client can run the very code that the service
//! runs and need not trust the service.

pub mod body;
pub mod digest;
pub mod id;
mod json;
pub mod limits;
pub mod log;
pub mod message_id;
pub mod nonce;
pub mod openpgp;
pub mod organization;
pub mod problem;
pub mod receipt;
pub mod request_signature;
pub mod session_key;
pub mod statement;
pub mod time;
pub mod two_man_rule;
