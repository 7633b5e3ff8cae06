//! The ledger, chaos and the canary over the real service, as processes of their own.

#![expect(clippy::unwrap_used, reason = "a test may say briefly what must hold")]

mod behind_its_back;
mod canary;
mod chaos;
mod killed;
mod killed_primary;
mod load;
mod lost_answers;
mod peers;
mod support;
mod throttled;
