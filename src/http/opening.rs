//! The beginning of a connection that may speak HTTP/1 or HTTP/2: whoever has not shown which within `http.header_timeout`
//! is left. After that the protocols have deadlines of their own.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// What a client of HTTP/2 sends first (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream whose protocol is not known yet.
pub(super) struct Opening<S> {
    stream: S,
    patience: Duration,
    /// Runs while all that came is the beginning of the preface; none when the protocol is known.
    timer: Option<Pin<Box<Sleep>>>,
    /// Bytes of the preface that came.
    matched: usize,
}

impl<S> Opening<S> {
    /// Lets the client take so long.
    pub(super) fn new(stream: S, patience: Duration) -> Opening<S> {
        Opening { stream, patience, timer: Some(Box::pin(sleep(patience))), matched: 0 }
    }

    /// Looks at bytes that came.
    fn look(&mut self, bytes: &[u8]) {
        let rest = PREFACE.get(self.matched..).unwrap_or_default();
        let is_preface = !bytes.is_empty() && rest.starts_with(bytes);
        self.matched += bytes.len();
        if !is_preface || self.matched >= PREFACE.len() {
            self.timer = None;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Opening<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(context, buffer);
        let patience = self.patience;
        let Some(timer) = &mut self.timer else { return outcome };
        if outcome.is_ready() {
            self.look(buffer.filled().get(before..).unwrap_or_default());
            return outcome;
        }
        timer.as_mut().poll(context).map(|()| {
            let message = format!("the client says nothing: limit http.header_timeout = {patience:?} reached");
            Err(io::Error::new(io::ErrorKind::TimedOut, message))
        })
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Opening<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
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

    const PATIENCE: Duration = Duration::from_millis(50);

    /// What becomes of a read after these bytes came and nothing more: how many were read, or why not.
    async fn after(sent: &[u8]) -> Result<usize, io::ErrorKind> {
        let (server, mut client) = tokio::io::duplex(64);
        let mut server = Opening::new(server, PATIENCE);
        client.write_all(sent).await.unwrap();
        let mut bytes = vec![0; sent.len()];
        server.read_exact(&mut bytes).await.map_err(|e| e.kind())?;
        assert_eq!(bytes, sent);
        match tokio::time::timeout(PATIENCE * 4, server.read_u8()).await {
            Ok(Ok(_)) => panic!("nothing more came"),
            Ok(Err(error)) => Err(error.kind()),
            Err(_) => Ok(sent.len()),
        }
    }

    #[tokio::test]
    async fn who_has_not_said_which_protocol_is_left() {
        for sent in [&b""[..], b"P", b"PRI * HTTP/2.0", &PREFACE[..23]] {
            assert_eq!(after(sent).await, Err(io::ErrorKind::TimedOut), "{sent:?}");
        }
        for sent in [&PREFACE[..], b"G", b"POST /", b"PRI * HTTP/1"] {
            assert_eq!(after(sent).await, Ok(sent.len()), "{sent:?}");
        }
    }

    #[tokio::test]
    async fn the_preface_may_come_in_pieces() {
        let (server, mut client) = tokio::io::duplex(64);
        let mut server = Opening::new(server, PATIENCE * 4);
        for piece in PREFACE.chunks(7) {
            client.write_all(piece).await.unwrap();
            let mut bytes = vec![0; piece.len()];
            server.read_exact(&mut bytes).await.unwrap();
        }
        assert!(server.timer.is_none());
        let (server, client) = tokio::io::duplex(64);
        drop(client);
        let mut server = Opening::new(server, PATIENCE);
        assert_eq!(server.read(&mut [0]).await.unwrap(), 0, "gone, not silent");
        assert!(server.timer.is_none());
    }
}
