//! The quick way through a body, for bodies as most senders write them: without escapes, without line breaks, and with
//! nothing nested where a plain value is usual.
//!
//! In a text without backslashes and control characters a string ends at the next quote, so that its bytes need no second
//! look, and labels that repeat those of the metric before are only compared. Everything else, and all that is wrong, is
//! left to serde ([`super::decode()`]), which also says what is wrong and where: [`read`] gives either what serde would give,
//! or nothing, which costs what it read so far.

use super::decode::{Item, Metric, MetricKey, Metrics, Outline, OutlineKey};
use super::raw::Raw;

/// The outermost object, if the whole text is plain and has no more metrics than may be.
pub(super) fn read(text: &str, samples_max: usize) -> Option<Outline<'_>> {
    // Without a branch for each byte, so that it is done for many at once.
    let plain = text.as_bytes().iter().fold(true, |plain, b| plain & (*b >= b' ') & (*b != b'\\'));
    if !plain {
        return None;
    }
    let mut rest = Rest { text, at: 0, labels_before: "" };
    let mut outline = Outline::default();
    rest.fields(|rest, key| {
        match OutlineKey::of(key) {
            OutlineKey::RuntimeId => outline.runtime_id = rest.scalar()?,
            OutlineKey::ComponentName => outline.component_name = rest.scalar()?,
            OutlineKey::ComponentType => outline.component_type = rest.scalar()?,
            OutlineKey::Metrics => outline.metrics = Some(Metrics::List(rest.metrics(samples_max)?)),
            OutlineKey::Other => {
                rest.scalar()?;
            }
        }
        Some(())
    })?;
    rest.peek().is_none().then_some(outline)
}

/// What is left of a plain text.
struct Rest<'a> {
    text: &'a str,
    at: usize,
    /// The last object of labels, or nothing.
    labels_before: &'a str,
}

impl<'a> Rest<'a> {
    /// The next byte that is no space.
    #[inline]
    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while bytes.get(self.at) == Some(&b' ') {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    /// Takes the next byte that is no space, if it is this one.
    #[inline]
    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// After an entry of a list or an object: true if another one follows, false if it ends with this byte.
    #[inline]
    fn goes_on(&mut self, end: u8) -> Option<bool> {
        let byte = self.peek()?;
        self.at += 1;
        match byte {
            b',' => Some(true),
            byte if byte == end => Some(false),
            _ => None,
        }
    }

    /// An object; `field` is given each key and reads its value.
    #[inline]
    fn fields(&mut self, mut field: impl FnMut(&mut Self, &'a str) -> Option<()>) -> Option<()> {
        self.take(b'{')?;
        if self.take(b'}').is_some() {
            return Some(());
        }
        loop {
            let key = self.string()?;
            self.take(b':')?;
            field(self, &key[1..key.len() - 1])?;
            if !self.goes_on(b'}')? {
                return Some(());
            }
        }
    }

    fn metrics(&mut self, samples_max: usize) -> Option<Vec<Item<'a>>> {
        self.take(b'[')?;
        if self.take(b']').is_some() {
            return Some(Vec::new());
        }
        let mut items = Vec::new();
        loop {
            if items.len() == samples_max {
                return None;
            }
            items.push(Item::Metric(self.metric()?));
            if !self.goes_on(b']')? {
                return Some(items);
            }
        }
    }

    fn metric(&mut self) -> Option<Metric<'a>> {
        let mut metric = Metric::default();
        self.fields(|rest, key| {
            let key = MetricKey::of(key);
            let value = if let MetricKey::Labels = key { rest.labels()? } else { rest.scalar()? };
            metric.set(key, value);
            Some(())
        })?;
        Some(metric)
    }

    /// An object of scalars, or a scalar. Metrics of one component often have the labels of the one before, and where an
    /// object ends depends on its own bytes alone: of a second one like it only the bytes are compared.
    #[inline]
    fn labels(&mut self) -> Option<Raw<'a>> {
        if self.peek()? != b'{' {
            return self.scalar();
        }
        let start = self.at;
        let repeats = !self.labels_before.is_empty() && self.text[start..].starts_with(self.labels_before);
        if repeats {
            self.at += self.labels_before.len();
        } else {
            self.fields(|rest, _| rest.scalar().map(|_| ()))?;
            self.labels_before = &self.text[start..self.at];
        }
        Some(Raw::of(self.labels_before))
    }

    /// Anything but a list or an object.
    #[inline]
    fn scalar(&mut self) -> Option<Raw<'a>> {
        match self.peek()? {
            b'"' => self.string().map(Raw::of),
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            _ => self.number(),
        }
    }

    fn literal(&mut self, literal: &str) -> Option<Raw<'a>> {
        let found = self.text[self.at..].get(..literal.len()).filter(|found| *found == literal)?;
        self.at += literal.len();
        Some(Raw::of(found))
    }

    /// A string with its quotes.
    #[inline]
    fn string(&mut self) -> Option<&'a str> {
        if self.peek()? != b'"' {
            return None;
        }
        let start = self.at;
        let inner = quote(&self.text.as_bytes()[start + 1..])?;
        self.at = start + inner + 2;
        Some(&self.text[start..self.at])
    }

    /// A number: `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?` (RFC 8259, section 6).
    #[inline]
    fn number(&mut self) -> Option<Raw<'a>> {
        let (bytes, start) = (self.text.as_bytes(), self.at);
        let mut at = start + usize::from(bytes.get(start) == Some(&b'-'));
        let whole = at;
        at = digits(bytes, at)?;
        if bytes[whole] == b'0' && at > whole + 1 {
            return None;
        }
        if bytes.get(at) == Some(&b'.') {
            at = digits(bytes, at + 1)?;
        }
        if let Some(b'e' | b'E') = bytes.get(at) {
            at += 1 + usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
            at = digits(bytes, at)?;
        }
        self.at = at;
        Some(Raw::of(&self.text[start..at]))
    }
}

/// The place after the digits that begin here; none if there is none.
#[inline]
fn digits(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    while bytes.get(at).is_some_and(u8::is_ascii_digit) {
        at += 1;
    }
    (at > start).then_some(at)
}

/// The place of the first quote. Strings are short here: eight bytes at a time in place cost less than a call.
#[inline]
fn quote(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const QUOTES: u64 = ONES * b'"' as u64;
    let (words, tail) = bytes.as_chunks::<8>();
    for (i, word) in words.iter().enumerate() {
        let differs = u64::from_le_bytes(*word) ^ QUOTES;
        // The lowest bit that is set is right; above it a borrow may have set others (Hacker's Delight, 6-1).
        let zero_bytes = differs.wrapping_sub(ONES) & !differs & (ONES << 7);
        if zero_bytes != 0 {
            return Some(i * 8 + zero_bytes.trailing_zeros() as usize / 8);
        }
    }
    let at = tail.iter().position(|b| *b == b'"')?;
    Some(words.len() * 8 + at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::decode::{Report, decode_with_serde};
    use super::*;

    fn read_and_checked(text: &str) -> Option<Report<'_>> {
        read(text, 3).map(|outline| outline.check().unwrap())
    }

    #[test]
    fn bodies_as_senders_write_them_are_read_here() {
        let spaced = r#"{"component_name": "c", "component_type": "server_api", "runtime_id": null, "metrics": [
            {"metric_name": "m", "metric_type": "gauge", "metric_value": -0.5e+3, "labels": {"a": "é", "n": 1, "b": true},
            "timestamp": "2024-01-01T12:00:00", "help_text": "H {,}: []", "unit": "", "extra": false}, {}]} "#
            .replace("\n            ", " ");
        let compact =
            r#"{"metrics":[{"metric_name":"m","metric_value":1,"labels":{}},{"labels":null}],"runtime_id":7}"#;
        for text in [&*spaced, compact, r#"{"metrics":[]}"#, r#"{ "metrics" : [ ] }"#] {
            let report = read_and_checked(text).unwrap_or_else(|| panic!("not read: {text}"));
            assert_eq!(Ok(report), decode_with_serde(text, 3));
        }
    }

    #[test]
    fn labels_that_begin_like_those_before_are_told_apart() {
        let all =
            [r#"{"a":"1"}"#, r#"{"a":"1","b":2}"#, r#"{"a":1}"#, r#"{"a":12}"#, r#"{"a":"}"}"#, r#"{"a":"}x"}"#, "{}"];
        for first in all {
            for second in all {
                let text = [first, second, first].map(|labels| format!("{{\"labels\":{labels},\"unit\":\"u\"}}"));
                let text = format!("{{\"metrics\":[{}]}}", text.join(","));
                let report = read_and_checked(&text).unwrap();
                let labels = report.metrics.iter().map(|item| match item {
                    Item::Metric(metric) => metric.labels.json(),
                    other => panic!("{other:?}"),
                });
                assert_eq!(labels.collect::<Vec<_>>(), [first, second, first]);
                assert_eq!(Ok(report), decode_with_serde(&text, 3));
            }
        }
        for broken in
            [r#"{"metrics":[{"labels":{"a":1}},{"labels":{"a":1}]}"#, r#"{"metrics":[{"labels":{}},{"labels":{}x}]}"#]
        {
            assert!(read(broken, 3).is_none(), "{broken}");
        }
    }

    #[test]
    fn all_else_is_left_to_serde() {
        for text in [
            "",
            "{",
            "{}x",
            "[]",
            "{\n}",
            r#"{"a":"\u0061"}"#,
            r#"{"a":[]}"#,
            r#"{"metrics":{}}"#,
            r#"{"metrics":[1]}"#,
            r#"{"metrics":[{},{},{},{}]}"#,
            r#"{"metrics":[{"metric_value":{}}]}"#,
            r#"{"metrics":[{"labels":{"a":[]}}]}"#,
            r#"{"metrics":[{"labels":[]}]}"#,
            r#"{"metrics":[{},]}"#,
            r#"{"metrics":[{}}"#,
            r#"{"metrics":[{"a":1,}]}"#,
            r#"{"metrics":[{"a" 1}]}"#,
            r#"{"metrics":[{"a":1"b":2}]}"#,
            r#"{"a":"}"#,
            r#"{a":1}"#,
        ] {
            assert!(read(text, 3).is_none(), "{text}");
        }
        for no_number in
            ["01", "-", "1.", ".5", "1e", "1e+", "+1", "0x1", "NaN", "Infinity", "tru", "nul", "true1", "1 2"]
        {
            assert!(read(&format!(r#"{{"a":{no_number}}}"#), 3).is_none(), "{no_number}");
        }
    }

    fn one_of(texts: &'static [&'static str]) -> impl Strategy<Value = &'static str> + Clone {
        prop::sample::select(texts)
    }

    /// Texts near to reports, most of them plain: right ones, and such with a piece cut out or repeated.
    fn texts() -> impl Strategy<Value = String> {
        let scalar = prop_oneof![
            40 => one_of(&["1", "-0", "12.50", "0e1", "1E-7", "-3.25e+10", "null", "true", "false"]),
            40 => one_of(&[r#""""#, r#""a""#, r#""é{}[],:""#, r#""twelve bytes""#]),
            1 => one_of(&["01", "1.", "[]", "{}", r#"[{"a":1}]"#, r#""a\"b""#, r#""\u00e9""#, "\"\u{1}\""]),
        ];
        let space = prop_oneof![20 => one_of(&["", "", " ", "  "]), 1 => one_of(&["\n", "\t"])];
        let labels = one_of(&["{}", r#"{"a":1}"#, r#"{"a":12}"#, r#"{"a":"1","b":"2"}"#, r#"{"a":"}"}"#]);
        let key = one_of(&["metric_name", "metric_type", "metric_value", "timestamp", "help_text", "unit", "x"]);
        let field = prop_oneof![
            2 => (key, space.clone(), scalar.clone()).prop_map(|(key, space, value)| format!("\"{key}\"{space}:{value}{space}")),
            1 => labels.prop_map(|labels| format!("\"labels\":{labels}")),
            1 => prop::collection::vec((0..3_u8, scalar.clone()), 0..3).prop_map(|pairs| {
                let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("\"l{name}\": {value}")).collect();
                format!("\"labels\": {{{}}}", pairs.join(" ,"))
            }),
        ];
        let metric = prop::collection::vec(field, 0..4).prop_map(|fields| format!("{{{}}}", fields.join(",")));
        let key = one_of(&["runtime_id", "component_name", "component_type", "metrics", "other"]);
        let head = prop::collection::vec((key, scalar, space), 0..3).prop_map(|fields| {
            fields.iter().map(|(key, value, space)| format!("{space}\"{key}\":{value},{space}")).collect::<String>()
        });
        let whole = (head, prop::collection::vec(metric, 0..5))
            .prop_map(|(head, metrics)| format!("{{{head}\"metrics\":[{}]}}", metrics.join(",")));
        (whole, any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..8_u8).prop_map(|(text, a, b, change)| {
            let places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
            let (a, b) = (places[a.index(places.len())], places[b.index(places.len())]);
            match change {
                0 if a < b && b - a < 8 => format!("{}{}", &text[..a], &text[b..]),
                1 if a < b => format!("{}{}", &text[..b], &text[a..]),
                2 => text[..a].to_owned(),
                _ => text,
            }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// What is read here is what serde reads.
        #[test]
        fn agrees_with_serde(text in texts()) {
            if let Some(outline) = read(&text, 3) {
                prop_assert_eq!(outline.check(), decode_with_serde(&text, 3));
            }
        }

        #[test]
        fn the_first_quote_is_found(bytes in prop::collection::vec(prop::sample::select(vec![b'!', b'"', b'#', 0xa2, 0]), 0..40)) {
            prop_assert_eq!(quote(&bytes), bytes.iter().position(|b| *b == b'"'));
        }
    }
}
