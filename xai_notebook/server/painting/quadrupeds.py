"""Draws animals on four legs, each built from the same parts by its own measures.

Coordinates are those of all figures. Ears, tails, antlers … are pieces in
`data/figures/quadrupeds.ini`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

from xai_notebook.server.painting.colours import mix, scale
from xai_notebook.server.painting.drawing import TONES, draw, shade
from xai_notebook.server.painting.records import RecordError
from xai_notebook.server.painting.shapes import blob, circle, ellipse, stroke

if TYPE_CHECKING:
    from xai_notebook.server.painting.colours import Colour
    from xai_notebook.server.painting.drawing import Part
    from xai_notebook.server.painting.shapes import Point, Shape

__all__ = ["draw_quadruped"]

_DARK: Final = TONES["ink"]

# Outlines read better in rows than with one number a line.
# fmt: off

@dataclass(frozen=True, slots=True)
class _Build:
    """How an animal on four legs is built. Lengths are fractions of its height.

    Attributes:
        legs: Length of the legs.
        leg: Width of a leg.
        body: Half the length of the trunk.
        girth: Half its thickness.
        neck: Length of the neck.
        rise: Angle of the neck in degrees above the horizontal.
        head: Radius of the head.
        muzzle: Length of the muzzle.
        ear: A piece whose name begins with `ear-`.
        tail: A piece whose name begins with `tail-`.
        belly: Tone of muzzle, chest and tip of the tail.
        back: A piece behind the body, such as a mane.
        crown: A piece behind the head, such as antlers.
        pattern: `humps`, `patches`, `stripes` or nothing.
        socks: The lower legs are dark.
        trunk: It has one instead of a muzzle.
    """

    legs: float = 0.4
    leg: float = 0.07
    body: float = 0.34
    girth: float = 0.15
    neck: float = 0.2
    rise: float = 45.0
    head: float = 0.11
    muzzle: float = 0.14
    ear: str = "point"
    tail: str = "tuft"
    belly: str = ""
    back: str = ""
    crown: str = ""
    pattern: str = ""
    socks: bool = False
    trunk: bool = False

    @property
    def middle(self) -> float:
        """Height of the middle of the trunk."""
        return self.legs + self.girth * 0.8


def draw_quadruped(text: str, coat: Colour) -> tuple[list[Part], tuple[float, float, float]]:
    """Return the parts of an animal, and where its head is: x, y and radius.

    Args:
        text: The build in its record: names and values, with commas between them.
        coat: Its colour.

    Raises:
        RecordError: The record names a measure or a piece that there is not.
    """
    build = _read(text)
    light = shade(build.belly, {}) if build.belly else mix(coat, TONES["white"], 0.3)
    tones = {"colour": coat, "light": light}
    middle = build.middle
    rear, front = -build.body * 0.8, build.body * 0.78
    angle = math.radians(build.rise)
    shoulder = (front * 0.95, middle + build.girth * 0.35)
    x, y = shoulder[0] + build.neck * math.cos(angle), shoulder[1] + build.neck * math.sin(angle)
    neck = stroke([(front * 0.72, middle), shoulder, (x, y)], build.girth * 1.7, build.head * 1.5)
    root = f"at {-build.body * 0.98},{middle + build.girth * 0.35}"
    parts: list[Part] = [
        (scale(coat, 0.78), [_leg(rear + 0.1, build, -0.02), _leg(front - 0.11, build, 0.05)]),
        *draw(f"tail-{build.tail}", tones, at=root),
    ]
    if build.back:
        parts += draw(build.back, tones, at=f"at {x},{y},{build.head}")
    if build.pattern == "humps":
        parts.append((scale(coat, 0.94), [ellipse(at, middle + build.girth * 0.9, 0.13, 0.17)
                                          for at in (-0.15, 0.13)]))
    near = [_leg(rear, build, -0.05), _leg(front, build, 0.02)]
    parts.append((coat, [*near, _torso(build), neck]))
    parts += _markings(build, coat, (shoulder, (x, y)))
    if build.belly:
        chest = front * 1.02
        parts.append((light, [blob((chest + 0.06, middle + 0.14), (chest + 0.07, middle - 0.02),
                                   (chest - 0.02, middle - 0.1), (chest - 0.03, middle + 0.04))]))
    if build.socks:
        parts.append((_DARK, [_sock(rear - 0.05, build), _sock(front + 0.02, build)]))
    return parts + _head(build, coat, light, (x, y)), (x + 0.03, y + 0.02, build.head)


def _read(text: str) -> _Build:
    known: dict[str, Any] = {measure.name: measure.default for measure in fields(_Build)}
    values: dict[str, Any] = {}
    for item in text.split(", "):
        name, _, value = item.partition(" ")
        if name not in known:
            raise RecordError(f"build: {name!r} is no measure: use {', '.join(known)}.")
        values[name] = type(known[name])(value) if value else True
    return _Build(**values)


def _torso(build: _Build) -> Shape:
    outline = ((-1.08, 0.1), (-0.75, 0.95), (0.0, 0.78), (0.75, 1.0), (1.12, 0.1), (0.75, -0.9),
               (0.0, -0.72), (-0.8, -0.85))
    return blob(*((build.body * x, build.middle + build.girth * y) for x, y in outline))


def _markings(build: _Build, coat: Colour, neck: tuple[Point, Point]) -> list[Part]:
    """Return the stripes or patches of a coat."""
    (x, y), (end_x, end_y) = neck
    middle = build.middle
    if build.pattern == "stripes":
        bars: list[Shape] = []
        for step in range(7):
            at, low = build.body * (-0.85 + 0.27 * step), build.girth * (0.2 + 0.3 * (step % 2))
            high = middle + build.girth * 0.8
            bars.append([(at - 0.025, high), (at + 0.03, high), (at + 0.005, middle - low)])
        return [(_DARK, bars)]
    if build.pattern == "patches":
        spots = [(build.body * a, middle + build.girth * b) for a, b in (
            (-0.75, 0.3), (-0.4, 0.45), (0.0, 0.3), (0.4, 0.5), (-0.6, -0.3), (-0.15, -0.3),
            (0.25, -0.2), (0.65, 0.0))]
        spots += [(x + (end_x - x) * t, y + (end_y - y) * t) for t in (0.15, 0.4, 0.62, 0.82)]
        return [(scale(mix(coat, (150, 84, 40), 0.7), 0.95), [
            blob((a - 0.045, b), (a - 0.01, b + 0.045), (a + 0.045, b + 0.01),
                 (a + 0.01, b - 0.045))
            for a, b in spots])]
    return []


def _leg(x: float, build: _Build, lean: float) -> Shape:
    return stroke(
        [(x, build.legs + build.girth * 0.5), (x + lean * 0.3 - 0.02, build.legs * 0.5),
         (x + lean, 0.0)],
        build.leg * 2.1, build.leg * 0.8,
    )


def _sock(x: float, build: _Build) -> Shape:
    return stroke([(x + 0.006, build.legs * 0.42), (x, 0.0)], build.leg * 1.15, build.leg * 0.85)


def _head(build: _Build, coat: Colour, light: Colour, at: Point) -> list[Part]:
    x, y = at
    r = build.head
    ear = f"ear-{build.ear}"
    nose = (x + r * 0.5 + build.muzzle, y - r * 0.42)
    parts = draw(ear, {"colour": scale(coat, 0.74)}, at=f"at {x - r * 0.1},{y},{r * 0.9}")
    if build.crown:
        parts += draw(build.crown, {"colour": coat}, at=f"at {x},{y},{r}")
    skull: list[Shape] = [circle(x, y, r)]
    dots = [circle(x + r * 0.42, y + r * 0.18, r * 0.13)]
    if build.trunk:
        skull.append(stroke([(x + r * 0.5, y - r * 0.1), (x + r * 1.25, y - r * 0.9),
                             (x + r * 1.2, y - r * 2.2), (x + r * 1.5, y - r * 2.8)],
                            r * 0.85, r * 0.32))
    else:
        skull += [stroke([(x, y - r * 0.1), nose], r * 1.7, r * 0.62), circle(*nose, r * 0.3)]
        dots.append(circle(nose[0] + r * 0.16, nose[1] + r * 0.08, r * 0.17))
    parts.append((coat, skull))
    if build.belly:
        lip = (nose[0] - 0.005, nose[1] - r * 0.12)
        parts.append((light, [stroke([(x + r * 0.1, y - r * 0.66), lip], r * 0.7, r * 0.4)]))
    near = {"colour": mix(coat, light, 0.12)}
    parts += draw(ear, near, at=f"at {x - r * 0.35},{y},{r}")
    parts.append((_DARK, dots))
    return parts
