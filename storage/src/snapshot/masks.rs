//! What deletes hide of the segments of a snapshot, found when a segment is first read.

use std::sync::{Arc, OnceLock};

use crate::db::engine::LiveSegment;
use crate::deletes::{Delete, Mask};
use crate::error::StorageError;

/// The masks of a snapshot's segments.
#[derive(Debug, Default)]
pub(super) struct Masks {
    deletes: Arc<Vec<Delete>>,
    /// By the place of the segment; none at all if there are no deletes.
    found: Vec<OnceLock<Option<Arc<Mask>>>>,
}

impl Masks {
    /// For so many segments.
    pub(super) fn new(deletes: Arc<Vec<Delete>>, segments: usize) -> Self {
        let segments = if deletes.is_empty() { 0 } else { segments };
        Masks { deletes, found: std::iter::repeat_with(OnceLock::new).take(segments).collect() }
    }

    /// With one more delete, which nobody else knows yet.
    ///
    /// # Errors
    /// Those of reading the segments' indexes.
    pub(super) fn with<'s>(
        &self,
        delete: &Delete,
        segments: impl Iterator<Item = Option<&'s Arc<LiveSegment>>>,
    ) -> Result<Self, StorageError> {
        let deletes: Vec<Delete> = self.deletes.iter().chain([delete]).cloned().collect();
        let found = segments.map(|live| match live {
            Some(live) => Ok(live.mask_of(&deletes)?.into()),
            None => Ok(None.into()),
        });
        Ok(Masks { found: found.collect::<Result<_, StorageError>>()?, deletes: Arc::new(deletes) })
    }

    /// The deletes.
    pub(super) fn deletes(&self) -> &[Delete] {
        &self.deletes
    }

    /// What is hidden of the segment at a place; none if that is nothing.
    ///
    /// # Errors
    /// Those of reading its index.
    pub(super) fn get(&self, place: u32, live: &LiveSegment) -> Result<Option<&Mask>, StorageError> {
        let Some(known) = self.found.get(place as usize) else { return Ok(None) };
        if known.get().is_none() {
            let _ = known.set(live.mask(&self.deletes)?);
        }
        Ok(known.get().and_then(Option::as_deref))
    }
}
