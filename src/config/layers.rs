//! The layers of a configuration and how they lie on each other.

use std::path::Path;

use super::{Config, OPTIONS};

/// A configuration that cannot be used: where, which option, what is wrong.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: {message}")]
    File {
        /// The file as it was named.
        path: String,
        /// What the system or the parser said, with line and column where it knows.
        message: String,
    },
    /// No such option.
    #[error("{source_name}: unknown option {name:?}{}", suggestion.as_ref().map(|s| format!("; did you mean {s:?}?")).unwrap_or_default())]
    Unknown {
        /// Which layer.
        source_name: String,
        /// The name as written.
        name: String,
        /// The nearest known name.
        suggestion: Option<String>,
    },
    /// A value that cannot be read.
    #[error("{source_name}: {name}: {message}")]
    Value {
        /// Which layer.
        source_name: String,
        /// The option.
        name: String,
        /// What is wrong with the value.
        message: String,
    },
}

/// Names and values of one layer, under the name that errors give it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layer {
    /// Such as `streamgauge.toml`, `environment`, `flags`.
    pub source_name: String,
    /// Option name and text.
    pub values: Vec<(String, String)>,
}

impl Layer {
    /// The layer of a TOML text: tables become dots.
    ///
    /// # Errors
    /// [`ConfigError::File`] with line and column if it is not TOML or has a value that no option can have.
    pub fn from_toml(source_name: &str, text: &str) -> Result<Self, ConfigError> {
        let wrong = |message: String| ConfigError::File { path: source_name.to_owned(), message };
        let table: toml::Table =
            text.parse().map_err(|e: toml::de::Error| wrong(e.to_string().trim_end().to_owned()))?;
        let mut layer = Layer { source_name: source_name.to_owned(), values: Vec::new() };
        flatten(&table, "", &mut layer.values).map_err(wrong)?;
        Ok(layer)
    }

    /// The layer of a TOML file.
    ///
    /// # Errors
    /// As [`Layer::from_toml`], and if the file cannot be read.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|e| ConfigError::File { path: name.clone(), message: e.to_string() })?;
        Layer::from_toml(&name, &text)
    }

    /// The layer of environment variables: those that begin with `STREAMGAUGE_`, and below them those of NoETL that have
    /// an option of their name. What Kubernetes sets for a Service whose name begins so is left out.
    ///
    /// # Errors
    /// [`ConfigError::Unknown`] for a variable with the prefix that names no option.
    pub fn from_environment(variables: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let mut layer = Layer { source_name: "environment".to_owned(), values: Vec::new() };
        let variables: Vec<(String, String)> = variables.collect();
        layer.values.extend(variables.iter().filter_map(|(variable, value)| noetl(variable, value)));
        for (variable, value) in variables {
            // The path of the configuration file itself is no option.
            if !variable.starts_with("STREAMGAUGE_") || variable == "STREAMGAUGE_CONFIG" {
                continue;
            }
            let Some(option) = OPTIONS.iter().find(|o| o.variable() == variable) else {
                if is_service_link(&variable, &value) {
                    continue;
                }
                let names = OPTIONS.iter().map(super::OptionDef::variable);
                let suggestion = nearest(&variable, names);
                return Err(ConfigError::Unknown { source_name: layer.source_name, name: variable, suggestion });
            };
            layer.values.push((option.name.to_owned(), value));
        }
        Ok(layer)
    }
}

/// What a container finds in its environment for each Service beside it (Kubernetes, `enableServiceLinks`): here those of
/// a Service named `streamgauge`, or with a name that begins so.
const SERVICE_LINK: &str = "^STREAMGAUGE(_[A-Z0-9]+)*_\
    (SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$";

fn is_service_link(variable: &str, value: &str) -> bool {
    // `…_PORT` alone could be meant for us; theirs is an address such as `tcp://10.0.0.7:8082`.
    let is_address = || ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
    variable.ends_with("_PORT") && is_address()
        || regex::Regex::new(SERVICE_LINK).is_ok_and(|link| link.is_match(variable))
}

/// The option that a variable of NoETL sets. Its intervals are plain numbers of seconds, such as `15` or `0.5`.
fn noetl(variable: &str, value: &str) -> Option<(String, String)> {
    let option = OPTIONS.iter().find(|o| {
        o.name
            .strip_prefix("noetl.")
            .is_some_and(|rest| variable.strip_prefix("NOETL_").is_some_and(|v| v.eq_ignore_ascii_case(rest)))
    })?;
    let is_plain = value.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let seconds = value.parse::<f64>().ok().filter(|_| option.name.ends_with("_interval") && is_plain);
    let value = seconds.map_or_else(|| value.to_owned(), |seconds| format!("{}ms", (seconds * 1000.0).round() as u64));
    Some((option.name.to_owned(), value))
}

/// Lays the layers on the defaults, the last one on top.
///
/// # Errors
/// [`ConfigError::Unknown`], [`ConfigError::Value`].
pub fn resolve(layers: &[Layer]) -> Result<Config, ConfigError> {
    let mut config = Config::defaults().map_err(|message| ConfigError::Value {
        source_name: "defaults".to_owned(),
        name: String::new(),
        message,
    })?;
    for layer in layers {
        for (name, text) in &layer.values {
            let Some(option) = OPTIONS.iter().find(|o| o.name == name) else {
                let suggestion = nearest(name, OPTIONS.iter().map(|o| o.name.to_owned()));
                return Err(ConfigError::Unknown {
                    source_name: layer.source_name.clone(),
                    name: name.clone(),
                    suggestion,
                });
            };
            (option.set)(&mut config, text).map_err(|message| ConfigError::Value {
                source_name: layer.source_name.clone(),
                name: name.clone(),
                message,
            })?;
        }
    }
    Ok(config)
}

fn flatten(table: &toml::Table, prefix: &str, out: &mut Vec<(String, String)>) -> Result<(), String> {
    for (key, value) in table {
        let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            toml::Value::Table(inner) => flatten(inner, &name, out)?,
            toml::Value::String(text) => out.push((name, text.clone())),
            toml::Value::Integer(number) => out.push((name, number.to_string())),
            toml::Value::Boolean(yes) => out.push((name, yes.to_string())),
            // The only option that is a list of tables; it reads them as JSON.
            toml::Value::Array(tables) if name == "flink" && tables.iter().all(toml::Value::is_table) => {
                let text = serde_json::to_string(tables).map_err(|e| format!("{name}: {e}"))?;
                out.push((name, text));
            }
            other => return Err(format!("{name}: a {} is no value of an option", other.type_str())),
        }
    }
    Ok(())
}

/// The candidate with the fewest edits, if they are few.
fn nearest(name: &str, candidates: impl Iterator<Item = String>) -> Option<String> {
    candidates
        .map(|candidate| (edits(name, &candidate), candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= 2.max(candidate.len() / 4))
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(values: &[(&str, &str)]) -> Layer {
        let values = values.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Layer { source_name: "flags".to_owned(), values }
    }

    #[test]
    fn later_layers_win() {
        let file = Layer::from_toml("f", "retention = \"1d\"\n[wal]\nsync = \"2s\"\nfile_bytes = 1024\n").unwrap();
        let variables = [("STREAMGAUGE_RETENTION", "2d"), ("HOME", "/h"), ("STREAMGAUGE_CONFIG", "x")];
        let environment =
            Layer::from_environment(variables.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))).unwrap();
        let config = resolve(&[file, environment, flags(&[("listen", "127.0.0.1:1")])]).unwrap();
        assert_eq!(config.retention.0, 2 * 86_400_000);
        assert_eq!(config.wal_file_bytes.0, 1024);
        assert_eq!(config.listen.port(), 1);
        assert_eq!(config.wal_sync, super::super::Sync::Interval(super::super::Duration(2000)));
    }

    #[test]
    fn tables_of_clusters_are_one_option() {
        let text = "[[flink]]\nurls = [\"http://a:1\", \"http://b:1\"]\nmetrics = \"rest\"\n[[flink]]\nurls = [\"http://c:1\"]\n";
        let config = resolve(&[Layer::from_toml("f.toml", text).unwrap()]).unwrap();
        let names: Vec<&str> = config.flink.clusters.iter().map(|cluster| cluster.name.as_str()).collect();
        assert_eq!(names, ["a:1", "c:1"]);
        let error = resolve(&[Layer::from_toml("f.toml", "[[flink]]\nurl = \"x\"").unwrap()]).unwrap_err().to_string();
        assert!(error.starts_with("f.toml: flink: ") && error.contains("unknown field"), "{error}");
    }

    #[test]
    fn variables_of_noetl_lie_below_our_own() {
        let variables = [
            ("STREAMGAUGE_NOETL_SERVER_NAME", "ours"),
            ("NOETL_SERVER_NAME", "theirs"),
            ("NOETL_WORKER_HEARTBEAT_INTERVAL", "20"),
            ("NOETL_WORKER_METRICS_INTERVAL", "60.25"),
            ("NOETL_SERVER_METRICS_INTERVAL", "2m"),
            ("NOETL_HOST", "not an option"),
        ];
        let layer = Layer::from_environment(variables.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))).unwrap();
        let config = resolve(&[layer]).unwrap();
        assert_eq!(config.noetl_server_name, "ours");
        assert_eq!(config.noetl_worker_heartbeat_interval.0, 20_000);
        assert_eq!(config.noetl_worker_metrics_interval.0, 60_250);
        assert_eq!(config.noetl_server_metrics_interval.0, 120_000);
        for bad in ["often", "", "-1", "1.2.3", ".", "1e3", "inf"] {
            let variable = [("NOETL_SERVER_METRICS_INTERVAL".to_owned(), bad.to_owned())];
            let error = resolve(&[Layer::from_environment(variable.into_iter()).unwrap()]).unwrap_err().to_string();
            assert!(error.starts_with("environment: noetl.server_metrics_interval: "), "{bad}: {error}");
        }
    }

    #[test]
    fn links_to_services_of_kubernetes_are_no_options() {
        let layer = |name: &str, value: &str| {
            Layer::from_environment([(name.to_owned(), value.to_owned())].into_iter()).map(|layer| layer.values)
        };
        for (name, value) in [
            ("STREAMGAUGE_SERVICE_HOST", "10.0.0.7"),
            ("STREAMGAUGE_SERVICE_PORT", "8082"),
            ("STREAMGAUGE_SERVICE_PORT_HTTP_API", "8082"),
            ("STREAMGAUGE_PORT", "tcp://10.0.0.7:8082"),
            ("STREAMGAUGE_PORT_8082_TCP", "tcp://10.0.0.7:8082"),
            ("STREAMGAUGE_PORT_8082_TCP_PROTO", "tcp"),
            ("STREAMGAUGE_PORT_8082_TCP_PORT", "8082"),
            ("STREAMGAUGE_PORT_8082_TCP_ADDR", "10.0.0.7"),
            ("STREAMGAUGE_PORT_53_UDP", "udp://10.0.0.7:53"),
            ("STREAMGAUGE_READ_ONLY_SERVICE_HOST", "10.0.0.8"),
            ("STREAMGAUGE_READ_ONLY_PORT", "tcp://10.0.0.8:8082"),
        ] {
            assert_eq!(layer(name, value), Ok(Vec::new()), "{name}");
        }
        for (name, value) in [
            ("STREAMGAUGE_PORT", "8082"),
            ("STREAMGAUGE_SERVICE", "x"),
            ("STREAMGAUGE_SERVICE_HOSTS", "x"),
            ("STREAMGAUGE_PORT_8082", "x"),
            ("STREAMGAUGE_PORT_8082_HTTP", "x"),
            ("STREAMGAUGE_PORT_8082_TCP_HOST", "x"),
            ("STREAMGAUGE_PORT_HTTP_TCP", "x"),
        ] {
            assert!(matches!(layer(name, value), Err(ConfigError::Unknown { .. })), "{name}");
        }
        assert_eq!(layer("STREAMGAUGE_LISTEN", "x").map(|values| values.len()), Ok(1));
    }

    #[test]
    fn errors_say_where_and_what() {
        let error = |layer: Layer| resolve(&[layer]).unwrap_err().to_string();
        assert_eq!(
            error(flags(&[("retenton", "1d")])),
            r#"flags: unknown option "retenton"; did you mean "retention"?"#
        );
        assert_eq!(error(flags(&[("colour", "red")])), r#"flags: unknown option "colour""#);
        assert!(error(flags(&[("listen", "x")])).starts_with("flags: listen: \"x\" is not an address"));
        let toml = Layer::from_toml("f.toml", "a = = 1").unwrap_err().to_string();
        assert!(toml.starts_with("f.toml: ") && toml.contains("line 1"), "{toml}");
        assert!(Layer::from_toml("f.toml", "data = [1]").unwrap_err().to_string().contains("data: a array"));
        let variable = [("STREAMGAUGE_WAL_SINC".to_owned(), "1s".to_owned())];
        let error = Layer::from_environment(variable.into_iter()).unwrap_err().to_string();
        assert!(error.contains("STREAMGAUGE_WAL_SYNC"), "{error}");
    }
}
