"""Rows of the library: convert replies to rows, and rows to pictures.

All readers (replay, history, catalog, jobs and bundles) use `PictureReader`. A row may come from a
damaged file or from another person's program, so every value is checked.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, get_args, get_type_hints

from xai_notebook.client import bounds
from xai_notebook.client.request import ImageRequest, InputImage
from xai_notebook.library.storage.schema import rows_in
from xai_notebook.pictures.magic_source import CHOOSE
from xai_notebook.pictures.picture import Picture, Status
from xai_notebook.settings import MAX_IMAGES

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Sequence

    from xai_notebook.library.storage.blobs import BlobStore
    from xai_notebook.library.storage.database import Database
    from xai_notebook.library.storage.spool import SpooledReply

DAMAGE: Final = (
    ArithmeticError, AttributeError, LookupError, OSError, RecursionError, TypeError, ValueError,
)  # fmt: skip
"""Errors that can be raised by reading a damaged row."""
_REQUEST_COLUMNS: Final = {
    name: kind for name, kind in get_type_hints(ImageRequest).items() if name != "inputs"
}
"""Columns that are fields of `ImageRequest`, and their types."""
MAX_PLACE: Final = 1_000_000
"""Maximum place or position in a row; a larger value means damage."""
MAX_NOTE: Final = 4000
"""Maximum number of characters of an error or a note."""
_MAX_DAYS: Final = 36_500
"""Maximum number of days for which a picture can be shared."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply to save.

    Attributes:
        request: The request as sent.
        pictures: The images of the reply.
        payloads: For each picture, its bytes, the URL to fetch it from, or None.
        fingerprint: `request.fingerprint(backend, host)`.
        backend: `"xai"` or `"local"`.
        host: The API host.
        notebook: Path of the notebook, if known.
        cost_usd: Cost of the request in US dollars; None if not reported.
        model: Name of the model in the reply.
        place: How often the notebook made this request before in the same pass; 0 the first time.
        spooled: The reply in the spool, with its random id.
        created: Creation time in seconds since 1970; None for the time of arrival.
        item: Row id of the job request that this reply answers. A request is answered once.
        error: Why the job request gets no image, for a reply with a cost but without pictures.
        redo: Whether each picture replaces the earlier picture at its position.
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


@dataclass(frozen=True, slots=True)
class SlotQuery:
    """A query for the stored images of a request; see `Library.look_up`.

    Attributes:
        fingerprint: `request.fingerprint(backend, host)`.
        place: As in `Reply`; None for any place, the newest first.
        count: Maximum number of images; None for all.
        after: Find only images with a larger `id`. Applies only with a `place`.
        notebook: Prefer the pictures that this notebook made or showed last at the place. None if
            unknown.
    """

    fingerprint: str
    place: int | None = 0
    count: int | None = None
    after: int = 0
    notebook: str | None = None


class StoredImages(NamedTuple):
    """The stored images of a request.

    Attributes:
        pictures: The images, ordered by position.
        elsewhere: Ids of the images that the notebook has neither made nor shown at this place.
    """

    pictures: list[Picture]
    elsewhere: frozenset[int] = frozenset()


class ImageSlot(NamedTuple):
    """The slot that an image fills: a request, its place and the position of the image.

    Attributes:
        fingerprint: As in `Reply`.
        place: As in `Reply`.
        position: Position among the images of the request.
        host: The API host.
        backend: `"xai"` or `"local"`.
        notebook: The notebook that made or showed the image; None if unknown.
    """

    fingerprint: str
    place: int
    position: int
    host: str
    backend: str
    notebook: str | None = None


class ShownImage(NamedTuple):
    """A picture that a notebook showed in a slot but did not make itself.

    Attributes:
        slot: The slot, with the notebook that showed the picture.
        image_id: Row id of the picture.
    """

    slot: ImageSlot
    image_id: int


def make_request_row(reply: Reply) -> dict[str, Any]:
    """Return the row of a request, with digests and labels of the input images, not their data."""
    request = reply.request
    inputs = [
        {
            "sha256": image.sha256,
            # A data URI is the user's image itself, which is not stored.
            "label": "data URI" if image.label.startswith("data:") else image.label,
            "parent": image.parent,
        }
        for image in request.inputs
    ]
    created = reply.created
    if created is None:
        created = time.time() if reply.spooled is None else reply.spooled.received
    return {
        **{name: getattr(request, name) for name in _REQUEST_COLUMNS},
        "fingerprint": reply.fingerprint,
        "backend": reply.backend,
        "host": reply.host,
        "answered_by": reply.model,
        "inputs": json.dumps(inputs),
        "notebook": reply.notebook,
        "cost_usd": reply.cost_usd,
        "start": min((picture.position for picture in reply.pictures), default=0),
        "created": created,
        "place": reply.place,
        "redo": reply.redo,
        "reply_id": reply.spooled and reply.spooled.id,
    }


def make_image_row(picture: Picture, request_id: int) -> dict[str, Any]:
    """Return the row of an image, without the columns that only its payload determines."""
    width, height = picture.size or (None, None)
    expires = picture.public_url_expires
    return {
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
        "public_url": picture.public_url,
        "public_url_expires": None if expires is None else expires.timestamp(),
    }


def find_saved_ids(
    connection: sqlite3.Connection, replies: Sequence[Reply]
) -> dict[int, dict[int, int]]:
    """Find replies that the library already holds, for example stored by another kernel.

    Args:
        connection: Connection in a transaction.
        replies: The replies to insert.

    Returns:
        For each stored reply, keyed by its index, the ids of its images, keyed by position.
    """
    indices = {reply.spooled.id: index for index, reply in enumerate(replies) if reply.spooled}
    query = "SELECT reply_id, id FROM requests WHERE reply_id IN ({})"
    requests: dict[int, int] = {
        indices[reply_id]: row_id for reply_id, row_id in rows_in(connection, query, [*indices])
    }
    for index, reply in enumerate(replies):
        row = None
        if reply.item is not None:
            query = "SELECT answer FROM job_requests WHERE id = ? AND answer IS NOT NULL"
            row = connection.execute(query, (reply.item,)).fetchone()
        elif index not in requests and reply.spooled and isinstance(reply.spooled.source, Path):
            # Earlier versions identified replies by the request and the time of arrival.
            query = """SELECT id FROM requests
                WHERE fingerprint = ? AND created = ? AND reply_id IS NULL"""
            key = (reply.fingerprint, reply.spooled.received)
            row = connection.execute(query, key).fetchone()
        if row is not None:
            requests[index] = row[0]
    query = "SELECT position, id FROM images WHERE request_id = ? ORDER BY id DESC"
    return {i: dict(connection.execute(query, (row,)).fetchall()) for i, row in requests.items()}


class PictureReader:
    """Converts rows to pictures. An image whose file is missing is left out.

    A damaged row becomes a picture with the status `"damaged"`. Pictures that may come from another
    person never name one of the user's files: a cell generated from them asks the user to choose
    the input images. Pending images from another person are left out.
    """

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        """Use the library's database and files."""
        self._database = database
        self._blobs = blobs

    def of_request(self, connection: sqlite3.Connection, row: sqlite3.Row) -> Iterator[Picture]:
        """Yield a request's pictures by position, without those in the trash."""
        query = (
            "SELECT * FROM images WHERE request_id = ? AND deleted IS NULL ORDER BY position, id"
        )
        return self.read(row, connection.execute(query, (row["id"],)))

    def of_image(self, connection: sqlite3.Connection, row: sqlite3.Row) -> Picture | None:
        """Return the picture of an image's row; None if its file is missing."""
        query = "SELECT * FROM requests WHERE id = ?"
        request = connection.execute(query, (row["request_id"],)).fetchone()
        return next(self.read(request, [row]), None)

    def read(
        self, request_row: sqlite3.Row | None, image_rows: Iterable[sqlite3.Row]
    ) -> Iterator[Picture]:
        """Yield the pictures for the row of a request and the rows of its images."""
        request, foreign = None, False
        with suppress(*DAMAGE):
            if request_row is None:
                raise LookupError
            values = {name: request_row[name] for name in _REQUEST_COLUMNS}
            foreign = self._database.is_foreign_row(request_row["id"])
            request = parse_request(values, json.loads(request_row["inputs"]))
            if foreign:
                inputs = tuple(map(hide_label, range(1, 100), request.inputs))
                request = replace(request, inputs=inputs)
        for row in image_rows:
            picture: Picture | None
            try:
                if request is None:
                    raise LookupError
                picture = self._picture(row, request)
            except DAMAGE:
                picture = Picture(
                    request=request or ImageRequest(prompt="", model=""),
                    status="damaged",
                    error=f"Row {row['id']} of the library is damaged. Other images are not.",
                    id=row["id"],
                )
            if picture is not None and not (foreign and picture.status == "pending"):
                yield picture

    def _picture(self, row: sqlite3.Row, request: ImageRequest) -> Picture | None:
        """Return the picture of an image's row; None if its file is missing."""
        file, media_type = None, _read_line(row, "media_type")
        if sha256 := row["sha256"]:
            file = self._blobs.path(sha256, media_type)
            if not file.is_file():
                return None
        if row["status"] not in get_args(Status):
            raise ValueError(row["status"])
        rewritten = _read_value(row, "rewritten_prompt", str, type(None))
        return Picture(
            request=request,
            position=bounds.count(row["position"], 0, MAX_PLACE),
            status=row["status"],
            model=bounds.line(row["model"]),
            rewritten_prompt=rewritten and bounds.text(rewritten),
            rewritten_by=_read_line(row, "rewritten_by"),
            cost_usd=bounds.cost(_read_value(row, "cost_usd", float, int, type(None))),
            media_type=media_type,
            size=bounds.size(
                *(_read_value(row, name, int, type(None)) for name in ("width", "height"))
            ),
            created=bounds.moment_near(row["created"]),
            error=_read_line(row, "error"),
            sha256=sha256,
            file=file,
            id=row["id"],
            notes=tuple(bounds.line(note, MAX_NOTE) for note in json.loads(row["notes"])),
            public_url=bounds.link(row["public_url"]),
            public_url_expires=bounds.moment(row["public_url_expires"]),
        )


def hide_label(number: int, image: InputImage) -> InputImage:
    """Replace the label of an input image, so that it names none of the user's files.

    Args:
        number: Number of the image among those of its request, from 1.
        image: The input image, with a label from another person.
    """
    return replace(image, label=f"{CHOOSE}image {number}")


def parse_request(values: dict[str, Any], inputs: Any = None) -> ImageRequest:
    """Return a stored request. Its input images have digests and labels, but no data to send.

    Args:
        values: Fields of the request.
        inputs: Its input images; None if `values` contains them.

    Raises:
        LookupError: A field is missing. `TypeError` and `ValueError` also mean a damaged row.
    """
    fields: dict[str, Any] = {}
    for name, kind in _REQUEST_COLUMNS.items():
        value = values[name]
        if not isinstance(value, kind):
            raise TypeError(name)
        fields[name] = bounds.text(value) if isinstance(value, str) else value
    bounds.count(fields["n"], 1, MAX_IMAGES)
    if not 0 <= (fields["share"] or 0) <= _MAX_DAYS:
        fields["share"] = None
    images = tuple(
        InputImage(
            url="",
            sha256=bounds.digest(image["sha256"]),
            label=bounds.text(image["label"]),
            parent=None if image.get("parent") is None else bounds.digest(image["parent"]),
        )
        for image in (values["inputs"] if inputs is None else inputs)
    )
    return ImageRequest(inputs=images, **fields)


def _read_line(row: sqlite3.Row, name: str) -> str | None:
    """Return a column that holds one line of text or NULL."""
    return None if row[name] is None else bounds.line(row[name], MAX_NOTE)


def _read_value(row: sqlite3.Row, name: str, *kinds: type) -> Any:
    """Return a column's value after checking its type; SQLite allows any type in any column."""
    value = row[name]
    if not isinstance(value, kinds):
        raise TypeError(name)
    return value
