//! Timestamps as RFC 3339 and Python's `isoformat()` write them, to milliseconds and back.
//!
//! Read: `2024-01-01T12:00:00`, with `T`, `t` or a space between date and time, any number of digits of a second's
//! fraction (what is below a millisecond is cut), and a zone of `Z`, `z`, `±hh:mm` or `±hh:mm:ss`, or none.

use model::civil_from_days;

const DAY_MS: i64 = 86_400_000;

/// A text is no timestamp.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a timestamp as RFC 3339 has it, such as 2024-01-01T12:00:00Z")]
pub struct TimestampError {
    /// The beginning of the text.
    pub text: String,
}

/// Milliseconds since 1970 of a timestamp; one without a zone is taken as `naive_offset_s` seconds east of UTC.
///
/// # Errors
/// [`TimestampError`] for any other form, and for days and hours that do not exist. A leap second (`:60`) counts as the
/// second before it.
pub fn parse(text: &str, naive_offset_s: i32) -> Result<i64, TimestampError> {
    read(text.as_bytes(), naive_offset_s).ok_or_else(|| TimestampError { text: text.chars().take(64).collect() })
}

fn read(text: &[u8], naive_offset_s: i32) -> Option<i64> {
    let (fixed, rest) = text.split_at_checked(19)?;
    if fixed[4] != b'-' || fixed[7] != b'-' || fixed[13] != b':' || fixed[16] != b':' {
        return None;
    }
    if !matches!(fixed[10], b'T' | b't' | b' ') {
        return None;
    }
    let year = two(fixed, 0)? * 100 + two(fixed, 2)?;
    let days = days_from_civil(year, two(fixed, 5)?, two(fixed, 8)?)?;
    let of_day_s = time_of_day_s(two(fixed, 11)?, two(fixed, 14)?, two(fixed, 17)?)?;
    let (fraction_ms, zone) = fraction(rest)?;
    let offset_s = zone_offset_s(zone, naive_offset_s)?;
    Some(days * DAY_MS + (of_day_s - offset_s) * 1000 + fraction_ms)
}

/// The number of two digits at a place.
fn two(text: &[u8], at: usize) -> Option<i64> {
    let tens = text.get(at)?.wrapping_sub(b'0');
    let ones = text.get(at + 1)?.wrapping_sub(b'0');
    (tens <= 9 && ones <= 9).then(|| i64::from(tens) * 10 + i64::from(ones))
}

fn time_of_day_s(hour: i64, minute: i64, second: i64) -> Option<i64> {
    (hour <= 23 && minute <= 59 && second <= 60).then(|| hour * 3600 + minute * 60 + second.min(59))
}

/// Milliseconds of the fraction, and what stands after it.
fn fraction(rest: &[u8]) -> Option<(i64, &[u8])> {
    let Some(digits) = rest.strip_prefix(b".") else { return Some((0, rest)) };
    let count = digits.iter().take_while(|c| c.is_ascii_digit()).count();
    if count == 0 {
        return None;
    }
    let digit = |i: usize| if i < count { i64::from(digits[i] - b'0') } else { 0 };
    Some((digit(0) * 100 + digit(1) * 10 + digit(2), &digits[count..]))
}

/// Seconds east of UTC.
fn zone_offset_s(zone: &[u8], naive_offset_s: i32) -> Option<i64> {
    let (sign, digits) = match zone {
        [] => return Some(i64::from(naive_offset_s)),
        [b'Z' | b'z'] => return Some(0),
        [b'+', digits @ ..] => (1, digits),
        [b'-', digits @ ..] => (-1, digits),
        _ => return None,
    };
    let seconds = match digits {
        [_, _, b':', _, _] => 0,
        [_, _, b':', _, _, b':', _, _] => two(digits, 6).filter(|s| *s <= 59)?,
        _ => return None,
    };
    let (hours, minutes) = (two(digits, 0)?, two(digits, 3)?);
    (hours <= 23 && minutes <= 59).then(|| sign * (hours * 3600 + minutes * 60 + seconds))
}

/// Days since 1970 of a date of the Gregorian calendar; none if there is no such date.
///
/// Eras of 400 years that begin in March, after Howard Hinnant's `days_from_civil`.
fn days_from_civil(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// The timestamp in UTC with `Z`, with milliseconds where there are any.
pub fn format(timestamp_ms: i64) -> String {
    let (days, of_day_ms) = (timestamp_ms.div_euclid(DAY_MS), timestamp_ms.rem_euclid(DAY_MS));
    let (year, month, day) = civil_from_days(days);
    let (seconds, ms) = (of_day_ms / 1000, of_day_ms % 1000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let fraction = if ms == 0 { String::new() } else { format!(".{ms:03}") };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOON: i64 = 1_704_110_400_000;

    #[test]
    fn what_isoformat_writes() {
        for (text, expected) in [
            ("2024-01-01T12:00:00Z", NOON),
            ("2024-01-01t12:00:00z", NOON),
            ("2024-01-01 12:00:00+00:00", NOON),
            ("2024-01-01T12:00:00", NOON),
            ("2024-01-01T12:00:00.123456", NOON + 123),
            ("2024-01-01T12:00:00.9999999999999+05:30", NOON + 999 - 19_800_000),
            ("2024-01-01T12:00:00.5-02:00", NOON + 500 + 7_200_000),
            ("2024-01-01T12:00:00+00:00:01", NOON - 1000),
            ("1969-12-31T23:59:59.999Z", -1),
            ("2016-12-31T23:59:60Z", 1_483_228_799_000),
            ("2024-02-29T00:00:00Z", 1_709_164_800_000),
        ] {
            assert_eq!(parse(text, 0), Ok(expected), "{text}");
        }
        assert_eq!(parse("2024-01-01T12:00:00", 7200), Ok(NOON - 7_200_000));
        assert_eq!(parse("2024-01-01T12:00:00Z", 7200), Ok(NOON), "a zone of its own wins");
    }

    #[test]
    fn what_is_no_timestamp() {
        for text in [
            "",
            "now",
            "1704110400",
            "2024-01-01",
            "2024-01-01T12:00",
            "2024-01-01T12:00:00.",
            "2024-01-01T12:00:00.Z",
            "2024-13-01T12:00:00Z",
            "2023-02-29T12:00:00Z",
            "1900-02-29T00:00:00Z",
            "2024-00-01T12:00:00Z",
            "2024-01-00T12:00:00Z",
            "2024-04-31T12:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T12:60:00Z",
            "2024-01-01T12:00:61Z",
            "2024-01-01T12:00:00+0530",
            "2024-01-01T12:00:00+24:00",
            "2024-01-01T12:00:00ZZ",
            "2024-01-01T12:00:00+05:60",
            "2024-01-01_12:00:00Z",
            "2024/01/01T12:00:00Z",
            "２024-01-01T12:00:00Z",
            " 2024-01-01T12:00:00Z",
            "2024-01-01T12:00:00 Z",
        ] {
            assert_eq!(parse(text, 0).ok(), None, "{text}");
        }
        let error = parse("yesterday", 0).unwrap_err().to_string();
        assert!(error.contains("\"yesterday\"") && error.contains("RFC 3339"), "{error}");
    }

    proptest! {
        #[test]
        fn agrees_with_jiff(ms in -62_167_132_800_000_i64..253_402_207_200_000, offset_minutes in -1439_i64..1440) {
            let stamp = jiff::Timestamp::from_millisecond(ms).unwrap();
            prop_assert_eq!(parse(&stamp.to_string(), 0), Ok(ms));
            prop_assert_eq!(format(ms).parse::<jiff::Timestamp>().unwrap(), stamp);
            let offset = jiff::tz::Offset::from_seconds(i32::try_from(offset_minutes * 60).unwrap()).unwrap();
            let local = offset.to_datetime(stamp);
            if (0..=9999).contains(&local.year()) {
                prop_assert_eq!(parse(&local.to_string(), offset.seconds()), Ok(ms));
                let sign = if offset_minutes < 0 { '-' } else { '+' };
                let (h, m) = (offset_minutes.abs() / 60, offset_minutes.abs() % 60);
                prop_assert_eq!(parse(&format!("{local}{sign}{h:02}:{m:02}"), 0), Ok(ms));
            }
        }

        /// Where jiff knows the form too, both agree on what is a timestamp and what is none.
        #[test]
        fn agrees_with_jiff_on_what_exists(y in 0..10_000, mo in 0..14, d in 0..33, h in 0..25, mi in 0..61, s in 0..60) {
            let text = format!("{y:04}-{mo:02}-{d:02}T{h:02}:{mi:02}:{s:02}Z");
            let jiff = text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond);
            prop_assert_eq!(parse(&text, 0).ok(), jiff);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9T:.+Z -]{0,30}|\\PC{0,24}") {
            let _ = parse(&text, 0);
        }

        #[test]
        fn any_time_is_written(ms in any::<i64>()) {
            prop_assert!(format(ms).ends_with('Z'));
        }
    }
}
