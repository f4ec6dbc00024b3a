//! Checkpoints that were told of, and the statistics over all of them.

use super::super::read::Version;
use super::Writing;
use crate::jobs::document::Document;
use crate::jobs::model::checkpoint::{Checkpoint, CheckpointStatistics};
use crate::jobs::push::PushError;
use crate::jobs::push::checkpoints::{count, merge, restore};

impl Writing<'_> {
    /// Puts in all that was told of checkpoints.
    pub(super) fn checkpoints(&mut self) -> Result<(), PushError> {
        for told in &self.push.checkpoints {
            self.checkpoint(told)?;
        }
        let Some(restored) = &self.push.restored else { return Ok(()) };
        let known = self.reader.document::<CheckpointStatistics>(&self.known, "", self.push.at_ms)?;
        if known.is_some_and(|known| known.document.restored.as_ref() == Some(restored)) {
            // Told again.
            return Ok(());
        }
        self.amend("", |known: Option<&CheckpointStatistics>, _| restore(known.cloned().unwrap_or_default(), restored))
    }

    fn checkpoint(&mut self, told: &Checkpoint) -> Result<(), PushError> {
        let (key, at_ms) = (told.key(), self.push.at_ms);
        let mut moments = self.versions_after::<Checkpoint>(&key, at_ms)?;
        moments.extend(self.versions_after::<CheckpointStatistics>("", at_ms)?);
        moments.insert(at_ms);
        // Looked at first: what is put in for a moment holds until the next one.
        let mut known: Vec<(i64, Option<Version<Checkpoint>>)> = Vec::new();
        for moment_ms in moments {
            known.push((moment_ms, self.reader.document(&self.known, &key, moment_ms)?));
        }
        for (moment_ms, version) in known {
            let is_newer = version.as_ref().is_some_and(|version| version.from_ms > at_ms);
            let known = version.map(|version| version.document);
            let merged = merge(known.as_ref(), told, is_newer);
            if known.as_ref() == Some(&merged) {
                continue;
            }
            let mut seen = self.observation(moment_ms);
            seen.put(&merged)?;
            self.record(&seen)?;
            let all = self.reader.documents::<Checkpoint>(&self.known, moment_ms)?;
            let all: Vec<Checkpoint> = all.into_iter().map(|version| version.document).collect();
            let before: Option<CheckpointStatistics> =
                self.reader.document(&self.known, "", moment_ms)?.map(|version| version.document);
            let state = known.map(|known| known.state);
            self.put_one(moment_ms, &count(before.unwrap_or_default(), state, merged.state, &all))?;
        }
        Ok(())
    }
}
