//! Start, shutdown, and the commands beside `serve`.

use std::net::TcpListener;
use std::time::Duration;

use countersign_protocol::body::Listing;
use countersign_protocol::problem::ProblemType as Type;
use countersign_service::config::Settings;
use http::Request;
use rustix::process::Signal;

use crate::support::http::Content;
use crate::support::process::Setup;
use crate::support::time::{eventually, monotonic, soon};
use crate::support::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn after_sigterm_requests_go_on_while_load_balancers_learn_of_it() {
    let world = World::of(Setup::new().await.set("DRAIN_DELAY", "3s")).await;
    let (alice, bob) = (world.alice().await, world.bob().await);
    let start = monotonic();

    world.service.process.signal(Signal::TERM);

    eventually("it is not ready", async || {
        let answer = world.service.admin.get("/readyz").await;
        (answer.status == 503).then(|| assert_eq!(answer.text(), "draining\n"))
    })
    .await;
    assert!(monotonic().duration_since(start) < Duration::from_secs(2), "it is not ready at once");
    world.service.admin.get("/livez").await.expect(200);
    // On connections that are open and on new ones.
    let sent = alice.send(&[world.bob], b"during the drain delay").await;
    let elsewhere = bob.at(&world.service.http.separate());
    assert_eq!(elsewhere.list().await.messages[0].id, sent);
    let status = world.service.process.end().await;
    assert_eq!(status.code(), Some(0));
    let took = monotonic().duration_since(start);
    assert!(took >= Duration::from_secs(3) && took < Duration::from_secs(20), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_listing_is_answered_early_at_the_end() {
    let world = World::new().await;
    let bob = world.bob().await;
    let start = monotonic();
    let waiting = tokio::spawn(async move { bob.wait(55).await });
    eventually("the listing waits", async || {
        let waiting = r#"countersign_requests_in_flight{operation="list_messages"}"#;
        (world.service.metric(waiting).await > 0.5).then_some(())
    })
    .await;

    let status = world.service.process.terminate().await;

    let listing: Listing = soon("the listing is answered", waiting).await.unwrap().json(200);
    assert!(listing.messages.is_empty());
    assert_eq!(status.code(), Some(0));
    assert!(monotonic().duration_since(start) < Duration::from_secs(30));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_the_drain_at_once() {
    let world = World::of(Setup::new().await.set("DRAIN_DELAY", "10min")).await;
    world.service.process.signal(Signal::TERM);
    eventually("the drain begins", async || (world.service.admin.get("/readyz").await.status == 503).then_some(()))
        .await;

    let status = world.service.process.terminate().await;

    assert_eq!(status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_by_a_person_waits_for_no_load_balancer() {
    let world = World::of(Setup::new().await.set("DRAIN_DELAY", "10min")).await;

    world.service.process.signal(Signal::INT);

    assert_eq!(world.service.process.end().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_has_begun_is_finished_at_the_end() {
    let world = World::new().await;
    let alice = world.alice().await;
    let id = alice.message_id(crate::support::time::now_millis(), &[world.bob], b"half and half");
    let request = alice.call(http::Method::POST, alice.send_target(&id, &[world.bob])).body(b"half and half").build();
    let bytes = crate::support::raw::wire(&request);
    let mut socket = tokio::net::TcpStream::connect(world.service.public).await.unwrap();
    let (begin, rest) = bytes.split_at(bytes.len() - 4);
    tokio::io::AsyncWriteExt::write_all(&mut socket, begin).await.unwrap();
    eventually("the request is in work", async || {
        let sending = r#"countersign_requests_in_flight{operation="send_message"}"#;
        (world.service.metric(sending).await > 0.5).then_some(())
    })
    .await;

    world.service.process.signal(Signal::TERM);
    eventually("the drain begins", async || world.service.process.text().contains("draining").then_some(())).await;
    tokio::io::AsyncWriteExt::write_all(&mut socket, rest).await.unwrap();

    let answer = crate::support::raw::read_to_end(&mut socket).await;
    assert_eq!(crate::support::raw::status(&answer), Some(201));
    assert_eq!(world.service.process.end().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_configuration_ends_before_any_port_is_bound() {
    // Both ports are taken: whoever tried to bind them would fail with another exit code.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let setup = Setup::new().await.set("LISTEN", address).set("ADMIN_LISTEN", address);
    let file = setup.path("countersign.toml");
    let with_file = setup.clone().set("CONFIG", file.display());
    for text in ["retentoin = \"3days\"", "retention = 3", "[section]", "inconsistent_window = \"10s\"", "="] {
        std::fs::write(&file, text).unwrap();
        for command in ["serve", "check-config"] {
            let output = with_file.run(&[command]).await;
            assert_eq!(output.status.code(), Some(64), "{command} with {text}");
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(said.contains("countersign"), "{said}");
        }
    }
    for (name, value) in
        [("LISTEN", "nowhere"), ("STORE", "mysql://x"), ("RECIPIENTS", "0"), ("LOG", "a=b=c"), ("CONFIG", "/nowhere")]
    {
        let output = setup.clone().set(name, value).run(&["serve"]).await;
        assert_eq!(output.status.code(), Some(64), "{name}={value}");
    }
    for arguments in [&[][..], &["serve", "--unknown"], &["unknown"], &["serve", "extra"]] {
        assert_eq!(setup.run(arguments).await.status.code(), Some(64), "{arguments:?}");
    }
    // A port that is taken is a failure, but not of the configuration.
    assert_eq!(setup.run(&["serve"]).await.status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn check_config_prints_every_setting_and_binds_nothing() {
    let setup = Setup::new().await;
    let file = setup.path("countersign.toml");
    std::fs::write(&file, "retention = \"30days\"\nrecipients = 7\n").unwrap();
    let setup = setup.set("CONFIG", file.display()).set("RECIPIENTS", 8);

    let output = setup.run(&["check-config", "--content-bytes", "9"]).await;

    assert_eq!(output.status.code(), Some(0));
    let printed = String::from_utf8(output.stdout).unwrap();
    for (name, _, default) in Settings::NAMES.iter().filter(|(.., default)| !default.is_empty()) {
        assert!(printed.contains(&format!("{name} = ")), "{name} (default {default}) is missing in\n{printed}");
    }
    // A flag wins over a variable, a variable over the file.
    for line in ["content_bytes = \"9\"", "recipients = \"8\"", "retention = \"30days\""] {
        assert!(printed.lines().any(|printed| printed == line), "{line} is missing in\n{printed}");
    }

    std::fs::write(setup.path("super-administrators.asc"), "nothing").unwrap();
    assert_eq!(setup.run(&["check-config"]).await.status.code(), Some(64));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_health_check_tells_by_its_exit_code() {
    let world = World::of(Setup::new().await.set("DRAIN_DELAY", "10min")).await;
    let check = world.service.setup.clone().set("ADMIN_LISTEN", world.service.admin.address);

    let healthy = check.run(&["healthcheck"]).await;
    assert_eq!(healthy.status.code(), Some(0));
    world.service.process.signal(Signal::TERM);
    eventually("it is not healthy any more", async || {
        let output = check.run(&["healthcheck"]).await;
        let said = String::from_utf8(output.stderr).unwrap();
        (output.status.code() == Some(1) && said.contains("draining")).then_some(())
    })
    .await;
    world.service.process.kill().await;
    assert_eq!(check.run(&["healthcheck"]).await.status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn help_lists_every_variable() {
    let setup = Setup::new().await;
    let output = setup.run(&["serve", "--help"]).await;
    assert_eq!(output.status.code(), Some(0));
    let help = String::from_utf8(output.stdout).unwrap();
    for (name, variable, _) in Settings::NAMES {
        assert!(help.contains(&format!("{variable}=")), "{variable} is missing");
        assert!(help.contains(&format!("--{} ", name.replace('_', "-"))), "{name} is missing");
    }
    assert!(help.contains("COUNTERSIGN_CONFIG"));
    assert_eq!(setup.run(&["--version"]).await.status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_store_is_for_one_process() {
    let setup = Setup::new().await.embedded();
    let first = setup.start().await;

    let second = setup.run(&["serve"]).await;

    assert_eq!(second.status.code(), Some(1), "{}", String::from_utf8_lossy(&second.stderr));
    first.admin.get("/readyz").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn super_administrators_are_read_again_when_their_file_changes() {
    let world = World::new().await;
    let http = &world.service.http;
    let keys = crate::support::gnupg::keys().await;
    let mut organization = crate::support::organization::Organization::new();
    organization.signers = vec![keys.dave.clone(), keys.erin.clone()];
    let change = countersign_protocol::statement::Change::CreateOrganization {
        user: crate::support::time::random(),
        certificate: keys.alice.certificate.clone(),
    };
    let entry = organization.entry(change).await;
    crate::support::organization::submit(http, &entry).await.problem(Type::TwoManRule);

    let file = world.service.setup.path("super-administrators.asc");
    std::fs::write(file, format!("{}{}", keys.dave.certificate, keys.erin.certificate)).unwrap();

    eventually("the new ones count", async || {
        (crate::support::organization::submit(http, &entry).await.status == 201).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_administrative_routes_are_not_on_the_public_listener() {
    let world = World::new().await;
    for path in ["/metrics", "/livez", "/readyz"] {
        world.service.http.get(path).await.problem(Type::MalformedRequest);
        world.service.admin.get(path).await.expect(200);
        let post = Request::post(path).body(Content::Nothing).unwrap();
        world.service.admin.send(post).await.expect(405);
    }
    world.service.admin.get("/").await.expect(404);
}
