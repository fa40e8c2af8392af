"""What watching the containers' network costs, and whether an injected delay reads right: iperf3 with and without it.

Goals: median throughput with / without >= 0.97 (TCP) and >= 0.95 (UDP, 64 B); programs attached in < 1 s and the agent's RSS
< 40 MB with 200 containers; a delay within 5 %. BENCH_ROUNDS (15) are interleaved, of BENCH_SECONDS (3) each; beside the two
there are dockhealth without its programs (`--network proc`), and empty programs at the same two tracepoints, below whose cost
none can come. Nanoseconds are the kernel's own statistics, whose switch is turned back. No netem is needed: the delay is a wire
in user space between two containers, which tells what it really took.
"""

import contextlib
import ctypes
import fcntl
import heapq
import json
import os
import re
import select
import statistics
import struct
import subprocess
import threading
import time
import urllib.request

import lab

ROUNDS, SECONDS = int(os.environ.get("BENCH_ROUNDS", "15")), int(os.environ.get("BENCH_SECONDS", "3"))
COUNT = int(os.environ.get("BENCH_CONTAINERS", "200"))
DELAY = 0.010
STATS = "/proc/sys/kernel/bpf_stats_enabled"
LOADS = {"TCP": [], "UDP 64 B": ["-u", "-b", "0", "-l", "64"]}


def pid_of(name):
    return int(lab.docker("inspect", "--format", "{{.State.Pid}}", name))


def address_of(name):
    return lab.docker("inspect", "--format", "{{.NetworkSettings.IPAddress}}", name)


def within(pid, *command):
    return ("nsenter", "-t", str(pid), "-n", *command)


def iperf(client, server, address, options):
    """What arrived, bits/s, and packets that the sender sent."""
    daemon = subprocess.Popen(within(server, "iperf3", "-s", "-1", "-B", address), stdout=subprocess.DEVNULL)
    command = within(client, "iperf3", "-c", address, "-J", "-t", str(SECONDS), *options)
    result = None

    def tried():
        nonlocal result
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        result = json.loads(answer.stdout)
        return "error" not in result

    try:
        lab.wait_for("iperf3 runs", 30, tried)
    finally:
        daemon.kill()
        daemon.wait()
    end = result["end"]
    if "sum" in end and "packets" in end["sum"]:
        sent = end["sum"]["packets"]
        return end["sum"]["bits_per_second"] * (1 - end["sum"]["lost_percent"] / 100), sent
    return end["sum_received"]["bits_per_second"], None


def capability(call):
    hosts = call("GET", "/hosts")
    all_of = [one for host in hosts for one in (host.get("agent") or {}).get("capabilities", [])]
    return next((one["detail"] for one in all_of if one["name"] == "network"), None)


@contextlib.contextmanager
def watching():
    """`dockhealth up` once it measures by tracepoints."""
    with lab.dockhealth_up() as (process, call):
        lab.wait_for("it measures", 30, lambda: capability(call))
        if not capability(call).startswith("tracepoints"):
            raise SystemExit(f"no tracepoints here: {capability(call)}")
        yield process, call


def programs(pid):
    """By its id, (nanoseconds, runs) of each program of the process."""
    found = {}
    for name in os.listdir(f"/proc/{pid}/fdinfo"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/fdinfo/{name}") as file:
            fields = dict(line.split(":", 1) for line in file.read().splitlines() if ":" in line)
            if "run_cnt" in fields and "prog_id" in fields:
                found[int(fields["prog_id"])] = int(fields["run_time_ns"]), int(fields["run_cnt"])
    return found


def table_bytes(pid):
    total = 0
    for name in os.listdir(f"/proc/{pid}/fdinfo"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/fdinfo/{name}") as file:
            text = file.read()
            if "map_type:" in text and (found := re.search(r"memlock:\s+(\d+)", text)):
                total += int(found[1])
    return total


@contextlib.contextmanager
def empty_programs():
    """One that returns at once at each of the two tracepoints that every packet passes."""
    libc = ctypes.CDLL(None, use_errno=True)
    number = {"x86_64": 321, "aarch64": 280, "armv7l": 386}[os.uname().machine]

    def bpf(command, *fields):
        attributes = ctypes.create_string_buffer(struct.pack("=" + fields[0], *fields[1:]), 128)
        if (file := libc.syscall(number, command, attributes, 128)) < 0:
            raise OSError(ctypes.get_errno(), "bpf")
        return file

    def address_of_bytes(data):
        kept.append(ctypes.create_string_buffer(data))
        return ctypes.addressof(kept[-1])

    kept, files = [], []
    # r0 = 0; exit
    instructions = address_of_bytes(bytes([0xB7, *bytes(7), 0x95, *bytes(7)]))
    try:
        for tracepoint in (b"net_dev_queue", b"netif_receive_skb"):
            # BPF_PROG_LOAD of BPF_PROG_TYPE_RAW_TRACEPOINT, BPF_RAW_TRACEPOINT_OPEN
            files.append(bpf(5, "IIQQ", 17, 2, instructions, address_of_bytes(b"GPL")))
            files.append(bpf(17, "QI", address_of_bytes(tracepoint), files[-1]))
        yield
    finally:
        for file in files:
            os.close(file)


def throughput(first, second):
    client, server, address = pid_of(first), pid_of(second), address_of(second)
    ways = {
        "watched": watching,
        "proc": lambda: lab.dockhealth_up("--network", "proc"),
        "empty": empty_programs,
        "alone": contextlib.nullcontext,
    }
    got = {(load, way): [] for load in LOADS for way in ways}
    for number in range(ROUNDS):
        # Whichever is first in a round has the machine as the round before left it.
        turn = number % len(ways)
        for way in [*ways][turn:] + [*ways][:turn]:
            with ways[way]():
                # What a process does once, at its start, is not what is compared; and the machine rests before each alike.
                time.sleep(4)
                for load, options in LOADS.items():
                    got[load, way].append(iperf(client, server, address, options)[0])
    rows = []
    for load in LOADS:
        medians = [statistics.median(got[load, way]) / 1e6 for way in ways]
        *others, alone = medians
        rows.append((load, *(f"{one:.0f}" for one in medians), *(lab.ratio(one, alone) for one in others), ROUNDS))
    names = ("watched", "proc", "empty programs")
    lab.table(("iperf3, Mbit/s", *names, "alone", *(f"{name} / alone" for name in names), "rounds"), rows)


def nanoseconds(first, second):
    with open(STATS) as file:
        switch = file.read()
    client, server, address = pid_of(first), pid_of(second), address_of(second)
    rows = []
    try:
        with open(STATS, "w") as file:
            file.write("1")
        with watching() as (process, _):
            before = programs(process.pid)
            _, sent = iperf(client, server, address, LOADS["UDP 64 B"])
            after = programs(process.pid)
    finally:
        with open(STATS, "w") as file:
            file.write(switch)
    spent = 0
    for one, (ns, runs) in sorted(after.items()):
        ns, runs = ns - before[one][0], runs - before[one][1]
        spent += ns
        if runs > sent / 10:
            rows.append((f"program {one}", runs, f"{ns / runs:.0f}"))
    rows.append(("all, a packet sent and received", sent, f"{spent / sent:.0f}"))
    lab.table(("UDP 64 B", "runs", "ns each"), rows)


def many():
    with lab.containers(COUNT), lab.dockhealth_agent("--network", "auto") as (agent, call):
        lab.wait_for("it measures", 60, lambda: capability(call))
        took = re.search(r"(\d+) ms", capability(call))[1]
        time.sleep(30)
        print(f"  {COUNT} containers: attached in {took} ms; agent's RSS {lab.rss_of(agent.pid):.1f} MiB; "
              f"the kernel's tables {table_bytes(agent.pid) / 2**20:.1f} MiB")


class Wire(threading.Thread):
    """Two TAP devices in two network namespaces; a frame that goes into one comes out of the other after a while."""

    def __init__(self, pids, delay):
        super().__init__(daemon=True)
        self.delay, self.took, self.ended = delay, [], threading.Event()
        self.taps = [self.tap(pid) for pid in pids]

    @staticmethod
    def tap(pid):
        libc = ctypes.CDLL(None, use_errno=True)
        with open("/proc/thread-self/ns/net") as home, open(f"/proc/{pid}/ns/net") as there:
            if libc.setns(there.fileno(), 0x40000000):
                raise OSError(ctypes.get_errno(), "setns")
            try:
                tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
                # TUNSETIFF with IFF_TAP | IFF_NO_PI
                fcntl.ioctl(tap, 0x400454CA, struct.pack("16sH", b"wire0", 0x1002) + bytes(22))
            finally:
                libc.setns(home.fileno(), 0x40000000)
        return tap

    def run(self):
        waiting, number = [], 0
        while not self.ended.is_set():
            pause = max(0, waiting[0][0] - time.monotonic()) if waiting else 0.05
            for tap in select.select(self.taps, [], [], min(pause, 0.05))[0]:
                frame, now = os.read(tap, 65536), time.monotonic()
                number += 1
                heapq.heappush(waiting, (now + self.delay, number, now, self.taps[tap == self.taps[0]], frame))
            while waiting and waiting[0][0] <= time.monotonic():
                _, _, came, tap, frame = heapq.heappop(waiting)
                with contextlib.suppress(OSError):
                    os.write(tap, frame)
                self.took.append(time.monotonic() - came)


def delayed(first, second):
    pids = [pid_of(first), pid_of(second)]
    wire = Wire(pids, DELAY)
    for number, pid in enumerate(pids, 1):
        lab.run(*within(pid, "ip", "address", "add", f"10.213.7.{number}/24", "dev", "wire0"))
        lab.run(*within(pid, "ip", "link", "set", "wire0", "up"))
    wire.start()
    with watching() as (_, call):
        lab.run(*within(pids[0], "ping", "-q", "-i", "0.01", "-c", "2500", "10.213.7.2"))

        def told():
            request = urllib.request.Request(f"{call.base}/metrics", headers=call.login())
            with urllib.request.urlopen(request, timeout=10) as answer:
                text = answer.read().decode()
            name = "dockhealth_container_net_latency_mean_seconds"
            return re.search(rf'^{name}{{[^}}]*container="{second}"[^}}]*}} (\S+)', text, re.M)

        read = float(lab.wait_for("the latency is told", 30, told)[1]) * 1e6
    wire.ended.set()
    wire.join()
    real = statistics.mean(wire.took) * 1e6
    print(f"  a delay of {DELAY * 1e3:.0f} ms, which took {real / 1e3:.2f} ms, reads {read / 1e3:.2f} ms: "
          f"{(read / real - 1) * 100:+.1f} %")


with lab.containers(2) as (one, other):
    throughput(one, other)
    nanoseconds(one, other)
    delayed(one, other)
many()
