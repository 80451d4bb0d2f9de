"""Load input images from paths, URLs, ids, variables and objects, and prepare them for sending."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_to_bytes

import pybase64

from xai_notebook.arguments.templates import DataText
from xai_notebook.client.request import InputImage
from xai_notebook.errors import InputImageError, XaiError, hide_home
from xai_notebook.pictures.files import read_bounded
from xai_notebook.pictures.magic_source import CHOOSE
from xai_notebook.pictures.results import GeneratedImage, ImageBatch
from xai_notebook.settings import MAX_INPUT_FILE_BYTES, MAX_INPUT_IMAGES, MIB

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_VARIABLE: Final = re.compile(r"(?P<name>[^\W\d]\w*)(?:\[(?P<index>-?\d+)\])?")
_MAX_SHOWN: Final = 200
"""Maximum characters of a name in a message."""
_MAX_DEPTH: Final = 8
"""Maximum levels of nested lists."""
_FORMS: Final = (
    "a path, an https URL, a data URI, the id of a picture of your library such as @37ab22b5, "
    "or a variable holding a PIL image, an array, bytes, an open file, a path or an earlier result"
)
_ID: Final = re.compile("@([0-9a-fA-F]{4,64})")

PictureFinder = Callable[[str], "Mapping[str, GeneratedImage | Path]"]
"""Function that takes hex digits; returns a mapping of digests to pictures of the library, for all
digests that begin with these digits."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """The images of one request.

    Attributes:
        images: The images, in the order given.
        notes: Changes to the images, one line each.
    """

    images: tuple[InputImage, ...] = ()
    notes: tuple[str, ...] = ()


def load_inputs(
    values: Iterable[Any], namespace: Mapping[str, Any], find_by_id: PictureFinder | None = None
) -> Inputs:
    """Return the given images, ready to send.

    Args:
        values: Paths, URLs, data URIs, ids, names of variables, or objects.
        namespace: The user's variables by name.
        find_by_id: Function that looks up ids in the library; None without a library.

    Raises:
        InputImageError: An image cannot be read, or the API does not accept it.
    """
    labelled = [pair for value in values for pair in _resolve(value, namespace, find_by_id)]
    _check_count(len(labelled))
    loaded = [_load(value, label) for value, label in labelled]
    return Inputs(
        tuple(image for image, _ in loaded), tuple(note for _, note in loaded if note is not None)
    )


def check_file(value: Any) -> None:
    """Check that a path names an existing file, without reading it. Other values are not checked.

    Raises:
        InputImageError: The file does not exist.
    """
    if not isinstance(value, (str, Path)) or _ID.fullmatch(text := str(value)):
        return
    if text[:8].lower().startswith(("https://", "http://")) or text[:5].lower() == "data:":
        return
    try:
        exists = Path(text).expanduser().is_file()
    except (OSError, ValueError, RuntimeError):  # reported when the file is read
        return
    if not exists:
        raise InputImageError(
            f"--image {_short(text)}: the file does not exist. A relative path starts at the "
            "kernel's folder."
        )


def _check_count(count: int) -> None:
    if count > MAX_INPUT_IMAGES:
        raise InputImageError(
            f"{count} input images are more than the maximum of {MAX_INPUT_IMAGES}."
        )


def load_upload(data: bytes, name: str) -> Inputs:
    """Return the image in a file's bytes, ready to send; messages call it `name`.

    Raises:
        InputImageError: The file cannot be read as an image, or the API does not accept it.
    """
    image, note = _input_image(data, name, subject=name, cure="Choose another file.")
    return Inputs((image,), () if note is None else (note,))


def _resolve(
    value: Any, namespace: Mapping[str, Any], find_by_id: PictureFinder | None
) -> list[tuple[Any, str]]:
    """Return the images that `value` refers to, each with a label for messages and cells."""
    if isinstance(value, str) and value.startswith(CHOOSE):
        raise InputImageError(
            f"--image {value} is a placeholder from a picture's metadata. Replace it with your own "
            "path, URL or variable."
        )
    if isinstance(value, str) and (match := _ID.fullmatch(value)):
        return [(_by_id(match[1].lower(), find_by_id), value)]
    written_by_user = isinstance(value, str) and not isinstance(value, DataText)
    if written_by_user and (match := _VARIABLE.fullmatch(value)):
        name, index = match["name"], match["index"]
        if name in namespace:
            variable = namespace[name]
            if index is not None:
                try:
                    variable = variable[int(index)]
                except Exception as error:  # raised by the user's own objects
                    raise InputImageError(f"--image {value}: {error}.") from error
            return _flatten(variable, value)
    if isinstance(value, (str, Path)):
        return _flatten(value, hide_home(str(value)))
    digest = value.sha256 if isinstance(value, GeneratedImage) else None
    return _flatten(value, f"@{digest[:8]}" if digest else type(value).__name__)


def _by_id(digits: str, find_by_id: PictureFinder | None) -> GeneratedImage | Path:
    """Return the picture with this id from the library."""
    matches = find_by_id(digits) if find_by_id is not None else {}
    if not matches:
        raise InputImageError(
            f"--image @{digits}: no picture of your library has this id. It may be from another "
            "library, or be deleted. Give its file instead."
        )
    if len(matches) > 1:
        first, second = sorted(matches)[:2]
        equal_digits = next(n for n, (a, b) in enumerate(zip(first, second, strict=True)) if a != b)
        raise InputImageError(
            f"--image @{digits}: several ids in your library begin with these digits. "
            f"Write more digits: @{first[: equal_digits + 1]} or @{second[: equal_digits + 1]}."
        )
    return next(iter(matches.values()))


def _flatten(value: Any, label: str, depth: int = 0) -> list[tuple[Any, str]]:
    """Return the images in a batch or a nested list, each with a label."""
    if isinstance(value, ImageBatch):
        if not value.ok:
            raise InputImageError(f"--image {label} contains no picture to edit.")
        return [
            (image, f"{label}[{position}]")
            for position, image in enumerate(value)
            if image.status == "ok"
        ]
    if isinstance(value, (list, tuple)):
        if depth == _MAX_DEPTH:
            raise InputImageError(
                f"--image {label}: the list is nested too deeply, or contains itself."
            )
        _check_count(len(value))
        return [
            pair
            for position, item in enumerate(value)
            for pair in _flatten(item, f"{label}[{position}]", depth + 1)
        ]
    return [(value, label)]


def _load(value: Any, label: str) -> tuple[InputImage, str | None]:
    if isinstance(value, GeneratedImage):
        try:
            return _input_image(value.data, label, parent=value.sha256)
        except XaiError as error:
            raise InputImageError(f"--image {label} is not a picture: {error}") from error
    if isinstance(value, str) and value[:8].lower().startswith(("https://", "http://")):
        return InputImage(url=value, sha256=_digest(value.encode()), label=label), None
    if isinstance(value, str) and value[:5].lower() == "data:":
        return _input_image(_data_uri(value), "the data URI")
    data, notes = _content(value, label)
    return _input_image(data, label, notes)


def _content(value: Any, label: str) -> tuple[bytes, list[str]]:
    """Return a value as the bytes of a file, and the changes made to create the file."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value), []
    if isinstance(value, (str, os.PathLike)):
        return _read(value), []
    from xai_notebook.arguments.input_files import encode_object  # noqa: PLC0415  # PIL

    if (encoded := encode_object(value, label)) is not None:
        return encoded
    if hasattr(value, "read"):
        return _read_stream(value, label), []
    if hasattr(value, "columns"):
        raise InputImageError(
            f"--image {label} is a table, of type {type(value).__name__}. Give one of its pictures."
        )
    if hasattr(value, "savefig"):
        raise InputImageError(
            f"--image {label} is a figure of matplotlib. Save it with savefig, and give the file."
        )
    raise InputImageError(
        f"--image {label} is a value of type {type(value).__name__}. --image takes {_FORMS}."
    )


def _short(name: str) -> str:
    return name if len(name) <= _MAX_SHOWN else f"{name[:_MAX_SHOWN]}…"


def _read(value: str | os.PathLike[str]) -> bytes:
    try:
        return read_bounded(Path(os.fsdecode(value)).expanduser(), MAX_INPUT_FILE_BYTES)
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: unknown user after ~
        reason = error.strerror if isinstance(error, OSError) else str(error).rstrip(".")
        raise InputImageError(
            f"--image {_short(str(value))}: {reason or error}. --image takes {_FORMS}."
        ) from error


def _read_stream(stream: Any, label: str) -> bytes:
    """Return all bytes of an open file, and restore its position."""
    try:
        position = stream.tell() if stream.seekable() else None
        if position is not None:
            stream.seek(0)
        data = stream.read(MAX_INPUT_FILE_BYTES + 1)
        if position is not None:
            stream.seek(position)
        if not isinstance(data, bytes):
            raise TypeError('it was opened as text. Open it with "rb"')  # noqa: TRY301
        if len(data) > MAX_INPUT_FILE_BYTES:
            raise ValueError(f"more than {MAX_INPUT_FILE_BYTES // MIB} MiB")  # noqa: TRY301
    except Exception as error:  # raised by the user's own objects
        raise InputImageError(f"--image {label} cannot be read: {error}.") from error
    return data


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


def _input_image(
    data: bytes,
    label: str,
    before: Iterable[str] = (),
    *,
    subject: str = "",
    cure: str = "",
    parent: str | None = None,
) -> tuple[InputImage, str | None]:
    """Return a file as an input image, and a note about changes to it.

    Args:
        data: The bytes of the file.
        label: Name of the file in generated cells and notes.
        before: Earlier changes to the file, half a sentence each.
        subject: Name of the file in messages; "" means `--image` and the label.
        cure: Advice if the file is not an image; see `fit`.
        parent: Digest of the file, if it is a generated image.
    """
    from xai_notebook.arguments.input_files import fit  # noqa: PLC0415  # PIL

    fitted = fit(data, subject or f"--image {_short(label)}", cure)
    url = f"data:{fitted.media_type};base64,{pybase64.b64encode_as_string(fitted.data)}"
    changes = (*before, *fitted.notes)
    return InputImage(url=url, sha256=_digest(data), label=label, parent=parent), (
        f"{label}: {'; '.join(changes)}." if changes else None
    )


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
