//! `/jobs/overview`, `/jobs/:jobid`, `/jobs/:jobid/config` and `/jobs/:jobid/execution-result`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::io::io;
use super::json::{Fields, WrongShape, wrong};
use crate::jobs::{Edge, JobKind, JobState, Kept, Outcome, Plan, PlanNode, Run, Settings, TaskState, Vertex};

/// A job in the list of all.
#[derive(Debug, Clone, PartialEq)]
pub struct JobEntry {
    /// Its id.
    pub id: String,
    /// What it does.
    pub state: JobState,
    /// When it or a task of it last changed state: nothing but numbers has changed since.
    pub changed_ms: i64,
    /// Number of its subtasks in each state.
    pub tasks: BTreeMap<TaskState, u64>,
}

/// What `/jobs/:jobid` says.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// The job as a whole.
    pub run: Run,
    /// Its graph.
    pub plan: Plan,
    /// Its vertices.
    pub vertices: Vec<Vertex>,
}

/// The list of all jobs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct JobEntries {
    /// Those that can be read.
    pub entries: Vec<JobEntry>,
    /// The others: their ids, where at least these can be read, and what is wrong.
    pub unreadable: Vec<(Option<String>, WrongShape)>,
}

/// `/jobs/overview`. A job in a state of a newer release does not hide the others.
///
/// # Errors
/// [`WrongShape`]; so for all here.
pub fn job_entries(answer: &Value) -> Result<JobEntries, WrongShape> {
    let mut all = JobEntries::default();
    for value in Fields::of(answer)?.list("jobs")? {
        match job_entry(value) {
            Ok(entry) => all.entries.push(entry),
            Err(error) => all.unreadable.push((value["jid"].as_str().map(str::to_owned), error)),
        }
    }
    Ok(all)
}

fn job_entry(value: &Value) -> Result<JobEntry, WrongShape> {
    let job = Fields::of(value)?;
    Ok(JobEntry {
        id: job.text("jid")?,
        state: job_state(job, "state")?,
        changed_ms: job.whole("last-modification")?,
        tasks: tasks(job.object("tasks")?),
    })
}

/// Numbers by state; the list of jobs writes states in small letters. States that nobody is in are left out.
pub(super) fn tasks(counts: Fields<'_>) -> BTreeMap<TaskState, u64> {
    let entry = |(name, value): (&String, &Value)| Some((TaskState::of(&name.to_ascii_uppercase())?, value.as_u64()?));
    counts.entries().filter_map(entry).filter(|(_, count)| *count > 0).collect()
}

fn job_state(job: Fields<'_>, name: &str) -> Result<JobState, WrongShape> {
    JobState::of(&job.text(name)?).ok_or_else(|| wrong(name, "state of a job"))
}

pub(super) fn task_state(task: Fields<'_>, name: &str) -> Result<TaskState, WrongShape> {
    TaskState::of(&task.text(name)?).ok_or_else(|| wrong(name, "state of a task"))
}

/// `/jobs/:jobid`, with what the list of all says of the same job.
///
/// # Errors
/// [`WrongShape`].
pub fn job(answer: &Value, entry: &JobEntry) -> Result<Job, WrongShape> {
    let job = Fields::of(answer)?;
    let time = |(name, at): (&String, &Value)| Some((JobState::of(name)?, at.as_i64().filter(|at| *at > 0)?));
    let run = Run {
        name: job.text("name")?,
        state: job_state(job, "state")?,
        started_ms: job.whole("start-time")?,
        ended_ms: job.time("end-time"),
        changed_ms: Some(entry.changed_ms),
        state_times: job.object("timestamps")?.entries().filter_map(time).collect(),
        tasks: entry.tasks.clone(),
        kind: kind(job, "job-type"),
        max_parallelism: job.whole_if("maxParallelism"),
        is_stoppable: job.is("isStoppable"),
        scheduler: job.text_if("schedulerType"),
        application_id: job.text_if("application-id"),
        pending_operators: job.get("pending-operators").and_then(Value::as_u64).unwrap_or(0),
        engine_id: None,
        lost_ms: None,
        are_failures_truncated: false,
    };
    let vertices = job.list("vertices")?.iter().zip(0..).map(|(value, position)| vertex(value, position));
    Ok(Job { run, plan: plan(job.object("plan")?)?, vertices: vertices.collect::<Result<_, _>>()? })
}

fn kind(fields: Fields<'_>, name: &str) -> Option<JobKind> {
    JobKind::of(&fields.text_if(name)?)
}

fn vertex(value: &Value, position: u64) -> Result<Vertex, WrongShape> {
    let vertex = Fields::of(value)?;
    let state = task_state(vertex, "status")?;
    let io = io(vertex.object("metrics")?);
    Ok(Vertex {
        id: vertex.text("id")?,
        name: vertex.text("name")?,
        position,
        parallelism: vertex.whole("parallelism")?,
        max_parallelism: vertex.whole_if("maxParallelism"),
        slot_sharing_group: vertex.text_if("slotSharingGroupId"),
        state,
        started_ms: vertex.time("start-time"),
        ended_ms: vertex.time("end-time"),
        tasks: tasks(vertex.object("tasks")?),
        totals: state.has_ended().then_some(io),
    })
}

fn plan(plan: Fields<'_>) -> Result<Plan, WrongShape> {
    let nodes = plan.list("nodes")?.iter().map(node);
    Ok(Plan { kind: kind(plan, "type"), nodes: nodes.collect::<Result<_, _>>()? })
}

fn node(value: &Value) -> Result<PlanNode, WrongShape> {
    let node = Fields::of(value)?;
    let inputs = node.list_if("inputs").unwrap_or_default().iter().map(edge);
    Ok(PlanNode {
        id: node.text("id")?,
        parallelism: node.whole("parallelism")?,
        operator: node.text_if("operator").unwrap_or_default(),
        strategy: node.text_if("operator_strategy").unwrap_or_default(),
        description: node.text_if("description").unwrap_or_default(),
        inputs: inputs.collect::<Result<_, _>>()?,
        optimizer_properties: Kept(node.object_if("optimizer_properties").map(|p| p.without(&[])).unwrap_or_default()),
    })
}

fn edge(value: &Value) -> Result<Edge, WrongShape> {
    let edge = Fields::of(value)?;
    Ok(Edge {
        from: edge.text("id")?,
        number: edge.count("num")?,
        ship_strategy: edge.text_if("ship_strategy"),
        exchange: edge.text_if("exchange"),
        kept: Kept(edge.without(&["id", "num", "ship_strategy", "exchange"])),
    })
}

/// `/jobs/:jobid/config`.
///
/// # Errors
/// [`WrongShape`].
pub fn settings(answer: &Value) -> Result<Settings, WrongShape> {
    let config = Fields::of(answer)?.object("execution-config")?;
    let text = |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
    Ok(Settings {
        restart_strategy: config.text("restart-strategy")?,
        parallelism: config.whole("job-parallelism")?,
        object_reuse: config.is("object-reuse-mode"),
        execution_mode: config.text_if("execution-mode"),
        user: config.object("user-config")?.entries().filter_map(text).collect(),
    })
}

/// `/jobs/:jobid/execution-result`; none while the job runs.
///
/// # Errors
/// [`WrongShape`].
pub fn outcome(answer: &Value) -> Result<Option<Outcome>, WrongShape> {
    let Some(result) = Fields::of(answer)?.object_if("job-execution-result") else { return Ok(None) };
    let text = |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
    let failure = result.object_if("failure-cause");
    Ok(Some(Outcome {
        status: result.text("application-status")?,
        runtime_ms: result.whole("net-runtime")?,
        accumulator_results: result.object("accumulator-results")?.entries().filter_map(text).collect(),
        failure_class: failure.and_then(|failure| failure.text_if("class")),
        failure_stack_trace: failure.and_then(|failure| failure.text_if("stack-trace")),
        failure_serialized: failure.and_then(|failure| failure.text_if("serialized-throwable")),
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry() -> JobEntry {
        JobEntry { id: "j".to_owned(), state: JobState::Running, changed_ms: 9, tasks: BTreeMap::new() }
    }

    fn answer(state: &str) -> Value {
        json!({
            "jid": "j", "name": "n", "state": "RUNNING", "start-time": 5, "end-time": -1, "now": 10,
            "timestamps": {"RUNNING": 7, "CREATED": 5, "FAILED": 0},
            "vertices": [{
                "id": "v", "name": "source", "parallelism": 1, "status": state, "start-time": 6, "end-time": -1,
                "tasks": {"RUNNING": 1, "FAILED": 0},
                "metrics": {"read-bytes": 3, "read-bytes-complete": true},
            }],
            "plan": {"nodes": [{"id": "v", "parallelism": 1, "inputs": [{"id": "u", "num": 0, "local_strategy": "x"}]}]},
        })
    }

    #[test]
    fn numbers_that_move_are_no_part_of_documents_and_those_of_the_end_are() {
        let running = job(&answer("RUNNING"), &entry()).unwrap();
        assert_eq!(running.vertices[0].totals, None);
        assert_eq!(running.vertices[0].tasks, [(TaskState::Running, 1)].into());
        assert_eq!((running.run.ended_ms, running.run.changed_ms), (None, Some(9)));
        assert_eq!(running.run.state_times, [(JobState::Created, 5), (JobState::Running, 7)].into());
        let mut later = answer("RUNNING");
        later["now"] = 99.into();
        later["vertices"][0]["metrics"]["read-bytes"] = 4.into();
        assert_eq!(job(&later, &entry()).unwrap(), running, "nothing has changed");
        let ended = job(&answer("FINISHED"), &entry()).unwrap();
        assert_eq!(ended.vertices[0].totals.unwrap().read_bytes.value, 3);
        let edge = &ended.plan.nodes[0].inputs[0];
        assert_eq!((edge.from.as_str(), &edge.kept.0["local_strategy"]), ("u", &json!("x")));
    }

    #[test]
    fn a_job_of_an_unknown_state_does_not_hide_the_others() {
        let entry = |id: &str, state: &str| json!({"jid": id, "state": state, "last-modification": 1, "tasks": {}});
        let mut list = json!({"jobs": [entry("a", "RUNNING"), entry("b", "DREAMING"), entry("c", "FINISHED"), 3]});
        let found = job_entries(&list).unwrap();
        assert_eq!(found.entries.iter().map(|entry| entry.id.as_str()).collect::<Vec<_>>(), ["a", "c"]);
        let [(id, error), (none, _)] = found.unreadable.as_slice() else { panic!("{found:?}") };
        assert_eq!((id.as_deref(), none), (Some("b"), &None));
        assert_eq!(error.to_string(), "the answer has no state of a job \"state\"");
        list["jobs"] = json!(3);
        assert!(job_entries(&list).is_err());
    }

    #[test]
    fn what_is_missing_is_named() {
        let mut broken = answer("RUNNING");
        broken["vertices"][0]["status"] = json!("ASLEEP");
        let error = job(&broken, &entry()).unwrap_err();
        assert_eq!(error.to_string(), "the answer has no state of a task \"status\"");
        assert!(job(&json!([]), &entry()).is_err());
    }
}
