"""What measuring costs: one sweep beside a bare loop over the same files, and the agent at 10 s beside docker stats and netdata.

Goals: a sweep takes at most twice the bare loop's CPU time; the agent, the engine's share included and net of idle, at most a
tenth of the cheaper of the other two; RSS < 15 MB. `dockhealth up` is agent and controller, which stores the samples too.
"""

import contextlib
import glob
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

import lab

COUNT = int(os.environ.get("BENCH_CONTAINERS", "150"))
# Each contestant is watched for so long, within which the agent also lists the containers anew, but does not read each of
# them, as it does every ten minutes; with 0 the sweep alone is measured.
SWEEPS, SECONDS = 20, int(os.environ.get("BENCH_SECONDS", "60"))
# No container is monitored, so nothing is probed; who talks to whom is no part of this, `network` measures what that costs.
OPTIONS = ("--interval", "1h", "--network", "off", "--metrics-interval")

# Reads each file once a second, those of cgroups held open, and prints the CPU nanoseconds of each round.
BARE_LOOP = r"""
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
static char buffer[16384], line[4096], *names[65536];
static int files[65536];
static long long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}
int main(int argc, char **argv) {
    int count = 0, rounds = atoi(argv[1]);
    while (count < 65536 && fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        files[count] = strncmp(line, "/proc/", 6) ? open(line, O_RDONLY | O_CLOEXEC) : -1;
        names[count++] = strdup(line);
    }
    for (int round = 0; round < rounds; round++) {
        sleep(1);
        long long before = now();
        for (int i = 0; i < count; i++) {
            if (files[i] >= 0) {
                if (pread(files[i], buffer, sizeof buffer, 0) < 0) continue;
            } else {
                int file = open(names[i], O_RDONLY | O_CLOEXEC);
                while (read(file, buffer, sizeof buffer) > 0) continue;
                close(file);
            }
        }
        printf("%lld\n", now() - before);
    }
}
"""


def thread_cpu(pid, name):
    """CPU seconds of a process's thread of that name."""
    for task in glob.glob(f"/proc/{pid}/task/*"):
        with open(f"{task}/comm") as comm:
            if comm.read().strip() == name:
                with open(f"{task}/schedstat") as schedstat:
                    return int(schedstat.read().split()[0]) / 1e9
    raise LookupError(f"process {pid} has no thread {name}")


def held_files(pid):
    """The containers' cgroup files that a process has open."""
    links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd") if attempt_link(pid, fd)]
    return sorted(link for link in links if link.startswith("/sys/fs/cgroup/") and re.search(r"[0-9a-f]{64}", link))


def attempt_link(pid, fd):
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{pid}/fd/{fd}") != ""
    return False


def sweep(names):
    """Milliseconds of CPU that one sweep takes (ours, the bare loop), and how many files that reads."""
    with lab.dockhealth_up(*OPTIONS, "1s") as (process, _):
        # About a dozen files of each are held open when the first sweep is through.
        lab.wait_for("the files are held", 30, lambda: len(held_files(process.pid)) >= 4 * len(names))
        time.sleep(3)
        files = held_files(process.pid)
        before = thread_cpu(process.pid, "sensors")
        time.sleep(SWEEPS)
        ours = (thread_cpu(process.pid, "sensors") - before) / SWEEPS * 1e3
    pids = lab.docker("inspect", "-f", "{{.State.Pid}}", *names).split()
    files += [f"/proc/{pid}/net/dev" for pid in pids]
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/bare.c", "w") as source:
            source.write(BARE_LOOP)
        lab.run("cc", "-O2", "-o", f"{folder}/bare", f"{folder}/bare.c")
        rounds = lab.run(f"{folder}/bare", str(SWEEPS), input="\n".join(files) + "\n").split()
    return ours, statistics.fmean(map(int, rounds)) / 1e6, len(files)


def family(pid):
    """A process and all that descend from it."""
    children = {}
    for stat in glob.glob("/proc/[0-9]*/stat"):
        with contextlib.suppress(OSError), open(stat) as file:
            text = file.read()
            children.setdefault(int(text.rsplit(")", 1)[1].split()[1]), []).append(int(text.split()[0]))
    found, todo = [], [pid]
    while todo:
        found.append(todo.pop())
        todo += children.get(found[-1], [])
    return found


def cost(pid):
    """CPU seconds a minute of (the tool, the engine), and the tool's RSS in MiB. Ended children are in their parents'."""
    def cpu():
        return sum(lab.cpu_of(member) for member in family(pid)) if pid else 0.0

    before = cpu(), lab.engine_cpu()
    time.sleep(SECONDS)
    figures = [(after - start) * 60 / SECONDS for after, start in zip((cpu(), lab.engine_cpu()), before)]
    rss = sum(lab.rss_of(member) for member in family(pid)) if pid else 0.0
    return *figures, rss


@contextlib.contextmanager
def running(*command):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(10)  # what it does once, at its start, is not what is compared
        if process.poll() is not None:
            raise RuntimeError(f"{command[0]} ended with {process.returncode}")
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def charted(port):
    """How many containers that netdata has memory charts of."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/charts") as answer:
        charts = json.load(answer)["charts"]
    return sum(chart.startswith("cgroup_") and chart.endswith(".mem_usage") for chart in charts)


# What netdata does besides machine, disks and cgroups, and need not.
REST = ("apps", "tc", "idlejitter", "charts.d", "node.d", "python.d", "go.d", "ebpf", "perf", "slabinfo", "ioping", "nfacct",
        "xenstat", "freeipmi", "cups", "fping", "statsd", "timex", "enable running new plugins")


@contextlib.contextmanager
def netdata(without=()):
    """As it comes, but each 10 s and of cgroup v1; or `without` some plugins, kept in memory."""
    port = lab.free_port()
    with tempfile.TemporaryDirectory() as folder:
        for name in ("cache", "lib", "log"):
            os.mkdir(f"{folder}/{name}")
        shutil.chown(folder, "root", "root")
        less = "".join(f"    {name} = no\n" for name in without)
        with open(f"{folder}/netdata.conf", "w") as conf:
            conf.write(f"""[global]
    run as user = root
    update every = 10
[db]
    {"mode = ram" if without else ""}
    update every = 10
[directories]
    cache = {folder}/cache
    lib = {folder}/lib
    log = {folder}/log
[web]
    bind to = 127.0.0.1:{port}
[health]
    enabled = {"no" if without else "yes"}
[ml]
    enabled = no
[registry]
    enabled = no
[plugin:cgroups]
    use unified cgroups = no
    check for new cgroups every = 10
[plugins]
{less}""")
        with running("netdata", "-D", "-c", f"{folder}/netdata.conf") as pid:
            # It looks for containers now and then: until it has charts of them all there is nothing to compare.
            lab.wait_for("netdata has charts of the containers", 180, lambda: lab.attempt(lambda: charted(port) >= COUNT or None))
            time.sleep(10)
            yield pid


def compare():
    """The agent at 10 s beside what one would use instead."""
    idle, rows, lean = cost(None)[1], [], None

    def row(label, figures):
        own, engine, rss = figures
        engine = max(engine - idle, 0)
        rows.append((label, f"{own:.3f}", f"{engine:.3f}", f"{own + engine:.3f}", f"{rss:.1f}"))
        return own + engine

    with lab.dockhealth_agent(*OPTIONS, "10s") as (process, _):
        time.sleep(10)
        ours = row("dockhealth agent", cost(process.pid))
    with lab.dockhealth_up(*OPTIONS, "10s") as (process, _):
        time.sleep(10)
        row("dockhealth up", cost(process.pid))
    with running("docker", "stats", "--format", "{{.Name}}") as pid:
        others = [row("docker stats", cost(pid))]
    if shutil.which("netdata"):
        with netdata() as pid:
            others.append(row("netdata, 10 s", cost(pid)))
        with netdata(REST) as pid:
            lean = row("  without what it need not do", cost(pid))
    else:
        print("  netdata is not installed (scripts/setup bench installs it): left out")
    lab.table(("tool", "CPU s/min", "engine s/min, net", "together", "RSS MiB"), rows)
    print(f"  the engine's idle share, {idle:.2f} CPU s/min, is taken off")
    print(f"  ours / the cheaper: {lab.ratio(ours, min(others))} (goal: at most 0.10)")
    if lean:
        print(f"  ours / netdata without its other plugins and without a store on disk: {lab.ratio(ours, lean)}")


with lab.containers(COUNT) as names:
    ours, bare, files = sweep(names)
    print(f"  one sweep of {files} files of {COUNT} containers, CPU ms: dockhealth {ours:.2f} (host included), "
          f"bare loop in C {bare:.2f}: {lab.ratio(ours, bare)} (goal: at most 2)")
    sys.stdout.flush()
    if SECONDS:
        compare()
