"""What lies between the picture and its viewer: rain, snow, fog, lightning, petals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from xai_notebook.server.painting.canvas import Canvas
from xai_notebook.server.painting.colours import WHITE
from xai_notebook.server.painting.layers import veil
from xai_notebook.server.painting.shapes import dot, ellipse

if TYPE_CHECKING:
    from xai_notebook.server.painting.palette import Palette
    from xai_notebook.server.painting.scene import Scene
    from xai_notebook.server.painting.shapes import Point, Shape

__all__ = ["fall", "lightning"]

_SOFT = 8
"""How many times smaller than the picture fog is painted."""


def fall(canvas: Canvas, scene: Scene, palette: Palette) -> None:
    """Let it rain, snow or be foggy; in spring and autumn let leaves drift."""
    if scene.place in {"room", "space", "moonscape", "underwater"}:
        return
    if scene.weather in {"rain", "storm"}:
        _rain(canvas, scene)
    elif scene.weather == "snow":
        _snow(canvas, scene)
    elif scene.weather == "fog":
        _fog(canvas, scene, palette)
    elif scene.season in {"autumn", "spring"} and "season" in scene.said:
        _leaves(canvas, scene, palette)


def lightning(canvas: Canvas, scene: Scene) -> None:
    """Let one bolt strike in the distance."""
    dice = scene.dice("bolt")
    x, y = canvas.width * (1 - scene.shot.sun_x), canvas.height * 0.06
    path: list[Point] = [(x, y)]
    bottom = canvas.height * (scene.shot.horizon + 0.01)
    while y < bottom:
        x += canvas.unit * dice.uniform(-0.05, 0.05)
        y += canvas.unit * dice.uniform(0.03, 0.07)
        path.append((x, min(y, bottom)))
    halfway = canvas.height * scene.shot.horizon * 0.5
    canvas.glow(x, halfway, canvas.unit * 0.55, (190, 200, 255), 0.7)
    thick = canvas.unit * 0.004
    bolt = [(px - thick, py) for px, py in path] + [(px + thick, py) for px, py in path[::-1]]
    canvas.fill([bolt], (214, 220, 255), opacity=0.7, blur=canvas.unit * 0.006)
    canvas.fill([bolt], WHITE)


def _rain(canvas: Canvas, scene: Scene) -> None:
    dice = scene.dice("rain")
    heavy = scene.weather == "storm"
    drops: list[Shape] = []
    for number in range(380 if heavy else 260):
        x, y = dice.uniform(-0.1, 1.1) * canvas.width, dice.uniform(-0.05, 1) * canvas.height
        length = canvas.unit * (0.055 if number % 2 else 0.03) * dice.uniform(0.7, 1.4)
        lean = length * (0.42 if heavy else 0.16)
        thick = canvas.unit * (0.0017 if number % 2 else 0.0011)
        drops.append([(x, y), (x + thick, y), (x + thick - lean, y + length),
                      (x - lean, y + length)])  # fmt: skip
    canvas.fill(drops, (222, 232, 246), opacity=0.27)


def _snow(canvas: Canvas, scene: Scene) -> None:
    dice = scene.dice("snow")
    flakes: list[Shape] = []
    for number in range(230):
        size = canvas.unit * (0.0022 if number % 4 else 0.0044) * dice.uniform(0.6, 1.4)
        flakes.append(dot(dice.random() * canvas.width, dice.random() * canvas.height, size))
    canvas.fill(flakes, WHITE, opacity=0.85)
    for _ in range(12):  # close to the viewer, out of focus
        x, y = dice.random() * canvas.width, dice.random() * canvas.height
        canvas.glow(x, y, canvas.unit * dice.uniform(0.014, 0.03), WHITE, 0.8)


def _fog(canvas: Canvas, scene: Scene, palette: Palette) -> None:
    dice = scene.dice("fog")
    # Nothing is softer than fog: one small mask holds all of it.
    banks = Canvas(Image.new("L", (-(-canvas.width // _SOFT), -(-canvas.height // _SOFT)), 40))
    for _ in range(5):
        y = banks.height * (scene.shot.horizon + dice.uniform(-0.16, 0.3))
        x = banks.width * dice.random()
        half = banks.width * dice.uniform(0.4, 0.8)
        mask = Image.new("L", banks.image.size)
        ImageDraw.Draw(mask).polygon(ellipse(x, y, half, banks.unit * 0.05), fill=140)
        mask = mask.filter(ImageFilter.GaussianBlur(banks.unit * 0.05))
        banks.image = ImageChops.screen(banks.image, mask)
    veil(canvas.image, palette.haze, banks.image)


def _leaves(canvas: Canvas, scene: Scene, palette: Palette) -> None:
    dice = scene.dice("leaves")
    tones = (((222, 120, 44), (200, 72, 46), (238, 184, 70)) if scene.season == "autumn"
             else ((250, 200, 214), (255, 226, 232), (244, 170, 194)))  # fmt: skip
    for tone in tones:
        leaves = []
        for _ in range(12):
            size = canvas.unit * dice.uniform(0.004, 0.01)
            x, y = dice.random() * canvas.width, dice.random() * canvas.height
            leaves.append(ellipse(x, y, size * 1.5, size * 0.7, dice.uniform(0, 3)))
        canvas.fill(leaves, palette.lit(tone), opacity=0.9)
