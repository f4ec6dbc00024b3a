//! The tracker against a real store: what is written down reads back as it was, at any time.

use model::Scope;

use super::super::sighting::{Operator, Task};
use super::*;
use crate::catalog::Catalog;
use crate::jobs::testing::{OPTIONS, open_with};
use crate::jobs::{JobOptions, Jobs, SubjectKind, What, timeline};

const STALE_AFTER_MS: i64 = 1000;

struct Scene {
    _dir: tempfile::TempDir,
    _catalog: Catalog,
    jobs: Jobs,
    tracker: Tracker,
}

fn key() -> JobKey {
    JobKey { org: String::new(), id: "j".to_owned() }
}

fn scene() -> Scene {
    let dir = tempfile::tempdir().unwrap();
    let options = JobOptions {
        jobs_max: 9,
        implied_max: 9,
        documents_max: 100,
        document_bytes_max: 10_000,
        retention_ms: None,
        ..OPTIONS
    };
    let (catalog, jobs) = open_with(&dir, options);
    Scene { _dir: dir, _catalog: catalog, jobs, tracker: Tracker::new(STALE_AFTER_MS) }
}

/// A job whose operators have so many subtasks each.
fn sighting(newest_ms: i64, operators: &[(&str, u64)]) -> Sighting {
    let tasks = |count: u64| (0..count).map(|index| (index, Task::default())).collect();
    let operator = |(id, count): &(&str, u64)| ((*id).to_owned(), Operator { name: None, tasks: tasks(*count) });
    let operators = operators.iter().map(operator).collect();
    Sighting { name: Some("demo".to_owned()), operators, newest_ms, is_live: true, tasks_left_out: 0 }
}

impl Scene {
    fn write(&self, observations: impl IntoIterator<Item = Observation>) -> usize {
        observations.into_iter().map(|one| self.jobs.record(one).unwrap().changed).sum()
    }

    fn begin(&mut self, seen: &Sighting, first_ms: i64) {
        let observations = self.tracker.begin(&key(), seen, first_ms).unwrap();
        self.write(observations);
    }

    /// Documents that change.
    fn see(&mut self, seen: &Sighting) -> usize {
        let observation = self.tracker.see(&key(), seen).unwrap();
        self.write(observation)
    }

    fn miss(&mut self, now_ms: i64) -> usize {
        let observation = self.tracker.miss(&key(), now_ms).unwrap();
        self.write(observation)
    }

    /// As of a time.
    fn at(&self, at_ms: i64) -> Option<State> {
        self.jobs
            .read(|reader| {
                let Some(job) = reader.find(&Scope::default(), SubjectKind::Job, "j")? else { return Ok(None) };
                let Some(run) = reader.document::<Run>(&job, "", at_ms)? else { return Ok(None) };
                let vertices = reader.documents::<Vertex>(&job, at_ms)?;
                let vertices = vertices.into_iter().map(|v| (v.document.id, v.document.parallelism)).collect();
                Ok(Some((run.document.lost_ms, vertices)))
            })
            .unwrap()
    }
}

/// Since when it is lost, if it is, and parallelism by operator.
type State = (Option<i64>, Vec<(String, i64)>);

fn vertices(all: &[(&str, i64)]) -> Vec<(String, i64)> {
    all.iter().map(|(id, parallelism)| ((*id).to_owned(), *parallelism)).collect()
}

#[test]
fn a_job_begins_with_its_first_sample_changes_falls_silent_and_comes_back() {
    let mut scene = scene();
    scene.begin(&sighting(5000, &[("a", 2), ("b", 2)]), 3000);
    assert_eq!(scene.at(2999), None);
    assert_eq!(scene.at(3000), Some((None, vertices(&[("a", 2), ("b", 2)]))));
    assert_eq!(scene.see(&sighting(5100, &[("a", 2), ("b", 2)])), 0, "nothing changed");
    // One is scaled, one is gone, one is new: vertex and subtasks each, the run and the plan.
    assert_eq!(scene.see(&sighting(5200, &[("a", 3), ("c", 2)])), 8);
    assert_eq!(scene.at(5199), Some((None, vertices(&[("a", 2), ("b", 2)]))));
    assert_eq!(scene.at(5200), Some((None, vertices(&[("a", 3), ("c", 2)]))));
    assert_eq!((scene.miss(6200), scene.tracker.len()), (0, 1), "not for long enough");
    assert_eq!((scene.miss(6201), scene.tracker.len()), (1, 0));
    assert_eq!(scene.at(9000), Some((Some(5200), vertices(&[("a", 3), ("c", 2)]))), "as it was last");
    assert_eq!(scene.at(5199).unwrap().0, None);
    assert_eq!(scene.see(&sighting(5200, &[])), 0, "it is not tracked any more");
}

#[test]
fn what_the_store_has_goes_on_where_it_ended() {
    let mut scene = scene();
    scene.begin(&sighting(5000, &[("a", 2)]), 3000);
    let tracked = scene.tracker.jobs[&key()].clone();
    scene.miss(9000);
    let lost =
        Tracked { run: Run { lost_ms: Some(5000), ..tracked.run.clone() }, at_ms: 5000, newest_ms: None, ..tracked };
    scene.tracker.remember(key(), lost.clone());
    let silent = Sighting { is_live: false, ..sighting(5000, &[("a", 2)]) };
    assert_eq!((scene.see(&silent), scene.tracker.len()), (0, 0), "still silent");
    scene.tracker.remember(key(), lost.clone());
    let later = Sighting { is_live: false, ..sighting(6000, &[("a", 2)]) };
    assert_eq!(scene.see(&later), 1, "there were more samples, and then silence");
    assert_eq!(scene.at(9000).unwrap().0, Some(6000));
    scene.tracker.remember(key(), Tracked { at_ms: 6000, ..lost });
    assert_eq!(scene.see(&sighting(9500, &[("a", 2)])), 1, "the run alone");
    assert_eq!((scene.at(9499).unwrap().0, scene.at(9500).unwrap().0), (Some(6000), None));
    let events = scene.jobs.read(|reader| {
        let job = reader.find(&Scope::default(), SubjectKind::Job, "j")?.unwrap();
        timeline(reader, &job, model::TimeRange::ALL, i64::MAX)
    });
    let states: Vec<(i64, bool)> = events
        .unwrap()
        .into_iter()
        .filter(|event| matches!(event.what, What::State(_) | What::Lost))
        .map(|event| (event.at_ms, event.what == What::Lost))
        .collect();
    assert_eq!(states, [(3000, false), (5000, true), (6000, true), (9500, false)]);
}

#[test]
fn samples_of_long_ago_tell_of_a_job_that_is_silent_since() {
    let mut scene = scene();
    let seen = Sighting { is_live: false, ..sighting(5000, &[("a", 2)]) };
    scene.begin(&seen, 3000);
    assert_eq!((scene.at(4000).unwrap().0, scene.at(5000).unwrap().0), (None, Some(5000)));
    assert_eq!((scene.at(9000).unwrap().1, scene.tracker.len()), (vertices(&[("a", 2)]), 0));
}

#[test]
fn after_a_restart_the_newest_sample_is_looked_up() {
    let mut scene = scene();
    scene.begin(&sighting(5000, &[("a", 2)]), 3000);
    let recalled = Tracked { newest_ms: None, ..scene.tracker.jobs[&key()].clone() };
    scene.tracker.remember(key(), recalled.clone());
    let none = BTreeMap::new();
    assert_eq!(scene.tracker.unseen(&none).collect::<Vec<_>>(), [(&key(), true)]);
    assert_eq!(scene.miss(99_000), 0, "not known yet");
    scene.tracker.set_newest(&key(), Some(98_500));
    assert_eq!(scene.miss(99_000), 0);
    assert_eq!(scene.miss(99_501), 1);
    assert_eq!(scene.at(99_999).unwrap().0, Some(98_500));
    scene.tracker.remember(key(), recalled);
    scene.tracker.set_newest(&key(), None);
    assert_eq!(scene.tracker.newest().next(), Some((&key(), 3000)), "without samples that of its documents");
}

/// What was recorded at a later time must not hide what is recorded now.
#[test]
fn documents_never_go_back_in_time() {
    let mut scene = scene();
    scene.begin(&sighting(5000, &[("a", 2)]), 3000);
    scene.see(&sighting(5000, &[("a", 3)]));
    // The newest sample was that of a series that is gone.
    scene.see(&sighting(4000, &[("a", 4)]));
    assert_eq!(scene.at(i64::MAX), Some((None, vertices(&[("a", 4)]))));
}
