//! Samples of a report to series of the database.
//!
//! A sender repeats the same bytes each interval, so a series is found by a keyed hash of the metric's name and its
//! labels as they stand in the body, within the context of the component; labels are read only on a miss. The key is
//! drawn anew at each start and never leaves the process: whoever does not know it cannot make two series look alike,
//! and 128 bits do not meet by chance, so that a hit needs no second look at the labels.

use storage::{Batch, CommitError, RawKey, Resolved, SeriesRef};

use super::labels::{Component, series_labels};
use super::metadata::Said;
use super::sample::ReportSample;
use crate::ingest::{Ingest, Origin, Refused, Rejection, raw_hash, raw_hash_of, raw_hash_with};

/// Turns reports into batches.
#[derive(Debug, Default)]
pub struct Reporter {
    said: Said,
}

/// What became of the samples of a report.
#[derive(Debug, Default)]
pub struct Stored {
    /// Samples that are durable now.
    pub inserted: u64,
    /// Places and reasons of those that were refused, in order.
    pub rejected: Vec<(usize, Rejection)>,
}

impl Reporter {
    /// Stores the samples of one component in this batch, which has nothing in it yet; the order of `samples` numbers the
    /// refusals.
    ///
    /// # Errors
    /// [`CommitError`]: nothing is stored.
    pub fn store(
        &self,
        ingest: &Ingest,
        batch: Batch<'_>,
        component: Component<'_>,
        samples: &[Result<ReportSample<'_>, Rejection>],
        now_ms: i64,
    ) -> Result<Stored, CommitError> {
        let mut writer = Writer { context: context(component), component, ingest, batch };
        let mut known = writer.resolve(samples).into_iter();
        let (mut taken, mut rejected) = (Vec::with_capacity(samples.len()), Vec::new());
        for (index, sample) in samples.iter().enumerate() {
            let pushed = match sample {
                Ok(_) => known.next().map(|known| writer.push(&known).map(|()| known.sample)).transpose(),
                Err(rejection) => Err(rejection.clone()),
            };
            match pushed {
                Ok(sample) => taken.extend(sample),
                Err(rejection) => {
                    let name = sample.as_ref().map_or("a metric", |s| &*s.name);
                    let what = format!("{name} of {}", component.name);
                    ingest.reject(Origin::Report, Refused::Samples(1), &rejection, &what);
                    rejected.push((index, rejection));
                }
            }
        }
        let mut batch = writer.batch;
        let inserted = batch.len() as u64;
        if inserted == 0 {
            return Ok(Stored { inserted, rejected });
        }
        let news = self.said.news(taken.into_iter(), now_ms);
        for said in &news.families {
            ingest.describe(Origin::Report, &mut batch, *said);
        }
        if let Err(error) = ingest.commit(Origin::Report, batch) {
            self.said.forget(&news);
            return Err(error);
        }
        Ok(Stored { inserted, rejected })
    }
}

/// The context in which equal bytes mean the same series.
fn context(component: Component<'_>) -> u64 {
    raw_hash_of(&["report", component.name, component.kind, component.org]) as u64
}

/// A batch of one component's samples on its way.
struct Writer<'w> {
    context: u64,
    component: Component<'w>,
    ingest: &'w Ingest,
    batch: Batch<'w>,
}

/// The keys of samples one after another. Labels are hashed by themselves, and those of the sample before not again.
struct Keys<'a> {
    context: u64,
    labels: Option<(&'a str, u128)>,
}

impl<'a> Keys<'a> {
    fn of(&mut self, sample: &ReportSample<'a>) -> RawKey {
        let labels = sample.labels.json();
        let known = self.labels.filter(|(before, _)| std::ptr::eq(*before, labels) || *before == labels);
        let (_, labels_hash) = *self.labels.insert(known.unwrap_or_else(|| (labels, raw_hash(labels.as_bytes()))));
        RawKey { context: self.context, hash: raw_hash_with(&sample.name, labels_hash) }
    }
}

/// A sample that is right by itself, its key, and the series that is known by the key.
struct Known<'s, 'a> {
    sample: &'s ReportSample<'a>,
    key: RawKey,
    series: Option<SeriesRef>,
}

impl Writer<'_> {
    /// The samples that are right by themselves, in order. All are looked up at once, since a look-up waits for memory.
    fn resolve<'s, 'a>(&self, samples: &'s [Result<ReportSample<'a>, Rejection>]) -> Vec<Known<'s, 'a>> {
        let samples = samples.iter().flatten();
        let mut hashed = Keys { context: self.context, labels: None };
        let keys: Vec<RawKey> = samples.clone().map(|sample| hashed.of(sample)).collect();
        let mut found = Vec::with_capacity(keys.len());
        self.batch.resolve_all(&keys, &mut found);
        let known = samples.zip(keys).zip(found).map(|((sample, key), found)| {
            let series = match found {
                Some(Resolved::Series(series)) => Some(series),
                // Reports are not relabelled: nothing defines a drop here.
                Some(Resolved::Dropped) | None => None,
            };
            Known { sample, key, series }
        });
        known.collect()
    }

    fn push(&mut self, known: &Known<'_, '_>) -> Result<(), Rejection> {
        let Known { sample, key, series } = *known;
        let series = match series {
            Some(series) => series,
            None => self.define(key, sample)?,
        };
        Ok(self.batch.push(series, sample.timestamp_ms, sample.value)?)
    }

    fn define(&mut self, key: RawKey, sample: &ReportSample<'_>) -> Result<SeriesRef, Rejection> {
        let labels = series_labels(&sample.name, self.component, sample.labels, self.ingest.limits())?;
        Ok(self.batch.define(Some(key), &labels)?)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::{Budget, Matcher, MetricType, Scope};
    use storage::{Db, DbOptions, SystemClock};

    use super::*;
    use crate::config::Config;
    use crate::report::{SampleRules, check, decode};
    use crate::telemetry::Telemetry;

    struct Store {
        _dir: tempfile::TempDir,
        db: Arc<Db>,
        ingest: Ingest,
        reporter: Reporter,
        config: Config,
    }

    impl Store {
        fn new() -> Store {
            let dir = tempfile::tempdir().unwrap();
            let config = Config::defaults().unwrap();
            let db = Arc::new(Db::open(DbOptions::new(dir.path()), Arc::new(SystemClock)).unwrap());
            let ingest = Ingest::new(&config, Arc::clone(&db), Arc::new(Telemetry::default()));
            Store { _dir: dir, db, ingest, reporter: Reporter::default(), config }
        }

        fn report(&self, component: &str, metrics: &str) -> Stored {
            self.report_of("", component, metrics)
        }

        fn report_of(&self, org: &str, component: &str, metrics: &str) -> Stored {
            let body = format!("{{\"metrics\":[{metrics}]}}");
            let report = decode(body.as_bytes(), 1000).unwrap();
            let rules = SampleRules::new(&self.config, 1_700_000_000_000);
            let samples: Vec<_> = report.metrics.iter().map(|item| check(item, &rules)).collect();
            let component = Component { name: component, kind: "worker_pool", org };
            self.reporter.store(&self.ingest, self.ingest.batch(), component, &samples, 0).unwrap()
        }

        fn latest(&self) -> Vec<String> {
            let of_no_job = [Matcher::equal("job", "")];
            let all = self.db.latest(&Scope::default(), &of_no_job, i64::MIN, &Budget::unlimited());
            all.unwrap().iter().map(|l| format!("{} {} {}", l.labels, l.sample.value, l.sample.timestamp_ms)).collect()
        }
    }

    fn metric(name: &str, value: &str, labels: &str) -> String {
        format!(
            r#"{{"metric_name":"{name}","metric_type":"gauge","metric_value":{value},"help_text":"H","labels":{labels}}}"#
        )
    }

    #[test]
    fn components_and_spellings_share_or_part_series() {
        let store = Store::new();
        assert_eq!(store.report("a", &metric("m", "1", r#"{"x":"1","y":"2"}"#)).inserted, 1);
        assert_eq!(store.report("a", &metric("m", "2", r#"{ "y":"2","x":1}"#)).inserted, 1, "another spelling");
        assert_eq!(store.report("b", &metric("m", "3", r#"{"x":"1","y":"2"}"#)).inserted, 1, "another component");
        assert_eq!(
            store.latest(),
            [
                r#"{__name__="m", component="a", component_type="worker_pool", x="1", y="2"} 2 1700000000000"#,
                r#"{__name__="m", component="b", component_type="worker_pool", x="1", y="2"} 3 1700000000000"#,
            ]
        );
        let metadata = store.db.metadata_of("m").unwrap();
        assert_eq!((metadata.metric_type, metadata.help.as_str()), (MetricType::Gauge, "H"));
        let long = format!("{}é", "H".repeat(4095));
        store.report("a", &metric("m", "4", "{}").replace("\"H\"", &format!("\"{long}\"")));
        assert_eq!(store.db.metadata_of("m").unwrap().help, "H".repeat(4095), "cut to ingest.max_help_bytes");
    }

    #[test]
    fn labels_are_hashed_anew_where_they_differ_from_those_before() {
        let store = Store::new();
        for round in 0..2 {
            let metrics =
                [("a", r#"{"x":"1"}"#), ("b", r#"{"x":"1"}"#), ("a", r#"{"x":"2"}"#), ("a", "{}"), ("b", "{}")];
            let metrics = metrics
                .iter()
                .enumerate()
                .map(|(i, (name, labels))| metric(name, &format!("{}", 10 * round + i), labels));
            assert_eq!(store.report("c", &metrics.collect::<Vec<_>>().join(",")).inserted, 5);
        }
        let own = |name, rest, value| {
            format!(r#"{{__name__="{name}", component="c", component_type="worker_pool"{rest}}} {value} 1700000000000"#)
        };
        let mut expected = [
            own("a", "", 13),
            own("a", r#", x="1""#, 10),
            own("a", r#", x="2""#, 12),
            own("b", "", 14),
            own("b", r#", x="1""#, 11),
        ];
        expected.sort();
        let mut latest = store.latest();
        latest.sort();
        assert_eq!(latest, expected);
    }

    #[test]
    fn equal_bytes_of_two_organizations_are_two_series() {
        let store = Store::new();
        for (org, value) in [("", "1"), ("o", "2"), ("p", "3"), ("o", "4")] {
            assert_eq!(store.report_of(org, "a", &metric("m", value, r#"{"org":"x"}"#)).inserted, 1);
        }
        assert_eq!(
            store.latest(),
            [
                r#"{__name__="m", component="a", component_type="worker_pool", exported_org="x", org="o"} 4 1700000000000"#,
                r#"{__name__="m", component="a", component_type="worker_pool", exported_org="x", org="p"} 3 1700000000000"#,
                r#"{__name__="m", component="a", component_type="worker_pool", org="x"} 1 1700000000000"#,
            ]
        );
    }

    #[test]
    fn the_last_of_one_millisecond_counts_and_bad_ones_are_named() {
        let store = Store::new();
        let metrics = [
            metric("m", "1", "null"),
            metric("m", "true", "null"),
            metric("m", "2", "{}"),
            metric("m", "3", r#"{"l":[]}"#),
        ];
        let stored = store.report("a", &metrics.join(","));
        assert_eq!(stored.inserted, 2);
        assert_eq!(stored.rejected.iter().map(|(i, _)| *i).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(store.latest(), [r#"{__name__="m", component="a", component_type="worker_pool"} 2 1700000000000"#]);
        let all = store.ingest.rejections();
        assert_eq!((all.len(), all[0].origin, all[0].reason, all[0].count), (1, Origin::Report, "invalid", 2));
        assert!(all[0].example.starts_with("m of a: label \"l\""), "{}", all[0].example);
    }

    #[test]
    fn a_report_without_a_good_sample_commits_nothing() {
        let store = Store::new();
        let stored = store.report("a", "1");
        assert_eq!((stored.inserted, stored.rejected.len()), (0, 1));
        assert!(store.latest().is_empty());
    }
}
