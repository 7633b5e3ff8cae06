//! What the tests stand on: the real binary, real GnuPG keys, a client that can be told to lie, and the `OpenAPI`
//! description that every answer is checked against.

pub(crate) mod client;
#[expect(dead_code, reason = "shared with the store's own tests and benchmark, which ask nodetool too")]
pub(crate) mod cql;
#[expect(dead_code, reason = "shared with the tests of the store itself and of the load tester")]
pub(crate) mod dynamodb;
pub(crate) mod gnupg;
pub(crate) mod http;
pub(crate) mod ledger;
pub(crate) mod mariadb;
pub(crate) mod openapi;
pub(crate) mod organization;
pub(crate) mod otlp;
pub(crate) mod process;
pub(crate) mod raw;
pub(crate) mod time;
pub(crate) mod valkey;
pub(crate) mod world;
