//! How much the load tester itself costs: requests a second from one core against a bare server, which answers at once
//! and knows nothing. Where this is not many times what a service takes, its figures are the generator's.
//!
//! `cargo bench -p countersign-loadtest`. The server has threads of its own, whose time is not counted.

use std::convert::Infallible;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use countersign_client::clock::SystemClock;
use countersign_client::connection::Trust;
use countersign_loadtest::clock::{CpuTime, Stopwatch};
use countersign_loadtest::keys::KeyFolder;
use countersign_loadtest::measure::float;
use countersign_loadtest::random::Random;
use countersign_loadtest::wire::{Device, Reply, Targets};
use countersign_protocol::digest::Sha256Digest;
use countersign_protocol::id::{ClientAddress, OrganizationId, UserId};
use countersign_protocol::message_id::MessageId;
use countersign_protocol::session_key::SessionKey;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// Clients that work at once.
const CLIENTS: u8 = 64;
/// How long each part takes.
const LENGTH: Duration = Duration::from_secs(5);
/// Bytes of a message.
const BYTES: usize = 1_000;

fn main() -> Result<()> {
    let (address, serving) = std::sync::mpsc::channel();
    std::thread::Builder::new().name("bare server".to_owned()).spawn(move || serve(&address))?;
    let server = serving.recv().context("the bare server did not start")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for (name, work) in [("checks", Work::Checks), ("messages of 1 000 bytes", Work::Sends)] {
        let cpu = CpuTime::of_thread();
        let watch = Stopwatch::start();
        let done = runtime.block_on(drive(server, work))?;
        let (took, used) = (watch.elapsed(), CpuTime::of_thread().since(&cpu));
        let per_core = float(done) / used.as_secs_f64();
        writeln!(
            std::io::stdout(),
            "{name}: {:.0} requests/s here, {per_core:.0} requests/s from one core ({:.1} µs each)",
            float(done) / took.as_secs_f64(),
            1e6 / per_core,
        )?;
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Work {
    Checks,
    Sends,
}

async fn drive(server: SocketAddr, work: Work) -> Result<u64> {
    let keys = tempfile::tempdir()?;
    let person = KeyFolder::open(keys.path().to_owned(), Arc::new(SystemClock))?.people(1)?.remove(0);
    let targets = Targets::new(&[format!("http://{server}").parse()?], &Trust::System)?;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..CLIENTS {
        let (organization, user) = (OrganizationId::from_bytes([7; 16]), UserId::from_bytes([number; 16]));
        let address: ClientAddress = format!("{organization}#{user}#{user}").parse()?;
        let clock = Arc::new(SystemClock);
        let random = Random::new(u64::from(number));
        let device = Device::new(address, Arc::clone(&person), targets.clone(), clock, random.clone(), LENGTH);
        tasks.spawn(client(device.in_session(SessionKey::from_bytes([number; 32])), random, work));
    }
    let mut done = 0;
    while let Some(ended) = tasks.join_next().await {
        done += ended??;
    }
    Ok(done)
}

async fn client(mut device: Device, mut random: Random, work: Work) -> Result<u64> {
    let watch = Stopwatch::start();
    let mut done = 0;
    while watch.elapsed() < LENGTH {
        let reply = match work {
            Work::Checks => device.list(200, None).await,
            Work::Sends => {
                let mut content = vec![0; BYTES];
                random.fill(&mut content);
                let ClientAddress { organization, user, .. } = *device.address();
                let digest = Sha256Digest::of(&content);
                let id = MessageId::of_message(&organization, &user, device.now().to_millis(), &[user], &digest);
                device.send(&id, &[user], content.into()).await
            }
        };
        anyhow::ensure!(matches!(reply, Reply::Done(_)), "the bare server does not answer: {reply:?}");
        done += 1;
    }
    Ok(done)
}

fn serve(address: &std::sync::mpsc::Sender<SocketAddr>) -> Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        address.send(listener.local_addr()?)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)));
        }
    })
}

async fn answer(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(Bytes::from_static(br#"{"messages":[],"more":false}"#))))
}
