"""Paints subjects: draws figures from their records and adds them to a scene.

Separate because drawing a figure is independent of the painter's backgrounds and edits.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

from xai_notebook.server.painting.canvas import (
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
from xai_notebook.server.painting.colours import WHITE, Colour, mix, parse_colour, scale
from xai_notebook.server.painting.figures import Figure, RecordError, known_figures
from xai_notebook.server.painting.scene import Subject

if TYPE_CHECKING:
    from xai_notebook.server.painting.canvas import Canvas
    from xai_notebook.server.painting.scene import Palette, Scene

Part = tuple[Colour, Sequence[Shape]]
"""Shapes of one colour. Parts are painted in the order of their list."""
Tones = Mapping[str, Colour]
"""Colours by their names in records, such as `colour` and `leaf`."""
TONES: Final[Tones] = {
    "white": (250, 246, 238),
    "ink": (44, 38, 48),
    "dark": (50, 46, 58),
    "window": (255, 218, 138),
    "green": (84, 146, 84),
}


def draw(name: str, tones: Tones, *, change: str = "") -> list[Part]:
    """Return the parts of the figure or piece called `name`.

    Args:
        name: Name of a record with parts.
        tones: The tones `colour`, `leaf` and `light`.
        change: Changes of all shapes, such as `at 0,1`.

    Raises:
        RecordError: The record does not exist, or cannot be drawn.
    """
    parts: list[Part] = []
    for tone, outlines in _record(name).parts:
        try:
            if tone.startswith("figure "):
                parts += _include(tone, tones)
            else:
                shapes = [shape for outline in outlines for shape in _shapes(outline)]
                parts.append((shade(tone, tones), shapes))
        except (ValueError, IndexError) as error:
            raise RecordError(f"[{name}], {tone}: {error}") from error
    return [(tone, _changed(shapes, change)) for tone, shapes in parts] if change else parts


def figure_colour(name: str, colour: Colour | None, leaf: Colour) -> Colour:
    """Return the colour of a figure; `colour` is the colour that the prompt names, if any."""
    figure = _record(name)
    own = shade(figure.colour, {"leaf": leaf})
    return own if colour is None else mix(own, colour, figure.dye)


def shade(text: str, tones: Tones) -> Colour:
    """Return the colour of a tone `NAME*FACTOR > OTHER SHARE`; factor and mix are optional.

    Raises:
        ValueError: The tone is invalid.
    """
    first, _, mixed = text.partition(" > ")
    name, _, factor = first.partition("*")
    colour = _tone_colour(name, tones)
    if factor:
        colour = scale(colour, float(factor))
    if mixed:
        other, share = mixed.split()
        colour = mix(colour, _tone_colour(other, tones), float(share))
    return colour


def _record(name: str) -> Figure:
    figure = known_figures().get(name)
    if figure is None:
        raise RecordError(f"The figure {name!r} does not exist.")
    return figure


def _tone_colour(name: str, tones: Tones) -> Colour:
    return tones.get(name) or TONES.get(name) or parse_colour(name)


def _include(line: str, tones: Tones) -> list[Part]:
    """Return the parts of another record from a line `figure NAME in TONE | CHANGE`."""
    record, _, change = line.partition(" | ")
    _, name, *tone = record.split(maxsplit=2)
    own = tone[0].removeprefix("in ") if tone else _record(name).colour
    return draw(name, {**tones, "colour": shade(own, tones)} if own else tones, change=change)


def _arches(points: list[Point], sizes: list[float]) -> Shape:
    outer, *inner = (
        arch(*point, *sizes[2 * number : 2 * number + 2]) for number, point in enumerate(points)
    )
    return [*outer, *inner[0][::-1]] if inner else outer


_Make = Callable[[list[Point], list[float]], Shape]
_SHAPES: Final[dict[str, tuple[_Make, range, range]]] = {
    # Constructor, allowed numbers of points, allowed numbers of sizes.
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
    """Return the shapes of a line `SHAPE POINT... SIZE... | CHANGE`."""
    outline, _, changes = text.partition(" | ")
    name, *values = outline.split()
    if name not in _SHAPES:
        raise ValueError(f"{name!r} is not a shape: use {', '.join(_SHAPES)}.")
    make, point_counts, size_counts = _SHAPES[name]
    points = [(x, y) for x, y in (_numbers(value) for value in values if "," in value)]
    sizes = [float(value) for value in values if "," not in value]
    if len(points) not in point_counts or len(sizes) not in size_counts:
        raise ValueError(f"{name} does not take {len(points)} points and {len(sizes)} sizes.")
    return tuple(_changed([make(points, sizes)], changes))


def _numbers(text: str) -> list[float]:
    return [float(number) for number in text.split(",")]


def _changed(shapes: Sequence[Shape], changes: str) -> list[Shape]:
    """Return the shapes after the changes `mirror`, `turn` and `at`, separated by ` | `."""
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
            raise ValueError(f"{name!r} is not a change: use mirror, turn or at.")
    return found


def _turned(shape: Shape, share: float) -> Shape:
    """Return `shape` rotated around 0,0; a share of 1 is a full turn."""
    cos, sin = math.cos(share * math.tau), math.sin(share * math.tau)
    return [(x * cos - y * sin, x * sin + y * cos) for x, y in shape]


def _moved(
    shape: Shape, right: float, up: float, width: float = 1.0, height: float | None = None
) -> Shape:
    """Return `shape`, scaled and then moved."""
    height = width if height is None else height
    return [(right + x * width, up + y * height) for x, y in shape]


_INK: Final = TONES["ink"]

# Outlines are easier to read in rows than with one number per line.
# fmt: off

@dataclass(frozen=True, slots=True)
class _Build:
    """Measures of a quadruped. Lengths are fractions of its height.

    Attributes:
        legs: Length of the legs.
        leg: Width of a leg.
        body: Half the length of the torso.
        girth: Half the thickness of the torso.
        neck: Length of the neck.
        rise: Angle of the neck in degrees above the horizontal.
        head: Radius of the head.
        muzzle: Length of the muzzle.
        ear: Name of a piece, without its prefix `ear-`.
        tail: Name of a piece, without its prefix `tail-`.
        belly: Tone of muzzle, chest and tip of the tail.
        back: Name of a piece behind the body, such as a mane.
        crown: Name of a piece behind the head, such as antlers.
        pattern: `humps`, `patches`, `stripes` or `""`.
        socks: Whether the lower legs are dark.
        trunk: Whether the head has a trunk instead of a muzzle.
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
        """Height of the middle of the torso."""
        return self.legs + self.girth * 0.8


def draw_quadruped(text: str, coat: Colour) -> tuple[list[Part], tuple[float, float, float]]:
    """Return the parts of a quadruped, and x, y and radius of its head.

    Args:
        text: The `build` of the record, with names and values separated by commas.
        coat: Colour of the coat.

    Raises:
        RecordError: A measure or a piece does not exist.
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
        *draw(f"tail-{build.tail}", tones, change=root),
    ]
    if build.back:
        parts += draw(build.back, tones, change=f"at {x},{y},{build.head}")
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
        parts.append((_INK, [_sock(rear - 0.05, build), _sock(front + 0.02, build)]))
    return parts + _head(build, coat, light, (x, y)), (x + 0.03, y + 0.02, build.head)


def _read(text: str) -> _Build:
    known: dict[str, Any] = {measure.name: measure.default for measure in fields(_Build)}
    values: dict[str, Any] = {}
    for item in text.split(", "):
        name, _, value = item.partition(" ")
        if name not in known:
            raise RecordError(f"build: {name!r} is not a measure: use {', '.join(known)}.")
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
        return [(_INK, bars)]
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
    parts = draw(ear, {"colour": scale(coat, 0.74)}, change=f"at {x - r * 0.1},{y},{r * 0.9}")
    if build.crown:
        parts += draw(build.crown, {"colour": coat}, change=f"at {x},{y},{r}")
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
    parts += draw(ear, near, change=f"at {x - r * 0.35},{y},{r}")
    parts.append((_INK, dots))
    return parts


# fmt: on

_ON_LAND: Final = frozenset({"ground", "far", "hands"})
_GROUNDLESS: Final = frozenset({"space", "underwater"})
_SHORES: Final = {"sea": (232, 204, 158), "lake": None, "city": (150, 148, 156)}
"""Colour of the shore in each setting with water. None means the colour of grass."""


def paint_subjects(canvas: Canvas, scene: Scene, palette: Palette, *, scenery: bool = True) -> None:
    """Paint the subjects of a scene, the most distant first.

    Args:
        canvas: Canvas with the background.
        scene: The scene.
        palette: Colours of the scene.
        scenery: Whether the background is painted, so that shores and flowers can be added. False
            if it consists of input images.
    """
    named = scene.subjects or (_still_life(scene) if scenery else ())
    figures = known_figures()
    astronaut = any(subject.name == "astronaut" for subject in named)
    others = [subject for subject in named if subject.name != "astronaut"]
    helmet = astronaut and any(figures[subject.name].lives for subject in others)
    subjects = others if helmet else named
    held = [s for s in subjects[1:] if figures[s.name].stands == "hands"]
    standing = [s for s in subjects if s not in held]
    ashore = [o for o, s in enumerate(standing) if figures[s.name].stands in _ON_LAND]
    for order, subject in reversed(list(enumerate(standing))):
        ground = scenery and order == max(ashore, default=-1)
        _paint_subject(canvas, scene, palette, subject, order, helmet=helmet, ground=ground)
    for subject in held:
        _paint_subject(canvas, scene, palette, subject, 0, helmet=False, ground=False)


def _still_life(scene: Scene) -> tuple[Subject, ...]:
    """Return a subject for a room if the prompt names no subject."""
    if scene.setting != "room":
        return ()
    return (Subject(scene.dice("still life").choice(("vase", "lamp", "cup")), None),)


def _paint_subject(
    canvas: Canvas,
    scene: Scene,
    palette: Palette,
    subject: Subject,
    order: int,
    *,
    helmet: bool,
    ground: bool,
) -> None:
    figure = known_figures()[subject.name]
    parts = draw_figure(figure, subject.colour, palette.leaf, helmet=helmet)
    x, base, size = _measure(canvas, scene, figure, order, parts)
    facing = 1 if x < canvas.width / 2 else -1
    if ground and scene.setting in _SHORES:
        _shore(canvas, scene, palette, base - size * 0.03)
    afloat = figure.stands == "water" and scene.setting in {"sea", "lake"}
    if not (afloat or figure.stands in {"air", "depths"} or scene.setting in _GROUNDLESS):
        _shadow(canvas, scene, x, base, size * 0.42)
    if ground and figure.blooms and scene.setting == "meadow" and order == 0:
        _field(canvas, scene, palette, parts, x, base, size)
    _paint_parts(canvas, parts, palette, x, base, size * facing, size)
    if palette.dark and figure.lamp is not None:
        beam = facing if figure.beam else None
        _shine(canvas, x, base - size * figure.lamp, size, beam)


def draw_figure(figure: Figure, colour: Colour | None, leaf: Colour, *, helmet: bool) -> list[Part]:
    """Return the parts of a figure. With `helmet`, a creature wears an astronaut's helmet."""
    tones = {"colour": figure_colour(figure.name, colour, leaf), "leaf": leaf}
    if figure.build:
        parts, head = draw_quadruped(figure.build, tones["colour"])
    elif figure.head is None:
        return draw(figure.name, tones)
    else:
        parts, head = draw(figure.name, tones), figure.head
    if not helmet:
        return parts
    x, y, radius = head
    return [
        ((214, 220, 232), [ellipse(x - radius * 0.4, y - radius * 1.3, radius, radius * 0.5)]),
        *parts,
        ((176, 214, 240), [ring(x, y, radius * 1.75, radius * 0.14)]),
        (WHITE, [ellipse(x + radius * 0.8, y + radius, radius * 0.28, radius * 0.13, -0.8)]),
    ]


def _measure(
    canvas: Canvas, scene: Scene, figure: Figure, order: int, parts: list[Part]
) -> tuple[float, float, float]:
    """Return x, y and size of a figure so that all of it fits into the picture."""
    shot = scene.shot
    # The second and third subjects are on the other side, smaller and further away.
    aside = (0.0, 0.36, -0.3)[order] * (1 if shot.subject_x < 0.5 else -1)  # noqa: PLR2004
    x = min(0.86, max(0.14, shot.subject_x + aside)) * canvas.width
    closeness = min(1.2, shot.subject_scale) if scene.setting == "room" else shot.subject_scale
    size = canvas.unit * figure.height * closeness * (1.0, 0.72, 0.6)[order]
    points = [point for _, shapes in parts for shape in shapes for point in shape]
    reach = max(abs(across) for across, _ in points) * 1.06
    size = min(size, canvas.height * 0.62, canvas.width * 0.47 / reach)
    x = min(canvas.width - reach * size, max(reach * size, x))
    base = _base(canvas, scene, figure.stands, size, order)
    return x, base, min(size, base / (max(up for _, up in points) * 1.04))


def _base(canvas: Canvas, scene: Scene, stands: str, size: float, order: int) -> float:
    """Return y of the ground below a figure, or of the lower edge of a floating figure."""
    shot = scene.shot
    if stands == "air" and scene.setting != "room":
        return max(size * 1.05, canvas.height * shot.horizon * (0.8 + 0.08 * order))
    if stands == "depths" or scene.setting in _GROUNDLESS:
        return canvas.height * (0.66 - 0.12 * order)
    ground = shot.horizon + (1 - shot.horizon) * (0.24 + 0.62 * shot.depth - 0.16 * order)
    if scene.setting == "room" or scene.backdrop is not None:
        ground = max(ground, 0.82)
    if stands in {"far", "water"}:
        ground = shot.horizon + (1 - shot.horizon) * (0.14 + 0.4 * shot.depth)
    return min(0.95, ground) * canvas.height


def _paint_parts(
    canvas: Canvas,
    parts: list[Part],
    palette: Palette,
    x: float,
    base: float,
    across: float,
    up: float,
) -> None:
    light = [0.55 + 0.45 * factor for factor in palette.light]
    for tone, shapes in parts:
        lit = mix(scale(tone, *light), palette.haze, 0.05)
        moved = [[(x + px * across, base - py * up) for px, py in shape] for shape in shapes]
        canvas.fill(moved, mix(lit, palette.sun, 0.1), lit, scale(lit, 0.9))


def _field(
    canvas: Canvas,
    scene: Scene,
    palette: Palette,
    parts: list[Part],
    x: float,
    base: float,
    size: float,
) -> None:
    """Paint rows of the same flower behind the near flower, smaller with distance."""
    dice = scene.dice("field")
    top = canvas.height * (scene.shot.horizon + 0.04)
    for row in range(3):
        nearness = (0.12, 0.36, 0.68)[row]
        tall = size * (0.16, 0.26, 0.42)[row]
        spots = []
        for number in range((9, 7, 5)[row]):
            at = canvas.width * (number + dice.uniform(0.1, 0.9)) / (9, 7, 5)[row]
            if abs(at - x) > size * (0.1, 0.2, 0.42)[row]:
                spots.append((at, top + (base - top) * nearness + dice.uniform(-0.1, 0.1) * tall))
        for tone, shapes in parts:
            lit = palette.lit(tone, (0.4, 0.22, 0.1)[row])
            canvas.fill([[(left + px * tall, foot - py * tall) for px, py in shape]
                         for left, foot in spots for shape in shapes], lit)  # fmt: skip


def _shadow(canvas: Canvas, scene: Scene, x: float, base: float, reach: float) -> None:
    drift = (0.5 - scene.shot.sun_x) * reach * 0.9
    canvas.fill([ellipse(x + drift, base + reach * 0.03, reach * 1.1, reach * 0.13)], (28, 26, 56),
                opacity=0.3, blur=max(1.0, reach * 0.05))  # fmt: skip


def _shore(canvas: Canvas, scene: Scene, palette: Palette, top: float) -> None:
    """Paint a beach, grass or a quay below a subject, so that it does not stand in water."""
    ground = _SHORES[scene.setting] or palette.grass
    if scene.season == "winter" and scene.setting != "city":
        ground = (232, 240, 250)
    tone = palette.lit(ground)
    wave = 0.0 if scene.setting == "city" else canvas.unit * 0.012
    line = [(canvas.width * step / 8, top + wave * (1 if step % 2 else -1)) for step in range(9)]
    if scene.setting == "sea":
        lower = [(float(canvas.width), float(canvas.height)), (0.0, float(canvas.height))]
        foam = [(x, y - canvas.unit * 0.012) for x, y in line]
        canvas.fill([foam + lower], mix(tone, WHITE, 0.6), opacity=0.8, blur=2)
    canvas.ground(line, mix(tone, palette.haze, 0.15), scale(tone, 0.85))


def _shine(canvas: Canvas, x: float, y: float, size: float, beam: int | None) -> None:
    """Light a lamp. Its beam is longer on the side `beam`: -1 is left, 1 is right."""
    for hand, reach in ((beam, 3.2), (-beam, 1.4)) if beam else ():
        end, up, down = x + hand * size * reach, size * 0.204 * reach, size * 0.08 * reach
        shape = [(x, y - size * 0.03), (end, y - up), (end, y + down), (x, y + size * 0.03)]
        canvas.fill([shape], (255, 240, 190), opacity=0.34, blur=size * 0.03)
    canvas.glow(x, y, size * 0.75, (255, 214, 140), 0.75)
