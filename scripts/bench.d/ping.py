"""500 addresses x 5 probes, `dockhealth ping` beside `fping`, at equal spacing. Goal: <= 1.0x wall, <= 0.7x CPU."""

import statistics

import lab

ADDRESSES = [f"127.1.{i // 250}.{i % 250 + 1}" for i in range(500)]
ROUNDS = 7
# fping spaces all its packets by -i; 0 leaves only the spacing of one address, as ours.
CONTESTANTS = {
    spacing: {
        "dockhealth": [lab.BINARY, "ping", "--json", "--count", "5", "--spacing", f"{spacing}ms", *ADDRESSES],
        "fping": ["fping", "-q", "-c", "5", "-p", str(spacing), "-i", "0", "-t", "1000", *ADDRESSES],
    }
    for spacing in (100, 20)
}

rows = []
for spacing, commands in CONTESTANTS.items():
    costs = {name: [] for name in commands}
    for _ in range(ROUNDS):  # in turn, so that a busy moment hits both
        for name, command in commands.items():
            costs[name].append(lab.cost_of(command))
    wall, cpu = ({name: statistics.median(c[i] for c in costs[name]) for name in commands} for i in (0, 1))
    for name in commands:
        against = ("", "") if name == "fping" else (lab.ratio(wall[name], wall["fping"]), lab.ratio(cpu[name], cpu["fping"]))
        rows.append((f"{spacing} ms", name, f"{wall[name] * 1e3:.0f}", f"{cpu[name] * 1e3:.1f}", *against))
lab.table(("spacing", "tool", "wall ms", "CPU ms", "wall", "CPU"), rows)
