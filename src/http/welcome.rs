//! `/`: what a person who opens the server's address can do next.

use std::sync::Arc;

use axum::Router;
use axum::response::Html;
use axum::routing::get;

use crate::app::App;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new().route("/", get(page))
}

async fn page() -> Html<&'static str> {
    Html(PAGE)
}

const PAGE: &str = concat!(
    "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Streamgauge</title>\n",
    "<body style=\"font-family: sans-serif; max-width: 45em; margin: 3em auto\">\n",
    "<h1>Streamgauge ",
    env!("CARGO_PKG_VERSION"),
    "</h1>\n<p>The server is running. There is no user interface yet; ask it over HTTP:</p>\n<ul>\n",
    "<li><a href=\"/api/v1/query?query=up\">/api/v1/query?query=up</a>: an expression in PromQL \
     (in a terminal: <code>streamgauge query up</code>)</li>\n",
    "<li><a href=\"/api/v1/targets\">/api/v1/targets</a>: what is scraped and how that goes</li>\n",
    "<li><a href=\"/api/v1/label/__name__/values\">/api/v1/label/__name__/values</a>: all metrics</li>\n",
    "<li><a href=\"/api/metrics/prometheus\">/api/metrics/prometheus</a>: the latest value of each series</li>\n",
    "<li><a href=\"/api/metrics/components\">/api/metrics/components</a>: components that report metrics</li>\n",
    "<li><a href=\"/api/v1/status/flags\">/api/v1/status/flags</a>: the configuration</li>\n",
    "<li><a href=\"/metrics\">/metrics</a>: the server's own metrics</li>\n",
    "</ul>\n<p>Grafana: add a data source of type Prometheus with this page's address.</p>\n",
);
