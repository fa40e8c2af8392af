"""The web UI in Chromium: 1,000 simulated hosts with 20 containers each, live, on a phone's budget.

Goals: the Fleet page answers within 2 s, scrolls and filters with a frame in at most 50 ms at the 95th percentile, keeps
below 150 MB of heap, and shows a kill within 2 s (on a real `up`). All pages together are at most 160 KiB, gzipped, and
the first paint comes after at most 3 requests.
"""

import glob
import gzip
import json
import os
import subprocess

import lab

HOSTS = int(os.environ.get("BENCH_HOSTS", "1000"))
CONTAINERS = int(os.environ.get("BENCH_HOST_CONTAINERS", "20"))
MINUTES = float(os.environ.get("BENCH_UI_MINUTES", "10"))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def chromium(part, url, *arguments):
    """What bench.mjs measures of `part`."""
    command = ["node", f"{ROOT}/ui/tests/bench.mjs", part, url, *map(str, arguments)]
    return json.loads(lab.run(*command, timeout=MINUTES * 60 + 300).splitlines()[-1])


def verdict(goal, value, most):
    return goal, f"{value:.3g}", f"{most}", lab.ratio(value, most), "" if value <= most else "MISSED"


def kill_shown():
    """Milliseconds from the kill of a monitored container of a real engine until its page says that it is down."""
    times = []
    with lab.containers(1) as (name,), lab.dockhealth_up("--interval", "2s") as (_, call):
        lab.monitor(call, [name])
        for _ in range(5):
            page = subprocess.Popen(["node", f"{ROOT}/ui/tests/bench.mjs", "kill", call.base, name],
                                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            assert page.stdout.readline().strip() == "ready"
            times.append(json.loads(page.communicate(timeout=120)[0])["ms"])
            lab.monitor(call, [name])
    return max(times)


def fleet():
    options = ("--log-level", "warn")
    with lab.controller(*options) as (_, url, _, call):
        command = [lab.BINARY, "simulate", "--json", "--nats", url, "--hosts", str(HOSTS), "--containers", str(CONTAINERS),
                   "--interval", "10s", "--for", f"{MINUTES * 60 + 600:.0f}s", "--seed", "1", "--log-level", "warn"]
        simulation = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            lab.wait_for("every host has spoken", 120, lambda: call("GET", "/overview")["hosts"]["live"] == HOSTS)
            return chromium("fleet", call.base, HOSTS, CONTAINERS, MINUTES)
        finally:
            simulation.terminate()
            simulation.wait(timeout=60)


files = [path for path in glob.glob(f"{ROOT}/ui/dist/**", recursive=True) if os.path.isfile(path) and path[-3:] not in (".gz", ".br")]
bundle = sum(len(gzip.compress(open(path, "rb").read(), 9)) for path in files) / 1024
seen = fleet()
rows = [
    verdict("first paint, requests before it", seen["requests"], 3),
    verdict("first paint, ms", seen["paint_ms"], 2000),
    verdict("Fleet shown and answering, ms", seen["interactive_ms"], 2000),
    verdict("scrolling, p95 of a frame, ms", seen["scroll_p95_ms"], 50),
    verdict("filtering, p95 of a frame, ms", seen["filter_p95_ms"], 50),
    verdict(f"heap after {MINUTES:g} min live, MB", seen["heap_mb"], 150),
    verdict("a kill until it is shown, ms, the worst of 5", kill_shown(), 2000),
    verdict("all pages gzipped, KiB", bundle, 160),
]
print(f"  {HOSTS} hosts x {CONTAINERS} containers; heap at first {seen['heap_first_mb']:.0f} MB")
lab.table(("", "measured", "goal", "of the goal", ""), rows)
