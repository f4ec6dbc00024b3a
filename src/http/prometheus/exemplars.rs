//! `query_exemplars`: the exemplars of all series that an expression selects.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use model::{Labels, Matcher};
use query::ast::{Expr, Node};
use storage::Exemplar;

use super::encode::ListPieces;
use super::error::ApiError;
use super::number::{push_sample, push_timestamp};
use super::parameters::Parameters;
use super::query::engine_options;
use super::{JSON, stream};
use crate::app::App;
use crate::auth::Caller;
use crate::json::push_labels;

/// `GET|POST /api/v1/query_exemplars`. Grafana probes it with times in milliseconds: read as seconds they lie far in
/// the future, where nothing is.
pub(super) async fn query(
    State(app): State<Arc<App>>,
    caller: Caller,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let range = parameters.range()?;
    if range.is_empty() {
        return Err(ApiError::bad_data("end timestamp must not be before start timestamp"));
    }
    let expression = parameters.get("query").unwrap_or_default().to_owned();
    let (options, db) = (engine_options(&app), Arc::clone(&app.db));
    let (size_max, scope) = (app.config.query_max_series, caller.scope());
    let found = app.workers.query(parameters.timeout()?, move |budget| {
        let expr = query::parse(&expression, &options).map_err(|e| ApiError::of_query("query", &e))?;
        let mut all: BTreeMap<Labels, Vec<Exemplar>> = BTreeMap::new();
        for matchers in selectors(&expr) {
            budget.check()?;
            all.extend(db.exemplars(&scope, matchers, range));
            if all.len() > size_max {
                return Err(ApiError::limit("query.max_series", size_max, ""));
            }
        }
        Ok(all.into_iter().collect::<Vec<_>>())
    });
    Ok(stream::respond(ListPieces::new(found.await??, false, push_series), JSON))
}

fn push_series(out: &mut Vec<u8>, (labels, exemplars): &(Labels, Vec<Exemplar>)) {
    out.extend_from_slice(b"{\"seriesLabels\":");
    push_labels(out, labels);
    out.extend_from_slice(b",\"exemplars\":[");
    for (i, exemplar) in exemplars.iter().enumerate() {
        out.extend_from_slice(if i == 0 { b"{\"labels\":" } else { b",{\"labels\":" });
        push_labels(out, &exemplar.labels);
        out.extend_from_slice(b",\"value\":\"");
        push_sample(out, exemplar.value);
        out.extend_from_slice(b"\",\"timestamp\":");
        push_timestamp(out, exemplar.timestamp_ms);
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
}

/// The matchers of each selector in the expression.
fn selectors(expr: &Expr) -> Vec<&[Matcher]> {
    let (mut found, mut open) = (Vec::new(), vec![expr]);
    while let Some(expr) = open.pop() {
        match &expr.node {
            Node::Number { .. } | Node::String(_) => {}
            Node::VectorSelector(selector) | Node::MatrixSelector { selector, .. } => {
                found.push(selector.matchers.as_slice());
            }
            Node::Subquery { expr, .. } | Node::Unary { expr, .. } | Node::Paren(expr) => open.push(expr),
            Node::Binary(binary) => open.extend([&binary.left, &binary.right]),
            Node::Aggregation(aggregation) => {
                open.extend(aggregation.param.as_ref());
                open.push(&aggregation.expr);
            }
            Node::Call { args, .. } => open.extend(args),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_selectors_of_an_expression_are_found() {
        let options = query::EngineOptions::default();
        let text = "sum by (x) (rate(a[5m] offset 1m)) + topk(scalar(b), -max_over_time(c[5m:1m])) * (1)";
        let expr = query::parse(text, &options).unwrap();
        let mut names: Vec<&str> = selectors(&expr).iter().map(|matchers| matchers[0].value()).collect();
        names.sort_unstable();
        assert_eq!(names, ["a", "b", "c"]);
    }

    #[test]
    fn exemplars_as_json() {
        let labels = |name: &str, value: &str| Labels::from_pairs([(name, value)]).unwrap();
        let exemplar = |timestamp_ms| Exemplar { labels: labels("trace_id", "t"), value: 0.5, timestamp_ms };
        let mut out = Vec::new();
        push_series(&mut out, &(labels("__name__", "a"), vec![exemplar(1_500), exemplar(2_000)]));
        assert_eq!(
            String::from_utf8(out).unwrap(),
            concat!(
                r#"{"seriesLabels":{"__name__":"a"},"exemplars":["#,
                r#"{"labels":{"trace_id":"t"},"value":"0.5","timestamp":1.500},"#,
                r#"{"labels":{"trace_id":"t"},"value":"0.5","timestamp":2}]}"#
            )
        );
    }
}
