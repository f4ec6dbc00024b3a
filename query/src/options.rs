//! What the evaluator needs to know beside the expression.

use crate::error::{ErrorKind, QueryError};

/// Settings and limits of the engine; each limit's name stands in its error.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// How far back an instant selector looks for a sample, in milliseconds (`query.lookback_delta`).
    pub lookback_delta_ms: i64,
    /// Step of subqueries that name none, in milliseconds (`query.default_subquery_step`).
    pub default_subquery_step_ms: i64,
    /// Most evaluation times of a range query (`query.max_steps`).
    pub steps_max: usize,
    /// Longest expression in bytes (`query.max_expression_bytes`).
    pub expression_bytes_max: usize,
    /// Deepest nesting of an expression (`query.max_depth`).
    pub depth_max: usize,
    /// Threads that one query may use (`query.threads`).
    pub threads: usize,
    /// True if an operation that makes a metric's name untrue drops it only at the end of the evaluation, so that
    /// `label_replace` and `by (__name__)` still see it (`query.delayed_name_removal`).
    pub delayed_name_removal: bool,
}

impl Default for EngineOptions {
    fn default() -> Self {
        EngineOptions {
            lookback_delta_ms: 300_000,
            default_subquery_step_ms: 60_000,
            steps_max: 11_000,
            expression_bytes_max: 4 << 20,
            depth_max: 250,
            threads: 1,
            delayed_name_removal: true,
        }
    }
}

impl EngineOptions {
    /// The largest sensible `depth_max`: a level of an expression takes up to 20 KiB of stack in a build without
    /// optimization, and threads that evaluate have 16 MiB.
    pub const DEPTH_BOUND: usize = 500;

    /// The error for a limit that was reached.
    pub(crate) fn limit_error(name: &str, limit: usize) -> QueryError {
        QueryError { kind: ErrorKind::Limit, message: format!("limit {name} = {limit} reached"), span: None }
    }
}
