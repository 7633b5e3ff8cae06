//! Appending, rolling forward and refreshing, with the log of `protocol/vectors/log.json`, which GnuPG signed.

use std::num::NonZeroUsize;

use countersign_protocol::openpgp::parse_certificates;
use countersign_protocol::problem::ProblemType;
use countersign_protocol::time::{UnixMicros, parse_rfc3339};
use serde::Deserialize;

use super::*;
use crate::clock::ManualClock;
use crate::ephemeral::local::LocalEphemeral;
use crate::store::{Store, memory};

#[derive(Deserialize)]
struct Vectors {
    organization: OrganizationId,
    super_administrators: Vec<String>,
    entries: Vec<LogEntry>,
    refused: Vec<Refused>,
}

#[derive(Deserialize)]
struct Refused {
    why: String,
    after_entries: usize,
    entry: LogEntry,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../../../protocol/vectors/log.json")).unwrap()
}

struct Pod {
    authority: Authority,
    clock: Arc<ManualClock>,
}

/// A pod of its own over a store that it may share with others.
fn pod(store: &Store, vectors: &Vectors) -> Pod {
    let one = NonZeroUsize::MIN;
    let clock = Arc::new(ManualClock::at(parse_rfc3339("2026-11-23T05:30:02Z").unwrap()));
    let certificates = vectors.super_administrators.iter().flat_map(|armored| parse_certificates(armored).unwrap());
    let authority = Authority::new(
        Arc::clone(&store.registry),
        Arc::new(LocalEphemeral::default()),
        PublicKeyPool::start(one, one.saturating_add(1_000)).unwrap(),
        Arc::clone(&clock) as Arc<dyn Clock>,
        Arc::new(ArcSwap::from_pointee(certificates.map(Arc::new).collect())),
        AuthoritySettings::with_limits(&Limits::default()),
    );
    Pod { authority, clock }
}

impl Pod {
    async fn submit(&self, entry: &LogEntry) -> Result<Accepted, AuthorityError> {
        let statement = Statement::parse(&entry.statement).unwrap();
        self.authority.submit(statement, entry.clone()).await
    }
}

fn problem(outcome: Result<Accepted, AuthorityError>) -> Option<ProblemType> {
    match outcome {
        Err(AuthorityError::Refused(refusal)) => Some(refusal.problem_type()),
        _ => None,
    }
}

fn subject(entry: &LogEntry) -> UserId {
    Statement::parse(&entry.statement).unwrap().change.user()
}

#[tokio::test]
async fn a_log_is_appended_and_a_repeat_is_answered_the_same() {
    let (vectors, store) = (vectors(), memory::open());
    let pod = pod(&store, &vectors);

    for entry in &vectors.entries {
        let first = pod.submit(entry).await.unwrap();
        assert_eq!(pod.submit(entry).await.unwrap(), first);
    }
    for entry in &vectors.entries {
        let again = pod.submit(entry).await.unwrap();
        assert_eq!(again.head.hash, Statement::parse(&entry.statement).unwrap().hash);
    }

    let log = store.registry.log(vectors.organization, 0, 100).await.unwrap();
    assert_eq!(log.into_iter().map(|(_, entry)| entry).collect::<Vec<_>>(), vectors.entries);
}

#[tokio::test]
async fn what_the_vectors_refuse_is_refused_and_changes_nothing() {
    let vectors = vectors();
    for Refused { why, after_entries, entry } in &vectors.refused {
        let store = memory::open();
        let pod = pod(&store, &vectors);
        for accepted in &vectors.entries[..*after_entries] {
            pod.submit(accepted).await.unwrap();
        }

        let outcome = match Statement::parse(&entry.statement) {
            Ok(statement) => pod.authority.submit(statement, entry.clone()).await.is_err(),
            Err(_) => true,
        };

        // A client folding a log refuses an entry that comes twice; a service answers a repeat as it did before.
        let repeated = vectors.entries[..*after_entries].iter().any(|held| held.statement == entry.statement);
        assert_eq!(outcome, !repeated, "{why}");
        let log = store.registry.log(vectors.organization, 0, 100).await.unwrap();
        assert_eq!(log.len(), *after_entries, "{why}");
    }
}

#[tokio::test]
async fn of_racing_pods_one_wins_and_the_others_learn_the_head() {
    let (vectors, store) = (vectors(), memory::open());
    let pods: Vec<Pod> = (0..4).map(|_| pod(&store, &vectors)).collect();
    for pod in &pods {
        pod.submit(&vectors.entries[0]).await.unwrap();
    }
    // The same statement under another signature is another statement's rival only by its text: so alter the time.
    let outcomes = futures_util::future::join_all(pods.iter().map(|pod| pod.submit(&vectors.entries[1]))).await;

    assert!(outcomes.iter().all(Result::is_ok), "the identical statement is accepted from everyone");
    assert_eq!(store.registry.log(vectors.organization, 0, 100).await.unwrap().len(), 2);
    let late = pods[0].submit(&vectors.entries[3]).await;
    assert_eq!(problem(late), Some(ProblemType::LogMoved));
}

#[tokio::test]
async fn a_record_that_a_dead_pod_left_out_is_rolled_forward_by_whoever_reads() {
    let (vectors, store) = (vectors(), memory::open());
    let first = pod(&store, &vectors);
    // The pod died between the append and the record, at the very first entry.
    store.registry.append(vectors.organization, 0, &vectors.entries[0]).await.unwrap();
    let reader = pod(&store, &vectors);
    let administrator = subject(&vectors.entries[0]);

    let member = reader.authority.member(vectors.organization, administrator, 0).await.unwrap();

    assert!(member.is_some_and(|member| member.administrator && member.active));
    assert!(store.registry.user(vectors.organization, administrator).await.unwrap().is_some());

    // And later, in the middle of a log that this pod has in memory.
    store.registry.append(vectors.organization, 1, &vectors.entries[1]).await.unwrap();
    first.submit(&vectors.entries[2]).await.unwrap();
    for entry in &vectors.entries[..3] {
        assert!(store.registry.user(vectors.organization, subject(entry)).await.unwrap().is_some());
    }
    let fresh = pod(&store, &vectors);
    let (head, entries) = fresh.authority.log(vectors.organization, 0, 100).await.unwrap().unwrap();
    assert_eq!((head.sequence, entries.len()), (2, 3));
}

#[tokio::test]
async fn another_pods_change_is_known_within_the_freshness() {
    let (vectors, store) = (vectors(), memory::open());
    let [changer, reader] = [pod(&store, &vectors), pod(&store, &vectors)];
    for entry in &vectors.entries[..3] {
        changer.submit(entry).await.unwrap();
    }
    let carol = subject(&vectors.entries[2]);
    let is_active = async || {
        let member = reader.authority.member(vectors.organization, carol, 0).await.unwrap();
        member.is_some_and(|member| member.active)
    };
    assert!(is_active().await);

    changer.submit(&vectors.entries[3]).await.unwrap();
    reader.clock.advance(Duration::from_secs(5));
    assert!(is_active().await, "not asked again before its time");
    reader.clock.advance(Duration::from_millis(1));

    assert!(!is_active().await);
    let record = store.registry.user(vectors.organization, carol).await.unwrap().unwrap();
    assert_eq!((record.sessions_since, record.changed), (3, 3));
}

#[tokio::test]
async fn whom_another_pod_has_let_in_is_known_at_once() {
    let (vectors, store) = (vectors(), memory::open());
    let [changer, reader] = [pod(&store, &vectors), pod(&store, &vectors)];
    for entry in &vectors.entries[..2] {
        changer.submit(entry).await.unwrap();
    }
    let carol = subject(&vectors.entries[2]);
    assert!(reader.authority.member(vectors.organization, carol, 0).await.unwrap().is_none());

    changer.submit(&vectors.entries[2]).await.unwrap();

    let member = reader.authority.member(vectors.organization, carol, 0).await.unwrap();
    assert!(member.is_some_and(|member| member.active), "no time has passed");

    // What is known is not read again; a later time of the user's sessions is.
    changer.submit(&vectors.entries[3]).await.unwrap();
    let active = async |since| {
        let member = reader.authority.member(vectors.organization, carol, since).await.unwrap();
        member.is_some_and(|member| member.active)
    };
    assert!(active(0).await);
    assert!(!active(3).await);
}

#[tokio::test]
async fn a_statement_too_old_or_too_new_is_not_appended() {
    let vectors = vectors();
    let made = Statement::parse(&vectors.entries[0].statement).unwrap().time;
    let week = Duration::from_secs(7 * 86_400);
    let tick = Duration::from_micros(1);
    for (now, accepted) in [
        (made.plus(week), true),
        (made.plus(week + tick), false),
        (UnixMicros(made.0 - 30_000_000), true),
        (UnixMicros(made.0 - 30_000_001), false),
    ] {
        let pod = pod(&memory::open(), &vectors);
        pod.clock.set(now);
        let outcome = pod.submit(&vectors.entries[0]).await;
        assert_eq!(outcome.is_ok(), accepted, "at {now}");
    }
}

#[tokio::test]
async fn an_organization_that_is_not_there_is_not_kept_in_memory() {
    let vectors = vectors();
    let pod = pod(&memory::open(), &vectors);

    assert!(pod.authority.organization(vectors.organization).await.unwrap().is_none());
    pod.submit(&vectors.entries[0]).await.unwrap();
    assert!(pod.authority.organization(vectors.organization).await.unwrap().is_some());
}
