//! The canary over a real service.

use std::path::Path;
use std::process::Command;

use countersign_loadtest::keys::write_people;
use countersign_protocol::digest::Sha256Digest;
use countersign_protocol::id::{OrganizationId, UserId};
use countersign_protocol::message_id::MessageId;
use countersign_protocol::time::UnixMillis;

use crate::support::{BINARY, Process, Service, eventually, get};

fn canary(service: &Service, folder: &Path, arguments: &[&str]) -> Process {
    let mut command = Command::new(BINARY);
    command
        .args(["canary", "--url", service.url.as_str(), "--admin-listen", "127.0.0.1:0", "--every", "200ms"])
        .arg("--folder")
        .arg(folder)
        .args(arguments)
        .env("COUNTERSIGN_LOADTEST_KEYS", service.keys());
    Process::start(command)
}

async fn admin_of(canary: &Process) -> String {
    eventually("the canary sings", async || {
        let text = canary.text();
        let (_, rest) = text.split_once("admin=")?;
        Some(format!("http://{}", rest.split_whitespace().next()?))
    })
    .await
}

fn value(metrics: &str, series: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("there is no {series} in\n{metrics}")).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_says_that_its_messages_come_back_and_keeps_who_it_is() {
    let service = Service::start(&[]).await;
    let folder = service.folder.path().join("canary");
    for arguments in [&["--create"][..], &[]] {
        let canary = canary(&service, &folder, arguments);
        let admin = admin_of(&canary).await;

        let metrics = eventually("messages come back", async || {
            let metrics = get(&admin, "/metrics").await?;
            (value(&metrics, "countersign_canary_received_total") >= 5.0).then_some(metrics)
        })
        .await;

        assert!(value(&metrics, "countersign_canary_sent_total{outcome=\"accepted\"}") >= 5.0);
        assert!(value(&metrics, "countersign_canary_delivery_seconds_count") >= 5.0);
        for none in ["lost_total", "corrupted_total", "duplicated_total", "missing"] {
            assert!(value(&metrics, &format!("countersign_canary_{none}")).abs() < f64::EPSILON, "{none}");
        }
        assert_eq!(get(&admin, "/livez").await.as_deref(), Some("alive\n"));
        assert!(get(&admin, "/").await.is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_says_what_did_not_come_back() {
    let service = Service::start(&[]).await;
    let folder = service.folder.path().join("canary");
    std::fs::create_dir(&folder).unwrap();
    // An earlier life of the canary was promised this message. The service has never heard of it.
    let digest = Sha256Digest::of(b"gone");
    let (organization, user) = (OrganizationId::from_bytes([1; 16]), UserId::from_bytes([2; 16]));
    let id = MessageId::of_message(&organization, &user, UnixMillis(1), &[user], &digest);
    let pending = format!(r#"[["{id}",{{"digest":"{digest}","begun":1,"accepted":2,"lost":false}}]]"#);
    std::fs::write(folder.join("pending.json"), pending).unwrap();

    let canary = canary(&service, &folder, &["--create", "--lost-after", "1m"]);
    let admin = admin_of(&canary).await;

    eventually("the loss is told", async || {
        let metrics = get(&admin, "/metrics").await?;
        let of = |name: &str| value(&metrics, name);
        let told = of("countersign_canary_lost_total") > 0.5 && of("countersign_canary_missing") > 0.5;
        (told && of("countersign_canary_received_total") > 0.5).then_some(())
    })
    .await;
    assert!(canary.text().contains("LOST: a message that was answered 201 did not come back"), "{}", canary.text());
    assert!(canary.text().contains(&id.to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_nobody_knows_says_what_to_give() {
    let service = Service::start(&[]).await;
    let folder = service.folder.path().join("canary");

    let mut canary = canary(&service, &folder, &[]);

    let status = eventually("it ends", async || canary.child.try_wait().unwrap()).await;
    assert_eq!(status.code(), Some(1));
    eventually("it says why", async || canary.text().contains("--create").then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_can_be_a_user_whom_administrators_have_added() {
    let service = Service::start(&[]).await;
    let organization = service.organization(2).await;
    let user = &organization.users[1];
    let key = service.folder.path().join("canary.pgp");
    write_people(&key, [&user.person]).unwrap();
    let (id, of) = (user.id.to_string(), organization.id.to_string());
    let arguments = ["--organization", &of, "--user", &id, "--key", key.to_str().unwrap()];

    let canary = canary(&service, &service.folder.path().join("canary"), &arguments);
    let admin = admin_of(&canary).await;

    eventually("messages come back", async || {
        (value(&get(&admin, "/metrics").await?, "countersign_canary_received_total") > 0.5).then_some(())
    })
    .await;
    assert!(canary.text().contains(&id), "{}", canary.text());
}
