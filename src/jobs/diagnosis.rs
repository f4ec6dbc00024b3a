//! Which operator holds a job up, and why: a verdict with its evidence, in words that a person can act on.
//!
//! Three steps, each of which can be looked at alone:
//! 1. [`Facts`] are what the documents say at a moment: the graph, states, checkpoints, restarts (`facts.rs`).
//! 2. [`Evidence`] adds what was measured around that moment, operator by operator and subtask by subtask, whatever the
//!    engine calls it (`sources.rs` has the table of metrics, `measure.rs` reads them as PromQL, so that everyone can ask
//!    for the same number again).
//! 3. [`diagnose`] judges. It is a pure function of the evidence and knows no name of a metric and no engine.
//!
//! The rule: records pile up before the operator that cannot keep pace, so **a bottleneck is a busy operator whose inputs
//! wait for room to send** (`bottleneck.rs`). A source that waits for its input is none. What was not measured is said and
//! never guessed. `docs/diagnosis.md` says what each finding means; [`thresholds`] has every number.

mod bottleneck;
mod checkpoints;
mod evidence;
mod facts;
mod finding;
mod judge;
mod load;
mod measure;
mod restarts;
mod skew;
mod sources;
pub mod thresholds;
mod watermarks;
mod words;

pub use evidence::{Evidence, Measure, Operator, Reading, Subtask, Unit};
pub use facts::{CheckpointFacts, Facts, OperatorFacts, RestartFact, SlowestPart};
pub use finding::{Bottleneck, Diagnosis, Finding, FindingKind, Item, Missing, Place, Severity, Verdict};
pub use judge::diagnose;
pub use measure::{MeasureError, Track};
pub(crate) use measure::{Meter, Over};
pub(super) use words::{number, percent, span};

#[cfg(test)]
mod tests;
