//! Reads what was measured, in PromQL: whoever wants to check a reading asks for its expression and gets its number.

use std::collections::BTreeMap;

use model::{Budget, Labels, METRIC_NAME, Matcher, Scope, SeriesSource, SourceError, Steps, TimeRange};
use query::{EngineOptions, QueryError, SampleValue, Value};

use super::evidence::{Evidence, Measure, Operator, Reading, Subtask};
use super::facts::{Facts, OperatorFacts};
use super::sources::{
    ATTEMPT_LABEL, JOB_LABELS, Metric, NAME_LABELS, OPERATOR_LABELS, SOURCES, SUBTASK_LABELS, Source,
};
use crate::ingest::ORG;

/// Why nothing could be read.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// An expression could not be evaluated.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// Series could not be read.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// Where numbers come from.
pub(crate) struct Meter<'m> {
    pub(crate) series: &'m dyn SeriesSource,
    pub(crate) scope: &'m Scope,
    pub(crate) options: &'m EngineOptions,
    pub(crate) budget: &'m Budget,
}

/// The times that are asked for, each with so much time before it, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Over {
    pub(crate) steps: Steps,
    pub(crate) window_ms: i64,
}

impl Over {
    fn range(self) -> TimeRange {
        TimeRange { start_ms: self.steps.start_ms.saturating_sub(self.window_ms), end_ms: self.steps.end_ms }
    }
}

/// A label and its value, which a series must have.
type Must = (String, String);

/// Values of one group of series at the times that were asked for.
struct Found {
    labels: Labels,
    points: Vec<(i64, f64)>,
}

/// Values of a measure of an operator over time; none where there is none.
pub type Track = Vec<Option<f64>>;

impl Meter<'_> {
    /// What was measured of a job's operators in the time before the moment of the facts. Operators that no document names
    /// are added from the series.
    ///
    /// # Errors
    /// [`MeasureError`].
    pub(crate) fn evidence(&self, mut facts: Facts, window_ms: i64) -> Result<Evidence, MeasureError> {
        let over = Over { steps: Steps::at(facts.at_ms), window_ms };
        let mut readings = Readings::default();
        let is_named = !facts.operators.is_empty();
        let mut by: Vec<&str> = [&OPERATOR_LABELS[..], &SUBTASK_LABELS, &[ATTEMPT_LABEL]].concat();
        if !is_named {
            by.extend(NAME_LABELS);
        }
        for asked in self.rows(&facts, over)? {
            for found in self.ask(&asked, &by, over)? {
                let (Some(place), Some((_, value))) = (Place::of(&found.labels, &facts), found.points.first()) else {
                    continue;
                };
                let operator = match facts.place(&place.operator) {
                    Some(operator) => operator,
                    None if is_named => continue,
                    None => {
                        facts.operators.push(unnamed(&place));
                        facts.operators.len() - 1
                    }
                };
                let mut must = [asked.of_job.as_slice(), &place.musts].concat();
                must.dedup();
                let expression = asked.expression(&must, None, over.window_ms);
                readings.put(&asked, operator, &place, Reading { value: *value, expression });
            }
        }
        // One operator needs no edges.
        facts.has_graph |= facts.operators.len() == 1;
        let operators = readings.operators(&facts);
        Ok(Evidence { facts, operators, window_ms })
    }

    /// The course of some measures by operator (by its place among those of the facts), all subtasks together.
    ///
    /// # Errors
    /// [`MeasureError`].
    pub(crate) fn tracks(
        &self,
        facts: &Facts,
        measures: &[Measure],
        over: Over,
    ) -> Result<BTreeMap<(Measure, usize), Track>, MeasureError> {
        let mut tracks: BTreeMap<(Measure, usize), (usize, Track)> = BTreeMap::new();
        for asked in self.rows(facts, over)? {
            let measure = asked.source.measure;
            if !measures.contains(&measure) {
                continue;
            }
            for found in self.ask(&asked, &OPERATOR_LABELS, over)? {
                let operator = Place::of(&found.labels, facts).and_then(|place| facts.place(&place.operator));
                let Some(operator) = operator else { continue };
                let empty = || (asked.rank, vec![None; over.steps.count()]);
                let (rank, track) = tracks.entry((measure, operator)).or_insert_with(empty);
                if *rank == asked.rank {
                    lay(track, measure, over.steps, &found.points);
                }
            }
        }
        Ok(tracks.into_iter().map(|(of, (_, track))| (of, track)).collect())
    }

    /// Every row of the table with every metric of it that the job has, in the order of the table.
    fn rows(&self, facts: &Facts, over: Over) -> Result<Vec<Asked>, MeasureError> {
        let (of_job, names) = self.names(facts, over)?;
        let mut rows: Vec<Asked> = Vec::new();
        let mut add = |source: &'static Source, metric: &str, of_job: Vec<Must>| {
            rows.push(Asked { source, rank: rows.len(), metric: metric.to_owned(), of_job });
        };
        for source in SOURCES {
            if let Metric::OfOperator(metric) = source.metric {
                let is_engine = |name: &String| name.split('_').next() == metric.split('_').next();
                let musts = if names.iter().any(is_engine) { of_operators(facts) } else { Vec::new() };
                musts.into_iter().for_each(|must| add(source, metric, vec![must]));
                continue;
            }
            for metric in names.iter().filter(|name| source.metric.is(name)) {
                add(source, metric, of_job.clone());
            }
        }
        Ok(rows)
    }

    /// How series name the job, and the names of all metrics that do.
    fn names(&self, facts: &Facts, over: Over) -> Result<(Vec<Must>, Vec<String>), MeasureError> {
        for label in JOB_LABELS {
            for id in &facts.ids {
                let mut musts = vec![(label.to_owned(), id.clone())];
                musts.extend(self.org(facts, &musts, over)?);
                let names = self.label_values(METRIC_NAME, &musts, over)?;
                if !names.is_empty() {
                    return Ok((musts, names));
                }
            }
        }
        Ok((Vec::new(), Vec::new()))
    }

    /// Tells the series of the job's organization from those of others that have a job of the same id, if there are any. Series
    /// without an organization may be scraped from a cluster that has one.
    fn org(&self, facts: &Facts, musts: &[Must], over: Over) -> Result<Option<Must>, MeasureError> {
        let orgs = self.label_values(ORG, musts, over)?;
        let own = if orgs.contains(&facts.org) { facts.org.as_str() } else { "" };
        Ok((!orgs.is_empty()).then(|| (ORG.to_owned(), own.to_owned())))
    }

    fn label_values(&self, name: &str, musts: &[Must], over: Over) -> Result<Vec<String>, MeasureError> {
        let matchers: Vec<Matcher> = musts.iter().map(|(name, value)| Matcher::equal(name, value)).collect();
        Ok(self.series.label_values(self.scope, name, &matchers, over.range(), self.budget)?)
    }

    fn ask(&self, asked: &Asked, by: &[&str], over: Over) -> Result<Vec<Found>, MeasureError> {
        let expression = asked.expression(&asked.of_job, Some(by), over.window_ms);
        let steps = over.steps;
        if steps.start_ms == steps.end_ms {
            let answer =
                query::run_instant(self.series, self.scope, &expression, steps.start_ms, self.options, self.budget)?;
            let Value::Vector(elements) = answer.value else { return Ok(Vec::new()) };
            let found = elements.into_iter().filter_map(|element| match element.value {
                SampleValue::Float(value) => {
                    Some(Found { labels: element.labels, points: vec![(steps.start_ms, value)] })
                }
                SampleValue::Histogram(_) => None,
            });
            return Ok(found.collect());
        }
        let answer = query::run_range(self.series, self.scope, &expression, steps, self.options, self.budget)?;
        let Value::Matrix(series) = answer.value else { return Ok(Vec::new()) };
        let found = series.into_iter().map(|series| Found {
            labels: series.labels,
            points: series.points.floats().map(|sample| (sample.timestamp_ms, sample.value)).collect(),
        });
        Ok(found.collect())
    }
}

/// One metric of one row of the table, of one job.
struct Asked {
    source: &'static Source,
    /// The place among all that are asked: of one measure of an operator the first that has samples counts.
    rank: usize,
    metric: String,
    /// What all series must have.
    of_job: Vec<Must>,
}

impl Asked {
    /// The values of the series that have all these labels, by others or all together.
    fn expression(&self, must: &[Must], by: Option<&[&str]>, window_ms: i64) -> String {
        let pairs: Vec<String> = must.iter().map(|(name, value)| format!("{name}={}", quoted(value))).collect();
        let of = |metric: &str| format!("{metric}{{{}}}", pairs.join(","));
        // The window first: an id may have the other signs in it.
        let inner = self.source.expression.replace("$w", &duration(window_ms));
        let inner = replaced(&inner, &of(&self.metric), &of(self.source.other));
        let by = by.map(|by| format!(" by ({}) ", by.join(", "))).unwrap_or_default();
        format!("{}{by}({inner})", self.source.measure.together().as_str())
    }
}

/// Puts the selectors into an expression, each once: what stands in one is not looked at again.
fn replaced(expression: &str, first: &str, second: &str) -> String {
    let mut out = String::with_capacity(expression.len() + first.len() + second.len());
    let mut rest = expression;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        out.push_str(if rest[at..].starts_with("$1") { first } else { second });
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    out + rest
}

/// A text of PromQL; what JSON escapes, Go reads.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A duration of PromQL.
pub(super) fn duration(ms: i64) -> String {
    match ms {
        ms if ms % 60_000 == 0 => format!("{}m", ms / 60_000),
        ms if ms % 1000 == 0 => format!("{}s", ms / 1000),
        ms => format!("{ms}ms"),
    }
}

/// How series that do not name a job may name its operators.
fn of_operators(facts: &Facts) -> Vec<Must> {
    let labels = ["stage_id", "source_id", "sink_id"];
    let musts = |operator: &OperatorFacts| labels.map(|label| (label.to_owned(), operator.id.clone()));
    facts.operators.iter().flat_map(musts).collect()
}

/// What a series is of.
struct Place {
    operator: String,
    name: Option<String>,
    subtask: u64,
    attempt: Option<u64>,
    /// The labels that say so, but for the job's.
    musts: Vec<Must>,
}

impl Place {
    /// None of a series that names no operator. The first label that names one of the job's counts, else the first.
    fn of(labels: &Labels, facts: &Facts) -> Option<Place> {
        let first =
            |names: &[&str]| names.iter().find_map(|name| Some(((*name).to_owned(), labels.get(name)?.to_owned())));
        let is_known = |name: &&&str| labels.get(name).is_some_and(|id| facts.place(id).is_some());
        let known = OPERATOR_LABELS.iter().find(is_known).and_then(|name| first(&[name]));
        let operator = known.or_else(|| first(&OPERATOR_LABELS))?;
        let (subtask, attempt) = (first(&SUBTASK_LABELS), first(&[ATTEMPT_LABEL]));
        Some(Place {
            operator: operator.1.clone(),
            name: first(&NAME_LABELS).map(|(_, name)| name),
            // An engine that numbers no subtasks has one.
            subtask: subtask.as_ref().map_or(Some(0), |(_, index)| index.parse().ok())?,
            attempt: attempt.as_ref().and_then(|(_, number)| number.parse().ok()),
            musts: [Some(operator), subtask, attempt].into_iter().flatten().collect(),
        })
    }
}

fn unnamed(place: &Place) -> OperatorFacts {
    let name = place.name.clone().unwrap_or_else(|| place.operator.clone());
    OperatorFacts { id: place.operator.clone(), name, ..OperatorFacts::default() }
}

/// Readings by operator, subtask and measure, while they come in.
#[derive(Default)]
struct Readings {
    /// With the attempt that each is of.
    found: BTreeMap<(usize, u64, Measure), (Option<u64>, Reading)>,
    /// What each measure of an operator comes from.
    ranks: BTreeMap<(usize, Measure), usize>,
    /// The newest attempt of each subtask that any series is of.
    attempts: BTreeMap<(usize, u64), u64>,
}

impl Readings {
    fn put(&mut self, asked: &Asked, operator: usize, place: &Place, reading: Reading) {
        let (measure, rank) = (asked.source.measure, asked.rank);
        if reading.value.is_nan() || *self.ranks.entry((operator, measure)).or_insert(rank) != rank {
            return;
        }
        if let Some(attempt) = place.attempt {
            let newest = self.attempts.entry((operator, place.subtask)).or_insert(attempt);
            *newest = attempt.max(*newest);
        }
        let slot = self.found.entry((operator, place.subtask, measure));
        slot.and_modify(|(attempt, before)| match place.attempt.cmp(attempt) {
            std::cmp::Ordering::Greater => (*attempt, *before) = (place.attempt, reading.clone()),
            // Several series of one subtask, which the expression puts together in the same way.
            std::cmp::Ordering::Equal => before.value = measure.together().of(before.value, reading.value),
            std::cmp::Ordering::Less => {}
        })
        .or_insert((place.attempt, reading.clone()));
    }

    /// What is of the newest attempts, in the order of the facts.
    fn operators(self, facts: &Facts) -> Vec<Operator> {
        let mut subtasks: BTreeMap<(usize, u64), Subtask> = BTreeMap::new();
        for ((operator, index, measure), (attempt, reading)) in self.found {
            let known = facts.operators.get(operator).and_then(|facts| facts.subtasks.get(&index));
            let newest = self.attempts.get(&(operator, index)).copied().max(known.map(|(attempt, _)| *attempt));
            if attempt.is_some() && attempt != newest {
                continue;
            }
            let task_manager = known.and_then(|(_, task_manager)| task_manager.clone());
            let fresh = || Subtask { index, task_manager, ..Subtask::default() };
            subtasks.entry((operator, index)).or_insert_with(fresh).readings.insert(measure, reading);
        }
        let own = |place: usize| subtasks.range((place, 0)..=(place, u64::MAX)).map(|(_, subtask)| subtask.clone());
        (0..facts.operators.len()).map(|place| Operator { subtasks: own(place).collect() }).collect()
    }
}

/// Lays points on a track of the same steps; where there is one already, both become one.
fn lay(track: &mut Track, measure: Measure, steps: Steps, points: &[(i64, f64)]) {
    for (at_ms, value) in points.iter().filter(|(_, value)| !value.is_nan()) {
        let step = usize::try_from((at_ms - steps.start_ms) / steps.step_ms.max(1)).ok();
        if let Some(slot) = step.and_then(|step| track.get_mut(step)) {
            *slot = Some(slot.map_or(*value, |before| measure.together().of(before, *value)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_cannot_break_out_of_an_expression() {
        let source = SOURCES.iter().find(|source| !source.other.is_empty()).unwrap();
        let musts = [("job_id".to_owned(), "a\"} or $2 \\ $w".to_owned())];
        let asked = Asked { source, rank: 0, metric: "arroyo_worker_tx_queue_rem".to_owned(), of_job: Vec::new() };
        let text = asked.expression(&musts, Some(&["node_id"]), 90_000);
        let expected = "max by (node_id) (1 - (avg_over_time(arroyo_worker_tx_queue_rem{job_id=\"a\\\"} or $2 \\\\ $w\"}[90s]) \
                        + 1) / (avg_over_time(arroyo_worker_tx_queue_size{job_id=\"a\\\"} or $2 \\\\ $w\"}[90s]) + 1))";
        assert_eq!(text, expected);
        query::parse(&text, &EngineOptions::default()).unwrap();
        assert_eq!(
            ["2m", "1s", "1500ms"],
            [duration(120_000), duration(1000), duration(1500)].each_ref().map(String::as_str)
        );
    }

    #[test]
    fn a_series_is_of_the_task_before_the_operator_in_it() {
        let labels = |pairs: &[(&str, &str)]| Labels::from_pairs(pairs.iter().copied()).unwrap();
        let of = labels(&[("operator_id", "o"), ("task_id", "t"), ("subtask_index", "3"), ("task_attempt_num", "1")]);
        let unknown = Facts::default();
        let place = Place::of(&of, &unknown).unwrap();
        assert_eq!((place.operator.as_str(), place.subtask, place.attempt), ("t", 3, Some(1)));
        let names: Vec<&str> = place.musts.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["task_id", "subtask_index", "task_attempt_num"]);
        assert_eq!(Place::of(&labels(&[("node_id", "7")]), &unknown).unwrap().subtask, 0);
        assert!(Place::of(&labels(&[("node_id", "7"), ("subtask_idx", "x")]), &unknown).is_none());
        assert!(Place::of(&labels(&[("job_id", "j")]), &unknown).is_none());
        let node = OperatorFacts { id: "7".to_owned(), ..OperatorFacts::default() };
        let known = Facts { operators: vec![node], ..Facts::default() };
        let both = labels(&[("operator_id", "o"), ("node_id", "7")]);
        assert_eq!(Place::of(&both, &known).unwrap().operator, "7", "the one that the documents name");
    }

    #[test]
    fn the_newest_attempt_and_the_first_row_count() {
        let place = |attempt| Place { operator: "t".to_owned(), name: None, subtask: 0, attempt, musts: Vec::new() };
        let reading = |value| Reading { value, expression: String::new() };
        let mut readings = Readings::default();
        let mut put = |measure, rank, attempt, value| {
            let source = SOURCES.iter().find(|source| source.measure == measure).unwrap();
            let asked = Asked { source, rank, metric: String::new(), of_job: Vec::new() };
            readings.put(&asked, 0, &place(Some(attempt)), reading(value));
        };
        put(Measure::Busy, 0, 0, 0.9);
        put(Measure::Busy, 0, 1, 0.2);
        put(Measure::Busy, 1, 1, 0.5);
        put(Measure::Idle, 2, 0, 0.1);
        put(Measure::RecordsIn, 3, 1, 2.0);
        put(Measure::RecordsIn, 3, 1, 3.0);
        let facts = Facts { operators: vec![OperatorFacts::default()], ..Facts::default() };
        let operators = readings.operators(&facts);
        assert_eq!(operators[0].value(Measure::Busy), Some(0.2));
        assert_eq!(operators[0].value(Measure::Idle), None, "of an attempt that is over");
        assert_eq!(operators[0].value(Measure::RecordsIn), Some(5.0));
    }
}
