"""Operations on whole pictures, each in the way that Pillow does fastest."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from PIL import Image, ImageChops

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from xai_notebook.server.painting.colours import Colour

__all__ = [
    "blotches",
    "corners",
    "levels",
    "saturation",
    "speckle",
    "subtract",
    "tiled",
    "toned",
    "veil",
    "weave",
]

_TILE = 256


def levels(change: Callable[[int], float]) -> list[int]:
    """Return a table of 256 levels, `change` applied to each."""
    return [min(255, max(0, round(change(level)))) for level in range(256)]


def toned(
    grey: Image.Image, dark: Colour, light: Colour, middle: Colour | None = None
) -> Image.Image:
    """Return a grey picture in tones from `dark` to `light`: what `colorize` does, faster."""
    bands = []
    for low, high, between in zip(dark, light, middle or dark, strict=True):
        if middle is None:
            table = levels(lambda v, a=low, b=high: a + (b - a) * v / 255)  # type: ignore[misc]
        else:
            table = levels(
                lambda v, a=low, b=high, m=between: (  # type: ignore[misc]
                    a + (m - a) * v / 127 if v < 127 else m + (b - m) * (v - 127) / 128  # noqa: PLR2004
                )
            )
        bands.append(grey.point(table))
    return Image.merge("RGB", bands)


def saturation(image: Image.Image, factor: float) -> Image.Image:
    """Return `image` with its colours stronger (above 1) or weaker."""
    grey = image.convert("L")
    return Image.blend(Image.merge("RGB", (grey,) * 3), image, factor)


def subtract(image: Image.Image, sheet: Image.Image) -> Image.Image:
    """Return `image` minus a grey `sheet`, never below black."""
    sheets = Image.merge("RGB", (sheet,) * 3)
    return ImageChops.subtract_modulo(ImageChops.lighter(image, sheets), sheets)


def veil(image: Image.Image, colour: Colour, mask: Image.Image) -> None:
    """Lay `colour` over `image` as thick as `mask`, which may be smaller."""
    if mask.size != image.size:
        mask = mask.resize(image.size, Image.Resampling.BILINEAR)
    # A sheet is pasted in half the time of a bare colour.
    image.paste(Image.new("RGB", image.size, colour), (0, 0), mask)


def tiled(tile: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return an image of `size` full of copies of `tile`."""
    sheet = Image.new(tile.mode, size)
    sheet.paste(tile, (0, 0))
    across, down = tile.size
    while across < size[0]:
        sheet.paste(sheet.crop((0, 0, across, down)), (across, 0))
        across *= 2
    while down < size[1]:
        sheet.paste(sheet.crop((0, 0, size[0], down)), (0, down))
        down *= 2
    return sheet


def speckle(dice: random.Random, size: int = _TILE) -> Image.Image:
    """Return a square tile of noise. It is our own: that of Pillow differs from run to run."""
    return Image.frombytes("L", (size, size), dice.randbytes(size * size))


def weave(dice: random.Random, across: int, down: int) -> Image.Image:
    """Return a tile of noise whose grains are `across` by `down` pixels; its edges fit."""
    columns, rows = _TILE // across, _TILE // down
    grains = Image.frombytes("L", (columns, rows), dice.randbytes(columns * rows))
    around = tiled(grains, (columns * 3, rows * 3))
    box = (columns, rows, columns * 2, rows * 2)
    return around.resize((_TILE, _TILE), Image.Resampling.BICUBIC, box=box)


def blotches(size: tuple[int, int], dice: random.Random, cells: int) -> Image.Image:
    """Return soft noise, `cells` blots across."""
    noise = speckle(dice, cells)
    coarse = noise.resize(
        (min(size[0], cells * 8), min(size[1], cells * 8)), Image.Resampling.BICUBIC
    )
    return coarse.resize(size, Image.Resampling.BILINEAR)


@functools.lru_cache(maxsize=4)
def corners(size: tuple[int, int], strength: int) -> Image.Image:
    """Return by how much a vignette darkens: nothing in the middle, `strength` at the corners."""
    table = levels(lambda v: strength * max(0.0, (v - 110) / 145) ** 1.6)
    spot = Image.radial_gradient("L").point(table)
    return spot.resize(size, Image.Resampling.BILINEAR)
