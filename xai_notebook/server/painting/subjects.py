"""Places the subjects of a scene: how large, how high, in which light."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from xai_notebook.server.painting.colours import WHITE, mix, scale
from xai_notebook.server.painting.drawing import draw, dye
from xai_notebook.server.painting.figures import Figure, known_figures
from xai_notebook.server.painting.quadrupeds import draw_quadruped
from xai_notebook.server.painting.scene import Subject
from xai_notebook.server.painting.shapes import ellipse, ring

if TYPE_CHECKING:
    from xai_notebook.server.painting.canvas import Canvas
    from xai_notebook.server.painting.colours import Colour
    from xai_notebook.server.painting.drawing import Part
    from xai_notebook.server.painting.palette import Palette
    from xai_notebook.server.painting.scene import Scene

__all__ = ["cut_out", "place_subjects"]

_ON_LAND: Final = frozenset({"ground", "far", "hands"})
_GROUNDLESS: Final = frozenset({"space", "underwater"})
_SHORES: Final = {"sea": (232, 204, 158), "lake": None, "city": (150, 148, 156)}
"""What lies at the water; None: grass."""


def place_subjects(canvas: Canvas, scene: Scene, palette: Palette, *, scenery: bool = True) -> None:
    """Paint the subjects into the picture, the most distant first.

    Args:
        canvas: Where to.
        scene: What to paint.
        palette: In which colours.
        scenery: The ground is ours to change; not so when an input image is edited.
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
    figure = known_figures()[subject.name]
    parts = cut_out(figure, subject.colour, palette.leaf, helmet=helmet)
    x, base, size = _measure(canvas, scene, (figure, order), parts)
    facing = 1 if x < canvas.width / 2 else -1
    if ground and scene.place in _SHORES:
        _shore(canvas, scene, palette, base - size * 0.03)
    afloat = figure.stands == "water" and scene.place in {"sea", "lake"}
    if not (afloat or figure.stands in {"air", "depths"} or scene.place in _GROUNDLESS):
        _shadow(canvas, scene, (x, base, size * 0.42))
    if ground and figure.blooms and scene.place == "meadow" and order == 0:
        _field(canvas, scene, palette, parts, (x, base, size))
    _paint(canvas, parts, palette, (x, base, size * facing, size))
    if palette.dark and figure.lamp is not None:
        lamp = (x, base - size * figure.lamp, size)
        _shine(canvas, lamp, facing if figure.beam else None)


def cut_out(figure: Figure, colour: Colour | None, leaf: Colour, *, helmet: bool) -> list[Part]:
    """Return the parts of a figure; of a creature with an astronaut's helmet, if asked for."""
    tones = {"colour": dye(figure.name, colour, leaf), "leaf": leaf}
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
    canvas: Canvas, scene: Scene, what: tuple[Figure, int], parts: list[Part]
) -> tuple[float, float, float]:
    """Return where a figure stands (x and y) and its size: nothing is cut off, not even a tail."""
    figure, order = what
    shot = scene.shot
    # The second and third subject stand on the other side, smaller and further away.
    aside = (0.0, 0.36, -0.3)[order] * (1 if shot.subject_x < 0.5 else -1)  # noqa: PLR2004
    x = min(0.86, max(0.14, shot.subject_x + aside)) * canvas.width
    closeness = min(1.2, shot.subject_scale) if scene.place == "room" else shot.subject_scale
    size = canvas.unit * figure.height * closeness * (1.0, 0.72, 0.6)[order]
    points = [point for _, shapes in parts for shape in shapes for point in shape]
    reach = max(abs(across) for across, _ in points) * 1.06
    size = min(size, canvas.height * 0.62, canvas.width * 0.47 / reach)
    x = min(canvas.width - reach * size, max(reach * size, x))
    base = _base(canvas, scene, figure.stands, size, order)
    return x, base, min(size, base / (max(up for _, up in points) * 1.04))


def _base(canvas: Canvas, scene: Scene, stands: str, size: float, order: int) -> float:
    """Return the y on which a figure stands, or below which it floats."""
    shot = scene.shot
    if stands == "air" and scene.place != "room":
        return max(size * 1.05, canvas.height * shot.horizon * (0.8 + 0.08 * order))
    if stands == "depths" or scene.place in _GROUNDLESS:
        return canvas.height * (0.66 - 0.12 * order)
    ground = shot.horizon + (1 - shot.horizon) * (0.24 + 0.62 * shot.depth - 0.16 * order)
    if scene.place == "room" or scene.backdrop is not None:
        ground = max(ground, 0.82)
    if stands in {"far", "water"}:
        ground = shot.horizon + (1 - shot.horizon) * (0.14 + 0.4 * shot.depth)
    return min(0.95, ground) * canvas.height


def _paint(
    canvas: Canvas, parts: list[Part], palette: Palette, where: tuple[float, float, float, float]
) -> None:
    x, base, across, up = where
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
        canvas.fill([foam + lower], mix(tone, WHITE, 0.6), opacity=0.8, blur=2)
    canvas.ground(line, mix(tone, palette.haze, 0.15), scale(tone, 0.85))


def _shine(canvas: Canvas, lamp: tuple[float, float, float], beam: int | None) -> None:
    """Light a lamp; its beam, where it has one, reaches further to the side of `beam`."""
    x, y, size = lamp
    for hand, reach in ((beam, 3.2), (-beam, 1.4)) if beam else ():
        end, up, down = x + hand * size * reach, size * 0.204 * reach, size * 0.08 * reach
        shape = [(x, y - size * 0.03), (end, y - up), (end, y + down), (x, y + size * 0.03)]
        canvas.fill([shape], (255, 240, 190), opacity=0.34, blur=size * 0.03)
    canvas.glow(x, y, size * 0.75, (255, 214, 140), 0.75)
