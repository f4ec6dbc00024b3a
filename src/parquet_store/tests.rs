//! The store from the side of the engine's disk: what goes there, what comes back, what happens while it is away.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;
use object_store::memory::InMemory;
use storage::{Clock, Disk, StorageError};

use super::cache::{BLOCK_BYTES, Cache};
use super::client::{Client, StoreError};
use super::disk::StoreDisk;
use super::mover::Moving;
use super::placement::Placement;
use super::{PARQUET_DIR, Shared};

const ROWS: &str = "samples/dt=1970-01-01/a.parquet";
const SERIES: &str = "series/dt=1970-01-01/a.parquet";
const DAY_MS: i64 = 86_400_000;

#[derive(Debug)]
struct SetClock(AtomicI64);

impl Clock for SetClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A data directory with a store.
struct Scene {
    _dir: tempfile::TempDir,
    shared: Arc<Shared>,
    disk: StoreDisk,
    moving: Moving,
    clock: Arc<SetClock>,
}

fn scene_on(store: Arc<dyn ObjectStore>, owner: &str) -> Scene {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_owned();
    let shared = Arc::new(Shared {
        client: Client::of(store, Duration::from_millis(300)),
        placement: Placement::open(&data, "s3://bucket", || owner.to_owned()).unwrap(),
        cache: Cache::new(64 << 20),
        open: parking_lot::Mutex::default(),
        counters: super::Counters::default(),
        data,
    });
    let clock = Arc::new(SetClock(AtomicI64::new(2 * DAY_MS)));
    let moving = Moving::new(Arc::clone(&shared), clock.clone(), DAY_MS);
    Scene { _dir: dir, disk: StoreDisk::new(Arc::clone(&shared)), shared, moving, clock }
}

fn scene() -> Scene {
    scene_on(Arc::new(InMemory::new()), "me")
}

/// A server that nobody is behind.
fn unreachable_store() -> Arc<dyn ObjectStore> {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    store_at(closed)
}

fn store_at(address: std::net::SocketAddr) -> Arc<dyn ObjectStore> {
    let builder = AmazonS3Builder::new().with_bucket_name("b").with_region("us-east-1");
    let builder = builder.with_access_key_id("k").with_secret_access_key("s").with_allow_http(true);
    let retry = object_store::RetryConfig { max_retries: 0, ..object_store::RetryConfig::default() };
    Arc::new(builder.with_endpoint(format!("http://{address}")).with_retry(retry).build().unwrap())
}

/// Bytes that tell where they are.
fn content(len: u64) -> Vec<u8> {
    (0..len).map(|i| ((i / 7) ^ (i >> 13)) as u8).collect()
}

impl Scene {
    fn path(&self, name: &str) -> PathBuf {
        self.shared.path_of(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// The two files of a day, moved to the store.
    fn moved(&mut self, len: u64) -> PathBuf {
        let path = self.write(ROWS, &content(len));
        self.write(SERIES, b"names");
        self.moving.pass().unwrap();
        path
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, StorageError> {
        Ok(self.disk.open(path)?.read_all()?.into_owned())
    }

    fn is_there(&self, name: &str) -> bool {
        self.shared.client.list().unwrap().iter().any(|(listed, _)| listed == name)
    }
}

#[test]
fn files_go_and_are_read_back() {
    // Beyond one part of an upload, so that it is a multipart one, and beyond several blocks.
    let len = 8 * BLOCK_BYTES + (9 << 20) + 123;
    let mut scene = scene();
    let path = scene.moved(len);
    assert!(!path.exists() && !scene.path(SERIES).exists());
    assert!(scene.is_there(ROWS) && scene.is_there(SERIES));
    assert_eq!(scene.disk.len(&path).unwrap(), Some(len));
    assert!(!scene.disk.is_local(&path));
    assert_eq!(scene.disk.list(path.parent().unwrap()).unwrap(), ["a.parquet"]);
    let region = scene.disk.open(&path).unwrap();
    let all = content(len);
    assert_eq!(region.read_all().unwrap(), all);
    for (offset, part) in [(0, 10), (BLOCK_BYTES - 3, 7), (len - 5, 5), (BLOCK_BYTES * 2, (BLOCK_BYTES * 3) as usize)] {
        assert_eq!(*region.read(offset, part).unwrap(), all[offset as usize..][..part], "{part} bytes at {offset}");
    }
    for (offset, part) in [(len - 5, 6), (len, 1), (u64::MAX, 2)] {
        assert!(matches!(region.read(offset, part), Err(StorageError::Corrupt { .. })), "{part} bytes at {offset}");
    }
    let stats = scene.shared.counters.stats(&scene.shared);
    assert_eq!((stats.files, stats.uploads, stats.pending_files), (2, 2, 0));
    assert_eq!(stats.upload_bytes, len + 5);
    region.read(BLOCK_BYTES, 100).unwrap();
    assert_eq!(scene.shared.counters.stats(&scene.shared).reads, stats.reads, "what is in memory is not fetched again");
}

#[test]
fn a_region_that_is_open_goes_on_when_its_local_copy_goes() {
    let mut scene = scene();
    scene.clock.0.store(2 * DAY_MS - 1, Ordering::Relaxed);
    let path = scene.moved(1000);
    assert!(path.exists(), "a millisecond too young");
    let region = scene.disk.open(&path).unwrap();
    assert_eq!(region.read_all().unwrap(), content(1000));
    assert_eq!(scene.shared.counters.stats(&scene.shared).reads, 0);
    scene.clock.0.store(2 * DAY_MS, Ordering::Relaxed);
    scene.moving.pass().unwrap();
    assert!(!path.exists());
    assert_eq!(region.read_all().unwrap(), content(1000));
    assert_eq!(scene.shared.counters.stats(&scene.shared).reads, 1);
}

#[test]
fn what_is_removed_leaves_the_store_once_nobody_reads_it() {
    let mut scene = scene();
    let path = scene.moved(1000);
    let region = scene.disk.open(&path).unwrap();
    scene.disk.remove(&path).unwrap();
    assert_eq!(scene.disk.len(&path).unwrap(), None);
    assert!(scene.disk.open(&path).is_err());
    scene.moving.pass().unwrap();
    assert_eq!(region.read_all().unwrap(), content(1000), "who has it open reads it");
    drop(region);
    scene.moving.pass().unwrap();
    assert!(!scene.is_there(ROWS) && scene.is_there(SERIES));
    assert!(scene.shared.placement.look(|document| document.doomed.is_empty()));
}

#[test]
fn a_removal_is_remembered_over_a_restart() {
    let mut scene = scene();
    let path = scene.moved(1000);
    scene.disk.remove(&path).unwrap();
    let again = Placement::open(&scene.shared.data, "s3://bucket", || "other".to_owned()).unwrap();
    assert!(again.look(|document| document.doomed.contains(ROWS) && document.owner == "me"));
}

#[test]
fn a_name_that_is_written_again_is_sent_again() {
    let mut scene = scene();
    let path = scene.moved(1000);
    let new = scene.shared.data.join("new");
    std::fs::write(&new, content(2000)).unwrap();
    scene.disk.rename(&new, &path).unwrap();
    assert_eq!(scene.read(&path).unwrap(), content(2000));
    scene.moving.pass().unwrap();
    assert!(!path.exists());
    assert_eq!(scene.read(&path).unwrap(), content(2000));
}

#[test]
fn a_snapshot_of_what_is_only_in_the_store_is_refused() {
    let mut scene = scene();
    scene.clock.0.store(2 * DAY_MS - 1, Ordering::Relaxed);
    let path = scene.moved(1000);
    let to = |name: &str| scene.shared.data.join(name);
    scene.disk.hard_link(&path, &to("copy")).unwrap();
    assert_eq!(std::fs::read(to("copy")).unwrap(), content(1000), "while there is a local copy it is linked");
    scene.clock.0.store(2 * DAY_MS, Ordering::Relaxed);
    scene.moving.pass().unwrap();
    let error = scene.disk.hard_link(&path, &scene.shared.data.join("other")).unwrap_err();
    assert!(error.to_string().contains("a snapshot does not bring it back"), "{error}");
}

#[test]
fn quarantine_leaves_the_object_alone() {
    let mut scene = scene();
    let path = scene.moved(1000);
    let kept = scene.shared.data.join("quarantine/a.parquet");
    scene.disk.hard_link(&path, &kept).unwrap();
    assert_eq!(scene.read(&path).unwrap(), content(1000), "until the manifest is without it");
    scene.disk.remove(&path).unwrap();
    scene.moving.pass().unwrap();
    assert!(scene.is_there(ROWS));
    let series = scene.path(SERIES);
    scene.disk.rename(&series, &scene.shared.data.join("quarantine/b.parquet")).unwrap();
    scene.moving.pass().unwrap();
    assert!(scene.is_there(SERIES));
    assert!(scene.shared.placement.look(|document| document.files.is_empty() && document.aside.len() == 2));
}

#[test]
fn a_prefix_belongs_to_one_data_directory() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let mut first = scene_on(Arc::clone(&store), "one");
    first.moved(1000);
    let mut second = scene_on(store, "two");
    let path = second.write(ROWS, b"other");
    let error = second.moving.pass().unwrap_err();
    assert!(
        matches!(&error, StoreError::Different { detail, .. } if detail.contains("another data directory")),
        "{error}"
    );
    assert!(path.exists() && !second.shared.counters.stats(&second.shared).is_reachable);
    assert_eq!(first.read(&first.path(ROWS)).unwrap(), content(1000));
}

#[test]
fn what_a_crash_left_in_the_store_is_removed() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let mut scene = scene_on(Arc::clone(&store), "me");
    scene.moved(1000);
    scene.shared.client.put_bytes("samples/dt=1970-01-02/left.parquet", vec![1]).unwrap();
    let mut restarted = Moving::new(Arc::clone(&scene.shared), scene.clock.clone(), DAY_MS);
    restarted.pass().unwrap();
    restarted.pass().unwrap();
    assert!(!scene.is_there("samples/dt=1970-01-02/left.parquet") && scene.is_there(ROWS));
}

#[test]
fn while_the_store_is_away_nothing_is_lost_and_reads_end_soon() {
    let mut scene = scene_on(unreachable_store(), "me");
    let path = scene.write(ROWS, &content(1000));
    let error = scene.moving.pass().unwrap_err();
    assert!(matches!(error, StoreError::Away(_)), "{error}");
    assert_eq!(scene.read(&path).unwrap(), content(1000));
    let stats = scene.shared.counters.stats(&scene.shared);
    assert!(!stats.is_reachable && stats.files == 0 && stats.pending_files == 1);

    let object = super::client::Object { bytes: 1000, etag: None };
    scene.shared.placement.change(|document| document.files.extend([(ROWS.to_owned(), object)])).unwrap();
    std::fs::remove_file(&path).unwrap();
    let begun = Instant::now();
    for _ in 0..100 {
        assert!(matches!(scene.read(&path), Err(StorageError::Unreachable { .. })));
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "a store that failed a moment ago is not asked");
}

#[test]
fn a_store_that_does_not_answer_costs_a_read_its_timeout() {
    // Takes connections and says nothing.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let scene = scene_on(store_at(listener.local_addr().unwrap()), "me");
    let object = super::client::Object { bytes: 1000, etag: None };
    scene.shared.placement.change(|document| document.files.extend([(ROWS.to_owned(), object)])).unwrap();
    match scene.read(&scene.path(ROWS)) {
        Err(StorageError::Unreachable { detail, .. }) => assert!(detail.contains("parquet.store_timeout"), "{detail}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_files_of_days_are_the_stores() {
    let scene = scene();
    let name = |path: &str| scene.shared.name_of(&scene.shared.data.join(path));
    assert_eq!(name(&format!("{PARQUET_DIR}/{ROWS}")).as_deref(), Some(ROWS));
    for other in
        ["parquet/_live.json", "parquet/x/y/a", "parquet/x/dt=1/a/b", "parquet/dt=1/a", "segments/x/dt=1/a", "parquet"]
    {
        assert_eq!(name(other), None, "{other}");
    }
}
