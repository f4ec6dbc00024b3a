//! The numbers of the store of days as metric families; there are none without `parquet.store`.

use model::MetricType::{self, Counter, Gauge};

use crate::exposition::Family;
use crate::parquet_store::StoreStats;
use crate::telemetry::family;

/// A family of one line: name, type, help, where its value is.
type Row = (&'static str, MetricType, &'static str, fn(&StoreStats) -> f64);

const ROWS: &[Row] = &[
    ("streamgauge_parquet_store_up", Gauge, "1 unless the last request to the store of days failed.", |s| {
        f64::from(u8::from(s.is_reachable))
    }),
    ("streamgauge_parquet_store_files", Gauge, "Files in the store of days.", |s| s.files as f64),
    ("streamgauge_parquet_store_bytes", Gauge, "Bytes of the files in the store of days.", |s| s.bytes as f64),
    ("streamgauge_parquet_store_pending_files", Gauge, "Local files that have still to go to the store.", |s| {
        s.pending_files as f64
    }),
    (
        "streamgauge_parquet_store_missing_files",
        Gauge,
        "Files that are neither in the store nor local any more.",
        |s| s.missing_files as f64,
    ),
    ("streamgauge_parquet_store_uploads_total", Counter, "Files put into the store and verified.", |s| {
        s.uploads as f64
    }),
    ("streamgauge_parquet_store_upload_bytes_total", Counter, "Bytes of these.", |s| s.upload_bytes as f64),
    (
        "streamgauge_parquet_store_failures_total",
        Counter,
        "Rounds of uploads and removals that failed; they are tried again.",
        |s| s.failures as f64,
    ),
    ("streamgauge_parquet_store_reads_total", Counter, "Ranged reads from the store.", |s| s.reads as f64),
    ("streamgauge_parquet_store_read_bytes_total", Counter, "Bytes read from the store.", |s| s.read_bytes as f64),
    ("streamgauge_parquet_store_failed_reads_total", Counter, "Ranged reads from the store that failed.", |s| {
        s.failed_reads as f64
    }),
    ("streamgauge_parquet_store_deletes_total", Counter, "Objects removed from the store.", |s| s.deletes as f64),
    ("streamgauge_parquet_store_cache_bytes", Gauge, "Memory for what was read from the store.", |s| {
        s.cache_bytes as f64
    }),
];

pub(super) fn families(stats: &StoreStats) -> Vec<Family> {
    let row = |(name, metric_type, help, value): &Row| {
        let mut family = family(name, *metric_type, help);
        family.push(&[], value(stats));
        family
    };
    ROWS.iter().map(row).collect()
}
