"""Both detectors of packet loss, simulated: time to detect, and false restarts a year. Writes docs/detection/."""

# BENCH_DETECTION_TRIALS (1000) times to detect a cell, BENCH_DETECTION_SECONDS (20) of computing for each rate of false restarts:
# about 20 minutes. BENCH_DETECTION names another build of benches/detection.rs.

import csv
import json
import math
import os
import statistics
import subprocess
import sys

import lab

TRIALS = os.environ.get("BENCH_DETECTION_TRIALS", "1000")
SECONDS = os.environ.get("BENCH_DETECTION_SECONDS", "20")
DOCS = os.path.join(os.path.dirname(__file__), "../../docs")
FOLDER = f"{DOCS}/detection"
COLOURS = {"fixed": "#555", "sprt, 1 s": "#c33", "sprt, 2 s": "#d80", "sprt, 5 s": "#283", "sprt, 10 s": "#25b"}
FOUND, FALSE = (60, 80, 100), (1, 5, 10, 30)


def simulate():
    cells = []
    with subprocess.Popen([lab.helper("detection"), TRIALS, SECONDS], stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            cells.append(json.loads(line))
            print(line, end="", file=sys.stderr)
    if process.returncode:
        sys.exit("the simulation failed")
    return cells


def name(cell):
    return cell["detector"] if cell["min_evidence_s"] is None else f"{cell['detector']}, {cell['min_evidence_s']:g} s"


def model(cell):
    return cell["mean_burst_s"] or 0


def model_name(burst):
    return f"bursts of {burst:g} s" if burst else "independent"


def poisson_limits(count):
    """The 95 % confidence limits of a count, by Wilson and Hilferty's approximation of the chi-squared distribution."""
    def quantile(p, freedom):
        z = statistics.NormalDist().inv_cdf(p)
        return freedom * (1 - 2 / (9 * freedom) + z * math.sqrt(2 / (9 * freedom))) ** 3
    if count == 0:
        return 0.0, -math.log(0.05)
    return quantile(0.025, 2 * count) / 2, quantile(0.975, 2 * count + 2) / 2


def rate(cell):
    """False restarts a year: (best guess, lower, upper)."""
    low, high = poisson_limits(cell["restarts"])
    return cell["restarts"] / cell["years"], low / cell["years"], high / cell["years"]


def figure(value):
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 0.001 else f"{value:.0e}"


def words(cell):
    best, low, high = rate(cell)
    if cell["restarts"] == 0:
        return f"none in {figure(cell['years'])} years (< {figure(high)})"
    return f"{figure(best)} ({figure(low)} to {figure(high)})"


def exact_fixed(loss):
    """Of independent loss: a check of 5 and one of 20 must both fail at 50 %."""
    def tail(n, k):
        return sum(math.comb(n, i) * loss**i * (1 - loss)**(n - i) for i in range(k, n + 1))
    return tail(5, 3) * tail(20, 11) * 365.25 * 8640


def bound_sprt(loss, sound=0.5, lossy=0.7, span=1.0, allowed=0.001):
    """Wald's bound for independent loss below the threshold: exp(-h A) a decision, h the root of E[exp(h score)] = 1."""
    lost, answered = math.log(lossy / sound), math.log((1 - lossy) / (1 - sound))
    decisions = 365.25 * 86400 / span
    low, high = 0.5, 1000.0
    for _ in range(200):
        h = (low + high) / 2
        grows = math.log(loss) + h * lost > 0 or loss * math.exp(h * lost) + (1 - loss) * math.exp(h * answered) > 1
        low, high = (low, h) if grows else (h, high)
    exponent = math.log10(decisions) - high * math.log(decisions / allowed) / math.log(10)
    return f"1e{math.floor(exponent)}"


def markdown(head, rows):
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in [head, *rows]]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def write_csv(path, cells):
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(cells[0]), lineterminator="\n")
        writer.writeheader()
        for cell in cells:
            writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in cell.items()})


class Svg:
    def __init__(self, width, height):
        self.size, self.parts = (width, height), []

    def add(self, part):
        self.parts.append(part)

    def text(self, x, y, text, anchor="middle", size=11, colour="#222"):
        self.add(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}">{text}</text>')

    def line(self, x1, y1, x2, y2, colour="#ccc", width=1.0):
        self.add(f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="{colour}" stroke-width="{width}"/>')

    def write(self, path):
        width, height = self.size
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">'
        with open(path, "w") as file:
            file.write("\n".join([head, f'<rect width="{width}" height="{height}" fill="#fff"/>', *self.parts, "</svg>\n"]))


def legend(svg, x, y):
    for label, colour in COLOURS.items():
        svg.line(x, y - 4, x + 18, y - 4, colour, 3)
        svg.text(x + 23, y, label, "start")
        x += 100


def plot_detect(cells):
    """Median as a bar, the 95th percentile as a mark, seconds on a logarithmic scale."""
    models = sorted({model(cell) for cell in cells})
    svg, panel, height, top = Svg(40 + 190 * len(models), 290), 190, 200, 40
    low, high = math.log10(1), math.log10(300)

    def y(value):
        return top + height * (1 - (math.log10(min(max(value, 1), 300)) - low) / (high - low))

    legend(svg, 50, 18)
    for place, burst in enumerate(models):
        left = 40 + place * panel
        svg.text(left + panel / 2, top + height + 40, model_name(burst))
        for tick in (1, 3, 10, 30, 100, 300):
            svg.line(left, y(tick), left + panel - 12, y(tick))
            if place == 0:
                svg.text(left - 6, y(tick) + 4, f"{tick} s", "end")
        for group, percent in enumerate(FOUND):
            middle = left + 30 + group * 58
            svg.text(middle, top + height + 18, f"{percent} %")
            for bar, label in enumerate(COLOURS):
                found = [c for c in cells if model(c) == (burst if percent < 100 else 0) and name(c) == label
                         and c["loss_percent"] == percent]
                if not found or found[0]["found"] == 0:
                    continue
                x, cell = middle - 25 + bar * 10, found[0]
                svg.add(f'<rect x="{x:.1f}" y="{y(cell["p50_s"]):.1f}" width="8" '
                        f'height="{top + height - y(cell["p50_s"]):.1f}" fill="{COLOURS[label]}"/>')
                svg.line(x, y(cell["p95_s"]), x + 8, y(cell["p95_s"]), COLOURS[label], 2)
    svg.write(f"{FOLDER}/detect.svg")


def plot_false(cells):
    """Rates on a logarithmic scale; hollow where none was seen, at the upper limit."""
    models = sorted({model(cell) for cell in cells})
    svg, panel, height, top = Svg(50 + 190 * len(models), 290), 190, 200, 40
    low, high = -2, 7

    def y(value):
        return top + height * (1 - (min(max(math.log10(value), low), high) - low) / (high - low))

    legend(svg, 50, 18)
    for place, burst in enumerate(models):
        left = 50 + place * panel
        svg.text(left + panel / 2, top + height + 40, model_name(burst))
        for power in range(low, high + 1):
            svg.line(left, y(10.0**power), left + panel - 12, y(10.0**power))
            if place == 0:
                svg.text(left - 6, y(10.0**power) + 4, f"1e{power}", "end", 10)
        for step, percent in enumerate(FALSE):
            svg.text(left + 22 + step * 45, top + height + 18, f"{percent} %")
        for label, colour in COLOURS.items():
            points = []
            for step, percent in enumerate(FALSE):
                cell = next(c for c in cells if model(c) == burst and name(c) == label and c["loss_percent"] == percent)
                best, _, limit = rate(cell)
                points.append((left + 22 + step * 45, y(best or limit), best > 0))
            for (x1, y1, seen), (x2, y2, seen_too) in zip(points, points[1:]):
                if seen and seen_too:
                    svg.line(x1, y1, x2, y2, colour, 1.5)
            for x, level, seen in points:
                svg.add(f'<circle cx="{x:.1f}" cy="{level:.1f}" r="3.2" stroke="{colour}" fill="{colour if seen else "#fff"}"/>')
    svg.write(f"{FOLDER}/false.svg")


def tables(found, false):
    labels, models = list(COLOURS), sorted({model(cell) for cell in false})

    def cell_of(cells, burst, label, percent):
        return next(c for c in cells if model(c) == burst and name(c) == label and c["loss_percent"] == percent)

    def took(burst, label, percent):
        cell = cell_of(found, burst if percent < 100 else 0, label, percent)
        missed = f", {cell['trials'] - cell['found']} never" if cell["found"] < cell["trials"] else ""
        return f"{cell['p50_s']:.1f} / {cell['p95_s']:.1f} / {cell['max_s']:.1f}{missed}" if cell["found"] else "never"

    detect = markdown(("Seconds, p50 / p95 / max", "loss", *labels),
                      [(model_name(burst), f"{percent} %", *(took(burst, label, percent) for label in labels))
                       for burst in models for percent in FOUND if percent < 100 or not burst])
    rates = markdown(("False restarts a year", "loss", *labels),
                     [(model_name(burst), f"{percent} %", *(words(cell_of(false, burst, label, percent)) for label in labels))
                      for burst in models for percent in FALSE])
    theory = markdown(("Independent loss", "fixed, exactly", "sprt, at most"),
                      [(f"{p} %", figure(exact_fixed(p / 100)), bound_sprt(p / 100)) for p in FALSE])
    cost = markdown(("Probes a second", "loss", "fixed", "sprt, 1 s"),
                    [(model_name(burst), f"{percent} %",
                      *(f"{cell_of(false, burst, label, percent)['probes_per_second']:.1f}" for label in labels[:2]))
                     for burst in (0, models[-1]) for percent in FALSE])
    return "\n\n".join((detect, rates, theory, cost))


def paste(text):
    """Into docs/detection.md, between its marks."""
    with open(f"{DOCS}/detection.md") as file:
        before, rest = file.read().split("<!-- simulated: begin -->")
    after = rest.split("<!-- simulated: end -->")[1]
    with open(f"{DOCS}/detection.md", "w") as file:
        file.write(f"{before}<!-- simulated: begin -->\n\n{text}\n\n<!-- simulated: end -->{after}")


cells = sorted(simulate(), key=lambda cell: (model(cell), cell["loss_percent"], list(COLOURS).index(name(cell))))
found, false = ([cell for cell in cells if cell["what"] == what] for what in ("detect", "false"))
os.makedirs(FOLDER, exist_ok=True)
write_csv(f"{FOLDER}/detect.csv", found)
write_csv(f"{FOLDER}/false.csv", false)
plot_detect(found)
plot_false(false)
paste(tables(found, false))
fixed, sprt = (next(c for c in found if c["loss_percent"] == 100 and name(c) == label) for label in ("fixed", "sprt, 1 s"))
print(f"  100 % loss, seconds until the restart is ordered, median / max: fixed {fixed['p50_s']:.1f} / {fixed['max_s']:.1f},",
      f"sprt {sprt['p50_s']:.1f} / {sprt['max_s']:.1f}: {lab.ratio(sprt['p50_s'], fixed['p50_s'])} (goals: <= 0.5x, at most 3)")
