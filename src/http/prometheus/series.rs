//! `series`, `labels` and `label/{name}/values`: what there is, without samples.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use model::{Budget, Labels, Matcher, Scope, SeriesSource, TimeRange};
use query::EngineOptions;

use super::encode::ListPieces;
use super::error::ApiError;
use super::parameters::Parameters;
use super::query::engine_options;
use super::{JSON, names, stream};
use crate::app::App;
use crate::auth::Caller;
use crate::json::{push_labels, push_text};

/// `GET|POST /api/v1/series`
pub(super) async fn series(
    State(app): State<Arc<App>>,
    caller: Caller,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let asked = Asked::read(&app, &caller, &parameters, true)?;
    let (found, is_cut) = asked
        .run(&app, parameters.timeout()?, |asked, source, selections, budget| {
            let mut all = BTreeSet::new();
            for matchers in selections {
                let set = source.select(&asked.scope, matchers, asked.range, budget)?;
                // Each set is sorted, so no series behind the limit can be among the first of the union.
                let wanted = asked.limit.map_or(usize::MAX, |limit| limit.saturating_add(1));
                for i in 0..set.len().min(wanted) {
                    budget.check()?;
                    all.insert(set.labels(i)?);
                    asked.check_size(all.len())?;
                }
            }
            Ok(all)
        })
        .await?;
    Ok(stream::respond(ListPieces::new(found, is_cut, |out, labels: &Labels| push_labels(out, labels)), JSON))
}

/// `GET|POST /api/v1/labels`
pub(super) async fn labels(
    State(app): State<Arc<App>>,
    caller: Caller,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let asked = Asked::read(&app, &caller, &parameters, false)?;
    let found = asked
        .run(&app, parameters.timeout()?, |asked, source, selections, budget| {
            asked.united(selections, |matchers| source.label_names(&asked.scope, matchers, asked.range, budget))
        })
        .await?;
    Ok(respond_texts(found))
}

/// `GET /api/v1/label/{name}/values`
pub(super) async fn values(
    State(app): State<Arc<App>>,
    caller: Caller,
    name: Result<Path<String>, PathRejection>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let Path(name) = name.map_err(|_| ApiError::bad_data("invalid label name: it is not UTF-8"))?;
    let name = names::unescape(&name);
    if name.is_empty() {
        return Err(ApiError::bad_data("invalid label name: \"\""));
    }
    let asked = Asked::read(&app, &caller, &parameters, false)?;
    let found = asked
        .run(&app, parameters.timeout()?, move |asked, source, selections, budget| {
            asked.united(selections, |matchers| source.label_values(&asked.scope, &name, matchers, asked.range, budget))
        })
        .await?;
    Ok(respond_texts(found))
}

fn respond_texts((texts, is_cut): (Vec<String>, bool)) -> Response {
    stream::respond(ListPieces::new(texts, is_cut, |out, text: &String| push_text(out, text)), JSON)
}

/// What these endpoints have in common.
struct Asked {
    scope: Scope,
    selectors: Vec<String>,
    range: TimeRange,
    limit: Option<usize>,
    size_max: usize,
    options: EngineOptions,
}

impl Asked {
    fn read(app: &App, caller: &Caller, parameters: &Parameters, must_select: bool) -> Result<Asked, ApiError> {
        let selectors: Vec<String> = parameters.all("match[]").map(str::to_owned).collect();
        if must_select && selectors.is_empty() {
            return Err(ApiError::bad_data("no match[] parameter provided"));
        }
        Ok(Asked {
            scope: caller.scope(),
            selectors,
            limit: parameters.limit()?,
            range: parameters.range()?,
            size_max: app.config.query_max_series,
            options: engine_options(app),
        })
    }

    /// Runs the search on a worker; gives the sorted elements within the limit and whether there were more.
    async fn run<T: Send + 'static>(
        self,
        app: &Arc<App>,
        timeout: Option<std::time::Duration>,
        search: impl FnOnce(&Asked, &storage::Snapshot, &[Vec<Matcher>], &Budget) -> Result<BTreeSet<T>, ApiError>
        + Send
        + 'static,
    ) -> Result<(Vec<T>, bool), ApiError> {
        let db = Arc::clone(&app.db);
        let done = app.workers.query(timeout, move |budget| {
            let mut selections = parse_selections(self.selectors.iter().map(String::as_str), &self.options)?;
            if selections.is_empty() {
                selections.push(Vec::new());
            }
            if self.range.is_empty() {
                return Ok((Vec::new(), false));
            }
            let found = search(&self, &db.snapshot(), &selections, budget)?;
            let is_cut = self.limit.is_some_and(|limit| found.len() > limit);
            Ok((found.into_iter().take(self.limit.unwrap_or(usize::MAX)).collect(), is_cut))
        });
        done.await?
    }

    /// The union over all selections.
    fn united(
        &self,
        selections: &[Vec<Matcher>],
        list: impl Fn(&[Matcher]) -> Result<Vec<String>, model::SourceError>,
    ) -> Result<BTreeSet<String>, ApiError> {
        let mut all = BTreeSet::new();
        for matchers in selections {
            all.extend(list(matchers)?);
            self.check_size(all.len())?;
        }
        Ok(all)
    }

    /// Refuses an answer above `query.max_series`, unless the client asked for less.
    fn check_size(&self, size: usize) -> Result<(), ApiError> {
        if size > self.size_max && self.limit.is_none_or(|limit| limit > self.size_max) {
            return Err(ApiError::limit("query.max_series", self.size_max, "; narrow match[] or give limit"));
        }
        Ok(())
    }
}

/// Reads the values of `match[]`. Without any there are no selections: what that means is the caller's to say.
///
/// # Errors
/// 400 with the position, also for a selector that any series passes, such as `{}`.
pub(in crate::http) fn parse_selections<'a>(
    selectors: impl Iterator<Item = &'a str>,
    options: &EngineOptions,
) -> Result<Vec<Vec<Matcher>>, ApiError> {
    let parse = |text| query::parse_matchers(text, options).map_err(|e| ApiError::of_query("match[]", &e));
    selectors.map(parse).collect()
}
