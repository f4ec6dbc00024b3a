//! The whole engine on a disk that fails: what was acknowledged is there, once, and nothing is wrong.
//!
//! Each suite is a file: `power_loss` at random operations, `bit_flips` of every bit, `io_errors` at every call,
//! `full_disk`, and `histories` of random operations without faults. Here is what they share: [`Ledger`], the model; what
//! roll-ups make of it is in `rolled`.
//! Each has a short form for every run; environment variables set the length of the full one, which `.ci/full` runs.

mod bit_flips;
mod full_disk;
mod histories;
mod io_errors;
mod power_loss;
mod rolled;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{Budget, Labels, Matcher, SampleColumns, Scope, SeriesSource, SourceError, TimeRange};

use super::tests::{Content, NOW_MS, TestClock, labels, options};
use super::*;
use crate::error::CommitError;
use crate::io::fake::{Dice, FakeDisk};

const DAY_MS: i64 = 86_400_000;

/// Seed of the first case of a suite, so that a failing one can be had again.
const SEED: &str = "STREAMGAUGE_FAULT_SEED";

/// Open batches of which a check tries all combinations.
const OPEN_MAX: usize = 10;

/// A number from the environment.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

/// Index of a series, time, value.
type Write = (usize, i64, f64);

/// What is asked for.
#[derive(Debug, Clone)]
enum Change {
    Write(Vec<Write>),
    /// The series with this `odd` lose their samples in the range.
    Delete(&'static str, TimeRange),
}

impl Change {
    fn apply(&self, content: &mut Content) {
        match self {
            Change::Write(samples) => {
                content.extend(samples.iter().map(|(i, ms, value)| ((labels(*i), *ms), value.to_bits())));
            }
            Change::Delete(odd, range) => {
                content.retain(|(labels, ms), _| labels.get("odd").unwrap_or_default() != *odd || !range.contains(*ms))
            }
        }
    }
}

/// What is known about an operation that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Acknowledged,
    /// It failed in a way that leaves open whether it is on the disk.
    Open,
}

/// The model: what the store must hold, per batch.
///
/// A batch whose commit failed is wholly there after the next recovery, or not at all.
#[derive(Debug, Default, Clone)]
struct Ledger {
    settled: Content,
    since: Vec<(Change, Fate)>,
}

impl Ledger {
    fn note(&mut self, samples: &[Write], fate: Fate) {
        self.since.push((Change::Write(samples.to_vec()), fate));
    }

    /// Hides samples in the database and here; gives the delete's number, if there was something to hide.
    fn delete(&mut self, db: &Db, odd: &'static str, range: TimeRange) -> Option<u64> {
        let done = db.delete(vec![vec![Matcher::equal("odd", odd)]], range);
        match done {
            Ok(Some(_)) => self.since.push((Change::Delete(odd, range), Fate::Acknowledged)),
            // There was nothing to hide. A write that failed may still come to light: it counts as after this.
            Ok(None) => {}
            Err(_) => self.since.push((Change::Delete(odd, range), Fate::Open)),
        }
        done.ok().flatten()
    }

    /// What a running process must show: all that was acknowledged and nothing else.
    fn visible(&self) -> Content {
        self.with(0)
    }

    /// With those of the open batches whose bit is set.
    fn with(&self, open: u32) -> Content {
        let mut content = self.settled.clone();
        let mut bit = 0;
        for (change, fate) in &self.since {
            let counts = match fate {
                Fate::Acknowledged => true,
                Fate::Open => {
                    bit += 1;
                    open >> (bit - 1) & 1 == 1
                }
            };
            if counts {
                change.apply(&mut content);
            }
        }
        content
    }

    /// Batches of which it is open whether they are on the disk.
    fn open_batches(&self) -> usize {
        self.since.iter().filter(|(_, fate)| *fate == Fate::Open).count()
    }

    /// Fails unless what is found is shown of a content that may be there after a recovery; gives that content.
    fn check_shown(&self, found: &Content, shows: impl Fn(&Content) -> Content) -> Content {
        let open = self.open_batches();
        assert!(open <= OPEN_MAX, "{open} open batches are too many to try all");
        if let Some(content) = (0..1_u32 << open).map(|mask| self.with(mask)).find(|content| shows(content) == *found) {
            return content;
        }
        let wanted = shows(&self.visible());
        let lost: Vec<_> = wanted.keys().filter(|key| !found.contains_key(*key)).collect();
        let other: Vec<_> = found.iter().filter(|(key, value)| wanted.get(*key) != Some(*value)).collect();
        panic!("of {} samples {lost:?} are lost, and {other:?} are not what was written; {open} open", wanted.len());
    }

    /// As [`Ledger::check_shown`]; from now on what was found counts.
    fn settle(&mut self, found: Content) {
        self.settle_shown(&found, Content::clone);
    }

    /// As [`Ledger::settle`], for a store that shows its content so.
    fn settle_shown(&mut self, found: &Content, shows: impl Fn(&Content) -> Content) {
        self.settled = self.check_shown(found, shows);
        self.since.clear();
    }
}

/// All that can be read, or the first error.
fn try_read(source: &Snapshot) -> Result<Content, SourceError> {
    let (budget, mut out) = (Budget::unlimited(), BTreeMap::new());
    let set = source.select(&Scope::default(), &[], TimeRange::ALL, &budget)?;
    let mut samples = SampleColumns::default();
    let mut before: Option<Labels> = None;
    for i in 0..set.len() {
        let labels = set.labels(i)?;
        assert!(before.is_none_or(|before| before < labels), "sorted, each once");
        set.samples(i, TimeRange::ALL, &budget, &mut samples)?;
        assert!(samples.timestamps_ms.is_sorted_by(|a, b| a < b), "times rise");
        out.extend(samples.floats().map(|s| ((labels.clone(), s.timestamp_ms), s.value.to_bits())));
        before = Some(labels);
    }
    Ok(out)
}

fn content(db: &Db) -> Content {
    try_read(&db.snapshot()).unwrap()
}

/// Files of samples that neither count nor wait for the next try of a flush.
fn loose_files(db: &Db, disk: &FakeDisk) -> Vec<PathBuf> {
    let manifest = db.engine.manifest.lock().current().clone();
    let flushing = db.engine.flushing.lock();
    let prepared = flushing.iter().flat_map(|prepared| &prepared.live).flat_map(|live| live.entry.sealed_files());
    let known: BTreeSet<PathBuf> =
        manifest.sealed_files().into_iter().chain(prepared).map(|file| Path::new("/data").join(file)).collect();
    let is_loose = |path: &PathBuf| {
        let is_parquet = path.extension().is_some_and(|extension| extension == "parquet");
        (path.starts_with("/data/segments") || is_parquet) && !known.contains(path)
    };
    disk.paths().into_iter().filter(is_loose).collect()
}

/// Without anything that goes on by itself, so that the operations on the disk are the same each time.
fn quiet() -> DbOptions {
    DbOptions { maintenance: false, ..options() }
}

fn try_open(disk: &FakeDisk, options: &DbOptions) -> Result<Db, StorageError> {
    try_open_at(disk, options, &TestClock::new())
}

fn try_open_at(disk: &FakeDisk, options: &DbOptions, clock: &Arc<TestClock>) -> Result<Db, StorageError> {
    Db::open_on(Arc::new(disk.clone()), options.clone(), clock.clone())
}

/// Commits a batch and notes how it ended. True if it was acknowledged.
fn commit(db: &Db, ledger: &mut Ledger, samples: &[Write]) -> bool {
    match super::tests::write(db, samples) {
        Ok(done) => {
            assert_eq!(done.samples, samples.len() as u64);
            ledger.note(samples, Fate::Acknowledged);
            true
        }
        Err(CommitError::Storage(_)) => {
            ledger.note(samples, Fate::Open);
            false
        }
        // It was refused before anything was written: it must not be there.
        Err(CommitError::ReadOnly(_) | CommitError::Overloaded { .. } | CommitError::Closed) => false,
    }
}

/// Random batches whose values tell which batch wrote them.
#[derive(Debug)]
struct Batches {
    dice: Dice,
    written: u64,
    now_ms: i64,
    /// Hours of each day that samples lie in.
    hours: usize,
}

impl Batches {
    fn new(seed: u64) -> Self {
        Batches { dice: Dice(seed), written: 0, now_ms: NOW_MS, hours: 1 }
    }

    /// Up to `len` samples of the series `of`: often of times that were written before, some days back.
    fn next(&mut self, of: std::ops::Range<usize>, len: usize) -> Vec<Write> {
        let count = 1 + self.dice.next(len);
        (0..count)
            .map(|_| {
                self.written += 1;
                let day = [0, 0, 0, 1, 2][self.dice.next(5)];
                let hour = self.dice.next(self.hours) as i64;
                let ms = self.now_ms - day * DAY_MS - hour * rolled::HOUR_MS - 15_000 * self.dice.next(24) as i64;
                // Whole numbers, decimals, and what no codec foresees.
                let value = match self.dice.next(8) {
                    0 => f64::from_bits(self.written.wrapping_mul(0x9E37_79B9_7F4A_7C15)),
                    1 => self.written as f64 / 100.0,
                    _ => self.written as f64,
                };
                (of.start + self.dice.next(of.len()), ms, value)
            })
            .collect()
    }
}
