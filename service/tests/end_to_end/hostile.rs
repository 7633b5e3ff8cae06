//! Hostile input against the whole stack: the service answers what it must, closes what it may, and goes on.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countersign_protocol::log::LogEntry;
use countersign_protocol::problem::ProblemType as Type;
use countersign_protocol::statement::Change;
use futures_util::future::join_all;
use http::{Method, Request};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::client::password_request;
use crate::support::gnupg::keyring;
use crate::support::http::{Content, Http, Version};
use crate::support::organization::submit;
use crate::support::process::{Service, Setup};
use crate::support::raw::{exchange, read_to_end, status, wire};
use crate::support::time::{eventually, monotonic, now_millis, random};
use crate::support::world::World;

/// What the process may grow to under attack. A debug build that has served for a while takes some 60 MB.
const RESIDENT: u64 = 400 * 1024 * 1024;

/// Asserts that the service is alive, well and not bloated.
async fn still_well(world: &World) {
    let alice = world.alice().await;
    alice.send(&[world.bob], random::<uuid::Uuid>().as_bytes()).await;
    let resident = world.service.process.resident();
    assert!(resident < RESIDENT, "{} MiB", resident / 1024 / 1024);
    assert!((world.service.metric(r#"countersign_rejections_total{reason="internal"}"#).await).abs() < 0.5);
}

/// Runs a property whose cases are exchanges with a service.
fn hold<T: std::fmt::Debug>(
    cases: u32,
    strategy: &impl Strategy<Value = T>,
    property: impl AsyncFn(T) -> Result<(), TestCaseError>,
) {
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let handle = tokio::runtime::Handle::current();
    let outcome =
        tokio::task::block_in_place(|| TestRunner::new(config).run(strategy, |case| handle.block_on(property(case))));
    outcome.unwrap_or_else(|fault| panic!("{fault}"));
}

/// Answers are of HTTP/1.1, and no failure of the service; silence is an answer too.
fn is_proper(answer: &[u8]) -> Result<(), TestCaseError> {
    if answer.is_empty() || answer.starts_with(b"\0\0") {
        // Nothing, or frames of HTTP/2 for what began like its preface.
        return Ok(());
    }
    let status = status(answer);
    prop_assert!(status.is_some_and(|status| status < 500 || status == 503), "{}", String::from_utf8_lossy(answer));
    Ok(())
}

fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"GET ".to_vec()),
        Just(b"POST ".to_vec()),
        Just(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        Just(b"/1d48332a-2591-5aa1-9381-2c8254a0f5e1".to_vec()),
        Just(b"/d6bf3569-703e-59e3-81fa-7918be4a2e66/message?limit=".to_vec()),
        Just(b" HTTP/1.1\r\n".to_vec()),
        Just(b"host: x\r\n".to_vec()),
        Just(b"content-length: 5\r\n".to_vec()),
        Just(b"content-length: 99999999999999999999\r\n".to_vec()),
        Just(b"transfer-encoding: chunked\r\n".to_vec()),
        Just(b"signature-input: countersign=(\"@method\" \"@path\" \"@query\");created=".to_vec()),
        Just(b"signature: countersign=:AAAA:\r\n".to_vec()),
        Just(b"expect: 100-continue\r\n".to_vec()),
        Just(b"upgrade: h2c\r\n".to_vec()),
        Just(b"\r\n\r\n".to_vec()),
        Just(b"5\r\nhello\r\n0\r\n\r\n".to_vec()),
        vec(any::<u8>(), 0..40),
    ];
    vec(piece, 0..14).prop_map(|pieces| pieces.concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn any_bytes_at_all_are_answered_or_refused() {
    let world = World::new().await;
    let address = world.service.public;

    hold(300, &prop_oneof![pieces(), vec(any::<u8>(), 0..2_000)], async |bytes: Vec<u8>| {
        is_proper(&exchange(address, &bytes).await)
    });

    still_well(&world).await;
}

/// A change of some bytes of a request.
#[derive(Clone, Debug)]
enum Mutation {
    Replace(prop::sample::Index, u8),
    Insert(prop::sample::Index, Vec<u8>),
    Remove(prop::sample::Index, usize),
    Cut(prop::sample::Index),
    Repeat(prop::sample::Index, usize),
}

impl Mutation {
    fn any() -> impl Strategy<Value = Self> {
        prop_oneof![
            (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, byte)| Self::Replace(at, byte)),
            (any::<prop::sample::Index>(), vec(any::<u8>(), 1..9)).prop_map(|(at, bytes)| Self::Insert(at, bytes)),
            (any::<prop::sample::Index>(), 1..20_usize).prop_map(|(at, length)| Self::Remove(at, length)),
            any::<prop::sample::Index>().prop_map(Self::Cut),
            (any::<prop::sample::Index>(), 1..60_usize).prop_map(|(at, length)| Self::Repeat(at, length)),
        ]
    }

    fn apply(self, mut bytes: Vec<u8>) -> Vec<u8> {
        let length = bytes.len();
        match self {
            Self::Replace(at, byte) => bytes[at.index(length)] = byte,
            Self::Insert(at, more) => drop(bytes.splice(at.index(length)..at.index(length), more)),
            Self::Remove(at, count) => drop(bytes.drain(at.index(length)..(at.index(length) + count).min(length))),
            Self::Cut(at) => bytes.truncate(at.index(length)),
            Self::Repeat(at, count) => {
                let part = bytes[at.index(length)..(at.index(length) + count).min(length)].to_vec();
                bytes.splice(at.index(length)..at.index(length), part);
            }
        }
        if bytes.is_empty() { vec![0] } else { bytes }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_valid_request_that_was_mutated_is_refused_or_the_same() {
    let world = World::of(Setup::new().await.set("NONCE_WINDOW", "1h").set("BODY_TIMEOUT", "1s")).await;
    let address = world.service.public;
    let (alice, bob, to) = (world.alice().await, world.bob().await, world.bob);
    let content = b"what Alice wrote";

    hold(250, &vec(Mutation::any(), 1..3), async |mutations: Vec<Mutation>| {
        let id = alice.message_id(now_millis(), &[to], content);
        let request = alice.call(Method::POST, alice.send_target(&id, &[to])).body(content).build();
        let bytes = mutations.into_iter().fold(wire(&request), |bytes, mutation| mutation.apply(bytes));
        is_proper(&exchange(address, &bytes).await)
    });

    // Whatever got through is exactly what was signed.
    for item in bob.list().await.messages {
        assert_eq!(bob.read(&item.id).await, content[..]);
    }
    still_well(&world).await;
}

fn armored(kind: &str, packets: &[u8]) -> String {
    let text = STANDARD.encode(packets);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN PGP {kind}-----\n\n{}\n-----END PGP {kind}-----\n", lines.join("\n"))
}

/// An OpenPGP packet with a length of five octets.
fn packet(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[0xC0 | tag, 0xFF][..], &length, body].concat()
}

/// Packets that cost more to read than to write.
fn hostile_packets() -> Vec<Vec<u8>> {
    let mut nested = packet(11, b"b\0\0\0\0\0x");
    for _ in 0..5_000 {
        // Compressed data by the algorithm that compresses nothing.
        nested = packet(8, &[&[0][..], &nested].concat());
    }
    let bomb = keyring().run(&["--store", "--compress-algo", "zlib", "--compress-level", "9"], &vec![0; 64 << 20]);
    vec![
        vec![0; 150_000],
        vec![0xFF; 150_000],
        packet(2, &vec![4; 150_000]),
        packet(6, &vec![4; 150_000]),
        // Very many tiny packets: markers, user ids, signatures of nothing.
        packet(10, b"PGP").repeat(18_000),
        packet(13, b"").repeat(20_000),
        packet(2, b"\x04").repeat(20_000),
        // A packet that says it is longer than all memory, and one whose length never ends.
        vec![0xC6, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 4],
        [&[0xC6][..], &vec![0xE1; 100_000]].concat(),
        nested,
        bomb,
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_openpgp_is_refused_in_bounded_time_and_memory() {
    // Statements of this size are more than some stores take; what is shown is of none.
    let world = World::of(Setup::new().await.set("STORE", "memory:").set("STATEMENT_BYTES", 1_000_000)).await;
    let http = &world.service.http;
    let hostile = tokio::task::spawn_blocking(hostile_packets).await.unwrap();
    let start = monotonic();
    for packets in &hostile {
        // As a certificate in a well-signed statement.
        let certificate = armored("PUBLIC KEY BLOCK", packets);
        let change = Change::AddUser { user: random(), certificate, administrator: false, client_limit: None };
        submit(http, &world.organization.entry(change).await).await.problem(Type::BadCertificate);
        // As a signature by a stranger.
        let statement = world
            .organization
            .compose(crate::support::organization::activity(world.bob, false), crate::support::time::now());
        let signatures = vec![armored("SIGNATURE", packets); 2];
        submit(http, &LogEntry { statement, signatures }).await.problem(Type::TwoManRule);
        // As the signature of a password request, as far as it fits into a head.
        let address = world.organization.address(world.alice, random());
        let nonce = crate::support::time::now().0;
        let signature = STANDARD.encode(&packets[..packets.len().min(30_000)]);
        let authorization = format!("OpenPGP nonce=\"{nonce}\", signature=\"{signature}\"");
        http.send(password_request(&address, &authorization)).await.problem(Type::SignatureInvalid);
    }
    let took = monotonic().duration_since(start);
    assert!(took < Duration::from_mins(1), "{took:?}");
    still_well(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_of_200_kib_and_one_that_is_repeated_ten_thousand_times_are_refused() {
    let world = World::new().await;
    let statement = world
        .organization
        .compose(crate::support::organization::activity(world.bob, false), crate::support::time::now());
    let large = LogEntry { statement: statement.clone(), signatures: vec!["x".repeat(200 * 1024)] };
    submit(&world.service.http, &large).await.problem(Type::TwoManRule);
    let many = LogEntry { statement: statement.clone(), signatures: vec![String::new(); 10_000] };
    submit(&world.service.http, &many).await.problem(Type::TwoManRule);
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let request = Request::put(format!("/{}/{}", world.organization.id, world.bob));
    let request = request.body(Content::Whole(nested.into())).unwrap();
    world.service.http.send(request).await.problem(Type::MalformedRequest);
    still_well(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_are_too_large_are_refused() {
    let world = World::new().await;
    let lines: Vec<String> = (0..10_000).map(|number| format!("x-{number}: y\r\n")).collect();
    let lines = lines.concat();
    let long = "x".repeat(10_000_000);
    for head in [
        format!("GET / HTTP/1.1\r\nhost: x\r\n{lines}\r\n"),
        format!("GET / HTTP/1.1\r\nhost: x\r\nx: {long}\r\n\r\n"),
        format!("GET /{long} HTTP/1.1\r\nhost: x\r\n\r\n"),
        format!("{long} / HTTP/1.1\r\n\r\n"),
    ] {
        let answer = exchange(world.service.public, head.as_bytes()).await;
        let status = status(&answer);
        assert!(status.is_none_or(|status| [400, 414, 431].contains(&status)), "{status:?}");
    }
    let mut request = Request::get("/").body(Content::Nothing).unwrap();
    for number in 0..5_000 {
        request.headers_mut().append("x-many", number.into());
    }
    // Refused by the HTTP library, so not as a problem of the description.
    let refused = Http::new(world.service.public, Version::Two, None).try_send(request).await;
    assert!(refused.is_err() || refused.unwrap().status == 431);
    still_well(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_heads_and_bodies_and_silent_connections_are_ended() {
    let world = World::of(Setup::new().await.set("HEADER_TIMEOUT", "1s").set("BODY_TIMEOUT", "1s")).await;
    let alice = world.alice().await;
    let address = world.service.public;

    // Hundreds that say nothing, or begin a head and do not go on: each is closed.
    let beginnings = [
        &b""[..],
        b"G",
        b"GET / HTTP/1.1\r\nhost: x\r\nx-slow: ",
        b"PRI * HTTP/2.0\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ];
    let mut slow = Vec::new();
    for number in 0..300 {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(beginnings[number % beginnings.len()]).await.unwrap();
        slow.push(socket);
    }
    alice.list().await;
    join_all(slow.iter_mut().map(read_to_end)).await;

    // A signed request whose body does not come is answered 408; an unsigned one as what it is.
    let request = alice.call(Method::POST, format!("{}/fetched", alice.client_path())).body(b"{\"messages\":[]}");
    let signed = wire(&request.build());
    let unsigned =
        format!("POST {} HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{{", alice.client_path() + "/fetched");
    for (bytes, expected) in [(&signed[..signed.len() - 3], 408), (unsigned.as_bytes(), 401)] {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(bytes).await.unwrap();
        assert_eq!(status(&read_to_end(&mut socket).await), Some(expected));
    }
    still_well(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_may_be_idle_for_longer_than_a_first_head_may_take() {
    let world = World::of(Setup::new().await.set("HEADER_TIMEOUT", "1s").set("IDLE_TIMEOUT", "3s")).await;
    let mut used = TcpStream::connect(world.service.public).await.unwrap();
    let mut received = Vec::new();
    let mut answered = async |times: usize| {
        used.write_all(b"GET /none HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        while String::from_utf8_lossy(&received).matches("HTTP/1.1 400").count() < times {
            assert!(used.read_buf(&mut received).await.unwrap() > 0, "the connection was closed");
        }
    };
    answered(1).await;

    // One that says nothing begins later than the other was idle, and is closed.
    let mut silent = TcpStream::connect(world.service.public).await.unwrap();
    read_to_end(&mut silent).await;
    answered(2).await;

    // But not for ever.
    read_to_end(&mut used).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_trickles_is_ended_too() {
    let world = World::of(Setup::new().await.set("BODY_TIMEOUT", "1s").set("HEADER_TIMEOUT", "3s")).await;
    let alice = world.alice().await;
    let content = vec![5; 1_000_000];
    let id = alice.message_id(now_millis(), &[world.bob], &content);
    let bytes = wire(&alice.call(Method::POST, alice.send_target(&id, &[world.bob])).body(&content).build());
    let mut socket = TcpStream::connect(world.service.public).await.unwrap();
    socket.write_all(&bytes[..2_000]).await.unwrap();
    let (mut reader, mut writer) = socket.into_split();
    let trickle = tokio::spawn(async move {
        for byte in &bytes[2_000..] {
            if writer.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let mut answer = Vec::new();
    let mut chunk = [0; 1024];
    while status(&answer).is_none() {
        let length = reader.read(&mut chunk).await.unwrap();
        assert!(length > 0, "the connection ended without an answer");
        answer.extend_from_slice(&chunk[..length]);
    }
    assert_eq!(status(&answer), Some(408));
    trickle.abort();
    assert!(world.bob().await.list().await.messages.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_sends_nothing() {
    let world = World::new().await;
    let (alice, bob) = (world.alice().await, world.bob().await);
    let content = vec![5; 100_000];
    let id = alice.message_id(now_millis(), &[world.bob], &content);
    for length in [1, 50_000, 99_999] {
        let request = alice.call(Method::POST, alice.send_target(&id, &[world.bob])).body(&content).build();
        let bytes = wire(&request);
        let answer = exchange(world.service.public, &bytes[..bytes.len() - length]).await;
        assert!(status(&answer).is_none_or(|status| status == 400));
    }
    eventually("the broken requests end", async || {
        let sending = r#"countersign_requests_in_flight{operation="send_message"}"#;
        (world.service.metric(sending).await < 0.5).then_some(())
    })
    .await;
    assert!(bob.list().await.messages.is_empty());
    alice.send_as(&id, &[world.bob], &content).await.expect(201);
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Opens streams, resets each at once, and returns whether the peer ended the connection.
async fn reset_rapidly(service: &Service, streams: u32) {
    let mut socket = TcpStream::connect(service.public).await.unwrap();
    // `GET http://x/` in HPACK: three entries of the static table, and a literal authority.
    let head = [&[0x82, 0x84, 0x86, 0x41, 1][..], b"x"].concat();
    let mut bytes = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, &[])].concat();
    for number in 0..streams {
        let stream = 2 * number + 1;
        bytes.extend(frame(1, 0x4 | 0x1, stream, &head));
        bytes.extend(frame(3, 0, stream, &8_u32.to_be_bytes()));
    }
    let _ = socket.write_all(&bytes).await;
    let _ = socket.shutdown().await;
    read_to_end(&mut socket).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rapid_resets_of_http2_streams_end_their_connection_only() {
    let world = World::new().await;

    join_all((0..8).map(|_| reset_rapidly(&world.service, 20_000))).await;

    still_well(&world).await;
    let requests = world.service.metric(r#"countersign_requests_in_flight{operation="unknown_path"}"#).await;
    assert!(requests < 0.5, "{requests} are still in work");
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_frames_of_http2_end_their_connection_only() {
    let world = World::new().await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let settings = frame(4, 0, 0, &[]);
    for attack in [
        frame(0, 0, 1, b"data without a head"),
        frame(1, 0x4, 1, &[0xFF; 50]),
        frame(9, 0x4, 1, b"continuation of nothing"),
        frame(6, 0, 0, &[0; 8]).repeat(10_000),
        frame(4, 0, 0, &[0, 4, 0, 0, 0, 1]).repeat(10_000),
        [frame(1, 0, 1, &[0x82]), frame(9, 0, 1, &[0; 16]).repeat(20_000)].concat(),
        frame(8, 0, 0, &0x7FFF_FFFF_u32.to_be_bytes()).repeat(2),
        vec![0xFF; 100_000],
    ] {
        let bytes = [&preface[..], &settings, &attack].concat();
        exchange(world.service.public, &bytes).await;
    }
    still_well(&world).await;
}
