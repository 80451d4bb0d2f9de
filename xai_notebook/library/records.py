"""Rows of the library to and from what users hold."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, get_args, get_type_hints

from xai_notebook.client import bounds
from xai_notebook.client.media import dimensions, media_type
from xai_notebook.client.request import ImageRequest, InputImage
from xai_notebook.pictures.magic_source import CHOOSE
from xai_notebook.pictures.picture import Picture, Status
from xai_notebook.settings import MAX_IMAGES

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Sequence

    from xai_notebook.library.storage.blobs import BlobStore
    from xai_notebook.library.storage.spool import SpooledReply

__all__ = [
    "DAMAGE",
    "MAX_NOTE",
    "MAX_PLACE",
    "Reply",
    "ShownImage",
    "Slot",
    "SlotQuery",
    "StoredImages",
    "insert",
    "insert_rows",
    "link_values",
    "picture_values",
    "pictures_from_rows",
    "place_of",
    "request_from",
    "request_values",
    "saved_ids",
    "storable_row",
    "to_choose",
]

DAMAGE: Final = (
    ArithmeticError, AttributeError, LookupError, OSError, RecursionError, TypeError, ValueError,
)  # fmt: skip
"""What reading a row that is not as we wrote it can raise."""
_PARAMETERS: Final = 999
"""Parameters that every SQLite accepts in one statement."""
_KEYS: Final = 500
"""Keys of one query."""
_COLUMNS: Final = {
    name: kind for name, kind in get_type_hints(ImageRequest).items() if name != "inputs"
}
"""The columns of a request are its fields."""
MAX_PLACE: Final = 1_000_000
"""Images of a request, made anew or beyond those asked for included."""
MAX_NOTE: Final = 4000
"""Characters of an error or a note."""
_MAX_DAYS: Final = 36_500
"""Days for which a picture is shared, at most."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply to save.

    Attributes:
        request: What was asked.
        pictures: What came.
        payloads: For each picture its bytes; or the URL it can still be fetched from; or None.
        fingerprint: `request.fingerprint(backend, host)`.
        backend: `"xai"` or `"local"`.
        host: The API host.
        notebook: Path of the notebook, where known.
        cost_usd: Of the whole request, in US dollars; None: not reported.
        model: As the server named it.
        place: How many equal requests came before it in a pass through its notebook.
        spooled: The reply as it came, on disk, with its random id.
        created: When it was made, in seconds since 1970; None: when it came.
        item: Row of the request of a job that it answers, and answers only once.
        error: Why that request gets no image, though the reply has a cost. It has no pictures then.
        redo: Its pictures take the place of others, one by one.
    """

    request: ImageRequest
    pictures: Sequence[Picture]
    payloads: Sequence[bytes | str | None]
    fingerprint: str
    backend: str
    host: str
    notebook: str | None
    cost_usd: float | None
    model: str
    place: int = 0
    spooled: SpooledReply | None = None
    created: float | None = None
    item: int | None = None
    error: str | None = None
    redo: bool = False

    def pairs(self) -> list[tuple[bytes | str | None, Status]]:
        """Return each payload with the status of its image."""
        return [
            (payload, picture.status)
            for picture, payload in zip(self.pictures, self.payloads, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class SlotQuery:
    """What `Library.find_each` looks for.

    Attributes:
        fingerprint: `request.fingerprint(backend, host)`.
        place: As in `Reply`; None: wherever there is something, the newest first.
        count: How many images at most; None: all.
        after: Only images with a larger `id`; with a place.
        notebook: Which asks: what it showed last at the place answers first. None: unknown.
    """

    fingerprint: str
    place: int | None = 0
    count: int | None = None
    after: int = 0
    notebook: str | None = None


class StoredImages(NamedTuple):
    """The stored images of a request.

    Attributes:
        pictures: In the order of their positions.
        elsewhere: The `id` of each that the notebook has neither made nor shown at this place.
    """

    pictures: list[Picture]
    elsewhere: frozenset[int] = frozenset()


class ShownImage(NamedTuple):
    """A picture that a notebook showed at a place and did not make itself.

    Attributes:
        notebook: As in `Reply`.
        fingerprint: As in `Reply`.
        place: As in `Reply`.
        position: Among the images of the request.
        image_id: Of the picture.
    """

    notebook: str
    fingerprint: str
    place: int
    position: int
    image_id: int


class Slot(NamedTuple):
    """Where an image belongs: what was asked of whom, the k-th time, and which of its images.

    Attributes:
        fingerprint: As in `Reply`.
        place: As in `Reply`.
        position: Among the images of the request.
        host: The API host.
        backend: `"xai"` or `"local"`.
        notebook: Which made the image; None: unknown.
    """

    fingerprint: str
    place: int
    position: int
    host: str
    backend: str
    notebook: str | None = None


def storable(value: str | None) -> str | None:
    """Return text that SQLite can store: names of files may hold bytes that are no UTF-8."""
    return None if value is None else value.encode("utf-8", "replace").decode()


def storable_row(values: dict[str, Any]) -> dict[str, Any]:
    """Return a row whose texts SQLite can store."""
    return {name: storable(v) if isinstance(v, str) else v for name, v in values.items()}


def insert(connection: sqlite3.Connection, table: str, values: dict[str, Any]) -> int:
    """Insert a row and return its id."""
    names = ", ".join(values)
    marks = ", ".join(f":{name}" for name in values)
    statement = f"INSERT INTO {table} ({names}) VALUES ({marks})"  # noqa: S608  # names are ours
    return int(connection.execute(statement, values).lastrowid or 0)


def insert_rows(connection: sqlite3.Connection, table: str, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows that have the same columns, many with one statement.

    Every statement lets go of the interpreter and waits for it: one for each row costs more than
    the rows themselves.
    """
    if not rows:
        return
    names = list(rows[0])
    one = f"({', '.join('?' * len(names))})"
    most = _PARAMETERS // len(names)
    for start in range(0, len(rows), most):
        some = rows[start : start + most]
        values = [row[name] for row in some for name in names]
        marks = ", ".join([one] * len(some))
        statement = f"INSERT INTO {table} ({', '.join(names)}) VALUES {marks}"  # noqa: S608  # names are ours
        connection.execute(statement, values)


def rows_in(
    connection: sqlite3.Connection, query: str, keys: Sequence[str], *before: object
) -> Iterator[Any]:
    """Yield the rows of a query with `IN ({})`, asked for some keys at a time.

    Args:
        connection: Inside a transaction.
        query: With a place for the keys, which come last.
        keys: What is looked for.
        *before: Parameters that come before the keys.
    """
    for start in range(0, len(keys), _KEYS):
        some = keys[start : start + _KEYS]
        marks = ", ".join("?" * len(some))
        yield from connection.execute(query.format(marks), (*before, *some))


def request_values(reply: Reply) -> dict[str, Any]:
    """Return the row of a request. Input images are known by their digests alone."""
    request = reply.request
    inputs = [
        # A data URI is the image itself, which is the user's and not ours to keep.
        {
            "sha256": image.sha256,
            "label": "data URI" if image.label.startswith("data:") else image.label,
            "parent": image.parent,
        }
        for image in request.inputs
    ]
    row = {
        **{name: getattr(request, name) for name in _COLUMNS},
        "fingerprint": reply.fingerprint,
        "backend": reply.backend,
        "host": reply.host,
        "answered_by": reply.model,
        "inputs": json.dumps(inputs),
        "notebook": reply.notebook,
        "cost_usd": reply.cost_usd,
        "start": min((picture.position for picture in reply.pictures), default=0),
        "created": _created(reply),
        "place": reply.place,
        "redo": reply.redo,
        "reply_id": reply.spooled and reply.spooled.id,
    }
    return storable_row(row)


def picture_values(picture: Picture, request_id: int) -> dict[str, Any]:
    """Return the row of an image, but for where its bytes are."""
    width, height = picture.size or (None, None)
    row = {
        "request_id": request_id,
        "position": picture.position,
        "status": picture.status,
        "model": picture.model,
        "rewritten_prompt": picture.rewritten_prompt,
        "rewritten_by": picture.rewritten_by,
        "cost_usd": picture.cost_usd,
        "sha256": picture.sha256,
        "media_type": picture.media_type,
        "width": width,
        "height": height,
        "error": picture.error,
        "notes": json.dumps(picture.notes),
        "created": picture.created.timestamp(),
        "url": None,
        "size": None,
        **link_values(picture),
    }
    return storable_row(row)


def link_values(picture: Picture) -> dict[str, Any]:
    """Return the columns of an image's public link."""
    expires = picture.public_url_expires
    return {
        "public_url": picture.public_url,
        "public_url_expires": None if expires is None else expires.timestamp(),
    }


def _created(reply: Reply) -> float:
    if reply.created is not None:
        return reply.created
    return time.time() if reply.spooled is None else reply.spooled.received


def saved_ids(
    connection: sqlite3.Connection, replies: Sequence[Reply]
) -> dict[int, dict[int, int]]:
    """Return the replies that are in the library by now, as another kernel may have put them in.

    Args:
        connection: With an open transaction.
        replies: About to be put in.

    Returns:
        For each such reply, by its index: the ids of its images by their positions.
    """
    ids = {one.spooled.id: at for at, one in enumerate(replies) if one.spooled is not None}
    query = "SELECT reply_id, id FROM requests WHERE reply_id IN ({})"
    requests: dict[int, int] = {
        ids[reply_id]: row_id for reply_id, row_id in rows_in(connection, query, [*ids])
    }
    for at, reply in enumerate(replies):
        found = None
        if reply.item is not None:
            query = "SELECT answer FROM job_requests WHERE id = ? AND answer IS NOT NULL"
            found = connection.execute(query, (reply.item,)).fetchone()
        elif at not in requests and reply.spooled is not None and reply.spooled.file is not None:
            # An earlier version's: it told replies by what was asked and when the answer came.
            query = """SELECT id FROM requests
                WHERE fingerprint = ? AND created = ? AND reply_id IS NULL"""
            key = (reply.fingerprint, reply.spooled.received)
            found = connection.execute(query, key).fetchone()
        if found is not None:
            requests[at] = found[0]
    query = "SELECT position, id FROM images WHERE request_id = ? ORDER BY id DESC"
    return {at: dict(connection.execute(query, (row,)).fetchall()) for at, row in requests.items()}


def place_of(payload: bytes | str | None, status: Status, sha256: str | None) -> dict[str, Any]:
    """Return the columns that say what became of a payload, which has been written if it is one."""
    if payload is None:
        return {"status": "missing" if status == "ok" else status}
    if isinstance(payload, str):
        return {"status": "pending", "url": payload}
    place: dict[str, Any] = {
        "sha256": sha256,
        "media_type": media_type(payload),
        "size": len(payload),
        "status": "ok",
        "url": None,
        "error": None,
    }
    if size := dimensions(payload):
        place |= {"width": size[0], "height": size[1]}
    return place


def pictures_from_rows(
    request_row: sqlite3.Row | None,
    rows: Iterable[sqlite3.Row],
    originals: BlobStore,
    *,
    strangers: bool = False,
) -> Iterator[Picture]:
    """Yield a request's images, without those whose file has vanished.

    What a damaged row held is not guessed: its image is a card that says so.

    Args:
        request_row: Of the request.
        rows: Of its images.
        originals: Where their bytes are.
        strangers: They may be somebody else's. A cell made of them then asks for a choice of input
            images, and an image that is still to be fetched is left out.
    """
    request = None
    with contextlib.suppress(*DAMAGE):
        request = _request_from_row(request_row)
        if strangers:
            request = replace(request, inputs=tuple(map(to_choose, range(1, 100), request.inputs)))
    for row in rows:
        picture: Picture | None
        try:
            if request is None:
                raise LookupError
            picture = _picture_from_row(row, request, originals)
        except DAMAGE:
            picture = Picture(
                request=request or ImageRequest(prompt="", model=""),
                status="damaged",
                error=f"Row {row['id']} of the library is damaged. Its other images are not.",
                id=row["id"],
            )
        if picture is not None and not (strangers and picture.status == "pending"):
            yield picture


def to_choose(number: int, image: InputImage) -> InputImage:
    """Return an input image under a name that names no file of the user's.

    Args:
        number: Of the image among those of its request, from 1.
        image: As somebody else says it.
    """
    return replace(image, label=f"{CHOOSE}image {number}")


def _request_from_row(row: sqlite3.Row | None) -> ImageRequest:
    """Return the request of a row."""
    if row is None:
        raise LookupError
    return request_from({name: row[name] for name in _COLUMNS}, json.loads(row["inputs"]))


def request_from(values: dict[str, Any], inputs: Any = None) -> ImageRequest:
    """Return a request that was stored; of its inputs there are digests and names, nothing to send.

    Args:
        values: Its fields.
        inputs: Its input images, where they are not among the fields.

    Raises:
        LookupError: Something is missing; as `TypeError` and `ValueError`, it is damaged.
    """
    fields: dict[str, Any] = {}
    for name, kind in _COLUMNS.items():
        value = values[name]
        if not isinstance(value, kind):
            raise TypeError(name)
        fields[name] = bounds.text(value) if isinstance(value, str) else value
    bounds.count(fields["n"], 1, MAX_IMAGES)
    if not 0 <= (fields["share"] or 0) <= _MAX_DAYS:
        fields["share"] = None
    sources = tuple(
        InputImage(
            url="",
            sha256=bounds.digest(image["sha256"]),
            label=bounds.text(image["label"]),
            parent=None if image.get("parent") is None else bounds.digest(image["parent"]),
        )
        for image in (values["inputs"] if inputs is None else inputs)
    )
    return ImageRequest(inputs=sources, **fields)


def _picture_from_row(
    row: sqlite3.Row, request: ImageRequest, originals: BlobStore
) -> Picture | None:
    """Return the image of a row; None when its file has vanished."""
    file, media_type = None, _line(row, "media_type")
    if sha256 := row["sha256"]:
        file = originals.path(sha256, media_type)
        if not file.is_file():
            return None
    if row["status"] not in get_args(Status):
        raise ValueError(row["status"])
    rewritten = _value(row, "rewritten_prompt", str, type(None))
    return Picture(
        request=request,
        position=bounds.count(row["position"], 0, MAX_PLACE),
        status=row["status"],
        model=bounds.line(row["model"]),
        rewritten_prompt=rewritten and bounds.text(rewritten),
        rewritten_by=_line(row, "rewritten_by"),
        cost_usd=bounds.cost(_value(row, "cost_usd", float, int, type(None))),
        media_type=media_type,
        size=bounds.size(*(_value(row, name, int, type(None)) for name in ("width", "height"))),
        created=bounds.moment_near(row["created"]),
        error=_line(row, "error"),
        sha256=sha256,
        file=file,
        id=row["id"],
        notes=tuple(bounds.line(note, MAX_NOTE) for note in json.loads(row["notes"])),
        public_url=bounds.link(row["public_url"]),
        public_url_expires=bounds.moment(row["public_url_expires"]),
    )


def _line(row: sqlite3.Row, name: str) -> str | None:
    """Return a column that holds a text of one line, or nothing."""
    return None if row[name] is None else bounds.line(row[name], MAX_NOTE)


def _value(row: sqlite3.Row, name: str, *kinds: type) -> Any:
    """Return a column's value; SQLite itself holds any kind of value in any column.

    Raises:
        TypeError: It is of none of the kinds.
    """
    value = row[name]
    if not isinstance(value, kinds):
        raise TypeError(name)
    return value
