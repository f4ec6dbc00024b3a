//! `/federate`: the latest samples of selected series, for another Prometheus to scrape.

use std::collections::BTreeMap;
use std::sync::Arc;

use ::http::HeaderMap;
use axum::extract::State;
use axum::response::Response;
use model::{Budget, Labels, Matcher, Sample, SampleColumns, Scope, SeriesSource, TimeRange, is_stale};

use super::error::ApiError;
use super::parameters::Parameters;
use super::query::engine_options;
use super::series::parse_selections;
use super::stream::{self, Pieces};
use crate::app::App;
use crate::auth::Caller;
use crate::exposition::{Family, Negotiated, encode, negotiate, write_line};

/// Samples by metric name, then labels: a name's lines must stand together.
type Latest = BTreeMap<(String, Labels), Sample>;

/// `GET /federate`. Errors are text here. As in Prometheus no types are told: selected parts of a histogram are none.
/// Series get the `external_labels` of the scrape configuration that they lack.
pub(super) async fn federate(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    parameters: Result<Parameters, ApiError>,
) -> Response {
    let wanted = negotiate(&headers, false);
    let latest = match parameters {
        Ok(parameters) => latest(&app, caller.scope(), parameters).await,
        Err(error) => Err(error),
    };
    match latest {
        Ok(latest) => {
            let external = external_labels(&app.scrape.config().external_labels);
            let lines = Lines { latest: latest.into_iter(), before: String::new(), external, wanted };
            stream::respond(lines, &wanted.content_type())
        }
        Err(error) => error.as_text(),
    }
}

async fn latest(app: &Arc<App>, scope: Scope, parameters: Parameters) -> Result<Latest, ApiError> {
    let options = engine_options(app);
    let end_ms = app.clock.now_ms();
    // Open on the left, as instant selectors are.
    let range = TimeRange { start_ms: end_ms.saturating_sub(options.lookback_delta_ms).saturating_add(1), end_ms };
    let (db, size_max) = (Arc::clone(&app.db), app.config.query_max_series);
    let found = app.workers.query(parameters.timeout()?, move |budget| {
        let selections = parse_selections(parameters.all("match[]"), &options)?;
        read_latest(&db.snapshot(), &scope, &selections, range, size_max, budget)
    });
    found.await?
}

/// The newest sample in the range of each series that one of the selections has; series that ended are left out, and so
/// are native histograms, which the text format cannot carry.
fn read_latest(
    source: &dyn SeriesSource,
    scope: &Scope,
    selections: &[Vec<Matcher>],
    range: TimeRange,
    size_max: usize,
    budget: &Budget,
) -> Result<Latest, ApiError> {
    let mut found = Latest::new();
    let mut columns = SampleColumns::default();
    for matchers in selections {
        let set = source.select(scope, matchers, range, budget)?;
        for i in 0..set.len() {
            set.samples(i, range, budget, &mut columns)?;
            let newest_histogram = columns.histograms.last().map(|(ms, _)| *ms);
            let is_shown = |sample: &Sample| !is_stale(sample.value) && Some(sample.timestamp_ms) > newest_histogram;
            let Some(last) = columns.floats().next_back().filter(is_shown) else { continue };
            let labels = set.labels(i)?;
            // A line must begin with a name.
            if labels.metric_name().is_empty() {
                continue;
            }
            found.insert((labels.metric_name().to_owned(), labels), last);
            if found.len() > size_max {
                return Err(ApiError::limit("query.max_series", size_max, "; narrow match[]"));
            }
        }
    }
    Ok(found)
}

/// The labels that series get which lack them, sorted by name. There is always an `instance`: without it the reader would
/// put its own, this server's, on a series that has none.
fn external_labels(configured: &Labels) -> Vec<(String, String)> {
    let instance = configured.get("instance").is_none().then_some(("instance", ""));
    let mut all: Vec<_> = configured.iter().chain(instance).map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
    all.sort();
    all
}

/// The lines, a head before each name.
struct Lines {
    latest: std::collections::btree_map::IntoIter<(String, Labels), Sample>,
    before: String,
    external: Vec<(String, String)>,
    wanted: Negotiated,
}

impl Pieces for Lines {
    fn push_next(&mut self, out: &mut Vec<u8>) -> bool {
        let Some(((name, labels), sample)) = self.latest.next() else { return false };
        let mut text = String::new();
        if name != self.before {
            let head = Family { name: name.clone(), metadata: model::Metadata::default(), samples: Vec::new() };
            text = encode(&[head], self.wanted);
            self.before = name;
        }
        let external = self.external.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let pairs = labels.iter().chain(external.filter(|(name, _)| labels.get(name).is_none()));
        write_line(&mut text, pairs, sample.value, Some(sample.timestamp_ms), self.wanted);
        out.extend_from_slice(text.as_bytes());
        true
    }
}
