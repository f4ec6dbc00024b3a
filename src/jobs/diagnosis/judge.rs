//! From evidence to a verdict, in words.

use super::bottleneck::{self, Candidate, Found};
use super::evidence::{Evidence, Measure};
use super::finding::{Bottleneck, Diagnosis, Finding, FindingKind, Missing, Severity, Verdict};
use super::thresholds::{BUSY, IDLE, RESTARTS_MANY, SATURATED};
use super::{checkpoints, load, restarts, skew, watermarks, words};
use crate::jobs::model::state::JobState;

/// Judges. The same evidence always gives the same diagnosis.
pub fn diagnose(evidence: &Evidence) -> Diagnosis {
    let mut findings = restarts::findings(evidence);
    let (verdict, sentence) = match restarts::not_running(evidence) {
        Some(finding) => {
            let sentence = finding.sentence.clone();
            findings.push(finding);
            (Verdict::NotRunning, sentence)
        }
        None => running(evidence, &mut findings),
    };
    let is_over = evidence.facts.state.is_some_and(JobState::has_ended);
    if !is_over {
        findings.extend(checkpoints::findings(evidence));
    }
    findings.sort_by_key(|finding| (finding.severity, finding.kind));
    let missing = if verdict == Verdict::NotRunning { Vec::new() } else { missing(evidence) };
    Diagnosis { sentence: framed(evidence, sentence), verdict, findings, missing }
}

/// What goes before everything else: how old it is, and what is to be mended first.
fn framed(evidence: &Evidence, sentence: String) -> String {
    let facts = &evidence.facts;
    let first = match facts.restarts.len() {
        count if count >= RESTARTS_MANY && facts.state == Some(JobState::Running) => {
            format!("The job restarted {count} times within an hour: mend that first. ")
        }
        _ => String::new(),
    };
    let old = match facts.lost_ms {
        Some(lost_ms) => {
            format!("Nobody has heard of the job since {}. As of then: ", crate::report::timestamp::format(lost_ms))
        }
        None => String::new(),
    };
    old + &first + &sentence
}

/// Of a job that runs.
fn running(evidence: &Evidence, findings: &mut Vec<Finding>) -> (Verdict, String) {
    findings.extend(skew::findings(evidence));
    findings.extend(watermarks::findings(evidence));
    findings.extend(load::backlog(evidence));
    let live = evidence.live();
    if live.iter().all(|operator| evidence.busy(*operator).is_none() && evidence.held(*operator).is_none()) {
        return (Verdict::Unknown, nothing_measured(evidence));
    }
    if !evidence.facts.has_graph && live.len() > 1 {
        return without_graph(evidence, findings);
    }
    let found = bottleneck::find(evidence);
    findings.extend(found.unexplained.iter().map(|operator| load::unexplained(evidence, *operator)));
    for second in found.bottlenecks.iter().skip(1) {
        findings.push(load::holds_up(evidence, second, true));
    }
    match found.bottlenecks.first() {
        Some(worst) if !found.or.is_empty() => (Verdict::Unknown, one_of(evidence, worst, &found)),
        Some(worst) => bottleneck(evidence, worst, findings),
        None => no_one_waits(evidence, &found, findings),
    }
}

fn bottleneck(evidence: &Evidence, worst: &Candidate, findings: &mut Vec<Finding>) -> (Verdict, String) {
    let finding = load::holds_up(evidence, worst, false);
    let (operator, subtasks) = (worst.operator, finding.subtasks.clone());
    // Its skew is part of what is said of it.
    findings.retain(|other| !(other.kind == FindingKind::Skew && other.operator == Some(operator)));
    let sentence = finding.sentence.clone();
    findings.push(finding);
    (Verdict::Bottleneck(Bottleneck { operator, subtasks, is_certain: worst.is_certain }), sentence)
}

/// Several can be meant, and nobody measured which.
fn one_of(evidence: &Evidence, worst: &Candidate, found: &Found) -> String {
    let all = [worst.operator].into_iter().chain(found.or.iter().copied());
    let all: Vec<String> = all.map(|operator| evidence.named(operator)).collect();
    format!(
        "{}, but whether for {} cannot be said: how busy they are was not measured.",
        words::sentence(&evidence.waiting(&worst.waiting, "")),
        words::either(&all)
    )
}

/// Nobody is waited for: a source may be slow by itself, or all is well, or too little is known.
fn no_one_waits(evidence: &Evidence, found: &Found, findings: &mut Vec<Finding>) -> (Verdict, String) {
    if let Some((operator, is_certain)) = slow_by_itself(evidence) {
        let finding = load::works_all_the_time(evidence, operator);
        let (sentence, subtasks) = (finding.sentence.clone(), finding.subtasks.clone());
        findings.retain(|other| !(other.kind == FindingKind::Skew && other.operator == Some(operator)));
        findings.push(finding);
        return (Verdict::Bottleneck(Bottleneck { operator, subtasks, is_certain }), sentence);
    }
    if let Some(operator) = found.unexplained.first() {
        return (Verdict::Unknown, load::unexplained(evidence, *operator).sentence);
    }
    let unclear = unclear(evidence);
    if !unclear.is_empty() {
        let sentence = format!(
            "Whether an operator is a bottleneck cannot be said: of {} neither busy time nor backpressure was measured.",
            evidence.named_all(&unclear)
        );
        return (Verdict::Unknown, sentence);
    }
    findings.extend(load::near_limit(evidence));
    (Verdict::NoBottleneck, all_is_well(evidence))
}

/// An operator without reserve that nobody holds up, and of which it is not known that its inputs do not wait.
fn slow_by_itself(evidence: &Evidence) -> Option<(usize, bool)> {
    let is_open = |operator: &usize| {
        let inputs = &evidence.facts.operators[*operator].inputs;
        evidence.is_source(*operator) || inputs.iter().any(|input| evidence.held(*input).is_none())
    };
    let share = |operator: &usize| evidence.busy(*operator).unwrap_or_default();
    let saturated = evidence.live().into_iter().filter(|operator| share(operator) >= SATURATED && is_open(operator));
    let worst = saturated.max_by(|a, b| share(a).total_cmp(&share(b)).then(b.cmp(a)))?;
    Some((worst, evidence.is_source(worst)))
}

/// Operators that may be slow without anyone having measured it.
fn unclear(evidence: &Evidence) -> Vec<usize> {
    let is_unclear = |operator: &usize| {
        let inputs = &evidence.facts.operators[*operator].inputs;
        let is_alone = inputs.is_empty() && evidence.outputs(*operator).is_empty();
        let is_unheard = inputs.iter().any(|input| evidence.held(*input).is_none());
        evidence.busy(*operator).is_none() && (is_alone || is_unheard)
    };
    evidence.live().into_iter().filter(is_unclear).collect()
}

fn busiest(evidence: &Evidence) -> Option<(usize, f64)> {
    let known = evidence.live().into_iter().filter_map(|operator| Some((operator, evidence.busy(operator)?)));
    known.max_by(|(a, a_share), (b, b_share)| a_share.total_cmp(b_share).then(b.cmp(a)))
}

fn all_is_well(evidence: &Evidence) -> String {
    let pace = match busiest(evidence) {
        Some((_, share)) if share < IDLE => "The job is all but idle: it waits for input.",
        _ => "The job goes as fast as its input comes.",
    };
    let held: Vec<usize> = evidence
        .live()
        .into_iter()
        .filter(|operator| evidence.held(*operator).is_some_and(bottleneck::Held::is_held))
        .collect();
    let waiting = if held.is_empty() {
        "nobody waits for room to send".to_owned()
    } else {
        format!("{}, but only now and then: nobody behind is busy", evidence.waiting(&held, ""))
    };
    match busiest(evidence) {
        Some((operator, share)) => format!(
            "No operator is a bottleneck: {waiting}, and the busiest, {}, is busy {} of the time. {pace}",
            evidence.named(operator),
            words::percent(share)
        ),
        None => format!(
            "No operator is a bottleneck: {waiting}. How busy the operators are was not measured: a source that is slow by \
             itself looks like one that waits for input."
        ),
    }
}

/// Nobody knows which operator feeds which: the busiest is the likeliest.
fn without_graph(evidence: &Evidence, findings: &mut Vec<Finding>) -> (Verdict, String) {
    let is_held = |operator: &usize| evidence.held(*operator).is_some_and(bottleneck::Held::is_held);
    let held: Vec<usize> = evidence.live().into_iter().filter(is_held).collect();
    let free = busiest(evidence).filter(|(operator, _)| !held.contains(operator));
    let unknown = "Which operator feeds which is not known";
    match free {
        Some((operator, share)) if share >= SATURATED || (share >= BUSY && !held.is_empty()) => {
            let waiting =
                if held.is_empty() { String::new() } else { format!(", while {}", evidence.waiting(&held, "")) };
            let sentence = format!(
                "{} is probably the bottleneck: it is busy {} of the time, more than all others{waiting}. {unknown}. {}",
                evidence.named(operator),
                words::percent(share),
                load::advice(evidence, operator)
            );
            let skew = skew::find(evidence, operator).map(|skew| skew.hot).unwrap_or_default();
            let mut items = evidence.items(Measure::Busy, operator);
            items.extend(evidence.waiting_items(&held));
            findings.push(Finding {
                kind: FindingKind::Bottleneck,
                severity: Severity::Warning,
                operator: Some(operator),
                subtasks: skew.clone(),
                sentence: sentence.clone(),
                evidence: items,
            });
            (Verdict::Bottleneck(Bottleneck { operator, subtasks: skew, is_certain: false }), sentence)
        }
        _ if !held.is_empty() => {
            let waiting = words::sentence(&evidence.waiting(&held, ""));
            (Verdict::Unknown, format!("{waiting}, but for whom cannot be said. {unknown}."))
        }
        _ => {
            let unmeasured: Vec<usize> = evidence
                .live()
                .into_iter()
                .filter(|operator| evidence.busy(*operator).is_none() && evidence.held(*operator).is_none())
                .collect();
            if unmeasured.is_empty() {
                findings.extend(load::near_limit(evidence));
                return (Verdict::NoBottleneck, all_is_well(evidence));
            }
            let named = evidence.named_all(&unmeasured);
            let sentence = format!(
                "Whether an operator is a bottleneck cannot be said: of {named} neither busy time nor backpressure was \
                 measured. {unknown}."
            );
            (Verdict::Unknown, sentence)
        }
    }
}

fn nothing_measured(evidence: &Evidence) -> String {
    let window = words::span(evidence.window_ms as f64);
    format!(
        "Whether an operator is a bottleneck cannot be said: neither busy time, nor backpressure, nor queues of this job were \
         measured in the {window} before. Have its metrics scraped or reported, or ask for a longer `window`."
    )
}

/// What is not known although the verdict would be better for it.
fn missing(evidence: &Evidence) -> Vec<Missing> {
    let live = evidence.live();
    let of = |measure, operators: Vec<usize>, sentence: &str| {
        let sentence = format!("{}: {sentence}", evidence.named_all(&operators));
        (!operators.is_empty()).then_some(Missing { measure, operators, sentence })
    };
    let idle_or_slow = live.iter().copied().filter(|operator| evidence.busy(*operator).is_none()).collect();
    let is_unheard = |operator: &usize| evidence.held(*operator).is_none() && !evidence.outputs(*operator).is_empty();
    let unheard = live.iter().copied().filter(is_unheard).collect();
    let busy =
        of(Measure::Busy, idle_or_slow, "busy time was not measured, so it is not known how much reserve is left.");
    let held = of(
        Measure::Backpressured,
        unheard,
        "neither backpressure nor queues were measured, so it is not known whether someone is waited for.",
    );
    busy.into_iter().chain(held).collect()
}
