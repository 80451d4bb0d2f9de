"""Bundles: zip files of pictures and their requests, to replay a notebook without its library.

A bundle may come from another person. Therefore, the size of the file, of its JSON and of its
pictures is limited. A bundle only answers requests: it never determines what is sent, or which of
the user's files are read.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import stat
import struct
import threading
import zipfile
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from xai_notebook.client import bounds
from xai_notebook.client.media import EXTENSIONS, dimensions, media_type
from xai_notebook.client.request import ImageRequest, InputImage
from xai_notebook.errors import ExportError, LibraryError, MissingImageError, ReplyError
from xai_notebook.frontend import short_path
from xai_notebook.library.records import MAX_PLACE, hide_label
from xai_notebook.pictures.files import open_atomically
from xai_notebook.pictures.picture import WITHHELD, Picture
from xai_notebook.pictures.render.text import counted, file_size
from xai_notebook.settings import (
    MAX_DOWNLOAD_BYTES,
    MAX_IMAGE_PIXELS,
    MAX_IMAGES,
    MAX_INPUT_IMAGES,
    MIB,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path
    from typing import BinaryIO

    from xai_notebook.library.records import PictureReader
    from xai_notebook.library.storage.database import Database

SUFFIX: Final = ".xai"
"""File name suffix of a bundle."""
REQUESTS: Final = "requests.jsonl"
"""Name of the zip member that lists the requests."""
VERSION: Final = 1
HEADER: Final = {"format": "xai-notebook bundle", "version": VERSION}
"""The first line of `REQUESTS`; each line after it is a request."""
MAX_PICTURES: Final = 20_000
"""Maximum number of pictures in a bundle; also the maximum of requests, and of originals."""
MAX_BUNDLE_BYTES: Final = 4096 * MIB - 1
"""Maximum size of a zip file without zip64; bundles with zip64 are rejected."""
MAX_LIST_BYTES: Final = 64 * MIB
MAX_LINE_BYTES: Final = MIB
_MAX_DIRECTORY_BYTES: Final = 8 * MIB
_MAX_HEADER_BYTES: Final = 300
"""Maximum bytes that a zip file adds to each original."""
_MAX_QUOTES: Final = 10_000
_MAX_OUTSIDE: Final = 50_000
"""Maximum bytes of a line outside its strings; a request with 100 pictures has about 10,000."""
_MAX_DIGITS: Final = 18
_MAX_POSITION: Final = 100
_MAX_FILES: Final = 32
"""Maximum number of bundles to read in a folder."""
_END: Final = struct.Struct("<4s4H2LH")
"""End record of a zip file's central directory."""
_LOCATOR_BYTES: Final = 20
_LOCAL: Final = struct.Struct("<4s22x2H")
"""Header of a zip member."""
_ORIGINAL: Final = re.compile(r"images/([0-9a-f]{64})\.[a-z]{3,4}")
_OPTIONS: Final = ("aspect_ratio", "resolution", "quality", "rewrite_model")
_PICTURE_FIELDS: Final = (
    "position", "model", "rewritten_prompt", "rewritten_by", "cost_usd", "sha256",
)  # fmt: skip
_HOSTILE: Final = (
    ArithmeticError, LookupError, RecursionError, TypeError, ValueError, NotImplementedError,
    struct.error, zipfile.BadZipFile,
)  # fmt: skip
"""Errors that can be raised by reading a file that is not a bundle."""


class TooLargeError(LibraryError):
    """A bundle exceeds its read budget."""


class _TooMuchError(Exception):
    """A bundle exceeds its read budget; raised where its name is not known."""


def _check_budget(count: int, most: int) -> None:
    if count > most:
        raise _TooMuchError


class ReadBudget(NamedTuple):
    """Limits for reading one or several bundles into memory.

    Attributes:
        bytes: Bytes of zip directories and lists of requests.
        pictures: Number of pictures, counted as in `MAX_PICTURES`.
    """

    bytes: int = MAX_LIST_BYTES + _MAX_DIRECTORY_BYTES
    pictures: int = MAX_PICTURES


FOLDER_BUDGET: Final = ReadBudget(MAX_LIST_BYTES, 2 * MAX_PICTURES)
"""Budget for all bundles in a folder: a few seconds and 100 MB of memory."""


@dataclass(frozen=True, slots=True)
class BundleEntry:
    """A request of a bundle and its pictures.

    Attributes:
        request: The request, without a user; its input images have digests but no names.
        backend: `"xai"` or `"local"`.
        answered_by: Name of the model in the reply.
        place: How often the notebook made this request before in the same pass; 0 the first time.
        created: Time of arrival of the reply, in UTC.
        images: Pictures with the status `"ok"` or `"moderated"`, without their bytes.
    """

    request: ImageRequest
    backend: str
    answered_by: str
    place: int
    created: datetime
    images: tuple[Picture, ...]


class Bundle:
    """A bundle. Its requests are in memory; its originals are read from the file when needed.

    The file is not kept open, so that it can be replaced at any time.

    Attributes:
        file: Path of the bundle.
        name: File name for messages.
        entries: Requests and their pictures, in the order of the file.
        weight: The part of the budget that the bundle uses.
    """

    def __init__(self, file: Path, budget: ReadBudget = ReadBudget()) -> None:  # noqa: B008
        """Read the requests of a bundle.

        Args:
            file: Path of the bundle.
            budget: Limits for reading.

        Raises:
            TooLargeError: The bundle exceeds the budget.
            LibraryError: The file is damaged, is not a bundle, or was made by a newer version.
        """
        self.file = file
        self.name = bounds.line(file.name)
        try:
            with file.open("rb") as stream:
                size = _check_directory(stream, budget)
                self._members = _members(stream)
                requests = self._members[REQUESTS]
                if requests[1] > MAX_LIST_BYTES:
                    raise ValueError(requests)
                size += requests[1]
                _check_budget(size, budget.bytes)
                lines = io.BytesIO(_read(stream, requests))
            self.entries = tuple(self._entries(lines, budget.pictures))
            pictures = sum(len(entry.images) for entry in self.entries)
            self.weight = ReadBudget(size, max(pictures, len(self.entries), len(self._members)))
        except _TooMuchError as error:
            raise TooLargeError(
                f"{self.name} lists more than {budget.pictures:,} pictures or "
                f"{budget.bytes // MIB} MiB of requests, and was not used."
            ) from error
        except OSError as error:
            raise LibraryError(f"{self.name} cannot be read: {error.strerror or error}.") from error
        except _HOSTILE as error:
            raise LibraryError(
                f"{self.name} is damaged or not a bundle, and was not used. Delete or rename it, "
                "and pack again with xai.pack()."
            ) from error
        self._by_content: dict[Any, list[BundleEntry]] = {}
        for entry in self.entries:
            request = entry.request
            self._by_content.setdefault((request.content, None), []).append(entry)
            if request.original_prompt is not None and request.rewrite_model is not None:
                written = replace(request, prompt=request.original_prompt)
                key = (written.content, request.rewrite_model)
                self._by_content.setdefault(key, []).append(entry)

    def _entries(self, lines: Iterable[bytes], most: int) -> Iterator[BundleEntry]:
        """Yield the entries of a list of requests, with at most `most` pictures in all."""
        lines = iter(lines)
        header = _object(next(lines, b""))
        if header.get("format") != HEADER["format"]:
            raise ValueError(header)
        if bounds.count(header["version"], 1, MAX_PLACE) > VERSION:
            raise LibraryError(
                "The bundle was made by a newer xai-notebook. Upgrade: pip install -U xai-notebook"
            )
        pictures = total = 0
        for requests, line in enumerate(lines, 1):
            entry = _entry(_object(line))
            pictures += len(entry.images)
            originals = (self._members.get(image.sha256 or "", (0, 0)) for image in entry.images)
            total += sum(size for _, size in originals)
            _check_budget(max(requests, pictures), most)
            if total > MAX_BUNDLE_BYTES:  # the same original is listed many times
                raise ValueError(total)
            yield entry

    def rewrites_of(self, request: ImageRequest, model: str) -> set[str]:
        """Return the rewrites of a request's prompt by a chat model, as recorded in this bundle.

        The prompts only serve to find pictures and must not be sent.

        Args:
            request: The request with the user's prompt.
            model: The chat model.
        """
        entries = self._by_content.get((request.content, model), ())
        return {entry.request.prompt for entry in entries}

    def find(
        self, request: ImageRequest, place: int | None, rewrite_model: str | None = None
    ) -> list[Picture]:
        """Return the pictures that answer a request, one for each position.

        Args:
            request: The request.
            place: Place of the request; None for any place.
            rewrite_model: Chat model that rewrites the prompt; `request` then has the user's
                prompt. None if the prompt is sent unchanged.
        """
        pictures: dict[int, Picture] = {}
        for entry in self._by_content.get((request.content, rewrite_model), ()):
            if place is None or entry.place == place:
                for image in entry.images:
                    pictures.setdefault(image.position, image)
        return [pictures[position] for position in sorted(pictures)]

    def read(self, sha256: str) -> bytes:
        """Return an original after checking its digest.

        Raises:
            LibraryError: The original is damaged or missing.
        """
        try:
            with self.file.open("rb") as stream:
                data = _read(stream, self._members[sha256])
            if hashlib.sha256(data).hexdigest() != sha256:
                raise ValueError(sha256)
        except (OSError, *_HOSTILE) as error:
            raise LibraryError(f"A picture in {self.name} is damaged, and was not used.") from error
        return data


def _check_directory(stream: BinaryIO, budget: ReadBudget) -> int:
    """Check the size of a zip directory, which `zipfile` reads entirely; return it in bytes."""
    size = stream.seek(0, 2)
    if not _END.size + _LOCATOR_BYTES < size <= MAX_BUNDLE_BYTES:
        raise ValueError(size)
    stream.seek(size - _END.size - _LOCATOR_BYTES)
    tail = stream.read(_END.size + _LOCATOR_BYTES)
    end = _END.unpack(tail[_LOCATOR_BYTES:])
    if end[0] != b"PK\5\6" or end[5] > _MAX_DIRECTORY_BYTES or end[4] > MAX_PICTURES + 1 or end[7]:
        raise ValueError(end)
    if tail.startswith(b"PK\6\7"):  # zip64 has another directory, which may be larger
        raise ValueError(tail)
    _check_budget(end[5], budget.bytes)
    _check_budget(end[4], budget.pictures + 1)
    return int(end[5])


def _members(stream: BinaryIO) -> dict[str, tuple[int, int]]:
    """Return offset and size of each member; the keys of originals are their digests."""
    members: dict[str, tuple[int, int]] = {}
    with zipfile.ZipFile(stream) as archive:
        for member in archive.infolist():
            match = _ORIGINAL.fullmatch(member.filename)
            name = match[1] if match else member.filename
            plain = member.compress_type == zipfile.ZIP_STORED and not member.flag_bits & 1
            if not plain or name in members or (match is None and name != REQUESTS):
                raise ValueError(member.filename)
            members[name] = (member.header_offset, member.file_size)
    # The bytes of overlapping members would be read many times.
    total = sum(size for _, size in members.values())
    if total > stream.seek(0, 2) or len(members) > MAX_PICTURES + 1:
        raise ValueError(total)
    return members


def _read(stream: BinaryIO, member: tuple[int, int]) -> bytes:
    """Return the bytes of an uncompressed member."""
    offset, size = member
    if size > max(MAX_DOWNLOAD_BYTES, MAX_LIST_BYTES):
        raise ValueError(size)
    stream.seek(offset)
    magic, name_length, extra_length = _LOCAL.unpack(stream.read(_LOCAL.size))
    if magic != b"PK\3\4":
        raise ValueError(magic)
    stream.seek(name_length + extra_length, 1)
    data = stream.read(size)
    if len(data) != size:
        raise ValueError(size)
    return data


def _line_of(entry: BundleEntry) -> str:
    """Return an entry as a line of `REQUESTS`."""
    request = entry.request
    values = {
        "prompt": request.prompt,
        "original_prompt": request.original_prompt,
        "model": request.model,
        "n": request.n,
        **{name: getattr(request, name) for name in _OPTIONS},
        "inputs": [{"sha256": image.sha256, "parent": image.parent} for image in request.inputs],
        "backend": entry.backend,
        "answered_by": entry.answered_by,
        "place": entry.place,
        "created": entry.created.timestamp(),
        "images": [
            {name: getattr(image, name) for name in _PICTURE_FIELDS} for image in entry.images
        ],
    }
    return json.dumps(values)


def _is_valid(entry: BundleEntry) -> bool:
    """Tell whether an entry can be written as a line and read back."""
    try:
        _entry(_object(_line_of(entry).encode()))
    except _HOSTILE:
        return False
    return True


def _object(line: bytes) -> dict[str, Any]:
    if len(line) > MAX_LINE_BYTES:
        raise ValueError(len(line))
    # Brackets outside strings become objects, which need a hundred times as much memory.
    unescaped = line.replace(b"\\\\", b"").replace(b'\\"', b"")
    outside = unescaped.split(b'"')[::2]
    if unescaped.count(b'"') > _MAX_QUOTES or sum(map(len, outside)) > _MAX_OUTSIDE:
        raise ValueError(len(line))
    values = json.loads(line, parse_int=_int)
    if not isinstance(values, dict):
        raise TypeError(values)
    return values


def _int(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:  # converting a long number takes quadratic time
        raise ValueError(len(digits))
    return int(digits)


def _entry(values: Mapping[str, Any]) -> BundleEntry:
    """Return the entry in a line; an unexpected value raises one of `_HOSTILE`."""
    backend, created = values["backend"], bounds.moment(values["created"])
    if backend not in {"xai", "local"} or created is None:
        raise ValueError(backend, values["created"])
    inputs = enumerate(_list_of(values["inputs"], MAX_INPUT_IMAGES), 1)
    request = ImageRequest(
        prompt=_prompt(values["prompt"]),
        original_prompt=_optional(values["original_prompt"], _prompt),
        model=_name(values["model"]),
        n=bounds.count(values["n"], 1, MAX_IMAGES),
        inputs=tuple(_input(number, image) for number, image in inputs),
        **{name: _optional(values[name], _name) for name in _OPTIONS},
    )
    images = _list_of(values["images"], _MAX_POSITION)
    return BundleEntry(
        request,
        backend,
        _name(values["answered_by"], empty=True),
        bounds.count(values["place"], 0, MAX_PLACE),
        created,
        tuple(_picture(request, created, image) for image in images),
    )


def _picture(request: ImageRequest, created: datetime, values: Mapping[str, Any]) -> Picture:
    sha256 = _optional(values["sha256"], bounds.digest)
    return Picture(
        request=request,
        created=created,
        position=bounds.count(values["position"], 0, _MAX_POSITION),
        status="moderated" if sha256 is None else "ok",
        error=WITHHELD if sha256 is None else None,
        model=_name(values["model"], empty=True),
        rewritten_prompt=_optional(values["rewritten_prompt"], _text),
        rewritten_by=_optional(values["rewritten_by"], _name),
        cost_usd=_optional(values["cost_usd"], _cost),
        sha256=sha256,
    )


def _input(number: int, values: Mapping[str, Any]) -> InputImage:
    parent = _optional(values["parent"], bounds.digest)
    image = InputImage(url="", sha256=bounds.digest(values["sha256"]), label="", parent=parent)
    return hide_label(number, image)


def _optional(value: Any, read: Any) -> Any:
    return None if value is None else read(value)


def _list_of(value: object, most: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > most:
        raise TypeError(value)
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    value.encode()  # raises for half a surrogate pair
    return value


def _prompt(value: object) -> str:
    """Return a prompt after checking that it is not empty and has no white space around it."""
    text = _text(value)
    if not text or text != text.strip():
        raise ValueError(text)
    return text


def _name(value: object, *, empty: bool = False) -> str:
    """Return a line of text after checking that it can be the value of an option."""
    text = _text(value)
    if not text.isprintable() or len(text) > bounds.MAX_NAME or not (text.strip() or empty):
        raise ValueError(text)
    return text


def _cost(value: object) -> float:
    usd = bounds.cost(value)
    if usd is None:
        raise ValueError(value)
    return usd


_Stamp: TypeAlias = tuple[int, int, int, int]
"""Device, inode, size and modification time of a file."""


class BundleFolder:
    """The bundles in the folders of a notebook. Thread-safe.

    The bundle with the notebook's name is searched first, then the others by folder and name. A
    bundle is read when it is first needed and again when it has changed; it is never written to.
    """

    def __init__(self) -> None:
        """Create an object that has read no folder yet."""
        self._lock = threading.Lock()
        self._listed: tuple[str | None, list[tuple[Path, int]]] | None = None
        self._files: list[Path] = []
        self._read: dict[Path, tuple[_Stamp, ReadBudget, Bundle | LibraryError]] = {}

    def read(
        self, folder: Path, stem: str | None, others: Sequence[Path] = ()
    ) -> tuple[list[Bundle], list[str]]:
        """Return the bundles of the folders, and a message for each rejected bundle.

        Args:
            folder: Folder of the notebook.
            stem: Name of the notebook without its suffix, if known.
            others: Folders to search after `folder`.
        """
        bundles: list[Bundle] = []
        rejections: list[str] = []
        left = FOLDER_BUDGET
        with self._lock, suppress(OSError):
            state = (stem, [*_stamps((folder, *others))])
            if state != self._listed:
                files = [file for each, _ in state[1] for file in _files_of(each)]
                files.sort(key=lambda file: file.stem != stem)
                self._files = files[:_MAX_FILES]
                self._read = {file: self._read[file] for file in self._files if file in self._read}
                self._listed = state
            for file in self._files:
                result = self._read_file(file, left)
                if isinstance(result, Bundle):
                    bundles.append(result)
                    left = ReadBudget(
                        left.bytes - result.weight.bytes, left.pictures - result.weight.pictures
                    )
                elif result is not None:
                    rejections.append(str(result))
        return bundles, rejections

    def _read_file(self, file: Path, left: ReadBudget) -> Bundle | LibraryError | None:
        """Return a bundle; or the error if it is rejected; or None if the file cannot be read.

        Args:
            file: Path of the bundle.
            left: Part of the folder's budget that is left for this bundle.
        """
        try:
            state = file.stat()
        except OSError:
            return None
        if not stat.S_ISREG(state.st_mode):  # reading a pipe could block
            return None
        stamp = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)
        known = self._read.get(file)
        if known is None or known[0] != stamp or not _still_holds(known[2], known[1], left):
            known = self._read[file] = (stamp, left, _open(file, left))
        return known[2]


def _stamps(folders: Iterable[Path]) -> Iterator[tuple[Path, int]]:
    """Yield each existing folder with the time of its last change."""
    for folder in folders:
        with suppress(OSError):
            yield folder, folder.stat().st_mtime_ns


def _files_of(folder: Path) -> list[Path]:
    """Return the bundles of a folder by name; none if it cannot be listed."""
    with suppress(OSError):
        files = (file for file in folder.iterdir() if file.suffix == SUFFIX)
        return sorted(files, key=lambda file: file.name)
    return []


def _still_holds(result: Bundle | LibraryError, before: ReadBudget, left: ReadBudget) -> bool:
    """Tell whether reading a bundle again, with another budget, would have the same result."""
    if isinstance(result, Bundle):
        return result.weight.bytes <= left.bytes and result.weight.pictures <= left.pictures
    grown = left.bytes > before.bytes or left.pictures > before.pictures
    return not (isinstance(result, TooLargeError) and grown)


def _open(file: Path, left: ReadBudget) -> Bundle | LibraryError:
    """Return a bundle, or the error if it is rejected."""
    most, name = ReadBudget(), bounds.line(file.name)
    try:
        return Bundle(file, ReadBudget(*map(min, left, most)))
    except TooLargeError:
        return TooLargeError(
            f"{name} was not used: the bundles of this folder list more than "
            f"{FOLDER_BUDGET.pictures:,} pictures or {FOLDER_BUDGET.bytes // MIB} MiB together, "
            f"or this one lists more than {most.pictures:,}. Move bundles to another folder, or "
            f'copy the pictures into your library with xai.unpack("{name}").'
        )
    except LibraryError as error:
        return LibraryError(str(error))  # without the traceback, which keeps the bytes in memory


def find_answers(
    bundles: list[Bundle],
    request: ImageRequest,
    place: int | None,
    missing: set[int],
    rewrite_model: str | None = None,
) -> tuple[list[Picture], list[str]]:
    """Return pictures that answer a request, and a message for each rejected picture.

    Args:
        bundles: The bundles, in order of precedence.
        request: The request, for any server.
        place: Place of the request; None for any place.
        missing: Positions to fill with pictures.
        rewrite_model: As in `Bundle.find`.
    """
    pictures: dict[int, Picture] = {}
    problems: list[str] = []
    for bundle in bundles:
        for image in bundle.find(request, place, rewrite_model):
            if image.position in missing and image.position not in pictures:
                try:
                    pictures[image.position] = open_picture(bundle, image, request)
                except LibraryError as error:
                    problems.append(str(error))
    return [pictures[position] for position in sorted(pictures)], problems


def open_picture(bundle: Bundle, image: Picture, request: ImageRequest) -> Picture:
    """Return a picture whose original can be read from its bundle.

    Args:
        bundle: The bundle.
        image: The picture as listed in the bundle.
        request: The request that the picture answers; it contains no text of the bundle.

    Raises:
        LibraryError: The original is damaged, is not an image, or has too many pixels.
    """
    rewritten = image.rewritten_prompt
    if not rewritten and image.request.original_prompt is not None:
        rewritten = image.request.prompt
    picture = replace(
        image, request=request, rewritten_prompt=rewritten, replayed=True, bundle=bundle.name
    )
    if image.sha256 is None:
        return picture
    data = bundle.read(image.sha256)
    kind, size = check_image(data, bundle.name)
    held = partial(_read_again, bundle, image.sha256)
    return replace(picture, media_type=kind, size=size, held=held)


def check_image(data: bytes, source: str) -> tuple[str, tuple[int, int] | None]:
    """Return media type and size of another person's original.

    Args:
        data: The bytes of the original.
        source: Name of the bundle or folder that it comes from.

    Raises:
        LibraryError: The original is not an image, or has too many pixels.
    """
    kind, size = media_type(data), dimensions(data)
    if kind is None or (size is not None and prod(size) > MAX_IMAGE_PIXELS):
        raise LibraryError(f"A picture in {source} is not an image, and was not used.")
    return kind, size


def _read_again(bundle: Bundle, sha256: str) -> bytes:
    """Read a checked original from the bundle again, instead of keeping it in memory."""
    try:
        return bundle.read(sha256)
    except LibraryError as error:
        raise MissingImageError(str(error)) from error


_Entries: TypeAlias = "dict[tuple[object, int], BundleEntry]"
"""Entries, keyed by content and place of the request."""
_Originals: TypeAlias = "dict[str, Picture]"
"""Pictures with an original, keyed by its digest."""


class Packed(NamedTuple):
    """The content of a bundle that was written; as text, a sentence about it.

    Attributes:
        file: The bundle.
        size: Its size in bytes.
        pictures: Number of pictures in it.
        added: Number of pictures that an existing bundle did not have; None for a new bundle.
    """

    file: Path
    size: int
    pictures: int
    added: int | None

    def __str__(self) -> str:
        pictures = f"{counted(self.pictures, 'picture')} ({file_size(self.size)})"
        # Packing the same pictures again says the same, so that two runs have equal outputs.
        new = f", {self.added:,} of them new" if self.added else ""
        return f"Packed {pictures} into {short_path(self.file)}{new}."


class BundleWriter:
    """Writes pictures of the library to bundles."""

    def __init__(self, database: Database, reader: PictureReader) -> None:
        """Use the library's database."""
        self._database = database
        self._reader = reader

    def pack(
        self,
        file: Path,
        *,
        is_notebook: Callable[[str], bool],
        ids: Collection[int] = (),
        answers: Iterable[tuple[Bundle, BundleEntry]] = (),
    ) -> Packed:
        """Write the pictures of a notebook to a bundle.

        Pictures of an existing bundle stay in it, unless the library has pictures for the same
        slots. The file is replaced atomically.

        Args:
            file: Path of the bundle.
            is_notebook: Returns whether a name in the library is this notebook's name.
            ids: Row ids of pictures that the notebook shows, made by any notebook.
            answers: Entries of other bundles that the notebook shows.

        Raises:
            LibraryError: There is nothing to pack, the library cannot be read, or the existing
                file is not a bundle.
            ExportError: The file cannot be written, or would be too large.
        """
        existing = Bundle(file) if file.exists() else None
        entries, originals = self._gather(is_notebook, ids)
        kept = () if existing is None else ((existing, entry) for entry in existing.entries)
        for bundle, entry in (*kept, *answers):
            _merge(entries, entry)
            for image in entry.images:
                if sha256 := image.sha256:
                    held = replace(image, held=partial(_read_again, bundle, sha256))
                    originals.setdefault(sha256, held)
        if not entries:
            raise LibraryError(
                "The library holds no picture of this notebook. Run its cells first, and pack with"
                " xai.pack() in the last one."
            )
        for key, entry in entries.items():
            images = tuple(sorted(entry.images, key=lambda image: image.position))
            entries[key] = replace(entry, images=images)
        in_order = sorted(entries.values(), key=lambda entry: (entry.created, entry.place))
        _write(file, in_order, originals)
        pictures = _pictures_of(in_order)
        added = None if existing is None else len(pictures - _pictures_of(existing.entries))
        return Packed(file, file.stat().st_size, len(pictures), added)

    def _gather(
        self, is_notebook: Callable[[str], bool], ids: Collection[int]
    ) -> tuple[_Entries, _Originals]:
        """Read a notebook's pictures from the library."""
        entries: _Entries = {}
        originals: _Originals = {}
        with self._database.reading() as connection:
            known = """SELECT notebook FROM requests WHERE notebook IS NOT NULL
                UNION SELECT notebook FROM shown"""
            names = [name for (name,) in connection.execute(known) if is_notebook(str(name))]
            shown = "SELECT image_id FROM shown WHERE notebook = ?"
            ids = {*ids, *(i for name in names for (i,) in connection.execute(shown, (name,)))}
            for row in _request_rows(connection, names, ids):
                # If another notebook made the request, pack only the pictures that this one shows.
                pictures = [
                    image
                    for image in self._reader.of_request(connection, row)
                    if image.status == "moderated" or (image.status == "ok" and image.sha256)
                    if row["notebook"] in names or image.id in ids
                ]
                originals |= {image.sha256: image for image in pictures if image.sha256}
                if pictures and _is_valid(entry := _entry_from(row, pictures)):
                    _merge(entries, entry)
        return entries, originals


def _request_rows(
    connection: sqlite3.Connection, names: Collection[str], ids: Collection[int]
) -> list[sqlite3.Row]:
    """Find rows of requests by the names of their notebooks and by the ids of their pictures.

    Requests to xAI come first, then requests to the local server; each group is newest first.
    """
    rows: dict[int, sqlite3.Row] = {}
    by_name = "SELECT * FROM requests WHERE notebook = ?"
    by_image = """SELECT requests.* FROM requests JOIN images ON request_id = requests.id
        WHERE images.id = ?"""
    for query, values in ((by_name, names), (by_image, ids)):
        for value in values:
            rows.update((row["id"], row) for row in connection.execute(query, (value,)))
    return sorted(rows.values(), key=lambda row: (row["backend"] == "xai", row["id"]), reverse=True)


def _entry_from(row: sqlite3.Row, pictures: list[Picture]) -> BundleEntry:
    """Convert the row of a request and its pictures to an entry of a bundle."""
    return BundleEntry(
        request=replace(pictures[0].request, user=None, share=None),
        backend=row["backend"],
        answered_by=_printable(row["answered_by"]),
        place=row["place"],
        created=pictures[0].created,
        images=tuple(
            replace(
                picture,
                model=_printable(picture.model),
                rewritten_by=picture.rewritten_by and _printable(picture.rewritten_by),
            )
            for picture in pictures
        ),
    )


def _pictures_of(entries: Iterable[BundleEntry]) -> set[tuple[object, ...]]:
    """Return the identities of the pictures in entries."""
    return {
        (entry.request.content, entry.place, image.position, image.sha256)
        for entry in entries
        for image in entry.images
    }


def _printable(text: str) -> str:
    """Replace the characters of a model's name that a bundle does not accept."""
    return "".join(char if char.isprintable() else "?" for char in bounds.line(str(text)))


def _merge(entries: _Entries, entry: BundleEntry) -> None:
    """Add an entry; its pictures fill only positions that have no picture yet."""
    key = (entry.request.content, entry.place)
    existing = entries.get(key)
    if existing is None:
        entries[key] = entry
        return
    positions = {image.position for image in existing.images}
    added = tuple(image for image in entry.images if image.position not in positions)
    entries[key] = replace(existing, images=existing.images + added)


def _write(file: Path, entries: list[BundleEntry], originals: _Originals) -> None:
    """Write a bundle; the same pictures result in the same bytes."""
    lines = "\n".join([json.dumps(HEADER), *map(_line_of, entries)]).encode()
    digests = sorted({image.sha256 for entry in entries for image in entry.images if image.sha256})
    count = max(len(entries), sum(len(entry.images) for entry in entries))
    if count > MAX_PICTURES or len(lines) > MAX_LIST_BYTES:
        raise ExportError(f"A bundle has {MAX_PICTURES:,} pictures and 64 MiB of requests at most.")

    limit = MAX_BUNDLE_BYTES - _MAX_HEADER_BYTES * len(digests)
    try:
        with (
            open_atomically(file, overwrite=True) as stream,
            zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED, allowZip64=False) as archive,
        ):
            archive.writestr(zipfile.ZipInfo(REQUESTS), lines)
            for sha256 in digests:
                data = originals[sha256].data  # its digest has been checked
                if stream.tell() + len(data) > limit:
                    raise ExportError("A bundle has 4 GB at most. Pack fewer pictures.")
                suffix = EXTENSIONS.get(originals[sha256].media_type or "", ".bin")
                archive.writestr(zipfile.ZipInfo(f"images/{sha256}{suffix}"), data)
    except ReplyError as error:
        raise LibraryError(str(error)) from error
    except OSError as error:
        if isinstance(error, ExportError):
            raise
        raise ExportError(f"{file.name} cannot be written: {error.strerror or error}.") from error
