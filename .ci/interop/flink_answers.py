"""What is asked of a Flink cluster, and where an answer departs from the cluster's own. `TOLERATED` is the written list of
differences that do not count, each with its reason: values only, never a status, a content type, a missing key or a type."""

import json
import re

# Field names, anywhere below a path that matches. `ALL` is every value of the answer.
ALL = object()
TOLERATED = [
    # The clock of who answers, and ages at that moment.
    (r"", {"now", "duration", "timeSinceLastHeartbeat", "end-timestamp", "status-duration", "uptime"}),
    # Numbers of tasks that run: Flink's are as old as its last fetch, ours as the last scrape or round.
    (r"", {"read-bytes", "write-bytes", "read-records", "write-records", "accumulated-backpressured-time",
           "accumulated-idle-time", "accumulated-busy-time", "aggregated", "metrics"}),
    (r"/metrics", {"value", "min", "max", "avg", "sum", "skew"}),
    (r"/watermarks", ALL),
    (r"/backpressure", {"ratio", "idleRatio", "busyRatio", "backpressure-level", "backpressureLevel"}),
    (r"accumulators", {"value"}),
    # Flink gives each answer about accumulators of an attempt the id of its execution, which no other answer has.
    (r"/attempts/\d+/accumulators", {"id"}),
    # Checkpoints go on between two questions.
    (r"/checkpoints$", {"counts", "summary", "latest", "history"}),
    # Memory and slots of a task manager that works.
    (r"/taskmanagers(/|$)", {"freeSlots", "freeResource"}),
]

# Statistics that Flink's Prometheus reporter leaves out of histograms; a scraped cluster has no such metrics here.
NOT_SCRAPED = ("_min", "_max", "_mean", "_stddev", "_p90")

# Metrics of a vertex whose values are asked for.
VALUES = ["numRecordsIn", "numRecordsOut", "currentInputWatermark", "numBytesIn"]


def paths(get, is_live=False):
    """The reading paths that a server offers, as found in its own answers. Where `is_live`, without what Flink knows of a
    job that has ended only if someone asked for it while it ran: its metrics, and the back pressure that follows from them."""
    yield from ["/overview", "/config", "/jobs", "/jobs/overview", "/taskmanagers", "/jobmanager/config",
                "/jobmanager/metrics", "/jobs/metrics", "/jobs/metrics?get=numberOfCompletedCheckpoints",
                "/taskmanagers/metrics", "/jobmanager/metrics?get=numRunningJobs,taskSlotsTotal", "/jars"]
    for manager in get("/taskmanagers")["taskmanagers"]:
        path = f"/taskmanagers/{manager['id']}"
        yield from [path, f"{path}/metrics", f"{path}/metrics?get=Status.JVM.Memory.Heap.Used"]
    for job in get("/jobs")["jobs"]:
        has_numbers = not is_live or job["status"] == "RUNNING"
        yield from (path for path in of_job(get, f"/jobs/{job['id']}")
                    if has_numbers or not re.search(r"/metrics|/backpressure", path))


def of_job(get, job):
    yield from [job, *(f"{job}/{part}" for part in ("accumulators", "checkpoints", "checkpoints/config", "config",
                                                    "exceptions", "execution-result", "plan", "metrics"))]
    yield f"{job}/metrics?get=numberOfCompletedCheckpoints,lastCheckpointSize"
    vertices = [vertex["id"] for vertex in get(job)["vertices"]]
    checkpoints = [one for one in get(f"{job}/checkpoints").get("history", []) if one["status"] == "COMPLETED"]
    for checkpoint in checkpoints[:2]:
        details = f"{job}/checkpoints/details/{checkpoint['id']}"
        yield from [details, *(f"{details}/subtasks/{vertex}" for vertex in vertices)]
    for vertex in vertices:
        yield from of_vertex(get, f"{job}/vertices/{vertex}")


def of_vertex(get, vertex):
    yield from [vertex, *(f"{vertex}/{part}" for part in ("accumulators", "backpressure", "metrics", "subtasks/metrics",
                                                          "subtasks/accumulators", "subtasktimes", "taskmanagers"))]
    yield f"{vertex}/subtasks/metrics?get={','.join(VALUES)}"
    for subtask in get(vertex)["subtasks"]:
        path = f"{vertex}/subtasks/{subtask['subtask']}"
        attempt = f"{path}/attempts/{subtask['attempt']}"
        yield from [path, f"{path}/metrics", f"{path}/metrics?get={','.join(VALUES)}", attempt, f"{attempt}/accumulators"]


def departures(path, theirs, ours, metrics):
    """Lines about where our answer departs from theirs; both are status, content type and text."""
    if theirs[:2] != ours[:2]:
        return [f"{path}: {ours[:2]} {ours[2][:200]}, the cluster {theirs[:2]} {theirs[2][:200]}"]
    if theirs[0] != 200:
        return []
    theirs, ours = json.loads(theirs[2]), json.loads(ours[2])
    plain = path.split("?")[0]
    if plain.endswith("/metrics") and "get=" not in path:
        return of_ids(path, theirs, ours, metrics)
    moving = [fields for pattern, fields in TOLERATED if re.search(pattern, plain)]
    is_moving = lambda field: any(fields is ALL or field in fields for fields in moving)
    lines = []
    compare(theirs, ours, path, is_moving, ALL in moving, lines)
    return lines


def of_ids(path, theirs, ours, metrics):
    ids = lambda answer: {one["id"] for one in answer
                          if metrics != "scrape" or not one["id"].endswith(NOT_SCRAPED)}
    missing, more = ids(theirs) - ids(ours), ids(ours) - ids(theirs)
    return [f"{path}: {len(missing)} metrics missing, such as {sorted(missing)[:5]}, {len(more)} more, such as "
            f"{sorted(more)[:5]}"] if missing or more else []


def kind(value):
    return type(value).__name__


def compare(theirs, ours, at, is_moving, is_tolerated, lines):
    """Notes what is missing, of another type, or of another value where values must be the same."""
    if kind(theirs) != kind(ours):
        lines.append(f"{at}: {ours!r:.200} ({kind(ours)}), the cluster {theirs!r:.200} ({kind(theirs)})")
    elif isinstance(theirs, dict):
        for key, value in theirs.items():
            if key not in ours:
                lines.append(f"{at}.{key}: missing")
            else:
                compare(value, ours[key], f"{at}.{key}", is_moving, is_tolerated or is_moving(key), lines)
    elif isinstance(theirs, list):
        if len(theirs) != len(ours) and not is_tolerated:
            lines.append(f"{at}: {len(ours)} elements, the cluster {len(theirs)}")
        for i, (value, other) in enumerate(paired(theirs, ours)):
            compare(value, other, f"{at}.{i}", is_moving, is_tolerated, lines)
    elif theirs != ours and not is_tolerated:
        lines.append(f"{at}: {ours!r:.200}, the cluster {theirs!r:.200}")


def paired(theirs, ours):
    """Elements that have names by their names, others by their places."""
    name = lambda one: next((one[key] for key in ("jid", "id", "name", "key") if key in one), None) \
        if isinstance(one, dict) else None
    if not all(isinstance(name(one), str) for one in [*theirs, *ours]):
        return list(zip(theirs, ours))
    known = {name(one): one for one in ours}
    return [(one, known[name(one)]) for one in theirs if name(one) in known]
