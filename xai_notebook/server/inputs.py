"""Reads the input images of an edit: data URIs, and this server's own URLs."""

from __future__ import annotations

import base64
import binascii
import io
import re
from typing import TYPE_CHECKING, Final

from xai_notebook import settings
from xai_notebook.server.validation import invalid

if TYPE_CHECKING:
    from PIL import Image

    from xai_notebook.server.files import FileServer

__all__ = ["decode", "read"]

_DATA_URI: Final = re.compile(r"data:([\w.+-]+/[\w.+-]+)((?:;[^,;]*)*),", re.IGNORECASE)
_MEDIA_TYPES: Final = frozenset({"image/png", "image/jpeg", "image/jpg", "image/webp"})
_FORMATS: Final = ("PNG", "JPEG", "WEBP")
_MAX_SIDE: Final = 2896
"""Pixels. Pictures are never larger, so inputs are shrunk once instead of in every painting."""


def read(url: str, files: FileServer) -> bytes:
    """Return the bytes of the image behind `url`, not decoded.

    Raises:
        Refusal: INVALID_ARGUMENT: no data URI, not one of our own URLs, or too large.
    """
    if url[:5].lower() == "data:":
        data = _data_uri(url)
    elif re.match(r"https?://", url, re.IGNORECASE):
        own = files.get(url)
        if own is None:
            raise invalid(
                "The embedded server fetches nothing from the network. "
                "Send the image as a data URI, or use one of this server's own URLs."
            )
        data = own
    else:
        raise invalid("An input image must be a URL or a data URI of a PNG, JPEG or WebP image.")
    if len(data) > settings.MAX_INPUT_IMAGE_BYTES:
        limit = settings.MAX_INPUT_IMAGE_BYTES // settings.MIB
        msg = f"An input image must have at most {limit} MiB, this one has {len(data)} bytes."
        raise invalid(msg)
    return data


def decode(data: bytes) -> Image.Image:
    """Return the image upright, in RGB, its longer side at most 2896 pixels.

    Raises:
        Refusal: INVALID_ARGUMENT: not a PNG, JPEG or WebP, damaged, or with too many pixels.
    """
    from PIL import Image, ImageOps  # noqa: PLC0415  # on a worker thread, never at start

    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as opened:
            if opened.width * opened.height > settings.MAX_IMAGE_PIXELS:
                msg = f"An input image of {opened.width} x {opened.height} pixels is too large."
                raise invalid(msg)
            opened.draft("RGB", (_MAX_SIDE, _MAX_SIDE))
            upright = ImageOps.exif_transpose(opened)
            if upright.has_transparency_data:
                rgba = upright.convert("RGBA")
                upright = Image.new("RGBA", rgba.size, "white")
                upright.alpha_composite(rgba)
            image = upright.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise invalid("An input image is not a readable PNG, JPEG or WebP image.") from error
    image.thumbnail((_MAX_SIDE, _MAX_SIDE))
    return image


def _data_uri(uri: str) -> bytes:
    match = _DATA_URI.match(uri[:256])
    if match is None or not match[2].lower().endswith(";base64"):
        raise invalid("A data URI must look like data:image/png;base64,...")
    if match[1].lower() not in _MEDIA_TYPES:
        msg = f"An input image must be PNG, JPEG or WebP, not {match[1]}."
        raise invalid(msg)
    encoded = uri[match.end() :]
    if len(encoded) > settings.MAX_INPUT_IMAGE_BYTES * 4 // 3 + 4:
        limit = settings.MAX_INPUT_IMAGE_BYTES // settings.MIB
        msg = f"An input image must have at most {limit} MiB."
        raise invalid(msg)
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid("The base64 of an input image is damaged.") from error
