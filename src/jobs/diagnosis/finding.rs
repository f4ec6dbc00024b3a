//! What a diagnosis says.

use super::evidence::{Measure, Unit};

/// The answer to "what holds this job up?".
#[derive(Debug, Clone, PartialEq)]
pub struct Diagnosis {
    /// In one word.
    pub verdict: Verdict,
    /// In words, with what to do.
    pub sentence: String,
    /// Everything that is worth knowing, the most urgent first.
    pub findings: Vec<Finding>,
    /// What was not measured.
    pub missing: Vec<Missing>,
}

/// The verdict.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// One operator holds the others up.
    Bottleneck(Bottleneck),
    /// Nobody is held up: the job goes as fast as its input.
    NoBottleneck,
    /// It does not run, or not all of it does.
    NotRunning,
    /// What was measured does not suffice.
    Unknown,
}

impl Verdict {
    /// The word in answers.
    pub fn as_str(&self) -> &'static str {
        match self {
            Verdict::Bottleneck(_) => "bottleneck",
            Verdict::NoBottleneck => "none",
            Verdict::NotRunning => "not_running",
            Verdict::Unknown => "unknown",
        }
    }
}

/// The operator that holds the others up.
#[derive(Debug, Clone, PartialEq)]
pub struct Bottleneck {
    /// Its place among the operators.
    pub operator: usize,
    /// The subtasks that do, if it is not all of them.
    pub subtasks: Vec<u64>,
    /// False if a part of the rule could not be looked at.
    pub is_certain: bool,
}

/// One thing that is worth knowing.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// What it is about.
    pub kind: FindingKind,
    /// How urgent it is.
    pub severity: Severity,
    /// The operator, by its place among all.
    pub operator: Option<usize>,
    /// Its subtasks that it is about, if it is not all of them.
    pub subtasks: Vec<u64>,
    /// In words, with what to do.
    pub sentence: String,
    /// What it was found by.
    pub evidence: Vec<Item>,
}

/// What a finding can be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FindingKind {
    /// Some of it does not run yet, or any more.
    NotRunning,
    /// It restarted.
    Restarts,
    /// An operator holds others up.
    Bottleneck,
    /// An operator waits for room to send although nobody behind it is busy.
    Unexplained,
    /// The subtasks of an operator have uneven loads.
    Skew,
    /// Subtasks of an operator have next to nothing to do.
    IdleSubtasks,
    /// An operator has no reserve.
    NearLimit,
    /// The records that wait before a source become more.
    Backlog,
    /// Checkpoints fail.
    CheckpointFailures,
    /// Checkpoints take long.
    SlowCheckpoints,
    /// A watermark stands still.
    WatermarkStands,
    /// A watermark is behind.
    WatermarkLag,
}

impl FindingKind {
    /// All kinds.
    pub const ALL: [FindingKind; 12] = [
        FindingKind::NotRunning,
        FindingKind::Restarts,
        FindingKind::Bottleneck,
        FindingKind::Unexplained,
        FindingKind::Skew,
        FindingKind::IdleSubtasks,
        FindingKind::NearLimit,
        FindingKind::Backlog,
        FindingKind::CheckpointFailures,
        FindingKind::SlowCheckpoints,
        FindingKind::WatermarkStands,
        FindingKind::WatermarkLag,
    ];

    /// The word in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            FindingKind::NotRunning => "not_running",
            FindingKind::Restarts => "restarts",
            FindingKind::Bottleneck => "bottleneck",
            FindingKind::Unexplained => "unexplained_backpressure",
            FindingKind::Skew => "skew",
            FindingKind::IdleSubtasks => "idle_subtasks",
            FindingKind::NearLimit => "near_limit",
            FindingKind::Backlog => "backlog",
            FindingKind::CheckpointFailures => "checkpoint_failures",
            FindingKind::SlowCheckpoints => "slow_checkpoints",
            FindingKind::WatermarkStands => "watermark_stands",
            FindingKind::WatermarkLag => "watermark_lag",
        }
    }
}

/// How urgent a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It breaks the job, or soon will.
    Critical,
    /// It costs.
    Warning,
    /// Good to know.
    Info,
}

impl Severity {
    /// The word in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Critical => "critical",
            Severity::Warning => "warning",
            Severity::Info => "info",
        }
    }
}

/// A number that a finding rests on.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// What it is: the word of a [`Measure`], or of a number in a document.
    pub what: &'static str,
    /// The operator.
    pub operator: Option<usize>,
    /// The subtask.
    pub subtask: Option<u64>,
    /// The number.
    pub value: f64,
    /// What it counts.
    pub unit: Unit,
    /// Where it stands.
    pub place: Place,
}

/// Where a number stands.
#[derive(Debug, Clone, PartialEq)]
pub enum Place {
    /// PromQL that gives it at the moment of the diagnosis.
    Series(String),
    /// A document of the job, such as `checkpoint 3`.
    Document(String),
}

/// Something that was not measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Missing {
    /// What.
    pub measure: Measure,
    /// Of which operators, by their places among all.
    pub operators: Vec<usize>,
    /// What cannot be said without it.
    pub sentence: String,
}
