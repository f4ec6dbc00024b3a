//! How the texts of options are read: durations, sizes, switches, addresses.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use storage::parquet::RowColumns;

/// A value that an option can have. [`OptionValue::show`] is read back by [`OptionValue::parse`] to the same value.
pub trait OptionValue: Sized {
    /// Reads a text; the error completes the sentence "NAME: …".
    ///
    /// # Errors
    /// A text for people that says what is wrong.
    fn parse(text: &str) -> Result<Self, String>;

    /// The value as text.
    fn show(&self) -> String;
}

/// Levels of an expression, from 1 to [`query::EngineOptions::DEPTH_BOUND`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depth(pub usize);

impl OptionValue for Depth {
    fn parse(text: &str) -> Result<Self, String> {
        const BOUND: usize = query::EngineOptions::DEPTH_BOUND;
        let levels = text.parse().ok().filter(|levels| (1..=BOUND).contains(levels));
        levels.map(Depth).ok_or_else(|| format!("{text:?} is not a number from 1 to {BOUND}"))
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}

/// Labels with a column of their own in Parquet files, separated by commas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelColumns(pub RowColumns);

impl OptionValue for LabelColumns {
    fn parse(text: &str) -> Result<Self, String> {
        let names = text.split(',').map(str::trim).filter(|_| !text.trim().is_empty());
        RowColumns::new(names.map(str::to_owned).collect()).map(LabelColumns)
    }

    fn show(&self) -> String {
        self.0.labels().join(",")
    }
}

/// Most rules of [`Precision`].
const PRECISION_RULES_MAX: usize = 100;

/// Which values are rounded, as rules `SELECTOR=DIGITS` by semicolons (which selectors may not have here).
#[derive(Debug, Clone)]
pub struct Precision {
    /// The rules in order.
    pub rules: Vec<storage::PrecisionRule>,
    text: String,
}

impl PartialEq for Precision {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl OptionValue for Precision {
    fn parse(text: &str) -> Result<Self, String> {
        let rules = text.split(';').map(str::trim).filter(|rule| !rule.is_empty());
        let rules: Vec<_> = rules.map(precision_rule).collect::<Result<_, _>>()?;
        if rules.len() > PRECISION_RULES_MAX {
            return Err(format!("{} rules are more than {PRECISION_RULES_MAX}", rules.len()));
        }
        Ok(Precision { rules, text: text.to_owned() })
    }

    fn show(&self) -> String {
        self.text.clone()
    }
}

fn precision_rule(text: &str) -> Result<storage::PrecisionRule, String> {
    let wrong = || {
        let (fewest, most) = (storage::PRECISION_DIGITS.start(), storage::PRECISION_DIGITS.end());
        format!("{text:?} is not a selector, = and a number of digits from {fewest} to {most}")
    };
    let (selector, digits) = text.rsplit_once('=').ok_or_else(wrong)?;
    let digits = digits.trim().parse().ok().filter(|digits| storage::PRECISION_DIGITS.contains(digits));
    let digits = digits.ok_or_else(wrong)?;
    let matchers = query::parse_matchers(selector.trim(), &query::EngineOptions::default());
    let matchers = matchers.map_err(|e| format!("{selector:?}: {}", e.message))?;
    Ok(storage::PrecisionRule { matchers, digits })
}

/// A length of time in milliseconds, written as PromQL writes it: `90s`, `1h30m`, `7d`; `0` alone is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(pub u64);

impl Duration {
    /// For timers.
    pub fn std(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0)
    }

    /// Milliseconds, as timestamps count.
    pub fn ms(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }
}

/// Units of a duration from large to small, in milliseconds (Prometheus: a year has 365 days).
const UNITS: [(&str, u64); 7] = [
    ("y", 31_536_000_000),
    ("w", 604_800_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

impl OptionValue for Duration {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a duration such as 90s, 1h30m or 7d");
        if text == "0" {
            return Ok(Duration(0));
        }
        let (mut rest, mut total, mut last_unit) = (text, 0_u64, None);
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
            rest = &rest[digits..];
            let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
            let unit = UNITS.iter().position(|(name, _)| *name == &rest[..letters]).ok_or_else(wrong)?;
            if last_unit.is_some_and(|last| last >= unit) {
                return Err(wrong());
            }
            last_unit = Some(unit);
            total = number.checked_mul(UNITS[unit].1).and_then(|ms| total.checked_add(ms)).ok_or_else(wrong)?;
            rest = &rest[letters..];
        }
        if last_unit.is_none() {
            return Err(wrong());
        }
        Ok(Duration(total))
    }

    fn show(&self) -> String {
        if self.0 == 0 {
            return "0".to_owned();
        }
        let (mut rest, mut text) = (self.0, String::new());
        for (name, ms) in UNITS {
            if rest >= ms {
                text.push_str(&format!("{}{name}", rest / ms));
                rest %= ms;
            }
        }
        text
    }
}

/// A size in bytes: `4096`, `64MiB`, `10GB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

const SIZES: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

impl OptionValue for ByteSize {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a size such as 4096, 64MiB or 10GB");
        let (number, unit) =
            SIZES.iter().find_map(|(name, bytes)| Some((text.strip_suffix(name)?, *bytes))).unwrap_or((text, 1));
        let number: u64 = number.trim_end().parse().map_err(|_| wrong())?;
        number.checked_mul(unit).map(ByteSize).ok_or_else(wrong)
    }

    fn show(&self) -> String {
        let unit = SIZES.iter().find(|(_, bytes)| self.0 >= *bytes && self.0.is_multiple_of(*bytes));
        unit.map_or_else(|| self.0.to_string(), |(name, bytes)| format!("{}{name}", self.0 / bytes))
    }
}

impl ByteSize {
    /// For lengths in memory.
    pub fn usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// The bound of the data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetentionSize {
    /// Half of the file system.
    Auto,
    /// No bound.
    Unbounded,
    /// Bytes.
    Bytes(u64),
}

impl OptionValue for RetentionSize {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(RetentionSize::Auto),
            "0" => Ok(RetentionSize::Unbounded),
            _ => ByteSize::parse(text).map(|size| RetentionSize::Bytes(size.0)),
        }
    }

    fn show(&self) -> String {
        match self {
            RetentionSize::Auto => "auto".to_owned(),
            RetentionSize::Unbounded => "0".to_owned(),
            RetentionSize::Bytes(bytes) => ByteSize(*bytes).show(),
        }
    }
}

/// A number of series, or no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeriesMax(pub Option<u64>);

impl OptionValue for SeriesMax {
    fn parse(text: &str) -> Result<Self, String> {
        if text == "unlimited" {
            return Ok(SeriesMax(None));
        }
        let number = text.parse().map_err(|_| format!("{text:?} is neither a whole number nor `unlimited`"))?;
        Ok(SeriesMax(Some(number)))
    }

    fn show(&self) -> String {
        self.0.map_or_else(|| "unlimited".to_owned(), |max| max.to_string())
    }
}

/// Numbers of series by job: `a=100, "b, c"=200`. A name with a comma, an equals sign, a quote or space around it is
/// written as a JSON string.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobLimits(pub BTreeMap<String, u64>);

impl OptionValue for JobLimits {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = |part: &str| format!("{part:?} is not a list of limits such as `batch=100000, \"a, b\"=5000`");
        let (mut limits, mut rest) = (BTreeMap::new(), text.trim());
        while !rest.is_empty() {
            let at = rest;
            let (name, after) = job_name(rest).ok_or_else(|| wrong(at))?;
            let after = after.trim_start().strip_prefix('=').ok_or_else(|| wrong(at))?;
            let (number, next) = after.split_once(',').unwrap_or((after, ""));
            let number = number.trim().parse().map_err(|_| wrong(at))?;
            if limits.insert(name.clone(), number).is_some() {
                return Err(format!("job {name:?} is there twice"));
            }
            rest = next.trim_start();
        }
        Ok(JobLimits(limits))
    }

    fn show(&self) -> String {
        let name = |job: &str| match job_name(&format!("{job}=")) {
            Some((read, "=")) if read == job => job.to_owned(),
            _ => serde_json::Value::from(job).to_string(),
        };
        let parts: Vec<String> = self.0.iter().map(|(job, max)| format!("{}={max}", name(job))).collect();
        parts.join(", ")
    }
}

/// The name at the beginning of a list of limits, plain or as a JSON string, and what follows it.
fn job_name(text: &str) -> Option<(String, &str)> {
    if text.starts_with('"') {
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<String>();
        let name = values.next()?.ok()?;
        return Some((name, text.get(values.byte_offset()..)?));
    }
    let end = text.find(['=', ',', '"'])?;
    let (name, rest) = text.split_at_checked(end)?;
    Some((name.trim().to_owned(), rest))
}

/// When the WAL is synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// Before a batch is acknowledged.
    Always,
    /// At this interval.
    Interval(Duration),
}

impl OptionValue for Sync {
    fn parse(text: &str) -> Result<Self, String> {
        if text == "always" {
            return Ok(Sync::Always);
        }
        match Duration::parse(text) {
            Ok(Duration(1..)) => Duration::parse(text).map(Sync::Interval),
            _ => Err(format!("{text:?} is neither `always` nor an interval such as 1s")),
        }
    }

    fn show(&self) -> String {
        match self {
            Sync::Always => "always".to_owned(),
            Sync::Interval(interval) => interval.show(),
        }
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl OptionValue for $name {
            fn parse(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok($name::$variant),)*
                    _ => Err(format!("{text:?} is none of {}", [$($word),*].join(", "))),
                }
            }

            fn show(&self) -> String {
                match self {
                    $($name::$variant => $word.to_owned(),)*
                }
            }
        }
    };
}

words! {
    /// How log lines are written.
    Format {
        /// For people.
        Text = "text",
        /// One JSON object per line.
        Json = "json",
    }
}

words! {
    /// What matters more when segments are encoded.
    Codec {
        /// Small, and read fast.
        Balanced = "balanced",
        /// As small as possible.
        Size = "size",
        /// Read as fast as possible.
        Speed = "speed",
    }
}

impl Codec {
    /// For the storage engine.
    pub fn preference(self) -> storage::CodecPreference {
        match self {
            Codec::Balanced => storage::CodecPreference::Balanced,
            Codec::Size => storage::CodecPreference::Size,
            Codec::Speed => storage::CodecPreference::Speed,
        }
    }
}

words! {
    /// Which fields the answers of Flink's API have.
    FlinkShape {
        /// Those of the API page, which Flink 1.9 gives.
        Page = "page",
        /// Those of Flink 2.
        Newer = "2.x",
        /// All of them.
        Superset = "superset",
    }
}

words! {
    /// What it means that heartbeats of a job's agent are missing.
    HeartbeatsMissed {
        /// The job stays as it was, and is stale.
        Stale = "stale",
        /// The job has failed.
        Failed = "failed",
        /// Nothing.
        Nothing = "nothing",
    }
}

words! {
    /// What happens to a report of an unknown component.
    Registration {
        /// It is registered.
        Auto = "auto",
        /// It is refused.
        Required = "required",
    }
}

/// A fixed offset from UTC, in seconds east.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Zone {
    /// Seconds east of UTC.
    pub offset_s: i32,
}

impl OptionValue for Zone {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is neither UTC nor an offset such as +02:00");
        if text == "UTC" || text == "Z" {
            return Ok(Zone { offset_s: 0 });
        }
        let (sign, rest) = match text.split_at_checked(1) {
            Some(("+", rest)) => (1, rest),
            Some(("-", rest)) => (-1, rest),
            _ => return Err(wrong()),
        };
        let (hours, minutes) = rest.split_once(':').ok_or_else(wrong)?;
        let number = |t: &str, max: i32| t.parse::<i32>().ok().filter(|n| t.len() == 2 && (0..=max).contains(n));
        match (number(hours, 14), number(minutes, 59)) {
            (Some(h), Some(m)) => Ok(Zone { offset_s: sign * (h * 3600 + m * 60) }),
            _ => Err(wrong()),
        }
    }

    fn show(&self) -> String {
        if self.offset_s == 0 {
            return "UTC".to_owned();
        }
        let minutes = self.offset_s.abs() / 60;
        format!("{}{:02}:{:02}", if self.offset_s < 0 { '-' } else { '+' }, minutes / 60, minutes % 60)
    }
}

macro_rules! from_str {
    ($($kind:ty, $what:literal;)*) => {
        $(impl OptionValue for $kind {
            fn parse(text: &str) -> Result<Self, String> {
                text.parse().map_err(|_| format!(concat!("{:?} is not ", $what), text))
            }

            fn show(&self) -> String {
                self.to_string()
            }
        })*
    };
}

from_str! {
    bool, "true or false";
    u32, "a whole number below 2^32";
    u64, "a whole number";
    usize, "a whole number";
    SocketAddr, "an address with a port, such as 127.0.0.1:8082 or [::1]:8082";
}

impl OptionValue for String {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }

    fn show(&self) -> String {
        self.clone()
    }
}

impl OptionValue for PathBuf {
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err("a path is needed".to_owned()) } else { Ok(PathBuf::from(text)) }
    }

    fn show(&self) -> String {
        self.display().to_string()
    }
}

impl OptionValue for Option<PathBuf> {
    fn parse(text: &str) -> Result<Self, String> {
        Ok((!text.is_empty()).then(|| PathBuf::from(text)))
    }

    fn show(&self) -> String {
        self.as_deref().map(|p| p.display().to_string()).unwrap_or_default()
    }
}

impl OptionValue for Option<SocketAddr> {
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() { Ok(None) } else { SocketAddr::parse(text).map(Some) }
    }

    fn show(&self) -> String {
        self.map(|address| address.to_string()).unwrap_or_default()
    }
}

/// The address of a server, scheme and authority; none if there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerUrl(pub Option<::http::Uri>);

impl OptionValue for ServerUrl {
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(ServerUrl(None));
        }
        let wrong = || format!("{text:?} is no address such as http://host:5116");
        let uri: ::http::Uri = text.parse().map_err(|_| wrong())?;
        let is_web =
            matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty());
        let is_plain = uri.path() == "/" && uri.query().is_none() && !text.contains('@');
        if is_web && is_plain { Ok(ServerUrl(Some(uri))) } else { Err(wrong()) }
    }

    fn show(&self) -> String {
        self.0.as_ref().map(|uri| uri.to_string().trim_end_matches('/').to_owned()).unwrap_or_default()
    }
}

/// Where converted days are kept: `s3://bucket/prefix`, or `file:///path` for a directory that stands for a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// A bucket, and what stands before the names in it, without slashes at the ends.
    S3 {
        /// The bucket's name.
        bucket: String,
        /// May be empty.
        prefix: String,
    },
    /// A directory.
    Directory(PathBuf),
}

impl StoreUrl {
    /// The URL as text.
    pub fn text(&self) -> String {
        match self {
            StoreUrl::S3 { bucket, prefix } if prefix.is_empty() => format!("s3://{bucket}"),
            StoreUrl::S3 { bucket, prefix } => format!("s3://{bucket}/{prefix}"),
            StoreUrl::Directory(path) => format!("file://{}", path.display()),
        }
    }
}

impl OptionValue for Option<StoreUrl> {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is neither s3://bucket/prefix nor file:///path");
        if text.is_empty() {
            return Ok(None);
        }
        if let Some(path) = text.strip_prefix("file://") {
            return path.starts_with('/').then(|| Some(StoreUrl::Directory(PathBuf::from(path)))).ok_or_else(wrong);
        }
        let (bucket, prefix) =
            text.strip_prefix("s3://").map(|rest| rest.split_once('/').unwrap_or((rest, ""))).ok_or_else(wrong)?;
        let prefix = prefix.trim_matches('/');
        if bucket.is_empty()
            || bucket.contains(['?', '#', '@'])
            || prefix.split('/').any(|part| part == "." || part == "..")
        {
            return Err(wrong());
        }
        Ok(Some(StoreUrl::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() }))
    }

    fn show(&self) -> String {
        self.as_ref().map(StoreUrl::text).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn label_columns() {
        let parse = |text| LabelColumns::parse(text).map(|columns| columns.show());
        assert_eq!(parse(" job, le "), Ok("job,le".to_owned()));
        assert_eq!(parse(""), Ok(String::new()));
        let default = "job,instance,component,job_id,job_name,operator_id,operator_name,task_id,task_name,subtask_index,\
                       le,quantile";
        assert_eq!(LabelColumns::parse(default), Ok(LabelColumns(RowColumns::default())));
        for bad in ["job,", "job,Job", "value", "DT", "__name__"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn stores() {
        type Store = Option<StoreUrl>;
        let s3 =
            |bucket: &str, prefix: &str| Some(StoreUrl::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() });
        assert_eq!(Store::parse("s3://b"), Ok(s3("b", "")));
        assert_eq!(Store::parse("s3://b/a/c/"), Ok(s3("b", "a/c")));
        assert_eq!(Store::parse("file:///a/b"), Ok(Some(StoreUrl::Directory(PathBuf::from("/a/b")))));
        for good in ["", "s3://b", "s3://b/a/c", "file:///a/b"] {
            assert_eq!(Store::parse(good).map(|s| s.show()), Ok(good.to_owned()));
        }
        for bad in ["s3://", "s3:///p", "s3://b/../c", "file://a", "file:a", "/a", "gs://b", "s3://key@b"] {
            assert!(Store::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_of_servers() {
        for good in ["", "http://controller:5116", "https://[::1]:5116", "http://10.0.0.7"] {
            assert_eq!(ServerUrl::parse(good).map(|url| url.show()), Ok(good.to_owned()));
        }
        assert_eq!(ServerUrl::parse("http://a:1/").map(|url| url.show()), Ok("http://a:1".to_owned()));
        for bad in
            ["controller:5116", "grpc://a:1", "http://", "http://a/b", "http://a?b", "http://u:p@a", "http://a b"]
        {
            assert!(ServerUrl::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn precision() {
        let parse = |text: &str| Precision::parse(text).map(|p| p.rules.iter().map(|r| r.digits).collect::<Vec<_>>());
        assert_eq!(parse(""), Ok(vec![]));
        assert_eq!(parse(r#"{__name__=~"node_load.*"}=4; latency{job="a"} = 15;"#), Ok(vec![4, 15]));
        for bad in ["load", "load=0", "load=16", "{}=3", "load{=3", "load=x"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(parse(&"a=3;".repeat(PRECISION_RULES_MAX)).is_ok());
        assert!(parse(&"a=3;".repeat(PRECISION_RULES_MAX + 1)).is_err());
        let text = "load=3";
        assert_eq!(Precision::parse(text).map(|p| p.show()), Ok(text.to_owned()));
    }

    #[test]
    fn durations() {
        assert_eq!(Duration::parse("1h30m"), Ok(Duration(5_400_000)));
        assert_eq!(Duration::parse("1y2w3d4h5m6s7ms").map(|d| d.show()), Ok("1y2w3d4h5m6s7ms".to_owned()));
        for bad in ["", "5", "m5", "1m1h", "1h1h", "-1s", "1.5h", "99999999999999999999s", "18446744073709551615y"] {
            assert!(Duration::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn limits_of_jobs() {
        let limits = |text: &str| JobLimits::parse(text).map(|limits| limits.0.into_iter().collect::<Vec<_>>());
        let want = [("a".to_owned(), 0), ("b, \"c=".to_owned(), 20), ("x/y".to_owned(), 7)].to_vec();
        assert_eq!(limits(r#" a = 0,"b, \"c="=20 , x/y=7"#), Ok(want));
        assert_eq!((limits(""), limits("=3")), (Ok(Vec::new()), Ok(vec![(String::new(), 3)])));
        for bad in ["a", "a=", "a=-1", "a=1,,b=2", "a=1 b=2", "\"a=1", "a=1,a=2", "a=x", "a=1,b"] {
            assert!(limits(bad).is_err(), "{bad}");
        }
        assert_eq!(SeriesMax::parse("unlimited"), Ok(SeriesMax(None)));
        assert_eq!(SeriesMax::parse("0"), Ok(SeriesMax(Some(0))));
        assert!(SeriesMax::parse("-1").is_err() && SeriesMax::parse("").is_err());
    }

    #[test]
    fn depths_end_at_their_bound() {
        assert_eq!(Depth::parse("500"), Ok(Depth(500)));
        assert!(["501", "0", "-1", "x", ""].iter().all(|text| Depth::parse(text).is_err()));
    }

    #[test]
    fn sizes_and_zones() {
        assert_eq!(ByteSize::parse("64MiB"), Ok(ByteSize(64 << 20)));
        assert_eq!(ByteSize::parse("10 GB"), Ok(ByteSize(10_000_000_000)));
        assert!(ByteSize::parse("1.5GB").is_err());
        assert!(ByteSize::parse("99999999TiB").is_err());
        assert_eq!(Zone::parse("-05:30"), Ok(Zone { offset_s: -19_800 }));
        for bad in ["", "+2", "+15:00", "02:00", "+02:60", "+0a:00"] {
            assert!(Zone::parse(bad).is_err(), "{bad}");
        }
        assert!(Sync::parse("0").is_err());
        assert!(Format::parse("xml").unwrap_err().contains("text, json"));
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(n in any::<u64>()) {
            prop_assert_eq!(Duration::parse(&Duration(n).show()), Ok(Duration(n)));
            prop_assert_eq!(ByteSize::parse(&ByteSize(n).show()), Ok(ByteSize(n)));
        }

        #[test]
        fn limits_of_jobs_are_read_back(limits in prop::collection::btree_map("[a, =\"\\\\]{0,4}", any::<u64>(), 0..4)) {
            let limits = JobLimits(limits);
            prop_assert_eq!(JobLimits::parse(&limits.show()), Ok(limits));
        }
    }
}
