//! Flink's metric ids and the series that its Prometheus reporter makes of them.
//!
//! A series has the id's dots and all other signs as underscores, groups with a value (`region.north`) as a label, the
//! operator as a label, and the values of a histogram by the label `quantile`. From a series the id's *form* follows, in
//! which every sign is an underscore; which id it was is known from the list of the source ([`crate::jobs::MetricNames`])
//! or, without one, for the groups that Flink itself has.

use std::collections::{BTreeMap, HashMap};

use model::{Labels, MatchOp, Matcher, SampleColumns, TimeRange, is_stale};
use serde_json::Value;

use super::answer::Failure;
use super::io::LOOKBACK_MS;
use super::view::View;

/// Whose metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    JobManager,
    Job,
    TaskManager,
    Task,
}

impl Family {
    /// What stands before the names of its series.
    fn prefix(self) -> &'static str {
        match self {
            Family::JobManager => "flink_jobmanager_",
            Family::Job => "flink_jobmanager_job_",
            Family::TaskManager => "flink_taskmanager_",
            Family::Task => "flink_taskmanager_job_task_",
        }
    }

    /// The label that a series of this family never has: it belongs to a family of longer names then.
    fn foreign(self) -> Option<&'static str> {
        match self {
            Family::JobManager | Family::TaskManager => Some("job_id"),
            Family::Job => Some("task_id"),
            Family::Task => None,
        }
    }

    /// The label that tells its members apart.
    fn member(self) -> &'static str {
        match self {
            Family::JobManager => "host",
            Family::Job => "job_id",
            Family::TaskManager => "tm_id",
            Family::Task => "subtask_index",
        }
    }
}

/// Labels that are no groups of users.
const OWN_LABELS: [&str; 17] = [
    "__name__",
    "host",
    "tm_id",
    "job_id",
    "job_name",
    "task_id",
    "task_name",
    "subtask_index",
    "task_attempt_id",
    "task_attempt_num",
    "operator_id",
    "operator_name",
    "quantile",
    "job",
    "instance",
    "org",
    "cluster",
];

/// Ends of the ids of a histogram's values by quantile.
const QUANTILES: [(&str, &str); 6] =
    [("0.5", "median"), ("0.75", "p75"), ("0.95", "p95"), ("0.98", "p98"), ("0.99", "p99"), ("0.999", "p999")];

/// Flink's own groups, longest first.
const GROUPS: [&str; 15] = [
    "Shuffle.Netty.Output.Buffers",
    "Shuffle.Netty.Input.Buffers",
    "Status.JVM.GarbageCollector",
    "Status.JVM.ClassLoader",
    "Status.JVM.Memory.NonHeap",
    "Status.JVM.Memory.Direct",
    "Status.JVM.Memory.Mapped",
    "Status.JVM.Memory.Metaspace",
    "Status.JVM.Memory.Heap",
    "Status.JVM.Threads",
    "Status.JVM.CPU",
    "Status.Flink.Memory.Managed",
    "Status.Shuffle.Netty",
    "Shuffle.Netty.Input",
    "Status.Network",
];

/// How the series of a family are selected and called.
pub(super) struct Naming<'n> {
    family: Family,
    /// The ids that the source lists, by their forms.
    known: HashMap<String, &'n str>,
}

/// What a series is in Flink's words.
pub(super) struct Named {
    /// Whose: the value of the label that tells members apart.
    pub(super) member: String,
    /// The metric's id.
    pub(super) id: String,
    /// The attempt; a source that numbers none has only the first.
    pub(super) attempt: u64,
}

impl<'n> Naming<'n> {
    /// By the list of the source, which may be empty.
    pub(super) fn of(family: Family, names: &'n [String]) -> Naming<'n> {
        Naming { family, known: names.iter().map(|id| (sanitized_id(id), id.as_str())).collect() }
    }

    /// What selects the series with these labels.
    pub(super) fn matchers(&self, labels: &[(&str, &str)]) -> Result<Vec<Matcher>, Failure> {
        let by_name = Matcher::new(model::METRIC_NAME, MatchOp::Regex, format!("{}.*", self.family.prefix()));
        let mut matchers = vec![by_name.map_err(Failure::internal)?];
        matchers.extend(labels.iter().map(|(name, value)| Matcher::equal(*name, *value)));
        matchers.extend(self.family.foreign().map(|name| Matcher::equal(name, "")));
        Ok(matchers)
    }

    /// None of a series that Flink's API would not give.
    pub(super) fn named(&self, labels: &Labels) -> Option<Named> {
        let form = form(self.family, labels)?;
        let id = match self.known.get(form.as_str()) {
            Some(id) => (*id).to_owned(),
            None if self.known.is_empty() => guessed(self.family, labels, &form),
            // The source does not list it, such as the count of a histogram.
            None => return None,
        };
        let member = labels.get(self.family.member()).unwrap_or_default().to_owned();
        let attempt = labels.get("task_attempt_num").and_then(|number| number.parse().ok()).unwrap_or(0);
        Some(Named { member, id, attempt })
    }
}

/// Newest values by member and metric id, of the series with these labels. Of several attempts the newest counts.
pub(super) fn values(
    view: &View<'_>,
    now_ms: i64,
    family: Family,
    labels: &[(&str, &str)],
    names: &[String],
) -> Result<BTreeMap<String, BTreeMap<String, f64>>, Failure> {
    let naming = Naming::of(family, names);
    let range = TimeRange { start_ms: now_ms.saturating_sub(LOOKBACK_MS), end_ms: now_ms };
    let set = view.series.select(&view.scope, &naming.matchers(labels)?, range, view.budget)?;
    let mut newest: BTreeMap<(String, String), (u64, f64)> = BTreeMap::new();
    let mut samples = SampleColumns::default();
    for i in 0..set.len() {
        view.budget.check().map_err(model::SourceError::from)?;
        set.newest(i, range, true, view.budget, &mut samples)?;
        let Some(sample) = samples.floats().next_back().filter(|sample| !is_stale(sample.value)) else { continue };
        let Some(Named { member, id, attempt }) = naming.named(&set.labels(i)?) else { continue };
        let slot = newest.entry((member, id)).or_insert((attempt, sample.value));
        if slot.0 <= attempt {
            *slot = (attempt, sample.value);
        }
    }
    let mut members: BTreeMap<String, BTreeMap<String, f64>> = BTreeMap::new();
    for ((member, id), (_, value)) in newest {
        members.entry(member).or_default().insert(id, value);
    }
    Ok(members)
}

/// What the reporter makes of a label's value, unless told not to.
pub(super) fn sanitized(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, ':' | '_') { c } else { '_' }).collect()
}

/// The form of an id: all signs are underscores.
fn sanitized_id(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

/// The form of the id that a series was; none if it is of another family, or a count that Flink's API does not give.
fn form(family: Family, labels: &Labels) -> Option<String> {
    let mut name = labels.metric_name().strip_prefix(family.prefix())?.to_owned();
    if let Some(operator) = operator(family, labels) {
        name = format!("{}_{}", sanitized_id(operator), name.strip_prefix("operator_")?);
    }
    for (group, value) in labels {
        if !OWN_LABELS.contains(&group) {
            name = with_group(&name, group, &sanitized_id(value));
        }
    }
    if let Some(quantile) = labels.get("quantile") {
        let (_, end) = QUANTILES.iter().find(|(known, _)| *known == quantile)?;
        name = format!("{name}_{end}");
    }
    Some(name)
}

/// The operator of a series that is one's; a task's own metric may begin with `operator_` too, so the id decides.
fn operator(family: Family, labels: &Labels) -> Option<&str> {
    (family == Family::Task).then(|| labels.get("operator_id").and(labels.get("operator_name"))).flatten()
}

/// A group with a value has its key in the name and the value in a label: the value belongs behind the key.
fn with_group(name: &str, group: &str, value: &str) -> String {
    let found = name.match_indices(group).find(|(at, _)| {
        let (before, after) = (&name[..*at], &name[at + group.len()..]);
        (before.is_empty() || before.ends_with('_')) && after.starts_with('_')
    });
    match found {
        Some((at, _)) => format!("{}_{value}{}", &name[..at + group.len()], &name[at + group.len()..]),
        None => name.to_owned(),
    }
}

/// The id where no list says it: with the dots of Flink's own groups and that behind an operator.
fn guessed(family: Family, labels: &Labels, form: &str) -> String {
    if let Some(operator) = operator(family, labels) {
        let rest = &form[sanitized_id(operator).len() + 1..];
        return format!("{}.{}", shown_operator(operator), dotted(rest));
    }
    dotted(form)
}

/// What Flink's API makes of an operator's name.
fn shown_operator(name: &str) -> String {
    name.chars().map(|c| if matches!(c, ' ' | ':' | '.' | ',') { '_' } else { c }).collect()
}

fn dotted(form: &str) -> String {
    for group in GROUPS {
        let rest = form.strip_prefix(&sanitized_id(group)).and_then(|rest| rest.strip_prefix('_'));
        if let Some(rest) = rest {
            // A collector has a name, which may have underscores, and then one of two metrics.
            let rest = match (group.ends_with("GarbageCollector"), rest.rsplit_once('_')) {
                (true, Some((collector, metric))) => format!("{collector}.{metric}"),
                _ => rest.to_owned(),
            };
            return format!("{group}.{rest}");
        }
    }
    form.to_owned()
}

/// True for a metric that is a text, of which a reporter makes a 0: it is never a number.
pub(super) fn is_text(id: &str) -> bool {
    id == CHECKPOINT_PATH
}

/// Where the newest checkpoint lies.
pub(super) const CHECKPOINT_PATH: &str = "lastCheckpointExternalPath";

/// True for a metric that is yes or no.
pub(super) fn is_boolean(id: &str) -> bool {
    let last = id.rsplit('.').next().unwrap_or(id);
    last.strip_prefix("is").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()))
}

/// Ends of the names of metrics that are never whole numbers to Flink, although they may have no fraction.
const FRACTIONS: [&str; 5] = ["PerSecond", "Usage", "Load", "_mean", "_stddev"];

/// A value as Flink shows it: whole numbers without a fraction, others as Java does, booleans in words.
pub(super) fn text(id: &str, value: f64) -> String {
    if is_boolean(id) {
        return (value != 0.0).to_string();
    }
    let is_fraction = FRACTIONS.iter().any(|end| id.ends_with(end));
    if !is_fraction && value.fract() == 0.0 {
        return (value as i64).to_string();
    }
    java(value)
}

/// A number as Flink's JSON has it: what JSON cannot write is a text.
pub(super) fn number(value: f64) -> Value {
    if value.is_finite() { value.into() } else { java(value).into() }
}

/// `Double.toString`: plain between 10^-3 and 10^7, else with an exponent.
fn java(value: f64) -> String {
    let size = value.abs();
    match value {
        value if value.is_nan() => "NaN".to_owned(),
        value if value.is_infinite() => if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned(),
        value if size == 0.0 || (1e-3..1e7).contains(&size) => format!("{value:?}"),
        value => {
            let text = format!("{value:e}");
            let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let point = if digits.contains('.') { "" } else { ".0" };
            format!("{digits}{point}E{exponent}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        Labels::from_pairs(pairs.iter().copied()).unwrap()
    }

    #[test]
    fn a_series_has_the_form_of_its_id() {
        let task = |pairs: &[(&str, &str)]| form(Family::Task, &labels(pairs));
        let name = "flink_taskmanager_job_task_Shuffle_Netty_Input_Buffers_inPoolUsage";
        assert_eq!(task(&[("__name__", name)]).unwrap(), sanitized_id("Shuffle.Netty.Input.Buffers.inPoolUsage"));
        let of_operator = [("operator_id", "x"), ("operator_name", "score"), ("region", "north"), ("quantile", "0.99")];
        let latency = [("__name__", "flink_taskmanager_job_task_operator_region_scoreLatency")];
        let found = task(&[&latency[..], &of_operator[..]].concat()).unwrap();
        assert_eq!(found, sanitized_id("score.region.north.scoreLatency_p99"));
        let own = [("__name__", "flink_taskmanager_job_task_operator_like")];
        assert_eq!(task(&own).unwrap(), "operator_like", "a task's own, without an operator's id");
        assert_eq!(form(Family::Task, &labels(&[("__name__", "flink_jobmanager_job_uptime")])), None);
    }

    #[test]
    fn without_a_list_flinks_own_groups_have_their_dots() {
        assert_eq!(dotted("Status_JVM_Memory_Heap_Used"), "Status.JVM.Memory.Heap.Used");
        assert_eq!(
            dotted("Status_JVM_GarbageCollector_G1_Young_Generation_Count"),
            "Status.JVM.GarbageCollector.G1_Young_Generation.Count"
        );
        assert_eq!(dotted("Shuffle_Netty_Input_numBytesInLocal"), "Shuffle.Netty.Input.numBytesInLocal");
        assert_eq!(dotted("numRecordsIn"), "numRecordsIn");
        let source = labels(&[("operator_id", "x"), ("operator_name", "Source: orders")]);
        assert_eq!(guessed(Family::Task, &source, "Source__orders_numRecordsOut"), "Source__orders.numRecordsOut");
    }

    #[test]
    fn values_are_shown_as_flink_shows_them() {
        assert_eq!(text("numRecordsIn", 44932.0), "44932");
        assert_eq!(text("numRecordsInPerSecond", 707.7), "707.7");
        assert_eq!(text("busyTimeMsPerSecond", 996.0), "996.0");
        assert_eq!(text("0.isBackPressured", 0.0), "false");
        assert_eq!(text("currentInputWatermark", -9.223372036854776E18), "-9223372036854775808");
        assert_eq!(text("x.y", 1.5e10), "15000000000");
        assert_eq!([12_345_678.9, 1.0e-5, f64::NAN].map(java), ["1.23456789E7", "1.0E-5", "NaN"]);
        assert!(!is_boolean("issues") && is_boolean("score.isIdle"));
    }
}
