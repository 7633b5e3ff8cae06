//! `countersign chat` as people have it: the real command in tmux, against the real service, with real keys.
//!
//! The screens that it shows are compared with the files in `screens`, without their times and ids.
//! `COUNTERSIGN_UPDATE_SCREENS=1` writes them anew; look at each before it is committed. `COUNTERSIGN_PICTURES=folder`
//! keeps them with their colours there, as `pictures.py` needs them.

#![expect(clippy::unwrap_used, reason = "a test may say briefly what must hold")]

mod conversation;
mod pinentry;
mod trust;

#[expect(dead_code, unused_imports, reason = "the tests of the commands use more of it")]
#[path = "../end_to_end/support/mod.rs"]
mod support;
mod tmux;
