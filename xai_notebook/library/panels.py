"""Form and pictures of each panel, stored across kernels by notebook and cell."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from xai_notebook.client import bounds
from xai_notebook.library.storage.schema import insert, storable

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping

    from xai_notebook.library.storage.database import Database


class PanelLocation(NamedTuple):
    """Where a panel is shown.

    Attributes:
        folder: Folder of the notebook.
        cell: Id of the cell, or the digest of its code.
        number: Number of panels that the same run of the cell showed before this one.
        notebook: Name of the notebook; empty if unknown.
    """

    folder: str
    cell: str
    number: int = 0
    notebook: str = ""


class PanelRecord(NamedTuple):
    """A stored panel.

    Attributes:
        state: State of the form; empty if the row is damaged.
        batches: Row ids of its images, one list per generation, the oldest first.
    """

    state: Mapping[str, Any]
    batches: list[list[int]]


class PanelStore:
    """Remembers panels across kernels.

    Raises:
        LibraryError: From every method: the library is damaged, or cannot be read or written.
    """

    def __init__(self, database: Database) -> None:
        """Use the library's database."""
        self._database = database

    def find(self, location: PanelLocation) -> PanelRecord | None:
        """Return the panel that was stored last for a location.

        A renamed or copied notebook keeps its cell ids. Therefore, if there is no panel for the
        notebook's name, the panel of the same cell of another notebook in the folder is returned.
        """
        with self._database.reading() as connection:
            row = _find(connection, location)
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

    def find_in_folder(self, folder: str) -> list[PanelLocation]:
        """Return the panel locations in a folder, for notebooks whose names are known."""
        query = """SELECT folder, cell, number, notebook FROM panels
            WHERE folder = ? AND notebook != '' ORDER BY changed DESC"""
        with self._database.reading() as connection:
            return [PanelLocation(*row) for row in connection.execute(query, (storable(folder),))]

    def keep(self, location: PanelLocation, state: Mapping[str, Any]) -> None:
        """Store the state of a panel's form."""
        with self._database.writing() as connection:
            _keep(connection, location, state)

    def add(self, location: PanelLocation, state: Mapping[str, Any], ids: Iterable[int]) -> None:
        """Store new pictures of a panel, and the state of its form.

        Args:
            location: Location of the panel.
            state: State of its form.
            ids: Row ids of the images, which were generated together.
        """
        with self._database.writing() as connection:
            panel = _keep(connection, location, state)
            query = "SELECT coalesce(max(batch), -1) + 1 FROM panel_images WHERE panel_id = ?"
            (batch,) = connection.execute(query, (panel,)).fetchone()
            connection.executemany(
                "INSERT OR IGNORE INTO panel_images VALUES (?, ?, ?)",
                [(panel, batch, image_id) for image_id in ids],
            )


def _find(connection: sqlite3.Connection, location: PanelLocation) -> sqlite3.Row | None:
    query = """SELECT id, state, notebook FROM panels WHERE folder = ? AND cell = ? AND number = ?
        ORDER BY notebook = ? DESC, changed DESC LIMIT 1"""
    row: sqlite3.Row | None = connection.execute(query, [*map(storable, location)]).fetchone()
    return row


def _keep(connection: sqlite3.Connection, location: PanelLocation, state: Mapping[str, Any]) -> int:
    """Update or insert a panel and return its row id.

    A new panel gets the pictures of the panel that `_find` returns.
    """
    found = _find(connection, location)
    values = {"state": json.dumps(state), "changed": time.time()}
    if found is not None and found["notebook"] == storable(location.notebook):
        statement = "UPDATE panels SET state = ?, changed = ? WHERE id = ?"
        connection.execute(statement, (*values.values(), found["id"]))
        return int(found["id"])
    panel = insert(connection, "panels", location._asdict() | values)
    if found is not None:
        copy = """INSERT INTO panel_images
            SELECT ?, batch, image_id FROM panel_images WHERE panel_id = ?"""
        connection.execute(copy, (panel, found["id"]))
    return panel
