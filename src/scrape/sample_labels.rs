//! What becomes of the labels of a scraped line: the target's labels, relabelling, limits.

use model::{Labels, LabelsBuilder, METRIC_NAME, MetricType};

use super::config::{Job, Limits};
use super::number_labels::normal_value;
use super::relabel::{Rule, relabel};
use crate::ingest::raw_hash;

/// Why a line makes its whole scrape fail.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum LabelError {
    #[error("{series}: metric name label mandatory")]
    NoName { series: String },
    #[error("{series}: {detail}")]
    Invalid { series: String, detail: String },
    #[error("label_limit exceeded ({series}: {count} labels, limit {limit})")]
    TooMany { series: String, count: usize, limit: u64 },
    #[error("label_name_length_limit exceeded ({series}: name {name:?} has {bytes} bytes, limit {limit})")]
    NameTooLong { series: String, name: String, bytes: usize, limit: u64 },
    #[error("label_value_length_limit exceeded ({series}: value of {name:?} has {bytes} bytes, limit {limit})")]
    ValueTooLong { series: String, name: String, bytes: usize, limit: u64 },
}

/// Makes the labels of series of the labels of lines, for one target.
#[derive(Debug, Clone)]
pub(super) struct SampleLabels {
    target: Labels,
    honor_labels: bool,
    rules: Vec<Rule>,
    limits: Limits,
}

impl SampleLabels {
    pub(super) fn new(job: &Job, target: &Labels) -> SampleLabels {
        SampleLabels {
            target: target.clone(),
            honor_labels: job.honor_labels,
            rules: job.metric_relabel.clone(),
            limits: job.limits,
        }
    }

    /// Tells apart all that makes of equal lines different series.
    pub(super) fn context(&self) -> u64 {
        let text = format!("{} {} {:?} {:?}", self.honor_labels, self.target.canonical(), self.rules, self.limits);
        raw_hash(text.as_bytes()) as u64
    }

    /// The labels of the series of a line below a `# TYPE` of this type; none if relabelling drops it.
    pub(super) fn of<'a>(
        &self,
        metric_type: MetricType,
        scraped: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<Option<Labels>, LabelError> {
        let mut labels = LabelsBuilder::default();
        // Names that the line has with an empty value, which is no label but a word on the target's.
        let mut blank = Vec::new();
        for (name, value) in scraped {
            labels.set(name, &normal_value(metric_type, name, value));
            if value.is_empty() {
                blank.push(name);
            }
        }
        self.add_target(&mut labels, &blank);
        if !relabel(&self.rules, &mut labels) || labels.iter().next().is_none() {
            return Ok(None);
        }
        self.check(&labels)?;
        let build = labels.build();
        build.map(Some).map_err(|error| LabelError::Invalid { series: series(&labels), detail: error.to_string() })
    }

    /// The labels of a series about the scrape itself, such as `up`.
    pub(super) fn report(&self, name: &str) -> Result<Labels, model::LabelsError> {
        let mut labels = LabelsBuilder::from_labels(&self.target);
        labels.set(METRIC_NAME, name);
        labels.build()
    }

    fn add_target(&self, labels: &mut LabelsBuilder, blank: &[&str]) {
        let mut exported: Vec<(&str, String)> = Vec::new();
        for (name, value) in &self.target {
            match labels.get(name) {
                Some(_) if self.honor_labels => continue,
                // `/federate` writes `instance=""` for what has no instance.
                None if self.honor_labels && blank.contains(&name) => continue,
                Some(theirs) => exported.push((name, theirs.to_owned())),
                None => {}
            }
            labels.set(name, value);
        }
        // Shorter names first: `exported_x` of the target must not take the place that `x` of the line needs.
        exported.sort_by_key(|(name, _)| name.len());
        for (name, value) in exported {
            let mut free = format!("exported_{name}");
            while labels.get(&free).is_some() {
                free.insert_str(0, "exported_");
            }
            labels.set(&free, &value);
        }
    }

    fn check(&self, labels: &LabelsBuilder) -> Result<(), LabelError> {
        if labels.get(METRIC_NAME).is_none() {
            return Err(LabelError::NoName { series: series(labels) });
        }
        let count = labels.iter().count();
        if let Some(limit) = self.limits.labels.filter(|limit| count as u64 > *limit) {
            return Err(LabelError::TooMany { series: series(labels), count, limit });
        }
        for (name, value) in labels.iter() {
            let (series, name) = (|| series(labels), name.to_owned());
            if let Some(limit) = self.limits.label_name_bytes.filter(|limit| name.len() as u64 > *limit) {
                return Err(LabelError::NameTooLong { series: series(), bytes: name.len(), name, limit });
            }
            if let Some(limit) = self.limits.label_value_bytes.filter(|limit| value.len() as u64 > *limit) {
                return Err(LabelError::ValueTooLong { series: series(), bytes: value.len(), name, limit });
            }
        }
        Ok(())
    }
}

/// A series for messages: short, however long its labels are.
fn series(labels: &LabelsBuilder) -> String {
    const SHOWN_MAX: usize = 50;
    let name = labels.get(METRIC_NAME).unwrap_or("{}");
    if name.len() <= SHOWN_MAX { name.to_owned() } else { name.chars().take(SHOWN_MAX).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::super::config::load;
    use super::*;

    fn of(job_body: &str, target: &[(&str, &str)], line: &[(&str, &str)]) -> Result<Option<String>, LabelError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.yml");
        std::fs::write(&path, format!("scrape_configs:\n- job_name: j\n{job_body}")).unwrap();
        let job = load(&path).unwrap().config.jobs[0].clone();
        let labels = SampleLabels::new(&job, &Labels::from_pairs(target.iter().copied()).unwrap());
        Ok(labels.of(MetricType::Unknown, line.iter().copied())?.map(|l| l.to_string()))
    }

    #[test]
    fn conflicts_are_exported_or_honored() {
        let target = [("job", "j"), ("instance", "i")];
        let line = [("__name__", "m"), ("job", "theirs"), ("x", "y")];
        let some = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(
            of("", &target, &line),
            some(r#"{__name__="m", exported_job="theirs", instance="i", job="j", x="y"}"#)
        );
        assert_eq!(
            of("  honor_labels: true\n", &target, &line),
            some(r#"{__name__="m", instance="i", job="theirs", x="y"}"#)
        );
        let without_instance = [("__name__", "m"), ("instance", "")];
        assert_eq!(of("  honor_labels: true\n", &target, &without_instance), some(r#"{__name__="m", job="j"}"#));
        assert_eq!(of("", &target, &without_instance), some(r#"{__name__="m", instance="i", job="j"}"#));
        // From Prometheus's TestResolveConflictingExposedLabels and its neighbours.
        assert_eq!(
            of("", &[("foo", "1")], &[("__name__", "m"), ("foo", "2"), ("exported_foo", "3")]),
            some(r#"{__name__="m", exported_exported_foo="2", exported_foo="3", foo="1"}"#)
        );
        assert_eq!(
            of("", &[("foo", "1"), ("exported_foo", "4")], &[("__name__", "m"), ("foo", "2"), ("exported_foo", "3")]),
            some(
                r#"{__name__="m", exported_exported_exported_foo="3", exported_exported_foo="2", exported_foo="4", foo="1"}"#
            )
        );
        assert_eq!(of("", &[("foo", "1")], &[("__name__", "m"), ("foo", "")]), some(r#"{__name__="m", foo="1"}"#));
    }

    #[test]
    fn relabelling_sees_the_target_and_can_drop() {
        let rules = "  metric_relabel_configs:\n  - {source_labels: [job, __name__], regex: 'j;bad.*', action: drop}\n  - {regex: 'tmp', action: labeldrop}\n";
        let target = [("job", "j")];
        assert_eq!(of(rules, &target, &[("__name__", "bad_one")]), Ok(None));
        assert_eq!(
            of(rules, &target, &[("__name__", "m"), ("tmp", "1")]),
            Ok(Some(r#"{__name__="m", job="j"}"#.into()))
        );
        let unnamed = "  metric_relabel_configs:\n  - {regex: __name__, action: labeldrop}\n";
        assert!(matches!(of(unnamed, &target, &[("__name__", "m")]), Err(LabelError::NoName { .. })));
    }

    #[test]
    fn limits_hold_at_n_and_n_plus_1() {
        let line = [("__name__", "metric56"), ("abcdefgh", "12345678")];
        for (limit, at) in [("label_limit", 2), ("label_name_length_limit", 8), ("label_value_length_limit", 8)] {
            assert!(of(&format!("  {limit}: {at}\n"), &[], &line).is_ok(), "{limit}");
            let error = of(&format!("  {limit}: {}\n", at - 1), &[], &line).unwrap_err();
            assert!(error.to_string().starts_with(limit), "{error}");
        }
    }
}
