//! Times and durations as Prometheus's API writes them.

use std::str::FromStr;

use crate::config::{Duration, OptionValue};

/// The earliest and the latest time that Go programs write for "no bound" (`web/api/v1/api.go`, `MinTime`, `MaxTime`).
const EARLIEST: &str = "-292273086-05-16T16:47:06Z";
const LATEST: &str = "292277025-08-18T07:12:54.999999999Z";

/// Reads seconds since 1970 with a fraction, or RFC 3339; gives milliseconds. Any time is legal, also before 1970.
///
/// # Errors
/// For people.
pub(crate) fn parse_time(text: &str) -> Result<i64, String> {
    let wrong = || format!("cannot parse {text:?} to a valid timestamp");
    if let Ok(seconds) = text.parse::<f64>() {
        let whole = seconds.trunc();
        let ms = whole * 1000.0 + ((seconds - whole) * 1000.0).round();
        return whole_i64(ms).ok_or_else(wrong);
    }
    match text {
        EARLIEST => Ok(i64::MIN),
        LATEST => Ok(i64::MAX),
        _ => {
            let time = jiff::Timestamp::from_str(text).map_err(|_| wrong())?;
            i64::try_from(time.as_nanosecond().div_euclid(1_000_000)).map_err(|_| wrong())
        }
    }
}

/// Reads seconds with a fraction, or `1h30m`; gives milliseconds, negative ones too.
///
/// # Errors
/// For people.
pub(super) fn parse_duration(text: &str) -> Result<i64, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        let overflow = || format!("cannot parse {text:?} to a valid duration. It overflows int64");
        // Go counts nanoseconds: what they cannot hold is refused there, and so here.
        let whole = whole_i64(seconds * 1e9).map(|_| seconds.trunc()).ok_or_else(overflow)?;
        // Part of a millisecond is cut off, but not what only the float lacks.
        let ms = ((seconds - whole) * 1e6).round() / 1e3;
        return whole_i64(whole * 1000.0 + ms.trunc()).ok_or_else(overflow);
    }
    let wrong = || format!("cannot parse {text:?} to a valid duration");
    Duration::parse(text).ok().and_then(|d| i64::try_from(d.0).ok()).ok_or_else(wrong)
}

/// The whole number, if 64 bits can hold it.
fn whole_i64(number: f64) -> Option<i64> {
    // 2^63 is a float, 2^63 - 1 is not.
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    (-LIMIT..LIMIT).contains(&number).then_some(number as i64)
}

/// Milliseconds as RFC 3339 in UTC; times that a calendar cannot hold as seconds.
pub(crate) fn rfc3339(time_ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(time_ms) {
        Ok(time) => time.to_string(),
        Err(_) => format!("{}s", time_ms / 1000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times() {
        for (text, ms) in [
            ("4", 4_000),
            ("0", 0),
            ("-1.5", -1_500),
            ("1.2345", 1_234),
            ("1e9", 1_000_000_000_000),
            ("1435781451.781", 1_435_781_451_781),
            ("2015-07-01T20:10:51.781Z", 1_435_781_451_781),
            ("2015-07-01T22:10:51.781999999+02:00", 1_435_781_451_781),
            ("1969-12-31T23:59:59.9995Z", -1),
            (EARLIEST, i64::MIN),
            (LATEST, i64::MAX),
        ] {
            assert_eq!(parse_time(text), Ok(ms), "{text}");
        }
        for wrong in
            ["", "abc", "NaN", "Inf", "-inf", "1e300", "9223372036854776", "2015-07-01", "2015-07-01T20:10:51", "1h"]
        {
            assert!(parse_time(wrong).is_err(), "{wrong}: {:?}", parse_time(wrong));
        }
        assert_eq!(parse_time("x").unwrap_err(), "cannot parse \"x\" to a valid timestamp");
    }

    #[test]
    fn durations() {
        for (text, ms) in [
            ("15", 15_000),
            ("0.5", 500),
            ("7250618821", 7_250_618_821_000),
            ("1.1239", 1_123),
            ("0.29", 290),
            ("-0.0009", 0),
            ("-1", -1_000),
            ("1h30m", 5_400_000),
            ("7d", 604_800_000),
            ("0", 0),
        ] {
            assert_eq!(parse_duration(text), Ok(ms), "{text}");
        }
        for wrong in ["", "1ns", "h", "1m1h", "-1m", "NaN", "1e10", "-Inf", "1 m"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!(
            parse_duration("1e10").unwrap_err(),
            "cannot parse \"1e10\" to a valid duration. It overflows int64"
        );
    }

    proptest! {
        /// A time as seconds, and as RFC 3339, is the same millisecond.
        #[test]
        fn both_notations_agree(ms in -60_000_000_000_000_i64..250_000_000_000_000) {
            let sign = if ms < 0 { "-" } else { "" };
            let text = format!("{sign}{}.{:03}", ms.unsigned_abs() / 1000, ms.unsigned_abs() % 1000);
            prop_assert_eq!(parse_time(&text), Ok(ms));
            prop_assert_eq!(parse_time(&rfc3339(ms)), Ok(ms));
        }

        #[test]
        fn both_durations_agree(ms in 0_i64..9_000_000_000_000) {
            prop_assert_eq!(parse_duration(&format!("{}ms", ms)), Ok(ms));
            let seconds = ms / 1000;
            prop_assert_eq!(parse_duration(&seconds.to_string()), Ok(seconds * 1000));
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = (parse_time(&text), parse_duration(&text));
        }
    }
}
