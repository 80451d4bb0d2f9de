"""The library as a place: `%xai_library` and `xai_notebook.library()`.

    queries.py   filters as users and the browser give them -> the shelf's query
    widget.py    the widget: what the browser asks, what it is told

What runs in the browser is built from `notebook/browser`. Only what is seen is in the page: rows
and thumbnails travel as messages, by position.
"""

from __future__ import annotations

import asyncio
from array import array
from dataclasses import fields
from datetime import date, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from traitlets import Dict, Unicode

from xai_notebook.errors import OptionError
from xai_notebook.frontend import in_kernel, is_for_visitors, notebook_name, running_shell
from xai_notebook.generation.session import current_session
from xai_notebook.library.catalog import Query, SearchResult
from xai_notebook.notebook import messages
from xai_notebook.notebook.panel.widget import Panel
from xai_notebook.notebook.picture_widget import (
    GONE,
    PictureWidget,
    batch_of,
    choices_of,
    describe,
    image_of,
    rows_of,
)
from xai_notebook.notebook.publisher import Publisher

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from xai_notebook.library import Library
    from xai_notebook.library.catalog import CatalogEntry
    from xai_notebook.pictures.results import ImageBatch

__all__ = ["LibraryWidget", "filters_of", "library", "query_of"]

NAMES: Final = tuple(field.name for field in fields(Query) if field.name != "words")
_TEXTS: Final = ("model", "tag", "backend")
NO_NOTEBOOK: Final = ""
"""Matches nothing: nobody says which notebook this is."""


def query_of(words: str, filters: Mapping[str, Any]) -> Query:
    """Return what to look for; empty values count as left out.

    Raises:
        OptionError: A filter is none, or its value means nothing.
    """
    unknown = [name for name in filters if name not in NAMES]
    if unknown:
        raise OptionError(f"{unknown[0]}: there is no such filter. There are {', '.join(NAMES)}.")
    given = {name: value for name, value in filters.items() if value not in (None, "", False)}
    values: dict[str, Any] = {name: str(given[name]) for name in _TEXTS if name in given}
    values |= {name: _seconds(name, given[name]) for name in ("since", "until") if name in given}
    if "notebook" in given:
        own = given["notebook"] is True
        values["notebook"] = (notebook_name() or NO_NOTEBOOK) if own else str(given["notebook"])
    query = Query(
        words=str(words),
        order=str(given.get("order", "newest")),
        status=str(given.get("status", "ok")),
        starred=bool(given.get("starred")) or None,
        **values,
    )
    query.check()
    return query


def filters_of(query: Query) -> dict[str, Any]:
    """Return a query as the browser's fields show it."""
    shown = {
        name: getattr(query, name) for name in (*_TEXTS, "since", "until", "starred", "status")
    }
    return {**shown, "notebook": query.notebook is not None}


def _seconds(name: str, value: Any) -> float:
    """Return a time in seconds since 1970, UTC; one without a zone is local.

    Raises:
        OptionError: It is no time.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    try:
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        elif isinstance(value, date) and not isinstance(value, datetime):
            value = datetime.combine(value, time())
        return float(value.timestamp())
    except (AttributeError, OSError, OverflowError, ValueError) as error:
        raise OptionError(f"{name}: {value!r} is no time. Write 2026-11-24, say.") from error


class _Hint(str):
    """A line that a display shows as it is."""

    __slots__ = ()
    __repr__ = str.__str__


NO_FRONTEND = _Hint(
    "The library needs a notebook (JupyterLab, Notebook 7, VS Code, Colab or Voila). Here, use "
    "%xai_history WORDS, or xai_notebook.history(WORDS)."
)


def library(words: str = "", **filters: Any) -> LibraryWidget | None:
    """Show every picture ever made: search, look, compare, star, tag, delete, export.

    Args:
        words: What stands in the search field: all of them must occur in the prompts, the model's
            or the notebook's name; the last one may be the beginning of a word.
        **filters: `order` ("newest", "cost" or "model"); `model`; `since` and `until` (a date, a
            datetime or their ISO text); `notebook=True` (this one's alone); `starred=True`; `tag`;
            `status` ("ok", "moderated", "pending", "failed", "trash", "all"); `backend` ("xai",
            "local").

    Returns:
        The place; its `selected` are the pictures chosen in it. None where no front end can show
        it.

    Raises:
        OptionError: A filter is none, or its value means nothing.
        LibraryError: The library cannot be opened.
    """
    from IPython.display import display  # noqa: PLC0415

    query = query_of(words, filters)
    shell = running_shell()
    if not in_kernel(shell):
        display(NO_FRONTEND)  # type: ignore[no-untyped-call]
        return None
    from xai_notebook.notebook.gallery import LibraryWidget  # noqa: PLC0415  # ipywidgets

    shown = LibraryWidget(query, shell)
    shown.show()
    return shown


_STATIC: Final = Path(__file__).parent / "static"
_FIRST: Final = (100, 36)
"""Rows and thumbnails that the browser asks for at first, or about so many."""


class _Sight(NamedTuple):
    """Some pictures of the grid.

    Attributes:
        told: Their `rows` as the browser is told of them, and the `ids` of the thumbnails.
        thumbnails: JPEGs.
    """

    told: dict[str, Any]
    thumbnails: list[bytes]


class LibraryWidget(PictureWidget):
    """Every picture of the library, in a grid. Made by `xai_notebook.library()`."""

    _esm = (_STATIC / "library.js").read_text(encoding="utf-8")
    _css = (_STATIC / "library.css").read_text(encoding="utf-8")

    words = Unicode(help="What stands in the search field at first.").tag(sync=True)
    order = Unicode(help="The order at first.").tag(sync=True)
    filters = Dict(help="The filters at first.").tag(sync=True)

    _messages: ClassVar[Mapping[str, messages.Shape]] = messages.LIBRARY

    def __init__(self, query: Query, shell: Any) -> None:
        """Show what a query finds.

        Args:
            query: What to look for at first.
            shell: The running IPython.
        """
        self._query = query
        self._namespace = shell.user_ns
        self._shell = shell
        self._publisher = Publisher(shell)
        self._asked = 0
        self._found: array[int] | None = None
        self._chosen: list[int] = []
        self._shown_at: int | None = None
        super().__init__(
            words=query.words,
            order=query.order,
            filters=filters_of(query),
            visitors=is_for_visitors(),
        )
        self._attend()

    # What users hold

    @property
    def selected(self) -> ImageBatch:
        """The pictures that are chosen in the grid now, in the order of the choice.

        Raises:
            LibraryError: The library cannot be opened.
        """
        return batch_of(self._chosen)

    def show(self) -> None:
        """Display the place under the running cell."""
        self._submit(self._look_ahead(self._query))  # while the browser draws
        self._publisher.publish(*self._repr_mimebundle_())
        self._shown_at = self._shell.execution_count
        self._submit(self._measure())

    def _ipython_display_(self) -> None:
        """Show nothing when the place is the value of the cell that has just shown it."""
        shown_at, self._shown_at = self._shown_at, None
        if shown_at != self._shell.execution_count:
            raise NotImplementedError  # IPython goes on to _repr_mimebundle_

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the widget, with words for where it cannot be shown."""
        data, metadata = super()._repr_mimebundle_(**kwargs) or ({}, {})
        return {**data, "text/plain": "xAI image library"}, metadata

    # From the browser

    def _receive(self, widget: Any, content: Any, buffers: Sequence[Any]) -> None:
        """Take a message: of searches, only the last one counts."""
        if isinstance(content, dict) and content.get("kind") == "query":
            self._asked = messages.request_of(content).get("request", 0)
        super()._receive(widget, content, buffers)

    async def _on_query(self, content: Mapping[str, Any]) -> None:
        request = content.get("request", 0)
        if request != self._asked:
            return  # the user has typed on
        query = query_of(content["words"], {**content["filters"], "order": content["order"]})
        rows = min(content["rows"], messages.MOST_ROWS)
        seen = content["thumbnails"]
        library = await asyncio.to_thread(_library)
        if self._found is None and not query.words.strip():
            sight = await asyncio.to_thread(self._glance, query, rows, seen)
            self.send({"kind": "glance", **sight.told}, sight.thumbnails)
            seen = 0  # they are there
        found = await asyncio.to_thread(self._find, query)
        if request != self._asked:
            return
        sight = await asyncio.to_thread(self._see, found.ids[:rows].tolist(), seen)
        if request != self._asked:
            return
        self._query, self._found = query, found.ids
        notice = "" if is_for_visitors() else str(library.distrust or "")
        told = {"count": len(found.ids), "bytes": found.size, "notice": notice}
        self._reply(content, sight.thumbnails, **told, **sight.told)
        if is_for_visitors():
            return  # what there is to choose from is counted over all pictures
        # After the pictures: of a large library, counting takes as long as finding.
        choices = choices_of(await asyncio.to_thread(library.catalog.facets))
        if request == self._asked:
            self.send({"kind": "choices"} | choices)

    @staticmethod
    def _find(query: Query) -> SearchResult:
        """Return what a query finds of what may be seen, in a worker thread."""
        found = _library().catalog.find(query)
        if not is_for_visitors():
            return found
        return SearchResult(array("q", current_session().history.visible(found.ids)), 0)

    def _glance(self, query: Query, rows: int, seen: int) -> _Sight:
        """Return what is seen first, in a worker thread, before all are counted."""
        ids = _library().catalog.first(query, rows)
        return self._see(current_session().history.visible(ids), seen)

    def _see(self, ids: Sequence[int], seen: int) -> _Sight:
        """Return rows, in a worker thread, and the thumbnails that have been made before.

        Args:
            ids: Of the rows.
            seen: Of how many of them the thumbnail is wanted.
        """
        shelved = rows_of(ids)
        small = {row.picture.id: self._thumbnail(row, make=False) for row in shelved[:seen]}
        at_hand = {key: data for key, data in small.items() if data}
        rows = _described(ids, shelved)
        return _Sight({"rows": rows, "ids": list(at_hand)}, list(at_hand.values()))

    async def _on_rows(self, content: Mapping[str, Any]) -> None:
        ids = self._between(content, messages.MOST_ROWS)
        self._reply(content, rows=_described(ids, await asyncio.to_thread(rows_of, ids)))

    async def _on_ids(self, content: Mapping[str, Any]) -> None:
        self._reply(content, ids=self._between(content, messages.MOST_CHOSEN))

    def _between(self, content: Mapping[str, Any], most: int) -> list[int]:
        """Return what was found from one position to before another."""
        start, found = content["start"], self._found or array("q")
        return found[start : min(content["stop"], start + most)].tolist()

    async def _on_select(self, content: Mapping[str, Any]) -> None:
        self._chosen = content["ids"]

    async def _on_edit(self, content: Mapping[str, Any]) -> None:
        image = await asyncio.to_thread(image_of, content["id"])
        panel = Panel.seen() if Panel.seen is not None else None
        if panel is not None and panel.comm is not None:
            await asyncio.to_thread(panel.take, image)
            said = "The panel of this notebook has it."
        else:
            panel = Panel("", {"image": [image]}, self._shell)
            self._publisher.publish(*panel._repr_mimebundle_())  # as IPython does
            said = "A panel below this library has it."
        self._told(content, said)

    async def _look_ahead(self, query: Query) -> None:
        """Have read already what the browser is going to ask for first."""
        await asyncio.to_thread(self._glance, query, *_FIRST)

    async def _measure(self) -> None:
        """Look up the sizes that an older version did not store."""
        library = await asyncio.to_thread(_library)
        while await asyncio.to_thread(library.catalog.measure):
            pass


def _described(ids: Sequence[int], shelved: Sequence[CatalogEntry]) -> list[dict[str, Any]]:
    """Return a row of the grid for each of `ids`, whatever has become of its picture."""
    found = {row.picture.id: row for row in shelved}
    return [describe(found[each]) if each in found else {**GONE, "id": each} for each in ids]


def _library() -> Library:
    return current_session().library()
