"""A pool on a real engine: the seed's experiment, an I/O-bound task, and the proxy beside nginx.

Goals, on two cores: francis no slower than five fixed containers on identical arrivals, with at least 50 % fewer
container-seconds; at least 2x faster than they on an I/O-bound task; the proxy at least 0.5x nginx's requests per second at
most 2x its p99. Arrivals and work of the trace are compressed alike, so that it takes minutes.
"""

import contextlib
import json
import os
import re
import subprocess
import tempfile
import threading
import time
import urllib.request

import lab

TRACE = os.environ.get("BENCH_TRACE", "p4")
SCALE = float(os.environ.get("BENCH_SCALE", "10"))
SECONDS = int(os.environ.get("BENCH_PROXY_SECONDS", "10"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
IMAGE = f"{lab.PREFIX}-self:1"
CORES = os.cpu_count()


@contextlib.contextmanager
def image():
    """The program under test, from scratch."""
    with tempfile.TemporaryDirectory() as folder:
        lab.run("strip", "-o", f"{folder}/dockhealth", lab.BINARY)
        tar = subprocess.Popen(["tar", "-C", folder, "-c", "."], stdout=subprocess.PIPE)
        subprocess.run(["docker", "import", "--change", 'ENTRYPOINT ["/dockhealth"]', "-", IMAGE],
                       stdin=tar.stdout, check=True, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        lab.docker("image", "rm", "-f", IMAGE, check=False)


def status(admin):
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/status", timeout=10) as answer:
        return json.load(answer)


@contextlib.contextmanager
def pool(*options):
    """A pool; gives the ports of its proxy and of what it tells of itself. Its containers are removed in the end."""
    name, port, admin = f"{lab.PREFIX}-pool", lab.free_port(), lab.free_port()
    command = [lab.BINARY, "autoscale", "run", "--name", name, "--image", IMAGE, "--listen", f"127.0.0.1:{port}", "--admin",
               f"127.0.0.1:{admin}", "--log-level", "warn", *options, "--", "dummy", "--serve", "0.0.0.0:80", "--every", "1d"]
    with tempfile.TemporaryDirectory() as folder:
        try:
            with lab.process(f"{folder}/log", *command):
                lab.wait_for("the pool is ready", 60, lambda: lab.attempt(lambda: status(admin)) and
                             status(admin)["counts"]["ready"] == status(admin)["wanted"] > 0)
                yield port, admin
        finally:
            lab.run(lab.BINARY, "autoscale", "reset", "--name", name)


class Meter(threading.Thread):
    """Adds up container-seconds as the engine sees them, by looking five times a second."""

    def __init__(self, admin):
        super().__init__(daemon=True)
        self.admin, self.seconds, self.peak, self.over = admin, 0.0, 0, threading.Event()

    def run(self):
        last = time.monotonic()
        while not self.over.wait(0.2):
            counts, now = status(self.admin)["counts"], time.monotonic()
            here = counts["starting"] + counts["ready"] + counts["draining"]
            self.seconds, self.peak, last = self.seconds + here * (now - last), max(self.peak, here), now


def experiment(controller, work, service):
    """One controller on the arrivals; gives what `load` reports, container-seconds and peak."""
    # The period is compressed with the rest: what is told in periods then is the same in both.
    period = f"{max(100, round(2000 / SCALE))}ms"
    guesses = ("--service-guess", f"{round(5000 / SCALE)}ms", "--boot-guess", "500ms")
    with pool("--controller", controller, "--period", period, *guesses) as (port, admin):
        meter = Meter(admin)
        meter.start()
        told = lab.run(lab.BINARY, "autoscale", "load", "--target", f"http://127.0.0.1:{port}", "--trace", TRACE, "--work", work,
                       "--service", service, "--scale-time", f"{SCALE:g}", "--json", check=False)
        meter.over.set()
        meter.join()
        return json.loads(told), meter


def compare(what, work, service, controllers):
    print(f"\n  {what}: {TRACE}, {service} a request, all {SCALE:g}x faster, {CORES} cores")
    measured = {controller: experiment(controller, work, service) for controller in controllers}
    _, (base, base_meter) = list(measured.items())[-1]
    rows = []
    for controller, (figures, meter) in measured.items():
        rows.append((controller, figures["answered"], figures["lost"] + figures["failed"] + figures["refused"],
                     *(f"{figures[key]:.2f} s" for key in ("mean_wait_s", "mean_sojourn_s", "p95_sojourn_s", "makespan_s")),
                     f"{meter.seconds:.1f}", meter.peak, lab.ratio(figures["mean_sojourn_s"], base["mean_sojourn_s"]),
                     lab.ratio(meter.seconds, base_meter.seconds)))
    lab.table(("", "answered", "not", "wait", "sojourn", "p95", "makespan", "container-s", "peak", "sojourn of fixed",
               "container-s of fixed"), rows)


def wrk(port, path):
    """Requests per second and p99 in milliseconds."""
    told = lab.run("wrk", "-t", "1", "-c", "32", "-d", f"{SECONDS}s", "--latency", f"http://127.0.0.1:{port}{path}")
    unit = {"us": 1e-3, "ms": 1.0, "s": 1e3}
    number, name = re.search(r"99%\s+([\d.]+)(us|ms|s)", told).groups()
    errors = re.search(r"Non-2xx or 3xx responses: (\d+)", told)
    assert not errors, told
    return float(re.search(r"Requests/sec:\s+([\d.]+)", told)[1]), float(number) * unit[name]


NGINX = """
worker_processes {workers};
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    upstream pool {{ {servers} keepalive 64; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://pool; proxy_http_version 1.1; proxy_set_header Connection ""; }}
    }}
}}
"""


@contextlib.contextmanager
def nginx(addresses):
    """nginx before the same containers, with connections that are kept; gives its port."""
    with tempfile.TemporaryDirectory() as folder:
        port = lab.free_port()
        servers = " ".join(f"server {address};" for address in addresses)
        with open(f"{folder}/nginx.conf", "w") as file:
            file.write(NGINX.format(folder=folder, workers=CORES, servers=servers, port=port))
        with lab.process(f"{folder}/log", "nginx", "-c", f"{folder}/nginx.conf", "-g", "daemon off;"):
            lab.wait_for("nginx listens", 10, lambda: lab.listens(port))
            yield port


def proxies():
    """Both proxies before the same two containers, in turn; medians."""
    print(f"\n  proxies before two containers that answer at once; wrk, 32 connections, {SECONDS} s, {ROUNDS} rounds in turn")
    ours, theirs = [], []
    with pool("--controller", "fixed:2", "--concurrency", "64") as (port, admin):
        addresses = [container["address"] for container in status(admin)["containers"]]
        with nginx(addresses) as other:
            for _ in range(ROUNDS):
                ours.append(wrk(port, "/"))
                theirs.append(wrk(other, "/"))
    median = [sorted(column)[ROUNDS // 2] for column in zip(*ours)], [sorted(column)[ROUNDS // 2] for column in zip(*theirs)]
    (rps, p99), (base_rps, base_p99) = median
    lab.table(("", "requests/s", "of nginx", "p99", "of nginx"), [
        ("dockhealth", f"{rps:.0f}", lab.ratio(rps, base_rps), f"{p99:.2f} ms", lab.ratio(p99, base_p99)),
        ("nginx", f"{base_rps:.0f}", "", f"{base_p99:.2f} ms", ""),
    ])


with image():
    compare("the seed's experiment", "compute", "13s", ("francis", "fixed:5"))
    compare("an I/O-bound task", "wait", "13s", ("francis", "fixed:5"))
    proxies()
