//! Commands for the agents of jobs: the table `command`.

use rusqlite::{Connection, OptionalExtension, Row};
use serde_json::{Map, Value};

use super::observation::{Origin, Subject};
use super::pushed::{self, agents};
use super::read::{Known, Reader};
use super::{JobOptions, Jobs};
use crate::jobs::command::{Command, CommandKind, CommandOutcome, CommandState, JOB_ENDED};
use crate::jobs::error::JobsError;
use crate::jobs::model::run::Run;
use crate::jobs::push::PushError;

/// Something that a job's agent is to do.
#[derive(Debug, Clone)]
pub struct CommandOrder {
    /// The job.
    pub job: Subject,
    /// What.
    pub kind: CommandKind,
    /// With what.
    pub parameters: Map<String, Value>,
    /// The id, if who orders gives one; the same again is the same command.
    pub id: Option<String>,
    /// When it is given.
    pub now_ms: i64,
}

/// What an agent says of a command.
#[derive(Debug, Clone)]
pub struct CommandReport {
    /// The job.
    pub job: Subject,
    /// The command.
    pub command: String,
    /// How far it is: anything but pending.
    pub state: CommandState,
    /// What came of it.
    pub outcome: CommandOutcome,
    /// When it says so.
    pub now_ms: i64,
}

impl Jobs {
    /// Gives a command to a job's agent; one for a job that has ended has failed at once. A cancellation that waits already is
    /// not given twice.
    ///
    /// # Errors
    /// [`PushError::NotRegistered`], [`PushError::NoAgent`], [`PushError::TooManyCommands`],
    /// [`PushError::CommandConflict`] if there is another command of this id.
    pub fn order_command(&self, order: CommandOrder) -> Result<Command, PushError> {
        let options = self.options;
        self.writer.write(move |connection| give(connection, &order, &options), |_| ())
    }

    /// Notes what an agent says of a command. The same may be said twice.
    ///
    /// # Errors
    /// [`PushError::NoCommand`], [`PushError::CommandConflict`] if it is done already.
    pub fn report_command(&self, report: CommandReport) -> Result<Command, PushError> {
        let options = self.options;
        self.writer.write(move |connection| note(connection, &report, &options), |_| ())
    }
}

impl Reader<'_> {
    /// The commands of a job, oldest first, as they were written: see [`Command::at`].
    ///
    /// # Errors
    /// As [`Reader::find`].
    pub fn commands(&self, of: &Known) -> Result<Vec<Command>, JobsError> {
        all(self.connection(), of)
    }

    /// One command of a job.
    ///
    /// # Errors
    /// As [`Reader::find`].
    pub fn command(&self, of: &Known, id: &str) -> Result<Option<Command>, JobsError> {
        one(self.connection(), of, id)
    }

    /// The commands that a job's agent carries out; none if nobody registered it.
    ///
    /// # Errors
    /// As [`Reader::find`].
    pub fn terms(&self, of: &Known) -> Result<Option<crate::jobs::Terms>, JobsError> {
        Ok(agents::of_job(self.connection(), of)?.map(|agent| agent.terms))
    }
}

fn pushed_job(connection: &Connection, job: &Subject) -> Result<Known, PushError> {
    let known = pushed::find(connection, job)?.filter(|known| known.origin == Origin::Push);
    known.ok_or_else(|| PushError::NotRegistered { id: job.id.clone() })
}

fn give(connection: &Connection, order: &CommandOrder, options: &JobOptions) -> Result<Command, PushError> {
    let job = pushed_job(connection, &order.job)?;
    if let Some(id) = &order.id
        && let Some(known) = one(connection, &job, id)?
    {
        return if known.kind == order.kind && known.parameters == order.parameters {
            Ok(known.at(order.now_ms))
        } else {
            Err(PushError::CommandConflict { command: id.clone(), detail: "is another one already".to_owned() })
        };
    }
    let known: Vec<Command> = all(connection, &job)?.into_iter().map(|command| command.at(order.now_ms)).collect();
    let is_same = |command: &&Command| order.kind == CommandKind::Cancel && command.kind == order.kind;
    if let Some(waiting) = known.iter().filter(|command| !command.state.is_done()).find(is_same) {
        return Ok(waiting.clone());
    }
    let mut command = Command {
        id: order.id.clone().map_or_else(|| new_id(connection, order), Ok)?,
        kind: order.kind,
        parameters: order.parameters.clone(),
        state: CommandState::Pending,
        created_ms: order.now_ms,
        changed_ms: order.now_ms,
        expires_ms: order.now_ms.saturating_add(options.push.command_timeout_ms),
        outcome: CommandOutcome::default(),
    };
    let run = Reader::new(connection).document::<Run>(&job, "", i64::MAX)?.map(|version| version.document);
    if let Some(run) = run.filter(|run| run.state.has_ended()) {
        command.state = CommandState::Failed;
        let error = format!("job {:?} is {} already", job.subject.id, run.state.as_str());
        command.outcome = CommandOutcome::failed(JOB_ENDED, error);
    } else {
        must_take(connection, &job, order.kind)?;
    }
    make_room(connection, &job, &known, options)?;
    insert(connection, &job, &command)?;
    Ok(command)
}

/// Looks whether the job's agent said that it takes such commands.
fn must_take(connection: &Connection, job: &Known, kind: CommandKind) -> Result<(), PushError> {
    let takes = agents::of_job(connection, job)?.map(|agent| agent.terms.commands).unwrap_or_default();
    if takes.contains(&kind) {
        return Ok(());
    }
    let words: Vec<&str> = takes.iter().map(|kind| kind.as_str()).collect();
    let others = if words.is_empty() { String::new() } else { format!(" (it takes {})", words.join(", ")) };
    Err(PushError::NoAgent { id: job.subject.id.clone(), kind: kind.as_str(), others })
}

/// The oldest command that is done goes when there are too many.
fn make_room(connection: &Connection, job: &Known, known: &[Command], options: &JobOptions) -> Result<(), PushError> {
    let limit = options.push.commands_max;
    let surplus = (known.len() + 1).saturating_sub(limit);
    let done: Vec<&Command> = known.iter().filter(|command| command.state.is_done()).take(surplus).collect();
    if done.len() < surplus {
        return Err(PushError::TooManyCommands { id: job.subject.id.clone(), limit });
    }
    for command in done {
        let sql = "DELETE FROM command WHERE subject_ref = ?1 AND id = ?2";
        connection.prepare_cached(sql)?.execute((job.reference(), &command.id))?;
    }
    Ok(())
}

fn note(connection: &Connection, report: &CommandReport, options: &JobOptions) -> Result<Command, PushError> {
    let job = pushed_job(connection, &report.job)?;
    let id = &report.command;
    let missing = || PushError::NoCommand { id: job.subject.id.clone(), command: id.clone() };
    let mut command = one(connection, &job, id)?.ok_or_else(missing)?.at(report.now_ms);
    if command.state.is_done() {
        if command.state == report.state && command.outcome == report.outcome {
            return Ok(command);
        }
        let error = command.outcome.error.map(|error| format!(": {error}")).unwrap_or_default();
        let detail = format!("is {} already{error}", command.state.as_str());
        return Err(PushError::CommandConflict { command: id.clone(), detail });
    }
    command.state = report.state;
    command.changed_ms = report.now_ms;
    command.outcome.clone_from(&report.outcome);
    if report.state == CommandState::Running {
        command.expires_ms = report.now_ms.saturating_add(options.push.command_result_timeout_ms);
    }
    let sql = "UPDATE command SET state = ?3, changed_ms = ?4, expires_ms = ?5, outcome = ?6 \
               WHERE subject_ref = ?1 AND id = ?2";
    let outcome = json(&command.outcome)?;
    let values = (job.reference(), id, command.state.as_str(), command.changed_ms, command.expires_ms, outcome);
    connection.prepare_cached(sql)?.execute(values)?;
    Ok(command)
}

/// An id that no other command has: there is one place and one time for each.
fn new_id(connection: &Connection, order: &CommandOrder) -> Result<String, PushError> {
    let sql = "SELECT seq FROM sqlite_sequence WHERE name = 'command'";
    let last: i64 = connection.prepare_cached(sql)?.query_row((), |row| row.get(0)).optional()?.unwrap_or(0);
    let CommandOrder { job, now_ms, .. } = order;
    let text = format!("{}:{}{}:{}{now_ms}/{last}", job.org.len(), job.org, job.id.len(), job.id);
    Ok(format!("{:032x}", xxhash_rust::xxh3::xxh3_128(text.as_bytes())))
}

fn insert(connection: &Connection, job: &Known, command: &Command) -> Result<(), PushError> {
    let sql = "INSERT INTO command (subject_ref, id, kind, parameters, state, created_ms, changed_ms, expires_ms, outcome) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    let values = (
        job.reference(),
        &command.id,
        command.kind.as_str(),
        json(&command.parameters)?,
        command.state.as_str(),
        command.created_ms,
        command.changed_ms,
        command.expires_ms,
        json(&command.outcome)?,
    );
    connection.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

fn json<T: serde::Serialize>(value: &T) -> Result<String, JobsError> {
    serde_json::to_string(value).map_err(|e| JobsError::Unwritable { kind: "command", detail: e.to_string() })
}

const COLUMNS: &str = "id, kind, parameters, state, created_ms, changed_ms, expires_ms, outcome";

fn all(connection: &Connection, job: &Known) -> Result<Vec<Command>, JobsError> {
    let sql = format!("SELECT {COLUMNS} FROM command WHERE subject_ref = ?1 ORDER BY command_ref");
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map((job.reference(),), of_row)?;
    rows.map(|row| read(job, row?)).collect()
}

fn one(connection: &Connection, job: &Known, id: &str) -> Result<Option<Command>, JobsError> {
    let sql = format!("SELECT {COLUMNS} FROM command WHERE subject_ref = ?1 AND id = ?2");
    let row = connection.prepare_cached(&sql)?.query_row((job.reference(), id), of_row).optional()?;
    row.map(|row| read(job, row)).transpose()
}

/// A row as it stands in the file.
struct Stored {
    id: String,
    kind: String,
    parameters: String,
    state: String,
    times: [i64; 3],
    outcome: String,
}

fn of_row(row: &Row<'_>) -> rusqlite::Result<Stored> {
    Ok(Stored {
        id: row.get(0)?,
        kind: row.get(1)?,
        parameters: row.get(2)?,
        state: row.get(3)?,
        times: [row.get(4)?, row.get(5)?, row.get(6)?],
        outcome: row.get(7)?,
    })
}

fn read(job: &Known, row: Stored) -> Result<Command, JobsError> {
    let corrupt = |detail: String| JobsError::Corrupt {
        subject: job.subject.id.clone(),
        kind: "command",
        key: row.id.clone(),
        detail,
    };
    let unknown = |word: &str| corrupt(format!("{word:?} is not known"));
    let [created_ms, changed_ms, expires_ms] = row.times;
    Ok(Command {
        id: row.id.clone(),
        kind: CommandKind::of(&row.kind).ok_or_else(|| unknown(&row.kind))?,
        parameters: serde_json::from_str(&row.parameters).map_err(|e| corrupt(e.to_string()))?,
        state: CommandState::of(&row.state).ok_or_else(|| unknown(&row.state))?,
        created_ms,
        changed_ms,
        expires_ms,
        outcome: serde_json::from_str(&row.outcome).map_err(|e| corrupt(e.to_string()))?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::pushed::tests::{PUSHING, registering};
    use super::super::tests::open_with;
    use super::*;

    fn jobs(dir: &tempfile::TempDir) -> (crate::catalog::Catalog, Jobs) {
        let (catalog, jobs) = open_with(dir, PUSHING);
        jobs.push(registering("j", 1)).unwrap();
        (catalog, jobs)
    }

    fn order(kind: CommandKind, now_ms: i64) -> CommandOrder {
        CommandOrder { job: Subject::job("", "j"), kind, parameters: Map::new(), id: None, now_ms }
    }

    fn report(command: &str, state: CommandState, now_ms: i64) -> CommandReport {
        let outcome = CommandOutcome::default();
        CommandReport { job: Subject::job("", "j"), command: command.to_owned(), state, outcome, now_ms }
    }

    #[test]
    fn a_command_waits_runs_and_is_done_and_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let (catalog, jobs) = self::jobs(&dir);
        let given = jobs.order_command(order(CommandKind::Savepoint, 10)).unwrap();
        assert_eq!((given.state, given.id.len(), given.expires_ms), (CommandState::Pending, 32, 110));
        let running = jobs.report_command(report(&given.id, CommandState::Running, 20)).unwrap();
        assert_eq!(running.expires_ms, 1020);
        let location = CommandOutcome { location: Some("s3://x".to_owned()), ..CommandOutcome::default() };
        let done = CommandReport { outcome: location.clone(), ..report(&given.id, CommandState::Completed, 30) };
        jobs.report_command(done.clone()).unwrap();
        assert_eq!(jobs.report_command(done).unwrap().outcome, location, "said twice");
        let refused = jobs.report_command(report(&given.id, CommandState::Failed, 40)).unwrap_err();
        assert!(refused.to_string().ends_with("is completed already"), "{refused}");
        drop((jobs, catalog));
        let (_catalog, jobs) = open_with(&dir, PUSHING);
        let kept = jobs.read(|reader| {
            let job = reader.find(&model::Scope::default(), crate::jobs::SubjectKind::Job, "j")?.unwrap();
            reader.commands(&job)
        });
        assert_eq!(kept.unwrap()[0].outcome, location);
    }

    #[test]
    fn what_came_too_late_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (_catalog, jobs) = self::jobs(&dir);
        let given = jobs.order_command(order(CommandKind::Stop, 10)).unwrap();
        let refused = jobs.report_command(report(&given.id, CommandState::Completed, 110)).unwrap_err();
        assert!(refused.to_string().contains("no agent took the command within 100 ms"), "{refused}");
        assert!(jobs.report_command(report(&given.id, CommandState::Running, 109)).is_ok(), "one millisecond before");
        assert!(matches!(
            jobs.report_command(report("x", CommandState::Running, 1)).unwrap_err(),
            PushError::NoCommand { .. }
        ));
    }

    #[test]
    fn as_many_wait_as_may_and_those_that_are_done_make_room() {
        let dir = tempfile::tempdir().unwrap();
        let (_catalog, jobs) = self::jobs(&dir);
        let ids: Vec<String> =
            (0..3).map(|now_ms| jobs.order_command(order(CommandKind::Savepoint, now_ms)).unwrap().id).collect();
        let refused = jobs.order_command(order(CommandKind::Savepoint, 3)).unwrap_err();
        assert!(refused.to_string().contains("limit jobs.max_commands = 3 reached"), "{refused}");
        jobs.report_command(report(&ids[1], CommandState::Completed, 4)).unwrap();
        jobs.order_command(order(CommandKind::Savepoint, 5)).unwrap();
        let gone = jobs.report_command(report(&ids[1], CommandState::Completed, 6)).unwrap_err();
        assert!(matches!(gone, PushError::NoCommand { .. }), "{gone}");
        jobs.order_command(order(CommandKind::Savepoint, 1_000)).unwrap();
    }

    #[test]
    fn a_cancellation_that_waits_is_not_given_twice_and_ids_tell_commands_apart() {
        let dir = tempfile::tempdir().unwrap();
        let (_catalog, jobs) = self::jobs(&dir);
        let first = jobs.order_command(order(CommandKind::Cancel, 10)).unwrap();
        assert_eq!(jobs.order_command(order(CommandKind::Cancel, 20)).unwrap().id, first.id);
        assert_ne!(jobs.order_command(order(CommandKind::Cancel, 200)).unwrap().id, first.id, "the first timed out");
        let named = |kind| CommandOrder { id: Some("0a".to_owned()), ..order(kind, 30) };
        assert_eq!(
            jobs.order_command(named(CommandKind::Savepoint)).unwrap(),
            jobs.order_command(named(CommandKind::Savepoint)).unwrap()
        );
        let refused = jobs.order_command(named(CommandKind::Stop)).unwrap_err();
        assert_eq!(refused.to_string(), r#"command "0a" is another one already"#);
    }

    #[test]
    fn who_takes_no_such_command_and_what_has_ended_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let (_catalog, jobs) = self::jobs(&dir);
        let refused = jobs.order_command(order(CommandKind::Rescale, 10)).unwrap_err();
        assert!(
            refused.to_string().ends_with(r#"takes no command "rescale" (it takes cancel, stop, savepoint)"#),
            "{refused}"
        );
        let unknown = CommandOrder { job: Subject::job("", "k"), ..order(CommandKind::Cancel, 10) };
        assert!(matches!(jobs.order_command(unknown).unwrap_err(), PushError::NotRegistered { .. }));
        let end = crate::jobs::Push {
            state: Some(crate::jobs::JobState::Finished),
            ..crate::jobs::Push::new(Subject::job("", "j"), 20, 20)
        };
        jobs.push(end).unwrap();
        let given = jobs.order_command(order(CommandKind::Rescale, 30)).unwrap();
        assert_eq!((given.state, given.outcome.error_class.as_deref()), (CommandState::Failed, Some(JOB_ENDED)));
    }
}
