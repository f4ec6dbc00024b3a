//! Every number that a diagnosis turns on. `docs/diagnosis.md` lists them; a test compares.

/// The length of time before the moment over which readings are averaged, in milliseconds, unless another is asked for.
pub const WINDOW_MS: i64 = 120_000;
/// The shortest and the longest that can be asked for.
pub const WINDOW_MS_MIN: i64 = 1_000;
/// See [`WINDOW_MS_MIN`].
pub const WINDOW_MS_MAX: i64 = 86_400_000;

/// Share of its time that an operator waits for room to send from which on it counts as held up: where Flink's own level
/// `low` begins.
pub const HELD_UP: f64 = 0.10;
/// The same from which on it is held up badly: where Flink's level `high` begins.
pub const HELD_UP_BADLY: f64 = 0.50;
/// How full the queues behind an operator are from which on it counts as held up, where nobody measured its time: where
/// Arroyo's level `HIGH` begins.
pub const QUEUE_FULL: f64 = 0.66;

/// Share of its time that an operator works below which it holds nobody up.
pub const BUSY: f64 = 0.50;
/// The same from which on it has no reserve.
pub const SATURATED: f64 = 0.95;

/// Subtasks are uneven if somewhere in the order of their busy shares two neighbours are so far apart.
pub const UNEVEN_GAP: f64 = 0.30;
/// They get uneven numbers of records if the busy ones get so many times what the others get.
pub const UNEVEN_RECORDS: f64 = 2.0;
/// They get even numbers of records if it is less than so many times.
pub const EVEN_RECORDS: f64 = 1.25;
/// Busy share below which a subtask has next to nothing to do.
pub const IDLE: f64 = 0.10;

/// Share of what a source sends by which its backlog must grow to count.
pub const BACKLOG_OF_RECORDS: f64 = 0.05;

/// How far an operator's watermark is behind those of its inputs from which on it is said, in milliseconds.
pub const WATERMARK_BEHIND_MS: f64 = 10_000.0;
/// Event time that passes in one unit of real time below which a watermark stands still.
pub const WATERMARK_STANDS: f64 = 0.05;
/// The same below which an operator falls further and further behind.
pub const WATERMARK_FALLS_BACK: f64 = 0.90;

/// Newest checkpoints that are looked at.
pub const CHECKPOINTS: usize = 10;
/// How far back they are looked for, in milliseconds.
pub const CHECKPOINTS_MS: i64 = 3_600_000;
/// Share of the timeout that a checkpoint takes from which on it is slow.
pub const CHECKPOINT_OF_TIMEOUT: f64 = 0.5;
/// Duration of a checkpoint from which on it is slow where neither interval nor timeout is known, in milliseconds; also the
/// time that barriers take to arrive, where only that was measured.
pub const CHECKPOINT_SLOW_MS: i64 = 10_000;

/// How far back restarts count, in milliseconds.
pub const RESTARTS_MS: i64 = 3_600_000;
/// Restarts in that time from which on they are what is to be mended first.
pub const RESTARTS_MANY: usize = 3;

/// Most readings that one finding shows of one measure: those that tell the most.
pub const ITEMS: usize = 8;
