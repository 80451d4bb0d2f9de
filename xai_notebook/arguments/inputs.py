"""Images to edit: from what the user names to what the wire carries."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_to_bytes

import pybase64

from xai_notebook.arguments.plain import DataText
from xai_notebook.client.media import media_type
from xai_notebook.client.request import InputImage
from xai_notebook.errors import InputImageError, XaiError
from xai_notebook.pictures.cell import CHOOSE
from xai_notebook.pictures.files import read_bounded
from xai_notebook.pictures.results import GeneratedImage, ImageBatch
from xai_notebook.settings import (
    MAX_IMAGE_PIXELS,
    MAX_INPUT_FILE_BYTES,
    MAX_INPUT_IMAGE_BYTES,
    MAX_INPUT_IMAGES,
    MIB,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from PIL import Image

__all__ = ["Inputs", "Named", "load_inputs", "load_upload"]

_ACCEPTED: Final = ("image/png", "image/jpeg", "image/webp")
_VARIABLE: Final = re.compile(r"(?P<name>[^\W\d]\w*)(?:\[(?P<index>-?\d+)\])?")
_ORIENTATION: Final = 0x0112
_UPRIGHT: Final = 1
_SIDES: Final = (4096, 3072, 2048, 1536, 1024)
_LONGEST: Final = 200
"""Characters of a name in a message."""
_DEEPEST: Final = 8
"""Lists in lists that are looked into."""
_FORMS: Final = (
    "a path, an https URL, a data URI, the id of a picture of your library such as @37ab22b5, "
    "or a variable holding a PIL image, bytes, a path or an earlier result"
)
_ID: Final = re.compile("@([0-9a-fA-F]{4,64})")

Named = Callable[[str], "Mapping[str, GeneratedImage | Path]"]
"""Finds pictures of the library: gives those whose digests begin with some hex digits."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """The images of one request.

    Attributes:
        images: In the order given.
        notes: What was changed on the way, a line each.
    """

    images: tuple[InputImage, ...] = ()
    notes: tuple[str, ...] = ()


def load_inputs(
    values: Iterable[Any], namespace: Mapping[str, Any], named: Named | None = None
) -> Inputs:
    """Turn what the user named into images ready to send.

    Args:
        values: Paths, URLs, data URIs, ids, names of variables, or the objects themselves.
        namespace: Where variables are looked up.
        named: Where ids are looked up; None: there is no library.

    Raises:
        InputImageError: One of them is no image the API takes; the message names it.
    """
    found = [pair for value in values for pair in _resolve(value, namespace, named)]
    if len(found) > MAX_INPUT_IMAGES:
        raise InputImageError(
            f"{len(found)} input images are more than the {MAX_INPUT_IMAGES} one request takes."
        )
    loaded = [_load(value, label) for value, label in found]
    return Inputs(
        tuple(image for image, _ in loaded), tuple(note for _, note in loaded if note is not None)
    )


def load_upload(data: bytes, name: str) -> Inputs:
    """Turn the bytes of a file, which messages call `name`, into an image ready to send.

    Raises:
        InputImageError: It is no image the API takes.
    """
    image, note = _pack(data, name, called=name)
    return Inputs((image,), () if note is None else (note,))


def _resolve(
    value: Any, namespace: Mapping[str, Any], named: Named | None
) -> list[tuple[Any, str]]:
    """Return the objects that `value` stands for, each with a label for messages."""
    if isinstance(value, str) and value.startswith(CHOOSE):
        raise InputImageError(
            f"--image {value} stands for an image that a picture's metadata names. Put your own "
            "path, URL or variable there."
        )
    if isinstance(value, str) and (match := _ID.fullmatch(value)):
        return [(_by_id(match[1].lower(), named), value)]
    typed = isinstance(value, str) and not isinstance(value, DataText)
    if typed and (match := _VARIABLE.fullmatch(value)):
        name, index = match["name"], match["index"]
        if name in namespace:
            found = namespace[name]
            if index is not None:
                try:
                    found = found[int(index)]
                except Exception as error:  # whatever the user's own objects raise
                    raise InputImageError(f"--image {value}: {error}.") from error
            return _flatten(found, value)
    return _flatten(value, _name_of(value))


def _name_of(value: Any) -> str:
    """Return what the cell of a picture made from a value calls it: whole, however long."""
    if isinstance(value, (str, Path)):
        return str(value)
    if isinstance(value, GeneratedImage) and value.sha256 is not None:
        return f"@{value.sha256[:8]}"
    return type(value).__name__


def _by_id(digits: str, named: Named | None) -> GeneratedImage | Path:
    """Return the picture of the library with an id.

    Raises:
        InputImageError: There is none, or more than one.
    """
    found = named(digits) if named is not None else {}
    if not found:
        raise InputImageError(
            f"--image @{digits}: no picture of your library has this id. It may have been made "
            "elsewhere, or be deleted. Give its file instead."
        )
    if len(found) > 1:
        first, second = sorted(found)[:2]
        same = next(n for n, (a, b) in enumerate(zip(first, second, strict=True)) if a != b)
        raise InputImageError(
            f"--image @{digits}: several pictures of your library begin so. Write more digits: "
            f"@{first[: same + 1]} or @{second[: same + 1]}."
        )
    return next(iter(found.values()))


def _flatten(value: Any, label: str, depth: int = 0) -> list[tuple[Any, str]]:
    """Return the images of batches and lists, and of lists in lists."""
    if isinstance(value, ImageBatch):
        if not value.ok:
            raise InputImageError(f"--image {label} holds no picture to edit.")
        return [
            (image, f"{label}[{position}]")
            for position, image in enumerate(value)
            if image.status == "ok"
        ]
    if isinstance(value, (list, tuple)):
        if depth == _DEEPEST:
            raise InputImageError(f"--image {label}: the list is nested too deep, or holds itself.")
        return [
            pair
            for position, item in enumerate(value)
            for pair in _flatten(item, f"{label}[{position}]", depth + 1)
        ]
    return [(value, label)]


def _load(value: Any, label: str) -> tuple[InputImage, str | None]:
    if isinstance(value, GeneratedImage):
        try:
            return _pack(value.data, label, parent=value.sha256)
        except XaiError as error:
            raise InputImageError(f"--image {label} is no picture: {error}") from error
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _pack(bytes(value), label)
    if isinstance(value, str) and value[:8].lower().startswith(("https://", "http://")):
        return InputImage(url=value, sha256=_digest(value.encode()), label=label), None
    if isinstance(value, str) and value[:5].lower() == "data:":
        return _pack(_data_uri(value), "the data URI")
    if isinstance(value, (str, Path)):
        return _pack(_read(value), label)
    if (encoded := _encode_object(value, label)) is not None:
        return _pack(encoded, label)
    raise InputImageError(
        f"--image {label} is a value of type {type(value).__name__}; it takes {_FORMS}."
    )


def _short(name: str) -> str:
    """Return a name as a message has it."""
    return name if len(name) <= _LONGEST else f"{name[:_LONGEST]}…"


def _read(value: str | Path) -> bytes:
    try:
        return read_bounded(Path(value).expanduser(), MAX_INPUT_FILE_BYTES)
    except (OSError, ValueError, RuntimeError) as error:  # the last: nobody's home folder
        reason = error.strerror if isinstance(error, OSError) else str(error).rstrip(".")
        raise InputImageError(
            f"--image {_short(str(value))}: {reason or error}. It takes {_FORMS}."
        ) from error


def _data_uri(value: str) -> bytes:
    head, comma, body = value.partition(",")
    if not comma:
        raise InputImageError("--image: the data URI has no comma, so no data.")
    try:
        if not head.lower().endswith(";base64"):
            return unquote_to_bytes(body)
        return pybase64.b64decode(body, validate=True)
    except ValueError as error:
        raise InputImageError(f"--image: the data URI is not valid: {error}.") from error


def _encode_object(value: Any, label: str) -> bytes | None:
    """Return a PIL image, or an array Pillow can read, as PNG bytes; None: neither."""
    from PIL import Image  # noqa: PLC0415  # only when an object is given

    from xai_notebook.pictures.pixels import encode, in_srgb  # noqa: PLC0415  # PIL

    is_image = isinstance(value, Image.Image)
    try:
        if not is_image and not hasattr(value, "__array_interface__"):
            return None
        image = value if is_image else Image.fromarray(value)
        if not 0 < image.width * image.height <= MAX_IMAGE_PIXELS:
            raise ValueError(f"it has {image.width} × {image.height} pixels")  # noqa: TRY301
        image = in_srgb(image)
        if image.mode not in {"RGB", "RGBA", "L", "LA", "P", "1"}:
            image = image.convert("RGB")
        return encode(image, "PNG", compress_level=1)
    except Exception as error:  # Pillow's, and whatever the user's own objects raise
        what = "this image" if is_image else f"an array of shape {_shape(value)}"
        raise InputImageError(f"--image {label}: {what} cannot be sent: {error}.") from error


def _shape(array: Any) -> Any:
    try:
        return array.shape
    except Exception:  # noqa: BLE001  # whatever the user's own objects raise
        return "?"


def _pack(
    data: bytes, label: str, *, called: str = "", parent: str | None = None
) -> tuple[InputImage, str | None]:
    """Return `data` as an input image, scaled or turned if it must be, with a note if it was."""
    cure = "Choose another file." if called else "Open it with PIL and give that image instead."
    called = called or f"--image {_short(label)}"
    kind = media_type(data)
    if kind not in _ACCEPTED:
        found = kind or "no image that is known"
        raise InputImageError(f"{called} is {found}; the API takes PNG, JPEG and WebP. {cure}")
    digest = _digest(data)
    data, kind, changes = _fit(data, kind, called)
    url = f"data:{kind};base64,{pybase64.b64encode_as_string(data)}"
    return InputImage(url=url, sha256=digest, label=label, parent=parent), (
        f"{label}: {'; '.join(changes)}." if changes else None
    )


def _fit(data: bytes, kind: str, called: str) -> tuple[bytes, str, list[str]]:
    """Turn, flatten or scale an image so that the API reads it as its viewer sees it.

    Returns:
        Its bytes, their media type and what was changed.
    """
    from PIL import ImageOps  # noqa: PLC0415  # only when there are images

    from xai_notebook.pictures.pixels import flatten, in_srgb, open_image  # noqa: PLC0415  # PIL

    try:
        image = open_image(data)
        turned = image.getexif().get(_ORIENTATION, _UPRIGHT) != _UPRIGHT
        transparent = "A" in image.getbands() or "transparency" in image.info
        large = len(data) > MAX_INPUT_IMAGE_BYTES
        if not (turned or transparent or large):
            image.load()  # a truncated file is found here, not by the server
            return data, kind, []
        fitted, size = _encode(flatten(in_srgb(ImageOps.exif_transpose(image))))
    except Exception as error:  # Pillow's decoders raise whatever broken bytes make them
        raise InputImageError(f"{called} cannot be decoded. Is the file whole?") from error
    changes = ["put on white, since it is transparent"] if transparent else []
    if large:
        changes.append(
            f"scaled to {size[0]} × {size[1]}, since it has more than "
            f"{MAX_INPUT_IMAGE_BYTES // MIB} MiB"
        )
    return fitted, "image/jpeg", changes


def _encode(image: Image.Image) -> tuple[bytes, tuple[int, int]]:
    """Return a JPEG within the limit, as large as it can be, and its size in pixels."""
    from xai_notebook.pictures.pixels import encode  # noqa: PLC0415  # PIL

    for side in (max(image.size), *_SIDES):
        smaller = image.copy()
        smaller.thumbnail((side, side))
        data = encode(smaller, "JPEG", quality=95, subsampling=0)
        if len(data) <= MAX_INPUT_IMAGE_BYTES:
            break
    return data, smaller.size


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
