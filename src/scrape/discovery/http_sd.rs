//! Targets from a URL that answers with a list in JSON.

use std::time::Duration;

use ::http::header::ACCEPT;
use ::http::{HeaderMap, HeaderName, HeaderValue};
use tokio::sync::mpsc;

use super::Update;
use crate::scrape::client::{Ask, Client};
use crate::scrape::config::{HttpSd, TargetGroup, read_groups};

/// Where a target was found.
const META_URL: &str = "__meta_url";

/// Largest list that is read.
const LIST_BYTES_MAX: usize = 32 << 20;

/// Longest time that the list may take, whatever the interval.
const TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// Reads the list every `refresh_interval`.
pub(super) async fn run(options: HttpSd, job: String, source: usize, updates: mpsc::Sender<Update>) {
    let mut client = Client::new(options.client.clone());
    let ask = ask(&options);
    let mut before: Option<Vec<TargetGroup>> = None;
    let mut failed: Option<String> = None;
    loop {
        let limit = options.refresh.std().min(TIMEOUT_MAX);
        let fetched = tokio::time::timeout(limit, fetch(&mut client, &options, &ask)).await;
        match fetched.unwrap_or_else(|_| Err(format!("no answer within {limit:?}"))) {
            Ok(groups) => {
                failed = None;
                if before.as_ref() != Some(&groups) {
                    before = Some(groups.clone());
                    if updates.send(Update { source, groups }).await.is_err() {
                        return;
                    }
                }
            }
            Err(error) => {
                if failed.as_ref() != Some(&error) {
                    tracing::warn!(job, url = options.url, error, "http_sd: the targets stay as they were");
                    failed = Some(error);
                }
                client = Client::new(options.client.clone());
            }
        }
        tokio::time::sleep(options.refresh.std()).await;
    }
}

fn ask(options: &HttpSd) -> Ask {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    let interval_s = options.refresh.0 as f64 / 1000.0;
    if let Ok(value) = HeaderValue::try_from(interval_s.to_string()) {
        headers.insert(HeaderName::from_static("x-prometheus-refresh-interval-seconds"), value);
    }
    Ask { headers, compression: false, body_max: ("http_sd list", LIST_BYTES_MAX), is_cut: false }
}

async fn fetch(client: &mut Client, options: &HttpSd, ask: &Ask) -> Result<Vec<TargetGroup>, String> {
    let answer = client.get(&options.url, ask).await.map_err(|e| e.to_string())?;
    let content_type = answer.content_type.unwrap_or_default();
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        return Err(format!("unsupported content type {content_type:?}"));
    }
    let text = std::str::from_utf8(&answer.body).map_err(|e| e.to_string())?;
    let mut groups = read_groups(text)?;
    for group in &mut groups {
        group.labels.push((META_URL.to_owned(), options.url.clone()));
    }
    Ok(groups)
}
