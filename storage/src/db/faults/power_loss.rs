//! Power goes at a random operation, again and again on the same store: in the middle of writes, flushes, compactions,
//! and of the recovery from the loss before. Half of the stores keep roll-ups, live for days and lose samples to
//! retention.
//!
//! `STREAMGAUGE_POWER_LOSSES` is the number of losses.

use super::rolled::{Keeps, rollups, whole_days};
use super::*;
use crate::io::fake::Failure;

const LOSSES: &str = "STREAMGAUGE_POWER_LOSSES";
/// Losses that one store goes through.
const LOSSES_PER_STORE: u64 = 10;
const SERIES: usize = 12;

/// One store from its birth on.
struct Life {
    disk: FakeDisk,
    options: DbOptions,
    clock: Arc<TestClock>,
    batches: Batches,
    ledger: Ledger,
    keeps: Keeps,
    /// Buckets that were compared, and runs of samples that answered.
    compared: (usize, usize),
    days: u64,
}

impl Life {
    fn new(seed: u64) -> Self {
        let mut batches = Batches::new(seed);
        let small = DbOptions { wal_file_bytes: 600, open_partitions_max: 2, ..quiet() };
        let options = [quiet(), small.clone(), DbOptions { wal_bytes_max: 20_000, ..small }];
        let parquet_after_ms = [None, Some(0)][batches.dice.next(2)];
        let keeps = if seed.is_multiple_of(2) { rolled(&mut batches) } else { Keeps::default() };
        let (retention_ms, rollups) = (keeps.retention_ms, keeps.rollups.clone());
        let shape = options[batches.dice.next(3)].clone();
        let options = DbOptions { parquet_after_ms, retention_ms, rollups, ..shape };
        let (disk, clock, ledger) = (FakeDisk::default(), TestClock::new(), Ledger::default());
        Life { disk, options, clock, batches, ledger, keeps, compared: (0, 0), days: 0 }
    }

    fn open(&self) -> Result<Db, StorageError> {
        let db = try_open_at(&self.disk, &self.options, &self.clock)?;
        let odd_ms = self.keeps.odd_ms.into_iter();
        db.set_retention_rules(
            odd_ms.map(|keep_ms| RetentionRule::new(vec![Matcher::equal("odd", "yes")], keep_ms)).collect(),
        );
        Ok(db)
    }

    fn shown(&self, content: &Content) -> Content {
        self.keeps.shown(content, self.batches.now_ms)
    }

    /// What is read is right; gives what the store has.
    fn check(&mut self, db: &Db) -> Content {
        let now_ms = self.batches.now_ms;
        let content = self.ledger.check_shown(&content(db), |content| self.shown(content));
        self.compared.0 += self.keeps.check_runs(db, &content, now_ms);
        self.compared.1 += self.keeps.check_windows(db, &content, now_ms).unwrap();
        content
    }

    fn settle(&mut self, db: &Db) {
        self.ledger.settled = self.check(db);
        self.ledger.since.clear();
    }

    fn dice(&mut self, below: usize) -> usize {
        self.batches.dice.next(below)
    }

    /// Up to the next loss.
    fn run(&mut self) {
        // One in three comes early, so that it meets the start.
        let often = if self.keeps.rollups.rules().is_empty() { 1 } else { 5 };
        let operations = [15, 100, 200][self.dice(3)] * often;
        let how = [Failure::Dead, Failure::DeadAfter][self.dice(2)];
        let operation = self.dice(operations) as u64;
        self.disk.fail_at(operation, how);
        if let Ok(db) = self.open() {
            assert_eq!(db.findings(), Vec::<String>::new(), "what a loss leaves is no damage");
            if self.disk.struck().is_none() {
                self.settle(&db);
            }
            for _ in 0..60 {
                if self.disk.struck().is_some() {
                    break;
                }
                self.act(&db);
            }
            // What is read is right to the end.
            self.check(&db);
        }
        // Now and then only the process goes first.
        if self.dice(4) == 0 {
            self.disk = self.disk.kill();
        }
        let seed = self.dice(usize::MAX) as u64;
        self.disk = self.disk.crash(seed);
    }

    fn act(&mut self, db: &Db) {
        match self.dice(if self.keeps.rollups.rules().is_empty() { 20 } else { 24 }) {
            0..=8 => {
                let batch = self.batches.next(0..SERIES, 12);
                commit(db, &mut self.ledger, &batch);
            }
            9..=10 => {
                let batch = self.batches.next(0..SERIES, 400);
                commit(db, &mut self.ledger, &batch);
            }
            11..=12 => self.commit_together(db),
            13..=15 => drop(db.flush()),
            16..=17 => drop(db.compact()),
            18 => self.delete(db),
            19 => {
                let visible = self.ledger.visible();
                assert_eq!(content(db), self.shown(&visible));
            }
            20..=21 => drop(db.enforce_retention()),
            _ => self.age(db),
        }
    }

    /// A day goes by. Before it does, everything is rolled up, unless the power goes.
    fn age(&mut self, db: &Db) {
        let is_done = self.ledger.open_batches() == 0
            && db.flush().is_ok()
            && db.purge_deleted().is_ok()
            && db.compact().is_ok_and(|report| report.set_aside == 0);
        if is_done && self.disk.struck().is_none() {
            self.keeps.check_up_to_date(db, self.batches.now_ms);
            let visible = self.ledger.visible();
            self.compared.0 += self.keeps.check_runs(db, &visible, self.batches.now_ms);
            self.clock.advance(DAY_MS);
            self.batches.now_ms += DAY_MS;
            self.days += 1;
        }
    }

    /// One in two is purged at once.
    fn delete(&mut self, db: &Db) {
        let odd = ["", "yes"][self.dice(2)];
        let now_ms = self.batches.now_ms;
        let start_ms = now_ms - self.dice(5) as i64 * DAY_MS - self.dice(4) as i64 * 1_000_000;
        let length_ms = [DAY_MS / 2, 100_000][self.dice(2)];
        let range = [TimeRange::ALL, TimeRange { start_ms, end_ms: start_ms + length_ms }][self.dice(4).min(1)];
        let range = self.keeps.whole_buckets(odd, range, now_ms);
        self.ledger.delete(db, odd, range);
        if self.dice(2) == 0 {
            drop(db.purge_deleted());
        }
    }

    /// Three batches at once, of different series, so that it does not matter which is first.
    fn commit_together(&mut self, db: &Db) {
        let batches: Vec<Vec<Write>> = (0..3).map(|i| self.batches.next(i * 4..i * 4 + 4, 20)).collect();
        let notes: Vec<Ledger> = std::thread::scope(|scope| {
            let commits = batches.iter().map(|batch| {
                scope.spawn(|| {
                    let mut ledger = Ledger::default();
                    commit(db, &mut ledger, batch);
                    ledger
                })
            });
            let threads: Vec<_> = commits.collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        self.ledger.since.extend(notes.into_iter().flat_map(|ledger| ledger.since));
    }
}

/// What a store with roll-ups keeps.
fn rolled(batches: &mut Batches) -> Keeps {
    batches.hours = 5;
    let fine_days = 3 + batches.dice.next(3) as i64;
    let rollups = rollups(fine_days, [None, Some(6)][batches.dice.next(2)], batches.dice.next(4) == 0);
    // What is written is up to two days old.
    let retention_ms = [None, Some(whole_days(2)), Some(whole_days(3))][batches.dice.next(3)];
    let odd_ms = [None, None, Some(whole_days(2)), Some(whole_days(4))][batches.dice.next(4)];
    Keeps { rollups, retention_ms, odd_ms }
}

#[test]
fn nothing_acknowledged_is_lost_by_power_losses() {
    let (first, losses) = (setting(SEED, 1), setting(LOSSES, 100));
    let (mut samples, mut buckets, mut answered, mut days) = (0, 0, 0, 0);
    for seed in (first..).take(losses.div_ceil(LOSSES_PER_STORE) as usize) {
        let mut life = Life::new(seed);
        for loss in 0..LOSSES_PER_STORE {
            println!("{SEED}={seed}, loss {loss}");
            life.run();
        }
        life.disk.heal();
        let db = life.open().unwrap();
        life.settle(&db);
        samples += life.ledger.settled.len();
        // It goes on as if nothing had been.
        assert!(commit(&db, &mut life.ledger, &[(0, life.batches.now_ms + 1, 1.0)]));
        db.flush().unwrap();
        db.compact().unwrap();
        life.settle(&db);
        (buckets, answered, days) = (buckets + life.compared.0, answered + life.compared.1, days + life.days);
    }
    println!("{samples} samples, {buckets} buckets compared, {answered} runs answered, {days} days");
    assert!(samples as u64 > losses, "{samples} samples");
    assert!(losses < 100 || (buckets as u64 > losses && answered as u64 > losses && days > losses / 10), "{days} days");
}
