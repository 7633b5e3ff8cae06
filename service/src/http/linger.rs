//! Closing a connection so that its last answer arrives.
//!
//! A request that is refused before its body was read, for a rate or a limit, leaves that body on its way. The
//! system would reset a connection that is closed with unread bytes, and the reset overtakes the answer: the client would
//! see a broken pipe instead of 429 and `Retry-After`. So the sending half is closed first, and what still comes is
//! dropped until the peer has read and closed too, or for a short time.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// How long a connection lingers at most.
const TIME: Duration = Duration::from_secs(2);
/// Bytes that are dropped at most.
const BYTES: usize = 64 * 1024 * 1024;

/// A stream whose shutdown lingers.
#[derive(Debug)]
pub struct Lingering<S> {
    inner: S,
    /// Set once the sending half is closed.
    closing: Option<Pin<Box<Sleep>>>,
    left: usize,
}

impl<S> Lingering<S> {
    /// Takes a stream.
    pub const fn new(inner: S) -> Self {
        Self { inner, closing: None, left: BYTES }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.closing.is_none() {
            ready!(Pin::new(&mut this.inner).poll_shutdown(context))?;
        }
        let over = this.closing.get_or_insert_with(|| Box::pin(tokio::time::sleep(TIME)));
        let mut dropped = [0; 16 * 1024];
        while this.left > 0 && over.as_mut().poll(context).is_pending() {
            let mut buffer = ReadBuf::new(&mut dropped);
            // A peer that is gone, in whichever way, is all that is waited for.
            let read = ready!(Pin::new(&mut this.inner).poll_read(context, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                break;
            }
            this.left = this.left.saturating_sub(buffer.filled().len());
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn what_still_comes_is_dropped_until_the_peer_closes() {
        let (mut peer, stream) = duplex(1024);
        let closing = tokio::spawn(async move { Lingering::new(stream).shutdown().await });

        assert_eq!(peer.read(&mut [0; 8]).await.unwrap(), 0, "the peer sees the end at once");
        peer.write_all(&vec![7; 100_000]).await.unwrap();
        assert!(!closing.is_finished());
        drop(peer);

        closing.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_never_closes_is_left() {
        let (_peer, stream) = duplex(1024);
        Lingering::new(stream).shutdown().await.unwrap();
    }
}
