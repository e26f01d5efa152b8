#!/usr/bin/env python3
"""Draws docs/dashboard.svg: the dashboard's panels, from its own expressions over a simulated week.

    draw.py WEEK PROMTOOL

WEEK is what tests/simulation/week.rs writes. Prometheus' engine, in promtool, evaluates the expressions and the chart's
alerts. Grafana has no part in it, so this draws its kinds of panels, as far as the dashboard has them. It fails where a
panel would be empty. Memory and CPU are left out: a simulated week takes none.
"""

import json
import math
import re
import subprocess
import sys
import tempfile
from datetime import datetime, timezone
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD = ROOT / "charts/edge-credential-operator/monitoring/dashboard.json"
RULES = ROOT / "tests/chart/alerts/rules.json"
# The label that these rules are for.
JOB = "operators/edge-edge-credential-operator"

SCRAPED = 240
HOUR = 3600
WEEK = 7 * 24 * HOUR

COLUMN, LINE, GAP = 46, 34, 8
SHADES = ["#FF9830", "#FFCB7D", "#B35A00"]
PALETTE = ["#73BF69", "#F2CC0C", "#8AB8FF", "#FF780A", "#F2495C", "#B877D9"]
COLORS = {"green": "#73BF69", "orange": "#FF9830", "red": "#F2495C", "purple": "#B877D9", "text": "#CCCCDC"}
DIM = "#9A9DA6"
LINES = "#2C3036"


# What the operator said.


def read(week):
    """The series of all scrapes, as promtool takes them, and the time of the first."""
    series, begin, number, pod = {}, None, 0, ""
    for line in week.read_text().splitlines():
        if scrape := re.fullmatch(r"# scraped from (\S+) at (\d+)", line):
            pod, time = scrape[1], int(scrape[2])
            begin = begin or time
            number = (time - begin) // SCRAPED
            line = "up 1"
        head, value = line.rsplit(" ", 1)
        name, _, labels = head.partition("{")
        labels = ",".join(filter(None, [labels.rstrip("}"), f'job="{JOB}"', f'pod="{pod}"']))
        values = series.setdefault(f"{name}{{{labels}}}", [])
        values += ["_"] * (number - len(values)) + [value]
    return series, begin


# What Prometheus makes of it.


def queries(panels):
    """Each expression as it is asked, with its step; 0 for those that are asked once."""
    for panel in panels:
        step = HOUR if panel.get("interval") else HOUR // 2
        for target in panel.get("targets", []):
            target["asked"] = filled(target["expr"], step)
            target["step"] = 0 if target["instant"] else step
            yield target["asked"], target["step"]


def filled(expression, step):
    """Without Grafana's variables."""
    variables = {"$job": JOB, "$namespace": ".+", "$name": ".+", "$__interval": f"{step}s", "$__range": f"{WEEK}s"}
    for name, value in sorted(variables.items(), reverse=True):
        expression = expression.replace(name, value)
    return expression


def evaluate(series, begin, asked, promtool):
    """The answer to each expression, at each time since the begin: labels and a value."""
    times = {(expression, time) for expression, step in asked
             for time in (range(step, WEEK + 1, step) if step else [WEEK])}
    tests = {
        "rule_files": [str(RULES)],
        "evaluation_interval": f"{SCRAPED}s",
        "tests": [{
            "interval": f"{SCRAPED}s",
            "start_timestamp": str(begin),
            "input_series": [{"series": name, "values": " ".join(values)} for name, values in series.items()],
            # Nothing is expected, so promtool tells what there is.
            "promql_expr_test": [{"expr": expression, "eval_time": f"{time}s"} for expression, time in sorted(times)],
        }],
    }
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        json.dump(tests, file)
        file.flush()
        run = subprocess.run([promtool, "test", "rules", file.name], capture_output=True, text=True)
    told = run.stdout + run.stderr
    answers = {}
    pattern = r'expr: ("(?:[^"\\]|\\.)*"), time: (\S+),(?: err: (.*)|\n +exp: nil\n +got: (.*))'
    for expression, time, error, samples in re.findall(pattern, told):
        if error:
            sys.exit(f"{expression}: {error}")
        found = re.findall(r'\{((?:[^"{}]|"(?:[^"\\]|\\.)*")*)\} (\S+?)(?:, |$)', samples)
        answers[json.loads(expression), duration(time)] = [
            (dict(re.findall(r'(\w+)="([^"]*)"', labels)), float(value)) for labels, value in found]
    if not answers:
        sys.exit(told)
    return answers


def duration(text):
    units = {"w": 7 * 24 * HOUR, "d": 24 * HOUR, "h": HOUR, "m": 60, "s": 1}
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)([wdhms])", text))


def lines_of(panel, answers):
    """The lines of a panel by the name in its legend: points of time and value."""
    lines = {}
    for target in panel["targets"]:
        for time in range(target["step"], WEEK + 1, target["step"]):
            for labels, value in answers.get((target["asked"], time), []):
                name = re.sub(r"\{\{(\w+)\}\}", lambda label: labels.get(label[1], ""), target["legendFormat"])
                lines.setdefault(name, []).append((time, value))
    return lines


# How it is drawn.


class Picture:
    def __init__(self, begin):
        self.begin, self.parts = begin, []

    def text(self, x, y, text, size=12, color=COLORS["text"], anchor="start", weight=400):
        self.parts.append(f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" fill="{color}" text-anchor="{anchor}" '
                          f'font-weight="{weight}">{escape(str(text))}</text>')

    def rectangle(self, x, y, w, h, color, more=""):
        self.parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{h:.1f}" fill="{color}" {more}/>')

    def path(self, d, more):
        self.parts.append(f'<path d="{d}" {more}/>')

    def days(self, x, y, w, h):
        """A line and a date at each midnight."""
        for day in range(7):
            at = x + w * day / 7
            self.path(f"M{at:.0f} {y}v{h}", f'stroke="{LINES}"')
            date = datetime.fromtimestamp(self.begin + day * 24 * HOUR, timezone.utc)
            self.text(at + w / 14, y + h + 14, f"{date:%b} {date.day}", 10, DIM, "middle")


def box(panel):
    at = panel["gridPos"]
    return (at["x"] * COLUMN + GAP, at["y"] * LINE + GAP, at["w"] * COLUMN - GAP, at["h"] * LINE - GAP)


def said(value, unit, decimals=0):
    """A value in its unit, as Grafana says it."""
    if unit == "dtdurations":
        parts, left = [], abs(value)
        for name, seconds in [("day", 24 * HOUR), ("hour", HOUR), ("minute", 60), ("second", 1)]:
            count = int(left // seconds)
            left -= count * seconds
            if (count or parts) and len(parts) <= decimals:
                parts.append((count, f"{count} {name}{'' if count == 1 else 's'}"))
        text = ", ".join(part for count, part in parts if count) or "0 seconds"
        return text + (" ago" if value < 0 else "")
    if unit == "percent":
        return f"{value:.0f}%"
    if unit == "s":
        for name, seconds in [("h", HOUR), ("min", 60), ("s", 1)]:
            if value >= seconds:
                return f"{value / seconds:.3g} {name}"
        return f"{value * 1000:g} ms" if value else "0 s"
    return f"{value:.0f}"


def color_of(value, thresholds):
    return COLORS[[step["color"] for step in thresholds["steps"] if step["value"] is None or value >= step["value"]][-1]]


def stat(picture, panel, answers):
    x, y, w, h = box(panel)
    defaults = panel["fieldConfig"]["defaults"]
    [(_, value)] = answers[panel["targets"][0]["asked"], WEEK]
    text = said(value, defaults["unit"], defaults.get("decimals", 0))
    picture.text(x + w / 2, y + h / 2 + 20, text, 22 if len(text) > 8 else 30,
                 color_of(value, defaults["thresholds"]), "middle", 500)
    return True


def table(picture, panel, answers):
    x, y, w, h = box(panel)
    rows = {}
    for target in panel["targets"]:
        for labels, value in answers.get((target["asked"], WEEK), []):
            row = rows.setdefault((labels["namespace"], labels["name"]), {})
            row |= labels | {f"Value #{target['refId']}": value}
    properties = {override["matcher"]["options"]: {item["id"]: item["value"] for item in override["properties"]}
                  for override in panel["fieldConfig"]["overrides"]}
    order = panel["transformations"][1]["options"]["indexByName"]
    columns = [name for name in sorted(order, key=order.get) if "custom.hidden" not in properties[name]]
    first = next(name for name in columns if properties[name]["displayName"] == panel["options"]["sortBy"][0]["displayName"])
    shown = sorted(rows.values(), key=lambda row: row.get(first, math.inf))[:int((h - 62) // 24)]
    # Durations are long.
    shares = [1.5 if name.startswith("Value") else 1 for name in columns]
    for number, name in enumerate(columns):
        at = x + 12 + sum(shares[:number]) * (w - 12) / sum(shares)
        picture.text(at, y + 46, properties[name]["displayName"], 12, "#6E9FFF", weight=500)
        for line, row in enumerate(shown):
            value, color = row.get(name, ""), COLORS["text"]
            if "mappings" in properties[name]:
                color = COLORS[properties[name]["mappings"][0]["options"][value]["color"]]
            if isinstance(value, float):
                value = said(value, "dtdurations", 1)
            picture.text(at, y + 70 + line * 24, value, 12, color)
    for line in range(len(shown)):
        picture.path(f"M{x + 8} {y + 54 + line * 24}h{w - 16}", f'stroke="{LINES}"')
    picture.text(x + w - 12, y + 20, f"{len(shown)} of {len(rows)}", 11, DIM, "end")
    return bool(rows)


def state_timeline(picture, panel, answers):
    x, y, w, h = box(panel)
    lines = lines_of(panel, answers)
    x, y, w, h = x + 8, y + 30, w - 16, h - 52
    picture.days(x, y, w, h)
    tall = h / max(len(lines), 1)
    for number, (name, points) in enumerate(lines.items()):
        top = y + number * tall
        picture.text(x, top + 14, name, 11)
        for time, value in points:
            width = w * HOUR / 2 / WEEK
            picture.rectangle(x + w * time / WEEK - width, top + 20, width + 0.3, min(tall - 24, 20),
                              color_of(value, panel["fieldConfig"]["defaults"]["thresholds"]), 'shape-rendering="crispEdges"')
    return bool(lines)


def ticks(top, unit):
    steps = [HOUR * hours for hours in (1, 2, 4, 6, 12, 24)] if unit == "dtdurations" else [
        factor * 10 ** power for power in range(6) for factor in (1, 2, 5)]
    step = next(step for step in steps if top / step <= 6)
    return [number * step for number in range(math.ceil(top / step) + 1)]


def timeseries(picture, panel, answers, changes):
    x, y, w, h = box(panel)
    defaults = panel["fieldConfig"]["defaults"]
    lines = lines_of(panel, answers)
    fixed = {override["matcher"]["options"]: COLORS[override["properties"][0]["value"]["fixedColor"]]
             for override in panel["fieldConfig"]["overrides"]}
    others = iter(SHADES if "color" in defaults else PALETTE)
    colors = {name: fixed.get(name) or next(others) for name in lines}
    bars = defaults["custom"].get("drawStyle") == "bars"
    sums = {}
    for points in lines.values():
        for time, value in points:
            sums[time] = value + (sums.get(time, 0) if bars else 0)
    top = max(sums.values()) if bars else max(value for points in lines.values() for _, value in points)
    scale = ticks(top, defaults["unit"])

    # The legend, which no curve can meet: below the plot.
    calculated = panel["options"]["legend"]["calcs"]
    legend = y + h - 18 * len(lines)
    ends = [x + w - 16 - (150 if defaults["unit"] == "dtdurations" else 70) * place for place in range(len(calculated))][::-1]
    for end, calculation in zip(ends, calculated):
        picture.text(end, legend - 6, calculation.removesuffix("NotNull"), 10, DIM, "end")
    for number, (name, points) in enumerate(lines.items()):
        line = legend + 10 + 18 * number
        picture.rectangle(x + 14, line - 5, 14, 4, colors[name])
        picture.text(x + 36, line, name, 11)
        for end, calculation in zip(ends, calculated):
            values = [value for _, value in points]
            value = {"min": min, "max": max, "sum": sum, "lastNotNull": lambda all: all[-1]}[calculation](values)
            picture.text(end, line, said(value, defaults["unit"], 1), 11, anchor="end")

    left = 64 if defaults["unit"] == "dtdurations" else 38
    x, y, w, h = x + left, y + 34, w - left - 16, legend - y - 34 - 42
    picture.days(x, y, w, h)
    for tick in scale:
        at = y + h - h * tick / scale[-1]
        picture.path(f"M{x} {at:.0f}h{w}", f'stroke="{LINES}"')
        picture.text(x - 6, at + 4, said(tick, defaults["unit"]), 10, DIM, "end")
    for time in changes:
        picture.path(f"M{x + w * time / WEEK:.1f} {y}v{h}", f'stroke="{COLORS["purple"]}" stroke-dasharray="4 3"')
        picture.text(x + w * time / WEEK + 4, y + 9, "new leader", 9, COLORS["purple"])
    below = {}
    for name, points in lines.items():
        if bars:
            width, d = w * HOUR / WEEK, []
            for time, value in points:
                base = below.get(time, 0)
                below[time] = base + value
                if value:
                    d.append(f"M{x + w * time / WEEK - width + 0.4:.1f} {y + h - h * base / scale[-1]:.1f}"
                             f"v{-h * value / scale[-1]:.1f}h{width - 0.8:.1f}V{y + h - h * base / scale[-1]:.1f}z")
            picture.path("".join(d), f'fill="{colors[name]}"')
        else:
            d = " ".join(f"{x + w * time / WEEK:.1f} {y + h - h * max(value, 0) / scale[-1]:.1f}" for time, value in points)
            picture.path("M" + d, f'fill="none" stroke="{colors[name]}" stroke-width="1.6" stroke-linejoin="round"')
    return bool(lines)


def heatmap(picture, panel, answers):
    x, y, w, h = box(panel)
    buckets = sorted(lines_of(panel, answers).items(), key=lambda bucket: float(bucket[0]))
    below, cells = {}, []
    for row, (_, points) in enumerate(buckets):
        for time, value in points:
            cells.append((row, time, value - below.get(time, 0)))
            below[time] = value
    most = max((value for *_, value in cells), default=0)
    unit = panel["options"]["yAxis"]["unit"]
    x, y, w, h = x + 56, y + 34, w - 66, h - 64
    picture.days(x, y, w, h)
    tall = h / max(len(buckets), 1)
    for row, (bound, _) in enumerate(buckets):
        picture.text(x - 6, y + h - row * tall - tall / 2 + 4, "more" if bound == "+Inf" else said(float(bound), unit), 10, DIM, "end")
    for row, time, value in cells:
        if value > 0.5:
            picture.rectangle(x + w * (time - HOUR) / WEEK, y + h - (row + 1) * tall + 0.5, w * HOUR / WEEK + 0.2, tall - 1,
                              COLORS["green"], f'fill-opacity="{0.25 + 0.75 * math.sqrt(value / most):.2f}"')
    return most > 0


def main(week, promtool):
    dashboard = json.loads(DASHBOARD.read_text())
    panels = [panel for panel in dashboard["panels"]
              if not any("process_" in target["expr"] for target in panel.get("targets", []))]
    series, begin = read(Path(week))
    leaders = filled(dashboard["annotations"]["list"][0]["expr"], HOUR // 2)
    answers = evaluate(series, begin, [*queries(panels), (leaders, HOUR // 2)], promtool)
    # The first is only the begin of what is known.
    changes = [time for expression, time in sorted(answers) if expression == leaders and time > HOUR]

    picture = Picture(begin)
    for panel in panels:
        x, y, w, h = box(panel)
        if panel["type"] == "row":
            picture.text(x + 4, y + 18, panel["title"], 15, weight=600)
            continue
        picture.rectangle(x, y, w, h, "#181B1F", f'stroke="{LINES}" rx="2"')
        picture.text(x + 10, y + 20, panel["title"], 12, weight=500)
        draw = {"stat": stat, "table": table, "state-timeline": state_timeline, "heatmap": heatmap,
                "timeseries": lambda *all: timeseries(*all, changes)}[panel["type"]]
        if not draw(picture, panel, answers):
            sys.exit(f"{panel['title']} is empty")
    width = 24 * COLUMN + GAP
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels) * LINE + GAP
    title = "The dashboard's panels over a simulated week with an outage of the token endpoint"
    (ROOT / "docs/dashboard.svg").write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="Inter, system-ui, Segoe UI, Helvetica, Arial, sans-serif" role="img" aria-labelledby="title">\n'
        f'<title id="title">{title}</title>\n<rect width="{width}" height="{height}" fill="#111217"/>\n'
        + "\n".join(picture.parts) + "\n</svg>\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
