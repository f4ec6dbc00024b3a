//! Deletes: made, listed, undone. What they hide is given up by compaction.
//!
//! A delete is made in this order: the head is flushed, because deletes hide segments and never batches; the manifest
//! that has it is installed, with the families of which no series is left, and from then on no reader sees either.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::{Budget, METRIC_NAME, Matcher, Scope, SeriesSource, SourceError, TimeRange};

use super::engine::Engine;
use crate::deletes::Delete;
use crate::error::{DeleteError, StorageError};
use crate::manifest::Manifest;
use crate::snapshot::Snapshot;

/// What the names of a family's series may have behind the family's own name.
const SUFFIXES: [&str; 9] = ["", "_total", "_bucket", "_count", "_sum", "_created", "_info", "_gcount", "_gsum"];
/// A delete is not undone any more this long before it is purged: a merge that is about to begin may purge it.
const UNDO_MARGIN_MS: i64 = 60_000;

impl Engine {
    /// Hides samples; gives the number of the delete, or none if there was nothing to hide.
    ///
    /// # Errors
    /// [`DeleteError`].
    pub(crate) fn delete(
        self: &Arc<Self>,
        selectors: Vec<Vec<Matcher>>,
        range: TimeRange,
    ) -> Result<Option<u64>, DeleteError> {
        let _one = self.deleting.lock();
        let limit = self.options.deletes_max;
        if self.view.read().deletes.len() >= limit {
            return Err(DeleteError::TooMany { limit });
        }
        // No flush comes in between: what the delete covers is what is selected now.
        let mut flushing = self.flushing.lock();
        self.flush_with(&mut flushing)?;
        let names = selected_names(&Snapshot::new(self), &selectors, range)?;
        if names.is_empty() {
            return Ok(None);
        }
        let made_ms = self.clock.now_ms();
        let undo_ms = i64::try_from(self.options.delete_undo.as_millis()).unwrap_or(i64::MAX);
        let mut delete = {
            let manifest = self.manifest.lock();
            let id = manifest.current().next_delete.max(1);
            // Batches without samples are covered too: a replay must not bring back what they say of others. So are those
            // that failed before: if they are on the disk all the same, they come to light hidden.
            let failed = self.queue.failed_sequence();
            let view = self.view.read();
            let is_empty = view.frozen.is_none() && view.active.sample_count() == 0;
            let sequence = if is_empty { view.sequence.max(failed) } else { manifest.current().flushed_sequence };
            let purge_from_ms = made_ms.saturating_add(undo_ms);
            Delete { id, selectors, range, made_ms, purge_from_ms, sequence, families: Vec::new() }
        };
        let left = Snapshot::without(self, &delete)?;
        delete.families = families_gone(&left, self.metadata.all().into_iter().map(|(family, _)| family), &names)?;
        let add = |manifest: &mut Manifest| {
            manifest.next_delete = delete.id + 1;
            // No later batch gets a number that the delete covers.
            manifest.flushed_sequence = manifest.flushed_sequence.max(delete.sequence);
            manifest.deletes.push(delete.clone());
            manifest.rollups.touch(delete.range, delete.sequence);
        };
        self.install(&[], &[], add, |_| ())?;
        self.exemplars.remove(&delete);
        self.metadata.remove(&delete.families);
        Ok(Some(delete.id))
    }

    /// Shows again what a delete hid.
    ///
    /// # Errors
    /// [`DeleteError::Unknown`], [`DeleteError::Final`], I/O errors.
    pub(crate) fn undo_delete(&self, id: u64) -> Result<(), DeleteError> {
        let _one = self.deleting.lock();
        let known = self.view.read().deletes.iter().find(|delete| delete.id == id).cloned();
        let delete = known.ok_or(DeleteError::Unknown(id))?;
        if delete.is_final(self.clock.now_ms().saturating_add(UNDO_MARGIN_MS)) {
            return Err(DeleteError::Final(id));
        }
        let remove = |manifest: &mut Manifest| {
            manifest.deletes.retain(|delete| delete.id != id);
            manifest.rollups.touch(delete.range, u64::MAX);
        };
        self.install(&[], &[], remove, |_| ())?;
        let (segments, deletes) = {
            let view = self.view.read();
            (view.segments.clone(), view.deletes.clone())
        };
        for live in segments.iter() {
            let mut known = live.metadata(&deletes)?;
            // What arrived since is newer.
            known.retain(|(family, _)| delete.families.contains(family) && self.metadata.get(family).is_none());
            self.counters.metadata_dropped.add(self.metadata.apply(known));
        }
        Ok(())
    }

    /// Declares that no delete can be undone any more.
    ///
    /// # Errors
    /// I/O errors.
    pub(crate) fn end_undo(&self) -> Result<(), StorageError> {
        let _one = self.deleting.lock();
        let now_ms = self.clock.now_ms();
        if self.view.read().deletes.iter().all(|delete| delete.is_final(now_ms)) {
            return Ok(());
        }
        let end = |manifest: &mut Manifest| {
            manifest.deletes.iter_mut().for_each(|delete| delete.purge_from_ms = delete.purge_from_ms.min(now_ms));
        };
        self.install(&[], &[], end, |_| ())?;
        Ok(())
    }
}

/// The names of the metrics of which something is selected.
fn selected_names(
    snapshot: &Snapshot,
    selectors: &[Vec<Matcher>],
    range: TimeRange,
) -> Result<BTreeSet<String>, SourceError> {
    let mut names = BTreeSet::new();
    for matchers in selectors {
        let set = snapshot.select(&Scope::default(), matchers, range, &Budget::unlimited())?;
        let groups = set.groups(&|label| label == METRIC_NAME, &Budget::unlimited())?;
        // One without a name counts too.
        names.extend(groups.labels.iter().map(|labels| labels.get(METRIC_NAME).unwrap_or_default().to_owned()));
    }
    Ok(names)
}

/// Those families of whose series some are selected and none is left.
fn families_gone(
    left: &Snapshot,
    families: impl Iterator<Item = String>,
    selected: &BTreeSet<String>,
) -> Result<Vec<String>, SourceError> {
    let is_left = |name: String| {
        let by_name = [Matcher::equal(METRIC_NAME, name)];
        left.select(&Scope::default(), &by_name, TimeRange::ALL, &Budget::unlimited()).map(|set| !set.is_empty())
    };
    let mut gone = Vec::new();
    for family in families {
        let names = || SUFFIXES.iter().map(|suffix| format!("{family}{suffix}"));
        if !names().any(|name| selected.contains(&name)) {
            continue;
        }
        if !names().try_fold(false, |any, name| Ok::<_, SourceError>(any || is_left(name)?))? {
            gone.push(family);
        }
    }
    Ok(gone)
}
