//! Makes families of flat samples: which lines belong together, and which type their head may state.
//!
//! A reader knows histograms and summaries by their parts: once a head announces one, every name that is a part of it
//! belongs to it and may have no head of its own, and every `le` (`quantile`) below it has to be a number. So a family
//! is a histogram or summary only if it has a line that can be its part; then every line whose name says so stands with
//! it, and if one of them has a bound that is no number, all of them are of unknown type.

use std::collections::{BTreeMap, BTreeSet};

use model::{Labels, METRIC_NAME, Metadata, MetricType};

use super::family::part_suffixes;
use super::{Family, FamilySample};

const LE: &str = "le";
const QUANTILE: &str = "quantile";

/// The family of a metric name and what is known about it; `metadata` tells what is known under a name.
///
/// It is the one of exactly this name, else the histogram or summary of which the name is a part.
pub fn family_of<'n>(name: &'n str, metadata: &impl Fn(&str) -> Option<Metadata>) -> (&'n str, Metadata) {
    if let Some(what) = metadata(name) {
        return (name, what);
    }
    if let Some((family, suffix)) = without_suffix(name)
        && let Some(what) = metadata(family).filter(|what| is_part(what.metric_type, suffix))
    {
        return (family, what);
    }
    // OpenMetrics names the family of a counter without _total, that of an info without _info; text with it.
    for (suffix, metric_type) in [("_total", MetricType::Counter), ("_info", MetricType::Info)] {
        if let Some(base) = name.strip_suffix(suffix)
            && let Some(what) = metadata(base).filter(|what| what.metric_type == metric_type)
        {
            return (name, what);
        }
    }
    (name, Metadata::default())
}

/// Groups samples into families, sorted by name, each once. Samples without a name are left out.
pub fn group(samples: Vec<FamilySample>, metadata: impl Fn(&str) -> Option<Metadata>) -> Vec<Family> {
    let mut known: BTreeMap<String, (String, Metadata)> = BTreeMap::new();
    for sample in &samples {
        let name = sample.labels.metric_name();
        if !known.contains_key(name) {
            let (family, what) = family_of(name, &metadata);
            known.insert(name.to_owned(), (family.to_owned(), what));
        }
    }
    let composite = composite_families(&known, &samples);
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    for sample in samples.into_iter().filter(|sample| !sample.labels.metric_name().is_empty()) {
        let (name, metadata) = place(&known, &composite, sample.labels.metric_name());
        let family = families.entry(name.to_owned());
        let family = family.or_insert_with(|| Family { name: name.to_owned(), metadata, samples: Vec::new() });
        family.samples.push(sample);
    }
    let mut families: Vec<Family> = families.into_values().collect();
    for family in families.iter_mut().filter(|family| is_composite(family.metadata.metric_type)) {
        family.samples.sort_by_cached_key(|sample| in_composite(&sample.labels));
    }
    families
}

fn is_composite(metric_type: MetricType) -> bool {
    matches!(metric_type, MetricType::Histogram | MetricType::Summary)
}

/// A name without the suffix of a part of a histogram or summary, and the suffix.
fn without_suffix(name: &str) -> Option<(&str, &'static str)> {
    // A summary's are among them.
    let suffixes = part_suffixes(MetricType::Histogram);
    suffixes.iter().find_map(|suffix| Some((name.strip_suffix(suffix)?, *suffix)))
}

/// True if families of this type have lines with this suffix.
fn is_part(metric_type: MetricType, suffix: &str) -> bool {
    is_composite(metric_type) && part_suffixes(metric_type).contains(&suffix)
}

/// The label with the bound of a part.
fn bound_label(metric_type: MetricType) -> &'static str {
    if metric_type == MetricType::Histogram { LE } else { QUANTILE }
}

/// Histograms and summaries that can be announced as such.
fn composite_families(
    known: &BTreeMap<String, (String, Metadata)>,
    samples: &[FamilySample],
) -> BTreeMap<String, Metadata> {
    let mut composite = BTreeMap::new();
    for sample in samples {
        if let Some((family, what)) = known.get(sample.labels.metric_name())
            && !composite.contains_key(family)
            && is_proper_part(family, what.metric_type, &sample.labels)
        {
            composite.insert(family.clone(), what.clone());
        }
    }
    let spoilt: BTreeSet<String> = samples
        .iter()
        .filter_map(|sample| {
            let (family, what) = composite_of(&composite, sample.labels.metric_name())?;
            let bound = sample.labels.get(bound_label(what.metric_type))?;
            bound_of(bound).is_none().then(|| family.clone())
        })
        .collect();
    composite.retain(|family, _| !spoilt.contains(family));
    composite
}

/// True if the line is one that only a histogram or summary of that name has.
fn is_proper_part(family: &str, metric_type: MetricType, labels: &Labels) -> bool {
    let Some(suffix) = labels.metric_name().strip_prefix(family) else { return false };
    let has_bound = labels.get(bound_label(metric_type)).is_some();
    match suffix {
        "" => is_composite(metric_type) && has_bound,
        "_bucket" => metric_type == MetricType::Histogram && has_bound,
        suffix => is_part(metric_type, suffix),
    }
}

/// The histogram or summary under which a reader puts lines of this name.
fn composite_of<'c>(composite: &'c BTreeMap<String, Metadata>, name: &str) -> Option<(&'c String, &'c Metadata)> {
    composite.get_key_value(name).or_else(|| {
        let (family, suffix) = without_suffix(name)?;
        composite.get_key_value(family).filter(|(_, what)| is_part(what.metric_type, suffix))
    })
}

/// The family under which lines of this name are written, and what its head says.
fn place<'p>(
    known: &BTreeMap<String, (String, Metadata)>,
    composite: &'p BTreeMap<String, Metadata>,
    name: &'p str,
) -> (&'p str, Metadata) {
    if let Some((family, what)) = composite_of(composite, name) {
        return (family, what.clone());
    }
    let mut what = known.get(name).map(|(_, what)| what.clone()).unwrap_or_default();
    if is_composite(what.metric_type) {
        what.metric_type = MetricType::Unknown;
    }
    (name, what)
}

/// The number in a `le` or `quantile`; readers refuse one beyond a double.
fn bound_of(text: &str) -> Option<f64> {
    let bound: f64 = text.parse().ok()?;
    (bound.is_finite() || !text.contains(|c: char| c.is_ascii_digit())).then_some(bound)
}

/// Order within a histogram or summary: by instance, then bounds from low to high, then sum and count.
fn in_composite(labels: &Labels) -> (Labels, u8, i64, Labels) {
    let instance = labels.filtered(|name| name != LE && name != QUANTILE && name != METRIC_NAME);
    let rank = match without_suffix(labels.metric_name()) {
        Some((_, "_sum")) => 1,
        Some((_, "_count")) => 2,
        _ => 0,
    };
    let bound = labels.get(LE).or(labels.get(QUANTILE)).and_then(bound_of).unwrap_or(f64::NAN);
    (instance, rank, total_order(bound), labels.clone())
}

/// Numbers that sort as `f64::total_cmp` does.
fn total_order(value: f64) -> i64 {
    let bits = value.to_bits().cast_signed();
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Lines<'a> = &'a [&'a [(&'a str, &'a str)]];

    fn grouped(lines: Lines<'_>, known: &[(&str, MetricType)]) -> Vec<Family> {
        let metadata = |family: &str| {
            let metric_type = known.iter().find(|(name, _)| *name == family)?.1;
            Some(Metadata { metric_type, help: format!("Help {family}"), unit: String::new() })
        };
        let sample = |pairs: &&[(&str, &str)]| FamilySample {
            labels: Labels::from_pairs(pairs.iter().copied()).unwrap(),
            value: 1.0,
            timestamp_ms: None,
        };
        group(lines.iter().map(sample).collect(), metadata)
    }

    fn shown(families: &[Family]) -> Vec<(&str, MetricType, usize)> {
        families.iter().map(|f| (f.name.as_str(), f.metadata.metric_type, f.samples.len())).collect()
    }

    const H_LINES: [&[(&str, &str)]; 5] = [
        &[("__name__", "h_bucket"), ("le", "+Inf")],
        &[("__name__", "h_bucket"), ("le", "10")],
        &[("__name__", "h_bucket"), ("le", "2")],
        &[("__name__", "h_count")],
        &[("__name__", "h_sum")],
    ];

    fn with<'a>(more: &'a [(&'a str, &'a str)]) -> Vec<&'a [(&'a str, &'a str)]> {
        H_LINES.iter().copied().chain([more]).collect()
    }

    #[test]
    fn lines_of_a_histogram_stand_under_one_head_in_order() {
        let families = grouped(&H_LINES, &[("h", MetricType::Histogram)]);
        let lines: Vec<String> = families[0].samples.iter().map(|s| s.labels.to_string()).collect();
        assert_eq!(shown(&families), [("h", MetricType::Histogram, 5)]);
        assert_eq!(
            lines,
            [
                r#"{__name__="h_bucket", le="2"}"#,
                r#"{__name__="h_bucket", le="10"}"#,
                r#"{__name__="h_bucket", le="+Inf"}"#,
                r#"{__name__="h_sum"}"#,
                r#"{__name__="h_count"}"#,
            ]
        );
        assert_eq!(grouped(&H_LINES, &[]).len(), 3, "nothing is known: three families");
    }

    #[test]
    fn a_summary_has_quantiles_but_no_buckets() {
        let lines: [&[(&str, &str)]; 4] = [
            &[("__name__", "s"), ("quantile", "0.5")],
            &[("__name__", "s_bucket"), ("le", "1")],
            &[("__name__", "s_count")],
            &[],
        ];
        let expected = [("s", MetricType::Summary, 2), ("s_bucket", MetricType::Unknown, 1)];
        assert_eq!(shown(&grouped(&lines, &[("s", MetricType::Summary)])), expected);
    }

    #[test]
    fn what_has_no_part_is_of_unknown_type() {
        let known = [("b_bucket", MetricType::Histogram), ("h", MetricType::Histogram), ("s", MetricType::Summary)];
        let lines: [&[(&str, &str)]; 4] = [
            &[("__name__", "b_bucket")],
            &[("__name__", "h")],
            &[("__name__", "h_bucket")],
            &[("__name__", "s"), ("le", "1")],
        ];
        let families = grouped(&lines, &known);
        let unknown = |name| (name, MetricType::Unknown, 1);
        assert_eq!(shown(&families), [unknown("b_bucket"), unknown("h"), unknown("h_bucket"), unknown("s")]);
        assert_eq!(families[1].metadata.help, "Help h");
    }

    #[test]
    fn a_name_that_a_reader_takes_for_a_part_stands_with_it() {
        let known = [("h", MetricType::Histogram), ("h_count", MetricType::Counter)];
        for line in [&[("__name__", "h")][..], &[("__name__", "h_bucket")]] {
            assert_eq!(shown(&grouped(&with(line), &known)), [("h", MetricType::Histogram, 6)]);
        }
    }

    #[test]
    fn a_bound_that_is_no_number_takes_the_type_away() {
        for bound in ["low", "1e999", ""] {
            let families =
                grouped(&with(&[("__name__", "h_bucket"), ("le", bound), ("x", "y")]), &[("h", MetricType::Histogram)]);
            let spoilt = families.iter().all(|f| f.metadata.metric_type == MetricType::Unknown);
            assert_eq!(spoilt, !bound.is_empty(), "{bound:?}");
        }
        let families = grouped(&with(&[("__name__", "h_sum"), ("le", "x")]), &[("h", MetricType::Histogram)]);
        assert_eq!(families.len(), 3);
    }

    #[test]
    fn counters_of_openmetrics_are_found_without_their_suffix() {
        let families = grouped(&[&[("__name__", "a_total")]], &[("a", MetricType::Counter)]);
        assert_eq!(shown(&families), [("a_total", MetricType::Counter, 1)]);
    }
}
