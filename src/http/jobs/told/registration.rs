//! What a job is: its graph, its settings, and what its agent does.

use std::collections::{BTreeMap, BTreeSet};

use super::{Limits, Told, check_id, moment, wire};
use crate::http::error::Fault;
use crate::jobs::{CheckpointSettings, CommandKind, Edge, NewVertex, Push, Registration, Settings, Subject, Terms};

/// Reads a registration.
///
/// # Errors
/// 400 that names what is wrong or which limit was reached.
pub(in crate::http::jobs) fn registration(
    limits: &Limits,
    job: Subject,
    body: wire::Registration,
    now_ms: i64,
) -> Result<Told, Fault> {
    let at_ms = moment(limits, body.at, now_ms)?;
    if body.name.is_empty() {
        return Err(Fault::bad_request("the name of a job is not empty"));
    }
    limits.name("the job's name", &body.name)?;
    limits.names([("the cluster", &body.cluster)])?;
    Limits::count("vertices", body.vertices.len(), "jobs.max_vertices", limits.vertices_max)?;
    let parallelism = |vertex: &wire::Vertex| u64::from(vertex.parallelism.unwrap_or(1));
    let subtasks: u64 = body.vertices.iter().map(parallelism).sum();
    if subtasks > limits.subtasks_max {
        let limit = limits.subtasks_max;
        let message = format!("{subtasks} subtasks of all vertices: limit jobs.max_subtasks = {limit} reached");
        return Err(Fault::bad_request(message));
    }
    let mut told = Told { push: Push::new(job, at_ms, now_ms), numbers: Vec::new() };
    let inputs = inputs(limits, &body)?;
    let mut items = 0;
    for vertex in &body.vertices {
        items += vertex.subtasks.len();
        Limits::count("subtasks in one body", items, "jobs.max_documents", limits.items_max)?;
        told.subtasks(limits, &vertex.id, &vertex.subtasks)?;
    }
    told.push.state = body.state;
    let terms = terms(body.heartbeat, body.commands)?;
    let settings = body.settings.map(|settings| self::settings(limits, settings)).transpose()?;
    told.push.registration = Some(Registration {
        name: body.name,
        started_ms: body.started.map(|time| time.0),
        cluster: body.cluster.filter(|cluster| !cluster.is_empty()),
        kind: body.kind,
        max_parallelism: body.max_parallelism.map(i64::from),
        is_stoppable: body.stoppable,
        settings,
        checkpointing: body.checkpointing.map(checkpointing),
        vertices: vertices(limits, body.vertices, inputs)?,
        terms,
    });
    Ok(told)
}

fn terms(heartbeat: Option<wire::Heartbeats>, commands: Vec<CommandKind>) -> Result<Terms, Fault> {
    let commands = commands.into_iter().collect();
    let Some(heartbeat) = heartbeat else { return Ok(Terms { commands, ..Terms::default() }) };
    if heartbeat.interval_ms == Some(wire::Natural(0)) {
        return Err(Fault::bad_request("heartbeat.interval_ms is at least 1"));
    }
    Ok(Terms {
        commands,
        sends_heartbeats: true,
        interval_ms: heartbeat.interval_ms.map(|interval| interval.0),
        missed_max: heartbeat.max_missed,
        when_missed: heartbeat.when_missed,
    })
}

fn settings(limits: &Limits, settings: wire::Settings) -> Result<Settings, Fault> {
    limits.name("settings.restart_strategy", &settings.restart_strategy)?;
    limits.names([("settings.execution_mode", &settings.execution_mode)])?;
    Limits::count("entries of settings.user", settings.user.len(), "jobs.max_documents", limits.items_max)?;
    for (name, value) in &settings.user {
        limits.name("a name in settings.user", name)?;
        limits.text("a value in settings.user", value)?;
    }
    Ok(Settings {
        restart_strategy: settings.restart_strategy,
        parallelism: settings.parallelism.map_or(-1, i64::from),
        object_reuse: settings.object_reuse,
        execution_mode: settings.execution_mode,
        user: settings.user,
    })
}

/// Flink's number for "never".
const NEVER_MS: i64 = i64::MAX;
/// Flink's own time-out.
const CHECKPOINT_TIMEOUT_MS: i64 = 600_000;

fn checkpointing(told: wire::Checkpointing) -> CheckpointSettings {
    CheckpointSettings {
        mode: told.mode.unwrap_or_else(|| "exactly_once".to_owned()),
        interval_ms: told.interval_ms.map_or(NEVER_MS, |interval| interval.0),
        timeout_ms: told.timeout_ms.map_or(CHECKPOINT_TIMEOUT_MS, |timeout| timeout.0),
        min_pause_ms: told.min_pause_ms.0,
        max_concurrent: told.max_concurrent.map_or(1, i64::from),
        is_externalized: told.externalized,
        delete_on_cancellation: told.delete_on_cancellation,
        kept: Default::default(),
    }
}

/// The edges by the vertex that they lead into.
fn inputs(limits: &Limits, body: &wire::Registration) -> Result<BTreeMap<String, Vec<Edge>>, Fault> {
    let mut ids = BTreeSet::new();
    for vertex in &body.vertices {
        check_id("the vertex id", &vertex.id)?;
        if !ids.insert(vertex.id.as_str()) {
            return Err(Fault::bad_request(format!("two vertices have the id {:?}", vertex.id)));
        }
    }
    Limits::count("edges", body.edges.len(), "jobs.max_documents", limits.items_max)?;
    let mut inputs: BTreeMap<String, Vec<Edge>> = BTreeMap::new();
    for edge in &body.edges {
        for id in [&edge.from, &edge.to] {
            if !ids.contains(id.as_str()) {
                let id: String = id.chars().take(64).collect();
                return Err(Fault::bad_request(format!("an edge names the vertex {id:?}, which is not there")));
            }
        }
        limits.names([("edge.ship_strategy", &edge.ship_strategy), ("edge.exchange", &edge.exchange)])?;
        let into = inputs.entry(edge.to.clone()).or_default();
        into.push(Edge {
            from: edge.from.clone(),
            number: into.len() as u64,
            ship_strategy: edge.ship_strategy.clone(),
            exchange: edge.exchange.clone(),
            kept: Default::default(),
        });
    }
    Ok(inputs)
}

fn vertices(
    limits: &Limits,
    told: Vec<wire::Vertex>,
    mut inputs: BTreeMap<String, Vec<Edge>>,
) -> Result<Vec<NewVertex>, Fault> {
    let mut vertices = Vec::with_capacity(told.len());
    for vertex in told {
        let named = [("vertex.name", &vertex.name), ("vertex.slot_sharing_group", &vertex.slot_sharing_group)];
        limits.names(named)?;
        limits.name("vertex.operator", &vertex.operator)?;
        limits.text("vertex.description", &vertex.description)?;
        let parallelism = vertex.parallelism.unwrap_or(1);
        if parallelism == 0 {
            return Err(Fault::bad_request(format!("the parallelism of vertex {:?} is at least 1", vertex.id)));
        }
        vertices.push(NewVertex {
            name: vertex.name.unwrap_or_else(|| vertex.id.clone()),
            parallelism: u64::from(parallelism),
            max_parallelism: vertex.max_parallelism.map(i64::from),
            slot_sharing_group: vertex.slot_sharing_group,
            operator: vertex.operator,
            description: vertex.description,
            inputs: inputs.remove(&vertex.id).unwrap_or_default(),
            id: vertex.id,
        });
    }
    Ok(vertices)
}
