//! Against series in memory: what a console would have seen.

use model::{SeriesSet, stale_nan};

use super::*;

const T_MS: i64 = 1_796_000_000_000;
const JOB: &str = "job_1";

/// Series in memory; the labels as `name{…}` pairs.
#[derive(Default)]
struct Memory(Vec<(Labels, Vec<(i64, f64)>)>);

impl Memory {
    /// Adds a series of a subtask, with times in milliseconds after [`T_MS`].
    fn with(mut self, name: &str, labels: &[(&str, &str)], samples: &[(i64, f64)]) -> Memory {
        let name = format!("arroyo_worker_{name}");
        let of_job = [(METRIC_NAME, name.as_str()), ("job_id", JOB)];
        let labels = Labels::from_pairs(of_job.into_iter().chain(labels.iter().copied())).unwrap();
        let samples = samples.iter().map(|(after_ms, value)| (T_MS + after_ms, *value)).collect();
        self.0.push((labels, samples));
        self
    }

    fn read_with(&self, change: impl FnOnce(&mut Wanted)) -> Result<Tasks, TasksError> {
        let range = TimeRange { start_ms: T_MS, end_ms: T_MS + 300_000 };
        let job_ids = vec!["jc_1".to_owned(), JOB.to_owned()];
        let mut wanted = Wanted { job_ids, org: String::new(), range, step_ms: 2000, points_max: 1000 };
        change(&mut wanted);
        read(self, &Scope::default(), &wanted, &Budget::unlimited())
    }

    fn read(&self) -> Tasks {
        self.read_with(|_| ()).unwrap()
    }
}

impl SeriesSource for Memory {
    fn select(
        &self,
        scope: &Scope,
        matchers: &[Matcher],
        _: TimeRange,
        _: &Budget,
    ) -> Result<Box<dyn SeriesSet + '_>, SourceError> {
        let matches = |labels: &Labels| {
            matchers.iter().chain(scope.forced()).all(|m| m.matches(labels.get(m.name()).unwrap_or_default()))
        };
        Ok(Box::new(Selected(self.0.iter().filter(|(labels, _)| matches(labels)).collect())))
    }
}

struct Selected<'m>(Vec<&'m (Labels, Vec<(i64, f64)>)>);

impl SeriesSet for Selected<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn labels(&self, i: usize) -> Result<Labels, SourceError> {
        Ok(self.0[i].0.clone())
    }

    fn samples(&self, i: usize, range: TimeRange, _: &Budget, out: &mut SampleColumns) -> Result<(), SourceError> {
        out.clear();
        let inside = self.0[i].1.iter().filter(|(time_ms, _)| (range.start_ms..=range.end_ms).contains(time_ms));
        inside.for_each(|(time_ms, value)| out.push(*time_ms, *value));
        Ok(())
    }
}

/// A subtask's labels, as workers have them.
fn of<'l>(node: &'l str, subtask: &'l str) -> [(&'l str, &'l str); 3] {
    [("node_id", node), ("subtask_idx", subtask), ("operator_name", "op")]
}

/// The points of a metric: operator's name, subtask, time after [`T_MS`] in milliseconds, value.
fn points(tasks: &Tasks, metric: &str) -> Vec<(String, u32, i64, f64)> {
    let mut found = Vec::new();
    for operator in tasks.all_operators() {
        let group = operator.metric_groups.iter().find(|group| group.name == metric).unwrap();
        for series in &group.subtasks {
            found.extend(series.metrics.iter().map(|point| {
                let after_ms = i64::try_from(point.time / 1000).unwrap() - T_MS;
                (operator.operator_id.clone().unwrap(), series.index, after_ms, point.value)
            }));
        }
    }
    found
}

fn node(after_ms: i64, value: f64) -> (String, u32, i64, f64) {
    ("node_1".to_owned(), 0, after_ms, value)
}

#[test]
fn counters_are_rates_and_the_page_has_the_counts() {
    let memory = Memory::default()
        .with("messages_sent", &of("1", "0"), &[(0, 100.0), (2000, 300.0), (4000, 700.0)])
        .with("batches_sent", &of("1", "0"), &[(0, 1.0)])
        .with("messages_sent", &of("1", "1"), &[(1000, 5.0)])
        .with("messages_sent", &of("0", "0"), &[]);
    let tasks = memory.read();
    assert_eq!(points(&tasks, "messages_sent"), [node(2000, 100.0), node(4000, 0.9 * 100.0 + (1.0 - 0.9) * 200.0)]);
    let operators = tasks.all_operators();
    assert_eq!(operators.len(), 1, "one without samples is not there");
    assert_eq!((operators[0].operator_id.as_deref(), operators[0].node_id), (Some("node_1"), Some(1)));
    let page: Vec<(u32, &str, f64)> = operators[0]
        .subtasks
        .iter()
        .flatten()
        .flat_map(|subtask| subtask.metrics.iter().map(|metric| (subtask.index, metric.name.as_str(), metric.value)))
        .collect();
    // A first sample is a count, but no rate yet.
    let expected =
        [(0, "messages_sent", 700.0), (0, "backpressure", 0.0), (1, "messages_sent", 5.0), (1, "backpressure", 0.0)];
    assert_eq!(page, expected);
    let names: Vec<&str> = operators[0].metric_groups.iter().map(|group| group.name.as_str()).collect();
    let all =
        ["bytes_recv", "bytes_sent", "messages_recv", "messages_sent", "backpressure", "tx_queue_size", "tx_queue_rem"];
    assert_eq!(names, all);
    let told = tasks.operators(&Metric::OF_CONTROLLER);
    assert_eq!(told[0].metric_groups.len(), 5);
}

#[test]
fn what_came_before_the_first_point_counts_in_its_average() {
    let memory = Memory::default().with("bytes_recv", &of("1", "0"), &[(-4000, 0.0), (-2000, 2000.0), (0, 2000.0)]);
    assert_eq!(points(&memory.read(), "bytes_recv"), [node(0, 900.0)]);
}

#[test]
fn a_worker_that_ended_and_the_next_one_are_two() {
    let before = [of("1", "0").as_slice(), &[("instance", "a")]].concat();
    let after = [of("1", "0").as_slice(), &[("instance", "b")]].concat();
    let memory = Memory::default()
        .with("bytes_sent", &before, &[(0, 0.0), (2000, 200.0), (4000, stale_nan()), (8000, 900.0)])
        .with("bytes_sent", &after, &[(10_000, 10.0), (12_000, 30.0), (14_000, f64::NAN)]);
    let tasks = memory.read();
    assert_eq!(points(&tasks, "bytes_sent"), [node(2000, 100.0), node(12_000, 10.0)]);
    assert_eq!(tasks.all_operators()[0].subtasks.as_ref().unwrap()[0].metrics[0].value, 30.0);
}

#[test]
fn series_of_one_subtask_are_added_up() {
    let connection = |id: &'static str| [of("1", "0").as_slice(), &[("connection_id", id)]].concat();
    let memory = Memory::default().with("bytes_recv", &connection("a"), &[(0, 0.0), (2000, 200.0)]).with(
        "bytes_recv",
        &connection("b"),
        &[(0, 50.0), (2001, 50.0 + 20.01)],
    );
    let tasks = memory.read();
    assert_eq!(points(&tasks, "bytes_recv"), [node(2001, 110.0)], "one point per step");
    assert_eq!(tasks.all_operators()[0].subtasks.as_ref().unwrap()[0].metrics[0].value, 270.01);
}

#[test]
fn the_fullest_queue_is_the_backpressure() {
    let queue = |next: &'static str| [of("1", "0").as_slice(), &[("next_node", "0"), ("next_node_idx", next)]].concat();
    let memory = Memory::default()
        .with("tx_queue_size", &queue("0"), &[(0, 99.0), (2000, 99.0)])
        .with("tx_queue_rem", &queue("0"), &[(0, 99.0), (2000, 24.0)])
        .with("tx_queue_size", &queue("1"), &[(0, 99.0), (2000, 99.0), (4000, 99.0)])
        .with("tx_queue_rem", &queue("1"), &[(0, 49.0), (2000, 99.0)])
        .with("tx_queue_size", &of("2", "0"), &[(0, 99.0)])
        .with("messages_sent", &of("2", "0"), &[(0, 1.0)]);
    let tasks = memory.read();
    assert_eq!(points(&tasks, "backpressure"), [node(0, 0.5), node(2000, 0.75)], "both numbers are needed");
    assert_eq!(points(&tasks, "tx_queue_rem"), [node(0, 148.0), node(2000, 123.0)]);
}

#[test]
fn one_point_is_shown_per_step_the_newest() {
    let memory =
        Memory::default().with("bytes_sent", &of("1", "0"), &[(0, 0.0), (500, 50.0), (1500, 150.0), (2500, 250.0)]);
    assert_eq!(points(&memory.read(), "bytes_sent"), [node(1500, 100.0), node(2500, 100.0)]);
    let wide = memory.read_with(|wanted| wanted.step_ms = 10_000).unwrap();
    assert_eq!(points(&wide, "bytes_sent"), [node(2500, 100.0)]);
    let part = memory.read_with(|wanted| wanted.range.end_ms = T_MS + 2000).unwrap();
    assert_eq!(points(&part, "bytes_sent"), [node(1500, 100.0)]);
}

#[test]
fn operators_of_older_releases_have_names_and_others_jobs_series_do_not_count() {
    let old = [("operator_id", "source_0"), ("subtask_idx", "3")];
    let memory = Memory::default()
        .with("messages_sent", &old, &[(0, 0.0), (2000, 20.0)])
        .with("messages_sent", &[("node_id", "1"), ("subtask_idx", "x")], &[(0, 0.0), (2000, 20.0)])
        .with("messages_sent", &[("subtask_idx", "0")], &[(0, 0.0), (2000, 20.0)])
        .with("messages_sent", &[("node_id", "7"), ("subtask_idx", "0"), ("org", "other")], &[(0, 0.0), (2000, 20.0)]);
    let tasks = memory.read();
    assert_eq!(points(&tasks, "messages_sent"), [("source_0".to_owned(), 3, 2000, 10.0)]);
    assert_eq!(tasks.all_operators()[0].node_id, None);
    let theirs = memory.read_with(|wanted| wanted.org = "other".to_owned()).unwrap();
    assert_eq!(points(&theirs, "messages_sent").len(), 1);
    assert!(memory.read_with(|wanted| wanted.job_ids = vec!["job_.".to_owned()]).unwrap().is_empty(), "no pattern");
}

#[test]
fn the_limit_of_points_holds_at_n_and_n_plus_1() {
    let memory = Memory::default().with("bytes_sent", &of("1", "0"), &[(0, 0.0), (2000, 1.0)]).with(
        "bytes_sent",
        &of("1", "1"),
        &[(0, 0.0)],
    );
    // Three of the counters, three of backpressure.
    assert!(memory.read_with(|wanted| wanted.points_max = 6).is_ok());
    let error = memory.read_with(|wanted| wanted.points_max = 5).unwrap_err();
    assert!(matches!(error, TasksError::TooManyPoints { limit: 5 }), "{error}");
    assert!(error.to_string().contains("limit arroyo.max_points = 5 reached"));
}

/// Points that lie before 1970 have no time that the console could read.
#[test]
fn times_before_1970_are_left_out() {
    let memory = Memory::default().with("tx_queue_size", &of("1", "0"), &[(-T_MS - 1, 7.0), (-T_MS, 8.0)]);
    let tasks = memory.read_with(|wanted| wanted.range.start_ms = -10).unwrap();
    let times: Vec<i64> = points(&tasks, "tx_queue_size").iter().map(|(_, _, after_ms, _)| after_ms + T_MS).collect();
    assert_eq!(times, [0]);
}
