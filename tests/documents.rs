//! The pages in `docs/` that list what the program has: they say what is there, and nothing else.

use std::collections::BTreeMap;
use std::path::PathBuf;

use streamgauge::http::metrics::own_families;

use crate::offline::run;
use crate::support::Server;

fn page(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(page(name)).unwrap()
}

const HEAD: &str = "# Own metrics

What the server says about itself at `/metrics`, and scrapes from itself as job `streamgauge` (`scrape_self`). This page is
made from the program (`UPDATE_DOCS=1 cargo test metrics_page`). What to do when one of them calls at night is in
[operations.md](operations.md). Counters start at 0 with the process.

| metric | type | labels | what it is |
|---|---|---|---|
";

/// The page as it should be.
fn metrics_page() -> String {
    let server = Server::start();
    let app = server.app();
    let labels: BTreeMap<&str, &[&str]> = app.telemetry.label_names().into_iter().collect();
    let mut page = HEAD.to_owned();
    for family in own_families(&app) {
        let kind = format!("{:?}", family.metadata.metric_type).to_lowercase();
        let names = labels.get(family.name.as_str()).map(|names| names.join(", ")).unwrap_or_default();
        let own = match family.name.as_str() {
            "streamgauge_build_info" => "version",
            name if name.starts_with("streamgauge_budget_") => "budget",
            _ => "",
        };
        page.push_str(&format!("| `{}` | {kind} | {names}{own} | {} |\n", family.name, family.metadata.help));
    }
    page
}

#[test]
fn the_metrics_page_is_up_to_date() {
    let want = metrics_page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(page("metrics.md"), &want).unwrap();
    }
    assert_eq!(read("metrics.md"), want, "run UPDATE_DOCS=1 cargo test metrics_page");
}

/// What the night page names is there: metrics, options, commands.
#[test]
fn the_operations_page_names_what_there_is() {
    let (text, metrics, options) = (read("operations.md"), read("metrics.md"), read("options.md"));
    let mut quoted = 0;
    for word in text.split('`').skip(1).step_by(2) {
        let name = word.split(['{', ' ', '>', '[']).next().unwrap();
        if name.starts_with("streamgauge_") {
            quoted += 1;
            assert!(metrics.contains(&format!("| `{name}` |")), "{name} is no metric");
        } else if ["storage.", "wal.", "head.", "ingest.", "query.", "parquet."]
            .iter()
            .any(|group| name.starts_with(group))
        {
            quoted += 1;
            assert!(options.contains(&format!("| `{name}` |")), "{name} is no option");
        }
    }
    assert!(quoted > 20, "{quoted}");
    let help = String::from_utf8(run(&["--help"]).stdout).unwrap();
    for line in text.lines().filter_map(|line| line.trim().strip_prefix("streamgauge ")) {
        let command = line.split(' ').next().unwrap();
        assert!(help.contains(&format!("\n  {command} ")), "{command} is no command");
    }
}
