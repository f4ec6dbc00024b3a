//! Readers of Linux's `/proc/stat`, `/proc/meminfo`, `/proc/diskstats` and `/proc/net/dev`: texts in, numbers out.
//!
//! They are tolerant: a line or a column that a kernel writes otherwise is left out, the rest is read. Formats:
//! `proc_stat(5)`, `proc_meminfo(5)`, the kernel's `Documentation/admin-guide/iostats.rst`, `proc_pid_net(5)`.

/// Clock ticks per second in `/proc/stat`. The kernel scales to this value for programs on every architecture that
/// Linux still supports, whatever its own tick is.
const TICKS_PER_SECOND: f64 = 100.0;

/// Modes of a CPU in the order of the columns of `/proc/stat`, by node_exporter's names.
pub(super) const CPU_MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];

/// What `/proc/stat` says.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Stat {
    /// Each CPU's number and its seconds by mode ([`CPU_MODES`]).
    pub(super) cpus: Vec<(String, Vec<f64>)>,
    /// Counters and states, by the kernel's name.
    pub(super) values: Vec<(String, f64)>,
}

pub(super) fn stat(text: &str) -> Stat {
    let mut stat = Stat::default();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let Some(name) = words.next() else { continue };
        match name.strip_prefix("cpu") {
            // The sum over all CPUs; whoever asks can sum.
            Some("") => {}
            Some(number) => {
                let seconds = words.map_while(|w| w.parse::<f64>().ok()).map(|ticks| ticks / TICKS_PER_SECOND);
                stat.cpus.push((number.to_owned(), seconds.take(CPU_MODES.len()).collect()));
            }
            None => {
                if let Some(value) = words.next().and_then(|w| w.parse().ok()) {
                    stat.values.push((name.to_owned(), value));
                }
            }
        }
    }
    stat
}

/// Names of `/proc/meminfo` as node_exporter writes them (`Active(anon)` becomes `Active_anon`, `kB` adds `_bytes`), with
/// values in bytes or, for those without a unit, as they are.
pub(super) fn meminfo(text: &str) -> Vec<(String, f64)> {
    let entry = |line: &str| {
        let (name, rest) = line.split_once(':')?;
        let mut words = rest.split_ascii_whitespace();
        let value: f64 = words.next()?.parse().ok()?;
        let name = name.trim().replace('(', "_").replace(')', "");
        match words.next() {
            Some("kB") => Some((format!("{name}_bytes"), value * 1024.0)),
            _ => Some((name, value)),
        }
    };
    text.lines().filter_map(entry).collect()
}

/// One disk of `/proc/diskstats`: its name and the numbers behind it, from "reads completed" on.
pub(super) fn diskstats(text: &str) -> Vec<(String, Vec<f64>)> {
    let entry = |line: &str| {
        let mut words = line.split_ascii_whitespace().skip(2);
        let name = words.next()?.to_owned();
        Some((name, words.map_while(|w| w.parse().ok()).collect()))
    };
    text.lines().filter_map(entry).collect()
}

/// One interface of `/proc/net/dev`: its name and its 16 numbers, 8 received and 8 sent.
pub(super) fn net_dev(text: &str) -> Vec<(String, Vec<f64>)> {
    let entry = |line: &str| {
        let (name, rest) = line.rsplit_once(':')?;
        Some((name.trim().to_owned(), rest.split_ascii_whitespace().map_while(|w| w.parse().ok()).collect()))
    };
    text.lines().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_of_two_cpus() {
        let text = "cpu  300 0 0 0\ncpu0 25486 7294 4253 220905 267 0 55 37 0 0\ncpu1 1 x 2\nintr 598839 1 2\nctxt 768450\nbtime 1795232734\n\nodd\n";
        let stat = stat(text);
        assert_eq!(stat.cpus[0], ("0".into(), vec![254.86, 72.94, 42.53, 2209.05, 2.67, 0.0, 0.55, 0.37]));
        assert_eq!(stat.cpus[1], ("1".into(), vec![0.01]), "what cannot be read ends the line, not the file");
        assert_eq!(
            stat.values,
            [("intr".into(), 598_839.0), ("ctxt".into(), 768_450.0), ("btime".into(), 1_795_232_734.0)]
        );
    }

    #[test]
    fn meminfo_names_and_units() {
        let text =
            "MemTotal:       24684084 kB\nActive(anon):       1592 kB\nHugePages_Total:       3\nbad\nWorse: kB\n";
        assert_eq!(
            meminfo(text),
            [
                ("MemTotal_bytes".into(), 25_276_502_016.0),
                ("Active_anon_bytes".into(), 1_630_208.0),
                ("HugePages_Total".into(), 3.0),
            ]
        );
    }

    #[test]
    fn disks_and_interfaces() {
        let disks = diskstats(" 254       0 vda 113117 19332 28309018 91480\n7\n");
        assert_eq!(disks, [("vda".into(), vec![113_117.0, 19_332.0, 28_309_018.0, 91_480.0])]);
        let text = "Inter-|   Receive |  Transmit\n face |bytes packets\n  eth0:312 13 0 0 0 0 0 0 85 7 0 0 0 0 0 0\neth0:1: 5 6\n";
        let interfaces = net_dev(text);
        assert_eq!(interfaces[0].0, "eth0");
        assert_eq!(interfaces[0].1[..2], [312.0, 13.0]);
        assert_eq!(interfaces[1], ("eth0:1".into(), vec![5.0, 6.0]));
    }
}
