//! A connection whose client has to go on reading: a write that makes no progress for `http.body_timeout` fails, and with
//! it the answer goes and what it holds.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// A stream and how long it has taken nothing.
pub(super) struct Progress<S> {
    stream: S,
    patience: Duration,
    /// Made when the stream takes nothing for the first time; most never do.
    timer: Option<Pin<Box<Sleep>>>,
    /// The timer runs.
    waits: bool,
}

impl<S> Progress<S> {
    /// Lets writes wait so long.
    pub(super) fn new(stream: S, patience: Duration) -> Progress<S> {
        Progress { stream, patience, timer: None, waits: false }
    }

    /// The outcome of a write, or an error if it waits for too long.
    fn within<T>(&mut self, context: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.waits = false;
            return outcome;
        }
        let patience = self.patience;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(patience)));
        if !self.waits {
            timer.as_mut().reset(Instant::now() + patience);
            self.waits = true;
        }
        timer.as_mut().poll(context).map(|()| {
            let message = format!("the client takes nothing: limit http.body_timeout = {patience:?} reached");
            Err(io::Error::new(io::ErrorKind::TimedOut, message))
        })
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Progress<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Progress<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.within(context, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.within(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const PATIENCE: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_left() {
        let (server, mut client) = tokio::io::duplex(8);
        let mut server = Progress::new(server, PATIENCE);
        server.write_all(b"12345678").await.unwrap();
        let begun = Instant::now();
        let error = server.write_all(b"9").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(error.to_string().contains("http.body_timeout = 100ms"), "{error}");
        assert!(begun.elapsed() >= PATIENCE);
        let mut read = [0; 8];
        client.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"12345678");
    }

    #[tokio::test]
    async fn a_client_that_takes_little_is_waited_for() {
        let (server, mut client) = tokio::io::duplex(1);
        let mut server = Progress::new(server, PATIENCE);
        let slow = async {
            let mut all = Vec::new();
            for _ in 0..8 {
                // In all far longer than the patience, each time less.
                tokio::time::sleep(PATIENCE / 4).await;
                all.push(client.read_u8().await.unwrap());
            }
            all
        };
        let (written, read) = tokio::join!(server.write_all(b"12345678"), slow);
        written.unwrap();
        assert_eq!(read, b"12345678");
        // Between answers nothing is waited for.
        tokio::time::sleep(PATIENCE * 2).await;
        server.write_all(b"9").await.unwrap();
    }
}
