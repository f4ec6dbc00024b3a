//! `label_replace` and `label_join`: functions of labels alone.

use model::{Labels, LabelsBuilder, LabelsError};
use regex::Regex;

use crate::error::QueryError;
use crate::eval::failed;

/// `label_replace` with its texts.
#[derive(Debug)]
pub(crate) struct Replace<'t> {
    /// The label to write.
    pub(crate) target: &'t str,
    replacement: &'t str,
    source: &'t str,
    pattern: Regex,
}

impl<'t> Replace<'t> {
    /// Checks the texts.
    pub(crate) fn new(
        target: &'t str,
        replacement: &'t str,
        source: &'t str,
        pattern: &str,
    ) -> Result<Self, QueryError> {
        let compiled = model::anchored_regex(pattern)
            .map_err(|_| failed(&format!("invalid regular expression in label_replace(): {pattern}")))?;
        if target.is_empty() {
            return Err(failed("invalid destination label name in label_replace(): "));
        }
        Ok(Replace { target, replacement, source, pattern: compiled })
    }

    /// The new labels; none if the pattern does not match.
    pub(crate) fn apply(&self, labels: &Labels) -> Result<Option<Labels>, LabelsError> {
        let Some(captures) = self.pattern.captures(labels.get(self.source).unwrap_or_default()) else {
            return Ok(None);
        };
        let mut value = String::new();
        captures.expand(self.replacement, &mut value);
        LabelsBuilder::from_labels(labels).set(self.target, &value).build().map(Some)
    }
}

/// `label_join` with its texts.
#[derive(Debug)]
pub(crate) struct Join<'t> {
    /// The label to write.
    pub(crate) target: &'t str,
    separator: &'t str,
    sources: Vec<&'t str>,
}

impl<'t> Join<'t> {
    /// Checks the texts.
    pub(crate) fn new(target: &'t str, separator: &'t str, sources: Vec<&'t str>) -> Result<Self, QueryError> {
        if sources.contains(&"") {
            return Err(failed("invalid source label name in label_join(): "));
        }
        if target.is_empty() {
            return Err(failed("invalid destination label name in label_join(): "));
        }
        Ok(Join { target, separator, sources })
    }

    /// The new labels.
    pub(crate) fn apply(&self, labels: &Labels) -> Result<Labels, LabelsError> {
        let values: Vec<&str> = self.sources.iter().map(|source| labels.get(source).unwrap_or_default()).collect();
        LabelsBuilder::from_labels(labels).set(self.target, &values.join(self.separator)).build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> Labels {
        Labels::from_pairs([("a", "x-1"), ("b", "y\nz")]).unwrap()
    }

    #[test]
    fn replacing_by_hand() {
        let apply = |target, replacement, source, pattern| {
            Replace::new(target, replacement, source, pattern).unwrap().apply(&labels()).unwrap()
        };
        let text = |found: Option<Labels>| found.map(|l| l.to_string());
        assert_eq!(text(apply("c", "$2-${1}0$$", "a", r"(\w)-(\d)")).unwrap(), r#"{a="x-1", b="y\nz", c="1-x0$"}"#);
        assert_eq!(text(apply("c", "${name}", "b", "(?P<name>.).z")).unwrap(), r#"{a="x-1", b="y\nz", c="y"}"#);
        assert_eq!(apply("c", "1", "a", "x"), None, "anchored");
        assert_eq!(text(apply("a", "$9", "none", "")).unwrap(), r#"{b="y\nz"}"#);
        for (target, pattern, message) in [
            ("c", "(", "invalid regular expression in label_replace(): ("),
            ("c", ")(", "invalid regular expression in label_replace(): )("),
            ("", "", "invalid destination label name in label_replace(): "),
        ] {
            assert_eq!(Replace::new(target, "", "", pattern).unwrap_err().message, message);
        }
    }

    #[test]
    fn joining_by_hand() {
        let join = Join::new("c", ", ", vec!["a", "none", "a"]).unwrap();
        assert_eq!(join.apply(&labels()).unwrap().get("c"), Some("x-1, , x-1"));
        assert_eq!(Join::new("a", "", vec![]).unwrap().apply(&labels()).unwrap().get("a"), None);
        assert!(Join::new("", "", vec![]).is_err());
        assert!(Join::new("a", "", vec![""]).is_err());
    }
}
