"""Places the subjects of a scene: how large, how high, in which light."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from xai_notebook.server.painting.canvas import Canvas, ellipse
from xai_notebook.server.painting.creatures import CREATURES, creature
from xai_notebook.server.painting.objects import build
from xai_notebook.server.painting.palette import mix, scale
from xai_notebook.server.painting.scene import Subject
from xai_notebook.server.painting.vocabulary import BLOOMING

if TYPE_CHECKING:
    from xai_notebook.server.painting.palette import Palette
    from xai_notebook.server.painting.quadrupeds import Part
    from xai_notebook.server.painting.scene import Scene

__all__ = ["place_subjects"]

_HEIGHTS: Final[dict[str, float]] = {
    "fox": 0.32, "wolf": 0.34, "dog": 0.3, "bear": 0.4, "lion": 0.36, "rabbit": 0.26, "horse": 0.44,
    "deer": 0.4, "cow": 0.36, "elephant": 0.48, "cat": 0.34, "bird": 0.2, "owl": 0.32,
    "butterfly": 0.26, "fish": 0.28, "whale": 0.46, "person": 0.4, "astronaut": 0.4, "robot": 0.4,
    "dragon": 0.44, "tree": 0.62, "pine": 0.58, "house": 0.36, "castle": 0.5, "lighthouse": 0.62,
    "windmill": 0.54, "boat": 0.4, "rocket": 0.48, "balloon": 0.4, "bicycle": 0.36, "car": 0.24,
    "train": 0.24, "flower": 0.46, "mushroom": 0.34, "cup": 0.3, "bowl": 0.3, "apple": 0.26,
    "vase": 0.46, "book": 0.36, "umbrella": 0.4, "tent": 0.28, "lamp": 0.36, "bridge": 0.3,
    "penguin": 0.34, "turtle": 0.24, "dinosaur": 0.44, "camel": 0.42, "giraffe": 0.5,
    "tiger": 0.36, "zebra": 0.4, "palm": 0.6, "cactus": 0.42, "sunflower": 0.5, "tulip": 0.44,
    "rose": 0.46, "pear": 0.28, "lemon": 0.2, "banana": 0.22, "strawberry": 0.26, "pizza": 0.36,
    "icecream": 0.4, "bus": 0.28, "snowman": 0.42, "volcano": 0.56, "earth": 0.5, "reading": 0.2,
}  # fmt: skip
"""Of an ordinary shot, as fractions of the picture's shorter side."""
_FLYING: Final = frozenset({"bird", "butterfly", "balloon", "rocket", "dragon"})
_SWIMMING: Final = frozenset({"fish", "whale"})
_AFLOAT: Final = frozenset({"boat", "lighthouse", "bridge", "whale", "fish"})
_FLOATING: Final = _AFLOAT | _FLYING | _SWIMMING
_GROUNDLESS: Final = frozenset({"space", "underwater"})
_SHORES: Final = {"sea": (232, 204, 158), "lake": None, "city": (150, 148, 156)}
"""What lies at the water; None: grass."""
_GLOWING: Final = {
    "lighthouse": 0.82,
    "lamp": 0.4,
    "house": 0.26,
    "tent": 0.2,
    "train": 0.4,
    "volcano": 0.72,
}
"""Height of the lamp in things that are lit when it is dark."""


def place_subjects(canvas: Canvas, scene: Scene, palette: Palette, *, scenery: bool = True) -> None:
    """Paint the subjects into the picture, the most distant first.

    Args:
        canvas: Where to.
        scene: What to paint.
        palette: In which colours.
        scenery: The ground is ours to change; not so when an input image is edited.
    """
    named = scene.subjects or (_still_life(scene) if scenery else ())
    names = {subject.name for subject in named}
    animals = names & set(CREATURES) - {"astronaut"}
    helmet = "astronaut" in names and bool(animals)
    subjects = [s for s in named if not (helmet and s.name == "astronaut")]
    # A book that is read is held in front of its reader.
    held = [s for s in subjects[1:] if s.name == "reading"]
    standing = [s for s in subjects if s not in held]
    ashore = [order for order, s in enumerate(standing) if s.name not in _FLOATING]
    for order in reversed(range(len(standing))):
        ground = scenery and order == max(ashore, default=-1)
        _place(canvas, scene, palette, (standing[order], order), helmet=helmet, ground=ground)
    for subject in held:
        _place(canvas, scene, palette, (subject, 0), helmet=False, ground=False)


def _still_life(scene: Scene) -> tuple[Subject, ...]:
    """Return what stands in a room of which the prompt says nothing more."""
    if scene.place != "room":
        return ()
    return (Subject(scene.dice("still life").choice(("vase", "lamp", "cup")), None),)


def _place(
    canvas: Canvas,
    scene: Scene,
    palette: Palette,
    what: tuple[Subject, int],
    *,
    helmet: bool,
    ground: bool,
) -> None:
    subject, order = what
    if subject.name in CREATURES:
        parts = creature(subject.name, subject.colour, helmet=helmet)
    else:
        parts = build(subject.name, subject.colour, palette.leaf)
    x, base, size = _measure(canvas, scene, what, parts)
    facing = 1 if x < canvas.width / 2 else -1
    if ground and scene.place in _SHORES:
        _shore(canvas, scene, palette, base - size * 0.03)
    afloat = subject.name in _AFLOAT and scene.place in {"sea", "lake"}
    if not afloat and subject.name not in _FLYING | _SWIMMING and scene.place not in _GROUNDLESS:
        _shadow(canvas, scene, (x, base, size * (0.3 if subject.name == "lighthouse" else 0.42)))
    if ground and subject.name in BLOOMING and scene.place == "meadow" and order == 0:
        _field(canvas, scene, palette, parts, (x, base, size))
    _paint(canvas, parts, palette, (x, base, size * facing, size))
    if palette.dark and subject.name in _GLOWING:
        _shine(canvas, subject.name, (x, base - size * _GLOWING[subject.name], size), facing)


def _measure(
    canvas: Canvas, scene: Scene, what: tuple[Subject, int], parts: list[Part]
) -> tuple[float, float, float]:
    """Return where a subject stands (x and y) and its size: nothing is cut off, not even a tail."""
    subject, order = what
    shot = scene.shot
    # The second and third subject stand on the other side, smaller and further away.
    aside = (0.0, 0.36, -0.3)[order] * (1 if shot.subject_x < 0.5 else -1)  # noqa: PLR2004
    x = min(0.86, max(0.14, shot.subject_x + aside)) * canvas.width
    closeness = min(1.2, shot.subject_scale) if scene.place == "room" else shot.subject_scale
    size = canvas.unit * _HEIGHTS[subject.name] * closeness * (1.0, 0.72, 0.6)[order]
    points = [point for _, shapes in parts for shape in shapes for point in shape]
    reach = max(abs(across) for across, _ in points) * 1.06
    size = min(size, canvas.height * 0.62, canvas.width * 0.47 / reach)
    x = min(canvas.width - reach * size, max(reach * size, x))
    base = _base(canvas, scene, subject.name, size, order)
    return x, base, min(size, base / (max(up for _, up in points) * 1.04))


def _base(canvas: Canvas, scene: Scene, name: str, size: float, order: int) -> float:
    """Return the y on which the subject stands, or below which it floats."""
    shot = scene.shot
    if name in _FLYING and scene.place != "room":
        return max(size * 1.05, canvas.height * shot.horizon * (0.8 + 0.08 * order))
    if name in _SWIMMING or scene.place in {"space", "underwater"}:
        return canvas.height * (0.66 - 0.12 * order)
    ground = shot.horizon + (1 - shot.horizon) * (0.24 + 0.62 * shot.depth - 0.16 * order)
    if scene.place == "room" or scene.backdrop is not None:
        ground = max(ground, 0.82)
    if name in {
        "lighthouse",
        "boat",
        "bridge",
        "windmill",
        "castle",
        "house",
        "tree",
        "pine",
        "volcano",
    }:
        ground = shot.horizon + (1 - shot.horizon) * (0.14 + 0.4 * shot.depth)
    return min(0.95, ground) * canvas.height


def _paint(
    canvas: Canvas, parts: list[Part], palette: Palette, where: tuple[float, float, float, float]
) -> None:
    x, base, across, up = where
    light = (0.55 + 0.45 * palette.light[0], 0.55 + 0.45 * palette.light[1],
             0.55 + 0.45 * palette.light[2])  # fmt: skip
    for tone, shapes in parts:
        lit = mix(scale(tone, *light), palette.haze, 0.05)
        moved = [[(x + px * across, base - py * up) for px, py in shape] for shape in shapes]
        canvas.fill(moved, mix(lit, palette.sun, 0.1), lit, scale(lit, 0.9))


def _field(
    canvas: Canvas,
    scene: Scene,
    palette: Palette,
    parts: list[Part],
    where: tuple[float, float, float],
) -> None:
    """Let more of the same flowers grow behind the one that is near, smaller and smaller."""
    dice = scene.dice("field")
    x, base, size = where
    top = canvas.height * (scene.shot.horizon + 0.04)
    for row in range(3):
        nearness = (0.12, 0.36, 0.68)[row]
        tall = size * (0.16, 0.26, 0.42)[row]
        places = []
        for number in range((9, 7, 5)[row]):
            at = canvas.width * (number + dice.uniform(0.1, 0.9)) / (9, 7, 5)[row]
            if abs(at - x) > size * (0.1, 0.2, 0.42)[row]:
                places.append((at, top + (base - top) * nearness + dice.uniform(-0.1, 0.1) * tall))
        for tone, shapes in parts:
            lit = palette.lit(tone, (0.4, 0.22, 0.1)[row])
            canvas.fill([[(left + px * tall, foot - py * tall) for px, py in shape]
                         for left, foot in places for shape in shapes], lit)  # fmt: skip


def _shadow(canvas: Canvas, scene: Scene, where: tuple[float, float, float]) -> None:
    x, base, reach = where
    drift = (0.5 - scene.shot.sun_x) * reach * 0.9
    canvas.fill([ellipse(x + drift, base + reach * 0.03, reach * 1.1, reach * 0.13)], (28, 26, 56),
                opacity=0.3, blur=max(1.0, reach * 0.05))  # fmt: skip


def _shore(canvas: Canvas, scene: Scene, palette: Palette, top: float) -> None:
    """Put a strip of beach, grass or quay under a subject that would stand in the water."""
    ground = _SHORES[scene.place] or palette.grass
    if scene.season == "winter" and scene.place != "city":
        ground = (232, 240, 250)
    tone = palette.lit(ground)
    wave = 0.0 if scene.place == "city" else canvas.unit * 0.012
    line = [(canvas.width * step / 8, top + wave * (1 if step % 2 else -1)) for step in range(9)]
    if scene.place == "sea":
        lower = [(float(canvas.width), float(canvas.height)), (0.0, float(canvas.height))]
        foam = [(x, y - canvas.unit * 0.012) for x, y in line]
        canvas.fill([foam + lower], mix(tone, (255, 255, 255), 0.6), opacity=0.8, blur=2)
    canvas.ground(line, mix(tone, palette.haze, 0.15), scale(tone, 0.85))


def _shine(canvas: Canvas, name: str, lamp: tuple[float, float, float], facing: int) -> None:
    x, y, size = lamp
    if name == "lighthouse":
        for hand, reach in ((facing, 3.2), (-facing, 1.4)):
            beam = [(x, y - size * 0.03), (x + hand * size * reach, y - size * 0.34 * reach * 0.6),
                    (x + hand * size * reach, y + size * 0.16 * reach * 0.5),
                    (x, y + size * 0.03)]  # fmt: skip
            canvas.fill([beam], (255, 240, 190), opacity=0.34, blur=size * 0.03)
    canvas.glow(x, y, size * 0.75, (255, 214, 140), 0.75)
