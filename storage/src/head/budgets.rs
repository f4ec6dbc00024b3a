//! How many series the head may have, in all and of each job.
//!
//! The job is the value of one label ([`SeriesLimits::label`]); series without it are a job of their own, under the empty
//! name. A series counts from its first definition until the head forgets it: with the first flush after it had no
//! samples for `head.series_idle`. Whatever a replay brings back counts, whether or not there is room.
//!
//! A start does not make a series new: one that had samples within `head.series_idle` before it ([`Earlier`]) is let in
//! above every budget, and until it comes back its place within the budget of its job is kept for it. Only a definition
//! comes here. Who finds its series by a raw key, or by labels that the head has, never does.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashMap;
use model::Labels;
use parking_lot::Mutex;

use crate::error::Refusal;
use crate::options::SeriesLimits;
use crate::stats::{BudgetStats, JobSeries};

/// Jobs that are listed by name: those with the most series, and those that were refused first.
const JOBS_LISTED_MAX: usize = 100;

/// The series that had samples shortly before the start and are in segments.
pub(crate) trait Earlier {
    /// True while it matters: for `head.series_idle` after the start.
    fn is_open(&self) -> bool;

    /// True if the series is one of them.
    fn holds(&self, labels: &Labels) -> bool;

    /// How many of them carry a label pair, at least; the empty value stands for those without the label.
    fn count(&self, name: &str, value: &str) -> u64;
}

/// There was nothing before.
impl Earlier for () {
    fn is_open(&self) -> bool {
        false
    }

    fn holds(&self, _: &Labels) -> bool {
        false
    }

    fn count(&self, _: &str, _: &str) -> u64 {
        0
    }
}

/// The limits, and what is taken of them.
#[derive(Debug)]
pub(crate) struct Budgets {
    limits: SeriesLimits,
    series_count: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    jobs: HashMap<String, Job>,
    refused: u64,
    /// Series refused because of their job, by job; the first [`JOBS_LISTED_MAX`].
    refused_of: BTreeMap<String, u64>,
    refused_of_others: u64,
}

/// A place that was taken for a series.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// It was one of those that are kept for series of before the start.
    was_kept: bool,
}

/// What is taken of a job's budget.
#[derive(Debug, Default)]
struct Job {
    series: u64,
    /// Places for series of before the start; none: not looked up yet.
    kept: Option<u64>,
}

impl Budgets {
    pub(crate) fn new(limits: SeriesLimits) -> Self {
        Budgets { limits, series_count: AtomicU64::new(0), state: Mutex::default() }
    }

    /// The label that names the job.
    pub(crate) fn label(&self) -> &str {
        &self.limits.label
    }

    /// Number of series.
    pub(crate) fn series_count(&self) -> u64 {
        self.series_count.load(Ordering::Relaxed)
    }

    /// Takes a place for a series that the head does not have.
    ///
    /// # Errors
    /// [`Refusal::TooManySeries`], [`Refusal::TooManySeriesOfJob`].
    pub(crate) fn take(&self, labels: &Labels, earlier: &dyn Earlier) -> Result<Place, Refusal> {
        let job = labels.get(&self.limits.label).unwrap_or_default();
        let limit = self.limits.of(job);
        let series_max = self.limits.series_max;
        let matters = limit.is_some() || self.series_count() >= series_max;
        let is_open = matters && earlier.is_open();
        // Files are read outside the lock.
        let comes_back = is_open && earlier.holds(labels);
        // Not for who is refused whatever is kept: there is no end of jobs that a sender can make up.
        let may_fit = comes_back || self.series_count() < series_max;
        if is_open && may_fit && limit.is_some_and(|(_, limit)| limit > 0) {
            self.look_up_kept(job, earlier);
        }
        let mut state = self.state.lock();
        if !comes_back && self.series_count() >= series_max {
            state.refused += 1;
            state.forget_if_empty(job);
            return Err(Refusal::TooManySeries { limit: series_max });
        }
        if let Some((limit_name, limit)) = limit.filter(|_| !comes_back) {
            let taken = state.jobs.get(job).map_or(0, |known| known.taken(is_open));
            if taken >= limit {
                state.refuse(job);
                state.forget_if_empty(job);
                let label = self.limits.label.clone();
                return Err(Refusal::TooManySeriesOfJob { limit_name, limit, label, job: job.to_owned() });
            }
        }
        let known = state.job(job);
        known.series += 1;
        let was_kept = comes_back && known.kept.is_some_and(|kept| kept > 0);
        if was_kept {
            known.kept = known.kept.map(|kept| kept - 1);
        }
        self.series_count.fetch_add(1, Ordering::Relaxed);
        Ok(Place { was_kept })
    }

    /// Gives a place back that was not needed: somebody else made the series meanwhile.
    pub(crate) fn put_back(&self, labels: &Labels, place: &Place) {
        let job = labels.get(&self.limits.label).unwrap_or_default();
        if let Some(kept) = self.state.lock().job(job).kept.as_mut().filter(|_| place.was_kept) {
            *kept += 1;
        }
        self.give_back(job, 1);
    }

    /// Keeps the places of a job's series of before the start, once.
    fn look_up_kept(&self, job: &str, earlier: &dyn Earlier) {
        if self.state.lock().jobs.get(job).is_some_and(|known| known.kept.is_some()) {
            return;
        }
        let before = earlier.count(&self.limits.label, job);
        let mut state = self.state.lock();
        let known = state.job(job);
        // What the head has already, the replay brought back: it is among them.
        let kept = before.saturating_sub(known.series);
        known.kept.get_or_insert(kept);
    }

    /// Gives places back.
    pub(crate) fn give_back(&self, job: &str, count: u64) {
        let mut state = self.state.lock();
        if let Some(known) = state.jobs.get_mut(job) {
            known.series = known.series.saturating_sub(count);
        }
        state.forget_if_empty(job);
        self.series_count.fetch_sub(count, Ordering::Relaxed);
    }

    /// Counts a series that is there whatever the limits are; its job is counted by [`Budgets::set_jobs`].
    pub(crate) fn add_replayed(&self) {
        self.series_count.fetch_add(1, Ordering::Relaxed);
    }

    /// Says how many series each job has.
    pub(crate) fn set_jobs<'a>(&self, jobs: impl Iterator<Item = (&'a str, u64)>) {
        let mut state = self.state.lock();
        state.jobs.clear();
        for (job, series) in jobs {
            state.job(job).series += series;
        }
    }

    /// Series refused so far.
    pub(crate) fn refused(&self) -> u64 {
        self.state.lock().refused
    }

    /// The state of the budgets of jobs.
    pub(crate) fn stats(&self) -> BudgetStats {
        let state = self.state.lock();
        let counted = state.jobs.iter().filter(|(_, known)| known.series > 0);
        let mut jobs: Vec<(u64, &str)> = counted.map(|(job, known)| (known.series, job.as_str())).collect();
        jobs.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(b.1)));
        jobs.truncate(JOBS_LISTED_MAX);
        let listed = |(series, job): (u64, &str)| {
            let limit = self.limits.of(job).map(|(_, limit)| limit);
            JobSeries { job: job.to_owned(), series, limit }
        };
        BudgetStats {
            jobs: jobs.into_iter().map(listed).collect(),
            refused: state.refused_of.iter().map(|(job, count)| (job.clone(), *count)).collect(),
            refused_of_others: state.refused_of_others,
        }
    }
}

impl State {
    fn job(&mut self, job: &str) -> &mut Job {
        self.jobs.entry_ref(job).or_default()
    }

    /// Forgets a job that has no series and for which no place is kept.
    fn forget_if_empty(&mut self, job: &str) {
        if self.jobs.get(job).is_some_and(|known| known.series == 0 && known.kept.is_none_or(|kept| kept == 0)) {
            self.jobs.remove(job);
        }
    }

    fn refuse(&mut self, job: &str) {
        self.refused += 1;
        let has_room = self.refused_of.len() < JOBS_LISTED_MAX;
        match self.refused_of.get_mut(job) {
            Some(count) => *count += 1,
            None if has_room => drop(self.refused_of.insert(job.to_owned(), 1)),
            None => self.refused_of_others += 1,
        }
    }
}

impl Job {
    /// Places that nobody new can have; those that are kept count only shortly after a start.
    fn taken(&self, is_open: bool) -> u64 {
        self.series + self.kept.filter(|_| is_open).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn labels(job: &str, i: usize) -> Labels {
        Labels::from_pairs([("job", job), ("i", i.to_string().as_str())]).unwrap()
    }

    fn budgets(series_max: u64, per_job: Option<u64>, of: &[(&str, u64)]) -> Budgets {
        let of_job = of.iter().map(|(job, limit)| ((*job).to_owned(), *limit)).collect();
        Budgets::new(SeriesLimits { series_max, label: "job".to_owned(), per_job, of_job })
    }

    fn of_job(limit_name: &'static str, limit: u64, job: &str) -> Result<(), Refusal> {
        Err(Refusal::TooManySeriesOfJob { limit_name, limit, label: "job".to_owned(), job: job.to_owned() })
    }

    #[test]
    fn each_budget_holds_at_n_and_n_plus_1() {
        let budgets = budgets(7, Some(2), &[("large", 3), ("none", 0)]);
        let take = |job: &str, i| budgets.take(&labels(job, i), &()).map(drop);
        assert_eq!((take("a", 0), take("a", 1)), (Ok(()), Ok(())));
        assert_eq!(take("a", 2), of_job("ingest.max_series_per_job", 2, "a"));
        assert_eq!((take("large", 0), take("large", 1), take("large", 2)), (Ok(()), Ok(()), Ok(())));
        assert_eq!(take("large", 3), of_job("ingest.max_series_of_job", 3, "large"));
        assert_eq!(take("none", 0), of_job("ingest.max_series_of_job", 0, "none"));
        assert_eq!((take("", 0), take("", 1)), (Ok(()), Ok(())), "no job is a job too");
        assert_eq!(take("b", 0), Err(Refusal::TooManySeries { limit: 7 }));
        assert_eq!((budgets.series_count(), budgets.refused()), (7, 4));

        budgets.give_back("a", 2);
        assert_eq!((take("b", 0), take("a", 2)), (Ok(()), Ok(())));
        let stats = budgets.stats();
        let jobs: Vec<(&str, u64, Option<u64>)> =
            stats.jobs.iter().map(|one| (one.job.as_str(), one.series, one.limit)).collect();
        assert_eq!(jobs, [("large", 3, Some(3)), ("", 2, Some(2)), ("a", 1, Some(2)), ("b", 1, Some(2))]);
        assert_eq!(stats.refused, [("a".to_owned(), 1), ("large".to_owned(), 1), ("none".to_owned(), 1)]);
    }

    #[test]
    fn refused_jobs_are_listed_up_to_a_bound() {
        let budgets = budgets(1000, Some(0), &[]);
        for job in 0..JOBS_LISTED_MAX + 1 {
            assert!(budgets.take(&labels(&format!("{job:03}"), 0), &()).is_err());
        }
        assert!(budgets.take(&labels("000", 0), &()).is_err());
        let stats = budgets.stats();
        assert_eq!((stats.refused.len(), stats.refused_of_others), (JOBS_LISTED_MAX, 1));
        assert_eq!(stats.refused.first().unwrap().1, 2);
        assert_eq!(stats.jobs, [], "a refusal leaves nothing behind");
    }

    #[test]
    fn refusals_after_a_start_leave_nothing_behind() {
        let before = Before([labels("known", 0)].into(), true);
        for budgets in [budgets(1000, Some(0), &[]), budgets(0, Some(1), &[]), budgets(0, None, &[("a", 1)])] {
            for job in ["a", "b", "c", "a"] {
                assert!(budgets.take(&labels(job, 0), &before).is_err());
            }
            assert_eq!(budgets.state.lock().jobs.len(), 0);
            // For one that was there a place is kept.
            assert!(budgets.take(&labels("known", 0), &before).is_ok());
            assert!(budgets.take(&labels("known", 1), &before).is_err());
            assert_eq!(budgets.state.lock().jobs.len(), 1);
        }
    }

    struct Before(BTreeSet<Labels>, bool);

    impl Earlier for Before {
        fn is_open(&self) -> bool {
            self.1
        }
        fn holds(&self, labels: &Labels) -> bool {
            self.0.contains(labels)
        }
        fn count(&self, name: &str, value: &str) -> u64 {
            self.0.iter().filter(|labels| labels.get(name).unwrap_or_default() == value).count() as u64
        }
    }

    #[test]
    fn after_a_start_places_are_kept_for_the_series_of_before() {
        let budgets = budgets(4, Some(3), &[]);
        let before = Before((0..2).map(|i| labels("a", i)).collect(), true);
        let take = |i| budgets.take(&labels("a", i), &before).map(drop);
        assert_eq!((take(7), take(8)), (Ok(()), of_job("ingest.max_series_per_job", 3, "a")));
        assert_eq!((take(0), take(1)), (Ok(()), Ok(())));
        assert_eq!(take(8), of_job("ingest.max_series_per_job", 3, "a"));
        assert_eq!(budgets.series_count(), 3);

        // The replay let the job in above its budget: what was there before goes on all the same.
        let budgets = self::budgets(2, Some(1), &[]);
        budgets.set_jobs([("a", 2)].into_iter());
        (0..2).for_each(|_| budgets.add_replayed());
        let before = Before([labels("a", 0), labels("a", 1), labels("a", 2)].into(), true);
        assert_eq!(budgets.take(&labels("b", 0), &before), Err(Refusal::TooManySeries { limit: 2 }));
        assert!(budgets.take(&labels("a", 2), &before).is_ok());
        let closed = Before(before.0, false);
        assert_eq!(budgets.take(&labels("a", 2), &closed), Err(Refusal::TooManySeries { limit: 2 }));
    }

    #[test]
    fn places_are_kept_for_a_while_only() {
        let budgets = budgets(100, Some(2), &[]);
        let mut before = Before((0..2).map(|i| labels("a", i)).collect(), true);
        let refused = budgets.take(&labels("a", 7), &before).map(drop);
        assert_eq!(refused, of_job("ingest.max_series_per_job", 2, "a"));
        before.1 = false;
        assert!(budgets.take(&labels("a", 7), &before).is_ok());
    }
}
