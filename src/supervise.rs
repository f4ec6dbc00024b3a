//! Keeps background work going: a panic in it is counted and logged, and the work goes on.
//!
//! A task that runs for as long as the server does runs through [`supervised`], which starts it again after a pause: each
//! scrape loop, each job's target discovery, the listeners, the reports about ourselves, the collector of each Flink
//! cluster, the looks for jobs that only series tell of. A thread that does one piece of work after the other does each
//! through [`attempt`]: the catalog's writer, the mover of Parquet files, the retention of jobs. The threads of the
//! database are kept going in the same way by the storage engine itself.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::telemetry::Telemetry;

/// Pause after the first panic; it doubles with each that follows.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest pause. A task that went well for as long begins with the shortest again.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Runs what `start` gives until it ends, again after each panic, of which `panicked` hears. None if the value behind
/// `stop` turned to one for which `is_stop` holds, or nobody can change it any more, while the task was paused.
pub(crate) async fn supervised<S, T, F: Future<Output = T>>(
    task: &'static str,
    telemetry: &Telemetry,
    mut stop: watch::Receiver<S>,
    is_stop: impl Fn(&S) -> bool,
    mut start: impl FnMut() -> F,
    mut panicked: impl FnMut(&str),
) -> Option<T> {
    let mut pause = PAUSE_MIN;
    loop {
        let began = Instant::now();
        let message = match caught(start()).await {
            Ok(ended) => return Some(ended),
            Err(message) => message,
        };
        if began.elapsed() >= PAUSE_MAX {
            pause = PAUSE_MIN;
        }
        telemetry.background_panics.add(&[task], 1);
        tracing::error!(task, panic = message, ?pause, "background work panicked; it starts again after a pause");
        panicked(&message);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = async { drop(stop.wait_for(&is_stop).await) } => return None,
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Does a piece of work.
///
/// # Errors
/// What it said in a panic.
pub(crate) fn attempt<T>(task: &'static str, telemetry: &Telemetry, work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let message = message(&*panic);
        telemetry.background_panics.add(&[task], 1);
        tracing::error!(task, panic = message, "background work panicked; it goes on with what comes next");
        message
    })
}

/// Waits for a future; the text of its panic if it panics. It is never polled again then.
async fn caught<T>(work: impl Future<Output = T>) -> Result<T, String> {
    let mut work = pin!(work);
    std::future::poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => Poll::Ready(Err(message(&*panic))),
    })
    .await
}

/// What a panic said.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_starts_again() {
        let (telemetry, (_keep, stop)) = (Telemetry::default(), watch::channel(false));
        let (mut starts, mut heard) = (0, Vec::new());
        let start = || {
            starts += 1;
            let round = starts;
            async move {
                tokio::task::yield_now().await;
                assert!(round > 1, "round {round}");
                7
            }
        };
        let began = Instant::now();
        let ended = supervised("test", &telemetry, stop, |stop| *stop, start, |text| heard.push(text.to_owned())).await;
        assert_eq!((ended, starts, heard), (Some(7), 2, vec!["round 1".to_owned()]));
        assert_eq!(telemetry.background_panics.get(&["test"]), 1);
        assert!(began.elapsed() >= PAUSE_MIN);
    }

    #[tokio::test]
    async fn a_pause_ends_with_the_server() {
        let (telemetry, (stop, stopped)) = (Telemetry::default(), watch::channel(false));
        let start = || async { std::panic::panic_any(3) };
        let panicked = |text: &str| {
            assert_eq!(text, "no message");
            stop.send_replace(true);
        };
        let ended: Option<()> = supervised("test", &telemetry, stopped, |stop| *stop, start, panicked).await;
        assert_eq!(ended, None);
    }
}
