//! Components: who reports or registers, under which id, and when it was last heard of.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rusqlite::{Connection, OptionalExtension, Row};

use super::error::CatalogError;
use super::{Catalog, CatalogOptions};

/// Intervals that may pass without a sign of life before a component counts as offline.
const INTERVALS_MISSED_MAX: i64 = 4;

/// From whom a component is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// It registered or sent a heartbeat, and goes on sending heartbeats.
    Call,
    /// It only reports.
    Report,
}

impl Source {
    fn as_str(self) -> &'static str {
        match self {
            Source::Call => "call",
            Source::Report => "report",
        }
    }
}

/// What a component says of itself when it registers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewComponent {
    /// The organization of who registers it, often empty.
    pub org: String,
    /// Its name; with organization and kind, its identity.
    pub name: String,
    /// Such as `worker_pool`; empty if it was not said.
    pub kind: String,
    /// Such as `python`.
    pub runtime: Option<String>,
    /// Where it can be reached.
    pub uri: Option<String>,
    /// Its own word for its state, `ready` if it says nothing.
    pub status: Option<String>,
    /// How much it can do at a time.
    pub capacity: Option<i64>,
    /// A JSON object.
    pub labels: Option<String>,
    /// Process id on its host.
    pub pid: Option<i64>,
    /// Its host.
    pub hostname: Option<String>,
    /// A JSON object.
    pub meta: Option<String>,
}

/// A component as the registry has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// Its id: from 1, never given twice, below 2^53.
    pub runtime_id: i64,
    /// The organization that it belongs to, often empty.
    pub org: String,
    /// Its name.
    pub name: String,
    /// Such as `worker_pool`; empty if unknown.
    pub kind: String,
    /// Such as `python`.
    pub runtime: Option<String>,
    /// Where it can be reached.
    pub uri: Option<String>,
    /// Its own word for its state.
    pub status: String,
    /// How much it can do at a time.
    pub capacity: Option<i64>,
    /// A JSON object.
    pub labels: Option<String>,
    /// Process id on its host.
    pub pid: Option<i64>,
    /// Its host.
    pub hostname: Option<String>,
    /// A JSON object.
    pub meta: Option<String>,
    /// From whom it is known.
    pub source: Source,
    /// When it was first known, in milliseconds since 1970.
    pub created_ms: i64,
    /// When it last registered or deregistered.
    pub updated_ms: i64,
    /// The newest sign of life.
    pub heartbeat_ms: i64,
    /// When it deregistered, if it is gone.
    pub deregistered_ms: Option<i64>,
}

/// What others are told about a component's state.
pub const OFFLINE: &str = "offline";
/// The state of a component that says nothing about it.
const READY: &str = "ready";

impl Component {
    /// True if it said that it goes away.
    pub fn is_deregistered(&self) -> bool {
        self.deregistered_ms.is_some()
    }

    /// Its own word for its state, or `offline` if it deregistered or signs of life are missing.
    pub fn status_at(&self, now_ms: i64, options: &CatalogOptions) -> &str {
        let interval_ms = match self.source {
            Source::Call => options.heartbeat_interval_ms,
            Source::Report => options.report_interval_ms,
        };
        let silent_ms = now_ms.saturating_sub(self.heartbeat_ms);
        let late = silent_ms > interval_ms.saturating_mul(INTERVALS_MISSED_MAX);
        if self.is_deregistered() || late { OFFLINE } else { &self.status }
    }
}

/// Bytes of one component besides its texts, its places in the look-up tables included.
const COMPONENT_BYTES: u64 = 512;

impl NewComponent {
    /// Bytes in memory, for the limit.
    fn bytes(&self) -> u64 {
        let options = [&self.runtime, &self.uri, &self.status, &self.labels, &self.hostname, &self.meta];
        bytes_of([&self.org, &self.name, &self.kind], options.map(Option::as_deref))
    }
}

impl Component {
    /// Bytes in memory, for the limit.
    pub(super) fn bytes(&self) -> u64 {
        let [runtime, uri, labels, hostname, meta] =
            [&self.runtime, &self.uri, &self.labels, &self.hostname, &self.meta].map(Option::as_deref);
        bytes_of([&self.org, &self.name, &self.kind], [runtime, uri, Some(&self.status), labels, hostname, meta])
    }
}

fn bytes_of([org, name, kind]: [&str; 3], options: [Option<&str>; 6]) -> u64 {
    let texts: usize = options.into_iter().flatten().map(str::len).sum();
    // The name is there twice: in the component and as a key.
    COMPONENT_BYTES + (org.len() + 2 * name.len() + kind.len() + texts) as u64
}

/// The outcome of a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// The component as it is now.
    pub component: Component,
    /// True if it was there before and had deregistered.
    pub recreated: bool,
}

impl Catalog {
    /// Registers a component, or says anew what a known one is; of a known one a report says nothing but that it lives.
    ///
    /// # Errors
    /// [`CatalogError`], above all when the registry is full.
    pub fn register(&self, new: NewComponent, source: Source, now_ms: i64) -> Result<Registered, CatalogError> {
        self.put(new, source, source == Source::Call, now_ms)
    }

    /// Registers a component that sends no heartbeats but reports, and says anew what it is if it is known.
    ///
    /// # Errors
    /// As [`Catalog::register`].
    pub fn register_reporting(&self, new: NewComponent, now_ms: i64) -> Result<Registered, CatalogError> {
        self.put(new, Source::Report, true, now_ms)
    }

    fn put(&self, new: NewComponent, source: Source, anew: bool, now_ms: i64) -> Result<Registered, CatalogError> {
        let mirror = Arc::clone(&self.mirror);
        if self.bytes_with(&new) > self.options.bytes_max {
            return Err(CatalogError::RegistryTooLarge { limit: self.options.bytes_max });
        }
        let components_max = self.options.components_max;
        let change = move |connection: &Connection| {
            let found = find_or_type(connection, &new)?;
            match &found {
                None => insert(connection, &new, source, components_max, now_ms)?,
                Some(_) if anew => update(connection, &new, source, now_ms)?,
                Some(_) => revive(connection, &new, now_ms)?,
            }
            let component = select(connection, &new)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
            Ok(Registered { component, recreated: found.is_some_and(|c| c.is_deregistered()) })
        };
        self.writer.write(change, move |done: &Registered| mirror.write().put(done.component.clone()))
    }

    /// What the components take when this one is added, or replaced if it is known.
    fn bytes_with(&self, new: &NewComponent) -> u64 {
        let mirror = self.mirror.read();
        let before = mirror.find(&new.org, &new.name, Some(&new.kind)).map_or(0, |entry| entry.component.bytes());
        (mirror.bytes() - before).saturating_add(new.bytes())
    }

    /// Notes that a component of an organization goes away. Without a kind it is the one that lived last.
    ///
    /// Gives none if it is not known.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub fn deregister(
        &self,
        org: &str,
        name: &str,
        kind: Option<&str>,
        now_ms: i64,
    ) -> Result<Option<Component>, CatalogError> {
        let sql = "UPDATE component SET deregistered_ms = coalesce(deregistered_ms, ?2), updated_ms = ?2 \
                   WHERE runtime_id = ?1";
        self.change_one(self.find(org, name, kind), sql, now_ms)
    }

    /// Notes a heartbeat; a component that had deregistered is there again. Without a kind it is the one that lived last.
    ///
    /// Gives none if it is not known.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub fn heartbeat(
        &self,
        org: &str,
        name: &str,
        kind: Option<&str>,
        now_ms: i64,
    ) -> Result<Option<Component>, CatalogError> {
        let sql = "UPDATE component SET heartbeat_ms = max(heartbeat_ms, ?2), source = 'call', deregistered_ms = NULL \
                   WHERE runtime_id = ?1";
        self.change_one(self.find(org, name, kind), sql, now_ms)
    }

    fn change_one(
        &self,
        component: Option<Arc<Component>>,
        sql: &'static str,
        now_ms: i64,
    ) -> Result<Option<Component>, CatalogError> {
        let Some(runtime_id) = component.map(|c| c.runtime_id) else { return Ok(None) };
        let mirror = Arc::clone(&self.mirror);
        let change = move |connection: &Connection| {
            connection.prepare_cached(sql)?.execute((runtime_id, now_ms))?;
            select_by_id(connection, runtime_id)
        };
        self.writer.write(change, move |done: &Option<Component>| {
            if let Some(component) = done {
                mirror.write().put(component.clone());
            }
        })
    }

    /// The component of an organization and a name; without a kind the one that lives or lived last.
    pub fn find(&self, org: &str, name: &str, kind: Option<&str>) -> Option<Arc<Component>> {
        self.mirror.read().find(org, name, kind).map(super::mirror::Entry::now)
    }

    /// The component that series with this organization and name, and this kind if they have one, come from. Series without a
    /// kind are those of a component that never said it, or else of the only one of the name, which may have said it later. A
    /// sender of no organization may name one in its labels: then it may be a component of none.
    pub fn of_series(&self, org: &str, name: &str, kind: Option<&str>) -> Option<Arc<Component>> {
        let mirror = self.mirror.read();
        let of = |org: &str| match kind {
            Some(kind) => mirror.find(org, name, Some(kind)),
            None => mirror.find(org, name, Some("")).or_else(|| mirror.only(org, name)),
        };
        of(org).or_else(|| of("").filter(|_| !org.is_empty())).map(super::mirror::Entry::now)
    }

    /// True if series without a kind may come from this component: see [`Catalog::of_series`].
    pub fn has_series_without_kind(&self, component: &Component) -> bool {
        let owner = self.of_series(&component.org, &component.name, None);
        owner.is_some_and(|owner| owner.runtime_id == component.runtime_id)
    }

    /// True if another organization has a component of the same name.
    pub fn has_namesake(&self, component: &Component) -> bool {
        self.mirror.read().named(&component.name).any(|entry| entry.component.org != component.org)
    }

    /// The component with an id.
    pub fn component(&self, runtime_id: i64) -> Option<Arc<Component>> {
        self.mirror.read().entry(runtime_id).map(super::mirror::Entry::now)
    }

    /// All components, by name, kind and organization.
    pub fn components(&self) -> Vec<Arc<Component>> {
        let mut all: Vec<_> = self.mirror.read().entries().map(super::mirror::Entry::now).collect();
        all.sort_by(|a, b| (&a.name, &a.kind, &a.org).cmp(&(&b.name, &b.kind, &b.org)));
        all
    }

    /// Notes a sign of life without waiting for the disk; [`Catalog::save_seen`] writes it.
    pub fn seen(&self, runtime_id: i64, now_ms: i64) {
        if let Some(entry) = self.mirror.read().entry(runtime_id) {
            entry.seen_ms.fetch_max(now_ms, Ordering::Relaxed);
        }
    }

    /// Writes the signs of life that are not in the file yet; gives their number.
    ///
    /// # Errors
    /// [`CatalogError`]; they are written the next time then.
    pub fn save_seen(&self) -> Result<usize, CatalogError> {
        let newer: Vec<(i64, i64)> = self
            .mirror
            .read()
            .entries()
            .map(|entry| (entry.component.runtime_id, entry.seen_ms.load(Ordering::Relaxed), &entry.component))
            .filter(|(_, seen_ms, component)| *seen_ms > component.heartbeat_ms)
            .map(|(id, seen_ms, _)| (id, seen_ms))
            .collect();
        if newer.is_empty() {
            return Ok(0);
        }
        let mirror = Arc::clone(&self.mirror);
        let change = move |connection: &Connection| {
            let sql = "UPDATE component SET heartbeat_ms = max(heartbeat_ms, ?2) WHERE runtime_id = ?1";
            let mut statement = connection.prepare_cached(sql)?;
            let mut saved = Vec::with_capacity(newer.len());
            for (runtime_id, seen_ms) in newer {
                statement.execute((runtime_id, seen_ms))?;
                saved.extend(select_by_id(connection, runtime_id)?);
            }
            Ok(saved)
        };
        let show = move |saved: &Vec<Component>| {
            let mut mirror = mirror.write();
            for component in saved {
                mirror.put(component.clone());
            }
        };
        self.writer.write(change, show).map(|saved| saved.len())
    }
}

/// The component of this organization, name and kind. One whose kind was not known so far gets it.
fn find_or_type(connection: &Connection, new: &NewComponent) -> Result<Option<Component>, CatalogError> {
    if let Some(found) = select(connection, new)? {
        return Ok(Some(found));
    }
    connection
        .prepare_cached("UPDATE component SET kind = ?3 WHERE org = ?1 AND name = ?2 AND kind = ''")?
        .execute((&new.org, &new.name, &new.kind))?;
    select(connection, new)
}

fn insert(
    connection: &Connection,
    new: &NewComponent,
    source: Source,
    components_max: usize,
    now_ms: i64,
) -> Result<(), CatalogError> {
    let count: u32 = connection.prepare_cached("SELECT count(*) FROM component")?.query_row((), |row| row.get(0))?;
    if count as usize >= components_max {
        return Err(CatalogError::TooManyComponents { limit: components_max });
    }
    let sql = "INSERT INTO component (org, name, kind, runtime, uri, status, capacity, labels, pid, hostname, meta, source, \
               created_ms, updated_ms, heartbeat_ms) \
               VALUES (:org, :name, :kind, :runtime, :uri, :status, :capacity, :labels, :pid, :hostname, :meta, :source, \
               :now_ms, :now_ms, :now_ms)";
    execute(connection, sql, new, source, now_ms)
}

fn update(connection: &Connection, new: &NewComponent, source: Source, now_ms: i64) -> Result<(), CatalogError> {
    let sql = "UPDATE component SET runtime = :runtime, uri = :uri, status = :status, capacity = :capacity, \
               labels = :labels, pid = :pid, hostname = :hostname, meta = :meta, source = :source, \
               updated_ms = :now_ms, heartbeat_ms = max(heartbeat_ms, :now_ms), deregistered_ms = NULL \
               WHERE org = :org AND name = :name AND kind = :kind";
    execute(connection, sql, new, source, now_ms)
}

fn execute(
    connection: &Connection,
    sql: &str,
    new: &NewComponent,
    source: Source,
    now_ms: i64,
) -> Result<(), CatalogError> {
    connection.prepare_cached(sql)?.execute(rusqlite::named_params! {
        ":org": new.org,
        ":name": new.name,
        ":kind": new.kind,
        ":runtime": new.runtime,
        ":uri": new.uri,
        ":status": new.status.as_deref().unwrap_or(READY),
        ":capacity": new.capacity,
        ":labels": new.labels,
        ":pid": new.pid,
        ":hostname": new.hostname,
        ":meta": new.meta,
        ":source": source.as_str(),
        ":now_ms": now_ms,
    })?;
    Ok(())
}

/// A report of a known component says nothing but that it lives.
fn revive(connection: &Connection, new: &NewComponent, now_ms: i64) -> Result<(), CatalogError> {
    let sql = "UPDATE component SET heartbeat_ms = max(heartbeat_ms, ?4), deregistered_ms = NULL \
               WHERE org = ?1 AND name = ?2 AND kind = ?3";
    connection.prepare_cached(sql)?.execute((&new.org, &new.name, &new.kind, now_ms))?;
    Ok(())
}

const COLUMNS: &str = "runtime_id, name, kind, runtime, uri, status, capacity, labels, pid, hostname, meta, source, \
                       created_ms, updated_ms, heartbeat_ms, deregistered_ms, org";

fn select(connection: &Connection, like: &NewComponent) -> Result<Option<Component>, CatalogError> {
    let sql = format!("SELECT {COLUMNS} FROM component WHERE org = ?1 AND name = ?2 AND kind = ?3");
    Ok(connection.prepare_cached(&sql)?.query_row((&like.org, &like.name, &like.kind), of_row).optional()?)
}

fn select_by_id(connection: &Connection, runtime_id: i64) -> Result<Option<Component>, CatalogError> {
    let sql = format!("SELECT {COLUMNS} FROM component WHERE runtime_id = ?1");
    Ok(connection.prepare_cached(&sql)?.query_row((runtime_id,), of_row).optional()?)
}

/// All components in the file.
pub(super) fn load(connection: &Connection) -> Result<Vec<Component>, CatalogError> {
    let mut statement = connection.prepare(&format!("SELECT {COLUMNS} FROM component ORDER BY runtime_id"))?;
    let rows = statement.query_map((), of_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn of_row(row: &Row<'_>) -> rusqlite::Result<Component> {
    Ok(Component {
        runtime_id: row.get(0)?,
        name: row.get(1)?,
        kind: row.get(2)?,
        runtime: row.get(3)?,
        uri: row.get(4)?,
        status: row.get(5)?,
        capacity: row.get(6)?,
        labels: row.get(7)?,
        pid: row.get(8)?,
        hostname: row.get(9)?,
        meta: row.get(10)?,
        // The table allows no third word.
        source: if row.get_ref(11)?.as_str()? == "report" { Source::Report } else { Source::Call },
        created_ms: row.get(12)?,
        updated_ms: row.get(13)?,
        heartbeat_ms: row.get(14)?,
        deregistered_ms: row.get(15)?,
        org: row.get(16)?,
    })
}
