//! The real command against the real service, with real keys in separate GnuPG homes, and against a server that lies.
//!
//! `cargo test --workspace` builds the service first. For this package alone, build it once by hand:
//! `cargo build -p countersign-service`, or name it in `COUNTERSIGND`.

#![expect(clippy::unwrap_used, reason = "a test may say briefly what must hold")]

mod by_hand;
mod card;
mod clocks;
mod commands;
mod conversation;
mod crash;
mod lies;
mod organization;
mod support;
mod tls;
