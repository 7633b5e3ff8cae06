//! What the files say, put together by item and by reader.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;

use countersign_protocol::id::ClientAddress;
use countersign_protocol::message_id::MessageId;

use super::book::read_records;
use super::records::{Again, Begun, Held, ReadRecord, RunRecord, WriteRecord};

/// What was sent, in the run's folder.
pub(super) const SENT: &str = "sent.jsonl";
/// What is held, in the run's folder.
pub(super) const HELD: &str = "held.jsonl";

/// An item that somebody meant to send, under one id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promise {
    /// What it is.
    pub begun: Begun,
    /// When the service promised to deliver it; none if it never did.
    pub accepted: Option<u64>,
    /// The problem that it was refused with, if it was.
    pub refused: Option<String>,
}

/// What one reader wrote down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// What it holds.
    pub held: HashMap<MessageId, Held>,
    /// When it learned that an item is confirmed.
    pub confirmed: HashMap<MessageId, u64>,
    /// What was listed again.
    pub again: Vec<Again>,
    /// What was listed and could not be read, and when that was first.
    pub unreadable: BTreeMap<MessageId, u64>,
    /// Listings that were refused.
    pub refused: Vec<(String, u64)>,
}

/// All that is known of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Every item that was begun, by its id.
    pub promises: BTreeMap<MessageId, Promise>,
    /// What each reader wrote down. Each reader of the run is there, whether it wrote anything or not.
    pub readings: BTreeMap<ClientAddress, Reading>,
    /// Acceptances of ids that nobody began, and what nobody read: the ledger's own fault.
    pub strange: usize,
    /// Lines that a killed process left unfinished.
    pub torn: usize,
}

impl Facts {
    /// Reads a run's folder.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn read(folder: &Path) -> io::Result<(RunRecord, Self)> {
        let run: RunRecord = serde_json::from_slice(&std::fs::read(folder.join("run.json"))?)?;
        let mut facts = Self::default();
        let (writes, torn) = read_records(&folder.join(SENT))?;
        facts.torn += torn;
        for record in writes {
            facts.wrote(record);
        }
        let clients: Vec<ClientAddress> = run.readers.iter().chain(&run.auditors).copied().collect();
        for address in &clients {
            facts.readings.entry(*address).or_default();
        }
        let path = folder.join(HELD);
        let (reads, torn) = if path.exists() { read_records::<(usize, ReadRecord)>(&path)? } else { (Vec::new(), 0) };
        facts.torn += torn;
        for (number, record) in reads {
            match clients.get(number) {
                Some(address) => facts.read_by(*address, record),
                None => facts.strange += 1,
            }
        }
        Ok((run, facts))
    }

    /// Takes what a writer wrote down.
    pub fn wrote(&mut self, record: WriteRecord) {
        match record {
            WriteRecord::Begun(begun) => {
                let promise = Promise { accepted: None, refused: None, begun };
                self.promises.entry(promise.begun.id).or_insert(promise);
            }
            WriteRecord::Accepted { id, at } => match self.promises.get_mut(&id) {
                Some(promise) => promise.accepted = Some(promise.accepted.unwrap_or(at)),
                None => self.strange += 1,
            },
            WriteRecord::Refused { id, problem, .. } => match self.promises.get_mut(&id) {
                Some(promise) => promise.refused = Some(problem),
                None => self.strange += 1,
            },
        }
    }

    /// Takes what a reader wrote down.
    pub fn read_by(&mut self, reader: ClientAddress, record: ReadRecord) {
        let reading = self.readings.entry(reader).or_default();
        match record {
            ReadRecord::Held(held) => {
                reading.held.entry(held.id).or_insert(held);
            }
            ReadRecord::Confirmed { ids, at } => {
                for id in ids {
                    reading.confirmed.entry(id).or_insert(at);
                }
            }
            ReadRecord::Again(again) => reading.again.push(again),
            ReadRecord::Unreadable { id, at } => {
                reading.unreadable.entry(id).or_insert(at);
            }
            ReadRecord::Refused { problem, at } => reading.refused.push((problem, at)),
        }
    }
}
