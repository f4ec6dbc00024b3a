//! `/jobs/:jobid/vertices/:vertexid/backpressure`.

use serde_json::Value;

use super::json::{Fields, WrongShape, wrong};

/// How much of its time each subtask is held back, from 0 to 1; none if the cluster has not looked yet.
///
/// # Errors
/// [`WrongShape`].
pub fn back_pressure(answer: &Value) -> Result<Vec<(u64, f64)>, WrongShape> {
    let fields = Fields::of(answer)?;
    if fields.text("status")? != "ok" {
        return Ok(Vec::new());
    }
    let ratio = |value: &Value| {
        let subtask = Fields::of(value)?;
        Ok((subtask.count("subtask")?, subtask.number_if("ratio").ok_or_else(|| wrong("ratio", "number"))?))
    };
    fields.list("subtasks")?.iter().map(ratio).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn subtasks_have_ratios_once_the_cluster_has_looked() {
        let subtasks = json!([{"subtask": 1, "ratio": 0.7, "backpressure-level": "high"}]);
        let found = back_pressure(&json!({"status": "ok", "subtasks": subtasks}));
        assert_eq!(found, Ok(vec![(1, 0.7)]));
        assert_eq!(back_pressure(&json!({"status": "deprecated"})), Ok(Vec::new()));
        assert!(back_pressure(&json!({"status": "ok"})).is_err());
        assert!(back_pressure(&json!({"status": "ok", "subtasks": [{"subtask": 0}]})).is_err());
    }
}
