"""Oil: the scene painted over once more, daub by daub."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Final

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from xai_notebook.server.painting.layers import saturation

if TYPE_CHECKING:
    import random

__all__ = ["daub"]

_TURNS: Final = 24
"""Directions in which a brush is held."""
_TIP: Final = ((-1.0, 0.2), (-0.6, -0.9), (0.7, -0.85), (1.0, 0.0), (0.6, 0.95), (-0.7, 0.85))
"""Outline of a daub, along and across the brush."""
_PASSES: Final = ((40, 0.036, 0.0125, 0), (70, 0.018, 0.0066, 7), (120, 0.0088, 0.0034, 13))
"""Coarse to fine: daubs across the picture, half a daub's length and width, least detail."""


def daub(image: Image.Image, size: tuple[int, int], dice: random.Random) -> Image.Image:
    """Return `image` as an oil painting of `size`."""
    image = saturation(image, 1.25)
    rough = image.reduce(8).filter(ImageFilter.GaussianBlur(1))
    painting = rough.resize(size, Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(painting)
    for cells, length, width, least in _PASSES:
        _cover(draw, image, size, (cells, length, width, least), dice)
    return painting


def _cover(
    draw: ImageDraw.ImageDraw,
    image: Image.Image,
    size: tuple[int, int],
    plan: tuple[int, float, float, int],
    dice: random.Random,
) -> None:
    """Set daubs in rows wherever the picture has detail."""
    cells, length, width, least = plan
    unit = min(size)
    across, down = round(cells * size[0] / unit), round(cells * size[1] / unit)
    small = image.resize((across, down), Image.Resampling.BOX)
    colours = small.tobytes()
    bands = ImageChops.difference(small, small.filter(ImageFilter.BoxBlur(1.5))).split()
    detail = functools.reduce(ImageChops.lighter, bands).tobytes()
    light = small.convert("L").tobytes()
    stamps = _stamps(unit * length, unit * width)
    places = [n for n in range(across * down) if detail[n] >= least]
    dice.shuffle(places)
    step = (size[0] / across, size[1] / down)
    random = dice.random
    for place in places:
        row, column = divmod(place, across)
        x, y = (column + random()) * step[0], (row + random()) * step[1]
        turn = _direction(light, place, (across, down), row, column)
        a, b, c, d, e, f, g, h, i, j, k, m = stamps[
            round(turn * _TURNS / math.pi + random() * 3 - 1.5) % _TURNS
        ]
        shift = int(random() * 22) - 11
        red, green, blue = colours[place * 3 : place * 3 + 3]
        tone = (red + shift, green + shift, blue + shift)
        draw.polygon((x + a, y + b, x + c, y + d, x + e, y + f, x + g, y + h, x + i, y + j,
                      x + k, y + m), fill=tone)  # fmt: skip


def _direction(light: bytes, place: int, size: tuple[int, int], row: int, column: int) -> float:
    """Return the angle along which nothing changes; where all is even, a gentle swirl."""
    right = light[place + 1] if column + 1 < size[0] else light[place]
    below = light[place + size[0]] if row + 1 < size[1] else light[place]
    across, down = right - light[place], below - light[place]
    if abs(across) + abs(down) > 5:  # noqa: PLR2004
        return math.atan2(across, -down)
    return 0.5 * math.sin(row / size[1] * 7 + column / size[0] * 4)


def _stamps(length: float, width: float) -> list[list[float]]:
    """Return the outline of a daub in every direction: x and y in turn."""
    stamps = []
    for turn in range(_TURNS):
        angle = turn * math.pi / _TURNS
        cos, sin = math.cos(angle) * length, math.sin(angle) * length
        thin = width / length
        stamps.append(
            [
                place
                for a, b in _TIP
                for place in (a * cos - b * thin * sin, a * sin + b * thin * cos)
            ]
        )
    return stamps
