//! `POST /api/v1/write` and `/api/v1/push`: Prometheus remote write over HTTP.
//!
//! Answers: 204; 400 for what will never be taken (broken messages; or some series and samples were refused, the rest is
//! stored); 413, 415; 429 and 503 with `Retry-After` when the same request may be sent again. Version 2.0 wants the counts
//! of what was written in headers, whatever the status; 1.0 gets them too.

use std::sync::Arc;

use ::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;

use super::body::{self, BodyLimits};
use super::error::{Dialect, Fault};
use super::prometheus::PREFIXES;
use super::rights;
use crate::app::App;
use crate::auth::Caller;
use crate::remote_write::{Intake, Message, Outcome, RequestError, decode};

pub(super) fn routes() -> Router<Arc<App>> {
    let mut routes = Router::new();
    for prefix in PREFIXES {
        for path in ["/api/v1/write", "/api/v1/push"] {
            routes = routes.route(&format!("{prefix}{path}"), rights::write(post(write)));
        }
    }
    routes
}

async fn write(State(app): State<Arc<App>>, caller: Caller, headers: HeaderMap, body: Body) -> Response {
    match take(app, &caller, &headers, body).await {
        Ok(outcome) => answer(&outcome),
        Err(fault) => {
            let mut response = fault.response(Dialect::Text);
            written(response.headers_mut(), &Outcome::default());
            response
        }
    }
}

async fn take(app: Arc<App>, caller: &Caller, headers: &HeaderMap, body: Body) -> Result<Outcome, Fault> {
    let message = message_of(headers)?;
    let limits = BodyLimits::of_samples(&app);
    let sent = body::read(headers, body, &limits).await?;
    let (headers, org) = (headers.clone(), caller.org().cloned());
    let work = Arc::clone(&app);
    let done = app.workers.write(move || {
        // Its batch is open from here on: a sync of others may wait a little for it.
        let samples_max = work.config.ingest_max_batch_samples;
        let mut intake = Intake::new(&work.ingest, &work.remote_write, samples_max, org.as_deref());
        let message_bytes = decompress(&headers, sent, &limits)?;
        decode(message, &message_bytes, &mut intake).map_err(|error| {
            let status = match error {
                RequestError::Wire { .. } => StatusCode::BAD_REQUEST,
                RequestError::TooManySamples { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            };
            Fault::new(status, error.to_string())
        })?;
        intake.commit().map_err(|error| Fault::from(&error))
    });
    done.await?
}

/// Which message the content type names; without one it is 1.0, as the first senders sent none.
fn message_of(headers: &HeaderMap) -> Result<Message, Fault> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(Message::V1) };
    let text = value.to_str().unwrap_or("?");
    let mut parts = text.split(';').map(str::trim);
    let unknown = || {
        let message = format!(
            "content type {text:?} is not known; send application/x-protobuf, with proto=prometheus.WriteRequest \
             or proto=io.prometheus.write.v2.Request"
        );
        Fault::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message)
    };
    if !parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/x-protobuf")) {
        return Err(unknown());
    }
    let proto = parts.filter_map(|p| p.split_once('=')).find(|(name, _)| name.trim().eq_ignore_ascii_case("proto"));
    match proto.map(|(_, name)| name.trim().trim_matches('"')) {
        None | Some("prometheus.WriteRequest") => Ok(Message::V1),
        Some("io.prometheus.write.v2.Request") => Ok(Message::V2),
        Some(_) => Err(unknown()),
    }
}

/// Undoes the compression: snappy's block format, which is also what a missing encoding means; gzip and zstd are taken too.
fn decompress(headers: &HeaderMap, sent: Bytes, limits: &BodyLimits) -> Result<Bytes, Fault> {
    let encoding = headers.get(header::CONTENT_ENCODING).map_or("snappy", |v| v.to_str().unwrap_or("?").trim());
    if encoding.is_empty() || encoding.eq_ignore_ascii_case("snappy") {
        return body::decode_snappy(&sent, limits);
    }
    body::decode(headers, sent, limits)
}

fn answer(outcome: &Outcome) -> Response {
    let mut response = if outcome.examples.is_empty() {
        StatusCode::NO_CONTENT.into_response()
    } else {
        let message = format!(
            "{} stored, {} refused: {}",
            outcome.samples + outcome.histograms,
            outcome.refused,
            outcome.examples.join("; ")
        );
        Fault::bad_request(message).response(Dialect::Text)
    };
    written(response.headers_mut(), outcome);
    response
}

/// The headers in which 2.0 tells what was written.
fn written(headers: &mut HeaderMap, outcome: &Outcome) {
    headers.insert("x-prometheus-remote-write-samples-written", HeaderValue::from(outcome.samples));
    headers.insert("x-prometheus-remote-write-histograms-written", HeaderValue::from(outcome.histograms));
    headers.insert("x-prometheus-remote-write-exemplars-written", HeaderValue::from(outcome.exemplars));
}
