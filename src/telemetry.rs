//! Our own metrics, `streamgauge_*`: counters that the parts raise, and their collection as metric families.

use std::collections::BTreeMap;

use model::{Labels, METRIC_NAME, Metadata, MetricType};
use parking_lot::Mutex;

use crate::exposition::{Family, FamilySample};

/// A counter with labels.
#[derive(Debug)]
pub struct Counter {
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    /// What is counted in one unit of the exported value: 1, or 1,000,000 where microseconds are shown as seconds.
    per_unit: f64,
    values: Mutex<BTreeMap<Vec<String>, u64>>,
}

const MICROS_PER_SECOND: f64 = 1e6;

impl Counter {
    fn count(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Self {
        Counter { name, help, labels, per_unit: 1.0, values: Mutex::new(BTreeMap::new()) }
    }

    fn micros(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Self {
        Counter { per_unit: MICROS_PER_SECOND, ..Counter::count(name, help, labels) }
    }

    /// Raises the counter of these label values.
    pub fn add(&self, label_values: &[&str], count: u64) {
        debug_assert_eq!(label_values.len(), self.labels.len(), "{}", self.name);
        let mut values = self.values.lock();
        // Looking first keeps the common case free of allocation.
        if let Some((_, value)) = values.iter_mut().find(|(key, _)| key.iter().eq(label_values)) {
            *value += count;
            return;
        }
        values.insert(label_values.iter().map(|v| (*v).to_owned()).collect(), count);
    }

    /// The value for these label values.
    pub fn get(&self, label_values: &[&str]) -> u64 {
        self.values.lock().iter().find(|(key, _)| key.iter().eq(label_values)).map_or(0, |(_, value)| *value)
    }

    /// The sum over all label values that count, in the unit in which it is exported.
    pub fn sum(&self, counts: impl Fn(&[String]) -> bool) -> f64 {
        let values = self.values.lock();
        let sum: u64 = values.iter().filter(|(key, _)| counts(key)).map(|(_, value)| *value).sum();
        sum as f64 / self.per_unit
    }

    fn collect(&self) -> Family {
        let mut family = family(self.name, MetricType::Counter, self.help);
        let values = self.values.lock();
        if self.labels.is_empty() && values.is_empty() {
            family.push(&[], 0.0);
        }
        for (key, value) in values.iter() {
            let labels: Vec<(&str, &str)> = self.labels.iter().copied().zip(key.iter().map(String::as_str)).collect();
            family.push(&labels, *value as f64 / self.per_unit);
        }
        family
    }
}

/// A family without samples.
pub fn family(name: &str, metric_type: MetricType, help: &str) -> Family {
    let metadata = Metadata { metric_type, help: help.to_owned(), unit: String::new() };
    Family { name: name.to_owned(), metadata, samples: Vec::new() }
}

impl Family {
    /// Adds a sample under the family's own name.
    pub fn push(&mut self, labels: &[(&str, &str)], value: f64) {
        let pairs = labels.iter().copied().chain([(METRIC_NAME, self.name.as_str())]);
        // Label names here are our own; a set that cannot be built would be a duplicate among them.
        if let Ok(labels) = Labels::from_pairs(pairs) {
            self.samples.push(FamilySample { labels, value, timestamp_ms: None });
        }
    }
}

macro_rules! counters {
    ($($field:ident: $kind:ident $name:literal $labels:expr, $help:literal;)*) => {
        /// The counters of the server.
        #[derive(Debug)]
        pub struct Telemetry {
            $(#[doc = $help] pub $field: Counter,)*
        }

        impl Default for Telemetry {
            fn default() -> Self {
                Telemetry { $($field: Counter::$kind($name, $help, $labels),)* }
            }
        }

        impl Telemetry {
            /// The names of the labels of each counter.
            pub fn label_names(&self) -> Vec<(&'static str, &'static [&'static str])> {
                vec![$((self.$field.name, self.$field.labels),)*]
            }

            /// All counters as metric families.
            pub fn collect(&self) -> Vec<Family> {
                vec![$(self.$field.collect(),)*]
            }
        }
    };
}

counters! {
    samples_accepted: count "streamgauge_ingest_samples_total" &["origin"], "Samples that were made durable and acknowledged.";
    samples_rejected: count "streamgauge_ingest_rejected_samples_total" &["origin", "reason"], "Samples that were refused.";
    exemplars_rejected: count "streamgauge_ingest_rejected_exemplars_total" &["origin", "reason"], "Exemplars that were refused; their samples are stored.";
    metadata_rejected: count "streamgauge_ingest_rejected_metadata_total" &["origin", "reason"], "Times that what is said of a metric family was refused.";
    commits_failed: count "streamgauge_ingest_failed_batches_total" &["origin"], "Batches that could not be made durable.";
    http_requests: count "streamgauge_http_requests_total" &["handler", "code"], "HTTP requests answered.";
    http_micros: micros "streamgauge_http_request_seconds_total" &["handler"], "Time spent on HTTP requests.";
    scrapes: count "streamgauge_scrapes_total" &["outcome"], "Scrapes of targets.";
    flink_requests: count "streamgauge_flink_requests_total" &["cluster", "outcome"], "Requests to Flink clusters.";
    flink_probes: count "streamgauge_flink_reporter_probes_total" &["cluster", "outcome"], "Addresses that were tried for reporters of Flink clusters.";
    arroyo_requests: count "streamgauge_arroyo_requests_total" &["outcome"], "Requests to Arroyo's controller.";
    reloads: count "streamgauge_config_reloads_total" &["outcome"], "Times the scrape configuration was read again.";
    background_panics: count "streamgauge_background_panics_total" &["task"], "Times that background work panicked; it goes on.";
    queries: count "streamgauge_queries_total" &["kind", "outcome"], "Expressions evaluated.";
    query_samples: count "streamgauge_query_samples_total" &[], "Samples read by queries.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_collected_with_their_labels() {
        let telemetry = Telemetry::default();
        telemetry.samples_accepted.add(&["report"], 2);
        telemetry.samples_accepted.add(&["report"], 3);
        let families = telemetry.collect();
        let accepted = families.iter().find(|f| f.name == "streamgauge_ingest_samples_total").unwrap();
        assert_eq!(accepted.samples.len(), 1);
        assert_eq!(accepted.samples[0].labels.get("origin"), Some("report"));
        assert_eq!(accepted.samples[0].value, 5.0);
        assert_eq!(telemetry.samples_accepted.get(&["report"]), 5);
        telemetry.http_micros.add(&["/a"], 1_500_000);
        telemetry.http_micros.add(&["/b"], 500_000);
        assert_eq!(telemetry.http_micros.sum(|_| true), 2.0);
        assert_eq!(telemetry.http_micros.sum(|key| key[0] == "/b"), 0.5);
    }
}
