//! The body of a scrape: kept as it was sent, read as text when it is needed.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Read;

use model::Histogram;

use super::client::Answer;
use super::config::{Job, Protocol};
use crate::exposition::{Format, decode_protobuf, format_of_content_type, is_protobuf};

/// A scrape's answer with its format.
#[derive(Debug, Clone)]
pub(super) struct Body {
    answer: Answer,
    format: Format,
    /// Of protobuf, which is kept as text: the native histograms by the number of their line, and whether their counts
    /// are integers.
    histograms: BTreeMap<usize, (Histogram, bool)>,
    /// Name and value of the limit on the text's bytes.
    limit: (&'static str, usize),
}

impl Body {
    /// Takes an answer; what its content type does not say, the fallback does.
    pub(super) fn new(answer: Answer, job: &Job, limit: (&'static str, usize)) -> Result<Body, String> {
        let content_type = answer.content_type.as_deref().unwrap_or_default();
        let is_fallback = format_of_content_type(content_type).is_none() && !is_protobuf(content_type);
        if is_protobuf(content_type) || (is_fallback && job.fallback_protocol == Some(Protocol::Protobuf)) {
            return Body::of_protobuf(&answer, job, limit);
        }
        let known = format_of_content_type(content_type);
        let fallback =
            || job.fallback_protocol.map(|p| if p.is_open_metrics() { Format::OpenMetrics } else { Format::Text });
        let format = known.or_else(fallback).ok_or_else(|| {
            format!(
                "received unsupported Content-Type {content_type:?} and no fallback_scrape_protocol specified for target"
            )
        })?;
        Ok(Body { answer, format, histograms: BTreeMap::new(), limit })
    }

    fn of_protobuf(answer: &Answer, job: &Job, limit: (&'static str, usize)) -> Result<Body, String> {
        let bytes = decompressed(answer, limit)?;
        let decoded = decode_protobuf(&bytes, job.histogram_forms, limit.1.saturating_mul(TEXT_PER_BYTE_MAX));
        let decoded = decoded.map_err(|error| error.to_string())?;
        let answer = Answer { content_type: None, gzip: false, body: decoded.text.into() };
        Ok(Body { answer, format: Format::Text, histograms: decoded.histograms, limit })
    }

    /// The native histogram that stands for the value of a line, from 1, and whether its counts are integers.
    pub(super) fn histogram(&self, line: usize) -> Option<&(Histogram, bool)> {
        self.histograms.get(&line)
    }

    pub(super) fn format(&self) -> Format {
        self.format
    }

    /// The text, decompressed within the limit.
    pub(super) fn text(&self) -> Result<Cow<'_, str>, String> {
        let not_utf8 = |at: usize| format!("the body is not valid UTF-8 at byte {at}");
        if !self.answer.gzip {
            let text = std::str::from_utf8(&self.answer.body).map_err(|e| not_utf8(e.valid_up_to()))?;
            return Ok(Cow::Borrowed(text));
        }
        let decoded = decompressed(&self.answer, self.limit)?.into_owned();
        String::from_utf8(decoded).map(Cow::Owned).map_err(|e| not_utf8(e.utf8_error().valid_up_to()))
    }
}

/// Protobuf as text may have this many times the bytes that the body may have: numbers are short there, and labels stand
/// once for all buckets.
const TEXT_PER_BYTE_MAX: usize = 8;

/// The bytes of an answer, decompressed within the limit.
fn decompressed<'a>(answer: &'a Answer, (name, limit): (&'static str, usize)) -> Result<Cow<'a, [u8]>, String> {
    if !answer.gzip {
        return Ok(Cow::Borrowed(&answer.body));
    }
    let mut decoded = Vec::new();
    flate2::read::MultiGzDecoder::new(&*answer.body)
        .take(limit as u64 + 1)
        .read_to_end(&mut decoded)
        .map_err(|e| format!("the body is not valid gzip: {e}"))?;
    if decoded.len() > limit {
        return Err(format!("body size limit exceeded: limit {name} = {limit} bytes reached"));
    }
    Ok(Cow::Owned(decoded))
}
