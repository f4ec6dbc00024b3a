//! Where releases of Flink contradict each other, no answer is right for both: the shape of the page answers as old ones do,
//! that of 2.x as new ones, and both together as the cluster would that is asked about.

use super::answer::Failure;
use super::cluster;
use super::fields::Shape;
use super::view::View;
use crate::jobs::{SubjectKind, cluster_version};

/// The first release that takes a body with fields that nobody asked for (FLINK-35302), and that knows `agg=skew` (FLIP-418).
const TOLERANT_SINCE: (u64, u64) = (1, 20);

/// Major and minor number of a release such as `1.9.3`.
pub(super) fn numbers(version: &str) -> Option<(u64, u64)> {
    let mut parts = version.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

fn is_tolerant(version: &str) -> bool {
    numbers(version).is_none_or(|numbers| numbers >= TOLERANT_SINCE)
}

impl View<'_> {
    /// Whether to answer as releases from 1.20 on, where those before refuse: to a request about a job, or about clusters.
    pub(super) fn is_tolerant(&self, job: Option<&str>) -> Result<bool, Failure> {
        match self.shape {
            Shape::Page => Ok(false),
            Shape::Newer => Ok(true),
            // What comes from no cluster contradicts none.
            Shape::Superset => Ok(self.version(job)?.is_none_or(|version| is_tolerant(&version))),
        }
    }

    /// The release of a job's cluster; without a job, or one that is not known, that of the cluster that is shown first.
    fn version(&self, job: Option<&str>) -> Result<Option<String>, Failure> {
        let find = |id| self.reader.find_hex(&self.scope, SubjectKind::Job, id);
        match job.map(find).transpose()?.flatten() {
            Some(job) => Ok(cluster_version(self.reader, &job, self.at_ms)?),
            None => cluster::version(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_before_1_20_are_strict() {
        let strict = ["1.9.3", "1.19", "0.10.1"];
        let tolerant = ["1.20.0", "1.20-SNAPSHOT", "2.3.0", "<unknown>", "2", ""];
        assert!(strict.iter().all(|version| !is_tolerant(version)));
        assert!(tolerant.iter().all(|version| is_tolerant(version)));
    }
}
