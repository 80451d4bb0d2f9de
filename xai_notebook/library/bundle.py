"""A bundle: pictures of a notebook and what was asked for, in one file, read as foreign data.

The file is a zip whose members are stored and not compressed: `requests.jsonl`, and each original
under its digest. Not a database: SQLite runs what a file says, in views, triggers and schemas, and
its parser is C. Here nothing can be run; and since what is stored is as large in the file as in
memory, nothing can grow. Any tool can still open it.

Nothing in the file is trusted. Its directory is refused before it is read unless it is small, a
member unless its name is a digest's, a line unless each value is of its kind. No name in it becomes
a path, and no original is handed out unless it has the digest it is stored under. What was an input
image is known by its digest alone.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import struct
import zipfile
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from xai_notebook.client import bounds
from xai_notebook.client.media import EXTENSIONS
from xai_notebook.client.request import ImageRequest, InputImage
from xai_notebook.errors import LibraryError
from xai_notebook.library.records import to_choose
from xai_notebook.settings import MAX_DOWNLOAD_BYTES, MAX_IMAGES, MAX_INPUT_IMAGES, MIB

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
    "Allowance",
    "Bundle",
    "Entry",
    "Shown",
    "TooLargeError",
    "is_sound",
    "line_of",
    "member_of",
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


class Allowance(NamedTuple):
    """How much of a bundle, or of several together, may be read into memory.

    Attributes:
        bytes: Of directories and lists of requests.
        pictures: As in `MAX_PICTURES`.
    """

    bytes: int = MAX_LIST_BYTES + _MAX_DIRECTORY_BYTES
    pictures: int = MAX_PICTURES


@dataclass(frozen=True, slots=True)
class Shown:
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
class Entry:
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
    images: tuple[Shown, ...]


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

    def __init__(self, file: Path, allowance: Allowance = Allowance()) -> None:  # noqa: B008
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
            self.weight = Allowance(size, max(pictures, len(self.entries), len(self._members)))
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
        self._by_question: dict[Any, list[Entry]] = {}
        self._rewritten: dict[Any, list[Entry]] = {}
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

    def _entries(self, lines: Iterable[bytes], most: int) -> Iterator[Entry]:
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
    ) -> list[tuple[Entry, Shown]]:
        """Return the pictures that answer a request, the first of each position.

        Args:
            request: What is asked for.
            place: Of the request; None: wherever there are some.
            rewrite_model: The request is as its user wrote it, and wanted with the prompt
                rewritten by this chat model.
        """
        found: dict[int, tuple[Entry, Shown]] = {}
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


def _check_directory(stream: BinaryIO, allowance: Allowance) -> int:
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


def line_of(entry: Entry) -> str:
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
        "images": [{name: getattr(i, name) for name in Shown.__slots__} for i in entry.images],
    }
    return json.dumps(values)


def is_sound(entry: Entry) -> bool:
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


def _entry(values: Mapping[str, Any]) -> Entry:
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
    return Entry(request, values["backend"], answered_by, place, created, images)


def _shown(values: Mapping[str, Any]) -> Shown:
    return Shown(
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
