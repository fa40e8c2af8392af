"""The embedded store beside VictoriaMetrics: the same samples in one run. Goals: see docs/benchmarks.md."""

# BENCH_STORE_CONTAINERS (1000) and BENCH_STORE_HOURS (24) say how much; a full run takes about 8 minutes on a quiet machine.
# BENCH_STORE names another build of benches/store.rs.

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.request

import lab

CONTAINERS = int(os.environ.get("BENCH_STORE_CONTAINERS", "1000"))
HOURS = int(os.environ.get("BENCH_STORE_HOURS", "24"))
PER_HOST = 20
METRICS = 12
SIZE = (max(1, CONTAINERS // PER_HOST), min(PER_HOST, CONTAINERS), HOURS)


def measure(*arguments):
    """What the helper says, by phase."""
    phases = {}
    command = [HELPER, *map(str, arguments), *map(str, SIZE)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            said = json.loads(line)
            phases[said["phase"]] = said
    if process.returncode:
        sys.exit(f"{command} failed")
    return phases


@contextlib.contextmanager
def victoria_metrics(folder):
    path = shutil.which("victoria-metrics")
    if not path:
        sys.exit("victoria-metrics is not installed: apt-get install victoria-metrics")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = open(f"{folder}.log", "w")
    options = [f"-storageDataPath={folder}", f"-httpListenAddr=127.0.0.1:{port}", "-retentionPeriod=30d"]
    process = subprocess.Popen([path, *options], stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        lab.wait_for("VictoriaMetrics answers", 30, lambda: lab.attempt(lambda: urllib.request.urlopen(f"{url}/health")))
        yield url, process.pid
    finally:
        process.terminate()
        process.wait(timeout=60)


HELPER = lab.helper("store")
with tempfile.TemporaryDirectory() as folder:
    ours = measure("embedded", f"{folder}/ours", f"{folder}/ours")
    with victoria_metrics(f"{folder}/theirs") as (url, pid):
        theirs = measure("remote", url, pid, f"{folder}/theirs")

print(f"  {SIZE[0]} hosts x {SIZE[1]} containers x {METRICS} metrics x {HOURS} h at 10 s: {ours['ingest']['samples'] / 1e6:.1f} M samples")


def rate(of):
    return of["ingest"]["samples"] / of["ingest"]["seconds"] / 1e6


def cpu(of, phase="ingest"):
    return of[phase]["cpu"] / of[phase]["samples"] * 1e6


def late(of):
    return of["late"]["cpu"] / of["in_order"]["cpu"]


rows = [("", "dockhealth", "VictoriaMetrics", "ratio", "goal")]


def row(name, goal, text, of):
    a, b = of(ours), of(theirs)
    rows.append((name, text.format(a), text.format(b), lab.ratio(a, b), goal))


row("ingest, M samples/s", ">= 1.0x", "{:.2f}", rate)
row("CPU s per M samples", "", "{:.2f}", cpu)
row("bytes/sample on disk", "<= 1.4", "{:.2f}", lambda of: of["ingest"]["bytes"] / of["ingest"]["samples"])
row("RSS MiB, at most", "<= 0.5x", "{:.0f}", lambda of: of["ingest"]["peak_mib"])
row("10 min while ingesting, ms p50", "", "{:.2f}", lambda of: of["ten_minutes"]["ms"]["p50"])
row("10 min while ingesting, ms p99", "< 2", "{:.2f}", lambda of: of["ten_minutes"]["ms"]["p99"])
row("7 days, ms p50", "", "{:.1f}", lambda of: of["week"]["ms"]["p50"])
row("7 days, ms p99", "< 20", "{:.1f}", lambda of: of["week"]["ms"]["p99"])
row("10 % late, CPU against in order", "<= 2x", "{:.2f}", late)
lab.table(rows[0], rows[1:])
beside = ours["ingest"]["events_ms"]
print(f"  an event stored beside the ingest: {beside['p50']:.1f} ms p50, {beside['p99']:.1f} p99, {beside['max']:.1f} at most")
