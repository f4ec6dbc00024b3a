//! Texts and characters in quotes as Go's `strconv.Quote` writes them, which Prometheus's messages and canonical
//! expressions use, and numbers as Go prints them.

use std::fmt::{self, Write};

use model::Histogram;

/// A text in double quotes; what cannot be printed is escaped. Reading it as a PromQL string gives the text back.
pub(crate) struct Quoted<'a>(pub(crate) &'a str);

/// A character in single quotes.
pub(crate) struct QuotedChar(pub(crate) char);

/// A character by number, as Go's `%#U`: `U+0071 'q'`.
pub(crate) struct CodePoint(pub(crate) char);

/// A number as Go's `%v` and `%g`: the shortest digits that read back as the same number, with an exponent below 1e-4
/// and from 1e6 on.
pub(crate) struct Number(pub(crate) f64);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            write_escaped(f, c, '"')?;
        }
        f.write_char('"')
    }
}

impl fmt::Display for QuotedChar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('\'')?;
        write_escaped(f, self.0, '\'')?;
        f.write_char('\'')
    }
}

impl fmt::Display for CodePoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "U+{:04X}", u32::from(self.0))?;
        if is_printable(self.0) { write!(f, " '{}'", self.0) } else { Ok(()) }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.0;
        if !value.is_finite() {
            return write!(f, "{}", plain(value));
        }
        let text = format!("{value:e}");
        let exponent = text.split_once('e').and_then(|(digits, e)| Some((digits, e.parse::<i32>().ok()?)));
        match exponent {
            Some((digits, e)) if value != 0.0 && !(-4..6).contains(&e) => {
                write!(f, "{digits}e{}{:02}", if e < 0 { '-' } else { '+' }, e.abs())
            }
            _ => write!(f, "{value}"),
        }
    }
}

/// A histogram as labels show it: its count, its sum and the buckets that are not empty.
pub(crate) struct ShownHistogram<'h>(pub(crate) &'h Histogram);

impl fmt::Display for ShownHistogram<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{count:{}, sum:{}", Number(self.0.count), Number(self.0.sum))?;
        for bucket in self.0.all_buckets().iter().filter(|bucket| bucket.count != 0.0) {
            let open = if bucket.has_lower { '[' } else { '(' };
            let close = if bucket.has_upper { ']' } else { ')' };
            let (lower, upper) = (Number(bucket.lower), Number(bucket.upper));
            write!(f, ", {open}{lower},{upper}{close}:{}", Number(bucket.count))?;
        }
        f.write_char('}')
    }
}

/// A number without exponent, as canonical expressions write it.
pub(crate) fn plain(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value == f64::INFINITY {
        "+Inf".to_owned()
    } else if value == f64::NEG_INFINITY {
        "-Inf".to_owned()
    } else {
        format!("{value}")
    }
}

fn write_escaped(f: &mut fmt::Formatter<'_>, c: char, quote: char) -> fmt::Result {
    match c {
        '\\' => f.write_str("\\\\"),
        c if c == quote => write!(f, "\\{c}"),
        '\u{7}' => f.write_str("\\a"),
        '\u{8}' => f.write_str("\\b"),
        '\u{c}' => f.write_str("\\f"),
        '\n' => f.write_str("\\n"),
        '\r' => f.write_str("\\r"),
        '\t' => f.write_str("\\t"),
        '\u{b}' => f.write_str("\\v"),
        c if is_printable(c) => f.write_char(c),
        c => match u32::from(c) {
            code @ 0..0x20 | code @ 0x7f => write!(f, "\\x{code:02x}"),
            code @ 0x20..0x1_0000 => write!(f, "\\u{code:04x}"),
            code => write!(f, "\\U{code:08x}"),
        },
    }
}

/// True for letters, marks, numbers, punctuation, symbols and the plain space.
fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_graphic() || c == ' ';
    }
    // The standard library knows what is printable, but says so only by escaping; a mark is printed as it is only
    // behind another character.
    let mut text = String::from("a");
    text.push(c);
    !text.escape_debug().skip(1).any(|escaped| escaped == '\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_as_go_does() {
        assert_eq!(Quoted("a\"b\\\n\t\u{7}\u{1}\u{7f}é'").to_string(), r#""a\"b\\\n\t\a\x01\x7fé'""#);
        assert_eq!(
            Quoted("\u{a0}\u{301}\u{200b}\u{10ffff}\u{fffd}").to_string(),
            "\"\\u00a0\u{301}\\u200b\\U0010ffff\u{fffd}\""
        );
        assert_eq!(QuotedChar('\'').to_string(), r"'\''");
        assert_eq!(QuotedChar('"').to_string(), "'\"'");
        assert_eq!(CodePoint('q').to_string(), "U+0071 'q'");
        assert_eq!(CodePoint('\n').to_string(), "U+000A");
    }

    #[test]
    fn numbers_are_written_as_go_does() {
        let all = [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-2.5, "-2.5"),
            (100_000.0, "100000"),
            (1e6, "1e+06"),
            (1_234_567.5, "1.2345675e+06"),
            (1e21, "1e+21"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (f64::NAN, "NaN"),
        ];
        for (value, text) in all {
            assert_eq!(Number(value).to_string(), text);
        }
        assert_eq!(Number(f64::INFINITY).to_string(), "+Inf");
        assert_eq!(Number(-1.5e300).to_string(), "-1.5e+300");
        assert_eq!(plain(1e22), "10000000000000000000000");
        assert_eq!(plain(f64::NAN), "NaN");
    }
}
