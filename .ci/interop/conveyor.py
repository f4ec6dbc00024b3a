"""The four example queries of Conveyor's metrics crate, on data scraped from an exporter with its metric names."""

import http.server
import threading
import time

from support import Scene, check, eventually, free_port, run

BOUNDS = (1, 5, 10, 50, 100)
RATE = 100  # records per second of each source


class Exporter(http.server.BaseHTTPRequestHandler):
    """Counters that rise with the clock, so that the right answers are known."""

    started = 0.0

    def do_GET(self):
        elapsed = time.time() - Exporter.started
        observations = int(elapsed * 10)
        # Nine in ten fall into (5, 10], one in ten into (10, 50]: the 99th percentile lies at 46 ms.
        buckets = [0, 0, observations * 9 // 10, observations, observations]
        lines = ["# TYPE conveyor_router_records_received_total counter"]
        for source in ("kafka-source-1", "kafka-source-2"):
            lines.append(f'conveyor_router_records_received_total{{source_id="{source}"}} {int(elapsed * RATE)}')
        lines.append("# TYPE conveyor_router_routing_latency_ms histogram")
        for bound, count in zip((*BOUNDS, "+Inf"), (*buckets, observations)):
            lines.append(f'conveyor_router_routing_latency_ms_bucket{{pipeline_id="user-analytics",le="{bound}",}} {count}')
        lines.append(f'conveyor_router_routing_latency_ms_sum{{pipeline_id="user-analytics"}} {observations * 12.0}')
        lines.append(f'conveyor_router_routing_latency_ms_count{{pipeline_id="user-analytics"}} {observations}')
        lines += ["# TYPE conveyor_router_buffer_utilization gauge",
                  'conveyor_router_buffer_utilization{stage_id="filter-stage"} 0.45',
                  "# TYPE conveyor_router_raft_is_leader gauge",
                  f"conveyor_router_raft_is_leader {int(elapsed / 6) % 2}"]
        body = ("\n".join(lines) + "\n").encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def four_queries():
    port = free_port()
    exporter = http.server.ThreadingHTTPServer(("127.0.0.1", port), Exporter)
    Exporter.started = time.time()
    threading.Thread(target=exporter.serve_forever, daemon=True).start()
    try:
        with Scene() as scene:
            config = scene.dir / "prometheus.yml"
            config.write_text("global:\n  scrape_interval: 1s\nscrape_configs:\n  - job_name: 'conveyor-router'\n"
                              f"    static_configs:\n      - targets: ['127.0.0.1:{port}']\n    scrape_interval: 1s\n")
            server = scene.streamgauge("--scrape-config", config)
            eventually("30 scrapes", lambda: [s for s in server.vector(
                'count_over_time(up{job="conveyor-router"}[2m])') if float(s["value"][1]) >= 30], 60)
            rates = server.vector("rate(conveyor_router_records_received_total[1m])")
            check({s["metric"]["source_id"] for s in rates} == {"kafka-source-1", "kafka-source-2"}, str(rates))
            # Half a minute of data in a window of one: the extrapolation of rate stops half an interval beyond the data.
            seconds = [float(s["value"][1]) for s in server.vector("count_over_time(conveyor_router_records_received_total[1m])")]
            for series, count in zip(rates, seconds):
                want = RATE * count / 60
                check(abs(float(series["value"][1]) - want) / want < 0.1, f"rate {series} is not near {want}")
            p99 = server.vector("histogram_quantile(0.99, rate(conveyor_router_routing_latency_ms_bucket[5m]))")
            check(len(p99) == 1 and abs(float(p99[0]["value"][1]) - 46) < 0.5, f"p99: {p99}")
            gauge = server.vector("conveyor_router_buffer_utilization")
            check([s["value"][1] for s in gauge] == ["0.45"], str(gauge))
            raw = server.json("/api/v1/query", query="conveyor_router_raft_is_leader[1h]")["data"]["result"][0]["values"]
            flips = sum(a[1] != b[1] for a, b in zip(raw, raw[1:]))
            changes = server.vector("changes(conveyor_router_raft_is_leader[1h])", time=raw[-1][0])
            check(flips >= 4 and [float(s["value"][1]) for s in changes] == [flips], f"{flips} flips, {changes}")
            return f"p99 {p99[0]['value'][1]}, {flips} leader changes"
    finally:
        exporter.shutdown()


if __name__ == "__main__":
    run([four_queries])
