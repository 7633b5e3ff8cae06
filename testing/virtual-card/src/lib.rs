//! An OpenPGP card in software, in a reader in software, so that tests can show what GnuPG does with keys on a smart
//! card such as a YubiKey.
//!
//! The way of a command is the one that it takes with a real card, but for the wire:
//!
//! ```text
//! gpg → gpg-agent → scdaemon → pcscd → driver of the reader (reader/reader.c) → Unix socket → OpenPgpCard
//! ```
//!
//! [`VirtualCard`] owns the reader's side: pcscd and the card. [`GnupgHome`] owns a person's side: a GnuPG home whose
//! scdaemon uses that reader, and whose PINs are typed by a script. Both remove everything when they are dropped.
//!
//! Neither touches a real card or the pcscd of the system: this pcscd has a socket of its own, and scdaemon is told
//! the virtual reader's name.
//!
//! ```no_run
//! use countersign_virtual_card::{GnupgHome, OpenPgpCard, VirtualCard};
//!
//! let card = VirtualCard::start(OpenPgpCard::new(1))?;
//! let home = GnupgHome::create(&card)?;
//! let key = home.generate_key("Alice")?;
//! home.move_to_card(&key)?;
//! // Whatever runs GnuPG with `home.environment()` now signs and decrypts with the card.
//! assert_eq!(card.signatures(), 0);
//! # Ok::<(), countersign_virtual_card::Error>(())
//! ```

mod card;
mod error;
mod gnupg;
mod pcscd;
mod slot;

pub use card::OpenPgpCard;
pub use error::Error;
pub use gnupg::GnupgHome;
pub use pcscd::VirtualCard;
