//! The body of a scrape: kept as it was sent, read as text when it is needed.

use std::borrow::Cow;
use std::io::Read;

use super::client::Answer;
use super::config::Job;
use crate::exposition::{Format, format_of_content_type};

/// A scrape's answer with its format.
#[derive(Debug, Clone)]
pub(super) struct Body {
    answer: Answer,
    format: Format,
    /// Name and value of the limit on the text's bytes.
    limit: (&'static str, usize),
}

impl Body {
    /// Takes an answer; what its content type does not say, the fallback does.
    pub(super) fn new(answer: Answer, job: &Job, limit: (&'static str, usize)) -> Result<Body, String> {
        let content_type = answer.content_type.as_deref().unwrap_or_default();
        let known = format_of_content_type(content_type);
        let fallback =
            || job.fallback_protocol.map(|p| if p.is_open_metrics() { Format::OpenMetrics } else { Format::Text });
        let format = known.or_else(fallback).ok_or_else(|| {
            format!(
                "received unsupported Content-Type {content_type:?} and no fallback_scrape_protocol specified for target"
            )
        })?;
        Ok(Body { answer, format, limit })
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
        let (name, limit) = self.limit;
        let mut decoded = Vec::new();
        flate2::read::MultiGzDecoder::new(&*self.answer.body)
            .take(limit as u64 + 1)
            .read_to_end(&mut decoded)
            .map_err(|e| format!("the body is not valid gzip: {e}"))?;
        if decoded.len() > limit {
            return Err(format!("body size limit exceeded: limit {name} = {limit} bytes reached"));
        }
        String::from_utf8(decoded).map(Cow::Owned).map_err(|e| not_utf8(e.utf8_error().valid_up_to()))
    }
}
