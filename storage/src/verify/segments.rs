//! Segments: every checksum, every block decoded, and what the manifest says of them.

use super::{FoundDamage, Touched, TouchedSeries, Work, is_missing};
use crate::db::prepared::open_segment;
use crate::error::StorageError;
use crate::manifest::{Manifest, SegmentEntry};
use crate::names::segment_id;
use crate::parquet::DayFile;
use crate::segment::{DamagedSeries, Examined, Segment, examine};

/// What is said of a file that is not there as it was written.
const GONE: &str = "it is gone or has a wrong length";

/// Text of an error with the bit that explains it.
pub(super) fn with_bit(detail: &str, bit: Option<u64>) -> String {
    match bit {
        Some(bit) => format!("{detail}: bit {} of byte {} is flipped", bit % 8, bit / 8),
        None => detail.to_owned(),
    }
}

impl Work {
    /// Looks at all segments that a manifest names, and says which files it does not name.
    pub(super) fn verify_segments(&mut self, manifest: &Manifest) -> Result<(), StorageError> {
        for entry in manifest.segments.iter().chain(manifest.rollups.files()) {
            self.verify_segment(entry, manifest)?;
        }
        self.note_elsewhere(manifest)?;
        let newest = self.newer_than(manifest);
        let named = |id| manifest.has_file(id) || newest.as_ref().is_some_and(|new| new.has_file(id));
        let names = self.list(&self.layout.segments_dir())?;
        let strangers: Vec<String> = names.into_iter().filter(|name| !segment_id(name).is_some_and(named)).collect();
        if !strangers.is_empty() {
            let text = "files in segments/ that the manifest does not name; a start removes them, or keeps them in the \
                        quarantine if a manifest is damaged";
            self.report.notes.push(format!("{}: {text}", strangers.join(", ")));
        }
        Ok(())
    }

    fn verify_segment(&mut self, entry: &SegmentEntry, manifest: &Manifest) -> Result<(), StorageError> {
        let path = self.layout.segment(entry.id);
        let examined = match examine(&*self.disk, &path) {
            Ok(examined) => examined,
            Err(error) if is_missing(&error) => {
                // A compaction may have given it up since the manifest was read.
                if self.newer_than(manifest).is_some_and(|new| !new.has_file(entry.id)) {
                    return Ok(());
                }
                self.push_segment(
                    entry,
                    None,
                    vec!["file".to_owned()],
                    "the file is missing".to_owned(),
                    Vec::new(),
                    None,
                );
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let bytes = self.disk.len(&path)?.unwrap_or_default();
        self.count_file(bytes);
        if bytes != entry.bytes {
            let detail = format!("it has {bytes} bytes, the manifest says {}", entry.bytes);
            self.push_segment(
                entry,
                None,
                vec!["file".to_owned()],
                detail,
                examined.series(),
                examined.salvaged.as_ref(),
            );
        }
        if !examined.errors.is_empty() {
            self.note_damage(entry, &examined);
        } else if let Some(segment) = &examined.opened {
            if entry.is_parquet() {
                return self.verify_parquet(entry, segment);
            }
            self.check_content(entry, segment)?;
        }
        Ok(())
    }

    /// True if a file is not here, and need not be.
    fn is_elsewhere(&self, file: &DayFile) -> Result<bool, StorageError> {
        let root = self.layout.parquet_dir();
        let path = file.path(&root);
        let is_known = path.strip_prefix(&root).is_ok_and(|name| self.options.elsewhere.contains(name));
        Ok(is_known && self.disk.len(&path)?.is_none())
    }

    fn note_elsewhere(&mut self, manifest: &Manifest) -> Result<(), StorageError> {
        let mut count = 0;
        for file in manifest.segments.iter().flat_map(|entry| &entry.files) {
            count += u64::from(self.is_elsewhere(file)?);
        }
        if count > 0 {
            let text = "files of Parquet days are kept elsewhere only and were not read; their indexes here were";
            self.report.notes.push(format!("{count} {text}"));
        }
        Ok(())
    }

    /// The files of a Parquet day, of which the index is sound by itself.
    fn verify_parquet(&mut self, entry: &SegmentEntry, index: &Segment) -> Result<(), StorageError> {
        let (mut is_whole, mut errors) = (true, Vec::new());
        for file in &entry.files {
            let path = file.path(&self.layout.parquet_dir());
            if self.is_elsewhere(file)? {
                is_whole = false;
            } else if self.disk.len(&path)? == Some(file.bytes) {
                self.count_file(file.bytes);
            } else {
                errors.push(StorageError::Corrupt { path, offset: 0, detail: GONE.to_owned() });
            }
        }
        if !is_whole && errors.is_empty() {
            return Ok(());
        }
        let range = index.info().range;
        let all = || (0..index.len()).map(|ordinal| DamagedSeries { ordinal, range }).collect::<Vec<_>>();
        let (errors, series, opened) = match open_segment(&*self.disk, &self.layout, entry) {
            _ if !errors.is_empty() => (errors, all(), None),
            Ok(segment) => {
                let damage = segment.damage();
                (damage.errors, damage.series, Some(segment))
            }
            Err(error) => (vec![error], all(), None),
        };
        if let Some(segment) = opened.as_ref().filter(|_| errors.is_empty()) {
            return self.check_content(entry, segment);
        }
        for error in errors {
            let StorageError::Corrupt { path, offset, detail } = error else { return Err(error) };
            let sections = vec!["parquet".to_owned()];
            let known = Some((index, true));
            let damage = self.segment_damage(entry, Some(offset), sections, detail, series.clone(), known);
            self.report.damage.push(FoundDamage { path, ..damage });
        }
        Ok(())
    }

    /// One damage for a file whose checksums are wrong, however many of them.
    fn note_damage(&mut self, entry: &SegmentEntry, examined: &Examined) {
        let (first, detail) = examined.errors.first().cloned().unwrap_or_default();
        let mut detail = with_bit(&detail, examined.bit);
        if let [_, others @ ..] = &examined.errors[..]
            && !others.is_empty()
        {
            let offsets: Vec<String> = others.iter().take(10).map(|(offset, _)| offset.to_string()).collect();
            detail = format!("{detail}; {} more places, at bytes {}", others.len(), offsets.join(", "));
        }
        let offset = examined.bit.map_or(first, |bit| bit / 8);
        let salvaged = examined.salvaged.as_ref().map(|segment| (segment, examined.bit.is_some()));
        let (series, sections) = (examined.series(), examined.sections());
        let damage = self.segment_damage(entry, Some(offset), sections, detail, series, salvaged);
        self.report.damage.push(damage);
    }

    fn push_segment(
        &mut self,
        entry: &SegmentEntry,
        offset: Option<u64>,
        sections: Vec<String>,
        detail: String,
        series: Vec<DamagedSeries>,
        known: Option<&Segment>,
    ) {
        let known = known.map(|segment| (segment, false));
        let damage = self.segment_damage(entry, offset, sections, detail, series, known);
        self.report.damage.push(damage);
    }

    /// `known` is where labels are read, and whether they are sure.
    fn segment_damage(
        &self,
        entry: &SegmentEntry,
        offset: Option<u64>,
        sections: Vec<String>,
        detail: String,
        series: Vec<DamagedSeries>,
        known: Option<(&Segment, bool)>,
    ) -> FoundDamage {
        let mut touched = Touched::nothing();
        match known {
            Some((segment, is_sure)) => {
                for one in series {
                    let labels = segment.labels(one.ordinal).ok();
                    let one = TouchedSeries { labels, times: Some(one.range), is_sure };
                    touched.add(one, self.options.series_max);
                }
            }
            // Nothing of it can be read: the manifest tells how much that was.
            None => {
                touched = Touched { series_count: Some(entry.series), times: Some(entry.times), ..Touched::nothing() }
            }
        }
        let effect = format!(
            "a server that meets it puts the whole file aside: {} samples of {} series are not served then",
            entry.samples, entry.series
        );
        FoundDamage { path: self.layout.segment(entry.id), offset, sections, detail, effect, touched }
    }

    /// Behind right checksums: what the file says of itself, and what the manifest says of it.
    fn check_content(&mut self, entry: &SegmentEntry, segment: &Segment) -> Result<(), StorageError> {
        let info = segment.info();
        let says = (u64::from(info.series), info.samples, info.range, info.sequence_min, info.sequence_max);
        let stated = (entry.series, entry.samples, entry.times, entry.sequence_min, entry.sequence_max);
        let all = || (0..segment.len()).map(|ordinal| DamagedSeries { ordinal, range: info.range }).collect::<Vec<_>>();
        if says != stated {
            let detail = "series, samples, times or batches are not those that the manifest says".to_owned();
            let damage =
                self.segment_damage(entry, None, vec!["footer".to_owned()], detail, all(), Some((segment, true)));
            self.report.damage.push(damage);
        }
        let (samples, contradictions) = segment.contradictions()?;
        self.report.series += u64::from(info.series);
        self.report.samples += samples;
        for (ordinal, detail) in contradictions {
            let series = match ordinal {
                Some(ordinal) => {
                    let range = segment.time_range(ordinal).unwrap_or(info.range);
                    vec![DamagedSeries { ordinal, range }]
                }
                None => all(),
            };
            let detail = format!("its checksums are right and its content is not: {detail}");
            let sections = vec!["content".to_owned()];
            let damage = self.segment_damage(entry, None, sections, detail, series, Some((segment, true)));
            self.report.damage.push(damage);
        }
        Ok(())
    }
}
