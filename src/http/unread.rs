//! What is done with the rest of a body that nobody reads to its end, since its request was refused: it is swallowed, so that
//! the client gets the answer. A client that still sends when the connection is closed sees a broken pipe instead.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use ::http::header::EXPECT;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};

/// Most bytes that are swallowed; the connection of a client that sends more is closed.
const SWALLOWED_BYTES_MAX: u64 = 1 << 20;
/// Longest time that is spent with it.
const SWALLOWING_MAX: Duration = Duration::from_secs(1);

/// A body whose rest is swallowed when it is dropped.
pub(super) struct Swallowed {
    /// None once there is nothing left to swallow.
    rest: Option<Incoming>,
}

impl Swallowed {
    /// The request with its body wrapped.
    pub(super) fn request(request: hyper::Request<Incoming>) -> hyper::Request<axum::body::Body> {
        // Such a client waits for leave to send, or for the answer.
        let waits = request.headers().contains_key(EXPECT);
        request.map(|rest| {
            if waits || rest.is_end_stream() {
                return axum::body::Body::new(rest);
            }
            axum::body::Body::new(Swallowed { rest: Some(rest) })
        })
    }
}

impl Body for Swallowed {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(rest) = &mut self.rest else { return Poll::Ready(None) };
        let polled = Pin::new(rest).poll_frame(context);
        if let Poll::Ready(None | Some(Err(_))) = polled {
            self.rest = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.rest.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.rest.as_ref().map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl Drop for Swallowed {
    fn drop(&mut self) {
        let Some(rest) = self.rest.take() else { return };
        if rest.is_end_stream() || rest.size_hint().lower() > SWALLOWED_BYTES_MAX {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(tokio::time::timeout(SWALLOWING_MAX, swallow(rest)));
        }
    }
}

async fn swallow(mut rest: Incoming) {
    let mut left = SWALLOWED_BYTES_MAX;
    while let Some(Ok(frame)) = rest.frame().await {
        let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
        let Some(after) = left.checked_sub(bytes) else { return };
        left = after;
    }
}
