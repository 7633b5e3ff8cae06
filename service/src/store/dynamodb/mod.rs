//! The store in DynamoDB: tables that grow and are replicated by AWS, and nothing to operate.
//!
//! - [`settings`]: what can be set. It is always there; all else is behind the Cargo feature `store-dynamodb`.
//! - `attributes`: how items are written and read.
//! - `session`: the client, how long calls may take, what is repeated; what errors mean.
//! - `batches`: writes and reads of many items, until none is left unprocessed.
//! - `pages`: queries, page by page and day by day.
//! - `schema`: the tables and their version.
//! - `contents`, `mailbox`, `registry`: the two traits on these.
//! - `opening`: how a store opens in the background.
//! - `examination`: what `countersignd doctor` says of it.
//!
//! What operators need to know: `docs/dynamodb.md`. Why it is as it is: `docs/decisions/0018-dynamodb.md`.
//!
//! Invariant I-20: a process starts and stays up whatever DynamoDB does. Until it has found credentials and a schema that it
//! can use, every call is [`StoreError::Unavailable`](super::StoreError::Unavailable) and [`Opening`](super::Opening) says why.

#[cfg(feature = "store-dynamodb")]
mod attributes;
#[cfg(feature = "store-dynamodb")]
mod batches;
#[cfg(feature = "store-dynamodb")]
mod contents;
#[cfg(feature = "store-dynamodb")]
mod examination;
#[cfg(feature = "store-dynamodb")]
mod mailbox;
#[cfg(feature = "store-dynamodb")]
mod opening;
#[cfg(feature = "store-dynamodb")]
mod pages;
#[cfg(feature = "store-dynamodb")]
mod registry;
#[cfg(feature = "store-dynamodb")]
pub mod schema;
#[cfg(feature = "store-dynamodb")]
mod session;
pub mod settings;
#[cfg(test)]
#[cfg(feature = "store-dynamodb")]
mod tests;

#[cfg(feature = "store-dynamodb")]
pub use examination::examine;
#[cfg(feature = "store-dynamodb")]
pub use opening::{CreateSchemaError, Opener, create_schema, open};
