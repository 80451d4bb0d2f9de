"""Things: buildings, vehicles and what stands about.

Coordinates are the thing's own: it stands on y = 0, y points up, and its
height is about 1.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from xai_notebook.server.painting.canvas import blob, oval, rectangle, ring, stroke
from xai_notebook.server.painting.food import FOOD
from xai_notebook.server.painting.palette import mix, scale
from xai_notebook.server.painting.plants import PLANTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from xai_notebook.server.painting.canvas import Shape
    from xai_notebook.server.painting.quadrupeds import Part
    from xai_notebook.server.painting.vocabulary import Colour

__all__ = ["OBJECTS", "build"]

# Outlines read better in rows than with one number a line.
# fmt: off

WHITE: Final = (250, 246, 238)
_DARK: Final = (50, 46, 58)
_WINDOW: Final = (255, 218, 138)


def build(name: str, colour: Colour | None, leaf: Colour) -> list[Part]:
    """Return the parts of the thing called `name`.

    Args:
        name: A key of `OBJECTS`.
        colour: Its colour; None: its own.
        leaf: Colour of foliage in this season.
    """
    return OBJECTS[name](colour, leaf)


def _house(colour: Colour | None, _leaf: Colour) -> list[Part]:
    wall = colour or (240, 226, 204)
    return [
        (scale(wall, 0.6), [rectangle(0.2, 0.62, 0.3, 0.96)]),
        (wall, [rectangle(-0.42, 0, 0.42, 0.5)]),
        (scale(wall, 0.86), [rectangle(0.1, 0, 0.42, 0.5)]),
        ((178, 78, 66), [[(-0.52, 0.46), (-0.3, 0.86), (0.3, 0.86), (0.52, 0.46)]]),
        ((150, 62, 58), [[(0.08, 0.46), (0.3, 0.86), (0.52, 0.46)]]),
        ((110, 72, 58), [rectangle(-0.07, 0, 0.08, 0.28)]),
        (_WINDOW, [rectangle(-0.33, 0.18, -0.17, 0.34), rectangle(0.18, 0.18, 0.34, 0.34)]),
        (WHITE, [rectangle(-0.257, 0.18, -0.243, 0.34), rectangle(0.253, 0.18, 0.267, 0.34)]),
    ]


def _castle(colour: Colour | None, _leaf: Colour) -> list[Part]:
    stone = colour or (178, 172, 182)

    def battlements(left: float, right: float, top: float) -> list[Shape]:
        step = (right - left) / 5
        return [rectangle(left + step * n, top, left + step * (n + 1), top + 0.045)
                for n in (0, 2, 4)]

    roofs = [[(x - w, y), (x, y + 0.26), (x + w, y)] for x, w, y in
             ((-0.4, 0.13, 0.58), (0.4, 0.13, 0.54), (0.04, 0.13, 0.8))]
    return [
        (scale(stone, 0.84), [rectangle(-0.06, 0, 0.14, 0.8)]),
        (stone, [rectangle(-0.34, 0, 0.34, 0.36), *battlements(-0.34, 0.34, 0.36),
                 rectangle(-0.5, 0, -0.3, 0.58), rectangle(0.3, 0, 0.5, 0.54)]),
        (scale(stone, 0.88), [rectangle(-0.36, 0, -0.3, 0.58), rectangle(0.44, 0, 0.5, 0.54)]),
        ((86, 92, 140), roofs),
        (_DARK, [[(-0.1, 0), (-0.1, 0.14), (0, 0.22), (0.1, 0.14), (0.1, 0)]]),
        (_WINDOW, [rectangle(x - 0.018, y, x + 0.018, y + 0.07) for x, y in
                   ((-0.4, 0.36), (-0.4, 0.2), (0.4, 0.34), (0.04, 0.6), (0.04, 0.46), (-0.2, 0.2),
                    (0.2, 0.2))]),
        ((226, 92, 80), [[(0.04, 1.06), (0.04, 1.16), (0.18, 1.11)]]),
    ]


def _lighthouse(colour: Colour | None, _leaf: Colour) -> list[Part]:
    band = colour or (206, 62, 56)

    def ring(low: float, high: float) -> Shape:
        half = [0.13 - 0.05 * y / 0.74 for y in (low, high)]
        return [(-half[0], low), (-half[1], high), (half[1], high), (half[0], low)]

    shade = [(0.02, 0.04), (0.02, 0.74), (0.08, 0.74), (0.13, 0.04)]
    return [
        ((96, 92, 104), [blob((-0.62, -0.12), (-0.4, 0.04), (-0.14, 0.1), (0.16, 0.09), (0.42,
                                                                                         0.03),
                              (0.66, -0.12), (0, -0.16))]),
        ((240, 236, 230), [ring(0.04, 0.74)]),
        (band, [ring(0.17, 0.31), ring(0.45, 0.59)]),
        ((196, 190, 190), [rectangle(-0.13, 0.73, 0.13, 0.765)]),
        (_WINDOW, [rectangle(-0.065, 0.765, 0.065, 0.87)]),
        (scale(band, 0.86), [[(-0.1, 0.87), (0, 0.98), (0.1, 0.87)], oval(0, 0.985, 0.018)]),
        (_DARK, [rectangle(-0.022, 0.34, 0.022, 0.42), rectangle(-0.03, 0.05, 0.03, 0.14)]),
        (scale(band, 0.8), [[(x, y) for x, y in shade if y < 0]]),
    ]


def _windmill(colour: Colour | None, _leaf: Colour) -> list[Part]:
    wall = colour or (236, 226, 206)
    sails: list[Shape] = []
    for quarter in range(4):
        turn = 0.5 + quarter * math.pi / 2
        along, across = (math.cos(turn), math.sin(turn)), (-math.sin(turn), math.cos(turn))
        sails.append([
            (along[0] * a + across[0] * b, 0.68 + along[1] * a + across[1] * b)
            for a, b in ((0.04, 0.0), (0.48, 0.0), (0.48, 0.13), (0.12, 0.13))
        ])
    return [
        (wall, [[(-0.2, 0), (-0.12, 0.66), (0.12, 0.66), (0.2, 0)]]),
        (scale(wall, 0.85), [[(0.04, 0), (0.03, 0.66), (0.12, 0.66), (0.2, 0)]]),
        ((150, 84, 70), [[(-0.15, 0.64), (0, 0.84), (0.15, 0.64)]]),
        ((110, 76, 62), [rectangle(-0.05, 0, 0.05, 0.16)]),
        (_WINDOW, [rectangle(-0.03, 0.34, 0.03, 0.44)]),
        ((250, 244, 232), sails), (_DARK, [oval(0, 0.68, 0.035)]),
    ]


def _boat(colour: Colour | None, _leaf: Colour) -> list[Part]:
    hull = colour or (188, 70, 60)
    return [
        ((120, 88, 66), [rectangle(-0.012, 0.16, 0.012, 1.0)]),
        ((250, 244, 230), [blob((0.03, 0.24), (0.03, 0.96), (0.2, 0.6), (0.42, 0.25))]),
        ((228, 216, 196), [blob((-0.03, 0.24), (-0.03, 0.82), (-0.18, 0.5), (-0.3, 0.25))]),
        (hull, [[(-0.46, 0.18), (0.5, 0.18), (0.36, -0.02), (-0.34, -0.02)]]),
        (WHITE, [[(-0.46, 0.18), (0.5, 0.18), (0.48, 0.15), (-0.45, 0.15)]]),
    ]


def _rocket(colour: Colour | None, _leaf: Colour) -> list[Part]:
    trim = colour or (222, 72, 66)
    return [
        ((255, 196, 80), [blob((-0.1, 0.16), (-0.06, -0.08), (0, -0.26), (0.06, -0.08), (0.1,
                                                                                         0.16))]),
        ((255, 240, 190), [blob((-0.05, 0.16), (0, -0.1), (0.05, 0.16))]),
        (trim, [blob((-0.13, 0.42), (-0.28, 0.22), (-0.27, 0.08), (-0.1, 0.2)),
                blob((0.13, 0.42), (0.28, 0.22), (0.27, 0.08), (0.1, 0.2))]),
        ((240, 242, 248), [blob((-0.13, 0.18), (-0.17, 0.5), (-0.1, 0.82), (0, 1.0), (0.1, 0.82),
                                (0.17, 0.5), (0.13, 0.18))]),
        (trim, [blob((-0.1, 0.8), (0, 1.01), (0.1, 0.8), (0.0, 0.78))]),
        ((70, 110, 160), [oval(0, 0.6, 0.075)]), ((170, 214, 240), [oval(-0.015, 0.615,
                                                                               0.045)]),
    ]


def _balloon(colour: Colour | None, _leaf: Colour) -> list[Part]:
    tone = colour or (226, 84, 72)
    skin = blob((0, 1.0), (-0.3, 0.88), (-0.36, 0.62), (-0.2, 0.38), (-0.07, 0.26), (0.07, 0.26),
                (0.2, 0.38), (0.36, 0.62), (0.3, 0.88))
    gores = [blob((0, 1.0), (s * 0.17, 0.88), (s * 0.2, 0.62), (s * 0.12, 0.38), (s * 0.04, 0.26),
                  (s * 0.02, 0.26), (s * 0.05, 0.4), (s * 0.08, 0.62), (s * 0.07, 0.88))
             for s in (-1, 1)]
    ropes = [stroke([(s * 0.06, 0.27), (s * 0.055, 0.12)], 0.008) for s in (-1, 1)]
    return [(tone, [skin]), (mix(tone, (255, 226, 150), 0.8), gores), ((90, 70, 60), ropes),
            ((150, 104, 70), [rectangle(-0.065, 0.02, 0.065, 0.13)]),
            ((120, 82, 58), [rectangle(-0.075, 0.11, 0.075, 0.135)])]


def _bicycle(colour: Colour | None, _leaf: Colour) -> list[Part]:
    paint = colour or (60, 130, 120)
    wheels = [ring(x, 0.3, 0.3, 0.035) for x in (-0.5, 0.5)]
    spokes: list[Shape] = []
    for x in (-0.5, 0.5):
        for turn in range(8):
            a = turn * math.pi / 8
            spokes.append(stroke([(x - 0.28 * math.cos(a), 0.3 - 0.28 * math.sin(a)),
                                  (x + 0.28 * math.cos(a), 0.3 + 0.28 * math.sin(a))], 0.006))
    crank, seat, head = (-0.06, 0.28), (-0.2, 0.72), (0.36, 0.76)
    tubes = [stroke(list(line), 0.042) for line in (
        (crank, seat), (crank, head), ((-0.17, 0.64), (0.35, 0.7)), ((-0.5, 0.3), crank),
        ((-0.5, 0.3), (-0.17, 0.62)), (head, (0.5, 0.3)))]
    return [
        ((190, 194, 200), spokes), (_DARK, wheels), (paint, tubes),
        (_DARK, [stroke([seat, (-0.22, 0.8)], 0.03), blob((-0.36, 0.82), (-0.22, 0.85), (-0.08,
                                                                                         0.82),
                                                          (-0.22, 0.78)),
                 stroke([head, (0.34, 0.9), (0.24, 0.94)], 0.03), oval(*crank, 0.06),
                 stroke([crank, (0.02, 0.14)], 0.022), rectangle(-0.03, 0.12, 0.08, 0.145)]),
        ((196, 150, 96), [[(0.38, 0.6), (0.66, 0.6), (0.7, 0.82), (0.36, 0.82)]]),
        ((240, 120, 130), [oval(0.44, 0.88, 0.055), oval(0.62, 0.87, 0.05)]),
        ((250, 206, 110), [oval(0.53, 0.9, 0.06)]),
    ]


def _car(colour: Colour | None, _leaf: Colour) -> list[Part]:
    paint = colour or (222, 92, 76)
    return [
        (scale(paint, 0.9), [blob((-0.42, 0.4), (-0.3, 0.74), (0.12, 0.76), (0.4, 0.42))]),
        ((176, 214, 226), [blob((-0.33, 0.44), (-0.25, 0.68), (-0.04, 0.69), (-0.04, 0.44)),
                           blob((0.02, 0.44), (0.02, 0.69), (0.13, 0.67), (0.3, 0.44))]),
        (paint, [blob((-0.78, 0.2), (-0.76, 0.4), (-0.4, 0.46), (0.4, 0.46), (0.74, 0.38),
                      (0.78, 0.2), (0, 0.13))]),
        ((255, 236, 180), [oval(0.72, 0.32, 0.05)]),
        (_DARK, [oval(-0.44, 0.16, 0.17), oval(0.44, 0.16, 0.17)]),
        ((206, 206, 212), [oval(-0.44, 0.16, 0.08), oval(0.44, 0.16, 0.08)]),
    ]


def _train(colour: Colour | None, _leaf: Colour) -> list[Part]:
    paint = colour or (70, 110, 150)
    wheels = [oval(x, 0.1, 0.1) for x in (-1.3, -1.0, -0.6, -0.3, 0.1, 0.34, 0.58)]
    return [
        (scale(paint, 0.84), [rectangle(-1.45, 0.12, -0.5, 0.66)]),
        (_WINDOW, [rectangle(x, 0.38, x + 0.16, 0.56) for x in (-1.36, -1.12, -0.88)]),
        (paint, [rectangle(-0.4, 0.12, 0.06, 0.84), blob((0.0, 0.16), (0.0, 0.6), (0.6, 0.62),
                                                         (0.74, 0.4), (0.62, 0.16))]),
        (_DARK, [rectangle(-0.46, 0.82, 0.12, 0.89), rectangle(0.42, 0.58, 0.54, 0.9),
                 rectangle(-1.5, 0.64, -0.46, 0.7), *wheels]),
        (_WINDOW, [rectangle(-0.3, 0.5, -0.06, 0.74), oval(0.72, 0.42, 0.05)]),
        ((236, 238, 242), [oval(0.46, 1.04, 0.1), oval(0.3, 1.18, 0.14),
                           oval(0.04, 1.3, 0.17)]),
    ]


def _vase(colour: Colour | None, leaf: Colour) -> list[Part]:
    glaze = colour or (84, 120, 170)
    bouquet = [(tone, [[(x * 0.9, y * 0.7 + 0.42) for x, y in shape] for shape in shapes])
               for tone, shapes in PLANTS["flower"](None, leaf)]
    return [
        *bouquet,
        (glaze, [blob((-0.13, 0.56), (-0.1, 0.46), (-0.25, 0.26), (-0.16, 0.02), (0.16, 0.02),
                      (0.25, 0.26), (0.1, 0.46), (0.13, 0.56))]),
        (mix(glaze, WHITE, 0.4), [blob((-0.16, 0.3), (-0.1, 0.36), (-0.11, 0.14), (-0.15, 0.14)),
                                  rectangle(-0.13, 0.53, 0.13, 0.56)]),
    ]


def _book(colour: Colour | None, _leaf: Colour) -> list[Part]:
    tones = [colour or (170, 70, 66), (70, 110, 130), (214, 164, 80)]
    parts: list[Part] = []
    for number, tone in enumerate(tones):
        low, left = number * 0.22, (-0.55, -0.46, -0.5)[number]
        parts += [(tone, [rectangle(left, low, left + 1.0, low + 0.21)]),
                  ((246, 238, 220), [rectangle(left + 0.08, low + 0.03, left + 1.01, low + 0.18)]),
                  (scale(tone, 0.85), [rectangle(left, low, left + 0.1, low + 0.21)])]
    return parts


def _umbrella(colour: Colour | None, _leaf: Colour) -> list[Part]:
    cloth = colour or (220, 70, 80)
    top = [(0.5 * math.cos(a * math.pi / 24), 0.56 + 0.38 * math.sin(a * math.pi / 24))
           for a in range(25)]
    scallops = [oval(x, 0.555, 0.125, 0.3) for x in (-0.375, -0.125, 0.125, 0.375)]
    slices = [blob((0, 0.94), (s * 0.2, 0.8), (s * 0.25, 0.56), (s * 0.02, 0.56)) for s in (-1, 1)]
    return [
        ((96, 70, 60), [stroke([(0, 0.9), (0, 0.1), (0.06, 0.03), (0.11, 0.1)], 0.026)]),
        (scale(cloth, 0.7), scallops), (cloth, [top]), (mix(cloth, WHITE, 0.2), slices),
        (_DARK, [stroke([(0, 0.94), (0, 1.0)], 0.02)]),
    ]


def _tent(colour: Colour | None, _leaf: Colour) -> list[Part]:
    cloth = colour or (236, 142, 70)
    return [
        (scale(cloth, 0.72), [[(0.0, 0.72), (0.34, 0.72), (0.86, 0.0), (0.5, 0.0)]]),
        (cloth, [[(-0.5, 0.0), (0.0, 0.74), (0.5, 0.0)]]),
        ((255, 224, 150), [[(-0.17, 0.0), (0.0, 0.52), (0.17, 0.0)]]),
        (scale(cloth, 0.6), [[(-0.17, 0.0), (0.0, 0.52), (-0.05, 0.0)]]),
    ]


def _lamp(colour: Colour | None, _leaf: Colour) -> list[Part]:
    metal = colour or (70, 74, 86)
    return [
        (metal, [rectangle(-0.24, 0.0, 0.24, 0.07), rectangle(-0.2, 0.07, 0.2, 0.1),
                 [(-0.24, 0.68), (0, 0.86), (0.24, 0.68)], ring(0, 0.91, 0.08, 0.025)]),
        ((255, 226, 140), [rectangle(-0.17, 0.1, 0.17, 0.68)]),
        ((255, 250, 222), [blob((-0.06, 0.24), (-0.07, 0.36), (0, 0.54), (0.07, 0.36), (0.06,
                                                                                        0.24))]),
        (metal, [rectangle(-0.2, 0.1, -0.165, 0.68), rectangle(0.165, 0.1, 0.2, 0.68)]),
    ]


def _bridge(colour: Colour | None, _leaf: Colour) -> list[Part]:
    stone = colour or (190, 92, 72)
    arch = [(1.3 * math.cos(a * math.pi / 24), 0.12 + 0.62 * math.sin(a * math.pi / 24))
            for a in range(25)]
    under = [(x * 0.8, 0.1 + (y - 0.12) * 0.66) for x, y in arch]
    rails = [stroke([(x, 0.12 + 0.62 * math.sqrt(max(0.0, 1 - (x / 1.3) ** 2))),
                     (x, 0.24 + 0.62 * math.sqrt(max(0.0, 1 - (x / 1.3) ** 2)))], 0.03)
             for x in (-1.1, -0.8, -0.5, -0.2, 0.1, 0.4, 0.7, 1.0)]
    return [(scale(stone, 0.8), [stroke([(x, y + 0.12) for x, y in arch[::4]], 0.05), *rails]),
            (stone, [arch + under[::-1]])]


def _bus(colour: Colour | None, _leaf: Colour) -> list[Part]:
    paint = colour or (248, 190, 52)
    glass = [rectangle(x, 0.52, x + 0.2, 0.74) for x in (-0.86, -0.6, -0.34, -0.08, 0.18)]
    return [
        (paint, [blob((-1.0, 0.14), (-1.0, 0.84), (-0.9, 0.9), (0.56, 0.9), (0.68, 0.82),
                      (0.72, 0.5), (0.72, 0.14)),
                 blob((0.6, 0.14), (0.6, 0.5), (0.98, 0.46), (1.04, 0.3), (1.02, 0.14))]),
        ((176, 214, 226), [*glass, [(0.46, 0.52), (0.46, 0.74), (0.63, 0.74), (0.67, 0.52)]]),
        (_DARK, [rectangle(-1.0, 0.4, 0.72, 0.43), rectangle(-1.0, 0.3, 0.72, 0.32),
                 oval(-0.62, 0.12, 0.15), oval(0.5, 0.12, 0.15), rectangle(-1.05, 0.12, -0.9, 0.18),
                 rectangle(0.9, 0.12, 1.08, 0.18)]),
        ((206, 206, 212), [oval(-0.62, 0.12, 0.07), oval(0.5, 0.12, 0.07)]),
        ((255, 240, 190), [oval(1.0, 0.33, 0.05)]), ((226, 84, 60), [oval(-0.98, 0.5, 0.035)]),
    ]


def _snowman(colour: Colour | None, _leaf: Colour) -> list[Part]:
    scarf = colour or (206, 62, 56)
    snow = (246, 249, 255)
    return [
        ((110, 78, 60), [stroke([(0.16, 0.52), (0.4, 0.66), (0.5, 0.64)], 0.03, 0.015),
                         stroke([(-0.16, 0.52), (-0.4, 0.6), (-0.48, 0.72)], 0.03, 0.015),
                         stroke([(0.38, 0.65), (0.44, 0.74)], 0.02, 0.01),
                         stroke([(-0.38, 0.6), (-0.5, 0.6)], 0.02, 0.01)]),
        (snow, [oval(0, 0.22, 0.3, 0.82), oval(0, 0.54, 0.21, 0.9)]),
        ((214, 224, 240), [blob((0.1, 0.02), (0.27, 0.12), (0.29, 0.26), (0.16, 0.1)),
                           blob((0.1, 0.42), (0.19, 0.48), (0.2, 0.58), (0.12, 0.5))]),
        (snow, [oval(0, 0.8, 0.155)]),
        (scarf, [stroke([(-0.14, 0.69), (0, 0.655), (0.14, 0.69)], 0.07),
                 stroke([(0.08, 0.68), (0.12, 0.5)], 0.065, 0.08)]),
        (_DARK, [rectangle(-0.2, 0.9, 0.2, 0.93), [(-0.13, 0.92), (-0.12, 1.12), (0.12, 1.12),
                                                   (0.13, 0.92)],
                 oval(-0.055, 0.84, 0.02), oval(0.055, 0.84, 0.02), oval(0, 0.56, 0.02),
                 oval(0, 0.47, 0.02), oval(0, 0.3, 0.022)]),
        (scarf, [rectangle(-0.13, 0.93, 0.13, 0.97)]),
        ((240, 140, 50), [[(0.0, 0.815), (0.17, 0.78), (0.0, 0.77)]]),
    ]


def _volcano(colour: Colour | None, _leaf: Colour) -> list[Part]:
    rock = colour or (98, 84, 92)
    smoke = [oval(x, y, r) for x, y, r in ((0.0, 0.76, 0.07), (0.07, 0.85, 0.1),
                                           (-0.03, 0.94, 0.12),
                                           (0.14, 1.0, 0.13), (0.3, 1.06, 0.12))]
    cone = [*stroke([(-0.15, 0.7), (-0.3, 0.36), (-0.78, -0.02)], 0.001)[:13], (0.78, -0.02),
            (0.3, 0.36), (0.15, 0.7), (0.06, 0.66), (-0.05, 0.68)]
    lava = [blob((-0.12, 0.685), (-0.05, 0.5), (-0.1, 0.34), (-0.05, 0.2), (0.0, 0.36), (0.02, 0.5),
                 (0.06, 0.42), (0.1, 0.28), (0.12, 0.46), (0.12, 0.685), (0, 0.66))]
    return [
        ((150, 142, 154), smoke), (mix((150, 142, 154), WHITE, 0.3), [oval(0.02, 0.96, 0.07),
                                                                      oval(0.26, 1.09, 0.07)]),
        ((255, 170, 70), [[(-0.06, 0.66), (-0.1, 0.86), (-0.02, 0.74), (0.02, 0.9), (0.05, 0.74),
                           (0.12, 0.84), (0.07, 0.66)]]),
        (rock, [cone]),
        (scale(rock, 0.8), [[(0.15, 0.7), (0.3, 0.36), (0.78, -0.02), (0.2, -0.02), (0.12, 0.3)]]),
        ((240, 96, 46), lava),
        ((255, 190, 80), [blob((-0.06, 0.66), (-0.02, 0.5), (0.0, 0.42), (0.05, 0.52),
                               (0.06, 0.66))]),
    ]


def _earth(colour: Colour | None, _leaf: Colour) -> list[Part]:
    sea = colour or (62, 130, 204)
    lands = [
        blob((-0.3, 0.86), (-0.06, 0.92), (0.0, 0.8), (-0.12, 0.7), (-0.16, 0.58), (-0.24, 0.52),
             (-0.36, 0.66), (-0.42, 0.74)),
        blob((-0.16, 0.5), (-0.02, 0.44), (-0.02, 0.3), (-0.12, 0.08), (-0.18, 0.2), (-0.24, 0.4)),
        blob((0.18, 0.82), (0.34, 0.84), (0.44, 0.68), (0.42, 0.58), (0.3, 0.62), (0.2, 0.7)),
        blob((0.16, 0.6), (0.34, 0.56), (0.38, 0.4), (0.28, 0.2), (0.22, 0.38), (0.14, 0.46)),
    ]
    clouds = [stroke([(-0.4, 0.44), (-0.2, 0.48), (0.04, 0.45)], 0.03, 0.05),
              stroke([(0.02, 0.7), (0.2, 0.74), (0.36, 0.72)], 0.05, 0.02),
              stroke([(0.0, 0.2), (0.14, 0.17), (0.3, 0.21)], 0.03, 0.04)]
    return [
        (mix(sea, WHITE, 0.55), [oval(0, 0.5, 0.515)]), (sea, [oval(0, 0.5, 0.5)]),
        ((104, 172, 104), lands), ((238, 244, 250), [blob((-0.2, 0.95), (0.0, 0.99), (0.2, 0.95),
                                                          (0.0, 0.93)), *clouds]),
    ]


def _reading(colour: Colour | None, _leaf: Colour) -> list[Part]:
    """Return an open book, seen by who reads it from behind."""
    cover = colour or (170, 70, 66)
    pages = [blob((s * 0.01, 0.5), (s * 0.2, 0.62), (s * 0.48, 0.56), (s * 0.5, 0.1),
                  (s * 0.22, 0.13), (s * 0.01, 0.02)) for s in (-1, 1)]
    covers = [[(0, 0.48), (s * 0.54, 0.58), (s * 0.55, 0.05), (0, -0.03)] for s in (-1, 1)]
    return [((250, 244, 228), pages), (cover, [covers[0]]), (scale(cover, 0.86), [covers[1]]),
            (mix(cover, (250, 214, 120), 0.8), [oval(0.27, 0.3, 0.07), oval(-0.27, 0.3, 0.07)]),
            (scale(cover, 0.6), [rectangle(-0.02, -0.03, 0.02, 0.49)])]


OBJECTS: Final[dict[str, Callable[[Colour | None, Colour], list[Part]]]] = {
    **PLANTS, **FOOD, "house": _house, "castle": _castle, "lighthouse": _lighthouse,
    "windmill": _windmill, "boat": _boat, "rocket": _rocket, "balloon": _balloon,
    "bicycle": _bicycle, "car": _car, "bus": _bus, "train": _train,
    "snowman": _snowman, "volcano": _volcano, "earth": _earth, "reading": _reading,
    "vase": _vase, "book": _book, "umbrella": _umbrella,
    "tent": _tent, "lamp": _lamp, "bridge": _bridge,
}
