"""Input images of a panel: uploads, its own pictures, the library's, and those of past requests.

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
    from xai_notebook.generation.call import Call
    from xai_notebook.library.inputs import InputFiles

_MAX_PARTS: Final = 128
"""Of one file."""
_MAX_UPLOADS: Final = 2 * MAX_INPUT_IMAGES
"""Unfinished uploads."""
MAX_HELD: Final = 2 * MAX_DOWNLOAD_BYTES
"""Bytes of unfinished uploads, and bytes of files that cannot be kept on disk."""
_STALE: Final = 60.0
"""Seconds without a part, after which the page counts as closed."""


@dataclass(slots=True)
class _Upload:
    parts: list[bytes] = field(default_factory=list)
    last_part: float = field(default_factory=time.monotonic)

    @property
    def size(self) -> int:
        return sum(map(len, self.parts))


@dataclass(slots=True)
class UploadBuffer:
    """Unfinished uploads: a Jupyter server limits a message to 10 MB, so files come in parts.

    Their number and size are bounded, for a browser may send anything.
    """

    _uploads: dict[str, _Upload] = field(default_factory=dict)
    _refused: deque[str] = field(default_factory=lambda: deque(maxlen=1000))

    def add(self, key: str, part: bytes, total: int) -> bytes | None:
        """Add one of `total` parts; return the file once it is complete.

        Raises:
            InputImageError: The file is too large, or too much is being uploaded. Further parts of
                this file are ignored.
        """
        if key in self._refused:
            return None
        upload = self._uploads.pop(key, None) or _Upload()
        upload.parts.append(part)
        upload.last_part = time.monotonic()
        if problem := self._problem(upload, total):
            self._refused.append(key)
            raise InputImageError(problem)
        if len(upload.parts) >= total:
            return b"".join(upload.parts)
        self._uploads[key] = upload
        return None

    def _problem(self, upload: _Upload, total: int) -> str:
        """Return why an upload cannot be taken beside the others; empty: it can."""
        if total > _MAX_PARTS or upload.size > MAX_DOWNLOAD_BYTES:
            return f"The file has more than {MAX_DOWNLOAD_BYTES // MIB} MiB. Choose a smaller one."
        oldest = time.monotonic() - _STALE
        others = self._uploads
        for key in [key for key, other in others.items() if other.last_part < oldest]:
            del others[key]
        if len(others) >= _MAX_UPLOADS:
            return f"More than {_MAX_UPLOADS} files are on their way. Add fewer at a time."
        if sum(other.size for other in others.values()) + upload.size > MAX_HELD:
            return f"More than {MAX_HELD // MIB} MiB are on their way. Add fewer at a time."
        return ""


@dataclass(frozen=True, slots=True)
class TrayImage:
    """An input image that the form can name.

    Attributes:
        value: What `session.prepare` takes.
        label: What the equivalent cell calls it.
        name: What the form calls it.
        data: Its bytes, for a preview, where they are held in memory.
        note: What will be changed before it is sent, in a line.
        file: Where its bytes are, if they are kept on disk.
        sha256: Digest of what is sent.
    """

    value: Any
    label: str
    name: str
    data: bytes = field(default=b"", repr=False)
    note: str = ""
    file: Path | None = None
    sha256: str | None = None

    def preview(self) -> bytes:
        """Return bytes that a preview can be made of; empty if there are none."""
        with suppress(OSError, XaiError):
            data = self.data if self.file is None else self.file.read_bytes()
            if media_type(data) in EXTENSIONS:
                return data
            return _preview_bytes(None, load_upload(data, self.name).images[0].url)
        return b""


class Tray:
    """The input images of a panel.

    Attributes:
        images: By the keys under which the form names them, oldest first.
        uploads: Files that are not complete yet.
    """

    def __init__(self, namespace: Mapping[str, Any]) -> None:
        self.images: dict[str, TrayImage] = {}
        self.uploads = UploadBuffer()
        self._namespace = namespace
        self._numbers = count(1)

    def put(self, image: TrayImage) -> dict[str, str]:
        """Add an image; return its item for the form's `inputs`."""
        key = f"given{next(self._numbers)}"
        self.images[key] = image
        return {"id": key, "name": image.name}

    def upload(self, key: str, name: str, data: bytes, used: Collection[str]) -> str:
        """Add an uploaded file; return what will be changed before it is sent, in a line. Blocks.

        Raises:
            InputImageError: The API does not take such an image, or too many bytes are held.
        """
        files = None
        if not is_for_visitors():  # files of visitors are theirs, and are not kept
            with suppress(XaiError):
                files = current_session().library().input_files
        self.images[key] = image = from_upload(name, data, files)
        self.make_room(used)
        return image.note

    def make_room(self, used: Collection[str]) -> None:
        """Drop the oldest images held in memory that the form does not use, if there are too many.

        Raises:
            InputImageError: All of them are used. The newest is dropped.
        """
        *older, newest = self.images
        excess = sum(len(image.data) for image in self.images.values()) - MAX_HELD
        for key in [key for key in older if self.images[key].data and key not in used]:
            if excess > 0:
                excess -= len(self.images.pop(key).data)
        if excess > 0:
            del self.images[newest]
            raise InputImageError(
                f"More than {MAX_HELD // MIB} MiB of images are here, and the library cannot keep "
                "them. Remove some first."
            )

    def labels(self, items: Iterable[Mapping[str, Any]]) -> list[str]:
        """Return what a cell calls the form's items, without those that are not in the tray."""
        keys = [str(item["id"]) for item in items]
        return [self.images[key].label for key in keys if key in self.images]

    def chosen(self, items: Iterable[Mapping[str, Any]]) -> list[TrayImage]:
        """Return the images that the form's items name.

        Raises:
            InputImageError: One of them is not in the tray.
        """
        images = []
        for item in items:
            image = self.images.get(str(item["id"]))
            if image is None:
                raise InputImageError(
                    f"{item.get('name') or 'An input image'} is not here. Remove it, or choose it "
                    "again."
                )
            images.append(image)
        return images

    def put_labelled(self, labels: Iterable[str]) -> tuple[list[dict[str, str]], str]:
        """Add what a cell calls so; return the form's items, and a sentence about missing ones."""
        items, missing = [], []
        for label in labels:
            try:
                items += [self.put(image) for image in from_values([label], self._namespace)]
            except XaiError:
                missing.append(label)
        return items, _missing(missing)

    def put_inputs(
        self, inputs: Sequence[InputImage], *, trusted: bool
    ) -> tuple[list[dict[str, str]], str]:
        """Add the input images of a request, if exactly these are still available. Blocks.

        They are looked up by digest in the tray and the library; then by name, if the digest is
        the same.

        Args:
            inputs: Of the request.
            trusted: The request is the user's own. One read from a file may be anybody's: nothing
                that it names is opened.

        Returns:
            The form's items, and a sentence about missing images.
        """
        items, missing = [], []
        for each in inputs:
            image = self._same(each, trusted=trusted)
            if image is None:
                missing.append(each.label or "an image")
            else:
                items.append(self.put(image))
        return items, _missing(missing)

    def _same(self, wanted: InputImage, *, trusted: bool) -> TrayImage | None:
        session = current_session()
        for image in reversed(self.images.values()):
            if wanted.sha256 and image.sha256 == wanted.sha256:
                return image
        with suppress(XaiError):
            if wanted.sha256 and wanted.sha256 in session.history.named(wanted.sha256):
                (image,) = from_values([session.history.id_of(wanted.sha256)], self._namespace)
                return replace(image, name=wanted.label or image.name)
        if trusted and not is_for_visitors():
            with suppress(XaiError):
                (loaded,) = load_inputs(
                    [wanted.label], self._namespace, session.history.named
                ).images
                if loaded.sha256 == wanted.sha256:
                    (image,) = from_values([wanted.label], self._namespace)
                    return image
        return None


def _missing(labels: Sequence[str]) -> str:
    return f"Not here any more, and no input: {', '.join(labels)}." if labels else ""


_UNSAFE: Final = re.compile(r"[^\w .()+,-]")
"""Characters of a file's name that are replaced."""


def from_upload(name: str, data: bytes, files: InputFiles | None) -> TrayImage:
    """Return an uploaded file as an input image, kept in `files` so that a cell can name it.

    Raises:
        InputImageError: The API does not take such an image.
    """
    name = _UNSAFE.sub("_", name)[-80:] or "picture"
    loaded = load_upload(data, name)
    note, sha256 = "".join(loaded.notes), loaded.images[0].sha256
    path = None if files is None else files.keep(data)
    if path is None:
        return TrayImage(data, name, name, data, note, sha256=sha256)
    return TrayImage(str(path), current_session().history.id_of(sha256), name, note=note, file=path)


def from_image(image: GeneratedImage, name: str) -> TrayImage:
    """Return a generated image as an input image, the parent of what is made from it."""
    label = name
    with suppress(XaiError):
        if image.id is not None and image.sha256:
            label = current_session().history.id_of(image.sha256)
    return TrayImage(image, label, name)


def from_values(values: Sequence[Any], namespace: Any, *, named: bool = True) -> list[TrayImage]:
    """Return the input images that values of `image=…` mean. Blocks.

    Args:
        values: Of the option.
        namespace: The user's variables.
        named: Paths and addresses may be shown.

    Raises:
        InputImageError: The API does not take one of them.
    """
    images = []
    for position, value in enumerate(values, 1):
        for loaded in load_inputs([value], namespace, current_session().history.named).images:
            name = loaded.label if named and isinstance(value, str) else f"image {position}"
            own = value if isinstance(value, (GeneratedImage, str)) else loaded.url
            label, data = loaded.label if named else name, _preview_bytes(value, loaded.url)
            images.append(TrayImage(own, label, name, data, sha256=loaded.sha256))
    return images


def _preview_bytes(value: Any, url: str) -> bytes:
    if isinstance(value, GeneratedImage):
        with suppress(XaiError):
            return value.data
    head, comma, body = url.partition(";base64,")
    if not (comma and head.startswith("data:")):
        return b""
    import pybase64  # noqa: PLC0415

    return pybase64.b64decode(body)


def relabel(call: Call, labels: Sequence[str]) -> Call:
    """Name a call's input images as the equivalent cell does."""
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
