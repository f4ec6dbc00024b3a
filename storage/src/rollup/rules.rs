//! Which roll-ups are kept: resolutions, for how long, of which series.

use model::{Labels, Matcher};

use crate::db::prepared::DAY_MS;

/// Most resolutions (`rollups`): each costs a file per period and a look per query.
const RESOLUTIONS_MAX: usize = 8;
/// Shortest resolution; below it the samples themselves are as small.
const RESOLUTION_MIN_MS: i64 = 10_000;

/// Roll-ups of one resolution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RollupRule {
    /// Length of a bucket in milliseconds.
    pub resolution_ms: i64,
    /// How long they are kept, in milliseconds; none for ever.
    pub keep_ms: Option<i64>,
    /// Series must pass all of these.
    pub matchers: Vec<Matcher>,
}

impl RollupRule {
    /// True if series with these labels are rolled up.
    pub(crate) fn selects(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(|m| m.matches(labels.get(m.name()).unwrap_or_default()))
    }
}

/// The rules of all resolutions, which fit each other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RollupRules {
    /// From fine to coarse.
    rules: Vec<RollupRule>,
}

/// Why rules cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RollupRulesError {
    /// Too many.
    #[error("there are {0} resolutions, at most {RESOLUTIONS_MAX} can be kept")]
    TooMany(usize),
    /// Too short.
    #[error("a resolution of {0} ms is too short, the least is {RESOLUTION_MIN_MS} ms")]
    TooShort(i64),
    /// Buckets would reach over midnight.
    #[error("a resolution of {0} ms does not divide a day")]
    NotOfADay(i64),
    /// Coarse buckets would cut fine ones.
    #[error("a resolution of {coarse_ms} ms is no multiple of {fine_ms} ms")]
    NotNested {
        /// The finer.
        fine_ms: i64,
        /// The coarser.
        coarse_ms: i64,
    },
    /// Two rules for one.
    #[error("a resolution of {0} ms is there twice")]
    Twice(i64),
    /// Gone before there are any.
    #[error(
        "a resolution of {resolution_ms} ms is kept for {keep_ms} ms, less than the two days that closing a day can take"
    )]
    KeptTooShort {
        /// The resolution.
        resolution_ms: i64,
        /// Its retention.
        keep_ms: i64,
    },
}

impl RollupRules {
    /// Rules in any order.
    ///
    /// # Errors
    /// [`RollupRulesError`].
    pub fn new(mut rules: Vec<RollupRule>) -> Result<Self, RollupRulesError> {
        if rules.len() > RESOLUTIONS_MAX {
            return Err(RollupRulesError::TooMany(rules.len()));
        }
        rules.sort_by_key(|rule| rule.resolution_ms);
        for rule in &rules {
            let resolution_ms = rule.resolution_ms;
            if resolution_ms < RESOLUTION_MIN_MS {
                return Err(RollupRulesError::TooShort(resolution_ms));
            }
            if DAY_MS % resolution_ms != 0 {
                return Err(RollupRulesError::NotOfADay(resolution_ms));
            }
            if let Some(keep_ms) = rule.keep_ms.filter(|keep_ms| *keep_ms < 2 * DAY_MS) {
                return Err(RollupRulesError::KeptTooShort { resolution_ms, keep_ms });
            }
        }
        for (fine, coarse) in rules.iter().zip(rules.iter().skip(1)) {
            let (fine_ms, coarse_ms) = (fine.resolution_ms, coarse.resolution_ms);
            if fine_ms == coarse_ms {
                return Err(RollupRulesError::Twice(fine_ms));
            }
            if coarse_ms % fine_ms != 0 {
                return Err(RollupRulesError::NotNested { fine_ms, coarse_ms });
            }
        }
        Ok(RollupRules { rules })
    }

    /// From fine to coarse.
    pub fn rules(&self) -> &[RollupRule] {
        &self.rules
    }

    /// The oldest time whose buckets of a resolution are kept. Those of a resolution without a rule are kept for ever: an
    /// option that was lost for a day must not cost years.
    pub(crate) fn oldest_ms(&self, resolution_ms: i64, now_ms: i64) -> i64 {
        let rule = self.rules.iter().find(|rule| rule.resolution_ms == resolution_ms);
        rule.and_then(|rule| rule.keep_ms).map_or(i64::MIN, |keep_ms| now_ms.saturating_sub(keep_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(resolutions: &[i64]) -> Result<RollupRules, RollupRulesError> {
        let rule = |ms: &i64| RollupRule { resolution_ms: *ms, keep_ms: None, matchers: Vec::new() };
        RollupRules::new(resolutions.iter().map(rule).collect())
    }

    #[test]
    fn resolutions_fit_each_other_and_the_day() {
        let sorted = rules(&[3_600_000, 300_000]).unwrap();
        assert_eq!(sorted.rules().iter().map(|rule| rule.resolution_ms).collect::<Vec<_>>(), [300_000, 3_600_000]);
        assert_eq!(rules(&[10_000]).map(|rules| rules.rules().len()), Ok(1));
        assert_eq!(rules(&[9_999]), Err(RollupRulesError::TooShort(9_999)));
        assert_eq!(rules(&[-1]), Err(RollupRulesError::TooShort(-1)));
        assert_eq!(rules(&[7 * 3_600_000]), Err(RollupRulesError::NotOfADay(25_200_000)));
        assert_eq!(rules(&[2 * DAY_MS]), Err(RollupRulesError::NotOfADay(2 * DAY_MS)));
        assert_eq!(rules(&[300_000, 300_000]), Err(RollupRulesError::Twice(300_000)));
        let not_nested = RollupRulesError::NotNested { fine_ms: 240_000, coarse_ms: 300_000 };
        assert_eq!(rules(&[300_000, 240_000]), Err(not_nested));
    }

    #[test]
    fn there_is_a_bound_to_their_number() {
        let nested: Vec<i64> = (0..9).map(|i| 15_000 << i).collect();
        assert!(nested.iter().take(8).all(|ms| DAY_MS % ms == 0));
        assert!(rules(&nested[..8]).is_ok());
        assert_eq!(rules(&nested), Err(RollupRulesError::TooMany(9)));
    }

    #[test]
    fn they_are_kept_for_two_days_at_least() {
        let kept = |keep_ms| {
            RollupRules::new(vec![RollupRule { resolution_ms: 60_000, keep_ms: Some(keep_ms), matchers: Vec::new() }])
        };
        assert!(kept(2 * DAY_MS - 1).is_err());
        let rules = kept(2 * DAY_MS).unwrap();
        assert_eq!((rules.oldest_ms(60_000, 0), rules.oldest_ms(1, 0)), (-2 * DAY_MS, i64::MIN));
    }
}
