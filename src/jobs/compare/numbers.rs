//! What is compared, and from which difference on it counts.

use super::{Course, Pair, Side};
use crate::jobs::diagnosis::{Measure, Track, Unit, number, percent, span};
use crate::jobs::model::state::CheckpointState;

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Compared {
    /// Records per second that the sources send.
    Throughput,
    /// How long it ran, of two that have ended.
    Runtime,
    /// How long it took until it ran.
    StartUp,
    /// How often it restarted.
    Restarts,
    /// How long its checkpoints took, on average.
    CheckpointDuration,
    /// How many of them failed.
    CheckpointFailures,
    /// The size of the newest.
    StateBytes,
    /// The number of an operator's subtasks.
    Parallelism,
    /// A measure of an operator.
    Of(Measure),
}

/// Whether more is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tendency {
    /// It is.
    MoreIsBetter,
    /// It is not.
    LessIsBetter,
    /// It depends.
    Open,
}

/// What became of a number from the first run to the second; what matters most comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// It matters, and is for the worse.
    Worse,
    /// It matters, and is for the better.
    Better,
    /// It matters; whether it is good depends.
    Other,
    /// It does not matter.
    Same,
    /// One of them is not known.
    Unknown,
}

impl Change {
    /// The word in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Change::Worse => "worse",
            Change::Better => "better",
            Change::Other => "different",
            Change::Same => "same",
            Change::Unknown => "unknown",
        }
    }

    /// True if it matters.
    pub fn is_notable(self) -> bool {
        matches!(self, Change::Worse | Change::Better | Change::Other)
    }
}

/// A number of both runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Number {
    /// What it is.
    pub of: Compared,
    /// The operator, where it is of one.
    pub pair: Option<Pair>,
    /// The operator's name.
    pub name: Option<String>,
    /// In the first run.
    pub a: Option<f64>,
    /// In the second.
    pub b: Option<f64>,
    /// What became of it.
    pub change: Change,
}

/// Share of the larger by which two numbers must differ to matter.
const DIFFERENT: f64 = 0.10;
/// Difference of two shares of time from which on it matters.
const SHARE_DIFFERENT: f64 = 0.10;
/// The same of times, in milliseconds: less is noise.
const TIME_DIFFERENT_MS: f64 = 1_000.0;
/// The same of rates, in records per second.
const RATE_DIFFERENT: f64 = 1.0;

impl Compared {
    /// The word in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Compared::Throughput => "throughput",
            Compared::Runtime => "runtime",
            Compared::StartUp => "start_up",
            Compared::Restarts => "restarts",
            Compared::CheckpointDuration => "checkpoint_duration",
            Compared::CheckpointFailures => "checkpoint_failures",
            Compared::StateBytes => "state_bytes",
            Compared::Parallelism => "parallelism",
            Compared::Of(measure) => measure.as_str(),
        }
    }

    /// What it counts.
    pub fn unit(self) -> Unit {
        match self {
            Compared::Throughput => Unit::RecordsPerSecond,
            Compared::Runtime | Compared::StartUp | Compared::CheckpointDuration => Unit::Milliseconds,
            Compared::Restarts | Compared::CheckpointFailures | Compared::Parallelism => Unit::Count,
            Compared::StateBytes => Unit::Bytes,
            Compared::Of(measure) => measure.unit(),
        }
    }

    /// Whether more of it is good.
    pub fn tendency(self) -> Tendency {
        match self {
            Compared::Throughput | Compared::Of(Measure::RecordsIn | Measure::RecordsOut) => Tendency::MoreIsBetter,
            // More state or more work may be what the second run was made for.
            Compared::StateBytes | Compared::Parallelism | Compared::Of(Measure::Busy | Measure::Idle) => {
                Tendency::Open
            }
            _ => Tendency::LessIsBetter,
        }
    }

    /// The difference from which on it matters at all, whatever share of the number it is.
    fn floor(self) -> f64 {
        match self.unit() {
            Unit::Ratio => SHARE_DIFFERENT,
            Unit::Milliseconds => TIME_DIFFERENT_MS,
            Unit::RecordsPerSecond => RATE_DIFFERENT,
            Unit::Count | Unit::Records | Unit::Bytes => 1.0,
        }
    }

    /// What became of it.
    pub fn change(self, a: Option<f64>, b: Option<f64>) -> Change {
        let (Some(a), Some(b)) = (a, b) else { return Change::Unknown };
        let (difference, larger) = ((b - a).abs(), a.abs().max(b.abs()));
        // Shares are compared as they are, and one restart more is one too many.
        let is_relative = !matches!(self.unit(), Unit::Ratio | Unit::Count);
        // What was given up on the way from binary to decimal must not decide.
        let reaches = |limit: f64| difference >= limit * (1.0 - 1e-9);
        if !reaches(self.floor()) || (is_relative && !reaches(DIFFERENT * larger)) {
            return Change::Same;
        }
        match (self.tendency(), b > a) {
            (Tendency::Open, _) => Change::Other,
            (Tendency::MoreIsBetter, true) | (Tendency::LessIsBetter, false) => Change::Better,
            _ => Change::Worse,
        }
    }

    fn shown(self, value: f64) -> String {
        match self.unit() {
            Unit::Ratio => percent(value),
            Unit::Milliseconds => span(value),
            Unit::RecordsPerSecond => format!("{}/s", number(value)),
            Unit::Bytes => format!("{} bytes", number(value)),
            Unit::Count | Unit::Records => number(value),
        }
    }

    fn title(self) -> &'static str {
        match self {
            Compared::Throughput => "records sent by the sources",
            Compared::Runtime => "time from start to end",
            Compared::StartUp => "time until it ran",
            Compared::Restarts => "restarts",
            Compared::CheckpointDuration => "duration of checkpoints",
            Compared::CheckpointFailures => "failed checkpoints",
            Compared::StateBytes => "state",
            Compared::Parallelism => "subtasks",
            Compared::Of(Measure::Busy) => "busy",
            Compared::Of(Measure::Backpressured) => "waiting for room to send",
            Compared::Of(Measure::OutputQueue) => "fill of the queues behind it",
            Compared::Of(Measure::RecordsIn) => "records in",
            Compared::Of(Measure::RecordsOut) => "records out",
            Compared::Of(Measure::WatermarkLag) => "watermark behind the clock",
            Compared::Of(measure) => measure.as_str(),
        }
    }
}

impl Number {
    fn new(of: Compared, whose: Option<(Pair, &str)>, a: Option<f64>, b: Option<f64>) -> Number {
        let (a, b) = (a.filter(|a| a.is_finite()), b.filter(|b| b.is_finite()));
        let (pair, name) = (whose.map(|(pair, _)| pair), whose.map(|(_, name)| name.to_owned()));
        Number { of, pair, name, a, b, change: of.change(a, b) }
    }

    /// The second by the first; none if the first is 0 or one of them is not known.
    pub fn ratio(&self) -> Option<f64> {
        self.a.zip(self.b).filter(|(a, _)| *a != 0.0).map(|(a, b)| b / a)
    }

    /// How large the difference is, for those of one kind: of numbers of the whole run more than of one operator.
    pub(super) fn weight(&self) -> f64 {
        let (Some(a), Some(b)) = (self.a, self.b) else { return 0.0 };
        let share = match self.of.unit() {
            Unit::Ratio => (b - a).abs(),
            _ => (b - a).abs() / a.abs().max(b.abs()).max(f64::MIN_POSITIVE),
        };
        share + if self.pair.is_none() { 1.0 } else { 0.0 }
    }

    /// `busy of `score` 99 % instead of 61 %`
    pub(super) fn described(&self) -> String {
        let whose = self.name.as_ref().map(|name| format!(" of `{name}`")).unwrap_or_default();
        let shown = |value: Option<f64>| value.map_or_else(|| "unknown".to_owned(), |value| self.of.shown(value));
        let word = match self.change {
            Change::Worse => " (worse)",
            Change::Better => " (better)",
            _ => "",
        };
        format!("{}{whose} {} instead of {}{word}", self.of.title(), shown(self.b), shown(self.a))
    }
}

/// The means of two courses over the steps at which both are known; of one alone, where the other is known nowhere.
fn means(a: &Track, b: &Track) -> (Option<f64>, Option<f64>) {
    let mean = |values: Vec<f64>| (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64);
    let known = |track: &Track| track.iter().flatten().copied().collect::<Vec<f64>>();
    if known(a).is_empty() || known(b).is_empty() {
        return (mean(known(a)), mean(known(b)));
    }
    let both: Vec<(f64, f64)> = a.iter().zip(b).filter_map(|(a, b)| a.zip(*b)).collect();
    (mean(both.iter().map(|(a, _)| *a).collect()), mean(both.iter().map(|(_, b)| *b).collect()))
}

/// All numbers of two runs over so many milliseconds since each began.
pub(super) fn numbers(a: &Side, b: &Side, pairs: &[Pair], courses: &[Course], length_ms: i64) -> Vec<Number> {
    let runtime = |side: &Side| (a.is_over && b.is_over).then_some(side.length_ms as f64);
    let whole = |of, value: &dyn Fn(&Side) -> Option<f64>| Number::new(of, None, value(a), value(b));
    let mut numbers = vec![
        throughput(a, b, courses),
        whole(Compared::Runtime, &runtime),
        whole(Compared::StartUp, &|side| side.start_up_ms.map(|ms| ms as f64)),
        whole(Compared::Restarts, &|side| Some(within(&side.restarts_ms, length_ms) as f64)),
        whole(Compared::CheckpointDuration, &|side| checkpoint_duration(side, length_ms)),
        whole(Compared::CheckpointFailures, &|side| checkpoint_failures(side, length_ms)),
        whole(Compared::StateBytes, &|side| state_bytes(side, length_ms)),
    ];
    for pair in pairs {
        let name = name(a, b, *pair);
        let parallelism =
            |side: &Side, place: Option<usize>| Some(side.facts.operators.get(place?)?.parallelism? as f64);
        let (of_a, of_b) = (parallelism(a, pair.a), parallelism(b, pair.b));
        numbers.push(Number::new(Compared::Parallelism, Some((*pair, name)), of_a, of_b));
        for course in courses.iter().filter(|course| course.pair == *pair) {
            let (of_a, of_b) = means(&course.a, &course.b);
            numbers.push(Number::new(Compared::Of(course.measure), Some((*pair, name)), of_a, of_b));
        }
    }
    numbers
}

fn name<'s>(a: &'s Side, b: &'s Side, pair: Pair) -> &'s str {
    let of = |side: &'s Side, place: Option<usize>| side.facts.operators.get(place?).map(|facts| facts.name.as_str());
    of(a, pair.a).or(of(b, pair.b)).unwrap_or_default()
}

fn within(times_ms: &[i64], length_ms: i64) -> usize {
    times_ms.iter().filter(|at_ms| **at_ms <= length_ms).count()
}

/// What the sources send, if it is known which operators these are.
fn throughput(a: &Side, b: &Side, courses: &[Course]) -> Number {
    let is_source = |side: &Side, place: Option<usize>| {
        place.and_then(|place| side.facts.operators.get(place)).is_none_or(|facts| !facts.is_fed)
    };
    let sent = courses.iter().filter(|course| {
        course.measure == Measure::RecordsOut && is_source(a, course.pair.a) && is_source(b, course.pair.b)
    });
    let (mut of_a, mut of_b): (Option<f64>, Option<f64>) = (None, None);
    let is_known = a.facts.has_graph && b.facts.has_graph;
    for course in sent.filter(|_| is_known) {
        let (more_a, more_b) = means(&course.a, &course.b);
        of_a = more_a.map(|more| more + of_a.unwrap_or(0.0)).or(of_a);
        of_b = more_b.map(|more| more + of_b.unwrap_or(0.0)).or(of_b);
    }
    Number::new(Compared::Throughput, None, of_a, of_b)
}

fn checkpoint_duration(side: &Side, length_ms: i64) -> Option<f64> {
    let completed =
        side.checkpoints.iter().filter(|one| one.state == CheckpointState::Completed && one.at_ms <= length_ms);
    let durations: Vec<f64> = completed.map(|one| one.duration_ms as f64).collect();
    (!durations.is_empty()).then(|| durations.iter().sum::<f64>() / durations.len() as f64)
}

fn checkpoint_failures(side: &Side, length_ms: i64) -> Option<f64> {
    let ended = side.checkpoints.iter().filter(|one| one.at_ms <= length_ms);
    let failed = ended.clone().filter(|one| one.state == CheckpointState::Failed).count();
    (ended.count() > 0).then_some(failed as f64)
}

fn state_bytes(side: &Side, length_ms: i64) -> Option<f64> {
    let completed =
        side.checkpoints.iter().filter(|one| one.state == CheckpointState::Completed && one.at_ms <= length_ms);
    completed.max_by_key(|one| one.at_ms).map(|one| one.state_bytes as f64)
}
