"""Drawing tools: shapes, a canvas to fill them on, and filters. Uses only Pillow."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from PIL import Image, ImageChops, ImageDraw, ImageFilter

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from xai_notebook.server.painting.colours import Colour

Point = tuple[float, float]
Shape = Sequence[Point]
"""A closed polygon."""

_ROUND: Final = tuple(
    (math.cos(step * math.tau / 40), math.sin(step * math.tau / 40)) for step in range(40)
)
"""Points of the unit circle, enough for large ellipses."""
_DOT: Final = tuple(
    (math.cos(step * math.tau / 9), math.sin(step * math.tau / 9)) for step in range(9)
)
_STEPS: Final = 6
"""Number of curve points between two control points."""


def ellipse(x: float, y: float, width: float, height: float, turn: float = 0.0) -> list[Point]:
    """Return an ellipse around (x, y) with these half-axes, turned by `turn` radians."""
    if not turn:
        return [(x + width * cos, y + height * sin) for cos, sin in _ROUND]
    cos, sin = math.cos(turn), math.sin(turn)
    return [
        (x + width * a * cos - height * b * sin, y + width * a * sin + height * b * cos)
        for a, b in _ROUND
    ]


def circle(x: float, y: float, radius: float) -> list[Point]:
    """Return a circle around (x, y)."""
    return ellipse(x, y, radius, radius)


def arch(x: float, y: float, width: float, height: float) -> list[Point]:
    """Return half of an ellipse around (x, y): the upper half if y points up."""
    return ellipse(x, y, width, height)[: len(_ROUND) // 2 + 1]


def ring(x: float, y: float, radius: float, thick: float) -> list[Point]:
    """Return a ring with this outer radius and thickness."""
    outer, inner = circle(x, y, radius), circle(x, y, radius - thick)
    return [*outer, outer[0], inner[0], *inner[::-1]]


def dot(x: float, y: float, radius: float) -> list[Point]:
    """Return a circle with few points, for a radius of a few pixels."""
    return [(x + radius * cos, y + radius * sin) for cos, sin in _DOT]


def rectangle(left: float, top: float, right: float, bottom: float) -> list[Point]:
    """Return a rectangle."""
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def curve(points: Sequence[Point], *, closed: bool = False) -> list[Point]:
    """Return a smooth (Catmull-Rom) curve through `points`."""
    count = len(points)
    result: list[Point] = []
    for start in range(count if closed else count - 1):
        indices = (start + offset for offset in (-1, 0, 1, 2))
        a, b, c, d = (
            points[index % count] if closed else points[min(max(index, 0), count - 1)]
            for index in indices
        )
        for step in range(_STEPS):
            t = step / _STEPS
            square, cube = t * t, t * t * t
            weights = (
                (-t + 2 * square - cube) / 2,
                (2 - 5 * square + 3 * cube) / 2,
                (t + 4 * square - 3 * cube) / 2,
                (cube - square) / 2,
            )
            result.append(
                (
                    a[0] * weights[0] + b[0] * weights[1] + c[0] * weights[2] + d[0] * weights[3],
                    a[1] * weights[0] + b[1] * weights[1] + c[1] * weights[2] + d[1] * weights[3],
                )
            )
    if not closed:
        result.append(points[-1])
    return result


def blob(*points: Point) -> list[Point]:
    """Return a smooth closed shape through `points`."""
    return curve(points, closed=True)


def stroke(points: Sequence[Point], width: float, end_width: float | None = None) -> list[Point]:
    """Return a smooth line through `points` that tapers from `width` to `end_width`."""
    end_width = width if end_width is None else end_width
    path = curve(points)
    left, right = [], []
    last = len(path) - 1
    for step, (x, y) in enumerate(path):
        before, after = path[max(step - 1, 0)], path[min(step + 1, last)]
        across, down = after[0] - before[0], after[1] - before[1]
        length = math.hypot(across, down) or 1.0
        half = (width + (end_width - width) * step / last) / 2
        left.append((x - down / length * half, y + across / length * half))
        right.append((x + down / length * half, y - across / length * half))
    return left + right[::-1]


_OVERSAMPLING: Final = 2
_PATCH: Final = 5000
"""Cost of one more shape, as the number of pixels that are filled in the same time."""
Box = tuple[int, int, int, int]


def gradient(size: tuple[int, int], colours: Sequence[Colour]) -> Image.Image:
    """Return a vertical gradient through `colours`, the first at the top."""
    strip = Image.new("RGB", (1, len(colours)))
    for row, colour in enumerate(colours):
        strip.putpixel((0, row), colour)
    box = (0, 0.5, 1, len(colours) - 0.5)  # between the middles of the end colours
    tall = strip.resize((1, size[1]), Image.Resampling.BILINEAR, box=box)
    return tall if size[0] == 1 else tall.resize(size, Image.Resampling.NEAREST)


class Canvas:
    """An RGB image to paint on. Lengths are in pixels."""

    def __init__(self, image: Image.Image) -> None:
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
        """Fill the union of `shapes` with smooth edges.

        Args:
            shapes: Polygons. Parts outside the picture are ignored.
            *colours: One colour, or a gradient from the top of the shapes to their bottom.
            opacity: 0 to 1.
            blur: Radius of the edge blur.
            fade: Lower part of the shapes that fades out, as a fraction of their height.
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
        cost_apart = sum((e[2] - e[0]) * (e[3] - e[1]) + _PATCH for e in extents)
        if blur or fade:
            mask = _mask(shapes, box, blur, opacity)
            ink.paste(self.image, box, _faded(mask, fade) if fade else mask)
        elif cost_apart < (box[2] - box[0]) * (box[3] - box[1]):
            # The shapes are sparse: skip the space between them.
            for shape, extent in zip(shapes, extents, strict=True):
                patch = self._box(extent, 0)
                if patch is not None:
                    ink.paste(self.image, patch, _mask([shape], patch, 0, opacity))
        else:
            whole = len(shapes) == 1 and _upright(shapes[0])
            ink.paste(self.image, box, None if whole else _mask(shapes, box, 0, opacity))

    def ground(self, line: Sequence[Point], *colours: Colour, opacity: float = 1.0) -> None:
        """Fill everything below `line`, which runs from the left edge to the right edge.

        Most of the area needs no mask, so this is several times faster than `fill`.

        Args:
            line: Points from left to right.
            *colours: One colour, or a gradient from the highest point of the line to the lower edge
                of the picture.
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
        """Paint a glow of `colour` around (x, y) that fades out at `radius`."""
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
    """A vertical colour gradient that is pasted through masks."""

    def __init__(self, colours: Sequence[Colour], top: int, bottom: int, opacity: float) -> None:
        """Create a gradient through `colours` from row `top` to row `bottom`."""
        self._plain = len(set(colours)) == 1
        self._column = gradient((1, 2 if self._plain else max(2, bottom - top)), colours)
        self._first, self._last = colours[0], colours[-1]
        self._top = top
        self._opacity = opacity

    def paste(self, image: Image.Image, box: Box, mask: Image.Image | None) -> None:
        """Paste the gradient on `box` of `image`. A `mask` includes the opacity."""
        size = (box[2] - box[0], box[3] - box[1])
        if self._plain and mask is not None and size[0] * size[1] < _PATCH:
            image.paste(self._first, box, mask)
            return
        sheet = Image.new("RGB", size, self._first) if self._plain else self._sheet(box, size)
        if mask is None and self._opacity < 1:
            sheet = Image.blend(image.crop(box), sheet, self._opacity)
        image.paste(sheet, box, mask)

    def _sheet(self, box: Box, size: tuple[int, int]) -> Image.Image:
        """Return the part of the gradient in `box`."""
        start = box[1] - self._top
        rows = self._column.crop((0, start, 1, start + size[1]))
        if start < 0:  # a blurred edge extends beyond the gradient
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
    """Tell whether `shape` is a rectangle with horizontal and vertical sides."""
    if len(shape) != 4:  # noqa: PLR2004
        return False
    (a, b), (c, d), (e, f), (g, h) = shape
    return (a == g and c == e and b == d and f == h) or (a == c and e == g and d == f and b == h)


def _faded(mask: Image.Image, fade: float) -> Image.Image:
    """Return `mask` with a lower part that fades out downwards."""
    levels = [255] * round(64 * (1 - fade))
    rest = 64 - len(levels)
    levels += [round(255 * (1 - (row + 0.5) / rest)) for row in range(rest)]
    ramp = Image.frombytes("L", (1, 64), bytes(levels))
    tall = ramp.resize((1, mask.height), Image.Resampling.BILINEAR)
    return ImageChops.multiply(mask, tall.resize(mask.size, Image.Resampling.NEAREST))


def _mask(shapes: Sequence[Shape], box: Box, blur: float, opacity: float) -> Image.Image:
    """Return a mask of the union of `shapes`, in the size of `box`."""
    size = (box[2] - box[0], box[3] - box[1])
    # Blurred shapes need no fine edges. Drawing them small is many times faster.
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


_TILE = 256


def levels(change: Callable[[int], float]) -> list[int]:
    """Return a table for `Image.point` that applies `change` to each of 256 levels."""
    return [min(255, max(0, round(change(level)))) for level in range(256)]


def toned(
    grey: Image.Image, dark: Colour, light: Colour, middle: Colour | None = None
) -> Image.Image:
    """Map grey levels to colours from `dark` to `light`, faster than `ImageOps.colorize`."""
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
    """Return `image` with stronger colours (`factor` above 1) or weaker colours."""
    grey = image.convert("L")
    return Image.blend(Image.merge("RGB", (grey,) * 3), image, factor)


def subtract(image: Image.Image, sheet: Image.Image) -> Image.Image:
    """Return `image` minus a grey `sheet`, clipped at black."""
    sheets = Image.merge("RGB", (sheet,) * 3)
    return ImageChops.subtract_modulo(ImageChops.lighter(image, sheets), sheets)


def veil(image: Image.Image, colour: Colour, mask: Image.Image) -> None:
    """Blend `colour` into `image` through `mask`, which may be smaller."""
    if mask.size != image.size:
        mask = mask.resize(image.size, Image.Resampling.BILINEAR)
    # Pasting an image takes half the time of pasting a colour.
    image.paste(Image.new("RGB", image.size, colour), (0, 0), mask)


def tiled(tile: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return an image of `size` filled with copies of `tile`."""
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
    """Return a square tile of noise that is reproducible, which Pillow's is not."""
    return Image.frombytes("L", (size, size), dice.randbytes(size * size))


def weave(dice: random.Random, across: int, down: int) -> Image.Image:
    """Return a seamless tile of noise with grains of `across` by `down` pixels."""
    columns, rows = _TILE // across, _TILE // down
    grains = Image.frombytes("L", (columns, rows), dice.randbytes(columns * rows))
    around = tiled(grains, (columns * 3, rows * 3))
    box = (columns, rows, columns * 2, rows * 2)
    return around.resize((_TILE, _TILE), Image.Resampling.BICUBIC, box=box)


def blotches(size: tuple[int, int], dice: random.Random, cells: int) -> Image.Image:
    """Return soft noise with `cells` blots per side."""
    noise = speckle(dice, cells)
    coarse = noise.resize(
        (min(size[0], cells * 8), min(size[1], cells * 8)), Image.Resampling.BICUBIC
    )
    return coarse.resize(size, Image.Resampling.BILINEAR)


@functools.lru_cache(maxsize=4)
def corners(size: tuple[int, int], strength: int) -> Image.Image:
    """Return the levels to subtract for a vignette, from 0 to `strength` in the corners."""
    table = levels(lambda v: strength * max(0.0, (v - 110) / 145) ** 1.6)
    spot = Image.radial_gradient("L").point(table)
    return spot.resize(size, Image.Resampling.BILINEAR)
