//! `countersign chat`: conversations in a terminal.
//!
//! Owns: the screen, the keyboard, and when GnuPG may use the terminal.
//!
//! # How it is made
//!
//! | module | owns |
//! |---|---|
//! | [`model`] | what is shown, as plain values |
//! | [`load`] | reading them out of the account |
//! | [`state`] | what the interface knows and where the person is in it |
//! | [`keys`] | every key: what the footer shows, the help lists and the keyboard does are one table |
//! | [`update`] | `(state, event) → effects`: every decision |
//! | [`draw`] | `state → screen` |
//! | [`session`] | carrying out effects: tasks, the account, the terminal |
//! | [`screen`], [`pinentry`], [`paths`], [`save`] | the terminal, GnuPG's questions, file names, saved files |
//!
//! Refuses to know: the protocol. It calls the account, as any program can.
//!
//! Invariants: [`update`] and [`draw`] ask nothing of the world, so tests run them without a terminal; the time is an event.
//! What others wrote reaches the screen only through [`model::printed`]. A text that was typed is never lost: what cannot be
//! put into the outbox comes back to where it was written.

mod draw;
mod keys;
mod load;
mod model;
mod paths;
mod pinentry;
mod save;
mod screen;
mod session;
mod state;
#[cfg(test)]
mod tests;
mod update;

use std::io::IsTerminal as _;
use std::sync::Arc;

use countersign_client::Account;
use countersign_client::account::Environment;
use jiff::tz::TimeZone;

use crate::exit::{DONE, Failure};
use draw::Abilities;
use session::Session;
use state::State;

/// Runs the interface until the person leaves it.
pub(crate) async fn run(
    account: Account,
    environment: &Environment,
    gpg: &std::path::Path,
    ascii: bool,
) -> Result<u8, Failure> {
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        return Err(Failure::usage(
            "chat needs a terminal; for programs there are `countersign watch` and `countersign send`",
        ));
    }
    let account = Arc::new(account);
    let mut abilities = Abilities::from_environment(|name| std::env::var_os(name));
    abilities.unicode &= !ascii;
    let head = account.log().head().map(|head| head.sequence);
    let state = State::new(environment.clock.now(), TimeZone::system(), abilities, head);
    Session::new(account, environment.clone(), gpg, state).run().await?;
    Ok(DONE)
}
