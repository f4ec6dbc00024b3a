//! Bytes to a [`Report`], which borrows from them: no tree, no copy.
//!
//! Bodies are read by [`super::plain`] where they are as simple as most are, else by serde, which is the reference.
//! The syntax of the whole body is checked here, and the shape of its outermost object. What a metric holds is read
//! later ([`super::sample`]), so that a wrong one is refused alone.

use std::cell::Cell;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::plain;
use super::problem::Problem;
use super::raw::{Kind, Raw};

/// A decoded body; it borrows from it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report<'a> {
    /// `runtime_id`, checked to be a whole number.
    pub runtime_id: Option<i64>,
    /// `component_name`, checked to be a string.
    pub component_name: Option<std::borrow::Cow<'a, str>>,
    /// `component_type`, checked to be a string.
    pub component_type: Option<std::borrow::Cow<'a, str>>,
    /// `metrics`, in the order of the body.
    pub metrics: Vec<Item<'a>>,
}

/// One entry of `metrics`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Item<'a> {
    /// An object.
    Metric(Metric<'a>),
    /// Something else.
    NotAnObject(Kind),
}

/// A metric's fields as they stand in the body.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Metric<'a> {
    /// `metric_name`
    pub name: Raw<'a>,
    /// `metric_type`
    pub metric_type: Raw<'a>,
    /// `metric_value`
    pub value: Raw<'a>,
    /// `timestamp`
    pub timestamp: Raw<'a>,
    /// `labels`
    pub labels: Raw<'a>,
    /// `help_text`
    pub help: Raw<'a>,
    /// `unit`
    pub unit: Raw<'a>,
}

impl<'a> Metric<'a> {
    /// Of fields with one name the last one counts.
    pub(super) fn set(&mut self, key: MetricKey, value: Raw<'a>) {
        match key {
            MetricKey::Name => self.name = value,
            MetricKey::Type => self.metric_type = value,
            MetricKey::Value => self.value = value,
            MetricKey::Timestamp => self.timestamp = value,
            MetricKey::Labels => self.labels = value,
            MetricKey::Help => self.help = value,
            MetricKey::Unit => self.unit = value,
            MetricKey::Other => {}
        }
    }
}

/// Why a body is no report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecodeError {
    /// It is not JSON.
    Malformed {
        /// What the parser said.
        message: String,
        /// From 1.
        line: usize,
        /// From 1, in bytes.
        column: usize,
    },
    /// It is JSON, but no report.
    Shape(Vec<Problem>),
    /// It has too many metrics.
    TooManySamples {
        /// `ingest.max_batch_samples`
        limit: usize,
    },
}

/// Decodes a body. Pure: fuzz targets call it as the server does.
///
/// # Errors
/// [`DecodeError`]; a metric that is wrong by itself is no error here.
pub fn decode(body: &[u8], samples_max: usize) -> Result<Report<'_>, DecodeError> {
    let text = simdutf8::compat::from_utf8(body).map_err(|e| not_utf8(body, e.valid_up_to()))?;
    let Some(outline) = plain::read(text, samples_max) else { return decode_with_serde(text, samples_max) };
    let report = outline.check();
    // Fuzz targets and tests run with this.
    debug_assert_eq!(report, decode_with_serde(text, samples_max));
    report
}

pub(super) fn decode_with_serde(text: &str, samples_max: usize) -> Result<Report<'_>, DecodeError> {
    let exceeded = Cell::new(false);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let outline = deserializer
        .deserialize_any(OutlineVisitor { samples_max, exceeded: &exceeded })
        .and_then(|outline| deserializer.end().map(|()| outline));
    match outline {
        Ok(Some(outline)) => outline.check(),
        Ok(None) => {
            let message = "Input should be an object with component_name and metrics";
            Err(DecodeError::Shape(vec![Problem::of_body("model_attributes_type", message)]))
        }
        Err(_) if exceeded.get() => Err(DecodeError::TooManySamples { limit: samples_max }),
        Err(error) => Err(malformed(&error)),
    }
}

fn not_utf8(body: &[u8], valid_bytes: usize) -> DecodeError {
    let before = &body[..valid_bytes];
    let line_start = before.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
    DecodeError::Malformed {
        message: "invalid UTF-8".to_owned(),
        line: 1 + before.iter().filter(|b| **b == b'\n').count(),
        column: valid_bytes - line_start + 1,
    }
}

/// What serde_json said, without the position that it appends to its text.
fn malformed(error: &serde_json::Error) -> DecodeError {
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    let message = text.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&text).to_owned();
    DecodeError::Malformed { message, line, column }
}

/// The outermost object before its fields are checked.
#[derive(Default)]
pub(super) struct Outline<'a> {
    pub(super) runtime_id: Raw<'a>,
    pub(super) component_name: Raw<'a>,
    pub(super) component_type: Raw<'a>,
    pub(super) metrics: Option<Metrics<'a>>,
}

pub(super) enum Metrics<'a> {
    List(Vec<Item<'a>>),
    NotAList(Kind),
}

impl<'a> Outline<'a> {
    pub(super) fn check(self) -> Result<Report<'a>, DecodeError> {
        let mut problems = Vec::new();
        let mut report = Report::default();
        match self.runtime_id.whole() {
            Ok(id) => report.runtime_id = id,
            Err(message) => problems.push(Problem::of_field("runtime_id", "int_type", format!("runtime_id {message}"))),
        }
        match self.component_name.text() {
            Ok(name) => report.component_name = name,
            Err(message) => {
                problems.push(Problem::of_field("component_name", "string_type", format!("component_name {message}")));
            }
        }
        match self.component_type.text() {
            Ok(name) => report.component_type = name,
            Err(message) => {
                problems.push(Problem::of_field("component_type", "string_type", format!("component_type {message}")));
            }
        }
        match self.metrics {
            Some(Metrics::List(metrics)) => report.metrics = metrics,
            Some(Metrics::NotAList(kind)) => {
                problems.push(Problem::of_field("metrics", "list_type", format!("metrics must be a list, not {kind}")));
            }
            None => problems.push(Problem::of_field("metrics", "missing", "Field required")),
        }
        if problems.is_empty() { Ok(report) } else { Err(DecodeError::Shape(problems)) }
    }
}

/// Visitor methods for every type but the one that is wanted.
macro_rules! other_types {
    ($value:ty, |$kind:ident| $result:expr) => {
        other_types!(@scalars $value, |$kind| $result);

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<$value, A::Error> {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            let $kind = Kind::Object;
            Ok($result)
        }
    };
    (@scalars $value:ty, |$kind:ident| $result:expr) => {
        fn visit_unit<E: Error>(self) -> Result<$value, E> {
            let $kind = Kind::Null;
            Ok($result)
        }

        fn visit_bool<E: Error>(self, _: bool) -> Result<$value, E> {
            let $kind = Kind::Boolean;
            Ok($result)
        }

        fn visit_i64<E: Error>(self, _: i64) -> Result<$value, E> {
            let $kind = Kind::Number;
            Ok($result)
        }

        fn visit_u64<E: Error>(self, _: u64) -> Result<$value, E> {
            let $kind = Kind::Number;
            Ok($result)
        }

        fn visit_f64<E: Error>(self, _: f64) -> Result<$value, E> {
            let $kind = Kind::Number;
            Ok($result)
        }

        fn visit_str<E: Error>(self, _: &str) -> Result<$value, E> {
            let $kind = Kind::String;
            Ok($result)
        }
    };
    (@list $value:ty, |$kind:ident| $result:expr) => {
        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<$value, A::Error> {
            while list.next_element::<IgnoredAny>()?.is_some() {}
            let $kind = Kind::List;
            Ok($result)
        }
    };
}

#[derive(Clone, Copy)]
struct OutlineVisitor<'s> {
    samples_max: usize,
    exceeded: &'s Cell<bool>,
}

impl<'de> Visitor<'de> for OutlineVisitor<'_> {
    type Value = Option<Outline<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a report")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut outline = Outline::default();
        while let Some(key) = map.next_key::<OutlineKey>()? {
            match key {
                OutlineKey::RuntimeId => outline.runtime_id = map.next_value()?,
                OutlineKey::ComponentName => outline.component_name = map.next_value()?,
                OutlineKey::ComponentType => outline.component_type = map.next_value()?,
                OutlineKey::Metrics => outline.metrics = Some(map.next_value_seed(MetricsSeed(self))?),
                OutlineKey::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Some(outline))
    }

    other_types!(@scalars Self::Value, |_kind| None);
    other_types!(@list Self::Value, |_kind| None);
}

struct MetricsSeed<'s>(OutlineVisitor<'s>);

impl<'de> serde::de::DeserializeSeed<'de> for MetricsSeed<'_> {
    type Value = Metrics<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for MetricsSeed<'_> {
    type Value = Metrics<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of metrics")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            if items.len() == self.0.samples_max {
                self.0.exceeded.set(true);
                return Err(A::Error::custom("too many metrics"));
            }
            items.push(item);
        }
        Ok(Metrics::List(items))
    }

    other_types!(Self::Value, |kind| Metrics::NotAList(kind));
}

impl<'de> Deserialize<'de> for Item<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ItemVisitor)
    }
}

struct ItemVisitor;

impl<'de> Visitor<'de> for ItemVisitor {
    type Value = Item<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a metric")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut metric = Metric::default();
        while let Some(key) = map.next_key::<MetricKey>()? {
            metric.set(key, map.next_value()?);
        }
        Ok(Item::Metric(metric))
    }

    other_types!(@scalars Self::Value, |kind| Item::NotAnObject(kind));
    other_types!(@list Self::Value, |kind| Item::NotAnObject(kind));
}

/// The fields of an object, known by name.
macro_rules! keys {
    ($name:ident { $($text:literal => $variant:ident,)* }) => {
        #[derive(Clone, Copy)]
        pub(super) enum $name {
            $($variant,)*
            Other,
        }

        impl $name {
            pub(super) fn of(text: &str) -> Self {
                match text {
                    $($text => $name::$variant,)*
                    _ => $name::Other,
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct KeyVisitor;
                impl Visitor<'_> for KeyVisitor {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("a field name")
                    }

                    fn visit_str<E: Error>(self, text: &str) -> Result<$name, E> {
                        Ok($name::of(text))
                    }
                }
                deserializer.deserialize_identifier(KeyVisitor)
            }
        }
    };
}

keys! {
    OutlineKey {
        "runtime_id" => RuntimeId,
        "component_name" => ComponentName,
        "component_type" => ComponentType,
        "metrics" => Metrics,
    }
}

keys! {
    MetricKey {
        "metric_name" => Name,
        "metric_type" => Type,
        "metric_value" => Value,
        "timestamp" => Timestamp,
        "labels" => Labels,
        "help_text" => Help,
        "unit" => Unit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn first(body: &str) -> Metric<'_> {
        match decode(body.as_bytes(), 10).unwrap().metrics[0] {
            Item::Metric(metric) => metric,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn fields_are_slices_of_the_body() {
        let body = r#" {"metrics": [ {"metric_name" : "m", "extra": [1, {}], "metric_value":4.50,
            "labels": {"a" : 1}, "unit":null} ], "component_name":"c\u0041", "runtime_id": 7} "#;
        let report = decode(body.as_bytes(), 10).unwrap();
        assert_eq!((report.runtime_id, report.component_name.as_deref()), (Some(7), Some("cA")));
        assert_eq!(report.component_type, None);
        let metric = first(body);
        assert_eq!((metric.name.json(), metric.value.json()), (r#""m""#, "4.50"));
        assert_eq!(metric.labels.json(), r#"{"a" : 1}"#);
        assert_eq!((metric.unit.kind(), metric.help.kind()), (Kind::Null, Kind::Absent));
    }

    #[test]
    fn a_wrong_metric_leaves_the_others() {
        let body = r#"{"metrics":[5, null, "x", [[{}]], true, 1.5, -3, {"metric_name":{}}]}"#;
        let kinds: Vec<Option<Kind>> = decode(body.as_bytes(), 10)
            .unwrap()
            .metrics
            .iter()
            .map(|item| if let Item::NotAnObject(kind) = item { Some(*kind) } else { None })
            .collect();
        use Kind::*;
        let expected = [Number, Null, String, List, Boolean, Number, Number].map(Some);
        assert_eq!((&kinds[..7], kinds[7]), (&expected[..], None));
    }

    #[test]
    fn shapes_are_reported_all_at_once() {
        let body = br#"{"runtime_id":1.5,"component_name":[],"component_type":1,"metrics":{"a":1}}"#;
        let Err(DecodeError::Shape(problems)) = decode(body, 10) else { panic!("accepted") };
        let kinds: Vec<_> = problems.iter().map(|p| p.kind).collect();
        assert_eq!(kinds, ["int_type", "string_type", "string_type", "list_type"]);
        let Err(DecodeError::Shape(problems)) = decode(b"{}", 10) else { panic!("accepted") };
        assert_eq!((problems.len(), problems[0].kind), (1, "missing"));
        for body in ["[]", "1", "null", r#""x""#, "[{}]", "true"] {
            assert!(matches!(decode(body.as_bytes(), 10), Err(DecodeError::Shape(_))), "{body}");
        }
    }

    #[test]
    fn malformed_bodies_are_refused_with_their_place() {
        let place = |body: &[u8]| match decode(body, 10) {
            Err(DecodeError::Malformed { line, column, message }) => (line, column, message),
            other => panic!("{other:?}"),
        };
        assert_eq!(place(b"{\n \"metrics\": [ }"), (2, 15, "expected value".to_owned()));
        assert_eq!(place(b""), (1, 0, "EOF while parsing a value".to_owned()));
        assert_eq!(place(b"{} x"), (1, 4, "trailing characters".to_owned()));
        assert_eq!(place(b"{\"a\":\n\"\xff\"}"), (2, 2, "invalid UTF-8".to_owned()));
        assert_eq!(place(br#"{"metrics":[{"metric_value":NaN}]}"#).0, 1);
        let deep = format!("{{\"metrics\":{}", "[".repeat(100_000));
        assert!(place(deep.as_bytes()).2.contains("EOF"));
    }

    #[test]
    fn the_limit_on_metrics_holds_at_n_and_n_plus_1() {
        let body = |n: usize| format!("{{\"metrics\":[{}]}}", vec!["{}"; n].join(","));
        assert_eq!(decode(body(10).as_bytes(), 10).unwrap().metrics.len(), 10);
        assert_eq!(decode(body(11).as_bytes(), 10), Err(DecodeError::TooManySamples { limit: 10 }));
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused(body in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode(&body, 10);
        }

        #[test]
        fn any_json_is_decoded_or_refused(body in "[\\[\\]{},:\"a1.\\\\ne-]{0,40}") {
            let wrapped = format!("{{\"metrics\":[{body}]}}");
            let valid = serde_json::from_str::<serde_json::Value>(&wrapped).is_ok();
            let decoded = decode(wrapped.as_bytes(), 1000);
            if valid {
                prop_assert!(decoded.is_ok(), "{:?}", decoded);
            }
        }
    }
}
