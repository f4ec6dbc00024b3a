//! Clusters that were followed once and are not any more: nobody hears of them, so they do not answer. Their jobs are stale
//! from then on, and are forgotten like those of a cluster that is gone.

use std::sync::Arc;

use model::Scope;

use crate::app::App;
use crate::jobs::{Cluster, Jobs, JobsError, Observation, Origin, Subject, SubjectKind, Version};

/// Marks them, before any is followed. What cannot be written is tried at the next start.
pub(crate) async fn mark_left(app: &Arc<App>) {
    let state = Arc::clone(app);
    let work = move || {
        let followed = state.config.flink.clusters.iter().map(|cluster| Subject::cluster(&cluster.org, &cluster.name));
        mark(&state.jobs, &followed.collect::<Vec<_>>(), state.clock.now_ms())
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(left)) => {
            left.iter().for_each(|cluster| tracing::warn!(cluster = cluster.id, "a cluster is not followed any more"));
        }
        Ok(Err(error)) => tracing::error!(%error, "clusters that are not followed any more cannot be marked"),
        Err(error) => tracing::error!(%error, "clusters that are not followed any more were not looked for"),
    }
}

fn mark(jobs: &Jobs, followed: &[Subject], now_ms: i64) -> Result<Vec<Subject>, JobsError> {
    let left = jobs.read(|reader| {
        let mut left: Vec<(Subject, Cluster)> = Vec::new();
        for cluster in reader.list(&Scope::default(), SubjectKind::Cluster, i64::MAX)? {
            if cluster.origin == Origin::Flink && !followed.contains(&cluster.subject) {
                let known: Option<Version<Cluster>> = reader.document(&cluster, "", i64::MAX)?;
                let known = known.map(|version| version.document).filter(|known| known.is_reachable);
                left.extend(known.map(|known| (cluster.subject, known)));
            }
        }
        Ok(left)
    })?;
    for (subject, known) in &left {
        let mut seen = Observation::new(subject.clone(), Origin::Flink, now_ms).of_the_present();
        seen.put(&Cluster { is_reachable: false, ..known.clone() })?;
        jobs.record(seen)?;
    }
    Ok(left.into_iter().map(|(subject, _)| subject).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::testing::{OPTIONS, open_with};

    #[test]
    fn a_cluster_that_is_not_followed_any_more_does_not_answer_since_then() {
        let dir = tempfile::tempdir().unwrap();
        let (_catalog, jobs) = open_with(&dir, OPTIONS);
        for (name, is_reachable) in [("followed", true), ("left", true), ("gone", false)] {
            let mut seen = Observation::new(Subject::cluster("", name), Origin::Flink, 1);
            seen.put(&Cluster { is_reachable, version: Some("2.3.0".to_owned()), ..Cluster::default() }).unwrap();
            jobs.record(seen).unwrap();
        }
        let followed = [Subject::cluster("", "followed"), Subject::cluster("other", "left")];
        assert_eq!(mark(&jobs, &followed, 5).unwrap(), [Subject::cluster("", "left")]);
        assert_eq!(mark(&jobs, &followed, 6).unwrap(), [], "once");
        let known = |name: &str| -> Version<Cluster> {
            let found = jobs.read(|reader| {
                let cluster = reader.find(&Scope::default(), SubjectKind::Cluster, name)?.unwrap();
                reader.document(&cluster, "", i64::MAX)
            });
            found.unwrap().unwrap()
        };
        assert_eq!([known("followed").from_ms, known("left").from_ms, known("gone").from_ms], [1, 5, 1]);
        let left = known("left").document;
        assert_eq!((left.is_reachable, left.version.as_deref()), (false, Some("2.3.0")), "it stays what it was");
    }
}
