//! The series of a job's workers as a controller would have told them: by operator and subtask, one point per step.
//!
//! Several series of one metric and subtask (a source with several connections, one worker after another) are added up;
//! of several queues the fullest counts for backpressure, because it alone can hold up the subtask.

use std::collections::{BTreeMap, HashMap};

use model::{
    Budget, Labels, METRIC_NAME, MatchOp, Matcher, SampleColumns, Scope, SeriesSource, SourceError, TimeRange, is_stale,
};

use super::rate::{Rate, backpressure};
use super::wire::{Group, Newest, Operator, Point, Series, Subtask, node_name};

/// Before the names of all series of workers.
const PREFIX: &str = "arroyo_worker_";

/// How long before the first point samples are read: the average of a rate has forgotten what came before.
const WARM_UP_MS: i64 = 300_000;

/// What is shown of a subtask, in the order of Arroyo's own list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Metric {
    BytesRecv,
    BytesSent,
    MessagesRecv,
    MessagesSent,
    Backpressure,
    TxQueueSize,
    TxQueueRem,
}

impl Metric {
    const ALL: [Metric; 7] = [
        Metric::BytesRecv,
        Metric::BytesSent,
        Metric::MessagesRecv,
        Metric::MessagesSent,
        Metric::Backpressure,
        Metric::TxQueueSize,
        Metric::TxQueueRem,
    ];

    /// Those that a controller tells. A release may refuse names that it does not know.
    pub(crate) const OF_CONTROLLER: [Metric; 5] =
        [Metric::BytesRecv, Metric::BytesSent, Metric::MessagesRecv, Metric::MessagesSent, Metric::Backpressure];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Metric::BytesRecv => "bytes_recv",
            Metric::BytesSent => "bytes_sent",
            Metric::MessagesRecv => "messages_recv",
            Metric::MessagesSent => "messages_sent",
            Metric::Backpressure => "backpressure",
            Metric::TxQueueSize => "tx_queue_size",
            Metric::TxQueueRem => "tx_queue_rem",
        }
    }

    /// The metric of a series of workers; none has backpressure.
    fn of_series(name: &str) -> Option<Metric> {
        let name = name.strip_prefix(PREFIX)?;
        Metric::ALL.into_iter().find(|metric| *metric != Metric::Backpressure && metric.as_str() == name)
    }

    fn is_counter(self) -> bool {
        matches!(self, Metric::BytesRecv | Metric::BytesSent | Metric::MessagesRecv | Metric::MessagesSent)
    }
}

/// Whose metrics are read, and when.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// Values of the label `job_id`: a job has a public id and one inside the engine.
    pub(crate) job_ids: Vec<String>,
    /// The organization of the job, and of its series.
    pub(crate) org: String,
    /// When the points lie.
    pub(crate) range: TimeRange,
    /// One point is shown for each part of the time of this length, the newest in it; at least 1.
    pub(crate) step_ms: i64,
    /// `arroyo.max_points`
    pub(crate) points_max: usize,
}

/// Why they cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TasksError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(
        "the answer has too many points: limit arroyo.max_points = {limit} reached; ask for less time or a longer step"
    )]
    TooManyPoints { limit: usize },
}

/// An operator by its place in the graph, or by the name that older releases give it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Node {
    Number(u32),
    Name(String),
}

/// One step of one metric.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    time_ms: i64,
    /// What the console shows; of a counter nothing before its second sample.
    point: Option<f64>,
    /// What the series says: of a counter the count itself.
    plain: f64,
}

/// Steps by number, counted from 1970.
type Slots = BTreeMap<i64, Slot>;

/// What is known of a job.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    metrics: BTreeMap<Node, BTreeMap<(Metric, u32), Slots>>,
    points: usize,
}

/// Reads the metrics of a job.
///
/// # Errors
/// [`TasksError`].
pub(crate) fn read(
    source: &dyn SeriesSource,
    scope: &Scope,
    wanted: &Wanted,
    budget: &Budget,
) -> Result<Tasks, TasksError> {
    let range = TimeRange { start_ms: wanted.range.start_ms.saturating_sub(WARM_UP_MS), end_ms: wanted.range.end_ms };
    let set = source.select(scope, &matchers(wanted)?, range, budget)?;
    let (mut tasks, mut queues, mut samples) = (Tasks::default(), Queues::default(), SampleColumns::default());
    for i in 0..set.len() {
        budget.check().map_err(SourceError::from)?;
        let labels = set.labels(i)?;
        let Some((node, subtask, metric)) = place(&labels) else { continue };
        set.samples(i, range, budget, &mut samples)?;
        let slots = slots(metric, &samples, wanted);
        if !metric.is_counter() {
            queues.add((&node, subtask, metric), &labels, &slots, budget)?;
        }
        tasks.add(node, subtask, metric, slots, wanted.points_max)?;
    }
    for ((node, subtask), slots) in queues.backpressure() {
        tasks.add(node, subtask, Metric::Backpressure, slots, wanted.points_max)?;
    }
    tasks.add_free(wanted.points_max)?;
    Ok(tasks)
}

fn matchers(wanted: &Wanted) -> Result<Vec<Matcher>, SourceError> {
    let names: Vec<&str> =
        Metric::ALL.into_iter().filter(|metric| *metric != Metric::Backpressure).map(Metric::as_str).collect();
    let ids: Vec<String> = wanted.job_ids.iter().map(|id| regex::escape(id)).collect();
    let one_of = |name: &str, list: String| {
        Matcher::new(name, MatchOp::Regex, list).map_err(|e| SourceError::Storage(e.to_string()))
    };
    Ok(vec![
        one_of(METRIC_NAME, format!("{PREFIX}({})", names.join("|")))?,
        one_of("job_id", ids.join("|"))?,
        Matcher::equal("org", &wanted.org),
    ])
}

/// Operator, subtask and metric of a series; none if a label is missing or no number.
fn place(labels: &Labels) -> Option<(Node, u32, Metric)> {
    let metric = Metric::of_series(labels.metric_name())?;
    let name = labels.get("node_id").or_else(|| labels.get("operator_id"))?;
    let node = name.parse().map_or_else(|_| Node::Name(name.to_owned()), Node::Number);
    let subtask = labels.get("subtask_idx").or_else(|| labels.get("subtask_index"))?;
    Some((node, subtask.parse().ok()?, metric))
}

/// The steps of one series.
fn slots(metric: Metric, samples: &SampleColumns, wanted: &Wanted) -> Slots {
    let (mut slots, mut rate) = (Slots::new(), Rate::default());
    for sample in samples.floats() {
        if is_stale(sample.value) {
            rate.end();
            continue;
        }
        if !sample.value.is_finite() {
            continue;
        }
        let (time_ms, plain) = (sample.timestamp_ms, sample.value);
        let point = if metric.is_counter() { rate.next(time_ms, plain) } else { Some(plain) };
        if time_ms >= wanted.range.start_ms {
            slots.insert(time_ms.div_euclid(wanted.step_ms), Slot { time_ms, point, plain });
        }
    }
    slots
}

impl Tasks {
    /// Adds a series to its metric.
    fn add(
        &mut self,
        node: Node,
        subtask: u32,
        metric: Metric,
        slots: Slots,
        points_max: usize,
    ) -> Result<(), TasksError> {
        if slots.is_empty() {
            return Ok(());
        }
        let all = self.metrics.entry(node).or_default().entry((metric, subtask)).or_default();
        let before = all.len();
        for (step, slot) in slots {
            let sum = all.entry(step).or_insert(Slot { time_ms: slot.time_ms, ..Slot::default() });
            sum.time_ms = sum.time_ms.max(slot.time_ms);
            sum.plain += slot.plain;
            sum.point = match (sum.point, slot.point) {
                (Some(a), Some(b)) => Some(a + b),
                (a, b) => a.or(b),
            };
        }
        self.points += all.len() - before;
        if self.points > points_max {
            return Err(TasksError::TooManyPoints { limit: points_max });
        }
        Ok(())
    }

    /// A subtask without queues, such as a sink's, is held up by nobody: its backpressure is 0, as a controller says.
    fn add_free(&mut self, points_max: usize) -> Result<(), TasksError> {
        let mut free = Vec::new();
        for (node, metrics) in &self.metrics {
            let mut steps: BTreeMap<u32, Slots> = BTreeMap::new();
            for ((metric, subtask), slots) in metrics {
                if metric.is_counter() {
                    let of_subtask = steps.entry(*subtask).or_default();
                    of_subtask.extend(
                        slots.iter().map(|(step, slot)| (*step, Slot { point: Some(0.0), plain: 0.0, ..*slot })),
                    );
                }
            }
            steps.retain(|subtask, _| {
                let has = |metric| metrics.contains_key(&(metric, *subtask));
                !has(Metric::TxQueueSize) && !has(Metric::TxQueueRem)
            });
            free.extend(steps.into_iter().map(|(subtask, slots)| (node.clone(), subtask, slots)));
        }
        free.into_iter()
            .try_for_each(|(node, subtask, slots)| self.add(node, subtask, Metric::Backpressure, slots, points_max))
    }

    /// In the console's shape and the page's, with these metrics.
    pub(crate) fn operators(&self, metrics: &[Metric]) -> Vec<Operator> {
        self.metrics.iter().map(|(node, found)| operator(node, found, metrics)).collect()
    }

    /// The same for all metrics.
    pub(crate) fn all_operators(&self) -> Vec<Operator> {
        self.operators(&Metric::ALL)
    }

    /// True if nothing was heard of the job.
    pub(crate) fn is_empty(&self) -> bool {
        self.metrics.is_empty()
    }
}

fn operator(node: &Node, found: &BTreeMap<(Metric, u32), Slots>, metrics: &[Metric]) -> Operator {
    let (mut groups, mut subtasks) = (Vec::new(), BTreeMap::<u32, Vec<Newest>>::new());
    for metric in metrics {
        let mut group = Group { name: metric.as_str().to_owned(), subtasks: Vec::new() };
        for ((_, index), slots) in found.range((*metric, 0)..=(*metric, u32::MAX)) {
            if let Some((_, newest)) = slots.last_key_value() {
                let newest = Newest { name: group.name.clone(), value: newest.plain };
                subtasks.entry(*index).or_default().push(newest);
            }
            let points: Vec<Point> = slots.values().filter_map(point).collect();
            if !points.is_empty() {
                group.subtasks.push(Series { index: *index, metrics: points });
            }
        }
        groups.push(group);
    }
    let (operator_id, node_id) = match node {
        Node::Number(number) => (node_name(*number), Some(*number)),
        Node::Name(name) => (name.clone(), None),
    };
    let subtasks = subtasks.into_iter().map(|(index, metrics)| Subtask { index, metrics }).collect();
    Operator { operator_id: Some(operator_id), node_id, subtasks: Some(subtasks), metric_groups: groups }
}

/// A point as the console wants it; there are none before 1970.
fn point(slot: &Slot) -> Option<Point> {
    let time = u64::try_from(slot.time_ms).ok()?.checked_mul(1000)?;
    Some(Point { time, value: slot.point? })
}

/// The queues of subtasks, by all labels but the name: the two series of a queue have the same.
#[derive(Default)]
struct Queues(BTreeMap<(Node, u32), HashMap<Labels, Queue>>);

/// The steps of a queue, until both its size and what is free in it are known.
#[derive(Default)]
struct Queue {
    size: Slots,
    remaining: Slots,
}

impl Queues {
    fn add(
        &mut self,
        (node, subtask, metric): (&Node, u32, Metric),
        labels: &Labels,
        slots: &Slots,
        budget: &Budget,
    ) -> Result<(), SourceError> {
        // They are given back with the account, which ends with the answer.
        budget.take_bytes((slots.len() * size_of::<(i64, Slot)>() + labels.heap_bytes()) as u64)?;
        let labels = labels.filtered(|name| name != METRIC_NAME);
        let queue = self.0.entry((node.clone(), subtask)).or_default().entry(labels).or_default();
        let side = if metric == Metric::TxQueueSize { &mut queue.size } else { &mut queue.remaining };
        side.clone_from(slots);
        Ok(())
    }

    /// Backpressure of each subtask: that of its fullest queue.
    fn backpressure(self) -> impl Iterator<Item = ((Node, u32), Slots)> {
        self.0.into_iter().map(|(task, queues)| {
            let mut fullest = Slots::new();
            for queue in queues.values() {
                for (step, size) in &queue.size {
                    let Some(remaining) = queue.remaining.get(step) else { continue };
                    let value = backpressure(size.plain, remaining.plain);
                    let slot = Slot { time_ms: size.time_ms, point: Some(value), plain: value };
                    let known = fullest.entry(*step).or_insert(slot);
                    if known.plain < value {
                        *known = slot;
                    }
                }
            }
            (task, fullest)
        })
    }
}

#[cfg(test)]
mod tests;
