//! HTTP: listeners, the order of layers, the table of routes, and errors as problems.
//!
//! Owns: everything between a socket and a handler. Refuses to know: what handlers do.

pub mod address;
pub mod admin;
pub mod admission;
pub mod catch_panic;
pub mod deadline;
pub mod error;
pub mod incoming;
pub mod linger;
pub mod listener;
pub mod measure;
pub mod respond;
pub mod route;
pub mod stack;
pub mod tls;

use bytes::Bytes;

/// The body of every response: whole, since the largest is a content of a few MiB at most.
pub type ResponseBody = http_body_util::Full<Bytes>;

/// The body of every request, as it arrives.
pub type RequestBody = hyper::body::Incoming;
