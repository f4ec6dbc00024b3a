//! `/jobs/:jobid/exceptions`, of both releases.

use serde_json::Value;

use super::json::{Fields, WrongShape};
use crate::jobs::Failure;

/// The failures that the source shows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Failures {
    /// Newest first.
    pub failures: Vec<Failure>,
    /// True if there were more.
    pub is_truncated: bool,
}

/// Reads the answer.
///
/// # Errors
/// [`WrongShape`].
pub fn failures(answer: &Value) -> Result<Failures, WrongShape> {
    let fields = Fields::of(answer)?;
    let Some(history) = fields.object_if("exceptionHistory") else { return of_page(fields) };
    let entries = history.list("entries")?.iter().map(failure);
    Ok(Failures { failures: entries.collect::<Result<_, _>>()?, is_truncated: history.is("truncated") })
}

fn failure(value: &Value) -> Result<Failure, WrongShape> {
    let fields = Fields::of(value)?;
    let others = fields.list_if("concurrentExceptions").unwrap_or_default().iter().map(failure);
    let label = |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
    Ok(Failure {
        at_ms: fields.whole("timestamp")?,
        name: fields.text_if("exceptionName"),
        stack_trace: fields.text("stacktrace")?,
        task: fields.text_if("taskName"),
        endpoint: fields.text_if("endpoint"),
        task_manager: fields.text_if("taskManagerId"),
        labels: fields.object_if("failureLabels").map(|l| l.entries().filter_map(label).collect()).unwrap_or_default(),
        concurrent: others.collect::<Result<_, _>>()?,
    })
}

/// 1.9 has one exception of the job, and those of tasks beside it.
fn of_page(fields: Fields<'_>) -> Result<Failures, WrongShape> {
    let mut failures = Vec::new();
    if let Some(stack_trace) = fields.text_if("root-exception") {
        let name = stack_trace.split([':', '\n']).next().map(|name| name.trim().to_owned());
        let mut root = Failure {
            at_ms: fields.whole("timestamp")?,
            name,
            stack_trace,
            task: None,
            endpoint: None,
            task_manager: None,
            labels: Default::default(),
            concurrent: Vec::new(),
        };
        for value in fields.list_if("all-exceptions").unwrap_or_default() {
            let task = Fields::of(value)?;
            root.concurrent.push(Failure {
                at_ms: task.whole("timestamp")?,
                stack_trace: task.text("exception")?,
                task: task.text_if("task"),
                endpoint: task.text_if("location").filter(|place| place != "(unassigned)"),
                name: None,
                concurrent: Vec::new(),
                ..root.clone()
            });
        }
        failures.push(root);
    }
    Ok(Failures { failures, is_truncated: fields.is("truncated") })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_releases_are_read() {
        let old = failures(&json!({
            "root-exception": "java.lang.X: no\n\tat y", "timestamp": 7, "truncated": true,
            "all-exceptions": [{"exception": "java.lang.Z", "task": "t (1/2)", "location": "h:1", "timestamp": 6}],
        }))
        .unwrap();
        assert!(old.is_truncated);
        assert_eq!(old.failures[0].name.as_deref(), Some("java.lang.X"));
        assert_eq!(old.failures[0].concurrent[0].endpoint.as_deref(), Some("h:1"));
        let entry =
            json!({"exceptionName": "java.lang.X", "stacktrace": "java.lang.X: no", "timestamp": 7, "taskName": "t"});
        let new = failures(&json!({"exceptionHistory": {"entries": [entry], "truncated": false}})).unwrap();
        assert_eq!(new.failures[0].task.as_deref(), Some("t"));
        let none = json!({"root-exception": null, "timestamp": null, "all-exceptions": [], "truncated": false});
        assert_eq!(failures(&none).unwrap(), Failures::default());
    }
}
