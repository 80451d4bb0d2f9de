"""Plot time against size, with Pillow."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench import Row

__all__ = ["draw"]

_SCALE = 2
_WIDTH, _HEIGHT = (420, 370)
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 36, 98, 52
_COLOURS = ("#0f766e", "#b45309", "#6d28d9")
_TITLES = {
    "images": ("One request, 300 kB an image", "images", "ms"),
    "prompts": ("Many prompts through --each", "prompts", "s"),
    "library": ("One operation of the library", "images in the library", "ms"),
}
_LINEAR = "images"
"""The diagram with linear axes; the others are logarithmic."""

Points = dict[str, list[tuple[float, float]]]


def draw(rows: Sequence[Row], file: Path) -> None:
    """Draw the rows that belong to a curve into a PNG; without such rows, write no file."""
    diagrams: dict[str, Points] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row.curve:
            diagram, _, line = row.curve.partition(": ")
            seconds = row.ours * (1000 if _TITLES[diagram][2] == "ms" else 1)
            diagrams[diagram][line].append((row.size, seconds))
    shown = [name for name in _TITLES if name in diagrams]
    if not shown:
        return
    image = Image.new("RGB", (_WIDTH * len(shown) * _SCALE, _HEIGHT * _SCALE), "white")
    for number, name in enumerate(shown):
        _Diagram(ImageDraw.Draw(image), number * _WIDTH, name, diagrams[name]).draw()
    image.quantize(64).save(file, optimize=True)


class _Diagram:
    """One diagram."""

    def __init__(self, pen: ImageDraw.ImageDraw, left: int, name: str, lines: Points) -> None:
        self.pen, self.left, self.name, self.lines = pen, left, name, lines
        self.linear = name == _LINEAR
        points = [point for line in lines.values() for point in line]
        self.spans = [self._span([point[axis] for point in points]) for axis in (0, 1)]

    def _span(self, values: Sequence[float]) -> tuple[float, float]:
        if self.linear:
            return 0.0, max(values) * 1.1
        return 10 ** math.floor(math.log10(min(values))), 10 ** math.ceil(math.log10(max(values)))

    def _position(self, axis: int, value: float) -> float:
        low, high = self.spans[axis]
        if not self.linear:
            low, high, value = math.log10(low), math.log10(high), math.log10(value)
        share = (value - low) / (high - low)
        if axis == 0:
            return self.left + _LEFT + share * (_WIDTH - _LEFT - _RIGHT)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)

    def _ticks(self, axis: int) -> list[float]:
        low, high = self.spans[axis]
        if self.linear:
            step = 2 if axis == 0 else _step(high)
            return [number * step for number in range(int(high / step) + 1)]
        return [10.0**power for power in range(round(math.log10(low)), round(math.log10(high)) + 1)]

    def _write(self, at: tuple[float, float], text: str, anchor: str, colour: str = "#222") -> None:
        font = ImageFont.load_default(12 * _SCALE)
        self.pen.text((at[0] * _SCALE, at[1] * _SCALE), text, colour, font, anchor)

    def _stroke(self, points: Sequence[tuple[float, float]], colour: str, width: int) -> None:
        scaled = [(x * _SCALE, y * _SCALE) for x, y in points]
        self.pen.line(scaled, colour, width * _SCALE, joint="curve")

    def draw(self) -> None:
        """Draw axes, lines and legend."""
        title, across, unit = _TITLES[self.name]
        left, right = self.left + _LEFT, self.left + _WIDTH - _RIGHT
        bottom = _HEIGHT - _BOTTOM
        self._write((left, 16), f"{title}, {unit}", "lm")
        self._write(((left + right) / 2, _HEIGHT - 14), across, "mm")
        for value in self._ticks(0):
            self._write((self._position(0, value), bottom + 14), f"{value:,.0f}", "mm")
        for value in self._ticks(1):
            y = self._position(1, value)
            self._stroke([(left, y), (right, y)], "#e2e2e2", 1)
            self._write((left - 8, y), f"{value:,g}", "rm")
        for number, (line, points) in enumerate(self.lines.items()):
            self._curve(points, _COLOURS[number])
            self._write((left, 40 + 17 * number), line, "lm", _COLOURS[number])

    def _curve(self, points: Sequence[tuple[float, float]], colour: str) -> None:
        positions = [(self._position(0, x), self._position(1, y)) for x, y in points]
        self._stroke(positions, colour, 2)
        for x, y in positions:
            centre = (x * _SCALE, y * _SCALE)
            self.pen.circle(centre, 3.5 * _SCALE, colour)


def _step(high: float) -> float:
    """Return a round step between grid lines; at most six lines fit from 0 to `high`."""
    power = 10.0 ** math.floor(math.log10(high))
    return next(power * part for part in (0.2, 0.5, 1, 2) if high / (power * part) < 6)
