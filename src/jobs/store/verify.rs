//! Looks whether documents in a file are still what was written. SQLite keeps no checksums of its own: a flipped bit inside
//! a text is nothing to it.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension};

use super::record::hash;
use crate::catalog::{Catalog, CatalogError};

/// Documents that are named; of more only the number is told.
const NAMED_MAX: usize = 100;

/// Says which documents in the file of a catalog are not what was written, without changing it.
pub fn check(path: &Path) -> Vec<String> {
    match Catalog::read_only(path).and_then(|connection| changed(&connection)) {
        Ok(problems) => problems,
        Err(error) => vec![error.to_string()],
    }
}

fn changed(connection: &Connection) -> Result<Vec<String>, CatalogError> {
    let table = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'content'";
    // Files of before there were jobs have no documents.
    if connection.query_row(table, (), |_| Ok(())).optional()?.is_none() {
        return Ok(Vec::new());
    }
    let (mut problems, mut count) = (Vec::new(), 0_usize);
    let mut statement = connection.prepare("SELECT content_ref, hash, body FROM content")?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        if row.get::<_, i64>(1)? == hash(row.get_ref(2)?.as_bytes().unwrap_or_default()) {
            continue;
        }
        count += 1;
        if count <= NAMED_MAX {
            problems.push(document(connection, row.get(0)?)?);
        }
    }
    if count > NAMED_MAX {
        problems.push(format!("{} more documents are not what was written", count - NAMED_MAX));
    }
    Ok(problems)
}

/// A document by the first of those that it is of.
fn document(connection: &Connection, content: i64) -> Result<String, CatalogError> {
    let sql = "SELECT v.kind, v.key, s.kind, s.id FROM version v JOIN subject s USING (subject_ref) \
               WHERE v.content_ref = ?1 ORDER BY s.subject_ref LIMIT 1";
    let mut statement = connection.prepare_cached(sql)?;
    let text = |row: &rusqlite::Row<'_>, at| row.get::<_, String>(at);
    let found = statement.query_row((content,), |row| Ok([text(row, 0)?, text(row, 1)?, text(row, 2)?, text(row, 3)?]));
    Ok(match found.optional()? {
        Some([kind, key, of, id]) => format!("the document {kind} {key:?} of the {of} {id} is not what was written"),
        None => format!("the document {content}, which is of nothing, is not what was written"),
    })
}
