"""Everything that lives: animals and people, cut from paper.

Coordinates are the creature's own: it stands on y = 0, y points up, it looks
to the right, and its height is about 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from xai_notebook.server.painting.canvas import blob, ellipse, stroke
from xai_notebook.server.painting.palette import mix, scale
from xai_notebook.server.painting.quadrupeds import QUADRUPEDS, circle, quadruped

if TYPE_CHECKING:
    from xai_notebook.server.painting.canvas import Shape
    from xai_notebook.server.painting.quadrupeds import Head, Part
    from xai_notebook.server.painting.vocabulary import Colour

__all__ = ["CREATURES", "creature"]

WHITE: Final = (250, 246, 238)
_DARK: Final = (44, 38, 48)

# Outlines read better in rows than with one number a line.
# fmt: off

def creature(name: str, colour: Colour | None, *, helmet: bool = False) -> list[Part]:
    """Return the parts of the creature called `name`.

    Args:
        name: One of `CREATURES`.
        colour: Colour of coat or clothes; None: its own.
        helmet: An astronaut's helmet around the head.
    """
    if name in QUADRUPEDS:
        parts, head = quadruped(name, colour)
    else:
        parts, head = _OTHERS[name](colour)
    if helmet:
        x, y, radius = head
        parts = [
            ((214, 220, 232), [ellipse(x - radius * 0.4, y - radius * 1.3, radius, radius * 0.5)]),
            *parts,
            ((176, 214, 240), [_ring(x, y, radius * 1.75, radius * 0.14)]),
            ((255, 255, 255), [ellipse(x + radius * 0.8, y + radius, radius * 0.28, radius * 0.13,
                                       -0.8)]),
        ]
    return parts


def _ring(x: float, y: float, radius: float, thick: float) -> Shape:
    outer, inner = circle(x, y, radius), circle(x, y, radius - thick)
    return [*outer, outer[0], inner[0], *inner[::-1]]


def _cat(colour: Colour | None) -> tuple[list[Part], Head]:
    coat = colour or (232, 150, 78)
    light = mix(coat, WHITE, 0.75)
    tail = stroke([(0.2, 0.06), (0.42, 0.08), (0.46, 0.3), (0.36, 0.44)], 0.1, 0.06)
    body = blob((-0.26, 0.02), (-0.28, 0.24), (-0.15, 0.54), (0.0, 0.6), (0.15, 0.54), (0.28, 0.24),
                (0.26, 0.02), (0.0, -0.01))
    ears = [[(-0.21, 0.78), (-0.2, 1.05), (-0.03, 0.9)], [(0.21, 0.78), (0.2, 1.05), (0.03, 0.9)]]
    inner = [[(-0.17, 0.82), (-0.175, 0.98), (-0.08, 0.9)], [(0.17, 0.82), (0.175, 0.98),
                                                             (0.08, 0.9)]]
    head = blob((-0.24, 0.72), (-0.17, 0.88), (0.0, 0.92), (0.17, 0.88), (0.24, 0.72), (0.12, 0.58),
                (-0.12, 0.58))
    stripes = [stroke([(x, 0.9), (x * 0.8, 0.83)], 0.024, 0.01) for x in (-0.07, 0.0, 0.07)]
    return [
        (scale(coat, 0.82), [tail]),
        (coat, [body]),
        (light, [blob((-0.12, 0.5), (0.12, 0.5), (0.1, 0.26), (-0.1, 0.26))]),
        (light, [ellipse(-0.11, 0.03, 0.09, 0.045), ellipse(0.11, 0.03, 0.09, 0.045)]),
        (coat, [head, *ears]),
        ((240, 170, 160), inner),
        (scale(coat, 0.7), stripes),
        (light, [ellipse(0, 0.655, 0.1, 0.06)]),
        (_DARK, [ellipse(-0.1, 0.75, 0.03, 0.04), ellipse(0.1, 0.75, 0.03, 0.04),
                 [(-0.025, 0.69), (0.025, 0.69), (0.0, 0.66)]]),
        (WHITE, [ellipse(-0.09, 0.765, 0.01, 0.012), ellipse(0.11, 0.765, 0.01, 0.012)]),
    ], (0.0, 0.77, 0.25)


def _bird(colour: Colour | None) -> tuple[list[Part], Head]:
    coat = colour or (240, 240, 244)
    body = blob((-0.42, 0.34), (-0.1, 0.42), (0.2, 0.42), (0.4, 0.5), (0.44, 0.42), (0.3, 0.3),
                (0.0, 0.22), (-0.3, 0.26), (-0.55, 0.2))
    near = blob((0.12, 0.38), (-0.02, 0.72), (-0.34, 1.0), (-0.2, 0.66), (-0.16, 0.36))
    far = blob((0.2, 0.4), (0.26, 0.7), (0.08, 0.98), (0.06, 0.66), (0.0, 0.4))
    beak = [(0.42, 0.5), (0.56, 0.45), (0.42, 0.42)]
    return [
        (scale(coat, 0.7), [far]), ((240, 160, 60), [beak]), (coat, [body]),
        (scale(coat, 0.86), [near]), (_DARK, [circle(0.37, 0.47, 0.018)]),
    ], (0.38, 0.46, 0.1)


def _owl(colour: Colour | None) -> tuple[list[Part], Head]:
    coat = colour or (146, 106, 78)
    body = blob((-0.3, 0.3), (-0.28, 0.72), (-0.24, 0.98), (0.0, 0.9), (0.24, 0.98), (0.28, 0.72),
                (0.3, 0.3), (0.0, 0.02))
    wings = [blob((s * 0.3, 0.64), (s * 0.36, 0.34), (s * 0.18, 0.1), (s * 0.2, 0.4))
             for s in (-1, 1)]
    return [
        (coat, [body]),
        (mix(coat, WHITE, 0.55), [ellipse(0, 0.32, 0.17, 0.24), circle(-0.12, 0.72, 0.13),
                                  circle(0.12, 0.72, 0.13)]),
        (scale(coat, 0.75), wings),
        ((250, 200, 80), [circle(-0.12, 0.72, 0.085), circle(0.12, 0.72, 0.085)]),
        (_DARK, [circle(-0.12, 0.72, 0.045), circle(0.12, 0.72, 0.045)]),
        ((236, 150, 60), [[(-0.04, 0.66), (0.04, 0.66), (0.0, 0.57)],
                          ellipse(-0.1, 0.02, 0.06, 0.03), ellipse(0.1, 0.02, 0.06, 0.03)]),
    ], (0.0, 0.75, 0.27)


def _butterfly(colour: Colour | None) -> tuple[list[Part], Head]:
    coat = colour or (240, 140, 60)
    upper = [blob((0, 0.5), (s * 0.2, 0.95), (s * 0.52, 0.98), (s * 0.5, 0.66), (s * 0.2, 0.46))
             for s in (-1, 1)]
    lower = [blob((0, 0.46), (s * 0.34, 0.48), (s * 0.42, 0.22), (s * 0.2, 0.1), (s * 0.04, 0.3))
             for s in (-1, 1)]
    spots = [circle(s * 0.38, 0.84, 0.06) for s in (-1, 1)] + [
        circle(s * 0.26, 0.3, 0.05) for s in (-1, 1)]
    return [
        (scale(coat, 0.8), lower), (coat, upper), (mix(coat, WHITE, 0.7), spots),
        (_DARK, [stroke([(0, 0.14), (0, 0.6)], 0.05, 0.05), stroke([(0, 0.6), (0.12, 0.86)], 0.012),
                 stroke([(0, 0.6), (-0.12, 0.86)], 0.012)]),
    ], (0.0, 0.6, 0.08)


def _fish(colour: Colour | None) -> tuple[list[Part], Head]:
    coat = colour or (244, 134, 60)
    body = blob((0.5, 0.5), (0.26, 0.72), (-0.1, 0.7), (-0.36, 0.52), (-0.1, 0.32), (0.26, 0.3))
    tail = blob((-0.28, 0.52), (-0.58, 0.78), (-0.5, 0.52), (-0.58, 0.26))
    fins = [blob((0.2, 0.68), (0.02, 0.92), (-0.16, 0.66)), blob((0.08, 0.34), (-0.06, 0.16),
                                                                 (-0.12, 0.36))]
    band = [blob((0.14, 0.71), (0.07, 0.52), (0.14, 0.31), (0.03, 0.31), (-0.03, 0.52), (0.03,
                                                                                         0.71))]
    return [
        (scale(coat, 0.82), [tail, *fins]), (coat, [body]), (mix(coat, WHITE, 0.75), band),
        (WHITE, [circle(0.34, 0.55, 0.045)]), (_DARK, [circle(0.35, 0.55, 0.026)]),
    ], (0.3, 0.5, 0.2)


def _whale(colour: Colour | None) -> tuple[list[Part], Head]:
    coat = colour or (70, 104, 150)
    body = blob((0.6, 0.44), (0.5, 0.68), (0.1, 0.74), (-0.3, 0.6), (-0.6, 0.6), (-0.3, 0.42),
                (0.1, 0.28), (0.48, 0.3))
    belly = blob((0.6, 0.42), (0.3, 0.42), (-0.1, 0.4), (0.1, 0.28), (0.48, 0.3))
    fluke = blob((-0.54, 0.58), (-0.8, 0.82), (-0.76, 0.62), (-0.86, 0.5))
    return [
        (scale(coat, 0.85), [fluke]), (coat, [body]), (mix(coat, WHITE, 0.7), [belly]),
        (scale(coat, 0.75), [blob((0.2, 0.36), (0.1, 0.14), (0.0, 0.1), (0.06, 0.36))]),
        (_DARK, [circle(0.42, 0.5, 0.022)]),
    ], (0.4, 0.5, 0.2)


def _person(colour: Colour | None) -> tuple[list[Part], Head]:
    coat = colour or (206, 70, 62)
    legs = [stroke([(-0.05, 0.42), (-0.08, 0.2), (-0.12, 0.0)], 0.11, 0.08),
            stroke([(0.05, 0.42), (0.09, 0.22), (0.12, 0.0)], 0.11, 0.08)]
    body = blob((-0.14, 0.34), (-0.15, 0.6), (-0.1, 0.76), (0.1, 0.76), (0.15, 0.6), (0.16, 0.34),
                (0.0, 0.31))
    arms = [stroke([(-0.1, 0.72), (-0.2, 0.56), (-0.18, 0.42)], 0.08, 0.06),
            stroke([(0.1, 0.72), (0.2, 0.58), (0.22, 0.44)], 0.08, 0.06)]
    return [
        ((56, 60, 84), legs), (scale(coat, 0.82), arms), (coat, [body]),
        ((238, 196, 160), [circle(0.01, 0.87, 0.09), circle(0.22, 0.42, 0.035)]),
        ((66, 46, 42), [blob((-0.1, 0.84), (-0.09, 0.98), (0.05, 0.99), (0.1, 0.92), (0.0, 0.93),
                             (-0.04, 0.84))]),
        (mix(coat, (250, 210, 90), 0.8), [stroke([(-0.09, 0.77), (0.1, 0.77)], 0.06),
                                          stroke([(-0.07, 0.77), (-0.22, 0.7)], 0.05, 0.06)]),
    ], (0.01, 0.87, 0.12)


def _astronaut(colour: Colour | None) -> tuple[list[Part], Head]:
    suit = mix((236, 238, 244), colour, 0.4) if colour else (236, 238, 244)
    shade = scale(suit, 0.8)
    return [
        (scale(suit, 0.62), [blob((-0.24, 0.4), (-0.24, 0.74), (-0.08, 0.76), (-0.08, 0.38))]),
        (shade, [stroke([(0.07, 0.36), (0.12, 0.2), (0.12, 0.02)], 0.16, 0.14),
                 stroke([(0.12, 0.62), (0.28, 0.56), (0.34, 0.7)], 0.13, 0.1)]),
        (suit, [stroke([(-0.06, 0.36), (-0.1, 0.2), (-0.1, 0.02)], 0.16, 0.15),
                blob((-0.18, 0.32), (-0.18, 0.66), (0.0, 0.7), (0.18, 0.66), (0.18, 0.32)),
                stroke([(-0.14, 0.62), (-0.26, 0.5), (-0.22, 0.36)], 0.13, 0.1),
                circle(0.0, 0.82, 0.19)]),
        ((46, 62, 104), [ellipse(0.05, 0.82, 0.125, 0.115)]),
        ((150, 196, 236), [ellipse(0.09, 0.865, 0.05, 0.022, 0.5)]),
        ((236, 110, 80), [[(-0.08, 0.5), (0.0, 0.5), (0.0, 0.55), (-0.08, 0.55)]]),
    ], (0.0, 0.82, 0.1)


def _robot(colour: Colour | None) -> tuple[list[Part], Head]:
    shell = colour or (150, 184, 200)
    return [
        (scale(shell, 0.6), [stroke([(-0.1, 0.34), (-0.12, 0.03)], 0.08),
                             stroke([(0.1, 0.34), (0.12, 0.03)], 0.08),
                             stroke([(0.18, 0.56), (0.32, 0.48), (0.34, 0.32)], 0.06),
                             stroke([(-0.18, 0.56), (-0.32, 0.5), (-0.36, 0.66)], 0.06),
                             stroke([(0, 0.94), (0, 1.06)], 0.02)]),
        (shell, [blob((-0.22, 0.3), (-0.22, 0.6), (0.22, 0.6), (0.22, 0.3)),
                 blob((-0.24, 0.68), (-0.22, 0.94), (0.22, 0.94), (0.24, 0.68)),
                 ellipse(-0.12, 0.02, 0.09, 0.04), ellipse(0.12, 0.02, 0.09, 0.04)]),
        ((40, 52, 76), [blob((-0.18, 0.72), (-0.17, 0.89), (0.17, 0.89), (0.18, 0.72))]),
        ((120, 240, 220), [circle(-0.08, 0.81, 0.04), circle(0.08, 0.81, 0.04)]),
        ((248, 170, 80), [circle(0, 1.07, 0.03), circle(0, 0.46, 0.05)]),
    ], (0.0, 0.8, 0.2)


def _dragon(colour: Colour | None) -> tuple[list[Part], Head]:
    coat = colour or (80, 150, 110)
    body = stroke([(-0.6, 0.12), (-0.4, 0.3), (-0.1, 0.34), (0.16, 0.44), (0.3, 0.66), (0.42,
                                                                                        0.74)],
                  0.03, 0.1)
    trunk = blob((-0.3, 0.3), (-0.05, 0.5), (0.22, 0.5), (0.2, 0.3), (0.0, 0.2))
    wing = [(0.05, 0.44), (-0.1, 0.86), (-0.34, 1.0), (-0.3, 0.8), (-0.5, 0.78), (-0.38, 0.62),
            (-0.5, 0.52), (-0.2, 0.5)]
    head = blob((0.34, 0.72), (0.4, 0.84), (0.56, 0.78), (0.66, 0.7), (0.5, 0.66))
    return [
        (scale(coat, 0.7), [wing]), (coat, [body, trunk, head]),
        (mix(coat, (250, 220, 120), 0.6), [blob((0.0, 0.26), (0.2, 0.36), (0.26, 0.52), (0.12,
                                                                                         0.4))]),
        (scale(coat, 0.8), [stroke([(-0.1, 0.28), (-0.12, 0.02)], 0.1, 0.05),
                            stroke([(0.14, 0.3), (0.16, 0.02)], 0.1, 0.05),
                            [(0.38, 0.82), (0.3, 0.96), (0.44, 0.84)]]),
        (_DARK, [circle(0.49, 0.76, 0.016)]),
    ], (0.48, 0.75, 0.12)


def _penguin(colour: Colour | None) -> tuple[list[Part], Head]:
    coat = colour or (48, 54, 72)
    body = blob((-0.24, 0.06), (-0.3, 0.4), (-0.2, 0.72), (-0.17, 0.9), (0.0, 1.0), (0.17, 0.9),
                (0.2, 0.72), (0.3, 0.4), (0.24, 0.06), (0.0, 0.02))
    belly = blob((-0.16, 0.08), (-0.2, 0.38), (-0.1, 0.64), (0.0, 0.66), (0.1, 0.64), (0.2, 0.38),
                 (0.16, 0.08), (0.0, 0.05))
    wings = [blob((s * 0.2, 0.66), (s * 0.34, 0.48), (s * 0.4, 0.26), (s * 0.27, 0.34))
             for s in (-1, 1)]
    return [
        ((240, 160, 60), [ellipse(-0.12, 0.02, 0.11, 0.04), ellipse(0.12, 0.02, 0.11, 0.04)]),
        (scale(coat, 0.8), wings), (coat, [body]),
        (WHITE, [belly, ellipse(-0.07, 0.82, 0.075, 0.09), ellipse(0.07, 0.82, 0.075, 0.09)]),
        ((250, 206, 96), [ellipse(0, 0.64, 0.1, 0.035)]),
        (_DARK, [circle(-0.06, 0.84, 0.024), circle(0.06, 0.84, 0.024)]),
        ((240, 160, 60), [[(-0.05, 0.79), (0.05, 0.79), (0.0, 0.7)]]),
    ], (0.0, 0.84, 0.18)


def _turtle(colour: Colour | None) -> tuple[list[Part], Head]:
    shell = colour or (92, 132, 82)
    skin = (150, 186, 110)
    plates = [blob((x - 0.1, 0.36), (x - 0.06, 0.5), (x + 0.06, 0.5), (x + 0.1, 0.36), (x, 0.3))
              for x in (-0.24, 0.0, 0.24)]
    return [
        (scale(skin, 0.8), [stroke([(-0.34, 0.24), (-0.44, 0.02)], 0.14, 0.11),
                            stroke([(0.24, 0.22), (0.3, 0.02)], 0.14, 0.11),
                            stroke([(-0.46, 0.22), (-0.62, 0.16)], 0.09, 0.02)]),
        (skin, [stroke([(0.36, 0.26), (0.58, 0.36), (0.68, 0.46)], 0.14, 0.13),
                ellipse(0.7, 0.48, 0.13, 0.105)]),
        (shell, [blob((-0.54, 0.2), (-0.42, 0.5), (0.0, 0.66), (0.4, 0.5), (0.5, 0.2),
                      (0.0, 0.14))]),
        (mix(shell, WHITE, 0.25), plates), (scale(shell, 0.75), [
            stroke([(-0.54, 0.21), (0.0, 0.15), (0.5, 0.21)], 0.05)]),
        (_DARK, [circle(0.75, 0.51, 0.02)]),
    ], (0.7, 0.48, 0.13)


def _dinosaur(colour: Colour | None) -> tuple[list[Part], Head]:
    coat = colour or (116, 164, 96)
    tail = stroke([(-0.9, 0.14), (-0.6, 0.22), (-0.3, 0.42), (0.0, 0.46)], 0.02, 0.28)
    neck = stroke([(0.1, 0.46), (0.34, 0.56), (0.42, 0.8), (0.52, 0.94)], 0.27, 0.1)
    spikes = [[(x - 0.05, y), (x, y + 0.09), (x + 0.05, y)] for x, y in (
        (-0.5, 0.3), (-0.34, 0.43), (-0.16, 0.55), (0.02, 0.6), (0.2, 0.59))]
    legs = [stroke([(x, 0.4), (x + lean, 0.0)], 0.18, 0.13)
            for x, lean in ((-0.14, -0.05), (0.24, 0.02))]
    far = [stroke([(x, 0.36), (x, 0.02)], 0.16, 0.12) for x in (-0.02, 0.14)]
    return [
        (scale(coat, 0.72), far), (mix(coat, (236, 150, 70), 0.7), spikes),
        (coat, [tail, neck, ellipse(0.02, 0.42, 0.36, 0.2), *legs,
                blob((0.44, 0.9), (0.46, 1.02), (0.58, 1.03), (0.72, 0.94), (0.7, 0.88),
                     (0.54, 0.87))]),
        (mix(coat, (250, 236, 170), 0.55), [blob((-0.2, 0.3), (0.06, 0.36), (0.34, 0.44),
                                                 (0.3, 0.3),
                                                 (0.04, 0.23))]),
        (scale(coat, 0.82), [circle(-0.12, 0.5, 0.04), circle(0.0, 0.54, 0.03), circle(0.12, 0.5,
                                                                                    0.035)]),
        (WHITE, [circle(0.56, 0.975, 0.03)]), (_DARK, [circle(0.565, 0.975, 0.017)]),
    ], (0.58, 0.95, 0.13)


_OTHERS: Final = {
    "cat": _cat, "bird": _bird, "owl": _owl, "butterfly": _butterfly, "fish": _fish,
    "whale": _whale, "person": _person, "astronaut": _astronaut, "robot": _robot,
    "dragon": _dragon, "penguin": _penguin, "turtle": _turtle, "dinosaur": _dinosaur,
}

CREATURES: Final = (*QUADRUPEDS, *_OTHERS)
