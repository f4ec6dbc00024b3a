"""The NoETL document's own calls, made with curl and with httpx, and what is left of them after a kill -9."""

import asyncio
import datetime
import json
import subprocess

import httpx

from support import Scene, check, promtool_check, run

EXAMPLE = """{
"component_name": "worker-cpu-01",
"component_type": "worker_pool",
"metrics": [
{
"metric_name": "noetl_system_cpu_usage_percent",
"metric_type": "gauge",
"metric_value": 45.2,
"timestamp": "2024-01-01T12:00:00Z",
"labels": {
"component": "worker-cpu-01",
"hostname": "node-1"
},
"help_text": "CPU usage percentage",
"unit": "percent"
}
]
}"""


async def report_custom_metric(base):
    """As the document has it, but for the address."""
    payload = {
        "component_name": "my-worker",
        "component_type": "worker_pool",
        "metrics": [{
            "metric_name": "custom_work_items_processed",
            "metric_type": "counter",
            "metric_value": 150,
            "timestamp": datetime.datetime.now().isoformat(),
            "labels": {"worker_type": "batch_processor"},
            "help_text": "Number of work items processed",
            "unit": "items",
        }],
    }
    async with httpx.AsyncClient() as client:
        return await client.post(f"{base}/api/metrics/report", json=payload)


def report_with_curl(server):
    argv = ["curl", "-sS", "-X", "POST", f"{server.base}/api/metrics/report", "-H", "Content-Type: application/json",
            "-d", EXAMPLE]
    return json.loads(subprocess.run(argv, capture_output=True, check=True, timeout=30).stdout)


def rows(server, **filters):
    return server.json("/api/metrics/query", **filters)["metrics"]


def check_example(server):
    """The example is found by the document's own query and by each filter."""
    for filters in ({"component_name": "worker-cpu-01", "metric_name": "cpu_usage"},
                    {"metric_name": "noetl_system_cpu_usage_percent", "match": "exact"},
                    {"component_name": "worker-cpu-01", "metric_type": "gauge", "limit": 5},
                    {"component_name": "worker-cpu-01", "start_time": "2024-01-01T00:00:00Z", "end_time": "2024-01-02T00:00:00Z"}):
        found = rows(server, **filters)
        check(len(found) == 1, f"{filters}: {found}")
        row = found[0]
        want = {"component_name": "worker-cpu-01", "component_type": "worker_pool", "metric_type": "gauge",
                "metric_name": "noetl_system_cpu_usage_percent", "metric_value": 45.2, "help_text": "CPU usage percentage",
                "unit": "percent"}
        check(all(row[k] == v for k, v in want.items()), f"{filters}: {row}")
        check(row["timestamp"].startswith("2024-01-01T12:00:00"), row["timestamp"])
        check(row["labels"].get("hostname") == "node-1", str(row["labels"]))
        check(0 < row["metric_id"] < 2 ** 53 and isinstance(row["runtime_id"], int), str(row))
    for filters in ({"component_name": "worker-cpu-02"}, {"metric_name": "cpu_usage", "match": "exact"},
                    {"component_name": "worker-cpu-01", "start_time": "2024-01-02T00:00:00Z"},
                    {"component_name": "worker-cpu-01", "metric_type": "counter"}):
        check(rows(server, **filters) == [], f"{filters} finds something")
    value = server.vector("noetl_system_cpu_usage_percent", time="2024-01-01T12:00:00Z")
    check(len(value) == 1 and value[0]["value"][1] == "45.2", str(value))


def check_registry(server):
    components = {c["name"]: c for c in server.json("/api/metrics/components")["components"]}
    check({"worker-cpu-01", "my-worker", "pool-1"} <= set(components), str(components))
    check(components["pool-1"]["last_heartbeat"], str(components["pool-1"]))
    pools = server.json("/api/worker/pools")["items"]
    check(any(p["name"] == "pool-1" and p["capacity"] == 4 and p["heartbeat"] for p in pools), str(pools))
    metadata = server.json("/api/v1/metadata")["data"]
    entry = metadata["noetl_system_cpu_usage_percent"][0]
    check(entry["type"] == "gauge" and entry["help"] == "CPU usage percentage" and entry["unit"] == "percent", str(entry))
    check(metadata["custom_work_items_processed"][0]["type"] == "counter", str(metadata))
    return {name: c["runtime_id"] for name, c in components.items()}


def document_calls_and_kill():
    with Scene() as scene:
        server = scene.streamgauge()
        answer = report_with_curl(server)
        check(answer["status"] == "ok" and answer["metrics_inserted"] == 1 and answer["runtime_id"], str(answer))
        response = asyncio.run(report_custom_metric(server.base))
        check(response.status_code == 200 and response.json()["metrics_inserted"] == 1, response.text)
        pool = json.dumps({"name": "pool-1", "kind": "worker_pool", "uri": "http://pool", "status": "ready", "capacity": 4})
        for path in ("/api/worker/pool/register", "/api/worker/pool/heartbeat"):
            status, text = server.request("POST", path, pool.encode(), {"Content-Type": "application/json"})
            check(status == 200 and json.loads(text)["status"] == "ok", f"{path}: {status} {text}")
        check_example(server)
        export = server.get("/api/metrics/prometheus")[1]
        check("# HELP noetl_system_cpu_usage_percent CPU usage percentage" in export, export)
        check("# TYPE noetl_system_cpu_usage_percent gauge" in export, export)
        check('component="worker-cpu-01"' in export and "custom_work_items_processed{" in export, export)
        lint = promtool_check("".join(line + "\n" for line in export.splitlines()))
        foreign = [line for line in lint if not line.startswith(("custom_", "noetl_"))]
        before = check_registry(server)

        server.kill()
        server = scene.streamgauge(port=server.port)
        check_example(server)
        after = check_registry(server)
        check(before == {k: after.get(k) for k in before}, f"{before} became {after}")
        # The host's metrics carry node_exporter's names; everything else that is ours must be clean.
        own = [line for line in foreign if not line.startswith("node_")]
        check(not own, f"promtool on our own names: {own}")
        return f"{len(lint)} lint lines, all on names that others chose"


if __name__ == "__main__":
    run([document_calls_and_kill])
