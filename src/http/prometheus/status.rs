//! `status/*`: what the server is and how it was started, in the shapes that Prometheus's clients read.

mod cardinality;

use std::sync::Arc;

use ::http::StatusCode;
use axum::extract::State;
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::parameters::Parameters;
use super::time::rfc3339;
use crate::app::App;
use crate::auth::Caller;
use crate::config::{Config, OPTIONS};
use crate::http::error::json_response;

/// The Prometheus whose API and PromQL this is: clients decide by it what they may ask.
const PROMETHEUS_VERSION: &str = "3.5.0";

fn success(data: &Value) -> Response {
    json_response(StatusCode::OK, &json!({"status": "success", "data": data}))
}

/// `GET /api/v1/status/buildinfo`. No `features`: Grafana would take us for another product.
pub(super) async fn build() -> Response {
    success(&json!({
        "version": PROMETHEUS_VERSION,
        "revision": concat!("streamgauge-", env!("CARGO_PKG_VERSION")),
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    }))
}

/// `GET /api/v1/status/runtimeinfo`, with what has a meaning outside Go.
pub(super) async fn runtime(State(app): State<Arc<App>>) -> Response {
    let directory = std::env::current_dir().map(|d| d.display().to_string()).unwrap_or_default();
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let loaded = app.scrape.loaded();
    success(&json!({
        "startTime": rfc3339(app.started_ms),
        "CWD": directory,
        "hostname": host,
        "serverTime": rfc3339(app.clock.now_ms()),
        "reloadConfigSuccess": loaded.is_ok,
        "lastConfigTime": rfc3339(loaded.at_ms.unwrap_or(app.started_ms)),
        "storageRetention": retention(&app.config),
    }))
}

/// As Prometheus says it: `30d or 10GiB`.
fn retention(config: &Config) -> String {
    let shown = |name: &str| OPTIONS.iter().find(|o| o.name == name).map(|o| (o.show)(config)).unwrap_or_default();
    match (shown("retention"), shown("retention_size")) {
        (age, size) if age == "0" && size == "0" => "for ever".to_owned(),
        (age, size) if age == "0" => size,
        (age, size) if size == "0" => age,
        (age, size) => format!("{age} or {size}"),
    }
}

/// `GET /api/v1/status/flags`: each option under its flag's name.
pub(super) async fn flags(State(app): State<Arc<App>>) -> Response {
    let all: Map<String, Value> = OPTIONS.iter().map(|o| (o.flag(), (o.show)(&app.config).into())).collect();
    success(&Value::Object(all))
}

/// `GET /api/v1/status/config`: the scrape configuration without its secrets; empty without a file.
pub(super) async fn config(State(app): State<Arc<App>>) -> Response {
    success(&json!({"yaml": app.scrape.config().redacted}))
}

/// `GET /api/v1/status/tsdb`: what the most series come from.
pub(super) async fn tsdb(
    State(app): State<Arc<App>>,
    caller: Caller,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let wrong = || ApiError::bad_data("limit must be a positive number");
    let limit = match parameters.get("limit") {
        None => 10,
        Some(text) => text.parse::<usize>().ok().filter(|n| *n > 0).ok_or_else(wrong)?,
    };
    let (db, scope) = (Arc::clone(&app.db), caller.scope());
    let counted = app.workers.query(None, move |budget| cardinality::count(&db.snapshot(), &scope, limit, budget));
    Ok(success(&counted.await??))
}

/// `GET /api/v1/status/walreplay`: the server listens only after the replay, so it is always over.
pub(super) async fn wal_replay() -> Response {
    success(&json!({"min": 0, "max": 0, "current": 0}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retention_in_words() {
        let mut config = Config::defaults().unwrap();
        assert_eq!(retention(&config), "auto");
        config.retention.0 = 86_400_000;
        assert_eq!(retention(&config), "1d or auto");
        config.retention_size = crate::config::RetentionSize::Unbounded;
        assert_eq!(retention(&config), "1d");
        config.retention.0 = 0;
        assert_eq!(retention(&config), "for ever");
    }
}
