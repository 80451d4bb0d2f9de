"""Styles: filters that turn a painted scene into a watercolor, a sketch, neon and so on.

Separate because a style changes the finished image of `painter`, whatever its content.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont, ImageOps

from xai_notebook.server.painting.canvas import (
    blotches,
    corners,
    levels,
    saturation,
    speckle,
    subtract,
    tiled,
    toned,
    veil,
    weave,
)

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from xai_notebook.server.painting.scene import Scene

_TURNS: Final = 24
"""Number of brush directions."""
_TIP: Final = ((-1.0, 0.2), (-0.6, -0.9), (0.7, -0.85), (1.0, 0.0), (0.6, 0.95), (-0.7, 0.85))
"""Outline of a brush stroke: points along and across the stroke."""
_PASSES: Final = ((40, 0.036, 0.0125, 0), (70, 0.018, 0.0066, 7), (120, 0.0088, 0.0034, 13))
"""Coarse to fine: strokes per side, half their length and width, minimum detail to paint."""
_GLARE: Final = 247
"""Level from which a channel glows like white."""
_PAPER: Final = (252, 249, 241)
_INK: Final = (46, 44, 56)
_MARK: Final = "local preview"
_VIGNETTES: Final = {"vintage": 90, "watercolor": 20, "sketch": 26}
_VIGNETTE: Final = 46
"""Levels by which the corners are darkened in other styles."""


def _oil(image: Image.Image, size: tuple[int, int], dice: random.Random) -> Image.Image:
    """Return `image` as an oil painting with this size."""
    image = saturation(image, 1.25)
    rough = image.reduce(8).filter(ImageFilter.GaussianBlur(1))
    painting = rough.resize(size, Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(painting)
    for cells, length, width, least in _PASSES:
        _cover(draw, image, size, cells, length, width, least, dice)
    return painting


def _cover(
    draw: ImageDraw.ImageDraw,
    image: Image.Image,
    size: tuple[int, int],
    cells: int,
    length: float,
    width: float,
    least: int,
    dice: random.Random,
) -> None:
    """Paint strokes in random order wherever the picture has detail."""
    unit = min(size)
    across, down = round(cells * size[0] / unit), round(cells * size[1] / unit)
    small = image.resize((across, down), Image.Resampling.BOX)
    colours = small.tobytes()
    bands = ImageChops.difference(small, small.filter(ImageFilter.BoxBlur(1.5))).split()
    detail = functools.reduce(ImageChops.lighter, bands).tobytes()
    light = small.convert("L").tobytes()
    stamps = _stamps(unit * length, unit * width)
    spots = [n for n in range(across * down) if detail[n] >= least]
    dice.shuffle(spots)
    step = (size[0] / across, size[1] / down)
    random = dice.random
    for spot in spots:
        row, column = divmod(spot, across)
        x, y = (column + random()) * step[0], (row + random()) * step[1]
        turn = _direction(light, spot, (across, down), row, column)
        a, b, c, d, e, f, g, h, i, j, k, m = stamps[
            round(turn * _TURNS / math.pi + random() * 3 - 1.5) % _TURNS
        ]
        shift = int(random() * 22) - 11
        red, green, blue = colours[spot * 3 : spot * 3 + 3]
        tone = (red + shift, green + shift, blue + shift)
        draw.polygon((x + a, y + b, x + c, y + d, x + e, y + f, x + g, y + h, x + i, y + j,
                      x + k, y + m), fill=tone)  # fmt: skip


def _direction(light: bytes, spot: int, size: tuple[int, int], row: int, column: int) -> float:
    """Return the angle of the brush: along an edge, otherwise along a gentle swirl."""
    right = light[spot + 1] if column + 1 < size[0] else light[spot]
    below = light[spot + size[0]] if row + 1 < size[1] else light[spot]
    across, down = right - light[spot], below - light[spot]
    if abs(across) + abs(down) > 5:  # noqa: PLR2004
        return math.atan2(across, -down)
    return 0.5 * math.sin(row / size[1] * 7 + column / size[0] * 4)


def _stamps(length: float, width: float) -> list[list[float]]:
    """Return the outline of a stroke for each direction, with alternating x and y."""
    stamps = []
    for turn in range(_TURNS):
        angle = turn * math.pi / _TURNS
        cos, sin = math.cos(angle) * length, math.sin(angle) * length
        thin = width / length
        stamps.append(
            [
                coordinate
                for a, b in _TIP
                for coordinate in (a * cos - b * thin * sin, a * sin + b * thin * cos)
            ]
        )
    return stamps


@dataclass(frozen=True, slots=True)
class Style:
    """The implementation of a style.

    Attributes:
        apply: Returns the image in this style and in the size of the picture.
        side: Shorter side in pixels at which to paint a 1k picture before applying the style. None
            means full size. Filters that blur need no fine edges.
    """

    apply: Callable[[Image.Image, tuple[int, int], random.Random], Image.Image]
    side: int | None = None


def _watercolor(image: Image.Image, size: tuple[int, int], dice: random.Random) -> Image.Image:
    image = _trembling(image, dice)
    soft = image.reduce(4).filter(ImageFilter.GaussianBlur(2.5))
    soft = soft.resize(image.size, Image.Resampling.BILINEAR)
    # Pigment is dense at edges. Elsewhere it is thin, and the paper shines through.
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
    """Return `image` with unsteady outlines, as if drawn by hand."""
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
    for x in range(1, across - 1):  # without the outermost cells, which would exceed the picture
        for y in range(1, down - 1):
            box = (x * cell, y * cell, (x + 1) * cell, (y + 1) * cell)
            quad = (*knots[x][y], *knots[x][y + 1], *knots[x + 1][y + 1], *knots[x + 1][y])
            mesh.append((box, quad))
    moved = image.transform(image.size, Image.Transform.MESH, mesh, Image.Resampling.NEAREST)
    inner = (cell, cell, (across - 1) * cell, (down - 1) * cell)
    image.paste(moved.crop(inner), inner[:2])
    return image


def _margin(size: tuple[int, int], dice: random.Random) -> Image.Image:
    """Return a mask for the uneven border that a brush leaves white."""
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
    # Glow and tint are soft, so both are painted small and blended once.
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
    "oil": Style(_oil, 512),
}  # fmt: skip


def working_size(scene: Scene, size: tuple[int, int]) -> tuple[int, int]:
    """Return the size in pixels at which to paint `scene` for a picture of this `size`."""
    limit = STYLES[scene.style].side if scene.style else None
    if limit is None:
        return size
    full = min(size)
    side = min(full, limit * max(1.0, math.sqrt(math.prod(size)) / 1024) ** 0.5)
    return round(size[0] * side / full), round(size[1] * side / full)


def finish(
    image: Image.Image, scene: Scene, size: tuple[int, int], *, vignette: bool = True
) -> Image.Image:
    """Return `image` in the scene's style and the given size, with grain, vignette and mark.

    Args:
        image: The painted scene.
        scene: The content of the image.
        size: Width and height of the result, in pixels.
        vignette: Darken the corners. False for edits, whose corners may already be dark.
    """
    if scene.style:
        image = STYLES[scene.style].apply(image, size, scene.dice("style"))
    if scene.style != "pixel":
        image = _grain(image, scene, vignette=vignette)
    _mark(image)
    return image


def _grain(image: Image.Image, scene: Scene, *, vignette: bool) -> Image.Image:
    """Add the texture of film, paper or canvas and darken the corners, in one pass."""
    sheet = tiled(_texture(scene.style, scene.dice("grain")), image.size)
    if vignette:
        depth = _VIGNETTES.get(scene.style or "", _VIGNETTE)
        sheet = ImageChops.add_modulo(sheet, corners(image.size, depth))
    if scene.style == "oil":
        # Light from above on thick paint.
        relief = image.convert("L").filter(ImageFilter.EMBOSS)
        sheet = ImageChops.add(sheet, relief.point(levels(lambda v: 10 - (v - 128) * 0.4)))
    return subtract(image, sheet)


def _texture(style: str | None, dice: random.Random) -> Image.Image:
    """Return a tile with the texture of film, paper or canvas. Its levels are to be subtracted."""
    if style in {"watercolor", "sketch"}:
        depth = 20 if style == "sketch" else 16
        paper = Image.blend(weave(dice, 2, 2), weave(dice, 4, 4), 0.5)
        return paper.point(levels(lambda v: (v - 40) * depth / 170))
    if style == "oil":
        cloth = Image.blend(weave(dice, 8, 2), weave(dice, 2, 8), 0.5)
        return cloth.point(levels(lambda v: (v - 60) * 18 / 140))
    strength = 14 if style == "vintage" else 6
    return speckle(dice).point(levels(lambda v: v * strength / 255))


def _mark(image: Image.Image) -> None:
    """Write "local preview" into the lower right corner, so that a preview is recognizable."""
    unit = min(image.size)
    font = ImageFont.load_default(max(10, round(unit * 0.0165)))
    draw = ImageDraw.Draw(image, "RGBA")
    left, top, right, bottom = draw.textbbox((0, 0), _MARK, font=font)
    margin = round(unit * 0.018)
    corner = (image.width - (right - left) - margin, image.height - (bottom - top) - margin - top)
    draw.text((corner[0] + 1, corner[1] + 1), _MARK, font=font, fill=(0, 0, 0, 90))
    draw.text(corner, _MARK, font=font, fill=(255, 255, 255, 170))
