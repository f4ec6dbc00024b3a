//! Every option of the server, once: name, default, meaning, and how its text is read.
//!
//! Precedence: flag, environment (`STREAMGAUGE_` and the name in capitals, dots as underscores), file (TOML, dots as
//! tables), default. The rest of the program sees only the resolved [`Config`].

mod flink;
mod layers;
mod rights;
mod rollups;
mod values;

pub use flink::{FlinkCluster, FlinkClusters, ReporterAddress};
pub use layers::{ConfigError, Layer, resolve};
pub use rights::Anonymous;
pub use rollups::Rollups;
pub use values::{
    ByteSize, Codec, Depth, Duration, FlinkShape, Format, HeartbeatsMissed, JobLimits, LabelColumns, OptionValue,
    Precision, Registration, RetentionSize, SeriesMax, ServerUrl, StoreUrl, Sync, Zone,
};

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::auth::Rights;

/// One entry of [`OPTIONS`].
pub struct OptionDef {
    /// The name in the file, such as `wal.sync`.
    pub name: &'static str,
    /// The default as text.
    pub default: &'static str,
    /// What it means, for people.
    pub doc: &'static str,
    /// Reads a text into the configuration; the error says what is wrong with it.
    pub set: fn(&mut Config, &str) -> Result<(), String>,
    /// The value as text.
    pub show: fn(&Config) -> String,
}

impl OptionDef {
    /// The environment variable that sets this option.
    pub fn variable(&self) -> String {
        format!("STREAMGAUGE_{}", self.name.replace('.', "_").to_uppercase())
    }

    /// The flag that sets this option, without the dashes before it.
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }
}

macro_rules! options {
    ($($name:literal $field:ident: $kind:ty = $default:literal, $doc:literal;)*) => {
        /// The resolved configuration.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Config {
            $(#[doc = $doc] pub $field: $kind,)*
        }

        /// All options, in the order of the documentation.
        pub const OPTIONS: &[OptionDef] = &[$(OptionDef {
            name: $name,
            default: $default,
            doc: $doc,
            set: |config, text| {
                config.$field = OptionValue::parse(text)?;
                Ok(())
            },
            show: |config| OptionValue::show(&config.$field),
        },)*];

        impl Config {
            /// All defaults.
            ///
            /// # Errors
            /// None in practice: a test reads each default.
            pub fn defaults() -> Result<Self, String> {
                Ok(Config { $($field: OptionValue::parse($default)?,)* })
            }
        }
    };
}

options! {
    "data" data: PathBuf = "./streamgauge-data", "Data directory; created if missing.";
    "listen" listen: SocketAddr = "127.0.0.1:8082", "Address and port of the HTTP server.";
    "scrape_config" scrape_config: Option<PathBuf> = "", "Scrape targets, in a file of Prometheus's format (prometheus.yml).";
    "scrape_self" scrape_self: bool = "true", "Scrape the server itself (job `streamgauge`) and this host (job `node`).";
    "scrape_self_interval" scrape_self_interval: Duration = "10s", "Interval of these two built-in jobs.";
    "retention" retention: Duration = "0", "How long samples are kept, such as `30d`; 0 keeps them for ever.";
    "retention_size" retention_size: RetentionSize = "auto", "Largest size of the data directory; the oldest days go first. `auto` is half of the file system, 0 no bound.";
    "rollups" rollups: Rollups = "", "Roll-ups to keep, as `RESOLUTION:RETENTION` or `RESOLUTION:RETENTION:{MATCHERS}` separated by semicolons, such as `5m:90d; 1h:0` (0 keeps them for ever): what is left of old samples, and what answers long ranges. At most 8; each resolution divides a day and the next coarser one.";
    "storage.max_retention_rules" storage_max_retention_rules: usize = "1000", "Most retention rules.";
    "auth_token_file" auth_token_file: Option<PathBuf> = "", "File of tokens, each with its rights and perhaps an organization: `docs/auth.md`. `streamgauge token` adds one; the file is read again on reload.";
    "auth_anonymous" auth_anonymous: Anonymous = "auto", "What requests from beyond this machine may do without a token: `read`, `write`, both by a comma, or `none`; `auto` is `read,write` without `auth_token_file`, and `none` with it.";
    "auth_local" auth_local: Rights = "read,write,control,admin", "What requests from this machine (loopback, and no sign of a proxy) may do without a token: rights by commas, or `none`.";
    "log_format" log_format: Format = "text", "Log lines as `text` or `json`.";
    "log_level" log_level: String = "info", "Least level that is logged: error, warn, info, debug, trace, or a filter such as `info,streamgauge::scrape=debug`.";
    "wal.sync" wal_sync: Sync = "always", "When a batch is synced to disk: `always` before it is acknowledged, or at an interval such as `1s` (a power loss may then cost what came since).";
    "wal.file_bytes" wal_file_bytes: ByteSize = "64MiB", "Size of one WAL file at which the next begins.";
    "wal.max_bytes" wal_max_bytes: ByteSize = "512MiB", "Size of the whole WAL at which the head is flushed; bounds the replay at start.";
    "head.max_samples" head_max_samples: u64 = "32000000", "Samples in memory at which they are flushed into segments.";
    "head.max_age" head_max_age: Duration = "2h", "Age of the head at which it is flushed into segments.";
    "head.series_idle" head_series_idle: Duration = "20m", "How long a series may be without samples until a flush makes the head forget it.";
    "storage.max_open_partitions" storage_max_open_partitions: usize = "64", "Most days that one flush writes segments for; samples of older days share one segment.";
    "storage.codec" storage_codec: Codec = "balanced", "What matters more when segments are encoded: `balanced`, `size` (smallest), or `speed` (read fastest, about a tenth larger).";
    "storage.precision" storage_precision: Precision = "", "Round the values of some series to significant decimal digits when they leave memory, for good: rules such as `{__name__=~\"latency_.*\"}=6`, by semicolons; the first that suits a series counts. Empty rounds nothing.";
    "parquet.enabled" parquet_enabled: bool = "true", "Turn old days into Parquet, which others read without this server.";
    "parquet.after" parquet_after: Duration = "30d", "How long after its end a day becomes Parquet.";
    "parquet.label_columns" parquet_label_columns: LabelColumns = "job,instance,component,job_id,job_name,operator_id,operator_name,task_id,task_name,subtask_index,le,quantile", "Labels that have a column of their own there, by commas; all labels are in the file of series.";
    "storage.max_deletes" storage_max_deletes: usize = "1000", "Most deletes that are not purged yet; more are refused.";
    "storage.delete_undo" storage_delete_undo: Duration = "24h", "How long a delete can be undone; then what it hides is purged.";
    "storage.compaction_rate" storage_compaction_rate: ByteSize = "16MiB", "Bytes of segments that compaction in the background reads in a second; while queries run it works a fifth of the time at most. 0 is no bound, and no regard for queries.";
    "storage.min_free_bytes" storage_min_free_bytes: ByteSize = "256MiB", "Free space on the file system below which the store turns read-only.";
    "parquet.store" parquet_store: Option<StoreUrl> = "", "Where days that became Parquet are kept: `s3://bucket/prefix`, with keys, region and endpoint from the variables `AWS_*`, or `file:///path`. Without it they stay in the data directory.";
    "parquet.keep_local" parquet_keep_local: Duration = "0", "Days that ended less than this ago keep their local copy although they are in the store, such as `30d`.";
    "parquet.store_timeout" parquet_store_timeout: Duration = "10s", "Longest time that one read from the store may take, with all its attempts.";
    "parquet.store_cache_bytes" parquet_store_cache_bytes: ByteSize = "64MiB", "Memory for what was read from the store.";
    "ingest.max_series" ingest_max_series: u64 = "20000000", "Most active series; new ones above are refused. A series is active until the first flush after it had no samples for `head.series_idle`.";
    "ingest.job_label" ingest_job_label: String = "job", "The label that names the job for the budgets of series; series without it share one budget.";
    "ingest.max_series_per_job" ingest_max_series_per_job: SeriesMax = "unlimited", "Most active series of each job; new ones above are refused, those that are there go on. A number or `unlimited`.";
    "ingest.max_series_of_job" ingest_max_series_of_job: JobLimits = "", "Limits of some jobs in place of `ingest.max_series_per_job`, as a list such as `batch=100000, \"a, b\"=5000`.";
    "ingest.max_future" ingest_max_future: Duration = "1d", "How far in the future a sample may lie.";
    "ingest.max_pending_bytes" ingest_max_pending_bytes: ByteSize = "256MiB", "Bytes of batches that may wait for the WAL; above, senders are told to come back later.";
    "ingest.max_body_bytes" ingest_max_body_bytes: ByteSize = "32MiB", "Largest request body as sent.";
    "ingest.max_decoded_bytes" ingest_max_decoded_bytes: ByteSize = "128MiB", "Largest request body or scrape after decompression.";
    "ingest.max_batch_samples" ingest_max_batch_samples: usize = "1000000", "Most samples in one request.";
    "ingest.max_labels" ingest_max_labels: usize = "64", "Most labels of a series, its name included.";
    "ingest.max_name_bytes" ingest_max_name_bytes: usize = "255", "Longest metric name or label name, in bytes.";
    "ingest.max_value_bytes" ingest_max_value_bytes: usize = "4096", "Longest label value, in bytes.";
    "ingest.max_histogram_buckets" ingest_max_histogram_buckets: usize = "512", "Most buckets of a native histogram sample. One with more is merged into coarser buckets until it fits, or refused if it cannot be: custom bounds, or the coarsest schema. The format itself holds 4096.";
    "ingest.max_help_bytes" ingest_max_help_bytes: usize = "4096", "Longest help text, in bytes; longer ones are cut.";
    "ingest.max_unit_bytes" ingest_max_unit_bytes: usize = "50", "Longest unit of a metric, in bytes. A longer one refuses the metric in a report, and what scrapes and remote write say of the family.";
    "ingest.max_metadata" ingest_max_metadata: usize = "200000", "Metric families whose type, help and unit are kept; those of more are left out and counted.";
    "ingest.max_exemplars" ingest_max_exemplars: usize = "100000", "Exemplars that are kept in memory, the newest.";
    "ingest.max_concurrent" ingest_max_concurrent: usize = "64", "Most requests that write at the same time; more wait.";
    "report.registration" report_registration: Registration = "auto", "Whether an unknown component that reports metrics is registered by itself (`auto`) or refused (`required`).";
    "report.naive_timezone" report_naive_timezone: Zone = "UTC", "Time zone of timestamps without one in reports: UTC, or an offset such as `+02:00`.";
    "report.max_type_bytes" report_max_type_bytes: usize = "50", "Longest component type in reports and registrations, in bytes.";
    "report.max_components" report_max_components: usize = "100000", "Most components in the registry; new ones above are refused.";
    "report.max_registry_bytes" report_max_registry_bytes: ByteSize = "256MiB", "Most memory that components and what they say of themselves may take; new ones above are refused.";
    "report.max_listed_rejections" report_max_listed_rejections: usize = "1000", "Most refused metrics that one answer lists.";
    "report.max_registration_bytes" report_max_registration_bytes: ByteSize = "64KiB", "Largest body of a registration, a deregistration or a heartbeat with its metrics.";
    "noetl.server_name" noetl_server_name: String = "noetl-server", "Component name of this server's own reports; also set by `NOETL_SERVER_NAME`.";
    "noetl.server_url" noetl_server_url: String = "", "Address that this server registers for itself, by default where it listens; also set by `NOETL_SERVER_URL`.";
    "noetl.server_metrics_interval" noetl_server_metrics_interval: Duration = "1m", "Interval of this server's own reports, 0 for none; also set by `NOETL_SERVER_METRICS_INTERVAL`, in seconds.";
    "noetl.worker_pool_name" noetl_worker_pool_name: String = "", "The worker pool that this process belongs to, if any: it registers it, sends its heartbeats and reports its metrics; component name of self-reports that name none. Also set by `NOETL_WORKER_POOL_NAME`.";
    "noetl.worker_id" noetl_worker_id: String = "", "Label `worker_id` of self-reports of the worker pool; also set by `NOETL_WORKER_ID`.";
    "noetl.worker_metrics_interval" noetl_worker_metrics_interval: Duration = "1m", "How often components are expected to report, and the pool of this process does; one that only reports is offline after four of these. Also set by `NOETL_WORKER_METRICS_INTERVAL`, in seconds.";
    "noetl.worker_heartbeat_interval" noetl_worker_heartbeat_interval: Duration = "15s", "How often registered components are expected to send a heartbeat, and the pool of this process does; they are offline when four are missing. Also set by `NOETL_WORKER_HEARTBEAT_INTERVAL`, in seconds.";
    "export.window" export_window: Duration = "5m", "The export of latest values has the series that received a sample within this time.";
    "export.max_concurrent" export_max_concurrent: usize = "2", "Most exports of samples (`/api/streamgauge/v1/export`) at the same time; more are refused.";
    "jobs.retention" jobs_retention: Duration = "90d", "How long jobs that have ended are kept, and older states of what still runs; 0 keeps them for ever.";
    "jobs.max_jobs" jobs_max_jobs: usize = "100000", "Most jobs; above, the one that ended first is forgotten, and a new one is refused if none has ended.";
    "jobs.max_checkpoints" jobs_max_checkpoints: usize = "200", "Most checkpoints that are kept of one job, the newest; of the ten newest also the parts of each subtask.";
    "jobs.max_attempts" jobs_max_attempts: usize = "100", "Most attempts that are kept of one subtask besides the one that is now, the newest.";
    "jobs.max_documents" jobs_max_documents: usize = "10000", "Most documents (vertices, subtasks of a vertex, checkpoints, …) that one observation of a job may have.";
    "jobs.max_document_bytes" jobs_max_document_bytes: ByteSize = "4MiB", "Largest document of a job.";
    "jobs.max_pending_bytes" jobs_max_pending_bytes: ByteSize = "64MiB", "Bytes of documents that may wait to be written; above, who brings them is told to come back later.";
    "jobs.max_report_bytes" jobs_max_report_bytes: ByteSize = "4MiB", "Largest body that registers a job or reports of one.";
    "jobs.max_vertices" jobs_max_vertices: usize = "1000", "Most vertices of a job that is pushed.";
    "jobs.max_subtasks" jobs_max_subtasks: usize = "20000", "Most subtasks of a job that is pushed, of all its vertices together.";
    "jobs.max_name_bytes" jobs_max_name_bytes: usize = "1024", "Longest name, path or other short text of a job that is pushed, in bytes; ids have at most 255.";
    "jobs.max_text_bytes" jobs_max_text_bytes: usize = "65536", "Longest description, message or stack trace of a job that is pushed, in bytes.";
    "jobs.max_exceptions" jobs_max_exceptions: usize = "1000", "Most exceptions that are kept of one job, the newest.";
    "jobs.max_late_changes" jobs_max_late_changes: usize = "1000", "Most changes of a job that may lie after the moment that a report tells of; an older report is refused.";
    "jobs.heartbeat_interval" jobs_heartbeat_interval: Duration = "15s", "How often the agent of a job that is pushed is expected to send a heartbeat, once it sends any or says that it will; its registration may say otherwise.";
    "jobs.max_missed_heartbeats" jobs_max_missed_heartbeats: u64 = "4", "How many heartbeats of it may be missing.";
    "jobs.when_heartbeats_missed" jobs_when_heartbeats_missed: HeartbeatsMissed = "stale", "What it means if more are missing: `stale` (the job stays as it was last known, and says so), `failed` (it has failed), or `nothing`.";
    "jobs.max_commands" jobs_max_commands: usize = "100", "Most commands that are kept of one job; a new one is refused if none of them is done.";
    "jobs.command_timeout" jobs_command_timeout: Duration = "1m", "How long a command waits for the job's agent to take it; then it has failed.";
    "jobs.command_result_timeout" jobs_command_result_timeout: Duration = "1h", "How long an agent that took a command may say nothing of it; then it has failed.";
    "jobs.implied" jobs_implied: bool = "true", "Whether series whose labels name a job that nobody told of make it known: `job_id` or `pipeline_id`, with the labels of Flink, Arroyo and Conveyor, or `operator_id` and `subtask_index`.";
    "jobs.implied_interval" jobs_implied_interval: Duration = "15s", "How often series are looked at for such jobs; not more often than every 100ms.";
    "jobs.implied_stale_after" jobs_implied_stale_after: Duration = "5m", "How long the series of such a job, or of one of its operators, may have no samples until it counts as gone; after a fifth of it if staleness markers ended them.";
    "jobs.max_implied_jobs" jobs_max_implied_jobs: usize = "10000", "Most jobs that only series tell of; above, the one that has been silent longest is forgotten, and a new one is left out if none is silent.";
    "jobs.max_implied_tasks" jobs_max_implied_tasks: usize = "4000", "Most subtasks, of all operators together, of a job that only series tell of; those above are left out.";
    "flink" flink: FlinkClusters = "", "Flink clusters to follow: tables `[[flink]]` in the file, each with `urls` (of its JobManagers) and, if need be, `name`, `metrics` (`scrape` if its Prometheus reporters are scraped, `rest` if not), `reporters` (such as `[\"host:9250-9260\"]`; without it they are looked for, with `[]` none is scraped), `max_probes` (for reporters, in one interval, 64), `interval` (10s), `timeout` (10s), `max_requests_per_job` (in one interval, 40), `org`, `token_file`; or the same as a JSON list; or the addresses of one cluster by commas.";
    "flink_shape" flink_shape: FlinkShape = "superset", "Fields that the answers of Flink's API have: `page` (of the API page, Flink 1.9), `2.x`, or `superset` (all of them).";
    "flink_listen" flink_listen: Option<SocketAddr> = "", "Address and port, such as `127.0.0.1:8081`, on which every path is Flink's API.";
    "flink_listen_shape" flink_listen_shape: FlinkShape = "superset", "The same as `flink_shape`, for `flink_listen`.";
    "flink_max_upload_bytes" flink_max_upload_bytes: ByteSize = "1GiB", "Largest body, such as a jar, that is sent on to a Flink cluster.";
    "tsp_listen" tsp_listen: Option<SocketAddr> = "", "Address and port on which every path is TSP's API.";
    "arroyo_listen" arroyo_listen: Option<SocketAddr> = "", "Address and port, such as `127.0.0.1:8000`, on which every path is Arroyo's API, and which answers the gRPC method `JobMetrics` of its controller as well (HTTP/2 without TLS).";
    "arroyo.controller" arroyo_controller: ServerUrl = "", "Address of an Arroyo controller, such as `http://controller:5116`: the metrics of running jobs are asked of it over gRPC. Without it they come from the series of the workers.";
    "arroyo.controller_org" arroyo_controller_org: String = "", "The organization that the controller's jobs belong to, where organizations are told apart: it is asked about these jobs and no others.";
    "arroyo.controller_timeout" arroyo_controller_timeout: Duration = "10s", "Longest time that the controller may take for an answer, the connection included.";
    "arroyo.max_answer_bytes" arroyo_max_answer_bytes: ByteSize = "64MiB", "Largest answer of the controller, as sent and decompressed.";
    "arroyo.max_request_bytes" arroyo_max_request_bytes: ByteSize = "64KiB", "Largest gRPC request on `arroyo_listen`, as sent (with the five bytes before the message) and decompressed.";
    "arroyo.max_points" arroyo_max_points: usize = "1000000", "Most points of one answer with an Arroyo job's metrics, of all its operators, subtasks and metrics together.";
    "query.timeout" query_timeout: Duration = "2m", "Longest time that a query may take.";
    "query.max_concurrent" query_max_concurrent: usize = "20", "Most queries at the same time; more wait.";
    "query.max_waiting" query_max_waiting: usize = "200", "Most queries that wait; more are refused.";
    "query.max_samples" query_max_samples: u64 = "2000000000", "Most samples that one query may read.";
    "query.max_bytes" query_max_bytes: ByteSize = "2GiB", "Most memory that one query may hold.";
    "query.max_steps" query_max_steps: usize = "11000", "Most steps of a range query.";
    "query.max_series" query_max_series: usize = "1000000", "Most series that one answer of the series, labels or export endpoints may hold.";
    "query.max_expression_bytes" query_max_expression_bytes: usize = "4194304", "Longest expression, in bytes.";
    "query.max_depth" query_max_depth: Depth = "250", "Deepest nesting of an expression, at most 500.";
    "query.lookback_delta" query_lookback_delta: Duration = "5m", "How far back an instant selector looks for a sample.";
    "query.default_subquery_step" query_default_subquery_step: Duration = "1m", "Step of subqueries that name none.";
    "query.delayed_name_removal" query_delayed_name_removal: bool = "true", "Metric names that a function makes untrue are dropped at the end of an evaluation (Prometheus's promql-delayed-name-removal), not at once.";
    "query.max_body_bytes" query_max_body_bytes: ByteSize = "8MiB", "Largest form body of a query.";
    "query.log_slower" query_log_slower: Duration = "10s", "Queries that take longer are logged; 0 logs none.";
    "http.max_connections" http_max_connections: usize = "4096", "Most open connections.";
    "http.max_streams" http_max_streams: u32 = "100", "Most requests at the same time over one HTTP/2 connection (`arroyo_listen`); more wait.";
    "http.header_timeout" http_header_timeout: Duration = "30s", "Longest time that a client may take to send its request headers.";
    "http.body_timeout" http_body_timeout: Duration = "1m", "Longest time that a client may take to send a request body, and longest that it may take nothing of its answer.";
    "http.max_body_memory" http_max_body_memory: ByteSize = "512MiB", "Most memory that all request bodies may take together, as sent and decompressed; senders of more are told to come back later. Give it more than one request may need: `ingest.max_body_bytes` and `ingest.max_decoded_bytes`.";
    "http.shutdown_timeout" http_shutdown_timeout: Duration = "10s", "How long open requests may go on after a stop signal.";
}

/// The reference page of all options, in Markdown (`docs/options.md`).
pub fn reference() -> String {
    let mut page = String::from(
        "# Options\n\n\
         Set by flag, environment variable or TOML file (`--config`); flags win over variables, variables over the file.\n\
         Limits name themselves in the errors they cause.\n\n\
         | option | flag | variable | default | meaning |\n|---|---|---|---|---|\n",
    );
    for option in OPTIONS {
        let default = if option.default.is_empty() { "none".to_owned() } else { format!("`{}`", option.default) };
        let doc = option.doc.replace('|', "\\|");
        page.push_str(&format!(
            "| `{}` | `--{}` | `{}` | {default} | {doc} |\n",
            option.name,
            option.flag(),
            option.variable()
        ));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `UPDATE_DOCS=1 cargo test` writes the page.
    #[test]
    fn the_reference_page_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/options.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, reference()).unwrap();
        }
        let page = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(page, reference(), "run UPDATE_DOCS=1 cargo test reference_page");
    }

    #[test]
    fn every_default_is_read_and_shown_as_it_is_written() {
        let config = Config::defaults().unwrap();
        for option in OPTIONS {
            let mut again = config.clone();
            let shown = (option.show)(&config);
            (option.set)(&mut again, &shown).unwrap_or_else(|e| panic!("{}: {e}", option.name));
            assert_eq!(again, config, "{} shown as {shown:?}", option.name);
            assert!(option.doc.ends_with('.'), "{} has a sentence", option.name);
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = OPTIONS.iter().map(OptionDef::variable).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), OPTIONS.len());
    }
}
