//! What was measured of a job around one moment, in the words of no engine.

use std::collections::BTreeMap;

use super::facts::Facts;

/// What can be measured of a subtask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Measure {
    /// Share of its time that it works.
    Busy,
    /// Share of its time that it waits for room to send.
    Backpressured,
    /// Share of its time that it waits for records.
    Idle,
    /// How full the queues behind it are, the fullest.
    OutputQueue,
    /// How full the queues before it are, the fullest.
    InputQueue,
    /// Records that come in.
    RecordsIn,
    /// Records that go out.
    RecordsOut,
    /// How far its watermark is behind the clock.
    WatermarkLag,
    /// Event time that passes at its watermark in one unit of real time.
    WatermarkSpeed,
    /// From the trigger of a checkpoint to its first barrier.
    StartDelay,
    /// How long barriers were aligned.
    Alignment,
    /// Records that wait in the system that a source reads from.
    Backlog,
    /// How fast these become more.
    BacklogGrowth,
}

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A share from 0 to 1, or a quotient.
    Ratio,
    /// Records per second.
    RecordsPerSecond,
    /// Records.
    Records,
    /// Milliseconds.
    Milliseconds,
    /// Bytes.
    Bytes,
    /// How many.
    Count,
}

impl Unit {
    /// The word in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Unit::Ratio => "ratio",
            Unit::RecordsPerSecond => "records/s",
            Unit::Records => "records",
            Unit::Milliseconds => "ms",
            Unit::Bytes => "bytes",
            Unit::Count => "count",
        }
    }
}

impl Measure {
    /// All measures.
    pub const ALL: [Measure; 13] = [
        Measure::Busy,
        Measure::Backpressured,
        Measure::Idle,
        Measure::OutputQueue,
        Measure::InputQueue,
        Measure::RecordsIn,
        Measure::RecordsOut,
        Measure::WatermarkLag,
        Measure::WatermarkSpeed,
        Measure::StartDelay,
        Measure::Alignment,
        Measure::Backlog,
        Measure::BacklogGrowth,
    ];

    /// The word in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Measure::Busy => "busy",
            Measure::Backpressured => "backpressured",
            Measure::Idle => "idle",
            Measure::OutputQueue => "output_queue",
            Measure::InputQueue => "input_queue",
            Measure::RecordsIn => "records_in",
            Measure::RecordsOut => "records_out",
            Measure::WatermarkLag => "watermark_lag",
            Measure::WatermarkSpeed => "watermark_speed",
            Measure::StartDelay => "checkpoint_start_delay",
            Measure::Alignment => "checkpoint_alignment",
            Measure::Backlog => "backlog",
            Measure::BacklogGrowth => "backlog_growth",
        }
    }

    /// What it counts.
    pub fn unit(self) -> Unit {
        match self {
            Measure::Busy
            | Measure::Backpressured
            | Measure::Idle
            | Measure::OutputQueue
            | Measure::InputQueue
            | Measure::WatermarkSpeed => Unit::Ratio,
            Measure::RecordsIn | Measure::RecordsOut | Measure::BacklogGrowth => Unit::RecordsPerSecond,
            Measure::WatermarkLag | Measure::StartDelay | Measure::Alignment => Unit::Milliseconds,
            Measure::Backlog => Unit::Records,
        }
    }

    /// How several series of one subtask, and several subtasks of one operator, are put together.
    pub fn together(self) -> Together {
        match self {
            Measure::RecordsIn | Measure::RecordsOut | Measure::Backlog | Measure::BacklogGrowth => Together::Sum,
            Measure::WatermarkSpeed | Measure::Idle => Together::Min,
            _ => Together::Max,
        }
    }
}

/// How values become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Together {
    /// The smallest.
    Min,
    /// The largest.
    Max,
    /// All added up.
    Sum,
}

impl Together {
    /// PromQL's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Together::Min => "min",
            Together::Max => "max",
            Together::Sum => "sum",
        }
    }

    /// Two values as one.
    pub fn of(self, a: f64, b: f64) -> f64 {
        match self {
            Together::Min => a.min(b),
            Together::Max => a.max(b),
            Together::Sum => a + b,
        }
    }
}

/// A number and how to ask for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The number, in the measure's unit.
    pub value: f64,
    /// PromQL that gives this number at the moment of the evidence.
    pub expression: String,
}

/// A subtask, with what was measured of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Subtask {
    /// Its index.
    pub index: u64,
    /// Its task manager, where known.
    pub task_manager: Option<String>,
    /// What was measured.
    pub readings: BTreeMap<Measure, Reading>,
}

/// An operator, with what was measured of it. Its name, inputs and the rest stand in [`Facts::operators`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Operator {
    /// By index.
    pub subtasks: Vec<Subtask>,
}

impl Operator {
    /// The values of a measure, with the index of each subtask.
    pub fn values(&self, measure: Measure) -> impl Iterator<Item = (u64, f64)> + '_ {
        let value = move |subtask: &Subtask| Some((subtask.index, subtask.readings.get(&measure)?.value));
        self.subtasks.iter().filter_map(value).filter(|(_, value)| !value.is_nan())
    }

    /// The value of a measure over all subtasks of which it is known.
    pub fn value(&self, measure: Measure) -> Option<f64> {
        self.values(measure).map(|(_, value)| value).reduce(|a, b| measure.together().of(a, b))
    }
}

/// All that a verdict is made from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Evidence {
    /// What the documents say.
    pub facts: Facts,
    /// What was measured, in the order of [`Facts::operators`].
    pub operators: Vec<Operator>,
    /// The length of time before the moment over which it was averaged, in milliseconds.
    pub window_ms: i64,
}
