"""Bytes to pixels: what an image is, opened within bounds, and previews of it."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Final

from PIL import Image, ImageOps

from xai_notebook.errors import ReplyError
from xai_notebook.settings import MAX_IMAGE_PIXELS

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["flatten", "inspect", "open_image", "preview"]

_FORMATS: Final = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "GIF": "image/gif",
}
_QUALITIES: Final = (82, 72, 62, 50, 38, 25)
_SMALLEST: Final = 256
"""Side in pixels below which a preview is not made smaller."""


def open_image(data: bytes) -> Image.Image:
    """Return a PIL image whose pixels are decoded when first touched.

    Args:
        data: The bytes of a JPEG, PNG, WebP or GIF.

    Raises:
        ReplyError: The bytes are no image, or one with more pixels than `MAX_IMAGE_PIXELS`.
    """
    try:
        with warnings.catch_warnings():
            # Pillow only warns between one and two times its own limit; ours is lower and firm.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=list(_FORMATS))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ReplyError(
            f"The {len(data):,} bytes received are not a readable image. Ask again with --fresh."
        ) from error
    width, height = image.size
    if width * height > MAX_IMAGE_PIXELS:
        raise ReplyError(
            f"The image received has {width} × {height} pixels, more than the "
            f"{MAX_IMAGE_PIXELS // 10**6} megapixels that are opened here."
        )
    return image


def inspect(data: bytes) -> tuple[str, tuple[int, int]]:
    """Return media type and (width, height) in pixels from the header of `data`.

    Raises:
        ReplyError: As `open_image`.
    """
    with open_image(data) as image:
        return _FORMATS[image.format or ""], image.size


def preview(data: bytes, *, side: int, limit: int) -> tuple[bytes, tuple[int, int]]:
    """Return a JPEG no larger than `side` pixels a side and, where possible, `limit` bytes.

    Args:
        data: The bytes of an image.
        side: Longest side in pixels; smaller images keep their size.
        limit: Bytes aimed at; quality gives way before size does.

    Returns:
        The JPEG and its (width, height).

    Raises:
        ReplyError: The bytes are no image, or its pixels cannot be decoded.
    """
    image = open_image(data)
    try:
        image.draft("RGB", (side, side))  # decodes a JPEG at 1/2, 1/4 or 1/8: most of the speed
        image = ImageOps.exif_transpose(image)
        image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
        image = flatten(image)
    except (OSError, ValueError, SyntaxError) as error:
        raise ReplyError("The image received is damaged: its pixels cannot be decoded.") from error
    while True:
        for candidate in _encodings(image):
            if len(candidate) <= limit:
                return candidate, image.size
        if max(image.size) <= _SMALLEST:
            return candidate, image.size
        image = image.resize([max(length * 3 // 4, 1) for length in image.size])  # noise, in effect


def flatten(image: Image.Image) -> Image.Image:
    """Return an RGB image; transparent parts become white."""
    if image.mode == "RGB":
        return image
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        ground = Image.new("RGB", image.size, "white")
        ground.paste(image, mask=image.getchannel("A"))
        return ground
    return image.convert("RGB")


def _encodings(image: Image.Image) -> Iterator[bytes]:
    for quality in _QUALITIES:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality, optimize=True, progressive=True)
        yield buffer.getvalue()
