//! The host as metric families, under node_exporter's names, help texts and labels.

use std::path::Path;

use model::MetricType;

use super::proc;
use crate::exposition::Family;
use crate::telemetry::family;

/// File systems that node_exporter leaves out by default (`--collector.filesystem.fs-types-exclude`), for the same
/// reason: the kernel's own views, and layers of others.
const FILE_SYSTEMS_IGNORED: [&str; 25] = [
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "erofs",
    "fusectl",
    "hugetlbfs",
    "iso9660",
    "mqueue",
    "nsfs",
    "overlay",
    "proc",
    "procfs",
    "pstore",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "squashfs",
    "sysfs",
    "tracefs",
];

/// Mount points that node_exporter leaves out by default (`--collector.filesystem.mount-points-exclude`).
const MOUNT_POINTS_IGNORED: [&str; 6] =
    ["/dev", "/proc", "/sys", "/run/credentials", "/var/lib/docker", "/var/lib/containers/storage"];

/// The kernel's sectors of `/proc/diskstats` have 512 bytes, whatever the disk's own have.
const SECTOR_BYTES: f64 = 512.0;

/// What a number of `/proc/diskstats` or `/proc/stat` becomes: name, type, scale, help.
struct Column(&'static str, MetricType, f64, &'static str);

const COUNTER: MetricType = MetricType::Counter;
const GAUGE: MetricType = MetricType::Gauge;
const MS: f64 = 0.001;

/// The columns of `/proc/diskstats` behind the name.
const DISK_COLUMNS: [Column; 17] = [
    Column("node_disk_reads_completed_total", COUNTER, 1.0, "The total number of reads completed successfully."),
    Column("node_disk_reads_merged_total", COUNTER, 1.0, "The total number of reads merged."),
    Column("node_disk_read_bytes_total", COUNTER, SECTOR_BYTES, "The total number of bytes read successfully."),
    Column("node_disk_read_time_seconds_total", COUNTER, MS, "The total number of seconds spent by all reads."),
    Column("node_disk_writes_completed_total", COUNTER, 1.0, "The total number of writes completed successfully."),
    Column("node_disk_writes_merged_total", COUNTER, 1.0, "The number of writes merged."),
    Column("node_disk_written_bytes_total", COUNTER, SECTOR_BYTES, "The total number of bytes written successfully."),
    Column(
        "node_disk_write_time_seconds_total",
        COUNTER,
        MS,
        "This is the total number of seconds spent by all writes.",
    ),
    Column("node_disk_io_now", GAUGE, 1.0, "The number of I/Os currently in progress."),
    Column("node_disk_io_time_seconds_total", COUNTER, MS, "Total seconds spent doing I/Os."),
    Column("node_disk_io_time_weighted_seconds_total", COUNTER, MS, "The weighted # of seconds spent doing I/Os."),
    Column("node_disk_discards_completed_total", COUNTER, 1.0, "The total number of discards completed successfully."),
    Column("node_disk_discards_merged_total", COUNTER, 1.0, "The total number of discards merged."),
    Column("node_disk_discarded_sectors_total", COUNTER, 1.0, "The total number of sectors discarded successfully."),
    Column(
        "node_disk_discard_time_seconds_total",
        COUNTER,
        MS,
        "This is the total number of seconds spent by all discards.",
    ),
    Column("node_disk_flush_requests_total", COUNTER, 1.0, "The total number of flush requests completed successfully"),
    Column(
        "node_disk_flush_requests_time_seconds_total",
        COUNTER,
        MS,
        "This is the total number of seconds spent by all flush requests.",
    ),
];

/// Values of `/proc/stat` by the kernel's names.
const STAT_VALUES: [(&str, Column); 6] = [
    ("btime", Column("node_boot_time_seconds", GAUGE, 1.0, "Node boot time, in unixtime.")),
    ("ctxt", Column("node_context_switches_total", COUNTER, 1.0, "Total number of context switches.")),
    ("intr", Column("node_intr_total", COUNTER, 1.0, "Total number of interrupts serviced.")),
    ("processes", Column("node_forks_total", COUNTER, 1.0, "Total number of forks.")),
    ("procs_running", Column("node_procs_running", GAUGE, 1.0, "Number of processes in runnable state.")),
    (
        "procs_blocked",
        Column("node_procs_blocked", GAUGE, 1.0, "Number of processes blocked waiting for I/O to complete."),
    ),
];

/// The columns of `/proc/net/dev`, received before sent.
const NETWORK_COLUMNS: [&str; 16] = [
    "receive_bytes",
    "receive_packets",
    "receive_errs",
    "receive_drop",
    "receive_fifo",
    "receive_frame",
    "receive_compressed",
    "receive_multicast",
    "transmit_bytes",
    "transmit_packets",
    "transmit_errs",
    "transmit_drop",
    "transmit_fifo",
    "transmit_colls",
    "transmit_carrier",
    "transmit_compressed",
];

/// Reads the host now. Blocks for files below `/proc` and for one look at each file system.
pub fn host_families(now_ms: i64) -> Vec<Family> {
    let mut families =
        vec![single("node_time_seconds", GAUGE, "System time in seconds since epoch (1970).", now_ms as f64 / 1000.0)];
    load(&mut families);
    match read("/proc/stat") {
        Some(text) => stat(&mut families, &proc::stat(&text)),
        None => stat_elsewhere(&mut families),
    }
    match read("/proc/meminfo") {
        Some(text) => memory(&mut families, &proc::meminfo(&text)),
        None => memory_elsewhere(&mut families),
    }
    if let Some(text) = read("/proc/diskstats") {
        disks(&mut families, &proc::diskstats(&text));
    }
    match read("/proc/net/dev") {
        Some(text) => networks(&mut families, &proc::net_dev(&text)),
        None => networks_elsewhere(&mut families),
    }
    file_systems(&mut families);
    uname(&mut families);
    families
}

fn read(path: &str) -> Option<String> {
    std::fs::read(Path::new(path)).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn single(name: &str, metric_type: MetricType, help: &str, value: f64) -> Family {
    let mut family = family(name, metric_type, help);
    family.push(&[], value);
    family
}

fn load(families: &mut Vec<Family>) {
    let Ok(load) = sysinfo::System::load_average() else { return };
    families.push(single("node_load1", GAUGE, "1m load average.", load.one));
    families.push(single("node_load5", GAUGE, "5m load average.", load.five));
    families.push(single("node_load15", GAUGE, "15m load average.", load.fifteen));
}

fn cpu_family() -> Family {
    family("node_cpu_seconds_total", COUNTER, "Seconds the CPUs spent in each mode.")
}

fn stat(families: &mut Vec<Family>, stat: &proc::Stat) {
    let mut cpus = cpu_family();
    for (cpu, seconds) in &stat.cpus {
        for (mode, value) in proc::CPU_MODES.iter().zip(seconds) {
            cpus.push(&[("cpu", cpu), ("mode", mode)], *value);
        }
    }
    families.push(cpus);
    for (name, value) in &stat.values {
        if let Some((_, Column(metric, kind, scale, help))) = STAT_VALUES.iter().find(|(n, _)| n == name) {
            families.push(single(metric, *kind, help, value * scale));
        }
    }
}

/// Without `/proc/stat` only the boot time is known.
fn stat_elsewhere(families: &mut Vec<Family>) {
    if let Ok(boot) = sysinfo::System::boot_time() {
        families.push(single("node_boot_time_seconds", GAUGE, "Node boot time, in unixtime.", boot as f64));
    }
}

fn memory(families: &mut Vec<Family>, entries: &[(String, f64)]) {
    for (name, value) in entries {
        let help = format!("Memory information field {name}.");
        families.push(single(&format!("node_memory_{name}"), GAUGE, &help, *value));
    }
}

fn memory_elsewhere(families: &mut Vec<Family>) {
    let Ok(mut system) = sysinfo::System::new() else { return };
    system.refresh_memory();
    memory(
        families,
        &[
            ("MemTotal_bytes".to_owned(), system.total_memory() as f64),
            ("MemFree_bytes".to_owned(), system.free_memory() as f64),
            ("MemAvailable_bytes".to_owned(), system.available_memory() as f64),
            ("SwapTotal_bytes".to_owned(), system.total_swap() as f64),
            ("SwapFree_bytes".to_owned(), system.free_swap() as f64),
        ],
    );
}

/// Devices that stand for nothing of their own, and partitions: node_exporter's default `diskstats.device-exclude`.
fn is_ignored_disk(name: &str) -> bool {
    let numbered = |prefix: &str| name.strip_prefix(prefix).is_some_and(is_digits);
    if ["z3fold", "zram", "ram", "loop", "fd"].iter().any(|p| numbered(p)) {
        return true;
    }
    let letters = |prefix: &str| {
        let rest = name.strip_prefix(prefix)?;
        let (disk, partition) = rest.split_at(rest.find(|c: char| c.is_ascii_digit())?);
        Some(!disk.is_empty() && disk.bytes().all(|b| b.is_ascii_lowercase()) && is_digits(partition))
    };
    if ["h", "s", "v", "xv"].iter().any(|p| letters(&format!("{p}d")).unwrap_or(false)) {
        return true;
    }
    // nvme0n1p2
    name.starts_with("nvme") && name.rsplit_once('p').is_some_and(|(_, partition)| is_digits(partition))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn disks(families: &mut Vec<Family>, disks: &[(String, Vec<f64>)]) {
    for (i, Column(name, kind, scale, help)) in DISK_COLUMNS.iter().enumerate() {
        let mut found = family(name, *kind, help);
        for (device, numbers) in disks.iter().filter(|(device, _)| !is_ignored_disk(device)) {
            if let Some(value) = numbers.get(i) {
                found.push(&[("device", device)], value * scale);
            }
        }
        push_if_any(families, found);
    }
}

fn network_family(column: &str) -> Family {
    family(&format!("node_network_{column}_total"), COUNTER, &format!("Network device statistic {column}."))
}

fn networks(families: &mut Vec<Family>, interfaces: &[(String, Vec<f64>)]) {
    for (i, column) in NETWORK_COLUMNS.iter().enumerate() {
        let mut found = network_family(column);
        for (device, numbers) in interfaces {
            if let Some(value) = numbers.get(i) {
                found.push(&[("device", device)], *value);
            }
        }
        push_if_any(families, found);
    }
}

fn networks_elsewhere(families: &mut Vec<Family>) {
    let Ok(networks) = sysinfo::Networks::new_with_refreshed_list() else { return };
    let numbers: Vec<(String, Vec<f64>)> = networks
        .iter()
        .map(|(name, n)| {
            let name = name.to_string_lossy().into_owned();
            let received = [n.total_received(), n.total_packets_received(), n.total_errors_on_received()];
            let sent = [n.total_transmitted(), n.total_packets_transmitted(), n.total_errors_on_transmitted()];
            (name, received.into_iter().chain(sent).map(|v| v as f64).collect())
        })
        .collect();
    let columns =
        ["receive_bytes", "receive_packets", "receive_errs", "transmit_bytes", "transmit_packets", "transmit_errs"];
    for (i, column) in columns.iter().enumerate() {
        let mut found = network_family(column);
        for (device, numbers) in &numbers {
            found.push(&[("device", device)], numbers[i]);
        }
        push_if_any(families, found);
    }
}

fn push_if_any(families: &mut Vec<Family>, family: Family) {
    if !family.samples.is_empty() {
        families.push(family);
    }
}

fn file_systems(families: &mut Vec<Family>) {
    let mut size = family("node_filesystem_size_bytes", GAUGE, "Filesystem size in bytes.");
    let mut free = family("node_filesystem_free_bytes", GAUGE, "Filesystem free space in bytes.");
    let mut avail =
        family("node_filesystem_avail_bytes", GAUGE, "Filesystem space available to non-root users in bytes.");
    let mut files = family("node_filesystem_files", GAUGE, "Filesystem total file nodes.");
    let mut files_free = family("node_filesystem_files_free", GAUGE, "Filesystem total free file nodes.");
    let mut readonly = family("node_filesystem_readonly", GAUGE, "Filesystem read-only status.");
    let Ok(disks) = sysinfo::Disks::new_with_refreshed_list() else { return };
    let mut seen = std::collections::BTreeSet::new();
    for disk in disks.iter() {
        let fstype = disk.file_system().to_string_lossy();
        let mountpoint = disk.mount_point().to_string_lossy();
        // One mount point can be listed twice; the same labels twice in one scrape would be an error of ours.
        let ignored = FILE_SYSTEMS_IGNORED.contains(&fstype.as_ref())
            || MOUNT_POINTS_IGNORED.iter().any(|root| disk.mount_point().starts_with(root));
        if ignored || !seen.insert(mountpoint.clone().into_owned()) {
            continue;
        }
        let device = disk.name().to_string_lossy();
        let labels = [
            ("device", device.as_ref()),
            ("device_error", ""),
            ("fstype", fstype.as_ref()),
            ("mountpoint", mountpoint.as_ref()),
        ];
        let Ok(stat) = rustix::fs::statvfs(disk.mount_point()) else { continue };
        let bytes = |blocks: u64| blocks as f64 * stat.f_frsize as f64;
        size.push(&labels, bytes(stat.f_blocks));
        free.push(&labels, bytes(stat.f_bfree));
        avail.push(&labels, bytes(stat.f_bavail));
        files.push(&labels, stat.f_files as f64);
        files_free.push(&labels, stat.f_ffree as f64);
        readonly.push(&labels, f64::from(u8::from(disk.is_read_only())));
    }
    for found in [size, free, avail, files, files_free, readonly] {
        push_if_any(families, found);
    }
}

fn uname(families: &mut Vec<Family>) {
    let uname = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    let labels = [
        ("sysname", text(uname.sysname())),
        ("release", text(uname.release())),
        ("version", text(uname.version())),
        ("machine", text(uname.machine())),
        ("nodename", text(uname.nodename())),
        #[cfg(target_os = "linux")]
        ("domainname", text(uname.domainname())),
    ];
    let labels: Vec<(&str, &str)> = labels.iter().map(|(n, v)| (*n, v.as_str())).collect();
    let help = "Labeled system information as provided by the uname system call.";
    let mut found = family("node_uname_info", GAUGE, help);
    found.push(&labels, 1.0);
    families.push(found);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_people_ask_for_are_there() {
        let families = host_families(1_500);
        let value =
            |name: &str| families.iter().find(|f| f.name == name).and_then(|f| f.samples.first()).map(|s| s.value);
        assert_eq!(value("node_time_seconds"), Some(1.5));
        for name in [
            "node_boot_time_seconds",
            "node_load1",
            "node_memory_MemTotal_bytes",
            "node_memory_MemAvailable_bytes",
            "node_network_receive_bytes_total",
            "node_filesystem_size_bytes",
            "node_uname_info",
        ] {
            assert!(value(name).is_some(), "{name}");
        }
        let mut names: Vec<_> = families.iter().map(|f| f.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), families.len(), "each family is there once");
    }

    #[test]
    fn disks_without_partitions_and_ramdisks() {
        for ignored in ["loop0", "zram0", "ram12", "fd0", "sda1", "vdb12", "xvda1", "nvme0n1p2"] {
            assert!(is_ignored_disk(ignored), "{ignored}");
        }
        for kept in ["sda", "vda", "nvme0n1", "dm-0", "md127", "sr0", "mmcblk0", "loop"] {
            assert!(!is_ignored_disk(kept), "{kept}");
        }
    }
}
