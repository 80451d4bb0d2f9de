"""The sky: its light, sun and moon, stars, clouds, rainbow and aurora."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFilter

from xai_notebook.server.painting.canvas import Canvas, gradient
from xai_notebook.server.painting.colours import WHITE, mix, scale
from xai_notebook.server.painting.shapes import dot, ellipse

if TYPE_CHECKING:
    import random

    from xai_notebook.server.painting.palette import Palette
    from xai_notebook.server.painting.scene import Scene
    from xai_notebook.server.painting.shapes import Shape

__all__ = ["moon", "sky", "stars"]

_SOFT = 4
"""How many times smaller than the picture its soft parts are painted."""
_DIM = frozenset({"rain", "storm"})
"""Weather in which clouds are soft as well, and nothing shines between them."""


def sky(scene: Scene, palette: Palette, size: tuple[int, int]) -> Canvas:
    """Return a canvas with the sky, its sun or moon, stars and clouds."""
    horizon = scene.shot.horizon
    canvas = Canvas(Image.new("RGB", size, palette.haze))
    canvas.image.paste(_light(scene, palette, size), (0, 0))
    if scene.time == "night" and scene.weather not in {"fog", "rain", "storm"}:
        stars(canvas, scene.dice("stars"), bottom=horizon, count=150)
    where = _sun_at(canvas, scene)
    if where is not None:
        x, y, radius = where
        canvas.fill([ellipse(x, y, radius, radius)], palette.sun)
        if scene.time == "night":
            _craters(canvas, scene, palette, where)
    if "rainbow" in scene.lights:
        _rainbow(canvas, scene)
    if scene.weather not in _DIM:
        clouds(canvas, scene, palette)
    return canvas


def _light(scene: Scene, palette: Palette, size: tuple[int, int]) -> Image.Image:
    """Return the sky as far down as the horizon: all that is soft in it, painted small."""
    rows = round(size[1] * (scene.shot.horizon + 0.06))
    times = 2 if scene.weather in _DIM else _SOFT
    small = (-(-size[0] // times), -(-size[1] // times))
    canvas = Canvas(Image.new("RGB", small, palette.haze))
    height = size[1] / small[1]
    canvas.image.paste(gradient((small[0], round(rows / height)), palette.sky), (0, 0))
    if "aurora" in scene.lights:
        _aurora(canvas, scene)
    where = _sun_at(canvas, scene)
    if where is not None:
        x, y, radius = where
        reach, power = ((8, 3), (0.5, 0.6)) if scene.time == "night" else ((7.5, 3.2), (0.8, 0.7))
        canvas.glow(x, y, radius * reach[0], palette.sun, power[0])
        canvas.glow(x, y, radius * reach[1], palette.sun, power[1])
    if scene.weather in _DIM:
        clouds(canvas, scene, palette)
    box = (0, 0, small[0], rows / height)
    return canvas.image.resize((size[0], rows), Image.Resampling.BILINEAR, box=box)


def _sun_at(canvas: Canvas, scene: Scene) -> tuple[float, float, float] | None:
    """Return x, y and radius of the sun, at night of the moon; None: the weather hides it."""
    named = scene.lights & {"sun", "moon"} or (scene.weather == "snow" and "time" in scene.said)
    if scene.weather in {"rain", "storm", "snow"} and not named:
        return None
    x = canvas.width * scene.shot.sun_x
    lowered = {"dawn": 0.85, "dusk": 0.88, "golden": 0.78, "day": 0.42, "night": 0.42}[scene.time]
    y = canvas.height * scene.shot.horizon * (lowered * 0.7 + scene.shot.sun_y * 0.3)
    return x, y, canvas.unit * (0.07 if scene.time in {"dusk", "golden"} else 0.055)


def moon(canvas: Canvas, scene: Scene, palette: Palette, place: tuple[float, float, float]) -> None:
    """Paint the full moon; `place` is x, y and radius in pixels."""
    x, y, radius = place
    canvas.glow(x, y, radius * 8, palette.sun, 0.5)
    canvas.glow(x, y, radius * 3, palette.sun, 0.6)
    canvas.fill([ellipse(x, y, radius, radius)], palette.sun)
    _craters(canvas, scene, palette, place)


def _craters(
    canvas: Canvas, scene: Scene, palette: Palette, place: tuple[float, float, float]
) -> None:
    x, y, radius = place
    dice = scene.dice("moon")
    spots = []
    for _ in range(5):
        angle, away = dice.uniform(0, math.tau), dice.uniform(0.1, 0.65) * radius
        spot = dice.uniform(0.1, 0.24) * radius
        spots.append(ellipse(x + math.cos(angle) * away, y + math.sin(angle) * away, spot, spot))
    canvas.fill(spots, scale(palette.sun, 0.86), opacity=0.8)


def stars(canvas: Canvas, dice: random.Random, *, bottom: float, count: int) -> None:
    """Scatter stars over the upper part of the picture, `bottom` a fraction of its height."""
    small, large = [], []
    for number in range(count):
        x, y = dice.random() * canvas.width, dice.random() ** 1.3 * canvas.height * bottom
        radius = canvas.unit * dice.choice((0.0009, 0.0012, 0.0016))
        if number % 16 == 0:
            large.append(dot(x, y, radius * 1.5))
            canvas.glow(x, y, radius * 12, (220, 230, 255), 0.7)
        else:
            small.append(dot(x, y, radius))
    canvas.fill(small, WHITE, opacity=0.75)
    canvas.fill(large, WHITE)


def _aurora(canvas: Canvas, scene: Scene) -> None:
    dice = scene.dice("aurora")
    for colour in ((90, 240, 170), (80, 200, 220), (170, 110, 230)):
        base = canvas.height * dice.uniform(0.2, 0.4) * scene.shot.horizon * 1.6
        points = [
            (canvas.width * step / 6, base + canvas.height * dice.uniform(-0.07, 0.07))
            for step in range(-1, 8)
        ]
        upper = [(x, y - canvas.height * dice.uniform(0.1, 0.2)) for x, y in points]
        canvas.fill([points + upper[::-1]], colour, opacity=0.4, blur=canvas.unit * 0.03)


def _rainbow(canvas: Canvas, scene: Scene) -> None:
    colours = ((228, 84, 80), (244, 160, 76), (250, 222, 110), (110, 196, 120), (90, 150, 220),
               (140, 110, 200))  # fmt: skip
    # Six soft bands: painted at half the size, and only where they are seen.
    x, y = canvas.width * (1 - scene.shot.sun_x) / 2, canvas.height * (scene.shot.horizon + 0.1) / 2
    size = (canvas.width // 2, min(canvas.height // 2, round(y)))
    bands, mask = Image.new("RGB", size, colours[-1]), Image.new("L", size)
    for number, colour in enumerate((*colours, colours[-1])):
        radius = canvas.unit * (0.52 - number * 0.018) / 2
        box = (x - radius, y - radius, x + radius, y + radius)
        ImageDraw.Draw(bands).ellipse(box, fill=colour)
        if number in {0, len(colours)}:
            ImageDraw.Draw(mask).ellipse(box, fill=0 if number else 128)
    mask = mask.filter(ImageFilter.BoxBlur(1))
    full = (size[0] * 2, size[1] * 2)
    canvas.image.paste(
        bands.resize(full, Image.Resampling.BILINEAR),
        (0, 0),
        mask.resize(full, Image.Resampling.BILINEAR),
    )


def clouds(canvas: Canvas, scene: Scene, palette: Palette) -> None:
    """Paint clouds that dissolve downwards: few when fair, a ceiling before a storm."""
    dice = scene.dice("clouds")
    heavy = scene.weather in {"storm", "rain", "snow", "cloudy"}
    count = {"clear": 2, "cloudy": 6, "rain": 8, "storm": 10, "snow": 6, "fog": 1}[scene.weather]
    light = mix(palette.sky[2], WHITE, 0.35 if scene.time != "night" else 0.0)
    body = mix(light, palette.sky[0], 0.55 if scene.weather in {"storm", "rain"} else 0.18)
    for number in range(count):
        reach = canvas.unit * dice.uniform(0.14, 0.3) * (1.35 if heavy else 1.0)
        x = canvas.width * (number + dice.uniform(-0.2, 1.2)) / count
        y = canvas.height * scene.shot.horizon * dice.uniform(0.08, 0.62)
        shapes = _cloud(dice, x, y, reach)
        tone = mix(body, palette.sky[1], dice.uniform(0.0, 0.5))
        lower = mix(tone, palette.sky[1], 0.8)
        canvas.fill(shapes, mix(tone, light, 0.6), lower, opacity=0.86 if heavy else 0.74, fade=0.6)


def _cloud(dice: random.Random, x: float, y: float, reach: float) -> list[Shape]:
    puffs: list[Shape] = []
    for step in range(6):
        place = (step + 0.5) / 6 * 2 - 1
        radius = reach * (0.34 * (1 - place * place) + 0.12) * dice.uniform(0.8, 1.15)
        outline = ellipse(x + place * reach, y, radius * 1.25, radius)
        # Flat below, yet never cut off: the lower half of every puff is a shallow one.
        puffs.append([(across, min(down, y + (down - y) * 0.45)) for across, down in outline])
    return puffs
