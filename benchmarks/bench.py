"""Rows of the result table, and alternating measurements of two or more rivals."""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

__all__ = [
    "Plan", "Row", "absolute", "compare", "compare_async", "peak", "point", "reset_peak", "versus",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plan:
    """How thorough a run is.

    Attributes:
        rounds: How often each rival is measured.
        quick: Leave out measurements that take minutes, and use a tenth of large sizes.
    """

    rounds: int = 15
    quick: bool = False

    def size(self, full: int) -> int:
        """Return `full`, or a tenth of it in a quick run."""
        return full // 10 if self.quick else full

    def at_most(self, rounds: int) -> int:
        """Return the number of rounds for a slow measurement: at most `rounds`."""
        return min(self.rounds, rounds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table.

    Attributes:
        work: What was measured.
        ours: The median of our values.
        unit: The unit of `ours` and `theirs`: s, bytes and so on.
        rival: The alternative; empty: no comparison.
        theirs: The rival's median.
        score: The median of the rounds' ratios; without a rival, `ours`.
        limit: The limit of `score`; None: no limit.
        at_least: Whether `limit` is a lower limit.
        rounds: How often each rival was measured.
        curve: For a point of the plot instead of a line of the table: `diagram: line`.
        size: The point's position on the x axis.
    """

    work: str
    ours: float
    unit: str
    rival: str = ""
    theirs: float | None = None
    score: float
    limit: float | None = None
    at_least: bool = False
    rounds: int = 1
    curve: str = ""
    size: float = 0

    @property
    def holds(self) -> bool | None:
        """Whether the limit holds; None for a row without a limit."""
        if self.limit is None:
            return None
        return self.score >= self.limit if self.at_least else self.score <= self.limit

    def to_dict(self) -> dict[str, Any]:
        """Return the row for JSON."""
        return {**asdict(self), "holds": self.holds}


def versus(
    work: str,
    rival: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    *,
    limit: float | None = None,
    unit: str = "s",
) -> Row:
    """Return a row that compares us with a rival, measured in the same rounds."""
    return Row(
        work=work,
        rival=rival,
        ours=statistics.median(ours),
        theirs=statistics.median(theirs),
        unit=unit,
        score=statistics.median(one / other for one, other in zip(ours, theirs, strict=True)),
        limit=limit,
        rounds=len(ours),
    )


def absolute(
    work: str, values: Sequence[float], unit: str = "s", *, limit: float | None = None
) -> Row:
    """Return a row with an absolute limit."""
    median = statistics.median(values)
    return Row(work=work, ours=median, unit=unit, score=median, limit=limit, rounds=len(values))


def point(curve: str, size: float, values: Sequence[float]) -> Row:
    """Return a point of the plot, in seconds.

    Args:
        curve: `diagram: line`.
        size: The position on the x axis.
        values: Seconds.
    """
    median = statistics.median(values)
    return Row(work=curve, ours=median, unit="s", score=median, curve=curve, size=size)


def compare(rounds: int, *rivals: Callable[[], object], warm: int = 1) -> list[list[float]]:
    """Return the seconds of each rival, one value per round."""
    times: list[list[float]] = [[] for _ in rivals]
    for number in range(-warm, rounds):
        for index in _order(number, len(rivals)):
            gc.collect()
            begun = time.perf_counter()
            rivals[index]()
            seconds = time.perf_counter() - begun
            if number >= 0:
                times[index].append(seconds)
    return times


async def compare_async(
    rounds: int, *rivals: Callable[[], Awaitable[object]], warm: int = 1
) -> list[list[float]]:
    """As `compare`, for coroutines on the running loop."""
    times: list[list[float]] = [[] for _ in rivals]
    for number in range(-warm, rounds):
        for index in _order(number, len(rivals)):
            gc.collect()
            await asyncio.sleep(0)
            begun = time.perf_counter()
            await rivals[index]()
            seconds = time.perf_counter() - begun
            if number >= 0:
                times[index].append(seconds)
    return times


def reset_peak() -> int:
    """Reset the peak size of this process, on Linux; return the current size in bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status_bytes("VmRSS")


def peak() -> int:
    """Return the largest size of this process since `reset_peak`, in bytes."""
    return _status_bytes("VmHWM")


def _status_bytes(name: str) -> int:
    """Return a field of /proc/self/status in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith(name)]
    return int(line.split()[1]) * 1024


def _order(number: int, rivals: int) -> list[int]:
    """Return the rivals' indexes in the order of one round; each comes first equally often."""
    return [(index + number) % rivals for index in range(rivals)]
