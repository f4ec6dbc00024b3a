//! From what was seen of a job to the documents that the store holds of it.

use std::collections::BTreeMap;

use super::sighting::{Operator, Sighting, Task};
use crate::jobs::{JobState, Plan, PlanNode, Run, Subtask, Subtasks, TaskState, Vertex};

/// What the store holds of an operator.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Drawn {
    pub(super) vertex: Vertex,
    pub(super) subtasks: Subtasks,
}

/// By id.
pub(super) type Operators = BTreeMap<String, Drawn>;

/// The operators that were seen. What was so before keeps its times; the rest began at `at_ms`.
pub(super) fn operators(sighting: &Sighting, before: &Operators, at_ms: i64) -> Operators {
    let mut order: Vec<(&String, &Operator)> = sighting.operators.iter().collect();
    order.sort_by_key(|(id, operator)| rank(id, operator));
    let drawn = |(position, (id, seen)): (u64, (&String, &Operator))| {
        let before = before.get(id);
        let subtasks = subtasks(id, seen, before, at_ms);
        (id.clone(), Drawn { vertex: vertex(id, seen, position, before, at_ms), subtasks })
    };
    (0..).zip(order).map(drawn).collect()
}

/// Series do not say what comes after what: sources and sinks are known by their names, and ids that are numbers rise
/// from the source on, as Arroyo's do.
fn rank(id: &str, operator: &Operator) -> (u8, u64, String) {
    let name = operator.name.as_deref().unwrap_or(id).to_ascii_lowercase();
    let kind = match (name.starts_with("source"), name.contains("sink")) {
        (true, _) => 0,
        (false, false) => 1,
        (false, true) => 2,
    };
    (kind, id.parse().unwrap_or(u64::MAX), id.to_owned())
}

fn vertex(id: &str, seen: &Operator, position: u64, before: Option<&Drawn>, at_ms: i64) -> Vertex {
    let before = before.map(|before| &before.vertex);
    let count = seen.tasks.len();
    Vertex {
        id: id.to_owned(),
        name: seen.name.clone().or_else(|| before.map(|before| before.name.clone())).unwrap_or_else(|| id.to_owned()),
        position,
        parallelism: i64::try_from(count).unwrap_or(i64::MAX),
        max_parallelism: None,
        slot_sharing_group: None,
        state: TaskState::Running,
        started_ms: before.and_then(|before| before.started_ms).or(Some(at_ms)),
        ended_ms: None,
        tasks: [(TaskState::Running, count as u64)].into(),
        totals: None,
    }
}

fn subtasks(id: &str, seen: &Operator, before: Option<&Drawn>, at_ms: i64) -> Subtasks {
    let known: BTreeMap<u64, &Subtask> =
        before.into_iter().flat_map(|before| &before.subtasks.subtasks).map(|known| (known.index, known)).collect();
    let of = |(index, task): (&u64, &Task)| {
        let same = known.get(index).filter(|known| known.attempt == task.attempt);
        let started_ms = same.and_then(|same| same.started_ms).unwrap_or(at_ms);
        Subtask {
            endpoint: task.host.clone(),
            task_manager: task.task_manager.clone(),
            started_ms: Some(started_ms),
            state_times: [(TaskState::Running, started_ms)].into(),
            ..Subtask::new(*index, task.attempt, TaskState::Running)
        }
    };
    Subtasks { vertex: id.to_owned(), subtasks: seen.tasks.iter().map(of).collect() }
}

/// The operators without any edge: series do not show these.
pub(super) fn plan(operators: &Operators) -> Plan {
    let mut vertices: Vec<&Vertex> = operators.values().map(|drawn| &drawn.vertex).collect();
    vertices.sort_by_key(|vertex| vertex.position);
    let node = |vertex: &Vertex| PlanNode {
        id: vertex.id.clone(),
        parallelism: vertex.parallelism,
        description: vertex.name.clone(),
        ..PlanNode::default()
    };
    Plan { kind: None, nodes: vertices.into_iter().map(node).collect() }
}

/// A job that began at a time.
pub(super) fn run(id: &str, name: Option<&str>, operators: &Operators, started_ms: i64) -> Run {
    Run {
        state_times: [(JobState::Running, started_ms)].into(),
        tasks: tasks(operators),
        ..Run::new(name.unwrap_or(id).to_owned(), JobState::Running, started_ms)
    }
}

/// Number of all subtasks by state.
pub(super) fn tasks(operators: &Operators) -> BTreeMap<TaskState, u64> {
    let count: usize = operators.values().map(|drawn| drawn.subtasks.subtasks.len()).sum();
    if count == 0 { BTreeMap::new() } else { [(TaskState::Running, count as u64)].into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_come_first_sinks_last_and_numbers_in_their_order() {
        let operator = |name: &str| Operator { name: Some(name.to_owned()), ..Operator::default() };
        let of = |all: &[(&str, &str)]| {
            let operators = all.iter().map(|(id, name)| ((*id).to_owned(), operator(name))).collect();
            let drawn = operators_of(operators);
            plan(&drawn).nodes.into_iter().map(|node| node.id).collect::<Vec<_>>()
        };
        let flink = [("a", "score"), ("b", "Sink:_Writer"), ("c", "Source:_orders____parse"), ("d", "Merge")];
        assert_eq!(of(&flink), ["c", "a", "d", "b"]);
        assert_eq!(of(&[("10", "x"), ("9", "y"), ("1", "kafka_sink")]), ["9", "10", "1"]);
    }

    fn operators_of(operators: BTreeMap<String, Operator>) -> Operators {
        operators_at(operators, &Operators::new(), 5)
    }

    fn operators_at(operators: BTreeMap<String, Operator>, before: &Operators, at_ms: i64) -> Operators {
        super::operators(&Sighting { operators, ..Sighting::default() }, before, at_ms)
    }

    #[test]
    fn what_was_so_before_keeps_its_times() {
        let seen = |attempts: &[u64]| {
            let task = |attempt: &u64| Task { attempt: *attempt, ..Task::default() };
            let tasks = (0..).zip(attempts.iter().map(task)).collect();
            BTreeMap::from([("v".to_owned(), Operator { name: None, tasks })])
        };
        let before = operators_at(seen(&[0, 0]), &Operators::new(), 5);
        let now = operators_at(seen(&[0, 1, 0]), &before, 9);
        let drawn = &now["v"];
        assert_eq!((drawn.vertex.parallelism, drawn.vertex.started_ms, drawn.vertex.name.as_str()), (3, Some(5), "v"));
        let times: Vec<Option<i64>> = drawn.subtasks.subtasks.iter().map(|subtask| subtask.started_ms).collect();
        assert_eq!(times, [Some(5), Some(9), Some(9)]);
        assert_eq!(tasks(&now), [(TaskState::Running, 3)].into());
        assert_eq!(operators_at(seen(&[0, 0]), &before, 99), before, "nothing changed");
    }
}
