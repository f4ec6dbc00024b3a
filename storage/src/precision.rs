//! Opt-in precision: the values of chosen series rounded to so many significant decimal digits when they go from the
//! head into segments, and there only. It loses what the digits beyond said, for good; nothing is rounded by default.

use model::{Labels, Matcher};

/// Fewest and most digits of a rule; more than the most change nothing but noise.
pub const PRECISION_DIGITS: std::ops::RangeInclusive<u8> = 1..=15;

/// Rounds the values of the series that match.
#[derive(Debug, Clone)]
pub struct PrecisionRule {
    /// All of them must match.
    pub matchers: Vec<Matcher>,
    /// Significant decimal digits that are kept, within [`PRECISION_DIGITS`].
    pub digits: u8,
}

impl PrecisionRule {
    fn suits(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or_default()))
    }
}

/// Rounds values by the first of the rules that suits the series, if one does.
pub(crate) fn apply(rules: &[PrecisionRule], labels: &Labels, values: &mut [f64]) {
    if let Some(rule) = rules.iter().find(|rule| rule.suits(labels)) {
        values.iter_mut().for_each(|value| *value = rounded(*value, rule.digits));
    }
}

/// The float nearest to the value with so many significant digits; rounding again changes nothing. Zeros, infinities and
/// NaNs (the staleness marker is one) stay as they are.
fn rounded(value: f64, digits: u8) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let fraction = usize::from(digits.clamp(*PRECISION_DIGITS.start(), *PRECISION_DIGITS.end())) - 1;
    // The exact way, by decimals; what it costs is only paid where it is asked for.
    let near = format!("{value:.fraction$e}").parse().unwrap_or(value);
    if f64::is_finite(near) { near } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn digits_are_kept_and_the_rest_goes() {
        for (value, digits, want) in [
            (0.123_456_789, 4, 0.1235),
            (-98_765.432_1, 3, -98_800.0),
            (5.0, 1, 5.0),
            (1e-300, 2, 1e-300),
            (f64::MAX, 3, f64::MAX),
            (1.0 / 3.0, 15, 0.333_333_333_333_333),
            (f64::INFINITY, 3, f64::INFINITY),
        ] {
            assert_eq!(rounded(value, digits), want, "{value} to {digits}");
        }
        assert_eq!(rounded(-0.0, 3).to_bits(), (-0.0_f64).to_bits());
        assert!(model::is_stale(rounded(model::stale_nan(), 3)));
    }

    #[test]
    fn the_first_rule_that_suits_counts() {
        let rule = |name: &str, digits| PrecisionRule { matchers: vec![Matcher::equal("__name__", name)], digits };
        let labels = Labels::from_pairs([("__name__", "load"), ("host", "a")]).unwrap();
        let rules = [rule("other", 1), rule("load", 3), rule("load", 2)];
        let mut values = [1.23456, 987_654.0];
        apply(&rules, &labels, &mut values);
        assert_eq!(values, [1.23, 988_000.0]);
        apply(&rules[..1], &labels, &mut values);
        assert_eq!(values, [1.23, 988_000.0]);
    }

    proptest! {
        #[test]
        fn rounding_is_near_and_changes_nothing_the_second_time(bits: u64, digits in 1_u8..=15) {
            let value = f64::from_bits(bits);
            let once = rounded(value, digits);
            prop_assert_eq!(rounded(once, digits).to_bits(), once.to_bits());
            if value.is_normal() {
                prop_assert!(((once - value) / value).abs() <= 0.5001 * 10_f64.powi(1 - i32::from(digits)) || once == value);
            }
        }
    }
}
