//! Back pressure of releases before 1.13, which do not measure it: when someone asks, the cluster looks at the stacks of its
//! tasks for some seconds. So a question about now is sent on, and what the cluster says of each subtask becomes the series
//! that later releases have; the answer is made from these like any other, also when the cluster is gone.

use std::sync::Arc;

use ::http::{HeaderMap, Method, StatusCode};
use axum::body::Body;
use model::{Labels, Matcher, Scope};

use super::answer::Failure;
use super::release::numbers;
use crate::app::App;
use crate::config::FlinkCluster;
use crate::flink::collector::write_samples;
use crate::flink::convert;
use crate::flink::follow::Number;
use crate::flink::forward::{Forward, forward};
use crate::flink::samples::Owner;
use crate::ingest::ORG;
use crate::jobs::{Cluster, JobsError, Origin, Reader, Run, SubjectKind, Subtasks, Vertex, hex_id};

/// The first release that measures it.
const MEASURED_SINCE: (u64, u64) = (1, 13);

/// Longest answer that is read: a few hundred bytes for each subtask.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// The metric, in milliseconds per second.
const METRIC: &str = "backPressuredTimeMsPerSecond";

/// A vertex whose cluster has to be asked.
struct Sampled {
    cluster: FlinkCluster,
    job: String,
    job_name: String,
    vertex: String,
    vertex_name: String,
    attempts: Vec<(u64, u64)>,
}

/// Asks the cluster of a vertex for its back pressure and writes down what it says, if it is one that must be asked.
/// Whatever goes wrong on the way leaves what is known.
pub(super) async fn sample(app: &Arc<App>, scope: Scope, job: &str, vertex: &str, path: String) -> Result<(), Failure> {
    let (state, job, vertex) = (Arc::clone(app), job.to_owned(), vertex.to_owned());
    let found = app.workers.query(None, move |_| state.jobs.read(|reader| find(&state, reader, &scope, &job, &vertex)));
    let Some(sampled) = found.await?? else { return Ok(()) };
    let Some(ratios) = ask(&sampled, path).await else { return Ok(()) };
    let state = Arc::clone(app);
    let write = move || write_samples(&state, &sampled.samples(&ratios), state.clock.now_ms());
    Ok(app.workers.write(write).await?)
}

fn find(app: &App, reader: &Reader<'_>, scope: &Scope, job: &str, vertex: &str) -> Result<Option<Sampled>, JobsError> {
    let job = reader.find_hex(scope, SubjectKind::Job, job)?;
    let Some(job) = job.filter(|job| job.origin == Origin::Flink) else { return Ok(None) };
    let Some(cluster) = app.config.flink.clusters.iter().find(|cluster| {
        job.cluster.as_ref().is_some_and(|name| *name == cluster.name) && cluster.org == job.subject.org
    }) else {
        return Ok(None);
    };
    let scope = Scope::confined(Matcher::equal(ORG, &cluster.org));
    let Some(contact) = reader.find(&scope, SubjectKind::Cluster, &cluster.name)? else { return Ok(None) };
    let contact = reader.document::<Cluster>(&contact, "", i64::MAX)?.map(|version| version.document);
    let must_ask = |contact: &Cluster| contact.is_reachable && contact.version.as_deref().is_some_and(is_sampled);
    let run = reader.document::<Run>(&job, "", i64::MAX)?.map(|version| version.document);
    let runs = |run: &Run| !run.state.has_ended() && run.lost_ms.is_none();
    let (Some(_), Some(run)) = (contact.filter(must_ask), run.filter(runs)) else { return Ok(None) };
    let vertices = reader.documents::<Vertex>(&job, i64::MAX)?;
    let found = vertices.into_iter().map(|version| version.document).find(|found| hex_id(&found.id) == vertex);
    let Some(vertex) = found else { return Ok(None) };
    let subtasks = reader.document::<Subtasks>(&job, &vertex.id, i64::MAX)?;
    let subtasks = subtasks.map(|version| version.document.subtasks).unwrap_or_default();
    Ok(Some(Sampled {
        cluster: cluster.clone(),
        job: job.subject.id,
        job_name: run.name,
        vertex: vertex.id,
        vertex_name: vertex.name,
        attempts: subtasks.iter().map(|subtask| (subtask.index, subtask.attempt)).collect(),
    }))
}

/// Whether a release, such as `1.9.3`, only looks when it is asked.
fn is_sampled(version: &str) -> bool {
    numbers(version).is_some_and(|numbers| numbers < MEASURED_SINCE)
}

async fn ask(sampled: &Sampled, path: String) -> Option<Vec<(u64, f64)>> {
    let sent = Forward { method: Method::GET, path, headers: HeaderMap::new(), body: Body::empty() };
    let asked = async {
        let answer = forward(&sampled.cluster, sent).await.ok().filter(|answer| answer.status() == StatusCode::OK)?;
        let body = axum::body::to_bytes(answer.into_body(), ANSWER_BYTES_MAX).await.ok()?;
        convert::back_pressure(&serde_json::from_slice(&body).ok()?).ok()
    };
    tokio::time::timeout(sampled.cluster.timeout.std(), asked).await.ok().flatten()
}

impl Sampled {
    fn samples(&self, ratios: &[(u64, f64)]) -> Vec<(Labels, f64)> {
        let cluster = &self.cluster;
        let owner = Owner { org: &cluster.org, cluster: &cluster.name, job: &self.job, job_name: &self.job_name };
        let of_subtask = |(subtask, ratio): &(u64, f64)| {
            let (_, attempt) = self.attempts.iter().find(|(index, _)| index == subtask)?;
            let number = Number {
                vertex: Some(self.vertex.clone()),
                subtask: Some(*subtask),
                name: METRIC.to_owned(),
                value: ratio * 1000.0,
            };
            owner.metric(&number, &self.vertex_name, Some(*attempt))
        };
        ratios.iter().filter_map(of_subtask).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_before_1_13_are_asked() {
        let sampled = ["1.9.3", "1.12", "0.10.1", "1.13.0", "1.20.1", "2.3.0", "2", "", "x.y"].map(is_sampled);
        assert_eq!(sampled, [true, true, true, false, false, false, false, false, false]);
    }
}
