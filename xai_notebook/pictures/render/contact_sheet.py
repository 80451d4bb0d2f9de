"""Draw contact sheets: all pictures of a batch in one image, with labels."""

from __future__ import annotations

import math
import textwrap
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from PIL import Image, ImageDraw, ImageFont

from xai_notebook.client.bounds import clean
from xai_notebook.errors import MissingImageError, ReplyError
from xai_notebook.pictures.picture import Matrix, matrix_of
from xai_notebook.pictures.pixels import encode, flatten, load_image, upright

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xai_notebook.pictures.picture import Card, Grid

_MAX_CELL: Final = 640
"""Maximum side of a cell in pixels; a smaller side is used if the sheet would be too large."""
_MIN_CELL: Final = 48
_SMALL: Final = 640
"""Width in pixels of the sheet in the output of a notebook cell."""
_SMALL_BYTES: Final = 35_000
_GAP: Final = 0.05
"""Space between pictures. This and the following lengths are shares of a cell's side."""
_TEXT: Final = 0.16
"""Height of a label."""
_STEP: Final = (1 + _GAP, 1 + _GAP + _TEXT)
"""Horizontal and vertical distance from one picture to the next."""
_NAMES: Final = 0.5
"""Width of the row names of a matrix."""
_LINE: Final = 0.13
"""Height of a line of names."""
_PAPER: Final = "#fbfaf7"
_INK: Final = "#23262b"


def draw_sheet(batch: Grid, *, columns: int | None, max_pixels: int) -> Image.Image:
    """Return the pictures of `batch` in a grid, each above its label.

    Only images with the status `"ok"` are drawn. The word `Damaged` replaces a damaged picture. If
    `columns` is None, a comparison gives a matrix, and other batches give about a square.

    Raises:
        MissingImageError: No image has a picture.
        ReplyError: All pictures are damaged.
    """
    images = [image for image in batch.images if image.status == "ok"]
    if not images:
        raise MissingImageError("A contact sheet needs at least one picture.")
    originals = []
    for image in images:
        data = b""  # drawn as damaged
        with suppress(ReplyError):
            data = image.data
        originals.append((image, data))
    return _draw(originals, columns, _MAX_CELL, max_pixels)


def small_sheet(images: Sequence[tuple[Card, bytes]], *, columns: int | None) -> bytes:
    """Return a small JPEG, usually below 40 kB, that replaces the HTML of a grid in print.

    The bytes to draw can be previews. If `columns` is None, a comparison gives a matrix.
    """
    columns = columns and min(columns, len(images))
    largest = _SMALL // (columns or 3)
    sheet = _draw(images, columns, largest, max_pixels=_SMALL**2)
    for quality, factor in ((60, 1), (35, 1), (35, 2)):
        data = encode(sheet.reduce(factor), "JPEG", quality=quality)
        if len(data) <= _SMALL_BYTES:
            break
    return data


class _Layout(NamedTuple):
    """Layout of a sheet; all lengths are shares of a cell's side.

    Attributes:
        size: Width and height of the sheet.
        pictures: Left and top of each picture.
        names: Left, top and text of each name of a section, a column or a row.
    """

    size: tuple[float, float]
    pictures: list[tuple[float, float]]
    names: list[tuple[float, float, str]]


def _in_rows(count: int, columns: int) -> _Layout:
    corners = [
        (_GAP + number % columns * _STEP[0], _GAP + number // columns * _STEP[1])
        for number in range(count)
    ]
    height = math.ceil(count / columns) * _STEP[1] + _GAP
    return _Layout((columns * _STEP[0] + _GAP, height), corners, [])


def _as_matrix(matrix: Matrix, count: int) -> _Layout:
    """Return the layout of a matrix, with the names of sections, columns and rows."""
    corners = [(0.0, 0.0)] * count
    names: list[tuple[float, float, str]] = []
    lefts = [_GAP + _NAMES + column * _STEP[0] for column in range(len(matrix.columns))]
    top = _GAP
    for section in matrix.sections:
        if section.name:
            names.append((_GAP, top, section.name))
            top += _LINE
        names += [(left, top, name) for left, name in zip(lefts, matrix.columns, strict=True)]
        top += _LINE
        for name, cells in section.rows:
            names.append((_GAP, top, name))
            for left, numbers in zip(lefts, cells, strict=True):
                for below, number in enumerate(numbers):
                    corners[number] = (left, top + below * _STEP[1])
            top += max(map(len, cells)) * _STEP[1]
    return _Layout((lefts[-1] + _STEP[0], top + _GAP), corners, names)


def _draw(
    images: Sequence[tuple[Card, bytes]], columns: int | None, largest: int, max_pixels: int
) -> Image.Image:
    """Return a sheet: a grid, or the matrix of a comparison if `columns` is None."""
    matrix = None if columns else matrix_of([image for image, _ in images])
    if matrix is not None:
        layout = _as_matrix(matrix, len(images))
    else:
        layout = _in_rows(len(images), columns or math.ceil(math.sqrt(len(images))))
    width, height = layout.size
    cell = max(_MIN_CELL, min(largest, int(math.sqrt(max_pixels / (width * height)))))
    sheet = Image.new("RGB", (int(cell * width), int(cell * height)), _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=max(8, cell // 26))
    large = ImageFont.load_default(size=max(9, cell // 20))
    for left, top, name in layout.names:
        draw.multiline_text((cell * left, cell * top), _latin(name, 18), _INK, large, spacing=2)
    damaged: list[ReplyError] = []
    for (image, data), (x, y) in zip(images, layout.pictures, strict=True):
        left, top = int(cell * x), int(cell * y)
        try:
            picture = _load_small(data, cell)
        except ReplyError as error:
            damaged.append(error)
            draw.text((left + cell * _GAP, top + cell // 2), "Damaged", _INK, large)
        else:
            # In a matrix, a picture is at the top of its cell, otherwise directly above its label.
            above = 0 if matrix else cell - picture.height
            sheet.paste(picture, (left + (cell - picture.width) // 2, top + above))
        label = (not matrix and image.label) or image.rewritten_prompt or image.prompt
        below = (left, top + cell + int(cell * _GAP / 3))
        draw.multiline_text(below, _latin(label, 46), _INK, font, spacing=2)
    if len(damaged) == len(images):
        raise damaged[0]
    return sheet


def _load_small(data: bytes, side: int) -> Image.Image:
    try:
        picture = flatten(upright(load_image(data, side=side)))
        picture.thumbnail((side, side), reducing_gap=2.0)
    except ReplyError:
        raise
    except Exception as error:  # Pillow raises many types for damaged metadata
        raise ReplyError("The image is damaged: its pixels cannot be decoded.") from error
    return picture


def _latin(label: str, width: int) -> str:
    """Return at most two lines of Latin-1 text: Pillow's default font has no other letters."""
    label = clean(label).replace("\n", " ").encode("latin-1", "replace").decode("latin-1")
    return "\n".join(textwrap.wrap(label, width, max_lines=2, placeholder=" ..."))
