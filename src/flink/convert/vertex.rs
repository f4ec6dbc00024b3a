//! `/jobs/:jobid/vertices/:vertexid` and `…/subtasktimes`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::io::{Moving, io};
use super::job::task_state;
use super::json::{Fields, WrongShape};
use crate::jobs::{Attempt, Subtask, Subtasks, TaskState};

/// When each subtask came into each state.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct VertexTimes(BTreeMap<u64, BTreeMap<TaskState, i64>>);

/// `…/subtasktimes`.
///
/// # Errors
/// [`WrongShape`].
pub fn vertex_times(answer: &Value) -> Result<VertexTimes, WrongShape> {
    let time = |(name, at): (&String, &Value)| Some((TaskState::of(name)?, at.as_i64().filter(|at| *at > 0)?));
    let mut times = BTreeMap::new();
    for value in Fields::of(answer)?.list("subtasks")? {
        let subtask = Fields::of(value)?;
        times.insert(subtask.count("subtask")?, subtask.object("timestamps")?.entries().filter_map(time).collect());
    }
    Ok(VertexTimes(times))
}

/// `/jobs/:jobid/vertices/:vertexid` with the times of its subtasks: the document, and the numbers of those that run.
///
/// # Errors
/// [`WrongShape`].
pub fn subtasks(answer: &Value, times: &VertexTimes) -> Result<(Subtasks, Vec<Moving>), WrongShape> {
    let vertex = Fields::of(answer)?;
    let id = vertex.text("id")?;
    let (mut subtasks, mut moving) = (Vec::new(), Vec::new());
    for value in vertex.list("subtasks")? {
        let fields = Fields::of(value)?;
        let subtask = subtask(fields, times)?;
        if subtask.totals.is_none() {
            let io = io(fields.object("metrics")?);
            moving.push(Moving { vertex: id.clone(), subtask: subtask.index, attempt: subtask.attempt, io });
        }
        subtasks.push(subtask);
    }
    Ok((Subtasks { vertex: id, subtasks }, moving))
}

/// `…/subtasks/:subtaskindex/attempts/:attempt`, of an attempt that is over.
///
/// # Errors
/// [`WrongShape`].
pub fn attempt(answer: &Value, vertex: &str) -> Result<Attempt, WrongShape> {
    let subtask = subtask(Fields::of(answer)?, &VertexTimes::default())?;
    Ok(Attempt { vertex: vertex.to_owned(), subtask })
}

fn subtask(fields: Fields<'_>, times: &VertexTimes) -> Result<Subtask, WrongShape> {
    let (index, state) = (fields.count("subtask")?, task_state(fields, "status")?);
    Ok(Subtask {
        index,
        attempt: fields.count("attempt")?,
        state,
        endpoint: placed(fields.text_if("endpoint").or_else(|| fields.text_if("host"))),
        task_manager: placed(fields.text_if("taskmanager-id")),
        execution_id: None,
        started_ms: fields.time("start-time"),
        ended_ms: fields.time("end-time"),
        state_times: times.0.get(&index).cloned().unwrap_or_default(),
        totals: if state.has_ended() { Some(io(fields.object("metrics")?)) } else { None },
    })
}

/// Flink writes `(unassigned)` of what is nowhere.
fn placed(place: Option<String>) -> Option<String> {
    place.filter(|place| place != "(unassigned)")
}
