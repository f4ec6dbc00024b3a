//! Fields of one engine that the model has no word for.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Fields as their source wrote them, by the source's own names.
///
/// They take part in "has it changed", so nothing that moves by itself may be in here.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Kept(pub Map<String, Value>);

impl Kept {
    /// True if there is nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
