//! The bodies of the push API to what they tell of a job, within the limits.

mod checkpoints;
mod registration;

use std::collections::BTreeMap;

use super::wire;
use crate::config::Config;
use crate::http::error::Fault;
use crate::jobs::{Accumulator, Accumulators, Count, Failure, Io, Push, RestoredCheckpoint, Subject, Task, TaskState};

pub(super) use registration::registration;

/// Longest id of a vertex, in bytes; as that of a job.
const ID_BYTES_MAX: usize = 255;
/// Exceptions can hang below one another so deep.
const CONCURRENT_DEPTH_MAX: usize = 1;

/// Limits on what is told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    vertices_max: usize,
    subtasks_max: u64,
    items_max: usize,
    metrics_max: usize,
    name_bytes_max: usize,
    text_bytes_max: usize,
    future_max_ms: i64,
}

impl Limits {
    pub(super) fn new(config: &Config) -> Limits {
        Limits {
            vertices_max: config.jobs_max_vertices,
            subtasks_max: config.jobs_max_subtasks as u64,
            items_max: config.jobs_max_documents,
            metrics_max: config.ingest_max_batch_samples,
            name_bytes_max: config.jobs_max_name_bytes,
            text_bytes_max: config.jobs_max_text_bytes,
            future_max_ms: config.ingest_max_future.ms(),
        }
    }

    /// A name, a path, or another short text.
    fn name(&self, what: &str, text: &str) -> Result<(), Fault> {
        within(what, text, "jobs.max_name_bytes", self.name_bytes_max)
    }

    fn names<'t>(&self, named: impl IntoIterator<Item = (&'t str, &'t Option<String>)>) -> Result<(), Fault> {
        named.into_iter().try_for_each(|(what, text)| text.as_deref().map_or(Ok(()), |text| self.name(what, text)))
    }

    /// A text that people write.
    fn text(&self, what: &str, text: &str) -> Result<(), Fault> {
        within(what, text, "jobs.max_text_bytes", self.text_bytes_max)
    }

    /// What an agent says of a command.
    pub(super) fn outcome(&self, said: &wire::CommandReport) -> Result<(), Fault> {
        self.names([("location", &said.location), ("error_class", &said.error_class)])?;
        self.text("error", said.error.as_deref().unwrap_or_default())
    }

    fn count(what: &str, count: usize, option: &str, limit: usize) -> Result<(), Fault> {
        if count <= limit {
            return Ok(());
        }
        Err(Fault::bad_request(format!("{count} {what}: limit {option} = {limit} reached")))
    }
}

fn within(what: &str, text: &str, option: &str, limit: usize) -> Result<(), Fault> {
    if text.len() <= limit {
        return Ok(());
    }
    Err(Fault::bad_request(format!("{what} has {} bytes: limit {option} = {limit} reached", text.len())))
}

/// An id of a job or a vertex.
pub(super) fn check_id(what: &str, id: &str) -> Result<(), Fault> {
    if id.is_empty() || id.len() > ID_BYTES_MAX || id.chars().any(char::is_control) {
        let shown: String = id.chars().take(64).collect();
        let message = format!("{what} {shown:?} does not have 1 to {ID_BYTES_MAX} bytes without control characters");
        return Err(Fault::bad_request(message));
    }
    Ok(())
}

/// What was told, and the numbers that are samples.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) push: Push,
    pub(super) numbers: Vec<Number>,
}

/// A number that was told of a job.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Number {
    /// The vertex; none for the job.
    pub(super) vertex: Option<String>,
    /// The subtask; none for all together.
    pub(super) subtask: Option<u64>,
    /// The attempt; none for the newest.
    pub(super) attempt: Option<u64>,
    /// What it is.
    pub(super) of: Measure,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Measure {
    Metric(String, f64),
    Accumulator(String, f64),
    Io(Io),
}

/// The moment that a body speaks of.
fn moment(limits: &Limits, at: Option<wire::Time>, now_ms: i64) -> Result<i64, Fault> {
    let at_ms = at.map_or(now_ms, |at| at.0);
    if at_ms <= now_ms.saturating_add(limits.future_max_ms) {
        return Ok(at_ms);
    }
    let limit = limits.future_max_ms;
    Err(Fault::bad_request(format!("at = {at_ms} lies too far ahead: limit ingest.max_future = {limit} ms reached")))
}

/// Reads a report.
///
/// # Errors
/// As [`registration()`].
pub(super) fn report(limits: &Limits, job: Subject, body: wire::Report, now_ms: i64) -> Result<Told, Fault> {
    let at_ms = moment(limits, body.at, now_ms)?;
    let of_vertices: usize = body.vertices.iter().map(|vertex| 1 + vertex.subtasks.len()).sum();
    let of_checkpoints: usize = body
        .checkpoints
        .iter()
        .map(|checkpoint| 1 + checkpoint.tasks.iter().map(|task| 1 + task.subtasks.len()).sum::<usize>())
        .sum();
    let of_exceptions: usize = body.exceptions.iter().map(|exception| 1 + exception.concurrent.len()).sum();
    let items = of_vertices + of_checkpoints + of_exceptions + body.accumulators.len();
    Limits::count("parts of a report", items, "jobs.max_documents", limits.items_max)?;
    let mut told = Told { push: Push::new(job, at_ms, now_ms), numbers: Vec::new() };
    told.push.state = body.state;
    for vertex in &body.vertices {
        told.vertex(limits, vertex)?;
    }
    for checkpoint in body.checkpoints {
        told.checkpoint(limits, checkpoint)?;
    }
    if let Some(restored) = body.restored {
        limits.names([("restored.path", &restored.path)])?;
        told.push.restored = Some(RestoredCheckpoint {
            id: restored.id.0,
            at_ms: restored.at.map_or(at_ms, |at| at.0),
            is_savepoint: restored.savepoint,
            path: restored.path,
        });
    }
    for exception in body.exceptions {
        told.push.failures.push(failure(limits, exception, at_ms, CONCURRENT_DEPTH_MAX)?);
    }
    told.accumulators(limits, body.accumulators)?;
    for (name, value) in body.metrics {
        let of = Measure::Metric(name, value);
        told.numbers.push(Number { vertex: None, subtask: None, attempt: None, of });
    }
    Limits::count("metrics", told.numbers.len(), "ingest.max_batch_samples", limits.metrics_max)?;
    Ok(told)
}

impl Told {
    fn vertex(&mut self, limits: &Limits, told: &wire::Tasks) -> Result<(), Fault> {
        check_id("the vertex id", &told.id)?;
        if let Some(state) = told.state {
            let times = [(state, self.push.at_ms)].into();
            self.push.tasks.push(Task { vertex: told.id.clone(), times, ..Task::default() });
        }
        self.subtasks(limits, &told.id, &told.subtasks)
    }

    fn subtasks(&mut self, limits: &Limits, vertex: &str, told: &[wire::Subtask]) -> Result<(), Fault> {
        for subtask in told {
            limits.names([
                ("subtask.endpoint", &subtask.endpoint),
                ("subtask.task_manager", &subtask.task_manager),
                ("subtask.execution_id", &subtask.execution_id),
            ])?;
            let mut times: BTreeMap<TaskState, i64> = subtask.times.iter().map(|(state, at)| (*state, at.0)).collect();
            if let Some(state) = subtask.state {
                times.entry(state).or_insert(self.push.at_ms);
            }
            let (index, attempt) = (u64::from(subtask.index), subtask.attempt.map(u64::from));
            let number = |of| Number { vertex: Some(vertex.to_owned()), subtask: Some(index), attempt, of };
            let io = subtask.io.map(io);
            self.numbers.extend(io.map(|io| number(Measure::Io(io))));
            let metrics = subtask.metrics.iter();
            self.numbers.extend(metrics.map(|(name, value)| number(Measure::Metric(name.clone(), *value))));
            self.push.tasks.push(Task {
                vertex: vertex.to_owned(),
                index: Some(index),
                attempt,
                times,
                endpoint: subtask.endpoint.clone(),
                task_manager: subtask.task_manager.clone(),
                execution_id: subtask.execution_id.clone(),
                io,
            });
        }
        Limits::count("metrics", self.numbers.len(), "ingest.max_batch_samples", limits.metrics_max)
    }

    fn accumulators(&mut self, limits: &Limits, told: Vec<wire::Accumulator>) -> Result<(), Fault> {
        let mut groups: BTreeMap<(String, Option<u64>), Vec<Accumulator>> = BTreeMap::new();
        for one in told {
            limits.name("the accumulator's name", &one.name)?;
            limits.names([("the accumulator's kind", &one.kind)])?;
            if let Some(vertex) = &one.vertex {
                check_id("the vertex id", vertex)?;
            } else if one.subtask.is_some() {
                return Err(Fault::bad_request(format!("accumulator {:?} has a subtask but no vertex", one.name)));
            }
            let subtask = one.subtask.map(u64::from);
            let (kind, value, number) = match one.value {
                wire::AccumulatorValue::Whole(whole) => ("LongCounter", whole.to_string(), Some(whole as f64)),
                wire::AccumulatorValue::Number(number) => ("DoubleCounter", format!("{number:?}"), Some(number)),
                wire::AccumulatorValue::Text(text) => ("String", text, None),
            };
            limits.text("the accumulator's value", &value)?;
            let of = number.map(|number| Measure::Accumulator(one.name.clone(), number));
            let number = |of| Number { vertex: one.vertex.clone(), subtask, attempt: None, of };
            self.numbers.extend(of.map(number));
            let kind = one.kind.unwrap_or_else(|| kind.to_owned());
            let group = groups.entry((one.vertex.unwrap_or_default(), subtask)).or_default();
            group.push(Accumulator { name: one.name, kind, value: Some(value) });
        }
        let all =
            groups.into_iter().map(|((vertex, subtask), accumulators)| Accumulators { vertex, subtask, accumulators });
        self.push.accumulators = all.collect();
        Ok(())
    }
}

fn io(told: wire::Io) -> Io {
    let count = |number: Option<wire::Natural>| Count {
        value: number.map_or(0, |number| number.0),
        is_complete: number.is_some(),
    };
    Io {
        read_bytes: count(told.read_bytes),
        write_bytes: count(told.write_bytes),
        read_records: count(told.read_records),
        write_records: count(told.write_records),
        backpressured_ms: told.backpressured_ms.map(|ms| ms.0),
        idle_ms: told.idle_ms.map(|ms| ms.0),
        busy_ms: told.busy_ms.map(|ms| ms.0 as f64),
    }
}

fn failure(limits: &Limits, told: wire::Exception, at_ms: i64, depth: usize) -> Result<Failure, Fault> {
    limits.names([
        ("exception.name", &told.name),
        ("exception.task", &told.task),
        ("exception.endpoint", &told.endpoint),
        ("exception.task_manager", &told.task_manager),
    ])?;
    Limits::count("labels of an exception", told.labels.len(), "jobs.max_documents", limits.items_max)?;
    for (name, value) in &told.labels {
        limits.name("the name of an exception's label", name)?;
        limits.name("the value of an exception's label", value)?;
    }
    let stack_trace = match (told.stack_trace, told.message, &told.name) {
        (Some(trace), _, _) => trace,
        (None, Some(message), Some(name)) => format!("{name}: {message}"),
        (None, Some(message), None) => message,
        (None, None, _) => return Err(Fault::bad_request("an exception has a message or a stack_trace")),
    };
    limits.text("the exception's text", &stack_trace)?;
    if depth == 0 && !told.concurrent.is_empty() {
        return Err(Fault::bad_request("a concurrent exception has no concurrent ones itself"));
    }
    let at_ms = told.at.map_or(at_ms, |at| at.0);
    let concurrent = told.concurrent.into_iter().map(|one| failure(limits, one, at_ms, depth.saturating_sub(1)));
    Ok(Failure {
        at_ms,
        name: told.name,
        stack_trace,
        task: told.task,
        endpoint: told.endpoint,
        task_manager: told.task_manager,
        labels: told.labels,
        concurrent: concurrent.collect::<Result<_, _>>()?,
    })
}

#[cfg(test)]
mod tests;
