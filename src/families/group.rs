//! Stored series to metric families that every reader of the text format takes.
//!
//! A reader knows a histogram or summary by its parts: once a family is announced as one, every name that is a part of
//! it belongs to it, and may not be announced again. So a series joins such a family whenever its name says so, and a
//! family counts as histogram or summary only if it has a part that can be one; else it is untyped.

use std::collections::BTreeMap;

use model::{Labels, METRIC_NAME, Metadata, MetricType};
use storage::{Db, Latest};

use super::{Families, is_part, without_suffix};
use crate::exposition::{Family, FamilySample};

const LE: &str = "le";
const QUANTILE: &str = "quantile";

/// Families of the newest samples, sorted by name, each once; series that ended are left out.
pub fn group(db: &Db, latest: Vec<Latest>) -> Vec<Family> {
    let mut lookup = Families::new(db);
    let series: Vec<Latest> = latest.into_iter().filter(|l| !model::is_stale(l.sample.value)).collect();
    let composite = composite_families(&mut lookup, &series);
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    for newest in series {
        let name = newest.labels.metric_name();
        if name.is_empty() {
            continue;
        }
        let (family, metadata) = place(&mut lookup, &composite, name);
        let family = families.entry(family).or_insert_with_key(|name| Family {
            name: name.clone(),
            metadata,
            samples: Vec::new(),
        });
        let sample = FamilySample { value: newest.sample.value, timestamp_ms: None, labels: newest.labels };
        family.samples.push(sample);
    }
    families
        .into_values()
        .map(|mut family| {
            if is_composite(family.metadata.metric_type) {
                family.samples.sort_by_cached_key(|sample| in_composite(&sample.labels));
            }
            family
        })
        .collect()
}

/// Histograms and summaries of which there is a part.
fn composite_families(lookup: &mut Families<'_>, series: &[Latest]) -> BTreeMap<String, Metadata> {
    let mut composite = BTreeMap::new();
    for newest in series {
        let name = newest.labels.metric_name();
        let family = lookup.of(name);
        let metric_type = family.metadata.metric_type;
        if is_composite(metric_type)
            && is_proper_part(metric_type, &family.name, &newest.labels)
            && !composite.contains_key(&family.name)
        {
            composite.insert(family.name.clone(), family.metadata.clone());
        }
    }
    composite
}

fn is_composite(metric_type: MetricType) -> bool {
    matches!(metric_type, MetricType::Histogram | MetricType::Summary)
}

/// True if the series can stand in a histogram or summary of that name.
fn is_proper_part(metric_type: MetricType, family: &str, labels: &Labels) -> bool {
    let has = |label| labels.get(label).is_some_and(|value| value.parse::<f64>().is_ok());
    let bucket_label = if metric_type == MetricType::Histogram { LE } else { QUANTILE };
    match labels.metric_name().strip_prefix(family) {
        Some("") => has(bucket_label),
        Some("_bucket") => metric_type == MetricType::Histogram && has(LE),
        Some("_sum" | "_count") => true,
        _ => false,
    }
}

/// The family under which a name is written, and what is said of it.
fn place(lookup: &mut Families<'_>, composite: &BTreeMap<String, Metadata>, name: &str) -> (String, Metadata) {
    if let Some(metadata) = composite.get(name) {
        return (name.to_owned(), metadata.clone());
    }
    let whole = without_suffix(name).and_then(|(family, suffix)| {
        composite.get_key_value(family).filter(|(_, metadata)| is_part(metadata.metric_type, suffix))
    });
    if let Some((family, metadata)) = whole {
        return (family.clone(), metadata.clone());
    }
    let mut metadata = lookup.of(name).metadata.clone();
    if is_composite(metadata.metric_type) {
        metadata.metric_type = MetricType::Unknown;
    }
    (name.to_owned(), metadata)
}

/// Order within a histogram or summary: by instance, then buckets or quantiles from low to high, then sum and count.
fn in_composite(labels: &Labels) -> (Labels, u8, i64, Labels) {
    let instance = labels.filtered(|name| name != LE && name != QUANTILE && name != METRIC_NAME);
    let rank = match without_suffix(labels.metric_name()) {
        Some((_, "_sum")) => 1,
        Some((_, "_count")) => 2,
        _ => 0,
    };
    let bound = labels.get(LE).or(labels.get(QUANTILE)).and_then(|text| text.parse::<f64>().ok()).unwrap_or(f64::NAN);
    (instance, rank, total_order(bound), labels.clone())
}

/// Numbers that sort as `f64::total_cmp` does.
fn total_order(value: f64) -> i64 {
    let bits = value.to_bits().cast_signed();
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::Sample;
    use storage::{DbOptions, SystemClock};

    use super::*;

    fn db(metadata: &[(&str, MetricType)]) -> (tempfile::TempDir, Db) {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(DbOptions::new(dir.path()), Arc::new(SystemClock)).unwrap();
        let mut batch = db.batch();
        let series = batch.define(None, &Labels::from_pairs([(METRIC_NAME, "any")]).unwrap()).unwrap();
        batch.push(series, 1, 1.0).unwrap();
        for (name, metric_type) in metadata {
            let metadata = Metadata { metric_type: *metric_type, help: format!("Help {name}"), unit: String::new() };
            batch.set_metadata(name, metadata);
        }
        batch.commit().unwrap();
        (dir, db)
    }

    fn newest(pairs: &[(&str, &str)], value: f64) -> Latest {
        let labels = Labels::from_pairs(pairs.iter().copied()).unwrap();
        Latest { labels, sample: Sample { timestamp_ms: 1, value }, arrived_ms: 1 }
    }

    fn shown(families: &[Family]) -> Vec<String> {
        families
            .iter()
            .map(|f| {
                let samples: Vec<String> = f.samples.iter().map(|s| s.labels.to_string()).collect();
                format!("{} {}: {}", f.name, f.metadata.metric_type, samples.join(" "))
            })
            .collect()
    }

    #[test]
    fn parts_come_together_in_order() {
        let (_dir, db) = db(&[("h", MetricType::Histogram), ("s", MetricType::Summary), ("g", MetricType::Gauge)]);
        let series = [
            newest(&[("__name__", "g"), ("x", "1")], 1.0),
            newest(&[("__name__", "gone")], model::stale_nan()),
            newest(&[("__name__", "h_bucket"), ("le", "+Inf")], 1.0),
            newest(&[("__name__", "h_bucket"), ("le", "10")], 1.0),
            newest(&[("__name__", "h_bucket"), ("le", "2")], 1.0),
            newest(&[("__name__", "h_count")], 1.0),
            newest(&[("__name__", "h_sum")], 1.0),
            newest(&[("__name__", "s"), ("quantile", "0.5")], 1.0),
            newest(&[("__name__", "s_count")], 1.0),
            newest(&[("__name__", "s_bucket"), ("le", "1")], 1.0),
        ];
        assert_eq!(
            shown(&group(&db, series.to_vec())),
            [
                r#"g gauge: {__name__="g", x="1"}"#,
                r#"h histogram: {__name__="h_bucket", le="2"} {__name__="h_bucket", le="10"} {__name__="h_bucket", le="+Inf"} {__name__="h_sum"} {__name__="h_count"}"#,
                r#"s summary: {__name__="s", quantile="0.5"} {__name__="s_count"}"#,
                r#"s_bucket unknown: {__name__="s_bucket", le="1"}"#,
            ]
        );
    }

    #[test]
    fn what_has_no_part_is_untyped() {
        let (_dir, db) =
            db(&[("h", MetricType::Histogram), ("s", MetricType::Summary), ("b_bucket", MetricType::Histogram)]);
        let series = [
            newest(&[("__name__", "b_bucket")], 1.0),
            newest(&[("__name__", "h")], 1.0),
            newest(&[("__name__", "h_bucket"), ("le", "low")], 1.0),
            newest(&[("__name__", "s"), ("le", "1")], 1.0),
        ];
        let families = group(&db, series.to_vec());
        assert!(families.iter().all(|f| f.metadata.metric_type == MetricType::Unknown), "{families:?}");
        assert_eq!(families.iter().map(|f| f.name.as_str()).collect::<Vec<_>>(), ["b_bucket", "h", "h_bucket", "s"]);
        assert_eq!(families[1].metadata.help, "Help h");
    }

    #[test]
    fn a_name_that_a_reader_takes_for_a_part_stands_with_it() {
        let (_dir, db) = db(&[("h", MetricType::Histogram), ("h_count", MetricType::Counter)]);
        let series = [
            newest(&[("__name__", "h")], 1.0),
            newest(&[("__name__", "h_bucket")], 1.0),
            newest(&[("__name__", "h_bucket"), ("le", "1")], 1.0),
            newest(&[("__name__", "h_count")], 1.0),
        ];
        let families = group(&db, series.to_vec());
        assert_eq!(families.len(), 1);
        assert_eq!((families[0].name.as_str(), families[0].samples.len()), ("h", 4));
    }
}
