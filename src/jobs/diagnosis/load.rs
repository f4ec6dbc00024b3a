//! Findings about load: who works too much, who waits, and what to do about it.

use super::bottleneck::Candidate;
use super::evidence::{Evidence, Measure};
use super::finding::{Finding, FindingKind, Severity};
use super::thresholds::{BACKLOG_OF_RECORDS, SATURATED};
use super::{skew, words};

/// The finding that an operator holds others up.
pub(super) fn holds_up(evidence: &Evidence, one: &Candidate, is_second: bool) -> Finding {
    let operator = one.operator;
    let skew = skew::find(evidence, operator);
    let load = match (&skew, evidence.busy(operator)) {
        (Some(skew), _) => format!("{}, and ", skew.described()),
        (None, Some(share)) => format!("it is busy {} of the time, and ", words::percent(share)),
        (None, None) => String::new(),
    };
    let name = evidence.named(operator);
    let role = if is_second { "holds others up as well" } else { "is the bottleneck" };
    let waiting = evidence.waiting(&one.waiting, ", which feeds it,");
    let advice = match &skew {
        Some(skew) => skew.advice(false),
        None => advice(evidence, operator),
    };
    let mut items = evidence.items(Measure::Busy, operator);
    items.extend(evidence.waiting_items(&one.waiting));
    items.extend(
        skew.iter().flat_map(|skew| skew.items(evidence, operator)).filter(|item| item.what != Measure::Busy.as_str()),
    );
    Finding {
        kind: FindingKind::Bottleneck,
        severity: Severity::Warning,
        operator: Some(operator),
        subtasks: skew.map(|skew| skew.hot).unwrap_or_default(),
        sentence: format!("{name} {role}: {load}{waiting}. {advice}"),
        evidence: items,
    }
}

/// What to do about an operator all of whose subtasks work.
pub(super) fn advice(evidence: &Evidence, operator: usize) -> String {
    let facts = &evidence.facts.operators[operator];
    let is_sink = evidence.outputs(operator).is_empty();
    let more = match (facts.parallelism, facts.max_parallelism) {
        (Some(now), Some(max)) if now >= max => {
            format!("It runs with {now} subtasks, as many as its state allows: make a record cheaper")
        }
        (Some(now), _) => {
            format!("Give it more than its {} now", words::count(now.max(0) as usize, "subtask", "subtasks"))
        }
        (None, _) => "Give it more subtasks".to_owned(),
    };
    if is_sink {
        return format!("{more}, write in larger batches, or look at the system that it writes to.");
    }
    let state = if facts.inputs.len() > 1 { ", or keep less state of its inputs" } else { "" };
    match facts.parallelism.zip(facts.max_parallelism) {
        Some((now, max)) if now >= max => format!("{more}{state}."),
        _ => format!("{more}, or make a record cheaper (profile it; look at calls to other systems){state}."),
    }
}

/// An operator waits and nobody behind it is busy.
pub(super) fn unexplained(evidence: &Evidence, operator: usize) -> Finding {
    let outputs = evidence.outputs(operator);
    let mut items = evidence.waiting_items(&[operator]);
    items.extend(outputs.iter().flat_map(|output| evidence.items(Measure::Busy, *output)));
    let sentence = format!(
        "{}, although {} not busy: look at what lies between them (the network, its buffers, a task manager that stalls).",
        words::sentence(&evidence.waiting(&[operator], "")),
        match outputs.as_slice() {
            [one] => format!("{}, which it feeds, is", evidence.named(*one)),
            all => format!("{}, which it feeds, are", evidence.named_all(all)),
        }
    );
    let (kind, severity) = (FindingKind::Unexplained, Severity::Warning);
    Finding { kind, severity, operator: Some(operator), subtasks: Vec::new(), sentence, evidence: items }
}

/// A source that works all the time, or an operator of whose inputs nothing is known.
pub(super) fn works_all_the_time(evidence: &Evidence, operator: usize) -> Finding {
    let (name, skew) = (evidence.named(operator), skew::find(evidence, operator));
    let load = match &skew {
        Some(skew) => skew.described(),
        None => format!("it is busy {} of the time", words::percent(evidence.busy(operator).unwrap_or_default())),
    };
    let is_source = evidence.is_source(operator);
    let (why, advice) = match (is_source, &skew) {
        (true, Some(skew)) => ("and nobody holds it up", skew.advice(true)),
        (true, None) => (
            "and nobody holds it up: what limits the job is its own work (reading, decoding, calls to the system that it \
             reads from)",
            "Give it more subtasks, as long as there are partitions for them, or make a record cheaper to read."
                .to_owned(),
        ),
        (false, skew) => (
            "and whether its inputs wait for it was not measured",
            skew.as_ref().map_or_else(|| advice(evidence, operator), |skew| skew.advice(false)),
        ),
    };
    let mut items = evidence.items(Measure::Busy, operator);
    for output in evidence.outputs(operator) {
        items.extend(evidence.items(Measure::Idle, output));
    }
    Finding {
        kind: FindingKind::Bottleneck,
        severity: Severity::Warning,
        operator: Some(operator),
        subtasks: skew.map(|skew| skew.hot).unwrap_or_default(),
        sentence: format!("{name} is the bottleneck: {load}, {why}. {advice}"),
        evidence: items,
    }
}

/// Operators that could not take more, although nobody waits for them yet.
pub(super) fn near_limit(evidence: &Evidence) -> Vec<Finding> {
    let mut findings = Vec::new();
    for operator in evidence.live() {
        let Some(share) = evidence.busy(operator).filter(|share| *share >= SATURATED) else { continue };
        findings.push(Finding {
            kind: FindingKind::NearLimit,
            severity: Severity::Warning,
            operator: Some(operator),
            subtasks: Vec::new(),
            sentence: format!(
                "{} keeps pace, but has no reserve: it is busy {} of the time. With a little more input the others will wait \
                 for it. {}",
                evidence.named(operator),
                words::percent(share),
                advice(evidence, operator)
            ),
            evidence: evidence.items(Measure::Busy, operator),
        });
    }
    findings
}

/// Records pile up before a source.
pub(super) fn backlog(evidence: &Evidence) -> Vec<Finding> {
    let mut findings = Vec::new();
    for operator in evidence.live() {
        let own = &evidence.operators[operator];
        let growth = own.value(Measure::BacklogGrowth).filter(|growth| *growth > 0.0);
        let (Some(growth), Some(waiting)) = (growth, own.value(Measure::Backlog)) else { continue };
        let sent = own.value(Measure::RecordsOut).or_else(|| own.value(Measure::RecordsIn)).unwrap_or_default();
        // What the next fetch takes is none.
        if growth < sent * BACKLOG_OF_RECORDS {
            continue;
        }
        let mut items = evidence.items(Measure::BacklogGrowth, operator);
        items.extend(evidence.items(Measure::Backlog, operator));
        findings.push(Finding {
            kind: FindingKind::Backlog,
            severity: Severity::Warning,
            operator: Some(operator),
            subtasks: Vec::new(),
            sentence: format!(
                "More comes than {} takes: {} records wait for it, and every second {} more. The job falls behind until its \
                 bottleneck is mended or less comes.",
                evidence.named(operator),
                words::number(waiting),
                words::number(growth)
            ),
            evidence: items,
        });
    }
    findings
}
