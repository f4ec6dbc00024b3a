//! Requests that only a cluster can answer: which cluster, whether the caller may, and the way there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ::http::request::Parts;
use ::http::{HeaderMap, Method, StatusCode, Uri};
use axum::body::Body;
use axum::response::Response;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use model::{Matcher, Scope};

use super::answer::{self, Failure};
use super::control::{self, Control};
use super::parameters::Parameters;
use super::rescale::{self, Rescaling};
use super::route::{Forwarded, segments};
use crate::app::App;
use crate::auth::{Caller, Need, Right};
use crate::config::FlinkCluster;
use crate::flink::forward::{Forward, forward};
use crate::http::rights::allow;
use crate::ingest::ORG;
use crate::jobs::{Cluster, Known, Origin, SubjectKind};

/// Parts of a path up to the id of a job.
const JOB_SEGMENTS: usize = 2;

/// Parameters that are ours and not the cluster's.
const OWN_PARAMETERS: [&str; 2] = ["cluster", "at"];

/// Longest body of a request for the plan of a jar: names and arguments of a program.
const PLAN_BODY_BYTES_MAX: usize = 1 << 20;

pub(super) async fn answer(
    app: &Arc<App>,
    forwarded: Forwarded,
    caller: &Caller,
    head: Parts,
    body: Body,
) -> Result<Response, Failure> {
    let right = if forwarded.is_control { Right::Control } else { Right::Read };
    allow(caller, Need::of(right), &head.method, &forwarded.path)?;
    let parameters = Parameters::of(&head.uri)?;
    let known = match &forwarded.job {
        Some(id) => known(app, caller.scope(), id).await?,
        None => None,
    };
    if let Some(job) = known.as_ref().filter(|known| known.origin == Origin::Push) {
        let names = segments(&forwarded.path);
        let rest = names.iter().skip(JOB_SEGMENTS).map(AsRef::as_ref).collect();
        let control = Control { job, method: &head.method, rest, parameters: &parameters, headers: &head.headers };
        return control::answer(app, control, body).await;
    }
    let cluster = find(app, &caller.scope(), known, &forwarded, &parameters)?;
    let path = target(&forwarded.path, &head.uri);
    let limit = usize::try_from(app.config.flink_max_upload_bytes.0).unwrap_or(usize::MAX);
    let announced = head.headers.get(::http::header::CONTENT_LENGTH).and_then(|l| l.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > app.config.flink_max_upload_bytes.0) {
        return Err(Failure::too_large("flink_max_upload_bytes", limit));
    }
    if head.method == Method::POST && is_plan(&forwarded.path) {
        return plan(&cluster, path, head.headers, body).await;
    }
    let rescaling = Rescaling::of(&head.method, &forwarded, &parameters);
    let (body, is_above) = limited(body, limit);
    let sent = Forward { method: head.method, path, headers: head.headers, body };
    let answer = match rescaling {
        Some(Rescaling::Begin(job, parallelism)) => {
            rescale::begin(&cluster, sent, job, parallelism, app.clock.now_ms()).await
        }
        Some(Rescaling::State) => Ok(rescale::state()),
        None => send(&cluster, sent).await,
    };
    match answer {
        Err(_) if is_above.load(Ordering::Relaxed) => Err(Failure::too_large("flink_max_upload_bytes", limit)),
        answer => answer,
    }
}

/// A body that ends with an error above the limit, and whether it did: who sends no length is known to be above it only then.
fn limited(body: Body, limit: usize) -> (Body, Arc<AtomicBool>) {
    let is_above = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&is_above);
    let body = Limited::new(body, limit).map_err(move |error| {
        flag.fetch_or(error.is::<LengthLimitError>(), Ordering::Relaxed);
        error
    });
    (Body::new(body), is_above)
}

pub(super) async fn send(cluster: &FlinkCluster, sent: Forward) -> Result<Response, Failure> {
    match forward(cluster, sent).await {
        Ok(answer) => Ok(answer::of_cluster(answer)),
        Err(error) => Err(Failure::unavailable(error.to_string())),
    }
}

fn is_plan(path: &str) -> bool {
    path.starts_with("/jars/") && path.ends_with("/plan")
}

/// The plan of a jar, which changes nothing. Flink's page lists `POST` for it, which 1.9 answers with 404, and `GET`, which
/// takes the same body: so a cluster that does not know the one is asked with the other.
async fn plan(cluster: &FlinkCluster, path: String, headers: HeaderMap, body: Body) -> Result<Response, Failure> {
    let read = axum::body::to_bytes(body, PLAN_BODY_BYTES_MAX).await;
    let body = read.map_err(|_| Failure::too_large("of the body of a plan", PLAN_BODY_BYTES_MAX))?;
    let ask = |method| Forward { method, path: path.clone(), headers: headers.clone(), body: Body::from(body.clone()) };
    let answer = send(cluster, ask(Method::POST)).await?;
    if answer.status() == StatusCode::NOT_FOUND { send(cluster, ask(Method::GET)).await } else { Ok(answer) }
}

/// Asks the clusters that are there about a job that the store does not have: it may have begun since they were asked
/// last, and who started it asks for it at once. None if no cluster knows it.
pub(super) async fn look_for_young(
    app: &Arc<App>,
    caller: &Caller,
    path: &str,
    uri: &Uri,
) -> Result<Option<Response>, Failure> {
    let parameters = Parameters::of(uri)?;
    let named = parameters.text("cluster");
    for cluster in
        reachable(app, &caller.scope()).await?.iter().filter(|cluster| named.is_none_or(|name| name == cluster.name))
    {
        let (method, headers, body) = (Method::GET, HeaderMap::new(), Body::empty());
        let sent = Forward { method, path: target(path, uri), headers, body };
        let answered = tokio::time::timeout(cluster.timeout.std(), forward(cluster, sent)).await;
        if let Ok(Ok(answer)) = answered
            && answer.status() != StatusCode::NOT_FOUND
        {
            return Ok(Some(answer::of_cluster(answer)));
        }
    }
    Ok(None)
}

/// The clusters that are followed.
fn followed<'a>(app: &'a App, scope: &'a Scope) -> impl Iterator<Item = &'a FlinkCluster> {
    let is_in = |cluster: &&FlinkCluster| scope.forced().is_none_or(|forced| forced.matches(&cluster.org));
    app.config.flink.clusters.iter().filter(is_in)
}

/// The clusters that are followed and not known to be lost.
async fn reachable(app: &Arc<App>, scope: &Scope) -> Result<Vec<FlinkCluster>, Failure> {
    let clusters: Vec<FlinkCluster> = followed(app, scope).cloned().collect();
    if clusters.is_empty() {
        return Ok(Vec::new());
    }
    let state = Arc::clone(app);
    let found = app.workers.query(None, move |_| {
        state.jobs.read(|reader| {
            let mut reachable = Vec::new();
            for cluster in clusters {
                let scope = Scope::confined(Matcher::equal(ORG, &cluster.org));
                let contact = match reader.find(&scope, SubjectKind::Cluster, &cluster.name)? {
                    Some(known) => reader.document::<Cluster>(&known, "", i64::MAX)?,
                    None => None,
                };
                if contact.is_none_or(|contact| contact.document.is_reachable) {
                    reachable.push(cluster);
                }
            }
            Ok(reachable)
        })
    });
    Ok(found.await??)
}

/// Path and query on a cluster.
pub(super) fn target(path: &str, uri: &Uri) -> String {
    let query = query(uri.query().unwrap_or_default());
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

/// The query as it came, without what is ours.
fn query(query: &str) -> String {
    let is_own = |pair: &&str| OWN_PARAMETERS.contains(&pair.split('=').next().unwrap_or_default());
    let rest: Vec<&str> = query.split('&').filter(|pair| !pair.is_empty() && !is_own(pair)).collect();
    rest.join("&")
}

/// The cluster that the job came from, the one that is named, or the only one there is.
fn find(
    app: &App,
    scope: &Scope,
    job: Option<Known>,
    forwarded: &Forwarded,
    parameters: &Parameters,
) -> Result<FlinkCluster, Failure> {
    let (mut name, mut org) = (parameters.text("cluster").map(str::to_owned), None);
    if let Some(known) = job {
        if known.origin != Origin::Flink {
            let id = known.hex_id();
            let message = format!("Job {id} came from no cluster that is followed: nobody here can carry this out.");
            return Err(Failure::unavailable(message));
        }
        name = known.cluster.or(name);
        org = Some(known.subject.org);
    }
    let clusters: Vec<&FlinkCluster> = followed(app, scope).collect();
    let found = match (&name, clusters.as_slice(), &forwarded.job) {
        (Some(name), ..) => {
            let is_it =
                |cluster: &&FlinkCluster| cluster.name == *name && org.as_ref().is_none_or(|org| *org == cluster.org);
            let mut of_name = clusters.iter().copied().filter(is_it);
            match (of_name.next(), of_name.next()) {
                (Some(_), Some(_)) => {
                    return Err(Failure::bad_request(format!(
                        "Several organizations have a cluster {name}: ask with a token of one of them."
                    )));
                }
                (found, _) => found,
            }
        }
        (None, [only], _) => Some(*only),
        // No cluster is left that could know it.
        (None, [], Some(job)) => return Err(Failure::no_job(job)),
        (None, [], None) => None,
        (None, ..) => {
            let names: Vec<&str> = clusters.iter().map(|cluster| cluster.name.as_str()).collect();
            return Err(Failure::bad_request(format!(
                "Say which cluster with ?cluster=, one of {}.",
                names.join(", ")
            )));
        }
    };
    let missing = || match &name {
        Some(name) => Failure::unavailable(format!("The cluster {name} is not followed.")),
        None => Failure::unavailable("No cluster is followed: nobody here can carry this out."),
    };
    found.cloned().ok_or_else(missing)
}

/// The job, if it is in the store. One that is not may be too young: its cluster is asked.
async fn known(app: &Arc<App>, scope: Scope, id: &str) -> Result<Option<Known>, Failure> {
    let (state, id) = (Arc::clone(app), id.to_owned());
    let found =
        app.workers.query(None, move |_| state.jobs.read(|reader| reader.find_hex(&scope, SubjectKind::Job, &id)));
    Ok(found.await??)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_ours_stay_here() {
        assert_eq!(query("mode=cancel&cluster=a&at=1&x=%20&&y"), "mode=cancel&x=%20&y");
        assert_eq!(query("cluster=a"), "");
        assert_eq!(query("clusters=a"), "clusters=a");
    }
}
