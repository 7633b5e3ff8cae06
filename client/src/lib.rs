//! The Countersign client: everything that the command `countersign` does, as a library. It trusts no server.
//!
//! # How it is made
//!
//! | module | owns |
//! |---|---|
//! | [`account`] | one user's place in one organization on this device: what a program calls |
//! | [`profile`] | names and folders of profiles; locks that processes respect |
//! | [`store`] | one `SQLite` file for each profile |
//! | [`log`] | the organization's log as it is pinned; judging what a server says comes next |
//! | [`connection`] | signed requests, sessions, retries; [`connection::RequestSigner`] works without a store |
//! | [`gnupg`] | running GnuPG, the only one who knows secret keys |
//! | [`envelope`] | what stands inside the encryption (docs/envelope.md) |
//! | [`change`], [`creation`] | changes on their way to enough signatures; the first of them |
//! | [`invitation`], [`qr`] | what is pinned before a server is asked anything |
//! | [`words`] | what a change says, for people |
//! | [`clock`], [`entropy`] | time and randomness, which are parameters everywhere else |
//!
//! Arrows go downwards: `account → connection, log → store, gnupg → profile → protocol`. Nothing here knows a terminal.
//!
//! # Example
//!
//! Sending a text, and reading what arrives. The profile was made by `countersign join`.
//!
//! ```no_run
//! use countersign_client::account::{Account, Body, Draft, Environment};
//! use countersign_client::profile::Directories;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let directories = Directories::from_environment(|name| std::env::var_os(name))?;
//! let profile = directories.profile(&directories.current())?;
//! let account = Account::open(&profile, Environment::default())?;
//!
//! // Extends the log and verifies it, then sends what is left, fetches what is new, and sends receipts.
//! let report = account.sync().await?;
//! for refused in &report.refused {
//!     eprintln!("the server is not to be believed: {refused}; see `countersign evidence`");
//! }
//!
//! let bob = account.find_person("bob")?;
//! let draft = Draft {
//!     recipients: vec![bob.user],
//!     body: Body::text("The meeting is at noon."),
//!     file_name: None,
//!     conversation: None,
//! };
//! // In the outbox when this returns, and sent if the server can be reached.
//! let number = account.send(draft).await?;
//! println!("{:?}", account.message(number)?.state);
//! # Ok(())
//! # }
//! ```

pub mod account;
pub mod change;
pub mod clock;
pub mod connection;
pub mod creation;
pub mod entropy;
pub mod envelope;
mod error;
pub mod gnupg;
pub mod invitation;
pub mod log;
pub mod profile;
pub mod qr;
pub mod store;
pub mod words;

pub use account::Account;
pub use error::{Error, Refused, Result};
