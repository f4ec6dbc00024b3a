//! Which endpoint a path means.

use super::flink::segments;

/// What is asked for; names of jobs as they stand in the path, decoded.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Ask {
    Status(String),
    StatusAndMetrics(String),
    Stop(String),
    Overview,
    Exceptions(String),
    Version,
}

/// Finds the endpoint. A slash at the end does not count.
pub(super) fn of(path: &str) -> Option<Ask> {
    let segments = segments(path);
    let names: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
    let name = |uuid: &str| uuid.to_owned();
    Some(match names.as_slice() {
        ["job", uuid, "status"] => Ask::Status(name(uuid)),
        ["job", uuid, "statusAndMetrics"] => Ask::StatusAndMetrics(name(uuid)),
        ["job", uuid, "stop"] => Ask::Stop(name(uuid)),
        ["jobs", "overview"] => Ask::Overview,
        // The document says `jobs`, TSP's code had `job`.
        ["jobs" | "job", uuid, "exceptions"] => Ask::Exceptions(name(uuid)),
        ["metainfo", "getVersion"] => Ask::Version,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_of_the_document_is_found_with_and_without_a_slash() {
        let name = || "Albert tests".to_owned();
        for (path, ask) in [
            ("/job/Albert%20tests/status", Ask::Status(name())),
            ("/job/Albert%20tests/statusAndMetrics", Ask::StatusAndMetrics(name())),
            ("/job/Albert%20tests/stop", Ask::Stop(name())),
            ("/jobs/overview", Ask::Overview),
            ("/jobs/Albert%20tests/exceptions", Ask::Exceptions(name())),
            ("/job/Albert%20tests/exceptions", Ask::Exceptions(name())),
            ("/metainfo/getVersion", Ask::Version),
        ] {
            assert_eq!(of(path), Some(ask.clone()), "{path}");
            assert_eq!(of(&format!("{path}/")), Some(ask), "{path}/");
        }
        for path in ["", "/", "/job/x", "/jobs", "/job/x/status/y", "/jobs/x/status", "/metainfo"] {
            assert_eq!(of(path), None, "{path}");
        }
    }
}
