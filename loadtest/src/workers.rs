//! Several workers, one verdict: they begin together, and the first of them collects all summaries and adds them up.
//!
//! Owns: who is ready, and whose summary has come. Refuses to know: what is in a summary. Each worker has organizations of
//! its own, so its ledger knows everything that its readers must hold.
//!
//! Invariant: there is a verdict only when every worker's summary is in it.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use countersign_client::connection::{HttpClient, ServerUrl, Trust};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::clock::Stopwatch;
use crate::measure::Summary;

/// Most bytes of a summary.
const SUMMARY_BYTES_MAX: usize = 256 * 1024 * 1024;
/// How long one answer may take. The barrier is asked again until it is open.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long one request waits at the barrier.
const WAIT: Duration = Duration::from_secs(20);
/// How long is waited before an attempt is repeated.
const PAUSE: Duration = Duration::from_millis(500);

/// One of several workers, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worker {
    /// Its number.
    pub number: u32,
    /// How many there are.
    pub of: u32,
}

impl Worker {
    /// Returns this worker's share of something that is given out whole, such as users.
    #[must_use]
    pub fn share_of(self, all: usize) -> usize {
        let (number, of) = (self.number, self.of.max(1));
        let of_all = |number: u32| {
            let all = u64::try_from(all).unwrap_or(u64::MAX);
            usize::try_from(all * u64::from(number) / u64::from(of)).unwrap_or(usize::MAX)
        };
        of_all(number + 1) - of_all(number)
    }
}

/// The first worker's part: the barrier, and what was collected.
#[derive(Debug)]
pub struct Collector {
    of: u32,
    ready: watch::Sender<BTreeSet<u32>>,
    summaries: watch::Sender<BTreeMap<u32, Summary>>,
}

impl Collector {
    /// Listens for the other workers, until the process ends. Returns itself and the address.
    ///
    /// # Errors
    /// If the address is taken.
    pub async fn listen(address: SocketAddr, of: u32) -> Result<(Arc<Self>, SocketAddr)> {
        let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen at {address}"))?;
        let address = listener.local_addr()?;
        let collector = Arc::new(Self { of, ready: watch::Sender::default(), summaries: watch::Sender::default() });
        let serving = Arc::clone(&collector);
        tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                };
                let collector = Arc::clone(&serving);
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let collector = Arc::clone(&collector);
                        async move { Ok::<_, Infallible>(collector.answer(request).await) }
                    });
                    // One that breaks off asks again.
                    let _ = http1::Builder::new()
                        .timer(TokioTimer::new())
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Ok((collector, address))
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let number = request.uri().query().and_then(|query| query.strip_prefix("worker=")?.parse().ok());
        let number = number.filter(|number: &u32| *number < self.of);
        let outcome = match (request.method(), request.uri().path(), number) {
            (&Method::POST, "/ready", Some(number)) => {
                let open = tokio::time::timeout(WAIT, self.ready(number)).await.is_ok();
                Ok(if open { StatusCode::OK } else { StatusCode::ACCEPTED })
            }
            (&Method::POST, "/summary", Some(number)) => self.take(number, request.into_body()).await,
            (_, "/ready" | "/summary", None) => Err("?worker=NUMBER, below the number of workers".to_owned()),
            _ => Err("POST /ready, POST /summary".to_owned()),
        };
        let (status, text) = match outcome {
            Ok(status) => (status, String::new()),
            Err(text) => (StatusCode::BAD_REQUEST, text),
        };
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        response
    }

    async fn take(&self, number: u32, body: Incoming) -> Result<StatusCode, String> {
        let body = Limited::new(body, SUMMARY_BYTES_MAX).collect().await.map_err(|error| error.to_string())?;
        let summary = serde_json::from_slice(&body.to_bytes()).map_err(|error| error.to_string())?;
        self.summaries.send_modify(|summaries| {
            summaries.insert(number, summary);
        });
        Ok(StatusCode::NO_CONTENT)
    }

    /// A worker is ready; returns when all are.
    async fn ready(&self, number: u32) {
        self.ready.send_modify(|ready| {
            ready.insert(number);
        });
        let all = |ready: &BTreeSet<u32>| u32::try_from(ready.len()).is_ok_and(|count| count >= self.of);
        // The sender is this one, so it is there.
        let _ = self.ready.subscribe().wait_for(all).await;
    }

    /// Returns when all workers are ready, the first one too.
    ///
    /// # Errors
    /// If that takes longer than `limit`.
    pub async fn all_ready(&self, limit: Duration) -> Result<()> {
        if tokio::time::timeout(limit, self.ready(0)).await.is_err() {
            let ready = self.ready.borrow().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            bail!("only these of {} workers are ready: {ready}", self.of);
        }
        Ok(())
    }

    /// Waits for the summaries of all other workers and adds them to the first one's.
    ///
    /// # Errors
    /// If one does not come within `limit`.
    pub async fn sum(&self, own: Summary, limit: Duration) -> Result<Summary> {
        let mut summaries = self.summaries.subscribe();
        let others = usize::try_from(self.of.saturating_sub(1)).unwrap_or(usize::MAX);
        let all = summaries.wait_for(|summaries| summaries.len() >= others);
        let Ok(Ok(all)) = tokio::time::timeout(limit, all).await else {
            let come = self.summaries.borrow().len();
            bail!("the summaries of {} of {others} other workers did not come: there is no verdict", others - come);
        };
        let mut sum = own;
        all.values().for_each(|summary| sum.merge(summary));
        Ok(sum)
    }
}

/// Another worker's part.
#[derive(Clone, Debug)]
pub struct Reporter {
    http: HttpClient,
    number: u32,
}

impl Reporter {
    /// Takes where the first worker listens.
    ///
    /// # Errors
    /// If the connection cannot be prepared.
    pub fn new(collector: ServerUrl, worker: Worker) -> Result<Self> {
        ensure!(worker.number > 0, "the first worker collects, and reports to nobody");
        Ok(Self { http: HttpClient::new(collector, &Trust::System)?, number: worker.number })
    }

    /// Returns when all workers are ready.
    ///
    /// # Errors
    /// If that takes longer than `limit`.
    pub async fn all_ready(&self, limit: Duration) -> Result<()> {
        self.post("ready", Bytes::new(), limit, StatusCode::OK).await
    }

    /// Hands the summary over.
    ///
    /// # Errors
    /// If it is not taken within `limit`.
    pub async fn report(&self, summary: &Summary, limit: Duration) -> Result<()> {
        self.post("summary", serde_json::to_vec(summary)?.into(), limit, StatusCode::NO_CONTENT).await
    }

    async fn post(&self, what: &str, body: Bytes, limit: Duration, wanted: StatusCode) -> Result<()> {
        let watch = Stopwatch::start();
        loop {
            let request = Request::post(format!("{}/{what}?worker={}", self.http.server(), self.number));
            let last = match self.http.send(request.body(Full::new(body.clone()))?, PATIENCE).await {
                Ok(answer) if answer.status == wanted => return Ok(()),
                Ok(answer) if answer.status.is_client_error() => {
                    bail!("the first worker refuses: {}", String::from_utf8_lossy(&answer.body));
                }
                Ok(answer) => answer.status.to_string(),
                Err(error) => error.to_string(),
            };
            ensure!(watch.elapsed() < limit, "the first worker at {} does not answer: {last}", self.http.server());
            tokio::time::sleep(PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Operation;

    const LIMIT: Duration = Duration::from_secs(60);

    fn summary(sent: u64) -> Summary {
        let mut summary = Summary { workers: 1, measured: 1.0, ..Summary::default() };
        summary.operations[1].endings = [sent, 0, 0, 0];
        summary
    }

    #[test]
    fn shares_add_up_to_the_whole() {
        let shares = |all| (0..3).map(|number| Worker { number, of: 3 }.share_of(all)).collect::<Vec<_>>();

        assert_eq!((shares(10), shares(2), shares(0)), (vec![3, 3, 4], vec![0, 1, 1], vec![0, 0, 0]));
    }

    #[tokio::test]
    async fn a_worker_that_is_missing_keeps_all_from_beginning_and_from_a_verdict() {
        let (collector, address) = Collector::listen("127.0.0.1:0".parse().unwrap(), 2).await.unwrap();
        let short = Duration::from_millis(50);

        let ready = collector.all_ready(short).await.unwrap_err().to_string();
        let sum = collector.sum(summary(1), short).await.unwrap_err().to_string();
        let stranger =
            Reporter::new(format!("http://{address}").parse().unwrap(), Worker { number: 7, of: 8 }).unwrap();
        let refused = stranger.all_ready(short).await.unwrap_err().to_string();

        assert!(ready.contains("only these of 2 workers are ready: 0"), "{ready}");
        assert!(sum.contains("1 of 1 other workers did not come"), "{sum}");
        assert!(refused.contains("below the number of workers"), "{refused}");
    }

    #[tokio::test]
    async fn workers_begin_together_and_end_in_one_sum() {
        let (collector, address) = Collector::listen("127.0.0.1:0".parse().unwrap(), 3).await.unwrap();
        let reporters = [1, 2].map(|number| {
            Reporter::new(format!("http://{address}").parse().unwrap(), Worker { number, of: 3 }).unwrap()
        });

        let (own, one, two) =
            tokio::join!(collector.all_ready(LIMIT), reporters[0].all_ready(LIMIT), reporters[1].all_ready(LIMIT));
        own.and(one).and(two).unwrap();
        let (two, one) = (summary(20), summary(10));
        let (sum, first, second) = tokio::join!(
            collector.sum(summary(5), LIMIT),
            reporters[0].report(&one, LIMIT),
            reporters[1].report(&two, LIMIT)
        );
        first.and(second).unwrap();

        let sum = sum.unwrap();
        assert_eq!((sum.workers, sum.operation(Operation::SendMessage).done()), (3, 35));
    }
}
