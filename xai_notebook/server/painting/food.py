"""What stands on a table: food and drink, cut from paper.

Coordinates are the thing's own: it stands on y = 0, y points up, and its
height is about 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from xai_notebook.server.painting.canvas import blob, oval, rectangle, ring, stroke
from xai_notebook.server.painting.palette import mix, scale

if TYPE_CHECKING:
    from collections.abc import Callable

    from xai_notebook.server.painting.quadrupeds import Part
    from xai_notebook.server.painting.vocabulary import Colour

__all__ = ["FOOD"]

# Outlines read better in rows than with one number a line.
# fmt: off

WHITE: Final = (250, 246, 238)
_GREEN: Final = (84, 146, 84)


def _cup(colour: Colour | None, _leaf: Colour) -> list[Part]:
    glaze = colour or (92, 150, 160)
    steam = [stroke([(x, 0.86), (x + 0.06, 1.0), (x - 0.04, 1.14), (x + 0.03, 1.28)], 0.03, 0.008)
             for x in (-0.14, 0.04, 0.2)]
    return [
        ((250, 250, 250), steam), (scale(glaze, 0.6), [oval(0, 0.03, 0.62, 0.12)]),
        (mix(glaze, WHITE, 0.5), [oval(0, 0.06, 0.6, 0.11)]),
        (scale(glaze, 0.85), [ring(0.42, 0.46, 0.18, 0.065)]),
        (glaze, [blob((-0.42, 0.76), (-0.4, 0.4), (-0.22, 0.08), (0.22, 0.08), (0.4, 0.4),
                      (0.42, 0.76))]),
        (mix(glaze, WHITE, 0.35), [oval(0, 0.76, 0.43, 0.2)]),
        ((96, 62, 46), [oval(0, 0.75, 0.36, 0.19)]), ((140, 96, 68), [oval(-0.08, 0.77, 0.2,
                                                                                 0.16)]),
    ]


def _apple(colour: Colour | None, _leaf: Colour) -> list[Part]:
    skin = colour or (206, 58, 54)
    return [
        ((96, 70, 52), [stroke([(0, 0.74), (0.03, 0.88), (0.1, 0.98)], 0.05, 0.035)]),
        ((110, 166, 86), [blob((0.05, 0.86), (0.2, 1.0), (0.38, 0.94), (0.22, 0.84))]),
        (skin, [blob((0, 0.74), (-0.24, 0.82), (-0.44, 0.6), (-0.4, 0.24), (-0.16, 0.0), (0, 0.04),
                     (0.16, 0.0), (0.4, 0.24), (0.44, 0.6), (0.24, 0.82))]),
        (mix(skin, WHITE, 0.35), [blob((-0.3, 0.62), (-0.2, 0.7), (-0.24, 0.44), (-0.33, 0.4))]),
    ]


def _pear(colour: Colour | None, _leaf: Colour) -> list[Part]:
    skin = colour or (186, 196, 84)
    return [
        ((96, 70, 52), [stroke([(0, 0.86), (0.02, 0.96), (0.08, 1.04)], 0.045, 0.035)]),
        (_GREEN, [blob((0.04, 0.92), (0.18, 1.04), (0.34, 0.98), (0.2, 0.9))]),
        (skin, [blob((0, 0.9), (-0.14, 0.82), (-0.2, 0.6), (-0.38, 0.32), (-0.26, 0.03), (0, 0.02),
                     (0.26, 0.03), (0.38, 0.32), (0.2, 0.6), (0.14, 0.82))]),
        (mix(skin, WHITE, 0.35), [blob((-0.24, 0.42), (-0.15, 0.5), (-0.2, 0.22), (-0.28, 0.2))]),
    ]


def _lemon(colour: Colour | None, _leaf: Colour) -> list[Part]:
    skin = colour or (250, 214, 66)
    return [
        (_GREEN, [blob((0.44, 0.56), (0.6, 0.78), (0.82, 0.78), (0.66, 0.6))]),
        (skin, [blob((-0.62, 0.36), (-0.46, 0.46), (-0.2, 0.68), (0.2, 0.68), (0.44, 0.52),
                     (0.56, 0.46), (0.5, 0.3), (0.2, 0.04), (-0.2, 0.04), (-0.48, 0.26))]),
        (mix(skin, WHITE, 0.5), [blob((-0.3, 0.48), (-0.1, 0.58), (-0.16, 0.5), (-0.32, 0.4))]),
    ]


def _banana(colour: Colour | None, _leaf: Colour) -> list[Part]:
    skin = colour or (250, 212, 70)
    lower = [(-0.62, 0.6), (-0.46, 0.24), (-0.06, 0.02), (0.4, 0.08), (0.68, 0.36)]
    upper = [(0.6, 0.42), (0.3, 0.3), (-0.04, 0.32), (-0.3, 0.5), (-0.46, 0.68)]
    return [
        (skin, [blob(*lower, *upper)]),
        (scale(skin, 0.88), [blob(*lower, (0.4, 0.17), (-0.04, 0.13), (-0.38, 0.34))]),
        ((110, 84, 56), [stroke([(-0.55, 0.64), (-0.6, 0.8)], 0.09, 0.06),
                         oval(0.65, 0.385, 0.045)]),
    ]


def _strawberry(colour: Colour | None, _leaf: Colour) -> list[Part]:
    skin = colour or (222, 52, 62)
    seeds = [oval(x, y, 0.022, 1.4) for x, y in (
        (-0.22, 0.6), (0, 0.62), (0.22, 0.6), (-0.12, 0.46), (0.12, 0.46), (-0.24, 0.38),
        (0.24, 0.38),
        (0, 0.32), (-0.1, 0.2), (0.1, 0.2))]
    star = [blob((0, 0.78), (s * 0.16, 0.86), (s * 0.34, 0.72), (s * 0.16, 0.7)) for s in (-1, 1)]
    return [
        (skin, [blob((0, 0.0), (-0.22, 0.18), (-0.4, 0.52), (-0.26, 0.76), (0, 0.74), (0.26, 0.76),
                     (0.4, 0.52), (0.22, 0.18))]),
        ((255, 222, 140), seeds),
        (_GREEN, [*star, blob((0, 0.8), (-0.06, 0.6), (0, 0.56), (0.06, 0.6)),
                  stroke([(0, 0.78), (0.04, 0.98)], 0.04)]),
    ]


def _pizza(colour: Colour | None, _leaf: Colour) -> list[Part]:
    sauce = colour or (222, 74, 50)
    slices = [(-0.34, 0.42), (0.02, 0.58), (0.34, 0.4), (-0.06, 0.24), (0.26, 0.2), (-0.4, 0.24)]
    basil = [blob((x, y), (x + 0.05, y + 0.05), (x + 0.13, y + 0.03), (x + 0.06, y - 0.02))
             for x, y in ((-0.2, 0.5), (0.14, 0.42), (-0.24, 0.2), (0.1, 0.12), (0.46, 0.3))]
    return [
        ((232, 226, 218), [oval(0, 0.32, 0.84, 0.45)]),
        ((214, 150, 84), [oval(0, 0.36, 0.74, 0.45)]),
        (sauce, [oval(0, 0.37, 0.64, 0.44)]), ((250, 214, 112), [oval(0, 0.38, 0.6, 0.43)]),
        (scale(sauce, 0.9), [oval(x, y, 0.105, 0.55) for x, y in slices]),
        (_GREEN, basil),
        (scale((214, 150, 84), 0.9), [stroke([(-0.6, 0.2), (0.6, 0.54)], 0.012),
                                      stroke([(-0.6, 0.54), (0.6, 0.2)], 0.012)]),
    ]


def _ice(colour: Colour | None, _leaf: Colour) -> list[Part]:
    cream = colour or (246, 160, 180)
    wafer = (222, 166, 98)
    grid = [stroke([(-0.2 + n * 0.1, 0.46), (-0.02 + n * 0.02, 0.06)], 0.014) for n in range(5)]
    return [
        (wafer, [[(-0.25, 0.5), (0.25, 0.5), (0.0, 0.0)]]), (scale(wafer, 0.82), grid),
        ((250, 240, 214), [oval(0.13, 0.62, 0.19)]), ((140, 96, 76), [oval(-0.13, 0.62, 0.19)]),
        (cream, [oval(0, 0.82, 0.2)]),
        (mix(cream, WHITE, 0.5), [oval(-0.07, 0.88, 0.05)]),
        ((206, 46, 60), [oval(0.02, 1.04, 0.06)]),
        (scale(wafer, 0.9), [rectangle(-0.27, 0.46, 0.27, 0.52)]),
    ]


def _bowl(colour: Colour | None, _leaf: Colour) -> list[Part]:
    glaze = colour or (60, 96, 146)
    steam = [stroke([(x, 0.8), (x + 0.06, 0.94), (x - 0.04, 1.08), (x + 0.03, 1.2)], 0.03, 0.008)
             for x in (-0.3, -0.08)]
    noodles = [stroke([(x, 0.46), (x + 0.07, 0.52), (x + 0.16, 0.5), (x + 0.22, 0.56)], 0.03)
               for x in (-0.44, -0.34, -0.22, -0.1)]
    onions = [oval(x, y, 0.035, 0.6) for x, y in ((0.06, 0.45), (0.16, 0.43), (0.36, 0.47),
                                                  (-0.3, 0.58), (0.0, 0.58))]
    return [
        ((250, 250, 250), steam), (scale(glaze, 0.6), [oval(0, 0.05, 0.28, 0.2)]),
        (glaze, [blob((-0.64, 0.5), (-0.58, 0.28), (-0.32, 0.06), (0.32, 0.06), (0.58, 0.28),
                      (0.64, 0.5))]),
        (mix(glaze, WHITE, 0.55), [oval(0, 0.5, 0.65, 0.25)]),
        ((186, 116, 58), [oval(0, 0.5, 0.57, 0.23)]), ((248, 220, 150), noodles),
        (WHITE, [oval(0.26, 0.55, 0.14, 0.62)]), ((246, 172, 56), [oval(0.26, 0.55, 0.07, 0.62)]),
        (_GREEN, onions),
        ((126, 80, 54), [stroke([(-0.02, 0.54), (0.7, 0.9)], 0.03, 0.022),
                         stroke([(0.06, 0.5), (0.78, 0.8)], 0.03, 0.022)]),
    ]


FOOD: Final[dict[str, Callable[[Colour | None, Colour], list[Part]]]] = {
    "cup": _cup, "apple": _apple, "pear": _pear, "lemon": _lemon, "banana": _banana,
    "strawberry": _strawberry, "pizza": _pizza, "icecream": _ice, "bowl": _bowl,
}
