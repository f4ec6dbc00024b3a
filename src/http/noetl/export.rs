//! `GET /api/metrics/prometheus`: the newest value of each series that received a sample lately, for any scraper.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use ::http::{HeaderMap, StatusCode, Uri, header};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use model::{Budget, Metadata, is_stale};
use storage::{Db, Latest};

use super::answer::Failure;
use super::parameters::Parameters;
use super::selection::{Selection, failed};
use crate::app::App;
use crate::auth::Caller;
use crate::exposition::{Escaping, FamilySample, Negotiated, encode, group, negotiate};
use crate::families::Families;
use crate::http::error::Fault;

/// Bytes of text for each byte of labels, and for each line besides: what an answer is charged for in advance.
const TEXT_PER_LABEL_BYTE: usize = 2;
const TEXT_PER_LINE: usize = 64;

pub(super) async fn export(
    State(app): State<Arc<App>>,
    caller: Caller,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let selection = Selection::of(&caller, &Parameters::of(&uri)?)?;
    let wanted = negotiate(&headers, false);
    let state = Arc::clone(&app);
    let text = app.workers.query(None, move |budget| write(&state, &selection, wanted, budget)).await??;
    Ok(([(header::CONTENT_TYPE, wanted.content_type())], text).into_response())
}

fn write(app: &App, selection: &Selection, mut wanted: Negotiated, budget: &Budget) -> Result<String, Failure> {
    let matchers = selection.matchers(app, &app.db.snapshot(), budget).map_err(|error| failed(&error))?;
    let Some(matchers) = matchers else { return Ok(String::new()) };
    let since_ms = app.clock.now_ms().saturating_sub(app.config.export_window.ms());
    let mut latest =
        app.db.latest(&selection.scope, &matchers, since_ms, budget).map_err(|error| failed(&error.into()))?;
    latest.retain(|newest| !is_stale(newest.sample.value));
    check_size(app, &latest, budget)?;
    let (samples, metadata) = escaped(&app.db, latest, wanted.escaping);
    let families = group(samples, |name| metadata.get(name).cloned());
    // Names are escaped already; a second time would change them once more.
    wanted.escaping = Escaping::AllowUtf8;
    Ok(encode(&families, wanted))
}

fn check_size(app: &App, latest: &[Latest], budget: &Budget) -> Result<(), Failure> {
    let limit = app.config.query_max_series;
    if latest.len() > limit {
        let message = format!("{} series to export: limit query.max_series = {limit} reached", latest.len());
        return Err(Fault::new(StatusCode::UNPROCESSABLE_ENTITY, message).into());
    }
    let text_bytes: usize = latest.iter().map(|l| l.labels.heap_bytes() * TEXT_PER_LABEL_BYTE + TEXT_PER_LINE).sum();
    budget.take_bytes(text_bytes as u64).map_err(|error| failed(&error.into()))
}

/// Samples with names as the reader takes them, each series once, and what is known about their families under those
/// names. Escaped before they are grouped: different names may have become one family.
fn escaped(db: &Db, latest: Vec<Latest>, escaping: Escaping) -> (Vec<FamilySample>, HashMap<String, Metadata>) {
    let mut families = Families::new(db);
    let (mut metadata, mut looked_up) = (HashMap::new(), HashSet::new());
    let mut changed = HashSet::new();
    let mut samples = Vec::with_capacity(latest.len());
    for newest in latest {
        let labels = escaping.apply_to_labels(&newest.labels);
        let name = newest.labels.metric_name();
        if !looked_up.contains(name) {
            looked_up.insert(name.to_owned());
            let (family, what) = families.named(name);
            metadata.entry(escaping.apply(family).into_owned()).or_insert_with(|| what.clone());
        }
        if labels != newest.labels && !changed.insert(labels.clone()) {
            continue;
        }
        samples.push(FamilySample { labels, value: newest.sample.value, timestamp_ms: None });
    }
    // A plain series goes before one that only looks like it now.
    if !changed.is_empty() {
        let mut seen = HashSet::new();
        samples.sort_by_key(|sample| changed.contains(&sample.labels));
        samples.retain(|sample| seen.insert(sample.labels.clone()));
    }
    (samples, metadata)
}
