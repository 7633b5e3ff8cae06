//! A server that lies: a proxy in front of a real one, for tests and for the demonstration.
//!
//! It forwards every request as it came, and alters answers as a file tells it. It has no session and no key of anybody
//! but Mallory, so it can do what any server can do, and no more.
//!
//! ```text
//! lying_server <url of the real server> <folder>
//! ```
//!
//! It prints `listening <address>`. The folder has `lie`, a line that is read anew for each request: the name of a lie,
//! then its arguments. Mallory's GnuPG home is `<folder>/mallory`. See `Lie` for what it can do.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use countersign_client::clock::{Clock as _, SystemClock};
use countersign_client::connection::{Answer, HttpClient, Trust};
use countersign_client::envelope::{ConversationId, Envelope, TEXT};
use countersign_protocol::digest::Sha256Digest;
use countersign_protocol::id::{OrganizationId, UserId};
use countersign_protocol::log::Head;
use countersign_protocol::message_id::MessageId;
use countersign_protocol::openpgp::{Certificate, seal};
use countersign_protocol::receipt::receipt_text;
use countersign_protocol::request_signature::SignatureInput;
use countersign_protocol::statement::{Change, Statement};
use countersign_protocol::time::UnixMicros;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A message that passed by.
#[derive(Clone)]
struct Passed {
    id: MessageId,
    organization: OrganizationId,
    sender: UserId,
    recipients: Vec<UserId>,
    content: Bytes,
}

struct LyingServer {
    real: HttpClient,
    folder: PathBuf,
    passed: Mutex<Vec<Passed>>,
    /// The last certificate of each user that passed by in a log.
    certificates: Mutex<Vec<(UserId, String)>>,
    /// Requests since the lie was told last, for those that count.
    counted: Mutex<(String, u64)>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let (Some(real), Some(folder)) = (arguments.next(), arguments.next()) else {
        return Err("usage: lying_server <url of the real server> <folder>".into());
    };
    let server = Arc::new(LyingServer {
        real: HttpClient::new(real.parse()?, &Trust::System)?,
        folder: folder.into(),
        passed: Mutex::default(),
        certificates: Mutex::default(),
        counted: Mutex::default(),
    });
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening {}", listener.local_addr()?);
    loop {
        let (socket, _) = listener.accept().await?;
        let server = Arc::clone(&server);
        let answer = move |request| {
            let server = Arc::clone(&server);
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        };
        tokio::spawn(async move {
            // A client that goes away is its own affair.
            let connection = hyper::server::conn::http1::Builder::new();
            let _ = connection.serve_connection(TokioIo::new(socket), service_fn(answer)).await;
        });
    }
}

impl LyingServer {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        match self.try_answer(request).await {
            Ok(answer) => answer,
            Err(error) => {
                eprintln!("lying server: {error}");
                let mut answer = Response::new(Full::from(error.to_string()));
                *answer.status_mut() = StatusCode::BAD_GATEWAY;
                answer
            }
        }
    }

    async fn try_answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Failure> {
        let lie = std::fs::read_to_string(self.folder.join("lie")).unwrap_or_default();
        let words: Vec<&str> = lie.split_whitespace().collect();
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let path = head.uri.path().to_owned();
        let asker = head.headers.get("signature-input").and_then(|header| header.to_str().ok());
        let asker = asker.and_then(|header| SignatureInput::parse(header).ok()).map(|input| input.client.user);

        let number = self.count(&lie);
        if let ["hold-before", at] = words.as_slice()
            && number.to_string() == *at
        {
            hold().await;
        }
        self.remember_message(&head.method, &head.uri, &body);
        if let Some(content) = self.made_up_content(&path) {
            return Ok(Response::new(Full::from(content)));
        }
        let mut forwarded = Request::builder().method(head.method.clone());
        forwarded = forwarded.uri(format!("{}{}", self.real.server(), head.uri));
        for (name, value) in &head.headers {
            if name != "host" && name != "content-length" {
                forwarded = forwarded.header(name, value);
            }
        }
        let mut answer = self.real.send(forwarded.body(Full::from(body))?, Duration::from_secs(120)).await?;
        if let ["hold-after", at] = words.as_slice()
            && number.to_string() == *at
        {
            hold().await;
        }
        if words.as_slice() == ["hold-sent"] && head.method == Method::POST && path.ends_with("/message") {
            hold().await;
        }
        if let ["lose-answer", at] = words.as_slice()
            && number.to_string() == *at
        {
            return Err("the answer is lost".into());
        }
        if answer.status == StatusCode::OK && head.method == Method::GET {
            answer.body = self.altered(&words, &path, asker, answer.body)?;
        }
        finish(answer)
    }

    /// Counts the requests since a lie began.
    fn count(&self, lie: &str) -> u64 {
        let mut counted = lock(&self.counted);
        if counted.0 == lie {
            counted.1 += 1;
        } else {
            *counted = (lie.to_owned(), 1);
        }
        counted.1
    }

    fn remember_message(&self, method: &Method, uri: &Uri, body: &Bytes) {
        let segments: Vec<&str> = uri.path().split('/').skip(1).collect();
        let (&Method::POST, [organization, sender, "message"]) = (method, segments.as_slice()) else {
            return;
        };
        let pairs: Vec<(String, String)> =
            uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('=')).map(owned).collect();
        let values = |wanted: &str| {
            pairs.iter().filter(|(name, _)| name == wanted).map(|(_, value)| value.clone()).collect::<Vec<_>>()
        };
        let id = values("id").first().and_then(|id| id.parse().ok());
        let recipients = values("to").iter().filter_map(|user| user.parse().ok()).collect();
        if let (Some(id), Ok(organization), Ok(sender)) = (id, organization.parse(), sender.parse()) {
            lock(&self.passed).push(Passed { id, organization, sender, recipients, content: body.clone() });
        }
    }

    /// Alters an answer.
    fn altered(&self, words: &[&str], path: &str, asker: Option<UserId>, body: Bytes) -> Result<Bytes, Failure> {
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        let mut value: Value = serde_json::from_slice(&body).unwrap_or_default();
        match segments.as_slice() {
            [_, "log"] => {
                self.remember_certificates(&value);
                self.alter_log(words, asker, &mut value)?;
            }
            [_] if words.first() == Some(&"swap-certificate") => self.swap_certificate(words.get(1), &mut value)?,
            [_] if words == ["promote"] => promote(&mut value),
            [organization, user, "message"] => self.alter_listing(words, organization, user, &mut value)?,
            [_, _, "message", _] if words == ["alter"] => {
                let mut content = body.to_vec();
                if let Some(last) = content.last_mut() {
                    *last ^= 1;
                }
                return Ok(content.into());
            }
            [_, user, "message", id] if words == ["exchange"] => {
                // Another message that this user got.
                let passed = lock(&self.passed);
                let other = passed.iter().find(|passed| {
                    passed.id.to_string() != *id && passed.recipients.iter().any(|to| to.to_string() == *user)
                });
                return Ok(other.map_or(body, |other| other.content.clone()));
            }
            _ => return Ok(body),
        }
        Ok(serde_json::to_vec(&value)?.into())
    }

    fn remember_certificates(&self, page: &Value) {
        for entry in page["entries"].as_array().into_iter().flatten() {
            let statement = entry["statement"].as_str().and_then(|text| Statement::parse(text).ok());
            if let Some(statement) = statement
                && let Some(certificate) = statement.change.certificate()
            {
                lock(&self.certificates).push((statement.change.user(), certificate.to_owned()));
            }
        }
    }

    fn alter_log(&self, words: &[&str], asker: Option<UserId>, page: &mut Value) -> Result<(), Failure> {
        let head: Head = serde_json::from_value(page["head"].clone())?;
        match words {
            // As if the last change had never been.
            ["rollback"] => {
                page["entries"] = json!([]);
                page["head"] = json!({"sequence": head.sequence.saturating_sub(1), "hash": "0".repeat(64)});
            }
            // Another last entry.
            ["fork"] => page["head"]["hash"] = json!("1".repeat(64)),
            // There is more, and nobody is shown it.
            ["withhold"] => {
                page["entries"] = json!([]);
                page["head"]["sequence"] = json!(head.sequence + 1);
            }
            // Mallory makes herself an administrator, with a signature of her own.
            ["forge-change"] => page["entries"] = json!([self.forged_change(page, head)?]),
            // Whoever joins is shown Mallory's certificate in the place of the last one in the log.
            ["swap-in-log"] => {
                let mallory = self.mallory_certificate()?;
                if let Some(entry) = page["entries"].as_array_mut().and_then(|entries| entries.last_mut()) {
                    let mut statement: Value = serde_json::from_str(entry["statement"].as_str().unwrap_or_default())?;
                    statement["change"]["certificate"] = json!(mallory);
                    entry["statement"] = json!(serde_json::to_string_pretty(&statement)?);
                }
            }
            // One user is shown less of the log than the others.
            ["hide-last", user] if asker.is_some_and(|asker| asker.to_string() == *user) => {
                if let Some(entries) = page["entries"].as_array_mut()
                    && let Some(last) = entries.pop()
                {
                    let statement = Statement::parse(last["statement"].as_str().unwrap_or_default())?;
                    page["head"] = json!({"sequence": statement.sequence - 1, "hash": statement.previous});
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn forged_change(&self, page: &Value, head: Head) -> Result<Value, Failure> {
        let organization = lock(&self.passed).first().map(|passed| passed.organization);
        let organization = match page["entries"][0]["statement"].as_str() {
            Some(statement) => Statement::parse(statement)?.organization,
            None => organization.ok_or("no organization has passed by yet")?,
        };
        let certificate = self.mallory_certificate()?;
        let user = UserId::from_bytes([0x66; 16]);
        let change = Change::AddUser { user, certificate, administrator: true, client_limit: None };
        let now = UnixMicros(SystemClock.now().to_seconds() * 1_000_000);
        let statement = Statement::compose(organization, head.sequence + 1, Some(head.hash), now, change);
        let signature = String::from_utf8(self.mallory(&["--armor", "--detach-sign"], statement.as_bytes())?)?;
        Ok(json!({"statement": statement, "signatures": [signature]}))
    }

    /// Gives a listed user Mallory's certificate.
    fn swap_certificate(&self, user: Option<&&str>, page: &mut Value) -> Result<(), Failure> {
        let armored = self.mallory_certificate()?;
        let fingerprint = Certificate::parse(&armored)?.fingerprint().to_string();
        let users = page["users"].as_array_mut();
        if let Some(user) = users.into_iter().flatten().find(|listed| listed["user"].as_str() == user.copied()) {
            user["certificate"] = json!(armored);
            user["fingerprint"] = json!(fingerprint);
        }
        Ok(())
    }

    /// Puts something that was never sent like this at the end of a listing.
    fn alter_listing(
        &self,
        words: &[&str],
        organization: &str,
        user: &str,
        listing: &mut Value,
    ) -> Result<(), Failure> {
        let (organization, user): (OrganizationId, UserId) = (organization.parse()?, user.parse()?);
        let item = match words {
            // A message to somebody else.
            ["readdress", to] if *to == user.to_string() => {
                let other = lock(&self.passed).iter().find(|passed| !passed.recipients.contains(&user)).cloned();
                let other = other.ok_or("no message to others has passed by")?;
                let sha256 = Sha256Digest::of(&other.content);
                let time = SystemClock.now().to_millis();
                let id = MessageId::of_message(&organization, &other.sender, time, &[user], &sha256);
                self.make_up(&id, other.content.to_vec())?;
                json!({"id": id, "kind": "message", "from": other.sender, "size": other.content.len()})
            }
            // A message in the name of somebody, signed by Mallory.
            ["forge-message", from, to] if *to == user.to_string() => {
                let from: UserId = from.parse()?;
                let content = self.forged_message(organization, from, user)?;
                let time = SystemClock.now().to_millis();
                let id = MessageId::of_message(&organization, &from, time, &[user], &Sha256Digest::of(&content));
                let size = content.len();
                self.make_up(&id, content)?;
                json!({"id": id, "kind": "message", "from": from, "size": size})
            }
            // A receipt that nobody but Mallory signed.
            ["forge-receipt", from] => {
                let from: UserId = from.parse()?;
                let sent = lock(&self.passed).iter().find(|passed| passed.sender == user).cloned();
                let sent = sent.ok_or("no message of this user has passed by")?;
                let content = Sha256Digest::of(&sent.content);
                let text = receipt_text(&organization, &user, &from, &sent.id, &content);
                let signature = self.mallory(&["--detach-sign"], text.as_bytes())?;
                let digest = Sha256Digest::of(&signature);
                let time = SystemClock.now().to_millis();
                let id = MessageId::of_receipt(&organization, &from, time, &sent.id, &digest);
                let size = signature.len();
                self.make_up(&id, signature)?;
                json!({"id": id, "kind": "receipt", "from": from, "of": sent.id, "size": size})
            }
            _ => return Ok(()),
        };
        if let Some(messages) = listing["messages"].as_array_mut() {
            messages.push(item);
        }
        Ok(())
    }

    fn forged_message(&self, organization: OrganizationId, from: UserId, to: UserId) -> Result<Vec<u8>, Failure> {
        let now = SystemClock.now();
        let envelope = Envelope {
            organization,
            sender: from,
            recipients: vec![to],
            time: now,
            conversation: ConversationId::among(&organization, &[from, to]),
            message: uuid::Uuid::from_bytes([7; 16]),
            content_type: TEXT.to_owned(),
            file_name: None,
            part: None,
            log: None,
        };
        let document = envelope.seal_in(b"Send the money to Mallory.");
        let signature = self.mallory(&["--detach-sign"], &document)?;
        let certificates = lock(&self.certificates).clone();
        let certificate = certificates.iter().rev().find(|(user, _)| *user == to);
        let (_, certificate) = certificate.ok_or("no certificate of the recipient has passed by")?;
        Ok(seal(&document, &signature, &[Certificate::parse(certificate)?], now)?)
    }

    fn made_up(&self, id: &str) -> PathBuf {
        self.folder.join(format!("made-up-{id}"))
    }

    fn make_up(&self, id: &MessageId, content: Vec<u8>) -> Result<(), Failure> {
        Ok(std::fs::write(self.made_up(&id.to_string()), content)?)
    }

    /// Returns a content that the real server does not have.
    fn made_up_content(&self, path: &str) -> Option<Vec<u8>> {
        let id = path.split('/').next_back().filter(|id| id.len() == 36)?;
        std::fs::read(self.made_up(id)).ok()
    }

    fn mallory_certificate(&self) -> Result<String, Failure> {
        Ok(String::from_utf8(self.mallory(&["--armor", "--export"], b"")?)?)
    }

    fn mallory(&self, arguments: &[&str], input: &[u8]) -> Result<Vec<u8>, Failure> {
        gpg(&self.folder.join("mallory"), arguments, input)
    }
}

/// Never answers. Whoever waits for it is stopped meanwhile.
async fn hold() {
    println!("holding");
    std::future::pending::<()>().await;
}

fn promote(page: &mut Value) {
    if let Some(user) = page["users"].as_array_mut().and_then(|users| users.last_mut()) {
        user["administrator"] = json!(user["administrator"] != json!(true));
    }
}

fn finish(answer: Answer) -> Result<Response<Full<Bytes>>, Failure> {
    let mut finished = Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        if name != "content-length" && name != "transfer-encoding" {
            finished = finished.header(name, value);
        }
    }
    Ok(finished.body(Full::from(answer.body))?)
}

fn gpg(home: &Path, arguments: &[&str], input: &[u8]) -> Result<Vec<u8>, Failure> {
    use std::io::Write as _;
    let mut child = Command::new("gpg")
        .arg("--homedir")
        .arg(home)
        .args(["--batch", "--quiet", "--no-tty", "--no-auto-check-trustdb"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    child.stdin.take().ok_or("no standard input")?.write_all(input)?;
    let output = child.wait_with_output()?;
    if output.status.success() { Ok(output.stdout) } else { Err("Mallory's gpg failed".into()) }
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
