//! How much went through the tasks of a job that only series tell of, where an engine without Flink's metrics counts it.

use model::{
    Budget, METRIC_NAME, MatchOp, Matcher, SampleColumns, Scope, SeriesSource, SourceError, TimeRange, is_stale,
};

use super::rules::rules;
use super::sighting::JobKey;
use crate::jobs::Subject;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    BytesIn,
    BytesOut,
    RecordsIn,
    RecordsOut,
}

/// The counters of engines.
const COUNTERS: [(&str, Flow); 5] = [
    ("arroyo_worker_bytes_recv", Flow::BytesIn),
    ("arroyo_worker_bytes_sent", Flow::BytesOut),
    ("arroyo_worker_messages_recv", Flow::RecordsIn),
    ("arroyo_worker_messages_sent", Flow::RecordsOut),
    // Its other counters name no pipeline.
    ("conveyor_router_records_routed_total", Flow::RecordsIn),
];

/// Ends of the names of others, behind an underscore or alone: those that the diagnosis goes by, and bytes.
const ENDINGS: [(&str, Flow); 4] = [
    ("records_in_total", Flow::RecordsIn),
    ("records_out_total", Flow::RecordsOut),
    ("bytes_in_total", Flow::BytesIn),
    ("bytes_out_total", Flow::BytesOut),
];

/// What a metric counts; none if it is another.
fn flow(name: &str) -> Option<Flow> {
    let is_end = |end: &str| name.strip_suffix(end).is_some_and(|rest| rest.is_empty() || rest.ends_with('_'));
    let exact = COUNTERS.iter().find(|(counter, _)| *counter == name);
    exact.or_else(|| ENDINGS.iter().find(|(end, _)| is_end(end))).map(|(_, flow)| *flow)
}

/// All of them as one expression.
fn names() -> String {
    let list = |of: &[(&'static str, Flow)]| of.iter().map(|(name, _)| *name).collect::<Vec<_>>().join("|");
    format!("{}|(.*_)?({})", list(&COUNTERS), list(&ENDINGS))
}

/// Calls `each` with the operator, the subtask and the newest value in the range of each series that counts. Several of one
/// task, such as those of a source with several connections, are parts of one count.
///
/// # Errors
/// [`SourceError`].
pub(crate) fn counts(
    series: &dyn SeriesSource,
    scope: &Scope,
    job: &Subject,
    range: TimeRange,
    budget: &Budget,
    mut each: impl FnMut(&str, u64, Flow, f64),
) -> Result<(), SourceError> {
    let key = JobKey { org: job.org.clone(), id: job.id.clone() };
    let by_name =
        Matcher::new(METRIC_NAME, MatchOp::Regex, names()).map_err(|e| SourceError::Storage(e.to_string()))?;
    let mut samples = SampleColumns::default();
    for rule in rules() {
        let mut matchers = rule.matchers_of(&key);
        matchers.push(by_name.clone());
        let set = series.select(scope, &matchers, range, budget)?;
        for i in 0..set.len() {
            budget.check()?;
            set.newest(i, range, true, budget, &mut samples)?;
            let Some(sample) = samples.floats().next_back().filter(|sample| !is_stale(sample.value)) else { continue };
            let labels = set.labels(i)?;
            let Some(named) = rule.read(&labels) else { continue };
            if let (Some(operator), Some(flow)) = (named.operator, flow(labels.metric_name())) {
                each(operator, named.subtask.unwrap_or(0), flow, sample.value);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_known_by_their_names_or_how_these_end() {
        let by_name = Matcher::new(METRIC_NAME, MatchOp::Regex, names()).unwrap();
        for (name, expected) in [
            ("arroyo_worker_messages_recv", Some(Flow::RecordsIn)),
            ("arroyo_worker_bytes_sent", Some(Flow::BytesOut)),
            ("conveyor_router_records_routed_total", Some(Flow::RecordsIn)),
            ("etl_records_out_total", Some(Flow::RecordsOut)),
            ("bytes_in_total", Some(Flow::BytesIn)),
            ("arroyo_worker_tx_queue_size", None),
            ("conveyor_router_retry_events_total", None),
            ("megabytes_in_total", None),
            ("records_in_total_bucket", None),
        ] {
            assert_eq!((flow(name), by_name.matches(name)), (expected, expected.is_some()), "{name}");
        }
    }
}
