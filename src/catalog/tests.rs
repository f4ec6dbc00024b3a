//! The catalog as its users see it: identities, signs of life, rules, and what is there after a restart.

use model::Matcher;
use storage::RetentionRule;
use tempfile::TempDir;

use super::*;

const OPTIONS: CatalogOptions = CatalogOptions {
    components_max: 3,
    bytes_max: 1 << 20,
    rules_max: 2,
    heartbeat_interval_ms: 15_000,
    report_interval_ms: 60_000,
};

fn open(dir: &TempDir) -> Catalog {
    Catalog::open(dir.path(), OPTIONS, Arc::default(), 7).unwrap()
}

fn new(name: &str, kind: &str) -> NewComponent {
    NewComponent { name: name.to_owned(), kind: kind.to_owned(), ..NewComponent::default() }
}

#[test]
fn nothing_is_written_while_the_store_is_read_only() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = open(&dir);
    let is_full = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let state = Arc::clone(&is_full);
    let full = std::sync::atomic::Ordering::Relaxed;
    catalog.refuse_while(move || state.load(full).then(|| "no room".to_owned()));
    let refused = catalog.register(new("a", "broker"), Source::Call, 7).unwrap_err();
    assert!(matches!(&refused, CatalogError::ReadOnly(reason) if reason == "no room") && refused.is_read_only());
    assert!(catalog.components().is_empty());
    is_full.store(false, full);
    let there = catalog.register(new("a", "broker"), Source::Call, 7).unwrap().component.runtime_id;
    is_full.store(true, full);
    assert!(catalog.heartbeat("", "a", None, 9).unwrap_err().is_read_only());
    catalog.seen(there, 9);
    assert!(catalog.save_seen().unwrap_err().is_read_only());
    assert_eq!(catalog.find("", "a", None).unwrap().heartbeat_ms, 9, "a sign of life is known all the same");
    is_full.store(false, full);
    assert_eq!(catalog.save_seen().unwrap(), 1);
}

#[test]
fn organizations_have_components_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = open(&dir);
    let of = |org: &str, kind: &str| NewComponent { org: org.to_owned(), ..new("x", kind) };
    let id = |new, now_ms| catalog.register(new, Source::Call, now_ms).unwrap().component.runtime_id;
    let (nobodys, ours) = (id(of("", "broker"), 1), id(of("o", ""), 2));
    assert_ne!(nobodys, ours);
    assert_eq!(id(of("o", "broker"), 3), ours, "it says now what it is");
    let found = |org: &str, kind| catalog.find(org, "x", kind).map(|component| component.runtime_id);
    assert_eq!((found("", None), found("o", Some("broker")), found("p", None)), (Some(nobodys), Some(ours), None));
    assert_eq!(catalog.heartbeat("p", "x", None, 9).unwrap(), None);
    assert_eq!(catalog.deregister("o", "x", None, 9).unwrap().map(|component| component.runtime_id), Some(ours));
    assert!(!catalog.find("", "x", None).unwrap().is_deregistered());
    let owner = |org: &str, kind| catalog.of_series(org, "x", kind).map(|component| component.runtime_id);
    assert_eq!(
        (owner("", Some("broker")), owner("o", None), owner("o", Some("broker"))),
        (Some(nobodys), Some(ours), Some(ours))
    );
    assert_eq!(owner("p", Some("broker")), Some(nobodys), "a sender of no organization named one");
    assert!(catalog.has_namesake(&catalog.component(ours).unwrap()));
    catalog.close();
    let again = open(&dir);
    assert_eq!(again.component(ours).unwrap().org, "o");
    let alone = again.register(new("y", "broker"), Source::Call, 4).unwrap().component;
    assert!(!again.has_namesake(&alone));
}

#[test]
fn everything_acknowledged_is_there_without_a_clean_end() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = open(&dir);
    let full = NewComponent {
        runtime: Some("python".to_owned()),
        uri: Some("http://h:1".to_owned()),
        status: Some("busy".to_owned()),
        capacity: Some(4),
        labels: Some(r#"{"a":1}"#.to_owned()),
        pid: Some(77),
        hostname: Some("h".to_owned()),
        meta: Some("{}".to_owned()),
        ..new("a", "worker_pool")
    };
    let a = catalog.register(full, Source::Call, 1000).unwrap().component;
    let b = catalog.register(new("b", "broker"), Source::Report, 1000).unwrap().component;
    let a = Component { heartbeat_ms: 2000, ..a };
    assert_eq!(catalog.heartbeat("", "a", None, 2000).unwrap(), Some(a.clone()));
    let rule = RetentionRule::new(vec![Matcher::equal("__name__", "m")], 5);
    catalog.set_rule(rule.clone(), 1000).unwrap();
    // A killed process leaves its files as they are at that moment.
    let copy = tempfile::tempdir().unwrap();
    for suffix in ["", "-wal"] {
        let name = format!("{FILE_NAME}{suffix}");
        std::fs::copy(dir.path().join(&name), copy.path().join(&name)).unwrap();
    }
    let again = open(&copy);
    assert_eq!(again.component(a.runtime_id).as_deref(), Some(&a));
    assert_eq!(again.component(b.runtime_id).as_deref(), Some(&b));
    assert_eq!(again.rules(), [rule]);
    again.close();
    assert!(matches!(again.heartbeat("", "a", None, 1), Err(CatalogError::Closed)));
    let reopened = open(&copy);
    assert_eq!(reopened.components().len(), 2, "and after a clean end");
}

#[test]
fn name_and_kind_are_the_identity() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = open(&dir);
    let id = |registered: Registered| registered.component.runtime_id;
    let pool = id(catalog.register(new("x", "worker_pool"), Source::Call, 1).unwrap());
    let server = id(catalog.register(new("x", "server_api"), Source::Call, 2).unwrap());
    assert_ne!(pool, server);
    assert_eq!(id(catalog.register(new("x", "worker_pool"), Source::Call, 3).unwrap()), pool);
    assert_eq!(catalog.find("", "x", Some("server_api")).unwrap().runtime_id, server);
    assert_eq!(catalog.find("", "x", None).unwrap().runtime_id, pool, "the one that lived last");
    catalog.seen(server, 4);
    assert_eq!(catalog.find("", "x", None).unwrap().runtime_id, server);
    catalog.deregister("", "x", Some("server_api"), 5).unwrap();
    assert_eq!(catalog.find("", "x", None).unwrap().runtime_id, pool, "the one that is registered");
    assert!(catalog.find("", "y", None).is_none());
    assert_eq!(catalog.deregister("", "y", None, 5).unwrap(), None);
}

#[test]
fn a_kind_that_was_not_known_is_learned() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = open(&dir);
    let first = catalog.register(new("x", ""), Source::Report, 1).unwrap().component;
    let second = catalog.register(new("x", "monitor"), Source::Report, 2).unwrap().component;
    assert_eq!((first.runtime_id, second.kind.as_str()), (second.runtime_id, "monitor"));
    assert_eq!(catalog.components().len(), 1);
    let owner = |kind| catalog.of_series("", "x", kind).map(|component| component.runtime_id);
    assert_eq!((owner(None), owner(Some("monitor")), owner(Some("broker"))), (Some(1), Some(1), None));
    catalog.register(new("x", "broker"), Source::Report, 3).unwrap();
    assert_eq!((owner(None), owner(Some("broker"))), (None, Some(2)), "it could be either");
    catalog.register(new("x", ""), Source::Report, 4).unwrap();
    assert_eq!(owner(None), Some(3));
    let may_have = |id| catalog.has_series_without_kind(&catalog.component(id).unwrap());
    assert_eq!((may_have(1), may_have(2), may_have(3)), (false, false, true));
}

#[test]
fn components_go_offline_and_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = open(&dir);
    catalog.register(new("beats", "worker_pool"), Source::Call, 0).unwrap();
    catalog.register(new("reports", "worker_pool"), Source::Report, 0).unwrap();
    let status = |name: &str, now_ms| catalog.find("", name, None).unwrap().status_at(now_ms, &OPTIONS).to_owned();
    assert_eq!(status("beats", 60_000), "ready");
    assert_eq!(status("beats", 60_001), "offline");
    assert_eq!(status("reports", 240_000), "ready");
    assert_eq!(status("reports", 240_001), "offline");
    catalog.heartbeat("", "reports", None, 1000).unwrap();
    assert_eq!(status("reports", 61_001), "offline", "once it sends heartbeats, they are expected");
    catalog.deregister("", "beats", None, 10).unwrap();
    assert_eq!(status("beats", 10), "offline");
    let back = catalog.register(new("beats", "worker_pool"), Source::Call, 20).unwrap();
    assert!(back.recreated);
    assert_eq!(status("beats", 20), "ready");
    assert!(!catalog.register(new("beats", "worker_pool"), Source::Call, 30).unwrap().recreated);
}

#[test]
fn a_report_keeps_what_a_registration_said() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = open(&dir);
    let full = NewComponent { capacity: Some(4), ..new("a", "worker_pool") };
    catalog.register(full, Source::Call, 1).unwrap();
    catalog.deregister("", "a", None, 2).unwrap();
    let seen = catalog.register(new("a", "worker_pool"), Source::Report, 3).unwrap();
    assert!(seen.recreated && !seen.component.is_deregistered());
    assert_eq!((seen.component.capacity, seen.component.source), (Some(4), Source::Call));
}

#[test]
fn signs_of_life_are_shown_at_once_and_saved_later() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = open(&dir);
    let id = catalog.register(new("a", "k"), Source::Report, 1000).unwrap().component.runtime_id;
    catalog.seen(id, 500);
    assert_eq!(catalog.component(id).unwrap().heartbeat_ms, 1000, "time does not go back");
    catalog.seen(id, 2000);
    assert_eq!(catalog.component(id).unwrap().heartbeat_ms, 2000);
    assert_eq!((catalog.save_seen().unwrap(), catalog.save_seen().unwrap()), (1, 0));
    drop(catalog);
    assert_eq!(open(&dir).component(id).unwrap().heartbeat_ms, 2000);
}

#[test]
fn limits_hold_at_n_and_n_plus_1() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = open(&dir);
    for name in ["a", "b", "c"] {
        catalog.register(new(name, "k"), Source::Report, 1).unwrap();
    }
    let error = catalog.register(new("d", "k"), Source::Report, 1).unwrap_err().to_string();
    assert!(error.contains("report.max_components = 3"), "{error}");
    catalog.register(new("a", "k"), Source::Call, 2).unwrap();
    let rule = |name: &str, keep_ms| RetentionRule::new(vec![Matcher::equal("component", name)], keep_ms);
    catalog.set_rule(rule("a", 1), 1).unwrap();
    catalog.set_rule(rule("b", 1), 1).unwrap();
    let error = catalog.set_rule(rule("c", 1), 1).unwrap_err().to_string();
    assert!(error.contains("storage.max_retention_rules = 2"), "{error}");
    catalog.set_rule(rule("a", 9), 2).unwrap();
    drop(catalog);
    let catalog = open(&dir);
    assert_eq!(catalog.rules(), [rule("b", 1), rule("a", 9)], "the last one set stands last");
}

#[test]
fn a_rule_that_says_at_least_is_only_ever_extended() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = open(&dir);
    let matchers = || vec![Matcher::equal("component", "a")];
    let least = |keep_ms| RetentionRule::at_least(matchers(), keep_ms);
    assert_eq!(catalog.set_rule(least(5), 1).unwrap(), least(5));
    assert_eq!(catalog.set_rule(least(9), 2).unwrap(), least(9));
    assert_eq!(catalog.set_rule(least(7), 3).unwrap(), least(9), "what holds is longer");
    assert_eq!(catalog.rules(), [least(9)]);
    drop(catalog);
    let catalog = open(&dir);
    assert_eq!(catalog.rules(), [least(9)], "and after a restart");
    let plain = RetentionRule::new(matchers(), 2);
    assert_eq!(catalog.set_rule(plain.clone(), 4).unwrap(), plain);
    assert_eq!(catalog.rules(), [plain]);
}

#[test]
fn the_limit_on_bytes_holds_at_n_and_n_plus_1() {
    let dir = tempfile::tempdir().unwrap();
    let named = |bytes: usize| NewComponent { meta: Some("x".repeat(bytes)), ..new("a", "k") };
    // 512 for the component, its name twice, its kind.
    let options = CatalogOptions { bytes_max: 512 + 3 + 100, ..OPTIONS };
    let catalog = Catalog::open(dir.path(), options, Arc::default(), 0).unwrap();
    let error = catalog.register(named(101), Source::Call, 1).unwrap_err().to_string();
    assert!(error.contains("report.max_registry_bytes = 615"), "{error}");
    catalog.register(named(100), Source::Call, 1).unwrap();
    assert!(catalog.register(new("b", "k"), Source::Call, 1).is_err());
    catalog.register(named(100), Source::Call, 2).unwrap();
    assert!(catalog.register(named(101), Source::Call, 2).is_err(), "one that is known counts once, and whole");
    catalog.heartbeat("", "a", None, 2).unwrap();
}

#[test]
fn concurrent_changes_are_all_kept() {
    let dir = tempfile::tempdir().unwrap();
    let options = CatalogOptions { components_max: 1000, ..OPTIONS };
    let catalog = Catalog::open(dir.path(), options, Arc::default(), 0).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let catalog = &catalog;
            scope.spawn(move || {
                for i in 0..10 {
                    catalog.register(new(&format!("{thread}-{i}"), "k"), Source::Call, 1).unwrap();
                }
            });
        }
    });
    drop(catalog);
    let catalog = Catalog::open(dir.path(), options, Arc::default(), 0).unwrap();
    let mut ids: Vec<i64> = catalog.components().iter().map(|c| c.runtime_id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 80);
}

#[test]
fn a_newer_file_is_refused_by_name_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(&dir));
    let path = dir.path().join(FILE_NAME);
    let file = rusqlite::Connection::open(&path).unwrap();
    let known: u32 = file.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    file.pragma_update(None, "user_version", known + 1).unwrap();
    let error = Catalog::open(dir.path(), OPTIONS, Arc::default(), 7).err().unwrap().to_string();
    let want = format!("catalog.db has schema version {}, this version reads up to {known}", known + 1);
    assert!(error.ends_with(&want), "{error}");
    assert!(path.exists());
}

#[test]
fn a_file_that_is_no_database_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(FILE_NAME), "no database, but long enough to be taken for one".repeat(20)).unwrap();
    let catalog = open(&dir);
    assert!(catalog.components().is_empty());
    assert!(dir.path().join("quarantine/catalog.db.7").exists());
    assert!(catalog.retention_hold().unwrap().starts_with("catalog.db could not be read"));
}

fn applied(catalog: &Catalog) -> Option<Vec<RetentionRule>> {
    let mut applied = None;
    catalog.apply_rules(|rules| applied = Some(rules.to_vec()));
    applied
}

fn rule(value: &str) -> RetentionRule {
    RetentionRule::new(vec![Matcher::equal("job", value)], 1000)
}

#[test]
fn a_lost_catalog_holds_retention_over_restarts_until_the_rules_are_confirmed() {
    let (dir, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    drop(open(&dir));
    Catalog::hold_if_missing(dir.path()).unwrap();
    assert_eq!(applied(&open(&dir)), Some(Vec::new()), "it is there");
    std::fs::remove_file(dir.path().join(FILE_NAME)).unwrap();
    Catalog::hold_if_missing(dir.path()).unwrap();
    for _ in 0..2 {
        let catalog = open(&dir);
        assert_eq!(applied(&catalog), None);
        let reason = catalog.retention_hold().unwrap();
        assert_eq!(reason, "catalog.db was missing, and with it all retention rules");
        drop(catalog);
        assert_eq!(rules_of(dir.path()), Err(reason));
    }
    let catalog = open(&dir);
    catalog.set_rule(rule("a"), 5).unwrap();
    assert_eq!(applied(&catalog), None, "one rule may not be all");
    catalog.copy_to(copies.path()).unwrap();
    assert_eq!(open(&copies).retention_hold(), catalog.retention_hold());
    catalog.confirm_rules().unwrap();
    assert_eq!((applied(&catalog), catalog.retention_hold()), (Some(vec![rule("a")]), None));
    drop(catalog);
    assert_eq!(rules_of(dir.path()), Ok(vec![rule("a")]));
    assert_eq!(applied(&open(&dir)), Some(vec![rule("a")]));
}

#[test]
fn a_rule_that_cannot_be_read_holds_retention() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = open(&dir);
    catalog.set_rule(rule("a"), 5).unwrap();
    drop(catalog);
    let connection = rusqlite::Connection::open(dir.path().join(FILE_NAME)).unwrap();
    let strange = r#"INSERT INTO retention_rule VALUES (7, '[["job","?","b"]]', 1, 1, 1, 0)"#;
    connection.execute(strange, ()).unwrap();
    drop(connection);
    assert_eq!(rules_of(dir.path()), Err(r#"a retention rule cannot be read: [["job","?","b"]]"#.to_owned()));
    for _ in 0..2 {
        let catalog = open(&dir);
        assert_eq!((applied(&catalog), catalog.rules()), (None, vec![rule("a")]));
        assert!(catalog.retention_hold().unwrap().ends_with(r#"[["job","?","b"]]"#));
    }
    open(&dir).confirm_rules().unwrap();
    assert_eq!(applied(&open(&dir)), Some(vec![rule("a")]));
}

/// A copy of the file that the release with this version of the schema wrote, in a directory of its own.
fn fixture(version: u32) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let file = format!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/catalog_v{}/catalog.db"), version);
    std::fs::copy(file, dir.path().join(FILE_NAME)).unwrap();
    dir
}

#[test]
fn version_1_is_read() {
    let dir = fixture(1);
    let rule = RetentionRule::new(vec![Matcher::equal("__name__", "m")], 86_400_000);
    assert_eq!(rules_of(dir.path()), Ok(vec![rule.clone()]), "as it is");
    let catalog = open(&dir);
    let component = catalog.find("", "worker-cpu-01", Some("worker_pool")).unwrap();
    assert_eq!((component.runtime_id, component.capacity, component.heartbeat_ms), (1, Some(4), 1_704_110_400_000));
    assert_eq!(component.labels.as_deref(), Some(r#"{"zone":"a"}"#));
    assert_eq!(catalog.rules(), [rule]);
}

#[test]
fn version_2_is_read() {
    let dir = fixture(2);
    let rules = vec![
        RetentionRule::new(vec![Matcher::equal("__name__", "m")], 3 * 86_400_000),
        RetentionRule::at_least(vec![Matcher::equal("component", "worker-cpu-01")], 86_400_000),
    ];
    assert_eq!(rules_of(dir.path()), Ok(rules.clone()), "as it is");
    let catalog = open(&dir);
    let component = catalog.find("", "worker-cpu-01", Some("worker_pool")).unwrap();
    assert_eq!((component.runtime_id, component.capacity, component.heartbeat_ms), (2, Some(4), 1_795_296_555_564));
    assert_eq!(component.labels.as_deref(), Some(r#"{"zone":"a"}"#));
    assert_eq!(catalog.rules(), rules);
}

#[test]
fn a_copy_has_all_that_is_committed_and_is_a_catalog() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let catalog = open(&dir);
    catalog.register(new("a", "broker"), Source::Report, 1000).unwrap();
    catalog.copy_to(other.path()).unwrap();
    catalog.register(new("b", "broker"), Source::Report, 1000).unwrap();
    assert!(catalog.copy_to(other.path()).is_err(), "nothing is overwritten");
    assert_eq!(std::fs::read_dir(other.path()).unwrap().count(), 1, "the copy is one file");
    let copy = open(&other);
    let names: Vec<String> = copy.components().iter().map(|c| c.name.clone()).collect();
    assert_eq!(names, ["a"]);
}
