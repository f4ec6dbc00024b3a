//! Collects annotations while an expression is evaluated, worded and placed as Prometheus does it
//! (`util/annotations/annotations.go`).

use std::fmt;
use std::sync::{Mutex, PoisonError};

use model::{Coarse, QuantileNote};

use crate::answer::Annotations;
use crate::quote::{Number, Quoted};
use crate::span::Span;

/// The annotations of one evaluation; shared by its threads.
#[derive(Debug)]
pub(crate) struct Notes<'q> {
    /// The expression's text, in which positions are counted.
    text: &'q str,
    found: Mutex<Annotations>,
}

/// The lengths of buckets, for people.
struct Resolutions<'c>(&'c [Coarse]);

impl fmt::Display for Resolutions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("resolution")?;
        for (i, coarse) in self.0.iter().enumerate() {
            write!(f, "{}{}s", if i == 0 { " " } else { " and " }, coarse.resolution_ms as f64 / 1000.0)?;
        }
        Ok(())
    }
}

/// ` for metric name "x"`, or nothing for no name.
fn of_metric(name: &str) -> String {
    if name.is_empty() { String::new() } else { format!(" for metric name {}", Quoted(name)) }
}

impl<'q> Notes<'q> {
    pub(crate) fn new(text: &'q str) -> Self {
        Notes { text, found: Mutex::default() }
    }

    /// What was found.
    pub(crate) fn finish(self) -> Annotations {
        self.found.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, span: Span, message: &str, is_warning: bool) {
        let (line, column) = span.line_column(self.text);
        let kind = if is_warning { "warning" } else { "info" };
        let note = format!("PromQL {kind}: {message} ({line}:{column})");
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if is_warning {
            found.warnings.insert(note)
        } else {
            found.infos.insert(note)
        };
    }

    fn warning(&self, span: Span, message: &str) {
        self.add(span, message, true);
    }

    fn info(&self, span: Span, message: &str) {
        self.add(span, message, false);
    }

    /// A φ outside 0 to 1.
    pub(crate) fn invalid_quantile(&self, span: Span, phi: f64) {
        if phi.is_nan() || !(0.0..=1.0).contains(&phi) {
            self.warning(span, &format!("quantile value should be between 0 and 1, got {}", Number(phi)));
        }
    }

    /// A ratio outside −1 to 1.
    pub(crate) fn invalid_ratio(&self, span: Span, ratio: f64, capped: f64) {
        let (ratio, capped) = (Number(ratio), Number(capped));
        self.warning(span, &format!("ratio value should be between -1 and 1, got {ratio}, capping to {capped}"));
    }

    /// A bucket without a usable `le`.
    pub(crate) fn bad_bucket_label(&self, span: Span, metric: &str, value: &str) {
        let (value, metric) = (Quoted(value), of_metric(metric));
        self.warning(span, &format!(r#"bucket label "le" is missing or has a malformed value of {value}{metric}"#));
    }

    /// Floats and native histograms in one range.
    pub(crate) fn mixed_range(&self, span: Span, metric: &str) {
        self.warning(span, &format!("encountered a mix of histograms and floats for metric name {}", Quoted(metric)));
    }

    /// Native histograms beside the floats of a range, left out.
    pub(crate) fn ignored_in_range(&self, span: Span, metric: &str) {
        self.info(
            span,
            &format!("ignored histograms in a range containing both floats and histograms{}", of_metric(metric)),
        );
    }

    /// A gauge where a counter is needed.
    pub(crate) fn not_counter(&self, span: Span, metric: &str) {
        self.warning(span, &format!("this native histogram metric is not a counter: {}", Quoted(metric)));
    }

    /// A counter where a gauge is needed.
    pub(crate) fn not_gauge(&self, span: Span, metric: &str) {
        self.warning(span, &format!("this native histogram metric is not a gauge: {}", Quoted(metric)));
    }

    /// Exponential buckets and custom bounds in one range or aggregation.
    pub(crate) fn mixed_schemas(&self, span: Span, metric: &str) {
        let message = "vector contains a mix of histograms with exponential and custom buckets schemas for metric name";
        self.warning(span, &format!("{message} {}", Quoted(metric)));
    }

    /// A classic and a native histogram with the same name and labels.
    pub(crate) fn mixed_classic_native(&self, span: Span, metric: &str) {
        let message = "vector contains a mix of classic and native histograms";
        self.warning(span, &format!("{message}{}", of_metric(metric)));
    }

    /// Floats and histograms in one group of an aggregation.
    pub(crate) fn mixed_aggregation(&self, span: Span) {
        self.warning(span, "encountered a mix of histograms and floats for aggregation");
    }

    /// Exponential buckets and custom bounds on the two sides of an operator.
    pub(crate) fn incompatible_buckets(&self, span: Span, operator: &str) {
        self.warning(span, &format!("incompatible bucket layout encountered for binary operator {operator}"));
    }

    /// An operator that has no meaning for these kinds of values.
    pub(crate) fn incompatible_types(&self, span: Span, left: &str, operator: &str, right: &str) {
        let message = "incompatible sample types encountered for binary operator";
        self.info(span, &format!("{message} {}: {left} {operator} {right}", Quoted(operator)));
    }

    /// Histograms in an aggregation that is for floats.
    pub(crate) fn ignored_in_aggregation(&self, span: Span, aggregation: &str) {
        self.info(span, &format!("ignored histogram in {aggregation} aggregation"));
    }

    /// One histogram says that there was a reset, another that there was none; `work` is `aggregation`, say.
    pub(crate) fn resets_collide(&self, span: Span, work: &str) {
        self.warning(span, &format!("conflicting counter resets during histogram {work}"));
    }

    /// Custom bounds differ.
    pub(crate) fn bounds_reconciled(&self, span: Span, work: &str) {
        self.info(span, &format!("mismatched custom buckets were reconciled during {work}"));
    }

    /// What NaN observations do to a quantile.
    pub(crate) fn nan_in_quantile(&self, span: Span, metric: &str, note: QuantileNote) {
        let result = match note {
            QuantileNote::IsNan => "NaN",
            QuantileNote::IsSkewed => "skewed higher",
        };
        let message = "input to histogram_quantile has NaN observations, result is";
        self.info(span, &format!("{message} {result}{}", of_metric(metric)));
    }

    /// NaN observations are in no fraction.
    pub(crate) fn nan_in_fraction(&self, span: Span, metric: &str) {
        let message = "input to histogram_fraction has NaN observations, which are excluded from all fractions";
        self.info(span, &format!("{message}{}", of_metric(metric)));
    }

    /// `rate` or `increase` of what does not look like a counter.
    pub(crate) fn possible_non_counter(&self, span: Span, metric: &str) {
        let message = "metric might not be a counter, name does not end in _total/_sum/_count/_bucket";
        self.info(span, &format!("{message}: {}", Quoted(metric)));
    }

    /// Instants that see the last samples of buckets.
    pub(crate) fn last_of_buckets(&self, span: Span, coarse: &[Coarse]) {
        let message =
            "samples of some of the time are not kept any more; the last one of each bucket of a roll-up stands for";
        self.info(span, &format!("{message} them, {}", Resolutions(coarse)));
    }

    /// Windows that begin or end within buckets of which there is nothing finer.
    pub(crate) fn split_buckets(&self, span: Span, coarse: &[Coarse]) {
        let message =
            "windows do not begin and end with the buckets of roll-ups, and samples of that time are not kept any";
        let then = "more; each bucket counts whole to where its last sample lies, so values are near";
        self.warning(span, &format!("{message} {then}, {}", Resolutions(coarse)));
    }

    /// A function that needs samples which are gone.
    pub(crate) fn samples_gone(&self, span: Span, function: &str, coarse: &[Coarse]) {
        let message =
            "needs samples that are not kept any more; it was computed from the last one of each bucket of a roll-up";
        self.warning(span, &format!("{function} {message}, {}", Resolutions(coarse)));
    }

    /// Buckets of a classic histogram that did not rise.
    pub(crate) fn forced_monotonicity(&self, span: Span) {
        self.info(
            span,
            "input to histogram_quantile needed to be fixed for monotonicity (see \
             https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)",
        );
    }

    /// A sort whose order is lost.
    pub(crate) fn sort_in_range_query(&self, span: Span) {
        self.warning(span, "sort is ineffective for range queries since results are always ordered by labels");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wording_and_position() {
        let notes = Notes::new("sum(\n rate(x[5m]))");
        notes.possible_non_counter(Span { start: 11, end: 16 }, "x");
        notes.invalid_quantile(Span { start: 0, end: 1 }, 0.5);
        notes.invalid_quantile(Span { start: 0, end: 1 }, f64::INFINITY);
        let found = notes.finish();
        assert_eq!(
            found.infos.into_iter().collect::<Vec<_>>(),
            [
                r#"PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: "x" (2:7)"#
            ]
        );
        assert_eq!(
            found.warnings.into_iter().collect::<Vec<_>>(),
            ["PromQL warning: quantile value should be between 0 and 1, got +Inf (1:1)"]
        );
    }
}
