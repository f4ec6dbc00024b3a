//! Where synchronous work runs: a bounded number of threads, of which queries can never take those that writes need.

use std::sync::Arc;
use std::time::Duration;

use model::Budget;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Config;

/// Why work was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorkError {
    /// Too many queries wait already.
    #[error("too many queries at the same time: limit query.max_waiting = {limit} reached")]
    Busy {
        /// `query.max_waiting`
        limit: usize,
    },
    /// There are as many exports as there may be.
    #[error("too many exports at the same time: limit export.max_concurrent = {limit} reached")]
    Exporting {
        /// `export.max_concurrent`
        limit: usize,
    },
    /// The deadline passed.
    #[error("query timed out: limit query.timeout = {0:?} reached")]
    Timeout(Duration),
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopping,
}

/// The threads for synchronous work.
pub struct Workers {
    writes: Arc<Semaphore>,
    queries: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    waiting_max: usize,
    exports: Arc<Semaphore>,
    exports_max: usize,
    writes_max: usize,
    queries_max: usize,
    timeout: Duration,
    samples_max: u64,
    bytes_max: u64,
}

/// Cancels the query when its request goes away.
struct CancelOnDrop(Arc<Budget>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Workers {
    pub(crate) fn new(config: &Config) -> Workers {
        Workers {
            writes: Arc::new(Semaphore::new(config.ingest_max_concurrent)),
            queries: Arc::new(Semaphore::new(config.query_max_concurrent)),
            waiting: Arc::new(Semaphore::new(config.query_max_waiting + config.query_max_concurrent)),
            waiting_max: config.query_max_waiting,
            exports: Arc::new(Semaphore::new(config.export_max_concurrent)),
            exports_max: config.export_max_concurrent,
            writes_max: config.ingest_max_concurrent,
            queries_max: config.query_max_concurrent,
            timeout: config.query_timeout.std(),
            samples_max: config.query_max_samples,
            bytes_max: config.query_max_bytes.0,
        }
    }

    /// Threads that the runtime needs so that each kind of work gets its share.
    pub fn threads(config: &Config) -> usize {
        config.ingest_max_concurrent + config.query_max_concurrent + config.export_max_concurrent + 16
    }

    /// Writes and queries that run now.
    pub fn active(&self) -> usize {
        self.writes_max.saturating_sub(self.writes.available_permits()) + self.queries_running()
    }

    /// Queries that wait for a thread now.
    pub fn waiting(&self) -> usize {
        let admitted = (self.waiting_max + self.queries_max).saturating_sub(self.waiting.available_permits());
        admitted.saturating_sub(self.queries_running())
    }

    fn queries_running(&self) -> usize {
        self.queries_max.saturating_sub(self.queries.available_permits())
    }

    /// Runs work that writes. It is never cancelled: an acknowledged batch is whole.
    ///
    /// # Errors
    /// [`WorkError::Stopping`].
    pub async fn write<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, WorkError> {
        let permit = Arc::clone(&self.writes).acquire_owned().await.map_err(|_| WorkError::Stopping)?;
        join(tokio::task::spawn_blocking(move || {
            let done = work();
            drop(permit);
            done
        }))
        .await
    }

    /// Admits an export, which takes a thread for as long as its client takes it; the place is free when this is dropped.
    ///
    /// # Errors
    /// [`WorkError::Exporting`].
    pub fn export(&self) -> Result<OwnedSemaphorePermit, WorkError> {
        let free = Arc::clone(&self.exports).try_acquire_owned();
        free.map_err(|_| WorkError::Exporting { limit: self.exports_max })
    }

    /// Runs a query with an account of its own. It is cancelled when the deadline passes (`timeout` if it is shorter
    /// than the configured one) or the caller is dropped.
    ///
    /// # Errors
    /// [`WorkError`].
    pub async fn query<T: Send + 'static>(
        &self,
        timeout: Option<Duration>,
        work: impl FnOnce(&Budget) -> T + Send + 'static,
    ) -> Result<T, WorkError> {
        let timeout = timeout.map_or(self.timeout, |t| t.min(self.timeout));
        let queued =
            Arc::clone(&self.waiting).try_acquire_owned().map_err(|_| WorkError::Busy { limit: self.waiting_max })?;
        let budget = Arc::new(Budget::new(self.samples_max, self.bytes_max));
        let cancel = CancelOnDrop(Arc::clone(&budget));
        let queries = Arc::clone(&self.queries);
        let run = async move {
            let permit = queries.acquire_owned().await.map_err(|_| WorkError::Stopping)?;
            join(tokio::task::spawn_blocking(move || {
                let done = work(&budget);
                drop((permit, queued));
                done
            }))
            .await
        };
        let done = tokio::time::timeout(timeout, run).await.unwrap_or(Err(WorkError::Timeout(timeout)));
        drop(cancel);
        done
    }
}

/// Waits for a thread; a panic in it goes on here, so that one request fails and is logged.
async fn join<T>(handle: tokio::task::JoinHandle<T>) -> Result<T, WorkError> {
    match handle.await {
        Ok(done) => Ok(done),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(WorkError::Stopping),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workers(concurrent: usize, waiting: usize, timeout_ms: u64) -> Workers {
        let mut config = Config::defaults().unwrap();
        config.query_max_concurrent = concurrent;
        config.query_max_waiting = waiting;
        config.query_timeout.0 = timeout_ms;
        Workers::new(&config)
    }

    /// Works until its account is cancelled.
    fn until_cancelled(budget: &Budget) {
        while budget.check().is_ok() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[tokio::test]
    async fn a_query_above_the_waiting_limit_is_refused() {
        let workers = Arc::new(workers(1, 1, 60_000));
        let mut tasks = Vec::new();
        for _ in 0..2 {
            let workers = Arc::clone(&workers);
            tasks.push(tokio::spawn(async move { workers.query(None, until_cancelled).await }));
        }
        while workers.waiting.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(workers.query(None, |_| ()).await, Err(WorkError::Busy { limit: 1 }));
        for task in tasks {
            task.abort();
        }
        // The threads notice the cancellation and give their places back.
        while workers.waiting.available_permits() < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(workers.query(None, |_| 7).await, Ok(7));
    }

    #[tokio::test]
    async fn a_write_above_the_limit_waits() {
        let mut config = Config::defaults().unwrap();
        config.ingest_max_concurrent = 2;
        let workers = Arc::new(Workers::new(&config));
        let (begun, begins) = std::sync::mpsc::channel();
        let gates: Vec<_> = (0..3)
            .map(|i| {
                let (open, gate) = std::sync::mpsc::channel::<()>();
                let (workers, begun) = (Arc::clone(&workers), begun.clone());
                tokio::spawn(async move {
                    let wait = move || begun.send(i).is_ok() && gate.recv().is_ok();
                    workers.write(wait).await
                });
                open
            })
            .collect();
        let next = async || loop {
            match begins.try_recv() {
                Ok(i) => break i,
                Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        };
        let first: usize = next().await;
        next().await;
        let third = tokio::time::timeout(Duration::from_millis(50), next()).await;
        assert!(third.is_err() && workers.active() == 2, "the third waits");
        gates[first].send(()).unwrap();
        next().await;
    }

    #[test]
    fn an_export_above_the_limit_is_refused() {
        let workers = workers(1, 1, 60_000);
        let places = [workers.export().unwrap(), workers.export().unwrap()];
        assert_eq!(workers.export().unwrap_err(), WorkError::Exporting { limit: 2 });
        drop(places);
        assert!(workers.export().is_ok());
    }

    #[tokio::test]
    async fn a_query_is_stopped_at_its_deadline() {
        let workers = workers(1, 1, 20);
        let limit = Duration::from_millis(20);
        assert_eq!(workers.query(None, until_cancelled).await, Err(WorkError::Timeout(limit)));
        let shorter = Duration::from_millis(5);
        assert_eq!(workers.query(Some(shorter), until_cancelled).await, Err(WorkError::Timeout(shorter)));
    }
}
