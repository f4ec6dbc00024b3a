//! What the documents say of a job at a moment.

use std::collections::BTreeMap;

use model::TimeRange;

use super::thresholds::{CHECKPOINTS, CHECKPOINTS_MS, RESTARTS_MS};
use crate::jobs::contact;
use crate::jobs::error::JobsError;
use crate::jobs::model::checkpoint::{Checkpoint, CheckpointSettings, CheckpointSubtasks, SubtaskCheckpoint};
use crate::jobs::model::plan::{Edge, Plan, PlanNode};
use crate::jobs::model::run::Run;
use crate::jobs::model::state::{CheckpointState, JobState, TaskState};
use crate::jobs::model::vertex::{Subtasks, Vertex};
use crate::jobs::store::{Known, Reader};
use crate::jobs::timeline::{What, restarts_in};

/// What the documents say.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// The moment that is judged, in milliseconds since 1970: the one that was asked for, or when the job was last heard of.
    pub at_ms: i64,
    /// The organization that it belongs to, often empty.
    pub org: String,
    /// The ids that series may name the job by, the likeliest first.
    pub ids: Vec<String>,
    /// What the job does.
    pub state: Option<JobState>,
    /// When it began.
    pub started_ms: Option<i64>,
    /// When it ended.
    pub ended_ms: Option<i64>,
    /// Since when nobody hears of it; then [`Facts::at_ms`] is not later.
    pub lost_ms: Option<i64>,
    /// From the sources to the sinks, as far as the source of the documents has an order.
    pub operators: Vec<OperatorFacts>,
    /// True if it is known which operator feeds which.
    pub has_graph: bool,
    /// Its checkpoints.
    pub checkpoints: CheckpointFacts,
    /// Restarts of the last hour, oldest first.
    pub restarts: Vec<RestartFact>,
}

/// An operator.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OperatorFacts {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Number of its subtasks.
    pub parallelism: Option<i64>,
    /// The largest that it can have.
    pub max_parallelism: Option<i64>,
    /// What it does.
    pub state: Option<TaskState>,
    /// Subtasks that are on the way to run, by what they do.
    pub others: BTreeMap<TaskState, u64>,
    /// The operators that send to it while it runs, by their place in [`Facts::operators`]. What is written whole first and
    /// read then holds nobody up.
    pub inputs: Vec<usize>,
    /// True if it has inputs of whatever kind.
    pub is_fed: bool,
    /// The attempt and the task manager of each subtask, where known, by index.
    pub subtasks: BTreeMap<u64, (u64, Option<String>)>,
}

impl OperatorFacts {
    /// False once it has ended: nobody waits for it then.
    pub fn is_live(&self) -> bool {
        !self.state.is_some_and(|state| state.has_ended() || state == TaskState::Canceling)
    }
}

/// Checkpoints.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CheckpointFacts {
    /// Milliseconds between two; none if there are none, or that is not known.
    pub interval_ms: Option<i64>,
    /// Milliseconds after which one is given up.
    pub timeout_ms: Option<i64>,
    /// The newest of the last hour, newest first.
    pub newest: Vec<CheckpointFact>,
    /// Of the newest whose parts are known, the part in which most of its time passed.
    pub slowest: Option<SlowestPart>,
}

/// One checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckpointFact {
    /// Its number.
    pub id: i64,
    /// How far it is.
    pub state: CheckpointState,
    /// How long it took, or takes so far, in milliseconds.
    pub duration_ms: i64,
    /// Why it failed.
    pub failure: Option<String>,
    /// The operators that have not all acknowledged, of one that is not done.
    pub waits_for: Vec<usize>,
}

/// The part of a subtask in a checkpoint, or of an operator if no more is known.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SlowestPart {
    /// The checkpoint.
    pub checkpoint: i64,
    /// The operator.
    pub operator: usize,
    /// The subtask.
    pub subtask: Option<u64>,
    /// All of it, in milliseconds; so the others.
    pub duration_ms: i64,
    /// Until the first barrier came.
    pub start_delay_ms: Option<i64>,
    /// While barriers were aligned.
    pub alignment_ms: Option<i64>,
    /// Of writing in which nothing was processed.
    pub sync_ms: Option<i64>,
    /// Of writing beside the work.
    pub async_ms: Option<i64>,
    /// The size of its state.
    pub state_bytes: i64,
}

/// A restart.
#[derive(Debug, Clone, PartialEq)]
pub struct RestartFact {
    /// When.
    pub at_ms: i64,
    /// Why.
    pub cause: Option<String>,
}

impl Facts {
    /// Reads them.
    ///
    /// # Errors
    /// [`JobsError`].
    pub fn read(reader: &Reader<'_>, job: &Known, at_ms: i64) -> Result<Facts, JobsError> {
        let run = reader.document::<Run>(job, "", at_ms)?.map(|version| version.document);
        let lost_ms = contact::lost_ms(reader, job, run.as_ref(), at_ms)?;
        let at_ms = lost_ms.map_or(at_ms, |lost_ms| lost_ms.min(at_ms));
        let (operators, has_graph) = operators(reader, job, at_ms)?;
        let hour = TimeRange { start_ms: at_ms.saturating_sub(RESTARTS_MS), end_ms: at_ms };
        let restarts = restarts_in(reader, job, hour, at_ms)?;
        let restart = |event: crate::jobs::Event| match event.what {
            What::Restart { cause, .. } => Some(RestartFact { at_ms: event.at_ms, cause }),
            _ => None,
        };
        let engine_id = run.as_ref().and_then(|run| run.engine_id.clone());
        Ok(Facts {
            at_ms,
            org: job.subject.org.clone(),
            ids: [Some(job.subject.id.clone()), engine_id].into_iter().flatten().collect(),
            state: run.as_ref().map(|run| run.state),
            started_ms: run.as_ref().map(|run| run.started_ms).or(job.started_ms),
            ended_ms: run.as_ref().and_then(|run| run.ended_ms),
            lost_ms,
            checkpoints: checkpoints(reader, job, at_ms, &operators)?,
            restarts: restarts.into_iter().filter_map(restart).collect(),
            operators,
            has_graph,
        })
    }

    /// The place of an operator by its id.
    pub fn place(&self, id: &str) -> Option<usize> {
        self.operators.iter().position(|operator| operator.id == id)
    }
}

/// States of a task that somebody said is on its way. One that is merely made may be one that nobody speaks of.
const ON_THE_WAY: [TaskState; 3] = [TaskState::Scheduled, TaskState::Deploying, TaskState::Initializing];

/// The operators, and whether their graph is known.
fn operators(reader: &Reader<'_>, job: &Known, at_ms: i64) -> Result<(Vec<OperatorFacts>, bool), JobsError> {
    let mut vertices: Vec<Vertex> =
        reader.documents::<Vertex>(job, at_ms)?.into_iter().map(|version| version.document).collect();
    vertices.sort_by_key(|vertex| vertex.position);
    let plan = reader.document::<Plan>(job, "", at_ms)?.map(|version| version.document.nodes).unwrap_or_default();
    let mut subtasks: BTreeMap<String, Subtasks> = BTreeMap::new();
    for version in reader.documents::<Subtasks>(job, at_ms)? {
        subtasks.insert(version.document.vertex.clone(), version.document);
    }
    let ids: Vec<String> = if vertices.is_empty() {
        plan.iter().map(|node| node.id.clone()).collect()
    } else {
        vertices.iter().map(|vertex| vertex.id.clone()).collect()
    };
    let mut operators = Vec::new();
    for id in &ids {
        let vertex = vertices.iter().find(|vertex| vertex.id == *id);
        let node = plan.iter().find(|node| node.id == *id);
        operators.push(operator(&ids, id, vertex, node, subtasks.get(id)));
    }
    // One operator needs no edges.
    let has_graph = ids.len() == 1 || plan.iter().any(|node| !node.inputs.is_empty());
    Ok((operators, has_graph))
}

fn operator(
    ids: &[String],
    id: &str,
    vertex: Option<&Vertex>,
    node: Option<&PlanNode>,
    subtasks: Option<&Subtasks>,
) -> OperatorFacts {
    let inputs = node.map(|node| node.inputs.as_slice()).unwrap_or_default();
    let place = |edge: &Edge| ids.iter().position(|other| *other == edge.from);
    let is_pipelined =
        |edge: &&Edge| !edge.exchange.as_deref().is_some_and(|exchange| exchange.starts_with("blocking"));
    let description = node.map(|node| node.description.as_str()).filter(|text| !text.is_empty());
    let mut places: Vec<usize> = inputs.iter().filter(is_pipelined).filter_map(place).collect();
    places.sort_unstable();
    places.dedup();
    let others = vertex.map(|vertex| vertex.tasks.clone()).unwrap_or_default();
    let is_on_the_way = |(state, count): &(TaskState, u64)| ON_THE_WAY.contains(state) && *count > 0;
    let newest = subtasks.map(|all| all.subtasks.as_slice()).unwrap_or_default();
    OperatorFacts {
        id: id.to_owned(),
        name: vertex.map(|vertex| vertex.name.as_str()).or(description).unwrap_or(id).to_owned(),
        parallelism: vertex.map(|vertex| vertex.parallelism).or(node.map(|node| node.parallelism)),
        max_parallelism: vertex.and_then(|vertex| vertex.max_parallelism),
        state: vertex.map(|vertex| vertex.state),
        others: others.into_iter().filter(is_on_the_way).collect(),
        inputs: places,
        is_fed: !inputs.is_empty(),
        subtasks: newest.iter().map(|one| (one.index, (one.attempt, one.task_manager.clone()))).collect(),
    }
}

fn checkpoints(
    reader: &Reader<'_>,
    job: &Known,
    at_ms: i64,
    operators: &[OperatorFacts],
) -> Result<CheckpointFacts, JobsError> {
    let settings = reader.document::<CheckpointSettings>(job, "", at_ms)?.map(|version| version.document);
    let is_set = |ms: &i64| (1..i64::MAX).contains(ms);
    let mut all: Vec<Checkpoint> =
        reader.documents::<Checkpoint>(job, at_ms)?.into_iter().map(|version| version.document).collect();
    all.retain(|checkpoint| {
        !checkpoint.is_savepoint && at_ms.saturating_sub(checkpoint.triggered_ms) <= CHECKPOINTS_MS
    });
    all.sort_by_key(|checkpoint| std::cmp::Reverse(checkpoint.id));
    all.truncate(CHECKPOINTS);
    let parts: Vec<CheckpointSubtasks> =
        reader.documents::<CheckpointSubtasks>(job, at_ms)?.into_iter().map(|version| version.document).collect();
    Ok(CheckpointFacts {
        interval_ms: settings.as_ref().map(|settings| settings.interval_ms).filter(is_set),
        timeout_ms: settings.as_ref().map(|settings| settings.timeout_ms).filter(is_set),
        newest: all.iter().map(|checkpoint| fact(checkpoint, at_ms, operators)).collect(),
        slowest: all.iter().find_map(|checkpoint| slowest(checkpoint, &parts, operators)),
    })
}

fn fact(checkpoint: &Checkpoint, at_ms: i64, operators: &[OperatorFacts]) -> CheckpointFact {
    let is_open = checkpoint.state == CheckpointState::InProgress;
    let waits = |operator: &OperatorFacts| {
        checkpoint.tasks.get(&operator.id).is_some_and(|task| is_open && task.acknowledged < task.subtasks)
    };
    CheckpointFact {
        id: checkpoint.id,
        state: checkpoint.state,
        duration_ms: if is_open {
            at_ms.saturating_sub(checkpoint.triggered_ms).max(0)
        } else {
            checkpoint.sizes.duration_ms
        },
        failure: checkpoint.failure.as_ref().and_then(|failure| failure.message.clone()),
        waits_for: (0..operators.len()).filter(|place| waits(&operators[*place])).collect(),
    }
}

/// The part of a completed checkpoint in which most of the time passed. All count from the trigger, so that whoever comes
/// later on the way of the barriers has the time of those before it too: what counts is what it adds to that.
fn slowest(checkpoint: &Checkpoint, parts: &[CheckpointSubtasks], operators: &[OperatorFacts]) -> Option<SlowestPart> {
    if checkpoint.state != CheckpointState::Completed {
        return None;
    }
    let of_operator = |place: usize| {
        let id = &operators[place].id;
        let own = parts.iter().find(|parts| parts.checkpoint == checkpoint.id && parts.vertex == *id);
        let acknowledged = own.into_iter().flat_map(|own| &own.subtasks).filter(|part| part.ack_ms.is_some());
        let slowest = acknowledged.max_by_key(|part| (part.sizes.duration_ms, std::cmp::Reverse(part.index)));
        slowest.map(|part| of_subtask(checkpoint.id, place, part)).or_else(|| {
            let task = checkpoint.tasks.get(id)?;
            Some(SlowestPart {
                checkpoint: checkpoint.id,
                operator: place,
                duration_ms: task.sizes.duration_ms,
                state_bytes: task.sizes.state_bytes,
                ..SlowestPart::default()
            })
        })
    };
    let all: Vec<Option<SlowestPart>> = (0..operators.len()).map(of_operator).collect();
    let duration = |place: usize| all.get(place).and_then(Option::as_ref).map_or(0, |part| part.duration_ms);
    let added = |part: &SlowestPart| {
        let before = operators[part.operator].inputs.iter().map(|input| duration(*input)).max();
        part.duration_ms.saturating_sub(before.unwrap_or(0))
    };
    all.iter().flatten().max_by_key(|part| (added(part), std::cmp::Reverse(part.operator))).cloned()
}

fn of_subtask(checkpoint: i64, operator: usize, part: &SubtaskCheckpoint) -> SlowestPart {
    SlowestPart {
        checkpoint,
        operator,
        subtask: u64::try_from(part.index).ok(),
        duration_ms: part.sizes.duration_ms,
        start_delay_ms: part.start_delay_ms,
        alignment_ms: Some(part.alignment.duration_ms),
        sync_ms: Some(part.sync_ms),
        async_ms: Some(part.async_ms),
        state_bytes: part.sizes.state_bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(index: i64, duration_ms: i64) -> SubtaskCheckpoint {
        let sizes = crate::jobs::CheckpointSizes { duration_ms, ..Default::default() };
        SubtaskCheckpoint { index, ack_ms: Some(1), sizes, ..SubtaskCheckpoint::default() }
    }

    /// The numbers of the demo job: the last operator took longest, but only because its barriers came late.
    #[test]
    fn the_slowest_part_is_the_one_that_adds_most() {
        let operator = |id: &str, inputs: &[usize]| OperatorFacts {
            id: id.to_owned(),
            inputs: inputs.to_vec(),
            ..OperatorFacts::default()
        };
        let operators = [operator("orders", &[]), operator("score", &[0]), operator("totals", &[1])];
        let task = |duration_ms: i64| {
            serde_json::json!({
                "state": "COMPLETED", "latest_ack_ms": 1, "subtasks": 2, "acknowledged": 2,
                "sizes": {"duration_ms": duration_ms, "state_bytes": 9, "alignment_buffered_bytes": 0},
            })
        };
        let checkpoint = serde_json::json!({
            "id": 3, "state": "COMPLETED", "is_savepoint": false, "triggered_ms": 0, "latest_ack_ms": 1,
            "sizes": {"duration_ms": 19_513, "state_bytes": 9, "alignment_buffered_bytes": 0}, "subtasks": 6,
            "acknowledged": 6, "tasks": {"orders": task(22), "score": task(19_509), "totals": task(19_513)},
        });
        let checkpoint: Checkpoint = serde_json::from_value(checkpoint).unwrap();
        let parts = |vertex: &str, subtasks| CheckpointSubtasks { checkpoint: 3, vertex: vertex.to_owned(), subtasks };
        let of_score = parts("score", vec![part(0, 19_509), part(1, 359)]);
        let found = slowest(&checkpoint, &[of_score], &operators).unwrap();
        assert_eq!((found.operator, found.subtask, found.duration_ms), (1, Some(0), 19_509));
        let found = slowest(&checkpoint, &[], &operators).unwrap();
        assert_eq!((found.operator, found.subtask), (1, None));
        let failed = Checkpoint { state: CheckpointState::Failed, ..checkpoint };
        assert_eq!(slowest(&failed, &[], &operators), None);
    }
}
