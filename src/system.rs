//! Readings of this host and this process, for self-reports, `/metrics` and the built-in job `node`.
//!
//! A use of the CPU is measured between two looks; looks closer together than `READINGS_AGE_MIN` share one result, so
//! that callers do not disturb each other.

mod host;
mod proc;

pub use host::host_families;

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate};

/// Readings younger than this are given again instead of being taken anew.
const READINGS_AGE_MIN: Duration = Duration::from_secs(1);

/// What was read. What this system does not tell is 0.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Readings {
    /// Use of all CPUs of the host since the look before, 0 to 100.
    pub cpu_percent: f64,
    /// CPUs that can run this process.
    pub cpu_count: usize,
    /// Memory of the host in use, in bytes.
    pub memory_used_bytes: u64,
    /// Memory that can be had without swapping, in bytes.
    pub memory_available_bytes: u64,
    /// Memory of the host, in bytes.
    pub memory_total_bytes: u64,
    /// Use of the CPU by this process since the look before; 100 is one whole CPU.
    pub process_cpu_percent: f64,
    /// CPU time of this process since its start, in seconds.
    pub process_cpu_seconds: f64,
    /// Resident memory of this process, in bytes.
    pub process_rss_bytes: u64,
    /// Address space of this process, in bytes.
    pub process_virtual_bytes: u64,
    /// Open file descriptors of this process.
    pub process_open_files: u64,
    /// Most file descriptors that this process may open.
    pub process_open_files_max: u64,
    /// When this process started, in seconds since 1970.
    pub process_start_s: u64,
    /// How long this process has been running, in seconds.
    pub process_uptime_s: f64,
    /// When the host started, in seconds since 1970.
    pub boot_time_s: u64,
    /// Load of the host over 1, 5 and 15 minutes.
    pub load: [f64; 3],
}

impl Readings {
    /// Share of the host's memory in use, 0 to 100.
    pub fn memory_percent(&self) -> f64 {
        if self.memory_total_bytes == 0 {
            return 0.0;
        }
        self.memory_used_bytes as f64 * 100.0 / self.memory_total_bytes as f64
    }
}

struct Look {
    system: sysinfo::System,
    at: Instant,
    readings: Readings,
}

/// Looks at this host and this process. Share it: uses of the CPU are measured from look to look.
pub struct System {
    pid: Option<Pid>,
    started: Instant,
    /// None where the system cannot be looked at.
    last: Option<Mutex<Look>>,
}

impl System {
    /// Takes the first look; uses of the CPU are known from the second on.
    pub fn new() -> System {
        let (pid, started) = (sysinfo::get_current_pid().ok(), Instant::now());
        let last = sysinfo::System::new().ok().map(|mut system| {
            let readings = read(&mut system, pid, started);
            Mutex::new(Look { system, at: Instant::now(), readings })
        });
        System { pid, started, last }
    }

    /// Reads the host and this process. Blocks for some files below `/proc`, well under a millisecond.
    pub fn readings(&self) -> Readings {
        let Some(last) = &self.last else { return Readings::default() };
        let mut look = last.lock();
        if look.at.elapsed() >= READINGS_AGE_MIN {
            look.readings = read(&mut look.system, self.pid, self.started);
            look.at = Instant::now();
        }
        look.readings
    }
}

impl Default for System {
    fn default() -> Self {
        System::new()
    }
}

fn read(system: &mut sysinfo::System, pid: Option<Pid>, started: Instant) -> Readings {
    system.refresh_cpu_usage();
    system.refresh_memory();
    let mut readings = Readings {
        cpu_percent: f64::from(system.global_cpu_usage()),
        cpu_count: std::thread::available_parallelism().map_or(1, usize::from),
        memory_used_bytes: system.used_memory(),
        memory_available_bytes: system.available_memory(),
        memory_total_bytes: system.total_memory(),
        process_uptime_s: started.elapsed().as_secs_f64(),
        boot_time_s: sysinfo::System::boot_time().unwrap_or_default(),
        load: sysinfo::System::load_average().map_or([0.0; 3], |load| [load.one, load.five, load.fifteen]),
        ..Readings::default()
    };
    let Some(pid) = pid else { return readings };
    let what = ProcessRefreshKind::nothing().with_cpu().with_memory().without_tasks();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, what);
    if let Some(process) = system.process(pid) {
        readings.process_cpu_percent = f64::from(process.cpu_usage());
        readings.process_cpu_seconds = process.accumulated_cpu_time() as f64 / 1000.0;
        readings.process_rss_bytes = process.memory();
        readings.process_virtual_bytes = process.virtual_memory();
        readings.process_open_files = process.open_files().unwrap_or_default() as u64;
        readings.process_open_files_max = process.open_files_limit().unwrap_or_default() as u64;
        readings.process_start_s = process.start_time();
    }
    readings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_seen_and_looks_close_together_agree() {
        let system = System::new();
        let first = system.readings();
        assert!(first.process_rss_bytes > 1 << 20, "{first:?}");
        assert!(first.process_start_s >= first.boot_time_s && first.boot_time_s > 1_000_000_000, "{first:?}");
        assert!(first.memory_total_bytes >= first.memory_used_bytes && first.memory_used_bytes > 0);
        assert!((0.0..=100.0).contains(&first.memory_percent()) && first.memory_percent() > 0.0);
        assert!(first.process_open_files > 0 && first.process_open_files_max >= first.process_open_files);
        assert_eq!(system.readings(), first, "the second look within a second is the first");
    }
}
