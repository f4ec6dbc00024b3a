//! What is asked, in which order, and when nothing is.

use serde_json::json;

use super::super::convert;
use super::ask::{GET_BYTES_MAX, PIECES_MAX};
use super::*;
use crate::jobs::JobState;

fn entry(state: JobState, changed_ms: i64) -> JobEntry {
    JobEntry { id: "j".to_owned(), state, changed_ms, tasks: BTreeMap::new() }
}

fn follower(metrics: Metrics) -> Follower {
    Follower::new(Subject::job("", "j"), "main", metrics, entry(JobState::Running, 1))
}

fn details(state: &str, ended_ms: i64) -> Value {
    let vertex = if ended_ms > 0 { "FINISHED" } else { "RUNNING" };
    json!({
        "jid": "j", "name": "n", "state": state, "start-time": 5, "end-time": ended_ms, "now": 10, "timestamps": {},
        "vertices": [{
            "id": "v", "name": "source", "parallelism": 2, "status": vertex, "start-time": 6, "end-time": ended_ms,
            "tasks": {}, "metrics": {},
        }],
        "plan": {"nodes": []},
    })
}

fn checkpoints(listed: &[(i64, &str)]) -> Value {
    let one = |(id, state): &(i64, &str)| checkpoint(*id, state, json!({}));
    json!({
        "counts": {"restored": 0, "total": 1, "in_progress": 0, "completed": 1, "failed": 0},
        "summary": {},
        "latest": {"completed": null, "savepoint": null, "failed": null, "restored": null},
        "history": listed.iter().map(one).collect::<Vec<_>>(),
    })
}

fn checkpoint(id: i64, state: &str, tasks: Value) -> Value {
    json!({
        "id": id, "status": state, "is_savepoint": false, "trigger_timestamp": 1, "latest_ack_timestamp": 2,
        "state_size": 3, "end_to_end_duration": 4, "num_subtasks": 2, "num_acknowledged_subtasks": 2, "tasks": tasks,
    })
}

fn part() -> Value {
    json!({
        "id": 7, "status": "COMPLETED", "latest_ack_timestamp": 2, "state_size": 3, "end_to_end_duration": 4,
        "num_subtasks": 2, "num_acknowledged_subtasks": 2,
    })
}

fn accumulators(count: usize) -> Value {
    let one = json!({"name": "n", "type": "IntCounter", "value": "5"});
    json!({"job-accumulators": [], "user-task-accumulators": vec![one; count]})
}

/// Asks everything, answers what is given and refuses the rest.
fn drain(follower: &mut Follower, answers: &[(Ask, Value)]) -> Vec<Ask> {
    let mut asked = Vec::new();
    loop {
        let asks = follower.take(1);
        let Some(ask) = asks.into_iter().next() else { return asked };
        if let Some((_, answer)) = answers.iter().find(|(known, _)| *known == ask) {
            follower.answered(&ask, answer, 100).unwrap();
        }
        asked.push(ask);
    }
}

/// A job that was asked for everything.
fn settled() -> Follower {
    let mut follower = follower(Metrics::Scrape);
    drain(&mut follower, &[]);
    follower.begin(entry(JobState::Running, 1));
    drain(&mut follower, &[]);
    follower
}

#[test]
fn a_job_in_which_nothing_changed_costs_one_request() {
    let mut follower = follower(Metrics::Scrape);
    let first = drain(&mut follower, &[(Ask::Details, details("RUNNING", -1))]);
    assert_eq!(first[..2], [Ask::Details, Ask::Exceptions]);
    assert!(first.contains(&Ask::Vertex("v".to_owned())) && first.contains(&Ask::Config));
    follower.begin(entry(JobState::Running, 1));
    let again = drain(&mut follower, &[]);
    assert_eq!(again, [Ask::Details, Ask::Exceptions, Ask::Checkpoints], "the first answers may be from a cache");
    for round in 2..ACCUMULATOR_ROUNDS {
        follower.begin(entry(JobState::Running, 1));
        assert_eq!(drain(&mut follower, &[]), [Ask::Checkpoints], "round {round}");
    }
    follower.begin(entry(JobState::Running, 1));
    assert_eq!(drain(&mut follower, &[(Ask::Accumulators, accumulators(0))]), [Ask::Checkpoints, Ask::Accumulators]);
    (0..ACCUMULATOR_ROUNDS).for_each(|_| follower.begin(entry(JobState::Running, 1)));
    let with_accumulators = drain(&mut follower, &[(Ask::Accumulators, accumulators(1))]);
    let of_vertex = [Ask::VertexAccumulators("v".to_owned()), Ask::SubtaskAccumulators("v".to_owned())];
    assert!(of_vertex.iter().all(|ask| with_accumulators.contains(ask)), "{with_accumulators:?}");
    for details in [true, true, false] {
        follower.begin(entry(JobState::Running, 2));
        assert_eq!(drain(&mut follower, &[]).contains(&Ask::Details), details, "after a change, and once more");
    }
}

/// Operators register metrics when their first record comes, which may be at any time.
#[test]
fn names_of_metrics_are_asked_for_again_while_a_job_runs() {
    let mut follower = follower(Metrics::Scrape);
    let answers = [(Ask::Details, details("RUNNING", -1))];
    drain(&mut follower, &answers);
    let mut rounds = Vec::new();
    for round in 1..=200 {
        follower.begin(entry(JobState::Running, 1));
        let asked = drain(&mut follower, &answers);
        let of = |ask| asked.contains(&ask);
        let is_asked = of(Ask::MetricNames);
        assert!(round == 1 || is_asked == of(Ask::VertexMetricNames("v".to_owned())), "round {round}: {asked:?}");
        rounds.extend(is_asked.then_some(round));
    }
    assert_eq!(rounds, [8, 16, 32, 64, 128, 192], "seldom, the longer nothing changes");
    follower.begin(entry(JobState::Running, 2));
    drain(&mut follower, &answers);
    rounds = (1..=20)
        .filter(|_| {
            follower.begin(entry(JobState::Running, 2));
            drain(&mut follower, &answers).contains(&Ask::MetricNames)
        })
        .collect();
    assert_eq!(rounds, [8, 16], "counted from the last change");
}

/// 1.9 has no list of checkpoints for a job that takes none.
#[test]
fn checkpoints_that_are_not_there_are_asked_for_when_something_changes() {
    let mut follower = settled();
    follower.refused(Ask::Checkpoints, false, 100).unwrap();
    follower.begin(entry(JobState::Running, 1));
    assert!(follower.take(100).is_empty());
    follower.begin(entry(JobState::Running, 2));
    assert!(follower.take(100).contains(&Ask::Checkpoints));
    follower.begin(entry(JobState::Running, 2));
    drain(&mut follower, &[]);
    follower.refused(Ask::Checkpoints, false, 100).unwrap();
    follower.refused(Ask::Config, true, 100).unwrap();
    follower.begin(entry(JobState::Running, 2));
    assert_eq!(follower.take(100), [Ask::Config], "what the cluster failed at is asked for again");
}

#[test]
fn what_does_not_fit_waits_and_is_asked_for_once() {
    let mut follower = follower(Metrics::Scrape);
    assert_eq!(follower.take(2), [Ask::Details, Ask::Exceptions]);
    follower.put_back(Ask::Details);
    assert!(!follower.take(100).contains(&Ask::Details), "not in the same round");
    follower.begin(entry(JobState::Running, 2));
    let next = follower.take(100);
    assert_eq!(next.iter().filter(|ask| **ask == Ask::Details).count(), 1);
}

#[test]
fn a_job_is_done_when_its_end_is_known() {
    let mut follower = follower(Metrics::Scrape);
    drain(&mut follower, &[(Ask::Details, details("RUNNING", -1))]);
    assert!(!follower.is_done());
    follower.begin(entry(JobState::Finished, 9));
    // The cluster answers from a cache that is older than its list.
    let asked = drain(&mut follower, &[(Ask::Details, details("RUNNING", -1))]);
    assert!(asked.contains(&Ask::ExecutionResult) && !follower.is_done());
    follower.begin(entry(JobState::Finished, 9));
    drain(&mut follower, &[(Ask::Details, details("FINISHED", 9))]);
    assert!(follower.is_done());
    follower.begin(entry(JobState::Finished, 9));
    assert!(follower.take(100).is_empty());
}

/// The list of all is newer than what a cluster answers from its cache.
#[test]
fn what_was_said_before_the_details_knew_of_the_end_is_asked_for_again() {
    let mut follower = settled();
    follower.begin(entry(JobState::Failed, 2));
    let early = drain(&mut follower, &[(Ask::Details, details("RUNNING", -1))]);
    assert!(early.contains(&Ask::Checkpoints) && early.contains(&Ask::Accumulators), "{early:?}");
    follower.begin(entry(JobState::Failed, 2));
    let late = drain(&mut follower, &[(Ask::Details, details("FAILED", 9))]);
    let again = [Ask::Details, Ask::Exceptions, Ask::Checkpoints, Ask::ExecutionResult, Ask::Accumulators];
    assert!(again.iter().all(|ask| late.contains(ask)), "{late:?}");
    follower.begin(entry(JobState::Failed, 2));
    assert!(follower.take(100).is_empty(), "now its end is known");
}

#[test]
fn each_checkpoint_is_asked_for_once_and_the_newest_by_subtask() {
    let mut follower = settled();
    follower.begin(entry(JobState::Running, 1));
    let tasks = json!({"v": part()});
    let answers = [
        (Ask::Checkpoints, checkpoints(&[(8, "IN_PROGRESS"), (7, "COMPLETED"), (6, "FAILED")])),
        (Ask::Checkpoint(6), checkpoint(6, "FAILED", tasks.clone())),
        (Ask::Checkpoint(7), checkpoint(7, "COMPLETED", tasks)),
    ];
    let newest = Ask::CheckpointSubtasks(7, "v".to_owned());
    let asked = drain(&mut follower, &answers);
    assert_eq!(asked[..3], [Ask::Checkpoints, Ask::Checkpoint(6), Ask::Checkpoint(7)]);
    assert_eq!(asked[3..], [newest]);
    follower.begin(entry(JobState::Running, 1));
    let asked = drain(&mut follower, &answers);
    assert_eq!(asked, [Ask::Checkpoints]);
}

/// What was removed meanwhile keeps the tasks that are known of it.
#[test]
fn a_known_checkpoint_that_changes_keeps_its_tasks() {
    let mut follower = follower(Metrics::Scrape);
    let known = convert::checkpoint(&checkpoint(7, "COMPLETED", json!({"v": part()}))).unwrap();
    follower.recall([known]);
    let told = follower.answered(&Ask::Checkpoints, &checkpoints(&[(7, "COMPLETED")]), 100).unwrap();
    assert!(told.observation.is_some());
    assert!(!follower.take(100).contains(&Ask::Checkpoint(7)));
    assert_eq!(follower.checkpoints[&7].tasks.len(), 1);
}

/// With as many requests in a round as are allowed by default.
#[test]
fn numbers_of_all_vertices_are_asked_for_in_turn_where_they_do_not_fit_into_a_round() {
    let mut follower = follower(Metrics::Rest);
    let mut answer = details("RUNNING", -1);
    let vertex = answer["vertices"][0].clone();
    let vertices = (0..100).map(|i| {
        let mut vertex = vertex.clone();
        vertex["id"] = json!(format!("v{i:03}"));
        vertex
    });
    answer["vertices"] = vertices.collect();
    drain(&mut follower, &[(Ask::Details, answer)]);
    let mut asked = BTreeSet::new();
    for _ in 0..12 {
        follower.begin(entry(JobState::Running, 1));
        let asks = follower.take(40);
        assert!(asks.contains(&Ask::Checkpoints), "in every round: {asks:?}");
        asked.extend(asks);
    }
    assert!((0..100).all(|i| asked.contains(&Ask::Vertex(format!("v{i:03}")))), "{asked:?}");
    assert!(asked.contains(&Ask::Accumulators), "{asked:?}");
}

#[test]
fn numbers_are_asked_for_in_pieces_that_fit_into_a_request() {
    let mut follower = follower(Metrics::Rest);
    let names: Vec<Value> = (0..200).map(|i| json!({"id": format!("operator name.metric{i}")})).collect();
    let vertex = "v".to_owned();
    drain(
        &mut follower,
        &[(Ask::Details, details("RUNNING", -1)), (Ask::VertexMetricNames(vertex.clone()), Value::Array(names))],
    );
    follower.begin(entry(JobState::Running, 1));
    let asks = follower.take(100);
    let pieces: Vec<String> =
        asks.iter().filter(|ask| matches!(ask, Ask::VertexValues(..))).map(|ask| follower.path(ask)).collect();
    assert!(pieces.len() > 2 && asks.contains(&Ask::Vertex(vertex)));
    assert!(pieces.iter().all(|path| path.len() < 4000 && !path.contains(' ')));
    let ids: usize = pieces.iter().map(|path| path.split_once("get=").unwrap().1.split(',').count()).sum();
    assert_eq!(ids, 400, "each metric of both subtasks");
}

/// Whatever parallelism a cluster says a vertex has.
#[test]
fn the_number_of_pieces_is_bounded() {
    let ids = |count: usize| (0..count).map(|i| format!("{i:03500}"));
    assert_eq!(pieces(ids(PIECES_MAX)).len(), PIECES_MAX);
    assert_eq!(pieces(ids(PIECES_MAX + 1)).len(), PIECES_MAX);
    let short = ["a".repeat(1749), "b".repeat(1750), "c".repeat(1750)];
    let found = pieces(short.into_iter());
    assert_eq!(found.iter().map(String::len).collect::<Vec<_>>(), [GET_BYTES_MAX, 1750], "as much as fits");
}

#[test]
fn values_are_numbers_or_yes_and_no() {
    let answer = json!([
        {"id": "0.numRecordsIn", "value": "44932"}, {"id": "1.isBackPressured", "value": "true"},
        {"id": "0.path", "value": "file:/x"}, {"id": "0.score.p99", "value": "1.5E7"},
    ]);
    let vertex = "v".to_owned();
    let found = numbers(Some(&vertex), &answer);
    let number = |subtask, name: &str, value| Number {
        vertex: Some(vertex.clone()),
        subtask: Some(subtask),
        name: name.to_owned(),
        value,
    };
    let expected =
        [number(0, "numRecordsIn", 44932.0), number(1, "isBackPressured", 1.0), number(0, "score.p99", 1.5e7)];
    assert_eq!(found, expected);
}

#[test]
fn attempts_that_newer_ones_replaced_are_asked_for_once() {
    let mut follower = follower(Metrics::Scrape);
    drain(&mut follower, &[]);
    let vertex = |attempt: u64| {
        json!({"id": "v", "subtasks": [{
            "subtask": 0, "status": "RUNNING", "attempt": attempt, "metrics": {}, "status-duration": {},
        }]})
    };
    let ask = Ask::Vertex("v".to_owned());
    let attempt = |number| Ask::Attempt("v".to_owned(), 0, number);
    follower.answered(&ask, &vertex(2), 100).unwrap();
    assert_eq!(follower.take(100), [attempt(0), attempt(1)]);
    follower.answered(&ask, &vertex(2), 200).unwrap();
    assert!(follower.take(100).is_empty());
    follower.answered(&ask, &vertex(100), 300).unwrap();
    assert_eq!(follower.take(100), (84..100).map(attempt).collect::<Vec<_>>());
    // Faster than they are asked for: those that the cluster has forgotten are not.
    (101..=120).for_each(|number| drop(follower.answered(&ask, &vertex(number), 400).unwrap()));
    assert_eq!(follower.take(100), (104..120).map(attempt).collect::<Vec<_>>());
}

#[test]
fn without_durations_a_vertex_waits_for_the_times_of_its_subtasks() {
    let mut follower = follower(Metrics::Scrape);
    let ask = Ask::Vertex("v".to_owned());
    let subtask = json!({
        "subtask": 0, "status": "RUNNING", "attempt": 0, "host": "h:1", "start-time": 6, "end-time": -1,
        "metrics": {"read-bytes": 3, "read-bytes-complete": true},
    });
    let answer = json!({"id": "v", "subtasks": [subtask]});
    let told = follower.answered(&ask, &answer, 100).unwrap();
    assert!(told.observation.is_none() && told.moving.is_empty());
    let times = Ask::SubtaskTimes("v".to_owned());
    assert!(follower.wanted.contains(&times));
    let told =
        follower.answered(&times, &json!({"subtasks": [{"subtask": 0, "timestamps": {"RUNNING": 8}}]}), 100).unwrap();
    assert!(told.observation.is_some());
    assert_eq!(told.moving[0].samples(), [("flink_taskmanager_job_task_numBytesIn", 3.0)]);
    follower.answered(&ask, &answer, 200).unwrap();
    let told = follower.refused(times, false, 200).unwrap();
    assert!(told.observation.is_some(), "without times it is worth more than nothing");
}
