//! Jobs that only series tell of give way, have a limit of their own, and push nobody out.

use super::*;
use crate::jobs::{Document, Vertex};

fn implied(job: &str, at_ms: i64) -> Observation {
    Observation::new(Subject::job("", job), Origin::Metrics, at_ms)
}

fn with<D: Document>(mut observation: Observation, document: &D) -> Observation {
    observation.put(document).unwrap();
    observation
}

fn vertex(parallelism: i64) -> Vertex {
    Vertex {
        id: "v".to_owned(),
        name: "v".to_owned(),
        position: 0,
        parallelism,
        max_parallelism: None,
        slot_sharing_group: None,
        state: TaskState::Running,
        started_ms: None,
        ended_ms: None,
        tasks: BTreeMap::new(),
        totals: None,
    }
}

/// Parallelism of the vertex and name of the run at a time.
fn at(jobs: &Jobs, job: &str, at_ms: i64) -> (Option<i64>, Option<String>) {
    let known = find(jobs, job).unwrap();
    let vertex = jobs.read(|reader| reader.document::<Vertex>(&known, "v", at_ms)).unwrap();
    let run = jobs.read(|reader| reader.document::<Run>(&known, "", at_ms)).unwrap();
    (vertex.map(|version| version.document.parallelism), run.map(|version| version.document.name))
}

#[test]
fn series_say_nothing_of_a_job_that_others_tell_of() {
    let dir = tempfile::tempdir().unwrap();
    let (_catalog, jobs) = open(&dir);
    record(&jobs, "j", 1, &run("pushed", 1, None)).unwrap();
    let error = jobs.record(with(implied("j", 2), &run("guessed", 1, None))).unwrap_err();
    assert!(matches!(error, JobsError::Outranked { .. }), "{error}");
    assert_eq!((find(&jobs, "j").unwrap().origin, at(&jobs, "j", 9).1.as_deref()), (Origin::Push, Some("pushed")));
}

#[test]
fn who_knows_better_takes_a_job_over() {
    let dir = tempfile::tempdir().unwrap();
    let (_catalog, jobs) = open(&dir);
    jobs.record(with(with(implied("j", 10), &run("guessed", 10, None)), &vertex(2))).unwrap();
    jobs.record(with(with(implied("j", 30), &run("guessed again", 10, None)), &vertex(3))).unwrap();
    assert_eq!(at(&jobs, "j", 35), (Some(3), Some("guessed again".to_owned())));
    // Before it tells what the job is, the job is still there.
    jobs.record(with(observed("j", 20), &plan("x"))).unwrap();
    assert_eq!(at(&jobs, "j", 15), (Some(2), Some("guessed".to_owned())), "the past stays");
    assert_eq!(at(&jobs, "j", 35), (None, Some("guessed again".to_owned())));
    assert_eq!(find(&jobs, "j").unwrap().origin, Origin::Push);

    jobs.record(with(with(implied("k", 30), &run("guessed", 10, None)), &vertex(3))).unwrap();
    jobs.record(with(observed("k", 20), &run("pushed", 5, None))).unwrap();
    assert_eq!(at(&jobs, "k", 35), (None, Some("pushed".to_owned())), "also when it comes late");
    assert_eq!(find(&jobs, "k").unwrap().started_ms, Some(5));
    assert!(matches!(jobs.record(with(implied("k", 40), &vertex(9))), Err(JobsError::Outranked { .. })));
}

#[test]
fn their_limit_holds_at_n_and_n_plus_1_and_they_push_nobody_out() {
    let dir = tempfile::tempdir().unwrap();
    let (_catalog, jobs) = open_with(&dir, JobOptions { jobs_max: 4, ..OPTIONS });
    let put = |job: &str, lost_ms| jobs.record(with(implied(job, 1), &Run { lost_ms, ..run("n", 1, None) }));
    record(&jobs, "ended", 1, &run("n", 1, Some(2))).unwrap();
    put("silent", Some(5)).unwrap();
    put("live", None).unwrap();
    put("third", None).unwrap();
    assert!(find(&jobs, "silent").is_none() && find(&jobs, "live").is_some());
    assert!(matches!(put("fourth", None), Err(JobsError::TooManyImpliedJobs { limit: 2 })));
    assert_eq!(jobs.read(|reader| reader.implied_count()).unwrap(), 2);
    put("third", Some(9)).unwrap();
    record(&jobs, "pushed", 1, &run("n", 1, None)).unwrap();
    put("fourth", None).unwrap();
    assert!(find(&jobs, "third").is_none() && find(&jobs, "ended").is_some(), "of its own kind");

    // Where all jobs together are too many, series take no place of what others told.
    drop((_catalog, jobs));
    let (_catalog, jobs) = open_with(&dir, JobOptions { jobs_max: 4, implied_max: 9, ..OPTIONS });
    let fifth = jobs.record(with(implied("fifth", 1), &run("n", 1, None)));
    assert!(matches!(fifth, Err(JobsError::TooManyJobs { limit: 4 })), "{fifth:?}");
    record(&jobs, "fifth", 1, &run("n", 1, None)).unwrap();
    assert!(find(&jobs, "ended").is_none());
}

#[test]
fn they_are_listed_and_forgotten_unless_they_were_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let (_catalog, jobs) = open(&dir);
    jobs.record(with(implied("taken", 1), &run("n", 1, None))).unwrap();
    record(&jobs, "taken", 2, &Run { engine_id: Some("e-1".to_owned()), ..run("n", 1, None) }).unwrap();
    jobs.record(with(implied("silent", 1), &Run { lost_ms: Some(1), ..run("n", 1, None) })).unwrap();
    jobs.record(with(implied("e-1", 1), &run("n", 1, None))).unwrap();
    let listed = jobs.read(|reader| reader.implied_running()).unwrap();
    assert_eq!(listed.iter().map(|job| job.subject.id.as_str()).collect::<Vec<_>>(), ["e-1"]);
    let engine_ids = jobs.read(|reader| reader.engine_ids()).unwrap();
    assert_eq!(engine_ids.into_iter().collect::<Vec<_>>(), [(String::new(), "e-1".to_owned())]);
    let all = ["taken", "silent", "e-1", "nobody"].map(|id| Subject::job("", id));
    assert_eq!(jobs.forget_implied(all.to_vec()).unwrap(), 2);
    assert!(find(&jobs, "taken").is_some() && find(&jobs, "e-1").is_none());
}

#[test]
fn of_several_observations_one_that_is_refused_leaves_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let (_catalog, jobs) = open(&dir);
    record(&jobs, "pushed", 1, &run("n", 1, None)).unwrap();
    let all = ["a", "pushed", "b", "c"].map(|job| with(implied(job, 2), &run("n", 1, None)));
    let outcomes = jobs.record_all(all.to_vec()).unwrap();
    let changed: Vec<Option<usize>> = outcomes.iter().map(|one| one.as_ref().ok().map(|done| done.changed)).collect();
    assert_eq!(changed, [Some(1), None, Some(1), None]);
    assert!(find(&jobs, "a").is_some() && find(&jobs, "b").is_some() && find(&jobs, "c").is_none());
    assert_eq!(jobs.pending_bytes(), 0);
}
