//! What is in the file, in memory: replaced entry by entry when a change is committed.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rusqlite::Connection;
use storage::RetentionRule;

use super::components::{self, Component};
use super::error::CatalogError;
use super::rules;

/// A component and the newest sign of life that is not in the file yet.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) component: Arc<Component>,
    pub(super) seen_ms: AtomicI64,
}

impl Entry {
    /// The component with its newest sign of life.
    pub(super) fn now(&self) -> Arc<Component> {
        let seen_ms = self.seen_ms.load(Ordering::Relaxed);
        if seen_ms <= self.component.heartbeat_ms {
            return Arc::clone(&self.component);
        }
        Arc::new(Component { heartbeat_ms: seen_ms, ..(*self.component).clone() })
    }
}

/// All components and rules.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    by_id: HashMap<i64, Entry>,
    by_name: HashMap<String, Vec<i64>>,
    /// What the components take.
    bytes: u64,
    pub(super) rules: Vec<RetentionRule>,
    /// The matchers of rules in the file that cannot be read.
    pub(super) unreadable_rules: Vec<String>,
    /// Why retention is held.
    pub(super) held: Option<String>,
}

impl Mirror {
    /// Reads the file.
    pub(super) fn load(connection: &Connection) -> Result<Mirror, CatalogError> {
        let loaded = rules::load(connection)?;
        let mut mirror = Mirror { rules: loaded.rules, unreadable_rules: loaded.unreadable, ..Mirror::default() };
        for component in components::load(connection)? {
            mirror.put(component);
        }
        Ok(mirror)
    }

    /// Adds or replaces a component.
    pub(super) fn put(&mut self, component: Component) {
        let (id, name) = (component.runtime_id, component.name.clone());
        let before = self.by_id.remove(&id);
        self.bytes = self.bytes + component.bytes() - before.as_ref().map_or(0, |entry| entry.component.bytes());
        let seen_ms = before.map_or(i64::MIN, |entry| entry.seen_ms.into_inner());
        let entry = Entry { component: Arc::new(component), seen_ms: AtomicI64::new(seen_ms) };
        self.by_id.insert(id, entry);
        let ids = self.by_name.entry(name).or_default();
        if !ids.contains(&id) {
            ids.push(id);
        }
    }

    /// Bytes that the components take.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn entry(&self, runtime_id: i64) -> Option<&Entry> {
        self.by_id.get(&runtime_id)
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.by_id.values()
    }

    /// The components of a name, whosever they are.
    pub(super) fn named(&self, name: &str) -> impl Iterator<Item = &Entry> {
        self.by_name.get(name).into_iter().flatten().filter_map(|id| self.by_id.get(id))
    }

    /// The components of an organization and a name.
    fn of(&self, org: &str, name: &str) -> impl Iterator<Item = &Entry> {
        self.named(name).filter(move |entry| entry.component.org == org)
    }

    /// The component of an organization and a name that no other has.
    pub(super) fn only(&self, org: &str, name: &str) -> Option<&Entry> {
        let mut all = self.of(org, name);
        all.next().filter(|_| all.next().is_none())
    }

    /// The component of an organization, a name and, if one is given, a kind; without a kind the one that lives or lived last.
    pub(super) fn find(&self, org: &str, name: &str, kind: Option<&str>) -> Option<&Entry> {
        let mut of_name = self.of(org, name);
        match kind {
            Some(kind) => of_name.find(|entry| entry.component.kind == kind),
            None => of_name.max_by_key(|entry| {
                let seen_ms = entry.seen_ms.load(Ordering::Relaxed).max(entry.component.heartbeat_ms);
                (!entry.component.is_deregistered(), seen_ms)
            }),
        }
    }
}
