//! One scrape, one batch: lines to samples, markers for what is gone, and the five series about the scrape.
//!
//! A line whose bytes were seen before is not parsed: its hash leads to its series, from the scrape before or by
//! [`Batch::resolve`].

use std::borrow::Cow;
use std::collections::BTreeMap;

use model::{Histogram, MetricType};
use storage::{Batch, RawKey, Resolved, SeriesRef};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::body::Body;
use super::config::Job;
use super::staleness::{REPORTS, Sighting, Tracker};
use crate::exposition::{Entry, ExemplarLine, Parser, SeriesLine, parse_labels};
use crate::ingest::{Description, Ingest, Origin, Refused, Rejection, example, secret_seed};

/// What a scrape came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Counts {
    /// Lines with samples.
    pub(super) scraped: u64,
    /// Those that relabelling left.
    pub(super) kept: u64,
    /// Those whose series was not in the scrape before.
    pub(super) added: u64,
    /// Lines that stood in the scrape twice; the first counts.
    pub(super) duplicates: u64,
    /// Series that were refused, those about the scrape included; the rest is taken.
    pub(super) refused: u64,
    /// The first of them and why.
    pub(super) first_refused: Option<String>,
}

impl Counts {
    fn refuse(&mut self, ingest: &Ingest, rejection: &Rejection, what: &str) {
        ingest.reject(Origin::Scrape, Refused::Samples(1), rejection, what);
        self.refused += 1;
        self.first_refused.get_or_insert_with(|| example(what, rejection));
    }
}

/// The parts that a scrape's samples pass through.
#[derive(Clone, Copy)]
pub(super) struct Intake<'a> {
    pub(super) ingest: &'a Ingest,
    pub(super) job: &'a Job,
    /// `ingest.max_batch_samples`
    pub(super) samples_max: usize,
}

/// Takes in the answer of a target, or the failure to get one. The result says whether the target is up, and if not
/// why; when the batch cannot be made durable, that is the reason, and the target's series are as they were.
pub(super) fn take_in(
    intake: Intake<'_>,
    tracker: &mut Tracker,
    fetched: Result<Body, String>,
    timestamp_ms: i64,
    duration_s: f64,
) -> Result<Counts, String> {
    tracker.begin();
    let (mut counts, result) = match fetched {
        Err(error) => (Counts::default(), Err(error)),
        Ok(body) => match take_body(intake, tracker, body, timestamp_ms, duration_s) {
            Ok(counts) => return Ok(counts),
            Err(Failure::NotDurable(error)) => return Err(error),
            Err(Failure::Scrape(counts, error)) => (counts, Err(error)),
        },
    };
    let mut batch = intake.ingest.batch();
    tracker.mark_gone(&mut batch, &[], timestamp_ms);
    let about = values(false, duration_s, &counts);
    report(intake.ingest, &mut batch, tracker, timestamp_ms, about, &mut counts);
    intake.ingest.commit(Origin::Scrape, batch).map_err(|e| e.to_string())?;
    tracker.failed();
    result
}

/// Ends the series of a target that is gone.
///
/// # Errors
/// The batch cannot be made durable.
pub(super) fn end(ingest: &Ingest, tracker: &Tracker, timestamp_ms: i64) -> Result<(), String> {
    let mut batch = ingest.batch();
    tracker.mark_end(&mut batch, timestamp_ms);
    if batch.is_empty() {
        return Ok(());
    }
    ingest.commit(Origin::Scrape, batch).map(drop).map_err(|e| e.to_string())
}

enum Failure {
    /// The scrape is wrong; how far it was read.
    Scrape(Counts, String),
    NotDurable(String),
}

fn take_body(
    intake: Intake<'_>,
    tracker: &mut Tracker,
    body: Body,
    timestamp_ms: i64,
    duration_s: f64,
) -> Result<Counts, Failure> {
    let text = body.text().map_err(|error| Failure::Scrape(Counts::default(), error))?;
    let mut lines = Lines {
        intake,
        tracker: &mut *tracker,
        batch: intake.ingest.batch(),
        pushed: Vec::new(),
        counts: Counts::default(),
        timestamp_ms,
        metric_type: MetricType::Unknown,
        metadata_digest: secret_seed(),
    };
    let read = lines.read_all(Parser::new(&text, body.format()), &body);
    let Lines { mut batch, mut pushed, mut counts, metadata_digest, .. } = lines;
    if let Err(error) = read {
        tracker.undo();
        return Err(Failure::Scrape(counts, error));
    }
    let has_new_metadata = metadata_digest != tracker.metadata_digest;
    if has_new_metadata {
        describe(intake.ingest, &mut batch, Parser::new(&text, body.format()));
    }
    let about = values(true, duration_s, &counts);
    pushed.extend(report(intake.ingest, &mut batch, tracker, timestamp_ms, about, &mut counts));
    tracker.mark_gone(&mut batch, &pushed, timestamp_ms);
    if let Err(error) = intake.ingest.commit(Origin::Scrape, batch) {
        tracker.undo();
        return Err(Failure::NotDurable(error.to_string()));
    }
    drop(text);
    if has_new_metadata {
        tracker.metadata_digest = metadata_digest;
    }
    tracker.succeeded(body);
    Ok(counts)
}

fn values(is_up: bool, duration_s: f64, counts: &Counts) -> [f64; REPORTS.len()] {
    [f64::from(u8::from(is_up)), duration_s, counts.scraped as f64, counts.kept as f64, counts.added as f64]
}

/// Pushes the series about the scrape; gives them back.
fn report(
    ingest: &Ingest,
    batch: &mut Batch<'_>,
    tracker: &Tracker,
    timestamp_ms: i64,
    values: [f64; REPORTS.len()],
    counts: &mut Counts,
) -> Vec<SeriesRef> {
    let mut pushed = Vec::with_capacity(REPORTS.len());
    for (name, value) in REPORTS.into_iter().zip(values) {
        let key = tracker.report_key(name);
        let series = match batch.resolve(key) {
            Some(Resolved::Series(series)) => Some(series),
            _ => tracker.labels().report(name).ok().and_then(|labels| {
                let defined = batch.define(Some(key), &labels);
                defined.map_err(|refusal| counts.refuse(ingest, &refusal.into(), name)).ok()
            }),
        };
        if let Some(series) = series
            && batch.push(series, timestamp_ms, value).is_ok()
        {
            pushed.push(series);
        }
    }
    pushed
}

/// A scrape while it is read.
struct Lines<'a, 'b> {
    intake: Intake<'a>,
    tracker: &'b mut Tracker,
    batch: Batch<'a>,
    pushed: Vec<SeriesRef>,
    counts: Counts,
    timestamp_ms: i64,
    /// Of the lines that are being read.
    metric_type: MetricType,
    metadata_digest: u64,
}

impl Lines<'_, '_> {
    /// Reads all lines. An error fails the whole scrape.
    fn read_all(&mut self, parser: Parser<'_>, body: &Body) -> Result<(), String> {
        for entry in parser {
            match entry.map_err(|e| e.to_string())? {
                Entry::Help { family, help } => self.digest(&family, &help),
                Entry::Type { family, metric_type } => {
                    self.metric_type = metric_type;
                    self.digest(&family, metric_type.as_str());
                }
                Entry::Unit { family, unit } => self.digest(&family, unit),
                Entry::Series(line) => self.read(&line, body)?,
            }
        }
        Ok(())
    }

    fn digest(&mut self, family: &str, text: &str) {
        let digest = xxh3_64_with_seed(family.as_bytes(), self.metadata_digest);
        self.metadata_digest = xxh3_64_with_seed(text.as_bytes(), digest);
    }

    fn read(&mut self, line: &SeriesLine<'_>, body: &Body) -> Result<(), String> {
        self.counts.scraped += 1;
        let key = self.tracker.key(line.raw);
        let held = self.tracker.held(key).and_then(|held| self.batch.resume(held));
        let found = if held.is_some() { held } else { self.series(key, line)? };
        let Some(series) = found else { return Ok(()) };
        let own_time = line.timestamp_ms.filter(|_| self.intake.job.honor_timestamps);
        let is_tracked = own_time.is_none() || self.intake.job.track_timestamps_staleness;
        self.counts.kept += 1;
        self.check_samples()?;
        match self.tracker.sight(key, self.batch.hold(series), is_tracked) {
            Sighting::New => self.counts.added += 1,
            Sighting::Known => {}
            // With times of their own, equal lines are samples of different times.
            Sighting::Again if own_time.is_none() => {
                self.counts.duplicates += 1;
                return Ok(());
            }
            Sighting::Again => {}
        }
        let timestamp_ms = own_time.unwrap_or(self.timestamp_ms);
        let pushed = match body.histogram(line.line) {
            None => self.batch.push(series, timestamp_ms, line.value).map_err(Rejection::from),
            Some((histogram, is_integer)) => self.push_histogram(series, timestamp_ms, histogram.clone(), *is_integer),
        };
        match pushed {
            Ok(()) => self.pushed.push(series),
            Err(rejection) => self.reject(Refused::Samples(1), &rejection, line.raw),
        }
        if let Some(exemplar) = &line.exemplar
            && let Err(rejection) = self.push_exemplar(series, exemplar, timestamp_ms)
        {
            self.reject(Refused::Exemplar, &rejection, line.raw);
        }
        Ok(())
    }

    fn push_histogram(
        &mut self,
        series: SeriesRef,
        timestamp_ms: i64,
        mut histogram: Histogram,
        is_integer: bool,
    ) -> Result<(), Rejection> {
        self.intake.ingest.fit_histogram(&mut histogram, is_integer)?;
        Ok(self.batch.push_histogram(series, timestamp_ms, histogram)?)
    }

    fn check_samples(&self) -> Result<(), String> {
        if let Some(limit) = self.intake.job.limits.samples.filter(|limit| self.counts.kept > *limit) {
            return Err(format!("sample limit exceeded: limit sample_limit = {limit} reached"));
        }
        let limit = self.intake.samples_max;
        if self.counts.kept > limit as u64 {
            return Err(format!("too many samples in one scrape: limit ingest.max_batch_samples = {limit} reached"));
        }
        Ok(())
    }

    /// The series of a line; none if it is dropped or refused.
    fn series(&mut self, key: RawKey, line: &SeriesLine<'_>) -> Result<Option<SeriesRef>, String> {
        match self.batch.resolve(key) {
            Some(Resolved::Series(series)) => return Ok(Some(series)),
            Some(Resolved::Dropped) => return Ok(None),
            None => {}
        }
        let at_line = |message: String| format!("line {}: {message}", line.line);
        let pairs = parse_labels(line.raw).map_err(at_line)?;
        let scraped = || pairs.iter().map(|(n, v)| (n.as_ref(), v.as_ref()));
        if let Some(name) = duplicate_name(scraped().map(|(name, _)| name)) {
            return Err(at_line(format!("label {name:?} is there twice")));
        }
        let Some(labels) = self.tracker.labels().of(self.metric_type, scraped()).map_err(|e| at_line(e.to_string()))?
        else {
            self.batch.define_dropped(key);
            return Ok(None);
        };
        let defined = match self.intake.ingest.limits().check(labels.iter()) {
            Ok(()) => self.batch.define(Some(key), &labels).map_err(Rejection::from),
            Err(rejection) => Err(rejection),
        };
        // One series over a limit of the server costs itself, not its neighbours.
        Ok(defined.map_err(|rejection| self.counts.refuse(self.intake.ingest, &rejection, line.raw)).ok())
    }

    fn push_exemplar(
        &mut self,
        series: SeriesRef,
        exemplar: &ExemplarLine<'_>,
        timestamp_ms: i64,
    ) -> Result<(), Rejection> {
        let labels = exemplar.labels.iter().map(|(n, v)| (n.as_ref(), v.as_ref()));
        let timestamp_ms = exemplar.timestamp_ms.unwrap_or(timestamp_ms);
        self.batch.push_exemplar(series, self.intake.ingest.exemplar(labels, exemplar.value, timestamp_ms)?);
        Ok(())
    }

    fn reject(&self, refused: Refused, rejection: &Rejection, what: &str) {
        self.intake.ingest.reject(Origin::Scrape, refused, rejection, what);
    }
}

fn duplicate_name<'a>(names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut sorted: Vec<&str> = names.collect();
    sorted.sort_unstable();
    sorted.windows(2).find(|pair| pair.first() == pair.last()).and_then(|pair| pair.first().copied())
}

/// What the series of [`REPORTS`] say, for people.
const REPORT_HELP: [&str; REPORTS.len()] = [
    "1 if the last scrape of the target succeeded, else 0.",
    "How long the scrape took.",
    "Samples that the target exposed.",
    "Samples that were left after relabelling.",
    "Series that the scrape before did not have.",
];

/// What a scrape says of one family, in lines that need not stand together.
#[derive(Default)]
struct Said<'a> {
    metric_type: MetricType,
    help: Cow<'a, str>,
    unit: &'a str,
}

/// Says what the families of a scrape are, those about the scrape included.
fn describe(ingest: &Ingest, batch: &mut Batch<'_>, parser: Parser<'_>) {
    let mut families: BTreeMap<Cow<'_, str>, Said<'_>> = BTreeMap::new();
    for (name, help) in REPORTS.into_iter().zip(REPORT_HELP) {
        families.insert(name.into(), Said { metric_type: MetricType::Gauge, help: help.into(), unit: "" });
    }
    for entry in parser.flatten() {
        match entry {
            Entry::Help { family, help } => families.entry(family).or_default().help = help,
            Entry::Type { family, metric_type } => {
                let said = families.entry(family).or_default();
                if metric_type != MetricType::Unknown {
                    said.metric_type = metric_type;
                }
            }
            Entry::Unit { family, unit } => families.entry(family).or_default().unit = unit,
            Entry::Series(_) => {}
        }
    }
    for (family, Said { metric_type, help, unit }) in &families {
        ingest.describe(Origin::Scrape, batch, Description { family, metric_type: *metric_type, help, unit });
    }
}

#[cfg(test)]
mod tests;
