//! Logs of conversations, which are replayed as a load: who wrote to whom, when, and how much, without what.
//!
//! Owns: the format of these logs (docs/conversation-logs.md), the generator that draws them, and the logs that are
//! shipped. Refuses to know: who replays them, and over what.
//!
//! Invariants:
//! - What a reader returns can be replayed: times do not go back, everyone is one of the log's users, nobody is named
//!   twice as a recipient, sizes are those that a service takes.
//! - One drawing makes one log, to the byte. The shipped logs name their drawing, and a test draws them again.

mod drawing;
mod record;
mod shipped;
mod stream;

pub use drawing::Drawing;
pub use record::{CONTENT_MAX, Entry, EntryError, FORMAT, Head, RECIPIENTS_MAX, VERSION};
pub use shipped::{SHIPPED, Shipped};
pub use stream::{ReadError, Reader, Summary, Writer};
