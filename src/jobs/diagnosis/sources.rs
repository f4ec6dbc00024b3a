//! Which metrics tell what, engine by engine: the one place that knows names of metrics.
//!
//! Of the rows of one measure the first that has samples of an operator counts. In an expression `$1` is the metric with its
//! matchers, `$2` the one that belongs to it, `$w` the window.

use super::evidence::Measure;

/// The name of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Metric {
    /// All of it.
    Named(&'static str),
    /// Its end, behind an underscore or alone: how engines without names of their own in this table call it.
    Ending(&'static str),
    /// All of it, of an engine whose series name the operator and not the job.
    OfOperator(&'static str),
}

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source {
    pub(super) measure: Measure,
    pub(super) metric: Metric,
    /// The other metric, where one is not enough.
    pub(super) other: &'static str,
    pub(super) expression: &'static str,
}

/// Labels that name the operator; the first that a series has counts. With Flink a task is the operator of a graph, and
/// has several chained ones in it.
pub(super) const OPERATOR_LABELS: [&str; 6] = ["task_id", "operator_id", "node_id", "stage_id", "source_id", "sink_id"];
/// Labels that number the subtask.
pub(super) const SUBTASK_LABELS: [&str; 2] = ["subtask_index", "subtask_idx"];
/// The label that numbers the attempt.
pub(super) const ATTEMPT_LABEL: &str = "task_attempt_num";
/// Labels with a name for people.
pub(super) const NAME_LABELS: [&str; 2] = ["task_name", "operator_name"];
/// Labels that name the job.
pub(super) const JOB_LABELS: [&str; 2] = ["job_id", "pipeline_id"];

const fn row(measure: Measure, metric: Metric, expression: &'static str) -> Source {
    Source { measure, metric, other: "", expression }
}

const fn flink(measure: Measure, name: &'static str, expression: &'static str) -> Source {
    row(measure, Metric::Named(name), expression)
}

const fn plain(measure: Measure, end: &'static str, expression: &'static str) -> Source {
    row(measure, Metric::Ending(end), expression)
}

const MEAN: &str = "avg_over_time($1[$w])";
const NEWEST: &str = "last_over_time($1[$w])";
const RATE: &str = "rate($1[$w])";
const PER_MILLE: &str = "avg_over_time($1[$w]) / 1000";
const RATE_OF_MS: &str = "rate($1[$w]) / 1000";
const NANOSECONDS: &str = "last_over_time($1[$w]) / 1e6";
const SECONDS: &str = "last_over_time($1[$w]) * 1000";
/// Before the first watermark it is the smallest number that there is.
const BEHIND_THE_CLOCK: &str = "(timestamp($1) * 1000 - $1) < 1e15";
const KNOWN_LAG: &str = "last_over_time($1[$w]) < 1e15";
const SPEED: &str = "(deriv($1[$w]) / 1000) < 1000";
const GROWTH: &str = "deriv($1[$w])";
/// Arroyo's own formula.
const QUEUE: &str = "1 - (avg_over_time($1[$w]) + 1) / (avg_over_time($2[$w]) + 1)";

/// The table. Flink's usage of *input* buffers is not in it: with credits it stays near 0 also before the operator that
/// holds all others up (so in a recording of 2.3).
pub(super) const SOURCES: &[Source] = &[
    flink(Measure::Busy, "flink_taskmanager_job_task_busyTimeMsPerSecond", PER_MILLE),
    flink(Measure::Busy, "flink_taskmanager_job_task_accumulateBusyTimeMs", RATE_OF_MS),
    plain(Measure::Busy, "busy_ratio", MEAN),
    plain(Measure::Busy, "busy_seconds_total", RATE),
    flink(Measure::Backpressured, "flink_taskmanager_job_task_backPressuredTimeMsPerSecond", PER_MILLE),
    flink(Measure::Backpressured, "flink_taskmanager_job_task_accumulateBackPressuredTimeMs", RATE_OF_MS),
    plain(Measure::Backpressured, "backpressured_ratio", MEAN),
    plain(Measure::Backpressured, "backpressure_ratio", MEAN),
    plain(Measure::Backpressured, "backpressured_seconds_total", RATE),
    flink(Measure::Idle, "flink_taskmanager_job_task_idleTimeMsPerSecond", PER_MILLE),
    flink(Measure::Idle, "flink_taskmanager_job_task_accumulateIdleTimeMs", RATE_OF_MS),
    plain(Measure::Idle, "idle_ratio", MEAN),
    plain(Measure::Idle, "idle_seconds_total", RATE),
    flink(Measure::OutputQueue, "flink_taskmanager_job_task_Shuffle_Netty_Output_Buffers_outPoolUsage", MEAN),
    flink(Measure::OutputQueue, "flink_taskmanager_job_task_buffers_outPoolUsage", MEAN),
    Source {
        measure: Measure::OutputQueue,
        metric: Metric::Named("arroyo_worker_tx_queue_rem"),
        other: "arroyo_worker_tx_queue_size",
        expression: QUEUE,
    },
    plain(Measure::OutputQueue, "output_queue_usage", MEAN),
    // What Arroyo's console calls by this name is how full the queues are, and no time.
    plain(Measure::OutputQueue, "backpressure", MEAN),
    row(Measure::InputQueue, Metric::OfOperator("conveyor_router_buffer_utilization"), MEAN),
    plain(Measure::InputQueue, "input_queue_usage", MEAN),
    flink(Measure::RecordsIn, "flink_taskmanager_job_task_numRecordsInPerSecond", MEAN),
    flink(Measure::RecordsIn, "flink_taskmanager_job_task_numRecordsIn", RATE),
    flink(Measure::RecordsIn, "arroyo_worker_messages_recv", RATE),
    flink(Measure::RecordsIn, "conveyor_router_records_routed_total", RATE),
    row(Measure::RecordsIn, Metric::OfOperator("conveyor_router_records_delivered_total"), RATE),
    plain(Measure::RecordsIn, "records_in_total", RATE),
    flink(Measure::RecordsOut, "flink_taskmanager_job_task_numRecordsOutPerSecond", MEAN),
    flink(Measure::RecordsOut, "flink_taskmanager_job_task_numRecordsOut", RATE),
    flink(Measure::RecordsOut, "arroyo_worker_messages_sent", RATE),
    row(Measure::RecordsOut, Metric::OfOperator("conveyor_router_records_received_total"), RATE),
    plain(Measure::RecordsOut, "records_out_total", RATE),
    flink(Measure::WatermarkLag, "flink_taskmanager_job_task_currentInputWatermark", BEHIND_THE_CLOCK),
    // Sources have no input; their connectors say how far behind they are.
    flink(Measure::WatermarkLag, "flink_taskmanager_job_task_operator_watermarkLag", KNOWN_LAG),
    plain(Measure::WatermarkLag, "watermark_lag_seconds", SECONDS),
    flink(Measure::WatermarkSpeed, "flink_taskmanager_job_task_currentInputWatermark", SPEED),
    flink(Measure::StartDelay, "flink_taskmanager_job_task_checkpointStartDelayNanos", NANOSECONDS),
    flink(Measure::Alignment, "flink_taskmanager_job_task_checkpointAlignmentTime", NANOSECONDS),
    flink(Measure::Backlog, "flink_taskmanager_job_task_operator_pendingRecords", NEWEST),
    plain(Measure::Backlog, "backlog_records", NEWEST),
    flink(Measure::BacklogGrowth, "flink_taskmanager_job_task_operator_pendingRecords", GROWTH),
    plain(Measure::BacklogGrowth, "backlog_records", GROWTH),
];

impl Metric {
    /// True if a metric of this name is meant.
    pub(super) fn is(self, name: &str) -> bool {
        match self {
            Metric::Named(all) | Metric::OfOperator(all) => name == all,
            Metric::Ending(end) => {
                let before = name.strip_suffix(end);
                // A name with other signs could not be written plainly in an expression.
                before.is_some_and(|before| before.is_empty() || before.ends_with('_')) && is_plain(name)
            }
        }
    }
}

fn is_plain(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_expression_is_one() {
        let options = query::EngineOptions::default();
        for source in SOURCES {
            let text = source.expression.replace("$1", "a{b=\"c\"}").replace("$2", "d{b=\"c\"}").replace("$w", "2m");
            query::parse(&text, &options).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(source.expression.contains("$2"), !source.other.is_empty(), "{source:?}");
        }
    }

    #[test]
    fn every_measure_has_a_source() {
        for measure in Measure::ALL {
            assert!(SOURCES.iter().any(|source| source.measure == measure), "{measure:?}");
        }
    }

    #[test]
    fn ends_are_whole_words() {
        let busy = Metric::Ending("busy_ratio");
        assert!(busy.is("busy_ratio") && busy.is("etl_task_busy_ratio"));
        assert!(!busy.is("abusy_ratio") && !busy.is("busy_ratio_max") && !busy.is("etl task_busy_ratio"));
        assert!(!busy.is("1_busy_ratio"));
    }
}
