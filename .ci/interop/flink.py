"""A real Flink, followed: the contract of its API page, its own answers, its own CLI, and what is left when it is gone.

  flink.py 2.3 | 1.9

Needs java, javac, FLINK_TOOLS (the folder with flink_cluster.sh and check_contract.py) and FLINK_CACHE (where Flink is
unpacked). 1.9 runs inside flink19_run.sh, in a network namespace of its own. FLINK_AGE_SECONDS says how old what is
asked for after the end of the cluster is to be.
"""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

from flink_answers import departures, paths
from support import Scene, check, eventually, free_port, run

TOOLS = pathlib.Path(os.environ["FLINK_TOOLS"])
CACHE = pathlib.Path(os.environ["FLINK_CACHE"])
AGE_SECONDS = int(os.environ.get("FLINK_AGE_SECONDS", "600"))

OPENED = ["java.lang", "java.net", "java.io", "java.nio", "sun.nio.ch", "sun.nio.fs", "java.lang.reflect", "java.text",
          "java.time", "java.util", "java.util.concurrent", "java.util.concurrent.atomic", "java.util.concurrent.locks",
          "jdk.internal.misc", "jdk.internal.ref"]
OPENS = [f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in OPENED]
JAVA = ["java", "-XX:TieredStopAtLevel=1", "--add-exports=java.base/sun.net.util=ALL-UNNAMED", *OPENS]


def ended(pids):
    """Kills them as a machine does that is gone, and waits until they are."""
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    alive = lambda pid: pathlib.Path(f"/proc/{pid}/stat").exists() and \
        pathlib.Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    eventually("the end of the cluster", lambda: not any(map(alive, pids)), 30)


class Flink23:
    """Started by flink_cluster.sh, with the demo jobs."""

    lib = CACHE / "flink-2.3.0/pyflink/lib"
    configuration = "config.yaml"

    def __init__(self, directory, scheduler="default", command="up"):
        rest, reporter = free_port(), 0
        while reporter == 0 or reporter == rest - 1:
            reporter = free_port()
        self.directory = directory / f"flink-{scheduler}"
        self.environment = {**os.environ, "FLINK_CACHE": str(CACHE), "FLINK_RUN": str(self.directory),
                            "FLINK_REST_PORT": str(rest), "FLINK_RPC_PORT": str(free_port()),
                            "FLINK_PROM_PORT": str(reporter), "FLINK_SCHEDULER": scheduler}
        self.script(command)
        told = dict(line.split("=", 1) for line in (self.directory / "cluster.env").read_text().splitlines())
        self.base = told["REST_URL"]
        # Each process is told its port on its command line, which the JobManager's configuration does not have.
        reporters = [re.search(r"//([^/]+)/", told[f"PROM_{of}_URL"])[1] for of in ("JOBMANAGER", "TASKMANAGER")]
        self.reporters = {"reporters": reporters}
        self.pids = [int(told["JOBMANAGER_PID"]), int(told["TASKMANAGER_PID"])]
        self.jar, self.savepoints = self.directory / "demo-jobs.jar", f"file://{self.directory}/savepoints"

    def script(self, command, *arguments):
        done = subprocess.run(["bash", TOOLS / "flink_cluster.sh", command, *arguments], env=self.environment,
                              capture_output=True, text=True, timeout=300)
        check(done.returncode == 0, f"flink_cluster.sh {command}: {done.stdout}{done.stderr}")
        return done.stdout.strip()

    def kill(self):
        ended(self.pids)

    def stop(self):
        self.script("stop")


class Flink19:
    """Already started by flink19_run.sh, whose shell is our parent and ends it; without jobs."""

    lib = CACHE / "apache-flink-1.9.3/deps/lib"
    configuration = "flink-conf.yaml"

    def __init__(self, _directory):
        self.base, self.jar, self.savepoints = (os.environ[name] for name in ("BASE", "JAR", "SAVEPOINTS"))
        # A range in the configuration: they are found.
        self.reporters = {}
        done = subprocess.run([sys.executable, TOOLS / "submit_demo.py", "--base", self.base, "--jar", self.jar],
                              capture_output=True, text=True, timeout=120)
        check(done.returncode == 0, f"submit_demo.py: {done.stdout}{done.stderr}")

    def kill(self):
        parent = os.getppid()
        children = pathlib.Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        ours = [int(pid) for pid in children if pathlib.Path(f"/proc/{pid}/comm").read_text().strip() == "java"]
        check(len(ours) == 2, f"{len(ours)} processes of Flink, not two")
        ended(ours)

    def stop(self):
        pass


class Followed:
    """A Streamgauge that follows the cluster, its numbers scraped from the reporters or asked for over the REST API."""

    def __init__(self, scene, cluster, metrics):
        self.scene, self.metrics, self.port, self.flink_port = scene, metrics, free_port(), free_port()
        followed = {"urls": [cluster.base], "name": "live", "metrics": metrics, "interval": "2s"}
        followed.update(cluster.reporters if metrics == "scrape" else {})
        self.flags = ["--flink", json.dumps([followed]), "--flink-listen", f"127.0.0.1:{self.flink_port}",
                      "--scrape-self", "false"]
        self.base = f"http://127.0.0.1:{self.flink_port}"
        self.start()

    def start(self):
        self.process = self.scene.streamgauge(*self.flags, port=self.port, data=f"data-{self.metrics}")

    def restart(self):
        self.process.kill()
        self.start()


class Live:
    """The tests, in their order: later ones end jobs, the last one the cluster."""

    def __init__(self, scene, cluster):
        self.scene, self.cluster = scene, cluster
        self.followed = [Followed(scene, cluster, metrics) for metrics in ("scrape", "rest")]
        self.scraped = self.followed[0]
        # The two that last, one that has finished, one that has failed.
        states = {"RUNNING": 2, "FINISHED": 1, "FAILED": 1}
        for followed in self.followed:
            eventually("the demo jobs", lambda: self.states(followed) == states, 90)
        # A few checkpoints and numbers.
        time.sleep(30)
        self.kept = {followed.metrics: self.remember(followed) for followed in self.followed}

    def reporters_are_scraped(self):
        """Those of both processes, and nothing else."""
        targets = ask(f"http://127.0.0.1:{self.scraped.port}", "/api/v1/targets")[1]["data"]["activeTargets"]
        found = sorted((target["labels"]["instance"], target["health"]) for target in targets)
        check(len(found) == 2 and all(health == "up" for _, health in found), str(targets))
        return ", ".join(instance for instance, _ in found)

    def states(self, followed):
        jobs = ask(followed.base, "/jobs")[1].get("jobs", [])
        return {state: sum(job["status"] == state for job in jobs) for state in {job["status"] for job in jobs}}

    def remember(self, followed):
        """All that it answers about a moment, and when it was asked."""
        # What a round began to ask for then is written down by now.
        at_ms = int(time.time() * 1000) - 10_000
        asked = [path for path in paths(lambda path: ask(followed.base, path)[1]) if path != "/jars"]
        answers = {path: full(followed.base, path) for path in (with_time(path, at_ms) for path in asked)}
        refused = [path for path, (status, _, _) in answers.items() if status >= 500]
        check(not refused, f"{followed.metrics}: {refused}")
        return time.monotonic(), answers

    def contract(self, followed, *flags):
        done = subprocess.run([sys.executable, TOOLS / "check_contract.py", "--base", followed.base, *map(str, flags)],
                              capture_output=True, text=True, timeout=600)
        skipped = [line for line in done.stdout.splitlines() if line.startswith("skip")]
        # What changes the cluster, and what asks how that went.
        untried = [line for line in skipped if not flags and line.endswith("not tried (see --write)")]
        check(done.returncode == 0 and skipped == untried, f"{followed.metrics}: {done.stdout}{done.stderr}")
        return f"{followed.metrics}: {done.stdout.splitlines()[-1]}"

    def reading_endpoints_keep_the_contract(self):
        return "; ".join(map(self.contract, self.followed))

    def answers_are_those_of_the_cluster(self):
        """Each path is asked of the cluster and of us: status, content type, keys, types, and what does not move."""
        notes = []
        for followed in self.followed:
            asked = list(paths(lambda path: ask(self.cluster.base, path)[1], is_live=True))
            left = asked
            deadline = time.monotonic() + 60
            while left:
                faults = {path: departures(path, full(self.cluster.base, path), full(followed.base, path),
                                           followed.metrics) for path in left}
                left = [path for path in left if faults[path]]
                lines = "\n".join(line for path in left for line in faults[path][:5])
                count = f"{followed.metrics}: of {len(asked)} paths {len(left)} depart"
                check(time.monotonic() < deadline, f"{count}:\n{lines}")
                time.sleep(1 if left else 0)
            notes.append(f"{followed.metrics}: {len(asked)} paths")
        return "; ".join(notes)

    def cli(self, *arguments, fails=False):
        directory = self.scene.dir / "cli"
        directory.mkdir(exist_ok=True)
        (directory / self.cluster.configuration).write_text("rest.address: 127.0.0.1\n")
        environment = {**os.environ, "FLINK_CONF_DIR": str(directory)}
        command, *rest = map(str, arguments)
        address = f"127.0.0.1:{self.scraped.flink_port}"
        done = subprocess.run([*JAVA, "-cp", f"{self.cluster.lib}/*", "org.apache.flink.client.cli.CliFrontend",
                               command, "-m", address, *rest],
                              env=environment, capture_output=True, text=True, timeout=180, cwd=directory)
        text = done.stdout + done.stderr
        check((done.returncode != 0) == fails, f"flink {command} {rest}: {done.returncode}\n{text[-3000:]}")
        return text

    def state(self, job):
        return ask(self.cluster.base, f"/jobs/{job}")[1].get("state")

    def run_by_cli(self, name):
        text = self.cli("run", "-d", "-c", "demo.StreamJob", self.cluster.jar, "--name", name, "--parallelism", 1,
                        "--rate", 50)
        job = re.search(r"JobID ([0-9a-f]{32})", text)[1]
        eventually(f"{name} runs", lambda: self.state(job) == "RUNNING")
        return job

    def its_own_cli_works(self):
        listed = self.cli("list", "-a")
        for job, state in [("demo-stream", "RUNNING"), ("demo-flaky", "RUNNING"), ("demo-batch", "FINISHED"),
                           ("demo-failing", "FAILED")]:
            check(f"{job} ({state})" in listed, f"{job} is not listed as {state}:\n{listed}")
        job = self.run_by_cli("cli-stop")
        saved = re.search(r"Path: (\S+)", self.cli("savepoint", job, self.cluster.savepoints))
        check(saved and pathlib.Path(saved[1].removeprefix("file:")).exists(), f"no savepoint: {saved}")
        stopped = self.cli("stop", "-p", self.cluster.savepoints, job)
        check("Savepoint completed" in stopped, stopped)
        eventually("it is stopped", lambda: self.state(job) == "FINISHED")
        canceled = self.run_by_cli("cli-cancel")
        self.cli("cancel", canceled)
        eventually("it is canceled", lambda: self.state(canceled) == "CANCELED")
        attached = self.cli("run", "-c", "demo.BatchJob", self.cluster.jar, "--parallelism", 1, "--records", 20000)
        check("records-parsed (java.lang.Integer): 20000" in attached, attached)
        disposed = self.cli("savepoint", "-d", saved[1])
        check("disposed" in disposed, disposed)
        self.cli("cancel", "0" * 31 + "1", fails=True)
        return "list, run, run attached, savepoint, stop, cancel, dispose; an unknown job is refused"

    def all_endpoints_keep_the_contract(self):
        return self.contract(self.scraped, "--write", "--jar", self.cluster.jar)

    def everything_is_there_when_the_cluster_is_gone(self):
        """As of a moment before its end, byte for byte, after it was killed, we were killed, and time went by."""
        self.cluster.kill()
        for followed in self.followed:
            is_stale = lambda: any("stale-since" in job for job in ask(followed.base, "/jobs/overview")[1]["jobs"])
            eventually("the jobs are stale", is_stale, 60)
            followed.restart()
        notes = []
        for followed in self.followed:
            since, answers = self.kept[followed.metrics]
            time.sleep(max(0, since + AGE_SECONDS - time.monotonic()))
            for path, before in answers.items():
                after = full(followed.base, path)
                check(after == before, f"{followed.metrics} {path}:\nbefore {before}\nafter  {after}")
            values = sum(text.count('"value":"') for path, (_, _, text) in answers.items() if "get=" in path)
            check(values > 30, f"only {values} values of metrics")
            jobs = ask(followed.base, "/jobs/overview")[1]["jobs"]
            stale = [job for job in jobs if job["state"] == "RUNNING"]
            check(stale and all("stale-since" in job for job in stale), f"not stale: {stale}")
            notes.append(f"{followed.metrics}: {len(answers)} answers, {values} values, {len(stale)} stale jobs")
        return f"{AGE_SECONDS} s later " + "; ".join(notes)


def an_adaptive_cluster_is_rescaled():
    """By the request of the API page, which the cluster itself refuses."""
    with Scene() as scene:
        cluster = Flink23(scene.dir, "adaptive", "start")
        try:
            job = cluster.script("run", "demo.StreamJob", "--parallelism", "1", "--rate", "50").splitlines()[-1]
            followed = Followed(scene, cluster, "rest")
            tasks = lambda: [vertex["parallelism"] for vertex in ask(cluster.base, f"/jobs/{job}")[1]["vertices"]]
            known = lambda: any(one["id"] == job for one in ask(followed.base, "/jobs")[1]["jobs"])
            eventually("the job is known", known)
            eventually("it runs", lambda: ask(cluster.base, f"/jobs/{job}")[1]["state"] == "RUNNING")
            before, path = tasks(), f"/jobs/{job}/rescaling"
            refused = change(cluster.base, "PATCH", f"{path}?parallelism=2")
            check(refused[0] == 503, f"the cluster knows it: {refused}")
            status, answer = change(followed.base, "PATCH", f"{path}?parallelism=2")
            check(status == 200, f"{status} {answer}")
            state = ask(followed.base, f"{path}/{json.loads(answer)['request-id']}")[1]
            check(state["status"]["id"] == "COMPLETED", str(state))
            eventually("it has more tasks", lambda: tasks() == [2] * len(before), 60)
            shown = lambda: [vertex["parallelism"] for vertex in ask(followed.base, f"/jobs/{job}")[1]["vertices"]]
            eventually("we show it", lambda: shown() == tasks())
            return f"{before} became {tasks()}"
        finally:
            cluster.stop()


def change(base, method, path):
    request = urllib.request.Request(base + path, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def with_time(path, at_ms):
    return f"{path}{'&' if '?' in path else '?'}at={at_ms}"


def full(base, path):
    """Status, content type and body."""
    try:
        with urllib.request.urlopen(base + path, timeout=60) as response:
            return response.status, response.headers.get("content-type", ""), response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers.get("content-type", ""), error.read().decode()


def ask(base, path):
    status, _, text = full(base, path)
    return status, json.loads(text) if status == 200 else {}


def main():
    release = sys.argv[1]
    with Scene() as scene:
        cluster = {"2.3": Flink23, "1.9": Flink19}[release](scene.dir)
        try:
            live = Live(scene, cluster)
            tests = [live.reporters_are_scraped, live.reading_endpoints_keep_the_contract, live.answers_are_those_of_the_cluster,
                     live.its_own_cli_works, live.all_endpoints_keep_the_contract,
                     live.everything_is_there_when_the_cluster_is_gone]
            run([an_adaptive_cluster_is_rescaled, *tests] if release == "2.3" else tests)
        finally:
            cluster.stop()


main()
