"""Pictures to edit: uploaded, earlier results of the panel, or what a request was made from.

Separate because uploads and input images work without the form.
"""

from __future__ import annotations

import re
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from xai_notebook.arguments.inputs import load_inputs, load_upload
from xai_notebook.client.media import EXTENSIONS, media_type
from xai_notebook.errors import InputImageError, XaiError
from xai_notebook.frontend import is_for_visitors
from xai_notebook.generation.session import current_session
from xai_notebook.pictures.results import GeneratedImage
from xai_notebook.settings import MAX_DOWNLOAD_BYTES, MAX_INPUT_IMAGES, MIB

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from xai_notebook.client.request import InputImage
    from xai_notebook.generation.session import Call
    from xai_notebook.library.inputs import InputFiles

__all__ = [
    "MAX_HELD",
    "Tray",
    "TrayImage",
    "UploadBuffer",
    "forget_unused",
    "from_given",
    "from_image",
    "from_upload",
    "named",
]

_MAX_PARTS: Final = 128
_MAX_UNDER_WAY: Final = 2 * MAX_INPUT_IMAGES
"""Files on their way at the same time."""
MAX_HELD: Final = 2 * MAX_DOWNLOAD_BYTES
"""Bytes on their way, and bytes of files that cannot be kept on disk."""
_STALE: Final = 60.0
"""Seconds without a part: the page was closed, and the rest will not come."""


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
class UploadBuffer:
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


_UNSAFE: Final = re.compile(r"[^\w .()+,-]")


@dataclass(frozen=True, slots=True)
class TrayImage:
    """A picture to edit.

    Attributes:
        value: What `session.prepare` takes.
        label: How the equivalent cell names it.
        name: How the form names it.
        data: Its bytes, for a preview; empty: they are somewhere else.
        note: What will be changed before it is sent, in a line.
        file: Where its bytes are kept, so that they need no memory.
        sha256: Of what is sent.
    """

    value: Any
    label: str
    name: str
    data: bytes = field(default=b"", repr=False)
    note: str = ""
    file: Path | None = None
    sha256: str | None = None

    def preview(self) -> bytes:
        """Return the bytes to make a preview of; empty: there are none."""
        with suppress(OSError, XaiError):
            data = self.data if self.file is None else self.file.read_bytes()
            if media_type(data) in EXTENSIONS:
                return data
            return _preview_bytes(None, load_upload(data, self.name).images[0].url)
        return b""


class Tray:
    """What the form can name as a picture to edit, by the keys under which it does."""

    def __init__(self, namespace: Mapping[str, Any]) -> None:
        """Hold nothing yet.

        Args:
            namespace: The user's variables.
        """
        self.sources: dict[str, TrayImage] = {}
        self._namespace = namespace
        self._numbers = count(1)

    def put(self, source: TrayImage) -> dict[str, str]:
        """Keep a picture; return how the form names it."""
        key = f"given{next(self._numbers)}"
        self.sources[key] = source
        return {"id": key, "name": source.name}

    def upload(self, key: str, name: str, data: bytes, used: Collection[str]) -> str:
        """Keep an uploaded file; return what will be changed before it is sent, in a line.

        Raises:
            InputImageError: It is no picture the API takes, or there is no room for it.
        """
        try:
            # What visitors of an app bring is not kept: it is theirs.
            given = None if is_for_visitors() else current_session().library().given
        except XaiError:
            given = None
        self.sources[key] = source = from_upload(name, data, given)
        forget_unused(self.sources, used)
        return source.note

    def labels(self, items: Iterable[Mapping[str, Any]]) -> list[str]:
        """Return how a cell names what the form names, but for what is no picture (yet)."""
        keys = [str(item["id"]) for item in items]
        return [self.sources[key].label for key in keys if key in self.sources]

    def chosen(self, items: Iterable[Mapping[str, Any]]) -> list[TrayImage]:
        """Return what the form names.

        Raises:
            InputImageError: Something of it is not here.
        """
        sources = []
        for item in items:
            source = self.sources.get(str(item["id"]))
            if source is None:
                raise InputImageError(
                    f"{item.get('name') or 'An input image'} is not here. Remove it, or choose it "
                    "again."
                )
            sources.append(source)
        return sources

    def again(self, labels: Iterable[str]) -> tuple[list[dict[str, str]], str]:
        """Return what a form named when its panel ran last, and a sentence about what is gone."""
        items, gone = [], []
        for label in labels:
            try:
                items += [self.put(one) for one in from_given([label], self._namespace)]
            except XaiError:
                gone.append(label)
        return items, _lost(gone)

    def like(
        self, images: Sequence[InputImage], *, trusted: bool
    ) -> tuple[list[dict[str, str]], str]:
        """Return the pictures that a request was made from, and a sentence about what is gone.

        Only exactly these: what the library has under their digests, or what the request names,
        if it still is the same.

        Args:
            images: Of the request.
            trusted: The request is the user's own. A file may be anybody's: nothing that it names
                is opened.
        """
        items, gone = [], []
        for image in images:
            source = self._same(image, trusted=trusted)
            if source is None:
                gone.append(image.label or "an image")
            else:
                items.append(self.put(source))
        return items, _lost(gone)

    def _same(self, image: InputImage, *, trusted: bool) -> TrayImage | None:
        session = current_session()
        for source in reversed(self.sources.values()):
            if image.sha256 and source.sha256 == image.sha256:
                return source
        with suppress(XaiError):
            if image.sha256 and image.sha256 in session.history.named(image.sha256):
                (source,) = from_given([session.history.id_of(image.sha256)], self._namespace)
                return replace(source, name=image.label or source.name)
        if trusted and not is_for_visitors():
            with suppress(XaiError):
                (found,) = load_inputs([image.label], self._namespace, session.history.named).images
                if found.sha256 == image.sha256:
                    (source,) = from_given([image.label], self._namespace)
                    return source
        return None


def _lost(labels: Sequence[str]) -> str:
    return f"Not here any more, and no input: {', '.join(labels)}." if labels else ""


def from_upload(name: str, data: bytes, given: InputFiles | None) -> TrayImage:
    """Return an uploaded file as a picture to edit.

    Args:
        name: As the browser gives it.
        data: Its bytes.
        given: Where it is kept, so that a cell can name it; None: nowhere.

    Raises:
        InputImageError: It is no picture the API takes.
    """
    name = _UNSAFE.sub("_", name)[-80:] or "picture"
    loaded = load_upload(data, name)
    note, sha256 = "".join(loaded.notes), loaded.images[0].sha256
    path = None if given is None else given.keep(data)
    if path is None:
        return TrayImage(data, name, name, data, note, sha256=sha256)
    return TrayImage(str(path), current_session().history.id_of(sha256), name, note=note, file=path)


def forget_unused(sources: dict[str, TrayImage], used: Collection[str]) -> None:
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


def from_image(image: GeneratedImage, name: str) -> TrayImage:
    """Return a generated image as a picture to edit; it becomes the parent of what comes."""
    label = name
    with suppress(XaiError):
        if image.id is not None and image.sha256:
            label = current_session().history.id_of(image.sha256)
    return TrayImage(image, label, name)


def from_given(images: Sequence[Any], namespace: Any, *, named: bool = True) -> list[TrayImage]:
    """Return the images given to `panel(image=…)`.

    Args:
        images: As they are given.
        namespace: Where variables are looked up.
        named: They may be called by their paths and addresses.

    Raises:
        InputImageError: One of them is no picture the API takes.
    """
    sources = []
    for position, value in enumerate(images, 1):
        for image in load_inputs([value], namespace, current_session().history.named).images:
            name = image.label if named and isinstance(value, str) else f"image {position}"
            whole = isinstance(value, GeneratedImage)
            source = value if whole or isinstance(value, str) else image.url
            label, data = image.label if named else name, _preview_bytes(value, image.url)
            sources.append(TrayImage(source, label, name, data, sha256=image.sha256))
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
