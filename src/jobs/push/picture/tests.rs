//! What is told of a job and its tasks, in any order.

use proptest::prelude::*;

use super::*;
use crate::jobs::Subject;
use crate::jobs::push::standing::Claim;
use crate::jobs::push::{NewVertex, Terms};

fn registration(parallelism: u64) -> Registration {
    let vertex = |id: &str| NewVertex {
        id: id.to_owned(),
        name: format!("vertex {id}"),
        parallelism,
        max_parallelism: None,
        slot_sharing_group: None,
        operator: String::new(),
        description: String::new(),
        inputs: Vec::new(),
    };
    Registration {
        name: "n".to_owned(),
        started_ms: Some(1),
        cluster: None,
        kind: None,
        max_parallelism: None,
        is_stoppable: false,
        settings: None,
        checkpointing: None,
        vertices: vec![vertex("a"), vertex("b")],
        terms: Terms::default(),
    }
}

fn push(at_ms: i64) -> Push {
    Push::new(Subject::job("", "j"), at_ms, at_ms)
}

fn task(vertex: &str, index: Option<u64>, attempt: Option<u64>, times: &[(TaskState, i64)]) -> Task {
    Task { vertex: vertex.to_owned(), index, attempt, times: times.iter().copied().collect(), ..Task::default() }
}

fn standing(claims: &[(i64, JobState)]) -> Standing {
    let claims: Vec<Claim> =
        claims.iter().map(|(at_ms, state)| Claim { at_ms: *at_ms, state: *state, is_ours: false }).collect();
    Standing::at(&claims, i64::MAX)
}

const RUNNING: [(i64, JobState); 2] = [(1, JobState::Created), (5, JobState::Running)];
const FINISHED: [(i64, JobState); 3] = [(1, JobState::Created), (5, JobState::Running), (90, JobState::Finished)];
const CANCELED: [(i64, JobState); 3] = [(1, JobState::Created), (5, JobState::Running), (90, JobState::Canceled)];

fn registered(parallelism: u64, claims: &[(i64, JobState)]) -> Picture {
    let mut picture = Picture::new(1);
    let push = Push { registration: Some(registration(parallelism)), ..push(1) };
    picture.tell(&push, &standing(claims), Moment::Told).unwrap();
    picture
}

fn told(picture: &mut Picture, tasks: Vec<Task>, claims: &[(i64, JobState)]) -> Older {
    picture.tell(&Push { tasks, ..push(50) }, &standing(claims), Moment::Told).unwrap()
}

fn states(picture: &Picture, vertex: &str) -> Vec<TaskState> {
    picture.subtasks[vertex].subtasks.iter().map(|subtask| subtask.state).collect()
}

#[test]
fn tasks_that_nobody_speaks_of_follow_their_job() {
    let picture = registered(2, &RUNNING);
    assert_eq!(states(&picture, "a"), [TaskState::Running; 2]);
    let vertex = &picture.vertices["a"];
    assert_eq!((vertex.state, vertex.started_ms, vertex.ended_ms), (TaskState::Running, Some(5), None));
    assert_eq!(picture.run.tasks, [(TaskState::Running, 4)].into());
    assert_eq!(states(&registered(2, &FINISHED), "b"), [TaskState::Finished; 2]);
    assert_eq!(registered(2, &FINISHED).vertices["b"].ended_ms, Some(90));
    assert_eq!(states(&registered(1, &[(1, JobState::Created)]), "b"), [TaskState::Created]);
    assert_eq!(states(&registered(0, &RUNNING), "b"), []);
}

#[test]
fn a_vertex_that_is_spoken_of_stands_for_itself() {
    let mut picture = registered(2, &RUNNING);
    told(&mut picture, vec![task("a", Some(1), None, &[(TaskState::Deploying, 7)])], &RUNNING);
    assert_eq!(states(&picture, "a"), [TaskState::Created, TaskState::Deploying]);
    assert_eq!(states(&picture, "b"), [TaskState::Running; 2], "the other one follows its job");
    assert_eq!(picture.run.changed_ms, Some(7));
    told(&mut picture, vec![task("a", None, None, &[(TaskState::Running, 9)])], &RUNNING);
    assert_eq!(states(&picture, "a"), [TaskState::Running; 2], "all subtasks at once");
    assert_eq!(picture.vertices["a"].started_ms, Some(7));
}

#[test]
fn tasks_end_with_their_job_unless_they_ended_before() {
    for (claims, rest) in [(&FINISHED[..], TaskState::Finished), (&CANCELED[..], TaskState::Canceled)] {
        let mut picture = registered(3, claims);
        let tasks = vec![
            task("a", Some(0), None, &[(TaskState::Running, 9)]),
            task("a", Some(1), None, &[(TaskState::Running, 9), (TaskState::Failed, 60)]),
        ];
        told(&mut picture, tasks, claims);
        assert_eq!(states(&picture, "a"), [rest, TaskState::Failed, rest]);
        let ended: Vec<_> = picture.subtasks["a"].subtasks.iter().map(|subtask| subtask.ended_ms).collect();
        assert_eq!(ended, [Some(90), Some(60), Some(90)]);
        // It did not end after all: what only followed from the end goes with it.
        told(&mut picture, Vec::new(), &RUNNING);
        assert_eq!(states(&picture, "a"), [TaskState::Running, TaskState::Failed, TaskState::Created]);
    }
}

#[test]
fn the_first_end_of_an_attempt_is_its_end_and_a_failure_before_others_of_its_time() {
    let mut picture = registered(2, &RUNNING);
    let ends = |at_ms| [(TaskState::Failed, 60), (TaskState::Canceled, at_ms), (TaskState::Finished, 80)];
    told(&mut picture, vec![task("a", Some(0), None, &ends(70)), task("a", Some(1), None, &ends(60))], &RUNNING);
    assert_eq!(states(&picture, "a"), [TaskState::Failed; 2]);
    assert_eq!(picture.vertices["a"].ended_ms, Some(60));
}

#[test]
fn a_higher_attempt_counts_whenever_it_comes_and_lower_ones_are_handed_on() {
    let mut picture = registered(1, &RUNNING);
    told(&mut picture, vec![task("a", Some(0), Some(2), &[(TaskState::Running, 30)])], &RUNNING);
    let late = task("a", Some(0), Some(1), &[(TaskState::Failed, 20)]);
    let older = told(&mut picture, vec![late.clone()], &RUNNING);
    assert_eq!(older, std::slice::from_ref(&late));
    assert_eq!((picture.subtasks["a"].subtasks[0].attempt, states(&picture, "a")), (2, vec![TaskState::Running]));
    let attempt = merge_older(None, &late, Moment::Told);
    assert_eq!((attempt.subtask.attempt, attempt.subtask.state), (1, TaskState::Failed));
    let again = merge_older(Some(attempt), &task("a", Some(0), Some(1), &[(TaskState::Running, 10)]), Moment::Told);
    assert_eq!((again.subtask.started_ms, again.subtask.ended_ms), (Some(10), Some(20)));
}

#[test]
fn what_is_told_late_fills_in_and_takes_nothing_away() {
    let mut picture = registered(1, &RUNNING);
    let placed = |host: &str| Task { endpoint: Some(host.to_owned()), ..task("a", Some(0), None, &[]) };
    let before = Before::new(Some(&picture), []);
    told(&mut picture, vec![placed("new:1")], &RUNNING);
    let mut late = Push { tasks: vec![placed("old:1")], ..push(10) };
    late.tasks[0].task_manager = Some("tm".to_owned());
    picture.tell(&late, &standing(&RUNNING), Moment::Later(&before)).unwrap();
    let subtask = &picture.subtasks["a"].subtasks[0];
    assert_eq!((subtask.endpoint.as_deref(), subtask.task_manager.as_deref()), (Some("new:1"), Some("tm")));
    // What held before and was not said again is corrected.
    let before = Before::new(Some(&picture), []);
    picture
        .tell(&Push { tasks: vec![placed("right:1")], ..push(10) }, &standing(&RUNNING), Moment::Later(&before))
        .unwrap();
    assert_eq!(picture.subtasks["a"].subtasks[0].endpoint.as_deref(), Some("right:1"));
    let renamed = Push { registration: Some(Registration { name: "old".to_owned(), ..registration(7) }), ..push(10) };
    picture.tell(&renamed, &standing(&RUNNING), Moment::Later(&before)).unwrap();
    assert_eq!((picture.run.name.as_str(), picture.vertices["a"].parallelism), ("n", 1));
}

#[test]
fn totals_stay_of_what_has_ended() {
    let io = Io { idle_ms: Some(7), ..Io::sum([]) };
    let mut picture = registered(2, &RUNNING);
    let with_io = |times: &[(TaskState, i64)]| Task { io: Some(io), ..task("a", None, None, times) };
    told(&mut picture, vec![with_io(&[(TaskState::Running, 9)])], &RUNNING);
    assert_eq!(picture.subtasks["a"].subtasks[0].totals, None, "they move");
    told(&mut picture, vec![with_io(&[(TaskState::Finished, 9)])], &RUNNING);
    assert_eq!(picture.vertices["a"].totals.and_then(|totals| totals.idle_ms), Some(14));
}

#[test]
fn what_is_not_there_is_refused_but_not_in_later_graphs() {
    let mut picture = registered(2, &RUNNING);
    let before = Before::default();
    let ask = |picture: &mut Picture, task: Task, is_late| {
        let moment = if is_late { Moment::Later(&before) } else { Moment::Told };
        picture.tell(&Push { tasks: vec![task], ..push(9) }, &standing(&RUNNING), moment)
    };
    let refused = ask(&mut picture, task("c", None, None, &[]), false).unwrap_err().to_string();
    assert_eq!(refused, r#"the graph of job "j" has no vertex "c""#);
    let refused = ask(&mut picture, task("a", Some(2), None, &[]), false).unwrap_err().to_string();
    assert_eq!(refused, r#"vertex "a" has no subtask 2: its parallelism is 2"#);
    assert!(ask(&mut picture, task("a", Some(1), None, &[]), false).is_ok());
    assert!(ask(&mut picture, task("c", None, None, &[]), true).is_ok());
}

#[test]
fn another_graph_takes_the_place_of_the_one_before() {
    let mut picture = registered(3, &RUNNING);
    told(&mut picture, vec![task("a", None, None, &[(TaskState::Running, 9)])], &RUNNING);
    let mut smaller = registration(2);
    smaller.vertices.truncate(1);
    picture.tell(&Push { registration: Some(smaller), ..push(60) }, &standing(&RUNNING), Moment::Told).unwrap();
    assert_eq!(states(&picture, "a"), [TaskState::Running; 2]);
    assert_eq!(picture.vertices.keys().collect::<Vec<_>>(), ["a"]);
    assert_eq!(picture.subtasks.keys().collect::<Vec<_>>(), ["a"]);
    let wider = Push { registration: Some(registration(4)), ..push(70) };
    picture.tell(&wider, &standing(&RUNNING), Moment::Told).unwrap();
    assert_eq!(states(&picture, "a")[2..], [TaskState::Created; 2]);
}

proptest! {
    /// Each state of an attempt is told once, in any order: the attempt ends up the same.
    #[test]
    fn the_order_in_which_tasks_are_told_of_does_not_matter(
        times in proptest::collection::btree_map(0..9_usize, 1..40_i64, 1..9),
        attempts in proptest::collection::vec(0..3_u64, 9),
        order in proptest::collection::vec(any::<u32>(), 9),
    ) {
        let all: Vec<Task> = times
            .iter()
            .map(|(state, at)| task("a", Some(0), Some(attempts[*state]), &[(TaskState::ALL[*state], *at)]))
            .collect();
        let mut shuffled: Vec<(u32, usize)> = order.iter().copied().take(all.len()).zip(0..).collect();
        shuffled.sort_unstable();
        let shuffled: Vec<Task> = shuffled.into_iter().map(|(_, i)| all[i].clone()).collect();
        let told_in = |tasks: Vec<Task>| {
            let mut picture = registered(1, &RUNNING);
            for one in tasks {
                told(&mut picture, vec![one], &RUNNING);
            }
            picture
        };
        prop_assert_eq!(told_in(all), told_in(shuffled));
    }
}
