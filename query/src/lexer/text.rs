//! Strings in three kinds of quotes with Go's escapes.

use crate::lexer::token::{Kind, LexError};

/// The string whose opening quote stands at `at`.
pub(super) fn scan(text: &str, at: usize, quote: char) -> (Kind, usize) {
    match end_of_string(text, at + 1, quote) {
        Ok(end) => (Kind::String, end),
        Err(error) => (Kind::Error(error), at),
    }
}

fn end_of_string(text: &str, start: usize, quote: char) -> Result<usize, LexError> {
    let bytes = text.as_bytes();
    let is_raw = quote == '`';
    let mut at = start;
    loop {
        match bytes.get(at) {
            None if is_raw => return Err(LexError::UnterminatedRawString),
            None => return Err(LexError::UnterminatedString),
            Some(b) if char::from(*b) == quote => return Ok(at + 1),
            Some(b'\n') if !is_raw => return Err(LexError::UnterminatedString),
            Some(b'\\') if !is_raw => at = escape(text, at + 1, quote)?.1,
            // What a decoder puts where bytes were no UTF-8.
            Some(0xef) if bytes[at..].starts_with("\u{fffd}".as_bytes()) => return Err(LexError::InvalidUtf8),
            Some(_) => at += 1,
        }
    }
}

/// What an escape sequence stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escaped {
    Char(char),
    Byte(u8),
}

/// The escape sequence whose backslash stands before `at`, and where it ends.
fn escape(text: &str, at: usize, quote: char) -> Result<(Escaped, usize), LexError> {
    let c = text[at..].chars().next().ok_or(LexError::EscapeEnd)?;
    let simple = |c| Ok((Escaped::Char(c), at + 1));
    match c {
        'a' => simple('\u{7}'),
        'b' => simple('\u{8}'),
        'f' => simple('\u{c}'),
        'n' => simple('\n'),
        'r' => simple('\r'),
        't' => simple('\t'),
        'v' => simple('\u{b}'),
        '\\' => simple('\\'),
        c if c == quote => simple(c),
        '0'..='7' => byte(digits(text, at, 3, 8)?),
        'x' => byte(digits(text, at + 1, 2, 16)?),
        'u' => code_point(digits(text, at + 1, 4, 16)?),
        'U' => code_point(digits(text, at + 1, 8, 16)?),
        c => Err(LexError::UnknownEscape(c)),
    }
}

fn digits(text: &str, at: usize, count: usize, radix: u32) -> Result<(u32, usize), LexError> {
    let mut value = 0_u32;
    let mut chars = text[at..].chars();
    for _ in 0..count {
        let c = chars.next().ok_or(LexError::EscapeEnd)?;
        let digit = c.to_digit(radix).ok_or(LexError::EscapeCharacter(c))?;
        // Eight hexadecimal digits fill 32 bits and no more.
        value = value.wrapping_mul(radix).wrapping_add(digit);
    }
    Ok((value, at + count))
}

fn byte((value, end): (u32, usize)) -> Result<(Escaped, usize), LexError> {
    u8::try_from(value).map(|b| (Escaped::Byte(b), end)).map_err(|_| LexError::EscapeCodePoint)
}

fn code_point((value, end): (u32, usize)) -> Result<(Escaped, usize), LexError> {
    char::from_u32(value).map(|c| (Escaped::Char(c), end)).ok_or(LexError::EscapeCodePoint)
}

/// The text of a string token. None if its escapes make up no UTF-8.
pub(crate) fn unquote(token: &str) -> Option<String> {
    let quote = token.chars().next()?;
    let inner = token.get(1..token.len().checked_sub(1)?)?;
    if quote == '`' || !inner.contains('\\') {
        return Some(inner.to_owned());
    }
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(i) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..i]);
        let (escaped, end) = escape(rest, i + 1, quote).ok()?;
        match escaped {
            Escaped::Byte(b) => bytes.push(b),
            Escaped::Char(c) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
        rest = &rest[end..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quote::Quoted;
    use proptest::prelude::*;

    #[test]
    fn escapes_are_gos() {
        assert_eq!(unquote(r#""\u00e9\t\x41\101é\\\"""#).as_deref(), Some("é\tAAé\\\""));
        assert_eq!(unquote(r"'\U0001F600\''").as_deref(), Some("😀'"));
        assert_eq!(unquote(r#""\xe2\x82\xac""#).as_deref(), Some("€"));
        assert_eq!(unquote(r#""\xff""#), None);
        assert_eq!(unquote(r"`a\n`").as_deref(), Some(r"a\n"));
    }

    #[test]
    fn bad_strings_say_why() {
        let all = [
            (r#""a"#, LexError::UnterminatedString),
            ("'a\nb'", LexError::UnterminatedString),
            ("`a", LexError::UnterminatedRawString),
            (r#""\"#, LexError::EscapeEnd),
            (r#""\u12"#, LexError::EscapeEnd),
            (r#""\q""#, LexError::UnknownEscape('q')),
            (r#""\'""#, LexError::UnknownEscape('\'')),
            (r#""\xZ""#, LexError::EscapeCharacter('Z')),
            (r#""\8""#, LexError::UnknownEscape('8')),
            (r#""\400""#, LexError::EscapeCodePoint),
            (r#""\ud800""#, LexError::EscapeCodePoint),
            (r#""\U00110000""#, LexError::EscapeCodePoint),
            ("\"\u{fffd}\"", LexError::InvalidUtf8),
            ("`\u{fffd}`", LexError::InvalidUtf8),
        ];
        for (text, error) in all {
            assert_eq!(scan(text, 0, text.chars().next().unwrap()).0, Kind::Error(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn quoted_text_reads_back(text in any::<String>().prop_filter("refused", |t| !t.contains('\u{fffd}'))) {
            let quoted = Quoted(&text).to_string();
            prop_assert_eq!(scan(&quoted, 0, '"'), (Kind::String, quoted.len()));
            prop_assert_eq!(unquote(&quoted), Some(text));
        }

        #[test]
        fn what_is_scanned_is_unquoted_without_panic(text in r#"["'`][a-z"'`\\0-9xuU\n]{0,10}"#) {
            if let (Kind::String, end) = scan(&text, 0, text.chars().next().unwrap()) {
                unquote(&text[..end]);
            }
        }
    }
}
