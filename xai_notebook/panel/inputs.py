"""Pictures to edit: uploaded in parts, or earlier results of the panel."""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from xai_notebook.errors import InputImageError, XaiError
from xai_notebook.files import write_atomically
from xai_notebook.inputs import load_inputs
from xai_notebook.media import EXTENSIONS, media_type
from xai_notebook.results import GeneratedImage
from xai_notebook.settings import MAX_DOWNLOAD_BYTES, MIB

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from xai_notebook.session import Call

__all__ = ["Source", "Uploads", "from_given", "from_image", "from_upload", "named"]

_MAX_PARTS: Final = 128
_UNSAFE: Final = re.compile(r"[^\w .()+,-]")


@dataclass(frozen=True, slots=True)
class Source:
    """A picture to edit.

    Attributes:
        value: What `session.prepare` takes.
        label: How the equivalent cell names it.
        name: How the form names it.
        data: Its bytes, for a preview; empty: they are somewhere else.
        note: What will be changed before it is sent, in a line.
    """

    value: Any
    label: str
    name: str
    data: bytes = field(default=b"", repr=False)
    note: str = ""


@dataclass(slots=True)
class Uploads:
    """Files on their way: a message through a Jupyter server may have 10 MB at most."""

    _parts: dict[str, list[bytes]] = field(default_factory=dict)

    def add(self, key: str, part: bytes, total: int) -> bytes | None:
        """Add a part; return the file once it is whole.

        Raises:
            InputImageError: It is too large.
        """
        parts = self._parts.setdefault(key, [])
        parts.append(part)
        if total > _MAX_PARTS or sum(map(len, parts)) > MAX_DOWNLOAD_BYTES:
            del self._parts[key]
            raise InputImageError(
                f"The file has more than {MAX_DOWNLOAD_BYTES // MIB} MiB. Choose a smaller one."
            )
        if len(parts) < total:
            return None
        return b"".join(self._parts.pop(key))


def from_upload(name: str, data: bytes, folder: Path | None) -> Source:
    """Return an uploaded file as a picture to edit.

    Args:
        name: As the browser gives it.
        data: Its bytes.
        folder: Where it is kept, so that a cell can name it; None: nowhere.

    Raises:
        InputImageError: It is no picture the API takes.
    """
    name = _UNSAFE.sub("_", name)[-80:] or "picture"
    try:
        checked = load_inputs([data], {})
    except InputImageError as error:
        raise InputImageError(str(error).replace("--image bytes", name)) from error
    path = _keep(data, folder)
    note = "".join(checked.notes).replace("bytes", name)
    label = name if path is None else str(path)
    return Source(data if path is None else label, label, name, data, note)


def _keep(data: bytes, folder: Path | None) -> Path | None:
    """Write a file under the digest of its bytes, so that the cell works after a restart."""
    if folder is None:
        return None
    extension = EXTENSIONS.get(media_type(data) or "", ".bin")
    path = folder / (hashlib.sha256(data).hexdigest() + extension)
    if path.exists():
        return path
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(path, data)  # a name that is taken has the same content
    except OSError:
        return None
    return path


def from_image(image: GeneratedImage, name: str) -> Source:
    """Return a generated image as a picture to edit; it becomes the parent of what comes."""
    return Source(image, str(image.path or name), name)


def from_given(images: Sequence[Any], namespace: Any) -> list[Source]:
    """Return the images given to `panel(image=…)`.

    Raises:
        InputImageError: One of them is no picture the API takes.
    """
    sources = []
    for position, value in enumerate(images, 1):
        for image in load_inputs([value], namespace).images:
            name = image.label if isinstance(value, str) else f"image {position}"
            whole = isinstance(value, GeneratedImage)
            source = value if whole or isinstance(value, str) else image.url
            sources.append(Source(source, image.label, name, _preview_bytes(value, image.url)))
    return sources


def _preview_bytes(value: Any, url: str) -> bytes:
    if isinstance(value, GeneratedImage):
        with suppress(XaiError):
            return value.data
    head, comma, body = url.partition(";base64,")
    if not (comma and head.startswith("data:")):
        return b""
    import pybase64  # noqa: PLC0415

    return pybase64.b64decode(body)


def named(call: Call, labels: Sequence[str]) -> Call:
    """Return the call with its input images named as the equivalent cell names them."""
    requests = [
        replace(
            request,
            inputs=tuple(
                replace(image, label=label)
                for image, label in zip(request.inputs, labels, strict=True)
            ),
        )
        for request in call.requests
    ]
    call.requests = iter(requests)
    return call
