//! The body of a request that reads. Flink takes one with a `GET` and wants a JSON object in it; what is in the object it
//! does not look at, or refuses, by its release ([`super::release`]).

use std::sync::Arc;

use ::http::HeaderMap;
use axum::body::Body;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::answer::Failure;
use super::route::Ask;
use super::view::View;
use crate::app::App;
use crate::http::body::{self, BodyLimits};

/// What Flink's own name for such a body is.
const FORMAT: &str = "EmptyRequestBody";

/// What was sent besides the path and the parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    Nothing,
    /// An object with fields: old releases refuse them.
    Fields,
}

/// An object without fields.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Empty {}

impl Sent {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// 400 for what is no JSON object, 413 above `query.max_body_bytes`, and those of a body that does not come.
    pub(super) async fn read(app: &Arc<App>, headers: &HeaderMap, body: Body) -> Result<Sent, Failure> {
        let limit = ("query.max_body_bytes", app.config.query_max_body_bytes.usize());
        let read = body::read(headers, body, &BodyLimits::new(app, limit)).await?;
        Sent::of(&read).ok_or_else(|| Failure::unexpected_body(FORMAT))
    }

    fn of(body: &[u8]) -> Option<Sent> {
        if body.is_empty() {
            return Some(Sent::Nothing);
        }
        let is_object = body.trim_ascii_start().first() == Some(&b'{');
        first::<IgnoredAny>(body).filter(|_| is_object)?;
        Some(if first::<Empty>(body).is_some() { Sent::Nothing } else { Sent::Fields })
    }
}

/// The value at the beginning of a text; what follows it does not count.
fn first<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Option<T> {
    serde_json::Deserializer::from_slice(body).into_iter().next()?.ok()
}

impl View<'_> {
    /// 400 for fields in a body, where the release that is answered for wants none.
    pub(super) fn take(&self, sent: Sent, ask: &Ask) -> Result<(), Failure> {
        if sent == Sent::Nothing {
            return Ok(());
        }
        if self.is_tolerant(ask.job())? { Ok(()) } else { Err(Failure::unexpected_body(FORMAT)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_an_object_with_or_without_fields() {
        let of = |text: &str| Sent::of(text.as_bytes());
        for text in ["", "{}", " {\n}", "{} and more"] {
            assert_eq!(of(text), Some(Sent::Nothing), "{text:?}");
        }
        for text in [r#"{"x": 1}"#, r#"{"x": {"y": [1]}}"#] {
            assert_eq!(of(text), Some(Sent::Fields), "{text:?}");
        }
        for text in [" ", "{", r#"{"x"}"#, "[]", "null", "1", "\"{}\"", "no JSON", "\u{0}", &"[".repeat(100_000)] {
            assert_eq!(of(text), None, "{text:?}");
        }
        assert_eq!(of(&r#"{"x":"#.repeat(100_000)), None);
    }
}
