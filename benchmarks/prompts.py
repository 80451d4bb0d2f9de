"""Many prompts through `--each`, measured by each.py in separate processes."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench import Row, absolute, point

if TYPE_CHECKING:
    from bench import Plan

__all__ = ["each", "thousands"]


def _run(prompts: int, **options: float) -> dict[str, float]:
    """Return what each.py measures."""
    command = [sys.executable, str(Path(__file__).with_name("each.py")), f"--prompts={prompts}"]
    command += [f"--{name}={value}" for name, value in options.items()]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _rows(work: str, found: list[dict[str, float]]) -> list[Row]:
    ratio = statistics.median(one["ratio"] for one in found)
    rate = Row(
        work=f"{work}: rate",
        ours=statistics.median(one["rate"] for one in found),
        unit="/s",
        rival="the ideal rate at this concurrency",
        theirs=found[0]["ideal"],
        score=ratio,
        bar=0.9,
        at_least=True,
        rounds=len(found),
    )
    floor = Row(
        work=f"{work}: rate",
        ours=rate.ours,
        unit="/s",
        rival="bare grpc.aio, which keeps nothing",
        theirs=statistics.median(one["bare"] for one in found),
        score=statistics.median(one["to bare"] for one in found),
        rounds=len(found),
    )
    grown = [one["growth"] * 2**20 for one in found]
    return [rate, floor, absolute(f"{work}: memory over the second half", grown, "bytes")]


def each(plan: Plan) -> list[Row]:
    """2,000 prompts: the default concurrency, 32 at 50 ms, and 256 at a realistic 2 s."""
    count = plan.size(2000)
    rows = _rows(f"{count:,} prompts, 32 at once, 50 ms", [_run(count) for _ in range(3)])
    if plan.quick:
        return rows
    slow = [_run(count, concurrency=256, delay=2.0)]
    few = [_run(count, concurrency=4, delay=0.05)]
    rows += _rows(f"{count:,} prompts, 256 at once, 2 s", slow)
    return rows + _rows(f"{count:,} prompts, 4 at once, 50 ms", few)


def thousands(plan: Plan) -> list[Row]:
    """10 to 10,000 prompts, for the plot."""
    rows = []
    for prompts in (10, 100, 1000, 10_000)[: 3 if plan.quick else 4]:
        found = _run(prompts)
        rows += [
            point("prompts: xai-notebook", prompts, [found["seconds"]]),
            point("prompts: ideal, 32 at once, 50 ms", prompts, [prompts / found["ideal"]]),
        ]
    work = f"{prompts:,} prompts, 32 at once, 50 ms: memory over the second half"
    return [absolute(work, [found["growth"] * 2**20], "bytes"), *rows]
