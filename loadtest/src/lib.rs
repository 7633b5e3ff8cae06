//! The Countersign load tester, as a library: what `countersign-loadtest` does, and what tests do with it.
//!
//! # How it is made
//!
//! | module | owns |
//! |---|---|
//! | [`experiments`] | the article's experiments and ours: processes in nodes, points, what is held against what |
//! | [`load`] | a load test from set-up to summary |
//! | [`workers`] | several load tests that begin together and end in one verdict |
//! | `deployment` | the service's Deployment in a Kubernetes cluster, which is scaled (feature `kubernetes`) |
//! | [`pages`] | which graphs and tables show a run, a comparison |
//! | [`measure`] | figures: histograms, counts by operation and second, thresholds, metrics, `summary.json` |
//! | [`ledger`] | writers that write down every 201, readers that write down what they hold, a judge who compares |
//! | [`traffic`] | when which message is due: rates, arrivals, who writes to whom, sizes |
//! | [`conversation`] | logs of conversations that are replayed as a load: their format, a generator, those that are shipped |
//! | [`chaos`] | a seeded plan of faults, the processes and connections that it is done to, timeline and report |
//! | [`canary`] | a user who writes to itself through the ingress, for ever, and the metrics of that |
//! | [`peers`] | Countersign beside the article's design and beside Matrix Synapse: drivers, one load, one ledger |
//! | [`nodes`] | nodes on one machine: control groups with a quota and a load each, and networks of their own |
//! | [`report`] | one HTML page with charts that needs no other file, pictures and tables of it |
//! | [`statistics`] | intervals of confidence, comparisons in words, the Universal Scalability Law |
//! | [`people`] | organizations and their users, set up by the real protocol |
//! | [`keys`] | `OpenPGP` keys in this process, made once and kept; the only one here who knows sequoia |
//! | [`wire`] | one client of one user over one or many servers: sessions, nonces, one attempt at a time |
//! | [`listener`] | `/metrics` and `/livez` |
//! | [`readiness`] | where a service that was just started listens, and whether it is ready |
//! | [`clock`], [`random`] | time and randomness, which are parameters everywhere else |
//!
//! Arrows go downwards: `experiments → pages, load, workers → measure → ledger → traffic, people → wire → keys → clock,
//! random`, with `chaos` and `canary` over the ledger, and `peers` over the people. Signatures and connections are those of `countersign-client`; what is
//! signed and what is answered is the protocol's.
//!
//! It is meant for services that are under test or under load by their owners: the keys of its people lie unprotected
//! in its folder (docs/decisions/0012-keys-of-the-load-tester.md).

pub mod canary;
pub mod chaos;
pub mod clock;
pub mod conversation;
#[cfg(feature = "kubernetes")]
pub mod deployment;
pub mod experiments;
pub mod keys;
pub mod ledger;
pub mod listener;
pub mod load;
pub mod measure;
pub mod nodes;
pub mod pages;
pub mod peers;
pub mod people;
pub mod random;
pub mod readiness;
pub mod report;
pub mod statistics;
pub mod traffic;
pub mod wire;
pub mod workers;
