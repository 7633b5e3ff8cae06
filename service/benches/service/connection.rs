//! HTTP/1.1 with next to no cost: requests are written from a reused buffer, and of an answer only the status and the
//! length of its body are read.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Room for an answer that one read takes.
const ROOM: usize = 16 * 1024;

/// A connection that is kept alive.
pub(crate) struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    /// Bytes of `received` that belong to earlier answers.
    consumed: usize,
}

/// An answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer<'a> {
    /// The status.
    pub(crate) status: u16,
    /// The body.
    pub(crate) body: &'a [u8],
}

impl Answer<'_> {
    /// Tells whether it is a success.
    pub(crate) const fn is_success(&self) -> bool {
        matches!(self.status, 200..=299)
    }

    /// Writes it for a person.
    pub(crate) fn text(&self) -> String {
        let body: String = String::from_utf8_lossy(self.body).chars().take(300).collect();
        format!("{} {body}", self.status)
    }
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Vec::with_capacity(2 * ROOM), consumed: 0 })
    }

    /// Writes one or more whole requests.
    pub(crate) async fn send(&mut self, requests: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(requests).await?)
    }

    /// Waits for the next answer.
    pub(crate) async fn receive(&mut self) -> Result<Answer<'_>> {
        if self.consumed == self.received.len() {
            self.received.clear();
            self.consumed = 0;
        }
        let (status, start, end) = loop {
            let unread = self.received.get(self.consumed..).unwrap_or_default();
            if let Some(head) = Head::parse(unread)?
                && unread.len() >= head.bytes + head.content
            {
                let start = self.consumed + head.bytes;
                break (head.status, start, start + head.content);
            }
            self.received.reserve(ROOM);
            if self.stream.read_buf(&mut self.received).await? == 0 {
                bail!("the service closed the connection");
            }
        };
        self.consumed = end;
        Ok(Answer { status, body: self.received.get(start..end).unwrap_or_default() })
    }

    /// Sends one request and waits for its answer.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Result<Answer<'_>> {
        self.send(request).await?;
        self.receive().await
    }
}

struct Head {
    status: u16,
    bytes: usize,
    content: usize,
}

impl Head {
    /// Reads an answer's head, if all of it is there.
    fn parse(received: &[u8]) -> Result<Option<Self>> {
        let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
        let head = received.get(..end).unwrap_or_default();
        let status = head.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok());
        let status = status.and_then(|digits| digits.parse().ok()).context("an answer has no status")?;
        let mut content = 0;
        for line in head.split(|byte| *byte == b'\n') {
            if let Some((name, value)) = line.split_at_checked(15)
                && name.eq_ignore_ascii_case(b"content-length:")
            {
                let value = std::str::from_utf8(value).unwrap_or_default();
                content = value.trim().parse().context("an answer's content-length is no number")?;
            }
        }
        Ok(Some(Self { status, bytes: end + 4, content }))
    }
}
