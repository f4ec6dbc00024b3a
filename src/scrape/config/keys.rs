//! The keys of Prometheus's configuration file (as of 3.x, with those of 2.x that still stand in files), and what we do
//! with each. A key that is not here is unknown.

/// What a key means to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Support {
    /// It is read.
    Yes,
    /// It changes nothing that we do: how often rules are evaluated, how bytes travel.
    NoEffect,
    /// These values are what we do anyhow; any other is not supported.
    Only(&'static [&'static str]),
    /// Known to Prometheus, not to us.
    No,
}

use Support::{No, NoEffect, Only, Yes};

/// The keys of one kind of section.
pub(super) struct Keys {
    /// What the section is called in messages, as Prometheus calls it.
    pub(super) section: &'static str,
    pub(super) keys: &'static [(&'static str, Support)],
}

pub(super) static FILE: Keys = Keys {
    section: "the configuration file",
    keys: &[
        ("global", Yes),
        ("scrape_configs", Yes),
        ("scrape_config_files", Yes),
        ("runtime", No),
        ("rule_files", No),
        ("alerting", No),
        ("remote_write", No),
        ("remote_read", No),
        ("storage", No),
        ("tracing", No),
        ("otlp", No),
    ],
};

/// A file named by `scrape_config_files`.
pub(super) static SCRAPE_CONFIG_FILE: Keys =
    Keys { section: "a file of scrape_config_files", keys: &[("scrape_configs", Yes)] };

const FALSE: Support = Only(&["false"]);
const ZERO: Support = Only(&["0"]);

pub(super) static GLOBAL: Keys = Keys {
    section: "global",
    keys: &[
        ("scrape_interval", Yes),
        ("scrape_timeout", Yes),
        ("scrape_protocols", Yes),
        ("external_labels", Yes),
        ("body_size_limit", Yes),
        ("sample_limit", Yes),
        ("target_limit", Yes),
        ("label_limit", Yes),
        ("label_name_length_limit", Yes),
        ("label_value_length_limit", Yes),
        // No rules are evaluated here.
        ("evaluation_interval", NoEffect),
        ("rule_query_offset", NoEffect),
        ("keep_dropped_targets", NoEffect),
        ("always_scrape_classic_histograms", Yes),
        ("query_log_file", No),
        ("scrape_failure_log_file", No),
        ("metric_name_validation_scheme", Only(&["utf8"])),
        ("metric_name_escaping_scheme", Only(&["allow-utf-8"])),
        ("scrape_native_histograms", Yes),
        ("convert_classic_histograms_to_nhcb", FALSE),
        ("extra_scrape_metrics", FALSE),
    ],
};

/// The keys of Prometheus's HTTP client, in whatever section speaks HTTP.
macro_rules! http_client_and {
    ($($key:expr),* $(,)?) => {
        &[
            ("basic_auth", Yes),
            ("authorization", Yes),
            ("bearer_token", Yes),
            ("bearer_token_file", Yes),
            ("tls_config", Yes),
            ("follow_redirects", Yes),
            ("enable_http2", NoEffect),
            ("oauth2", No),
            ("http_headers", No),
            ("proxy_url", No),
            ("no_proxy", No),
            ("proxy_from_environment", FALSE),
            ("proxy_connect_header", No),
            $($key),*
        ]
    };
}

pub(super) static SCRAPE_CONFIG: Keys = Keys {
    section: "scrape_config",
    keys: http_client_and![
        ("job_name", Yes),
        ("scrape_interval", Yes),
        ("scrape_timeout", Yes),
        ("scrape_protocols", Yes),
        ("fallback_scrape_protocol", Yes),
        ("metrics_path", Yes),
        ("params", Yes),
        ("scheme", Yes),
        ("honor_labels", Yes),
        ("honor_timestamps", Yes),
        ("track_timestamps_staleness", Yes),
        ("enable_compression", Yes),
        ("body_size_limit", Yes),
        ("sample_limit", Yes),
        ("target_limit", Yes),
        ("label_limit", Yes),
        ("label_name_length_limit", Yes),
        ("label_value_length_limit", Yes),
        ("relabel_configs", Yes),
        ("metric_relabel_configs", Yes),
        ("static_configs", Yes),
        ("file_sd_configs", Yes),
        ("http_sd_configs", Yes),
        ("keep_dropped_targets", NoEffect),
        ("always_scrape_classic_histograms", Yes),
        ("scrape_classic_histograms", Yes),
        ("scrape_failure_log_file", No),
        ("metric_name_validation_scheme", Only(&["utf8"])),
        ("metric_name_escaping_scheme", Only(&["allow-utf-8"])),
        ("scrape_native_histograms", Yes),
        ("convert_classic_histograms_to_nhcb", FALSE),
        ("native_histogram_bucket_limit", ZERO),
        ("native_histogram_min_bucket_factor", ZERO),
        ("extra_scrape_metrics", FALSE),
        ("azure_sd_configs", No),
        ("consul_sd_configs", No),
        ("digitalocean_sd_configs", No),
        ("dns_sd_configs", No),
        ("docker_sd_configs", No),
        ("dockerswarm_sd_configs", No),
        ("ec2_sd_configs", No),
        ("eureka_sd_configs", No),
        ("gce_sd_configs", No),
        ("hetzner_sd_configs", No),
        ("ionos_sd_configs", No),
        ("kubernetes_sd_configs", No),
        ("kuma_sd_configs", No),
        ("lightsail_sd_configs", No),
        ("linode_sd_configs", No),
        ("marathon_sd_configs", No),
        ("msk_sd_configs", No),
        ("nerve_sd_configs", No),
        ("nomad_sd_configs", No),
        ("openstack_sd_configs", No),
        ("ovhcloud_sd_configs", No),
        ("puppetdb_sd_configs", No),
        ("rds_sd_configs", No),
        ("elasticache_sd_configs", No),
        ("ecs_sd_configs", No),
        ("aws_sd_configs", No),
        ("scaleway_sd_configs", No),
        ("serverset_sd_configs", No),
        ("stackit_sd_configs", No),
        ("triton_sd_configs", No),
        ("uyuni_sd_configs", No),
        ("vultr_sd_configs", No),
    ],
};

pub(super) static TARGET_GROUP: Keys = Keys { section: "static_config", keys: &[("targets", Yes), ("labels", Yes)] };

pub(super) static FILE_SD: Keys =
    Keys { section: "file_sd_config", keys: &[("files", Yes), ("refresh_interval", Yes)] };

pub(super) static HTTP_SD: Keys =
    Keys { section: "http_sd_config", keys: http_client_and![("url", Yes), ("refresh_interval", Yes)] };

pub(super) static RELABEL: Keys = Keys {
    section: "relabel_config",
    keys: &[
        ("source_labels", Yes),
        ("separator", Yes),
        ("target_label", Yes),
        ("regex", Yes),
        ("modulus", Yes),
        ("replacement", Yes),
        ("action", Yes),
    ],
};

pub(super) static BASIC_AUTH: Keys = Keys {
    section: "basic_auth",
    keys: &[
        ("username", Yes),
        ("username_file", Yes),
        ("username_ref", No),
        ("password", Yes),
        ("password_file", Yes),
        ("password_ref", No),
    ],
};

pub(super) static AUTHORIZATION: Keys = Keys {
    section: "authorization",
    keys: &[("type", Yes), ("credentials", Yes), ("credentials_file", Yes), ("credentials_ref", No)],
};

pub(super) static TLS: Keys = Keys {
    section: "tls_config",
    keys: &[
        ("ca", Yes),
        ("cert", Yes),
        ("key", Yes),
        ("ca_file", Yes),
        ("cert_file", Yes),
        ("key_file", Yes),
        ("server_name", Yes),
        ("insecure_skip_verify", Yes),
        ("min_version", Yes),
        ("max_version", Yes),
        ("ca_ref", No),
        ("cert_ref", No),
        ("key_ref", No),
    ],
};

/// Keys whose value is never shown, wherever they stand, also in sections that we do not read.
const SECRETS: [&str; 14] = [
    "password",
    "credentials",
    "bearer_token",
    "client_secret",
    "secret_key",
    "secret",
    "token",
    "key",
    "account_key",
    "client_certificate_key",
    "application_credential_secret",
    "application_secret",
    "consumer_key",
    "api_key",
];

/// True for keys whose value is never shown.
pub(super) fn is_secret(key: &str) -> bool {
    SECRETS.contains(&key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_unique() {
        for keys in [&FILE, &GLOBAL, &SCRAPE_CONFIG, &FILE_SD, &HTTP_SD, &RELABEL, &BASIC_AUTH, &AUTHORIZATION, &TLS] {
            let mut names: Vec<_> = keys.keys.iter().map(|(name, _)| *name).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), keys.keys.len(), "{}", keys.section);
        }
    }
}
