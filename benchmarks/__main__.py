"""Measure the speed and the memory of the package, and of the usual alternatives.

    python benchmarks [--quick] [--only NAME] [--json FILE] [--plot FILE]

In each round, every rival is measured once, so that a busy moment of the machine affects all; a
row's ratio is the median of the rounds' ratios. A missed limit does not make the run fail: the
last column says whether a row meets its limit.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
os.environ.pop("XAI_API_KEY", None)  # no benchmark may use a server that costs money

import calls
import catalog
import durable
import jobs
import kernels
import pictures
import plot
import prompts
from bench import Plan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench import Row

PARTS: dict[str, Callable[[Plan], list[Row]]] = {
    "loading": kernels.loading,
    "cold": kernels.cold,
    "functions": kernels.functions,
    "reply": calls.base64_reply,
    "downloads": calls.downloads,
    "show": pictures.show,
    "each": prompts.each,
    "overhead": prompts.overhead,
    "pixels": kernels.pixels,
    "interrupts": kernels.interrupts,
    "notebook": pictures.notebook,
    "export": pictures.export,
    "memory": calls.memory,
    "durable": durable.durable,
    "library": catalog.measure_library,
    "history": catalog.history,
    "bundle": catalog.bundle,
    "growth": calls.image_counts,
    "thousands": prompts.thousands,
    "jobs": jobs.jobs,
    "variety": calls.sizes_and_formats,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="a minute or two, with rougher results"
    )
    parser.add_argument("--only", action="append", choices=PARTS, help="repeatable")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw time against size: a PNG")
    options = parser.parse_args()
    plan = Plan(rounds=5 if options.quick else 15, quick=options.quick)
    rows: list[Row] = []
    for name in options.only or PARTS:
        begun = time.perf_counter()
        found = PARTS[name](plan)
        rows += found
        print(f"{name}: {time.perf_counter() - begun:.0f} s", file=sys.stderr, flush=True)
        if options.json:  # after each part, so that an interrupted run is not lost
            options.json.write_text(json.dumps(_report(rows), indent=1), encoding="utf-8")
    print(_table([row for row in rows if not row.curve]))
    if options.plot:
        plot.draw(rows, options.plot)


def _report(rows: Sequence[Row]) -> dict[str, object]:
    return {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "python": platform.python_version(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "rows": [row.to_dict() for row in rows],
    }


def _table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = [
        "| work | xai-notebook | rival | | ratio | limit | met |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        ratio = _ratio(row.score) if row.theirs is not None else ""
        theirs = "" if row.theirs is None else _amount(row.theirs, row.unit)
        met = {None: "", True: "yes", False: "**no**"}[row.holds]
        ours = _amount(row.ours, row.unit)
        cells = [row.work, ours, row.rival, theirs, ratio, _limit_text(row), met]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value >= 0.095 else f"1/{1 / value:.0f}"


def _limit_text(row: Row) -> str:
    if row.limit is None:
        return ""
    limit = _ratio(row.limit) if row.theirs is not None else _amount(row.limit, row.unit)
    return f"{'≥' if row.at_least else '≤'} {limit}"


def _amount(value: float, unit: str) -> str:
    if unit == "s":
        return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.3g} ms"
    if unit == "bytes":
        return f"{value / 1e6:.1f} MB" if abs(value) >= 1e6 else f"{value / 1e3:.0f} kB"
    return f"{value:.2f} ×" if unit == "×" else f"{value:.0f}{unit}"


if __name__ == "__main__":
    main()
