//! What Arroyo's controller makes of numbers: the rate of a counter as an average that forgets, and backpressure. Pure.

/// The interval in which a controller asks its workers: the least distance of two points, in milliseconds.
pub(crate) const INTERVAL_MS: i64 = 2000;

/// What is left of an average after one interval: the newest rate has a weight of 0.1.
const KEPT: f64 = 0.9;

/// The rate of one counter. Samples come in the order of time.
///
/// A controller weighs each rate alike, because it asks every two seconds. Here samples come when they come, so a rate
/// weighs as much as the intervals since the one before it would: with a sample every two seconds it is the same.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rate {
    before: Option<(i64, f64)>,
    average: Option<f64>,
}

impl Rate {
    /// The average rate per second with this sample; none with the first. `time_ms` rises strictly.
    pub(crate) fn next(&mut self, time_ms: i64, value: f64) -> Option<f64> {
        let (before_ms, before) = self.before.replace((time_ms, value))?;
        let elapsed_ms = time_ms.saturating_sub(before_ms).max(1) as f64;
        // A counter that fell has begun again from zero.
        let increase = if value >= before { value - before } else { value };
        let rate = increase * 1000.0 / elapsed_ms;
        let kept = KEPT.powf(elapsed_ms / INTERVAL_MS as f64);
        let average = self.average.map_or(rate, |last| kept * last + (1.0 - kept) * rate);
        self.average = Some(average);
        self.average
    }

    /// The series has ended; what comes next is another process.
    pub(crate) fn end(&mut self) {
        *self = Rate::default();
    }
}

/// How much a full queue holds up who writes into it, from 0 to 1. Both numbers are 0 of a queue that nobody has used yet.
pub(crate) fn backpressure(queue_size: f64, queue_remaining: f64) -> f64 {
    (1.0 - (queue_remaining + 1.0) / (queue_size + 1.0)).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(samples: &[(i64, f64)]) -> Vec<Option<f64>> {
        let mut rate = Rate::default();
        samples.iter().map(|(time_ms, value)| rate.next(*time_ms, *value)).collect()
    }

    fn assert_near(found: Option<f64>, expected: f64) {
        let found = found.unwrap();
        assert!((found - expected).abs() < 1e-9 * expected.abs().max(1.0), "{found} is not {expected}");
    }

    #[test]
    fn the_newest_rate_weighs_a_tenth_every_two_seconds() {
        let found = rates(&[(0, 0.0), (2000, 200.0), (4000, 200.0), (6000, 600.0)]);
        assert_eq!(found[0], None);
        assert_near(found[1], 100.0);
        assert_near(found[2], 90.0);
        assert_near(found[3], 0.9 * 90.0 + 0.1 * 200.0);
    }

    #[test]
    fn rare_samples_end_where_frequent_ones_do() {
        let rare = rates(&[(0, 0.0), (10_000, 1000.0), (20_000, 1000.0)])[2];
        let steady: Vec<(i64, f64)> = (0..=5).map(|i| (i * 2000, i as f64 * 200.0)).collect();
        let still: Vec<(i64, f64)> = (6..=10).map(|i| (i * 2000, 1000.0)).collect();
        let frequent = rates(&[steady, still].concat()).pop().unwrap();
        assert_near(rare, frequent.unwrap());
    }

    #[test]
    fn a_counter_that_begins_again_is_not_negative() {
        assert_near(rates(&[(0, 1000.0), (2000, 50.0)])[1], 25.0);
        let mut rate = Rate::default();
        rate.next(0, 1000.0);
        rate.end();
        assert_eq!(rate.next(2000, 2000.0), None, "another process");
    }

    /// 1 − (remaining + 1) / (size + 1)
    #[test]
    fn backpressure_is_how_full_the_queue_is() {
        assert_eq!(backpressure(0.0, 0.0), 0.0, "never used");
        assert_eq!(backpressure(4095.0, 4095.0), 0.0);
        assert_eq!(backpressure(4095.0, 1023.0), 0.75);
        assert_eq!(backpressure(99.0, 0.0), 0.99);
        assert_eq!(backpressure(10.0, 20.0), 0.0, "read at two moments");
    }
}
