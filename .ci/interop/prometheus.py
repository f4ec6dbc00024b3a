"""A real node_exporter and a real Prometheus around us: scraped, scraping, remote-writing, compared."""

import json
import math
import os
import time

from support import PEERS, Scene, check, eventually, free_port, peer, run
import subprocess

WRITE_SECONDS = int(os.environ.get("REMOTE_WRITE_SECONDS", "120"))

# Different kinds of expressions over the same window on both servers; none may be empty.
EXPRESSIONS = [
    'up',
    'sum by (mode) (rate(node_cpu_seconds_total[30s]))',
    'avg_over_time(node_load1[30s])',
    'histogram_quantile(0.9, sum by (le) (rate(prometheus_http_request_duration_seconds_bucket[1m])))',
    'topk(5, node_filesystem_size_bytes)',
    'node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes * 100',
    'increase(prometheus_tsdb_head_samples_appended_total[1m])',
    'count by (__name__) ({__name__=~"node_network_.*_total"})',
    'max_over_time(rate(node_cpu_seconds_total{mode="user"}[20s])[1m:10s])',
    'label_replace(node_uname_info, "host", "$1", "nodename", "(.*)")',
    'node_boot_time_seconds * on (instance) group_left (nodename) node_uname_info',
    'quantile by (job) (0.5, scrape_duration_seconds)',
]


def number(text):
    return float(text.replace("Inf", "inf"))


def close(a, b):
    a, b = number(a), number(b)
    return a == b or (math.isnan(a) and math.isnan(b)) or abs(a - b) <= 1e-9 * max(abs(a), abs(b))


def matrix(server, expression, start, end, step):
    data = server.json("/api/v1/query_range", query=expression, start=start, end=end, step=step)["data"]["result"]
    return {json.dumps(s["metric"], sort_keys=True): s["values"] for s in data}


def compare(ours, theirs, start, end, step):
    """Points compared; the first difference fails."""
    points = 0
    for expression in EXPRESSIONS:
        a, b = (matrix(s, expression, start, end, step) for s in (ours, theirs))
        check(b, f"{expression}: Prometheus has nothing")
        check(set(a) == set(b), f"{expression}: other series: {set(a) ^ set(b)}")
        for series, values in b.items():
            check(len(a[series]) == len(values), f"{expression} {series}: {len(a[series])} points, not {len(values)}")
            for got, want in zip(a[series], values):
                check(got[0] == want[0] and close(got[1], want[1]), f"{expression} {series}: {got}, not {want}")
            points += len(values)
    check(points >= 1000, f"only {points} points compared")
    return points


def unmodified_configuration():
    """Debian's own prometheus.yml, as it is installed, makes us scrape a Prometheus and a node_exporter."""
    config = PEERS.parent.parent / "etc/prometheus/prometheus.yml"
    with Scene() as scene:
        scene.node_exporter(9100)
        scene.prometheus("global: {}\n", port=9090)
        server = scene.streamgauge("--scrape-config", config)
        eventually("both targets", lambda: len([s for s in server.vector('up{job=~"node|prometheus"} == 1')]) == 2, 40)
        series = int(server.vector('count({job="node"})')[0]["value"][1])
        check(series > 300, f"only {series} series of node_exporter")
        targets = server.json("/api/v1/targets")["data"]["activeTargets"]
        check({t["health"] for t in targets} == {"up"}, str(targets))
        return f"{series} series of node_exporter"


def prometheus_scrapes_our_export():
    with Scene() as scene:
        server = scene.streamgauge()
        body = {"component_name": "w", "component_type": "worker_pool", "metrics": [
            {"metric_name": "etl_rows_total", "metric_type": "counter", "metric_value": 7, "labels": {"q": 'a"b\\c\nd'}},
            {"metric_name": "etl.lag", "metric_type": "gauge", "metric_value": 1.5, "labels": {}}]}
        status, text = server.request("POST", "/api/metrics/report", json.dumps(body).encode(),
                                      {"Content-Type": "application/json"})
        check(status == 200, text)
        config = ("scrape_configs:\n- job_name: sg\n  scrape_interval: 1s\n  scrape_timeout: 1s\n  metrics_path: /api/metrics/prometheus\n"
                  f"  static_configs:\n  - targets: ['127.0.0.1:{server.port}']\n"
                  "- job_name: own\n  scrape_interval: 1s\n  scrape_timeout: 1s\n  static_configs:\n"
                  f"  - targets: ['127.0.0.1:{server.port}']\n"
                  "- job_name: federate\n  scrape_interval: 1s\n  scrape_timeout: 1s\n  honor_labels: true\n  metrics_path: /federate\n"
                  "  params:\n    'match[]': ['{component=\"w\"}']\n"
                  f"  static_configs:\n  - targets: ['127.0.0.1:{server.port}']\n")
        theirs = scene.prometheus(config)
        eventually("three targets up", lambda: len(theirs.vector('up{exported_job=""} == 1')) == 3, 30)
        got = theirs.vector('etl_rows_total{job="sg"}')
        check(len(got) == 1 and got[0]["metric"]["q"] == 'a"b\\c\nd' and got[0]["value"][1] == "7", str(got))
        check(len(theirs.vector('{"etl.lag",job="sg"}')) == 1, "the UTF-8 name did not arrive")
        check(theirs.vector('{__name__=~"streamgauge_.+",job="own"}'), "no metrics of our own")
        # Of this target alone: in a federation answer the same name has no type.
        meta = theirs.json("/api/v1/targets/metadata", metric="etl_rows_total", match_target='{job="sg"}')["data"]
        check([entry["type"] for entry in meta] == ["counter"], str(meta))


def remote_write(message):
    """Two minutes of remote write with zero failed, dropped or retried samples, then equal answers."""
    with Scene() as scene:
        version = subprocess.run([peer("prometheus"), "--version"], capture_output=True, text=True).stdout.split("\n")[0]
        server = scene.streamgauge("--scrape-self", "false")
        exporter = scene.node_exporter()
        port = free_port()
        config = (f"global:\n  scrape_interval: 2s\n  scrape_timeout: 2s\n"
                  f"remote_write:\n- url: http://127.0.0.1:{server.port}/api/v1/write\n  protobuf_message: {message}\n"
                  "  metadata_config:\n    send_interval: 5s\n"
                  f"scrape_configs:\n- job_name: node\n  static_configs:\n  - targets: ['127.0.0.1:{exporter.port}']\n"
                  f"- job_name: prometheus\n  static_configs:\n  - targets: ['127.0.0.1:{port}']\n")
        theirs = scene.prometheus(config, "--enable-feature=metadata-wal-records", port=port)
        time.sleep(WRITE_SECONDS)
        counters = {}
        for kind in ("samples", "exemplars", "histograms", "metadata"):
            for what in ("failed", "dropped", "retried"):
                name = f"prometheus_remote_storage_{kind}_{what}_total"
                counters[name] = sum(float(s["value"][1]) for s in theirs.vector(f"sum({name})"))
        bad = {k: v for k, v in counters.items() if v}
        check(not bad, f"{bad}\n{theirs.log_tail()}")
        sent = float(theirs.vector("sum(prometheus_remote_storage_samples_total)")[0]["value"][1])
        check(sent > 100 * WRITE_SECONDS, f"only {sent} samples sent")
        # A window that ended long enough ago for its last samples to have been sent.
        end = math.floor(time.time() - 10)
        start = end - max(30, WRITE_SECONDS - 30)
        newest = f"timestamp(up{{job='node'}}) >= {end}"
        eventually("the window is complete", lambda: server.vector(newest), 30)
        points = compare(server, theirs, start, end, 2)
        kinds = {kind for entries in server.json("/api/v1/metadata")["data"].values() for kind in [entries[0]["type"]]}
        check({"counter", "gauge", "histogram"} <= kinds, f"metadata kinds {kinds}")
        return f"{version.split(' (')[0]}: {sent:.0f} samples sent, {len(EXPRESSIONS)} expressions, {points} points equal"


def remote_write_1():
    return remote_write("prometheus.WriteRequest")


def remote_write_2():
    return remote_write("io.prometheus.write.v2.Request")


if __name__ == "__main__":
    run([unmodified_configuration, prometheus_scrapes_our_export, remote_write_1, remote_write_2])
