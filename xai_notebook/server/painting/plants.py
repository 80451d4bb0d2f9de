"""Plants, cut from paper.

Coordinates are the thing's own: it stands on y = 0, y points up, and its
height is about 1.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from xai_notebook.server.painting.canvas import blob, oval, rectangle, stroke
from xai_notebook.server.painting.palette import mix, scale

if TYPE_CHECKING:
    from collections.abc import Callable

    from xai_notebook.server.painting.canvas import Shape
    from xai_notebook.server.painting.quadrupeds import Part
    from xai_notebook.server.painting.vocabulary import Colour

__all__ = ["PLANTS"]

# Outlines read better in rows than with one number a line.
# fmt: off

WHITE: Final = (250, 246, 238)
_GREEN: Final = (84, 146, 84)


def _tree(colour: Colour | None, leaf: Colour) -> list[Part]:
    crown = colour or leaf
    return [
        ((104, 76, 62), [stroke([(0, 0), (0.01, 0.3), (0, 0.55)], 0.11, 0.06),
                         stroke([(0, 0.32), (0.14, 0.5)], 0.05, 0.02),
                         stroke([(0, 0.36), (-0.14, 0.52)], 0.05, 0.02)]),
        (scale(crown, 0.8), [oval(-0.2, 0.56, 0.2), oval(0.22, 0.55, 0.19)]),
        (crown, [oval(0, 0.72, 0.27), oval(-0.16, 0.66, 0.18), oval(0.17, 0.66, 0.18)]),
        (mix(crown, WHITE, 0.22), [oval(-0.07, 0.84, 0.1), oval(0.13, 0.75, 0.07),
                                   oval(-0.2, 0.7, 0.05)]),
    ]


def _pine(colour: Colour | None, leaf: Colour) -> list[Part]:
    tone = colour or mix(leaf, (44, 96, 82), 0.7)
    tiers = [[(-w, low), (0, high), (w, low)] for w, low, high in
             ((0.32, 0.1, 0.52), (0.26, 0.32, 0.72), (0.19, 0.56, 1.0))]
    half = [[(0, low), (0, high), (w, low)] for w, low, high in
            ((0.32, 0.1, 0.52), (0.26, 0.32, 0.72), (0.19, 0.56, 1.0))]
    return [((98, 74, 62), [rectangle(-0.04, 0, 0.04, 0.14)]), (tone, tiers),
            (scale(tone, 0.84), half)]


def _palm(colour: Colour | None, leaf: Colour) -> list[Part]:
    green = colour or mix(leaf, (70, 150, 80), 0.6)
    top = (0.12, 0.78)
    fronds: list[Shape] = []
    for x, y in ((-0.42, 0.62), (-0.36, 0.9), (-0.06, 1.06), (0.34, 1.02), (0.56, 0.82),
                 (0.5, 0.56)):
        middle = (top[0] + (x - top[0]) * 0.5, max(top[1], y) + 0.1)
        fronds.append(blob(top, (middle[0], middle[1] + 0.03), (x, y),
                           (middle[0] + (0.02 if x > 0 else -0.02), middle[1] - 0.1)))
    return [
        ((150, 112, 78), [stroke([(-0.08, 0), (-0.06, 0.3), (0.02, 0.56), top], 0.1, 0.055)]),
        ((128, 92, 66), [stroke([(-0.1 + 0.016 * n, 0.12 + n * 0.1),
                                 (-0.02 + 0.022 * n, 0.13 + n * 0.1)], 0.012) for n in range(6)]),
        (scale(green, 0.78), fronds[::2]), (green, fronds[1::2]),
        ((112, 78, 58), [oval(0.07, 0.75, 0.04), oval(0.16, 0.74, 0.04)]),
    ]


def _cactus(colour: Colour | None, _leaf: Colour) -> list[Part]:
    green = colour or (86, 150, 96)
    arms = [stroke([(-0.02, 0.36), (-0.26, 0.4), (-0.28, 0.68)], 0.12, 0.1),
            oval(-0.28, 0.68, 0.05),
            stroke([(0.02, 0.48), (0.24, 0.52), (0.26, 0.8)], 0.11, 0.09), oval(0.26, 0.8, 0.045)]
    ribs = [stroke([(x, 0.04), (x, 0.9)], 0.014) for x in (-0.04, 0.04)]
    return [(green, [*arms, rectangle(-0.1, 0, 0.1, 0.92), oval(0, 0.92, 0.1)]),
            (scale(green, 0.8), ribs), ((240, 120, 150),
                                        [oval(0, 1.02, 0.05), oval(0.26, 0.85, 0.03)])]


def _stalks() -> tuple[list[Shape], list[tuple[float, float, float]]]:
    """Return stems with leaves, and where their flowers sit: x, y and size."""
    heads = [(0.0, 0.78, 0.17), (-0.27, 0.58, 0.125), (0.26, 0.54, 0.13)]
    stems = [stroke([(x * 0.2, 0.0), (x * 0.5, y * 0.5), (x, y)], 0.035, 0.025) for x, y,
             _ in heads]
    leaves = [blob((0, 0.1), (s * 0.12, 0.26), (s * 0.3, 0.3), (s * 0.16, 0.1)) for s in (-1, 1)]
    return [*stems, *leaves], heads


def _flower(colour: Colour | None, _leaf: Colour) -> list[Part]:
    petal = colour or (236, 92, 110)
    stems, heads = _stalks()
    petals: list[Shape] = []
    for x, y, size in heads:
        for turn in range(7):
            angle = turn * math.tau / 7
            tip = (x + math.cos(angle) * size, y + math.sin(angle) * size)
            petals.append(stroke([(x, y), tip], size * 0.4, size * 0.72))
            petals.append(oval(*tip, size * 0.36))
    heart = (250, 206, 96) if sum(petal) < 640 or petal[2] > 180 else (196, 130, 60)  # noqa: PLR2004
    return [(_GREEN, stems), (petal, petals), (heart, [oval(x, y, r * 0.42) for x, y, r in heads])]


def _sunflower(colour: Colour | None, _leaf: Colour) -> list[Part]:
    petal = colour or (250, 196, 46)
    stems, heads = _stalks()
    rows: tuple[list[Shape], list[Shape]] = ([], [])
    for x, y, size in heads:
        for turn in range(26):
            angle = turn * math.tau / 26
            cos, sin, long = math.cos(angle), math.sin(angle), size * (1.42, 1.28)[turn % 2]
            wide = size * 0.15
            rows[turn % 2].append(
                [(x, y), (x + cos * long * 0.7 - sin * wide, y + sin * long * 0.7 + cos * wide),
                 (x + cos * long, y + sin * long),
                 (x + cos * long * 0.7 + sin * wide, y + sin * long * 0.7 - cos * wide)])
    return [
        (_GREEN, stems), (scale(petal, 0.86), rows[0]), (petal, rows[1]),
        ((104, 66, 44), [oval(x, y, size * 0.68) for x, y, size in heads]),
        ((74, 48, 38), [oval(x, y, size * 0.4) for x, y, size in heads]),
    ]


def _tulip(colour: Colour | None, _leaf: Colour) -> list[Part]:
    petal = colour or (226, 66, 84)
    stems, heads = _stalks()
    sides: list[Shape] = []
    middles: list[Shape] = []
    for x, y, size in heads:
        r = size * 0.85
        sides += [blob((x, y - r), (x + s * r * 0.85, y - r * 0.5), (x + s * r * 0.8, y + r * 0.5),
                       (x + s * r * 0.5, y + r * 1.3), (x, y + r * 0.4)) for s in (-1, 1)]
        middles.append(blob((x, y - r), (x - r * 0.5, y - r * 0.2), (x - r * 0.3, y + r * 0.7),
                            (x, y + r * 1.25), (x + r * 0.3, y + r * 0.7),
                            (x + r * 0.5, y - r * 0.2)))
    blades = [blob((0, 0), (s * 0.1, 0.3), (s * 0.2, 0.52), (s * 0.16, 0.2)) for s in (-1, 1)]
    return [(_GREEN, [*stems, *blades]), (scale(petal, 0.84), sides), (petal, middles)]


def _rose(colour: Colour | None, _leaf: Colour) -> list[Part]:
    petal = colour or (206, 44, 62)
    stems, heads = _stalks()
    parts: list[Part] = [(_GREEN, stems)]
    for ring_number, shade in enumerate((0.72, 0.86, 1.0, 0.8, 0.95)):
        petals: list[Shape] = []
        for x, y, size in heads:
            r = size * (1.0, 0.78, 0.56, 0.34, 0.18)[ring_number]
            petals += [oval(x + math.cos(a) * r * 0.36, y + math.sin(a) * r * 0.36, r * 0.72)
                       for a in (ring_number * 0.7 + n * math.tau / 5 for n in range(5))]
        parts.append((scale(petal, shade), petals))
    return parts


def _mushroom(colour: Colour | None, _leaf: Colour) -> list[Part]:
    cap = colour or (214, 62, 52)
    dots = [oval(-0.2, 0.7, 0.06, 0.8), oval(0.06, 0.82, 0.07, 0.8), oval(0.25, 0.66,
                                                                                   0.05)]
    return [
        ((244, 234, 214), [blob((-0.13, 0), (-0.09, 0.3), (-0.1, 0.56), (0.1, 0.56), (0.09, 0.3),
                                (0.14, 0))]),
        (scale(cap, 0.72), [oval(0, 0.54, 0.38, 0.2)]),
        (cap, [blob((-0.42, 0.53), (-0.32, 0.8), (0, 0.97), (0.32, 0.8), (0.42, 0.53), (0, 0.5))]),
        (WHITE, dots),
    ]


PLANTS: Final[dict[str, Callable[[Colour | None, Colour], list[Part]]]] = {
    "tree": _tree, "pine": _pine, "palm": _palm, "cactus": _cactus, "flower": _flower,
    "sunflower": _sunflower, "tulip": _tulip, "rose": _rose, "mushroom": _mushroom,
}
