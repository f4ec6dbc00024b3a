//! The parameters of a request: URL and form body merged, and their types.
//!
//! As in Prometheus an empty value counts as none, of a repeated name the first counts, and the body's come before
//! the URL's. Names that nobody asks for are ignored: clients add their own.

use std::time::Duration;

use ::http::{HeaderMap, Method, StatusCode, header};
use axum::extract::{FromRequest, Request};
use model::TimeRange;

use super::error::ApiError;
use super::{form, time};
use crate::app::App;
use crate::http::body::{self, BodyLimits};
use crate::http::error::Fault;

const FORM: &str = "application/x-www-form-urlencoded";

/// Name and value of each parameter, decoded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parameters(Vec<(String, String)>);

impl FromRequest<std::sync::Arc<App>> for Parameters {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &std::sync::Arc<App>) -> Result<Self, ApiError> {
        let (head, request_body) = request.into_parts();
        let mut pairs = Vec::new();
        if matches!(head.method, Method::POST | Method::PUT) {
            let limit = ("query.max_body_bytes", app.config.query_max_body_bytes.usize());
            let limits = BodyLimits::new(app, limit);
            let sent = body::read(&head.headers, request_body, &limits).await?;
            if !sent.is_empty() {
                check_form(&head.headers)?;
                let decoded = body::decode(&head.headers, sent, &limits)?;
                pairs = form::parse(&decoded).map_err(ApiError::bad_data)?;
            }
        }
        let in_url = form::parse(head.uri.query().unwrap_or_default().as_bytes()).map_err(ApiError::bad_data)?;
        pairs.extend(in_url);
        Ok(Parameters(pairs))
    }
}

/// Refuses a body that is not a form.
fn check_form(headers: &HeaderMap) -> Result<(), Fault> {
    let given = headers.get(header::CONTENT_TYPE).map(|v| v.to_str().unwrap_or("?")).unwrap_or_default();
    let media_type = given.split(';').next().unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case(FORM) {
        return Ok(());
    }
    let message = format!("content type {given:?} is not known here; send parameters in the URL or as {FORM}");
    Err(Fault::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message))
}

impl Parameters {
    /// Parameters that were decoded elsewhere.
    pub fn from_pairs(pairs: Vec<(String, String)>) -> Parameters {
        Parameters(pairs)
    }

    /// The first value of a name, if it is not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str()).filter(|v| !v.is_empty())
    }

    /// All values of a name, empty ones too.
    pub(in crate::http) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// A time in milliseconds that may be left out.
    pub(super) fn time(&self, name: &str) -> Result<Option<i64>, ApiError> {
        let text = self.get(name);
        text.map(time::parse_time)
            .transpose()
            .map_err(|e| ApiError::parameter(name, format!("invalid time value for '{name}': {e}")))
    }

    /// A time in milliseconds that must be there.
    pub(super) fn required_time(&self, name: &str) -> Result<i64, ApiError> {
        time::parse_time(self.get(name).unwrap_or_default()).map_err(|e| ApiError::parameter(name, e))
    }

    /// A duration in milliseconds that may be left out.
    pub(super) fn duration(&self, name: &str) -> Result<Option<i64>, ApiError> {
        self.get(name).map(time::parse_duration).transpose().map_err(|e| ApiError::parameter(name, e))
    }

    /// `timeout`.
    pub(super) fn timeout(&self) -> Result<Option<Duration>, ApiError> {
        let ms = self.duration("timeout")?;
        ms.map(|ms| u64::try_from(ms).map(Duration::from_millis))
            .transpose()
            .map_err(|_| ApiError::parameter("timeout", "a negative timeout is not accepted"))
    }

    /// `start` and `end` of the index endpoints: all of time without them.
    pub(in crate::http) fn range(&self) -> Result<TimeRange, ApiError> {
        let start_ms = self.time("start")?.unwrap_or(i64::MIN);
        let end_ms = self.time("end")?.unwrap_or(i64::MAX);
        Ok(TimeRange { start_ms, end_ms })
    }

    /// `limit`: none without it or if it is 0.
    pub(super) fn limit(&self) -> Result<Option<usize>, ApiError> {
        let Some(text) = self.get("limit") else { return Ok(None) };
        match text.parse::<i64>() {
            Ok(0) => Ok(None),
            Ok(n) => {
                usize::try_from(n).map(Some).map_err(|_| ApiError::parameter("limit", "limit must be non-negative"))
            }
            Err(_) => Err(ApiError::parameter("limit", format!("cannot parse {text:?} to a whole number"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(text: &str) -> Parameters {
        Parameters(form::parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn the_first_value_counts_and_an_empty_one_is_none() {
        let given = parameters("a=1&a=2&b=&match[]=x&match[]=y");
        assert_eq!(given.get("a"), Some("1"));
        assert_eq!(given.get("b"), None);
        assert_eq!(given.all("match[]").collect::<Vec<_>>(), ["x", "y"]);
    }

    #[test]
    fn wrong_values_are_named() {
        let message = |error: ApiError| format!("{error:?}");
        let given = parameters("start=x&timeout=-1&limit=-1&step=1q");
        assert!(message(given.time("start").unwrap_err()).contains("invalid time value for 'start'"));
        assert!(message(given.timeout().unwrap_err()).contains("timeout"));
        assert!(message(given.limit().unwrap_err()).contains("limit must be non-negative"));
        assert!(message(given.duration("step").unwrap_err()).contains("1q"));
        assert!(message(given.required_time("end").unwrap_err()).contains("end"));
    }

    #[test]
    fn limits_and_ranges() {
        assert_eq!(parameters("limit=0").limit(), Ok(None));
        assert_eq!(parameters("limit=7").limit(), Ok(Some(7)));
        assert_eq!(parameters("").limit(), Ok(None));
        assert!(parameters("limit=1.5").limit().is_err());
        assert_eq!(parameters("").range(), Ok(TimeRange::ALL));
        assert_eq!(parameters("start=4&end=-1").range(), Ok(TimeRange { start_ms: 4000, end_ms: -1000 }));
        assert_eq!(parameters("timeout=0.5").timeout(), Ok(Some(Duration::from_millis(500))));
    }
}
