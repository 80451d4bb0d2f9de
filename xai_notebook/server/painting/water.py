"""Water: the sea, and everything still enough to mirror what is above it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image, ImageFilter

from xai_notebook.server.painting.canvas import Canvas, gradient
from xai_notebook.server.painting.colours import WHITE, mix, scale
from xai_notebook.server.painting.shapes import ellipse, stroke
from xai_notebook.server.painting.terrain import ridge

if TYPE_CHECKING:
    from xai_notebook.server.painting.palette import Palette
    from xai_notebook.server.painting.scene import Scene
    from xai_notebook.server.painting.shapes import Shape

__all__ = ["reflect", "sea"]


def sea(canvas: Canvas, scene: Scene, palette: Palette) -> None:
    """Paint open water with bands of waves and the path of light below the sun."""
    dice = scene.dice("sea")
    top = canvas.height * scene.shot.horizon
    deep = canvas.height - top
    near = palette.lit(palette.water)
    far = mix(near, palette.sky[2], 0.62)
    canvas.ground([(0, top), (canvas.width, top)], far, near, scale(near, 0.72))
    rough = 2.4 if scene.weather == "storm" else 1.0
    for number in range(6):
        place = ((number + 0.6) / 6) ** 1.5
        line = ridge(dice, canvas.width, top + deep * place, deep * 0.014 * rough * (1 + 3 * place),
                     waves=(7 - number) * 1.2)  # fmt: skip
        tone = mix(mix(far, scale(near, 0.78), place), WHITE, 0.05)
        canvas.ground(line, tone, scale(tone, 0.86), opacity=0.62)
        crest = [(x, y + canvas.unit * 0.004 * (0.4 + place)) for x, y in line]
        canvas.fill([line + crest[::-1]], mix(tone, WHITE, 0.45), opacity=0.4 * rough / 2 + 0.1)
    if scene.weather not in {"rain", "storm", "snow"} or scene.lights:
        _glitter(canvas, scene, palette, top)


def _glitter(canvas: Canvas, scene: Scene, palette: Palette, top: float) -> None:
    dice = scene.dice("glitter")
    x = canvas.width * scene.shot.sun_x
    shapes: list[Shape] = []
    for _ in range(70):
        place = dice.random() ** 1.6
        spread = canvas.unit * (0.03 + 0.16 * place)
        wide = canvas.unit * dice.uniform(0.008, 0.03) * (0.5 + place)
        shapes.append(
            ellipse(x + dice.gauss(0, 0.45) * spread, top + (canvas.height - top) * place,
                    wide, canvas.unit * 0.0022 * (0.6 + place))
        )  # fmt: skip
    canvas.fill(shapes, palette.sun, opacity=0.7)


def reflect(
    canvas: Canvas, scene: Scene, palette: Palette, *, dim: float = 0.25, ripples: int = 22
) -> None:
    """Turn everything below the horizon into still water that mirrors what is above."""
    dice = scene.dice("reflection")
    top = round(canvas.height * (scene.shot.horizon + 0.05))
    deep = canvas.height - top
    if deep <= 1:
        return
    above = canvas.image.crop((0, max(0, top - deep), canvas.width, top))
    mirror = above.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    small = mirror.resize((max(1, canvas.width // 3), max(1, deep // 6)), Image.Resampling.BOX)
    small = small.filter(ImageFilter.GaussianBlur(1))
    mirror = small.resize((canvas.width, deep), Image.Resampling.BILINEAR)
    water = gradient((canvas.width, deep), (mix(palette.sky[2], palette.water, 0.35),
                                            scale(palette.lit(palette.water), 0.7)))  # fmt: skip
    canvas.image.paste(Image.blend(mirror, water, dim), (0, top))
    ripple: list[Shape] = []
    for _ in range(ripples):
        place = dice.random()
        x, wide = dice.random() * canvas.width, canvas.unit * dice.uniform(0.05, 0.22)
        y = top + deep * place**1.2
        ripple.append(ellipse(x, y, wide * (0.4 + place), canvas.unit * 0.0018 * (0.5 + place)))
    canvas.fill(ripple, mix(palette.sky[2], WHITE, 0.4), opacity=0.35)
    canvas.fill([stroke([(0, top), (canvas.width, top)], canvas.unit * 0.003)],
                mix(palette.haze, WHITE, 0.3), opacity=0.5)  # fmt: skip
