"""Contact sheets: all pictures of a batch on one labelled image."""

from __future__ import annotations

import io
import math
import textwrap
from typing import TYPE_CHECKING, Final

from PIL import Image, ImageDraw, ImageFont, ImageOps

from xai_notebook.errors import MissingImageError, ReplyError
from xai_notebook.pictures.export import export_bytes
from xai_notebook.pictures.pixels import flatten, load_image
from xai_notebook.pictures.text import clean

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from xai_notebook.pictures.picture import Card, Grid

__all__ = ["draw_sheet", "export_sheet", "small_sheet"]

_CELL: Final = 640
"""Side of a picture in pixels, before the bound on the sheet makes it smaller."""
_SMALLEST: Final = 48
_SMALL: Final = 640
"""Width in pixels of a sheet that stands beside the HTML of an output."""
_SMALL_BYTES: Final = 35_000
_GAP: Final = 0.05
_TEXT: Final = 0.16
"""Height of a label, as a share of the cell."""
_PAPER: Final = "#fbfaf7"
_INK: Final = "#23262b"


def draw_sheet(batch: Grid, *, columns: int | None, max_pixels: int) -> Image.Image:
    """Return the pictures of `batch` in a grid, each above its label.

    Args:
        batch: Cards without a picture are left out.
        columns: Width of the grid; None: about square.
        max_pixels: Bound on width × height of the sheet.

    Raises:
        MissingImageError: There is no picture.
        ReplyError: One of them is damaged; the message says which.
    """
    images = [image for image in batch.images if image.status == "ok"]
    if not images:
        raise MissingImageError("There is no picture for a contact sheet.")
    columns = columns or math.ceil(math.sqrt(len(images)))
    return _draw([(image, image.data) for image in images], columns, _CELL, max_pixels)


def small_sheet(images: Sequence[tuple[Card, bytes]], *, columns: int) -> bytes:
    """Return a JPEG of at most 40 kB or so that shows a grid on paper, where no HTML can be.

    Args:
        images: Whole pictures, each with bytes to draw: a preview will do.
        columns: Width of the grid.
    """
    columns = min(columns, len(images))
    sheet = _draw(images, columns, _SMALL // columns, max_pixels=_SMALL**2)
    for quality, smaller in ((60, 1), (35, 1), (35, 2)):
        buffer = io.BytesIO()
        sheet.reduce(smaller).save(buffer, "JPEG", quality=quality)
        if buffer.tell() <= _SMALL_BYTES:
            break
    return buffer.getvalue()


def _draw(
    images: Sequence[tuple[Card, bytes]], columns: int, largest: int, max_pixels: int
) -> Image.Image:
    rows = math.ceil(len(images) / columns)
    step_x, step_y = 1 + _GAP, 1 + _GAP + _TEXT
    area = (columns * step_x + _GAP) * (rows * step_y + _GAP)
    cell = max(_SMALLEST, min(largest, int(math.sqrt(max_pixels / area))))
    gap = int(cell * _GAP)
    size = (
        int(columns * cell * step_x) + gap,
        int(rows * cell * step_y) + gap,
    )
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=max(8, cell // 26))
    for number, (image, data) in enumerate(images):
        left = gap + int(number % columns * cell * step_x)
        top = gap + int(number // columns * cell * step_y)
        try:
            picture = _shrunk(data, cell)
        except ReplyError as error:
            raise ReplyError(f"Picture {number + 1} of the contact sheet: {error}") from error
        sheet.paste(picture, (left + (cell - picture.width) // 2, top + cell - picture.height))
        draw.multiline_text((left, top + cell + gap // 3), _label(image), _INK, font, spacing=2)
    return sheet


def export_sheet(batch: Grid, folder: str | Path | None, *, max_pixels: int) -> Path:
    """Write the contact sheet of `batch` as a JPEG and return its path.

    Raises:
        ExportError: The file cannot be written.
        MissingImageError: There is no picture.
    """
    sheet = draw_sheet(batch, columns=batch.columns, max_pixels=max_pixels)
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=88)
    return export_bytes(buffer.getvalue(), "contact-sheet.jpg", folder)


def _shrunk(data: bytes, side: int) -> Image.Image:
    picture = flatten(ImageOps.exif_transpose(load_image(data, side=side)))
    picture.thumbnail((side, side), reducing_gap=2.0)
    return picture


def _label(image: Card) -> str:
    """Return two lines of Latin text: Pillow's own font has no other letters."""
    label = clean(image.label or image.rewritten_prompt or image.prompt).replace("\n", " ")
    label = label.encode("latin-1", "replace").decode("latin-1")
    return "\n".join(textwrap.wrap(label, 46, max_lines=2, placeholder=" ..."))
