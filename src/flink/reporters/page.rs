//! Whose reporter wrote a page.

use crate::flink::samples::sanitized;

/// What begins the names of a JobManager's metrics, of its jobs too.
const MASTER_PREFIX: &str = "flink_jobmanager_";
const MANAGER_PREFIX: &str = "flink_taskmanager_";
const MANAGER_LABEL: &str = "tm_id=\"";

/// A process that a page is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reporter {
    /// A JobManager. One that runs its tasks itself is one too.
    Master,
    /// A task manager, with its id in the form that labels have; none where the reporter is told to leave that label out
    /// (`scope.variables.excludes`).
    Manager(Option<String>),
}

/// Whose a page is, or the beginning of one; none if Flink's reporter did not write it.
pub fn reporter(page: &str) -> Option<Reporter> {
    // The last line may have been cut off.
    let (whole, _) = page.rsplit_once('\n')?;
    let mut manager = None;
    for line in whole.lines() {
        if line.starts_with(MASTER_PREFIX) {
            return Some(Reporter::Master);
        }
        if line.starts_with(MANAGER_PREFIX) && !matches!(manager, Some(Reporter::Manager(Some(_)))) {
            manager = Some(Reporter::Manager(manager_id(line)));
        }
    }
    manager
}

fn manager_id(line: &str) -> Option<String> {
    let (_, labels) = line.split_once('{')?;
    let (before, rest) = labels.split_once(MANAGER_LABEL)?;
    if !(before.is_empty() || before.ends_with(',')) {
        return None;
    }
    let (id, _) = rest.split_once('"')?;
    Some(sanitized(id)).filter(|id| !id.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_says_whose_it_is() {
        let manager = |id: &str| Some(Reporter::Manager(Some(id.to_owned())));
        for (page, whose) in [
            ("# TYPE flink_jobmanager_x gauge\nflink_jobmanager_x{host=\"a\",} 1.0\n", Some(Reporter::Master)),
            ("flink_taskmanager_x{host=\"a\",tm_id=\"tm_1\",} 1.0\n", manager("tm_1")),
            // Without the reporter's filter.
            ("flink_taskmanager_x{tm_id=\"10.0.0.7:123-ab\"} 1.0\n", manager("10_0_0_7_123_ab")),
            ("flink_taskmanager_x 1\nflink_taskmanager_y{tm_id=\"a\",} 1\n", manager("a")),
            ("flink_taskmanager_x{host=\"a\",} 1.0\n", Some(Reporter::Manager(None))),
            ("flink_taskmanager_x{other_tm_id=\"a\",} 1.0\n", Some(Reporter::Manager(None))),
            // One process for all.
            ("flink_taskmanager_x{tm_id=\"a\",} 1.0\nflink_jobmanager_x 1\n", Some(Reporter::Master)),
            ("# TYPE flink_jobmanager_x gauge\n", None),
            ("streamgauge_flink_requests_total 1\nnode_load1 2\n", None),
            ("<html>flink_jobmanager_x</html>\n", None),
            // Cut off.
            ("a 1\nflink_taskmanager_x{tm_id=\"tm", None),
            ("", None),
        ] {
            assert_eq!(reporter(page), whose, "{page}");
        }
    }
}
