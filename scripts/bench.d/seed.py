"""The seed's agent, as its document describes it: docker-py, containers in turn, `ping -c 5`. For comparison.

seed.py INTERVAL NAME...
"""

import re
import subprocess
import sys
import time

import docker

interval, names, threshold = float(sys.argv[1]), sys.argv[2:], 50.0
client = docker.from_env()

while True:
    for name in names:
        try:
            container = client.containers.get(name)
        except docker.errors.NotFound:
            continue
        networks = container.attrs["NetworkSettings"]["Networks"].values()
        address = next((n["IPAddress"] for n in networks if n["IPAddress"]), "")
        if not address:
            container.restart()
            continue
        said = subprocess.run(["ping", "-c", "5", address], capture_output=True, text=True).stdout
        loss = re.search(r"([\d.]+)% packet loss", said)
        if loss is None or float(loss[1]) > threshold:
            container.restart()
    time.sleep(interval)
