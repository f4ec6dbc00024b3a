//! The statistics over all checkpoints of a job, which an engine that pushes does not have to keep itself.

use std::collections::BTreeMap;

use crate::jobs::model::checkpoint::{
    Checkpoint, CheckpointCounts, CheckpointStatistics, Distribution, RestoredCheckpoint,
};
use crate::jobs::model::state::CheckpointState;

/// Checkpoints that the list of the newest has, as Flink's.
const HISTORY_MAX: usize = 10;

/// A checkpoint after something was told of it: an end stays an end, and what was known of its tasks stays known unless it is
/// told anew. `is_late` says that what is known is newer than what is told.
pub(in crate::jobs) fn merge(known: Option<&Checkpoint>, told: &Checkpoint, is_late: bool) -> Checkpoint {
    let Some(known) = known else { return told.clone() };
    let has_ended = |checkpoint: &Checkpoint| checkpoint.state != CheckpointState::InProgress;
    let told_counts = if has_ended(known) == has_ended(told) { !is_late } else { has_ended(told) };
    let (mut merged, other) = if told_counts { (told.clone(), known) } else { (known.clone(), told) };
    for (vertex, task) in &other.tasks {
        merged.tasks.entry(vertex.clone()).or_insert_with(|| task.clone());
    }
    merged
}

/// The statistics after one checkpoint changed; `all` has all that are known then, with the change.
pub(in crate::jobs) fn count(
    mut statistics: CheckpointStatistics,
    before: Option<CheckpointState>,
    after: CheckpointState,
    all: &[Checkpoint],
) -> CheckpointStatistics {
    let counts = &mut statistics.counts;
    if before.is_none() {
        counts.total += 1;
    }
    if let Some(before) = before {
        *of_state(counts, before) -= 1;
    }
    *of_state(counts, after) += 1;
    let newest = |is_one: &dyn Fn(&Checkpoint) -> bool| {
        all.iter().filter(|checkpoint| is_one(checkpoint)).map(|checkpoint| checkpoint.id).max()
    };
    let completed = |checkpoint: &Checkpoint| checkpoint.state == CheckpointState::Completed;
    // One that was forgotten meanwhile is remembered; one that is there speaks for itself.
    let or = |found: Option<i64>, before: Option<i64>| {
        found.max(before.filter(|id| all.iter().all(|checkpoint| checkpoint.id != *id)))
    };
    statistics.latest_completed =
        or(newest(&|checkpoint| completed(checkpoint) && !checkpoint.is_savepoint), statistics.latest_completed);
    statistics.latest_savepoint =
        or(newest(&|checkpoint| completed(checkpoint) && checkpoint.is_savepoint), statistics.latest_savepoint);
    statistics.latest_failed =
        or(newest(&|checkpoint| checkpoint.state == CheckpointState::Failed), statistics.latest_failed);
    let mut ids: Vec<i64> = all.iter().map(|checkpoint| checkpoint.id).collect();
    ids.sort_unstable_by(|a, b| b.cmp(a));
    ids.truncate(HISTORY_MAX);
    statistics.history = ids;
    statistics.summary = summary(all);
    statistics
}

/// The statistics after one more restore; the newest is shown.
pub(in crate::jobs) fn restore(
    mut statistics: CheckpointStatistics,
    restored: &RestoredCheckpoint,
) -> CheckpointStatistics {
    statistics.counts.restored += 1;
    if statistics.restored.as_ref().is_none_or(|known| known.at_ms <= restored.at_ms) {
        statistics.restored = Some(restored.clone());
    }
    statistics
}

fn of_state(counts: &mut CheckpointCounts, state: CheckpointState) -> &mut i64 {
    match state {
        CheckpointState::InProgress => &mut counts.in_progress,
        CheckpointState::Completed => &mut counts.completed,
        CheckpointState::Failed => &mut counts.failed,
    }
}

/// Takes a measure of a checkpoint; none where it is not known.
type Measure = fn(&Checkpoint) -> Option<i64>;

/// Over the completed ones that are kept.
fn summary(all: &[Checkpoint]) -> BTreeMap<String, Distribution> {
    const MEASURES: [(&str, Measure); 6] = [
        ("state_size", |checkpoint| Some(checkpoint.sizes.state_bytes)),
        ("end_to_end_duration", |checkpoint| Some(checkpoint.sizes.duration_ms)),
        ("alignment_buffered", |checkpoint| Some(checkpoint.sizes.alignment_buffered_bytes)),
        ("checkpointed_size", |checkpoint| checkpoint.sizes.checkpointed_bytes),
        ("processed_data", |checkpoint| checkpoint.sizes.processed_bytes),
        ("persisted_data", |checkpoint| checkpoint.sizes.persisted_bytes),
    ];
    let completed = || all.iter().filter(|checkpoint| checkpoint.state == CheckpointState::Completed);
    let measured = MEASURES.iter().filter_map(|(name, measure)| {
        let distribution = distribution(completed().filter_map(measure).collect())?;
        Some(((*name).to_owned(), distribution))
    });
    measured.collect()
}

/// None of nothing. A percentile is the value at rank `p (n + 1)`, between two values a part of both, as Flink's.
fn distribution(mut values: Vec<i64>) -> Option<Distribution> {
    values.sort_unstable();
    let (min, max) = (*values.first()?, *values.last()?);
    let sum = values.iter().fold(0_i128, |sum, value| sum + i128::from(*value));
    let avg = i64::try_from(sum / values.len() as i128).unwrap_or(i64::MAX);
    let at = |rank: f64| values[(rank.max(1.0) as usize).min(values.len()) - 1] as f64;
    let percentile = |p: f64| {
        let rank = p * (values.len() as f64 + 1.0);
        let below = rank.floor();
        at(below) + (rank - below) * (at(below + 1.0) - at(below))
    };
    Some(Distribution { min, max, avg, percentiles: Some([0.5, 0.9, 0.95, 0.99, 0.999].map(percentile)) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::model::checkpoint::CheckpointSizes;
    use crate::jobs::model::checkpoint::TaskCheckpoint;

    fn checkpoint(id: i64, state: CheckpointState, duration_ms: i64) -> Checkpoint {
        Checkpoint {
            id,
            state,
            is_savepoint: false,
            savepoint_format: None,
            kind: None,
            triggered_ms: id,
            latest_ack_ms: id,
            sizes: CheckpointSizes { duration_ms, ..CheckpointSizes::default() },
            subtasks: 1,
            acknowledged: 1,
            path: None,
            is_discarded: None,
            failure: None,
            tasks: BTreeMap::new(),
        }
    }

    #[test]
    fn a_checkpoint_that_has_ended_stays_so() {
        let (begun, ended) =
            (checkpoint(1, CheckpointState::InProgress, -1), checkpoint(1, CheckpointState::Completed, 5));
        assert_eq!(merge(None, &begun, false), begun);
        assert_eq!(merge(Some(&begun), &ended, false), ended);
        assert_eq!(merge(Some(&ended), &begun, false), ended, "told again by someone who did not know");
        assert_eq!(merge(Some(&ended), &begun, true), ended);
        let longer = checkpoint(1, CheckpointState::Completed, 6);
        assert_eq!(merge(Some(&ended), &longer, false), longer, "corrected");
        assert_eq!(merge(Some(&ended), &longer, true), ended);
        let task = TaskCheckpoint {
            state: CheckpointState::Completed,
            latest_ack_ms: 1,
            sizes: CheckpointSizes::default(),
            subtasks: 1,
            acknowledged: 1,
        };
        let detailed = Checkpoint { tasks: [("v".to_owned(), task)].into(), ..begun };
        assert_eq!(merge(Some(&detailed), &ended, false).tasks, detailed.tasks);
        assert_eq!(merge(Some(&ended), &detailed, true).tasks, detailed.tasks);
    }

    #[test]
    fn statistics_follow_from_one_change_after_the_other() {
        use CheckpointState::{Completed, Failed, InProgress};
        let mut all = vec![checkpoint(1, Completed, 10)];
        let statistics = count(CheckpointStatistics::default(), None, InProgress, &all);
        let statistics = count(statistics, Some(InProgress), Completed, &all);
        all.extend([checkpoint(2, Failed, -1), Checkpoint { is_savepoint: true, ..checkpoint(3, Completed, 31) }]);
        let statistics = count(count(statistics, None, Failed, &all), None, Completed, &all);
        let expected = CheckpointCounts { restored: 0, total: 3, in_progress: 0, completed: 2, failed: 1 };
        assert_eq!(statistics.counts, expected);
        let latest = (statistics.latest_completed, statistics.latest_failed, statistics.latest_savepoint);
        assert_eq!(latest, (Some(1), Some(2), Some(3)));
        assert_eq!(statistics.history, [3, 2, 1]);
        let duration = statistics.summary["end_to_end_duration"];
        assert_eq!((duration.min, duration.max, duration.avg), (10, 31, 20));
        assert_eq!(duration.percentiles, Some([20.5, 31.0, 31.0, 31.0, 31.0]));
        assert!(!statistics.summary.contains_key("processed_data"), "nobody said");
    }

    #[test]
    fn the_latest_of_a_kind_may_be_forgotten_but_not_be_of_another_kind() {
        use CheckpointState::{Completed, Failed};
        let failed = count(CheckpointStatistics::default(), None, Failed, &[checkpoint(1, Failed, -1)]);
        let later = [checkpoint(2, Completed, 5)];
        assert_eq!(count(failed.clone(), None, Completed, &later).latest_failed, Some(1));
        let corrected = [checkpoint(1, Completed, 5)];
        assert_eq!(count(failed, Some(Failed), Completed, &corrected).latest_failed, None);
    }

    #[test]
    fn the_newest_restore_is_shown_and_all_are_counted() {
        let restored = |at_ms| RestoredCheckpoint { id: at_ms, at_ms, is_savepoint: true, path: None };
        let statistics = restore(restore(CheckpointStatistics::default(), &restored(9)), &restored(7));
        assert_eq!((statistics.counts.restored, statistics.restored), (2, Some(restored(9))));
    }

    #[test]
    fn the_list_of_the_newest_is_bounded() {
        let all: Vec<Checkpoint> = (0..12).map(|id| checkpoint(id, CheckpointState::Completed, 1)).collect();
        let statistics = count(CheckpointStatistics::default(), None, CheckpointState::Completed, &all);
        assert_eq!((statistics.history.len(), statistics.history[0]), (HISTORY_MAX, 11));
    }
}
