//! Compensated sums.

/// A sum with Neumaier's compensation (`util/kahansum` in Prometheus): terms that the running sum swallows are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct KahanSum {
    /// The plain sum.
    pub sum: f64,
    /// What the plain sum lacks.
    pub lost: f64,
}

impl KahanSum {
    /// A sum of one term.
    pub fn of(value: f64) -> Self {
        KahanSum { sum: value, lost: 0.0 }
    }

    /// Adds a term.
    #[must_use]
    pub fn plus(self, term: f64) -> Self {
        let total = self.sum + term;
        let lost = if total.is_infinite() {
            0.0
        } else if self.sum.abs() >= term.abs() {
            self.lost + ((self.sum - total) + term)
        } else {
            self.lost + ((term - total) + self.sum)
        };
        KahanSum { sum: total, lost }
    }

    /// The sum of both, nothing lost.
    #[must_use]
    pub fn join(self, other: KahanSum) -> Self {
        let mut both = self.plus(other.sum);
        if !both.sum.is_infinite() {
            both.lost += other.lost;
        }
        both
    }

    /// Both parts times a factor.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        KahanSum { sum: self.sum * factor, lost: self.lost * factor }
    }

    /// Both parts divided by a number.
    #[must_use]
    pub fn over(self, divisor: f64) -> Self {
        KahanSum { sum: self.sum / divisor, lost: self.lost / divisor }
    }

    /// The value; an infinite sum stands alone.
    pub fn total(self) -> f64 {
        if self.sum.is_infinite() { self.sum } else { self.sum + self.lost }
    }
}
