//! What was seen of one subject at one time: the unit of writing.

use super::JobOptions;
use crate::jobs::document::{Document, Kind};
use crate::jobs::error::JobsError;
use crate::jobs::model::run::Run;

/// Longest id of a subject, and longest name of an organization, in bytes.
pub(crate) const ID_BYTES_MAX: usize = 255;
/// Longest key of a document, in bytes: ids of two parts and numbers.
pub(crate) const KEY_BYTES_MAX: usize = 600;

/// What documents can be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SubjectKind {
    /// A cluster that jobs run in.
    Cluster,
    /// One run of a job.
    Job,
}

impl SubjectKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            SubjectKind::Cluster => "cluster",
            SubjectKind::Job => "job",
        }
    }
}

/// A job or a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subject {
    /// Which of the two.
    pub kind: SubjectKind,
    /// The organization, often empty.
    pub org: String,
    /// The id, unique within organization and kind.
    pub id: String,
}

impl Subject {
    /// A job.
    pub fn job(org: impl Into<String>, id: impl Into<String>) -> Subject {
        Subject { kind: SubjectKind::Job, org: org.into(), id: id.into() }
    }

    /// A cluster.
    pub fn cluster(org: impl Into<String>, id: impl Into<String>) -> Subject {
        Subject { kind: SubjectKind::Cluster, org: org.into(), id: id.into() }
    }
}

/// Who tells of a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The collector that follows a Flink cluster.
    Flink,
    /// The push API.
    Push,
    /// Series whose labels name a job.
    Metrics,
}

impl Origin {
    pub(super) const ALL: [Origin; 3] = [Origin::Flink, Origin::Push, Origin::Metrics];

    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Origin::Flink => "flink",
            Origin::Push => "push",
            Origin::Metrics => "metrics",
        }
    }
}

/// Documents of one subject at one time.
#[derive(Debug, Clone)]
pub struct Observation {
    pub(super) subject: Subject,
    pub(super) origin: Origin,
    pub(super) cluster: Option<String>,
    pub(super) at_ms: i64,
    pub(super) is_of_the_present: bool,
    pub(super) entries: Vec<Entry>,
}

/// A document as it will be stored; no body says that there is none any more.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    pub(super) key: String,
    pub(super) body: Option<String>,
    pub(super) run: Option<Run>,
}

/// What came of an observation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Documents that are new or changed.
    pub changed: usize,
    /// Documents that were there as they are.
    pub unchanged: usize,
}

impl Observation {
    /// Of a subject, at a time, by someone; nothing is in it yet.
    pub fn new(subject: Subject, origin: Origin, at_ms: i64) -> Observation {
        Observation { subject, origin, cluster: None, at_ms, is_of_the_present: false, entries: Vec::new() }
    }

    /// Says that it is so now, so that nothing later is known. What was recorded by a clock that was ahead is no reason to
    /// hide it: until the clock is there again, it holds from that time on.
    pub fn of_the_present(self) -> Observation {
        Observation { is_of_the_present: true, ..self }
    }

    /// What it is of.
    pub(crate) fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Says which cluster the job runs in.
    pub fn in_cluster(mut self, id: impl Into<String>) -> Observation {
        self.cluster = Some(id.into());
        self
    }

    /// Adds a document.
    ///
    /// # Errors
    /// [`JobsError::Unwritable`].
    pub fn put<D: Document>(&mut self, document: &D) -> Result<(), JobsError> {
        let unwritable = |e: serde_json::Error| JobsError::Unwritable { kind: D::KIND.as_str(), detail: e.to_string() };
        let body = serde_json::to_string(document).map_err(unwritable)?;
        let run = document.as_run().cloned();
        self.entries.push(Entry { kind: D::KIND, key: document.key(), body: Some(body), run });
        Ok(())
    }

    /// Says that a document is there no more.
    pub fn withdraw<D: Document>(&mut self, key: impl Into<String>) {
        self.entries.push(Entry { kind: D::KIND, key: key.into(), body: None, run: None });
    }

    /// Adds what another observation of the same subject and time has: they are written together then.
    pub fn append(&mut self, other: Observation) {
        debug_assert_eq!((&self.subject, self.at_ms), (&other.subject, other.at_ms));
        self.entries.extend(other.entries);
    }

    /// True if nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes out what may not be recorded, and gives why. Of a document that is too large the store knows then that there
    /// is none: an older one does not hold any more.
    pub(super) fn leave_out(&mut self, options: &JobOptions) -> Vec<JobsError> {
        let mut left_out = Vec::new();
        self.entries.retain_mut(|entry| {
            let Err(error) = entry.check(options) else { return true };
            let is_nameable = matches!(error, JobsError::DocumentTooLarge { .. });
            (entry.body, entry.run) = (None, None);
            left_out.push(error);
            is_nameable
        });
        left_out
    }

    /// The same in parts of at most so many documents and, unless one alone has more, so many bytes.
    pub(super) fn parts(mut self, documents_max: usize, bytes_max: u64) -> Vec<Observation> {
        let entries = std::mem::take(&mut self.entries);
        let mut parts: Vec<Observation> = Vec::new();
        let mut bytes = 0;
        for entry in entries {
            bytes += entry.bytes();
            match parts.last_mut().filter(|part| part.entries.len() < documents_max && bytes <= bytes_max) {
                Some(part) => part.entries.push(entry),
                None => {
                    bytes = entry.bytes();
                    parts.push(Observation { entries: vec![entry], ..self.clone() });
                }
            }
        }
        parts
    }

    /// What it takes while it waits.
    pub(super) fn bytes(&self) -> u64 {
        self.entries.iter().map(Entry::bytes).sum()
    }

    pub(super) fn check(&self, options: &JobOptions) -> Result<(), JobsError> {
        let names = [("the id", &self.subject.id), ("the organization", &self.subject.org)];
        let names = names.into_iter().chain(self.cluster.as_ref().map(|id| ("the cluster", id)));
        for (what, name) in names {
            within(what, name, ID_BYTES_MAX)?;
        }
        if self.entries.len() > options.documents_max {
            return Err(JobsError::TooManyDocuments { found: self.entries.len(), limit: options.documents_max });
        }
        self.entries.iter().try_for_each(|entry| entry.check(options))
    }
}

impl Entry {
    fn bytes(&self) -> u64 {
        (size_of::<Entry>() + self.key.len() + self.body.as_ref().map_or(0, String::len)) as u64
    }

    fn check(&self, options: &JobOptions) -> Result<(), JobsError> {
        within("the key of a document", &self.key, KEY_BYTES_MAX)?;
        let (bytes, limit) = (self.body.as_ref().map_or(0, String::len), options.document_bytes_max);
        if bytes > limit {
            return Err(JobsError::DocumentTooLarge { kind: self.kind.as_str(), bytes, limit });
        }
        Ok(())
    }
}

fn within(what: &'static str, name: &str, limit: usize) -> Result<(), JobsError> {
    if name.len() > limit { Err(JobsError::NameTooLong { what, bytes: name.len(), limit }) } else { Ok(()) }
}
