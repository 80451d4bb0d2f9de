"""Input images of a panel: uploads, generated pictures, and input images of past requests.

Separate because input images and uploads are independent of the widget's other parts.
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
"""Maximum parts of one file."""
_MAX_UPLOADS: Final = 2 * MAX_INPUT_IMAGES
"""Maximum number of unfinished uploads."""
MAX_HELD: Final = 2 * MAX_DOWNLOAD_BYTES
"""Maximum bytes of all unfinished uploads; also of all complete files in memory."""
_STALE_AFTER: Final = 60.0
"""Seconds without a new part after which an upload is dropped."""


@dataclass(slots=True)
class _Upload:
    parts: list[bytes] = field(default_factory=list)
    last_part: float = field(default_factory=time.monotonic)

    @property
    def size(self) -> int:
        return sum(map(len, self.parts))


@dataclass(slots=True)
class UploadBuffer:
    """Unfinished uploads. Files arrive in parts, because Jupyter limits a message to 10 MB.

    The number and size of uploads are limited, because a browser may send anything.
    """

    _uploads: dict[str, _Upload] = field(default_factory=dict)
    _refused: deque[str] = field(default_factory=lambda: deque(maxlen=1000))

    def add(self, key: str, part: bytes, total: int) -> bytes | None:
        """Add one of `total` parts; return the file once it is complete.

        Raises:
            InputImageError: The file is too large, or too much data is being uploaded. Further
                parts of this file are ignored.
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
        """Return why an upload is refused; empty if it is accepted."""
        if total > _MAX_PARTS or upload.size > MAX_DOWNLOAD_BYTES:
            return f"The file has more than {MAX_DOWNLOAD_BYTES // MIB} MiB. Choose a smaller one."
        oldest = time.monotonic() - _STALE_AFTER
        others = self._uploads
        for key in [key for key, other in others.items() if other.last_part < oldest]:
            del others[key]
        if len(others) >= _MAX_UPLOADS:
            return f"More than {_MAX_UPLOADS} files are being uploaded. Add fewer at a time."
        if sum(other.size for other in others.values()) + upload.size > MAX_HELD:
            return f"More than {MAX_HELD // MIB} MiB are being uploaded. Add fewer at a time."
        return ""


@dataclass(frozen=True, slots=True)
class TrayImage:
    """An input image that the form can use.

    Attributes:
        value: The image as `session.prepare` accepts it.
        label: Name of the image in the equivalent cell.
        name: Name of the image in the form.
        data: Bytes for a preview, if they are held in memory.
        note: One line on changes to the image.
        file: File with the bytes, if they are stored on disk.
        sha256: Digest of the bytes that are sent.
    """

    value: Any
    label: str
    name: str
    data: bytes = field(default=b"", repr=False)
    note: str = ""
    file: Path | None = None
    sha256: str | None = None

    def preview(self) -> bytes:
        """Return the bytes from which a preview is made; empty if unavailable."""
        with suppress(OSError, XaiError):
            data = self.data if self.file is None else self.file.read_bytes()
            if media_type(data) in EXTENSIONS:
                return data
            return _preview_bytes(None, load_upload(data, self.name).images[0].url)
        return b""


class Tray:
    """The input images of a panel.

    Attributes:
        images: Images by their keys in the form, oldest first.
        uploads: Unfinished uploads.
    """

    def __init__(self, namespace: Mapping[str, Any]) -> None:
        self.images: dict[str, TrayImage] = {}
        self.uploads = UploadBuffer()
        self._namespace = namespace
        self._numbers = count(1)

    def put(self, image: TrayImage) -> dict[str, str]:
        """Add an image and return its item for the form's `inputs`."""
        key = f"given{next(self._numbers)}"
        self.images[key] = image
        return {"id": key, "name": image.name}

    def upload(self, key: str, name: str, data: bytes, used: Collection[str]) -> str:
        """Add an uploaded file; return one line on changes to it. Blocks."""
        files = None
        if not is_for_visitors():  # files of visitors are not stored
            with suppress(XaiError):
                files = current_session().library().input_files
        self.images[key] = image = from_upload(name, data, files)
        self.make_room(used)
        return image.note

    def make_room(self, used: Collection[str]) -> None:
        """Drop the oldest unused images in memory while all images exceed the limit.

        If the images in use exceed the limit, the newest image is refused.
        """
        *older, newest = self.images
        excess = sum(len(image.data) for image in self.images.values()) - MAX_HELD
        for key in [key for key in older if self.images[key].data and key not in used]:
            if excess > 0:
                excess -= len(self.images.pop(key).data)
        if excess > 0:
            del self.images[newest]
            raise InputImageError(
                f"The input images have more than {MAX_HELD // MIB} MiB, and the library cannot "
                "store them. Remove some first."
            )

    def labels(self, items: Iterable[Mapping[str, Any]]) -> list[str]:
        """Return the names of the form's items in a cell; items not in the tray are skipped."""
        keys = [str(item["id"]) for item in items]
        return [self.images[key].label for key in keys if key in self.images]

    def chosen(self, items: Iterable[Mapping[str, Any]]) -> list[TrayImage]:
        """Return the images of the form's items; raise an error if one is not in the tray."""
        images = []
        for item in items:
            image = self.images.get(str(item["id"]))
            if image is None:
                raise InputImageError(
                    f"{item.get('name') or 'An input image'} is no longer available. Remove it, "
                    "or choose it again."
                )
            images.append(image)
        return images

    def put_labelled(self, labels: Iterable[str]) -> tuple[list[dict[str, str]], str]:
        """Add images by their names in a cell; return items, and a sentence on missing images."""
        items, missing = [], []
        for label in labels:
            try:
                items += [self.put(image) for image in from_values([label], self._namespace)]
            except XaiError:
                missing.append(label)
        return items, _missing_note(missing)

    def put_inputs(
        self, inputs: Sequence[InputImage], *, trusted: bool
    ) -> tuple[list[dict[str, str]], str]:
        """Add the input images of a request that are still available. Blocks.

        The images are looked up by digest in the tray and the library, then by name; an image found
        by name must have the same digest. If the request is not `trusted`, because it was read from
        a file, the paths and addresses in it are not opened.

        Returns:
            The form's items, and a sentence on missing images.
        """
        items, missing = [], []
        for each in inputs:
            image = self._find(each, trusted=trusted)
            if image is None:
                missing.append(each.label or "an image")
            else:
                items.append(self.put(image))
        return items, _missing_note(missing)

    def _find(self, source: InputImage, *, trusted: bool) -> TrayImage | None:
        session = current_session()
        for image in reversed(self.images.values()):
            if source.sha256 and image.sha256 == source.sha256:
                return image
        with suppress(XaiError):
            if source.sha256 and source.sha256 in session.history.find_by_digest(source.sha256):
                (image,) = from_values([session.history.id_of(source.sha256)], self._namespace)
                return replace(image, name=source.label or image.name)
        if trusted and not is_for_visitors():
            with suppress(XaiError):
                (loaded,) = load_inputs(
                    [source.label], self._namespace, session.history.find_by_digest
                ).images
                if loaded.sha256 == source.sha256:
                    (image,) = from_values([source.label], self._namespace)
                    return image
        return None


def _missing_note(labels: Sequence[str]) -> str:
    return f"No longer available as input images: {', '.join(labels)}." if labels else ""


_UNSAFE: Final = re.compile(r"[^\w .()+,-]")
"""Characters of a file name that are replaced."""


def from_upload(name: str, data: bytes, files: InputFiles | None) -> TrayImage:
    """Return an uploaded file as an input image, stored in `files` so that a cell can use it."""
    name = _UNSAFE.sub("_", name)[-80:] or "picture"
    loaded = load_upload(data, name)
    note, sha256 = "".join(loaded.notes), loaded.images[0].sha256
    path = None if files is None else files.keep(data)
    if path is None:
        return TrayImage(data, name, name, data, note, sha256=sha256)
    return TrayImage(str(path), current_session().history.id_of(sha256), name, note=note, file=path)


def from_image(image: GeneratedImage, name: str) -> TrayImage:
    """Return a generated image as an input image; images made from it record it as parent."""
    label = name
    with suppress(XaiError):
        if image.id is not None and image.sha256:
            label = current_session().history.id_of(image.sha256)
    return TrayImage(image, label, name)


def from_values(values: Sequence[Any], namespace: Any, *, named: bool = True) -> list[TrayImage]:
    """Return the input images for values of the option `image`. Blocks.

    If `named` is false, the form and the cell show no paths and addresses.
    """
    images = []
    for position, value in enumerate(values, 1):
        find = current_session().history.find_by_digest
        for loaded in load_inputs([value], namespace, find).images:
            name = loaded.label if named and isinstance(value, str) else f"image {position}"
            source = value if isinstance(value, (GeneratedImage, str)) else loaded.url
            label, data = loaded.label if named else name, _preview_bytes(value, loaded.url)
            images.append(TrayImage(source, label, name, data, sha256=loaded.sha256))
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
    """Set the labels of a call's input images to their names in the equivalent cell."""
    items = [*call.items]
    for item in items:
        inputs = zip(item.request.inputs, labels, strict=True)
        named = tuple(replace(image, label=label) for image, label in inputs)
        item.request = replace(item.request, inputs=named)
    call.items = iter(items)
    return call
