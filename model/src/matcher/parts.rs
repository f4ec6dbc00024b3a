//! The texts that a value must contain for an expression to match it: what an index of parts of values can answer,
//! before the expression itself is tried on the values that are left.
//!
//! Texts are compared folded ([`fold_case`]), so that expressions without regard to case have parts too.

use std::borrow::Cow;

use regex_syntax::hir::{Class, Hir, HirKind};

/// Most alternatives of a part: what has more is hardly rare, and costs a look-up each.
const ALTERNATIVES_MAX: usize = 256;
/// Most alternatives that come of what follows one another, as in `(a|b)(c|d)`.
const PRODUCT_MAX: usize = 64;
/// Most characters, folded, of a class whose characters are alternatives; digits are more and end a part.
const CLASS_CHARS_MAX: usize = 4;
/// Most bytes of the alternatives of a part that is put together.
const PART_BYTES_MAX: usize = 64 << 10;

/// A text with the differences of case taken away that matter for ASCII letters: these become small, and so do the
/// long s (U+017F) and the Kelvin sign (U+212A), which are other cases of `s` and `k`. All else stays.
pub fn fold_case(text: &str) -> Cow<'_, str> {
    if text.is_ascii() && !text.bytes().any(|b| b.is_ascii_uppercase()) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(fold_char).collect())
}

fn fold_char(c: char) -> char {
    match c {
        '\u{17F}' => 's',
        '\u{212A}' => 'k',
        c => c.to_ascii_lowercase(),
    }
}

/// What is known about the texts that an expression matches.
enum Known {
    /// Each is one of these.
    OneOf(Vec<String>),
    /// Each contains a text of every list.
    Contains(Vec<Vec<String>>),
}

const NOTHING: Known = Known::Contains(Vec::new());

/// Lists of folded texts: every text that the expression matches contains, folded, at least one of each list. No text
/// is empty.
pub(super) fn required(expression: &Hir) -> Vec<Vec<String>> {
    match known(expression) {
        Known::OneOf(texts) => part(texts).into_iter().collect(),
        Known::Contains(parts) => parts,
    }
}

/// The alternatives as a part; none if it says nothing.
fn part(mut texts: Vec<String>) -> Option<Vec<String>> {
    texts.sort_unstable();
    texts.dedup();
    (texts.first().is_none_or(|shortest| !shortest.is_empty())).then_some(texts)
}

/// The expressions nest no deeper than their parser allows.
fn known(expression: &Hir) -> Known {
    match expression.kind() {
        HirKind::Empty | HirKind::Look(_) => Known::OneOf(vec![String::new()]),
        HirKind::Literal(literal) => match std::str::from_utf8(&literal.0) {
            Ok(text) if text.len() <= PART_BYTES_MAX => Known::OneOf(vec![fold_case(text).into_owned()]),
            _ => NOTHING,
        },
        HirKind::Class(class) => known_of_class(class),
        HirKind::Capture(capture) => known(&capture.sub),
        HirKind::Repetition(repetition) => match (repetition.min, repetition.max, known(&repetition.sub)) {
            (0, Some(1), Known::OneOf(mut texts)) if texts.len() < ALTERNATIVES_MAX => {
                texts.push(String::new());
                Known::OneOf(texts)
            }
            (0, ..) => NOTHING,
            (_, _, Known::OneOf(texts)) => Known::Contains(part(texts).into_iter().collect()),
            (_, _, contains) => contains,
        },
        HirKind::Concat(expressions) => in_a_row(expressions),
        HirKind::Alternation(expressions) => either(expressions),
    }
}

fn known_of_class(class: &Class) -> Known {
    let mut chars = Vec::new();
    let ranges: Vec<(u32, u32)> = match class {
        Class::Unicode(class) => class.iter().map(|r| (u32::from(r.start()), u32::from(r.end()))).collect(),
        Class::Bytes(class) => class.iter().map(|r| (u32::from(r.start()), u32::from(r.end()))).collect(),
    };
    let is_bytes = matches!(class, Class::Bytes(_));
    for (start, end) in ranges {
        // Each folded character comes of at most three.
        if (end - start) as usize >= 3 * CLASS_CHARS_MAX || is_bytes && end > 127 {
            return NOTHING;
        }
        chars.extend((start..=end).filter_map(char::from_u32).map(fold_char));
        chars.sort_unstable();
        chars.dedup();
        if chars.len() > CLASS_CHARS_MAX {
            return NOTHING;
        }
    }
    Known::OneOf(chars.into_iter().map(String::from).collect())
}

/// Of expressions that match one after the other.
fn in_a_row(expressions: &[Hir]) -> Known {
    let mut parts = Vec::new();
    let mut run = vec![String::new()];
    let mut is_whole = true;
    for expression in expressions {
        match known(expression) {
            Known::OneOf(texts) => match joined(&run, &texts) {
                Some(longer) => run = longer,
                None => {
                    is_whole = false;
                    parts.extend(part(std::mem::replace(&mut run, texts)));
                }
            },
            Known::Contains(more) => {
                is_whole = false;
                parts.extend(part(std::mem::replace(&mut run, vec![String::new()])));
                parts.extend(more);
            }
        }
    }
    if is_whole {
        return Known::OneOf(run);
    }
    parts.extend(part(run));
    Known::Contains(parts)
}

/// Each text with each of the ends; none if that is too much.
fn joined(texts: &[String], ends: &[String]) -> Option<Vec<String>> {
    let count = texts.len() * ends.len();
    let bytes = |texts: &[String]| texts.iter().map(String::len).sum::<usize>();
    let total = bytes(texts) * ends.len() + bytes(ends) * texts.len();
    if count > PRODUCT_MAX.max(texts.len()).max(ends.len()) || total > PART_BYTES_MAX {
        return None;
    }
    Some(texts.iter().flat_map(|text| ends.iter().map(move |end| format!("{text}{end}"))).collect())
}

/// Of expressions one of which matches.
fn either(expressions: &[Hir]) -> Known {
    if expressions.len() > ALTERNATIVES_MAX {
        return NOTHING;
    }
    let mut union = Vec::new();
    let mut is_whole = true;
    for expression in expressions {
        let texts = match known(expression) {
            Known::OneOf(texts) => Some(texts),
            Known::Contains(parts) => {
                is_whole = false;
                // The part whose shortest text is the longest is likely to be the rarest.
                parts.into_iter().max_by_key(|part| part.iter().map(String::len).min())
            }
        };
        let Some(texts) = texts else { return NOTHING };
        union.extend(texts);
        if union.len() > ALTERNATIVES_MAX {
            return NOTHING;
        }
    }
    if is_whole { Known::OneOf(union) } else { Known::Contains(part(union).into_iter().collect()) }
}

#[cfg(test)]
mod tests {
    use super::super::{MatchOp, Matcher};
    use super::*;

    fn parts(expression: &str) -> Vec<Vec<String>> {
        Matcher::new("l", MatchOp::Regex, expression).unwrap().required_parts().to_vec()
    }

    #[test]
    fn expressions_have_parts() {
        for (expression, want) in [
            (".*cpu.*", &[&["cpu"][..]][..]),
            (".*cpu.*total.*", &[&["cpu"], &["total"]]),
            (".+_bucket|.*requests.*", &[&["_bucket", "requests"]]),
            ("(?i).*Task.*", &[&["task"]]),
            (".*CPU.+", &[&["cpu"]]),
            ("(a|b)c(d|e).*", &[&["acd", "ace", "bcd", "bce"]]),
            (".*(read|write)s?", &[&["read", "reads", "write", "writes"]]),
            ("node[0-9]+_up.*", &[&["node"], &["_up"]]),
            (".*(ab)+.*", &[&["ab"]]),
            (r".*\bup.*", &[&["up"]]),
            (".*", &[]),
            (".*x?", &[]),
            (".+|.*cpu.*", &[]),
            ("[a-z]+", &[]),
            (".*(ab)*.*", &[]),
        ] {
            assert_eq!(parts(expression), want, "{expression}");
        }
        // What is nothing but literals is looked up as it is.
        assert!(parts("cpu|memory").is_empty() && parts("cpu").is_empty());
    }

    /// The limits, at and above each.
    #[test]
    fn parts_are_bounded() {
        let alternation =
            |count: usize| format!(".*({}).*", (0..count).map(|i| format!("{i:03}x{i}")).collect::<Vec<_>>().join("|"));
        assert_eq!(parts(&alternation(ALTERNATIVES_MAX))[0].len(), ALTERNATIVES_MAX);
        assert!(parts(&alternation(ALTERNATIVES_MAX + 1)).is_empty());
        assert_eq!(parts(".*x[acegikmo]?.*"), [["x"]], "more characters than are tried");
        assert_eq!(parts(".*x[aceg]y.*"), [["xay", "xcy", "xey", "xgy"]]);
        assert_eq!(parts(".*x[acegi]y.*"), [["x"], ["y"]]);
        assert_eq!(parts(".*[ac][eg][ik][mo][qs][uw].*")[0].len(), PRODUCT_MAX);
        assert_eq!(parts(".*[ac][eg][ik][mo][qs][uw][yz].*").len(), 2);
        let long = |bytes: usize| format!(".*{}.*", "ab".repeat(bytes / 2));
        assert_eq!(parts(&long(PART_BYTES_MAX))[0][0].len(), PART_BYTES_MAX);
        assert!(parts(&long(PART_BYTES_MAX + 2)).is_empty());
    }

    #[test]
    fn case_is_folded() {
        assert_eq!(fold_case("CPU_\u{212A}\u{17F}É☃a"), "cpu_ksÉ☃a");
        assert!(matches!(fold_case("cpu"), Cow::Borrowed("cpu")));
    }
}
