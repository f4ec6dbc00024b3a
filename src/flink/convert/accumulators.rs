//! `…/accumulators` of a vertex and of its subtasks.

use serde_json::Value;

use super::json::{Fields, WrongShape};
use crate::jobs::{Accumulator, Accumulators};

/// Reads the list of a vertex or a subtask, or of the job as a whole (`/jobs/:jobid/accumulators`, then without a vertex's
/// id). Values that are numbers and still move are taken out: they come second, by name.
///
/// # Errors
/// [`WrongShape`].
pub fn accumulators(
    answer: &Value,
    vertex: &str,
    subtask: Option<u64>,
    is_moving: bool,
) -> Result<(Accumulators, Vec<(String, f64)>), WrongShape> {
    let (mut kept, mut moving) = (Vec::new(), Vec::new());
    let answer = Fields::of(answer)?;
    let list = answer.list_if("user-task-accumulators").map_or_else(|| answer.list("user-accumulators"), Ok)?;
    for value in list {
        let fields = Fields::of(value)?;
        let (name, kind) = (fields.text("name")?, fields.text("type")?);
        let value = fields.text_if("value");
        let number: Option<f64> = value.as_deref().and_then(|value| value.parse().ok());
        match number.filter(|number| is_moving && number.is_finite()) {
            Some(number) => {
                moving.push((name.clone(), number));
                kept.push(Accumulator { name, kind, value: None });
            }
            None => kept.push(Accumulator { name, kind, value }),
        }
    }
    Ok((Accumulators { vertex: vertex.to_owned(), subtask, accumulators: kept }, moving))
}
