//! Whole logs under the two-man rule.

mod common;

use std::sync::Arc;

use common::{cases, file};
use countersign_protocol::digest::Sha256Digest;
use countersign_protocol::id::{OrganizationId, UserId};
use countersign_protocol::log::{Head, LogEntry};
use countersign_protocol::openpgp::Certificate;
use countersign_protocol::organization::{LogRefusal, Organization};
use countersign_protocol::problem::ProblemType;
use countersign_protocol::statement::Statement;
use countersign_protocol::time::UnixMicros;
use countersign_protocol::two_man_rule::apply;
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct Log {
    name: String,
    organization: OrganizationId,
    super_administrators: Vec<String>,
    accepted: Vec<Accepted>,
    refused: Vec<Refused>,
}

#[derive(Deserialize)]
struct Accepted {
    why: String,
    now_us: u64,
    statement: String,
    signatures: Vec<String>,
    hash: Sha256Digest,
    users: Vec<Listed>,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Listed {
    user: UserId,
    administrator: bool,
    active: bool,
    client_limit: Option<u32>,
    certificate: String,
}

#[derive(Deserialize)]
struct Refused {
    why: String,
    after_entries: usize,
    now_us: u64,
    statement: String,
    signatures: Vec<String>,
    problem: Option<String>,
}

/// A log made elsewhere, without what to answer.
#[derive(Deserialize)]
struct ForeignRefused {
    why: String,
    after_entries: usize,
    entry: LogEntry,
}

fn begin(id: OrganizationId, super_administrators: &[String]) -> Organization {
    let parse = |text: &String| Arc::new(Certificate::parse(text).expect("a vector's certificate is one"));
    Organization::new(id, super_administrators.iter().map(parse).collect())
}

fn entry(statement: &str, signatures: &[String]) -> LogEntry {
    LogEntry { statement: statement.to_owned(), signatures: signatures.to_vec() }
}

fn problem(refusal: &LogRefusal) -> Option<&'static str> {
    match refusal {
        LogRefusal::OtherOrganization(_) => None,
        LogRefusal::Refused(refusal) => Some(refusal.problem_type().name()),
    }
}

fn users(organization: &Organization) -> Vec<Listed> {
    let user = |record: &countersign_protocol::two_man_rule::UserRecord| Listed {
        user: record.user,
        administrator: record.administrator,
        active: record.active,
        client_limit: record.client_limit,
        certificate: record.certificate.clone(),
    };
    organization.users().map(user).collect()
}

fn refuse_all(log: &Log, organization: &Organization, entries: usize) {
    for refused in log.refused.iter().filter(|refused| refused.after_entries == entries) {
        let mut tried = organization.clone();
        let outcome = tried.extend(&entry(&refused.statement, &refused.signatures), UnixMicros(refused.now_us));
        let refusal = outcome.expect_err(&format!("{}: {}", log.name, refused.why));
        assert_eq!(problem(&refusal), refused.problem.as_deref(), "{}: {}: {refusal:?}", log.name, refused.why);
        assert_eq!((tried.head(), users(&tried)), (organization.head(), users(organization)));
    }
}

#[test]
fn logs_are_accepted_and_refused_as_the_vectors_say() {
    let mut refused = 0;
    for log in cases::<Log>("logs.json", "logs") {
        let mut organization = begin(log.organization, &log.super_administrators);
        for (index, accepted) in log.accepted.iter().enumerate() {
            refuse_all(&log, &organization, index);
            let before = organization.clone();

            let verdict = organization
                .extend(&entry(&accepted.statement, &accepted.signatures), UnixMicros(accepted.now_us))
                .unwrap_or_else(|refusal| panic!("{}: {}: {refusal:?}", log.name, accepted.why));

            let sequence = u64::try_from(index).unwrap();
            assert_eq!(organization.head(), Some(Head { sequence, hash: accepted.hash }));
            assert_eq!(users(&organization), accepted.users, "{}: {}", log.name, accepted.why);
            let record = organization.user(&verdict.record.user);
            assert_eq!(record, Some(&verdict.record));
            assert_eq!(verdict.record.changed, sequence);
            let fingerprint = organization.certificate(&verdict.record.user).unwrap().fingerprint();
            assert_eq!(*fingerprint, verdict.record.fingerprint);

            // A service that rolls its own log forward comes to the same record.
            let statement = Statement::parse(&accepted.statement).unwrap();
            assert_eq!(apply(&statement, before.user(&verdict.record.user)).unwrap(), verdict.record);
        }
        refuse_all(&log, &organization, log.accepted.len());
        assert!(log.refused.iter().all(|refused| refused.after_entries <= log.accepted.len()));
        refused += log.refused.len();
    }
    assert!(refused > 0);
}

#[test]
fn sessions_end_with_a_new_certificate_and_with_deactivation_only() {
    let logs = cases::<Log>("logs.json", "logs");
    let mut organization = begin(logs[0].organization, &logs[0].super_administrators);
    for accepted in &logs[0].accepted {
        let change = Statement::parse(&accepted.statement).unwrap().change;
        let text: serde_json::Value = serde_json::from_str(&accepted.statement).unwrap();
        let before = organization.user(&change.user()).map(|record| record.sessions_since);
        let verdict = organization
            .extend(&entry(&accepted.statement, &accepted.signatures), UnixMicros(accepted.now_us))
            .unwrap();
        let ends = change.certificate().is_some() || text["change"]["active"] == false;
        let expected = if ends { Some(verdict.head.sequence) } else { before };
        assert_eq!(Some(verdict.record.sessions_since), expected, "{}", accepted.why);
    }
}

#[test]
fn the_log_of_another_implementation_is_judged_alike() {
    let log = file("log.json");
    let read = |field: &str| log[field].clone();
    let super_administrators: Vec<String> = cases("log.json", "super_administrators");
    let mut organization = begin(serde_json::from_value(read("organization")).unwrap(), &super_administrators);
    let hashes: Vec<Sha256Digest> = cases("log.json", "hashes");
    let entries: Vec<LogEntry> = cases("log.json", "entries");
    let refused: Vec<ForeignRefused> = cases("log.json", "refused");
    let problems = |why: &str| match why {
        "not the first" => ProblemType::Exists,
        "wrong previous" | "sequence skipped" => ProblemType::LogMoved,
        "last administrator" => ProblemType::LastAdministrator,
        "certificate of another user" => ProblemType::BadCertificate,
        _ => ProblemType::TwoManRule,
    };
    // All of it was made within this hour.
    let now = UnixMicros(1_795_415_401_000_000);

    let accepted = entries.iter().zip(&hashes).map(Some).chain([None]);
    for (index, accepted) in accepted.enumerate() {
        for refused in refused.iter().filter(|refused| refused.after_entries == index) {
            let refusal = organization.clone().extend(&refused.entry, now).expect_err(&refused.why);
            assert_eq!(problem(&refusal), Some(problems(&refused.why).name()), "{}", refused.why);
        }
        if let Some((entry, hash)) = accepted {
            assert_eq!(organization.extend(entry, now).unwrap().head.hash, *hash);
        }
    }
}

#[test]
fn a_log_is_refused_from_another_pinned_head() {
    let log = &cases::<Log>("logs.json", "logs")[0];
    let mut organization = begin(log.organization, &log.super_administrators);
    let [first, second, ..] = log.accepted.as_slice() else { panic!("the log has entries") };
    let now = UnixMicros(second.now_us);

    let skipped = organization.extend(&entry(&second.statement, &second.signatures), now);
    assert!(skipped.is_err());
    organization.extend(&entry(&first.statement, &first.signatures), now).unwrap();
    let rolled_back = organization.extend(&entry(&first.statement, &first.signatures), now);
    assert_eq!(problem(&rolled_back.unwrap_err()), Some("exists"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_statement_with_any_changed_byte_is_refused(place: prop::sample::Index, letter in "[ -~\n]") {
        let log = &cases::<Log>("logs.json", "logs")[0];
        let first = &log.accepted[0];
        let mut organization = begin(log.organization, &log.super_administrators);
        let mut bytes = first.statement.clone().into_bytes();
        let place = place.index(bytes.len());
        prop_assume!(bytes[place] != letter.as_bytes()[0]);
        bytes[place] = letter.as_bytes()[0];

        let altered = entry(&String::from_utf8(bytes).unwrap(), &first.signatures);

        prop_assert!(organization.extend(&altered, UnixMicros(first.now_us)).is_err());
        prop_assert!(organization.head().is_none());
    }

    #[test]
    fn a_damaged_signature_never_makes_another_organization(place: prop::sample::Index, letter in "[ -~\n]") {
        let log = &cases::<Log>("logs.json", "logs")[0];
        let first = &log.accepted[0];
        let mut organization = begin(log.organization, &log.super_administrators);
        let mut signatures = first.signatures.clone();
        let mut bytes = signatures[0].clone().into_bytes();
        let place = place.index(bytes.len());
        bytes[place] = letter.as_bytes()[0];
        signatures[0] = String::from_utf8(bytes).unwrap();

        // Damage to the armor or to what a signature does not cover may leave it good.
        if organization.extend(&entry(&first.statement, &signatures), UnixMicros(first.now_us)).is_ok() {
            prop_assert_eq!(organization.head().map(|head| head.hash), Some(first.hash));
        }
    }
}

#[test]
fn what_was_accepted_once_is_replayed_to_the_same_organization() {
    for log in cases::<Log>("logs.json", "logs") {
        let mut judged = begin(log.organization, &log.super_administrators);
        // Whoever replays need not know the super-administrators.
        let mut replayed = begin(log.organization, &[]);
        for accepted in &log.accepted {
            let entry = entry(&accepted.statement, &accepted.signatures);
            judged.extend(&entry, UnixMicros(accepted.now_us)).expect(&accepted.why);
            assert_eq!(replayed.replay(&entry).expect(&accepted.why).hash, accepted.hash);
            assert_eq!((replayed.head(), users(&replayed)), (judged.head(), users(&judged)));
            // The same again does not follow.
            assert!(replayed.replay(&entry).is_err(), "{}: {}", log.name, accepted.why);
        }
    }
}
