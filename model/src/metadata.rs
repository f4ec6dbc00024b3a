//! What a metric is: type, help text and unit, by metric family.

use std::fmt;
use std::str::FromStr;

/// The type of a metric family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub enum MetricType {
    /// Nothing is known (`untyped` in text 0.0.4, `unknown` in OpenMetrics).
    #[default]
    Unknown,
    /// A value that only rises, but for resets.
    Counter,
    /// A value that goes up and down.
    Gauge,
    /// A histogram, classic or native.
    Histogram,
    /// A histogram of current values.
    GaugeHistogram,
    /// Quantiles computed by the sender.
    Summary,
    /// Constant 1 with facts in labels.
    Info,
    /// One series per state, 0 or 1.
    StateSet,
}

impl MetricType {
    /// The name as OpenMetrics and Prometheus's metadata API write it.
    pub fn as_str(self) -> &'static str {
        match self {
            MetricType::Unknown => "unknown",
            MetricType::Counter => "counter",
            MetricType::Gauge => "gauge",
            MetricType::Histogram => "histogram",
            MetricType::GaugeHistogram => "gaugehistogram",
            MetricType::Summary => "summary",
            MetricType::Info => "info",
            MetricType::StateSet => "stateset",
        }
    }
}

impl fmt::Display for MetricType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for MetricType {
    type Err = ();

    /// Reads the names of both text formats; `untyped` is [`MetricType::Unknown`].
    fn from_str(text: &str) -> Result<Self, ()> {
        Ok(match text {
            "unknown" | "untyped" => MetricType::Unknown,
            "counter" => MetricType::Counter,
            "gauge" => MetricType::Gauge,
            "histogram" => MetricType::Histogram,
            "gaugehistogram" => MetricType::GaugeHistogram,
            "summary" => MetricType::Summary,
            "info" => MetricType::Info,
            "stateset" => MetricType::StateSet,
            _ => return Err(()),
        })
    }
}

/// Type, help text and unit of a metric family. The newest report wins.
#[derive(Debug, Clone, PartialEq, Eq, Default, PartialOrd, Ord, Hash)]
pub struct Metadata {
    /// The type.
    pub metric_type: MetricType,
    /// For people; may be empty.
    pub help: String,
    /// Base unit, such as `seconds`; may be empty.
    pub unit: String,
}
