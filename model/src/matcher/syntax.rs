//! From the syntax of RE2, which PromQL means, to that of the `regex` crate.
//!
//! Where the two differ, RE2 wins (<https://github.com/google/re2/wiki/Syntax>, Go's `regexp/syntax`): a brace that
//! begins no repetition is a brace; `\d`, `\w`, `\s`, `\b` know ASCII only; `\Q…\E` quotes; a class has no nested classes
//! and no set operations; `\<` is `<`.

/// Classes that know ASCII only: the letter, what stands for it alone, what within a class.
const CLASSES: [(char, &str, &str); 6] = [
    ('d', "[0-9]", "0-9"),
    ('D', "[^0-9]", "[^0-9]"),
    ('w', "[0-9A-Za-z_]", "0-9A-Za-z_"),
    ('W', "[^0-9A-Za-z_]", "[^0-9A-Za-z_]"),
    ('s', "[\\t\\n\\f\\r ]", "\\t\\n\\f\\r "),
    ('S', "[^\\t\\n\\f\\r ]", "[^\\t\\n\\f\\r ]"),
];

/// Writes the expression in the syntax of the `regex` crate. What is wrong stays wrong.
pub(super) fn translate(expression: &str) -> String {
    let mut out = String::with_capacity(expression.len() + 16);
    let mut rest = expression;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        rest = match c {
            '\\' => escape(after, &mut out, false),
            '[' => class(after, &mut out),
            '{' => match repetition(rest) {
                Some(length) => {
                    out.push_str(&rest[..length]);
                    &rest[length..]
                }
                None => {
                    out.push_str("\\{");
                    after
                }
            },
            '}' => {
                out.push_str("\\}");
                after
            }
            c => {
                out.push(c);
                after
            }
        };
    }
    out
}

/// Length of the `{n}`, `{n,}` or `{n,m}` that the text begins with.
fn repetition(text: &str) -> Option<usize> {
    let inner = &text[1..text.find('}')?];
    let (low, high) = inner.split_once(',').unwrap_or((inner, ""));
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    (!low.is_empty() && digits(low) && digits(high)).then_some(inner.len() + 2)
}

/// What stands behind a backslash; gives back the rest.
fn escape<'a>(text: &'a str, out: &mut String, in_class: bool) -> &'a str {
    let Some(c) = text.chars().next() else {
        out.push('\\');
        return text;
    };
    let after = &text[c.len_utf8()..];
    if let Some((_, alone, within)) = CLASSES.iter().find(|(letter, ..)| *letter == c) {
        out.push_str(if in_class { within } else { alone });
        return after;
    }
    match c {
        'Q' if !in_class => {
            let (quoted, rest) = after.split_once("\\E").unwrap_or((after, ""));
            out.push_str(&regex::escape(quoted));
            return rest;
        }
        'b' if !in_class => out.push_str("(?-u:\\b)"),
        'p' | 'P' | 'x' => {
            // The braces behind belong to the escape.
            let length = match after.strip_prefix('{').and_then(|inner| inner.find('}')) {
                Some(end) => end + 2,
                None => 0,
            };
            out.push('\\');
            out.push(c);
            out.push_str(&after[..length]);
            return &after[length..];
        }
        '<' | '>' => out.push(c),
        c => out.extend(['\\', c]),
    }
    after
}

/// A class, whose bracket is already taken; gives back the rest.
fn class<'a>(text: &'a str, out: &mut String) -> &'a str {
    out.push('[');
    let mut rest = text;
    if let Some(negated) = rest.strip_prefix('^') {
        out.push('^');
        rest = negated;
    }
    // A bracket right at the start is one of the class.
    if let Some(after) = rest.strip_prefix(']') {
        out.push_str("\\]");
        rest = after;
    }
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        rest = match c {
            ']' => {
                out.push(']');
                return after;
            }
            '\\' => escape(after, out, true),
            '[' => match after.strip_prefix(':').and_then(|inner| inner.find(":]")) {
                // `[:alpha:]`, the colons and the brackets included.
                Some(end) => {
                    out.push_str(&rest[..end + 4]);
                    &rest[end + 4..]
                }
                None => {
                    out.push_str("\\[");
                    after
                }
            },
            '&' | '~' => {
                out.extend(['\\', c]);
                after
            }
            '-' if out.ends_with('-') || after.starts_with('-') => {
                out.push_str("\\-");
                after
            }
            c => {
                out.push(c);
                after
            }
        };
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(expression: &str, text: &str) -> bool {
        let translated = translate(expression);
        let regex = regex::Regex::new(&format!("^(?s:{translated})$"));
        regex.unwrap_or_else(|e| panic!("{expression:?} became {translated:?}: {e}")).is_match(text)
    }

    #[test]
    fn where_the_syntaxes_differ() {
        for (expression, text, expected) in [
            ("/api/{id}/.*", "/api/{id}/x", true),
            ("a{2}", "aa", true),
            ("a{2,}", "aaa", true),
            ("a{1,2}", "aaa", false),
            ("a{,2}", "a{,2}", true),
            ("a{x", "a{x", true),
            ("}", "}", true),
            (r"\d+", "42", true),
            (r"\d", "٣", false),
            (r"\w", "é", false),
            (r"\W", "é", true),
            (r"\s", "\u{A0}", false),
            (r"[\d.]+", "1.5", true),
            (r"[^\d]", "٣", true),
            (r"[\D]", "x", true),
            (r"\Qa.b{\E.", "a.b{x", true),
            (r"\Qa.b", "a.b", true),
            (r"a\b.*", "a b", true),
            ("[[:alpha:]]+", "ab", true),
            ("[a[b]", "[", true),
            ("[]a]", "]", true),
            ("[^]a]", "]", false),
            ("[a&&b]", "&", true),
            ("[a~~b]", "~", true),
            ("[+--]", "-", true),
            (r"\<a\>", "<a>", true),
            (r"\p{Greek}", "α", true),
            (r"\pL{2}", "ab", true),
            (r"\x{41}{2}", "AA", true),
            (r"\x41", "A", true),
            (r"\{\}", "{}", true),
        ] {
            assert_eq!(
                matches(expression, text),
                expected,
                "{expression:?} on {text:?}, as {:?}",
                translate(expression)
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_is_translated(text in "[a{}\\[\\]^\\\\QEdwpx0-9,:&~|-]{0,20}") {
            let _ = translate(&text);
        }

        #[test]
        fn plain_texts_stay(text in "[a-z0-9|().*+?]{0,20}") {
            prop_assert_eq!(translate(&text), text);
        }
    }
}
