//! A sorted label set in one allocation, with the canonical form that hashes and files are built on.
//!
//! # Canonical form (version 1)
//! For each label in order of its name (bytewise): the length of the name in bytes, the name, the length of the value
//! in bytes, the value. A length `n` is written as the one character `char(n)` for `n < 0xD800` and `char(n + 0x800)`
//! above (the gap are the surrogates), so that the whole form is valid UTF-8 and can be kept as a `str`.
//! [`Labels::hash128`] is XXH3-128 with seed 0 of these bytes; a test pins both.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_128;

/// The label that holds the metric's name.
pub const METRIC_NAME: &str = "__name__";

/// The longest name or value that a label set can hold at all, in bytes; the limits of users lie far below.
pub const LABEL_TEXT_MAX_BYTES: usize = 0x10_0000;

const SURROGATE_FIRST: u32 = 0xD800;
const SURROGATE_COUNT: u32 = 0x800;

/// Why a label set was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelsError {
    /// Two labels have the same name.
    #[error("label name {0:?} is there twice")]
    Duplicate(String),
    /// A label has an empty name.
    #[error("a label has an empty name")]
    EmptyName,
    /// A name or a value is longer than [`LABEL_TEXT_MAX_BYTES`].
    #[error("a label name or value has {bytes} bytes, the longest possible is {LABEL_TEXT_MAX_BYTES}")]
    TooLong {
        /// Length of the offending text.
        bytes: usize,
    },
}

/// A sorted set of labels without empty values; cheap to clone, ordered by name and value in turn.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Labels(Arc<str>);

impl Labels {
    /// The set without labels.
    pub fn empty() -> Self {
        Labels(Arc::from(""))
    }

    /// Builds a set from labels in any order; labels with empty values are left out.
    ///
    /// # Errors
    /// [`LabelsError`] for an empty name, a name that is there twice, or a text that is too long.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, LabelsError> {
        let mut list: Vec<(&str, &str)> = pairs.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        if !list.is_sorted_by(|a, b| a.0 < b.0) {
            list.sort_unstable_by(|a, b| a.0.cmp(b.0));
        }
        Self::from_sorted(&list)
    }

    /// Builds a set from labels that are sorted by name and have no empty values.
    ///
    /// # Errors
    /// As [`Labels::from_pairs`].
    pub fn from_sorted(pairs: &[(&str, &str)]) -> Result<Self, LabelsError> {
        let mut text = String::with_capacity(pairs.iter().map(|(n, v)| n.len() + v.len() + 4).sum());
        Self::push_canonical(pairs, &mut text)?;
        Ok(Labels(Arc::from(text)))
    }

    /// Appends the canonical form of labels that are sorted by name and have no empty values, for those who need it
    /// without a set of their own.
    ///
    /// # Errors
    /// As [`Labels::from_pairs`].
    pub fn push_canonical(pairs: &[(&str, &str)], text: &mut String) -> Result<(), LabelsError> {
        let mut before: Option<&str> = None;
        for (name, value) in pairs {
            if name.is_empty() {
                return Err(LabelsError::EmptyName);
            }
            if before == Some(*name) {
                return Err(LabelsError::Duplicate((*name).to_owned()));
            }
            debug_assert!(before.is_none_or(|b| b < *name), "labels are sorted");
            before = Some(name);
            push_text(text, name)?;
            push_text(text, value)?;
        }
        Ok(())
    }

    /// The set whose canonical form is `text`; none if the text is not canonical.
    pub fn from_canonical(text: &str) -> Option<Self> {
        let mut rest = text;
        let mut before: Option<&str> = None;
        while !rest.is_empty() {
            let (name, after) = take_text(rest)?;
            let (value, after) = take_text(after)?;
            if name.is_empty() || value.is_empty() || before.is_some_and(|b| b >= name) {
                return None;
            }
            before = Some(name);
            rest = after;
        }
        Some(Labels(Arc::from(text)))
    }

    /// The canonical form described at the top of this file.
    pub fn canonical(&self) -> &str {
        &self.0
    }

    /// XXH3-128, seed 0, of the canonical form: joins a series across files. Never an identity by itself.
    pub fn hash128(&self) -> u128 {
        Self::hash128_of(&self.0)
    }

    /// As [`Labels::hash128`], of a canonical form.
    pub fn hash128_of(canonical: &str) -> u128 {
        xxh3_128(canonical.as_bytes())
    }

    /// Name and value of each label, sorted by name.
    pub fn iter(&self) -> Iter<'_> {
        Iter { rest: &self.0 }
    }

    /// The value of a label, if it is there.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().take_while(|(n, _)| *n <= name).find(|(n, _)| *n == name).map(|(_, v)| v)
    }

    /// The metric's name, or the empty text.
    pub fn metric_name(&self) -> &str {
        self.get(METRIC_NAME).unwrap_or_default()
    }

    /// Number of labels.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// True if there is no label.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Only the labels for which `keep` is true.
    #[must_use]
    pub fn filtered(&self, mut keep: impl FnMut(&str) -> bool) -> Self {
        let mut text = String::with_capacity(self.0.len());
        let mut rest: &str = &self.0;
        while let Some((name, _, after)) = take_label(rest) {
            if keep(name) {
                text.push_str(&rest[..rest.len() - after.len()]);
            }
            rest = after;
        }
        if text.len() == self.0.len() {
            return self.clone();
        }
        Labels(Arc::from(text))
    }

    /// Bytes on the heap, for accounts.
    pub fn heap_bytes(&self) -> usize {
        self.0.len() + 2 * size_of::<usize>()
    }
}

impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp(other.iter())
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Prometheus's notation: `name{label="value"}`, without the name `{label="value"}`.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{")?;
        for (i, (name, value)) in self.iter().enumerate() {
            if i > 0 {
                write!(f, ", ")?;
            }
            write!(f, "{name}={value:?}")?;
        }
        write!(f, "}}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = (&'a str, &'a str);
    type IntoIter = Iter<'a>;
    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// Iterates over the labels of a [`Labels`].
#[derive(Debug, Clone)]
pub struct Iter<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a str, &'a str);
    fn next(&mut self) -> Option<Self::Item> {
        let (name, value, rest) = take_label(self.rest)?;
        self.rest = rest;
        Some((name, value))
    }
}

/// Changes a label set: later settings win, an empty value removes.
#[derive(Debug, Clone, Default)]
pub struct LabelsBuilder {
    pairs: std::collections::BTreeMap<String, String>,
}

impl LabelsBuilder {
    /// Starts from an existing set.
    pub fn from_labels(labels: &Labels) -> Self {
        LabelsBuilder { pairs: labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect() }
    }

    /// Sets a label; an empty value removes it.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        if value.is_empty() {
            self.pairs.remove(name);
        } else {
            self.pairs.insert(name.to_owned(), value.to_owned());
        }
        self
    }

    /// Removes a label.
    pub fn remove(&mut self, name: &str) -> &mut Self {
        self.pairs.remove(name);
        self
    }

    /// The value of a label, if it is there.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs.get(name).map(String::as_str)
    }

    /// Name and value of each label, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    /// The set.
    ///
    /// # Errors
    /// [`LabelsError`] for an empty name or a text that is too long.
    pub fn build(&self) -> Result<Labels, LabelsError> {
        Labels::from_sorted(&self.iter().collect::<Vec<_>>())
    }
}

fn push_text(out: &mut String, text: &str) -> Result<(), LabelsError> {
    let too_long = LabelsError::TooLong { bytes: text.len() };
    if text.len() > LABEL_TEXT_MAX_BYTES {
        return Err(too_long);
    }
    let length = u32::try_from(text.len()).map_err(|_| too_long.clone())?;
    let code = if length < SURROGATE_FIRST { length } else { length + SURROGATE_COUNT };
    out.push(char::from_u32(code).ok_or(too_long)?);
    out.push_str(text);
    Ok(())
}

fn take_text(text: &str) -> Option<(&str, &str)> {
    let mut chars = text.chars();
    let code = u32::from(chars.next()?);
    let length = if code < SURROGATE_FIRST { code } else { code - SURROGATE_COUNT };
    chars.as_str().split_at_checked(length as usize)
}

fn take_label(text: &str) -> Option<(&str, &str, &str)> {
    let (name, rest) = take_text(text)?;
    let (value, rest) = take_text(rest)?;
    Some((name, value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn canonical_form_and_hash_are_pinned() {
        let labels = Labels::from_pairs([("job", "a"), ("__name__", "up"), ("gone", "")]).unwrap();
        assert_eq!(labels.canonical(), "\u{8}__name__\u{2}up\u{3}job\u{1}a");
        assert_eq!(labels.hash128(), PINNED_HASH);
        assert_eq!(labels.to_string(), r#"{__name__="up", job="a"}"#);
    }
    const PINNED_HASH: u128 = 53_051_342_381_928_529_711_896_956_599_004_778_343;

    #[test]
    fn lengths_at_the_surrogate_gap_and_at_the_limit() {
        for n in [0x7F, 0x80, 0xD7FF, 0xD800, 0xDFFF, 0xE000, LABEL_TEXT_MAX_BYTES] {
            let value = "v".repeat(n);
            let labels = Labels::from_pairs([("l", value.as_str())]).unwrap();
            assert_eq!(labels.get("l").map(str::len), Some(n));
            assert_eq!(Labels::from_canonical(labels.canonical()), Some(labels));
        }
        let value = "v".repeat(LABEL_TEXT_MAX_BYTES + 1);
        assert_eq!(
            Labels::from_pairs([("l", value.as_str())]),
            Err(LabelsError::TooLong { bytes: LABEL_TEXT_MAX_BYTES + 1 })
        );
    }

    #[test]
    fn bad_sets_are_refused() {
        assert_eq!(Labels::from_pairs([("a", "1"), ("a", "2")]), Err(LabelsError::Duplicate("a".into())));
        assert_eq!(Labels::from_pairs([("", "1")]), Err(LabelsError::EmptyName));
        for text in ["\u{1}b\u{1}x\u{1}a\u{1}y", "\u{1}a\u{1}x\u{1}a\u{1}y", "\u{1}a\u{0}", "\u{5}a", "\u{0}\u{1}x"] {
            assert_eq!(Labels::from_canonical(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn behaves_like_a_map(
            a in prop::collection::btree_map("[a-zé]{1,3}", "[a-z☃]{0,3}", 0..6),
            b in prop::collection::btree_map("[a-zé]{1,3}", "[a-z☃]{0,3}", 0..6),
        ) {
            let of = |m: &BTreeMap<String, String>| {
                Labels::from_pairs(m.iter().rev().map(|(n, v)| (n.as_str(), v.as_str()))).unwrap()
            };
            let full = |m: &BTreeMap<String, String>| -> Vec<(String, String)> {
                m.iter().filter(|(_, v)| !v.is_empty()).map(|(n, v)| (n.clone(), v.clone())).collect()
            };
            let (la, lb) = (of(&a), of(&b));
            prop_assert_eq!(la.cmp(&lb), full(&a).cmp(&full(&b)));
            for (name, value) in &a {
                prop_assert_eq!(la.get(name).unwrap_or(""), value);
            }
            let odd = la.filtered(|n| n.len() % 2 == 1);
            let want: Vec<_> = full(&a).into_iter().filter(|(n, _)| n.len() % 2 == 1).collect();
            prop_assert_eq!(odd.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect::<Vec<_>>(), want);
            prop_assert_eq!(LabelsBuilder::from_labels(&la).build().unwrap(), la);
        }

        #[test]
        fn any_text_is_taken_or_refused(text in "\\PC{0,12}") {
            if let Some(labels) = Labels::from_canonical(&text) {
                prop_assert_eq!(labels.canonical(), text.as_str());
            }
        }
    }
}
