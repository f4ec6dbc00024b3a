//! A metric family with its samples, as the formats group them, and which names belong to one.

use model::{Labels, Metadata, MetricType};

/// A metric family.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// The family's name, without suffixes such as `_bucket`.
    pub name: String,
    /// Type, help and unit.
    pub metadata: Metadata,
    /// Its samples.
    pub samples: Vec<FamilySample>,
}

/// One line of a family.
#[derive(Debug, Clone, PartialEq)]
pub struct FamilySample {
    /// All labels, the name of the line (with its suffix) included.
    pub labels: Labels,
    /// The value.
    pub value: f64,
    /// The time, where the line has one.
    pub timestamp_ms: Option<i64>,
}

/// The endings of the names of a family's lines, where it has lines of several names (OpenMetrics 1.0).
pub(super) fn part_suffixes(metric_type: MetricType) -> &'static [&'static str] {
    match metric_type {
        MetricType::Histogram => &["_bucket", "_sum", "_count"],
        MetricType::GaugeHistogram => &["_bucket", "_gsum", "_gcount"],
        MetricType::Summary => &["_sum", "_count"],
        _ => &[],
    }
}

/// The family of a metric whose family has this type: a part of a histogram or summary belongs to the name without the
/// suffix.
pub fn family_name(metric_name: &str, metric_type: MetricType) -> &str {
    let family = part_suffixes(metric_type).iter().find_map(|suffix| metric_name.strip_suffix(suffix));
    family.filter(|family| !family.is_empty()).unwrap_or(metric_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_belong_to_their_family() {
        for (name, metric_type, family) in [
            ("a_bucket", MetricType::Histogram, "a"),
            ("a_gsum", MetricType::Histogram, "a_gsum"),
            ("a_gcount", MetricType::GaugeHistogram, "a"),
            ("a_count", MetricType::Summary, "a"),
            ("a_bucket", MetricType::Summary, "a_bucket"),
            ("a_count", MetricType::Gauge, "a_count"),
            ("_sum", MetricType::Summary, "_sum"),
        ] {
            assert_eq!(family_name(name, metric_type), family, "{name} of a {metric_type}");
        }
    }
}
