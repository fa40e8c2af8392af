"""What `--profile edge` saves: `dockhealth up` with 10 monitored containers, beside the default profile."""

import os
import re
import time

import lab

CONTAINERS = int(os.environ.get("BENCH_CONTAINERS", "10"))
SECONDS = 120


def status_of(pid, field):
    """A size of /proc/PID/status in MiB."""
    with open(f"/proc/{pid}/status") as status:
        return int(re.search(rf"{field}:\s+(\d+)", status.read())[1]) / 1024


def written_by(pid):
    """Bytes that a process had written to the disk."""
    with open(f"/proc/{pid}/io") as io:
        return int(re.search(r"\nwrite_bytes: (\d+)", io.read())[1])


def cost(*options):
    """RSS and its part that is not the program file, MiB; CPU seconds and kB written, a minute."""
    with lab.dockhealth_up(*options) as (process, call):
        lab.monitor(call, names)
        # What a start costs is over, and samples come.
        time.sleep(30)
        before = lab.cpu_of(process.pid), written_by(process.pid)
        time.sleep(SECONDS)
        after = lab.cpu_of(process.pid), written_by(process.pid)
        cpu, written = ((b - a) * 60 / SECONDS for a, b in zip(before, after))
        return status_of(process.pid, "VmRSS"), status_of(process.pid, "RssAnon"), cpu, written / 1000


with lab.containers(CONTAINERS) as names:
    costs = [("default", cost()), ("edge", cost("--profile", "edge"))]
rows = [(name, *(f"{value:.2f}" for value in values)) for name, values in costs]
rows.append(("edge / default", *(lab.ratio(edge, default) for edge, default in zip(costs[1][1], costs[0][1]))))
lab.table(("profile", "RSS MiB", "of it anonymous", "CPU s/min", "written kB/min"), rows)
