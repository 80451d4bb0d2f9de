"""What panels were: the form of each and the pictures it has shown, by notebook and cell."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from xai_notebook.client import bounds
from xai_notebook.library.records import storable

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping

    from xai_notebook.library.storage.database import Database

__all__ = ["PanelLocation", "PanelRecord", "PanelStore"]


class PanelLocation(NamedTuple):
    """Where a panel stands.

    Attributes:
        folder: Of the notebook.
        cell: Its id, or the digest of its code.
        number: How many panels the same run of the cell has shown before.
        notebook: As Jupyter names it; empty: it does not.
    """

    folder: str
    cell: str
    number: int = 0
    notebook: str = ""


class PanelRecord(NamedTuple):
    """What is known of a panel.

    Attributes:
        state: As it was kept; empty: it is damaged.
        batches: Rows of its images, those made together in one list, the oldest first.
    """

    state: Mapping[str, Any]
    batches: list[list[int]]


class PanelStore:
    """Remembers panels from kernel to kernel.

    Raises:
        LibraryError: From every method: the library is damaged, or cannot be read or written.
    """

    def __init__(self, database: Database) -> None:
        """Use the library's own database."""
        self._database = database

    def find(self, place: PanelLocation) -> PanelRecord | None:
        """Return what stood there last.

        A notebook that was renamed or copied has the cells of the one it was: where nothing is
        known under its own name, what its folder's other notebook had in that cell is found.
        """
        with self._database.reading() as connection:
            row = _find(connection, place)
            if row is None:
                return None
            batches: dict[int, list[int]] = {}
            images = """SELECT batch, image_id FROM panel_images WHERE panel_id = ?
                ORDER BY batch, image_id"""
            for batch, image_id in connection.execute(images, (row["id"],)):
                batches.setdefault(batch, []).append(image_id)
        state = None
        with suppress(TypeError, ValueError):
            state = bounds.parsed(row["state"])
        return PanelRecord(state if isinstance(state, dict) else {}, list(batches.values()))

    def in_folder(self, folder: str) -> list[PanelLocation]:
        """Return where panels of a folder's notebooks stand, as far as these have names."""
        query = """SELECT folder, cell, number, notebook FROM panels
            WHERE folder = ? AND notebook != '' ORDER BY changed DESC"""
        with self._database.reading() as connection:
            return [PanelLocation(*row) for row in connection.execute(query, (storable(folder),))]

    def keep(self, place: PanelLocation, state: Mapping[str, Any]) -> None:
        """Store what a panel's form is now."""
        with self._database.writing() as connection:
            _keep(connection, place, state)

    def add(self, place: PanelLocation, state: Mapping[str, Any], ids: Iterable[int]) -> None:
        """Store what a panel has made, and what its form is now.

        Args:
            place: Where it stands.
            state: Of its form.
            ids: Rows of its new images, those made together.
        """
        with self._database.writing() as connection:
            panel = _keep(connection, place, state)
            query = "SELECT coalesce(max(batch), -1) + 1 FROM panel_images WHERE panel_id = ?"
            (batch,) = connection.execute(query, (panel,)).fetchone()
            connection.executemany(
                "INSERT OR IGNORE INTO panel_images VALUES (?, ?, ?)",
                [(panel, batch, image_id) for image_id in ids],
            )


def _find(connection: sqlite3.Connection, place: PanelLocation) -> sqlite3.Row | None:
    query = """SELECT id, state, notebook FROM panels WHERE folder = ? AND cell = ? AND number = ?
        ORDER BY notebook = ? DESC, changed DESC LIMIT 1"""
    row: sqlite3.Row | None = connection.execute(query, _storable(place)).fetchone()
    return row


def _keep(connection: sqlite3.Connection, place: PanelLocation, state: Mapping[str, Any]) -> int:
    """Change the row of a panel, or put one in, with the pictures it began with; return its id."""
    before, values = _find(connection, place), (json.dumps(state), time.time())
    if before is not None and before["notebook"] == storable(place.notebook):
        statement = "UPDATE panels SET state = ?, changed = ? WHERE id = ?"
        connection.execute(statement, (*values, before["id"]))
        return int(before["id"])
    statement = """INSERT INTO panels (folder, cell, number, notebook, state, changed)
        VALUES (?, ?, ?, ?, ?, ?)"""
    panel = int(connection.execute(statement, (*_storable(place), *values)).lastrowid or 0)
    if before is not None:
        copy = """INSERT INTO panel_images
            SELECT ?, batch, image_id FROM panel_images WHERE panel_id = ?"""
        connection.execute(copy, (panel, before["id"]))
    return panel


def _storable(place: PanelLocation) -> tuple[str | int | None, ...]:
    return tuple(storable(part) if isinstance(part, str) else part for part in place)
