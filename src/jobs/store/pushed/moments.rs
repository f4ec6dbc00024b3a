//! What is known of a job at a moment, and which later moments there are.

use std::collections::BTreeSet;

use super::Writing;
use crate::jobs::document::Document;
use crate::jobs::model::plan::Plan;
use crate::jobs::model::run::Run;
use crate::jobs::model::vertex::{Attempt, Subtasks, Vertex};
use crate::jobs::push::picture::Picture;
use crate::jobs::push::{PushError, TaskDetail};

impl Writing<'_> {
    /// The picture at a time; none before the first.
    pub(super) fn picture(&self, at_ms: i64) -> Result<Option<Picture>, PushError> {
        let (reader, known) = (&self.reader, &self.known);
        let Some(run) = reader.document::<Run>(known, "", at_ms)? else { return Ok(None) };
        let plan = reader.document::<Plan>(known, "", at_ms)?.map(|version| version.document);
        let detail = reader.document::<TaskDetail>(known, "", at_ms)?.map(|version| version.document);
        let vertices = reader.documents::<Vertex>(known, at_ms)?.into_iter().map(|version| version.document);
        let subtasks = reader.documents::<Subtasks>(known, at_ms)?.into_iter().map(|version| version.document);
        Ok(Some(Picture {
            run: run.document,
            plan: plan.unwrap_or_default(),
            vertices: vertices.map(|vertex| (vertex.id.clone(), vertex)).collect(),
            subtasks: subtasks.map(|all| (all.vertex.clone(), all)).collect(),
            detail: detail.unwrap_or_default(),
        }))
    }

    pub(super) fn first_picture(&self) -> Result<Option<Picture>, PushError> {
        let sql = "SELECT min(from_ms) FROM version WHERE subject_ref = ?1 AND kind = ?2";
        let values = (self.known.reference(), Run::KIND.as_str());
        let first_ms: Option<i64> = self.connection.prepare_cached(sql)?.query_row(values, |row| row.get(0))?;
        first_ms.map_or(Ok(None), |first_ms| self.picture(first_ms))
    }

    /// The moments at which the picture changed after a time, or the job's state was said.
    pub(super) fn moments_after(&self, at_ms: i64) -> Result<BTreeSet<i64>, PushError> {
        const KINDS: [&str; 6] = [
            Run::KIND.as_str(),
            Plan::KIND.as_str(),
            Vertex::KIND.as_str(),
            Subtasks::KIND.as_str(),
            Attempt::KIND.as_str(),
            TaskDetail::KIND.as_str(),
        ];
        let sql = "SELECT DISTINCT from_ms FROM version WHERE subject_ref = ?1 AND kind IN (?2, ?3, ?4, ?5, ?6, ?7) \
                   AND from_ms > ?8 ORDER BY from_ms LIMIT ?9";
        let mut statement = self.connection.prepare_cached(sql)?;
        let [run, plan, vertex, subtasks, attempt, detail] = KINDS;
        let values = (self.known.reference(), run, plan, vertex, subtasks, attempt, detail, at_ms, self.one_too_many());
        let found = statement.query_map(values, |row| row.get(0))?.collect::<Result<BTreeSet<i64>, _>>()?;
        let claimed = self.claims.iter().map(|claim| claim.at_ms).filter(|claimed_ms| *claimed_ms > at_ms);
        self.within(found.into_iter().chain(claimed).collect())
    }

    pub(super) fn versions_after<D: Document>(&self, key: &str, at_ms: i64) -> Result<BTreeSet<i64>, PushError> {
        let sql = "SELECT from_ms FROM version WHERE subject_ref = ?1 AND kind = ?2 AND key = ?3 AND from_ms > ?4 \
                   ORDER BY from_ms LIMIT ?5";
        let mut statement = self.connection.prepare_cached(sql)?;
        let values = (self.known.reference(), D::KIND.as_str(), key, at_ms, self.one_too_many());
        let found = statement.query_map(values, |row| row.get(0))?.collect::<Result<BTreeSet<i64>, _>>()?;
        self.within(found)
    }

    fn one_too_many(&self) -> i64 {
        i64::try_from(self.options.push.late_changes_max).unwrap_or(i64::MAX).saturating_add(1)
    }

    fn within(&self, moments: BTreeSet<i64>) -> Result<BTreeSet<i64>, PushError> {
        let limit = self.options.push.late_changes_max;
        if moments.len() > limit { Err(PushError::TooLate { limit, at_ms: self.push.at_ms }) } else { Ok(moments) }
    }
}
