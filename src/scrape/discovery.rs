//! Finds targets: from files, over HTTP, and from other parts of the server. Each source says again and again what it has; a source that fails keeps
//! what it said last.

mod fed;
mod file_sd;
mod http_sd;

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::config::{Job, TargetGroup};
use crate::app::App;
use crate::supervise::supervised;
pub use fed::Feed;
pub(crate) use fed::{Feeder, feed};

/// What a source has now; it replaces what the source said before.
#[derive(Debug)]
pub(super) struct Update {
    /// The number of the source within its job.
    pub(super) source: usize,
    pub(super) groups: Vec<TargetGroup>,
}

/// How many updates may wait for the job to take them.
const UPDATES_WAITING_MAX: usize = 16;

/// The sources of a job; dropping it ends them.
pub(super) struct Discovery {
    pub(super) updates: mpsc::Receiver<Update>,
    /// How many sources there are.
    pub(super) sources: usize,
    _tasks: JoinSet<()>,
}

impl Discovery {
    /// Starts all sources of a job.
    pub(super) fn start(app: &Arc<App>, job: &Job) -> Discovery {
        let (sender, updates) = mpsc::channel(UPDATES_WAITING_MAX);
        let mut tasks = JoinSet::new();
        let mut sources = 0;
        for options in &job.file_sd {
            let (options, job, sender, source) = (options.clone(), job.name.clone(), sender.clone(), sources);
            let start = move || file_sd::run(options.clone(), job.clone(), source, sender.clone());
            tasks.spawn(run(Arc::clone(app), start));
            sources += 1;
        }
        for options in &job.http_sd {
            let (options, job, sender, source) = (options.clone(), job.name.clone(), sender.clone(), sources);
            let start = move || http_sd::run(options.clone(), job.clone(), source, sender.clone());
            tasks.spawn(run(Arc::clone(app), start));
            sources += 1;
        }
        if let Some(feed) = &job.feed {
            let (feed, sender, source) = (feed.clone(), sender.clone(), sources);
            tasks.spawn(run(Arc::clone(app), move || fed::run(feed.clone(), source, sender.clone())));
            sources += 1;
        }
        Discovery { updates, sources, _tasks: tasks }
    }
}

/// Runs a source, again after each panic.
async fn run<F: Future<Output = ()>>(app: Arc<App>, start: impl FnMut() -> F) {
    supervised("discovery", &app.telemetry, app.stopping(), |stop| *stop, start, |_| ()).await;
}
