"""A controller of 1,000 simulated hosts with 20 containers each on a real NATS server, then more until it falls behind.

Goals, at 10 s: controller's RSS < 300 MB, and it keeps up. The lag is from the moment a tick was due until the controller
had stored it. Hosts, NATS server and controller share this machine, so its ceiling is that of all three together.
"""

import json
import os
import queue
import subprocess
import threading
import time

import lab

HOSTS = int(os.environ.get("BENCH_HOSTS", "1000"))
CONTAINERS = int(os.environ.get("BENCH_HOST_CONTAINERS", "20"))
WARM_UP, SECONDS = int(os.environ.get("BENCH_WARM_UP", "40")), int(os.environ.get("BENCH_SECONDS", "60"))
# Hosts for each of HOSTS, and seconds between their ticks.
STEPS = [(1, 10), (1, 5), (1, 2), (1, 1), (2, 1), (4, 1)]


def fleet():
    """A NATS server and a controller on it."""
    return lab.controller("--store", os.environ.get("BENCH_STORE", "embedded"), "--log-level", "warn")


def follow(simulation):
    """The lines of a simulation's progress, as they come."""
    lines = queue.Queue()

    def read():
        for line in simulation.stdout:
            lines.put(json.loads(line))

    threading.Thread(target=read, daemon=True).start()
    return lines


def step(hosts, interval):
    """One row of the table, and whether the controller kept up."""
    with fleet() as (nats, url, daemon, _):
        command = [lab.BINARY, "simulate", "--json", "--nats", url, "--hosts", str(hosts), "--containers", str(CONTAINERS),
                   "--interval", f"{interval}s", "--for", f"{WARM_UP + SECONDS + 30}s", "--seed", "1", "--log-level", "warn"]
        simulation = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            lines = follow(simulation)
            time.sleep(WARM_UP)
            before = None
            while not lines.empty() or before is None:
                before = lines.get(timeout=60)
            pids, start = (daemon.pid, nats.pid, simulation.pid), time.monotonic()
            cpu = [lab.cpu_of(pid) for pid in pids]
            seen, rss = [], 0
            while time.monotonic() - start < SECONDS:
                seen.append(lines.get(timeout=60))
                rss = max(rss, lab.rss_of(daemon.pid))
            minutes = (time.monotonic() - start) / 60
            cpu = [(lab.cpu_of(pid) - spent) / minutes for pid, spent in zip(pids, cpu)]
        finally:
            simulation.terminate()
            simulation.wait(timeout=60)
    last = seen[-1]
    rate = {name: (last[name] - before[name]) / minutes / 60 for name in ("ticks", "samples", "acknowledged")}
    p99 = max(line["lag_p99_ms"] or 60_000 for line in seen)
    skipped = last["skipped"] - before["skipped"]
    # A tick of each host may be under way at either end.
    kept_up = (p99 < interval * 1000 and last["waiting"] <= hosts * max(1, 1 / interval)
               and not skipped and last["dropped"] == before["dropped"] and last["refused"] == before["refused"])
    words = "yes" if kept_up else f"no: {last['waiting']} wait, {skipped} not made in time"
    return kept_up, rss, (hosts, interval, f"{rate['acknowledged']:.0f}", f"{rate['samples'] / 1e3:.0f}k", f"{rss:.0f}",
                          *(f"{seconds:.1f}" for seconds in cpu), seen[-1]["lag_p50_ms"], p99, words)


rows, goal, ceiling = [], None, None
for times, interval in STEPS:
    kept_up, rss, row = step(HOSTS * times, interval)
    rows.append(row)
    goal = goal or (f"RSS {rss:.0f} MiB ({lab.ratio(rss * 1.048576, 300)} of the 300 MB allowed), "
                    f"{'keeps' if kept_up else 'DOES NOT KEEP'} up")
    if not kept_up:
        break
    ceiling = row
head = ("hosts", "every s", "ticks/s stored", "samples/s", "RSS MiB", "CPU s/min", "nats-server's", "hosts'", "lag ms", "p99", "keeps up")
lab.table(head, rows)
print(f"  {HOSTS} hosts x {CONTAINERS} containers at {STEPS[0][1]} s: {goal}")
if ceiling:
    print(f"  the most it kept up with here: {ceiling[2]} ticks/s, {ceiling[3]} samples/s ({ceiling[0]} hosts every {ceiling[1]} s)")
