"""Land: hills, mountains, woods and dunes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from xai_notebook.server.painting.colours import mix, scale
from xai_notebook.server.painting.shapes import curve, dot, ellipse, rectangle

if TYPE_CHECKING:
    import random

    from xai_notebook.server.painting.canvas import Canvas
    from xai_notebook.server.painting.colours import Colour
    from xai_notebook.server.painting.palette import Palette
    from xai_notebook.server.painting.scene import Scene
    from xai_notebook.server.painting.shapes import Point, Shape

__all__ = [
    "dunes",
    "hills",
    "mountains",
    "pine",
    "ridge",
    "round_tree",
    "woods",
]

_HILLS = (0.0, 0.16, 0.40, 0.74)
"""Where the hills begin, from the horizon (0) to the lower edge (1)."""


def ridge(
    dice: random.Random, width: int, base: float, swing: float, *, waves: float = 2.0
) -> list[Point]:
    """Return a rolling line from left to right around `base`, `swing` pixels up and down."""
    tunes = [
        (waves * factor * dice.uniform(0.8, 1.2), dice.uniform(0, math.tau), share)
        for factor, share in ((0.6, 0.6), (1.3, 0.3), (2.9, 0.1))
    ]
    line = []
    for step in range(49):
        place = step / 48
        lift = sum(math.sin(place * math.tau * f + p) * share for f, p, share in tunes)
        line.append((place * width, base - swing * lift))
    return line


def hills(canvas: Canvas, scene: Scene, palette: Palette, colour: Colour) -> None:
    """Paint rolling land from the horizon down to the lower edge, nearer layers darker."""
    dice = scene.dice("hills")
    top = canvas.height * scene.shot.horizon
    deep = canvas.height - top
    for number, depth in enumerate(_HILLS):
        distance = (1 - number / 3.4) ** 1.4 * 0.75
        base = top + deep * depth
        line = ridge(dice, canvas.width, base, deep * (0.08 + 0.03 * number), waves=1.4)
        tone = palette.lit(scale(colour, 1.0 if _white(scene) else 1.08 - number * 0.1), distance)
        nearest = number == len(_HILLS) - 1
        shade = 0.88 if _white(scene) else 0.7
        faded = scale(tone, shade) if nearest else mix(tone, palette.haze, 0.16)
        canvas.ground(line, tone, tone, faded)
        if number == 1 and scene.place in {"meadow", "mountains", "lake"}:
            _hedges(canvas, dice, line, palette, scene)
        if nearest and not _white(scene):
            _grass(canvas, (dice, scene), line, tone, palette)


def _white(scene: Scene) -> bool:
    """Tell whether snow lies on the ground."""
    return scene.season == "winter" or scene.weather == "snow"


def _hedges(
    canvas: Canvas, dice: random.Random, line: list[Point], palette: Palette, scene: Scene
) -> None:
    """Set a few small trees on a distant hill."""
    shapes: list[Shape] = []
    pines = scene.place != "meadow" or scene.season == "winter"
    for _ in range(dice.randrange(8, 16)):
        x, y = line[dice.randrange(len(line))]
        tall = canvas.unit * dice.uniform(0.02, 0.045)
        shapes += pine(x, y + tall * 0.2, tall * 1.3) if pines else round_tree(x, y, tall)
    canvas.fill(shapes, palette.lit(palette.leaf, 0.38), palette.lit(scale(palette.leaf, 0.8), 0.3))


def _grass(
    canvas: Canvas,
    source: tuple[random.Random, Scene],
    line: list[Point],
    tone: Colour,
    palette: Palette,
) -> None:
    """Let blades, and outside winter flowers, grow in the foreground."""
    dice, scene = source
    blades, dots = [], []
    for _ in range(130):
        x, ground = line[dice.randrange(len(line))]
        x += dice.uniform(-0.5, 0.5) * canvas.width / 48
        y = ground + (canvas.height - ground) * dice.random() ** 0.8
        tall = canvas.unit * dice.uniform(0.02, 0.05) * (0.5 + y / canvas.height)
        lean = dice.uniform(-0.4, 0.4) * tall
        thick = tall * 0.05 + 0.6
        blades.append([(x - thick, y), (x + lean, y - tall), (x + thick, y)])
        if dice.random() < 0.22:  # noqa: PLR2004
            dots.append(dot(x + lean, y - tall, tall * 0.13))
    canvas.fill(blades, scale(tone, 0.82), opacity=0.9)
    if scene.season in {"spring", "summer"} and scene.place == "meadow":
        canvas.fill(dots[::2], palette.lit(palette.accent, 0.0))
        canvas.fill(dots[1::2], palette.lit((250, 240, 214), 0.0))


def mountains(canvas: Canvas, scene: Scene, palette: Palette, *, height: float = 0.34) -> None:
    """Paint two ranges of peaks above the horizon, lit from the side of the sun."""
    dice = scene.dice("mountains")
    base = canvas.height * (scene.shot.horizon + 0.04)
    for distance, tall, count in ((0.68, height, 4), (0.40, height * 0.66, 5)):
        bodies: list[Shape] = []
        faces: list[Shape] = []
        caps: list[Shape] = []
        for number in range(count):
            x = canvas.width * (number + dice.uniform(0.1, 0.9)) / count
            rise = canvas.height * tall * dice.uniform(0.55, 1.0)
            _peak(dice, (x, base - rise), base, (bodies, faces, caps), (
                1 if scene.shot.sun_x > 0.5 else -1, 0.46 if _white(scene) else 0.24  # noqa: PLR2004
            ))  # fmt: skip
        rock = palette.lit(palette.rock, distance)
        canvas.fill(bodies, scale(rock, 0.86), mix(rock, palette.haze, 0.5))
        bright = mix(rock, palette.sky[2], 0.4)
        canvas.fill(faces, bright, mix(rock, palette.haze, 0.5), opacity=0.85)
        canvas.fill(caps, palette.lit((246, 248, 255), distance * 0.45), opacity=0.95)


def _peak(
    dice: random.Random,
    top: Point,
    base: float,
    layers: tuple[list[Shape], list[Shape], list[Shape]],
    look: tuple[int, float],
) -> None:
    """Add one peak to the bodies, lit faces and snow caps in `layers`."""
    side, snow = look
    x, y = top
    rise = base - y
    spread = rise * dice.uniform(0.75, 1.1)
    slopes: dict[int, list[Point]] = {}
    for hand in (-1, 1):
        slopes[hand] = [
            (
                x + hand * spread * (step / 7) + dice.uniform(-0.03, 0.03) * rise,
                y + rise * (step / 7) ** 1.06 + dice.uniform(-0.02, 0.03) * rise,
            )
            for step in range(1, 7)
        ] + [(x + hand * spread, base)]
    layers[0].append([*slopes[-1][::-1], top, *slopes[1]])
    spine = [
        (
            x + side * rise * (0.02 + 0.09 * (step % 2)) + side * rise * 0.04 * step,
            y + rise * step / 6,
        )
        for step in range(1, 6)
    ]
    layers[1].append([top, *slopes[side], (x + side * rise * 0.3, base), *spine[::-1]])
    edge = y + rise * snow
    cap: list[Point] = [top]
    reach = spread * snow * 0.92
    for step in range(7):
        place = 1 - step / 3
        drop = rise * snow * (0.62 if step % 2 else 1.0) * dice.uniform(0.85, 1.1)
        cap.append((x + reach * place, y + max(drop * 0.5, drop - abs(place) * 0.02 * (edge - y))))
    layers[2].append(cap)


def pine(x: float, y: float, tall: float) -> list[Shape]:
    """Return a pine that stands on (x, y)."""
    shapes: list[Shape] = []
    for tier in range(3):
        low, high = y - tall * (0.12 + 0.26 * tier), y - tall * (0.52 + 0.24 * tier)
        half = tall * (0.26 - 0.065 * tier)
        shapes.append([(x - half, low), (x, high), (x + half, low)])
    shapes.append(rectangle(x - tall * 0.03, y - tall * 0.2, x + tall * 0.03, y))
    return shapes


def round_tree(x: float, y: float, tall: float) -> list[Shape]:
    """Return a broad-leaved tree that stands on (x, y)."""
    return [
        ellipse(x, y - tall * 0.68, tall * 0.34, tall * 0.36),
        ellipse(x - tall * 0.2, y - tall * 0.52, tall * 0.24, tall * 0.22),
        ellipse(x + tall * 0.2, y - tall * 0.5, tall * 0.24, tall * 0.22),
        rectangle(x - tall * 0.04, y - tall * 0.4, x + tall * 0.04, y),
    ]


def woods(canvas: Canvas, scene: Scene, palette: Palette) -> None:
    """Paint three rows of trees, mist between them, and trunks at the edges."""
    dice = scene.dice("woods")
    top = canvas.height * scene.shot.horizon
    pines = scene.season == "winter" or dice.random() < 0.5  # noqa: PLR2004
    leaf = palette.leaf
    for row in range(3):
        base = top + (canvas.height - top) * (0.06, 0.2, 0.4)[row]
        tall = canvas.unit * (0.22, 0.34, 0.5)[row]
        count = round(canvas.width / tall * (4.2, 2.6, 1.5)[row])
        distance = (0.66, 0.42, 0.16)[row]
        shapes: list[Shape] = []
        for number in range(count + 1):
            x = canvas.width * (number + dice.uniform(-0.4, 0.4)) / count
            # A clearing around the subject.
            if row == 2 and abs(x / canvas.width - scene.shot.subject_x) < 0.3:  # noqa: PLR2004
                continue
            size = tall * dice.uniform(0.7, 1.15)
            shapes += (pine if pines else round_tree)(x, base + size * 0.1, size)
        line = ridge(dice, canvas.width, base, canvas.height * 0.012)
        tone = palette.lit(leaf, distance)
        canvas.fill(shapes, tone, mix(scale(tone, 0.82), palette.haze, 0.25))
        earth = palette.lit(
            scale(palette.grass, 1.0 if _white(scene) else 0.95 - 0.12 * row), distance
        )
        canvas.ground(line, earth, scale(earth, 0.93 if _white(scene) else 0.86))
        canvas.fill(
            [rectangle(0, base - tall * 0.16, canvas.width, base + tall * 0.04)],
            palette.haze, opacity=(0.5, 0.32, 0.1)[row], blur=canvas.unit * 0.03,
        )  # fmt: skip


def dunes(canvas: Canvas, scene: Scene, palette: Palette) -> None:
    """Paint dunes with a lit and a shaded side."""
    dice = scene.dice("dunes")
    top = canvas.height * scene.shot.horizon
    deep = canvas.height - top
    sand = (236, 186, 120) if scene.weather != "snow" else (236, 240, 248)
    for number in range(4):
        base = top + deep * (0.02, 0.2, 0.46, 0.8)[number]
        swing = deep * (0.1, 0.14, 0.18, 0.16)[number]
        line = ridge(dice, canvas.width, base, swing, waves=1.0)
        distance = (0.55, 0.34, 0.14, 0.0)[number]
        tone = palette.lit(scale(sand, 1.04 - 0.08 * number), distance)
        canvas.ground(line, mix(tone, palette.sun, 0.2), tone, scale(tone, 0.9))
        _lee(canvas, line, tone, 1 if scene.shot.sun_x < 0.5 else -1)  # noqa: PLR2004


def _lee(canvas: Canvas, line: list[Point], tone: Colour, hand: int) -> None:
    """Shade the side of a dune's highest crest that looks away from the sun."""
    crest = min(range(len(line)), key=lambda i: line[i][1])
    foot = crest
    while 0 <= foot + hand < len(line) and line[foot + hand][1] >= line[foot][1]:
        foot += hand
    if foot == crest:
        return
    slope = line[crest : foot + 1] if hand > 0 else line[foot : crest + 1][::-1]
    (x, y), (end_x, end_y) = line[crest], line[foot]
    drop = end_y - y
    back = curve(
        [(end_x, end_y), (x + (end_x - x) * 0.62, end_y + drop * 0.3),
         (x + (end_x - x) * 0.24, y + drop * 0.9), (x, y)]
    )  # fmt: skip
    canvas.fill([[*slope, *back]], mix(tone, (120, 70, 90), 0.36), mix(tone, (120, 70, 90), 0.2))
