//! Which endpoint a path and a method mean, by Flink's rules.

use std::borrow::Cow;

use ::http::Method;

use super::answer::Failure;
use super::parameters::{hex_id, number};

/// What a request means.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Route {
    /// It reads.
    Read(Ask),
    /// Only a cluster can answer it.
    Forward(Forwarded),
    /// There is no such path with this method.
    Unknown,
}

/// What only a cluster can answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Forwarded {
    /// The job that it is about; without one it is about a cluster.
    pub(super) job: Option<String>,
    /// Whether it needs the right to control: it changes something, or runs a program to answer.
    pub(super) is_control: bool,
    /// The path on the cluster.
    pub(super) path: String,
}

/// What is asked for. Ids are in lower case.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Ask {
    Config,
    Overview,
    JobManagerConfig,
    TaskManagers,
    TaskManager(String),
    Jobs,
    JobsOverview,
    Job(String, OfJob),
    /// Metrics do not ask first whether what has them is there.
    Metrics(OfMetrics),
}

impl Ask {
    /// The job that it is about; without one it is about all, or about clusters.
    pub(super) fn job(&self) -> Option<&str> {
        match self {
            Ask::Job(id, _) | Ask::Metrics(OfMetrics::Job(id)) => Some(id),
            Ask::Metrics(OfMetrics::Vertex(id, _) | OfMetrics::Subtasks(id, _) | OfMetrics::Watermarks(id, _)) => {
                Some(id)
            }
            Ask::Metrics(OfMetrics::Subtask(id, ..)) => Some(id),
            _ => None,
        }
    }
}

/// Whose metrics are asked for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum OfMetrics {
    JobManager,
    TaskManager(String),
    TaskManagers,
    Jobs,
    Job(String),
    Vertex(String, String),
    Subtasks(String, String),
    Subtask(String, String, i64),
    Watermarks(String, String),
}

/// What is asked of a job.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum OfJob {
    Details,
    Status,
    Accumulators,
    Checkpoints,
    CheckpointConfig,
    Checkpoint(i64),
    CheckpointSubtasks(i64, String),
    Config,
    Exceptions,
    ExecutionResult,
    Plan,
    Vertex(String, OfVertex),
}

/// What is asked of a vertex.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum OfVertex {
    Details,
    Accumulators,
    BackPressure,
    SubtaskAccumulators,
    Subtask(i64),
    Attempt(i64, i64),
    AttemptAccumulators(i64, i64),
    SubtaskTimes,
    TaskManagers,
}

/// The parts of a path between slashes, decoded. Empty ones do not count, so that doubled and trailing slashes do not.
pub(in crate::http) fn segments(path: &str) -> Vec<Cow<'_, str>> {
    path.split('/').filter(|part| !part.is_empty()).map(decode).collect()
}

fn decode(part: &str) -> Cow<'_, str> {
    let decoded = if part.contains('%') { crate::http::prometheus::decode_segment(part) } else { None };
    decoded.map_or(Cow::Borrowed(part), Cow::Owned)
}

/// Finds the endpoint.
///
/// # Errors
/// 400 for a part that is no id or number where one must be.
pub(super) fn of(method: &Method, path: &str) -> Result<Route, Failure> {
    let segments = segments(path);
    let names = names(&segments);
    if let Some(is_control) = forwarded(method, &names) {
        if names.iter().any(|name| leads_elsewhere(name)) {
            return Ok(Route::Unknown);
        }
        return Ok(Route::Forward(match names.as_slice() {
            ["jobs", id, rest @ ..] => {
                let id = hex_id("jobid", id)?;
                let path = joined(&[&["jobs", id.as_str()][..], rest].concat());
                Forwarded { job: Some(id), is_control, path }
            }
            _ => Forwarded { job: None, is_control, path: joined(&names) },
        }));
    }
    if *method != Method::GET {
        return Ok(Route::Unknown);
    }
    Ok(read(&names)?.map_or_else(|| Route::Unknown, Route::Read))
}

/// The parts behind the version.
fn names<'s>(segments: &'s [Cow<'_, str>]) -> Vec<&'s str> {
    let skipped = usize::from(segments.first().is_some_and(|first| first == "v1"));
    segments.iter().skip(skipped).map(AsRef::as_ref).collect()
}

/// True if a proxy before a cluster may make another path of one with this part in it, whose rights are other ones: it is
/// decoded, and `..` goes up.
fn leads_elsewhere(name: &str) -> bool {
    name.split(['/', '\\']).any(|part| matches!(part, "." | ".."))
}

/// A path as a cluster of any release takes it: without a version and doubled slashes.
pub(super) fn plain(path: &str) -> String {
    joined(&names(&segments(path)))
}

/// The parts as a path, each escaped.
fn joined(names: &[&str]) -> String {
    names.iter().fold(String::new(), |path, name| path + "/" + &crate::flink::follow::escaped(name))
}

fn read(names: &[&str]) -> Result<Option<Ask>, Failure> {
    Ok(Some(match names {
        ["config"] => Ask::Config,
        ["overview"] => Ask::Overview,
        ["jobmanager", "config"] => Ask::JobManagerConfig,
        ["jobmanager", "metrics"] => Ask::Metrics(OfMetrics::JobManager),
        ["taskmanagers", "metrics"] => Ask::Metrics(OfMetrics::TaskManagers),
        ["taskmanagers", id, "metrics"] => Ask::Metrics(OfMetrics::TaskManager((*id).to_owned())),
        ["jobs", "metrics"] => Ask::Metrics(OfMetrics::Jobs),
        ["jobs", job, "metrics"] => Ask::Metrics(OfMetrics::Job(hex_id("jobid", job)?)),
        ["jobs", job, "vertices", vertex, rest @ ..] if metrics(rest).is_some() => {
            let (job, vertex) = (hex_id("jobid", job)?, hex_id("vertexid", vertex)?);
            return metrics(rest).map(|of| Ok(Ask::Metrics(of?(job, vertex)))).transpose();
        }
        ["taskmanagers"] => Ask::TaskManagers,
        ["taskmanagers", id] => Ask::TaskManager((*id).to_owned()),
        ["jobs"] => Ask::Jobs,
        ["jobs", "overview"] => Ask::JobsOverview,
        ["jobs", id, rest @ ..] => match of_job(rest) {
            // The id is looked at only where there is an endpoint: an unknown path is 404 whatever it has in it.
            Some(parse) => Ask::Job(hex_id("jobid", id)?, parse?),
            None => return Ok(None),
        },
        _ => return Ok(None),
    }))
}

/// Makes what is asked for of a job and a vertex.
type OfTask = Box<dyn FnOnce(String, String) -> OfMetrics>;

/// What stands behind a vertex, if it is about metrics.
fn metrics(names: &[&str]) -> Option<Result<OfTask, Failure>> {
    Some(match names {
        ["metrics"] => Ok(Box::new(OfMetrics::Vertex)),
        ["watermarks"] => Ok(Box::new(OfMetrics::Watermarks)),
        ["subtasks", "metrics"] => Ok(Box::new(OfMetrics::Subtasks)),
        ["subtasks", index, "metrics"] => {
            let index = number("subtaskindex", index);
            index.map(|index| Box::new(move |job, vertex| OfMetrics::Subtask(job, vertex, index)) as OfTask)
        }
        _ => return None,
    })
}

fn of_job(names: &[&str]) -> Option<Result<OfJob, Failure>> {
    let checkpoint = |id: &str| number("checkpointid", id);
    Some(Ok(match names {
        [] => OfJob::Details,
        ["status"] => OfJob::Status,
        ["accumulators"] => OfJob::Accumulators,
        ["checkpoints"] => OfJob::Checkpoints,
        ["checkpoints", "config"] => OfJob::CheckpointConfig,
        ["checkpoints", "details", id] => return Some(checkpoint(id).map(OfJob::Checkpoint)),
        ["checkpoints", "details", id, "subtasks", vertex] => {
            let vertex = hex_id("vertexid", vertex);
            return Some(checkpoint(id).and_then(|id| Ok(OfJob::CheckpointSubtasks(id, vertex?))));
        }
        ["config"] => OfJob::Config,
        ["exceptions"] => OfJob::Exceptions,
        ["execution-result"] => OfJob::ExecutionResult,
        ["plan"] => OfJob::Plan,
        ["vertices", id, rest @ ..] => {
            let of_vertex = of_vertex(rest)?;
            return Some(hex_id("vertexid", id).and_then(|id| Ok(OfJob::Vertex(id, of_vertex?))));
        }
        _ => return None,
    }))
}

fn of_vertex(names: &[&str]) -> Option<Result<OfVertex, Failure>> {
    let subtask = |index: &str| number("subtaskindex", index);
    let attempt = |index: &str, attempt: &str| Ok((subtask(index)?, number("attempt", attempt)?));
    Some(match names {
        [] => Ok(OfVertex::Details),
        ["accumulators"] => Ok(OfVertex::Accumulators),
        ["backpressure"] => Ok(OfVertex::BackPressure),
        ["subtasktimes"] => Ok(OfVertex::SubtaskTimes),
        ["taskmanagers"] => Ok(OfVertex::TaskManagers),
        ["subtasks", "accumulators"] => Ok(OfVertex::SubtaskAccumulators),
        ["subtasks", index] => subtask(index).map(OfVertex::Subtask),
        ["subtasks", index, "attempts", number] => attempt(index, number).map(|(i, n)| OfVertex::Attempt(i, n)),
        ["subtasks", index, "attempts", number, "accumulators"] => {
            attempt(index, number).map(|(i, n)| OfVertex::AttemptAccumulators(i, n))
        }
        _ => return None,
    })
}

/// Whether Flink has such a path with such a method that we send on, and then whether it needs the right to control.
fn forwarded(method: &Method, names: &[&str]) -> Option<bool> {
    match (method.as_str(), names) {
        ("GET", ["jars"] | ["savepoint-disposal", _] | ["jobs", _, "resource-requirements"]) => Some(false),
        ("GET", ["jobs", _, "savepoints" | "rescaling", _]) => Some(false),
        ("GET", ["jobs", _, "checkpoints", trigger]) if *trigger != "config" => Some(false),
        // What 2.x has besides, for its own web pages; nothing of it is kept.
        ("GET", ["datasets"] | ["applications", _] | ["applications", _, "exceptions"]) => Some(false),
        ("GET", ["jobs", _, "rescales", ..]) => Some(false),
        ("GET", ["jobs", _, "vertices", _, "jm-operator-metrics" | "flamegraph"]) => Some(false),
        // Logs, dumps and environments show what a program was given, and a profile costs time.
        ("GET", ["jobs" | "applications", _, "jobmanager", "config" | "environment" | "log-url"]) => Some(true),
        ("GET", ["jobs", _, "taskmanagers", _, "log-url"]) => Some(true),
        ("GET", ["jobmanager", "logs" | "log" | "stdout" | "thread-dump" | "environment", ..]) => Some(true),
        ("GET", ["taskmanagers", _, "logs" | "log" | "stdout" | "thread-dump", ..]) => Some(true),
        // To show the plan, the cluster runs the program in the jar.
        ("GET", ["jars", _, "plan"]) => Some(true),
        ("DELETE", ["cluster"] | ["jars", _])
        | ("POST", ["jars", "upload"] | ["jars", _, "plan" | "run"] | ["jobs"] | ["savepoint-disposal"])
        | ("POST", ["jobs", _, "savepoints" | "stop" | "checkpoints"])
        // Of those who started a job: that they are still there, and what its operators are to answer them.
        | ("PATCH", ["jobs", _, "clientHeartbeat"])
        | ("POST", ["jobs", _, "coordinators", _])
        | ("PATCH", ["jobs", _] | ["jobs", _, "rescaling"])
        | ("PUT", ["jobs", _, "resource-requirements"]) => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0d890d9d32ccfa02b7eab50fa0435103";

    fn get(path: &str) -> Result<Route, Failure> {
        of(&Method::GET, path)
    }

    #[test]
    fn slashes_and_the_version_do_not_count() {
        for path in ["/jobs", "/jobs/", "//jobs", "/v1/jobs", "/v1//jobs//"] {
            assert_eq!(get(path), Ok(Route::Read(Ask::Jobs)), "{path}");
        }
        for path in ["/v2/jobs", "/v1/v1/jobs", "/nosuchpath", "/", "/jobs/overview/x"] {
            assert_eq!(get(path), Ok(Route::Unknown), "{path}");
        }
    }

    #[test]
    fn a_path_for_a_cluster_is_plain() {
        assert_eq!(plain("/v1//jobs/a%20b/%2F/"), "/jobs/a%20b/%2F");
        assert_eq!(plain("/"), "");
    }

    #[test]
    fn metrics_have_paths_of_their_own_at_every_level() {
        let metrics = |of| Ok(Route::Read(Ask::Metrics(of)));
        let task = format!("/jobs/{ID}/vertices/{ID}");
        let ids = || (ID.to_owned(), ID.to_owned());
        assert_eq!(get("/jobs/metrics"), metrics(OfMetrics::Jobs));
        assert_eq!(get("/taskmanagers/tm%2F1/metrics"), metrics(OfMetrics::TaskManager("tm/1".to_owned())));
        assert_eq!(get(&format!("{task}/metrics")), metrics(OfMetrics::Vertex(ids().0, ids().1)));
        assert_eq!(get(&format!("{task}/subtasks/metrics")), metrics(OfMetrics::Subtasks(ids().0, ids().1)));
        assert_eq!(get(&format!("{task}/subtasks/7/metrics")), metrics(OfMetrics::Subtask(ids().0, ids().1, 7)));
        assert_eq!(get(&format!("{task}/subtasks/x/metrics")), Err(Failure::unresolved("path", "subtaskindex", "x")));
        assert_eq!(get("/jobs/nothex/metrics"), Err(Failure::unresolved("path", "jobid", "nothex")));
    }

    #[test]
    fn a_wrong_method_is_an_unknown_path() {
        for method in [Method::HEAD, Method::OPTIONS, Method::PUT] {
            assert_eq!(of(&method, "/jobs"), Ok(Route::Unknown), "{method}");
        }
        assert_eq!(of(&Method::DELETE, &format!("/jobs/{ID}")), Ok(Route::Unknown));
        for path in ["stop", "savepoints"] {
            assert_eq!(get(&format!("/jobs/{ID}/{path}")), Ok(Route::Unknown), "{path}");
        }
        assert_eq!(get("/jobs/nothex/nosuchpath"), Ok(Route::Unknown));
    }

    #[test]
    fn what_only_a_cluster_can_do_is_sent_on() {
        let forward = |method: &str, path: &str| match of(&method.parse().unwrap(), path) {
            Ok(Route::Forward(forwarded)) => Some((forwarded.job.is_some(), forwarded.is_control, forwarded.path)),
            Ok(_) => None,
            Err(failure) => panic!("{method} {path}: {failure:?}"),
        };
        let job = |rest: &str| format!("/jobs/{ID}{rest}");
        for (method, path, of_job, is_control) in [
            ("POST", "/jobs".to_owned(), false, true),
            ("POST", "/jars/upload".to_owned(), false, true),
            ("GET", "/jars".to_owned(), false, false),
            ("GET", "/jars/a%20b.jar/plan".to_owned(), false, true),
            ("DELETE", "/cluster".to_owned(), false, true),
            ("PATCH", job(""), true, true),
            ("POST", job("/savepoints"), true, true),
            ("PATCH", job("/clientHeartbeat"), true, true),
            ("GET", job("/savepoints/0000"), true, false),
            ("GET", job("/checkpoints/0000"), true, false),
            ("GET", "/savepoint-disposal/0000".to_owned(), false, false),
            ("GET", job("/vertices/v/flamegraph"), true, false),
            ("GET", "/taskmanagers/tm-1/logs/a.log".to_owned(), false, true),
            ("GET", "/jobmanager/thread-dump".to_owned(), false, true),
            ("GET", "/applications/overview".to_owned(), false, false),
            ("GET", "/applications/0000/exceptions".to_owned(), false, false),
            ("GET", "/applications/0000/jobmanager/config".to_owned(), false, true),
            ("GET", job("/jobmanager/config"), true, true),
        ] {
            assert_eq!(forward(method, &format!("/v1/{path}/")), Some((of_job, is_control, path)), "{method}");
        }
        assert_eq!(forward("GET", &job("/checkpoints/config")), None);
        assert_eq!(forward("GET", "/cluster"), None);
        let refused = of(&Method::PATCH, "/jobs/nothex");
        assert_eq!(refused, Err(Failure::unresolved("path", "jobid", "nothex")));
    }

    /// Whoever may only read must not get elsewhere by a proxy that resolves the path.
    #[test]
    fn a_path_that_goes_up_is_not_sent_on() {
        for path in [
            "/applications/..",
            "/applications/%2E%2E/exceptions",
            "/jobs/../savepoints/..",
            "/savepoint-disposal/%2e%2e",
            "/savepoint-disposal/x%2F..%2F..%2Fjobmanager%2Flog",
            "/savepoint-disposal/..%5Cjobmanager",
            "/taskmanagers/tm/logs/..%2F..%2Fx",
            "/jars/./plan",
        ] {
            let known = path.replace("/jobs/..", &format!("/jobs/{ID}"));
            assert_eq!(get(&known), Ok(Route::Unknown), "{path}");
        }
        for path in ["/savepoint-disposal/a..b", "/taskmanagers/tm%2F1/log", "/jars/...jar/plan"] {
            assert!(matches!(get(path), Ok(Route::Forward(_))), "{path}");
        }
    }

    #[test]
    fn ids_and_numbers_are_read_where_they_stand() {
        let vertex = |of| Ok(Route::Read(Ask::Job(ID.to_owned(), OfJob::Vertex(ID.to_owned(), of))));
        let path = |rest: &str| format!("/jobs/{}/vertices/{ID}{rest}", ID.to_uppercase());
        assert_eq!(get(&path("")), vertex(OfVertex::Details));
        assert_eq!(get(&path("/subtasks/accumulators")), vertex(OfVertex::SubtaskAccumulators));
        assert_eq!(get(&path("/subtasks/3")), vertex(OfVertex::Subtask(3)));
        assert_eq!(get(&path("/subtasks/3/attempts/1/accumulators")), vertex(OfVertex::AttemptAccumulators(3, 1)));
        let refused = |of: &str, value: &str| Err(Failure::unresolved("path", of, value));
        assert_eq!(get(&path("/subtasks/-1")), refused("subtaskindex", "-1"));
        assert_eq!(get(&path("/subtasks/0/attempts/x")), refused("attempt", "x"));
        assert_eq!(get("/jobs/nothex"), refused("jobid", "nothex"));
        assert_eq!(get(&format!("/jobs/{ID}/vertices/xyz")), refused("vertexid", "xyz"));
        assert_eq!(get(&format!("/jobs/{ID}/checkpoints/details/abc")), refused("checkpointid", "abc"));
        let subtasks = OfJob::CheckpointSubtasks(3, ID.to_owned());
        let read = Ok(Route::Read(Ask::Job(ID.to_owned(), subtasks)));
        assert_eq!(get(&format!("/jobs/{ID}/checkpoints/details/3/subtasks/{ID}")), read);
    }
}
