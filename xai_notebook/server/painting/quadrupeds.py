"""Animals on four legs, each built from the same parts.

Coordinates are the animal's own: it stands on y = 0, y points up, it looks to
the right, and its height is about 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from xai_notebook.server.painting.canvas import Point, Shape, blob, ellipse, stroke
from xai_notebook.server.painting.palette import mix, scale
from xai_notebook.server.painting.vocabulary import Colour

__all__ = ["QUADRUPEDS", "Head", "Part", "circle", "quadruped"]

Part = tuple[Colour, Sequence[Shape]]
"""Shapes of one colour; parts are painted in the order of their list."""

Head = tuple[float, float, float]
"""Where the head is: x, y, radius."""

WHITE: Final = (250, 246, 238)
_DARK: Final = (44, 38, 48)

# Outlines read better in rows than with one number a line.
# fmt: off

def circle(x: float, y: float, radius: float) -> list[Point]:
    """Return a circle with enough points to be enlarged."""
    return [(x + radius * math.cos(a * math.tau / 40), y + radius * math.sin(a * math.tau / 40))
            for a in range(40)]


@dataclass(frozen=True, slots=True)
class _Build:
    """How an animal on four legs is built. Lengths are fractions of its height.

    Attributes:
        coat: Its own colour.
        legs: Length of the legs.
        leg: Width of a leg.
        body: Half the length of the trunk.
        girth: Half its thickness.
        neck: Length of the neck.
        rise: Angle of the neck in degrees above the horizontal.
        head: Radius of the head.
        muzzle: Length of the muzzle.
        ear: `point`, `round`, `long`, `flop` or `leaf`.
        tail: `bushy`, `thin`, `tuft`, `short`, `hair` or `up`.
        belly: Colour of muzzle, chest and tip of the tail.
        socks: The lower legs are dark.
        extra: `antlers`, `mane`, `horns`, `knobs`, `trunk`, `hair` or nothing.
        pattern: `humps`, `patches`, `stripes` or nothing.
        dye: How much of a colour that was named the coat takes on, 0 to 1.
    """

    coat: Colour
    legs: float = 0.4
    leg: float = 0.07
    body: float = 0.34
    girth: float = 0.15
    neck: float = 0.2
    rise: float = 45
    head: float = 0.11
    muzzle: float = 0.14
    ear: str = "point"
    tail: str = "thin"
    belly: Colour | None = None
    socks: bool = False
    extra: str = ""
    dye: float = 0.7
    pattern: str = ""


_BUILDS: Final[dict[str, _Build]] = {
    "fox": _Build((222, 104, 48), 0.34, 0.055, 0.32, 0.13, 0.19, 42, 0.125, 0.17, "point", "bushy",
                  WHITE, socks=True, dye=0.3),
    "wolf": _Build((126, 132, 146), 0.42, 0.065, 0.36, 0.15, 0.22, 40, 0.12, 0.18, "point",
                   "bushy", (226, 226, 230)),
    "dog": _Build((196, 140, 86), 0.38, 0.07, 0.31, 0.14, 0.2, 55, 0.13, 0.14, "flop", "up",
                  (246, 230, 206)),
    "bear": _Build((116, 82, 62), 0.3, 0.14, 0.4, 0.25, 0.2, 25, 0.16, 0.11, "round", "short",
                   (178, 140, 110)),
    "lion": _Build((224, 168, 92), 0.38, 0.09, 0.4, 0.17, 0.16, 42, 0.13, 0.1, "round", "tuft",
                   (244, 214, 160), extra="mane"),
    "rabbit": _Build((196, 172, 150), 0.2, 0.08, 0.24, 0.19, 0.16, 50, 0.13, 0.07, "long", "short",
                     WHITE),
    "horse": _Build((150, 92, 58), 0.48, 0.06, 0.34, 0.15, 0.34, 54, 0.085, 0.19, "leaf", "hair",
                    None, extra="hair"),
    "deer": _Build((178, 118, 72), 0.46, 0.042, 0.28, 0.12, 0.3, 62, 0.08, 0.13, "leaf", "short",
                   (240, 222, 196), extra="antlers"),
    "cow": _Build((120, 84, 66), 0.36, 0.075, 0.42, 0.19, 0.18, 30, 0.11, 0.15, "leaf", "tuft",
                  WHITE, extra="horns"),
    "elephant": _Build((146, 150, 164), 0.36, 0.15, 0.42, 0.27, 0.16, 24, 0.18, 0.02, "fan",
                       "tuft", None, extra="trunk"),
    "camel": _Build((206, 160, 104), 0.48, 0.06, 0.36, 0.16, 0.34, 46, 0.085, 0.15, "leaf", "tuft",
                    None, pattern="humps"),
    "giraffe": _Build((236, 190, 100), 0.46, 0.05, 0.26, 0.13, 0.52, 70, 0.07, 0.13, "leaf", "tuft",
                      (250, 232, 190), extra="knobs", pattern="patches"),
    "tiger": _Build((236, 140, 58), 0.36, 0.085, 0.4, 0.16, 0.15, 40, 0.13, 0.1, "round", "thin",
                    WHITE, pattern="stripes", dye=0.4),
    "zebra": _Build((244, 242, 240), 0.44, 0.06, 0.34, 0.15, 0.28, 52, 0.09, 0.17, "leaf", "tuft",
                    None, extra="hair", pattern="stripes", dye=0.3),
}

QUADRUPEDS: Final = tuple(_BUILDS)


def quadruped(name: str, colour: Colour | None) -> tuple[list[Part], Head]:
    """Return the parts of the animal called `name`, and where its head is."""
    build = _BUILDS[name]
    coat = build.coat if colour is None else mix(build.coat, colour, build.dye)
    shade, light = scale(coat, 0.78), build.belly or mix(coat, WHITE, 0.3)
    foot = _DARK if build.socks else scale(coat, 0.66)
    middle = build.legs + build.girth * 0.8
    rear, front = -build.body * 0.8, build.body * 0.78
    angle = math.radians(build.rise)
    shoulder = (front * 0.95, middle + build.girth * 0.35)
    head = (shoulder[0] + build.neck * math.cos(angle), shoulder[1] + build.neck * math.sin(angle))
    far = [_leg(rear + 0.1, build, -0.02), _leg(front - 0.11, build, 0.05)]
    parts: list[Part] = [(shade, far)]
    parts += _tail(build, coat, light, (-build.body * 0.98, middle + build.girth * 0.35))
    near = [_leg(rear, build, -0.05), _leg(front, build, 0.02)]
    trunk = blob(
        (-build.body * 1.08, middle + build.girth * 0.1),
        (-build.body * 0.75, middle + build.girth * 0.95),
        (0.0, middle + build.girth * 0.78),
        (build.body * 0.75, middle + build.girth),
        (build.body * 1.12, middle + build.girth * 0.1),
        (build.body * 0.75, middle - build.girth * 0.9),
        (0.0, middle - build.girth * 0.72),
        (-build.body * 0.8, middle - build.girth * 0.85),
    )
    neck = stroke([(front * 0.72, middle), shoulder, head], build.girth * 1.7, build.head * 1.5)
    if build.extra == "mane":
        mane = circle(head[0] - 0.03, head[1] - 0.02, build.head * 1.85)
        parts.append((scale(coat, 0.6), [mane]))
    if build.pattern == "humps":
        humps = [ellipse(x, middle + build.girth * 0.9, 0.13, 0.17) for x in (-0.15, 0.13)]
        parts.append((scale(coat, 0.94), humps))
    parts.append((coat, [*near, trunk, neck]))
    parts += _markings(build, coat, middle, (shoulder, head))
    if build.belly:
        x, y = front * 1.02, middle
        parts.append((light, [blob((x + 0.06, y + 0.14), (x + 0.07, y - 0.02), (x - 0.02, y - 0.1),
                                   (x - 0.03, y + 0.04))]))
    if build.socks:
        parts.append((foot, [_sock(rear - 0.05, build), _sock(front + 0.02, build)]))
    return parts + _head(build, coat, light, head), (head[0] + 0.03, head[1] + 0.02, build.head)


def _markings(build: _Build, coat: Colour, middle: float, neck: tuple[Point, Point]) -> list[Part]:
    """Return the stripes or patches of a coat."""
    (x, y), (end_x, end_y) = neck
    if build.pattern == "stripes":
        bars: list[Shape] = []
        for step in range(7):
            at = build.body * (-0.85 + 0.27 * step)
            bars.append([(at - 0.025, middle + build.girth * 0.8), (at + 0.03, middle + build.girth
                         * 0.8), (at + 0.005, middle - build.girth * (0.2 + 0.3 * (step % 2)))])
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


def _tail(build: _Build, coat: Colour, light: Colour, root: Point) -> list[Part]:
    x, y = root
    if build.tail == "bushy":
        brush = blob((x + 0.06, y), (x - 0.12, y + 0.1), (x - 0.34, y + 0.1), (x - 0.5, y - 0.02),
                     (x - 0.34, y - 0.12), (x - 0.12, y - 0.1))
        tip = blob((x - 0.34, y + 0.1), (x - 0.5, y - 0.02), (x - 0.34, y - 0.12),
                   (x - 0.3, y - 0.02))
        return [(scale(coat, 0.92), [brush]), (light, [tip])]
    if build.tail == "hair":
        return [(scale(coat, 0.5), [stroke([(x + 0.03, y + 0.06), (x - 0.12, y),
                                            (x - 0.15, y - 0.3)], 0.05, 0.11)])]
    if build.tail == "up":
        return [(coat, [stroke([(x + 0.04, y), (x - 0.1, y + 0.1), (x - 0.12, y + 0.26)], 0.08,
                               0.03)])]
    if build.tail == "short":
        return [(light, [ellipse(x, y - 0.02, 0.06, 0.06)])]
    end = (x - 0.12, y - 0.3)
    tail = stroke([(x + 0.04, y), (x - 0.09, y - 0.06), end], 0.04, 0.025)
    return [(scale(coat, 0.85), [tail]), (scale(coat, 0.5), [circle(*end, 0.04)])]


def _head(build: _Build, coat: Colour, light: Colour, at: Point) -> list[Part]:
    x, y = at
    r = build.head
    nose = (x + r * 0.5 + build.muzzle, y - r * 0.42)
    parts: list[Part] = [(scale(coat, 0.74), [_ear(build, x - r * 0.1, y, 0.9)])]
    if build.extra == "antlers":
        parts.append((scale(coat, 0.62), _antlers(x, y + r * 0.8)))
    if build.extra == "horns":
        parts.append(((236, 222, 196), [stroke([(x - r * 0.2, y + r * 0.8), (x, y + r * 1.5),
                                                (x + r * 0.5, y + r * 1.7)], 0.05, 0.012)]))
    if build.extra == "knobs":
        for lean in (-0.3, 0.25):
            top = (x + r * lean, y + r * 1.9)
            parts.append((scale(coat, 0.62), [stroke([(x + r * lean, y + r * 0.6), top], 0.022),
                                              circle(*top, 0.022)]))
    if build.extra == "hair":
        parts.append((scale(coat, 0.5), [stroke([(x + r * 0.3, y + r * 1.1), (x - r * 0.9, y),
                                                 (x - r * 2.6, y - r * 2.6)], 0.07, 0.09)]))
    skull = [circle(x, y, r)]
    if build.extra == "trunk":
        skull.append(stroke([(x + r * 0.5, y - r * 0.1), (x + r * 1.25, y - r * 0.9),
                             (x + r * 1.2, y - r * 2.2), (x + r * 1.5, y - r * 2.8)], r * 0.85,
                            r * 0.32))
    else:
        skull.append(stroke([(x, y - r * 0.1), nose], r * 1.7, r * 0.62))
        skull.append(circle(*nose, r * 0.3))
    parts.append((coat, skull))
    if build.belly:
        parts.append((light, [stroke([(x + r * 0.1, y - r * 0.66), (nose[0] - 0.005,
                                                                   nose[1] - r * 0.12)],
                                     r * 0.7, r * 0.4)]))
    parts.append((mix(coat, light, 0.12), [_ear(build, x - r * 0.35, y, 1.0)]))
    dots = [circle(x + r * 0.42, y + r * 0.18, r * 0.13)]
    if build.extra != "trunk":
        dots.append(circle(nose[0] + r * 0.16, nose[1] + r * 0.08, r * 0.17))
    parts.append((_DARK, dots))
    return parts


def _ear(build: _Build, x: float, y: float, size: float) -> Shape:
    r = build.head * size
    if build.ear == "long":
        return blob((x - r * 0.1, y + r * 0.6), (x - r * 0.6, y + r * 2.0), (x - r * 0.2,
                                                                             y + r * 2.9),
                    (x + r * 0.25, y + r * 2.0), (x + r * 0.3, y + r * 0.7))
    if build.ear == "round":
        return circle(x - r * 0.1, y + r * 0.85, r * 0.38)
    if build.ear == "flop":
        return blob((x + r * 0.1, y + r * 0.8), (x - r * 0.6, y + r * 0.7), (x - r * 0.8,
                                                                             y - r * 0.6),
                    (x - r * 0.2, y - r * 0.7))
    if build.ear == "fan":
        return blob((x + r * 0.3, y + r * 0.6), (x - r * 0.8, y + r * 0.9), (x - r * 1.1,
                                                                             y - r * 0.4),
                    (x - r * 0.3, y - r * 1.1), (x + r * 0.2, y - r * 0.3))
    if build.ear == "leaf":
        return blob((x + r * 0.1, y + r * 0.7), (x - r * 0.7, y + r * 1.1), (x - r * 0.9,
                                                                             y + r * 1.7),
                    (x - r * 0.1, y + r * 1.3))
    return [(x - r * 0.55, y + r * 0.45), (x - r * 0.3, y + r * 1.75), (x + r * 0.5, y + r * 0.75)]


def _antlers(x: float, y: float) -> list[Shape]:
    shapes: list[Shape] = []
    for hand in (-1, 1):
        beam = [(x, y), (x + hand * 0.13, y + 0.1), (x + hand * 0.12, y + 0.28)]
        shapes.append(stroke(beam, 0.028, 0.012))
        for up in (0.1, 0.19):
            root = (x + hand * 0.13, y + up)
            shapes.append(stroke([root, (root[0] + hand * 0.08, root[1] + 0.1)], 0.02, 0.008))
    return shapes
