//! To which family a stored series belongs, and what is known about it.

use std::collections::HashMap;

use model::{Metadata, MetricType};
use storage::Db;

/// Suffixes of the parts of a histogram or summary, longest family name first.
const SUFFIXES: [&str; 3] = ["_bucket", "_sum", "_count"];

/// A series' family and its metadata.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FamilyOf {
    /// The family's name.
    pub name: String,
    /// What is known; unknown if nothing is.
    pub metadata: Metadata,
}

/// Looks families up by the names of series, each name once.
pub struct Families<'db> {
    db: &'db Db,
    found: HashMap<String, FamilyOf>,
}

impl<'db> Families<'db> {
    /// Looks in a database.
    pub fn new(db: &'db Db) -> Self {
        Families { db, found: HashMap::new() }
    }

    /// The family of a series' name: the one of exactly this name, or the histogram or summary of which it is a part.
    pub fn of(&mut self, metric_name: &str) -> &FamilyOf {
        if !self.found.contains_key(metric_name) {
            let family = look_up(self.db, metric_name);
            self.found.insert(metric_name.to_owned(), family);
        }
        &self.found[metric_name]
    }
}

fn look_up(db: &Db, metric_name: &str) -> FamilyOf {
    if let Some(metadata) = db.metadata_of(metric_name) {
        return FamilyOf { name: metric_name.to_owned(), metadata };
    }
    for suffix in SUFFIXES {
        let Some(family) = metric_name.strip_suffix(suffix) else { continue };
        if let Some(metadata) = db.metadata_of(family).filter(|m| is_part(m.metric_type, suffix)) {
            return FamilyOf { name: family.to_owned(), metadata };
        }
    }
    FamilyOf { name: metric_name.to_owned(), metadata: Metadata::default() }
}

/// True if series of this type have parts with this suffix.
pub fn is_part(metric_type: MetricType, suffix: &str) -> bool {
    match metric_type {
        MetricType::Histogram => SUFFIXES.contains(&suffix),
        MetricType::Summary => matches!(suffix, "_sum" | "_count"),
        _ => false,
    }
}

/// A name without the suffix of a part, and the suffix; none if it has none.
pub fn without_suffix(metric_name: &str) -> Option<(&str, &'static str)> {
    SUFFIXES.iter().find_map(|suffix| Some((metric_name.strip_suffix(suffix)?, *suffix)))
}
