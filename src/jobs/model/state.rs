//! States of jobs, tasks and checkpoints, as Flink names them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// An enumeration whose values have one word each: what is stored, shown and read.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$value_doc])* #[serde(rename = $word)] $value,)*
        }

        impl $name {
            /// All values.
            pub const ALL: &[$name] = &[$($name::$value,)*];

            /// The word.
            pub fn as_str(self) -> &'static str {
                match self {
                    $($name::$value => $word,)*
                }
            }

            /// The value of a word.
            pub fn of(word: &str) -> Option<$name> {
                $name::ALL.iter().copied().find(|value| value.as_str() == word)
            }
        }
    };
}
pub(in crate::jobs) use words;

words! {
    /// What a job does.
    JobState {
        /// Accepted; nothing is made yet.
        Initializing = "INITIALIZING",
        /// Made, not yet running.
        Created = "CREATED",
        /// At work.
        Running = "RUNNING",
        /// Failed; its tasks are being cancelled.
        Failing = "FAILING",
        /// Ended by a failure.
        Failed = "FAILED",
        /// On demand; its tasks are being cancelled.
        Cancelling = "CANCELLING",
        /// Ended on demand.
        Canceled = "CANCELED",
        /// Ended by itself.
        Finished = "FINISHED",
        /// Between a failure and the next attempt.
        Restarting = "RESTARTING",
        /// Given up by this cluster; another may go on with it.
        Suspended = "SUSPENDED",
        /// Taken over; its tasks are being found.
        Reconciling = "RECONCILING",
    }
}

impl JobState {
    /// True if nothing comes after it.
    pub fn has_ended(self) -> bool {
        matches!(self, JobState::Failed | JobState::Canceled | JobState::Finished)
    }
}

words! {
    /// What a task does: a vertex as a whole, or one attempt of a subtask.
    TaskState {
        /// Made.
        Created = "CREATED",
        /// Waits for a slot.
        Scheduled = "SCHEDULED",
        /// Is being sent to its task manager.
        Deploying = "DEPLOYING",
        /// Restores its state.
        Initializing = "INITIALIZING",
        /// At work.
        Running = "RUNNING",
        /// Ended by itself.
        Finished = "FINISHED",
        /// Is being cancelled.
        Canceling = "CANCELING",
        /// Ended on demand.
        Canceled = "CANCELED",
        /// Ended by a failure.
        Failed = "FAILED",
        /// Is being found by a new master.
        Reconciling = "RECONCILING",
    }
}

impl TaskState {
    /// True if nothing comes after it in the same attempt.
    pub fn has_ended(self) -> bool {
        matches!(self, TaskState::Finished | TaskState::Canceled | TaskState::Failed)
    }

    /// The state of several tasks together, of which so many are in each, as Flink decides: a failure before all, the end
    /// only if all have ended.
    pub fn together(counts: &BTreeMap<TaskState, u64>) -> TaskState {
        let has = |state: TaskState| counts.get(&state).is_some_and(|count| *count > 0);
        let first =
            [TaskState::Failed, TaskState::Canceling, TaskState::Canceled, TaskState::Initializing, TaskState::Running];
        if let Some(state) = first.into_iter().find(|state| has(*state)) {
            return state;
        }
        if has(TaskState::Finished) {
            let are_all = counts.iter().all(|(state, count)| *state == TaskState::Finished || *count == 0);
            return if are_all { TaskState::Finished } else { TaskState::Running };
        }
        let rest = [TaskState::Created, TaskState::Scheduled, TaskState::Deploying, TaskState::Reconciling];
        rest.into_iter().rev().find(|state| has(*state)).unwrap_or(TaskState::Created)
    }
}

words! {
    /// How far a checkpoint is.
    CheckpointState {
        /// Not all subtasks have acknowledged.
        InProgress = "IN_PROGRESS",
        /// Whole.
        Completed = "COMPLETED",
        /// Given up.
        Failed = "FAILED",
    }
}

words! {
    /// Whether a job's input ends.
    JobKind {
        /// It does not.
        Streaming = "STREAMING",
        /// It does.
        Batch = "BATCH",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_are_shown_and_stored_so() {
        for state in JobState::ALL {
            assert_eq!(JobState::of(state.as_str()), Some(*state));
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
        assert_eq!(TaskState::of("CANCELLING"), None, "tasks are CANCELING, jobs CANCELLING");
        let ended: Vec<_> = JobState::ALL.iter().filter(|state| state.has_ended()).map(|s| s.as_str()).collect();
        assert_eq!(ended, ["FAILED", "CANCELED", "FINISHED"]);
    }

    #[test]
    fn several_tasks_have_the_state_that_says_most() {
        let state = |states: &[TaskState]| {
            let mut counts = BTreeMap::new();
            states.iter().for_each(|state| *counts.entry(*state).or_default() += 1);
            TaskState::together(&counts)
        };
        assert_eq!(state(&[TaskState::Running, TaskState::Failed]), TaskState::Failed);
        assert_eq!(state(&[TaskState::Finished, TaskState::Created]), TaskState::Running);
        assert_eq!(state(&[TaskState::Finished, TaskState::Finished]), TaskState::Finished);
        assert_eq!(state(&[TaskState::Created, TaskState::Scheduled]), TaskState::Scheduled);
        assert_eq!(state(&[]), TaskState::Created);
    }
}
