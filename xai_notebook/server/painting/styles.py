"""Styles: what turns a painted scene into a watercolor, a drawing, a print or neon."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

from xai_notebook.server.painting.brush import daub
from xai_notebook.server.painting.layers import blotches, levels, saturation, tiled, toned, veil

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

__all__ = ["STYLES", "Style"]

_GLARE: Final = 247
_PAPER: Final = (252, 249, 241)
_INK: Final = (46, 44, 56)


@dataclass(frozen=True, slots=True)
class Style:
    """How a style is made.

    Attributes:
        apply: Returns the scene in this style and in the size of the picture.
        side: Shorter side at which the scene of a 1k picture is painted; None: its full size.
            Where a filter blurs anyway, fine edges would only cost time.
    """

    apply: Callable[[Image.Image, tuple[int, int], random.Random], Image.Image]
    side: int | None = None

    def working_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the size at which to paint the scene of a picture of `size`."""
        if self.side is None:
            return size
        full = min(size)
        side = min(full, self.side * max(1.0, math.sqrt(math.prod(size)) / 1024) ** 0.5)
        return round(size[0] * side / full), round(size[1] * side / full)


def _watercolor(image: Image.Image, size: tuple[int, int], dice: random.Random) -> Image.Image:
    image = _trembling(image, dice)
    soft = image.reduce(4).filter(ImageFilter.GaussianBlur(2.5))
    soft = soft.resize(image.size, Image.Resampling.BILINEAR)
    # Pigment gathers where a wash ends; elsewhere it thins out, and paper shines through.
    edges = ImageChops.difference(image, soft).convert("L")
    image = saturation(Image.blend(image, soft, 0.22), 1.16)
    veil(image, (58, 48, 92), edges.point(levels(lambda v: min(96, v * 1.5))))
    blooms = blotches(image.size, dice, 6).point(levels(lambda v: (v - 96) * 0.75))
    veil(image, (255, 252, 244), blooms)
    stains = blotches(image.size, dice, 17).point(levels(lambda v: (v - 150) * 0.55))
    veil(image, (92, 84, 128), stains)
    image = image.resize(size, Image.Resampling.BILINEAR)
    veil(image, _PAPER, _margin(size, dice))
    return image


def _trembling(image: Image.Image, dice: random.Random) -> Image.Image:
    """Return `image` with the slightly unsteady outlines of a hand."""
    cell = max(8, min(image.size) // 20)
    swing = cell * 0.11
    across, down = image.width // cell, image.height // cell
    knots = [
        [
            (x * cell + dice.uniform(-swing, swing), y * cell + dice.uniform(-swing, swing))
            for y in range(down + 1)
        ]
        for x in range(across + 1)
    ]
    mesh = []
    for x in range(1, across - 1):  # not the outermost: they would reach beyond the picture
        for y in range(1, down - 1):
            box = (x * cell, y * cell, (x + 1) * cell, (y + 1) * cell)
            quad = (*knots[x][y], *knots[x][y + 1], *knots[x + 1][y + 1], *knots[x + 1][y])
            mesh.append((box, quad))
    moved = image.transform(image.size, Image.Transform.MESH, mesh, Image.Resampling.NEAREST)
    inner = (cell, cell, (across - 1) * cell, (down - 1) * cell)
    image.paste(moved.crop(inner), inner[:2])
    return image


def _margin(size: tuple[int, int], dice: random.Random) -> Image.Image:
    """Return a mask of the uneven white border that a brush leaves."""
    side = 192
    border = Image.new("L", (side, side), 255)
    border.paste(0, (10, 10, side - 10, side - 10))
    border = border.filter(ImageFilter.GaussianBlur(5))
    rough = ImageChops.add(
        border.point(levels(lambda v: v * 0.8)),
        ImageChops.add(
            blotches((side, side), dice, 22).point(levels(lambda v: v * 0.2)),
            blotches((side, side), dice, 64).point(levels(lambda v: v * 0.1)),
        ),
    )
    large = rough.resize(size, Image.Resampling.BILINEAR)
    return large.point(levels(lambda v: (v - 128) * 14))


def _sketch(image: Image.Image, size: tuple[int, int], _dice: random.Random) -> Image.Image:
    grey = image.convert("L")
    unit = min(size)
    small = grey.reduce(4).filter(ImageFilter.BoxBlur(max(1, unit / 1024)))
    soft = small.resize(size, Image.Resampling.BILINEAR)
    lines = ImageChops.difference(grey, soft).point(levels(lambda v: 255 - v * 7))
    tone = ImageOps.autocontrast(grey).point(levels(lambda v: 150 + v * 105 / 255))
    pitch = max(12, unit // 85 // 2 * 2)
    hatch = Image.new("L", (pitch, pitch), 41)
    draw = ImageDraw.Draw(hatch)
    for offset in (0, pitch // 2):
        for left in (-pitch, 0):
            draw.line([(offset + left, pitch), (offset + left + pitch, 0)], fill=0,
                      width=max(1, pitch // 12))  # fmt: skip
    dark = grey.point(levels(lambda v: 255 - (255 - v - 96) * 3))
    shaded = ImageChops.lighter(tiled(hatch, size).point(levels(lambda v: 214 + v)), dark)
    drawn = ImageChops.multiply(ImageChops.multiply(lines, tone), shaded)
    return toned(drawn, _INK, (250, 246, 236))


def _pixel(image: Image.Image, size: tuple[int, int], _dice: random.Random) -> Image.Image:
    small = image.reduce(2).quantize(28, dither=Image.Dither.NONE).convert("RGB")
    return small.resize(size, Image.Resampling.NEAREST)


def _neon(image: Image.Image, _size: tuple[int, int], _dice: random.Random) -> Image.Image:
    # Glow and tint are soft: both are made small, and the picture is touched but once.
    small = image.reduce(max(1, min(image.size) // 200))
    shine = small.point(levels(lambda v: (v - 112) * 2.6 if v < _GLARE else 255) * 3)
    tint = toned(small.convert("L"), (24, 0, 96), (150, 0, 190))
    haze = ImageChops.add(tint, shine.filter(ImageFilter.GaussianBlur(5)))
    return Image.blend(image, haze.resize(image.size, Image.Resampling.BILINEAR), 0.3)


def _mono(image: Image.Image, _size: tuple[int, int], _dice: random.Random) -> Image.Image:
    grey = ImageOps.autocontrast(image.convert("L"), cutoff=1)
    return Image.merge("RGB", (grey,) * 3)


def _vintage(image: Image.Image, size: tuple[int, int], dice: random.Random) -> Image.Image:
    sepia = toned(image.convert("L"), (52, 36, 34), (255, 240, 206), (176, 132, 96))
    faded = Image.blend(image, sepia, 0.68)
    veil(faded, (255, 206, 140), blotches(size, dice, 4).point(levels(lambda v: v * 0.2)))
    return faded


STYLES: Final[dict[str, Style]] = {
    "watercolor": Style(_watercolor, 640), "sketch": Style(_sketch), "pixel": Style(_pixel, 256),
    "neon": Style(_neon), "mono": Style(_mono), "vintage": Style(_vintage),
    "oil": Style(daub, 512),
}  # fmt: skip
