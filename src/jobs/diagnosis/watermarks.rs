//! Watermarks that are behind: where event time gets lost, and whether it is caught up.

use super::evidence::{Evidence, Measure};
use super::finding::{Finding, FindingKind, Severity};
use super::thresholds::{WATERMARK_BEHIND_MS, WATERMARK_FALLS_BACK, WATERMARK_STANDS};
use super::words;

/// An operator whose watermark is behind those of its inputs.
struct Behind {
    operator: usize,
    /// Behind the clock, in milliseconds.
    lag_ms: f64,
    /// Behind its inputs.
    lost_ms: f64,
    /// Event time per real time.
    speed: Option<f64>,
}

pub(super) fn findings(evidence: &Evidence) -> Vec<Finding> {
    evidence
        .live()
        .into_iter()
        .filter_map(|operator| behind(evidence, operator))
        .map(|one| finding(evidence, &one))
        .collect()
}

fn behind(evidence: &Evidence, operator: usize) -> Option<Behind> {
    let lag = |operator: usize| evidence.operators[operator].value(Measure::WatermarkLag);
    let lag_ms = lag(operator)?;
    let facts = &evidence.facts.operators[operator];
    let before = facts.inputs.iter().filter_map(|input| lag(*input)).reduce(f64::max);
    // Where nothing is known of its inputs, all of it counts as lost there.
    let lost_ms = lag_ms - before.unwrap_or(0.0);
    let speed = evidence.operators[operator].value(Measure::WatermarkSpeed);
    (lost_ms >= WATERMARK_BEHIND_MS).then_some(Behind { operator, lag_ms, lost_ms, speed })
}

fn finding(evidence: &Evidence, one: &Behind) -> Finding {
    let records = evidence.operators[one.operator].value(Measure::RecordsIn);
    let is_standing = one.speed.is_some_and(|speed| speed < WATERMARK_STANDS) && records.is_some_and(|rate| rate > 0.0);
    let mut items = evidence.items(Measure::WatermarkLag, one.operator);
    items.extend(evidence.items(Measure::WatermarkSpeed, one.operator));
    let inputs = &evidence.facts.operators[one.operator].inputs;
    items.extend(inputs.iter().flat_map(|input| evidence.items(Measure::WatermarkLag, *input)));
    let (name, lag) = (evidence.named(one.operator), words::span(one.lag_ms));
    if is_standing {
        let silent = silent_sources(evidence);
        items.extend(silent.iter().flat_map(|(source, _)| evidence.items(Measure::RecordsOut, *source)));
        let sentence = format!(
            "The watermark of {name} stands still, {lag} behind the clock, although records come in: windows and timers do not \
             fire. {}",
            silence(evidence, &silent)
        );
        let (kind, severity) = (FindingKind::WatermarkStands, Severity::Warning);
        return Finding {
            kind,
            severity,
            operator: Some(one.operator),
            subtasks: Vec::new(),
            sentence,
            evidence: items,
        };
    }
    let course = match one.speed {
        Some(speed) if speed < WATERMARK_FALLS_BACK => {
            format!("and falls {} behind in every second more", words::span((1.0 - speed) * 1000.0))
        }
        Some(speed) if speed > 2.0 - WATERMARK_FALLS_BACK => {
            format!("and catches up, at {} times real time", words::number(speed))
        }
        Some(_) => "and stays so".to_owned(),
        None => "and how that changes was not measured".to_owned(),
    };
    let is_worse = one.speed.is_some_and(|speed| speed < WATERMARK_FALLS_BACK);
    let place = if inputs.is_empty() {
        "its results are so late".to_owned()
    } else {
        format!(
            "{} of it are lost between {} and {name}, where records wait",
            words::span(one.lost_ms),
            evidence.named_all(inputs)
        )
    };
    Finding {
        kind: FindingKind::WatermarkLag,
        severity: if is_worse { Severity::Warning } else { Severity::Info },
        operator: Some(one.operator),
        subtasks: Vec::new(),
        sentence: format!("The watermark of {name} is {lag} behind the clock, {course}: {place}."),
        evidence: items,
    }
}

/// Subtasks of sources that send nothing while others of the job do.
fn silent_sources(evidence: &Evidence) -> Vec<(usize, Vec<u64>)> {
    let mut silent = Vec::new();
    for source in evidence.live().into_iter().filter(|operator| evidence.is_source(*operator)) {
        let sent = evidence.operators[source].values(Measure::RecordsOut);
        let none: Vec<u64> = sent.filter(|(_, rate)| *rate == 0.0).map(|(index, _)| index).collect();
        if !none.is_empty() {
            silent.push((source, none));
        }
    }
    silent
}

fn silence(evidence: &Evidence, silent: &[(usize, Vec<u64>)]) -> String {
    if silent.is_empty() {
        return "Look for a source or a partition without new records: it holds the watermark back unless it is declared \
                idle after a time."
            .to_owned();
    }
    let parts: Vec<String> = silent
        .iter()
        .map(|(source, none)| format!("{} of {}", words::subtasks(none), evidence.named(*source)))
        .collect();
    format!(
        "Nothing comes from {}, and that holds it back: declare sources idle after a time (`withIdleness`), or give these \
         partitions records.",
        words::list(&parts)
    )
}
