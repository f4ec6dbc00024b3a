//! `/config`, `/overview`, `/jobmanager/config` and `/taskmanagers`: the clusters behind the jobs, shown as one.

use model::{MatchOp, Matcher, SampleColumns, TimeRange, is_stale};
use serde_json::{Value, json};

use super::answer::Failure;
use super::fields::Fields;
use super::io::LOOKBACK_MS;
use super::view::View;
use crate::jobs::{Cluster, JobState, Known, TaskManager, Version};

/// What Flink itself says when it does not know its version or commit.
const UNKNOWN: &str = "<unknown>";

/// Milliseconds after which a page asks again, where no cluster says; Flink's default.
const REFRESH_MS: i64 = 3000;

/// All clusters, those that answer first.
fn clusters(view: &View<'_>) -> Result<Vec<(Known, Cluster)>, Failure> {
    let mut clusters = Vec::new();
    for known in view.clusters()? {
        let found: Option<Version<Cluster>> = view.reader.document(&known, "", view.at_ms)?;
        clusters.extend(found.map(|version| (known, version.document)));
    }
    clusters.sort_by_key(|(_, cluster)| !cluster.is_reachable);
    Ok(clusters)
}

pub(super) fn config(view: &View<'_>) -> Result<Value, Failure> {
    let first = clusters(view)?.into_iter().next().map(|(_, cluster)| cluster).unwrap_or_default();
    let page = &first.page.0;
    let or = |name: &str, fallback: Value| page.get(name).cloned().unwrap_or(fallback);
    let given = page.get("features").and_then(Value::as_object).cloned().unwrap_or_default();
    let is_on = |name: &str| given.get(name).and_then(Value::as_bool).unwrap_or(false);
    let features = Fields::new(view.shape)
        .put("web-submit", is_on("web-submit"))
        .newer("web-cancel", is_on("web-cancel"))
        .newer("web-rescale", is_on("web-rescale"))
        .newer("web-history", is_on("web-history"));
    Ok(json!({
        "refresh-interval": or("refresh-interval", REFRESH_MS.into()),
        "timezone-name": or("timezone-name", "Coordinated Universal Time".into()),
        "timezone-offset": or("timezone-offset", 0.into()),
        "flink-version": or("flink-version", first.version.as_deref().unwrap_or(UNKNOWN).into()),
        "flink-revision": or("flink-revision", first.commit.as_deref().unwrap_or(UNKNOWN).into()),
        "features": features.done(),
    }))
}

/// The release of the first cluster, which is the one that `/config` shows.
pub(super) fn version(view: &View<'_>) -> Result<Option<String>, Failure> {
    Ok(clusters(view)?.into_iter().next().and_then(|(_, cluster)| cluster.version))
}

pub(super) fn overview(view: &View<'_>) -> Result<Value, Failure> {
    let clusters = clusters(view)?;
    let managers = all_task_managers(view, &clusters)?;
    let runs = view.runs()?;
    let count = |is: fn(JobState) -> bool| runs.iter().filter(|(_, run)| is(run.document.state)).count();
    let first = clusters.first().map(|(_, cluster)| cluster);
    let text = |pick: fn(&Cluster) -> Option<&str>| first.and_then(pick).unwrap_or(UNKNOWN);
    Ok(json!({
        "taskmanagers": managers.len(),
        "slots-total": managers.iter().map(|manager| manager.slots).sum::<i64>(),
        "slots-available": managers.iter().map(|manager| manager.free_slots).sum::<i64>(),
        "jobs-running": count(|state| !state.has_ended() && state != JobState::Suspended),
        "jobs-finished": count(|state| state == JobState::Finished),
        "jobs-cancelled": count(|state| state == JobState::Canceled),
        "jobs-failed": count(|state| state == JobState::Failed),
        "flink-version": text(|cluster| cluster.version.as_deref()),
        "flink-commit": text(|cluster| cluster.commit.as_deref()),
    }))
}

pub(super) fn configuration(view: &View<'_>) -> Result<Value, Failure> {
    let first = clusters(view)?.into_iter().next().map(|(_, cluster)| cluster).unwrap_or_default();
    let entry = |(key, value): (String, String)| json!({"key": key, "value": value});
    Ok(first.configuration.into_iter().map(entry).collect::<Vec<_>>().into())
}

/// The task managers of clusters that answer: those of a lost cluster are gone as far as anybody knows, unless it is the
/// past that is asked for.
fn all_task_managers(view: &View<'_>, clusters: &[(Known, Cluster)]) -> Result<Vec<TaskManager>, Failure> {
    let mut managers = Vec::new();
    for (known, _) in clusters.iter().filter(|(_, cluster)| cluster.is_reachable) {
        let found: Vec<Version<TaskManager>> = view.reader.documents(known, view.at_ms)?;
        managers.extend(found.into_iter().map(|version| version.document));
    }
    Ok(managers)
}

pub(super) fn task_managers(view: &View<'_>) -> Result<Value, Failure> {
    let managers = all_task_managers(view, &clusters(view)?)?;
    let entry = |manager: &TaskManager| {
        let mut kept = manager.kept.clone();
        // Only who asks for one task manager is told.
        kept.0.remove("allocatedSlots");
        manager_fields(view, manager).kept(&kept).done()
    };
    let entries: Vec<Value> = managers.iter().map(entry).collect();
    Ok(json!({"taskmanagers": entries}))
}

fn manager_fields(view: &View<'_>, manager: &TaskManager) -> Fields {
    Fields::new(view.shape)
        .put("id", manager.id.as_str())
        .put("path", manager.path.as_deref())
        .put("dataPort", manager.data_port.unwrap_or(-1))
        // Its heartbeats are not kept: it was there at the moment that is asked for.
        .put("timeSinceLastHeartbeat", view.now_ms)
        .put("slotsNumber", manager.slots)
        .put("freeSlots", manager.free_slots)
        .put(
            "hardware",
            json!({
                "cpuCores": manager.cpu_cores,
                "physicalMemory": manager.physical_memory_bytes,
                "freeMemory": manager.free_memory_bytes,
                "managedMemory": manager.managed_memory_bytes,
            }),
        )
}

pub(super) fn task_manager(view: &View<'_>, id: &str) -> Result<Value, Failure> {
    let managers = all_task_managers(view, &clusters(view)?)?;
    let manager = managers.iter().find(|manager| manager.id == id);
    // Flink answers 500 and not 404.
    let manager = manager.ok_or_else(|| {
        Failure::internal(format_args!(
            "org.apache.flink.runtime.resourcemanager.exceptions.UnknownTaskExecutorException: \
             No TaskExecutor registered under {id}."
        ))
    })?;
    Ok(manager_fields(view, manager).kept(&manager.kept).put("metrics", memory(view, id)?).done())
}

/// Fields of a task manager's `metrics`, the series they come from (behind the prefix), and whether the page has them and
/// 2.x does.
const MEMORY: [(&str, &str, bool, bool); 20] = [
    ("heapUsed", "JVM_Memory_Heap_Used", true, true),
    ("heapCommitted", "JVM_Memory_Heap_Committed", true, true),
    ("heapMax", "JVM_Memory_Heap_Max", true, true),
    ("nonHeapUsed", "JVM_Memory_NonHeap_Used", true, true),
    ("nonHeapCommitted", "JVM_Memory_NonHeap_Committed", true, true),
    ("nonHeapMax", "JVM_Memory_NonHeap_Max", true, true),
    ("directCount", "JVM_Memory_Direct_Count", true, true),
    ("directUsed", "JVM_Memory_Direct_MemoryUsed", true, true),
    ("directMax", "JVM_Memory_Direct_TotalCapacity", true, true),
    ("mappedCount", "JVM_Memory_Mapped_Count", true, true),
    ("mappedUsed", "JVM_Memory_Mapped_MemoryUsed", true, true),
    ("mappedMax", "JVM_Memory_Mapped_TotalCapacity", true, true),
    ("memorySegmentsAvailable", "Shuffle_Netty_AvailableMemorySegments", true, false),
    ("memorySegmentsTotal", "Shuffle_Netty_TotalMemorySegments", true, false),
    ("nettyShuffleMemorySegmentsAvailable", "Shuffle_Netty_AvailableMemorySegments", false, true),
    ("nettyShuffleMemorySegmentsUsed", "Shuffle_Netty_UsedMemorySegments", false, true),
    ("nettyShuffleMemorySegmentsTotal", "Shuffle_Netty_TotalMemorySegments", false, true),
    ("nettyShuffleMemoryAvailable", "Shuffle_Netty_AvailableMemory", false, true),
    ("nettyShuffleMemoryUsed", "Shuffle_Netty_UsedMemory", false, true),
    ("nettyShuffleMemoryTotal", "Shuffle_Netty_TotalMemory", false, true),
];

/// Before the names of the series of a task manager as a whole.
const STATUS: &str = "flink_taskmanager_Status_";

const COLLECTOR: &str = "JVM_GarbageCollector_";

fn memory(view: &View<'_>, id: &str) -> Result<Value, Failure> {
    let values = status_values(view, id)?;
    let value = |series: &str| values.get(series).copied();
    // Flink's own word for what it does not know is -1.
    let fields = MEMORY.into_iter().fold(Fields::new(view.shape), |fields, (name, series, is_of_page, is_newer)| {
        let value = value(series).unwrap_or(-1);
        match (is_of_page, is_newer) {
            (true, true) => fields.put(name, value),
            (true, false) => fields.page(name, value),
            _ => fields.newer(name, value),
        }
    });
    let names = values.keys().filter_map(|name| name.strip_prefix(COLLECTOR)?.strip_suffix("_Count"));
    let collector = |name: &str| {
        let part = |part: &str| value(&format!("{COLLECTOR}{name}_{part}")).unwrap_or(-1);
        json!({"name": name, "count": part("Count"), "time": part("Time")})
    };
    Ok(fields.put("garbageCollectors", names.map(collector).collect::<Vec<_>>()).done())
}

/// The newest values of a task manager's series, by their names behind the prefix.
fn status_values(view: &View<'_>, id: &str) -> Result<std::collections::BTreeMap<String, i64>, Failure> {
    let by_name = Matcher::new(model::METRIC_NAME, MatchOp::Regex, format!("{STATUS}.*")).map_err(Failure::internal)?;
    // Flink's reporter makes underscores of what is not a letter, a digit or a colon, unless told not to.
    let sanitized: String = id.chars().map(|c| if c.is_ascii_alphanumeric() || c == ':' { c } else { '_' }).collect();
    let either = format!("{}|{}", regex::escape(id), regex::escape(&sanitized));
    let by_id = Matcher::new("tm_id", MatchOp::Regex, either).map_err(Failure::internal)?;
    let range = TimeRange { start_ms: view.now_ms.saturating_sub(LOOKBACK_MS), end_ms: view.now_ms };
    let set = view.series.select(&view.scope, &[by_name, by_id], range, view.budget)?;
    let mut values = std::collections::BTreeMap::new();
    let mut samples = SampleColumns::default();
    for i in 0..set.len() {
        set.newest(i, range, true, view.budget, &mut samples)?;
        let newest = samples.floats().next_back().filter(|sample| !is_stale(sample.value));
        if let (Some(sample), Some(name)) = (newest, set.labels(i)?.metric_name().strip_prefix(STATUS)) {
            values.insert(name.to_owned(), sample.value as i64);
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_memory_has_a_name_of_its_own_and_a_shape() {
        let mut names: Vec<&str> = MEMORY.iter().map(|(name, ..)| *name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), MEMORY.len());
        assert!(MEMORY.iter().all(|(_, _, is_of_page, is_newer)| *is_of_page || *is_newer));
    }
}
