//! Date functions: seconds since 1970 to the parts of a UTC date.

use model::civil_from_days;

/// A date and time of day in UTC, proleptic Gregorian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Date {
    year: i64,
    month: i64,
    day: i64,
    /// Days since 1970-01-01.
    epoch_day: i64,
    second_of_day: i64,
}

const DAY_SECONDS: i128 = 86_400;

impl Date {
    fn of(seconds: f64) -> Self {
        let seconds = whole(seconds);
        // Far within 64 bits: the seconds are at most 2^63.
        let epoch_day = seconds.div_euclid(DAY_SECONDS) as i64;
        let (year, month, day) = civil_from_days(epoch_day);
        Date { year, month, day, epoch_day, second_of_day: seconds.rem_euclid(DAY_SECONDS) as i64 }
    }

    fn is_leap_year(self) -> bool {
        self.year % 4 == 0 && (self.year % 100 != 0 || self.year % 400 == 0)
    }

    fn days_in_month(self) -> i64 {
        match self.month {
            2 if self.is_leap_year() => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        }
    }

    fn day_of_year(self) -> i64 {
        let before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
        let place = usize::try_from(self.month - 1).unwrap_or(0);
        let leap_day = i64::from(self.month > 2 && self.is_leap_year());
        before.get(place).copied().unwrap_or(0) + self.day + leap_day
    }
}

/// Seconds without their fraction. What no 64-bit integer holds becomes 2^63, as it does in Prometheus on x86-64.
fn whole(seconds: f64) -> i128 {
    let limit = 9_223_372_036_854_775_808.0;
    if (-limit..limit).contains(&seconds) { seconds as i128 } else { 1 << 63 }
}

/// The date function of that name.
pub(crate) fn find(name: &str) -> Option<fn(f64) -> f64> {
    Some(match name {
        "year" => |seconds| Date::of(seconds).year as f64,
        "month" => |seconds| Date::of(seconds).month as f64,
        "day_of_month" => |seconds| Date::of(seconds).day as f64,
        "day_of_week" => |seconds| (Date::of(seconds).epoch_day + 4).rem_euclid(7) as f64,
        "day_of_year" => |seconds| Date::of(seconds).day_of_year() as f64,
        "days_in_month" => |seconds| Date::of(seconds).days_in_month() as f64,
        "hour" => |seconds| (Date::of(seconds).second_of_day / 3600) as f64,
        "minute" => |seconds| (Date::of(seconds).second_of_day / 60 % 60) as f64,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::{Timestamp, tz::TimeZone};
    use proptest::prelude::*;

    fn parts(seconds: f64) -> [f64; 8] {
        ["year", "month", "day_of_month", "day_of_week", "day_of_year", "days_in_month", "hour", "minute"]
            .map(|name| find(name).unwrap()(seconds))
    }

    #[test]
    fn dates_by_hand() {
        // Monday 2006-01-02 22:04:05.
        assert_eq!(parts(1_136_239_445.9), [2006.0, 1.0, 2.0, 1.0, 2.0, 31.0, 22.0, 4.0]);
        assert_eq!(parts(-1.0), [1969.0, 12.0, 31.0, 3.0, 365.0, 31.0, 23.0, 59.0]);
        assert_eq!(parts(951_782_400.0)[..6], [2000.0, 2.0, 29.0, 2.0, 60.0, 29.0]);
        // The oracle's answers for numbers that no clock shows.
        assert_eq!(parts(f64::NAN)[0], 292_277_026_596.0);
        assert_eq!(parts(1e300)[7], 30.0);
        assert_eq!(parts(-1e18)[..2], [-31_688_736_537.0, 3.0]);
    }

    proptest! {
        #[test]
        fn dates_agree_with_jiff(seconds in -60_000_000_000_i64..250_000_000_000) {
            let date = Timestamp::from_second(seconds).unwrap().to_zoned(TimeZone::UTC);
            let want = [
                f64::from(date.year()), f64::from(date.month()), f64::from(date.day()),
                f64::from(date.weekday().to_sunday_zero_offset()), f64::from(date.day_of_year()),
                f64::from(date.days_in_month()), f64::from(date.hour()), f64::from(date.minute()),
            ];
            prop_assert_eq!(parts(seconds as f64), want);
        }
    }
}
