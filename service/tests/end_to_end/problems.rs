//! Every problem of section 8, each with its type, status and headers; unknown paths and methods.

use std::collections::BTreeSet;

use bytes::Bytes;
use countersign_protocol::digest::{Sha256Digest, content_digest};
use countersign_protocol::id::UserId;
use countersign_protocol::message_id::MessageId;
use countersign_protocol::problem::ProblemType as Type;
use countersign_protocol::request_signature::ACCEPT_SIGNATURE;
use countersign_protocol::session_key::SessionKey;
use countersign_service::http::route::Operation;
use http::{Method, Request};

use crate::support::client::{Client, password_request};
use crate::support::http::{Answer, Content, Http};
use crate::support::openapi::description;
use crate::support::time::{now, now_millis, random};
use crate::support::world::World;

const REPLACED: [(&str, &str); 5] = [
    ("{organization}", "1d48332a-2591-5aa1-9381-2c8254a0f5e1"),
    ("{user}", "d6bf3569-703e-59e3-81fa-7918be4a2e66"),
    ("{client}", "dd163e8f-84e7-5a72-80dc-a82289200927"),
    ("{message}", "01a2062d-e27b-8e97-8ebb-14349f9a8c19"),
    ("{receipt}", "01a2062d-e27b-8e97-8ebb-14349f9a8c19"),
];

fn concrete(template: &str) -> String {
    REPLACED.iter().fold(template.to_owned(), |path, (name, id)| path.replace(name, id))
}

async fn plain(http: &Http, method: &str, target: &str) -> Answer {
    http.send(Request::builder().method(method).uri(target).body(Content::Nothing).unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_path_has_the_methods_of_the_description_and_no_others() {
    let world = World::new().await;
    let http = &world.service.http;
    for (template, methods) in description().paths() {
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"] {
            let answer = plain(http, method, &concrete(&template)).await;
            if methods.contains(method) {
                assert!([400, 401].contains(&answer.status.as_u16()), "{method} {template}: {}", answer.status);
            } else {
                answer.problem(Type::MethodNotAllowed);
                let allow: Vec<&str> = answer.header("allow").unwrap().split(", ").collect();
                assert_eq!(allow, methods.iter().map(String::as_str).collect::<Vec<_>>(), "{template}");
            }
        }
    }
}

#[test]
fn the_description_has_every_operation_of_the_service() {
    let camel_case = |name: &str| {
        let mut words = name.split('_');
        let first = words.next().unwrap_or("").to_owned();
        words.fold(first, |name, word| name + &word[..1].to_uppercase() + &word[1..])
    };
    let operations = Operation::ALL.into_iter().map(Operation::name).filter(|name| !name.starts_with("unknown_"));

    assert_eq!(operations.map(camel_case).collect::<BTreeSet<_>>(), description().operations());
}

#[tokio::test(flavor = "multi_thread")]
async fn other_paths_are_not_found() {
    let world = World::new().await;
    let [organization, user, client, ..] = REPLACED.map(|(_, id)| id);
    for path in [
        "/".to_owned(),
        format!("/{organization}/"),
        format!("/{organization}/{user}/"),
        format!("/{organization}/{user}/messages"),
        format!("/{organization}/{user}/client/{client}/"),
        format!("/{organization}/{user}/client/{client}/fetched/{client}"),
        "/metrics/metrics/metrics".to_owned(),
        format!("//{organization}/{user}/message"),
    ] {
        plain(&world.service.http, "GET", &path).await.problem(Type::NotFound);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_has_one_spelling() {
    let world = World::new().await;
    let alice = world.alice().await;
    let organization = alice.address.organization.to_string();
    let user = alice.user().to_string();
    let misspelled = [
        organization.to_uppercase(),
        organization.replace('-', ""),
        format!("{{{organization}}}"),
        format!("urn:uuid:{organization}"),
        format!("{organization}0"),
        "x".to_owned(),
        format!("%{:02x}{}", organization.as_bytes()[0], &organization[1..]),
    ];
    for wrong in misspelled {
        alice.get(format!("/{wrong}/{user}")).await.problem(Type::MalformedRequest);
        let with_wrong_user = wrong.replace(&organization, &user);
        if with_wrong_user != user {
            alice.get(format!("/{organization}/{with_wrong_user}")).await.problem(Type::MalformedRequest);
        }
    }
    // A UUID of another version is no message id.
    alice.get(format!("{}/message/{user}", alice.path())).await.problem(Type::MalformedRequest);
    alice.get(format!("{}/client/{}", alice.path(), "x")).await.problem(Type::MethodNotAllowed);
    let target = format!("{}/client/x", alice.path());
    alice.call(Method::DELETE, target).send().await.problem(Type::MalformedRequest);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_has_only_known_parameters_once_and_well_formed() {
    let world = World::new().await;
    let alice = world.alice().await;
    let organization = alice.organization_path();
    let path = alice.path();
    for target in [
        format!("{organization}?after=x"),
        format!("{organization}?limit=-1"),
        format!("{organization}?page=2"),
        format!("{organization}?limit=1&limit=1"),
        format!("{organization}/log?after=-2"),
        format!("{organization}/log?after=1.5"),
        format!("{organization}/log?after=99999999999999999999"),
        format!("{path}?x"),
        format!("{path}/client?limit=1"),
        format!("{path}/message?limit="),
        format!("{path}/message?limit=one"),
        format!("{path}/message?after=1"),
    ] {
        alice.get(&target).await.problem(Type::MalformedRequest);
    }
    let id = alice.message_id(now_millis(), &[world.bob], b"x");
    for target in [
        format!("{path}/message"),
        format!("{path}/message?id={id}"),
        format!("{path}/message?to={}", world.bob),
        format!("{path}/message?id={id}&id={id}&to={}", world.bob),
        format!("{path}/message?id={id}&to=bob"),
        format!("{path}/message?id={}&to={}", world.bob, world.bob),
    ] {
        alice.call(Method::POST, &target).body(b"x").send().await.problem(Type::MalformedRequest);
    }
    let target = format!("{path}/message/{id}");
    alice.call(Method::PUT, target).body(b"x").send().await.problem(Type::MalformedRequest);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_not_signed_is_told_how_to_sign() {
    let world = World::new().await;
    let [organization, user] = [world.organization.id.to_string(), world.alice.to_string()];

    let unsigned = plain(&world.service.http, "GET", &format!("/{organization}/{user}/message")).await;
    unsigned.problem(Type::SignatureMissing);
    assert_eq!(unsigned.header("accept-signature"), Some(ACCEPT_SIGNATURE));

    let target = format!("/{organization}/{user}/password?client={}", random::<UserId>());
    let unsigned = plain(&world.service.http, "GET", &target).await;
    unsigned.problem(Type::SignatureMissing);
    assert_eq!(unsigned.header("www-authenticate"), Some("OpenPGP"));
}

/// What is tampered with after signing.
type Tampering = fn(&mut Request<Content>);

fn replace(request: &mut Request<Content>, header: &'static str, from: &str, to: &str) {
    let value = request.headers()[header].to_str().unwrap().replace(from, to);
    request.headers_mut().insert(header, value.parse().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_part_that_is_signed_is_held_by_the_signature() {
    let world = World::new().await;
    let alice = world.alice().await;
    let content = b"content";
    let tamperings: [(&str, Tampering); 14] = [
        ("method", |request| *request.method_mut() = Method::PUT),
        ("query", |request| {
            let target = format!("{}&to={}", request.uri(), "d6bf3569-703e-59e3-81fa-7918be4a2e66");
            *request.uri_mut() = target.parse().unwrap();
        }),
        ("query's spelling", |request| {
            *request.uri_mut() = request.uri().to_string().replace("&to=", "&t%6f=").parse().unwrap();
        }),
        ("body", |request| *request.body_mut() = Content::Whole(Bytes::from_static(b"another"))),
        ("no body", |request| *request.body_mut() = Content::Nothing),
        ("digest", |request| {
            let digest = content_digest(&Sha256Digest::of(b"another"));
            request.headers_mut().insert("content-digest", digest.parse().unwrap());
        }),
        ("no digest", |request| drop(request.headers_mut().remove("content-digest"))),
        ("digest not covered", |request| replace(request, "signature-input", r#" "content-digest""#, "")),
        ("nonce", |request| replace(request, "signature-input", r#"nonce="1"#, r#"nonce="1"#.trim())),
        ("created", |request| replace(request, "signature-input", ";created=1", ";created=2")),
        ("algorithm", |request| replace(request, "signature-input", "hmac-sha256", "hmac-sha512")),
        ("another parameter", |request| replace(request, "signature-input", ";alg", r#";tag="x";alg"#)),
        ("order of components", |request| {
            replace(request, "signature-input", r#""@method" "@path""#, r#""@path" "@method""#);
        }),
        ("signature", |request| {
            request.headers_mut().insert("signature", format!("countersign=:{}=:", "A".repeat(43)).parse().unwrap());
        }),
    ];
    for (what, tamper) in tamperings {
        let id = alice.message_id(now_millis(), &[world.bob], content);
        let mut request = alice.call(Method::POST, alice.send_target(&id, &[world.bob])).body(content).build();
        let before = format!("{request:?}");
        tamper(&mut request);
        if what == "nonce" {
            // The next number: still in the window, still greater than all before.
            let input = request.headers()["signature-input"].to_str().unwrap().to_owned();
            let nonce: u64 = input.split("nonce=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap();
            replace(&mut request, "signature-input", &nonce.to_string(), &(nonce + 1).to_string());
        }
        assert_ne!(format!("{request:?}"), before, "{what} was not tampered with");
        let answer = alice.http.send(request).await;
        assert!([400, 401, 405].contains(&answer.status.as_u16()), "{what}: {} {}", answer.status, answer.text());
    }
    assert!(world.bob().await.list().await.messages.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_stand_twice_or_are_no_structured_fields_are_refused() {
    let world = World::new().await;
    let alice = world.alice().await;
    for header in ["signature-input", "signature"] {
        let mut request = alice.call(Method::GET, alice.path()).build();
        let value = request.headers()[header].clone();
        request.headers_mut().append(header, value);
        alice.http.send(request).await.problem(Type::MalformedRequest);
    }
    for (header, value) in [
        ("signature-input", "countersign"),
        ("signature-input", "countersign=();created=1"),
        ("signature-input", "other=(\"@method\");created=1"),
        ("signature-input", "countersign=(\"@method\" \"@path\" \"@query\");created=\"1\""),
        ("signature", "countersign=:AAAA:"),
        ("signature", "countersign=\"text\""),
        ("signature", ":"),
    ] {
        let mut request = alice.call(Method::GET, alice.path()).build();
        request.headers_mut().insert(header, value.parse().unwrap());
        alice.http.send(request).await.problem(Type::SignatureInvalid);
    }
    for authorization in ["Basic eDp5", "OpenPGP", "OpenPGP nonce=\"1\"", "OpenPGP nonce=\"x\", signature=\"AAAA\""] {
        let answer = alice.http.send(password_request(&alice.address, authorization)).await;
        answer.problem(Type::SignatureInvalid);
        assert_eq!(answer.header("www-authenticate"), Some("OpenPGP"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_for_its_own_paths_and_key() {
    let world = World::new().await;
    let (alice, bob) = (world.alice().await, world.bob().await);
    let other = world.alice().await;

    alice.get(bob.path()).await.problem(Type::Forbidden);
    alice.get(format!("{}/message", bob.path())).await.problem(Type::Forbidden);
    alice.get(format!("/{}", random::<UserId>())).await.problem(Type::Forbidden);
    let target = format!("{}/fetched", other.client_path());
    alice.call(Method::POST, target).body(b"{\"messages\":[]}").send().await.problem(Type::Forbidden);
    alice.call(Method::DELETE, bob.client_path()).send().await.problem(Type::Forbidden);

    let wrong_key = SessionKey::from_bytes([7; 32]);
    alice.call(Method::GET, alice.path()).with_key(wrong_key).send().await.problem(Type::SignatureInvalid);
    alice.call(Method::GET, bob.path()).signed_as(bob.address).send().await.problem(Type::SignatureInvalid);
    let unknown = world.organization.address(world.alice, random());
    alice.call(Method::GET, alice.path()).signed_as(unknown).send().await.problem(Type::SessionUnknown);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_are_not_there_or_not_for_the_reader_are_not_found_alike() {
    let world = World::new().await;
    let (alice, bob) = (world.alice().await, world.bob().await);
    let to_herself = alice.send(&[world.alice], b"private").await;
    let nowhere = alice.message_id(now_millis(), &[world.bob], b"never sent");

    let hidden = bob.get(format!("{}/message/{to_herself}", bob.path())).await;
    let missing = bob.get(format!("{}/message/{nowhere}", bob.path())).await;
    assert_eq!(hidden.problem(Type::NotFound), missing.problem(Type::NotFound));

    let receipt = |of: &MessageId| {
        let (address, digest) = (bob.address, Sha256Digest::of(b"signature"));
        MessageId::of_receipt(&address.organization, &address.user, now_millis(), of, &digest)
    };
    for message in [to_herself, nowhere] {
        bob.acknowledge_as(&message, &receipt(&message), b"signature").await.problem(Type::NotFound);
    }
    // The sender alone is no recipient.
    let to_bob = alice.send(&[world.bob], b"for Bob").await;
    alice.acknowledge_as(&to_bob, &receipt(&to_bob), b"signature").await.problem(Type::NotFound);
    bob.acknowledge_as(&to_bob, &to_bob, b"signature").await.problem(Type::WrongId);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_recipients_are_named_and_nothing_is_sent() {
    let mut world = World::new().await;
    let (alice, bob) = (world.alice().await, world.bob().await);
    let gone = world.organization.add(&world.service.http, &crate::support::gnupg::keys().await.dave, false).await;
    world.organization.change(&world.service.http, crate::support::organization::activity(gone, false)).await;
    let mut strangers: Vec<UserId> = vec![random(), random(), gone];
    strangers.sort_unstable();
    let recipients = [&strangers[..], &[world.bob]].concat();
    let id = alice.message_id(now_millis(), &recipients, b"x");

    let problem = alice.send_as(&id, &recipients, b"x").await.problem(Type::UnknownRecipient);

    assert_eq!(problem.recipients, strangers);
    assert!(bob.list().await.messages.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_does_not_fit_is_wrong() {
    let world = World::new().await;
    let (alice, bob) = (world.alice().await, world.bob().await);
    let both = [world.alice, world.bob];
    let time = now_millis();
    for id in [
        alice.message_id(time, &both, b"content"),
        alice.message_id(time, &[world.bob], b"another content"),
        bob.message_id(time, &[world.bob], b"content"),
    ] {
        alice.send_as(&id, &[world.bob], b"content").await.problem(Type::WrongId);
    }
    assert!(bob.list().await.messages.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_where_none_belongs_and_none_where_one_belongs_are_refused() {
    let world = World::new().await;
    let alice = world.alice().await;
    let (path, client) = (alice.path(), alice.client_path());
    for target in [alice.organization_path(), path.clone(), format!("{path}/client"), format!("{path}/message")] {
        alice.call(Method::GET, target).body(b"body").send().await.problem(Type::MalformedRequest);
    }
    for body in ["", "{}", "[]", "{\"messages\":[],\"more\":1}", "{\"messages\":[\"x\"]}", "{\"messages\":[]} x"] {
        let call = alice.call(Method::POST, format!("{client}/fetched"));
        let call = if body.is_empty() { call } else { call.body(body.as_bytes()) };
        call.send().await.problem(Type::MalformedRequest);
    }
    for body in ["", "{}", "null", "{\"statement\":\"\",\"signatures\":[],\"x\":1}", "{\"statement\":1}"] {
        let request = Request::put(&path).body(Content::Whole(Bytes::from_static(body.as_bytes()))).unwrap();
        alice.http.send(request).await.problem(Type::MalformedRequest);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_a_request_id_and_is_not_for_caches() {
    let world = World::new().await;
    let alice = world.alice().await;
    let refused = plain(&alice.http, "GET", "/").await;
    let answered = alice.get(alice.path()).await.expect(200);
    for answer in [&refused, &answered] {
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert!(!answer.header("request-id").unwrap().is_empty());
    }
    assert_ne!(refused.header("request-id"), answered.header("request-id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn unavailable_says_when_to_come_back() {
    let setup = crate::support::process::Setup::new().await.set("CONCURRENT_WAITS", 0);
    let world = World::of(setup).await;
    let alice = world.alice().await;

    alice.wait(1).await.problem(Type::Unavailable);

    alice.list().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_much_to_a_busy_service_learns_when_to_come_back() {
    let setup = crate::support::process::Setup::new().await.set("CONCURRENT_WRITES", 0);
    let world = World::of(setup).await;
    let alice = world.alice().await;
    let content = vec![1; 1024 * 1024];
    for _ in 0..20 {
        // Each on a connection of its own: one with an unread body on its way is closed after the answer.
        let alice = alice.at(&alice.http.separate());
        let id = alice.message_id(now_millis(), &[world.bob], &content);
        alice.send_as(&id, &[world.bob], &content).await.problem(Type::Unavailable);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_is_answered_over_http2_without_tls() {
    let world = World::new().await;
    let alice: Client = world.alice().await.at(&world.service.http.http2());
    let id = alice.send(&[world.alice, world.bob], &vec![7; 300_000]).await;

    assert_eq!(alice.read(&id).await, vec![7; 300_000]);
    assert_eq!(alice.list().await.messages.len(), 1);
    let mut late = alice.call(Method::GET, alice.path());
    late = late.created(now().to_seconds() - 100);
    late.send().await.problem(Type::NonceOutOfWindow);
}
