//! What is to be done between the data directory and the store: pure, from what is in both and the time.

use std::collections::{BTreeMap, BTreeSet};

use super::client::Object;
use super::placement::Document;

const DAY_MS: i64 = 86_400_000;

/// What is to be done, in this order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Local files that are not in the store.
    pub(super) upload: Vec<String>,
    /// Files in the store whose local copy has had its time.
    pub(super) drop_local: Vec<String>,
    /// Objects that are no longer ours.
    pub(super) delete: Vec<String>,
}

/// Decides. `local` has the finished files of the data directory with their lengths.
pub(super) fn plan(local: &BTreeMap<String, u64>, document: &Document, keep_local_ms: i64, now_ms: i64) -> Plan {
    let placed = |name: &str, bytes: u64| document.files.get(name).is_some_and(|object| object.bytes == bytes);
    let upload = local.iter().filter(|(name, bytes)| !placed(name, **bytes)).map(|(name, _)| name.clone());
    let has_had_its_time =
        |name: &str| day_end_ms(name).is_some_and(|end_ms| end_ms.saturating_add(keep_local_ms) <= now_ms);
    let drop_local = local.iter().filter(|(name, bytes)| placed(name, **bytes) && has_had_its_time(name));
    Plan {
        upload: upload.collect(),
        drop_local: drop_local.map(|(name, _)| name.clone()).collect(),
        delete: document.doomed.iter().cloned().collect(),
    }
}

/// What a listing of the store says about what should be there.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Differences {
    /// Objects that nobody knows: left by a crash between an upload and the note of it.
    pub(super) unknown: Vec<String>,
    /// Files that should be there, are not, and have a local copy to be sent again.
    pub(super) again: Vec<String>,
    /// Files that should be there, are not, and have no local copy.
    pub(super) lost: Vec<String>,
}

/// Compares.
pub(super) fn compare(listed: &[(String, Object)], document: &Document, local: &BTreeMap<String, u64>) -> Differences {
    let listed: BTreeMap<&str, u64> = listed.iter().map(|(name, object)| (name.as_str(), object.bytes)).collect();
    let known = |name: &str| {
        let maps = [&document.files, &document.aside];
        local.contains_key(name) || document.doomed.contains(name) || maps.iter().any(|map| map.contains_key(name))
    };
    let missing: BTreeSet<&String> =
        document.files.iter().filter(|(n, o)| listed.get(n.as_str()) != Some(&o.bytes)).map(|(n, _)| n).collect();
    let (again, lost) = missing.into_iter().cloned().partition(|name| local.contains_key(name));
    Differences { unknown: listed.keys().filter(|n| !known(n)).map(|n| (*n).to_owned()).collect(), again, lost }
}

/// The end of the day in whose directory a file is.
fn day_end_ms(name: &str) -> Option<i64> {
    let day = name.split('/').nth(1)?.strip_prefix("dt=")?;
    let start = day.parse::<jiff::civil::Date>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    start.timestamp().as_millisecond().checked_add(DAY_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 3] =
        ["samples/dt=1970-01-01/a.parquet", "samples/dt=1970-01-02/a.parquet", "series/dt=1970-01-02/a.parquet"];

    fn local(names: &[&str]) -> BTreeMap<String, u64> {
        names.iter().map(|name| ((*name).to_owned(), 3)).collect()
    }

    fn document(placed: &[&str]) -> Document {
        let mut document = Document::new("me", "s3://b");
        document.files = placed.iter().map(|n| ((*n).to_owned(), Object { bytes: 3, etag: None })).collect();
        document
    }

    #[test]
    fn what_is_not_there_goes_there() {
        let found = plan(&local(&NAMES), &document(&NAMES[..1]), i64::MAX, 0);
        assert_eq!(found.upload, NAMES[1..]);
        assert!(found.drop_local.is_empty());
        let changed = BTreeMap::from([(NAMES[0].to_owned(), 4)]);
        let found = plan(&changed, &document(&NAMES), 0, i64::MAX);
        assert_eq!((found.upload.len(), found.drop_local.len()), (1, 0), "another length is another file");
    }

    #[test]
    fn rows_leave_when_their_day_is_old_enough() {
        let dropped = |keep_ms, now_ms| plan(&local(&NAMES), &document(&NAMES), keep_ms, now_ms).drop_local;
        assert!(dropped(0, DAY_MS - 1).is_empty());
        assert_eq!(dropped(0, DAY_MS), NAMES[..1]);
        assert_eq!(dropped(0, 2 * DAY_MS), NAMES);
        assert_eq!(dropped(DAY_MS, 3 * DAY_MS - 1), NAMES[..1]);
        assert!(plan(&local(&NAMES), &document(&[]), 0, i64::MAX).drop_local.is_empty(), "never before it is there");
        let strange = local(&["samples/dt=x/a.parquet", "samples/dt=1970-13-01/a.parquet", "a.parquet"]);
        let there: Vec<&str> = strange.keys().map(String::as_str).collect();
        assert!(plan(&strange, &document(&there), 0, i64::MAX).drop_local.is_empty());
    }

    #[test]
    fn a_listing_finds_what_is_too_much_and_what_is_missing() {
        let mut document = document(&NAMES);
        document.doomed.insert("samples/dt=1960-01-01/doomed".to_owned());
        document.aside.insert("samples/dt=1960-01-01/aside".to_owned(), Object { bytes: 1, etag: None });
        let object = |name: &str, bytes| (name.to_owned(), Object { bytes, etag: None });
        let listed = [
            object("samples/dt=1960-01-01/doomed", 1),
            object("samples/dt=1960-01-01/aside", 1),
            object("samples/dt=1960-01-01/stranger", 1),
            object(NAMES[0], 3),
            object(NAMES[1], 2),
        ];
        let found = compare(&listed, &document, &local(&NAMES[2..]));
        let expected = Differences {
            unknown: vec!["samples/dt=1960-01-01/stranger".to_owned()],
            again: vec![NAMES[2].to_owned()],
            lost: vec![NAMES[1].to_owned()],
        };
        assert_eq!(found, expected);
    }
}
