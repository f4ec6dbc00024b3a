//! Which labels name a job, its operators and their subtasks: one rule for each family of metrics.

use model::{Labels, METRIC_NAME, MatchOp, Matcher};

use super::sighting::JobKey;
use crate::ingest::ORG;

/// Metrics of no engine with a rule of its own. Our own tell of jobs that are known.
const OTHER: &str = "(flink|arroyo_worker|conveyor_router|streamgauge)_.*";

/// How a family of metrics names what its series are of. Of several labels for one thing the first that is there counts.
#[derive(Debug, Clone, Copy)]
struct Convention {
    /// Which metrics.
    names: (MatchOp, &'static str),
    /// The id of the job.
    job: &'static str,
    /// A label that its series do not have: with it they are another's.
    without: Option<&'static str>,
    job_name: &'static [&'static str],
    operator: &'static [&'static str],
    operator_name: &'static [&'static str],
    subtask: &'static [&'static str],
    attempt: &'static [&'static str],
    task_manager: &'static [&'static str],
    host: &'static [&'static str],
}

/// What all have in common that say little.
const PLAIN: Convention = Convention {
    names: (MatchOp::NotRegex, OTHER),
    job: "job_id",
    without: None,
    job_name: &["job_name", "pipeline_name", "pipeline_id"],
    operator: &["operator_id"],
    operator_name: &["operator_name"],
    subtask: &["subtask_index", "subtask_idx"],
    attempt: &[],
    task_manager: &[],
    host: &[],
};

const CONVENTIONS: [Convention; 5] = [
    // Flink's reporters. What they call an operator is part of a task, and a task is what the API calls a vertex.
    Convention {
        names: (MatchOp::Regex, "flink_.*"),
        job_name: &["job_name"],
        operator: &["task_id"],
        operator_name: &["task_name"],
        attempt: &["task_attempt_num"],
        task_manager: &["tm_id"],
        host: &["host"],
        ..PLAIN
    },
    // Arroyo's workers; `operator_id` is what `node_id` was called before.
    Convention {
        names: (MatchOp::Regex, "arroyo_worker_.*"),
        operator: &["node_id", "operator_id"],
        subtask: &["subtask_idx", "subtask_index"],
        ..PLAIN
    },
    // Conveyor's routers: a pipeline has no runs and its stages no subtasks.
    Convention {
        names: (MatchOp::Regex, "conveyor_router_.*"),
        job: "pipeline_id",
        job_name: &["pipeline_name"],
        operator: &["stage_id"],
        operator_name: &["stage_name"],
        subtask: &[],
        ..PLAIN
    },
    PLAIN,
    Convention { job: "pipeline_id", without: Some("job_id"), job_name: &["pipeline_name"], ..PLAIN },
];

/// A convention, ready to select with.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    convention: Convention,
    matchers: Vec<Matcher>,
    labels: Vec<&'static str>,
}

/// All rules, those of an engine before those that any series may follow.
pub(super) fn rules() -> Vec<Rule> {
    // The expressions are our own: a test reads each.
    CONVENTIONS.iter().filter_map(Rule::new).collect()
}

/// What the labels of a series name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named<'l> {
    pub(super) org: &'l str,
    pub(super) job: &'l str,
    pub(super) job_name: Option<&'l str>,
    /// The id.
    pub(super) operator: Option<&'l str>,
    pub(super) operator_name: Option<&'l str>,
    /// None also where the label is no number.
    pub(super) subtask: Option<u64>,
    pub(super) attempt: Option<u64>,
    pub(super) task_manager: Option<&'l str>,
    pub(super) host: Option<&'l str>,
}

impl Rule {
    fn new(convention: &Convention) -> Option<Rule> {
        let (op, names) = convention.names;
        let mut matchers =
            vec![Matcher::new(METRIC_NAME, op, names).ok()?, Matcher::new(convention.job, MatchOp::NotEqual, "").ok()?];
        matchers.extend(convention.without.map(|label| Matcher::equal(label, "")));
        let Convention { job_name, operator, operator_name, subtask, attempt, task_manager, host, .. } = *convention;
        let lists = [job_name, operator, operator_name, subtask, attempt, task_manager, host];
        let labels = [ORG, convention.job].into_iter().chain(lists.into_iter().flatten().copied()).collect();
        Some(Rule { convention: *convention, matchers, labels })
    }

    /// What selects the series of all jobs.
    pub(super) fn matchers(&self) -> &[Matcher] {
        &self.matchers
    }

    /// What selects the series of one job.
    pub(super) fn matchers_of(&self, job: &JobKey) -> Vec<Matcher> {
        let of_job = [Matcher::equal(self.convention.job, &job.id), Matcher::equal(ORG, &job.org)];
        self.matchers.iter().cloned().chain(of_job).collect()
    }

    /// The labels that count.
    pub(super) fn labels(&self) -> &[&'static str] {
        &self.labels
    }

    /// What labels name; none if they name no job.
    pub(super) fn read<'l>(&self, labels: &'l Labels) -> Option<Named<'l>> {
        let first = |names: &[&str]| names.iter().find_map(|name| labels.get(name));
        let number = |names: &[&str]| first(names)?.parse().ok();
        Some(Named {
            org: labels.get(ORG).unwrap_or_default(),
            job: labels.get(self.convention.job)?,
            job_name: first(self.convention.job_name),
            operator: first(self.convention.operator),
            operator_name: first(self.convention.operator_name),
            subtask: number(self.convention.subtask),
            attempt: number(self.convention.attempt),
            task_manager: first(self.convention.task_manager),
            host: first(self.convention.host),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        Labels::from_pairs(pairs.iter().copied()).unwrap()
    }

    /// The places of the rules that select a series.
    fn selected_by(labels: &Labels) -> Vec<usize> {
        let passes = |rule: &Rule| rule.matchers().iter().all(|m| m.matches(labels.get(m.name()).unwrap_or_default()));
        (0..).zip(&rules()).filter(|(_, rule)| passes(rule)).map(|(place, _)| place).collect()
    }

    #[test]
    fn every_series_of_a_job_follows_one_rule() {
        assert_eq!(rules().len(), CONVENTIONS.len());
        for (name, pairs, rule) in [
            ("flink_taskmanager_job_task_numRecordsIn", vec![("job_id", "j")], Some(0)),
            ("arroyo_worker_messages_recv", vec![("job_id", "j"), ("node_id", "3")], Some(1)),
            ("conveyor_router_records_routed_total", vec![("pipeline_id", "p")], Some(2)),
            ("rows", vec![("job_id", "j"), ("pipeline_id", "p")], Some(3)),
            ("rows", vec![("pipeline_id", "p")], Some(4)),
            ("flink_taskmanager_Status_JVM_CPU_Load", vec![("tm_id", "t")], None),
            ("flink_x", vec![("pipeline_id", "p")], None),
            ("conveyor_router_buffer_utilization", vec![("stage_id", "s")], None),
            ("streamgauge_job_accumulator", vec![("job_id", "j")], None),
            ("up", vec![("job", "node")], None),
        ] {
            let mut all = vec![("__name__", name)];
            all.extend(pairs);
            assert_eq!(selected_by(&labels(&all)), Vec::from_iter(rule), "{all:?}");
        }
    }

    #[test]
    fn labels_are_read_by_their_rule() {
        let rules = rules();
        let flink = labels(&[
            ("job_id", "j"),
            ("job_name", "demo"),
            ("task_id", "t"),
            ("task_name", "Source:_orders"),
            ("operator_id", "o"),
            ("subtask_index", "3"),
            ("task_attempt_num", "1"),
            ("tm_id", "tm_1"),
            ("host", "h"),
            ("org", "acme"),
        ]);
        let expected = Named {
            org: "acme",
            job: "j",
            job_name: Some("demo"),
            operator: Some("t"),
            operator_name: Some("Source:_orders"),
            subtask: Some(3),
            attempt: Some(1),
            task_manager: Some("tm_1"),
            host: Some("h"),
        };
        assert_eq!(rules[0].read(&flink), Some(expected));
        assert!(flink.iter().all(|(name, _)| rules[0].labels().contains(&name) || name == "operator_id"));
        let arroyo = labels(&[("job_id", "j"), ("node_id", "2"), ("operator_id", "o"), ("subtask_idx", "x")]);
        let read = rules[1].read(&arroyo).unwrap();
        assert_eq!((read.operator, read.subtask, read.org), (Some("2"), None, ""));
        let plain = labels(&[("job_id", "j"), ("pipeline_id", "p"), ("operator_id", "o"), ("subtask_index", "1")]);
        let read = rules[3].read(&plain).unwrap();
        assert_eq!((read.job_name, read.operator, read.subtask), (Some("p"), Some("o"), Some(1)));
        assert_eq!(rules[3].read(&labels(&[("pipeline_id", "p")])), None);
    }

    #[test]
    fn the_series_of_one_job_are_those_of_its_organization() {
        let rule = &rules()[3];
        let key = JobKey { org: String::new(), id: "j".to_owned() };
        let passes = |pairs: &[(&str, &str)]| {
            let labels = labels(pairs);
            rule.matchers_of(&key).iter().all(|m| m.matches(labels.get(m.name()).unwrap_or_default()))
        };
        assert!(passes(&[("__name__", "rows"), ("job_id", "j")]));
        assert!(!passes(&[("__name__", "rows"), ("job_id", "j"), ("org", "acme")]));
        assert!(!passes(&[("__name__", "rows"), ("job_id", "k")]));
    }
}
