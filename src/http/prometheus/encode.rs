//! Results as Prometheus's JSON: `resultType` stands before `result`, timestamps are numbers, values texts.

use model::SampleColumns;
use query::{Annotations, Answer, SampleValue, SeriesPoints, Value, VectorElement};

use super::histogram::push_histogram;
use super::number::{push_plain, push_sample, push_timestamp};
use super::stream::Pieces;
use crate::json::{push_labels, push_text};

/// Points that one piece writes, so that one long series is no long piece.
const POINTS_PER_PIECE: usize = 1024;

/// Annotations of one kind that are written out, as in Prometheus; of more only the number is told.
const ANNOTATIONS_MAX: usize = 10;

/// What a cut answer says.
pub(super) const TRUNCATED: &str = "results truncated due to limit";

/// The end of an answer, behind `data`: warnings, infos, the last brace.
fn push_end(out: &mut Vec<u8>, annotations: &Annotations) {
    for (kind, texts) in [("warning", &annotations.warnings), ("info", &annotations.infos)] {
        if texts.is_empty() {
            continue;
        }
        out.extend_from_slice(format!(",\"{kind}s\":[").as_bytes());
        for (i, text) in texts.iter().take(ANNOTATIONS_MAX).enumerate() {
            if i > 0 {
                out.push(b',');
            }
            push_text(out, text);
        }
        if texts.len() > ANNOTATIONS_MAX {
            let omitted = texts.len() - ANNOTATIONS_MAX;
            out.push(b',');
            push_text(out, &format!("{omitted} more {kind} annotations omitted"));
        }
        out.push(b']');
    }
    out.push(b'}');
}

/// An evaluated expression.
pub(super) struct AnswerPieces {
    head: Vec<u8>,
    rest: Rest,
    is_first: bool,
    tail: Vec<u8>,
}

/// What is still to be written between head and tail; what is written is freed.
enum Rest {
    Nothing,
    Vector(std::vec::IntoIter<VectorElement>, i64),
    Matrix(std::vec::IntoIter<SeriesPoints>, Option<OpenSeries>),
}

/// A series whose points are being written.
struct OpenSeries {
    points: SampleColumns,
    floats: usize,
    histograms: usize,
}

impl AnswerPieces {
    /// An answer at its evaluation time; `stats` is a JSON object if the client asked for one.
    pub(super) fn new(answer: Answer, time_ms: i64, stats: Option<&serde_json::Value>) -> AnswerPieces {
        let mut head = b"{\"status\":\"success\",\"data\":{\"resultType\":\"".to_vec();
        let rest = match answer.value {
            Value::Scalar(number) => {
                head.extend_from_slice(b"scalar\",\"result\":[");
                push_timestamp(&mut head, time_ms);
                head.extend_from_slice(b",\"");
                push_plain(&mut head, number);
                head.push(b'"');
                Rest::Nothing
            }
            Value::String(text) => {
                head.extend_from_slice(b"string\",\"result\":[");
                push_timestamp(&mut head, time_ms);
                head.push(b',');
                push_text(&mut head, &text);
                Rest::Nothing
            }
            Value::Vector(elements) => {
                head.extend_from_slice(b"vector\",\"result\":[");
                Rest::Vector(elements.into_iter(), time_ms)
            }
            Value::Matrix(series) => {
                head.extend_from_slice(b"matrix\",\"result\":[");
                Rest::Matrix(series.into_iter(), None)
            }
        };
        let mut tail = b"]".to_vec();
        if let Some(stats) = stats {
            tail.extend_from_slice(b",\"stats\":");
            tail.extend_from_slice(stats.to_string().as_bytes());
        }
        tail.push(b'}');
        push_end(&mut tail, &answer.annotations);
        AnswerPieces { head, rest, is_first: true, tail }
    }

    fn separate(&mut self, out: &mut Vec<u8>) {
        if !std::mem::take(&mut self.is_first) {
            out.push(b',');
        }
    }
}

impl Pieces for AnswerPieces {
    fn push_next(&mut self, out: &mut Vec<u8>) -> bool {
        out.append(&mut self.head);
        match &mut self.rest {
            Rest::Nothing => {}
            Rest::Vector(elements, time_ms) => {
                let time_ms = *time_ms;
                if let Some(element) = elements.next() {
                    self.separate(out);
                    push_element(out, &element, time_ms);
                    return true;
                }
            }
            Rest::Matrix(series, open) => {
                if let Some(current) = open {
                    if current.push_points(out) {
                        *open = None;
                        out.push(b'}');
                    }
                    return true;
                }
                if let Some(SeriesPoints { labels, points }) = series.next() {
                    *open = Some(OpenSeries { points, floats: 0, histograms: 0 });
                    self.separate(out);
                    out.extend_from_slice(b"{\"metric\":");
                    push_labels(out, &labels);
                    return true;
                }
            }
        }
        self.rest = Rest::Nothing;
        out.append(&mut self.tail);
        false
    }
}

fn push_element(out: &mut Vec<u8>, element: &VectorElement, time_ms: i64) {
    out.extend_from_slice(b"{\"metric\":");
    push_labels(out, &element.labels);
    match &element.value {
        SampleValue::Float(value) => {
            out.extend_from_slice(b",\"value\":");
            push_point(out, time_ms, *value);
        }
        SampleValue::Histogram(histogram) => {
            out.extend_from_slice(b",\"histogram\":[");
            push_timestamp(out, time_ms);
            out.push(b',');
            push_histogram(out, histogram);
            out.push(b']');
        }
    }
    out.push(b'}');
}

fn push_point(out: &mut Vec<u8>, time_ms: i64, value: f64) {
    out.push(b'[');
    push_timestamp(out, time_ms);
    out.extend_from_slice(b",\"");
    push_sample(out, value);
    out.extend_from_slice(b"\"]");
}

impl OpenSeries {
    /// Appends some points; true if those were the last.
    fn push_points(&mut self, out: &mut Vec<u8>) -> bool {
        let (floats, histograms) = (self.points.len(), self.points.histograms.len());
        if self.floats < floats {
            let end = floats.min(self.floats + POINTS_PER_PIECE);
            for i in self.floats..end {
                out.extend_from_slice(if i == 0 { b",\"values\":[" } else { b"," });
                push_point(out, self.points.timestamps_ms[i], self.points.values[i]);
            }
            if end == floats {
                out.push(b']');
            }
            self.floats = end;
        } else if self.histograms < histograms {
            let (time_ms, histogram) = &self.points.histograms[self.histograms];
            out.extend_from_slice(if self.histograms == 0 { b",\"histograms\":[[" } else { b",[" });
            push_timestamp(out, *time_ms);
            out.push(b',');
            push_histogram(out, histogram);
            out.push(b']');
            self.histograms += 1;
            if self.histograms == histograms {
                out.push(b']');
            }
        }
        self.floats == floats && self.histograms == histograms
    }
}

/// A list under `data`, each element written by a function.
pub(super) struct ListPieces<T> {
    head: &'static [u8],
    elements: std::vec::IntoIter<T>,
    push: fn(&mut Vec<u8>, &T),
    tail: Vec<u8>,
}

impl<T> ListPieces<T> {
    /// All elements; `is_cut` says that there were more than the client wants.
    pub(super) fn new(elements: Vec<T>, is_cut: bool, push: fn(&mut Vec<u8>, &T)) -> ListPieces<T> {
        let mut annotations = Annotations::default();
        annotations.warnings.extend(is_cut.then(|| TRUNCATED.to_owned()));
        let mut tail = b"]".to_vec();
        push_end(&mut tail, &annotations);
        ListPieces { head: b"{\"status\":\"success\",\"data\":[", elements: elements.into_iter(), push, tail }
    }
}

impl<T: Send + Unpin + 'static> Pieces for ListPieces<T> {
    fn push_next(&mut self, out: &mut Vec<u8>) -> bool {
        if let Some(element) = self.elements.next() {
            let separator: &[u8] = if self.head.is_empty() { b"," } else { std::mem::take(&mut self.head) };
            out.extend_from_slice(separator);
            (self.push)(out, &element);
            return true;
        }
        out.extend_from_slice(std::mem::take(&mut self.head));
        out.append(&mut self.tail);
        false
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::{Histogram, Labels};
    use serde_json::json;

    use super::*;

    fn text(pieces: &mut impl Pieces) -> String {
        let mut out = Vec::new();
        while pieces.push_next(&mut out) {}
        String::from_utf8(out).unwrap()
    }

    fn answer(value: Value, time_ms: i64) -> String {
        text(&mut AnswerPieces::new(Answer { value, annotations: Annotations::default() }, time_ms, None))
    }

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        Labels::from_pairs(pairs.iter().copied()).unwrap()
    }

    #[test]
    fn scalars_and_texts() {
        assert_eq!(
            answer(Value::Scalar(1e21), 1_234),
            r#"{"status":"success","data":{"resultType":"scalar","result":[1.234,"1000000000000000000000"]}}"#
        );
        assert_eq!(
            answer(Value::String("a\"b\\c\n\t\u{1}<>&\u{2028}é\u{7f}😀".to_owned()), 4_000),
            "{\"status\":\"success\",\"data\":{\"resultType\":\"string\",\"result\":[4,\"a\\\"b\\\\c\\n\\t\\u0001<>&\u{2028}é\u{7f}😀\"]}}"
        );
    }

    #[test]
    fn vectors_with_annotations_and_stats() {
        let element = |value| VectorElement { labels: labels(&[("__name__", "a"), ("l", "\"")]), value };
        let value = Value::Vector(vec![
            element(SampleValue::Float(1e21)),
            element(SampleValue::Histogram(Arc::new(Histogram { count: 1.0, sum: 2.0, ..Histogram::default() }))),
        ]);
        let mut annotations = Annotations::default();
        annotations.warnings.insert("w".to_owned());
        annotations.infos.extend(["i".to_owned(), "j".to_owned()]);
        let stats = json!({"samples": 1});
        let mut pieces = AnswerPieces::new(Answer { value, annotations }, -1_500, Some(&stats));
        assert_eq!(
            text(&mut pieces),
            concat!(
                r#"{"status":"success","data":{"resultType":"vector","result":["#,
                r#"{"metric":{"__name__":"a","l":"\""},"value":[-1.500,"1e+21"]},"#,
                r#"{"metric":{"__name__":"a","l":"\""},"histogram":[-1.500,{"count":"1","sum":"2"}]}"#,
                r#"],"stats":{"samples":1}},"warnings":["w"],"infos":["i","j"]}"#
            )
        );
        assert_eq!(
            answer(Value::Vector(vec![]), 0),
            r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#
        );
    }

    #[test]
    fn many_annotations_are_counted() {
        let infos = |count: usize| {
            let infos = (0..count).map(|i| format!("{i:02}")).collect();
            let answer =
                Answer { value: Value::Scalar(0.0), annotations: Annotations { infos, ..Annotations::default() } };
            let text = text(&mut AnswerPieces::new(answer, 0, None));
            serde_json::from_str::<serde_json::Value>(&text).unwrap()["infos"].as_array().unwrap().clone()
        };
        assert_eq!((infos(10).len(), infos(10)[9].as_str()), (10, Some("09")));
        assert_eq!((infos(12).len(), infos(12)[10].as_str()), (11, Some("2 more info annotations omitted")));
    }

    #[test]
    fn a_matrix_with_floats_and_histograms() {
        let mut points = SampleColumns::default();
        points.push(0, 1.0);
        points.push(1_500, -0.0);
        let both =
            SampleColumns { histograms: vec![(2_000, Arc::default()), (3_000, Arc::default())], ..points.clone() };
        let series = |points: &SampleColumns| SeriesPoints { labels: Labels::empty(), points: points.clone() };
        let value = Value::Matrix(vec![series(&points), series(&both), series(&SampleColumns::default())]);
        assert_eq!(
            answer(value, 7),
            concat!(
                r#"{"status":"success","data":{"resultType":"matrix","result":["#,
                r#"{"metric":{},"values":[[0,"1"],[1.500,"-0"]]},"#,
                r#"{"metric":{},"values":[[0,"1"],[1.500,"-0"]],"histograms":[[2,{"count":"0","sum":"0"}],[3,{"count":"0","sum":"0"}]]},"#,
                r#"{"metric":{}}]}}"#
            )
        );
    }

    #[test]
    fn a_long_series_is_whole_in_several_pieces() {
        for count in [POINTS_PER_PIECE - 1, POINTS_PER_PIECE, POINTS_PER_PIECE + 1, 3 * POINTS_PER_PIECE] {
            let mut points = SampleColumns::default();
            (0..count as i64).for_each(|i| points.push(i, i as f64));
            let value = Value::Matrix(vec![SeriesPoints { labels: Labels::empty(), points }]);
            let parsed: serde_json::Value = serde_json::from_str(&answer(value, 0)).unwrap();
            let values = parsed["data"]["result"][0]["values"].as_array().unwrap();
            assert_eq!(values.len(), count);
            assert_eq!(values[count - 1][1], (count - 1).to_string());
        }
    }

    #[test]
    fn lists() {
        let list = |elements: &[&str], is_cut| {
            let elements = elements.iter().map(|e| (*e).to_owned()).collect();
            text(&mut ListPieces::new(elements, is_cut, |out, e: &String| push_text(out, e)))
        };
        assert_eq!(list(&[], false), r#"{"status":"success","data":[]}"#);
        assert_eq!(
            list(&["a", "b"], true),
            r#"{"status":"success","data":["a","b"],"warnings":["results truncated due to limit"]}"#
        );
    }
}
