//! Series budgets as users of the database meet them: over restarts, and when series leave the head.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::tests::{NOW_MS, TestClock, options};
use super::*;
use crate::error::Refusal;
use crate::io::fake::FakeDisk;
use crate::options::SeriesLimits;

const MINUTE_MS: i64 = 60_000;

struct Store {
    disk: FakeDisk,
    clock: Arc<TestClock>,
    db: Db,
}

fn limits() -> DbOptions {
    let of_job = [("large".to_owned(), 3)].into();
    let series = SeriesLimits { per_job: Some(2), of_job, ..SeriesLimits::default() };
    DbOptions { series, maintenance: false, ..options() }
}

impl Store {
    fn new() -> Store {
        let (disk, clock) = (FakeDisk::default(), TestClock::new());
        let db = Db::open_on(Arc::new(disk.clone()), limits(), clock.clone()).unwrap();
        Store { disk, clock, db }
    }

    /// Ends the process and starts the next one.
    fn start_again(self) -> Store {
        let Store { disk, clock, db } = self;
        drop(db);
        let db = Db::open_on(Arc::new(disk.clone()), limits(), clock.clone()).unwrap();
        Store { disk, clock, db }
    }

    /// Writes one sample of each of these series of a job; gives back which of them were taken.
    fn write(&self, job: &str, series: &[usize]) -> Vec<usize> {
        let mut batch = self.db.batch();
        let mut taken = Vec::new();
        for i in series {
            let labels = Labels::from_pairs([("__name__", "m"), ("job", job), ("i", &i.to_string())]).unwrap();
            match batch.define(None, &labels) {
                Ok(series) => {
                    batch.push(series, self.clock.now_ms(), 1.0).unwrap();
                    taken.push(*i);
                }
                Err(Refusal::TooManySeriesOfJob { job: refused, .. }) => assert_eq!(refused, job),
                Err(other) => panic!("{other}"),
            }
        }
        batch.commit().unwrap();
        taken
    }

    fn counts(&self) -> Vec<(String, u64)> {
        self.db.budgets().jobs.into_iter().map(|one| (one.job, one.series)).collect()
    }
}

#[test]
fn a_job_over_its_budget_keeps_what_it_has() {
    let store = Store::new();
    assert_eq!(store.write("a", &[0, 1, 2]), [0, 1]);
    assert_eq!(store.write("large", &[0, 1, 2, 3]), [0, 1, 2]);
    assert_eq!(store.write("a", &[3, 1, 0]), [1, 0], "known series go on");
    assert_eq!(store.write("", &[0, 1, 2]), [0, 1], "without a job: a budget too");
    assert_eq!(store.counts(), [("large".to_owned(), 3), (String::new(), 2), ("a".to_owned(), 2)]);
    assert_eq!((store.db.stats().refused_series, store.db.series_count()), (4, 7));
}

#[test]
fn idle_series_make_room_with_a_flush_that_a_refusal_asks_for() {
    let store = Store::new();
    store.write("a", &[0, 1]);
    assert_eq!(store.write("a", &[2]), []);
    let is_asked = || store.db.engine.flush_requested.load(Ordering::Acquire);
    assert!(!is_asked(), "no series can be idle yet");
    store.clock.advance(21 * MINUTE_MS);
    store.write("b", &[0]);
    assert_eq!(store.write("a", &[2]), []);
    assert!(is_asked());
    store.db.flush().unwrap();
    assert_eq!(store.counts(), [("b".to_owned(), 1)]);
    assert_eq!(store.write("a", &[2, 3, 4]), [2, 3]);
    assert_eq!(store.db.series_count(), 3);
}

#[test]
fn after_a_crash_the_replay_counts() {
    let store = Store::new();
    store.write("a", &[0, 1]);
    store.write("large", &[0]);
    let store = store.start_again();
    assert_eq!(store.counts(), [("a".to_owned(), 2), ("large".to_owned(), 1)]);
    assert_eq!((store.write("a", &[2, 0]), store.write("large", &[1, 2, 3])), (vec![0], vec![1, 2]));
}

#[test]
fn after_a_clean_stop_those_of_before_come_first() {
    let store = Store::new();
    store.write("a", &[0, 1]);
    store.write("large", &[0]);
    store.db.close().unwrap();
    let store = store.start_again();
    assert_eq!(store.db.series_count(), 0, "the head is empty");
    assert_eq!(store.write("a", &[7, 1, 8, 0, 9]), [1, 0]);
    assert_eq!(store.write("large", &[7, 8, 9, 0]), [7, 8, 0], "one place is kept");
    store.clock.advance(21 * MINUTE_MS);
    assert_eq!(store.write("b", &[0, 1, 2]), [0, 1], "after a while there is no before");
}

#[test]
fn what_was_idle_before_the_stop_is_new_after_it() {
    let store = Store::new();
    store.write("a", &[0, 1]);
    store.db.close().unwrap();
    store.clock.advance(21 * MINUTE_MS);
    let store = store.start_again();
    assert_eq!(store.write("a", &[7, 8, 0]), [7, 8]);
    assert!(store.clock.now_ms() > NOW_MS);
}
