//! A metric family with its samples, as the formats group them.

use model::{Labels, Metadata};

/// A metric family.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// The family's name, without suffixes such as `_bucket`.
    pub name: String,
    /// Type, help and unit.
    pub metadata: Metadata,
    /// Its samples.
    pub samples: Vec<FamilySample>,
}

/// One line of a family.
#[derive(Debug, Clone, PartialEq)]
pub struct FamilySample {
    /// All labels, the name of the line (with its suffix) included.
    pub labels: Labels,
    /// The value.
    pub value: f64,
    /// The time, where the line has one.
    pub timestamp_ms: Option<i64>,
}
