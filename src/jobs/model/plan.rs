//! The graph of a job.

use serde::{Deserialize, Serialize};

use super::kept::Kept;
use super::state::JobKind;

/// The nodes in the source's order, sinks first with Flink.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Whether the input ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<JobKind>,
    /// The vertices.
    pub nodes: Vec<PlanNode>,
}

/// A vertex of the graph.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PlanNode {
    /// Its id.
    pub id: String,
    /// Number of its subtasks.
    pub parallelism: i64,
    /// The operator's kind, empty where the engine does not say.
    #[serde(default)]
    pub operator: String,
    /// The operator's strategy, empty where the engine does not say.
    #[serde(default)]
    pub strategy: String,
    /// What it does, as the engine shows it: with Flink it has HTML in it.
    #[serde(default)]
    pub description: String,
    /// Where its records come from; absent for a source.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<Edge>,
    /// Flink's `optimizer_properties`.
    #[serde(default, skip_serializing_if = "Kept::is_empty")]
    pub optimizer_properties: Kept,
}

/// An edge into a vertex.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Edge {
    /// The vertex that it comes from.
    pub from: String,
    /// Its place among the inputs.
    pub number: u64,
    /// How records cross it (`HASH`, `FORWARD`, …).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ship_strategy: Option<String>,
    /// Whether they are streamed or written first (`pipelined_bounded`, `blocking`, …).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchange: Option<String>,
    /// What is done to records on the way, from engines that say.
    #[serde(default, skip_serializing_if = "Kept::is_empty")]
    pub kept: Kept,
}
