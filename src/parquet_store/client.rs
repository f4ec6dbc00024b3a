//! The object storage behind plain, blocking calls: a small runtime of its own carries the requests.
//!
//! Reads are bounded in time, attempts included, and a store that failed is left alone for a while, so that a query over
//! many blocks does not wait for each of them. Uploads have no such bound; their caller tries again.

use std::fs::File;
use std::future::Future;
use std::io::Read;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use bytes::Bytes;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{
    BackoffConfig, ClientOptions, GetOptions, GetRange, ObjectStore, ObjectStoreExt, RetryConfig, WriteMultipart,
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use crate::config::StoreUrl;

/// Bytes of one part of an upload; smaller files go in one request. S3 takes parts from 5 MiB on, at most 10,000.
const PART_BYTES: usize = 8 << 20;
/// Parts on the way at a time, which bounds the memory of an upload.
const PARTS_AT_ONCE: usize = 2;
/// Bytes at the end of a file that are read back before an upload is believed.
const PROOF_BYTES: u64 = 64 << 10;
/// Longest time of one request, whatever it carries.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a store that failed is left alone, at first and at most.
const PAUSE: Range<Duration> = Duration::from_millis(500)..Duration::from_secs(30);

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum StoreError {
    /// There is no such object.
    #[error("{0} is not in the store")]
    Missing(String),
    /// The object is not what was uploaded.
    #[error("{name} in the store is not what was uploaded: {detail}")]
    Different {
        /// The object.
        name: String,
        /// What is wrong.
        detail: String,
    },
    /// The store cannot be reached, or refuses.
    #[error("the store is away: {0}")]
    Away(String),
    /// A local file could not be read.
    #[error("{path}: {detail}")]
    Local {
        /// The file.
        path: PathBuf,
        /// What the system said.
        detail: String,
    },
}

/// What is known of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Object {
    /// Its length.
    pub(super) bytes: u64,
    /// The store's mark of this version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) etag: Option<String>,
}

/// How the store did lately.
#[derive(Debug, Default)]
struct Health {
    away_until: Option<Instant>,
    pause: Duration,
    reason: String,
}

/// A store and the way to it.
#[derive(Debug)]
pub(super) struct Client {
    store: Arc<dyn ObjectStore>,
    prefix: ObjectPath,
    /// The directory, if the store is one: what is put there has to be synced.
    directory: Option<PathBuf>,
    /// Taken only by `drop`: a runtime must not be dropped where async code runs.
    runtime: Option<Runtime>,
    timeout: Duration,
    health: Mutex<Health>,
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Client {
    /// A client of the store; nothing is asked yet. `timeout` bounds each read.
    ///
    /// # Errors
    /// A text that says what in the configuration is wrong.
    pub(super) fn new(url: &StoreUrl, timeout: Duration) -> Result<Client, String> {
        let wrong = |error: object_store::Error| format!("parquet.store: {}: {error}", url.text());
        let (store, prefix, directory): (Arc<dyn ObjectStore>, _, _) = match url {
            StoreUrl::S3 { bucket, prefix } => {
                let retry = RetryConfig {
                    backoff: BackoffConfig::default(),
                    max_retries: 3,
                    retry_timeout: timeout.max(REQUEST_TIMEOUT),
                };
                let options = ClientOptions::new().with_timeout(REQUEST_TIMEOUT).with_connect_timeout(timeout);
                // Plain HTTP only where the environment asks for it: the options given here replace what it says.
                let plain = std::env::var("AWS_ALLOW_HTTP").is_ok_and(|v| v.eq_ignore_ascii_case("true"));
                let builder = AmazonS3Builder::from_env()
                    .with_bucket_name(bucket)
                    .with_retry(retry)
                    .with_client_options(options.with_allow_http(plain));
                (Arc::new(builder.build().map_err(wrong)?), ObjectPath::from(prefix.as_str()), None)
            }
            StoreUrl::Directory(path) => {
                let failed = |error: std::io::Error| format!("parquet.store: {}: {error}", path.display());
                std::fs::create_dir_all(path).map_err(failed)?;
                let store = LocalFileSystem::new_with_prefix(path).map_err(wrong)?;
                (Arc::new(store), ObjectPath::default(), Some(path.clone()))
            }
        };
        Client::over(store, prefix, directory, timeout)
    }

    fn over(
        store: Arc<dyn ObjectStore>,
        prefix: ObjectPath,
        directory: Option<PathBuf>,
        timeout: Duration,
    ) -> Result<Client, String> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("parquet-store")
            .enable_all()
            .build()
            .map_err(|e| format!("cannot start threads: {e}"))?;
        let health = Mutex::new(Health::default());
        Ok(Client { store, prefix, directory, runtime: Some(runtime), timeout, health })
    }

    /// A client of a store in memory or one that misbehaves.
    #[cfg(test)]
    pub(super) fn of(store: Arc<dyn ObjectStore>, timeout: Duration) -> Client {
        Client::over(store, ObjectPath::from("prefix"), None, timeout).unwrap()
    }

    fn path(&self, name: &str) -> ObjectPath {
        name.split('/').fold(self.prefix.clone(), |path, part| path.join(part))
    }

    /// Runs a request on the runtime and waits for it here.
    fn wait<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let ended = || StoreError::Away("the server is stopping".to_owned());
        let (done, answer) = sync_channel(1);
        let runtime = self.runtime.as_ref().ok_or_else(ended)?;
        runtime.spawn(async move {
            // Who asked waits below; nobody else can have gone away.
            let _ = done.send(work.await);
        });
        answer.recv().map_err(|_| ended())?
    }

    /// Why the store is left alone now, if it is.
    pub(super) fn away(&self) -> Option<String> {
        let health = self.health.lock();
        health.away_until.is_some_and(|until| Instant::now() < until).then(|| health.reason.clone())
    }

    /// Remembers how a request went.
    fn note<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        let mut health = self.health.lock();
        match &result {
            Err(StoreError::Away(reason)) => {
                health.pause = (health.pause * 2).clamp(PAUSE.start, PAUSE.end);
                health.away_until = Some(Instant::now() + health.pause);
                health.reason.clone_from(reason);
            }
            Err(StoreError::Local { .. }) => {}
            _ => *health = Health::default(),
        }
        result
    }

    /// Reads bytes of an object, which must be as long as is known.
    ///
    /// # Errors
    /// [`StoreError`]; at once, if the store has failed a moment ago.
    pub(super) fn read(&self, name: &str, known: &Object, range: Range<u64>) -> Result<Bytes, StoreError> {
        if let Some(reason) = self.away() {
            return Err(StoreError::Away(reason));
        }
        let (store, path, name, bytes) = (Arc::clone(&self.store), self.path(name), name.to_owned(), known.bytes);
        let timeout = self.timeout;
        let work = async move {
            let options = GetOptions { range: Some(GetRange::Bounded(range.clone())), ..GetOptions::default() };
            let read = async {
                let got = store.get_opts(&path, options).await.map_err(|e| failure(&name, e))?;
                if got.meta.size != bytes || got.range != range {
                    let detail = format!("it has {} bytes, {bytes} were uploaded", got.meta.size);
                    return Err(StoreError::Different { name: name.clone(), detail });
                }
                got.bytes().await.map_err(|e| failure(&name, e))
            };
            let late = |_| StoreError::Away(format!("no answer within parquet.store_timeout = {timeout:?}"));
            tokio::time::timeout(timeout, read).await.map_err(late)?
        };
        self.note(self.wait(work))
    }

    /// Puts a file there, and makes sure that it is there: length, mark of the version, and the last bytes read back.
    ///
    /// # Errors
    /// [`StoreError`]; the object may then be there in part or whole, which the next attempt replaces.
    pub(super) fn put_file(&self, name: &str, local: &Path) -> Result<Object, StoreError> {
        let unreadable = |e: std::io::Error| StoreError::Local { path: local.to_owned(), detail: e.to_string() };
        let file = File::open(local).map_err(unreadable)?;
        let bytes = file.metadata().map_err(unreadable)?.len();
        let proof = bytes.saturating_sub(PROOF_BYTES)..bytes;
        let mut last = vec![0; (proof.end - proof.start) as usize];
        file.read_exact_at(&mut last, proof.start).map_err(unreadable)?;
        let (store, path, owned) = (Arc::clone(&self.store), self.path(name), name.to_owned());
        let source = local.to_owned();
        let put = async move {
            let put = upload(&*store, &path, file, bytes, &source, &owned).await?;
            let found = store.head(&path).await.map_err(|e| failure(&owned, e))?;
            let different = |detail| StoreError::Different { name: owned.clone(), detail };
            if found.size != bytes {
                return Err(different(format!("it has {} bytes instead of {bytes}", found.size)));
            }
            if let (Some(put), Some(found)) = (&put.e_tag, &found.e_tag)
                && put != found
            {
                return Err(different(format!("its ETag is {found} instead of {put}")));
            }
            if !last.is_empty() {
                let read = store.get_range(&path, proof).await.map_err(|e| failure(&owned, e))?;
                if read != last {
                    return Err(different("its last bytes are others".to_owned()));
                }
            }
            Ok(Object { bytes, etag: found.e_tag })
        };
        let object = self.note(self.wait(put))?;
        self.sync(name)?;
        Ok(object)
    }

    /// Puts a few bytes there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) fn put_bytes(&self, name: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        let (store, path, owned) = (Arc::clone(&self.store), self.path(name), name.to_owned());
        let put = async move { store.put(&path, bytes.into()).await.map(|_| ()).map_err(|e| failure(&owned, e)) };
        self.note(self.wait(put))?;
        self.sync(name)
    }

    /// A small object, whole; none if it is not there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) fn get_bytes(&self, name: &str) -> Result<Option<Bytes>, StoreError> {
        let (store, path, owned) = (Arc::clone(&self.store), self.path(name), name.to_owned());
        let get = async move {
            let got = store.get(&path).await.map_err(|e| failure(&owned, e))?;
            got.bytes().await.map_err(|e| failure(&owned, e))
        };
        match self.note(self.wait(get)) {
            Err(StoreError::Missing(_)) => Ok(None),
            got => got.map(Some),
        }
    }

    /// Removes an object; one that is not there counts as removed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) fn delete(&self, name: &str) -> Result<(), StoreError> {
        let (store, path, owned) = (Arc::clone(&self.store), self.path(name), name.to_owned());
        let delete = async move { store.delete(&path).await.map_err(|e| failure(&owned, e)) };
        match self.note(self.wait(delete)) {
            Err(StoreError::Missing(_)) => Ok(()),
            done => done,
        }
    }

    /// All objects of days, two directories below the prefix, by their names.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) fn list(&self) -> Result<Vec<(String, Object)>, StoreError> {
        let (store, prefix) = (Arc::clone(&self.store), self.prefix.clone());
        let list = async move {
            let failed = |e| failure("the list of objects", e);
            let mut found = Vec::new();
            let kinds = store.list_with_delimiter(Some(&prefix)).await.map_err(failed)?.common_prefixes;
            let mut days = Vec::new();
            for kind in kinds {
                days.extend(store.list_with_delimiter(Some(&kind)).await.map_err(failed)?.common_prefixes);
            }
            for day in days {
                for meta in store.list_with_delimiter(Some(&day)).await.map_err(failed)?.objects {
                    let parts = meta.location.prefix_match(&prefix);
                    let name = parts.map(|parts| parts.map(|p| p.as_ref().to_owned()).collect::<Vec<_>>().join("/"));
                    found.extend(name.map(|name| (name, Object { bytes: meta.size, etag: meta.e_tag })));
                }
            }
            Ok(found)
        };
        self.note(self.wait(list))
    }

    /// Makes an object of a directory durable, as S3's are when they are acknowledged.
    fn sync(&self, name: &str) -> Result<(), StoreError> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let path = directory.join(name);
        for place in path.ancestors().take_while(|place| place.starts_with(directory)) {
            let synced = File::open(place).and_then(|file| file.sync_all());
            synced.map_err(|e| StoreError::Away(format!("sync {}: {e}", place.display())))?;
        }
        Ok(())
    }
}

async fn upload(
    store: &dyn ObjectStore,
    path: &ObjectPath,
    mut file: File,
    bytes: u64,
    local: &Path,
    name: &str,
) -> Result<object_store::PutResult, StoreError> {
    // Reading blocks one of the runtime's own threads for some milliseconds; nothing else runs on them.
    let mut part = || {
        let mut bytes = Vec::new();
        let read = file.by_ref().take(PART_BYTES as u64).read_to_end(&mut bytes);
        read.map(|_| bytes).map_err(|e| StoreError::Local { path: local.to_owned(), detail: e.to_string() })
    };
    if bytes <= PART_BYTES as u64 {
        return store.put(path, part()?.into()).await.map_err(|e| failure(name, e));
    }
    let upload = store.put_multipart(path).await.map_err(|e| failure(name, e))?;
    let mut upload = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
    let sent = async {
        loop {
            upload.wait_for_capacity(PARTS_AT_ONCE).await.map_err(|e| failure(name, e))?;
            let bytes = part()?;
            if bytes.is_empty() {
                return upload.wait_for_capacity(1).await.map_err(|e| failure(name, e));
            }
            upload.put(bytes.into());
        }
    };
    match sent.await {
        Ok(()) => upload.finish().await.map_err(|e| failure(name, e)),
        Err(error) => {
            // What is left of a failed upload costs money until a rule of the bucket removes it.
            if let Err(left) = upload.abort().await {
                tracing::warn!(name, error = %left, "parts of a failed upload may be left in the store");
            }
            Err(error)
        }
    }
}

fn failure(name: &str, error: object_store::Error) -> StoreError {
    match error {
        object_store::Error::NotFound { .. } => StoreError::Missing(name.to_owned()),
        other => StoreError::Away(format!("{name}: {other}")),
    }
}
