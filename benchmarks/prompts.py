"""Many prompts through `--each`, measured by each_throughput.py in separate processes."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench import Row, absolute, point, versus

if TYPE_CHECKING:
    from bench import Plan

__all__ = ["each", "overhead", "thousands"]

_LOOP = "a loop with xAI's SDK and Path.write_bytes"


def _run(prompts: int, *flags: str, **options: float) -> dict[str, float]:
    """Return the measurements of each_throughput.py."""
    command = [
        sys.executable,
        str(Path(__file__).with_name("each_throughput.py")),
        f"--prompts={prompts}",
        *flags,
    ]
    command += [f"--{name}={value}" for name, value in options.items()]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    results: dict[str, float] = json.loads(process.stdout)
    return results


def _rows(work: str, results: list[dict[str, float]]) -> list[Row]:
    ratio = statistics.median(result["rate_to_ideal"] for result in results)
    rate = Row(
        work=f"{work}: rate",
        ours=statistics.median(result["rate"] for result in results),
        unit="/s",
        rival="the ideal rate at this concurrency",
        theirs=results[0]["ideal_rate"],
        score=ratio,
        limit=0.9,
        at_least=True,
        rounds=len(results),
    )
    raw = Row(
        work=f"{work}: rate",
        ours=rate.ours,
        unit="/s",
        rival="raw grpc.aio, which saves nothing",
        theirs=statistics.median(result["raw_grpc_rate"] for result in results),
        score=statistics.median(result["rate_to_raw_grpc"] for result in results),
        rounds=len(results),
    )
    growth = [result["growth"] * 2**20 for result in results]
    return [rate, raw, absolute(f"{work}: memory growth in the second half", growth, "bytes")]


def each(plan: Plan) -> list[Row]:
    """2,000 prompts: 4 (the default) and 32 at once at 50 ms each, 256 at a realistic 2 s."""
    count = plan.size(2000)
    rows = _rows(f"{count:,} prompts, 32 at once, 50 ms", [_run(count) for _ in range(3)])
    if plan.quick:
        return rows
    slow = [_run(count, concurrency=256, delay=2.0)]
    few = [_run(count, concurrency=4, delay=0.05)]
    rows += _rows(f"{count:,} prompts, 256 at once, 2 s", slow)
    return rows + _rows(f"{count:,} prompts, 4 at once, 50 ms", few)


def overhead(plan: Plan) -> list[Row]:
    """Time and peak memory per prompt, beside a loop that a user would write by hand.

    The server answers immediately, so the time is what a prompt costs in addition to the wait for
    the server. The loop does not make its files durable.
    """
    count = plan.size(2000)
    ours, theirs = _alternate(plan.at_most(7), count, delay=0)
    work = f"{count:,} prompts, 32 at once, the server answers immediately"
    rows = [
        versus(
            f"{work}: time per prompt",
            _LOOP,
            [(result["seconds"] + result["finish"]) / count for result in ours],
            [result["seconds"] / count for result in theirs],
        ),
        versus(
            f"{work}: CPU time per prompt",
            _LOOP,
            [result["cpu"] / count for result in ours],
            [result["cpu"] / count for result in theirs],
        ),
    ]
    count = plan.size(10_000)
    ours, theirs = _alternate(1, count, delay=0, size=30_000)
    return [
        *rows,
        versus(
            f"{count:,} prompts, images of 30 kB: growth of the peak memory per prompt",
            _LOOP,
            [result["peak"] / count for result in ours],
            [result["peak"] / count for result in theirs],
            unit="bytes",
        ),
    ]


def _alternate(
    rounds: int, prompts: int, **options: float
) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    """Return the measurements of `--each` and of the loop, taken in turn."""
    pairs = [(_run(prompts, **options), _run(prompts, "--sdk", **options)) for _ in range(rounds)]
    return [ours for ours, _ in pairs], [theirs for _, theirs in pairs]


def thousands(plan: Plan) -> list[Row]:
    """10 to 10,000 prompts, for the plot."""
    rows = []
    for prompts in (10, 100, 1000, 10_000)[: 3 if plan.quick else 4]:
        results = _run(prompts)
        rows += [
            point("prompts: xai-notebook", prompts, [results["seconds"]]),
            point("prompts: ideal, 32 at once, 50 ms", prompts, [prompts / results["ideal_rate"]]),
        ]
    work = f"{prompts:,} prompts, 32 at once, 50 ms: memory growth in the second half"
    return [absolute(work, [results["growth"] * 2**20], "bytes"), *rows]
