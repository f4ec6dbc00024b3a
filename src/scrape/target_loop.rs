//! Scrapes one target again and again, at its place in the interval.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use ::http::header::ACCEPT;
use ::http::{HeaderMap, HeaderName, HeaderValue};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::append::{self, Counts, Intake};
use super::body::Body;
use super::client::{Ask, Client};
use super::config::{Job, show_duration};
use super::staleness::Tracker;
use super::status::{LastScrape, TargetView};
use crate::app::App;
use crate::supervise::supervised;

/// A scrape that begins this little late is said to have begun on time: equal distances compress better. At most one
/// hundredth of the interval (Prometheus: `ScrapeTimestampTolerance`).
const TOLERANCE_MS: i64 = 2;

/// Scrapes in a row outside the tolerance after which the grid is given up.
const MISSED_MAX: u32 = 3;

/// Between the moments at which scrapes are written, or a quarter of the interval if that is less: few syncs that many
/// share, and too short to be seen.
const GATHER_MS: i64 = 250;

/// Formats are weighted `q=0.9`, `q=0.8`, … in their order.
const QUALITY_STEPS: usize = 9;

/// What a loop needs.
pub(super) struct Loop {
    pub(super) app: Arc<App>,
    pub(super) job: Arc<Job>,
    pub(super) view: Arc<TargetView>,
    pub(super) tracker: Arc<Mutex<Tracker>>,
    /// A reason for which scrapes of the whole job fail, such as too many targets.
    pub(super) forced_error: Arc<Mutex<Option<String>>>,
}

/// Runs until `stop` turns true, also through panics: the target is down for as long as the loop is paused.
pub(super) async fn run_supervised(this: Loop, stop: watch::Receiver<bool>) {
    let panicked = |message: &str| {
        let error = format!("the scrape loop panicked: {message}");
        *this.view.last.lock() =
            Some(LastScrape { at_ms: this.app.clock.now_ms(), duration_s: 0.0, error: Some(error), refused: None });
    };
    let telemetry = &this.app.telemetry;
    supervised("scrape", telemetry, stop.clone(), |stop| *stop, || run(&this, stop.clone()), panicked).await;
}

/// Runs until `stop` turns true. A scrape that is being written is finished, one that is being fetched is not.
async fn run(this: &Loop, mut stop: watch::Receiver<bool>) {
    let interval_ms = i64::try_from(this.view.target.interval.0).unwrap_or(i64::MAX).max(1);
    let offset = if this.job.starts_at_once { 0 } else { this.view.target.offset_ms(this.app.clock.now_ms()) };
    tokio::select! {
        () = tokio::time::sleep(Duration::from_millis(offset)) => {}
        _ = stop.wait_for(|stop| *stop) => return,
    }
    let mut fetcher = Fetcher::new(this);
    let mut grid = Grid { at_ms: this.app.clock.now_ms(), interval_ms, missed: 0 };
    let mut ticks = tokio::time::interval(this.view.target.interval.std());
    // A scrape that took too long does not make the following ones come in a burst.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        let now_ms = this.app.clock.now_ms();
        let timestamp_ms = grid.align(now_ms);
        let began = Instant::now();
        let fetched = tokio::select! {
            fetched = fetcher.fetch(this) => fetched,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let duration_s = began.elapsed().as_secs_f64();
        tokio::select! {
            () = gather(interval_ms) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
        let result = take_in(this, fetched, timestamp_ms, duration_s).await;
        note(this, result, now_ms, duration_s);
    }
}

/// Waits for the moment at which what was fetched is written.
///
/// Nobody waits for a scrape to be acknowledged, and each sync of the WAL costs as much as parsing hundreds of lines: so
/// the scrapes of many targets are written at the same moments, and share syncs.
async fn gather(interval_ms: i64) {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    let step = Duration::from_millis(GATHER_MS.min(interval_ms / 4).max(1).unsigned_abs());
    let since = u64::try_from(BEGAN.elapsed().as_nanos() % step.as_nanos()).unwrap_or_default();
    tokio::time::sleep(step - Duration::from_nanos(since)).await;
}

/// The times at which scrapes should begin.
struct Grid {
    /// The newest of them.
    at_ms: i64,
    interval_ms: i64,
    /// Scrapes in a row that were not on it.
    missed: u32,
}

impl Grid {
    /// The time that a scrape at `now_ms` is said to have begun at.
    fn align(&mut self, now_ms: i64) -> i64 {
        let tolerance = TOLERANCE_MS.min(self.interval_ms / 100);
        let passed = now_ms.saturating_sub(self.at_ms);
        // A tick a little early belongs to the time ahead of it.
        self.at_ms += (passed + tolerance).max(0) / self.interval_ms * self.interval_ms;
        if (now_ms - self.at_ms).abs() <= tolerance {
            self.missed = 0;
            return self.at_ms;
        }
        // Now and then late is a busy machine; always late is a clock that was set: begin a new grid.
        self.missed += 1;
        if self.missed >= MISSED_MAX || passed < 0 {
            *self = Grid { at_ms: now_ms, missed: 0, ..*self };
        }
        now_ms
    }
}

async fn take_in(
    this: &Loop,
    fetched: Result<Body, String>,
    timestamp_ms: i64,
    duration_s: f64,
) -> Result<Counts, String> {
    let (app, job, tracker) = (Arc::clone(&this.app), Arc::clone(&this.job), Arc::clone(&this.tracker));
    let work = move || {
        let intake = Intake { ingest: &app.ingest, job: &job, samples_max: app.config.ingest_max_batch_samples };
        append::take_in(intake, &mut tracker.lock(), fetched, timestamp_ms, duration_s)
    };
    this.app.workers.write(work).await.unwrap_or_else(|e| Err(e.to_string()))
}

/// Notes how a scrape went, and logs changes: a target that is down is logged once, not at each scrape.
fn note(this: &Loop, result: Result<Counts, String>, at_ms: i64, duration_s: f64) {
    let url = &this.view.target.url;
    this.app.telemetry.scrapes.add(&[if result.is_ok() { "ok" } else { "failed" }], 1);
    let (mut error, mut refused) = (None, None);
    match result {
        Ok(counts) => {
            if counts.duplicates > 0 {
                tracing::warn!(job = this.job.name, url, lines = counts.duplicates, "lines stand twice in the scrape");
            }
            refused =
                counts.first_refused.map(|first| format!("{} series refused; the first: {first}", counts.refused));
        }
        Err(failure) => error = Some(failure),
    }
    let mut last = this.view.last.lock();
    let was_refused = last.as_ref().is_some_and(|l| l.refused.is_some());
    if let Some(refused) = refused.as_ref().filter(|_| !was_refused) {
        tracing::warn!(job = this.job.name, url, refused, "a part of the scrape is left out");
    }
    let before = last.as_ref().and_then(|l| l.error.clone());
    match (&before, &error) {
        (None, Some(error)) => tracing::warn!(job = this.job.name, url, error, "target is down"),
        (Some(_), None) => tracing::info!(job = this.job.name, url, "target is up again"),
        (Some(before), Some(error)) if before != error => {
            tracing::debug!(job = this.job.name, url, error, "target is still down");
        }
        _ => {}
    }
    *last = Some(LastScrape { at_ms, duration_s, error, refused });
}

/// Asks the target.
struct Fetcher {
    client: Client,
    ask: Ask,
    body_max: (&'static str, usize),
}

impl Fetcher {
    fn new(this: &Loop) -> Fetcher {
        let server_max = ("ingest.max_decoded_bytes", this.app.config.ingest_max_decoded_bytes.usize());
        let job_max = this.job.limits.body_size.map(|size| ("body_size_limit", size.usize()));
        let body_max = job_max.filter(|max| max.1 < server_max.1).unwrap_or(server_max);
        let ask =
            Ask { headers: headers(&this.job, &this.view), compression: this.job.compression, body_max, is_cut: false };
        Fetcher { client: Client::new(this.job.client.clone()), ask, body_max }
    }

    async fn fetch(&mut self, this: &Loop) -> Result<Body, String> {
        if let Some(error) = this.forced_error.lock().clone() {
            return Err(error);
        }
        let target = &this.view.target;
        let asked = self.client.get(&target.url, &self.ask);
        match tokio::time::timeout(target.timeout.std(), asked).await {
            Ok(Ok(answer)) => Body::new(answer, &this.job, self.body_max),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => {
                // The answer that is on its way must not be taken for that of the next scrape.
                self.client = Client::new(this.job.client.clone());
                let timeout = show_duration(target.timeout);
                Err(format!("Get {:?}: context deadline exceeded (scrape_timeout {timeout})", target.url))
            }
        }
    }
}

fn headers(job: &Job, view: &TargetView) -> HeaderMap {
    let mut kinds: Vec<String> = Vec::new();
    for (i, protocol) in job.protocols.iter().enumerate() {
        let quality = QUALITY_STEPS.saturating_sub(i).max(2);
        kinds.push(format!("{};q=0.{quality}", protocol.content_type()));
    }
    kinds.push("*/*;q=0.1".to_owned());
    let timeout_s = view.target.timeout.0 as f64 / 1000.0;
    let texts = [
        (ACCEPT, kinds.join(",")),
        (HeaderName::from_static("x-prometheus-scrape-timeout-seconds"), timeout_s.to_string()),
    ];
    texts.into_iter().filter_map(|(name, text)| Some((name, HeaderValue::try_from(text).ok()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_aligned_within_the_tolerance() {
        let mut grid = Grid { at_ms: 1_000, interval_ms: 1_000, missed: 0 };
        for (now, want) in [
            (1_000, 1_000),
            (2_001, 2_000),
            (3_002, 3_000),
            // Too late to be on time.
            (4_003, 4_003),
            // A little early.
            (4_999, 5_000),
            // Ticks were missed.
            (9_001, 9_000),
            (9_500, 9_500),
            (10_000, 10_000),
            // The clock was set back.
            (5_000, 5_000),
            (6_002, 6_000),
            // The clock was set forward: the third begins a new grid.
            (7_300, 7_300),
            (8_301, 8_301),
            (9_302, 9_302),
            (10_301, 10_302),
            (11_302, 11_302),
        ] {
            assert_eq!(grid.align(now), want, "at {now}");
        }
        let mut grid = Grid { at_ms: 100, interval_ms: 100, missed: 0 };
        assert_eq!([grid.align(201), grid.align(302)], [200, 302], "one hundredth of the interval");
    }
}
