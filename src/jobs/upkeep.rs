//! Forgets old jobs from time to time.

use std::sync::Arc;
use std::time::Duration;

use super::error::JobsError;
use crate::app::App;
use crate::supervise::attempt;

/// Between two rounds. A round looks at every job, so it is rare; nobody notices an hour more.
const INTERVAL: Duration = Duration::from_secs(3600);

/// Applies retention and limits until the application stops.
pub(crate) async fn retain_regularly(app: Arc<App>) {
    let mut stopping = app.stopping();
    loop {
        tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
        let state = Arc::clone(&app);
        let retain = move || {
            attempt("jobs", &state.telemetry, || {
                let forgotten = state.jobs.retain(state.clock.now_ms())?;
                state.agents.forget_gone(&state.jobs)?;
                Ok::<_, JobsError>(forgotten)
            })
        };
        match tokio::task::spawn_blocking(retain).await {
            Ok(Ok(Ok(forgotten))) => tracing::debug!(?forgotten, "old jobs are forgotten"),
            Ok(Ok(Err(error))) => tracing::error!(%error, "old jobs could not be forgotten"),
            // A panic is counted and in the log; a thread is refused only when the server stops.
            Ok(Err(_)) | Err(_) => {}
        }
    }
}
