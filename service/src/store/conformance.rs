//! The conformance suite: what every backend must do, as tests. A backend is correct when it passes.
//!
//! A backend calls `registry_suite!(fixture)` and `mailbox_suite!(fixture)` in a test module, where `fixture` is an
//! `async fn() -> (Store, Guard)`; the guard keeps alive whatever the store needs. A test uses organizations of its
//! own, so fixtures may share a server.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use countersign_protocol::body::{Item, ItemKind};
use countersign_protocol::digest::Sha256Digest;
use countersign_protocol::id::{ClientAddress, ClientId, OrganizationId, UserId};
use countersign_protocol::log::LogEntry;
use countersign_protocol::message_id::MessageId;
use countersign_protocol::openpgp::Fingerprint;
use countersign_protocol::time::{UnixMicros, UnixMillis};
use countersign_protocol::two_man_rule::UserRecord;
use futures_util::future::join_all;

use super::{Append, Claim, FETCHED_AMONG_MAX, IdRange, Mailbox, Store, StoredMessage};
use crate::clock::{Clock as _, SystemClock};
use crate::entropy::{Entropy as _, SystemEntropy};

macro_rules! suite {
    ($(#[$doc:meta])* $name:ident: $($test:ident),* $(,)?) => {
        $(#[$doc])*
        macro_rules! $name {
            ($fixture:path) => {
                $(
                    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                    async fn $test() {
                        let (store, _guard) = $fixture().await;
                        $crate::store::conformance::$test(&store).await;
                    }
                )*
            };
        }
        pub(crate) use $name;
    };
}

suite! {
    /// Tests of `Registry`.
    registry_suite:
    an_empty_registry_holds_nothing,
    an_entry_is_read_back_as_it_was_appended,
    of_many_racing_appends_exactly_one_wins,
    a_log_is_read_in_pages_and_in_order,
    organizations_do_not_see_each_other,
    the_record_with_the_greatest_change_wins,
    users_are_listed_in_pages_and_in_order,
    a_client_claims_one_place_and_holds_it,
    racing_clients_never_exceed_the_limit,
    a_freed_place_can_be_claimed_again,
    a_lowered_limit_keeps_clients_but_counts_them,
}

suite! {
    /// Tests of [`Mailbox`].
    mailbox_suite:
    an_empty_mailbox_holds_nothing,
    a_message_is_read_back_as_it_was_put,
    every_recipient_has_the_row_and_no_one_else,
    a_repeated_put_changes_nothing,
    a_receipt_keeps_what_it_acknowledges,
    rows_come_in_order_and_in_pages_across_days,
    a_range_has_both_its_ends,
    ids_of_one_millisecond_are_all_found,
    fetched_ids_come_in_order_and_in_pages,
    fetched_belongs_to_one_client,
    fetched_ids_are_found_among_others,
    a_large_content_is_kept_whole,
    parallel_puts_are_all_kept,
}

// === Fixtures ===

pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemEntropy.fill(&mut bytes);
    bytes
}

fn organization() -> OrganizationId {
    OrganizationId::from_bytes(random())
}

fn user() -> UserId {
    UserId::from_bytes(random())
}

fn client_of(organization: OrganizationId, user: UserId) -> ClientAddress {
    ClientAddress { organization, user, client: ClientId::from_bytes(random()) }
}

/// Now, rounded down to a minute: backends may drop what is older than their retention.
fn base_time() -> UnixMillis {
    let now = SystemClock.now_millis();
    UnixMillis(now.0 - now.0 % 60_000)
}

fn everything() -> IdRange {
    IdRange::later_than(base_time().minus(Duration::from_secs(4 * 86_400)), base_time().plus(Duration::from_secs(60)))
}

fn entry(text: &str) -> LogEntry {
    LogEntry { statement: text.to_owned(), signatures: vec![format!("signature of {text}"), "ü".repeat(100)] }
}

fn record(user: UserId, changed: u64) -> UserRecord {
    UserRecord {
        user,
        certificate: format!("certificate {changed} ü"),
        fingerprint: Fingerprint::from_bytes(&random::<20>()).expect("20 bytes make a fingerprint"),
        administrator: changed.is_multiple_of(2),
        active: changed.is_multiple_of(3),
        client_limit: (changed > 1).then_some(7),
        changed,
        sessions_since: changed / 2,
    }
}

/// A client of nobody else's.
pub(super) fn client() -> ClientAddress {
    client_of(organization(), user())
}

/// A message of a client's user that nobody else sends.
pub(super) fn message_at(client: &ClientAddress, time: UnixMillis, recipients: &[UserId]) -> StoredMessage {
    message_from(client.organization, client.user, time, recipients, &random::<32>())
}

fn message(organization: OrganizationId, time: UnixMillis, recipients: &[UserId], content: &[u8]) -> StoredMessage {
    message_from(organization, user(), time, recipients, content)
}

fn message_from(
    organization: OrganizationId,
    sender: UserId,
    time: UnixMillis,
    recipients: &[UserId],
    content: &[u8],
) -> StoredMessage {
    let digest = Sha256Digest::of(content);
    let mut sorted = recipients.to_vec();
    sorted.sort_unstable();
    StoredMessage {
        organization,
        id: MessageId::of_message(&organization, &sender, time, recipients, &digest),
        kind: ItemKind::Message,
        sender,
        recipients: sorted,
        of: None,
        content: Bytes::copy_from_slice(content),
    }
}

async fn all_items(mailbox: &dyn Mailbox, organization: OrganizationId, user: UserId, page: usize) -> Vec<Item> {
    let mut range = everything();
    let mut items = Vec::new();
    loop {
        let next = mailbox.items(organization, user, range, page).await.expect("items are read");
        assert!(next.len() <= page, "a page has at most as many rows as asked for");
        let last = next.len() < page;
        if let Some(item) = next.last() {
            range = range.after(&item.id);
        }
        items.extend(next);
        if last {
            return items;
        }
    }
}

// === Registry ===

pub(crate) async fn an_empty_registry_holds_nothing(store: &Store) {
    let (registry, client) = (&store.registry, client_of(organization(), user()));
    let organization = client.organization;

    assert!(registry.log(organization, 0, 10).await.unwrap().is_empty());
    assert!(registry.user(organization, client.user).await.unwrap().is_none());
    assert!(registry.users(organization, None, 10).await.unwrap().is_empty());
    assert!(registry.clients(organization, client.user).await.unwrap().is_empty());
    assert!(!registry.free_place(&client).await.unwrap());
}

pub(crate) async fn an_entry_is_read_back_as_it_was_appended(store: &Store) {
    let (registry, organization) = (&store.registry, organization());

    let first = registry.append(organization, 0, &entry("zero")).await.unwrap();
    let again = registry.append(organization, 0, &entry("other")).await.unwrap();

    assert_eq!((first, again), (Append::Appended, Append::Taken));
    assert_eq!(registry.log(organization, 0, 10).await.unwrap(), [(0, entry("zero"))]);
    assert!(registry.log(organization, 1, 10).await.unwrap().is_empty());
}

pub(crate) async fn of_many_racing_appends_exactly_one_wins(store: &Store) {
    let organization = organization();
    for sequence in 0..5 {
        let racers = (0..16).map(|racer| {
            let registry = store.registry.clone();
            tokio::spawn(async move {
                let entry = entry(&format!("{sequence} by {racer}"));
                (registry.append(organization, sequence, &entry).await.unwrap(), entry)
            })
        });

        let outcomes = join_all(racers).await.into_iter().map(|outcome| outcome.unwrap());

        let winners: Vec<LogEntry> =
            outcomes.filter(|(append, _)| *append == Append::Appended).map(|(_, entry)| entry).collect();
        assert_eq!(winners.len(), 1);
        assert_eq!(store.registry.log(organization, sequence, 1).await.unwrap(), [(sequence, winners[0].clone())]);
    }
}

pub(crate) async fn a_log_is_read_in_pages_and_in_order(store: &Store) {
    let (registry, organization) = (&store.registry, organization());
    for sequence in 0..300 {
        registry.append(organization, sequence, &entry(&sequence.to_string())).await.unwrap();
    }

    let page = registry.log(organization, 250, 20).await.unwrap();
    let rest = registry.log(organization, 290, 20).await.unwrap();

    assert_eq!(page.iter().map(|(sequence, _)| *sequence).collect::<Vec<_>>(), (250..270).collect::<Vec<_>>());
    assert!(page.iter().all(|(sequence, held)| *held == entry(&sequence.to_string())));
    assert_eq!(rest.len(), 10);
}

pub(crate) async fn organizations_do_not_see_each_other(store: &Store) {
    let registry = &store.registry;
    let mut neighbours = [organization(), organization()];
    neighbours.sort_unstable();
    let [one, other] = neighbours;
    let same_user = user();
    registry.append(one, 0, &entry("one")).await.unwrap();
    registry.put_user(one, &record(same_user, 1)).await.unwrap();
    registry.claim_place(&client_of(one, same_user), 5, UnixMicros(1)).await.unwrap();

    assert!(registry.log(other, 0, 10).await.unwrap().is_empty());
    assert!(registry.user(other, same_user).await.unwrap().is_none());
    assert!(registry.users(other, None, 10).await.unwrap().is_empty());
    assert!(registry.clients(other, same_user).await.unwrap().is_empty());
    assert_eq!(registry.append(other, 0, &entry("other")).await.unwrap(), Append::Appended);
    assert_eq!(registry.log(one, 0, 10).await.unwrap().len(), 1);
}

pub(crate) async fn the_record_with_the_greatest_change_wins(store: &Store) {
    let (registry, organization, user) = (&store.registry, organization(), user());
    let [old, new] = [record(user, 3), record(user, 8)];

    registry.put_user(organization, &old).await.unwrap();
    assert_eq!(registry.user(organization, user).await.unwrap().as_ref(), Some(&old));
    registry.put_user(organization, &new).await.unwrap();
    registry.put_user(organization, &old).await.unwrap();
    registry.put_user(organization, &new).await.unwrap();

    assert_eq!(registry.user(organization, user).await.unwrap(), Some(new));
}

pub(crate) async fn users_are_listed_in_pages_and_in_order(store: &Store) {
    let (registry, organization) = (&store.registry, organization());
    let mut users: Vec<UserId> = (0..57).map(|_| user()).collect();
    for (index, user) in users.iter().enumerate() {
        registry.put_user(organization, &record(*user, index as u64)).await.unwrap();
    }
    users.sort_unstable();

    let mut listed = Vec::new();
    loop {
        let page = registry.users(organization, listed.last().copied(), 10).await.unwrap();
        let last = page.len() < 10;
        listed.extend(page.iter().map(|record| record.user));
        if last {
            break;
        }
    }

    assert_eq!(listed, users);
}

pub(crate) async fn a_client_claims_one_place_and_holds_it(store: &Store) {
    let (registry, client) = (&store.registry, client_of(organization(), user()));

    let first = registry.claim_place(&client, 2, UnixMicros(1_000)).await.unwrap();
    let second = registry.claim_place(&client, 2, UnixMicros(2_000)).await.unwrap();

    assert_eq!((first, second), (Claim::Claimed, Claim::Held));
    let clients = registry.clients(client.organization, client.user).await.unwrap();
    assert_eq!(clients.len(), 1);
    assert_eq!((clients[0].client, clients[0].since), (client.client, UnixMicros(1_000)));
}

pub(crate) async fn racing_clients_never_exceed_the_limit(store: &Store) {
    let (organization, user) = (organization(), user());
    let racers = (0..24).map(|_| {
        let (registry, client) = (store.registry.clone(), client_of(organization, user));
        tokio::spawn(async move { registry.claim_place(&client, 5, UnixMicros(1)).await.unwrap() })
    });

    let outcomes: Vec<Claim> = join_all(racers).await.into_iter().map(|outcome| outcome.unwrap()).collect();

    assert_eq!(outcomes.iter().filter(|claim| **claim == Claim::Claimed).count(), 5);
    assert_eq!(outcomes.iter().filter(|claim| **claim == Claim::Full).count(), 19);
    let held = store.registry.clients(organization, user).await.unwrap();
    assert_eq!(held.iter().map(|place| place.client).collect::<BTreeSet<_>>().len(), 5);
}

pub(crate) async fn a_freed_place_can_be_claimed_again(store: &Store) {
    let (registry, organization, user) = (&store.registry, organization(), user());
    let [one, other] = [client_of(organization, user), client_of(organization, user)];
    assert_eq!(registry.claim_place(&one, 1, UnixMicros(1)).await.unwrap(), Claim::Claimed);
    assert_eq!(registry.claim_place(&other, 1, UnixMicros(2)).await.unwrap(), Claim::Full);

    assert!(registry.free_place(&one).await.unwrap());
    assert!(!registry.free_place(&one).await.unwrap());

    assert_eq!(registry.claim_place(&other, 1, UnixMicros(3)).await.unwrap(), Claim::Claimed);
    assert_eq!(registry.claim_place(&one, 1, UnixMicros(4)).await.unwrap(), Claim::Full);
}

pub(crate) async fn a_lowered_limit_keeps_clients_but_counts_them(store: &Store) {
    let (registry, organization, user) = (&store.registry, organization(), user());
    let clients: Vec<ClientAddress> = (0..5).map(|_| client_of(organization, user)).collect();
    for client in &clients {
        assert_eq!(registry.claim_place(client, 5, UnixMicros(1)).await.unwrap(), Claim::Claimed);
    }
    registry.free_place(&clients[0]).await.unwrap();
    registry.free_place(&clients[1]).await.unwrap();

    let late = client_of(organization, user);

    assert_eq!(registry.claim_place(&late, 3, UnixMicros(1)).await.unwrap(), Claim::Full);
    assert_eq!(registry.claim_place(&clients[4], 3, UnixMicros(1)).await.unwrap(), Claim::Held);
    registry.free_place(&clients[4]).await.unwrap();
    assert_eq!(registry.claim_place(&late, 3, UnixMicros(1)).await.unwrap(), Claim::Claimed);
    assert_eq!(registry.clients(organization, user).await.unwrap().len(), 3);
}

// === Mailbox ===

pub(crate) async fn an_empty_mailbox_holds_nothing(store: &Store) {
    let client = client_of(organization(), user());
    let absent = message(client.organization, base_time(), &[client.user], b"never put");

    let mailbox = &store.mailbox;

    assert!(mailbox.message(client.organization, absent.id).await.unwrap().is_none());
    assert!(mailbox.items(client.organization, client.user, everything(), 10).await.unwrap().is_empty());
    assert!(mailbox.fetched(&client, everything(), 10).await.unwrap().is_empty());
}

pub(crate) async fn a_message_is_read_back_as_it_was_put(store: &Store) {
    let organization = organization();
    let sent = message(organization, base_time(), &[user(), user(), user()], b"\0content\xff");

    store.mailbox.put(&sent).await.unwrap();

    assert_eq!(store.mailbox.message(organization, sent.id).await.unwrap(), Some(sent.clone()));
    assert!(store.mailbox.message(self::organization(), sent.id).await.unwrap().is_none());
}

pub(crate) async fn every_recipient_has_the_row_and_no_one_else(store: &Store) {
    let (mailbox, organization) = (&*store.mailbox, organization());
    let recipients: Vec<UserId> = (0..100).map(|_| user()).collect();
    let sent = message(organization, base_time(), &recipients, b"to many");

    mailbox.put(&sent).await.unwrap();

    for recipient in recipients {
        assert_eq!(all_items(mailbox, organization, recipient, 10).await, [sent.item()]);
    }
    assert!(all_items(mailbox, organization, sent.sender, 10).await.is_empty());
}

pub(crate) async fn a_repeated_put_changes_nothing(store: &Store) {
    let (mailbox, organization, recipient) = (&*store.mailbox, organization(), user());
    let sent = message(organization, base_time(), &[recipient], b"again");

    for _ in 0..3 {
        mailbox.put(&sent).await.unwrap();
    }

    assert_eq!(all_items(mailbox, organization, recipient, 10).await, [sent.item()]);
}

pub(crate) async fn a_receipt_keeps_what_it_acknowledges(store: &Store) {
    let (mailbox, organization, recipient) = (&*store.mailbox, organization(), user());
    let original = message(organization, base_time(), &[user()], b"original");
    let receipt = StoredMessage {
        kind: ItemKind::Receipt,
        of: Some(original.id),
        ..message(organization, base_time(), &[recipient], b"signature")
    };

    mailbox.put(&receipt).await.unwrap();

    assert_eq!(all_items(mailbox, organization, recipient, 10).await, [receipt.item()]);
    assert_eq!(mailbox.message(organization, receipt.id).await.unwrap(), Some(receipt));
}

pub(crate) async fn rows_come_in_order_and_in_pages_across_days(store: &Store) {
    let (mailbox, organization, recipient) = (&*store.mailbox, organization(), user());
    let mut expected = Vec::new();
    for hours in [0_u64, 70, 3, 24, 25, 48, 2, 47, 1, 23, 69, 46] {
        let time = base_time().minus(Duration::from_secs(hours * 3_600));
        let sent = message(organization, time, &[recipient], &hours.to_be_bytes());
        mailbox.put(&sent).await.unwrap();
        expected.push(sent.item());
    }
    expected.sort_unstable_by_key(|item| item.id);

    for page in [1, 2, 3, 5, 12, 100] {
        assert_eq!(all_items(mailbox, organization, recipient, page).await, expected, "in pages of {page}");
    }
}

pub(crate) async fn a_range_has_both_its_ends(store: &Store) {
    let (mailbox, client) = (&*store.mailbox, client_of(organization(), user()));
    let times: Vec<UnixMillis> = (0..5).map(|step| base_time().minus(Duration::from_millis(5 - step))).collect();
    let mut ids = Vec::new();
    for time in &times {
        let sent = message(client.organization, *time, &[client.user], b"one a millisecond");
        mailbox.put(&sent).await.unwrap();
        ids.push(sent.id);
    }
    mailbox.add_fetched(&client, &ids).await.unwrap();

    let range = IdRange::later_than(times[1], times[3]);
    let items = mailbox.items(client.organization, client.user, range, 10).await.unwrap();
    let fetched = mailbox.fetched(&client, range, 10).await.unwrap();

    assert_eq!(items.iter().map(|item| item.id).collect::<Vec<_>>(), ids[2..=3]);
    assert_eq!(fetched, ids[2..=3]);
    let rest = mailbox.items(client.organization, client.user, range.after(&ids[2]), 10).await.unwrap();
    assert_eq!(rest.iter().map(|item| item.id).collect::<Vec<_>>(), ids[3..=3]);
    let nothing = IdRange::later_than(times[3], times[1]);
    assert!(mailbox.items(client.organization, client.user, nothing, 10).await.unwrap().is_empty());
    assert!(mailbox.fetched(&client, nothing, 10).await.unwrap().is_empty());
}

pub(crate) async fn ids_of_one_millisecond_are_all_found(store: &Store) {
    let (mailbox, organization, recipient) = (&*store.mailbox, organization(), user());
    let mut expected = BTreeSet::new();
    for number in 0..40_u8 {
        let sent = message(organization, base_time(), &[recipient], &[number]);
        mailbox.put(&sent).await.unwrap();
        expected.insert(sent.id);
    }

    let items = all_items(mailbox, organization, recipient, 7).await;

    assert_eq!(items.iter().map(|item| item.id).collect::<Vec<_>>(), expected.into_iter().collect::<Vec<_>>());
}

pub(crate) async fn fetched_ids_come_in_order_and_in_pages(store: &Store) {
    let (mailbox, client) = (&*store.mailbox, client_of(organization(), user()));
    let mut ids: Vec<MessageId> = (0..2_500_u64)
        .map(|step| {
            let time = base_time().minus(Duration::from_secs(step * 61));
            message(client.organization, time, &[client.user], &step.to_be_bytes()).id
        })
        .collect();
    mailbox.add_fetched(&client, &ids).await.unwrap();
    mailbox.add_fetched(&client, &ids[..10]).await.unwrap();
    mailbox.add_fetched(&client, &[]).await.unwrap();
    ids.sort_unstable();

    let mut read = Vec::new();
    let mut range = everything();
    loop {
        let page = mailbox.fetched(&client, range, 1_000).await.unwrap();
        let last = page.len() < 1_000;
        if let Some(id) = page.last() {
            range = range.after(id);
        }
        read.extend(page);
        if last {
            break;
        }
    }

    assert_eq!(read, ids);
}

pub(crate) async fn fetched_belongs_to_one_client(store: &Store) {
    let (mailbox, one) = (&*store.mailbox, client_of(organization(), user()));
    let sibling = client_of(one.organization, one.user);
    let sent = message(one.organization, base_time(), &[one.user], b"for both");

    mailbox.add_fetched(&one, &[sent.id]).await.unwrap();

    assert_eq!(mailbox.fetched(&one, everything(), 10).await.unwrap(), [sent.id]);
    assert!(mailbox.fetched(&sibling, everything(), 10).await.unwrap().is_empty());
}

pub(crate) async fn fetched_ids_are_found_among_others(store: &Store) {
    let (mailbox, client) = (&*store.mailbox, client_of(organization(), user()));
    let sibling = client_of(client.organization, client.user);
    // Over two days, and two ids a millisecond.
    let mut ids: Vec<MessageId> = (0..FETCHED_AMONG_MAX as u64)
        .map(|step| {
            let time = base_time().minus(Duration::from_secs(step / 2 * 3_600));
            message(client.organization, time, &[client.user], &step.to_be_bytes()).id
        })
        .collect();
    let fetched: Vec<MessageId> = ids.iter().copied().step_by(3).collect();
    mailbox.add_fetched(&client, &fetched).await.unwrap();
    mailbox.add_fetched(&sibling, &ids).await.unwrap();

    let held = mailbox.fetched_among(&client, &ids).await.unwrap();
    ids.reverse();
    let reversed = mailbox.fetched_among(&client, &ids).await.unwrap();
    let repeated = mailbox.fetched_among(&client, &[fetched[1], fetched[0], fetched[1]]).await.unwrap();

    let expected: BTreeSet<MessageId> = fetched.iter().copied().collect();
    assert_eq!(held, expected.into_iter().collect::<Vec<_>>());
    assert_eq!(reversed, held);
    assert_eq!(repeated, BTreeSet::from([fetched[0], fetched[1]]).into_iter().collect::<Vec<_>>());
    assert!(mailbox.fetched_among(&client, &[]).await.unwrap().is_empty());
    let other = client_of(organization(), user());
    assert!(mailbox.fetched_among(&other, &ids).await.unwrap().is_empty());
}

pub(crate) async fn a_large_content_is_kept_whole(store: &Store) {
    let organization = organization();
    let content: Vec<u8> = (0..1024 * 1024_u32).map(|byte| byte.to_le_bytes()[1]).collect();
    let sent = message(organization, base_time(), &[user()], &content);

    store.mailbox.put(&sent).await.unwrap();

    assert_eq!(store.mailbox.message(organization, sent.id).await.unwrap(), Some(sent));
}

pub(crate) async fn parallel_puts_are_all_kept(store: &Store) {
    let (organization, recipient) = (organization(), user());
    let puts = (0..200_u64).map(|number| {
        let sent = message(organization, base_time(), &[recipient], &number.to_be_bytes());
        let mailbox = store.mailbox.clone();
        tokio::spawn(async move {
            mailbox.put(&sent).await.unwrap();
            sent.id
        })
    });

    let ids: BTreeSet<MessageId> = join_all(puts).await.into_iter().map(|id| id.unwrap()).collect();

    let items = all_items(&*store.mailbox, organization, recipient, 1_000).await;
    assert_eq!(items.iter().map(|item| item.id).collect::<BTreeSet<_>>(), ids);
}
