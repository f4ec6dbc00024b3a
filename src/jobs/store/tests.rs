//! The store against a simple model, its limits, and what is there after a restart.

mod implied;

use std::collections::BTreeMap;

use model::{MatchOp, Matcher, Scope, TimeRange};
use proptest::prelude::*;
use storage::RetentionRule;
use tempfile::TempDir;

use super::observation::KEY_BYTES_MAX;
use super::pushed::tests::{PUSHING, registering};
use super::*;
use crate::catalog::{CatalogOptions, NewComponent, Source};
use crate::jobs::{
    Attempt, Checkpoint, CheckpointCounts, CheckpointSizes, CheckpointState, CheckpointStatistics, CheckpointSubtasks,
    CommandKind, JobState, Outcome, Plan, PlanNode, Run, Subtask, Subtasks, TaskState,
};

pub(crate) const OPTIONS: JobOptions = JobOptions {
    jobs_max: 3,
    implied_max: 2,
    documents_max: 4,
    document_bytes_max: 400,
    pending_bytes_max: 1 << 20,
    checkpoints_max: 2,
    attempts_max: 2,
    retention_ms: Some(1000),
    push: PushOptions {
        late_changes_max: 100,
        failures_max: 3,
        commands_max: 3,
        command_timeout_ms: 100,
        command_result_timeout_ms: 1000,
    },
};

pub(crate) fn open_with(dir: &TempDir, options: JobOptions) -> (Catalog, Jobs) {
    let catalog = CatalogOptions {
        components_max: 3,
        bytes_max: 1 << 20,
        rules_max: 2,
        heartbeat_interval_ms: 15_000,
        report_interval_ms: 60_000,
    };
    let catalog = Catalog::open(dir.path(), catalog, Arc::default(), 7).unwrap();
    let jobs = Jobs::new(&catalog, options);
    (catalog, jobs)
}

fn open(dir: &TempDir) -> (Catalog, Jobs) {
    open_with(dir, OPTIONS)
}

fn run(name: &str, started_ms: i64, ended_ms: Option<i64>) -> Run {
    Run {
        ended_ms,
        ..Run::new(name, if ended_ms.is_some() { JobState::Finished } else { JobState::Running }, started_ms)
    }
}

fn plan(node: &str) -> Plan {
    Plan { kind: None, nodes: vec![PlanNode { id: node.to_owned(), ..PlanNode::default() }] }
}

fn checkpoint(id: i64) -> Checkpoint {
    Checkpoint {
        id,
        state: CheckpointState::Completed,
        is_savepoint: false,
        savepoint_format: None,
        kind: None,
        triggered_ms: id,
        latest_ack_ms: id,
        sizes: CheckpointSizes::default(),
        subtasks: 1,
        acknowledged: 1,
        path: None,
        is_discarded: None,
        failure: None,
        tasks: BTreeMap::new(),
    }
}

fn observed(job: &str, at_ms: i64) -> Observation {
    Observation::new(Subject::job("", job), Origin::Push, at_ms)
}

fn record<D: crate::jobs::Document>(jobs: &Jobs, job: &str, at_ms: i64, document: &D) -> Result<Recorded, JobsError> {
    let mut observation = observed(job, at_ms);
    observation.put(document)?;
    jobs.record(observation)
}

fn find(jobs: &Jobs, id: &str) -> Option<Known> {
    jobs.read(|reader| reader.find(&Scope::default(), SubjectKind::Job, id)).unwrap()
}

/// The ids of the plan's nodes at a time.
fn plan_at(jobs: &Jobs, job: &str, at_ms: i64) -> Option<Version<Plan>> {
    let known = find(jobs, job)?;
    jobs.read(|reader| reader.document(&known, "", at_ms)).unwrap()
}

/// What can be done to a document.
#[derive(Debug, Clone)]
enum Step {
    Put(i64, u8),
    Withdraw(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![4 => (0..30_i64, 0..3_u8).prop_map(|(at, content)| Step::Put(at, content)), 1 => (0..30_i64).prop_map(Step::Withdraw)]
}

/// The model: versions by time; what holds already is not put again.
fn apply(model: &mut BTreeMap<i64, Option<u8>>, at: i64, content: Option<u8>) -> bool {
    let holds = model.range(..=at).next_back().and_then(|(_, content)| *content);
    let changes = holds != content;
    if changes {
        model.insert(at, content);
    }
    changes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// In whatever order documents come: at every time that holds which came last before it, and forgetting changes
    /// nothing from the horizon on.
    #[test]
    fn every_time_is_answered_as_by_a_map(steps in proptest::collection::vec(step(), 1..25), horizon in 0..35_i64) {
        let dir = tempfile::tempdir().unwrap();
        let (_catalog, jobs) = open(&dir);
        record(&jobs, "j", 0, &run("n", 0, None)).unwrap();
        let mut model = BTreeMap::new();
        for step in steps {
            let (at_ms, content) = match step {
                Step::Put(at_ms, content) => (at_ms, Some(content)),
                Step::Withdraw(at_ms) => (at_ms, None),
            };
            let mut observation = observed("j", at_ms);
            match content {
                Some(content) => observation.put(&plan(&content.to_string())).unwrap(),
                None => observation.withdraw::<Plan>(""),
            }
            let recorded = jobs.record(observation).unwrap();
            prop_assert_eq!(recorded.changed == 1, apply(&mut model, at_ms, content));
        }
        let expected = |at_ms: i64| {
            let (from_ms, content) = model.range(..=at_ms).next_back()?;
            Some((*from_ms, content.as_ref()?.to_string()))
        };
        let found = |at_ms: i64| plan_at(&jobs, "j", at_ms).map(|v| (v.from_ms, v.document.nodes[0].id.clone()));
        for at_ms in -1..32 {
            prop_assert_eq!(found(at_ms), expected(at_ms), "at {}", at_ms);
        }
        jobs.retain(horizon + 1000).unwrap();
        for at_ms in horizon..32 {
            prop_assert_eq!(found(at_ms), expected(at_ms), "at {} after forgetting", at_ms);
        }
        let known = find(&jobs, "j").unwrap();
        let all = TimeRange { start_ms: i64::MIN, end_ms: i64::MAX };
        let left = jobs.read(|reader| reader.history::<Plan>(&known, "", all, usize::MAX)).unwrap();
        prop_assert!(left.iter().filter(|(from_ms, _)| *from_ms <= horizon).count() <= 1, "{:?}", left);
    }
}

#[test]
fn equal_contents_are_kept_once_and_go_with_the_last_that_points_to_them() {
    let dir = tempfile::tempdir().unwrap();
    let (catalog, jobs) = open(&dir);
    for job in ["a", "b"] {
        record(&jobs, job, 1, &plan("x")).unwrap();
        record(&jobs, job, 2, &plan("y")).unwrap();
        record(&jobs, job, 3, &plan("x")).unwrap();
    }
    let contents = || -> i64 {
        Catalog::reader(catalog.path())
            .unwrap()
            .query_row("SELECT count(*) FROM content", (), |row| row.get(0))
            .unwrap()
    };
    assert_eq!(contents(), 2);
    assert_eq!(jobs.retain(1003).unwrap(), Forgotten { jobs: 0, versions: 4, contents: 1 });
    assert_eq!(contents(), 1);
    assert_eq!(jobs.retain(1003).unwrap(), Forgotten::default());
    assert_eq!(plan_at(&jobs, "a", 3).unwrap().document, plan("x"));
}

#[test]
fn everything_recorded_is_there_without_a_clean_end() {
    let dir = tempfile::tempdir().unwrap();
    let (_catalog, jobs) = open(&dir);
    let mut observation = observed("j", 5).in_cluster("c");
    observation.put(&run("n", 1, Some(4))).unwrap();
    let outcome = Outcome {
        status: "SUCCEEDED".to_owned(),
        runtime_ms: 3,
        accumulator_results: BTreeMap::new(),
        failure_class: None,
        failure_stack_trace: None,
        failure_serialized: None,
    };
    observation.put(&outcome).unwrap();
    assert_eq!(jobs.record(observation).unwrap(), Recorded { changed: 2, unchanged: 0 });
    // A killed process leaves its files as they are at that moment.
    let copy = tempfile::tempdir().unwrap();
    for suffix in ["", "-wal"] {
        let name = format!("catalog.db{suffix}");
        std::fs::copy(dir.path().join(&name), copy.path().join(&name)).unwrap();
    }
    let (_catalog, again) = open(&copy);
    let known = find(&again, "j").unwrap();
    assert_eq!((known.cluster.as_deref(), known.started_ms, known.ended_ms), (Some("c"), Some(1), Some(4)));
    let found = again.read(|reader| reader.document::<Outcome>(&known, "", 5)).unwrap().unwrap();
    assert_eq!(found, Version { from_ms: 5, document: outcome });
}

#[test]
fn runs_of_one_name_belong_together_and_organizations_do_not_see_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let (_catalog, jobs) = open(&dir);
    record(&jobs, "first", 1, &run("etl", 1, Some(5))).unwrap();
    record(&jobs, "second", 6, &run("etl", 6, None)).unwrap();
    let mut foreign = Observation::new(Subject::job("other", "first"), Origin::Push, 7);
    foreign.put(&run("etl", 7, None)).unwrap();
    jobs.record(foreign).unwrap();
    let ours = Scope::confined(Matcher::equal("org", ""));
    let theirs = Scope::confined(Matcher::equal("org", "other"));
    let seen = |scope: &Scope| jobs.read(|reader| reader.runs(scope, 10)).unwrap();
    assert_eq!(seen(&ours).iter().map(|(job, _)| job.subject.id.as_str()).collect::<Vec<_>>(), ["first", "second"]);
    assert_eq!(seen(&theirs).len(), 1);
    assert_eq!(seen(&Scope::default()).len(), 3);
    let early = jobs.read(|reader| reader.runs(&ours, 5)).unwrap();
    assert_eq!(early.len(), 1, "the second was not there yet");
    let pipeline = find(&jobs, "second").unwrap().pipeline_id.unwrap();
    let runs = jobs.read(|reader| reader.of_pipeline(&Scope::default(), &pipeline)).unwrap();
    assert_eq!(runs.iter().map(|job| job.subject.id.as_str()).collect::<Vec<_>>(), ["second", "first"]);
    let newest = |at_ms| jobs.read(|reader| reader.newest_of(&ours, "etl", at_ms)).unwrap().map(|job| job.subject.id);
    assert_eq!([newest(0), newest(5), newest(6)], [None, Some("first".to_owned()), Some("second".to_owned())]);
    let theirs = jobs.read(|reader| reader.find(&theirs, SubjectKind::Job, "second")).unwrap();
    assert_eq!(theirs, None);
}

/// Who sees all must not be shown, and control, what somebody else pushed under the id of a cluster's job.
#[test]
fn a_job_of_a_cluster_is_found_before_one_that_was_pushed_under_its_id() {
    const ID: &str = "0d890d9d32ccfa02b7eab50fa0435103";
    let dir = tempfile::tempdir().unwrap();
    let (_catalog, jobs) = open(&dir);
    for (org, origin) in [("apple", Origin::Push), ("berry", Origin::Push), ("zebra", Origin::Flink)] {
        let mut seen = Observation::new(Subject::job(org, ID), origin, 1);
        seen.put(&run("etl", 1, None)).unwrap();
        jobs.record(seen).unwrap();
    }
    let orgs = |scope: &Scope| {
        let by_id = jobs.read(|reader| reader.find(scope, SubjectKind::Job, ID)).unwrap();
        let by_hex = jobs.read(|reader| reader.find_hex(scope, SubjectKind::Job, ID)).unwrap();
        [by_id, by_hex].map(|known| known.map(|known| known.subject.org).unwrap_or_default())
    };
    assert_eq!(orgs(&Scope::default()), ["zebra", "zebra"]);
    let pushed = Scope::confined(Matcher::new("org", MatchOp::Regex, "apple|berry").unwrap());
    assert_eq!(orgs(&pushed), ["apple", "apple"], "else the first by name");
    assert_eq!(orgs(&Scope::confined(Matcher::equal("org", "berry"))), ["berry", "berry"]);
}

#[test]
fn a_job_is_found_by_what_its_engine_calls_it_now() {
    let dir = tempfile::tempdir().unwrap();
    let (_catalog, jobs) = open(&dir);
    let named =
        |engine_id: &str, started_ms| Run { engine_id: Some(engine_id.to_owned()), ..run("n", started_ms, None) };
    record(&jobs, "first", 1, &named("job_1", 1)).unwrap();
    record(&jobs, "second", 5, &named("job_1", 5)).unwrap();
    record(&jobs, "third", 6, &named("job_2", 6)).unwrap();
    let found = |scope: &Scope, id: &str| jobs.read(|reader| reader.find_engine_id(scope, id)).unwrap();
    let all = Scope::default();
    let id = |known: Option<Known>| known.map(|job| job.subject.id);
    assert_eq!(id(found(&all, "job_1")).as_deref(), Some("second"), "the newest");
    record(&jobs, "second", 7, &named("job_3", 5)).unwrap();
    assert_eq!(id(found(&all, "job_1")).as_deref(), Some("first"), "it is called otherwise now");
    for nobody in ["job_4", "", "%", "n"] {
        assert_eq!(id(found(&all, nobody)), None, "{nobody:?}");
    }
    let theirs = Scope::confined(Matcher::equal("org", "other"));
    assert_eq!(id(found(&theirs, "job_2")), None);
}

#[test]
fn an_older_run_told_late_does_not_change_what_the_job_is_now() {
    let dir = tempfile::tempdir().unwrap();
    let (_catalog, jobs) = open(&dir);
    record(&jobs, "j", 10, &run("new", 1, Some(9))).unwrap();
    record(&jobs, "j", 5, &run("old", 1, None)).unwrap();
    let known = find(&jobs, "j").unwrap();
    assert_eq!((known.first_ms, known.ended_ms), (5, Some(9)));
    let name = |at_ms| {
        let version = jobs.read(|reader| reader.document::<Run>(&known, "", at_ms)).unwrap();
        version.map(|version| version.document.name)
    };
    assert_eq!([name(4), name(5), name(10)], [None, Some("old".to_owned()), Some("new".to_owned())]);
}

#[test]
fn an_attempt_that_a_newer_one_replaces_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (_catalog, jobs) = open(&dir);
    let subtask = Subtask::new;
    let subtasks = |list: [Subtask; 2]| Subtasks { vertex: "v".to_owned(), subtasks: list.into() };
    let before = subtasks([subtask(0, 0, TaskState::Failed), subtask(1, 0, TaskState::Running)]);
    record(&jobs, "j", 1, &before).unwrap();
    record(&jobs, "j", 2, &subtasks([subtask(0, 1, TaskState::Running), subtask(1, 0, TaskState::Running)])).unwrap();
    let known = find(&jobs, "j").unwrap();
    let attempts = jobs.read(|reader| reader.documents::<crate::jobs::Attempt>(&known, 2)).unwrap();
    let attempts: Vec<_> = attempts.into_iter().map(|version| version.document.subtask).collect();
    assert_eq!(attempts, [subtask(0, 0, TaskState::Failed)]);
}

#[test]
fn a_document_that_cannot_be_read_is_an_error_with_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let (catalog, jobs) = open(&dir);
    record(&jobs, "j", 1, &plan("x")).unwrap();
    let damage = |c: &Connection| -> Result<(), JobsError> {
        c.execute("UPDATE content SET body = '{\"nodes\":3}'", ())?;
        Ok(())
    };
    catalog.writer().write(damage, |()| ()).unwrap();
    let known = find(&jobs, "j").unwrap();
    let error = jobs.read(|reader| reader.document::<Plan>(&known, "", 1)).unwrap_err();
    assert!(error.to_string().starts_with("the document plan \"\" of j cannot be read"), "{error}");
}

#[test]
fn a_run_that_cannot_be_read_does_not_hide_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let (catalog, jobs) = open(&dir);
    record(&jobs, "j", 1, &run("damaged", 1, None)).unwrap();
    record(&jobs, "k", 1, &run("sound", 1, None)).unwrap();
    let damage = |c: &Connection| -> Result<usize, JobsError> {
        Ok(c.execute("UPDATE content SET body = '3' WHERE body LIKE '%damaged%'", ())?)
    };
    assert_eq!(catalog.writer().write(damage, |_| ()).unwrap(), 1);
    let runs = jobs.read(|reader| reader.runs(&Scope::default(), 1)).unwrap();
    assert_eq!(runs.iter().map(|(job, _)| job.subject.id.as_str()).collect::<Vec<_>>(), ["k"]);
}

#[test]
fn above_the_limit_the_job_that_ended_first_goes_and_running_ones_stay() {
    let dir = tempfile::tempdir().unwrap();
    let (_catalog, jobs) = open(&dir);
    record(&jobs, "late", 1, &run("n", 1, Some(9))).unwrap();
    record(&jobs, "early", 2, &run("n", 1, Some(5))).unwrap();
    record(&jobs, "running", 3, &run("n", 1, None)).unwrap();
    record(&jobs, "fourth", 4, &run("n", 1, None)).unwrap();
    assert!(find(&jobs, "early").is_none() && find(&jobs, "late").is_some());
    record(&jobs, "fifth", 5, &run("n", 1, None)).unwrap();
    let error = record(&jobs, "sixth", 6, &run("n", 1, None)).unwrap_err();
    assert!(matches!(error, JobsError::TooManyJobs { limit: 3 }), "{error}");
    record(&jobs, "fifth", 7, &run("n", 1, Some(7))).unwrap();
    record(&jobs, "sixth", 8, &run("n", 1, None)).unwrap();
    let mut cluster = Observation::new(Subject::cluster("", "c"), Origin::Flink, 9);
    cluster.put(&crate::jobs::Cluster::default()).unwrap();
    jobs.record(cluster).unwrap();
}

#[test]
fn limits_hold_at_n_and_n_plus_1() {
    let dir = tempfile::tempdir().unwrap();
    let (_catalog, jobs) = open(&dir);
    let bytes = |name: &str| serde_json::to_string(&run(name, 1, None)).unwrap().len();
    let fits = "n".repeat(400 - bytes(""));
    assert_eq!(bytes(&fits), 400);
    record(&jobs, "j", 1, &run(&fits, 1, None)).unwrap();
    let error = record(&jobs, "j", 1, &run(&format!("{fits}n"), 1, None)).unwrap_err();
    assert!(matches!(error, JobsError::DocumentTooLarge { kind: "run", bytes: 401, limit: 400 }), "{error}");

    let several = |count: i64| {
        let mut observation = observed("j", 1);
        (0..count).for_each(|id| observation.put(&checkpoint(id)).unwrap());
        jobs.record(observation)
    };
    assert_eq!(several(4).unwrap().changed, 4);
    assert!(matches!(several(5).unwrap_err(), JobsError::TooManyDocuments { found: 5, limit: 4 }));

    let named = |bytes: usize| {
        let parts = CheckpointSubtasks { checkpoint: 1, vertex: "v".repeat(bytes - 20), subtasks: Vec::new() };
        let mut observation = observed("j", 1);
        observation.withdraw::<CheckpointSubtasks>(crate::jobs::Document::key(&parts));
        jobs.record(observation)
    };
    named(600).unwrap();
    assert!(matches!(named(601).unwrap_err(), JobsError::NameTooLong { bytes: 601, limit: 600, .. }));

    let id = "i".repeat(255);
    record(&jobs, &id, 1, &plan("x")).unwrap();
    let error = record(&jobs, &format!("{id}i"), 1, &plan("x")).unwrap_err();
    assert!(matches!(error, JobsError::NameTooLong { bytes: 256, limit: 255, .. }), "{error}");
}

#[test]
fn of_what_is_too_much_the_rest_is_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let (_catalog, jobs) = open(&dir);
    record(&jobs, "j", 1, &plan("small")).unwrap();
    let mut observation = observed("j", 2);
    observation.put(&run("n", 1, None)).unwrap();
    observation.put(&plan(&"x".repeat(400))).unwrap();
    let name = "v".repeat(KEY_BYTES_MAX + 1);
    observation.put(&Subtasks { vertex: name, subtasks: Vec::new() }).unwrap();
    (0..4).for_each(|id| observation.put(&checkpoint(id)).unwrap());
    let refused = jobs.record(observation.clone()).unwrap_err();
    assert!(matches!(refused, JobsError::TooManyDocuments { found: 7, limit: 4 }), "{refused}");
    let (recorded, left_out) = jobs.record_what_fits(observation.clone()).unwrap();
    assert_eq!((recorded, left_out.len()), (Recorded { changed: 6, unchanged: 0 }, 2));
    assert!(matches!(left_out[0], JobsError::DocumentTooLarge { kind: "plan", limit: 400, .. }), "{left_out:?}");
    assert!(matches!(left_out[1], JobsError::NameTooLong { limit: KEY_BYTES_MAX, .. }), "{left_out:?}");
    assert!(plan_at(&jobs, "j", 1).is_some() && plan_at(&jobs, "j", 2).is_none(), "what was so before is not so now");
    let known = find(&jobs, "j").unwrap();
    let checkpoints = jobs.read(|reader| reader.documents::<Checkpoint>(&known, 2)).unwrap();
    assert_eq!((checkpoints.len(), known.started_ms), (4, Some(1)));
    assert_eq!(jobs.record_what_fits(observation).unwrap().0, Recorded { changed: 0, unchanged: 6 });
}

#[test]
fn parts_have_as_many_documents_and_bytes_as_may_be_and_no_more() {
    let mut observation = observed("j", 1);
    (0..5).for_each(|id| observation.put(&checkpoint(id)).unwrap());
    let sizes = |documents, bytes| -> Vec<usize> {
        observation.clone().parts(documents, bytes).iter().map(|part| part.entries.len()).collect()
    };
    let one = observation.bytes() / 5;
    assert_eq!(sizes(5, u64::MAX), [5]);
    assert_eq!(sizes(4, u64::MAX), [4, 1]);
    assert_eq!(sizes(9, 2 * one), [2, 2, 1]);
    assert_eq!(sizes(9, 2 * one - 1), [1; 5]);
    assert_eq!(sizes(9, one - 1), [1; 5], "one that is too large is refused where it is recorded");
    assert!(observed("j", 1).parts(1, 1).is_empty());
}

/// The clock was an hour ahead, and was put right.
#[test]
fn what_is_so_now_is_not_hidden_by_what_a_clock_that_was_ahead_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let (_catalog, jobs) = open(&dir);
    let now = |at_ms, run: &Run, node: &str| {
        let mut observation = observed("j", at_ms).of_the_present();
        observation.put(run).unwrap();
        observation.put(&plan(node)).unwrap();
        jobs.record(observation).unwrap()
    };
    now(3600, &run("n", 1, None), "x");
    now(10, &run("n", 1, Some(9)), "y");
    let known = find(&jobs, "j").unwrap();
    assert_eq!((known.first_ms, known.ended_ms), (10, Some(9)));
    let newest: Option<Version<Run>> = jobs.read(|reader| reader.document(&known, "", i64::MAX)).unwrap();
    assert_eq!(newest.unwrap().document.state, JobState::Finished);
    assert_eq!(plan_at(&jobs, "j", i64::MAX).unwrap().document, plan("y"));
    assert_eq!(now(20, &run("n", 1, Some(9)), "y"), Recorded { changed: 0, unchanged: 2 });
    now(4000, &run("n", 1, Some(9)), "z");
    assert_eq!(plan_at(&jobs, "j", 3999).unwrap().document, plan("y"), "the clock is there again");
}

#[test]
fn what_waits_for_the_disk_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let mut observation = observed("j", 1);
    observation.put(&plan("x")).unwrap();
    let bytes = observation.bytes();
    let (_catalog, exact) = open_with(&dir, JobOptions { pending_bytes_max: bytes, ..OPTIONS });
    exact.record(observation.clone()).unwrap();
    exact.record(observation.clone()).unwrap();
    assert_eq!(exact.pending_bytes(), 0, "given back");
    drop((_catalog, exact));
    let (_catalog, small) = open_with(&dir, JobOptions { pending_bytes_max: bytes - 1, ..OPTIONS });
    assert!(matches!(small.record(observation).unwrap_err(), JobsError::Overloaded { .. }));
}

#[test]
fn old_jobs_and_old_checkpoints_are_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let (_catalog, jobs) = open(&dir);
    record(&jobs, "old", 1, &run("a", 1, Some(99))).unwrap();
    record(&jobs, "kept", 1, &run("b", 1, Some(100))).unwrap();
    for id in [9, 10, 11] {
        record(&jobs, "kept", 1, &checkpoint(id)).unwrap();
        let parts = CheckpointSubtasks { checkpoint: id, vertex: "v".to_owned(), subtasks: Vec::new() };
        record(&jobs, "kept", 1, &parts).unwrap();
    }
    let forgotten = jobs.retain(1100).unwrap();
    assert_eq!((forgotten.jobs, forgotten.versions), (1, 2), "checkpoint 9 and its parts");
    assert!(find(&jobs, "old").is_none());
    let known = find(&jobs, "kept").unwrap();
    let left = jobs.read(|reader| reader.documents::<Checkpoint>(&known, i64::MAX)).unwrap();
    assert_eq!(left.iter().map(|version| version.document.id).collect::<Vec<_>>(), [10, 11]);
    let parts = jobs.read(|reader| reader.documents::<CheckpointSubtasks>(&known, i64::MAX)).unwrap();
    assert_eq!(parts.iter().map(|version| version.document.checkpoint).collect::<Vec<_>>(), [10, 11]);
    let elsewhere = tempfile::tempdir().unwrap();
    let (_elsewhere, for_ever) = open_with(&elsewhere, JobOptions { retention_ms: None, ..OPTIONS });
    record(&for_ever, "old", 1, &run("a", 1, Some(2))).unwrap();
    assert_eq!(for_ever.retain(i64::MAX).unwrap(), Forgotten::default());
}

/// What was lost is as over as what has ended.
#[test]
fn a_lost_job_makes_room_and_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let (_catalog, jobs) = open(&dir);
    record(&jobs, "lost", 1, &Run { lost_ms: Some(50), ..run("n", 1, None) }).unwrap();
    record(&jobs, "back", 1, &Run { lost_ms: Some(50), ..run("n", 1, None) }).unwrap();
    record(&jobs, "back", 60, &run("n", 1, None)).unwrap();
    assert_eq!(jobs.retain(1060).unwrap().jobs, 1);
    assert!(find(&jobs, "lost").is_none() && find(&jobs, "back").is_some());
}

#[test]
fn jobs_of_a_cluster_that_is_gone_are_forgotten_like_ended_ones() {
    let dir = tempfile::tempdir().unwrap();
    let (_catalog, jobs) = open(&dir);
    let mut running = observed("running", 1).in_cluster("gone");
    running.put(&run("n", 1, None)).unwrap();
    jobs.record(running).unwrap();
    record(&jobs, "elsewhere", 1, &run("n", 1, None)).unwrap();
    let contact = |at_ms, is_reachable| {
        let mut cluster = Observation::new(Subject::cluster("", "gone"), Origin::Flink, at_ms);
        cluster.put(&crate::jobs::Cluster { is_reachable, ..crate::jobs::Cluster::default() }).unwrap();
        jobs.record(cluster).unwrap();
    };
    contact(1, true);
    assert_eq!(jobs.retain(5000).unwrap().jobs, 0, "it answers");
    contact(10, false);
    assert_eq!(jobs.retain(1010).unwrap().jobs, 0, "it was there until the horizon");
    assert_eq!(jobs.retain(1011).unwrap().jobs, 1);
    assert!(find(&jobs, "running").is_none() && find(&jobs, "elsewhere").is_some());
}

#[test]
fn what_changes_with_every_checkpoint_is_thinned_after_a_day() {
    const HOUR_MS: i64 = 3_600_000;
    let dir = tempfile::tempdir().unwrap();
    let (_catalog, jobs) = open_with(&dir, JobOptions { checkpoints_max: 20, retention_ms: None, ..OPTIONS });
    let statistics = |total| CheckpointStatistics {
        counts: CheckpointCounts { total, ..CheckpointCounts::default() },
        ..CheckpointStatistics::default()
    };
    let times = [0, 10, HOUR_MS - 1, HOUR_MS, HOUR_MS + 5];
    for (total, at_ms) in (0..).zip(times) {
        record(&jobs, "j", at_ms, &statistics(total)).unwrap();
        record(&jobs, "j", at_ms, &Checkpoint { acknowledged: total, ..checkpoint(7) }).unwrap();
    }
    let known = find(&jobs, "j").unwrap();
    let all = TimeRange { start_ms: i64::MIN, end_ms: i64::MAX };
    let left = || {
        jobs.read(|reader| {
            let statistics = reader.history::<CheckpointStatistics>(&known, "", all, usize::MAX)?;
            let key = crate::jobs::checkpoint_key(7);
            let checkpoints = reader.history::<Checkpoint>(&known, &key, all, usize::MAX)?;
            let statistics: Vec<i64> = statistics.iter().map(|(from_ms, _)| *from_ms).collect();
            let checkpoints: Vec<i64> = checkpoints.iter().map(|(from_ms, _)| *from_ms).collect();
            Ok((statistics, checkpoints))
        })
        .unwrap()
    };
    jobs.retain(86_400_000).unwrap();
    assert_eq!(left(), (times.to_vec(), times.to_vec()), "nothing is older than a day");
    jobs.retain(86_400_000 + HOUR_MS + 6).unwrap();
    assert_eq!(left(), (vec![HOUR_MS - 1, HOUR_MS + 5], vec![0, HOUR_MS + 5]));
}

fn attempt(vertex: &str, index: u64, attempt: u64) -> Attempt {
    Attempt { vertex: vertex.to_owned(), subtask: Subtask::new(index, attempt, TaskState::Failed) }
}

/// Ids of vertices may end with digits and slashes, and ten comes after nine.
#[test]
fn as_many_attempts_of_each_subtask_are_kept_as_may_be_the_newest() {
    let dir = tempfile::tempdir().unwrap();
    let (_catalog, jobs) = open_with(&dir, JobOptions { retention_ms: None, ..OPTIONS });
    for (vertex, index, numbers) in [("v", 0, 8..12), ("v", 1, 0..2), ("v/0", 0, 7..10)] {
        for number in numbers {
            record(&jobs, "j", 1, &attempt(vertex, index, number)).unwrap();
        }
    }
    assert_eq!(jobs.retain(5).unwrap().versions, 3);
    let known = find(&jobs, "j").unwrap();
    let left = jobs.read(|reader| reader.documents::<Attempt>(&known, 1)).unwrap();
    let mut left: Vec<(String, u64, u64)> = left
        .into_iter()
        .map(|one| (one.document.vertex, one.document.subtask.index, one.document.subtask.attempt))
        .collect();
    left.sort();
    let expected = [("v", 0, 10), ("v", 0, 11), ("v", 1, 0), ("v", 1, 1), ("v/0", 0, 8), ("v/0", 0, 9)];
    assert_eq!(left, expected.map(|(vertex, index, number)| (vertex.to_owned(), index, number)));
}

#[test]
fn of_an_hour_in_which_a_document_changed_all_the_time_its_end_is_kept_after_a_day() {
    const HOUR: i64 = 3_600_000;
    let dir = tempfile::tempdir().unwrap();
    let (_catalog, jobs) = open_with(&dir, JobOptions { retention_ms: None, ..OPTIONS });
    let change = |from_ms: i64, count: i64| {
        for at_ms in from_ms..from_ms + count {
            record(&jobs, "j", at_ms, &plan(&at_ms.to_string())).unwrap();
        }
    };
    change(0, 30);
    change(HOUR, 31);
    change(30 * HOUR, 31);
    assert_eq!(jobs.retain(25 * HOUR).unwrap().versions, 0, "not a day old");
    assert_eq!(jobs.retain(40 * HOUR).unwrap().versions, 30, "of one of three hours");
    let known = find(&jobs, "j").unwrap();
    let at = |at_ms| plan_at(&jobs, "j", at_ms).unwrap().document;
    assert_eq!(at(HOUR + 29), plan("29"), "up to an hour old");
    assert_eq!([at(5), at(HOUR + 30)], [plan("5"), plan(&(HOUR + 30).to_string())]);
    let all = TimeRange { start_ms: i64::MIN, end_ms: i64::MAX };
    let history = jobs.read(|reader| reader.history::<Plan>(&known, "", all, 1000)).unwrap();
    assert_eq!(history.len(), 30 + 1 + 31);
}

#[test]
fn parts_of_subtasks_are_kept_of_the_newest_checkpoints() {
    let dir = tempfile::tempdir().unwrap();
    let (_catalog, jobs) = open_with(&dir, JobOptions { checkpoints_max: 20, retention_ms: None, ..OPTIONS });
    for id in 1..=11 {
        record(&jobs, "j", 1, &checkpoint(id)).unwrap();
        let parts = CheckpointSubtasks { checkpoint: id, vertex: "v".to_owned(), subtasks: Vec::new() };
        record(&jobs, "j", 1, &parts).unwrap();
    }
    assert_eq!(jobs.retain(2).unwrap().versions, 1);
    let known = find(&jobs, "j").unwrap();
    let parts = jobs.read(|reader| reader.documents::<CheckpointSubtasks>(&known, i64::MAX)).unwrap();
    assert_eq!(
        parts.iter().map(|version| version.document.checkpoint).collect::<Vec<_>>(),
        (2..=11).collect::<Vec<_>>()
    );
    let whole = jobs.read(|reader| reader.documents::<Checkpoint>(&known, i64::MAX)).unwrap();
    assert_eq!(whole.len(), 11);
}

/// A view that reads several documents sees them as they were together.
#[test]
fn a_read_does_not_see_what_is_committed_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let (_catalog, jobs) = open(&dir);
    record(&jobs, "j", 1, &plan("x")).unwrap();
    jobs.read(|reader| {
        let known = reader.find(&Scope::default(), SubjectKind::Job, "j")?.unwrap();
        record(&jobs, "j", 2, &plan("y")).unwrap();
        let seen = reader.document::<Plan>(&known, "", 2)?.unwrap();
        assert_eq!(seen.document, plan("x"));
        Ok(())
    })
    .unwrap();
    assert_eq!(plan_at(&jobs, "j", 2).unwrap().document, plan("y"));
}

#[test]
fn a_document_that_is_not_what_was_written_is_found_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalog.db");
    let (catalog, jobs) = open(&dir);
    record(&jobs, "a", 100, &run("etl", 100, None)).unwrap();
    record(&jobs, "a", 200, &plan("x")).unwrap();
    assert_eq!(verify::check(&path), Vec::<String>::new(), "also beside a server");
    drop((jobs, catalog));
    let file = Connection::open(&path).unwrap();
    let changed = file.execute("UPDATE content SET body = replace(body, '\"etl\"', '\"elt\"')", ()).unwrap();
    assert!(changed > 1);
    drop(file);
    assert_eq!(verify::check(&path), ["the document run \"\" of the job a is not what was written"]);
    std::fs::write(&path, "no database").unwrap();
    assert_eq!(verify::check(&path).len(), 1);
}

/// The file was written before there were jobs.
#[test]
fn a_file_without_documents_is_sound() {
    assert_eq!(verify::check(format!("{FIXTURES}2/catalog.db").as_ref()), Vec::<String>::new());
}

/// A copy of the file that the release with this version of the schema wrote, opened.
fn fixture(version: u32) -> (TempDir, Catalog, Jobs) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(format!("{FIXTURES}{version}/catalog.db"), dir.path().join("catalog.db")).unwrap();
    let (catalog, jobs) = open_with(&dir, PUSHING);
    (dir, catalog, jobs)
}

/// What [`write_fixture`] wrote of a job and a rule.
fn holds_what_was_written(catalog: &Catalog, jobs: &Jobs) {
    assert_eq!(catalog.rules(), [RetentionRule::at_least(vec![Matcher::equal("job", "a")], 5)]);
    let known = find(jobs, "a").unwrap();
    assert_eq!((known.subject.id.as_str(), known.started_ms), ("a", Some(100)));
    assert_eq!(plan_at(jobs, "a", 150).unwrap(), Version { from_ms: 100, document: plan("x") });
    assert_eq!(plan_at(jobs, "a", 250).unwrap(), Version { from_ms: 200, document: plan("y") });
    let kept: Version<Run> = jobs.read(|reader| reader.document(&known, "", 150)).unwrap().unwrap();
    assert_eq!(kept.document, run("etl", 100, None));
}

/// The file was written by the first release that keeps jobs; every later one reads it.
#[test]
fn version_3_is_read() {
    let (_dir, catalog, jobs) = fixture(3);
    assert_eq!(catalog.components().len(), 1);
    assert_eq!(catalog.find("", "w", Some("worker_pool")).unwrap().runtime_id, 1);
    holds_what_was_written(&catalog, &jobs);
}

/// The first in which components belong to organizations.
#[test]
fn version_4_is_read() {
    let (_dir, catalog, jobs) = fixture(4);
    let id = |org: &str| catalog.find(org, "w", Some("worker_pool")).map(|component| component.runtime_id);
    assert_eq!((id(""), id("o"), id("p")), (Some(1), Some(2), None));
    holds_what_was_written(&catalog, &jobs);
}

/// The first with jobs that engines push.
#[test]
fn version_5_is_read() {
    let (_dir, catalog, jobs) = fixture(5);
    holds_what_was_written(&catalog, &jobs);
    let known = find(&jobs, "p").unwrap();
    let (run, commands) = jobs
        .read(|reader| Ok((reader.document::<Run>(&known, "", i64::MAX)?.unwrap(), reader.commands(&known)?)))
        .unwrap();
    assert_eq!(
        (run.document.state, &run.document.state_times),
        (JobState::Running, &[(JobState::Created, 300), (JobState::Running, 310)].into())
    );
    let [command] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!((command.id.as_str(), command.kind, command.created_ms), ("c", CommandKind::Savepoint, 320));
    let agents = jobs.agents().unwrap();
    assert_eq!((agents.len(), agents[0].terms.commands.len(), agents[0].heard_ms), (1, 3, 300));
    // Claims are there: what is told late falls into its place.
    let late = Push { state: Some(JobState::Restarting), ..Push::new(Subject::job("", "p"), 305, 400) };
    jobs.push(late).unwrap();
    let then: Version<Run> = jobs.read(|reader| reader.document(&known, "", 307)).unwrap().unwrap();
    assert_eq!(then.document.state, JobState::Restarting);
}

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/catalog_v");

/// Writes the fixture of the newest version; run by hand, once for each.
#[test]
#[ignore = "writes a fixture"]
fn write_fixture() {
    let dir = tempfile::tempdir().unwrap();
    let (catalog, jobs) = open_with(&dir, PUSHING);
    for org in ["", "o"] {
        let (org, name, kind) = (org.to_owned(), "w".to_owned(), "worker_pool".to_owned());
        catalog.register(NewComponent { org, name, kind, ..NewComponent::default() }, Source::Call, 5).unwrap();
    }
    catalog.set_rule(RetentionRule::at_least(vec![Matcher::equal("job", "a")], 5), 5).unwrap();
    record(&jobs, "a", 100, &run("etl", 100, None)).unwrap();
    record(&jobs, "a", 100, &plan("x")).unwrap();
    record(&jobs, "a", 200, &plan("y")).unwrap();
    jobs.push(registering("p", 300)).unwrap();
    let job = Subject::job("", "p");
    jobs.push(Push { state: Some(JobState::Running), ..Push::new(job.clone(), 310, 310) }).unwrap();
    let (kind, parameters) = (CommandKind::Savepoint, Default::default());
    jobs.order_command(CommandOrder { job, kind, parameters, id: Some("c".to_owned()), now_ms: 320 }).unwrap();
    drop((jobs, catalog));
    let to = format!("{FIXTURES}5");
    std::fs::create_dir_all(&to).unwrap();
    std::fs::copy(dir.path().join("catalog.db"), format!("{to}/catalog.db")).unwrap();
}
