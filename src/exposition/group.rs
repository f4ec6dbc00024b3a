//! Makes families of flat samples: which lines belong together, and which type their head may state.

use std::collections::BTreeMap;

use model::{Labels, Metadata, MetricType};

use super::{Family, FamilySample};

/// Suffixes of the lines of histograms and summaries.
const SUFFIXES: [&str; 3] = ["_bucket", "_sum", "_count"];

/// Groups samples into families, sorted by name; `metadata` tells what is known about a family.
///
/// A family states `histogram` or `summary` only if each of its lines fits: `name_bucket` with `le`, `name` with
/// `quantile`, `name_sum`, `name_count`. Where a sample of the plain name stands beside them, all are of unknown type.
pub fn group(samples: Vec<FamilySample>, metadata: impl Fn(&str) -> Option<Metadata>) -> Vec<Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut known: BTreeMap<String, (String, Metadata)> = BTreeMap::new();
    for sample in samples {
        let name = sample.labels.metric_name().to_owned();
        let (family, what) = known.entry(name.clone()).or_insert_with(|| family_of(&name, &metadata)).clone();
        let (family, what) = if fits(&family, &what, &sample.labels) {
            (family, what)
        } else {
            (name, Metadata { metric_type: MetricType::Unknown, ..what })
        };
        let entry = families.entry(family.clone()).or_insert_with(|| Family {
            name: family,
            metadata: what.clone(),
            samples: Vec::new(),
        });
        if what.metric_type == MetricType::Unknown {
            entry.metadata.metric_type = MetricType::Unknown;
        }
        entry.samples.push(sample);
    }
    split_mixed(families)
}

/// The family of a metric name and what is known about it.
fn family_of(name: &str, metadata: &impl Fn(&str) -> Option<Metadata>) -> (String, Metadata) {
    if let Some(what) = metadata(name) {
        return (name.to_owned(), what);
    }
    for suffix in SUFFIXES {
        if let Some(base) = name.strip_suffix(suffix)
            && let Some(what) = metadata(base)
            && matches!(what.metric_type, MetricType::Histogram | MetricType::Summary)
        {
            return (base.to_owned(), what);
        }
    }
    // OpenMetrics names the family of a counter without _total, that of an info without _info; text with it.
    for (suffix, kind) in [("_total", MetricType::Counter), ("_info", MetricType::Info)] {
        if let Some(base) = name.strip_suffix(suffix)
            && let Some(what) = metadata(base)
            && what.metric_type == kind
        {
            return (name.to_owned(), what);
        }
    }
    (name.to_owned(), Metadata::default())
}

/// True if the line may stand under a head with that type.
fn fits(family: &str, what: &Metadata, labels: &Labels) -> bool {
    let suffix = labels.metric_name().strip_prefix(family).unwrap_or_default();
    match what.metric_type {
        MetricType::Histogram => match suffix {
            "_bucket" => labels.get("le").is_some(),
            "_sum" | "_count" => true,
            _ => false,
        },
        MetricType::Summary => match suffix {
            "" => labels.get("quantile").is_some(),
            "_sum" | "_count" => true,
            _ => false,
        },
        _ => true,
    }
}

/// Gives the lines of a family whose type had to be given up heads of their own.
fn split_mixed(families: BTreeMap<String, Family>) -> Vec<Family> {
    let mut out: BTreeMap<String, Family> = BTreeMap::new();
    for (name, family) in families {
        let is_mixed = family.metadata.metric_type == MetricType::Unknown
            && family.samples.iter().any(|s| s.labels.metric_name() != name);
        if !is_mixed {
            out.insert(name, family);
            continue;
        }
        for sample in family.samples {
            let name = sample.labels.metric_name().to_owned();
            let own = Family { name: name.clone(), metadata: family.metadata.clone(), samples: Vec::new() };
            out.entry(name).or_insert(own).samples.push(sample);
        }
    }
    out.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(pairs: &[(&str, &str)]) -> FamilySample {
        FamilySample { labels: Labels::from_pairs(pairs.iter().copied()).unwrap(), value: 1.0, timestamp_ms: None }
    }

    fn grouped(names: &[&[(&str, &str)]], known: &[(&str, MetricType)]) -> Vec<(String, MetricType, usize)> {
        let metadata = |family: &str| {
            let metric_type = known.iter().find(|(name, _)| *name == family)?.1;
            Some(Metadata { metric_type, ..Metadata::default() })
        };
        group(names.iter().map(|n| sample(n)).collect(), metadata)
            .into_iter()
            .map(|f| (f.name, f.metadata.metric_type, f.samples.len()))
            .collect()
    }

    const H_LINES: [&[(&str, &str)]; 3] =
        [&[("__name__", "h_bucket"), ("le", "1")], &[("__name__", "h_count")], &[("__name__", "h_sum")]];

    #[test]
    fn lines_of_a_histogram_stand_under_one_head() {
        assert_eq!(grouped(&H_LINES, &[("h", MetricType::Histogram)]), [("h".to_owned(), MetricType::Histogram, 3)]);
        assert_eq!(grouped(&H_LINES, &[]).len(), 3, "nothing is known: three families");
    }

    #[test]
    fn a_plain_sample_of_a_histogram_takes_the_type_away() {
        let mut names = H_LINES.to_vec();
        names.push(&[("__name__", "h")]);
        let all = grouped(&names, &[("h", MetricType::Histogram)]);
        assert_eq!(all.len(), 4);
        assert!(all.iter().all(|(_, kind, count)| *kind == MetricType::Unknown && *count == 1), "{all:?}");
        let alone = grouped(&[&[("__name__", "s")]], &[("s", MetricType::Summary)]);
        assert_eq!(alone, [("s".to_owned(), MetricType::Unknown, 1)]);
        let quantile = grouped(&[&[("__name__", "s"), ("quantile", "0.5")]], &[("s", MetricType::Summary)]);
        assert_eq!(quantile, [("s".to_owned(), MetricType::Summary, 1)]);
    }

    #[test]
    fn counters_of_openmetrics_are_found_without_their_suffix() {
        let all = grouped(&[&[("__name__", "a_total")]], &[("a", MetricType::Counter)]);
        assert_eq!(all, [("a_total".to_owned(), MetricType::Counter, 1)]);
    }
}
