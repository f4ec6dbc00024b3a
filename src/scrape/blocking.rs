//! Small work that can hang on somebody else: names that are looked up, files on distant disks. It shares the threads
//! of the runtime with writes and queries, so only a few such pieces run at a time, and one that hangs keeps its place
//! even when nobody waits for it any more.

use std::sync::{Arc, LazyLock};

use tokio::sync::Semaphore;

/// Fewer than the threads that the runtime has beyond those for writes and queries.
const CONCURRENT_MAX: usize = 8;

static PLACES: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(CONCURRENT_MAX)));

/// Runs work on a thread.
///
/// # Errors
/// A text: the server is stopping.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    let place = Arc::clone(&PLACES).acquire_owned().await.map_err(|e| e.to_string())?;
    let done = tokio::task::spawn_blocking(move || {
        let done = work();
        drop(place);
        done
    });
    match done.await {
        Ok(done) => Ok(done),
        // It goes on in the task that waits, whose supervision counts it.
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn never_more_than_a_few_at_a_time() {
        static NOW: AtomicUsize = AtomicUsize::new(0);
        static MOST: AtomicUsize = AtomicUsize::new(0);
        let tasks: Vec<_> = (0..CONCURRENT_MAX * 3)
            .map(|_| {
                tokio::spawn(blocking(|| {
                    MOST.fetch_max(NOW.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::sleep(std::time::Duration::from_millis(5));
                    NOW.fetch_sub(1, Ordering::SeqCst);
                }))
            })
            .collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        assert!((2..=CONCURRENT_MAX).contains(&MOST.load(Ordering::SeqCst)), "{MOST:?}");
    }
}
