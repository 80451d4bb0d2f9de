"""The bundles of a folder: which there are, and what they answer."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import stat
import struct
import threading
import uuid
import zipfile
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from xai_notebook.client import bounds
from xai_notebook.client.media import EXTENSIONS, dimensions, media_type
from xai_notebook.client.request import ImageRequest, InputImage
from xai_notebook.errors import ExportError, LibraryError, MissingImageError, ReplyError
from xai_notebook.library.records import pictures_from_rows, to_choose
from xai_notebook.pictures.picture import WITHHELD, Picture
from xai_notebook.settings import (
    MAX_DOWNLOAD_BYTES,
    MAX_IMAGE_PIXELS,
    MAX_IMAGES,
    MAX_INPUT_IMAGES,
    MIB,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime
    from pathlib import Path
    from typing import BinaryIO

__all__ = [
    "HEADER",
    "MAX_BUNDLE_BYTES",
    "MAX_LINE_BYTES",
    "MAX_LIST_BYTES",
    "MAX_PICTURES",
    "REQUESTS",
    "SUFFIX",
    "Bundle",
    "BundleEntry",
    "BundleFolder",
    "BundleWriter",
    "BundledPicture",
    "ReadBudget",
    "TooLargeError",
    "answers",
    "is_sound",
    "line_of",
    "member_of",
    "picture_of",
]

REQUESTS: Final = "requests.jsonl"
VERSION: Final = 1
HEADER: Final = {"format": "xai-notebook bundle", "version": VERSION}
"""The first line of `REQUESTS`; each line after it is a request."""
MAX_PICTURES: Final = 20_000
"""Pictures of a bundle, however often one original is named; requests; and originals."""
MAX_BUNDLE_BYTES: Final = 4096 * MIB - 1
"""What a zip can hold without extensions, which are refused."""
MAX_LIST_BYTES: Final = 64 * MIB
MAX_LINE_BYTES: Final = MIB
_MAX_DIRECTORY_BYTES: Final = 8 * MIB
_END: Final = struct.Struct("<4s4H2LH")
_LOCATOR_BYTES: Final = 20
_LOCAL: Final = struct.Struct("<4s22x2H")
_ORIGINAL: Final = re.compile(r"images/([0-9a-f]{64})\.[a-z]{3,4}")
_MAX_QUOTES: Final = 10_000
_MAX_OUTSIDE: Final = 50_000
"""Bytes of a line outside of its texts: a request of a hundred pictures has a fifth of that."""
_MAX_PLACE: Final = 1_000_000
_MAX_DIGITS: Final = 18
_MAX_POSITION: Final = 100
_OPTIONS: Final = ("aspect_ratio", "resolution", "quality", "rewrite_model")
_HOSTILE: Final = (
    ArithmeticError, LookupError, RecursionError, TypeError, ValueError, NotImplementedError,
    struct.error, zipfile.BadZipFile,
)  # fmt: skip
"""What reading something that is not a bundle can raise."""


class TooLargeError(LibraryError):
    """A bundle has more than may be read of it."""


class _TooMuchError(Exception):
    """The same, for whoever knows the name of the bundle."""


def _check(count: int, most: int) -> None:
    if count > most:
        raise _TooMuchError


class ReadBudget(NamedTuple):
    """How much of a bundle, or of several together, may be read into memory.

    Attributes:
        bytes: Of directories and lists of requests.
        pictures: As in `MAX_PICTURES`.
    """

    bytes: int = MAX_LIST_BYTES + _MAX_DIRECTORY_BYTES
    pictures: int = MAX_PICTURES


@dataclass(frozen=True, slots=True)
class BundledPicture:
    """A picture of a bundle, or that it was withheld.

    Attributes:
        position: Among the images of its request.
        model: As the server named it.
        rewritten_prompt: As in `Picture`, like the next two.
        rewritten_by: The chat model.
        cost_usd: In US dollars; None: not reported.
        sha256: Of the original; None: it was withheld by moderation.
    """

    position: int
    model: str
    rewritten_prompt: str | None
    rewritten_by: str | None
    cost_usd: float | None
    sha256: str | None


@dataclass(frozen=True, slots=True)
class BundleEntry:
    """A request of a bundle and its pictures.

    Attributes:
        request: Without a user; its inputs have a digest and no name.
        backend: `"xai"` or `"local"`.
        answered_by: The model as the server named it.
        place: How many equal requests came before it in a pass through its notebook.
        created: When the reply came, in UTC.
        images: By their positions.
    """

    request: ImageRequest
    backend: str
    answered_by: str
    place: int
    created: datetime
    images: tuple[BundledPicture, ...]


def member_of(sha256: str, media_type: str | None) -> str:
    """Return the name of an original in a bundle."""
    return f"images/{sha256}{EXTENSIONS.get(media_type or '', '.bin')}"


class Bundle:
    """An open bundle: its requests in memory, its originals where they are.

    The file is not kept open, so that it can be replaced at any time.

    Attributes:
        file: Where it is.
        name: Its file's, as it is shown.
        entries: Its requests, in the order of the file.
        weight: What it takes of an allowance.
    """

    def __init__(self, file: Path, allowance: ReadBudget = ReadBudget()) -> None:  # noqa: B008
        """Read the requests of a bundle.

        Args:
            file: Where it is.
            allowance: More is not read.

        Raises:
            TooLargeError: It has more than is allowed.
            LibraryError: It is damaged, not a bundle, or a newer version's.
        """
        self.file = file
        self.name = bounds.line(file.name)
        try:
            with file.open("rb") as stream:
                size = _check_directory(stream, allowance)
                self._members = _members(stream)
                where = self._list
                size += where[1]
                _check(size, allowance.bytes)
                lines = io.BytesIO(_read(stream, where))
            self.entries = tuple(self._entries(lines, allowance.pictures))
            pictures = sum(len(entry.images) for entry in self.entries)
            self.weight = ReadBudget(size, max(pictures, len(self.entries), len(self._members)))
        except _TooMuchError as error:
            raise TooLargeError(
                f"{self.name} lists more than {allowance.pictures:,} pictures or "
                f"{allowance.bytes // MIB} MiB of requests, and was not used."
            ) from error
        except OSError as error:
            raise LibraryError(f"{self.name} cannot be read: {error.strerror or error}.") from error
        except _HOSTILE as error:
            raise LibraryError(
                f"{self.name} is damaged or not a bundle, and was not used. Have it made anew with"
                " xai.pack()."
            ) from error
        self._by_question: dict[Any, list[BundleEntry]] = {}
        self._rewritten: dict[Any, list[BundleEntry]] = {}
        for entry in self.entries:
            request = entry.request
            self._by_question.setdefault(request.question, []).append(entry)
            if request.original_prompt is not None:
                written = replace(request, prompt=request.original_prompt)
                key = (written.question, request.rewrite_model)
                self._rewritten.setdefault(key, []).append(entry)

    @property
    def _list(self) -> tuple[int, int]:
        where, size = self._members[REQUESTS]
        if size > MAX_LIST_BYTES:
            raise ValueError(size)
        return where, size

    def _entries(self, lines: Iterable[bytes], most: int) -> Iterator[BundleEntry]:
        """Yield the requests of a list, and stop as soon as there are too many."""
        lines = iter(lines)
        _check_head(next(lines, b""))
        pictures = total = 0
        for requests, line in enumerate(lines, 1):
            entry = _entry(_object(line))
            pictures += len(entry.images)
            originals = (self._members.get(one.sha256 or "", (0, 0)) for one in entry.images)
            total += sum(size for _, size in originals)
            _check(max(requests, pictures), most)
            if total > MAX_BUNDLE_BYTES:  # one original that is named again and again
                raise ValueError(total)
            yield entry

    def rewrites_of(self, request: ImageRequest, model: str | None) -> set[str]:
        """Return the prompts that a chat model made of a request's, where this bundle was made.

        They tell whose pictures those are. They are for no other use: what is sent is never taken
        from a bundle.

        Args:
            request: As its user wrote it.
            model: The chat model.
        """
        found = self._rewritten.get((request.question, model), ())
        return {entry.request.prompt for entry in found}

    def find(
        self, request: ImageRequest, place: int | None, rewrite_model: str | None = None
    ) -> list[tuple[BundleEntry, BundledPicture]]:
        """Return the pictures that answer a request, the first of each position.

        Args:
            request: What is asked for.
            place: Of the request; None: wherever there are some.
            rewrite_model: The request is as its user wrote it, and wanted with the prompt
                rewritten by this chat model.
        """
        found: dict[int, tuple[BundleEntry, BundledPicture]] = {}
        if rewrite_model is None:
            entries = self._by_question.get(request.question, ())
        else:
            entries = self._rewritten.get((request.question, rewrite_model), ())
        for entry in entries:
            if place is None or entry.place == place:
                for image in entry.images:
                    found.setdefault(image.position, (entry, image))
        return [found[position] for position in sorted(found)]

    def read(self, sha256: str) -> bytes:
        """Return an original, its digest checked.

        Raises:
            LibraryError: It is damaged or not there.
        """
        try:
            with self.file.open("rb") as stream:
                data = _read(stream, self._members[sha256])
            if hashlib.sha256(data).hexdigest() != sha256:
                raise ValueError(sha256)
        except (OSError, *_HOSTILE) as error:
            raise LibraryError(f"A picture in {self.name} is damaged, and was not used.") from error
        return data


def _check_directory(stream: BinaryIO, allowance: ReadBudget) -> int:
    """Return the bytes of a zip's directory, which has to be in its place: it is read as a whole.

    Raises:
        _TooMuchError: It has more than is allowed.
        ValueError: It cannot be a bundle's.
    """
    size = stream.seek(0, 2)
    if not _END.size + _LOCATOR_BYTES < size <= MAX_BUNDLE_BYTES:
        raise ValueError(size)
    stream.seek(size - _END.size - _LOCATOR_BYTES)
    tail = stream.read(_END.size + _LOCATOR_BYTES)
    end = _END.unpack(tail[_LOCATOR_BYTES:])
    if end[0] != b"PK\5\6" or end[5] > _MAX_DIRECTORY_BYTES or end[4] > MAX_PICTURES + 1 or end[7]:
        raise ValueError(end)
    if tail.startswith(b"PK\6\7"):  # another directory, larger than it says here
        raise ValueError(tail)
    _check(end[5], allowance.bytes)
    _check(end[4], allowance.pictures + 1)
    return int(end[5])


def _members(stream: BinaryIO) -> dict[str, tuple[int, int]]:
    """Return where the header of each member is, and its size: originals by their digests."""
    found: dict[str, tuple[int, int]] = {}
    with zipfile.ZipFile(stream) as archive:
        for member in archive.infolist():
            match = _ORIGINAL.fullmatch(member.filename)
            name = match[1] if match else member.filename
            plain = member.compress_type == zipfile.ZIP_STORED and not member.flag_bits & 1
            if not plain or name in found or (match is None and name != REQUESTS):
                raise ValueError(member.filename)
            found[name] = (member.header_offset, member.file_size)
    # Members that overlap would be read, and checked, again and again.
    if sum(size for _, size in found.values()) > stream.seek(0, 2) or len(found) > MAX_PICTURES + 1:
        raise ValueError(len(found))
    return found


def _read(stream: BinaryIO, member: tuple[int, int]) -> bytes:
    """Return the bytes of a member, which are stored as they are."""
    where, size = member
    if size > max(MAX_DOWNLOAD_BYTES, MAX_LIST_BYTES):
        raise ValueError(size)
    stream.seek(where)
    magic, name, extra = _LOCAL.unpack(stream.read(_LOCAL.size))
    if magic != b"PK\3\4":
        raise ValueError(magic)
    stream.seek(name + extra, 1)
    data = stream.read(size)
    if len(data) != size:
        raise ValueError(size)
    return data


def line_of(entry: BundleEntry) -> str:
    """Return a request as a line of `REQUESTS`: all that a bundle says of it."""
    request = entry.request
    values = {
        "prompt": request.prompt,
        "original_prompt": request.original_prompt,
        "model": request.model,
        "n": request.n,
        **{name: getattr(request, name) for name in _OPTIONS},
        "inputs": [{"sha256": one.sha256, "parent": one.parent} for one in request.inputs],
        "backend": entry.backend,
        "answered_by": entry.answered_by,
        "place": entry.place,
        "created": entry.created.timestamp(),
        "images": [
            {name: getattr(i, name) for name in BundledPicture.__slots__} for i in entry.images
        ],
    }
    return json.dumps(values)


def is_sound(entry: BundleEntry) -> bool:
    """Tell whether a line of a bundle can say this, and be read back."""
    try:
        _entry(_object(line_of(entry).encode()))
    except _HOSTILE:
        return False
    return True


def _check_head(line: bytes) -> None:
    head = _object(line)
    if head.get("format") != HEADER["format"]:
        raise ValueError(head)
    if bounds.count(head["version"], 1, _MAX_PLACE) > VERSION:
        raise LibraryError(
            "The bundle was made by a newer xai-notebook. Upgrade: pip install -U xai-notebook"
        )


def _object(line: bytes) -> dict[str, Any]:
    if len(line) > MAX_LINE_BYTES:
        raise ValueError(len(line))
    # Brackets outside of texts become objects, which take a hundred times their bytes, and seconds.
    texts = line.replace(b"\\\\", b"").replace(b'\\"', b"")
    if texts.count(b'"') > _MAX_QUOTES or sum(map(len, texts.split(b'"')[::2])) > _MAX_OUTSIDE:
        raise ValueError(len(line))
    found = json.loads(line, parse_int=_int)
    if not isinstance(found, dict):
        raise TypeError(found)
    return found


def _int(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:  # long ones take quadratic time
        raise ValueError(len(digits))
    return int(digits)


def _entry(values: Mapping[str, Any]) -> BundleEntry:
    """Return a request from untrusted JSON; anything of the wrong kind raises."""
    inputs = values["inputs"]
    images = tuple(_shown(image) for image in _list_of(values["images"], _MAX_POSITION))
    if values["backend"] not in {"xai", "local"}:
        raise ValueError(values["backend"])
    request = ImageRequest(
        prompt=_prompt(values["prompt"]),
        original_prompt=_optional(values["original_prompt"], _prompt),
        model=_name(values["model"]),
        n=bounds.count(values["n"], 1, MAX_IMAGES),
        inputs=tuple(
            _input(number, one) for number, one in enumerate(_list_of(inputs, MAX_INPUT_IMAGES), 1)
        ),
        **{name: _optional(values[name], _name) for name in _OPTIONS},
    )
    created = bounds.moment(values["created"])
    if created is None:
        raise ValueError(values["created"])
    place = bounds.count(values["place"], 0, _MAX_PLACE)
    answered_by = _name(values["answered_by"], empty=True)
    return BundleEntry(request, values["backend"], answered_by, place, created, images)


def _shown(values: Mapping[str, Any]) -> BundledPicture:
    return BundledPicture(
        position=bounds.count(values["position"], 0, _MAX_POSITION),
        model=_name(values["model"], empty=True),
        rewritten_prompt=_optional(values["rewritten_prompt"], _text),
        rewritten_by=_optional(values["rewritten_by"], _name),
        cost_usd=_optional(values["cost_usd"], _cost),
        sha256=_optional(values["sha256"], bounds.digest),
    )


def _input(number: int, values: Mapping[str, Any]) -> InputImage:
    parent = _optional(values["parent"], bounds.digest)
    image = InputImage(url="", sha256=bounds.digest(values["sha256"]), label="", parent=parent)
    return to_choose(number, image)


def _optional(value: Any, read: Any) -> Any:
    return None if value is None else read(value)


def _list_of(value: object, most: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > most:
        raise TypeError(value)
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    value.encode()  # half a character cannot be stored or shown
    return value


def _prompt(value: object) -> str:
    """Return a prompt as requests have it: there is something, and no white space around it."""
    text = _text(value)
    if not text or text != text.strip():
        raise ValueError(text)
    return text


def _name(value: object, *, empty: bool = False) -> str:
    """Return a text of one line that can be an option's value."""
    text = _text(value)
    if not text.isprintable() or len(text) > bounds.MAX_NAME or not (text.strip() or empty):
        raise ValueError(text)
    return text


def _cost(value: object) -> float:
    usd = bounds.cost(value)
    if usd is None:
        raise ValueError(value)
    return usd


if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Collection, Iterable, Iterator
    from pathlib import Path

    from xai_notebook.library.storage.blobs import BlobStore
    from xai_notebook.library.storage.database import Database

    _Entries = dict[tuple[object, int], BundleEntry]
    """By what is asked and the place."""
    _Sources = dict[str, tuple[str, Callable[[], bytes]]]
    """By digest: the name in the bundle, and what reads an original."""


_HEADERS: Final = 300
"""Bytes that a zip adds to each original, at most."""


class BundleWriter:
    """Writes bundles from the library's pictures."""

    def __init__(self, database: Database, originals: BlobStore) -> None:
        """Read nothing yet."""
        self._database = database
        self._originals = originals

    def pack(
        self, file: Path, *, is_notebook: Callable[[str], bool], ids: Collection[int] = ()
    ) -> int:
        """Write the pictures of a notebook into a bundle; return how many it holds.

        What a bundle of that name holds already stays in it where the library has nothing newer.
        The file is there whole or not at all.

        Args:
            file: Where to.
            is_notebook: Tells whether the library's name of a notebook is this one's.
            ids: Images that it shows, whoever made them.

        Raises:
            LibraryError: There is nothing to pack, or the library cannot be read; what has the
                name is no bundle.
            ExportError: The file cannot be written, or would be too large.
        """
        existing = Bundle(file) if file.exists() else None
        entries, sources = self._gather(is_notebook, ids)
        if existing is not None:
            _keep(existing, entries, sources)
        if not entries:
            raise LibraryError(
                "The library holds no picture of this notebook. Run its cells first, and pack with"
                " xai.pack() in the last one."
            )
        kept = [replace(entry, images=_sorted(entry.images)) for entry in entries.values()]
        _write(file, sorted(kept, key=lambda one: (one.created, one.place)), sources)
        return sum(len(entry.images) for entry in kept)

    def _gather(
        self, is_notebook: Callable[[str], bool], ids: Collection[int]
    ) -> tuple[_Entries, _Sources]:
        """Return what the library has for a bundle."""
        entries: _Entries = {}
        sources: _Sources = {}
        with self._database.reading() as connection:
            names = _names(connection, is_notebook)
            ids = {*ids, *_shown_in(connection, names)}
            for row in self._rows(connection, names, ids):
                # Of a request that another notebook made, only what this one shows.
                found = [
                    picture
                    for picture in self._pictures(connection, row)
                    if row["notebook"] in names or picture.id in ids
                ]
                for picture in found:
                    if picture.sha256 is not None:
                        name = member_of(picture.sha256, picture.media_type)
                        sources[picture.sha256] = (name, _reader(picture))
                if found and is_sound(entry := _entry_from(row, found)):
                    _merge(entries, entry)
        return entries, sources

    def _rows(
        self,
        connection: sqlite3.Connection,
        names: Collection[str],
        ids: Collection[int],
    ) -> list[sqlite3.Row]:
        """Return the rows of the requests, the newest of each server first, xAI's before others."""
        rows: dict[int, sqlite3.Row] = {}
        of_name = "SELECT * FROM requests WHERE notebook = ?"
        of_image = """SELECT requests.* FROM requests JOIN images ON request_id = requests.id
            WHERE images.id = ?"""
        queries: tuple[tuple[str, Collection[object]], ...] = ((of_name, names), (of_image, ids))
        for query, values in queries:
            for value in values:
                rows.update((row["id"], row) for row in connection.execute(query, (value,)))
        return sorted(
            rows.values(), key=lambda row: (row["backend"] == "xai", row["id"]), reverse=True
        )

    def _pictures(self, connection: sqlite3.Connection, row: sqlite3.Row) -> Iterator[Picture]:
        query = (
            "SELECT * FROM images WHERE request_id = ? AND deleted IS NULL ORDER BY position, id"
        )
        for picture in pictures_from_rows(
            row, connection.execute(query, (row["id"],)), self._originals
        ):
            if picture.status == "moderated" or (picture.status == "ok" and picture.sha256):
                yield picture


def _names(connection: sqlite3.Connection, is_notebook: Callable[[str], bool]) -> list[str]:
    """Return what the library calls a notebook."""
    known = """SELECT notebook FROM requests WHERE notebook IS NOT NULL
        UNION SELECT notebook FROM shown"""
    return [name for (name,) in connection.execute(known) if is_notebook(str(name))]


def _shown_in(connection: sqlite3.Connection, names: Collection[str]) -> list[int]:
    """Return the `id` of each picture that a notebook showed and did not make."""
    query = "SELECT image_id FROM shown WHERE notebook = ?"
    return [i for name in names for (i,) in connection.execute(query, (name,))]


def _entry_from(row: sqlite3.Row, pictures: list[Picture]) -> BundleEntry:
    """Return what a bundle says of a request and its pictures."""
    return BundleEntry(
        request=replace(pictures[0].request, user=None, share=None),
        backend=row["backend"],
        answered_by=_line(row["answered_by"]),
        place=row["place"],
        created=pictures[0].created,
        images=tuple(
            BundledPicture(
                position=picture.position,
                model=_line(picture.model),
                rewritten_prompt=picture.rewritten_prompt,
                rewritten_by=picture.rewritten_by and _line(picture.rewritten_by),
                cost_usd=picture.cost_usd,
                sha256=picture.sha256,
            )
            for picture in pictures
        ),
    )


def _line(text: str) -> str:
    """Return a server's word as a bundle takes it."""
    return "".join(sign if sign.isprintable() else "?" for sign in bounds.line(str(text)))


def _keep(existing: Bundle, entries: _Entries, sources: _Sources) -> None:
    """Add what a bundle holds already."""
    for entry in existing.entries:
        _merge(entries, entry)
        for image in entry.images:
            if image.sha256 and image.sha256 not in sources:
                sources[image.sha256] = (member_of(image.sha256, None), _of(existing, image))


def _merge(entries: _Entries, entry: BundleEntry) -> None:
    """Add an entry: what is there for its place stays, and it fills the positions left."""
    key = (entry.request.question, entry.place)
    former = entries.get(key)
    if former is None:
        entries[key] = entry
        return
    there = {image.position for image in former.images}
    more = tuple(image for image in entry.images if image.position not in there)
    entries[key] = replace(former, images=former.images + more)


def _sorted(images: Iterable[BundledPicture]) -> tuple[BundledPicture, ...]:
    return tuple(sorted(images, key=lambda image: image.position))


def _reader(picture: Picture) -> Callable[[], bytes]:
    return lambda: picture.data


def _of(bundle: Bundle, image: BundledPicture) -> Callable[[], bytes]:
    return lambda: bundle.read(str(image.sha256))


def _write(file: Path, entries: list[BundleEntry], sources: _Sources) -> None:
    """Write a bundle, the same bytes for the same pictures.

    Raises:
        ExportError: It cannot be written, or would be too large.
        LibraryError: An original is damaged.
    """
    lines = "\n".join([json.dumps(HEADER), *map(line_of, entries)]).encode()
    wanted = {image.sha256 for entry in entries for image in entry.images if image.sha256}
    count = max(len(entries), sum(len(entry.images) for entry in entries))
    if count > MAX_PICTURES or len(lines) > MAX_LIST_BYTES:
        raise ExportError(f"A bundle holds {MAX_PICTURES:,} pictures at most.")
    temporary = file.with_name(f".xai-notebook-{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as stream:
            with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED, allowZip64=False) as archive:
                archive.writestr(zipfile.ZipInfo(REQUESTS), lines)
                for sha256 in sorted(wanted):
                    name, read = sources[sha256]
                    data = read()
                    if hashlib.sha256(data).hexdigest() != sha256:
                        raise LibraryError(f"The original {sha256[:12]}… is damaged: not packed.")
                    if stream.tell() + len(data) > MAX_BUNDLE_BYTES - _HEADERS * len(wanted):
                        raise ExportError("A bundle has 4 GB at most. Pack fewer pictures.")
                    archive.writestr(zipfile.ZipInfo(name), data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(file)
    except ReplyError as error:
        raise LibraryError(str(error)) from error
    except OSError as error:
        if isinstance(error, ExportError):
            raise
        raise ExportError(f"{file.name} cannot be written: {error.strerror or error}.") from error
    finally:
        temporary.unlink(missing_ok=True)


SUFFIX: Final = ".xai"
_MOST: Final = 32
"""Bundles of a folder that are read; a folder full of them is no notebook's."""
TOGETHER: Final = ReadBudget(MAX_LIST_BYTES, 2 * MAX_PICTURES)
"""What is read of all bundles of a folder together: a few seconds' work, and 100 MB of memory."""

_Stamp = tuple[int, int, int, int]


class BundleFolder:
    """The bundles beside a notebook. Safe to use from any thread.

    The one that is named like the notebook answers first, then the others by their names. A bundle
    is read when it is first needed and when it has changed; it is never written to.
    """

    def __init__(self) -> None:
        """Look into no folder yet."""
        self._lock = threading.Lock()
        self._listed: tuple[Path, str | None, int] | None = None
        self._files: list[Path] = []
        self._read: dict[Path, tuple[_Stamp, ReadBudget, Bundle | LibraryError]] = {}

    def of(self, folder: Path, stem: str | None) -> tuple[list[Bundle], list[str]]:
        """Return the bundles that answer in a folder, and why others do not, a sentence each.

        Args:
            folder: The notebook's.
            stem: The notebook's name without its ending, where known.
        """
        found = self._all(folder, stem)
        return (
            [one for one in found if isinstance(one, Bundle)],
            [str(one) for one in found if isinstance(one, LibraryError)],
        )

    def _all(self, folder: Path, stem: str | None) -> list[Bundle | LibraryError]:
        with self._lock, suppress(OSError):
            self._list(folder, stem)
            return list(self._opened())
        return []

    def _list(self, folder: Path, stem: str | None) -> None:
        """Look for bundles, if the folder has changed."""
        state = (folder, stem, folder.stat().st_mtime_ns)
        if state == self._listed:
            return
        files = [file for file in folder.iterdir() if file.suffix == SUFFIX]
        files.sort(key=lambda file: (file.stem != stem, file.name))
        self._files = files[:_MOST]
        self._read = {file: read for file, read in self._read.items() if file in self._files}
        self._listed = state

    def _opened(self) -> Iterator[Bundle | LibraryError]:
        """Yield the bundles, or why one is not used, as long as they are within the allowance."""
        left = TOGETHER
        for file in self._files:
            try:
                found = file.stat()
            except OSError:
                continue
            if not stat.S_ISREG(found.st_mode):  # a pipe would keep its reader waiting
                continue
            stamp = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
            known = self._read.get(file)
            if known is None or known[0] != stamp or not _still_holds(known[2], known[1], left):
                known = self._read[file] = (stamp, left, _opened(file, left))
            if isinstance(read := known[2], Bundle):
                left = ReadBudget(
                    left.bytes - read.weight.bytes, left.pictures - read.weight.pictures
                )
            yield read


def _still_holds(read: Bundle | LibraryError, before: ReadBudget, left: ReadBudget) -> bool:
    """Tell whether a bundle would be read, or refused, as it was before."""
    if isinstance(read, Bundle):
        return read.weight.bytes <= left.bytes and read.weight.pictures <= left.pictures
    grown = left.bytes > before.bytes or left.pictures > before.pictures
    return not (isinstance(read, TooLargeError) and grown)


def _opened(file: Path, left: ReadBudget) -> Bundle | LibraryError:
    """Return a bundle, or why it is not used."""
    most, name = ReadBudget(), bounds.line(file.name)
    try:
        return Bundle(file, ReadBudget(*map(min, left, most)))
    except TooLargeError:
        return TooLargeError(
            f"{name} was not used: the bundles of this folder list more than "
            f"{TOGETHER.pictures:,} pictures or {TOGETHER.bytes // MIB} MiB together, or it alone "
            f"more than {most.pictures:,}. Move some to another folder, or take them into your "
            f'library with xai.unpack("{name}").'
        )
    except LibraryError as error:
        return LibraryError(str(error))  # the frames of the first would keep what they have read


def answers(
    bundles: list[Bundle],
    request: ImageRequest,
    place: int | None,
    missing: set[int],
    rewrite_model: str | None = None,
) -> tuple[list[Picture], list[str]]:
    """Return what bundles have of a request, and what was wrong with the rest, a sentence each.

    Args:
        bundles: In the order in which they answer.
        request: What is asked for, whatever server is asked.
        place: Of the request; None: wherever there is something.
        missing: The positions that are wanted.
        rewrite_model: As in `Bundle.find`.
    """
    found: dict[int, Picture] = {}
    problems: list[str] = []
    for bundle in bundles:
        for entry, image in bundle.find(request, place, rewrite_model):
            if image.position in missing and image.position not in found:
                try:
                    found[image.position] = picture_of(bundle, entry, image, request)
                except LibraryError as error:
                    problems.append(str(error))
    return [found[position] for position in sorted(found)], problems


def picture_of(
    bundle: Bundle, entry: BundleEntry, image: BundledPicture, request: ImageRequest
) -> Picture:
    """Return a picture of a bundle.

    Args:
        bundle: Which has it.
        entry: The request it was made for.
        image: What the bundle says of it.
        request: The request it answers: none of the bundle's words are in it.

    Returns:
        The picture, with what the bundle says of it for its caption.

    Raises:
        LibraryError: Its original is damaged, or has more pixels than a picture may have.
    """
    told = Picture(
        request=request,
        position=image.position,
        model=image.model,
        rewritten_prompt=image.rewritten_prompt or _rewritten(entry),
        rewritten_by=image.rewritten_by,
        cost_usd=image.cost_usd,
        created=entry.created,
        replayed=True,
        bundle=bundle.name,
    )
    if image.sha256 is None:
        return replace(told, status="moderated", error=WITHHELD)
    held = partial(_read_again, bundle, image.sha256)
    data = bundle.read(image.sha256)
    size = dimensions(data)
    if media_type(data) is None or (size is not None and prod(size) > MAX_IMAGE_PIXELS):
        raise LibraryError(f"A picture in {bundle.name} is no image, and was not used.")
    return replace(told, sha256=image.sha256, media_type=media_type(data), size=size, held=held)


def _rewritten(entry: BundleEntry) -> str | None:
    """Return the prompt of a request if it is not the one that its user wrote."""
    return None if entry.request.original_prompt is None else entry.request.prompt


def _read_again(bundle: Bundle, sha256: str) -> bytes:
    """Return an original that was there and whole; a thousand of them need not be in memory.

    Raises:
        MissingImageError: It is not there any more.
    """
    try:
        return bundle.read(sha256)
    except LibraryError as error:
        raise MissingImageError(str(error)) from error
