//! What the tests are made of: people with keys, a service, a server that lies, and the command as a process.

mod keys;
mod person;
mod processes;
mod world;

pub(crate) use keys::{Key, keys};
pub(crate) use person::{Ended, Person};
pub(crate) use processes::{LyingServer, Service};
pub(crate) use world::{World, create_organization};
