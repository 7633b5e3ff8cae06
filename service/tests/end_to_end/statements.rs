//! The two-man rule over HTTP: who may change what, what a refusal says, and races for one place in the log.

use std::sync::Arc;

use countersign_protocol::body::{LogPage, UserPage};
use countersign_protocol::id::UserId;
use countersign_protocol::log::{Head, LogEntry};
use countersign_protocol::openpgp::Certificate;
use countersign_protocol::problem::{Problem, ProblemType as Type};
use countersign_protocol::statement::{Change, Statement};
use countersign_protocol::time::UnixMicros;
use futures_util::future::join_all;
use http::Method;

use crate::support::gnupg::{Key, keys};
use crate::support::http::{Answer, Http};
use crate::support::organization::{
    Organization, activity, administration, certificate, client_limit, signed, submission_to, submit, update,
};
use crate::support::process::Setup;
use crate::support::time::{now, random};
use crate::support::world::World;

const SECOND: i64 = 1_000_000;

fn creation(key: &Key) -> Change {
    Change::CreateOrganization { user: random(), certificate: key.certificate.clone() }
}

fn addition(certificate: &str) -> Change {
    Change::AddUser { user: random(), certificate: certificate.to_owned(), administrator: false, client_limit: None }
}

fn later(by: i64) -> UnixMicros {
    UnixMicros(now().0.checked_add_signed(by).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_different_super_administrators_create_an_organization() {
    let keys = keys().await;
    let service = Setup::new().await.start().await;
    let [one, two, three] = &keys.supers;
    let new = Organization::new();
    let text = new.compose(creation(&keys.alice), now());

    for signers in [&[][..], &[one], &[one, one], &[one, &keys.alice], &[&keys.alice], &[one, two, &keys.bob]] {
        submit(&service.http, &signed(text.clone(), signers).await).await.problem(Type::TwoManRule);
    }
    let entry = signed(text.clone(), &[three, one]).await;
    let head: Head = submit(&service.http, &entry).await.json(201);
    assert_eq!((head.sequence, head.hash), (0, Statement::parse(&text).unwrap().hash));
    // The identical statement is answered the same, even under other good signatures; another one is refused.
    assert_eq!(submit(&service.http, &entry).await.json::<Head>(201), head);
    assert_eq!(submit(&service.http, &signed(text, &[one, two]).await).await.json::<Head>(201), head);
    let another = signed(new.compose(creation(&keys.bob), now()), &[one, two]).await;
    submit(&service.http, &another).await.problem(Type::Exists);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_configured_super_administrators_create_organizations() {
    let setup = Setup::new().await;
    let file = setup.path("others.asc");
    std::fs::write(&file, format!("{}{}", keys().await.alice.certificate, keys().await.bob.certificate)).unwrap();
    let service = setup.set("SUPER_ADMINISTRATORS", file.display()).start().await;
    let [one, two, _] = &keys().await.supers;
    let entry = signed(Organization::new().compose(creation(&keys().await.alice), now()), &[one, two]).await;

    submit(&service.http, &entry).await.problem(Type::TwoManRule);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_administrator_signs_alone_and_of_several_two_sign() {
    let mut world = World::new().await;
    let http = world.service.http.clone();
    let keys = keys().await;
    let carol = world.organization.add(&http, &keys.carol, true).await;
    let dave = world.organization.add(&http, &keys.dave, true).await;
    let change = client_limit(world.bob, 9);
    let text = world.organization.compose(change, now());
    let (alice, bob) = (&keys.alice, &keys.bob);

    let refused: [&[&Key]; 7] = [
        &[],
        &[alice],
        &[alice, alice],
        &[alice, bob],
        &[alice, &keys.carol, &keys.erin],
        &[&keys.supers[0], &keys.supers[1]],
        &[alice, &keys.supers[0]],
    ];
    for signers in refused {
        submit(&http, &signed(text.clone(), signers).await).await.problem(Type::TwoManRule);
    }
    submit(&http, &signed(text, &[&keys.carol, &keys.dave]).await).await.expect(200);

    // Whoever is inactive or no administrator any more does not count, and does not need to be counted.
    world.organization.head = head_of(&world).await;
    world.organization.change(&http, activity(dave, false)).await;
    let text = world.organization.compose(client_limit(world.bob, 8), now());
    submit(&http, &signed(text.clone(), &[alice, &keys.dave]).await).await.problem(Type::TwoManRule);
    submit(&http, &signed(text, &[alice, &keys.carol]).await).await.expect(200);
    world.organization.head = head_of(&world).await;
    world.organization.change(&http, administration(carol, false)).await;
    world.organization.signers.truncate(1);
    world.organization.change(&http, client_limit(world.bob, 7)).await;
}

async fn head_of(world: &World) -> Option<Head> {
    let alice = world.alice().await;
    let page: LogPage = alice.get(format!("{}/log", alice.organization_path())).await.json(200);
    Some(page.head)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_signature_refuses_the_statement_and_is_named() {
    let mut world = World::new().await;
    let http = world.service.http.clone();
    let keys = keys().await;
    world.organization.add(&http, &keys.carol, true).await;
    let text = world.organization.compose(client_limit(world.bob, 9), now());
    let good = keys.alice.sign_armored(&text).await;
    let seconds = now().to_seconds();

    let bad = [
        "not a signature".to_owned(),
        String::new(),
        keys.carol.sign_armored(&format!("{text} ")).await,
        keys.erin.sign_armored(&text).await,
        keys.carol.sign_with(&text, &["--armor", "--textmode"]).await,
        keys.carol.sign_at(&text, seconds - 40).await,
        keys.carol.sign_at(&text, seconds + 60).await,
        format!("{}{}", keys.carol.sign_armored(&text).await, keys.carol.sign_armored(&text).await),
        keys.carol.certificate.clone(),
    ];
    for signature in bad {
        let signatures = vec![good.clone(), signature];
        let answer = submit(&http, &LogEntry { statement: text.clone(), signatures }).await;
        let problem = answer.problem(Type::TwoManRule);
        assert!(problem.detail.contains("ignature 2"), "{}", problem.detail);
    }
    let signatures = vec![good, keys.carol.sign_at(&text, seconds - 20).await];
    submit(&http, &LogEntry { statement: text, signatures }).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_follows_the_head_of_the_log() {
    let mut world = World::new().await;
    let http = world.service.http.clone();
    let head = world.organization.head.unwrap();
    let previous = world.organization.clone();
    let entry = world.organization.entry(client_limit(world.bob, 9)).await;
    let next: Head = submit(&http, &entry).await.json(200);
    assert_eq!(next.sequence, head.sequence + 1);

    let gap = Head { sequence: next.sequence + 1, ..next };
    let fork = Head { hash: head.hash, ..next };
    for wrong in [previous.head, Some(gap), Some(fork)] {
        let organization = Organization { head: wrong, ..previous.clone() };
        let entry = organization.entry(client_limit(world.bob, 8)).await;
        assert_eq!(submit(&http, &entry).await.problem(Type::LogMoved).head, Some(next));
    }
    // The identical one is answered again, also when it is not the last one any more.
    assert_eq!(submit(&http, &entry).await.json::<Head>(200), next);
    world.organization.head = Some(next);
    world.organization.change(&http, client_limit(world.bob, 7)).await;
    assert_eq!(submit(&http, &entry).await.json::<Head>(200), next);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statements_time_is_between_the_last_one_and_now() {
    let mut world = World::new().await;
    let http = world.service.http.clone();
    let alice = &keys().await.alice;
    let seconds = now().to_seconds();
    let organization = world.organization.clone();
    let change = || client_limit(world.bob, 9);

    let before_the_last = organization.compose(change(), later(-3600 * SECOND));
    let signatures = vec![alice.sign_at(&before_the_last, seconds - 3600).await];
    let answer = submit(&http, &LogEntry { statement: before_the_last, signatures }).await;
    answer.problem(Type::StatementExpired);
    let ahead = organization.compose(change(), later(50 * SECOND));
    let signatures = vec![alice.sign_at(&ahead, now().to_seconds() + 25).await];
    submit(&http, &LogEntry { statement: ahead, signatures }).await.problem(Type::StatementExpired);
    let little_ahead = signed(organization.compose(change(), later(20 * SECOND)), &[alice]).await;
    world.organization.head = Some(submit(&http, &little_ahead).await.json(200));

    // A week to countersign, and no longer.
    let day = 24 * 60 * 60;
    for (age, expected) in [(8 * day, Some(Type::StatementExpired)), (7 * day - 600, None)] {
        let statement = Organization::new().compose(creation(&keys().await.bob), later(-age * SECOND));
        let made = now().to_seconds() - u64::try_from(age).unwrap();
        let [one, two, _] = &keys().await.supers;
        let signatures = vec![one.sign_at(&statement, made).await, two.sign_armored(&statement).await];
        let answer = submit(&http, &LogEntry { statement, signatures }).await;
        match expected {
            Some(kind) => drop(answer.problem(kind)),
            None => drop(answer.expect(201)),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_usable_public_and_its_users_own() {
    let mut world = World::new().await;
    let http = world.service.http.clone();
    let keys = keys().await;
    let certificates = [
        keys.signing_only.certificate.clone(),
        keys.encrypting_only.certificate.clone(),
        keys.dave.secret().await,
        keys.alice.certificate.clone(),
        "no certificate".to_owned(),
        String::new(),
        format!("{}{}", keys.dave.certificate, keys.erin.certificate),
        keys.dave.sign_armored("text").await,
    ];
    for bad in &certificates {
        let entry = world.organization.entry(addition(bad)).await;
        submit(&http, &entry).await.problem(Type::BadCertificate);
        let mut change = update(world.bob);
        if let Change::UpdateUser { certificate, .. } = &mut change {
            *certificate = Some(bad.clone());
        }
        submit(&http, &world.organization.entry(change).await).await.problem(Type::BadCertificate);
    }
    // One's own again is no other user's, and one that nobody has any more is free.
    world.organization.change(&http, certificate(world.bob, &keys.bob)).await;
    world.organization.change(&http, certificate(world.bob, &keys.dave)).await;
    world.organization.change(&http, addition(&keys.bob.certificate)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_make_no_sense_are_refused() {
    let mut world = World::new().await;
    let http = world.service.http.clone();
    let problem = async |world: &World, change: Change, kind: Type| -> Problem {
        submit(&http, &world.organization.entry(change).await).await.problem(kind)
    };

    for change in [activity(world.alice, false), administration(world.alice, false)] {
        problem(&world, change, Type::LastAdministrator).await;
    }
    let nothing = serde_json::to_vec(&world.organization.entry(update(world.bob)).await).unwrap();
    let path = format!("/{}/{}", world.organization.id, world.bob);
    http.send(submission_to(Method::PUT, &path, nothing)).await.problem(Type::MalformedRequest);
    for limit in [0, 1_001] {
        problem(&world, client_limit(world.bob, limit), Type::MalformedRequest).await;
    }
    problem(&world, activity(random(), false), Type::NotFound).await;
    let again = Change::AddUser {
        user: world.bob,
        certificate: keys().await.dave.certificate.clone(),
        administrator: false,
        client_limit: None,
    };
    problem(&world, again, Type::Exists).await;

    // With a second administrator the first may go.
    world.organization.change(&http, administration(world.bob, true)).await;
    world.organization.signers.push(keys().await.bob.clone());
    world.organization.change(&http, activity(world.alice, false)).await;
    world.organization.signers.remove(0);
    problem(&world, activity(world.bob, false), Type::LastAdministrator).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_is_for_its_own_method_and_path() {
    let world = World::new().await;
    let http = &world.service.http;
    let entry = world.organization.entry(client_limit(world.bob, 9)).await;
    let body = serde_json::to_vec(&entry).unwrap();
    let (organization, other) = (world.organization.id, random::<UserId>());
    let path = format!("/{organization}/{}", world.bob);
    for (method, target) in [
        (Method::POST, path.clone()),
        (Method::POST, format!("/{organization}")),
        (Method::PUT, format!("/{organization}/{}", world.alice)),
        (Method::PUT, format!("/{other}/{}", world.bob)),
        (Method::PUT, format!("{path}?x=1")),
    ] {
        http.send(submission_to(method, &target, body.clone())).await.problem(Type::MalformedRequest);
    }
    let text = entry.statement.as_str();
    for (from, to) in [
        ("\"countersign\": 1", "\"countersign\": 2"),
        ("\"client_limit\": 9", "\"client_limit\": 9, \"x\": 1"),
        ("\"client_limit\": 9", "\"client_limit\": 9, \"client_limit\": 8"),
        ("\"update-user\"", "\"delete-user\""),
        ("\"client_limit\": 9", "\"client_limit\": -9"),
    ] {
        let changed = text.replace(from, to);
        assert_ne!(changed, text, "{from}");
        let body = serde_json::to_vec(&signed(changed, &[&keys().await.alice]).await).unwrap();
        http.send(submission_to(Method::PUT, &path, body)).await.problem(Type::MalformedRequest);
    }
    http.send(submission_to(Method::PUT, &path, body)).await.expect(200);
}

/// Submits all at once, each on a connection of its own.
async fn race(http: &Http, entries: Vec<LogEntry>) -> Vec<Answer> {
    let barrier = Arc::new(tokio::sync::Barrier::new(entries.len()));
    let submissions = entries.into_iter().map(|entry| {
        let (http, barrier) = (http.separate(), Arc::clone(&barrier));
        tokio::spawn(async move {
            barrier.wait().await;
            submit(&http, &entry).await
        })
    });
    join_all(submissions).await.into_iter().map(Result::unwrap).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_statements_for_one_sequence_exactly_one_wins() {
    let mut world = World::of(Setup::new().await.durable()).await;
    let http = world.service.http.clone();
    for round in 0..4 {
        let mut entries = Vec::new();
        for number in 0..16 {
            entries.push(world.organization.entry(client_limit(world.bob, 1 + number + 16 * round)).await);
        }
        let answers = race(&http, entries).await;

        let won: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 200).collect();
        assert_eq!(won.len(), 1);
        let head: Head = won[0].clone().json(200);
        for lost in answers.iter().filter(|answer| answer.status != 200) {
            assert_eq!(lost.problem(Type::LogMoved).head, Some(head));
        }
        world.organization.head = Some(head);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_identical_statement_many_times_at_once_is_one_entry() {
    let mut world = World::new().await;
    let http = world.service.http.clone();
    let entry = world.organization.entry(client_limit(world.bob, 9)).await;

    let answers = race(&http, vec![entry; 16]).await;

    let heads: Vec<Head> = answers.into_iter().map(|answer| answer.json(200)).collect();
    assert!(heads.iter().all(|head| *head == heads[0]));
    world.organization.head = Some(heads[0]);
    world.organization.change(&http, client_limit(world.bob, 8)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organization_is_created_once() {
    let service = Setup::new().await.durable().start().await;
    let mut organization = Organization::new();
    organization.signers = keys().await.supers[..2].to_vec();
    let mut entries = Vec::new();
    for _ in 0..12 {
        entries.push(organization.entry(creation(&keys().await.alice)).await);
    }

    let answers = race(&service.http, entries).await;

    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    for lost in answers.iter().filter(|answer| answer.status != 201) {
        lost.problem(Type::Exists);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_folds_the_answered_log_to_the_same_organization() {
    let mut world = World::of(Setup::new().await.durable()).await;
    let http = world.service.http.clone();
    world.organization.change(&http, administration(world.bob, true)).await;
    world.organization.signers.push(keys().await.bob.clone());
    world.organization.change(&http, client_limit(world.bob, 3)).await;
    let alice = world.alice().await;

    let page: LogPage = alice.get(format!("{}/log", alice.organization_path())).await.json(200);

    let certificate = |key: &Key| Arc::new(Certificate::parse(&key.certificate).unwrap());
    let supers = keys().await.supers.iter().map(certificate).collect();
    let mut folded = countersign_protocol::organization::Organization::new(world.organization.id, supers);
    for entry in page.entries {
        folded.extend(&entry.into(), now()).unwrap();
    }
    assert_eq!(folded.head(), Some(page.head));
    let users: UserPage = alice.get(alice.organization_path()).await.json(200);
    for user in users.users {
        let record = folded.user(&user.user).unwrap();
        assert_eq!((record.administrator, record.active), (user.administrator, user.active));
        assert_eq!((&record.certificate, record.fingerprint.to_string()), (&user.certificate, user.fingerprint));
    }
}
