//! Request bodies: read with a limit and a deadline, decompressed with a limit, and all of them together within one account
//! of memory ([`BodyMemory`]).

mod buffer;

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderMap, StatusCode, header};
use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt;

use super::error::Fault;
use crate::app::App;

pub use buffer::BodyMemory;
use buffer::{Buffer, FIRST_BYTES, GROWTH_BYTES};

/// Limits of a body; the names stand in errors.
#[derive(Debug, Clone)]
pub struct BodyLimits {
    /// Name and value of the limit on bytes as sent.
    pub sent: (&'static str, usize),
    /// Name and value of the limit on bytes after decompression.
    pub decoded: (&'static str, usize),
    /// `http.body_timeout`
    pub timeout: Duration,
    /// What all bodies share.
    pub memory: Arc<BodyMemory>,
}

impl BodyLimits {
    /// Those of a body of samples.
    pub(super) fn of_samples(app: &App) -> BodyLimits {
        BodyLimits {
            decoded: ("ingest.max_decoded_bytes", app.config.ingest_max_decoded_bytes.usize()),
            ..BodyLimits::new(app, ("ingest.max_body_bytes", app.config.ingest_max_body_bytes.usize()))
        }
    }

    /// One limit for bytes as sent and after decompression.
    pub(super) fn new(app: &App, limit: (&'static str, usize)) -> BodyLimits {
        let timeout = app.config.http_body_timeout.std();
        BodyLimits { sent: limit, decoded: limit, timeout, memory: Arc::clone(&app.body_memory) }
    }
}

fn too_large((name, limit): (&'static str, impl std::fmt::Display), what: &str) -> Fault {
    Fault::new(StatusCode::PAYLOAD_TOO_LARGE, format!("{what} is too large: limit {name} = {limit} bytes reached"))
}

/// Reads a body as it was sent.
///
/// # Errors
/// 413 above the limit (from `Content-Length` where there is one, before anything is read), 429 above
/// `http.max_body_memory`, 408 when it takes too long, 400 when the connection breaks.
pub async fn read(headers: &HeaderMap, mut body: Body, limits: &BodyLimits) -> Result<Bytes, Fault> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limits.sent.1 as u64) {
        return Err(too_large(limits.sent, "the body"));
    }
    let announced = announced.and_then(|length| usize::try_from(length).ok());
    let most = announced.unwrap_or(limits.sent.1);
    let reading = async {
        let mut all = Buffer::new(&limits.memory);
        all.grow(announced.unwrap_or(0).min(FIRST_BYTES))?;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|e| Fault::bad_request(format!("the body could not be read: {e}")))?;
            if let Ok(data) = frame.into_data() {
                if all.bytes.len() + data.len() > limits.sent.1 {
                    return Err(too_large(limits.sent, "the body"));
                }
                all.grow_by(data.len(), most)?;
                all.bytes.extend_from_slice(&data);
            }
        }
        Ok(all.freeze())
    };
    let timeout = || {
        let message = format!("the body took too long: limit http.body_timeout = {:?} reached", limits.timeout);
        Fault::new(StatusCode::REQUEST_TIMEOUT, message)
    };
    tokio::time::timeout(limits.timeout, reading).await.unwrap_or_else(|_| Err(timeout()))
}

/// Refuses a body that says it is something else than JSON.
pub(super) fn require_json(headers: &HeaderMap) -> Result<(), Fault> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let text = value.to_str().unwrap_or("?");
    let media_type = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if media_type == "application/json" || (media_type.starts_with("application/") && media_type.ends_with("+json")) {
        return Ok(());
    }
    let message = format!("content type {text:?} is not JSON; send Content-Type: application/json");
    Err(Fault::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message))
}

/// Undoes `Content-Encoding`: `identity`, `gzip` (alias `x-gzip`), `zstd`. Runs on a worker thread: it takes time.
///
/// # Errors
/// 415 for another encoding, 413 above the limit, 429 above `http.max_body_memory`, 400 for broken data.
pub fn decode(headers: &HeaderMap, sent: Bytes, limits: &BodyLimits) -> Result<Bytes, Fault> {
    let encoding = match headers.get(header::CONTENT_ENCODING) {
        None => "",
        Some(value) => value.to_str().unwrap_or("?").trim(),
    };
    if encoding.is_empty() || encoding.eq_ignore_ascii_case("identity") {
        return Ok(sent);
    }
    if encoding.eq_ignore_ascii_case("gzip") || encoding.eq_ignore_ascii_case("x-gzip") {
        return inflate(flate2::read::MultiGzDecoder::new(&*sent), "gzip", limits);
    }
    if encoding.eq_ignore_ascii_case("zstd") {
        let decoder = zstd::stream::read::Decoder::with_buffer(&*sent)
            .map_err(|e| Fault::bad_request(format!("the body is not valid zstd: {e}")))?;
        return inflate(decoder, "zstd", limits);
    }
    let message = format!("content encoding {encoding:?} is not known; send identity, gzip or zstd");
    Err(Fault::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message))
}

fn inflate(mut decoder: impl Read, name: &str, limits: &BodyLimits) -> Result<Bytes, Fault> {
    let limit = limits.decoded.1;
    let mut decoded = Buffer::new(&limits.memory);
    loop {
        // One byte more than may be there, to see whether it is.
        let end = limit.saturating_add(1);
        decoded.grow_by(GROWTH_BYTES.min(end - decoded.bytes.len()), end)?;
        let room = decoded.taken - decoded.bytes.len();
        let read = decoder.by_ref().take(room as u64).read_to_end(&mut decoded.bytes);
        let read = read.map_err(|e| Fault::bad_request(format!("the body is not valid {name}: {e}")))?;
        if decoded.bytes.len() > limit {
            return Err(too_large(limits.decoded, "the decompressed body"));
        }
        if read < room {
            return Ok(decoded.freeze());
        }
    }
}

/// Undoes snappy's block format, as [`decode`] does the other encodings.
///
/// # Errors
/// As there.
pub fn decode_snappy(sent: &[u8], limits: &BodyLimits) -> Result<Bytes, Fault> {
    let broken = |e: snap::Error| Fault::bad_request(format!("the body is not valid snappy (block format): {e}"));
    let length = snap::raw::decompress_len(sent).map_err(broken)?;
    let (name, limit) = limits.decoded;
    if length > limit {
        let message = format!("the decompressed body has {length} bytes: limit {name} = {limit} bytes reached");
        return Err(Fault::new(StatusCode::PAYLOAD_TOO_LARGE, message));
    }
    let mut decoded = Buffer::zeroed(&limits.memory, length)?;
    let written = snap::raw::Decoder::new().decompress(sent, &mut decoded.bytes).map_err(broken)?;
    decoded.bytes.truncate(written);
    Ok(decoded.freeze())
}

#[cfg(test)]
mod tests {
    use super::buffer::RETRY_AFTER_S;
    use super::*;
    use std::io::Write;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    fn limits(sent: usize, decoded: usize) -> BodyLimits {
        within(1 << 30, sent, decoded)
    }

    /// Limits whose bodies may take so much memory together.
    fn within(memory: u64, sent: usize, decoded: usize) -> BodyLimits {
        BodyLimits {
            sent: ("ingest.max_body_bytes", sent),
            decoded: ("ingest.max_decoded_bytes", decoded),
            timeout: Duration::from_secs(5),
            memory: BodyMemory::of(memory),
        }
    }

    fn announced(bytes: usize) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_LENGTH, bytes.into())])
    }

    /// A body whose length nobody knows before its end: so many pieces of `x`, and then silence if it does not end.
    struct Pieces {
        left: usize,
        bytes: usize,
        ends: bool,
    }

    impl hyper::body::Body for Pieces {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
            match self.left.checked_sub(1) {
                Some(left) => {
                    self.left = left;
                    Poll::Ready(Some(Ok(hyper::body::Frame::data(vec![b'x'; self.bytes].into()))))
                }
                None if self.ends => Poll::Ready(None),
                None => Poll::Pending,
            }
        }
    }

    fn encoded(encoding: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_ENCODING, encoding.parse().unwrap())])
    }

    fn gzip(data: &[u8]) -> Bytes {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap().into()
    }

    #[tokio::test]
    async fn the_limit_on_sent_bytes_holds_at_n_and_n_plus_1() {
        let none = HeaderMap::new();
        assert_eq!(read(&none, Body::from("12345"), &limits(5, 5)).await.unwrap(), "12345");
        let fault = read(&none, Body::from("123456"), &limits(5, 5)).await.unwrap_err();
        assert_eq!(fault.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert!(fault.message.contains("ingest.max_body_bytes = 5"), "{}", fault.message);
        assert_eq!(read(&announced(6), Body::empty(), &limits(5, 5)).await.unwrap_err().status, 413);
    }

    #[tokio::test]
    async fn the_memory_of_all_bodies_holds_at_n_and_n_plus_1() {
        let limits = within(10, 100, 100);
        let first = read(&announced(6), Body::from("123456"), &limits).await.unwrap();
        let second = read(&announced(4), Body::from("1234"), &limits).await.unwrap();
        assert_eq!(limits.memory.taken(), 10);
        let fault = read(&announced(1), Body::from("1"), &limits).await.unwrap_err();
        assert_eq!((fault.status, fault.retry_after_s), (StatusCode::TOO_MANY_REQUESTS, Some(RETRY_AFTER_S)));
        assert!(fault.message.contains("http.max_body_memory = 10"), "{}", fault.message);
        let rest = first.slice(3..);
        drop((first, second));
        assert_eq!(limits.memory.taken(), 6, "a part holds the whole");
        drop(rest);
        assert_eq!(limits.memory.taken(), 0);
        let fault = read(&announced(11), Body::empty(), &limits).await.unwrap_err();
        assert_eq!(fault.status, StatusCode::PAYLOAD_TOO_LARGE, "there will never be room");
        assert_eq!(limits.memory.taken(), 0);
    }

    #[tokio::test]
    async fn bodies_of_unknown_length_are_counted_as_they_grow() {
        let pieces = |left, bytes| Body::new(Pieces { left, bytes, ends: true });
        for (count, bytes) in [(1, 10), (3, 50_000), (40, 100_000)] {
            let limits = limits(10_000_000, 1);
            let body = read(&HeaderMap::new(), pieces(count, bytes), &limits).await.unwrap();
            let (length, taken) = (count * bytes, limits.memory.taken() as usize);
            assert_eq!(body.len(), length);
            assert!((length..=(2 * length).max(GROWTH_BYTES)).contains(&taken), "{length} bytes took {taken}");
        }
        let limits = within(400_000, 10_000_000, 1);
        assert!(read(&HeaderMap::new(), pieces(4, 100_000), &limits).await.is_ok(), "all of it");
        let fault = read(&HeaderMap::new(), pieces(5, 100_000), &limits).await.unwrap_err();
        assert_eq!((fault.status.as_u16(), limits.memory.taken()), (413, 0), "{}", fault.message);
    }

    #[tokio::test]
    async fn a_body_takes_what_it_announces() {
        let limits = limits(10_000_000, 1);
        for (left, bytes) in [(1, 10), (100, 1000), (2, FIRST_BYTES / 2), (1, FIRST_BYTES + 1), (5000, 1000)] {
            let length = left * bytes;
            let body = read(&announced(length), Body::new(Pieces { left, bytes, ends: true }), &limits).await.unwrap();
            assert_eq!((body.len(), limits.memory.taken()), (length, length as u64));
        }
    }

    #[tokio::test]
    async fn an_announced_body_that_does_not_come_takes_little() {
        let limits = limits(10_000_000, 1);
        let headers = announced(9_000_000);
        let silent = Body::new(Pieces { left: 0, bytes: 0, ends: false });
        let mut reading = std::pin::pin!(read(&headers, silent, &limits));
        assert!(tokio::time::timeout(Duration::from_millis(1), &mut reading).await.is_err());
        assert_eq!(limits.memory.taken(), FIRST_BYTES as u64);
    }

    #[test]
    fn decompressed_bodies_are_counted_to_the_byte() {
        let data = vec![7_u8; 1000];
        let snappy = snap::raw::Encoder::new().compress_vec(&data).unwrap();
        let decode = |name: &str, limits: &BodyLimits| match name {
            "snappy" => decode_snappy(&snappy, limits),
            "gzip" => decode(&encoded("gzip"), gzip(&data), limits),
            _ => decode(&encoded("zstd"), zstd::encode_all(&*data, 0).unwrap().into(), limits),
        };
        // The streams say nothing of their length: one byte more shows that they end.
        for (name, size) in [("snappy", 1000), ("gzip", 1001), ("zstd", 1001)] {
            let enough = within(size, 5000, 1000);
            let held = decode(name, &enough).unwrap();
            assert_eq!((&held[..], enough.memory.taken()), (&data[..], size), "{name}");
            let fault = decode(name, &enough).unwrap_err();
            assert_eq!(fault.status, StatusCode::TOO_MANY_REQUESTS, "{name}");
            drop(held);
            assert_eq!(enough.memory.taken(), 0);
            let fault = decode(name, &within(size - 1, 5000, 1000)).unwrap_err();
            assert_eq!(fault.status, StatusCode::PAYLOAD_TOO_LARGE, "{name}");
            assert!(fault.message.contains("http.max_body_memory"), "{}", fault.message);
        }
        let fault = decode("snappy", &limits(5000, 999)).unwrap_err();
        assert!(fault.message.contains("ingest.max_decoded_bytes = 999"), "{}", fault.message);
    }

    #[test]
    fn encodings_are_undone_within_the_limit() {
        let data = vec![7_u8; 1000];
        for (name, bytes) in [
            ("gzip", gzip(&data)),
            ("X-Gzip", gzip(&data)),
            ("zstd", zstd::encode_all(&*data, 0).unwrap().into()),
            ("identity", data.clone().into()),
        ] {
            assert_eq!(decode(&encoded(name), bytes, &limits(5000, 1000)).unwrap(), data, "{name}");
        }
        let bomb = gzip(&vec![0; 1001]);
        assert_eq!(decode(&encoded("gzip"), bomb, &limits(5000, 1000)).unwrap_err().status, 413);
        for (name, bytes, status) in [("gzip", &b"nonsense"[..], 400), ("zstd", b"nonsense", 400), ("br", b"x", 415)] {
            let fault = decode(&encoded(name), Bytes::from_static(bytes), &limits(5000, 1000)).unwrap_err();
            assert_eq!(fault.status, status, "{name}");
        }
        let truncated = gzip(&data).slice(..20);
        assert_eq!(decode(&encoded("gzip"), truncated, &limits(5000, 5000)).unwrap_err().status, 400);
    }
}
