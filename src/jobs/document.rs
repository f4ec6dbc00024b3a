//! What is known of a subject, one typed document per kind and key, and how it is stored: as JSON text, so that any
//! SQLite tool can read it.

use serde::de::DeserializeOwned;

use super::model::accumulator::Accumulators;
use super::model::checkpoint::{Checkpoint, CheckpointSettings, CheckpointStatistics, CheckpointSubtasks};
use super::model::cluster::{Cluster, MetricNames, TaskManager};
use super::model::failure::Failure;
use super::model::plan::Plan;
use super::model::run::{Outcome, Run, Settings};
use super::model::vertex::{Attempt, Subtasks, Vertex};
use super::push::TaskDetail;

/// A document of one subject.
pub trait Document: serde::Serialize + DeserializeOwned + Send + 'static {
    /// Its kind.
    const KIND: Kind;

    /// Tells the documents of one kind and subject apart; empty where there is only one.
    fn key(&self) -> String;

    /// The run, if this is one: the store keeps some of it beside the subject.
    fn as_run(&self) -> Option<&Run> {
        None
    }
}

impl Document for Run {
    const KIND: Kind = Kind("run");

    fn key(&self) -> String {
        String::new()
    }

    fn as_run(&self) -> Option<&Run> {
        Some(self)
    }
}

/// The kind of a document: the word in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kind(&'static str);

impl Kind {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

macro_rules! documents {
    ($($type:ident = $word:literal, $document:ident => $key:expr;)*) => {
        $(impl Document for $type {
            const KIND: Kind = Kind($word);

            fn key(&self) -> String {
                let $document = self;
                $key
            }
        })*

        /// All kinds, for the test that words are never used twice.
        #[cfg(test)]
        const WORDS: &[&str] = &["run", $($word,)*];
    };
}

documents! {
    Outcome = "outcome", _outcome => String::new();
    Settings = "settings", _settings => String::new();
    Plan = "plan", _plan => String::new();
    TaskDetail = "task_detail", _detail => String::new();
    Vertex = "vertex", vertex => vertex.id.clone();
    Subtasks = "subtasks", subtasks => subtasks.vertex.clone();
    Attempt = "attempt", attempt => attempt_key(&attempt.vertex, attempt.subtask.index, attempt.subtask.attempt);
    Accumulators = "accumulators", all => accumulators_key(&all.vertex, all.subtask);
    Checkpoint = "checkpoint", checkpoint => checkpoint_key(checkpoint.id);
    CheckpointSubtasks = "checkpoint_subtasks", parts => checkpoint_subtasks_key(parts.checkpoint, &parts.vertex);
    CheckpointStatistics = "checkpoint_statistics", _statistics => String::new();
    CheckpointSettings = "checkpoint_settings", _settings => String::new();
    Failure = "failure", failure => failure.key();
    Cluster = "cluster", _cluster => String::new();
    MetricNames = "metric_names", names => names.of.clone();
    TaskManager = "task_manager", task_manager => task_manager.id.clone();
}

/// The key of an attempt.
pub(crate) fn attempt_key(vertex: &str, index: u64, attempt: u64) -> String {
    format!("{vertex}/{index}/{attempt}")
}

/// The key of accumulators.
pub(crate) fn accumulators_key(vertex: &str, subtask: Option<u64>) -> String {
    subtask.map_or_else(|| vertex.to_owned(), |index| format!("{vertex}/{index}"))
}

/// The key of a checkpoint. Keys sort as numbers do, so that retention finds the oldest first.
pub(crate) fn checkpoint_key(id: i64) -> String {
    format!("{id:019}")
}

/// The key of the parts of a task's subtasks in a checkpoint; it begins with the checkpoint's.
pub(crate) fn checkpoint_subtasks_key(id: i64, vertex: &str) -> String {
    format!("{}/{vertex}", checkpoint_key(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_word_of_its_own() {
        let mut words = WORDS.to_vec();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), WORDS.len());
    }

    #[test]
    fn keys_of_checkpoints_sort_by_number() {
        assert!(checkpoint_key(9) < checkpoint_key(10) && checkpoint_key(10) < checkpoint_key(i64::MAX));
    }
}
