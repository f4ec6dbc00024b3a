//! A result as an aligned table: a column per label, then time and value.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::time_cell;

/// The label that holds the metric's name stands first, under this word.
const METRIC: (&str, &str) = ("__name__", "metric");

/// Renders the `data` of an answer; empty if it has no series, none if it is no result.
pub(super) fn render(data: &Value) -> Option<String> {
    let result = data["result"].as_array()?;
    match data["resultType"].as_str()? {
        "scalar" | "string" => Some(format!("{}\n", cell(result.get(1)?))),
        "vector" => Some(rows(result, false)),
        "matrix" => Some(rows(result, true)),
        _ => None,
    }
}

fn rows(result: &[Value], with_time: bool) -> String {
    if result.is_empty() {
        return String::new();
    }
    let names: BTreeSet<&str> =
        result.iter().filter_map(|s| s["metric"].as_object()).flat_map(Map::keys).map(String::as_str).collect();
    let mut names: Vec<&str> = names.into_iter().collect();
    names.sort_by_key(|name| *name != METRIC.0);
    let head = |name: &&str| if *name == METRIC.0 { METRIC.1.to_owned() } else { (*name).to_owned() };
    let mut table: Vec<Vec<String>> = vec![names.iter().map(head).collect()];
    table[0].extend(with_time.then(|| "time".to_owned()));
    table[0].push("value".to_owned());
    for series in result {
        let labels: Vec<String> = names.iter().map(|name| cell(&series["metric"][*name])).collect();
        for point in points(series) {
            let mut row = labels.clone();
            row.extend(with_time.then(|| time_cell(&point[0])));
            row.push(cell(&point[1]));
            table.push(row);
        }
    }
    aligned(&table)
}

/// The points of a series: one of a vector, all of a matrix.
fn points(series: &Value) -> Vec<&Value> {
    let single = ["value", "histogram"].iter().filter_map(|key| series.get(*key));
    let many = ["values", "histograms"].iter().filter_map(|key| series[*key].as_array()).flatten();
    single.chain(many).collect()
}

/// A text as it is; a control character would break the lines.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) if text.chars().any(char::is_control) => format!("{text:?}"),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Columns two blanks apart, the last one (the value) not filled up.
fn aligned(table: &[Vec<String>]) -> String {
    let columns = table.first().map_or(0, Vec::len);
    let width = |column: usize| table.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in table {
        for (column, text) in row.iter().enumerate() {
            out.push_str(text);
            if column + 1 < columns {
                let fill = widths[column] - text.chars().count() + 2;
                out.extend(std::iter::repeat_n(' ', fill));
            }
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn vectors() {
        let data = json!({"resultType": "vector", "result": [
            {"metric": {"__name__": "up", "job": "a"}, "value": [4, "1"]},
            {"metric": {"__name__": "latency", "Zone": "ö\n"}, "value": [4, "+Inf"]},
        ]});
        let expected = "\
metric   Zone   job  value
up              a    1
latency  \"ö\\n\"       +Inf
";
        assert_eq!(render(&data).unwrap(), expected);
    }

    #[test]
    fn matrices_have_a_line_per_point() {
        let data = json!({"resultType": "matrix", "result": [
            {"metric": {}, "values": [[0, "1"], [1.5, "2"]], "histograms": [[2, {"count": "1"}]]},
        ]});
        let expected = "\
time                    value
1970-01-01T00:00:00Z    1
1970-01-01T00:00:01.5Z  2
1970-01-01T00:00:02Z    {\"count\":\"1\"}
";
        assert_eq!(render(&data).unwrap(), expected);
    }

    #[test]
    fn scalars_nothing_and_nonsense() {
        assert_eq!(render(&json!({"resultType": "scalar", "result": [4, "1"]})).unwrap(), "1\n");
        assert_eq!(render(&json!({"resultType": "vector", "result": []})).unwrap(), "");
        assert_eq!(render(&json!({"resultType": "new", "result": []})), None);
        assert_eq!(render(&json!([])), None);
    }
}
