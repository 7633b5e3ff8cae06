//! The ledger finds what is done to a store behind the service's back: it can fail.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use countersign_client::connection::Trust;
use countersign_loadtest::chaos::Proxy;
use countersign_loadtest::ledger::{Exit, Facts, Ledger, Options, Terms};
use countersign_loadtest::wire::Targets;
use countersign_protocol::body::ItemKind;
use countersign_protocol::id::{ClientAddress, UserId};
use countersign_protocol::message_id::MessageId;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;

use crate::support::{Service, clock, countersignd, entropy, eventually, keyspace, scripts};

/// A CQL server: the one that tests share, or one of this test's own.
struct Server {
    folder: PathBuf,
    held: Option<(std::process::Child, tempfile::TempDir)>,
}

impl Server {
    async fn start() -> Self {
        if let Some(folder) = std::env::var_os("COUNTERSIGN_TEST_CQL") {
            return Self { folder: folder.into(), held: None };
        }
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("cql");
        let mut command = Command::new(scripts().join("cql.sh"));
        command.arg("hold").arg(&folder).arg("1").env("CQL_SYNC", "periodic");
        let held = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        eventually("the CQL server answers", async || folder.join("address").exists().then_some(())).await;
        Self { folder, held: Some((held, place)) }
    }

    fn address(&self) -> String {
        std::fs::read_to_string(self.folder.join("address")).unwrap().trim().to_owned()
    }

    async fn session(&self) -> Session {
        let builder = SessionBuilder::new().known_node(self.address()).user("cassandra", "cassandra");
        builder.build().await.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some((held, _)) = &mut self.held {
            drop(held.stdin.take());
            let _ = held.wait();
        }
    }
}

/// The service's tables, as docs/decisions/0009-cql-tables.md has them.
struct Tables {
    session: Session,
    keyspace: String,
}

impl Tables {
    fn day(id: &MessageId) -> i32 {
        i32::try_from(id.time().0 / 86_400_000).unwrap()
    }

    async fn delete_from_mailbox(&self, reader: &ClientAddress, id: &MessageId) {
        let statement = format!(
            "DELETE FROM {}.mailbox WHERE organization = ? AND user = ? AND day = ? AND id = ?",
            self.keyspace
        );
        let (organization, user) = (reader.organization.as_bytes().to_vec(), reader.user.as_bytes().to_vec());
        let values = (organization, user, Self::day(id), id.as_bytes().to_vec());
        self.session.query_unpaged(statement, values).await.unwrap();
    }

    async fn delete_from_fetched(&self, reader: &ClientAddress, id: &MessageId) {
        let statement = format!(
            "DELETE FROM {}.fetched WHERE organization = ? AND user = ? AND client = ? AND day = ? AND id = ?",
            self.keyspace
        );
        let (organization, user) = (reader.organization.as_bytes().to_vec(), reader.user.as_bytes().to_vec());
        let client = reader.client.as_bytes().to_vec();
        let values = (organization, user, client, Self::day(id), id.as_bytes().to_vec());
        self.session.query_unpaged(statement, values).await.unwrap();
    }

    async fn alter_content(&self, reader: &ClientAddress, id: &MessageId) {
        let statement = format!("UPDATE {}.message SET content = ? WHERE organization = ? AND id = ?", self.keyspace);
        let organization = reader.organization.as_bytes().to_vec();
        let values = (b"something else".to_vec(), organization, id.as_bytes().to_vec());
        self.session.query_unpaged(statement, values).await.unwrap();
    }

    async fn delete_content(&self, reader: &ClientAddress, id: &MessageId) {
        let statement = format!("DELETE FROM {}.message WHERE organization = ? AND id = ?", self.keyspace);
        let organization = reader.organization.as_bytes().to_vec();
        self.session.query_unpaged(statement, (organization, id.as_bytes().to_vec())).await.unwrap();
    }
}

/// Messages to one user, promised, in their order.
fn promised_to(folder: &Path, user: UserId) -> Vec<MessageId> {
    let (_, facts) = Facts::read(folder).unwrap();
    let mine = facts.promises.values().filter(|promise| {
        promise.begun.kind == ItemKind::Message && promise.begun.to.contains(&user) && promise.accepted.is_some()
    });
    mine.map(|promise| promise.begun.id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_deleted_or_altered_behind_its_back_are_found() {
    let server = Server::start().await;
    let keyspace = keyspace();
    let password = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(password.path(), "cassandra\n").unwrap();
    let settings = [
        ("STORE", format!("scylla://{}/{keyspace}", server.address())),
        ("SCYLLA_REPLICATION", "1".to_owned()),
        ("SCYLLA_USER", "cassandra".to_owned()),
        ("SCYLLA_PASSWORD_FILE", password.path().display().to_string()),
        ("SCHEMA", "create".to_owned()),
        // The next look at the store is to come soon.
        ("MERGE_INTERVAL", "500ms".to_owned()),
    ];
    assert!(countersignd().is_file());
    let service = Service::start(&settings).await;
    let proxy = Proxy::start("127.0.0.1:0".parse().unwrap(), service.address()).await.unwrap();
    let organization = service.organization(2).await;
    let folder = service.folder.path().join("ledger");
    let options = Options { rate: 20.0, pause: Duration::from_millis(200), receipts_one_in: 0, ..Options::default() };
    let url = format!("http://{}", proxy.address()).parse().unwrap();
    let targets = Targets::new(&[url], &Trust::System).unwrap();
    let ledger = Ledger::create(&folder, vec![organization], options, targets, clock(), entropy()).unwrap();
    let running = ledger.start().unwrap();
    let (run, _) = Facts::read(&folder).unwrap();
    let reader = run.readers[1];
    let confirmed = || {
        let (_, facts) = Facts::read(&folder).unwrap();
        let of_all = run.readers.iter().filter(|each| each.user == reader.user).map(|each| &facts.readings[each]);
        let confirmed = of_all.map(|reading| reading.confirmed.keys().copied().collect::<BTreeSet<MessageId>>());
        confirmed.reduce(|one, other| one.intersection(&other).copied().collect()).unwrap()
    };
    eventually("messages are promised and confirmed", async || (confirmed().len() >= 20).then_some(())).await;

    let everyone_has: Vec<MessageId> =
        promised_to(&folder, reader.user).into_iter().filter(|id| confirmed().contains(id)).collect();
    let [deleted, listed_again, altered, without_content, ..] = everyone_has[..] else { panic!("too few") };
    let tables = Tables { session: server.session().await, keyspace };
    tables.delete_from_mailbox(&reader, &deleted).await;
    tables.delete_from_fetched(&reader, &listed_again).await;
    tables.alter_content(&reader, &altered).await;
    tables.delete_content(&reader, &without_content).await;
    eventually("it is listed again", async || {
        let (_, facts) = Facts::read(&folder).unwrap();
        facts.readings[&reader].again.iter().any(|again| again.id == listed_again).then_some(())
    })
    .await;
    // The memory of what arrived lately, which would still list what is gone from the mailbox, is another process's now.
    let other = service.another(&settings).await;
    proxy.pass_to(other.address());
    drop(service.process);
    let verdict = running.finish(Duration::from_mins(1), Terms { late: Duration::from_hours(1) }).await.unwrap();

    assert_eq!(verdict.exit(), Exit::Lost, "{verdict}");
    let of = |findings: &[countersign_loadtest::ledger::Finding]| -> BTreeSet<MessageId> {
        findings.iter().map(|finding| finding.id).collect()
    };
    // What is listed without its content cannot be held either.
    assert_eq!(of(&verdict.lost.first), BTreeSet::from([deleted, without_content]), "{verdict}");
    assert_eq!(of(&verdict.duplicated.first), BTreeSet::from([listed_again]), "{verdict}");
    assert_eq!(of(&verdict.corrupted.first), BTreeSet::from([altered]), "{verdict}");
    assert_eq!(of(&verdict.unreadable.first), BTreeSet::from([without_content]), "{verdict}");
    assert_eq!(verdict.forged.count, 0);
}
