//! What can be seen of scrapes from outside: for `/api/v1/targets` and the like.

use std::sync::Arc;

use model::Labels;
use parking_lot::Mutex;

use super::target::Target;
use crate::config::Duration;

/// How a target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Not scraped yet.
    Unknown,
    /// The last scrape went well.
    Up,
    /// The last scrape failed.
    Down,
}

impl Health {
    /// The name in Prometheus's API.
    pub fn as_str(self) -> &'static str {
        match self {
            Health::Unknown => "unknown",
            Health::Up => "up",
            Health::Down => "down",
        }
    }
}

/// A target that is scraped.
#[derive(Debug, Clone, PartialEq)]
pub struct ActiveTarget {
    /// The job.
    pub scrape_pool: String,
    /// Labels before relabelling.
    pub discovered_labels: Labels,
    /// Labels that its series get.
    pub labels: Labels,
    /// Where it is.
    pub scrape_url: String,
    /// How often it is scraped.
    pub interval: Duration,
    /// How long a scrape may take.
    pub timeout: Duration,
    /// How it is.
    pub health: Health,
    /// Why the last scrape failed, or what of it was refused; empty if neither.
    pub last_error: String,
    /// When the last scrape began, in milliseconds since 1970; none before the first.
    pub last_scrape_ms: Option<i64>,
    /// How long it took, in seconds.
    pub last_duration_s: f64,
}

/// An address that relabelling dropped.
#[derive(Debug, Clone, PartialEq)]
pub struct DroppedTarget {
    /// The job.
    pub scrape_pool: String,
    /// Labels before relabelling.
    pub discovered_labels: Labels,
}

/// All targets.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Targets {
    /// Those that are scraped, by job and URL.
    pub active: Vec<ActiveTarget>,
    /// Those that relabelling dropped.
    pub dropped: Vec<DroppedTarget>,
}

/// How the last scrape of a target went.
#[derive(Debug, Clone)]
pub(super) struct LastScrape {
    pub(super) at_ms: i64,
    pub(super) duration_s: f64,
    /// None if it went well.
    pub(super) error: Option<String>,
    /// What was left out of a scrape that went well.
    pub(super) refused: Option<String>,
}

/// What a job shows.
#[derive(Default)]
pub(super) struct PoolView {
    pub(super) active: Mutex<Vec<Arc<TargetView>>>,
    pub(super) dropped: Mutex<Vec<Labels>>,
}

/// What a target shows.
pub(super) struct TargetView {
    pub(super) target: Target,
    pub(super) last: Mutex<Option<LastScrape>>,
}

impl PoolView {
    /// The URLs of the targets, and how they are.
    pub(super) fn health(&self) -> Vec<(String, Health)> {
        self.active.lock().iter().map(|view| (view.target.url.clone(), view.health())).collect()
    }

    /// Adds the job's targets.
    pub(super) fn collect(&self, job: &str, into: &mut Targets) {
        for view in self.active.lock().iter() {
            into.active.push(view.active(job));
        }
        let dropped = self.dropped.lock();
        into.dropped.extend(
            dropped
                .iter()
                .map(|labels| DroppedTarget { scrape_pool: job.to_owned(), discovered_labels: labels.clone() }),
        );
    }
}

impl TargetView {
    fn health(&self) -> Health {
        match &*self.last.lock() {
            None => Health::Unknown,
            Some(LastScrape { error: None, .. }) => Health::Up,
            Some(_) => Health::Down,
        }
    }

    fn active(&self, job: &str) -> ActiveTarget {
        let (health, target, last) = (self.health(), &self.target, self.last.lock().clone());
        ActiveTarget {
            scrape_pool: job.to_owned(),
            discovered_labels: target.discovered.clone(),
            labels: target.labels.clone(),
            scrape_url: target.url.clone(),
            interval: target.interval,
            timeout: target.timeout,
            health,
            last_scrape_ms: last.as_ref().map(|l| l.at_ms),
            last_duration_s: last.as_ref().map_or(0.0, |l| l.duration_s),
            last_error: last.and_then(|l| l.error.or(l.refused)).unwrap_or_default(),
        }
    }
}
