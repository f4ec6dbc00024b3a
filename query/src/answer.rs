//! What an evaluation gives. No wire format: the server encodes it.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::{Histogram, Labels, SampleColumns};

/// A float or a native histogram.
#[derive(Debug, Clone, PartialEq)]
pub enum SampleValue {
    /// A float.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<Histogram>),
}

/// One element of an instant vector.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorElement {
    /// The labels.
    pub labels: Labels,
    /// The value; its time is the evaluation time.
    pub value: SampleValue,
}

/// One series of a matrix: its points at the evaluation times, without gaps marked.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesPoints {
    /// The labels.
    pub labels: Labels,
    /// The points; for an instant query of a range selector, the raw samples.
    pub points: SampleColumns,
}

/// The value of an expression.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number, at the evaluation time.
    Scalar(f64),
    /// A text, at the evaluation time.
    String(String),
    /// An instant vector. Its order matters only after `sort…`, `topk`, `bottomk`; else it is by labels.
    Vector(Vec<VectorElement>),
    /// Series over time, sorted by labels.
    Matrix(Vec<SeriesPoints>),
}

/// What a person should know about an answer, worded as Prometheus words it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Annotations {
    /// The answer may be wrong.
    pub warnings: BTreeSet<String>,
    /// The expression may not be what was meant.
    pub infos: BTreeSet<String>,
}

/// A value with its annotations.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The value.
    pub value: Value,
    /// What to know about it.
    pub annotations: Annotations,
}
