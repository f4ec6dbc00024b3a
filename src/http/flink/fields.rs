//! Objects in one of three shapes: as the API page describes them (Flink 1.9), as clusters of today answer (2.x), or both
//! together, which is the default.

use serde_json::{Map, Value};

use crate::jobs::{JobState, TaskState};

/// Which fields an answer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Those of the page.
    Page,
    /// Those of 2.x.
    Newer,
    /// All.
    Superset,
}

impl Shape {
    /// The word for a job's state. The page has no `INITIALIZING`, and its clients refuse what they do not know.
    pub(super) fn job_state(self, state: JobState) -> &'static str {
        match state {
            JobState::Initializing if self != Shape::Newer => JobState::Created.as_str(),
            state => state.as_str(),
        }
    }

    /// The word for a task's state; see [`Shape::job_state`].
    pub(super) fn task_state(self, state: TaskState) -> &'static str {
        match state {
            TaskState::Initializing if self != Shape::Newer => TaskState::Created.as_str(),
            state => state.as_str(),
        }
    }

    /// The states that an object with one field for each has.
    pub(super) fn task_states(self) -> impl Iterator<Item = TaskState> {
        let all = TaskState::ALL.iter().copied();
        all.filter(move |state| self != Shape::Page || *state != TaskState::Initializing)
    }

    /// The same for jobs.
    pub(super) fn job_states(self) -> impl Iterator<Item = JobState> {
        let all = JobState::ALL.iter().copied();
        all.filter(move |state| self != Shape::Page || *state != JobState::Initializing)
    }
}

/// An object that is being put together.
pub(super) struct Fields {
    shape: Shape,
    map: Map<String, Value>,
}

impl Fields {
    /// An empty one.
    pub(super) fn new(shape: Shape) -> Fields {
        Fields { shape, map: Map::new() }
    }

    /// A field of all shapes.
    pub(super) fn put(mut self, name: &str, value: impl Into<Value>) -> Fields {
        self.map.insert(name.to_owned(), value.into());
        self
    }

    /// A field that only the page has.
    pub(super) fn page(self, name: &str, value: impl Into<Value>) -> Fields {
        if self.shape == Shape::Newer { self } else { self.put(name, value) }
    }

    /// A field that the page does not have.
    pub(super) fn newer(self, name: &str, value: impl Into<Value>) -> Fields {
        if self.shape == Shape::Page { self } else { self.put(name, value) }
    }

    /// A field that the page does not have and not all of 2.x, if its value is known.
    pub(super) fn newer_if<V: Into<Value>>(self, name: &str, value: Option<V>) -> Fields {
        match value {
            Some(value) => self.newer(name, value),
            None => self,
        }
    }

    /// Fields that were kept as their source wrote them, which only newer ones do.
    pub(super) fn kept(mut self, kept: &crate::jobs::Kept) -> Fields {
        if self.shape != Shape::Page {
            self.map.extend(kept.0.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
        self
    }

    /// The object.
    pub(super) fn done(self) -> Value {
        Value::Object(self.map)
    }
}
