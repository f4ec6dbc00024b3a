//! The JSON of Arroyo's metrics, in and out: the console's shape, and the shape of the API page beside it.

use serde::{Deserialize, Serialize};

/// An operator with all that is known of it. Older releases write names in camel case; they are read as well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Operator {
    /// The page's name of it, such as `node_1`.
    #[serde(default, alias = "operatorId", skip_serializing_if = "Option::is_none")]
    pub(crate) operator_id: Option<String>,
    /// Its number in the graph, where it has one.
    #[serde(default, alias = "nodeId", skip_serializing_if = "Option::is_none")]
    pub(crate) node_id: Option<u32>,
    /// The page's shape: the newest value of each metric.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) subtasks: Option<Vec<Subtask>>,
    /// The console's shape: points of each metric.
    #[serde(alias = "metricGroups")]
    pub(crate) metric_groups: Vec<Group>,
}

/// The newest values of a subtask.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Subtask {
    /// From 0.
    pub(crate) index: u32,
    /// By name, each once.
    pub(crate) metrics: Vec<Newest>,
}

/// The newest value of a metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Newest {
    /// Such as `messages_sent`.
    pub(crate) name: String,
    /// Of a counter of ours the count itself.
    pub(crate) value: f64,
}

/// One metric of an operator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Group {
    /// Such as `messages_sent`.
    pub(crate) name: String,
    /// Those that have points.
    pub(crate) subtasks: Vec<Series>,
}

/// The points of a subtask.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Series {
    /// From 0.
    #[serde(alias = "idx")]
    pub(crate) index: u32,
    /// In the order of time.
    pub(crate) metrics: Vec<Point>,
}

/// One value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Point {
    /// Microseconds since 1970.
    pub(crate) time: u64,
    /// Of a counter its rate per second.
    pub(crate) value: f64,
}

/// The answer of the console's endpoint.
#[derive(Debug, Serialize)]
pub(crate) struct Collection {
    /// The operators.
    pub(crate) data: Vec<Operator>,
}

/// Reads what a controller tells, and adds the page's shape to it: of each metric the newest point. One that is a Streamgauge
/// tells that shape itself.
///
/// # Errors
/// For people: what is wrong, with line and column.
pub(crate) fn of_controller(metrics: &str) -> Result<Vec<Operator>, String> {
    let mut operators: Vec<Operator> = serde_json::from_str(metrics).map_err(|e| e.to_string())?;
    for operator in &mut operators {
        operator.operator_id = match (operator.operator_id.take(), operator.node_id) {
            (Some(id), _) => Some(id),
            (None, Some(node)) => Some(node_name(node)),
            (None, None) => return Err("an operator has neither node_id nor operator_id".to_owned()),
        };
        if operator.subtasks.is_none() {
            operator.subtasks = Some(newest(&operator.metric_groups));
        }
    }
    Ok(operators)
}

/// The page's name of a node.
pub(crate) fn node_name(node: u32) -> String {
    format!("node_{node}")
}

/// The newest point of each metric, by subtask.
fn newest(groups: &[Group]) -> Vec<Subtask> {
    let mut subtasks: std::collections::BTreeMap<u32, Vec<Newest>> = Default::default();
    for group in groups {
        for series in &group.subtasks {
            // A controller writes them in the order of time, but nothing says so.
            if let Some(point) = series.metrics.iter().max_by_key(|point| point.time) {
                let newest = Newest { name: group.name.clone(), value: point.value };
                subtasks.entry(series.index).or_default().push(newest);
            }
        }
    }
    subtasks.into_iter().map(|(index, metrics)| Subtask { index, metrics }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// As the release of August 2026 writes it.
    const TOLD: &str = r#"[{"node_id":1,"metric_groups":[{"name":"messages_sent","subtasks":[
        {"index":0,"metrics":[{"time":1796000000000000,"value":12.5},{"time":1796000002000000,"value":13.0}]},
        {"index":1,"metrics":[]}]}]}]"#;

    #[test]
    fn the_pages_shape_stands_beside_the_consoles() {
        let shown = serde_json::to_value(of_controller(TOLD).unwrap()).unwrap();
        let expected = json!([{
            "operator_id": "node_1",
            "node_id": 1,
            "subtasks": [{"index": 0, "metrics": [{"name": "messages_sent", "value": 13.0}]}],
            "metric_groups": [{"name": "messages_sent", "subtasks": [
                {"index": 0, "metrics": [
                    {"time": 1_796_000_000_000_000_u64, "value": 12.5}, {"time": 1_796_000_002_000_000_u64, "value": 13.0},
                ]},
                {"index": 1, "metrics": []},
            ]}],
        }]);
        assert_eq!(shown, expected);
    }

    #[test]
    fn older_releases_are_read() {
        let old =
            r#"[{"operatorId":"source_3","metricGroups":[{"name":"bytes_recv","subtasks":[{"idx":2,"metrics":[]}]}]}]"#;
        let operators = of_controller(old).unwrap();
        assert_eq!(operators[0].operator_id.as_deref(), Some("source_3"));
        assert_eq!((operators[0].node_id, operators[0].metric_groups[0].subtasks[0].index), (None, 2));
    }

    #[test]
    fn what_is_not_that_is_refused() {
        for (told, wrong) in [
            ("", "EOF"),
            ("{}", "invalid type"),
            (r#"[{"node_id":1}]"#, "metric_groups"),
            (r#"[{"metric_groups":[]}]"#, "neither node_id nor operator_id"),
            (r#"[{"node_id":-1,"metric_groups":[]}]"#, "invalid value"),
            (
                r#"[{"node_id":1,"metric_groups":[{"name":"x","subtasks":[{"index":0,"metrics":[{"time":1}]}]}]}]"#,
                "value",
            ),
        ] {
            let error = of_controller(told).unwrap_err();
            assert!(error.contains(wrong), "{told}: {error}");
        }
    }
}
