//! Tables of `catalog.db` and their versions (`PRAGMA user_version`): each migration brings the file from the version of
//! its place in [`MIGRATIONS`] to the next. A file of a newer version is refused by name.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::error::CatalogError;

/// Version 1: components and retention rules.
///
/// `component.kind` is empty for one that reported without saying its type. `labels` and `meta` are JSON objects as they
/// were sent. `deregistered_ms` is null for one that is registered. `source` says who is expected to give signs of life:
/// a component that registered by a `call` sends heartbeats, one known by a `report` only reports.
/// `retention_rule.matchers` is a JSON list of `[label, operator, value]`. Times are milliseconds since 1970.
const VERSION_1: &str = "
CREATE TABLE component (
    runtime_id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    runtime TEXT,
    uri TEXT,
    status TEXT NOT NULL,
    capacity INTEGER,
    labels TEXT,
    pid INTEGER,
    hostname TEXT,
    meta TEXT,
    source TEXT NOT NULL CHECK (source IN ('call', 'report')),
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    heartbeat_ms INTEGER NOT NULL,
    deregistered_ms INTEGER,
    UNIQUE (name, kind)
) STRICT;
CREATE TABLE retention_rule (
    rule_id INTEGER PRIMARY KEY,
    matchers TEXT NOT NULL UNIQUE,
    keep_ms INTEGER NOT NULL CHECK (keep_ms > 0),
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL
) STRICT;
";

/// Version 2: rules that say how long series are kept at least (`at_least`), whatever else holds for them.
const VERSION_2: &str =
    "ALTER TABLE retention_rule ADD COLUMN at_least INTEGER NOT NULL DEFAULT 0 CHECK (at_least IN (0, 1));";

/// Version 3: jobs ([`crate::jobs`]).
///
/// `subject` is a job (one run) or a cluster; `hex_id` is its id in the form that Flink's have; `cluster` is the id of the
/// cluster that a job came from, `started_ms` and `ended_ms` are those of its newest document `run` (of a lost job the time
/// of the loss is its end). Jobs of one name and organization are runs of one `pipeline`, whose `pipeline_id` is the public one. `version` says which document of a kind and key holds from when on; one without
/// `content_ref` says that from then on there is none. `content` has each document once, as JSON, and its XXH3 hash by
/// which it is found.
const VERSION_3: &str = "
CREATE TABLE pipeline (
    pipeline_ref INTEGER PRIMARY KEY,
    org TEXT NOT NULL,
    pipeline_id TEXT NOT NULL,
    name TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    UNIQUE (org, name),
    UNIQUE (org, pipeline_id)
) STRICT;
CREATE TABLE subject (
    subject_ref INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL CHECK (kind IN ('cluster', 'job')),
    org TEXT NOT NULL,
    id TEXT NOT NULL,
    hex_id TEXT NOT NULL,
    origin TEXT NOT NULL CHECK (origin IN ('flink', 'push', 'metrics')),
    cluster TEXT,
    pipeline_ref INTEGER REFERENCES pipeline,
    first_ms INTEGER NOT NULL,
    started_ms INTEGER,
    ended_ms INTEGER,
    UNIQUE (kind, id, org)
) STRICT;
CREATE INDEX subject_by_hex_id ON subject (kind, hex_id);
CREATE INDEX subject_of_pipeline ON subject (pipeline_ref, started_ms);
CREATE INDEX subject_by_end ON subject (kind, ended_ms);
CREATE TABLE content (
    content_ref INTEGER PRIMARY KEY,
    hash INTEGER NOT NULL,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX content_by_hash ON content (hash);
CREATE TABLE version (
    subject_ref INTEGER NOT NULL REFERENCES subject,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    from_ms INTEGER NOT NULL,
    content_ref INTEGER REFERENCES content,
    PRIMARY KEY (subject_ref, kind, key, from_ms)
) STRICT, WITHOUT ROWID;
CREATE INDEX version_of_content ON version (content_ref);
";

/// Version 4: components belong to an organization, often to none (an empty `org`); name and kind identify one within it.
///
/// The table is built anew, because SQLite cannot change what is unique in one. No id is given twice: the number that the next
/// one comes from goes along.
const VERSION_4: &str = "
CREATE TABLE component_of_org (
    runtime_id INTEGER PRIMARY KEY AUTOINCREMENT,
    org TEXT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    runtime TEXT,
    uri TEXT,
    status TEXT NOT NULL,
    capacity INTEGER,
    labels TEXT,
    pid INTEGER,
    hostname TEXT,
    meta TEXT,
    source TEXT NOT NULL CHECK (source IN ('call', 'report')),
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    heartbeat_ms INTEGER NOT NULL,
    deregistered_ms INTEGER,
    UNIQUE (org, name, kind)
) STRICT;
INSERT INTO component_of_org (runtime_id, org, name, kind, runtime, uri, status, capacity, labels, pid, hostname, meta, source,
    created_ms, updated_ms, heartbeat_ms, deregistered_ms)
SELECT runtime_id, '', name, kind, runtime, uri, status, capacity, labels, pid, hostname, meta, source, created_ms, updated_ms,
    heartbeat_ms, deregistered_ms FROM component;
DELETE FROM sqlite_sequence WHERE name = 'component_of_org';
INSERT INTO sqlite_sequence (name, seq) SELECT 'component_of_org', seq FROM sqlite_sequence WHERE name = 'component';
DROP TABLE component;
ALTER TABLE component_of_org RENAME TO component;
";

/// Version 5: jobs that engines push.
///
/// `claim` is what was said of a job's state (`is_ours` if we supposed it); `agent` what was agreed with its agent, when that was
/// last heard of, and since when the job is given up; `command` what the agent is to do. `agent.commands` are words between
/// spaces, `command.parameters` and `command.outcome` JSON objects.
const VERSION_5: &str = "
CREATE TABLE claim (
    subject_ref INTEGER NOT NULL REFERENCES subject,
    at_ms INTEGER NOT NULL,
    state TEXT NOT NULL,
    is_ours INTEGER NOT NULL CHECK (is_ours IN (0, 1)),
    PRIMARY KEY (subject_ref, at_ms)
) STRICT, WITHOUT ROWID;
CREATE TABLE agent (
    subject_ref INTEGER PRIMARY KEY REFERENCES subject,
    commands TEXT NOT NULL,
    sends_heartbeats INTEGER NOT NULL CHECK (sends_heartbeats IN (0, 1)),
    interval_ms INTEGER,
    missed_max INTEGER,
    when_missed TEXT CHECK (when_missed IN ('stale', 'failed', 'nothing')),
    heard_ms INTEGER NOT NULL,
    given_up_ms INTEGER
) STRICT;
CREATE TABLE command (
    command_ref INTEGER PRIMARY KEY AUTOINCREMENT,
    subject_ref INTEGER NOT NULL REFERENCES subject,
    id TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('cancel', 'stop', 'savepoint', 'checkpoint', 'rescale')),
    parameters TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'running', 'completed', 'failed')),
    created_ms INTEGER NOT NULL,
    changed_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    UNIQUE (subject_ref, id)
) STRICT;
";

/// One step per version.
const MIGRATIONS: [&str; 5] = [VERSION_1, VERSION_2, VERSION_3, VERSION_4, VERSION_5];

/// How long to wait for a tool that reads the file with a lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Statements that a connection keeps prepared. What is told of a job takes some thirty: with fewer places, each would be
/// prepared anew each time.
const STATEMENTS_KEPT: usize = 64;

/// Rows without what they refer to that a check lists; SQLite lists as many problems of pages.
const PROBLEMS_MAX: usize = 100;

/// Opens the file, creates it if missing, and brings it to the newest version.
pub(super) fn open(path: &Path) -> Result<Connection, CatalogError> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // A commit is synced before it is acknowledged.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    migrate(&mut connection, path)?;
    if let Some(parent) = path.parent() {
        let synced = std::fs::File::open(parent).and_then(|folder| folder.sync_all());
        synced.map_err(|e| CatalogError::io(parent, e))?;
    }
    Ok(connection)
}

/// A connection to a file that the writer has open; it sees what is committed.
pub(super) fn open_for_reading(path: &Path) -> Result<Connection, CatalogError> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    Ok(connection)
}

/// Opens a file of a known version that nobody else writes, and changes nothing.
pub(super) fn read_only(path: &Path) -> Result<Connection, CatalogError> {
    // Without a log beside it nobody has the file open: then it is read without making one.
    let log = path.with_file_name(format!("{}-wal", path.file_name().unwrap_or_default().to_string_lossy()));
    let is_alone = std::fs::metadata(log).map_or(true, |metadata| metadata.len() == 0);
    let name = path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let uri = format!("file:{name}?{}", if is_alone { "immutable=1" } else { "mode=ro" });
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(uri, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    let found: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found as usize > MIGRATIONS.len() {
        return Err(CatalogError::NewerSchema { path: path.to_owned(), found, known: MIGRATIONS.len() as u32 });
    }
    Ok(connection)
}

/// What SQLite finds wrong in a file.
pub(super) fn check(path: &Path) -> Result<Vec<String>, CatalogError> {
    let connection = read_only(path)?;
    let mut statement = connection.prepare("PRAGMA integrity_check")?;
    let rows = statement.query_map((), |row| row.get::<_, String>(0))?;
    let mut problems: Vec<String> = rows.collect::<Result<_, _>>()?;
    problems.retain(|problem| problem != "ok");
    let mut statement = connection.prepare("PRAGMA foreign_key_check")?;
    let rows = statement.query_map((), |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(2)?)))?;
    for row in rows.take(PROBLEMS_MAX) {
        let (table, parent) = row?;
        problems.push(format!("a row of {table} refers to a row of {parent} that is not there"));
    }
    Ok(problems)
}

/// Writes what is committed in a file into a new one. Others may write to the first meanwhile.
pub(super) fn copy(from: &Path, to: &Path) -> Result<(), CatalogError> {
    let connection = Connection::open_with_flags(from, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    let not_text = || std::io::Error::new(std::io::ErrorKind::InvalidInput, "the path is not UTF-8");
    let name = to.to_str().ok_or_else(|| CatalogError::io(to, not_text()))?;
    connection.execute("VACUUM INTO ?1", (name,))?;
    Ok(())
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), CatalogError> {
    let found: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
    if found > known {
        return Err(CatalogError::NewerSchema { path: path.to_owned(), found, known });
    }
    for (version, step) in (1..).zip(MIGRATIONS).skip(found as usize) {
        // A step and its version number are one transaction: a crash between them cannot be seen.
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_without_what_it_refers_to_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("catalog.db");
        let opened = open(&path).unwrap();
        assert_eq!(check(&path).unwrap(), Vec::<String>::new());
        opened.pragma_update(None, "foreign_keys", false).unwrap();
        opened.execute("INSERT INTO version VALUES (7, 'run', '', 1, NULL)", ()).unwrap();
        drop(opened);
        assert_eq!(check(&path).unwrap(), ["a row of version refers to a row of subject that is not there"]);
    }

    #[test]
    fn ids_of_components_go_on_where_they_were() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("catalog.db");
        let insert = "INSERT INTO component (name, kind, status, source, created_ms, updated_ms, heartbeat_ms)
                      VALUES ('a', 'broker', 'ready', 'call', 1, 2, 3);";
        let old = Connection::open(&path).unwrap();
        old.execute_batch(VERSION_1).unwrap();
        old.execute_batch(&format!("{insert} UPDATE component SET runtime_id = 7; DELETE FROM component;")).unwrap();
        old.execute_batch(&format!("{insert} DELETE FROM component;")).unwrap();
        let seq = |c: &Connection| -> i64 {
            c.query_row("SELECT seq FROM sqlite_sequence WHERE name = 'component'", (), |row| row.get(0)).unwrap()
        };
        let before = seq(&old);
        old.pragma_update(None, "user_version", 1).unwrap();
        drop(old);
        let opened = open(&path).unwrap();
        assert_eq!(seq(&opened), before);
        opened.execute_batch(&insert.replace("(name", "(org, name").replace("('a'", "('', 'a'")).unwrap();
        let id: i64 = opened.query_row("SELECT runtime_id FROM component", (), |row| row.get(0)).unwrap();
        assert_eq!(id, before + 1);
    }

    /// What a file of version 1 holds is there after the step to the newest, and the tables of jobs are.
    #[test]
    fn a_file_of_version_1_is_brought_to_the_newest_and_keeps_what_it_has() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("catalog.db");
        let old = Connection::open(&path).unwrap();
        old.execute_batch(VERSION_1).unwrap();
        old.pragma_update(None, "user_version", 1).unwrap();
        old.execute_batch(
            "INSERT INTO component (name, kind, status, source, created_ms, updated_ms, heartbeat_ms)
             VALUES ('a', 'broker', 'ready', 'call', 1, 2, 3);
             INSERT INTO retention_rule (matchers, keep_ms, created_ms, updated_ms) VALUES ('[]', 5, 1, 1)",
        )
        .unwrap();
        drop(old);
        let opened = open(&path).unwrap();
        let version: u32 = opened.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        assert_eq!(version as usize, MIGRATIONS.len());
        let count = |table: &str| -> i64 {
            opened.query_row(&format!("SELECT count(*) FROM {table}"), (), |row| row.get(0)).unwrap()
        };
        assert_eq!(["component", "retention_rule", "subject", "version", "content"].map(count), [1, 1, 0, 0, 0]);
        assert!(check(&path).unwrap().is_empty());
    }
}
