//! Rescaling as the API page has it, for clusters that do it otherwise: every release since 1.9 refuses `PATCH …/rescaling`
//! (503), but an adaptive scheduler takes requirements of resources. So where a cluster refuses the one and knows the other,
//! every vertex is allowed as many subtasks as were asked for. A cluster that knows neither has the last word.

use ::http::{HeaderMap, Method, StatusCode, header};
use axum::body::Body;
use axum::response::Response;
use serde_json::{Value, json};

use super::answer::{self, Failure};
use super::forward::send;
use super::parameters::Parameters;
use super::route::Forwarded;
use crate::config::FlinkCluster;
use crate::flink::forward::Forward;

/// Longest list of requirements that is read: a hundred bytes for each vertex.
const REQUIREMENTS_BYTES_MAX: usize = 4 << 20;

/// Digits of each half of a request's id.
const HALF: usize = 16;

/// A request about rescaling.
pub(super) enum Rescaling<'r> {
    /// To begin it, with this parallelism.
    Begin(&'r str, u64),
    /// How one of ours went.
    State,
}

impl<'r> Rescaling<'r> {
    /// None if it is about something else, or of a kind that is the cluster's to refuse.
    pub(super) fn of(method: &Method, forwarded: &'r Forwarded, parameters: &Parameters) -> Option<Rescaling<'r>> {
        let job = forwarded.job.as_deref()?;
        let rest = forwarded.path.strip_prefix("/jobs/")?.strip_prefix(job)?.strip_prefix("/rescaling")?;
        match (method.as_str(), rest) {
            ("PATCH", "") => {
                let parallelism = parameters.text("parallelism")?.parse().ok().filter(|number| *number > 0)?;
                Some(Rescaling::Begin(job, parallelism))
            }
            ("GET", trigger) if is_ours(job, trigger.strip_prefix('/')?) => Some(Rescaling::State),
            _ => None,
        }
    }
}

/// What was asked for is done when the cluster has taken the requirements; that was before the id was given away.
pub(super) fn state() -> Response {
    answer::ok(&json!({"status": {"id": "COMPLETED"}, "operation": {}}))
}

/// Sends the request on, and if it is refused asks for other resources.
pub(super) async fn begin(
    cluster: &FlinkCluster,
    sent: Forward,
    job: &str,
    parallelism: u64,
    now_ms: i64,
) -> Result<Response, Failure> {
    let refused = send(cluster, sent).await?;
    if refused.status() != StatusCode::SERVICE_UNAVAILABLE {
        return Ok(refused);
    }
    let path = format!("/jobs/{job}/resource-requirements");
    let ask = |method: Method, body: Option<&Value>| {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        Forward { method, path: path.clone(), headers, body }
    };
    let Some(known) = requirements(send(cluster, ask(Method::GET, None)).await?).await else { return Ok(refused) };
    let Some(wanted) = with_parallelism(known, parallelism) else { return Ok(refused) };
    let changed = send(cluster, ask(Method::PUT, Some(&wanted))).await?;
    if changed.status().is_success() { Ok(answer::ok(&json!({"request-id": id(job, now_ms)}))) } else { Ok(changed) }
}

async fn requirements(answer: Response) -> Option<Value> {
    if answer.status() != StatusCode::OK {
        return None;
    }
    let body = axum::body::to_bytes(answer.into_body(), REQUIREMENTS_BYTES_MAX).await.ok()?;
    serde_json::from_slice(&body).ok()
}

/// The same requirements with another upper bound for each vertex; none if they are of another shape.
fn with_parallelism(mut requirements: Value, parallelism: u64) -> Option<Value> {
    let vertices = requirements.as_object_mut().filter(|vertices| !vertices.is_empty())?;
    for vertex in vertices.values_mut() {
        let bounds = vertex.get_mut("parallelism")?.as_object_mut()?;
        let lower = bounds.get("lowerBound")?.as_u64()?;
        bounds.insert("lowerBound".to_owned(), lower.min(parallelism).into());
        bounds.insert("upperBound".to_owned(), parallelism.into());
    }
    Some(requirements)
}

/// An id that says itself that we gave it for this job, so that nothing has to be remembered.
fn id(job: &str, now_ms: i64) -> String {
    let first = format!("{:016x}", now_ms.cast_unsigned());
    let second = proof(job, &first);
    first + &second
}

fn is_ours(job: &str, id: &str) -> bool {
    id.split_at_checked(HALF).is_some_and(|(first, second)| second.eq_ignore_ascii_case(&proof(job, first)))
}

fn proof(job: &str, first: &str) -> String {
    let text = format!("rescaling/{job}/{}", first.to_ascii_lowercase());
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: &str = "0d890d9d32ccfa02b7eab50fa0435103";

    #[test]
    fn bounds_become_what_was_asked_for() {
        let known = json!({"a": {"parallelism": {"lowerBound": 1, "upperBound": 2}},
                           "b": {"parallelism": {"lowerBound": 4, "upperBound": 8}}});
        let wanted = json!({"a": {"parallelism": {"lowerBound": 1, "upperBound": 3}},
                            "b": {"parallelism": {"lowerBound": 3, "upperBound": 3}}});
        assert_eq!(with_parallelism(known, 3), Some(wanted));
        for other in [json!({}), json!([]), json!({"a": {}}), json!({"a": {"parallelism": {"upperBound": 1}}})] {
            assert_eq!(with_parallelism(other, 3), None);
        }
    }

    #[test]
    fn ids_say_that_they_are_ours() {
        let given = id(JOB, 1_795_220_231_254);
        assert_eq!(given.len(), 32);
        assert!(is_ours(JOB, &given) && is_ours(JOB, &given.to_uppercase()));
        let other = JOB.replace('0', "1");
        for (job, id) in [(other.as_str(), given.as_str()), (JOB, &given[1..]), (JOB, JOB), (JOB, ""), (JOB, "é")] {
            assert!(!is_ours(job, id), "{id}");
        }
    }

    #[test]
    fn only_what_can_be_done_is_done_otherwise() {
        let of = |method: Method, rest: &str, query: &str| {
            let path = format!("/jobs/{JOB}/rescaling{rest}");
            let forwarded = Forwarded { job: Some(JOB.to_owned()), is_control: true, path };
            let parameters = Parameters::of(&format!("/x?{query}").parse().unwrap()).unwrap();
            Rescaling::of(&method, &forwarded, &parameters).map(|rescaling| match rescaling {
                Rescaling::Begin(_, parallelism) => parallelism,
                Rescaling::State => 0,
            })
        };
        assert_eq!(of(Method::PATCH, "", "parallelism=3"), Some(3));
        for query in ["", "parallelism=0", "parallelism=-1", "parallelism=x"] {
            assert_eq!(of(Method::PATCH, "", query), None, "{query}");
        }
        assert_eq!(of(Method::GET, &format!("/{}", id(JOB, 5)), ""), Some(0));
        assert_eq!(of(Method::GET, &format!("/{JOB}"), ""), None, "one of the cluster's");
    }
}
