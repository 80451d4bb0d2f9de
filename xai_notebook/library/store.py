"""`Library`: every image ever received, for replay, history and the ledger.

The way of a reply: it is appended to the spool's journal as it comes, which is made durable; its
originals are written; its rows are inserted. It leaves the journal when originals and rows are
durable, too: after a power cut before that, whoever opens the library next writes them anew.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from xai_notebook.client import bounds
from xai_notebook.client.media import media_type
from xai_notebook.errors import LibraryError
from xai_notebook.library.bundles import BundleWriter
from xai_notebook.library.catalog import KEPT_IN_TRASH, Annotations, Catalog
from xai_notebook.library.inputs import InputFiles, UploadCache
from xai_notebook.library.jobs import JobStore
from xai_notebook.library.panels import PanelStore
from xai_notebook.library.records import (
    Reply,
    ShownImage,
    Slot,
    SlotQuery,
    StoredImages,
    insert,
    insert_rows,
    link_values,
    picture_values,
    pictures_from_rows,
    place_of,
    request_values,
    rows_in,
    saved_ids,
    storable,
    storable_row,
)
from xai_notebook.library.spending import Spending, costs
from xai_notebook.library.storage.blobs import BlobStore, DiskSpace
from xai_notebook.library.storage.database import Database
from xai_notebook.library.storage.fulltext import index_requests, matching_requests
from xai_notebook.library.storage.spool import Spool

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from xai_notebook.library.storage.spool import SpooledReply
    from xai_notebook.pictures.picture import Picture, Status
    from xai_notebook.pictures.render.tables import CostRow

__all__ = ["Library"]

_ANSWERS: Final = frozenset({"ok", "moderated", "pending"})
"""What was paid for and answers the same request again; the rest is asked for again."""
_NO_LOCKS: Final = (
    "The file system of the library has no locks, so one kernel at a time can use it: restart or "
    "shut down this one before another makes pictures."
)
_FEW: Final = 4
"""Up to so many replies are settled as soon as they are saved, so that none stays in the spool."""
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
        spool: Replies on disk that are not in the library yet. Replies and originals are written
            even when the database cannot be used.
        failure: Why the database could not be opened; its methods raise it again.
        room: What the disk can take.
        jobs: What was handed over to a service, and what has come of it.
        overdue: The spool holds replies that no call is saving.
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
        self._originals = BlobStore(home / "images")
        self.spool = Spool(home / "spool")
        self.uploads = UploadCache(self._database)
        self.annotations = Annotations(self._database, self._originals)
        self.catalog = Catalog(self._database, self._originals)
        self.jobs = JobStore(self._database, self._originals, self.find_each)
        self.panels = PanelStore(self._database)
        self.given = InputFiles(home / "inputs")
        self.packer = BundleWriter(self._database, self._originals)
        self.spending = Spending(self._database)
        self.room = DiskSpace(home)
        self.failure: LibraryError | None = LibraryError(f"{home} has not been opened.")
        self.overdue = False
        self._unsettled: dict[str, tuple[SpooledReply, list[Path]]] = {}
        self._settling = threading.Lock()
        self._pid = os.getpid()
        self._version: tuple[int, int] | None = None

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
        try:
            library.connect()
        except BaseException:
            library.close()
            raise
        return library

    def connect(self) -> None:
        """Open the database, and look for replies that are not in it.

        Raises:
            LibraryError: As `open`.
        """
        try:
            with self._database.reading():
                pass
            if self.foreign:
                self._check_files()
            if not self.read_only:
                with self._database.translated():
                    self._originals.prepare()
                if not self.foreign:
                    self.overdue = not self.spool.is_empty()
                    self.annotations.empty_trash(older_than=KEPT_IN_TRASH)
        except LibraryError as error:
            self.failure = error
            raise
        self.failure = None

    @property
    def read_only(self) -> bool:
        """Whether it answers, but cannot keep anything."""
        return self._database.read_only

    def _check_files(self) -> None:
        """Raise if something of a library that may be somebody else's leads out of it, or hangs.

        Raises:
            LibraryError: It holds a link, a pipe or a device.
        """
        with self._database.translated():
            strange = next(_strange_files(f"{self.home}"), None)
        if strange is not None:
            raise LibraryError(
                f"{strange} is a link or a device, and this library was not made on this computer. "
                "Put the file or folder itself there, or set XAI_NOTEBOOK_TRUSTED_HOME to the "
                "library's folder."
            )

    @property
    def foreign(self) -> bool:
        """Whether it may be somebody else's: it shows pictures, and nothing in it is acted on."""
        return self._database.foreign

    @property
    def distrust(self) -> LibraryError | None:
        """Why nothing in it is acted on; None: it is the user's own."""
        if not self.foreign:
            return None
        return LibraryError(
            "This library was made on another computer, in another folder or by an earlier "
            "version. It shows its pictures; its jobs, its panels' forms and its rewritten prompts "
            "are not used. If it is yours, run once: import xai_notebook; "
            "xai_notebook.trust_library()"
        )

    def check_own(self) -> None:
        """Raise if the library may be somebody else's.

        Raises:
            LibraryError: It may be.
        """
        if (error := self.distrust) is not None:
            raise error

    def trust(self) -> str:
        """Remember that the library is the user's own, on this computer.

        Returns:
            For how long it is remembered, in a sentence.

        Raises:
            LibraryError: It cannot be opened.
        """
        self._database.mark_as_own()
        self.connect()
        return next(iter(self.notices), "From now on this library counts as yours.")

    @property
    def notices(self) -> list[str]:
        """What the user should know of the library and its file system, a line each."""
        found = []
        if self._database.without_locks:
            found.append(_NO_LOCKS)
        if (error := self.distrust) is not None and not self.read_only:
            found.append(str(error))
        elif not self._database.remembered and not self.read_only:
            found.append(
                "The next kernel will not know that this library is yours: your state folder "
                "cannot be written to. Set XAI_NOTEBOOK_TRUSTED_HOME to the library's folder."
            )
        return found

    def explain(self, error: OSError) -> LibraryError:
        """Return what the file system raised in our words."""
        return self._database.explain(error)

    def close(self) -> None:
        """Close the file. Any later call raises `LibraryError`."""
        self.spending.close()
        self.settle()
        self.spool.close()
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

        There is never a row without its file: what is not in the spool is durable before its row
        is inserted, and what is in it is written anew after a power cut. Saving what has been
        saved, by whichever kernel, changes nothing.

        Returns:
            For each reply its pictures as they are in the library now, with `id`, `sha256`, `file`,
            `media_type` and `size` and without their bytes; or why it could not be saved.
        """
        self._begin_after_fork()
        spooled = [reply.spooled for reply in replies if reply.spooled is not None]
        durable = len(spooled) < len(replies) or not all(one.kept for one in spooled)
        try:
            self.spool.sync(spooled)
            groups = [reply.pairs() for reply in replies]
            places = self._save(groups, durable=durable)
            with self._database.writing(durable=durable) as connection:
                # Somebody may have emptied the trash of the same bytes since.
                if self._has_changed(connection) and not all(map(self._originals.has, places)):
                    places = self._save(groups, durable=durable)
                saved = self._insert(connection, replies, places)
                version = _version(connection)
            self._version = version
        except LibraryError:
            self.overdue = True
            raise
        for reply, found in zip(replies, saved, strict=True):
            if isinstance(found, LibraryError):
                self.overdue = True
            elif reply.spooled is not None:
                paths = [] if durable else [one.file for one in found if one.file is not None]
                self._unsettled[reply.spooled.id] = (reply.spooled, paths)
        if len(replies) <= _FEW:  # of many, that would be a disk's wait for each
            self.settle()
        return saved

    def settle(self) -> None:
        """Make saved replies durable in the library, and forget them in the spool."""
        self._begin_after_fork()
        with self._settling:
            settled = self._unsettled.copy()
            paths = {path for _, some in settled.values() for path in some}
            if paths:
                try:
                    self._originals.sync(paths)
                    self._database.sync()
                except OSError:
                    return  # the spool keeps them
            for reply_id in settled:
                self._unsettled.pop(reply_id, None)
            self.spool.remove(*(spooled for spooled, _ in settled.values()))

    def _begin_after_fork(self) -> None:
        """Leave to the parent of a fork what it has saved."""
        if self._pid != os.getpid():
            self._pid, self._settling = os.getpid(), threading.Lock()
            self._unsettled = {}

    @property
    def unsettled(self) -> int:
        """Number of saved replies that still need `settle`."""
        return len(self._unsettled)

    def keep_originals(self, reply: Reply) -> list[Picture]:
        """Write the originals of a reply that is in the spool, and that the database cannot take.

        Raises:
            LibraryError: They cannot be written.
        """
        (places,) = self._save([reply.pairs()], durable=False)
        if isinstance(places, LibraryError):
            raise places
        return [
            self._settled(picture, place)
            for picture, place in zip(reply.pictures, places, strict=True)
        ]

    def _has_changed(self, connection: sqlite3.Connection) -> bool:
        """Tell whether anything was written since the last replies, by whomever."""
        return self._version != _version(connection)

    def _insert(
        self,
        connection: sqlite3.Connection,
        replies: Sequence[Reply],
        places: Sequence[list[dict[str, Any]] | LibraryError],
    ) -> list[list[Picture] | LibraryError]:
        """Insert the rows of replies and return their pictures."""
        known = saved_ids(connection, replies)
        request_id, image_id = (
            _row(connection, f"SELECT max(id) FROM {table}")[0] or 0  # noqa: S608  # ours
            for table in ("requests", "images")
        )
        requests: list[dict[str, Any]] = []
        images: list[dict[str, Any]] = []
        answers: list[tuple[int, str | None, int]] = []
        found: list[list[Picture] | LibraryError] = []
        for at, (reply, of_reply) in enumerate(zip(replies, places, strict=True)):
            if isinstance(of_reply, LibraryError):
                found.append(of_reply)
                continue
            ids = known.get(at)
            if ids is None:
                ids = {}
                request_id += 1
                requests.append({"id": request_id, **request_values(reply)})
                for picture, place in zip(reply.pictures, of_reply, strict=True):
                    image_id += 1
                    ids[picture.position] = image_id
                    images.append({"id": image_id, **picture_values(picture, request_id), **place})
                if reply.item is not None:
                    answers.append((request_id, reply.error, reply.item))
            found.append(
                [
                    self._settled(replace(picture, id=ids.get(picture.position)), place)
                    for picture, place in zip(reply.pictures, of_reply, strict=True)
                ]
            )
        insert_rows(connection, "requests", requests)
        insert_rows(connection, "images", images)
        connection.executemany(
            "DELETE FROM charges WHERE open = 0 AND reply_id = ?",
            [(row["reply_id"],) for row in requests if row["reply_id"] and row["cost_usd"]],
        )
        connection.executemany(
            "UPDATE job_requests SET answer = ?, error = ? WHERE id = ?", answers
        )
        if self._database.indexed:
            rewritten: dict[int, list[str | None]] = {row["id"]: [] for row in requests}
            for image in images:
                rewritten[image["request_id"]].append(image["rewritten_prompt"])
            index_requests(connection, [(row, rewritten[row["id"]]) for row in requests])
        return found

    def _save(
        self,
        groups: Sequence[Sequence[tuple[bytes | str | None, Status]]],
        *,
        durable: bool = True,
    ) -> list[list[dict[str, Any]] | LibraryError]:
        """Write payloads; return, for each group, the columns that say what became of each.

        A group of which one cannot be saved is its error instead.
        """
        self._database.check_writable()
        contents = [
            (payload, media_type(payload))
            for group in groups
            for payload, _ in group
            if isinstance(payload, bytes)
        ]
        written = iter(self._originals.write(contents, durable=durable) if contents else ())
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
        return self._settled(picture, self._complete(picture.id, data))

    def _complete(self, image_id: int | None, data: bytes) -> dict[str, Any]:
        (found,) = self._save([[(data, "ok")]])
        if isinstance(found, LibraryError):
            raise found
        (place,) = found
        columns = ", ".join(f"{name} = :{name}" for name in place)
        statement = f"UPDATE images SET {columns} WHERE id = :id"  # noqa: S608  # names are ours
        with self._database.writing() as connection:
            connection.execute(statement, {**place, "id": image_id})
        return place

    def complete_spooled(self, reply_id: str, position: int, data: bytes) -> bool:
        """Save the bytes of a pending picture that were fetched while the database was closed.

        Args:
            reply_id: Of the reply that told its URL.
            position: Of the picture among the images of its request.
            data: What was fetched.

        Returns:
            Whether there is such a picture.
        """
        query = """SELECT images.id, images.status FROM images
            JOIN requests ON requests.id = request_id WHERE reply_id = ? AND position = ?"""
        with self._database.reading() as connection:
            row = _row(connection, query, reply_id, position)
        if row is not None and row["status"] in {"pending", "failed"}:
            self._complete(row["id"], data)
        return row is not None

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
        """Return the stored images of a request; see `SlotQuery` and `look_up`."""
        (found,) = self.find_each([SlotQuery(fingerprint, **wanted)])
        return found

    def find_each(self, wanted: Sequence[SlotQuery]) -> list[list[Picture]]:
        """Return the pictures of `look_up`."""
        return [found.pictures for found in self.look_up(wanted)]

    def look_up(self, wanted: Sequence[SlotQuery]) -> list[StoredImages]:
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
            known = _known(connection, (each.fingerprint for each in wanted))
            return [self._find(connection, each, borrow, known) for each in wanted]

    def _find(
        self,
        connection: sqlite3.Connection,
        wanted: SlotQuery,
        borrow: Collection[str | None],
        known: Collection[str],
    ) -> StoredImages:
        if wanted.fingerprint not in known:
            return StoredImages([])
        if wanted.place is None:
            return self._find_anywhere(connection, wanted)
        return self._find_at_place(connection, wanted, borrow)

    def _find_at_place(
        self, connection: sqlite3.Connection, wanted: SlotQuery, borrow: Collection[str | None]
    ) -> StoredImages:
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
        return StoredImages(
            [found[position] for position in sorted(found)],
            frozenset(others[position].id or 0 for position in others.keys() - own.keys()),
        )

    def _find_anywhere(self, connection: sqlite3.Connection, wanted: SlotQuery) -> StoredImages:
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
            return StoredImages(images)
        return StoredImages(_arranged(images[: len(needed)], len(needed), places.get(0, {})))

    def remember_shown(self, shown: Sequence[ShownImage]) -> None:
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
        return row["url"] if row is not None and isinstance(row["url"], str) else None

    def _images_of(self, connection: sqlite3.Connection, row: sqlite3.Row) -> Iterator[Picture]:
        """Yield a request's images in order, without those whose file has vanished."""
        query = (
            "SELECT * FROM images WHERE request_id = ? AND deleted IS NULL ORDER BY position, id"
        )
        rows = connection.execute(query, (row["id"],))
        theirs = self._database.is_strangers(row["id"])
        return pictures_from_rows(row, rows, self._originals, strangers=theirs)

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

    def rewrite_for(self, key: str, *, to_send: bool = True) -> str | None:
        """Return the rewritten prompt stored last under `key`, or None.

        Args:
            key: As in `remember_rewrite`.
            to_send: It is to be sent, and not only to be looked for: a library that may be
                somebody else's does not say what is sent.
        """
        query = "SELECT text FROM rewrites WHERE key = ? AND text <> '' ORDER BY id DESC LIMIT 1"
        with self._database.reading() as connection:
            row = None if to_send and self.foreign else _row(connection, query, key)
        return None if row is None or not isinstance(row["text"], str) else bounds.text(row["text"])

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


def _strange_files(folder: str) -> Iterator[str]:
    """Yield what is neither a file nor a folder, in a folder and those below it."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _strange_files(entry.path)
            elif not entry.is_file(follow_symlinks=False):
                yield entry.path


def _known(connection: sqlite3.Connection, fingerprints: Iterable[str]) -> set[str]:
    """Return the fingerprints that the library has requests of."""
    query = "SELECT DISTINCT fingerprint FROM requests WHERE fingerprint IN ({})"
    keys = [*dict.fromkeys(fingerprints)]
    return {fingerprint for (fingerprint,) in rows_in(connection, query, keys)}


def _version(connection: sqlite3.Connection) -> tuple[int, int]:
    """Return what changes when another connection has written, or this one."""
    (others,) = connection.execute("PRAGMA data_version").fetchone()
    return others, connection.total_changes


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
