"""The scripts of docs/offline.md against PromQL: from the Parquet tree in the data directory, and from a bucket.

Also: rows read back bit for bit, exports equal to queries, and a bucket that goes away and comes back.
"""

import csv
import datetime
import io
import json
import math
import os
import pathlib
import random
import re
import signal
import struct
import subprocess
import sys
import time
import urllib.parse

import cramjam

from support import BINARY, Scene, check, eventually, free_port, run

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT.parent / "shared" / "conformance"))
from promqltest import Histogram, encode_write_request  # noqa: E402

DAY_MS = 86_400_000
DAYS = 4
TODAY_MS = int(time.time()) * 1000 // DAY_MS * DAY_MS
# Days that ended a while ago, so that all of them are closed and converted.
FIRST_MS = TODAY_MS - (DAYS + 3) * DAY_MS
LIMITS = ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "+Inf"]
METRIC = "step_latency_seconds_bucket"
EXPRESSION = f"histogram_quantile(0.99, sum by (job, le) (increase({METRIC}[1d])))"
STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
ODD = [math.nan, math.inf, -math.inf, -0.0, 5e-324, 1.7976931348623157e308, STALE, 0.1, 1e15 + 0.3]


def scripts():
    """The Python blocks of the page by the headings over them."""
    found, heading, block = {}, None, None
    for line in (ROOT / "docs" / "offline.md").read_text().splitlines():
        if block is not None and line == "```":
            found[heading], block = "\n".join(block), None
        elif block is not None:
            block.append(line)
        elif line.startswith("### "):
            heading = line[4:]
        elif line == "```python":
            block = []
    check(set(found) == {"DuckDB", "Polars", "PySpark"}, f"docs/offline.md has scripts for {sorted(found)}")
    return found


def samples():
    """{labels: [(ms, value)]}: buckets with restarts, gaps, series that begin and end inside a day, and odd values."""
    dice, series = random.Random(3), {}
    for job, spread in (("etl", 1.5), ("ingest", 1.0), ("quiet", 0.1)):
        for instance in ("a", "b"):
            counts = dict.fromkeys(LIMITS, 0)
            for minute in range(0, DAYS * 1440, 2):
                inside = minute % 1440
                if instance == "b" and (inside < 300 or inside == 700 or 1000 < inside < 1100):
                    if inside == 700:
                        counts = dict.fromkeys(LIMITS, 0)
                    continue
                for _ in range(dice.randrange(4)):
                    took = dice.lognormvariate(-3, spread)
                    for le in LIMITS:
                        counts[le] += took <= float(le)
                at = FIRST_MS + minute * 60_000 + 17
                for le in LIMITS:
                    key = frozenset({"__name__": METRIC, "job": job, "instance": instance, "le": le}.items())
                    series.setdefault(key, []).append((at, float(counts[le])))
                    if instance == "a" and inside == 1300:
                        series[key].append((at + 1, STALE))
    for number in range(3):
        key = frozenset({"__name__": "odd", "job": "x", "ünïcode": "ä\"\\\n", "number": str(number)}.items())
        series[key] = [(FIRST_MS + i * 3_600_000, dice.choice(ODD)) for i in range(DAYS * 24)]
    for kind in ("exponential", "custom", "mixed"):
        key = frozenset({"__name__": "native", "job": "etl", "kind": kind}.items())
        series[key] = [(FIRST_MS + i * 600_000, native(kind, i)) for i in range(DAYS * 144)]
    return series


def native(kind, i):
    """A native histogram; of a mixed series every fifth sample is a float."""
    if kind == "custom":
        return Histogram(schema=-53, count=3.0 * i, sum=i / 4, custom_values=[0.5, 1.0, 4.0], pos={0: 1.0 * i, 3: 2.0 * i})
    if kind == "mixed" and i % 5 == 0:
        return i / 8
    return Histogram(schema=0, count=7.0 * i, sum=-i / 2, zero_threshold=0.001, zero_count=1.0 * i,
                     pos={-2: 2.0 * i, 1: 1.0 * i}, neg={3: 3.0 * i}, hint="gauge" if kind == "mixed" else "unknown")


SERIES = samples()


def write(server):
    for part in range(0, len(SERIES), 20):
        some = dict(list(SERIES.items())[part:part + 20])
        body = bytes(cramjam.snappy.compress_raw(encode_write_request(some)))
        status, text = server.request("POST", "/api/v1/write", body, {
            "Content-Type": "application/x-protobuf", "Content-Encoding": "snappy",
            "X-Prometheus-Remote-Write-Version": "0.1.0"})
        check(status // 100 == 2, f"remote write: {status} {text[:300]}")


def start(scene, *flags, env=None, data="data"):
    return scene.streamgauge("--scrape-self", "false", "--parquet.after", "1d", "--log-level", "info", *flags, env=env,
                             data=data)


def converted(server, data):
    """Converts all that is old enough, and gives the days that are Parquet then."""
    for work in ("flush", "compact"):
        status, text = server.request("POST", f"/api/v1/admin/storage/{work}")
        check(status == 200, f"{work}: {status} {text[:300]}")
    live = json.loads((data / "parquet" / "_live.json").read_text())
    days = [day["dt"] for day in live["days"]]
    check(days == [date(day) for day in range(DAYS)], f"days in Parquet: {days}")
    return live


def date(day):
    return datetime.datetime.fromtimestamp((FIRST_MS + day * DAY_MS) / 1000, datetime.timezone.utc).strftime("%Y-%m-%d")


def promql(server, first=0):
    """{(day, job): p99}"""
    found = {}
    for day in range(first, DAYS):
        at = (FIRST_MS + (day + 1) * DAY_MS - 1) / 1000
        for element in server.vector(EXPRESSION, time=f"{at:.3f}"):
            found[date(day), element["metric"]["job"]] = float(element["value"][1])
    check(len(found) == (DAYS - first) * 3, f"PromQL: {found}")
    return found


def check_script(name, text, root, want, env):
    done = subprocess.run([sys.executable, "-c", text, str(root)], capture_output=True, timeout=300, text=True,
                          env={**os.environ, **env})
    check(done.returncode == 0, f"{name}: {done.stderr[-3000:]}")
    lines = [line.split() for line in done.stdout.splitlines() if re.match(r"\d{4}-", line)]
    got = {(day, job): float(value) for day, job, value in lines}
    check(set(got) == set(want), f"{name}: {sorted(set(got) ^ set(want))}")
    for key, value in want.items():
        check(abs(got[key] - value) <= 1e-9 * abs(value), f"{name} {key}: {got[key]}, PromQL says {value}")


def check_scripts(root, want, env):
    for name, text in scripts().items():
        began = time.monotonic()
        check_script(name, text, root, want, env)
        print(f"        {name} from {str(root).split(':')[0][:4]}: {time.monotonic() - began:.1f} s", flush=True)


def bits(value):
    if value is None:
        return None
    if isinstance(value, Histogram):
        return histogram_fields(value)
    if isinstance(value, dict):
        buckets = tuple((number(b["lower"]), number(b["upper"]), b["count"]) for b in value["buckets"])
        rest = tuple(value[name] for name in ("count", "sum", "schema", "zero_threshold", "zero_count", "reset_hint"))
        return rest + (buckets, value["custom_bounds"])
    return struct.unpack("<Q", struct.pack("<d", value))[0]


def number(text):
    return float(text) if isinstance(text, str) else text


def histogram_fields(histogram):
    """What the rows say of a histogram."""
    if histogram.custom:
        bounds = [-math.inf, *histogram.custom_values, math.inf]
        buckets = [(bounds[i], bounds[i + 1], count) for i, count in sorted(histogram.pos.items())]
    else:
        buckets = [(-(2.0 ** i), -(2.0 ** (i - 1)), count) for i, count in sorted(histogram.neg.items(), reverse=True)]
        if histogram.zero_count:
            buckets.append((-histogram.zero_threshold, histogram.zero_threshold, histogram.zero_count))
        buckets += [(2.0 ** (i - 1), 2.0 ** i, count) for i, count in sorted(histogram.pos.items())]
    hint = {"unknown": None, "not_reset": "no_reset"}.get(histogram.hint, histogram.hint)
    return (histogram.count, histogram.sum, histogram.schema, histogram.zero_threshold, histogram.zero_count, hint,
            tuple(buckets), histogram.custom_values if histogram.custom else None)


def expected_rows(keep=lambda labels: True):
    """{labels: {ms: bits}}, markers of staleness as the null that they are in Parquet."""
    return {key: {ms: None if bits(value) == bits(STALE) else bits(value) for ms, value in values}
            for key, values in SERIES.items() if keep(dict(key))}


def read_rows(samples, series, keys):
    """The same from Parquet, by way of the map of labels."""
    import duckdb
    rows = duckdb.connect().execute(f"""
        SELECT s.labels, list(epoch_ms(r.timestamp)), list(r.value), list(r.histogram),
               bool_and(r.stale = (r.value IS NULL AND r.histogram IS NULL)),
               bool_and(r.metric = s.metric AND r.job IS NOT DISTINCT FROM s.labels['job'])
        FROM read_parquet($samples) r JOIN read_parquet($series) s USING ({keys}) GROUP BY s.labels, {keys}""",
        {"samples": str(samples), "series": str(series)}).fetchall()
    found = {}
    for labels, times, values, histograms, marked, same in rows:
        check(marked and same, f"{labels}: stale, metric or job is wrong")
        kept = found.setdefault(frozenset(labels.items()), {})
        both = [value if histogram is None else histogram for value, histogram in zip(values, histograms)]
        kept.update((ms, bits(value)) for ms, value in zip(times, both))
    return found


def check_polars(tree):
    """Another reader: the last count of each bucket."""
    import polars as pl
    rows = pl.scan_parquet(f"{tree}/samples/dt=*/*.parquet", hive_partitioning=True)
    rows = rows.filter(pl.col("metric") == "native", pl.col("histogram").is_not_null())
    last = rows.group_by("dt", "series").agg(pl.col("histogram").sort_by("timestamp").last())
    buckets = last.select("dt", pl.col("histogram").struct.field("buckets")).explode("buckets").unnest("buckets")
    got = buckets.group_by("dt", "lower", "upper").agg(pl.col("count").sum()).collect()
    want = {}
    for day in range(DAYS):
        for kind in ("exponential", "custom", "mixed"):
            i = max(i for i in range(day * 144, (day + 1) * 144) if isinstance(native(kind, i), Histogram))
            for lower, upper, count in histogram_fields(native(kind, i))[6]:
                want[date(day), lower, upper] = want.get((date(day), lower, upper), 0) + count
    got = {(str(dt), lower, upper): count for dt, lower, upper, count in got.rows()}
    check(got == want, f"Polars: {sorted(got.items() ^ want.items())[:4]}")


def check_equal(got, want, what):
    check(set(got) == set(want), f"{what}: other series: {list(set(got) ^ set(want))[:3]}")
    for key, values in want.items():
        different = {ms for ms in values.keys() | got[key].keys() if values.get(ms, 0) != got[key].get(ms, 0)}
        check(not different, f"{what} {dict(key)}: {[(ms, got[key].get(ms), values.get(ms)) for ms in list(different)[:3]]}")


def local_tree():
    """The three scripts, and every bit of every row, from the data directory."""
    with Scene() as scene:
        server, data = start(scene), scene.dir / "data"
        write(server)
        before = promql(server)
        converted(server, data)
        want = promql(server)
        check(all(abs(want[k] - before[k]) <= 1e-12 * abs(before[k]) for k in before), "PromQL differs once it is Parquet")
        tree = data / "parquet"
        check_equal(read_rows(f"{tree}/samples/dt=*/*.parquet", f"{tree}/series/dt=*/*.parquet", "dt, series"), expected_rows(), "rows")
        check_polars(tree)
        check_scripts(tree, want, {})
        return f"{sum(map(len, SERIES.values()))} rows"


def moto(scene):
    port = free_port()
    command = [pathlib.Path(sys.executable).parent / "moto_server", "-H", "127.0.0.1", "-p", port]
    server = scene.start(command, port=port, ready="/moto-api/", env={"PYTHONWARNINGS": "ignore"})
    env = {"AWS_ENDPOINT_URL": server.base, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
           "AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1", "AWS_ALLOW_HTTP": "true"}
    status, text = server.request("PUT", "/metrics")
    check(status == 200, f"a bucket: {status} {text}")
    return server, env


def own(server, name):
    status, text = server.get("/metrics")
    check(status == 200, f"/metrics: {status}")
    return float(re.search(rf"^{name} (\S+)$", text, re.M)[1])


def objects(server):
    status, text = server.get("/metrics?list-type=2&prefix=days/")
    check(status == 200, f"list: {status}")
    return re.findall(r"<Key>days/([^<]*)</Key>", text)


def rows_in(data):
    return sorted((data / "parquet").glob("*/dt=*/*.parquet"))


def bucket():
    """The same from an S3-compatible server, with its absence and the removal of a day."""
    with Scene() as scene:
        s3, env = moto(scene)
        flags = ("--parquet.store", "s3://metrics/days", "--parquet.store-timeout", "2s")
        server, data = start(scene, *flags, env=env), scene.dir / "data"
        write(server)
        before = promql(server)
        live = converted(server, data)
        names = [file["path"] for day in live["days"] for kind in ("samples", "series") for file in day[kind]]
        eventually("local copies go", lambda: not rows_in(data), 60)
        check(sorted(objects(s3)) == sorted(names + ["_live.json", "_owner.json"]), f"objects: {objects(s3)}")
        want = promql(server)
        check(all(abs(want[k] - before[k]) <= 1e-12 * abs(before[k]) for k in before), "PromQL differs from the bucket")
        check(own(server, "streamgauge_parquet_store_reads_total") > 0, "nothing was read from the bucket")
        check_scripts("s3://metrics/days", want, env)

        # The first day is deleted and purged, which reads it from the bucket.
        whole_day = urllib.parse.urlencode({"match[]": '{__name__!=""}', "start": FIRST_MS / 1000,
                                            "end": (FIRST_MS + DAY_MS - 1) / 1000})
        for work in (f"delete_series?{whole_day}", "clean_tombstones"):
            status, text = server.request("POST", f"/api/v1/admin/tsdb/{work}")
            check(status == 204, f"{work}: {status} {text}")
        gone = lambda: not any(f"dt={date(0)}" in name for name in objects(s3))
        eventually("the deleted day leaves the bucket", gone, 60)
        check(any(f"dt={date(1)}" in name for name in objects(s3)), f"objects: {objects(s3)}")
        # moto wants a signature on objects, whichever.
        status, text = s3.request("GET", "/metrics/days/_live.json", headers={
            "Authorization": "AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, "
                             "Signature=none"})
        check(status == 200, f"the list: {status} {text[:300]}")
        live = json.loads(text)
        check([day["dt"] for day in live["days"]] == [date(day) for day in range(1, DAYS)], f"the list: {live}")
        want = {key: value for key, value in want.items() if key[0] != date(0)}
        check(promql(server, 1) == want, "PromQL differs after the delete")

        check(server.stop() == 0, "a clean stop")
        server = start(scene, *flags, env=env)
        check(promql(server, 1) == want, "PromQL differs after a restart")
        check(server.stop() == 0, "a clean stop")

        # A new start has nothing of it in memory, and no statistic of the index answers a quantile. The bucket is away: no answer, no refusal.
        server = start(scene, *flags, env=env)
        s3.process.send_signal(signal.SIGSTOP)
        try:
            status, text = server.request("POST", "/api/metrics/report", json.dumps({
                "component_name": "c", "component_type": "t",
                "metrics": [{"metric_name": "now", "metric_type": "gauge", "metric_value": 7}]}).encode(),
                {"Content-Type": "application/json"})
            check(status == 200, f"a report while the bucket is away: {status} {text}")
            check(server.vector("now")[0]["value"][1] == "7", "what is local is answered")
            began = time.monotonic()
            answer = server.json("/api/v1/query", query=f"sum(quantile_over_time(0.5, {METRIC}[{DAYS + 3}d]))", time=TODAY_MS // 1000)
            took = time.monotonic() - began
            check("cannot be read" in json.dumps(answer.get("warnings")), f"no warning: {json.dumps(answer)[:500]}")
            check(took < 20, f"a query took {took} s while the bucket is away")
            check(own(server, "streamgauge_parquet_store_up") == 0, "the store is up")
        finally:
            s3.process.send_signal(signal.SIGCONT)
        back = lambda: not server.json("/api/v1/query", query=f"sum(quantile_over_time(0.5, {METRIC}[{DAYS + 3}d]))",
                                       time=TODAY_MS // 1000).get("warnings")
        eventually("the bucket is back", back, 60)
        check(promql(server, 1) == want, "PromQL differs after the bucket was away")
        check(server.stop() == 0, "a clean stop")

        # Another data directory must not write there, and the same one without the store must not start.
        other = start(scene, *flags, env=env, data="other")
        write(other)
        for work in ("flush", "compact"):
            other.request("POST", f"/api/v1/admin/storage/{work}")
        eventually("the other is refused", lambda: own(other, "streamgauge_parquet_store_failures_total") > 0, 60)
        check(len(rows_in(scene.dir / "other")) > 0, "the other's files stay local")
        check(server.stop() == 0, "a clean stop")
        done = subprocess.run([BINARY, "--data", str(data)], capture_output=True, text=True, timeout=60)
        check(done.returncode == 1 and "parquet.store is not set" in done.stderr, f"{done.returncode} {done.stderr}")


def export(*arguments):
    done = subprocess.run([BINARY, "export", *map(str, arguments)], capture_output=True, text=True, timeout=120)
    check(done.returncode == 0, f"export {arguments}: {done.stderr}")


def read_lines(path):
    """{labels: {ms: bits}} of an export as JSON lines or CSV."""
    found, special = {}, {"NaN": math.nan, "+Inf": math.inf, "-Inf": -math.inf}
    lines = path.read_text()
    if path.suffix == ".csv":
        rows = csv.DictReader(io.StringIO(lines))
        rows = [{**row, "stale": row["stale"] == "true", "value": row["value"] or None,
                 "histogram": json.loads(row["histogram"] or "null")} for row in rows]
    else:
        rows = map(json.loads, lines.splitlines())
    for row in rows:
        labels = json.loads(row["labels"]) if isinstance(row["labels"], str) else row["labels"]
        histogram = row.get("histogram")
        check(labels["__name__"] == row["metric"] and (row["value"] is None and not histogram) == row["stale"], f"{row}")
        value = None if row["stale"] else special.get(row["value"], row["value"])
        at = datetime.datetime.fromisoformat(row["timestamp"])
        ms = round((at - datetime.datetime.fromtimestamp(0, datetime.timezone.utc)) / datetime.timedelta(milliseconds=1))
        found.setdefault(frozenset(labels.items()), {})[ms] = bits(histogram or (None if value is None else float(value)))
    return found


def exports():
    """Every format, from a server and from its data directory, equal to what was written."""
    with Scene() as scene:
        server, data = start(scene), scene.dir / "data"
        write(server)
        converted(server, data)
        start_ms, end_ms = FIRST_MS + DAY_MS // 2, FIRST_MS + 2 * DAY_MS + 17
        matchers = ["--match", f'{METRIC}{{job=~"etl|quiet"}}', "--match", "odd", "--match", "native"]
        span = ["--start", f"{start_ms / 1000:.3f}", "--end", f"{end_ms / 1000:.3f}"]
        wanted = expected_rows(lambda labels: labels["job"] != "ingest")
        wanted = {key: {ms: v for ms, v in values.items() if start_ms <= ms <= end_ms} for key, values in wanted.items()}
        wanted = {key: values for key, values in wanted.items() if values}

        def check_all(where, source):
            for kind in ("parquet", "csv", "jsonl"):
                path = scene.dir / f"{where}.{kind}"
                export(*source, "--format", kind, *matchers, *span, "--to", path)
                if kind == "parquet":
                    got = read_rows(path / "samples.parquet", path / "series.parquet", "series")
                else:
                    got = read_lines(path)
                check_equal(got, wanted, f"{where} {kind}")

        check_all("server", ["--url", server.base])
        check(server.stop() == 0, "a clean stop")
        check_all("data", ["--data", data])
        return f"{sum(map(len, wanted.values()))} rows"


if __name__ == "__main__":
    run([local_tree, exports, bucket])
