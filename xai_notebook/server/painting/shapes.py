"""Outlines: closed polygons, smooth where they should be. Lengths are those of the caller."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

__all__ = [
    "Point",
    "Shape",
    "arch",
    "blob",
    "circle",
    "curve",
    "dot",
    "ellipse",
    "rectangle",
    "ring",
    "stroke",
]

Point = tuple[float, float]
Shape = Sequence[Point]
"""A closed polygon."""

_ROUND: Final = tuple(
    (math.cos(step * math.tau / 40), math.sin(step * math.tau / 40)) for step in range(40)
)
"""Points of an ellipse: enough to be enlarged."""
_DOT: Final = tuple(
    (math.cos(step * math.tau / 9), math.sin(step * math.tau / 9)) for step in range(9)
)
_STEPS: Final = 6
"""Points of a curve between two of its control points."""


def ellipse(x: float, y: float, width: float, height: float, turn: float = 0.0) -> list[Point]:
    """Return an ellipse around (x, y) with these half-axes, turned by `turn` radians."""
    if not turn:
        return [(x + width * cos, y + height * sin) for cos, sin in _ROUND]
    cos, sin = math.cos(turn), math.sin(turn)
    return [
        (x + width * a * cos - height * b * sin, y + width * a * sin + height * b * cos)
        for a, b in _ROUND
    ]


def circle(x: float, y: float, radius: float) -> list[Point]:
    """Return a circle around (x, y)."""
    return ellipse(x, y, radius, radius)


def arch(x: float, y: float, width: float, height: float) -> list[Point]:
    """Return the upper half of an ellipse around (x, y), as long as y points up."""
    return ellipse(x, y, width, height)[: len(_ROUND) // 2 + 1]


def ring(x: float, y: float, radius: float, thick: float) -> list[Point]:
    """Return a circle with a round hole that leaves `thick` of it."""
    outer, inner = circle(x, y, radius), circle(x, y, radius - thick)
    return [*outer, outer[0], inner[0], *inner[::-1]]


def dot(x: float, y: float, radius: float) -> list[Point]:
    """Return a circle of a few pixels, in as few points as nobody notices."""
    return [(x + radius * cos, y + radius * sin) for cos, sin in _DOT]


def rectangle(left: float, top: float, right: float, bottom: float) -> list[Point]:
    """Return a rectangle."""
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def curve(points: Sequence[Point], *, closed: bool = False) -> list[Point]:
    """Return a smooth (Catmull-Rom) curve through `points`."""
    count = len(points)
    result: list[Point] = []
    for start in range(count if closed else count - 1):
        places = (start + offset for offset in (-1, 0, 1, 2))
        a, b, c, d = (
            points[place % count] if closed else points[min(max(place, 0), count - 1)]
            for place in places
        )
        for step in range(_STEPS):
            t = step / _STEPS
            square, cube = t * t, t * t * t
            weights = (
                (-t + 2 * square - cube) / 2,
                (2 - 5 * square + 3 * cube) / 2,
                (t + 4 * square - 3 * cube) / 2,
                (cube - square) / 2,
            )
            result.append(
                (
                    a[0] * weights[0] + b[0] * weights[1] + c[0] * weights[2] + d[0] * weights[3],
                    a[1] * weights[0] + b[1] * weights[1] + c[1] * weights[2] + d[1] * weights[3],
                )
            )
    if not closed:
        result.append(points[-1])
    return result


def blob(*points: Point) -> list[Point]:
    """Return a smooth closed shape through `points`."""
    return curve(points, closed=True)


def stroke(points: Sequence[Point], width: float, end_width: float | None = None) -> list[Point]:
    """Return a smooth line through `points` that tapers from `width` to `end_width`."""
    end_width = width if end_width is None else end_width
    path = curve(points)
    left, right = [], []
    last = len(path) - 1
    for place, (x, y) in enumerate(path):
        before, after = path[max(place - 1, 0)], path[min(place + 1, last)]
        across, down = after[0] - before[0], after[1] - before[1]
        length = math.hypot(across, down) or 1.0
        half = (width + (end_width - width) * place / last) / 2
        left.append((x - down / length * half, y + across / length * half))
        right.append((x + down / length * half, y - across / length * half))
    return left + right[::-1]
