"""Controllers of a pool, simulated: identical arrivals on hosts of 2, 4 and 16 cores, and the time of a decision. Writes docs/autoscale/."""

# Waiting is until a container takes a request, sojourn until it is done, makespan until the last is done. BENCH_SCALE names another
# build of benches/scale.rs.

import csv
import json
import os
import statistics
import subprocess

import lab

DOCS = os.path.join(os.path.dirname(__file__), "../../docs/autoscale")
CONTROLLERS = ("fixed:5", "francis", "regulator", "hpa", "kpa")
CORES = (2, 4, 16)
SEEDS = range(1, 41)


def simulate(*options):
    return json.loads(lab.run(lab.BINARY, "autoscale", "simulate", "--format", "json", *options))


def cell(trace, cores, *options):
    return simulate("--trace", trace, "--cores", str(cores), "--controller", ",".join(CONTROLLERS), *options)


rows = [row for trace in ("fix", "p4", "p5") for cores in CORES for row in cell(trace, cores)]
with open(f"{DOCS}/figures.csv", "w", newline="") as file:
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
lab.run(lab.BINARY, "autoscale", "simulate", "--trace", "p4", "--cores", "16", "--controller", "francis,fixed:5",
        "--plot", f"{DOCS}/p4.svg", stderr=subprocess.DEVNULL)

shown = [(f"{row['trace']}, {row['cores']} cores", row["controller"], f"{row['mean_wait_s']:.1f}", f"{row['mean_sojourn_s']:.1f}",
          f"{row['p95_sojourn_s']:.1f}", f"{row['makespan_s']:.1f}", f"{row['container_seconds']:.0f}", row["peak"])
         for row in rows]
lab.table(("trace", "controller", "wait s", "sojourn s", "p95 s", "makespan s", "container-s", "peak"), shown)

print("  40 random traces, francis beside fixed:5: median (least to most)")
for cores in CORES:
    pairs = []
    for seed in SEEDS:
        found = {row["controller"]: row for row in cell("random", cores, "--seed", str(seed))}
        pairs.append((found["francis"], found["fixed:5"]))
    words = []
    for name, what in (("mean_sojourn_s", "sojourn"), ("makespan_s", "makespan"), ("container_seconds", "container-s")):
        ratios = [francis[name] / fixed[name] for francis, fixed in pairs]
        words.append(f"{what} {statistics.median(ratios):.2f}x ({min(ratios):.2f} to {max(ratios):.2f})")
    print(f"    {cores} cores: {', '.join(words)}")
print("    goals: 2 cores sojourn <= 0.97x and container-s <= 0.45x; 4 cores sojourn <= 1.02x; 16 cores sojourn <= 0.5x")

polled, at_once = (simulate("--trace", "fix", "--cores", "4", "--controller", "fixed:5", "--dispatch", dispatch)[0]
                   for dispatch in ("slot:12.5", "event"))
print(f"  the original's row without a controller, 134.0 s of waiting reported: polled {polled['mean_wait_s']:.1f} s, "
      f"at once {at_once['mean_wait_s']:.1f} s")

for line in lab.run(lab.helper("scale")).splitlines():
    found = json.loads(line)
    print(f"  a decision of {found['controller']} at 64 containers, us: median {found['median_us']:.1f}, most {found['max_us']:.1f} "
          "(goal: < 1000)")
