//! What is put together from states, attempts and failures, and what is read over all versions of documents.

use model::Scope;
use tempfile::TempDir;

use super::*;
use crate::catalog::Catalog;
use crate::jobs::testing::{OPTIONS, open_with};
use crate::jobs::{
    CheckpointStatistics, JobOptions, Jobs, Observation, Origin, PlanNode, RestoredCheckpoint, Subject, SubjectKind,
    TaskState,
};

#[test]
fn every_time_in_a_state_is_there_although_each_version_knows_only_the_last() {
    let run = |times: &[(JobState, i64)]| -> Run {
        let times: BTreeMap<&str, i64> = times.iter().map(|(state, at)| (state.as_str(), *at)).collect();
        let run = serde_json::json!({
            "name": "n", "state": "RUNNING", "started_ms": 1, "is_stoppable": false, "state_times": times,
        });
        serde_json::from_value(run).unwrap()
    };
    let running = |at| (JobState::Running, at);
    let versions = [
        run(&[running(5)]),
        run(&[(JobState::Restarting, 7), running(5)]),
        run(&[(JobState::Restarting, 7), running(9)]),
    ];
    let mut states = States::default();
    versions.into_iter().for_each(|run| states.extend(Some(run)));
    let found: Vec<_> = states.events().into_iter().map(|event| (event.at_ms, event.what)).collect();
    let state = |at, state| (at, What::State(state));
    assert_eq!(found, [state(5, JobState::Running), state(7, JobState::Restarting), state(9, JobState::Running)]);
}

fn subtask(index: u64, attempt: u64, started_ms: Option<i64>) -> Subtask {
    Subtask { started_ms, ..Subtask::new(index, attempt, TaskState::Running) }
}

#[test]
fn subtasks_of_one_attempt_are_deployed_together() {
    let all = [subtask(0, 1, Some(20)), subtask(1, 0, Some(11)), subtask(0, 0, Some(10)), subtask(2, 0, None)];
    let found = Deployed::of(all.iter().map(|subtask| ("v", subtask))).events();
    let event = |at_ms, attempt, subtasks| Event {
        at_ms,
        what: What::Deployment { vertex: "v".to_owned(), attempt, subtasks },
    };
    assert_eq!(found, [event(10, 0, 2), event(20, 1, 1)]);
}

fn failed(at_ms: i64, text: &str) -> Failure {
    Failure {
        at_ms,
        name: None,
        stack_trace: text.to_owned(),
        task: None,
        endpoint: None,
        task_manager: None,
        labels: BTreeMap::new(),
        concurrent: Vec::new(),
    }
}

#[test]
fn what_is_deployed_again_is_a_restart_with_what_failed_before_it() {
    let all = [
        ("a", subtask(0, 0, Some(0))),
        ("b", subtask(0, 0, Some(1))),
        ("a", subtask(0, 1, Some(1000))),
        ("b", subtask(0, 1, Some(1003))),
        // Soon after, but the same subtask once more.
        ("a", subtask(0, 2, Some(1500))),
        // Of one region alone, and much later.
        ("b", subtask(0, 2, Some(90_000))),
    ];
    let deployed = Deployed::of(all.iter().map(|(vertex, subtask)| (*vertex, subtask)));
    let failures = [failed(900, "x: first\n\tat y"), failed(800, "x: older"), failed(1400, "x: second")];
    let found = restarts(&deployed, &States::default(), &failures);
    let expected = |at_ms, vertices: &[&str], cause: Option<&str>| Event {
        at_ms,
        what: What::Restart {
            subtasks: vertices.len() as u64,
            vertices: vertices.iter().map(|vertex| (*vertex).to_owned()).collect(),
            cause: cause.map(str::to_owned),
            restored: None,
        },
    };
    let all = [
        expected(1000, &["a", "b"], Some("x: first")),
        expected(1500, &["a"], Some("x: second")),
        expected(90_000, &["b"], None),
    ];
    assert_eq!(found, all);
}

#[test]
fn a_source_that_tells_of_states_alone_has_restarts_too() {
    let times = [(1000, JobState::Restarting), (2000, JobState::Running), (5000, JobState::Restarting)];
    let states = States { times: times.into(), lost: BTreeSet::new() };
    let all = [subtask(0, 1, Some(5500))];
    let deployed = Deployed::of(all.iter().map(|subtask| ("v", subtask)));
    let found: Vec<i64> = restarts(&deployed, &states, &[]).iter().map(|event| event.at_ms).collect();
    assert_eq!(found, [1000, 5500], "the second is known by what was deployed");
}

fn open(dir: &TempDir) -> (Catalog, Jobs) {
    let options = JobOptions {
        jobs_max: 10,
        implied_max: 10,
        documents_max: 10,
        document_bytes_max: 10_000,
        checkpoints_max: 10,
        retention_ms: None,
        ..OPTIONS
    };
    open_with(dir, options)
}

/// All events of the job `j`.
fn events(jobs: &Jobs, at_ms: i64) -> Vec<Event> {
    let all = |reader: &Reader<'_>| {
        let job = reader.find(&Scope::default(), SubjectKind::Job, "j")?.unwrap();
        timeline(reader, &job, TimeRange::ALL, at_ms)
    };
    jobs.read(all).unwrap()
}

#[test]
fn changes_of_parallelism_and_lost_contact_are_found_in_all_versions() {
    let dir = TempDir::new().unwrap();
    let (_catalog, jobs) = open(&dir);
    let cluster = |at_ms, is_reachable| {
        let mut seen = Observation::new(Subject::cluster("o", "main"), Origin::Flink, at_ms);
        seen.put(&Cluster { is_reachable, ..Cluster::default() }).unwrap();
        jobs.record(seen).unwrap();
    };
    // Before the job was there: none of its business.
    cluster(1, true);
    cluster(2, false);
    cluster(5, true);
    for (at_ms, parallelism) in [(10, 2), (20, 4), (30, 4), (40, 8), (50, 2), (60, 3)] {
        let mut seen = Observation::new(Subject::job("o", "j"), Origin::Flink, at_ms).in_cluster("main");
        let node = PlanNode { id: "v".to_owned(), parallelism, description: at_ms.to_string(), ..PlanNode::default() };
        seen.put(&Plan { kind: None, nodes: vec![node] }).unwrap();
        jobs.record(seen).unwrap();
    }
    cluster(33, false);
    cluster(44, true);
    let rescaled = |at_ms, from, to| Event { at_ms, what: What::Rescaled { vertex: "v".to_owned(), from, to } };
    let of = |at_ms, what| Event { at_ms, what };
    let expected = [
        rescaled(20, 2, 4),
        of(33, What::Unreachable),
        rescaled(40, 4, 8),
        of(44, What::Reachable),
        rescaled(50, 8, 2),
        rescaled(60, 2, 3),
    ];
    assert_eq!(events(&jobs, i64::MAX), expected);
    assert_eq!(events(&jobs, 43), expected[..3], "what was known then");
}

#[test]
fn a_restart_knows_the_checkpoint_that_it_was_restored_from() {
    let dir = TempDir::new().unwrap();
    let (_catalog, jobs) = open(&dir);
    for (attempt, at_ms) in [(1, 100_000), (2, 200_000)] {
        let mut seen = Observation::new(Subject::job("o", "j"), Origin::Flink, at_ms + 10);
        let subtasks = vec![subtask(0, attempt, Some(at_ms))];
        seen.put(&Subtasks { vertex: "v".to_owned(), subtasks }).unwrap();
        // The second began from nothing: the statistics still have the first.
        let restored = RestoredCheckpoint { id: 7, at_ms: 99_000, is_savepoint: false, path: None };
        seen.put(&CheckpointStatistics { restored: Some(restored), ..CheckpointStatistics::default() }).unwrap();
        jobs.record(seen).unwrap();
    }
    let found: Vec<(i64, Option<i64>)> = events(&jobs, i64::MAX)
        .into_iter()
        .filter_map(|event| match event.what {
            What::Restart { restored, .. } => Some((event.at_ms, restored)),
            _ => None,
        })
        .collect();
    assert_eq!(found, [(100_000, Some(7)), (200_000, None)]);
}
