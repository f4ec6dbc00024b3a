//! Numbers and durations: which bytes belong to one, and what they are worth.

use crate::lexer::token::{Kind, LexError};
use crate::quote::Quoted;

/// Milliseconds of the largest duration: what fits 64 bits of nanoseconds.
const DURATION_MAX_MS: u64 = i64::MAX as u64 / 1_000_000;

/// Units from the largest to the smallest, in milliseconds.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// The number or duration at `at`, where a digit stands or a point before a digit.
pub(super) fn scan(text: &str, at: usize) -> (Kind, usize) {
    let mut scanner = Scanner { bytes: text.as_bytes(), at };
    let kind = if scanner.number() {
        Kind::Number
    } else if scanner.duration() {
        Kind::Duration
    } else {
        Kind::Error(LexError::Number)
    };
    // The scanner goes byte by byte; an error shows whole characters.
    let end = (scanner.at..=text.len()).find(|end| text.is_char_boundary(*end)).unwrap_or(text.len());
    (kind, end)
}

/// Walks over bytes as Prometheus's lexer does, so that the part that an error shows is the same.
struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn peek_is(&self, test: impl Fn(u8) -> bool) -> bool {
        self.peek().is_some_and(test)
    }

    fn accept(&mut self, test: impl Fn(u8) -> bool) -> bool {
        let hit = self.peek_is(test);
        self.at += usize::from(hit);
        hit
    }

    fn accept_all(&mut self, test: impl Fn(u8) -> bool) {
        while self.accept(&test) {}
    }

    fn is_at_word(&self) -> bool {
        self.peek_is(|b| b.is_ascii_alphanumeric() || b == b'_')
    }

    fn number(&mut self) -> bool {
        let is_hex = self.accept(|b| b == b'0') && self.accept(|b| matches!(b, b'x' | b'X'));
        if is_hex {
            self.accept(|b| b == b'_');
        }
        let is_digit = |b: u8| if is_hex { b.is_ascii_hexdigit() } else { b.is_ascii_digit() };
        let is_exponent = |b: u8| matches!(b, b'e' | b'E') && !is_hex;
        self.accept(|b| b == b'.');
        let (mut has_point, mut has_exponent) = (false, false);
        loop {
            if self.accept(|b| b == b'.') {
                if has_point || is_hex || self.accept(|b| matches!(b, b'_' | b'.')) {
                    return false;
                }
                has_point = true;
            } else if self.accept(is_exponent) {
                if has_exponent {
                    return false;
                }
                has_exponent = true;
                self.accept(|b| matches!(b, b'+' | b'-'));
                if self.ends_badly() {
                    return false;
                }
            } else if self.accept(|b| b == b'_') {
                if self.ends_badly() {
                    return false;
                }
            } else if self.peek_is(is_digit) {
                self.accept_all(is_digit);
            } else {
                return !self.is_at_word();
            }
        }
    }

    /// True if what must not follow an exponent's sign or an underscore follows.
    fn ends_badly(&mut self) -> bool {
        self.accept(|b| matches!(b, b'.' | b'_' | b'e' | b'E')) || self.peek().is_none()
    }

    /// What makes the digits read so far a duration.
    fn duration(&mut self) -> bool {
        if !self.accept(|b| b"smhdwy".contains(&b)) {
            return false;
        }
        self.accept(|b| b == b's');
        while self.accept(|b| b.is_ascii_digit()) {
            self.accept_all(|b| b.is_ascii_digit());
            if !self.accept(|b| b"smhdw".contains(&b)) {
                return false;
            }
            self.accept(|b| b == b's');
        }
        if self.is_at_word() {
            self.at += 1;
            return false;
        }
        true
    }
}

/// The value of a number token: decimal, hexadecimal, octal with a leading zero, `Inf` or `NaN`.
///
/// # Errors
/// The message for the person who wrote it.
pub(crate) fn number(word: &str) -> Result<f64, String> {
    let refuse = |why: &str| format!("error parsing number: strconv.ParseFloat: parsing {}: {why}", Quoted(word));
    if !has_good_underscores(word) {
        return Err(refuse("invalid syntax"));
    }
    let digits: String = word.chars().filter(|c| *c != '_').collect();
    if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        if hex.is_empty() {
            return Err(refuse("invalid syntax"));
        }
        return i64::from_str_radix(hex, 16).map(|n| n as f64).map_err(|_| refuse("invalid syntax"));
    }
    let is_octal = digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|b| matches!(b, b'0'..=b'7'));
    if is_octal && let Ok(n) = i64::from_str_radix(&digits, 8) {
        return Ok(n as f64);
    }
    match digits.parse::<f64>() {
        Ok(value) if value.is_infinite() && digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') => {
            Err(refuse("value out of range"))
        }
        Ok(value) => Ok(value),
        Err(_) => Err(refuse("invalid syntax")),
    }
}

/// True if every underscore stands between two digits, or between `0x` and a digit.
fn has_good_underscores(word: &str) -> bool {
    let bytes = word.as_bytes();
    bytes.iter().enumerate().filter(|(_, b)| **b == b'_').all(|(i, _)| {
        let before = i.checked_sub(1).and_then(|i| bytes.get(i));
        let is_digit = |b: Option<&u8>| b.is_some_and(u8::is_ascii_hexdigit);
        (is_digit(before) || matches!(before, Some(b'x' | b'X'))) && is_digit(bytes.get(i + 1))
    })
}

/// Why a text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DurationError {
    /// Not numbers with units, or units that do not go from the largest to the smallest.
    #[error("not a valid duration string: {}", Quoted(.0))]
    Form(String),
    /// No such unit.
    #[error("unknown unit {} in duration {}", Quoted(.unit), Quoted(.text))]
    Unit {
        /// The unit.
        unit: String,
        /// The whole text.
        text: String,
    },
    /// More than about 292 years.
    #[error("duration out of range")]
    Range,
}

/// Milliseconds of a duration such as `1h30m`.
///
/// # Errors
/// [`DurationError`]
pub(crate) fn duration_ms(text: &str) -> Result<i64, DurationError> {
    let form = || DurationError::Form(text.to_owned());
    let (mut rest, mut units, mut total_ms) = (text, UNITS.as_slice(), 0_u64);
    while !rest.is_empty() {
        let (digits, behind) = rest.split_at(rest.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(rest.len()));
        let (unit, behind) = behind.split_at(behind.bytes().position(|b| b.is_ascii_digit()).unwrap_or(behind.len()));
        let count: u64 = digits.parse().map_err(|_| form())?;
        if unit.is_empty() {
            return Err(form());
        }
        if !UNITS.iter().any(|(name, _)| *name == unit) {
            return Err(DurationError::Unit { unit: unit.to_owned(), text: text.to_owned() });
        }
        let position = units.iter().position(|(name, _)| *name == unit).ok_or_else(form)?;
        let (_, unit_ms) = units[position];
        units = &units[position + 1..];
        total_ms = count
            .checked_mul(unit_ms)
            .and_then(|ms| ms.checked_add(total_ms))
            .filter(|ms| *ms <= DURATION_MAX_MS)
            .ok_or(DurationError::Range)?;
        rest = behind;
    }
    i64::try_from(total_ms).map_err(|_| DurationError::Range)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_of_every_form() {
        let all =
            [("1", 1.0), ("1_000.5", 1000.5), ("0x_1F", 31.0), ("010", 8.0), ("08", 8.0), (".5", 0.5), ("5.", 5.0)];
        for (word, value) in all {
            assert_eq!(number(word), Ok(value), "{word}");
        }
        assert_eq!(number("iNf"), Ok(f64::INFINITY));
        assert!(number("NAN").is_ok_and(f64::is_nan));
        assert_eq!(number("9223372036854775808"), Ok(9_223_372_036_854_775_808.0));
        assert!(number("1e400").is_err_and(|e| e.ends_with("parsing \"1e400\": value out of range")));
        assert!(number("1_").is_err_and(|e| e.ends_with("parsing \"1_\": invalid syntax")));
        assert!(number("0x").is_err_and(|e| e.ends_with("parsing \"0x\": invalid syntax")));
    }

    #[test]
    fn durations_go_from_large_units_to_small_ones() {
        assert_eq!(duration_ms("1y2w3d4h5m6s7ms"), Ok(((((365 + 17) * 24 + 4) * 60 + 5) * 60 + 6) * 1000 + 7));
        assert_eq!(duration_ms("292y"), Ok(292 * 365 * 86_400_000));
        assert_eq!(duration_ms("293y"), Err(DurationError::Range));
        assert_eq!(duration_ms("99999999999999999999s"), Err(DurationError::Form("99999999999999999999s".into())));
        assert_eq!(duration_ms("5m5m"), Err(DurationError::Form("5m5m".into())));
        assert_eq!(duration_ms("5m1h"), Err(DurationError::Form("5m1h".into())));
        assert_eq!(duration_ms("1hs").map_err(|e| e.to_string()), Err(r#"unknown unit "hs" in duration "1hs""#.into()));
    }

    proptest! {
        #[test]
        fn scanning_any_text_ends_on_a_character(text in "[0-9][0-9a-fxXsmhdwyeE_.+é]{0,12}") {
            let (_, end) = scan(&text, 0);
            prop_assert!(end > 0 && text.is_char_boundary(end));
        }
    }
}
