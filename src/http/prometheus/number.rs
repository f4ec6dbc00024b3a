//! Floats and timestamps as Prometheus writes them, that is as Go does.

use std::io::Write;

/// A value as text: shortest digits that read back the same, never an exponent (`strconv`'s `'f'`, -1).
pub(crate) fn push_plain(out: &mut Vec<u8>, value: f64) {
    if value.is_nan() {
        out.extend_from_slice(b"NaN");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
    } else {
        write_infallible(out, format_args!("{value}"));
    }
}

/// A sample's value as text: an exponent only below 1e-6 and from 1e21 (`jsonutil.MarshalFloat`).
pub(crate) fn push_sample(out: &mut Vec<u8>, value: f64) {
    // Most values are small whole numbers; -0 is not the whole number 0.
    if value.fract() == 0.0 && value.abs() < 1e15 && (value != 0.0 || value.is_sign_positive()) {
        write_infallible(out, format_args!("{}", value as i64));
        return;
    }
    let size = value.abs();
    if size != 0.0 && size.is_finite() && !(1e-6..1e21).contains(&size) {
        push_exponent(out, value);
    } else {
        push_plain(out, value);
    }
}

/// `1.5e-07`: Go writes a sign and at least two digits.
fn push_exponent(out: &mut Vec<u8>, value: f64) {
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    write_infallible(out, format_args!("{mantissa}e{sign}{digits:0>2}"));
}

/// Milliseconds as seconds: `4`, `1.234`, `-1.500`.
pub(crate) fn push_timestamp(out: &mut Vec<u8>, time_ms: i64) {
    let (sign, size) = (if time_ms < 0 { "-" } else { "" }, time_ms.unsigned_abs());
    match size % 1000 {
        0 => write_infallible(out, format_args!("{sign}{}", size / 1000)),
        fraction => write_infallible(out, format_args!("{sign}{}.{fraction:03}", size / 1000)),
    }
}

fn write_infallible(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let written = out.write_fmt(text);
    debug_assert!(written.is_ok(), "a vector takes all bytes");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(push: fn(&mut Vec<u8>, f64), value: f64) -> String {
        let mut out = Vec::new();
        push(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    /// The right columns are what Prometheus 3.5.3 answered for a scalar and for `vector(…)`.
    #[test]
    fn floats_as_go_writes_them() {
        for (value, plain, sample) in [
            (0.0, "0", "0"),
            (-0.0, "-0", "-0"),
            (1.0, "1", "1"),
            (-42.0, "-42", "-42"),
            (0.1 + 0.2, "0.30000000000000004", "0.30000000000000004"),
            (123_456_789.0, "123456789", "123456789"),
            (1e15, "1000000000000000", "1000000000000000"),
            (1e20, "100000000000000000000", "100000000000000000000"),
            (9.99e20, "999000000000000000000", "999000000000000000000"),
            (1e21, "1000000000000000000000", "1e+21"),
            (-1.5e21, "-1500000000000000000000", "-1.5e+21"),
            (1e-6, "0.000001", "0.000001"),
            (1e-7, "0.0000001", "1e-07"),
            (1.25e-10, "0.000000000125", "1.25e-10"),
            (f64::NAN, "NaN", "NaN"),
            (f64::INFINITY, "+Inf", "+Inf"),
            (f64::NEG_INFINITY, "-Inf", "-Inf"),
        ] {
            assert_eq!(text(push_plain, value), plain);
            assert_eq!(text(push_sample, value), sample);
        }
        assert_eq!(text(push_sample, f64::MAX), "1.7976931348623157e+308");
        assert_eq!(text(push_sample, 5e-324), "5e-324");
        assert_eq!(text(push_plain, 5e-324).len(), 326);
    }

    #[test]
    fn timestamps() {
        for (ms, expected) in [
            (0, "0"),
            (4_000, "4"),
            (1_010, "1.010"),
            (-1_500, "-1.500"),
            (-1, "-0.001"),
            (i64::MIN, "-9223372036854775.808"),
        ] {
            let mut out = Vec::new();
            push_timestamp(&mut out, ms);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            for written in [text(push_plain, value), text(push_sample, value)] {
                let read: f64 = written.parse().unwrap();
                prop_assert!(read.to_bits() == bits || (read.is_nan() && value.is_nan()), "{} {}", value, written);
            }
        }
    }
}
