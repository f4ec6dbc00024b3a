//! The body of a metric report: an error or samples with labels, never a panic; what is decoded keeps the limits.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use streamgauge::Config;
use streamgauge::ingest::LabelLimits;
use streamgauge::report::{Component, SampleRules, check, decode, series_labels, timestamp};

static CONFIG: LazyLock<Config> = LazyLock::new(|| Config::defaults().unwrap());

/// Most metrics of one body here.
const METRICS_MAX: usize = 100;

fuzz_target!(|data: &[u8]| {
    let config = &*CONFIG;
    let Ok(report) = decode(data, METRICS_MAX) else { return };
    assert!(report.metrics.len() <= METRICS_MAX);
    let rules = SampleRules::new(config, 1_700_000_000_000);
    let limits = LabelLimits {
        labels_max: config.ingest_max_labels,
        name_bytes_max: config.ingest_max_name_bytes,
        value_bytes_max: config.ingest_max_value_bytes,
    };
    let component = Component {
        name: report.component_name.as_deref().unwrap_or_default(),
        kind: report.component_type.as_deref().unwrap_or_default(),
        org: "",
    };
    for sample in report.metrics.iter().filter_map(|item| check(item, &rules).ok()) {
        assert!(!sample.name.is_empty() && sample.name.len() <= rules.name_bytes_max);
        assert!(timestamp::format(sample.timestamp_ms).ends_with('Z'));
        if let Ok(labels) = series_labels(&sample.name, component, sample.labels, limits) {
            assert_eq!(labels.metric_name(), sample.name);
            assert!(labels.len() <= limits.labels_max);
        }
    }
});
