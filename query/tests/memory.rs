//! Series in memory, as a source for queries.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{
    Budget, Histogram, Labels, Matcher, SampleColumns, Scope, SeriesSet, SeriesSource, SourceError, TimeRange,
};

/// A sample to store.
#[derive(Debug, Clone)]
pub(crate) enum Stored {
    /// A float.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<Histogram>),
}

/// All series; a later sample at the same time wins.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    series: BTreeMap<Labels, BTreeMap<i64, Stored>>,
}

impl Memory {
    pub(crate) fn add(&mut self, labels: &Labels, time_ms: i64, sample: Stored) {
        self.series.entry(labels.clone()).or_default().insert(time_ms, sample);
    }
}

struct Found<'m> {
    series: Vec<(&'m Labels, &'m BTreeMap<i64, Stored>)>,
}

impl SeriesSource for Memory {
    fn select(
        &self,
        scope: &Scope,
        matchers: &[Matcher],
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Box<dyn SeriesSet + '_>, SourceError> {
        budget.check()?;
        let passes = |labels: &Labels| {
            matchers.iter().chain(scope.forced()).all(|m| m.matches(labels.get(m.name()).unwrap_or("")))
        };
        let has_samples = |samples: &BTreeMap<i64, Stored>| {
            !range.is_empty() && samples.range(range.start_ms..=range.end_ms).next().is_some()
        };
        let series = self.series.iter().filter(|(labels, samples)| passes(labels) && has_samples(samples)).collect();
        Ok(Box::new(Found { series }))
    }
}

impl SeriesSet for Found<'_> {
    fn len(&self) -> usize {
        self.series.len()
    }

    fn labels(&self, i: usize) -> Result<Labels, SourceError> {
        Ok(self.series[i].0.clone())
    }

    fn samples(&self, i: usize, range: TimeRange, budget: &Budget, out: &mut SampleColumns) -> Result<(), SourceError> {
        out.clear();
        for (time_ms, sample) in self.series[i].1.range(range.start_ms..=range.end_ms) {
            match sample {
                Stored::Float(value) => out.push(*time_ms, *value),
                Stored::Histogram(histogram) => out.histograms.push((*time_ms, histogram.clone())),
            }
        }
        budget.add_samples((out.values.len() + out.histograms.len()) as u64)?;
        Ok(())
    }
}
