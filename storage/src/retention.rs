//! What expires: pure functions of the live set, the rules and the clock.

use std::collections::BTreeMap;

use model::{Labels, Matcher, civil_from_days};

use crate::manifest::{Manifest, SegmentEntry};

/// How long samples of some series are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionRule {
    /// The series; all must hold.
    pub matchers: Vec<Matcher>,
    /// For how long, in milliseconds.
    pub keep_ms: i64,
    /// Shorter than it would be without the rule it never is.
    pub at_least: bool,
}

impl RetentionRule {
    /// Series that pass all matchers keep their samples so long and no longer.
    pub fn new(matchers: Vec<Matcher>, keep_ms: i64) -> Self {
        RetentionRule { matchers, keep_ms, at_least: false }
    }

    /// Series that pass all matchers keep their samples so long, and longer where that holds without the rule.
    pub fn at_least(matchers: Vec<Matcher>, keep_ms: i64) -> Self {
        RetentionRule { at_least: true, ..RetentionRule::new(matchers, keep_ms) }
    }

    fn covers(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(|m| m.matches(labels.get(m.name()).unwrap_or_default()))
    }
}

/// How long samples are kept: for all series, and by rule for those that pass its matchers.
#[derive(Debug, Clone, Default)]
pub(crate) struct RetentionRules {
    /// None for ever.
    general_ms: Option<i64>,
    rules: Vec<RetentionRule>,
}

impl RetentionRules {
    /// The general retention and rules beside it.
    pub(crate) fn new(general_ms: Option<i64>, rules: Vec<RetentionRule>) -> Self {
        RetentionRules { general_ms, rules }
    }

    /// How long samples of a series are kept: as the last of the rules that it passes says, else as all others, and at
    /// least as long as rules behind that one say.
    fn keep_ms(&self, labels: &Labels) -> Option<i64> {
        let mut least = None;
        for rule in self.rules.iter().rev().filter(|rule| rule.covers(labels)) {
            least = least.max(Some(rule.keep_ms));
            if !rule.at_least {
                return least;
            }
        }
        self.general_ms.map(|general| least.map_or(general, |least| least.max(general)))
    }

    /// The oldest time at which samples of a series are kept.
    pub(crate) fn oldest_ms(&self, labels: &Labels, now_ms: i64) -> i64 {
        self.keep_ms(labels).map_or(i64::MIN, |keep_ms| now_ms.saturating_sub(keep_ms))
    }

    /// True if there are rules beside the general retention.
    pub(crate) fn has_rules(&self) -> bool {
        !self.rules.is_empty()
    }

    /// Before this time samples of some series may go.
    pub(crate) fn newest_of_all_ms(&self, now_ms: i64) -> i64 {
        // A rule that only says how long at least lets nothing go.
        let keeps = self.rules.iter().filter(|rule| !rule.at_least).map(|rule| rule.keep_ms).chain(self.general_ms);
        keeps.min().map_or(i64::MIN, |shortest| now_ms.saturating_sub(shortest))
    }

    /// The oldest time at which samples of any series are kept, if there is a bound.
    pub(crate) fn oldest_of_all_ms(&self, now_ms: i64) -> Option<i64> {
        let longest = self.rules.iter().map(|rule| rule.keep_ms).max();
        let general_ms = self.general_ms?;
        Some(now_ms.saturating_sub(longest.map_or(general_ms, |longest| longest.max(general_ms))))
    }
}

/// What retention is asked to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Keep {
    /// Samples older than this may go; none for ever.
    pub(crate) oldest_ms: Option<i64>,
    /// Segments may take this many bytes; none for no bound.
    pub(crate) bytes_max: Option<u64>,
}

/// The segments that go, oldest first.
///
/// By age a segment goes when its last sample is too old. By size whole days go, the oldest first, but never the
/// newest day; a run of several days counts to its last one. What stands `elsewhere`, not on this file system, neither
/// counts nor goes by size.
pub(crate) fn expired(manifest: &Manifest, keep: Keep, elsewhere: impl Fn(&SegmentEntry) -> bool) -> Vec<SegmentEntry> {
    let too_old = |entry: &SegmentEntry| keep.oldest_ms.is_some_and(|oldest| entry.times.end_ms < oldest);
    let (mut gone, mut left): (Vec<_>, Vec<_>) = manifest.segments.iter().cloned().partition(too_old);
    left.retain(|entry| !elsewhere(entry));
    let mut bytes: u64 = left.iter().map(SegmentEntry::total_bytes).sum();
    let mut days: BTreeMap<i64, Vec<SegmentEntry>> = BTreeMap::new();
    for entry in left {
        let day = entry.day.unwrap_or_else(|| crate::db::prepared::day_of(entry.times.end_ms));
        days.entry(day).or_default().push(entry);
    }
    while days.len() > 1 && keep.bytes_max.is_some_and(|max| bytes > max) {
        let Some((_, entries)) = days.pop_first() else { break };
        bytes -= entries.iter().map(SegmentEntry::total_bytes).sum::<u64>();
        gone.extend(entries);
    }
    gone.sort_by_key(|entry| (entry.times.end_ms, entry.id));
    gone
}

/// A UTC day since 1970 as `YYYY-MM-DD`.
pub(crate) fn day_text(day: i64) -> String {
    let (year, month, day_of_month) = civil_from_days(day);
    format!("{year:04}-{month:02}-{day_of_month:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = 86_400_000;

    #[test]
    fn the_last_rule_that_a_series_passes_decides() {
        let rule = |value, keep_ms| RetentionRule::new(vec![Matcher::equal("job", value)], keep_ms);
        let all = RetentionRule::new(vec![Matcher::equal("debug", "yes")], 10);
        let of = |pairs: &[(&str, &str)]| Labels::from_pairs(pairs.iter().copied()).unwrap();
        let rules = RetentionRules::new(Some(100), vec![rule("a", 50), rule("slo", 1000), all.clone()]);
        let oldest = |pairs: &[(&str, &str)]| rules.oldest_ms(&of(pairs), 2000);
        assert_eq!((oldest(&[("job", "x")]), oldest(&[("job", "a")]), oldest(&[("job", "slo")])), (1900, 1950, 1000));
        assert_eq!(oldest(&[("job", "slo"), ("debug", "yes")]), 1990);
        let other_way = RetentionRules::new(None, vec![all.clone(), rule("slo", 1000)]);
        assert_eq!(other_way.oldest_ms(&of(&[("job", "slo"), ("debug", "yes")]), 2000), 1000);
        assert_eq!((rules.oldest_of_all_ms(2000), rules.newest_of_all_ms(2000)), (Some(1000), 1990));
        let for_ever = RetentionRules::new(None, vec![all]);
        assert_eq!((for_ever.oldest_of_all_ms(0), for_ever.oldest_ms(&of(&[]), 0)), (None, i64::MIN));
    }

    #[test]
    fn a_rule_that_says_at_least_never_shortens() {
        let plain = |name, keep_ms| RetentionRule::new(vec![Matcher::equal("name", name)], keep_ms);
        let least = |keep_ms| RetentionRule::at_least(vec![Matcher::equal("job", "a")], keep_ms);
        let rules = vec![plain("short", 10), plain("long", 500), least(50), plain("after", 5)];
        let keep_ms = |general_ms, pairs: &[(&str, &str)]| {
            let labels = Labels::from_pairs(pairs.iter().copied()).unwrap();
            RetentionRules::new(general_ms, rules.clone()).keep_ms(&labels)
        };
        let of_a = |name| [("job", "a"), ("name", name)];
        assert_eq!(keep_ms(Some(100), &of_a("short")), Some(50), "as long as the rule says");
        assert_eq!(keep_ms(Some(100), &of_a("long")), Some(500), "longer by a rule");
        assert_eq!(keep_ms(Some(100), &of_a("other")), Some(100), "longer as all others");
        assert_eq!(keep_ms(Some(20), &of_a("other")), Some(50));
        assert_eq!(keep_ms(None, &of_a("other")), None, "for ever");
        assert_eq!(keep_ms(None, &of_a("after")), Some(5), "what was said later counts");
        assert_eq!(keep_ms(Some(20), &[("job", "b")]), Some(20));
        let alone = RetentionRules::new(None, vec![least(50)]);
        assert_eq!((alone.newest_of_all_ms(1000), alone.oldest_of_all_ms(1000)), (i64::MIN, None));
        let above = RetentionRules::new(Some(20), vec![least(50)]);
        assert_eq!((above.newest_of_all_ms(1000), above.oldest_of_all_ms(1000)), (980, Some(950)));
    }

    fn ids(segments: Vec<SegmentEntry>, oldest_ms: Option<i64>, bytes_max: Option<u64>) -> Vec<u64> {
        let manifest = Manifest { segments, ..Manifest::default() };
        expired(&manifest, Keep { oldest_ms, bytes_max }, is_seventh).iter().map(|entry| entry.id).collect()
    }

    /// What stands elsewhere in these tests.
    fn is_seventh(entry: &SegmentEntry) -> bool {
        entry.id == 7
    }

    #[test]
    fn what_stands_elsewhere_goes_by_age_and_not_by_size() {
        let all = vec![SegmentEntry::of_day(7, 0, 100), SegmentEntry::of_day(1, 1, 10), SegmentEntry::of_day(2, 2, 10)];
        assert_eq!(ids(all.clone(), None, Some(20)), Vec::<u64>::new());
        assert_eq!(ids(all.clone(), None, Some(19)), [1]);
        assert_eq!(ids(all, Some(DAY_MS), None), [7]);
    }

    #[test]
    fn by_age_a_segment_goes_when_its_last_sample_is_too_old() {
        let all = vec![SegmentEntry::of_day(1, 0, 1), SegmentEntry::of_day(2, 1, 1)];
        assert_eq!(ids(all.clone(), Some(DAY_MS - 1), None), Vec::<u64>::new());
        assert_eq!(ids(all.clone(), Some(DAY_MS), None), [1]);
        assert_eq!(ids(all.clone(), None, None), Vec::<u64>::new());
        assert_eq!(ids(all, Some(i64::MAX), None), [1, 2], "by age the newest day goes too");
    }

    #[test]
    fn by_size_the_oldest_days_go_but_never_the_newest() {
        let mixed = SegmentEntry { day: None, ..SegmentEntry::of_day(9, 0, 5) };
        let all = vec![
            SegmentEntry::of_day(1, 0, 10),
            SegmentEntry::of_day(2, 1, 10),
            SegmentEntry::of_day(3, 2, 10),
            SegmentEntry::of_day(4, 1, 10),
            mixed,
        ];
        assert_eq!(ids(all.clone(), None, Some(45)), Vec::<u64>::new());
        assert_eq!(ids(all.clone(), None, Some(44)), [1, 9]);
        assert_eq!(ids(all.clone(), None, Some(29)), [1, 9, 2, 4]);
        assert_eq!(ids(all, None, Some(0)), [1, 9, 2, 4]);
    }

    #[test]
    fn days_are_written_as_dates() {
        for (day, text) in [(0, "1970-01-01"), (-1, "1969-12-31"), (19_782, "2024-02-29"), (11_016, "2000-02-29")] {
            assert_eq!(day_text(day), text);
        }
        for day in [i64::MIN, i64::MAX] {
            assert!(day_text(day).len() > 10);
        }
    }
}
