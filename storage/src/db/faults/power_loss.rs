//! Power goes at a random operation, again and again on the same store: in the middle of writes, flushes, compactions,
//! and of the recovery from the loss before.
//!
//! `STREAMGAUGE_POWER_LOSSES` is the number of losses.

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
    batches: Batches,
    ledger: Ledger,
}

impl Life {
    fn new(seed: u64) -> Self {
        let mut batches = Batches::new(seed);
        let small = DbOptions { wal_file_bytes: 600, open_partitions_max: 2, ..quiet() };
        let options = [quiet(), small.clone(), DbOptions { wal_bytes_max: 20_000, ..small }];
        let parquet_after_ms = [None, Some(0)][batches.dice.next(2)];
        let options = DbOptions { parquet_after_ms, ..options[batches.dice.next(3)].clone() };
        Life { disk: FakeDisk::default(), options, batches, ledger: Ledger::default() }
    }

    fn dice(&mut self, below: usize) -> usize {
        self.batches.dice.next(below)
    }

    /// Up to the next loss.
    fn run(&mut self) {
        // One in three comes early, so that it meets the start.
        let operations = [15, 100, 200][self.dice(3)];
        let how = [Failure::Dead, Failure::DeadAfter][self.dice(2)];
        let operation = self.dice(operations) as u64;
        self.disk.fail_at(operation, how);
        if let Ok(db) = try_open(&self.disk, &self.options) {
            assert_eq!(db.findings(), Vec::<String>::new(), "what a loss leaves is no damage");
            if self.disk.struck().is_none() {
                self.ledger.settle(content(&db));
            }
            for _ in 0..60 {
                if self.disk.struck().is_some() {
                    break;
                }
                self.act(&db);
            }
            // What is read is right to the end.
            self.ledger.check(&content(&db));
        }
        // Now and then only the process goes first.
        if self.dice(4) == 0 {
            self.disk = self.disk.kill();
        }
        let seed = self.dice(usize::MAX) as u64;
        self.disk = self.disk.crash(seed);
    }

    fn act(&mut self, db: &Db) {
        match self.dice(20) {
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
            _ => assert_eq!(content(db), self.ledger.visible()),
        }
    }

    /// One in two is purged at once.
    fn delete(&mut self, db: &Db) {
        let odd = ["", "yes"][self.dice(2)];
        let start_ms = NOW_MS - self.dice(3) as i64 * DAY_MS;
        let range = [TimeRange::ALL, TimeRange { start_ms, end_ms: start_ms + DAY_MS / 2 }][self.dice(2)];
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

#[test]
fn nothing_acknowledged_is_lost_by_power_losses() {
    let (first, losses) = (setting(SEED, 1), setting(LOSSES, 100));
    let mut samples = 0;
    for seed in (first..).take(losses.div_ceil(LOSSES_PER_STORE) as usize) {
        let mut life = Life::new(seed);
        for loss in 0..LOSSES_PER_STORE {
            println!("{SEED}={seed}, loss {loss}");
            life.run();
        }
        life.disk.heal();
        let db = try_open(&life.disk, &life.options).unwrap();
        life.ledger.settle(content(&db));
        samples += life.ledger.settled.len();
        // It goes on as if nothing had been.
        assert!(commit(&db, &mut life.ledger, &[(0, NOW_MS + 1, 1.0)]));
        db.flush().unwrap();
        db.compact().unwrap();
        assert_eq!(content(&db), life.ledger.visible());
    }
    assert!(samples as u64 > losses, "{samples} samples");
}
