//! The two jobs that run without any configuration: the server itself, and its host.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use super::config::{Auth, ClientOptions, Job, Secret, TargetGroup};
use crate::config::Duration;

const TIMEOUT_MAX: Duration = Duration(10_000);

/// Name and path of each.
const JOBS: [(&str, &str); 2] = [("streamgauge", "/metrics"), ("node", "/metrics/host")];

/// The jobs, for a server that listens at this address and lets who has this secret read.
pub(super) fn jobs(listen: SocketAddr, interval: Duration, secret: &str) -> Vec<Arc<Job>> {
    let address = reachable(listen).to_string();
    JOBS.into_iter().map(|(name, path)| Arc::new(job(name, path, &address, interval, secret))).collect()
}

/// An address that listens everywhere is reached over loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

fn job(name: &str, path: &str, address: &str, interval: Duration, secret: &str) -> Job {
    let auth = Auth::Header { kind: "Bearer".to_owned(), credentials: Secret::Text(secret.to_owned()) };
    Job {
        metrics_path: path.to_owned(),
        // The way is short; packing would only cost.
        compression: false,
        client: ClientOptions { auth, ..ClientOptions::default() },
        static_groups: vec![TargetGroup { targets: vec![address.to_owned()], labels: Vec::new() }],
        starts_at_once: true,
        ..Job::plain(name, interval, TIMEOUT_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_listens_everywhere_scrapes_itself_over_loopback() {
        for (listen, want) in [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:1", "[::1]:1"), ("10.0.0.1:1", "10.0.0.1:1")] {
            let jobs = jobs(listen.parse().unwrap(), Duration(5_000), "s");
            assert_eq!(jobs[0].static_groups[0].targets, [want]);
            assert_eq!((jobs[1].interval.0, jobs[1].timeout.0), (5_000, 5_000));
        }
    }
}
