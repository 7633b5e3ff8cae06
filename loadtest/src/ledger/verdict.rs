//! What the judge says: numbers, findings, words, and an exit code.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use countersign_protocol::id::ClientAddress;
use countersign_protocol::message_id::MessageId;
use hdrhistogram::Histogram;
use serde::Serialize;

/// Findings of a sort that are told one by one; the rest is only counted.
const TOLD: usize = 20;

/// How a run ended, for scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Everything that was promised was kept.
    Kept,
    /// The run could not be made, or proves nothing.
    Failed,
    /// All arrived, but something too late.
    Late,
    /// Something that was promised was not delivered.
    Lost,
    /// Something was delivered altered, or that nobody sent, or listed without its content.
    Corrupted,
    /// Something was delivered again after it was seen confirmed.
    Duplicated,
    /// Something was refused that should have been taken.
    Refused,
    /// Everything was kept, and the run missed a threshold.
    BelowThreshold,
    /// Everything was kept, and the figures are the generator's own.
    GeneratorLagged,
}

impl Exit {
    /// The table of exit codes, as `--help` shows it.
    pub const TABLE: &'static str = "\
Exit codes:
   0  everything that was promised was kept
   1  the run could not be made, or proves nothing
   2  something arrived later than it may
   3  LOST: something that was answered 201 was not delivered
   4  CORRUPTED: something was altered, forged, or listed without its content
   5  DUPLICATED: something was listed again after it was seen confirmed
   6  REFUSED: something was refused that should have been taken
   7  a threshold was missed
   8  the generator itself was too slow: its figures say nothing of the service
  64  the command was not understood";

    /// Returns the process's exit code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Kept => 0,
            Self::Failed => 1,
            Self::Late => 2,
            Self::Lost => 3,
            Self::Corrupted => 4,
            Self::Duplicated => 5,
            Self::Refused => 6,
            Self::BelowThreshold => 7,
            Self::GeneratorLagged => 8,
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Of which item.
    pub id: MessageId,
    /// To which client, as `<organization>#<user>#<client>`.
    pub reader: String,
    /// What is wrong, in words.
    pub what: String,
}

/// Things that are wrong in the same way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// How many.
    pub count: u64,
    /// The first of them.
    pub first: Vec<Finding>,
}

impl Findings {
    pub(super) fn add(&mut self, id: MessageId, reader: &ClientAddress, what: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.len() < TOLD {
            self.first.push(Finding { id, reader: reader.to_string(), what: what() });
        }
    }
}

/// How long deliveries took, from the answer to the sender until a reader had the content, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Latency {
    /// Half of them took at most this.
    pub p50: u64,
    /// Nine of ten.
    pub p90: u64,
    /// Ninety-nine of a hundred.
    pub p99: u64,
    /// The longest.
    pub max: u64,
}

/// The verdict on a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Verdict {
    /// Messages that were answered 201.
    pub messages: u64,
    /// Receipts that were answered 204.
    pub receipts: u64,
    /// Items that were never answered with a promise. Nobody may rely on them, and they may be delivered.
    pub unanswered: u64,
    /// Items that got a later id, since the service had not answered in time.
    pub reissued: u64,
    /// Deliveries that follow from the promises: one for each reader of each recipient, and for each auditor.
    pub due: u64,
    /// Of those, done.
    pub delivered: u64,
    /// Deliveries of unanswered items.
    pub unpromised: u64,
    /// Deliveries that a reader dropped because it held the same content already.
    pub copies: u64,
    /// Items that were listed again after they were confirmed, before any listing had left them out.
    pub relisted: u64,
    /// Promised and not delivered.
    pub lost: Findings,
    /// Delivered with another content, sender or kind.
    pub corrupted: Findings,
    /// Delivered though nobody sent it, or not to this user.
    pub forged: Findings,
    /// Listed, and its content was not there.
    pub unreadable: Findings,
    /// Listed again after a listing had left it out as confirmed.
    pub duplicated: Findings,
    /// Delivered later than it may be.
    pub late: Findings,
    /// What was refused that should have been taken, by problem.
    pub refused: BTreeMap<String, u64>,
    /// How long deliveries took.
    pub latency: Latency,
    /// The same in full, in microseconds.
    #[serde(skip)]
    pub took: Option<Histogram<u64>>,
    /// Half lines that a killed ledger left behind.
    pub torn: usize,
}

impl Verdict {
    /// Returns how the run ended: the worst of what was found.
    #[must_use]
    pub fn exit(&self) -> Exit {
        if self.lost.count > 0 {
            Exit::Lost
        } else if self.corrupted.count + self.forged.count + self.unreadable.count > 0 {
            Exit::Corrupted
        } else if self.duplicated.count > 0 {
            Exit::Duplicated
        } else if !self.refused.is_empty() {
            Exit::Refused
        } else if self.late.count > 0 {
            Exit::Late
        } else if self.messages == 0 {
            // A run in which nothing was promised shows nothing.
            Exit::Failed
        } else {
            Exit::Kept
        }
    }

    /// Returns the classes of findings, each with what it is called.
    #[must_use]
    pub const fn classes(&self) -> [(&'static str, &Findings); 6] {
        [
            ("lost", &self.lost),
            ("corrupted", &self.corrupted),
            ("forged", &self.forged),
            ("unreadable", &self.unreadable),
            ("duplicated", &self.duplicated),
            ("late", &self.late),
        ]
    }
}

impl Display for Verdict {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let Self { messages, receipts, due, delivered, latency, .. } = self;
        writeln!(formatter, "promised    {messages} messages, {receipts} receipts: {due} deliveries")?;
        writeln!(formatter, "delivered   {delivered}")?;
        let Latency { p50, p90, p99, max } = latency;
        writeln!(formatter, "took        {p50} ms (p50), {p90} ms (p90), {p99} ms (p99), {max} ms at most")?;
        let Self { unanswered, unpromised, reissued, copies, relisted, .. } = self;
        writeln!(formatter, "unanswered  {unanswered}, of which deliveries arrived: {unpromised}")?;
        writeln!(formatter, "issued again under a later id  {reissued}, copies dropped: {copies}")?;
        if *relisted > 0 {
            writeln!(formatter, "listed again right after they were confirmed  {relisted}")?;
        }
        for (name, Findings { count, first }) in self.classes() {
            writeln!(formatter, "{name:<11} {count}")?;
            for Finding { id, reader, what } in first {
                writeln!(formatter, "  {id} for {reader}: {what}")?;
            }
        }
        for (problem, count) in &self.refused {
            writeln!(formatter, "refused     {count} times as {problem}")?;
        }
        let words = match self.exit() {
            Exit::Kept | Exit::BelowThreshold | Exit::GeneratorLagged => "Everything that was promised was kept.",
            Exit::Failed => "Nothing was promised, so this shows nothing.",
            Exit::Late => "Everything that was promised was delivered, but some of it too late.",
            Exit::Lost => "LOST: not everything that was promised was delivered.",
            Exit::Corrupted => "CORRUPTED: something was delivered that nobody sent like that.",
            Exit::Duplicated => "DUPLICATED: something was listed again after it was seen confirmed.",
            Exit::Refused => "REFUSED: something was refused that should have been taken.",
        };
        formatter.write_str(words)
    }
}
