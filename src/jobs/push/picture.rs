//! A job with its graph and tasks at one moment, and how it changes when something is told of it.

use std::collections::{BTreeMap, BTreeSet};

use super::standing::Standing;
use super::{Push, PushError, Registration, Task, TaskDetail};
use crate::jobs::model::plan::{Plan, PlanNode};
use crate::jobs::model::run::Run;
use crate::jobs::model::state::{JobState, TaskState};
use crate::jobs::model::vertex::{Attempt, Io, Subtask, Subtasks, Vertex};

/// The documents of a job that depend on each other.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::jobs) struct Picture {
    pub(in crate::jobs) run: Run,
    pub(in crate::jobs) plan: Plan,
    /// By id.
    pub(in crate::jobs) vertices: BTreeMap<String, Vertex>,
    /// By vertex.
    pub(in crate::jobs) subtasks: BTreeMap<String, Subtasks>,
    pub(in crate::jobs) detail: TaskDetail,
}

/// What is told of attempts that newer ones have taken the place of.
pub(in crate::jobs) type Older = Vec<Task>;

/// Attempts as they were known at the moment that is told of, before it was told.
#[derive(Debug, Default)]
pub(in crate::jobs) struct Before(BTreeMap<(String, u64, u64), Subtask>);

impl Before {
    /// Those of a picture, and older ones.
    pub(in crate::jobs) fn new(picture: Option<&Picture>, older: impl IntoIterator<Item = Attempt>) -> Before {
        let key = |vertex: &str, subtask: &Subtask| (vertex.to_owned(), subtask.index, subtask.attempt);
        let older = older.into_iter().map(|old| (key(&old.vertex, &old.subtask), old.subtask));
        let all = picture.into_iter().flat_map(|picture| picture.subtasks.values());
        let newest =
            all.flat_map(|all| all.subtasks.iter().map(|subtask| (key(&all.vertex, subtask), subtask.clone())));
        Before(older.chain(newest).collect())
    }

    fn find(&self, vertex: &str, subtask: &Subtask) -> Option<&Subtask> {
        self.0.get(&(vertex.to_owned(), subtask.index, subtask.attempt))
    }
}

/// Which moment a picture is of.
#[derive(Debug, Clone, Copy)]
pub(in crate::jobs) enum Moment<'b> {
    /// The one that is told of.
    Told,
    /// A later one: what is told only takes the place of what nobody has said since.
    Later(&'b Before),
}

impl Moment<'_> {
    /// True for a later one.
    pub(in crate::jobs) fn is_later(self) -> bool {
        matches!(self, Moment::Later(_))
    }
}

impl Picture {
    /// A job that nothing is known of yet.
    pub(in crate::jobs) fn new(at_ms: i64) -> Picture {
        let run = Run::new("", JobState::Created, at_ms);
        let (plan, vertices, subtasks, detail) =
            (Plan::default(), BTreeMap::new(), BTreeMap::new(), TaskDetail::default());
        Picture { run, plan, vertices, subtasks, detail }
    }

    /// Puts in what was told.
    ///
    /// # Errors
    /// [`PushError::NoVertex`], [`PushError::NoSubtask`]; never of a later picture, whose graph may be another one.
    pub(in crate::jobs) fn tell(
        &mut self,
        push: &Push,
        standing: &Standing,
        moment: Moment<'_>,
    ) -> Result<Older, PushError> {
        if let Some(registration) = push.registration.as_ref().filter(|_| !moment.is_later()) {
            self.register(registration);
        }
        let mut older = Vec::new();
        for task in &push.tasks {
            match (self.tell_task(task, moment, &mut older), moment.is_later()) {
                (Err(NotThere::Vertex), false) => {
                    let (job, vertex) = (push.job.id.clone(), task.vertex.clone());
                    return Err(PushError::NoVertex { job, vertex });
                }
                (Err(NotThere::Subtask(index, parallelism)), false) => {
                    return Err(PushError::NoSubtask { vertex: task.vertex.clone(), index, parallelism });
                }
                (Ok(()), _) | (Err(_), true) => {}
            }
        }
        self.derive(standing);
        if !moment.is_later() {
            // A job that is told of is there.
            self.run.lost_ms = None;
        }
        Ok(older)
    }

    fn register(&mut self, registration: &Registration) {
        self.run.name.clone_from(&registration.name);
        self.run.started_ms = registration.started_ms.unwrap_or(self.run.started_ms);
        self.run.kind = registration.kind;
        self.run.max_parallelism = registration.max_parallelism;
        self.run.is_stoppable = registration.is_stoppable;
        self.plan.kind = registration.kind;
        let nodes = registration.vertices.iter().map(|vertex| PlanNode {
            id: vertex.id.clone(),
            parallelism: whole(vertex.parallelism),
            operator: vertex.operator.clone(),
            description: vertex.description.clone(),
            inputs: vertex.inputs.clone(),
            ..PlanNode::default()
        });
        self.plan.nodes = nodes.collect();
        let vertices = registration.vertices.iter().zip(0..).map(|(vertex, position)| Vertex {
            id: vertex.id.clone(),
            name: vertex.name.clone(),
            position,
            parallelism: whole(vertex.parallelism),
            max_parallelism: vertex.max_parallelism,
            slot_sharing_group: vertex.slot_sharing_group.clone(),
            state: TaskState::Created,
            started_ms: None,
            ended_ms: None,
            tasks: BTreeMap::new(),
            totals: None,
        });
        self.vertices = vertices.map(|vertex| (vertex.id.clone(), vertex)).collect();
        let vertices = &self.vertices;
        self.subtasks.retain(|id, _| vertices.contains_key(id));
        self.detail.vertices.retain(|id| vertices.contains_key(id));
    }

    fn tell_task(&mut self, task: &Task, moment: Moment<'_>, older: &mut Older) -> Result<(), NotThere> {
        let vertex = self.vertices.get(&task.vertex).ok_or(NotThere::Vertex)?;
        let parallelism = count(vertex.parallelism);
        let indexes = match task.index {
            Some(index) if index >= parallelism => return Err(NotThere::Subtask(index, vertex.parallelism)),
            Some(index) => index..index + 1,
            None => 0..parallelism,
        };
        // What followed from the job's state was not told.
        if self.detail.vertices.insert(task.vertex.clone()) {
            self.subtasks.remove(&task.vertex);
        }
        let all = self.subtasks.entry(task.vertex.clone());
        let all = all.or_insert_with(|| Subtasks { vertex: task.vertex.clone(), subtasks: Vec::new() });
        fill_up(all, parallelism);
        for index in indexes {
            let place = usize::try_from(index).unwrap_or(usize::MAX);
            let Some(known) = all.subtasks.get_mut(place) else { continue };
            let attempt = task.attempt.unwrap_or(known.attempt);
            if attempt < known.attempt {
                older.push(Task { index: Some(index), attempt: Some(attempt), ..task.clone() });
                continue;
            }
            if attempt > known.attempt {
                *known = unknown(index, attempt);
            }
            merge(known, task, moment);
        }
        Ok(())
    }

    /// Makes of what was told what follows from it.
    fn derive(&mut self, standing: &Standing) {
        let mut tasks: BTreeMap<TaskState, u64> = BTreeMap::new();
        let mut changed_ms = standing.times.values().copied().max();
        for (id, vertex) in &mut self.vertices {
            let parallelism = count(vertex.parallelism);
            let all = self.subtasks.entry(id.clone());
            let all = all.or_insert_with(|| Subtasks { vertex: id.clone(), subtasks: Vec::new() });
            if self.detail.vertices.contains(id) {
                fill_up(all, parallelism);
                all.subtasks.iter_mut().for_each(|subtask| settle(subtask, standing));
            } else {
                all.subtasks = (0..parallelism).map(|index| following(index, standing)).collect();
            }
            summarize(vertex, &all.subtasks);
            vertex.tasks.iter().for_each(|(state, count)| *tasks.entry(*state).or_default() += count);
            let times = all.subtasks.iter().flat_map(|subtask| subtask.state_times.values().copied());
            changed_ms = times.chain(changed_ms).max();
        }
        self.run.state = standing.state;
        self.run.state_times.clone_from(&standing.times);
        self.run.ended_ms = standing.ended_ms;
        self.run.changed_ms = changed_ms;
        self.run.tasks = tasks;
    }
}

/// Merges what is told of an attempt that newer ones have taken the place of.
pub(in crate::jobs) fn merge_older(known: Option<Attempt>, task: &Task, moment: Moment<'_>) -> Attempt {
    let (index, number) = (task.index.unwrap_or(0), task.attempt.unwrap_or(0));
    let mut attempt = known.unwrap_or_else(|| Attempt { vertex: task.vertex.clone(), subtask: unknown(index, number) });
    merge(&mut attempt.subtask, task, moment);
    settle(&mut attempt.subtask, &running());
    attempt
}

/// Attempts of a picture that newer ones have taken the place of. What only followed from the job's state is none.
pub(in crate::jobs) fn replaced(before: &Picture, after: &Picture) -> Vec<Attempt> {
    let spoken_of = after.subtasks.iter().filter(|(id, _)| before.detail.vertices.contains(*id));
    let superseded = spoken_of.filter_map(|(id, all)| Some(all.superseded(before.subtasks.get(id)?.clone())));
    superseded.flatten().collect()
}

/// An attempt that was the newest until now, with what was told of it before by itself.
pub(in crate::jobs) fn merge_replaced(known: Option<Attempt>, mut replaced: Attempt) -> Attempt {
    let subtask = &mut replaced.subtask;
    if let Some(known) = known.map(|known| known.subtask) {
        for (state, at_ms) in known.state_times {
            let time = subtask.state_times.entry(state).or_insert(at_ms);
            *time = (*time).min(at_ms);
        }
        subtask.endpoint = subtask.endpoint.take().or(known.endpoint);
        subtask.task_manager = subtask.task_manager.take().or(known.task_manager);
        subtask.execution_id = subtask.execution_id.take().or(known.execution_id);
        subtask.totals = subtask.totals.or(known.totals);
    }
    settle(subtask, &running());
    replaced
}

/// The job of an attempt that is over: its end is not that of the attempt.
fn running() -> Standing {
    Standing { state: JobState::Running, times: BTreeMap::new(), ended_ms: None }
}

/// Why a task cannot be told of.
enum NotThere {
    Vertex,
    Subtask(u64, i64),
}

/// Parallelisms come from registrations, where they are not negative.
fn count(parallelism: i64) -> u64 {
    u64::try_from(parallelism).unwrap_or(0)
}

fn whole(parallelism: u64) -> i64 {
    i64::try_from(parallelism).unwrap_or(i64::MAX)
}

fn unknown(index: u64, attempt: u64) -> Subtask {
    Subtask::new(index, attempt, TaskState::Created)
}

/// As many subtasks as the vertex has, each at the place of its index.
fn fill_up(all: &mut Subtasks, parallelism: u64) {
    if all.subtasks.len() as u64 == parallelism {
        return;
    }
    all.subtasks.retain(|subtask| subtask.index < parallelism);
    let known: BTreeSet<u64> = all.subtasks.iter().map(|subtask| subtask.index).collect();
    all.subtasks.extend((0..parallelism).filter(|index| !known.contains(index)).map(|index| unknown(index, 0)));
    all.subtasks.sort_by_key(|subtask| subtask.index);
}

fn merge(known: &mut Subtask, task: &Task, moment: Moment<'_>) {
    for (state, at_ms) in &task.times {
        let time = known.state_times.entry(*state).or_insert(*at_ms);
        *time = (*time).min(*at_ms);
    }
    let before = match moment {
        Moment::Told => None,
        Moment::Later(before) => Some(before.find(&task.vertex, known)),
    };
    take(&mut known.endpoint, &task.endpoint, before.map(|before| before.and_then(|b| b.endpoint.as_ref())));
    take(
        &mut known.task_manager,
        &task.task_manager,
        before.map(|before| before.and_then(|b| b.task_manager.as_ref())),
    );
    take(
        &mut known.execution_id,
        &task.execution_id,
        before.map(|before| before.and_then(|b| b.execution_id.as_ref())),
    );
    take(&mut known.totals, &task.io, before.map(|before| before.and_then(|b| b.totals.as_ref())));
}

/// Takes what is told; at a later moment, of which `before` says what held before it was told, only if nothing else was
/// said since.
fn take<T: Clone + PartialEq>(known: &mut Option<T>, told: &Option<T>, before: Option<Option<&T>>) {
    let is_unsaid = known.is_none() || before.is_none_or(|before| before == known.as_ref());
    if told.is_some() && is_unsaid {
        known.clone_from(told);
    }
}

/// The states in which a task has been deployed.
const DEPLOYED: [TaskState; 3] = [TaskState::Deploying, TaskState::Initializing, TaskState::Running];

/// Finds an attempt's state from the times at which it came into states, and from the end of its job.
fn settle(subtask: &mut Subtask, standing: &Standing) {
    let times = || subtask.state_times.iter().map(|(state, at_ms)| (*at_ms, *state));
    let end =
        times().filter(|(_, state)| state.has_ended()).min_by_key(|(at_ms, state)| (*at_ms, std::cmp::Reverse(*state)));
    let newest = times().max().map_or(TaskState::Created, |(_, state)| state);
    subtask.started_ms = times().filter(|(_, state)| DEPLOYED.contains(state)).map(|(at_ms, _)| at_ms).min();
    (subtask.state, subtask.ended_ms) = match (end, standing.ended_ms) {
        (Some((at_ms, state)), _) => (state, Some(at_ms)),
        (None, Some(ended_ms)) if standing.state == JobState::Finished => (TaskState::Finished, Some(ended_ms)),
        (None, Some(ended_ms)) => (TaskState::Canceled, Some(ended_ms)),
        (None, None) => (newest, None),
    };
    if !subtask.state.has_ended() {
        subtask.totals = None;
    }
}

/// A subtask that nobody speaks of.
fn following(index: u64, standing: &Standing) -> Subtask {
    let state = standing.of_tasks();
    let started_ms = standing.times.get(&JobState::Running).copied();
    let mut state_times = BTreeMap::new();
    state_times.extend(started_ms.map(|at_ms| (TaskState::Running, at_ms)));
    state_times.extend(standing.ended_ms.map(|at_ms| (state, at_ms)));
    Subtask { started_ms, ended_ms: standing.ended_ms, state_times, ..Subtask::new(index, 0, state) }
}

/// A vertex as the sum of its subtasks.
fn summarize(vertex: &mut Vertex, subtasks: &[Subtask]) {
    vertex.tasks = BTreeMap::new();
    subtasks.iter().for_each(|subtask| *vertex.tasks.entry(subtask.state).or_default() += 1);
    vertex.state = TaskState::together(&vertex.tasks);
    vertex.started_ms = subtasks.iter().filter_map(|subtask| subtask.started_ms).min();
    let ends: Option<Vec<i64>> = subtasks.iter().map(|subtask| subtask.ended_ms).collect();
    vertex.ended_ms = ends.and_then(|ends| ends.into_iter().max());
    let totals: Option<Vec<Io>> = subtasks.iter().map(|subtask| subtask.totals).collect();
    let totals = totals.filter(|totals| !totals.is_empty() && vertex.state.has_ended());
    vertex.totals = totals.map(|totals| Io::sum(&totals));
}

#[cfg(test)]
mod tests;
