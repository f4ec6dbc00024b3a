//! Jobs that do not run, and jobs that run again and again.

use super::evidence::{Evidence, Unit};
use super::finding::{Finding, FindingKind, Item, Place, Severity};
use super::thresholds::{RESTARTS_MANY, RESTARTS_MS};
use super::words;
use crate::jobs::model::state::{JobState, TaskState};
use crate::report::timestamp;

/// How often the job restarted within the last hour.
pub(super) fn findings(evidence: &Evidence) -> Vec<Finding> {
    let restarts = &evidence.facts.restarts;
    let Some(last) = restarts.last() else { return Vec::new() };
    let count = words::count(restarts.len(), "time", "times");
    let why = match &last.cause {
        Some(cause) => format!("before the last one failed: {cause}"),
        None => "why is not known".to_owned(),
    };
    let (severity, what) = if restarts.len() >= RESTARTS_MANY {
        (
            Severity::Critical,
            " As long as it does, all other numbers say little: read the exceptions and mend that first.",
        )
    } else {
        (Severity::Info, "")
    };
    let ago = words::span(evidence.facts.at_ms.saturating_sub(last.at_ms) as f64);
    let sentence = format!(
        "The job restarted {count} in the last {}, last {ago} before; {why}.{what}",
        words::span(RESTARTS_MS as f64)
    );
    let item = Item {
        what: "restarts",
        operator: None,
        subtask: None,
        value: restarts.len() as f64,
        unit: Unit::Count,
        place: Place::Document("timeline".to_owned()),
    };
    let kind = FindingKind::Restarts;
    vec![Finding { kind, severity, operator: None, subtasks: Vec::new(), sentence, evidence: vec![item] }]
}

/// Why there is nothing to judge yet, or any more.
pub(super) fn not_running(evidence: &Evidence) -> Option<Finding> {
    let facts = &evidence.facts;
    match facts.state {
        Some(JobState::Running) | None => {
            let late = evidence.live().into_iter().find(|operator| !facts.operators[*operator].others.is_empty())?;
            Some(starting(evidence, late))
        }
        Some(state) => Some(stopped(evidence, state)),
    }
}

fn finding(severity: Severity, operator: Option<usize>, sentence: String) -> Finding {
    let kind = FindingKind::NotRunning;
    Finding { kind, severity, operator, subtasks: Vec::new(), sentence, evidence: Vec::new() }
}

fn stopped(evidence: &Evidence, state: JobState) -> Finding {
    let word = state.as_str();
    if state.has_ended() {
        let when = evidence.facts.ended_ms.map(|at_ms| format!(" at {}", timestamp::format(at_ms))).unwrap_or_default();
        let sentence = format!("The job has ended ({word}){when}. Ask with `at` for a moment at which it ran.");
        return finding(Severity::Info, None, sentence);
    }
    let why = evidence.facts.restarts.last().and_then(|restart| restart.cause.clone());
    let why = why.map(|cause| format!(" Before it failed: {cause}.")).unwrap_or_default();
    let severity = match state {
        JobState::Failing | JobState::Restarting | JobState::Suspended => Severity::Critical,
        _ => Severity::Info,
    };
    finding(severity, None, format!("The job does not run now: it is {word}.{why}"))
}

/// Some subtasks of a job that runs do not run yet.
fn starting(evidence: &Evidence, operator: usize) -> Finding {
    let facts = &evidence.facts.operators[operator];
    let parts: Vec<String> = facts.others.iter().map(|(state, count)| format!("{count} {}", state.as_str())).collect();
    let what = if facts.others.contains_key(&TaskState::Scheduled) {
        "They wait for slots: add task managers, or take less parallelism."
    } else if facts.others.contains_key(&TaskState::Initializing) {
        "They restore their state: until then everyone before them waits."
    } else {
        "Until all run, its numbers say little."
    };
    let sentence = format!(
        "The job is not up yet: of the {} of {}, {} do not run. {what}",
        match facts.parallelism {
            Some(parallelism) => words::count(parallelism.max(0) as usize, "subtask", "subtasks"),
            None => "subtasks".to_owned(),
        },
        evidence.named(operator),
        words::list(&parts)
    );
    finding(Severity::Warning, Some(operator), sentence)
}
