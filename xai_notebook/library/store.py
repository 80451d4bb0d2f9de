"""`Library`: every image ever received, for replay, history and the ledger."""

from __future__ import annotations

import sys
import time
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from xai_notebook.client.media import media_type
from xai_notebook.errors import LibraryError
from xai_notebook.library.database import Database
from xai_notebook.library.ledger import costs
from xai_notebook.library.originals import Originals
from xai_notebook.library.records import (
    CostRow,
    Reply,
    Wanted,
    cleaned,
    image_values,
    images_from_rows,
    insert,
    place_of,
    request_values,
)
from xai_notebook.library.search import index_request, matching_requests
from xai_notebook.library.spool import Spool

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from xai_notebook.pictures.results import GeneratedImage, ImageRequest, Status

__all__ = ["Library"]

_ANSWERS: Final = frozenset({"ok", "moderated", "pending"})
"""What was paid for and answers the same request again; the rest is asked for again."""
_ANYWHERE: Final = "SELECT * FROM requests WHERE fingerprint = :fingerprint ORDER BY id DESC"
_AT_PLACE: Final = _ANYWHERE.replace("ORDER", "AND place = :place ORDER")


class Library:
    """Every image ever received: one SQLite file, and the original bytes as files.

    Every method blocks for milliseconds and may be called from any thread, in several kernels at
    once, and after a fork. Files are written outside the database's lock, so that threads do the
    slow part side by side.

    Attributes:
        home: Its folder.
        spool: Replies on disk that are not in the library yet.
        overdue: Some of them belong to nobody who is putting them in now.

    Raises:
        LibraryError: From every method: the library is damaged, or cannot be read or written.
    """

    def __init__(self, home: Path) -> None:
        """Use `Library.open`; this opens nothing yet."""
        self.home = home
        self._database = Database(home)
        self._originals = Originals(home / "images")
        self.spool = Spool(home / "spool")
        self.overdue = False

    @classmethod
    def open(cls, home: Path) -> Library:
        """Open the library in `home`; create what is missing, migrate what is old.

        Nothing that cannot be read is ever deleted or overwritten. One that cannot be written to,
        such as a course's, is opened for reading.

        Raises:
            LibraryError: The home cannot be created or written to, or what is in it is damaged,
                another program's, or a newer version's.
        """
        library = cls(home)
        with library._database.reading():
            pass
        if not library.read_only:
            with library._database.translated():
                library._originals.prepare()
            library.overdue = not library.spool.is_empty()
        return library

    @property
    def read_only(self) -> bool:
        """Whether it answers, but cannot keep anything."""
        return self._database.read_only

    def close(self) -> None:
        """Close the file. Any later call raises `LibraryError`."""
        self._database.close()

    # Saving

    def add_reply(
        self,
        request: ImageRequest,
        images: Sequence[GeneratedImage],
        payloads: Sequence[bytes | str | None],
        **answer: Any,
    ) -> None:
        """Save a reply. When this returns, it outlives a kill and a power cut.

        Args:
            request: What was asked.
            images: What came.
            payloads: As in `Reply`.
            **answer: The other fields of `Reply`.
        """
        (error,) = self.add_replies([Reply(request, images, payloads, **answer)])
        if error is not None:
            raise error

    def add_replies(self, replies: Sequence[Reply]) -> list[LibraryError | None]:
        """Save replies in one transaction. When this returns, they outlive a kill and a power cut.

        The files are durable before the rows that name them: there is never a row without its
        file. Each image gets its `id`, `sha256`, `file`, `media_type` and `size`, and no longer
        holds its bytes. Images of a reply that could not be saved are not changed. Saving what has
        been saved, by whichever kernel, changes nothing.

        Returns:
            For each reply None, or why it could not be saved.
        """
        try:
            errors = self._add(replies)
        except LibraryError:
            self.overdue = True
            raise
        if any(errors):
            self.overdue = True
        for reply, error in zip(replies, errors, strict=True):
            if error is None and reply.spooled is not None:
                self.spool.remove(reply.spooled)
        return errors

    def _add(self, replies: Sequence[Reply]) -> list[LibraryError | None]:
        places = self._save([reply.pairs() for reply in replies])
        saved = [
            (reply, place)
            for reply, place in zip(replies, places, strict=True)
            if not isinstance(place, LibraryError)
        ]
        with self._database.writing() as connection:
            ids = [self._insert(connection, *each) for each in saved]
        for (reply, place), image_ids in zip(saved, ids, strict=True):
            for image, columns, image_id in zip(reply.images, place, image_ids, strict=True):
                image.id = image_id
                self._settle(image, columns)
        return [place if isinstance(place, LibraryError) else None for place in places]

    def _insert(
        self, connection: sqlite3.Connection, reply: Reply, places: list[dict[str, Any]]
    ) -> list[int]:
        """Insert the rows of a reply and return the ids of its images."""
        row = request_values(reply)
        if reply.spooled is not None and (ids := self._saved(connection, row)):
            return ids
        row_id = insert(connection, "requests", row)
        if self._database.indexed:
            rewritten = (image.rewritten_prompt for image in reply.images)
            index_request(connection, {**row, "id": row_id}, rewritten)
        return [
            insert(connection, "images", {**image_values(image, row_id), **place})
            for image, place in zip(reply.images, places, strict=True)
        ]

    def _saved(self, connection: sqlite3.Connection, row: dict[str, Any]) -> list[int]:
        """Return the ids of the images of a reply that another kernel has put in meanwhile."""
        query = """SELECT images.id FROM requests JOIN images ON request_id = requests.id
            WHERE fingerprint = ? AND requests.created = ? ORDER BY images.id"""
        return [i for (i,) in connection.execute(query, (row["fingerprint"], row["created"]))]

    def _save(
        self, groups: Sequence[Sequence[tuple[bytes | str | None, Status]]]
    ) -> list[list[dict[str, Any]] | LibraryError]:
        """Make payloads durable; return, for each group, the columns that say what became of each.

        A group of which one cannot be saved is its error instead.
        """
        self._database.check_writable()
        contents = [
            (payload, media_type(payload))
            for group in groups
            for payload, _ in group
            if isinstance(payload, bytes)
        ]
        written = iter(self._originals.write(contents) if contents else ())
        found: list[list[dict[str, Any]] | LibraryError] = []
        for group in groups:
            places = []
            failure: LibraryError | None = None
            for payload, status in group:
                result = next(written) if isinstance(payload, bytes) else None
                if isinstance(result, OSError):
                    failure = self._database.explain(result)
                else:
                    places.append(place_of(payload, status, result))
            found.append(failure or places)
        return found

    def _settle(self, image: GeneratedImage, place: dict[str, Any]) -> None:
        """Tell an image where its bytes are now."""
        image.status = place["status"]
        if sha256 := place.get("sha256"):
            image.sha256, image.media_type = sha256, place["media_type"]
            image.file = self._originals.path(sha256, image.media_type)
            image.size = (place["width"], place["height"]) if "width" in place else image.size
            image.error = None
            image.cached = None

    def complete(self, image: GeneratedImage, data: bytes) -> None:
        """Save the bytes of a pending image, as durably as `add_reply` does."""
        (found,) = self._save([[(data, "ok")]])
        if isinstance(found, LibraryError):
            raise found
        (place,) = found
        columns = ", ".join(f"{name} = :{name}" for name in place)
        statement = f"UPDATE images SET {columns} WHERE id = :id"  # noqa: S608  # names are ours
        with self._database.writing() as connection:
            connection.execute(statement, {**place, "id": image.id})
        self._settle(image, place)

    def fail(self, image: GeneratedImage, error: str) -> None:
        """Give a pending image up: it no longer answers its request.

        Args:
            image: From `add_reply` or `find`.
            error: Why, in a line.
        """
        statement = "UPDATE images SET status = 'failed', url = NULL, error = ? WHERE id = ?"
        with self._database.writing() as connection:
            connection.execute(statement, (error, image.id))
        image.status, image.error = "failed", error

    # Replay

    def find(self, fingerprint: str, **wanted: Any) -> list[GeneratedImage]:
        """Return the stored images of a request; see `Wanted` and `find_each`."""
        (found,) = self.find_each([Wanted(fingerprint, **wanted)])
        return found

    def find_each(self, wanted: Sequence[Wanted]) -> list[list[GeneratedImage]]:
        """Return for each request its stored images, in the order they answer it again.

        For each index it is the image that was stored last at the place: a shorter answer leaves
        the rest of a longer one before it, so that a request for more images is filled up with
        what is there. An index that nothing was stored for is left out.

        Pictures count, and so do moderated images (they were paid for) and pending ones (their
        URL is still to be fetched: `url_of`); missing and failed ones don't. A row whose file has
        vanished is skipped, and comes back with the file.
        """
        with self._database.reading() as connection:
            return [self._find(connection, each) for each in wanted]

    def _find(self, connection: sqlite3.Connection, wanted: Wanted) -> list[GeneratedImage]:
        """Return the images of one request, those of the place stored at last first."""
        found: dict[int, dict[int, GeneratedImage]] = {}
        count = sys.maxsize if wanted.count is None else wanted.count
        query = _ANYWHERE if wanted.place is None else _AT_PLACE
        parameters = {"fingerprint": wanted.fingerprint, "place": wanted.place}
        for row in connection.execute(query, parameters):
            at_place = found.setdefault(row["place"], {})
            images = list(self._images_of(connection, row))
            if any((image.id or 0) <= wanted.after for image in images):
                break  # the others are older still
            for image in images:
                if image.status in _ANSWERS and (image.index < count or wanted.place is None):
                    at_place.setdefault(image.index, image)
            if wanted.place is not None and len(at_place) == count:
                break
        images = [at_place[index] for at_place in found.values() for index in sorted(at_place)]
        return images[:count]

    def newest(self) -> int:
        """Return the `id` of the image stored last: every later one has a larger one."""
        with self._database.reading() as connection:
            (found,) = _row(connection, "SELECT max(id) FROM images")
        return found or 0

    def url_of(self, image: GeneratedImage) -> str | None:
        """Return where a pending image can be fetched, or None when it is not pending."""
        with self._database.reading() as connection:
            row = _row(connection, "SELECT url FROM images WHERE id = ?", image.id)
        return None if row is None else row["url"]

    def _images_of(
        self, connection: sqlite3.Connection, row: sqlite3.Row
    ) -> Iterator[GeneratedImage]:
        """Yield a request's images in order, without those whose file has vanished."""
        query = "SELECT * FROM images WHERE request_id = ? ORDER BY position, id"
        return images_from_rows(row, connection.execute(query, (row["id"],)), self._originals)

    # Looking back

    def history(self, words: str = "", limit: int = 24, offset: int = 0) -> list[GeneratedImage]:
        """Return past pictures, those of the newest request first, each request's in order.

        Args:
            words: All of them must occur in the prompts, the models' or the notebook's name; the
                last one may be the beginning of a word. Case and accents do not count.
            limit: How many at most.
            offset: How many to leave out first.
        """
        with self._database.reading() as connection:
            return list(islice(self._pictures(connection, words), offset, offset + limit))

    def _pictures(self, connection: sqlite3.Connection, words: str) -> Iterator[GeneratedImage]:
        query, parameters = matching_requests(words, indexed=self._database.indexed)
        for (request_id,) in connection.execute(query, parameters):
            row = _row(connection, "SELECT * FROM requests WHERE id = ?", request_id)
            for image in self._images_of(connection, row) if row else ():
                if image.status in {"ok", "damaged"}:
                    yield image

    def lineage(self, sha256: str) -> list[GeneratedImage]:
        """Return an image and all it was made from, oldest ancestor first, the image itself last.

        Args:
            sha256: Of the image's original bytes.

        Returns:
            Empty when the library does not hold the image. An ancestor that it does not hold, such
            as a photo, is left out.
        """
        found: list[GeneratedImage] = []
        wanted = [sha256]
        seen = set()
        with self._database.reading() as connection:
            while wanted:
                digest = wanted.pop(0)
                if digest in seen:
                    continue
                seen.add(digest)
                image = self._newest(connection, digest)
                if image is not None:
                    found.append(image)
                    wanted += [source.parent for source in image.request.inputs if source.parent]
        return found[::-1]

    def _newest(self, connection: sqlite3.Connection, sha256: str) -> GeneratedImage | None:
        query = "SELECT * FROM images WHERE sha256 = ? ORDER BY id DESC LIMIT 1"
        row = _row(connection, query, sha256)
        if row is None:
            return None
        parent = _row(connection, "SELECT * FROM requests WHERE id = ?", row["request_id"])
        return next(images_from_rows(parent, [row], self._originals), None)

    # Money

    def costs(self) -> list[CostRow]:
        """Return what was spent, by day, model and backend, the newest day first."""
        with self._database.reading() as connection:
            return costs(connection)

    def rewrite_for(self, key: str) -> str | None:
        """Return the rewritten prompt stored last under `key`, or None."""
        query = "SELECT text FROM rewrites WHERE key = ? ORDER BY id DESC LIMIT 1"
        with self._database.reading() as connection:
            row = _row(connection, query, key)
        return None if row is None else row["text"]

    def remember_rewrite(
        self,
        key: str,
        original: str,
        text: str,
        model: str,
        cost_usd: float | None,
        *,
        backend: str = "xai",
    ) -> None:
        """Store a chat model's rewrite of a prompt; its cost counts in `costs`.

        Args:
            key: What makes two rewrites the same: the prompt, the chat model and what it was told.
            original: The prompt as written.
            text: The prompt as rewritten.
            model: The chat model, as the server named it.
            cost_usd: In US dollars; None: not reported.
            backend: `"xai"` or `"local"`.
        """
        values: dict[str, Any] = {"key": key, "original": original, "text": text, "model": model}
        values |= {"backend": backend, "cost_usd": cost_usd, "created": time.time()}
        with self._database.writing() as connection:
            insert(connection, "rewrites", cleaned(values))


def _row(connection: sqlite3.Connection, query: str, *parameters: object) -> Any:
    return connection.execute(query, parameters).fetchone()
