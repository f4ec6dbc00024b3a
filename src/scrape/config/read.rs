//! From the tree to the resolved configuration: defaults, what a job takes over from `global`, and the checks that
//! Prometheus makes (`config/config.go`, 3.5).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::Labels;

use super::section::{Problem, Reader, Section, Severity};
use super::yaml::{self, Node, Value};
use super::{Auth, FileSd, HttpSd, Job, Limits, Loaded, Protocol, ScrapeConfig, TargetGroup, auth, keys};
use crate::config::{ByteSize, Duration};
use crate::exposition::Forms;
use crate::scrape::glob;
use crate::scrape::relabel::{Action, Rule, RuleSpec};

const DEFAULT_INTERVAL: Duration = Duration(60_000);
const DEFAULT_TIMEOUT: Duration = Duration(10_000);
const DEFAULT_FILE_SD_REFRESH: Duration = Duration(300_000);
const DEFAULT_HTTP_SD_REFRESH: Duration = Duration(60_000);

/// Reads a configuration file and those that it includes.
///
/// # Errors
/// All problems found, of which at least one is an error.
pub fn load(path: &Path) -> Result<Loaded, Vec<Problem>> {
    let mut reader = Reader::new(path);
    let (config, mut problems) = match read_tree(&mut reader, path) {
        None => (ScrapeConfig::default(), Vec::new()),
        Some(tree) => read_file(&mut reader, path, &tree),
    };
    let mut all = reader.into_problems();
    all.append(&mut problems);
    if all.iter().any(|problem| problem.severity == Severity::Error) {
        return Err(all);
    }
    Ok(Loaded { config, warnings: all })
}

fn read_tree(reader: &mut Reader, path: &Path) -> Option<Node> {
    match std::fs::read_to_string(path) {
        Err(error) => reader.error(0, error.to_string()),
        Ok(text) => match yaml::parse(&text) {
            Ok(tree) => return Some(tree),
            Err(error) => reader.error(error.line, error.message),
        },
    }
    None
}

/// What `global` says, with defaults.
struct Global {
    interval: Duration,
    timeout: Duration,
    limits: Limits,
    /// None for what goes with the forms of histograms.
    protocols: Option<Vec<Protocol>>,
    histogram_forms: Forms,
}

/// Reads the main file; the problems given back are those of the files that it includes.
fn read_file(reader: &mut Reader, path: &Path, tree: &Node) -> (ScrapeConfig, Vec<Problem>) {
    let file = reader.section(tree, &keys::FILE);
    let nothing = Node { line: 0, value: Value::Null };
    let global_section = reader.section(file.get("global").unwrap_or(&nothing), &keys::GLOBAL);
    let global = read_global(reader, global_section);
    let mut jobs: Vec<Arc<Job>> = Vec::new();
    read_jobs(reader, file, &global, &mut jobs);
    let mut included_problems = Vec::new();
    for pattern in reader.texts(file, "scrape_config_files") {
        for included in included_files(reader, file, &pattern) {
            let mut reader = Reader::new(&included);
            if let Some(tree) = read_tree(&mut reader, &included) {
                let section = reader.section(&tree, &keys::SCRAPE_CONFIG_FILE);
                read_jobs(&mut reader, section, &global, &mut jobs);
            }
            included_problems.append(&mut reader.into_problems());
        }
    }
    let config = ScrapeConfig {
        path: Some(path.to_owned()),
        external_labels: external_labels(reader, global_section),
        jobs,
        redacted: serde_saphyr::to_string(&tree.redacted(&keys::is_secret)).unwrap_or_default(),
    };
    (config, included_problems)
}

fn included_files(reader: &mut Reader, file: Section<'_>, pattern: &str) -> Vec<PathBuf> {
    let pattern = reader.resolve(pattern);
    glob::files(&pattern).unwrap_or_else(|error| {
        reader.error(file.line_of("scrape_config_files"), format!("{}: {error}", pattern.display()));
        Vec::new()
    })
}

fn read_global(reader: &mut Reader, section: Section<'_>) -> Global {
    let interval = reader.duration(section, "scrape_interval").unwrap_or(DEFAULT_INTERVAL);
    let timeout = reader.duration(section, "scrape_timeout");
    if timeout.is_some_and(|timeout| timeout > interval) {
        reader.error(section.line_of("scrape_timeout"), "global scrape timeout greater than scrape interval");
    }
    // Durations without effect are checked all the same: a typing error should not wait for another server.
    reader.duration(section, "evaluation_interval");
    Global {
        interval,
        timeout: timeout.unwrap_or(DEFAULT_TIMEOUT.min(interval)),
        limits: limits(reader, section, Limits::default()),
        protocols: protocols(reader, section),
        histogram_forms: histogram_forms(reader, section, Forms { native: false, classic_too: false }),
    }
}

fn external_labels(reader: &mut Reader, section: Section<'_>) -> Labels {
    let pairs = reader.text_map(section, "external_labels");
    Labels::from_pairs(pairs.iter().map(|(n, v)| (n.as_str(), v.as_str()))).unwrap_or_else(|error| {
        reader.error(section.line_of("external_labels"), format!("external_labels: {error}"));
        Labels::empty()
    })
}

fn limits(reader: &mut Reader, section: Section<'_>, or: Limits) -> Limits {
    let mut count = |key, or: Option<u64>| match reader.count(section, key) {
        Some(0) | None => or,
        some => some,
    };
    let counted = Limits {
        body_size: None,
        samples: count("sample_limit", or.samples),
        targets: count("target_limit", or.targets),
        labels: count("label_limit", or.labels),
        label_name_bytes: count("label_name_length_limit", or.label_name_bytes),
        label_value_bytes: count("label_value_length_limit", or.label_value_bytes),
    };
    Limits { body_size: body_size(reader, section).or(or.body_size), ..counted }
}

/// Prometheus counts these units in powers of 1024, with or without the `i`.
fn body_size(reader: &mut Reader, section: Section<'_>) -> Option<ByteSize> {
    let text = reader.text(section, "body_size_limit")?;
    if text == "0" || text.is_empty() {
        return None;
    }
    let number_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(number_end);
    let shift = match unit {
        "B" => Some(0),
        "KB" | "KiB" => Some(10),
        "MB" | "MiB" => Some(20),
        "GB" | "GiB" => Some(30),
        "TB" | "TiB" => Some(40),
        _ => None,
    };
    let bytes = number.parse::<u64>().ok().zip(shift).and_then(|(n, shift)| n.checked_mul(1 << shift));
    if bytes.is_none() {
        reader.error(
            section.line_of("body_size_limit"),
            format!("body_size_limit: {text:?} is not a size such as 100MB"),
        );
    }
    bytes.filter(|bytes| *bytes > 0).map(ByteSize)
}

fn histogram_forms(reader: &mut Reader, section: Section<'_>, or: Forms) -> Forms {
    let native = reader.bool(section, "scrape_native_histograms", or.native);
    let classic_too = reader.bool(section, "always_scrape_classic_histograms", or.classic_too);
    // Its name before Prometheus 3.
    let classic_too = reader.bool(section, "scrape_classic_histograms", classic_too);
    Forms { native, classic_too }
}

/// Only protobuf carries native histograms: who wants them asks for it first.
fn default_protocols(forms: Forms) -> Vec<Protocol> {
    let first = forms.native.then_some(Protocol::Protobuf);
    first.into_iter().chain(Protocol::DEFAULT).collect()
}

fn protocols(reader: &mut Reader, section: Section<'_>) -> Option<Vec<Protocol>> {
    section.get("scrape_protocols")?;
    let (line, names) = (section.line_of("scrape_protocols"), reader.texts(section, "scrape_protocols"));
    let mut found = Vec::new();
    for (i, name) in names.iter().enumerate() {
        if names[..i].contains(name) {
            reader.error(line, format!("scrape_protocols: duplicated protocol {name}"));
        } else if let Some(protocol) = protocol(reader, line, name) {
            found.push(protocol);
        }
    }
    if names.is_empty() {
        reader.error(line, "scrape_protocols cannot be empty");
    }
    if found.is_empty() { None } else { Some(found) }
}

fn protocol(reader: &mut Reader, line: u64, name: &str) -> Option<Protocol> {
    let all = || Protocol::DEFAULT.into_iter().chain([Protocol::Protobuf]);
    let known = all().find(|protocol| protocol.name() == name);
    if known.is_none() {
        let names: Vec<&str> = all().map(Protocol::name).collect();
        reader.error(line, format!("unknown scrape protocol {name}, known are {}", names.join(", ")));
    }
    known
}

fn read_jobs(reader: &mut Reader, section: Section<'_>, global: &Global, jobs: &mut Vec<Arc<Job>>) {
    for node in reader.list(section, "scrape_configs") {
        if node.value == Value::Null {
            reader.error(node.line, "empty or null scrape config section");
            continue;
        }
        let section = reader.section(node, &keys::SCRAPE_CONFIG);
        let job = read_job(reader, section, global);
        if jobs.iter().any(|other| other.name == job.name) {
            let message = format!("found multiple scrape configs with job name {:?}", job.name);
            reader.error(section.line_of("job_name"), message);
            continue;
        }
        jobs.push(Arc::new(job));
    }
}

fn read_job(reader: &mut Reader, section: Section<'_>, global: &Global) -> Job {
    let name = reader.text(section, "job_name").unwrap_or_default();
    if name.is_empty() {
        reader.error(section.line, "job_name is empty");
    }
    let interval = reader.duration(section, "scrape_interval").unwrap_or(global.interval);
    let timeout = reader.duration(section, "scrape_timeout");
    if timeout.is_some_and(|timeout| timeout > interval) {
        let message = format!("scrape timeout greater than scrape interval for scrape config with job name {name:?}");
        reader.error(section.line_of("scrape_timeout"), message);
    }
    let scheme = reader.text(section, "scheme").unwrap_or_else(|| "http".to_owned());
    if !matches!(scheme.as_str(), "http" | "https") {
        reader.error(section.line_of("scheme"), format!("scheme {scheme:?} is neither http nor https"));
    }
    let relabel = rules(reader, section, "relabel_configs");
    let histogram_forms = histogram_forms(reader, section, global.histogram_forms);
    Job {
        interval,
        timeout: timeout.unwrap_or(global.timeout.min(interval)),
        scheme,
        metrics_path: reader.text(section, "metrics_path").unwrap_or_else(|| "/metrics".to_owned()),
        params: params(reader, section),
        honor_labels: reader.bool(section, "honor_labels", false),
        honor_timestamps: reader.bool(section, "honor_timestamps", true),
        track_timestamps_staleness: reader.bool(section, "track_timestamps_staleness", false),
        compression: reader.bool(section, "enable_compression", true),
        protocols: protocols(reader, section)
            .or_else(|| global.protocols.clone())
            .unwrap_or_else(|| default_protocols(histogram_forms)),
        histogram_forms,
        fallback_protocol: fallback_protocol(reader, section),
        client: auth::client(reader, section),
        metric_relabel: rules(reader, section, "metric_relabel_configs"),
        limits: limits(reader, section, global.limits),
        static_groups: static_groups(reader, section, relabel.is_empty()),
        file_sd: file_sd(reader, section),
        http_sd: http_sd(reader, section),
        feed: None,
        starts_at_once: false,
        relabel,
        name,
    }
}

fn fallback_protocol(reader: &mut Reader, section: Section<'_>) -> Option<Protocol> {
    let name = reader.text(section, "fallback_scrape_protocol").filter(|name| !name.is_empty())?;
    protocol(reader, section.line_of("fallback_scrape_protocol"), &name)
}

fn params(reader: &mut Reader, section: Section<'_>) -> Vec<(String, Vec<String>)> {
    let Some(node) = section.get("params") else { return Vec::new() };
    let Value::Map(entries) = &node.value else {
        reader.error(node.line, format!("params must be a map, here is {}", node.kind()));
        return Vec::new();
    };
    let mut params = Vec::new();
    for entry in entries {
        let values = match &entry.node.value {
            Value::Null => Vec::new(),
            Value::List(list) => list.iter().filter_map(|node| reader.scalar(node, &entry.key)).collect(),
            _ => reader.scalar(&entry.node, &entry.key).into_iter().collect(),
        };
        params.push((entry.key.clone(), values));
    }
    params
}

fn rules(reader: &mut Reader, section: Section<'_>, key: &str) -> Vec<Rule> {
    let mut rules = Vec::new();
    for node in reader.list(section, key) {
        if node.value == Value::Null {
            reader.error(node.line, "empty or null target relabeling rule in scrape config");
            continue;
        }
        match rule(reader, node) {
            Ok(rule) => rules.push(rule),
            Err(message) => reader.error(node.line, message),
        }
    }
    rules
}

fn rule(reader: &mut Reader, node: &Node) -> Result<Rule, String> {
    let section = reader.section(node, &keys::RELABEL);
    let default = RuleSpec::default();
    let action = match reader.text(section, "action") {
        None => default.action,
        Some(name) => Action::parse(&name).ok_or_else(|| format!("unknown relabel action {name:?}"))?,
    };
    Rule::new(RuleSpec {
        source_labels: reader.texts(section, "source_labels"),
        separator: reader.text(section, "separator").unwrap_or(default.separator),
        target_label: reader.text(section, "target_label").unwrap_or(default.target_label),
        regex: reader.text(section, "regex").unwrap_or(default.regex),
        modulus: reader.count(section, "modulus").unwrap_or(default.modulus),
        replacement: reader.text(section, "replacement").unwrap_or(default.replacement),
        action,
    })
}

/// Reads `static_configs`. Without relabelling an address must be one as it stands.
fn static_groups(reader: &mut Reader, section: Section<'_>, addresses_are_final: bool) -> Vec<TargetGroup> {
    let list = reader.list(section, "static_configs");
    let groups: Vec<TargetGroup> = list.iter().map(|node| target_group(reader, node)).collect();
    if addresses_are_final {
        for (group, node) in groups.iter().zip(list) {
            for address in group.targets.iter().filter(|address| address.contains('/')) {
                reader.error(node.line, format!("{address:?} is not a valid hostname"));
            }
        }
    }
    groups
}

fn target_group(reader: &mut Reader, node: &Node) -> TargetGroup {
    let section = reader.section(node, &keys::TARGET_GROUP);
    let labels = reader.text_map(section, "labels");
    if labels.iter().any(|(name, _)| name.is_empty()) {
        reader.error(section.line_of("labels"), "\"\" is not a valid label name");
    }
    TargetGroup { targets: reader.texts(section, "targets"), labels }
}

/// Reads a list of target groups, JSON or YAML, as discovery by file and by HTTP has them.
///
/// # Errors
/// The first problem, with its line.
pub(crate) fn read_groups(text: &str) -> Result<Vec<TargetGroup>, String> {
    let tree = yaml::parse(text).map_err(|error| format!("line {}: {}", error.line, error.message))?;
    let mut reader = Reader::new(Path::new(""));
    let groups = match &tree.value {
        Value::List(list) => list.iter().map(|node| target_group(&mut reader, node)).collect(),
        // A YAML file without content lists nothing.
        Value::Null => Vec::new(),
        _ => return Err(format!("must be a list of target groups, here is {}", tree.kind())),
    };
    match reader.into_problems().into_iter().next() {
        Some(problem) => Err(format!("line {}: {}", problem.line, problem.message)),
        None => Ok(groups),
    }
}

fn file_sd(reader: &mut Reader, section: Section<'_>) -> Vec<FileSd> {
    let mut found = Vec::new();
    for node in reader.list(section, "file_sd_configs") {
        let section = reader.section(node, &keys::FILE_SD);
        let names = reader.texts(section, "files");
        if names.is_empty() {
            reader.error(section.line, "file service discovery config must contain at least one path name");
        }
        let mut files = Vec::new();
        for name in &names {
            if !is_file_sd_pattern(name) {
                reader.error(section.line_of("files"), format!("path name {name:?} is not valid for file discovery"));
                continue;
            }
            let path = reader.resolve(name);
            if !name.contains('*') && !path.exists() {
                let message = format!("file {:?} of file_sd_configs does not exist", path.display().to_string());
                // Prometheus only warns of it, also when it checks: such files come and go.
                reader.problem(Severity::MissingTargets, section.line_of("files"), message);
            }
            files.push(path);
        }
        let refresh = reader.duration(section, "refresh_interval").unwrap_or(DEFAULT_FILE_SD_REFRESH);
        found.push(FileSd { files, refresh });
    }
    found
}

/// `^[^*]*(\*[^/]*)?\.(json|yml|yaml|JSON|YML|YAML)$`
fn is_file_sd_pattern(name: &str) -> bool {
    let ends_well = ["json", "yml", "yaml", "JSON", "YML", "YAML"]
        .iter()
        .any(|end| name.strip_suffix(end).is_some_and(|rest| rest.ends_with('.')));
    ends_well && name.split_once('*').is_none_or(|(_, rest)| !rest.contains('/'))
}

fn http_sd(reader: &mut Reader, section: Section<'_>) -> Vec<HttpSd> {
    let mut found = Vec::new();
    for node in reader.list(section, "http_sd_configs") {
        let section = reader.section(node, &keys::HTTP_SD);
        let mut url = reader.text(section, "url").unwrap_or_default();
        if let Err(message) = check_url(&url) {
            reader.error(section.line_of("url"), message);
        }
        let mut client = auth::client(reader, section);
        if let Some((bare, credentials)) = auth::credentials_in_url(&url) {
            url = bare;
            if client.auth == Auth::None {
                client.auth = credentials;
            }
        }
        let refresh = reader.duration(section, "refresh_interval").unwrap_or(DEFAULT_HTTP_SD_REFRESH);
        found.push(HttpSd { url, refresh, client });
    }
    found
}

fn check_url(url: &str) -> Result<(), String> {
    if url.is_empty() {
        return Err("URL is missing".to_owned());
    }
    let parsed: ::http::Uri = url.parse().map_err(|e| format!("{url:?} is not a URL: {e}"))?;
    match (parsed.scheme_str(), parsed.host()) {
        (Some("http" | "https"), Some(host)) if !host.is_empty() => Ok(()),
        (Some("http" | "https"), _) => Err("host is missing in URL".to_owned()),
        _ => Err("URL scheme must be 'http' or 'https'".to_owned()),
    }
}
