"""`Library`: every image ever received, for replay, history and the ledger.

A reply is appended to the spool's journal on arrival, and the journal is synced. Then its original
images are written and its rows are inserted. The reply is removed from the journal once both are
durable. If the power fails before that, the next process that opens the library writes both again.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from xai_notebook.client import bounds
from xai_notebook.client.media import dimensions, media_type
from xai_notebook.errors import LibraryError
from xai_notebook.library.bundles import BundleWriter
from xai_notebook.library.catalog import KEPT_IN_TRASH, Annotations, Catalog
from xai_notebook.library.inputs import InputFiles, UploadCache
from xai_notebook.library.jobs import JobStore
from xai_notebook.library.panels import PanelStore
from xai_notebook.library.records import (
    ImageSlot,
    PictureReader,
    Reply,
    ShownImage,
    SlotQuery,
    StoredImages,
    find_saved_ids,
    make_image_row,
    make_request_row,
)
from xai_notebook.library.spending import Spending
from xai_notebook.library.storage.blobs import BlobStore, DiskSpace
from xai_notebook.library.storage.database import Database, data_version
from xai_notebook.library.storage.fulltext import index_requests, matching_requests
from xai_notebook.library.storage.schema import insert, rows_in, storable
from xai_notebook.library.storage.spool import Spool

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from xai_notebook.library.storage.spool import SpooledReply
    from xai_notebook.pictures.picture import Picture, Status

_ANSWERS: Final = frozenset({"ok", "moderated", "pending"})
"""Statuses of images that answer their request again, because they were paid for."""
_NO_LOCKS: Final = (
    "The file system of the library has no locks, so one kernel at a time can use the library: "
    "restart or shut down this kernel before another kernel makes pictures."
)
_SETTLED_AT_ONCE: Final = 4
"""Maximum number of replies after which `add_replies` calls `settle`; more would take too long."""
_ANYWHERE: Final = "SELECT * FROM requests WHERE fingerprint = :fingerprint ORDER BY id DESC"
_AT_PLACE: Final = _ANYWHERE.replace("ORDER", "AND place = :place ORDER")
_SHOWN: Final = """SELECT image_id, request_id FROM shown JOIN images ON images.id = image_id
    WHERE shown.notebook = :notebook AND fingerprint = :fingerprint AND place = :place"""


class Library:
    """Every image ever received: one SQLite file, and the original images as files.

    Every method blocks for milliseconds and may be called from any thread, in several kernels at
    once, and after a fork. Files are written without holding the database's lock, so that threads
    write in parallel.

    Attributes:
        home: Folder of the library.
        database: Connection to the SQLite file.
        blobs: Files of the original images.
        spool: Replies that are on disk but not yet in the database. Replies and originals are
            written even when the database cannot be used.
        failure: Why the database could not be opened; None if it is open.
        disk_space: Free space of the disk.
        jobs: Batch jobs and their requests.
        overdue: Whether the spool holds replies that no running call will save.
        unsettled: Saved replies that still need `settle`, keyed by id, each with the originals that
            may not be durable yet.
        uploads: Cache of input images uploaded to servers' file stores.
        panels: Forms and pictures of panels.
        input_files: Picture files that the user dropped on a panel.
        annotations: Stars, tags and the trash.
        catalog: All pictures as a list, with search.
        bundle_writer: Writes bundles.
        spending: Amounts that all processes have spent and reserved.

    Raises:
        LibraryError: From every method: the library is damaged, or cannot be read or written.
    """

    def __init__(self, home: Path) -> None:
        """Prepare a library without opening it; `connect` and `Library.open` open it."""
        self.home = home
        self.database = Database(home)
        self.blobs = BlobStore(home / "images")
        self._reader = PictureReader(self.database, self.blobs)
        self.spool = Spool(home / "spool")
        self.uploads = UploadCache(self.database)
        self.annotations = Annotations(self.database, self.blobs)
        self.catalog = Catalog(self.database, self.blobs, self._reader)
        self.jobs = JobStore(self.database, self._reader, self.look_up)
        self.panels = PanelStore(self.database)
        self.input_files = InputFiles(home / "inputs")
        self.bundle_writer = BundleWriter(self.database, self._reader)
        self.spending = Spending(self.database)
        self.disk_space = DiskSpace(home)
        self.failure: LibraryError | None = LibraryError(f"{home} has not been opened.")
        self.overdue = False
        self.unsettled: dict[str, tuple[SpooledReply, list[Path]]] = {}
        self._version: tuple[int, int, int] | None = None

    @classmethod
    def open(cls, home: Path) -> Library:
        """Open the library in `home`; create missing files, and migrate an older version.

        Unreadable files are never deleted or overwritten. A library without write permission, for
        example one that a course provides, is opened read-only.

        Raises:
            LibraryError: The home cannot be created or written to, or the database is damaged or
                was made by another program or a newer version.
        """
        library = cls(home)
        try:
            library.connect()
        except BaseException:
            library.close()
            raise
        return library

    def connect(self) -> None:
        """Open the database, and check whether the spool holds replies; see `open`."""
        try:
            with self.database.reading():
                foreign = self.database.foreign
            if foreign:
                check_files(f"{self.home}")
            if not self.database.read_only:
                self.blobs.prepare()
                if not foreign:
                    self.overdue = not self.spool.is_empty()
                    self.annotations.empty_trash(older_than=KEPT_IN_TRASH)
        except LibraryError as error:
            self.failure = error
            raise
        except OSError as error:
            self.failure = self.database.explain(error)
            raise self.failure from error
        self.failure = None

    @property
    def distrust(self) -> LibraryError | None:
        """Why jobs, forms and prompts of the library are not used; None if the user owns it."""
        if not self.database.foreign:
            return None
        return LibraryError(
            "This library was made on another computer, in another folder or by an earlier "
            "version. It shows its pictures; its jobs, its panels' forms and its rewritten prompts "
            "are not used. If it is yours, run once: import xai_notebook; "
            "xai_notebook.trust_library()"
        )

    def check_own(self) -> None:
        """Raise `LibraryError` if the library may be another person's."""
        if (error := self.distrust) is not None:
            raise error

    def trust(self) -> str:
        """Remember that the library is the user's own, on this computer.

        Returns:
            A sentence about how long this lasts.
        """
        self.database.mark_as_own()
        self.connect()
        return next(iter(self.notices), "From now on this library counts as yours.")

    @property
    def notices(self) -> list[str]:
        """Sentences about limits of the library and its file system."""
        notices = []
        if self.database.without_locks:
            notices.append(_NO_LOCKS)
        if self.database.read_only:
            return notices
        if self.database.foreign:
            notices.append(f"{self.distrust}")
        elif not self.database.remembered:
            notices.append(
                "The next kernel will not know that this library is yours: your state folder "
                "cannot be written to. Set XAI_NOTEBOOK_TRUSTED_HOME to the library's folder."
            )
        return notices

    def close(self) -> None:
        """Close the library. Any later call raises `LibraryError`."""
        self.spending.close()
        self.settle()
        self.spool.close()
        self.database.close()

    # Saving

    def add(self, reply: Reply) -> list[Picture]:
        """Save a reply and return its pictures; see `add_replies`."""
        (saved,) = self.add_replies([reply])
        if isinstance(saved, LibraryError):
            raise saved
        return saved

    def add_replies(self, replies: Sequence[Reply]) -> list[list[Picture] | LibraryError]:
        """Save replies in one transaction; on return, they survive a kill and a power cut.

        Every row has its file: if a reply is not in the spool, its originals are durable before
        its row is inserted; if it is in the spool, its originals are written again after a power
        cut. A reply that any kernel has saved before is not saved again.

        Returns:
            For each reply, its pictures as stored (with `id`, `sha256`, `file`, `media_type` and
            `size`, without their bytes), or the error if it could not be saved.
        """
        spooled = [reply.spooled for reply in replies if reply.spooled is not None]
        durable = len(spooled) < len(replies) or any(reply.source is None for reply in spooled)
        payloads = [reply.payloads for reply in replies]
        try:
            self.spool.sync(spooled)
            written = self._write(payloads, durable=durable)
            with self.database.writing(durable=durable) as connection:
                # If another kernel has written to the library, it may have emptied the trash, and
                # with it originals that were just written here: write them again.
                if self._version != data_version(connection) and not all(
                    self.blobs.path(row["sha256"], row["media_type"]).exists()
                    for rows in written
                    if not isinstance(rows, LibraryError)
                    for row in rows
                    if "sha256" in row
                ):
                    written = self._write(payloads, durable=durable)
                saved = self._insert(connection, replies, written)
                version = data_version(connection)
            self._version = version
        except LibraryError:
            self.overdue = True
            raise
        for reply, pictures in zip(replies, saved, strict=True):
            if isinstance(pictures, LibraryError):
                self.overdue = True
            elif reply.spooled is not None:
                files = [picture.file for picture in pictures if picture.file is not None]
                self.unsettled[reply.spooled.id] = (reply.spooled, [] if durable else files)
        if len(replies) <= _SETTLED_AT_ONCE:
            self.settle()
        return saved

    def settle(self) -> None:
        """Make saved replies durable in the library, and remove them from the spool.

        Several threads may do this for the same replies, and so may the child of a fork.
        """
        settled = self.unsettled.copy()
        paths = {path for _, files in settled.values() for path in files}
        if paths:
            try:
                self.blobs.sync(paths)
                self.database.sync()
            except OSError:
                return  # the replies stay in the spool
        self.spool.remove(*(spooled for spooled, _ in settled.values()))
        for reply_id in settled:
            self.unsettled.pop(reply_id, None)

    def keep_originals(self, reply: Reply) -> list[Picture]:
        """Write the originals of a spooled reply while the database cannot be used."""
        (written,) = self._write([reply.payloads], durable=False)
        if isinstance(written, LibraryError):
            raise written
        return list(map(self._stored, reply.pictures, written))

    def _insert(
        self,
        connection: sqlite3.Connection,
        replies: Sequence[Reply],
        written: Sequence[list[dict[str, Any]] | LibraryError],
    ) -> list[list[Picture] | LibraryError]:
        """Insert the rows of new replies, and return the pictures of all replies.

        Args:
            connection: Connection in a transaction.
            replies: The replies.
            written: Result of `_write` for each reply.
        """
        known = find_saved_ids(connection, replies)
        (request_id,) = connection.execute("SELECT ifnull(max(id), 0) FROM requests").fetchone()
        (image_id,) = connection.execute("SELECT ifnull(max(id), 0) FROM images").fetchone()
        requests: list[dict[str, Any]] = []
        images: list[dict[str, Any]] = []
        answers: list[tuple[int, str | None, int]] = []
        saved: list[list[Picture] | LibraryError] = []
        for index, (reply, payloads) in enumerate(zip(replies, written, strict=True)):
            if isinstance(payloads, LibraryError):
                saved.append(payloads)
                continue
            pictures = list(map(self._stored, reply.pictures, payloads))
            ids = known.get(index)
            if ids is None:
                ids = {}
                request_id += 1
                requests.append({"id": request_id, **make_request_row(reply)})
                for picture, values in zip(pictures, payloads, strict=True):
                    image_id += 1
                    ids[picture.position] = image_id
                    images.append({"id": image_id, **make_image_row(picture, request_id), **values})
                if reply.item is not None:
                    answers.append((request_id, reply.error, reply.item))
            saved.append([replace(image, id=ids.get(image.position)) for image in pictures])
        insert(connection, "requests", *requests)
        insert(connection, "images", *images)
        connection.executemany(
            "DELETE FROM charges WHERE open = 0 AND reply_id = ?",
            [(row["reply_id"],) for row in requests if row["reply_id"] and row["cost_usd"]],
        )
        connection.executemany(
            "UPDATE job_requests SET answer = ?, error = ? WHERE id = ?", answers
        )
        if self.database.indexed:
            rewritten: dict[int, list[str | None]] = {row["id"]: [] for row in requests}
            for image in images:
                rewritten[image["request_id"]].append(image["rewritten_prompt"])
            index_requests(connection, [(row, rewritten[row["id"]]) for row in requests])
        return saved

    def _write(
        self, groups: Sequence[Sequence[bytes | str | None]], *, durable: bool = True
    ) -> list[list[dict[str, Any]] | LibraryError]:
        """Write the payloads of replies.

        Returns:
            For each reply, the columns of `images` that each payload determines, or the error if a
            payload cannot be written.
        """
        self.database.check_writable()
        contents = [
            (payload, media_type(payload))
            for payloads in groups
            for payload in payloads
            if isinstance(payload, bytes)
        ]
        written = zip(contents, self.blobs.write(contents, durable=durable), strict=True)
        results: list[list[dict[str, Any]] | LibraryError] = []
        for payloads in groups:
            rows: list[dict[str, Any]] = []
            failure: LibraryError | None = None
            for payload in payloads:
                row: dict[str, Any] = {}
                if isinstance(payload, bytes):
                    (_, kind), digest = next(written)
                    if isinstance(digest, OSError):
                        failure = self.database.explain(digest)
                        continue
                    row = {"status": "ok", "sha256": digest, "media_type": kind}
                    row |= {"size": len(payload), "url": None, "error": None}
                    if size := dimensions(payload):
                        row |= {"width": size[0], "height": size[1]}
                elif payload is not None:
                    row = {"status": "pending", "url": payload}
                rows.append(row)
            results.append(failure or rows)
        return results

    def _stored(self, picture: Picture, values: dict[str, Any]) -> Picture:
        """Return a picture with its stored columns, and with its file instead of its bytes."""
        unstored: Status = "missing" if picture.status == "ok" else picture.status
        picture = replace(picture, status=values.get("status", unstored))
        if (sha256 := values.get("sha256")) is None:
            return picture
        return replace(
            picture,
            sha256=sha256,
            media_type=values["media_type"],
            file=self.blobs.path(sha256, values["media_type"]),
            size=(values["width"], values["height"]) if "width" in values else picture.size,
            error=None,
            cached=None,
        )

    def complete(self, picture: Picture, data: bytes) -> Picture:
        """Save the bytes of a pending picture, as durably as `add`, and return the picture."""
        return self._stored(picture, self._complete(picture.id, data))

    def _complete(self, image_id: int | None, data: bytes) -> dict[str, Any]:
        (written,) = self._write([[data]])
        if isinstance(written, LibraryError):
            raise written
        (values,) = written
        columns = ", ".join(f"{name} = :{name}" for name in values)
        statement = f"UPDATE images SET {columns} WHERE id = :id"  # noqa: S608  # no user's text
        with self.database.writing() as connection:
            connection.execute(statement, {**values, "id": image_id})
        return values

    def complete_spooled(self, reply_id: str, position: int, data: bytes) -> bool:
        """Save the bytes of a pending picture that were fetched while the database was closed.

        Args:
            reply_id: Id of the reply that contained the URL.
            position: Position of the picture among the images of its request.
            data: The fetched bytes.

        Returns:
            Whether the library holds the picture.
        """
        query = """SELECT images.id, images.status FROM images
            JOIN requests ON requests.id = request_id WHERE reply_id = ? AND position = ?"""
        with self.database.reading() as connection:
            row = connection.execute(query, (reply_id, position)).fetchone()
        if row is not None and row["status"] in {"pending", "failed"}:
            self._complete(row["id"], data)
        return row is not None

    def fail(self, picture: Picture, error: str) -> Picture:
        """Mark a pending picture as failed, so that it no longer answers its request; return it.

        Args:
            picture: A picture from `add` or `find`.
            error: The reason, in one line.
        """
        statement = "UPDATE images SET status = 'failed', url = NULL, error = ? WHERE id = ?"
        with self.database.writing() as connection:
            connection.execute(statement, (error, picture.id))
        return replace(picture, status="failed", error=error)

    def store_link(self, picture: Picture) -> None:
        """Store the public link of a picture from `add` or `find`."""
        statement = "UPDATE images SET public_url = ?, public_url_expires = ? WHERE id = ?"
        expires = picture.public_url_expires
        seconds = None if expires is None else expires.timestamp()
        with self.database.writing() as connection:
            connection.execute(statement, (picture.public_url, seconds, picture.id))

    # Replay

    def find(self, fingerprint: str, **query: Any) -> list[Picture]:
        """Return the stored images of one request; see `SlotQuery` and `look_up`."""
        (stored,) = self.look_up([SlotQuery(fingerprint, **query)])
        return stored.pictures

    def look_up(self, queries: Sequence[SlotQuery]) -> list[StoredImages]:
        """Return the stored images of each request, in the order in which they are replayed.

        Each position gets the image that the notebook last made or showed at the place, or else the
        image that any notebook last stored there. A newer reply with fewer images does not hide the
        remaining images of an older one. Positions without a stored image are left out.

        Without a place, the images of the place with the newest reply come first, and images that
        newer ones replaced come last; all get new positions. If there are fewer images than
        requested, the positions left out are free at place 0: new images there replace nothing.

        Moderated images are included because they were paid for, and pending images because their
        URL can still be fetched (see `url_of`). Missing and failed images are not. A row is skipped
        while its file is missing.
        """
        results = [StoredImages([]) for _ in queries]
        with self.database.reading() as connection:
            select = "SELECT DISTINCT fingerprint FROM requests WHERE fingerprint IN ({})"
            keys = [*dict.fromkeys(query.fingerprint for query in queries)]
            known = {fingerprint for (fingerprint,) in rows_in(connection, select, keys)}
            # Most notebooks show only their own images; `shown` need not be searched for them.
            select = "SELECT 1 FROM shown WHERE notebook = ? LIMIT 1"
            borrowers = {
                name
                for name in {storable(query.notebook) for query in queries if known}
                if connection.execute(select, (name,)).fetchone()
            }
            for index, query in enumerate(queries):
                if query.fingerprint not in known:
                    continue
                if query.place is None:
                    results[index] = self._find_anywhere(connection, query)
                else:
                    results[index] = self._find_at_place(connection, query, borrowers)
        return results

    def _find_at_place(
        self, connection: sqlite3.Connection, query: SlotQuery, borrowers: Collection[str | None]
    ) -> StoredImages:
        count = sys.maxsize if query.count is None else query.count
        notebook = storable(query.notebook)
        slot = {"fingerprint": query.fingerprint, "place": query.place, "notebook": notebook}
        shown: dict[int, set[int]] = {}
        if notebook in borrowers:
            for image_id, request_id in connection.execute(_SHOWN, slot):
                shown.setdefault(request_id, set()).add(image_id)
        own: dict[int, Picture] = {}
        others = own if notebook is None else {}
        for row in connection.execute(_AT_PLACE, slot):
            made_here, ids = row["notebook"] == notebook, shown.get(row["id"], ())
            if len(others) == count and not made_here and not ids:
                continue
            pictures = list(self._reader.of_request(connection, row))
            if any((picture.id or 0) <= query.after for picture in pictures):
                break  # the remaining rows are older
            for image in pictures:
                if image.status in _ANSWERS and image.position < count:
                    target = own if made_here or image.id in ids else others
                    target.setdefault(image.position, image)
            if len(own) == count:
                break
        images = others | own
        return StoredImages(
            [images[position] for position in sorted(images)],
            frozenset(others[position].id or 0 for position in others.keys() - own.keys()),
        )

    def _find_anywhere(self, connection: sqlite3.Connection, query: SlotQuery) -> StoredImages:
        places: dict[int, dict[int, Picture]] = {}
        replaced: list[Picture] = []
        needed = None if query.count is None else set(range(query.count))
        for row in connection.execute(_ANYWHERE, {"fingerprint": query.fingerprint}):
            for image in self._reader.of_request(connection, row):
                if image.status in _ANSWERS:
                    at_place = places.setdefault(row["place"], {})
                    if at_place.setdefault(image.position, image) is not image:
                        replaced.append(image)
            if needed is not None and needed <= next(iter(places.values()), {}).keys():
                break  # the newest place has all requested images
        images = [at_place[index] for at_place in places.values() for index in sorted(at_place)]
        images += replaced
        if needed is None:
            return StoredImages(images)
        return StoredImages(_arranged(images[: len(needed)], len(needed), places.get(0, {})))

    def remember_shown(self, shown: Sequence[ShownImage]) -> None:
        """Record which pictures of other notebooks a notebook has shown, and in which slots."""
        rows = [(storable(slot.notebook), *slot[:3], image_id) for slot, image_id in shown]
        with self.database.writing() as connection:
            connection.executemany("INSERT OR REPLACE INTO shown VALUES (?, ?, ?, ?, ?)", rows)

    def newest(self) -> int:
        """Return the `id` of the image that was stored last; later images get larger ids."""
        with self.database.reading() as connection:
            (newest,) = connection.execute("SELECT ifnull(max(id), 0) FROM images").fetchone()
        return int(newest)

    def slot_of(self, image_id: int) -> ImageSlot | None:
        """Return the slot that an image fills; None if the row does not exist."""
        query = """SELECT fingerprint, place, position, host, backend, notebook
            FROM images JOIN requests ON requests.id = request_id WHERE images.id = ?"""
        with self.database.reading() as connection:
            row = connection.execute(query, (image_id,)).fetchone()
        return None if row is None else ImageSlot(*row)

    def find_redone(self, slot: ImageSlot, *, notebook: str | None, image_id: int) -> list[int]:
        """Return the ids of images that replaced another image in a slot, the oldest first.

        Args:
            slot: The slot.
            notebook: Count the images that this notebook made; if it shows an image of another
                notebook, also count all images up to that one. None (unknown) counts all images.
            image_id: Id of the image that the notebook shows in the slot.
        """
        notebook = storable(notebook)
        latest = 0 if slot.notebook == notebook else image_id
        query = """SELECT images.id FROM requests JOIN images ON request_id = requests.id
            WHERE fingerprint = ? AND place = ? AND position = ? AND redo
            AND (? IS NULL OR notebook = ? OR images.id <= ?) ORDER BY images.id"""
        with self.database.reading() as connection:
            rows = connection.execute(query, (*slot[:3], notebook, notebook, latest))
            return [i for (i,) in rows]

    def url_of(self, image: Picture) -> str | None:
        """Return the URL of a pending image; None for any other image."""
        with self.database.reading() as connection:
            query = "SELECT url FROM images WHERE id = ?"
            row = connection.execute(query, (image.id,)).fetchone()
        return row["url"] if row is not None and isinstance(row["url"], str) else None

    # History

    def history(self, words: str = "", limit: int | None = 24, offset: int = 0) -> list[Picture]:
        """Return stored pictures, newest request first; pictures of a request are in order.

        Args:
            words: Each word must occur in the prompts, in a model's name or in the notebook's
                name; the last word may be incomplete. Case and accents are ignored.
            limit: Maximum number of pictures; None: all.
            offset: Number of pictures to skip.
        """
        select = "SELECT * FROM requests WHERE id = ?"
        with self.database.reading() as connection:
            query, parameters = matching_requests(words, indexed=self.database.indexed)
            pictures = (
                picture
                for (request_id,) in connection.execute(query, parameters)
                for row in connection.execute(select, (request_id,)).fetchall()
                for picture in self._reader.of_request(connection, row)
                if picture.status in {"ok", "damaged"}
            )
            return list(islice(pictures, offset, None if limit is None else offset + limit))

    def count(self, words: str = "") -> int:
        """Return the number of stored pictures that match, including those whose file is gone.

        Args:
            words: See `history`.
        """
        counted = "SELECT count(*) FROM images WHERE deleted IS NULL AND status = 'ok'"
        parameters: list[str] = []
        with self.database.reading() as connection:
            if words.strip():
                query, parameters = matching_requests(words, indexed=self.database.indexed)
                counted += f" AND request_id IN ({query})"
            (count,) = connection.execute(counted, parameters).fetchone()
            return int(count)

    # Rewritten prompts

    def rewrite_for(self, key: str, *, to_send: bool = True) -> str | None:
        """Return the rewritten prompt that was stored last under `key`, if any.

        Args:
            key: As in `remember_rewrite`.
            to_send: Whether the prompt will be sent. If so, a foreign library returns None, because
                it must not determine what is sent.
        """
        query = "SELECT text FROM rewrites WHERE key = ? AND text <> '' ORDER BY id DESC LIMIT 1"
        with self.database.reading() as connection:
            row = connection.execute(query, (key,)).fetchone()
            if row is None or (to_send and self.database.foreign):
                return None
        return bounds.text(row["text"]) if isinstance(row["text"], str) else None

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
        """Store a prompt that a chat model rewrote, and its cost.

        Args:
            key: Digest of the prompt, the chat model and its instructions.
            original: The original prompt.
            text: The rewritten prompt.
            model: Name of the chat model in the reply.
            cost_usd: Cost in US dollars; None if not reported.
            backend: `"xai"` or `"local"`.

        Returns:
            The prompt to use. If another kernel stored a rewrite first, this is its text, so that
            both kernels request the same pictures.
        """
        with self.database.writing() as connection:
            text = self.rewrite_for(key) or text
            values: dict[str, Any] = {"key": key, "original": original, "text": text}
            values |= {"model": model, "backend": backend, "cost_usd": cost_usd}
            insert(connection, "rewrites", values | {"created": time.time()})
        return text


def check_files(folder: str) -> None:
    """Raise `LibraryError` if a folder or its subfolders hold a link, a pipe or a device."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                check_files(entry.path)
            elif not entry.is_file(follow_symlinks=False):
                raise LibraryError(
                    f"{entry.path} is a link or a device, and this library was not made on this "
                    "computer. Put the file or folder itself there, or set "
                    "XAI_NOTEBOOK_TRUSTED_HOME to the library's folder."
                )


def _arranged(
    images: Sequence[Picture], count: int, at_place_0: Mapping[int, Picture]
) -> list[Picture]:
    """Return images with positions below `count`; positions left out are free at place 0.

    Args:
        images: The images, in order of replay.
        count: Number of requested images, at least the number of `images`.
        at_place_0: The images at place 0, keyed by position.
    """
    free = [position for position in range(count) if position not in at_place_0]
    left_out = {*free[: count - len(images)]}
    unmoved = {at: image for at, image in at_place_0.items() if left_out and at < count}
    moved = (image for image in images if not any(image is other for other in unmoved.values()))
    return [
        replace(unmoved.get(position) or next(moved), position=position)
        for position in range(count)
        if position not in left_out
    ]
