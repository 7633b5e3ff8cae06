//! Bytes on a socket, for what no HTTP library would send.

use std::net::SocketAddr;

use http::Request;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::http::Content;
use super::time::soon;

/// Writes a request as HTTP/1.1 has it on the wire.
pub(crate) fn wire(request: &Request<Content>) -> Vec<u8> {
    let mut bytes = format!("{} {} HTTP/1.1\r\nhost: test\r\n", request.method(), request.uri()).into_bytes();
    for (name, value) in request.headers() {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    let body = match request.body() {
        Content::Nothing => &[][..],
        Content::Whole(bytes) => bytes,
        Content::Pieces(_) => panic!("raw requests are whole"),
    };
    if !body.is_empty() {
        bytes.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}

/// Sends bytes, closes the sending half, and returns all that comes back until the peer closes.
pub(crate) async fn exchange(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(address).await.unwrap();
    // The peer may refuse and close before everything is written.
    let _ = socket.write_all(bytes).await;
    let _ = socket.shutdown().await;
    read_to_end(&mut socket).await
}

/// Returns all that comes until the peer closes or resets.
pub(crate) async fn read_to_end(socket: &mut TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    soon("the peer closes", async {
        loop {
            match socket.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(length) => answer.extend_from_slice(&buffer[..length]),
            }
        }
    })
    .await;
    answer
}

/// Returns the status of the first answer in bytes, if there is one.
pub(crate) fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\r').next()?;
    let text = std::str::from_utf8(line).ok()?;
    text.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
}
