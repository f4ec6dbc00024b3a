//! The rules, as a table of topologies whose answer is known, and what must hold for any evidence.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::facts::{CheckpointFact, CheckpointFacts, RestartFact, SlowestPart};
use super::thresholds as limits;
use super::*;
use crate::jobs::{CheckpointState, JobState, TaskState};

/// An operator of a topology: its name, who feeds it, and for each subtask busy, backpressured and records per second.
#[derive(Debug, Clone)]
struct Op {
    name: &'static str,
    inputs: Vec<usize>,
    subtasks: Vec<BTreeMap<Measure, f64>>,
}

fn op(name: &'static str, inputs: &[usize]) -> Op {
    Op { name, inputs: inputs.to_vec(), subtasks: Vec::new() }
}

impl Op {
    /// Busy, backpressured, and the records that it is given.
    fn load(mut self, subtasks: &[(f64, f64, f64)]) -> Op {
        let given = if self.inputs.is_empty() { Measure::RecordsOut } else { Measure::RecordsIn };
        let of = |(busy, held, records): &(f64, f64, f64)| {
            let idle = (1.0 - busy - held).max(0.0);
            BTreeMap::from([
                (Measure::Busy, *busy),
                (Measure::Backpressured, *held),
                (Measure::Idle, idle),
                (given, *records),
            ])
        };
        self.subtasks = subtasks.iter().map(of).collect();
        self
    }

    fn reads(mut self, measure: Measure, values: &[f64]) -> Op {
        self.subtasks.resize(self.subtasks.len().max(values.len()), BTreeMap::new());
        for (subtask, value) in self.subtasks.iter_mut().zip(values) {
            subtask.insert(measure, *value);
        }
        self
    }
}

fn evidence(ops: &[Op]) -> Evidence {
    let facts = |(place, op): (usize, &Op)| OperatorFacts {
        id: format!("id-{place}"),
        name: op.name.to_owned(),
        parallelism: i64::try_from(op.subtasks.len()).ok(),
        max_parallelism: Some(128),
        state: Some(TaskState::Running),
        inputs: op.inputs.clone(),
        is_fed: !op.inputs.is_empty(),
        ..OperatorFacts::default()
    };
    let subtask = |(index, readings): (usize, &BTreeMap<Measure, f64>)| Subtask {
        index: index as u64,
        task_manager: Some(format!("tm-{index}")),
        readings: readings
            .iter()
            .map(|(measure, value)| (*measure, Reading { value: *value, expression: format!("{measure:?} {index}") }))
            .collect(),
    };
    Evidence {
        facts: Facts {
            at_ms: 1_000_000,
            state: Some(JobState::Running),
            operators: ops.iter().enumerate().map(facts).collect(),
            has_graph: ops.len() == 1 || ops.iter().any(|op| !op.inputs.is_empty()),
            ..Facts::default()
        },
        operators: ops
            .iter()
            .map(|op| Operator { subtasks: op.subtasks.iter().enumerate().map(subtask).collect() })
            .collect(),
        window_ms: limits::WINDOW_MS,
    }
}

/// The verdict in short: `none`, or the place of the bottleneck with its subtasks.
fn verdict(ops: &[Op]) -> String {
    short(&diagnose(&evidence(ops)).verdict)
}

fn short(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Bottleneck(found) if found.is_certain => format!("{} {:?}", found.operator, found.subtasks),
        Verdict::Bottleneck(found) => format!("{} {:?} probably", found.operator, found.subtasks),
        other => other.as_str().to_owned(),
    }
}

/// The job of the recordings: `score` has one hot subtask.
fn demo() -> Vec<Op> {
    vec![
        op("Source: orders -> parse", &[]).load(&[(0.0, 0.967, 514.3), (0.0, 0.965, 514.1)]),
        op("score", &[0]).load(&[(0.996, 0.0, 652.8), (0.109, 0.0, 101.0)]),
        op("totals -> blackhole: Writer", &[1]).load(&[(0.0, 0.0, 652.7), (0.0, 0.0, 74.4)]),
    ]
}

#[test]
fn the_demo_job_is_held_up_by_the_hot_subtask_of_score() {
    let evidence = evidence(&demo());
    let found = diagnose(&evidence);
    assert_eq!(short(&found.verdict), "1 [0]");
    let expected = "`score` is the bottleneck: its subtask 0 is busy 99.6 % of the time, the other 10.9 %, and \
                    `Source: orders -> parse`, which feeds it, waits 96.7 % of its time for room to send. Subtask 0 gets 6.46 \
                    times as many records as the other: keys are spread unevenly. Spread the heavy ones (a salt in the key, a \
                    pre-aggregation before the exchange): more subtasks alone would not help. Spread evenly, the same load \
                    would keep each subtask busy 55.3 % of the time.";
    assert_eq!(found.sentence, expected);
    let finding = found.findings.iter().find(|finding| finding.kind == FindingKind::Bottleneck).unwrap();
    let values: Vec<(&str, Option<usize>, f64)> =
        finding.evidence.iter().map(|item| (item.what, item.operator, item.value)).collect();
    for expected in [("busy", Some(1), 0.996), ("busy", Some(1), 0.109), ("backpressured", Some(0), 0.967)] {
        assert!(values.contains(&expected), "{expected:?} is not in {values:?}");
    }
    assert!(values.contains(&("records_in", Some(1), 652.8)), "{values:?}");
    assert!(finding.evidence.iter().all(|item| matches!(&item.place, Place::Series(text) if !text.is_empty())));
    assert_eq!(found.missing, []);
}

#[test]
fn verdicts_of_known_topologies() {
    let even = |busy: f64, held: f64, records: f64| [(busy, held, records); 4];
    let hot = [(1.0, 0.0, 900.0), (0.2, 0.0, 180.0), (0.21, 0.0, 175.0), (0.19, 0.0, 190.0)];
    let queue = Measure::OutputQueue;
    let table: Vec<(&str, Vec<Op>, &str)> = vec![
        ("idle", vec![op("s", &[]).load(&even(0.0, 0.0, 0.0)), op("m", &[0]).load(&even(0.01, 0.0, 0.0))], "none"),
        (
            "keeps pace",
            vec![op("s", &[]).load(&even(0.4, 0.02, 10.0)), op("m", &[0]).load(&even(0.8, 0.0, 10.0))],
            "none",
        ),
        (
            "slow source",
            vec![op("s", &[]).load(&even(0.98, 0.0, 9.0)), op("m", &[0]).load(&even(0.05, 0.0, 9.0))],
            "0 []",
        ),
        (
            "source waits for input",
            vec![op("s", &[]).load(&even(0.02, 0.0, 9.0)), op("m", &[0]).load(&even(0.05, 0.0, 9.0))],
            "none",
        ),
        (
            "slow sink",
            vec![
                op("s", &[]).load(&even(0.03, 0.95, 9.0)),
                op("m", &[0]).load(&even(0.1, 0.88, 9.0)),
                op("w", &[1]).load(&even(0.99, 0.0, 9.0)),
            ],
            "2 []",
        ),
        (
            "skewed join",
            vec![
                op("left", &[]).load(&even(0.1, 0.85, 9.0)),
                op("right", &[]).load(&even(0.1, 0.6, 9.0)),
                op("join", &[0, 1]).load(&hot),
                op("w", &[2]).load(&even(0.1, 0.0, 9.0)),
            ],
            "2 [0]",
        ),
        (
            "the middle waits a little, the end is full",
            vec![
                op("s", &[]).load(&even(0.05, 0.9, 9.0)),
                op("m", &[0]).load(&even(0.78, 0.2, 9.0)),
                op("w", &[1]).load(&even(1.0, 0.0, 9.0)),
            ],
            "2 []",
        ),
        (
            "bursts before the end do not hide the middle",
            vec![
                op("s", &[]).load(&even(0.05, 0.9, 9.0)),
                op("m", &[0]).load(&even(0.88, 0.12, 9.0)),
                op("w", &[1]).load(&even(0.3, 0.0, 9.0)),
            ],
            "1 []",
        ),
        (
            "nobody knows of the end, and the middle waits",
            vec![op("s", &[]).load(&even(0.05, 0.9, 9.0)), op("m", &[0]).load(&even(0.55, 0.4, 9.0)), op("w", &[1])],
            "2 []",
        ),
        (
            "waits for nobody who works",
            vec![op("s", &[]).load(&even(0.0, 0.9, 9.0)), op("m", &[0]).load(&even(0.1, 0.0, 9.0))],
            "unknown",
        ),
        ("a little", vec![op("s", &[]).load(&even(0.0, 0.2, 9.0)), op("m", &[0]).load(&even(0.3, 0.0, 9.0))], "none"),
        (
            "queues alone",
            vec![
                op("s", &[]).reads(queue, &[0.95, 0.9]),
                op("m", &[0]).reads(queue, &[0.93, 0.8]),
                op("slow", &[1]).reads(queue, &[0.05, 0.1]),
                op("w", &[2]),
            ],
            "2 []",
        ),
        (
            "queues alone, empty",
            vec![op("s", &[]).reads(queue, &[0.1]), op("m", &[0]).reads(queue, &[0.1]), op("w", &[1])],
            "none",
        ),
        ("queues alone, a fork", vec![op("s", &[]).reads(queue, &[0.9]), op("a", &[0]), op("b", &[0])], "unknown"),
        (
            "queues before the receivers",
            vec![
                op("s", &[]),
                op("a", &[0]).reads(Measure::InputQueue, &[0.97]),
                op("b", &[0]).reads(Measure::InputQueue, &[0.2]),
            ],
            "1 [] probably",
        ),
        ("nothing", vec![op("s", &[]), op("m", &[0])], "unknown"),
        ("half", vec![op("s", &[]), op("m", &[0]), op("w", &[1]).load(&even(0.1, 0.0, 1.0))], "unknown"),
        ("alone", vec![op("all", &[]).load(&even(0.99, 0.0, 5.0))], "0 []"),
        (
            "without graph",
            vec![op("a", &[]).load(&even(0.05, 0.9, 9.0)), op("b", &[]).load(&even(0.97, 0.0, 9.0))],
            "1 [] probably",
        ),
    ];
    for (name, ops, expected) in table {
        assert_eq!(verdict(&ops), expected, "{name}: {}", diagnose(&evidence(&ops)).sentence);
    }
}

#[test]
fn what_has_ended_holds_nobody_up_and_what_is_written_first_neither() {
    let mut ended = evidence(&demo());
    ended.facts.operators[1].state = Some(TaskState::Finished);
    assert!(!matches!(diagnose(&ended).verdict, Verdict::Bottleneck(_)));
    let mut blocking = evidence(&demo());
    blocking.facts.operators[1].inputs.clear();
    assert_eq!(short(&diagnose(&blocking).verdict), "none", "its input was written whole first");
}

#[test]
fn thresholds_count_from_their_value_on() {
    let chain = |held: f64, busy: f64| {
        verdict(&[op("s", &[]).load(&[(0.0, held, 1.0)]), op("m", &[0]).load(&[(busy, 0.0, 1.0)])])
    };
    assert_eq!([chain(limits::HELD_UP, 0.9), chain(limits::HELD_UP - 0.001, 0.9)], ["1 []", "none"]);
    assert_eq!([chain(0.9, limits::BUSY), chain(0.9, limits::BUSY - 0.001)], ["1 []", "unknown"]);
    assert_eq!(chain(limits::HELD_UP_BADLY - 0.001, limits::BUSY - 0.001), "none");
    let source = |busy: f64| verdict(&[op("s", &[]).load(&[(busy, 0.0, 1.0)]), op("m", &[0]).load(&[(0.0, 0.0, 1.0)])]);
    assert_eq!([source(limits::SATURATED), source(limits::SATURATED - 0.001)], ["0 []", "none"]);
    let queue = |full: f64| verdict(&[op("s", &[]).reads(Measure::OutputQueue, &[full]), op("m", &[0])]);
    assert_eq!([queue(limits::QUEUE_FULL), queue(limits::QUEUE_FULL - 0.001)], ["1 []", "none"]);
    let gap = |busy: f64| {
        verdict(&[op("s", &[]).load(&[(0.0, 0.9, 1.0)]), op("m", &[0]).load(&[(1.0, 0.0, 1.0), (busy, 0.0, 1.0)])])
    };
    assert_eq!([gap(0.7), gap(0.701)], ["1 [0]", "1 []"]);
}

fn sentence(ops: &[Op]) -> String {
    diagnose(&evidence(ops)).sentence
}

#[test]
fn the_reason_of_a_skew_is_read_from_records_and_machines() {
    let source = || op("s", &[]).load(&[(0.0, 0.9, 10.0)]);
    let loads = |records: [f64; 4]| {
        [(1.0, 0.0, records[0]), (0.3, 0.0, records[1]), (0.3, 0.0, records[2]), (0.3, 0.0, records[3])]
    };
    let records = sentence(&[source(), op("m", &[0]).load(&loads([40.0, 10.0, 10.0, 10.0]))]);
    assert!(records.contains("Subtask 0 gets 4 times as many records as the others"), "{records}");
    let machine = sentence(&[source(), op("m", &[0]).load(&loads([10.0; 4]))]);
    assert!(machine.contains("task manager `tm-0`"), "{machine}");
    let mut shared = evidence(&[source(), op("m", &[0]).load(&loads([10.0; 4]))]);
    shared.operators[1].subtasks[1].task_manager = Some("tm-0".to_owned());
    let costly = diagnose(&shared).sentence;
    assert!(costly.contains("a record costs more there"), "{costly}");
    let open = sentence(&[source(), op("m", &[0]).load(&loads([15.0, 10.0, 10.0, 10.0]))]);
    assert!(open.contains("Compare what subtask 0"), "{open}");
    let all = sentence(&[source(), op("m", &[0]).load(&loads([15.0, 0.0, 0.0, 0.0]))]);
    assert!(all.contains("Subtask 0 gets all records and the others none"), "{all}");
}

fn kinds(found: &Diagnosis) -> Vec<FindingKind> {
    found.findings.iter().map(|finding| finding.kind).collect()
}

#[test]
fn operators_that_hold_others_up_apart_from_the_worst_are_found_too() {
    let two = [
        op("a", &[]).load(&[(0.0, 0.9, 1.0)]),
        op("slow", &[0]).load(&[(1.0, 0.0, 1.0)]),
        op("b", &[]).load(&[(0.0, 0.7, 1.0)]),
        op("slowish", &[2]).load(&[(0.9, 0.0, 1.0)]),
    ];
    let found = diagnose(&evidence(&two));
    assert_eq!(short(&found.verdict), "1 []");
    let second = found.findings.iter().find(|finding| finding.operator == Some(3)).unwrap();
    assert!(second.sentence.starts_with("`slowish` holds others up as well"), "{}", second.sentence);
}

#[test]
fn findings_beside_the_verdict() {
    let near = diagnose(&evidence(&[op("s", &[]).load(&[(0.1, 0.01, 1.0)]), op("m", &[0]).load(&[(0.97, 0.0, 1.0)])]));
    assert_eq!((near.verdict.as_str(), kinds(&near)), ("none", vec![FindingKind::NearLimit]));
    let busy = [(0.8, 0.0, 1.0), (0.8, 0.0, 1.0), (0.82, 0.0, 1.0), (0.01, 0.0, 0.0), (0.81, 0.0, 1.0)];
    let idle = diagnose(&evidence(&[op("s", &[]).load(&[(0.1, 0.01, 1.0)]), op("m", &[0]).load(&busy)]));
    assert_eq!((kinds(&idle), idle.findings[0].subtasks.clone()), (vec![FindingKind::IdleSubtasks], vec![3]));
    let behind = op("s", &[])
        .load(&[(0.1, 0.9, 100.0)])
        .reads(Measure::Backlog, &[5000.0])
        .reads(Measure::BacklogGrowth, &[50.0]);
    let backlog = diagnose(&evidence(&[behind, op("m", &[0]).load(&[(1.0, 0.0, 100.0)])]));
    assert_eq!(kinds(&backlog), [FindingKind::Bottleneck, FindingKind::Backlog]);
    assert!(backlog.findings[1].sentence.contains("5000 records wait for it, and every second 50 more"));
    let queues = diagnose(&evidence(&[op("s", &[]).reads(Measure::OutputQueue, &[0.1]), op("m", &[0])]));
    let missing: Vec<_> = queues.missing.iter().map(|missing| (missing.measure, missing.operators.clone())).collect();
    assert_eq!(missing, [(Measure::Busy, vec![0, 1])]);
}

#[test]
fn watermarks_say_where_event_time_is_lost_and_what_holds_it_back() {
    let lag = Measure::WatermarkLag;
    let job = |speed: f64, records: f64, source_records: [f64; 2]| {
        evidence(&[
            op("s", &[])
                .load(&[(0.1, 0.0, source_records[0]), (0.1, 0.0, source_records[1])])
                .reads(lag, &[500.0, 501.0]),
            op("m", &[0]).load(&[(0.2, 0.0, records)]).reads(lag, &[20_000.0]).reads(Measure::WatermarkSpeed, &[speed]),
            op("w", &[1]).load(&[(0.2, 0.0, records)]).reads(lag, &[20_100.0]).reads(Measure::WatermarkSpeed, &[speed]),
        ])
    };
    let found = diagnose(&job(0.5, 10.0, [5.0, 5.0]));
    assert_eq!(kinds(&found), [FindingKind::WatermarkLag], "the last loses no more");
    let said = &found.findings[0];
    assert_eq!((said.operator, said.severity), (Some(1), Severity::Warning));
    assert!(
        said.sentence.contains("is 20 s behind the clock, and falls 500 ms behind in every second more"),
        "{}",
        said.sentence
    );
    assert!(said.sentence.contains("19.5 s of it are lost between `s` and `m`"), "{}", said.sentence);
    let steady = diagnose(&job(1.0, 10.0, [5.0, 5.0]));
    assert_eq!(steady.findings[0].severity, Severity::Info);
    let catches_up = diagnose(&job(3.0, 10.0, [5.0, 5.0]));
    assert!(catches_up.findings[0].sentence.contains("catches up, at 3 times real time"));
    let stands = diagnose(&job(0.0, 10.0, [5.0, 0.0]));
    assert_eq!(stands.findings[0].kind, FindingKind::WatermarkStands);
    let said = &stands.findings[0].sentence;
    assert!(said.contains("Nothing comes from subtask 1 of `s`"), "{said}");
    assert_eq!(
        kinds(&diagnose(&job(0.0, 0.0, [0.0, 0.0]))),
        [FindingKind::WatermarkLag],
        "without records it may stand"
    );
}

fn checkpoint(id: i64, state: CheckpointState, duration_ms: i64) -> CheckpointFact {
    CheckpointFact { id, state, duration_ms, failure: None, waits_for: Vec::new() }
}

fn with_checkpoints(checkpoints: CheckpointFacts) -> Evidence {
    let mut evidence = evidence(&demo());
    evidence.facts.checkpoints = checkpoints;
    evidence
}

#[test]
fn slow_checkpoints_say_where_their_time_goes() {
    let part = |phases: [i64; 4]| SlowestPart {
        checkpoint: 3,
        operator: 1,
        subtask: Some(0),
        duration_ms: 19_509,
        start_delay_ms: Some(phases[0]),
        alignment_ms: Some(phases[1]),
        sync_ms: Some(phases[2]),
        async_ms: Some(phases[3]),
        state_bytes: 1276,
    };
    let job = |phases, interval_ms| CheckpointFacts {
        interval_ms,
        timeout_ms: Some(600_000),
        newest: vec![checkpoint(3, CheckpointState::Completed, 19_513)],
        slowest: Some(part(phases)),
    };
    let found = diagnose(&with_checkpoints(job([19_498, 0, 0, 1], Some(5000))));
    let said = found.findings.iter().find(|finding| finding.kind == FindingKind::SlowCheckpoints).unwrap();
    assert_eq!((said.operator, &said.subtasks[..]), (Some(1), &[0][..]));
    let expected = "Checkpoint 3 took 19.5 s, longer than the 5 s between two. 19.5 s of it passed before the first barrier \
                    reached subtask 0 of `score`";
    assert!(said.sentence.starts_with(expected), "{}", said.sentence);
    for (phases, expected) in [
        ([0, 19_000, 0, 509], "waited for the barriers of its slower inputs"),
        ([0, 0, 19_000, 509], "processed nothing"),
        ([0, 9, 500, 19_000], "wrote its state"),
    ] {
        let found = diagnose(&with_checkpoints(job(phases, Some(5000))));
        assert!(found.findings.iter().any(|finding| finding.sentence.contains(expected)), "{expected}");
    }
    let is_slow =
        |facts: CheckpointFacts| kinds(&diagnose(&with_checkpoints(facts))).contains(&FindingKind::SlowCheckpoints);
    assert!(is_slow(job([0; 4], Some(19_513))) && !is_slow(job([0; 4], Some(19_514))));
    let of_timeout =
        |timeout_ms| CheckpointFacts { interval_ms: None, timeout_ms: Some(timeout_ms), ..job([0; 4], None) };
    assert!(is_slow(of_timeout(39_026)) && !is_slow(of_timeout(39_028)));
}

#[test]
fn failed_checkpoints_and_those_that_do_not_end_are_said() {
    let failed = CheckpointFact { failure: Some("expired".to_owned()), ..checkpoint(4, CheckpointState::Failed, 9) };
    let some = CheckpointFacts {
        newest: vec![failed.clone(), checkpoint(3, CheckpointState::Completed, 9)],
        ..CheckpointFacts::default()
    };
    let found = diagnose(&with_checkpoints(some));
    let said = found.findings.iter().find(|finding| finding.kind == FindingKind::CheckpointFailures).unwrap();
    assert!(
        said.sentence.starts_with("1 of the last 2 checkpoints failed.")
            && said.sentence.ends_with("The last said: expired")
    );
    assert_eq!(said.severity, Severity::Warning);
    let all = diagnose(&with_checkpoints(CheckpointFacts { newest: vec![failed], ..CheckpointFacts::default() }));
    assert_eq!(all.findings[0].severity, Severity::Critical);
    let open = CheckpointFact { waits_for: vec![1, 2], ..checkpoint(4, CheckpointState::InProgress, 90_000) };
    let facts = CheckpointFacts { interval_ms: Some(5000), newest: vec![open], ..CheckpointFacts::default() };
    let found = diagnose(&with_checkpoints(facts));
    let said = found.findings.iter().find(|finding| finding.kind == FindingKind::SlowCheckpoints).unwrap();
    assert!(
        said.sentence.contains("takes, so far, 90 s") && said.sentence.contains("waits for `score` and"),
        "{}",
        said.sentence
    );
}

#[test]
fn barriers_are_judged_by_metrics_where_no_document_tells_of_them() {
    let mut ops = demo();
    ops[1] = ops[1].clone().reads(Measure::StartDelay, &[19_498.0, 341.0]);
    ops[2] = ops[2].clone().reads(Measure::Alignment, &[3251.0, 3251.0]);
    let found = diagnose(&evidence(&ops));
    let said = found.findings.iter().find(|finding| finding.kind == FindingKind::SlowCheckpoints).unwrap();
    assert_eq!(said.operator, Some(1));
    assert!(said.sentence.contains("took 19.5 s to `score`"), "{}", said.sentence);
}

#[test]
fn a_job_that_does_not_run_is_not_judged_by_its_load() {
    let mut job = evidence(&demo());
    job.facts.state = Some(JobState::Finished);
    job.facts.ended_ms = Some(0);
    let ended = diagnose(&job);
    assert_eq!((ended.verdict.as_str(), kinds(&ended)), ("not_running", vec![FindingKind::NotRunning]));
    assert!(ended.sentence.contains("(FINISHED) at 1970-01-01T00:00:00"), "{}", ended.sentence);
    job.facts.state = Some(JobState::Restarting);
    assert_eq!(diagnose(&job).findings[0].severity, Severity::Critical);
    job.facts.state = Some(JobState::Running);
    job.facts.operators[1].others = [(TaskState::Scheduled, 2)].into();
    let waits = diagnose(&job);
    assert_eq!(waits.verdict, Verdict::NotRunning);
    assert!(
        waits.sentence.contains("of the 2 subtasks of `score`, 2 SCHEDULED do not run. They wait for slots"),
        "{}",
        waits.sentence
    );
}

#[test]
fn restarts_come_first_when_there_are_many() {
    let mut job = evidence(&demo());
    let restart = |at_ms| RestartFact { at_ms, cause: Some("java.lang.X".to_owned()) };
    job.facts.restarts = vec![restart(700_000), restart(940_000)];
    let some = diagnose(&job);
    assert!(some.sentence.starts_with("`score` is the bottleneck"));
    let said = some.findings.iter().find(|finding| finding.kind == FindingKind::Restarts).unwrap();
    assert!(
        said.sentence.contains("2 times in the last 60 min, last 60 s before; before the last one failed: java.lang.X"),
        "{}",
        said.sentence
    );
    job.facts.restarts.push(restart(990_000));
    assert_eq!(job.facts.restarts.len(), limits::RESTARTS_MANY);
    let many = diagnose(&job);
    assert!(
        many.sentence.starts_with("The job restarted 3 times within an hour: mend that first. `score`"),
        "{}",
        many.sentence
    );
    assert_eq!((many.findings[0].kind, many.findings[0].severity), (FindingKind::Restarts, Severity::Critical));
    job.facts.lost_ms = Some(0);
    assert!(diagnose(&job).sentence.starts_with("Nobody has heard of the job since 1970-01-01T00:00:00"));
}

#[test]
fn few_readings_are_shown_and_both_ends_of_them() {
    let subtasks: Vec<(f64, f64, f64)> = (0..50).map(|i| (0.99 - f64::from(i) / 1000.0, 0.0, 1.0)).collect();
    let job = evidence(&[op("s", &[]).load(&[(0.0, 0.9, 1.0)]), op("m", &[0]).load(&subtasks)]);
    let found = diagnose(&job);
    let items = found.findings.iter().find(|finding| finding.kind == FindingKind::Bottleneck).unwrap();
    let busy: Vec<u64> =
        items.evidence.iter().filter(|item| item.what == "busy").filter_map(|item| item.subtask).collect();
    assert_eq!(busy.len(), limits::ITEMS);
    assert_eq!((busy[0], busy[limits::ITEMS - 1]), (0, 49));
}

/// The page has every number of the file and every word of the answers.
#[test]
fn the_page_says_what_there_is() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/diagnosis.md")).unwrap();
    let numbers = include_str!("thresholds.rs");
    let names = numbers.lines().filter_map(|line| line.strip_prefix("pub const ")?.split(':').next());
    let words =
        FindingKind::ALL.iter().map(|kind| kind.as_str()).chain(Measure::ALL.iter().map(|measure| measure.as_str()));
    for name in names.chain(words) {
        assert!(page.contains(&format!("`{name}`")), "{name} is not on the page");
    }
}

const SHARES: [f64; 9] = [0.0, 0.05, 0.11, 0.3, 0.49, 0.55, 0.8, 0.96, 1.0];

/// A job of any graph whose edges go forward, with whatever is known of it.
fn any_job() -> impl Strategy<Value = Evidence> {
    let reading = || {
        proptest::option::weighted(
            0.8,
            prop_oneof![Just(f64::NAN), Just(f64::INFINITY), 0.0..1.0_f64, proptest::sample::select(&SHARES[..])],
        )
    };
    let subtask = proptest::collection::vec(reading(), Measure::ALL.len());
    let operator = (proptest::collection::vec(subtask, 0..4), proptest::collection::vec(any::<bool>(), 8), 0..8_usize);
    proptest::collection::vec(operator, 0..8).prop_map(|ops| {
        let ops: Vec<Op> = ops
            .into_iter()
            .enumerate()
            .map(|(place, (subtasks, inputs, _))| Op {
                name: ["a", "b", "c", "d", "e", "f", "g", "h"][place],
                inputs: (0..place).filter(|input| inputs[*input]).collect(),
                subtasks: subtasks
                    .into_iter()
                    .map(|values| Measure::ALL.into_iter().zip(values).filter_map(|(m, v)| Some((m, v?))).collect())
                    .collect(),
            })
            .collect();
        evidence(&ops)
    })
}

/// A chain in which busy and waiting follow from what each operator can take: the answer is known.
fn chain() -> impl Strategy<Value = (Vec<Op>, Option<usize>)> {
    let capacities = proptest::collection::vec(10.0..1000.0_f64, 2..7);
    (capacities, 10.0..2000.0_f64).prop_filter_map("two are too alike to tell", |(capacities, offered)| {
        let rate = capacities.iter().copied().fold(offered, f64::min);
        let slowest = capacities.iter().position(|capacity| *capacity == rate);
        // What waits is everyone before the slowest, for the time that is left over.
        let ops: Vec<Op> = capacities
            .iter()
            .enumerate()
            .map(|(place, capacity)| {
                let busy = rate / capacity;
                let held = if slowest.is_some_and(|slowest| place < slowest) { 1.0 - busy } else { 0.0 };
                let inputs: Vec<usize> = place.checked_sub(1).into_iter().collect();
                op("x", &inputs).load(&[(busy, held, rate)])
            })
            .collect();
        let mut sorted = capacities.clone();
        sorted.push(offered);
        sorted.sort_by(f64::total_cmp);
        (sorted[0] * 1.15 < sorted[1]).then_some((ops, slowest))
    })
}

proptest! {
    #[test]
    fn the_slowest_of_a_chain_is_found_and_nothing_where_the_input_is_slower((ops, slowest) in chain()) {
        let found = diagnose(&evidence(&ops)).verdict;
        match slowest {
            Some(slowest) => prop_assert_eq!(short(&found), format!("{slowest} []")),
            None => prop_assert_eq!(found, Verdict::NoBottleneck),
        }
    }

    #[test]
    fn names_do_not_change_the_verdict(job in any_job()) {
        let mut renamed = job.clone();
        for (place, operator) in renamed.facts.operators.iter_mut().enumerate() {
            operator.id = format!("{}-{place}", 99 - place);
            operator.name = format!("other {}", 99 - place);
        }
        let (before, after) = (diagnose(&job), diagnose(&renamed));
        prop_assert_eq!(&before.verdict, &after.verdict);
        let plain = |found: &Diagnosis| {
            found.findings.iter().map(|one| (one.kind, one.operator, one.subtasks.clone(), one.evidence.len())).collect::<Vec<_>>()
        };
        prop_assert_eq!(plain(&before), plain(&after));
    }

    #[test]
    fn the_order_of_operators_does_not_change_the_verdict((ops, _) in chain(), seed in any::<u64>()) {
        let mut order: Vec<usize> = (0..ops.len()).collect();
        order.sort_by_key(|place| (*place as u64 + 1).wrapping_mul(seed | 1).rotate_left(17));
        let place = |old: usize| order.iter().position(|other| *other == old).unwrap();
        let shuffled: Vec<Op> = order
            .iter()
            .map(|old| Op { inputs: ops[*old].inputs.iter().map(|input| place(*input)).collect(), ..ops[*old].clone() })
            .collect();
        let (before, after) = (diagnose(&evidence(&ops)).verdict, diagnose(&evidence(&shuffled)).verdict);
        match (before, after) {
            (Verdict::Bottleneck(a), Verdict::Bottleneck(b)) => prop_assert_eq!(place(a.operator), b.operator),
            (a, b) => prop_assert_eq!(a, b),
        }
    }

    #[test]
    fn an_idle_operator_at_the_end_changes_nothing((mut ops, _) in chain()) {
        let before = diagnose(&evidence(&ops)).verdict;
        let last = ops.len() - 1;
        ops.push(op("idle", &[last]).load(&[(0.01, 0.0, 1.0)]));
        prop_assert_eq!(before, diagnose(&evidence(&ops)).verdict);
    }

    #[test]
    fn a_verdict_rests_on_what_was_measured(job in any_job()) {
        let found = diagnose(&job);
        prop_assert!(!found.sentence.is_empty());
        let bare = job.operators.iter().all(|operator| {
            [Measure::Busy, Measure::Backpressured, Measure::OutputQueue, Measure::InputQueue].iter().all(|m| operator.value(*m).is_none())
        });
        if bare {
            prop_assert_eq!(&found.verdict, &Verdict::Unknown);
        }
        if let Verdict::Bottleneck(one) = &found.verdict {
            let finding = found.findings.iter().find(|f| f.kind == FindingKind::Bottleneck && f.operator == Some(one.operator));
            prop_assert!(finding.is_some_and(|finding| !finding.evidence.is_empty()));
        }
        for item in found.findings.iter().flat_map(|finding| &finding.evidence) {
            prop_assert!(!item.value.is_nan());
        }
    }
}
