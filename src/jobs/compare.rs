//! Two runs side by side, on the time since each began: what is different, and what of it matters.
//!
//! [`Side`] is what the documents say of one run (`side.rs`); [`Course`]s are measures of both on the same steps. [`compare`]
//! is a pure function of these: it pairs operators, puts numbers beside each other and says which differences matter
//! (`numbers.rs` has the table of what is compared and from which difference on it counts).

mod numbers;
mod side;

use std::collections::{BTreeMap, HashMap};

pub use numbers::{Change, Compared, Number, Tendency};
pub use side::{CheckpointPoint, Side};

use super::diagnosis::{Measure, OperatorFacts, Track};
use super::model::run::Settings;

/// The measures whose course is compared.
pub const MEASURES: [Measure; 6] = [
    Measure::RecordsIn,
    Measure::RecordsOut,
    Measure::Busy,
    Measure::Backpressured,
    Measure::OutputQueue,
    Measure::WatermarkLag,
];

/// The tracks of a run, by measure and the operator's place in its facts.
pub type Tracks = BTreeMap<(Measure, usize), Track>;

/// Most differences that the sentence names.
const NAMED: usize = 4;

/// An operator of both runs, or of one of them, by its place in the facts of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// Its place in the first run.
    pub a: Option<usize>,
    /// Its place in the second.
    pub b: Option<usize>,
}

/// The course of a measure of an operator in both runs, on the same steps since each began.
#[derive(Debug, Clone, PartialEq)]
pub struct Course {
    /// What.
    pub measure: Measure,
    /// Whose.
    pub pair: Pair,
    /// In the first run.
    pub a: Track,
    /// In the second.
    pub b: Track,
}

/// A setting that is not the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingChange {
    /// Its name.
    pub name: String,
    /// In the first run; none if it is not set there.
    pub a: Option<String>,
    /// In the second.
    pub b: Option<String>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// The operators, those of the first run first.
    pub pairs: Vec<Pair>,
    /// All numbers, with what became of them.
    pub numbers: Vec<Number>,
    /// The settings that are different.
    pub settings: Vec<SettingChange>,
    /// In words.
    pub sentence: String,
}

/// Finds the operators of one run in the other: by their ids, and what is left by its name. Of several of one name the
/// first that is free counts.
pub fn pairs(a: &Side, b: &Side) -> Vec<Pair> {
    let (of_a, of_b) = (&a.facts.operators, &b.facts.operators);
    let mut found: Vec<Option<usize>> = vec![None; of_a.len()];
    let mut is_taken = vec![false; of_b.len()];
    let keys: [fn(&OperatorFacts) -> &str; 2] = [|operator| &operator.id, |operator| &operator.name];
    for key in keys {
        // Backwards, so that the first is at the end, where it is taken from.
        let mut free: HashMap<&str, Vec<usize>> = HashMap::new();
        for (place, operator) in of_b.iter().enumerate().rev().filter(|(place, _)| !is_taken[*place]) {
            free.entry(key(operator)).or_default().push(place);
        }
        for (operator, other) in of_a.iter().zip(&mut found).filter(|(_, other)| other.is_none()) {
            *other = free.get_mut(key(operator)).and_then(Vec::pop);
            if let Some(other) = *other {
                is_taken[other] = true;
            }
        }
    }
    let first = found.into_iter().enumerate().map(|(place, other)| Pair { a: Some(place), b: other });
    let rest = is_taken.into_iter().enumerate().filter(|(_, is_taken)| !is_taken);
    first.chain(rest.map(|(place, _)| Pair { a: None, b: Some(place) })).collect()
}

/// Lays the tracks of both runs beside each other.
pub fn courses(pairs: &[Pair], mut a: Tracks, mut b: Tracks) -> Vec<Course> {
    let mut courses = Vec::new();
    for pair in pairs {
        for measure in MEASURES {
            let of_a = pair.a.and_then(|place| a.remove(&(measure, place)));
            let of_b = pair.b.and_then(|place| b.remove(&(measure, place)));
            if of_a.is_some() || of_b.is_some() {
                let (a, b) = (of_a.unwrap_or_default(), of_b.unwrap_or_default());
                courses.push(Course { measure, pair: *pair, a, b });
            }
        }
    }
    courses
}

/// Compares, over so many milliseconds since each began.
pub fn compare(a: &Side, b: &Side, courses: &[Course], length_ms: i64) -> Comparison {
    let pairs = pairs(a, b);
    let numbers = numbers::numbers(a, b, &pairs, courses, length_ms);
    let settings = settings(a, b);
    let sentence = sentence(&numbers, &settings, length_ms);
    Comparison { pairs, numbers, settings, sentence }
}

/// Everything that a run was started with, by name.
fn named(settings: Option<&Settings>, side: &Side) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    if let Some(settings) = settings {
        all.insert("restart_strategy".to_owned(), settings.restart_strategy.clone());
        all.insert("parallelism".to_owned(), settings.parallelism.to_string());
        all.insert("object_reuse".to_owned(), settings.object_reuse.to_string());
        all.extend(settings.execution_mode.iter().map(|mode| ("execution_mode".to_owned(), mode.clone())));
        all.extend(settings.user.iter().map(|(name, value)| (format!("user.{name}"), value.clone())));
    }
    if let Some(checkpoints) = &side.checkpoint_settings {
        all.insert("checkpoints.mode".to_owned(), checkpoints.mode.clone());
        all.insert("checkpoints.interval_ms".to_owned(), checkpoints.interval_ms.to_string());
        all.insert("checkpoints.timeout_ms".to_owned(), checkpoints.timeout_ms.to_string());
        all.insert("checkpoints.min_pause_ms".to_owned(), checkpoints.min_pause_ms.to_string());
        all.insert("checkpoints.max_concurrent".to_owned(), checkpoints.max_concurrent.to_string());
        let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        all.extend(checkpoints.kept.0.iter().map(|(name, value)| (format!("checkpoints.{name}"), text(value))));
    }
    all
}

fn settings(a: &Side, b: &Side) -> Vec<SettingChange> {
    let (of_a, mut of_b) = (named(a.settings.as_ref(), a), named(b.settings.as_ref(), b));
    let mut changes = Vec::new();
    for (name, value) in of_a {
        let other = of_b.remove(&name);
        if other.as_ref() != Some(&value) {
            changes.push(SettingChange { name, a: Some(value), b: other });
        }
    }
    changes.extend(of_b.into_iter().map(|(name, value)| SettingChange { name, a: None, b: Some(value) }));
    changes.sort_by(|one, other| one.name.cmp(&other.name));
    changes
}

fn sentence(numbers: &[Number], settings: &[SettingChange], length_ms: i64) -> String {
    let mut notable: Vec<&Number> = numbers.iter().filter(|number| number.change.is_notable()).collect();
    notable.sort_by(|one, other| one.change.cmp(&other.change).then(other.weight().total_cmp(&one.weight())));
    let span = super::diagnosis::span(length_ms as f64);
    let mut parts: Vec<String> = notable.iter().take(NAMED).map(|number| number.described()).collect();
    let rest = notable.len().saturating_sub(NAMED);
    if rest > 0 {
        parts.push(format!("{rest} more"));
    }
    let differences = match parts.len() {
        0 => format!("In the first {span} no number of the second run differs from the first in a way that matters."),
        _ => format!("In the first {span} of the second run, against the first: {}.", parts.join("; ")),
    };
    match settings.len() {
        0 => differences,
        1 => format!("{differences} One setting is different: `{}`.", settings[0].name),
        count => format!("{differences} {count} settings are different, `{}` among them.", settings[0].name),
    }
}

#[cfg(test)]
mod tests;
