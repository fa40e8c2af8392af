"""Seconds until a container runs again, by the engine's own time stamps, beside what one would use instead.

crash: its main process is killed. stop: `docker stop`. loss: all ICMP to it is dropped. All at a 10 s interval; dockhealth
with both its detectors. Goal: at 100 % loss sprt orders the restart within 3 s and in at most half the time of fixed.
"""

import contextlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

import lab

CONTAINERS, GIVE_UP = int(os.environ.get("BENCH_CONTAINERS", "10")), 120
FAULTS = ("crash", "stop", "loss")
# A lossy container at a time: several at once are an outage of the network, which a breaker leaves alone.
GAP = {"crash": 1.3, "stop": 1.3, "loss": 7.7}


def hurt(fault, name, engine):
    """Injects it; gives when the container was last well."""
    state = engine.inspect(name)["State"]
    if fault == "loss":
        rules = "add table inet dhbench; add chain inet dhbench in { type filter hook input priority 0; };" \
                "add rule inet dhbench in meta l4proto icmp drop"
        lab.run("nsenter", "-t", str(state["Pid"]), "-n", "nft", rules)
        return time.time()
    if fault == "crash":
        os.kill(state["Pid"], signal.SIGKILL)
    else:
        lab.docker("stop", "-t", "0", name)
    return None


def measure(fault, names):
    """Hurts every container once; gives the seconds each took to run again, None for never, and when each was hurt."""
    engine, rng = lab.Engine(), random.Random(7)
    started = {name: engine.inspect(name)["State"]["StartedAt"] for name in names}
    hurt_at = {}
    time.sleep(rng.uniform(3, 13))  # at no particular moment of anybody's interval
    for name in names:
        hurt_at[name] = hurt(fault, name, engine)
        time.sleep(rng.uniform(0.5, 1.5) * GAP[fault])
    times, end = {}, time.monotonic() + GIVE_UP
    while len(times) < len(names) and time.monotonic() < end:
        for name in set(names) - set(times):
            state = engine.inspect(name)["State"]
            if state["Running"] and state["StartedAt"] != started[name]:
                since = hurt_at[name] or lab.instant(state["FinishedAt"])
                times[name] = lab.instant(state["StartedAt"]) - since
        time.sleep(0.1)
    return [times.get(name) for name in names], hurt_at


@contextlib.contextmanager
def dockhealth(names, _fault, detector="fixed"):
    brakes = ("--host-budget", "1000/10m", "--grace", "1s", "--backoff", "1s")
    with lab.dockhealth_up("--interval", "10s", "--detector", detector, *brakes) as (_, call):
        lab.monitor(call, names)
        yield call


def sprt(names, fault):
    return dockhealth(names, fault, "sprt")


def ordered(call, hurt_at):
    """Seconds from the beginning of the loss until the restart was ordered, by dockhealth's own events."""
    said = {name: call("GET", f"/events?limit=10&container={name}&kind=container_failing") for name in hurt_at}
    return [lab.instant(events[0]["time"]) - hurt_at[name] for name, events in said.items() if events]


@contextlib.contextmanager
def seed(names, _fault):
    program = os.path.join(os.path.dirname(__file__), "seed.py")
    process = subprocess.Popen([sys.executable, program, "10", *names])
    try:
        yield
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def monit(names, fault):
    """Watches for this fault alone: its checks run one after the other, and pings that time out would delay the rest."""
    engine = lab.Engine()
    with tempfile.TemporaryDirectory() as folder:
        lines = ["set daemon 10", f"set logfile {folder}/log", f"set idfile {folder}/id",
                 f"set statefile {folder}/state", f"set pidfile {folder}/pid"]
        docker = lab.run("sh", "-c", "command -v docker")
        for name in names:
            with open(f"{folder}/{name}", "w") as check:
                check.write(f"#!/bin/sh\n[ \"$({docker} inspect -f '{{{{.State.Running}}}}' {name})\" = true ]\n")
            os.chmod(f"{folder}/{name}", 0o755)
            address = next(iter(engine.inspect(name)["NetworkSettings"]["Networks"].values()))["IPAddress"]
            if fault == "loss":
                lines += [f"check host {name} with address {address}",
                          f"  if failed ping count 5 with timeout 1 seconds then exec \"{docker} restart -t 0 {name}\""]
            else:
                lines += [f"check program {name} with path {folder}/{name}",
                          f"  if status != 0 then exec \"{docker} start {name}\""]
        config = f"{folder}/monitrc"
        with open(config, "w") as file:
            file.write("\n".join(lines) + "\n")
        os.chmod(config, 0o600)
        process = subprocess.Popen(["monit", "-I", "-c", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            time.sleep(25)  # its first cycles only learn that all is well
            yield
        finally:
            process.terminate()
            process.wait(timeout=30)


# What tells autoheal's loop of loss: it acts on HEALTHCHECKs alone.
HEALTHCHECK = ("--health-cmd", "ping -c 1 -W 1 $(ip route | awk '/default/ {print $3}')", "--health-interval", "10s")


@contextlib.contextmanager
def autoheal(_names, _fault):
    """Its loop: every 5 s what the engine calls unhealthy is restarted."""
    ended, engine = threading.Event(), lab.Engine()
    filters = urllib.parse.quote(json.dumps({"health": ["unhealthy"], "name": [lab.PREFIX]}))

    def loop():
        while not ended.wait(5):
            engine.request("GET", f"/containers/json?filters={filters}")
            for container in json.load(engine.getresponse()):
                engine.request("POST", f"/containers/{container['Id']}/restart?t=10")
                engine.getresponse().read()

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextlib.contextmanager
def nobody(_names, _fault):
    yield


def floor(names):
    """The engine's own start and restart, asked at once: nobody can be faster."""
    times = {fault: [] for fault in FAULTS}
    engine = lab.Engine()
    for name in names:
        os.kill(engine.inspect(name)["State"]["Pid"], signal.SIGKILL)
        lab.wait_for("it died", 10, lambda name=name: not engine.inspect(name)["State"]["Running"])
        since = time.time()
        lab.docker("start", name)
        times["crash"].append(lab.instant(engine.inspect(name)["State"]["StartedAt"]) - since)
        since = time.time()
        lab.docker("restart", "-t", "0", name)
        times["loss"].append(lab.instant(engine.inspect(name)["State"]["StartedAt"]) - since)
    times["stop"] = times["crash"]
    return times


CONTESTANTS = [("dockhealth up", dockhealth, ()), ("dockhealth up, sprt", sprt, ()), ("Docker restart: always", nobody, ("--restart", "always")),
               ("autoheal's loop, HEALTHCHECK 10 s", autoheal, HEALTHCHECK), ("monit", monit, ()),
               ("the seed's design", seed, ())]
rows, orders = [], {}
with lab.containers(CONTAINERS) as names:
    times = floor(names)
    rows.append(("floor: docker start, restart", *(lab.spread(times[fault]) for fault in FAULTS)))
for label, contestant, options in CONTESTANTS:
    # These are known never to act on some: no need to wait for that ten times over. Nor do detectors of loss differ in what
    # is no loss.
    never = "never (by design)"
    skipped = {nobody: dict.fromkeys(("stop", "loss"), never), autoheal: dict.fromkeys(("crash", "stop"), never), sprt: dict.fromkeys(("crash", "stop"), "as above")}
    row = [label]
    for fault in FAULTS:
        if fault in skipped.get(contestant, {}):
            row.append(skipped[contestant][fault])
            continue
        with lab.containers(CONTAINERS, *options) as names, contestant(names, fault) as call:
            times, hurt_at = measure(fault, names)
            row.append(lab.spread(times))
            if call and fault == "loss":
                orders[label] = ordered(call, hurt_at)
            print(f"{label}, {fault}: {row[-1]} s", file=sys.stderr)
    rows.append(tuple(row))
lab.table(("median / max, seconds", *FAULTS), rows)
fixed, sequential = (orders[label] for label in ("dockhealth up", "dockhealth up, sprt"))
print(f"  restart ordered after 100 % loss, seconds: fixed {lab.spread(fixed)}, sprt {lab.spread(sequential)}:",
      lab.ratio(statistics.median(sequential), statistics.median(fixed)), "(goals: <= 0.5x, sprt at most 3)")
