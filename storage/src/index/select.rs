//! From matchers to series, over any index of labels: the segments' and the head's.

use model::{MatchOp, Matcher, Scope};
use roaring::RoaringBitmap;

/// What selection needs to know about the labels of some series with dense ids.
pub(crate) trait LabelIndex {
    /// Why the index cannot be read.
    type Error;

    /// All series.
    fn all(&self) -> Result<RoaringBitmap, Self::Error>;

    /// The series that have a label of this name.
    fn with_name(&self, name: &str) -> Result<RoaringBitmap, Self::Error>;

    /// The series with this label pair.
    fn with_pair(&self, name: &str, value: &str) -> Result<RoaringBitmap, Self::Error>;

    /// The series with a label of this name whose value passes. Values without what is needed are not tested, or need
    /// not be: none of them passes.
    fn with_values(
        &self,
        name: &str,
        needs: Needs<'_>,
        passes: &mut dyn FnMut(&str) -> bool,
    ) -> Result<RoaringBitmap, Self::Error>;
}

/// What every value has that passes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Needs<'a> {
    /// It starts with this.
    pub(crate) prefix: &'a str,
    /// Folded, it contains a text of each of these; see [`Matcher::required_parts`].
    pub(crate) parts: &'a [Vec<String>],
}

/// The series that pass the scope and all matchers; without any, all series.
///
/// A label that is not there counts as the empty text, as in Prometheus: a matcher that lets the empty text pass only
/// takes series away.
///
/// # Errors
/// What the index returns.
pub(crate) fn select<I: LabelIndex + ?Sized>(
    index: &I,
    scope: &Scope,
    matchers: &[Matcher],
) -> Result<RoaringBitmap, I::Error> {
    let (mut takes, mut gives): (Vec<&Matcher>, Vec<&Matcher>) =
        scope.forced().into_iter().chain(matchers).partition(|m| m.matches_empty());
    // Cheap look-ups first; if nothing is left, expressions need not be tried on every value.
    gives.sort_by_key(|m| cost(m));
    takes.sort_by_key(|m| cost(m));
    let mut lists: Vec<RoaringBitmap> = Vec::with_capacity(gives.len());
    for matcher in gives {
        let list = passing(index, matcher)?;
        if list.is_empty() {
            return Ok(list);
        }
        lists.push(list);
    }
    lists.sort_by_key(RoaringBitmap::len);
    let mut lists = lists.into_iter();
    let mut left = match lists.next() {
        Some(first) => first,
        None => index.all()?,
    };
    for list in lists {
        left &= list;
    }
    for matcher in takes {
        if left.is_empty() {
            break;
        }
        if matcher.op() != MatchOp::Regex || matcher.value() != ".*" {
            left -= failing(index, matcher)?;
        }
    }
    Ok(left)
}

/// The order in which to look matchers up.
fn cost(matcher: &Matcher) -> usize {
    match matcher.literal_values() {
        Some(values) if !matcher.is_negative() => values.len(),
        Some(_) => 1 << 20,
        None if !matcher.literal_prefix().is_empty() => 1 << 21,
        None => 1 << 22,
    }
}

/// The series whose label passes a matcher that the empty text does not pass.
fn passing<I: LabelIndex + ?Sized>(index: &I, matcher: &Matcher) -> Result<RoaringBitmap, I::Error> {
    let name = matcher.name();
    if matcher.is_negative() {
        // The condition before negation holds for the empty text, so nothing is needed.
        return match matcher.literal_values().as_deref() {
            Some([""]) => index.with_name(name),
            _ => index.with_values(name, Needs::default(), &mut |value| matcher.matches(value)),
        };
    }
    if matcher.op() == MatchOp::Regex && matcher.value() == ".+" {
        return index.with_name(name);
    }
    holding(index, matcher)
}

/// The series that have the label and whose value fails a matcher that the empty text passes.
fn failing<I: LabelIndex + ?Sized>(index: &I, matcher: &Matcher) -> Result<RoaringBitmap, I::Error> {
    let name = matcher.name();
    if matcher.is_negative() {
        return holding(index, matcher);
    }
    match matcher.literal_values().as_deref() {
        Some([""]) => index.with_name(name),
        _ => index.with_values(name, Needs::default(), &mut |value| !matcher.matches(value)),
    }
}

/// The series that have the label and for whose value the condition before negation holds; not for the empty text.
fn holding<I: LabelIndex + ?Sized>(index: &I, matcher: &Matcher) -> Result<RoaringBitmap, I::Error> {
    let name = matcher.name();
    match matcher.literal_values().as_deref() {
        Some([value]) => index.with_pair(name, value),
        Some(values) => {
            let mut union = RoaringBitmap::new();
            for value in values {
                union |= index.with_pair(name, value)?;
            }
            Ok(union)
        }
        None => {
            let negative = matcher.is_negative();
            let needs = Needs { prefix: matcher.literal_prefix(), parts: matcher.required_parts() };
            index.with_values(name, needs, &mut |value| matcher.matches(value) != negative)
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use model::Labels;
    use proptest::prelude::*;

    /// The plainest index there is: it looks at every series.
    struct Plain(Vec<Labels>);

    impl Plain {
        fn filter(&self, keep: impl FnMut(&Labels) -> bool) -> RoaringBitmap {
            let mut keep = keep;
            (0..).zip(&self.0).filter(|(_, l)| keep(l)).map(|(i, _)| i).collect()
        }
    }

    impl LabelIndex for Plain {
        type Error = std::convert::Infallible;
        fn all(&self) -> Result<RoaringBitmap, Self::Error> {
            Ok(self.filter(|_| true))
        }
        fn with_name(&self, name: &str) -> Result<RoaringBitmap, Self::Error> {
            Ok(self.filter(|l| l.get(name).is_some()))
        }
        fn with_pair(&self, name: &str, value: &str) -> Result<RoaringBitmap, Self::Error> {
            Ok(self.filter(|l| l.get(name) == Some(value)))
        }
        fn with_values(
            &self,
            name: &str,
            needs: Needs<'_>,
            passes: &mut dyn FnMut(&str) -> bool,
        ) -> Result<RoaringBitmap, Self::Error> {
            let has = |v: &str, part: &[String]| part.iter().any(|text| model::fold_case(v).contains(text.as_str()));
            let may = |v: &str| v.starts_with(needs.prefix) && needs.parts.iter().all(|part| has(v, part));
            Ok(self.filter(|l| l.get(name).is_some_and(|v| may(v) && passes(v))))
        }
    }

    pub(crate) fn any_matcher() -> impl Strategy<Value = Matcher> {
        let op =
            prop_oneof![Just(MatchOp::Equal), Just(MatchOp::NotEqual), Just(MatchOp::Regex), Just(MatchOp::NotRegex)];
        let value = prop_oneof![
            "[xy]{0,2}",
            Just(".*".to_owned()),
            Just(".+".to_owned()),
            Just("".to_owned()),
            Just("x|".to_owned()),
            Just("x|yy|xy".to_owned()),
            Just("x.*".to_owned()),
            Just("(x|y)?".to_owned()),
            Just("y[xy]".to_owned()),
            Just(".*yx?.*".to_owned()),
            Just("(?i).*X.+|yy.*".to_owned()),
        ];
        ("[abc]", op, value).prop_map(|(name, op, value)| Matcher::new(name, op, value).unwrap())
    }

    proptest! {
        #[test]
        fn selection_is_the_naive_filter(
            series in prop::collection::vec(prop::collection::btree_map("[ab]", "[xy]{0,2}", 0..3), 0..12),
            matchers in prop::collection::vec(any_matcher(), 0..4),
            forced in prop::option::of(any_matcher()),
        ) {
            let labels = |m: &std::collections::BTreeMap<String, String>| {
                Labels::from_pairs(m.iter().map(|(n, v)| (n.as_str(), v.as_str()))).unwrap()
            };
            let index = Plain(series.iter().map(labels).collect());
            let scope = forced.clone().map(Scope::confined).unwrap_or_default();
            let want = index.filter(|l| {
                matchers.iter().chain(&forced).all(|m| m.matches(l.get(m.name()).unwrap_or_default()))
            });
            prop_assert_eq!(select(&index, &scope, &matchers).unwrap(), want);
        }
    }
}
