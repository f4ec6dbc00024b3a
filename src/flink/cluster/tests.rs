use serde_json::json;

use super::*;
use crate::jobs::JobState;

fn cluster(runs: Vec<(String, Run)>) -> FollowedCluster {
    FollowedCluster::new("", "main", Metrics::Scrape, Recalled { runs, ..Recalled::default() })
}

fn jobs(ids: &[&str]) -> Value {
    let job = |id: &&str| json!({"jid": id, "state": "RUNNING", "last-modification": 1, "tasks": {"running": 1}});
    json!({"jobs": ids.iter().map(job).collect::<Vec<_>>()})
}

fn managers(free_slots: i64) -> Value {
    json!({"taskmanagers": [{"id": "tm", "slotsNumber": 2, "freeSlots": free_slots, "hardware": {}}]})
}

fn all(cluster: &mut FollowedCluster) -> Vec<ClusterAsk> {
    cluster.begin();
    std::iter::from_fn(|| cluster.take()).collect()
}

/// How many observations there are to record.
fn told(told: Result<ClusterTold, FollowError>) -> usize {
    told.unwrap().observations.len()
}

#[test]
fn numbers_are_asked_for_where_nobody_scrapes() {
    let names = json!([{"id": "a"}, {"id": "b.c"}]);
    let mut scraped = cluster(Vec::new());
    scraped.answered(&ClusterAsk::MetricNames, names.clone(), 1).unwrap();
    assert!(!all(&mut scraped).iter().any(|ask| matches!(ask, ClusterAsk::Values(_))));
    let mut cluster = FollowedCluster::new("", "main", Metrics::Rest, Recalled::default());
    cluster.answered(&ClusterAsk::TaskManagers, managers(1), 1).unwrap();
    cluster.answered(&ClusterAsk::MetricNames, names.clone(), 1).unwrap();
    cluster.answered(&ClusterAsk::TaskManagerMetricNames, names, 1).unwrap();
    let asks = all(&mut cluster);
    let list = "a,b.c".to_owned();
    let of_manager = ClusterAsk::TaskManagerValues("tm".to_owned(), list.clone());
    assert!(asks.contains(&ClusterAsk::Values(list)) && asks.contains(&of_manager));
    let told = cluster.answered(&of_manager, json!([{"id": "b.c", "value": "2.5"}]), 1).unwrap();
    assert_eq!((told.metrics[0].0.as_deref(), told.metrics[0].1.value), (Some("tm"), 2.5));
}

#[test]
fn what_seldom_changes_is_seldom_asked_for() {
    let mut cluster = cluster(Vec::new());
    assert_eq!(all(&mut cluster).len(), 7);
    let parts = [
        (ClusterAsk::Overview, json!({"flink-version": "2.3.0"})),
        (ClusterAsk::Config, json!({"refresh-interval": 3000})),
        (ClusterAsk::Configuration, json!([{"key": "a", "value": "b"}])),
    ];
    let counts: Vec<usize> = parts.into_iter().map(|(ask, answer)| told(cluster.answered(&ask, answer, 1))).collect();
    assert_eq!(counts, [0, 0, 1], "one document of three answers");
    for _ in 1..CONFIGURATION_ROUNDS {
        assert_eq!(all(&mut cluster), [ClusterAsk::Jobs, ClusterAsk::TaskManagers]);
    }
    assert_eq!(all(&mut cluster).len(), 7);
}

#[test]
fn a_cluster_is_lost_once_and_asked_for_everything_when_it_is_back() {
    let mut cluster = cluster(Vec::new());
    assert!(cluster.lost(1).unwrap().is_some(), "also one that never answered");
    assert!(cluster.lost(2).unwrap().is_none());
    assert!(all(&mut cluster).contains(&ClusterAsk::Config));
    cluster.forget_cluster();
    assert!(cluster.lost(3).unwrap().is_some(), "what could not be recorded is to be recorded again");
}

#[test]
fn a_cluster_that_is_gone_before_this_process_began_stays_what_it_was() {
    let known = Cluster { is_reachable: true, version: Some("2.3.0".to_owned()), ..Cluster::default() };
    let follow = |known: &Cluster| {
        let recalled = Recalled { cluster: Some(known.clone()), ..Recalled::default() };
        FollowedCluster::new("", "main", Metrics::Scrape, recalled)
    };
    let mut cluster = follow(&known);
    assert!(all(&mut cluster).contains(&ClusterAsk::Config), "it may be another by now");
    assert!(cluster.lost(1).unwrap().is_some());
    let lost = Cluster { is_reachable: false, ..known };
    assert_eq!(cluster.known.as_ref(), Some(&lost));
    assert!(follow(&lost).lost(2).unwrap().is_none(), "since when it is lost stays known");
}

#[test]
fn an_empty_list_of_metrics_is_asked_for_some_rounds_more() {
    let mut cluster = cluster(Vec::new());
    let asked = |cluster: &mut FollowedCluster| {
        let is_asked = all(cluster).contains(&ClusterAsk::MetricNames);
        cluster.answered(&ClusterAsk::MetricNames, json!([]), 1).unwrap();
        is_asked
    };
    cluster.known = Some(Cluster { is_reachable: true, ..Cluster::default() });
    cluster.is_recorded = true;
    let rounds: Vec<bool> = (0..6).map(|_| asked(&mut cluster)).collect();
    assert_eq!(rounds, [true, true, true, true, false, false]);
    for _ in 6..=CONFIGURATION_ROUNDS {
        all(&mut cluster);
    }
    cluster.answered(&ClusterAsk::MetricNames, json!([{"id": "a"}]), 1).unwrap();
    assert!(!all(&mut cluster).contains(&ClusterAsk::MetricNames));
}

fn details(state: &str) -> Value {
    json!({
        "name": "n", "state": state, "start-time": 1, "end-time": 9, "timestamps": {}, "vertices": [], "plan": {"nodes": []},
    })
}

fn run(state: &str) -> Run {
    let entry = JobEntry { id: "old".to_owned(), state: JobState::Running, changed_ms: 1, tasks: BTreeMap::new() };
    convert::job(&details(state), &entry).unwrap().run
}

/// A job is followed, and this is what it says of itself.
fn tell(cluster: &mut FollowedCluster, id: &str, state: &str) {
    let job = cluster.job(id).unwrap();
    job.answered(&follow::Ask::Details, &details(state), 1).unwrap();
}

fn followed(cluster: &mut FollowedCluster) -> Vec<String> {
    cluster.jobs().map(|(id, _)| id.clone()).collect()
}

#[test]
fn processes_are_seen_when_the_configuration_is_known_also_if_nothing_can_be_recorded() {
    let mut cluster = cluster(Vec::new());
    let mut listed = managers(1);
    listed["taskmanagers"][0]["path"] = json!("pekko.tcp://flink@h:1/user/rpc/taskmanager_0");
    cluster.answered(&ClusterAsk::TaskManagers, listed, 1).unwrap();
    assert_eq!(cluster.sighting("http://jm"), None);
    for (ask, answer) in [
        (ClusterAsk::Overview, json!({"flink-version": "2.3.0"})),
        (ClusterAsk::Config, json!({})),
        (ClusterAsk::Configuration, json!([{"key": "a", "value": "b"}])),
    ] {
        cluster.answered(&ask, answer, 1).unwrap();
    }
    let path = Some("pekko.tcp://flink@h:1/user/rpc/taskmanager_0".to_owned());
    let seen = Sighting {
        url: "http://jm".to_owned(),
        configuration: vec![("a".to_owned(), "b".to_owned())],
        managers: vec![("tm".to_owned(), path)],
    };
    assert_eq!(cluster.sighting("http://jm"), Some(seen.clone()));
    cluster.forget_cluster();
    assert_eq!(cluster.sighting("http://jm"), Some(seen));
    cluster.lost(2).unwrap();
    assert_eq!(cluster.sighting("http://jm"), None);
}

#[test]
fn jobs_that_are_not_listed_any_more_are_lost_also_those_from_before() {
    let run = run("RUNNING");
    let mut cluster = cluster(vec![("old".to_owned(), run.clone()), ("a".to_owned(), run)]);
    assert_eq!(told(cluster.answered(&ClusterAsk::Jobs, jobs(&["a", "b", "c", "d"]), 5)), 1, "the old one");
    assert_eq!(followed(&mut cluster), ["a", "b", "c", "d"]);
    tell(&mut cluster, "c", "FINISHED");
    let gone = told(cluster.answered(&ClusterAsk::Jobs, jobs(&["b"]), 6));
    assert_eq!(gone, 1, "one had ended, and of one nothing is known");
    assert_eq!(followed(&mut cluster), ["b"]);
    assert_eq!(told(cluster.answered(&ClusterAsk::Jobs, jobs(&["b"]), 7)), 0, "once");
}

#[test]
fn a_loss_that_could_not_be_written_down_is_told_again() {
    let mut cluster = cluster(vec![("old".to_owned(), run("RUNNING"))]);
    for at_ms in [5, 6] {
        assert_eq!(told(cluster.answered(&ClusterAsk::Jobs, jobs(&[]), at_ms)), 1);
        cluster.forget_cluster();
    }
    assert_eq!(told(cluster.answered(&ClusterAsk::Jobs, jobs(&[]), 7)), 1);
    cluster.answered(&ClusterAsk::TaskManagers, managers(1), 7).unwrap();
    cluster.forget_cluster();
    assert_eq!(told(cluster.answered(&ClusterAsk::Jobs, jobs(&[]), 8)), 0, "it was something else");
}

#[test]
fn a_job_that_could_not_be_written_down_is_lost_or_has_ended_all_the_same() {
    let mut cluster = cluster(Vec::new());
    cluster.answered(&ClusterAsk::Jobs, jobs(&["runs", "ended", "there"]), 5).unwrap();
    for (id, state) in [("runs", "RUNNING"), ("ended", "FINISHED"), ("there", "RUNNING")] {
        tell(&mut cluster, id, state);
        cluster.forget(id);
    }
    let told = cluster.answered(&ClusterAsk::Jobs, jobs(&["there"]), 6).unwrap();
    assert_eq!(followed(&mut cluster), ["there"]);
    let texts: Vec<String> = told.observations.iter().map(|seen| format!("{seen:?}")).collect();
    let has = |word: &str| texts.iter().map(|text| text.contains(word)).collect::<Vec<_>>();
    assert_eq!(has("FINISHED"), [true, false], "{texts:?}");
    assert_eq!(has("lost_ms: Some(6)"), [false, true], "{texts:?}");
}

#[test]
fn a_job_whose_entry_cannot_be_read_is_not_lost() {
    let mut cluster = cluster(vec![("old".to_owned(), run("RUNNING"))]);
    cluster.answered(&ClusterAsk::Jobs, jobs(&["old", "a"]), 5).unwrap();
    tell(&mut cluster, "a", "RUNNING");
    let mut list = jobs(&["old", "a"]);
    list["jobs"][1]["state"] = json!("DREAMING");
    let told = cluster.answered(&ClusterAsk::Jobs, list.clone(), 6).unwrap();
    assert_eq!((told.observations.len(), told.unreadable.len()), (0, 1));
    assert_eq!(followed(&mut cluster), ["a", "old"]);
    list["jobs"][1] = json!("whose?");
    list["jobs"][0]["jid"] = json!("new");
    let told = cluster.answered(&ClusterAsk::Jobs, list, 7).unwrap();
    assert_eq!((told.observations.len(), told.unreadable.len()), (0, 1), "it may be any of them");
    assert_eq!(followed(&mut cluster), ["a", "new", "old"]);
    let mut cluster = self::cluster(vec![("old".to_owned(), run("RUNNING"))]);
    cluster.answered(&ClusterAsk::Jobs, json!({"jobs": [{"jid": "old"}]}), 5).unwrap();
    assert_eq!(super::tests::told(cluster.answered(&ClusterAsk::Jobs, jobs(&[]), 6)), 1, "it was there until then");
}

#[test]
fn task_managers_are_looked_at_when_their_slots_change() {
    let mut cluster = cluster(Vec::new());
    let details = ClusterAsk::TaskManager("tm".to_owned());
    assert_eq!(told(cluster.answered(&ClusterAsk::TaskManagers, managers(1), 1)), 1);
    assert_eq!(cluster.take(), Some(details.clone()));
    let mut answer = managers(1)["taskmanagers"][0].clone();
    answer["allocatedSlots"] = json!([{"jobId": "j"}]);
    cluster.answered(&details, answer, 1).unwrap();
    assert_eq!(told(cluster.answered(&ClusterAsk::TaskManagers, managers(1), 2)), 0);
    assert_eq!(cluster.take(), None);
    cluster.answered(&ClusterAsk::TaskManagers, managers(0), 3).unwrap();
    assert_eq!(cluster.take(), Some(details));
    assert_eq!(told(cluster.answered(&ClusterAsk::TaskManagers, json!({"taskmanagers": []}), 4)), 1, "it is gone");
    let recalled = Recalled { task_managers: vec!["before".to_owned()], ..Recalled::default() };
    let mut cluster = FollowedCluster::new("", "main", Metrics::Scrape, recalled);
    let gone = told(cluster.answered(&ClusterAsk::TaskManagers, json!({"taskmanagers": []}), 4));
    assert_eq!(gone, 1, "also one from before");
}
