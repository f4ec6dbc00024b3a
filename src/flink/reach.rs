//! Which JobManager to ask, and how long to wait when none answers: pure, the clock is an argument.

use std::time::Duration;

/// The first wait after all addresses have failed.
const WAIT_MIN: Duration = Duration::from_secs(1);
/// The longest wait: a cluster that comes back is found within a minute.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// The addresses of one cluster.
#[derive(Debug, Clone)]
pub struct Reach {
    urls: Vec<String>,
    current: usize,
    /// Addresses in a row that did not answer.
    failures: usize,
}

impl Reach {
    /// The addresses in the order in which they are tried; slashes at their ends do not count.
    pub fn new(urls: impl IntoIterator<Item = String>) -> Reach {
        let urls = urls.into_iter().map(|url| url.trim_end_matches('/').to_owned()).collect();
        Reach { urls, current: 0, failures: 0 }
    }

    /// The address to ask now; none if there are no addresses.
    pub fn url(&self) -> Option<&str> {
        self.urls.get(self.current).map(String::as_str)
    }

    /// The address answered: it is asked again next time.
    pub fn answered(&mut self) {
        self.failures = 0;
    }

    /// The address did not answer: the next one is asked, at once while there are others, and later and later when all
    /// have failed. `random` is from 0 to 1 and spreads collectors that lost the same cluster.
    pub fn failed(&mut self, random: f64) -> Duration {
        self.failures += 1;
        self.current = (self.current + 1) % self.urls.len().max(1);
        let rounds = self.failures / self.urls.len().max(1);
        if rounds == 0 || !self.failures.is_multiple_of(self.urls.len().max(1)) {
            return Duration::ZERO;
        }
        let doubled = WAIT_MIN.saturating_mul(1 << (rounds - 1).min(16));
        doubled.min(WAIT_MAX).mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
    }

    /// True if every address has failed since one answered, and more than once: a single failure is a hiccup.
    pub fn is_lost(&self) -> bool {
        self.urls.is_empty() || self.failures >= self.urls.len().max(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_others_are_asked_at_once_and_all_again_later_and_later() {
        let mut reach = Reach::new(["http://a/", "http://b"].map(str::to_owned));
        assert_eq!(reach.url(), Some("http://a"));
        assert_eq!(reach.failed(1.0), Duration::ZERO);
        assert_eq!((reach.url(), reach.is_lost()), (Some("http://b"), false));
        assert_eq!(reach.failed(1.0), Duration::from_secs(1));
        assert_eq!((reach.url(), reach.is_lost()), (Some("http://a"), true));
        let waits: Vec<u64> = (0..14).map(|_| reach.failed(1.0).as_secs()).collect();
        assert_eq!(waits, [0, 2, 0, 4, 0, 8, 0, 16, 0, 32, 0, 60, 0, 60]);
        reach.failed(0.0);
        assert_eq!(reach.failed(0.0), Duration::from_secs(30), "spread down to a half");
        reach.answered();
        assert!(!reach.is_lost());
        assert_eq!(reach.url(), Some("http://a"), "the one that answered stays");
    }

    #[test]
    fn one_failure_of_a_single_address_is_no_loss() {
        let mut reach = Reach::new(["http://a".to_owned()]);
        assert!(!reach.is_lost());
        assert_eq!(reach.failed(1.0), Duration::from_secs(1));
        assert!(!reach.is_lost());
        assert_eq!(reach.failed(1.0), Duration::from_secs(2));
        assert!(reach.is_lost());
    }

    #[test]
    fn without_addresses_there_is_nobody_to_ask() {
        let mut reach = Reach::new(Vec::new());
        assert_eq!(reach.url(), None);
        assert!(reach.is_lost());
        assert!(reach.failed(0.5) > Duration::ZERO);
    }
}
