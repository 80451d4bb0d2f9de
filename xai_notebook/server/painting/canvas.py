"""A picture under construction: shapes, gradients and glows put on it, with Pillow alone."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Final

from PIL import Image, ImageChops, ImageDraw, ImageFilter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xai_notebook.server.painting.colours import Colour
    from xai_notebook.server.painting.shapes import Point, Shape

__all__ = ["Canvas", "gradient"]

_OVERSAMPLING: Final = 2
_PATCH: Final = 5000
"""Pixels that take as long to fill as it takes to begin with one more shape."""
Box = tuple[int, int, int, int]


def gradient(size: tuple[int, int], colours: Sequence[Colour]) -> Image.Image:
    """Return a vertical gradient through `colours`, the first at the top."""
    strip = Image.new("RGB", (1, len(colours)))
    for row, colour in enumerate(colours):
        strip.putpixel((0, row), colour)
    box = (0, 0.5, 1, len(colours) - 0.5)  # from the middle of the first to that of the last
    tall = strip.resize((1, size[1]), Image.Resampling.BILINEAR, box=box)
    return tall if size[0] == 1 else tall.resize(size, Image.Resampling.NEAREST)


class Canvas:
    """An RGB image and the few ways in which the painter touches it. Lengths are pixels."""

    def __init__(self, image: Image.Image) -> None:
        """Paint on `image`."""
        self.image = image
        self.width, self.height = image.size
        self.unit = min(image.size)

    def fill(
        self,
        shapes: Sequence[Shape],
        *colours: Colour,
        opacity: float = 1.0,
        blur: float = 0.0,
        fade: float = 0.0,
    ) -> None:
        """Fill the union of `shapes`, smooth at its edges.

        Args:
            shapes: Polygons; parts outside the picture are ignored.
            *colours: One colour, or several from the top of the shapes to their bottom.
            opacity: 0 to 1.
            blur: Radius of softened edges.
            fade: The lower part of the shapes that dissolves, 0 to 1 of their height.
        """
        shapes = [shape for shape in shapes if shape]
        extents = [_extent(shape) for shape in shapes]
        if not extents or opacity <= 0:
            return
        span = _extent([corner for e in extents for corner in (e[:2], e[2:])])
        box = self._box(span, blur * 3)
        if box is None:
            return
        inks = colours if len(colours) > 1 else colours * 2
        ink = _Ink(inks, math.floor(span[1]), math.ceil(span[3]) + 1, opacity)
        apart = sum((e[2] - e[0]) * (e[3] - e[1]) + _PATCH for e in extents)
        if blur or fade:
            mask = _mask(shapes, box, blur, opacity)
            ink.paste(self.image, box, _faded(mask, fade) if fade else mask)
        elif apart < (box[2] - box[0]) * (box[3] - box[1]):
            # Few and far between: the space between them costs nothing.
            for shape, extent in zip(shapes, extents, strict=True):
                patch = self._box(extent, 0)
                if patch is not None:
                    ink.paste(self.image, patch, _mask([shape], patch, 0, opacity))
        else:
            whole = len(shapes) == 1 and _upright(shapes[0])
            ink.paste(self.image, box, None if whole else _mask(shapes, box, 0, opacity))

    def ground(self, line: Sequence[Point], *colours: Colour, opacity: float = 1.0) -> None:
        """Fill everything below `line`, which runs from the left edge to the right one.

        Most of it needs no mask, which makes this several times faster than `fill`.

        Args:
            line: From left to right.
            *colours: From the highest point of the line to the lower edge of the picture.
            opacity: 0 to 1.
        """
        top = max(0, math.floor(min(y for _, y in line)))
        low = min(self.height, max(top, math.ceil(max(y for _, y in line)) + 1))
        if top >= self.height:
            return
        inks = colours if len(colours) > 1 else colours * 2
        ink = _Ink(inks, top, self.height, opacity)
        if low > top:
            shape = [*line, (line[-1][0], low + 9.0), (line[0][0], low + 9.0)]
            box = (0, top, self.width, low)
            ink.paste(self.image, box, _mask([shape], box, 0, opacity))
        if low < self.height:
            ink.paste(self.image, (0, low, self.width, self.height), None)

    def glow(self, x: float, y: float, radius: float, colour: Colour, strength: float) -> None:
        """Let light of `colour` shine around (x, y), fading out at `radius`."""
        side = max(2, round(radius * 2))
        left, top = round(x - radius), round(y - radius)
        clip = (max(0, -left), max(0, -top), min(side, self.width - left),
                min(side, self.height - top))  # fmt: skip
        if clip[0] >= clip[2] or clip[1] >= clip[3]:
            return
        halo = _halo(round(strength * 100))
        times = halo.width / side
        mask = halo.resize(
            (clip[2] - clip[0], clip[3] - clip[1]),
            Image.Resampling.BILINEAR,
            box=(clip[0] * times, clip[1] * times, clip[2] * times, clip[3] * times),
        )
        self.image.paste(Image.new("RGB", mask.size, colour), (left + clip[0], top + clip[1]), mask)

    def _box(self, extent: tuple[float, float, float, float], margin: float) -> Box | None:
        box = (
            max(0, math.floor(extent[0] - margin)),
            max(0, math.floor(extent[1] - margin)),
            min(self.width, math.ceil(extent[2] + margin) + 1),
            min(self.height, math.ceil(extent[3] + margin) + 1),
        )
        return box if box[0] < box[2] and box[1] < box[3] else None


class _Ink:
    """A vertical gradient, and how it gets on paper."""

    def __init__(self, colours: Sequence[Colour], top: int, bottom: int, opacity: float) -> None:
        """Run through `colours` from row `top` to row `bottom`."""
        self._plain = len(set(colours)) == 1
        self._column = gradient((1, 2 if self._plain else max(2, bottom - top)), colours)
        self._first, self._last = colours[0], colours[-1]
        self._top = top
        self._opacity = opacity

    def paste(self, image: Image.Image, box: Box, mask: Image.Image | None) -> None:
        """Put it on `image` in `box`, through `mask` (with the opacity in it), or all over."""
        size = (box[2] - box[0], box[3] - box[1])
        if self._plain and mask is not None and size[0] * size[1] < _PATCH:
            image.paste(self._first, box, mask)
            return
        sheet = Image.new("RGB", size, self._first) if self._plain else self._sheet(box, size)
        if mask is None and self._opacity < 1:
            sheet = Image.blend(image.crop(box), sheet, self._opacity)
        image.paste(sheet, box, mask)

    def _sheet(self, box: Box, size: tuple[int, int]) -> Image.Image:
        """Return what of the gradient is in `box`."""
        start = box[1] - self._top
        rows = self._column.crop((0, start, 1, start + size[1]))
        if start < 0:  # a blurred edge reaches beyond the gradient
            rows.paste(self._first, (0, 0, 1, min(size[1], -start)))
        if start + size[1] > self._column.height:
            rows.paste(self._last, (0, max(0, self._column.height - start), 1, size[1]))
        return rows.resize(size, Image.Resampling.NEAREST)


@functools.lru_cache(maxsize=32)
def _halo(percent: int) -> Image.Image:
    """Return a spot of light that fades out, 256 pixels wide."""
    levels = [round(2.55 * percent * max(0.0, 1 - level / 180) ** 2) for level in range(256)]
    return Image.radial_gradient("L").point(levels)


def _extent(shape: Shape) -> tuple[float, float, float, float]:
    across, down = zip(*shape, strict=True)
    return min(across), min(down), max(across), max(down)


def _upright(shape: Shape) -> bool:
    """Tell whether `shape` is a rectangle whose sides are horizontal and vertical."""
    if len(shape) != 4:  # noqa: PLR2004
        return False
    (a, b), (c, d), (e, f), (g, h) = shape
    return (a == g and c == e and b == d and f == h) or (a == c and e == g and d == f and b == h)


def _faded(mask: Image.Image, fade: float) -> Image.Image:
    """Return `mask` with its lower part dissolving downwards."""
    levels = [255] * round(64 * (1 - fade))
    rest = 64 - len(levels)
    levels += [round(255 * (1 - (row + 0.5) / rest)) for row in range(rest)]
    ramp = Image.frombytes("L", (1, 64), bytes(levels))
    tall = ramp.resize((1, mask.height), Image.Resampling.BILINEAR)
    return ImageChops.multiply(mask, tall.resize(mask.size, Image.Resampling.NEAREST))


def _mask(shapes: Sequence[Shape], box: Box, blur: float, opacity: float) -> Image.Image:
    """Return the union of `shapes` inside `box` as a mask of the size of the box."""
    size = (box[2] - box[0], box[3] - box[1])
    # What will be blurred needs no fine edges: draw it small, which is many times faster.
    times = _OVERSAMPLING if blur < 2 else 1 / max(1.0, blur / 2)  # noqa: PLR2004
    drawn = Image.new("L", (max(1, round(size[0] * times)), max(1, round(size[1] * times))))
    draw = ImageDraw.Draw(drawn)
    across, down = drawn.width / size[0], drawn.height / size[1]
    level = round(255 * opacity)
    for shape in shapes:
        draw.polygon([((x - box[0]) * across, (y - box[1]) * down) for x, y in shape], fill=level)
    if blur:
        drawn = drawn.filter(ImageFilter.GaussianBlur(blur * times))
    if times == _OVERSAMPLING:
        return drawn.reduce(_OVERSAMPLING)
    return drawn if drawn.size == size else drawn.resize(size, Image.Resampling.BILINEAR)
