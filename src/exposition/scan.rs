//! A cursor over text that the parsers of lines and of labels share.

use std::borrow::Cow;

/// A place in a text; all steps are over whole characters.
#[derive(Debug, Clone)]
pub(super) struct Scan<'a> {
    rest: &'a str,
}

impl<'a> Scan<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Scan { rest: text }
    }

    pub(super) fn rest(&self) -> &'a str {
        self.rest
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// Skips blanks and tabs.
    pub(super) fn blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    /// Takes the text if it stands here.
    pub(super) fn eat(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Takes so many bytes; none if that is not between two characters.
    pub(super) fn take(&mut self, bytes: usize) -> Option<&'a str> {
        let (taken, rest) = self.rest.split_at_checked(bytes)?;
        self.rest = rest;
        Some(taken)
    }

    /// Takes everything up to the first byte for which `stop` is true, which must be ASCII.
    pub(super) fn until(&mut self, stop: impl Fn(u8) -> bool) -> &'a str {
        let end = self.rest.bytes().position(|b| b.is_ascii() && stop(b)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
        self.rest = rest;
        taken
    }

    /// Takes a token: everything up to a blank or the end.
    pub(super) fn token(&mut self) -> &'a str {
        self.until(|b| b == b' ' || b == b'\t')
    }

    /// Takes a text in double quotes, which stands here, and gives it unescaped; none if it does not end.
    pub(super) fn quoted(&mut self) -> Option<Cow<'a, str>> {
        let text = self.quoted_raw()?;
        let inner = text.get(1..text.len() - 1)?;
        Some(unescape(inner, true))
    }

    /// As [`Scan::quoted`], but with the quotes and the escapes.
    pub(super) fn quoted_raw(&mut self) -> Option<&'a str> {
        let mut escaped = false;
        let end = self.rest.bytes().skip(1).position(|b| {
            let closes = b == b'"' && !escaped;
            escaped = b == b'\\' && !escaped;
            closes
        })?;
        let (taken, rest) = self.rest.split_at_checked(end + 2)?;
        self.rest = rest;
        Some(taken)
    }
}

/// Undoes `\\`, `\n` and, in quotes, `\"`; other escapes stay as they are.
pub(super) fn unescape(text: &str, quotes: bool) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('\\') => out.push('\\'),
            Some('"') if quotes => out.push('"'),
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    Cow::Owned(out)
}

/// `[a-zA-Z_:][a-zA-Z0-9_:]*`
pub(super) fn is_plain_metric_name(name: &str) -> bool {
    is_plain(name, |b| b == b':')
}

/// `[a-zA-Z_][a-zA-Z0-9_]*`
pub(super) fn is_plain_label_name(name: &str) -> bool {
    is_plain(name, |_| false)
}

fn is_plain(name: &str, also: impl Fn(u8) -> bool) -> bool {
    let letter = |b: u8| b.is_ascii_alphabetic() || b == b'_' || also(b);
    let mut bytes = name.bytes();
    bytes.next().is_some_and(letter) && bytes.all(|b| letter(b) || b.is_ascii_digit())
}
