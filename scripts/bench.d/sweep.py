"""What watching costs: 150 monitored containers at 10 s, agent and engine, beside the seed's design in Python.

Goal: the agent's RSS < 15 MB. Every figure is for one minute; the engine's is net of what it takes when idle.
"""

import os
import subprocess
import sys
import time

import lab

COUNT, SECONDS = int(os.environ.get("BENCH_CONTAINERS", "150")), 60


def minute(pid):
    """CPU seconds of (process, engine) over a minute, and the process's RSS after it."""
    before = lab.cpu_of(pid), lab.engine_cpu()
    time.sleep(SECONDS)
    return lab.cpu_of(pid) - before[0], lab.engine_cpu() - before[1], lab.rss_of(pid)


rows = []
with lab.containers(COUNT) as names:
    before = lab.engine_cpu()
    time.sleep(SECONDS)
    idle = lab.engine_cpu() - before
    with lab.dockhealth_up("--interval", "10s") as (process, call):
        lab.monitor(call, names)
        ours = minute(process.pid)
    rows.append(("dockhealth up", f"{ours[0]:.2f}", f"{max(ours[1] - idle, 0):.2f}", f"{ours[2]:.1f}", "", "10 s"))
    seed = subprocess.Popen([sys.executable, os.path.join(os.path.dirname(__file__), "seed.py"), "10", *names])
    try:
        time.sleep(5)
        theirs = minute(seed.pid)
    finally:
        seed.kill()
        seed.wait()
    rows.append(("the seed's design", f"{theirs[0]:.2f}", f"{max(theirs[1] - idle, 0):.2f}", f"{theirs[2]:.1f}",
                 lab.ratio(ours[0], theirs[0]), f"{4.07 * COUNT + 10:.0f} s (4.07 s a container, in turn)"))
lab.table(("agent", "CPU s/min", "engine s/min", "RSS MiB", "ours/theirs", "every container is checked each"), rows)
