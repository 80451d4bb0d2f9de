"""Draws figures: turns the lines of their records into shapes and their colours.

Coordinates are the figure's own: it stands on y = 0, y points up, it looks to the right, and its
height is about 1. A line is a tone and a shape; a shape without a tone is of the one above; what
begins with a number goes on with the line above:

    colour*0.8: line 0.1 0.06 0.2,0.06 0.42,0.08 0.46,0.3
        circle 0.12,0.72 0.085 | mirror
    figure stalks in green | at 0,0.42

Points are `x,y`, all other numbers are sizes. The shapes are

    polygon POINTS              straight edges
    blob POINTS                 a smooth outline
    line WIDTH [END] POINTS     a smooth line, WIDTH at its beginning and END at its end
    box POINT POINT             a rectangle, by two corners
    circle POINT RADIUS
    oval POINT ACROSS UP [TURN]             half-axes, turned by TURN radians
    ring POINT RADIUS THICK                 a circle with a hole
    arch POINT ACROSS UP [POINT ACROSS UP]  the upper half of an oval, less that of another

and what may be done with one, each after a `|`: `mirror` adds its mirror image; `turn N` sets N of
it around 0,0; `at` puts one at every `x,y`, `x,y,size` or `x,y,width,height`. `figure NAME` draws
another record, in its own colour or `in` a tone.

A tone is `colour` (the figure's), `leaf` (of foliage in this season), `light` (an animal's belly),
one of `TONES` or `#rrggbb`; `*0.8` makes it darker, `> white 0.3` mixes another one in.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from xai_notebook.server.painting.colours import Colour, mix, parse_colour, scale
from xai_notebook.server.painting.figures import Figure, known_figures
from xai_notebook.server.painting.records import RecordError
from xai_notebook.server.painting.shapes import (
    Point,
    Shape,
    arch,
    blob,
    circle,
    ellipse,
    rectangle,
    ring,
    stroke,
)

__all__ = ["TONES", "Part", "Tones", "draw", "dye", "shade"]

Part = tuple[Colour, Sequence[Shape]]
"""Shapes of one colour; parts are painted in the order of their list."""
Tones = Mapping[str, Colour]
"""What the words for colours stand for that depend on the figure and the season."""
TONES: Final[Tones] = {
    "white": (250, 246, 238),
    "ink": (44, 38, 48),
    "dark": (50, 46, 58),
    "window": (255, 218, 138),
    "green": (84, 146, 84),
}


def draw(name: str, tones: Tones, *, at: str = "") -> list[Part]:
    """Return the parts of the figure or piece called `name`.

    Args:
        name: Of a record with parts.
        tones: What `colour`, `leaf` and `light` stand for.
        at: What else is done with each shape, such as `at 0,1`.

    Raises:
        RecordError: There is no such record, or it says something that cannot be drawn.
    """
    parts: list[Part] = []
    for tone, outlines in _record(name).parts:
        try:
            if tone.startswith("figure "):
                parts += _included(tone, tones)
            else:
                shapes = [shape for outline in outlines for shape in _shapes(outline)]
                parts.append((shade(tone, tones), shapes))
        except (ValueError, IndexError) as error:
            raise RecordError(f"[{name}], {tone}: {error}") from error
    return [(tone, _repeated(shapes, at)) for tone, shapes in parts] if at else parts


def dye(name: str, colour: Colour | None, leaf: Colour) -> Colour:
    """Return the colour of a figure of which the prompt says that it is `colour`, or nothing."""
    figure = _record(name)
    own = shade(figure.colour, {"leaf": leaf})
    return own if colour is None else mix(own, colour, figure.dye)


def shade(text: str, tones: Tones) -> Colour:
    """Return the colour that a tone stands for.

    Raises:
        ValueError: It stands for none.
    """
    first, _, mixed = text.partition(" > ")
    name, _, factor = first.partition("*")
    colour = _named(name, tones)
    if factor:
        colour = scale(colour, float(factor))
    if mixed:
        other, share = mixed.split()
        colour = mix(colour, _named(other, tones), float(share))
    return colour


def _record(name: str) -> Figure:
    figure = known_figures().get(name)
    if figure is None:
        raise RecordError(f"There is no figure {name!r}.")
    return figure


def _named(name: str, tones: Tones) -> Colour:
    return tones.get(name) or TONES.get(name) or parse_colour(name)


def _included(line: str, tones: Tones) -> list[Part]:
    """Return the parts of another record, as a line says."""
    what, _, at = line.partition(" | ")
    _, name, *tone = what.split(maxsplit=2)
    own = tone[0].removeprefix("in ") if tone else _record(name).colour
    return draw(name, {**tones, "colour": shade(own, tones)} if own else tones, at=at)


def _arches(points: list[Point], sizes: list[float]) -> Shape:
    outer, *inner = (
        arch(*point, *sizes[2 * number : 2 * number + 2]) for number, point in enumerate(points)
    )
    return [*outer, *inner[0][::-1]] if inner else outer


_Make = Callable[[list[Point], list[float]], Shape]
_SHAPES: Final[dict[str, tuple[_Make, range, range]]] = {
    # How it is made, how many points it takes, how many sizes.
    "polygon": (lambda points, _: points, range(3, 99), range(1)),
    "blob": (lambda points, _: blob(*points), range(3, 99), range(1)),
    "line": (lambda points, sizes: stroke(points, *sizes), range(2, 99), range(1, 3)),
    "box": (lambda points, _: rectangle(*points[0], *points[1]), range(2, 3), range(1)),
    "circle": (lambda points, sizes: circle(*points[0], *sizes), range(1, 2), range(1, 2)),
    "oval": (lambda points, sizes: ellipse(*points[0], *sizes), range(1, 2), range(2, 4)),
    "ring": (lambda points, sizes: ring(*points[0], *sizes), range(1, 2), range(2, 3)),
    "arch": (_arches, range(1, 3), range(2, 5, 2)),
}


@functools.cache
def _shapes(text: str) -> tuple[Shape, ...]:
    """Return the shapes of a line without its tone."""
    outline, _, changes = text.partition(" | ")
    name, *values = outline.split()
    if name not in _SHAPES:
        raise ValueError(f"{name!r} is no shape: use {', '.join(_SHAPES)}.")
    make, many_points, many_sizes = _SHAPES[name]
    points = [(x, y) for x, y in (_numbers(value) for value in values if "," in value)]
    sizes = [float(value) for value in values if "," not in value]
    if len(points) not in many_points or len(sizes) not in many_sizes:
        raise ValueError(f"{name} does not take {len(points)} points and {len(sizes)} sizes.")
    return tuple(_repeated([make(points, sizes)], changes))


def _numbers(text: str) -> list[float]:
    return [float(number) for number in text.split(",")]


def _repeated(shapes: Sequence[Shape], changes: str) -> list[Shape]:
    """Return the shapes with everything done to them that stands behind a `|`."""
    found = list(shapes)
    for change in changes.split(" | ") if changes else ():
        name, *values = change.split()
        if name == "mirror":
            found += [[(-x, y) for x, y in shape] for shape in found]
        elif name == "turn":
            count = int(values[0])
            found = [_turned(shape, step / count) for step in range(count) for shape in found]
        elif name == "at":
            found = [_moved(shape, *_numbers(spot)) for spot in values for shape in found]
        else:
            raise ValueError(f"{name!r} is no change: use mirror, turn or at.")
    return found


def _turned(shape: Shape, share: float) -> Shape:
    """Return `shape`, turned around 0,0 by a share of a whole turn."""
    cos, sin = math.cos(share * math.tau), math.sin(share * math.tau)
    return [(x * cos - y * sin, x * sin + y * cos) for x, y in shape]


def _moved(
    shape: Shape, right: float, up: float, width: float = 1.0, height: float | None = None
) -> Shape:
    """Return `shape` enlarged, then moved."""
    height = width if height is None else height
    return [(right + x * width, up + y * height) for x, y in shape]
