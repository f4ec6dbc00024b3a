//! Objects in one of three shapes: as the API page describes them (Flink 1.9), as clusters of today answer (2.x), or both
//! together, which is the default.

use serde_json::{Map, Value};

use crate::config::FlinkShape;
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

impl From<FlinkShape> for Shape {
    fn from(shape: FlinkShape) -> Shape {
        match shape {
            FlinkShape::Page => Shape::Page,
            FlinkShape::Newer => Shape::Newer,
            FlinkShape::Superset => Shape::Superset,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn names(shape: Shape) -> Vec<String> {
        let kept = crate::jobs::Kept([("kept".to_owned(), 1.into())].into_iter().collect());
        let fields = Fields::new(shape).put("both", 1).page("host", 1).newer("endpoint", 1);
        let object = fields.newer_if("known", Some(1)).newer_if::<i64>("unknown", None).kept(&kept).done();
        let mut names: Vec<String> = object.as_object().unwrap().keys().cloned().collect();
        names.sort();
        names
    }

    #[test]
    fn each_shape_has_its_fields() {
        assert_eq!(names(Shape::Page), ["both", "host"]);
        assert_eq!(names(Shape::Newer), ["both", "endpoint", "kept", "known"]);
        assert_eq!(names(Shape::Superset), ["both", "endpoint", "host", "kept", "known"]);
    }

    #[test]
    fn words_that_the_page_does_not_have_are_not_shown_to_its_clients() {
        let words = |shape: Shape| [shape.job_state(JobState::Initializing), shape.task_state(TaskState::Initializing)];
        assert_eq!(words(Shape::Page), ["CREATED", "CREATED"]);
        assert_eq!(words(Shape::Superset), ["CREATED", "CREATED"]);
        assert_eq!(words(Shape::Newer), ["INITIALIZING", "INITIALIZING"]);
        assert!(!Shape::Page.task_states().any(|state| state == TaskState::Initializing));
        assert_eq!(Shape::Superset.job_states().count(), JobState::ALL.len());
    }
}
