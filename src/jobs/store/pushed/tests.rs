//! Pushed jobs in the store: late, repeated and unordered reports, jobs that are given up, limits.

use proptest::prelude::*;

use super::super::{Jobs, PushOptions};
use super::agents::GivenUp;
use super::*;
use crate::jobs::command::CommandKind;
use crate::jobs::push::{NewVertex, Task, Terms, WhenMissed};
use crate::jobs::testing::{OPTIONS, open_with};
use crate::jobs::{
    Accumulator, Accumulators, Checkpoint, CheckpointSettings, CheckpointSizes, CheckpointState, Plan, SubjectKind,
    TaskState,
};

pub(in crate::jobs::store) const PUSHING: JobOptions = JobOptions {
    jobs_max: 10,
    implied_max: 10,
    documents_max: 1000,
    document_bytes_max: 1 << 20,
    pending_bytes_max: 1 << 20,
    checkpoints_max: 100,
    attempts_max: 100,
    retention_ms: None,
    push: OPTIONS.push,
};

/// A job of two vertices, of which the first has two subtasks.
pub(in crate::jobs::store) fn registering(id: &str, at_ms: i64) -> Push {
    let vertex = |id: &str, parallelism| NewVertex {
        id: id.to_owned(),
        name: id.to_owned(),
        parallelism,
        max_parallelism: None,
        slot_sharing_group: None,
        operator: String::new(),
        description: String::new(),
        inputs: Vec::new(),
    };
    let registration = Registration {
        name: "n".to_owned(),
        started_ms: None,
        cluster: None,
        kind: None,
        max_parallelism: None,
        is_stoppable: false,
        settings: None,
        checkpointing: None,
        vertices: vec![vertex("a", 2), vertex("b", 1)],
        terms: Terms {
            commands: [CommandKind::Cancel, CommandKind::Stop, CommandKind::Savepoint].into(),
            ..Terms::default()
        },
    };
    Push { registration: Some(registration), ..push(id, at_ms) }
}

fn push(id: &str, at_ms: i64) -> Push {
    Push::new(Subject::job("", id), at_ms, at_ms)
}

fn state(at_ms: i64, state: JobState) -> Push {
    Push { state: Some(state), ..push("j", at_ms) }
}

fn checkpoint(id: i64, state: CheckpointState) -> Checkpoint {
    Checkpoint {
        id,
        state,
        is_savepoint: false,
        savepoint_format: None,
        kind: None,
        triggered_ms: 1,
        latest_ack_ms: 2,
        sizes: CheckpointSizes { duration_ms: id, ..CheckpointSizes::default() },
        subtasks: 1,
        acknowledged: 1,
        path: None,
        is_discarded: None,
        failure: None,
        tasks: BTreeMap::new(),
    }
}

fn failure(at_ms: i64) -> Failure {
    Failure {
        at_ms,
        name: None,
        stack_trace: "x".to_owned(),
        task: None,
        endpoint: None,
        task_manager: None,
        labels: BTreeMap::new(),
        concurrent: Vec::new(),
    }
}

fn known(jobs: &Jobs) -> Known {
    jobs.read(|reader| reader.find(&Scope::default(), SubjectKind::Job, "j")).unwrap().unwrap()
}

fn run_at(jobs: &Jobs, at_ms: i64) -> Run {
    let known = known(jobs);
    jobs.read(|reader| reader.document(&known, "", at_ms)).unwrap().unwrap().document
}

fn at<D: Document>(jobs: &Jobs, key: &str, at_ms: i64) -> Option<D> {
    let known = known(jobs);
    jobs.read(|reader| reader.document(&known, key, at_ms)).unwrap().map(|version| version.document)
}

/// All that is known at a time.
fn everything(jobs: &Jobs, at_ms: i64) -> String {
    fn all<D: Document + std::fmt::Debug>(jobs: &Jobs, at_ms: i64) -> String {
        let known = known(jobs);
        let found = jobs.read(|reader| reader.documents::<D>(&known, at_ms)).unwrap();
        format!("{:?}\n", found.into_iter().map(|version| version.document).collect::<Vec<_>>())
    }
    let mut accumulators: Vec<Accumulators> = {
        let known = known(jobs);
        let found = jobs.read(|reader| reader.documents(&known, at_ms)).unwrap();
        found.into_iter().map(|version| version.document).collect()
    };
    // They stand in the order in which they were told of first.
    accumulators.iter_mut().for_each(|all| all.accumulators.sort_by(|a, b| a.name.cmp(&b.name)));
    [
        all::<Run>(jobs, at_ms),
        all::<Plan>(jobs, at_ms),
        all::<Vertex>(jobs, at_ms),
        all::<Subtasks>(jobs, at_ms),
        all::<Attempt>(jobs, at_ms),
        all::<Checkpoint>(jobs, at_ms),
        all::<CheckpointStatistics>(jobs, at_ms),
        all::<Failure>(jobs, at_ms),
        format!("{accumulators:?}"),
    ]
    .concat()
}

#[test]
fn a_job_is_told_of_and_its_past_can_be_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let (_catalog, jobs) = open_with(&dir, PUSHING);
    let registered = jobs.push(registering("j", 10)).unwrap();
    assert_eq!((registered.is_new, registered.state, registered.name.as_str()), (true, JobState::Created, "n"));
    assert!(!jobs.push(registering("j", 10)).unwrap().is_new);
    assert_eq!(jobs.push(registering("j", 15)).unwrap().changed, 0, "the same again");
    jobs.push(state(20, JobState::Running)).unwrap();
    let ended = jobs.push(state(30, JobState::Finished)).unwrap();
    assert_eq!(ended.state, JobState::Finished);
    assert_eq!(run_at(&jobs, 15).state, JobState::Created);
    assert_eq!(
        (run_at(&jobs, 25).state, run_at(&jobs, 25).tasks),
        (JobState::Running, [(TaskState::Running, 3)].into())
    );
    assert_eq!((run_at(&jobs, 30).ended_ms, run_at(&jobs, 99).started_ms), (Some(30), 10));
    assert_eq!(at::<Plan>(&jobs, "", 12).unwrap().nodes.len(), 2);
    assert_eq!(known(&jobs).origin, Origin::Push);
}

#[test]
fn what_contradicts_or_is_not_registered_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (_catalog, jobs) = open_with(&dir, PUSHING);
    assert!(matches!(jobs.push(state(5, JobState::Running)), Err(PushError::NotRegistered { .. })));
    jobs.push(registering("j", 10)).unwrap();
    jobs.push(state(20, JobState::Finished)).unwrap();
    let refused = jobs.push(state(30, JobState::Running)).unwrap_err().to_string();
    assert!(refused.starts_with("job \"j\" is FINISHED since 20: it cannot be RUNNING at 30"), "{refused}");
    let refused = jobs.push(state(5, JobState::Failed)).unwrap_err().to_string();
    assert!(refused.contains("it was CREATED at 10"), "{refused}");
    let before = everything(&jobs, i64::MAX);
    let nowhere = Task { vertex: "z".to_owned(), ..Task::default() };
    let half = Push { failures: vec![failure(1)], tasks: vec![nowhere], ..state(15, JobState::Running) };
    assert!(matches!(jobs.push(half), Err(PushError::NoVertex { .. })));
    assert_eq!(everything(&jobs, i64::MAX), before);
    let mut followed = Observation::new(Subject::job("", "f"), Origin::Flink, 1);
    followed.put(&run_at(&jobs, 99)).unwrap();
    jobs.record(followed).unwrap();
    let refused = jobs.push(registering("f", 10)).unwrap_err().to_string();
    assert_eq!(refused, "job \"f\" is followed by flink: it cannot be told of here");
}

#[test]
fn checkpoints_count_themselves_and_numbers_of_what_runs_are_no_documents() {
    let dir = tempfile::tempdir().unwrap();
    let (_catalog, jobs) = open_with(&dir, PUSHING);
    let mut registering = registering("j", 10);
    if let Some(registration) = &mut registering.registration {
        registration.checkpointing = Some(CheckpointSettings::default());
    }
    jobs.push(registering).unwrap();
    assert_eq!(at(&jobs, "", 10), Some(CheckpointStatistics::default()));
    let accumulator = |value: &str| Accumulator {
        name: "n".to_owned(),
        kind: "LongCounter".to_owned(),
        value: Some(value.to_owned()),
    };
    let told = |value| Accumulators { vertex: "a".to_owned(), subtask: None, accumulators: vec![accumulator(value)] };
    let all = Push {
        checkpoints: vec![checkpoint(7, CheckpointState::InProgress)],
        accumulators: vec![told("5")],
        ..push("j", 20)
    };
    jobs.push(all).unwrap();
    let done = Push { checkpoints: vec![checkpoint(7, CheckpointState::Completed)], ..push("j", 30) };
    jobs.push(done.clone()).unwrap();
    assert_eq!(jobs.push(done).unwrap().changed, 0);
    let counts = |at_ms| at::<CheckpointStatistics>(&jobs, "", at_ms).unwrap().counts;
    assert_eq!((counts(20).in_progress, counts(30).in_progress, counts(30).completed, counts(30).total), (1, 0, 1, 1));
    assert_eq!(at::<Accumulators>(&jobs, "a", 20).unwrap().accumulators[0].value, None);
    jobs.push(state(40, JobState::Finished)).unwrap();
    jobs.push(Push { accumulators: vec![told("9")], ..push("j", 40) }).unwrap();
    assert_eq!(at::<Accumulators>(&jobs, "a", 40).unwrap().accumulators[0].value.as_deref(), Some("9"));
}

#[test]
fn a_job_whose_series_fell_silent_is_there_again_when_it_is_told_of_before() {
    let dir = tempfile::tempdir().unwrap();
    let (_catalog, jobs) = open_with(&dir, PUSHING);
    let implied = |at_ms, lost_ms| {
        let mut seen = Observation::new(Subject::job("", "j"), Origin::Metrics, at_ms);
        seen.put(&Run { lost_ms, ..Run::new("guessed", JobState::Running, 10) }).unwrap();
        jobs.record(seen).unwrap();
    };
    implied(10, None);
    implied(30, Some(25));
    jobs.push(registering("j", 20)).unwrap();
    let run = run_at(&jobs, i64::MAX);
    assert_eq!((run.name.as_str(), run.lost_ms, known(&jobs).ended_ms), ("n", None, None));
    assert_eq!(run_at(&jobs, 15).name, "guessed", "the past stays");
}

/// Each report reads all claims of its job.
#[test]
fn claims_of_an_hour_in_which_a_job_restarted_all_the_time_are_thinned_after_a_day() {
    let dir = tempfile::tempdir().unwrap();
    let (_catalog, jobs) = open_with(&dir, PUSHING);
    jobs.push(registering("j", 1)).unwrap();
    for at_ms in (10..72).step_by(2) {
        jobs.push(state(at_ms, JobState::Running)).unwrap();
        jobs.push(state(at_ms + 1, JobState::Restarting)).unwrap();
    }
    let count = || -> i64 {
        let count = "SELECT count(*) FROM claim";
        jobs.read(|reader| Ok(reader.connection().query_row(count, (), |row| row.get(0))?)).unwrap()
    };
    jobs.retain(1000).unwrap();
    assert_eq!(count(), 1 + 2 * 31);
    jobs.retain(172_800_000).unwrap();
    assert_eq!(count(), 3, "the last of each state");
    assert_eq!(run_at(&jobs, i64::MAX).state, JobState::Restarting);
    jobs.push(state(100, JobState::Running)).unwrap();
    let run = run_at(&jobs, i64::MAX);
    assert_eq!((run.state, run.state_times[&JobState::Restarting]), (JobState::Running, 71));
}

fn given_up(at_ms: i64, has_failed: bool) -> GivenUp {
    GivenUp { heard_ms: 25, at_ms, interval_ms: 10, missed_max: 2, has_failed }
}

#[test]
fn a_job_that_is_given_up_is_stale_and_goes_on_when_it_is_heard_of() {
    let dir = tempfile::tempdir().unwrap();
    let (_catalog, jobs) = open_with(&dir, PUSHING);
    jobs.push(registering("j", 10)).unwrap();
    jobs.push(state(20, JobState::Running)).unwrap();
    assert!(jobs.give_up(Subject::job("", "j"), given_up(50, false)).unwrap());
    assert_eq!((run_at(&jobs, 49).lost_ms, run_at(&jobs, 50).lost_ms), (None, Some(25)));
    assert!(jobs.agents().unwrap()[0].is_given_up);
    // A late report is a sign of life now; the past stays as it was seen.
    let late = Push { now_ms: 80, ..state(22, JobState::Restarting) };
    jobs.push(late).unwrap();
    assert_eq!((run_at(&jobs, 60).lost_ms, run_at(&jobs, 60).state), (Some(25), JobState::Restarting));
    assert_eq!(run_at(&jobs, 80).lost_ms, None);
    assert!(!jobs.agents().unwrap()[0].is_given_up);
}

#[test]
fn a_job_that_counts_as_failed_is_what_it_was_when_it_is_heard_of() {
    let dir = tempfile::tempdir().unwrap();
    let (_catalog, jobs) = open_with(&dir, PUSHING);
    jobs.push(registering("j", 10)).unwrap();
    jobs.push(state(20, JobState::Running)).unwrap();
    assert!(jobs.give_up(Subject::job("", "j"), given_up(50, true)).unwrap());
    let run = run_at(&jobs, 60);
    assert_eq!((run.state, run.ended_ms, run.tasks), (JobState::Failed, Some(50), [(TaskState::Failed, 3)].into()));
    let failures = {
        let known = known(&jobs);
        jobs.read(|reader| reader.documents::<Failure>(&known, 60)).unwrap()
    };
    assert!(failures[0].document.stack_trace.contains("more than 2 heartbeats, one every 10 ms"), "{failures:?}");
    assert_eq!(jobs.agents().unwrap().len(), 1, "it may come back");
    let pushed = jobs.push(push("j", 80)).unwrap();
    assert_eq!(pushed.state, JobState::Running);
    assert_eq!((run_at(&jobs, 70).state, run_at(&jobs, 80).state), (JobState::Failed, JobState::Running));
    assert_eq!((run_at(&jobs, 80).ended_ms, run_at(&jobs, 80).state_times[&JobState::Running]), (None, 80));
    // It had ended before it was given up a second time: that is its end.
    assert!(jobs.give_up(Subject::job("", "j"), given_up(90, true)).unwrap());
    jobs.push(Push { now_ms: 95, ..state(85, JobState::Finished) }).unwrap();
    assert_eq!((run_at(&jobs, 99).state, run_at(&jobs, 99).ended_ms), (JobState::Finished, Some(85)));
    assert!(!jobs.give_up(Subject::job("", "j"), given_up(100, true)).unwrap(), "it has ended");
}

#[test]
fn agents_are_there_after_a_restart_with_their_terms() {
    let dir = tempfile::tempdir().unwrap();
    let (catalog, jobs) = open_with(&dir, PUSHING);
    let mut told = registering("j", 10);
    let terms = Terms {
        commands: [CommandKind::Cancel].into(),
        sends_heartbeats: true,
        interval_ms: Some(5),
        missed_max: Some(2),
        when_missed: Some(WhenMissed::Failed),
    };
    if let Some(registration) = &mut told.registration {
        registration.terms = terms.clone();
    }
    jobs.push(told).unwrap();
    jobs.save_heard(vec![(Subject::job("", "j"), 70, false), (Subject::job("", "gone"), 71, true)]).unwrap();
    drop((jobs, catalog));
    let (_catalog, jobs) = open_with(&dir, PUSHING);
    let agents = jobs.agents().unwrap();
    assert_eq!((agents.len(), &agents[0].terms, agents[0].heard_ms), (1, &terms, 70));
    jobs.push(state(80, JobState::Finished)).unwrap();
    assert_eq!(jobs.agents().unwrap(), []);
}

#[test]
fn so_many_changes_may_lie_after_a_report_and_not_one_more() {
    let dir = tempfile::tempdir().unwrap();
    let limited = PushOptions { late_changes_max: 3, ..PUSHING.push };
    let (_catalog, jobs) = open_with(&dir, JobOptions { push: limited, ..PUSHING });
    jobs.push(registering("j", 10)).unwrap();
    for at_ms in [20, 30, 40] {
        jobs.push(state(at_ms, if at_ms == 30 { JobState::Restarting } else { JobState::Running })).unwrap();
    }
    jobs.push(state(15, JobState::Initializing)).unwrap();
    jobs.push(state(50, JobState::Suspended)).unwrap();
    let refused = jobs.push(state(16, JobState::Created)).unwrap_err().to_string();
    assert_eq!(refused, "too late: more than 3 changes came after 16 (limit jobs.max_late_changes)");
}

#[test]
fn the_newest_failures_stay_and_a_forgotten_job_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (_catalog, jobs) = open_with(&dir, JobOptions { retention_ms: Some(1000), ..PUSHING });
    jobs.push(registering("j", 10)).unwrap();
    jobs.push(Push { failures: (1..=4).map(failure).collect(), ..push("j", 20) }).unwrap();
    let times = |jobs: &Jobs| -> Vec<i64> {
        let known = known(jobs);
        let found = jobs.read(|reader| reader.documents::<Failure>(&known, 99)).unwrap();
        found.into_iter().map(|version| version.document.at_ms).collect()
    };
    assert_eq!(times(&jobs), [1, 2, 3, 4]);
    jobs.retain(30).unwrap();
    assert_eq!(times(&jobs), [2, 3, 4]);
    jobs.retain(30).unwrap();
    assert_eq!(times(&jobs), [2, 3, 4], "as many as may stay");
    let order = super::super::CommandOrder {
        job: Subject::job("", "j"),
        kind: CommandKind::Savepoint,
        parameters: Default::default(),
        id: None,
        now_ms: 35,
    };
    jobs.order_command(order).unwrap();
    jobs.push(state(40, JobState::Finished)).unwrap();
    assert_eq!(jobs.retain(1041).unwrap().jobs, 1);
    let left = jobs.read(|reader| {
        let count = |table: &str| {
            let sql = format!("SELECT count(*) FROM {table}");
            Ok::<i64, JobsError>(reader.connection().query_row(&sql, (), |row| row.get(0))?)
        };
        ["subject", "version", "claim", "agent", "command", "content"]
            .map(count)
            .into_iter()
            .collect::<Result<Vec<_>, _>>()
    });
    assert_eq!(left.unwrap(), [0; 6]);
}

/// Something that is told of the job.
#[derive(Debug, Clone)]
enum Told {
    State(usize),
    Task(u64, u64, usize),
    Checkpoint(i64, usize),
    Failure,
    Accumulator(bool),
}

const STATES: [JobState; 4] = [JobState::Initializing, JobState::Running, JobState::Failing, JobState::Restarting];

fn told() -> impl Strategy<Value = Told> {
    prop_oneof![
        (0..STATES.len()).prop_map(Told::State),
        (0..2_u64, 0..3_u64, 0..TaskState::ALL.len())
            .prop_map(|(index, attempt, state)| Told::Task(index, attempt, state)),
        (0..2_i64, 0..CheckpointState::ALL.len()).prop_map(|(id, state)| Told::Checkpoint(id, state)),
        Just(Told::Failure),
        any::<bool>().prop_map(Told::Accumulator),
    ]
}

/// What is told as a push of a moment; of each state only the first two times, as of more in a row some say nothing.
fn pushes(all: &[Told]) -> Vec<Push> {
    let mut times_told = [0; STATES.len()];
    let mut pushes = Vec::new();
    for (told, place) in all.iter().zip(1..) {
        let empty = push("j", 100 * place);
        pushes.push(match told {
            Told::State(state) => {
                times_told[*state] += 1;
                Push { state: (times_told[*state] <= 2).then_some(STATES[*state]), ..empty }
            }
            Told::Task(index, attempt, state) => {
                let task = Task {
                    vertex: "a".to_owned(),
                    index: Some(*index),
                    attempt: Some(*attempt),
                    times: [(TaskState::ALL[*state], 100 * place)].into(),
                    endpoint: Some(format!("host:{place}")),
                    ..Task::default()
                };
                Push { tasks: vec![task], ..empty }
            }
            Told::Checkpoint(id, state) => {
                Push { checkpoints: vec![checkpoint(*id, CheckpointState::ALL[*state])], ..empty }
            }
            Told::Failure => Push { failures: vec![failure(100 * place)], ..empty },
            Told::Accumulator(which) => {
                let name = if *which { "x" } else { "y" }.to_owned();
                let one = Accumulator { name, kind: "String".to_owned(), value: Some(format!("v{place}")) };
                let all = Accumulators { vertex: "a".to_owned(), subtask: None, accumulators: vec![one] };
                Push { accumulators: vec![all], ..empty }
            }
        });
    }
    pushes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever order reports come in, and however often: at every time the same is known. No value is told twice of
    /// different moments: what holds already is no change.
    #[test]
    fn the_order_of_arrival_does_not_matter(
        all in proptest::collection::vec(told(), 1..8),
        order in proptest::collection::vec(any::<u32>(), 9),
        repeated in 0..9_usize,
    ) {
        let told = pushes(&all);
        let in_order = |told: &[Push]| {
            let dir = tempfile::tempdir().unwrap();
            let (_catalog, jobs) = open_with(&dir, PUSHING);
            jobs.push(registering("j", 1)).unwrap();
            told.iter().for_each(|push| { jobs.push(push.clone()).unwrap(); });
            let moments = (0..=all.len() as i64).map(|place| everything(&jobs, 100 * place + 50));
            moments.collect::<Vec<String>>()
        };
        let mut shuffled: Vec<(u32, Push)> = order.iter().copied().zip(told.iter().cloned()).collect();
        shuffled.sort_by_key(|(key, push)| (*key, push.at_ms));
        let mut shuffled: Vec<Push> = shuffled.into_iter().map(|(_, push)| push).collect();
        if let Some(again) = shuffled.get(repeated).cloned() {
            shuffled.push(again);
        }
        let (expected, found) = (in_order(&told), in_order(&shuffled));
        for (place, (expected, found)) in expected.iter().zip(&found).enumerate() {
            prop_assert_eq!(expected, found, "after {} of {:?}", place, told.iter().map(|p| p.at_ms).collect::<Vec<_>>());
        }
    }
}
