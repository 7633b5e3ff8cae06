//! Histories: what happens in a simulated world, one operation after the other, as a seed has it.
//!
//! An operation carries all of its choices. So a history replays to the last step, and goes on making sense when others
//! are taken out of it.

use std::fmt;

use super::choices::Choices;

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// A client that does nothing begins something.
    Act(u8, Act),
    /// One request or client goes on to its next await.
    Step(u16),
    /// One request or client goes on until it is done or waits for another.
    Run(u16),
    /// What pods do in the background goes on.
    Background(u8),
    /// A row reaches a replica.
    Deliver(u16),
    /// All rows under way reach their replicas.
    DeliverAll,
    /// A row under way is lost; a repair brings it later, if it was acknowledged.
    Lose(u16),
    /// Time goes by, in milliseconds.
    Wait(u32),
    /// The next call to a store goes wrong.
    Fail(Part, Fate),
    /// A replica of the mailboxes stops, or comes back.
    Stop(u8),
    Start(u8),
    /// A request is cut off where it stands.
    Cut(u16),
    /// A pod dies, and another takes its place.
    KillPod(u8),
    /// A client's program dies: what it has stored stays.
    KillClient(u8),
    /// A client's patience is over: it gives up what it does, which may go on in a pod.
    GiveUp(u8),
    /// A pod's clock goes wrong by so many seconds.
    Skew(u8, i8),
    /// Valkey forgets everything.
    Flush,
    /// The replica of Valkey gets all that the primary has.
    Replicate,
    /// The replica takes over, without what it did not get.
    FailOver,
    /// Somebody sends an earlier request once more.
    Replay(u16),
    /// Somebody without the key sends a request in the name of a client.
    Forge(u8),
    /// Two administrators sign a change of a user's client limit and submit it; it races with others.
    Change(u8, u8),
}

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Asks for a session key.
    Password,
    /// Writes a message for some users, and tries to send what it has written.
    Send(u8),
    /// Tries again to send what it has written.
    Flush,
    /// Lists, reads, stores, and confirms or acknowledges.
    Sync,
    /// Lists and stores, but dies before it can confirm.
    Look,
    /// Waits for something new.
    Watch,
    /// Removes another client of its user.
    Remove(u8),
}

/// A part that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Registry,
    Mailbox,
    Ephemeral,
}

/// How a call goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It never gets there.
    RequestLost,
    /// It is done, and nobody learns of it.
    ReplyLost,
    /// It times out and is done much later, or never.
    Late,
}

/// How many replicas a read or write needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consistency {
    One,
    Quorum,
}

/// What the world of a history is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) consistency: Consistency,
    pub(crate) pods: u8,
    /// Clients of each of the three users that there are places for in the story; each user may have two at once.
    pub(crate) devices: u8,
    /// Whether acknowledged rows may take longer to reach all replicas than the inconsistent window.
    pub(crate) slow: bool,
    /// How many items clients ask for in a listing, at most.
    pub(crate) page: u8,
}

/// A setting and what happens in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct History {
    pub(crate) setting: Setting,
    /// Each with a number that decides what the world chooses while it happens.
    pub(crate) ops: Vec<(u16, Op)>,
}

impl fmt::Display for History {
    /// Writes the history as code.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "History {{\n    setting: {:?},\n    ops: vec![", self.setting)?;
        for op in &self.ops {
            writeln!(formatter, "        {op:?},")?;
        }
        writeln!(formatter, "    ],\n}}")
    }
}

impl History {
    /// Makes the history of a seed.
    pub(crate) fn of_seed(seed: u64) -> Self {
        let mut choices = Choices::new(seed);
        let setting = Setting {
            consistency: if choices.one_in(2) { Consistency::One } else { Consistency::Quorum },
            pods: choices.between(1, 3).try_into().unwrap(),
            devices: choices.between(1, 3).try_into().unwrap(),
            slow: choices.one_in(4),
            page: choices.between(1, 5).try_into().unwrap(),
        };
        let length = choices.between(100, 500);
        // Some worlds are quiet, so that long stretches go well, and some are not.
        let trouble = choices.between(1, 4);
        let ops = (0..length).map(|_| (choices.small(), op(&mut choices, setting, trouble))).collect();
        Self { setting, ops }
    }
}

fn op(choices: &mut Choices, setting: Setting, trouble: u64) -> Op {
    let client = |choices: &mut Choices| u8::try_from(choices.below(3 * usize::from(setting.devices))).unwrap();
    let pod = |choices: &mut Choices| u8::try_from(choices.below(usize::from(setting.pods))).unwrap();
    match choices.below(1_000) {
        0..170 => Op::Act(client(choices), act(choices)),
        170..370 => Op::Step(choices.small()),
        370..620 => Op::Run(choices.small()),
        620..660 => Op::Background(pod(choices)),
        660..750 => Op::Deliver(choices.small()),
        750..765 => Op::DeliverAll,
        765..860 => Op::Wait(wait(choices)),
        860..870 => Op::Replay(choices.small()),
        870..878 => Op::Forge(client(choices)),
        878..890 => Op::Replicate,
        890..896 => Op::Change(choices.below(3).try_into().unwrap(), choices.between(1, 4).try_into().unwrap()),
        // The rest is trouble, or as much of it as this world has.
        _ if choices.between(1, 4) > trouble => Op::Run(choices.small()),
        _ => match choices.below(100) {
            0..15 => Op::Lose(choices.small()),
            15..40 => Op::Fail(part(choices), fate(choices)),
            40..46 => Op::Stop(choices.below(3).try_into().unwrap()),
            46..54 => Op::Start(choices.below(3).try_into().unwrap()),
            54..62 => Op::Cut(choices.small()),
            62..68 => Op::KillPod(pod(choices)),
            68..76 => Op::KillClient(client(choices)),
            76..84 => Op::GiveUp(client(choices)),
            84..92 => Op::Skew(pod(choices), i8::try_from(choices.between(0, 50)).unwrap() - 25),
            92..95 => Op::Flush,
            _ => Op::FailOver,
        },
    }
}

fn act(choices: &mut Choices) -> Act {
    match choices.below(100) {
        0..10 => Act::Password,
        10..45 => Act::Send(choices.between(1, 7).try_into().unwrap()),
        45..52 => Act::Flush,
        52..85 => Act::Sync,
        85..93 => Act::Look,
        93..98 => Act::Watch,
        _ => Act::Remove(choices.below(4).try_into().unwrap()),
    }
}

fn part(choices: &mut Choices) -> Part {
    [Part::Registry, Part::Mailbox, Part::Mailbox, Part::Ephemeral][choices.below(4)]
}

fn fate(choices: &mut Choices) -> Fate {
    [Fate::RequestLost, Fate::ReplyLost, Fate::Late][choices.below(3)]
}

/// Mostly moments, sometimes minutes, now and then hours.
fn wait(choices: &mut Choices) -> u32 {
    let millis = match choices.below(100) {
        0..50 => choices.between(1, 1_000),
        50..80 => choices.between(1_000, 30_000),
        80..98 => choices.between(30_000, 400_000),
        _ => choices.between(400_000, 30_000_000),
    };
    millis.try_into().unwrap()
}
