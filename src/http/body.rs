//! Request bodies: read with a limit and a deadline, decompressed with a limit.

use std::io::Read;
use std::time::Duration;

use ::http::{HeaderMap, StatusCode, header};
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

use super::error::Fault;

/// Limits of a body; the names stand in errors.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    /// Name and value of the limit on bytes as sent.
    pub sent: (&'static str, usize),
    /// Name and value of the limit on bytes after decompression.
    pub decoded: (&'static str, usize),
    /// `http.body_timeout`
    pub timeout: Duration,
}

fn too_large((name, limit): (&'static str, usize), what: &str) -> Fault {
    Fault::new(StatusCode::PAYLOAD_TOO_LARGE, format!("{what} is too large: limit {name} = {limit} bytes reached"))
}

/// Reads a body as it was sent.
///
/// # Errors
/// 413 above the limit (from `Content-Length` where there is one, before anything is read), 408 when it takes too long,
/// 400 when the connection breaks.
pub async fn read(headers: &HeaderMap, mut body: Body, limits: BodyLimits) -> Result<Bytes, Fault> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limits.sent.1 as u64) {
        return Err(too_large(limits.sent, "the body"));
    }
    let reading = async {
        let mut all = BytesMut::with_capacity(announced.map_or(0, |n| usize::try_from(n).unwrap_or(0)));
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|e| Fault::bad_request(format!("the body could not be read: {e}")))?;
            if let Ok(data) = frame.into_data() {
                if all.len() + data.len() > limits.sent.1 {
                    return Err(too_large(limits.sent, "the body"));
                }
                all.extend_from_slice(&data);
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

/// Undoes `Content-Encoding`: `identity`, `gzip` (alias `x-gzip`), `zstd`. Runs on a worker thread: it takes time.
///
/// # Errors
/// 415 for another encoding, 413 above the limit, 400 for broken data.
pub fn decode(headers: &HeaderMap, sent: Bytes, limits: BodyLimits) -> Result<Bytes, Fault> {
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

fn inflate(decoder: impl Read, name: &str, limits: BodyLimits) -> Result<Bytes, Fault> {
    let mut decoded = Vec::new();
    let limit = limits.decoded.1;
    decoder
        .take(limit as u64 + 1)
        .read_to_end(&mut decoded)
        .map_err(|e| Fault::bad_request(format!("the body is not valid {name}: {e}")))?;
    if decoded.len() > limit {
        return Err(too_large(limits.decoded, "the decompressed body"));
    }
    Ok(decoded.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn limits(sent: usize, decoded: usize) -> BodyLimits {
        BodyLimits {
            sent: ("ingest.max_body_bytes", sent),
            decoded: ("ingest.max_decoded_bytes", decoded),
            timeout: Duration::from_secs(5),
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
        assert_eq!(read(&none, Body::from("12345"), limits(5, 5)).await.unwrap(), "12345");
        let fault = read(&none, Body::from("123456"), limits(5, 5)).await.unwrap_err();
        assert_eq!(fault.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert!(fault.message.contains("ingest.max_body_bytes = 5"), "{}", fault.message);
        let announced = HeaderMap::from_iter([(header::CONTENT_LENGTH, 6.into())]);
        assert_eq!(read(&announced, Body::empty(), limits(5, 5)).await.unwrap_err().status, 413);
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
            assert_eq!(decode(&encoded(name), bytes, limits(5000, 1000)).unwrap(), data, "{name}");
        }
        let bomb = gzip(&vec![0; 1001]);
        assert_eq!(decode(&encoded("gzip"), bomb, limits(5000, 1000)).unwrap_err().status, 413);
        for (name, bytes, status) in [("gzip", &b"nonsense"[..], 400), ("zstd", b"nonsense", 400), ("br", b"x", 415)] {
            let fault = decode(&encoded(name), Bytes::from_static(bytes), limits(5000, 1000)).unwrap_err();
            assert_eq!(fault.status, status, "{name}");
        }
        let truncated = gzip(&data).slice(..20);
        assert_eq!(decode(&encoded("gzip"), truncated, limits(5000, 5000)).unwrap_err().status, 400);
    }
}
