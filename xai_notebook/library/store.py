"""`Library`: every image ever received, for replay, history and the ledger."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from xai_notebook.client.media import media_type
from xai_notebook.errors import LibraryError
from xai_notebook.library.database import Database
from xai_notebook.library.given import Given
from xai_notebook.library.jobs import Jobs
from xai_notebook.library.ledger import costs
from xai_notebook.library.marks import KEPT_IN_TRASH, Marks
from xai_notebook.library.originals import Originals
from xai_notebook.library.packing import Packer
from xai_notebook.library.panels import Panels
from xai_notebook.library.records import (
    Found,
    Reply,
    Shown,
    Slot,
    Wanted,
    insert,
    link_values,
    picture_values,
    pictures_from_rows,
    place_of,
    request_values,
    saved_ids,
    storable,
    storable_row,
)
from xai_notebook.library.search import index_request, matching_requests
from xai_notebook.library.shelf import Shelf
from xai_notebook.library.spending import Spending
from xai_notebook.library.spool import Spool
from xai_notebook.library.uploads import Uploads

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from xai_notebook.pictures.picture import Picture, Status
    from xai_notebook.pictures.tables import CostRow

__all__ = ["Library"]

_ANSWERS: Final = frozenset({"ok", "moderated", "pending"})
"""What was paid for and answers the same request again; the rest is asked for again."""
_ANYWHERE: Final = "SELECT * FROM requests WHERE fingerprint = :fingerprint ORDER BY id DESC"
_AT_PLACE: Final = _ANYWHERE.replace("ORDER", "AND place = :place ORDER")
_SHOWN: Final = """SELECT image_id, request_id FROM shown JOIN images ON images.id = image_id
    WHERE shown.notebook = :notebook AND fingerprint = :fingerprint AND place = :place"""


class Library:
    """Every image ever received: one SQLite file, and the original bytes as files.

    Every method blocks for milliseconds and may be called from any thread, in several kernels at
    once, and after a fork. Files are written outside the database's lock, so that threads do the
    slow part side by side.

    Attributes:
        home: Its folder.
        spool: Replies on disk that are not in the library yet.
        jobs: What was handed over to a service, and what has come of it.
        overdue: Some of them belong to nobody who is putting them in now.
        uploads: Input images at servers' file stores.
        panels: The form and the pictures of each panel.
        given: Pictures of the user's own, to edit.
        marks: Stars, tags and the trash.
        shelf: All pictures as a list.
        packer: Writes bundles.
        spending: What all processes have spent and set aside.

    Raises:
        LibraryError: From every method: the library is damaged, or cannot be read or written.
    """

    def __init__(self, home: Path) -> None:
        """Use `Library.open`; this opens nothing yet."""
        self.home = home
        self._database = Database(home)
        self._originals = Originals(home / "images")
        self.spool = Spool(home / "spool")
        self.uploads = Uploads(self._database)
        self.marks = Marks(self._database, self._originals)
        self.shelf = Shelf(self._database, self._originals)
        self.jobs = Jobs(self._database, self._originals, self.find_each)
        self.panels = Panels(self._database)
        self.given = Given(home / "inputs")
        self.packer = Packer(self._database, self._originals)
        self.spending = Spending(self._database)
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
            library.marks.empty_trash(older_than=KEPT_IN_TRASH)
        return library

    @property
    def read_only(self) -> bool:
        """Whether it answers, but cannot keep anything."""
        return self._database.read_only

    def close(self) -> None:
        """Close the file. Any later call raises `LibraryError`."""
        self.spending.close()
        self._database.close()

    # Saving

    def add(self, reply: Reply) -> list[Picture]:
        """Save a reply and return its pictures; see `add_replies`."""
        (saved,) = self.add_replies([reply])
        if isinstance(saved, LibraryError):
            raise saved
        return saved

    def add_replies(self, replies: Sequence[Reply]) -> list[list[Picture] | LibraryError]:
        """Save replies in one transaction. When this returns, they outlive a kill and a power cut.

        The files are durable before the rows that name them: there is never a row without its
        file. Saving what has been saved, by whichever kernel, changes nothing.

        Returns:
            For each reply its pictures as they are in the library now, with `id`, `sha256`, `file`,
            `media_type` and `size` and without their bytes; or why it could not be saved.
        """
        try:
            places = self._save([reply.pairs() for reply in replies])
            with self._database.writing() as connection:
                # Somebody may have emptied the trash of the same bytes since.
                if not all(map(self._originals.has, places)):
                    places = self._save([reply.pairs() for reply in replies])
                saved = [
                    place
                    if isinstance(place, LibraryError)
                    else self._insert(connection, reply, place)
                    for reply, place in zip(replies, places, strict=True)
                ]
        except LibraryError:
            self.overdue = True
            raise
        for reply, found in zip(replies, saved, strict=True):
            if isinstance(found, LibraryError):
                self.overdue = True
            elif reply.spooled is not None:
                self.spool.remove(reply.spooled)
        return saved

    def _insert(
        self, connection: sqlite3.Connection, reply: Reply, places: list[dict[str, Any]]
    ) -> list[Picture]:
        """Insert the rows of a reply and return its pictures."""
        row = request_values(reply)
        ids = saved_ids(connection, reply, row)
        if ids is None:
            row_id = insert(connection, "requests", row)
            if self._database.indexed:
                rewritten = (picture.rewritten_prompt for picture in reply.pictures)
                index_request(connection, {**row, "id": row_id}, rewritten)
            ids = [
                insert(connection, "images", {**picture_values(picture, row_id), **place})
                for picture, place in zip(reply.pictures, places, strict=True)
            ]
            if reply.item is not None:
                statement = "UPDATE job_requests SET answer = ?, error = ? WHERE id = ?"
                connection.execute(statement, (row_id, reply.error, reply.item))
        return [
            self._settled(replace(picture, id=image_id), place)
            for picture, place, image_id in zip(reply.pictures, places, ids, strict=True)
        ]

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

    def _settled(self, picture: Picture, place: dict[str, Any]) -> Picture:
        """Return a picture that knows where its bytes are now."""
        picture = replace(picture, status=place["status"])
        if (sha256 := place.get("sha256")) is None:
            return picture
        return replace(
            picture,
            sha256=sha256,
            media_type=place["media_type"],
            file=self._originals.path(sha256, place["media_type"]),
            size=(place["width"], place["height"]) if "width" in place else picture.size,
            error=None,
            cached=None,
        )

    def complete(self, picture: Picture, data: bytes) -> Picture:
        """Save the bytes of a pending picture, as durably as `add` does, and return it."""
        (found,) = self._save([[(data, "ok")]])
        if isinstance(found, LibraryError):
            raise found
        (place,) = found
        columns = ", ".join(f"{name} = :{name}" for name in place)
        statement = f"UPDATE images SET {columns} WHERE id = :id"  # noqa: S608  # names are ours
        with self._database.writing() as connection:
            connection.execute(statement, {**place, "id": picture.id})
        return self._settled(picture, place)

    def fail(self, picture: Picture, error: str) -> Picture:
        """Give a pending picture up, and return it: it no longer answers its request.

        Args:
            picture: From `add` or `find`.
            error: Why, in a line.
        """
        statement = "UPDATE images SET status = 'failed', url = NULL, error = ? WHERE id = ?"
        with self._database.writing() as connection:
            connection.execute(statement, (error, picture.id))
        return replace(picture, status="failed", error=error)

    def share(self, picture: Picture) -> None:
        """Store the public link of a picture from `add` or `find`."""
        statement = (
            "UPDATE images SET public_url = :public_url, public_url_expires = :public_url_expires"
            " WHERE id = :id"
        )
        with self._database.writing() as connection:
            connection.execute(statement, {**link_values(picture), "id": picture.id})

    # Replay

    def find(self, fingerprint: str, **wanted: Any) -> list[Picture]:
        """Return the stored images of a request; see `Wanted` and `look_up`."""
        (found,) = self.find_each([Wanted(fingerprint, **wanted)])
        return found

    def find_each(self, wanted: Sequence[Wanted]) -> list[list[Picture]]:
        """Return the pictures of `look_up`."""
        return [found.pictures for found in self.look_up(wanted)]

    def look_up(self, wanted: Sequence[Wanted]) -> list[Found]:
        """Return for each request its stored images, in the order they answer it again.

        For each position it is the image that the notebook made or showed last at the place; where
        it did neither, what was stored there last by any notebook. A shorter answer leaves the
        rest of a longer one before it, so that a request for more images is filled up with what is
        there. A position that nothing was stored for is left out.

        Without a place, images of the newest place come first, images that others have replaced
        come last, and `position` counts them. When they are fewer than wanted, the positions left
        out are free at place 0: what is made for them replaces nothing.

        Pictures count, and so do moderated images (they were paid for) and pending ones (their
        URL is still to be fetched: `url_of`); missing and failed ones don't. A row whose file has
        vanished is skipped, and comes back with the file.
        """
        with self._database.reading() as connection:
            # Most notebooks have only shown what they made: then nothing is looked for in `shown`.
            borrow = {
                name
                for name in {storable(each.notebook) for each in wanted} - {None}
                if _row(connection, "SELECT 1 FROM shown WHERE notebook = ? LIMIT 1", name)
            }
            return [
                self._find_anywhere(connection, each)
                if each.place is None
                else self._find_at_place(connection, each, borrow)
                for each in wanted
            ]

    def _find_at_place(
        self, connection: sqlite3.Connection, wanted: Wanted, borrow: Collection[str | None]
    ) -> Found:
        count = sys.maxsize if wanted.count is None else wanted.count
        notebook = storable(wanted.notebook)
        slot = {
            "fingerprint": wanted.fingerprint, "place": wanted.place, "notebook": notebook,
        }  # fmt: skip
        shown: dict[int, set[int]] = {}
        if notebook in borrow:
            for image_id, request_id in connection.execute(_SHOWN, slot):
                shown.setdefault(request_id, set()).add(image_id)
        own: dict[int, Picture] = {}
        others = own if notebook is None else {}
        for row in connection.execute(_AT_PLACE, slot):
            mine, ids = row["notebook"] == notebook, shown.get(row["id"], ())
            if len(others) == count and not mine and not ids:
                continue
            images = list(self._images_of(connection, row))
            if any((image.id or 0) <= wanted.after for image in images):
                break  # the others are older still
            for image in images:
                if image.status in _ANSWERS and image.position < count:
                    (own if mine or image.id in ids else others).setdefault(image.position, image)
            if len(own) == count:
                break
        found = others | own
        return Found(
            [found[position] for position in sorted(found)],
            frozenset(others[position].id or 0 for position in others.keys() - own.keys()),
        )

    def _find_anywhere(self, connection: sqlite3.Connection, wanted: Wanted) -> Found:
        places: dict[int, dict[int, Picture]] = {}
        replaced: list[Picture] = []
        needed = None if wanted.count is None else set(range(wanted.count))
        for row in connection.execute(_ANYWHERE, {"fingerprint": wanted.fingerprint}):
            for image in self._images_of(connection, row):
                if image.status in _ANSWERS:
                    at_place = places.setdefault(row["place"], {})
                    if at_place.setdefault(image.position, image) is not image:
                        replaced.append(image)
            if needed is not None and needed <= next(iter(places.values()), {}).keys():
                break  # the newest place has them all
        images = [at_place[index] for at_place in places.values() for index in sorted(at_place)]
        images += replaced
        if needed is None:
            return Found(images)
        return Found(_arranged(images[: len(needed)], len(needed), places.get(0, {})))

    def remember_shown(self, shown: Sequence[Shown]) -> None:
        """Note which pictures notebooks have shown that others made: they answer again there."""
        rows = [(storable(one.notebook), *one[1:]) for one in shown]
        with self._database.writing() as connection:
            connection.executemany("INSERT OR REPLACE INTO shown VALUES (?, ?, ?, ?, ?)", rows)

    def newest(self) -> int:
        """Return the `id` of the image stored last: every later one has a larger one."""
        with self._database.reading() as connection:
            (found,) = _row(connection, "SELECT max(id) FROM images")
        return found or 0

    def slot_of(self, image_id: int) -> Slot | None:
        """Return where an image belongs, or None when there is no such row."""
        query = """SELECT fingerprint, place, position, host, backend, notebook
            FROM images JOIN requests ON requests.id = request_id WHERE images.id = ?"""
        with self._database.reading() as connection:
            row = connection.execute(query, (image_id,)).fetchone()
        return None if row is None else Slot(*row)

    def redone(self, slot: Slot, *, notebook: str | None, image_id: int) -> list[int]:
        """Return the `id` of each image that took the place of another there, oldest first.

        Args:
            slot: Where.
            notebook: Which asks; None: unknown, and those of all notebooks count. Otherwise those
                count that it made, and if it shows another notebook's image, those up to that one.
            image_id: Of the image that it shows there.
        """
        notebook = storable(notebook)
        latest = 0 if slot.notebook == notebook else image_id
        query = """SELECT images.id FROM requests JOIN images ON request_id = requests.id
            WHERE fingerprint = ? AND place = ? AND position = ? AND redo
            AND (? IS NULL OR notebook = ? OR images.id <= ?) ORDER BY images.id"""
        with self._database.reading() as connection:
            rows = connection.execute(query, (*slot[:3], notebook, notebook, latest))
            return [i for (i,) in rows]

    def url_of(self, image: Picture) -> str | None:
        """Return where a pending image can be fetched, or None when it is not pending."""
        with self._database.reading() as connection:
            row = _row(connection, "SELECT url FROM images WHERE id = ?", image.id)
        return None if row is None else row["url"]

    def _images_of(self, connection: sqlite3.Connection, row: sqlite3.Row) -> Iterator[Picture]:
        """Yield a request's images in order, without those whose file has vanished."""
        query = (
            "SELECT * FROM images WHERE request_id = ? AND deleted IS NULL ORDER BY position, id"
        )
        return pictures_from_rows(row, connection.execute(query, (row["id"],)), self._originals)

    # Looking back

    def history(self, words: str = "", limit: int = 24, offset: int = 0) -> list[Picture]:
        """Return past pictures, those of the newest request first, each request's in order.

        Args:
            words: All of them must occur in the prompts, the models' or the notebook's name; the
                last one may be the beginning of a word. Case and accents do not count.
            limit: How many at most.
            offset: How many to leave out first.
        """
        with self._database.reading() as connection:
            return list(islice(self._pictures(connection, words), offset, offset + limit))

    def _pictures(self, connection: sqlite3.Connection, words: str) -> Iterator[Picture]:
        query, parameters = matching_requests(words, indexed=self._database.indexed)
        for (request_id,) in connection.execute(query, parameters):
            row = _row(connection, "SELECT * FROM requests WHERE id = ?", request_id)
            for image in self._images_of(connection, row) if row else ():
                if image.status in {"ok", "damaged"}:
                    yield image

    # Money

    def costs(self) -> list[CostRow]:
        """Return what was spent, by day, model and backend, the newest day first."""
        with self._database.reading() as connection:
            return costs(connection)

    def rewrite_for(self, key: str) -> str | None:
        """Return the rewritten prompt stored last under `key`, or None."""
        query = "SELECT text FROM rewrites WHERE key = ? AND text <> '' ORDER BY id DESC LIMIT 1"
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
    ) -> str:
        """Store a chat model's rewrite of a prompt; its cost counts in `costs`.

        Args:
            key: What makes two rewrites the same: the prompt, the chat model and what it was told.
            original: The prompt as written.
            text: The prompt as rewritten.
            model: The chat model, as the server named it.
            cost_usd: In US dollars; None: not reported.
            backend: `"xai"` or `"local"`.

        Returns:
            The text to use: that of another kernel, if it asked at the same moment and was faster.
            Else the two would order different pictures.
        """
        with self._database.writing() as connection:
            text = self.rewrite_for(key) or text
            values: dict[str, Any] = {"key": key, "original": original, "text": text}
            values |= {"model": model, "backend": backend, "cost_usd": cost_usd}
            insert(connection, "rewrites", storable_row(values | {"created": time.time()}))
        return text


def _row(connection: sqlite3.Connection, query: str, *parameters: object) -> Any:
    return connection.execute(query, parameters).fetchone()


def _arranged(images: Sequence[Picture], count: int, first: Mapping[int, Picture]) -> list[Picture]:
    """Return images with positions among `count`; those left out are free at place 0.

    Args:
        images: In the order they answer.
        count: How many are wanted, at least as many as there are.
        first: What stands at place 0, by position.
    """
    free = [position for position in range(count) if position not in first]
    left_out = {*free[: count - len(images)]}
    kept = {at: image for at, image in first.items() if left_out and at < count}
    rest = (image for image in images if not any(image is one for one in kept.values()))
    return [
        replace(kept.get(position) or next(rest), position=position)
        for position in range(count)
        if position not in left_out
    ]
