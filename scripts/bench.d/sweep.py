"""What watching costs: 150 monitored containers at 10 s, agent and engine, beside the seed's design in Python.

Goal: the agent's RSS < 15 MB (`up` is agent and controller in one). Metrics are measured too, each 10 s. Every figure is
for one minute; the engine's is net of what it takes when idle.
"""

import os
import subprocess
import sys
import time

import lab

COUNT, SECONDS = int(os.environ.get("BENCH_CONTAINERS", "150")), 60
SEED_CHECK = 4.07  # seconds that `ping -c 5` takes, one container after the other


def minute(pid):
    """CPU seconds of (process, engine) over a minute, and the process's RSS after it."""
    before = lab.cpu_of(pid), lab.engine_cpu()
    time.sleep(SECONDS)
    return lab.cpu_of(pid) - before[0], lab.engine_cpu() - before[1], lab.rss_of(pid)


def row(label, figures, checks):
    own, engine, rss = figures
    return label, f"{own:.2f}", f"{max(engine - idle, 0):.2f}", f"{rss:.1f}", f"{checks:.0f}", f"{own / checks * 1e3:.2f}"


rows = []
with lab.containers(COUNT) as names:
    before = lab.engine_cpu()
    time.sleep(SECONDS)
    idle = lab.engine_cpu() - before
    # The sequential test decides on a sound container after eleven probes, two a second.
    for label, contestant, detector, checks in (
        ("dockhealth up", lab.dockhealth_up, "fixed", 6),
        ("dockhealth agent, sprt", lab.dockhealth_agent, "sprt", 60 / 5.5),
        ("dockhealth agent", lab.dockhealth_agent, "fixed", 6),
    ):
        with contestant("--interval", "10s", "--detector", detector) as (process, call):
            lab.monitor(call, names)
            ours = minute(process.pid)
        rows.append(row(label, ours, COUNT * checks))
    seed = subprocess.Popen([sys.executable, os.path.join(os.path.dirname(__file__), "seed.py"), "10", *names])
    try:
        time.sleep(5)
        theirs = minute(seed.pid)
    finally:
        seed.kill()
        seed.wait()
    rows.append(row("the seed's design", theirs, SECONDS / SEED_CHECK))
lab.table(("agent", "CPU s/min", "engine s/min", "RSS MiB", "checks/min", "CPU ms a check"), rows)
print(f"  ours / theirs: CPU a minute {lab.ratio(ours[0], theirs[0])}, RSS {lab.ratio(ours[2], theirs[2])}; "
      f"theirs checks every container each {SEED_CHECK * COUNT + 10:.0f} s, ours each 10 s")
