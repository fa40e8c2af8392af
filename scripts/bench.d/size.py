"""The binary's size and an idle `dockhealth up`. Goals: binary < 15 MB."""

import os
import time

import lab

with lab.dockhealth_up() as (process, _):
    time.sleep(15)
    before = lab.cpu_of(process.pid)
    time.sleep(30)
    cpu, rss = (lab.cpu_of(process.pid) - before) * 2, lab.rss_of(process.pid)
lab.table(("binary MB", "idle RSS MiB", "idle CPU s/min"), [(f"{os.stat(lab.BINARY).st_size / 1e6:.1f}", f"{rss:.1f}", f"{cpu:.2f}")])
