//! Conditions on one label, with Prometheus's meaning: regular expressions are fully anchored, `.` matches newlines,
//! and a label that is not there counts as the empty text.

mod parts;
mod syntax;

use std::fmt;

use regex::Regex;
use regex::RegexBuilder;
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Dot, Hir, HirKind};

pub use parts::fold_case;

/// Memory that a compiled expression may take; names of 40,000 metrics joined by `|` must fit.
const REGEX_SIZE_MAX_BYTES: usize = 64 << 20;

/// How a matcher compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

impl MatchOp {
    /// The sign as PromQL writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex => "=~",
            MatchOp::NotRegex => "!~",
        }
    }
}

/// A matcher could not be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {message}")]
pub struct MatcherError {
    /// What the expression's parser said.
    pub message: String,
}

/// A condition on the value of one label.
#[derive(Debug, Clone)]
pub struct Matcher {
    name: String,
    op: MatchOp,
    value: String,
    test: Test,
}

/// How the condition is tested: plain sets and prefixes are found before a regular expression is run.
#[derive(Debug, Clone)]
enum Test {
    Text,
    /// Sorted literals of an alternation.
    Set(Vec<String>),
    Regex(Box<Expression>),
}

/// An expression that must be run.
#[derive(Debug, Clone)]
struct Expression {
    regex: Regex,
    /// See [`Matcher::required_parts`].
    parts: Vec<Vec<String>>,
}

impl Matcher {
    /// Builds a matcher.
    ///
    /// # Errors
    /// [`MatcherError`] if the operator is a regular expression that cannot be parsed.
    pub fn new(name: impl Into<String>, op: MatchOp, value: impl Into<String>) -> Result<Self, MatcherError> {
        let (name, value) = (name.into(), value.into());
        let test = match op {
            MatchOp::Equal | MatchOp::NotEqual => Test::Text,
            MatchOp::Regex | MatchOp::NotRegex => match literals(&value) {
                Some(set) => Test::Set(set),
                None => Test::Regex(Box::new(Expression::new(&value)?)),
            },
        };
        Ok(Matcher { name, op, value, test })
    }

    /// `name="value"`.
    pub fn equal(name: impl Into<String>, value: impl Into<String>) -> Self {
        Matcher { name: name.into(), op: MatchOp::Equal, value: value.into(), test: Test::Text }
    }

    /// The label's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The operator.
    pub fn op(&self) -> MatchOp {
        self.op
    }

    /// The text that stands right of the operator.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// True if a label value passes; a label that is not there is the empty text.
    pub fn matches(&self, value: &str) -> bool {
        let hit = match &self.test {
            Test::Text => self.value == value,
            Test::Set(set) => set.binary_search_by(|s| s.as_str().cmp(value)).is_ok(),
            Test::Regex(expression) => expression.regex.is_match(value),
        };
        hit != self.is_negative()
    }

    /// True for `!=` and `!~`.
    pub fn is_negative(&self) -> bool {
        matches!(self.op, MatchOp::NotEqual | MatchOp::NotRegex)
    }

    /// True if a series without this label passes.
    pub fn matches_empty(&self) -> bool {
        self.matches("")
    }

    /// If the condition (before negation) holds for exactly these values, they, sorted; none for a true expression.
    pub fn literal_values(&self) -> Option<Vec<&str>> {
        match &self.test {
            Test::Text => Some(vec![self.value.as_str()]),
            Test::Set(set) => Some(set.iter().map(String::as_str).collect()),
            Test::Regex(_) => None,
        }
    }

    /// A text that every value for which the condition (before negation) holds starts with; often empty.
    pub fn literal_prefix(&self) -> &str {
        match &self.test {
            Test::Text => &self.value,
            Test::Set(_) => "",
            Test::Regex(_) => {
                let end = self.value.find(is_special).unwrap_or(self.value.len());
                // A quantifier takes the character before it out of the prefix; an alternation takes everything.
                match self.value[end..].chars().next() {
                    Some('|') => "",
                    _ if has_top_level_alternation(&self.value) => "",
                    Some('?' | '*' | '{') => {
                        let last = self.value[..end].char_indices().last().map_or(0, |(i, _)| i);
                        &self.value[..last]
                    }
                    _ => &self.value[..end],
                }
            }
        }
    }
}

impl Matcher {
    /// Lists of texts, of each of which every value for which the condition (before negation) holds contains at least
    /// one: both the texts, which are not empty, and the value after [`fold_case`]. None if nothing is known, or if
    /// [`Matcher::literal_values`] says more.
    pub fn required_parts(&self) -> &[Vec<String>] {
        match &self.test {
            Test::Regex(expression) => &expression.parts,
            Test::Text | Test::Set(_) => &[],
        }
    }
}

impl Expression {
    fn new(value: &str) -> Result<Self, MatcherError> {
        let translated = syntax::translate(value);
        let parsed = parse(&translated)?;
        let regex = match without_ends(&parsed) {
            Some(shorter) => build(&shorter)?,
            None => build(&format!("^(?:{translated})$"))?,
        };
        Ok(Expression { regex, parts: parts::required(&parsed) })
    }
}

/// The same condition as a search, for an expression that begins or ends with `.*`: a search for a literal is many times
/// faster than matching what is around it.
fn without_ends(expression: &Hir) -> Option<String> {
    let HirKind::Concat(all) = expression.kind() else { return None };
    let is_anything = |expression: &Hir| match expression.kind() {
        HirKind::Repetition(r) => r.min == 0 && r.max.is_none() && *r.sub == Hir::dot(Dot::AnyChar),
        _ => false,
    };
    let (starts, ends) = (all.first().is_some_and(is_anything), all.last().is_some_and(is_anything));
    if !starts && !ends {
        return None;
    }
    let inner = all.get(usize::from(starts)..all.len() - usize::from(ends))?;
    let inner = Hir::concat(inner.to_vec());
    Some(format!("{}(?:{inner}){}", if starts { "" } else { "^" }, if ends { "" } else { "$" }))
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

impl Eq for Matcher {}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{:?}", self.name, self.op.as_str(), self.value)
    }
}

fn is_special(c: char) -> bool {
    matches!(c, '\\' | '.' | '+' | '*' | '?' | '(' | ')' | '|' | '[' | ']' | '{' | '}' | '^' | '$')
}

/// The alternatives of an expression that is nothing but literals joined by `|`, sorted; also within one group.
fn literals(expression: &str) -> Option<Vec<String>> {
    let inner = expression
        .strip_prefix("(?:")
        .or_else(|| expression.strip_prefix('('))
        .and_then(|rest| rest.strip_suffix(')'))
        .unwrap_or(expression);
    let mut set = Vec::new();
    let mut text = String::new();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '|' => set.push(std::mem::take(&mut text)),
            '\\' => match chars.next() {
                Some(c) if is_special(c) || c == '-' || c == '/' => text.push(c),
                _ => return None,
            },
            c if is_special(c) => return None,
            c => text.push(c),
        }
    }
    set.push(text);
    set.sort_unstable();
    set.dedup();
    Some(set)
}

fn has_top_level_alternation(expression: &str) -> bool {
    let (mut depth, mut in_class, mut chars) = (0_i32, false, expression.chars());
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            '[' => in_class = true,
            ']' => in_class = false,
            '(' if !in_class => depth += 1,
            ')' if !in_class => depth -= 1,
            '|' if !in_class && depth == 0 => return true,
            _ => {}
        }
    }
    false
}

/// Compiles an expression as Prometheus does everywhere: RE2's syntax, fully anchored, `.` matches newlines.
///
/// # Errors
/// [`MatcherError`] if it cannot be parsed or is too large.
pub fn anchored_regex(expression: &str) -> Result<Regex, MatcherError> {
    let translated = syntax::translate(expression);
    // Alone first, so that `)(` is an error and not a way out of the group.
    parse(&translated)?;
    build(&format!("^(?:{translated})$"))
}

fn parse(translated: &str) -> Result<Hir, MatcherError> {
    let parsed = ParserBuilder::new().dot_matches_new_line(true).build().parse(translated);
    parsed.map_err(|error| MatcherError { message: error.to_string() })
}

fn build(translated: &str) -> Result<Regex, MatcherError> {
    let built = RegexBuilder::new(translated).size_limit(REGEX_SIZE_MAX_BYTES).dot_matches_new_line(true).build();
    built.map_err(|error| MatcherError { message: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn regex(value: &str) -> Matcher {
        Matcher::new("l", MatchOp::Regex, value).unwrap()
    }

    #[test]
    fn expressions_are_anchored_and_dot_takes_newlines() {
        assert!(!regex("a.").matches("xab"));
        assert!(regex("a.b").matches("a\nb"));
        assert!(regex("a|b").matches("b"));
        assert!(!regex("a|b").matches("ab"));
        assert!(regex("").matches_empty());
        assert!(!Matcher::new("l", MatchOp::NotRegex, ".+").unwrap().matches("x"));
        assert!(Matcher::new("l", MatchOp::Regex, ")(").is_err());
        assert!(Matcher::new("l", MatchOp::Regex, "a(").is_err());
    }

    #[test]
    fn alternations_become_sets() {
        assert_eq!(regex("b|a|b").literal_values(), Some(vec!["a", "b"]));
        assert_eq!(regex(r"(10\.0|x)").literal_values(), Some(vec!["10.0", "x"]));
        assert_eq!(regex("a|").literal_values(), Some(vec!["", "a"]));
        assert_eq!(regex("a.*").literal_values(), None);
        assert_eq!(regex(r"(a)|(b)").literal_values(), None);
        assert_eq!(regex(r"\d").literal_values(), None);
    }

    proptest! {
        /// Sets and prefixes never say other than the expression itself.
        #[test]
        fn shortcuts_agree_with_the_expression(
            pattern in "([ab|.*?+()\\\\]{0,7}|(\\(\\?i\\))?(\\.\\*|[ab]|[ab][ab]|[Kks|()]|\\[aB\\]|\\.\\+|[?^$]){0,7})",
            value in "[abAks.\n\u{212A}\u{17F}]{0,6}",
        ) {
            if let Ok(matcher) = Matcher::new("l", MatchOp::Regex, pattern.as_str()) {
                let plain = anchored_regex(&pattern).unwrap().is_match(&value);
                prop_assert_eq!(matcher.matches(&value), plain);
                if plain {
                    prop_assert!(value.starts_with(matcher.literal_prefix()), "{:?}", matcher.literal_prefix());
                    let folded = fold_case(&value);
                    for part in matcher.required_parts() {
                        prop_assert!(part.iter().any(|text| folded.contains(text)), "{:?}", part);
                    }
                }
            }
        }
    }
}
