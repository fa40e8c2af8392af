"""What the benchmarks share: containers of their own, dockhealth under test, processes' costs, and figures."""

import contextlib
import http.client
import json
import os
import re
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from datetime import datetime

BINARY = os.environ["BENCH_BINARY"]
IMAGE = "dockhealth-test/busybox:1"
PREFIX = f"dhbench-{os.getpid()}"
TICK = os.sysconf("SC_CLK_TCK")

# Ended early, a benchmark still removes what it made.
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, _frame: sys.exit(128 + number))


def run(*command, check=True, **options):
    return subprocess.run(command, check=check, text=True, stdout=subprocess.PIPE, **options).stdout.strip()


def helper(name):
    """The program of benches/`name`.rs; BENCH_<NAME> names another build of it."""
    if path := os.environ.get(f"BENCH_{name.upper()}"):
        return path
    built = run("cargo", "build", "--release", "--bench", name, "--message-format", "json")
    for line in built.splitlines():
        artifact = json.loads(line)
        if artifact.get("target", {}).get("name") == name and artifact.get("executable"):
            return artifact["executable"]
    sys.exit("cargo named no executable")


def docker(*arguments, check=True):
    return run("docker", *arguments, check=check, stderr=None if check else subprocess.DEVNULL)


def busybox_image():
    """Debian's static busybox, FROM scratch."""
    if subprocess.run(["docker", "image", "inspect", IMAGE], capture_output=True).returncode == 0:
        return
    with tempfile.TemporaryDirectory() as folder:
        os.mkdir(f"{folder}/bin")
        shutil.copy("/bin/busybox", f"{folder}/bin/busybox")
        for applet in run("/bin/busybox", "--list").split():
            if applet != "busybox":
                os.symlink("busybox", f"{folder}/bin/{applet}")
        tar = subprocess.Popen(["tar", "-C", folder, "-c", "."], stdout=subprocess.PIPE)
        subprocess.run(["docker", "import", "-", IMAGE], stdin=tar.stdout, check=True, stdout=subprocess.DEVNULL)


@contextlib.contextmanager
def containers(count, *options):
    """`count` idle containers; gives their names, removes them in the end."""
    busybox_image()
    names = [f"{PREFIX}-{i:03}" for i in range(count)]
    try:
        for name in names:
            docker("run", "-d", "--name", name, "--init", *options, IMAGE, "sleep", "1000000")
        yield names
    finally:
        for name in names:
            docker("rm", "-f", name, check=False)


class Engine(http.client.HTTPConnection):
    """The engine's API, without the command line's start-up time."""

    def __init__(self):
        super().__init__("localhost")

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://"))

    def inspect(self, name):
        self.request("GET", f"/containers/{name}/json")
        return json.load(self.getresponse())


def instant(text):
    """Docker's time stamp as unix seconds."""
    head, fraction = re.fullmatch(r"(.*:\d\d)(?:\.(\d+))?Z", text).groups()
    return datetime.fromisoformat(head + "+00:00").timestamp() + float(f"0.{fraction or 0}")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listens(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@contextlib.contextmanager
def process(log, *command):
    """A process that logs into `log`, ended in the end."""
    with open(log, "w") as out:
        child = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        yield child
    except Exception:
        with open(log) as text:
            sys.stderr.write(text.read()[-4000:])
        raise
    finally:
        child.terminate()
        child.wait(timeout=60)


def caller(port, data):
    """call(method, path) of the controller that listens at `port` and keeps its token in `data`; `call.base` is its URL, `call.login()` the headers."""
    def login():
        with open(f"{data}/token") as file:
            return {"Authorization": f"Bearer {file.read().strip()}"}

    def call(method, path):
        headers = login()
        request = urllib.request.Request(f"http://127.0.0.1:{port}/api/v1{path}", method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            body = answer.read()
        return json.loads(body) if body else None

    call.base, call.login = f"http://127.0.0.1:{port}", login
    return call


@contextlib.contextmanager
def dockhealth_up(*options):
    """`dockhealth up` with a folder and a port of its own; gives (process, call)."""
    with tempfile.TemporaryDirectory() as folder:
        port, data = free_port(), f"{folder}/data"
        command = [BINARY, "up", "--listen", f"127.0.0.1:{port}", "--data-dir", data, "--hostname", "bench", *options]
        with process(f"{folder}/log", *command) as up:
            call = caller(port, data)
            wait_for("dockhealth up answers", 30, lambda: attempt(lambda: call("GET", "/hosts")))
            yield up, call


@contextlib.contextmanager
def controller(*options):
    """A NATS server and a controller on it; gives (the server's process, its URL, the controller's process, call)."""
    with tempfile.TemporaryDirectory() as folder:
        port, door, data = free_port(), free_port(), f"{folder}/data"
        url = f"nats://127.0.0.1:{port}"
        server = ["nats-server", "--addr", "127.0.0.1", "--port", str(port), "--jetstream", "--store_dir", f"{folder}/js"]
        command = [BINARY, "controller", "--data-dir", data, "--nats", url, "--listen", f"127.0.0.1:{door}", *options]
        with process(f"{folder}/nats.log", *server) as nats:
            wait_for("nats-server listens", 20, lambda: listens(port))
            with process(f"{folder}/log", *command) as daemon:
                wait_for("the controller listens", 20, lambda: listens(door) and os.path.exists(f"{data}/token"))
                yield nats, url, daemon, caller(door, data)


@contextlib.contextmanager
def dockhealth_agent(*options):
    """An agent of a fleet of one, its controller being another process; gives (the agent's process, call)."""
    with tempfile.TemporaryDirectory() as folder, controller() as (_, url, _, call):
        command = [BINARY, "agent", "--nats", url, "--data-dir", f"{folder}/data", "--hostname", "bench", *options]
        with process(f"{folder}/log", *command) as agent:
            wait_for("the agent has spoken", 30, lambda: call("GET", "/hosts"))
            yield agent, call


def monitor(call, names):
    """Has `up` monitor the containers, and waits until it calls them healthy."""
    wait_for("all are listed", 30, lambda: set(names) <= {c["name"] for c in call("GET", "/containers")})
    for name in names:
        call("POST", f"/containers/bench/{name}")

    def healthy():
        return sum(c["name"] in names and c["health"] == "healthy" for c in call("GET", "/containers"))

    wait_for("all are healthy", 90, lambda: healthy() == len(names))


def attempt(action):
    with contextlib.suppress(OSError):
        return action() is not None
    return False


def wait_for(what, seconds, probe):
    end = time.monotonic() + seconds
    while True:
        if value := probe():
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.05)


def cost_of(command):
    """Wall and CPU seconds of one run of `command`, which may fail."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def cpu_of(pid):
    """CPU seconds of a process and of its children that ended; 0 once it is gone."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
        return sum(int(field) for field in fields[11:15]) / TICK
    return 0.0


def engine_cpu():
    """CPU seconds of the engine so far: dockerd, containerd, their shims."""
    total = 0.0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/comm") as comm:
            if comm.read().strip() in ("dockerd", "containerd", "containerd-shim", "containerd-shim-r", "docker-proxy"):
                total += cpu_of(pid)
    return total


def rss_of(pid):
    """Resident MiB."""
    with open(f"/proc/{pid}/status") as status:
        return int(re.search(r"VmRSS:\s+(\d+)", status.read())[1]) / 1024


def spread(values):
    """`median / max`, or how many never came."""
    came = [value for value in values if value is not None]
    if not came:
        return "never"
    never = f", {len(values) - len(came)} of {len(values)} never" if len(came) < len(values) else ""
    return f"{statistics.median(came):.2f} / {max(came):.2f}{never}"


def ratio(ours, theirs):
    return f"{ours / theirs:.2f}x" if theirs else "-"


def table(head, rows):
    widths = [max(len(str(row[i])) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, *rows]:
        print("  " + "  ".join(str(cell).ljust(width) for cell, width in zip(row, widths)).rstrip())
    sys.stdout.flush()
