//! Why an expression was refused or its evaluation failed.

use crate::span::Span;

/// Who has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The text is no valid expression (`bad_data`).
    Parse,
    /// The evaluation cannot be done on this data (`execution`).
    Execution,
    /// A named limit was reached (`execution`, 422).
    Limit,
    /// Somebody stopped the query (`canceled` or `timeout`: whoever cancelled knows).
    Cancelled,
    /// The data could not be read (`internal`).
    Storage,
}

/// A refused expression or a failed evaluation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct QueryError {
    /// Who has to act.
    pub kind: ErrorKind,
    /// For people, worded as Prometheus words it where it has the same error. A parse error's message starts with
    /// `LINE:COLUMN: parse error: `.
    pub message: String,
    /// Where in the expression, if known.
    pub span: Option<Span>,
}

impl From<model::SourceError> for QueryError {
    fn from(error: model::SourceError) -> Self {
        let kind = match &error {
            model::SourceError::Budget(model::BudgetError::Cancelled) => ErrorKind::Cancelled,
            model::SourceError::Budget(_) => ErrorKind::Limit,
            model::SourceError::Storage(_) => ErrorKind::Storage,
        };
        QueryError { kind, message: error.to_string(), span: None }
    }
}

impl From<model::BudgetError> for QueryError {
    fn from(error: model::BudgetError) -> Self {
        model::SourceError::from(error).into()
    }
}
