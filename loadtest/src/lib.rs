//! The Countersign load tester, as a library: what `countersign-loadtest` does, and what tests do with it.
//!
//! # How it is made
//!
//! | module | owns |
//! |---|---|
//! | [`ledger`] | writers that write down every 201, readers that write down what they hold, a judge who compares |
//! | [`chaos`] | a seeded plan of faults, the processes and connections that it is done to, timeline and report |
//! | [`canary`] | a user who writes to itself through the ingress, for ever, and the metrics of that |
//! | [`people`] | organizations and their users, set up by the real protocol |
//! | [`keys`] | `OpenPGP` keys in this process, made once and kept; the only one here who knows sequoia |
//! | [`wire`] | one client of one user over one or many servers: sessions, nonces, one attempt at a time |
//! | [`clock`], [`random`] | time and randomness, which are parameters everywhere else |
//!
//! Arrows go downwards: `chaos → ledger, canary → people → wire → keys → clock, random`. Signatures and connections are
//! those of `countersign-client`; what is signed and what is answered is the protocol's.
//!
//! It is meant for services that are under test or under load by their owners: the keys of its people lie unprotected
//! in its folder (docs/decisions/0012-keys-of-the-load-tester.md).

pub mod canary;
pub mod chaos;
pub mod clock;
pub mod keys;
pub mod ledger;
pub mod people;
pub mod random;
pub mod wire;
