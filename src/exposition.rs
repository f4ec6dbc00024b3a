//! Prometheus's text formats: text 0.0.4 and OpenMetrics 1.0, read and written.

mod family;

pub use family::{Family, FamilySample};
