//! What happens when all of Valkey is flushed under many active clients: how soon each of them is served again, and how
//! last known good is derived meanwhile.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use crate::client::{Client, Scratch};
use crate::clock::nanos;
use crate::connection::Connection;
use crate::process::Server;
use crate::report::{percentiles, progress};
use crate::shard::LATENCY_MAX;
use crate::world::{CLIENTS, User, World, try_session};

/// How long a client waits after a 503, as its `Retry-After` says.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What a client went through.
struct Recovered {
    user: User,
    client: Client,
    /// From the flush until it was listed what is new again, in nanoseconds.
    after: u64,
    /// From its own first request until then.
    took: u64,
    refused: u64,
    outlived: bool,
}

/// Has all clients check, flushes Valkey, and has all clients check until each is answered, with as many requests at once
/// as there are connections.
pub(crate) fn run(
    valkey: &str,
    pods: &[Server],
    world: &World,
    clients: Vec<Client>,
    connections: usize,
) -> Result<String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let count = clients.len();
    let of_user = |(number, client): (usize, Client)| Some((world.users.get(number / CLIENTS).cloned()?, client));
    let clients: Vec<(User, Client)> = clients.into_iter().enumerate().filter_map(of_user).collect();
    let before = runtime.block_on(all_check(pods, clients, connections, 0))?;
    ensure!(before.iter().all(|client| client.outlived), "a session ended before the flush");
    let derived = || pods.iter().map(|pod| pod.metric("countersign_lkg_derivations_total")).sum::<Result<f64>>();
    let derivations = derived()?;

    let flushed = nanos();
    flush(valkey)?;
    progress("flushed");
    let clients = before.into_iter().map(|one| (one.user, one.client)).collect();
    let mut after = runtime.block_on(all_check(pods, clients, connections, flushed))?;

    ensure!(after.len() == count, "{} of {count} clients were served again", after.len());
    let derivations = derived()? - derivations;
    let time = Duration::from_nanos(nanos() - flushed).as_secs_f64();
    let histogram = |value: fn(&Recovered) -> u64| -> Result<Histogram<u64>> {
        let mut histogram = Histogram::new_with_max(LATENCY_MAX, 3)?;
        for client in &after {
            histogram.saturating_record(value(client));
        }
        Ok(histogram)
    };
    let (total, own) = (histogram(|client| client.after)?, histogram(|client| client.took)?);
    let longest = |histogram: &Histogram<u64>| Duration::from_nanos(histogram.max()).as_millis();
    let refused: u64 = after.iter().map(|client| client.refused).sum();
    let outlived = after.iter().filter(|client| client.outlived).count();
    let most = after.iter().map(|client| client.refused).max().unwrap_or(0);
    // In the order in which they were served again: how many derivations each tenth of the time saw at most.
    after.sort_by_key(|client| client.after);
    let tenth = total.max() / 10 + 1;
    let mut tenths = [0_u32; 10];
    for client in &after {
        let number = usize::try_from((client.after - after.first().map_or(0, |first| first.after)) / tenth)?;
        if let Some(count) = tenths.get_mut(number) {
            *count += 1;
        }
    }
    Ok(format!(
        "{count} clients of {} users over {} pods, {connections} requests at once. Everyone was served again within {time:.1} s; \
         {refused} requests were answered 503 and repeated, at most {most} of one client; {outlived} sessions outlived the \
         flush; {derivations:.0} derivations of last known good. Clients served in each tenth of the time: {tenths:?}.\n\n\
         | | p50, ms | p99, ms | p99.9, ms | longest, ms |\n|---|--:|--:|--:|--:|\n\
         | from the flush | {} | {} |\n| from a client's own first request | {} | {} |\n",
        world.users.len(),
        pods.len(),
        percentiles(&total),
        longest(&total),
        percentiles(&own),
        longest(&own),
    ))
}

async fn all_check(
    pods: &[Server],
    clients: Vec<(User, Client)>,
    connections: usize,
    since: u64,
) -> Result<Vec<Recovered>> {
    let count = clients.len();
    let queue = std::sync::Arc::new(std::sync::Mutex::new(clients));
    let mut tasks = JoinSet::new();
    for pod in pods.iter().cycle().take(connections) {
        let (queue, address) = (std::sync::Arc::clone(&queue), pod.address);
        tasks.spawn(async move {
            let mut connection = Connection::open(address).await?;
            let mut served = Vec::new();
            loop {
                let next = queue.lock().ok().and_then(|mut queue| queue.pop());
                let Some((user, client)) = next else { return anyhow::Ok(served) };
                served.push(check(&mut connection, user, client, since).await?);
            }
        });
    }
    let mut all = Vec::with_capacity(count);
    while let Some(served) = tasks.join_next().await {
        all.extend(served??);
    }
    Ok(all)
}

/// Has a client check until it is answered, with a new session where its own is gone.
async fn check(connection: &mut Connection, user: User, mut client: Client, since: u64) -> Result<Recovered> {
    let (mut scratch, mut out) = (Scratch::default(), Vec::new());
    let (began, mut refused, mut outlived) = (nanos(), 0, true);
    loop {
        out.clear();
        client.write_check(100, &mut scratch, &mut out);
        let answer = connection.exchange(&out).await?;
        match answer.status {
            200 => {
                let now = nanos();
                let (after, took) = (now.saturating_sub(since), now - began);
                return Ok(Recovered { user, client, after, took, refused, outlived });
            }
            401 => {
                outlived = false;
                if let Ok(renewed) = try_session(connection, &user, client.address().client).await? {
                    client = renewed;
                } else {
                    refused += 1;
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
            503 => {
                refused += 1;
                tokio::time::sleep(RETRY_AFTER).await;
            }
            _ => anyhow::bail!("a check is refused: {}", answer.text()),
        }
    }
}

/// Flushes every primary of a Valkey cluster.
fn flush(valkey: &str) -> Result<()> {
    let nodes = valkey.strip_prefix("valkey://").context("BENCH_VALKEY begins with valkey://")?;
    for node in nodes.split(',') {
        let (host, port) = node.rsplit_once(':').context("a Valkey server has a port")?;
        let output = Command::new("valkey-cli").args(["-h", host, "-p", port, "FLUSHALL"]).output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        // A replica follows its primary.
        ensure!(said.starts_with("OK") || said.contains("READONLY"), "Valkey was not flushed: {said}");
    }
    Ok(())
}
