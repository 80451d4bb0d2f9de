"""Pictures to edit: uploaded in parts, or earlier results of the panel."""

from __future__ import annotations

import hashlib
import re
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from xai_notebook.arguments.inputs import load_inputs, load_upload
from xai_notebook.client.media import EXTENSIONS, media_type
from xai_notebook.errors import InputImageError, XaiError
from xai_notebook.generation.session import current_session
from xai_notebook.pictures.files import write_atomically
from xai_notebook.pictures.results import GeneratedImage
from xai_notebook.settings import MAX_DOWNLOAD_BYTES, MAX_INPUT_IMAGES, MIB

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from pathlib import Path

    from xai_notebook.generation.session import Call

__all__ = [
    "Source",
    "Uploads",
    "again",
    "forget_unused",
    "from_given",
    "from_image",
    "from_upload",
    "named",
    "upload_folder",
]

_MAX_PARTS: Final = 128
_MAX_UNDER_WAY: Final = 2 * MAX_INPUT_IMAGES
"""Files on their way at the same time."""
MAX_HELD: Final = 2 * MAX_DOWNLOAD_BYTES
"""Bytes on their way, and bytes of files that cannot be kept on disk."""
_STALE: Final = 60.0
"""Seconds without a part: the page was closed, and the rest will not come."""
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
        file: Where its bytes are kept, so that they need no memory.
    """

    value: Any
    label: str
    name: str
    data: bytes = field(default=b"", repr=False)
    note: str = ""
    file: Path | None = None

    def preview(self) -> bytes:
        """Return the bytes to make a preview of; empty: there are none."""
        with suppress(OSError):
            return self.data if self.file is None else self.file.read_bytes()
        return b""


@dataclass(slots=True)
class _Upload:
    total: int
    parts: list[bytes] = field(default_factory=list)
    size: int = 0
    heard: float = field(default_factory=time.monotonic)

    def add(self, part: bytes) -> None:
        self.parts.append(part)
        self.size += len(part)
        self.heard = time.monotonic()


@dataclass(slots=True)
class Uploads:
    """Files on their way: a message through a Jupyter server may have 10 MB at most.

    A browser may say anything, so their number and size are bounded.
    """

    _under_way: dict[str, _Upload] = field(default_factory=dict)
    _refused: deque[str] = field(default_factory=lambda: deque(maxlen=1000))

    def add(self, key: str, part: bytes, total: int) -> bytes | None:
        """Add a part; return the file once it is whole.

        Raises:
            InputImageError: It is too large, or too much is on its way; further parts of this file
                are ignored.
        """
        if key in self._refused:
            return None
        upload = self._under_way.get(key) or _Upload(total)
        if reason := self._too_much(key, upload, len(part)):
            self._under_way.pop(key, None)
            self._refused.append(key)
            raise InputImageError(reason)
        self._under_way[key] = upload
        upload.add(part)
        if len(upload.parts) < upload.total:
            return None
        return b"".join(self._under_way.pop(key).parts)

    def _too_much(self, key: str, upload: _Upload, more: int) -> str:
        """Return why a part cannot be taken; empty: it can."""
        if upload.total > _MAX_PARTS or upload.size + more > MAX_DOWNLOAD_BYTES:
            return f"The file has more than {MAX_DOWNLOAD_BYTES // MIB} MiB. Choose a smaller one."
        limit = time.monotonic() - _STALE
        others = {name: one for name, one in self._under_way.items() if name != key}
        for name in [name for name, one in others.items() if one.heard < limit]:
            del self._under_way[name], others[name]
        if len(others) >= _MAX_UNDER_WAY:
            return f"More than {_MAX_UNDER_WAY} files are on their way. Add fewer at a time."
        if sum(one.size for one in others.values()) + upload.size + more > MAX_HELD:
            return f"More than {MAX_HELD // MIB} MiB are on their way. Add fewer at a time."
        return ""


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
    note = "".join(load_upload(data, name).notes)
    path = _keep(data, folder)
    label = name if path is None else str(path)
    if path is not None:
        return Source(label, label, name, note=note, file=path)
    return Source(data, label, name, data, note)


def upload_folder() -> Path | None:
    """Return where uploaded pictures are kept: beside the library's; None: there is none."""
    try:
        return current_session().library().home / "inputs"
    except XaiError:
        return None


def forget_unused(sources: dict[str, Source], used: Collection[str]) -> None:
    """Make room for the last of `sources`, if the bytes that they hold are too many.

    Args:
        sources: What the panel has, oldest first.
        used: What its form names.

    Raises:
        InputImageError: All that is held is in use.
    """
    *older, newest = sources
    excess = sum(len(source.data) for source in sources.values()) - MAX_HELD
    for key in [key for key in older if sources[key].data and key not in used]:
        if excess > 0:
            excess -= len(sources.pop(key).data)
    if excess > 0:
        del sources[newest]
        raise InputImageError(
            f"More than {MAX_HELD // MIB} MiB of images are here, and there is no library to keep"
            " them in. Remove some first."
        )


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


def again(labels: Iterable[str], namespace: Any) -> tuple[list[Source], str]:
    """Return the pictures that a form named when its panel ran last.

    Returns:
        Those that are still there, and a sentence about those that are not; empty: there are none.
    """
    sources, gone = [], []
    for label in labels:
        try:
            sources += from_given([label], namespace)
        except XaiError:
            gone.append(label)
    if not gone:
        return sources, ""
    return sources, f"Not here any more, and no longer an input: {', '.join(gone)}."


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
