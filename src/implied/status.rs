//! How the looks at series go: for `/metrics` and `/api/jobs`.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::RwLock;

use crate::jobs::Subject;

/// What the last look came to.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Outcome {
    /// Jobs that live and that only series tell of.
    pub jobs: usize,
    /// Jobs that were left out because there are too many, or because of the length of a name.
    pub jobs_left_out: usize,
    /// Subtasks that were left out because their job has too many.
    pub tasks_left_out: usize,
    /// How long it took.
    pub took: Duration,
}

/// The state after the last look.
#[derive(Debug, Default)]
pub struct Status {
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    looks: u64,
    outcome: Outcome,
    newest_ms: HashMap<Subject, i64>,
}

impl Status {
    /// What the last look came to.
    pub fn outcome(&self) -> Outcome {
        self.state.read().outcome
    }

    /// Number of looks so far.
    pub fn looks(&self) -> u64 {
        self.state.read().looks
    }

    /// Time of the newest sample of a job that lives and that only series tell of.
    pub fn newest_ms(&self, job: &Subject) -> Option<i64> {
        self.state.read().newest_ms.get(job).copied()
    }

    /// After a look.
    pub(super) fn set(&self, outcome: Outcome, newest: impl Iterator<Item = (Subject, i64)>) {
        let newest_ms = newest.collect();
        let mut state = self.state.write();
        *state = State { looks: state.looks + 1, outcome, newest_ms };
    }
}
