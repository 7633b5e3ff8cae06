//! DynamoDB Local, started by `scripts/dynamodb.sh`, which stops it when this process ends, however it ends; and a proxy before
//! it that throttles, loses answers and leaves items unprocessed, as DynamoDB itself does now and then.
//!
//! `COUNTERSIGN_TEST_DYNAMODB` may name the folder of a server that whoever runs the tests has started for all of them;
//! otherwise the first test that needs one starts it. The tests of the store itself and of the load tester use this file too.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How often it is looked whether the server is up. The script itself gives up in the end.
const LOOK: Duration = Duration::from_millis(50);

/// Credentials that DynamoDB Local accepts, as it does any.
pub(crate) const CREDENTIALS: [(&str, &str); 2] =
    [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "not a secret")];

/// The region, of which DynamoDB Local knows nothing.
pub(crate) const REGION: &str = "eu-central-1";

/// A server.
pub(crate) struct DynamodbServer {
    directory: PathBuf,
    /// The script's standard input: when it closes, the script stops the server.
    held: Option<(std::process::Child, tempfile::TempDir)>,
}

impl DynamodbServer {
    /// Returns the server that tests share. Each uses tables or organizations of its own. It blocks.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<DynamodbServer> = OnceLock::new();
        SHARED.get_or_init(|| match std::env::var_os("COUNTERSIGN_TEST_DYNAMODB") {
            Some(directory) => Self { directory: directory.into(), held: None },
            None => Self::start(),
        })
    }

    fn start() -> Self {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("dynamodb");
        let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/dynamodb.sh"));
        command.arg("hold").arg(&directory).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut held = command.spawn().unwrap();
        while !directory.join("address").exists() {
            assert!(held.try_wait().unwrap().is_none(), "scripts/dynamodb.sh did not start DynamoDB Local");
            std::thread::sleep(LOOK);
        }
        Self { directory, held: Some((held, place)) }
    }

    /// Returns the server's address, with its port.
    pub(crate) fn address(&self) -> String {
        std::fs::read_to_string(self.directory.join("address")).unwrap().trim().to_owned()
    }
}

impl Drop for DynamodbServer {
    fn drop(&mut self) {
        if let Some((held, _)) = &mut self.held {
            drop(held.stdin.take());
            // It deletes its folder before it ends.
            let _ = held.wait();
        }
    }
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is passed on, and so is its answer.
    Pass,
    /// It is answered with this error, as DynamoDB throttles, and not passed on.
    Throttle(&'static str),
    /// It is passed on, and the connection is cut instead of an answer.
    LoseAnswer,
    /// The connection is cut, and it is not passed on.
    LoseRequest,
    /// It is answered as if there were no such item, and not passed on.
    Blind,
    /// It is passed on when the test lets it go, however long its client waits.
    Hang,
    /// Of a batch, the first half is passed on and the rest comes back unprocessed; of a single item, all comes back.
    HalfUnprocessed,
}

/// What the proxy sees of a request: the operation, such as `PutItem`, and the body.
pub(crate) struct Asked<'a> {
    pub(crate) operation: &'a str,
    pub(crate) body: &'a str,
}

impl Asked<'_> {
    /// Tells whether it is such an operation on a table whose name ends so.
    pub(crate) fn is(&self, operation: &str, table: &str) -> bool {
        self.operation == operation && self.body.contains(&format!("_{table}\""))
    }
}

type Rule = Box<dyn FnMut(&Asked<'_>) -> Fate + Send>;

/// What connections share.
struct Shared {
    rule: Mutex<Rule>,
    /// Whether what hangs may go.
    free: watch::Sender<bool>,
    /// How many of those have been answered by the server.
    answered: watch::Sender<usize>,
}

/// A proxy before a server, which asks a rule of the test's about each request.
pub(crate) struct DynamodbProxy {
    address: String,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

impl DynamodbProxy {
    /// Starts one that passes everything on.
    pub(crate) async fn before(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let rule: Mutex<Rule> = Mutex::new(Box::new(|_| Fate::Pass));
        let shared = Shared { rule, free: watch::Sender::new(false), answered: watch::Sender::new(0) };
        let shared = Arc::new(shared);
        let of_all = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&server).await else { continue };
                let shared = Arc::clone(&of_all);
                // However a connection ends, its client notices.
                connections.spawn(async move { drop(serve(client, server, &shared).await) });
            }
        });
        Self { address, shared, task }
    }

    /// Returns where it listens.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Sets the rule for the requests from now on.
    pub(crate) fn set(&self, rule: impl FnMut(&Asked<'_>) -> Fate + Send + 'static) {
        *self.shared.rule.lock().unwrap() = Box::new(rule);
    }

    /// Lets go what hangs, and waits until the server has answered it.
    pub(crate) async fn let_go(&self) {
        self.shared.free.send_replace(true);
        let mut answered = self.shared.answered.subscribe();
        let answered = tokio::time::timeout(Duration::from_mins(1), answered.wait_for(|answered| *answered > 0));
        answered.await.expect("within a minute").unwrap();
    }

    /// Deals so with the next of some requests, and passes on all others. The returned function tells how many of those
    /// requests there were, and `Fate` comes to the first only.
    pub(crate) fn once(
        &self,
        fate: Fate,
        operation: &'static str,
        table: &'static str,
    ) -> impl Fn() -> usize + use<> {
        let seen = Arc::new(Mutex::new(0_usize));
        let count = Arc::clone(&seen);
        self.set(move |asked| {
            if !asked.is(operation, table) {
                return Fate::Pass;
            }
            let mut count = count.lock().unwrap();
            *count += 1;
            if *count == 1 { fate } else { Fate::Pass }
        });
        move || *seen.lock().unwrap()
    }
}

impl Drop for DynamodbProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The head of a message of HTTP/1.1, with its body.
struct Message {
    head: String,
    body: Vec<u8>,
}

impl Message {
    async fn read(from: &mut (impl tokio::io::AsyncBufRead + Unpin)) -> std::io::Result<Self> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if from.read_line(&mut head).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        let header = |name: &str| {
            head.lines().find_map(|line| {
                let (held, value) = line.split_once(':')?;
                held.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            })
        };
        let mut body = Vec::new();
        if let Some(length) = header("content-length") {
            body.resize(length.parse().unwrap(), 0);
            from.read_exact(&mut body).await?;
        } else if header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            loop {
                let mut line = String::new();
                from.read_line(&mut line).await?;
                let length = usize::from_str_radix(line.trim(), 16).unwrap();
                let start = body.len();
                body.resize(start + length, 0);
                from.read_exact(&mut body[start..]).await?;
                from.read_line(&mut String::new()).await?;
                if length == 0 {
                    break;
                }
            }
        }
        Ok(Self { head, body })
    }

    /// Writes it, with a length that is right.
    async fn write(&self, to: &mut (impl tokio::io::AsyncWrite + Unpin)) -> std::io::Result<()> {
        let framing = |line: &&str| {
            let name = line.split(':').next().unwrap_or("");
            !["content-length", "transfer-encoding"].iter().any(|framing| name.eq_ignore_ascii_case(framing))
        };
        let lines: Vec<&str> = self.head.trim_end().split("\r\n").filter(framing).collect();
        let head = format!("{}\r\ncontent-length: {}\r\n\r\n", lines.join("\r\n"), self.body.len());
        to.write_all(&[head.as_bytes(), &self.body].concat()).await?;
        to.flush().await
    }
}

async fn serve(client: TcpStream, server: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let (from_client, mut to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    let (mut from_client, mut from_server) = (BufReader::new(from_client), BufReader::new(from_server));
    loop {
        let mut request = Message::read(&mut from_client).await?;
        let target = request.head.lines().find(|line| line.to_ascii_lowercase().starts_with("x-amz-target:"));
        let operation = target.and_then(|line| line.rsplit('.').next()).unwrap_or("").trim().to_owned();
        let body = String::from_utf8(request.body.clone()).unwrap();
        let fate = (shared.rule.lock().unwrap())(&Asked { operation: &operation, body: &body });
        match fate {
            Fate::LoseRequest => return Ok(()),
            Fate::Throttle(error) => {
                throttled(error).write(&mut to_client).await?;
                continue;
            }
            Fate::Blind => {
                answer("200 OK", &json!({})).write(&mut to_client).await?;
                continue;
            }
            Fate::Hang => {
                // The sender is not gone while we have it.
                let _ = shared.free.subscribe().wait_for(|free| *free).await;
            }
            Fate::Pass | Fate::LoseAnswer | Fate::HalfUnprocessed => {}
        }
        let mut left = Map::new();
        if fate == Fate::HalfUnprocessed {
            left = halve(&mut request);
            if !request.body.windows(3).any(|part| part == b"[{\"") {
                unprocessed(&operation, &left).write(&mut to_client).await?;
                continue;
            }
        }
        request.write(&mut to_server).await?;
        let mut answer = Message::read(&mut from_server).await?;
        match fate {
            Fate::LoseAnswer => return Ok(()),
            Fate::Hang => shared.answered.send_modify(|answered| *answered += 1),
            _ => {}
        }
        if !left.is_empty() {
            let mut said: Value = serde_json::from_slice(&answer.body).unwrap();
            said[unprocessed_name(&operation)] = Value::Object(left);
            answer.body = serde_json::to_vec(&said).unwrap();
        }
        answer.write(&mut to_client).await?;
    }
}

fn answer(status: &str, body: &Value) -> Message {
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/x-amz-json-1.0\r\n\r\n");
    Message { head, body: serde_json::to_vec(body).unwrap() }
}

/// What DynamoDB says when it throttles: <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html>
fn throttled(error: &str) -> Message {
    let space = match error {
        "ThrottlingException" => "com.amazon.coral.availability",
        _ => "com.amazonaws.dynamodb.v20120810",
    };
    let message = "The level of configured provisioned throughput for the table was exceeded. Consider increasing your \
                   provisioning level with the UpdateTable API.";
    answer("400 Bad Request", &json!({ "__type": format!("{space}#{error}"), "message": message }))
}

const fn is_write(operation: &str) -> bool {
    matches!(operation.as_bytes(), b"BatchWriteItem")
}

const fn unprocessed_name(operation: &str) -> &'static str {
    if is_write(operation) { "UnprocessedItems" } else { "UnprocessedKeys" }
}

/// An answer of nothing but what is left.
fn unprocessed(operation: &str, left: &Map<String, Value>) -> Message {
    let mut said = json!({ unprocessed_name(operation): left });
    if !is_write(operation) {
        said["Responses"] = json!({});
    }
    answer("200 OK", &said)
}

/// Takes the second half from a batch, and returns it as what is left unprocessed.
fn halve(request: &mut Message) -> Map<String, Value> {
    let mut asked: Value = serde_json::from_slice(&request.body).unwrap();
    let mut left = Map::new();
    for (table, of_table) in asked["RequestItems"].as_object_mut().unwrap() {
        let mut rest = of_table.clone();
        let all = |of_table: &mut Value| -> Vec<Value> {
            let list = if of_table.is_array() { of_table } else { &mut of_table["Keys"] };
            std::mem::take(list.as_array_mut().unwrap())
        };
        let mut first = all(of_table);
        let second = first.split_off(first.len() / 2);
        all(&mut rest);
        for (of_table, items) in [(&mut *of_table, first), (&mut rest, second)] {
            let list = if of_table.is_array() { of_table } else { &mut of_table["Keys"] };
            *list = Value::Array(items);
        }
        left.insert(table.clone(), rest);
    }
    request.body = serde_json::to_vec(&asked).unwrap();
    left
}
