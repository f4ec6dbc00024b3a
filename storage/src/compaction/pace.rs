//! How fast a compaction may go: within a rate, and slower while queries run.
//!
//! Compaction in the background reads and writes at most `storage.compaction_rate` bytes a second, and of the time that
//! queries run it works only one part in [`QUERY_SHARE`]: it never stops for them, because a store that is asked
//! without pause must be compacted all the same. What an operator asks for goes as fast as it can.

use std::time::Duration;

/// Of the time in which queries run, compaction works one part in so many.
pub(crate) const QUERY_SHARE: u32 = 5;
/// Longest sleep between two looks at the flag that ends the work, and at the queries.
const SLEEP_MAX: Duration = Duration::from_millis(50);
/// Time that may be made up for after a pause of others, so that the rate holds over seconds and not over hours.
const CREDIT_MAX: Duration = Duration::from_secs(1);

/// What the pace needs of the world outside; tests have their own.
pub(crate) trait Surroundings {
    /// Time since some moment.
    fn elapsed(&self) -> Duration;
    /// Passes this time.
    fn sleep(&self, time: Duration);
    /// True if a query runs now.
    fn has_queries(&self) -> bool;
    /// True if the work is to end.
    fn is_stopped(&self) -> bool;
}

/// Keeps one piece of work within its pace.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Bytes a second; none for as fast as it goes.
    rate: Option<u64>,
    /// When what was done so far would have been done at the rate.
    due: Duration,
    /// When the work went on last.
    since: Duration,
}

impl Pace {
    /// A pace that begins now.
    pub(crate) fn new(rate: Option<u64>, world: &dyn Surroundings) -> Self {
        let now = world.elapsed();
        Pace { rate, due: now, since: now }
    }

    /// Says that so many bytes were done since the last call; returns when the work may go on, false if it is to end.
    pub(crate) fn step(&mut self, bytes: u64, world: &dyn Surroundings) -> bool {
        let Some(rate) = self.rate else { return !world.is_stopped() };
        let mut now = world.elapsed();
        let worked = now.saturating_sub(self.since);
        let at_rate = Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
        self.due = self.due.max(now.saturating_sub(CREDIT_MAX)).saturating_add(at_rate);
        let beside_queries = now.saturating_add(worked.saturating_mul(QUERY_SHARE - 1));
        loop {
            if world.is_stopped() {
                return false;
            }
            let until = if world.has_queries() { self.due.max(beside_queries) } else { self.due };
            let left = until.saturating_sub(now);
            if left.is_zero() {
                self.since = now;
                return true;
            }
            world.sleep(left.min(SLEEP_MAX));
            now = world.elapsed();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    /// Time passes only by sleeping and by work.
    #[derive(Default)]
    struct World {
        now: Cell<Duration>,
        queries: Cell<bool>,
        /// When queries end, and when the work is stopped.
        queries_until: Cell<Duration>,
        stop_at: Cell<Option<Duration>>,
        slept: RefCell<Vec<Duration>>,
    }

    impl Surroundings for World {
        fn elapsed(&self) -> Duration {
            self.now.get()
        }

        fn sleep(&self, time: Duration) {
            self.slept.borrow_mut().push(time);
            self.now.set(self.now.get() + time);
        }

        fn has_queries(&self) -> bool {
            self.queries.get() || self.now.get() < self.queries_until.get()
        }

        fn is_stopped(&self) -> bool {
            self.stop_at.get().is_some_and(|at| self.now.get() >= at)
        }
    }

    fn work(world: &World, ms: u64) {
        world.now.set(world.now.get() + Duration::from_millis(ms));
    }

    #[test]
    fn the_rate_holds_over_the_whole_and_sleeps_are_short() {
        let world = World::default();
        let mut pace = Pace::new(Some(1000), &world);
        for _ in 0..40 {
            work(&world, 3);
            assert!(pace.step(100, &world));
        }
        assert_eq!(world.elapsed(), Duration::from_secs(4));
        assert!(world.slept.borrow().iter().all(|time| *time <= SLEEP_MAX));
        // Slower than the rate by itself: no sleep, and no credit for more than a second.
        world.slept.borrow_mut().clear();
        work(&world, 60_000);
        assert!(pace.step(1000, &world) && world.slept.borrow().is_empty());
        let before = world.elapsed();
        (0..5).for_each(|_| assert!(pace.step(1000, &world)));
        assert_eq!(world.elapsed() - before, Duration::from_secs(5));
    }

    #[test]
    fn beside_queries_it_works_one_part_in_so_many_and_never_stops() {
        let world = World::default();
        world.queries.set(true);
        let mut pace = Pace::new(Some(u64::MAX), &world);
        for _ in 0..10 {
            work(&world, 20);
            assert!(pace.step(1, &world));
        }
        assert_eq!(world.elapsed(), Duration::from_millis(10 * 20 * u64::from(QUERY_SHARE)));
        // It goes on as soon as they end.
        world.queries.set(false);
        world.queries_until.set(world.elapsed() + Duration::from_millis(150));
        work(&world, 100);
        let before = world.elapsed();
        assert!(pace.step(1, &world));
        assert!(world.elapsed() - before <= Duration::from_millis(100), "{:?}", world.elapsed() - before);
    }

    #[test]
    fn a_stop_is_seen_in_the_middle_of_a_sleep() {
        let world = World::default();
        world.stop_at.set(Some(Duration::from_millis(120)));
        let mut pace = Pace::new(Some(1), &world);
        assert!(!pace.step(1 << 30, &world));
        assert!(world.elapsed() <= Duration::from_millis(120) + SLEEP_MAX);
        assert!(!Pace::new(None, &world).step(1, &world));
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        let world = World::default();
        world.queries.set(true);
        assert!(Pace::new(None, &world).step(u64::MAX, &world) && world.slept.borrow().is_empty());
    }
}
