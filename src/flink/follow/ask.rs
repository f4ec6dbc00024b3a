//! The questions about a job, and their paths.

use super::Follower;

/// Longest list of metrics in one request, in bytes: Flink's server refuses a first line of more than 4096.
pub(super) const GET_BYTES_MAX: usize = 3500;

/// Most such requests about one vertex, whatever parallelism a cluster says it has.
pub(super) const PIECES_MAX: usize = 1000;

/// What can be asked of a job, the most telling first: what does not fit into a round stands last.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ask {
    /// `/jobs/:jobid`
    Details,
    /// `…/exceptions`
    Exceptions,
    /// `…/checkpoints`
    Checkpoints,
    /// `…/execution-result`, of a job that has ended.
    ExecutionResult,
    /// `…/config`, once.
    Config,
    /// `…/checkpoints/config`, once.
    CheckpointConfig,
    /// `…/vertices/:vertexid`
    Vertex(String),
    /// `…/vertices/:vertexid/subtasktimes`, of releases whose subtasks do not say how long they were in each state.
    SubtaskTimes(String),
    /// `…/checkpoints/details/:checkpointid`
    Checkpoint(i64),
    /// `…/checkpoints/details/:checkpointid/subtasks/:vertexid`
    CheckpointSubtasks(i64, String),
    /// `…/metrics`, the names.
    MetricNames,
    /// `…/vertices/:vertexid/subtasks/metrics`, the names.
    VertexMetricNames(String),
    /// `…/metrics?get=`
    Values,
    /// `…/vertices/:vertexid/metrics?get=`, a piece of the list.
    VertexValues(String, usize),
    /// `…/accumulators`
    Accumulators,
    /// `…/vertices/:vertexid/accumulators`
    VertexAccumulators(String),
    /// `…/vertices/:vertexid/subtasks/accumulators`
    SubtaskAccumulators(String),
    /// `…/vertices/:vertexid/subtasks/:subtaskindex/attempts/:attempt`, of one that a newer took the place of.
    Attempt(String, u64, u64),
}

impl Follower {
    /// The path of a question, with its parameters.
    pub fn path(&self, ask: &Ask) -> String {
        let rest = match ask {
            Ask::Details => String::new(),
            Ask::Exceptions => "/exceptions".to_owned(),
            Ask::Checkpoints => "/checkpoints".to_owned(),
            Ask::ExecutionResult => "/execution-result".to_owned(),
            Ask::Config => "/config".to_owned(),
            Ask::CheckpointConfig => "/checkpoints/config".to_owned(),
            Ask::Vertex(id) => format!("/vertices/{id}"),
            Ask::SubtaskTimes(id) => format!("/vertices/{id}/subtasktimes"),
            Ask::Checkpoint(id) => format!("/checkpoints/details/{id}"),
            Ask::CheckpointSubtasks(id, vertex) => format!("/checkpoints/details/{id}/subtasks/{vertex}"),
            Ask::MetricNames => "/metrics".to_owned(),
            Ask::VertexMetricNames(id) => format!("/vertices/{id}/subtasks/metrics"),
            Ask::Values => format!("/metrics?get={}", self.lists("").first().cloned().unwrap_or_default()),
            Ask::VertexValues(id, piece) => {
                format!("/vertices/{id}/metrics?get={}", self.lists(id).get(*piece).cloned().unwrap_or_default())
            }
            Ask::Accumulators => "/accumulators".to_owned(),
            Ask::VertexAccumulators(id) => format!("/vertices/{id}/accumulators"),
            Ask::SubtaskAccumulators(id) => format!("/vertices/{id}/subtasks/accumulators"),
            Ask::Attempt(id, index, attempt) => format!("/vertices/{id}/subtasks/{index}/attempts/{attempt}"),
        };
        format!("/jobs/{}{rest}", self.subject.id)
    }

    /// The ids of all metrics of a vertex (or, empty, of the job) as values of `get`, in pieces that fit into a request.
    pub(super) fn lists(&self, vertex: &str) -> Vec<String> {
        let names = self.names.get(vertex).map(Vec::as_slice).unwrap_or_default();
        let subtasks = self.vertices.get(vertex).map_or(0, |vertex| vertex.parallelism);
        let ids: Box<dyn Iterator<Item = String> + '_> = if vertex.is_empty() {
            Box::new(names.iter().cloned())
        } else {
            Box::new((0..subtasks).flat_map(move |index| names.iter().map(move |name| format!("{index}.{name}"))))
        };
        pieces(ids)
    }
}

/// Ids as values of `get`, in pieces that fit into a request.
pub(in crate::flink) fn pieces(ids: impl Iterator<Item = String>) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    for id in ids {
        let id = escaped(&id);
        let is_full = pieces.len() == PIECES_MAX;
        match pieces.last_mut().filter(|piece| piece.len() + 1 + id.len() <= GET_BYTES_MAX) {
            Some(piece) => {
                piece.push(',');
                piece.push_str(&id);
            }
            None if is_full => break,
            None => pieces.push(id),
        }
    }
    pieces
}

/// An id in a query: what could end it or the list is escaped.
pub(crate) fn escaped(id: &str) -> String {
    let mut out = String::with_capacity(id.len());
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            out.push(byte as char);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
