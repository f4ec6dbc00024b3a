//! Reading, as of any time.

use model::Scope;
use rusqlite::{Connection, OptionalExtension, Row};

use super::observation::{Origin, Subject, SubjectKind};
use crate::jobs::document::Document;
use crate::jobs::error::JobsError;
use crate::jobs::model::run::Run;

/// A subject that is in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    reference: i64,
    /// The job or cluster.
    pub subject: Subject,
    /// Who told of it last.
    pub origin: Origin,
    /// The cluster that it came from, of a job.
    pub cluster: Option<String>,
    /// The public id of its pipeline, of a job whose name is known.
    pub pipeline_id: Option<String>,
    /// When it was first heard of, in milliseconds since 1970.
    pub first_ms: i64,
    /// When it began, as far as known now.
    pub started_ms: Option<i64>,
    /// When it ended, or was lost, as far as known now.
    pub ended_ms: Option<i64>,
}

impl Known {
    /// The number of its row.
    pub(super) fn reference(&self) -> i64 {
        self.reference
    }

    /// The id in the form of Flink's.
    pub fn hex_id(&self) -> String {
        crate::jobs::hex_id(&self.subject.id)
    }
}

/// A document and the time from which it holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Version<D> {
    /// From when on.
    pub from_ms: i64,
    /// The document.
    pub document: D,
}

/// Sees one state of the file.
pub struct Reader<'c> {
    pub(super) connection: &'c Connection,
}

/// Number of [`COLUMNS`].
const KNOWN_COLUMNS: usize = 10;
const COLUMNS: &str =
    "s.subject_ref, s.kind, s.org, s.id, s.origin, s.cluster, p.pipeline_id, s.first_ms, s.started_ms, s.ended_ms";
const FROM: &str = "FROM subject s LEFT JOIN pipeline p USING (pipeline_ref)";
/// The order of subjects of one id; see [`Reader::find`].
const FIRST: &str = "ORDER BY s.origin <> 'flink', s.org";

impl<'c> Reader<'c> {
    pub(super) fn new(connection: &'c Connection) -> Reader<'c> {
        Reader { connection }
    }

    /// For tables that are no documents.
    pub(super) fn connection(&self) -> &'c Connection {
        self.connection
    }

    /// The references that a statement with one number gives.
    pub(super) fn references(&self, sql: &str, number: i64) -> Result<Vec<i64>, JobsError> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map((number,), |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The references of a cluster's jobs that have neither ended nor been lost.
    pub(super) fn running_in(&self, cluster: &Known) -> Result<Vec<i64>, JobsError> {
        let sql = "SELECT subject_ref FROM subject \
                   WHERE kind = 'job' AND ended_ms IS NULL AND cluster = ?1 AND org = ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map((&cluster.subject.id, &cluster.subject.org), |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The subjects of which a condition holds, in the order in which they were first heard of.
    pub(super) fn known_where(&self, condition: &str) -> Result<Vec<Known>, JobsError> {
        let sql = format!("SELECT {COLUMNS} {FROM} WHERE {condition} ORDER BY s.subject_ref");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let rows = statement.query_map((), known)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// A job or cluster by its id. Where several organizations in scope have one, that of a cluster that is followed comes
    /// first, as whoever pushes a job chooses its id; then the first organization by name.
    ///
    /// # Errors
    /// [`JobsError::Catalog`]; so for all that follow, with [`JobsError::Corrupt`] for those that give documents.
    pub fn find(&self, scope: &Scope, kind: SubjectKind, id: &str) -> Result<Option<Known>, JobsError> {
        let sql = format!("SELECT {COLUMNS} {FROM} WHERE s.kind = ?1 AND s.id = ?2 {FIRST}");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let rows = statement.query_map((kind.as_str(), id), known)?;
        first_in(scope, rows)
    }

    /// A job or cluster by its id in the form of Flink's.
    ///
    /// # Errors
    /// As [`Reader::find`].
    pub fn find_hex(&self, scope: &Scope, kind: SubjectKind, hex_id: &str) -> Result<Option<Known>, JobsError> {
        let sql = format!("SELECT {COLUMNS} {FROM} WHERE s.kind = ?1 AND s.hex_id = ?2 {FIRST}");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let rows = statement.query_map((kind.as_str(), hex_id), known)?;
        first_in(scope, rows)
    }

    /// The job that its engine calls so, the newest of them. It looks at the newest run of every job, so it is for ids that
    /// [`Reader::find`] does not know.
    ///
    /// # Errors
    /// As [`Reader::find`].
    pub fn find_engine_id(&self, scope: &Scope, engine_id: &str) -> Result<Option<Known>, JobsError> {
        let sql = format!(
            "SELECT {COLUMNS} {FROM} \
             JOIN version v ON v.subject_ref = s.subject_ref AND v.kind = ?1 AND v.key = '' AND v.from_ms = \
             (SELECT max(from_ms) FROM version w \
              WHERE w.subject_ref = s.subject_ref AND w.kind = ?1 AND w.key = '') \
             JOIN content c USING (content_ref) \
             WHERE s.kind = 'job' AND json_extract(c.body, '$.engine_id') = ?2 \
             ORDER BY s.started_ms DESC, s.subject_ref DESC"
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let rows = statement.query_map((Run::KIND.as_str(), engine_id), known)?;
        first_in(scope, rows)
    }

    /// All jobs or clusters that were heard of at a time, in the order in which they were first.
    ///
    /// # Errors
    /// As [`Reader::find`].
    pub fn list(&self, scope: &Scope, kind: SubjectKind, at_ms: i64) -> Result<Vec<Known>, JobsError> {
        let sql = format!("SELECT {COLUMNS} {FROM} WHERE s.kind = ?1 AND s.first_ms <= ?2 ORDER BY s.subject_ref");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let rows = statement.query_map((kind.as_str(), at_ms), known)?;
        all_in(scope, rows)
    }

    /// All jobs whose run was known at a time, with it. One whose run cannot be read is left out, with an error in the log:
    /// it must not hide the others.
    ///
    /// # Errors
    /// As [`Reader::find`].
    pub fn runs(&self, scope: &Scope, at_ms: i64) -> Result<Vec<(Known, Version<Run>)>, JobsError> {
        let sql = format!(
            "SELECT {COLUMNS}, v.key, v.from_ms, c.body {FROM} \
             JOIN version v ON v.subject_ref = s.subject_ref AND v.kind = ?1 AND v.key = '' AND v.from_ms = \
             (SELECT max(from_ms) FROM version w \
              WHERE w.subject_ref = s.subject_ref AND w.kind = ?1 AND w.key = '' AND w.from_ms <= ?2) \
             JOIN content c USING (content_ref) WHERE s.kind = 'job' ORDER BY s.subject_ref"
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let both =
            |row: &Row<'_>| -> rusqlite::Result<(Known, Stored)> { Ok((known(row)?, stored(row, KNOWN_COLUMNS)?)) };
        let mut runs = Vec::new();
        for row in statement.query_map((Run::KIND.as_str(), at_ms), both)? {
            let (job, stored) = row?;
            if !is_in(scope, &job) {
                continue;
            }
            match decode(&job, stored) {
                Ok(run) => runs.extend(run.map(|run| (job, run))),
                Err(error) => tracing::error!(%error, "a job is left out of a list"),
            }
        }
        Ok(runs)
    }

    /// The runs of one pipeline, by its public id, the newest first.
    ///
    /// # Errors
    /// As [`Reader::find`].
    pub fn of_pipeline(&self, scope: &Scope, pipeline_id: &str) -> Result<Vec<Known>, JobsError> {
        let sql =
            format!("SELECT {COLUMNS} {FROM} WHERE p.pipeline_id = ?1 ORDER BY s.started_ms DESC, s.subject_ref DESC");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let rows = statement.query_map((pipeline_id,), known)?;
        all_in(scope, rows)
    }

    /// The run of a name that began last, of those that were known at a time.
    ///
    /// # Errors
    /// As [`Reader::find`].
    pub fn newest_of(&self, scope: &Scope, name: &str, at_ms: i64) -> Result<Option<Known>, JobsError> {
        let sql = format!(
            "SELECT {COLUMNS} {FROM} WHERE p.name = ?1 AND s.first_ms <= ?2 \
             ORDER BY s.started_ms DESC, s.subject_ref DESC"
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let rows = statement.query_map((name, at_ms), known)?;
        first_in(scope, rows)
    }

    /// The document of a key that holds at a time.
    ///
    /// # Errors
    /// As [`Reader::find`].
    pub fn document<D: Document>(&self, of: &Known, key: &str, at_ms: i64) -> Result<Option<Version<D>>, JobsError> {
        let sql = "SELECT v.key, v.from_ms, c.body FROM version v LEFT JOIN content c USING (content_ref) \
                   WHERE v.subject_ref = ?1 AND v.kind = ?2 AND v.key = ?3 AND v.from_ms <= ?4 \
                   ORDER BY v.from_ms DESC LIMIT 1";
        let mut statement = self.connection.prepare_cached(sql)?;
        let found =
            statement.query_row((of.reference, D::KIND.as_str(), key, at_ms), |row| stored(row, 0)).optional()?;
        Ok(found.map(|stored| decode(of, stored)).transpose()?.flatten())
    }

    /// All documents of a kind that hold at a time, by key.
    ///
    /// # Errors
    /// As [`Reader::find`].
    pub fn documents<D: Document>(&self, of: &Known, at_ms: i64) -> Result<Vec<Version<D>>, JobsError> {
        // SQLite takes the other columns from the row that has the maximum.
        let sql = "SELECT v.key, v.from_ms, c.body FROM \
                   (SELECT key, max(from_ms) AS from_ms, content_ref FROM version \
                    WHERE subject_ref = ?1 AND kind = ?2 AND from_ms <= ?3 GROUP BY key) v \
                   LEFT JOIN content c USING (content_ref) ORDER BY v.key";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map((of.reference, D::KIND.as_str(), at_ms), |row| stored(row, 0))?;
        let mut documents = Vec::new();
        for row in rows {
            documents.extend(decode(of, row?)?);
        }
        Ok(documents)
    }

    /// The versions of a document that began in a closed range of time, oldest first and at most so many; none where it
    /// was withdrawn.
    ///
    /// # Errors
    /// As [`Reader::find`].
    pub fn history<D: Document>(
        &self,
        of: &Known,
        key: &str,
        range: model::TimeRange,
        limit: usize,
    ) -> Result<Vec<(i64, Option<D>)>, JobsError> {
        let sql = "SELECT v.key, v.from_ms, c.body FROM version v LEFT JOIN content c USING (content_ref) \
                   WHERE v.subject_ref = ?1 AND v.kind = ?2 AND v.key = ?3 AND v.from_ms BETWEEN ?4 AND ?5 \
                   ORDER BY v.from_ms LIMIT ?6";
        let mut statement = self.connection.prepare_cached(sql)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let values = (of.reference, D::KIND.as_str(), key, range.start_ms, range.end_ms, limit);
        let rows = statement.query_map(values, |row| stored(row, 0))?;
        let mut history = Vec::new();
        for row in rows {
            let stored = row?;
            let from_ms = stored.from_ms;
            history.push((from_ms, decode(of, stored)?.map(|version: Version<D>| version.document)));
        }
        Ok(history)
    }
}

/// A row of `version`.
struct Stored {
    key: String,
    from_ms: i64,
    body: Option<String>,
}

/// Key, time and body, which stand in a row from a column on.
fn stored(row: &Row<'_>, from: usize) -> rusqlite::Result<Stored> {
    Ok(Stored { key: row.get(from)?, from_ms: row.get(from + 1)?, body: row.get(from + 2)? })
}

fn decode<D: Document>(of: &Known, stored: Stored) -> Result<Option<Version<D>>, JobsError> {
    let Some(body) = stored.body else { return Ok(None) };
    let document = serde_json::from_str(&body).map_err(|e| JobsError::Corrupt {
        subject: of.subject.id.clone(),
        kind: D::KIND.as_str(),
        key: stored.key,
        detail: e.to_string(),
    })?;
    Ok(Some(Version { from_ms: stored.from_ms, document }))
}

fn known(row: &Row<'_>) -> rusqlite::Result<Known> {
    let is_cluster = row.get_ref(1)?.as_str()? == SubjectKind::Cluster.as_str();
    let kind = if is_cluster { SubjectKind::Cluster } else { SubjectKind::Job };
    let word = row.get_ref(4)?.as_str()?;
    // The table allows no fourth word.
    let origin = Origin::ALL.into_iter().find(|origin| origin.as_str() == word).unwrap_or(Origin::Metrics);
    Ok(Known {
        reference: row.get(0)?,
        subject: Subject { kind, org: row.get(2)?, id: row.get(3)? },
        origin,
        cluster: row.get(5)?,
        pipeline_id: row.get(6)?,
        first_ms: row.get(7)?,
        started_ms: row.get(8)?,
        ended_ms: row.get(9)?,
    })
}

fn is_in(scope: &Scope, known: &Known) -> bool {
    scope.forced().is_none_or(|matcher| matcher.matches(&known.subject.org))
}

fn first_in(scope: &Scope, rows: impl Iterator<Item = rusqlite::Result<Known>>) -> Result<Option<Known>, JobsError> {
    for row in rows {
        let known = row?;
        if is_in(scope, &known) {
            return Ok(Some(known));
        }
    }
    Ok(None)
}

fn all_in(scope: &Scope, rows: impl Iterator<Item = rusqlite::Result<Known>>) -> Result<Vec<Known>, JobsError> {
    let mut all = Vec::new();
    for row in rows {
        let known = row?;
        if is_in(scope, &known) {
            all.push(known);
        }
    }
    Ok(all)
}
