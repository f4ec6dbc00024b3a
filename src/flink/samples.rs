//! Numbers that a collector took out of answers, as series with the names and labels that Flink's own reporter gives, so
//! that a view finds them whether they were scraped or asked for.

use model::{Labels, METRIC_NAME};

use super::convert::Moving;
use super::follow::Number;
use crate::ingest::ORG;

/// The metric of accumulators; [`crate::jobs::Accumulator`] says its labels.
const ACCUMULATOR: &str = "streamgauge_job_accumulator";

/// Whose numbers they are.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    /// The organization; no label if empty.
    pub org: &'a str,
    /// The cluster.
    pub cluster: &'a str,
    /// The job's id.
    pub job: &'a str,
    /// The job's name.
    pub job_name: &'a str,
}

/// What names a series besides its owner.
#[derive(Debug, Clone, Copy, Default)]
struct Place<'a> {
    vertex: Option<(&'a str, &'a str)>,
    subtask: Option<u64>,
    attempt: Option<u64>,
    accumulator: Option<&'a str>,
}

impl Owner<'_> {
    fn labels(&self, name: &str, place: Place<'_>) -> Option<Labels> {
        let (subtask, attempt) = (place.subtask.map(|n| n.to_string()), place.attempt.map(|n| n.to_string()));
        let (task, task_name) = place.vertex.unwrap_or_default();
        let pairs = [
            (METRIC_NAME, name),
            (ORG, self.org),
            ("cluster", self.cluster),
            ("job_id", self.job),
            ("job_name", self.job_name),
            ("task_id", task),
            ("task_name", task_name),
            ("subtask_index", subtask.as_deref().unwrap_or_default()),
            ("task_attempt_num", attempt.as_deref().unwrap_or_default()),
            ("accumulator", place.accumulator.unwrap_or_default()),
        ];
        // An empty label is none; what no series can be called is left out.
        Labels::from_pairs(pairs).ok()
    }

    /// What went through a subtask.
    pub fn moving(&self, moving: &Moving, vertex_name: &str) -> Vec<(Labels, f64)> {
        let place = Place {
            vertex: Some((&moving.vertex, vertex_name)),
            subtask: Some(moving.subtask),
            attempt: Some(moving.attempt),
            accumulator: None,
        };
        moving.samples().into_iter().filter_map(|(name, value)| Some((self.labels(name, place)?, value))).collect()
    }

    /// A metric of the job, or of a subtask in its newest attempt.
    pub fn metric(&self, number: &Number, vertex_name: &str, attempt: Option<u64>) -> Option<(Labels, f64)> {
        let prefix = if number.vertex.is_some() { "flink_taskmanager_job_task_" } else { "flink_jobmanager_job_" };
        let place = Place {
            vertex: number.vertex.as_deref().map(|id| (id, vertex_name)),
            subtask: number.subtask,
            attempt,
            accumulator: None,
        };
        Some((self.labels(&format!("{prefix}{}", sanitized(&number.name)), place)?, number.value))
    }

    /// An accumulator of the job, of a vertex, or of a subtask.
    pub fn accumulator(&self, number: &Number, vertex_name: &str) -> Option<(Labels, f64)> {
        let place = Place {
            vertex: number.vertex.as_deref().map(|id| (id, vertex_name)),
            subtask: number.subtask,
            attempt: None,
            accumulator: Some(&number.name),
        };
        Some((self.labels(ACCUMULATOR, place)?, number.value))
    }
}

/// A metric of a cluster's master, or of one of its task managers.
pub fn of_cluster(org: &str, cluster: &str, task_manager: Option<&str>, number: &Number) -> Option<(Labels, f64)> {
    let prefix = if task_manager.is_some() { "flink_taskmanager_" } else { "flink_jobmanager_" };
    let name = format!("{prefix}{}", sanitized(&number.name));
    let pairs = [(METRIC_NAME, &*name), (ORG, org), ("cluster", cluster), ("tm_id", task_manager.unwrap_or_default())];
    Some((Labels::from_pairs(pairs).ok()?, number.value))
}

/// What Flink's reporter makes of an id.
pub(super) fn sanitized(id: &str) -> String {
    id.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::{Count, Io};

    const OWNER: Owner<'_> = Owner { org: "", cluster: "main", job: "j", job_name: "demo" };

    fn pairs(labels: &Labels) -> Vec<(&str, &str)> {
        labels.into_iter().collect()
    }

    #[test]
    fn numbers_have_the_names_of_flinks_reporter() {
        let io = Io { read_bytes: Count { value: 3, is_complete: true }, ..Io::default() };
        let moving = Moving { vertex: "v".to_owned(), subtask: 1, attempt: 2, io };
        let found = OWNER.moving(&moving, "score");
        assert_eq!(found.len(), 1, "what is not known has no sample");
        let expected = [
            ("__name__", "flink_taskmanager_job_task_numBytesIn"),
            ("cluster", "main"),
            ("job_id", "j"),
            ("job_name", "demo"),
            ("subtask_index", "1"),
            ("task_attempt_num", "2"),
            ("task_id", "v"),
            ("task_name", "score"),
        ];
        assert_eq!(pairs(&found[0].0), expected);
        let number = Number { vertex: None, subtask: None, name: "uptime".to_owned(), value: 5.0 };
        let (labels, value) = OWNER.metric(&number, "", None).unwrap();
        assert_eq!((labels.metric_name(), labels.get("task_id"), value), ("flink_jobmanager_job_uptime", None, 5.0));
        let name = "Shuffle.Netty.Input.Buffers.inPoolUsage".to_owned();
        let number = Number { vertex: Some("v".to_owned()), subtask: Some(0), name, value: 5.0 };
        let (labels, _) = OWNER.metric(&number, "score", Some(0)).unwrap();
        assert_eq!(labels.metric_name(), "flink_taskmanager_job_task_Shuffle_Netty_Input_Buffers_inPoolUsage");
    }

    #[test]
    fn a_cluster_has_series_without_a_job() {
        let number = Number { vertex: None, subtask: None, name: "Status.JVM.CPU.Load".to_owned(), value: 0.5 };
        let (labels, _) = of_cluster("o", "main", Some("tm-1"), &number).unwrap();
        let expected = [
            ("__name__", "flink_taskmanager_Status_JVM_CPU_Load"),
            ("cluster", "main"),
            ("org", "o"),
            ("tm_id", "tm-1"),
        ];
        assert_eq!(pairs(&labels), expected);
        let (labels, _) = of_cluster("", "main", None, &number).unwrap();
        assert_eq!((labels.metric_name(), labels.get("tm_id")), ("flink_jobmanager_Status_JVM_CPU_Load", None));
    }

    #[test]
    fn accumulators_say_whose_they_are() {
        let number = |vertex: Option<&str>, subtask| Number {
            vertex: vertex.map(str::to_owned),
            subtask,
            name: "records".to_owned(),
            value: 5.0,
        };
        let of = |number: &Number| OWNER.accumulator(number, "score").unwrap().0;
        let subtask = of(&number(Some("v"), Some(1)));
        assert_eq!((subtask.get("accumulator"), subtask.get("subtask_index")), (Some("records"), Some("1")));
        assert_eq!(of(&number(Some("v"), None)).get("subtask_index"), None);
        assert_eq!(of(&number(None, None)).get("task_id"), None);
    }
}
