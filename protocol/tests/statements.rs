//! Statements.

mod common;

use common::{cases, file};
use countersign_protocol::digest::Sha256Digest;
use countersign_protocol::id::{OrganizationId, UserId};
use countersign_protocol::problem::ProblemType;
use countersign_protocol::statement::{Change, InvalidStatement, Statement};
use countersign_protocol::time::UnixMicros;
use countersign_protocol::two_man_rule::{Refusal, check_age};
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct Valid {
    name: String,
    text: String,
    hash: Sha256Digest,
    sequence: u64,
    previous: Option<Sha256Digest>,
    time_us: u64,
    change: Change,
}

#[derive(Deserialize)]
struct Invalid {
    why: String,
    text: String,
    problem: String,
}

#[test]
fn statements_are_read_as_the_vectors_say() {
    let organization: OrganizationId = file("statements.json")["organization"].as_str().unwrap().parse().unwrap();
    for case in cases::<Valid>("statements.json", "valid") {
        let statement = Statement::parse(&case.text).expect(&case.name);
        let Valid { hash, sequence, previous, time_us, change, .. } = case;
        let expected = Statement { organization, sequence, previous, time: UnixMicros(time_us), change, hash };
        assert_eq!(statement, expected, "{}", case.name);
    }
}

#[test]
fn what_is_no_statement_is_refused() {
    for Invalid { why, text, problem } in cases("statements.json", "invalid") {
        let error = Statement::parse(&text).expect_err(&why);
        assert_eq!(Refusal::from(error).problem_type().name(), problem, "{why}");
    }
}

#[test]
fn a_statement_may_be_appended_from_7_days_behind_to_30_seconds_ahead() {
    let now = 1_795_411_801_000_000_u64;
    let (week, skew) = (7 * 86_400 * 1_000_000, 30_000_000);
    let age = |time: u64| {
        let text = Statement::compose(ORGANIZATION, 1, Some(Sha256Digest::of(b"")), UnixMicros(time), deactivation());
        check_age(&Statement::parse(&text).expect("what was composed is a statement"), UnixMicros(now))
    };
    for time in [now, now + skew, now - week] {
        assert!(age(time).is_ok());
    }
    for time in [now + skew + 1, now - week - 1] {
        let refusal = age(time).expect_err("it is out of the window");
        assert_eq!(refusal.problem_type(), ProblemType::StatementExpired);
    }
}

#[test]
fn a_statement_says_what_is_wrong_with_it() {
    let text = Statement::compose(ORGANIZATION, 1, None, UnixMicros(0), deactivation());
    assert!(matches!(Statement::parse(&text), Err(InvalidStatement::Previous)));
    let text = Statement::compose(ORGANIZATION, 0, None, UnixMicros(0), deactivation());
    assert!(matches!(Statement::parse(&text), Err(InvalidStatement::Creation)));
    assert!(matches!(Statement::parse("[]"), Err(InvalidStatement::Json(_))));
}

const ORGANIZATION: OrganizationId = OrganizationId::from_bytes([7; 16]);

fn deactivation() -> Change {
    let user = UserId::from_bytes([8; 16]);
    Change::UpdateUser { user, certificate: None, administrator: None, active: Some(false), client_limit: None }
}

fn changes() -> impl Strategy<Value = Change> {
    let user = any::<[u8; 16]>().prop_map(UserId::from_bytes);
    let text = "\\PC{0,40}";
    let add = (user.clone(), text, any::<bool>(), any::<Option<u32>>()).prop_map(
        |(user, certificate, administrator, client_limit)| Change::AddUser {
            user,
            certificate,
            administrator,
            client_limit,
        },
    );
    let update = (user, prop::option::of(text), any::<Option<bool>>(), any::<Option<bool>>(), any::<Option<u32>>())
        .prop_filter("an update changes something", |(_, a, b, c, d)| {
            a.is_some() || b.is_some() || c.is_some() || d.is_some()
        })
        .prop_map(|(user, certificate, administrator, active, client_limit)| Change::UpdateUser {
            user,
            certificate,
            administrator,
            active,
            client_limit,
        });
    prop_oneof![add, update]
}

proptest! {
    #[test]
    fn what_is_composed_is_read_again(
        organization: [u8; 16],
        sequence in 1_u64..,
        previous: [u8; 32],
        time in 0_u64..(1 << 32) * 1_000_000,
        change in changes(),
    ) {
        let (organization, previous) = (OrganizationId::from_bytes(organization), Sha256Digest::from_bytes(previous));
        let time = UnixMicros(time);

        let text = Statement::compose(organization, sequence, Some(previous), time, change.clone());

        let hash = Sha256Digest::of(text.as_bytes());
        let expected = Statement { organization, sequence, previous: Some(previous), time, change, hash };
        prop_assert_eq!(Statement::parse(&text).unwrap(), expected);
    }

    #[test]
    fn any_text_is_refused_without_a_panic(text in "\\PC{0,200}|[{}\\[\\]\":,a-z0-9 ]{0,200}") {
        prop_assert!(Statement::parse(&text).is_err());
    }

    #[test]
    fn a_damaged_statement_has_another_hash_or_is_none(change in changes(), place: prop::sample::Index, letter: char) {
        let text = Statement::compose(ORGANIZATION, 1, Some(Sha256Digest::of(b"")), UnixMicros(9), change);
        let hash = Sha256Digest::of(text.as_bytes());
        let mut letters: Vec<char> = text.chars().collect();
        let place = place.index(letters.len());
        let other = std::mem::replace(&mut letters[place], letter) != letter;
        if let Ok(statement) = Statement::parse(&letters.into_iter().collect::<String>()) {
            prop_assert_eq!(statement.hash != hash, other);
        }
    }

    #[test]
    fn deep_nesting_is_refused(depth in 100_usize..100_000) {
        for opening in ["[", "{\"change\":", "{\"countersign\":1,\"change\":["] {
            let parsed = Statement::parse(&opening.repeat(depth));
            prop_assert!(parsed.is_err());
        }
    }
}
