//! Checkpoints that fail or take long, and where the time goes.

use super::evidence::{Evidence, Measure, Unit};
use super::facts::{CheckpointFact, SlowestPart};
use super::finding::{Finding, FindingKind, Item, Place, Severity};
use super::thresholds::{CHECKPOINT_OF_TIMEOUT, CHECKPOINT_SLOW_MS};
use super::words;
use crate::jobs::model::state::CheckpointState;

pub(super) fn findings(evidence: &Evidence) -> Vec<Finding> {
    failures(evidence).into_iter().chain(slow(evidence)).chain(late_barriers(evidence)).collect()
}

fn failures(evidence: &Evidence) -> Option<Finding> {
    let newest = &evidence.facts.checkpoints.newest;
    let is = |state: CheckpointState| newest.iter().filter(move |one| one.state == state);
    let failed: Vec<&CheckpointFact> = is(CheckpointState::Failed).collect();
    let last = failed.first()?;
    let ended = failed.len() + is(CheckpointState::Completed).count();
    let why = last.failure.as_ref().map(|message| format!(" The last said: {message}")).unwrap_or_default();
    let have_all = failed.len() == ended;
    let consequence = if have_all {
        "After a failure the job would go back to a state from before them."
    } else {
        "The more fail, the more is done again after a failure."
    };
    let item = |one: &&CheckpointFact| item("checkpoint_failed", one.id, None, 1.0, Unit::Count);
    Some(Finding {
        kind: FindingKind::CheckpointFailures,
        severity: if have_all { Severity::Critical } else { Severity::Warning },
        operator: None,
        subtasks: Vec::new(),
        sentence: format!("{} of the last {ended} checkpoints failed. {consequence}{why}", failed.len()),
        evidence: failed.iter().map(item).collect(),
    })
}

fn item(what: &'static str, checkpoint: i64, part: Option<&SlowestPart>, value: f64, unit: Unit) -> Item {
    Item {
        what,
        operator: part.map(|part| part.operator),
        subtask: part.and_then(|part| part.subtask),
        value,
        unit,
        place: Place::Document(format!("checkpoint {checkpoint}")),
    }
}

/// Why a duration is too long, in words; none if it is not.
fn too_long(evidence: &Evidence, duration_ms: i64) -> Option<String> {
    let checkpoints = &evidence.facts.checkpoints;
    let of_timeout = checkpoints.timeout_ms.map(|timeout_ms| duration_ms as f64 / timeout_ms as f64);
    let span = |ms: i64| words::span(ms as f64);
    match (checkpoints.interval_ms, of_timeout) {
        (_, Some(share)) if share >= CHECKPOINT_OF_TIMEOUT => {
            Some(format!("{} of the time after which it is given up", words::percent(share)))
        }
        (Some(interval_ms), _) if duration_ms >= interval_ms => {
            Some(format!("longer than the {} between two", span(interval_ms)))
        }
        (None, None) if duration_ms >= CHECKPOINT_SLOW_MS => Some("long for a checkpoint".to_owned()),
        _ => None,
    }
}

/// The newest one, whole or not, if it takes too long.
fn slow(evidence: &Evidence) -> Option<Finding> {
    let facts = &evidence.facts.checkpoints;
    // One at work counts once it has taken longer than those before it may.
    let open = facts.newest.first().filter(|one| one.state == CheckpointState::InProgress);
    let whole = facts.newest.iter().find(|one| one.state == CheckpointState::Completed);
    let long = |one: Option<&CheckpointFact>| Some((one?.clone(), too_long(evidence, one?.duration_ms)?));
    let (one, measure) = long(open).into_iter().chain(long(whole)).max_by_key(|(one, _)| one.duration_ms)?;
    let verb = if one.state == CheckpointState::Completed { "took" } else { "takes, so far," };
    let mut items = vec![item("checkpoint_duration", one.id, None, one.duration_ms as f64, Unit::Milliseconds)];
    let (operator, subtasks, reason) = match &facts.slowest {
        Some(part) => {
            items.extend(parts(part));
            (Some(part.operator), part.subtask.into_iter().collect(), reason(evidence, part))
        }
        None => (one.waits_for.first().copied(), Vec::new(), waits(evidence, &one)),
    };
    let duration = words::span(one.duration_ms as f64);
    Some(Finding {
        kind: FindingKind::SlowCheckpoints,
        severity: Severity::Warning,
        operator,
        subtasks,
        sentence: format!("Checkpoint {} {verb} {duration}, {measure}.{reason}", one.id),
        evidence: items,
    })
}

fn waits(evidence: &Evidence, one: &CheckpointFact) -> String {
    if one.waits_for.is_empty() {
        return " Where its time goes is not known.".to_owned();
    }
    format!(" It waits for {}.", evidence.named_all(&one.waits_for))
}

fn parts(part: &SlowestPart) -> Vec<Item> {
    let phases = [
        ("checkpoint_start_delay", part.start_delay_ms),
        ("checkpoint_alignment", part.alignment_ms),
        ("checkpoint_sync", part.sync_ms),
        ("checkpoint_async", part.async_ms),
    ];
    let phases = phases.into_iter().filter_map(|(what, ms)| Some((what, ms? as f64, Unit::Milliseconds)));
    let all = [
        ("checkpoint_duration", part.duration_ms as f64, Unit::Milliseconds),
        ("checkpoint_state", part.state_bytes as f64, Unit::Bytes),
    ];
    all.into_iter()
        .chain(phases)
        .map(|(what, value, unit)| item(what, part.checkpoint, Some(part), value, unit))
        .collect()
}

/// Where the time of the slowest part goes, and what to do.
fn reason(evidence: &Evidence, part: &SlowestPart) -> String {
    let who = match part.subtask {
        Some(subtask) => format!("subtask {subtask} of {}", evidence.named(part.operator)),
        None => evidence.named(part.operator),
    };
    let known = [part.start_delay_ms, part.alignment_ms, part.sync_ms, part.async_ms];
    if known.iter().all(Option::is_none) {
        return format!(" {} took longest.", words::sentence(&who));
    }
    let [delay, alignment, sync, asynchronous] = known.map(Option::unwrap_or_default);
    // What is none of the phases passed before the first barrier came; older engines do not say so.
    let delay = delay.max(part.duration_ms - alignment - sync - asynchronous);
    let phases = [(delay, 0), (alignment, 1), (sync, 2), (asynchronous, 3)];
    let (longest_ms, phase) = phases.into_iter().max_by_key(|(ms, phase)| (*ms, -*phase)).unwrap_or_default();
    let span = words::span(longest_ms as f64);
    match phase {
        0 => format!(
            " {span} of it passed before the first barrier reached {who}: it stood behind the records that wait there. It goes \
             away with the bottleneck; unaligned checkpoints or smaller buffers let barriers through meanwhile."
        ),
        1 => format!(
            " {span} of it {who} waited for the barriers of its slower inputs. It goes away when these are as fast as the \
             others; unaligned checkpoints do not wait."
        ),
        2 => format!(
            " {span} of it {who} copied its state and processed nothing: a state backend that writes beside the work, or less \
             state, shortens it."
        ),
        _ => format!(
            " {span} of it {who} wrote its state ({} bytes): incremental checkpoints, faster storage or less state shorten it.",
            words::number(part.state_bytes as f64)
        ),
    }
}

/// Where only metrics are known: barriers that arrive late.
fn late_barriers(evidence: &Evidence) -> Option<Finding> {
    if !evidence.facts.checkpoints.newest.is_empty() {
        return None;
    }
    let time = |measure| {
        let known = evidence
            .live()
            .into_iter()
            .filter_map(move |operator| Some((measure, operator, evidence.operators[operator].value(measure)?)));
        known.max_by(|(_, a, a_ms), (_, b, b_ms)| a_ms.total_cmp(b_ms).then(b.cmp(a)))
    };
    let all = [Measure::StartDelay, Measure::Alignment].into_iter().filter_map(time);
    let (measure, operator, ms) = all.max_by(|(_, _, a), (_, _, b)| a.total_cmp(b))?;
    if ms < CHECKPOINT_SLOW_MS as f64 {
        return None;
    }
    let (name, span) = (evidence.named(operator), words::span(ms));
    let sentence = match measure {
        Measure::StartDelay => format!(
            "The barriers of the last checkpoint took {span} to {name}: they stood behind the records that wait there. It goes \
             away with the bottleneck; unaligned checkpoints or smaller buffers let barriers through meanwhile."
        ),
        _ => format!("In the last checkpoint {name} waited {span} for the barriers of its slower inputs."),
    };
    Some(Finding {
        kind: FindingKind::SlowCheckpoints,
        severity: Severity::Warning,
        operator: Some(operator),
        subtasks: Vec::new(),
        sentence,
        evidence: evidence.items(measure, operator),
    })
}
