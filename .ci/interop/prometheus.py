"""A real node_exporter and a real Prometheus around us: scraped, scraping, remote-writing, compared."""

import json
import math
import os
import time

from support import PEERS, Scene, check, eventually, free_port, peer, run
import subprocess

WRITE_SECONDS = int(os.environ.get("REMOTE_WRITE_SECONDS", "130"))

# No window may reach back to the first seconds: Prometheus does not send what it scraped before its sender had started,
# and 3.5 extrapolates the rate of a native histogram that has just begun below zero, unlike later ones and us.
# The longest of these expressions looks at 80 s, the longest for native histograms at 15 s.
LOOKS_BACK_SECONDS = 80
NATIVE_LOOKS_BACK_SECONDS = 15
FIRST_SECONDS = 8

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


def compare(ours, theirs, start, end, step, expressions=EXPRESSIONS, least=1000):
    """Points compared; the first difference fails."""
    points = 0
    for expression in expressions:
        a, b = (matrix(s, expression, start, end, step) for s in (ours, theirs))
        check(b, f"{expression}: Prometheus has nothing")
        check(set(a) == set(b), f"{expression}: other series: {set(a) ^ set(b)}")
        for series, values in b.items():
            check(len(a[series]) == len(values), f"{expression} {series}: {len(a[series])} points, not {len(values)}")
            for got, want in zip(a[series], values):
                check(got[0] == want[0] and close(got[1], want[1]), f"{expression} {series}: {got}, not {want}")
            points += len(values)
    check(points >= least, f"only {points} points compared")
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
        began = math.ceil(time.time()) + FIRST_SECONDS
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
        start = began + LOOKS_BACK_SECONDS
        newest = f"timestamp(up{{job='node'}}) >= {end}"
        eventually("the window is complete", lambda: server.vector(newest), 30)
        points = compare(server, theirs, start, end, 1)
        kinds = {kind for entries in server.json("/api/v1/metadata")["data"].values() for kind in [entries[0]["type"]]}
        check({"counter", "gauge", "histogram"} <= kinds, f"metadata kinds {kinds}")
        return f"{version.split(' (')[0]}: {sent:.0f} samples sent, {len(EXPRESSIONS)} expressions, {points} points equal"


NATIVE_SECONDS = 46

# One metric of Prometheus itself, which it exposes as a native histogram too.
NATIVE = "prometheus_http_request_duration_seconds"
NATIVE_EXPRESSIONS = [
    f"histogram_quantile(0.9, {NATIVE})",
    f"histogram_quantile(0.5, sum(rate({NATIVE}[10s])))",
    f"histogram_fraction(0, 0.01, sum by (handler) ({NATIVE}))",
    f"histogram_count(increase({NATIVE}[15s]))",
    f"histogram_sum({NATIVE})",
    f"histogram_stddev(avg({NATIVE}))",
    f"count(changes({NATIVE}[15s]))",
    f"histogram_avg(sum_over_time({NATIVE}[10s]))",
    f"histogram_quantile(0.99, {NATIVE} - {NATIVE} offset 6s)",
]


def native_histograms(message):
    """Prometheus scrapes native histograms of itself and writes them to us; answers agree, also after a flush."""
    with Scene() as scene:
        server = scene.streamgauge("--scrape-self", "false")
        port = free_port()
        config = ("global:\n  scrape_interval: 2s\n  scrape_timeout: 2s\n"
                  f"remote_write:\n- url: http://127.0.0.1:{server.port}/api/v1/write\n  protobuf_message: {message}\n"
                  "  send_native_histograms: true\n"
                  f"scrape_configs:\n- job_name: prometheus\n  static_configs:\n  - targets: ['127.0.0.1:{port}']\n")
        theirs = scene.prometheus(config, "--enable-feature=native-histograms", port=port)
        start = math.ceil(time.time()) + FIRST_SECONDS + NATIVE_LOOKS_BACK_SECONDS
        until = time.time() + NATIVE_SECONDS
        while time.time() < until:
            theirs.vector("rate(prometheus_tsdb_head_samples_appended_total[10s])")
            time.sleep(0.2)
        failed = theirs.vector("sum(prometheus_remote_storage_histograms_failed_total)")
        check(float(failed[0]["value"][1]) == 0, f"{failed}\n{theirs.log_tail()}")
        check(float(theirs.vector("sum(prometheus_remote_storage_histograms_total)")[0]["value"][1]) > 20, "none sent")
        end = math.floor(time.time() - 8)
        eventually("the window is complete", lambda: server.vector(f"timestamp(up) >= {end}"), 30)
        # Each of its senders holds samples back for up to five seconds, and `up` goes with one of them.
        time.sleep(6)
        for _ in range(2):
            points = compare(server, theirs, start, end, 1, NATIVE_EXPRESSIONS, 100)
            server.request("POST", "/api/v1/admin/storage/flush")
            server.request("POST", "/api/v1/admin/storage/compact")
        return f"{len(NATIVE_EXPRESSIONS)} expressions, {points} points equal, twice"


def native_histograms_1():
    return native_histograms("prometheus.WriteRequest")


def native_histograms_2():
    return native_histograms("io.prometheus.write.v2.Request")


def native_histograms_scraped():
    """We and a Prometheus scrape the same native histograms: quantiles of what does not change any more are equal."""
    with Scene() as scene:
        target = scene.prometheus("global: {}\n", "--enable-feature=native-histograms")
        for _ in range(20):
            target.vector("vector(1)")
        job = ("scrape_configs:\n- job_name: p\n  scrape_interval: 1s\n  scrape_timeout: 1s\n"
               f"  static_configs:\n  - targets: ['127.0.0.1:{target.port}']\n")
        file = scene.dir / "native.yml"
        file.write_text(job + "  scrape_native_histograms: true\n")
        server = scene.streamgauge("--scrape-config", file, "--scrape-self", "false")
        theirs = scene.prometheus(job, "--enable-feature=native-histograms", data="second")
        query = f'histogram_quantile(0.9, {NATIVE}{{handler="/api/v1/query"}})'
        eventually("both have scraped", lambda: server.vector(query) and theirs.vector(query), 30)
        a, b = (s.vector(query)[0]["value"][1] for s in (server, theirs))
        check(close(a, b), f"{a}, not {b}")
        check(server.vector(f"{NATIVE}_bucket") == [], "the classic form was not asked for")
        return f"the 0.9-quantile is {float(a):.2g} s on both"


def remote_write_1():
    return remote_write("prometheus.WriteRequest")


def remote_write_2():
    return remote_write("io.prometheus.write.v2.Request")


if __name__ == "__main__":
    # What mostly waits goes side by side.
    run([unmodified_configuration, prometheus_scrapes_our_export, native_histograms_scraped,
         (native_histograms_1, native_histograms_2), (remote_write_1, remote_write_2)])
