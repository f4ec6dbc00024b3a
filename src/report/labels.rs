//! The label set of a reported series: the metric's name, its own labels, and the component that reports it.

use std::borrow::Cow;
use std::fmt;

use model::{Labels, METRIC_NAME};
use serde::Deserialize;
use serde::de::{Deserializer as _, Error, MapAccess, Visitor};

use super::raw::{Kind, Raw};
use crate::ingest::{LabelLimits, ORG, Pair, Rejection, add_over};

/// The label with the component's name.
pub const COMPONENT: &str = "component";
/// The label with the component's type.
pub const COMPONENT_TYPE: &str = "component_type";

/// Who reports: the values of the labels that are added. An empty type adds no label, nor does no organization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Component<'a> {
    /// `component_name`
    pub name: &'a str,
    /// `component_type`
    pub kind: &'a str,
    /// The organization of who sent the report, often empty.
    pub org: &'a str,
}

/// Builds the label set of a series.
///
/// Numbers and booleans become text as they stand in the body, `null` drops its label, of labels with one name the last
/// one counts. The component wins over labels of its names that say otherwise; those stay as `exported_…`.
///
/// # Errors
/// [`Rejection`] for a value that is a list or an object, an empty or reserved name, and limits.
pub fn series_labels(
    metric_name: &str,
    component: Component<'_>,
    own: Raw<'_>,
    limits: LabelLimits,
) -> Result<Labels, Rejection> {
    let mut pairs = read(own)?;
    for (name, value) in [(COMPONENT, component.name), (COMPONENT_TYPE, component.kind), (ORG, component.org)] {
        if !value.is_empty() {
            add_over(&mut pairs, name, value);
        }
    }
    pairs.push((METRIC_NAME.into(), metric_name.into()));
    limits.check(pairs.iter().map(|(name, value)| (&**name, &**value)))?;
    Labels::from_pairs(pairs.iter().map(|(name, value)| (&**name, &**value)))
        .map_err(|error| Rejection::Invalid(error.to_string()))
}

/// The labels of the body, without those that are `null` or empty.
fn read(own: Raw<'_>) -> Result<Vec<Pair<'_>>, Rejection> {
    if own.is_none() {
        return Ok(Vec::new());
    }
    let mut found = serde_json::Deserializer::from_str(own.json())
        .deserialize_map(LabelsVisitor)
        .map_err(|error| Rejection::Invalid(format!("labels: {error}")))?;
    // Stable, so that of equal names the last one in the body stands last.
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let mut pairs: Vec<Pair<'_>> = Vec::with_capacity(found.len());
    for (i, (name, value)) in found.iter().enumerate() {
        if found.get(i + 1).is_some_and(|next| next.0 == *name) {
            continue;
        }
        if let Some(text) = label_value(name, *value)? {
            pairs.push((name.clone(), text));
        }
    }
    Ok(pairs)
}

fn label_value<'a>(name: &str, value: Raw<'a>) -> Result<Option<Cow<'a, str>>, Rejection> {
    let short: String = name.chars().take(64).collect();
    if name.is_empty() {
        return Err(Rejection::Invalid("a label has an empty name".to_owned()));
    }
    if name == METRIC_NAME {
        return Err(Rejection::Invalid(format!("label {METRIC_NAME:?} is reserved; the name is metric_name")));
    }
    match value.kind() {
        Kind::Absent | Kind::Null => Ok(None),
        Kind::Boolean | Kind::Number => Ok(Some(value.json().into())),
        Kind::String => {
            let text = value.text().map_err(|message| Rejection::Invalid(format!("label {short:?} {message}")))?;
            Ok(text.filter(|text| !text.is_empty()))
        }
        Kind::List | Kind::Object => {
            Err(Rejection::Invalid(format!("label {short:?} must be a string, not {}", value.kind())))
        }
    }
}

struct LabelsVisitor;

/// A key without a copy where it has no escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Visitor<'de> for LabelsVisitor {
    type Value = Vec<(Cow<'de, str>, Raw<'de>)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of labels")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some(key) = map.next_key::<Key<'de>>()? {
            pairs.push((key.0, map.next_value()?));
            // The limit of users is far below; this one only bounds what one sample can make us hold.
            if pairs.len() > PAIRS_MAX {
                return Err(A::Error::custom(format_args!("more than {PAIRS_MAX} labels")));
            }
        }
        Ok(pairs)
    }
}

/// Most labels of one sample that are looked at, those without a value included.
const PAIRS_MAX: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: LabelLimits = LabelLimits { labels_max: 64, name_bytes_max: 255, value_bytes_max: 4096 };

    fn built(own: &str, name: &str, kind: &str) -> String {
        of_org(own, name, kind, "")
    }

    fn of_org(own: &str, name: &str, kind: &str, org: &str) -> String {
        match series_labels("m", Component { name, kind, org }, Raw::of(own), LIMITS) {
            Ok(labels) => labels.to_string(),
            Err(rejection) => format!("refused: {rejection}"),
        }
    }

    #[test]
    fn labels_of_a_series() {
        for (own, expected) in [
            ("", r#"{__name__="m", component="c", component_type="t"}"#),
            ("{}", r#"{__name__="m", component="c", component_type="t"}"#),
            (
                r#"{"b":1.50,"a":true,"n":null,"e":""}"#,
                r#"{__name__="m", a="true", b="1.50", component="c", component_type="t"}"#,
            ),
            (r#"{"component":"c","x":"\u00e9"}"#, r#"{__name__="m", component="c", component_type="t", x="é"}"#),
            (r#"{"component":"d"}"#, r#"{__name__="m", component="c", component_type="t", exported_component="d"}"#),
            (
                r#"{"component":"d","exported_component":"e","component_type":"u"}"#,
                r#"{__name__="m", component="c", component_type="t", exported_component="e", exported_component_type="u", exported_exported_component="d"}"#,
            ),
            (r#"{"a":"1","a":"2"}"#, r#"{__name__="m", a="2", component="c", component_type="t"}"#),
            (r#"{"a":"1","\u0061":null}"#, r#"{__name__="m", component="c", component_type="t"}"#),
            (r#"{"a":[1]}"#, r#"refused: label "a" must be a string, not a list"#),
            (r#"{"a":{"b":1}}"#, r#"refused: label "a" must be a string, not an object"#),
            (r#"{"":"x"}"#, "refused: a label has an empty name"),
            (r#"{"__name__":"x"}"#, r#"refused: label "__name__" is reserved; the name is metric_name"#),
            (r#"{"a":"\ud800"}"#, r#"refused: label "a" is not valid Unicode"#),
        ] {
            assert_eq!(built(own, "c", "t"), expected, "{own}");
        }
        assert_eq!(built(r#"{"component_type":"x"}"#, "c", ""), r#"{__name__="m", component="c", component_type="x"}"#);
    }

    #[test]
    fn an_organization_is_the_senders_and_not_what_a_body_says() {
        assert_eq!(of_org("{}", "c", "", "o"), r#"{__name__="m", component="c", org="o"}"#);
        assert_eq!(of_org(r#"{"org":"o"}"#, "c", "", "o"), r#"{__name__="m", component="c", org="o"}"#);
        let other = of_org(r#"{"org":"p"}"#, "c", "", "o");
        assert_eq!(other, r#"{__name__="m", component="c", exported_org="p", org="o"}"#);
        assert_eq!(built(r#"{"org":"p"}"#, "c", ""), r#"{__name__="m", component="c", org="p"}"#, "of nobody's sender");
    }

    #[test]
    fn the_limit_on_labels_counts_those_that_are_added() {
        let own = |n: usize| {
            let pairs: Vec<String> = (0..n).map(|i| format!("\"l{i}\":{i}")).collect();
            format!("{{{}}}", pairs.join(","))
        };
        assert!(built(&own(61), "c", "t").starts_with('{'));
        assert_eq!(built(&own(62), "c", "t"), "refused: 65 labels: limit ingest.max_labels = 64 reached");
    }
}
