//! Random histories against the model: writes in order, late and twice, flushes, compactions, retention, restarts,
//! kills, with snapshots held across all of it; and the same on a disk that fails and loses power.
//!
//! `STREAMGAUGE_HISTORIES` is the number of histories per test.

use model::Matcher;
use proptest::prelude::*;

use super::super::tests::small;
use super::rolled::{HOUR_MS, Keeps, rollups, whole_days};
use super::*;
use crate::error::{DeleteError, Refusal};
use crate::io::fake::Failure;

const HISTORIES: &str = "STREAMGAUGE_HISTORIES";

#[derive(Debug, Clone)]
enum Action {
    Write(Vec<Write>),
    Flush,
    Compact,
    EnforceRetention,
    Delete(&'static str, TimeRange),
    /// Shows again what the last delete hid.
    Undo,
    Purge,
    /// The clock goes on by so many milliseconds.
    Wait(i64),
    /// Keep a snapshot, and look at it again later.
    Snapshot,
    Look,
    Close,
    Kill,
    /// With a seed.
    PowerLoss(u64),
    /// The n-th operation on the disk fails, once.
    FailOnce(u64),
    /// From the n-th operation on the disk is dead, until the next power loss.
    Die(u64),
}

/// What a history runs with.
#[derive(Debug, Clone)]
struct Setting {
    rolls: bool,
    keeps: Keeps,
    /// Closed days become Parquet.
    parquet: bool,
}

fn settings() -> impl Strategy<Value = Setting> {
    let keep = || prop::sample::select(vec![None, None, Some(30 * HOUR_MS), Some(100 * HOUR_MS)]);
    let plain = (keep(), keep());
    let plain = plain.prop_map(|(retention_ms, odd_ms)| Keeps { retention_ms, odd_ms, ..Keeps::default() });
    let days = || prop::sample::select(vec![None, Some(whole_days(1)), Some(whole_days(4))]);
    let coarse = (prop::option::of(4_i64..7), prop::bool::weighted(0.3));
    let rolled = (days(), days(), 2_i64..5, coarse).prop_map(|(retention_ms, odd_ms, fine_days, coarse)| Keeps {
        rollups: rollups(fine_days, coarse.0, coarse.1),
        retention_ms,
        odd_ms,
    });
    let keeps = prop_oneof![1 => plain, 1 => rolled];
    (any::<bool>(), keeps, any::<bool>()).prop_map(|(rolls, keeps, parquet)| Setting { rolls, keeps, parquet })
}

impl Setting {
    fn options(&self) -> DbOptions {
        let shape = if self.rolls {
            DbOptions { wal_bytes_max: 1 << 20, head_samples_max: 1 << 20, ..small() }
        } else {
            options()
        };
        let parquet_after_ms = self.parquet.then_some(0);
        let Keeps { retention_ms, rollups, .. } = self.keeps.clone();
        DbOptions { retention_ms, rollups, parquet_after_ms, maintenance: self.rolls, ..shape }
    }

    fn open(&self, disk: &FakeDisk, clock: &Arc<TestClock>) -> Db {
        let db = Db::open_on(Arc::new(disk.clone()), self.options(), clock.clone()).unwrap();
        assert_eq!(db.findings(), Vec::<String>::new());
        if let Some(keep_ms) = self.keeps.odd_ms {
            db.set_retention_rules(vec![RetentionRule::new(vec![Matcher::equal("odd", "yes")], keep_ms)]);
        }
        db
    }

    fn has_rollups(&self) -> bool {
        !self.keeps.rollups.rules().is_empty()
    }

    /// The oldest time that a batch takes.
    fn oldest_taken_ms(&self, now_ms: i64) -> i64 {
        let Keeps { retention_ms, odd_ms, .. } = self.keeps;
        let longest = retention_ms.map(|keep_ms| keep_ms.max(odd_ms.unwrap_or(keep_ms)));
        longest.map_or(i64::MIN, |keep_ms| now_ms - keep_ms)
    }
}

fn time() -> impl Strategy<Value = i64> {
    prop_oneof![
        6 => (0_i64..40).prop_map(|i| NOW_MS - 20_000 + i * 1000),
        2 => (0_i64..6).prop_map(|day| NOW_MS - day * DAY_MS),
        1 => prop::sample::select(vec![-1, 0, -DAY_MS, i64::MIN, i64::MIN + 1, NOW_MS + DAY_MS]),
    ]
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        (0_i64..1000).prop_map(|v| v as f64),
        (0_i64..1000).prop_map(|v| v as f64 / 100.0),
        any::<u64>().prop_map(f64::from_bits),
        Just(model::stale_nan()),
    ]
}

fn writes() -> impl Strategy<Value = Action> {
    prop::collection::vec((0_usize..6, time(), value()), 1..12).prop_map(Action::Write)
}

fn delete() -> impl Strategy<Value = Action> {
    let range = (time(), time(), any::<bool>())
        .prop_map(|(a, b, all)| if all { TimeRange::ALL } else { TimeRange { start_ms: a.min(b), end_ms: a.max(b) } });
    (prop::sample::select(vec!["", "yes"]), range).prop_map(|(odd, range)| Action::Delete(odd, range))
}

/// On a disk that works.
fn calm() -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        12 => writes(),
        2 => Just(Action::Flush),
        1 => Just(Action::Compact),
        1 => Just(Action::EnforceRetention),
        2 => delete(),
        1 => Just(Action::Undo),
        1 => Just(Action::Purge),
        1 => (0..40 * HOUR_MS).prop_map(Action::Wait),
        1 => Just(Action::Snapshot),
        1 => Just(Action::Look),
        1 => Just(Action::Close),
        1 => Just(Action::Kill),
    ];
    prop::collection::vec(action, 1..40)
}

/// On one that does not.
fn rough() -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        10 => writes(),
        2 => Just(Action::Flush),
        1 => Just(Action::Compact),
        1 => Just(Action::EnforceRetention),
        1 => delete(),
        1 => Just(Action::Purge),
        1 => (0..40 * HOUR_MS).prop_map(Action::Wait),
        1 => Just(Action::Snapshot),
        1 => Just(Action::Look),
        1 => Just(Action::Kill),
        2 => any::<u64>().prop_map(Action::PowerLoss),
        2 => (0_u64..40).prop_map(Action::FailOnce),
        1 => (0_u64..40).prop_map(Action::Die),
    ];
    prop::collection::vec(action, 1..40)
}

/// A store in the middle of its history.
struct History {
    setting: Setting,
    clock: Arc<TestClock>,
    disk: FakeDisk,
    /// None only between a close and the next start.
    db: Option<Db>,
    ledger: Ledger,
    held: Vec<(Snapshot, Content)>,
    /// The last delete, until something else has changed the content: its number, and what it hid.
    undo: Option<(u64, Content)>,
}

impl History {
    fn new(setting: Setting) -> Self {
        let (disk, clock) = (FakeDisk::default(), TestClock::new());
        let db = Some(setting.open(&disk, &clock));
        History { setting, clock, disk, db, ledger: Ledger::default(), held: Vec::new(), undo: None }
    }

    fn db(&self) -> &Db {
        self.db.as_ref().unwrap()
    }

    /// Looks at everything; what is there after a start counts from now on.
    fn check(&mut self, after_start: bool) {
        let (now_ms, keeps) = (self.clock.now_ms(), self.setting.keeps.clone());
        let found = content(self.db());
        if after_start {
            self.ledger.settle_shown(&found, |content| keeps.shown(content, now_ms));
        } else {
            assert_eq!(found, keeps.shown(&self.ledger.visible(), now_ms));
        }
        if self.setting.has_rollups() {
            let content = self.ledger.visible();
            keeps.check_windows(self.db(), &content, now_ms).unwrap();
            // In the background the head may be flushed at any moment.
            if !self.setting.rolls {
                keeps.check_runs(self.db(), &content, now_ms);
            }
        }
    }

    /// Time goes on; where there are roll-ups by days, each of which is rolled up before.
    fn wait(&mut self, ms: i64) {
        if !self.setting.has_rollups() {
            self.clock.advance(ms);
            return;
        }
        for _ in 0..=ms / (20 * HOUR_MS) {
            let db = self.db();
            let is_done = self.ledger.open_batches() == 0
                && db.flush().is_ok()
                && db.purge_deleted().is_ok()
                && db.compact().is_ok_and(|report| report.set_aside == 0);
            if !is_done {
                return;
            }
            self.setting.keeps.check_up_to_date(db, self.clock.now_ms());
            self.undo = None;
            self.clock.advance(DAY_MS);
        }
    }

    fn start(&mut self, disk: FakeDisk) {
        self.db = None;
        self.disk = disk;
        self.db = Some(self.setting.open(&self.disk, &self.clock));
        self.check(true);
    }

    fn write(&mut self, samples: &[Write]) {
        let oldest_ms = self.setting.oldest_taken_ms(self.clock.now_ms());
        let db = self.db.as_ref().unwrap();
        let mut batch = db.batch();
        for (i, timestamp_ms, value) in samples {
            let series = batch.define(None, &labels(*i)).unwrap();
            let pushed = batch.push(series, *timestamp_ms, *value);
            let refused = Refusal::TooOld { timestamp_ms: *timestamp_ms, oldest_ms };
            assert_eq!(pushed, if *timestamp_ms < oldest_ms { Err(refused) } else { Ok(()) });
        }
        let mut taken: Vec<Write> = samples.iter().filter(|(_, ms, _)| *ms >= oldest_ms).copied().collect();
        let count = taken.len() as u64;
        // What is taken and too old by a rule is never seen.
        let (now_ms, keeps) = (self.clock.now_ms(), &self.setting.keeps);
        taken.retain(|(i, ms, _)| *ms >= keeps.oldest_ms(&labels(*i), now_ms));
        match batch.commit() {
            Ok(done) => {
                assert_eq!(done.samples, count);
                self.ledger.note(&taken, Fate::Acknowledged);
            }
            Err(CommitError::Storage(_)) => self.ledger.note(&taken, Fate::Open),
            Err(_) => {}
        }
    }

    fn delete(&mut self, odd: &'static str, range: TimeRange) {
        let range = self.setting.keeps.whole_buckets(odd, range, self.clock.now_ms());
        let before = self.ledger.visible();
        self.undo = self.ledger.delete(self.db.as_ref().unwrap(), odd, range).map(|id| (id, before));
    }

    /// Only on a disk that works: of what failed it is open whether it counts.
    fn undo_delete(&mut self) {
        let Some((id, mut before)) = self.undo.take() else { return };
        match self.db().undo_delete(id) {
            Ok(()) => {
                before.extend(self.ledger.visible());
                (self.ledger.settled, self.ledger.since) = (before, Vec::new());
            }
            Err(error) => assert!(matches!(error, DeleteError::Unknown(_) | DeleteError::Final(_)), "{error}"),
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Write(samples) => self.write(&samples),
            // They may fail when the disk does.
            Action::Flush => drop(self.db().flush()),
            Action::Compact => drop(self.db().compact()),
            Action::EnforceRetention => drop(self.db().enforce_retention()),
            Action::Delete(..) if self.ledger.open_batches() >= OPEN_MAX - 2 => {}
            Action::Delete(odd, range) => self.delete(odd, range),
            Action::Undo => self.undo_delete(),
            Action::Purge => drop(self.db().purge_deleted()),
            Action::Wait(ms) => self.wait(ms),
            Action::Snapshot => {
                let snapshot = self.db().snapshot();
                let found = try_read(&snapshot).unwrap();
                self.held.push((snapshot, found));
            }
            Action::Look => self.check(false),
            Action::FailOnce(n) if self.ledger.open_batches() < OPEN_MAX - 2 => self.disk.fail_at(n, Failure::Once),
            Action::FailOnce(_) => {}
            Action::Die(n) => self.disk.fail_at(n, Failure::Dead),
            Action::Close => {
                self.db().close().unwrap();
                let late = super::super::tests::write(self.db(), &[(0, self.clock.now_ms(), 0.0)]);
                assert!(matches!(late, Err(CommitError::Closed)));
                self.start(self.disk.clone());
                assert_eq!(self.db().stats().replayed_samples, 0, "a clean close leaves nothing to replay");
            }
            Action::Kill => self.start(self.disk.kill()),
            Action::PowerLoss(seed) => self.start(self.disk.crash(seed)),
        }
    }

    fn run(mut self, actions: Vec<Action>) {
        for action in actions {
            self.act(action);
        }
        self.disk.heal();
        self.check(false);
        for (snapshot, found) in &self.held {
            assert_eq!(try_read(snapshot).unwrap(), *found, "a snapshot does not change");
        }
        self.start(self.disk.crash(1));
    }
}

fn config() -> ProptestConfig {
    ProptestConfig::with_cases(u32::try_from(setting(HISTORIES, 500)).unwrap())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn behaves_like_a_map(setting in settings(), actions in calm()) {
        History::new(setting).run(actions);
    }

    #[test]
    fn loses_and_doubles_nothing_whatever_the_disk_does(setting in settings(), actions in rough()) {
        History::new(setting).run(actions);
    }
}

#[test]
fn a_delete_that_finds_nothing_says_nothing_of_a_write_that_failed() {
    let setting = Setting { rolls: false, keeps: Keeps::default(), parquet: false };
    let at = TimeRange { start_ms: NOW_MS - 20_000, end_ms: NOW_MS - 20_000 };
    let write = Action::Write(vec![(1, at.start_ms, 0.0)]);
    History::new(setting).run(vec![Action::Die(1), write, Action::Delete("yes", at), Action::Kill]);
}

#[test]
fn a_delete_of_all_but_the_last_sample_of_a_bucket_reaches_the_bucket() {
    let keeps = Keeps { rollups: rollups(2, None, false), ..Keeps::default() };
    let first = NOW_MS - 11_000;
    History::new(Setting { rolls: false, keeps, parquet: false }).run(vec![
        Action::Write(vec![(1, first, 0.0), (1, NOW_MS + 7_000, 0.0)]),
        Action::Wait(0),
        Action::Compact,
        Action::Delete("yes", TimeRange { start_ms: first, end_ms: first }),
        Action::Wait(0),
        Action::Look,
    ]);
}
