"""Bytes to pixels: what an image is, opened within bounds, and previews of it."""

from __future__ import annotations

import contextlib
import io
import warnings
from typing import Any, Final, NamedTuple

from PIL import Image, ImageCms, ImageOps

from xai_notebook.client.media import media_type, parts_of
from xai_notebook.errors import ReplyError
from xai_notebook.settings import MAX_IMAGE_PIXELS

__all__ = [
    "Preview",
    "encode",
    "flatten",
    "in_srgb",
    "inspect",
    "is_whole",
    "load_image",
    "open_image",
    "preview",
]

_FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF")
_END_OF_JPEG: Final = b"\xff\xd9"
_QUALITIES: Final = (82, 72, 62, 50, 38, 25)
_OF_PIXELS: Final = ("transparency",)
"""What of `Image.info` says how pixels look."""
_MAX_PROFILE: Final = 1 << 20
"""Bytes of a colour profile; those of cameras and screens have a few thousand."""
_SMALLEST: Final = 256
"""Side in pixels below which a preview is not made smaller."""


class Preview(NamedTuple):
    """A small JPEG of an image.

    Attributes:
        data: The JPEG.
        size: Its width and height in pixels.
        whole: Every pixel of the image could be decoded.
    """

    data: bytes
    size: tuple[int, int]
    whole: bool


def open_image(data: bytes) -> Image.Image:
    """Return a PIL image whose pixels are decoded when first touched.

    Args:
        data: The bytes of a JPEG, PNG, WebP or GIF.

    Raises:
        ReplyError: The bytes are no image, or one with more pixels than `MAX_IMAGE_PIXELS`.
    """
    try:
        for _ in parts_of(data):  # Pillow takes a minute for 30 MB of padding; this, no time
            pass
        with warnings.catch_warnings():
            # Pillow only warns between one and two times its own limit; ours is lower and firm.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except Exception as error:  # the parsers of Pillow raise whatever a broken header makes them
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


def load_image(data: bytes, *, side: int | None = None) -> Image.Image:
    """Return a PIL image whose pixels have been decoded.

    Args:
        data: The bytes of an image.
        side: Pixels a side that are enough: a JPEG is decoded at 1/2, 1/4 or 1/8 of its size then.

    Raises:
        ReplyError: As `open_image`, or the image is damaged.
    """
    image = open_image(data)
    try:
        if side is not None:
            image.draft("RGB", (side, side))
        image.load()
    except Exception as error:  # the decoders, too
        raise ReplyError(
            "The image is damaged: not all of its pixels can be decoded. `.data` has its bytes as "
            "they came; ask again with --fresh for another one."
        ) from error
    return image


def inspect(data: bytes) -> tuple[str, tuple[int, int]]:
    """Return media type and (width, height) in pixels from the header of `data`.

    Raises:
        ReplyError: As `open_image`.
    """
    with open_image(data) as image:
        return media_type(data) or "", image.size


def is_whole(data: bytes) -> bool:
    """Tell whether every pixel of an image can be decoded, as quickly as that can be found out."""
    try:
        load_image(data, side=1)
    except ReplyError:
        return False
    return True


def preview(data: bytes, *, side: int, limit: int) -> Preview:
    """Return a JPEG no larger than `side` pixels a side and, where possible, `limit` bytes.

    Of an image that is damaged, it shows what can be decoded.

    Args:
        data: The bytes of an image.
        side: Longest side in pixels; smaller images keep their size.
        limit: Bytes aimed at; quality gives way before size does.

    Raises:
        ReplyError: As `open_image`, or nothing can be decoded.
    """
    try:
        try:
            image, whole = load_image(data, side=side), True
        except ReplyError:
            image, whole = _salvage(data, side), False
        image = ImageOps.exif_transpose(image)
        image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
        return _fitted(flatten(image), limit, whole=whole)
    except ReplyError:
        raise
    except Exception as error:
        raise ReplyError("The image is damaged: its pixels cannot be decoded.") from error


def _fitted(image: Image.Image, limit: int, *, whole: bool) -> Preview:
    """Return a JPEG of at most `limit` bytes, unless that takes too small a picture."""
    while True:
        for quality in _QUALITIES:
            data = encode(image, "JPEG", quality=quality, optimize=True, progressive=True)
            if len(data) <= limit:
                return Preview(data, image.size, whole)
        if max(image.size) <= _SMALLEST:
            return Preview(data, image.size, whole)
        image = image.resize([max(length * 3 // 4, 1) for length in image.size])  # noise, in effect


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Return an image as a file of its pixels alone; every file that we make is made here.

    Pillow copies what it read beside the pixels, such as a comment, Exif, XMP or a colour profile,
    into what it writes: a stranger's text would travel on, and a long one cannot be written at all.

    Args:
        image: It is not changed.
        kind: `"JPEG"` or `"PNG"`.
        **options: Of Pillow's encoder.
    """
    bare = image.copy()
    bare.info = {name: bare.info[name] for name in _OF_PIXELS if name in bare.info}
    buffer = io.BytesIO()
    bare.save(buffer, kind, **options)
    return buffer.getvalue()


def in_srgb(image: Image.Image) -> Image.Image:
    """Return an image whose numbers mean sRGB, which is what they mean without a profile.

    A profile that cannot be read, or is of other colours than the image, is left out of account.
    """
    profile = image.info.get("icc_profile")
    if not profile or len(profile) > _MAX_PROFILE:
        return image
    if image.mode in {"P", "PA"}:
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    mode = image.mode if image.mode in {"RGB", "RGBA"} else "RGB"
    try:
        given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        srgb = ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, given, srgb, outputMode=mode) or image
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return image


def _salvage(data: bytes, side: int) -> Image.Image:
    """Return what can be decoded of a damaged image; the rest is black, grey or transparent.

    Pillow has a switch for this, but it is one for the whole process. Here a JPEG gets the end it
    lacks, and what has been decoded when an error comes counts as all there is.
    """
    image = open_image(data + _END_OF_JPEG if media_type(data) == "image/jpeg" else data)
    image.draft("RGB", (side, side))
    with contextlib.suppress(Exception):
        image.load()
    image.tile = []  # type: ignore[attr-defined]  # what is left to decode, of an ImageFile
    image.load()
    return image


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
