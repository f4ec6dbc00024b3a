//! What one look at the series saw of each job.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use storage::LatestGroup;

use super::rules::Rule;
use crate::jobs::ID_BYTES_MAX;

/// A staleness marker says that a series has ended, or that one scrape failed: it is believed after this part of the time
/// that a series may be silent.
const MARKER_PART: i64 = 5;

/// What a job is known by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct JobKey {
    pub(super) org: String,
    pub(super) id: String,
}

/// What counts as being there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// `jobs.implied_stale_after` in milliseconds
    pub(super) stale_after_ms: i64,
    /// `jobs.max_implied_tasks`
    pub(super) tasks_max: usize,
}

/// A job as its series show it. While it lives, only those of its operators and subtasks are in it that do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sighting {
    pub(super) name: Option<String>,
    /// By id.
    pub(super) operators: BTreeMap<String, Operator>,
    /// Time of the newest sample, not later than the look.
    pub(super) newest_ms: i64,
    pub(super) is_live: bool,
    /// Subtasks above the limit.
    pub(super) tasks_left_out: usize,
}

/// An operator as its series show it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Operator {
    pub(super) name: Option<String>,
    /// By index; one whose series name none is the only one.
    pub(super) tasks: BTreeMap<u64, Task>,
}

/// The newest attempt of a subtask as its series show it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Task {
    pub(super) attempt: u64,
    pub(super) task_manager: Option<String>,
    pub(super) host: Option<String>,
    pub(super) newest_ms: i64,
    pub(super) is_live: bool,
}

/// A look at all series: groups go in, jobs come out.
#[derive(Debug)]
pub(super) struct Look {
    now_ms: i64,
    bounds: Bounds,
    jobs: BTreeMap<JobKey, Sighting>,
    names_left_out: usize,
}

impl Look {
    /// Nothing is seen yet.
    pub(super) fn new(now_ms: i64, bounds: Bounds) -> Look {
        Look { now_ms, bounds, jobs: BTreeMap::new(), names_left_out: 0 }
    }

    /// Adds a group of series that a rule selects.
    pub(super) fn add(&mut self, rule: &Rule, group: &LatestGroup) {
        let Some(named) = rule.read(&group.labels) else { return };
        let Some(newest_ms) = group.live_ms.max(group.ended_ms) else { return };
        if [named.org, named.job, named.operator.unwrap_or_default()].iter().any(|id| id.len() > ID_BYTES_MAX) {
            self.names_left_out += 1;
            return;
        }
        let is_live = self.is_live(group);
        let key = JobKey { org: named.org.to_owned(), id: named.job.to_owned() };
        let job = self.jobs.entry(key).or_insert_with(|| Sighting { newest_ms: i64::MIN, ..Sighting::default() });
        job.newest_ms = job.newest_ms.max(newest_ms.min(self.now_ms));
        job.is_live |= is_live;
        if job.name.is_none() {
            job.name = named.job_name.map(str::to_owned);
        }
        let Some(id) = named.operator else { return };
        if !job.operators.contains_key(id) {
            job.operators.insert(id.to_owned(), Operator::default());
        }
        let Some(operator) = job.operators.get_mut(id) else { return };
        if operator.name.is_none() {
            operator.name = named.operator_name.map(str::to_owned);
        }
        let seen = Task {
            attempt: named.attempt.unwrap_or(0),
            task_manager: named.task_manager.map(str::to_owned),
            host: named.host.map(str::to_owned),
            newest_ms,
            is_live,
        };
        match operator.tasks.entry(named.subtask.unwrap_or(0)) {
            Entry::Vacant(place) => {
                place.insert(seen);
            }
            Entry::Occupied(mut task) => task.get_mut().meet(seen),
        }
    }

    fn is_live(&self, group: &LatestGroup) -> bool {
        let since = |part: i64| self.now_ms.saturating_sub(self.bounds.stale_after_ms / part);
        group.live_ms.is_some_and(|ms| ms >= since(1)) || group.ended_ms.is_some_and(|ms| ms >= since(MARKER_PART))
    }

    /// Ids that are too long to be kept.
    pub(super) fn names_left_out(&self) -> usize {
        self.names_left_out
    }

    /// The jobs that were seen.
    pub(super) fn finish(self) -> BTreeMap<JobKey, Sighting> {
        let mut jobs = self.jobs;
        jobs.values_mut().for_each(|job| job.settle(self.bounds.tasks_max));
        jobs
    }
}

impl Task {
    /// Takes in another group of the same subtask: a newer attempt counts, and of one attempt what came last.
    fn meet(&mut self, other: Task) {
        let is_live = self.is_live || other.is_live;
        if (self.is_live, self.attempt, self.newest_ms) <= (other.is_live, other.attempt, other.newest_ms) {
            *self = other;
        }
        self.is_live = is_live;
    }
}

impl Sighting {
    /// Leaves out what lives no more while the job does, and what is too much.
    fn settle(&mut self, tasks_max: usize) {
        if self.is_live {
            for operator in self.operators.values_mut() {
                operator.tasks.retain(|_, task| task.is_live);
            }
            self.operators.retain(|_, operator| !operator.tasks.is_empty());
        }
        let mut left = tasks_max;
        for operator in self.operators.values_mut() {
            while operator.tasks.len() > left {
                operator.tasks.pop_last();
                self.tasks_left_out += 1;
            }
            left -= operator.tasks.len();
        }
        self.operators.retain(|_, operator| !operator.tasks.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use model::Labels;

    use super::super::rules::rules;
    use super::*;

    const NOW_MS: i64 = 1_000_000;
    const BOUNDS: Bounds = Bounds { stale_after_ms: 100_000, tasks_max: 3 };

    /// A group of Flink's series: labels, newest sample, newest marker.
    type Group<'g> = (&'g [(&'g str, &'g str)], Option<i64>, Option<i64>);

    /// What a look sees of groups.
    fn look(groups: &[Group<'_>]) -> BTreeMap<JobKey, Sighting> {
        let mut look = Look::new(NOW_MS, BOUNDS);
        for (pairs, live_ms, ended_ms) in groups {
            let labels = Labels::from_pairs(pairs.iter().copied()).unwrap();
            look.add(&rules()[0], &LatestGroup { labels, series: 1, live_ms: *live_ms, ended_ms: *ended_ms });
        }
        look.finish()
    }

    fn only(groups: &[Group<'_>]) -> Sighting {
        let mut jobs = look(groups);
        assert_eq!(jobs.len(), 1);
        jobs.pop_first().unwrap().1
    }

    /// Subtasks with their attempts, by operator.
    fn tasks(sighting: &Sighting) -> Vec<(&str, Vec<(u64, u64)>)> {
        let of = |operator: &Operator| operator.tasks.iter().map(|(index, task)| (*index, task.attempt)).collect();
        sighting.operators.iter().map(|(id, operator)| (id.as_str(), of(operator))).collect()
    }

    #[test]
    fn groups_become_jobs_with_operators_and_the_newest_attempts() {
        let job = [("job_id", "j"), ("job_name", "demo")];
        let task = |index, attempt| {
            [
                ("job_id", "j"),
                ("task_id", "t"),
                ("task_name", "score"),
                ("subtask_index", index),
                ("task_attempt_num", attempt),
            ]
        };
        let seen = only(&[
            (&job, Some(NOW_MS - 9), None),
            (&task("0", "1"), Some(NOW_MS - 5), None),
            (&task("0", "0"), None, Some(NOW_MS - 7)),
            (&task("1", "0"), Some(NOW_MS + 7), None),
        ]);
        assert_eq!((seen.name.as_deref(), seen.is_live, seen.newest_ms), (Some("demo"), true, NOW_MS));
        assert_eq!(tasks(&seen), [("t", vec![(0, 1), (1, 0)])]);
        assert_eq!(seen.operators["t"].name.as_deref(), Some("score"));
        let jobs = look(&[(&job, Some(NOW_MS), None), (&[("job_id", "j"), ("org", "acme")], Some(NOW_MS), None)]);
        assert_eq!(jobs.keys().map(|key| key.org.as_str()).collect::<Vec<_>>(), ["", "acme"]);
    }

    #[test]
    fn silence_and_markers_count_after_their_time() {
        let job = [("job_id", "j")];
        let is_live = |live_ms, ended_ms| only(&[(&job, live_ms, ended_ms)]).is_live;
        assert!(is_live(Some(NOW_MS - 100_000), None) && !is_live(Some(NOW_MS - 100_001), None));
        assert!(is_live(None, Some(NOW_MS - 20_000)) && !is_live(None, Some(NOW_MS - 20_001)));
        let task = |id| [("job_id", "j"), ("task_id", id)];
        let seen = only(&[(&task("here"), Some(NOW_MS), None), (&task("gone"), Some(0), None)]);
        assert_eq!(tasks(&seen), [("here", vec![(0, 0)])]);
        let seen = only(&[(&task("a"), Some(5), None), (&task("b"), Some(0), None)]);
        assert_eq!((seen.operators.len(), seen.is_live, seen.newest_ms), (2, false, 5), "as it was last");
    }

    #[test]
    fn tasks_and_names_are_bounded_at_n_and_n_plus_1() {
        let task = |id, index| [("job_id", "j"), ("task_id", id), ("subtask_index", index)];
        let three = [task("a", "0"), task("a", "1"), task("b", "0")];
        let groups = |all: &[[(&'static str, &'static str); 3]]| -> Sighting {
            let list: Vec<Group<'_>> = all.iter().map(|one| (&one[..], Some(NOW_MS), None)).collect();
            only(&list)
        };
        assert_eq!((groups(&three).tasks_left_out, groups(&three).operators.len()), (0, 2));
        let four = [&three[..], &[task("a", "2")]].concat();
        let seen = groups(&four);
        assert_eq!((seen.tasks_left_out, tasks(&seen)), (1, vec![("a", vec![(0, 0), (1, 0), (2, 0)])]));
        let named = |bytes| {
            let mut look = Look::new(NOW_MS, BOUNDS);
            let labels = Labels::from_pairs([("job_id", "j".repeat(bytes).as_str())]).unwrap();
            look.add(&rules()[0], &LatestGroup { labels, series: 1, live_ms: Some(NOW_MS), ended_ms: None });
            (look.names_left_out(), look.finish().len())
        };
        assert_eq!((named(255), named(256)), ((0, 1), (1, 0)));
    }
}
