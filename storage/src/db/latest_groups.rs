//! How recent groups of series are, from the head alone: for who asks again and again what there is, and not how much.

use model::{Budget, BudgetError, Labels, Matcher, Scope, SeriesGroups, is_stale};

use super::engine::Engine;
use super::latest::AT_A_TIME;
use crate::batch::SeriesRef;
use crate::deletes::Delete;
use crate::head::newest::NewestSample;
use crate::head::registry::RegistryView;
use crate::snapshot::HeadGroups;

/// Series that agree in some of their labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LatestGroup {
    /// These labels; one that the series do not have is missing here too.
    pub labels: Labels,
    /// Number of the series.
    pub series: u64,
    /// Time of the newest sample of those that go on, in milliseconds since 1970.
    pub live_ms: Option<i64>,
    /// Time of the newest staleness marker of those whose newest sample is one, or a native histogram.
    pub ended_ms: Option<i64>,
}

impl LatestGroup {
    fn new(labels: Labels) -> Self {
        LatestGroup { labels, series: 0, live_ms: None, ended_ms: None }
    }

    fn add(&mut self, newest: &NewestSample) {
        self.series += 1;
        let time = if is_stale(newest.sample.value) { &mut self.ended_ms } else { &mut self.live_ms };
        *time = (*time).max(Some(newest.sample.timestamp_ms));
    }

    /// Bytes that it takes, with the labels as a key.
    fn bytes(&self) -> u64 {
        (size_of::<LatestGroup>() + size_of::<Labels>() + 2 * self.labels.heap_bytes()) as u64
    }
}

impl Engine {
    /// As [`super::Db::latest_groups`].
    pub(super) fn latest_groups(
        &self,
        scope: &Scope,
        matchers: &[Matcher],
        names: &[&str],
        since_ms: i64,
        budget: &Budget,
    ) -> Result<Vec<LatestGroup>, BudgetError> {
        let deletes = self.view.read().deletes.clone();
        let head = &self.head;
        // The numbers stay as they are until the last series is read.
        let _epoch = head.epochs.pin_reader();
        let selected = head.postings.select(&head.registry, scope, matchers);
        let arrived = |series| Some((series, head.newest.get(series).filter(|newest| newest.arrived_ms >= since_ms)?));
        let keep = |name: &str| names.contains(&name);
        let (mut places, mut by_labels) = (HeadGroups::new(&keep), SeriesGroups::default());
        let mut groups: Vec<LatestGroup> = Vec::new();
        let mut selected = selected.iter().map(SeriesRef).peekable();
        while selected.peek().is_some() {
            budget.check()?;
            let newest: Vec<_> = selected.by_ref().take(AT_A_TIME).filter_map(arrived).collect();
            let view = head.registry.view();
            for (series, newest) in newest {
                if is_hidden(&deletes, &view, series, &newest) {
                    continue;
                }
                let place = places.place(&view, series, &mut by_labels) as usize;
                if place == groups.len() {
                    let group = LatestGroup::new(by_labels.labels.get(place).cloned().unwrap_or_else(Labels::empty));
                    budget.take_bytes(group.bytes())?;
                    groups.push(group);
                }
                if let Some(group) = groups.get_mut(place) {
                    group.add(&newest);
                }
            }
        }
        groups.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
        Ok(groups)
    }
}

/// True if a delete hides the newest sample of a series. What is cheap is looked at first: deletes are rare, and series
/// that nothing came for since are few.
fn is_hidden(deletes: &[Delete], view: &RegistryView<'_>, series: SeriesRef, newest: &NewestSample) -> bool {
    let may_hide =
        |delete: &&Delete| newest.arrived_ms <= delete.made_ms && delete.range.contains(newest.sample.timestamp_ms);
    let mut candidates = deletes.iter().filter(may_hide).peekable();
    candidates.peek().is_some() && {
        let labels = view.labels(series);
        candidates.any(|delete| delete.selects(&labels))
    }
}
