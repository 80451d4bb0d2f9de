"""The pictures of a notebook, from the library into a bundle."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from xai_notebook.client import bounds
from xai_notebook.errors import ExportError, LibraryError, ReplyError
from xai_notebook.library.bundle import (
    HEADER,
    MAX_BUNDLE_BYTES,
    MAX_LIST_BYTES,
    MAX_PICTURES,
    REQUESTS,
    Bundle,
    Entry,
    Shown,
    is_sound,
    line_of,
    member_of,
)
from xai_notebook.library.records import pictures_from_rows

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Collection, Iterable, Iterator
    from pathlib import Path

    from xai_notebook.library.database import Database
    from xai_notebook.library.originals import Originals
    from xai_notebook.pictures.picture import Picture

    _Entries = dict[tuple[object, int], Entry]
    """By what is asked and the place."""
    _Sources = dict[str, tuple[str, Callable[[], bytes]]]
    """By digest: the name in the bundle, and what reads an original."""

__all__ = ["Packer"]

_HEADERS: Final = 300
"""Bytes that a zip adds to each original, at most."""


class Packer:
    """Writes bundles from the library's pictures."""

    def __init__(self, database: Database, originals: Originals) -> None:
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
            ids = {*ids, *_shown(connection, names)}
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
                if found and is_sound(entry := _entry(row, found)):
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


def _shown(connection: sqlite3.Connection, names: Collection[str]) -> list[int]:
    """Return the `id` of each picture that a notebook showed and did not make."""
    query = "SELECT image_id FROM shown WHERE notebook = ?"
    return [i for name in names for (i,) in connection.execute(query, (name,))]


def _entry(row: sqlite3.Row, pictures: list[Picture]) -> Entry:
    """Return what a bundle says of a request and its pictures."""
    return Entry(
        request=replace(pictures[0].request, user=None, share=None),
        backend=row["backend"],
        answered_by=_line(row["answered_by"]),
        place=row["place"],
        created=pictures[0].created,
        images=tuple(
            Shown(
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


def _merge(entries: _Entries, entry: Entry) -> None:
    """Add an entry: what is there for its place stays, and it fills the positions left."""
    key = (entry.request.question, entry.place)
    former = entries.get(key)
    if former is None:
        entries[key] = entry
        return
    there = {image.position for image in former.images}
    more = tuple(image for image in entry.images if image.position not in there)
    entries[key] = replace(former, images=former.images + more)


def _sorted(images: Iterable[Shown]) -> tuple[Shown, ...]:
    return tuple(sorted(images, key=lambda image: image.position))


def _reader(picture: Picture) -> Callable[[], bytes]:
    return lambda: picture.data


def _of(bundle: Bundle, image: Shown) -> Callable[[], bytes]:
    return lambda: bundle.read(str(image.sha256))


def _write(file: Path, entries: list[Entry], sources: _Sources) -> None:
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
