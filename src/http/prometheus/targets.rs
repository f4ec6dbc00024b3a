//! `targets` and `scrape_pools`: what is scraped, and how the last scrape of each went.

use std::collections::BTreeMap;
use std::sync::Arc;

use ::http::StatusCode;
use axum::extract::State;
use axum::response::Response;
use model::{Labels, Scope};
use serde_json::{Map, Value, json};

use super::parameters::Parameters;
use super::time::rfc3339;
use crate::app::App;
use crate::auth::Caller;
use crate::config::OptionValue;
use crate::http::error::json_response;
use crate::scrape::{ActiveTarget, Targets};

/// What Prometheus says of a target that was never scraped (Go's zero time).
const NEVER: &str = "0001-01-01T00:00:00Z";

/// `GET /api/v1/targets`. As in Prometheus an unknown `state` selects neither kind.
pub(super) async fn targets(State(app): State<Arc<App>>, caller: Caller, parameters: Parameters) -> Response {
    let (mut targets, mut pools) = visible(&app, &caller.scope());
    if let Some(pool) = parameters.get("scrapePool") {
        targets.active.retain(|t| t.scrape_pool == pool);
        targets.dropped.retain(|t| t.scrape_pool == pool);
        pools.retain(|name| name == pool);
    }
    let state = parameters.get("state").unwrap_or("any").to_ascii_lowercase();
    json_response(StatusCode::OK, &json!({"status": "success", "data": data(&targets, &pools, &state)}))
}

/// `GET /api/v1/scrape_pools`
pub(super) async fn pools(State(app): State<Arc<App>>, caller: Caller) -> Response {
    let (_, names) = visible(&app, &caller.scope());
    json_response(StatusCode::OK, &json!({"status": "success", "data": {"scrapePools": names}}))
}

/// The targets and names of jobs that may be seen. A target belongs to the organization in its labels; one that was dropped
/// has none.
fn visible(app: &App, scope: &Scope) -> (Targets, Vec<String>) {
    let (mut targets, mut pools) = (app.scrape.targets(), app.scrape.pool_names());
    if let Some(forced) = scope.forced() {
        targets.active.retain(|target| forced.matches(target.labels.get(forced.name()).unwrap_or_default()));
        targets.dropped.clear();
        pools.retain(|name| targets.active.iter().any(|target| target.scrape_pool == *name));
    }
    (targets, pools)
}

fn data(targets: &Targets, pools: &[String], state: &str) -> Value {
    let (with_active, with_dropped) = (matches!(state, "any" | "active"), matches!(state, "any" | "dropped"));
    let active: Vec<Value> = targets.active.iter().filter(|_| with_active).map(active).collect();
    let dropped: Vec<Value> = targets
        .dropped
        .iter()
        .filter(|_| with_dropped)
        .map(|t| json!({"discoveredLabels": object(&t.discovered_labels), "scrapePool": t.scrape_pool}))
        .collect();
    let mut counts: BTreeMap<&str, usize> = pools.iter().map(|name| (name.as_str(), 0)).collect();
    for target in &targets.dropped {
        *counts.entry(&target.scrape_pool).or_default() += 1;
    }
    let counts = with_dropped.then_some(counts);
    json!({"activeTargets": active, "droppedTargets": dropped, "droppedTargetCounts": counts})
}

fn active(target: &ActiveTarget) -> Value {
    json!({
        "discoveredLabels": object(&target.discovered_labels),
        "labels": object(&target.labels),
        "scrapePool": target.scrape_pool,
        "scrapeUrl": target.scrape_url,
        "globalUrl": target.scrape_url,
        "lastError": target.last_error,
        "lastScrape": target.last_scrape_ms.map_or_else(|| NEVER.to_owned(), rfc3339),
        "lastScrapeDuration": target.last_duration_s,
        "health": target.health.as_str(),
        "scrapeInterval": target.interval.show(),
        "scrapeTimeout": target.timeout.show(),
    })
}

fn object(labels: &Labels) -> Map<String, Value> {
    labels.iter().map(|(name, value)| (name.to_owned(), value.into())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Duration;
    use crate::scrape::{DroppedTarget, Health};

    fn example() -> Targets {
        let labels = |name: &str| Labels::from_pairs([("__address__", name), ("job", "a")]).unwrap();
        let active = ActiveTarget {
            scrape_pool: "a".to_owned(),
            discovered_labels: labels("h:1"),
            labels: labels("h:1").filtered(|name| name == "job"),
            scrape_url: "http://h:1/metrics".to_owned(),
            interval: Duration(15_000),
            timeout: Duration(10_000),
            health: Health::Down,
            last_error: "refused".to_owned(),
            last_scrape_ms: Some(1_500),
            last_duration_s: 0.25,
        };
        let dropped = DroppedTarget { scrape_pool: "a".to_owned(), discovered_labels: labels("h:2") };
        Targets { active: vec![active], dropped: vec![dropped] }
    }

    #[test]
    fn targets_in_the_shape_of_prometheus() {
        let pools = ["a".to_owned(), "b".to_owned()];
        assert_eq!(
            data(&example(), &pools, "any"),
            json!({
                "activeTargets": [{
                    "discoveredLabels": {"__address__": "h:1", "job": "a"},
                    "labels": {"job": "a"},
                    "scrapePool": "a",
                    "scrapeUrl": "http://h:1/metrics",
                    "globalUrl": "http://h:1/metrics",
                    "lastError": "refused",
                    "lastScrape": "1970-01-01T00:00:01.5Z",
                    "lastScrapeDuration": 0.25,
                    "health": "down",
                    "scrapeInterval": "15s",
                    "scrapeTimeout": "10s",
                }],
                "droppedTargets": [{"discoveredLabels": {"__address__": "h:2", "job": "a"}, "scrapePool": "a"}],
                "droppedTargetCounts": {"a": 1, "b": 0},
            })
        );
    }

    #[test]
    fn a_state_selects() {
        let sizes = |state: &str| {
            let data = data(&example(), &[], state);
            let length = |key: &str| data[key].as_array().unwrap().len();
            (length("activeTargets"), length("droppedTargets"), data["droppedTargetCounts"].is_null())
        };
        assert_eq!(sizes("active"), (1, 0, true));
        assert_eq!(sizes("dropped"), (0, 1, false));
        assert_eq!(sizes("bogus"), (0, 0, true));
    }
}
