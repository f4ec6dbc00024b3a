//! What is known about the families of stored series, looked up once per name.

use std::collections::HashMap;

use model::{Metadata, MetricType};
use storage::Db;

use crate::exposition::family_of;

/// Looks families up by the names of series.
pub struct Families<'db> {
    db: &'db Db,
    /// Family and metadata by the name of a series.
    found: HashMap<String, (String, Metadata)>,
}

impl<'db> Families<'db> {
    /// Looks in a database.
    pub fn new(db: &'db Db) -> Self {
        Families { db, found: HashMap::new() }
    }

    /// What is known about the family of a series with this name.
    pub fn of(&mut self, metric_name: &str) -> &Metadata {
        self.named(metric_name).1
    }

    /// The type of the family of a series with this name, if it is known.
    pub fn type_of(&mut self, metric_name: &str) -> Option<&'static str> {
        match self.of(metric_name).metric_type {
            MetricType::Unknown => None,
            known => Some(known.as_str()),
        }
    }

    /// The family of a series with this name and what is known about it: the one of exactly the name, or the histogram
    /// or summary of which it is a part.
    pub fn named(&mut self, metric_name: &str) -> (&str, &Metadata) {
        if !self.found.contains_key(metric_name) {
            let (family, metadata) = family_of(metric_name, &|name: &str| self.db.metadata_of(name));
            self.found.insert(metric_name.to_owned(), (family.to_owned(), metadata));
        }
        let (family, metadata) = &self.found[metric_name];
        (family, metadata)
    }
}
