//! The storage engine's numbers as metric families.

use model::MetricType::{self, Counter, Gauge};
use storage::{BudgetStats, DbStats};

use crate::exposition::Family;
use crate::telemetry::family;

/// A family of one line: name, type, help, where its value is.
type Row = (&'static str, MetricType, &'static str, fn(&DbStats) -> f64);

/// Microseconds as seconds.
fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

const ROWS: &[Row] = &[
    ("streamgauge_series", Gauge, "Active series.", |s| s.series as f64),
    (
        "streamgauge_refused_series_total",
        Counter,
        "Times that a new series was refused because of ingest.max_series or the budget of its job.",
        |s| s.refused_series as f64,
    ),
    ("streamgauge_series_retired_total", Counter, "Series that the head forgot because they were idle.", |s| {
        s.retired_series as f64
    }),
    ("streamgauge_head_samples", Gauge, "Samples that are not in segments yet.", |s| s.head_samples as f64),
    ("streamgauge_head_bytes", Gauge, "Bytes of the head's chunks.", |s| s.head_bytes as f64),
    ("streamgauge_head_registry_bytes", Gauge, "Bytes of series rows, symbols and newest samples.", |s| {
        s.registry_bytes as f64
    }),
    ("streamgauge_head_symbols", Gauge, "Distinct label names and values in the head.", |s| s.symbols as f64),
    ("streamgauge_raw_keys", Gauge, "Series whose labels are known as their senders write them.", |s| {
        s.raw_keys as f64
    }),
    ("streamgauge_raw_keys_bytes", Gauge, "Bytes of the table of these.", |s| s.raw_keys_bytes as f64),
    ("streamgauge_metadata_families", Gauge, "Metric families with type, help or unit.", |s| {
        s.metadata_families as f64
    }),
    ("streamgauge_metadata_dropped_total", Counter, "Metric families not noted because of ingest.max_metadata.", |s| {
        s.metadata_dropped as f64
    }),
    ("streamgauge_parquet_partitions", Gauge, "Days that are Parquet.", |s| s.parquet_days as f64),
    ("streamgauge_parquet_bytes", Gauge, "Bytes of Parquet files.", |s| s.parquet_bytes as f64),
    ("streamgauge_deletes", Gauge, "Deletes that are not purged yet.", |s| s.deletes as f64),
    ("streamgauge_exemplars", Gauge, "Exemplars that are kept.", |s| s.exemplars as f64),
    ("streamgauge_committed_batches_total", Counter, "Batches made durable.", |s| s.committed_batches as f64),
    ("streamgauge_committed_samples_total", Counter, "Samples made durable.", |s| s.committed_samples as f64),
    ("streamgauge_failed_batches_total", Counter, "Batches that the WAL could not take.", |s| s.failed_batches as f64),
    (
        "streamgauge_refused_batches_total",
        Counter,
        "Batches refused because a bound was reached or the store is read-only.",
        |s| s.refused_batches as f64,
    ),
    ("streamgauge_commit_groups_total", Counter, "Groups of batches that shared a write and a sync.", |s| {
        s.commit_groups as f64
    }),
    ("streamgauge_pending_bytes", Gauge, "Bytes of batches that wait for the WAL.", |s| s.pending_bytes as f64),
    ("streamgauge_wal_files", Gauge, "WAL files.", |s| s.wal_files as f64),
    ("streamgauge_wal_bytes", Gauge, "Bytes of the WAL.", |s| s.wal_bytes as f64),
    ("streamgauge_wal_rolls_total", Counter, "Times that writing went on to the next WAL file.", |s| {
        s.wal_rolls as f64
    }),
    ("streamgauge_wal_syncs_total", Counter, "Syncs of WAL files.", |s| s.wal_syncs as f64),
    ("streamgauge_wal_failures_total", Counter, "Writes and syncs of the WAL that failed.", |s| s.wal_failures as f64),
    ("streamgauge_wal_damaged_places", Gauge, "Damaged places found in WAL files at the start.", |s| {
        s.wal_damaged as f64
    }),
    ("streamgauge_wal_lost_samples", Gauge, "Samples lost at the start with the definition of their series.", |s| {
        s.wal_lost_samples as f64
    }),
    ("streamgauge_wal_replayed_samples", Gauge, "Samples replayed at the start.", |s| s.replayed_samples as f64),
    ("streamgauge_wal_replay_seconds", Gauge, "Duration of the replay at the start.", |s| seconds(s.replay_us)),
    ("streamgauge_open_seconds", Gauge, "Duration of opening the store, the replay included.", |s| seconds(s.open_us)),
    ("streamgauge_flushes_total", Counter, "Flushes of the head into segments.", |s| s.flushes as f64),
    ("streamgauge_flush_failures_total", Counter, "Flushes that failed; their samples are still in the head.", |s| {
        s.flush_failures as f64
    }),
    ("streamgauge_flushed_samples_total", Counter, "Samples that went from the head into segments.", |s| {
        s.flushed_samples as f64
    }),
    ("streamgauge_segments", Gauge, "Segments.", |s| s.segments as f64),
    ("streamgauge_segment_bytes", Gauge, "Bytes of the segments.", |s| s.segment_bytes as f64),
    (
        "streamgauge_segment_samples",
        Gauge,
        "Samples in the segments; overwritten ones may count more than once.",
        |s| s.segment_samples as f64,
    ),
    ("streamgauge_segments_written_total", Counter, "Segments written by flushes and compactions.", |s| {
        s.segments_written as f64
    }),
    ("streamgauge_segment_bytes_written_total", Counter, "Bytes of the segments written.", |s| {
        s.segment_bytes_written as f64
    }),
    ("streamgauge_manifest_installs_total", Counter, "Manifests installed.", |s| s.manifest_installs as f64),
    ("streamgauge_compactions_total", Counter, "Compactions.", |s| s.compactions as f64),
    ("streamgauge_compaction_failures_total", Counter, "Compactions that failed.", |s| s.compaction_failures as f64),
    ("streamgauge_compacted_samples_total", Counter, "Samples that went through compactions.", |s| {
        s.compacted_samples as f64
    }),
    ("streamgauge_compaction_bytes", Gauge, "Bytes that the compaction that runs now reads.", |s| {
        s.compaction_bytes as f64
    }),
    ("streamgauge_compaction_done_bytes", Gauge, "Bytes of these that are done.", |s| s.compaction_done_bytes as f64),
    (
        "streamgauge_compaction_set_aside_segments",
        Gauge,
        "Segments that compaction leaves alone for ten minutes because it failed on them or found no room.",
        |s| s.compaction_set_aside as f64,
    ),
    ("streamgauge_rollup_runs", Gauge, "Files of roll-ups, those without any bucket included.", |s| {
        s.rollup_runs as f64
    }),
    ("streamgauge_rollup_bytes", Gauge, "Bytes of these.", |s| s.rollup_bytes as f64),
    ("streamgauge_rollup_buckets", Gauge, "Buckets in these, the markers of ended series included.", |s| {
        s.rollup_buckets as f64
    }),
    (
        "streamgauge_rollup_touched_partitions",
        Gauge,
        "Days of roll-ups, by resolution, that are to be built again because samples came or went; samples answer for them.",
        |s| s.rollup_touched_days as f64,
    ),
    ("streamgauge_rollup_partitions_built_total", Counter, "Days of roll-ups built, by resolution.", |s| {
        s.rollup_days as f64
    }),
    ("streamgauge_rollup_merges_total", Counter, "Merges of files of roll-ups.", |s| s.rollup_merges as f64),
    ("streamgauge_rollup_failures_total", Counter, "Builds and merges of roll-ups that failed.", |s| {
        s.rollup_failures as f64
    }),
    ("streamgauge_rollup_dropped_bytes_total", Counter, "Bytes of roll-ups dropped for their age.", |s| {
        s.rollup_dropped_bytes as f64
    }),
    ("streamgauge_retention_dropped_bytes_total", Counter, "Bytes that retention dropped.", |s| {
        s.retention_dropped_bytes as f64
    }),
    ("streamgauge_retention_failures_total", Counter, "Rounds of retention that failed.", |s| {
        s.retention_failures as f64
    }),
    ("streamgauge_quarantined_files_total", Counter, "Corrupt files that were moved away since the start.", |s| {
        s.quarantined as f64
    }),
    ("streamgauge_quarantine_files", Gauge, "Files in the quarantine.", |s| s.quarantine_files as f64),
    ("streamgauge_snapshots", Gauge, "Views of the store that queries hold.", |s| s.open_snapshots as f64),
    (
        "streamgauge_saved_snapshots",
        Gauge,
        "Saved snapshots; their files stay on the disk until they are removed.",
        |s| s.saved_snapshots as f64,
    ),
    ("streamgauge_free_bytes", Gauge, "Free space on the store's file system when last looked at.", |s| {
        s.free_bytes as f64
    }),
    (
        "streamgauge_storage_panics_total",
        Counter,
        "Panics of the storage engine's threads; flushing and compaction start again, without the WAL nothing is written.",
        |s| s.panics as f64,
    ),
    ("streamgauge_read_only", Gauge, "1 while the store takes no writes.", |s| {
        f64::from(u8::from(s.read_only.is_some()))
    }),
];

/// The families of the engine.
pub(super) fn families(stats: &DbStats) -> Vec<Family> {
    let row = |(name, metric_type, help, value): &Row| {
        let mut family = family(name, *metric_type, help);
        family.push(&[], value(stats));
        family
    };
    ROWS.iter().map(row).collect()
}

/// In place of a job: all those beyond the hundred that are listed.
const OTHERS: &str = "(others)";

/// The families of the budgets of jobs. The label is `budget`, because whoever scrapes this sets `job`.
pub(super) fn budget_families(stats: &BudgetStats) -> Vec<Family> {
    let mut series =
        family("streamgauge_budget_series", Gauge, "Active series by job, of the hundred jobs that have most.");
    let mut limits = family("streamgauge_budget_max_series", Gauge, "Most active series of these jobs, if bounded.");
    for one in &stats.jobs {
        series.push(&[("budget", &one.job)], one.series as f64);
        if let Some(limit) = one.limit {
            limits.push(&[("budget", &one.job)], limit as f64);
        }
    }
    let help = "Times that a new series was refused because of the budget of its job, by job.";
    let mut refused = family("streamgauge_budget_refused_series_total", Counter, help);
    for (job, count) in &stats.refused {
        refused.push(&[("budget", job)], *count as f64);
    }
    if stats.refused_of_others > 0 {
        refused.push(&[("budget", OTHERS)], stats.refused_of_others as f64);
    }
    vec![series, limits, refused]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules() {
        for (name, metric_type, help, _) in ROWS {
            assert!(name.starts_with("streamgauge_"), "{name}");
            assert_eq!(name.ends_with("_total"), *metric_type == Counter, "{name}");
            assert!(help.ends_with('.'), "{name}");
        }
        let mut names: Vec<&str> = ROWS.iter().map(|row| row.0).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ROWS.len());
    }

    #[test]
    fn values_come_from_their_fields() {
        let stats = DbStats {
            series: 3,
            wal_bytes: 4,
            replay_us: 1_500_000,
            read_only: Some("full".to_owned()),
            ..DbStats::default()
        };
        let families = families(&stats);
        let value = |name: &str| families.iter().find(|f| f.name == name).unwrap().samples[0].value;
        assert_eq!(value("streamgauge_series"), 3.0);
        assert_eq!(value("streamgauge_wal_bytes"), 4.0);
        assert_eq!(value("streamgauge_wal_replay_seconds"), 1.5);
        assert_eq!(value("streamgauge_read_only"), 1.0);
    }
}
