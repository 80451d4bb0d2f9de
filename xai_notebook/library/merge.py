"""Merge another library into this one: its pictures, costs, stars and tags.

Separate because `store` saves replies of this process, whereas this module reads a library that may
be another person's and may be in use.

The other library is only read. Each of its replies keeps its random id, so a second merge finds the
same reply again. Replies without an id (of jobs, bundles and earlier versions) get one that is
derived from their row. Of another person's library, only pictures, their requests and costs are
taken, after the checks that bundles undergo; nothing in it determines what is sent.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import stat
from contextlib import suppress
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from xai_notebook.client import bounds
from xai_notebook.client.request import ImageRequest
from xai_notebook.errors import LibraryError, OptionError, ReplyError
from xai_notebook.library.bundles import check_image
from xai_notebook.library.catalog import Annotation, clean_tag, read_annotations
from xai_notebook.library.records import (
    DAMAGE,
    MAX_PLACE,
    PictureReader,
    Reply,
    hide_label,
    parse_request,
)
from xai_notebook.library.replies import decode_reply
from xai_notebook.library.storage.blobs import BlobStore
from xai_notebook.library.storage.database import FILE, Database
from xai_notebook.library.storage.schema import insert, rows_in
from xai_notebook.library.storage.spool import SpooledReply, SpoolReader
from xai_notebook.library.store import check_files
from xai_notebook.pictures.render.text import counted, dollars
from xai_notebook.settings import MIB

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from xai_notebook.library.store import Library
    from xai_notebook.pictures.picture import Picture
    from xai_notebook.settings import ApiKey

_MAX_BYTES: Final = 32 * MIB
"""Bytes of originals and texts at which the collected replies are saved."""
_MAX_REPLIES: Final = 256
"""Maximum number of requests that are read together."""
_MAX_SAVED: Final = 1024
"""Maximum number of replies that are saved together."""
_MAX_SPOOLED: Final = 32
"""Number of replies from the spool that are saved together; their bytes are in memory."""
_MAX_REWRITES: Final = 32
"""Number of rewritten prompts that are copied together; each may have megabytes."""
_MAX_IMAGES: Final = 100
"""Maximum number of images of a request; a reply of ours has at most 50."""
_MAX_TAGS: Final = 50
"""Maximum number of tags that a picture brings along."""
_MAX_TEXT: Final = 4096
"""Maximum characters of a notebook's path, of a reply's id, or of a URL of a pending image."""
_MAX_NAMED: Final = 5
"""Maximum number of damaged originals that a note names."""
_REQUEST_DEFAULTS: Final = {
    each.name: each.default for each in fields(ImageRequest) if each.default is not MISSING
}
_SHOWN: Final = frozenset({"ok", "moderated", "pending"})
"""Statuses of the images that `xai_notebook.merge` returns."""
_NUMBERS: Final = range(1, _MAX_IMAGES)
_DONE: Final = object()


@dataclass(slots=True)
class Merged:
    """What a merge has taken so far.

    Attributes:
        pictures: The new pictures, as stored.
        present: Number of pictures that this library had already.
        replies: Number of new replies.
        spooled: Number of new replies that only the spool of the other library had.
        size: Bytes of the copied originals.
        cost_usd: Reported costs of the new replies and rewrites, in US dollars.
        refused: Names of originals that are missing, damaged or not images.
        damaged: Ids of rows and spooled replies that cannot be read.
        untrusted: Number of rewritten prompts that were not taken.
        in_use: Whether another process of this computer uses the other library.
    """

    pictures: list[Picture] = field(default_factory=list)
    present: int = 0
    replies: int = 0
    spooled: int = 0
    size: int = 0
    cost_usd: float = 0.0
    refused: dict[str, str] = field(default_factory=dict)
    damaged: set[object] = field(default_factory=set)
    untrusted: int = 0
    in_use: bool = False

    def notes(self, name: str) -> list[str]:
        """Return one sentence for each fact that the user should know.

        Args:
            name: Name of the other library's folder.
        """
        notes = []
        if self.replies:
            copied = f"{counted(len(self.pictures), 'new picture')} from {name}"
            size = f"{self.size / 1e6:,.1f} MB"
            notes.append(f"{copied}: {size} copied, {dollars(self.cost_usd)} added to the costs.")
        if self.present:
            notes.append(f"{_were(self.present, 'picture', name)} here already.")
        if self.spooled:
            replies = "1 reply" if self.spooled == 1 else f"{self.spooled:,} replies"
            notes.append(f"Taken from the spool of {name}, not stored there yet: {replies}.")
        if self.refused:
            named = [*self.refused.values()][:_MAX_NAMED]
            more = len(self.refused) - len(named)
            listed = ", ".join(named) + (f" and {more:,} more" if more else "")
            notes.append(
                f"{_were(len(self.refused), 'original', name)} missing, damaged or not an image, "
                f"and not taken: {listed}. Copy the folder again, and merge again."
            )
        if self.damaged:
            notes.append(f"{_were(len(self.damaged), 'row', name)} damaged, and skipped.")
        if self.untrusted:
            notes.append(
                f"{_were(self.untrusted, 'rewritten prompt', name)} not taken, only the cost, "
                "because the folder was made on another computer. If it is yours, use it once as "
                "the library, run xai_notebook.trust_library(), and merge again."
            )
        if self.in_use:
            notes.append(
                f"Another process uses {name}. Merge it again when that process has ended."
            )
        return notes


@dataclass(slots=True)
class _Candidate:
    """A reply of the other library.

    Attributes:
        reply: The reply. Payloads of stored originals are None until they are read.
        id: Id of the reply.
        start: Lowest position of the reply's images when it arrived.
        marks: Stars and tags of its images, keyed by position.
        spooled: Whether only the spool holds the reply.
    """

    reply: Reply
    id: str
    start: int
    marks: dict[int, Annotation] = field(default_factory=dict)
    spooled: bool = False


@dataclass(slots=True)
class _Existing:
    """A reply that this library holds: its place, and id and status of its images by position."""

    place: int
    images: dict[int, tuple[int, str]] = field(default_factory=dict)
    digests: set[str] = field(default_factory=set)


class _Facts(NamedTuple):
    """Columns of an image that a `Picture` does not have, as they are in the other library."""

    status: object
    sha256: object
    url: object


class Merge:
    """Copies another library into this one, step by step; see `xai_notebook.merge`.

    Attributes:
        result: What has been taken so far.
    """

    def __init__(self, library: Library, home: Path, key: ApiKey | None) -> None:
        """Open the other library.

        Args:
            library: The library that receives the pictures.
            home: Folder of the other library.
            key: API key, which is removed from the texts of spooled replies.

        Raises:
            LibraryError: The folder is not a library, is this library, or cannot be read.
        """
        self.result = Merged()
        self._library = library
        self._key = key
        self._taken: set[str] = set()
        self._batch: list[tuple[_Candidate, Reply]] = []
        self._size = 0
        self._name = bounds.line(home.name) or "the other library"
        library.database.check_writable()
        file = home / FILE
        try:
            status = file.stat()
            if not stat.S_ISREG(status.st_mode):
                raise FileNotFoundError(errno.ENOENT, "not a file")
        except PermissionError as error:
            raise LibraryError(
                f"{home} cannot be read: it belongs to another user. Copy it as that user, and "
                "merge the copy."
            ) from error
        except (OSError, ValueError) as error:
            raise LibraryError(
                f"{home} is not a library: it has no {FILE}. Name the folder that another process "
                "or computer used as XAI_NOTEBOOK_HOME."
            ) from error
        if not status.st_size:
            raise LibraryError(
                f"{file} is empty, as after a copy that was cut off. Copy the folder again."
            )
        with suppress(OSError):
            if file.samefile(library.home / FILE):
                raise LibraryError(
                    f"{home} is the library in use, so there is nothing to merge. Name the folder "
                    "of another library."
                )
        self._database = Database(home, to_read=True)
        self._blobs = BlobStore(home / "images")
        self._reader = PictureReader(self._database, self._blobs)
        self._spool = SpoolReader(home / "spool")
        try:
            with self._database.reading() as connection:
                query = "SELECT ifnull(max(id), 0) FROM {}"
                self._last_request, self._last_rewrite = (
                    connection.execute(query.format(table)).fetchone()[0]
                    for table in ("requests", "rewrites")
                )
            self._foreign = self._database.foreign
            if self._foreign:
                check_files(f"{home}")
        except (LibraryError, OSError) as error:
            self.close()
            raise LibraryError(f"Nothing was merged. {error}") from error

    def close(self) -> None:
        """Close the other library."""
        self._database.close()

    def steps(self) -> Iterator[None]:
        """Copy everything that the other library holds now, one transaction per step.

        What a step has stored stays, whatever happens later.

        Raises:
            LibraryError: A library cannot be read or written, for example because a disk is full.
        """
        # The spool first: a living process moves its replies from the spool to the rows.
        candidates: list[_Candidate] = []
        size = 0
        for entry in self._spool:
            if (candidate := self._from_spool(*entry)) is not None:
                candidates.append(candidate)
                size += sum(len(each or "") for each in candidate.reply.payloads)
            if size >= _MAX_BYTES or len(candidates) >= _MAX_SPOOLED:
                yield from self._take(candidates)
                candidates, size = [], 0
        yield from self._take(candidates)
        self.result.in_use = self._spool.in_use
        after = 0
        while (ids := self._read_ids(after)) is not None:
            after, unknown = ids
            while unknown:
                count, found = self._read_requests(unknown)
                yield from self._take(found)
                del unknown[:count]
            yield
        self._save()
        yield from self._take_rewrites()

    # Reading the other library

    def _from_spool(
        self, spooled: SpooledReply, about: dict[str, Any], body: bytes
    ) -> _Candidate | None:
        """Return a reply of the spool; None if it is damaged or holds nothing to take."""
        try:
            if isinstance(fetched := about.get("fetched"), dict):
                if not self._foreign:  # the picture itself comes when it is stored there
                    reply_id, position = str(fetched["reply"]), int(fetched["position"])
                    self._library.complete_spooled(reply_id, position, body)
                return None
            values, answer = about["request"], about["answer"]
            request = parse_request(_REQUEST_DEFAULTS | values, values["inputs"])
            if self._foreign:
                inputs = tuple(map(hide_label, _NUMBERS, request.inputs))
                request = replace(request, inputs=inputs, share=None)
            missing = [bounds.count(each, 0, MAX_PLACE) for each in about["missing"][:_MAX_IMAGES]]
            created = bounds.moment_near(about["received"])
            spooled = SpooledReply(spooled.id[:_MAX_TEXT], created.timestamp())
            checked = self._checked({**answer, "redo": answer.get("redo", False)}, request)
            reply = asyncio.run(
                decode_reply(request, body, missing, self._key, spooled=spooled, **checked)
            )
            with self._database.reading() as connection:
                query = "SELECT 1 FROM requests WHERE reply_id = ?"
                stored = connection.execute(query, (spooled.id,)).fetchone() is not None
        except LibraryError:
            raise
        except Exception:  # noqa: BLE001  # one bad reply must not block those after it
            self.result.damaged.add(spooled.id)
            return None
        kept = [
            (replace(picture, created=created), payload)
            for picture, payload in zip(reply.pictures, reply.payloads, strict=True)
            if not (self._foreign and isinstance(payload, str))
        ]
        reply = replace(
            reply, pictures=[each for each, _ in kept], payloads=[each for _, each in kept]
        )
        return _Candidate(reply, spooled.id, min(missing, default=0), spooled=not stored)

    def _read_ids(self, after: int) -> tuple[int, list[int]] | None:
        """Look at the next requests; count and skip those that this library holds completely.

        Args:
            after: Row id of the last request that was looked at.

        Returns:
            Row id of the last request, and of those with something to take; None at the end.
        """
        query = """SELECT id, substr(reply_id, 1, ?) AS reply_id,
                (SELECT count(*) FROM images WHERE request_id = requests.id
                    AND deleted IS NULL) AS images,
                EXISTS (SELECT 1 FROM images LEFT JOIN tags ON image_id = images.id
                    WHERE request_id = requests.id AND (starred OR tag NOTNULL)) AS marked
            FROM requests WHERE id > ? AND id <= ? ORDER BY id LIMIT ?"""
        with self._database.reading() as connection:
            values = (_MAX_TEXT, after, self._last_request, _MAX_REPLIES)
            rows = connection.execute(query, values).fetchall()
        if not rows:
            return None
        query = """SELECT reply_id, (SELECT count(*) FROM images WHERE request_id = requests.id
                AND status <> 'pending') FROM requests WHERE reply_id IN ({})"""
        names = [row["reply_id"] for row in rows if isinstance(row["reply_id"], str)]
        with self._library.database.reading() as connection:
            complete = dict(map(tuple, rows_in(connection, query, names)))
        unknown = []
        for row in rows:
            if row["marked"] or complete.get(row["reply_id"], -1) < row["images"]:
                unknown.append(row["id"])
            elif row["reply_id"] not in self._taken:
                self.result.present += row["images"]
        return rows[-1]["id"], unknown

    def _read_requests(self, ids: Sequence[int]) -> tuple[int, list[_Candidate]]:
        """Return how many of the requests were read, at least one, and their replies."""
        found: list[_Candidate] = []
        count = size = 0
        with self._database.reading() as connection:
            for request_id in ids:
                count += 1
                query = "SELECT * FROM requests WHERE id = ?"
                row = connection.execute(query, (request_id,)).fetchone()
                candidate = None if row is None else self._from_row(connection, row)
                if candidate is not None:
                    found.append(candidate)
                    texts = (each.rewritten_prompt or "" for each in candidate.reply.pictures)
                    size += len(candidate.reply.request.prompt) + sum(map(len, texts))
                if size >= _MAX_BYTES:
                    break
        return count, found

    def _from_row(self, connection: sqlite3.Connection, row: sqlite3.Row) -> _Candidate | None:
        """Return the reply of a row, with the images that are not in the trash."""
        images = self._read_images(connection, row)
        try:
            answered_by, model = bounds.line(row["answered_by"]), bounds.line(row["model"])
            created = row["created"]
            if bounds.moment(created) is None:
                created = bounds.moment_near(created).timestamp()
            request = images[0][0].request if images else ImageRequest(prompt="", model=model)
            if self._foreign:  # a cell that is made of a picture must not publish new ones
                request = replace(request, share=None)
            checked = self._checked(row, request)
            reply_id = _reply_id(row)
        except DAMAGE:
            self.result.damaged.add(row["id"])
            return None
        reply = Reply(
            request,
            [picture for picture, _ in images],
            [url for _, url in images],
            cost_usd=bounds.cost(row["cost_usd"]),
            model=answered_by,
            spooled=SpooledReply(reply_id, float(created)),
            created=float(created),
            **checked,
        )
        start = row["start"] if type(row["start"]) is int else 0
        marks = read_annotations(connection, [picture.id or 0 for picture, _ in images])
        marked = {picture.position: _clean(marks[picture.id or 0]) for picture, _ in images}
        marked = {at: mark for at, mark in marked.items() if mark != Annotation()}
        return _Candidate(reply, reply_id, start, marked)

    def _read_images(
        self, connection: sqlite3.Connection, row: sqlite3.Row
    ) -> list[tuple[Picture, str | None]]:
        """Return the images of a request, each with its URL if it is pending."""
        facts: dict[int, _Facts] = {}
        query = """SELECT * FROM images WHERE request_id = ? AND deleted IS NULL
            ORDER BY position, id LIMIT ?"""

        def rows() -> Iterator[sqlite3.Row]:
            for image in connection.execute(query, (row["id"], _MAX_IMAGES)):
                facts[image["id"]] = _Facts(image["status"], image["sha256"], image["url"])
                yield image

        images: dict[int, tuple[Picture, str | None]] = {}
        read: set[int | None] = set()
        for picture in self._reader.read(row, rows()):
            read.add(picture.id)
            pending, url = picture.status == "pending", facts[picture.id or 0].url
            if picture.status == "damaged":
                self.result.damaged.add(row["id"])
            elif not pending:
                images.setdefault(picture.position, (picture, None))
            elif isinstance(url, str):
                images.setdefault(picture.position, (picture, url[:_MAX_TEXT]))
        for image_id, fact in facts.items():  # the reader leaves out images without a file
            if image_id not in read and fact.status == "ok" and isinstance(fact.sha256, str):
                self._refuse(fact.sha256, str(row["original_prompt"] or row["prompt"]))
        return list(images.values())

    def _checked(self, values: Any, request: ImageRequest) -> dict[str, Any]:
        """Return the fields of `Reply` in a row or in a spooled reply, after checking them.

        The fingerprint is computed again: a wrong one would answer another request.

        Raises:
            ValueError: A value is out of bounds.
        """
        backend, host, notebook = values["backend"], bounds.line(values["host"]), values["notebook"]
        if backend not in {"xai", "local"}:
            raise ValueError(backend)
        if not isinstance(notebook, str) or len(notebook) > _MAX_TEXT:
            notebook = None
        return {
            "backend": backend,
            "host": host,
            "notebook": notebook,
            "fingerprint": request.fingerprint(backend, host) if request.prompt else "",
            "place": bounds.count(values["place"], 0, MAX_PLACE),
            "redo": bool(values["redo"]),
        }

    def _original(self, picture: Picture) -> bytes | None:
        """Return a checked original; None if it is missing, damaged or not an image."""
        try:
            data = picture.data
            if self._foreign:
                check_image(data, self._name)
        except (LibraryError, ReplyError):
            self._refuse(picture.sha256 or "", picture.prompt)
            return None
        return data

    def _refuse(self, sha256: str, prompt: str) -> None:
        self.result.refused[sha256] = f'"{bounds.line(prompt, 60)}" ({sha256[:8]})'

    # Writing this library

    def _take(self, candidates: Sequence[_Candidate]) -> Iterator[None]:
        """Save the replies that this library lacks, and what it lacks of the others."""
        if any(each.id in self._taken for each in candidates):
            self._save()  # it may be one of the collected replies
        existing = self._find_existing(candidates)
        new = [each for each in candidates if each.id not in existing]
        first_places = self._find_free_places({each.reply.fingerprint for each in new})
        marks: dict[int, Annotation] = {}
        for candidate in candidates:
            reply, found = candidate.reply, existing.get(candidate.id)
            if found is not None:
                _add_marks(marks, candidate, {at: i for at, (i, _) in found.images.items()})
                loaded = self._complete(candidate, found)
            elif candidate.id in self._taken:  # only a damaged library has an id twice
                continue
            else:
                shift = first_places.get((reply.fingerprint, reply.notebook), 0)
                loaded = [self._load(reply, place=reply.place + shift)]
                self._taken.add(candidate.id)
            for each in loaded:
                if each is not None:
                    self._batch.append((candidate, each))
                    self._size += sum(len(payload or "") for payload in each.payloads)
            if self._size >= _MAX_BYTES or len(self._batch) >= _MAX_SAVED:
                self._save()
                yield
        if marks:
            self._library.annotations.add(marks)
        yield

    def _load(self, reply: Reply, *, place: int) -> Reply | None:
        """Return a reply with its originals; None if neither images nor a cost are left."""
        pictures: list[Picture] = []
        payloads: list[bytes | str | None] = []
        for picture, held in zip(reply.pictures, reply.payloads, strict=True):
            payload = held
            if payload is None and picture.status == "ok":
                payload = self._original(picture)
            elif self._foreign and isinstance(payload, bytes):
                try:
                    check_image(payload, self._name)
                except LibraryError:
                    self._refuse(hashlib.sha256(payload).hexdigest(), picture.prompt)
                    payload = None
            if payload is not None or picture.status != "ok":
                pictures.append(picture)
                payloads.append(payload)
        if pictures:
            return replace(reply, pictures=pictures, payloads=payloads, place=place)
        if not reply.cost_usd:
            return None
        # Only the cost is left, for example because all images are in the trash.
        request = ImageRequest(prompt="", model=reply.request.model)
        return replace(reply, request=request, fingerprint="", pictures=[], payloads=[], place=0)

    def _complete(self, candidate: _Candidate, found: _Existing) -> list[Reply | None]:
        """Return replies with the images that an earlier merge could not take.

        Each has an id of its own and no cost, because the reply itself is stored with its cost.
        """
        reply = candidate.reply
        extra: list[Reply | None] = []
        for picture, payload in zip(reply.pictures, reply.payloads, strict=True):
            image_id, status = found.images.get(picture.position, (None, ""))
            if image_id is None:
                derived = _digest([candidate.id, picture.position])
                part = replace(
                    reply,
                    pictures=[picture],
                    payloads=[payload],
                    spooled=SpooledReply(derived, reply.spooled.received if reply.spooled else 0.0),
                    cost_usd=0.0,
                )
                loaded = self._load(part, place=found.place)
                extra.append(loaded)
            elif status == "pending" and picture.status == "ok":
                data = payload if isinstance(payload, bytes) else self._original(picture)
                if data is not None:
                    self._library.complete(replace(picture, id=image_id), data)
            elif candidate.id not in self._taken:
                self.result.present += 1
        return extra

    def _save(self) -> None:
        """Save the collected replies in one transaction, and then stars and tags of their images.

        Raises:
            LibraryError: Some of the replies cannot be saved.
        """
        batch, self._batch, self._size = self._batch, [], 0
        if not batch:
            return
        failures: list[LibraryError] = []
        marks: dict[int, Annotation] = {}
        saved: Sequence[list[Picture] | LibraryError]
        try:
            saved = self._library.add_replies([reply for _, reply in batch])
            self._library.settle()
        except LibraryError as error:
            saved = [error] * len(batch)
        result = self.result
        for (candidate, reply), pictures in zip(batch, saved, strict=True):
            if isinstance(pictures, LibraryError):
                failures.append(pictures)
                continue
            result.pictures += [picture for picture in pictures if picture.status in _SHOWN]
            result.replies += 1
            result.size += sum(len(each) for each in reply.payloads if isinstance(each, bytes))
            result.cost_usd += reply.cost_usd or 0.0
            result.spooled += candidate.spooled
            ids = {picture.position: picture.id for picture in pictures if picture.id is not None}
            _add_marks(marks, candidate, ids)
        if failures:
            raise LibraryError(
                f"{failures[0]} {counted(len(result.pictures), 'new picture')} of {self._name} "
                "are stored. Merge the folder again for the rest."
            ) from failures[0]
        if marks:
            self._library.annotations.add(marks)

    def _find_existing(self, candidates: Sequence[_Candidate]) -> dict[str, _Existing]:
        """Find the replies that this library holds, keyed by id."""
        rows: dict[int, _Existing] = {}
        found: dict[str, _Existing] = {}
        with self._library.database.reading() as connection:
            by_id = "SELECT reply_id, id, place FROM requests WHERE reply_id IN ({})"
            for reply_id, row_id, place in rows_in(connection, by_id, [c.id for c in candidates]):
                found[reply_id] = rows[row_id] = _Existing(place)
            unnamed = {
                each.id: self._find_unnamed(connection, each)
                for each in candidates
                if each.id not in found
            }
            found |= {key: existing for key, existing in unnamed.items() if existing is not None}
            _add_images(connection, rows)
            # Images that an earlier merge could not take at first have replies of their own.
            parts = {
                _digest([candidate.id, picture.position]): found[candidate.id]
                for candidate in candidates
                if candidate.id in found
                for picture in candidate.reply.pictures
                if picture.position not in found[candidate.id].images
            }
            extra = {
                row_id: parts[reply_id]
                for reply_id, row_id, _ in rows_in(connection, by_id, [*parts])
            }
            _add_images(connection, extra)
        return found

    @staticmethod
    def _find_unnamed(connection: sqlite3.Connection, candidate: _Candidate) -> _Existing | None:
        """Find the same reply among those without an id, from which this one may be a copy."""
        reply = candidate.reply
        query = """SELECT id, place FROM requests WHERE fingerprint = ? AND created = ?
            AND start = ? AND cost_usd IS ? AND reply_id IS NULL"""
        values = (reply.fingerprint, reply.created, candidate.start, reply.cost_usd)
        digests = {picture.sha256 for picture in reply.pictures if picture.sha256}
        for row_id, place in connection.execute(query, values).fetchall():
            existing = _Existing(place)
            _add_images(connection, {row_id: existing})
            if digests <= existing.digests:
                return existing
        return None

    def _find_free_places(self, fingerprints: Collection[str]) -> dict[tuple[str, str | None], int]:
        """Return the first places after those of this library's own replies.

        Pictures of a merged notebook must not replace those that a notebook of the same name shows
        here. Therefore they get later places.

        Returns:
            The first free place, keyed by fingerprint and notebook; 0 is left out.
        """
        query = """SELECT reply_id, fingerprint, created, start, place, notebook FROM requests
            WHERE fingerprint IN ({})"""
        keys = [each for each in fingerprints if each]
        with self._library.database.reading() as connection:
            rows = list(rows_in(connection, query, keys))
        if not rows:
            return {}
        with self._database.reading() as connection:
            theirs = list(rows_in(connection, query, keys))
        ids = self._taken.union(map(_reply_id, theirs))
        copies = {(row["fingerprint"], row["created"], row["start"]) for row in theirs}
        places: dict[tuple[str, str | None], int] = {}
        for row in rows:
            unnamed = row["reply_id"] is None
            key = (row["fingerprint"], row["created"], row["start"])
            if not (row["reply_id"] in ids or (unnamed and key in copies)):
                group = row["fingerprint"], row["notebook"]
                places[group] = max(places.get(group, 0), row["place"] + 1)
        return places

    def _take_rewrites(self) -> Iterator[None]:
        """Copy the costs of rewritten prompts, and the prompts of the user's own library."""
        after = 0
        query = """SELECT id, substr(key, 1, 65) AS key, substr(original, 1, ?) AS original,
                substr(text, 1, ?) AS text, substr(model, 1, ?) AS model, backend, cost_usd,
                created FROM rewrites WHERE id > ? AND id <= ? ORDER BY id LIMIT ?"""
        limits = (bounds.MAX_TEXT, bounds.MAX_TEXT, bounds.MAX_NAME)
        while True:
            with self._database.reading() as connection:
                values = (*limits, after, self._last_rewrite, _MAX_REWRITES)
                rows = connection.execute(query, values).fetchall()
            if not rows:
                return
            after = rows[-1]["id"]
            rewrites = [each for row in rows if (each := self._rewrite(row)) is not None]
            with self._library.database.writing() as connection:
                for rewrite in rewrites:
                    self._add_rewrite(connection, rewrite)
            yield

    def _rewrite(self, row: sqlite3.Row) -> dict[str, Any] | None:
        """Return the checked columns of a rewritten prompt; None if the row is damaged."""
        try:
            if row["backend"] not in {"xai", "local"} or bounds.moment(row["created"]) is None:
                raise ValueError(row["backend"])
            return {
                "key": bounds.digest(row["key"]),
                "original": bounds.text(row["original"]),
                "text": bounds.text(row["text"]),
                "model": bounds.line(row["model"]),
                "backend": row["backend"],
                "cost_usd": bounds.cost(row["cost_usd"]),
                "created": float(row["created"]),
            }
        except DAMAGE:
            self.result.damaged.add(("rewrite", row["id"]))
            return None

    def _add_rewrite(self, connection: sqlite3.Connection, rewrite: dict[str, Any]) -> None:
        """Insert a rewritten prompt, without its text if this library has or trusts none."""
        key, text = rewrite["key"], rewrite["text"]
        query = "SELECT id, text FROM rewrites WHERE key = ? AND created = ?"
        existing = connection.execute(query, (key, rewrite["created"])).fetchone()
        query = "SELECT 1 FROM rewrites WHERE key = ? AND text <> ''"
        known = connection.execute(query, (key,)).fetchone() is not None
        if self._foreign and text and not known:
            self.result.untrusted += 1
        usable = bool(text) and not known and not self._foreign
        if existing is None:
            if not usable:
                rewrite = {**rewrite, "original": "", "text": ""}
            insert(connection, "rewrites", rewrite)
            self.result.cost_usd += rewrite["cost_usd"] or 0.0
        elif usable:
            connection.execute(
                "UPDATE rewrites SET original = ?, text = ? WHERE id = ?",
                (rewrite["original"], text, existing["id"]),
            )


def _add_marks(marks: dict[int, Annotation], candidate: _Candidate, ids: Mapping[int, int]) -> None:
    """Add the stars and tags of a reply's images to `marks`, keyed by row id in this library."""
    marks |= {ids[at]: mark for at, mark in candidate.marks.items() if at in ids}


def _clean(mark: Annotation) -> Annotation:
    """Return a picture's star and its valid tags."""
    tags = []
    for tag in mark.tags[:_MAX_TAGS]:
        with suppress(OptionError):
            tags.append(clean_tag(tag))
    return Annotation(mark.starred, tuple(tags))


def _were(number: int, noun: str, name: str) -> str:
    """Return the beginning of a sentence, such as `2 pictures of worker were`."""
    return f"{counted(number, noun)} of {name} {'was' if number == 1 else 'were'}"


def _add_images(connection: sqlite3.Connection, rows: Mapping[int, _Existing]) -> None:
    """Add the images of requests to what is known of them, keyed by the requests' row ids."""
    query = "SELECT request_id, position, id, status, sha256 FROM images WHERE request_id IN ({})"
    for request_id, position, image_id, status, sha256 in rows_in(connection, query, [*rows]):
        rows[request_id].images[position] = (image_id, status)
        rows[request_id].digests.add(sha256)


def _reply_id(row: sqlite3.Row) -> str:
    """Return the id of a row's reply; if it has none, one that is derived from the row."""
    if isinstance(row["reply_id"], str):
        return row["reply_id"][:_MAX_TEXT]
    return _digest([row["fingerprint"], row["created"], row["place"], row["start"]])


def _digest(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts, default=repr).encode()).hexdigest()[:32]


async def merge(library: Library, home: Path, key: ApiKey | None) -> Merged:
    """Copy another library into `library`; cancelling stops after the current transaction.

    Args:
        library: The library that receives the pictures.
        home: Folder of the other library.
        key: API key, which is removed from the texts of spooled replies.

    Raises:
        LibraryError: The folder is not a library, or a library cannot be read or written.
    """
    merging = await asyncio.to_thread(Merge, library, home, key)
    try:
        steps = merging.steps()
        while await asyncio.to_thread(next, steps, _DONE) is not _DONE:
            pass
    finally:
        await asyncio.to_thread(merging.close)
    return merging.result
