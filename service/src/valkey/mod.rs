//! What everything that talks to Valkey needs: where it is, how to log in, what its answers to questions about itself
//! mean, and libraries of functions of a version.
//!
//! Owns: URL, log-in and TLS of a connection. Refuses to know: what is kept in Valkey, and when to connect anew. The
//! ephemeral store (`ephemeral/valkey`) and the store (`store/valkey`) are on this; they share no connection.

pub mod access;
pub mod info;
pub mod library;
#[cfg(test)]
#[path = "../../tests/end_to_end/support/valkey.rs"]
#[cfg_attr(not(feature = "store-valkey"), expect(dead_code, reason = "only the store needs servers that persist"))]
pub(crate) mod server;
mod url;

pub use access::Access;
pub use url::{EXPECTED, ValkeyUrl};
