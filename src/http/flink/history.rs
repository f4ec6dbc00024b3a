//! Metrics at one moment, as Flink gives them, or over time, which is ours: with `start` (and `end`, `step`) every path that
//! ends in `/metrics` gives in place of a value the values at each step, as pairs of a time in milliseconds and the value.
//! There, jobs that have ended have the metrics that they had.

use std::collections::BTreeMap;

use model::{Budget, SampleColumns, Steps, TimeRange, is_stale};
use serde_json::{Value, json};

use super::answer::Failure;
use super::io::LOOKBACK_MS;
use super::metric_id::{self, Family, Naming};
use super::parameters::Parameters;
use super::view::View;
use crate::config::{Duration, OptionValue};

/// Steps unless `step` says how long one is.
const STEPS: i64 = 250;
/// The shortest step that is taken if none is asked for, in milliseconds.
const STEP_MS_MIN: i64 = 1_000;

/// Memory of a pair of time and value in an answer, in bytes: three values of JSON with what they hold, and their text.
const PAIR_BYTES: u64 = 192;

/// Values by member and metric id.
pub(super) type Members<V> = BTreeMap<String, BTreeMap<String, V>>;

/// Puts the values of members together; there is at least one.
pub(super) type Aggregate = fn(&[f64]) -> f64;

/// At which times metrics are read, and what an answer shows of them.
pub(super) trait Reads {
    /// What is read of one metric.
    type Value: Clone;

    /// True if what has ended has metrics all the same.
    const IS_PAST: bool;

    /// Reads the series with these labels. `now_ms` is the moment, where there is one.
    fn values(
        &self,
        view: &View<'_>,
        now_ms: i64,
        family: Family,
        labels: &[(&str, &str)],
        names: &[String],
    ) -> Result<Members<Self::Value>, Failure>;

    /// As a metric of one thing.
    ///
    /// # Errors
    /// The account of the query is empty: a request may name one metric many times.
    fn shown(&self, id: &str, value: &Self::Value) -> Result<Value, Failure>;

    /// As a number put together from several members, of which there is at least one.
    ///
    /// # Errors
    /// As [`Reads::shown`].
    fn together(&self, of: Aggregate, members: &[&Self::Value]) -> Result<Value, Failure>;
}

/// The newest values before the moment.
pub(super) struct Newest;

impl Reads for Newest {
    type Value = f64;

    const IS_PAST: bool = false;

    fn values(
        &self,
        view: &View<'_>,
        now_ms: i64,
        family: Family,
        labels: &[(&str, &str)],
        names: &[String],
    ) -> Result<Members<f64>, Failure> {
        metric_id::values(view, now_ms, family, labels, names)
    }

    fn shown(&self, id: &str, value: &f64) -> Result<Value, Failure> {
        Ok(metric_id::text(id, *value).into())
    }

    fn together(&self, of: Aggregate, members: &[&f64]) -> Result<Value, Failure> {
        Ok(metric_id::number(of(&members.iter().map(|value| **value).collect::<Vec<_>>())))
    }
}

/// The values at each step.
pub(super) struct History<'h> {
    /// When.
    pub(super) steps: Steps,
    /// Pays for what is shown.
    pub(super) budget: &'h Budget,
}

/// The values of one metric at the steps; none where there is none.
pub(super) type Track = Vec<Option<f64>>;

impl Reads for History<'_> {
    type Value = Track;

    const IS_PAST: bool = true;

    fn values(
        &self,
        view: &View<'_>,
        _now_ms: i64,
        family: Family,
        labels: &[(&str, &str)],
        names: &[String],
    ) -> Result<Members<Track>, Failure> {
        let Steps { start_ms, end_ms, .. } = self.steps;
        let range = TimeRange { start_ms: start_ms.saturating_sub(LOOKBACK_MS), end_ms };
        let naming = Naming::of(family, names);
        let set = view.series.select(&view.scope, &naming.matchers(labels)?, range, view.budget)?;
        // With the attempt that each value is of.
        let mut found: Members<Vec<Option<(u64, f64)>>> = BTreeMap::new();
        let mut samples = SampleColumns::default();
        for i in 0..set.len() {
            view.budget.check().map_err(model::SourceError::from)?;
            let Some(named) = naming.named(&set.labels(i)?) else { continue };
            set.samples(i, range, view.budget, &mut samples)?;
            let ids = found.entry(named.member).or_default();
            let track = match ids.entry(named.id) {
                std::collections::btree_map::Entry::Occupied(track) => track.into_mut(),
                std::collections::btree_map::Entry::Vacant(place) => {
                    let bytes = self.steps.count() * size_of::<Option<(u64, f64)>>();
                    view.budget.take_bytes(bytes as u64).map_err(model::SourceError::from)?;
                    place.insert(vec![None; self.steps.count()])
                }
            };
            lay(track, self.steps, named.attempt, &samples);
        }
        let track =
            |track: Vec<Option<(u64, f64)>>| track.into_iter().map(|value| value.map(|(_, value)| value)).collect();
        let has_any = |track: &Track| track.iter().any(Option::is_some);
        let member = |(member, ids): (String, BTreeMap<String, _>)| {
            let ids = ids.into_iter().map(|(id, values)| (id, track(values))).filter(|(_, values)| has_any(values));
            (member, ids.collect())
        };
        Ok(found.into_iter().map(member).collect())
    }

    fn shown(&self, id: &str, value: &Track) -> Result<Value, Failure> {
        self.pairs(value, |value| metric_id::text(id, value).into())
    }

    fn together(&self, of: Aggregate, members: &[&Track]) -> Result<Value, Failure> {
        let at = |step: usize| {
            let values: Vec<f64> = members.iter().filter_map(|track| track.get(step).copied().flatten()).collect();
            (!values.is_empty()).then(|| of(&values))
        };
        self.pairs(&(0..self.steps.count()).map(at).collect(), metric_id::number)
    }
}

impl History<'_> {
    /// `[[time, value], …]`, of the steps that have one.
    fn pairs(&self, track: &Track, shown: impl Fn(f64) -> Value) -> Result<Value, Failure> {
        let count = track.iter().flatten().count() as u64;
        self.budget.take_bytes(count * PAIR_BYTES).map_err(model::SourceError::from)?;
        let pair = |(step, value): (usize, &Option<f64>)| Some(json!([self.steps.time_ms(step), shown((*value)?)]));
        Ok(track.iter().enumerate().filter_map(pair).collect::<Vec<_>>().into())
    }
}

/// Lays the samples of a series on the steps: at each the newest that is not too old, unless the series ended with it. Of two
/// attempts the newer counts.
fn lay(track: &mut [Option<(u64, f64)>], steps: Steps, attempt: u64, samples: &SampleColumns) {
    let mut coming = samples.floats().peekable();
    let mut newest = None;
    for (step, slot) in track.iter_mut().enumerate() {
        let at_ms = steps.time_ms(step);
        while let Some(sample) = coming.next_if(|sample| sample.timestamp_ms <= at_ms) {
            newest = Some(sample);
        }
        let is_there =
            |sample: &model::Sample| at_ms.saturating_sub(sample.timestamp_ms) < LOOKBACK_MS && !is_stale(sample.value);
        if let Some(sample) = newest.filter(is_there)
            && slot.is_none_or(|(before, _)| before <= attempt)
        {
            *slot = Some((attempt, sample.value));
        }
    }
}

/// The steps that a request asks for, if it asks for a history; `now_ms` is the end unless it names one.
///
/// # Errors
/// 400 for what is no time, no duration, or too much.
pub(super) fn steps(parameters: &Parameters, now_ms: i64, steps_max: usize) -> Result<Option<Steps>, Failure> {
    if ["start", "end", "step"].iter().all(|name| parameters.text(name).is_none()) {
        return Ok(None);
    }
    let start_ms =
        parameters.time("start")?.ok_or_else(|| Failure::bad_request("start is missing: history has one."))?;
    let end_ms = parameters.time("end")?.unwrap_or(now_ms);
    if end_ms < start_ms {
        return Err(Failure::bad_request("end lies before start."));
    }
    let even_ms = (end_ms.saturating_sub(start_ms) / STEPS).max(STEP_MS_MIN);
    let step_ms = match parameters.text("step") {
        Some(text) => step(text).ok_or_else(|| Failure::unresolved("query", "step", text))?,
        None => even_ms,
    };
    let steps = Steps { start_ms, end_ms, step_ms };
    if steps.count() > steps_max {
        let count = steps.count();
        return Err(Failure::bad_request(format!(
            "{count} steps are too many: limit query.max_steps = {steps_max} reached."
        )));
    }
    Ok(Some(steps))
}

/// Milliseconds, or a duration with a unit.
fn step(text: &str) -> Option<i64> {
    let with_unit = || Duration::parse(text).ok().and_then(|span| i64::try_from(span.0).ok());
    text.parse().ok().or_else(with_unit).filter(|ms| *ms > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(query: &str) -> Parameters {
        Parameters::of(&format!("/x?{query}").parse().unwrap()).unwrap()
    }

    #[test]
    fn steps_are_as_asked_and_bounded() {
        let of = |query: &str| steps(&parameters(query), 500_000, 10);
        let asked = |start_ms, end_ms, step_ms| Ok(Some(Steps { start_ms, end_ms, step_ms }));
        assert_eq!(of("get=a"), Ok(None));
        assert_eq!(of("start=0&end=9000&step=1000"), asked(0, 9000, 1000));
        assert_eq!(of("start=0&end=90000&step=10s"), asked(0, 90_000, 10_000));
        assert_eq!(of("start=495000"), asked(495_000, 500_000, 1000));
        let refused = |query: &str| format!("{:?}", of(query).unwrap_err());
        assert!(refused("start=0&end=10000&step=1000").contains("limit query.max_steps = 10 reached"));
        assert!(refused("end=9").contains("start is missing"));
        assert!(refused("start=9&end=8").contains("before start"));
        for bad in ["start=noon", "start=0&end=x", "start=0&step=0", "start=0&step=-1", "start=0&step=x"] {
            assert!(refused(bad).contains("Cannot resolve query parameter"), "{bad}");
        }
    }

    #[test]
    fn a_step_has_the_newest_value_of_the_newest_attempt() {
        let steps = Steps { start_ms: 0, end_ms: 400_000, step_ms: 100_000 };
        let series = |pairs: &[(i64, f64)]| {
            let mut samples = SampleColumns::default();
            pairs.iter().for_each(|(at_ms, value)| samples.push(*at_ms, *value));
            samples
        };
        let mut track = vec![None; steps.count()];
        lay(&mut track, steps, 0, &series(&[(-10, 1.0), (50, 2.0), (100_000, 3.0), (150_000, model::stale_nan())]));
        assert_eq!(track, [Some((0, 1.0)), Some((0, 3.0)), None, None, None]);
        lay(&mut track, steps, 1, &series(&[(90_000, 7.0)]));
        let of_second = Some((1, 7.0));
        assert_eq!(track, [Some((0, 1.0)), of_second, of_second, of_second, None], "the last is too old");
        lay(&mut track, steps, 0, &series(&[(0, 9.0)]));
        assert_eq!(track[1], of_second, "an older attempt changes nothing");
    }

    const THREE: Steps = Steps { start_ms: 1000, end_ms: 3000, step_ms: 1000 };

    #[test]
    fn members_are_put_together_step_by_step() {
        let budget = Budget::unlimited();
        let history = History { steps: THREE, budget: &budget };
        let (a, b) = (vec![Some(1.0), None, None], vec![Some(3.0), Some(5.0), None]);
        let sum: Aggregate = |values| values.iter().sum();
        assert_eq!(history.together(sum, &[&a, &b]), Ok(json!([[1000, 4.0], [2000, 5.0]])));
        assert_eq!(history.shown("numRecordsIn", &b), Ok(json!([[1000, "3"], [2000, "5"]])));
    }

    #[test]
    fn what_is_shown_is_paid_for_each_time() {
        let budget = Budget::new(0, 5 * PAIR_BYTES);
        let history = History { steps: THREE, budget: &budget };
        let track = vec![Some(3.0), Some(5.0), None];
        assert!(history.shown("numRecordsIn", &track).is_ok() && history.together(|_| 0.0, &[&track]).is_ok());
        let refused = format!("{:?}", history.shown("numRecordsIn", &track).unwrap_err());
        assert!(refused.contains("400") && refused.contains("limit query.max_bytes = 960"), "{refused}");
    }
}
