//! The vertices of a running job, their subtasks and the attempts of these.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::state::TaskState;

/// A vertex as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Vertex {
    /// Its id.
    pub id: String,
    /// Its name, such as `Source: orders -> parse`.
    pub name: String,
    /// Its place among the vertices of the job, in the source's order (with Flink from the sources to the sinks).
    pub position: u64,
    /// Number of its subtasks.
    pub parallelism: i64,
    /// Largest parallelism it can be scaled to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_parallelism: Option<i64>,
    /// Vertices of one group may share a slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot_sharing_group: Option<String>,
    /// What it does: the state that says most of those of its subtasks.
    pub state: TaskState,
    /// When its first subtask was deployed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_ms: Option<i64>,
    /// When its last subtask ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<i64>,
    /// Number of its subtasks in each state.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tasks: BTreeMap<TaskState, u64>,
    /// Its totals, once it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub totals: Option<Io>,
}

/// All subtasks of a vertex, each in its newest attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Subtasks {
    /// The vertex.
    pub vertex: String,
    /// By index.
    pub subtasks: Vec<Subtask>,
}

impl Subtasks {
    /// The attempts of `before` that newer ones have taken the place of, but for those of which nothing was known.
    pub(in crate::jobs) fn superseded(&self, before: Subtasks) -> Vec<Attempt> {
        let attempts: BTreeMap<u64, u64> = self.subtasks.iter().map(|now| (now.index, now.attempt)).collect();
        let is_over =
            |old: &Subtask| !old.is_blank() && attempts.get(&old.index).is_some_and(|attempt| *attempt > old.attempt);
        let over = before.subtasks.into_iter().filter(is_over);
        over.map(|subtask| Attempt { vertex: before.vertex.clone(), subtask }).collect()
    }
}

/// An attempt that is not the newest of its subtask any more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// The vertex.
    pub vertex: String,
    /// What is known of it.
    pub subtask: Subtask,
}

/// One attempt of a subtask.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Subtask {
    /// Its index among the subtasks of its vertex, from 0.
    pub index: u64,
    /// Number of the attempt, from 0.
    pub attempt: u64,
    /// What it does.
    pub state: TaskState,
    /// Host and data port of its task manager, such as `localhost:44465`; no port if the source does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Its task manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_manager: Option<String>,
    /// Its id inside the engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_id: Option<String>,
    /// When it was deployed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_ms: Option<i64>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<i64>,
    /// When it came into each state.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub state_times: BTreeMap<TaskState, i64>,
    /// Its totals, once it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub totals: Option<Io>,
}

impl Subtask {
    /// An attempt of which nothing else is known.
    pub fn new(index: u64, attempt: u64, state: TaskState) -> Subtask {
        Subtask {
            index,
            attempt,
            state,
            endpoint: None,
            task_manager: None,
            execution_id: None,
            started_ms: None,
            ended_ms: None,
            state_times: BTreeMap::new(),
            totals: None,
        }
    }

    /// True if nobody said anything of it.
    fn is_blank(&self) -> bool {
        let places = [&self.endpoint, &self.task_manager, &self.execution_id];
        self.state == TaskState::Created
            && self.started_ms.is_none()
            && self.state_times.is_empty()
            && places.iter().all(|place| place.is_none())
    }

    /// How long it has been in each state that it was in, in milliseconds: until the next state, its end, or `now_ms`.
    pub fn state_durations(&self, now_ms: i64) -> BTreeMap<TaskState, i64> {
        let mut times: Vec<(i64, TaskState)> = self.state_times.iter().map(|(state, at)| (*at, *state)).collect();
        times.sort_unstable();
        let ends = times.iter().skip(1).map(|(at, _)| *at).chain([self.ended_ms.unwrap_or(now_ms)]);
        let spans = times.iter().zip(ends);
        // The state at the end has no length: it is not one that the attempt was in.
        let lasting = spans.filter(|((_, state), _)| !state.has_ended());
        lasting.map(|((from, state), to)| (*state, to.saturating_sub(*from).max(0))).collect()
    }
}

/// A number that may not be whole yet: some who contribute to it were not heard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// The number.
    pub value: i64,
    /// True if everyone was heard.
    pub is_complete: bool,
}

/// What went through a subtask or a vertex, and how its time was spent.
///
/// In a document only of what has ended. While it runs, the numbers are the newest samples, at the time asked for, of the
/// series `flink_taskmanager_job_task_*` with the labels `job_id`, `task_id`, `subtask_index` and `task_attempt_num`:
/// `numBytesIn`, `numBytesOut`, `numRecordsIn`, `numRecordsOut`, `accumulateBackPressuredTimeMs`, `accumulateIdleTimeMs`
/// and `accumulateBusyTimeMs`. A view adds them up over subtasks; a number is complete if every subtask has its series.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Io {
    /// Bytes that came in.
    pub read_bytes: Count,
    /// Bytes that went out.
    pub write_bytes: Count,
    /// Records that came in.
    pub read_records: Count,
    /// Records that went out.
    pub write_records: Count,
    /// Milliseconds under backpressure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backpressured_ms: Option<i64>,
    /// Milliseconds without work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_ms: Option<i64>,
    /// Milliseconds at work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub busy_ms: Option<f64>,
}

impl Io {
    /// Adds up. Nothing added up is complete and zero; it is not complete if one part is not.
    pub fn sum<'a>(parts: impl IntoIterator<Item = &'a Io>) -> Io {
        let none = Count { value: 0, is_complete: true };
        let zero = Io {
            read_bytes: none,
            write_bytes: none,
            read_records: none,
            write_records: none,
            backpressured_ms: Some(0),
            idle_ms: Some(0),
            busy_ms: Some(0.0),
        };
        let add = |a: Count, b: Count| Count {
            value: a.value.saturating_add(b.value),
            is_complete: a.is_complete && b.is_complete,
        };
        parts.into_iter().fold(zero, |all, part| Io {
            read_bytes: add(all.read_bytes, part.read_bytes),
            write_bytes: add(all.write_bytes, part.write_bytes),
            read_records: add(all.read_records, part.read_records),
            write_records: add(all.write_records, part.write_records),
            backpressured_ms: all.backpressured_ms.zip(part.backpressured_ms).map(|(a, b)| a.saturating_add(b)),
            idle_ms: all.idle_ms.zip(part.idle_ms).map(|(a, b)| a.saturating_add(b)),
            busy_ms: all.busy_ms.zip(part.busy_ms).map(|(a, b)| a + b),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_lasts_until_the_next_the_end_or_now() {
        let times = [(TaskState::Created, 10), (TaskState::Scheduled, 15), (TaskState::Running, 40)];
        let running =
            Subtask { started_ms: Some(15), state_times: times.into(), ..Subtask::new(0, 0, TaskState::Running) };
        let durations = running.state_durations(100);
        let expected = [(TaskState::Created, 5), (TaskState::Scheduled, 25), (TaskState::Running, 60)];
        assert_eq!(durations, expected.into());
        let mut ended = Subtask { ended_ms: Some(90), ..running };
        ended.state_times.insert(TaskState::Failed, 90);
        assert_eq!(ended.state_durations(1000)[&TaskState::Running], 50);
        assert!(!ended.state_durations(1000).contains_key(&TaskState::Failed));
    }

    #[test]
    fn a_sum_is_complete_if_all_parts_are() {
        let count = |value, is_complete| Count { value, is_complete };
        let part = |read_bytes| Io { read_bytes, busy_ms: Some(1.5), ..Io::sum([]) };
        let all = Io::sum([&part(count(1, true)), &part(count(2, false))]);
        assert_eq!((all.read_bytes, all.busy_ms), (count(3, false), Some(3.0)));
        assert!(Io::sum([]).write_records.is_complete);
        let unknown = Io { idle_ms: None, ..part(count(1, true)) };
        assert_eq!(Io::sum([&unknown, &part(count(1, true))]).idle_ms, None, "unknown and not zero");
    }
}
