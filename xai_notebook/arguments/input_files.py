"""Convert files, PIL images and arrays to bytes that the API accepts.

Separate because this module imports Pillow, which calls without input images do not need.
"""

from __future__ import annotations

import io
import re
import warnings
from contextlib import suppress
from importlib.util import find_spec
from typing import Any, Final, NamedTuple

from PIL import Image, features

from xai_notebook.client.media import check_tiff_tags, make_readable, strip_metadata
from xai_notebook.errors import InputImageError
from xai_notebook.pictures import pixels
from xai_notebook.settings import MAX_IMAGE_PIXELS, MAX_INPUT_IMAGE_BYTES, MIB

_API_FORMATS: Final = {"PNG": "image/png", "JPEG": "image/jpeg", "WebP": "image/webp"}
"""Formats that the API accepts."""
_LOSSLESS: Final = {"PNG", "GIF", "BMP", "TIFF"}
"""Formats whose pixels are sent without loss, unless the file would be too large."""
_MODES: Final = {"1", "L", "LA", "P", "PA", "RGB", "RGBA"}
"""Pillow's modes of files that can be sent unchanged, as every decoder supports them."""
_PNG_MODES: Final = {"1", "L", "LA", "P", "RGB", "RGBA"}
"""Pillow's modes that are saved as PNG without conversion."""
_READABLE: Final = {*_API_FORMATS, "GIF", "BMP", "TIFF", "AVIF", "HEIC"}
_SEVERAL_PICTURES: Final = {"TIFF": "its first page is sent", "HEIC": "its main picture is sent"}
"""Notes by format, for files whose several pictures are not the frames of an animation."""
_TOO_LARGE: Final = f"because it has more than {MAX_INPUT_IMAGE_BYTES // MIB} MiB"
_SMALLER_SIDES: Final = (4096, 3072, 2048, 1536, 1024)
_MAX_SIDE: Final = 65_500
"""Maximum pixels per side of a JPEG."""
_HEAD_BYTES: Final = 4096
"""Bytes at the start of a file that are searched for its format."""
_HEIF_BRANDS: Final = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_SIGNATURES: Final = (
    (re.compile(rb"\xff\xd8\xff"), "JPEG"),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "PNG"),
    (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), "WebP"),
    (re.compile(rb"GIF8[79]a"), "GIF"),
    (re.compile(rb"BM.{12}[\x0c-\x7c]\0\0\0", re.DOTALL), "BMP"),
    (re.compile(rb"II\x2a\0.{4}CR", re.DOTALL), "a camera's raw file"),
    (re.compile(rb"II[\x2a\x2b]\0|MM\0[\x2a\x2b]"), "TIFF"),
    (re.compile(rb"II(?:RO|RS|U\0)|MMOR|FUJIFILMCCD-RAW"), "a camera's raw file"),
    (re.compile(rb"8BPS"), "a Photoshop file"),
    (re.compile(rb"\0\0[\x01\x02]\0"), "an icon"),
    (re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"), "JPEG 2000"),
    (re.compile(rb"\0\0\0\x0cJXL |\xff\x0a"), "JPEG XL"),
    (re.compile(rb"\x76\x2f\x31\x01|#\?RADIANCE"), "a picture of high dynamic range"),
    (re.compile(rb"%PDF|%!PS"), "a PDF or PostScript file"),
    (re.compile(rb"PK\x03\x04"), "a ZIP archive or an Office file"),
    (re.compile(rb"\x93NUMPY"), "an array of NumPy"),
    (re.compile(rb"\x1aE\xdf\xa3"), "a film"),
    (re.compile(rb"version https://git-lfs"), "a pointer of Git LFS"),
    (re.compile(rb"\s*(?:<\?xml.*|<!--.*)?<svg\b", re.DOTALL | re.IGNORECASE), "an SVG drawing"),
    (re.compile(rb"\s*(?:<!--.*)?<(?:!doctype html|html|head|body)\b", re.DOTALL | re.IGNORECASE),
     "a web page"),
)  # fmt: skip
"""Patterns of the first bytes of a file, and the names of the formats."""
_CURES: Final = {
    "a camera's raw file": "Export it as JPEG.",
    "a PDF or PostScript file": "Export the page as PNG.",
    "a ZIP archive or an Office file": "Unpack it, or export the picture as PNG.",
    "an array of NumPy": "Load it with numpy.load and give the array instead.",
    "a film": "Save one of its frames.",
    "a pointer of Git LFS": "Run git lfs pull, which downloads the file.",
    "an SVG drawing": "Export it as PNG.",
    "a web page": "Download the picture itself.",
    "a text file": "Give the picture itself.",
    "empty": "Give another file.",
}
"""Advice by format, for files that are not pictures or that Pillow does not read correctly."""
_NEW_SUBFILE_TYPE: Final = 254
"""TIFF tag whose lowest bit marks a picture as a preview of another picture."""


class Fitted(NamedTuple):
    """An image in the form in which it is sent.

    Attributes:
        data: The bytes of a PNG, JPEG or WebP.
        media_type: The media type of `data`.
        notes: Changes to the image, half a sentence each.
    """

    data: bytes
    media_type: str
    notes: tuple[str, ...] = ()


def fit(data: bytes, subject: str, cure: str = "") -> Fitted:
    """Return an image file that the API accepts: unchanged if possible, otherwise converted.

    Messages call the file `subject`. If the file is not an image, the message ends with `cure`, by
    default with advice for the format of the file.

    Raises:
        InputImageError: The file cannot be sent as a picture.
    """
    kind = _kind(data)
    if kind not in _READABLE:
        image_cure = "Open it with PIL and give that image instead."
        article = "an image in the format " if kind in {"JPEG 2000", "JPEG XL"} else ""
        raise InputImageError(
            f"{subject} is {article}{kind}; the API accepts PNG, JPEG and WebP. "
            f"{cure or _CURES.get(kind, image_cure)}"
        )
    _check_reader(kind, subject)
    try:
        data, notes = _remove_long_texts(data, kind)
        with warnings.catch_warnings():
            # Pillow warns about odd metadata, and about sizes that are refused below.
            warnings.simplefilter("ignore")
            image = _open(data, kind)
            if image.width * image.height <= MAX_IMAGE_PIXELS:
                image.load()  # raises for a truncated file
    except _RawError as error:
        raise InputImageError(
            f"{subject} is a camera's raw file; the API accepts PNG, JPEG and WebP. "
            f"{cure or 'Export it as JPEG.'}"
        ) from error
    except Exception as error:  # Pillow's decoders raise many types for broken files
        raise InputImageError(f"{subject} cannot be decoded. Is the file complete?") from error
    if image.width * image.height > MAX_IMAGE_PIXELS:
        raise InputImageError(
            f"{subject} has {image.width} × {image.height} pixels and cannot be decoded here: "
            f"the maximum is {MAX_IMAGE_PIXELS // 10**6} megapixels. Make it smaller."
        )
    try:
        return _fit(data, kind, image, notes)
    except Exception as error:
        raise InputImageError(f"{subject} cannot be sent: {error}.") from error


def encode_object(value: Any, label: str) -> tuple[bytes, list[str]] | None:
    """Return a PIL image or an array as a PNG, and the changes; None for other objects.

    Raises:
        InputImageError: The image or array cannot be sent as a picture; messages call it `label`.
    """
    notes: list[str] = []
    is_image = isinstance(value, Image.Image)
    try:
        if not is_image and not pixels.is_array(value):
            return None
        image = value if is_image else pixels.from_array(value, notes)
        if not 0 < image.width * image.height <= MAX_IMAGE_PIXELS:
            most = f"The maximum is {MAX_IMAGE_PIXELS // 10**6} megapixels"
            raise ValueError(f"it has {image.width} × {image.height} pixels. {most}")  # noqa: TRY301
        if getattr(image, "is_animated", False) and image.format != "MPO":
            notes.append(f"animated: frame {image.tell() + 1} is sent")
        image.load()
        image = pixels.in_srgb(pixels.upright(pixels.eight_bits(image)), notes)
        if image.mode not in _PNG_MODES:
            image = image.convert("RGB")
        return pixels.encode(image, "PNG", compress_level=1), notes
    except Exception as error:  # raised by Pillow or the user's own objects
        shape = "?"
        with suppress(Exception):
            shape = value.shape
        what = "this image" if is_image else f"an array of shape {shape}"
        reason = str(error).rstrip(".")
        raise InputImageError(f"--image {label}: {what} cannot be sent: {reason}.") from error


class _RawError(Exception):
    """The file is a camera's raw file in TIFF, whose first picture is a small preview."""


def _kind(data: bytes) -> str:
    """Return a file's format from its first bytes, as a name or a phrase like "a text file"."""
    start = data[:_HEAD_BYTES]
    if not start:
        return "empty"
    for pattern, name in _SIGNATURES:
        if pattern.match(start):
            return name
    if start[4:8] == b"ftyp":
        length = min(int.from_bytes(start[:4], "big"), len(start))
        brands = {start[i : i + 4] for i in (8, *range(16, length, 4))}
        if brands & {b"avif", b"avis"}:
            return "AVIF"
        if b"crx " in brands:
            return "a camera's raw file"
        return "HEIC" if brands & _HEIF_BRANDS else "a film"
    try:
        text = start.decode("utf-8", "strict" if len(data) < _HEAD_BYTES else "ignore")
    except ValueError:
        text = "\0"
    return "a text file" if "\0" not in text else "no known image"


def _check_reader(kind: str, subject: str) -> None:
    """Check that a decoder for the format is installed."""
    # Before Pillow 11.3, `features.check("avif")` gives a warning.
    known = kind != "AVIF" or find_spec("PIL.AvifImagePlugin") is not None
    if not known or (kind == "AVIF" and not features.check("avif")):
        raise InputImageError(
            f"{subject} is an AVIF image, which this version of Pillow cannot read. "
            "Install a newer one: pip install --upgrade pillow"
        )
    if kind == "HEIC":
        try:
            import pillow_heif  # noqa: F401, PLC0415  # optional
        except ImportError as error:
            raise InputImageError(
                f"{subject} is a HEIC image, which pillow-heif reads. Install it: "
                'pip install "xai-notebook[heic]"'
            ) from error


def _remove_long_texts(data: bytes, kind: str) -> tuple[bytes, list[str]]:
    """Remove texts that are too long for Pillow from a file; return the file and notes."""
    if kind == "TIFF" and check_tiff_tags(data).get(_NEW_SUBFILE_TYPE, 0) & 1:
        raise _RawError
    short = make_readable(data)
    notes = ["sent without its long texts"] if short is not data else []
    return short, notes


def _open(data: bytes, kind: str) -> Image.Image:
    """Open a file as a PIL image without decoding the pixels."""
    if kind == "HEIC":
        from pillow_heif import HeifImageFile  # noqa: PLC0415  # optional; its Pillow plugin is not registered

        return HeifImageFile(io.BytesIO(data))  # type: ignore[no-untyped-call]
    return Image.open(io.BytesIO(data), formats=(kind.upper(),))


def _fit(data: bytes, kind: str, image: Image.Image, notes: list[str]) -> Fitted:
    """Return a decoded file in the form in which it is sent; `notes` are earlier changes."""
    too_large = len(data) > MAX_INPUT_IMAGE_BYTES
    stripped = strip_metadata(data) if too_large else data
    animated = kind != "JPEG" and bool(getattr(image, "is_animated", False))  # JPEG: only previews
    plain = pixels.eight_bits(image)
    straight = pixels.upright(plain)
    transparent = pixels.is_transparent(plain)
    changed = animated or transparent or straight is not image or image.mode not in _MODES
    if kind in _API_FORMATS and not changed and len(stripped) <= MAX_INPUT_IMAGE_BYTES:
        if too_large:
            notes.append(f"sent without its metadata, {_TOO_LARGE}")
        return Fitted(stripped, _API_FORMATS[kind], tuple(notes))
    if kind not in _API_FORMATS:
        notes.append(f"converted from {kind}")
    if animated:
        notes.append(_SEVERAL_PICTURES.get(kind, "animated: its first frame is sent"))
    result = pixels.flatten(pixels.in_srgb(straight, notes))
    if transparent:
        notes.append("placed on white, because it is transparent")
    encoded, media, size = _encode(result, lossless=kind in _LOSSLESS)
    if size != result.size:
        why = _TOO_LARGE if too_large else f"to have at most {MAX_INPUT_IMAGE_BYTES // MIB} MiB"
        notes.append(f"scaled to {size[0]} × {size[1]}, {why}")
    elif len(stripped) > MAX_INPUT_IMAGE_BYTES and kind in _API_FORMATS:
        notes.append(f"compressed again, {_TOO_LARGE}")
    return Fitted(encoded, media, tuple(notes))


def _encode(image: Image.Image, *, lossless: bool) -> tuple[bytes, str, tuple[int, int]]:
    """Return the largest file within the limit, its media type, and its width and height."""
    if lossless and len(data := pixels.encode(image, "PNG")) <= MAX_INPUT_IMAGE_BYTES:
        return data, "image/png", image.size
    for side in (min(max(image.size), _MAX_SIDE), *_SMALLER_SIDES):
        smaller = image.copy()
        smaller.thumbnail((side, side))
        data = pixels.encode(smaller, "JPEG", quality=95, subsampling=0)
        if len(data) <= MAX_INPUT_IMAGE_BYTES:
            break
    return data, "image/jpeg", smaller.size
