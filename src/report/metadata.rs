//! What reports say about metric families, and whether a report says something new.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64;

use super::sample::ReportSample;
use crate::exposition::family_name;
use crate::ingest::Description;

/// Most families that are remembered; above, all are forgotten and written once more.
const FAMILIES_MAX: usize = 1_000_000;

/// How long it is remembered what was said. Scrapes and remote write describe families too; a report that goes on saying
/// otherwise is heard again after this time.
const REMEMBERED_MS: i64 = 60_000;

/// What was said last about each family, as hashes.
#[derive(Debug, Default)]
pub(super) struct Said {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    families: HashMap<u64, u64, BuildHasherDefault<AlreadyHashed>>,
    since_ms: i64,
}

/// Families of one batch that are described in a new way.
#[derive(Debug, Default)]
pub(super) struct News<'s> {
    hashes: Vec<(u64, u64)>,
    /// The families, in the order of the batch.
    pub(super) families: Vec<Description<'s>>,
}

impl Said {
    /// What the samples say that was not said before. In a batch the last sample of a family counts.
    pub(super) fn news<'s, 'a: 's>(
        &self,
        samples: impl Iterator<Item = &'s ReportSample<'a>>,
        now_ms: i64,
    ) -> News<'s> {
        // Hashed before the lock is taken, which all reports share.
        let mut told: Vec<(u64, u64, &ReportSample<'_>)> = Vec::new();
        for sample in samples {
            // Buckets of one histogram follow each other and say the same.
            let same = told.last().is_some_and(|(_, _, last)| {
                last.metric_type == sample.metric_type
                    && last.help == sample.help
                    && last.unit == sample.unit
                    && family(last) == family(sample)
            });
            if !same {
                told.push((xxh3_64(family(sample).as_bytes()), hash(sample), sample));
            }
        }
        let mut state = self.state.lock();
        if now_ms.saturating_sub(state.since_ms) >= REMEMBERED_MS || state.families.len() > FAMILIES_MAX {
            state.families.clear();
            state.since_ms = now_ms;
        }
        let mut news = News::default();
        for (family_hash, said, sample) in told {
            if state.families.insert(family_hash, said) != Some(said) {
                news.hashes.push((family_hash, said));
                let (family, metric_type) = (family(sample), sample.metric_type);
                news.families.push(Description { family, metric_type, help: &sample.help, unit: &sample.unit });
            }
        }
        news
    }

    /// Forgets news whose batch was not committed, so that the next report says them again.
    pub(super) fn forget(&self, news: &News<'_>) {
        let mut state = self.state.lock();
        for (family, _) in &news.hashes {
            state.families.remove(family);
        }
    }
}

/// The family of a sample.
fn family<'s>(sample: &'s ReportSample<'_>) -> &'s str {
    family_name(&sample.name, sample.metric_type)
}

/// A hash of type, help and unit.
fn hash(sample: &ReportSample<'_>) -> u64 {
    let help = xxh3_64(sample.help.as_bytes());
    let unit = xxh3_64(sample.unit.as_bytes());
    (help.rotate_left(21) ^ unit).wrapping_mul(31).wrapping_add(sample.metric_type as u64)
}

/// Keys are hashes already.
#[derive(Debug, Default)]
struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64(bytes);
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use model::MetricType;

    use super::*;
    use crate::report::Raw;

    fn sample<'a>(name: &'a str, metric_type: MetricType, help: &'a str) -> ReportSample<'a> {
        ReportSample {
            name: name.into(),
            metric_type,
            value: 1.0,
            timestamp_ms: 0,
            labels: Raw::default(),
            help: help.into(),
            unit: "".into(),
        }
    }

    fn names<'s>(news: &News<'s>) -> Vec<&'s str> {
        news.families.iter().map(|said| said.family).collect()
    }

    #[test]
    fn only_what_is_new_is_said() {
        let said = Said::default();
        let first = [
            sample("h_bucket", MetricType::Histogram, "H"),
            sample("h_sum", MetricType::Histogram, "H"),
            sample("g", MetricType::Gauge, "G"),
            sample("h_bucket", MetricType::Histogram, "H"),
        ];
        assert_eq!(names(&said.news(first.iter(), 0)), ["h", "g"]);
        assert_eq!(names(&said.news(first.iter(), 1)), [""; 0]);
        let second = [sample("g", MetricType::Gauge, "other"), sample("g", MetricType::Counter, "other")];
        let news = said.news(second.iter(), 2);
        assert_eq!(news.families[1].metric_type, MetricType::Counter, "the last one counts");
        said.forget(&news);
        assert_eq!(names(&said.news(second[1..].iter(), 3)), ["g"], "what was not committed is said again");
        assert_eq!(names(&said.news(second[1..].iter(), REMEMBERED_MS)), ["g"], "and after a while");
    }
}
