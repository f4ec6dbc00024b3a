//! The hosts of a cluster's processes, as the cluster names them.
//!
//! A cluster can name any host, and whoever speaks for it would choose whom we ask. So what it names is taken from its own
//! point of view, and addresses that no process of it can have are refused: loopback is the machine of the JobManager that
//! said so, never ours, and link-local, multicast and unspecified addresses (metadata services of clouds are among them)
//! are nobody.

use std::net::{IpAddr, Ipv6Addr};

/// Longest name of a host (RFC 1035).
const NAME_BYTES_MAX: usize = 253;

/// The host in the address of a task manager inside its cluster, such as
/// `pekko.tcp://flink@10.0.0.7:36707/user/rpc/taskmanager_0`; none in the local form, `akka://flink/user/…`.
pub fn of_path(path: &str) -> Option<&str> {
    let (_, rest) = path.split_once("://")?;
    let (_, place) = rest.split('/').next()?.rsplit_once('@')?;
    let (host, port) = place.rsplit_once(':')?;
    port.parse::<u16>().ok()?;
    is_host(host).then_some(host)
}

/// True for what can stand before the port in an address: a name, an IP address, one of version 6 in brackets.
pub fn is_host(text: &str) -> bool {
    let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let is_name = !text.is_empty() && text.len() <= NAME_BYTES_MAX && text.bytes().all(is_name_byte);
    is_name || within_brackets(text).is_some()
}

/// How we reach a host that a JobManager names, when we reached the JobManager at `answered`. None if no process of a
/// cluster can be there.
pub fn seen_from(host: &str, answered: Option<&str>) -> Option<String> {
    let host = host.to_ascii_lowercase();
    let its_own = || answered.map(str::to_owned);
    match ip(&host) {
        Some(ip) if ip.is_loopback() => its_own(),
        Some(ip) if is_nobody(ip) => None,
        Some(_) => Some(host),
        None if is_localhost(&host) => its_own(),
        // Some resolvers take `127.1` and `2130706433` for addresses.
        None if is_number_like(&host) => None,
        None => Some(host),
    }
}

/// True if a host is a machine's own name for itself.
pub fn is_loopback(host: &str) -> bool {
    ip(host).map_or_else(|| is_localhost(host), |ip| ip.is_loopback())
}

/// The IP address that a host is written as.
pub fn ip(host: &str) -> Option<IpAddr> {
    let ip = within_brackets(host).map(IpAddr::V6).or_else(|| host.parse().ok().filter(IpAddr::is_ipv4))?;
    Some(ip.to_canonical())
}

fn within_brackets(text: &str) -> Option<Ipv6Addr> {
    text.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

fn is_localhost(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || host.to_ascii_lowercase().ends_with(".localhost")
}

fn is_nobody(ip: IpAddr) -> bool {
    let is_local_to_the_link = match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast() || ip.octets()[0] == 0,
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    is_local_to_the_link || ip.is_unspecified() || ip.is_multicast()
}

/// As in the URL standard: a name whose last part is a number is an address.
fn is_number_like(host: &str) -> bool {
    let last = host.strip_suffix('.').unwrap_or(host).rsplit('.').next().unwrap_or_default();
    let is_hex = last.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
    is_hex || last.is_empty() || last.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_stands_in_the_address_of_a_task_manager() {
        for (path, host) in [
            ("akka.tcp://flink@127.0.0.1:35067/user/taskmanager_0", Some("127.0.0.1")),
            ("pekko.tcp://flink@tm-1.example:36707/user/rpc/taskmanager_0", Some("tm-1.example")),
            ("pekko.ssl.tcp://flink@[fd00::7]:36707/user/rpc/taskmanager_0", Some("[fd00::7]")),
            // All in one process.
            ("akka://flink/user/taskmanager_0", None),
            ("pekko://flink/user/rpc/taskmanager_0", None),
            ("pekko.tcp://flink@host/user", None),
            ("pekko.tcp://flink@host:70000/user", None),
            ("pekko.tcp://flink@:1/user", None),
            ("pekko.tcp://flink@a b:1/user", None),
            ("pekko.tcp://flink@h?x=:1/user", None),
            ("pekko.tcp://flink@[h]:1/user", None),
            ("", None),
        ] {
            assert_eq!(of_path(path), host, "{path}");
        }
        let name = |bytes: usize| is_host(&"n".repeat(bytes));
        assert!(name(NAME_BYTES_MAX) && !name(NAME_BYTES_MAX + 1));
    }

    #[test]
    fn loopback_is_the_machine_that_says_so() {
        for host in ["localhost", "LOCALHOST.", "a.localhost", "127.0.0.1", "127.8.8.8", "[::1]", "[::ffff:127.0.0.1]"]
        {
            assert_eq!(seen_from(host, Some("jm")), Some("jm".to_owned()), "{host}");
            assert_eq!(seen_from(host, None), None, "{host}");
            assert!(is_loopback(host), "{host}");
        }
    }

    #[test]
    fn what_no_process_can_have_is_nobody() {
        for host in [
            "0.0.0.0",
            "0.1.2.3",
            "255.255.255.255",
            "224.0.0.1",
            "169.254.169.254",
            "[::ffff:169.254.169.254]",
            "[fe80::1]",
            "[::]",
            "[ff02::1]",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "a.1.",
            ".",
        ] {
            assert_eq!(seen_from(host, Some("jm")), None, "{host}");
        }
        // A container's name is a part of its id.
        for host in ["10.0.0.7", "192.168.1.1", "[fd00::7]", "node-5", "6f1a2b3c4d5e", "x.example.", "0xyz"] {
            assert_eq!(seen_from(host, Some("jm")), Some(host.to_owned()), "{host}");
            assert!(!is_loopback(host), "{host}");
        }
        assert_eq!(seen_from("Node-5", Some("jm")), Some("node-5".to_owned()));
    }
}
