//! Made-up ledgers, and what the judge must find in each.

use countersign_protocol::digest::Sha256Digest;
use countersign_protocol::id::{ClientId, OrganizationId, UserId};
use countersign_protocol::message_id::MessageId;
use countersign_protocol::time::UnixMillis;

use super::super::records::{Again, Begun, ReadRecord, WriteRecord};
use super::super::verdict::Exit;
use super::*;

const ALICE: UserId = UserId::from_bytes([1; 16]);
const BOB: UserId = UserId::from_bytes([2; 16]);
const MALLORY: UserId = UserId::from_bytes([6; 16]);
const ORGANIZATION: OrganizationId = OrganizationId::from_bytes([9; 16]);
/// When all of this happens, in microseconds.
const THEN: u64 = 1_795_400_000_000_000;

fn reader(number: u8) -> ClientAddress {
    ClientAddress { organization: ORGANIZATION, user: BOB, client: ClientId::from_bytes([number; 16]) }
}

/// A message of Alice's to Bob.
fn begun(number: u64) -> Begun {
    let digest = Sha256Digest::of(&number.to_be_bytes());
    let at = THEN + number * 1_000_000;
    let id = MessageId::of_message(&ORGANIZATION, &ALICE, UnixMillis(at / 1_000), &[BOB], &digest);
    Begun { id, kind: ItemKind::Message, from: ALICE, to: vec![BOB], digest, at }
}

fn held(begun: &Begun) -> Held {
    let Begun { id, kind, from, digest, at, .. } = begun.clone();
    Held { id, kind, from, digest, listed: at + 20_000, at: at + 30_000, copy_of: None }
}

/// Ten messages, all promised 10 ms after they were begun, and held and confirmed by two clients of Bob's and by an
/// auditor, 30 ms after.
struct Made {
    run: RunRecord,
    facts: Facts,
}

impl Made {
    fn whole() -> Self {
        let run = RunRecord {
            organizations: vec![ORGANIZATION],
            readers: vec![reader(1), reader(2)],
            auditors: vec![reader(3)],
            at: THEN,
        };
        let mut facts = Facts::default();
        for number in 0..10 {
            let begun = begun(number);
            facts.wrote(WriteRecord::Begun(begun.clone()));
            facts.wrote(WriteRecord::Accepted { id: begun.id, at: begun.at + 10_000 });
            for each in [reader(1), reader(2), reader(3)] {
                facts.read_by(each, ReadRecord::Held(held(&begun)));
                facts.read_by(each, ReadRecord::Confirmed { ids: vec![begun.id], at: begun.at + 40_000 });
            }
        }
        Self { run, facts }
    }

    fn reading(&mut self, number: u8) -> &mut Reading {
        self.facts.readings.get_mut(&reader(number)).unwrap()
    }

    fn judge(&self) -> Verdict {
        judge(&self.run, &self.facts, Terms { late: Duration::from_secs(5) })
    }
}

#[test]
fn a_run_in_which_all_was_kept_is_clean() {
    let verdict = Made::whole().judge();

    assert_eq!(verdict.exit(), Exit::Kept, "{verdict}");
    assert_eq!((verdict.messages, verdict.due, verdict.delivered), (10, 30, 30));
    assert_eq!(verdict.latency.max, 20);
}

#[test]
fn a_run_without_promises_shows_nothing() {
    let mut made = Made::whole();
    made.facts = Facts::default();

    assert_eq!(made.judge().exit(), Exit::Failed);
}

#[test]
fn a_message_that_one_client_never_got_is_lost() {
    let mut made = Made::whole();
    made.reading(2).held.remove(&begun(4).id);

    let verdict = made.judge();

    assert_eq!((verdict.exit(), verdict.lost.count, verdict.delivered), (Exit::Lost, 1, 29));
    assert_eq!(verdict.lost.first[0].id, begun(4).id);
    assert_eq!(verdict.lost.first[0].reader, reader(2).to_string());
}

#[test]
fn a_message_that_all_got_but_a_new_client_does_not_is_lost() {
    let mut made = Made::whole();
    made.reading(3).held.remove(&begun(4).id);

    assert_eq!(made.judge().exit(), Exit::Lost);
}

#[test]
fn a_reader_that_wrote_nothing_at_all_lost_everything() {
    let mut made = Made::whole();
    made.facts.readings.remove(&reader(1));

    assert_eq!(made.judge().lost.count, 10);
}

#[test]
fn the_same_content_under_another_id_does_not_keep_the_promise() {
    let mut made = Made::whole();
    // Both were promised, one was delivered.
    let mut later = begun(4);
    later.id = MessageId::of_message(&ORGANIZATION, &ALICE, UnixMillis(THEN / 1_000 + 90_000), &[BOB], &later.digest);
    made.facts.wrote(WriteRecord::Begun(later.clone()));
    made.facts.wrote(WriteRecord::Accepted { id: later.id, at: later.at });

    let verdict = made.judge();

    assert_eq!((verdict.exit(), verdict.lost.count), (Exit::Lost, 3));
    assert!(verdict.lost.first[0].what.contains("the same content is held"), "{verdict}");
}

#[test]
fn what_was_not_answered_may_arrive_or_not() {
    let mut made = Made::whole();
    for number in [20, 21] {
        made.facts.wrote(WriteRecord::Begun(begun(number)));
    }
    made.facts.read_by(reader(1), ReadRecord::Held(held(&begun(20))));

    let verdict = made.judge();

    assert_eq!((verdict.exit(), verdict.unanswered, verdict.unpromised), (Exit::Kept, 2, 1));
}

#[test]
fn a_copy_under_a_later_id_is_dropped_and_counted() {
    let mut made = Made::whole();
    let mut later = begun(4);
    later.id = MessageId::of_message(&ORGANIZATION, &ALICE, UnixMillis(THEN / 1_000 + 90_000), &[BOB], &later.digest);
    made.facts.wrote(WriteRecord::Refused { id: begun(4).id, problem: TOO_OLD.to_owned(), at: THEN });
    made.facts.wrote(WriteRecord::Begun(later.clone()));
    made.facts.wrote(WriteRecord::Accepted { id: later.id, at: later.at });
    for number in 1..=3 {
        let copy = Held { copy_of: Some(begun(4).id), ..held(&later) };
        made.facts.read_by(reader(number), ReadRecord::Held(copy));
    }

    let verdict = made.judge();

    assert_eq!((verdict.exit(), verdict.copies, verdict.reissued), (Exit::Kept, 3, 1));
}

#[test]
fn another_content_or_sender_is_corruption() {
    for alter in [
        (|held: &mut Held| held.digest = Sha256Digest::of(b"else")) as fn(&mut Held),
        |held| held.from = MALLORY,
        |held| held.kind = ItemKind::Receipt,
    ] {
        let mut made = Made::whole();
        alter(made.reading(1).held.get_mut(&begun(4).id).unwrap());

        let verdict = made.judge();

        assert_eq!((verdict.exit(), verdict.corrupted.count), (Exit::Corrupted, 1));
    }
}

#[test]
fn what_nobody_sent_or_not_to_this_user_is_forged() {
    let mut made = Made::whole();
    made.facts.read_by(reader(1), ReadRecord::Held(held(&begun(77))));
    let mut to_others = begun(78);
    to_others.to = vec![MALLORY];
    made.facts.wrote(WriteRecord::Begun(to_others.clone()));
    made.facts.read_by(reader(1), ReadRecord::Held(held(&to_others)));

    let verdict = made.judge();

    assert_eq!((verdict.exit(), verdict.forged.count), (Exit::Corrupted, 2));
}

#[test]
fn what_is_listed_without_its_content_is_not_fine_even_if_it_can_be_read_later() {
    let mut made = Made::whole();
    for at in [THEN, THEN + 1] {
        made.facts.read_by(reader(1), ReadRecord::Unreadable { id: begun(4).id, at });
    }

    let verdict = made.judge();

    assert_eq!((verdict.exit(), verdict.unreadable.count), (Exit::Corrupted, 1));
}

#[test]
fn what_is_listed_again_after_it_was_seen_confirmed_is_a_duplicate() {
    let mut made = Made::whole();
    let again =
        |seen_confirmed| ReadRecord::Again(Again { id: begun(4).id, seen_confirmed, at: begun(4).at + 90_000 });
    made.facts.read_by(reader(1), again(false));
    let before = made.judge();
    made.facts.read_by(reader(1), again(true));
    let after = made.judge();

    assert_eq!((before.exit(), before.relisted), (Exit::Kept, 1));
    assert_eq!((after.exit(), after.duplicated.count), (Exit::Duplicated, 1));
    assert!(after.duplicated.first[0].what.contains("50 ms"), "{after}");
}

#[test]
fn what_takes_longer_than_it_may_is_late() {
    let mut made = Made::whole();
    let slow = made.reading(1).held.get_mut(&begun(4).id).unwrap();
    slow.at += 5_000_000;
    // The auditor looks when all is over; that is not late.
    made.reading(3).held.get_mut(&begun(4).id).unwrap().at += 500_000_000;

    let verdict = made.judge();

    assert_eq!((verdict.exit(), verdict.late.count), (Exit::Late, 1));
    assert!((5_000..5_100).contains(&verdict.latency.max), "{:?}", verdict.latency);
}

#[test]
fn what_was_refused_is_told() {
    let mut made = Made::whole();
    made.facts.wrote(WriteRecord::Begun(begun(30)));
    made.facts.wrote(WriteRecord::Refused { id: begun(30).id, problem: "unknown-recipient".to_owned(), at: THEN });

    assert_eq!(made.judge().exit(), Exit::Refused);
}

#[test]
fn loss_is_worse_than_all_else() {
    let mut made = Made::whole();
    made.facts.read_by(reader(1), ReadRecord::Held(held(&begun(77))));
    made.reading(2).held.remove(&begun(4).id);

    let verdict = made.judge();

    assert_eq!(verdict.exit(), Exit::Lost);
    assert_eq!(verdict.exit().code(), 3);
    assert!(verdict.to_string().ends_with("LOST: not everything that was promised was delivered."));
}
