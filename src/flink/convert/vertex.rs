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
        state_times: times.0.get(&index).cloned().unwrap_or_else(|| times_of(fields, state)),
        totals: if state.has_ended() { Some(io(fields.object("metrics")?)) } else { None },
    })
}

/// States in the order in which an attempt goes through them, those of which 2.x says how long they lasted.
const ORDER: [TaskState; 5] =
    [TaskState::Created, TaskState::Scheduled, TaskState::Deploying, TaskState::Initializing, TaskState::Running];

/// When it came into each state, from how long it was in each, which 2.x says: `start-time` is that of its deployment, and
/// it came into its last state at its end. What was canceled after it was deployed was `CANCELING` from the end of the last
/// state before.
fn times_of(fields: Fields<'_>, state: TaskState) -> BTreeMap<TaskState, i64> {
    let (Some(durations), Some(started_ms)) = (fields.object_if("status-duration"), fields.time("start-time")) else {
        return BTreeMap::new();
    };
    let lasting =
        ORDER.into_iter().filter_map(|state| Some((state, durations.whole_if(state.as_str()).filter(|ms| *ms >= 0)?)));
    let lasting: Vec<(TaskState, i64)> = lasting.collect();
    let before = lasting.iter().filter(|(state, _)| *state < TaskState::Deploying);
    let mut at_ms = started_ms.saturating_sub(before.fold(0, |sum, (_, ms)| ms.saturating_add(sum)));
    let mut times = BTreeMap::new();
    for (state, ms) in lasting {
        times.insert(state, at_ms);
        at_ms = at_ms.saturating_add(ms);
    }
    if matches!(state, TaskState::Canceling | TaskState::Canceled) {
        times.insert(TaskState::Canceling, at_ms);
    }
    times.extend(fields.time("end-time").filter(|_| state.has_ended()).map(|ended_ms| (state, ended_ms)));
    times
}

/// Flink writes `(unassigned)` of what is nowhere.
fn placed(place: Option<String>) -> Option<String> {
    place.filter(|place| place != "(unassigned)")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// An attempt as Flink 2.3 shows it, and when it came into its states by `subtasktimes`.
    #[test]
    fn times_follow_from_durations() {
        let answer = json!({
            "subtask": 0, "status": "RUNNING", "attempt": 0, "start-time": 1_795_220_182_681_i64, "end-time": -1,
            "metrics": {},
            "status-duration": {"SCHEDULED": 368, "CREATED": 99, "INITIALIZING": 1228, "DEPLOYING": 469, "RUNNING": 47053},
        });
        let found = attempt(&answer, "v").unwrap().subtask.state_times;
        let expected = [
            (TaskState::Created, 1_795_220_182_214),
            (TaskState::Scheduled, 1_795_220_182_313),
            (TaskState::Deploying, 1_795_220_182_681),
            (TaskState::Initializing, 1_795_220_183_150),
            (TaskState::Running, 1_795_220_184_378),
        ];
        assert_eq!(found, expected.into());
        let mut ended = answer.clone();
        ended["status"] = json!("FAILED");
        ended["end-time"] = json!(1_795_220_231_431_i64);
        let found = attempt(&ended, "v").unwrap().subtask.state_times;
        assert_eq!((found.len(), found[&TaskState::Failed]), (6, 1_795_220_231_431));
        ended["status"] = json!("CANCELED");
        let found = attempt(&ended, "v").unwrap().subtask.state_times;
        let end = [TaskState::Canceling, TaskState::Canceled].map(|state| found[&state]);
        assert_eq!((found.len(), end), (7, [1_795_220_231_431; 2]));
    }
}
