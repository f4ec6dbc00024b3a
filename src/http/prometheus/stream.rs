//! Answers of any size: written piece by piece as the client takes them, so that only one chunk is text at a time.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use ::http::{StatusCode, header};
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::body::Frame;

/// Size at which a chunk goes out.
const CHUNK_BYTES: usize = 64 << 10;

/// A text that writes itself in small pieces. Each piece takes little time: it is written on a thread of the runtime.
pub(super) trait Pieces: Send + Unpin + 'static {
    /// Appends the next piece; false if that was the last.
    fn push_next(&mut self, out: &mut Vec<u8>) -> bool;
}

/// The rest of an answer.
struct PieceBody<P>(Option<P>);

impl<P: Pieces> hyper::body::Body for PieceBody<P> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(pieces) = &mut self.0 else { return Poll::Ready(None) };
        let (chunk, more) = chunk(pieces);
        if !more {
            self.0 = None;
        }
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }
}

fn chunk(pieces: &mut impl Pieces) -> (Bytes, bool) {
    let mut out = Vec::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 8);
    while pieces.push_next(&mut out) {
        if out.len() >= CHUNK_BYTES {
            return (out.into(), true);
        }
    }
    out.shrink_to_fit();
    (out.into(), false)
}

/// A 200 answer: in one body with its length if it is small.
pub(super) fn respond(mut pieces: impl Pieces, content_type: &str) -> Response {
    let (first, more) = chunk(&mut pieces);
    let body =
        if more { Body::new(After { first: Some(first), rest: PieceBody(Some(pieces)) }) } else { Body::from(first) };
    (StatusCode::OK, [(header::CONTENT_TYPE, content_type.to_owned())], body).into_response()
}

/// The chunk that is there already, and the rest.
struct After<P> {
    first: Option<Bytes>,
    rest: PieceBody<P>,
}

impl<P: Pieces> hyper::body::Body for After<P> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(Ok(Frame::data(first)))),
            None => Pin::new(&mut self.rest).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    /// `n` lines of equal length.
    struct Lines(usize);

    impl Pieces for Lines {
        fn push_next(&mut self, out: &mut Vec<u8>) -> bool {
            if self.0 == 0 {
                return false;
            }
            self.0 -= 1;
            out.extend_from_slice(&[b'x'; 1023]);
            out.push(b'\n');
            self.0 > 0
        }
    }

    #[tokio::test]
    async fn all_pieces_arrive_once_whatever_the_size() {
        for lines in [0, 1, 63, 64, 65, 128, 1000] {
            let mut body = respond(Lines(lines), "text/plain").into_body();
            let (mut bytes, mut frames) = (0, 0);
            while let Some(frame) = body.frame().await {
                let data = frame.unwrap().into_data().unwrap();
                assert!(data.len() <= CHUNK_BYTES + 1024);
                bytes += data.len();
                frames += 1;
            }
            assert_eq!(bytes, lines * 1024);
            assert!(frames <= lines / 64 + 1, "{lines} lines in {frames} frames");
        }
    }

    #[test]
    fn a_small_answer_has_its_length() {
        use hyper::body::Body as _;
        assert_eq!(respond(Lines(2), "text/plain").into_body().size_hint().exact(), Some(2048));
    }
}
