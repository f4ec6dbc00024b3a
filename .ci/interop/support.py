"""What the interop tests share: processes on loopback, HTTP, and assertions that say what they saw."""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor

BINARY = os.environ["STREAMGAUGE"]
PEERS = pathlib.Path(os.environ["PEERS_BIN"])


def peer(name):
    """The path of a peer's binary; a peer that is missing is a failure."""
    path = PEERS / name
    if not path.exists():
        sys.exit(f"FAILED: the peer {path} is missing")
    return str(path)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Process:
    """A program on loopback that is killed at the end, with its log at hand."""

    def __init__(self, argv, cwd, ready=None, port=None, seconds=30, env=None):
        self.argv, self.port = argv, port
        self.base = f"http://127.0.0.1:{port}"
        self.log_path = pathlib.Path(cwd) / f"{pathlib.Path(argv[0]).name}-{port}.log"
        self.log = open(self.log_path, "ab")
        environment = None if env is None else {**os.environ, **env}
        self.process = subprocess.Popen(argv, cwd=cwd, stdout=self.log, stderr=subprocess.STDOUT, env=environment)
        if ready:
            self.wait_ready(ready, seconds)

    def wait_ready(self, path, seconds):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise SystemExit(f"FAILED: {self.argv[0]} ended with {self.process.returncode}:\n{self.log_tail()}")
            try:
                if self.get(path)[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise SystemExit(f"FAILED: {self.argv[0]} is not ready after {seconds} s:\n{self.log_tail()}")

    def log_tail(self):
        return self.log_path.read_text(errors="replace")[-3000:]

    def get(self, path):
        return self.request("GET", path)

    def request(self, method, path, body=None, headers=None):
        request = urllib.request.Request(self.base + path, data=body, method=method, headers=headers or {})
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def json(self, path, **parameters):
        query = "?" + urllib.parse.urlencode(parameters, doseq=True) if parameters else ""
        status, text = self.get(path + query)
        check(status == 200, f"{path}{query}: {status} {text[:500]}")
        return json.loads(text)

    def vector(self, expression, **parameters):
        data = self.json("/api/v1/query", query=expression, **parameters)["data"]
        check(data["resultType"] == "vector", f"{expression}: {data['resultType']}")
        return data["result"]

    def kill(self):
        """SIGKILL, as a crash."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        """SIGTERM; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                self.kill()
        self.log.close()
        return self.process.returncode


class Scene:
    """A directory and the processes of one test; all of them end with it."""

    def __enter__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="interop-"))
        self.processes = []
        return self

    def __exit__(self, *error):
        for process in reversed(self.processes):
            process.stop()
        if error[0] is not None and getattr(error[1], "code", None) != 0:
            for process in self.processes:
                print(f"--- {process.log_path.name}\n{process.log_tail()}", file=sys.stderr)
        shutil.rmtree(self.dir, ignore_errors=True)

    def start(self, argv, **options):
        process = Process([str(a) for a in argv], self.dir, **options)
        self.processes.append(process)
        return process

    def streamgauge(self, *flags, port=None, data="data", env=None):
        port = port or free_port()
        argv = [BINARY, "--data", self.dir / data, "--listen", f"127.0.0.1:{port}", *flags]
        return self.start(argv, port=port, ready="/-/ready", env=env)

    def prometheus(self, config, *flags, port=None, data="prometheus"):
        port = port or free_port()
        path = self.dir / f"prometheus-{port}.yml"
        path.write_text(config)
        argv = [peer("prometheus"), f"--config.file={path}", f"--storage.tsdb.path={self.dir / data}",
                f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn", *flags]
        return self.start(argv, port=port, ready="/-/ready")

    def node_exporter(self, port=None):
        port = port or free_port()
        return self.start([peer("prometheus-node-exporter"), f"--web.listen-address=127.0.0.1:{port}"],
                          port=port, ready="/metrics")


def check(condition, message):
    if not condition:
        raise AssertionError(message)


def eventually(what, condition, seconds=30):
    """Waits until the condition gives something true, and gives it back."""
    deadline = time.monotonic() + seconds
    while True:
        got = condition()
        if got:
            return got
        check(time.monotonic() < deadline, f"{what}: not within {seconds} s, last {got!r}")
        time.sleep(0.2)


def promtool_check(text):
    """The lint lines of `promtool check metrics`; an error in the text itself fails."""
    done = subprocess.run([peer("promtool"), "check", "metrics"], input=text.encode(), capture_output=True, timeout=60)
    lines = [line for line in (done.stdout + done.stderr).decode().splitlines() if line]
    check(done.returncode in (0, 3), f"promtool check metrics: {done.returncode}\n" + "\n".join(lines))
    return lines


def attempt(test):
    """Runs a test and prints a line for it; true if it passed."""
    started = time.monotonic()
    try:
        note = test()
    except AssertionError as error:
        print(f"FAILED  {test.__name__}: {error}", flush=True)
        return False
    print(f"ok      {test.__name__} ({time.monotonic() - started:.1f} s){': ' + note if note else ''}", flush=True)
    return True


def run(tests):
    """Runs the tests in turn, those of a tuple side by side; prints a line for each and, at the end, the count."""
    passed = []
    for group in tests:
        group = group if isinstance(group, tuple) else (group,)
        with ThreadPoolExecutor(len(group)) as threads:
            passed += threads.map(attempt, group)
    failed = passed.count(False)
    print(f"{len(passed) - failed} passed, {failed} failed", flush=True)
    sys.exit(1 if failed else 0)
