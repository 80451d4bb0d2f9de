"""Reads the input images of an edit: data URIs, and this server's own URLs."""

from __future__ import annotations

import base64
import io
import math
import re
from typing import TYPE_CHECKING, Final

from xai_notebook import settings
from xai_notebook.client.media import check_structure, media_type, readable
from xai_notebook.server.validation import invalid

if TYPE_CHECKING:
    from PIL import Image

    from xai_notebook.server.files import FileServer

__all__ = ["decode", "read"]

_DATA_URI: Final = re.compile(r"data:([\w.+-]+/[\w.+-]+)((?:;[^,;]*)*),", re.IGNORECASE)
_MEDIA_TYPES: Final = frozenset({"image/png", "image/jpeg", "image/jpg", "image/webp"})
_MAX_PIXELS: Final = {
    "PNG": settings.MAX_IMAGE_PIXELS,
    "JPEG": settings.MAX_IMAGE_PIXELS,
    "WEBP": settings.MAX_IMAGE_PIXELS // 2,  # its decoder holds every pixel three times over
}
_MAX_SIDE: Final = 2896
"""Pixels. Pictures are never larger, so inputs are shrunk once instead of in every painting."""
_STRIP: Final = 256
"""Rows of the reduced image that are made at a time."""
_ORIENTATION: Final = 0x0112
_MAX_EXIF: Final = 1 << 16
"""Bytes. Pillow takes seconds for the entries that fit into a megabyte."""


def read(url: str, files: FileServer) -> bytes:
    """Return the bytes of the image behind `url`, not decoded.

    Raises:
        Refusal: INVALID_ARGUMENT: no data URI, not base64, not one of our own URLs, or too large.
    """
    data: bytes | None
    if url[:5].lower() == "data:":
        data = _data_uri(url)
    elif re.match(r"https?://", url, re.IGNORECASE):
        data = files.get(url)
        if data is None:
            raise invalid(
                "The embedded server fetches nothing from the network. "
                "Send the image as a data URI, or use one of this server's own URLs."
            )
    else:
        data = _base64(url)
        if data is None or media_type(data) not in _MEDIA_TYPES:
            raise invalid(
                "An input image must be a URL, a data URI or base64: of a PNG, JPEG or WebP image."
            )
    if len(data) > settings.MAX_INPUT_IMAGE_BYTES:
        limit = settings.MAX_INPUT_IMAGE_BYTES // settings.MIB
        raise invalid(
            f"An input image must have at most {limit} MiB, this one has {len(data)} bytes."
        )
    return data


def decode(data: bytes) -> Image.Image:
    """Return the image upright, in RGB, its longer side at most 2896 pixels.

    What is decoded is held once: 64 megapixels with transparency are 256 MB.

    Raises:
        Refusal: INVALID_ARGUMENT: not a PNG, JPEG or WebP, damaged, or with too many pixels.
    """
    from PIL import Image, ImageOps  # noqa: PLC0415  # on a worker thread, never at start

    try:
        check_structure(data)
        with Image.open(io.BytesIO(readable(data)), formats=tuple(_MAX_PIXELS)) as opened:
            if opened.width * opened.height > _MAX_PIXELS[opened.format or "WEBP"]:
                raise invalid(
                    f"An input image of {opened.width} x {opened.height} pixels is too large."
                )
            opened.draft("RGB", (_MAX_SIDE, _MAX_SIDE))  # a JPEG is decoded smaller at once
            image = _reduced(opened)
            if len(opened.info.get("exif", b"")) > _MAX_EXIF:
                del opened.info["exif"]
            image.getexif()[_ORIENTATION] = opened.getexif().get(_ORIENTATION, 1)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise invalid("An input image is not a readable PNG, JPEG or WebP image.") from error
    image.thumbnail((_MAX_SIDE, _MAX_SIDE))
    return ImageOps.exif_transpose(image)


def _reduced(image: Image.Image) -> Image.Image:
    """Return `image` in RGB, on white and at most twice `_MAX_SIDE` a side, made strip by strip."""
    from PIL import Image  # noqa: PLC0415

    factor = max(1, max(image.size) // _MAX_SIDE)
    size = [math.ceil(length / factor) for length in image.size]
    result = Image.new("RGB", (size[0], size[1]), "white")
    for top in range(0, image.height, _STRIP * factor):
        bottom = min(top + _STRIP * factor, image.height)
        strip = image.crop((0, top, image.width, bottom))
        if strip.mode.startswith("I;16"):  # which Pillow would clip
            strip = strip.point(lambda value: value / 257).convert("L")
        if strip.has_transparency_data:
            strip = strip.convert("RGBA").reduce(factor)
            result.paste(strip, (0, top // factor), mask=strip)
        else:
            result.paste(strip.convert("RGB").reduce(factor), (0, top // factor))
    return result


def _data_uri(uri: str) -> bytes:
    match = _DATA_URI.match(uri[:256])
    if match is None or not match[2].lower().endswith(";base64"):
        raise invalid("A data URI must look like data:image/png;base64,...")
    if match[1].lower() not in _MEDIA_TYPES:
        raise invalid(f"An input image must be PNG, JPEG or WebP, not {match[1]}.")
    encoded = uri[match.end() :]
    data = _base64(encoded)
    if data is None:
        raise invalid("The base64 of an input image is damaged.")
    return data


def _base64(encoded: str) -> bytes | None:
    """Return the bytes of base64; None: it is none.

    Raises:
        Refusal: INVALID_ARGUMENT: too large.
    """
    if len(encoded) > settings.MAX_INPUT_IMAGE_BYTES * 4 // 3 + 4:
        limit = settings.MAX_INPUT_IMAGE_BYTES // settings.MIB
        raise invalid(f"An input image must have at most {limit} MiB.")
    try:
        return base64.b64decode(encoded, validate=True)
    except ValueError:  # a character that is not ASCII too
        return None
